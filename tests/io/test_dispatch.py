"""The dispatch thread: order, timers, watchers of any kind, what it lets go of, and a system that gives no thread."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
import weakref
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Log, until
from zkwire import NoNodeError, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.io import dispatch
from zkwire.io.dispatch import Dispatcher
from zkwire.ops import GetData, SetData

LOGGER = logging.getLogger("zkwire.test")


def test_a_queue_that_refuses_a_time_out_where_it_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of PyPy, which is written in Python. A timer that was due while another one was set ended the thread."""
    monkeypatch.setattr(dispatch, "SimpleQueue", queue._PySimpleQueue)  # type: ignore[attr-defined]
    one, called = Dispatcher(LOGGER, "test dispatch"), []
    done = threading.Event()
    one.call_later(60.0, called.append, "late")
    one.call_later(0.0, called.append, "due")
    one.call_later(0.0, done.set)
    assert done.wait(5)
    one.end(5)
    assert called == ["due"]


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    one = Dispatcher(LOGGER, "test dispatch")
    yield one
    one.end(5)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Call it with True, and the system gives no thread any more."""
    start, scarce = threading.Thread.start, [False]

    def limited(thread: threading.Thread) -> None:
        if scarce[0]:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)

    def switch(on: bool) -> None:
        scarce[0] = on

    return switch


def test_it_rests_when_no_calls_are_left() -> None:
    """Not between two calls that were waiting; a rest that raises is logged, and ends nothing."""
    log: List[Any] = []
    go, rested = threading.Event(), threading.Semaphore(0)

    def rest() -> None:
        log.append("rest")
        rested.release()
        raise ValueError("of the rest")

    one = Dispatcher(LOGGER, "test dispatch", rest=rest)
    one.call(go.wait)
    for number in range(3):
        one.call(log.append, number)
    go.set()
    assert rested.acquire(timeout=10)
    one.call(log.append, "more")
    assert rested.acquire(timeout=10)
    one.end(5)
    assert log[:6] == [0, 1, 2, "rest", "more", "rest"]


@pytest.mark.parametrize("count", [2, 5])
def test_what_a_call_submits_is_one_round_trip(count: int) -> None:
    """The first request is sent at once, and the others do not wait for its answer, though nobody waits for theirs."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=60.0) as zk:
        zk.create("/a", b"x")
        dispatcher, futures = zk.driver.another_dispatcher(LOGGER, "test dispatch"), Log()
        server.black_hole("out", zk.client_id[0])  # so that no answer comes that could send the others

        def submit() -> None:
            for number in range(count):
                zk.submit(SetData("/a", b"%d" % number), futures)

        dispatcher.call(submit)
        with ZooKeeper(server.hosts) as other:
            until(lambda: other.get("/a")[0] == b"%d" % (count - 1))
        assert not futures.seen
        server.heal()
        futures.wait(count)
        dispatcher.end(5)


# --------------------------------------------------------------------------------- timers


@fault("X11")
def test_a_timer_is_on_time_while_calls_keep_coming(dispatcher: Dispatcher) -> None:
    """There is always a call waiting, also in front of the timer itself."""
    ran, stop, began = Log(), threading.Event(), time.monotonic()

    def work() -> None:
        if not stop.is_set():
            stop.wait(0.005)
            dispatcher.call(work)

    for _ in range(400):
        dispatcher.call(work)
    dispatcher.call_later(0.1, lambda: ran(time.monotonic() - began))
    late = ran.wait(1, timeout=1.5)[0]
    stop.set()
    assert 0.1 <= late < 0.5


@fault("X11")
def test_timers_that_are_always_due_keep_no_call_waiting(dispatcher: Dispatcher) -> None:
    called, stop = threading.Event(), threading.Event()

    def again() -> None:
        if not stop.is_set():
            dispatcher.call_later(0.0, again)

    again()
    dispatcher.call(called.set)
    assert called.wait(5)
    stop.set()


