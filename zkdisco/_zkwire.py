"""The one place that finds zkwire: beside this package, installed or vendored.

Installed, both are top-level packages; vendored, both lie below the same parent (`app/_vendor/zkwire` and
`app/_vendor/zkdisco`). `__name__` tells which, and not `__package__`, which PyPy has not set yet in a module that comes
out of a zip file. Nothing else is tried: with a fall-back, a broken vendored copy
would quietly be replaced by whatever is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zkwire.aio import AsyncZooKeeper
    from zkwire.embedded import EmbeddedServer

if TYPE_CHECKING or __name__ == "zkdisco._zkwire":
    from zkwire import (
        ACL, EventType, KazooState, KeeperState, Stat, WatchedEvent, ZooKeeper, __version__, errors, ops, paths,
        recipes,
    )  # fmt: skip
    from zkwire.io.dispatch import Dispatcher
    from zkwire.io.future import Future
    from zkwire.io.process import Guard, track
    from zkwire.io.queues import SimpleQueue
    from zkwire.session.host_provider import parse_hosts
    from zkwire.values import OPEN_ACL_UNSAFE, Watcher
else:
    from ..zkwire import (
        ACL, EventType, KazooState, KeeperState, Stat, WatchedEvent, ZooKeeper, __version__, errors, ops, paths,
        recipes,
    )  # fmt: skip
    from ..zkwire.io.dispatch import Dispatcher
    from ..zkwire.io.future import Future
    from ..zkwire.io.process import Guard, track
    from ..zkwire.io.queues import SimpleQueue
    from ..zkwire.session.host_provider import parse_hosts
    from ..zkwire.values import OPEN_ACL_UNSAFE, Watcher


def async_zookeeper() -> type[AsyncZooKeeper]:
    """The class `AsyncZooKeeper`, of the same zkwire; its import costs as much as all the rest."""
    found: type[AsyncZooKeeper] = _module("aio").AsyncZooKeeper
    return found


def embedded_server() -> type[EmbeddedServer]:
    """The class `EmbeddedServer`, of the same zkwire, for the demonstration alone."""
    found: type[EmbeddedServer] = _module("embedded").EmbeddedServer
    return found


def _module(name: str) -> Any:
    return importlib.import_module("." + name, ZooKeeper.__module__.rpartition(".")[0])


__all__ = [
    "ACL", "OPEN_ACL_UNSAFE", "Dispatcher", "EventType", "Future", "Guard", "KazooState", "KeeperState", "SimpleQueue",
    "Stat", "WatchedEvent", "Watcher", "ZooKeeper", "__version__", "async_zookeeper", "embedded_server", "errors",
    "ops", "parse_hosts", "paths", "recipes", "track",
]  # fmt: skip
