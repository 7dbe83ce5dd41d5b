"""What an `Endpoints` decides: which endpoints there are to be, which are to be made and closed, and when.

Owns that each instance has one endpoint, as long as its node is the same and holds the same data; that a factory which
fails is tried again, ever more slowly; and what becomes of all of them under trouble. Must not know threads, clocks,
nor how an endpoint is made: whoever owns it makes what `to_make` gives, and closes what `to_close` gives.
"""

from __future__ import annotations

from typing import Any, Dict, Generic, Iterable, List, Optional, Tuple, TypeVar

from .values import NoEndpointsError

I = TypeVar("I")  # noqa: E741  # an instance
E = TypeVar("E")  # what a factory makes

#: Seconds until a factory that has failed is called again for the same instance: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


class Endpoint(Generic[I, E]):
    """What a factory has made of an instance: `value`. `node` is the name of the instance's node.

    It is made once for each instance, so that it stands for itself: equal are only those that are the same.
    """

    __slots__ = ("instance", "value", "node")

    def __init__(self, instance: I, value: E, node: str = "") -> None:
        self.instance, self.value, self.node = instance, value, node

    def __repr__(self) -> str:
        return f"Endpoint({self.instance!r}, {self.value!r})"

    @property
    def weight(self) -> float:
        """That of the instance; 1.0 if it has none."""
        return float(getattr(self.instance, "weight", 1.0))

    @property
    def zone(self) -> str:
        """That of the instance; "" if it has none."""
        return str(getattr(self.instance, "zone", ""))


class _Place(Generic[I, E]):
    """One node: what it holds, and what was made of that. `old` is what was made of the data before."""

    def __init__(self, data: bytes, instance: I, old: Optional[Endpoint[I, E]]) -> None:
        self.data, self.instance, self.old = data, instance, old
        self.endpoint: Optional[Endpoint[I, E]] = None
        self.error: Optional[BaseException] = None
        self.retry_at: Optional[float] = None
        self.pause = FIRST_PAUSE


