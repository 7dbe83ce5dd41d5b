"""Virtual time: what is to happen when, in one thread.

Owns the order of things. Must not know what they are.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, Callable, List, Optional, Tuple


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

    def run(self, seconds: float, enough: Optional[Callable[[], bool]] = None) -> None:
        """Let time pass, until `enough()` if it is given. What happens may let time pass, too."""
        end, heap = self.now + seconds, self._heap
        for _ in range(200_000):
            if not heap or heap[0][0] > end:
                self.now = max(self.now, end)
                return
            when, _, function, arguments = heappop(heap)
            self.now = max(self.now, when)
            function(*arguments)
            if enough is not None and enough():
                return
        raise AssertionError("time does not pass: something is due again and again")
