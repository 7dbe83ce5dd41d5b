"""Service discovery on ZooKeeper, Go kit's `sd/zk` done right, over zkwire.

    from zkdisco import Client, Instancer, Registrar, Service

    client = Client(["127.0.0.1:2181"])
    registrar = Registrar(client, Service("/myorganization/myplatform", "addsvc", b"10.0.2.10:80"))
    registrar.register()
    instancer = Instancer(client, "/myorganization/myplatform/addsvc")
    instancer.register(print)

`zkdisco.aio` has the same for asyncio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._zkwire import __version__
from .reports import ClientReport, InstancerReport, RegistrationReport
from .threads import Client, Instancer, Registrar
from .values import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, ClientClosedError, Entries, Event,
    GateShutError, IdentityTakenError, InstancesLeftOutError, InvalidCredentialsError, Node, NodeNotFoundError,
    NotRegisteredError, ReadOnlyServerError, Service, UndecodableDataError,
)  # fmt: skip

if TYPE_CHECKING:
    from .catalog import Catalog as Catalog
    from .endpoints import Endpoints as Endpoints
    from .memberships import ServiceEvent as ServiceEvent
    from .settling import Settling as Settling

#: What is loaded when it is asked for, and where it is.
LAZY = {"Catalog": "catalog", "Endpoints": "endpoints", "ServiceEvent": "memberships", "Settling": "settling"}


def __getattr__(name: str) -> Any:
    """What not everybody needs."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{LAZY[name]}", __name__), name)


__all__ = [
    "DEFAULT_ACL", "DEFAULT_CONNECT_TIMEOUT", "DEFAULT_SESSION_TIMEOUT", "Client", "ClientClosedError", "ClientReport",
    "Entries", "Event", "GateShutError", "IdentityTakenError", "Instancer", "InstancerReport", "InstancesLeftOutError",
    "InvalidCredentialsError", "Node", "NodeNotFoundError", "NotRegisteredError", "ReadOnlyServerError", "Registrar",
    "RegistrationReport", "Service", "UndecodableDataError", "__version__",
]  # fmt: skip
