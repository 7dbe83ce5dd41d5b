"""The servers of a simulation, as many: an ensemble of `zkwire.embedded`, each member of which is behind by a lag of its own.

Owns which member a connection leads to, what happens to members, and the count of it: who was served by a member that was
behind, moved, or was refused. Must not know clients, or what is true of whatever a member says. `server` has the other kind.
"""

from __future__ import annotations

from random import Random
from typing import Any, Dict, List, Optional, Set, Tuple

from zkwire.embedded import requests
from zkwire.embedded.database import Caller
from zkwire.embedded.member import MemberCore
from zkwire.embedded.quorum import Quorum
from zkwire.embedded.settings import Settings
from zkwire.embedded.watches import ServerWatches
from zkwire.wire.messages import Scope

from .rules import READS
from .truth import Truth, is_write

#: By how many seconds members are behind when all is well.
USUAL = (0.0, 0.0, 0.001, 0.02, 0.2)
#: By how many more when not.
LONG = (0.3, 1.0, 3.0, 8.0)


class Ensemble:
    """Host number n of a client is member n.

    `counts` says how often what only an ensemble has did happen. What is written is true once the leader has it: then all
    voting members that are up have received it, which are a majority.
    """

    is_ensemble = True
    #: What the part of a server without a quorum would be: members without a leader serve nobody.
    read_only = False

    def __init__(self, settings: Settings, truth: Truth, random: Random, now: float) -> None:
        self.truth, self._settings = truth, settings
        size, observers = random.choice((3, 3, 5)), random.choice((0, 0, 1))
        self._quorum = Quorum(
            size, observers, settings, random=random, now=now, election_time=random.choice((0.0, 0.2, 1.0)), journal=truth.take
        )
        self.members, self.sessions = self._quorum.members, self._quorum.sessions
        self.doors = len(self.members)
        self.counts = dict.fromkeys((
            "ensembles", "answers of members behind", "stale reads", "waits for a member to catch up", "moves",
            "refusals by members behind", "members down", "elections", "losses of the quorum",
        ), 0)  # fmt: skip
        self.counts["ensembles"] = 1
        self._usual = [random.choice(USUAL) for _ in self.members]
        self._places: Dict[Any, MemberCore] = {}
        #: At which member each session was last.
        self._homes: Dict[int, int] = {}
        truth.begin_anew(settings.profile.config_node, now)
        for member in self.members:
            self._look_over(member)
        self.heal(now)
        while self._quorum.leader is None:
            self._quorum.tick(now)
            now += 0.1

    def __str__(self) -> str:
        observers = sum(not member.votes for member in self.members)
        return f"an ensemble of {len(self.members) - observers} and {observers} observers"

    def _look_over(self, member: MemberCore) -> None:
        """Keep account of what it answers."""
        inner = member.data.answer

        def answer(opcode: int, body: bytes, caller: Caller, time: int) -> Optional[Tuple[int, bytes]]:
            result = inner(opcode, body, caller, time)
            if is_write(opcode):
                self.truth.answered(opcode, body, result)
            elif opcode in READS and member.data.applied < self.truth.head:
                self._count("answers of members behind")
                path = requests.read(opcode, body).path
                here, there = member.data.tree.get(path), self.truth.tree.get(path)
                if (here and (here.mzxid, here.pzxid)) != (there and (there.mzxid, there.pzxid)):
                    self._count("stale reads")
            return result

        member.data.answer = answer  # type: ignore[method-assign]

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    # ----------------------------------------------------------------------- connections

    def open(self, host: int, address: Tuple[str, int], now: float) -> Any:
        """A client has connected."""
        member = self.members[host]
        link = member.accept(address, now)
        self._places[link] = member
        return link

    def is_open(self, host: int) -> bool:
        """Whether somebody listens there."""
        return self.members[host].up

    def place_of(self, link: Any) -> int:
        """The host that a connection leads to."""
        return self._places[link].number

    def receive(self, link: Any, data: bytes, now: float) -> None:
        """Bytes of a client."""
        member, greets, waits = self._places[link], link.knows_read_only is None, bool(link.parked)
        member.receive(link, data, now)
        willing = member.serving and not member.conditions.refuses_sessions
        if greets and link.dead and willing:
            self._count("refusals by members behind")
        if link.parked and not waits:
            self._count("waits for a member to catch up")

    def lost(self, link: Any, now: float) -> None:
        """A client has closed its connection."""
        self._places[link].lost(link, now)

    def data_to_send(self, link: Any, now: float) -> bytes:
        """Bytes for a client."""
        member = self._places[link]
        if link.session_id and self._homes.get(link.session_id) != member.number:
            if link.session_id in self._homes:
                self._count("moves")
            self._homes[link.session_id] = member.number
        return member.data_to_send(link, now)

    def watches_of(self, link: Any) -> ServerWatches:
        """The table that has the watches of a connection."""
        return self._places[link].data.watches

    # ------------------------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Time has passed."""
        before = self._quorum.leader
        self._quorum.tick(now)
        self.counts["elections"] += self._quorum.leader is not before

    def next_moment(self) -> Optional[float]:
        """When `tick` is due."""
        return self._quorum.deadline()

    def ending(self, now: float) -> Set[int]:
        """The sessions that end with the next tick."""
        return set() if self._quorum.leader is None else {session.id for session in self.sessions.expired(now, False)}

    # --------------------------------------------------------------------------- changes

    def expire(self, session_id: int, now: float) -> bool:
        """The leader gives a session away, if there is one."""
        leader = self._quorum.leader
        return leader is not None and leader.expire(session_id, now)

    def write(self, op: Any, now: float) -> None:
        """Somebody whose account is not kept writes; in vain without a leader."""
        leader = self._quorum.leader
        if leader is not None:
            leader.data.answer(op.opcode, op.frame(0, Scope())[12:], Caller(0, (), None), leader.wall_ms(now))

    def some(self, rng: Random) -> MemberCore:
        """A member to have a fault."""
        return rng.choice(self.members)

    def heal(self, now: float) -> None:
        """All is well: all members are up, and hardly behind."""
        for member, lag in zip(self.members, self._usual):
            member.faults(now).heal()
            self._quorum.lag(member, lag, now)
            self._quorum.start(member, now)

    def falter(self, rng: Random, now: float) -> None:
        """A member falls behind, for as long as it lasts, or is well again."""
        member = self.some(rng)
        lag = self._usual[member.number]
        self._quorum.lag(member, lag if member.lag > lag else rng.choice(LONG), now)

    def stop_some(self, rng: Random, now: float) -> None:
        """A member stops, or one that has stopped is back."""
        down = [member for member in self.members if not member.up]
        if down and rng.random() < 0.5:
            self.start(rng.choice(down), now)
        else:
            self._stop([self.some(rng)], now)

    def stop_leader(self, now: float) -> List[MemberCore]:
        """The leader stops, if there is one."""
        leader = self._quorum.leader
        return self._stop([leader] if leader is not None else [], now)

    def stop_many(self, rng: Random, now: float) -> List[MemberCore]:
        """So many members stop that there is no majority."""
        voters = [member for member in self.members if member.votes]
        return self._stop(rng.sample(voters, len(voters) // 2 + 1), now)

    def _stop(self, members: List[MemberCore], now: float) -> List[MemberCore]:
        """Those of them that have stopped by this."""
        stopped, led = [member for member in members if member.up], self._quorum.leader is not None
        for member in stopped:
            self._count("members down")
            self._quorum.stop(member, now)
        voters = [member for member in self.members if member.votes]
        self.counts["losses of the quorum"] += led and 2 * sum(member.up for member in voters) <= len(voters)
        return stopped

    def start(self, member: MemberCore, now: float) -> None:
        """A member is back; does nothing if it was."""
        self._quorum.start(member, now)
