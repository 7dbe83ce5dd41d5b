"""Transactions and histories for tests of the ensemble's checker: made up, or written down by an `EmbeddedServer`.

Owns how a `TreeTransaction` of that server becomes a line of a log, and a clock that can be put forward.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List

from tests.tools.ensemble.checker import Case, Violation, violations
from tests.tools.ensemble.hand import Front
from tests.tools.ensemble.history import History, Record
from tests.tools.ensemble.truth import Truth
from tests.tools.ensemble.txnlog import Change, Closed, Created, DataSet, Deleted, Txn
from zkwire.embedded import EmbeddedServer
from zkwire.embedded.transactions import NodeCreated, NodeDeleted, SessionEnded, TreeTransaction
from zkwire.embedded.transactions import DataSet as TreeDataSet


class Clock:
    """The time of day, and what was put on top of it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Memory(History):
    """A history that is kept in memory."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.records: List[Record] = []

    def write(self, kind: str, **fields: Any) -> None:
        """Add a record."""
        self.records.append({"t": self.clock(), "k": kind, **fields})


class QuickFront(Front):
    """The blocking front; long pauses are over at once, and the clock is ahead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def pause(self, seconds: float) -> None:
        """Short ones are waits for other threads."""
        if seconds < 1:
            await super().pause(seconds)
        else:
            self._clock.ahead += seconds


class Journal:
    """What an embedded server has done, as the transactions of a log."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.txns: List[Txn] = []
        server._core.data.journal = self._note

    def truth(self) -> Truth:
        """All so far."""
        return Truth(list(self.txns))

    def _note(self, transaction: TreeTransaction) -> None:
        session, changes = 0, []
        for step in transaction.steps:
            if isinstance(step, NodeCreated):
                session = step.owner or session
                changes.append(Created(step.path, step.data or b"", step.owner != 0))
            elif isinstance(step, NodeDeleted):
                changes.append(Deleted(step.path))
            elif isinstance(step, TreeDataSet):
                changes.append(DataSet(step.path, step.data or b"", step.version))
            elif isinstance(step, SessionEnded):
                session = step.session
                changes.append(Closed())
        self.txns.append(Txn(transaction.zxid, transaction.time / 1000, session, 0, tuple(changes)))


class Story:
    """Made up: `txn` and `record` add to it, one second after the other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.txns: List[Txn] = []
        self.histories: Dict[str, List[Record]] = {}
        self._numbers = 0

    def txn(self, *changes: Change, session: int = 1) -> int:
        """A transaction; its zxid."""
        self.now += 1
        self.txns.append(Txn(len(self.txns) + 1, self.now, session, 0, changes))
        return len(self.txns)

    def record(self, client: str, kind: str, **fields: Any) -> None:
        """A record in a client's history."""
        self.now += 1
        self.histories.setdefault(client, []).append({"t": self.now, "k": kind, **fields})

    def call(self, client: str, op: str, outcome: str, result: Dict[str, Any], **arguments: Any) -> None:
        """A call, from its beginning to its end; '' is no outcome."""
        self._numbers += 1
        self.record(client, "invoke", n=self._numbers, op=op, **arguments)
        if outcome:
            self.record(client, outcome, n=self._numbers, op=op, **result)

    def verdict(self, **options: Any) -> List[Violation]:
        """What is wrong, but for clients that have not come back: a story need not have an end."""
        found = violations(Case(self.histories, Truth(self.txns), **options))
        return [violation for violation in found if violation.rule != "back"]
