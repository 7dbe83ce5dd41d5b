"""The blocking front on real servers through a proxy that cuts, swallows and delays, and with servers that stop."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.conftest import AnyServer
from tests.kit.fronts import Log, settled, until
from tests.kit.harness.proxy import FaultProxy
from tests.kit.sessions import end_session
from zkwire import ZooKeeper
from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, NoNodeError, OperationTimeoutError, SessionExpiredError, UnimplementedError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import Create, GetData, SetData

Make = Callable[..., ZooKeeper]
T = 2.0


@pytest.fixture
def make() -> Iterator[Make]:
    made: List[ZooKeeper] = []

    def one(hosts: str, **options: Any) -> ZooKeeper:
        options.setdefault("timeout", T)
        zk = ZooKeeper(hosts, **options)
        made.append(zk)
        zk.start()
        return zk

    yield one
    for zk in made:
        zk.close()


@pytest.fixture
def proxy(server38: AnyServer) -> Iterator[FaultProxy]:
    with FaultProxy(server38.host, server38.port) as one:
        yield one


@pytest.fixture
def root(server38: AnyServer, make: Make, unique: str) -> str:
    """A node of this test's own."""
    make(server38.hosts).create(f"/{unique}")
    return f"/{unique}"


def told(zk: ZooKeeper) -> Log:
    log = Log()
    zk.add_listener(log)
    return log


def killed(zk: ZooKeeper, hosts: str) -> None:
    """End the client's session from outside, as an operator can: resume it elsewhere, and close it there."""
    assert zk.client_id is not None
    end_session(hosts, zk.client_id)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_keeps_session_and_watches(
    how: str, server38: AnyServer, proxy: FaultProxy, make: Make, root: str
) -> None:
    """W01, W02, W03, W04, W17, S01: catch-up events come before answers, exactly one each."""
    zk, other = make(proxy.hosts + root), make(server38.hosts + root)
    states = told(zk)
    logs = {name: Log() for name in ("changed", "same", "gone", "again", "made", "fleeting", "kids", "ever", "below")}
    for name in ("changed", "same", "gone", "again", "kids", "ever", "below"):
        zk.create(f"/{name}")
    for name in ("changed", "same", "gone", "again"):
        zk.get(f"/{name}", watch=logs[name])
    for name in ("made", "fleeting"):
        zk.exists(f"/{name}", watch=logs[name])
    zk.get_children("/kids", watch=logs["kids"])
    zk.add_watch("/ever", logs["ever"])
    zk.add_watch("/below", logs["below"], recursive=True)
    session = zk.client_id
    proxy.refuse()
    proxy.cut(how)
    states.wait(1)
    for step in (
        lambda: other.set("/changed", b"1"), lambda: other.delete("/gone"), lambda: other.delete("/again"),
        lambda: other.create("/again"), lambda: other.create("/made"), lambda: other.create("/fleeting"),
        lambda: other.delete("/fleeting"), lambda: other.create("/kids/one"), lambda: other.set("/ever", b"1"),
    ):  # fmt: skip
        step()
    proxy.heal()
    assert zk.get("/changed")[0] == b"1"
    settled(zk)
    assert logs["changed"].events == [("CHANGED", "/changed")]  # before the answer
    assert logs["gone"].events == [("DELETED", "/gone")]
    assert logs["again"].events == [("CHANGED", "/again")]
    assert logs["made"].events == [("CREATED", "/made")]
    assert logs["kids"].events == [("CHILD", "/kids")]
    assert logs["fleeting"].events == []  # created and deleted while we were away: nobody can tell
    assert logs["ever"].events == [("NONE", "/ever")]
    assert logs["below"].events == [("NONE", "/below")]
    assert zk.client_id == session
    for name in ("same", "ever"):
        other.set(f"/{name}", b"2")
    other.create("/below/x")
    other.create("/fleeting")
    zk.sync("/")
    settled(zk)
    assert logs["same"].events == [("CHANGED", "/same")]
    assert logs["ever"].events == [("NONE", "/ever"), ("CHANGED", "/ever")]
    assert logs["below"].events == [("NONE", "/below"), ("CREATED", "/below/x")]
    assert logs["fleeting"].events == [("CREATED", "/fleeting")]
    assert len(logs["changed"].seen) == 1
    assert states.seen == ["SUSPENDED", "CONNECTED"]


