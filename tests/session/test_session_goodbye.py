"""A session that is closed while its connection dies, so that the server is told all the same; and a silent server."""

from __future__ import annotations

import random
import struct

from zkwire.errors import AuthFailedError
from zkwire.session.host_provider import Host
from zkwire.wire.jute import encode
from zkwire.ops import Auth, CloseSession, GetData
from zkwire.wire.messages import CONNECT_RESPONSE, ConnectResponse
from zkwire.session.session import DIALING, ENDED, HANDSHAKE, OPEN, Session
from zkwire.session.actions import Replied
from zkwire.session.link import Link

BODY = encode(CONNECT_RESPONSE, ConnectResponse(0, 10_000, 7, b"p" * 16, False))
WELCOME = struct.pack(">i", len(BODY)) + BODY


def opened() -> Session:
    """A session with a connection."""
    session = Session([Host("h", 1)], timeout=10.0, random=random.Random(1).random)
    session.start(0.0)
    connect(session, 0.0)
    return session


def link(session: Session) -> Link:
    """The link there is."""
    assert session.link is not None
    return session.link


def sent(session: Session) -> None:
    """The socket takes all."""
    link(session).sent(len(link(session).data_to_send()))


def connect(session: Session, now: float) -> None:
    """Let it connect, and be welcomed."""
    session.connected(link(session), now)
    sent(session)
    session.received(link(session), WELCOME, now)
    assert session.phase == OPEN


def test_a_goodbye_that_never_left_is_said_on_another_connection() -> None:
    session = opened()
    session.close(1.0)
    assert session.unsent
    session.lost(link(session), "reset", 1.1)
    assert session.phase != ENDED
    session.timed_out(1.1 + 0.2)
    assert session.phase == DIALING
    session.connected(link(session), 1.4)
    assert session.phase == HANDSHAKE
    sent(session)
    session.received(link(session), WELCOME, 1.5)
    assert bytes(link(session).data_to_send())[8:12] == CloseSession.opcode.to_bytes(4, "big", signed=True)
    sent(session)
    session.lost(link(session), "the server closed the connection", 1.6)
    assert session.phase == ENDED


def test_a_goodbye_that_left_and_was_answered_by_silence_is_enough() -> None:
    session = opened()
    session.close(1.0)
    sent(session)
    session.lost(link(session), "the server closed the connection", 1.1)
    assert session.phase == ENDED


def test_it_does_not_try_for_ever() -> None:
    session = opened()
    session.close(1.0)
    session.lost(link(session), "reset", 1.1)
    limit = session.deadline()
    now = 1.1
    while session.phase != ENDED:
        now = session.deadline() or now
        assert now <= 1.0 + 5.0
        session.timed_out(now)
        if session.phase == DIALING:
            session.lost(link(session), "refused", now)
    assert limit is not None


def test_a_server_that_accepts_and_is_silent_holds_a_long_session_no_longer_than_ten_seconds() -> None:
    session = Session([Host("h", 1)], timeout=60.0, random=random.Random(1).random)
    session.start(0.0)
    session.connected(link(session), 0.1)
    assert session.phase == HANDSHAKE
    session.timed_out(9.9)
    assert session.phase == HANDSHAKE
    session.timed_out(10.0)
    assert session.phase not in (HANDSHAKE, OPEN)


def test_an_answer_behind_a_refused_identity_in_the_same_bytes_fails_as_all_the_others_do() -> None:
    session = opened()
    session.submit(GetData("/"), "read", 1.0)
    session.submit(Auth("nonsense", b"x"), "auth", 1.0)
    sent(session)
    refused = struct.pack(">iiqi", 16, -4, 0, -115)
    answer = struct.pack(">iiqi", 16 + 4 + 68, 1, 5, 0) + bytes(4 + 68)
    session.received(link(session), refused + answer, 1.1)
    outcomes = {e.token: type(e.outcome) for e in session.actions() if isinstance(e, Replied)}
    assert outcomes == {"read": AuthFailedError, "auth": AuthFailedError}
    assert session.phase == ENDED
