"""An ensemble without I/O: which members are up, who leads, and the way of transactions from the leader to the others.

Owns quorum and elections. Must not know sockets, threads or the time; all servers are in one place, and no message
between them is ever lost.
"""

from __future__ import annotations

from random import Random
from typing import Callable, List, Optional, Tuple

from .link import ServerLink
from .member import MemberCore
from .sessions import Sessions
from .settings import Settings
from .transactions import TreeTransaction


class Quorum:
    """`size` voting members, all down at first, and `observers`. An election takes `election_time` seconds.

    What a leader has applied, every voting member that is up has received, so that a majority has all of it. `journal`
    is given each of these transactions, whoever leads.
    """

    def __init__(
        self, size: int, observers: int, settings: Settings, *, random: Random, now: float = 0.0, epoch: float = 0.0,
        election_time: float = 0.0, journal: Callable[[TreeTransaction], None] = lambda transaction: None,
    ) -> None:  # fmt: skip
        self._election_time, self._journal = election_time, journal
        self.sessions: Sessions[ServerLink] = Sessions(
            random.getrandbits(56), settings.tick, settings.min_session_timeout, settings.max_session_timeout
        )
        self.members: Tuple[MemberCore, ...] = tuple(
            MemberCore(number, number < size, settings, self.sessions, random=random, now=now, epoch=epoch)
            for number in range(size + observers)
        )
        self.leader: Optional[MemberCore] = None
        #: The number of leaders so far: the upper half of a zxid.
        self.epochs = 0
        self._elects_at: Optional[float] = None

    def start(self, member: MemberCore, now: float) -> None:
        """A member is up: it gets what it has missed from the leader, or takes part in an election."""
        if not member.up:
            member.up = True
            if self.leader is not None:
                member.follow(self.leader.data, self.leader.last, now)
            else:
                self._call_election(now)

    def stop(self, member: MemberCore, now: float) -> None:
        """A member is down: its connections end; those of all others too, if it led, or if no majority is left."""
        if member.up:
            member.up = False
            member.step_down()
            if self.leader is not None and (member is self.leader or not self._is_majority()):
                self.leader = None
                for other in self.members:
                    other.step_down()
            if self.leader is None:
                self._call_election(now)

    def lag(self, member: MemberCore, seconds: float, now: float) -> None:
        """From now on the member applies transactions so many seconds after the leader. A leader has no lag."""
        member.lag = seconds
        member.catch_up(now)

    def tick(self, now: float) -> None:
        """The time has advanced."""
        if self._elects_at is not None and now >= self._elects_at:
            self._elect(now)
        for member in self.members:
            if member.up:
                member.tick(now)

    def deadline(self) -> Optional[float]:
        """The latest time to call `tick`; None for no need."""
        moments: List[Optional[float]] = [self._elects_at]
        moments += [member.deadline() for member in self.members if member.up]
        return min((moment for moment in moments if moment is not None), default=None)

    def _is_majority(self) -> bool:
        voters = [member for member in self.members if member.votes]
        return 2 * sum(member.up for member in voters) > len(voters)

    def _call_election(self, now: float) -> None:
        """Elect a leader after the time that this takes, if enough are up; one that is under way goes on."""
        if not self._is_majority():
            self._elects_at = None
        elif self._elects_at is None:
            self._elects_at = now + self._election_time

    def _elect(self, now: float) -> None:
        """The member that has received most leads, a new epoch begins, and so does the time of all sessions."""
        self._elects_at = None
        leader = max((one for one in self.members if one.up and one.votes), key=lambda one: (one.last, one.number))
        last, self.leader = leader.last, leader
        self.epochs += 1
        leader.lead(self.epochs << 32, self._pass_on, now)
        for member in self.members:
            if member.up and member is not leader:
                member.follow(leader.data, last, now)
        for session in self.sessions.all():
            self.sessions.touch(session, now)

    def _pass_on(self, transaction: TreeTransaction) -> None:
        """The leader has applied a transaction: the others get it."""
        self._journal(transaction)
        for member in self.members:
            if member is self.leader:
                member.last = transaction.zxid
            elif member.up:
                member.take(transaction)
