"""An ensemble of embedded servers in this process: several ports, several trees, one leader.

Owns its life and its members; `quorum` owns who leads, `serving` sockets, thread and clock. Must not know the protocol.
"""

from __future__ import annotations

import random
import threading
import time
from types import TracebackType
from typing import Any, ContextManager, Optional, Tuple, Type

from .faults import Faults
from .looking import Looking
from .member import MemberCore
from .quorum import Quorum
from .serving import Serving
from .settings import Settings


class EmbeddedEnsemble:
    """`size` in-memory ZooKeeper servers on 127.0.0.1 that elect a leader, and `observers`, which do not vote.

        with EmbeddedEnsemble(3) as ensemble:        # or start() and stop()
            with ZooKeeper(ensemble.hosts) as zk:
                zk.create("/a")
                ensemble.leader.stop()               # the others elect another; zk moves there
                ensemble.lag(0, 0.5)                 # reads at member 0 are old, unless they follow a sync

    Each member has its own port and its own copy of the data. A write goes to the leader, and is answered when the
    member that was asked has applied it; a read is answered from that member's own copy. A session may move to any
    member. With less than a majority of voting members up, nobody is served and no session expires; when there is a
    leader again, all session time-outs start anew. An election takes `election_time` seconds, in which no member
    serves. The remaining keywords are those of `EmbeddedServer`. `ValueError` for invalid settings.
    """

    def __init__(
        self, size: int = 3, *, observers: int = 0, election_time: float = 0.2, seed: Optional[int] = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        if size < 1 or observers < 0 or election_time < 0:
            raise ValueError("an ensemble has one member at least, and times are not below zero")
        now = time.monotonic()
        rng = random.Random(seed)  # noqa: S311
        self._quorum = Quorum(
            size, observers, Settings(**settings), random=rng, now=now, epoch=time.time() - now,
            election_time=election_time,
        )  # fmt: skip
        self._serving = Serving(self._tick, self._quorum.deadline)
        self._elected = threading.Condition(self._serving.lock)
        #: The members (`EnsembleMember`), voting ones first.
        self.members = tuple(EnsembleMember(self._quorum, core, self._serving) for core in self._quorum.members)

    @property
    def hosts(self) -> str:
        """All members as a connect string: "127.0.0.1:45231,127.0.0.1:45232,...". Valid once it was started."""
        return ",".join(member.hosts for member in self.members)

    @property
    def leader(self) -> Optional[EnsembleMember]:
        """The member that leads now; None without a quorum, and during an election."""
        with self._serving.lock:
            return next((member for member in self.members if member._core is self._quorum.leader), None)

    @property
    def sessions(self) -> Tuple[int, ...]:
        """The ids of the sessions that are alive, as in `zk.client_id[0]`."""
        with self._serving.lock:
            return tuple(session.id for session in self._quorum.sessions.all())

    def start(self) -> EmbeddedEnsemble:
        """Start all members, with the existing data; returns itself once there is a leader.

        `OSError` if a port is in use, `TimeoutError` without a leader.
        """
        if not self._serving.running:
            self._serving.start()
        for member in self.members:
            member.start()
        self.await_leader()
        return self

    def stop(self) -> None:
        """Stop all members. Data and sessions are kept for the next `start`. Blocks for a moment."""
        for member in self.members:
            member.stop()
        self._serving.stop()

    def await_leader(self, timeout: float = 10.0) -> EnsembleMember:
        """The leader; blocks until there is one. `TimeoutError` if there is none in time (seconds)."""
        with self._elected:
            if not self._elected.wait_for(lambda: self._quorum.leader is not None, timeout):
                raise TimeoutError(f"no leader within {timeout} s")
            leader = self.leader
        assert leader is not None  # noqa: S101  # for type checkers
        return leader

    def lag(self, member: int, seconds: float) -> None:
        """Member number `member` applies each transaction so many seconds after the leader; 0 ends it.

        Its reads are old by that much, and its watches late. `sync`, writes and what follows them on a connection wait
        until the member has caught up. It refuses clients that have seen more. A leader does not lag; who has led, or
        was down, lags again as soon as it follows. `heal` ends it, too. `ValueError` for less than zero seconds.
        """
        if seconds < 0:
            raise ValueError(f"lag {seconds}: expected seconds, 0 or more")
        with self._serving.changed() as now:
            self._quorum.lag(self._quorum.members[member], seconds, now)

    def expire(self, session_id: int) -> bool:
        """Expire a session now; returns whether it existed. False without a leader."""
        with self._serving.changed() as now:
            leader = self._quorum.leader
            return leader is not None and leader.expire(session_id, now)

    def heal(self) -> None:
        """End the lag of all members, and the faults that their switches have caused. Stopped members stay stopped."""
        for number, member in enumerate(self.members):
            member.heal()
            self.lag(number, 0.0)

    def __enter__(self) -> EmbeddedEnsemble:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def _tick(self, now: float) -> None:
        before = self._quorum.leader
        self._quorum.tick(now)
        if self._quorum.leader is not before:
            self._elected.notify_all()


class EnsembleMember(Faults, Looking):
    """One member of an `EmbeddedEnsemble`: the switches of an `EmbeddedServer`, and its questions, about it alone."""

    def __init__(self, quorum: Quorum, core: MemberCore, serving: Serving) -> None:
        self._quorum, self._core, self._serving = quorum, core, serving
        self._member, self._ongoing = core, core.ongoing
        self._port = 0

    @property
    def role(self) -> str:
        """"leader", "follower", "observer", "looking" without a leader, or "down"."""
        with self._serving.lock:
            core = self._member
            return core.role if core.serving else "looking" if core.up else "down"

    def start(self) -> None:
        """Start this member on its port; it gets what it has missed. Does nothing if it is up.

        `OSError` if the port is in use.
        """
        if self.role == "down":
            self._port = self._serving.listen(self._core, self._port)
            with self._changed() as now:
                self._quorum.start(self._member, now)

    def stop(self) -> None:
        """Stop this member: its connections break, new ones are refused. May be called twice; blocks for a moment.

        If it led, or if no majority is left, the connections of all members break.
        """
        with self._changed() as now:
            self._quorum.stop(self._member, now)
        self._serving.close(self._core)

    def _changed(self) -> ContextManager[float]:
        return self._serving.changed()
