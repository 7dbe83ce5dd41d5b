"""Watchers and listeners of all kinds, slow ones, and watches whose caller gave up (X03, X08, X14, X28)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from typing import Any, Callable, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, Front, Log, settled, until
from tests.kit.hostile import ANSWERS, Wire
from tests.kit.world import event_frame, reply_frame
from zkwire import EventType, KazooState, NoWatcherError, OperationTimeoutError, ZooKeeper
from zkwire.ops import AddWatch, GetData, RemoveWatches

# ------------------------------------------------------------------------ identity


@dataclasses.dataclass
class Unhashable:
    """Equal to every other that has heard the same, and not to be hashed."""

    seen: List[Any] = dataclasses.field(default_factory=list)

    def __call__(self, what: Any) -> None:
        self.seen.append(what)


class Hostile:
    """Whoever compares or hashes it is punished."""

    def __init__(self) -> None:
        self.seen: List[Any] = []

    def __call__(self, what: Any) -> None:
        self.seen.append(what)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __hash__(self) -> int:
        raise RuntimeError("hashed")


class EqualToAll:
    """Equal to everything, by one hash."""

    def __init__(self) -> None:
        self.seen: List[Any] = []

    def __call__(self, what: Any) -> None:
        self.seen.append(what)

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


KINDS: List[Callable[[], Any]] = [Unhashable, Hostile, EqualToAll]


@pytest.mark.long
@fault("X03")
@pytest.mark.parametrize("kind", KINDS)
def test_watchers_are_told_apart_by_identity(front: Front, kind: Callable[[], Any]) -> None:
    """Two that are equal are two, on one-shot and on lasting watches, at every kind of event, and at the end."""
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    zk.create("/a")
    one, two, lasting, other = kind(), kind(), kind(), kind()
    for watcher in (one, two):
        zk.get("/a", watch=watcher)
        zk.exists("/a", watch=watcher)
    for watcher in (lasting, other):
        zk.add_watch("/a", watcher)
    zk.set("/a", b"1")
    until(lambda: len(one.seen) == len(two.seen) == len(lasting.seen) == len(other.seen) == 1)
    server.cut()
    until(lambda: len(lasting.seen) == len(other.seen) == 2)  # read afresh
    until(lambda: zk.connected)
    zk.remove_watches("/a", lasting)
    until(lambda: lasting.seen[-1].type == "PERSISTENT_WATCH_REMOVED")
    heard = len(lasting.seen)
    zk.set("/a", b"2", timeout=5.0)
    until(lambda: len(other.seen) == 3)
    settled(zk)
    assert len(lasting.seen) == heard and len(one.seen) == len(two.seen) == 1
    zk.get("/a", watch=one)
    zk.get_children("/a", watch=two)
    zk.close()
    assert zk.state == KazooState.LOST


@pytest.mark.long
@fault("X03")
@pytest.mark.parametrize("kind", KINDS)
def test_listeners_are_told_apart_by_identity(front: Front, kind: Callable[[], Any]) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    one, two = kind(), kind()
    zk.add_listener(one)
    zk.add_listener(two)
    zk.remove_listener(one)
    server.cut()
    until(lambda: list(two.seen) == [KazooState.SUSPENDED, KazooState.CONNECTED])
    settled(zk)
    assert one.seen == []
    zk.remove_listener(two)


# ------------------------------------------------------------------------ slow watchers


class Slow:
    """A watcher that takes so long for each event, unless it may return at once."""

    def __init__(self, front: Front, seconds: float = 20.0) -> None:
        self._front, self.seconds = front, seconds
        self._may_return = threading.Event()
        self._waiting: List[asyncio.Event] = []
        self.began = threading.Event()
        self.heard: List[Any] = []
        self.returned = 0
        self.watcher: Any = self._wait_on_the_loop if front.is_asyncio else self._wait

    def _wait(self, event: Any) -> None:
        self.heard.append(event)
        self.began.set()
        self.may_return(self.seconds)
        self.returned += 1

    async def _wait_on_the_loop(self, event: Any) -> None:
        self.heard.append(event)
        self.began.set()
        # Without a look at the clock now and then: hundreds wait, and their looks would be what delays the calls.
        self._waiting.append(asyncio.Event())
        if not self._may_return.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._waiting[-1].wait(), self.seconds)
        self.returned += 1

    def may_return(self, seconds: float) -> bool:
        """Whether watchers may return at once; waits for that, for so many seconds."""
        return self._may_return.wait(seconds)

    def let_return(self) -> None:
        """All watchers return, and those that are called later do so at once."""

        async def wake() -> None:
            for event in self._waiting:
                event.set()

        self._may_return.set()
        if self._front.loop is not None:
            self._front.loop.call(wake)


@pytest.mark.long
@fault("X08")
@pytest.mark.parametrize("seconds", [0.02, 20.0])
def test_a_slow_watcher_delays_no_call(front: Front, seconds: float) -> None:
    """Two hundred events wait for a watcher that is slow, or does not return; calls do as if there were none."""
    server = front.server()
    zk, other = front.client(server.hosts, timeout=6.0), front.client(server.hosts, timeout=6.0)
    zk.create("/slow")
    zk.create("/unrelated")
    slow = Slow(front, seconds)
    zk.add_watch("/slow", slow.watcher)
    try:
        for number in range(200):
            other.set("/slow", b"%d" % number)
        assert slow.began.wait(10)
        late = 0
        for _ in range(50):
            began = time.monotonic()
            zk.get("/unrelated", timeout=1.0)
            late += time.monotonic() - began > 0.15
            slow.may_return(0.02)  # while the watcher is called for the next event
        assert late <= 1, "one may be late for want of a processor"
        began = time.monotonic()
        zk.set("/slow", b"mine")  # its own event is queued behind the others
        assert time.monotonic() - began < 0.1 + SLACK
        server.delay(2.0)
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError):
            zk.get("/unrelated", timeout=0.2)
        assert time.monotonic() - began < 0.2 + SLACK
        server.heal()
    finally:
        slow.let_return()
    until(lambda: len(slow.heard) == slow.returned == 201)


@fault("X08")
def test_a_result_comes_behind_the_events_before_it(front: Front) -> None:
    """Not behind their watchers: but whoever has the result, and asks the queue, finds the events in it first."""
    server = front.server()
    zk, other = front.client(server.hosts, timeout=6.0), front.client(server.hosts, timeout=6.0)
    zk.create("/a")
    order = Log()
    zk.add_watch("/a", lambda event: order("event"))
    for number in range(20):
        order.seen.clear()
        other.set("/a", b"%d" % number)
        future = front.submit(zk, [GetData("/a")])[0]
        future.add_done_callback(lambda one: order("result"))
        assert future.result(5)[0] == b"%d" % number
        order.wait(2)
        if not front.is_asyncio:  # a mirror of a loop's future is settled on a way of its own
            settled(zk)
            assert order.seen == ["event", "result"]


@fault("X08")
def test_a_lock_around_a_call_that_a_watcher_takes_too() -> None:
    """An application's lock: no wait for a watcher that waits for it."""
    from zkwire.embedded import EmbeddedServer

    lock, seen = threading.Lock(), Log()
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.start()
        zk.create("/a")

        def changed(event: Any) -> None:
            with lock:
                zk.get_children("/a", changed)
            seen(event)

        zk.get_children("/a", changed)
        longest = 0.0
        for number in range(5):
            with lock:
                began = time.monotonic()
                zk.create(f"/a/{number}")
                longest = max(longest, time.monotonic() - began)
            seen.wait(number + 1)
        assert longest < 0.2


