"""The way from a core to ZooKeeper and back: the order of the wire is the order in which the core hears."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, List, Optional, Tuple

import pytest

from zkdisco.runner import LOOK_AGAIN, WINDOW, EndWatch, Runner
from zkwire import errors
from zkwire.ops import Exists
from zkwire.values import WatchedEvent


class Loop:
    """An executor that runs when told to."""

    def __init__(self) -> None:
        self.jobs: Deque[Tuple[Any, Any]] = deque()
        self.timers: List[Any] = []

    def call(self, function: Any, *arguments: Any) -> None:
        self.jobs.append((function, arguments))

    def call_later(self, delay: float, function: Any, *arguments: Any) -> Any:
        self.timers.append((delay, function))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        return lambda *arguments: self.call(function, *arguments)

    def run(self) -> None:
        while self.jobs:
            function, arguments = self.jobs.popleft()
            function(*arguments)


class Done:
    """A future that is done, or will never be."""

    def __init__(self, outcome: Any = None, then: Any = None) -> None:
        self.outcome, self.then, self.taken_back = outcome, then, False

    def cancel(self) -> bool:
        self.taken_back = True
        self.then(self)
        return True

    def cancelled(self) -> bool:
        return self.taken_back

    def exception(self) -> Optional[Exception]:
        return self.outcome if isinstance(self.outcome, Exception) else None

    def result(self) -> Any:
        return self.outcome


class Quick:
    """A ZooKeeper whose answer, and what happens after it, are there before `submit` has returned."""

    def __init__(self) -> None:
        self.state = self.client_state = "CONNECTED"
        self.client_id = (7, b"")
        self.submitted: List[Any] = []
        self.at_once = True
        self.kind = Done
        self.room: Optional[int] = None
        self.event: Any = None
        self.refuse: Optional[Exception] = None
        self.listeners: List[Any] = []

    def add_listener(self, listener: Any) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: Any) -> None:
        self.listeners.remove(listener)

    def submit(self, op: Any, then: Any, force: bool = False) -> Done:
        if self.refuse is not None:
            raise self.refuse
        if self.room == 0 and not force:
            raise errors.TooManyPendingError("no room")
        future = self.kind("answer", then)
        self.submitted.append((op, lambda done: then(future)))
        if self.at_once:
            then(future)
            self.event()
        return future


class Core:
    """Wants some operations, and writes down what it hears."""

    def __init__(self, count: int) -> None:
        self.wanted = [(i, Exists(f"/n{i}")) for i in range(count)]
        self.heard: List[Any] = []
        self.skip: set[int] = set()

    def operations(self) -> Any:
        wanted, self.wanted = self.wanted, []
        return wanted

    def current(self, key: int) -> bool:
        return key not in self.skip

    def deadline(self) -> Optional[float]:
        return None

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        self.heard.append(("session", session_id))

    def watched(self, event: WatchedEvent, now: float) -> None:
        self.heard.append(("event", event))

    def answered(self, key: int, outcome: Any, now: float) -> None:
        self.heard.append(("answer", key, outcome))

    def timed_out(self, now: float) -> None:
        self.heard.append(("time",))


def begun(count: int) -> Tuple[Loop, Quick, Core, Runner]:
    loop, zk, core = Loop(), Quick(), Core(count)
    runner = Runner(zk, loop, lambda: None)
    zk.event = lambda: runner.watcher("later")  # type: ignore[arg-type]
    runner.start(core)
    return loop, zk, core, runner


def test_an_answer_that_comes_at_once_is_heard_before_what_happened_later() -> None:
    loop, _, core, _ = begun(1)
    loop.run()
    assert core.heard == [("session", 7), ("answer", 0, "answer"), ("event", "later")]


def test_a_window_of_operations_is_under_way_and_what_is_of_no_interest_any_more_is_not_sent() -> None:
    loop, zk, core, _ = begun(WINDOW + 10)
    zk.at_once = False
    loop.run()
    assert len(zk.submitted) == WINDOW
    core.skip = {WINDOW, WINDOW + 1}
    for _, then in zk.submitted[:WINDOW]:
        then(Done(None))
    loop.run()
    assert len(zk.submitted) == WINDOW + 8 and len(core.heard) == 1 + WINDOW


def test_a_refusal_is_an_outcome() -> None:
    loop, zk, core, _ = begun(1)
    zk.refuse = errors.TooManyPendingError("many")
    loop.run()
    assert core.heard == [("session", 7), ("answer", 0, zk.refuse)]


def test_what_the_client_has_no_room_for_waits_for_the_operations_before_it() -> None:
    """In order, and the first of a core is never refused."""
    loop, zk, core, _ = begun(4)
    zk.at_once, zk.room = False, 0
    loop.run()
    assert [op.path for op, _ in zk.submitted] == ["/n0"]
    for number in range(1, 4):
        zk.submitted[-1][1](Done(None))
        loop.run()
        assert [op.path for op, _ in zk.submitted] == [f"/n{i}" for i in range(number + 1)]
    zk.submitted[-1][1](Done(None))
    loop.run()
    assert core.heard == [("session", 7), *(("answer", i, "answer") for i in range(4))]


def test_nothing_waits_for_a_connection() -> None:
    """It would be done later, when nobody may want it any more."""
    loop, zk, core, runner = begun(2)
    zk.at_once = False
    loop.run()
    zk.listeners[0]("SUSPENDED")
    core.wanted = [(9, Exists("/late"))]
    loop.run()
    assert core.heard[:2] == [("session", 7), ("session", None)]
    assert sorted(entry[1] for entry in core.heard[2:]) == [0, 1, 9] and len(zk.submitted) == 2
    for _, _, outcome in core.heard[2:]:
        assert isinstance(outcome, errors.ConnectionLoss) and not outcome.sent and not outcome.maybe_applied


def test_nothing_is_heard_after_stop() -> None:
    loop, zk, core, runner = begun(1)
    zk.at_once = False
    loop.run()
    runner.stop()
    zk.submitted[0][1](Done(None))
    runner.watcher("later")  # type: ignore[arg-type]
    loop.run()
    assert core.heard == [("session", 7)] and zk.listeners == []


def test_the_state_at_the_start_is_that_of_the_moment_it_is_told() -> None:
    """A change between the two must not be undone by the older state told after it."""
    loop, zk, core, _ = begun(0)
    listener = zk.listeners[0]
    zk.state = "SUSPENDED"
    listener("SUSPENDED")
    loop.run()
    assert core.heard[-1] == ("session", None)


class Sent(Done):
    """A future of asyncio, of an operation that was sent: it can be cancelled, but not taken back."""

    def cancel(self) -> bool:
        super().cancel()
        return False


def test_what_was_sent_before_a_late_word_of_the_lost_connection_is_in_doubt() -> None:
    """Found by simulation: it was called unsent, and a create was repeated, so that there were two nodes.

    By the time the event loop told of the lost connection there was another one, and the create was sent on it.
    """
    loop, zk, core, _ = begun(1)
    zk.at_once, zk.kind = False, Sent
    loop.run()
    zk.listeners[0]("SUSPENDED")
    loop.run()
    (loss,) = [entry[2] for entry in core.heard if entry[0] == "answer"]
    assert isinstance(loss, errors.ConnectionLoss) and loss.sent and loss.maybe_applied


class Ending:
    """A client without a session, which comes to its end while a request is on its way."""

    def __init__(self) -> None:
        self.state, self.client_state = "LOST", "CONNECTING"
        self.sent: List[Any] = []

    def add_listener(self, listener: Any) -> None:
        pass

    def submit(self, op: Any, then: Any, *, force: bool = False) -> Done:
        if self.client_state == "CLOSED":
            raise errors.ConnectionClosedError("the client is closed")
        self.sent.append(then)
        return Done()


@pytest.mark.parametrize("met", [errors.ConnectionLoss("the server closed the connection"), errors.ThrottledOpError("try again")])
def test_the_cause_of_the_end_is_not_what_a_request_met_on_the_way(met: Exception) -> None:
    """Found by simulation, seeds 163, 691 and 2107: everybody was told of a lost connection, as if it came back."""
    loop, zk = Loop(), Ending()
    told: List[Exception] = []
    EndWatch(zk, loop, told.append).start()
    loop.run()
    zk.client_state = "CLOSED"
    zk.sent.pop()(Done(met))
    loop.run()
    assert [type(error) for error in told] == [errors.ConnectionClosedError] and zk.sent == []


def test_the_end_of_a_session_that_was_never_announced_is_heard() -> None:
    """Found by simulation, seed 1991: the request was answered, the client closed, and LOST was not told once more."""
    loop, zk = Loop(), Ending()
    told: List[Exception] = []
    EndWatch(zk, loop, told.append).start()
    loop.run()
    zk.sent.pop()(Done(None))
    loop.run()
    zk.client_state = "CLOSED"
    ((pause, again),) = loop.timers
    again()
    assert pause == LOOK_AGAIN
    assert [type(error) for error in told] == [errors.ConnectionClosedError] and zk.sent == []
