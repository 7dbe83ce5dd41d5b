"""The better of two random ones.

Owns which of two is better. Must not know how long calls take.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key, Source
from .ejection import Ejection
from .outstanding import Outstanding


class TwoChoices(Balancer[I, E]):
    """Of two random ones, the one with fewer calls that were chosen and are not reported. O(1).

    It needs the report of every call. Many clients that know nothing of each other do not run to the same endpoint, as
    they would with `LeastOutstanding`, and a slow endpoint still gets fewer calls.
    """

    def __init__(
        self, source: Source[I, E], *, ejection: Optional[Ejection] = None,
        random: Optional[Callable[[], float]] = None, clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        super().__init__(source, ejection=ejection, random=random, clock=clock)
        self._calls = Outstanding()

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Forget who is gone."""
        self._calls.keep(self.everyone)

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Endpoint[I, E]:
        """The first of two different ones, unless the second has fewer calls."""
        one = live[int(self.random() * len(live))]
        if len(live) == 1:
            return one
        other = live[int(self.random() * (len(live) - 1))]
        if other is one:
            other = live[-1]
        return other if self._calls.of(other) < self._calls.of(one) else one

    def begun(self, endpoint: Endpoint[I, E]) -> None:
        """It has one call more."""
        self._calls.begun(endpoint)

    def over(self, endpoint: Endpoint[I, E]) -> None:
        """It has one call less."""
        self._calls.over(endpoint)
