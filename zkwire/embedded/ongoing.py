"""The faults that have begun: what is left of them all when one of them ends.

Owns the order in which lasting faults began, and how to end one and no other. Must not know sockets, threads or the
clock. The latest fault of a kind is in effect; when it ends, the one before it is again.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

from .conditions import Conditions, Weather

if TYPE_CHECKING:
    from .core import BareCore

_OF_CONNECTIONS = frozenset(field.name for field in dataclasses.fields(Weather))
_OF_SERVER = frozenset(field.name for field in dataclasses.fields(Conditions))
#: How things are without a fault.
_DEFAULTS: Dict[str, Any] = {**vars(Conditions()), **vars(Weather())}


class OngoingFault:
    """A fault that has begun, as each switch of `EmbeddedServer` returns it.

    `with` ends it at the end of the block, `end()` at once. Both end what that one call has begun, and nothing else.
    Without either, it lasts until `heal`.
    """

    def __init__(
        self, end: Callable[[OngoingFault], None], weathers: Optional[Sequence[Weather]] = None,
        last: Optional[Callable[[float], None]] = None, **changes: Any,
    ) -> None:  # fmt: skip
        self._end, self._weathers = end, weathers
        self.changes, self.last = changes, last

    def end(self) -> None:
        """End it; does nothing if it has ended. Does not block, but where it starts a server that was down."""
        self._end(self)

    def covers(self, place: object) -> bool:
        """Whether it is about these conditions: those of the server, or the weather of a connection."""
        return self._weathers is None or any(place is one for one in self._weathers)

    def __enter__(self) -> OngoingFault:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()


class Ongoing:
    """The faults of one server that last, oldest first.

    A fault changes fields of `Weather` and of `Conditions`, by name; other names only say what `last` undoes.
    """

    def __init__(self, core: BareCore) -> None:
        self._core = core
        self._faults: List[OngoingFault] = []

    def begin(self, fault: OngoingFault) -> OngoingFault:
        """A fault begins: make its changes."""
        for change, value in fault.changes.items():
            for place in self._places(change, fault):
                setattr(place, change, value)
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
            for place in self._places(change, fault):
                if not _in_effect(later, change, place):
                    before = _in_effect(earlier, change, place)
                    setattr(place, change, before[-1].changes[change] if before else _DEFAULTS[change])
        if fault.last is not None:
            fault.last(now)
        if "hold_in" in fault.changes or "hold_out" in fault.changes:
            self.arrive(now)

    def arrive(self, now: float) -> None:
        """What was held arrives, where nothing holds it any more."""
        core = self._core
        core.ghosts[:] = [ghost for ghost in core.ghosts if ghost.weather.hold_out]
        for link in list(core.links):
            core.receive(link, b"", now)

    def _places(self, change: str, fault: OngoingFault) -> List[Any]:
        """The conditions that have this field, and that the fault is about; future connections are one of them."""
        core = self._core
        if change in _OF_CONNECTIONS:
            weathers = [link.weather for link in [*core.links, *core.ghosts]]
            return [one for one in [*weathers, core.conditions.everywhere] if fault.covers(one)]
        return [core.conditions] if change in _OF_SERVER else []


def _in_effect(faults: Sequence[OngoingFault], change: str, place: object) -> List[OngoingFault]:
    return [fault for fault in faults if change in fault.changes and fault.covers(place)]
