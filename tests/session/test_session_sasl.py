"""The session core: SASL, on every connection before all else."""

from __future__ import annotations

from typing import Any, List, Optional

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import STAT0, Heard, World, framed, header, reply_frame, welcome_frame
from zkwire.embedded.sasl import DigestServer
from zkwire.errors import AuthFailedError, ConnectionClosedError, ConnectionLoss
from zkwire.ops import Auth, CloseSession, Create, GetData, Sasl, SetWatches
from zkwire.values import KazooState, KeeperState
from zkwire.sasl import DigestMD5
from zkwire.session.auth import MAX_TOKEN

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST
BOB = Auth("digest", b"bob:secret")
READ = (b"", STAT0)


def sasl_world(password: str = "secret", **options: Any) -> World:
    return World(sasl=DigestMD5("bob", password, lambda: "cnonce"), **options)


def tokens(world: World) -> List[Any]:
    assert world.peer is not None
    return [request.op.token for request in world.peer.requests if isinstance(request.op, Sasl)]


def begin(world: World, **welcome: Any) -> DigestServer:
    """From a dial to the first token of SASL; the server's side of the login."""
    if world.session.phase == "pausing":
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome(**welcome)
    return DigestServer({"bob": "secret"}, f"nonce{len(world.dials)}")


def log_in(world: World, **welcome: Any) -> World:
    """From a dial to the server's proof."""
    server = begin(world, **welcome)
    for _ in range(2):
        world.answer(server.step(tokens(world)[-1]), expect=Sasl)
    return world


def opcodes(world: World) -> List[int]:
    assert world.peer is not None
    return [request.op.opcode for request in world.peer.requests]


@fault("A05")
def test_sasl_then_identities_then_watches_then_calls_then_connected() -> None:
    world, heard = sasl_world(start=False), Heard()
    world.session.submit(BOB, None, world.now)
    world.session.start(world.now)
    world.pump()
    world.submit(GetData("/a", heard), "read")
    server = begin(world)
    assert opcodes(world) == [102]
    world.answer(server.step(b""))
    assert opcodes(world) == [102, 102]  # nothing is said to a server that has not proved itself
    world.answer(server.step(tokens(world)[-1]))
    assert opcodes(world) == [102, 102, 100, 4]
    assert world.states == []
    world.receive(framed(header(-4)))
    assert world.states == [CONNECTED]
    world.answered += 1
    world.answer(READ)
    world.ok("read")
    world.lose()
    world.submit(Create("/b"), "create")
    server = begin(world)
    assert opcodes(world) == [102] and tokens(world) == [b""]
    world.answer(server.step(b""))
    world.answer(server.step(tokens(world)[-1]))
    assert opcodes(world) == [102, 102, 100, 101, 1]
    assert world.states == [CONNECTED, SUSPENDED]
    world.receive(framed(header(-4)))
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]


def test_without_identities_it_is_connected_with_the_servers_proof() -> None:
    world = log_in(sasl_world())
    assert world.states == [CONNECTED]
    world.submit(GetData("/a"), 1)
    assert world.answer(READ).xid == 3
    world.ok(1)


def refused(world: World, why: str, *waiting: Any) -> None:
    """Terminal, everybody told, nobody dialled again, and close() has nothing left to do."""
    dials = len(world.dials)
    assert world.session.client_state == KeeperState.AUTH_FAILED
    assert isinstance(world.session.last_error, AuthFailedError)
    assert why in str(world.session.last_error)
    for token in waiting:
        assert why in str(world.failed(token, AuthFailedError))
    assert world.session.deadline() is None
    world.advance(100)
    assert len(world.dials) == dials
    with pytest.raises(AuthFailedError, match="(?i)sasl"):
        world.submit(GetData("/late"), "late")
    world.session.close(world.now)
    texts = [str(world.session.last_error), *world.hangups, *[str(outcome) for outcome in world.settled.values()]]
    assert not any("secret" in text or "cnonce" in text for text in texts)


@pytest.mark.parametrize("err", [-115, -124, -4, -6, -777])
def test_a_refusal_is_the_end(err: int) -> None:
    world = sasl_world("secret but wrong")
    world.submit(GetData("/a"), "read")
    world.answer(begin(world).step(b""))
    assert world.peer is not None
    world.receive(framed(header(world.peer.requests[-1].xid, 0, err) + b"\xff\xff\xff\xff"))
    refused(world, "SASL authentication failed", "read")
    assert CONNECTED not in world.states


