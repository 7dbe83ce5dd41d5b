"""Stable identities on both fronts: what comes back, what is taken, and what it costs; on real servers where they matter."""

from __future__ import annotations

import contextlib
import threading
import uuid
from typing import Any, Iterator, List, Tuple

import pytest

import zkdisco
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests, real, until
from tests.kit.harness.proxy import FaultProxy
from tests.kit.sessions import end_session
from zkdisco import Event, IdentityTakenError, Service
from zkwire import KazooState, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import NodeExistsError

GUID = "0123456789abcdef0123456789abcdef"
IDENTITIES = pytest.mark.parametrize("identity", [str(uuid.UUID(GUID)), "host-1"], ids=["guid", "name"])
CREATE, EXISTS, GET, SYNC, CHILDREN = 1, 3, 4, 9, 8


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon after a loss: these tests have only one client."""
    monkeypatch.setattr("zkwire.session.host_provider.SPREAD", 0.02)


@pytest.fixture(params=["server34", "server393"])
def keeper(request: pytest.FixtureRequest, shared: Any) -> Any:
    """A real server."""
    return request.getfixturevalue(request.param)


class Scene:
    """A server, embedded or real, a directory of the test's own in it, and an operator."""

    def __init__(self, front: Front, server: Any, unique: str = "org") -> None:
        self.front, self.server = front, server
        self.service = Service(f"/{unique}", "api", b"10.0.0.1:80")
        self.directory = self.service.directory
        self.operator = front.client(server.hosts, timeout=9.0)

    def process(self, identity: Any, data: bytes = b"10.0.0.1:80") -> Tuple[Any, Any, Any]:
        """A client, the proxy before it, and a registrar of the identity."""
        proxy = self.front.proxy(self.server)
        zk = self.front.client(proxy.hosts, timeout=20.0)
        service = Service(self.service.path, self.service.name, data)
        return zk, proxy, self.front.registrar(self.front.disco(zk=zk), service, identity=identity)

    def nodes(self) -> List[Tuple[str, int]]:
        """Path and owner of what is there."""
        found = []
        for name in self.operator.get_children(self.directory):
            path = f"{self.directory}/{name}"
            stat = self.operator.exists(path)
            if stat is not None:
                found.append((path, stat.ephemeralOwner))
        return found

    @contextlib.contextmanager
    def looked_at(self) -> Iterator[Log]:
        """While it lasts, somebody reads the directory all the time: the number of nodes at each look."""
        seen, over = Log(), threading.Event()

        def look() -> None:
            with ZooKeeper(self.server.hosts) as zk:
                while not over.is_set():
                    seen(len(zk.get_children(self.directory)))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            seen.wait(3)
            yield seen
            seen.wait(len(seen.seen) + 3)
        finally:
            over.set()
            thread.join()


@IDENTITIES
@fault("G03")
def test_who_was_killed_and_comes_back_is_never_seen_twice_nor_missed(
    keeper: Any, front: Front, unique: str, identity: str
) -> None:
    """The predecessor's session goes on meanwhile."""
    scene, observed = Scene(front, keeper, unique), Log()
    old, proxy, before = scene.process(identity)
    node = before.register()
    assert node == f"{scene.directory}/host-1" if identity == "host-1" else node.startswith(f"{scene.directory}/_c_{GUID}-")
    instancer = front.instancer(front.disco(scene.server.hosts), scene.directory)
    instancer.register(observed)
    observed.wait(1)
    proxy.refuse()  # that is what a killed process looks like
    proxy.cut()
    with scene.looked_at() as seen:
        zk, _, registrar = scene.process(identity)
        node = registrar.register()
    assert set(seen.seen) == {1} and scene.nodes() == [(node, zk.client_id[0])] and old.client_id[0] != zk.client_id[0]
    assert {event for event in observed.seen} == {Event(("10.0.0.1:80",))}
    registrar.deregister()
    observed.until(lambda events: events[-1] == Event(()))
    proxy.heal()
    until(lambda: before.error is None and before.node is not None)  # nobody has it any more


