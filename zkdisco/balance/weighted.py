"""By weight, and evenly over time.

Owns when each endpoint is due. Must not know more of endpoints than their weights.

Each endpoint is due every 1/weight; the one that is due first is next (earliest deadline first, as Envoy's weighted
round robin). nginx's smooth weighted round robin gives such sequences too, but looks at all of them each time.
"""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import Callable, Dict, List, Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key, Source
from .ejection import Ejection


class Weighted(Balancer[I, E]):
    """Each as often as its weight says: one of weight 2.0 takes twice the calls of one of 1.0, and not all at once.

    The weight is that of the instance (`Instance.weight`); an instance without one has 1.0, and one of weight 0 takes
    no call. O(log n) for each choice; O(n) when others come or go.
    """

    def __init__(
        self, source: Source[I, E], *, ejection: Optional[Ejection] = None,
        random: Optional[Callable[[], float]] = None, clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        super().__init__(source, ejection=ejection, random=random, clock=clock)
        self._now = 0.0  # when the one that was chosen last was due
        self._heap: List[Tuple[float, int, Endpoint[I, E]]] = []  # when each is due; the place decides between equals

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Those that were there are due when they were; new ones at some time within their first turn."""
        due: Dict[Endpoint[I, E], float] = {endpoint: at for at, _, endpoint in self._heap}
        self._heap = []
        for place, endpoint in enumerate(live):
            if endpoint.weight > 0:
                turn = self.random() / endpoint.weight
                self._heap.append((due.get(endpoint, self._now + turn), place, endpoint))
        heapify(self._heap)

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Optional[Endpoint[I, E]]:
        """The one that is due first; None if all have weight 0."""
        if not self._heap:
            return None
        self._now, place, endpoint = self._heap[0]
        heapreplace(self._heap, (self._now + 1 / endpoint.weight, place, endpoint))
        return endpoint
