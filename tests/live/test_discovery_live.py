"""Registrars and instancers on real servers: what is created, what is deleted, what comes back."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Iterator

import pytest

from tests.kit.harness.proxy import FaultProxy
from tests.kit.discovery.live import Seen, data_below, elapsed, kill_session, owner, raises_within, until
from zkdisco import (
    DEFAULT_ACL, Client, ClientClosedError, Event, Instancer, NodeNotFoundError, NotRegisteredError, Registrar, Service,
    UndecodableDataError,
)  # fmt: skip
from zkwire import ZooKeeper, errors
from zkwire.ops import Delete, Multi
from zkwire.values import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, EventType, make_digest_acl

NODE = re.compile(r"_c_[0-9a-f]{32}-[0-9]{10}")


@pytest.fixture
def zk(server: Any) -> Iterator[ZooKeeper]:
    """Somebody else, who looks."""
    with ZooKeeper(server.hosts) as client:
        yield client


@pytest.fixture
def client(server: Any) -> Iterator[Client]:
    with Client(server.hosts) as made:
        yield made


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


# ------------------------------------------------------------------------- registering


def test_the_node_is_go_kits(client: Client, zk: ZooKeeper, where: str) -> None:
    data = bytes(range(256))
    service = Service(where + "/platform/", "api", data)
    registrar = Registrar(client, service)
    assert registrar.node is None
    node = registrar.register()
    directory, _, name = node.rpartition("/")
    assert directory == f"{where}/platform/api" and NODE.fullmatch(name)
    value, stat = zk.get(node)
    assert value == data and stat.ephemeralOwner == client.zk.client_id[0] and registrar.node == node
    assert zk.get_acls(node)[0] == list(OPEN_ACL_UNSAFE) == list(DEFAULT_ACL)
    assert service == Service(where + "/platform/", "api", data)  # never changed
    with pytest.raises(AttributeError):
        service.path = "/x"  # type: ignore[misc]


def test_missing_parents_get_payload_by_depth_and_the_acl(server: Any, zk: ZooKeeper, where: str) -> None:
    mine = make_digest_acl("me", "secret", all=True)
    acl = [mine, *READ_ACL_UNSAFE]
    with Client(server.hosts, acl=acl, credentials=("me", "secret"), payload=[b"one", b"two"]) as client:
        client.create_parent_nodes(where + "/x/y/z")
        assert [zk.get(where + rest)[0] for rest in ("", "/x", "/x/y", "/x/y/z")] == [b"one", b"two", b"", b""]
        zk.add_auth("digest", "me:secret")
        node = client.register(Service(where + "/x", "new", b"d"))
        for path in (where, where + "/x/y/z", where + "/x/new", node):
            found = zk.get_acls(path)[0]
            assert sorted((entry.perms, entry.id.scheme) for entry in found) == [(1, "world"), (31, "digest")]
        client.create_parent_nodes(where + "/x/y/z")  # nothing to do is no error
        assert zk.get(where)[1].version == 0


def test_below_a_chroot_that_is_not_there_yet(server: Any, zk: ZooKeeper, where: str) -> None:
    with Client(server.hosts + where, payload=[b"one"]) as client:
        instancer, seen = Instancer(client, "/x/api"), Seen()
        instancer.register(seen)
        node = client.register(Service("/x", "api", b"d"))
        assert node.startswith("/x/api/_c_") and zk.get(where + node)[0] == b"d"
        assert [zk.get(where + path)[0] for path in ("", "/x", "/x/api")] == [b"", b"one", b""]
        seen.wait_set("d")
        client.deregister(Service("/x", "api", b"d"))
        seen.wait_set()


def test_parents_that_may_only_be_read_or_not_even_that_are_no_error(server: Any, zk: ZooKeeper, where: str) -> None:
    zk.add_auth("digest", "boss:secret")
    boss = make_digest_acl("boss", "secret", all=True)
    zk.create(where, b"", acl=[boss])  # nobody else may even list it
    zk.create(where + "/read", b"", acl=[boss, *READ_ACL_UNSAFE])
    zk.create(where + "/read/api", b"", acl=OPEN_ACL_UNSAFE)
    with Client(server.hosts) as client:
        node = client.register(Service(where + "/read", "api", b"d"))
        assert zk.get(node)[0] == b"d" and zk.get(where)[1].version == 0
        client.create_parent_nodes(where + "/read/api")
        with pytest.raises(errors.NoAuthError):
            client.create_parent_nodes(where + "/read/other")
    zk.delete(where, recursive=True)


def test_without_rights_register_says_so_and_nothing_is_registered_later(
    server: Any, zk: ZooKeeper, where: str
) -> None:
    zk.add_auth("digest", "boss:secret")
    boss = make_digest_acl("boss", "secret", all=True)
    zk.ensure_path(where)
    zk.create(where + "/api", b"", acl=[boss, *READ_ACL_UNSAFE])
    with Client(server.hosts, credentials=("boss", "wrong")) as client:
        registrar = Registrar(client, Service(where, "api", b"d"))
        with pytest.raises(errors.NoAuthError):
            registrar.register()
        assert registrar.node is None
        children = Seen()
        assert zk.get_children(where + "/api", watch=children) == []
        zk.set_acls(where + "/api", OPEN_ACL_UNSAFE)
        children.never(lambda events: bool(events), 1.2)
        with pytest.raises(NotRegisteredError):
            registrar.deregister()
        assert registrar.register() == registrar.node  # and now it works


def test_deregister_deletes_our_node_and_nothing_else(client: Client, zk: ZooKeeper, where: str) -> None:
    """Go kit deletes `<path>/<name>` here, the directory of all instances. This test stays for ever."""
    mine, other = Registrar(client, Service(where, "api", b"a")), Registrar(client, Service(where, "api", b"b"))
    node, kept = mine.register(), other.register()
    stranger = zk.create(f"{where}/api/stranger", b"c")
    mine.deregister()
    assert zk.exists(node) is None and mine.node is None
    assert zk.exists(kept) and zk.exists(stranger) and data_below(zk, where + "/api") == ["b", "c"]
    other.deregister()
    assert zk.exists(where + "/api") is not None and zk.get_children(where + "/api") == ["stranger"]
    zk.delete(stranger)
    again = mine.register()
    mine.deregister()  # the last one: the directory stays, empty
    assert again != node and zk.get_children(where + "/api") == []
    with pytest.raises(NotRegisteredError):
        mine.deregister()


def test_two_registrars_with_equal_services_make_two_nodes(client: Client, zk: ZooKeeper, where: str) -> None:
    service = Service(where, "api", b"same")
    first, second = Registrar(client, service), Registrar(client, service)
    assert first.register() != second.register() and data_below(zk, where + "/api") == ["same", "same"]
    instancer = Instancer(client, where + "/api")
    assert instancer.state == Event(("same", "same"))
    first.deregister()
    assert zk.get_children(where + "/api") == [second.node.rpartition("/")[2]]


def test_registering_twice_is_registering_once(client: Client, zk: ZooKeeper, where: str) -> None:
    service = Service(where, "api", b"d")
    with Registrar(client, service) as registrar:
        assert registrar.register() == registrar.register() == registrar.node
        assert client.register(service) == client.register(service) != registrar.node
        assert len(zk.get_children(where + "/api")) == 2
        client.deregister(service)
        with pytest.raises(NotRegisteredError):
            client.deregister(service)
        with pytest.raises(NotRegisteredError):
            client.deregister(Service(where, "other", b"d"))
        assert len(zk.get_children(where + "/api")) == 1
        assert client.register(service) and len(zk.get_children(where + "/api")) == 2
        client.deregister(service)
    assert zk.get_children(where + "/api") == []
    registrar.register()
    with registrar:
        registrar.deregister()  # leaving is no error then


def delete_with_parents(zk: ZooKeeper, registrar: Registrar, where: str) -> None:
    """In one transaction: one step after the other, the node would be back before its directory is deleted."""

    def deleted() -> bool:
        outcomes = zk.submit(Multi([Delete(registrar.node), Delete(where + "/api"), Delete(where)])).exception(5)
        assert outcomes is None or isinstance(outcomes, errors.NoNodeError), outcomes  # it has another node by now
        return outcomes is None

    until(deleted)


def test_a_node_deleted_by_an_operator_comes_back(client: Client, zk: ZooKeeper, where: str) -> None:
    seen = Seen()
    instancer = Instancer(client, where + "/api")
    instancer.register(seen)
    registrar = Registrar(client, Service(where, "api", b"d"))
    node = registrar.register()
    seen.wait_set("d")
    zk.delete(node)
    until(lambda: registrar.node not in (None, node), 5)
    until(lambda: instancer.state == Event(("d",)))  # whether the empty set was seen depends on who was faster
    delete_with_parents(zk, registrar, where)
    until(lambda: zk.exists(where + "/api") and data_below(zk, where + "/api") == ["d"])
    until(lambda: instancer.state == Event(("d",)))
    shown = set(seen.events)
    assert shown <= {Event(()), Event(("d",))}, shown
    registrar.deregister()
    seen.wait_set()


def test_strangers_nodes_are_never_touched(server: Any, zk: ZooKeeper, where: str) -> None:
    with Client(server.hosts) as client:
        registrar = Registrar(client, Service(where, "api", b"d"))
        registrar.register()
        guid = registrar.node.rpartition("/")[2][3:35]
        names = [f"_c_{guid[:-1]}-0000000000", f"_c_{guid}", f"_c_{'0' * 32}-0000000000", "plain", guid]
        for name in names:
            zk.create(f"{where}/api/{name}", b"s")
        before = {name: zk.exists(f"{where}/api/{name}") for name in names}
        kill_session(client.zk, server.hosts)
        until(lambda: registrar.node and owner(zk, registrar.node) == (client.zk.client_id or (0,))[0], 5)
        registrar.deregister()
        registrar.register()
    assert {name: zk.exists(f"{where}/api/{name}") for name in names} == before
    assert sorted(zk.get_children(where + "/api")) == sorted(names)


# -------------------------------------------------------------- sessions and servers die


@pytest.mark.timed
def test_after_expiry_it_is_back_once_within_two_seconds_of_the_new_session(
    server: Any, zk: ZooKeeper, where: str
) -> None:
    with Client(server.hosts) as client, Client(server.hosts) as looking:
        registrar = Registrar(client, Service(where, "api", b"d"))
        others = Registrar(looking, Service(where, "api", b"o"))
        node = registrar.register()
        others.register()
        seen, own, states = Seen(), Seen(), Seen()
        Instancer(looking, where + "/api").register(seen)
        Instancer(client, where + "/api").register(own)
        seen.wait_set("d", "o")
        own.wait_set("d", "o")
        client.zk.add_listener(states)
        kill_session(client.zk, server.hosts)
        states.wait(lambda events: events[-1:] == ["CONNECTED"])
        until(lambda: registrar.node not in (None, node), 2)
        assert len([d for d in data_below(zk, where + "/api") if d == "d"]) == 1
        assert owner(zk, registrar.node) == client.zk.client_id[0] and owner(zk, node) is None
        seen.wait(lambda events: len(events) >= 3 and events[-1] == Event(("d", "o")))
        assert seen.sizes() in ([2, 1, 2], [2])
        own.wait_set("d", "o")
        assert all(event.instances for event in own.events), "an empty flash"


def test_a_server_killed_and_started_again_within_the_time_out_changes_nothing(
    own_server: Any, where: str
) -> None:
    server = own_server("3.8")
    with Client(server.hosts, session_timeout=15) as client, Client(server.hosts, session_timeout=15) as looking:
        registrar = Registrar(client, Service(where, "api", b"d"))
        node = registrar.register()
        created = client.zk.exists(node)
        seen = Seen()
        instancer = Instancer(looking, where + "/api")
        instancer.register(seen)
        seen.wait_set("d")
        session = client.zk.client_id
        server.kill()
        seen.wait(lambda events: isinstance(events[-1].error, errors.ConnectionLoss))
        assert instancer.state.instances == ("d",)
        server.start()
        seen.wait_set("d", timeout=15)
        assert client.zk.exists(node, timeout=10) == created and client.zk.client_id == session
        assert client.zk.get_children(where + "/api") == [node.rpartition("/")[2]] and registrar.node == node
        assert seen.sizes() == [1], seen.events


@pytest.mark.watchdog(45)
def test_the_orphan_of_a_session_lost_here_and_alive_there_is_replaced(own_server: Any, where: str) -> None:
    """The server stands still for longer than we wait; when it goes on, our old node is still there."""
    server = own_server("3.8", cfg={"maxSessionTimeout": 60000})
    with FaultProxy(server.host, server.port) as proxy, ZooKeeper(server.hosts) as zk:
        with Client(proxy.hosts, session_timeout=2) as client:
            registrar = Registrar(client, Service(where, "api", b"d"))
            node, session = registrar.register(), client.zk.client_id[0]
            keep = ZooKeeper(server.hosts, client_id=client.zk.client_id, timeout=60)
            proxy.refuse()
            proxy.cut()
            keep.start(10)  # the session moves, and stays alive at the server
            until(lambda: client.zk.client_state == "EXPIRED_SESSION" or client.zk.client_id is None, 10)
            assert owner(zk, node) == session
            proxy.heal()
            until(lambda: registrar.node not in (None, node), 10)
            assert zk.get_children(where + "/api") == [registrar.node.rpartition("/")[2]]
            assert owner(zk, registrar.node) == client.zk.client_id[0] != session
            keep.close()
            assert zk.get_children(where + "/api") == [registrar.node.rpartition("/")[2]]
            registrar.deregister()
            assert zk.get_children(where + "/api") == []


def test_a_lost_answer_to_a_create_leaves_one_node(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        zk.ensure_path(where + "/api")
        for count in (0, 1, 20, 40):
            with FaultProxy(server38.host, server38.port) as proxy, Client(proxy.hosts) as client:
                registrar = Registrar(client, Service(where, "api", b"d"))
                proxy.cut_after(count, "down", "rst")
                node = registrar.register()
                assert zk.get_children(where + "/api") == [node.rpartition("/")[2]]
                proxy.cut_after(0, "down", "rst")
                registrar.deregister()
                assert zk.get_children(where + "/api") == []


def test_the_end_while_there_is_no_connection_is_made_good(server38: Any, where: str) -> None:
    """A deregister that timed out goes on, and can be waited for again."""
    with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
        with Client(proxy.hosts, session_timeout=10) as client:
            registrar = Registrar(client, Service(where, "api", b"d"))
            registrar.register()
            proxy.refuse()
            proxy.cut()
            raises_within(errors.OperationTimeoutError, 1.0, registrar.deregister, timeout=0.3)
            assert len(zk.get_children(where + "/api")) == 1
            proxy.heal()
            registrar.deregister()
            assert zk.get_children(where + "/api") == []


def test_with_no_server_register_ends_in_time_and_nothing_is_registered_later(server38: Any, where: str) -> None:
    with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
        with Client(proxy.hosts, session_timeout=20) as client:
            zk.ensure_path(where + "/api")
            children = Seen()
            assert zk.get_children(where + "/api", watch=children) == []
            for noticed in (False, True, False):
                proxy.refuse()
                proxy.cut()
                if noticed:
                    until(lambda: not client.zk.connected)
                registrar = Registrar(client, Service(where, "api", b"d"))
                error = raises_within(errors.OperationTimeoutError, 1.3, registrar.register, timeout=0.3)
                assert isinstance(error, TimeoutError) and where in str(error)
                proxy.heal()
                until(lambda: client.zk.connected)
                children.never(lambda events: bool(events), 0.7)
                assert registrar.node is None
            assert registrar.register()
            children.wait(lambda events: len(events) == 1)


def test_a_black_hole_in_the_middle_of_a_register_leaves_nothing(server38: Any, where: str) -> None:
    with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
        with Client(proxy.hosts, session_timeout=3) as client:
            zk.ensure_path(where + "/api")
            registrar = Registrar(client, Service(where, "api", b"d"))
            proxy.black_hole("down")
            raises_within(errors.OperationTimeoutError, 1.5, registrar.register, timeout=0.5)
            assert len(zk.get_children(where + "/api")) == 1  # it was made; nobody could know
            proxy.heal()
            until(lambda: zk.get_children(where + "/api") == [], 10)
            assert registrar.node is None


@pytest.mark.watchdog(90)
def test_an_ensemble_whose_leader_is_killed(ensemble: Any, where: str) -> None:
    group = ensemble(3, "3.8")
    hosts = group.hosts
    with Client(hosts, session_timeout=10) as client, Client(hosts, session_timeout=10) as looking:
        registrars = [Registrar(client, Service(where, "api", str(i).encode())) for i in range(5)]
        nodes = {registrar.register() for registrar in registrars}
        seen = Seen()
        Instancer(looking, where + "/api").register(seen)
        seen.wait_set(*"01234")
        group.leader().kill()
        group.leader()
        late = Registrar(client, Service(where, "api", b"5"))
        late.register(timeout=30)
        seen.wait_set(*"012345", timeout=30)
        found = {f"{where}/api/{name}" for name in looking.zk.get_children(where + "/api", timeout=10)}
        assert found == nodes | {late.node}
        assert seen.sizes() == [5, 6], seen.sizes()
        for registrar in [*registrars, late]:
            registrar.deregister()
        seen.wait_set(timeout=20)


# --------------------------------------------------------------------------- get_entries


def test_get_entries_reads_data_and_tells_of_the_next_change(client: Client, zk: ZooKeeper, where: str) -> None:
    with pytest.raises(NodeNotFoundError):
        client.get_entries(where)
    zk.ensure_path(where)
    assert client.get_entries(where + "/")[0] == []
    zk.create(where + "/b", b"2")
    zk.create(where + "/a", b"1")
    zk.create(where + "/c", b"1")
    entries, changed = client.get_entries(where)
    assert entries == ["1", "1", "2"] and not changed.done()
    zk.set(where + "/a", b"3")
    zk.create(where + "/d", b"4")
    event = changed.result(5)
    assert (event.type, event.path) == (EventType.CHILD, where)
    bad = zk.create(where + "/e", b"\xff")
    entries, _ = client.get_entries(where)
    assert len(entries) == 4, "the others are there"
    assert isinstance(entries.error, UndecodableDataError) and entries.error.path == bad
    zk.add_auth("digest", "boss:secret")
    zk.set_acls(where, [make_digest_acl("boss", "secret", all=True)])
    with pytest.raises(errors.NoAuthError):
        client.get_entries(where)
    for path in ("", "x", "/a//b", "/a/../b"):
        with pytest.raises(ValueError):
            client.get_entries(path)
    zk.delete(where, recursive=True)


# -------------------------------------------------------------------- in odd places


def test_from_a_listener_and_from_a_watcher(server38: Any, where: str) -> None:
    """All of it works on zkwire's own dispatch thread."""
    with Client(server38.hosts) as client, ZooKeeper(server38.hosts) as zk:
        zk.ensure_path(where)
        done = Seen()

        def watcher(event: Any) -> None:
            registrar = Registrar(client, Service(where, "api", b"w"))
            registrar.register()
            found = Instancer(client, where + "/api").state
            entries, _ = client.get_entries(where + "/api")
            registrar.deregister()
            done((found, entries, threading.current_thread().name))

        client.zk.get(where, watch=watcher)
        zk.set(where, b"x")
        done.wait(lambda events: bool(events))
        assert done.events[0][:2] == (Event(("w",)), ["w"])
        heard = Seen()
        client.zk.add_listener(lambda state: heard(state == "CONNECTED" and client.register(Service(where, "l", b""))))
        kill_session(client.zk, server38.hosts)
        heard.wait(lambda events: any(isinstance(e, str) for e in events))
        # The session may have been resumed once more before its end: what was registered then is made again.
        until(lambda: len(zk.get_children(where + "/l")) == 1)


