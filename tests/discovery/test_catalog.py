"""A catalog: all services below a path, with one watch for all where the server has such watches."""

from __future__ import annotations

import random
import sys
import threading
from collections import defaultdict
from typing import Any, Dict, List, Tuple

import pytest

from tests.kit.fronts import Front, Log, Requests, until
from zkdisco import Catalog, Client, ClientClosedError, Event, InstancesLeftOutError, Service, ServiceEvent
from zkdisco.codecs import Instance
from zkwire import ACL, OPEN_ACL_UNSAFE, Id, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss, NoAuthError, OperationTimeoutError
from zkwire.values import make_digest_acl

TOP = "/services"
NOBODY_READS = [ACL(30, Id("world", "anyone"))]
VERSIONS = pytest.mark.parametrize("version", ["3.9", "3.4"])


def fill(zk: Any, top: str, tree: Dict[str, Dict[str, bytes]]) -> None:
    for service, nodes in tree.items():
        zk.create(f"{top}/{service}", makepath=True)
        for name, data in nodes.items():
            zk.create(f"{top}/{service}/{name}", data)


def newest(heard: List[Any]) -> Dict[str, Any]:
    """What somebody believes who has heard all this."""
    state: Dict[str, Any] = {}
    for service, event in heard:
        state[service] = event
    return {service: event.instances for service, event in state.items() if event is not None}


def followed(front: Front, hosts: str, top: str, **options: Any) -> Tuple[Any, Log]:
    catalog, heard = front.catalog(front.disco(hosts, session_timeout=10.0), top, **options), Log()
    catalog.register(heard)
    return catalog, heard


# ------------------------------------------------------------------------------- what there is


def test_services_come_change_and_go(server: Any, front: Front, unique: str) -> None:
    top = f"/{unique}"
    with ZooKeeper(server.hosts) as zk:
        fill(zk, top, {"a": {"n1": b"1", "n2": b"2"}, "b": {}})
        catalog, heard = followed(front, server.hosts, top)
        assert catalog.services == ("a", "b") and catalog.error is None and catalog.stale_since is None
        assert catalog.state == {"a": Event(("1", "2")), "b": Event(())}
        assert [node.name for node in catalog.nodes("a")] == ["n1", "n2"] and catalog.nodes("none") == ()
        heard.until(lambda seen: newest(seen) == {"": ("a", "b"), "a": ("1", "2"), "b": ()})
        zk.set(f"{top}/a/n1", b"9")
        heard.until(lambda seen: newest(seen)["a"] == ("2", "9"))
        fill(zk, top, {"c": {"n": b"3"}})
        heard.until(lambda seen: newest(seen)[""] == ("a", "b", "c") and newest(seen).get("c") == ("3",))
        zk.delete(f"{top}/a", recursive=True)
        heard.until(lambda seen: newest(seen) == {"": ("b", "c"), "b": (), "c": ("3",)})
        fill(zk, top, {"a": {"n": b"new"}})
        heard.until(lambda seen: newest(seen).get("a") == ("new",))
        assert catalog.services == ("a", "b", "c") and catalog.report().size == 2
        catalog.stop()
        catalog.stop()
        assert isinstance(catalog.error, ClientClosedError) and catalog.services == ("a", "b", "c")
        assert isinstance(catalog.state["a"].error, ClientClosedError) and catalog.state["a"].instances == ("new",)
        assert catalog.stale_since is not None


def test_a_path_that_is_not_there_yet(server: Any, front: Front, unique: str) -> None:
    catalog, heard = followed(front, server.hosts, f"/{unique}")
    assert catalog.services == () and catalog.error is None
    with ZooKeeper(server.hosts) as zk:
        fill(zk, f"/{unique}", {"a": {"n": b"1"}})
        heard.until(lambda seen: newest(seen).get("a") == ("1",))
        zk.delete(f"/{unique}", recursive=True)
        heard.until(lambda seen: newest(seen) == {"": ()})


def test_filters_and_codecs(server: Any, front: Front, unique: str) -> None:
    top = f"/{unique}"
    with ZooKeeper(server.hosts) as zk:
        fill(zk, top, {"web-1": {"n": b"10.0.0.1:80", "x": b"?"}, "web-2": {"n": b"?"}, "db": {"n": b"10.0.0.9:1"}})
        catalog, _ = followed(
            front, server.hosts, top, codec="gokit", services=lambda name: name.startswith("web"), accept=lambda name: name != "x"
        )
        assert catalog.services == ("web-1", "web-2"), "db is not read"
        assert catalog.state["web-1"].instances == (Instance("10.0.0.1", 80, "n"),)
        assert isinstance(catalog.state["web-2"].error, InstancesLeftOutError), "costs only itself"


