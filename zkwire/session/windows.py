"""The operations in flight of all recipes of a client, and their limit.

Owns the count. Must not know operations. These operations do not count for `max_pending`, because a recipe would make
the client refuse other calls; all recipes together have a second limit of that size. Threads open and close windows at
any time.
"""

from __future__ import annotations

from typing import Any, Deque, Dict


class Windows:
    """The windows of all recipes, with room for `limit` operations together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: Dict[int, Deque[Any]] = {}

    def open(self, under_way: Deque[Any]) -> None:
        """A recipe begins; the operations in `under_way` count from now on."""
        self._all[id(under_way)] = under_way

    def close(self, under_way: Deque[Any]) -> None:
        """The recipe has ended."""
        self._all.pop(id(under_way), None)

    @property
    def total(self) -> int:
        """The number of operations; one more for each recipe, which it waits for or is submitting."""
        total = len(self._all)
        for under_way in list(self._all.values()):
            total += len(under_way)
        return total

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.total >= self._limit
