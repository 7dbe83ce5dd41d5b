"""Signal handlers, log handlers and clocks: code that runs on a thread of the application at the worst moment (X01, X02, X32).

All of it runs in processes of its own, which end by themselves if they hang.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import Any, Dict, List

import pytest

from tests.kit import children
from tests.kit.catalogue import fault
from tests.kit.fronts import until
from zkwire.embedded import EmbeddedServer

#: What is common to the children: a handler at the n-th line that the main thread runs inside the client, for each n.
EVERY_LINE = """
import json, os, signal, sys, threading, time
import zkwire
from zkwire import AsyncZooKeeper, ZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Create, Exists, GetData

HOME = os.path.dirname(zkwire.__file__)
OURS_ONLY = False
told, trouble, longest = [], [], 0.0

class Lines:
    def __init__(self, target):
        self.target, self.count = target, 0
    def __call__(self, frame, event, argument):
        name = frame.f_code.co_filename
        if name == "<string>" or (OURS_ONLY and not name.startswith(HOME)):
            return None
        return self.line
    def line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.target:
                signal.raise_signal(signal.SIGUSR1)      # its handler runs before the next line
        return self.line

def within(target, function):
    "Run it, with the signal at that line; whether there was such a line."
    lines = Lines(target)
    sys.settrace(lines)
    try:
        function()
    finally:
        sys.settrace(None)
    return lines.count >= target

def handled(function):
    "What a handler does: it is timed, and what it raises is kept."
    global longest
    began = time.monotonic()
    try:
        return function()
    except Exception as error:
        told.append([type(error).__name__, str(error), isinstance(error, TimeoutError)])
    finally:
        longest = max(longest, time.monotonic() - began)

def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True

def report(**more):
    print(json.dumps(dict(told=told, trouble=trouble, longest=longest, **more)))
"""

CALLS = EVERY_LINE + """
call, handler_call = sys.argv[1:]
with EmbeddedServer() as server:
    zk = ZooKeeper(server.hosts, timeout=6.0)
    zk.start()
    zk.create("/a", b"1")
    states, futures, fired = [], [], []
    zk.add_listener(states.append)
    session = zk.client_id
    if call.startswith("follow"):       # another thread reads the socket most of the time
        def busy():
            while not done:
                zk.exists("/a")
        done = []
        threading.Thread(target=busy, daemon=True).start()
    CALLS = {
        "get": lambda: zk.get("/a"),
        "follow": lambda: zk.get("/a"),
        "watch": lambda: zk.get("/a", watch=fired.append),
        "submit": lambda: zk.submit(GetData("/a")).result(5),
        "listen": lambda: (zk.add_listener(print), zk.remove_listener(print), zk.state, zk.client_id, zk.client_state, zk.connected, zk.session_timeout),
        "recipe": lambda: zk.ensure_path("/a"),
        "state": lambda: (zk.state, zk.connected, zk.client_state, zk.client_id, zk.session_timeout),
        "future": lambda: futures.append(zk.submit(GetData("/a"))),
    }
    signal.signal(signal.SIGUSR1, lambda *_: handled(CALLS[handler_call]))
    target = 1
    while within(target, CALLS[call]):
        target += 1
    for future in futures:
        assert future.result(5)[0] == b"1"
    if call.startswith("follow"):
        done.append(True)
    assert zk.get("/a")[0] == b"1"
    report(lines=target, states=states, same=zk.client_id == session)
    zk.close()