def test_add_watch_at_a_server_that_does_not_know_it(server34: AnyServer, make: Make, unique: str) -> None:
    """W18: an error, no loop of reconnects, and other watches live on."""
    with FaultProxy(server34.host, server34.port) as proxy:
        zk, once, ever = make(proxy.hosts), Log(), Log()
        zk.create(f"/{unique}", ephemeral=True)
        zk.get(f"/{unique}", watch=once)
        for _ in range(3):
            with pytest.raises(UnimplementedError):
                zk.add_watch(f"/{unique}", ever)
        assert proxy.connections <= 2
        zk.set(f"/{unique}", b"x")
        assert once.wait(1)[0].type == "CHANGED"
        assert zk.connected
        assert proxy.connections <= 2
        settled(zk)
        assert ever.seen == []


def test_a_protected_create_whose_answer_is_lost(proxy: FaultProxy, make: Make, root: str) -> None:
    """R01, R02: never two nodes."""
    zk = make(proxy.hosts + root)
    for i in range(12):
        zk.create(f"/{i}")
        proxy.cut_after(i, "down", "fin" if i % 2 else "rst")
        path = zk.create(f"/{i}/n-", b"v", ephemeral=True, sequence=True, protect=True)
        assert zk.get_children(f"/{i}") == [path.rpartition("/")[2]]
        assert zk.exists(path).ephemeralOwner == zk.client_id[0]  # type: ignore[union-attr,index]


def test_a_create_whose_answer_is_lost_is_not_sent_again(proxy: FaultProxy, make: Make, root: str) -> None:
    """R01."""
    zk = make(proxy.hosts + root)
    proxy.cut_after(0, "down")
    with pytest.raises(ConnectionLoss) as caught:
        zk.create("/n-", sequence=True)
    assert caught.value.sent
    assert caught.value.maybe_applied
    assert len(zk.get_children("/")) == 1


def test_a_node_of_an_expired_session_is_not_taken_for_ours(
    server38: AnyServer, proxy: FaultProxy, make: Make, root: str
) -> None:
    """R03: the answer is lost, and then the session."""
    zk = make(proxy.hosts + root)
    zk.exists("/")
    old = zk.client_id
    proxy.cut_after(0, "down", "hole")
    result: List[str] = []
    creating = threading.Thread(target=lambda: result.append(zk.create("/n", ephemeral=True, protect=True)))
    creating.start()
    deadline = time.monotonic() + 5
    other = make(server38.hosts + root)
    while not other.get_children("/"):
        assert time.monotonic() < deadline
    killed(zk, server38.hosts)
    proxy.heal()
    creating.join(10)
    assert zk.client_id != old
    assert other.get_children("/") == [result[0][1:]]
    assert other.exists(result[0]).ephemeralOwner == zk.client_id[0]  # type: ignore[union-attr,index]


@pytest.mark.parametrize("direction", ["both", "down", "up"])
@pytest.mark.parametrize("busy", [False, True])
def test_a_black_hole_is_noticed_in_time(direction: str, busy: bool, proxy: FaultProxy, make: Make, root: str) -> None:
    """T03, T04, T05: after two thirds of the timeout, whatever is sent; and each call within its own."""
    zk = make(proxy.hosts + root)
    states = told(zk)
    zk.exists("/")
    started = time.monotonic()
    proxy.black_hole(direction)
    with pytest.raises(OperationTimeoutError):
        zk.get("/", timeout=0.2)
    assert time.monotonic() - started < 0.5
    futures = []
    while busy and not states.seen and time.monotonic() - started < 2 * T:
        futures.append(zk.submit(GetData("/")))
        threading.Event().wait(0.02)
    states.wait(1, timeout=2 * T)
    took = time.monotonic() - started
    assert T * 2 / 3 - 0.3 < took < T * 2 / 3 + 0.4
    for future in futures[:20]:
        assert isinstance(future.exception(1), ConnectionLoss)
    proxy.heal()
    proxy.cut()  # also the connection that came at once, into the black hole

    def works() -> bool:
        try:
            return zk.exists("/", timeout=3) is not None
        except (ConnectionLoss, SessionExpiredError):  # of the connections of before; two seconds of session are soon over
            return False

    until(works, 8.0)


