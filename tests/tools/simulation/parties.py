"""Registrars and instancers of zkdisco, over the session core of a client of the simulation.

Owns the invariants D1 to D11. The cores and their `Runner` are those of zkdisco; only the front below is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from zkdisco.membership import LATE, Membership
from zkdisco.registration import Registration
from zkdisco.registry import Registry
from zkdisco.runner import EndWatch, Runner, Window
from zkdisco.values import DEFAULT_ACL, WITH_A_SET, Event, IdentityTakenError, InstancesLeftOutError, Service
from zkwire.errors import ConnectionClosedError, NoAuthError
from zkwire.ops import Delete, Multi, RemoveWatches
from zkwire.values import KazooState

from .rules import require

if TYPE_CHECKING:
    from .client import Client


class Pending:
    """The future of an operation; `done` is called with it at its end."""

    def __init__(self, client: Client, done: Callable[[Pending], object]) -> None:
        self._client, self._done = client, done
        self.call: Any = None
        self._outcome: Any = None
        self._cancelled = False

    def settle(self, outcome: Any) -> None:
        """The end of it."""
        self._outcome = outcome
        self._done(self)

    def cancel(self) -> bool:
        """Take it back, if it is still queued."""
        if self.call.over or not self._client.withdraw(self.call):
            return self._cancelled
        self._cancelled = True
        self._done(self)
        return True

    def cancelled(self) -> bool:
        """Whether it was taken back."""
        return self._cancelled

    def exception(self) -> Optional[Exception]:
        """The error it ended with, or None."""
        return self._outcome if isinstance(self._outcome, Exception) else None

    def result(self) -> Any:
        """The result."""
        return self._outcome


class Front:
    """What `Runner` needs of a ZooKeeper client; `owns` says which paths this party may delete."""

    def __init__(self, client: Client, owns: Callable[[str], bool]) -> None:
        self._client, self._owns = client, owns
        self.remove_listener = lambda listener: None

    @property
    def state(self) -> str:
        """As of the session."""
        return self._client.session.state

    @property
    def client_state(self) -> str:
        """As of the session."""
        return self._client.session.client_state

    @property
    def client_id(self) -> Any:
        """Id and password."""
        return self._client.session.client_id

    def add_listener(self, listener: Callable[[str], object]) -> None:
        """Tell it of states."""
        self._client.add_listener(listener)

    def submit(self, op: Any, done: Callable[[Pending], object], force: bool = False) -> Pending:
        """Submit an operation, unless it would delete what is not ours."""
        for one in op.ops if isinstance(op, Multi) else (op,):
            if isinstance(one, Delete):
                require(self._owns(one.path), "D5", "{} is deleted, which is not ours", one.path)
        if isinstance(op, RemoveWatches) and op.local:
            self._client.unclaimed[op.path] = None  # the server is not told
        pending = Pending(self._client, done)
        pending.call = self._client.submit(op, pending.settle, force=force)
        return pending


class Registrations:
    """All registrations of one client of discovery, as `ClientBase` keeps them: one registry, one runner."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stopped = False
        self.parties: List[RegistrarParty] = []
        self.tokens: Dict[Any, RegistrarParty] = {}  # of callers that wait
        self.registry = Registry(lambda service: next(one.core for one in self.parties if one.core.service == service))
        self.runner = Runner(Front(client, self.owns), client, self._look)
        self.runner.start(self.registry)
        self.watch = EndWatch(Front(client, lambda path: False), client, self._ended)
        self.watch.start()

    def _ended(self, error: Exception) -> None:
        """As `ClientBase` does."""
        self.runner.end(error)
        for party in self.client.world.instancers:
            if party.client is self.client:
                party.runner.end(error)

    def owns(self, path: str) -> bool:
        """Whether a node is one of ours."""
        return any(path.startswith(f"{party.local}/{party.name}") for party in self.parties)

    def tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a method of the registry."""
        self.runner.tell(function, *arguments)
        self.client.settle()

    def stop(self) -> None:
        """As `Client.stop` of a client with a ZooKeeper of the user's: nobody waits, and it goes on in the background."""
        self.stopped = True
        self.tell(self.registry.leave, "left")

    def _look(self) -> None:
        for token, outcome in self.registry.settled():
            party = self.tokens.pop(token, None)
            if party is not None:
                party.heard(token, outcome)
            else:
                require(token == "left", "D10", "{} is told twice", token)
        self.registry.reports()

    def problem(self) -> Optional[str]:
        """What is left of a client of discovery that has stopped."""
        left = [name for party in self.parties for name in party.ours()] if self.stopped else []
        if left:
            return f"D8: {left} are left behind the stop"
        if self.tokens:
            return f"D10: {next(iter(self.tokens))} still waits"
        return None

    def check_end(self) -> None:
        """There will never be a session again."""
        require(not self.tokens, "D10", "{} wait for ever", self.tokens)
        require(self.registry.end is not None, "D10", "the registry does not know that it is over")


