"""The client of discovery: its options, its end, and what it tells of the session."""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Any

import pytest

from tests.kit.fronts import listeners
from tests.kit.catalogue import fault
from tests.io.test_driver import in_child, needs_fork
from tests.kit.discovery.live import Seen, kill_session, until
from zkdisco import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Client, ClientClosedError, Event, Instancer,
    InvalidCredentialsError, NotRegisteredError, Registrar, Service,
)  # fmt: skip
from zkwire import ZooKeeper, errors
from zkwire.embedded import EmbeddedServer
from zkwire.values import ACL, OPEN_ACL_UNSAFE, Id


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


def test_defaults() -> None:
    assert (DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT) == (2.0, 5.0)
    assert list(DEFAULT_ACL) == list(OPEN_ACL_UNSAFE)
    assert issubclass(InvalidCredentialsError, ValueError)


BAD_OPTIONS = [
    (ValueError, dict(connect_timeout=0.5)), (ValueError, dict(session_timeout=0.999)),
    (ValueError, dict(connect_timeout=-1)), (ValueError, dict(session_timeout=float("nan"))),
    (ValueError, dict(session_timeout=float("inf"))), (ValueError, dict(connect_timeout=float("inf"))),
    (ValueError, dict(session_timeout=1e300)), (ValueError, dict(connect_timeout=1e300)),
    (TypeError, dict(connect_timeout="2")), (TypeError, dict(session_timeout=None)),
    (ValueError, dict(acl=[])), (TypeError, dict(acl=None)), (TypeError, dict(acl=["world:anyone"])),
    (TypeError, dict(acl=[(31, ("world", "anyone"))])), (TypeError, dict(acl=5)),
    ((TypeError, ValueError), dict(acl=[ACL(31, Id("world", 5))])),
    ((TypeError, ValueError), dict(acl=[ACL("all", Id("world", "anyone"))])),
    ((TypeError, ValueError), dict(acl=[ACL(31, "world")])),
    (InvalidCredentialsError, dict(credentials=("", "secret"))),
    (InvalidCredentialsError, dict(credentials=("me", ""))),
    (InvalidCredentialsError, dict(credentials=("me",))), (InvalidCredentialsError, dict(credentials=("a", "b", "c"))),
    (InvalidCredentialsError, dict(credentials="me:secret")), (InvalidCredentialsError, dict(credentials=("a:b", "c"))),
    (InvalidCredentialsError, dict(credentials=(b"me", b"secret"))),
    ((TypeError, ValueError), dict(credentials=5)), ((TypeError, ValueError), dict(credentials=("\ud800", "x"))),
    (TypeError, dict(payload=["text"])), (TypeError, dict(payload=b"bytes")), (TypeError, dict(payload=5)),
    (TypeError, dict(event_handler="f")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), BAD_OPTIONS, ids=[str(o)[5:45] for _, o in BAD_OPTIONS])
