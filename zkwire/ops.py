"""The wire table: every operation of the protocol as a small value class, and transactions made of them.

Owns opcodes, request fields, reply bodies and watch kinds, here and in `node_ops` and `session_ops`. A new operation is
one class there and one word in `BY_OPCODE`. Must not know connections, sessions or verbs.
"""

from __future__ import annotations

from typing import Any, Dict, Type

from .wire.multi import IN_MULTI, IN_MULTI_READ, IN_TRANSACTION, Multi, MultiRead
from .wire.node_ops import (
    Check, Create, Create2, CreateChroot, CreateContainer, CreateTTL, Delete, Exists, GetACL, GetAllChildrenNumber,
    GetChildren, GetChildren2, GetConfig, GetData, SetACL, SetData, Sync,
)  # fmt: skip
from .wire.operation import Op
from .wire.session_ops import (
    AddWatch, Auth, CheckWatches, CloseSession, GetEphemerals, Ping, Reconfig, RemoveWatches, Sasl, SetWatches,
    SetWatches2, WhoAmI,
)  # fmt: skip

#: Every operation by its opcode: a server's dispatch table.
BY_OPCODE: Dict[int, Type[Op[Any]]] = {
    op.opcode: op
    for op in (
        Create, Delete, Exists, GetData, SetData, GetACL, SetACL, GetChildren, Sync, Ping, GetChildren2, Check, Multi,
        Create2, Reconfig, CheckWatches, RemoveWatches, CreateContainer, CreateTTL, MultiRead, Auth, SetWatches, Sasl,
        GetEphemerals, GetAllChildrenNumber, SetWatches2, AddWatch, WhoAmI, CloseSession,
    )
}  # fmt: skip

__all__ = [
    "AddWatch", "Auth", "BY_OPCODE", "Check", "CheckWatches", "CloseSession", "Create", "Create2", "CreateChroot",
    "CreateContainer", "CreateTTL", "Delete", "Exists", "GetACL", "GetAllChildrenNumber", "GetChildren", "GetChildren2",
    "GetConfig", "GetData", "GetEphemerals", "IN_MULTI", "IN_MULTI_READ", "IN_TRANSACTION", "Multi", "MultiRead", "Op",
    "Ping", "Reconfig", "RemoveWatches", "Sasl", "SetACL", "SetData", "SetWatches", "SetWatches2", "Sync", "WhoAmI",
]  # fmt: skip
