"""The fault catalogue's rows on threads, forks, interrupts and callbacks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests, real, settled, until
from tests.io.test_driver import in_child, needs_fork
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ForkedError, OperationTimeoutError, ZookeeperError
from zkwire.io.future import release
from zkwire.ops import Create, GetData, SetData

ROOT = Path(__file__).parents[2]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program in an interpreter of its own, where all warnings are errors."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, cwd=ROOT, timeout=20, capture_output=True, text=True)


# --------------------------------------------------------------------------------- forks


def held(inode: str) -> bool:
    """Whether this process has that socket open."""
    names = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return any(os.path.islink(name) and os.readlink(name) == inode for name in names)


@needs_fork
@fault("P01")
def test_a_child_is_refused_and_lets_go_of_the_connection(front: Front) -> None:
    server, requests = front.server(), Requests()
    zk = front.client(front.proxy(server, tap=requests).hosts, timeout=9.0)
    client, states = real(zk), Log()
    zk.add_listener(states)
    zk.create("/a", ephemeral=True)
    driver = client._driver
    sock = driver._main.transport.get_extra_info("socket") if front.is_asyncio else driver._sockets.main.sock
    inode = os.readlink(f"/proc/self/fd/{sock.fileno()}")
    transaction, names = client.transaction(), [name for name in dir(type(client)) if not name.startswith("_")]
    assert {"get", "start", "close", "stop", "connected", "state", "client_id", "submit"} <= set(names)
    pending = real(zk).future() if not front.is_asyncio else None

    def use(result: Any) -> Any:
        """As code in the child would that awaits it."""
        return result.send(None) if asyncio.iscoroutine(result) else result

    def child() -> List[str]:
        """What is not refused: no public method, no property, no future of the parent's that is not done."""
        attempts = {name: functools.partial(getattr, client, name) for name in names}
        attempts["commit"] = lambda: use(transaction.commit())
        if pending is not None:
            attempts["future.result"], attempts["future.done"] = pending.result, pending.done
            attempts["future.cancel"], attempts["future.exception"] = pending.cancel, pending.exception
        allowed = []
        for name, attempt in attempts.items():
            try:
                attempt()
                allowed.append(name)
            except ForkedError:
                pass
        with contextlib.ExitStack() as stack:
            if not front.is_asyncio:
                stack.push(client)  # leaving a `with` that the parent has entered says nothing
        return [*allowed, str(held(inode))]

    assert held(inode)
    for _ in range(3):
        assert in_child(child) == repr(["False"])
    assert zk.get("/a")[0] == b""
    assert requests.opcodes(1) == [1, 4], "no child has said a word"
    settled(zk)
    assert states.seen == []
    assert zk.exists("/a").ephemeralOwner == zk.client_id[0]