def test_a_watcher_that_blocks_the_shared_zookeeper_stops_nobody(server38: Any, where: str) -> None:
    release, entered = threading.Event(), threading.Event()

    def block(event: Any) -> None:
        entered.set()
        release.wait(30)

    with ZooKeeper(server38.hosts) as shared, ZooKeeper(server38.hosts) as zk:
        zk.ensure_path(where + "/api")
        with Client(zk=shared) as client:
            registrar = Registrar(client, Service(where, "api", b"d"))
            node = registrar.register()
            instancer = Instancer(client, where + "/api")
            seen = Seen()
            instancer.register(seen)
            shared.get(where, watch=block)
            zk.set(where, b"x")
            assert entered.wait(5)
            try:
                kill_session(shared, server38.hosts)
                until(lambda: registrar.node not in (None, node), 5)
                zk.create(where + "/api/other", b"o")
                seen.wait_set("d", "o")
                late = Registrar(client, Service(where, "api", b"late"))
                late.register()
                seen.wait_set("d", "late", "o")
                late.deregister()
            finally:
                release.set()


def test_a_running_zookeeper_is_left_running_and_left_clean(server: Any, zk: ZooKeeper, where: str) -> None:
    with ZooKeeper(server.hosts) as shared:
        client = Client(zk=shared)
        assert client.zk is shared
        node = client.register(Service(where, "api", b"d"))
        Instancer(client, where + "/api")
        client.stop()
        assert shared.connected and zk.exists(node) is None
        until(lambda: sum(int(v) for v in watches(server, shared)) == 0, 5)
        client.stop()
        with pytest.raises(ClientClosedError):
            client.register(Service(where, "api", b"d"))
        with Client(zk=shared) as again:
            assert again.register(Service(where, "api", b"d"))
        assert shared.get_children(where + "/api") == []
    with pytest.raises(ValueError):
        Client(zk=shared)


