"""The blocking front's threads, locks and sockets: forks, signals, interpreter exit, odd moments."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.hostile import Scripted, Wire
from zkwire import ZooKeeper
from zkwire.errors import ConnectionClosedError, ConnectionLoss, ForkedError, OperationTimeoutError, ZookeeperError
from zkwire.ops import GetData, SetData

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def zk(scripted: Scripted) -> Iterator[ZooKeeper]:
    with ZooKeeper(scripted.hosts, timeout=3.0) as client:
        yield client


def silent(wire: Wire, xid: int, op: Any) -> bool:
    """Never an answer."""
    return True


def disconnected(zk: ZooKeeper) -> None:
    """Wait until the client has noticed."""
    deadline = time.monotonic() + 5
    while zk.connected:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def python(code: str, timeout: float = 10.0) -> subprocess.CompletedProcess:  # type: ignore[type-arg]
    """Run a script with the package on its path."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, timeout=timeout, check=False
    )  # fmt: skip


# ---------------------------------------------------------------------- life and death


def test_a_client_that_never_started_holds_nothing() -> None:
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    threads = threading.active_count()
    clients = [ZooKeeper("127.0.0.1:1") for _ in range(20)]
    with pytest.raises(ConnectionClosedError, match="not started"):
        clients[0].get("/a")
    clients[1].close()
    clients[1].close()
    with pytest.raises(ConnectionClosedError):
        clients[1].start()
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads


@fault("P09")
def test_an_unclosed_client_is_closed_when_it_is_collected(scripted: Scripted) -> None:
    """P09: even where its warning is an error."""
    threads = threading.active_count()
    client = ZooKeeper(scripted.hosts, timeout=3.0)
    client.start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    assert [w.category for w in caught] == [ResourceWarning]
    scripted.wait(lambda: any(op.opcode == -11 for op in scripted.seen))
    deadline = time.monotonic() + 5
    while threading.active_count() > threads + 1 and time.monotonic() < deadline:  # + 1: the server's connection
        threading.Event().wait(0.01)
    assert threading.active_count() <= threads + 1


@pytest.mark.parametrize("hosts", ["closed", "silent", "proper"])
@fault("P03")
def test_the_interpreter_ends_with_a_client_that_is_not_closed(hosts: str, scripted: Scripted) -> None:
    """P03: kazoo's atexit hook joins a thread that may be stuck."""
    if hosts == "silent":
        scripted.handshake = lambda wire: wire.until_closed() or True
    target = "127.0.0.1:1" if hosts == "closed" else scripted.hosts
    code = f"""
import threading, time
from zkwire import ZooKeeper
zk = ZooKeeper({target!r}, timeout=20)
threading.Thread(target=lambda: zk.start(60), daemon=True).start()
time.sleep(0.3)
print(zk.state, time.monotonic(), flush=True)
"""
    done = python(code)
    ended = time.monotonic()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert ended - float(done.stdout.split()[1]) < 1.0


