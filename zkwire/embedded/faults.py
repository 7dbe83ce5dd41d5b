"""Faults on demand: the faults that a test can cause at the server and on its clients' connections.

Owns the switches and the rules that wait for a matching request. Must not know sockets: everything works on a virtual
clock, too. Every method can be called at any time. A session id selects one connection; without it the fault applies
to all connections, also to future ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Optional, Type, Union

from ..errors import MarshallingError
from ..wire.operation import Op
from . import requests
from .link import Link, Weather

if TYPE_CHECKING:
    from .core import ServerCore

_PING = 11


@dataclass
class Rule:
    """Answer the next `times` requests that match with an error."""

    code: int
    opcode: Optional[int]
    path: Optional[str]
    times: int
    applied: bool


class Faults:
    """The faults of one server."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core
        self._everywhere = Weather()
        self._rules: List[Rule] = []
        self._lag: Optional[int] = None
        self.refuses_sessions = False

    # ------------------------------------------------------------------------ connections

    def cut(self, now: float, session_id: Optional[int] = None, reset: bool = False) -> int:
        """Break connections at once, without a close reply; their sessions continue. Returns how many were broken.

        With `reset`, clients see a reset instead of an orderly end.
        """
        victims = self._links(session_id)
        for link in victims:
            link.reset = reset
            self._core.lost(link, now)
        return len(victims)

    def black_hole(self, direction: str = "both", session_id: Optional[int] = None) -> None:
        """Stop the traffic from the clients ("in"), to them ("out"), or "both"; connections stay open.

        Clients see a silent server; with "in" their sessions also expire. `heal` ends it, and the held bytes then
        arrive.
        """
        if direction not in ("in", "out", "both"):
            raise ValueError(f"direction {direction!r}: expected 'in', 'out' or 'both'")
        for weather in self.weathers(session_id):
            weather.hold_in |= direction != "out"
            weather.hold_out |= direction != "in"

    def delay(self, seconds: float, session_id: Optional[int] = None) -> None:
        """Delay replies, events and pings by this many seconds from now on; 0 for none."""
        for weather in self.weathers(session_id):
            weather.delay = seconds

    def drop_after(self, size: int, session_id: Optional[int] = None) -> None:
        """Break each connection after `size` more bytes to its client, possibly inside a frame."""
        for weather in self.weathers(session_id):
            weather.cut_after = size

    def heal(self, now: float) -> None:
        """End black holes, delays, pending cuts, rules of `answer`, lag and refusals; held bytes arrive now."""
        for weather in self.weathers(None):
            weather.hold_in = weather.hold_out = False
            weather.delay, weather.cut_after, weather.jitter, weather.rate = 0.0, None, None, 0.0
        self._rules.clear()
        self._lag = None
        self.refuses_sessions = False
        for link in list(self._core.links):
            self._core.receive(link, b"", now)
        self._core.ghosts.clear()

    # --------------------------------------------------------------------------- requests

    def answer(
        self, code: int, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *,
        times: int = 1, applied: bool = False,
    ) -> Rule:  # fmt: skip
        """Answer the next `times` requests that match with an error code, as -127 for ThrottledOp; returns the rule.

        `op` is a class of `zkwire.ops` (or an opcode), `path` the node's full path; None matches all but pings.
        The request is not carried out; with `applied` it is, and only its reply is replaced.
        """
        if times < 1:
            raise ValueError(f"times {times}: expected 1 or more")
        opcode = op if op is None or isinstance(op, int) else op.opcode
        rule = Rule(code, opcode, path, times, applied)
        self._rules.append(rule)
        return rule

    def forget(self, rule: Rule) -> None:
        """End a rule of `answer`; does nothing if it was used up."""
        self._rules = [one for one in self._rules if one is not rule]

    def lag_behind(self, zxid: Optional[int]) -> None:
        """Refuse clients that have seen a later zxid, like a server that lags behind; None ends it."""
        self._lag = zxid

    def refuse_sessions(self, refuse: bool = True) -> None:
        """Close the connection on every handshake, like a server without a quorum."""
        self.refuses_sessions = refuse

    def expire(self, session_id: int, now: float) -> bool:
        """Expire a session now; returns whether it existed.

        A session of the ensemble is expired by the ensemble: a server without a quorum learns it afterwards.
        """
        core = self._core
        session = core.alive().get(session_id)
        if session is None:
            return False
        if core.read_only and not session.local:
            core.given_away[session_id] = session
        else:
            core.end_session(session, now)
        return True

    # -------------------------------------------------------------------- what the core asks

    def weather_for_new(self) -> Weather:
        """The conditions of a new connection."""
        return dataclasses.replace(self._everywhere)

    def visible_zxid(self, applied: int) -> int:
        """The last zxid that this server shows to clients."""
        return applied if self._lag is None else min(self._lag, applied)

    def rule_for(self, opcode: int, body: bytes) -> Optional[Rule]:
        """The rule for a request; this call uses it up."""
        for rule in self._rules:
            if rule.opcode != opcode and (rule.opcode is not None or opcode == _PING):
                continue
            if rule.path is not None and rule.path != _path(opcode, body):
                continue
            rule.times -= 1
            if rule.times <= 0:
                self.forget(rule)
            return rule
        return None

    def _links(self, session_id: Optional[int]) -> List[Link]:
        return [link for link in self._core.links if session_id in (None, link.session_id)]

    def weathers(self, session_id: Optional[int]) -> List[Weather]:
        """The conditions of a session's connection; without a session id those of all, future ones included."""
        ghosts = self._core.ghosts if session_id is None else []
        mine = [link.weather for link in self._links(session_id) + ghosts]
        return mine + [self._everywhere] if session_id is None else mine


def _path(opcode: int, body: bytes) -> Optional[str]:
    """The path of a request, where it has one."""
    if opcode not in requests.FIELDS:
        return None
    try:
        path: Optional[str] = getattr(requests.read(opcode, body), "path", None)
    except MarshallingError:
        return None
    return path
