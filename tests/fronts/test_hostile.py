"""A hostile server on a real socket: it never kills the client, fills its memory, or keeps a caller waiting."""

from __future__ import annotations

import resource
import struct
import threading
import time
import tracemalloc
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.hostile import Scripted, Wire
from tests.kit.world import event_frame, framed, header, reply_frame, welcome_frame
from zkwire import ZooKeeper
from zkwire.errors import ConnectionLoss, FrameTooLargeError, MarshallingError, OperationTimeoutError, ZookeeperError
from zkwire.ops import GetData, SetData
from zkwire.values import KazooState

T = 0.9


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


@pytest.fixture
def client(scripted: Scripted) -> Iterator[Callable[..., ZooKeeper]]:
    made: List[ZooKeeper] = []

    def make(**options: Any) -> ZooKeeper:
        options.setdefault("timeout", T)
        zk = ZooKeeper(scripted.hosts, **options)
        made.append(zk)
        return zk

    yield make
    for zk in made:
        zk.close()


def works_again(zk: ZooKeeper, scripted: Scripted) -> None:
    """The same client, at the same address, which serves properly now."""
    scripted.behave()
    deadline = time.monotonic() + 8
    while True:
        try:
            assert zk.get("/a", timeout=2)[0] == b"proper"
            return
        except (ConnectionLoss, OperationTimeoutError, ZookeeperError):
            assert time.monotonic() < deadline