def test_a_service_that_may_not_be_read_costs_only_itself(server: Any, front: Front, unique: str) -> None:
    top = f"/{unique}"
    with ZooKeeper(server.hosts, auth_data=[("digest", "bob:secret")]) as zk:
        fill(zk, top, {"a": {"n": b"1"}, "b": {"n": b"2"}})
        zk.set_acls(f"{top}/b", [make_digest_acl("bob", "secret", all=True)])
        catalog, heard = followed(front, server.hosts, top)
        assert catalog.services == ("a",) and catalog.state == {"a": Event(("1",))}
        assert isinstance(catalog.error, InstancesLeftOutError) and catalog.error.nodes[0][0] == f"{top}/b"
        zk.set(f"{top}/a/n", b"5")
        heard.until(lambda seen: newest(seen)["a"] == ("5",))
        zk.set_acls(f"{top}", [make_digest_acl("bob", "secret", all=True)])
        with pytest.raises(NoAuthError):
            followed(front, server.hosts, top)


@VERSIONS
@pytest.mark.parametrize("ends", ["connection", "session"])
def test_a_service_that_may_not_be_read_any_more_is_not_told_as_gone(front: Front, version: str, ends: str) -> None:
    server = front.server(version=version)
    server.plant({f"{TOP}/a/n": b"1", f"{TOP}/b/n": b"2"})
    client = front.disco(server.hosts, session_timeout=10.0)
    catalog, heard = front.catalog(client, TOP), Log()
    catalog.register(heard)
    with ZooKeeper(server.hosts) as zk:
        zk.set_acls(f"{TOP}/a", NOBODY_READS)
        mine = client.zk.client_id[0]
        assert server.cut(mine) == 1 if ends == "connection" else server.expire(mine)
        until(lambda: isinstance(catalog.state["a"].error, NoAuthError), 15.0)
        assert catalog.state["a"].instances == ("1",) and catalog.services == ("a", "b"), "the last good set"
        assert [node.data for node in catalog.nodes("a")] == [b"1"] and catalog.stale_since is not None
        until(lambda: catalog.state["b"] == Event(("2",)), 15.0)
        assert [path for path, _ in catalog.error.nodes] == [f"{TOP}/a"]
        zk.set_acls(f"{TOP}/a", OPEN_ACL_UNSAFE)
        zk.set(f"{TOP}/a/n", b"3")
        until(lambda: catalog.state["a"] == Event(("3",)) and catalog.error is None, 15.0)
        until(lambda: catalog.stale_since is None, 15.0)
        assert all(event is not None for _, event in heard.seen), "none was gone"
        zk.set_acls(f"{TOP}/a", NOBODY_READS)
        server.cut(client.zk.client_id[0])
        until(lambda: isinstance(catalog.error, InstancesLeftOutError), 15.0)
        zk.delete(f"{TOP}/a/n")
        zk.delete(f"{TOP}/a")
        heard.until(lambda seen: ("a", None) in seen, 15.0)
        assert catalog.services == ("b",)


@VERSIONS
def test_services_name_the_true_cause_while_the_list_may_not_be_read(front: Front, version: str) -> None:
    server = front.server(version=version)
    server.plant({f"{TOP}/a/n": b"1"})
    client = front.disco(server.hosts, session_timeout=10.0)
    catalog = front.catalog(client, TOP)
    with ZooKeeper(server.hosts) as zk:
        zk.set_acls(TOP, NOBODY_READS)
        assert server.cut(client.zk.client_id[0]) == 1
        until(lambda: isinstance(catalog.error, NoAuthError), 15.0)
        until(lambda: isinstance(catalog.state["a"].error, NoAuthError), 15.0)
        assert catalog.state["a"].instances == ("1",) and catalog.services == ("a",)
        zk.set_acls(TOP, OPEN_ACL_UNSAFE)
        until(lambda: catalog.state == {"a": Event(("1",))} and catalog.error is None, 15.0)


