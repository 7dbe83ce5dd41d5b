"""The catalogue's rows on malformed and hostile answers, on both fronts: only declared errors, and the client lives."""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time
import tracemalloc
from typing import Any, Callable, Dict, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.feeding import mutations
from tests.kit.fronts import SLACK, Front, Log, eager, settled, told, until
from tests.kit.hostile import ANSWERS, Scripted, Wire
from tests.kit.world import STAT0, event_frame, framed, header, reply_frame, welcome_frame
from zkwire.errors import (
    ConnectionLoss, FrameTooLargeError, MarshallingError, ProtocolError, SessionExpiredError, ZookeeperError,
)  # fmt: skip
from zkwire.wire.jute import USTRING, encode
from zkwire.ops import Create, GetACL, GetChildren, GetData, Multi, SetData

T = 1.0
STAT = struct.pack(">qqqqiiiqiiq", *STAT0)


def answering(opcode: int, data: Callable[[Any, int], bytes]) -> Callable[[Wire, int, Any], bool]:
    """A server that answers one operation with these bytes."""

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != opcode:
            return False
        wire.send(data(op, xid))
        return True

    return request


class Memory:
    """The most memory taken at once within a block, in bytes."""

    def __enter__(self) -> Memory:
        tracemalloc.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


def lives_on(zk: Any, scripted: Scripted, states: Log, session: Any) -> None:
    """It was a lost connection, no more; and the same client works at the same server, which is proper now."""
    scripted.request = scripted.handshake = scripted.ping = None

    def answered() -> bool:
        try:
            return bool(zk.get("/a", timeout=5)[0] == b"proper")
        except ConnectionLoss:  # of one more connection that had begun to drip
            return False

    until(answered)
    assert zk.client_id == session
    settled(zk)
    assert set(states.seen) <= {"SUSPENDED", "CONNECTED"}


LENGTHS: Dict[str, Any] = {
    "-1": struct.pack(">i", -1),
    "-2^31": struct.pack(">i", -(2**31)),
    "2^31-1, then nothing": struct.pack(">i", 2**31 - 1),
    "2^31-1, and a header": struct.pack(">iiqi", 2**31 - 1, -1, 0, 0),
    "0": struct.pack(">i", 0),
    "4": struct.pack(">ii", 4, 1),
    "15": framed(b"\0" * 15),
}


@fault("M01", "M02", "M03")
@pytest.mark.parametrize("name", LENGTHS)
def test_impossible_lengths(name: str, front: Front) -> None:
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts))
    states, session = told(zk), zk.client_id
    scripted.request = answering(4, lambda op, xid: LENGTHS[name])
    began = time.monotonic()
    with Memory() as memory:
        error = zk.submit(GetData("/a")).exception(5)
    assert isinstance(error, ConnectionLoss) and error.sent
    # With the length alone nobody knows yet whose answer it is; that costs the time a silence costs.
    assert time.monotonic() - began < (T * 2 / 3 if "nothing" in name else 0.0) + SLACK
    assert memory.peak < 3_000_000
    lives_on(zk, scripted, states, session)


@pytest.mark.slow
@fault("M01")
def test_impossible_lengths_time_and_again_are_no_busy_loop(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=3.0)
    states, session = told(zk), zk.client_id
    scripted.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid) + struct.pack(">i", -1)
    before, began = scripted.connections, time.monotonic()
    scripted.cut()
    scripted.wait(lambda: scripted.connections >= before + 3)
    threading.Event().wait(max(0.0, began + 1.0 - time.monotonic()))  # the time over which they are counted
    # Up to a second apart, half of it on average: enough not to be a storm.
    assert scripted.connections - before <= 12
    scripted.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid)
    scripted.cut()
    lives_on(zk, scripted, states, session)


def body(op: Any, xid: int, data: bytes) -> bytes:
    return framed(header(xid, 1) + data)


