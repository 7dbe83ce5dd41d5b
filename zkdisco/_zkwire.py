"""The one place that finds zkwire: beside this package, installed or vendored.

Installed, both are top-level packages; vendored, both lie below the same parent (`app/_vendor/zkwire` and
`app/_vendor/zkdisco`). `__package__` tells which. Nothing else is tried: with a fall-back, a broken vendored copy
would quietly be replaced by whatever is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zkwire.aio import AsyncZooKeeper

if TYPE_CHECKING or __package__ == "zkdisco":
    from zkwire import (
        ACL, EventType, KazooState, KeeperState, Stat, WatchedEvent, ZooKeeper, __version__, errors, hosts, ops,
        recipes,
    )  # fmt: skip
    from zkwire.dispatch import Dispatcher
    from zkwire.future import Future
    from zkwire.records import OPEN_ACL_UNSAFE, Watcher
else:
    from ..zkwire import (
        ACL, EventType, KazooState, KeeperState, Stat, WatchedEvent, ZooKeeper, __version__, errors, hosts, ops,
        recipes,
    )  # fmt: skip
    from ..zkwire.dispatch import Dispatcher
    from ..zkwire.future import Future
    from ..zkwire.records import OPEN_ACL_UNSAFE, Watcher

def async_zookeeper() -> type[AsyncZooKeeper]:
    """The class `AsyncZooKeeper`, of the same zkwire; its import costs as much as all the rest."""
    package = ZooKeeper.__module__.rpartition(".")[0]
    found: type[AsyncZooKeeper] = importlib.import_module(".aio", package).AsyncZooKeeper
    return found


__all__ = [
    "ACL", "OPEN_ACL_UNSAFE", "Dispatcher", "EventType", "Future", "KazooState", "KeeperState", "Stat", "WatchedEvent",
    "Watcher", "ZooKeeper", "__version__", "async_zookeeper", "errors", "hosts", "ops", "recipes",
]  # fmt: skip
