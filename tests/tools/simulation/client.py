"""One client, a process: a session core and its driver, as a front has it, on the virtual clock.

Owns the way between the core, the network and those who wait; the process's own clock, its freezes and jumps. What the
core reports is held to the invariants before anybody hears of it. Must not know servers.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Tuple

from zkwire.errors import ZookeeperError
from zkwire.session.host_provider import Host
from zkwire.wire.operation import Op
from zkwire.ops import Auth
from zkwire.values import KazooState, KeeperState, Stat
from zkwire.wire.messages import Scope
from zkwire.session.session import OPEN, Session
from zkwire.session.actions import METHODS, Replied, StateChanged
from zkwire.session.link import Link

from .calls import Call, Standing, Watch, check_outcome
from .executors import Executor, Loop, Timer
from .network import Wire
from .rules import key_of, require
from .tap import Tap

if TYPE_CHECKING:
    from .discoveries import Discovery
    from .world import World

GRAPH = {
    ("LOST", "CONNECTED"), ("CONNECTED", "SUSPENDED"), ("SUSPENDED", "CONNECTED"), ("SUSPENDED", "LOST"),
    ("CONNECTED", "LOST"), ("LOST", "LOST"),
}  # fmt: skip
#: Seconds on top of what the time-outs allow, for the network.
SLACK = 10.0


class Client:
    """`lag` is how many seconds its dispatchers, or its event loop, are behind, at most."""

    def __init__(self, world: World, number: int, rng: Random, timeout: int, hosts: List[int], lag: float, root: str) -> None:
        self.world, self.number, self.rng, self.timeout = world, number, rng, timeout
        self.ledger, self.root, self.read_only = world.ledger, root, rng.random() < 0.3
        #: A node nobody else may read.
        self.private = f"/private{number}"
        self._clock, self.lag, self._skew, self._drift = world.clock, lag, 0.0, 0.0
        self.session = Session(
            [Host(f"server{i}", 2181) for i in hosts], timeout=timeout, random=rng.random, shuffle=False,
            scope=Scope(root), read_only=self.read_only,
            connect_timeout=rng.choice((None, 2.0)),
        )  # fmt: skip
        self.wire: Optional[Wire] = None
        self.tap = Tap(self)
        self.link: Optional[Link] = None
        # The connection beside it, by which a read-only client probes for a better server.
        self.probe: Optional[Link] = None
        self.other: Optional[Wire] = None
        self.other_tap = Tap(self, True)
        # What the tap knows: of the session, and when a sign of life came last.
        self.sid, self.password, self.zxid = 0, b"\0" * 16, 0
        self.granted, self.contact_at, self.replied_at = float(timeout), self.now(), self.now()
        #: When a server of the majority was heard from last, by the world's clock.
        self.majority_at = self._clock.now
        self.refused = False
        self.identities: List[bytes] = []
        # Of the user.
        self.calls: Deque[Call] = deque()
        self.number_of_calls = self.acked = 0
        self.watches: Dict[str, List[Watch]] = {}
        self.standing: List[Standing] = []
        self.seen: Dict[str, int] = {}
        #: Up to when answers have shown this session what there was.
        self.seen_until = (0, 0)
        self.unclaimed: Dict[str, None] = {}  # paths of watches nobody waited for any more when they were set
        #: The ZooKeeper that discovery has on this session, once there is one.
        self.zk: Any = None
        self.loop = Loop(self, lag)
        self.discoveries: List[Discovery] = []
        #: Whether discovery has the asyncio front here, and whether it has made the ZooKeeper below itself.
        self.is_async = rng.random() < 0.5
        self.is_owned = False
        self._state = KazooState.LOST
        self._ended = False
        # Of the driver.
        self._dials: Dict[int, Link] = {}  # the attempts to connect that were not given up
        self._dials_so_far = 0
        self._timer: Optional[float] = None
        self.frozen_until = 0.0
        self._inbox: Deque[Tuple[Wire, Optional[bytes]]] = deque()
        #: The executors that have something to run, and no lag.
        self.ready: Deque[Executor] = deque()
        self._timers: List[Tuple[float, int, Timer]] = []
        self._number_of_timers = 0
        self.busy = self._started = False
        #: When it had come to its end, by the world's clock.
        self.ended_at: Optional[float] = None
        #: How it comes to its end soon after its next session has begun, or None.
        self.doom: Optional[str] = None
        #: Whether its next connection breaks as soon as there is a session.
        self.brittle = False
        #: Whether everybody must have heard of that, and has.
        self.is_told = False
        self.reconnects = 0
        self.jumped = False

    def now(self) -> float:
        """The time, as this client has it."""
        return self._clock.now + self._skew

    @property
    def frozen(self) -> bool:
        """Whether the process stands still."""
        return self._clock.now < self.frozen_until

    def start(self) -> None:
        """Begin to connect."""
        if self._started:
            return
        self._started = True
        self.session.start(self.now())
        self.submit(Auth("digest", b"owner%d:secret" % self.number))
        self.settle()

    # ---------------------------------------------------------------------- for users

    def submit(
        self, op: Op[Any], done: Optional[Callable[[Any], object]] = None, watch: Optional[Watch] = None,
        force: bool = False,
    ) -> Call:  # fmt: skip
        """Submit an operation; `done` is called with its outcome. Raises what the core raises."""
        self.number_of_calls += 1
        call = Call(self.number_of_calls, op, key_of(op, self.session.scope), self.now(), done, watch, self.world.truth.now)
        counted = not isinstance(op, Auth)
        if counted:
            self.ledger.submitted(call.key)
        try:
            self.session.submit(op, call, self.now(), force)
        except (ZookeeperError, ValueError):
            if counted:
                self.ledger.refused(call.key)
            raise
        if not counted and call.key[1] not in self.identities:
            self.identities.append(call.key[1])
        self.calls.append(call)
        return call

    def withdraw(self, call: Call) -> bool:
        """Take an operation back that was not sent yet."""
        if not self.session.cancel(call):
            return False
        call.settled()
        self.ledger.unsent(call.key)
        self._forget_calls()
        return True

    def abandon(self, call: Call) -> bool:
        """Its user waits no more: it may be done, but nobody hears of it. Whether it never was sent."""
        if any(type(action) is Replied and action.token is call for action in self.session.queued):
            return False  # it is done: a driver performs what is queued before it does anything else
        call.settled()
        if call.watch is not None:
            self.unclaimed[call.watch.path] = None
        if isinstance(call.op.__dict__.get("watch"), Standing):
            call.op.watch.unclaimed = True  # type: ignore[union-attr]
        unsent = self.session.cancel(call, forget=True)
        if unsent and not isinstance(call.op, Auth):
            self.ledger.unsent(call.key)
        self._forget_calls()
        return unsent

    def _forget_calls(self) -> None:
        while self.calls and self.calls[0].over:
            self.calls.popleft()

    def full(self, path: str) -> str:
        """The path of a node, as the servers have it."""
        return self.root + path if path != "/" else self.root or "/"

    def truth(self, path: str) -> Optional[Stat]:
        """How a node is now."""
        node = self.world.truth.tree.get(self.full(path))
        return node.stat() if node is not None else None

    def remind(self, timer: Timer, delay: float) -> None:
        """Hand it to its executor when it is due."""
        self._number_of_timers += 1
        heappush(self._timers, (timer.due, self._number_of_timers, timer))
        self._clock.at(self._clock.now + delay, self._due, timer)

    def _due(self, timer: Timer) -> None:
        if not timer.cancelled:
            self._wake()

    # ---------------------------------------------------------------------- the driver

    def settle(self) -> None:
        """Act on all the core has to say, send what it wants to, and see to its deadline."""
        if self.busy or self._clock.now < self.frozen_until:
            return
        self.busy = True
        session = self.session
        while True:
            if session.queued:
                for action in session.actions():
                    getattr(self, METHODS[type(action)])(*action)
                if self.link is not session.link:
                    self._take_over()
            self._send()
            if self.ready:
                self.ready.popleft().work()
            elif not session.queued:
                break
        self.busy = False
        deadline = session.deadline()
        if deadline is not None:
            when = deadline - self._skew
            if self._timer is None or when < self._timer:
                self._timer = when
                self._clock.at(when + 1e-6, self._wake)

    def _send(self) -> None:
        wire, link = self.wire, self.link
        if self.other is not None and self.probe is not None:
            data = bytes(self.probe.data_to_send())
            if data:
                self.probe.sent(len(data))
                self.other_tap.wrote(data)
                self.other.up.push(data)
        while wire is not None and link is not None:
            data = link.data_to_send()
            size = min(len(data), wire.room())
            if size <= 0:
                return
            if size > 1 and self.rng.random() < 0.03:  # the socket takes a part
                size = self.rng.randrange(1, size)
            part = bytes(data[:size])
            link.sent(size)
            self.tap.wrote(part)
            wire.up.push(part)

    def _wake(self) -> None:
        """Time has passed."""
        if self._clock.now < self.frozen_until:
            self._clock.at(self.frozen_until, self._wake)
            return
        self._read_inbox()
        now = self.now()
        timers = self._timers
        while timers and timers[0][0] <= now + 1e-9:
            timer = heappop(timers)[2]
            if not timer.cancelled:
                timer.executor.call(timer.run)
        if self._timer is not None and self._timer <= self._clock.now:
            self._timer = None
        deadline = self.session.deadline()
        if deadline is not None and deadline <= now:
            self.session.timed_out(now)
        self.settle()

    def awaits(self, dial: int) -> bool:
        """Whether an attempt to connect is still wanted."""
        return dial in self._dials

    def dialled(self, wire: Optional[Wire], dial: int) -> None:
        """The attempt to connect has come to its end: with a connection, or None."""
        if not self.awaits(dial) or self._clock.now < self.frozen_until:
            return  # given up meanwhile (or asleep: the attempt fails by time)
        link = self._dials.pop(dial)
        if wire is None:
            self.session.lost(link, "refused", self.now())
        elif link is self.probe:
            self.other, self.other_tap = wire, Tap(self, True)
            self.session.connected(link, self.now())
        else:
            self.wire, self.tap, self.refused = wire, Tap(self), False
            self.session.connected(link, self.now())
        self.settle()

    def receive(self, wire: Wire, data: Optional[bytes]) -> None:
        """Bytes for this client; None is their end."""
        if wire is self.wire or wire is self.other:
            self._inbox.append((wire, data))
            if self._clock.now >= self.frozen_until:
                self._read_inbox()
                self.settle()

    def _read_inbox(self) -> None:
        while self._inbox:
            wire, data = self._inbox.popleft()
            if wire is self.wire:
                self._reads(data)
            elif wire is self.other:
                self._sees(data)
            self.settle()

    def _reads(self, data: Optional[bytes]) -> None:
        if data is None:
            self.wire, link = None, self.link
            if link is not None:
                self.session.lost(link, "the server closed the connection", self.now())
        elif self.link is not None:
            self.tap.reads(data)
            self.session.received(self.link, data, self.now())

    def _sees(self, data: Optional[bytes]) -> None:
        if self.probe is None:
            return
        if data is None:
            self.other = None
            self.session.lost(self.probe, "the server closed the connection", self.now())
        else:
            self.other_tap.reads(data)
            self.session.received(self.probe, data, self.now())

    def set_hosts(self, numbers: List[int]) -> None:
        """Its list of servers is another one now."""
        if self._clock.now >= self.frozen_until and self.session._closing is None:
            self.session.set_hosts([Host(f"server{number}", 2181) for number in numbers], self.now())
            self.settle()

    def freeze(self, seconds: float) -> None:
        """The process stands still; the world goes on."""
        self.frozen_until = max(self.frozen_until, self._clock.now + seconds)
        self._drift += seconds
        self.world.drift += seconds
        self._clock.at(self.frozen_until, self._wake)

    def jump(self, seconds: float) -> None:
        """Its clock leaps ahead."""
        self._skew += seconds
        self._drift += seconds
        self.world.drift += seconds
        self.jumped, self._timer = True, None
        self._wake()

    # ---------------------------------------------------------------------- the core's events

    def dial(self, link: Link) -> None:
        """Connect."""
        if not self.session.wants(link):
            return  # given up in the same breath
        if link is self.session.link:
            require(self.wire is None, "I9", "dials while there is a connection")
            self.link = link
        else:
            require(self.read_only and self.other is None, "I9", "probes for another server")
            self.probe = link
        self._dials_so_far += 1
        self._dials[self._dials_so_far] = link
        self.world.dial(self, self._dials_so_far, int(link.host.name[len("server") :]))

    def hang_up(self, link: Link, reason: str) -> None:
        """Close a connection, or give up the attempt to make it."""
        self._dials = {number: one for number, one in self._dials.items() if one is not link}
        if link is self.probe:
            self.probe, self.other = None, _closed(self.other)
        elif link is self.link:
            self.link, self.wire = None, _closed(self.wire)

    def _take_over(self) -> None:
        """The session's link is another one, after the actions: the probe's, or none."""
        link = self.session.link
        if link is not None and link is self.probe:
            require(self.other is not None, "I9", "another connection takes over, but there is none")
            require(self.wire is None, "I9", "the connection before it is still there")
            self.link, self.wire, self.tap = link, self.other, self.other_tap
            self.probe = self.other = None
            self.tap.take_over()

    def reply(self, call: Call, outcome: Any) -> None:
        """An operation is done."""
        call.settled()
        check_outcome(self, call, outcome)
        self._forget_calls()
        if call.done is not None:
            call.done(outcome)

    def fire(self, watchers: Any, event: Any, lasting: Any) -> None:
        """A watch has fired."""
        for watcher in watchers:
            if type(watcher) is Watch or type(watcher) is Standing:
                watcher(event)
            else:
                self.zk.driver.fire((watcher,), event, ())

    def note(self, what: str) -> None:
        """What the server said was not understood."""

    def state_changed(self, state: str, client_state: str, error: Any) -> None:
        """Tell the listeners."""
        event = StateChanged(state, client_state, error)
        require((self._state, event.state) in GRAPH, "I9", "{} after {}", event.state, self._state)
        require(not self._ended, "I9", "{} after the end", event.client_state)
        self._state = event.state
        if event.state == KazooState.CONNECTED:
            self.reconnects += 1
            for watch in [w for watches in self.watches.values() for w in watches]:
                require(watch.sid in (0, self.sid), "I7", "a watch of an earlier session: {}", watch)
                watch.sid = self.sid  # those set at a read-only server go along
        elif event.state == KazooState.LOST:
            self._lost(event)
        if self.zk is not None:
            self.zk.state_changed(event)

    def _lost(self, event: StateChanged) -> None:
        """The session is over; whose word is that?"""
        self._ended = event.client_state == KeeperState.CLOSED
        if self._ended:
            self.ended_at = self._clock.now
        require(event.client_state != KeeperState.AUTH_FAILED, "I9", "authentication failed, without a reason")
        silent = self.now() - self.contact_at >= self.granted * 4 / 3 - 1e-3
        gone = self.world.server.sessions.get(self.sid) is None
        require(self._ended or self.refused or gone or silent, "I13", "expired by itself; session {:#x}", self.sid)
        self.sid, self.password, self.zxid, self.refused = 0, b"\0" * 16, 0, False
        self.granted = float(self.timeout)
        self.seen.clear()
        self.seen_until = (0, 0)

    def welcomed(self) -> None:
        """The server has answered the handshake; what waited for that is on its way."""
        if self.brittle:
            self.brittle = False
            self._clock.at(self._clock.now + self.rng.random() * self.world.latency, self._break)
        if self.doom is not None:
            self._clock.at(self._clock.now + self.rng.random() * self.world.latency * 2, self.world.close, self)

    def _break(self) -> None:
        if self.wire is not None:
            self.wire.cut(True, True)

    # ------------------------------------------------------------------------ checks

    def check(self) -> None:
        """The invariants of time: nobody waits too long, and silence is noticed."""
        if self._clock.now < self.frozen_until:
            return
        now = self.now()
        if self.calls:
            oldest = self.calls[0]
            limit = oldest.since + self.timeout * 2 + SLACK + self._drift
            require(now <= limit, "I1", "{} waits since {:.1f} s", oldest, now - oldest.since)
        if self.session.phase == OPEN:
            limit = self.replied_at + self.granted * 4 / 3 + 0.1
            require(now <= limit, "I1", "connected, and no reply for {:.1f} s", now - self.replied_at)
        if not self.lag:
            require(not self.ready and not self.session.queued, "I12", "something is left to be done: {}", [(one, one._jobs) for one in self.ready])


def _closed(wire: Optional[Wire]) -> None:
    """Close a connection, without a last look at what comes."""
    if wire is not None:
        wire.up.finish()
        wire.down.kill()