# ------------------------------------------------------------------------ given up


@fault("X14")
@pytest.mark.parametrize("recursive", [False, True])
def test_an_add_watch_that_timed_out_is_heard_or_taken_back(front: Front, recursive: bool) -> None:
    """The server has it and says so too late: then its events are heard, or it is removed there."""
    server = front.scripted()
    zk = front.client(server.hosts, timeout=6.0)
    kept: List[Any] = []

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if isinstance(op, AddWatch) and not kept:
            kept.append((wire, xid, op))
            return True
        if isinstance(op, RemoveWatches):
            wire.send(reply_frame(op, xid, None, zxid=4))
            return True
        return False

    server.request = request
    log = Log()
    with pytest.raises(OperationTimeoutError) as caught:
        zk.add_watch("/a", log, recursive=recursive, timeout=0.1)
    server.wait(lambda: bool(kept))
    wire, xid, op = kept[0]
    wire.send(reply_frame(op, xid, ANSWERS[106](op), zxid=1))
    wire.send(event_frame(EventType.CHANGED, "/a", zxid=2))
    removed = lambda: any(isinstance(one, RemoveWatches) and one.path == "/a" for one in server.seen)  # noqa: E731
    until(lambda: removed() or log.seen, 5.0)
    if removed():
        wire.send(event_frame(EventType.CHANGED, "/a", zxid=3))
        assert zk.get("/b")[0] == b"proper"
    else:
        wire.send(event_frame(EventType.CHANGED, "/a", zxid=3))
        log.wait(2)
        zk.remove_watches("/a")
    assert caught.value.maybe_applied is True


@pytest.mark.long
@fault("X14")
def test_an_add_watch_that_timed_out_before_it_was_sent_is_never_set(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    states, log = Log(), Log()
    zk.create("/a")
    zk.add_listener(states)
    server.stop()
    states.until(lambda seen: KazooState.SUSPENDED in seen)
    with pytest.raises(OperationTimeoutError):
        zk.add_watch("/a", log, timeout=0.1)
    server.start()
    zk.set("/a", b"1", timeout=8.0)
    zk.set("/a", b"2", timeout=8.0)
    settled(zk)
    assert log.seen == []


# ------------------------------------------------------------------------ the configuration


@fault("X28")
def test_the_watch_of_the_configuration_can_be_removed_below_a_chroot(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        plain.ensure_path("/app")
        zk = front.client(server.hosts + "/app", timeout=6.0)
        log = Log()
        data, stat = zk.get_config(watch=log)
        assert isinstance(data, bytes) and stat.version >= -1
        zk.remove_watches("/zookeeper/config")
        assert [event.path for event in log.wait()] == ["/zookeeper/config"]
        with pytest.raises(NoWatcherError):
            zk.remove_watches("/zookeeper/config")
