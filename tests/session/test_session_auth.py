"""The session core: identities, proven on every connection before it is reported."""

from __future__ import annotations

from typing import Any, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import STAT0, Heard, World, framed, header, reply_frame
from zkwire.errors import AuthFailedError, ConnectionClosedError, ConnectionLoss
from zkwire.ops import Auth, Create, GetData
from zkwire.values import KazooState, KeeperState

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST
BOB, EVE = Auth("digest", b"bob:secret"), Auth("digest", b"eve:apple")
READ = (b"", STAT0)
YES = framed(header(-4))


def world_with(*identities: Auth) -> World:
    world = World(start=False)
    for op in identities:
        world.session.submit(op, None, world.now)
    world.session.start(world.now)
    world.pump()
    return world


def credentials(world: World) -> List[Any]:
    assert world.peer is not None
    return [r.op.credential for r in world.peer.requests if isinstance(r.op, Auth)]


@fault("A05")
def test_connected_is_reported_once_all_are_accepted() -> None:
    """A05."""
    world = world_with(BOB, EVE)
    world.submit(GetData("/a"), "read")
    world.connect()
    world.welcome()
    assert world.states == []
    assert credentials(world) == [b"bob:secret", b"eve:apple"]  # in the order they were added
    assert [r.op.opcode for r in world.peer.requests] == [100, 100, 4]  # type: ignore[union-attr]
    world.receive(YES)
    assert world.states == []
    world.receive(YES)
    assert world.states == [CONNECTED]


@fault("A05", "A06")
def test_they_are_sent_again_on_every_connection_once() -> None:
    """A06."""
    world = world_with(BOB).open()
    world.submit(EVE, "eve")
    world.submit(BOB, "bob")
    world.ok("bob")
    world.receive(YES)
    world.ok("eve")
    for _ in range(3):
        world.lose()
        assert world.states[-1] == SUSPENDED
        world.advance(5, until=lambda: world.session.phase == "dialing")
        world.connect()
        world.welcome()
        assert credentials(world) == [b"bob:secret", b"eve:apple"]
        assert world.states[-1] == SUSPENDED
        world.receive(YES + YES)
        assert world.states[-1] == CONNECTED


@fault("A06")
def test_one_that_is_added_while_it_is_on_its_way_is_not_sent_twice() -> None:
    """A06."""
    world = world_with(BOB)
    world.connect()
    world.welcome()
    world.submit(BOB, 1)
    world.submit(BOB, 2)
    assert credentials(world) == [b"bob:secret"]
    world.receive(YES)
    world.ok(1)
    world.ok(2)
    assert world.states == [CONNECTED]
    assert world.session.last_error is None


@fault("A06")
def test_one_that_is_added_while_disconnected() -> None:
    world = World().open()
    world.lose()
    world.submit(BOB, 1)
    world.submit(BOB, 2)
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert credentials(world) == [b"bob:secret"]
    world.receive(YES)
    world.ok(1)
    world.ok(2)


def test_one_whose_answer_was_lost_is_asked_again_and_its_caller_answered() -> None:
    world = World().open()
    world.submit(BOB, 1)
    world.lose()
    assert 1 not in world.settled
    world.open()
    world.ok(1)


def test_an_abandoned_one_is_still_added() -> None:
    world = World().open()
    world.submit(BOB, 1)
    assert world.session.cancel(1) is False
    world.receive(YES)
    world.ok(1)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert credentials(world) == [b"bob:secret"]


def test_an_answer_overtakes_writes_and_takes_nothing_from_them() -> None:
    """R07: kazoo's create returns True."""
    world = World().open()
    for token in range(3):
        world.submit(Create(f"/{token}"), token)
    world.submit(BOB, "bob")
    world.receive(reply_frame(Create("/0"), 1, "/0", zxid=1) + YES + reply_frame(Create("/1"), 2, "/1", zxid=2))
    world.receive(reply_frame(Create("/2"), 3, "/2", zxid=3))
    assert world.order[1:] == [0, "bob", 1, 2]
    assert [world.ok(t) for t in (0, 1, 2)] == ["/0", "/1", "/2"]