def test_a_cancelled_timer_does_nothing(dispatcher: Dispatcher) -> None:
    ran = Log()
    dispatcher.call(lambda: dispatcher.call_later(0.0, ran, "first").cancel())  # before the thread looks for timers again
    dispatcher.call_later(0.02, ran, "second")
    assert ran.wait(1) == ["second"]


# ------------------------------------------------------------------------- after the end


@fault("X12")
def test_callbacks_after_the_end_are_called() -> None:
    """Of a future that is done, of one that is settled later, of an operation that fails with the end."""
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts)
        zk.start()
        done = zk.submit(GetData("/"))
        done.result(5)
        own = zk.future()
        zk.close()
        called = Log()
        done.add_done_callback(called)
        assert called.wait(1) == [done]
        own.add_done_callback(called)
        own.set_result(5)
        assert called.wait(2) == [done, own]
        until(lambda: "zkwire dispatch" not in {thread.name for thread in threading.enumerate()})


def test_two_that_settle_one_future_leave_one_outcome() -> None:
    """X27: `set_result` by many threads at once: the first counts, and callbacks are called once."""
    zk = ZooKeeper("127.0.0.1:1")
    for _ in range(50):
        future, called, gate = zk.future(), Log(), threading.Barrier(4)
        future.add_done_callback(called)

        def settle(value: int, future: Any = future, gate: Any = gate) -> None:
            gate.wait()
            future.set_result(value)

        threads = [threading.Thread(target=settle, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        first = future.result(5)
        for thread in threads:
            thread.join()
        assert future.result(0) == first
        assert called.wait(1) == [future]
    assert not future.cancel()
    zk.close()


# ------------------------------------------------------------------------ what it lets go of


class Thing:
    """Something whose end can be seen."""

    def method(self, argument: Any) -> None:
        """A watcher, say."""


@fault("X13")
def test_errors_clients_and_callbacks_are_freed_at_once() -> None:
    """Without the cycle collector, on which a program may not want to wait."""
    with EmbeddedServer() as server:
        gc.collect()
        gc.disable()
        try:
            things: List[Any] = []

            def fails(zk: ZooKeeper, call: Callable[[], Any]) -> None:
                thing = Thing()
                things.append(weakref.ref(thing))
                try:
                    call()
                except NoNodeError as error:
                    things.append(weakref.ref(error))
                else:
                    raise AssertionError("no error")

            def session() -> None:
                with ZooKeeper(server.hosts) as zk:
                    things.extend((weakref.ref(zk), weakref.ref(zk._driver), weakref.ref(zk._session)))
                    fails(zk, lambda: zk.get("/none"))
                    fails(zk, lambda: zk.get("/none", timeout=5))
                    fails(zk, lambda: zk.submit(GetData("/none")).result(5))
                    fails(zk, lambda: zk.delete("/none", recursive=True))
                    fails(zk, lambda: zk.transaction_that_fails())  # type: ignore[attr-defined]

            def transaction(zk: ZooKeeper) -> None:
                with zk.transaction() as transaction:
                    transaction.delete("/none")

            ZooKeeper.transaction_that_fails = transaction  # type: ignore[attr-defined]
            session()
            until(lambda: not [thing() for thing in things if thing() is not None], 5)
            assert len(things) == 3 + 2 * 5
        finally:
            del ZooKeeper.transaction_that_fails  # type: ignore[attr-defined]
            gc.enable()


@fault("X13")
def test_the_last_callback_is_let_go_of() -> None:
    """A watcher that was called, and its event: the thread that called it waits, and holds neither."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        gc.disable()
        try:
            thing = Thing()
            alive = weakref.ref(thing)
            zk.create("/a")
            zk.exists("/a", thing.method)
            zk.set("/a", b"1")
            del thing
            until(lambda: alive() is None, 5)
        finally:
            gc.enable()


# ------------------------------------------------------------------------- whatever is called


class Hostile:
    """A watcher that neither compares nor hashes."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.seen: List[Any] = []

    def __eq__(self, other: object) -> bool:
        raise ValueError("not to be compared")

    def __call__(self, what: Any) -> None:
        self.seen.append(what)

    def method(self, what: Any) -> None:
        self.seen.append(what)


@fault("X03")
def test_a_callback_is_known_by_its_identity() -> None:
    """As watcher, as listener and as a future's callback, as itself and as a bound method."""
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts)
        zk.start()
        zk.create("/a", b"")
        one, other, listener, callback = Hostile(), Hostile(), Hostile(), Hostile()
        zk.add_listener(listener)
        zk.get("/a", watch=one)
        zk.get("/a", watch=one)
        zk.exists("/a", watch=other.method)
        zk.exists("/a", watch=other.method)
        zk.set("/a", b"1")
        future = zk.submit(GetData("/a"), callback)
        future.add_done_callback(callback.method)
        until(lambda: len(callback.seen) == 2)
        assert future.result(5)[0] == b"1"
        until(lambda: (len(one.seen), len(other.seen)) == (1, 1))
        zk.close()
        until(lambda: listener.seen == ["LOST"])


# --------------------------------------------------------------------- threads are scarce


@fault("X05")
def test_watchers_are_called_once_there_is_a_thread(no_threads: Callable[[bool], None]) -> None:
    """At the first callback the system gives none: what is to be called waits, in order, and nothing else does."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.create("/a", b"")
        no_threads(True)
        seen = Log()
        for i in range(3):
            zk.get("/a", watch=lambda event, i=i: seen(i))  # type: ignore[misc]
            zk.set("/a", b"%d" % i)
        future = zk.submit(GetData("/a"), seen)
        assert future.result(5)[0] == b"2"
        assert seen.seen == []
        no_threads(False)
        assert seen.wait(4, timeout=5) == [0, 1, 2, future]


@fault("X05")
def test_start_tries_until_there_is_a_thread(
    no_threads: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedServer() as server:
        no_threads(True)
        zk = ZooKeeper(server.hosts)
        until_, looks = zk._driver.until, []

        def later(done: Callable[[], bool], timeout: float) -> bool:
            looks.append(timeout)
            no_threads(len(looks) < 3)
            return until_(done, timeout)

        monkeypatch.setattr(zk._driver, "until", later)
        zk.start(10)
        assert zk.connected
        assert len(looks) >= 3
        zk.close()


@fault("X05")
def test_start_says_that_there_is_no_thread(no_threads: Callable[[bool], None]) -> None:
    """Its cause is in the text, the client is closed, and its listeners have heard so."""
    with EmbeddedServer() as server:
        no_threads(True)
        zk = ZooKeeper(server.hosts)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="can't start new thread"):
            zk.start(0.3)
        assert time.monotonic() - began < 3
        assert zk.client_state == "CLOSED"


@fault("X05")
def test_close_calls_what_waits_though_there_is_no_thread(no_threads: Callable[[bool], None]) -> None:
    """As in an atexit handler since CPython 3.12: the listeners hear the end, and close() is as quick as ever."""
    with EmbeddedServer() as server:
        zk, states, events = ZooKeeper(server.hosts), Log(), Log()
        zk.start()
        zk.create("/a", b"")
        zk.add_listener(states)
        zk.get("/a", watch=events)
        no_threads(True)
        began = time.monotonic()
        zk.close()
        assert time.monotonic() - began < 3
        assert states.seen == ["LOST"]
        assert [event.state for event in events.seen] == ["CLOSED"]
        assert not server.sessions


@pytest.mark.long
@fault("X05")
def test_a_reconnect_by_name_waits_for_a_thread(no_threads: Callable[[bool], None]) -> None:
    """The look-up has none: that attempt has failed, says why, and the next is made."""
    with EmbeddedServer() as server:
        with ZooKeeper(server.hosts.replace("127.0.0.1", "localhost"), timeout=5.0) as zk:
            states, session = Log(), zk.client_id
            zk.add_listener(states)
            no_threads(True)
            server.cut()
            until(lambda: "can't start new thread" in str(zk._session.last_error))
            no_threads(False)
            assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
            assert zk.client_id == session