def test_what_cannot_be_right_is_refused_before_anything_is_dialled(kind: Any, options: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(kind):
            Client(f"127.0.0.1:{listener.getsockname()[1]}", **options)
        listener.settimeout(0.05)
        with pytest.raises(OSError):  # nobody came
            listener.accept()


@pytest.mark.parametrize("servers", ["", [], [""], "a:b", "a:0", "a:70000", "a b", "/chroot", None, 5, [5]])
def test_servers_that_can_be_none(servers: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        Client(servers)


def test_servers_and_a_zookeeper_exclude_each_other() -> None:
    zk = ZooKeeper("127.0.0.1:1")
    for arguments in (dict(), dict(servers="a", zk=zk), dict(zk="a"), dict(zk=zk, wait=-1)):
        with pytest.raises((ValueError, TypeError)):
            Client(**arguments)  # type: ignore[arg-type]
    assert listeners(zk) == ()
    for mine in (dict(credentials=("ann", "secret")), dict(sasl=("ann", "secret")), dict(ssl_context=object())):
        with pytest.raises(ValueError, match="belong to the ZooKeeper"):
            Client(zk=zk, **mine)  # type: ignore[arg-type]
    zk.close()


@pytest.mark.parametrize(
    ("path", "name"),
    [("", "x"), ("a", "x"), ("//", "x"), ("/a//b", "x"), ("/a/../b", "x"), ("/a//", "x"), ("/a\0", "x"), ("/a", ""),
     ("/a", "."), ("/a", ".."), ("/a", "b/c"), ("/a", "b\0"), ("/a", "/b"), ("/a", "\ud800")],
)  # fmt: skip
@fault("G11")
def test_services_that_can_be_none(path: str, name: str) -> None:
    with pytest.raises(ValueError):
        Service(path, name, b"")


def test_services() -> None:
    for path, directory in (("/", "/api"), ("/a", "/a/api"), ("/a/", "/a/api")):
        service = Service(path=path, name="api", data=b"x")
        assert (service.path, service.name, service.data, service.directory) == (path, "api", b"x", directory)
    for wrong in ("text", None, 5, bytearray(b"x")):
        with pytest.raises(TypeError):
            Service("/a", "b", wrong)  # type: ignore[arg-type]


def test_wrong_arguments_of_a_good_client(server38: Any, where: str) -> None:
    with Client(server38.hosts) as client:
        for path in ("", "x", "/a//b", "/a/./b", "//"):
            for function in (client.get_entries, client.create_parent_nodes, lambda p: Instancer(client, p)):
                with pytest.raises(ValueError):
                    function(path)
        for wrong in (None, "service", ("/a", "b")):
            with pytest.raises(TypeError):
                Registrar(client, wrong)  # type: ignore[arg-type]
        with pytest.raises(errors.ZookeeperError):
            client.register(Service(where, "big", b"x" * 2_000_000))  # above the server's limit
        assert client.zk.exists(where + "/big") is None or client.zk.get_children(where + "/big") == []
        assert client.register(Service(where, "small", b"x"))


def test_servers_as_a_list_and_a_service_in_the_root(server38: Any, unique: str) -> None:
    with Client([server38.hosts, "127.0.0.1:1"]) as client:
        node = client.register(Service("/", unique, b"d"))
        assert node.startswith(f"/{unique}/_c_")
        assert Instancer(client, f"/{unique}/").state == Event(("d",))
        client.deregister(Service("/", unique, b"d"))


def test_after_stop_every_call_and_constructor_says_so(server38: Any, where: str) -> None:
    client = Client(server38.hosts)
    registrar, service = Registrar(client, Service(where, "api", b"d")), Service(where, "other", b"d")
    idle = Registrar(client, Service(where, "idle", b"d"))
    node = registrar.register()
    client.register(service)
    instancer = Instancer(client, where + "/api")
    with ZooKeeper(server38.hosts) as zk:
        client.stop()
        assert zk.exists(node) is None
        client.stop()
        for call in (
            registrar.register, registrar.deregister, idle.register, lambda: client.register(service),
            lambda: client.deregister(service), lambda: client.get_entries(where),
            lambda: client.create_parent_nodes(where), lambda: Instancer(client, where),
            lambda: Registrar(client, service), lambda: instancer.register(print),
        ):  # fmt: skip
            with pytest.raises(ClientClosedError):
                call()
        instancer.stop()
        assert instancer.state.instances == ("d",) and isinstance(instancer.state.error, ClientClosedError)
        assert zk.get_children(where + "/api") == []
    with pytest.raises(ClientClosedError), client:
        raise AssertionError("a stopped client cannot be entered") from client.check()


def test_the_event_handler_hears_of_the_session(server38: Any) -> None:
    heard, release = Seen(), threading.Event()
    with Client(server38.hosts, event_handler=heard) as client:
        heard.wait(lambda events: [e.state for e in events] == ["CONNECTED"])
        kill_session(client.zk, server38.hosts)
        # The client may take its session back once before that is killed.
        heard.wait(lambda events: [e.state for e in events][-3:] == ["CONNECTING", "EXPIRED_SESSION", "CONNECTED"])
        before = [event.state for event in heard.events][:-2]
        assert before == ["CONNECTED", "CONNECTING"] * (len(before) // 2)
        assert all(event.type == "NONE" and event.path is None for event in heard.events)
    heard.wait(lambda events: events[-1].state == "CLOSED", 2)

    def block(event: Any) -> None:
        release.wait(20)
        raise RuntimeError("my fault")

    with Client(server38.hosts, event_handler=block) as client:
        kill_session(client.zk, server38.hosts)
        until(lambda: there_is_a_session(client.zk))
        release.set()


def there_is_a_session(zk: ZooKeeper) -> bool:
    """Whether a read succeeds, which it need not in the gap between two connections."""
    try:
        return zk.exists("/") is not None
    except (errors.ConnectionLoss, errors.SessionExpiredError):
        return False


def test_leaving_the_block_ends_the_session(server38: Any, where: str) -> None:
    with ZooKeeper(server38.hosts) as zk:
        with Client(server38.hosts) as client, Registrar(client, Service(where, "api", b"d")) as registrar:
            assert zk.exists(registrar.node)
        assert zk.get_children(where + "/api") == []
        with pytest.raises(KeyError), Client(server38.hosts) as client:
            client.register(Service(where, "api", b"d"))
            raise KeyError
        assert zk.get_children(where + "/api") == []


def test_nothing_is_left_after_stop(server38: Any, where: str) -> None:
    def threads() -> int:
        return threading.active_count()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before = threads(), descriptors()
    for _ in range(5):
        with Client(server38.hosts, event_handler=Seen()) as client:
            seen = Seen()
            instancer = Instancer(client, where + "/api")
            instancer.register(seen)
            instancer.register(print)
            with Registrar(client, Service(where, "api", b"d")):
                seen.wait_set("d")
    with pytest.raises(errors.OperationTimeoutError):
        Client("127.0.0.1:1", session_timeout=1, connect_timeout=1)
    until(lambda: (threads(), descriptors()) <= before, 5, f"{before}")


def test_nothing_is_kept_of_registrations_that_have_ended(server38: Any, where: str) -> None:
    with Client(server38.hosts) as client:
        before = listeners(client.zk)
        for i in range(30):
            client.register(Service(where, "api", str(i).encode()))
            client.deregister(Service(where, "api", str(i).encode()))
            with Registrar(client, Service(where, "api", b"r")):
                pass
            with pytest.raises(NotRegisteredError):
                Registrar(client, Service(where, "api", b"never")).deregister()
        until(lambda: (listeners(client.zk), client._children, client._registry._by_service) == (before, [], {}), 5)
        registrar = Registrar(client, Service(where, "api", b"again"))
        for _ in range(3):
            node = registrar.register()
            kill_session(client.zk, server38.hosts)
            until(lambda old=node: registrar.node not in (None, old), 5)
            registrar.deregister()
            assert client.zk.get_children(where + "/api") == []


def test_calls_from_many_threads(server38: Any, where: str) -> None:
    """Register and deregister cross; the last word counts, and nothing hangs or is left."""
    with Client(server38.hosts) as client:
        registrar = Registrar(client, Service(where, "api", b"d"))
        failures = Seen()

        def work(number: int) -> None:
            for i in range(20):
                try:
                    registrar.register() if (i + number) % 2 else registrar.deregister()
                except NotRegisteredError:
                    pass
                except Exception as error:
                    failures(error)

        workers = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        assert failures.events == []
        node = registrar.register()
        assert client.zk.get_children(where + "/api") == [node.rpartition("/")[2]]
        registrar.deregister()
        assert client.zk.get_children(where + "/api") == []


def test_a_register_that_times_out_at_the_very_moment_it_succeeds_is_told_of_or_taken_back(
    server38: Any, where: str
) -> None:
    with Client(server38.hosts) as client:
        client.create_parent_nodes(where + "/api")
        for step in range(60):
            registrar = Registrar(client, Service(where, "api", b"d"))
            try:
                node = registrar.register(timeout=step * 0.0001)
            except errors.OperationTimeoutError:
                until(lambda r=registrar: r._core.at_rest, 5)
                assert registrar.node is None and client.zk.get_children(where + "/api") == []
            else:
                assert client.zk.get_children(where + "/api") == [node.rpartition("/")[2]]
                registrar.deregister()


def test_a_time_out_of_zero_is_no_time() -> None:
    with EmbeddedServer() as server, Client(server.hosts) as client:
        client.create_parent_nodes("/a")
        server.delay(0.5)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            client.get_entries("/a", timeout=0)
        assert time.monotonic() - began < 0.4
        server.heal()


@pytest.mark.long
@fault("X30")
def test_zk_says_what_is_wrong_with_it() -> None:
    """Closed, of another copy of zkwire: each is named. One that reconnects, or is not started yet, will do."""
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts, timeout=9.0)
        with Client(zk=zk):
            pass
        zk.start()
        server.stop()
        until(lambda: not zk.connected)
        with Client(zk=zk):
            pass  # between two connections: there will be another
        server.start()
        until(lambda: zk.connected)
        with Client(zk=zk):
            pass
        zk.close()
        with pytest.raises(ValueError, match="CLOSED for good"):
            Client(zk=zk)

    class Foreign:
        __module__, __qualname__ = "vendored.zkwire.client", "ZooKeeper"

    with pytest.raises(TypeError, match="a zkwire.client.ZooKeeper, of the zkwire that.*not a vendored.zkwire.client.ZooKeeper"):
        Client(zk=Foreign())  # type: ignore[arg-type]


@needs_fork
@fault("P01")
def test_in_a_child_all_of_discovery_is_refused() -> None:
    """Every public method and property of a client, a registrar and an instancer of the parent's."""
    with EmbeddedServer() as server, Client(server.hosts) as client:
        registrar = Registrar(client, Service("/s", "api", b"1"))
        registrar.register()
        instancer = Instancer(client, "/s/api")

        def child() -> Any:
            allowed = []
            for thing in (client, registrar, instancer):
                for name in [name for name in dir(type(thing)) if not name.startswith("_")]:
                    try:
                        getattr(thing, name)
                        allowed.append(name)
                    except errors.ForkedError:
                        pass
            return allowed

        assert in_child(child) == "[]"
        assert instancer.state.instances == ("1",)
