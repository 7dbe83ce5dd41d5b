"""The nodes of a set (rows Y19), and waiting for a set of some size, on both fronts and on real servers."""

from __future__ import annotations

import threading
import time
from typing import Any, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, real, until
from zkdisco import ClientClosedError, Event, Node, UndecodableDataError
from zkwire import ZooKeeper
from zkwire.errors import AuthFailedError, OperationTimeoutError
from zkwire.ops import Create, Delete
from zkwire.values import Stat

DIRECTORY = "/svc/api"
VERSIONS = pytest.mark.parametrize("version", ["3.9", "3.4"])
#: As HBase has it: a magic number, the name of the process, a magic word, and Protocol Buffers.
BINARY = b"\xff\x00\x00\x00\x12master:16000\x9c\x01PBUF\x0a\x02\xc3("


def summary(nodes: Tuple[Node, ...]) -> List[Tuple[str, bytes]]:
    return [(name, data) for name, data, _ in nodes]


def followed(front: Front, hosts: str, directory: str) -> Tuple[Any, Log]:
    instancer, heard = front.instancer(front.disco(hosts, session_timeout=10.0), directory), Log()
    instancer.register(heard)
    heard.wait()
    return instancer, heard


# ---------------------------------------------------------------------------------- nodes


@fault("Y19")
def test_nodes_are_names_bytes_and_stat_of_the_set_in_state(server: Any, front: Front, unique: str) -> None:
    directory = f"/{unique}"
    with ZooKeeper(server.hosts) as zk:
        zk.create(directory)
        for name, data in (("b", b"10.0.0.2:80"), ("a", b"10.0.0.1:80"), ("c", BINARY), ("d", None)):
            zk.submit(Create(f"{directory}/{name}", data)).result(5)
        instancer, heard = followed(front, server.hosts, directory)
        nodes = instancer.nodes
        assert summary(nodes) == [("a", b"10.0.0.1:80"), ("b", b"10.0.0.2:80"), ("c", BINARY), ("d", b"")]
        assert all(isinstance(node.stat, Stat) and node.stat == zk.exists(f"{directory}/{node.name}") for node in nodes)
        assert instancer.state.instances == ("", "10.0.0.1:80", "10.0.0.2:80")
        assert isinstance(instancer.state.error, UndecodableDataError), "c is named there, and its bytes are here"
        assert instancer.nodes is nodes, "made once, as long as nothing has changed"
        zk.set(f"{directory}/a", b"10.0.0.9:80")
        heard.until(lambda seen: "10.0.0.9:80" in seen[-1].instances)
        assert summary(instancer.nodes)[0] == ("a", b"10.0.0.9:80") and instancer.nodes[0].stat.version == 1
        assert summary(nodes)[0] == ("a", b"10.0.0.1:80"), "what was handed out does not change"
        zk.delete(directory, recursive=True)
        heard.until(lambda seen: seen[-1].instances == () and not instancer.nodes)


@fault("Y19")
@VERSIONS
def test_a_tree_whose_identity_is_the_name_can_be_followed(front: Front, version: str) -> None:
    """As Solr's: no data at all. That one name has taken the place of another is news, though `instances` is the same."""
    server = front.server(version=version)
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path("/live_nodes")
        zk.create("/live_nodes/10.0.0.1:8983_solr")
        instancer, heard = followed(front, server.hosts, "/live_nodes")
        assert heard.seen == [Event(("",))] and summary(instancer.nodes) == [("10.0.0.1:8983_solr", b"")]
        moved = [Delete("/live_nodes/10.0.0.1:8983_solr"), Create("/live_nodes/10.0.0.2:8983_solr")]
        zk.multi(moved)
        heard.wait(2)
        assert heard.seen == [Event(("",))] * 2 and summary(instancer.nodes) == [("10.0.0.2:8983_solr", b"")]


@fault("Y19")
@VERSIONS
def test_other_bytes_that_are_no_text_are_news(front: Front, version: str) -> None:
    server = front.server(version=version)
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path("/hbase/rs")
        zk.create("/hbase/rs/one", BINARY)
        instancer, heard = followed(front, server.hosts, "/hbase/rs")
        zk.set("/hbase/rs/one", BINARY + b"\xff")
        heard.wait(2)
        assert summary(instancer.nodes) == [("one", BINARY + b"\xff")]


@pytest.mark.long
@fault("Y19")
@VERSIONS
def test_what_is_read_afresh_and_has_not_changed_is_no_news(front: Front, version: str) -> None:
    """After a lost connection there is the trouble, and the end of it; not one event more."""
    server = front.server(version=version)
    proxy = front.proxy(server)
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        for number in range(200):
            zk.create(f"{DIRECTORY}/n{number}", b"x")
        instancer, heard = followed(front, proxy.hosts, DIRECTORY)
        before = instancer.nodes
        proxy.cut("rst")
        heard.until(lambda seen: len(seen) >= 3 and seen[-1].error is None)
        zk.create(f"{DIRECTORY}/last", b"y")
        heard.until(lambda seen: "y" in seen[-1].instances)
        assert [event.error is None for event in heard.seen] == [True, False, True, True]
        assert len(instancer.nodes) == 201 and set(before) < set(instancer.nodes)