def test_ten_thousand_in_flight_and_a_cut(proxy: FaultProxy, make: Make, root: str) -> None:
    """R14: the answered ones are a prefix, the others were lost, and the tree agrees."""
    zk = make(proxy.hosts + root, timeout=8.0, max_pending=20_000)
    proxy.cut_after(60_000, "down")
    futures = [zk.submit(Create(f"/{i}")) for i in range(10_000)]
    outcomes = [future.exception(8) for future in futures]
    answered = outcomes.index(next(o for o in outcomes if o is not None))
    lost = [o for o in outcomes[answered:] if isinstance(o, ConnectionLoss)]
    assert 100 < answered < 10_000
    first_later = answered + len(lost)
    assert all(isinstance(o, ConnectionLoss) for o in outcomes[answered:first_later])
    assert all(o is None for o in outcomes[first_later:])  # submitted after the loss, they waited for the next one
    there = {int(name) for name in zk.get_children("/")}
    assert set(range(answered)) <= there
    assert set(range(first_later, 10_000)) <= there
    unsent = {i for i, o in enumerate(outcomes) if isinstance(o, ConnectionLoss) and not o.sent}
    assert not unsent & there


def test_a_session_killed_from_outside(server38: AnyServer, make: Make, root: str) -> None:
    """S02, W27: told once, then a new session, and it works."""
    zk = make(server38.hosts + root)
    states, once, ever = told(zk), Log(), Log()
    zk.create("/e", ephemeral=True)
    zk.get("/e", watch=once)
    zk.get_children("/e", watch=once)
    zk.add_watch("/", ever, recursive=True)
    old = zk.client_id
    killed(zk, server38.hosts)
    assert states.wait(3) == ["SUSPENDED", "LOST", "CONNECTED"]
    assert zk.client_id != old
    assert zk.exists("/e", timeout=3) is None
    assert [(e.type, e.state) for e in once.wait(1)] == [("NONE", "EXPIRED_SESSION")]
    assert ever.wait(1)[-1].state == "EXPIRED_SESSION"
    zk.create("/e", ephemeral=True)
    zk.set("/e", b"x")
    zk.sync("/")
    settled(zk)
    assert len(once.seen) == 1
    assert len(ever.seen) <= 2
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"]


@fault("A05")
def test_identities_come_before_calls_on_every_connection(proxy: FaultProxy, make: Make, root: str) -> None:
    """A05: no window in which a read is refused."""
    from zkwire.values import CREATOR_ALL_ACL

    zk = make(proxy.hosts + root, auth_data=[("digest", "bob:secret")], timeout=8.0)
    zk.create("/mine", acl=CREATOR_ALL_ACL)
    stop, bad = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                zk.get("/mine", timeout=8)
            except ConnectionLoss:
                pass
            except ZookeeperError as error:
                bad.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    states = told(zk)
    for i in range(5):
        proxy.cut("rst")
        states.wait(2 * i + 2)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert bad == []


def test_a_session_moved_to_another_client(server38: AnyServer, make: Make, root: str) -> None:
    """S06, S07: whoever resumes our session cuts us off; we resume it in turn, and it is the same."""
    zk = make(server38.hosts + root)
    states, session = told(zk), zk.client_id
    other = ZooKeeper(server38.hosts, timeout=T, client_id=session)
    other.start()
    states.wait(1)
    other._driver.session.abort("gone")  # without closing the session
    other.close()
    states.wait(2)
    assert zk.client_id == session
    assert zk.exists("/", timeout=3) is not None


# ------------------------------------------------------------------------------- close


def closing(zk: ZooKeeper) -> float:
    started = time.monotonic()
    zk.close()
    return time.monotonic() - started


