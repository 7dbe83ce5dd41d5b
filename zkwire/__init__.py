"""A pure-Python ZooKeeper client: standard library only, to be vendored as it is.

    from zkwire import ZooKeeper

    with ZooKeeper("127.0.0.1:2181") as zk:
        zk.create("/hello", b"world", ephemeral=True)
        data, stat = zk.get("/hello")

`AsyncZooKeeper` is its asyncio twin, loaded on first use. Operations as values are in `zkwire.ops`, errors in
`zkwire.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import errors
from .client import ZooKeeper
from .errors import *  # noqa: F403
from .io.future import CancelledError
from .values import (
    ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, EventType, Id, KazooState, KeeperState, Permissions, Stat,
    WatchedEvent, make_acl, make_digest_acl, make_digest_acl_credential,
)  # fmt: skip

if TYPE_CHECKING:
    from .aio import AsyncZooKeeper as AsyncZooKeeper

__version__ = "0.1.0"
__all__ = [
    "ACL", "CREATOR_ALL_ACL", "OPEN_ACL_UNSAFE", "READ_ACL_UNSAFE", "CancelledError", "EventType", "Id", "KazooState",
    "KeeperState", "Permissions", "Stat", "WatchedEvent", "ZooKeeper", "__version__", "make_acl", "make_digest_acl",
    "make_digest_acl_credential",
]  # fmt: skip
__all__ += errors.__all__


def __getattr__(name: str) -> Any:
    if name == "AsyncZooKeeper":  # asyncio costs more than all the rest; only who uses it should pay
        from .aio import AsyncZooKeeper

        return AsyncZooKeeper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
