"""Discovery's side of rows from the field: signal handlers, threads that cannot be started, odd servers, full windows."""

from __future__ import annotations

import struct
import threading
import time
from typing import Any, Iterator

import pytest

from tests.fronts.test_field_signals import EVERY_LINE, check_errors, told
from tests.fronts.test_field_threads import Limit, limit  # noqa: F401  # a fixture
from tests.kit import children
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from tests.kit.keeper import Keeper
from zkdisco import Event, Service
from zkwire import KazooState, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.ops import GetData

SERVICE = Service("/svc", "api", b"10.0.0.1:80")
ADD_WATCH = 106

# ------------------------------------------------------------------------ signal handlers

HANDLERS = EVERY_LINE + """
from zkdisco import Client, Instancer, Registrar, Service
call, what, step, identity = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] or None
with EmbeddedServer() as server:
    other = ZooKeeper(server.hosts)
    other.start()
    target, late = 1, []
    while True:
        client = Client(server.hosts, session_timeout=6.0)
        registrar = Registrar(client, Service("/svc", "api", b"10.0.0.1:80"), identity=identity)
        registrar.register()
        session = client.zk.client_id[0]
        acts = {"deregister": registrar.deregister, "stop": client.stop, "release": lambda: (registrar.deregister(), client.stop())}
        signal.signal(signal.SIGUSR1, lambda *_: handled(acts[what]))
        def work():
            try:
                if call == "get_entries":
                    client.get_entries("/svc/api")
                elif call == "register":
                    client.register(Service("/svc", "more", b"1"))
                elif call == "get":
                    client.zk.get("/svc")
                else:
                    registrar.node, registrar.error, client.zk.state
            except Exception as error:
                if type(error).__name__ not in ("ClientClosedError", "ConnectionClosedError", "NodeNotFoundError", "NotRegisteredError"):
                    trouble.append(repr(error))
        hit = within(target, work)
        if hit:
            gone = (lambda: not other.get_children("/svc/api")) if what == "deregister" else (lambda: session not in server.sessions)
            if not until(gone, 2.0):
                late.append(target)
        client.stop()
        if not hit:
            break
        target += step
    report(lines=target, late=late)
    other.close()
"""


@pytest.mark.long
@fault("X01")
@pytest.mark.parametrize(("call", "what", "identity"), [
    ("get_entries", "deregister", ""), ("get_entries", "stop", ""), ("get", "deregister", ""), ("get", "release", ""),
    ("register", "stop", ""), ("look", "deregister", ""), ("look", "stop", ""), ("get", "deregister", "host-1"),
])  # fmt: skip
def test_deregister_and_stop_in_a_handler_take_effect_at_every_line_of_a_call(call: str, what: str, identity: str) -> None:
    report = told(children.run(HANDLERS, call, what, "1" if call == "look" else "9", identity))
    assert report["lines"] > (3 if call == "look" else 50), "the call was looked into"
    assert report["late"] == [], "within 2 s"
    assert report["trouble"] == []
    check_errors(report["told"])


STANDS_STILL = EVERY_LINE + """
from zkdisco import Client, Instancer, Service
free, inside = threading.Event(), threading.Event()
def accept(name):
    if name == "other":
        inside.set()
        free.wait()
    return True
service = Service("/svc", "api", b"10.0.0.1:80")
with EmbeddedServer() as server, ZooKeeper(server.hosts) as other, Client(server.hosts) as client:
    node = client.register(service)
    instancer = Instancer(client, "/svc/api", accept=accept)
    other.create("/svc/api/other", b"10.0.0.2:80")
    inside.wait()                                   # the thread of the cores stands still from here
    signal.signal(signal.SIGALRM, lambda *_: handled(lambda: client.deregister(service)))
    server.delay(0.3)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    client.zk.exists("/svc")
    server.heal()
    gone = until(lambda: other.exists(node) is None, 2.0)
    free.set()
    report(gone=gone)
"""


@pytest.mark.long
@fault("X01")
def test_deregister_in_a_handler_sends_the_delete_itself() -> None:
    """Its process may end at once: it does not wait for the thread on which the registry runs."""
    report = told(children.run(STANDS_STILL))
    assert report["gone"], "while the registry could not do anything"
    assert report["longest"] < 1.0 and report["told"] == []