def test_it_may_be_asked_while_services_come_and_go() -> None:
    """How old it is, is asked on any thread, and counts over all services there are."""
    with EmbeddedServer() as server:
        server.plant({f"{TOP}/s{number}/n": b"1" for number in range(200)})
        done, asked = threading.Event(), []

        def storm() -> None:
            with ZooKeeper(server.hosts) as zk:
                for number in range(60):
                    zk.create(f"{TOP}/t{number}/n", b"1", makepath=True)
                    zk.delete(f"{TOP}/t{number}", recursive=True)
            done.set()

        with Client(server.hosts) as client, Catalog(client, TOP) as catalog:
            interval = sys.getswitchinterval()
            sys.setswitchinterval(1e-5)
            try:
                thread = threading.Thread(target=storm)
                thread.start()
                while not done.is_set():
                    asked += [catalog.stale_since, client.report().ok]
                thread.join()
            finally:
                sys.setswitchinterval(interval)
            until(lambda: len(catalog.services) == 200 and catalog.stale_since is None, 15.0)
        assert len(asked) > 100


# ------------------------------------------------------------------------------------- trouble


@VERSIONS
def test_a_lost_connection_is_told_of_every_service_and_so_is_the_cure(front: Front, version: str) -> None:
    server = front.server(version=version)
    line = front.proxy(server)
    with ZooKeeper(server.hosts) as zk:
        fill(zk, TOP, {"a": {"n": b"1"}, "b": {"n": b"2"}})
        catalog, heard = followed(front, line.hosts, TOP)
        line.refuse()
        line.cut("rst")
        until(lambda: isinstance(catalog.error, ConnectionLoss))
        until(lambda: all(isinstance(event.error, ConnectionLoss) for event in catalog.state.values()))
        assert catalog.state["a"].instances == ("1",) and catalog.stale_since is not None
        zk.set(f"{TOP}/a/n", b"9")
        zk.delete(f"{TOP}/b", recursive=True)
        line.heal()
        heard.until(lambda seen: newest(seen) == {"": ("a",), "a": ("9",)} and catalog.state == {"a": Event(("9",))})
        assert catalog.error is None and catalog.stale_since is None


def test_without_a_server(front: Front) -> None:
    catalog = front.catalog(front.disco("127.0.0.1:1", wait=0.0), TOP, wait=0.0)
    assert catalog.services == () and isinstance(catalog.error, ConnectionLoss) and catalog.state == {}
    catalog.stop()


def test_a_server_that_is_silent(front: Front) -> None:
    line = front.proxy(front.server())
    client = front.disco(line.hosts, session_timeout=10.0)
    line.black_hole("down")
    with pytest.raises(OperationTimeoutError, match="not all services read in time"):
        front.catalog(client, TOP, timeout=0.2)
    assert client.report().instancers == (), "it was given up"
    line.heal()
    line.cut("rst")


@pytest.mark.parametrize(
    ("options", "error"), [({"services": 3}, TypeError), ({"accept": "x"}, TypeError), ({"codec": 3}, TypeError),
                           ({"codec": "none"}, ValueError), ({"wait": -1}, ValueError)], ids=str
)  # fmt: skip
def test_bad_arguments(front: Front, options: Any, error: Any) -> None:
    client = front.disco(front.server().hosts)
    with pytest.raises(error):
        front.catalog(client, TOP, **options)
    with pytest.raises(ValueError, match="path"):
        front.catalog(client, "services")
    with pytest.raises(TypeError):
        front.catalog(client, TOP).register(3)


def test_a_catalog_ends_with_its_client(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts)
    catalog = front.catalog(client, TOP)
    assert client.report().instancers[0].directory == TOP
    client.stop()
    assert isinstance(catalog.error, ClientClosedError)
    with pytest.raises(ClientClosedError):
        catalog.register(print)


@VERSIONS
def test_its_watches_are_taken_back(front: Front, version: str) -> None:
    server = front.server(version=version)
    with ZooKeeper(server.hosts) as zk:
        fill(zk, TOP, {"a": {"n": b"1"}, "b": {"n": b"2"}})
        client = front.disco(server.hosts)
        catalog = front.catalog(client, TOP)
        catalog.stop()
        if version == "3.9":
            until(lambda: TOP not in zk.command(b"wchp"))
        client.stop()


# ---------------------------------------------------------------------------------------- cost


def test_one_change_costs_one_read(front: Front) -> None:
    server, tap = front.server(), Requests()
    with ZooKeeper(server.hosts) as zk:
        fill(zk, TOP, {f"s{number}": {f"n{n}": b"x" for n in range(5)} for number in range(40)})
        line = front.proxy(server, tap=tap)
        catalog, heard = followed(front, line.hosts, TOP)
        assert len(catalog.services) == 40
        loading = tap.total
        assert loading <= 40, "lists and nodes are read together: 241 of them"
        for number in range(10):
            before = tap.total
            zk.set(f"{TOP}/s{number}/n1", b"new")
            heard.until(lambda seen: newest(seen)[f"s{number}"][0] == "new")  # noqa: B023
            assert tap.total - before == 1


