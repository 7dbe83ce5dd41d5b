"""What users wait for: calls and watches, and what must be true when they hear of them.

Owns the invariants of outcomes and events of one session. Must not know the network or the server's insides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from zkwire.errors import (
    ConnectionClosedError, ConnectionLoss, InvalidACLError, NoAuthError, NoNodeError, SessionExpiredError,
    UnimplementedError,
)  # fmt: skip
from zkwire.wire.operation import Op
from zkwire.ops import AddWatch, Auth, Create, Exists, GetChildren, GetChildren2, GetData, RemoveWatches, SetData, Sync
from zkwire.wire.operation import CHILD, DATA, EXIST
from zkwire.values import EventType, KeeperState, Stat, WatchedEvent
from zkwire.session.session import OPEN

from .rules import Key, Violation, require
from .truth import Moment, State

if TYPE_CHECKING:
    from .client import Client

#: Failures the client makes by itself: they must say whether the request had left.
LOCAL = (ConnectionLoss, SessionExpiredError, ConnectionClosedError)
EVENTS = {
    DATA: (EventType.CHANGED, EventType.DELETED),
    EXIST: (EventType.CREATED,),
    CHILD: (EventType.CHILD, EventType.DELETED),
}


class Call:
    """An operation under way."""

    __slots__ = ("number", "op", "key", "since", "done", "watch", "over", "asked_at")

    def __init__(self, number: int, op: Op[Any], key: Key, since: float, done: Optional[Callable[[Any], object]],
                 watch: Optional[Watch], asked_at: Moment) -> None:  # fmt: skip
        #: What was true when it was asked for.
        self.asked_at = asked_at
        self.number, self.op, self.key, self.since, self.done, self.watch = number, op, key, since, done, watch
        self.over = False

    def settled(self) -> None:
        """Its end."""
        require(not self.over, "I1", "{} ends twice", self)
        self.over = True

    def __repr__(self) -> str:
        return f"#{self.number} {self.op!r}"


class Watch:
    """A one-shot watch of a user: what it waits for once the read was answered, and what it was told."""

    def __init__(self, client: Client, path: str) -> None:
        self.client, self.path = client, path
        self.kind: Optional[str] = None
        self.seen = self.sid = self.generation = 0
        self.over = False

    def __call__(self, event: WatchedEvent) -> None:
        require(not self.over, "I7", "{} hears {} behind its end", self, event.type)
        require(self.kind is not None, "I8", "{} hears {} without being set", self, event.type)
        require(event.path == self.path, "I8", "{} hears of {}", self, event.path)
        self._end()
        if event.type in (EventType.NONE, EventType.DATA_WATCH_REMOVED, EventType.CHILD_WATCH_REMOVED):
            return
        require(event.type in EVENTS[str(self.kind)], "I8", "{} hears {}", self, event.type)
        wiped = self.generation != self.client.world.truth.generation
        changed = wiped or self.kind == EXIST or self.missed() is not None  # what existed may be gone again
        require(changed, "I8", "{} hears {}, and nothing has changed", self, event.type)

    def arm(self, kind: str, seen: int) -> None:
        """The read was answered: it stands now."""
        self.kind, self.seen, self.sid = kind, seen, self.client.sid
        self.generation = self.client.world.truth.generation
        self.client.watches.setdefault(self.path, []).append(self)

    def _end(self) -> None:
        self.over = True
        watches = self.client.watches.get(self.path)
        if watches is not None and self in watches:
            watches.remove(self)
            if not watches:
                del self.client.watches[self.path]

    def shows(self, stat: Optional[Stat]) -> Optional[str]:
        """What a later answer shows that it should have heard of; None if there is nothing."""
        if self.kind == EXIST:
            return None if stat is None else "it exists"
        if stat is None:
            return "it is gone"
        zxid = stat.mzxid if self.kind == DATA else stat.pzxid
        return None if zxid == self.seen else f"zxid {zxid}"

    def missed(self) -> Optional[str]:
        """As `shows`, of the server's state now."""
        return self.shows(self.client.truth(self.path))

    def __repr__(self) -> str:
        return f"watch({self.kind} {self.path} since {self.seen})"


class Standing:
    """A persistent watch of a user: of each node below it, what the user knows until an event says that it is otherwise."""

    EVENTS = (EventType.CREATED, EventType.CHANGED, EventType.DELETED)

    def __init__(self, client: Client, path: str, recursive: bool) -> None:
        self.client, self.path, self.recursive = client, path, recursive
        #: Path to mzxid, 0 if there is no such node.
        self.known: Dict[str, int] = {}
        self.generation = 0
        #: Whether its user stopped waiting for it: it may stand nevertheless, and is heard then.
        self.unclaimed = False

    def __call__(self, event: WatchedEvent) -> None:
        if self.unclaimed:
            self.unclaimed = False
            self.arm()
        require(self in self.client.standing, "I8", "{} hears {} without being set", self, event.type)
        if event.type == EventType.NONE and event.state in (KeeperState.CONNECTED, KeeperState.CONNECTED_RO):
            self.known.clear()  # there was no connection: read afresh
        elif event.type in (EventType.NONE, EventType.PERSISTENT_WATCH_REMOVED):
            self.client.standing.remove(self)
        elif event.type != EventType.CHILD or self.recursive:
            require(event.type in self.EVENTS, "I8", "{} hears {}", self, event.type)
            require(self.covers(event.path), "I8", "{} hears of {}", self, event.path)
            known = self.known.pop(event.path, None)
            same_data = self.generation == self.client.world.truth.generation
            if same_data and event.type != EventType.CREATED and known is not None:  # what was created may be gone again
                require(self._mzxid(event.path) != known, "I8", "{} hears {} of {}, unchanged", self, event.type, event.path)

    def covers(self, path: str) -> bool:
        """Whether it is to hear of a node."""
        below = self.recursive and path.startswith(self.path.rstrip("/") + "/")
        return path == self.path or below

    def arm(self) -> None:
        """The server has set it."""
        self.known.clear()
        self.generation = self.client.world.truth.generation
        if self not in self.client.standing:
            self.client.standing.append(self)

    def sees(self, path: str, stat: Optional[Stat]) -> None:
        """An answer shows a node: as it was known, or an event has come before."""
        if self.covers(path):
            mzxid = stat.mzxid if stat is not None else 0
            known = self.known.setdefault(path, mzxid)
            require(known == mzxid, "I6", "{} has not heard yet that {} went from zxid {} to {}", self, path, known, mzxid)

    def missed(self) -> Optional[str]:
        """The node whose change it will never hear of, or None."""
        return next((path for path, mzxid in self.known.items() if self._mzxid(path) != mzxid), None)

    def _mzxid(self, path: str) -> int:
        stat = self.client.truth(path)
        return stat.mzxid if stat is not None else 0

    def __repr__(self) -> str:
        return f"standing watch({self.path}{'/**' if self.recursive else ''})"


