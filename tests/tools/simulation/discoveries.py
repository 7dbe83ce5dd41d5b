"""Clients of discovery: a front of zkdisco over the ZooKeeper of a simulated client, and those who call it.

Owns how a call is made on each front, when it has to be over (D12), and what is left behind `stop` (D8) and behind the
end (D10). The fronts are zkdisco's own, from the public call down to the session core.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, Callable, List, Optional

from zkdisco import aio, threads
from zkdisco.front import GRACE, LEAVE
from zkdisco.values import Service
from zkwire.errors import ConnectionClosedError, NestedCallError, OperationTimeoutError, ZookeeperError
from zkwire.io.dispatch import On
from zkwire.session.session import CLOSE_LIMIT
from zkwire.values import KazooState

from .executors import Running
from .parties import InstancerParty, RegistrarParty, name_of
from .rules import require

if TYPE_CHECKING:
    from .client import Client


class Interrupt(BaseException):
    """As KeyboardInterrupt, in a call that waits."""


class Caller:
    """One call: `what` of `party`; `outcome` once it is over."""

    def __init__(self, what: str, party: Any, limit: float) -> None:
        self.what, self.party, self.limit = what, party, limit
        self.client: Client = party.client
        self.began = self.drift = 0.0
        self.outcome: Any = None
        self.begun = self.over = self.cancelled = False
        #: Whether other calls may go on inside it, though it need not wait any more.
        self.nested = what == "block"
        #: Cancels it, or gives it up.
        self.give_up: Callable[[], object] = lambda: None

    @property
    def succeeded(self) -> bool:
        """Whether it was told that it is done."""
        return self.over and not isinstance(self.outcome, BaseException)

    def __repr__(self) -> str:
        return f"{self.what}({self.party}) of {self.began:.1f}"


class _Direct(On):
    """Called wherever it is called."""

    def __call__(self, *arguments: Any) -> None:
        self.function(*arguments)


class _Noting:
    """A front that notes the registrations it makes."""

    def registration(self, service: Service, identity: Optional[str] = None) -> Any:
        """As ever."""
        made = super().registration(service, identity)  # type: ignore[misc]
        self.__dict__.setdefault("made", []).append(made)
        return made


class _BlockingFront(_Noting, threads.Client):
    pass


class _AsyncFront(_Noting, aio.Client):
    pass


class Discovery:
    """What both kinds share."""

    def __init__(self, client: Client, front: Any) -> None:
        self.client, self.world, self.front = client, client.world, front
        self.stopped = self.over = False
        #: Whether its front has been started: one that failed to, or was cancelled, has promised nothing.
        self.started = True
        self.parties: List[RegistrarParty] = []
        self.callers: List[Caller] = []
        client.discoveries.append(self)

    @property
    def cores(self) -> List[Any]:
        """All registrations it has ever made."""
        found: List[Any] = self.front.__dict__.get("made", [])
        return found

    @property
    def timeout(self) -> float:
        """No call takes longer."""
        return float(self.front.options.timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of client {self.client.number}"

    # ------------------------------------------------------------------------- calls

    def begin(self, caller: Caller) -> None:
        """It is about to call."""
        world = self.world
        world.current = self.client
        caller.begun, caller.began, caller.drift = True, world.clock.now, world.drift
        self.callers.append(caller)
        if isinstance(caller.party, RegistrarParty):
            caller.party.intends(caller)

    def finish(self, caller: Caller, outcome: Any) -> None:
        """It is told, or has given up."""
        world = self.world
        world.current = self.client
        caller.over, caller.outcome = True, outcome
        world.trail.append((world.clock.now, repr(caller), repr(outcome).partition(" object at ")[0]))
        if caller in self.callers:
            self.callers.remove(caller)
        limit = caller.began + caller.limit
        if world.excused > caller.began:
            limit = max(limit, world.excused + GRACE)  # a call that had interrupted it came to its end so late
        late = world.clock.now - limit - (world.drift - caller.drift)
        require(late <= GRACE + 0.1 + 12 * self.client.lag, "D12", "{} has ended {:.2f} s late: {!r}", caller, late, outcome)
        if isinstance(outcome, asyncio.InvalidStateError):
            require(False, "D12", "{}: nobody has said how it stands: {!r}", caller, outcome)
        symptom = self.client.is_told and isinstance(outcome, OperationTimeoutError) and world.excused < caller.began
        if symptom and self.started and not self.stopped:
            require(False, "D10", "{} is told of a time-out, behind the end: {!r}", caller, outcome)
        if isinstance(caller.party, RegistrarParty):
            caller.party.heard(caller)

    def _leaving(self, party: RegistrarParty, fails: bool) -> Caller:
        """The call at the end of a block."""
        intends = party.core.wanted and not self.front.closed
        soon = fails or not self.front.zk.connected
        what = "deregister quietly" if fails else "deregister"
        return Caller(what if intends else "leave", party, min(LEAVE, self.timeout) if soon else self.timeout)

    # -------------------------------------------------------------------------- rules

    def owns(self, path: str) -> bool:
        """Whether a node is one of ours."""
        return any(path.startswith(f"{core.directory}/{name_of(core)}") for core in self.cores)

    def check_stopped(self) -> None:
        """`stop` has returned."""
        for party in self.parties:
            party.check_stopped()
        for party in self.world.instancers:
            if party.discovery is self:
                party.check_stopped()
        require(self.front.closed, "D8", "a client that has stopped takes calls")
        self.world.forget(self)

    def problem(self) -> Optional[str]:
        """What is left of a client of discovery that has stopped, and who still waits."""
        left = [name for party in self.parties for name in party.ours()] if self.stopped else []
        if left:
            return f"D8: {left} are left behind the stop"
        if self.callers:
            return f"D10: {self.callers[0]} still waits"
        if self.stopped and not self.over:
            return "D12: stop has not returned"
        return None

    def check_end(self) -> None:
        """There will never be a session again."""
        before = self.world.clock.now - 0.1 - 12 * self.client.lag
        waiting = [one for one in self.callers if max(one.began, self.client.frozen_until) < before and not one.nested]
        require(not waiting, "D10", "{} wait for ever", waiting)
        if not self.stopped:
            require(isinstance(self.front.end, ConnectionClosedError), "D10", "the end has the cause {!r}", self.front.end)
        for party in self.parties:
            party.check_end()

    def check_heard(self) -> None:
        """As `check_end`, some time later."""
        require(not self.callers, "D10", "{} wait for ever", self.callers)
        require(not self.front._running, "D10", "the registry still runs, and nobody is there")


class BlockingDiscovery(Discovery):
    """Callers that block, and callers that other threads have blocked, of which we see the future only."""

    @classmethod
    def on(cls, client: Client, connect_timeout: float) -> BlockingDiscovery:
        """On the ZooKeeper that the client has."""
        client.world.current = client
        front = _BlockingFront(zk=client.zk, session_timeout=client.timeout, connect_timeout=connect_timeout)
        return cls(client, front)

    def instancer(self, directory: str, rng: Random, waits: bool) -> None:
        """One more, perhaps without waiting for its first set."""
        InstancerParty(self, directory, rng).open_blocking(waits)

    def registrar(self, service: Service, identity: Optional[str] = None) -> Any:
        """One more."""
        return threads.Registrar(self.front, service, identity=identity)

    def ask(self, what: str, party: RegistrarParty, rng: Random) -> None:
        """One call: blocking, or of another thread."""
        timeout = rng.choice((None, None, rng.random() * 3))
        caller = Caller(what, party, self.timeout if timeout is None else timeout)
        if self.world.may_block and rng.random() < 0.4:
            if rng.random() < 0.2:
                self.world.interrupt = self.world.clock.now + rng.random()
            self.block(caller, lambda: party.call(caller, timeout=timeout))
            return
        self.begin(caller)
        front, core = self.front, party.core
        if what == "start":
            self.finish(caller, party.registrar.start())
        elif what == "update":
            future = front.want_data(core, party.next_data(rng))
        elif party.by_service:
            future = front.want_service(party.service, what == "register")
        else:
            future = front.want(core, what == "register")
        if what != "start":
            future.add_done_callback(_Direct(None, lambda done: self.finish(caller, done._outcome)))  # type: ignore[arg-type]
            caller.limit = 1e6

            def give_up() -> None:
                caller.limit = self.world.clock.now - caller.began
                front.withdraw(future)

            caller.give_up = give_up
        self.client.settle()

    def block(self, caller: Caller, function: Callable[[], Any]) -> Any:
        """Call, and let the world go on while it waits."""
        caller.nested = True
        self.begin(caller)
        try:
            outcome: Any = function()
        except Interrupt as interrupt:
            outcome, caller.cancelled = interrupt, True
        except Exception as error:
            outcome = error
        self.world.interrupt = None
        self.finish(caller, outcome)
        self.client.settle()
        return outcome

    def signal(self, rng: Random) -> None:
        """A signal handler has interrupted a call of the client, and calls it."""
        if not self.parties:
            return
        party = rng.choice(self.parties)
        self.client.zk.driver.waits = False
        if rng.random() < 0.3:
            refused = Caller("leave", party, 0.0)  # which intends nothing
            outcome = self.block(refused, lambda: party.call(Caller("register", party, 0.0)))
            require(isinstance(outcome, NestedCallError), "D12", "a call waits in a signal handler: {!r}", outcome)
        else:
            caller = Caller("deregister now", party, 0.0)
            self.block(caller, lambda: party.call(caller))
        self.client.zk.driver.waits = True
        self.client.settle()

    def enter(self, party: RegistrarParty, rng: Random) -> None:
        """`with registrar:`, at the end of which there may be an exception."""
        if not self.world.may_block:
            return
        registrar, fails = party.registrar, rng.random() < 0.5
        if isinstance(self.block(Caller("enter", party, self.timeout), registrar.__enter__), Exception):
            return
        self.world.sleep(rng.random() * 2)
        leaving = self._leaving(party, fails)
        outcome = self.block(leaving, lambda: registrar.__exit__(RuntimeError if fails else None, None, None))
        require(not (fails and outcome), "D12", "the exception of a block is replaced: {!r}", outcome)

    def stop(self, rng: Random) -> None:
        """`stop`, perhaps twice."""
        waits = self.client.zk.driver.waits
        if waits and (self.world.waiters or rng.random() < 0.3):
            self.client.zk.driver.waits = False
            self.stop(rng)
            self.client.zk.driver.waits = True
            return
        self.stopped = True
        self.front._stopped.add_done_callback(_Direct(None, self._has_stopped))  # type: ignore[arg-type]
        caller = Caller("stop", self, (CLOSE_LIMIT if self.front._owns else self.timeout) + 1.0 if waits else 0.0)
        caller.nested = True
        away, before = self.client.session.state != KazooState.CONNECTED, self.client.reconnects
        self.begin(caller)
        self.front.stop()
        if away and before == self.client.reconnects and waits and not self.front._owns:
            caller.limit = LEAVE + 1.0
        self.finish(caller, None)
        if waits:
            require(self.over, "D12", "stop has returned, and has not stopped")
            self.front.stop()
        self.client.settle()

    def _has_stopped(self, future: Any) -> None:
        self.over = True
        self.check_stopped()


class AsyncDiscovery(Discovery):
    """Callers are tasks."""

    @classmethod
    def on(cls, client: Client, connect_timeout: float) -> AsyncDiscovery:
        """On the ZooKeeper that the client has."""
        client.world.current = client
        with Running(client.loop):
            front = _AsyncFront(zk=client.zk, session_timeout=client.timeout, connect_timeout=connect_timeout)
        found = cls(client, front)
        found.started = False

        async def start() -> None:
            await front.start()
            found.started = True

        found.spawn(Caller("start", found, found.timeout), start)
        return found

    def spawn(self, caller: Caller, call: Callable[[], Any]) -> None:
        """A task that calls."""

        async def run() -> None:
            self.begin(caller)
            try:
                outcome: Any = await call()
            except asyncio.CancelledError as cancelled:
                outcome, caller.cancelled = cancelled, True
            except Exception as error:
                outcome = error
            self.finish(caller, outcome)

        with Running(self.client.loop):
            task = self.client.loop.create_task(run())
        task.add_done_callback(lambda done: setattr(caller, "over", True))
        caller.give_up = task.cancel
        self.client.settle()

    def instancer(self, directory: str, rng: Random, waits: bool) -> None:
        """One more, perhaps without waiting for its first set."""
        InstancerParty(self, directory, rng).open_async(waits)

    def registrar(self, service: Service, identity: Optional[str] = None) -> Any:
        """One more."""
        return aio.Registrar(self.front, service, identity=identity)

    def ask(self, what: str, party: RegistrarParty, rng: Random) -> None:
        """One call."""
        if what == "start":
            caller = Caller(what, party, 0.0)
            self.begin(caller)
            with Running(self.client.loop):
                party.registrar.start()
            self.finish(caller, None)
        else:
            timeout = rng.choice((None, None, rng.random() * 3))
            caller = Caller(what, party, self.timeout if timeout is None else timeout)
            self.spawn(caller, lambda: party.call(caller, timeout=timeout))
        self.client.settle()

    def signal(self, rng: Random) -> None:
        """Nothing of the kind here."""

    def enter(self, party: RegistrarParty, rng: Random) -> None:
        """`async with registrar:`, at the end of which there may be an exception."""
        registrar, fails = party.registrar, rng.random() < 0.5

        async def leave() -> None:
            outcome = await registrar.__aexit__(RuntimeError if fails else None, None, None)
            require(outcome is None, "D12", "{!r}", outcome)

        async def block() -> None:
            entering = Caller("enter", party, self.timeout)
            self.begin(entering)
            try:
                await registrar.__aenter__()
            except BaseException as error:
                entering.cancelled = isinstance(error, asyncio.CancelledError)
                self.finish(entering, error)
                raise
            self.finish(entering, None)
            await asyncio.sleep(rng.random() * 2)
            self.world.current = self.client
            leaving = self._leaving(party, fails)
            self.begin(leaving)
            outcome: Any = None
            try:
                await leave()
            except BaseException as error:
                outcome = error
            self.finish(leaving, outcome)
            require(not (fails and isinstance(outcome, Exception)), "D12", "the exception of a block is replaced: {!r}", outcome)

        self.spawn(Caller("block", self, 2 * self.timeout + 5.0), block)
        self.client.settle()

    def stop(self, rng: Random) -> None:
        """`stop`, perhaps twice."""
        caller = Caller("stop", self, CLOSE_LIMIT if self.front._owns else self.timeout)

        async def stop() -> None:
            self.stopped = True
            away, before = self.client.session.state != KazooState.CONNECTED, self.client.reconnects
            try:
                await self.front.stop()
            finally:  # cancelled, it goes on
                if away and before == self.client.reconnects and not self.front._owns:
                    caller.limit = LEAVE
                if not self.over:
                    self.over = True
                    self.check_stopped()

        self.spawn(caller, stop)
        if rng.random() < 0.3:
            self.spawn(Caller("stop again", self, caller.limit), self.front.stop)
        self.client.settle()


def found_discovery(client: Client, rng: Random, furnish: Callable[[Discovery], object]) -> None:
    """A client of discovery that makes a ZooKeeper of its own; `furnish` is called once it may be used."""
    wait = rng.choice((None, None, 0.0, rng.random()))
    options = dict(session_timeout=client.timeout, connect_timeout=rng.choice((1.0, 2.0)), wait=wait)
    world = client.world
    began, drift = world.clock.now, world.drift
    if client.is_async:
        with Running(client.loop):
            front = _AsyncFront("server0:2181", **options)
        discovery = AsyncDiscovery(client, front)
        discovery.started = False
        timeout = rng.choice((None, rng.random() * 3))
        limit = wait if wait is not None else timeout if timeout is not None else discovery.timeout

        async def start() -> None:
            try:
                await front.start(timeout)
            except BaseException:
                discovery.stop(rng)
                raise
            discovery.started = True
            furnish(discovery)

        discovery.spawn(Caller("start", discovery, limit + 0.5), start)
        return
    try:
        made = _BlockingFront("server0:2181", **options)
    except ZookeeperError:
        pass
    else:
        furnish(BlockingDiscovery(client, made))
    seconds = client.timeout + 2.0 if wait is None else wait
    limit = max(began + seconds, world.excused + GRACE if world.excused > began else 0.0) + world.drift - drift
    require(world.clock.now <= limit + 2 * GRACE + 12 * client.lag, "D12", "a client has begun {:.1f} s late", world.clock.now - limit)
    client.settle()


def discovery_on(client: Client, connect_timeout: float) -> Discovery:
    """One more client of discovery."""
    return (AsyncDiscovery if client.is_async else BlockingDiscovery).on(client, connect_timeout)
