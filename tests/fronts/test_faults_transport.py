"""The catalogue's transport rows, on both fronts: what TCP can do to a connection."""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import logging
import socket
import threading
import time
from typing import Any, Iterator, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness.proxy import FaultProxy
from tests.kit.fronts import SLACK, Front, Log, eager, settled, told, until
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import World, event_frame, reply_frame
from zkwire.errors import ConnectionLoss, OperationTimeoutError, ZookeeperError
from zkwire.ops import Exists, GetData, SetData

T = 1.0


def behind_two(front: Front, **options: Any) -> Tuple[Any, FaultProxy, FaultProxy, Any]:
    """A server behind two proxies, and a client that begins with the first."""
    server = front.server()
    first, second = front.proxy(server), front.proxy(server)
    zk = front.client(f"{first.hosts},{second.hosts}", randomize_hosts=False, **options)
    return eager(zk), first, second, server


def not_yet(call: Any) -> None:
    """Wait a moment for what will not come: what was put off is sent to the server by that."""
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        call.result(0.05)


def silent(wire: Wire, xid: int, op: Any) -> bool:
    """Never an answer."""
    return True


@fault("T01")
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_end_of_a_connection_with_calls_under_way(count: int, front: Front) -> None:
    zk, first, second, _ = behind_two(front)
    zk.create("/a")
    session, states = zk.client_id, told(zk)
    first.black_hole("down")
    before = first.traffic["up"].passed
    calls = [zk.submit(SetData("/a", b"x")) for _ in range(count)]
    # What is here is flushed at the latest when somebody waits; then all of it has left.
    for call in calls[:1]:
        not_yet(call)
    first.wait(lambda p: p.traffic["up"].passed >= before + 27 * count)
    first.cut("fin")
    for call in calls:
        error = call.exception(5)
        assert isinstance(error, ConnectionLoss)
        assert error.sent and error.maybe_applied
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session
    assert (first.connections, second.connections) == (1, 1)
    assert zk.get("/a")[1].version == count
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]


@fault("T01")
def test_the_end_of_a_connection_before_all_was_sent(front: Front) -> None:
    zk, first, second, _ = behind_two(front, timeout=6.0)
    zk.create("/a")
    states = told(zk)
    first.black_hole("up", keep=True)
    calls = [zk.submit(SetData("/a", b"x" * 1_000_000)) for _ in range(20)]
    until(lambda: first.traffic["up"].bytes > 1_000_000)
    first.cut("fin")
    errors = [call.exception(5) for call in calls]
    assert all(isinstance(error, ConnectionLoss) for error in errors)
    sent = [error.sent for error in errors]
    assert sent == sorted(sent, reverse=True) and sent[0] and not sent[-1]
    assert [error.maybe_applied for error in errors] == sent
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.get("/a")[1].version <= sent.count(True)


@fault("T02")
def test_a_reset_after_each_byte_of_a_reply(front: Front) -> None:
    zk, first, second, _ = behind_two(front, timeout=6.0)
    session, path = zk.client_id, zk.create("/a", b"data")
    length = 4 + 16 + 4 + len(path)
    for size in range(length + 1):
        proxy = (first, second)[size % 2]
        proxy.cut_after(size, "down", "rst")
        try:
            zk.sync(path)
        except ConnectionLoss as loss:
            assert loss.sent
        else:
            assert size == length, f"an answer of {length} bytes was complete after {size}"
        until(lambda: first.connections + second.connections == size + 2 and zk.connected)  # noqa: B023
        assert zk.get(path)[0] == b"data"
    assert zk.client_id == session


@pytest.mark.long
@fault("T03")
def test_a_server_that_is_gone_is_noticed_by_a_client_that_does_nothing(front: Front) -> None:
    zk, first, second, _ = behind_two(front)
    states, session = told(zk), zk.client_id
    began = time.monotonic()
    first.black_hole()
    states.wait(1)
    assert time.monotonic() - began < T * 2 / 3 + SLACK
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session
    assert zk.exists("/") and second.connections == 1