def test_a_client_stopped_without_a_connection_leaves_no_node_either(server38: Any, where: str) -> None:
    with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
        with ZooKeeper(proxy.hosts, timeout=20) as shared:
            client = Client(zk=shared, session_timeout=1, connect_timeout=1)
            node = client.register(Service(where, "api", b"d"))
            proxy.refuse()
            proxy.cut()
            until(lambda: not shared.connected)
            began = time.monotonic()
            client.stop()
            assert elapsed(began) < 4 and zk.exists(node)
            proxy.heal()
            until(lambda: zk.exists(node) is None)
            assert shared.connected


def watches(server: Any, zk: ZooKeeper) -> Any:
    """How many watches the server holds for a session, as it says itself."""
    number = f"{zk.client_id[0]:x}"
    text = server.four("wchc")
    mine = re.search(rf"0x{number}\n((?:\t.*\n)*)", text)
    return [len(mine.group(1).splitlines())] if mine else [0]


def test_the_end_of_the_client_ends_a_waiting_call(server38: Any, where: str) -> None:
    with FaultProxy(server38.host, server38.port) as proxy:
        client = Client(proxy.hosts, session_timeout=6)
        registered = Registrar(client, Service(where, "api", b"r"))
        registered.register()
        proxy.refuse()
        proxy.cut()
        until(lambda: not client.zk.connected)
        ended = Seen()

        def call(function: Any, *arguments: Any) -> None:
            try:
                ended((function(*arguments), None))
            except errors.ZookeeperError as error:
                ended((None, error))

        calls = [
            (Registrar(client, Service(where, "api", b"d")).register,), (registered.deregister,),
            (Instancer, client, where), (client.get_entries, where),
        ]  # fmt: skip
        threads = [threading.Thread(target=call, args=each) for each in calls]
        for thread in threads:
            thread.start()
        until(lambda: len(client._children) == 1 and len(client._pending) == 2)  # Instancer; register, deregister
        began = time.monotonic()
        client.stop()
        for thread in threads:
            thread.join(5)
        assert elapsed(began) < 6 and len(ended.events) == 4, ended.events
        kinds = (errors.ConnectionClosedError, NotRegisteredError)
        assert all(isinstance(error, kinds) for _, error in ended.events), ended.events