#: What is asked, the opcode, and the body of the answer to it.
BODIES: Dict[str, Any] = {
    # M04
    "2^31-1 children": (lambda zk: zk.get_children("/a"), 8, struct.pack(">i", 2**31 - 1)),
    "-2 children": (lambda zk: zk.get_children("/a"), 8, struct.pack(">i", -2)),
    "more children than bytes": (lambda zk: zk.get_children("/a"), 8, struct.pack(">iii", 3, 0, 0)),
    "2^31-1 children, with Stat": (
        lambda zk: zk.get_children("/a", include_data=True), 12, struct.pack(">i", 2**31 - 1) + STAT),
    "2^31-1 ACLs": (lambda zk: zk.get_acls("/a"), 6, struct.pack(">i", 2**31 - 1) + STAT),
    # M05
    "data beyond the frame": (lambda zk: zk.get("/a"), 4, struct.pack(">i", 100) + b"x" * 20),
    "2 GiB of data": (lambda zk: zk.get("/a"), 4, struct.pack(">i", 2**31 - 1) + STAT),
    "data of length -2": (lambda zk: zk.get("/a"), 4, struct.pack(">i", -2) + STAT),
    "a name beyond the frame": (lambda zk: zk.get_children("/a"), 8, struct.pack(">ii", 1, 1000) + b"x"),
    "a path beyond the frame": (lambda zk: zk.create("/a"), 1, struct.pack(">i", 2**31 - 1) + b"/a"),
    "no Stat": (lambda zk: zk.exists("/a"), 3, b""),
    # M06
    "a child that is no UTF-8": (lambda zk: zk.get_children("/a"), 8, struct.pack(">ii", 1, 2) + b"\xff\xfe"),
    "a path that is no UTF-8": (lambda zk: zk.create("/a"), 1, struct.pack(">i", 2) + b"/\xff"),
    "a scheme that is no UTF-8": (
        lambda zk: zk.get_acls("/a"), 6,
        struct.pack(">iii", 1, 31, 2) + b"\xc0\x80" + encode(USTRING, "anyone") + STAT),
    "an overlong slash": (lambda zk: zk.create("/a"), 1, struct.pack(">i", 3) + b"\xc0\xafa"),
    # M07
    "a multi without an end": (
        lambda zk: zk.multi([Create("/a")]), 14, struct.pack(">ibi", 1, 0, -1) + encode(USTRING, "/a")),
    "a multi of 400000 results": (
        lambda zk: zk.multi([Create("/a")]), 14, struct.pack(">ibi", 2, 0, -1) * 400_000 + struct.pack(">ibi", -1, 1, -1)),
    "a multi with a result of another type": (
        lambda zk: zk.multi([Create("/a")]), 14, struct.pack(">ibi", 2, 0, -1) + struct.pack(">ibi", -1, 1, -1)),
    "a multi with a result of no type": (
        lambda zk: zk.multi([Create("/a")]), 14, struct.pack(">ibi", 99, 0, -1) + struct.pack(">ibi", -1, 1, -1)),
    "a multi with no result": (lambda zk: zk.multi([Create("/a")]), 14, struct.pack(">ibi", -1, 1, -1)),
    # M09
    "another path": (lambda zk: zk.create("/a"), 1, encode(USTRING, "/zookeeper/quota")),
    "another parent": (lambda zk: zk.create("/a/b-", sequence=True), 1, encode(USTRING, "/b-0000000001")),
    "a path below another": (lambda zk: zk.create("/a-", sequence=True), 1, encode(USTRING, "/a-/../x0000000001")),
    "another path in a multi": (
        lambda zk: zk.multi([Create("/a")]), 14,
        struct.pack(">ibi", 1, 0, -1) + encode(USTRING, "/b") + struct.pack(">ibi", -1, 1, -1)),
}  # fmt: skip


