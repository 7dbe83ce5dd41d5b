"""The truth under any weather, second part: final causes, doubt, forks, observers, ends, and a boot without ZooKeeper."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from typing import Any, Callable, List, Optional

import pytest

from tests.kit import children
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, real, until
from zkdisco import Client, ClientClosedError, Event, Instancer, NotRegisteredError, Registrar, Service
from zkwire import ZooKeeper, make_digest_acl
from zkwire.embedded import EmbeddedServer
from zkwire.errors import AuthFailedError, ConnectionClosedError, ConnectionLoss, NoAuthError, OperationTimeoutError
from zkwire.ops import Create

SERVICE = Service("/svc", "api", b"10.0.0.1:80")
DIRECTORY = "/svc/api"


@pytest.fixture
def operator(front: Front) -> Any:
    """`operator(server)`: a client of somebody else, who looks and changes things."""
    made: List[ZooKeeper] = []

    def make(server: Any) -> ZooKeeper:
        made.append(ZooKeeper(server.hosts, timeout=9.0))
        made[-1].start()
        made[-1].ensure_path(DIRECTORY)
        return made[-1]

    yield make
    for zk in made:
        zk.close()


def took(function: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Seconds."""
    began = time.monotonic()
    function(*arguments, **options)
    return time.monotonic() - began


# ------------------------------------------------------------------------- final causes


@pytest.mark.long
@fault("Y04")
@pytest.mark.parametrize("expired", [False, True])
def test_a_credential_refused_after_a_reconnect_is_what_everybody_hears(front: Front, expired: bool) -> None:
    """With the session still alive, and after it has expired, which is when listeners hear of nothing more."""
    server = front.server(sasl={"ann": "old"}, sasl_required=True)
    client = front.disco(server.hosts, sasl=("ann", "old"), session_timeout=1.0, connect_timeout=1.0)
    registrar, idle = front.registrar(client, SERVICE), front.registrar(client, Service("/svc", "idle"))
    registrar.register()
    instancer, heard, states = front.instancer(client, DIRECTORY), Log(), Log()
    instancer.register(heard)
    client_zk = real(client).zk
    client_zk.add_listener(states)
    server.stop()
    if expired:
        states.until(lambda seen: "LOST" in seen)
    front.server(port=server.port, sasl={"ann": "new"}, sasl_required=True)
    heard.until(lambda seen: isinstance(seen[-1].error, AuthFailedError), 15.0)
    assert heard.seen[-1].instances == ("10.0.0.1:80",) and instancer.stale_since is not None
    until(lambda: isinstance(registrar.error, AuthFailedError) and isinstance(idle.error, AuthFailedError))
    assert registrar.node is None, "it went with the session"
    for call in (registrar.register, idle.register, lambda: client.register(SERVICE)):
        began = time.monotonic()
        with pytest.raises(AuthFailedError, match="SASL"):
            call()
        assert time.monotonic() - began < 1.5, "at once"
    late = front.instancer(client, DIRECTORY, wait=0) if not front.is_asyncio else None
    if late is not None:
        until(lambda: isinstance(late.state.error, AuthFailedError))


@fault("Y04")
def test_a_zookeeper_that_its_owner_closes_is_the_end_of_discovery_on_it(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=4.0)
    client = front.disco(zk=zk)
    registrar, instancer, heard = front.registrar(client, SERVICE), front.instancer(client, DIRECTORY), Log()
    registrar.register()
    instancer.register(heard)
    zk.close()
    heard.until(lambda seen: isinstance(seen[-1].error, ConnectionClosedError))
    until(lambda: isinstance(registrar.error, ConnectionClosedError) and registrar.node is None)
    with pytest.raises(ConnectionClosedError):
        registrar.register()


