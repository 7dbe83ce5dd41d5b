"""The requests of a session: from their submission to their reply, on whichever link the session has.

Owns the requests that wait for a link, those in flight, the bounds on both, and the operations that each server is
known not to implement. Must not know when to connect, nor how long a session lives: `Session` does. Rules:

1. A request that was sent is never sent again. A request in flight fails when its link ends.
2. A request submitted without a link waits for one, at most a session timeout.
3. A new link sends auth infos, then watches (with the zxid up to which events were delivered), then waiting requests.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Type

from ..errors import (
    ConnectionLoss, NoWatcherError, ProtocolError, TooManyPendingError, UnimplementedError, ZookeeperError,
)  # fmt: skip
from ..typed import NamedTuple
from ..ops import (
    AddWatch, Auth, CheckWatches, Create2, CreateContainer, CreateTTL, GetAllChildrenNumber, GetEphemerals, MultiRead,
    Op, RemoveWatches, SetWatches, SetWatches2, WhoAmI,
)  # fmt: skip
from ..values import KeeperState
from ..wire.connection import Connection, Incoming
from ..wire.messages import Scope
from .actions import Action, Replied
from .auth import AuthInfo, AuthInfos
from .host_provider import Host
from .link import AGAIN, REPLAY, Internal, Link
from .watch_modes import WatchModes
from .watches import Watches
from .windows import Windows

#: Error codes that concern the session or the connection, not the operation.
AUTH_FAILED, NEEDS_SASL, EXPIRED, MOVED, UNIMPLEMENTED = -115, -124, -112, -118, -6
CONSEQUENCES = frozenset((AUTH_FAILED, NEEDS_SASL, EXPIRED, MOVED, UNIMPLEMENTED))
#: Operations that ZooKeeper 3.4 does not know. Compatible servers close the connection instead of answering -6.
NEWER: Tuple[Type[Op[Any]], ...] = (
    AddWatch, CheckWatches, Create2, CreateContainer, CreateTTL, GetAllChildrenNumber, GetEphemerals, MultiRead,
    RemoveWatches, SetWatches2, WhoAmI,
)  # fmt: skip
#: This many closed connections in a row, each with one such operation alone in flight, count as "unimplemented".
HANG_UPS = 3

Failure = Callable[[Optional[str], bool], ZookeeperError]


def failing(cls: Type[ZookeeperError], text: Optional[str] = None) -> Failure:
    """A function that makes the errors of many operations that fail for one reason."""

    def make(path: Optional[str], sent: bool) -> ZookeeperError:
        error = cls(text, path)
        error.maybe_applied = sent
        if isinstance(error, ConnectionLoss):
            error.sent = sent
        return error

    return make


class Waiting(NamedTuple):
    """A request that waits for a link: its operation, the time of its submission, and its size in bytes."""

    op: Op[Any]
    since: float
    size: int


class ServerMemory:
    """The operations that one server was seen not to implement."""

    def __init__(self) -> None:
        self.unknown: Set[Type[Op[Any]]] = set()
        self.hang_ups: Dict[Type[Op[Any]], int] = {}


class Requests:
    """The requests of one session. Actions are appended to `report`, the session's list of actions."""

    def __init__(
        self, scope: Scope, report: List[Action], max_pending: int, max_pending_bytes: int, max_frame: int,
        max_request: int,
    ) -> None:  # fmt: skip
        self.scope, self._report = scope, report
        self._max_pending, self._max_bytes = max_pending, max_pending_bytes
        self.windows = Windows(max_pending)
        self._limits = max_frame, max_request
        self.watches = Watches(scope)
        self._modes = WatchModes(self.watches)
        self.auth_infos = AuthInfos()
        #: The session's link while there is one, handshake included, or None.
        self.link: Optional[Link] = None
        #: Fast path: the connection, while operations may be sent without looking at watches, auth or hold; else None.
        self.ready: Optional[Connection] = None
        #: The requests that wait for a link, by token.
        self.waiting: OrderedDict[Any, Waiting] = OrderedDict()
        self.waiting_bytes = 0
        #: Tokens of requests that were sent, and whose replies no caller wants any more.
        self.forgotten: Set[Any] = set()
        self._memory: Dict[Tuple[Host, Any], ServerMemory] = {}
        self._ended = failing(ConnectionLoss)  # the error of the newest link
        self._untold = False  # whether it ended before its watches were set again
        #: The newest zxid a reply has shown this session.
        self.last_zxid = 0
        #: The zxid up to which the watchers have got all events.
        self._told_zxid = 0

    # ----------------------------------------------------------------------- submitting

    @property
    def connection(self) -> Optional[Connection]:
        """The connection of the current link, or None."""
        return self.link.connection if self.link is not None else None

    @property
    def in_flight(self) -> int:
        """The number of operations that wait for a reply of the server."""
        return self.link.in_flight if self.link is not None else 0

    @property
    def pending(self) -> int:
        """The number of operations that were submitted and have no reply yet."""
        return len(self.waiting) + self.in_flight

    @property
    def pending_bytes(self) -> int:
        """The bytes of pending requests: those that wait for a link, and those sent since the oldest unanswered one."""
        connection = self.connection
        replies = connection.replies if connection is not None else ()
        under_way = connection.written - replies[0].end if connection is not None and replies else 0
        return self.waiting_bytes + under_way

    @property
    def seen_zxid(self) -> int:
        """The newest zxid that a reply has shown this session, on the current link too."""
        connection = self.connection
        return max(self.last_zxid, connection.last_zxid if connection is not None else 0)

    def submit(self, op: Op[Any], token: Any, now: float, is_open: bool, force: bool) -> bool:
        """Send an operation, or queue it; returns whether something was sent that keeps the session alive.

        An auth info does not: the server answers it without touching the session. `Session.submit` says what is raised.
        """
        if not op.alone:
            if isinstance(op, Auth):
                self._add_auth(op, token, now, is_open)
                return False
            raise ValueError(f"{op!r} cannot be submitted: it belongs into a transaction, or is made by the session")
        if isinstance(op, RemoveWatches):
            op = self.watches.where(op)
            if not self._comes_later(op) and self._remove_here(op, token):
                return False
        if not force:
            self.check_bounds()
        if is_open and self.link is not None:
            if type(op) in self._unknown():
                raise UnimplementedError(f"{self.link.host} does not know {type(op).__name__}", op.path)
            if not self.waiting and not self._must_wait(op, self.link):
                self._send(op, token, self.link)
                return True
        size = len(self.connect().frame(op))  # a request that cannot be sent is refused now
        self.ready = None
        self.waiting[token] = Waiting(op, now, size)
        self.waiting_bytes += size
        return False

    def check_bounds(self) -> None:
        """Raise `TooManyPendingError` if there is no room for one more request."""
        if self.pending - self.windows.total >= self._max_pending:
            raise TooManyPendingError(f"{self.pending} requests are pending (max_pending); wait for some of them")
        if self.pending_bytes >= self._max_bytes:
            text = f"requests of {self.pending_bytes} bytes are pending (max_pending_bytes); wait for some of them"
            raise TooManyPendingError(text)

    def _must_wait(self, op: Op[Any], link: Link) -> bool:
        if not isinstance(op, RemoveWatches) and (op.watches is None or op.watch is None):
            return False
        under_way = link.connection.replies if link.connection is not None else ()
        return self._modes.must_wait(op, op.server_path(self.scope), (slot.op for slot in under_way))

    def _send(self, op: Op[Any], token: Any, link: Link) -> None:
        """Send a user's operation, and the requests that its watch needs."""
        connection = link.connection
        assert connection is not None  # noqa: S101  # the link is open
        if op.plain and (op.watches is None or op.watch is None):
            connection.send(op, token)
            return
        path = op.server_path(self.scope)
        quiet = op.watches is not None and op.watch is not None and self._modes.is_quiet(op, path)
        connection.send(op, token, type(op)(op.path) if quiet else None)  # type: ignore[call-arg]  # they have a path
        for again in self._modes.silenced(op, path, self.seen_zxid):
            connection.send(again, AGAIN)
        self._modes.sent(op, path)
        if self._modes.matter:
            self.ready = None

    def _send_queue(self, link: Link, all_of_it: bool = False) -> None:
        """Send the waiting requests, up to the first one that has to wait longer."""
        while self.waiting:
            token, waiting = next(iter(self.waiting.items()))
            if not all_of_it and self._must_wait(waiting.op, link):
                return
            self._take_first()
            if type(waiting.op) in self._unknown():
                self._reply(token, UnimplementedError(None, waiting.op.path))
            elif not isinstance(waiting.op, RemoveWatches) or not self._remove_here(waiting.op, token):
                self._send(waiting.op, token, link)

    def _take_first(self) -> Tuple[Any, Waiting]:
        token, waiting = self.waiting.popitem(last=False)
        self.waiting_bytes -= waiting.size
        return token, waiting

    def connect(self) -> Connection:
        """A new connection with this client's scope and limits."""
        return Connection(self.scope, *self._limits)

    def _add_auth(self, op: Auth, token: Any, now: float, is_open: bool) -> None:
        info = self.auth_infos.add(op, token, now)
        if info.proven:
            self._reply(token, None)
        elif is_open and self.link is not None and not info.asked:
            self.link.prove(info)

    def _comes_later(self, op: RemoveWatches) -> bool:
        """Whether a removal has to wait, because requests in flight or in the queue may set the watch it removes."""
        connection = self.connection
        under_way = [slot.op for slot in connection.replies] if connection is not None else []
        before = under_way + [waiting.op for waiting in self.waiting.values()]
        return not op.local and self._modes.must_wait(op, op.server_path(self.scope), before)

    def _remove_here(self, op: RemoveWatches, token: Any) -> bool:
        """Whether a removal needed no request to the server; it is then done."""
        slots = self.connection.replies if self.connection is not None else ()
        coming = [slot.op for slot in slots] + [waiting.op for waiting in self.waiting.values()]
        where = self.watches.removal(op, coming)
        if where == "server":
            return False
        self._report += self.watches.removed(op, KeeperState.CONNECTED)
        self._reply(token, NoWatcherError(None, op.path) if where == "nothing" else None)
        return True

    def cancel(self, token: Any, forget: bool) -> bool:
        """Take a request back: True if it waited for a link, and now is never sent. See `Session.cancel`."""
        waiting = self.waiting.pop(token, None)
        if waiting is not None:
            self.waiting_bytes -= waiting.size
        elif forget and not self.auth_infos.forget(token) and self.link is not None:
            self.forgotten.add(token)
        return waiting is not None

    def _reply(self, token: Any, outcome: Any) -> None:
        self._report.append(Replied(token, outcome))

    # ------------------------------------------------------------ what servers do not know

    def _server(self) -> ServerMemory:
        key = self.link.server if self.link is not None else (Host("", 0), None)
        return self._memory.setdefault(key, ServerMemory())

    def _unknown(self) -> Set[Type[Op[Any]]]:
        return self._server().unknown

    def unimplemented(self, op: Op[Any]) -> bool:
        """The server answered -6: never send it this operation again on this link; returns whether it hangs up."""
        if isinstance(op, CreateTTL):
            return False  # switched off by configuration, which can change; the server does not hang up
        self.ready = None
        self._unknown().add(type(op))
        if self.link is not None:
            self.link.refused = True
        return True

    def hung_up(self) -> None:
        """The server has closed the open link; with one newer operation alone in flight, this counts against it."""
        link, connection = self.link, self.connection
        if link is None or connection is None:
            return
        kinds = {type(slot.op) for slot in connection.replies}
        if len(kinds) == 1 and next(iter(kinds)) in NEWER:
            kind, memory = kinds.pop(), self._server()
            memory.hang_ups[kind] = memory.hang_ups.get(kind, 0) + 1
            if memory.hang_ups[kind] >= HANG_UPS:
                memory.unknown.add(kind)
            link.refused = True

    def _forget_unknown(self) -> None:
        """After a loss for another reason the server may have been upgraded: the operation is sent again.

        One more closed connection is then enough to mark it as unimplemented.
        """
        for memory in self._memory.values():
            memory.unknown.clear()
            memory.hang_ups = {kind: min(count, HANG_UPS - 1) for kind, count in memory.hang_ups.items()}
        self._memory = {server: memory for server, memory in self._memory.items() if memory.hang_ups}

    # --------------------------------------------------------------------- a link's life

    def opened(self, link: Link) -> None:
        """The handshake is done: send auth infos, watches and waiting requests, in this order."""
        self.forgotten.clear()  # not earlier: the bytes that ended the last link may hold further replies
        for info in self.auth_infos:
            link.prove(info)
        if SetWatches2 in self._unknown():
            self._report += self.watches.unsupported()
        for batch in link.replay(list(self.watches.replay(self._told_zxid, self._limits[1]))):
            self._report += self.watches.too_long(batch)
        self._send_queue(link)
        memory = self._server()
        free = not memory.unknown and not memory.hang_ups and not self.waiting and not self._modes.matter
        self.ready = link.connection if free else None

    def hold(self) -> None:
        """Send nothing more on this link: new requests wait for the next one."""
        self.ready = None
        if self.link is not None:
            self.link.holding = True

    def close(self) -> None:
        """Send the close request, after all requests so far."""
        self.ready = None
        if self.link is not None:
            self._send_queue(self.link, True)
            self.link.close()

    def event(self, event: Any, state: str) -> None:
        """A watch event has arrived."""
        if self.link is not None or not self._untold:
            self._report += self.watches.notified(event, state)

    def replied(self, reply: Incoming, state: str) -> None:
        """A reply to a user's operation has arrived, on a link that is open or has just ended."""
        op, token, err, outcome = reply
        if op is None:
            return
        unclaimed = token in self.forgotten
        self.forgotten.discard(token)
        if self.link is None and not op.writes:
            # A reply before this one, in the same bytes, has ended the link; perhaps watches could not be set again.
            # This read would have no watch, and its result would be newer than any event delivered so far.
            outcome = self._ended(op.path, True)
        elif op.watches is not None and not isinstance(outcome, ProtocolError):
            if not unclaimed or isinstance(op, AddWatch):  # the server has set the persistent watch: it sends events
                self.watches.armed(op, err)
        elif isinstance(op, RemoveWatches) and err in (0, NoWatcherError.code):
            self._report += self.watches.removed(op, state)
        if not unclaimed:
            self._reply(token, outcome)
        if self.ready is None and self.link is not None:
            if err == 0 and self._memory:
                self._server().hang_ups.pop(type(op), None)
            self._modes.answered(op, op.server_path(self.scope) if op.path is not None else "")

    def taken(self) -> None:
        """All received bytes were processed: send the requests that waited for this."""
        if self.waiting and self.link is not None and not self.link.holding:
            self._send_queue(self.link)

    def proven(self, info: AuthInfo) -> None:
        """The server has accepted an auth info."""
        info.proven = True
        tokens, info.tokens = info.tokens, []
        self._reply_all(tokens, None)

    def replayed(self, op: Op[Any], err: int, token: Internal = REPLAY) -> bool:
        """A batch of watches was answered; returns whether the session can continue with this answer."""
        if err == 0:
            if self.link is not None:
                self.link.replaying -= token is REPLAY
            self._report += self.watches.replayed(op)
        elif err == UNIMPLEMENTED and isinstance(op, SetWatches2):
            self._report += self.watches.unsupported()
        else:
            if token is AGAIN and isinstance(op, SetWatches) and self.link is not None:
                self.link.told_at_most = op.relative_zxid  # the same bytes may hold replies after this one
            return False
        return True

    def disconnected(self, failure: Failure, told: bool) -> None:
        """Fail the requests that were sent or about to be sent: no reply will arrive.

        `told`: the link was open, so events up to its last zxid were delivered, unless watches were not yet set again.
        """
        link, self.link, self.ready = self.link, None, None
        self._ended = failure
        self.auth_infos.disconnected()
        self._modes.disconnected()
        connection = link.connection if link is not None else None
        if link is None or connection is None:
            return
        if told and not link.refused:
            self._forget_unknown()
        self.last_zxid, self._untold = max(self.last_zxid, connection.last_zxid), link.replaying > 0
        if told and not link.replaying:
            self._told_zxid = min(self.last_zxid, link.told_at_most)
        for slot in connection.replies:
            if type(slot.token) is not Internal and slot.token not in self.forgotten:
                self._reply(slot.token, failure(slot.op.path, connection.was_sent(slot)))

    # ------------------------------------------------------------------------- failing

    def fail_queue(self, failure: Failure) -> None:
        """Fail all requests that wait for a link."""
        while self.waiting:
            token, waiting = self._take_first()
            self._reply(token, failure(waiting.op.path, False))

    def waiting_since(self) -> Optional[float]:
        """The time since which the oldest request waits for a link; None if none waits."""
        times = [next(iter(self.waiting.values())).since] if self.waiting else []
        since = self.auth_infos.waiting_since()
        return min(times + [since]) if since is not None else times[0] if times else None

    def give_up(self, oldest: float, failure: Failure) -> None:
        """Fail the requests that have waited since `oldest` or longer."""
        while self.waiting and next(iter(self.waiting.values())).since <= oldest:
            token, waiting = self._take_first()
            self._reply(token, failure(waiting.op.path, False))
        self._reply_all(self.auth_infos.take_waiting(oldest), failure(None, False))

    def expired(self, failure: Failure) -> None:
        """The session has expired, and its watches with it; a new one begins at zxid 0."""
        self.last_zxid = self._told_zxid = 0
        self._untold = False
        self.fail_queue(failure)

    def end_watches(self, state: str) -> None:
        """Call every watcher with the end of its watch."""
        self._report += self.watches.ended(state)

    def end(self, failure: Failure) -> None:
        """The session has ended for good: fail all requests and end all watches."""
        self.disconnected(failure, False)
        self.fail_queue(failure)
        self._reply_all(self.auth_infos.take_waiting(), failure(None, False))

    def _reply_all(self, tokens: List[Any], outcome: Any) -> None:
        self._report += [Replied(token, outcome) for token in tokens]
