"""The server of a simulation: a `ServerCore` that keeps account of what it does.

Owns the ledger's view of what was applied and the history of the directories of discovery. Must not know clients.
"""

from __future__ import annotations

from random import Random
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from zkwire.embedded.core import ServerCore
from zkwire.embedded.settings import Settings
from zkwire.embedded.writes import WRITES

from .rules import Ledger

_WRITES = WRITES | {14}
_FAILED = b"\xff\xff\xff\xff\0"


class Server(ServerCore):
    """`history` has, for each directory, every set of instances there ever was, in order."""

    def __init__(self, settings: Settings, ledger: Ledger, directories: Sequence[str], random: Random, now: float) -> None:
        self.ledger = ledger
        self.counting = True
        #: Connections to a part without a quorum, which serves reads.
        self.minority: Set[Any] = set()
        #: How many data sets there have been: zxids of different ones say nothing about each other.
        self.generation = 0
        self.history: Dict[str, List[Tuple[str, ...]]] = {directory: [()] for directory in directories}
        super().__init__(settings, random=random, now=now)

    def _reset(self) -> None:
        super()._reset()
        self.generation += 1
        inner = self.data.answer

        def answer(opcode: int, body: bytes, *rest: Any) -> Optional[Tuple[int, bytes]]:
            result = inner(opcode, body, *rest)
            if opcode in _WRITES:
                if self.counting and result is not None and result[0] == 0 and not (opcode == 14 and result[1].startswith(_FAILED)):
                    self.ledger.applied((opcode, body))
                if b"/svc" in body:
                    self.note()
            return result

        self.data.answer = answer  # type: ignore[method-assign]
        self.note()

    def receive(self, link: Any, data: bytes, now: float) -> None:
        """As ever, or as a read-only server for those of the minority."""
        whole = self.read_only
        self.read_only = whole or link in self.minority
        super().receive(link, data, now)
        self.read_only = whole

    def answer_silently(self, *request: Any) -> None:
        """Carry out a request of somebody whose account is not kept."""
        self.counting = False
        self.data.answer(*request)
        self.counting = True

    def end_session(self, session: Any, now: float, request: Any = None) -> None:
        """As ever, and then look at what is left."""
        super().end_session(session, now, request)
        self.note()

    def note(self) -> None:
        """Remember how the directories are now."""
        for directory, sets in self.history.items():
            present = self.instances(directory)
            if present != sets[-1]:
                sets.append(present)

    def names(self, directory: str) -> List[str]:
        """The children of a directory."""
        node = self.data.tree.get(directory)
        return list(node.children) if node is not None else []

    def instances(self, directory: str) -> Tuple[str, ...]:
        """What an instancer should show now."""
        found = []
        for name in self.names(directory):
            node = self.data.tree.nodes[f"{directory}/{name}"]
            try:
                found.append((node.data or b"").decode())
            except UnicodeDecodeError:
                pass
        return tuple(sorted(found))