@fault("Y04")
def test_whoever_calls_behind_the_end_hears_the_cause_though_there_is_little_time() -> None:
    """Not that the time is over, while the thread of the cores is busy: the front has heard of the end."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=4.0) as zk:
        client = Client(zk=zk)
        registrar, instancer = Registrar(client, SERVICE), Instancer(client, DIRECTORY)
        registrar.register()
        zk.close()
        until(lambda: isinstance(registrar.error, ConnectionClosedError) and client.end is not None)
        release = threading.Event()
        client.executor.call(release.wait, 10.0)
        try:
            calls: List[Any] = [
                lambda: registrar.register(timeout=0.01), lambda: registrar.deregister(timeout=0.01),
                lambda: registrar.update(b"x", timeout=0.01), lambda: client.register(SERVICE, timeout=0.01),
                lambda: Instancer(client, DIRECTORY, timeout=0.01), lambda: instancer.wait(1, timeout=0.01),
            ]  # fmt: skip
            for call in calls:
                with pytest.raises(ConnectionClosedError, match="^the client is closed"):
                    call()
        finally:
            release.set()
            client.stop()


@fault("Y04")
def test_an_iteration_ends_behind_the_final_cause() -> None:
    from tests.kit.aio import run
    from zkdisco.aio import Client, Instancer
    from zkwire import AsyncZooKeeper

    async def main(server: EmbeddedServer) -> List[Event]:
        async with AsyncZooKeeper(server.hosts, timeout=4.0) as zk, Client(zk=zk) as client:
            seen = []
            async for event in await Instancer(client, DIRECTORY):
                seen.append(event)
                if len(seen) == 1:
                    await zk.close()
            return seen

    with EmbeddedServer() as server:
        seen = run(main(server))
    assert seen[0] == Event(()) and isinstance(seen[-1].error, ConnectionClosedError)


# -------------------------------------------------------------------------------- doubt


@pytest.mark.long
@fault("Y05")
@pytest.mark.parametrize("how", ["stop", "deregister and stop"])
def test_nothing_of_ours_is_left_when_a_client_stops_in_doubt(front: Front, operator: Any, how: str) -> None:
    """The create is applied, its answer is lost, and the connection is away for longer than the stop waits."""
    server = front.server()
    other = operator(server)
    zk = front.client(server.hosts, timeout=30.0)
    client = front.disco(zk=zk, session_timeout=1.0, connect_timeout=1.0)
    registrar = front.registrar(client, SERVICE)
    session = zk.client_id[0]
    server.drop_after(1, session)
    server.refuse_sessions()
    with pytest.raises(OperationTimeoutError):
        registrar.register()
    assert len(other.get_children(DIRECTORY)) == 1, "that is the doubt"
    if how != "stop":
        with pytest.raises((OperationTimeoutError, NotRegisteredError)):
            registrar.deregister(timeout=0.3)
    assert took(client.stop) < 4.0, "it waits for 2 s"
    server.refuse_sessions(False)
    until(lambda: zk.connected and other.get_children(DIRECTORY) == [], 20.0)
    assert zk.client_id[0] == session, "the session went on"


@fault("Y06")
def test_register_beside_deregister_leaves_what_the_last_caller_wanted(front: Front, operator: Any) -> None:
    server = front.server()
    other = operator(server)
    client = front.disco(server.hosts, session_timeout=4.0)
    trouble: List[BaseException] = []

    def again_and_again(function: Callable[..., Any]) -> None:
        for _ in range(100):
            try:
                function(SERVICE)
            except NotRegisteredError:
                pass
            except BaseException as error:
                trouble.append(error)

    threads = [threading.Thread(target=again_and_again, args=(one,)) for one in (client.register, client.deregister)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert trouble == []
    node = client.register(SERVICE)
    assert other.get_children(DIRECTORY) == [node.rpartition("/")[2]]
    client.deregister(SERVICE)
    assert other.get_children(DIRECTORY) == []
    with pytest.raises(NotRegisteredError):
        client.deregister(SERVICE)
    assert real(client)._registry._by_service == {}, "nothing is kept"


# ------------------------------------------------------------------------------ forks

NAMES = """
import asyncio, os, sys
from zkdisco import Service
from zkwire import errors
from zkwire.embedded import EmbeddedServer

def refused(things):
    left = []
    for thing in things:
        for name in dir(type(thing)):
            if name.startswith("_"):
                continue
            try:
                value = getattr(thing, name)
            except errors.ForkedError:
                continue
            left.append(f"{type(thing).__name__}.{name}")
    return left

