"""Recorded conversations through `zkwire.wire.connection`: the same bytes out, same results in, however cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

from tests.kit import transcripts
from tests.kit.feeding import mutations, seeded
from tests.kit.transcripts import CLIENT, SERVER, Dialogue, Line, Meaning
from zkwire.wire.connection import Connection, Slot
from zkwire.errors import ProtocolError
from zkwire.wire.operation import Op
from zkwire.wire.messages import ConnectResponse, WatcherEvent

PATHS = transcripts.paths()
each = pytest.mark.parametrize("path", PATHS, ids=lambda p: f"{p.parent.name}/{p.stem}")
#: Pieces of this size, begun at each of so many offsets, cut a stream at each of its bytes once.
PIECE = 48


class Unknown(Op[Any]):
    """A request that the table does not have."""

    path = None

    def __init__(self, opcode: int) -> None:
        self.__dict__["opcode"] = opcode


def conversations(path: Path) -> Iterator[Tuple[List[Line], List[Meaning]]]:
    """Lines and meanings of each connection that got any answer."""
    for lines in transcripts.load(path).connections().values():
        frames = [line for line in lines if line.data]
        dialogue = Dialogue()
        read = [dialogue.read(line) for line in frames]
        if any(line.direction == SERVER for line in frames):
            yield frames, read


def asked(read: List[Meaning]) -> List[Tuple[int, Op[Any]]]:
    """xid and operation of each request."""
    found = [m for m in read if m.kind in ("request", "unknown")]
    return [(m.value.xid, m.op if m.op is not None else Unknown(m.value.opcode)) for m in found]


def waiting(read: List[Meaning]) -> Connection:
    """A connection that has sent all requests of a conversation, under their own xids."""
    connection = Connection(None)
    connection.open(read[0].value)
    for token, (xid, op) in enumerate(asked(read)):
        if xid == -4:
            connection.auth_replies.append(Slot(xid, op, token, 0))
        elif xid != -2:
            connection.replies.append(Slot(xid, op, token, 0))
    return connection


def told(incoming: List[Any]) -> List[Any]:
    """What came in, in a form that can be compared: exceptions have no equality."""
    return [(type(op).__name__, token, code, outcome_of(outcome)) for op, token, code, outcome in incoming]


def outcome_of(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        return type(outcome), str(outcome), vars(outcome)
    return [outcome_of(one) for one in outcome] if type(outcome) is list else outcome


def expected(read: List[Meaning]) -> List[Any]:
    """What the dialogue says must come in."""
    tokens = {id(op): token for token, (_, op) in enumerate(asked(read))}
    want: List[Any] = []
    for m in read:
        if m.kind == "event":
            want.append(("NoneType", None, 0, m.value))
        elif m.kind == "reply" and m.header is not None and m.header.xid == -2:
            want.append(("_Ping", None, 0, None))
        elif m.kind == "reply" and m.header is not None and m.op is not None:
            outcome = m.op.refusal(m.header.err) if m.header.err else m.value
            want.append((type(m.op).__name__, tokens[id(m.op)], m.header.err, outcome_of(outcome)))
        elif m.kind == "reply" and m.header is not None:
            want.append(("Unknown", None, m.header.err, None))
    return want


@each
def test_transcript_comes_in_as_it_was_meant(path: Path) -> None:
    for frames, read in conversations(path):
        connection = waiting(read)
        got = told(connection.received(b"".join(line.data for line in frames if line.direction == SERVER)))
        want = expected(read)
        assert len(got) == len(want)
        for mine, theirs in zip(got, want):
            assert mine == theirs or mine[0] == theirs[0] == "Unknown"
        if read[1].kind == "refused":
            assert isinstance(connection.error, ProtocolError)
            continue
        assert connection.error is None
        assert isinstance(connection.response, ConnectResponse)
        headers = [m.header for m in read if m.kind == "reply" and m.header is not None]
        assert connection.last_zxid == max([0, *(h.zxid for h in headers if h.xid not in (-2, -4))])


@each
def test_transcript_cut_at_every_byte_comes_in_the_same(path: Path) -> None:
    for frames, read in conversations(path):
        data = b"".join(line.data for line in frames if line.direction == SERVER)
        whole = waiting(read)
        want = told(whole.received(data))
        for first in range(1, min(PIECE, len(data)) + 1):
            connection, got = waiting(read), []
            for start in [0, *range(first, len(data), PIECE)]:
                end = first if start == 0 else start + PIECE
                got += connection.received(data[start:end])
            assert told(got) == want
            assert (connection.response, connection.last_zxid) == (whole.response, whole.last_zxid)
        connection, got = waiting(read), []
        for i in range(len(data)):
            got += connection.received(data[i : i + 1])
        assert told(got) == want


@each
def test_transcript_with_a_spoiled_byte_raises_nothing(path: Path) -> None:
    """`received` never raises: what broke is in `error`, which is a ProtocolError."""
    broken = 0
    with seeded() as rng:
        for frames, read in conversations(path):
            data = b"".join(line.data for line in frames if line.direction == SERVER)
            for spoiled in mutations(data, rng, 60):
                connection = waiting(read)
                for _, _, _, outcome in connection.received(spoiled):
                    assert not isinstance(outcome, WatcherEvent) or isinstance(outcome.type, int)
                assert connection.error is None or isinstance(connection.error, ProtocolError)
                broken += connection.error is not None
    assert broken > 0


@each
def test_transcript_goes_out_byte_for_byte(path: Path) -> None:
    """The requests of every client, in the order it sent them, wherever its xids go up by one."""
    for frames, read in conversations(path):
        numbers = [xid for xid, _ in asked(read) if xid not in (-2, -4)]
        first = numbers[0] if numbers else 1
        if numbers != list(range(first, first + len(numbers))):
            assert path.stem in ("c-client", "ours-catch-up") and -8 in numbers
            continue
        connection = Connection(None, first_xid=first)
        connection.open(read[0].value)
        for _, op in asked(read):
            connection.send(op, None)
        sent = b""
        while connection.unsent:
            piece = bytes(connection.data_to_send())
            connection.sent(len(piece))
            sent += piece
        assert sent == b"".join(line.data for line in frames if line.direction == CLIENT)
