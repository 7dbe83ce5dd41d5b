"""Instancers and their observers on real servers: what is shown, to whom, and what trouble does to it."""

from __future__ import annotations

import itertools
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Iterator

import pytest

from tests.kit.harness.proxy import FaultProxy
from tests.kit.discovery.live import Seen, kill_session, raises_within, until
from zkdisco import Client, ClientClosedError, Event, Instancer, InstancesLeftOutError, Registrar, Service, UndecodableDataError
from zkwire import ZooKeeper, errors
from zkwire.ops import Create, Delete
from zkwire.values import OPEN_ACL_UNSAFE, make_digest_acl


@pytest.fixture
def zk(server: Any) -> Iterator[ZooKeeper]:
    """Somebody else, who changes things."""
    with ZooKeeper(server.hosts) as client:
        yield client


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    with Client(server.hosts) as made:
        yield made


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


# ------------------------------------------------------------------------ what is shown


def test_every_kind_of_change_is_an_event(client: Client, zk: ZooKeeper, where: str) -> None:
    instancer, seen = Instancer(client, where + "/"), Seen()
    assert instancer.state == Event(())  # the directory is not there
    instancer.register(seen)
    zk.create(where)
    zk.create(where + "/b", b"2")
    seen.wait_set("2")
    zk.create(where + "/a", b"1")
    seen.wait_set("1", "2")
    zk.set(where + "/a", b"3")
    seen.wait_set("2", "3")
    zk.set(where + "/b", b"3")
    seen.wait_set("3", "3")
    zk.delete(where + "/a")
    seen.wait_set("3")
    zk.create(where + "/b/below", b"9")
    zk.submit(Create(where + "/n", None)).result(5)  # null data
    seen.wait_set("", "3")
    zk.delete(where, recursive=True)
    seen.wait_set()
    zk.create(where)
    zk.create(where + "/c", "é".encode())
    seen.wait_set("é")
    assert instancer.state == Event(("é",)) and isinstance(instancer.state.instances, tuple)
    assert all(event.error is None for event in seen.events)


def test_a_directory_deleted_and_created_again_and_again(client: Client, zk: ZooKeeper, where: str) -> None:
    instancer, seen = Instancer(client, where), Seen()
    instancer.register(seen)
    for i in range(20):
        zk.create(where)
        zk.create(f"{where}/n", str(i).encode())
        zk.delete(f"{where}/n")
        zk.delete(where)
    zk.create(where)
    zk.create(f"{where}/n", b"last")
    seen.wait_set("last")


def test_a_burst_of_changes_converges(client: Client, zk: ZooKeeper, where: str) -> None:
    zk.create(where)
    instancer, seen = Instancer(client, where), Seen()
    instancer.register(seen)
    futures = [zk.submit(Create(f"{where}/n{i}", str(i).encode())) for i in range(1000)]
    futures += [zk.submit(Delete(f"{where}/n{i}")) for i in range(0, 1000, 2)]
    for future in futures:
        future.result(20)
    seen.wait_set(*(str(i) for i in range(1, 1000, 2)), timeout=20)
    zk.submit(Create(f"{where}/z", b"z")).result(5)
    seen.wait_set("z", *(str(i) for i in range(1, 1000, 2)), timeout=20)


def test_a_transaction_is_seen_whole(client: Client, zk: ZooKeeper, where: str) -> None:
    zk.create(where)
    zk.create(where + "/n0", b"1")
    instancer, seen = Instancer(client, where), Seen()
    instancer.register(seen)
    for i in range(20):
        transaction = zk.transaction()
        transaction.delete(f"{where}/n{i}")
        transaction.create(f"{where}/n{i + 1}", b"1")
        transaction.commit()
    zk.create(where + "/end", b"end")
    seen.wait_set("1", "end")
    assert [instances for instances, _ in itertools.groupby(seen.events, lambda event: event.instances)] == [("1",), ("1", "end")]


def test_many_nodes_of_one_session_go_at_once(server: Any, client: Client, zk: ZooKeeper, where: str) -> None:
    with ZooKeeper(server.hosts) as dying:
        zk.create(where)
        for i in range(20):
            dying.create(f"{where}/e{i}", b"e", ephemeral=True)
        zk.create(where + "/stays", b"s")
        instancer, seen = Instancer(client, where), Seen()
        instancer.register(seen)
        seen.wait_set("s", *["e"] * 20)
    seen.wait_set("s")
    assert seen.sizes() == [21, 1]