@pytest.mark.long
@fault("Y19")
def test_nodes_are_never_those_of_a_moment_that_was_not(front: Front) -> None:
    """Asked for by another thread all the time, while transactions move an instance from name to name."""
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        zk.create(f"{DIRECTORY}/n0", b"mover")
        zk.create(f"{DIRECTORY}/stays", b"stays")
        instancer, heard = followed(front, server.hosts, DIRECTORY)
        seen, over, thing = [], threading.Event(), real(instancer)

        def look() -> None:
            while not over.is_set():
                seen.append(sorted(node.data for node in thing.nodes))

        looker = threading.Thread(target=look)
        looker.start()
        try:
            for number in range(150):
                zk.multi([Delete(f"{DIRECTORY}/n{number}"), Create(f"{DIRECTORY}/n{number + 1}", b"mover")])
            until(lambda: "n150" in [node.name for node in thing.nodes])
        finally:
            over.set()
            looker.join(10)
        assert seen and all(datas == [b"mover", b"stays"] for datas in seen)


@fault("Y19")
def test_a_filter_hides_nodes_as_well(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        for name in ("mode", "addresses", "10.0.0.1:80"):
            zk.create(f"{DIRECTORY}/{name}", name.encode())
        client = front.disco(server.hosts, session_timeout=10.0)
        instancer = front.instancer(client, DIRECTORY, accept=lambda name: ":" in name)
        assert summary(instancer.nodes) == [("10.0.0.1:80", b"10.0.0.1:80")]


# ---------------------------------------------------------------------------------- wait


def called(function: Any, *arguments: Any, **options: Any) -> Tuple[threading.Thread, List[Any]]:
    """Call it on a thread of its own; the list gets what it returns or raises, and the seconds it took."""
    outcome: List[Any] = []

    def run() -> None:
        began = time.monotonic()
        try:
            result = function(*arguments, **options)
        except Exception as error:
            result = error
        outcome.extend([result, time.monotonic() - began])

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcome


@VERSIONS
def test_wait_returns_the_event_that_has_enough(front: Front, version: str) -> None:
    server = front.server(version=version)
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        instancer, _ = followed(front, server.hosts, DIRECTORY)
        assert instancer.wait(0) == Event(())
        thread, outcome = called(instancer.wait, 2, timeout=20.0)
        zk.create(f"{DIRECTORY}/a", b"a")
        until(lambda: instancer.state == Event(("a",)))
        assert instancer.wait() == Event(("a",)) and not outcome
        zk.create(f"{DIRECTORY}/b", b"b")
        thread.join(20)
        assert outcome[0] == Event(("a", "b"))


def test_wait_says_how_many_there_were_in_time(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        zk.create(f"{DIRECTORY}/a", b"a")
        instancer, _ = followed(front, server.hosts, DIRECTORY)
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError, match=r"/svc/api: 1 of at least 3 instances in time$"):
            instancer.wait(3, timeout=0.2)
        assert 0.2 <= time.monotonic() - began < 1.5
        until(lambda: real(instancer)._waiting == [])


@pytest.mark.long
def test_wait_counts_nothing_while_there_is_no_connection(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path(DIRECTORY)
        zk.create(f"{DIRECTORY}/a", b"a")
        instancer, heard = followed(front, server.hosts, DIRECTORY)
    server.stop()
    heard.until(lambda seen: seen[-1].error is not None)
    with pytest.raises(OperationTimeoutError, match="1 of at least 1 instances in time; ConnectionLoss: no connection"):
        instancer.wait(1, timeout=0.2)
    thread, outcome = called(instancer.wait, 1, timeout=20.0)
    server.restart()
    thread.join(20)
    assert outcome[0] == Event(("a",))


@pytest.mark.long
@fault("Y04")
@pytest.mark.parametrize("end", ["stop", "client", "refused"])
def test_whoever_waits_hears_of_the_end_at_once(front: Front, end: str) -> None:
    server = front.server(sasl={"ann": "old"}, sasl_required=True)
    client = front.disco(server.hosts, sasl=("ann", "old"), session_timeout=2.0, connect_timeout=1.0)
    instancer = front.instancer(client, DIRECTORY)
    thread, outcome = called(instancer.wait, 1, timeout=20.0)
    until(lambda: real(instancer)._waiting)
    if end == "stop":
        instancer.stop()
    elif end == "client":
        client.stop()
    else:
        server.stop()
        front.server(port=server.port, sasl={"ann": "new"}, sasl_required=True)
    thread.join(20)
    assert isinstance(outcome[0], AuthFailedError if end == "refused" else ClientClosedError), outcome
    assert outcome[1] < 12.0
    expected = {"stop": ClientClosedError, "client": ClientClosedError, "refused": AuthFailedError}[end]
    with pytest.raises(expected):
        instancer.wait(1, timeout=5.0)


@pytest.mark.parametrize("minimum", [-1, 1.5, "1", None, True])
def test_what_is_no_number_of_instances_is_refused_at_once(front: Front, minimum: Any) -> None:
    instancer, _ = followed(front, front.server().hosts, DIRECTORY)
    with pytest.raises(ValueError, match="minimum"):
        instancer.wait(minimum)


def test_an_instancer_that_is_not_started_is_started_by_who_waits() -> None:
    from tests.kit.aio import run
    from zkdisco.aio import Client, Instancer
    from zkwire.embedded import EmbeddedServer

    async def main(hosts: str) -> Event:
        async with Client(hosts) as client:
            instancer = Instancer(client, DIRECTORY)
            return await instancer.wait(0, timeout=5.0)

    with EmbeddedServer() as server:
        assert run(main(server.hosts)) == Event(())


def test_a_cancelled_wait_is_forgotten() -> None:
    import asyncio

    from tests.kit.aio import run
    from zkdisco.aio import Client, Instancer
    from zkwire.embedded import EmbeddedServer

    async def main(hosts: str) -> None:
        async with Client(hosts) as client, Instancer(client, DIRECTORY) as instancer:
            task = asyncio.ensure_future(instancer.wait(3))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(instancer._waiting) == 1
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)
            assert task.cancelled() and instancer._waiting == []

    with EmbeddedServer() as server:
        run(main(server.hosts))
