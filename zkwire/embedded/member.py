"""One member of an ensemble: a server with a tree of its own, which the leader's transactions reach sooner or later.

Owns which transactions were received and not applied yet. Must not know the other members, elections or sockets.
"""

from __future__ import annotations

import copy
from collections import deque
from random import Random
from typing import Callable, Deque, List, Optional

from .database import Database
from .link import ServerLink
from .server_core import ServerCore
from .sessions import Sessions
from .settings import Settings
from .transactions import SessionEnded, TreeTransaction


class MemberCore(ServerCore):
    """One member. `votes` is False for an observer; `sessions` are those of the ensemble, which all members know.

    `lag` is how many seconds after the leader it applies a transaction. `last` is the zxid of the last transaction it
    has received; that is what counts when a leader is elected.
    """

    def __init__(
        self, number: int, votes: bool, settings: Settings, sessions: Sessions[ServerLink], *, random: Random,
        now: float, epoch: float,
    ) -> None:  # fmt: skip
        super().__init__(settings, random=random, now=now, epoch=epoch)
        self.number, self.votes, self.sessions = number, votes, sessions
        self.up = self.serving = False
        self.lag = 0.0
        self.last = 0
        self._pending: Deque[TreeTransaction] = deque()

    # --------------------------------------------------------------------------- the role

    def lead(self, zxid: int, journal: Callable[[TreeTransaction], None], now: float) -> None:
        """Be the leader of the epoch that starts with `zxid`."""
        self._catch_up_with_all(now)
        self.leading, self.data.journal = None, journal
        self._begin(zxid, "leader", now)

    def follow(self, data: Database, last: int, now: float) -> None:
        """Follow a leader with this data, which had received transactions up to `last` before its epoch began."""
        if self.last == last:
            self._catch_up_with_all(now)
        else:
            self._pending.clear()
            self.data.tree = copy.deepcopy(data.tree)
        self.leading = data
        self._begin(data.applied, "follower" if self.votes else "observer", now)

    def step_down(self) -> None:
        """There is no leader: close all connections, and serve nobody."""
        self.serving = False
        self.leading, self.data.journal = None, _lost
        self.hang_up()

    def _begin(self, zxid: int, role: str, now: float) -> None:
        self.data.begin(zxid)
        self.last, self.role, self.started = zxid, role, now
        self.serving = True

    @property
    def leads(self) -> bool:
        """Whether this is the leader, which expires sessions and reaps nodes."""
        return self.serving and self.leading is None

    # ----------------------------------------------------------------------- transactions

    def take(self, transaction: TreeTransaction) -> None:
        """Receive a transaction of the leader, and apply it if nothing holds it up."""
        self.last = transaction.zxid
        self._pending.append(transaction)
        if len(self._pending) == 1 and not self.lag:  # else requests may wait for it, which are not carried out here
            self._apply_next(self._moment(transaction))

    def catch_up(self, now: float) -> None:
        """Apply the transactions whose time has come, and go on with the requests that waited for them."""
        count = len(self._pending)
        while self._pending and self._moment(self._pending[0]) + self.lag <= now:
            self._apply_next(now)
        if len(self._pending) < count:
            for link in [link for link in self.links if link.parked]:
                self.proceed(link, now)

    def _catch_up_with_all(self, now: float) -> None:
        while self._pending:
            self._apply_next(now)

    def _apply_next(self, now: float) -> None:
        transaction = self._pending.popleft()
        self._now = now
        self.data.replay(transaction)
        for step in transaction.steps:
            if isinstance(step, SessionEnded):
                for link in [one for one in self.links if one.session_id == step.session and not one.leaving]:
                    self.drop(link)

    def _moment(self, transaction: TreeTransaction) -> float:
        """When the leader has applied it."""
        return transaction.time / 1000 - self.epoch

    # ------------------------------------------------------------------------------- time

    def tick(self, now: float) -> None:
        """The time has advanced. Sessions expire, and nodes are reaped, at the leader only."""
        self.catch_up(now)
        if self.leads:
            super().tick(now)
        else:
            self.close_silent(now)

    def moments(self) -> List[Optional[float]]:
        """When something is to be done."""
        moments = super().moments() if self.leads else self.moments_of_links()
        if self._pending:
            moments.append(self._moment(self._pending[0]) + self.lag)
        return moments

    def expire(self, session_id: int, now: float) -> bool:
        """As ever; False if there is no leader, because then no session ends."""
        return self.serving and super().expire(session_id, now)


def _lost(transaction: TreeTransaction) -> None:
    raise RuntimeError(f"a transaction without a leader: {transaction!r}")
