"""Registrars and instancers of zkdisco, and their users, over a front of the simulation.

Owns the invariants D1 to D14 that concern one of them, as its users see it: what calls return, `state`, `stale_since`,
`error`, and what observers and iterations are given.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, List, Optional

from zkdisco import aio, threads
from zkdisco.membership import LATE
from zkdisco.registry import SYMPTOMS
from zkdisco.values import (
    WITH_A_SET, ClientClosedError, Event, IdentityTakenError, InstancesLeftOutError, Service,
)  # fmt: skip
from zkwire.errors import ConnectionClosedError, NoAuthError
from zkwire.values import KazooState

from .executors import Running
from .rules import require

if TYPE_CHECKING:
    from .discoveries import Caller, Discovery


def name_of(core: Any) -> str:
    """How the names of a registration's nodes begin."""
    path: str = core._identity.create("", b"", ()).path
    return path[1:]


class RegistrarParty:
    """One registrar and its users; by service, it is registered as `Client.register` does it.

    Others may have an identity, each two of them the same: a guid, or a name, with equal data or not.
    """

    def __init__(self, discovery: Discovery, number: int, directory: str, by_service: bool) -> None:
        self.client, self.directory, self.discovery = discovery.client, directory, discovery
        self.world = self.client.world
        self.local = directory[len(self.client.root) :]
        self.by_service, self.number = by_service, number
        path, _, name = self.local.rpartition("/")
        group = (number + 1) // 2
        self.identity = None if by_service else (None, f"{group:a>32x}", f"me{group:04}", f"me{group:04}")[group % 4]
        if any(one.client is self.client and one.identity == self.identity for one in self.world.registrars):
            self.identity = None  # of two in one process nobody could tell whose a node is
        #: Its identity, if that is an exact name.
        self.name = self.identity if group % 4 > 1 else None
        self.service = Service(path or "/", name, b"host%d:81" % group if self.name and group % 4 == 2 else b"host%d:80" % number)
        self.registrar: Any = None if by_service else discovery.registrar(self.service, self.identity)
        #: Those who want it to be there, since somebody wanted it not to be.
        self._claims: List[Caller] = []
        self._removal: Optional[Caller] = None  # the newest one
        self._updates = 0
        discovery.parties.append(self)

    def __repr__(self) -> str:
        return f"{'service' if self.by_service else 'registrar'} {self.number}"

    @property
    def core(self) -> Any:
        """The registration there is now, or None."""
        if self.by_service:
            return self.discovery.front._registry._by_service.get(self.service)
        return self.registrar._core

    # ------------------------------------------------------------------------- calls

    def next_data(self, rng: Random) -> bytes:
        """What its node is to hold next."""
        self._updates += 1
        return b"%d of %s" % (rng.randrange(1000), self.service.data)

    def call(self, caller: Caller, **options: Any) -> Any:
        """What `caller` calls: returns, or is to be awaited."""
        what = caller.what.split()[0]
        if self.by_service:
            return getattr(self.discovery.front, what)(self.service, **options)
        if what == "update":
            return self.registrar.update(self.next_data(self.world.rng), **options)
        return getattr(self.registrar, what)(**options)

    def want(self, rng: Random) -> None:
        """Somebody calls."""
        if self.discovery.stopped:
            return
        kinds = ("register", "register", "deregister") if self.by_service else (
            "register", "register", "register", "deregister", "deregister", "update", "update", "update", "update", "start")  # fmt: skip
        what = rng.choice(kinds)
        self.discovery.ask(what, self, rng)
        if what == "register" and not self.by_service and not self.discovery.stopped and rng.random() < 0.3:
            self.discovery.ask("update", self, rng)

    def enter(self, rng: Random) -> None:
        """A block of a `with` statement, at the end of which there may be an exception."""
        if self.by_service or self.discovery.stopped:
            return
        self.discovery.enter(self, rng)

    def intends(self, caller: Caller) -> None:
        """A call is being made."""
        if caller.what.startswith("deregister"):
            self._claims, self._removal = [], caller
        elif caller.what != "leave":
            self._claims.append(caller)

    def heard(self, caller: Caller) -> None:
        """A caller is told."""
        if not caller.succeeded:
            return
        if caller.what == "deregister":
            left = [name for name in self.ours() if not self._belated(name)]
            # Where another one has begun since, what came in between may still be there.
            require(not left or self._claims or caller is not self._removal, "D4", "{} is there after its removal: {}", self, left)
        elif caller.what == "register":
            name = caller.outcome.rpartition("/")[2]
            ours = any(name.startswith(name_of(core)) for core in self._cores())
            require(ours, "D3", "{} is no node of ours", caller.outcome)

    def _cores(self) -> List[Any]:
        return [core for core in self.discovery.cores if core.service == self.service]

    def nodes(self) -> List[str]:
        """Our nodes, as the server has them."""
        prefixes = tuple(name_of(core) for core in self._cores())
        return [name for name in self.world.truth.names(self.directory) if name.startswith(prefixes)]

    def ours(self) -> List[str]:
        """Those of them that can be nobody else's: with an identity, what the client's session owns."""
        if self.identity is None:
            return self.nodes()
        return [name for name in self.nodes() if self._owner(name) == self.client.sid != 0]

    def _owner(self, name: str) -> int:
        return self.world.truth.owner(f"{self.directory}/{name}")

    def watched(self) -> Optional[str]:
        """Our node, or the one that has our identity, or None."""
        core = self.core
        taken = core is not None and core.wanted and isinstance(core.error, IdentityTakenError)
        path: Optional[str] = core.error.path if taken else core and core.node
        return path

    def _belated(self, name: str) -> bool:
        """Whether it was made by a session that the client gave up when its clock leapt, but the server did not.

        A request of that session that the network held back may still arrive then. Its nodes end with it.
        """
        return self.client.jumped and self._owner(name) != self.client.sid

    # -------------------------------------------------------------------------- rules

    def check(self) -> None:
        """At any time."""
        core = self.core
        waiting = core is not None and not core.wanted and [token for token, wanted in core._waiting if wanted]
        require(not waiting, "D10", "{} wait for {}, which is not wanted any more", waiting, self)

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        nodes, core = self.nodes(), self.core
        if self.discovery.stopped:
            return None
        wanted = core is not None and core.wanted
        if self.identity is not None and isinstance(core.error, NoAuthError):
            foreign = [name for name in nodes if self._owner(name) != self.client.sid]
            if set(foreign) & self.world.truth.secret(self.directory):
                return None  # whose it is may not even be asked; that is done again, ever more slowly
        if self.identity is not None and core.node is None:
            problem, nodes = self._without(nodes), []
            if problem is not None:
                return problem
        elif len(nodes) != int(wanted):
            return f"D3: {self} wanted={wanted}, but there are {nodes}; {core and core.error!r}"
        told = [caller for caller in self._claims if caller.succeeded]
        unsure = any(self._unsure(caller) for caller in self._claims)
        cancelled = any(caller.cancelled for caller in self._claims)  # what is taken back then does not ask for updates
        if not wanted and any(caller.what != "update" or not cancelled for caller in told):
            return f"D14: {self} is not registered, though {told} were told so"
        if wanted and not told and not unsure:
            return f"D14: {self} is registered, and of {self._claims} nobody was told so"
        if core is None:
            return None
        held = self.world.truth.tree.nodes[f"{self.directory}/{nodes[0]}"].data if nodes else core.data
        if b"host" in held and held != core.data:  # or else a stranger has set it
            return f"D3: {self} holds {held!r}, not {core.data!r}"
        if nodes and self.identity is not None and self._owner(nodes[0]) != self.client.sid:
            return f"D3: {self} takes the node of session {self._owner(nodes[0]):#x} for its own"
        if nodes and core.node != f"{self.local}/{nodes[0]}":
            return f"D3: {self} takes {core.node} for its node, which is {nodes[0]}"
        if self.registrar is not None:
            error = self.registrar.error
            if self.registrar.node != core.node or (error if nodes else isinstance(error, SYMPTOMS)):
                return f"D3: {self} says {self.registrar.node}, {self.registrar.error!r}"
        return None

    def _without(self, nodes: List[str]) -> Optional[str]:
        """What is not as it should be, where we have an identity and no node: another has it, or nobody wants it."""
        twins = [one for one in self.world.registrars if (one.directory, one.identity) == (self.directory, self.identity)]
        wanted = any(one.core.wanted and not one.discovery.stopped for one in twins)
        error = self.registrar.error
        owners = [self._owner(name) for name in nodes]
        if len(nodes) > 1 or (wanted and not nodes) or (not wanted and any(owners)):
            return f"D3: {self.identity} wanted={wanted}, but there are {nodes}, of {owners}"
        if not self.core.wanted:
            return None
        told = (error.path, error.session_id) if isinstance(error, IdentityTakenError) else None
        if told != (f"{self.local}/{nodes[0]}", owners[0]):
            return f"D3: {self} gives way to {owners[0]:#x}, and says {error!r}"
        return None

    def _unsure(self, caller: Caller) -> bool:
        """Whether the registration may stand because of it, though it was told nothing."""
        if caller.what == "update":
            return caller.cancelled  # an update that has just succeeded is a word to somebody
        return caller.cancelled and not self.client.is_async and self.client.lag > 0

    def check_stopped(self) -> None:
        """The client's `stop` has returned."""
        if self.registrar is not None:
            told = isinstance(self.registrar.error, ClientClosedError) and self.registrar.node is None
            require(told, "D8", "{} says {}, {!r} behind the stop", self, self.registrar.node, self.registrar.error)

    def check_end(self) -> None:
        """There will never be a session again."""
        if self.registrar is not None:
            kind = ClientClosedError if self.discovery.stopped else ConnectionClosedError
            require(isinstance(self.registrar.error, kind), "D10", "{} has the error {!r} after the end", self, self.registrar.error)


