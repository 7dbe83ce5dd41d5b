"""Faults on demand: what a test can do to a server, and to the connections of its clients.

Owns the switches, each declared once, for cores on a virtual clock and for servers on sockets. Must not know sockets.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ContextManager, List, Optional, Type, Union

from ..wire.operation import Op
from .conditions import Rule, Weather
from .core import BareCore
from .link import ServerLink


class Faults:
    """The switches of one server.

    Each acts at once, and returns at once. A `session_id` is `zk.client_id[0]`; without one a switch applies to all
    connections, also to future ones.
    """

    _core: BareCore

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

    def black_hole(self, direction: str = "both", session_id: Optional[int] = None) -> None:
        """Stop the traffic from clients ("in"), to them ("out") or "both", until `heal`; connections stay open.

        With "in" and "both", sessions expire; with "out" requests are carried out, but clients get no replies.
        `ValueError` for another direction.
        """
        if direction not in ("in", "out", "both"):
            raise ValueError(f"direction {direction!r}: expected 'in', 'out' or 'both'")
        with self._changed():
            for weather in self._weathers(session_id):
                weather.hold_in |= direction != "out"
                weather.hold_out |= direction != "in"

    def delay(self, seconds: float, session_id: Optional[int] = None) -> None:
        """Delay everything sent to clients (replies, events, pings) by this many seconds; 0 ends it.

        The order stays. Requests are carried out at once.
        """
        with self._changed():
            for weather in self._weathers(session_id):
                weather.delay = seconds

    def drop_after(self, size: int, session_id: Optional[int] = None) -> None:
        """Break each connection after `size` more bytes to its client, possibly inside a frame.

        With 0 it breaks at once. Without a session id, new connections break after as many bytes, too, until `heal`:
        with a small size, no client can connect.
        """
        with self._changed():
            for weather in self._weathers(session_id):
                weather.cut_after = size
            for link in self._links(session_id):
                link.stir()  # with 0, though there is nothing to send

    # --------------------------------------------------------------------------- requests

    def answer(
        self, code: int, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *,
        times: int = 1, applied: bool = False,
    ) -> None:  # fmt: skip
        """Answer the next `times` requests that match with an error code instead of carrying them out.

            server.answer(ThrottledOpError.code, SetData, "/a", times=3)

        `op` is a class of `zkwire.ops` or an opcode, `path` the full path of the node; None matches all, but pings.
        With `applied` the request is carried out and only its reply is replaced. Of several rules that match, the
        oldest is used. `ValueError` for `times` below 1.
        """
        if times < 1:
            raise ValueError(f"times {times}: expected 1 or more")
        opcode = op if op is None or isinstance(op, int) else op.opcode
        with self._changed():
            self._core.conditions.rules.append(Rule(code, opcode, path, times, applied))

    # --------------------------------------------------------------------------- sessions

    def lag_behind(self, zxid: Optional[int]) -> None:
        """Refuse clients that have seen a transaction after `zxid`, like a server that lags behind; None ends it.

        It takes effect when clients connect: `cut` existing connections.
        """
        with self._changed():
            self._core.conditions.lag = zxid

    def refuse_sessions(self, refuse: bool = True) -> None:
        """Close the connection of every client that connects, like a server without a quorum; False ends it.

        Existing connections are not affected: `cut` them.
        """
        with self._changed():
            self._core.conditions.refuses_sessions = refuse

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
        """End black holes, delays, pending drops, rules of `answer`, lag and refusals; held bytes arrive."""
        with self._changed() as now:
            core = self._core
            core.conditions.clear()
            for link in [*core.links, *core.ghosts]:
                link.weather.clear()
            for link in list(core.links):
                core.receive(link, b"", now)
            core.ghosts.clear()

    def _links(self, session_id: Optional[int]) -> List[ServerLink]:
        return [link for link in self._core.links if session_id in (None, link.session_id)]

    def _weathers(self, session_id: Optional[int]) -> List[Weather]:
        links = self._links(session_id)
        if session_id is not None:
            return [link.weather for link in links]
        return [link.weather for link in [*links, *self._core.ghosts]] + [self._core.conditions.everywhere]


class FaultsAt(Faults):
    """The switches of a core on a virtual clock, at a moment of it."""

    def __init__(self, core: BareCore, now: float) -> None:
        self._core, self._now = core, now

    def _changed(self) -> ContextManager[float]:
        return nullcontext(self._now)
