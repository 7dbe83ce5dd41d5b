"""The faults that have begun: what is left of them all when one of them ends.

Owns the order in which lasting faults began, and how to end one and no other. Must not know sockets, threads or the
clock. The latest fault of a kind is in effect; when it ends, the one before it is again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

if TYPE_CHECKING:
    from .core import ServerCore
    from .link import Weather

#: What a fault may change, of a connection or of the server, and how things are without one.
DEFAULTS: Dict[str, Any] = {
    "hold_in": False, "hold_out": False, "delay": 0.0, "jitter": None, "rate": 0.0, "cut_after": None,
    "lag": None, "refusal": False, "read_only": False, "down": False,
}  # fmt: skip
#: Those of the server: given the core, the value and the time.
_OF_SERVER: Dict[str, Callable[[Any, Any, float], None]] = {
    "lag": lambda core, value, now: core.faults.lag_behind(value),
    "refusal": lambda core, value, now: core.faults.refuse_sessions(value),
    "read_only": lambda core, value, now: core.go_read_only(now, value),
    "down": lambda core, value, now: None,  # what owns the sockets starts it
}


class OngoingFault:
    """A fault that has begun, as each switch of `EmbeddedServer` returns it.

    `with` ends it at the end of the block, `end()` at once. Both end what that one call has begun, and nothing else.
    Without either, it lasts until `heal`.
    """

    def __init__(
        self, end: Callable[[OngoingFault], None], session_id: Optional[int] = None, weathers: Sequence[Weather] = (),
        last: Optional[Callable[[], None]] = None, **changes: Any,
    ) -> None:  # fmt: skip
        self._end = end
        self._weathers, self._everywhere = list(weathers), session_id is None
        self.changes, self.last = changes, last

    def end(self) -> None:
        """End it; does nothing if it has ended. Does not block, but where it starts a server that was down."""
        self._end(self)

    def covers(self, weather: Optional[Weather]) -> bool:
        """Whether it has changed these conditions; None is the server itself."""
        return self._everywhere or any(weather is one for one in self._weathers)

    def __enter__(self) -> OngoingFault:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()


class Ongoing:
    """The faults of one server that last, oldest first."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core
        self._faults: List[OngoingFault] = []

    def begin(self, fault: OngoingFault) -> OngoingFault:
        """A fault has begun."""
        self._faults.append(fault)
        return fault

    def having(self, change: str = "") -> List[OngoingFault]:
        """The faults with this change, or all; the newest first."""
        return [fault for fault in reversed(self._faults) if not change or change in fault.changes]

    def end(self, fault: OngoingFault, now: float) -> None:
        """End a fault, as far as no later one is in effect; held bytes arrive now."""
        if fault not in self._faults:
            return
        index = self._faults.index(fault)
        earlier, later = self._faults[:index], self._faults[index + 1 :]
        self._faults.remove(fault)
        for change in fault.changes:
            places: List[Optional[Weather]] = [None]
            if change not in _OF_SERVER:
                places = [weather for weather in self._core.faults.weathers(None) if fault.covers(weather)]
            for place in places:
                if not _in_effect(later, change, place):
                    before = _in_effect(earlier, change, place)
                    self._set(change, place, before[-1].changes[change] if before else DEFAULTS[change], now)
        if fault.last is not None:
            fault.last()
        if "hold_in" in fault.changes or "hold_out" in fault.changes:
            self._arrive(now)

    def _set(self, change: str, weather: Optional[Weather], value: Any, now: float) -> None:
        if change in _OF_SERVER:
            _OF_SERVER[change](self._core, value, now)
        elif weather is not None:
            setattr(weather, change, value)

    def _arrive(self, now: float) -> None:
        core = self._core
        core.ghosts[:] = [ghost for ghost in core.ghosts if ghost.weather.hold_out]
        for link in list(core.links):
            core.receive(link, b"", now)


def _in_effect(faults: Sequence[OngoingFault], change: str, weather: Optional[Weather]) -> List[OngoingFault]:
    return [fault for fault in faults if change in fault.changes and fault.covers(weather)]