class _Watching:
    """An instancer that tells its party when it begins."""

    party: InstancerParty

    def begin(self) -> Any:
        """As ever."""
        self.party.attach(self)
        return super().begin()  # type: ignore[misc]


class _BlockingInstancer(_Watching, threads.Instancer):
    def __init__(self, party: InstancerParty, *arguments: Any, **options: Any) -> None:
        self.party = party
        super().__init__(*arguments, **options)


class _AsyncInstancer(_Watching, aio.Instancer):
    def __init__(self, party: InstancerParty, *arguments: Any, **options: Any) -> None:
        self.party = party
        super().__init__(*arguments, **options)


class InstancerParty:
    """One instancer and its observers."""

    def __init__(self, discovery: Discovery, directory: str, rng: Random) -> None:
        self.discovery, self.directory, self.rng = discovery, directory, rng
        self.client, self.world = discovery.client, discovery.client.world
        self.local = directory[len(self.client.root) :]
        self._at = 0  # how far in the history the shown set stands
        #: Whether it did without the recursive watch for a while, since connections ended with the request for it.
        self.fell_back = False
        self.published: List[Event] = []
        self.shown = 0
        self.heard_at: Optional[float] = None  # the first event since the newest set was shown, by the client's clock
        self.instancer: Any = None
        self.core: Any = None
        self.began = 0.0  # when it has, by the clock of the world
        self.stopped = False
        self.observers: List[Observer] = []
        self.iterations: List[Iteration] = []
        self.world.instancers.append(self)

    def __repr__(self) -> str:
        return f"instancer of {self.directory}"

    @property
    def started(self) -> bool:
        """Whether it has begun."""
        return self.instancer is not None and self.discovery.started

    # ------------------------------------------------------------------------- opening

    def open_blocking(self, waits: bool) -> None:
        """The constructor, which may wait."""
        from .discoveries import Caller

        discovery: Any = self.discovery
        timeout = self.rng.choice((None, self.rng.random() * 3)) if waits else None
        wait = self.rng.choice((None, self.rng.random() * 2)) if waits else 0.0
        limit = wait if wait is not None else timeout if timeout is not None else discovery.timeout
        caller = Caller("instancer", self, limit)
        outcome = discovery.block(
            caller, lambda: _BlockingInstancer(self, discovery.front, self.local, timeout=timeout, wait=wait)
        )
        self._opened(outcome)

    def _opened(self, outcome: Any) -> None:
        ends = self.instancer is None or self.instancer._following.stopped is not None
        goes_on = not ends and self.instancer._following.wait is not None
        failed = isinstance(outcome, BaseException) and not (goes_on and isinstance(outcome, asyncio.CancelledError))
        if failed:
            waited_for = any(not one.over for one in self.iterations)
            require(ends or waited_for, "D12", "{} failed, and goes on", self)
            if ends:
                self.world.forget_instancer(self)
        elif not self.stopped:
            known = self.published or self.instancer._following.wait is not None
            require(known, "D12", "{} has begun, and knows nothing", self)

    def open_async(self, waits: bool) -> None:
        """The constructor, and `start`."""
        from .discoveries import Caller

        discovery: Any = self.discovery
        timeout = self.rng.choice((None, self.rng.random() * 3)) if waits else None
        wait = self.rng.choice((None, self.rng.random() * 2)) if waits else 0.0
        limit = wait if wait is not None else timeout if timeout is not None else discovery.timeout
        with Running(self.client.loop):
            instancer = _AsyncInstancer(self, discovery.front, self.local, wait=wait)

        async def start() -> None:
            try:
                await instancer.start(timeout)
            except BaseException as error:
                self._opened(error)
                raise
            self._opened(None)

        discovery.spawn(Caller("instancer", self, limit), start)

    def attach(self, instancer: Any) -> None:
        """The instancer begins."""
        self.instancer, core = instancer, instancer._core
        self.core, self.began = core, self.world.clock.now
        watched, inside, events = core.watched, core.directory + "/", core.events

        def noted(event: Any, now: float) -> None:
            child = (event.path or "")[len(inside) :]
            is_news = self.heard_at is None or core._timeline.behind_since is None  # in which case all before is shown
            if is_news and (event.path or "").startswith(inside) and "/" not in child:
                self.heard_at = now
            watched(event, now)

        def looked() -> Any:
            self.fell_back |= not core.recursive
            found = list(events())
            for event in found:
                self._look(event)
            return found

        core.watched, core.events = noted, looked

    # ------------------------------------------------------------------------- its user

    def use(self, rng: Random) -> None:
        """Observers come and go, iterations begin, and the instancer may be stopped."""
        if self.stopped or self.instancer is None or self.discovery.stopped:
            return
        if rng.random() < 0.08:
            self.stop()
        elif self.observers and rng.random() < 0.4:
            observer = self.observers.pop(rng.randrange(len(self.observers)))
            with Running(self.client.loop):
                self.instancer.deregister(observer)
            observer.gone = True
        elif self.client.is_async and rng.random() < 0.5:
            self.iterations = [one for one in self.iterations if not one.over]
            self.iterations.append(Iteration(self, rng))
        else:
            observer = Observer(self, rng)
            with Running(self.client.loop):
                self.instancer.register(observer)
            self.observers.append(observer)
        self.client.settle()

    def stop(self) -> None:
        """`stop`, twice."""
        if self.client.is_async:
            with Running(self.client.loop):
                self.instancer.leave()  # `stop`, which never waits
                self.instancer.leave()
        else:
            self.instancer.stop()
            self.instancer.stop()
        self.check_stopped()
        self.world.forget_instancer(self)

    # -------------------------------------------------------------------------- rules

    @property
    def newest(self) -> Optional[Event]:
        """As the user sees it, or None before anything is known."""
        if not self.published:
            return None
        state: Event = self.instancer.state
        require(state is self.published[-1] or self.stopped or self.discovery.stopped, "D13", "`state` is {}, after {}", state, self.published[-1])
        return state

    def stale_since(self) -> Optional[float]:
        """As the user sees it."""
        self.world.current = self.client
        found: Optional[float] = self.instancer.stale_since
        return found

    def _look(self, event: Event) -> None:
        self.published.append(event)
        if event.error is None or isinstance(event.error, WITH_A_SET):
            self.shown, self.heard_at = self.shown + 1, None
            history = self.world.truth.history[self.directory]
            while self._at < len(history) and history[self._at] != event.instances:
                self._at += 1
            require(self._at < len(history), "D2", "{} never was (again), now {}", event.instances, history[-3:])
        else:
            require(self.stale_since() is not None, "D9", "{} is called fresh", event)

    def age(self) -> float:
        """For how long, in seconds, there has been a newer set than the one shown; 0 if there is none."""
        history, times = self.world.truth.history[self.directory], self.world.truth.times[self.directory]
        newest = self.newest.instances if self.newest is not None else None
        at = next((i for i in range(len(history) - 1, self._at - 1, -1) if history[i] == newest), self._at)
        return self.world.clock.now - times[at + 1] if at + 1 < len(history) else 0.0

    def check(self, slack: float) -> None:
        """`stale_since`, while there are no faults that the client cannot know of."""
        if self.instancer is None or self.discovery.stopped:
            return
        newest = self.newest
        now, stale = self.client.now(), self.stale_since()
        if newest is None:
            require(stale is not None, "D9", "called fresh, though nothing is known")
            return
        if self.client.session.state != KazooState.CONNECTED:
            require(stale is not None, "D9", "called fresh without a connection: {}", newest)
        if self.core._timeline.behind_since is None or not self.age():
            self.heard_at = None  # what was heard of is no news: the set is as it was
        if self.heard_at is not None and now - self.heard_at > LATE + slack:
            heard = now - self.heard_at
            require(stale is not None, "D9", "called fresh {:.1f} s behind a change that was heard of", heard)

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        if self.instancer is None:
            return f"D12: {self} never began"
        if self.discovery.stopped:
            return f"D8: {self} is not stopped with its client"
        truth, newest = self.world.truth, self.newest
        if newest is None or newest.instances != truth.instances(self.directory):
            return f"D1: shown is {newest}, true is {truth.instances(self.directory)}"
        if newest.error is not None and not isinstance(newest.error, WITH_A_SET):
            return f"D1: still in trouble: {newest.error!r}"
        named = [path for path, _ in newest.error.nodes] if isinstance(newest.error, InstancesLeftOutError) else []
        bad = sorted(f"{self.core.directory}/{name}" for name in truth.unreadable(self.directory))
        silent = self.world.settings.profile.events_need_read  # such a server tells nobody of what he may not read
        hidden = {f"{self.core.directory}/{name}" for name in truth.secret(self.directory)} if silent else set()
        if set(named) - set(bad) or set(bad) - set(named) - hidden:
            return f"D11: left out are {bad}, named are {named}"
        if self.stale_since() is not None:
            return f"D9: called stale at rest: {newest}"
        return self._unheard(newest)

    def _unheard(self, newest: Event) -> Optional[str]:
        for one in (*self.observers, *(iteration for iteration in self.iterations if not iteration.left)):
            if one.last is not newest:
                return f"D13: {one} has heard {one.last} last, the newest is {newest}"
        return None

    def check_stopped(self) -> None:
        """It was stopped."""
        self.stopped = True
        for observer in (*self.observers, *self.iterations):
            observer.gone = True
        if self.instancer is not None:
            error, stale = self.instancer.state.error, self.stale_since()
            require(isinstance(error, ClientClosedError), "D10", "{} has the error {!r} behind its stop", self, error)
            require(stale is not None, "D9", "{} is called fresh behind its stop", self)

    def check_end(self) -> None:
        """There will never be a session again."""
        if self.discovery.front.closed:
            return  # its client is being stopped: `check_stopped` is next
        newest = self.newest
        told = newest is not None and isinstance(newest.error, ConnectionClosedError)
        require(told and self.core.over, "D10", "{} shows {} after the end", self, newest)
        require(self.stale_since() is not None, "D9", "{} is called fresh after the end", self)

    def check_heard(self) -> None:
        """As `check_end`, some time later: those who are slow have heard of it, too."""
        newest = self.newest
        for one in (*self.observers, *(iteration for iteration in self.iterations if not iteration.left)):
            require(one.last is newest, "D10", "{} has heard {} last, not the end", one, one.last)
        for iteration in self.iterations:
            require(iteration.over, "D10", "{} goes on for ever", iteration)