@pytest.mark.parametrize("step", [0, 1])
def test_a_refusal_after_a_reconnect_tells_watchers(step: int) -> None:
    world, heard = log_in(sasl_world()), Heard()
    world.submit(GetData("/w", heard), "watch")
    world.answer(READ)
    world.lose()
    server = begin(world)
    if step:
        world.answer(server.step(b""))
    world.answer(err=-115)
    refused(world, "refused the credentials")
    assert world.states == [CONNECTED, SUSPENDED, LOST]
    assert heard.events == [("NONE", "/w")]


@fault("A07")
@pytest.mark.parametrize(
    ("challenge", "proof"),
    [
        (b'realm="zk-sasl-md5",algorithm=md5-sess', None), (b"garbage", None), (b"\xff\0" * 50, None), (b"", None),
        (b"x" * (MAX_TOKEN + 1), None), (None, b"rspauth=0123456789abcdef0123456789abcdef"), (None, b""),
        (None, b"garbage"), (None, b"rspauth=" + b"x" * MAX_TOKEN), (None, None),
    ],
)  # fmt: skip
def test_a_lying_server(challenge: Optional[bytes], proof: Optional[bytes]) -> None:
    world = sasl_world()
    world.submit(GetData("/a"), "read")
    server = begin(world)
    if challenge is not None:
        world.answer(challenge)
    else:
        world.answer(server.step(b""))
        world.answer(proof)
    refused(world, "SASL authentication failed", "read")
    assert world.peer is None  # hung up


@fault("A07")
@pytest.mark.parametrize("length", [-2, 2**31 - 1, 1000])
def test_a_token_longer_than_its_frame(length: int) -> None:
    world = sasl_world()
    begin(world)
    world.receive(framed(header(1) + length.to_bytes(4, "big", signed=True) + b"xxxx"))
    refused(world, "SASL authentication failed")


@fault("A07")
def test_a_token_longer_than_any_frame() -> None:
    world = sasl_world(max_frame=100_000)
    begin(world)
    world.receive((200_000).to_bytes(4, "big") + header(1))
    refused(world, "max_frame")


@fault("A02")
@pytest.mark.parametrize("steps", [0, 1])
def test_a_server_that_goes_away_is_no_refusal(steps: int) -> None:
    world = sasl_world(hosts=2)
    world.submit(GetData("/a"), "read")
    server = begin(world)
    if steps:
        world.answer(server.step(b""))
    world.lose()
    assert "during SASL authentication" in str(world.session.last_error)
    assert world.session.client_state == KeeperState.CONNECTING
    log_in(world)
    assert [dial.host.name for _, dial in world.dials] == ["a", "b"]
    assert world.states == [CONNECTED]
    world.answer(READ)
    world.ok("read")


@fault("A02")
def test_cut_at_every_byte_of_a_login() -> None:
    """Whatever has arrived: the next server is tried, with a login from its beginning, and everything goes on."""
    cuts = 0
    for cut in range(1000):
        world = sasl_world(hosts=2)
        world.submit(GetData("/a"), "read")
        world.connect()
        assert world.peer is not None
        world.peer.welcomed = True
        server, left = DigestServer({"bob": "secret"}, "nonce"), cut
        stream = welcome_frame()
        for xid in (1, 2, 3):
            for at in range(min(left, len(stream))):  # one by one
                world.receive(stream[at : at + 1])
            if left < len(stream):
                break
            left -= len(stream)
            stream = reply_frame(Sasl(b""), xid, server.step(tokens(world)[-1])) if xid < 3 else b""
        if CONNECTED in world.states:
            break
        world.lose()
        log_in(world)
        world.answer(READ)
        world.ok("read")
        assert world.states == [CONNECTED]
        cuts = cut
    assert 150 < cuts < 300


def test_an_old_server_that_hangs_up_again_and_again_has_refused() -> None:
    world = sasl_world(hosts=2, timeout=30.0)
    world.submit(GetData("/a"), "read")
    for _ in range(6):
        world.answer(begin(world).step(b""))
        assert world.session.phase != "ended"
        world.lose()
    assert world.now < 1000 + 5
    refused(world, "hung up on the credentials", "read")


@fault("A08")
@pytest.mark.parametrize("steps", [0, 1])
def test_a_challenge_that_never_comes(steps: int) -> None:
    world = sasl_world(hosts=3)
    server = begin(world)
    if steps:
        world.answer(server.step(b""))
    began = world.now
    world.advance(9, until=lambda: world.session.phase != "handshake")
    assert world.now - began == pytest.approx(3.0)  # a third of the timeout, for three hosts
    assert "within the connect time-out" in str(world.session.last_error)
    log_in(world)
    assert world.states == [CONNECTED]


