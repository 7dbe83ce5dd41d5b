"""The names of a node's children, in the order in which a real server lists them: that of Java's HashSet.

It looks random, depends on the names and on how many there have been at a time, and is the same for each run. A user of
the order of creation finds out here, and not on a real server.
"""

from __future__ import annotations

from typing import Dict, Iterator

from .hashing import spread, string_hash


class Children:
    """A set of names. (Of more than eight names with one place in a table of 64 or more, Java changes the order.)"""

    __slots__ = ("_places", "_room")

    def __init__(self) -> None:
        self._places: Dict[str, int] = {}
        self._room = 8  # the size of the table DataNode begins with; it never shrinks

    def add(self, name: str) -> None:
        """Add a name that is not there."""
        self._places[name] = spread(string_hash(name))
        if len(self._places) > self._room * 3 // 4:
            self._room *= 2

    def discard(self, name: str) -> None:
        """Remove a name, if it is there."""
        self._places.pop(name, None)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        places, mask = self._places, self._room - 1
        return iter(sorted(places, key=lambda name: places[name] & mask))