@fault("M04", "M05", "M06", "M07", "M09")
@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_cannot_be_right(name: str, front: Front) -> None:
    call, opcode, data = BODIES[name]
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts))
    states, session = told(zk), zk.client_id
    scripted.request = answering(opcode, lambda op, xid: body(op, xid, data))
    with Memory() as memory, pytest.raises(MarshallingError):
        call(zk)
    assert memory.peak < 3_000_000 + 40 * len(data)
    lives_on(zk, scripted, states, session)


@fault("M07")
def test_a_multi_of_a_million_results(front: Front) -> None:
    """More than a frame may hold: refused by its length, and none of it is kept."""
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts))
    states, session = told(zk), zk.client_id
    results = struct.pack(">ibi", 2, 0, -1) * 10**6 + struct.pack(">ibi", -1, 1, -1)

    def million(wire: Wire, xid: int, op: Any) -> bool:
        wire.send(struct.pack(">i", 16 + len(results)) + header(xid, 1))
        wire.send(results)
        return True

    scripted.request = million
    with Memory() as memory, pytest.raises(FrameTooLargeError):
        zk.multi([Create("/a")])
    assert memory.peak < 3_000_000
    lives_on(zk, scripted, states, session)


@fault("M09")
@pytest.mark.parametrize("path", ["/app2/a", "/app", "/other/a", "/appa"])
def test_a_create_outside_the_chroot(path: str, front: Front) -> None:
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts + "/app"))
    states, session = told(zk), zk.client_id
    scripted.request = answering(1, lambda op, xid: body(op, xid, encode(USTRING, path)))
    with pytest.raises(MarshallingError):
        zk.create("/a")
    lives_on(zk, scripted, states, session)


@fault("M06")
def test_an_event_that_is_no_utf8(front: Front) -> None:
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts))
    states, session, log = told(zk), zk.client_id, Log()
    zk.get("/a", watch=log)
    scripted.request = answering(4, lambda op, xid: framed(header(-1) + struct.pack(">iii", 3, 3, 2) + b"\xff\xfe"))
    error = zk.submit(GetData("/b")).exception(5)
    assert isinstance(error, ConnectionLoss)
    lives_on(zk, scripted, states, session)


HOSTILE_NAMES = ["a/b", "", ".", "..", "x\0y", "../../zookeeper", "/etc", "\x1b[2J"]


@fault("M08")
@pytest.mark.parametrize("bad", HOSTILE_NAMES)
def test_names_that_can_be_no_part_of_a_path(bad: str, front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts)

    def children(op: Any, xid: int) -> bytes:
        names = ["good", bad]
        return reply_frame(op, xid, names if op.opcode == 8 else (names, STAT0), zxid=1)

    scripted.request = lambda wire, xid, op: op.opcode in (8, 12) and not wire.send(children(op, xid))
    assert zk.get_children("/a") == ["good", bad], "it is data"
    with pytest.raises(ValueError, match="invalid node name"):
        zk.delete("/a", recursive=True)
    client = front.disco(zk=zk)
    assert client.get_entries("/services")[0] == ["proper"]
    allowed = {None, "/", "/a", "/a/good", "/services", "/services/good"}
    assert {getattr(op, "path", None) for op in scripted.seen} <= allowed
    assert scripted.connections == 1


@fault("M10")
def test_zxids_that_go_back_are_negative_or_far_ahead(front: Front) -> None:
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts))
    states, session, shown = told(zk), zk.client_id, []

    def resumed(wire: Wire) -> bool:
        shown.append(struct.unpack_from(">q", wire.first, 8)[0])
        return False

    scripted.handshake = resumed
    newest_of = (((7, 3, -1, 0, -(2**63)), 7), ((3,), 7), ((9, 8), 9), ((2**63 - 1, 10), 2**63 - 1), ((10,), 2**63 - 1))
    for zxids, newest in newest_of:  # on one connection, and on those after it
        for zxid in zxids:
            scripted.request = answering(4, lambda op, xid, zxid=zxid: reply_frame(op, xid, (b"", STAT0), zxid=zxid))  # type: ignore[misc]
            zk.get("/a")
        count = len(shown)
        scripted.cut()
        until(lambda count=count: len(shown) > count and zk.connected)  # type: ignore[misc]
        assert shown[-1] == newest
    settled(zk)
    assert zk.client_id == session and "LOST" not in states.seen


