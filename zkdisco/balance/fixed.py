"""Endpoints that are what they are: for tests, and for those who have a list.

Owns the tuple. Must not know where it comes from.
"""

from __future__ import annotations

from typing import Callable, Generic, Iterable, Tuple

from ..roster import E, Endpoint, I
from ..values import NoEndpointsError


class FixedEndpoints(Generic[I, E]):
    """A source of endpoints with these instances and values; `set` gives it others.

    `random` gives numbers from 0.0 to 1.0 and `clock` seconds, as `random.random` and `time.monotonic` do.
    """

    def __init__(
        self, pairs: Iterable[Tuple[I, E]], *, random: Callable[[], float], clock: Callable[[], float]
    ) -> None:  # fmt: skip
        self.random, self.clock = random, clock
        self._endpoints: Tuple[Endpoint[I, E], ...] = ()
        self.set(Endpoint(instance, value) for instance, value in pairs)

    def set(self, endpoints: Iterable[Endpoint[I, E]]) -> None:
        """These are the endpoints from now on."""
        self._endpoints = tuple(endpoints)

    def endpoints(self) -> Tuple[Endpoint[I, E], ...]:
        """All of them."""
        return self._endpoints

    def none(self) -> NoEndpointsError:
        """There are none, or none that may be called."""
        return NoEndpointsError(f"none of {len(self._endpoints)} endpoints takes a call")
