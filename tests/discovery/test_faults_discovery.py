"""The fault catalogue's rows on discovery, on both fronts: instancers, registrars, and what happens to them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import Any, Callable, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests, real, until
from zkdisco import Event, Service
from zkdisco.values import ClientClosedError, NotRegisteredError
from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, NoAuthError, NoChildrenForEphemeralsError, OperationTimeoutError,
    QuotaExceededError, ThrottledOpError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import AddWatch, Create, Delete, Exists, GetChildren, GetData
from zkwire.values import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

DIRECTORY = "/org/api"
API = Service("/org", "api", b"10.0.0.1:80")
#: With recursive watches, and before there were any.
VERSIONS = pytest.mark.parametrize("version", ["3.9", "3.5"])


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon after a loss, or a failure: these tests have only one client, and many of both."""
    monkeypatch.setattr("zkwire.session.host_provider.SPREAD", 0.02)
    monkeypatch.setattr("zkdisco.membership.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("zkdisco.registration.FIRST_PAUSE", 0.2)


class Scene:
    """A server, a proxy before it for discovery, and an operator who goes straight to the server."""

    def __init__(self, front: Front, version: str = "3.9", timeout: float = 3.0, **settings: Any) -> None:
        self.front = front
        self.requests = Requests()
        self.server = front.server(version=version, **settings)
        self.proxy = front.proxy(self.server, tap=self.requests)
        self.zk = front.client(self.proxy.hosts, timeout=timeout, request_timeout=9.0)
        self.operator = front.client(self.server.hosts, timeout=9.0)
        self.client = front.disco(zk=self.zk)
        self.observed = Log()

    def add(self, *names: str) -> None:
        """Instances by somebody else, whose data is their name."""
        for name in names:
            self.operator.create(f"{DIRECTORY}/{name}", name.encode(), makepath=True)

    def watch(self) -> Any:
        """An instancer with an observer."""
        instancer = self.front.instancer(self.client, DIRECTORY)
        instancer.register(self.observed)
        self.observed.wait(1)
        return instancer

    def shows(self, *names: str, behind: int = 0) -> None:
        """Wait until this is the set, without trouble, after so many events."""
        self.observed.until(lambda seen: len(seen) > behind and seen[-1] == Event(tuple(sorted(names))))

    def nodes(self) -> List[Tuple[str, bytes, int]]:
        """Name, data and owner of what is registered, by the server's own book."""
        tree = self.server._core.data.tree
        found = tree.get(DIRECTORY)
        names = list(found.children) if found is not None else []
        return [(n, tree.nodes[f"{DIRECTORY}/{n}"].data, tree.nodes[f"{DIRECTORY}/{n}"].owner) for n in names]

    def away(self) -> None:
        """Lose the connection, until `proxy.heal`."""
        states = Log()
        self.zk.add_listener(states)
        self.proxy.refuse()
        self.proxy.cut()
        states.wait(1)
        self.zk.remove_listener(states)

    def lose_session(self) -> int:
        """End the session; the new one."""
        states = Log()
        self.zk.add_listener(states)
        self.server.expire(self.zk.client_id[0])
        states.until(lambda seen: seen[-1:] == ["CONNECTED"])
        self.zk.remove_listener(states)
        number: int = self.zk.client_id[0]
        return number


# --------------------------------------------------------------------------- instancers


@pytest.mark.slow
@fault("I01")
@VERSIONS
def test_a_read_that_fails_once_keeps_the_last_set_and_is_repeated(front: Front, version: str) -> None:
    scene = Scene(front, version)
    scene.add("a", "b")
    scene.watch()
    scene.server.answer(-127, GetChildren if version == "3.5" else GetData)
    scene.add("c")
    trouble = scene.observed.until(lambda seen: seen[-1].error is not None)[-1]
    assert trouble.instances == ("a", "b") and isinstance(trouble.error, ThrottledOpError)
    scene.shows("a", "b", "c")
    for number in range(18):  # go-kit would be deaf to all of these
        scene.add(f"d{number}")
    scene.shows("a", "b", "c", *[f"d{number}" for number in range(18)])
    began = time.monotonic()
    # Before 3.6 each new connection is asked for the recursive watch, and hung up on: two refusals fall into that.
    scene.server.answer(-127, GetChildren, times=5 if version == "3.5" else 3)
    scene.proxy.cut()
    scene.observed.until(lambda seen: isinstance(seen[-1].error, ThrottledOpError))
    scene.observed.until(lambda seen: seen[-1].error is None)
    assert time.monotonic() - began > 0.1 + 0.2 + 0.4, "it waits between its tries, ever longer"


@fault("I01")
@VERSIONS
def test_a_connection_lost_at_the_event_keeps_the_last_set_and_recovers(front: Front, version: str) -> None:
    scene = Scene(front, version)
    scene.add("a", "b")
    scene.watch()
    for number in range(6):
        scene.proxy.cut_after(20 + number * 30, "down", "rst" if number % 2 else "fin")
        scene.add(f"c{number}")
        if number % 3 == 0:
            scene.proxy.cut()
        scene.shows("a", "b", *[f"c{i}" for i in range(number + 1)])
    sets = [event.instances for event in scene.observed.seen]
    assert all(len(later) >= len(earlier) for earlier, later in zip(sets, sets[1:])), "nothing is ever lost from view"
    assert all(isinstance(event.error, (type(None), ConnectionLoss)) for event in scene.observed.seen)


@pytest.mark.long
@fault("I02")
@VERSIONS
def test_a_connection_lost_while_reading_never_shows_a_part(front: Front, version: str) -> None:
    scene = Scene(front, version)
    names = [f"n{number}" for number in range(6)]
    scene.add(*names)
    scene.watch()
    for cut in range(0, 840, 60):  # all the way through list and data
        behind = len(scene.observed.seen) + 1  # that of the loss
        scene.proxy.cut_after(cut + 41, "down", "rst" if cut % 120 else "fin")
        scene.proxy.cut()
        scene.shows(*names, behind=behind)
        scene.proxy.heal()
    assert {event.instances for event in scene.observed.seen} == {tuple(names)}
    assert scene.proxy.connections > 1 + 14 + 8, "it was cut in the middle"
    late = Log()
    scene.proxy.cut_after(300, "down")
    scene.proxy.cut()
    fresh = front.instancer(scene.client, DIRECTORY)
    fresh.register(late)
    late.until(lambda seen: seen and seen[-1].error is None)
    assert {event.instances for event in late.seen} <= {tuple(names), ()}
    assert late.seen[-1].instances == tuple(names)
    assert all(event.error is not None for event in late.seen if not event.instances)


@fault("I03")
@VERSIONS
def test_a_child_that_vanishes_between_list_and_read_is_left_out_alone(front: Front, version: str) -> None:
    scene = Scene(front, version)
    scene.add("a", "b", "c")
    with scene.server.answer(-101, GetData, f"{DIRECTORY}/b", times=1000):  # a slow machine may read it twice
        instancer = scene.watch()
        assert scene.observed.seen == [Event(("a", "c"))]
    scene.operator.delete(f"{DIRECTORY}/b")
    scene.add("d")
    scene.shows("a", "c", "d")
    assert instancer.stale_since is None


@fault("I04")
@VERSIONS
def test_changed_data_is_an_event(front: Front, version: str) -> None:
    scene = Scene(front, version)
    scene.add("a", "b")
    scene.watch()
    for number in range(5):
        scene.operator.set(f"{DIRECTORY}/a", b"weight %d" % number)
        scene.shows(f"weight {number}", "b")
    assert all(len(event.instances) == 2 for event in scene.observed.seen)


@fault("I05")
@VERSIONS
def test_after_expiry_everything_is_read_afresh_with_no_empty_flash(front: Front, version: str) -> None:
    scene = Scene(front, version)
    scene.add("a", "b")
    scene.watch()
    for number in range(3):
        scene.away()
        scene.server.expire(scene.zk.client_id[0])
        scene.operator.set(f"{DIRECTORY}/a", b"a%d" % number)
        scene.add(f"c{number}")
        scene.proxy.heal()
        scene.shows(f"a{number}", "b", *[f"c{i}" for i in range(number + 1)])
    assert all(len(event.instances) >= 2 for event in scene.observed.seen)
    scene.operator.set(f"{DIRECTORY}/a", b"last")  # the watch is one of the new session
    scene.shows("last", "b", "c0", "c1", "c2")


@fault("I06")
@VERSIONS
def test_a_directory_that_is_missing_deleted_and_made_again(front: Front, version: str) -> None:
    scene = Scene(front, version)
    instancer = scene.watch()
    assert instancer.state == Event(())
    assert scene.operator.exists("/org") is None, "it creates nothing to watch"
    for number in range(3):
        scene.add("a", f"b{number}")
        scene.shows("a", f"b{number}")
        scene.operator.delete("/org", recursive=True)
        scene.shows()
    assert all(event.error is None for event in scene.observed.seen)


@fault("I08")
@VERSIONS
def test_a_burst_costs_no_more_reads_than_changes(front: Front, version: str) -> None:
    scene = Scene(front, version, timeout=9.0)
    scene.add("a")
    scene.watch()
    reads = scene.requests.total
    calls = front.submit(scene.operator, [Create(f"{DIRECTORY}/n{number:03}", b"x") for number in range(700)])
    calls += front.submit(scene.operator, [Delete(f"{DIRECTORY}/n{number:03}") for number in range(300)])
    assert [call.exception(9) for call in calls] == [None] * 1000
    scene.shows("a", *["x"] * 400)
    sweeps = scene.requests.count(Exists.opcode)  # each ends with one, and reads again what has changed more than once
    assert 400 <= scene.requests.total - reads <= 1000 + sweeps * 700


@fault("I09")
def test_observers_that_are_slow_full_or_raise_harm_nobody(front: Front) -> None:
    scene = Scene(front)
    scene.add("a")
    instancer = scene.watch()
    go, entered, slow, heard = threading.Event(), threading.Event(), Log(), Log()
    full: Any = front.loop.call(asyncio.Queue, 1) if front.loop is not None else queue.Queue(1)

    def raises(event: Event) -> None:
        heard(event)
        raise ValueError("from an observer")

    def blocks(event: Event) -> Any:
        entered.set()
        if not front.is_asyncio:
            go.wait(20)
            return slow(event)

        async def wait() -> None:
            while not go.is_set():
                await asyncio.sleep(0.005)
            slow(event)

        return wait()

    for observer in (raises, blocks, full):
        instancer.register(observer)
    assert entered.wait(5)
    for number in range(5):
        scene.add(f"b{number}")
        scene.shows("a", *[f"b{i}" for i in range(number + 1)])
    go.set()
    newest = Event(("a", "b0", "b1", "b2", "b3", "b4"))
    slow.until(lambda seen: seen[-1:] == [newest])
    assert len(slow.seen) <= 3, "what it was too slow for was left out"

    def taken() -> Any:
        try:
            return front.loop.call(full.get_nowait) if front.loop is not None else full.get_nowait()
        except (queue.Empty, asyncio.QueueEmpty):
            return None

    until(lambda: taken() == newest)
    # On a busy machine it is slow as well: how many sets it hears before the newest is up to the scheduler.
    heard.until(lambda seen: seen[0] == Event(("a",)) and seen[-1] == newest)
    until(lambda: len(front.complaints) == len(heard.seen))
    assert all("exception in the observer" in complaint for complaint in front.complaints)
    front.complaints.clear()
    instancer.stop()


@fault("I09")
def test_observers_that_come_and_go_during_a_broadcast(front: Front) -> None:
    scene = Scene(front)
    scene.add("a")
    instancer, late, gone = scene.watch(), Log(), Log()
    client = real(instancer)

    def leaves(event: Event) -> None:
        gone(event)
        client.deregister(leaves)
        client.register(late)
        client.register(stays)

    def stays(event: Event) -> None:
        client.deregister(scene.observed)

    instancer.register(leaves)
    late.wait(1)
    until(lambda: len(client._observers._deliveries) == 2)
    heard = len(scene.observed.seen)
    scene.add("b")
    late.until(lambda seen: seen[-1:] == [Event(("a", "b"))])
    assert gone.seen == [Event(("a",))]
    assert len(scene.observed.seen) == heard
    with pytest.raises(TypeError):
        instancer.register(3)


@fault("I10")
def test_stopping_twice_during_a_retry_and_behind_the_client(front: Front) -> None:
    scene = Scene(front)
    scene.add("a")
    one, two, three = scene.watch(), scene.watch(), scene.watch()
    one.stop()
    one.stop()
    scene.server.answer(-127, GetData, times=100)
    scene.add("b")
    scene.observed.until(lambda seen: isinstance(seen[-1].error, ThrottledOpError))  # and now it waits
    two.stop()
    scene.away()
    three.stop()
    began = time.monotonic()
    four = Log()
    with pytest.raises((OperationTimeoutError, ConnectionLoss)):
        front.instancer(scene.client, DIRECTORY, timeout=0.1)
    scene.client.stop()
    assert time.monotonic() - began < 2.0
    for instancer in (one, two, three):
        instancer.stop()
        with pytest.raises(ClientClosedError):
            instancer.register(four)
    scene.client.stop()
    heard = len(scene.observed.seen)
    scene.server.heal()
    scene.proxy.heal()
    assert scene.zk.exists("/org") is not None, "the ZooKeeper that was lent goes on"
    scene.add("c")
    scene.zk.sync("/")
    assert (len(scene.observed.seen), four.seen) == (heard, [])


@pytest.mark.slow
@fault("I11")
@VERSIONS
def test_without_a_quorum_the_last_set_stays_and_is_said_to_be_old(front: Front, version: str) -> None:
    scene = Scene(front, version, timeout=0.6)
    scene.add("a", "b")
    instancer = scene.watch()
    assert instancer.stale_since is None
    states = Log()
    scene.zk.add_listener(states)
    began = time.monotonic()
    scene.server.refuse_sessions()
    scene.server.cut()
    states.until(lambda seen: "LOST" in seen)  # and longer than a session lives
    assert instancer.state.instances == ("a", "b")
    assert isinstance(instancer.state.error, ConnectionLoss)
    since = instancer.stale_since
    assert began <= since <= began + 0.5
    changes = {event for event in scene.observed.seen if event.error is not None}
    assert len(changes) == 1, "one event says so, and no storm of them"
    scene.server.expire(0)
    scene.server.heal()
    scene.shows("a", "b")
    assert instancer.stale_since is None
    scene.add("c")
    scene.shows("a", "b", "c")


# --------------------------------------------------------------------------- registrars


@fault("G01")
def test_after_expiry_the_node_is_back_in_the_new_session(front: Front) -> None:
    scene = Scene(front)
    registrar = front.registrar(scene.client, API)
    first = registrar.register()
    for _ in range(3):
        session = scene.lose_session()
        began = time.monotonic()
        until(lambda session=session: [owner for _, _, owner in scene.nodes()] == [session])
        assert time.monotonic() - began < 1.0
        until(lambda first=first: registrar.error is None and registrar.node != first)
        first = registrar.node
        assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [first]
    scene.away()
    until(lambda: isinstance(registrar.error, ConnectionLoss))
    scene.proxy.heal()
    until(lambda: registrar.error is None)
    assert registrar.node == first, "a session that survived needs nothing"


@fault("G02")
def test_a_registration_whose_answers_are_lost_is_one_node(front: Front) -> None:
    scene = Scene(front)
    scene.add("_c_stranger")
    for number in range(8):
        registrar = front.registrar(scene.client, API)
        scene.proxy.cut_after(number * 13, "down", "rst" if number % 2 else "fin")
        node = registrar.register()
        mine = [f"{DIRECTORY}/{name}" for name, data, _ in scene.nodes() if data == API.data]
        assert mine == [node]
        registrar.deregister()
        assert [name for name, _, _ in scene.nodes()] == ["_c_stranger"]


@pytest.mark.slow
@fault("G03")
def test_a_restart_within_the_timeout_leaves_the_old_node_to_its_session(front: Front) -> None:
    """Names are never fixed: the new process has a node of its own, and the old one's goes with its session."""
    scene = Scene(front)
    dying = front.proxy(scene.server)
    old = front.client(dying.hosts, timeout=30.0)
    before = front.registrar(front.disco(zk=old), API).register()
    session = old.client_id[0]
    dying.refuse()  # the process is killed; its session lives on
    dying.cut()
    registrar = front.registrar(scene.client, API)
    scene.proxy.cut_after(0, "down")  # in doubt, it looks for what may be its own
    node = registrar.register()
    assert node != before
    owners = {f"{DIRECTORY}/{name}": owner for name, _, owner in scene.nodes()}
    assert owners == {before: session, node: scene.zk.client_id[0]}, "another instance's node is not touched"
    scene.lose_session()
    until(lambda: registrar.node != node and registrar.error is None)
    assert {f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()} == {before, registrar.node}
    scene.server.expire(session)
    assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [registrar.node]
    registrar.deregister()
    assert scene.nodes() == []
    dying.heal()


@fault("G03")
def test_a_node_of_our_own_from_a_session_given_up_is_replaced(front: Front) -> None:
    """Ours by its name, and of a session that is not ours any more, though the server has it still."""
    scene = Scene(front, timeout=9.0)
    registrar = front.registrar(scene.client, API)
    first, old = registrar.register(), scene.zk.client_id[0]
    stranger = front.registrar(front.disco(zk=scene.operator), API).register()
    scene.server._core.sessions._secret = b"another"  # so that it does not know the client's password any more
    scene.server.cut(old)
    until(lambda: registrar.node != first and registrar.error is None)
    assert old in scene.server.sessions
    assert {f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()} == {stranger, registrar.node}


@fault("G04")
def test_a_node_deleted_by_an_operator_comes_back(front: Front) -> None:
    scene = Scene(front)
    registrar = front.registrar(scene.client, API)
    node = registrar.register()
    for _ in range(3):
        scene.operator.delete(node)
        until(lambda node=node: registrar.node not in (node, None) and len(scene.nodes()) == 1)
        node = registrar.node
    registrar.deregister()
    assert scene.nodes() == []


@pytest.mark.long
@fault("G05")
def test_deregister_deletes_our_node_however_often_its_answer_is_lost(front: Front) -> None:
    scene = Scene(front)
    scene.add("neighbour")
    for number in range(4):
        registrar = front.registrar(scene.client, API)
        node = registrar.register()
        if number == 0:
            scene.operator.delete(node)  # it is gone already, or again
        elif number < 3:
            scene.proxy.cut_after(0, "down", "rst" if number == 1 else "fin")
        else:
            scene.away()
            threading.Timer(0.1, scene.proxy.heal).start()
        registrar.deregister()
        assert [name for name, _, _ in scene.nodes()] == ["neighbour"]
        assert registrar.node is None
        with pytest.raises(NotRegisteredError):
            registrar.deregister()
    assert scene.operator.exists(DIRECTORY) is not None, "the parent stays"


@pytest.mark.slow
@fault("G06")
def test_the_last_intent_while_disconnected_wins(front: Front) -> None:
    scene = Scene(front, timeout=9.0)
    one, two = front.registrar(scene.client, API), front.registrar(scene.client, API)
    one.register()
    scene.away()
    for call in (one.deregister, two.register, one.register, two.deregister, one.deregister, two.register):
        with pytest.raises((OperationTimeoutError, NotRegisteredError)):
            call(timeout=0.02)
    threading.Timer(0.1, scene.proxy.heal).start()
    node = two.register()
    until(lambda: one.node is None)
    assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [node]


@pytest.mark.slow
@fault("G07")
@pytest.mark.parametrize("expires", [False, True])
def test_the_last_data_given_while_disconnected_is_what_stands(front: Front, expires: bool) -> None:
    """There is no update of a registration: one takes it back, and registers what is new."""
    scene = Scene(front, timeout=9.0)
    services = [Service("/org", "api", b"weight %d" % number) for number in range(4)]
    scene.client.register(services[0])
    scene.watch()
    scene.away()
    if expires:
        scene.server.expire(scene.zk.client_id[0])
    for earlier, later in zip(services, services[1:]):
        with pytest.raises((OperationTimeoutError, NotRegisteredError)):
            scene.client.deregister(earlier, timeout=0.02)
        with pytest.raises(OperationTimeoutError):
            scene.client.register(later, timeout=0.02)
    threading.Timer(0.1, scene.proxy.heal).start()
    node = scene.client.register(services[-1])
    until(lambda: [data for _, data, _ in scene.nodes()] == [b"weight 3"])
    scene.shows("weight 3")
    assert scene.nodes()[0][0] == node.rpartition("/")[2]


@fault("G08")
def test_parents_that_are_missing_or_go_meanwhile(front: Front) -> None:
    scene = Scene(front)
    registrar = front.registrar(scene.client, API)
    scene.server.answer(-101, Create, times=3)  # as if they had been reaped in between
    assert scene.operator.exists("/org") is None
    node = registrar.register()
    assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [node]
    registrar.deregister()
    stop, removed = threading.Event(), Log()

    def reap() -> None:
        while not stop.is_set():
            for path in (DIRECTORY, "/org"):
                try:
                    scene.operator.delete(path)
                    removed(path)
                except ZookeeperError:
                    pass  # not empty, or not there
            stop.wait(0.004)  # who does it all the time wins

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        for number in range(15):
            registrar.register()
            assert len(scene.nodes()) == 1
            registrar.deregister()
            until(lambda number=number: len(removed.seen) > number)
    finally:
        stop.set()
        reaper.join(5)


@fault("G08")
def test_parents_that_may_not_be_made_or_are_there_already(front: Front) -> None:
    scene = Scene(front)
    scene.operator.create("/org")
    scene.operator.create(DIRECTORY, acl=OPEN_ACL_UNSAFE)
    scene.operator.set_acls("/org", READ_ACL_UNSAFE)
    node = front.registrar(scene.client, API).register()
    assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [node]


@fault("G08")
def test_a_parent_that_somebody_else_makes_first(front: Front) -> None:
    scene = Scene(front)
    scene.server.answer(-110, Create, "/org")
    scene.server.answer(-110, Create, DIRECTORY)
    node = front.registrar(scene.client, API).register()
    assert [f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()] == [node]


@fault("G09")
def test_two_registrars_of_equal_services_have_a_node_each(front: Front) -> None:
    scene = Scene(front)
    one, two = front.registrar(scene.client, API), front.registrar(scene.client, API)
    far = front.registrar(front.disco(zk=scene.operator), API)
    nodes = {registrar.register() for registrar in (one, two, far)}
    assert nodes == {f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()} and len(nodes) == 3
    scene.watch()
    scene.shows(*[API.data.decode()] * 3)
    two.deregister()
    assert {one.node, far.node} == {f"{DIRECTORY}/{name}" for name, _, _ in scene.nodes()}


@pytest.mark.slow
@fault("G10")
def test_a_registrar_cut_off_says_so_before_its_node_can_be_taken_for_dead(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    told, states = Log(), Log()
    client = front.disco(proxy.hosts, session_timeout=1.0, connect_timeout=1.0, event_handler=told)
    client.zk.add_listener(states) if not front.is_asyncio else front.loop.call(client.zk.add_listener, states)  # type: ignore[union-attr]
    registrar = front.registrar(client, API)
    node = registrar.register()
    assert registrar.error is None
    proxy.black_hole()
    told.until(lambda seen: seen and seen[-1].state == "CONNECTING")
    until(lambda: isinstance(registrar.error, ConnectionLoss))
    assert server._core.data.tree.get(node) is not None, "nobody else can have its place yet"
    states.until(lambda seen: seen == ["SUSPENDED", "LOST"])
    told.until(lambda seen: seen[-1].state == "EXPIRED_SESSION")
    until(lambda: server._core.data.tree.get(node) is None)
    proxy.heal()
    proxy.cut()
    until(lambda: registrar.error is None and registrar.node not in (None, node))
    assert server._core.data.tree.get(registrar.node) is not None


@fault("G11")
def test_paths_and_names_that_can_be_none(front: Front) -> None:
    scene = Scene(front)
    for path in ("", "org", "//", "/org//", "/org/../x", "/./", "/org\0", "/a//b"):
        with pytest.raises(ValueError, match="path"):
            Service(path, "api")
        for call in (scene.client.get_entries, scene.client.create_parent_nodes):
            with pytest.raises(ValueError, match="path"):
                call(path)
        with pytest.raises(ValueError, match="path"):
            front.instancer(scene.client, path)
    for name in ("", ".", "..", "a/b", "/api", "api/", "a\0b", "../x"):
        with pytest.raises(ValueError, match="name"):
            Service("/org", name)
    assert Service("/org/", "api").directory == Service("/org", "api").directory == DIRECTORY
    node = front.registrar(scene.client, Service("/org/", "api", b"1")).register()
    assert node.startswith(DIRECTORY + "/_c_")
    assert scene.client.get_entries(DIRECTORY + "/")[0] == ["1"]
    assert front.registrar(scene.client, Service("/", "top", b"2")).register().startswith("/top/_c_")


@fault("G12")
def test_a_registration_that_is_refused_is_told_and_not_tried_again(front: Front) -> None:
    scene = Scene(front)
    scene.operator.create("/locked", acl=READ_ACL_UNSAFE)
    scene.operator.create("/ephemeral", ephemeral=True)
    refusals: List[Tuple[Any, str, Callable[[], Any]]] = [
        (NoAuthError, "/locked", lambda: None), (NoChildrenForEphemeralsError, "/ephemeral", lambda: None),
        (QuotaExceededError, "/quota", lambda: scene.server.answer(-125, Create, times=3)),
    ]  # fmt: skip
    for kind, path, prepare in refusals:
        prepare()
        registrar = front.registrar(scene.client, Service(path, "api", b"1"))
        with pytest.raises(kind):
            registrar.register()
        asked = len(scene.requests.opcodes(1))
        assert registrar.node is None
        scene.zk.sync("/")
        assert scene.requests.opcodes(1)[asked:] == [9], "who was told of a failure has no registration"
        core = real(registrar)._core
        assert core.at_rest and core.deadline() is None, "nor will it be tried for later"
        scene.server.heal()


@pytest.mark.long
@fault("G12")
def test_a_node_that_may_not_come_back_is_tried_for_slowly_and_told_of(front: Front) -> None:
    scene = Scene(front)
    registrar = front.registrar(scene.client, API)
    node = registrar.register()
    for code, kind in ((-102, NoAuthError), (-125, QuotaExceededError)):
        scene.server.answer(code, Create, times=100)
        asked = scene.requests.count(1)
        scene.operator.delete(registrar.node)
        until(lambda kind=kind: isinstance(registrar.error, kind))
        began = time.monotonic()
        until(lambda asked=asked: scene.requests.count(1) >= asked + 2)
        assert time.monotonic() - began > 0.15, "not at once"
        scene.server.heal()
        scene.proxy.cut()  # a new connection is a reason to try at once
        until(lambda node=node: registrar.error is None and registrar.node not in (None, node))
        node = registrar.node
    registrar.deregister()
    assert scene.nodes() == []


@fault("G13")
def test_stopping_the_client_ends_all_and_takes_the_nodes_along(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts, session_timeout=3.0)
    registrar, observed = front.registrar(client, API), Log()
    registrar.register()
    other = client.register(Service("/org", "db", b"2"))
    instancer = front.instancer(client, DIRECTORY)
    instancer.register(observed)
    observed.wait(1)
    began = time.monotonic()
    client.stop()
    assert time.monotonic() - began < 2.0
    assert server.sessions == ()
    tree = server._core.data.tree
    assert (list(tree.nodes[DIRECTORY].children), tree.get(other)) == ([], None)
    heard = len(observed.seen)
    client.stop()
    for call in (registrar.register, registrar.deregister, lambda: client.register(API), lambda: client.get_entries("/")):
        with pytest.raises(ClientClosedError):
            call()
    with pytest.raises(ClientClosedError):
        front.instancer(client, DIRECTORY)
    with pytest.raises(ClientClosedError):
        front.registrar(client, API)
    instancer.stop()
    assert len(observed.seen) == heard
    assert issubclass(ClientClosedError, ConnectionClosedError)


@fault("I10")
def test_stopping_behind_a_zookeeper_that_was_closed_waits_for_nothing(front: Front) -> None:
    scene = Scene(front)
    registrar = front.registrar(scene.client, API)
    registrar.register()
    instancer = scene.watch()
    scene.zk.close()
    began = time.monotonic()
    instancer.stop()
    scene.client.stop()
    scene.client.stop()
    assert time.monotonic() - began < 1.0, "there is no session whose nodes would have to be deleted"
    assert scene.nodes() == []


# ------------------------------------------------------- servers compatible but for something


def shown(scene: Scene, *instances: str) -> None:
    """The newest set is this one, soon."""
    scene.observed.until(lambda seen: seen[-1] == Event(instances), 15.0)


@fault("X20")
def test_a_server_whose_recursive_watches_tell_the_watched_path(front: Front) -> None:
    """Every change is seen nevertheless: of the set and of the data."""
    scene = Scene(front, watched_path_in_events=True)
    scene.add("a")
    scene.watch()
    shown(scene, "a")
    scene.add("b")
    shown(scene, "a", "b")
    scene.operator.set(f"{DIRECTORY}/a", b"c")
    shown(scene, "b", "c")
    scene.operator.delete(f"{DIRECTORY}/a")
    shown(scene, "b")


@fault("X19")
@pytest.mark.parametrize("kind", ["hangs_up_on", "answers_without_body"])
def test_a_server_that_does_not_know_recursive_watches_in_its_own_way(front: Front, kind: str) -> None:
    """addWatch is hung up on, or answered without a body: discovery shows the set, and its changes."""
    scene = Scene(front, **{kind: frozenset({AddWatch.opcode})})
    scene.add("a")
    scene.watch()
    shown(scene, "a")
    scene.add("b")
    shown(scene, "a", "b")
    connections = len(scene.requests.presented)
    scene.operator.set(f"{DIRECTORY}/a", b"c")
    shown(scene, "b", "c")
    assert len(scene.requests.presented) == connections <= 5, "no endless reconnects"


@fault("X21")
def test_a_server_upgraded_in_place(front: Front) -> None:
    """The session survives, and so does what is shown."""
    scene = Scene(front, "3.5")
    scene.add("a")
    scene.watch()
    shown(scene, "a")
    session, states = scene.zk.client_id, Log()
    scene.operator.add_listener(states)
    scene.server.upgrade("3.9")
    scene.observed.until(lambda seen: any(event.error for event in seen))
    shown(scene, "a")
    states.wait(2)  # lost, and connected again
    scene.add("b")
    shown(scene, "a", "b")
    assert scene.zk.client_id == session
