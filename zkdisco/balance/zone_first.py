"""Those nearby, as far as they are enough.

Owns how much of the calls stays in the zone. Must not know more of endpoints than their zones.

As Envoy's zone aware routing: a zone that has a smaller part of the endpoints than of the clients keeps as many calls
as its endpoints' fair part. The rest goes to zones that have more endpoints than they need, so that all endpoints get
the same. Envoy knows where the clients are; here `share` says it, or each zone is taken to have as many as any other.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key, Source
from .ejection import Ejection


class ZoneFirst(Balancer[I, E]):
    """Endpoints of `zone` one after the other; what they cannot bear, with all other zones, goes to those. O(zones).

    The zone of an endpoint is that of its instance (`Instance.zone`). `share` is the part of all clients that are in
    `zone`, from 0.0 to 1.0; None: one divided by the number of zones. `ValueError` for what can be no such part.
    """

    def __init__(
        self, source: Source[I, E], zone: str, *, share: Optional[float] = None, ejection: Optional[Ejection] = None,
        random: Optional[Callable[[], float]] = None, clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        super().__init__(source, ejection=ejection, random=random, clock=clock)
        if share is not None and not 0 <= share <= 1:
            raise ValueError(f"invalid share {share!r}: a number from 0.0 to 1.0")
        self._zone, self._share = zone, share
        self._zones: Dict[str, List[Endpoint[I, E]]] = {}
        self._turns: Dict[str, int] = {}
        self._odds: List[Tuple[float, str]] = []  # up to which number which zone is taken

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Say anew how much goes where."""
        self._zones = {self._zone: []}
        for endpoint in live:
            self._zones.setdefault(endpoint.zone, []).append(endpoint)
        count = len(self._zones)
        share = 1 / count if self._share is None else self._share
        fair = {zone: len(live) * (1 - share) / (count - 1) for zone in self._zones if zone != self._zone}
        ours = len(self._zones[self._zone])
        kept = min(1.0, ours / (len(live) * share)) if live and share and fair else 1.0 if ours else 0.0
        spare = {zone: max(0.0, len(self._zones[zone]) - fair[zone]) for zone in fair}
        if not any(spare.values()):
            spare = {zone: float(len(self._zones[zone])) for zone in fair}
        total, up_to = sum(spare.values()), kept
        self._odds = [(kept, self._zone)]
        for zone, part in spare.items():
            up_to += (1 - kept) * part / total
            self._odds.append((up_to, zone))

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Endpoint[I, E]:
        """The next of a zone, mostly ours."""
        number = self.random()
        zone = next((zone for up_to, zone in self._odds if number < up_to), self._odds[-1][1])
        there = self._zones[zone] or list(live)  # a number that is all but 1.0
        turn = self._turns.get(zone, int(self.random() * len(there)))
        self._turns[zone] = (turn + 1) % len(there)
        return there[turn % len(there)]
