"""Faults on demand: what a test can do to a server, and to the connections of its clients.

Owns the switches, each declared once, for cores on a virtual clock and for servers on sockets. Must not know sockets.
"""

from __future__ import annotations

from contextlib import nullcontext
from random import Random
from typing import Any, Callable, ContextManager, Dict, FrozenSet, List, Optional, Type, Union

from ..ops import BY_OPCODE
from ..wire.operation import Op
from .conditions import Rule
from .core import BareCore
from .link import ServerLink
from .ongoing import Ongoing, OngoingFault

_BLACK_HOLES: Dict[str, Dict[str, Any]] = {
    "in": {"hold_in": True}, "out": {"hold_out": True}, "both": {"hold_in": True, "hold_out": True},
}  # fmt: skip
_WRITES = frozenset(code for code, op in BY_OPCODE.items() if op.writes)


class Faults:
    """The switches of one server.

    Each acts at once, and returns at once. A `session_id` is `zk.client_id[0]`; without one a switch applies to all
    connections, also to future ones. A fault that lasts is returned: `with server.delay(1.0): ...` ends this one and no
    other, and `heal` ends all.
    """

    _core: BareCore
    _ongoing: Ongoing

    def _changed(self) -> ContextManager[float]:
        """Hold the server still for a change; `with` returns the time."""
        raise NotImplementedError

    # ------------------------------------------------------------------------ connections

    def cut(self, session_id: Optional[int] = None, *, reset: bool = False) -> int:
        """Break the connection of a session, or all with None; sessions continue. Returns how many were broken.

        Clients reconnect at once, unless `refuse_sessions` or `lag_behind` refuses them. With `reset`, they get a
        reset (RST) instead of an orderly end (FIN).
        """
        with self._changed() as now:
            victims = self._links(session_id)
            for link in victims:
                link.reset = reset
                self._core.lost(link, now)
            return len(victims)

    def black_hole(self, direction: str = "both", session_id: Optional[int] = None) -> OngoingFault:
        """Stop the traffic from clients ("in"), to them ("out") or "both"; connections stay open.

        With "in" and "both", sessions expire; with "out" requests are carried out, but clients get no replies. What
        was held arrives at the end. `ValueError` for another direction.
        """
        if direction not in _BLACK_HOLES:
            raise ValueError(f"direction {direction!r}: expected 'in', 'out' or 'both'")
        return self._begin(session_id, **_BLACK_HOLES[direction])

    def delay(
        self, seconds: float, session_id: Optional[int] = None, *, jitter: float = 0.0, seed: Optional[int] = None
    ) -> OngoingFault:
        """Delay everything sent to clients (replies, events, pings) by this many seconds; 0 ends it.

        With `jitter`, each is late by up to that many seconds more; with `seed` by the same ones in each run. The order
        stays. Requests are carried out at once. `ValueError` for negative times.
        """
        if seconds < 0 or jitter < 0:
            raise ValueError(f"delay {seconds}, jitter {jitter}: expected seconds, 0 or more")
        if not seconds and not jitter and session_id is None:
            return self._end_all("delay")
        dice = Random(seed)  # noqa: S311
        more = (lambda: dice.uniform(0.0, jitter)) if jitter else None
        return self._begin(session_id, delay=seconds, jitter=more)

    def limit_rate(self, rate: float, session_id: Optional[int] = None) -> OngoingFault:
        """Send at most `rate` bytes a second on each connection to a client; `ValueError` if that is not above 0.

        Each reply arrives as a whole, once all its bytes would have.
        """
        if rate <= 0:
            raise ValueError(f"rate {rate}: expected bytes a second, above 0")
        return self._begin(session_id, rate=rate)

    def drop_after(self, size: int, session_id: Optional[int] = None) -> OngoingFault:
        """Break each connection after `size` more bytes to its client, possibly inside a frame.

        With 0 it breaks at once. Without a session id, new connections break after as many bytes, too, until the fault
        ends: with a small size, no client can connect.
        """
        with self._changed():
            fault = self._begin(session_id, cut_after=size)
            for link in self._links(session_id):
                link.stir()  # with 0, though there is nothing to send
            return fault

    # --------------------------------------------------------------------------- requests

    def answer(
        self, code: int, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *,
        times: int = 1, applied: bool = False,
    ) -> OngoingFault:  # fmt: skip
        """Answer the next `times` requests that match with an error code instead of carrying them out.

            server.answer(ThrottledOpError.code, SetData, "/a", times=3)

        `op` is a class of `zkwire.ops` or an opcode, `path` the full path of the node; None matches all, but pings.
        With `applied` the request is carried out and only its reply is replaced. Of several rules that match, the
        oldest is used. `ValueError` for `times` below 1.
        """
        return self._begin_rule(Rule(code, _opcodes(op, None), path, times, applied))

    def lose_answer(
        self, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *, times: int = 1
    ) -> OngoingFault:
        """Carry out the next `times` requests that match, and break the connection instead of answering.

        `op` and `path` are as in `answer`, and it is one of its rules; but without `op` any write matches. Earlier
        answers on the way are lost as well. `ValueError` for `times` below 1.
        """
        return self._begin_rule(Rule(None, _opcodes(op, _WRITES), path, times, True))

    # --------------------------------------------------------------------------- sessions

    def lag_behind(self, zxid: Optional[int]) -> OngoingFault:
        """Refuse clients that have seen a transaction after `zxid`, like a server that lags behind; None ends it.

        It takes effect when clients connect: `cut` existing connections.
        """
        return self._end_all("lag") if zxid is None else self._begin(lag=zxid)

    def refuse_sessions(self, refuse: bool = True) -> OngoingFault:
        """Close the connection of every client that connects, like a server without a quorum; False ends it.

        Existing connections are not affected: `cut` them.
        """
        return self._begin(refuses_sessions=True) if refuse else self._end_all("refuses_sessions")

    def expire(self, session_id: int) -> bool:
        """Expire a session now; returns whether it existed.

        The server deletes its ephemeral nodes, notifies other sessions' watches and closes its connection; the client
        gets the expiry when it reconnects, and makes a new session. In read-only mode the ensemble expires the session:
        this server learns it when that mode ends, and before 3.7 it serves the session until then.
        """
        with self._changed() as now:
            return self._core.expire(session_id, now)

    # -------------------------------------------------------------------------------- end

    def heal(self) -> None:
        """End all faults that last; held bytes arrive. What no switch has begun, as `stop`, is not undone."""
        with self._changed() as now:
            self._end_all()
            core = self._core
            core.conditions.clear()
            for link in [*core.links, *core.ghosts]:
                link.weather.clear()
            self._ongoing.arrive(now)

    # ----------------------------------------------------------------------------- lasting

    def _begin(
        self, session_id: Optional[int] = None, last: Optional[Callable[[float], None]] = None, **changes: Any
    ) -> OngoingFault:
        with self._changed():
            weathers = None if session_id is None else [link.weather for link in self._links(session_id)]
            return self._ongoing.begin(OngoingFault(self._end, weathers, last, **changes))

    def _begin_rule(self, rule: Rule) -> OngoingFault:
        if rule.times < 1:
            raise ValueError(f"times {rule.times}: expected 1 or more")
        with self._changed():
            self._core.conditions.rules.append(rule)
            return self._begin(last=lambda now: self._core.conditions.forget(rule))

    def _end(self, fault: OngoingFault) -> None:
        with self._changed() as now:
            self._ongoing.end(fault, now)

    def _end_all(self, change: str = "") -> OngoingFault:
        """End all faults with this change, or all of them; returns one that has ended."""
        with self._changed():
            for fault in self._ongoing.having(change):
                self._end(fault)
        return OngoingFault(self._end)

    def _links(self, session_id: Optional[int]) -> List[ServerLink]:
        return [link for link in self._core.links if session_id in (None, link.session_id)]


def _opcodes(op: Union[Type[Op[Any]], int, None], default: Optional[FrozenSet[int]]) -> Optional[FrozenSet[int]]:
    return default if op is None else frozenset([op if isinstance(op, int) else op.opcode])


class FaultsAt(Faults):
    """The switches of a core on a virtual clock, at a moment of it.

    What they return ends by itself at that same moment, and with `core.faults(later).end(fault)` later.
    """

    def __init__(self, core: BareCore, ongoing: Ongoing, now: float) -> None:
        self._core, self._ongoing, self._now = core, ongoing, now

    def end(self, fault: OngoingFault) -> None:
        """End a fault that has begun at an earlier moment."""
        self._end(fault)

    def _changed(self) -> ContextManager[float]:
        return nullcontext(self._now)
