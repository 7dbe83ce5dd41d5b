"""Threads that cannot be started, and threads that are switched at the worst place (X05, X27)."""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, Front, Log, until
from zkwire import AsyncZooKeeper, KazooState, KeeperState, ZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import GetData


class Limit:
    """No thread of the client's can be started while `on` is set; those of the test and of its servers can."""

    def __init__(self) -> None:
        self.on = False
        self.refused = 0
        #: Called after each refusal.
        self.then: Callable[[], object] = lambda: None

    def check(self) -> None:
        frame, ours = sys._getframe(2), False
        while frame is not None:
            file = frame.f_code.co_filename.replace("\\", "/")
            if "/zkwire/embedded/" in file:
                return
            ours = ours or "/zkwire/" in file or "/zkdisco/" in file
            frame = frame.f_back  # type: ignore[assignment]
        if self.on and ours:
            self.refused += 1
            self.then()
            raise RuntimeError("can't start new thread")


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    """The system's limit of threads."""
    one = Limit()
    start, start_new = threading.Thread.start, _thread.start_new_thread

    def limited_start(thread: threading.Thread) -> None:
        one.check()
        start(thread)

    def limited_start_new(*arguments: Any) -> Any:
        one.check()
        return start_new(*arguments)

    monkeypatch.setattr(threading.Thread, "start", limited_start)
    monkeypatch.setattr(_thread, "start_new_thread", limited_start_new)
    yield one
    one.on = False


@pytest.fixture
def starved(front: Front) -> Iterator[Front]:
    """A front whose client may log that no thread can be started: it is to tell of it."""
    yield front
    front.complaints[:] = [text for text in front.complaints if "thread" not in text]


def by_name(server: EmbeddedServer) -> str:
    """The server by a name, which has to be resolved."""
    return f"localhost:{server.port}"


def works(zk: Any) -> None:
    """A client that is connected, answers, and calls its watchers."""
    log = Log()
    zk.ensure_path("/works")
    zk.get("/works", watch=log)
    zk.set("/works", b"1")
    log.wait()


@fault("X05")
@pytest.mark.parametrize("name", ["address", "name"])
def test_no_thread_at_start_for_a_while(starved: Front, limit: Limit, name: str) -> None:
    """The attempt fails, and is made again: start() succeeds once there are threads."""
    server = starved.server()
    zk = starved.new(by_name(server) if name == "name" else server.hosts, timeout=1.0)

    def after_three() -> None:
        limit.on = limit.refused < 3

    limit.then = after_three
    limit.on = True
    zk.start(8.0)
    limit.on = False
    works(zk)


@pytest.mark.long
@fault("X05")
def test_no_thread_at_start_at_all(starved: Front, limit: Limit) -> None:
    """start() fails within its time-out and with the cause; a client that is made later has no trouble."""
    server = starved.server()
    zk = starved.new(by_name(server), timeout=1.0)
    limit.on = True
    began = time.monotonic()
    try:
        zk.start(0.6)
    except ZookeeperError as error:
        assert limit.refused and "thread" in whole_text(error), error
    assert time.monotonic() - began < 0.6 + SLACK
    limit.on = False
    works(starved.client(by_name(server)))


def whole_text(error: BaseException) -> str:
    """Its text and those of its causes."""
    texts, one = [], error
    while one is not None:
        texts.append(str(one))
        one = one.__cause__ or one.__context__  # type: ignore[assignment]
    return "; ".join(texts)


@pytest.mark.long
@fault("X05")
def test_no_thread_at_a_reconnect(starved: Front, limit: Limit) -> None:
    """The servers are known by name, the connection breaks, and for half a second nothing can be started."""
    server = starved.server()
    zk = starved.client(by_name(server), timeout=4.0)
    states = Log()
    zk.add_listener(states)
    watcher = Log()
    zk.ensure_path("/watched")
    zk.get("/watched", watch=watcher)
    session = zk.client_id
    limit.on = True
    threading.Timer(0.5, lambda: setattr(limit, "on", False)).start()
    server.cut()
    until(lambda: answers(zk), 8.0)
    assert zk.client_id == session, "an interruption of half a second costs no session"
    zk.set("/watched", b"1")
    watcher.wait()
    until(lambda: states.seen[-1:] == [KazooState.CONNECTED] or not states.seen)
    works(zk)