@pytest.mark.slow
@needs_fork
@fault("P02")
@pytest.mark.parametrize(("name", "forks"), [("threads", 1000), ("asyncio", 100)])
def test_a_thousand_forks_under_load(name: str, forks: int) -> None:
    """Whatever lock another thread held at that moment: the child is refused, and ends.

    A thousand, as the row has it, on the front that has locks; the other has a loop's thread, and none of ours. A fork takes
    the longer the larger the process is: it is not that of all tests.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.kit.forks", name, str(forks)], cwd=ROOT, timeout=28, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{forks} children, each with 0\n", "")


def work(hosts: str, results: Any) -> None:
    """What a process of `multiprocessing` does: it makes a client of its own."""
    with ZooKeeper(hosts, timeout=9.0) as zk:
        results.put(zk.get("/a")[0])


@pytest.mark.long
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@fault("P01")
def test_processes_of_every_kind_make_clients_of_their_own(method: str) -> None:
    context = multiprocessing.get_context(method)
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=9.0) as zk:
        zk.create("/a", b"shared")
        for client in (zk, AsyncZooKeeper(server.hosts)):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of 3.12: fork with threads is what this is about
            results = context.SimpleQueue()
            process = context.Process(target=work, args=(server.hosts, results))
            process.start()
        assert results.get() == b"shared"
        process.join(10)
        assert process.exitcode == 0
        process.close()
        assert zk.get("/a")[0] == b"shared"
        assert len(server.sessions) == 1


# ------------------------------------------------------------------ the end of the process

ENDS = {
    "blocking": """
        import sys, time
        from zkwire import ZooKeeper

        zk = ZooKeeper(sys.argv[1], timeout=20)
        zk.start()
        zk.get("/", watch=print)
        zk.exists("/a", watch=lambda event: None)  # so that there is a thread for callbacks
        zk.create("/a")
        print(time.monotonic(), flush=True)
    """,
    "asyncio": """
        import asyncio, sys, time, warnings
        from zkwire import AsyncZooKeeper

        async def main():
            global zk
            zk = AsyncZooKeeper(sys.argv[1], timeout=20)
            await zk.start()
            await zk.get("/", watch=print)

        warnings.simplefilter("ignore", ResourceWarning)  # of the transport, and rightly so
        asyncio.run(main())
        print(time.monotonic(), flush=True)
    """,
}


@pytest.mark.parametrize("kind", ENDS)
@fault("P03")
def test_the_interpreter_ends_at_once_with_an_open_client(kind: str) -> None:
    with EmbeddedServer() as server:
        done = run(ENDS[kind], server.hosts)
        ended = time.monotonic()
        assert (done.returncode, done.stderr) == (0, "")
        assert ended - float(done.stdout) < 1.0


# -------------------------------------------------------------------- callbacks, interrupts


@pytest.mark.long
@fault("P04")
def test_user_code_never_runs_where_bytes_are_read(front: Front) -> None:
    """Watchers, listeners and completions may call the client: the thread they run on is not the one that answers."""
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    client, where, results = real(zk), Log(), Log()
    zk.create("/a", b"1")

    def callback(news: Any) -> Any:
        where(threading.current_thread())
        if not front.is_asyncio:
            return results(client.get("/a", timeout=5)[0])

        async def read() -> None:
            results((await client.get("/a", timeout=5))[0])

        return read()

    def completion(done: Any) -> None:
        result = callback(done)
        if result is not None:
            asyncio.get_running_loop().create_task(result)

    zk.get("/a", watch=callback)
    zk.add_listener(callback)
    zk.set("/a", b"2")
    if front.loop is None:
        client.submit(GetData("/a"), completion)
    else:
        front.loop.call(lambda: client.submit(GetData("/a"), completion))
    results.wait(2)
    server.cut()
    results.wait(4)
    zk.remove_listener(callback)
    assert results.seen == [b"2"] * 4
    threads = set(where.seen)
    assert len(threads) == 1 and threading.current_thread() not in threads
    if front.loop is None:
        assert client._driver._io._thread not in threads
    else:
        assert threads == {front.loop.thread}


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@fault("P05")
def test_an_interrupt_in_a_callback_on_a_loop(interrupt: Any) -> None:
    """It leaves the loop, as asyncio has it; whoever goes on with that loop finds the client as it was."""
    with EmbeddedServer() as server:
        loop, log = asyncio.new_event_loop(), Log()
        zk: Any = None

        def strike(event: Any) -> None:
            raise interrupt

        async def opened() -> Any:
            client = AsyncZooKeeper(server.hosts, timeout=9.0)
            await client.start()
            await client.create("/a")
            await client.get("/a", watch=strike)
            await client.get_children("/a", watch=log)
            await client.exists("/b", watch=log)
            return client

        try:
            zk = loop.run_until_complete(opened())
            calls = [loop.create_task(zk.set("/a", b"1")), loop.create_task(zk.create("/b"))]
            with pytest.raises(interrupt):
                loop.run_until_complete(asyncio.sleep(5))
            results = loop.run_until_complete(asyncio.wait_for(asyncio.gather(*calls), 5))
            assert results[0].version == 1 and results[1] == "/b"
            assert loop.run_until_complete(zk.get("/a"))[0] == b"1"
            loop.run_until_complete(zk.create("/a/c"))
            loop.run_until_complete(zk.sync("/"))
            assert log.events == [("CREATED", "/b"), ("CHILD", "/a")]
        finally:
            loop.run_until_complete(zk.close())
            loop.close()


@fault("P05")
def test_an_interrupt_in_a_waiting_call_on_a_loop(front: Front) -> None:
    """`asyncio.run` cancels what waits; on threads test_driver has the signals themselves."""
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    zk.create("/a")
    server.delay(0.3, zk.client_id[0])
    if front.loop is not None:
        waiting = asyncio.run_coroutine_threadsafe(real(zk).set("/a", b"1"), front.loop.loop)
        until(lambda: real(zk)._session.in_flight)
        waiting.cancel()
    else:
        with pytest.raises(OperationTimeoutError):
            zk.set("/a", b"1", timeout=0.05)
    server.delay(0, zk.client_id[0])
    assert zk.get("/a")[0] == b"1", "what was sent may be applied, and its answer keeps its place"
    assert real(zk)._session.pending == 0


@fault("P05")
def test_ctrl_c_on_a_loop_leaves_the_client_usable() -> None:
    """The signal itself, wherever it strikes; whoever goes on with that loop finds the client as it was."""
    with EmbeddedServer() as server:
        loop, states = asyncio.new_event_loop(), Log()
        zk: Any = None

        async def opened() -> Any:
            client = AsyncZooKeeper(server.hosts, timeout=9.0)
            await client.start()
            await client.create("/a")
            client.add_listener(states)
            return client

        try:
            zk = loop.run_until_complete(opened())
            server.black_hole("out", zk.client_id[0])
            call = loop.create_task(zk.set("/a", b"1"))
            timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(call)
            timer.join()
            server.heal()
            assert loop.run_until_complete(asyncio.wait_for(call, 5)).version == 1
            assert loop.run_until_complete(zk.get("/a"))[0] == b"1"
            assert (states.seen, zk._session.pending) == ([], 0)
        finally:
            loop.run_until_complete(zk.close())
            loop.close()


@fault("P06")
def test_a_future_is_what_it_says_however_one_waits(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    zk.create("/a", b"1")
    server.black_hole("out", zk.client_id[0])
    future, outcomes, called = zk.submit(GetData("/a")), Log(), Log()
    waiters = [threading.Thread(target=lambda: outcomes(future.result(9)[0])) for _ in range(4)]
    for waiter in waiters:
        waiter.start()
    future.add_done_callback(lambda done: called(done.result()[0]))
    for _ in range(20):  # in a loop, as one does who has other things to do
        with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):  # one and the same from 3.11 on
            future.result(0.001)
        assert not future.done()
    if front.loop is None:  # wakes that mean nothing
        turns = real(zk)._driver._turns
        for _ in range(50):
            until(lambda: turns.followers)
            for _, lock in list(turns.followers.values()):
                release(lock)
            threading.Event().wait(0.001)
    assert outcomes.seen == called.seen == []
    server.heal()
    assert outcomes.wait(4) == [b"1"] * 4
    for waiter in waiters:
        waiter.join(5)
    future.add_done_callback(lambda done: called(done.result()[0]))
    assert called.wait(2) == [b"1"] * 2
    assert (future.done(), future.cancelled(), future.exception(0)) == (True, False, None)
    assert future.result(0)[0] == b"1"


@pytest.mark.parametrize("front", ["asyncio"], indirect=True)
@fault("P07")
def test_cancelled_starts_races_of_wait_for_and_a_loop_that_was_closed(front: Front) -> None:
    """Tasks end whenever they like: no task is left, no result unclaimed. Other loops are refused in test_aio_faults."""
    assert front.loop is not None
    server = front.server()

    async def starts() -> None:
        for turns in range(12):
            zk = AsyncZooKeeper(server.hosts, timeout=3.0)
            starting = asyncio.ensure_future(zk.start())
            for _ in range(turns):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait([starting])
            await zk.close()

    async def races() -> None:
        async with AsyncZooKeeper(server.hosts, timeout=9.0) as zk:
            await zk.create("/a")
            answered = given_up = 0
            for number in range(150):
                try:
                    await asyncio.wait_for(zk.set("/a", b"%d" % number), 0.0002 * (number % 10))
                    answered += 1
                except asyncio.TimeoutError:
                    given_up += 1
            assert answered and given_up
            assert (await zk.get("/a"))[1].version <= 150
            assert zk._session.pending == 0

    front.loop.call(starts)
    front.loop.call(races)
    until(lambda: server.sessions == ())
    closed = asyncio.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the transport, and rightly so
        clients = [AsyncZooKeeper(server.hosts, timeout=1.0)]
        closed.run_until_complete(clients[0].start())
        closed.close()
        with pytest.raises((RuntimeError, ZookeeperError)):
            front.loop.call(lambda: clients[0].submit(GetData("/a")))
        front.loop.call(clients[0].close)
        clients.clear()
        gc.collect()


@fault("P08")
def test_a_callback_that_keeps_the_loop_from_turning_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """The session cannot be renewed meanwhile, which is documented; on the other front it has a thread of its own."""
    with EmbeddedServer(tick=0.05) as server:

        def blocks(event: Any) -> None:
            time.sleep(0.4)  # the fault itself

        async def main() -> None:
            async with AsyncZooKeeper(server.hosts, timeout=6.0) as zk:
                await zk.create("/a")
                await zk.get("/a", watch=lambda event: None)
                await zk.set("/a", b"0")
                assert "event loop" not in caplog.text
                await zk.get("/a", watch=blocks)
                await zk.set("/a", b"1")
                assert (await zk.get("/a"))[0] == b"1"

        with caplog.at_level(logging.WARNING, "zkwire"):
            asyncio.run(main())
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "blocks" in warning.getMessage() and "event loop" in warning.getMessage()
    assert "blocks the event loop" in " ".join(str(AsyncZooKeeper.__doc__).split())


@pytest.mark.long
@fault("P09")
def test_an_asyncio_client_that_is_forgotten_with_its_loop() -> None:
    code = """
        import asyncio, gc, sys, warnings
        from zkwire import AsyncZooKeeper

        async def main():
            zk = AsyncZooKeeper(sys.argv[1], timeout=20)
            await zk.start()
            await zk.get("/", watch=print)
            zk.submit  # and never closed

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(main())
            gc.collect()
        print(sorted({w.category.__name__ for w in caught}), gc.garbage)
    """
    with EmbeddedServer() as server:
        done = run(code, server.hosts)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "['ResourceWarning'] []\n")
        until(lambda: not server._core.links)


@pytest.mark.slow
@fault("P10")
def test_an_operation_from_each_completion(front: Front) -> None:
    """The same on the fronts: each completion brings the next operation, far deeper than Python could recurse."""
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    client, finished = real(zk), threading.Event()
    if front.loop is not None:
        front.loop.loop.set_debug(False)
    left = [5 * sys.getrecursionlimit()]

    def again(done: Any) -> None:
        left[0] -= 1
        if left[0] <= 0 or done.exception() is not None:
            finished.set()
        else:
            client.submit(SetData("/a", b""), again)

    zk.create("/a")
    if front.loop is None:
        client.submit(Create("/b"), again)
    else:
        front.loop.call(lambda: client.submit(Create("/b"), again) and None)
    assert finished.wait(25)
    assert left[0] == 0
