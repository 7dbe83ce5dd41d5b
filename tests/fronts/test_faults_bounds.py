"""The catalogue's rows on bounds, logs and clocks, and on signals."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, Front, eager, settled, told, until
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import STAT0, Heard, World, reply_frame
from tests.kit.aio import run
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.wire.connection import MAX_REQUEST
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss, TooManyPendingError
from zkwire.ops import Exists, GetData, SetData
from zkwire.config import DEFAULT_MAX_PENDING

T = 1.0


# ----------------------------------------------------------------------------- signals


@contextlib.contextmanager
def ticking(seconds: float = 0.001) -> Iterator[List[int]]:
    """A signal every millisecond, whose handler does nothing but count."""
    ticks: List[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: ticks.append(number))
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield ticks
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.long
@fault("T11")
def test_signals_in_every_system_call_of_a_blocking_client() -> None:
    with EmbeddedServer() as server, ticking() as ticks, ZooKeeper(server.hosts, timeout=2.0) as zk:
        states = told(zk)
        zk.create("/a")
        for i in range(150):
            assert zk.set("/a", b"%d" % i).version == i + 1
            assert zk.get("/a")[0] == b"%d" % i
        calls = [zk.submit(SetData("/a", b"x" * 50_000)) for _ in range(50)]
        assert [call.result(5).version for call in calls] == list(range(151, 201))
        server.cut()
        until(lambda: states.seen == ["SUSPENDED", "CONNECTED"])
        assert zk.exists("/a")
        assert len(ticks) > 20


@pytest.mark.long
@fault("T11")
def test_signals_in_every_system_call_of_an_event_loop() -> None:
    async def main(hosts: str, cut: Callable[[], object]) -> None:
        async with AsyncZooKeeper(hosts, timeout=2.0) as zk:
            states: List[str] = []
            zk.add_listener(states.append)
            await zk.create("/a")
            for i in range(150):
                assert (await zk.set("/a", b"%d" % i)).version == i + 1
                assert (await zk.get("/a"))[0] == b"%d" % i
            calls = [zk.submit(SetData("/a", b"x" * 50_000)) for _ in range(50)]
            assert [stat.version for stat in await asyncio.gather(*calls)] == list(range(151, 201))
            cut()
            while states != ["SUSPENDED", "CONNECTED"]:
                await asyncio.sleep(0.005)
            assert await zk.exists("/a")

    with EmbeddedServer() as server, ticking() as ticks:
        run(main(server.hosts, server.cut), debug=False)
    assert len(ticks) > 20


# ------------------------------------------------------------------------------ bounds


@pytest.mark.slow
@fault("B01")
def test_no_more_calls_wait_than_are_allowed(front: Front) -> None:
    assert DEFAULT_MAX_PENDING == 10_000
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=4.0, max_pending=50)
    scripted.handshake = lambda wire: not wire.until_closed()
    scripted.cut()
    until(lambda: not zk.connected)
    calls = [zk.submit(GetData(f"/{i}")) for i in range(50)]
    began = time.monotonic()
    with pytest.raises(TooManyPendingError):
        zk.submit(GetData("/a"))
    with pytest.raises(TooManyPendingError):
        zk.get("/a")
    assert time.monotonic() - began < SLACK
    scripted.behave()
    assert {call.result(5)[0] for call in calls} == {b"proper"}
    assert zk.get("/a")[0] == b"proper"
    assert scripted.seen[0].path == "/0"


@fault("B03")
def test_a_hundred_thousand_watches_are_set_again_in_two_seconds() -> None:
    world, heard = World(), Heard()
    world.open()
    watches = world.session._requests.watches
    seconds = []
    for count in (50_000, 100_000):
        for i in range(count - 50_000, count):
            watches.armed(Exists(f"/some/where/node-{i:09}", heard), 0)
        world.lose()
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
        world.connect()
        began = time.process_time()
        world.welcome()
        seconds.append(time.process_time() - began)
        assert world.peer is not None
        paths = [path for request in world.peer.requests for path in (*request.op.data, *request.op.exist)]  # type: ignore[attr-defined]
        assert len(set(paths)) == len(paths) == count
        assert all(len(request.op.frame(1, None)) <= MAX_REQUEST + 4 for request in world.peer.requests)
        world.accept_internal()
    assert seconds[-1] < 2.0
    assert seconds[1] < 4 * seconds[0] + 0.2, "it is linear"


@fault("B03")
def test_many_children_and_long_values(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=10.0)
    names, value = [f"instance-{i:010}" for i in range(10_000)], b"x" * (1024 * 1024)
    answers = {8: names, 4: (value, STAT0)}
    scripted.request = lambda wire, xid, op: op.opcode in answers and not wire.send(
        reply_frame(op, xid, answers[op.opcode])
    )
    began = time.process_time()
    for _ in range(10):
        assert zk.get_children("/a") == names
        assert zk.get("/a")[0] == value
    assert time.process_time() - began < 4.0


@pytest.mark.slow
@fault("B04")
@pytest.mark.parametrize("how", ["refused", "hung up on", "another service"])
def test_no_more_than_a_line_for_each_attempt(how: str, front: Front, caplog: pytest.LogCaptureFixture) -> None:
    scripted = front.scripted()
    proxy = front.proxy(scripted)
    zk = front.client(proxy.hosts, timeout=0.6)
    states = told(zk)
    with caplog.at_level(logging.DEBUG, "zkwire"):
        if how == "refused":
            proxy.refuse()
        elif how == "hung up on":
            scripted.handshake = lambda wire: True
        else:
            scripted.handshake = lambda wire: not wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        proxy.cut()
        states.until(lambda seen: "LOST" in seen)
        settled(zk)
    lines = [record for record in caplog.records if record.levelno > logging.DEBUG]
    tries = len(caplog.records) - len(lines)
    # And one for the loss, and those for the two states.
    assert 3 <= len(lines) <= tries + 1 + len(states.seen)
    assert tries <= 12, "nor are the attempts many"
    scripted.handshake = None
    proxy.heal()


# ------------------------------------------------------------------------------ clocks


class Clock:
    """The clock of sessions, which a test can set forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for module in ("sockets", "driver", "io_thread", "aio_driver"):
            monkeypatch.setattr(f"zkwire.io.{module}.now", lambda: time.monotonic() + self.ahead)