def test_what_else_a_shared_client_watches_there_does_not_matter(zk: ZooKeeper, where: str) -> None:
    """Before 3.9 a plain read with a watch ended the instancer's: a server knows one mode of watch for each path."""
    zk.create(where)
    children: queue.Queue[Any] = queue.Queue()
    data: queue.Queue[Any] = queue.Queue()
    zk.get_children(where, watch=children.put)
    client = Client(zk=zk)
    instancer, seen = Instancer(client, where), Seen()
    instancer.register(seen)
    zk.get(where, watch=data.put)
    zk.create(where + "/a", b"1")
    seen.wait_set("1")
    assert children.get(timeout=5).type == "CHILD"
    zk.set(where, b"")
    assert data.get(timeout=5).type == "CHANGED"
    zk.set(where + "/a", b"2")
    seen.wait_set("2")
    client.stop()


def test_undecodable_data_is_reported_and_the_others_are_kept(client: Client, zk: ZooKeeper, where: str) -> None:
    zk.create(where)
    zk.create(where + "/a", b"1")
    bad = zk.create(where + "/bad", b"\xff\xfe")
    instancer, seen = Instancer(client, where), Seen()
    assert instancer.state.instances == ("1",) and isinstance(instancer.state.error, UndecodableDataError)
    assert instancer.state.error.path == bad and bad in str(instancer.state.error)
    instancer.register(seen)
    zk.create(where + "/c", b"3")
    seen.wait(lambda events: events[-1].instances == ("1", "3"))
    assert isinstance(seen.events[-1].error, UndecodableDataError)
    zk.set(bad, b"2")
    seen.wait_set("1", "2", "3")
    zk.set(bad, b"\xff")
    seen.wait(lambda events: events[-1].instances == ("1", "3") and events[-1].error is not None)
    zk.delete(bad)
    seen.wait_set("1", "3")


# ----------------------------------------------------------------------------- trouble


def test_without_rights_the_constructor_says_so(server: Any, client: Client, zk: ZooKeeper, where: str) -> None:
    zk.add_auth("digest", "boss:secret")
    zk.create(where, b"", acl=[make_digest_acl("boss", "secret", all=True)])
    with pytest.raises(errors.NoAuthError):
        Instancer(client, where)
    with Client(server.hosts, credentials=("boss", "wrong")) as wrong:
        with pytest.raises(errors.NoAuthError):
            Instancer(wrong, where)
    with Client(server.hosts, credentials=("boss", "secret")) as right:
        assert Instancer(right, where).state == Event(())


def test_rights_lost_later_are_trouble_and_cured(server: Any, client: Client, zk: ZooKeeper, where: str) -> None:
    zk.create(where)
    zk.create(where + "/a", b"1")
    instancer, seen = Instancer(client, where), Seen()
    instancer.register(seen)
    seen.wait_set("1")
    zk.add_auth("digest", "boss:secret")
    zk.set_acls(where + "/a", [make_digest_acl("boss", "secret", all=True)])
    zk.set(where + "/a", b"2")  # newer servers do not tell those who may not read it (CVE-2024-23944)
    kill_session(client.zk, server.hosts)  # but now it is read
    seen.wait(lambda events: isinstance(events[-1].error, InstancesLeftOutError))
    assert seen.events[-1].instances == () and isinstance(seen.events[-1].error.nodes[0][1], errors.NoAuthError)
    zk.set_acls(where + "/a", OPEN_ACL_UNSAFE)
    seen.wait_set("2", timeout=10)