def test_close_is_bounded_when_nothing_answers(proxy: FaultProxy, make: Make, root: str) -> None:
    """S09: kazoo's close waits for ever."""
    zk = make(proxy.hosts + root)
    proxy.black_hole()
    futures = [zk.submit(GetData("/")) for _ in range(10)]
    waiting: List[Any] = []
    thread = threading.Thread(target=lambda: waiting.append(futures[0].exception()))
    thread.start()
    assert closing(zk) < min(5.0, T / 3) + 0.5
    thread.join(9)
    assert isinstance(waiting[0], (ConnectionClosedError, ConnectionLoss))
    assert all(isinstance(f.exception(0), (ConnectionClosedError, ConnectionLoss)) for f in futures)
    with pytest.raises(ConnectionClosedError):
        zk.get("/")


@pytest.mark.parametrize("fault", ["refuse", "ignore"])
def test_close_while_reconnecting(fault: str, proxy: FaultProxy, make: Make, root: str) -> None:
    zk = make(proxy.hosts + root)
    states = told(zk)
    getattr(proxy, fault)()
    proxy.cut()
    states.wait(1)
    assert closing(zk) < min(5.0, T / 3) + 0.5
    assert closing(zk) < 0.1


def test_close_ends_the_session_even_if_it_comes_between_two_connections(
    server38: AnyServer, proxy: FaultProxy, make: Make, root: str
) -> None:
    """S08, S13: an ephemeral node is gone once close() has returned."""
    other = make(server38.hosts + root)
    for _ in range(3):
        zk = make(proxy.hosts + root)
        states = told(zk)
        zk.create("/e", ephemeral=True)
        proxy.cut()
        states.wait(1)
        zk.close()
        assert other.exists("/e") is None


