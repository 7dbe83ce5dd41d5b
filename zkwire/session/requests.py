"""The operations of a session: from their submission to their settlement, on whatever connection there is.

Owns what waits for a connection, what is under way on one, who may hear of what, and the identities and watches that
each new connection needs first. Must not know when to connect, nor how long a session lives: `Session` does. Rules:

1. A request that was sent is never sent again. What is under way when a connection ends fails.
2. What is submitted without a connection waits for one, at most a session timeout.
3. On a new connection come identities, then watches (as of the zxid up to which they have told all), then what waited.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple, Type

from ..wire.connection import Connection, Incoming
from ..errors import (
    ConnectionLoss, FrameTooLargeError, NoWatcherError, ProtocolError, TooManyPendingError, UnimplementedError,
    ZookeeperError,
)  # fmt: skip
from .host_provider import Host
from .auth import Identities, Identity
from .watch_modes import WatchModes
from .watches import Notifier
from ..wire.operation import Op
from ..ops import Auth, CloseSession, CreateTTL, RemoveWatches, Sasl, SetWatches, SetWatches2
from ..values import KeeperState
from ..wire.messages import Scope
from .actions import Event, Settled

#: Answers that say something about the session or the connection rather than the operation.
AUTH_FAILED, NEEDS_SASL, EXPIRED, MOVED, UNIMPLEMENTED = -115, -124, -112, -118, -6
CONSEQUENCES = frozenset((AUTH_FAILED, NEEDS_SASL, EXPIRED, MOVED, UNIMPLEMENTED))

_NEWEST = 2**63 - 1
Failure = Callable[[Optional[str], bool], ZookeeperError]


def failing(cls: Type[ZookeeperError], text: Optional[str] = None) -> Failure:
    """Makes the errors of many operations that fail for one reason."""

    def make(path: Optional[str], sent: bool) -> ZookeeperError:
        error = cls(text, path)
        error.maybe_applied = sent
        if isinstance(error, ConnectionLoss):
            error.sent = sent
        return error

    return make


class Internal(NamedTuple):
    """Token of an operation of ours: a step of SASL, an identity, a batch of watches, the close."""

    what: Any


LOGIN, REPLAY, AGAIN, CLOSE = Internal("login"), Internal("replay"), Internal("again"), Internal("close")


class Requests:
    """The operations of one session. What is to be reported goes to `report`, the session's list of events."""

    def __init__(self, scope: Scope, report: List[Event], max_pending: int, max_frame: int, max_request: int) -> None:
        self.scope, self._report = scope, report
        self._max_pending, self._limits = max_pending, (max_frame, max_request)
        self._notifier = Notifier(scope)
        self._modes = WatchModes(self._notifier.watches)
        #: The connection there is, handshake included, or None.
        self.connection: Optional[Connection] = None
        #: The connection, while plain operations may just be sent.
        self.ready: Optional[Connection] = None
        self._holding = False
        #: Whom we are connected to.
        self.host: Optional[Host] = None
        self._identities = Identities()
        self._queue: Deque[Tuple[Op[Any], Any, float]] = deque()
        self._unknown: Dict[Host, Set[Type[Op[Any]]]] = {}
        self._ended = failing(ConnectionLoss)  # how the newest connection did
        #: The newest zxid a reply has shown this session.
        self.last_zxid = 0
        #: Up to which zxid our watches have told all, and how many batches of them are yet to be set again.
        self._told_zxid = self._to_replay = 0
        self._told_at_most = _NEWEST

    # ----------------------------------------------------------------------- submitting

    @property
    def in_flight(self) -> int:
        """Operations that wait for an answer of the server."""
        return len(self.connection.replies) if self.connection is not None else 0

    @property
    def pending(self) -> int:
        """Operations submitted and not yet settled."""
        return len(self._queue) + self.in_flight

    @property
    def seen_zxid(self) -> int:
        """The newest zxid a reply has shown this session, on the connection there is as well."""
        return max(self.last_zxid, self.connection.last_zxid if self.connection is not None else 0)

    def submit(self, op: Op[Any], token: Any, now: float, is_open: bool) -> bool:
        """Send an operation, or queue it; whether something was sent. See `Session.submit` for what is raised."""
        if not op.alone:
            if isinstance(op, Auth):
                return self._add_identity(op, token, now, is_open)
            raise ValueError(f"{op!r} cannot be submitted: it belongs into a transaction, or is made by the session")
        if isinstance(op, RemoveWatches) and not self._comes_later(op) and self._remove_here(op, token):
            return False
        if self.pending >= self._max_pending:
            raise TooManyPendingError(f"{self.pending} requests are pending (max_pending); wait for some of them")
        if is_open and self.connection is not None:
            if self._is_unknown(op):
                raise UnimplementedError(f"{self.host} does not know {type(op).__name__}", op.path)
            if not self._queue and not self._must_wait(op, self.connection):
                self._send(op, token, self.connection)
                return True
        self.connect().frame(op)  # what cannot be sent is refused now
        self.ready = None
        self._queue.append((op, token, now))
        return False

    def _must_wait(self, op: Op[Any], connection: Connection) -> bool:
        if not isinstance(op, RemoveWatches) and (op.watches is None or op.watch is None):
            return False
        return self._modes.must_wait(op, op.server_path(self.scope), (slot.op for slot in connection.replies))

    def _send(self, op: Op[Any], token: Any, connection: Connection) -> None:
        """Send a user's operation, and what belongs to its watch."""
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

    def _send_queue(self, connection: Connection, all_of_it: bool = False) -> None:
        """Send what waits, as far as it need not wait any longer."""
        while self._queue and (all_of_it or not self._must_wait(self._queue[0][0], connection)):
            op, token, _ = self._queue.popleft()
            if self._is_unknown(op):
                self._report.append(Settled(token, UnimplementedError(None, op.path)))
            elif not isinstance(op, RemoveWatches) or not self._remove_here(op, token):
                self._send(op, token, connection)

    def connect(self) -> Connection:
        """A connection with our scope and limits."""
        return Connection(self.scope, *self._limits)

    def _add_identity(self, op: Auth, token: Any, now: float, is_open: bool) -> bool:
        identity = self._identities.add(op, token, now)
        if identity.proven:
            self._report.append(Settled(token, None))
        elif is_open and self.connection is not None and not identity.asked:
            self._prove(identity, self.connection)
            return True
        return False

    def _prove(self, identity: Identity, connection: Connection) -> None:
        identity.asked = True
        connection.send(identity.op, Internal(identity))

    def _is_unknown(self, op: Op[Any]) -> bool:
        """Whether our host has answered such an operation with -6 before."""
        return self.host is not None and type(op) in self._unknown.get(self.host, ())

    def _comes_later(self, op: RemoveWatches) -> bool:
        """Whether a removal has to wait, for it may concern what is under way or waits itself."""
        under_way = [slot.op for slot in self.connection.replies] if self.connection is not None else []
        before = under_way + [item[0] for item in self._queue]
        return not op.local and self._modes.must_wait(op, op.server_path(self.scope), before)

    def _remove_here(self, op: RemoveWatches, token: Any) -> bool:
        """Whether a removal needed no word to the server; it is done then."""
        slots = self.connection.replies if self.connection is not None else ()
        coming = [slot.op for slot in slots if slot.token is not None] + [item[0] for item in self._queue]
        where = self._notifier.removal(op, coming)
        if where == "server":
            return False
        self._report += self._notifier.removed(op, KeeperState.CONNECTED)
        self._report.append(Settled(token, NoWatcherError(None, op.path) if where == "nothing" else None))
        return True

    def withdraw(self, token: Any) -> bool:
        """Take an operation back that is still queued: True if it was, and now is never sent."""
        for item in self._queue:
            if item[1] is token:
                self._queue.remove(item)
                return True
        return False

    def abandon(self, token: Any) -> bool:
        """Nobody waits for `token` any more. True if it was still queued: then it is never sent."""
        if self.withdraw(token):
            return True
        self._identities.abandon(token)
        replies = self.connection.replies if self.connection is not None else deque()
        for i, slot in enumerate(replies):
            if slot.token is token:
                replies[i] = slot._replace(token=None)
                break
        return False

    # --------------------------------------------------------------- a connection's life

    def say(self, token: bytes) -> None:
        """A token of SASL, for the server. Raises `FrameTooLargeError`."""
        if self.connection is not None:
            self.connection.send(Sasl(token), LOGIN)

    def opened(self, connection: Connection) -> None:
        """The handshake is through: identities, watches, and what waited, in this order."""
        for identity in self._identities:
            self._prove(identity, connection)
        self._to_replay = 0
        for batch in list(self._notifier.replay(self._told_zxid, self._limits[1])):
            try:
                connection.send(batch, REPLAY)
                self._to_replay += 1
            except FrameTooLargeError:  # of one path; its read was shorter by a few bytes
                self._report += self._notifier.too_long(batch)
        self._send_queue(connection)
        known = self.host is None or not self._unknown.get(self.host)
        self.ready = connection if known and not self._queue and not self._modes.matter else None

    def hold(self) -> None:
        """Send nothing more on this connection: what is submitted waits for the next."""
        self.ready, self._holding = None, True

    def close(self) -> None:
        """Say good-bye, behind all that is under way."""
        self.ready = None
        if self.connection is not None:
            self._send_queue(self.connection, True)
            self.connection.send(CloseSession(), CLOSE)

    def event(self, event: Any, state: str) -> None:
        """A notification has arrived."""
        if self.connection is not None or not self._to_replay:  # or the next replay tells of it, and of what it missed
            self._report += self._notifier.notified(event, state)

    def settle(self, reply: Incoming, state: str) -> None:
        """A reply to a user's operation has arrived."""
        op, token, err, outcome = reply
        if op is None:
            return
        if token is not None:
            if self.connection is None and not op.writes:
                # An answer before this one, in the same bytes, was the end, perhaps that watches could not be set
                # again: this read would have no watch, and would show what no event has told.
                outcome = self._ended(op.path, True)
            elif op.watches is not None and not isinstance(outcome, ProtocolError):
                self._notifier.armed(op, err)
            elif isinstance(op, RemoveWatches) and err in (0, NoWatcherError.code):
                self._report += self._notifier.removed(op, state)
            self._report.append(tuple.__new__(Settled, (token, outcome)))
        elif isinstance(op, RemoveWatches) and err == 0:
            self._report += self._notifier.removed(op, state)  # though nobody waits for it any more
        if self.ready is None and self.connection is not None:
            self._modes.answered(op, op.server_path(self.scope) if op.path is not None else "")

    def taken(self) -> None:
        """All that has arrived was settled: what had to wait for it may go."""
        if self._queue and self.connection is not None and not self._holding:
            self._send_queue(self.connection)

    def proven(self, identity: Identity) -> None:
        """The server has accepted an identity."""
        identity.proven = True
        tokens, identity.tokens = identity.tokens, []
        self._settle_all(tokens, None)

    def replayed(self, op: Op[Any], err: int, token: Internal = REPLAY) -> bool:
        """A batch of watches was answered; whether we can live with the answer."""
        if err == 0:
            self._to_replay -= token is REPLAY
            self._report += self._notifier.replayed(op)
        elif err == UNIMPLEMENTED and isinstance(op, SetWatches2):
            self._report += self._notifier.unsupported()
        else:
            if token is AGAIN and isinstance(op, SetWatches):  # answers behind this one may have come with it
                self._told_at_most = op.relative_zxid
            return False
        return True

    def unimplemented(self, op: Op[Any]) -> bool:
        """An operation was answered with -6: never ask this host again; whether it hangs up on us for it."""
        if isinstance(op, CreateTTL):
            return False  # switched off, which can change, and no reason to hang up
        self.ready = None
        if self.host is not None:
            self._unknown.setdefault(self.host, set()).add(type(op))
        return True

    def disconnected(self, failure: Failure, told: bool) -> None:
        """No answer will come any more to what was sent, or was about to be.

        `told`: the connection was open, so watches have told all up to there, unless they were yet to be set.
        """
        connection, self.connection, self.ready = self.connection, None, None
        self._holding = False
        self._ended = failure
        self._identities.disconnected()
        self._modes.disconnected()
        if connection is None:
            return
        self.last_zxid = max(self.last_zxid, connection.last_zxid)
        if told and not self._to_replay:
            self._told_zxid = min(self.last_zxid, self._told_at_most)
        self._told_at_most = _NEWEST
        for slot in connection.replies:
            if slot.token is not None and type(slot.token) is not Internal:
                self._report.append(Settled(slot.token, failure(slot.op.path, connection.was_sent(slot))))

    # ------------------------------------------------------------------------- failing

    def fail_queue(self, failure: Failure) -> None:
        """What waits for a connection waits in vain."""
        queue, self._queue = self._queue, deque()
        self._report += [Settled(token, failure(op.path, False)) for op, token, _ in queue]

    def waiting_since(self) -> Optional[float]:
        """Since when the one has waited who has waited longest for a connection; None if nobody does."""
        times = [self._queue[0][2]] if self._queue else []
        since = self._identities.waiting_since()
        return min(times + [since]) if since is not None else times[0] if times else None

    def give_up(self, oldest: float, failure: Failure) -> None:
        """Who has waited since `oldest` or longer has waited long enough."""
        while self._queue and self._queue[0][2] <= oldest:
            op, token, _ = self._queue.popleft()
            self._report.append(Settled(token, failure(op.path, False)))
        self._settle_all(self._identities.take_waiting(oldest), failure(None, False))

    def expired(self, failure: Failure) -> None:
        """The session is gone, and its watches with it; a new one begins at zxid 0."""
        self.last_zxid = self._told_zxid = self._to_replay = 0
        self._unknown.clear()  # servers may have been upgraded since
        self.fail_queue(failure)

    def end_watches(self, state: str) -> None:
        """Every watcher hears the end."""
        self._report += self._notifier.ended(state)

    def end(self, failure: Failure) -> None:
        """All is over, for ever."""
        self.disconnected(failure, False)
        self.fail_queue(failure)
        self._settle_all(self._identities.take_waiting(), failure(None, False))

    def _settle_all(self, tokens: List[Any], outcome: Any) -> None:
        self._report += [Settled(token, outcome) for token in tokens]