class Observer:
    """Hears of events; it may be slow, and it may raise."""

    def __init__(self, party: InstancerParty, rng: Random) -> None:
        self.party, self._rng = party, rng
        self._kind = rng.choice(("plain", "raises", "slow"))
        self.last: Optional[Event] = None
        self._at = 0
        self.gone = False

    def __call__(self, event: Event) -> Any:
        self.hears(event)
        if self._kind == "raises" and self._rng.random() < 0.5:
            raise RuntimeError("an observer's own")
        if self._kind == "slow" and self.party.client.is_async:
            return asyncio.sleep(self._rng.random() * 2)
        return None

    def hears(self, event: Event) -> None:
        """The next event: one that was published, behind the one before."""
        require(not self.gone, "D13", "{} hears {} behind its end", self, event)
        published = self.party.published
        while self._at < len(published) and published[self._at] is not event:
            self._at += 1
        require(self._at < len(published), "D13", "{} hears {}, which is old, or never was", self, event)
        self._at, self.last = self._at + 1, event
        self.party.world.trail.append((self.party.world.clock.now, repr(self), repr(event)))

    def __repr__(self) -> str:
        return f"{self._kind} {type(self).__name__} of {self.party}"


class Iteration(Observer):
    """A task that iterates."""

    def __init__(self, party: InstancerParty, rng: Random) -> None:
        super().__init__(party, rng)
        #: Whether it has ended by itself, and whether its user left it.
        self.over = self.left = False
        loop = party.client.loop
        with Running(loop):
            self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._done)

    def leave(self) -> None:
        """Its user cancels it."""
        self.left = True
        self._task.cancel()

    async def _run(self) -> None:
        async for event in self.party.instancer:
            self.hears(event)
            if self._kind == "slow":
                await asyncio.sleep(self._rng.random())
            elif self._kind == "raises" and self._rng.random() < 0.2:
                self.left = True
                break

    def _done(self, task: asyncio.Task[None]) -> None:
        self.over = True
        if not task.cancelled() and task.exception() is not None:
            self.left = True
        party = self.party
        if party.instancer._following.stopped is not None and not party.stopped:  # its start has failed, and nobody else waits
            party.check_stopped()
            party.world.forget_instancer(party)
