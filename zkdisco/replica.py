"""The nodes of one directory, as they were at one instant.

Owns decoding and sorting. One change costs the same whatever the number of instances, but for a copy of the list.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Dict, List, NamedTuple, Optional, Tuple, Union

from ._zkwire import Stat
from .values import UndecodableDataError


class Held(NamedTuple):
    """What a node was read to hold; None is data that was never given."""

    data: Optional[bytes]
    stat: Stat


class Replica:
    """Nodes by name, or why one could not be read; `instances` is what a reader wants."""

    def __init__(self) -> None:
        self._instances: Dict[str, str] = {}
        self._sorted: List[str] = []
        #: By name, why a node is left out.
        self.left_out: Dict[str, Exception] = {}

    def put(self, name: str, value: Union[Held, Exception]) -> None:
        """A node holds this (no data counts as empty, as Go kit has it), or cannot be read."""
        self.drop(name)
        if isinstance(value, Exception):
            self.left_out[name] = value
            return
        try:
            instance = (value.data or b"").decode()
        except UnicodeDecodeError:
            self.left_out[name] = UndecodableDataError()
            return
        self._instances[name] = instance
        insort(self._sorted, instance)

    def drop(self, name: str) -> None:
        """A node is gone, if it was there."""
        self.left_out.pop(name, None)
        instance = self._instances.pop(name, None)
        if instance is not None:
            del self._sorted[bisect_left(self._sorted, instance)]

    def instances(self) -> Tuple[str, ...]:
        """The data of all nodes, sorted; equal data as often as it is there."""
        return tuple(self._sorted)
