"""The fault catalogue's rows for a virtual clock: interleavings that no socket would bring about on demand."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import STAT0, Heard, World, event_frame, framed, header, reply_frame, welcome_frame
from tests.kit.discovery.tree import Connection, Tree
from tests.discovery.test_registration import DIRECTORY
from tests.discovery.test_registration import World as Registered
from zkwire.errors import ConnectionLoss, NoAuthError, SessionExpiredError, ZookeeperError
from zkwire.ops import Auth, Create, GetData, SetData
from zkwire.recipes import create_protected, single

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

READ = (b"", STAT0)


@fault("S17")
@pytest.mark.parametrize("said", [True, False])
def test_expiry_says_nothing_about_what_was_under_way(said: bool) -> None:
    """The server may apply a write between its sending and our hearing of the end, or even later."""
    world = World().open()
    world.submit(Create("/e", ephemeral=True), "sent")
    if said:  # in an answer on the same connection
        world.submit(GetData("/a"), "read")
        first = world.waiting[0]
        world.receive(reply_frame(first.op, first.xid, err=-112))
        error = world.failed("read", SessionExpiredError)
        assert world.failed("sent", SessionExpiredError).maybe_applied and error.maybe_applied
    else:
        world.lose()
        assert world.failed("sent", ConnectionLoss).maybe_applied
        world.submit(SetData("/b", b""), "unsent")
        world.advance(60, until=lambda: world.session.phase == "dialing")
        world.connect()
        world.receive(welcome_frame(timeout_ms=0, sid=0))
        assert not world.failed("unsent", SessionExpiredError).maybe_applied
    assert world.states[-1] == "LOST"
    settled = dict(world.settled)
    world.session.received(world.link, reply_frame(Create("/e"), 1, "/e", 7), world.now)  # too late, and on no connection of ours
    world.pump()
    assert world.settled == settled
    assert "may still" in str(SessionExpiredError.__doc__)


@fault("S17")
@pytest.mark.parametrize("early", [True, False])
def test_a_create_of_a_session_given_up_is_not_taken_for_ours(early: bool) -> None:
    """It is applied after we saw the end: before we look for what we made, or after."""
    world = Registered()
    world.want(True)
    world.peer.connect()
    ((_, create),), old = world.peer.up, world.peer.connection
    assert isinstance(create, Create) and old is not None
    _lose(world)  # the request is still somewhere in the network
    world.peer.lose_session()
    if early:
        world.tree.apply(create, old)
    world.peer.settle()
    world.look()
    if not early:
        world.tree.apply(create, old)
    world.tree.expire(old.session)
    world.peer.settle()
    world.look()
    (node,) = world.ours()
    assert world.tree.nodes[f"{DIRECTORY}/{node}"].owner == world.peer.session != old.session
    assert world.core.node == f"{DIRECTORY}/{node}"


def _lose(world: Any) -> None:
    """The connection ends with nothing done and nothing heard."""
    peer = world.peer
    peer.tree.connections.remove(peer.connection)
    peer.connection = None
    lost = [key for key, _ in peer.up]
    peer.up.clear()
    for key in lost:
        peer._answer(key, ConnectionLoss("cut"))
    peer.core.session(None, peer.now)
    peer.pump()


@pytest.mark.slow
@fault("A05")
def test_no_read_is_refused_in_ten_thousand_reconnects() -> None:
    """By a server that refuses whoever has not proved who he is on this very connection, at whatever moment it is cut."""
    rng, reads = random.Random(6), 0
    world = World(start=False)
    world.submit(Auth("digest", b"bob:secret"), "bob", pump=False)
    world.session.start(world.now)
    world.pump()

    def read_some() -> None:
        nonlocal reads
        for _ in range(rng.randrange(3)):
            reads += 1
            world.submit(GetData("/mine"), reads)

    for _ in range(10_000):
        world.advance(60.0, until=lambda: world.session.phase == "dialing")
        read_some()
        world.connect()
        read_some()
        world.welcome(timeout_ms=9000)
        read_some()
        proven = False
        for _ in range(rng.randrange(6)):
            assert (world.session.state == "CONNECTED") == proven
            if not world.waiting:
                break
            if isinstance(world.waiting[0].op, Auth):
                proven = True
                world.answer()
            else:
                world.answer(READ, zxid=reads, err=0 if proven else -102)
            read_some()
        world.lose()
    assert len(world.dials) >= 10_000
    refused = [outcome for outcome in world.settled.values() if isinstance(outcome, NoAuthError)]
    answered = [outcome for outcome in world.settled.values() if outcome == READ]
    assert not refused and len(answered) > 5_000


@pytest.mark.slow
@fault("W09")
def test_events_come_before_the_replies_that_show_their_change_in_ten_thousand_schedules() -> None:
    """Whatever comes in one segment or in many: users hear in the order of the wire."""
    rng = random.Random(4)
    world = World().open()
    for number in range(10_000):
        del world.order[:]
        heard, armed = Heard(), []
        for i in range(rng.randrange(1, 4)):
            armed.append(f"/{number}.{i}")
            world.submit(GetData(armed[-1], heard), armed[-1], pump=False)
        reads = [f"r{number}.{i}" for i in range(rng.randrange(1, 4))]
        for token in reads:
            world.submit(GetData("/a"), token, pump=False)
        world.pump()
        wire: List[Tuple[bytes, Any]] = []
        for path, request in zip(armed, world.waiting):
            wire.append((reply_frame(request.op, request.xid, READ), path))
        for token, request in zip(reads, world.waiting[len(armed) :]):
            for path in [path for path in armed if rng.random() < 0.5]:
                armed.remove(path)
                wire.append((event_frame("CHANGED", path), ("fired", "CHANGED", path)))
            wire.append((reply_frame(request.op, request.xid, READ, zxid=number), token))
        world.answered = len(world.peer.requests)  # type: ignore[union-attr]
        data = b"".join(frame for frame, _ in wire)
        while data:
            cut = rng.choice((len(data), rng.randrange(1, len(data) + 1)))
            world.receive(data[:cut])
            data = data[cut:]
        assert world.order == [what for _, what in wire], number
        world.settled.clear()
        for path in armed:
            world.event("DELETED", path)


@fault("R14")
def test_a_cut_in_ten_thousand_requests_answers_a_prefix() -> None:
    """Those answered are the first ones, in order; the others are lost, and it is known which had left."""
    rng = random.Random(5)
    for _ in range(3):
        world = World(max_pending=10_000).open()
        for token in range(10_000):
            world.submit(SetData("/a", b"%d" % token), token, pump=False)
        world.pump(rng.randrange(400_000))
        reached = [request for request in world.waiting]
        answers = b"".join(reply_frame(r.op, r.xid, STAT0, zxid=i + 1) for i, r in enumerate(reached))
        answers = answers[: rng.randrange(len(answers))]
        complete = len(answers) // len(reply_frame(reached[0].op, 1, STAT0))
        while answers:
            cut = rng.randrange(1, 100_000)
            world.session.received(world.link, answers[:cut], world.now)
            answers = answers[cut:]
        world._collect()
        world.lose()
        assert list(world.settled) == list(range(10_000)), "in order"
        for token in range(10_000):
            if token < complete:
                assert world.ok(token) == STAT0
            else:
                assert world.failed(token, ConnectionLoss).sent == (token < len(reached))
        world.open()
        assert world.waiting == [], "nothing is sent again"


@pytest.mark.long
@fault("P10")
def test_an_operation_from_each_completion_however_deep() -> None:
    """Each answer brings the next request: neither the core nor what is told of it recurses, or grows."""
    world = World().open()
    session, op = world.session, GetData("/a")
    answered, xid = 0, 1
    session.submit(op, 0, world.now)
    while answered < 100_000:
        assert session.link is not None
        session.link.sent(len(session.link.data_to_send()))
        session.received(session.link, reply_frame(op, xid, READ), world.now)
        for _event in session.actions():
            answered, xid = answered + 1, xid + 1
            session.submit(op, answered, world.now)
    assert session.pending == 1


class Model:
    """Drives a recipe over a tree, losing what the test wants lost."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.tree = Tree("/d")
        self.tree.operator(Create("/d"))
        self.session = self.tree.open()
        self.old: Dict[int, int] = {}

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        return self.session, b""

    def run(self, recipe: Any) -> Any:
        """The result of the recipe; each operation may be lost before or after it is done, and with it the session."""
        answer: Any = None
        send: Callable[[Any], Any] = recipe.send
        while True:
            try:
                wanted = send(answer)
            except StopIteration as stop:
                return stop.value
            outcomes = [self.one(op) for op in (wanted if isinstance(wanted, list) else [wanted])]
            answer = outcomes if isinstance(wanted, list) else outcomes[0]
            send = recipe.throw if isinstance(answer, Exception) else recipe.send

    def one(self, op: Any) -> Any:
        choice = self.rng.random()
        if choice < 0.6:
            return self.tree.apply(op, Connection(self.session, lambda event: None))
        applied = choice < 0.8
        if applied:
            self.tree.apply(op, Connection(self.session, lambda event: None))
        if self.rng.random() < 0.3:
            self.old[self.session] = 1
            if self.rng.random() < 0.5:
                self.tree.expire(self.session)  # or the server has yet to find out
            self.session = self.tree.open()
            error: ZookeeperError = SessionExpiredError(None, op.path)
            error.maybe_applied = applied or self.rng.random() < 0.5
            return error
        return ConnectionLoss(None, op.path, sent=applied or self.rng.random() < 0.5)


