"""The servers of a simulation, as one: a `ServerCore`, of which a part may lose touch with the rest.

Owns what a part without a quorum believes of sessions. Must not know clients. `ensemble` has the other kind.
"""

from __future__ import annotations

from random import Random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Set, Tuple

from zkwire.embedded.database import Caller
from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.sessions import ServerSession, Sessions
from zkwire.embedded.settings import Settings
from zkwire.embedded.watches import ServerWatches
from zkwire.wire.messages import Scope

from .truth import Truth, is_write


class Server(ServerCore):
    """The server as a whole stands for the majority, and `sessions` is the truth. The part without a quorum knows the sessions
    there were when it lost touch, by a table of its own; what it says of them, and whether it resumes them, is up to the
    version. It sees the majority's nodes: that its own may be older, or gone, is not simulated.
    """

    #: How many hosts lead to it, whatever they are called; and that it is no ensemble.
    doors, is_ensemble = 5, False

    def __init__(self, settings: Settings, truth: Truth, random: Random, now: float) -> None:
        self.truth = truth
        #: What has happened here and is worth counting: nothing.
        self.counts: Dict[str, int] = {}
        #: Connections to a part without a quorum, which serves reads.
        self.minority: Set[Any] = set()
        self._alone = False
        super().__init__(settings, random=random, now=now)

    def _reset(self) -> None:
        super()._reset()
        self._left_behind: Sessions[Any] = self._no_sessions()
        self.truth.begin_anew(self.profile.config_node, self._now)
        self.data.journal = self.truth.take
        inner = self.data.answer

        def answer(opcode: int, body: bytes, *rest: Any) -> Optional[Tuple[int, bytes]]:
            result = inner(opcode, body, *rest)
            if is_write(opcode):
                self.truth.answered(opcode, body, result)
            return result

        self.data.answer = answer  # type: ignore[method-assign]

    def _no_sessions(self) -> Sessions[Any]:
        settings = self.settings
        table: Sessions[Any] = Sessions(
            self._random.getrandbits(56), settings.tick, settings.min_session_timeout, settings.max_session_timeout
        )
        table.password = self.sessions.password  # type: ignore[method-assign]  # which all servers can tell from the id
        return table

    def __str__(self) -> str:
        return "one server"

    def open(self, host: int, address: Tuple[str, int], now: float) -> Any:
        """A client has connected."""
        return self.accept(address, now)

    def is_open(self, host: int) -> bool:
        """Whether somebody listens there."""
        return True

    def next_moment(self) -> Optional[float]:
        """When `tick` is due, beside once a tick: never."""
        return None

    def ending(self, now: float) -> Set[int]:
        """The sessions that end with the next tick."""
        return set() if self.read_only else {session.id for session in self.sessions.expired(now, self.judges_local_only)}

    def watches_of(self, link: Any) -> ServerWatches:
        """The table that has the watches of a connection."""
        return self.data.watches

    def write(self, op: Any, now: float) -> None:
        """Somebody whose account is not kept writes."""
        self._now = now
        self.data.answer(op.opcode, op.frame(0, Scope())[12:], Caller(0, (), None), self.wall_ms(now))

    def some(self, rng: Random) -> Server:
        """A server to have a fault."""
        return self

    def heal(self, now: float) -> None:
        """All is well."""
        if self.read_only:
            self.go_read_only(now, False)
        self.faults(now).heal()

    def split(self, now: float) -> None:
        """A part of the servers loses touch with the others: from now on it hears of no session."""
        self._left_behind = self._no_sessions()
        for session in self.sessions.all():
            self._left_behind.put(ServerSession(session.id, session.timeout_ms, session.local), now)

    @contextmanager
    def _as_minority(self) -> Iterator[None]:
        whole, truth = self.read_only, self.sessions
        self._alone, self.read_only, self.sessions = True, True, self._left_behind
        try:
            yield
        finally:
            self._alone, self.read_only, self.sessions = False, whole, truth

    def receive(self, link: Any, data: bytes, now: float) -> None:
        """As ever, or as a read-only server for those of the minority."""
        if link in self.minority:
            with self._as_minority():
                super().receive(link, data, now)
        else:
            super().receive(link, data, now)

    def tick(self, now: float) -> None:
        """As ever, and the minority looks for silent sessions of its own."""
        super().tick(now)
        with self._as_minority():
            for session in self.sessions.expired(now, self.judges_local_only):
                self.end_session(session, now)

    def wipe(self, now: float) -> None:
        """As ever: no session is left."""
        for id_ in self.alive():
            self.truth.given_away_at.setdefault(id_, now)
        super().wipe(now)

    def expire(self, session_id: int, now: float) -> bool:
        """The majority gives a session away."""
        done = super().expire(session_id, now)
        if done:
            self.truth.given_away_at.setdefault(session_id, now)
        return done

    def end_session(self, session: Any, now: float, request: Any = None) -> None:
        """As ever, and then look at what is left. What ends without a quorum does not end for the majority."""
        if not self.read_only:
            self.truth.given_away_at.setdefault(session.id, now)
            super().end_session(session, now, request)
            return
        nodes = self.data.tree.ephemerals.pop(session.id, None)
        super().end_session(session, now, request)
        if nodes is not None:
            self.data.tree.ephemerals[session.id] = nodes
        if self._alone:
            self._ended_alone.pop(session.id, None)
