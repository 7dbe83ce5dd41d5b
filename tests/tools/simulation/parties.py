"""Registrars and instancers of zkdisco, over the session core of a client of the simulation.

Owns the invariants D1 to D5. The cores and their `Runner` are those of zkdisco; only the front below is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional

from zkdisco.membership import Membership
from zkdisco.values import DEFAULT_ACL, WITH_A_SET, Event, Service
from zkdisco.registration import Registration
from zkdisco.runner import Runner
from zkwire.ops import Delete, Multi

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
    """What `Runner` needs of a ZooKeeper client; `prefix` begins the names this party may delete."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client, self._prefix = client, prefix
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
                mine = bool(self._prefix) and one.path.startswith(self._prefix)
                require(mine, "D5", "{} deletes {}", self._prefix or "an instancer", one.path)
        pending = Pending(self._client, done)
        pending.call = self._client.submit(op, pending.settle, force=force)
        return pending


class RegistrarParty:
    """One registrar and its user."""

    def __init__(self, client: Client, number: int, directory: str) -> None:
        self.client, self.directory = client, directory
        guid = f"{number:032x}"
        self._name = f"_c_{guid}-"
        directory = self._local = directory[len(client.root) :]
        path, _, name = directory.rpartition("/")
        self.runner = Runner(Front(client, f"{directory}/{self._name}"), client, self._look)
        service = Service(path or "/", name, b"host%d:80" % number)
        self.core = Registration(service, DEFAULT_ACL, (), guid, self.runner.watcher)
        self._tokens: List[Any] = []
        self.runner.start(self.core)

    def want(self, wanted: bool) -> None:
        """Register, or deregister."""
        token = ("wanted" if wanted else "unwanted", len(self._tokens))
        self._tokens.append(token)
        self.runner.tell(self.core.want, wanted, token)
        self.client.settle()

    def give_up(self) -> None:
        """The newest caller waits no more."""
        if self._tokens:
            self.runner.tell(self.core.withdraw, self._tokens[-1])
            self.client.settle()

    def nodes(self) -> List[str]:
        """Our nodes, as the server has them."""
        return [name for name in self.client.world.server.names(self.directory) if name.startswith(self._name)]

    def _look(self) -> None:
        for token, outcome in self.core.settled():
            if isinstance(outcome, Exception):
                continue
            if token[0] == "unwanted":
                left = [name for name in self.nodes() if not self._belated(name)]
                require(not left, "D4", "{} is there after its removal: {}", self._name, left)
            else:
                require(outcome.rpartition("/")[2].startswith(self._name), "D3", "{} is no node of ours", outcome)

    def _belated(self, name: str) -> bool:
        """Whether it was made by a session that the client gave up when its clock leapt, but the server did not.

        A request of that session that the network held back may still arrive then. Its nodes end with it.
        """
        owner = self.client.world.server.data.tree.nodes[f"{self.directory}/{name}"].owner
        return self.client.jumped and owner != self.client.sid

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        nodes = self.nodes()
        if len(nodes) != int(self.core.wanted):
            return f"D3: {self._name} wanted={self.core.wanted}, but there are {nodes}; {self.core.error!r}"
        if nodes and self.core.node != f"{self._local}/{nodes[0]}":
            return f"D3: {self._name} takes {self.core.node} for its node, which is {nodes[0]}"
        return None


class InstancerParty:
    """One instancer and its observer."""

    def __init__(self, client: Client, directory: str) -> None:
        self.client, self.directory = client, directory
        self._at = 0  # how far in the history the shown set stands
        self.newest: Optional[Event] = None
        self.shown = 0
        self.runner = Runner(Front(client, ""), client, self._look)
        self.core = Membership(directory[len(client.root) :], self.runner.watcher)
        self.runner.start(self.core)

    def _look(self) -> None:
        for event in self.core.events():
            self.newest = event
            if event.error is None or isinstance(event.error, WITH_A_SET):
                self.shown += 1
                history = self.client.world.server.history[self.directory]
                while self._at < len(history) and history[self._at] != event.instances:
                    self._at += 1
                require(self._at < len(history), "D2", "{} never was (again), now {}", event.instances, history[-3:])

    def problem(self) -> Optional[str]:
        """What is not as it should be at rest."""
        truth = self.client.world.server.instances(self.directory)
        newest = self.newest
        if newest is None or newest.instances != truth:
            return f"D1: shown is {newest}, true is {truth}"
        if newest.error is not None and not isinstance(newest.error, WITH_A_SET):
            return f"D1: still in trouble: {newest.error!r}"
        return None