def test_close_from_a_watcher_twice_and_by_many(server38: AnyServer, make: Make, root: str) -> None:
    """S11, W23."""
    zk = make(server38.hosts + root)
    closed = threading.Event()

    def close(event: Any) -> None:
        zk.close()
        zk.close()
        closed.set()

    zk.create("/a")
    zk.get("/a", watch=close)
    zk.submit(SetData("/a", b"x"))
    assert closed.wait(5)
    with pytest.raises(ConnectionClosedError):
        zk.get("/a")
    again = make(server38.hosts + root)
    threads = [threading.Thread(target=again.close) for _ in range(8)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - started < 1.5


def test_what_was_submitted_before_close_is_done(server38: AnyServer, make: Make, root: str) -> None:
    """S12."""
    zk = make(server38.hosts + root)
    futures = [zk.submit(Create(f"/{i}")) for i in range(1000)]
    zk.close()
    assert [f.exception(0) for f in futures] == [None] * 1000
    assert len(make(server38.hosts + root).get_children("/")) == 1000


def test_close_while_a_watcher_blocks(server38: AnyServer, make: Make, root: str) -> None:
    zk, go = make(server38.hosts + root), threading.Event()
    zk.get("/", watch=lambda event: go.wait(20))
    zk.set("/", b"x")
    try:
        assert closing(zk) < 5.5
    finally:
        go.set()


def test_a_server_that_is_suspended(own_server: Any, make: Make) -> None:
    """T06, S09: SIGSTOP: noticed in time; close() is bounded; after SIGCONT the session goes on or is expired."""
    server = own_server("3.8")
    zk, staying = make(server.hosts), make(server.hosts, timeout=4.0)
    states = told(staying)
    server.suspend()
    assert closing(zk) < T / 3 + 0.5
    with pytest.raises(OperationTimeoutError):
        staying.get("/", timeout=0.3)
    states.wait(1, timeout=4.0)
    server.resume()
    assert staying.get_children("/", timeout=8) is not None
    settled(staying)
    assert states.seen[0] == "SUSPENDED"
    assert states.seen[-1] == "CONNECTED"


@fault("S01")
@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_a_server_killed_and_restarted_within_the_timeout(version: str, own_server: Any, make: Make) -> None:
    """S01: same session, ephemeral nodes alive, watches too."""
    server = own_server(version)
    zk, log = make(server.hosts, timeout=12.0), Log()
    zk.create("/e", ephemeral=True)
    zk.get("/e", watch=log)
    session, states = zk.client_id, told(zk)
    server.kill()
    states.wait(1)
    server.start()
    assert zk.exists("/e", timeout=12) is not None
    assert zk.client_id == session
    zk.set("/e", b"x")
    log.wait(1)
    settled(zk)
    assert log.events == [("CHANGED", "/e")]
    assert states.seen == ["SUSPENDED", "CONNECTED"]


def test_a_server_wiped_is_another_session(own_server: Any, make: Make) -> None:
    """H06, H07: it has never heard of our zxid, and hangs up; the session expires here, and a new one begins at 0."""
    server = own_server("3.8")
    zk = make(server.hosts, timeout=1.5)
    states = told(zk)
    for i in range(20):
        zk.create(f"/{i}")
    server.kill()
    server.wipe()
    server.start()
    states.wait(3, timeout=10)
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"]
    with pytest.raises(NoNodeError):
        zk.get("/3", timeout=5)


# ------------------------------------------------------------------------ load and leaks


def test_many_threads(server38: AnyServer, make: Make, root: str) -> None:
    """R21: 64 threads of mixed calls: each sees its own writes, in order."""
    zk = make(server38.hosts + root, timeout=10.0)
    failed: List[BaseException] = []

    def work(number: int) -> None:
        try:
            path = zk.create(f"/{number}", b"0")
            for i in range(1, 16):
                future = zk.submit(SetData(path, b"%d" % i))
                assert zk.get(path)[0] == b"%d" % i
                assert future.result(5).version == i
                fired = threading.Event()
                zk.exists(f"{path}/x", watch=lambda event, fired=fired: fired.set())  # type: ignore[misc]
                zk.create(f"{path}/x", ephemeral=True)
                assert fired.wait(5)
                zk.delete(f"{path}/x", version=0)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(25)
    assert failed == []


def test_starting_and_closing_leaks_nothing(server38: AnyServer, make: Make) -> None:
    """S13: descriptors, threads, and sessions at the server."""

    def sessions() -> int:
        return server38.four("cons").count("sid=")

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = descriptors(), threading.active_count(), sessions()
    for _ in range(30):
        with ZooKeeper(server38.hosts, timeout=T) as zk:
            zk.exists("/", watch=lambda event: None)
    deadline = time.monotonic() + 5
    while (descriptors(), threading.active_count(), sessions()) != before:
        assert time.monotonic() < deadline, (descriptors(), threading.active_count(), sessions(), before)
        threading.Event().wait(0.01)


def test_a_start_that_fails_leaves_nothing(proxy: FaultProxy) -> None:
    threads = threading.active_count()
    proxy.refuse()
    for _ in range(3):
        with pytest.raises(OperationTimeoutError, match="refused"):
            ZooKeeper(proxy.hosts, timeout=T).start(timeout=0.2)
    deadline = time.monotonic() + 2
    while threading.active_count() > threads:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_refused_attempts_are_few(make: Make, proxy: FaultProxy) -> None:
    """T12: no storm of connects."""
    zk = make(proxy.hosts, timeout=30.0)
    states = told(zk)
    proxy.ignore()
    proxy.cut()
    states.wait(1)
    before = proxy.connections
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        proxy.cut()
        threading.Event().wait(0.01)
    assert proxy.connections - before <= 6
    proxy.heal()
    assert zk.get_children("/", timeout=10)


def test_ipv6(server38: AnyServer, make: Make) -> None:
    """An address in brackets. The server listens on IPv4 only, so a small relay stands before it."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    stop = threading.Event()

    def relay() -> None:
        client, _ = listener.accept()
        with client, socket.create_connection((server38.host, server38.port)) as upstream:
            pairs = {client: upstream, upstream: client}
            import select

            while not stop.is_set():
                for sock in select.select(list(pairs), [], [], 0.05)[0]:
                    data = sock.recv(65536)
                    if not data:
                        return
                    pairs[sock].sendall(data)

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        zk = make(f"[::1]:{listener.getsockname()[1]}")
        assert "zookeeper" in zk.get_children("/")
        zk.close()
    finally:
        stop.set()
        thread.join(5)
        listener.close()
