"""The list of servers under stress: names that do not resolve, dead addresses, herds, changes while it is in use."""

from __future__ import annotations

import collections
import logging
import random
import socket
import threading
import time
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, front, until
from tests.kit.fronts import real as inside
from tests.kit.world import STAT0, Heard, World, welcome_frame
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.errors import ConnectionClosedError, ConnectionLoss, OperationTimeoutError
from zkwire.session.host_provider import Host
from zkwire.ops import GetData
from zkwire.values import KazooState
from zkwire.session.host_provider import HostProvider
from zkwire.session.session import LEAVING_LIMIT, Session
from zkwire.session.actions import Dial

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST
DATA = (b"", STAT0)


def named(names: str) -> List[Host]:
    return [Host(name, 2181) for name in names]


# --------------------------------------------------------------------------- names


@pytest.mark.long
@fault("D01")
def test_a_slow_name_service_delays_nothing_else(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt ends in time though its name is not resolved; the next host is used; so does close()."""
    go, real = threading.Event(), socket.getaddrinfo
    names: List[Any] = []

    def slow(name: Any, *args: Any, **options: Any) -> Any:
        names.append(name)
        if str(name).endswith("invalid"):
            go.wait(10)
            raise socket.gaierror("no such name")
        return real(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    server = front.server()
    try:
        zk = front.new(f"nowhere.invalid:1,{server.hosts}", timeout=6.0, connect_timeout=0.2, randomize_hosts=False)
        zk.start()
        assert zk.create("/a") == "/a"
        zk = front.new("nowhere.invalid:1", timeout=6.0, connect_timeout=0.2)
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError):
            zk.start(timeout=0.4)
        zk.close()
        assert time.monotonic() - began < 1.5
        assert "nowhere.invalid" in names
    finally:
        go.set()


@pytest.mark.slow
@fault("D02", "D03")
def test_a_name_is_resolved_for_each_attempt(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is unknown costs nothing but its turn; one that has moved is found where it is now."""
    one, other, real = front.server(), front.server(), socket.getaddrinfo
    where: Dict[str, Any] = {"moving.invalid": None}
    asked: List[str] = []

    def changing(name: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = name.decode() if isinstance(name, bytes) else name
        if name not in where:
            return real(name, port, *args, **options)
        asked.append(name)
        if where[name] is None:
            raise socket.gaierror("unknown as yet")
        return real("127.0.0.1", where[name], *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", changing)
    zk = front.client(f"moving.invalid:1,{one.hosts}", timeout=4.0, randomize_hosts=False)
    inside(zk)._session._hosts._random = lambda: 0.0  # no pauses
    assert asked == ["moving.invalid"]
    where["moving.invalid"] = other.port
    states = Log()
    zk.add_listener(states)
    one.stop()
    states.until(lambda seen: seen.count(CONNECTED) == 1)
    assert len(asked) >= 2
    zk.create("/here")
    assert front.client(other.hosts).exists("/here") is not None
    third = front.server()
    ahead = front.client(third.hosts)
    for i in range(5):  # so that it does not refuse what we have seen
        ahead.create(f"/{i}")
    where["moving.invalid"] = third.port
    other.stop()
    states.until(lambda seen: seen.count(CONNECTED) == 2)
    zk.create("/there")
    assert ahead.exists("/there") is not None


@pytest.fixture
def black_hole() -> Iterator[Tuple[str, int]]:
    """An address that answers no SYN: the queue of who listens there is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            fillers.append(filler)
        probe = socket.socket()
        probe.settimeout(0.05)
        try:
            if not probe.connect_ex(address):
                pytest.skip("this system takes connections beyond the backlog")
            yield address
        finally:
            for one in [probe, *fillers]:
                one.close()


@pytest.mark.slow
@fault("D04")
def test_all_addresses_of_a_name_are_tried_in_its_time(
    front: Front, black_hole: Tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead IPv6 address first, one that swallows all, one that refuses, and the living one behind them."""
    server, real = front.server(), socket.getaddrinfo

    def many(name: Any, port: Any, *args: Any, **options: Any) -> Any:
        if name not in ("many.invalid", b"many.invalid"):
            return real(name, port, *args, **options)
        dead = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("100::1", 1, 0, 0))  # a prefix that leads nowhere
        ipv4 = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (black_hole, ("127.0.0.1", 1))]
        return [dead, *ipv4, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(socket, "getaddrinfo", many)
    zk = front.new("many.invalid:1", timeout=4.0, connect_timeout=2.0)
    began = time.monotonic()
    zk.start()
    assert time.monotonic() - began < 2.0
    assert zk.create("/a") == "/a"


# --------------------------------------------------------------------------- herds


class Client:
    """A session core that connects wherever a server lives."""

    def __init__(self, rng: random.Random, hosts: List[Host]) -> None:
        # Seeds in a row would give numbers that have something in common.
        self.session = Session(hosts, timeout=9.0, random=random.Random(rng.getrandbits(64)).random)
        self.attempts: List[float] = []
        self.session.start(0.0)
        self.run(0.0, hosts)

    @property
    def host(self) -> str:
        return self.session.host.name if self.session.host is not None else ""

    def run(self, now: float, living: List[Host], until: float = 1e9) -> None:
        """Until there is a connection, or that time has come."""
        session = self.session
        while session.phase != "open" and now < until:
            dials = [event.link for event in session.actions() if isinstance(event, Dial)]
            if not dials:
                now = max(now, session.deadline() or now)
                session.timed_out(now)
                continue
            self.attempts.append(now)
            if dials[-1].host in living:
                session.connected(dials[-1], now)
                session.received(dials[-1], welcome_frame(), now)
            else:
                session.lost(dials[-1], "refused", now)
        session.actions()


def spread(hosts: List[str], among: str) -> None:
    """Evenly, to 10 %."""
    counts = collections.Counter(hosts)
    assert set(counts) == set(among)
    even = len(hosts) / len(among)
    assert all(abs(count - even) <= even / 10 for count in counts.values()), counts


@pytest.mark.long
@fault("D05")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_herd_spreads_in_place_and_time(seed: int) -> None:
    """1000 clients, 3 hosts, one dies: the rest is evenly laden at once. If all die, no two passes come in step."""
    hosts, rng = named("abc"), random.Random(seed)
    clients = [Client(rng, hosts) for _ in range(1000)]
    spread([client.host for client in clients], "abc")
    lost = [client for client in clients if client.host == "a"]
    for client in lost:
        client.attempts.clear()
        client.session.lost(client.session.link, "dead", 100.0)
        client.run(100.0, named("bc"))
    spread([client.host for client in clients], "bc")
    assert all(client.attempts == [100.0] for client in lost), "with a healthy server left, there is no pause"
    for client in clients:
        client.attempts.clear()
        client.session.lost(client.session.link, "dead", 200.0)
        client.run(200.0, [], until=204.0)
    second = sorted(client.attempts[3] for client in clients)
    assert second[-1] - second[0] >= 1.0
    tenths = collections.Counter(int((at - second[0]) * 10) for at in second)
    assert max(tenths.values()) < len(second) / 5
    assert sum(len(client.attempts) for client in clients) / len(clients) <= 3 + 3 * 4.0


@fault("D05", "D06")
@pytest.mark.parametrize(
    ("before", "after"), [("abc", "abcde"), ("abcde", "abc"), ("abc", "cde"), ("abc", "bcde"), ("abcd", "de"), ("ab", "c")]
)
def test_clients_spread_evenly_over_a_new_list(before: str, after: str) -> None:
    """ZOOKEEPER-1355: whoever must go goes, of the others as many as it takes."""
    rng, ends, moved, clients = random.Random(7), [], 0, 10_000
    for _ in range(clients):
        rotation = HostProvider(named(before), True, rng.random)
        was = host = rotation.next()
        rotation.succeeded(None, None)
        if rotation.replace(named(after), was):
            host = rotation.next()
        assert was.name in after or host != was
        moved += host != was
        ends.append(host.name)
    spread(ends, after)
    # No more than it takes: who leaves a server that is gone, or one that has too many.
    share = clients / len(after)
    needed = sum(max(0.0, clients / len(before) - (share if name in after else 0)) for name in before)
    assert moved <= needed * 1.1


# ------------------------------------------------------------------- changes at run time


@fault("D06")
def test_the_current_host_is_removed() -> None:
    """We go once, after what is under way was answered; the session, its watches and its zxid go along."""
    world = World(hosts=2).open()
    assert world.dials[-1][1].host.name == "a"
    watcher = Heard()
    world.submit(GetData("/a", watcher), "before")
    world.session.set_hosts(named("bc"), world.now)
    world.pump()
    assert world.hangups == [] and world.states == [CONNECTED]
    world.submit(GetData("/b"), "meanwhile")
    assert len(world.waiting) == 1
    world.answer(DATA, zxid=7)
    assert world.ok("before")[0] == b""
    assert len(world.dials) == 2 and world.dials[-1][1].host.name in "bc"
    handshake = world.connect().handshake
    assert handshake is not None and (handshake.session_id, handshake.last_zxid_seen) == (world.session.client_id[0], 7)  # type: ignore[index]
    world.welcome()
    world.accept_internal()
    world.answer(DATA)
    assert world.ok("meanwhile")[0] == b""
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
    world.advance(2.0)
    assert len(world.dials) == 2


@fault("D06")
def test_what_is_never_answered_does_not_hold_us() -> None:
    world = World(hosts=2).open()
    world.submit(GetData("/a"), "never")
    world.session.set_hosts(named("b"), world.now)
    world.advance(LEAVING_LIMIT + 0.01)
    assert world.failed("never", ConnectionLoss).sent
    assert world.dials[-1][1].host.name == "b"


@fault("D06")
def test_the_current_host_stays() -> None:
    """Then nothing happens now; the next loss goes to the new ones."""
    world = World(hosts=3).open()
    world.session.set_hosts(named("az"), world.now)
    world.pump()
    assert (world.states, world.hangups, len(world.dials)) == ([CONNECTED], [], 1)
    world.lose()
    world.advance(9.0, until=lambda: world.session.phase == "dialing")
    assert world.dials[-1][1].host.name == "z"


@pytest.mark.parametrize("phase", ["new", "dialing", "handshake", "pausing", "closed"])
def test_hosts_may_change_at_any_time(phase: str) -> None:
    world = World(hosts=2, start=phase != "new")
    if phase == "handshake":
        world.connect()
    elif phase == "pausing":
        world.lose()
        world.advance(9.0, until=lambda: world.session.phase == "dialing")
        world.lose()
        world.advance(0.0001)
    elif phase == "closed":
        world.session.close(world.now)
        with pytest.raises(ConnectionClosedError):
            world.session.set_hosts(named("xy"), world.now)
        return
    world.session.set_hosts(named("xy"), world.now)
    world.pump()
    if phase == "new":
        assert world.dials == []
        world.session.start(world.now)
        world.pump()
    world.advance(9.0, until=lambda: world.dials != [] and world.dials[-1][1].host.name in "xy")
    world.open()
    assert [host.name for host in world.session.hosts] == ["x", "y"]


def test_random_changes_of_the_list_keep_it_in_order() -> None:
    """Whatever is tried, in whatever order it was changed, is listed; all that is listed is tried."""
    rng = random.Random(5)
    for _ in range(300):
        rotation = HostProvider(named("abc"), True, rng.random)
        current = None
        for _ in range(6):
            hosts = named("".join(rng.sample("abcdef", rng.randint(1, 6))))
            rotation.replace(hosts, current)
            tried = [rotation.next() for _ in range(2 * len(hosts))]
            assert set(tried) == set(hosts)
            current = rng.choice([tried[-1], None])
            if current is not None and rng.random() < 0.5:
                rotation.succeeded(None, None)


@fault("D06")
def test_going_elsewhere_on_both_fronts(front: Front) -> None:
    """Calls that are made meanwhile never fail; the session is the same."""
    server = front.server()
    first, second = front.proxy(server), front.proxy(server)
    zk, states = front.client(first.hosts + "/app", timeout=4.0), Log()
    front.client(server.hosts).create("/app")
    zk.add_listener(states)
    zk.create("/mine", ephemeral=True)
    before = zk.client_id
    with pytest.raises(ValueError, match="chroot"):
        zk.set_hosts(second.hosts + "/other")
    with pytest.raises(ValueError):
        zk.set_hosts("")
    futures = [zk.submit(GetData("/mine")) for _ in range(50)]
    zk.set_hosts([second.hosts])
    futures += [zk.submit(GetData("/mine")) for _ in range(50)]
    assert {future.result(5)[0] for future in futures} == {b""}
    states.until(lambda seen: seen == [SUSPENDED, CONNECTED])
    assert zk.client_id == before
    first.close()
    assert zk.exists("/mine").ephemeralOwner == before[0]


def test_hosts_of_a_client_that_is_not_running() -> None:
    for make in (ZooKeeper, AsyncZooKeeper):
        zk = make("a:1/root")
        zk.set_hosts("b:2,c:3/root")
        assert {str(host) for host in zk._session.hosts} == {"b:2", "c:3"}


# ------------------------------------------------------------------- another ensemble


@pytest.mark.slow
@fault("D08")
def test_a_server_of_another_ensemble_that_is_behind(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """It refuses our zxid: that is logged, and the session goes on where it belongs."""
    ours, other = front.server(), front.server()
    zk = front.client(f"{ours.hosts},{other.hosts}", timeout=6.0, randomize_hosts=False)
    for i in range(5):
        zk.create(f"/{i}", ephemeral=True)
    before, states = zk.client_id, Log()
    zk.add_listener(states)
    with caplog.at_level(logging.INFO, "zkwire"):
        ours.restart()
        states.until(lambda seen: seen == [SUSPENDED, CONNECTED])
    assert zk.client_id == before
    assert zk.exists("/4").ephemeralOwner == before[0]
    said = [record.getMessage() for record in caplog.records]
    assert any(other.hosts in line and "another ensemble" in line for line in said), said


@pytest.mark.slow
@fault("D08")
def test_a_server_of_another_ensemble_that_is_ahead(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """It does not know our session, which to us is expiry: told, logged, and a new session begins there."""
    ours, other = front.server(), front.server()
    filler = front.client(other.hosts)
    for i in range(5):
        filler.create(f"/{i}")
    zk, states = front.client(f"{ours.hosts},{other.hosts}", timeout=6.0, randomize_hosts=False), Log()
    zk.add_listener(states)
    before = zk.client_id
    with caplog.at_level(logging.INFO, "zkwire"):
        ours.stop()
        states.until(lambda seen: seen == [SUSPENDED, LOST, CONNECTED])
    assert zk.client_id != before
    assert any("does not know it" in record.getMessage() for record in caplog.records)


__all__ = ["front", "until"]