GOODBYE = """
import os, signal, sys, threading
from zkdisco import Client, Registrar, Service
from zkwire import errors
client = Client(sys.argv[1], session_timeout=20.0)
registrar = Registrar(client, Service("/svc", "api", b"10.0.0.1:80"))
registrar.register()
def bye(*_):
    registrar.deregister() if sys.argv[2] == "deregister" else client.stop()
    if sys.argv[3] == "idle":
        os._exit(0)
    leaving.append(True)
leaving = []
signal.signal(signal.SIGTERM, bye)
print("up", flush=True)
try:
    while not leaving:
        client.zk.get("/svc") if sys.argv[3] == "busy" else threading.Event().wait(1)
except errors.ConnectionClosedError:
    pass
sys.stdin.read()
"""


@pytest.mark.long
@fault("X01")
@pytest.mark.parametrize("where", ["busy", "idle"])
@pytest.mark.parametrize("what", ["deregister", "stop"])
def test_a_service_that_says_goodbye_in_its_sigterm_handler(what: str, where: str) -> None:
    """The node is gone within 2 s, though its session had another 20 s.

    An idle process may end in the handler. One that was interrupted in a call of the client must let that go on: the
    interrupted thread may hold what the delete needs.
    """
    import signal
    import subprocess

    with EmbeddedServer() as server, ZooKeeper(server.hosts) as other:
        other.start()
        for _ in range(4 if where == "busy" else 1):
            command = children.command(GOODBYE, server.hosts, what, where)
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(command, cwd=children.ROOT, text=True, **pipes) as child:  # type: ignore[call-overload]
                try:
                    assert child.stdout is not None and child.stdout.readline() == "up\n"
                    assert other.get_children("/svc/api")
                    began = time.monotonic()
                    child.send_signal(signal.SIGTERM)
                    until(lambda: not other.get_children("/svc/api"), 2.0)
                    child.stdin.close()
                    assert child.wait(10) == 0
                    assert time.monotonic() - began < 2.5
                finally:
                    child.kill()


# ------------------------------------------------------------------------ threads


@pytest.mark.long
@fault("X05")
def test_a_registration_outlives_a_while_without_threads(front: Front, limit: Limit) -> None:  # noqa: F811
    """Servers by name, a break, and nothing can be started for half a second: registered, told, observed afterwards."""
    server = front.server()
    client = front.disco(f"localhost:{server.port}", session_timeout=4.0)
    registrar = front.registrar(client, SERVICE)
    registrar.register()
    instancer = front.instancer(client, "/svc/api")
    seen = Log()
    limit.on = True
    threading.Timer(0.5, lambda: setattr(limit, "on", False)).start()
    server.cut()
    until(lambda: not limit.on)
    until(lambda: client.zk.connected, 8.0)
    until(lambda: registrar.error is None)
    until(lambda: instancer.state == Event(("10.0.0.1:80",)))
    instancer.register(seen)
    seen.wait()
    with ZooKeeper(server.hosts) as other:
        other.start()
        assert len(other.get_children("/svc/api")) == 1
        other.create("/svc/api/other", b"10.0.0.2:80")
        seen.until(lambda events: len(events[-1].instances) == 2)
    front.complaints[:] = [text for text in front.complaints if "thread" not in text]


@fault("X05")
def test_an_observer_whose_thread_cannot_be_started_hears_later(front: Front, limit: Limit) -> None:  # noqa: F811
    server = front.server()
    client = front.disco(server.hosts, session_timeout=4.0)
    instancer = front.instancer(client, "/svc/api")
    seen = Log()
    limit.then = lambda: setattr(limit, "on", limit.refused < 2)
    limit.on = True
    instancer.register(seen)
    limit.on = False
    front.registrar(client, SERVICE).register()
    seen.until(lambda events: events[-1].instances == ("10.0.0.1:80",))
    front.complaints[:] = [text for text in front.complaints if "thread" not in text]


# ------------------------------------------------------------------------ windows