@pytest.mark.slow
@fault("M10")
def test_a_zxid_far_ahead_ends_with_the_session(front: Front) -> None:
    """An honest server refuses who has seen more than it has; the session expires here, and the next begins at 0."""
    scripted, shown = front.scripted(), []
    zk = eager(front.client(scripted.hosts))
    states = told(zk)
    scripted.request = answering(4, lambda op, xid: reply_frame(op, xid, (b"", STAT0), zxid=2**63 - 1))
    zk.get("/a")
    scripted.request = None

    def honest(wire: Wire) -> bool:
        shown.append(struct.unpack_from(">q", wire.first, 8)[0])
        return bool(shown[-1] > 1000)  # and hangs up

    scripted.handshake = honest
    began = time.monotonic()
    scripted.cut()
    assert states.wait(3) == ["SUSPENDED", "LOST", "CONNECTED"]
    assert time.monotonic() - began < T * 4 / 3 + SLACK
    assert shown[-1] == 0 and zk.get("/a")[0] == b"proper"


def drip(wire: Wire, data: bytes) -> bool:
    for byte in data:
        wire.send(bytes([byte]))
        if wire.closed.wait(0.04):
            break
    return True


STAGES = ["handshake", "identity", "watches", "reply", "event", "ping", "error", "goodbye"]


@pytest.mark.slow
@fault("M11")
@pytest.mark.parametrize("stage", STAGES)
def test_dripping_at_every_stage(stage: str, front: Front) -> None:
    """Deadlines go by progress: bytes alone do not keep a connection up."""
    scripted = front.scripted()
    options = {"auth_data": [("digest", "bob:x")]} if stage == "identity" else {}
    zk = eager(front.client(scripted.hosts, **options))
    states, session, log = told(zk), zk.client_id, Log()
    zk.get("/a", watch=log)
    began = time.monotonic()
    long = b"x" * 200
    if stage == "handshake":
        scripted.handshake = lambda wire: drip(wire, welcome_frame() + long)
    elif stage == "identity":
        scripted.identity = lambda wire: drip(wire, framed(header(-4) + long))
    elif stage == "watches":
        scripted.request = lambda wire, xid, op: op.opcode in (101, 105) and drip(wire, framed(header(xid) + long))
    if stage in ("handshake", "identity", "watches"):
        before = scripted.connections
        scripted.cut()
        scripted.wait(lambda: scripted.connections >= before + 2)  # the first was given up, by us
        limit = {"handshake": T, "identity": T * 2 / 3, "watches": T * 2 / 3}[stage]
    elif stage == "goodbye":
        scripted.request = lambda wire, xid, op: op.opcode == -11 and drip(wire, framed(header(xid) + long))
        zk.close()
        assert time.monotonic() - began < 0.5 + SLACK
        return
    else:
        scripted.ping = lambda wire: drip(wire, framed(header(-2) + long)) if stage == "ping" else True
        data = {"reply": lambda op, xid: reply_frame(op, xid, (long, STAT0)),
                "error": lambda op, xid: framed(header(xid, 0, -101) + long),
                "event": lambda op, xid: event_frame("CHANGED", "/" + "x" * 200)}  # fmt: skip
        if stage != "ping":
            scripted.request = lambda wire, xid, op: op.opcode == 4 and drip(wire, data[stage](op, xid))
            assert isinstance(zk.submit(GetData("/a")).exception(5), ConnectionLoss)
        states.wait(1)
        limit = T * 2 / 3
    # Once, the first eight bytes of a reply count: they say whose it is; they take a third of a second here.
    assert time.monotonic() - began < limit + 8 * 0.04 + 4 * SLACK  # all of it would take 8 s
    scripted.identity = None
    scripted.request = scripted.handshake = scripted.ping = None
    until(lambda: zk.connected)
    assert zk.get("/a", timeout=5)[0] == b"proper"
    settled(zk)
    assert zk.client_id == session or "LOST" in states.seen


