"""Signal handlers that use the client while their thread is anywhere inside it.

Each scenario is a process of its own, whose handler is called by `signal.raise_signal` at a chosen place, or by a timer
at any place. A scenario that hangs is ended by a watchdog, and fails.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import until
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]

BEGIN = """
    import faulthandler, os, signal, sys, threading, time
    faulthandler.dump_traceback_later(20, exit=True)
    from zkwire import ZooKeeper
    from zkwire.errors import NestedCallError, ZookeeperError
    from zkwire.ops import Exists, GetData, SetData
    said = []

    def attempt(call):
        try:
            return repr(call())
        except ZookeeperError as error:
            return type(error).__name__

    def here(owner, name, before=True):
        "Have the handler called once, when this method is called next on the main thread."
        method, done = getattr(owner, name), []
        def strike(*arguments):
            if before and not done and threading.current_thread() is threading.main_thread():
                done.append(1)
                signal.raise_signal(signal.SIGUSR1)
            result = method(*arguments)
            if not before and not done and threading.current_thread() is threading.main_thread():
                done.append(1)
                signal.raise_signal(signal.SIGUSR1)
            return result
        setattr(owner, name, strike)

    def on_signal(function, number=signal.SIGUSR1):
        signal.signal(number, lambda *_: function())

    zk = ZooKeeper(sys.argv[1], timeout=6.0)
    zk.start()
    zk.create("/a", b"x")
    session = zk.client_id
    driver, core, sockets = zk._driver, zk._driver.session, zk._driver._sockets
"""


def program(server: EmbeddedServer, code: str, *arguments: str) -> str:
    """What a program prints."""
    text = textwrap.dedent(BEGIN) + textwrap.dedent(code)
    command = [sys.executable, "-W", "error", "-c", text, server.hosts, *arguments]
    done = subprocess.run(command, cwd=ROOT, timeout=40, capture_output=True, text=True)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


#: Where the main thread is when the signal comes, (object, method, whether before it or after it).
PLACES = {
    "before the core takes the operation": ("core", "submit", True),
    "when the core has taken it": ("core", "submit", False),
    "before it is sent": ("sockets.main.link.connection", "data_to_send", True),
    "when it is sent, and not noted": ("sockets.main.link.connection", "sent", True),
    "before the answer is taken": ("sockets", "receive", True),
    "when the core has the answer": ("core", "received", False),
}


@fault("X01")
@pytest.mark.parametrize("place", PLACES)
def test_a_handler_is_refused_where_it_would_wait_for_itself(place: str) -> None:
    """What waits raises at once, what need not wait works, and the interrupted call and its connection go on."""
    owner, name, before = PLACES[place]
    with EmbeddedServer() as server:
        said = program(server, f"""
            later = []
            def handler():
                said.append(attempt(lambda: zk.get("/a")[0]))
                later.append(zk.submit(GetData("/a")))
                later.append(zk.submit(SetData("/a", b"new")))
                said.append(attempt(lambda: zk.driver.may_wait()))
            on_signal(handler)
            link = core.link
            here({owner}, {name!r}, {before})
            answer = zk.get("/a")[0]
            assert answer in (b"x", b"new"), answer
            assert [type(future.result(5)) for future in later] == [tuple, type(zk.exists("/a"))]
            assert zk.get("/a")[0] == b"new"
            assert core.link is link and zk.client_id == session, "the connection was lost"
            zk.close()
            print(said)
        """)  # fmt: skip
    assert said == "['NestedCallError', 'False']"


@fault("X01")
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_handler_while_the_main_thread_waits(role: str) -> None:
    """It may submit, not wait; the call it has interrupted gets its answer."""
    with EmbeddedServer() as server:
        said = program(server, f"""
            futures = []
            def handler():
                said.append(attempt(lambda: zk.get("/a")))
                said.append(attempt(lambda: zk.submit(GetData("/a")).result(5)))
                futures.append(zk.submit(GetData("/a")))
            on_signal(handler, signal.SIGALRM)
            from zkwire.embedded import EmbeddedServer
            parent = zk
            with EmbeddedServer() as slow, ZooKeeper(slow.hosts, timeout=6.0) as zk:
                zk.create("/a", b"x")
                slow.delay(0.3)
                if {role!r} == "follower":
                    threading.Thread(target=lambda: zk.get("/a"), daemon=True).start()
                    while not zk._driver._turns.taken:
                        time.sleep(0.001)
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                assert zk.get("/a")[0] == b"x"
                slow.heal()
                assert futures[0].result(5)[0] == b"x"
            parent.close()
            print(said)
        """)  # fmt: skip
    assert said == "['NestedCallError', 'NestedCallError']"


@fault("X01")
@pytest.mark.parametrize("method", ["close", "stop"])
@pytest.mark.parametrize("place", [*PLACES, "waiting"])
def test_close_in_a_handler_takes_effect(place: str, method: str) -> None:
    """It returns at once; within two seconds the server has ended the session."""
    owner, name, before = PLACES.get(place, ("zk", "", True))
    with EmbeddedServer() as server:
        program(server, f"""
            began = []
            def handler():
                began.append(time.monotonic())
                zk.{method}()
                assert time.monotonic() - began[0] < 1.0
            on_signal(handler)
            if {place!r} == "waiting":
                timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
                timer.start()
            else:
                here({owner}, {name!r}, {before})
            while zk.client_state != "CLOSED":
                assert not began or time.monotonic() - began[0] < 2.0
                attempt(lambda: zk.get("/a"))
            print("closed")
        """)  # fmt: skip
        assert not server.sessions


@pytest.mark.long
@fault("X01")
def test_signals_at_any_place() -> None:
    """Every two milliseconds for some seconds, a handler that submits, and sometimes waits."""
    with EmbeddedServer() as server:
        said = program(server, """
            from collections import deque
            futures, outcomes, inside = deque(), set(), []
            def handler():
                if not inside:
                    inside.append(1)
                    futures.append(zk.submit(GetData("/a")))
                    outcomes.add(attempt(lambda: zk.get("/a", timeout=5)[0]))
                    inside.clear()
            on_signal(handler, signal.SIGALRM)
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            link, end, window = core.link, time.monotonic() + 3, deque()
            while time.monotonic() < end:
                window.append(zk.submit(GetData("/a")))
                if len(window) > 100:
                    window.popleft().result(5)
                zk.get("/a")
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert all(future.result(5)[0] == b"x" for future in (*futures, *window))
            assert core.link is link, "the connection was lost"
            assert outcomes <= {"b'x'", "'NestedCallError'", "NestedCallError"}, outcomes
            zk.close()
            print(len(futures) > 50)
        """)  # fmt: skip
    assert said == "True"


DISCO = """
    from zkdisco import Client, Registrar, Service
    client = Client(sys.argv[1])
    registrar = Registrar(client, Service("/s", "api", b"1"))
    registrar.register()
    def handler():
        began = time.monotonic()
        {handler}
        assert time.monotonic() - began < 1.0
    on_signal(handler)
    zk = client.zk
    driver, core, sockets = zk._driver, zk._driver.session, zk._driver._sockets
    here({owner}, {name!r}, {before})
    attempt(lambda: zk.get("/s/api"))
    print("back", flush=True)
    sys.stdin.read()