@fault("X10")
def test_registrars_and_instancers_of_a_client_with_a_small_window(front: Front) -> None:
    """Forty of each on a client that takes four requests at a time: none is refused."""
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0, max_pending=4)
    client = front.disco(zk=zk)
    registrars = [front.registrar(client, Service("/svc", "api", b"10.0.0.%d:80" % number)) for number in range(40)]
    raised: list[BaseException] = []

    def register(registrar: Any) -> None:
        try:
            registrar.register(timeout=10.0)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=register, args=(registrar,)) for registrar in registrars]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert raised == []
    instancer = front.instancer(client, "/svc/api", timeout=10.0)
    until(lambda: len(instancer.state.instances) == 40 and instancer.state.error is None)
    entries, _ = client.get_entries("/svc/api")
    assert len(entries) == 40
    for registrar in registrars:
        registrar.deregister()
    until(lambda: instancer.state.instances == ())


@pytest.mark.long
@fault("X10")
def test_a_registrar_beside_others_who_fill_the_client(front: Front) -> None:
    """The application's own calls take all places, and are answered late: the registration waits for its turn."""
    server = front.server()
    zk = front.client(server.hosts, timeout=8.0, max_pending=6)
    zk.create("/a")
    client = front.disco(zk=zk)
    registrar = front.registrar(client, SERVICE)
    server.delay(0.4)
    futures = front.submit(zk, [GetData("/a")] * 6)
    registrar.register(timeout=8.0)
    server.heal()
    for future in futures:
        assert future.result(5)[0] == b""
    assert registrar.node is not None and registrar.error is None


# ------------------------------------------------------------------------ odd servers


@pytest.fixture
def keeper(front: Front) -> Iterator[Keeper]:
    """An embedded server behind a proxy that can be made to behave otherwise, and /svc/api on it."""
    server = front.server()
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        plain.ensure_path("/svc/api")
        plain.create("/svc/api/a", b"10.0.0.9:80")
    with Keeper(server.port) as one:
        yield one


def plain(keeper: Keeper) -> ZooKeeper:
    """A client that goes past the proxy."""
    return ZooKeeper(f"127.0.0.1:{keeper.target[1]}", timeout=6.0)


@pytest.mark.long
@fault("X19")
@pytest.mark.parametrize("resumed", [True, False])
def test_discovery_falls_back_on_a_server_that_hangs_up_on_add_watch(front: Front, keeper: Keeper, resumed: bool) -> None:
    """With sessions that are resumed, and with those that are not (as that server has them): the set is right, changes are
    seen, and after the first minute's trouble nothing is interrupted any more."""
    keeper.unknown = {ADD_WATCH}
    if not resumed:
        keeper.greeting = lambda body: body[:16] + bytes(8) + body[24:]
    client = front.disco(keeper.hosts, session_timeout=6.0)
    instancer = front.instancer(client, "/svc/api", timeout=15.0)
    assert instancer.state.instances == ("10.0.0.9:80",)
    states = Log()
    client.zk.add_listener(states)
    asked = keeper.seen.count(ADD_WATCH)
    assert asked <= 5
    with plain(keeper) as other:
        other.start()
        other.create("/svc/api/b", b"10.0.0.8:80")
        until(lambda: instancer.state == Event(("10.0.0.8:80", "10.0.0.9:80")))
        other.set("/svc/api/b", b"10.0.0.7:80")
        until(lambda: instancer.state == Event(("10.0.0.7:80", "10.0.0.9:80")))
        other.delete("/svc/api/a")
        until(lambda: instancer.state == Event(("10.0.0.7:80",)))
    assert states.seen == [] and keeper.seen.count(ADD_WATCH) == asked


@pytest.mark.long
@fault("X19")
def test_a_registrar_hardly_notices_an_instancer_on_such_a_server(front: Front, keeper: Keeper) -> None:
    """With sessions that are not resumed each hang-up costs the node: a few, not endless ones."""
    keeper.unknown = {ADD_WATCH}
    client = front.disco(keeper.hosts, session_timeout=6.0)
    registrar = front.registrar(client, SERVICE)
    registrar.register()
    states = Log()
    client.zk.add_listener(states)
    instancer = front.instancer(client, "/svc/api", timeout=15.0)
    until(lambda: instancer.state == Event(("10.0.0.1:80", "10.0.0.9:80")))
    until(lambda: registrar.error is None)
    assert states.seen.count(KazooState.CONNECTED) <= 8
    connections = keeper.connections
    client.create_parent_nodes("/more")
    second = front.instancer(client, "/more", timeout=15.0)
    assert second.state.instances == ()
    assert keeper.connections == connections, "the second one knows already"


