"""One run: the server, the clients and the network between them, and the steps of a schedule.

Owns what each kind of step does, and when all must be well again. Must not know where a schedule comes from.
"""

from __future__ import annotations

from random import Random
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from zkdisco.membership import LATE
from zkdisco.runner import LOOK_AGAIN
import zkwire.session.watches
from zkwire.embedded.settings import Settings
from zkwire.errors import ConnectionClosedError
from zkwire.ops import Create, Delete, SetData
from zkwire.wire.operation import CHILD, DATA, EXIST, PERSISTENT, RECURSIVE
from zkwire.values import KazooState, KeeperState, make_digest_acl
from zkwire.session.session import ENDED
from zkwire.session.watches import KINDS

from .below import AsyncBelow, BlockingBelow
from .client import Client
from .clock import Clock
from .ensemble import Ensemble
from .discoveries import Discovery, Interrupt, discovery_on, found_discovery
from .executors import Running
from .network import Stream, Wire
from .parties import InstancerParty, RegistrarParty
from .rules import Ledger, Violation, raised, require
from .schedule import Step, has_ensemble
from .server import Server
from .surroundings import surroundings
from .truth import Truth
from .users import act

DIRECTORIES = ("/svc/web", "/svc/db")
#: Chroots of clients.
ROOTS = ("", "", "", "/svc")
VERSIONS = ("3.9", "3.9", "3.8", "3.7", "3.6", "3.5", "3.4")
TICK = 0.5
#: Nobody here may read it.
SECRET = [make_digest_acl("nobody", "secret", all=True)]
#: Seconds on top of four thirds of the time-out after which a client knows that its session may be gone (I15).
AWARE = 0.5
#: Virtual seconds in which all must be well again after the last fault: a time-out, and the longest pause of zkdisco.
HEALTHY_WITHIN = 90.0


