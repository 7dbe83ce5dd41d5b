"""What recipes have under way at a time, of all recipes of a client.

Owns how much that is. Must not know operations. It does not count for `max_pending`, or other calls would be refused
because of a recipe; all recipes together have as much room again. Threads open and close windows at any time.
"""

from __future__ import annotations

from typing import Any, Deque, Dict


class Windows:
    """The windows of all recipes, with room for `limit` operations together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: Dict[int, Deque[Any]] = {}

    def open(self, under_way: Deque[Any]) -> None:
        """A recipe begins; what is in `under_way` counts from now on."""
        self._all[id(under_way)] = under_way

    def close(self, under_way: Deque[Any]) -> None:
        """It has ended."""
        self._all.pop(id(under_way), None)

    @property
    def total(self) -> int:
        """How many operations these are; of each recipe one more, which is waited for or just being submitted."""
        return sum(len(under_way) + 1 for under_way in list(self._all.values()))

    @property
    def full(self) -> bool:
        """Whether there is no room for one more."""
        return self.total >= self._limit
