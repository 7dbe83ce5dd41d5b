"""The asyncio front when things go wrong: cancellation, time-outs, cut connections, hostile bytes, ends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import struct
import time
import tracemalloc
import warnings
from typing import Any, AsyncIterator, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.conftest import AnyServer
from tests.kit.harness.proxy import FaultProxy
from tests.kit.sessions import end_session
from tests.kit.hostile import ANSWERS, Scripted, Wire
from tests.kit.world import STAT0, framed, header, reply_frame, welcome_frame
from tests.kit.aio import Log, aio, eventually, run, until_state
from zkwire import AsyncZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, ForkedError, NoNodeError, NoWatcherError, OperationTimeoutError,
    SessionExpiredError, TooManyPendingError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import Create, Exists, GetData, SetData
from zkwire.values import EventType, KazooState, KeeperState

T = 1.5


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What blocks, without blocking the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


@contextlib.asynccontextmanager
async def through_proxy(server: AnyServer, **options: Any) -> AsyncIterator[Any]:
    """A proxy before a real server, and a client behind the proxy."""
    with FaultProxy(server.host, server.port) as proxy:
        zk = AsyncZooKeeper(proxy.hosts, **options)
        await zk.start()
        try:
            yield proxy, zk
        finally:
            proxy.heal()
            await zk.close()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


def silent(*opcodes: int) -> Callable[[Wire, int, Any], bool]:
    """A server that never answers these."""
    return lambda wire, xid, op: op.opcode in opcodes


async def works_again(zk: AsyncZooKeeper, scripted: Scripted) -> None:
    scripted.behave()
    data, _ = await eventually(lambda: zk.get("/a", timeout=2))
    assert data == b"proper"


# ------------------------------------------------------------------------- cancellation


@aio
async def test_cancelled_calls_never_disturb_the_others(server38: AnyServer, unique: str) -> None:
    dice = random.Random(20)
    async with AsyncZooKeeper(server38.hosts) as zk:
        root = f"/{unique}"
        await zk.ensure_path(root)
        cancelled = 0
        for number in range(30):
            await zk.create(f"{root}/{number}", b"%d" % number)
        for _ in range(8):
            numbers = [dice.randrange(30) for _ in range(120)]
            tasks = []
            for number in numbers:
                path = f"{root}/{number}"
                call = zk.get_many([path, f"{root}/none"]) if number % 3 == 0 else zk.get(path)
                tasks.append(asyncio.ensure_future(call))
            doomed = set(dice.sample(range(120), 50))
            for index in sorted(doomed, key=lambda _: dice.random()):
                for _ in range(dice.choice((0, 0, 0, 0, 0, 0, 0, 1))):
                    await asyncio.sleep(0)
                tasks[index].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for index, (number, result) in enumerate(zip(numbers, results)):
                if isinstance(result, asyncio.CancelledError):
                    assert index in doomed
                elif number % 3 == 0:
                    assert result[0][0] == b"%d" % number and isinstance(result[1], NoNodeError)  # type: ignore
                else:
                    assert result[0] == b"%d" % number  # type: ignore[index]
            cancelled += sum(isinstance(result, asyncio.CancelledError) for result in results)
        assert zk.connected and 40 < cancelled < 400
        await zk.delete(root, recursive=True)


@pytest.mark.slow
@fault("R13")
def test_what_is_cancelled_before_it_is_sent_never_is(scripted: Scripted) -> None:
    async def main() -> None:
        zk = AsyncZooKeeper(scripted.hosts, timeout=6)
        await zk.start()
        scripted.handshake = lambda wire: not wire.until_closed()
        scripted.cut()
        await until_state(zk, KazooState.SUSPENDED)
        awaited = asyncio.ensure_future(zk.create("/awaited"))
        submitted = zk.submit(Create("/submitted"))
        kept = asyncio.ensure_future(zk.create("/kept"))
        await asyncio.sleep(0)
        assert zk._session.pending == 3
        awaited.cancel()
        submitted.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(zk.submit(Create("/waited-for")), 0.01)
        with pytest.raises(OperationTimeoutError) as late:
            await zk.create("/timed-out", timeout=0.01)
        assert not late.value.maybe_applied
        assert zk._session.pending == 1
        scripted.behave()
        assert await kept == "/kept"
        assert [op.path for op in scripted.seen] == ["/kept"]
        await zk.close()

    run(main())


@fault("R13")
def test_what_is_cancelled_after_it_was_sent_keeps_its_place(scripted: Scripted) -> None:
    held: List[Any] = []

    def hold(wire: Wire, xid: int, op: Any) -> bool:
        held.append((wire, xid, op))
        return op.path != "/go"

    async def main() -> None:
        zk = AsyncZooKeeper(scripted.hosts)
        await zk.start()
        scripted.request = hold
        log = Log()
        doomed = asyncio.ensure_future(zk.get("/doomed", log))
        with pytest.raises(OperationTimeoutError) as late:
            await zk.set("/late", b"", timeout=0.05)
        assert late.value.maybe_applied
        await asyncio.sleep(0)
        doomed.cancel()
        direct = zk.submit(GetData("/direct"))
        kept = asyncio.ensure_future(zk.get("/kept"))
        await in_thread(scripted.wait, lambda: len(held) == 4)
        direct.cancel()
        for wire, xid, op in list(held):
            wire.send(reply_frame(op, xid, {5: STAT0, 4: ((op.path or "").encode(), STAT0)}[op.opcode]))
        assert (await kept)[0] == b"/kept"
        scripted.request = None
        assert (await zk.get("/x"))[0] == b"proper"
        assert doomed.cancelled() and not log.seen
        with pytest.raises(NoWatcherError):  # nobody waits for the watch of a cancelled read
            await zk.remove_watches("/doomed")
        await zk.close()

    run(main())


@aio
async def test_a_cancelled_batch_forgets_its_errors(server38: AnyServer, unique: str) -> None:
    async with AsyncZooKeeper(server38.hosts) as zk:
        for turns in range(1, 30):
            many = asyncio.ensure_future(zk.get_many([f"/{unique}"] * 50))
            for _ in range(turns):
                await asyncio.sleep(0)
            many.cancel()
            await asyncio.wait([many])
        assert await zk.exists("/")


@aio
async def test_wait_for_around_everything(server38: AnyServer, unique: str) -> None:
    """Each call, cancelled after each number of turns of the loop: it ends, and the client works."""
    root = f"/{unique}"
    calls: List[Callable[[AsyncZooKeeper], Any]] = [
        lambda zk: zk.create(root + "/a/b", makepath=True, ephemeral=True, protect=True),
        lambda zk: zk.delete(root, recursive=True), lambda zk: zk.ensure_path(root + "/c"),
        lambda zk: zk.add_watch(root, print), lambda zk: zk.remove_watches(root), lambda zk: zk.sync(root),
        lambda zk: zk.add_auth("digest", "a:b"), lambda zk: zk.multi([Create(root + "/m")]),
    ]  # fmt: skip
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        for call in calls:
            for turns in range(8):
                task = asyncio.ensure_future(call(zk))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ZookeeperError):
                    await task
        for limit in (0.0, 0.0001, 0.001):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(zk.get_children("/"), limit)
            with contextlib.suppress(OperationTimeoutError):
                await zk.get_children("/", timeout=limit)
        assert await asyncio.wait_for(zk.sync("/"), 5) == "/"
        with contextlib.suppress(NoNodeError):
            await zk.delete(root, recursive=True)


@aio
async def test_a_cancelled_iteration_does_not_wait_for_the_server(server38: AnyServer, unique: str) -> None:
    async with through_proxy(server38, timeout=8) as (proxy, zk):
        events = zk.watch("/")
        await zk.sync("/")
        proxy.black_hole()
        begun = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(events.__anext__(), 0.2)
        assert time.monotonic() - begun < 1
        proxy.cut()
        proxy.heal()
        assert await eventually(lambda: zk.exists("/"))
        with pytest.raises(NoWatcherError):  # it was not armed again
            await zk.remove_watches("/")


@aio
async def test_a_watch_cancelled_while_it_is_set_is_taken_back_from_the_server(server38: AnyServer, unique: str) -> None:
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(f"/{unique}")
        for turns in range(6):
            events = zk.watch(f"/{unique}")
            step = asyncio.ensure_future(events.__anext__())
            for _ in range(turns):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.wait([step])
            await events.aclose()
            if turns:  # before the first step there is nothing to be ended
                await zk.sync("/")
                await zk.sync("/")  # behind the removal, which is behind the answer to the first
                assert f"/{unique}" not in await in_thread(server38.four, "wchp")
            else:
                await zk.remove_watches(f"/{unique}")
        for _ in range(20):  # several of one path, each ended while others come and go
            steps = [asyncio.ensure_future(zk.watch(f"/{unique}").__anext__()) for _ in range(5)]
            for step in steps:
                await asyncio.sleep(0)
                step.cancel()
            await asyncio.wait(steps)
        gc.collect()
        await zk.sync("/")
        await zk.sync("/")
        with pytest.raises(NoWatcherError):
            await zk.remove_watches(f"/{unique}")
        assert f"/{unique}" not in await in_thread(server38.four, "wchp")
        await zk.delete(f"/{unique}")


# ---------------------------------------------------------------------- start, and loops


@pytest.mark.slow
@fault("P07")
def test_a_cancelled_start_leaves_nothing_behind(scripted: Scripted) -> None:
    scripted.handshake = lambda wire: not wire.until_closed()

    async def main() -> None:
        for turns in (0, 1, 2, 3, 5, 8):
            zk = AsyncZooKeeper(scripted.hosts, timeout=30)
            starting = asyncio.ensure_future(zk.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            begun = time.monotonic()
            await asyncio.wait([starting])
            assert starting.cancelled() and time.monotonic() - begun < 1.5
            if turns:
                assert zk.client_state == KeeperState.CLOSED
        zk = AsyncZooKeeper(scripted.hosts, timeout=30)
        begun = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(zk.start(), 0.3)
        assert time.monotonic() - begun < 1.5
        assert zk.client_state == KeeperState.CLOSED

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refused", "silent", "drip"])
def test_start_fails_on_time(kind: str, scripted: Scripted) -> None:
    async def main() -> None:
        with FaultProxy("127.0.0.1", scripted.port) as proxy:
            if kind == "refused":
                proxy.refuse()
            elif kind == "silent":
                proxy.ignore()
            else:
                proxy.drip(2, "down")
            zk = AsyncZooKeeper(proxy.hosts, timeout=20, connect_timeout=0.4)
            begun = time.monotonic()
            with pytest.raises(OperationTimeoutError, match="the last attempt"):
                await zk.start(timeout=2.0)
            assert 1.9 < time.monotonic() - begun < 2.9
            assert proxy.connections >= 2 or kind == "refused", "one deadline for connect and handshake together"
            assert proxy.connections <= 5, "no busy loop"
            with pytest.raises(ConnectionClosedError):
                await zk.get("/")

    run(main())


@fault("P07")
def test_another_loop_is_refused_and_a_closed_one_survived(scripted: Scripted) -> None:
    zk = AsyncZooKeeper(scripted.hosts)

    async def open_it() -> None:
        await zk.start()
        assert await zk.exists("/a")
        zk.submit(GetData("/a"))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the transport, and rightly so: nobody has closed it
        asyncio.run(open_it())

        async def elsewhere() -> None:
            for use in (lambda: zk.get("/a"), lambda: zk.start(), lambda: zk.ensure_path("/a")):
                with pytest.raises(RuntimeError, match="another event loop"):
                    await use()
            with pytest.raises(RuntimeError, match="another event loop"):
                zk.submit(GetData("/a"))
            with pytest.raises(RuntimeError, match="another event loop"):
                zk.watch("/a")
            await zk.close()
            await zk.close()
            with pytest.raises(ConnectionClosedError):
                await zk.start()
            async with AsyncZooKeeper(scripted.hosts) as other:
                assert (await other.get("/a"))[0] == b"proper"

        asyncio.run(elsewhere(), debug=True)
        with pytest.raises(ConnectionClosedError):
            zk.submit(GetData("/a"))
        zk = None  # type: ignore[assignment]
        gc.collect()


@fault("P07")
def test_close_from_a_second_loop_while_the_first_runs(scripted: Scripted) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts) as zk:
            def second() -> None:
                with pytest.raises(RuntimeError, match="another event loop"):
                    asyncio.run(zk.close())

            await in_thread(second)
            assert await zk.exists("/a"), "it was not touched"

    run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@fault("P01")
def test_after_fork_the_child_is_refused(scripted: Scripted) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts) as zk:
            await zk.exists("/a")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # 3.12 warns of fork with threads, which the scripted server has
                child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    code = in_child(zk)
                os._exit(code)
            _, status = os.waitpid(child, 0)
            assert os.WEXITSTATUS(status) == 0
            assert (await zk.get("/a"))[0] == b"proper", "the parent is as before"

    def in_child(zk: AsyncZooKeeper) -> int:
        for name in [name for name in dir(AsyncZooKeeper) if not name.startswith("_")]:
            with pytest.raises(ForkedError):
                getattr(zk, name)
        with pytest.raises(ForkedError):
            zk.__aenter__().send(None)
        with pytest.raises(StopIteration):  # a block that began in the parent is left without a word
            zk.__aexit__(None, None, None).send(None)
        assert isinstance(zk, AsyncZooKeeper) and "AsyncZooKeeper" in repr(zk)
        return 0

    run(main())


# ----------------------------------------------------------------------------- bounds


@pytest.mark.long
def test_too_many_pending(scripted: Scripted) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts, max_pending=50, timeout=4) as zk:
            scripted.request = silent(4)
            calls = [zk.submit(GetData("/a")) for _ in range(50)]
            with pytest.raises(TooManyPendingError):
                zk.submit(GetData("/a"))
            with pytest.raises(TooManyPendingError):
                await zk.get("/a")
            scripted.behave()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(outcome, ConnectionLoss) for outcome in outcomes)
            assert (await eventually(lambda: zk.get("/a")))[0] == b"proper"

    run(main())


@pytest.mark.slow
def test_a_server_that_does_not_read(scripted: Scripted) -> None:
    """What is written waits within bounds, and is given up after two thirds of the timeout."""
    big = b"x" * 900_000

    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts, timeout=3, max_pending=40) as zk:
            def stop_reading(wire: Wire, xid: int, op: Any) -> bool:
                return op.opcode == 5 and not gate.wait(20)  # type: ignore[func-returns-value]

            import threading

            gate = threading.Event()
            scripted.request = stop_reading
            tracemalloc.start()
            try:
                calls = [zk.submit(SetData("/a", big)) for _ in range(30)]
                begun = time.monotonic()
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
                gate.set()
            assert 1.5 < time.monotonic() - begun < 3.0
            assert peak < 2.2 * 30 * len(big), f"{peak} bytes for {30 * len(big)} to be written"
            losses = [outcome for outcome in outcomes if isinstance(outcome, ConnectionLoss)]
            assert len(losses) == 30
            assert losses[0].sent and not losses[-1].sent, "what is still here was not sent"
            assert [loss.sent for loss in losses] == sorted((loss.sent for loss in losses), reverse=True)
            await works_again(zk, scripted)

    run(main())


# --------------------------------------------------------------------- cut connections


@pytest.mark.parametrize("how", ["fin", "rst", "hole"])
def test_a_cut_is_a_loss_and_the_session_goes_on(how: str, server38: AnyServer, unique: str) -> None:
    async def main() -> None:
        root = f"/{unique}"
        async with through_proxy(server38, timeout=3) as (proxy, zk), AsyncZooKeeper(server38.hosts) as other:
            await zk.create(root, b"0", ephemeral=True)
            one_shot, child, lasting = Log(), Log(), Log()
            await zk.get(root, one_shot)
            await zk.exists(root + "-new", child)
            await zk.add_watch(root, lasting)
            before = zk.client_id
            proxy.black_hole()
            sent = [asyncio.ensure_future(zk.set(root, b"lost")) for _ in range(5)]
            await asyncio.sleep(0)
            begun = time.monotonic()
            if how != "hole":
                proxy.cut(how)
            losses = await asyncio.gather(*sent, return_exceptions=True)
            assert all(isinstance(loss, ConnectionLoss) and loss.sent and loss.maybe_applied for loss in losses)
            assert time.monotonic() - begun < (2.6 if how == "hole" else 0.5)
            queued = zk.submit(Exists(root))
            await other.set(root, b"meanwhile")
            await other.create(root + "-new")
            proxy.cut()
            proxy.heal()
            assert (await asyncio.wait_for(queued, 8)).dataLength == len(b"meanwhile")
            assert zk.client_id == before
            # The catch-up events came before the first answer.
            assert one_shot.events == [(EventType.CHANGED, root)]
            assert child.events == [(EventType.CREATED, root + "-new")]
            assert (EventType.NONE, root) in lasting.events
            told = len(lasting.seen)
            await other.set(root, b"again")
            await zk.sync(root)
            assert lasting.events[told:] == [(EventType.CHANGED, root)]
            await other.delete(root + "-new")

    run(main())


@pytest.mark.slow
def test_what_waits_for_a_connection_fails_within_a_session_timeout(scripted: Scripted) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts, timeout=T) as zk:
            scripted.handshake = lambda wire: not wire.until_closed()
            scripted.cut()
            await until_state(zk, KazooState.SUSPENDED)
            begun = time.monotonic()
            with pytest.raises((ConnectionLoss, SessionExpiredError)) as lost:
                await zk.get("/a")
            assert not lost.value.maybe_applied and time.monotonic() - begun < 2 * T
            await works_again(zk, scripted)

    run(main())


@pytest.mark.parametrize("busy", [False, True])
def test_a_half_open_connection_is_noticed(busy: bool, server38: AnyServer) -> None:
    async def main() -> None:
        async with through_proxy(server38, timeout=3) as (proxy, zk):
            states = Log()
            zk.add_listener(states)
            proxy.black_hole("down")
            begun = time.monotonic()
            calls: List[asyncio.Future[Any]] = []

            async def keep_busy() -> None:
                while True:
                    calls.append(zk.submit(Exists("/")))
                    await asyncio.sleep(0.1)

            work = asyncio.ensure_future(keep_busy()) if busy else None
            await states.until(lambda seen: KazooState.SUSPENDED in seen)
            assert 0.5 < time.monotonic() - begun < 3 * 2 / 3 + 0.5
            if work is not None:
                work.cancel()
                await asyncio.wait([work])
            proxy.cut()
            proxy.heal()
            await asyncio.gather(*calls, return_exceptions=True)
            await states.until(lambda seen: seen[-1] == KazooState.CONNECTED)
            assert KazooState.LOST not in states.seen

    run(main())


@aio
async def test_expiry_from_outside(server38: AnyServer, unique: str) -> None:
    async with AsyncZooKeeper(server38.hosts) as zk:
        path = await zk.create(f"/{unique}", ephemeral=True)
        before, log, states = zk.client_id, Log(), Log()
        zk.add_listener(states)
        await zk.get(path, log)
        await zk.add_watch(path, log)
        await asyncio.get_running_loop().run_in_executor(None, end_session, server38.hosts, before)
        await states.until(lambda seen: seen[-2:] == [KazooState.LOST, KazooState.CONNECTED])
        assert states.seen.count(KazooState.LOST) == 1
        assert [(e.type, e.state) for e in log.seen if e.type == EventType.NONE] == [
            (EventType.NONE, KeeperState.EXPIRED_SESSION)
        ]
        assert zk.client_id is not None and before is not None and zk.client_id[0] != before[0]
        assert await zk.exists(path) is None


@aio
async def test_a_protected_create_survives_a_lost_answer(server38: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with through_proxy(server38, timeout=4) as (proxy, zk):
        await zk.create(root)
        for how in ("fin", "rst"):
            proxy.cut_after(0, "down", how)
            path = await zk.create(root + "/n-", ephemeral=True, sequence=True, protect=True)
            assert await zk.get_children(root) == [path.rpartition("/")[2]]
            await zk.delete(path)
        proxy.cut_after(0, "down")
        with pytest.raises(ConnectionLoss) as lost:
            await zk.create(root + "/plain")
        assert lost.value.sent and lost.value.maybe_applied
        assert await eventually(lambda: zk.exists(root + "/plain"))
        await zk.delete(root, recursive=True)


# ---------------------------------------------------------------------- hostile servers

BAD = {
    "length -1": lambda op, xid: struct.pack(">i", -1),
    "2 GiB": lambda op, xid: struct.pack(">ii", 2**31 - 1, xid),
    "short frame": lambda op, xid: framed(b"\0" * 15),
    "wrong xid": lambda op, xid: framed(header(xid + 1)),
    "event not utf-8": lambda op, xid: framed(header(-1) + struct.pack(">iii", 3, 3, 2) + b"\xff\xfe"),
    "vector -1": lambda op, xid: framed(header(xid, 1) + struct.pack(">i", -1)),
    "names not utf-8": lambda op, xid: framed(header(xid, 1) + struct.pack(">ii", 1, 2) + b"\xff\xfe"),
    "code -777": lambda op, xid: framed(header(xid, 1, -777)),
    "http": lambda op, xid: b"HTTP/1.1 200 OK\r\n\r\n",
    "a second answer": lambda op, xid: reply_frame(op, xid, ANSWERS[op.opcode](op)) * 2,
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_bytes_leave_nobody_waiting(name: str, scripted: Scripted) -> None:
    listing = "vector" in name or "names" in name

    def bad(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode not in (4, 8):
            return False
        wire.send(BAD[name](op, xid))
        return True

    async def main() -> None:
        async with AsyncZooKeeper(scripted.hosts, timeout=T) as zk:
            scripted.request = bad
            begun = time.monotonic()
            calls = [zk.get_children("/a") if listing else zk.get("/a") for _ in range(5)]
            tracemalloc.start()
            outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert time.monotonic() - begun < T * 2 / 3 + 0.7
            assert sum(isinstance(outcome, ZookeeperError) for outcome in outcomes) >= 4
            assert not any(isinstance(outcome, OperationTimeoutError) for outcome in outcomes)
            if name == "code -777":
                assert [outcome.code for outcome in outcomes] == [-777] * 5  # type: ignore[union-attr]
            assert peak < 5_000_000
            await works_again(zk, scripted)

    run(main(), debug=False)  # whose tracebacks would count as memory


HANDSHAKES = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "header with -119": framed(header(0, 0, -119)),
    "session 0": welcome_frame(sid=0), "password of 1 MiB": framed(b"\0" * 16 + struct.pack(">i", 2**20)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDSHAKES)
def test_hostile_handshakes(name: str, scripted: Scripted) -> None:
    scripted.handshake = lambda wire: not (wire.send(HANDSHAKES[name]), wire.until_closed())[1]

    async def main() -> None:
        zk = AsyncZooKeeper(scripted.hosts, timeout=T)
        starting = asyncio.ensure_future(zk.start(timeout=8))
        await in_thread(scripted.wait, lambda: scripted.connections >= 2)
        assert not starting.done(), "it keeps trying"
        scripted.behave()
        await starting
        assert (await zk.get("/a"))[0] == b"proper"
        assert scripted.connections < 12
        await zk.close()

    run(main())


# ------------------------------------------------------------------------------- close


STATES = ("new", "refused", "dialling", "handshake", "open", "busy", "auth", "suspended")


@pytest.mark.slow
@pytest.mark.parametrize(("state", "timeout"), [(state, 3) for state in STATES] + [("busy", 30)])
def test_close_is_bounded_in_every_state(state: str, timeout: float, scripted: Scripted) -> None:
    async def main() -> None:
        with FaultProxy("127.0.0.1", scripted.port) as proxy:
            auth = [("digest", b"a:b")] if state == "auth" else None
            zk = AsyncZooKeeper(proxy.hosts, timeout=timeout, auth_data=auth)
            starting: Any = None
            calls: List[Any] = []
            if state == "refused":
                proxy.refuse()
            elif state == "dialling":
                pass
            elif state == "handshake":
                proxy.ignore()
            elif state == "auth":
                proxy.cut_after(41, "down", "hole")  # the handshake passes, nothing else
            if state in ("refused", "dialling", "handshake", "auth"):
                starting = asyncio.ensure_future(zk.start())
                if state == "handshake":
                    await in_thread(proxy.wait, lambda p: p.connections == 1)
                elif state == "auth":
                    await eventually(lambda: is_open(zk))
                else:
                    await asyncio.sleep(0)
            elif state != "new":
                await zk.start()
                if state == "busy":
                    proxy.black_hole()
                    calls = [asyncio.ensure_future(zk.get("/a")) for _ in range(5)]
                    await asyncio.sleep(0)
                elif state == "suspended":
                    proxy.refuse()
                    proxy.cut()
                    await until_state(zk, KazooState.SUSPENDED)
                    calls = [asyncio.ensure_future(zk.get("/a")) for _ in range(5)]
            begun = time.monotonic()
            await asyncio.gather(zk.close(), zk.close())
            assert time.monotonic() - begun < 5.5
            assert (zk.client_state, zk.state) == (KeeperState.CLOSED, KazooState.LOST)
            for call in calls:
                with pytest.raises(ConnectionClosedError):
                    await asyncio.wait_for(call, 0.2)
            if starting is not None:
                with pytest.raises(ConnectionClosedError):
                    await asyncio.wait_for(starting, 0.2)
            await zk.close()

    async def is_open(zk: AsyncZooKeeper) -> bool:
        return zk._session.phase == "open"

    run(main())


@aio
async def test_close_from_a_watcher_and_a_listener(server38: AnyServer, unique: str) -> None:
    zk = AsyncZooKeeper(server38.hosts)
    await zk.start()
    await zk.create(f"/{unique}", ephemeral=True)
    log = Log()

    async def watcher(event: Any) -> None:
        await zk.close()
        log("closed")

    async def listener(state: str) -> None:
        await zk.close()
        log(state)

    zk.add_listener(listener)
    await zk.get(f"/{unique}", watcher)
    call = asyncio.ensure_future(zk.set(f"/{unique}", b""))
    await log.until(lambda seen: "closed" in seen and KazooState.LOST in seen)
    assert (await call).version == 1
    assert zk.client_state == KeeperState.CLOSED


@aio
async def test_a_cancelled_close_goes_on(server38: AnyServer, unique: str) -> None:
    zk = AsyncZooKeeper(server38.hosts)
    await zk.start()
    closing = asyncio.ensure_future(zk.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    with pytest.raises(ConnectionClosedError):
        await zk.get("/")
    await zk.close()
    assert zk.client_state == KeeperState.CLOSED


@pytest.mark.slow
def test_a_silent_auth_is_dropped_in_time(scripted: Scripted) -> None:
    """The deadline of a connection that is not yet announced counts, whatever the connect timeout."""

    async def main() -> None:
        with FaultProxy("127.0.0.1", scripted.port) as proxy:
            proxy.cut_after(41, "down", "hole")
            zk = AsyncZooKeeper(proxy.hosts, timeout=1.5, connect_timeout=60, auth_data=[("digest", b"a:b")])
            begun = time.monotonic()
            await zk.start(timeout=8)
            assert time.monotonic() - begun < 5
            await zk.close()

    run(main())


@aio
async def test_a_loop_that_was_blocked_reads_before_it_gives_up(server38: AnyServer) -> None:
    async with AsyncZooKeeper(server38.hosts, timeout=3) as zk:
        states = Log()
        zk.add_listener(states)
        call = zk.submit(Exists("/"))
        time.sleep(2.2)  # the fault itself: what awaits nothing for more than two thirds of the timeout
        assert await call
        assert await zk.exists("/")
        assert states.seen == []


@aio
async def test_a_host_by_name(server38: AnyServer) -> None:
    hosts = server38.hosts.replace("127.0.0.1", "localhost")
    async with AsyncZooKeeper(hosts) as zk:
        assert await zk.exists("/")
    zk = AsyncZooKeeper("no-such-host.invalid:1", connect_timeout=1)
    with pytest.raises(OperationTimeoutError):
        await zk.start(timeout=0.5)


def test_no_result_is_there_before_the_events_that_came_before_it() -> None:
    """Not even for one who looks at the next future while its own wake-up was on the way."""

    async def main() -> None:
        heard: List[Any] = []
        with EmbeddedServer() as server:
            async with AsyncZooKeeper(server.hosts) as zk:
                await zk.create("/a")
                await zk.add_watch("/a", heard.append)
                futures = [zk.submit(SetData("/a", b"")) for _ in range(100)]
                for future in futures:
                    await future
                    assert len(heard) >= sum(other.done() for other in futures)

    run(main())


def test_all_calls_have_ended_when_close_returns() -> None:
    async def main() -> None:
        with EmbeddedServer() as server:
            zk = AsyncZooKeeper(server.hosts)
            await zk.start()
            await zk.create("/a")
            await zk.add_watch("/a", lambda event: None)
            futures = [zk.submit(SetData("/a", b"")) for _ in range(100)]
            await zk.close()
            assert all(future.done() for future in futures)
            await asyncio.gather(*futures)

    run(main())