@pytest.mark.slow
@fault("M12")
@pytest.mark.parametrize("layer", ["garbage", "handshake", "frames", "bodies"])
def test_random_bytes_at_every_layer(layer: str, front: Front) -> None:
    """A small share of what `make fuzz` does: only declared errors, and the client goes on."""
    dice = random.Random(layer)
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts, timeout=2.0))
    good = {op.opcode: reply_frame(op, 1, ANSWERS[op.opcode](op)) for op in (GetData("/a"), GetChildren("/a"))}
    good[14] = reply_frame(Multi([Create("/a")]), 1, [(1, "/a")])
    good[6] = body(None, 1, struct.pack(">ii", 1, 31) + encode(USTRING, "world") + encode(USTRING, "anyone") + STAT)

    def spoiled(data: bytes) -> bytes:
        return dice.choice(list(mutations(data, dice, 1)) or [data])

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode not in good or not hostile[0]:
            return False
        frame = good[op.opcode][:4] + struct.pack(">i", xid) + good[op.opcode][8:]
        if layer == "garbage":
            wire.send(bytes(dice.randrange(256) for _ in range(dice.randrange(1, 60))))
        elif layer == "bodies":
            wire.send(framed(frame[4:20] + spoiled(frame[20:])))
        else:
            wire.send(spoiled(frame))
        return no_more(wire)

    def no_more(wire: Wire) -> bool:
        try:
            wire.sock.shutdown(socket.SHUT_WR)  # what waits for more has waited long enough
        except OSError:
            pass  # the client has hung up already
        return True

    def welcomed(wire: Wire) -> bool:
        wire.send(spoiled(welcome_frame(1000, dice.randrange(1, 5))))
        return no_more(wire)

    hostile = [layer != "handshake"]
    scripted.request = request
    ops = (GetData("/a"), GetChildren("/a"), Multi([Create("/a")]), GetACL("/a"))
    for i in range(8 if layer == "handshake" else 40):
        if layer == "handshake":
            scripted.handshake = welcomed
            scripted.cut()
            scripted.wait(lambda before=scripted.connections: scripted.connections > before)  # type: ignore[misc]
            continue
        error = zk.submit(ops[i % len(ops)]).exception(5)
        assert error is None or isinstance(error, ZookeeperError)
    hostile[0], scripted.handshake = False, None
    scripted.cut()

    def works() -> bool:
        try:
            return bool(zk.get("/a", timeout=9)[0] == b"proper")
        except (ConnectionLoss, SessionExpiredError, ProtocolError):
            return False

    until(works)


@pytest.mark.slow
@fault("M14")
def test_pings_answered_thrice(front: Front) -> None:
    scripted, pings = front.scripted(), []
    zk = front.client(scripted.hosts)
    states = told(zk)
    scripted.ping = lambda wire: pings.append(0) or not wire.send(framed(header(-2, 99)) * 3)  # type: ignore[func-returns-value]
    until(lambda: len(pings) >= 3)
    assert zk.get("/a")[0] == b"proper"
    settled(zk)
    assert (states.seen, scripted.connections) == ([], 1)

@pytest.mark.long
@fault("M14")
def test_pings_never_answered(front: Front) -> None:
    scripted, pings = front.scripted(), []
    zk = eager(front.client(scripted.hosts))
    states, session = told(zk), zk.client_id
    scripted.ping = lambda wire: not pings.append(0)  # type: ignore[func-returns-value]
    began = time.monotonic()
    states.wait(1)
    assert time.monotonic() - began < T * 2 / 3 + SLACK
    assert pings
    lives_on(zk, scripted, states, session)