@pytest.mark.slow
@fault("T04")
def test_a_server_that_is_gone_is_noticed_by_a_client_that_is_busy(front: Front) -> None:
    zk, first, second, _ = behind_two(front)
    states, session, calls = told(zk), zk.client_id, []
    first.black_hole("down")
    began, pause = time.monotonic(), threading.Event()
    while not states.seen and time.monotonic() - began < 3 * T:
        calls.append(zk.submit(GetData("/")))
        pause.wait(0.2)
    assert time.monotonic() - began < T * 2 / 3 + 0.2 + SLACK
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session
    lost = [error for error in (call.exception(5) for call in calls) if error is not None]
    assert lost and lost[0].sent and all(isinstance(error, ConnectionLoss) for error in lost)


@pytest.mark.long
@fault("T05")
def test_events_do_not_hide_that_nobody_hears_us(front: Front) -> None:
    zk, first, second, server = behind_two(front)
    other = front.client(server.hosts, timeout=10.0)
    zk.create("/a")
    events, states = Log(), told(zk)
    zk.add_watch("/a", events)
    first.black_hole("up")
    began, pause = time.monotonic(), threading.Event()
    while not states.seen and time.monotonic() - began < 3 * T:
        other.set("/a", b"x")
        pause.wait(0.02)
    assert time.monotonic() - began < T
    assert len(events.seen) > 5
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]


@pytest.mark.slow
@fault("T05")
def test_answers_to_pings_do_not_hide_a_call_that_is_not_answered(front: Front) -> None:
    """A real server answers in order: what overtakes a call says nothing good of it."""
    scripted = front.scripted()
    zk, pings = eager(front.client(scripted.hosts)), []
    states = told(zk)
    scripted.ping = lambda wire: bool(pings.append(0))  # type: ignore[func-returns-value]
    scripted.request = silent
    began = time.monotonic()
    call = zk.submit(GetData("/a"))
    assert isinstance(call.exception(5), ConnectionLoss)
    assert time.monotonic() - began < T * 2 / 3 + SLACK
    assert pings
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]


@pytest.mark.slow
@fault("T06")
def test_late_bytes_of_an_old_connection_reach_nobody(front: Front) -> None:
    scripted, late, gone = front.scripted(), [], threading.Event()
    zk = eager(front.client(scripted.hosts))
    states, session = told(zk), zk.client_id

    def asleep(wire: Wire, xid: int, op: Any) -> bool:
        late.append((wire, xid, op))
        return True

    scripted.request, scripted.ping = asleep, lambda wire: True
    call = zk.submit(GetData("/old"))
    assert isinstance(call.exception(5), ConnectionLoss)
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    scripted.ping = None
    scripted.request = lambda wire, xid, op: bool(late.append((wire, xid, op))) or not gone.is_set()
    call = zk.submit(GetData("/new"))
    not_yet(call)
    until(lambda: len(late) == 2)
    for _, xid, op in late:  # the old server goes on at last: with an answer that would fit, or not
        for number in (xid, xid + 1, late[1][1]):
            late[0][0].send(reply_frame(op, number, (b"late", (0,) * 11)))
    wire, xid, op = late[1]
    wire.send(reply_frame(op, xid, (b"new", (0,) * 11)))
    assert call.result(5)[0] == b"new"
    gone.set()
    assert zk.get("/a")[0] == b"proper"
    settled(zk)
    assert (states.seen, zk.client_id) == (["SUSPENDED", "CONNECTED"], session)


