"""The nodes of one directory, as they were at one instant.

Owns sorting; a codec decodes. One change costs the same whatever the number of instances, but for a copy of the list.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, Optional, Tuple, Union

from .codecs import TEXT, Codec
from .values import Node, UndecodableDataError


#: Nodes by name, in so many tables: of what a reader was given, a change copies one.
TABLES = 64
Nodes = Tuple[Dict[str, Node], ...]


def in_order(nodes: Nodes) -> Tuple[Node, ...]:
    """All of them, sorted by name."""
    return tuple(sorted(node for table in nodes for node in table.values()))


class Replica:
    """Nodes by name, or why one could not be read; `instances` and `nodes` are what a reader wants."""

    def __init__(self, codec: Codec[Any] = TEXT) -> None:
        self._codec = codec
        self._nodes: List[Dict[str, Node]] = [{} for _ in range(TABLES)]
        self._ours = set(range(TABLES))  # the tables that no reader has
        self._keys: Dict[str, str] = {}  # by name, what the instance is sorted by: its text, or else its name
        self._sorted: List[str] = []  # these keys
        self._instances: List[Any] = []  # in the same order
        #: By name, why a node is left out.
        self.left_out: Dict[str, Exception] = {}
        self._before: Dict[str, Optional[bytes]] = {}  # what was touched since `news`, as it was; None: not there

    def put(self, name: str, value: Union[Node, Exception]) -> None:
        """A node holds this, or cannot be read."""
        self.drop(name)
        if isinstance(value, Exception):
            self.left_out[name] = value
            return
        self._table(name)[name] = value
        try:
            instance = self._codec.decode(name, value.data)
        except UnicodeDecodeError:
            self.left_out[name] = UndecodableDataError()
            return
        except ValueError as error:
            self.left_out[name] = UndecodableDataError(str(error))
            return
        key = self._keys[name] = instance if isinstance(instance, str) else name
        place = bisect_right(self._sorted, key)
        self._sorted.insert(place, key)
        self._instances.insert(place, instance)

    def drop(self, name: str) -> None:
        """A node is gone, if it was there."""
        self.left_out.pop(name, None)
        node = self._table(name).pop(name, None)
        self._before.setdefault(name, None if node is None else node.data)
        key = self._keys.pop(name, None)
        if key is not None:
            place = bisect_left(self._sorted, key)
            del self._sorted[place], self._instances[place]

    def instances(self) -> Tuple[Any, ...]:
        """All instances: text sorted, equal text as often as it is there; others in the order of their names."""
        return tuple(self._instances)

    def news(self) -> bool:
        """Whether a node has come or gone, or holds other data, since this was asked last."""
        before, self._before = self._before, {}
        return any(self._data(name) != data for name, data in before.items())

    def nodes(self) -> Nodes:
        """All nodes that could be read, by name: also those whose data is not UTF-8. They change no more."""
        self._ours.clear()
        return tuple(self._nodes)

    def _data(self, name: str) -> Optional[bytes]:
        node = self._nodes[hash(name) % TABLES].get(name)
        return None if node is None else node.data

    def _table(self, name: str) -> Dict[str, Node]:
        """Where to change a node of this name."""
        number = hash(name) % TABLES
        if number not in self._ours:
            self._ours.add(number)
            self._nodes[number] = self._nodes[number].copy()
        return self._nodes[number]