"""


def told(output: str) -> Dict[str, Any]:
    """The report of a child."""
    report: Dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def check_errors(errors: List[List[Any]]) -> None:
    """What a handler hears of its call is that it cannot be made there, and what to do: no symptom of a call that was tried."""
    for name, text, late in errors:
        assert not late and name not in ("ConnectionLoss", "SessionExpiredError", "AttributeError", "KeyError"), (name, text)
        assert len(text) > 20, (name, text)


@pytest.mark.long
@fault("X01")
@pytest.mark.parametrize("handler_call", ["get", "future", "state", "listen"])
@pytest.mark.parametrize("call", ["get", "follow", "watch", "submit", "listen", "recipe"])
def test_a_handler_calls_the_client_at_every_line_of_a_call(call: str, handler_call: str) -> None:
    report = told(children.run(CALLS, call, handler_call))
    assert report["lines"] > (5 if call == "listen" else 50), "the call was looked into"
    assert report["states"] == [] and report["same"], "no connection was lost"
    assert report["longest"] < 1.0, "the server answers within milliseconds"
    check_errors(report["told"])


CLOSES = EVERY_LINE + """
call, step = sys.argv[1], int(sys.argv[2])
with EmbeddedServer() as server:
    with ZooKeeper(server.hosts) as other:
        other.create("/a", b"1")
    target, late = 1, []
    while True:
        zk = ZooKeeper(server.hosts, timeout=6.0)
        zk.start()
        session = zk.client_id[0]
        signal.signal(signal.SIGUSR1, lambda *_: handled(zk.close))
        def work():
            try:
                {"get": lambda: zk.get("/a"), "create": lambda: zk.create("/n", ephemeral=True), "close": zk.close}[call]()
            except ZookeeperError:
                pass                                    # its client was closed
        hit = within(target, work)
        if not hit:
            zk.close()
            break
        if not until(lambda: session not in server.sessions, 2.0):
            late.append(target)
        zk.close()
        target += step
    report(lines=target, late=late)
"""


@fault("X01")
@pytest.mark.parametrize("call", ["get", "create", "close"])
def test_close_in_a_handler_takes_effect_at_every_line_of_a_call(call: str) -> None:
    report = told(children.run(CLOSES, call, "3"))
    assert report["lines"] > 50, "the call was looked into"
    assert report["late"] == [], "the session was to end within 2 s"
    assert report["longest"] < 2.0
    check_errors(report["told"])


WAITING = EVERY_LINE + """
what, role = sys.argv[1:]
with EmbeddedServer() as server:
    zk = ZooKeeper(server.hosts, timeout=6.0)
    zk.start()
    zk.create("/a", b"1")
    session, states, outcome = zk.client_id[0], [], []
    zk.add_listener(states.append)
    server.delay(0.4)
    if role == "follower":
        threading.Thread(target=lambda: outcome.append(zk.exists("/a")), daemon=True).start()
    def handler(*_):
        handled({"get": lambda: outcome.append(zk.get("/a", timeout=5)), "close": zk.close}[what])
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.15)
    try:
        outcome.append(zk.get("/a", timeout=5))
    except ZookeeperError as error:
        outcome.append(type(error).__name__)
    if what == "close":
        assert until(lambda: session not in server.sessions, 2.0), "the session was to end within 2 s"
    else:
        server.heal()
        assert zk.get("/a", timeout=5)[0] == b"1" and states == [], states
    report(outcomes=len(outcome))
    zk.close()
"""


@pytest.mark.long
@fault("X01")
@pytest.mark.parametrize("role", ["leader", "follower"])
@pytest.mark.parametrize("what", ["get", "close"])
def test_a_handler_calls_the_client_while_its_thread_waits_for_a_late_answer(what: str, role: str) -> None:
    report = told(children.run(WAITING, what, role))
    assert report["longest"] < 2.0, "an answer takes 0.4 s"
    check_errors(report["told"])


STORM = EVERY_LINE + """
what = sys.argv[1]
with EmbeddedServer() as server:
    zk = ZooKeeper(server.hosts, timeout=6.0)
    zk.start()
    zk.create("/a", b"1")
    states, count, inside = [], [0], []
    zk.add_listener(states.append)
    def handler(*_):
        if inside:
            return
        inside.append(1)
        handled({"get": lambda: zk.get("/a"), "submit": lambda: zk.submit(GetData("/a"))}[what])
        count[0] += 1
        inside.clear()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        assert zk.get("/a", timeout=5)[0] == b"1"
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert states == [], states
    report(count=count[0])
    zk.close()
