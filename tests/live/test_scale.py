"""Ten thousand instances: what one change costs on the wire. And rounds of random kills: at rest, all is true."""

from __future__ import annotations

import random
import time
from typing import Any, List

import pytest

from tests.kit.harness.proxy import FaultProxy
from tests.kit.discovery.tap import Tap
from tests.kit.discovery.live import Seen, data_below, elapsed, kill_session, until
from zkdisco import Client, Event, Instancer, Registrar, Service
from zkwire import ZooKeeper
from zkwire.ops import Create, Delete

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

MANY = 10_000


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


def fill(zk: ZooKeeper, directory: str, count: int) -> None:
    zk.ensure_path(directory)
    futures = [zk.submit(Create(f"{directory}/n{i:05d}", b"10.0.0.1:%d" % i)) for i in range(count)]
    for future in futures:
        future.result(30)


def empty(zk: ZooKeeper, directory: str, count: int) -> None:
    futures = [zk.submit(Delete(f"{directory}/n{i:05d}")) for i in range(count)]
    for future in futures:
        future.result(30)


@pytest.mark.watchdog(90)
def test_one_change_among_ten_thousand_costs_two_round_trips_and_a_kilobyte(own_server: Any, where: str) -> None:
    server = own_server("3.8", heap="256m")
    tap = Tap()
    with ZooKeeper(server.hosts, max_pending=2 * MANY) as zk, FaultProxy(server.host, server.port, tap) as proxy:
        fill(zk, where + "/api", MANY)
        with Client(proxy.hosts, session_timeout=30) as client, Client(server.hosts, session_timeout=30) as other:
            before = time.monotonic()
            instancer, seen = Instancer(client, where + "/api", timeout=40), Seen()
            assert len(instancer.state.instances) == MANY and instancer.state.error is None
            assert elapsed(before) < 20, "loading is pipelined"
            assert tap.round_trips() < MANY / 2  # one by one it would be twice that at least
            instancer.register(seen)
            seen.wait(lambda events: len(events) == 1)

            def cost(change: Any, size: int) -> Any:
                client.zk.exists("/")  # nothing is under way
                tap.log.clear()
                result = change()
                seen.wait(lambda events: len(events[-1].instances) == size)
                assert tap.round_trips() <= 2 and tap.bytes("down") <= 1000, tap.log
                return result

            registrar = Registrar(other, Service(where, "api", b"10.0.0.2:80"))
            cost(registrar.register, MANY + 1)
            assert "10.0.0.2:80" in instancer.state.instances
            count = len(seen.events)
            tap.log.clear()
            zk.set(registrar.node, b"10.0.0.3:80")
            seen.wait(lambda events: len(events) > count)
            assert "10.0.0.3:80" in seen.events[-1].instances
            assert tap.round_trips() <= 2 and tap.bytes("down") <= 1000, tap.log
            cost(registrar.deregister, MANY)
            assert len(seen.events) == 4


@pytest.mark.watchdog(90)
def test_ten_thousand_by_the_fall_back(own_server: Any, where: str) -> None:
    server = own_server("3.4", heap="256m")
    with ZooKeeper(server.hosts, max_pending=2 * MANY) as zk:
        fill(zk, where + "/api", MANY)
        with Client(server.hosts, session_timeout=30) as client:
            instancer, seen = Instancer(client, where + "/api", timeout=40), Seen()
            assert len(instancer.state.instances) == MANY and instancer.state.error is None
            instancer.register(seen)
            with Registrar(client, Service(where, "api", b"10.0.0.2:80")):
                seen.wait(lambda events: "10.0.0.2:80" in events[-1].instances, 15)
                zk.set(where + "/api/n00007", b"changed")
                seen.wait(lambda events: "changed" in events[-1].instances, 15)
                zk.delete(where + "/api/n00008")
                seen.wait(lambda events: len(events[-1].instances) == MANY, 15)
            seen.wait(lambda events: len(events[-1].instances) == MANY - 1, 15)
            truth = tuple(sorted([f"10.0.0.1:{i}" for i in range(MANY) if i not in (7, 8)] + ["changed"]))
            assert instancer.state == Event(truth)