BAD_REPLIES = {
    "length -1": lambda op, xid: struct.pack(">i", -1),
    "length -2^31": lambda op, xid: struct.pack(">i", -(2**31)),
    "2 GiB": lambda op, xid: struct.pack(">ii", 2**31 - 1, xid),
    "2 GiB and silence": lambda op, xid: struct.pack(">i", 2**31 - 1),
    "length 0": lambda op, xid: struct.pack(">i", 0),
    "short frame": lambda op, xid: framed(b"\0" * 15),
    "wrong xid": lambda op, xid: framed(header(xid + 1)),
    "xid 0": lambda op, xid: framed(header(0)),
    "unasked auth": lambda op, xid: framed(header(-4)),
    "short body": lambda op, xid: framed(header(xid, 1) + b"\0\0\0"),
    "long data": lambda op, xid: framed(header(xid, 1) + struct.pack(">i", 2**31 - 1) + b"x" * 68),
    "event not utf-8": lambda op, xid: framed(header(-1) + struct.pack(">iii", 3, 3, 2) + b"\xff\xfe"),
    "http": lambda op, xid: b"HTTP/1.1 200 OK\r\n\r\n",
    "a second answer": lambda op, xid: reply_frame(op, xid, (b"", (0,) * 11)) * 2,
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_bad_bytes_end_the_call_and_not_the_client(
    name: str, scripted: Scripted, client: Callable[..., ZooKeeper]
) -> None:
    zk = client()
    zk.start()
    follower: List[Any] = []
    submitted = threading.Event()

    def bad(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != 4:
            return False
        submitted.wait(5)
        wire.send(BAD_REPLIES[name](op, xid))
        return True

    scripted.request = bad
    futures = [zk.submit(GetData("/a")) for _ in range(3)]
    submitted.set()
    other = threading.Thread(target=lambda: follower.append(futures[2].exception(5)))
    other.start()
    started = time.monotonic()
    errors = [future.exception(5) for future in futures]
    other.join(5)
    assert time.monotonic() - started < T * 2 / 3 + 0.7
    assert all(isinstance(e, ZookeeperError) and not isinstance(e, OperationTimeoutError) for e in errors[1:])
    assert isinstance(follower[0], ZookeeperError)
    works_again(zk, scripted)
    assert zk.state == KazooState.CONNECTED


@pytest.mark.parametrize("count", [-1, -2, 2**31 - 1, 1000])
def test_bad_counts_fail_the_call(count: int, scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    zk = client()
    zk.start()

    def bad(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode == 8:
            wire.send(framed(header(xid, 1) + struct.pack(">i", count)))
        return bool(op.opcode == 8)

    scripted.request = bad
    tracemalloc.start()
    try:
        with pytest.raises(MarshallingError):
            zk.get_children("/a", timeout=5)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    works_again(zk, scripted)


def test_names_that_are_no_utf8_fail_the_call(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    zk = client()
    zk.start()
    scripted.request = lambda wire, xid, op: op.opcode == 8 and not wire.send(
        framed(header(xid, 1) + struct.pack(">ii", 1, 2) + b"\xff\xfe")
    )
    with pytest.raises(MarshallingError):
        zk.get_children("/a", timeout=5)
    works_again(zk, scripted)


def test_unknown_codes_and_unknown_events_cost_nothing(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    zk = client()
    zk.start()

    def odd(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != 3:
            return False
        wire.send(framed(header(-1) + struct.pack(">iii", 42, 99, 2) + b"/a"))
        wire.send(framed(header(-1) + struct.pack(">iii", 3, 3, -1)))
        wire.send(framed(header(xid, 1, -777) + b"more"))
        return True

    scripted.request = odd
    with pytest.raises(ZookeeperError) as caught:
        zk.exists("/a", timeout=5)
    assert type(caught.value) is ZookeeperError
    assert caught.value.code == -777
    assert zk.get("/a", timeout=5)[0] == b"proper"
    assert scripted.connections == 1


def test_an_answer_over_the_limit_is_never_held(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    zk = client(max_frame=100_000)
    zk.start()
    flood = struct.pack(">iiqi", 50_000_000, 1, 1, 0) + b"x" * 3_000_000
    scripted.request = lambda wire, xid, op: op.opcode == 4 and not wire.send(flood)
    tracemalloc.start()
    try:
        with pytest.raises(FrameTooLargeError):
            zk.get("/a", timeout=5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    works_again(zk, scripted)


BAD_HANDSHAKES = {
    "negative": struct.pack(">i", -1),
    "2 GiB": struct.pack(">i", 2**31 - 1),
    "http": b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n",
    "read-only": bytes.fromhex("00000010000000000000000100000006ffffff89"),
    "event first": event_frame("CHANGED", "/a" * 20),
    "password": welcome_frame(passwd=b"x" * 3000),
    "no session": welcome_frame(sid=0),
    "expired": welcome_frame(timeout_ms=0, sid=0),
    "eof": b"",
}


@pytest.mark.parametrize("name", BAD_HANDSHAKES)
def test_bad_handshakes_are_tried_again_until_one_is_good(
    name: str, scripted: Scripted, client: Callable[..., ZooKeeper]
) -> None:
    """H05, H13, M13, and the text of start()'s error says what it was."""

    def bad(wire: Wire) -> bool:
        wire.send(BAD_HANDSHAKES[name])
        if name != "eof":
            wire.until_closed()
        return True

    scripted.handshake = bad
    zk = client()
    starting = threading.Thread(target=zk.start, args=(8,))
    starting.start()
    scripted.wait(lambda: scripted.connections >= 2)
    scripted.handshake = None
    starting.join(8)
    assert zk.connected
    assert zk.get("/a", timeout=9)[0] == b"proper"


def test_what_start_says_about_another_service(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    scripted.handshake = lambda wire: not wire.send(BAD_HANDSHAKES["http"])
    zk = client()
    with pytest.raises(OperationTimeoutError, match="not the answer of a ZooKeeper server"):
        zk.start(timeout=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("dripping", [False, True])
def test_silence_and_drops_in_the_handshake_are_bounded(
    dripping: bool, scripted: Scripted, client: Callable[..., ZooKeeper]
) -> None:
    """H01, H02: kazoo and go-zookeeper wait for each byte anew."""

    def slow(wire: Wire) -> bool:
        for byte in welcome_frame() if dripping else b"":
            wire.send(bytes([byte]))
            if wire.closed.wait(0.1):
                break
        wire.until_closed()
        return True

    scripted.handshake = slow
    zk = client(connect_timeout=0.4)
    started = time.monotonic()
    with pytest.raises(OperationTimeoutError):
        zk.start(timeout=1.0)
    assert 1.0 <= time.monotonic() - started < 2.0
    assert scripted.connections >= 2  # it has given up the first one by itself


@pytest.mark.slow
def test_a_silent_server_does_not_hold_up_start_beyond_its_timeout(
    scripted: Scripted, client: Callable[..., ZooKeeper]
) -> None:
    """Neither does the close with which start() ends."""
    scripted.handshake = lambda wire: wire.until_closed() or True
    zk = client(timeout=6.0)
    started = time.monotonic()
    with pytest.raises(OperationTimeoutError):
        zk.start(timeout=0.5)
    assert time.monotonic() - started < 1.5


@pytest.mark.slow
def test_a_reply_that_drips_in_is_bounded(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    """T08."""
    zk = client()
    zk.start()

    def drip(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != 4:
            return False
        for byte in reply_frame(op, xid, (b"x" * 500, (0,) * 11)):
            wire.send(bytes([byte]))
            if wire.closed.wait(0.05):
                break
        return True

    scripted.request = drip
    started = time.monotonic()
    with pytest.raises(ConnectionLoss):
        zk.get("/a")
    assert time.monotonic() - started < T * 2 / 3 + 0.05 * 8 + 0.5
    works_again(zk, scripted)


@pytest.mark.long
def test_a_server_that_reads_nothing(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    """T09: the buffers are full, the loop goes on, the loss comes after two thirds."""
    zk = client()
    zk.start()
    stuck = threading.Event()

    def stop_reading(wire: Wire, xid: int, op: Any) -> bool:
        stuck.wait(10)
        return True

    scripted.request = stop_reading
    try:
        started = time.monotonic()
        futures = [zk.submit(SetData("/a", b"x" * 1_000_000)) for _ in range(20)]
        errors = [future.exception(5) for future in futures]
        assert time.monotonic() - started < T * 2 / 3 + 0.7
        assert all(isinstance(e, ConnectionLoss) for e in errors)
        assert not errors[-1].sent  # type: ignore[union-attr]
        assert errors[0].sent  # type: ignore[union-attr]
    finally:
        stuck.set()
    works_again(zk, scripted)


@pytest.mark.slow
def test_a_flood_of_events_starves_nobody(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    """T10, M16: calls are answered, timers run, memory stays."""
    zk = client(timeout=4 * T)  # long enough for a busy machine to take in a whole flood
    zk.start()
    flood = event_frame("CHANGED", "/other") * 30_000

    def flooded(wire: Wire, xid: int, op: Any) -> bool:
        wire.send(flood)
        return False

    scripted.request = flooded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    end, calls = time.monotonic() + 1.5 * T, 0
    while time.monotonic() < end:
        assert zk.get("/a", timeout=3)[0] == b"proper"
        calls += 1
    assert calls >= 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert scripted.connections == 1
    scripted.request = None


@pytest.mark.long
def test_our_own_bytes_come_back(client: Callable[..., ZooKeeper], scripted: Scripted) -> None:
    """T15: a ConnectRequest is no ConnectResponse."""

    def echo(wire: Wire) -> bool:
        wire.send(framed(struct.pack(">iqiq", 0, 0, 1500, 0) + struct.pack(">i", 16) + b"\0" * 17))
        wire.until_closed()
        return True

    scripted.handshake = echo
    zk = client()
    with pytest.raises(OperationTimeoutError):
        zk.start(timeout=0.5)


@pytest.mark.long
def test_close_is_bounded_whatever_the_server_does(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    """S09, S10: silence, the end of the stream, and bad bytes instead of the answer."""
    for answer in (None, b"", struct.pack(">i", -1), framed(header(77))):
        zk = client()
        zk.start()

        def odd(wire: Wire, xid: int, op: Any, answer: Any = answer) -> bool:
            if op.opcode == -11 and answer is not None:
                wire.send(answer)
                wire.sock.shutdown(2)
            return True

        scripted.request = odd
        future = zk.submit(GetData("/a"))
        started = time.monotonic()
        zk.close()
        assert time.monotonic() - started < (T / 3 + 0.5 if answer is None else 0.4)
        assert isinstance(future.exception(0), ZookeeperError)
        scripted.request = None


@pytest.mark.slow
def test_another_session_on_resume_is_told_as_a_loss(scripted: Scripted, client: Callable[..., ZooKeeper]) -> None:
    """H08, on a real socket."""
    zk = client()
    states: List[str] = []
    connected = threading.Event()
    zk.add_listener(lambda state: (states.append(state), connected.set() if state == KazooState.CONNECTED else None))
    zk.start()
    assert connected.wait(5)
    connected.clear()

    def other(wire: Wire) -> bool:
        wire.send(welcome_frame(900, 0x9999))
        scripted.handshake = None
        wire.until_closed()
        return True

    scripted.handshake = other
    scripted.cut()
    assert connected.wait(5)
    assert states == ["CONNECTED", "SUSPENDED", "LOST", "CONNECTED"]
    assert zk.client_id is not None
    assert zk.client_id[0] == 0x9999