"""


@pytest.mark.timed
@fault("X01")
@pytest.mark.parametrize("handler", ["registrar.deregister()", "client.stop()", "client.deregister(registrar._core.service)"])
@pytest.mark.parametrize("place", ["when the core has taken it", "when it is sent, and not noted", "when the core has the answer"])
def test_a_service_says_goodbye_in_a_handler(place: str, handler: str) -> None:
    """SIGTERM comes in the midst of a call: within two seconds the node is gone, while the process goes on."""
    owner, name, before = PLACES[place]
    code = textwrap.dedent(BEGIN) + textwrap.dedent(DISCO).format(handler=handler, owner=owner, name=name, before=before)
    if handler.startswith("client.d"):
        code = code.replace("registrar.register()", "client.register(registrar._core.service)")
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as other:
        command = [sys.executable, "-c", code, server.hosts]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == "back\n"
            until(lambda: other.get_children("/s/api") == [], 2.0)
            process.stdin.close()
            assert process.wait(10) == 0


def test_a_finalizer_is_refused_like_a_handler() -> None:
    """The garbage collector calls `__del__` anywhere, under the lock too."""
    with EmbeddedServer() as server:
        said = program(server, """
            class Cleaner:
                def __del__(self):
                    said.append(attempt(lambda: zk.delete("/a")))
            submit = core.submit
            def collects(*arguments):
                Cleaner()  # and gone again
                return submit(*arguments)
            core.submit = collects
            assert zk.get("/a")[0] == b"x"
            del core.submit
            assert zk.get("/a")[0] == b"x"
            zk.close()
            print(said)
        """)  # fmt: skip
    assert said == "['NestedCallError']"


@fault("X01")
def test_a_close_inside_a_close_joins_no_thread() -> None:
    """Before 3.13 `Thread.join` holds a lock while it ends: a second join of the same thread would wait for it."""
    with EmbeddedServer() as server:
        zk = ZooKeeper(server.hosts)
        zk.start()
        io, joins = zk._driver._io, []
        join = io.join

        def interrupted(timeout: float) -> None:
            joins.append(timeout)
            if len(joins) == 1:
                zk.close()  # as a signal handler would that comes here
            join(timeout)

        io.join = interrupted  # type: ignore[method-assign]
        zk.close()
    assert len(joins) == 1