"""


@pytest.mark.long
@fault("X01")
@pytest.mark.parametrize("what", ["get", "submit"])
def test_a_storm_of_signals_whose_handlers_call_the_client(what: str) -> None:
    report = told(children.run(STORM, what))
    assert report["count"] > 20
    assert report["longest"] < 1.0
    check_errors(report["told"])


ASYNCIO = EVERY_LINE + """
import asyncio
OURS_ONLY = True
async def main():
    with EmbeddedServer() as server:
        zk = AsyncZooKeeper(server.hosts, timeout=6.0)
        await zk.start()
        await zk.create("/a", b"1")
        states, futures = [], []
        zk.add_listener(states.append)
        def act():
            futures.append(zk.submit(GetData("/a")))
            return zk.state, zk.connected, zk.client_id
        signal.signal(signal.SIGUSR1, lambda *_: handled(act))
        target = 1
        while True:
            lines = Lines(target)
            sys.settrace(lines)
            try:
                data, _ = await zk.get("/a")
            finally:
                sys.settrace(None)
            assert data == b"1"
            if lines.count < target:
                break
            target += 1
        for future in futures:
            assert (await asyncio.wait_for(future, 5))[0] == b"1"
        assert states == [], states
        report(lines=target, calls=len(futures))
        await zk.close()
asyncio.run(main())
"""


@fault("X01")
def test_a_handler_calls_the_asyncio_client_at_every_line_of_a_call() -> None:
    report = told(children.run(ASYNCIO))
    assert report["lines"] > 30
    assert report["calls"] + len(report["told"]) >= report["lines"] - 1
    check_errors(report["told"])


ASYNCIO_CLOSES = EVERY_LINE + """
import asyncio
async def main():
    with EmbeddedServer() as server:
        zk = AsyncZooKeeper(server.hosts, timeout=6.0)
        await zk.start()
        await zk.create("/a", b"1")
        session, tasks = zk.client_id[0], []
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGALRM, lambda: tasks.append(loop.create_task(zk.close())))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        began = time.monotonic()
        try:
            while True:
                await zk.get("/a", timeout=5)
        except ZookeeperError:
            pass
        await asyncio.gather(*tasks)
        assert session not in server.sessions
        report(took=time.monotonic() - began)
asyncio.run(main())
"""


@fault("X01")
def test_close_in_a_handler_of_the_loop() -> None:
    assert told(children.run(ASYNCIO_CLOSES))["took"] < 2.1


# ------------------------------------------------------------------------ log handlers

LOGGING = """
import json, logging, sys, threading, time
from zkwire import ZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Exists

what = sys.argv[1]
class Ships(logging.Handler):
    "Says each line to ZooKeeper; what it says there is not said again."
    inside, lines, longest = threading.local(), 0, 0.0
    def emit(self, record):
        if getattr(self.inside, "busy", False):
            return
        self.inside.busy = True
        began = time.monotonic()
        try:
            zk.state, zk.connected, zk.client_id
            if what == "submit":
                zk.submit(Exists("/"))
            else:
                zk.exists("/", timeout=0.5)
        except ZookeeperError:
            pass                                    # not connected, or not from this thread: the line is lost
        finally:
            Ships.lines += 1
            Ships.longest = max(Ships.longest, time.monotonic() - began)
            self.inside.busy = False
log = logging.getLogger("zkwire")
log.setLevel(logging.DEBUG)
with EmbeddedServer() as server:
    zk = ZooKeeper(server.hosts, timeout=2.0)
    log.addHandler(Ships())
    zk.start()
    zk.create("/a")
    for _ in range(3):
        server.cut()
        end = time.monotonic() + 5
        while True:
            try:
                zk.set("/a", b"1", timeout=1.5)
                break
            except ZookeeperError:
                assert time.monotonic() < end, "no connection within 5 s"
    server.expire(zk.client_id[0])
    end = time.monotonic() + 5
    while True:
        try:
            zk.set("/a", b"1", timeout=1.5)
            break
        except ZookeeperError:
            assert time.monotonic() < end, "no connection within 5 s"
    began = time.monotonic()
    zk.close()
    print(json.dumps(dict(lines=Ships.lines, longest=Ships.longest, close=time.monotonic() - began)))
