"""Read-only mode: what a read-only server may say, and how a read-write one is found again.

The core on a virtual clock first, then both fronts on embedded and scripted servers, then a real ensemble that loses
its quorum and finds it again.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests, settled
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import PASSWORD, SID, STAT0, Heard, World, event_frame, framed, header, welcome_frame
from tests.kit.aio import aio, eventually
from zkdisco import Client, Event, Instancer, ReadOnlyServerError, Registrar, Service
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.session import rw_probe
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss, NotReadOnlyCallError, ZookeeperError
from zkwire.ops import AddWatch, Auth, Create, GetData, SetWatches2
from zkwire.values import EventType, KazooState, KeeperState
from zkwire.session.session import LEAVING_LIMIT

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST
RO, RW = KeeperState.CONNECTED_RO, KeeperState.CONNECTED
T = 9.0
FAKE = 0x7F00000000000001
DATA = (b"", STAT0)
REFUSED = bytes.fromhex("00000010000000000000000100000006ffffff89")  # H05: no session without local sessions


def read_only_world(hosts: int = 2, **options: Any) -> World:
    """A session that a read-only server has made up."""
    return World(hosts=hosts, read_only=True, **options).open(sid=FAKE, read_only=True)


def until_probe(world: World) -> None:
    """To the next look."""
    number = len(world.probes)
    world.advance(60.0, until=lambda: len(world.probes) > number)


# ------------------------------------------------------------------------ the core


@fault("S14")
def test_read_only_is_asked_for_only_where_it_is_allowed() -> None:
    for allowed in (False, True):
        handshake = World(read_only=allowed).connect().handshake
        assert handshake is not None and handshake.read_only is allowed


@fault("S14")
def test_a_read_only_server_serves_and_its_session_is_no_proof() -> None:
    """Reads work, writes fail once, and the made-up id is presented to nobody, wherever we go."""
    world = read_only_world()
    assert world.states == [CONNECTED]
    assert world.session.client_state == RO
    world.submit(GetData("/a"), "read")
    world.submit(Create("/a"), "write")
    world.answer(DATA, zxid=5)
    world.answer(err=-119)
    assert world.ok("read")[0] == b""
    assert not world.failed("write", NotReadOnlyCallError).maybe_applied
    assert world.waiting == []  # and it is not sent again
    world.lose()
    for _ in range(4):
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
        handshake = world.connect().handshake
        assert handshake is not None
        assert (handshake.session_id, handshake.passwd, handshake.last_zxid_seen) == (0, bytes(16), 5)
        assert handshake.read_only is True
        world.lose()
    assert world.states == [CONNECTED, SUSPENDED]


@fault("S14")
def test_a_server_left_before_it_has_accepted_us_was_never_connected() -> None:
    """Found by seed 21 of the simulation: SUSPENDED after LOST."""
    world = World(hosts=3, read_only=True)
    world.submit(Auth("digest", b"ann:secret"), "auth")
    world.connect()
    world.welcome(sid=FAKE, read_only=True)
    until_probe(world)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    world.advance(LEAVING_LIMIT + 0.1)
    assert world.states == []
    world.accept_internal()
    assert world.states == [CONNECTED]


@fault("S14")
def test_from_read_only_to_read_write_by_itself() -> None:
    """On the connection that was made to look; watches are set again, as of what the old server had told."""
    world = read_only_world(hosts=3)
    once, ever = Heard(), Heard()
    world.submit(GetData("/a", once), "get")
    world.submit(AddWatch("/a", ever), "watch")
    world.answer(DATA, zxid=7)
    world.answer(0, zxid=7)
    assert world.probes == []
    until_probe(world)
    peer = world.probe_connect()
    assert peer.handshake is not None
    assert (peer.handshake.session_id, peer.handshake.passwd, peer.handshake.read_only) == (0, bytes(16), False)
    assert (peer.handshake.last_zxid_seen, peer.handshake.timeout_ms) == (7, 9000)
    assert world.states == [CONNECTED]  # nobody notices anything so far
    dials = len(world.dials)
    world.probe_receive(welcome_frame())
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
    assert (world.session.client_state, world.session.client_id) == (RW, (SID, PASSWORD))
    assert len(world.dials) == dials
    (replay,) = world.waiting
    assert isinstance(replay.op, SetWatches2)
    assert (replay.op.relative_zxid, tuple(replay.op.data), tuple(replay.op.persistent)) == (7, ("/a",), ("/a",))
    world.event(EventType.CHANGED, "/a")
    world.accept_internal()
    assert once.events == [("CHANGED", "/a")]
    assert ever.events == [("CHANGED", "/a"), ("NONE", "/a")]
    world.submit(Create("/b"), "write")
    world.answer("/b")
    assert world.ok("write") == "/b"
    count = len(world.probes)
    for _ in range(20):
        world.advance(T / 3 + 0.1)
        world.pong()
    assert len(world.probes) == count  # there is nothing to look for any more


@fault("S14")
def test_what_is_under_way_is_answered_before_we_go() -> None:
    """What comes meanwhile waits for the new server; what is never answered does not hold us."""
    world = read_only_world()
    world.submit(GetData("/a"), "before")
    until_probe(world)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    assert world.session.client_state == RO
    world.submit(GetData("/b"), "meanwhile")
    assert len(world.waiting) == 1
    world.answer(DATA)
    assert world.ok("before")[0] == b""
    assert world.session.client_state == RW
    world.answer(DATA)
    assert world.ok("meanwhile")[0] == b""

    world = read_only_world()
    world.submit(GetData("/a"), "never")
    until_probe(world)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    world.advance(LEAVING_LIMIT + 0.01)
    assert world.failed("never", ConnectionLoss).sent
    assert world.session.client_state == RW


@fault("S14")
def test_a_server_that_may_be_behind_what_we_have_seen_does_not_take_over() -> None:
    """It was told of an older zxid than the answers have shown meanwhile."""
    world = read_only_world()
    world.submit(GetData("/a"), "get")
    until_probe(world)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    world.answer(DATA, zxid=9)
    assert world.session.client_state == KeeperState.CONNECTING
    handshake = world.connect().handshake
    assert handshake is not None and handshake.last_zxid_seen == 9
    assert world.ok("get")[0] == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        REFUSED,
        welcome_frame(sid=FAKE, read_only=True),
        welcome_frame(timeout_ms=0, sid=0, passwd=bytes(16), read_only=True),
        welcome_frame(timeout_ms=0, sid=0, passwd=bytes(16)),
        welcome_frame(sid=0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        welcome_frame() + event_frame(EventType.CHANGED, "/a"),
        welcome_frame() + framed(header(3)),
    ],
)
@fault("S14", "S16")
def test_whoever_does_not_welcome_us_is_looked_at_again_later(answer: bytes) -> None:
    world = read_only_world(hosts=3)
    until_probe(world)
    world.probe_connect()
    world.probe_receive(answer)
    assert not world.probe is not None
    assert (world.states, world.session.client_state) == ([CONNECTED], RO)
    until_probe(world)
    assert {probe.host.name for _, probe in world.probes} == {"b", "c"}
    world.probe_connect()
    world.probe_receive(welcome_frame())
    assert world.session.client_state == RW


@fault("S16")
def test_servers_that_hang_or_dribble_hold_nothing_up() -> None:
    """Neither those that take no connection, nor those that are silent, nor those that answer drop by drop."""
    world = read_only_world(hosts=5)
    welcome = welcome_frame()
    for turn in range(8):
        world.advance(2.0, until=lambda: world.probe is not None)
        while not world.probe is not None:
            world.pong()
            world.advance(2.0, until=lambda: world.probe is not None)
        if turn % 3:
            world.probe_connect()
        for i in range(len(welcome) - 1):
            if turn % 3 == 2 and world.probe is not None:
                world.probe_receive(welcome[i : i + 1])
            world.advance(0.3, until=lambda: not world.probe is not None)
            world.pong()
        assert not world.probe is not None
        assert world.session.client_state == RO
    assert {probe.host.name for _, probe in world.probes} == set("bcde")
    while not world.probe is not None:
        world.pong()
        world.advance(2.0, until=lambda: world.probe is not None)
    world.probe_connect()
    world.probe_receive(welcome)
    assert world.session.client_state == RW


@fault("S14", "S16")
def test_looks_are_ever_rarer_but_never_end() -> None:
    """kazoo's delay never grows."""
    world = read_only_world(hosts=2)
    while world.now < 1300.0:
        world.advance(1.0, until=lambda: world.probe is not None)
        if world.probe is not None:
            world.probe_connect()
            world.probe_receive(b"")
        world.pong()
    gaps = [b - a for (a, _), (b, _) in zip(world.probes, world.probes[1:])]
    assert gaps[0] < 0.3
    assert all(later >= earlier - 1e-6 for earlier, later in zip(gaps, gaps[1:]))
    assert rw_probe.LONGEST_PAUSE / 2 <= gaps[-1] <= rw_probe.LONGEST_PAUSE
    assert 300 / rw_probe.LONGEST_PAUSE < len(gaps) < 60