class Roster(Generic[I, E]):
    """The endpoints by the names of nodes. Under trouble they go after `patience` seconds; None: never."""

    def __init__(self, patience: Optional[float] = None) -> None:
        self._patience = patience
        self._places: Dict[str, _Place[I, E]] = {}
        self._bare: Dict[str, _Place[I, E]] = {}  # those of them without an endpoint; what has failed comes last
        self._closing: List[Endpoint[I, E]] = []
        self._shown: Optional[Tuple[Endpoint[I, E], ...]] = ()
        self._trouble: Optional[Exception] = None
        self._since: Optional[float] = None
        self._given_up = False

    # -------------------------------------------------------------------------- out

    def endpoints(self) -> Tuple[Endpoint[I, E], ...]:
        """Those that are to be called, by the names of their nodes; the same tuple until there are others."""
        if self._shown is None:
            places = [place for _, place in sorted(self._places.items())] if not self._given_up else []
            shown = [place.endpoint or place.old for place in places]
            self._shown = tuple(endpoint for endpoint in shown if endpoint is not None)
        return self._shown

    def left_out(self) -> Dict[str, BaseException]:
        """By the name of the node, why there is no endpoint for it."""
        return {name: place.error for name, place in self._places.items() if place.error is not None}

    @property
    def trouble(self) -> Optional[Exception]:
        """What is wrong with the set, or None."""
        return self._trouble

    def to_make(self, now: float) -> Optional[Tuple[str, bytes, I]]:
        """Name, data and instance of the next node for which an endpoint is to be made, or None."""
        if not self._given_up:
            for name, place in self._bare.items():
                if place.retry_at is None or place.retry_at <= now:
                    return name, place.data, place.instance
        return None

    def to_close(self) -> List[Endpoint[I, E]]:
        """Those that are to be closed now; each is given once."""
        closing, self._closing = self._closing, []
        return closing

    def deadline(self) -> Optional[float]:
        """When `to_make` has something, or `timed_out` is to be called, if at all."""
        times = [place.retry_at for place in self._bare.values() if not self._given_up]
        if self._since is not None and self._patience is not None and not self._given_up:
            times.append(self._since + self._patience)
        return min((time for time in times if time is not None), default=None)

    # --------------------------------------------------------------------------- in

    def seen(
        self, nodes: Iterable[Tuple[str, bytes, I]], trouble: Optional[Exception], now: float, old: bool = False,
    ) -> None:  # fmt: skip
        """These are there: name, data, instance. `trouble` is what is wrong with the set; with `old` it may be old."""
        before, self._places = self._places, {}
        for name, data, instance in nodes:
            place = before.pop(name, None)
            if place is None or place.data != data:
                place = _Place(data, instance, self._leave(place))
            self._places[name] = place
        for place in before.values():
            self._close(self._leave(place))
        self._bare = {name: place for name, place in self._bare.items() if self._places.get(name) is place}
        self._bare.update((name, place) for name, place in self._places.items() if place.endpoint is None)
        self._trouble = trouble
        self._since = (self._since if self._since is not None else now) if old else None
        self._given_up = self._given_up and old
        self._shown = None
        self.timed_out(now)

    def made(self, name: str, data: bytes, value: E) -> None:
        """An endpoint was made. If it is not wanted any more, it is to be closed at once."""
        place = self._places.get(name)
        if place is None or place.data != data or place.endpoint is not None or self._given_up:
            self._close(Endpoint(None, value, name))  # type: ignore[arg-type]
            return
        place.endpoint, place.error, place.retry_at = Endpoint(place.instance, value, name), None, None
        del self._bare[name]
        self._close(place.old)
        place.old, self._shown = None, None

    def failed(self, name: str, data: bytes, error: BaseException, now: float) -> bool:
        """The factory has failed; whether that is another error than before."""
        place = self._places.get(name)
        if place is None or place.data != data:
            return False
        news = str(place.error) != str(error) or type(place.error) is not type(error)
        self._bare[name] = self._bare.pop(name, place)
        place.error, place.retry_at, place.pause = error, now + place.pause, min(place.pause * 2, LONGEST_PAUSE)
        self._close(place.old)
        place.old, self._shown = None, None
        return news

    def timed_out(self, now: float) -> None:
        """Time has passed: whether trouble has lasted too long."""
        if self._patience is None or self._since is None or self._given_up or now < self._since + self._patience:
            return
        self._given_up, self._shown = True, None
        self._empty()

    def end(self) -> None:
        """Nothing is wanted any more."""
        self._given_up, self._shown = True, ()
        self._empty()

    def _empty(self) -> None:
        for name, place in self._places.items():
            self._close(self._leave(place))
            self._places[name] = self._bare[name] = _Place(place.data, place.instance, None)

    def _leave(self, place: Optional[_Place[I, E]]) -> Optional[Endpoint[I, E]]:
        """What was made for it; of two, the older one is not needed."""
        if place is None:
            return None
        if place.endpoint is not None:
            self._close(place.old)
            return place.endpoint
        return place.old

    def _close(self, endpoint: Optional[Endpoint[I, E]]) -> None:
        if endpoint is not None:
            self._closing.append(endpoint)


def none_of(directory: str, roster: Roster[Any, Any]) -> NoEndpointsError:
    """Why there is no endpoint to be called."""
    trouble, left_out, count = roster.trouble, roster.left_out(), len(roster.endpoints())
    what = f"none of the {count} endpoints of {directory} takes a call" if count else f"no endpoint of {directory}"
    failed = f"; the factory has failed for {len(left_out)}: {next(iter(left_out.values()))!r}" if left_out else ""
    why = f"; {type(trouble).__name__}: {trouble}" if trouble is not None else ""
    error = NoEndpointsError(f"{what}{failed}{why}", directory)
    error.__cause__ = trouble
    return error
