"""The session core under random schedules: whatever happens in whatever order, each call ends once, and rightly.

Invariants after every step: nothing is settled twice; no request reaches a server twice; what "was not sent" reached
none; what succeeded did. And at the end: everything submitted is settled, no timer is left.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Dict, List, Set

import pytest

from tests.kit.feeding import SEED
from tests.kit.world import SID, STAT0, Heard, Peer, World, event_frame, framed, header, reply_frame, welcome_frame
from zkwire.errors import ConnectionLoss, ZookeeperError
from zkwire.ops import AddWatch, Auth, GetData, RemoveWatches, SetData
from zkwire.values import KazooState

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

GRAPH = {
    ("LOST", "CONNECTED"), ("CONNECTED", "SUSPENDED"), ("SUSPENDED", "CONNECTED"), ("SUSPENDED", "LOST"),
    ("CONNECTED", "LOST"), ("LOST", "LOST"),
}  # fmt: skip


class Run:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(hosts=self.rng.randrange(1, 4), random=self.rng.random, max_pending=40)
        self.number = 0
        self.submitted: Dict[int, Any] = {}
        self.abandoned: Set[int] = set()  # before they were sent
        self.dropped: Set[int] = set()  # after that
        self.reached: List[bytes] = []
        self.zxid = 1
        self.sid = SID
        self.peers: List[Peer] = []
        self.at: Dict[int, int] = {}

    def note(self) -> None:
        """See what has reached a server."""
        peer = self.world.peer
        if peer is None:
            return
        if not self.peers or self.peers[-1] is not peer:
            self.peers.append(peer)
            self.at[id(peer)] = 0
        for request in peer.requests[self.at[id(peer)] :]:
            if isinstance(request.op, SetData):
                assert request.op.value not in self.reached, "a write was sent twice"
                self.reached.append(request.op.value)  # type: ignore[arg-type]
        self.at[id(peer)] = len(peer.requests)

    def step(self) -> None:
        world, rng = self.world, self.rng
        phase = world.session.phase
        choice = rng.random()
        if choice < 0.35:
            self.submit()
        elif choice < 0.40 and self.submitted:
            token = rng.choice(list(self.submitted))
            if token not in world.settled:
                (self.abandoned if world.session.cancel(token, forget=True) else self.dropped).add(token)
        elif choice < 0.60:
            world.advance(rng.choice((0.01, 0.3, 1.0, 4.0)))
        elif phase == "dialing":
            if choice < 0.75:
                world.lose("refused")
            else:
                world.connect()
        elif phase == "handshake":
            self.shake()
        elif phase == "open":
            self.serve()
        self.note()

    def submit(self) -> None:
        self.number += 1
        token, data = self.number, b"%d" % self.number
        op = self.rng.choice(
            [SetData("/w", data)] * 4 + [GetData("/r", Heard())] * 2
            + [AddWatch("/p", Heard()), RemoveWatches("/r"), Auth("digest", b"u%d:p" % self.rng.randrange(3))]
        )  # fmt: skip
        try:
            self.world.submit(op, token, pump=False)
            self.submitted[token] = op
            if self.world.peer is not None or self.world.session.unsent == 0:
                self.world.pump(self.rng.choice((None, None, 0, 7, 50)))
        except ZookeeperError:
            assert token not in self.world.settled
        self.note()

    def shake(self) -> None:
        world, choice = self.world, self.rng.random()
        if choice < 0.6:
            world.welcome(sid=self.sid, timeout_ms=self.rng.choice((3000, 9000)))
        elif choice < 0.7:
            world.lose()
        elif choice < 0.8:
            self.sid += 1
            world.receive(welcome_frame(timeout_ms=0, sid=0))
        elif choice < 0.9:
            self.sid += 1
            world.welcome(sid=self.sid)
        else:
            world.receive(self.rng.choice([b"HTTP", framed(b"\0" * 16), event_frame("CHANGED", "/" + "a" * 30)]))

    def serve(self) -> None:
        world, rng = self.world, self.rng
        choice = rng.random()
        world.pump(rng.choice((None, None, 3, 60)))
        self.note()
        if choice < 0.6:
            data = b""
            pings = [r for r in world.peer.requests if r.xid == -2] if world.peer else []
            if pings:
                data += framed(header(-2, self.zxid))
                world.peer.requests = [r for r in world.peer.requests if r.xid != -2]  # type: ignore[union-attr]
                world.answered = min(world.answered, len(world.peer.requests))  # type: ignore[union-attr]
                self.at[id(world.peer)] = len(world.peer.requests)  # type: ignore[union-attr]
            for _ in range(rng.randrange(6)):
                if world.answered >= len(world.peer.requests):  # type: ignore[union-attr]
                    break
                request = world.peer.requests[world.answered]  # type: ignore[union-attr]
                world.answered += 1
                self.zxid += 1
                value = {4: (b"", STAT0), 5: STAT0, 106: 0}.get(request.op.opcode)
                err = rng.choice((0, 0, 0, 0, 0, -101, -777)) if request.xid > 0 else 0
                if request.op.opcode in (101, 105):
                    err = 0
                data += reply_frame(request.op, request.xid, value, self.zxid, err)
                if rng.random() < 0.2:
                    data += event_frame(rng.choice(("CHANGED", "DELETED")), rng.choice(("/r", "/p", "/x")))
            while data:
                cut = rng.randrange(1, len(data) + 1)
                if world.peer is None:
                    break
                world.receive(data[:cut])
                data = data[cut:]
                if rng.random() < 0.03:
                    break  # the rest is lost; what follows makes no sense, which must do no harm
        elif choice < 0.7:
            world.lose()
        elif choice < 0.75:
            world.receive(rng.choice([b"\xff" * 4, framed(header(2**31 - 1)), framed(b"\0" * 3)]))
        elif choice < 0.77:
            world.receive(framed(header(-4)))

    def finish(self) -> None:
        world = self.world
        world.session.close(world.now)
        world.pump()
        self.note()
        start = world.now
        while world.session.phase != "ended":
            assert world.now - start <= 5.001
            if world.session.phase == "dialing":
                world.lose("refused")
            world.advance(5.1, until=lambda: world.session.phase in ("ended", "dialing"))

    def check(self) -> None:
        world = self.world
        for token, op in self.submitted.items():
            if token in self.abandoned:
                assert token not in world.settled
                assert getattr(op, "value", None) not in self.reached
                continue
            if token in self.dropped:
                continue
            assert token in world.settled, f"nobody was told of {op}"
            outcome = world.settled[token]
            if isinstance(op, SetData):
                if isinstance(outcome, ConnectionLoss) and not outcome.sent:
                    assert op.value not in self.reached, "it was sent, after all"
                elif not isinstance(outcome, ZookeeperError):
                    assert op.value in self.reached
        assert all(pair in GRAPH for pair in zip(["LOST", *world.states], world.states)), world.states
        assert world.session.deadline() is None
        assert world.session.pending == 0
        assert len(world.session._requests.watches) == 0
        assert world.states[-1:] in ([], [KazooState.LOST])


@pytest.mark.parametrize("block", range(8))
def test_random_schedules(block: int) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(SEED + block * 100, SEED + block * 100 + 100):
        run = Run(seed)
        try:
            for _ in range(120):
                run.step()
            run.finish()
            run.check()
            kinds.update(type(outcome).__name__ for outcome in run.world.settled.values())
            kinds.update(run.world.states)
        except BaseException:
            print(f"ZKWIRE_SEED={seed}")
            raise
    for kind in ("Stat", "ConnectionLoss", "SessionExpiredError", "ConnectionClosedError", "SUSPENDED", "CONNECTED"):
        assert kinds[kind] > 30, kinds  # or the schedules have grown too tame