class World:
    """The surroundings of a seed; `run` carries out a schedule."""

    def __init__(self, seed: int, ensemble: Optional[bool] = None) -> None:
        rng = self.rng = Random(seed)
        self.seed = seed
        self.clock, self.ledger = Clock(), Ledger()
        self.version = rng.choice(VERSIONS)
        settings = self.settings = Settings(
            version=self.version, tick=TICK, min_session_timeout=1.0, max_session_timeout=rng.choice((4.0, 60.0))
        )
        self.truth = Truth(self.ledger, DIRECTORIES, self.clock.now)
        kind = Ensemble if has_ensemble(seed, ensemble) else Server
        self.server: Any = kind(settings, self.truth, Random(seed ^ 1), self.clock.now)
        #: When `server` is to be told of the time next, beside once a tick.
        self._told_at: Optional[float] = None
        self.latency = rng.choice((0.001, 0.01, 0.05))
        self.slow_handshakes = self.fragile = self.down = self.deaf = False
        self.split = rng.random() < 0.3 and not self.server.is_ensemble
        #: Which client does not reach which host.
        self.severed: Set[Tuple[Client, int]] = set()
        #: Clients that reach no server of the majority while the servers are split.
        self.cut_off: Set[Client] = set()
        self.wires: List[Any] = []  # (wire, link, client)
        self.faults = 0
        self.lag = rng.choice((0.0, 0.0, 0.02, 0.2))
        self._hosts_known, self._number_of_clients = rng.choice((1, 1, 3)), 0
        self.clients = [self._client(rng) for _ in range(rng.randrange(2, 5))]
        #: The process that is running, for its clock.
        self.current = self.clients[0]
        #: The client for the next front that makes a ZooKeeper of its own.
        self.newcomer: Any = None
        self.discoveries: List[Discovery] = []
        self.registrars: List[RegistrarParty] = []
        self.instancers: List[InstancerParty] = []
        self.left: List[InstancerParty] = []  # those that have stopped
        self.strangers = self.guids = self.chances = 0
        #: Of each call that waits, whether it need not any more, the outermost first; when the newest that waited inside
        #: another one has ended; when to interrupt one.
        self.waiters: List[Callable[[], bool]] = []
        self.excused, self.interrupt = 0.0, None
        #: Seconds that processes have stood still, or leapt ahead.
        self.drift = 0.0
        self.resting = self._rest_owed = False
        self.crash: Optional[BaseException] = None
        #: What callers, observers and iterations of discovery were told, and when.
        self.trail: List[Tuple[float, str, str]] = []
        self._steps: Iterator[Step] = iter(())
        #: Bytes of paths in one request that sets watches again: mostly all, sometimes one or two.
        self.batch = rng.choice((zkwire.session.watches.BATCH, 24, 8))
        #: Whether the clients close in the middle of it all.
        self.abrupt = rng.random() < 0.2
        self.clock.at(self.clock.now + TICK, self._tick)

    def _client(self, rng: Random) -> Client:
        number = self._number_of_clients
        self._number_of_clients += 1
        return Client(
            self, number, Random(self.seed * 31 + number), rng.choice((2, 4, 8)), self._hosts_of(number), self.lag, rng.choice(ROOTS)
        )

    def _hosts_of(self, number: int) -> List[int]:
        """What a new client knows: of an ensemble all members, each client in an order of its own."""
        doors = self.server.doors
        return [(number + i) % doors for i in range(doors)] if self.server.is_ensemble else list(range(self._hosts_known))

    def _people(self) -> None:
        for client in self.clients:
            (AsyncBelow if client.is_async else BlockingBelow)(client=client)
            discovery = self._discover(client, self.rng.choice((0, 1, 1, 2)))
            discovery.front.window._free = self.rng.choice((40, 1000))
            client.zk.driver.start()
            for _ in range(self.rng.choice((0, 1, 1))):
                discovery.instancer(self.rng.choice(DIRECTORIES), Random(self.rng.getrandbits(32)), False)
            client.settle()

    def _discover(self, client: Client, count: int) -> Discovery:
        """One more client of discovery on this client, with so many registrars."""
        found = discovery_on(client, self.rng.choice((1.0, 2.0)))
        self._furnish(found, count)
        return found

    def _furnish(self, discovery: Discovery, count: int) -> None:
        self.discoveries.append(discovery)
        for _ in range(count):
            number = len(self.registrars) + 1
            self.registrars.append(RegistrarParty(discovery, number, self.rng.choice(DIRECTORIES), self.rng.random() < 0.4))

    @property
    def live(self) -> List[Client]:
        """The clients that have not come to their end."""
        return [client for client in self.clients if client.ended_at is None and client.session._closing is None]

    def guid(self, size: int) -> bytes:
        """In the place of random bytes."""
        self.guids += 1
        return self.guids.to_bytes(size, "big")

    def chance(self) -> float:
        """In the place of random numbers: one after the other over the whole range, whatever the seed."""
        self.chances += 1
        return self.chances * 0.618 % 1.0

    def owns(self, client: Client, path: str) -> bool:
        """Whether a node is one that the client has made for discovery."""
        return any(discovery.owns(path) for discovery in client.discoveries)

    def forget(self, discovery: Discovery) -> None:
        """It has stopped."""
        for party in [party for party in self.instancers if party.discovery is discovery]:
            self.forget_instancer(party)

    def forget_instancer(self, party: InstancerParty) -> None:
        """It has stopped, or failed to begin."""
        if party in self.instancers:
            self.instancers.remove(party)
            self.left.append(party)

    # ---------------------------------------------------------------------- the time

    def monotonic(self) -> float:
        """The time of the process that is running."""
        return self.current.now()

    def run(self, steps: Sequence[Step]) -> None:
        """All steps, then rest, then the end. Raises `Violation`."""
        del raised[:]
        with surroundings(self):
            self._people()
            self._steps = iter(steps)
            for step in self._steps:
                self._do(step)
                self.clock.run(step.pause)
                self._check()
            self._steps = iter(())
            if self.abrupt:
                self.clock.run(max(0.0, max(client.frozen_until for client in self.clients) - self.clock.now))
            else:
                self.rest()
            self.end()

    def _do(self, step: Step) -> None:
        STEPS[step.kind](self, Random(step.salt))
        if self._rest_owed and not self.waiters:
            self.rest()

    def _check(self) -> None:
        if raised:
            raise raised[0]
        if self.crash is not None:
            raise self.crash
        for client in self.clients:
            client.check()
            if client.ended_at is not None and not client.is_told and not client.frozen:
                self._check_end(client)
        for registrar in self.registrars:
            registrar.check()
        for party in self.instancers:
            if self.clock.now >= party.client.frozen_until and not self.lag and not party.client.jumped:
                party.check(0.1)

    def _check_end(self, client: Client) -> None:
        """There will never be a session of this client again: soon, everybody knows, and who has begun since."""
        instancers = [one for one in self.instancers if one.client is client and one.started]
        since = max([client.ended_at or 0.0, client.frozen_until, *(one.began for one in instancers)])
        if self.clock.now - since > LOOK_AGAIN + 0.1 + 12 * client.lag:
            client.is_told = True
            for party in (*(one for one in client.discoveries if one.started), *instancers):
                party.check_end()

    @property
    def may_block(self) -> bool:
        """Whether one more call may wait: few are inside one another, since an outer one ends behind the inner ones."""
        return len(self.waiters) < 2

    def sleep(self, seconds: float) -> None:
        """Let time pass, and what is to happen then, inside a step."""
        self.wait(self.current, lambda: False, seconds)

    def wait(self, client: Client, done: Callable[[], bool], seconds: float) -> None:
        """Somebody in this process waits until `done()`, at most so many seconds of its clock: the world goes on."""
        clock, deadline, was_busy = self.clock, client.now() + seconds, client.busy
        interrupt, self.interrupt = self.interrupt, None

        def enough() -> bool:
            self.current = client
            return clock.now >= client.frozen_until and (done() or client.now() >= deadline - 1e-9)

        client.busy = False
        self.waiters.append(enough)
        try:
            client.settle()
            while not enough():
                if interrupt is not None and clock.now >= interrupt:
                    raise Interrupt()
                step = None if self.resting else next(self._steps, None)
                if step is not None:
                    self._do(step)
                    clock.run(step.pause, enough)
                    self._check()
                else:
                    left = max(deadline - client.now(), client.frozen_until - clock.now, 1e-6)
                    clock.run(min(left, max(1e-6, interrupt - clock.now)) if interrupt is not None else left, enough)
        finally:
            self.waiters.pop()
            if self.waiters:
                self.excused = clock.now
            client.busy, self.current = was_busy, client

    # ------------------------------------------------------------------- the network

    def dial(self, client: Client, number: int, host: int) -> None:
        """A client wants a connection."""
        delay = self.latency + self.rng.random() * self.latency
        if self.deaf or (client, host) in self.severed:
            return
        if self.down:
            self.clock.at(self.clock.now + delay, client.dialled, None, number)
        else:
            self.clock.at(self.clock.now + delay, self._connect, client, number, host)

    def _connect(self, client: Client, number: int, host: int) -> None:
        if not client.awaits(number):
            return
        if not self.server.is_open(host):
            client.dialled(None, number)
            return
        latency = 1.5 if self.slow_handshakes and self.rng.random() < 0.5 else self.latency
        link = self.server.open(host, (f"10.0.0.{client.number}", 4000 + number % 60000), self.clock.now)
        if self.split and (client in self.cut_off or self.rng.random() < 0.5):
            self.server.minority.add(link)

        def to_server(data: bytes) -> None:
            if not link.dead:
                self.server.receive(link, data, self.clock.now)
                self.flush()

        def gone() -> None:
            self.server.lost(link, self.clock.now)
            self.flush()

        up = Stream(self.clock, self.rng, self.latency, to_server, gone)
        wire: Wire
        down = Stream(
            self.clock, self.rng, latency, lambda data: client.receive(wire, data), lambda: client.receive(wire, None)
        )
        wire = Wire(up, down)
        self.wires.append((wire, link, client))
        if self.fragile and self.rng.random() < 0.5:
            self._cut_soon(wire, self.rng)
        client.dialled(wire, number)

    def flush(self) -> None:
        """Put on the wires what the server has to say."""
        over = False
        for wire, link, _ in self.wires:
            data = self.server.data_to_send(link, self.clock.now)
            if data:
                wire.down.push(data)
            if link.over:
                wire.down.finish()
                over = True
        if over:
            self.wires = [entry for entry in self.wires if not entry[1].over]
        moment = self.server.next_moment()
        if moment is not None and (self._told_at is None or moment < self._told_at):
            self._told_at = moment
            self.clock.at(moment, self._tell_the_time)

    def _tell_the_time(self) -> None:
        if self._told_at is not None and self._told_at <= self.clock.now:
            self._told_at = None
            self._look_at_leases()
            self.server.tick(self.clock.now)
            self.flush()

    def _tick(self) -> None:
        self._look_at_leases()
        self.server.tick(self.clock.now)
        self.flush()
        self.clock.at(self.clock.now + TICK, self._tick)

    def _look_at_leases(self) -> None:
        """Whose time is over must know before the server hands over: it is connected no more, but to a read-only server.

        Whose session is given away must know soon enough, by itself if need be: read-only servers do not know it.
        """
        now = self.clock.now
        ending = self.server.ending(now)
        for client in self.live:
            if now < client.frozen_until:
                continue
            state, client_state = client.session.state, client.session.client_state
            if client.sid in ending and not client.jumped and client_state != KeeperState.CONNECTED_RO:
                require(state != KazooState.CONNECTED, "I14", "client {} is {} as its session ends", client.number, state)
            gone = self.truth.given_away_at.get(client.sid)
            if gone is not None:
                since = now - max(gone, client.majority_at, client.frozen_until)
                late = since - client.granted * 4 / 3
                require(late < AWARE, "I15", "client {} is {} and keeps session {:#x}, given away {:.1f} s ago, {:.1f} s after the last word of the majority",
                        client.number, client_state, client.sid, now - gone, now - client.majority_at)  # fmt: skip

    # ---------------------------------------------------------------------- the steps

    def _act(self, rng: Random) -> None:
        client = rng.choice(self.clients)
        if not client.frozen and client.ended_at is None:
            act(client, rng)

    def _abandon(self, rng: Random) -> None:
        client = rng.choice(self.clients)
        calls = [call for call in client.calls if not call.over and call.done is None]
        if calls and self.clock.now >= client.frozen_until:
            client.abandon(rng.choice(calls))

    def _want(self, rng: Random) -> None:
        live = [party for party in self.registrars if not party.discovery.stopped and not party.client.frozen]
        if live:
            rng.choice(live).want(rng)

    def _enter(self, rng: Random) -> None:
        live = [party for party in self.registrars if not (party.discovery.stopped or party.client.frozen or party.by_service)]
        if live:
            self.current = (party := rng.choice(live)).client
            party.enter(rng)

    def _signal(self, rng: Random) -> None:
        live = [one for one in self.discoveries if not one.stopped and not one.client.frozen]
        if live:
            rng.choice(live).signal(rng)

    def _give_up(self, rng: Random) -> None:
        callers = [caller for one in self.discoveries if not one.client.frozen for caller in one.callers]
        if callers:
            caller = rng.choice(callers)
            client = self.current = caller.client
            with Running(client.loop):
                caller.give_up()
            client.settle()

    def _observe(self, rng: Random) -> None:
        live = [party for party in self.instancers if not party.client.frozen]
        if live:
            self.current = (party := rng.choice(live)).client
            party.use(rng)

    def _look(self, rng: Random) -> None:
        """One more instancer, or one more client of discovery with a ZooKeeper of its own."""
        live = [one for one in self.discoveries if not one.stopped and not one.client.frozen]
        if not self.may_block:
            return
        if live and len(self.instancers) < 6 and rng.random() < 0.7:
            discovery = rng.choice(live)
            self.current = discovery.client
            discovery.instancer(rng.choice(DIRECTORIES), rng, True)
        elif len(self.live) < 5:
            client = self.newcomer = self._client(rng)
            client.is_owned = True
            self.clients.append(client)
            self.current = client
            found_discovery(client, rng, lambda discovery: self._furnish(discovery, rng.choice((1, 2))))

    def _leave(self, rng: Random) -> None:
        """A client of discovery stops; on a ZooKeeper that it had not made itself, there is another one at once."""
        live = [one for one in self.discoveries if not one.stopped and not one.client.frozen and one.started]
        if live:
            one = rng.choice(live)
            self.current = one.client
            one.stop(rng)
            if not one.client.is_owned and one.client in self.live:
                self._discover(one.client, len(one.parties))
                one.client.settle()

    def _close(self, rng: Random) -> None:
        """The ZooKeeper below is closed by whoever had made it."""
        live = [client for client in self.live if not client.frozen]
        if len(live) > 1:
            client = rng.choice(live)
            client.doom = rng.choice(("", "cut", "hold"))
            if rng.random() < 0.5:
                self.close(client)
            else:  # soon after its next session has begun, while what waited for that is on its way
                self.server.expire(client.sid, self.clock.now)
                self.flush()

    def close(self, client: Client) -> None:
        """Its session ends for good; the connection may break before."""
        wire, fate, client.doom = client.wire, client.doom, None
        if fate is None:
            return  # it has happened
        if wire is not None and fate == "hold":
            wire.up.held = wire.down.held = True
        client.session.close(client.now())
        client.settle()
        if wire is not None and fate == "cut":
            wire.cut(True, True)

    def _stranger(self, rng: Random) -> None:
        """Somebody else, by other means, works in the directories."""
        directory = rng.choice(DIRECTORIES)
        names = self.truth.names(directory)
        choice = rng.random()
        self.strangers += 1
        data = b"\xff" if choice < 0.1 else b"stranger%d" % self.strangers
        acl = SECRET if rng.random() < 0.1 else None
        if choice < 0.5 and names:
            path = f"{directory}/{rng.choice(names)}"
            self.inject(SetData(path, data) if choice < 0.25 else Delete(path))
        elif choice < 0.9:
            for path in ("/svc", directory):
                self.inject(Create(path, b"made by a stranger"))
            name = rng.randrange(4) if rng.random() < 0.6 else self.strangers  # what comes back is another node
            self.inject(Create(f"{directory}/{self._identity() or f'stranger{name}'}", data, acl))
        elif not names:
            self.inject(Delete(directory))

    def _identity(self) -> Optional[str]:
        """Now and then one that is a registrar's name."""
        exact = sorted({party.name for party in self.registrars if party.name is not None})
        return exact[self.strangers % len(exact)] if exact and self.strangers % 4 == 0 else None

    def _churn(self, rng: Random) -> None:
        """Nothing is broken, and nodes of a directory change steadily for some seconds, faster than a round trip."""
        if self.abrupt or rng.random() < 0.7 or self.waiters:
            return  # it takes long
        self.rest()
        self.resting = True
        directory, pause = rng.choice(DIRECTORIES), rng.choice((0.004, 0.02, 0.1))
        for path in ("/svc", directory):
            self.inject(Create(path, b""))
        busy = [f"{directory}/busy{number}" for number in range(rng.choice((1, 2, 4, 12)))]
        for path in busy:
            self.inject(Create(path, b""))
        watching = [party for party in self.instancers if party.directory == directory and party.client in self.live]
        self.clock.run(5.0)
        slow, come = rng.random() < 0.3, rng.choice((0.05, 0.05, 0.5))
        if slow:
            for wire, _, _ in self.wires:
                wire.down.latency = 1.5
        for _ in range(int(4 / pause)):
            self._churned(rng, directory, busy, come)
            self.clock.run(pause * (0.5 + rng.random()))
            self._check()
            for party in watching if not slow else ():
                bound = LATE + 6 * (self.latency + self.lag)
                require(party.age() <= bound, "D6", "shown is {}, which is {:.1f} s old, changes come every {} s", party.newest, party.age(), pause)
        self._heal(rng)
        for path in busy:
            self.inject(Delete(path))
        self.clock.run(5.0)
        self.resting = False

    def _churned(self, rng: Random, directory: str, busy: List[str], come: float) -> None:
        self.strangers += 1
        if rng.random() < come:
            name = f"{directory}/come{self.strangers % 3}"
            gone = name.rpartition("/")[2] in self.truth.names(directory)
            self.inject(Delete(name) if gone else Create(name, b"come%d" % self.strangers))
        else:
            self.inject(SetData(rng.choice(busy), b"load%d" % self.strangers))

    def inject(self, op: Any) -> None:
        """Carry out an operation on the server, for nobody."""
        self.truth.counting = False
        self.server.write(op, self.clock.now)
        self.truth.counting = True
        self.flush()

    def _cut(self, rng: Random) -> None:
        for wire, _, client in self._victims(rng):
            if wire is client.wire:
                wire.cut(True, True, rng.random() < 0.5)

    def _cut_at(self, rng: Random) -> None:
        for wire, _, _ in self._victims(rng):
            self._cut_soon(wire, rng)

    def _cut_soon(self, wire: Wire, rng: Random) -> None:
        """At any byte of those to come."""
        stream = wire.up if rng.random() < 0.3 else wire.down
        stream.cut_after = rng.randrange(1, 180)
        stream.on_cut = lambda: wire.cut(True, True)

    def _fragile(self, rng: Random) -> None:
        self.fragile = not self.fragile

    def _half_open(self, rng: Random) -> None:
        for wire, _, _ in self._victims(rng):
            client_knows = rng.random() < 0.5
            wire.cut(client_knows, not client_knows, rng.random() < 0.5)

    def _hole(self, rng: Random) -> None:
        for wire, _, _ in self._victims(rng):
            which = rng.randrange(3)
            wire.up.held |= which != 0
            wire.down.held |= which != 1

    def _heal(self, rng: Random) -> None:
        """All is well, as far as it can be: held bytes arrive."""
        self.down = self.deaf = self.slow_handshakes = self.fragile = self.split = False
        self.severed.clear()
        self.server.heal(self.clock.now)
        for wire, _, _ in list(self.wires):
            wire.up.cut_after = wire.down.cut_after = None
            wire.down.latency = self.latency
            wire.up.release()
            wire.down.release()
        self.flush()

    def _slow(self, rng: Random) -> None:
        self.slow_handshakes = not self.slow_handshakes
        for wire, _, _ in self._victims(rng):
            wire.down.latency = rng.choice((0.3, 1.0))

    def _restart(self, rng: Random) -> None:
        self.server.restart(self.clock.now)
        self.flush()

    def _down(self, rng: Random) -> None:
        self.down, self.deaf = not self.down, rng.random() < 0.3
        if self.down:
            self._restart(rng)

    def _wipe(self, rng: Random) -> None:
        """The data begins anew. Whoever has a session hears that it is over; one of a read-only server is none."""
        self.server.wipe(self.clock.now)
        for client in self.clients:
            if not client.sid:
                client.seen.clear()
        self.flush()

    def _expire(self, rng: Random) -> None:
        sessions = self.server.sessions.all()
        if sessions:
            self.server.expire(rng.choice(sessions).id, self.clock.now)
            self.flush()

    def _lag(self, rng: Random) -> None:
        server = self.server.some(rng)
        server.faults(self.clock.now).lag_behind(max(0, server.data.applied - rng.randrange(5)))

    def _refuse(self, rng: Random) -> None:
        server = self.server.some(rng)
        server.faults(self.clock.now).refuse_sessions(not server.conditions.refuses_sessions)

    def _read_only(self, rng: Random) -> None:
        self.server.go_read_only(self.clock.now, not self.server.read_only)
        self.flush()

    def _split(self, rng: Random) -> None:
        """Some servers lose their quorum; or it is back, and some of them have not noticed yet."""
        self.split = not self.split
        self.cut_off = {one for one in self.clients if self.split and rng.random() < 0.4}
        if self.split:
            self.server.split(self.clock.now)
        for wire, link, client in list(self.wires):
            if wire is client.wire and (client in self.cut_off or rng.random() < 0.5) and (self.split or link in self.server.minority):
                wire.cut(True, True)

    def _falter(self, rng: Random) -> None:
        self.server.falter(rng, self.clock.now)
        self.flush()

    def _stop_member(self, rng: Random) -> None:
        self.server.stop_some(rng, self.clock.now)
        self.flush()

    def _stop_leader(self, rng: Random) -> None:
        """It is back soon, or not."""
        self._back(self.server.stop_leader(self.clock.now), rng)

    def _stop_many(self, rng: Random) -> None:
        """There is no majority for a while."""
        self._back(self.server.stop_many(rng, self.clock.now), rng)

    def _back(self, stopped: List[Any], rng: Random) -> None:
        self.flush()
        for member in stopped:
            self.clock.at(self.clock.now + rng.choice((0.05, 1.0, 5.0, 15.0)) * rng.random(), self._start_member, member)

    def _start_member(self, member: Any) -> None:
        self.server.start(member, self.clock.now)
        self.flush()

    def _renew(self, rng: Random) -> None:
        """A session ends, and the first connection of the next one breaks before it has brought much."""
        live = [client for client in self.live if client.sid and not client.frozen]
        if live:
            client = rng.choice(live)
            self.server.expire(client.sid, self.clock.now)
            self.clock.at(self.clock.now + 2 * self.latency, setattr, client, "brittle", True)
            self.flush()

    def _sever(self, rng: Random) -> None:
        """A client reaches a host no more, in one direction or in both; others do."""
        client, host = rng.choice(self.clients), rng.randrange(self.server.doors)
        self.severed.add((client, host))
        which = rng.randrange(3)
        for wire, link, its in self.wires:
            if its is client and self.server.place_of(link) == host:
                wire.up.held |= which != 0
                wire.down.held |= which != 1

    def _freeze(self, rng: Random) -> None:
        rng.choice(self.clients).freeze(rng.random() * rng.choice((0.5, 5.0)))

    def _jump(self, rng: Random) -> None:
        client = rng.choice(self.clients)
        if self.clock.now >= client.frozen_until:
            client.jump(rng.random() * rng.choice((1.0, 20.0)))

    def _throttle(self, rng: Random) -> None:
        code, opcodes = -127, (None, None, 1, 1, 101, 105, 106)
        self.server.some(rng).faults(self.clock.now).answer(code, rng.choice(opcodes), times=rng.randrange(1, 3))

    def _hosts(self, rng: Random) -> None:
        if self.live:
            doors = range(self.server.doors)
            rng.choice(self.live).set_hosts(rng.sample(doors, rng.randint(1, min(4, len(doors)))))

    def _pass(self, rng: Random) -> None:
        if rng.random() < 0.05:
            self.clock.run(rng.random() * 10, self.waiters[-1] if self.waiters else None)

    def _rest(self, rng: Random) -> None:
        self.rest()

    def _victims(self, rng: Random) -> List[Any]:
        """Mostly one connection, now and then all."""
        self.faults += 1
        if not self.wires:
            return []
        return list(self.wires) if rng.random() < 0.15 else [rng.choice(self.wires)]

    # --------------------------------------------------------------------------- rest

    def rest(self) -> None:
        """No more faults; after some time all must be true."""
        if self.waiters:
            self._rest_owed = True  # behind the calls that wait
            return
        self.resting, self._rest_owed = True, False
        self._rested()
        self.resting = False

    def _rested(self) -> None:
        self._heal(self.rng)
        self.clock.run(3.0)
        problem: Optional[str] = None
        for _ in range(int(HEALTHY_WITHIN / 3)):
            problem = self.problem()
            if problem is None:
                return
            self.clock.run(3.0)
            self._check()
        rule, _, text = str(problem).partition(": ")
        raise Violation(rule, text)

    def problem(self) -> Optional[str]:
        """What is not as it must be at rest."""
        for client in self.live:
            if client.session.client_state != KeeperState.CONNECTED:
                return f"I1: client {client.number} is {client.session.phase}: {client.session.last_error!r}"
            if client.calls:
                return f"I1: {client.calls[0]} still waits"
            for watches in client.watches.values():
                for watch in watches:
                    if watch.missed() is not None:
                        return f"I7: {watch} of client {client.number} has missed something: {watch.missed()}"
            for standing in client.standing:
                if standing.missed() is not None:
                    return f"I7: {standing} of client {client.number} has missed a change of {standing.missed()}"
            problem = self._watch_tables(client)
            if problem is not None:
                return problem
            problem = self._watches_wanted(client)
            if problem is not None:
                return problem
        parties: List[Any] = [*self.registrars, *self.instancers, *self.discoveries]
        for party in parties:
            problem = party.problem() if party.client.ended_at is None else None
            if problem is not None:
                return problem
        return None

    def _watches_wanted(self, client: Client) -> Optional[str]:
        """Whether there are those watches below directories that somebody wants, and no others."""
        watches, root = client.session._requests.watches, len(client.root)
        mine = {party.watched() for party in self.registrars if party.client is client} - {None}
        wanted = {DATA: set(mine), CHILD: set(), EXIST: set()}
        for party in self.instancers:
            if party.client is client and not party.core.recursive:
                here = party.directory[root:]
                there = self.truth.tree.get(party.directory) is not None
                wanted[DATA] |= {f"{here}/{name}" for name in self.truth.names(party.directory)}
                wanted[CHILD if there else EXIST].add(here)
        refused = {f"{directory[root:]}/{name}" for directory in DIRECTORIES for name in self.truth.unreadable(directory)}
        for kind, paths in wanted.items():
            there = {path for path in (client.session.scope.strip(one) for one in watches.paths(kind)) if self._is_ours(path, client)}
            # Where an instancer looked whether its directory is there, and by then it was: one watch that fires once.
            spare = {party.directory[root:] for party in self.instancers if party.client is client}
            # One that has stopped, or has the recursive one again, leaves those that fire once where they are.
            spent = [*self.left, *(party for party in self.instancers if party.fell_back and party.core.recursive)]
            left = {party.directory[root:] for party in spent if party.client is client}
            behind = {path for path in there if path in left or path.rpartition("/")[0] in left}
            if there - paths - behind - (spare if kind == DATA else set()):
                return f"D7: client {client.number} has {kind} watches on {there - paths} that nobody wants"
            if paths - there - refused:
                return f"D7: client {client.number} has no {kind} watch on {paths - there - refused}"
        below = {party.local for party in self.instancers if party.client is client and party.core.recursive}
        there = {client.session.scope.strip(path) for path in watches.paths(RECURSIVE)}
        there = {path for path in there if self._is_ours(path, client)}
        if there != below:
            return f"D7: client {client.number} has recursive watches on {there}, not on {below}"
        return None

    def _is_ours(self, path: str, client: Client) -> bool:
        """Whether it is a path of discovery."""
        return any((client.root + path).startswith(directory) for directory in DIRECTORIES)

    def _watch_tables(self, client: Client) -> Optional[str]:
        """Whether client and server know of the same watches."""
        session = self.server.sessions.get(client.sid)
        if session is None or session.link is None:
            return f"I10: the server knows no connection of client {client.number}"
        watches = client.session._requests.watches
        mine = {kind: set(watches.paths(kind)) for kind in KINDS}
        told = {CHILD: {"standard", "persistent"}, DATA: {"standard", "persistent", "recursive"}}
        table = self.server.watches_of(session.link)
        lists = {CHILD: table.child, DATA: table.data}
        unclaimed = {client.session.scope.prepend(path) for path in client.unclaimed}
        for name, kinds in ((DATA, (DATA, EXIST)), (CHILD, (CHILD,))):
            modes = {path: set(watchers[session.link]) for path, watchers in lists[name].paths.items() if session.link in watchers}
            here = set().union(*(mine[kind] for kind in kinds))
            deaf = {path for path in here if not modes.get(path, set()) & told[name]}
            if deaf:
                return f"I10: client {client.number} takes its {name} watches on {deaf} for set"
            # Where there is a lasting one beside it, a watch is removed by the client alone, for fear of both; before 3.9
            # the server's list of children may have the removed one only, which took the place of the lasting one there.
            beside = set(mine[PERSISTENT]) | set(mine[RECURSIVE])
            forgotten = {path for path, there in modes.items() if there == {"standard"}} - here - unclaimed - beside
            # An instancer that has stopped tells no server before 3.6; what is left fires once.
            forgotten -= {party.directory for party in self.left if party.client is client}
            if forgotten:
                return f"I10: client {client.number} has forgotten its {name} watches on {forgotten}"
            lasting = {(path, "persistent") for path in mine[PERSISTENT]}
            if name == DATA:
                lasting |= {(path, "recursive") for path in mine[RECURSIVE]}
            lost = {path for path, mode in lasting if mode not in modes.get(path, set())}
            if lost:
                return f"I10: client {client.number} takes its lasting watches on {lost} for set"
        return None

    def end(self) -> None:
        """All clients close; nothing may be left of them."""
        ids = [client.sid for client in self.live]  # a close that a held connection keeps from the server is its own matter
        for client in self.clients:
            client.session.close(client.now())
            client.settle()
        self.clock.run(6.0)
        for client in self.clients:
            require(client.session.phase == ENDED, "I9", "client {} is still {}", client.number, client.session.phase)
            require(not client.calls, "I1", "{} never ends", client.calls and client.calls[0])
            heard = not client.watches and not client.standing
            require(heard, "I7", "watches that never heard of the end: {} {}", client.watches, client.standing)
            left = len(client.session._requests.watches) + client.session.pending
            require(not left, "I12", "{} things are left", left)
            try:
                client.submit(SetData("/a", b"late"))
            except ConnectionClosedError:
                continue
            raise Violation("I9", "an operation is taken after the end")
        self._check()
        for party in (*self.discoveries, *self.instancers):
            if party.started:
                party.check_heard()
        if self.abrupt:
            return  # the server may not have heard of it
        for id_ in ids:  # there may be others, which their clients gave up before the server did
            require(self.server.sessions.get(id_) is None, "I9", "session {:#x} is left behind its close", id_)
            nodes = self.truth.tree.ephemerals.get(id_)
            require(not nodes, "D4", "nodes of a closed session are left: {}", nodes)


def _steps() -> Dict[str, Any]:
    return {name: getattr(World, f"_{name}") for name in (
        "act", "abandon", "churn", "leave", "want", "give_up", "observe", "look", "enter", "signal", "close", "stranger", "cut", "cut_at", "half_open", "hole", "heal", "slow", "restart", "down",
        "wipe", "expire", "lag", "refuse", "read_only", "split", "freeze", "jump", "throttle", "fragile", "hosts",
        "falter", "stop_member", "stop_leader", "stop_many", "renew", "sever", "pass", "rest",
    )}  # fmt: skip


STEPS = _steps()
