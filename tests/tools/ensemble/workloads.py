"""What the clients do all day: each workload is a class, and `WORKLOADS` is the table of them.

`begin` is called once there is a connection, `step` again and again, and `look` when all writing has ended. A step may end
with a `ZookeeperError`: the hand has noted it, and the next step begins afresh. Must not know what is right: the checker
does.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional, Tuple, Type

from zkwire import WatchedEvent
from zkwire.errors import NoNodeError, ZookeeperError

from .hand import PATIENCE, Hand

REGISTERS, PAIRS, WATCHED, OWNERS = 4, 2, 5, 5
#: Nodes that are there before the clients come.
ROOTS = (
    ["/registers", "/pairs", "/unique", "/protected", "/owners", "/watched", "/services", "/marks"]
    + [f"/registers/r{n}" for n in range(REGISTERS)] + [f"/pairs/{half}{n}" for n in range(PAIRS) for half in "ab"]
    + [f"/watched/w{n}" for n in range(WATCHED)]
)  # fmt: skip
SERVICE = "/services/api"
#: One-shot watches that a client has at a time.
WATCHES = 4
#: Seconds that an instancer, or a registrar, is given at rest.
AT_REST = 20.0


class Workload:
    """Does nothing."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    async def begin(self) -> None:
        """Called once, when there is a connection."""

    async def step(self) -> None:
        """A few calls."""

    async def look(self) -> None:
        """Called when nobody writes any more."""

    async def end(self) -> None:
        """Called before the client closes."""


class Registers(Workload):
    """Compare-and-set, writes without a condition, reads with and without sync."""

    async def step(self) -> None:
        """Read one, and mostly write it."""
        hand, path = self.hand, f"/registers/r{self.hand.random.randrange(REGISTERS)}"
        chance = hand.random.random()
        if chance < 0.15:
            await hand.sync()
        _, stat = await hand.get(path)
        if chance < 0.6:
            await hand.set(path, stat.version)
        elif chance < 0.75:
            await hand.set(path)

    async def look(self) -> None:
        """Read them all."""
        for number in range(REGISTERS):
            await self.hand.get(f"/registers/r{number}")


class Reads(Registers):
    """Reads only: for a client that also talks to servers without a quorum."""

    async def step(self) -> None:
        """Read one."""
        await self.hand.get(f"/registers/r{self.hand.random.randrange(REGISTERS)}")


class Pairs(Workload):
    """Transactions over two nodes."""

    async def step(self) -> None:
        """Write both halves of a pair."""
        number = self.hand.random.randrange(PAIRS)
        paths = [f"/pairs/{half}{number}" for half in "ab"]
        stats = [(await self.hand.get(path))[1] for path in paths]
        await self.hand.set_all([(path, stat.version) for path, stat in zip(paths, stats)])


class Unique(Workload):
    """Several clients create the same nodes: one of them can."""

    async def step(self) -> None:
        """Create a node of this second."""
        hand = self.hand
        await hand.create(f"/unique/{int(time.time())}-{hand.random.randrange(3)}", ephemeral=hand.random.random() < 0.3)


class Protected(Workload):
    """Protected sequential creates, which are found again when their answer was lost."""

    def __init__(self, hand: Hand) -> None:
        super().__init__(hand)
        self._paths: List[str] = []

    async def step(self) -> None:
        """Create one, or delete one."""
        hand = self.hand
        if len(self._paths) > 5:
            await hand.delete(self._paths.pop(0))
        else:
            path, _ = await hand.create("/protected/p-", protect=True, sequence=True, ephemeral=hand.random.random() < 0.5)
            self._paths.append(path)


class Owners(Workload):
    """Ephemeral nodes, of which their owner says again and again that it has them."""

    #: Claims until it lets go.
    LONG = 40

    def __init__(self, hand: Hand) -> None:
        super().__init__(hand)
        self._owned: Optional[Tuple[str, int]] = None
        self._claims = 0

    async def step(self) -> None:
        """Try to get one; say that it is had; let go."""
        hand = self.hand
        if self._owned is None:
            path, stat = await hand.create(f"/owners/o{hand.random.randrange(OWNERS)}", ephemeral=True)
            self._owned, self._claims = (path, stat.ephemeralOwner), 0
        elif hand.session() != self._owned[1]:
            self._owned = None
        elif self._claims < self.LONG:
            self._claims += 1
            hand.claim(*self._owned)
        else:
            path, self._owned = self._owned[0], None
            await hand.delete(path)

    async def look(self) -> None:
        """Once more."""
        if self._owned is not None:
            self.hand.claim(*self._owned)


class Changes(Workload):
    """Changes what others watch."""

    async def step(self) -> None:
        """Write a node, take it away, or put it back."""
        hand, path = self.hand, f"/watched/w{self.hand.random.randrange(WATCHED)}"
        if hand.random.random() < 0.7:
            try:
                await hand.set(path)
            except NoNodeError:
                await hand.create(path)
        elif await hand.exists(path) is not None:
            await hand.delete(path)
        else:
            await hand.create(path)


