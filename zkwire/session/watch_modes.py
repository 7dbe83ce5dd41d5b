"""Watches of several modes on one path, which servers before 3.9 confuse (ZOOKEEPER-4466).

Owns what is sent, held back or left out so that all of their events arrive nevertheless. Must not know connections or
time.

Such a server stores one mode for each path and connection, in a list for data and another for children. A one-shot
watch turns the persistent watch on its path into a one-shot, and a recursive watch suppresses a watch on children. The
protocol does not show the server's version, so all servers are treated alike:

1. A read asks for no watch if a persistent or recursive watch of this client on its path already reports its events.
2. A recursive watch is followed at once by the watch on children that it suppresses.
3. Where one of these depends on a reply in flight, the operation is held back until the reply arrives.

A plain persistent watch and a recursive one on one path are not supported on these servers.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator

from ..wire.operation import Op
from ..ops import AddWatch, RemoveWatches, SetWatches
from ..wire.operation import CHILD, PERSISTENT, RECURSIVE
from .watches import Watches


class WatchModes:
    """All paths are the server's."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        #: Path to the number of requests in flight that change its persistent or recursive watches.
        self._changing: Dict[str, int] = {}

    @property
    def matter(self) -> bool:
        """Whether there is a persistent or recursive watch, or a request in flight that may set one."""
        return self._watches.lasting or bool(self._changing)

    def must_wait(self, op: Op[Any], path: str, under_way: Iterable[Op[Any]]) -> bool:
        """Whether a request that sets or removes a watch has to wait for the reply to a request `under_way`."""
        if not isinstance(op, (AddWatch, RemoveWatches)):
            return path in self._changing
        near = [other for other in under_way if other.path == op.path]
        changes = [other for other in near if isinstance(other, (AddWatch, RemoveWatches))]
        reads = any(other.watches and other.watch for other in near if not isinstance(other, AddWatch))
        return reads or any(type(other) is not type(op) for other in changes)

    def is_quiet(self, op: Op[Any], path: str) -> bool:
        """Whether the operation is sent without its watch."""
        if isinstance(op, AddWatch) or op.watches is None:
            return False
        kinds = (PERSISTENT,) if op.watches[0] == CHILD else (PERSISTENT, RECURSIVE)
        return bool(self._watches.watchers(path, kinds))

    def silenced(self, op: Op[Any], path: str, zxid: int) -> Iterator[Op[Any]]:
        """The request that has to follow an operation with a watch; `zxid` is the newest that a reply has shown.

        No reply arrives between the two, so a change missed between them is newer than all replies so far.
        """
        if isinstance(op, AddWatch) and op.recursive and self._watches.watchers(path, (CHILD,)):
            yield SetWatches(zxid, (), (), (path,))

    def sent(self, op: Op[Any], path: str) -> None:
        """An operation was sent."""
        if isinstance(op, (AddWatch, RemoveWatches)):
            self._changing[path] = self._changing.get(path, 0) + 1

    def answered(self, op: Op[Any], path: str) -> None:
        """An operation was answered."""
        left = self._changing.pop(path, 1) - 1 if isinstance(op, (AddWatch, RemoveWatches)) else 0
        if left:
            self._changing[path] = left

    def disconnected(self) -> None:
        """The connection has ended: nothing is in flight."""
        self._changing.clear()