@fault("T06")
@pytest.mark.watchdog(90)
def test_a_real_server_that_is_stopped_and_goes_on(ensemble: Any) -> None:
    """For longer than the session's timeout; one client of each front, as three servers take their time to start."""
    three = ensemble(3, "3.8")
    stopped, timeout = three.followers()[0], 2.0
    hosts = ",".join([stopped.hosts, *[server.hosts for server in three if server is not stopped]])
    with contextlib.ExitStack() as stack:
        fronts = [stack.enter_context(contextlib.closing(Front(name))) for name in ("threads", "asyncio")]
        clients = [eager(front.client(hosts, timeout=timeout, randomize_hosts=False)) for front in fronts]
        states, sessions = [told(zk) for zk in clients], [zk.client_id for zk in clients]
        for zk, name in zip(clients, ("/a", "/b")):
            zk.create(name, name.encode(), ephemeral=True)
        stopped.suspend()
        began = time.monotonic()
        late = [zk.submit(GetData("/")) for zk in clients]
        assert all(isinstance(call.exception(5), ConnectionLoss) for call in late)
        assert time.monotonic() - began < timeout * 2 / 3 + SLACK
        for log in states:
            log.wait(2)
        until(lambda: time.monotonic() - began > timeout * 1.1)
        calls = [zk.submit(GetData(name)) for zk, name in zip(clients, ("/a", "/b")) for _ in range(50)]
        stopped.resume()
        calls += [zk.submit(GetData(name)) for zk, name in zip(clients, ("/a", "/b")) for _ in range(50)]
        assert [call.result(5)[0] for call in calls] == ([b"/a"] * 50 + [b"/b"] * 50) * 2
        stopped.wait_ready()  # it has said to nobody what it had to say
        assert [zk.get(name)[0] for zk, name in zip(clients, ("/a", "/b"))] == [b"/a", b"/b"]
        assert [log.seen for log in states] == [["SUSPENDED", "CONNECTED"]] * 2
        assert [zk.client_id for zk in clients] == sessions


def dialogue(zk: Any) -> List[Any]:
    """Calls of many kinds, and what came of them; times and the like left out."""
    log = Log()
    made = [zk.create("/r", b"root"), zk.create("/r/s-", b"x", sequence=True)]
    zk.get_children("/r", watch=log)
    calls = [zk.submit(op) for i in range(2) for op in (GetData("/r"), Exists("/r/none"), GetData(f"/none{i}"))]
    outcomes: List[Any] = []
    for call in calls:
        error = call.exception(PATIENT)
        outcomes.append(type(error) if error else (call.result()[0] if call.result() else None))
    zk.create("/r/big", b"y" * 100)
    outcomes += [zk.get("/r/big")[0], sorted(zk.get_children("/r")), log.wait(1), log.events]
    zk.delete("/r", recursive=True)
    return made + outcomes


PATIENT = 20.0