def test_the_deadline_is_one_for_all_of_the_handshake() -> None:
    world = sasl_world()
    due = world.dials[0][1].deadline
    world.connect()
    world.advance(4)
    world.welcome()
    world.advance(4)
    assert world.session.deadline() == due


def test_what_waits_meanwhile_waits_no_longer_than_a_timeout() -> None:
    world = sasl_world(connect_timeout=100.0)
    begin(world)
    world.submit(GetData("/a"), "read")
    world.advance(8.9)
    assert "read" not in world.settled
    world.advance(0.2)
    world.failed("read", ConnectionLoss)


def test_close_in_the_middle_waits_for_the_proof_and_then_says_goodbye() -> None:
    """A server that requires SASL hears of no close before that, and ephemeral nodes would stay."""
    world = sasl_world()
    server = begin(world)
    world.session.close(world.now)
    world.answer(server.step(b""))
    world.answer(server.step(tokens(world)[-1]))
    world.answer(expect=CloseSession)
    assert world.session.client_state == KeeperState.CLOSED
    assert CONNECTED not in world.states


def test_close_in_the_middle_is_bounded() -> None:
    world = sasl_world()
    world.submit(GetData("/a"), "read")
    begin(world)
    world.session.close(world.now)
    world.pump()
    world.failed("read", ConnectionClosedError)
    world.advance(6)
    assert world.session.client_state == KeeperState.CLOSED


def test_expiry_in_the_middle() -> None:
    world = log_in(sasl_world())
    world.lose()
    begin(world)
    world.answer(err=-112)
    assert world.states == [CONNECTED, SUSPENDED, LOST]
    log_in(world, sid=7)
    assert world.states[-1] == CONNECTED
    world.lose()
    begin(world)
    world.answer(err=-118)  # moved, and it says so early
    assert world.session.phase == "pausing"
    log_in(world)
    assert world.states[-1] == CONNECTED


def test_watches_are_set_again_behind_it() -> None:
    world, heard = log_in(sasl_world()), Heard()
    world.submit(GetData("/w", heard), 1)
    world.answer(READ, zxid=5)
    world.lose()
    log_in(world)
    world.answer(expect=SetWatches)
    world.event("CHANGED", "/w")
    assert heard.events == [("CHANGED", "/w")]


def test_the_first_token_of_a_mechanism_may_say_all() -> None:
    class Ticket:
        def start(self, host: str) -> bytes:
            return b"ticket"

        def step(self, challenge: bytes) -> Optional[bytes]:
            return None

    world = World(sasl=Ticket())
    begin(world)
    assert tokens(world) == [b"ticket"]
    world.answer(None)
    assert world.states == [CONNECTED]


def test_a_mechanism_that_cannot_begin() -> None:
    class Broken:
        def start(self, host: str) -> bytes:
            raise OSError("secret: no ticket")

        def step(self, challenge: bytes) -> Optional[bytes]:
            raise AssertionError

    world = World(sasl=Broken())
    begin(world)
    refused(world, "OSError")


def test_a_token_the_limit_does_not_allow() -> None:
    world = World(sasl=DigestMD5("bob", "secret", lambda: "c"), max_request=100)
    server = begin(world)
    world.answer(server.step(b""))
    refused(world, "Sasl() takes")


@pytest.mark.parametrize("silent", [False, True])
def test_whoever_takes_over_from_a_read_only_server_has_to_prove_itself_too(silent: bool) -> None:
    world, heard = log_in(sasl_world(hosts=2, read_only=True), sid=1, read_only=True), Heard()
    assert (world.states, world.session.client_state) == ([CONNECTED], KeeperState.CONNECTED_RO)
    world.submit(GetData("/w", heard), 1)
    world.answer(READ, zxid=5)
    world.advance(60, until=lambda: world.probe is not None)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    world.submit(Create("/a"), "create")
    assert opcodes(world) == [102]
    assert world.states == [CONNECTED, SUSPENDED]
    server = DigestServer({"bob": "secret"}, "nonce")
    if silent:
        world.advance(60, until=lambda: world.session.phase != "handshake")
        assert world.now < 1000 + 20
        server = begin(world)
    world.answer(server.step(b""))
    world.answer(server.step(tokens(world)[-1]))
    assert opcodes(world) == [102, 102, 101, 1]
    assert world.session.client_state == KeeperState.CONNECTED
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