class RegistrarParty:
    """One registrar and its user; by service, it is registered as `Client.register` does it.

    Others may have an identity, each two of them the same: a guid, or a name, with equal data or not.
    """

    def __init__(self, registrations: Registrations, number: int, directory: str, by_service: bool) -> None:
        self.client, self.directory, self.registrations = registrations.client, directory, registrations
        group = (number + 1) // 2
        self.identity = None if by_service else (None, f"{group:a>32x}", f"me{group:04}", f"me{group:04}")[group % 4]
        if any(one.client is self.client and one.identity == self.identity for one in self.client.world.registrars):
            self.identity = None  # of two in one process nobody could tell whose a node is
        guid = f"{number:032x}" if self.identity is None else self.identity
        self.name = f"_c_{guid}-" if len(guid) == 32 else guid
        self.local = directory[len(self.client.root) :]
        self.by_service = by_service
        path, _, name = self.local.rpartition("/")
        service = Service(path or "/", name, b"host%d:80" % (group if self.identity and group % 4 == 2 else number))
        self.core = Registration(service, DEFAULT_ACL, (), guid, registrations.runner.watcher, self.identity)
        self.wanted: Optional[bool] = None  # by the newest caller
        self._newest: Any = None
        self._tokens = 0
        registrations.parties.append(self)

    def want(self, wanted: bool) -> None:
        """Register, or deregister."""
        self._tokens += 1
        token = self._newest = ("wanted" if wanted else "unwanted", self.core, self._tokens)
        both = self.registrations
        if both.stopped:
            return
        both.tokens[token] = self
        self.wanted = wanted
        if self.by_service:
            both.tell(both.registry.want_service, self.core.service, wanted, token)
        else:
            both.tell(both.registry.want, self.core, wanted, token)

    def update(self, number: int) -> None:
        """Its node is to hold something else."""
        both = self.registrations
        if not both.stopped:
            self._tokens += 1
            token = ("wanted", self.core, self._tokens)
            both.tokens[token] = self
            both.tell(both.registry.update, self.core, b"%d of %s" % (number, self.core.service.data), token)

    def give_up(self) -> None:
        """The newest caller waits no more."""
        if self._newest is not None:
            self.registrations.tell(self.registrations.registry.withdraw, self._newest)

    def nodes(self) -> List[str]:
        """Our nodes, as the server has them."""
        return [name for name in self.client.world.server.names(self.directory) if name.startswith(self.name)]

    def ours(self) -> List[str]:
        """Those of them that can be nobody else's: with an identity, what the client's session owns."""
        if self.identity is None:
            return self.nodes()
        return [name for name in self.nodes() if self._owner(name) == self.client.sid != 0]

    def _twins(self) -> List[RegistrarParty]:
        """All of this identity, ourselves included."""
        return [one for one in self.client.world.registrars if (one.directory, one.name) == (self.directory, self.name)]

    def _owner(self, name: str) -> int:
        owner: int = self.client.world.server.data.tree.nodes[f"{self.directory}/{name}"].owner
        return owner

    def watched(self) -> Optional[str]:
        """Our node, or the one that has our identity."""
        taken = self.core.wanted and isinstance(self.core.error, IdentityTakenError)
        return self.core.error.path if taken else self.core.node  # type: ignore[union-attr]

    def heard(self, token: Any, outcome: Any) -> None:
        """A caller is told."""
        if isinstance(outcome, Exception):
            return
        if token[0] == "unwanted":
            left = [name for name in self.ours() if not self._belated(name)]
            require(not left, "D4", "{} is there after its removal: {}", self.name, left)
        else:
            require(outcome.rpartition("/")[2].startswith(self.name), "D3", "{} is no node of ours", outcome)

    def _belated(self, name: str) -> bool:
        """Whether it was made by a session that the client gave up when its clock leapt, but the server did not.

        A request of that session that the network held back may still arrive then. Its nodes end with it.
        """
        return self.client.jumped and self._owner(name) != self.client.sid

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        nodes = self.nodes()
        if self.identity is not None and self.core.node is None:
            return self._without(nodes)
        if len(nodes) != int(self.core.wanted):
            return f"D3: {self.name} wanted={self.core.wanted}, but there are {nodes}; {self.core.error!r}"
        server = self.client.world.server
        held = server.data.tree.nodes[f"{self.directory}/{nodes[0]}"].data if nodes else self.core.data
        if b"host" in held and held != self.core.data:  # or else a stranger has set it
            return f"D3: {self.name} holds {held!r}, not {self.core.data!r}"
        if nodes and self.identity is not None and self._owner(nodes[0]) != self.client.sid:
            return f"D3: {self.name} takes the node of session {self._owner(nodes[0]):#x} for its own"
        if nodes and self.core.node != f"{self.local}/{nodes[0]}":
            return f"D3: {self.name} takes {self.core.node} for its node, which is {nodes[0]}"
        return None


    def _without(self, nodes: List[str]) -> Optional[str]:
        """What is not as it should be at rest, where we have an identity and no node: another has it, or nobody wants it."""
        wanted, error = any(one.core.wanted for one in self._twins()), self.core.error
        owners = [self._owner(name) for name in nodes]
        if len(nodes) > 1 or (wanted and not nodes) or (not wanted and any(owners)):
            return f"D3: {self.name} wanted={wanted}, but there are {nodes}, of {owners}"
        if not self.core.wanted:
            return None
        if isinstance(error, NoAuthError) and nodes[0] in self.client.world.server.secret(self.directory):
            return None  # whose it is may not even be asked; we do so again, ever more slowly
        told = (error.path, error.session_id) if isinstance(error, IdentityTakenError) else None
        if told != (f"{self.local}/{nodes[0]}", owners[0]):
            return f"D3: {self.name} belongs to {owners[0]:#x}, and we are told {error!r}"
        return None