def test_the_look_ends_with_its_reason() -> None:
    """A loss, a close or an end of the first connection ends the second."""
    for end in (
        lambda world: world.lose(),
        lambda world: world.session.close(world.now),
        lambda world: world.session.abort("dead"),
        lambda world: world.receive(b"\xff" * 20),
    ):
        for connected in (False, True):
            world = read_only_world()
            until_probe(world)
            if connected:
                world.probe_connect()
            end(world)
            world.pump()
            assert not world.probe is not None
            world.probe_receive(welcome_frame())  # what still arrives is of no account
            assert world.session.client_state != RW


def test_a_second_connection_that_breaks_while_it_waits_for_us() -> None:
    world = read_only_world()
    world.submit(GetData("/a"), "get")
    until_probe(world)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    world.probe_receive(b"")
    world.answer(DATA)
    assert world.ok("get")[0] == b""
    world.open(sid=SID)
    assert world.session.client_state == RW


@fault("S14")
def test_a_read_only_session_expires_like_any_other() -> None:
    """Without any server for 4/3 of the timeout: told, forgotten, and the next one begins at zxid 0."""
    world = read_only_world()
    watcher = Heard()
    world.submit(GetData("/a", watcher), "get")
    world.answer(DATA, zxid=5)
    world.lose()
    world.advance(T * 4 / 3 + 1)
    assert world.states == [CONNECTED, SUSPENDED, LOST]
    assert watcher.events == [("NONE", "/a")]
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    handshake = world.connect().handshake
    assert handshake is not None and handshake.last_zxid_seen == 0


