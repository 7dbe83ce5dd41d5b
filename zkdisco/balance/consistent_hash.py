"""The same endpoint for the same key, as long as it is there.

Owns the ring. Must not know what keys mean.

Each endpoint has `points` places on a ring of 64-bit numbers. A key belongs to the first place behind its own. So an
endpoint that comes or goes moves only the keys that are, or were, its own: about 1/n. The places depend on the
instance's name alone: all clients, in all processes and on all machines, agree.
"""

from __future__ import annotations

from bisect import bisect
from hashlib import blake2b
from struct import unpack
from typing import Callable, Dict, List, Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key, Source
from .ejection import Ejection


class ConsistentHash(Balancer[I, E]):
    """By key. O(log n) for each choice; O(n) when others come or go.

    `identity(instance)` is the name by which instances are told apart: their text (`str`) as a rule, which is
    host:port for an `Instance`. Of several with one name the first gets the keys. With more `points` the load is more
    even, and a change costs more. An instance of weight 2.0 has twice as many (`Instance.weight`), one of 0 none. While
    an endpoint is ejected, its keys belong to those behind it. `choose` raises `TypeError` for what is no key.
    """

    def __init__(
        self, source: Source[I, E], *, points: int = 100, identity: Callable[[I], str] = str,
        ejection: Optional[Ejection] = None, random: Optional[Callable[[], float]] = None,
        clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        super().__init__(source, ejection=ejection, random=random, clock=clock)
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise ValueError(f"invalid points {points!r}: a number of places, 1 or more")
        self._points, self._identity = points, identity
        self._places: Dict[Tuple[str, int], Tuple[int, ...]] = {}  # by name and number, as long as they are needed
        self._ring: List[int] = []
        self._owners: Dict[int, Endpoint[I, E]] = {}

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Make the ring anew, of places that are mostly known."""
        known, self._places, self._owners = self._places, {}, {}
        for endpoint in live:
            count = max(1, round(self._points * endpoint.weight)) if endpoint.weight > 0 else 0
            name = (self._identity(endpoint.instance), count)
            places = self._places[name] = known.get(name) or _places(*name)
            for place in places:
                self._owners.setdefault(place, endpoint)
        self._ring = sorted(self._owners)

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Optional[Endpoint[I, E]]:
        """The owner of the key; None if all have weight 0."""
        if isinstance(key, str):
            key = key.encode("utf-8", "surrogatepass")
        if not isinstance(key, bytes):
            raise TypeError(f"a key is a str or bytes, not {type(key).__name__}")
        if not self._ring:
            return None
        (place,) = unpack(">Q", blake2b(key, digest_size=8).digest())
        return self._owners[self._ring[bisect(self._ring, place) % len(self._ring)]]


def _places(name: str, count: int) -> Tuple[int, ...]:
    """So many places for an endpoint of this name, eight from each hash."""
    start = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=64)
    places: List[int] = []
    for number in range(0, count, 8):
        one = start.copy()
        one.update(b"\0%d" % number)
        places += unpack(">8Q", one.digest())
    return tuple(places[:count])