def test_trouble_comes_with_the_last_good_set_and_an_event_with_the_cure(
    server: Any, zk: ZooKeeper, where: str
) -> None:
    zk.create(where)
    zk.create(where + "/a", b"1")
    with FaultProxy(server.host, server.port) as proxy, Client(proxy.hosts, session_timeout=10) as client:
        instancer, seen = Instancer(client, where), Seen()
        instancer.register(seen)
        seen.wait_set("1")
        for how in ("fin", "rst"):
            proxy.refuse()
            proxy.cut(how)
            seen.wait(lambda events: isinstance(events[-1].error, errors.ConnectionLoss))
            assert instancer.state.instances == ("1",)
            zk.set(where + "/a", b"2")
            zk.create(where + "/b", b"3")
            proxy.heal()
            seen.wait_set("2", "3")
            zk.delete(where + "/b")
            zk.set(where + "/a", b"1")
            seen.wait_set("1")
        kill_session(client.zk, server.hosts)
        seen.wait(lambda events: isinstance(events[-1].error, errors.ConnectionLoss) or len(events) > 8)
        seen.wait_set("1")
        zk.set(where + "/a", b"4")
        seen.wait_set("4")
        assert all(event.instances for event in seen.events), "an empty flash"


def test_a_connection_cut_while_the_instances_are_read_shows_no_part_of_them(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        zk.create(where)
        for future in [zk.submit(Create(f"{where}/n{i}", b"x")) for i in range(200)]:
            future.result(10)
        with FaultProxy(server38.host, server38.port) as proxy, Client(proxy.hosts) as client:
            seen = Seen()
            Instancer(client, where).register(seen)
            for count in (50, 3000, 9000, 15000):
                proxy.cut()
                proxy.cut_after(count, "down")
                zk.set(where + "/n0", str(count).encode())
                want = tuple(sorted(["x"] * 199 + [str(count)]))
                seen.wait(lambda events, want=want: events[-1] == Event(want))
            assert {len(event.instances) for event in seen.events} == {200}


def test_no_server_at_all(server38: Any, where: str) -> None:
    """Every call, and every constructor, ends within its time-out."""
    with FaultProxy(server38.host, server38.port) as proxy:
        with Client(proxy.hosts, session_timeout=2) as client:
            registrar = Registrar(client, Service(where, "api", b"d"))
            proxy.ignore()
            proxy.cut()
            until(lambda: not client.zk.connected)
            timed_out = (errors.OperationTimeoutError,)
            raises_within(timed_out, 1.2, Instancer, client, where, timeout=0.1)
            raises_within(timed_out, 1.2, registrar.register, timeout=0.1)
            raises_within(timed_out, 1.2, client.register, Service(where, "x", b""), timeout=0.1)
            raises_within((*timed_out, errors.ConnectionLoss), 1.2, client.get_entries, where, timeout=0.1)
            raises_within((*timed_out, errors.ConnectionLoss), 1.2, client.create_parent_nodes, where, timeout=0.1)
        with FaultProxy(server38.host, server38.port) as refusing, ThreadPoolExecutor() as pool:
            refusing.refuse()
            silence, refusal = pool.map(
                lambda hosts: raises_within(
                    errors.OperationTimeoutError, 3.5, Client, hosts, session_timeout=1, connect_timeout=1
                ),
                (proxy.hosts, refusing.hosts),
            )
        assert isinstance(silence, TimeoutError) and "refused" not in str(silence).lower()
        assert isinstance(refusal, TimeoutError) and "refused" in str(refusal).lower()


# --------------------------------------------------------------------------- observers


@pytest.fixture
def changing(server38: Any, where: str) -> Iterator[Any]:
    """An instancer, and a function that changes what it shows."""
    with ZooKeeper(server38.hosts) as zk, Client(server38.hosts) as made:
        zk.create(where)
        zk.create(where + "/n", b"0")
        instancer = Instancer(made, where)

        def change(value: int) -> None:
            zk.set(where + "/n", str(value).encode())
            until(lambda: instancer.state == Event((str(value),)))

        yield instancer, change


def test_an_observer_hears_the_newest_at_once_and_then_every_newer_one(changing: Any) -> None:
    instancer, change = changing
    change(1)
    first, second = Seen(), Seen()
    instancer.register(first)
    first.wait_set("1")
    change(2)
    first.wait_set("2")
    instancer.register(second)
    second.wait_set("2")
    change(3)
    first.wait_set("3")
    second.wait_set("3")
    assert [e.instances for e in first.events] == [("1",), ("2",), ("3",)]
    assert [e.instances for e in second.events] == [("2",), ("3",)]


def test_a_blocking_observer_harms_nobody_and_gets_the_newest_in_the_end(changing: Any) -> None:
    instancer, change = changing
    entered, release, slow, quick = threading.Event(), threading.Event(), Seen(), Seen()

    def block(event: Event) -> None:
        slow(event)
        entered.set()
        release.wait(20)

    instancer.register(block)
    instancer.register(quick)
    assert entered.wait(5)
    for value in range(1, 30):
        change(value)
    quick.wait_set("29")
    assert len(slow.events) == 1
    late = Seen()
    instancer.register(late)  # blocks no more than the others
    late.wait_set("29")
    release.set()
    slow.wait_set("29")
    assert len(slow.events) == 2  # the newest, not each


def test_an_observer_that_raises_hears_on(changing: Any, caplog: Any) -> None:
    instancer, change = changing
    bad, good = Seen(), Seen()

    def fail(event: Event) -> None:
        bad(event)
        raise RuntimeError("my fault")

    instancer.register(fail)
    instancer.register(good)
    for value in range(1, 4):
        bad.wait(lambda events, n=value: len(events) >= n)
        change(value)
        good.wait_set(str(value))
    bad.wait_set("3")
    assert "my fault" in caplog.text


def test_observers_with_put_and_what_is_none(changing: Any) -> None:
    instancer, change = changing
    for wrong in (None, 5, "text", object()):
        with pytest.raises(TypeError):
            instancer.register(wrong)
        instancer.deregister(wrong)  # never registered: nothing happens
    box: queue.Queue[Event] = queue.Queue()
    simple: queue.SimpleQueue[Event] = queue.SimpleQueue()
    instancer.register(box)
    instancer.register(simple.put)
    assert box.get(timeout=5) == simple.get(timeout=5) == Event(("0",))
    change(1)
    assert box.get(timeout=5) == simple.get(timeout=5) == Event(("1",))
    instancer.deregister(simple.put)
    change(2)
    assert box.get(timeout=5) == Event(("2",)) and simple.empty()


def test_the_same_observer_is_told_once_and_an_equal_one_as_well(changing: Any) -> None:
    instancer, change = changing

    class Equal(Seen):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment]  # an observer need not be hashable

        def hear(self, event: Event) -> None:
            self(event)

    one, other = Equal(), Equal()
    instancer.register(one.hear)
    instancer.register(one.hear)
    instancer.register(other.hear)
    one.wait_set("0")
    other.wait_set("0")
    change(1)
    one.wait_set("1")
    other.wait_set("1")
    one.never(lambda events: len(events) > 2, 0.2)
    instancer.deregister(other.hear)
    change(2)
    one.wait_set("2")
    assert len(other.events) == 2
    instancer.register(other)
    other.wait_set("2")
    instancer.register(one)
    one.wait(lambda events: len(events) == 4)
    instancer.deregister(one)
    change(3)
    other.wait_set("3")
    one.wait_set("3")  # as `hear`
    one.never(lambda events: len(events) > 5, 0.2)