class InstancerParty:
    """One instancer and its observer."""

    def __init__(self, client: Client, directory: str, window: Window) -> None:
        self.client, self.directory = client, directory
        self._at = 0  # how far in the history the shown set stands
        self.newest: Optional[Event] = None
        self.shown = 0
        self.heard_at: Optional[float] = None  # the first event since the newest set was shown, by the client's clock
        self.runner = Runner(Front(client, lambda path: False), client, self._look, window)
        self.core = Membership(directory[len(client.root) :], self.runner.watcher)
        self._wrap(self.core)
        self.runner.start(self.core)

    def _wrap(self, core: Any) -> None:
        """Note when it hears that a child has changed."""
        watched, inside = core.watched, core.directory + "/"

        def noted(event: Any, now: float) -> None:
            child = (event.path or "")[len(inside) :]
            if (event.path or "").startswith(inside) and "/" not in child and self.heard_at is None:
                self.heard_at = now
            watched(event, now)

        core.watched = noted

    def _look(self) -> None:
        for event in self.core.events():
            self.newest = event
            if event.error is None or isinstance(event.error, WITH_A_SET):
                self.shown, self.heard_at = self.shown + 1, None
                history = self.client.world.server.history[self.directory]
                while self._at < len(history) and history[self._at] != event.instances:
                    self._at += 1
                require(self._at < len(history), "D2", "{} never was (again), now {}", event.instances, history[-3:])
            else:
                stale = self.core.stale_since(self.client.now())
                require(stale is not None, "D9", "{} is called fresh", event)

    def age(self) -> float:
        """For how long, in seconds, there has been a newer set than the one shown; 0 if there is none."""
        server = self.client.world.server
        history, times = server.history[self.directory], server.times[self.directory]
        newest = self.newest.instances if self.newest is not None else None
        at = next((i for i in range(len(history) - 1, self._at - 1, -1) if history[i] == newest), self._at)
        return self.client.world.clock.now - times[at + 1] if at + 1 < len(history) else 0.0

    def check(self, slack: float) -> None:
        """`stale_since`, while there are no faults that the client cannot know of."""
        now, stale = self.client.now(), self.core.stale_since(self.client.now())
        if self.newest is not None and self.client.session.state != KazooState.CONNECTED:
            require(stale is not None, "D9", "called fresh without a connection: {}", self.newest)
        if self.core._timeline.behind_since is None or not self.age():
            self.heard_at = None  # what was heard of is no news: the set is as it was
        if self.heard_at is not None and now - self.heard_at > LATE + slack:
            heard = now - self.heard_at
            require(stale is not None, "D9", "called fresh {:.1f} s behind a change that was heard of", heard)

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        server = self.client.world.server
        truth, newest = server.instances(self.directory), self.newest
        if newest is None or newest.instances != truth:
            return f"D1: shown is {newest}, true is {truth}"
        if newest.error is not None and not isinstance(newest.error, WITH_A_SET):
            return f"D1: still in trouble: {newest.error!r}"
        named = [path for path, _ in newest.error.nodes] if isinstance(newest.error, InstancesLeftOutError) else []
        bad = sorted(f"{self.core.directory}/{name}" for name in server.unreadable(self.directory))
        silent = server.data.profile.events_need_read  # such a server tells nobody of what he may not read
        hidden = {f"{self.core.directory}/{name}" for name in server.secret(self.directory)} if silent else set()
        if set(named) - set(bad) or set(bad) - set(named) - hidden:
            return f"D11: left out are {bad}, named are {named}"
        if self.core.stale_since(self.client.now()) is not None:
            return f"D9: called stale at rest: {newest}"
        return None

    def check_end(self) -> None:
        """There will never be a session again."""
        told = self.newest is not None and isinstance(self.newest.error, ConnectionClosedError)
        require(told and self.core.over, "D10", "an instancer shows {} after the end", self.newest)
