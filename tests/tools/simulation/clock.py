"""Virtual time: what is to happen when, in one thread.

Owns the order of things. Must not know what they are.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, Callable, List, Tuple


class Clock:
    """Seconds since some beginning; things due at the same moment happen in the order they were asked for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._heap: List[Tuple[float, int, Callable[..., object], Tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when: float, function: Callable[..., object], *arguments: Any) -> None:
        """Call it then; never in the past."""
        self._number += 1
        heappush(self._heap, (max(when, self.now), self._number, function, arguments))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end, heap = self.now + seconds, self._heap
        for _ in range(200_000):
            if not heap or heap[0][0] > end:
                self.now = end
                return
            when, _, function, arguments = heappop(heap)
            self.now = when
            function(*arguments)
        raise AssertionError("time does not pass: something is due again and again")