def test_an_observer_leaves_and_comes_in_its_own_callback(changing: Any) -> None:
    instancer, change = changing
    seen, other = Seen(), Seen()

    def once(event: Event) -> None:
        seen(event)
        instancer.deregister(once)
        instancer.register(other)

    instancer.register(once)
    other.wait_set("0")
    change(1)
    other.wait_set("1")
    assert len(seen.events) == 1
    instancer.register(once)
    seen.wait(lambda events: len(events) == 2)


def test_a_client_stopped_by_an_observer(server38: Any, where: str) -> None:
    client = Client(server38.hosts)
    instancer, stopped = Instancer(client, where), threading.Event()

    def stop(event: Event) -> None:
        client.stop()
        stopped.set()

    instancer.register(stop)
    assert stopped.wait(6)


def test_a_stopped_instancer_says_nothing_more(changing: Any, server38: Any, where: str) -> None:
    instancer, change = changing
    seen = Seen()
    instancer.register(seen)
    seen.wait_set("0")
    instancer.stop()
    instancer.stop()
    with ZooKeeper(server38.hosts) as zk:
        zk.set(where + "/n", b"1")
        seen.never(lambda events: len(events) > 1, 0.3)
    assert instancer.state.instances == ("0",) and isinstance(instancer.state.error, ClientClosedError)
    instancer.deregister(seen)
