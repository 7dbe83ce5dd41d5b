"""The client's side of the model: what zkwire promises a core, over a `Tree`, with the network in the test's hands.

Owns two queues in wire order, what becomes of operations when a connection ends, and the replay of watches. Every
step is one that the test asks for; nothing moves by itself.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Set, Tuple

from tests.kit.discovery.tree import Connection, Tree
from zkwire import errors, ops
from zkwire.values import EventType, KeeperState, WatchedEvent


class Peer:
    """One client of the tree with one core on it."""

    def __init__(self, tree: Tree, core: Any) -> None:
        self.tree, self.core = tree, core
        self.now = 0.0
        self.session: Optional[int] = None
        self.connection: Optional[Connection] = None
        self.queued: List[Tuple[Any, Any]] = []  # submitted without a connection
        self.up: Deque[Tuple[Any, Any]] = deque()  # sent, not yet done
        self.down: Deque[Tuple[str, Any, Any, Any]] = deque()  # done, not yet heard of
        self.seen = 0  # the newest zxid of a reply
        self.watches: Dict[str, Set[str]] = {"data": set(), "exist": set(), "child": set(), "recursive": set()}
        self.hang_up = self.read_only = False
        #: An operation whose answer the client cannot take, and what its caller is told; then the connection ends.
        self.hang_up_after: Any = None
        #: What the server was seen not to know: it is not asked again, until a connection ends for another reason.
        self.unknown: Set[type] = set()
        self.refused = False

    # ------------------------------------------------------------ what may happen next

    @property
    def quiet(self) -> bool:
        return not (self.up or self.down or self.queued)

    def connect(self) -> None:
        """With the session there was, or a new one; watches are armed again, and catch up."""
        if self.session is None or self.session not in self.tree.sessions:
            if self.session is not None:
                self.lose_session()
            self.session = self.tree.open()
        connection = Connection(
            self.session, lambda event: self.down.append(("event", event, None, None)), self.tree.tells_watched_path
        )
        self.connection = connection
        self.tree.connections.append(connection)
        catch_up = self._replay(connection)
        self.core.session(self.session, self.now, self.read_only)
        self.pump()
        for event in catch_up:
            self._hear(event)
        queued, self.queued = self.queued, []
        self.up.extend(queued)

    def serve(self) -> None:
        """The server does the next operation."""
        key, op = self.up.popleft()
        assert self.connection is not None
        known = type(op) not in self.unknown
        outcome = self.tree.apply(op, self.connection) if known else errors.UnimplementedError(None, op.path)
        self.down.append(("reply", key, op, (outcome, self.tree.zxid)))
        if known and isinstance(outcome, errors.UnimplementedError):
            self.unknown.add(type(op))
            self.hang_up = self.refused = True

    def hear(self) -> None:
        """The client hears the next thing."""
        what, first, op, rest = self.down.popleft()
        if what == "event":
            self._hear(first)
            return
        outcome, self.seen = rest
        if self.hang_up_after is not None and self.hang_up_after[0] is op:
            error, self.hang_up_after = self.hang_up_after[1], None
            self._answer(first, error)
            self._end()
            return
        self._armed(op, outcome)
        self._answer(first, outcome)
        if self.hang_up and not self.down:
            self.hang_up = False
            self.cut(random.Random(0))

    def cut(self, rng: random.Random) -> None:
        """The connection ends: some of what was sent is done, some of what was answered is heard of, no more."""
        assert self.connection is not None
        for _ in range(rng.randint(0, len(self.up))):
            self.serve()
        unheard = len(self.down)
        for _ in range(rng.randint(0, unheard)):
            if self.connection is None:
                return
            self.hear()
        if self.connection is not None:  # or it ended while we listened
            self._end()

    def _end(self) -> None:
        """The connection has ended, and so has all that was under way."""
        if not self.refused:
            self.unknown.clear()
        self.hang_up = self.refused = False
        self.tree.connections.remove(self.connection)
        self.connection = None
        lost = [item[1] for item in self.down if item[0] == "reply"] + [key for key, _ in self.up]
        self.down.clear()
        self.up.clear()
        for key in lost:
            self._answer(key, errors.ConnectionLoss("cut"))
        self.core.session(None, self.now)
        self.pump()

    def lose_session(self) -> None:
        """The client takes its session for lost; the server may not know yet."""
        assert self.connection is None
        self.session, self.seen = None, 0
        armed = {path for paths in self.watches.values() for path in paths}
        for paths in self.watches.values():
            paths.clear()
        self.give_up(errors.SessionExpiredError)
        self.core.session(None, self.now)
        self.pump()
        for path in sorted(armed):
            self._hear(WatchedEvent(EventType.NONE, KeeperState.EXPIRED_SESSION, path))

    def give_up(self, error: Any = errors.ConnectionLoss) -> None:
        """Nothing waits for a connection for ever."""
        queued, self.queued = self.queued, []
        for key, op in queued:
            failure = error("no connection", op.path)
            failure.maybe_applied = False
            if isinstance(failure, errors.ConnectionLoss):
                failure.sent = False
            self._answer(key, failure)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        deadline = self.core.deadline()
        if deadline is not None and self.now >= deadline:
            self.core.timed_out(self.now)
            self.pump()

    def tell(self, function: Any, *arguments: Any) -> None:
        """Call a method of the core, as its owner does."""
        function(*arguments, self.now)
        self.pump()

    def settle(self) -> None:
        """Everything good that can happen happens, until nothing is left to do."""
        for _ in range(100_000):
            if self.connection is not None and self.quiet and self.at_rest():
                return
            self.step()
        raise AssertionError("it never comes to rest")

    def settle_for(self, seconds: float) -> None:
        """As `settle`, but time passes for so long, whatever the core waits for."""
        end = self.now + seconds
        while self.now < end or not self.quiet or self.connection is None:
            if self.connection is not None and self.quiet and self.core.deadline() is None:
                self.now = end
            else:
                self.step()

    def at_rest(self) -> bool:
        """Whether time would bring nothing, or only the next question for what is refused."""
        deadline = self.core.deadline()
        return deadline is None or deadline == getattr(self.core, "_ask_again_at", None)

    def step(self) -> None:
        """The next good thing that can happen happens."""
        if self.connection is None:
            self.connect()
        elif self.up:
            self.serve()
        elif self.down:
            self.hear()
        elif self.core.deadline() is not None:
            self.pass_time(max(0.0, self.core.deadline() - self.now))

    # ------------------------------------------------------------------------ inside

    def pump(self) -> None:
        for key, op in self.core.operations():
            if self.core.current(key):
                (self.up if self.connection is not None else self.queued).append((key, op))

    def _answer(self, key: Any, outcome: Any) -> None:
        self.core.answered(key, outcome, self.now)
        self.pump()

    def _hear(self, event: WatchedEvent) -> None:
        path = event.path or ""
        tables = {EventType.CHILD: ["child"], EventType.DELETED: ["data", "exist", "child"]}
        for name in tables.get(event.type, ["data", "exist"]) if event.type != EventType.NONE else ():
            self.watches[name].discard(path)
        self.core.watched(event, self.now)
        self.pump()

    def _armed(self, op: Any, outcome: Any) -> None:
        if isinstance(op, ops.RemoveWatches):
            for name in ("data", "exist"):
                self.watches[name].discard(op.path)
        if getattr(op, "watch", None) is None and not isinstance(op, ops.AddWatch):
            return
        if isinstance(op, ops.Exists):
            self.watches["exist" if outcome is None else "data"].add(op.path)
        elif not isinstance(outcome, Exception):
            kind = {ops.GetData: "data", ops.GetChildren: "child", ops.AddWatch: "recursive"}[type(op)]
            self.watches[kind].add(op.path)

    def _replay(self, connection: Connection) -> List[WatchedEvent]:
        """As DataTree.setWatches."""
        events: List[WatchedEvent] = []

        def fire(kind: str, path: str) -> None:
            if (kind, path) not in [(e.type, e.path) for e in events]:
                events.append(WatchedEvent(kind, KeeperState.CONNECTED, path))

        for path in sorted(self.watches["data"]):
            node = self.tree.nodes.get(path)
            if node is None:
                fire(EventType.DELETED, path)
            elif node.mzxid > self.seen:
                fire(EventType.CHANGED, path)
            else:
                connection.data.add(path)
        for path in sorted(self.watches["exist"]):
            if path in self.tree.nodes:
                fire(EventType.CREATED, path)
            else:
                connection.data.add(path)
        for path in sorted(self.watches["child"]):
            node = self.tree.nodes.get(path)
            if node is None:
                fire(EventType.DELETED, path)
            elif node.pzxid > self.seen:
                fire(EventType.CHILD, path)
            else:
                connection.child.add(path)
        for path in sorted(self.watches["recursive"]):
            connection.recursive.add(path)
            events.append(WatchedEvent(EventType.NONE, KeeperState.CONNECTED, path))
        return events
