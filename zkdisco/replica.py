"""The instances of one directory as far as they are known: names, and what their data says.

Owns decoding and sorting. One change costs the same whatever the number of instances, but for a copy of the list.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Dict, Iterable, List, Optional, Tuple


class Replica:
    """Nodes by name; `instances` is what a reader wants."""

    def __init__(self) -> None:
        self._instances: Dict[str, Optional[str]] = {}  # None: not UTF-8
        self._sorted: List[str] = []
        self._undecodable: Dict[str, None] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._instances

    def put(self, name: str, data: Optional[bytes]) -> None:
        """A node has this data (None counts as empty, as Go kit has it)."""
        self.drop(name)
        try:
            instance = (data or b"").decode()
        except UnicodeDecodeError:
            self._instances[name] = None
            self._undecodable[name] = None
            return
        self._instances[name] = instance
        insort(self._sorted, instance)

    def drop(self, name: str) -> None:
        """A node is gone, if it was there."""
        instance = self._instances.pop(name, None)
        self._undecodable.pop(name, None)
        if instance is not None:
            del self._sorted[bisect_left(self._sorted, instance)]

    def keep(self, names: Iterable[str]) -> None:
        """All other nodes are gone."""
        present = set(names)
        for name in [n for n in self._instances if n not in present]:
            self.drop(name)

    def instances(self) -> Tuple[str, ...]:
        """The data of all nodes, sorted; equal data as often as it is there."""
        return tuple(self._sorted)

    def undecodable(self) -> Optional[str]:
        """The name of a node whose data is no UTF-8, or None."""
        return next(iter(self._undecodable), None)