def test_start_may_be_called_again_and_by_many(scripted: Scripted) -> None:
    client = ZooKeeper(scripted.hosts, timeout=3.0)
    threads = [threading.Thread(target=client.start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    client.start()
    assert client.connected
    assert scripted.connections == 1
    client.close()
    with pytest.raises(ConnectionClosedError):
        client.start()


@pytest.mark.long
def test_leaving_a_with_block_that_never_began_leaves_nothing(scripted: Scripted) -> None:
    """P05: Ctrl-C while `with ZooKeeper(...)` still connects."""
    scripted.handshake = lambda wire: wire.until_closed() or True
    threads = threading.active_count()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    client = ZooKeeper(scripted.hosts, timeout=1.0)
    timer.start()
    with pytest.raises(KeyboardInterrupt), client:
        pass
    timer.join()
    with pytest.raises(ConnectionClosedError):
        client.get("/a")
    deadline = time.monotonic() + 3
    while threading.active_count() > threads + 1 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert threading.active_count() <= threads + 1


@pytest.mark.slow
def test_calls_say_that_the_io_thread_has_failed(scripted: Scripted, zk: ZooKeeper, caplog: pytest.LogCaptureFixture) -> None:
    """A bug of ours must not leave callers waiting."""
    scripted.request = silent
    future = zk.submit(GetData("/a"))

    def broken(now: float) -> None:
        raise RuntimeError("a bug")

    zk._driver.session.timed_out = broken  # type: ignore[method-assign]
    with pytest.raises(ConnectionClosedError, match="a bug"):
        future.result(5)
    for call in (lambda: zk.get("/a"), lambda: zk.submit(GetData("/a")), zk.start):
        with pytest.raises(ConnectionClosedError, match="I/O thread has failed.*a bug"):
            call()
    assert "the I/O thread of a ZooKeeper client has failed" in caplog.text


# ----------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("timeout", [1e12, float("inf"), 86400 * 30])
def test_a_very_long_timeout_is_a_timeout(timeout: float, zk: ZooKeeper) -> None:
    assert zk.get("/a", timeout=timeout)[0] == b"proper"
    assert zk.submit(GetData("/a")).result(timeout)[0] == b"proper"


@pytest.mark.slow
@pytest.mark.parametrize("timeout", [0, -1, 1e-9])
def test_no_time_at_all_is_a_timeout_too(timeout: float, scripted: Scripted, zk: ZooKeeper) -> None:
    scripted.request = silent
    with pytest.raises(OperationTimeoutError):
        zk.get("/a", timeout=timeout)


@fault("P06")
def test_many_may_wait_for_one_future(scripted: Scripted, zk: ZooKeeper) -> None:
    go, answers = threading.Event(), []

    def held(wire: Wire, xid: int, op: Any) -> bool:
        go.wait(5)
        return False

    scripted.request = held
    future = zk.submit(GetData("/a"))
    called = threading.Event()
    future.add_done_callback(lambda f: called.set())
    threads = [threading.Thread(target=lambda: answers.append(future.result(5)[0])) for _ in range(16)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(5)
    assert answers == [b"proper"] * 16
    assert called.wait(5)
    late = threading.Event()
    future.add_done_callback(lambda f: late.set())
    assert late.wait(5)


def test_timed_out_waiters_hold_nobody_up(scripted: Scripted, zk: ZooKeeper) -> None:
    """The one who leads goes away, those who were to lead after it have gone already."""
    go, outcomes = threading.Event(), []

    def held(wire: Wire, xid: int, op: Any) -> bool:
        go.wait(5)
        return False

    scripted.request = held

    def call(timeout: float) -> None:
        try:
            outcomes.append(zk.get("/a", timeout=timeout)[0])
        except OperationTimeoutError:
            outcomes.append(b"late")

    threads = [threading.Thread(target=call, args=(t,)) for t in [0.3, 0.1, 0.1, 0.1, 0.1, 5, 5, 5]]
    for thread in threads:
        thread.start()
    for thread in threads[:5]:
        thread.join(2)
    assert outcomes == [b"late"] * 5
    started = time.monotonic()
    go.set()
    for thread in threads[5:]:
        thread.join(5)
    assert outcomes[5:] == [b"proper"] * 3
    assert time.monotonic() - started < 0.5


@pytest.mark.slow
def test_what_a_timed_out_recipe_has_queued_is_not_done_later(scripted: Scripted) -> None:
    client = ZooKeeper(scripted.hosts, timeout=4.0)
    client.start()
    scripted.handshake = lambda wire: wire.until_closed() or True
    scripted.cut()
    disconnected(client)
    with pytest.raises(OperationTimeoutError):
        client.get_many([f"/{i}" for i in range(50)], timeout=0.5)
    assert client._driver.session.pending == 0
    client.close()


@fault("P05")
def test_a_watcher_that_exits_ends_nothing(scripted: Scripted, zk: ZooKeeper, caplog: pytest.LogCaptureFixture) -> None:
    """P05: sys.exit() in a callback."""
    heard = threading.Event()
    future = zk.submit(GetData("/a"))
    future.add_done_callback(lambda f: sys.exit(3))
    future.add_done_callback(lambda f: heard.set())
    assert heard.wait(5)
    assert zk.get("/a", timeout=5)[0] == b"proper"
    assert "SystemExit" in caplog.text


@pytest.mark.slow
@fault("R13")
def test_cancelling(scripted: Scripted, zk: ZooKeeper) -> None:
    """R13: before it is sent, or not at all."""
    sent = zk.submit(GetData("/a"))
    assert not sent.cancel()
    assert sent.result(5)[0] == b"proper"
    scripted.handshake = lambda wire: wire.until_closed() or True
    scripted.cut()
    disconnected(zk)
    queued = zk.submit(SetData("/a", b""))
    assert queued.cancel()
    assert queued.cancelled()
    assert queued.done()
    with pytest.raises(ZookeeperError):
        queued.result(0)
    seen = len(scripted.seen)
    scripted.behave()
    assert zk.get("/b", timeout=8)[0] == b"proper"
    assert [type(op) for op in scripted.seen[seen:]] == [GetData]


# ------------------------------------------------------------------------- name service


@pytest.mark.slow
def test_a_slow_name_service_costs_neither_time_nor_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """D01: off the threads that matter, bounded by the connect time-out, and close() does not wait for it."""
    go = threading.Event()

    def slow(*args: Any, **kwargs: Any) -> List[Any]:
        go.wait(10)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = ZooKeeper("nowhere.invalid:2181", timeout=6.0, connect_timeout=0.2)
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    with pytest.raises(OperationTimeoutError):
        client.start(timeout=1.5)
    client.close()
    took = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    go.set()
    assert took < 2.5
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    assert cpu < 0.5


@pytest.mark.slow
@fault("D01")
def test_a_name_service_that_hangs_costs_one_thread_for_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    go, asked = threading.Event(), []

    def hangs(name: str, *args: Any, **kwargs: Any) -> List[Any]:
        asked.append(name)
        go.wait(10)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    client = ZooKeeper("a.invalid,b.invalid", timeout=0.3, connect_timeout=0.02)
    try:
        with pytest.raises(OperationTimeoutError):
            client.start(timeout=1.0)
        assert sorted(asked) == ["a.invalid", "b.invalid"]
    finally:
        client.close()
        go.set()


@pytest.mark.long
def test_names_are_resolved_anew_for_each_attempt(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """D02, D03, D04: a name that is unknown at first, then has a dead address before the living one."""
    calls: List[str] = []
    real = socket.getaddrinfo

    def changing(name: str, port: int, *args: Any, **kwargs: Any) -> List[Any]:
        calls.append(name)
        if len(calls) == 1:
            raise socket.gaierror("not yet")
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [dead, *real("127.0.0.1", scripted.port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    with ZooKeeper("moving.invalid:2181", timeout=3.0) as client:
        assert client.get("/a", timeout=5)[0] == b"proper"
    assert len(calls) >= 2


# ------------------------------------------------------------------------------- signals


@fault("P05")
def test_ctrl_c_in_a_waiting_call_leaves_the_client_usable(scripted: Scripted, zk: ZooKeeper) -> None:
    """P05."""
    go = threading.Event()
    scripted.request = lambda wire, xid, op: op.opcode == 4 and not go.wait(5)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        zk.get("/a")
    timer.join()
    go.set()  # the answer comes late, and keeps its place
    assert zk.exists("/b", timeout=3) is not None
    assert scripted.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize("where", ["received", "actions"])
@fault("P05")
def test_ctrl_c_in_the_midst_of_the_cores_work_leaves_nobody_waiting(
    where: str, scripted: Scripted, zk: ZooKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P05: the answers were taken from the wire, and those who wait for them not yet told."""
    go = threading.Event()
    scripted.request = lambda wire, xid, op: op.opcode == 4 and not go.wait(5)
    others = [zk.submit(GetData("/a")) for _ in range(3)]
    session, real, struck = zk._driver.session, getattr(zk._driver.session, where), []

    def strike(*arguments: Any) -> Any:
        result = real(*arguments)
        if go.is_set() and not struck and threading.current_thread() is threading.main_thread():
            struck.append(1)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(session, where, strike)
    timer = threading.Timer(0.2, go.set)
    timer.start()
    try:
        zk.exists("/b")
    except (KeyboardInterrupt, ConnectionLoss):
        pass
    timer.join()
    assert all(isinstance(future.exception(9), (ConnectionLoss, type(None))) for future in others)
    scripted.request = None
    assert zk.get("/a", timeout=5)[0] == b"proper"


def test_ctrl_c_between_sending_and_noting_it_sends_nothing_twice(
    scripted: Scripted, zk: ZooKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P05: what has left, nobody knows; so the connection is given up."""
    scripted.request = lambda wire, xid, op: op.path in ("/held", "/once")
    session, connection, struck = zk._driver.session, zk._driver.session.link.connection, []
    sent = connection.sent

    def strike(count: int) -> None:
        if not struck and threading.current_thread() is threading.main_thread():
            struck.append(1)
            raise KeyboardInterrupt
        sent(count)

    held, other = zk.submit(GetData("/held")), zk.submit(SetData("/once", b"1"))
    assert session.unsent  # it goes with the next, or with a call that waits for it
    monkeypatch.setattr(connection, "sent", strike)
    with pytest.raises(KeyboardInterrupt):
        other.result(5)
    for future in (held, other):
        assert isinstance(future.exception(5), ConnectionLoss)
    assert zk.get("/a", timeout=5)[0] == b"proper"
    assert [op.path for op in scripted.seen].count("/once") == 1


def test_ctrl_c_between_receiving_and_handing_it_on_loses_nothing(
    scripted: Scripted, zk: ZooKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P05: what the thread had read waits for the next that reads, and every answer keeps its place."""
    go, struck = threading.Event(), []
    scripted.request = lambda wire, xid, op: op.path == "/held" and not go.wait(5)
    sockets, receive = zk._driver._sockets, zk._driver._sockets.receive

    def strike(wire: Any) -> None:
        if not struck and threading.current_thread() is threading.main_thread():
            struck.append(1)
            raise KeyboardInterrupt
        receive(wire)

    monkeypatch.setattr(sockets, "receive", strike)
    others = [zk.submit(GetData("/a")) for _ in range(3)]
    threading.Timer(0.1, go.set).start()
    while not struck:  # until this thread is the one that reads
        try:
            zk.get("/held", timeout=5)
        except KeyboardInterrupt:
            pass
    assert [future.result(9)[0] for future in others] == [b"proper"] * 3
    assert zk.get("/a", timeout=5)[0] == b"proper"
    assert scripted.connections == 1


# --------------------------------------------------------------------------------- forks


def in_child(function: Callable[[], Any], timeout: float = 5.0) -> str:
    """What `function` returns, as text, in a child made by fork()."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of 3.12: fork with threads is what this is about
        pid = os.fork()
    if pid == 0:
        text = "nothing"
        try:
            os.close(reader)
            text = repr(function())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, text.encode()[:4000])
            os._exit(0)
    os.close(writer)
    try:
        deadline = time.monotonic() + timeout
        os.set_blocking(reader, False)
        data = b""
        while True:
            try:
                piece = os.read(reader, 4096)
            except BlockingIOError:
                assert time.monotonic() < deadline, "the child hangs"
                threading.Event().wait(0.002)
                continue
            if not piece:
                return data.decode()
            data += piece
    finally:
        os.close(reader)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.long
@needs_fork
@fault("P01")
def test_the_child_of_a_fork_is_refused_at_once_and_the_parent_goes_on(scripted: Scripted, zk: ZooKeeper) -> None:
    """P01."""
    scripted.request = lambda wire, xid, op: op.path == "/never"
    pending = zk.submit(GetData("/never"))
    finished = zk.submit(GetData("/a"))
    transaction = zk.transaction()
    transaction.set_data("/a", b"")

    def calls() -> List[str]:
        names = []
        attempts: List[Callable[[], Any]] = [
            lambda: zk.get("/a"), lambda: zk.create("/a"), lambda: zk.submit(GetData("/a")), pending.result,
            lambda: pending.cancel(), lambda: zk.ensure_path("/a/b"), lambda: zk.get_many(["/a"]), lambda: zk.start(),
            transaction.commit, lambda: zk.add_auth("digest", "a:b"), lambda: zk.create("/p", protect=True),
        ]  # fmt: skip
        for attempt in attempts:
            try:
                names.append(f"returned {attempt()!r}")
            except BaseException as error:
                names.append(type(error).__name__)
        for name in [name for name in dir(ZooKeeper) if not name.startswith("_")]:
            with pytest.raises(ForkedError):
                getattr(zk, name)
        return names

    started = time.monotonic()
    assert in_child(calls) == repr(["ForkedError"] * 11)
    assert time.monotonic() - started < 2
    with pytest.raises(ConnectionLoss):
        pending.result(5)  # nobody answers, so the connection is given up; but not because of the child
    assert isinstance(finished.exception(5), ConnectionLoss)
    scripted.request = None
    assert zk.get("/a", timeout=5)[0] == b"proper"
    assert not any(op.opcode == -11 for op in scripted.seen)


@needs_fork
def test_the_child_may_make_a_client_of_its_own(scripted: Scripted, zk: ZooKeeper) -> None:
    def child() -> Any:
        with ZooKeeper(scripted.hosts, timeout=3.0) as own:
            return own.get("/a", timeout=9)[0]

    assert in_child(child) == repr(b"proper")
    assert zk.get("/a", timeout=5)[0] == b"proper"


@needs_fork
def test_the_child_may_forget_its_parents_client(scripted: Scripted) -> None:
    clients = [ZooKeeper(scripted.hosts, timeout=3.0)]
    clients[0].start()

    def child() -> List[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clients.clear()
            gc.collect()
        return [str(w.message) for w in caught if "ZooKeeper" in str(w.message)]

    assert in_child(child) == "[]"
    assert clients[0].get("/a", timeout=5)[0] == b"proper"
    clients[0].close()


def test_a_future_of_the_users_own(zk: ZooKeeper) -> None:
    one, two, three = zk.future(), zk.future(), zk.future()
    one.set_result(5)
    assert one.result(9) == 5
    two.set_exception(KeyError("x"))
    with pytest.raises(KeyError):
        two.result(1)
    with pytest.raises(OperationTimeoutError):
        three.result(0.01)
    assert three.cancel()
    assert three.cancelled()