@fault("S15")
@pytest.mark.parametrize("allowed", [False, True])
def test_a_read_only_server_cannot_say_that_a_real_session_is_over(allowed: bool) -> None:
    """Others are tried until we expire it ourselves; one of them resumes it."""
    refusal = dict(timeout_ms=0, sid=0, passwd=bytes(16), read_only=True)
    world = World(hosts=3, read_only=allowed).open()
    world.lose()
    asked: List[str] = []
    while world.now < 1000 + T:
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
        asked.append(world.dials[-1][1].host.name)
        handshake = world.connect().handshake
        assert handshake is not None and (handshake.session_id, handshake.passwd) == (SID, PASSWORD)
        world.welcome(**refusal)
        assert world.states == [CONNECTED, SUSPENDED]
    assert set(asked) == set("abc")
    assert len(asked) < 40
    world.open()
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
    assert world.session.client_id == (SID, PASSWORD)

    world.lose()
    lost_at = world.now
    while LOST not in world.states:
        world.advance(60.0, until=lambda: world.session.phase == "dialing" or LOST in world.states)
        if world.session.phase == "dialing":
            world.connect()
            world.welcome(**refusal)
    assert world.now - lost_at == pytest.approx(T * 4 / 3, abs=0.1)


@fault("S15")
def test_a_read_only_server_with_another_session_for_us_is_no_proof_either() -> None:
    world = World(hosts=2, read_only=True).open()
    world.lose()
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome(sid=FAKE, read_only=True)
    assert world.states == [CONNECTED, SUSPENDED]
    world.open()
    assert world.session.client_id == (SID, PASSWORD)


