"""The fault catalogue's rows on requests and replies, on both fronts."""

from __future__ import annotations

import asyncio
import struct
import threading
from typing import Any, Callable, Dict, List

import pytest

import zkdisco
from tests.kit.catalogue import fault
from tests.conftest import AnyServer
from tests.kit.fronts import Front, Log, Requests, real, settled, until
from tests.kit.hostile import Wire
from tests.kit.world import STAT0, framed, header, reply_frame
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.embedded.tree import CONTAINER
from zkwire.errors import (
    AuthFailedError, BadVersionError, ConnectionClosedError, ConnectionLoss, FrameTooLargeError, MarshallingError,
    NodeExistsError, NoNodeError, QuotaExceededError, RolledBackError, RuntimeInconsistency, SessionMovedError,
    ThrottledOpError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import Check, Create, Delete, GetChildren, GetData, SetData, Sync
from zkwire.values import ACL, OPEN_ACL_UNSAFE, Id

PATIENT = 4.0


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon after a loss: these tests have few clients, and many losses."""
    monkeypatch.setattr("zkwire.session.host_provider.SPREAD", 0.02)



def listening(zk: Any) -> Log:
    """A log of the states to come."""
    log = Log()
    zk.add_listener(log)
    return log


# ------------------------------------------------------------------- answers that are lost


@fault("R01")
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_create_whose_answer_is_lost_is_not_repeated(front: Front, how: str) -> None:
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk = front.client(proxy.hosts, timeout=PATIENT)
    proxy.cut_after(0, "down", how)
    with pytest.raises(ConnectionLoss) as caught:
        zk.create("/n-", sequence=True)
    assert caught.value.sent and caught.value.maybe_applied
    assert [name for name in zk.get_children("/") if name != "zookeeper"] == ["n-0000000000"]
    assert requests.opcodes(1) == [1]
    assert requests.opcodes(2) == [8]


@fault("R02")
def test_a_protected_create_whose_answers_are_lost_is_one_node(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=0.9)
    for number in range(8):
        zk.create(f"/{number}")
        zk.create(f"/{number}/_c_x", b"a stranger's, with a name that is no GUID")
        proxy.cut_after(number * 9, "down", "rst" if number % 2 else "fin")
        path = zk.create(f"/{number}/n-", ephemeral=True, sequence=True, protect=True)
        assert set(zk.get_children(f"/{number}")) == {"_c_x", path.rpartition("/")[2]}
        assert zk.exists(path).ephemeralOwner == zk.client_id[0]


@fault("R03")
def test_a_protected_create_does_not_take_a_node_of_the_dying_session(front: Front) -> None:
    """The answer is lost and then the session, of which the server has yet to clean up."""
    server = front.server()
    zk, other = front.client(server.hosts, timeout=9.0), front.client(server.hosts)
    old, states = zk.client_id[0], listening(zk)
    server.black_hole("out", old)
    made: List[str] = []
    creating = threading.Thread(
        target=lambda: made.append(zk.create("/n-", ephemeral=True, sequence=True, protect=True))
    )
    creating.start()
    (name,) = until(lambda: [name for name in other.get_children("/") if name != "zookeeper"])
    server._core.sessions._secret = b"another"  # so that it takes our password for a wrong one
    server.cut(old)
    server.heal()
    creating.join(8)
    settled(zk)
    assert "LOST" in states.seen and zk.client_id[0] != old
    assert old in server.sessions, "the server has it still"
    names = [child for child in other.get_children("/") if child != "zookeeper"]
    assert [f"/{child}" for child in names] == made != [f"/{name}"]
    assert other.exists(made[0]).ephemeralOwner == zk.client_id[0]


@fault("R04")
def test_what_a_second_try_says_is_not_taken_for_the_outcome_of_the_first(front: Front) -> None:
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk = front.client(proxy.hosts, timeout=PATIENT)
    zk.create("/a", b"0")
    proxy.cut_after(0, "down")
    with pytest.raises(ConnectionLoss) as caught:
        zk.set("/a", b"1", version=0)
    assert caught.value.maybe_applied, "the first try is in doubt"
    with pytest.raises(BadVersionError) as refused:
        zk.set("/a", b"1", version=0)
    assert not refused.value.maybe_applied, "the second is not: it changed nothing"
    value, stat = zk.get("/a")
    assert (value, stat.version) == (b"1", 1), "who reads again knows"
    proxy.cut_after(0, "down")
    with pytest.raises(ConnectionLoss):
        zk.delete("/a", version=1)
    with pytest.raises(NoNodeError):
        zk.delete("/a", version=1)
    zk.create("/tree/a/b", makepath=True)
    proxy.cut_after(1, "down")
    with pytest.raises(ConnectionLoss):
        zk.delete("/tree", recursive=True)
    assert zk.delete("/tree", recursive=True)
    sent = [code for connection in range(1, proxy.connections + 1) for code in requests.opcodes(connection)]
    assert sent.count(5) == 2, "each set was sent by its caller, once"


# ------------------------------------------------------------------------ odd answers

OUT_OF_STEP: Dict[str, Callable[[Any, int], bytes]] = {
    "not the head": lambda op, xid: reply_frame(op, xid + 1, (b"", STAT0)),
    "duplicate": lambda op, xid: reply_frame(op, xid, (b"", STAT0)) * 2,
    "unsolicited": lambda op, xid: reply_frame(op, 99, (b"", STAT0)),
    "unsolicited auth": lambda op, xid: framed(header(-4)),
    "skipped": lambda op, xid: b"",
}


@fault("R06")
@pytest.mark.parametrize("name", [name for name in OUT_OF_STEP if name != "skipped"])
def test_answers_out_of_step_cost_the_connection(front: Front, name: str) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    states, submitted = listening(zk), threading.Event()

    def bad(wire: Wire, xid: int, op: Any) -> bool:
        if op.path == "/bad":
            submitted.wait(5)
            wire.send(OUT_OF_STEP[name](op, xid))
        return bool(op.path == "/bad")

    scripted.request = bad
    calls = front.submit(zk, [GetData("/bad"), *[GetData("/a")] * 3])
    submitted.set()
    errors = [call.exception(5) for call in calls]
    states.wait(2)
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]
    assert all(isinstance(error, ConnectionLoss) for error in errors[1:])
    assert name == "duplicate" or isinstance(errors[0], ConnectionLoss)
    assert zk.get("/a")[0] == b"proper"
    assert scripted.connections == 2


@fault("R25")
def test_an_answer_left_out_is_found_at_the_next(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    states, submitted = listening(zk), threading.Event()
    scripted.request = lambda wire, xid, op: submitted.wait(5) and op.path == "/skipped"
    calls = front.submit(zk, [GetData("/a"), GetData("/skipped"), GetData("/a"), SetData("/a", b"")])
    submitted.set()
    errors = [call.exception(5) for call in calls]
    assert errors[0] is None
    assert [type(error) for error in errors[1:]] == [ConnectionLoss] * 3
    states.wait(2)
    assert zk.get("/a")[0] == b"proper"
    with pytest.raises(ValueError, match="cannot be submitted"):
        zk.submit(Check("/a"))  # 3.8.0 never answers it
    assert [op.opcode for op in scripted.seen if op.opcode == 13] == []


@fault("R08")
def test_an_unknown_code_is_a_plain_error_with_that_code(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    states = listening(zk)
    for code in (-777, -10, 5, -(2**31)):
        scripted.request = lambda wire, xid, op, code=code: not wire.send(framed(header(xid, 1, code)))
        with pytest.raises(ZookeeperError) as caught:
            zk.get("/a")
        assert (type(caught.value), caught.value.code) == (ZookeeperError, code)
    scripted.request = None
    assert zk.get("/a")[0] == b"proper"
    settled(zk)
    assert (states.seen, scripted.connections) == ([], 1)


@fault("R11")
def test_throttling_and_quotas_are_errors_of_their_own(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    for code, kind in ((-127, ThrottledOpError), (-125, QuotaExceededError)):
        scripted.request = lambda wire, xid, op, code=code: not wire.send(framed(header(xid, 1, code)))
        with pytest.raises(kind) as caught:
            zk.set("/a", b"1")
        assert not caught.value.maybe_applied
        assert caught.value.path == "/a"
    assert "try again" in str(ThrottledOpError()) and "safe to try again" in str(ThrottledOpError.__doc__)
    scripted.request = None
    assert zk.get("/a")[0] == b"proper"
    assert scripted.connections == 1


@fault("R22")
def test_bodies_too_short_and_too_long(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=1.5)
    whole = reply_frame(GetData("/a"), 1, (b"data", STAT0))[4:]

    submitted = threading.Event()
    submitted.set()

    def answer(body: Callable[[bytes], bytes]) -> Callable[[Wire, int, Any], bool]:
        def send(wire: Wire, xid: int, op: Any) -> bool:
            if op.path == "/odd":
                submitted.wait(5)
                wire.send(framed(body(struct.pack(">i", xid) + whole[4:])))
            return bool(op.path == "/odd")

        return send

    scripted.request = answer(lambda body: body + b"a tail of a version to come")
    assert zk.get("/odd")[0] == b"data"
    assert zk.get("/a")[0] == b"proper"
    assert scripted.connections == 1
    for cut in (16, 18, 25, len(whole) - 1):
        connections = scripted.connections
        scripted.request = answer(lambda body, cut=cut: body[:cut])
        submitted.clear()
        calls = front.submit(zk, [GetData("/odd"), GetData("/a")])
        submitted.set()
        assert type(calls[0].exception(5)) is MarshallingError
        assert type(calls[1].exception(5)) is ConnectionLoss
        assert zk.get("/a")[0] == b"proper"
        assert scripted.connections == connections + 1


@fault("R26")
def test_an_error_with_a_body_leaves_the_stream_in_step(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    states = listening(zk)
    bodies = {22: (-5, bytes.fromhex("ffffffff01ffffffff")), 4: (-101, b"\xff" * 4), 5: (-110, b"anything at all")}

    def refuse(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode not in bodies or op.path == "/fine":
            return False
        code, body = bodies[op.opcode]
        wire.send(framed(header(xid, 0, code) + body))
        return True

    scripted.request = refuse
    with pytest.raises(MarshallingError):
        zk.multi_read([GetData("/a")])
    assert zk.get("/fine")[0] == b"proper"
    with pytest.raises(NoNodeError):
        zk.get("/a")
    with pytest.raises(NodeExistsError):
        zk.set("/a", b"")
    assert zk.get("/fine")[0] == b"proper"
    settled(zk)
    assert (states.seen, scripted.connections) == ([], 1)
    other = front.scripted()
    other.auth = framed(header(-4, 0, -115) + b"\xff" * 4)  # a null token
    with pytest.raises(AuthFailedError):
        front.new(other.hosts, timeout=PATIENT, auth_data=[("digest", "user:wrong")]).start()


# ------------------------------------------------------------------ order, size, number


@fault("R07")
def test_an_identitys_answer_may_overtake_those_of_pending_writes(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=PATIENT)
    states = listening(zk)
    for number in range(10):
        server.black_hole("in", zk.client_id[0])  # so that all of it is read at once
        before = front.submit(zk, [Create(f"/{number}-{i}") for i in range(10)])
        adding = threading.Thread(target=zk.add_auth, args=("digest", f"user{number}:secret"))
        adding.start()
        until(lambda: real(zk)._session._requests.connection.auth_replies)
        after = front.submit(zk, [Create(f"/{number}-{i}") for i in range(10, 15)])
        server.heal()
        adding.join(5)
        assert [call.result(5) for call in before + after] == [f"/{number}-{i}" for i in range(15)]
    settled(zk)
    assert states.seen == []
    assert {one.id.partition(":")[0] for one in zk.who_am_i()} > {f"user{number}" for number in range(10)}


@fault("R09")
def test_a_request_over_the_limit_is_refused_here(front: Front) -> None:
    server, requests = front.server(), Requests()
    zk = front.client(front.proxy(server, tap=requests).hosts, timeout=PATIENT)
    states, sent = listening(zk), requests.opcodes
    zk.create("/a")
    room = 0xFFFFF - len(SetData("/a", b"").frame(1, None)) + 4
    zk.set("/a", b"x" * room)
    assert len(zk.get("/a")[0]) == room
    many = [ACL(31, Id("digest", f"user{i}:{'x' * 100}")) for i in range(10_000)]
    count = len(sent(1))
    refusals: List[Callable[[], Any]] = [
        lambda: zk.set("/a", b"x" * (room + 1)), lambda: zk.create("/b", b"x" * 0xFFFFF), lambda: zk.set_acls("/a", many),
        lambda: zk.get("/" + "p" * 0xFFFFF), lambda: zk.multi([SetData("/a", b"x" * 300_000)] * 4),
        lambda: zk.multi_read([GetData("/" + "p" * 1000)] * 1100),
    ]  # fmt: skip
    for refused in refusals:
        with pytest.raises(FrameTooLargeError, match="jute.maxbuffer"):
            refused()
    assert len(sent(1)) == count, "nothing left"
    assert zk.get("/a")[1].version == 1
    settled(zk)
    assert states.seen == []
    small = front.client(server.hosts, max_request=1000)
    with pytest.raises(FrameTooLargeError):
        small.set("/a", b"x" * 1000)
    assert small.set("/a", b"x" * 900).version == 2
    larger = front.server(max_buffer=3_000_000)
    big = front.client(larger.hosts, max_request=3_000_000, timeout=PATIENT)
    big.create("/a", b"x" * 2_000_000)
    assert len(big.get("/a")[0]) == 2_000_000


@pytest.mark.long
@fault("R10")
def test_an_answer_over_the_limit_fails_its_call_and_is_not_asked_for_again(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk, other, log, kept = front.client(proxy.hosts, timeout=9.0), front.client(server.hosts, timeout=9.0), Log(), Log()
    zk.create("/big")
    zk.get("/big", watch=kept)
    for i in range(12):
        other.create(f"/big/{i:02}" + "x" * 900_000)  # 10 MiB of names
    for number in range(2):
        calls = front.submit(zk, [GetChildren("/big", log), GetData("/big")])
        error = calls[0].exception(9)
        assert isinstance(error, FrameTooLargeError) and error.path == "/big"
        calls[1].exception(9)
        assert zk.get("/big")[0] == b""
        assert proxy.connections == number + 2, "one connection for each such answer, and no loop"
    zk.set("/big", b"1")
    settled(zk)
    assert (kept.events, log.seen) == ([("CHANGED", "/big")], [])
    patient = front.client(server.hosts, timeout=9.0, max_frame=20_000_000)
    assert len(patient.get_children("/big")) == 12


@pytest.mark.long
@fault("R14")
def test_ten_thousand_requests_and_a_cut_in_the_middle(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=9.0, max_pending=20_000)
    other = front.client(server.hosts, timeout=9.0)
    if front.loop is not None:
        front.loop.loop.set_debug(False)  # which writes down where each call came from
    proxy.cut_after(60_000, "down", "rst")
    calls = front.submit(zk, [Create(f"/{i}") for i in range(10_000)])
    outcomes = [call.exception(15) for call in calls]
    lost = [isinstance(outcome, ConnectionLoss) for outcome in outcomes]
    answered = lost.index(True)
    waited = answered + lost[answered:].index(False) if False in lost[answered:] else 10_000
    assert 100 < answered < 10_000
    assert outcomes[:answered] == [None] * answered, "a prefix"
    assert all(lost[answered:waited])
    assert outcomes[waited:] == [None] * (10_000 - waited), "submitted behind the loss, they waited"
    sent = [outcome.sent for outcome in outcomes[answered:waited]]
    assert sent == sorted(sent, reverse=True)
    there = {int(name) for name in other.get_children("/") if name != "zookeeper"}
    assert set(range(answered)) | set(range(waited, 10_000)) <= there
    assert not there & {i for i in range(answered, waited) if not outcomes[i].sent}


# --------------------------------------------------------------------------------- multi


def kinds(results: List[Any]) -> List[Any]:
    """Errors by their class, results as they are."""
    return [type(result) if isinstance(result, Exception) else result for result in results]


def transactions(zk: Any) -> None:
    """All that may become of one, at a server that knows containers and TTLs."""
    zk.create("/a")
    assert zk.multi([]) == []
    assert zk.transaction().commit() == []
    bad = SetData("/a", b"", 77)
    for place in range(3):
        ops: List[Any] = [Create("/x"), Create("/y")]
        ops.insert(place, bad)
        with pytest.raises(BadVersionError) as caught:
            zk.multi(ops)
        assert caught.value.path == "/a"
        transaction = zk.transaction()
        transaction.operations[:] = ops
        results = transaction.commit(raise_on_error=False)
        expected: List[Any] = [RolledBackError] * place + [BadVersionError] + [RuntimeInconsistency] * (2 - place)
        assert kinds(results) == expected, "the cause is the one that is neither 0 nor -2"
        assert zk.exists("/x") is None and zk.exists("/y") is None
    transaction = zk.transaction()
    transaction.create("/container", container=True)
    transaction.create("/ttl", b"1", ttl=60.0)
    transaction.create("/ttl-", ttl=60.0, sequence=True)
    transaction.create("/pair", include_data=True)
    transaction.check("/a")
    transaction.delete("/a", 0)
    container, ttl, numbered, pair, checked, deleted = transaction.commit()
    paths = [result if isinstance(result, str) else result[0] for result in (container, ttl, numbered, pair)]
    assert paths[:2] == ["/container", "/ttl"] and paths[2].startswith("/ttl-0") and paths[3] == "/pair"
    assert (checked, deleted) == (None, None)


@fault("R15")
def test_transactions_that_are_empty_or_fail_anywhere(front: Front) -> None:
    server = front.server(version="3.9")
    transactions(front.client(server.hosts, timeout=PATIENT))
    nodes = server._core.data.tree.nodes
    assert (nodes["/container"].owner, nodes["/ttl"].owner) == (CONTAINER, -(1 << 56) + 60_000)


@fault("R15")
def test_a_transaction_of_a_session_that_moved(front: Front) -> None:
    """-118 for each of its parts, and in none of the headers."""
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)

    def moved(wire: Wire, xid: int, op: Any) -> bool:
        part = struct.pack(">i?ii", -1, False, -118, -118)
        wire.send(framed(header(xid, 1) + part * len(op.ops) + struct.pack(">i?i", -1, True, -1)))
        return True

    scripted.request = moved
    with pytest.raises(SessionMovedError):
        zk.multi([Create("/a"), Create("/b")])
    transaction = zk.transaction()
    transaction.create("/a")
    transaction.delete("/b")
    assert kinds(transaction.commit(raise_on_error=False)) == [SessionMovedError, SessionMovedError]
    scripted.request = None
    assert zk.get("/a")[0] == b"proper"


@fault("R16")
def test_a_transaction_below_a_chroot(front: Front) -> None:
    server = front.server()
    operator = front.client(server.hosts)
    operator.create("/app/x", makepath=True)
    zk = front.client(server.hosts + "/app", timeout=PATIENT)
    transaction = zk.transaction()
    transaction.create("/a")
    transaction.create("/a/n-", sequence=True)
    transaction.create("/a/m-", sequence=True, ephemeral=True, include_data=True)
    transaction.set_data("/a", b"1")
    transaction.check("/x")
    transaction.delete("/x")
    results = transaction.commit()
    assert results[:2] == ["/a", "/a/n-0000000000"]
    assert results[2][0] == "/a/m-0000000001"
    assert operator.get("/app/a")[0] == b"1"
    assert sorted(operator.get_children("/app/a")) == ["m-0000000001", "n-0000000000"]
    with pytest.raises(NodeExistsError) as caught:
        zk.multi([Create("/b"), Create("/a")])
    assert caught.value.path == "/a"
    assert zk.multi_read([GetData("/a"), GetChildren("/")])[1] == ["a"]


# -------------------------------------------------------------------- modes, data, names


@fault("R17")
def test_the_mode_decides_the_opcode(front: Front) -> None:
    server, requests = front.server(), Requests()
    zk = front.client(front.proxy(server, tap=requests).hosts, timeout=PATIENT)
    table: List[Any] = [
        (1, 0, {}), (1, 1, {"ephemeral": True}), (1, 2, {"sequence": True}), (1, 3, {"ephemeral": True, "sequence": True}),
        (15, 0, {"include_data": True}), (15, 3, {"include_data": True, "ephemeral": True, "sequence": True}),
        (19, 4, {"container": True}), (21, 5, {"ttl": 9.0}), (21, 6, {"ttl": 9.0, "sequence": True}),
    ]  # fmt: skip
    for number, (opcode, flag, options) in enumerate(table):
        zk.create(f"/{number}", **options)
        (body,) = requests.of(1)[-1:]
        tail = body[:-8] if opcode == 21 else body  # which ends with the ttl
        assert (struct.unpack_from(">i", body, 4)[0], struct.unpack(">i", tail[-4:])[0]) == (opcode, flag), options
    transaction = zk.transaction()
    transaction.create("/c", container=True)
    transaction.commit()
    assert requests.of(1)[-1][8:12] == struct.pack(">i", 19)
    nodes = server._core.data.tree.nodes
    assert nodes["/6"].owner == nodes["/c"].owner == CONTAINER, "and no plain nodes"
    for wrong in ({"container": True, "ephemeral": True}, {"ttl": 1.0, "ephemeral": True}, {"container": True, "ttl": 1.0}):
        with pytest.raises(ValueError, match="a node is"):
            zk.create("/w", **wrong)


@fault("R18")
def test_no_data_and_empty_data_are_two_things(front: Front) -> None:
    zk = front.client(front.server().hosts, timeout=PATIENT)
    for number, value in enumerate((None, b"", b"\0", None)):
        zk.create(f"/{number}", value)
        data, stat = zk.get(f"/{number}")
        assert (data, stat.dataLength) == (value, len(value or b""))
        zk.set(f"/{number}", b"" if value is None else None)
        assert zk.get(f"/{number}")[0] == (b"" if value is None else None)
        transaction = zk.transaction()
        transaction.set_data(f"/{number}", value)
        transaction.create(f"/t{number}", value)
        transaction.commit()
        assert zk.multi_read([GetData(f"/{number}"), GetData(f"/t{number}")])[1][0] == value
        assert zk.get_many([f"/{number}"])[0][0] == value


@fault("R19")
def test_a_path_that_can_be_none_is_refused_before_anything_is_sent(front: Front) -> None:
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT)
    transaction, log = zk.transaction(), Log()
    calls: List[Callable[[str], Any]] = [
        zk.create, zk.get, zk.delete, zk.exists, zk.get_children, zk.get_acls, zk.sync, zk.ensure_path,
        lambda path: zk.set(path, b""), lambda path: zk.set_acls(path, OPEN_ACL_UNSAFE), lambda path: zk.get_many([path]),
        lambda path: zk.add_watch(path, log), lambda path: zk.remove_watches(path), transaction.create, transaction.delete,
        transaction.check, lambda path: transaction.set_data(path, b""), lambda path: zk.create(path, makepath=True),
        lambda path: zk.create(path, container=True), lambda path: zk.create(path, ttl=1.0),
        lambda path: zk.create(path, ephemeral=True, sequence=True, protect=True), lambda path: zk.get(path, watch=log),
        lambda path: zk.delete(path, recursive=True), lambda path: zk.create(path + "x/../n-", sequence=True),
    ]  # fmt: skip
    for path in ("", "a", "/a//b", "/a/../b", "/a\0", "/\ud800", "/\U0001f600"):
        for call in calls:
            with pytest.raises(ValueError, match="invalid path"):
                call(path)
    for path in ("/.", "/a/", "/a/.."):  # to which the server would add the digits of a sequential node
        for call in calls[:7]:
            with pytest.raises(ValueError, match="invalid path"):
                call(path)
    assert zk.get("/a")[0] == b"proper"
    assert [op.path for op in scripted.seen] == ["/a"]


@fault("R23")
def test_a_sequence_number_may_be_negative_and_of_eleven_characters(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=0.9)
    zk.create("/p")
    nodes = server._core.data.tree.nodes
    nodes["/p"].creates = -(2**31)  # it has had as many children
    negative = zk.create("/p/n-", sequence=True)
    assert negative == "/p/n--2147483648"
    proxy.cut_after(0, "down")
    ours = zk.create("/p/n-", ephemeral=True, sequence=True, protect=True)
    assert ours.endswith("-n--2147483647"), "found again by its name, whatever the number"
    assert len(zk.get_children("/p")) == 2
    transaction = zk.transaction()
    transaction.create("/p/t-", sequence=True)
    assert transaction.commit() == ["/p/t--2147483646"]
    zk.delete(negative)
    disco = front.disco(zk=zk)
    zk.create("/s")
    nodes["/s"].creates = -(2**31)
    registrar = front.registrar(disco, zkdisco.Service("/", "s", b"host:1"))
    assert registrar.register().endswith("--2147483648")
    assert disco.get_entries("/s")[0] == ["host:1"]
    instancer = front.instancer(disco, "/s")
    assert instancer.state.instances == ("host:1",)
    instancer.stop()
    registrar.deregister()
    assert zk.get_children("/s") == []


# ---------------------------------------------------------------------------- many, and last


@pytest.mark.slow
@fault("R21")
def test_sixty_four_callers_at_once_each_in_its_order(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    client, problems = real(zk), Log()
    rounds = 25

    def check(number: int, versions: List[int], value: bytes) -> None:
        if versions != list(range(1, rounds * 4 + 1)) or value != b"%d" % (rounds * 4):
            problems((number, versions, value))

    def blocking(number: int) -> None:
        path, versions = f"/{number}", []
        client.create(path)
        for step in range(rounds):
            calls = [client.submit(SetData(path, b"%d" % (step * 4 + i + 1))) for i in range(3)]
            versions += [call.result(9).version for call in calls]
            versions.append(client.set(path, b"%d" % (step * 4 + 4)).version)
            assert client.get(path)[1].version == versions[-1], "it reads what it wrote"
        check(number, versions, client.get(path)[0])

    async def awaited(number: int) -> None:
        path, versions = f"/{number}", []
        await client.create(path)
        for step in range(rounds):
            calls = [client.submit(SetData(path, b"%d" % (step * 4 + i + 1))) for i in range(3)]
            versions += [(await call).version for call in calls]
            versions.append((await client.set(path, b"%d" % (step * 4 + 4))).version)
            assert (await client.get(path))[1].version == versions[-1], "it reads what it wrote"
        check(number, versions, (await client.get(path))[0])

    async def all_awaited() -> None:
        await asyncio.gather(*[awaited(number) for number in range(64)])

    if front.loop is not None:
        assert isinstance(client, AsyncZooKeeper)
        front.loop.call(all_awaited)
    else:
        assert isinstance(client, ZooKeeper)
        threads = [threading.Thread(target=blocking, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "somebody was never woken"
    settled(zk)
    assert problems.seen == []


@fault("R27")
def test_what_arrives_behind_the_close_still_counts(front: Front) -> None:
    server = front.server()
    zk, other, log = front.client(server.hosts, timeout=9.0), front.client(server.hosts), Log()
    zk.create("/a")
    zk.get("/a", watch=log)
    zk.add_watch("/b", log)
    server.delay(0.2, zk.client_id[0])
    calls = front.submit(zk, [GetData("/a"), Create("/b"), GetData("/missing"), *[SetData("/b", b"")] * 50])
    closing = threading.Thread(target=zk.close)
    closing.start()
    until(lambda: zk.client_id is None or real(zk)._session._closing is not None)
    other.set("/a", b"1")
    with pytest.raises(ConnectionClosedError):
        zk.submit(Delete("/b"))
    closing.join(5)
    outcomes = [call.exception(0) for call in calls]
    assert [type(outcome) for outcome in outcomes[:3]] == [type(None), type(None), NoNodeError]
    assert outcomes[3:] == [None] * 50
    settled(zk)
    assert ("CREATED", "/b") in log.events
    assert zk.client_state == "CLOSED"
    assert len(server.sessions) == 1


# ------------------------------------------------------------------------------ an ensemble


@pytest.fixture
def three(ensemble: Any) -> Any:
    """Three servers, of which one leads."""
    return ensemble(3, "3.8")


@fault("R24")
@pytest.mark.watchdog(120)
def test_a_read_behind_a_sync_shows_what_others_have_written(three: Any, front: Front) -> None:
    """Pipelined on one connection to a follower, while others write at the leader."""
    leader, follower = three.leader(), three.followers()[0]
    writer = front.client(leader.hosts, timeout=9.0)
    reader = front.client(follower.hosts, timeout=9.0)
    writer.create("/r24", b"0")
    for number in range(1, 100):
        writer.set("/r24", b"%d" % number)
        _, read = front.submit(reader, [Sync("/r24"), GetData("/r24")])
        assert read.result(9)[0] == b"%d" % number


@fault("R07")
def test_an_identitys_answer_overtakes_at_a_real_server(front: Front, server38: AnyServer, unique: str) -> None:
    zk = front.client(server38.hosts, timeout=9.0)
    zk.create(f"/{unique}", acl=OPEN_ACL_UNSAFE)
    for number in range(10):
        before = front.submit(zk, [Create(f"/{unique}/{number}-{i}", ephemeral=True) for i in range(10)])
        zk.add_auth("digest", f"user{number}:x")
        after = front.submit(zk, [Create(f"/{unique}/{number}-{i}", ephemeral=True) for i in range(10, 15)])
        assert [call.result(5) for call in before + after] == [f"/{unique}/{number}-{i}" for i in range(15)]
    zk.delete(f"/{unique}", recursive=True)


@fault("R15")
def test_transactions_at_a_real_server(front: Front, server38: AnyServer, unique: str) -> None:
    operator = front.client(server38.hosts, timeout=9.0)
    operator.create(f"/{unique}")
    transactions(front.client(f"{server38.hosts}/{unique}", timeout=9.0))
    assert operator.delete(f"/{unique}", recursive=True)