@pytest.mark.slow
@fault("T07")
@pytest.mark.parametrize("how", ["split", "coalesced"])
def test_replies_split_at_every_byte_and_many_in_one_segment(how: str, front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    expected = dialogue(front.client(server.hosts, timeout=8.0))
    zk = front.client(proxy.hosts, timeout=20.0)
    if how == "split":
        proxy.split(1, "down")
        assert dialogue(zk)[2:] == expected[2:]
    else:
        proxy.black_hole("down", keep=True)
        calls = [zk.submit(GetData("/")) for _ in range(200)] + [zk.submit(GetData("/none"))]
        not_yet(calls[0])
        proxy.wait(lambda p: p.traffic["down"].bytes >= 200 * 88)
        proxy.heal()
        assert {call.result(5)[0] for call in calls[:-1]} == {b""}
        assert isinstance(calls[-1].exception(5), ZookeeperError)
        assert dialogue(zk)[2:] == expected[2:]


@pytest.mark.slow
@fault("T08")
@pytest.mark.parametrize("rate", [1, 40])
def test_a_reply_that_drips_in_is_no_sign_of_life(rate: int, front: Front) -> None:
    zk, first, second, _ = behind_two(front)
    zk.create("/a", b"x" * 5000)
    states = told(zk)
    first.drip(rate, "down")
    began = time.monotonic()
    with pytest.raises(ConnectionLoss):
        zk.get("/a")
    # Its first eight bytes count, once: they say that it is a reply.
    assert T / 3 - 0.05 < time.monotonic() - began < T * 2 / 3 + (8 / rate if rate > 1 else 0) + SLACK
    assert len(zk.get("/a")[0]) == 5000
    settled(zk)
    assert second.connections == 1 and "LOST" not in states.seen


@pytest.mark.long
@fault("T09")
def test_a_server_that_does_not_read_stops_neither_reading_nor_time(front: Front) -> None:
    zk, first, second, server = behind_two(front)
    other = front.client(server.hosts, timeout=10.0)
    zk.create("/a")
    zk.create("/b")
    log, states = Log(), told(zk)
    zk.get("/b", watch=log)
    first.black_hole("up", keep=True)
    began = time.monotonic()
    calls = [zk.submit(SetData("/a", b"x" * 1_000_000)) for _ in range(20)]
    other.set("/b", b"")
    log.wait(1, timeout=T * 2 / 3)
    settled(zk)
    assert not states.seen, "it was heard while the connection was up, full as it was"
    errors = [call.exception(5) for call in calls]
    assert time.monotonic() - began < T * 2 / 3 + SLACK + 0.3  # 20 MB are some work
    assert all(isinstance(error, ConnectionLoss) for error in errors)
    assert errors[0].sent and not errors[-1].sent
    assert states.wait(2)[0] == "SUSPENDED"
    until(lambda: zk.connected)
    assert zk.exists("/b")


@fault("T09")
def test_what_was_half_written_is_resumed_exactly(front: Front) -> None:
    zk, first, _, server = behind_two(front, timeout=8.0)
    zk.create("/a")
    first.black_hole("up", keep=True)
    values = [bytes([65 + i]) * (1_000_000 - i) for i in range(20)]
    calls = [zk.submit(SetData("/a", value)) for value in values]
    reads = [zk.submit(GetData("/a"))]
    first.wait(lambda p: p.traffic["up"].bytes > 1_000_000)
    first.heal()
    assert [call.result(PATIENT).version for call in calls] == list(range(1, 21))
    assert [call.result().dataLength for call in calls] == [len(value) for value in values]
    assert reads[0].result(5)[0] == values[-1]
    assert first.connections == 1


class Flood:
    """Events without an end, sent to each connection from its first request on, as fast as it takes them."""

    def __init__(self, scripted: Scripted) -> None:
        self.stop = threading.Event()
        self.count = 0
        self.arrived = 0.0
        self._frames = event_frame("CHANGED", "/other") * 500
        self._threads: List[threading.Thread] = []
        self._lock = threading.Lock()
        scripted.request = self._begin

    def _begin(self, wire: Wire, xid: int, op: Any) -> bool:
        self.arrived = time.monotonic()
        if not self._threads:
            # Else what lies in buffers would be ahead of each answer, seconds of work for a slow machine.
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
            send = wire.send

            def one_at_a_time(data: bytes) -> None:
                with self._lock:
                    send(data)

            wire.send = one_at_a_time  # type: ignore[method-assign]
            thread = threading.Thread(target=self._run, args=(wire,))
            self._threads.append(thread)
            thread.start()
        return False

    def _run(self, wire: Wire) -> None:
        while not self.stop.is_set() and not wire.closed.is_set():
            wire.send(self._frames)
            self.count += 500

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(5)


@pytest.mark.slow
@fault("T10")
def test_a_flood_of_events_starves_neither_calls_nor_pings(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=3.0)
    states, pings = told(zk), []
    flood = Flood(scripted)
    scripted.ping = lambda wire: bool(pings.append(time.monotonic()))  # type: ignore[func-returns-value]
    try:
        zk.get("/a")
        longest, end = 0.0, time.monotonic() + 1.0
        while time.monotonic() < end:
            began = time.monotonic()
            assert zk.get("/a")[0] == b"proper"
            longest = max(longest, flood.arrived - began)  # its answer has to wait for what is in the buffers
        assert longest < 3.0 / 3
        began = time.monotonic()
        until(lambda: len(pings) >= 2)  # and while nobody calls
        assert pings[0] - began < 3.0 / 3 + 2 * SLACK
        assert pings[1] - pings[0] < 3.0 / 3 + 2 * SLACK
    finally:
        flood.end()
    assert flood.count > 20_000
    settled(zk)
    assert states.seen == [] and scripted.connections == 1


@pytest.mark.slow
@fault("T10")
def test_events_of_a_server_as_fast_as_it_can(front: Front) -> None:
    """Many clients of the same node, all told of each change."""
    server = front.server()
    zk, writer = front.client(server.hosts), front.client(server.hosts, timeout=10.0)
    zk.create("/a")
    log, states = Log(), told(zk)
    for path in ("/a", "/"):
        zk.add_watch(path, log, recursive=True)
    calls = [writer.submit(SetData("/a", b"")) for _ in range(1000)]
    while not calls[-1].done():
        assert zk.exists("/a", timeout=T)
    log.until(lambda seen: len(seen) >= 1000)
    settled(zk)
    assert states.seen == []


@pytest.fixture
def two_closed_ports() -> Iterator[str]:
    """Where nobody listens, and nobody else will: bound, not listening."""
    socks = [socket.socket() for _ in range(2)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    yield ",".join(f"127.0.0.1:{sock.getsockname()[1]}" for sock in socks)
    for sock in socks:
        sock.close()


@pytest.mark.slow
@fault("T12")
def test_refused_everywhere_is_no_busy_loop(
    two_closed_ports: str, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = front.proxy(front.server())
    zk = front.client(f"{proxy.hosts},{two_closed_ports}", timeout=6.0, randomize_hosts=False)
    proxy.refuse()
    proxy.cut()
    until(lambda: not zk.connected)
    with caplog.at_level(logging.DEBUG, "zkwire"):
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError):
            zk.get("/a", timeout=0.3)
        assert time.monotonic() - began < 0.3 + SLACK
        threading.Event().wait(1.2)  # the time over which attempts are counted
        tries = [record for record in caplog.records if "connecting to" in record.getMessage()]
    assert len(tries) <= 3 * 3
    proxy.heal()  # or close() would try to reach it for as long as it may


@fault("T12")
@pytest.mark.parametrize("timeout", [5.0, 10.0, 40.0])
@pytest.mark.parametrize("hosts", [1, 3])
def test_no_more_than_twelve_attempts_on_a_host_in_ten_seconds(hosts: int, timeout: float) -> None:
    for seed in range(20):
        numbers = iter([(seed * 7 + i * 13) % 20 / 20 for i in range(1000)])
        world = World(hosts=hosts, timeout=timeout, random=lambda numbers=numbers: next(numbers))  # type: ignore[misc]
        end = world.now + 10
        while world.now < end:
            if world.session.phase == "dialing":
                world.lose("refused")
            world.advance(end - world.now, until=lambda world=world: world.session.phase == "dialing")  # type: ignore[misc]
        assert 4 * hosts <= len(world.dials) <= 12 * hosts
        starts = [at for at, _ in world.dials[::hosts]]
        assert len({round(b - a, 3) for a, b in zip(starts, starts[1:])}) > 3, "the pauses are jittered"


@pytest.mark.long
@fault("T13")
def test_a_host_that_drops_packets_costs_its_share_of_the_time(front: Front) -> None:
    server = front.server()
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(0)
    fillers = [socket.socket() for _ in range(3)]
    try:
        for filler in fillers:  # the queue of those not accepted is full, and packets of others are dropped
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        hosts = f"127.0.0.1:{hole.getsockname()[1]},{server.hosts}"
        zk = front.new(hosts, timeout=T, randomize_hosts=False)
        began = time.monotonic()
        zk.start()
        assert T / 2 - 0.05 < time.monotonic() - began < T
        assert zk.exists("/")
    finally:
        for sock in (hole, *fillers):
            sock.close()


class Trouble:
    """What goes wrong with sockets that this process makes for itself; accepted ones are spared."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.where, self.error, self.met = "", 0, 0
        trouble = self

        class Socket(socket.socket):
            def __init__(self, *args: Any, **options: Any) -> None:
                self.ours = options.get("fileno") is None and len(args) < 4
                if self.ours:
                    trouble.strike("socket")
                super().__init__(*args, **options)

            def connect(self, address: Any) -> None:
                if self.ours:
                    trouble.strike("connect")
                super().connect(address)

            def send(self, data: Any, *flags: int) -> int:
                if self.ours:
                    trouble.strike("send")
                return super().send(data, *flags)

        monkeypatch.setattr(socket, "socket", Socket)

    def strike(self, where: str) -> None:
        if where == self.where:
            self.met += 1
            raise OSError(self.error, "as the test wants it")


@pytest.mark.slow
@fault("T14")
@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("send", errno.EPIPE), ("send", errno.ECONNRESET), ("connect", errno.ECONNRESET),
        ("connect", errno.ENETUNREACH), ("socket", errno.EMFILE),
    ],
)  # fmt: skip
def test_sockets_that_fail_in_odd_places(
    where: str, error: int, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = front.server()
    trouble = Trouble(monkeypatch)
    zk = front.client(server.hosts, timeout=1.5)
    states, session = told(zk), zk.client_id
    trouble.where, trouble.error = where, error
    began = time.monotonic()
    if where != "send":
        server.cut()
    call = None
    try:
        call = zk.submit(Exists("/"))
    except ConnectionLoss:
        pass
    states.wait(1)
    until(lambda: trouble.met >= 2)
    assert trouble.met <= 3 + 6 * (time.monotonic() - began), "no busy loop"
    trouble.where = ""
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.exists("/") and zk.client_id == session
    if call is not None:
        outcome = call.exception(5)
        assert outcome is None or isinstance(outcome, ConnectionLoss)


def echo(wire: Wire) -> bool:
    """Our own bytes come back, as when a local port connects to itself."""
    wire.send(wire.first)
    wire.until_closed()
    return True


@fault("T15")
def test_our_own_bytes_are_no_answer(front: Front) -> None:
    """Read as an answer, they would tell a session with a zxid that it is expired."""
    scripted = front.scripted()
    scripted.handshake = echo
    zk = eager(front.new(scripted.hosts, timeout=T))
    with pytest.raises(OperationTimeoutError, match="the bytes sent come back"):
        zk.start(timeout=0.4)
    scripted.handshake = None
    zk = eager(front.client(scripted.hosts))
    zk.get("/a")  # from now on there is a zxid
    states, session = told(zk), zk.client_id
    scripted.handshake = echo
    scripted.cut()
    scripted.wait(lambda: scripted.connections >= 4)
    scripted.handshake = None
    scripted.cut()
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session


@fault("T16")
def test_descriptors_beyond_1024(front: Front) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (-1, resource.RLIM_INFINITY) and hard < 1400:
        pytest.skip(f"no more than {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1400), hard))
    others: List[socket.socket] = []
    server = front.server()
    try:
        while not others or others[-1].fileno() < 1100:
            others.append(socket.socket())
        zk = front.client(server.hosts)
        log, states = Log(), told(zk)
        zk.create("/a")
        zk.get("/a", watch=log)
        server.cut()
        states.wait(2)
        zk.set("/a", b"x")
        log.wait(1)
        zk.close()
    finally:
        for other in others:
            other.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