def answers(zk: Any) -> bool:
    """Whether a call is answered."""
    try:
        zk.exists("/", timeout=2.0)
    except ZookeeperError:
        return False
    return True


@fault("X05")
def test_no_thread_at_the_first_callback(starved: Front, limit: Limit) -> None:
    """A watcher whose thread cannot be started is called when it can, without another event."""
    server = starved.server()
    zk = starved.client(server.hosts, timeout=4.0)
    zk.ensure_path("/watched")
    limit.then = lambda: setattr(limit, "on", limit.refused < 2)
    limit.on = True
    first = Log()
    zk.get("/watched", watch=first)
    zk.set("/watched", b"1", timeout=5.0)
    assert [event.path for event in first.wait()] == ["/watched"]
    second = Log()
    zk.get("/watched", watch=second)
    zk.set("/watched", b"2")
    second.wait()
    assert zk.state == KazooState.CONNECTED


@fault("X05")
def test_no_thread_in_close(starved: Front, limit: Limit) -> None:
    """close() ends the session all the same, within its time."""
    server = starved.server()
    zk = starved.client(by_name(server), timeout=4.0)
    session = zk.client_id[0]
    future = starved.submit(zk, [GetData("/")])[0]
    future.result(5)
    limit.on = True
    began = time.monotonic()
    zk.close()
    assert time.monotonic() - began < 5.0
    assert zk.client_state == KeeperState.CLOSED
    assert session not in server.sessions
    with pytest.raises(ZookeeperError):
        zk.get("/")


@pytest.mark.long
@fault("X05")
def test_no_thread_in_close_while_there_is_no_connection(starved: Front, limit: Limit) -> None:
    server = starved.server()
    zk = starved.client(by_name(server), timeout=4.0)
    limit.on = True
    server.stop()
    until(lambda: not zk.connected)
    pending = starved.submit(zk, [GetData("/")])[0]
    began = time.monotonic()
    zk.close()
    assert time.monotonic() - began < 5.2
    assert isinstance(pending.exception(5), ZookeeperError)
    assert zk.client_state == KeeperState.CLOSED


