"""The asyncio front and its event loop: other loops, eager tasks, cancelling, giving up, log handlers, garbage."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import logging
import socket
import sys
import threading
import time
import weakref
from typing import Any, Awaitable, Callable, Iterator, List, Optional

import pytest

from tests.kit.addresses import several, useless
from tests.kit.aio import Log, eventually, run, until_state
from tests.kit.catalogue import fault
from tests.kit.harness import pki
from tests.kit.hostile import Scripted, Wire
from tests.kit.tls import Relay
from zkwire import AsyncZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, NoNodeError, OperationTimeoutError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import Create, Exists, GetData, SetData
from zkwire.values import EventType, KazooState


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as one:
        yield one


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """What dies in this block dies of its reference count."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# ---------------------------------------------------------------------------- loops


async def everything(hosts: str, **options: Any) -> None:
    """What a client does in a life: connect, verbs, recipes, watches, words, a loss, close."""
    async with AsyncZooKeeper(hosts, timeout=4.0, **options) as zk:
        log = Log()
        await zk.create("/a/b", b"x", makepath=True)
        assert (await zk.get("/a/b", log))[0] == b"x"
        await zk.set("/a/b", b"y" * 200_000)
        assert log.events == [(EventType.CHANGED, "/a/b")]
        assert len((await zk.get("/a/b"))[0]) == 200_000
        many = await zk.get_many(["/a", "/none"] * 500)
        assert len(many) == 1000 and isinstance(many[1], NoNodeError)
        assert (await zk.command(b"srvr")).startswith("Zookeeper version")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(zk.watch("/a").__anext__(), 0.05)
        with pytest.raises(NoNodeError):
            await zk.get("/none", timeout=5)
        heard: List[str] = []

        async def watcher(event: Any) -> None:
            heard.append((await zk.get("/a"))[0].decode())

        await zk.get("/a", watcher)
        await zk.set("/a", b"new")
        await eventually(lambda: asyncio.sleep(0, bool(heard)))
        assert heard == ["new"]
        await zk.delete("/a", recursive=True)
    with pytest.raises(ConnectionClosedError):
        await zk.get("/")


@pytest.mark.long
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
@fault("X18")
def test_eager_tasks(embedded: EmbeddedServer) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        await everything(embedded.hosts)
        with useless("dead") as one:
            with pytest.raises(OperationTimeoutError, match="refused"):
                await AsyncZooKeeper(f"127.0.0.1:{one.port}", timeout=4.0).start(0.3)

    run(main())


UVLOOP = "NOT TESTED: uvloop is not installed (pip install uvloop, in an environment of its own)"


@pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason=UVLOOP)
@pytest.mark.parametrize("tls", [False, True])
@fault("X18")
def test_uvloop(tls: bool, embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvloop

    def on_uvloop(main: Any) -> None:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(main)
        finally:
            loop.close()

    with contextlib.ExitStack() as stack:
        where = stack.enter_context(Relay(embedded.port)) if tls else embedded
        options = {"ssl_context": pki.client_context()} if tls else {}
        for manner in ("dead", "deaf", "rude"):
            first = stack.enter_context(useless(manner))
            several(monkeypatch, "localhost", first, where)
            on_uvloop(everything("localhost:1", randomize_hosts=False, **options))


class Windows(asyncio.SelectorEventLoop):
    """A loop that watches no sockets but its own, as the one of Windows."""

    def add_reader(self, *args: Any) -> Any:
        raise NotImplementedError

    add_writer = add_reader


@pytest.mark.long
@fault("X18")
def test_a_loop_that_watches_no_sockets(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Relay(embedded.port) as relay, useless("deaf") as first:
        several(monkeypatch, "localhost", first, relay)
        loop = Windows()
        try:
            options = {"randomize_hosts": False, "ssl_context": pki.client_context()}
            loop.run_until_complete(everything("localhost:1", **options))  # type: ignore[arg-type]
        finally:
            loop.close()


@pytest.mark.long
@fault("X18")
def test_an_unexpected_exception_in_an_attempt_is_a_failed_attempt(embedded: EmbeddedServer) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        real, left = loop.create_connection, [2]

        async def odd(*args: Any, **options: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise KeyError("of the loop")
            return await real(*args, **options)

        loop.create_connection = odd
        zk = AsyncZooKeeper(embedded.hosts, timeout=3.0)
        states = Log()
        zk.add_listener(states)
        await zk.start()
        assert left == [0] and await zk.exists("/"), "it was tried again"
        await zk.close()
        left = [1000]
        with pytest.raises(OperationTimeoutError, match="KeyError: 'of the loop'"):
            await AsyncZooKeeper(embedded.hosts, timeout=3.0).start(0.2)

    run(main())


@pytest.mark.long
@fault("X06")
def test_a_name_service_that_hangs_keeps_neither_the_loop_nor_its_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    go, real = threading.Event(), socket.getaddrinfo

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if host == "hanging.invalid":
            assert go.wait(20)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main() -> int:
        zk = AsyncZooKeeper("hanging.invalid:1", timeout=2.0, connect_timeout=0.05)
        with pytest.raises(OperationTimeoutError, match="hanging.invalid"):
            await zk.start(timeout=0.5)
        waiting = [thread for thread in threading.enumerate() if "hanging.invalid" in thread.name]
        # More than the executor of the loop has threads: each of them is free.
        await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(None, int) for _ in range(50)))
        return len(waiting)

    began = time.monotonic()
    try:
        assert asyncio.run(main()) == 1
        assert time.monotonic() - began < 3
    finally:
        go.set()


@pytest.mark.long
@fault("X05", "X06")
def test_no_thread_for_a_look_up_is_a_failed_attempt(embedded: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = threading.Thread.start, [3]

    def start(thread: threading.Thread) -> None:
        if refused[0] and "resolving" in thread.name:
            refused[0] -= 1
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)

    async def main() -> None:
        async with AsyncZooKeeper(f"localhost:{embedded.port}", timeout=2.0) as zk:
            assert await zk.exists("/") and refused == [0]
        refused[0] = 1000
        with pytest.raises(OperationTimeoutError, match="can't start new thread"):
            await AsyncZooKeeper(f"localhost:{embedded.port}", timeout=2.0).start(0.2)

    run(main())


# ------------------------------------------------------------------------- cancelling


def hold(*opcodes: int) -> Callable[[Wire, int, Any], bool]:
    """A server that never answers these."""
    return lambda wire, xid, op: op.opcode in opcodes


@pytest.mark.long
@fault("X07")
def test_cancel_says_whether_the_operation_is_never_sent(scripted: Scripted) -> None:
    """Not connected, connected, and while the session holds back, to move to another server."""

    async def main() -> None:
        with Scripted() as other:
            zk = AsyncZooKeeper(scripted.hosts, timeout=6.0)
            await zk.start()
            sent = zk.submit(GetData("/sent"))
            assert sent.cancel() is False and sent.cancelled(), "it was sent, or is about to be"
            scripted.request = hold(4)
            under_way = [zk.submit(GetData("/held")) for _ in range(400)]
            zk.set_hosts(other.hosts)
            held = [zk.submit(Create("/never-1")) for _ in range(3)]
            kept = zk.submit(Create("/kept"))
            assert [future.cancel() for future in held] == [True] * 3
            assert [future.cancel() for future in held] == [False] * 3, "once"
            assert all(future.cancelled() for future in held)
            assert await asyncio.wait_for(kept, 8) == "/kept"
            await asyncio.gather(*under_way, return_exceptions=True)
            other.handshake = lambda wire: not wire.until_closed()
            other.cut()
            await until_state(zk, KazooState.SUSPENDED)
            queued = zk.submit(Create("/never-2"))
            awaited = asyncio.ensure_future(zk.create("/never-3"))
            await asyncio.sleep(0)
            assert queued.cancel() is True
            awaited.cancel()
            other.behave()
            assert await zk.create("/last") == "/last"
            with pytest.raises(asyncio.CancelledError):
                await awaited
            await zk.close()
            created = [op.path for one in (scripted, other) for op in one.seen if isinstance(op, Create)]
            assert created == ["/kept", "/last"]

    run(main())


@fault("X07")
def test_an_outcome_that_waits_behind_events_can_be_cancelled(embedded: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(embedded.hosts) as zk:
            await zk.create("/a")
            futures: List[Any] = []

            def watcher(event: Any) -> None:
                for future in futures:
                    assert future.cancel() is False

            await zk.get("/a", watcher)
            futures += [zk.submit(SetData("/a", b"x")) for _ in range(3)]
            await asyncio.wait(futures)
            assert all(future.cancelled() for future in futures)
            assert (await zk.get("/a"))[1].version == 3

    run(main())


@pytest.mark.long
@fault("X09")
@pytest.mark.parametrize("how", ["time out", "cancel"])
def test_giving_up_a_batch_takes_the_same_time_whatever_else_waits(how: str, scripted: Scripted) -> None:
    async def main() -> None:
        zk = AsyncZooKeeper(scripted.hosts, timeout=30.0, max_pending=20_000)
        await zk.start()
        scripted.handshake = lambda wire: not wire.until_closed()
        scripted.cut()
        await until_state(zk, KazooState.SUSPENDED)
        waiting = [zk.submit(GetData("/waits")) for _ in range(15_000)]
        gaps: List[float] = []

        async def beat() -> None:
            while True:
                began = time.thread_time()
                await asyncio.sleep(0.005)
                gaps.append(time.thread_time() - began)

        beating = asyncio.ensure_future(beat())
        await asyncio.sleep(0.02)
        if how == "time out":
            with pytest.raises(OperationTimeoutError) as late:
                await zk.get_many(["/a"] * 1000, timeout=0.1)
            assert not late.value.maybe_applied
        else:
            batch = [asyncio.ensure_future(zk.get("/a")) for _ in range(1000)]
            await asyncio.sleep(0.02)
            for call in batch:
                call.cancel()
            await asyncio.wait(batch)
        await asyncio.sleep(0.02)
        beating.cancel()
        assert max(gaps) < 0.25, "seconds of processor time in which the loop did not turn"
        began = time.thread_time()
        assert all(future.cancel() for future in waiting)
        assert time.thread_time() - began < 1.0
        await zk.close()
        assert not scripted.seen

    run(main(), debug=False)


@fault("X09")
def test_one_timer_for_each_call_however_many_steps_it_has(embedded: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(embedded.hosts, request_timeout=30.0) as zk:
            await zk.create("/a")
            loop: Any = asyncio.get_running_loop()
            real, timers = loop.call_at, []

            def call_at(when: float, *args: Any, **options: Any) -> Any:
                timers.append(when)
                return real(when, *args, **options)

            loop.call_at = call_at
            await zk.get_many(["/a"] * 2000)
            assert len([when for when in timers if when > loop.time() + 20]) == 1

    run(main())


@fault("X09")
def test_a_deadline_counts_for_all_steps_together(scripted: Scripted) -> None:
    scripted.request = lambda wire, xid, op: op.path == "/a/b/c"  # the last step is never answered

    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts, timeout=6.0) as zk:
            began = time.monotonic()
            with pytest.raises(OperationTimeoutError, match="within 0.3 s"):
                await zk.create("/a/b/c", makepath=True, timeout=0.3)
            assert 0.3 <= time.monotonic() - began < 1.5

    run(main())


# ------------------------------------------------------------------ user code, in order


class Ships(logging.Handler):
    """Ships log lines into ZooKeeper."""

    def __init__(self, zk: AsyncZooKeeper) -> None:
        super().__init__()
        self._zk, self.futures, self.depth = zk, [], 0  # type: ignore[var-annotated]

    def emit(self, record: logging.LogRecord) -> None:
        self.depth += 1
        assert self.depth == 1, "called while it was called"
        with contextlib.suppress(ZookeeperError):
            self.futures.append(self._zk.submit(Create("/log/l-", record.getMessage().encode(), sequence=True)))
        self.depth -= 1


@fault("X02")
def test_a_log_handler_that_uses_the_client(embedded: EmbeddedServer) -> None:
    logger = logging.getLogger("tests.ships")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    async def main() -> None:
        zk = AsyncZooKeeper(embedded.hosts, timeout=3.0, logger=logger)
        handler = Ships(zk)
        logger.addHandler(handler)
        try:
            await zk.start()
            await zk.ensure_path("/log")
            embedded.restart()
            await eventually(lambda: zk.exists("/log"))
            await eventually(lambda: asyncio.sleep(0, zk.connected))
            lines = [(await zk.get(f"/log/{name}"))[0] for name in await zk.get_children("/log")]
            assert any(line.startswith(b"= CONNECTED") for line in lines)
            await asyncio.gather(*handler.futures, return_exceptions=True)
            await zk.close()
        finally:
            logger.removeHandler(handler)

    run(main())


@pytest.mark.long
@fault("X02")
def test_no_user_code_runs_before_submit_or_set_hosts_returns(embedded: EmbeddedServer) -> None:
    """Nor within a call of the client's, whatever the core has to say at once."""

    async def main() -> None:
        async with AsyncZooKeeper(embedded.hosts) as zk:
            inside, heard = [False], Log()

            def listener(state: str) -> None:
                assert not inside[0]
                heard(state)

            def watcher(event: Any) -> None:
                assert not inside[0]
                heard(event.type)

            zk.add_listener(listener)
            await zk.add_watch("/", watcher)
            embedded.stop()
            await heard.until(lambda seen: KazooState.SUSPENDED in seen)
            inside[0] = True
            removed = asyncio.ensure_future(zk.remove_watches("/"))
            zk.submit(Exists("/")).add_done_callback(lambda done: done.cancelled() or done.exception())
            zk.set_hosts("127.0.0.1:1")
            closing = asyncio.ensure_future(zk.close())
            inside[0] = False
            await closing
            await asyncio.wait([removed])
            removed.exception()
            assert heard.seen[-1] == KazooState.LOST or KazooState.LOST in heard.seen

    run(main())


# ----------------------------------------------------------------------------- garbage


class Big:
    """Something a caller has in hand."""


Call = Callable[[AsyncZooKeeper], Awaitable[Any]]
FAILING: List[Call] = [
    lambda zk: zk.get("/none"), lambda zk: zk.get("/none", timeout=5.0), lambda zk: zk.submit(GetData("/none")),
    lambda zk: zk.delete("/none", recursive=True), lambda zk: zk.create("/file/below", makepath=True),
    lambda zk: zk.multi([SetData("/none", b"")]), lambda zk: zk.get("bad"), lambda zk: zk.get("/late", timeout=0.02),
    lambda zk: zk.get_many(["/late"] * 10, timeout=0.02), lambda zk: asyncio.wait_for(zk.get("/late"), 0.02),
]  # fmt: skip


@pytest.mark.long
@fault("X13")
def test_errors_are_freed_at_once(embedded: EmbeddedServer) -> None:
    async def failing(zk: AsyncZooKeeper, call: Call) -> List[Any]:
        big = Big()
        refs: List[Any] = [weakref.ref(big)]
        try:
            await call(zk)
        except ZookeeperError as error:
            refs.append(weakref.ref(error))
        except (ValueError, asyncio.TimeoutError):
            refs.append(lambda: None)  # Python has no weak references to these
        return refs

    async def main() -> None:
        async with AsyncZooKeeper(embedded.hosts) as zk:
            await zk.create("/file", ephemeral=True)  # which has no children
            embedded.delay(0.1)
            with without_collector():
                for number, call in enumerate(FAILING):
                    refs = await failing(zk, call)
                    assert len(refs) == 2, f"call {number} did not fail"
                    await zk.exists("/")  # and what the loop itself keeps for a turn is gone
                    assert [ref() for ref in refs] == [None, None], f"call {number}"

    run(main(), debug=False)


@pytest.mark.long
@fault("X13")
def test_a_closed_client_is_freed_at_once(embedded: EmbeddedServer) -> None:
    async def life(cut: bool) -> Any:
        zk = AsyncZooKeeper(embedded.hosts, timeout=3.0)
        zk.add_listener(lambda state: None)
        await zk.start()
        await zk.ensure_path("/a")
        await zk.get("/a", lambda event: None)
        await zk.add_watch("/a", print, recursive=True)
        with contextlib.suppress(NoNodeError):
            await zk.get("/none", timeout=3)
        if cut:
            embedded.restart()
            await eventually(lambda: zk.exists("/"))
        await zk.close()
        return weakref.ref(zk), weakref.ref(zk._session)

    async def main() -> None:
        with without_collector():
            for cut in (False, True):
                refs = await life(cut)
                for _ in range(3):
                    await asyncio.sleep(0)  # the loop has its last word with the transport
                assert [ref() for ref in refs] == [None, None]

    run(main(), debug=False)


@fault("X13")
def test_the_arguments_of_the_last_callback_are_freed(embedded: EmbeddedServer) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(embedded.hosts) as zk:
            with without_collector():
                seen: List[Any] = []

                class Watcher:
                    def __call__(self, event: Any) -> None:
                        seen.append(event.type)

                watcher: Optional[Watcher] = Watcher()
                ref = weakref.ref(watcher)
                await zk.create("/a")
                await zk.get("/a", watcher)
                await zk.set("/a", b"x")
                watcher = None
                assert seen == [EventType.CHANGED] and ref() is None

    run(main(), debug=False)


@pytest.mark.long
@fault("X18")
def test_losses_name_their_cause() -> None:
    async def main() -> None:
        with useless("rude") as one:
            zk = AsyncZooKeeper(f"127.0.0.1:{one.port}", timeout=3.0)
            starting = asyncio.ensure_future(zk.start(1.0))
            with pytest.raises(OperationTimeoutError, match="closed the connection|reset by peer"):
                await starting
            with pytest.raises((ConnectionClosedError, ConnectionLoss)):
                await zk.get("/")

    run(main())