def resumed_world(**options: Any) -> World:
    """A session of the ensemble that a read-only server before 3.7 has resumed, half a second after it was lost."""
    world = World(hosts=2, read_only=True, **options).open()
    world.lose()
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    assert world.now - 1000.0 < T / 3
    world.connect()
    return world


@fault("X26")
@pytest.mark.parametrize("granted_ms", [9000, 60000])
def test_a_session_resumed_by_a_read_only_server_is_lost_at_its_time_however_well_that_answers(granted_ms: int) -> None:
    """4/3 of the timeout after the last word of a server that knows, whatever this one grants. What it serves then is a
    session of its own making."""
    world, mine = resumed_world(), Heard()
    heard_at = 1000.0
    world.welcome(read_only=True, timeout_ms=granted_ms)
    assert (world.states, world.session.client_id) == ([CONNECTED, SUSPENDED, CONNECTED], (SID, PASSWORD))
    assert world.session.client_state == RO
    world.submit(GetData("/a", mine), "get")
    world.answer(DATA, zxid=5)
    while LOST not in world.states:
        assert world.now < heard_at + 2 * T, "it is not lost"
        world.advance(0.5, until=lambda: LOST in world.states)
        if LOST not in world.states:
            world.pong(zxid=5)
    assert world.now - heard_at == pytest.approx(T * 4 / 3, abs=0.1)
    assert mine.events == [("NONE", "/a")] and world.session.client_id is None
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    handshake = world.connect().handshake
    assert handshake is not None and (handshake.session_id, handshake.last_zxid_seen) == (0, 0)
    assert handshake.timeout_ms == T * 1000


@fault("X26")
def test_a_session_resumed_by_a_read_only_server_goes_on_with_a_read_write_one_in_time() -> None:
    world = resumed_world()
    world.welcome(read_only=True)
    until_probe(world)
    peer = world.probe_connect()
    assert peer.handshake is not None and (peer.handshake.session_id, peer.handshake.passwd) == (SID, PASSWORD)
    world.probe_receive(welcome_frame())
    assert (world.session.client_state, world.session.client_id) == (RW, (SID, PASSWORD))
    for _ in range(20):
        world.advance(T / 3 + 0.1)
        world.pong()
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED, SUSPENDED, CONNECTED]


@fault("X26")
def test_a_made_up_session_is_kept_as_long_as_its_server_answers() -> None:
    """No other server knows of it: here the read-only server's word counts."""
    world = read_only_world()
    for _ in range(20):
        world.advance(1.0)
        world.pong()
    assert world.states == [CONNECTED]


def test_expired_is_expired_when_a_read_write_server_says_so() -> None:
    world = World(hosts=2, read_only=True).open()
    world.lose()
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome(timeout_ms=0, sid=0, passwd=bytes(16))
    assert world.states == [CONNECTED, SUSPENDED, LOST]


def test_a_read_only_session_nobody_asked_for_is_refused() -> None:
    world = World(hosts=2)
    world.connect()
    world.welcome(read_only=True)
    assert world.states == []
    assert "read-only" in str(world.session.last_error)


@fault("H05")
@pytest.mark.parametrize("allowed", [False, True])
def test_minus_119_instead_of_an_answer_is_the_failure_of_that_host(allowed: bool) -> None:
    """Others are tried, at no great rate: kazoo tries twice a second for ever, Go's parser fails."""
    world = World(hosts=2, read_only=allowed)
    attempts = 0
    while world.now < 1030:
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
        world.connect()
        world.receive(REFUSED)
        attempts += 1
    assert attempts < 60
    assert world.states == []
    assert "-119" in str(world.session.last_error)
    world.open()
    assert world.states == [CONNECTED]