@pytest.mark.long
@fault("X19")
def test_discovery_with_answers_to_add_watch_that_have_no_body(front: Front, keeper: Keeper) -> None:
    keeper.down = lambda body: body[:16] if len(body) == 20 else body
    client = front.disco(keeper.hosts, session_timeout=6.0)
    instancer = front.instancer(client, "/svc/api", timeout=8.0)
    assert instancer.state == Event(("10.0.0.9:80",))
    with plain(keeper) as other:
        other.start()
        other.create("/svc/api/b", b"10.0.0.8:80")
        until(lambda: instancer.state == Event(("10.0.0.8:80", "10.0.0.9:80")))
    assert keeper.connections == 1


@pytest.mark.long
@fault("X20")
def test_events_of_a_recursive_watch_that_carry_the_watched_path(front: Front, keeper: Keeper) -> None:
    """Whatever changed below, such a server says that the directory did: all is read afresh, and the set is right."""
    watched = b"/svc/api"

    def rewrite(body: bytes) -> bytes:
        if body[:4] != b"\xff\xff\xff\xff":
            return body
        (size,) = struct.unpack_from(">i", body, 24)
        path = body[28 : 28 + size]
        return body[:24] + struct.pack(">i", len(watched)) + watched if path.startswith(watched + b"/") else body

    keeper.down = rewrite
    client = front.disco(keeper.hosts, session_timeout=6.0)
    instancer = front.instancer(client, "/svc/api", timeout=8.0)
    assert instancer.state == Event(("10.0.0.9:80",))
    with plain(keeper) as other:
        other.start()
        other.create("/svc/api/b", b"10.0.0.8:80")
        until(lambda: instancer.state == Event(("10.0.0.8:80", "10.0.0.9:80")))
        other.set("/svc/api/b", b"10.0.0.7:80")
        until(lambda: instancer.state == Event(("10.0.0.7:80", "10.0.0.9:80")))
        other.delete("/svc/api/a")
        until(lambda: instancer.state == Event(("10.0.0.7:80",)))
        other.delete("/svc/api/b")
        until(lambda: instancer.state == Event(()))


@pytest.mark.long
@fault("X21")
def test_discovery_asks_again_after_an_upgrade(front: Front, keeper: Keeper) -> None:
    """It works before and after; the session survives the restart of the server."""
    keeper.unknown = {ADD_WATCH}
    client = front.disco(keeper.hosts, session_timeout=8.0)
    instancer = front.instancer(client, "/svc/api", timeout=15.0)
    client.create_parent_nodes("/svc")  # over the connection that has come behind the last hang-up
    session, asked = client.zk.client_id, keeper.seen.count(ADD_WATCH)
    keeper.unknown = set()
    keeper.cut()
    until(lambda: keeper.seen.count(ADD_WATCH) > asked, 8.0)
    assert client.zk.client_id == session
    with plain(keeper) as other:
        other.start()
        other.create("/svc/api/b", b"10.0.0.8:80")
        until(lambda: instancer.state == Event(("10.0.0.8:80", "10.0.0.9:80")))


@fault("X23")
@pytest.mark.parametrize("chroot", ["/apps", "/apps/mine/deep"])
def test_a_registrar_below_a_chroot_that_is_not_there(front: Front, chroot: str) -> None:
    server = front.server()
    client = front.disco(server.hosts + chroot, session_timeout=4.0)
    node = front.registrar(client, SERVICE).register()
    assert node.startswith("/svc/api/")
    with ZooKeeper(server.hosts) as other:
        other.start()
        assert other.exists(chroot + node) is not None
    client.create_parent_nodes("/a/b")


# ------------------------------------------------------------------------ a client that was there before


@pytest.mark.long
@fault("X30")
def test_discovery_on_a_client_that_is_reconnecting(front: Front) -> None:
    """It has a session, and is just without a connection: it is taken, and works once there is one."""
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    states = Log()
    zk.add_listener(states)
    server.stop()
    states.until(lambda seen: KazooState.SUSPENDED in seen)
    threading.Timer(0.3, server.start).start()
    client = front.disco(zk=zk)
    assert front.registrar(client, SERVICE).register(timeout=10.0).startswith("/svc/api/")
