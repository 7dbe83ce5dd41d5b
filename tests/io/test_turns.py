"""Many threads on one client: who reads, who waits, who gives up; and user code that is slow or in the way."""

from __future__ import annotations

import logging
import threading
import time
import tracemalloc
from typing import Any, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Log, until
from tests.kit.hostile import Scripted, Wire
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import OperationTimeoutError
from zkwire.ops import GetData, SetData


@pytest.fixture
def idle_io_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The I/O thread leaves reading to callers: what they do not pass on among themselves is not read for long."""
    monkeypatch.setattr("zkwire.io.io_thread.SHORTEST_GRACE", 30.0)
    monkeypatch.setattr("zkwire.io.io_thread.LONGEST_GRACE", 30.0)


class Held:
    """A server that answers "/held" only when told to, and then everything that waits."""

    def __init__(self, server: Scripted) -> None:
        self.asked, self.go = Log(), threading.Event()
        server.request = self._request

    def _request(self, wire: Wire, xid: int, op: Any) -> bool:
        self.asked(op.path)
        return op.path == "/held" and not self.go.wait(10)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.mark.long
@fault("X04")
def test_the_turn_passes_over_those_that_have_given_up(scripted: Scripted, idle_io_thread: None) -> None:
    """The leader gives up, as many followers have before it: the next that still waits reads at once."""
    with ZooKeeper(scripted.hosts, timeout=30.0) as zk:
        zk.get("/a")
        held, outcomes = Held(scripted), Log()

        def call(timeout: float) -> None:
            try:
                outcomes(zk.get("/held", timeout=timeout)[0])
            except OperationTimeoutError:
                outcomes(b"late")

        timeouts = [1.0, *[0.2] * 8, 20.0, 20.0, 20.0]
        threads = []
        for timeout in timeouts:  # in this order in the queue
            threads.append(threading.Thread(target=call, args=(timeout,)))
            threads[-1].start()
            until(lambda: len(zk._driver._turns.followers) == len(threads) - 1)
        assert outcomes.wait(9) == [b"late"] * 9
        held.go.set()
        began = time.monotonic()
        assert outcomes.wait(12)[9:] == [b"proper"] * 3
        assert time.monotonic() - began < 5, "no thread has read, but the I/O thread in the end"
        for thread in threads:
            thread.join(5)


@fault("X04")
def test_a_follower_that_gives_up_as_its_turn_comes_passes_it_on(scripted: Scripted, idle_io_thread: None) -> None:
    with ZooKeeper(scripted.hosts, timeout=30.0) as zk:
        held, outcomes = Held(scripted), Log()
        future = zk.submit(GetData("/held"))

        def wait(timeout: float) -> None:
            try:
                outcomes(future.result(timeout)[0])
            except OperationTimeoutError:
                outcomes(b"late")

        turns = zk._driver._turns
        leader = threading.Thread(target=wait, args=(20.0,))
        leader.start()
        until(lambda: turns.taken)
        followers = [threading.Thread(target=wait, args=(0.3,)), threading.Thread(target=wait, args=(20.0,))]
        for number, thread in enumerate(followers, 1):
            thread.start()
            until(lambda number=number: len(turns.followers) == number)  # type: ignore[misc]
        outcomes.wait(1)
        held.go.set()
        assert outcomes.wait(3, timeout=5) == [b"late", b"proper", b"proper"]


@fault("X04")
def test_waits_that_time_out_leave_nothing(scripted: Scripted) -> None:
    """Whoever polls a future, with or without a connection, does not fill the memory."""
    with ZooKeeper(scripted.hosts, timeout=30.0) as zk:
        held = Held(scripted)
        future = zk.submit(GetData("/held"))

        def poll(times: int) -> None:
            for _ in range(times):
                try:
                    future.result(0.00001)
                except OperationTimeoutError:
                    continue
                raise AssertionError("an answer")

        leader = threading.Thread(target=lambda: zk.get("/held"))
        leader.start()
        until(lambda: zk._driver._turns.taken)
        poll(100)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            poll(3000)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        held.go.set()
        assert future.result(5)[0] == b"proper"
        leader.join(5)
        assert grown < 50_000


@fault("X08")
def test_calls_do_not_wait_for_watchers() -> None:
    """A watcher that takes long, and hundreds of events that wait for it: they are queued, and the calls go on."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk, ZooKeeper(server.hosts) as other:
        zk.create("/slow", b"")
        go, called = threading.Event(), Log()

        def slow(event: Any) -> None:
            called(event)
            go.wait(20)

        zk.add_watch("/slow", slow)
        for future in [other.submit(SetData("/slow", b"%d" % i)) for i in range(300)]:
            future.result(5)
        called.wait(1)
        times: List[float] = []
        for _ in range(200):
            began = time.monotonic()
            assert zk.get("/slow", timeout=5)[0] == b"299"
            times.append(time.monotonic() - began)
        assert sorted(times)[len(times) // 2] < 0.02
        with pytest.raises(OperationTimeoutError):
            server.delay(1.0)
            began = time.monotonic()
            zk.get("/slow", timeout=0.1)
        assert time.monotonic() - began < 0.5
        server.heal()
        go.set()
        called.wait(300)


@fault("X08")
def test_a_lock_that_a_watcher_takes_may_be_held_around_a_call() -> None:
    """As with kazoo: the watcher waits for the lock, and the call does not wait for the watcher."""
    lock, heard = threading.Lock(), Log()
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.create("/a")

        def changed(event: Any) -> None:
            with lock:
                zk.get_children("/a", changed)
            heard(event)

        zk.get_children("/a", changed)
        for i in range(5):
            with lock:
                began = time.monotonic()
                zk.create(f"/a/{i}")
                assert time.monotonic() - began < 0.2
            heard.wait(i + 1)


class Shipping(logging.Handler):
    """A log handler that ships every line into ZooKeeper, and waits for it."""

    def __init__(self, zk: ZooKeeper) -> None:
        super().__init__(logging.DEBUG)
        self.zk, self.lines = zk, Log()

    def emit(self, record: logging.LogRecord) -> None:
        if self.zk.connected:
            self.lines(self.zk.create("/log/line-", record.getMessage().encode(), sequence=True, timeout=5))


@pytest.mark.long
@fault("X02")
def test_a_log_handler_may_use_the_client() -> None:
    """Over a loss and a reconnect, with calls under way: all that is logged once there is a connection again arrives."""
    logger = logging.getLogger("zkwire.shipped")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts, timeout=5.0, logger=logger)
        zk.start()
        zk.create("/log")
        handler, states = Shipping(zk), Log()
        logger.addHandler(handler)
        try:
            zk.add_listener(states)
            for _ in range(3):
                before = len(states.seen)
                server.cut()
                states.wait(before + 2)
                assert zk.exists("/log", timeout=5)
            handler.lines.wait(3)
            lines = [zk.get(path)[0] for path in list(handler.lines.seen)]
            assert any(b"CONNECTED" in line for line in lines)
            began = time.monotonic()
            zk.close()
            assert time.monotonic() - began < 3
        finally:
            logger.removeHandler(handler)


@pytest.mark.long
@fault("X02")
def test_a_log_handler_that_raises_ends_nothing() -> None:
    logger = logging.getLogger("zkwire.broken")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen(record.getMessage())
            raise SystemExit("a bad handler")

    seen, handler = Log(), Broken(logging.DEBUG)
    logger.addHandler(handler)
    try:
        with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=5.0, logger=logger) as zk:
            states, events = Log(), Log()
            zk.create("/a", b"")
            zk.add_listener(states)
            server.cut()
            states.wait(2)
            zk.get("/a", watch=events)
            zk.set("/a", b"1")
            assert events.wait(1)[0].path == "/a"
            assert len(seen.seen) > 3
    finally:
        logger.removeHandler(handler)
