"""Moments by key: which is next, and which have come. To move one costs the same however many there are.

Owns a heap in which outdated entries wait until they come up. Must not know what the keys are, or a clock.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Dict, Generic, List, Optional, Tuple, TypeVar

K = TypeVar("K")
#: A heap with so many outdated entries more than keys is made anew.
_SLACK = 64


class Alarms(Generic[K]):
    """At most one moment for each key. Of equal moments, the one set first comes first."""

    def __init__(self) -> None:
        self._moments: Dict[K, float] = {}
        #: The moment of the heap's entry for a key, which may be too early but never too late.
        self._entered: Dict[K, float] = {}
        self._heap: List[Tuple[float, int, K]] = []
        self._order = count()

    def set(self, key: K, moment: float) -> None:
        """Set or move the moment of a key."""
        self._moments[key] = moment
        entered = self._entered.get(key)
        if entered is None or moment < entered:
            self._enter(key, moment)
            if len(self._heap) > 2 * len(self._moments) + _SLACK:
                self._rebuild()

    def drop(self, key: K) -> None:
        """Forget a key, if it is there."""
        self._moments.pop(key, None)

    def next(self) -> Optional[float]:
        """The earliest moment, or None."""
        while self._heap:
            entered, _, key = self._heap[0]
            moment = self._moments.get(key)
            if moment == entered == self._entered.get(key):
                return moment
            heapq.heappop(self._heap)
            if self._entered.get(key) == entered:
                del self._entered[key]
                if moment is not None:
                    self._enter(key, moment)
        return None

    def due(self, now: float) -> List[K]:
        """The keys whose moment has come, earliest first. They stay, until they are moved or dropped."""
        keys: List[K] = []
        moment = self.next()
        while moment is not None and moment <= now:
            key = heapq.heappop(self._heap)[2]
            del self._entered[key]
            keys.append(key)
            moment = self.next()
        for key in keys:
            self._enter(key, self._moments[key])
        return keys

    def _enter(self, key: K, moment: float) -> None:
        self._entered[key] = moment
        heapq.heappush(self._heap, (moment, next(self._order), key))

    def _rebuild(self) -> None:
        self._heap.clear()
        self._entered.clear()
        for key, moment in self._moments.items():
            self._enter(key, moment)