# --------------------------------------------------------------------------------------- truth


@VERSIONS
@pytest.mark.parametrize("seed", range(4))
def test_every_set_is_one_that_was_and_the_last_is_the_truth(front: Front, version: str, seed: int) -> None:
    """A writer changes what it likes, the line is cut now and then; what was true when is known from the writer."""
    rng, server = random.Random(seed), front.server(version=version)
    was: Dict[str, List[Any]] = defaultdict(list)
    tree: Dict[str, Dict[str, str]] = {}

    def note() -> None:
        was[""].append(tuple(sorted(tree)))
        for service, nodes in tree.items():
            was[service].append(tuple(sorted(nodes.values())))

    line = front.proxy(server)
    with ZooKeeper(server.hosts) as zk:
        zk.create(TOP)
        note()
        catalog, heard = followed(front, line.hosts, TOP)
        for step in range(150):
            service, name = f"s{rng.randrange(4)}", f"n{rng.randrange(4)}"
            nodes = tree.get(service)
            if nodes is None:
                zk.create(f"{TOP}/{service}")
                tree[service] = {}
            elif name not in nodes:
                zk.create(f"{TOP}/{service}/{name}", str(step).encode())
                nodes[name] = str(step)
            elif rng.random() < 0.5:
                zk.set(f"{TOP}/{service}/{name}", str(step).encode())
                nodes[name] = str(step)
            else:
                zk.delete(f"{TOP}/{service}/{name}")
                del nodes[name]
                if not nodes and rng.random() < 0.7:
                    note()
                    zk.delete(f"{TOP}/{service}")
                    del tree[service]
            note()
            if rng.random() < 0.03:
                line.cut("rst")
        truth = {"": tuple(sorted(tree)), **{service: tuple(sorted(nodes.values())) for service, nodes in tree.items()}}
        heard.until(lambda seen: newest(seen) == truth)
        at: Dict[str, int] = defaultdict(int)
        for service, event in heard.seen:
            if event is not None:  # a moment that was, and none before what was shown last
                at[service] = was[service].index(event.instances, at[service])
        assert catalog.state == {service: Event(truth[service]) for service in tree}


def test_observers_of_a_catalog(front: Front) -> None:
    """One that raises hears on; a slow one hears the newest of each service; one that was deregistered hears nothing."""
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        fill(zk, TOP, {"a": {}, "b": {}})
        catalog, heard = followed(front, server.hosts, TOP)
        bad: List[Any] = []

        def raises(event: ServiceEvent[str]) -> None:
            bad.append(event)
            raise RuntimeError("no")

        catalog.register(raises)
        catalog.register(raises)
        until(lambda: newest(bad) == {"": ("a", "b"), "a": (), "b": ()})
        fill(zk, TOP, {"c": {"n": b"1"}})
        until(lambda: newest(bad).get("c") == ("1",))
        catalog.deregister(raises)
        count = len(bad)
        zk.set(f"{TOP}/c/n", b"2")
        heard.until(lambda seen: newest(seen)["c"] == ("2",))
        assert len(bad) == count
        until(lambda: len(front.complaints) == count)
        front.complaints.clear()


def test_both_fronts_of_a_registration(front: Front) -> None:
    """What a registrar writes is in the catalog, and goes with it."""
    server = front.server()
    catalog, heard = followed(front, server.hosts, TOP)
    registrar = front.registrar(front.disco(server.hosts), Service(TOP, "api", b"10.0.0.1:80"))
    registrar.register()
    heard.until(lambda seen: newest(seen).get("api") == ("10.0.0.1:80",))
    registrar.deregister()
    heard.until(lambda seen: newest(seen).get("api") == ())
    assert catalog.services == ("api",)


def test_iterating_over_a_catalog() -> None:
    import asyncio

    from zkdisco import aio
    from zkwire.embedded import EmbeddedServer

    async def run() -> List[Any]:
        seen: List[Any] = []
        async with aio.Client(server.hosts) as client:
            catalog = aio.Catalog(client, TOP)
            async for event in catalog:
                seen.append(event)
                if event.service == "a" and event.event is not None and event.event.instances:
                    await catalog.stop()
            return seen

    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        fill(zk, TOP, {"a": {"n": b"1"}})
        seen = asyncio.run(asyncio.wait_for(run(), 30))  # whoever iterates need not start it
    assert seen[-1] == ServiceEvent("a", Event(("1",))) and seen[0].service == ""
    assert issubclass(aio.Catalog, Catalog.__mro__[1])