@fault("B05")
@pytest.mark.parametrize("known", [True, False])
def test_a_machine_that_was_suspended(known: bool, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is not trusted any more, and the server is asked what became of the session."""
    clock = Clock(monkeypatch)
    server = front.server(min_session_timeout=T, max_session_timeout=60.0)
    zk = eager(front.client(server.hosts))
    states, session = told(zk), zk.client_id
    if not known:
        server.black_hole("out")  # as it is for a machine that sleeps: the server gives up without being heard
        server.expire(session[0])
    clock.ahead = 10 * T
    server.heal() if not known else None
    states.wait(1, timeout=T / 3 + SLACK)
    expected = ["SUSPENDED", "CONNECTED"] if known else ["SUSPENDED", "LOST", "CONNECTED"]
    assert states.wait(len(expected)) == expected
    assert (zk.client_id == session) == known
    assert zk.exists("/")


def hog(seconds: float) -> None:
    """Keep every other thread of this process from running."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # a PyDLL keeps the GIL


@pytest.mark.slow
@fault("B06")
@pytest.mark.skipif(sys.platform == "win32", reason="no usleep that keeps the GIL")
@pytest.mark.parametrize("answered", [True, False])
def test_a_process_that_stands_still(answered: bool, front: Front) -> None:
    """Late is not lost: what lies in the socket counts first, and the server is asked before the session is given up."""
    scripted: Scripted = front.scripted()
    timeout = 2.0 if answered else 1.0
    zk = eager(front.client(scripted.hosts, timeout=timeout))
    states, session = told(zk), zk.client_id

    def answer_and_stop(wire: Wire, xid: int, op: Any) -> bool:
        scripted.request = None
        command = ["sh", "-c", "sleep 0.6; exec cat"]  # another process: nothing runs in this one meanwhile
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=wire.sock) as sender:  # noqa: S603
            assert sender.stdin is not None
            sender.stdin.write(reply_frame(op, xid, (b"late", STAT0)))
            sender.stdin.close()
            hog(0.8 * timeout)  # too late for an answer, and in time for the session to be surely alive
        return True

    if answered:
        scripted.request = answer_and_stop
        assert zk.get("/a")[0] == b"late"
        settled(zk)
        assert states.seen == []
    else:
        hog(1.5 * timeout)  # when it goes on, four thirds of the timeout are over

    def works() -> bool:
        try:
            return bool(zk.get("/a", timeout=5)[0] == b"proper")
        except ConnectionLoss:
            return False  # a ping was missed, and the connection with it: that may be

    until(works)
    settled(zk)
    assert "LOST" not in states.seen and zk.client_id == session


