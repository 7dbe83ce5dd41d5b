"""Quotas: the limits and the counts below /zookeeper/quota, and the changes they refuse.

Owns which subtrees have a quota, and the nodes with their counts. Must not know requests. As in the real server
(DataTree), a subtree with a limit has a count; limits are enforced only if the settings say so, and only hard
limits.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Optional, Set

from ..errors import QuotaExceededError

_ROOT, _LIMITS, _STATS = "/zookeeper/quota", "zookeeper_limits", "zookeeper_stats"
#: The number of digits of a long; int() refuses more than 4300.
_FIGURES = re.compile(rb"(\w+)=(-?\d{1,19})(?!\d)").findall


def _figures(data: Optional[bytes]) -> Dict[bytes, int]:
    """The numbers in a node of limits or counts (StatsTrack). Invalid ones are left out; they crash a real server."""
    return {name: int(value) for name, value in _FIGURES(data or b"")}


class Quotas:
    """The quotas of one tree, whose nodes have `data`, bytes or None."""

    def __init__(self, nodes: Dict[str, Any]) -> None:
        self._nodes = nodes
        self._limited: Set[str] = set()

    def created(self, path: str) -> None:
        """A node was created: it may be a quota or its count, or be below a quota."""
        above, _, name = path.rpartition("/")
        subtree = above[len(_ROOT) :]
        if above.startswith(_ROOT) and subtree:
            if name == _LIMITS:
                self._limited.add(subtree)
            elif name == _STATS:
                self._write(path, *self._measured(subtree))
        self.changed(path, len(self._nodes[path].data or b""), 1)

    def deleted(self, path: str, data: Optional[bytes]) -> None:
        """A node with that data was deleted."""
        above, _, name = path.rpartition("/")
        if above.startswith(_ROOT) and name == _LIMITS:
            self._limited.discard(above[len(_ROOT) :])
        self.changed(path, -len(data or b""), -1)

    def changed(self, path: str, size: int, count: int) -> None:
        """The nodes at or below `path` have grown by this many bytes and nodes: count them."""
        subtree = self._subtree(path)
        stats = None if subtree is None else f"{_ROOT}{subtree}/{_STATS}"
        if stats in self._nodes:
            now = _figures(self._nodes[stats].data)
            self._write(stats, now.get(b"count", -1) + count, now.get(b"bytes", -1) + size)

    def check(self, path: str, size: int, count: int) -> None:
        """`QuotaExceededError` if this many more bytes and nodes exceed a hard limit."""
        subtree = self._subtree(path)
        if subtree is None:
            return
        limits, stats = (self._nodes.get(f"{_ROOT}{subtree}/{name}") for name in (_LIMITS, _STATS))
        if limits is None or stats is None:
            return
        hard, now = _figures(limits.data), _figures(stats.data)
        for name, limit, more in ((b"count", b"countHardLimit", count), (b"bytes", b"byteHardLimit", size)):
            if more and -1 < hard.get(limit, -1) < now.get(name, -1) + more:
                raise QuotaExceededError(path=path)

    def _subtree(self, path: str) -> Optional[str]:
        """The longest path with a quota that is `path` or above it."""
        if not self._limited:
            return None
        while path and path not in self._limited:
            path = path.rpartition("/")[0]
        return path or None

    def _measured(self, subtree: str) -> Any:
        inside = subtree + "/"
        nodes = [node for path, node in self._nodes.items() if path == subtree or path.startswith(inside)]
        return len(nodes), sum(len(node.data or b"") for node in nodes)

    def _write(self, path: str, count: int, size: int) -> None:
        """Write the data only: such a change has no version, zxid or event."""
        self._nodes[path].data = b"count=%d,bytes=%d" % (count, size)