class OneShot(Workload):
    """One-shot watches on data, existence and children, some at a time."""

    def __init__(self, hand: Hand) -> None:
        super().__init__(hand)
        self._waiting: List[str] = []

    async def step(self) -> None:
        """Set one more, if there are few."""
        hand, waiting = self.hand, self._waiting
        if len(waiting) >= WATCHES:
            return
        number = hand.number()
        note = hand.watcher(number)

        def fired(event: WatchedEvent) -> None:
            note(event)
            if number in waiting:
                waiting.remove(number)

        waiting.append(number)
        try:
            await self._arm(number, fired)
        except ZookeeperError:
            if number in waiting:
                waiting.remove(number)
            raise

    async def _arm(self, number: str, fired: Any) -> None:
        hand, path = self.hand, f"/watched/w{self.hand.random.randrange(WATCHED)}"
        how, before = hand.random.choice(["data", "exists", "children"]), hand.newest
        if how == "data":
            _, stat = await hand.get(path, fired)
            hand.armed(number, "data", path, stat.mzxid)
        elif how == "children":
            _, stat = await hand.children("/watched", fired)
            hand.armed(number, "children", "/watched", stat.pzxid)
        else:
            found = await hand.exists(path, fired)
            hand.armed(number, "absent" if found is None else "data", path, found.mzxid if found else before)


class Recursive(Workload):
    """A persistent recursive watch, set again when it has ended with its session."""

    def __init__(self, hand: Hand) -> None:
        super().__init__(hand)
        self._there = False

    async def step(self) -> None:
        """Set it, if there is none."""
        if self._there:
            return
        hand, number, before = self.hand, self.hand.number(), self.hand.newest
        note = hand.watcher(number)

        def fired(event: WatchedEvent) -> None:
            note(event)
            if event.type == "NONE" and event.state != "CONNECTED":
                self._there = False

        self._there = True
        try:
            await hand.add_watch("/watched", fired)
        except ZookeeperError:
            self._there = False
            raise
        hand.armed(number, "recursive", "/watched", before)


class Discovery(Workload):
    """What registrars and instancers have in common: a client of zkdisco on the hand's ZooKeeper."""

    client: Any

    async def begin(self) -> None:
        """Make the client."""
        self.client = self.hand.front.discovery.Client(zk=self.hand.zk)
        if hasattr(self.client, "start"):
            await self.client.start()

    async def end(self) -> None:
        """Stop it; nothing is left behind."""
        await self.hand.front.done(self.client.stop())


class Registering(Discovery):
    """A registrar that comes, changes its data, and goes."""

    _wanted = False

    async def begin(self) -> None:
        """Make a registrar."""
        await super().begin()
        self._changes = 0
        service = self.hand.front.discovery.Service("/services", "api", self.data())
        self.registrar = self.hand.front.discovery.Registrar(self.client, service)

    def data(self) -> bytes:
        """Data that no other registration has."""
        return f"{self.hand.name}#{self._changes}".encode()

    async def step(self) -> None:
        """Mostly nothing: registrations last."""
        chance = self.hand.random.random()
        if not self._wanted and chance < 0.5:
            await self._want(True)
        elif self._wanted and chance < 0.04:
            await self._want(False)
        elif self._wanted and chance < 0.15:
            self._changes += 1
            self.hand.history.write("updating", value=self.data().decode())
            await self.hand.front.done(self.registrar.update(self.data(), timeout=PATIENCE))

    async def _want(self, wanted: bool) -> None:
        self.hand.history.write("wanted", name=self.hand.name, wanted=wanted)
        verb = self.registrar.register if wanted else self.registrar.deregister
        try:
            await self.hand.front.done(verb(timeout=PATIENCE))
        except ZookeeperError as error:
            self._wanted = False  # a register that failed leaves no registration, a deregister goes on by itself
            self.hand.history.write("wanted", name=self.hand.name, wanted=False, error=type(error).__name__)
            raise
        self._wanted = wanted
        self.hand.history.write("registered", name=self.hand.name, wanted=wanted)

    async def look(self) -> None:
        """What is wanted is there by now, or soon."""
        end = time.monotonic() + AT_REST
        while self._wanted and self.registrar.error is not None and time.monotonic() < end:
            await self.hand.pause(0.05)


class Following(Discovery):
    """An instancer and what its observer is called with."""

    async def begin(self) -> None:
        """Make an instancer."""
        await super().begin()
        self.instancer = self.hand.front.discovery.Instancer(self.client, SERVICE, wait=0)
        if hasattr(self.instancer, "start"):
            await self.instancer.start()
        self.instancer.register(self.shown)

    def shown(self, event: Any) -> None:
        """The observer."""
        error = type(event.error).__name__ if event.error is not None else None
        self.hand.history.write("shown", instances=list(event.instances), error=error)

    async def look(self) -> None:
        """What is shown at rest, once it is said to be good."""
        end = time.monotonic() + AT_REST
        while time.monotonic() < end and (self.instancer.state.error is not None or self.instancer.stale_since is not None):
            await self.hand.pause(0.05)
        await self.hand.caught_up(AT_REST)
        state = self.instancer.state
        error = type(state.error).__name__ if state.error is not None else None
        self.hand.history.write("shown", instances=list(state.instances), error=error, at_rest=True)


WORKLOADS: Dict[str, Type[Workload]] = {
    "registers": Registers, "reads": Reads, "pairs": Pairs, "unique": Unique, "protected": Protected, "owners": Owners,
    "changes": Changes, "oneshot": OneShot, "recursive": Recursive, "registering": Registering, "following": Following,
}  # fmt: skip