def in_child(things):
    pid = os.fork()
    if not pid:
        left = refused(things)
        print(left, flush=True)
        os._exit(1 if left else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def threads(server):
    from zkdisco import Client, Instancer, Registrar
    client = Client(server.hosts)
    registrar = Registrar(client, Service("/s", "a", b"1"))
    registrar.register()
    code = in_child([client, registrar, Instancer(client, "/s/a"), client.zk])
    assert registrar.node and registrar.error is None
    client.stop()
    return code

async def awaited(server):
    from zkdisco.aio import Client, Instancer, Registrar
    async with Client(server.hosts) as client:
        registrar = Registrar(client, Service("/s", "a", b"1"))
        await registrar.register()
        code = in_child([client, registrar, await Instancer(client, "/s/a"), client.zk])
        assert registrar.node and registrar.error is None
        return code

with EmbeddedServer() as server:
    code = threads(server) if sys.argv[1] == "threads" else asyncio.run(awaited(server))
    if not hasattr(os, "waitstatus_to_exitcode"):
        pass
    sys.exit(code)
"""


@fault("Y07")
@pytest.mark.parametrize("name", ["threads", "asyncio"])
def test_every_public_name_is_refused_in_the_child_of_a_fork(name: str) -> None:
    assert "[]" in children.run("import os, warnings\nwarnings.simplefilter('ignore')\n" + NAMES, name)


# -------------------------------------------------------------------------- registrations


@pytest.mark.long
@fault("Y08")
def test_there_is_one_watch_on_our_node_however_often_it_was_lost(front: Front, operator: Any) -> None:
    server = front.server()
    other = operator(server)
    client = front.disco(server.hosts, session_timeout=4.0)
    registrar = front.registrar(client, SERVICE)
    registrar.register()
    for number in range(8):
        node = registrar.node
        if number % 4 == 3:
            server.expire(real(client).zk.client_id[0])
        else:
            other.delete(node)
        until(lambda old=node: registrar.node not in (old, None) and registrar.error is None)

    def watches() -> Any:
        return real(client).zk._session._requests.watches

    until(lambda: [watches().paths(kind) for kind in ("data", "exist", "child")] == [(registrar.node,), (), ()])
    until(lambda: "Total watches:1" in other.command(b"wchs"))


@fault("Y08")
def test_there_is_one_watch_on_our_node_at_a_real_server(server393: Any, front: Front, unique: str) -> None:
    def watches() -> int:
        return int(server393.four("wchs").rpartition("Total watches:")[2])

    with ZooKeeper(server393.hosts) as other:
        client = front.disco(server393.hosts, session_timeout=6.0)
        before, registrar = watches(), front.registrar(client, Service(f"/disco-{unique}", "api", b"1"))
        node = registrar.register()
        for _ in range(5):
            other.delete(node)
            node = until(lambda old=node: registrar.error is None and registrar.node != old and registrar.node)
        until(lambda: watches() == before + 1)


@pytest.mark.long
@fault("Y10")
def test_a_registration_goes_before_the_reload_of_many_instancers(front: Front, operator: Any) -> None:
    """And where a client takes few requests at a time, all come on, and nobody hears of that."""
    server = front.server()
    other = operator(server)
    for directory in range(10):
        other.ensure_path(f"/many/{directory}")
        futures = [other.submit(Create(f"/many/{directory}/n{number}", b"%d" % number)) for number in range(100)]
        assert [future.exception(10) for future in futures] == [None] * 100
    zk = front.client(server.hosts, timeout=9.0, max_pending=20)
    client = front.disco(zk=zk)
    instancers = [front.instancer(client, f"/many/{number}") for number in range(10)]
    heard = Log()
    for instancer in instancers:
        instancer.register(heard)
    server.cut(zk.client_id[0])
    registrar = front.registrar(client, SERVICE)
    registrar.register(timeout=9.0)
    until(lambda: all(one.stale_since is None and len(one.state.instances) == 100 for one in instancers))
    assert {type(event.error) for event in heard.seen} <= {type(None), ConnectionLoss}


@pytest.mark.long
@fault("Y12")
def test_what_becomes_of_a_registration_is_logged_once_for_each_change(
    front: Front, operator: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zkdisco.registration.FIRST_PAUSE", 0.05)
    caplog.set_level(logging.INFO, "zkdisco")
    server = front.server()
    other = operator(server)
    other.add_auth("digest", "ops:x")
    client = front.disco(server.hosts, session_timeout=2.0)
    registrars = [front.registrar(client, Service("/svc", "api", b"%d" % number)) for number in range(5)]

    def lines(level: int) -> List[str]:
        return [record.getMessage() for record in caplog.records if record.name == "zkdisco" and record.levelno == level]

    for registrar in registrars:
        registrar.register()
    until(lambda: len([line for line in lines(logging.INFO) if line.startswith("registered as /svc/api/_c_")]) == 5)
    server.stop()
    until(lambda: registrars[0].error is not None)
    server.start()
    until(lambda: all(registrar.error is None for registrar in registrars), 15.0)
    assert len([line for line in lines(logging.WARNING) if "no connection to ZooKeeper" in line]) == 1, "one for all"
    until(lambda: len([line for line in lines(logging.INFO) if "connected to ZooKeeper again" in line]) == 1)
    caplog.clear()
    other.set_acls(DIRECTORY, [make_digest_acl("ops", "x", all=True)])
    server.expire(real(client).zk.client_id[0])
    until(lambda: len([line for line in lines(logging.WARNING) if "NoAuthError" in line]) == 5)
    tries = real(client)._registry._deadlines
    before = dict(tries)
    until(lambda: all(tries.get(one) != deadline for one, deadline in before.items()))
    assert len([line for line in lines(logging.WARNING) if "NoAuthError" in line]) == 5, "not once for each attempt"
    assert all(isinstance(registrar.error, NoAuthError) for registrar in registrars)
    other.set_acls(DIRECTORY, [make_digest_acl("ops", "x", all=True), *other.get_acls("/svc")[0]])
    until(lambda: len([line for line in lines(logging.INFO) if line.startswith("registered as")]) == 5, 15.0)


# ---------------------------------------------------------------------------- observers


@fault("Y09")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ValueError])
def test_an_observer_that_raises_anything_hears_on(front: Front, operator: Any, error: Any) -> None:
    server = front.server()
    other = operator(server)
    client = front.disco(server.hosts, session_timeout=4.0)
    instancer, heard = front.instancer(client, DIRECTORY), Log()

    def raises(event: Event) -> None:
        heard(event)
        raise error("an observer's own")

    instancer.register(raises)
    heard.wait(1)
    other.create(f"{DIRECTORY}/a", b"1")
    heard.until(lambda seen: seen[-1].instances == ("1",))
    until(lambda: len([text for text in front.complaints if "exception in the observer" in text]) >= 2)
    front.complaints[:] = [text for text in front.complaints if "exception in the observer" not in text]
    instancer.stop()


@fault("Y09")
def test_an_observer_whose_awaitable_is_cancelled_hears_on(caplog: pytest.LogCaptureFixture) -> None:
    import asyncio

    from tests.kit.aio import run
    from zkdisco.aio import Client, Instancer

    async def main(server: EmbeddedServer) -> List[Event]:
        seen: List[Event] = []
        inner: List[Any] = []
        news = asyncio.Event()

        async def observer(event: Event) -> None:
            seen.append(event)
            news.set()
            if not inner:
                inner.append(asyncio.ensure_future(asyncio.Event().wait()))
                await inner[0]

        async with Client(server.hosts) as client:
            instancer = await Instancer(client, DIRECTORY)
            instancer.register(observer)
            await news.wait()
            news.clear()
            await client.register(SERVICE)
            while not instancer.state.instances:
                await asyncio.sleep(0.005)
            inner[0].cancel()
            await asyncio.wait_for(news.wait(), 10)
            await instancer.stop()
        return seen

    with EmbeddedServer() as server:
        assert run(main(server)) == [Event(()), Event(("10.0.0.1:80",))]
    assert "exception in the observer" in caplog.text


# --------------------------------------------------------------------------------- ends


@fault("Y11")
def test_what_has_been_stopped_says_so(front: Front, operator: Any) -> None:
    server = front.server()
    operator(server).create(f"{DIRECTORY}/a", b"1")
    client = front.disco(server.hosts, session_timeout=4.0)
    registrar, instancer, stopped = front.registrar(client, SERVICE), *[front.instancer(client, DIRECTORY) for _ in "ab"]
    registrar.register()
    until(lambda: len(stopped.state.instances) == 2)
    stopped.stop()
    assert isinstance(stopped.state.error, ClientClosedError) and len(stopped.state.instances) == 2
    assert stopped.stale_since is not None and instancer.stale_since is None
    for number in range(20):
        with pytest.raises(Exception, match="ephemeral|ACL|denied|NoChildren|children"):
            client.register(Service(registrar.node, "x", b"%d" % number))
    assert list(real(client)._registry._by_service) == [], "what failed is not kept"
    client.stop()
    assert registrar.node is None and isinstance(registrar.error, ClientClosedError)
    assert isinstance(instancer.state.error, ClientClosedError) and instancer.stale_since is not None
    client.stop()


@pytest.mark.long
@fault("Y11")
def test_a_second_stop_waits_for_the_first(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    client = front.disco(zk=zk)
    front.registrar(client, SERVICE).register()
    server.delay(0.5)
    ended: List[str] = []
    first = threading.Thread(target=lambda: (client.stop(), ended.append("first")))
    first.start()
    until(lambda: real(client).closed)
    client.stop()
    ended.append("second")
    first.join(10)
    server.heal()
    with ZooKeeper(server.hosts) as other:
        other.start()
        assert other.get_children(DIRECTORY) == [], "it is done when the second one returns"
    assert sorted(ended) == ["first", "second"]


@fault("Y11")
def test_of_two_tasks_that_start_an_instancer_one_may_be_cancelled() -> None:
    import asyncio

    from tests.kit.aio import run
    from zkdisco.aio import Client, Instancer

    async def main(server: EmbeddedServer) -> Event:
        async with Client(server.hosts) as client:
            server.delay(0.3)
            instancer = Instancer(client, DIRECTORY)
            one, two = asyncio.ensure_future(instancer.start()), asyncio.ensure_future(instancer.start())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            one.cancel()
            results = await asyncio.gather(one, two, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError) and results[1] is None
            server.heal()
            state = instancer.state
            await instancer.stop()
            return state

    with EmbeddedServer() as server:
        assert run(main(server)) == Event(())


class Mine(Exception):
    """Of the application."""


@pytest.mark.long
@fault("Y14")
def test_an_exception_of_the_block_arrives_in_time_while_zookeeper_is_away(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts, session_timeout=8.0)
    registrar = front.registrar(client, SERVICE)

    def leave() -> None:
        server.stop()
        until(lambda: not real(client).zk.connected)
        raise Mine("the application's own")

    def block() -> None:
        with registrar:
            leave()

    async def awaited() -> None:
        async with real(registrar):
            server.stop()
            while real(client).zk.connected:
                await __import__("asyncio").sleep(0.01)
            raise Mine("the application's own")

    began: Optional[float] = time.monotonic()
    with pytest.raises(Mine):
        if front.loop is not None:
            front.loop.call(awaited)
        else:
            block()
    assert began is not None and time.monotonic() - began < 4.0, "2 s, and what it takes to notice"
    server.start()


# --------------------------------------------------------------------------------- boot


@fault("Y15")
@pytest.mark.parametrize("how", ["servers", "zk"])
def test_a_boot_without_zookeeper_takes_effect_once_it_is_there(front: Front, how: str) -> None:
    server = front.server()
    port = server.port
    server.stop()
    hosts = f"127.0.0.1:{port}"
    if how == "servers":
        began = time.monotonic()
        client = front.disco(hosts, session_timeout=4.0, wait=0)
    else:
        zk = front.new(hosts, timeout=4.0)
        began = time.monotonic()
        client = front.disco(zk=zk, wait=0)
    registrar = front.registrar(client, SERVICE)
    registrar.start()
    instancer, heard = front.instancer(client, DIRECTORY, wait=0), Log()
    assert time.monotonic() - began < 2.0, "nobody waits"
    instancer.register(heard)
    heard.wait(1)
    assert heard.seen[0].instances == () and isinstance(heard.seen[0].error, ConnectionLoss), "nothing is known yet"
    assert instancer.stale_since is not None and registrar.node is None
    until(lambda: isinstance(registrar.error, ConnectionLoss))
    server.start()
    if how == "zk":
        zk.start()
    heard.until(lambda seen: seen[-1] == Event(("10.0.0.1:80",)), 15.0)
    until(lambda: registrar.node is not None and registrar.error is None)
    assert instancer.stale_since is None
    registrar.deregister()
    heard.until(lambda seen: seen[-1] == Event(()))


@pytest.mark.long
@fault("Y15")
def test_what_is_wanted_without_waiting_comes_whatever_it_takes(front: Front, operator: Any) -> None:
    """Refused at first: `start` tells nobody, `error` does, and it is tried again; `register` would have given up."""
    server = front.server()
    other = operator(server)
    other.add_auth("digest", "ops:x")
    other.set_acls(DIRECTORY, [make_digest_acl("ops", "x", all=True)])
    client = front.disco(server.hosts, session_timeout=4.0)
    registrar = front.registrar(client, SERVICE)
    registrar.start()
    registrar.start()
    until(lambda: isinstance(registrar.error, NoAuthError))
    other.set_acls(DIRECTORY, [make_digest_acl("ops", "x", all=True), *other.get_acls("/svc")[0]])
    until(lambda: registrar.node is not None and registrar.error is None)
    registrar.deregister()
    assert other.get_children(DIRECTORY) == []


@pytest.mark.long
@fault("Y15")
def test_a_wait_is_bounded_and_says_nothing_at_its_end(front: Front) -> None:
    client = front.disco("127.0.0.1:1", session_timeout=4.0, wait=0.3)
    began = time.monotonic()
    front.instancer(client, DIRECTORY, wait=0.3)
    assert time.monotonic() - began < 2.5
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="invalid wait"):
            front.disco("127.0.0.1:1", wait=wrong)


# ------------------------------------------------------------------------- data in place


@pytest.mark.long
def test_data_are_replaced_in_place_and_the_newest_come_back_after_an_expiry(front: Front, operator: Any) -> None:
    server = front.server()
    other = operator(server)
    client = front.disco(server.hosts, session_timeout=4.0)
    registrar = front.registrar(client, SERVICE)
    with pytest.raises(NotRegisteredError):
        registrar.update(b"too early")
    node = registrar.register()
    instancer, heard = front.instancer(client, DIRECTORY), Log()
    instancer.register(heard)
    registrar.update(b"10.0.0.1:80 weight=2")
    assert other.get(node)[0] == b"10.0.0.1:80 weight=2" and registrar.node == node
    heard.until(lambda seen: seen[-1] == Event(("10.0.0.1:80 weight=2",)))
    assert all(len(event.instances) == 1 for event in heard.seen), "no gap, no second entry"
    server.expire(real(client).zk.client_id[0])
    until(lambda: registrar.node not in (node, None) and registrar.error is None)
    assert other.get(registrar.node)[0] == b"10.0.0.1:80 weight=2"
    other.set(registrar.node, b"somebody else's")
    heard.until(lambda seen: seen[-1] == Event(("somebody else's",)))
    assert registrar.error is None and other.get(registrar.node)[0] == b"somebody else's", "that is left alone"
    server.stop()
    until(lambda: not real(client).zk.connected)
    with pytest.raises(OperationTimeoutError):
        registrar.update(b"later", timeout=0.2)
    server.start()
    until(lambda: registrar.node is not None and other.get(registrar.node)[0] == b"later", 15.0)
    with pytest.raises(TypeError, match="data must be bytes"):
        registrar.update("text")
    registrar.deregister()
    with pytest.raises(NotRegisteredError):
        registrar.update(b"too late")


# ----------------------------------------------------------------------- the end of a process

GOODBYE = """
import os, sys
from zkdisco import Client, Registrar, Service
client = Client(sys.argv[1], session_timeout=20.0, stop_at_exit=sys.argv[2] != "nothing")
Registrar(client, Service("/svc", "api", b"1")).register()
if sys.argv[3] == "forked":
    if not os.fork():
        sys.exit(0)
    os.wait()
    from zkwire import ZooKeeper
    with ZooKeeper(sys.argv[1]) as other:
        assert other.get_children("/svc/api"), "the child took it back"
if sys.argv[2] == "stopped":
    client.stop()
if sys.argv[3] == "sys.exit":
    sys.exit(0)
"""


@fault("Y21")
@pytest.mark.parametrize(("what", "how"), [
    ("goodbye", "end"), ("goodbye", "sys.exit"), ("goodbye", "forked"), ("stopped", "end"), ("nothing", "end"),
])  # fmt: skip
def test_a_process_that_ends_without_stop(what: str, how: str) -> None:
    """With `stop_at_exit` its node is gone at once; without, it stays until the session is over, as is documented."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as other:
        # Not by `children.run`: the watchdog of faulthandler keeps the child of a fork from ending.
        command = [sys.executable, "-W", "ignore", "-c", GOODBYE, server.hosts, what, how]
        done = subprocess.run(command, cwd=children.ROOT, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        assert len(other.get_children(DIRECTORY)) == int(what == "nothing")