# ------------------------------------------------------------------------ the worst place for a switch


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads are switched as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def hammer(seconds: float, *works: Callable[[], object]) -> List[BaseException]:
    """Each on a thread of its own, again and again; what they raised."""
    raised: List[BaseException] = []
    end = time.monotonic() + seconds

    def loop(work: Callable[[], object]) -> None:
        try:
            while time.monotonic() < end:
                work()
        except BaseException as error:  # what it is, the test judges
            raised.append(error)

    threads = [threading.Thread(target=loop, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a call that never ends"
    return raised


def accepting(work: Callable[[], object], *errors: type) -> Callable[[], object]:
    """The same, in which these errors may happen: the server cuts connections and ends sessions."""

    def attempt() -> None:
        try:
            work()
        except errors:
            pass

    return attempt


@pytest.mark.long
@fault("X27")
def test_properties_and_listeners_while_sessions_come_and_go(switching: None) -> None:
    """What is read together is of one session, and nothing raises."""
    passwords: Dict[int, Set[bytes]] = {}
    with EmbeddedServer(tick=0.05) as server, ZooKeeper(server.hosts, timeout=2.0) as zk:

        def look() -> None:
            client_id = zk.client_id
            if client_id is not None:
                passwords.setdefault(client_id[0], set()).add(client_id[1])
            assert zk.state in (KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST)
            assert isinstance(zk.connected, bool) and zk.client_state and zk.session_timeout > 0

        def listen() -> None:
            def listener(state: str) -> None:
                pass

            zk.add_listener(listener)
            zk.remove_listener(listener)

        def disturb() -> None:
            client_id = zk.client_id
            if client_id is not None:
                server.expire(client_id[0])
            accepting(lambda: zk.exists("/", timeout=1.0), ZookeeperError)()

        raised = hammer(1.0, look, look, listen, listen, disturb, accepting(lambda: zk.exists("/", timeout=1.0), ZookeeperError))
    assert raised == []
    assert len(passwords) > 1, "sessions came and went"
    assert 0 not in passwords and all(len(found) == 1 and b"" not in found for found in passwords.values()), "torn"


@pytest.mark.long
@fault("X27")
def test_callers_of_all_kinds_while_connections_are_cut(switching: None) -> None:
    """Leaders, followers, polls, callbacks and time-outs: each call ends, and nothing but ZooKeeper's errors is raised."""
    problems: List[Any] = []
    hook, threading.excepthook = threading.excepthook, problems.append
    try:
        with EmbeddedServer(tick=0.05) as server, ZooKeeper(server.hosts, timeout=2.0) as zk:
            zk.create("/a", b"1")

            def poll() -> None:
                future = zk.submit(GetData("/a"))
                for _ in range(3):
                    try:
                        future.result(0.0005)
                        break
                    except TimeoutError:
                        pass
                future.cancel()

            def call_back() -> None:
                called = threading.Event()
                zk.submit(GetData("/a")).add_done_callback(lambda future: called.set())
                assert called.wait(10), "a callback that never comes"

            cut = threading.Event()
            raised = hammer(
                1.2,
                *[accepting(lambda: zk.get("/a", timeout=5.0), ZookeeperError)] * 2,
                accepting(lambda: zk.get("/a", timeout=0.0005), ZookeeperError),
                accepting(poll, ZookeeperError),
                accepting(call_back, ZookeeperError),
                accepting(lambda: zk.get_many(["/a"] * 20, timeout=5.0), ZookeeperError),
                lambda: (cut.wait(0.02), server.cut()),
            )
            assert raised == []
            until(lambda: answers(zk))
    finally:
        threading.excepthook = hook
    assert problems == []


class Race:
    """Functions that begin at one moment, on threads of their own; what they returned or raised."""

    def __init__(self, *works: Callable[[], Any]) -> None:
        self.outcomes: List[Any] = []
        self._barrier = threading.Barrier(len(works))
        threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "a call that never ends"

    def _run(self, work: Callable[[], Any]) -> None:
        self._barrier.wait(5)
        try:
            self.outcomes.append(work())
        except BaseException as error:  # what it is, the test judges
            self.outcomes.append(error)


@fault("X27")
def test_one_future_is_settled_by_two(switching: None) -> None:
    """One of them succeeds: the outcome is its own, and callbacks are called once."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.start()
        for _ in range(150):
            future, called = zk.future(), Log()
            future.add_done_callback(called)
            values: List[Any] = []
            race = Race(
                lambda: future.set_result(1), lambda: future.set_result(2), lambda: values.append(future.result(5))  # noqa: B023
            )
            assert values == [future.result(0)]
            assert len(race.outcomes) == 3
            called.wait()
            zk.exists("/")
            assert len(called.seen) == 1


@fault("X27")
def test_threads_start_and_close_one_client(switching: None) -> None:
    """One session is made, all wait for it, and all closes return."""
    with EmbeddedServer() as server:
        for _ in range(15):
            zk = ZooKeeper(server.hosts, timeout=4.0)
            assert Race(*[lambda: zk.start(5)] * 4).outcomes == [None] * 4  # noqa: B023
            assert [zk.client_id[0]] == list(server.sessions)  # type: ignore[index]
            assert Race(*[zk.close] * 3).outcomes == [None] * 3
            assert not list(server.sessions)


@pytest.mark.long
@fault("X27")
def test_the_asyncio_client_is_looked_at_from_other_threads(switching: None) -> None:
    """Properties may be read from any thread, while the loop makes and loses sessions."""
    passwords: Dict[int, Set[bytes]] = {}
    raised: List[BaseException] = []
    done = threading.Event()

    async def main() -> None:
        with EmbeddedServer(tick=0.05) as server:
            async with AsyncZooKeeper(server.hosts, timeout=2.0) as zk:

                def look() -> None:
                    try:
                        while not done.is_set():
                            client_id = zk.client_id
                            if client_id is not None:
                                passwords.setdefault(client_id[0], set()).add(client_id[1])
                            assert zk.state in (KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST)
                    except BaseException as error:
                        raised.append(error)

                threads = [threading.Thread(target=look) for _ in range(3)]
                for thread in threads:
                    thread.start()
                try:
                    end = time.monotonic() + 0.8
                    while time.monotonic() < end:
                        client_id = zk.client_id
                        if client_id is not None:
                            server.expire(client_id[0])
                        try:
                            await zk.exists("/", timeout=1.0)
                        except ZookeeperError:
                            pass
                finally:
                    done.set()
                    for thread in threads:
                        thread.join(5)

    asyncio.run(main())
    assert raised == []
    assert len(passwords) > 1 and 0 not in passwords and all(len(found) == 1 for found in passwords.values())