def test_closing_a_read_only_session() -> None:
    """Connected: the server is told. Without a connection there is nobody to tell."""
    world = read_only_world()
    world.session.close(world.now)
    world.pump()
    assert [r.op.opcode for r in world.waiting] == [-11]
    world.answer()
    assert world.session.client_state == KeeperState.CLOSED

    world = read_only_world()
    world.lose()
    world.session.close(world.now)
    world.pump()
    assert world.session.client_state == KeeperState.CLOSED


# ---------------------------------------------------------------- fronts, embedded servers


def wait_for(condition: Callable[[], Any], timeout: float = 8.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        threading.Event().wait(0.005)


def states_of(zk: Any) -> List[str]:
    told: List[str] = []
    zk.add_listener(lambda state: told.append(zk.client_state if state == CONNECTED else state))
    return told


@pytest.mark.long
@fault("X26")
@pytest.mark.parametrize("version", ["3.4", "3.5", "3.6"])
def test_a_session_that_the_majority_has_given_away_is_lost_though_a_read_only_server_resumes_it(
    front: Front, version: str
) -> None:
    server = front.server(version=version)
    zk, told = front.client(server.hosts, read_only=True), Log()
    zk.create("/mine", ephemeral=True)
    first = zk.client_id
    zk.add_listener(told)
    server.go_read_only()
    assert told.wait(2) == [SUSPENDED, CONNECTED]
    assert zk.client_state == RO and zk.client_id == first and zk.exists("/mine")
    assert server.expire(first[0])  # nothing on this server shows it
    began = time.monotonic()
    told.until(lambda seen: LOST in seen)
    assert time.monotonic() - began < 1.0 * 4 / 3 + 1.0
    told.until(lambda seen: seen[-1] == CONNECTED)
    assert zk.client_id != first and zk.client_state == RO
    server.go_read_only(False)
    wait_for(lambda: zk.client_state == RW)
    assert zk.exists("/mine") is None and zk.client_id != first


@pytest.mark.long
@fault("X26")
@pytest.mark.parametrize("version", ["3.4", "3.6", "3.7", "3.9"])
def test_a_session_survives_a_short_loss_of_the_quorum(front: Front, version: str) -> None:
    """Before 3.7 the read-only server resumes it; since then it hangs up, and the client waits."""
    server = front.server(version=version)
    zk, told = front.client(server.hosts, read_only=True, timeout=20.0), Log()
    zk.create("/mine", ephemeral=True)
    first = zk.client_id
    zk.add_listener(told)
    server.go_read_only()
    told.wait(1)
    if version < "3.7":
        wait_for(lambda: zk.client_state == RO)
    server.go_read_only(False)
    wait_for(lambda: zk.client_state == RW)
    settled(zk)
    assert zk.client_id == first and zk.exists("/mine") and LOST not in told.seen


@pytest.mark.long
@fault("S14")
def test_there_and_back_on_one_server(front: Front) -> None:
    """Its connections end when it finds its quorum, as a real one's do; then writes work, and watches fire."""
    server, requests = front.server(), Requests()
    front.client(server.hosts).create("/a", b"1")
    server.go_read_only()
    zk = front.client(front.proxy(server, tap=requests).hosts, timeout=4.0, read_only=True)
    told, events, fake = Log(), Log(), zk.client_id
    zk.add_listener(told)
    assert (zk.client_state, zk.state, zk.connected) == (RO, CONNECTED, True)
    assert zk.get("/a", watch=events)[0] == b"1"
    transaction = zk.transaction()
    transaction.create("/b")
    for write in (lambda: zk.set("/a", b"2"), lambda: zk.sync("/a"), transaction.commit):
        with pytest.raises(NotReadOnlyCallError):
            write()
    assert requests.opcodes(1) == [4, 5, 9, 14], "each is sent once, and not again"
    server.go_read_only(False)
    wait_for(lambda: zk.client_state == RW)
    assert zk.client_id != fake
    zk.set("/a", b"2")
    assert events.wait(1)[0][::2] == (EventType.CHANGED, "/a")
    assert told.wait(2) == [SUSPENDED, CONNECTED]
    assert requests.count(5) == 2


@pytest.mark.slow
@fault("S15")
@pytest.mark.parametrize(
    "answer",  # to those who ask for a session that is real, and for one that it does not know
    [b"", welcome_frame(timeout_ms=0, sid=0, passwd=bytes(16), read_only=True)],
    ids=["hangs up", "none"],
)
def test_what_a_read_only_server_says_of_a_real_session(
    front: Front, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not over: others are asked, and one of them resumes it."""
    monkeypatch.setattr("zkwire.session.host_provider.SPREAD", 0.02)
    proxy, other = front.proxy(front.server()), front.scripted()
    other.handshake = lambda wire: bool(wire.send(answer)) or not wire.sock.close()
    hosts = f"{proxy.hosts},{other.hosts}"
    zk = front.client(hosts, timeout=4.0, read_only=True, randomize_hosts=False)
    told, events, session = Log(), Log(), zk.client_id
    zk.add_listener(told)
    zk.create("/a", ephemeral=True)
    zk.get("/a", watch=events)
    proxy.refuse()
    proxy.cut()
    other.wait(lambda: other.connections >= 2)
    proxy.heal()
    assert zk.set("/a", b"1").version == 1
    settled(zk)
    assert (zk.client_id, told.seen) == (session, [SUSPENDED, CONNECTED])
    assert events.wait(1)[0].type == EventType.CHANGED


@pytest.fixture
def two() -> Iterator[Tuple[EmbeddedServer, EmbeddedServer]]:
    """One that has lost its quorum, and one that has not; its zxid is higher, as that of a majority would be."""
    with EmbeddedServer() as read_only, EmbeddedServer() as other:
        read_only.go_read_only()
        with ZooKeeper(other.hosts) as zk:
            zk.create("/a", b"1")
        yield read_only, other


Two = Tuple[EmbeddedServer, EmbeddedServer]


@fault("S14")
def test_the_blocking_front_crosses_over_by_itself(two: Two) -> None:
    read_only, other = two
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    hosts = f"{read_only.hosts},{other.hosts}"
    with ZooKeeper(hosts, timeout=4.0, read_only=True, randomize_hosts=False) as zk:
        wait_for(lambda: zk.client_state == RW, 5.0)
        assert zk.get("/a")[0] == b"1"
        zk.create("/b", ephemeral=True)
        assert zk.exists("/b").ephemeralOwner == zk.client_id[0]  # type: ignore[union-attr,index]
    with ZooKeeper(other.hosts) as zk:
        assert zk.exists("/b") is None
    if before:
        wait_for(lambda: len(os.listdir("/proc/self/fd")) <= before)


@fault("S14")
@aio
async def test_the_asyncio_front_crosses_over_by_itself(two: Two) -> None:
    read_only, other = two
    hosts = f"{read_only.hosts},{other.hosts}"
    async with AsyncZooKeeper(hosts, timeout=4.0, read_only=True, randomize_hosts=False) as zk:

        async def crossed() -> bool:
            return zk.client_state == RW

        await eventually(crossed)
        assert (await zk.get("/a"))[0] == b"1"
        await zk.create("/b", ephemeral=True)


@pytest.mark.long
@fault("S16")
@pytest.mark.parametrize("how", ["silent", "dribble", "garbage"])
def test_a_server_that_is_no_help_is_passed_over(
    how: str, two: Two, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On real sockets, while reads go on: it hangs, it dribbles, it speaks another language."""
    monkeypatch.setattr(rw_probe, "SHORTEST_PROBE", 0.1)
    read_only, other = two

    def handshake(wire: Wire) -> bool:
        if how == "garbage":
            wire.send(b"This ZooKeeper instance is not currently serving requests\n")
        for byte in welcome_frame() if how == "dribble" else b"":
            wire.send(bytes([byte]))
            if wire.closed.wait(0.05):
                return True
        return wire.until_closed() or True

    useless = front.scripted()
    useless.handshake = handshake
    hosts = f"{read_only.hosts},{useless.hosts},{other.hosts}"
    zk, states = front.client(hosts, timeout=4.0, read_only=True, randomize_hosts=False), set()
    while zk.client_state != RW:
        zk.get_children("/", timeout=5.0)  # never fails: what is under way is answered before we go
        states.add(zk.client_state)
    assert useless.connections > 0
    assert zk.get("/a")[0] == b"1"
    assert RO in states


def test_a_client_may_be_closed_while_it_looks() -> None:
    threads = threading.active_count()
    with EmbeddedServer() as server, Scripted() as silent:
        silent.handshake = lambda wire: wire.until_closed() or True
        server.go_read_only()
        hosts = f"{server.hosts},{silent.hosts}"
        zk = ZooKeeper(hosts, timeout=9.0, read_only=True, randomize_hosts=False)
        zk.start()
        silent.wait(lambda: silent.connections > 0)
        begun = time.monotonic()
        zk.close()
        assert time.monotonic() - begun < 2.0
    wait_for(lambda: threading.active_count() <= threads)


@pytest.mark.long
def test_discovery_on_a_read_only_server() -> None:
    """An instancer shows what is there; a registrar tries until it may write, and says why it could not."""
    with EmbeddedServer() as server:
        with ZooKeeper(server.hosts) as zk:
            zk.ensure_path("/services/api")
            zk.create("/services/api/one", b"10.0.0.1:80")
        server.go_read_only()
        with ZooKeeper(server.hosts, timeout=4.0, read_only=True) as zk, Client(zk=zk) as client:
            instancer = Instancer(client, "/services/api")
            assert instancer.state.instances == ("10.0.0.1:80",)
            assert isinstance(instancer.state.error, ReadOnlyServerError) and instancer.stale_since is not None
            registrar = Registrar(client, Service("/services", "api", b"10.0.0.2:80"))
            with pytest.raises(ZookeeperError, match="NotReadOnly|read-only"):
                registrar.register(timeout=0.3)
            assert registrar.node is None
            done: List[Any] = []
            thread = threading.Thread(target=lambda: done.append(registrar.register(timeout=8.0)))
            thread.start()
            server.go_read_only(False)
            thread.join(10)
            assert done == [registrar.node]
            wait_for(lambda: instancer.state == Event(("10.0.0.1:80", "10.0.0.2:80")))


# ------------------------------------------------------------------------ real servers


@fault("S14", "S15")
@pytest.mark.watchdog(90)
def test_a_real_ensemble_loses_its_quorum_and_finds_it_again(ensemble: Any) -> None:
    """Two of three are killed: the session of before expires here, not by word of the survivor; reads go on."""
    servers = ensemble(3, "3.8", readonly=True)
    with ZooKeeper(servers.hosts, timeout=2.0, read_only=True) as zk:
        told, events, ever = states_of(zk), [], []  # type: ignore[var-annotated]
        zk.create("/a", b"1")
        zk.create("/gone", ephemeral=True)
        first = zk.client_id
        servers[1].kill()
        servers[2].kill()
        wait_for(lambda: zk.client_state == RO, 20.0)
        assert LOST in told
        assert zk.client_id != first
        assert zk.get("/a", watch=events.append)[0] == b"1"
        zk.add_watch("/a", ever.append)
        with pytest.raises(NotReadOnlyCallError):
            zk.set("/a", b"2")
        with pytest.raises(NotReadOnlyCallError):
            zk.sync("/a")
        fake = zk.client_id
        count = len(told)
        servers.start(wait=False)
        wait_for(lambda: zk.client_state == RW, 30.0)
        assert zk.client_id != fake
        assert LOST not in told[count:]
        zk.set("/a", b"2")
        wait_for(lambda: events and EventType.CHANGED in [event.type for event in ever])
        assert (events[0].type, events[0].path) == (EventType.CHANGED, "/a")
        assert ever[0].type == EventType.NONE
        zk.create("/b", ephemeral=True)
