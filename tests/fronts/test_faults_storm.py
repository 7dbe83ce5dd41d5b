"""More events than a consumer can take: memory has a bound, nobody is cut off, and in the end all know the truth."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, front, until
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import event_frame
from tests.kit.aio import aio
from zkdisco import Client, Instancer
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.io import aio_driver as aio_front
from zkwire.io import dispatch
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Create, Delete, GetData, SetData
from zkwire.values import EventType, KeeperState, WatchedEvent

NONE, CHANGED = EventType.NONE, EventType.CHANGED
BOUND = 20


class Slow:
    """A watcher that is stuck in its first event until it is let go."""

    def __init__(self) -> None:
        self.events: List[WatchedEvent] = []
        self.stuck, self.go = threading.Event(), threading.Event()

    def __call__(self, event: WatchedEvent) -> None:
        self.stuck.set()
        assert self.go.wait(20)
        self.events.append(event)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few wait that a test can make a storm."""
    monkeypatch.setattr(dispatch, "BACKLOG", BOUND)
    monkeypatch.setattr(aio_front, "BACKLOG", BOUND)


@fault("W26")
def test_a_slow_watcher_is_told_to_read_afresh(few: None) -> None:
    """At the end of what waits, once for each of its watches, in the watch's own path; then events come again."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts + "/app") as zk, ZooKeeper(server.hosts) as other:
        for path in ("/app", "/app/a", "/app/a/b", "/app/c"):
            other.create(path)
        slow, once = Slow(), Slow()
        zk.add_watch("/a", slow, recursive=True)
        zk.add_watch("/c", slow)
        for _ in range(2):
            slow.stuck.clear()
            slow.go.clear()
            slow.events.clear()
            other.set("/app/c", b"first")
            assert slow.stuck.wait(5)
            for future in [other.submit(SetData(path, b"%d" % i)) for i in range(100) for path in ("/app/a/b", "/app/c")]:
                future.result(5)
            zk.exists("/c", watch=once, timeout=5)  # the connection is alive, and one-shot watches come through
            other.set("/app/c", b"last")
            once.go.set()
            zk.sync("/", timeout=5)
            waiting = zk._driver.dispatcher.waiting
            assert waiting <= BOUND + 3
            slow.go.set()
            until(lambda: len(slow.events) == 1 + BOUND + 2 and once.events)  # one was being called all the time
            assert [event.type for event in slow.events] == [CHANGED] * (1 + BOUND) + [NONE] * 2
            assert {(e.path, e.state) for e in slow.events[-2:]} == {("/a", KeeperState.CONNECTED), ("/c", KeeperState.CONNECTED)}
            assert [(event.type, event.path) for event in once.events] == [(CHANGED, "/c")]
            once.events.clear()
        other.set("/app/a/b", b"after")
        until(lambda: slow.events[-1].path == "/a/b")


@fault("W26")
@aio
async def test_a_slow_coroutine_is_told_to_read_afresh() -> None:
    """It becomes a task for each event; with too many of them, it gets one more once it catches up."""
    go, events, running, most = asyncio.Event(), [], 0, 0  # type: ignore[var-annotated]

    async def slow(event: WatchedEvent) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1
        events.append(event)

    before, aio_front.BACKLOG = aio_front.BACKLOG, BOUND
    try:
        with EmbeddedServer() as server:
            async with AsyncZooKeeper(server.hosts) as zk:
                await zk.create("/a")
                await zk.add_watch("/a", slow)
                for future in [zk.submit(SetData("/a", b"")) for _ in range(200)]:
                    await future
                go.set()
                while len(events) < BOUND + 1:
                    await asyncio.sleep(0.001)
                assert [event.type for event in events] == [CHANGED] * BOUND + [NONE]
                assert (events[-1].path, events[-1].state) == ("/a", KeeperState.CONNECTED)
                assert most <= BOUND + 1
                await zk.set("/a", b"")
                while events[-1].type != CHANGED:
                    await asyncio.sleep(0.001)
                assert not zk._driver._behind
    finally:
        aio_front.BACKLOG = before


@pytest.mark.slow
@fault("W26")
def test_a_hundred_thousand_events_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come as fast as a socket takes them, nobody reads them, and calls are answered in between."""
    monkeypatch.setattr(dispatch, "BACKLOG", 1000)
    storm = event_frame(CHANGED, "/a") * 20_000
    with Scripted() as server:

        def request(wire: Wire, xid: int, op: Any) -> bool:
            if isinstance(op, GetData):
                wire.send(storm)
            return False

        server.request = request
        slow = Slow()
        with ZooKeeper(server.hosts, timeout=10.0) as zk:
            zk.add_watch("/a", slow)
            dispatcher = zk._driver.dispatcher
            try:
                for _ in range(5):
                    assert zk.get("/a", timeout=20)[0] == b"proper"
                    assert 1000 <= dispatcher.waiting <= 1001
            finally:
                slow.go.set()
            until(lambda: len(slow.events) == 1002)
            assert slow.events[-1].type == NONE


@pytest.mark.slow
@fault("W26")
@aio
async def test_a_hundred_thousand_events_take_no_memory_on_a_loop() -> None:
    """The same for a coroutine: so many tasks, and no more."""
    go, events = asyncio.Event(), []  # type: ignore[var-annotated]

    async def slow(event: WatchedEvent) -> None:
        await go.wait()
        events.append(event)

    storm = event_frame(CHANGED, "/a") * 20_000
    before, aio_front.BACKLOG = aio_front.BACKLOG, 1000
    try:
        with Scripted() as server:
            server.request = lambda wire, xid, op: isinstance(op, GetData) and bool(wire.send(storm))
            async with AsyncZooKeeper(server.hosts, timeout=10.0) as zk:
                await zk.add_watch("/a", slow)
                for _ in range(5):
                    assert (await zk.get("/a", timeout=20))[0] == b"proper"
                    assert len(zk._driver._tasks) == 1000 and len(zk._driver._undelivered) <= 20_000
                go.set()
                while len(events) < 1001:
                    await asyncio.sleep(0.001)
                assert events[-1].type == NONE
                assert not zk._driver._behind
    finally:
        aio_front.BACKLOG = before


@fault("W26")
def test_discovery_converges_after_a_storm(few: None) -> None:
    """Its thread stands still while instances come, change and go; then it knows the live ones."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk, Client([server.hosts]) as client:
        zk.ensure_path("/services/api")
        instancer, seen = Instancer(client, "/services/api"), Log()
        instancer.register(seen)
        seen.wait(1)
        stuck, go = threading.Event(), threading.Event()
        client.executor.call(lambda: (stuck.set(), go.wait(20)))
        assert stuck.wait(5)
        paths = [f"/services/api/{i}" for i in range(100)]
        futures = [zk.submit(Create(path, b"new")) for path in paths]
        futures += [zk.submit(SetData(path, path.encode())) for path in paths]
        futures += [zk.submit(Delete(path)) for path in paths[::2]]
        for future in futures:
            future.result(5)
        until(lambda: client.executor._behind)
        assert client.executor.waiting <= BOUND + 2
        go.set()
        expected = tuple(sorted(paths[1::2]))
        until(lambda: instancer.state.instances == expected)
        zk.set(paths[1], b"newer")
        until(lambda: "newer" in instancer.state.instances)
        assert instancer.state.error is None


__all__ = ["Front", "front"]