@fault("M15")
def test_answers_to_what_was_not_sent_in_full(front: Front) -> None:
    scripted, read, answered = front.scripted(), [], threading.Event()

    def hasty(wire: Wire) -> bool:
        wire.send(welcome_frame(8000))
        first = wire.exactly(12)
        assert first is not None
        (xid,) = struct.unpack_from(">i", first, 4)
        scripted.handshake = None
        go.wait(5)
        wire.send(b"".join(reply_frame(SetData("/a", b""), xid + i, STAT0) for i in range(20)))
        answered.wait(5)
        data = first + (wire.exactly(10**9) or b"")
        read.append(data)
        return True

    go = threading.Event()
    scripted.handshake = hasty
    counted = Counted(scripted)
    zk = eager(front.client(scripted.hosts, timeout=8.0))
    calls = [zk.submit(SetData("/a", b"x" * 1_000_000)) for _ in range(20)]
    threading.Event().wait(0.1)  # the more has left, the better
    go.set()
    began = time.monotonic()
    errors = [call.exception(5) for call in calls]
    assert time.monotonic() - began < 2.0
    answered.set()
    accepted = errors.index(next(error for error in errors if error is not None))
    assert all(isinstance(error, ConnectionLoss) for error in errors[accepted:])
    assert not errors[accepted].sent, "it says so itself: it was not sent"
    until(lambda: counted.done)
    assert accepted <= counted.frames, "and no answer was taken to what had not left"
    assert zk.get("/a")[0] == b"proper"


class Counted:
    """How many whole frames of a million bytes the first connection got, once it is at its end."""

    def __init__(self, scripted: Scripted) -> None:
        self.frames, self.done = 0, False
        inner = scripted.handshake

        def handshake(wire: Wire) -> bool:
            size, recv = 0, wire.sock.recv

            def exactly(count: int) -> Any:
                nonlocal size
                if count < 10**9:
                    return Wire.exactly(wire, count)
                try:
                    while True:
                        more = recv(1 << 20)
                        if not more:
                            break
                        size += len(more)
                except OSError:
                    pass
                self.frames, self.done = (size + 12) // 1_000_030, True
                return None

            wire.exactly = exactly  # type: ignore[method-assign]
            assert inner is not None
            return inner(wire)

        scripted.handshake = handshake


@pytest.mark.slow
@fault("M16")
@pytest.mark.parametrize("frame", ["event", "ping"])
def test_tiny_frames_without_end(frame: str, front: Front) -> None:
    """A second of what would be a GiB in a minute or two: memory stays as it is, calls and time go on."""
    import resource

    scripted, stop = front.scripted(), threading.Event()
    zk = front.client(scripted.hosts, timeout=4.0)
    states = told(zk)
    data = (event_frame("CHANGED", "/other") if frame == "event" else framed(header(-2))) * 400
    senders: List[threading.Thread] = []
    sent = [0]

    def flood(wire: Wire) -> None:
        while not stop.is_set() and not wire.closed.is_set():
            wire.send(data)
            sent[0] += len(data)

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if senders:
            return False
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
        lock, send = threading.Lock(), wire.send

        def alone(data: bytes) -> None:
            with lock:
                send(data)

        wire.send = alone  # type: ignore[method-assign]
        senders.append(threading.Thread(target=flood, args=(wire,)))
        senders[0].start()
        return False

    scripted.request = request
    try:
        zk.get("/a")
        before, blocks = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, sys.getallocatedblocks()
        end, calls = time.monotonic() + 1.0, 0
        while time.monotonic() < end:
            assert zk.get("/a")[0] == b"proper"
            calls += 1
        assert calls >= 1
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
        frames = sent[0] * 400 // len(data)
        assert 4 * (sys.getallocatedblocks() - blocks) < frames, "nothing is kept of a frame"
        assert sent[0] > 500_000
    finally:
        stop.set()
        for sender in senders:
            sender.join(5)
    settled(zk)
    assert (states.seen, scripted.connections) == ([], 1)