@pytest.mark.watchdog(100)
@pytest.mark.parametrize("version", ["3.9"])
def test_rounds_of_random_kills(own_server: Any, where: str, version: str) -> None:
    """Sessions, connections and the server die in any order; at rest there are as many nodes as registrars."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    server = own_server(version)
    rounds, registrars_of = 50, 4
    # A server that is about to serve may take a connection and never answer on it: do not wait long for that.
    looking = ZooKeeper(server.hosts, timeout=30, connect_timeout=2)
    with FaultProxy(server.host, server.port) as proxy, looking as zk:
        clients = [Client(proxy.hosts, session_timeout=6) for _ in range(5)]
        try:
            registrars = [
                Registrar(client, Service(where, "api", f"{c}-{i}".encode()))
                for c, client in enumerate(clients) for i in range(registrars_of)
            ]  # fmt: skip
            for registrar in registrars:
                registrar.register()
            instancers = [Instancer(client, where + "/api") for client in clients]
            seen = [Seen() for _ in instancers]
            for instancer, observer in zip(instancers, seen):
                instancer.register(observer)
            truth = tuple(sorted(r._core.service.data.decode() for r in registrars))
            began = time.monotonic()
            for number in range(rounds):
                kind = rng.choice(["session", "session", "cut", "cut after", "operator", "server"])
                if kind == "server" and (number % 5 or elapsed(began) > 30):
                    kind = "cut"  # it takes its seconds to start
                hurt(kind, rng, server, proxy, clients, registrars, zk)
                if number % 10 == 9:
                    rest(registrars, instancers, zk, where, truth, f"seed {seed}, round {number}, {kind}")
            rest(registrars, instancers, zk, where, truth, f"seed {seed}, at the end")
            for observer, instancer in zip(seen, instancers):
                observer.wait(lambda events, newest=instancer.state: events[-1] == newest)
            half = registrars[::2]
            for registrar in half:
                registrar.deregister()
            left = tuple(sorted(r._core.service.data.decode() for r in registrars[1::2]))
            rest(registrars[1::2], instancers, zk, where, left, f"seed {seed}, half of them gone")
        finally:
            for client in clients:
                client.stop()
        assert zk.get_children(where + "/api") == []


def hurt(kind: str, rng: random.Random, server: Any, proxy: Any, clients: Any, registrars: Any, zk: Any) -> None:
    if kind == "session":
        client = rng.choice(clients)
        if client.zk.client_id is not None and client.zk.connected:
            kill_session(client.zk, server.hosts)
    elif kind == "cut":
        proxy.cut(rng.choice(["fin", "rst"]))
    elif kind == "cut after":
        proxy.cut_after(rng.randrange(2000), rng.choice(["up", "down"]), rng.choice(["fin", "rst"]))
    elif kind == "operator":
        node = rng.choice(registrars).node
        if node is not None and zk.exists(node):
            zk.delete(node)
    else:
        server.kill()
        server.start()
        until(lambda: zk.connected, 15, "connected again")


def rest(registrars: Any, instancers: Any, zk: Any, where: str, truth: Any, when: str) -> None:
    """All comes to rest, and is as it should be."""
    until(lambda: data_or_nothing(zk, where + "/api") == list(truth), 20, f"{when}: nodes == registrars")
    until(lambda: all(i.state == Event(truth) for i in instancers), 20, f"{when}: every instancer knows")
    names = {f"{where}/api/{name}" for name in zk.get_children(where + "/api")}
    assert names == {r.node for r in registrars}, when


def data_or_nothing(zk: Any, directory: str) -> List[str]:
    """What is there; between two looks a node may vanish."""
    try:
        return data_below(zk, directory)
    except Exception:
        return []
