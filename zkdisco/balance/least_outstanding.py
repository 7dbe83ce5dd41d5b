"""Whoever has the fewest calls under way.

Owns who comes first among those with equally many. Must not know how long calls take.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Callable, Dict, Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key, Source
from .ejection import Ejection
from .outstanding import Outstanding


class LeastOutstanding(Balancer[I, E]):
    """The one with the fewest calls that are chosen and not reported; of several, the one that has waited most. O(1).

    It needs the report of every call. An endpoint that fails at once looks idle: it is ejection that helps there.
    """

    def __init__(
        self, source: Source[I, E], *, ejection: Optional[Ejection] = None,
        random: Optional[Callable[[], float]] = None, clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        super().__init__(source, ejection=ejection, random=random, clock=clock)
        self._calls = Outstanding()
        self._least = 0
        self._queues: Dict[int, OrderedDict[Endpoint[I, E], None]] = {}  # by number of calls; none is empty

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Who was chosen last is not known of all: they begin at a random place."""
        self._calls.keep(self.everyone)
        self._queues = {}
        start = int(self.random() * len(live))
        for endpoint in live[start:] + live[:start]:
            self._queues.setdefault(self._calls.of(endpoint), OrderedDict())[endpoint] = None
        self._least = min(self._queues, default=0)

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Endpoint[I, E]:
        """The first of those with the fewest."""
        return next(iter(self._queues[self._least]))

    def begun(self, endpoint: Endpoint[I, E]) -> None:
        """It has one call more."""
        before = self._calls.of(endpoint)
        self._calls.begun(endpoint)
        self._move(endpoint, before, before + 1)

    def over(self, endpoint: Endpoint[I, E]) -> None:
        """It has one call less."""
        before = self._calls.of(endpoint)
        if self._calls.over(endpoint):
            self._move(endpoint, before, before - 1)

    def _move(self, endpoint: Endpoint[I, E], before: int, after: int) -> None:
        queue = self._queues.get(before)
        if queue is None or endpoint not in queue:
            return  # it is not live
        del queue[endpoint]
        if not queue:
            del self._queues[before]
        self._queues.setdefault(after, OrderedDict())[endpoint] = None
        self._least = after if after < self._least or self._least not in self._queues else self._least