@pytest.mark.long
@fault("R02")
def test_a_protected_create_is_one_node_in_ten_thousand_runs() -> None:
    """Whatever is lost, applied or not, and whether the session goes with it."""
    done = 0
    for seed in range(10_000):
        model = Model(seed)
        recipe = create_protected(
            model, lambda at: Create(at, b"", None, True, True), "/d/n-", True, lambda op: single(op)
        )
        try:
            path = model.run(recipe)
        except (ConnectionLoss, SessionExpiredError):
            continue  # too much was lost: the caller knows that it does not know
        done += 1
        for session in model.old:
            if session in model.tree.sessions:
                model.tree.expire(session)
        names = model.tree.children("/d")
        assert [f"/d/{name}" for name in names] == [path], seed
        assert model.tree.nodes[path].owner == model.session
    assert done > 9_000


@pytest.mark.long
@fault("G10")
def test_no_client_is_connected_when_the_server_hands_its_session_over() -> None:
    """However late answers come, and however much is sent: the server counts from when it got the last request."""
    rng = random.Random(6)
    timeout = 9.0
    closest = timeout
    for _ in range(2000):
        world = World(hosts=2).open()
        server_heard = world.now
        delay = rng.choice((0.0, 0.1, timeout / 3, timeout * 0.5, timeout * 0.62))
        for number in range(rng.randrange(6)):  # answered after `delay`, all of them
            if rng.random() < 0.5:
                world.submit(GetData("/a"), number)
            else:
                world.advance(timeout, until=lambda world=world: bool(world.peer and _owed(world)))  # type: ignore[misc]
            if world.session.phase != "open" or not _owed(world):
                break
            server_heard, arrived = world.now, len(_owed(world))  # what is sent from now on is lost, as far as we know
            world.advance(delay, until=lambda world=world: world.session.phase != "open")  # type: ignore[misc]
            if world.session.phase != "open":
                break
            _answer(world, arrived)
        while world.session.phase == "open":  # and then nothing gets through any more, though we go on trying
            if rng.random() < 0.3:
                world.submit(GetData("/a"), object())
            world.advance(rng.random() * 2, until=lambda world=world: world.session.phase != "open")  # type: ignore[misc]
        assert world.states == ["CONNECTED", "SUSPENDED"]
        assert world.now <= server_heard + timeout + 1e-6  # of which the clock of these tests steps beyond a deadline
        closest = min(closest, server_heard + timeout - world.now)
    assert closest < 1e-3, "some schedule goes to the very bound"


def _owed(world: World) -> List[Any]:
    """Requests and pings without an answer."""
    return world.peer.requests[world.answered :] if world.peer is not None else []


def _answer(world: World, count: int) -> None:
    """Answer the oldest ones."""
    data = b"".join(
        framed(header(-2)) if request.xid == -2 else reply_frame(request.op, request.xid, READ)
        for request in _owed(world)[:count]
    )
    world.answered += count
    world.receive(data)
