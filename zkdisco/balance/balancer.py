"""What all balancers share: where endpoints come from, who is left out, and that many threads may choose.

Owns the lock, and the order of what happens in a choice. Must not know how one of several endpoints is chosen: that is
what derived classes know, which need no lock, no clock and no chance but `self.random`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Any, Callable, Generic, Iterator, Optional, Protocol, Tuple, Union

from ..roster import E, Endpoint, I
from ..values import NoEndpointsError
from .ejection import Ejection

Key = Union[str, bytes]


class Source(Protocol[I, E]):
    """Where endpoints come from: an `Endpoints` of either front, or a `FixedEndpoints`."""

    def endpoints(self) -> Tuple[Endpoint[I, E], ...]:
        """All there are; the same tuple until there are others. Never blocks."""

    def none(self) -> NoEndpointsError:
        """Why there are none."""

    @property
    def clock(self) -> Callable[[], float]:
        """The time in seconds, as of `time.monotonic`."""

    @property
    def random(self) -> Callable[[], float]:
        """Numbers from 0.0 to 1.0, as of `random.random`."""


class Balancer(Generic[I, E]):
    """A base class: whoever derives from it says in `pick` which endpoint is next. Thread-safe; never blocks.

    `ejection` says when failing endpoints are left out; without one it is `Ejection()`, and each balancer needs its
    own. `clock` and `random` are those of the source, unless they are given.
    """

    def __init__(
        self, source: Source[I, E], *, ejection: Optional[Ejection] = None,
        random: Optional[Callable[[], float]] = None, clock: Optional[Callable[[], float]] = None,
    ) -> None:  # fmt: skip
        self._source, self._ejection = source, (ejection if ejection is not None else Ejection()).take()
        self.random = random if random is not None else source.random
        self._clock = clock if clock is not None else source.clock
        self._lock = threading.RLock()  # a signal handler may come in between
        self._all: Tuple[Endpoint[I, E], ...] = ()
        self._live: Tuple[Endpoint[I, E], ...] = ()
        self._look_at: Optional[float] = None  # when those ejected have to be looked at again
        self._ejection_changed = False

    # ------------------------------------------------------------------ for its user

    def choose(self, key: Optional[Key] = None) -> Endpoint[I, E]:
        """The endpoint for the next call. `NoEndpointsError`, with the cause, if there is none.

        `key` (str or bytes) is what a `ConsistentHash` chooses by; the others take no notice of it. Whoever chooses
        reports: see `report`, or take `call`.
        """
        with self._lock:
            now = self._clock()
            self._look(now)
            endpoint = self.pick(self._live, key) if self._live else None
            if endpoint is not None:
                self._ejection_changed |= self._ejection.chosen(endpoint, now)
                self.begun(endpoint)
                return endpoint
        raise self._source.none()

    def report(self, endpoint: Endpoint[I, E], error: Optional[BaseException], seconds: float) -> None:
        """How a call of this endpoint has ended: once for each choice. `error` is None for a success.

        A `BaseException` that is no `Exception`, as `asyncio.CancelledError` is, tells nothing of the endpoint.
        """
        with self._lock:
            self._ejection_changed |= self._ejection.report(endpoint, error, seconds, self._clock(), self.random)
            self.over(endpoint)

    @contextmanager
    def call(self, key: Optional[Key] = None) -> Iterator[Endpoint[I, E]]:
        """Choose an endpoint for the block, and report what becomes of it: an exception is an error, and goes on."""
        endpoint = self.choose(key)
        began = self._clock()
        error: Optional[BaseException] = None
        try:
            yield endpoint
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.report(endpoint, error, self._clock() - began)

    def ejected(self) -> Tuple[Endpoint[I, E], ...]:
        """Those that are left out just now because of what was reported."""
        with self._lock:
            self._look(self._clock())
            live = set(self._live)
            return tuple(endpoint for endpoint in self._all if endpoint not in live)

    # -------------------------------------------------------------- for those derived

    @property
    def everyone(self) -> Tuple[Endpoint[I, E], ...]:
        """All there are, also those ejected."""
        return self._all

    def changed(self, live: Tuple[Endpoint[I, E], ...]) -> None:
        """Others may be chosen from now on."""

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Optional[Endpoint[I, E]]:
        """One of these, of which there is at least one; None if none of them may be called."""
        raise NotImplementedError

    def begun(self, endpoint: Endpoint[I, E]) -> None:
        """It was chosen."""

    def over(self, endpoint: Endpoint[I, E]) -> None:
        """A call of it has ended; perhaps it is none of the live ones any more."""

    def _look(self, now: float) -> None:
        """See who may be chosen now."""
        found = self._source.endpoints()
        due = self._look_at is not None and now >= self._look_at
        if found is self._all and not due and not self._ejection_changed:
            return
        if found is not self._all:
            self._all = found
            self._ejection.keep(found)
        live: Tuple[Any, ...] = self._ejection.live(found, now)
        self._look_at, self._ejection_changed = self._ejection.deadline(now), False
        if live != self._live:
            self._live = live
            self.changed(live)