"""


@pytest.mark.long
@fault("X02")
@pytest.mark.parametrize("what", ["submit", "call"])
def test_a_log_handler_that_uses_the_client(what: str) -> None:
    """It may wait where the client logs; it must not wait for something that waits for it."""
    report = told(children.run(LOGGING, what))
    assert report["lines"] >= 3
    assert report["longest"] < 1.0, "its calls have a time-out of 0.5 s"
    assert report["close"] < 5.0


ASYNCIO_LOGGING = """
import asyncio, json, logging
from zkwire import AsyncZooKeeper, ZookeeperError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Exists

class Ships(logging.Handler):
    busy, futures = False, []
    def emit(self, record):
        if not self.busy:
            self.busy = True
            try:
                zk.state, zk.connected, zk.client_id
                self.futures.append(zk.submit(Exists("/")))
            except ZookeeperError:
                pass
            finally:
                self.busy = False
async def main():
    global zk
    log = logging.getLogger("zkwire")
    log.setLevel(logging.DEBUG)
    with EmbeddedServer() as server:
        zk = AsyncZooKeeper(server.hosts, timeout=2.0)
        log.addHandler(Ships())
        await zk.start()
        await zk.create("/a")
        for _ in range(3):
            server.cut()
            for _ in range(5):
                try:
                    await zk.set("/a", b"1", timeout=1.5)
                    break
                except ZookeeperError:
                    pass
            else:
                raise AssertionError("no connection")
        await zk.close()
    await asyncio.wait(Ships.futures, timeout=5)
    assert all(future.done() for future in Ships.futures)
    [future.exception() for future in Ships.futures if not future.cancelled()]
    print(json.dumps(dict(lines=len(Ships.futures))))
asyncio.run(main())
"""


@pytest.mark.long
@fault("X02")
def test_a_log_handler_that_uses_the_asyncio_client() -> None:
    assert told(children.run(ASYNCIO_LOGGING))["lines"] >= 3


# ------------------------------------------------------------------------ a process that was stopped

STOPPED = """
import asyncio, json, sys, time
from zkwire import AsyncZooKeeper, ZooKeeper
async def main():
    front, hosts, timeout = sys.argv[1], sys.argv[2], float(sys.argv[3])
    zk = (ZooKeeper if front == "threads" else AsyncZooKeeper)(hosts, timeout=timeout)
    started = zk.start()
    if started is not None:
        await started
    last, samples = time.monotonic(), 0
    while True:
        now = time.monotonic()
        samples += 1
        if samples == 50:
            print("up", flush=True)
        seen = zk.state, zk.connected, zk.client_state, zk.client_id is not None
        if now - last > timeout:                    # the process was stopped between the samples
            print(json.dumps(seen), flush=True)
            return
        last = now
        await asyncio.sleep(0.001)
asyncio.run(main())
import os; os._exit(0)
"""


@pytest.mark.long
@fault("X32")
@pytest.mark.parametrize("front", ["threads", "asyncio"])
def test_a_process_that_was_stopped_for_longer_than_its_lease_asks_at_once(front: str) -> None:
    """Whatever is asked first, before a thread or the loop has run: the lease is over by the clock."""
    timeout = 0.8
    with EmbeddedServer(tick=0.05) as server:
        command = children.command(STOPPED, front, server.hosts, str(timeout))
        with subprocess.Popen(command, cwd=children.ROOT, stdout=subprocess.PIPE, text=True) as child:
            try:
                assert child.stdout is not None and child.stdout.readline() == "up\n"
                child.send_signal(signal.SIGSTOP)
                stopped = time.monotonic()
                until(lambda: not server.sessions and time.monotonic() > stopped + 1.5 * timeout)
                server.refuse_sessions()  # so that it cannot be connected again by the time it asks
                child.send_signal(signal.SIGCONT)
                state, connected, client_state, _ = json.loads(child.stdout.readline())
            finally:
                child.kill()
    assert state in ("SUSPENDED", "LOST")
    assert connected is False
    assert client_state not in ("CONNECTED", "CONNECTED_RO")
