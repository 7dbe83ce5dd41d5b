"""Each broken client is found by the checker, and an honest one that goes through the same is not: on the embedded server."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable, Dict, Iterator, List

import pytest

from tests.kit.stories import Clock, Journal, Memory, QuickFront
from tests.tools.ensemble import history
from tests.tools.ensemble.broken import BROKEN, HONEST, Broken
from tests.tools.ensemble.checker import GRAIN, Case, Violation, violations
from tests.tools.ensemble.client import look
from tests.tools.ensemble.hand import run_blocking
from tests.tools.ensemble.workloads import ROOTS, WORKLOADS, Workload
from zkwire import RequestTimeoutError, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ZookeeperError

#: They wait for connections to come back.
pytestmark = pytest.mark.slow


class Stage:
    """A server, and one client of some kind on it."""

    def __init__(self, server: EmbeddedServer, kind: Broken, workloads: str) -> None:
        self.server, self.journal = server, Journal(server)
        server.plant({path: b"" for path in ROOTS})
        self.clock = Clock()
        self.history = Memory(self.clock)
        self.zk = ZooKeeper(server.hosts, timeout=5.0)
        self.hand = kind.hand("c", QuickFront(self.clock), self.zk, self.history, 1)
        self.states: List[str] = []
        self._changed = threading.Condition()
        self.zk.add_listener(self._note)
        self.zk.add_listener(self.hand.state_changed)
        self.zk.start()
        with self._changed:
            assert self._changed.wait_for(lambda: self.states, 10)
        self.workloads: List[Workload] = [{**WORKLOADS, **kind.changed}[name](self.hand) for name in workloads.split()]
        for workload in self.workloads:
            self.run(workload.begin())

    def run(self, work: Any) -> None:
        """A few calls, which may fail."""
        try:
            run_blocking(work)
        except ZookeeperError:
            pass  # as in a client process: it is in the history

    def steps(self, count: int) -> None:
        """All workloads in turn."""
        for _ in range(count):
            for workload in self.workloads:
                self.run(workload.step())

    def reconnected(self, trouble: Callable[[], object]) -> None:
        """The connection is lost, and back."""
        before = len(self.states)
        trouble()
        with self._changed:
            assert self._changed.wait_for(lambda: "CONNECTED" in self.states[before:], 10)

    def change(self, turns: int = 1) -> None:
        """Somebody else changes all that is watched."""
        for _ in range(turns):
            self.server.plant({path: b"new" for path in ROOTS if path.startswith("/watched/")})

    def expire(self) -> None:
        """The session ends."""
        self.server.expire(self.server.sessions[0])

    def verdict(self) -> List[Violation]:
        """What the checker finds, at rest."""
        run_blocking(look(self.hand, self.workloads))
        found = violations(Case({"c": self.history.records}, self.journal.truth()))
        for workload in self.workloads:
            self.run(workload.end())
        return found

    def close(self) -> None:
        """End the client."""
        self.zk.close()

    def _note(self, state: str) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()


def _answers_lost(stage: Stage) -> None:
    for _ in range(3):
        stage.server.lose_answer()
        stage.steps(3)


def _writes_not_done(stage: Stage) -> None:
    stage.server.answer(RequestTimeoutError.code, 5, times=3)  # setData
    stage.server.answer(RequestTimeoutError.code, 15, times=3)  # create2
    stage.steps(5)


def _nodes_of_others(stage: Stage) -> None:
    run_blocking(stage.hand.create("/unique/mine"))
    stage.server.plant({"/unique/another's": b"another's"})
    for name in ("mine", "another's"):
        stage.run(stage.hand.create(f"/unique/{name}"))


def _expiry(stage: Stage) -> None:
    stage.steps(3)
    stage.reconnected(stage.expire)
    stage.clock.ahead += 1
    stage.steps(3)


def _calm(stage: Stage) -> None:
    stage.steps(30)


def _connection_lost(stage: Stage) -> None:
    stage.steps(8)
    stage.reconnected(stage.server.cut)
    stage.change()
    stage.steps(8)
    stage.change()


def _changes_missed(stage: Stage) -> None:
    stage.steps(1)
    stage.change()
    run_blocking(stage.hand.sync())

    def away() -> None:
        with stage.server.refuse_sessions():
            stage.server.cut()
            stage.change(2)

    stage.reconnected(away)
    stage.server.plant({"/watched/w3": b"newest"})


def _changes(stage: Stage) -> None:
    for _ in range(4):
        stage.steps(4)
        stage.change()


def _comes_and_goes(stage: Stage) -> None:
    (workload,) = stage.workloads
    assert isinstance(workload, WORKLOADS["registering"])
    for wanted in (True, False, True):
        stage.run(workload._want(wanted))
        threading.Event().wait(2 * GRAIN)  # what comes sooner is at the same time, as far as a log can tell


def _others_come_and_go(stage: Stage) -> None:
    for number in range(4):
        stage.server.plant({f"/services/api/n{number}": b"n%d" % number})
        _wait_until_shown(stage, number + 1)


def _wait_until_shown(stage: Stage, count: int) -> None:
    (workload,) = stage.workloads
    assert isinstance(workload, WORKLOADS["following"])
    workload.instancer.wait(count, timeout=10)


#: What happens to a client of each kind.
STORIES: Dict[str, Callable[[Stage], None]] = {
    "sends a write again": _answers_lost,
    "says done when in doubt": _writes_not_done,
    "says not done when in doubt": _answers_lost,
    "takes others' nodes for its own": _nodes_of_others,
    "ignores the end of its session": _expiry,
    "reads from its memory": _calm,
    "sets no watch again": _connection_lost,
    "drops an event after a reconnect": _connection_lost,
    "hides that changes were missed": _changes_missed,
    "tells an event twice": _changes,
    "tells of what was not": _changes,
    "does a transaction in two steps": _calm,
    "hangs": _calm,
    "registers twice": _comes_and_goes,
    "stays when it is said to be gone": _comes_and_goes,
    "an instancer goes back": _others_come_and_go,
    "an instancer shows parts": _others_come_and_go,
}  # fmt: skip


@pytest.fixture
def told() -> Iterator[Callable[[str, Broken], List[Violation]]]:
    """`told(name, kind)`: a client of this kind goes through the story of that name."""
    stages: List[Stage] = []
    with EmbeddedServer() as server:

        def tell(name: str, kind: Broken) -> List[Violation]:
            stages.append(Stage(server, kind, BROKEN[name].workloads))
            STORIES[name](stages[-1])
            return stages[-1].verdict()

        yield tell
        for stage in stages:
            stage.close()


def test_there_are_more_than_eight_and_each_has_its_story() -> None:
    assert STORIES.keys() == BROKEN.keys() and len(BROKEN) >= 8


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_client_is_found(name: str, told: Callable[[str, Broken], List[Violation]]) -> None:
    found = told(name, BROKEN[name])
    assert BROKEN[name].rules & {violation.rule for violation in found}, found


@pytest.mark.parametrize("name", BROKEN)
def test_an_honest_one_in_its_place_is_not(name: str, told: Callable[[str, Broken], List[Violation]]) -> None:
    assert told(name, HONEST) == []


def test_a_history_is_what_was_written(tmp_path: Any) -> None:
    path = str(tmp_path / "history")
    writer = history.History(path)
    writer.write("state", state="CONNECTED", sid=7)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"half": "a line"})[:5])
    (record,) = history.read(path)
    assert (record["k"], record["state"], record["sid"]) == ("state", "CONNECTED", 7)
    writer.close()
