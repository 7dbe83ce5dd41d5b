"""Calls under load and at their end: time-outs, windows, bounds, callbacks, and what is left of them (X04, X07, X09 to X13, X16, X17, X31)."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import tracemalloc
import weakref
from typing import Any, Callable, List, Optional

import pytest

from tests.kit import children
from tests.kit.aio import aio
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from tests.kit.hostile import ANSWERS, Scripted, Wire
from tests.kit.world import reply_frame
from zkwire import (
    AsyncZooKeeper, KazooState, NoAuthError, NoNodeError, OperationTimeoutError, TooManyPendingError, ZooKeeper, ZookeeperError,
)  # fmt: skip
from zkwire.embedded import EmbeddedServer
from zkwire.ops import AddWatch, Create, Delete, Exists, GetChildren, GetData, SetData


class Held:
    """Answers that a scripted server keeps back until their paths are let go, and all answers behind them, as in a real queue."""

    def __init__(self, server: Scripted, *paths: str) -> None:
        self.server, self.paths = server, set(paths)
        self.kept: List[Any] = []
        self._lock = threading.Lock()
        server.request = self._request

    def _request(self, wire: Wire, xid: int, op: Any) -> bool:
        with self._lock:
            if getattr(op, "path", None) not in self.paths and not self.kept:
                return False
            self.kept.append((wire, xid, op))
            return True

    def let_go(self, *paths: str) -> None:
        """Keep these no more: they are answered, up to the next one that is kept."""
        with self._lock:
            self.paths -= set(paths)
            while self.kept and getattr(self.kept[0][2], "path", None) not in self.paths:
                wire, xid, op = self.kept.pop(0)
                wire.send(reply_frame(op, xid, ANSWERS[op.opcode](op), zxid=1))


def disconnected(front: Front, server: Any, **options: Any) -> Any:
    """A client that had a session, whose server is gone for a while."""
    zk = front.client(server.hosts, **options)
    states = Log()
    zk.add_listener(states)
    server.stop()
    states.until(lambda seen: KazooState.SUSPENDED in seen)
    return zk


# ------------------------------------------------------------------------ calls that time out


def blocks_of_ours() -> int:
    """How many blocks of memory the client's code has got and not given back."""
    gc.collect()
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/zkwire/*")])
    return sum(statistic.count for statistic in ours.statistics("filename"))


@pytest.mark.long
@fault("X04")
def test_nothing_is_left_of_waits_that_ended(front: Front) -> None:
    """Who asks a future a thousand times whether it is done yet leaves nothing behind."""
    server = front.server()
    zk = disconnected(front, server, timeout=20.0)
    future = front.submit(zk, [GetData("/")])[0]

    def wait(times: int) -> None:
        for _ in range(times):
            with pytest.raises(TimeoutError):
                future.result(0.0005)

    if front.is_asyncio:  # its futures are the loop's: a call is what waits
        def wait(times: int) -> None:  # type: ignore[no-redef]
            for _ in range(times):
                with pytest.raises(OperationTimeoutError):
                    zk.exists("/", timeout=0.0005)

    wait(50)
    tracemalloc.start()
    try:
        wait(20)
        before = blocks_of_ours()
        wait(600)
        assert blocks_of_ours() - before < 200, "something for each wait"
    finally:
        tracemalloc.stop()
        server.start()  # so that close() has nothing to wait for


@pytest.mark.long
@fault("X04")
def test_nothing_is_left_of_calls_that_timed_out_while_another_reads() -> None:
    with Scripted() as server, ZooKeeper(server.hosts, timeout=20.0) as zk:
        zk.start()
        held = Held(server, "/slow", "/never")
        reader = threading.Thread(target=zk.get, args=("/slow",))
        reader.start()
        server.wait(lambda: bool(held.kept))

        def wait(times: int) -> None:
            future = zk.submit(GetData("/never"))
            for _ in range(times):
                with pytest.raises(TimeoutError):
                    future.result(0.0005)

        wait(50)
        tracemalloc.start()
        try:
            wait(20)
            before = blocks_of_ours()
            wait(600)
            assert blocks_of_ours() - before < 200, "something for each wait"
        finally:
            tracemalloc.stop()
        held.let_go("/slow", "/never")
        reader.join(10)
        assert not reader.is_alive()


@fault("X04")
def test_nobody_waits_longer_because_others_gave_up() -> None:
    """While one thread reads, others time out; when it has its answer and goes, the one who still waits is served at once."""
    with Scripted() as server, ZooKeeper(server.hosts, timeout=12.0) as zk:
        zk.start()
        longest = 0.0
        for turn in range(8):
            first, last = f"/first{turn}", f"/last{turn}"
            held = Held(server, first, last, "/none")
            leader = threading.Thread(target=zk.get, args=(first,))
            leader.start()
            server.wait(lambda: any(op.path == first for op in server.seen))  # noqa: B023
            impatient = [threading.Thread(target=give_up, args=(zk, "/none", 0.01)) for _ in range(3)]
            for thread in impatient:
                thread.start()
            for thread in impatient:
                thread.join(10)
            done: List[float] = []
            patient = threading.Thread(target=lambda: (zk.get(last), done.append(time.monotonic())))  # noqa: B023
            patient.start()
            server.wait(lambda: any(op.path == last for op in server.seen))  # noqa: B023
            held.let_go(first)
            leader.join(10)
            answered = time.monotonic()
            held.let_go("/none", last)
            patient.join(10)
            longest = max(longest, done[0] - answered)
        assert longest < 0.2, "nobody read for the one who waited"


def give_up(zk: ZooKeeper, path: str, timeout: float) -> None:
    """A call that nobody answers in time."""
    with pytest.raises(OperationTimeoutError):
        zk.get(path, timeout=timeout)


# ------------------------------------------------------------------------ cancelled


@pytest.mark.long
@fault("X07")
def test_what_was_cancelled_while_there_was_no_connection_is_never_sent(front: Front) -> None:
    server = front.server()
    zk = disconnected(front, server, timeout=6.0)
    futures = front.submit(zk, [Create(f"/not{number}") for number in range(20)] + [Create("/is")])
    for future in futures[:-1]:
        assert cancelled(front, future)
    server.start()
    assert futures[-1].result(8) == "/is"
    assert sorted(zk.get_children("/")) == ["is", "zookeeper"]


def cancelled(front: Front, future: Any) -> bool:
    """Cancel; whether that is what it is then. The mirror of an asyncio future hears of it a moment later."""
    said = future.cancel()
    if front.is_asyncio:
        until(future.done)
        return bool(future.cancelled())
    return bool(said)


@fault("X07")
def test_what_was_cancelled_while_the_session_moves_is_never_sent(front: Front) -> None:
    """The session holds back what is new until what is under way is answered, then goes to other servers."""
    old, new = front.scripted(), front.scripted()
    zk = front.client(old.hosts, timeout=6.0)
    held = Held(old, "/under-way")
    under_way = front.submit(zk, [GetData("/under-way")])[0]
    old.wait(lambda: bool(held.kept))
    zk.set_hosts(new.hosts)
    futures = front.submit(zk, [Create(f"/n{number}") for number in range(20)])
    gone = {f"/n{number}" for number, future in enumerate(futures) if number % 2 and cancelled(front, future)}
    assert len(gone) == 10, "nothing of it was sent: it waits for the move"
    held.let_go("/under-way")
    under_way.result(8)
    for future in futures[::2]:
        future.result(8)
    sent = {op.path for server in (old, new) for op in server.seen if isinstance(op, Create)}
    assert sent == {f"/n{number}" for number in range(0, 20, 2)}
    assert new.connections == 1


# ------------------------------------------------------------------------ giving up many


@pytest.mark.long
@fault("X09")
def test_giving_up_a_batch_costs_what_the_batch_costs(front: Front) -> None:
    """A thousand of nine thousand time out: as fast as a thousand of a thousand. Processor time of the thread that does it."""
    server = front.server()
    zk = disconnected(front, server, timeout=30.0)

    def cost() -> float:
        began = time.process_time()
        with pytest.raises(OperationTimeoutError):
            zk.get_many(["/a"] * 1000, timeout=0.1)
        return time.process_time() - began

    alone = min(cost() for _ in range(3))
    waiting = front.submit(zk, [GetData("/a")] * 8000)
    beside = min(cost() for _ in range(3))
    assert beside < 4 * alone + 0.02, (alone, beside)
    assert not any(future.done() for future in waiting)
    server.start()  # so that close() has nothing to wait for


@pytest.mark.long
@fault("X09")
def test_cancelling_thousands_costs_nothing_for_each_that_waits(front: Front) -> None:
    server = front.server()
    zk = disconnected(front, server, timeout=30.0)

    def cost(futures: List[Any]) -> float:
        began = time.process_time()
        for future in futures:
            future.cancel()
        until(lambda: all(future.done() for future in futures))
        return time.process_time() - began

    few = cost(front.submit(zk, [GetData("/a")] * 500)) / 500
    many = cost(front.submit(zk, [GetData("/a")] * 8000)[::-1]) / 8000
    assert many < 5 * few + 20e-6, (few, many)
    server.start()  # so that close() has nothing to wait for


# ------------------------------------------------------------------------ windows


@pytest.fixture
def full(front: Front) -> Any:
    """A server with a hundred nodes below /d, each with a child."""
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.start()
        zk.create("/d")
        futures = [zk.submit(Create(f"/d/n{number}", b"%d" % number)) for number in range(100)]
        futures += [zk.submit(Create(f"/d/n{number}/below")) for number in range(100)]
        for future in futures:
            future.result(10)
    return server


@fault("X10")
@pytest.mark.parametrize("max_pending", [1, 2, 7, 60])
def test_recipes_with_a_small_max_pending(front: Front, full: Any, max_pending: int) -> None:
    zk = front.client(full.hosts, max_pending=max_pending, timeout=6.0)
    found = zk.get_many([f"/d/n{number}" for number in range(100)])
    assert [data for data, _ in found] == [b"%d" % number for number in range(100)]
    zk.ensure_path("/a/b/c/d/e/f")
    zk.create("/x/y/z", b"", makepath=True)
    zk.delete("/d", recursive=True)
    assert zk.exists("/d") is None


@pytest.mark.long
@fault("X10")
def test_recipes_beside_others_who_fill_the_client(front: Front) -> None:
    """All places are taken by calls that are not answered: the recipe waits for its turn, it is not refused."""
    server = front.scripted()
    zk = front.client(server.hosts, max_pending=10, timeout=6.0)
    held = Held(server, "/held")
    others = front.submit(zk, [GetData("/held")] * 10)
    server.wait(lambda: len(held.kept) == 10)
    with pytest.raises(TooManyPendingError):
        front.submit(zk, [GetData("/one-more")])[0].result(5)
    threading.Timer(0.2, held.let_go, ["/held"]).start()
    found = zk.get_many([f"/n{number}" for number in range(100)], timeout=8.0)
    assert [data for data, _ in found] == [b"proper"] * 100
    for future in others:
        assert future.result(5)[0] == b"proper"


@fault("X10")
@pytest.mark.parametrize("max_pending", [1, 8])
def test_others_beside_recipes(front: Front, full: Any, max_pending: int) -> None:
    """Single calls while a recipe works through a window of its own: none is refused, nor is the recipe."""
    zk = front.client(full.hosts, max_pending=max_pending, timeout=6.0)
    outcomes: List[Any] = []

    def recipes() -> None:
        try:
            for _ in range(3):
                outcomes.append([data for data, _ in zk.get_many([f"/d/n{number}" for number in range(100)])])
            outcomes.append(zk.delete("/d", recursive=True))
        except BaseException as error:
            outcomes.append(error)

    thread = threading.Thread(target=recipes)
    thread.start()
    calls = 0
    while thread.is_alive():
        zk.exists("/")
        calls += 1
    thread.join(10)
    assert calls and outcomes[:3] == [[b"%d" % number for number in range(100)]] * 3 and len(outcomes) == 4, outcomes
    assert zk.exists("/d") is None


@fault("X10")
def test_a_recursive_delete_does_not_stop_half_way(front: Front, full: Any) -> None:
    """Others submit as much as they may, all the time; they hear that it is too much, the recipe does not."""
    zk = front.client(full.hosts, max_pending=6, timeout=6.0)
    done = threading.Event()

    def flood() -> None:
        while not done.is_set():
            for future in flood_once(front, zk):
                try:
                    future.result(5)
                except ZookeeperError:
                    pass

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        zk.delete("/d", recursive=True, timeout=15.0)
    finally:
        done.set()
        thread.join(10)
    assert zk.exists("/d") is None


def flood_once(front: Front, zk: Any) -> List[Any]:
    """As many as are taken."""
    futures = []
    try:
        for _ in range(6):
            futures += front.submit(zk, [Exists("/")])
    except TooManyPendingError:
        pass
    return futures


# ------------------------------------------------------------------------ callbacks


@fault("X11")
def test_a_timer_is_on_time_while_jobs_keep_coming() -> None:
    """The dispatch thread has two seconds of work waiting when the timer is due."""
    import logging

    from zkwire.io.dispatch import Dispatcher

    dispatcher = Dispatcher(logging.getLogger("zkwire"), "test")
    due, more = threading.Event(), [100]
    began = time.monotonic()
    fired: List[float] = []

    def timer() -> None:
        fired.append(time.monotonic() - began)
        due.set()

    def job() -> None:
        threading.Event().wait(0.02)  # the work it stands for
        if more[0] > 0 and not due.is_set():
            more[0] -= 1

    dispatcher.call_later(0.1, timer)
    for _ in range(100):
        dispatcher.call(job)
    assert due.wait(10)
    assert 0.1 <= fired[0] < 0.5
    more[0] = 0


@fault("X12")
def test_callbacks_after_the_end(front: Front) -> None:
    """They are called for a future that is done, and for one that is settled later."""
    server = front.server()
    zk = front.client(server.hosts)
    done = front.submit(zk, [Exists("/")])[0]
    done.result(5)
    zk.close()
    called = Log()
    done.add_done_callback(called)
    called.wait()
    if not front.is_asyncio:
        later = zk.future()
        later.add_done_callback(called)
        later.set_result(1)
        assert called.wait(2)[1] is later
        late = zk.future()
        late.set_exception(NoNodeError())
        late.add_done_callback(called)
        called.wait(3)


@pytest.mark.long
@fault("X12")
def test_callbacks_of_calls_that_the_end_has_ended() -> None:
    """close() settles what is under way; who adds a callback before, meanwhile or after is called."""
    with Scripted() as server:
        zk = ZooKeeper(server.hosts, timeout=6.0)
        zk.start()
        held = Held(server, "/held")
        called = Log()
        future = zk.submit(GetData("/held"))
        future.add_done_callback(called)
        future.add_done_callback(lambda one: one.add_done_callback(called))
        server.wait(lambda: bool(held.kept))
        zk.close()
        future.add_done_callback(called)
        assert called.wait(3) == [future] * 3
        assert isinstance(future.exception(0), ZookeeperError)


@fault("X12")
@aio
async def test_callbacks_after_the_end_on_a_loop() -> None:
    with EmbeddedServer() as server:
        zk = AsyncZooKeeper(server.hosts)
        await zk.start()
        future = zk.submit(Exists("/"))
        await future
        await zk.close()
        called = asyncio.Event()
        future.add_done_callback(lambda one: called.set())
        await asyncio.wait_for(called.wait(), 5)


# ------------------------------------------------------------------------ what is freed


class Big:
    """Something of the application's that is to be freed."""

    def hear(self, what: Any) -> None:
        """A watcher, a listener, a callback."""


@pytest.fixture
def no_collector() -> Any:
    """What is freed is freed by itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@fault("X13")
def test_an_error_keeps_nothing_alive(no_collector: None) -> None:
    """Not the frames of its caller, nor itself, once it was handled."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.start()
        references: List[Any] = []

        def call(work: Callable[[], Any]) -> None:
            big = Big()
            references.append(weakref.ref(big))
            try:
                work()
            except ZookeeperError:
                pass
            else:
                raise AssertionError("it was to fail")

        for work in (
            lambda: zk.get("/none"), lambda: zk.submit(GetData("/none")).result(5), lambda: zk.create("/no/parent"),
            lambda: zk.get("/none", timeout=5.0), lambda: zk.delete("/none", recursive=True), lambda: zk.multi([Delete("/none")]),
            lambda: zk.get("/", timeout=0.0),
        ):  # fmt: skip
            call(work)
        assert [number for number, reference in enumerate(references) if reference() is not None] == []


@fault("X13")
def test_an_error_keeps_nothing_alive_on_a_loop(no_collector: None) -> None:
    references: List[Any] = []

    async def call(zk: AsyncZooKeeper, work: Callable[[], Any]) -> None:
        big = Big()
        references.append(weakref.ref(big))
        try:
            await work()
        except ZookeeperError:
            pass
        else:
            raise AssertionError("it was to fail")

    async def main() -> List[Any]:
        with EmbeddedServer() as server:
            async with AsyncZooKeeper(server.hosts) as zk:
                for work in (lambda: zk.get("/none"), lambda: zk.create("/no/parent"), lambda: zk.delete("/none", recursive=True)):
                    await call(zk, work)
                await asyncio.sleep(0)
                return [reference() for reference in references]

    assert asyncio.run(main()) == [None] * 3


@fault("X13")
@pytest.mark.parametrize("ended", ["closed", "never started"])
def test_a_closed_client_is_freed(no_collector: None, ended: str) -> None:
    with EmbeddedServer() as server:
        zk: Optional[ZooKeeper] = ZooKeeper(server.hosts)
        assert zk is not None
        if ended == "closed":
            zk.start()
            zk.exists("/")
        zk.close()
        reference = weakref.ref(zk)
        zk = None
        until(lambda: reference() is None)  # a thread of its may be at its end just now


@fault("X13")
def test_a_closed_client_is_freed_on_a_loop(no_collector: None) -> None:
    async def main() -> Any:
        with EmbeddedServer() as server:
            zk = AsyncZooKeeper(server.hosts)
            await zk.start()
            await zk.exists("/")
            await zk.close()
            reference = weakref.ref(zk)
            del zk
            for _ in range(20):
                await asyncio.sleep(0)
            return reference()

    assert asyncio.run(main()) is None


@fault("X13")
@pytest.mark.parametrize("kind", ["watcher", "listener", "callback"])
def test_what_was_called_last_is_freed(front: Front, kind: str) -> None:
    """Without another event: an idle client holds nothing that was called and is wanted no more."""
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    zk.create("/a")
    big: Optional[Big] = Big()
    assert big is not None
    reference = weakref.ref(big)
    called = threading.Event()
    heard = functools.partial(tell, big, called)
    if kind == "watcher":
        zk.exists("/a", watch=heard)
        zk.set("/a", b"1")
    elif kind == "listener":
        zk.add_listener(heard)
        server.cut()
        called.wait(10)
        zk.remove_listener(heard)
        until(lambda: zk.connected)
    else:
        front.submit(zk, [Exists("/a")])[0].add_done_callback(heard)
    assert called.wait(10)
    del heard
    big = None
    gc.collect()
    until(lambda: reference() is None)


def tell(big: Big, called: threading.Event, what: Any) -> None:
    """Called by the client."""
    big.hear(what)
    called.set()


# ------------------------------------------------------------------------ arguments and bounds


@fault("X16")
@pytest.mark.parametrize("watch", [True, 1, "x", [print], b"/a"])
def test_a_watcher_that_is_not_callable_is_refused_before_anything_is_sent(front: Front, watch: Any) -> None:
    server = front.scripted()
    zk = front.client(server.hosts, timeout=6.0)
    for call in (
        lambda: zk.get("/a", watch), lambda: zk.get("/a", watch=watch), lambda: zk.exists("/a", watch=watch),
        lambda: zk.get_children("/a", watch=watch), lambda: zk.get_children("/a", watch=watch, include_data=True),
        lambda: zk.get_config(watch=watch), lambda: zk.add_watch("/a", watch), lambda: zk.add_watch("/a", watch, recursive=True),
        lambda: zk.remove_watches("/a", watch), lambda: zk.add_listener(watch),
        lambda: front.submit(zk, [GetData("/a", watch)]), lambda: front.submit(zk, [Exists("/a", watch)]),
        lambda: front.submit(zk, [GetChildren("/a", watch)]), lambda: front.submit(zk, [AddWatch("/a", watch)]),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call()
    assert zk.get("/proper")[0] == b"proper"
    assert [getattr(op, "path", None) for op in server.seen] == ["/proper"]


BYTES = """
import os, resource, sys, time
from zkwire import TooManyPendingError, ZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import SetData
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))      # no more than 3 GiB, or MemoryError
front = sys.argv[1]
data = b"x" * 1_000_000
def fill(submit):
    for number in range(10_000):
        try:
            submit(SetData("/a", data))
        except TooManyPendingError as error:
            print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, error, flush=True)
            os._exit(0)                                         # without waiting for a server that is gone
    print("never refused", 0, 0)
if front == "threads":
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts, timeout=30)
        zk.start()
        server.stop()
        while zk.connected:
            time.sleep(0.001)
        fill(zk.submit)
else:
    import asyncio
    from zkwire import AsyncZooKeeper
    async def main():
        with EmbeddedServer() as server:
            zk = AsyncZooKeeper(server.hosts, timeout=30)
            await zk.start()
            server.stop()
            while zk.connected:
                await asyncio.sleep(0.001)
            futures = []
            fill(lambda op: futures.append(zk.submit(op)))
    asyncio.run(main())
"""


@fault("X17")
@pytest.mark.parametrize("front_name", ["threads", "asyncio"])
def test_bytes_that_wait_are_bounded(front_name: str) -> None:
    """Ten thousand operations may wait, ten gigabytes may not: what is too much is refused, as too many are."""
    number, resident, text = children.run(BYTES, front_name).split(None, 2)
    assert number.isdigit(), text
    assert 8 <= int(number) <= 1000, "a few big ones are taken, a gigabyte is not"
    assert int(resident) < 1100, "MiB"


@pytest.mark.long
@fault("X17")
def test_the_bound_of_bytes_opens_again(front: Front) -> None:
    """Once what waited was sent and answered, as much is taken again."""
    server = front.server()
    zk = disconnected(front, server, timeout=20.0)
    data, taken = b"x" * 1_000_000, []

    def fill() -> None:
        try:
            for _ in range(1500):
                future = front.submit(zk, [SetData("/a", data)])[0]
                if future.done() and isinstance(future.exception(0), TooManyPendingError):
                    raise future.exception(0)
                taken.append(future)
        except TooManyPendingError:
            return
        raise AssertionError("1.5 GB were taken")

    fill()
    for future in taken[1:]:
        future.cancel()
    taken.clear()
    until(lambda: front.submit(zk, [SetData("/a", data)])[0] is not None)
    server.start()
    until(lambda: zk.connected)
    with pytest.raises(NoNodeError):
        zk.set("/a", data, timeout=10.0)


# ------------------------------------------------------------------------ verbs of several steps


def cut_off(server: EmbeddedServer, zk: Any) -> None:
    """From now on the client has no connection, and gets none."""
    server.refuse_sessions()
    server.cut()


@pytest.mark.long
@fault("X31")
@pytest.mark.parametrize("end", ["time-out", "close"])
def test_a_protected_create_whose_answer_was_lost(front: Front, end: str) -> None:
    """It was applied, and nobody can look any more: it may have been applied, and the error says where to look."""
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    zk.create("/d")
    states = Log()

    def lost(state: str) -> None:
        if state == KazooState.SUSPENDED:
            server.refuse_sessions()
        states(state)

    zk.add_listener(lost)
    server.drop_after(1, zk.client_id[0])
    server.refuse_sessions()
    if end == "close":
        closer = threading.Thread(target=lambda: (states.until(lambda seen: KazooState.SUSPENDED in seen), zk.close()))
        closer.start()
    with pytest.raises(ZookeeperError) as caught:
        zk.create("/d/n-", b"x", sequence=True, protect=True, timeout=1.0 if end == "time-out" else 9.0)
    if end == "close":
        closer.join(10)
    assert caught.value.maybe_applied is True
    server.heal()
    with ZooKeeper(server.hosts) as other:
        other.start()
        (child,) = other.get_children("/d")
    prefix = child.rpartition("-")[0].rpartition("n-")[0].rstrip("-")
    assert prefix.lstrip("_c") in str(caught.value) or prefix in repr(vars(caught.value)), "the protected prefix is what to look for"


class Tree:
    """The nodes of a scripted server, and the step at which it refuses, or hangs up for good."""

    def __init__(self, server: Scripted, *paths: str) -> None:
        self.server, self.paths = server, {"/", *paths}
        #: Called with each operation before it is carried out: an error code, None, or `self.hang_up()`.
        self.refuse: Callable[[Any], Optional[int]] = lambda op: None
        self.applied: List[str] = []
        server.request = self._request

    def hang_up(self) -> int:
        """End this connection, and every attempt to make another."""
        self.server.handshake = lambda wire: True
        self.server.cut()
        return 1

    def below(self, path: str) -> List[str]:
        """The names of a node's children."""
        start = path.rstrip("/") + "/"
        return sorted(one[len(start) :] for one in self.paths if one.startswith(start) and "/" not in one[len(start) :] and one != "/")

    def _request(self, wire: Wire, xid: int, op: Any) -> bool:
        if not isinstance(op, (Create, Delete, Exists, GetChildren)):
            return False
        code = self.refuse(op) or self._code(op)
        if code == 1:
            return True
        value = None if code else self._answer(op)
        wire.send(reply_frame(op, xid, value, zxid=1, err=code))
        return True

    def _code(self, op: Any) -> int:
        if isinstance(op, Create):
            return -110 if op.path in self.paths else 0 if (op.path.rpartition("/")[0] or "/") in self.paths else -101
        if op.path not in self.paths:
            return -101
        return -111 if isinstance(op, Delete) and self.below(op.path) else 0

    def _answer(self, op: Any) -> Any:
        if isinstance(op, Create):
            self.paths.add(op.path)
            self.applied.append(op.path)
            return op.path
        if isinstance(op, Delete):
            self.paths.discard(op.path)
            self.applied.append(op.path)
            return None
        stat = ANSWERS[3](op)
        return stat if isinstance(op, Exists) else self.below(op.path) if op.opcode == 8 else (self.below(op.path), stat)


@fault("X31")
def test_a_recursive_delete_that_is_refused_half_way(front: Front) -> None:
    """What was deleted is deleted: the verb was applied in part, whatever the last answer was."""
    tree = Tree(front.scripted(), "/d", "/d/a", "/d/b")
    zk = front.client(tree.server.hosts, timeout=6.0)
    tree.refuse = lambda op: -102 if isinstance(op, Delete) and op.path == "/d" else None
    with pytest.raises(NoAuthError) as caught:
        zk.delete("/d", recursive=True, timeout=5.0)
    assert sorted(tree.applied) == ["/d/a", "/d/b"]
    assert caught.value.maybe_applied is True
    told = str(caught.value) + repr(vars(caught.value))
    assert "/d/a" in told or "2 " in told, "what was deleted"


@fault("X31")
def test_a_recursive_delete_whose_later_step_is_a_read(front: Front) -> None:
    """Somebody makes a node below while we delete: it is listed again, and there the connection ends. A read changes nothing,
    the verb has."""
    tree = Tree(front.scripted(), "/d", "/d/a", "/d/b")
    zk = front.client(tree.server.hosts, timeout=6.0)

    def refuse(op: Any) -> Optional[int]:
        if isinstance(op, Delete) and op.path == "/d":
            tree.paths.add("/d/new")
        return tree.hang_up() if isinstance(op, GetChildren) and tree.applied else None

    tree.refuse = refuse
    with pytest.raises(ZookeeperError) as caught:
        zk.delete("/d", recursive=True, timeout=1.0)
    assert sorted(tree.applied) == ["/d/a", "/d/b"]
    assert caught.value.maybe_applied is True


@fault("X31")
@pytest.mark.parametrize("verb", ["makepath", "ensure_path"])
def test_parents_that_were_created_before_the_refusal(front: Front, verb: str) -> None:
    tree = Tree(front.scripted())
    zk = front.client(tree.server.hosts, timeout=6.0)
    tree.refuse = lambda op: -102 if isinstance(op, Create) and op.path == "/a/b" and "/a" in tree.paths else None
    with pytest.raises(NoAuthError) as caught:
        if verb == "makepath":
            zk.create("/a/b/c", b"", makepath=True, timeout=5.0)
        else:
            zk.ensure_path("/a/b/c", timeout=5.0)
    assert tree.applied == ["/a"]
    assert caught.value.maybe_applied is True


@pytest.mark.long
@fault("X31")
def test_a_verb_of_which_nothing_was_sent_was_not_applied(front: Front) -> None:
    """The other side of it: without a connection from the beginning, nothing may have been applied."""
    server = front.server()
    zk = disconnected(front, server, timeout=6.0)
    for call in (
        lambda: zk.create("/d/n-", protect=True, sequence=True, timeout=0.1), lambda: zk.delete("/d", recursive=True, timeout=0.1),
        lambda: zk.create("/a/b/c", makepath=True, timeout=0.1), lambda: zk.ensure_path("/a/b", timeout=0.1),
    ):  # fmt: skip
        with pytest.raises(ZookeeperError) as caught:
            call()
        assert caught.value.maybe_applied is False
    server.start()  # so that close() has nothing to wait for
