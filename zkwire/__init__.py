"""A pure-Python ZooKeeper client: standard library only, to be vendored as it is.

    from zkwire import ZooKeeper

    with ZooKeeper("127.0.0.1:2181") as zk:
        zk.create("/hello", b"world", ephemeral=True)
        data, stat = zk.get("/hello")

`AsyncZooKeeper` is the asyncio client. Operations as values are in `zkwire.ops`, errors in `zkwire.errors`. Both
clients are loaded on first use: a program that only uses `zkwire.ops` or `zkwire.embedded` does not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

from . import errors
from .errors import *  # noqa: F403
from .values import (
    ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, EventType, Id, KazooState, KeeperState, Permissions, Stat,
    WatchedEvent, make_acl, make_digest_acl, make_digest_acl_credential,
)  # fmt: skip

if TYPE_CHECKING:
    from .aio import AsyncZooKeeper as AsyncZooKeeper
    from .client import ZooKeeper
    from .io.future import CancelledError

__version__ = "0.1.0"
__all__ = [
    "ACL", "CREATOR_ALL_ACL", "OPEN_ACL_UNSAFE", "READ_ACL_UNSAFE", "CancelledError", "EventType", "Id", "KazooState",
    "KeeperState", "Permissions", "Stat", "WatchedEvent", "ZooKeeper", "__version__", "make_acl", "make_digest_acl",
    "make_digest_acl_credential",
]  # fmt: skip
__all__ += errors.__all__


def __getattr__(name: str) -> Any:
    found: Any
    if name == "ZooKeeper":
        from .client import ZooKeeper as found
    elif name == "AsyncZooKeeper":  # not in __all__: asyncio costs more than all the rest
        from .aio import AsyncZooKeeper as found
    elif name == "CancelledError":
        from .io.future import CancelledError as found
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> List[str]:
    return sorted({*globals(), *__all__, "AsyncZooKeeper"})