@fault("A01")
@pytest.mark.parametrize("err", [-115, -124, -4, -6, -777])
def test_a_refusal_is_the_end(err: int) -> None:
    """A01: whatever the number; the caller, all others and all later ones are told."""
    world, heard = World().open(), Heard()
    world.submit(GetData("/w", heard), "watch")
    world.answer(READ)
    world.submit(GetData("/a"), "read")
    world.submit(Auth("nonsense", b"x"), "auth")
    world.receive(framed(header(-4, 0, err)))
    assert isinstance(world.settled["auth"], AuthFailedError)
    assert isinstance(world.settled["read"], AuthFailedError)
    assert world.states == [CONNECTED, LOST]
    assert world.session.client_state == KeeperState.AUTH_FAILED
    assert heard.events == [("NONE", "/w")]
    assert world.session.deadline() is None
    assert world.peer is None
    world.advance(100)
    assert len(world.dials) == 1  # no loop of reconnects
    with pytest.raises(AuthFailedError):
        world.submit(GetData("/a"), "late")
    with pytest.raises(AuthFailedError):
        world.session.start(world.now)
    world.session.close(world.now)
    assert world.session.client_state == KeeperState.AUTH_FAILED


def test_a_refusal_before_the_first_connected() -> None:
    world = world_with(BOB)
    world.submit(GetData("/a"), "read")
    world.connect()
    world.welcome()
    world.receive(framed(header(-4, 0, -115)))
    world.failed("read", AuthFailedError)
    assert world.session.phase == "ended"
    assert CONNECTED not in world.states


def test_what_comes_behind_a_refusal_in_one_segment_raises_nobody_from_the_dead() -> None:
    world, heard = World().open(), Heard()
    world.submit(GetData("/w", heard), "watch")
    world.answer(READ)
    world.submit(BOB, "bob")
    world.receive(YES)
    world.lose()
    world.submit(GetData("/a"), "read")
    world.advance(5, until=lambda: world.session.phase == "dialing")
    peer = world.connect()
    world.welcome()
    replay = peer.requests[1]
    world.receive(
        framed(header(-4, 0, -115)) + framed(header(replay.xid, 0, -1)) + reply_frame(GetData("/a"), replay.xid + 1, READ)
    )
    assert world.session.phase == "ended"
    assert world.session.client_state == KeeperState.AUTH_FAILED
    assert "read" in world.settled
    assert world.session.deadline() is None


@fault("A04")
def test_sasl_required_is_a_refusal_too() -> None:
    """A04."""
    world = World().open()
    world.submit(GetData("/a"), 1)
    world.answer(err=-124)
    assert isinstance(world.settled[1], AuthFailedError)
    assert world.session.client_state == KeeperState.AUTH_FAILED


def test_the_end_of_the_stream_is_no_refusal() -> None:
    """A02."""
    world = world_with(BOB)
    world.connect()
    world.welcome()
    world.lose()
    assert world.session.phase == "pausing"
    world.open()
    assert world.states == [CONNECTED]


def test_identities_outlive_an_expiry() -> None:
    world = world_with(BOB).open()
    world.submit(GetData("/a"), 1)
    world.answer(err=-112)
    world.submit(BOB, "again")
    assert "again" not in world.settled  # no connection, so nothing is proven
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome(sid=5)
    assert credentials(world) == [b"bob:secret"]
    assert world.states == [CONNECTED, LOST]
    world.receive(YES)
    assert world.states == [CONNECTED, LOST, CONNECTED]
    world.ok("again")


def test_close_answers_those_who_wait_for_an_identity() -> None:
    world = World()
    world.submit(BOB, 1)
    world.session.close(world.now)
    world.pump()
    world.failed(1, ConnectionClosedError)


def test_who_waits_for_an_identity_waits_no_longer_than_a_timeout() -> None:
    world = World()
    world.submit(BOB, 1)
    world.lose("refused")
    while 1 not in world.settled:
        assert world.now < 1000 + 10
        if world.session.phase == "dialing":
            world.lose("refused")
        world.advance(0.1)
    world.failed(1, ConnectionLoss)
    world.open()
    assert credentials(world) == [b"bob:secret"]  # it stays an identity of this client


@fault("A14")
def test_secrets_are_in_no_text() -> None:
    """A14."""
    world = world_with(BOB).open()
    texts = [repr(BOB), repr(world.peer.handshake), repr(world.session), str(world.session.last_error)]  # type: ignore[union-attr]
    world.receive(framed(header(-4, 0, -115)))
    texts += [str(world.session.last_error), *world.hangups]
    assert not any("secret" in text or "0102030405" in text for text in texts)