def check_outcome(client: Client, call: Call, outcome: Any) -> None:
    """What holds for every end of a call."""
    op, ledger = call.op, client.ledger
    if isinstance(outcome, LOCAL):
        if not isinstance(op, Auth) and not outcome.maybe_applied:
            ledger.unsent(call.key)
        return
    failed = isinstance(outcome, Exception)
    if isinstance(op, (Auth, RemoveWatches)):
        return  # which may be answered here
    if not isinstance(outcome, UnimplementedError):
        require(call.number > client.acked, "I2", "{} is answered behind #{}", call, client.acked)
        client.acked = call.number
    if failed:
        mine = getattr(op, "path", None) == client.private
        require(not (mine and isinstance(outcome, (NoAuthError, InvalidACLError))), "I11", "{}: {!r}", call, outcome)
        if isinstance(outcome, NoNodeError) and isinstance(op, (GetData, GetChildren, GetChildren2)):
            _place(client, call, None)
            _observe(client, str(op.path), None)
        return
    if op.writes:
        ledger.succeeded(call.key)
    if op.writes or isinstance(op, Sync):  # whatever comes next has seen this
        written = client.world.truth.wrote(call.key, call.asked_at) if op.writes else call.asked_at
        client.seen_until = max(client.seen_until, written)
    _check_result(client, call, outcome)


def _check_result(client: Client, call: Call, outcome: Any) -> None:
    """A successful answer: of the right kind, and what it shows."""
    op, watch = call.op, call.watch
    stat: Any = None
    if isinstance(op, Create):
        require(isinstance(outcome, str) and outcome.startswith(op.path), "I2", "{} gives {!r}", call, outcome)
    elif isinstance(op, SetData):
        require(isinstance(outcome, Stat), "I2", "{} gives {!r}", call, outcome)
        stat = outcome
        _place(client, call, stat)
        if client.session.phase == OPEN:  # or the connection ended with an answer before this one
            _observe(client, op.path, stat)
    elif isinstance(op, AddWatch) and isinstance(op.watch, Standing):
        op.watch.arm()
    elif isinstance(op, (GetData, GetChildren2, Exists)):
        stat = outcome if isinstance(op, Exists) else outcome[1]
        require(stat is None or isinstance(stat, Stat), "I2", "{} gives {!r}", call, outcome)
        _place(client, call, stat, outcome[0] if isinstance(op, GetData) else None)
        _observe(client, op.path, stat)
        if isinstance(op, GetData):
            _check_data(call, outcome)
        if watch is not None:
            if stat is None:
                watch.arm(EXIST, 0)
            elif isinstance(op, GetChildren2):
                watch.arm(CHILD, stat.pzxid)
            else:
                watch.arm(DATA, stat.mzxid)


def _check_data(call: Call, outcome: Any) -> None:
    """The data of a node has the length that its Stat says."""
    data, stat = outcome
    require(stat.dataLength == len(data or b""), "I2", "{} gives {!r} with {}", call, data, stat)


def _place(client: Client, call: Call, stat: Optional[Stat], data: Optional[bytes] = None) -> None:
    """What an answer shows was true at a moment, which is not before what the client has seen, written or synced so far."""
    truth, path = client.world.truth, client.full(call.op.path)
    if call.asked_at[0] != truth.generation:
        return
    node = State(0) if stat is None else State(0, stat.mzxid, stat.pzxid, data)
    exact = stat is None or isinstance(call.op, GetData)
    moment = truth.shows(path, client.seen_until, node, exact)
    require(moment is not None, "I16", "{} shows {}, which was not since {}, but {}", call, node[1:], client.seen_until, truth.states(path))
    client.seen_until = max(client.seen_until, moment)


def _observe(client: Client, path: str, stat: Optional[Stat]) -> None:
    """A session has seen a node in this state: never older than before, and its watches know already."""
    if stat is not None:
        require(stat.mzxid >= client.seen.get(path, 0), "I5", "{} goes back to zxid {}", path, stat.mzxid)
        client.seen[path] = stat.mzxid
    for standing in client.standing:
        standing.sees(path, stat)
    watches: List[Watch] = client.watches.get(path, [])
    for watch in watches:
        news = watch.shows(stat)
        if news is not None:
            raise Violation("I6", f"{watch} has not heard yet, but an answer shows it: {news}")
