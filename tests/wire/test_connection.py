"""The connection core: framing, handshake, order of replies, last zxid."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any, List, Optional

import pytest

from tests.kit.catalogue import fault
from tests.kit.feeding import seeded, truncations
from tests.kit.world import PASSWORD, SID, STAT0, event_frame, framed, header, reply_frame, welcome_frame
from zkwire.wire.connection import MAX_FRAME, MAX_HANDSHAKE, MAX_PASSWORD, XID_LIMIT, Connection
from zkwire.errors import FrameTooLargeError, MarshallingError, NoNodeError, ProtocolError, ZookeeperError
from zkwire.wire.jute import decode
from zkwire.ops import Auth, Create, Delete, Exists, GetChildren, GetData, Multi, Ping, SetData
from zkwire.wire.messages import CONNECT_REQUEST, ConnectRequest, Scope

REQUEST = ConnectRequest(0, 0x70, 30000, SID, PASSWORD, False)


def flush(connection: Connection) -> bytes:
    """All that is to be sent, sent."""
    out = b""
    while True:
        data = connection.data_to_send()
        if not data:
            return out
        out += bytes(data)
        connection.sent(len(data))


def opened(**options: Any) -> Connection:
    """A connection whose handshake is through."""
    connection = Connection(Scope(""), **options)
    connection.open(REQUEST)
    flush(connection)
    assert connection.received(welcome_frame()) == []
    assert connection.response is not None
    return connection


def asked(*ops: Any, **options: Any) -> Connection:
    """A connection that has sent these, each with itself as token."""
    connection = opened(**options)
    for op in ops:
        connection.send(op, op)
    flush(connection)
    return connection


GET, SET, KIDS = GetData("/a"), SetData("/a", b"v"), GetChildren("/")

#: A conversation of every kind of frame, with what it must yield.
CONVERSATION = [
    (welcome_frame(), None),
    (event_frame("CHANGED", "/a"), "event"),
    (reply_frame(GET, 1, (b"data", STAT0), zxid=7), (b"data", STAT0)),
    (framed(header(-2, 9)), None),
    (framed(header(-4)), None),
    (reply_frame(SET, 2, zxid=8, err=-101), NoNodeError),
    (reply_frame(KIDS, 3, ["x", "y"], zxid=8) + b"", ["x", "y"]),
]


def converse(pieces: List[bytes]) -> Any:
    connection = Connection(Scope(""))
    connection.open(REQUEST)
    flush(connection)
    got: List[Any] = []
    sent = False
    for piece in pieces:
        got += connection.received(piece)
        if connection.response is not None and not sent:
            sent = True
            for op in (GET, Ping(), SET, Auth("digest", b"u:p"), KIDS):
                connection.send(op, None)
            flush(connection)
    assert connection.error is None, connection.error
    assert not connection.replies and not connection.auth_replies and not connection.pinging
    return [(str(op), err, str(outcome)) for op, _, err, outcome in got], connection.last_zxid


def test_the_handshake_is_written_as_java_writes_it() -> None:
    connection = Connection(Scope(""))
    connection.open(REQUEST)
    sent = flush(connection)
    assert sent[:4] == bytes.fromhex("0000002d")
    assert sent[4:].hex() == "00000000" "0000000000000070" "00007530" + f"{SID:016x}" "00000010" + PASSWORD.hex() + "00"
    assert decode(CONNECT_REQUEST, sent[4:]) == REQUEST


def test_whole_byte_by_byte_and_cut_at_every_byte_yield_the_same() -> None:
    welcome, rest = CONVERSATION[0][0], b"".join(frame for frame, _ in CONVERSATION[1:])
    whole = converse([welcome, rest])
    assert len(whole[0]) == 6
    assert whole[1] == 8
    assert converse([bytes([b]) for b in welcome + rest]) == whole
    for cut in range(1, len(rest)):
        assert converse([welcome, rest[:cut], rest[cut:]]) == whole
    for cut in range(1, len(welcome)):
        assert converse([welcome[:cut], welcome[cut:], rest]) == whole


def test_random_cuts_yield_the_same() -> None:
    rest = b"".join(frame for frame, _ in CONVERSATION[1:])
    whole = converse([CONVERSATION[0][0], rest])
    with seeded() as rng:
        for _ in range(300):
            cuts = sorted(rng.sample(range(1, len(rest)), rng.randrange(1, 20)))
            pieces = [rest[a:b] for a, b in zip([0, *cuts], [*cuts, len(rest)])]
            assert converse([CONVERSATION[0][0], *pieces]) == whole


def test_the_event_before_a_reply_in_one_segment_comes_first() -> None:
    connection = asked(GET)
    incoming = connection.received(event_frame("CHANGED", "/a") + reply_frame(GET, 1, (b"", STAT0)))
    assert [op for op, _, _, _ in incoming] == [None, GET]


@pytest.mark.parametrize(("length", "why"), [
    (0, "refused the session (0 bytes"), (MAX_HANDSHAKE, "buffer of length"), (-1, "another service"),
    (MAX_HANDSHAKE + 1, "another service"),
])  # fmt: skip
def test_an_answer_to_the_handshake_has_a_length_that_can_be_one(length: int, why: str) -> None:
    connection = Connection(Scope(""))
    connection.open(REQUEST)
    connection.received(struct.pack(">i", length) + b"\1" * max(0, length))
    assert isinstance(connection.error, (ProtocolError, MarshallingError))
    assert why in str(connection.error)


@pytest.mark.parametrize("length", [-1, -(2**31), 0, 1, 15, MAX_FRAME + 1, 2**31 - 1])
def test_bad_lengths_break_the_connection_and_allocate_nothing(length: int) -> None:
    connection = asked(GET)
    data = struct.pack(">i", length) + b"\xff" * 12
    tracemalloc.start()
    try:
        assert [op for op, _, _, outcome in connection.received(data) if not isinstance(outcome, ProtocolError)] == []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(connection.error, ProtocolError)
    assert isinstance(connection.error, FrameTooLargeError) is (length > MAX_FRAME)
    assert peak < 100_000
    assert connection.received(reply_frame(GET, 1, (b"", STAT0))) == []


def test_what_came_before_the_bad_bytes_is_handed_out() -> None:
    connection = asked(GET, SET)
    incoming = connection.received(reply_frame(GET, 1, (b"d", STAT0), zxid=3) + struct.pack(">i", -1))
    assert [outcome for _, _, _, outcome in incoming] == [(b"d", STAT0)]
    assert connection.error is not None
    assert [slot.op for slot in connection.replies] == [SET]
    assert connection.last_zxid == 3


def test_a_reply_of_exactly_max_frame_is_taken() -> None:
    data = b"x" * 1000
    frame = reply_frame(GET, 1, (data, STAT0))
    connection = asked(GET, max_frame=len(frame) - 4)
    assert connection.received(frame)[0][3] == (data, STAT0)
    connection = asked(GET, max_frame=len(frame) - 5)
    (op, token, err, outcome) = connection.received(frame)[0]
    assert (op, token, err) == (GET, GET, 0)
    assert isinstance(outcome, FrameTooLargeError)  # that call is told why, rather than "connection lost"
    assert outcome.path == "/a"
    assert connection.error is outcome or isinstance(connection.error, FrameTooLargeError)


def test_a_reply_too_long_is_told_to_its_call_even_if_it_drips_in() -> None:
    connection = asked(GET, max_frame=100)
    start = struct.pack(">ii", 101, 1)
    got = [x for byte in start for x in connection.received(bytes([byte]))]
    assert [(op, type(outcome)) for op, _, _, outcome in got] == [(GET, FrameTooLargeError)]
    assert not connection.replies


@fault("M02")
def test_a_frame_too_long_that_can_be_no_reply_is_refused_by_its_length_alone() -> None:
    connection = opened(max_frame=100)
    assert connection.received(struct.pack(">i", 101)[:3]) == [] and connection.error is None
    assert connection.received(struct.pack(">i", 101)[3:]) == []
    assert isinstance(connection.error, FrameTooLargeError)


def test_a_frame_too_long_that_is_no_reply_to_us_fails_nobody() -> None:
    connection = asked(GET, max_frame=100)
    assert connection.received(struct.pack(">ii", 101, -1)) == []
    assert connection.error is not None
    assert [slot.op for slot in connection.replies] == [GET]


@pytest.mark.parametrize("xid", [0, 2, 3, -3, -8, -11, -(2**31), 2**31 - 1])
def test_another_xid_breaks_the_connection(xid: int) -> None:
    connection = asked(GET, SET)
    assert connection.received(framed(header(xid, 5))) == []
    assert isinstance(connection.error, ProtocolError)
    assert [slot.op for slot in connection.replies] == [GET, SET]
    assert connection.last_zxid == 0


@pytest.mark.parametrize("xid", [1, 0, 7, -4, -8])
def test_a_reply_nobody_asked_for_breaks_the_connection(xid: int) -> None:
    connection = opened()
    assert connection.received(framed(header(xid))) == []
    assert isinstance(connection.error, ProtocolError)


def test_a_duplicate_reply_breaks_the_connection() -> None:
    connection = asked(GET)
    frame = reply_frame(GET, 1, (b"", STAT0))
    assert len(connection.received(frame + frame)) == 1
    assert isinstance(connection.error, ProtocolError)


def test_a_reply_to_a_request_that_has_not_left_breaks_the_connection() -> None:
    connection = opened()
    connection.send(GET, "token")
    connection.sent(len(connection.data_to_send()) - 1)
    assert connection.received(reply_frame(GET, 1, (b"", STAT0))) == []
    assert isinstance(connection.error, ProtocolError)
    assert [slot.token for slot in connection.replies] == ["token"]


def test_auth_overtakes_and_keeps_an_order_of_its_own() -> None:
    one, two, first, second = Create("/1"), Create("/2"), Auth("digest", b"a:a"), Auth("digest", b"b:b")
    connection = asked(one, first, two, second)
    incoming = connection.received(
        framed(header(-4)) + reply_frame(one, 1, "/1", zxid=1) + framed(header(-4, 0, -115)) + reply_frame(two, 2, "/2")
    )
    assert [(token, err) for _, token, err, _ in incoming] == [(first, 0), (one, 0), (second, -115), (two, 0)]
    assert connection.error is None
    assert connection.last_zxid == 1


def test_pings_have_no_place_in_the_order() -> None:
    connection = asked(GET)
    connection.send(Ping(), None)
    assert connection.pinging
    flush(connection)
    connection.received(framed(header(-2, 99)) * 3)
    assert not connection.pinging
    assert connection.error is None
    assert connection.last_zxid == 0
    assert connection.received(reply_frame(GET, 1, (b"", STAT0), zxid=4))[0][1] is GET


@fault("M14")
def test_an_answer_to_a_ping_counts_unless_it_overtakes_an_older_request() -> None:
    connection = asked(GET)
    connection.send(Ping(), None)
    connection.send(SET, None)
    flush(connection)
    assert connection.received(framed(header(-2))) == []
    assert connection.error is None and not connection.pinging
    connection.received(reply_frame(GET, 1, (b"", STAT0)))
    for _ in range(3):
        assert [err for _, _, err, _ in connection.received(framed(header(-2)))] == [0]
    assert connection.received(reply_frame(SET, 2, STAT0))[0][2] == 0


def test_an_error_in_the_reply_to_a_ping_is_an_error_value() -> None:
    connection = opened()
    connection.send(Ping(), None)
    (_, _, err, outcome) = connection.received(framed(header(-2, 0, -112)))[0]
    assert err == -112
    assert isinstance(outcome, ZookeeperError)


def test_last_zxid_is_that_of_ordinary_replies_above_zero_and_never_sinks() -> None:
    connection = asked(GET, SET, KIDS, Exists("/n"), GetData("/b"))
    for frame, expected in [
        (event_frame("CHANGED", "/a", zxid=50), 0),
        (framed(header(-2, 60)), 0),
        (reply_frame(GET, 1, (b"", STAT0), zxid=10), 10),
        (reply_frame(SET, 2, zxid=-1, err=-6), 10),
        (reply_frame(KIDS, 3, [], zxid=0), 10),
        (reply_frame(KIDS, 4, zxid=12, err=-101), 12),  # an error counts too
        (reply_frame(GET, 5, (b"", STAT0), zxid=11), 12),
    ]:
        connection.received(frame)
        assert connection.error is None
        assert connection.last_zxid == expected


@fault("R05")
def test_xids_wrap_to_one() -> None:
    ops = [GetData(f"/{i}") for i in range(5)]
    connection = asked(*ops, first_xid=XID_LIMIT - 2)
    assert [slot.xid for slot in connection.replies] == [XID_LIMIT - 2, XID_LIMIT - 1, XID_LIMIT, 1, 2]
    for op, xid in zip(ops, [XID_LIMIT - 2, XID_LIMIT - 1, XID_LIMIT, 1, 2]):
        assert connection.received(reply_frame(op, xid, (b"", STAT0)))[0][1] is op


def test_an_error_reply_may_carry_bytes() -> None:
    connection = asked(GET, SET)
    body = bytes.fromhex("ffffffff01ffffffff")
    incoming = connection.received(framed(header(1, 3, -5) + body) + framed(header(2, 4, -777) + b"\xff" * 4))
    assert isinstance(incoming[0][3], MarshallingError)
    assert type(incoming[1][3]) is ZookeeperError
    assert incoming[1][3].code == -777
    assert connection.error is None


def test_bytes_behind_a_reply_are_ignored() -> None:
    connection = asked(GET, SET)
    frame = reply_frame(GET, 1, (b"d", STAT0))[4:] + b"more of a newer server"
    assert connection.received(framed(frame))[0][3] == (b"d", STAT0)
    assert connection.error is None


def test_a_reply_too_short_fails_its_call_and_breaks_the_connection() -> None:
    whole = reply_frame(GET, 1, (b"data", STAT0))[4:]
    for body in truncations(whole):
        if len(body) < 16:
            continue
        connection = asked(GET, SET)
        incoming = connection.received(framed(body))
        assert [(token, type(outcome)) for _, token, _, outcome in incoming] == [(GET, MarshallingError)]
        assert incoming[0][3].path == "/a"
        assert isinstance(connection.error, MarshallingError)
        assert [slot.op for slot in connection.replies] == [SET]


def test_no_length_within_a_frame_points_into_the_next() -> None:
    connection = asked(GET, SET)
    bad = framed(header(1, 1) + struct.pack(">i", 40) + b"x" * 10)
    incoming = connection.received(bad + reply_frame(SET, 2, STAT0) + b"\0" * 100)
    assert [type(outcome) for _, _, _, outcome in incoming] == [MarshallingError]


@pytest.mark.parametrize("count", [-1, -2, 5, 2**31 - 1])
def test_bad_counts_of_children_allocate_nothing(count: int) -> None:
    connection = asked(KIDS)
    tracemalloc.start()
    try:
        incoming = connection.received(framed(header(1, 1) + struct.pack(">i", count) + b"\0" * 16))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(incoming[0][3], MarshallingError)
    assert peak < 100_000


def test_bad_utf8_in_children_fails_the_call_and_in_an_event_breaks_the_connection() -> None:
    connection = asked(KIDS)
    incoming = connection.received(framed(header(1, 1) + struct.pack(">ii", 1, 2) + b"\xff\xfe"))
    assert isinstance(incoming[0][3], MarshallingError)
    assert connection.error is not None
    connection = asked(KIDS)
    assert connection.received(framed(header(-1, -1) + struct.pack(">iii", 3, 3, 2) + b"\xc3\x28")) == []
    assert isinstance(connection.error, MarshallingError)


def test_a_multi_without_an_end_is_bounded_by_its_frame() -> None:
    multi = Multi([Delete("/a")])
    connection = asked(multi)
    incoming = connection.received(framed(header(1, 1) + b"\x00\x00\x00\x02\x00\x00\x00\x00\x00" * 1000))
    assert isinstance(incoming[0][3], MarshallingError)


# -------------------------------------------------------------------------- handshake


def shaken(data: bytes) -> Connection:
    connection = Connection(Scope(""))
    connection.open(REQUEST)
    flush(connection)
    assert connection.received(data) == []
    return connection


@pytest.mark.parametrize("read_only", [None, False, True])
def test_the_readonly_byte_may_be_absent(read_only: Optional[bool]) -> None:
    frame = welcome_frame(read_only=read_only)
    assert len(frame) == (40 if read_only is None else 41)
    response = shaken(frame).response
    assert response is not None
    assert response.read_only is read_only
    assert (response.session_id, response.passwd, response.timeout_ms) == (SID, PASSWORD, 9000)


def test_a_reply_header_instead_of_an_answer_is_a_refusal() -> None:
    connection = shaken(bytes.fromhex("00000010 00000000 0000000100000006 ffffff89"))
    assert isinstance(connection.error, ProtocolError)
    assert connection.error.code == -119
    assert connection.response is None


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes.fromhex("15030300020228"),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"220 mail ESMTP\r\n",
        struct.pack(">i", -1),
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", 4097),
    ],
)
def test_other_services_are_named_in_the_error(data: bytes) -> None:
    connection = shaken(data)
    assert isinstance(connection.error, ProtocolError)
    assert "not the answer of a ZooKeeper server" in str(connection.error)


@pytest.mark.parametrize("size", [0, 15, 16, 19])
def test_an_answer_too_short_is_an_error(size: int) -> None:
    assert isinstance(shaken(framed(b"\0" * size)).error, ProtocolError)


@pytest.mark.parametrize("passwd", [None, b"", b"x" * 17, b"x" * MAX_PASSWORD])
def test_odd_passwords_are_kept(passwd: Optional[bytes]) -> None:
    response = shaken(welcome_frame(passwd=passwd)).response
    assert response is not None
    assert response.passwd == passwd


def test_an_absurd_password_and_one_beyond_the_frame_are_errors() -> None:
    assert isinstance(shaken(welcome_frame(passwd=b"x" * (MAX_PASSWORD + 1))).error, ProtocolError)
    beyond = bytearray(welcome_frame())
    beyond[20:24] = struct.pack(">i", 2**31 - 1)
    assert isinstance(shaken(bytes(beyond)).error, ProtocolError)


def test_a_notification_before_the_answer_is_an_error() -> None:
    connection = shaken(event_frame("CHANGED", "/aaaaaaaaaaaaaaaaaaaaaaaaa"))
    assert isinstance(connection.error, ProtocolError)
    assert connection.response is None


def test_another_protocol_version_is_an_error() -> None:
    frame = bytearray(welcome_frame())
    frame[7] = 1
    assert isinstance(shaken(bytes(frame)).error, ProtocolError)


def test_random_bytes_break_it_in_the_declared_way_only() -> None:
    """Whatever the bytes: `received` never raises, `error` is a ProtocolError, and slots are handed out once."""
    with seeded() as rng:
        for _ in range(3000):
            connection = asked(GET, SET, KIDS)
            frames = [
                reply_frame(GET, 1, (b"data", STAT0), zxid=1),
                event_frame("CHILD", "/"),
                reply_frame(SET, 2, STAT0, zxid=2),
                reply_frame(KIDS, 3, ["a", "b"], zxid=2),
            ]
            data = bytearray(b"".join(frames))
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            got = []
            at = 0
            while at < len(data):
                step = rng.randrange(1, len(data))
                got += connection.received(bytes(data[at : at + step]))
                at += step
            tokens = [token for _, token, _, _ in got if token is not None]
            assert connection.error is None or isinstance(connection.error, ProtocolError)
            assert tokens + [slot.token for slot in connection.replies] == [GET, SET, KIDS]


# ---------------------------------------------------------------------------- sending


def test_a_request_over_the_limit_takes_neither_xid_nor_slot() -> None:
    connection = opened(max_request=100)
    fits = 100 - len(connection.frame(SetData("/a", b""))) + 4
    connection.send(SetData("/a", b"x" * fits), "fits")
    with pytest.raises(FrameTooLargeError) as caught:
        connection.send(SetData("/a", b"x" * (fits + 1)), "too long")
    assert caught.value.path == "/a"
    assert "100" in str(caught.value)
    connection.send(GET, "next")
    assert [(slot.xid, slot.token) for slot in connection.replies] == [(1, "fits"), (2, "next")]
    assert len(flush(connection)) == 104 + len(GET.frame(2, None))


def test_what_was_sent_is_known_to_the_byte() -> None:
    connection = opened()
    connection.send(GET, 1)
    connection.send(SET, 2)
    one, two = connection.replies
    first = len(GET.frame(1, None))
    connection.data_to_send()
    connection.sent(first - 1)
    assert not connection.was_sent(one)
    connection.sent(1)
    assert connection.was_sent(one)
    assert not connection.was_sent(two)
    assert bytes(connection.data_to_send()) == SET.frame(2, None)
    connection.sent(connection.unsent)
    assert connection.was_sent(two)
    assert not connection.data_to_send()


def test_what_is_queued_while_a_chunk_is_half_sent_comes_behind_it() -> None:
    connection = opened()
    connection.send(SetData("/a", b"x" * 1000), 1)
    first = bytes(connection.data_to_send())
    connection.sent(10)
    connection.send(GET, 2)
    rest = b""
    while connection.unsent:
        data = bytes(connection.data_to_send())[:7]
        rest += data
        connection.sent(len(data))
    assert first[:10] + rest == SetData("/a", b"x" * 1000).frame(1, None) + GET.frame(2, None)


def test_the_beginning_of_a_reply_is_told_from_that_of_an_event() -> None:
    connection = asked(GET)
    frame = reply_frame(GET, 1, (b"x" * 100, STAT0))
    for cut in range(len(frame)):
        fresh = asked(GET)
        for byte in frame[:cut]:
            fresh.received(bytes([byte]))
        assert fresh.partial_reply is (cut >= 8)
    event = event_frame("CHANGED", "/a")
    connection.received(event[:-1])
    assert not connection.partial_reply


def test_a_big_reply_that_drips_in_costs_time_in_proportion() -> None:
    """The pieces of an incomplete frame must not be joined again and again."""
    data = b"x" * 200_000
    connection = asked(GET)
    for byte in reply_frame(GET, 1, (data, STAT0))[:-1]:
        connection.received(bytes((byte,)))
        assert connection.kept < 8 or connection.partial_reply
    assert connection.received(b"\0")[0][3][0] == data