@IDENTITIES
def test_our_own_node_of_an_expired_session_and_the_newest_data(
    keeper: Any, front: Front, unique: str, identity: str
) -> None:
    scene = Scene(front, keeper, unique)
    zk, proxy, registrar = scene.process(identity)
    registrar.register()
    registrar.update(b"newest")
    for _ in range(2):
        session = zk.client_id
        end_session(scene.server.hosts, session)
        until(lambda session=session: zk.client_id not in (None, session) and registrar.error is None and registrar.node)
        assert scene.nodes() == [(registrar.node, zk.client_id[0])]
        assert scene.operator.get(registrar.node)[0] == b"newest"
    scene.operator.delete(registrar.node)
    until(lambda: scene.nodes() == [(registrar.node, zk.client_id[0])] and registrar.error is None)
    registrar.deregister()
    assert scene.nodes() == [] and registrar.node is None


@IDENTITIES
def test_of_two_that_live_the_newer_one_has_it_and_the_older_one_comes_back(
    keeper: Any, front: Front, unique: str, identity: str
) -> None:
    scene = Scene(front, keeper, unique)
    _, proxy, older = scene.process(identity)
    older.register()
    zk, _, newer = scene.process(identity)
    node = newer.register()
    session = zk.client_id[0]
    for _ in range(2):
        error = until(lambda: older.error if isinstance(older.error, IdentityTakenError) else None)
        assert isinstance(error, NodeExistsError) and (error.path, error.session_id) == (node, session)
        assert f"0x{session:x}" in str(error) and node in str(error) and older.node is None
        assert scene.nodes() == [(node, session)] and newer.error is None
        proxy.cut()
        until(lambda: not isinstance(older.error, IdentityTakenError) or real(older)._core._session is not None)
    with pytest.raises(IdentityTakenError):
        older.register()
    newer.deregister()
    until(lambda: older.node is not None and older.error is None)
    assert [path for path, _ in scene.nodes()] == [older.node]
    newer.start()
    until(lambda: newer.node is not None and isinstance(older.error, IdentityTakenError))
    older.deregister()
    assert scene.nodes() == [(newer.node, session)] and older.node is None


@pytest.mark.parametrize("persistent", [True, False])
def test_a_strangers_node_is_left_alone_and_waited_for(
    keeper: Any, front: Front, unique: str, persistent: bool
) -> None:
    scene = Scene(front, keeper, unique)
    path = f"{scene.directory}/host-1"
    scene.operator.create(path, b"10.0.0.2:80", ephemeral=not persistent, makepath=True)
    owner = 0 if persistent else scene.operator.client_id[0]
    before = scene.operator.get(path)
    zk, _, registrar = scene.process("host-1")
    with pytest.raises(IdentityTakenError, match="is persistent" if persistent else f"session 0x{owner:x}") as caught:
        registrar.register()
    assert (caught.value.path, caught.value.session_id, registrar.node) == (path, owner, None)
    registrar.start()
    until(lambda: isinstance(registrar.error, IdentityTakenError))
    assert scene.operator.get(path) == before and str(registrar.error) == str(caught.value)
    scene.operator.delete(path)
    until(lambda: registrar.node == path and registrar.error is None)
    assert scene.nodes() == [(path, zk.client_id[0])]


