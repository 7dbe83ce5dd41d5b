"""Watches of several modes on one path, which servers before 3.9 confuse (ZOOKEEPER-4466).

Owns what is sent, held back or left out so that all of them are heard nevertheless. Must not know connections or time.

Such a server remembers one mode for each path and connection, in a list for data and another for children: a one-shot
watch makes the persistent one on its path a one-shot, and a recursive watch silences one on children. No version is on
the wire, so all servers are treated alike:

1. A read whose watch can hear nothing but what a lasting watch of ours on its path tells does not ask for one.
2. A recursive watch is followed at once by the watch on children that it silences.
3. Where one of these depends on an answer that is under way, the operation is held back until it is there.

A plain persistent watch and a recursive one on one path remain out of reach.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator

from ..wire.operation import Op
from ..ops import AddWatch, RemoveWatches, SetWatches
from ..wire.operation import CHILD, PERSISTENT, RECURSIVE
from .watches import Watches


class WatchModes:
    """`path` is always the server's."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        #: Path to the number of changes of its lasting watches that are under way.
        self._changing: Dict[str, int] = {}

    @property
    def matter(self) -> bool:
        """Whether there is a lasting watch, or may soon be."""
        return self._watches.lasting or bool(self._changing)

    def must_wait(self, op: Op[Any], path: str, under_way: Iterable[Op[Any]]) -> bool:
        """Whether what sets or removes a watch must not be sent before something `under_way` is answered."""
        if not isinstance(op, (AddWatch, RemoveWatches)):
            return path in self._changing
        near = [other for other in under_way if other.path == op.path]
        changes = [other for other in near if isinstance(other, (AddWatch, RemoveWatches))]
        reads = any(other.watches and other.watch for other in near if not isinstance(other, AddWatch))
        return reads or any(type(other) is not type(op) for other in changes)

    def is_quiet(self, op: Op[Any], path: str) -> bool:
        """Whether the server need not know of an operation's watch."""
        if isinstance(op, AddWatch) or op.watches is None:
            return False
        kinds = (PERSISTENT,) if op.watches[0] == CHILD else (PERSISTENT, RECURSIVE)
        return bool(self._watches.watchers(path, kinds))

    def silenced(self, op: Op[Any], path: str, zxid: int) -> Iterator[Op[Any]]:
        """What is to follow an operation with a watch; `zxid` is the newest that a reply has shown.

        Nothing is answered between the two, so what is missed between them is newer than all that was seen.
        """
        if isinstance(op, AddWatch) and op.recursive and self._watches.watchers(path, (CHILD,)):
            yield SetWatches(zxid, (), (), (path,))

    def sent(self, op: Op[Any], path: str) -> None:
        """An operation is under way."""
        if isinstance(op, (AddWatch, RemoveWatches)):
            self._changing[path] = self._changing.get(path, 0) + 1

    def answered(self, op: Op[Any], path: str) -> None:
        """And is not any more."""
        left = self._changing.pop(path, 1) - 1 if isinstance(op, (AddWatch, RemoveWatches)) else 0
        if left:
            self._changing[path] = left

    def disconnected(self) -> None:
        """Nothing is under way."""
        self._changing.clear()