@pytest.mark.slow
@fault("B06")
def test_an_event_loop_that_stands_still_between_its_select_and_its_timers() -> None:
    """What arrives in that moment lies in the socket while the timer is called."""
    stopped = threading.Event()

    def answer_once_it_stands(wire: Wire, xid: int, op: Any) -> bool:
        stopped.wait(5)
        return False

    async def main(scripted: Scripted) -> None:
        async with AsyncZooKeeper(scripted.hosts, timeout=T) as zk:
            states: List[str] = []
            zk.add_listener(states.append)
            selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
            select = selector.select

            def slow(timeout: Any) -> Any:
                ready = select(timeout)
                if not ready and not stopped.is_set():
                    stopped.set()
                    time.sleep(T / 2)  # the fault itself, at a third of the timeout, when a ping is due
                return ready

            scripted.request = answer_once_it_stands
            selector.select = slow
            assert (await zk.get("/a"))[0] == b"proper"
            selector.select = select
            assert states == []

    with Scripted() as scripted:
        run(main(scripted), debug=False)


@fault("B07")
@pytest.mark.parametrize("timeout", [0.1, 3600.0])
@pytest.mark.parametrize("hosts", [1, 3])
@pytest.mark.parametrize("random", [0.0, 0.999])
def test_timers_of_very_short_and_very_long_sessions(timeout: float, hosts: int, random: float) -> None:
    world = World(timeout=timeout, hosts=hosts, random=lambda: random)
    share = min(timeout / hosts, 10.0)
    assert world.dials[0][1].deadline - world.now == pytest.approx(share)
    world.open()
    ping = min(timeout / 3, 10.0)
    opened = world.now
    assert world.session.deadline() == pytest.approx(opened + ping)
    for i in range(5):  # answered at once, pings keep it up, and are no closer
        world.advance(ping + 1e-6)
        assert world.peer is not None and len(world.peer.requests) == i + 1
        world.pong()
    quiet = world.now
    world.advance(timeout, until=lambda: bool(world.hangups))
    assert world.now - quiet == pytest.approx(timeout * 2 / 3, rel=1e-3)
    world.advance(timeout, until=lambda: len(world.dials) == 2)
    assert world.now - quiet < timeout, "there is time to resume"
    world.open()
    assert world.states == ["CONNECTED", "SUSPENDED", "CONNECTED"]
    lost = world.now
    world.lose()
    for _ in range(100_000):
        if "LOST" in world.states:
            break
        if world.session.phase == "dialing":
            world.lose("refused")
        world.advance(timeout, until=lambda: world.session.phase == "dialing" or "LOST" in world.states)
    assert world.now - lost == pytest.approx(timeout * 4 / 3, rel=1e-3)