@pytest.mark.long
@pytest.mark.parametrize("what", ["deregister", "stop"])
def test_a_signal_handler_deletes_no_node_of_a_name_unseen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection, the delete would come with the next session; by then another has the name."""
    server = EmbeddedServer()
    with server, FaultProxy("127.0.0.1", server.port) as proxy, ZooKeeper(server.hosts) as operator:
        with ZooKeeper(proxy.hosts, timeout=1.0) as zk, zkdisco.Client(zk=zk) as client:
            registrar = zkdisco.Registrar(client, Service("/org", "api", b"10.0.0.1:80"), identity="host-1")
            path = registrar.register()
            proxy.refuse()
            proxy.cut()
            until(lambda: zk.state == KazooState.LOST and operator.exists(path) is None)
            operator.create(path, b"a stranger's")
            with monkeypatch.context() as inside:
                inside.setattr(zk.driver, "may_wait", lambda: False)
                (registrar.deregister if what == "deregister" else client.stop)()
            proxy.heal()
            until(lambda: registrar._core.at_rest)
            assert operator.get(path)[0] == b"a stranger's"


@pytest.mark.slow
@IDENTITIES
@pytest.mark.parametrize("version", ["3.9", "3.4"])
@fault("G02")
def test_answers_that_are_lost_leave_one_node(front: Front, version: str, identity: str) -> None:
    """The connection ends at each answer in turn, and inside them; all that had the identity before live on."""
    scene = Scene(front, front.server(version=version))
    for number in range(12):
        zk, proxy, registrar = scene.process(identity)
        until(lambda zk=zk: zk.connected)
        proxy.cut_after(number * 23, "down", "rst" if number % 2 else "fin")
        node = registrar.register()  # in the place of the one before
        assert scene.nodes() == [(node, zk.client_id[0])]


BAD = [
    (ValueError, ""), (ValueError, "/"), (ValueError, "a/b"), (ValueError, "."), (ValueError, ".."), (ValueError, "a\0"),
    (TypeError, b"host-1"), (TypeError, 7), (TypeError, uuid.UUID(GUID)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "identity"), BAD)
def test_what_can_be_no_identity_is_refused_before_anything_is_sent(front: Front, kind: Any, identity: Any) -> None:
    requests = Requests()
    proxy = front.proxy(front.server(), tap=requests)
    client = front.disco(zk=front.client(proxy.hosts))
    with pytest.raises(kind):
        front.registrar(client, Service("/org", "api", b"1"), identity=identity)
    assert requests.total == 0


#: What `EndWatch` asks behind the loss of a session, which is none of a registration's.
END = [[EXISTS]]
PARENTS = [[EXISTS] * 3, [CREATE] * 2, [CREATE]]
LOOK, VERIFIED, NAMED = [[SYNC, CHILDREN]], [[SYNC, CHILDREN], [EXISTS]], [[SYNC, EXISTS, GET]]
MADE = [[CREATE], [GET]]


@pytest.mark.parametrize(
    ("identity", "cold", "again", "expired"),
    [(None, [[CREATE], *PARENTS, [GET]], MADE, [*END, [SYNC, EXISTS], *MADE]),
     (GUID, [*LOOK, [CREATE], *PARENTS, [GET], *VERIFIED], [*LOOK, *MADE, *VERIFIED], [*END, *LOOK, *MADE, *VERIFIED]),
     ("host-1", [*NAMED, [CREATE], *PARENTS, [GET]], [*NAMED, *MADE], [*END, *NAMED, *MADE])],
    ids=["random", "guid", "name"],
)  # fmt: skip
def test_what_a_registration_costs(front: Front, identity: Any, cold: Any, again: Any, expired: Any) -> None:
    """Each list is a round trip. A random identity costs what it did before there were others."""
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk = front.client(proxy.hosts, timeout=3.0)
    registrar = front.registrar(front.disco(zk=zk), Service("/org", "api", b"1"), identity=identity)
    registrar.register()
    until(lambda: not real(registrar)._core.settling)  # its watch is set, too
    assert requests.opcodes(1) == sum(cold, [])
    registrar.deregister()
    before = len(requests.opcodes(1))
    registrar.register()
    until(lambda: not real(registrar)._core.settling)
    assert requests.opcodes(1)[before:] == sum(again, [])
    session = zk.client_id
    server.expire(session[0])
    until(lambda: zk.client_id not in (None, session) and registrar.error is None and registrar.node)
    until(lambda: not real(registrar)._core.settling)
    assert requests.opcodes(max(requests._bytes)) == sum(expired, [])


def test_the_error_is_public() -> None:
    assert issubclass(zkdisco.IdentityTakenError, NodeExistsError) and "IdentityTakenError" in zkdisco.__all__
