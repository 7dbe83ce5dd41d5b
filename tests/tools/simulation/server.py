"""The server of a simulation: a `ServerCore` that keeps account of what it does.

Owns the ledger's view of what was applied, the history of the directories of discovery, and what a part without a quorum
believes of sessions. Must not know clients.
"""

from __future__ import annotations

from random import Random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.sessions import ServerSession, Sessions
from zkwire.embedded.settings import Settings
from zkwire.embedded.writes import WRITES
from zkwire.values import OPEN_ACL_UNSAFE

from .rules import Ledger, require

_WRITES = WRITES | {14}
_FAILED = b"\xff\xff\xff\xff\0"


class Server(ServerCore):
    """`history` has, for each directory, every set of instances there ever was, in order.

    The server as a whole stands for the majority, and `sessions` is the truth. The part without a quorum knows the sessions
    there were when it lost touch, by a table of its own; what it says of them, and whether it resumes them, is up to the
    version. It sees the majority's nodes: that its own may be older, or gone, is not simulated.
    """

    def __init__(self, settings: Settings, ledger: Ledger, directories: Sequence[str], random: Random, now: float) -> None:
        self.ledger = ledger
        self.counting = True
        #: Connections to a part without a quorum, which serves reads.
        self.minority: Set[Any] = set()
        #: When a session was given away.
        self.given_away_at: Dict[int, float] = {}
        self._alone = False
        #: How many data sets there have been: zxids of different ones say nothing about each other.
        self.generation = 0
        self.history: Dict[str, List[Tuple[str, ...]]] = {directory: [()] for directory in directories}
        #: When each of these sets came to be.
        self.times: Dict[str, List[float]] = {directory: [now] for directory in directories}
        super().__init__(settings, random=random, now=now)

    def _reset(self) -> None:
        super()._reset()
        self._left_behind: Sessions[Any] = self._no_sessions()
        self.generation += 1
        #: Nodes of strangers under the name of a registrar: nobody else touches them.
        self.taken: Dict[str, Any] = {}
        inner = self.data.answer

        def answer(opcode: int, body: bytes, *rest: Any) -> Optional[Tuple[int, bytes]]:
            result = inner(opcode, body, *rest)
            if opcode in _WRITES:
                self._look_at_the_taken()
                if self.counting and result is not None and result[0] == 0 and not (opcode == 14 and result[1].startswith(_FAILED)):
                    self.ledger.applied((opcode, body))
                if b"/svc" in body:
                    self.note()
            return result

        self.data.answer = answer  # type: ignore[method-assign]
        self.note()

    def _look_at_the_taken(self) -> None:
        tree = self.data.tree
        for path, node in self.taken.items() if self.counting else ():
            require(tree.get(path) is node, "D5", "{} of a stranger has gone", path)
        names = [f"{directory}/{name}" for directory in self.history for name in self.names(directory) if name.startswith("me")]
        self.taken = {path: tree.nodes[path] for path in names if not tree.nodes[path].owner}

    def _no_sessions(self) -> Sessions[Any]:
        settings = self.settings
        table: Sessions[Any] = Sessions(
            self._random.getrandbits(56), settings.tick, settings.min_session_timeout, settings.max_session_timeout
        )
        table.password = self.sessions.password  # type: ignore[method-assign]  # which all servers can tell from the id
        return table

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
            self.given_away_at.setdefault(id_, now)
        super().wipe(now)

    def expire(self, session_id: int, now: float) -> bool:
        """The majority gives a session away."""
        done = super().expire(session_id, now)
        if done:
            self.given_away_at.setdefault(session_id, now)
        return done

    def answer_silently(self, *request: Any) -> None:
        """Carry out a request of somebody whose account is not kept."""
        self.counting = False
        self.data.answer(*request)
        self.counting = True

    def end_session(self, session: Any, now: float, request: Any = None) -> None:
        """As ever, and then look at what is left. What ends without a quorum does not end for the majority."""
        if not self.read_only:
            self.given_away_at.setdefault(session.id, now)
            super().end_session(session, now, request)
            self.note()
            return
        nodes = self.data.tree.ephemerals.pop(session.id, None)
        super().end_session(session, now, request)
        if nodes is not None:
            self.data.tree.ephemerals[session.id] = nodes
        if self._alone:
            self._ended_alone.pop(session.id, None)

    def note(self) -> None:
        """Remember how the directories are now."""
        for directory, sets in self.history.items():
            present = self.instances(directory)
            if present != sets[-1]:
                sets.append(present)
                self.times[directory].append(self._now)

    def names(self, directory: str) -> List[str]:
        """The children of a directory."""
        node = self.data.tree.get(directory)
        return list(node.children) if node is not None else []

    def instances(self, directory: str) -> Tuple[str, ...]:
        """What an instancer should show now."""
        bad = self.unreadable(directory)
        nodes = [self.data.tree.nodes[f"{directory}/{name}"] for name in self.names(directory) if name not in bad]
        return tuple(sorted((node.data or b"").decode() for node in nodes))

    def secret(self, directory: str) -> Set[str]:
        """The children whose ACL keeps them from all others."""
        nodes = self.data.tree.nodes
        return {name for name in self.names(directory) if list(nodes[f"{directory}/{name}"].acl) != list(OPEN_ACL_UNSAFE)}

    def unreadable(self, directory: str) -> Set[str]:
        """The children that no instancer can read: by their ACL, or because it is no UTF-8."""
        nodes = self.data.tree.nodes
        garbled = {name for name in self.names(directory) if nodes[f"{directory}/{name}"].data == b"\xff"}
        return garbled | self.secret(directory)
