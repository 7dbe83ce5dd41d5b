"""One session over many connections, without sockets, threads or clocks.

Owns when to dial, ping, give up and expire; what is replayed on a new connection; and what becomes of every operation.
Must not know sockets, futures or who calls watchers. `now` is monotonic time in seconds and never goes back; `token`
is whatever the caller wants to see again. Rules:

1. On each connect, in this order: handshake, auth, watches (with the last zxid from before), then user operations.
   Connected is reported once authentication is through.
2. A request that was sent is never sent again. What is under way when a connection ends fails with `ConnectionLoss`,
   which says whether it was sent; what is submitted without a connection waits for one, at most a session timeout.
3. Two thirds of the timeout without a reply end a connection, however busy it is with sending or with events.
4. The server decides on expiry. Four thirds of the timeout without hearing from any server are expiry too
   (ZOOKEEPER-4508). After it, everything is told, forgotten, and a new session is opened.
5. AUTH_FAILED and CLOSED are for ever.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Type, Union

from .connection import MAX_FRAME, MAX_REQUEST, Connection, Incoming
from .errors import (
    AuthFailedError, ConnectionClosedError, ConnectionLoss, FrameTooLargeError, NoWatcherError, ProtocolError,
    SessionClosedRequireSaslError, SessionExpiredError, TooManyPendingError, UnimplementedError, ZookeeperError,
)  # fmt: skip
from .hosts import Host
from .identities import Identities, Identity
from .liveness import Liveness
from .notify import Notifier
from .op import Op
from .ops import Auth, CloseSession, Ping, RemoveWatches, SetWatches2
from .records import (
    ConnectRequest, KazooState, KeeperState, Scope,
)  # fmt: skip
from .rotation import Rotation
from .session_events import Dial, Event, HangUp, Settled, StateChanged

#: close() takes no longer, in seconds.
CLOSE_LIMIT = 5.0
#: Between attempts to reach a server only to close the session, in seconds.
CLOSING_PAUSE = 0.1
#: Answers that say something about the session rather than the operation.
_AUTH_FAILED, _EXPIRED, _MOVED, _NO_NODE, _UNIMPLEMENTED = -115, -112, -118, -101, -6
_FATAL = frozenset((_AUTH_FAILED, SessionClosedRequireSaslError.code, _EXPIRED, _MOVED, _UNIMPLEMENTED))

# Where we are: not started; pausing before an attempt; waiting for the driver to connect; for the answer to the
# handshake; connected; ended.
NEW, PAUSING, DIALING, HANDSHAKE, OPEN, ENDED = "new", "pausing", "dialing", "handshake", "open", "ended"


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


class _Internal(NamedTuple):
    """Token of an operation of ours: an identity, a replay of watches (None), the close."""

    what: Any


_REPLAY, _CLOSE = _Internal("replay"), _Internal("close")


class Session:
    """The session core. Times are seconds; all arguments are keyword-only but the hosts.

    Feed it: `start`, `submit`, `connected`, `received`, `lost`, `timed_out`, `close`. After each of these,
    send `data_to_send` (and say so with `sent`), act on `events`, and call `timed_out` at `deadline`.
    """

    def __init__(
        self, hosts: Sequence[Host], *, timeout: float, random: Callable[[], float], scope: Optional[Scope] = None,
        client_id: Optional[Tuple[int, bytes]] = None, connect_timeout: Optional[float] = None, shuffle: bool = True,
        max_pending: int = 10_000, max_frame: int = MAX_FRAME, max_request: int = MAX_REQUEST,
    ) -> None:  # fmt: skip
        self._live = Liveness(timeout)
        self.scope = scope if scope is not None else Scope()
        self._notifier = Notifier(self.scope)
        self.phase = NEW
        self.client_state = KeeperState.CONNECTING
        #: Why the last attempt or connection ended.
        self.last_error: Optional[ZookeeperError] = None
        self.host: Optional[Host] = None
        self._connect_timeout = connect_timeout
        self._limits = (max_frame, max_request)
        self._max_pending = max_pending
        self._rotation = Rotation(hosts, shuffle, random)
        self._session_id, self._password = client_id if client_id else (0, b"\0" * 16)
        self._last_zxid = 0
        #: Up to which zxid our watches have told all, and how many batches of them are yet to be set again.
        self._told_zxid = self._to_replay = 0
        self._connection: Optional[Connection] = None
        self._identities = Identities()
        self._queue: Deque[Tuple[Op[Any], Any, float]] = deque()
        self._unknown: Dict[Host, Set[Type[Op[Any]]]] = {}
        self._events: List[Event] = []
        self._announced = KazooState.LOST
        self._due = 0.0  # when the pause ends, or the attempt
        self._closing: Optional[float] = None
        self._ready: Optional[Connection] = None  # the connection, while plain operations may just be sent

    # ------------------------------------------------------------------- what it shows

    @property
    def timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._live.timeout

    @property
    def hosts(self) -> Sequence[Host]:
        """The servers, in the order they are tried."""
        return tuple(self._rotation.hosts)

    @property
    def state(self) -> str:
        """The listeners' view, one of `KazooState`."""
        return self._announced

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Session id and password, or None while there is no session. The password is a secret."""
        return (self._session_id, self._password) if self._session_id else None

    @property
    def pending(self) -> int:
        """Operations submitted and not yet settled."""
        return len(self._queue) + (len(self._connection.replies) if self._connection else 0)

    @property
    def in_flight(self) -> int:
        """Operations that wait for an answer of the server."""
        return len(self._connection.replies) if self._connection else 0

    @property
    def idle(self) -> bool:
        """Whether the newest operation is the only one under way, or there is none."""
        return self._connection is None or len(self._connection.replies) <= 1

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self._connection.unsent if self._connection else 0

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the socket; report what it took with `sent`."""
        return self._connection.data_to_send() if self._connection else b""

    def sent(self, count: int) -> None:
        """The socket took `count` bytes of `data_to_send`."""
        if self._connection:
            self._connection.sent(count)

    @property
    def news(self) -> bool:
        """Whether `events` has something to say."""
        return bool(self._events)

    def events(self) -> List[Event]:
        """What has happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`; None for never."""
        times = [self._closing] if self._closing is not None else []
        if self.phase in (PAUSING, DIALING, HANDSHAKE):
            times.append(self._due)
            if self._session_id:
                times.append(self._live.expires_at())
        elif self.phase == OPEN:
            times += (self._live.silent_at(), self._ping_at())
        if self._queue:
            times.append(self._queue[0][2] + self.timeout)
        since = self._identities.waiting_since()
        if since is not None:
            times.append(since + self.timeout)
        return min(times) if times else None

    def _ping_at(self) -> float:
        pinging = self._connection is not None and self._connection.pinging
        return self._live.silent_at() if pinging else self._live.ping_at()

    # ------------------------------------------------------------------ from the user

    def start(self, now: float) -> None:
        """Begin to connect. Raises `ConnectionClosedError` if it was closed."""
        self._check_usable()
        if self.phase == NEW:
            self._live.started(now)
            self._dial(now)

    def submit(self, op: Op[Any], token: Any, now: float) -> None:
        """Send an operation, or queue it until there is a connection; `Settled(token, ...)` follows, in the end.

        Raises, with nothing done: `ValueError` for an operation that cannot be sent, `FrameTooLargeError`,
        `TooManyPendingError`, `UnimplementedError` (this server has refused it before), `ConnectionClosedError`,
        `AuthFailedError`.
        """
        ready = self._ready
        if ready is not None and op.plain and len(ready.replies) < self._max_pending:
            ready.send(op, token)
            self._live.sent_at = now
            return
        self._check_usable()
        if not op.alone:
            if isinstance(op, Auth):
                self._add_auth(op, token, now)
                return
            raise ValueError(f"{op!r} cannot be submitted: it belongs into a transaction, or is made by the session")
        if isinstance(op, RemoveWatches) and self._remove_here(op, token):
            return
        if self.pending >= self._max_pending:
            raise TooManyPendingError(f"{self.pending} requests are pending (max_pending); wait for some of them")
        connection = self._connection
        if self.phase == OPEN and connection is not None:
            if self._unknown and self._is_unknown(op):
                raise UnimplementedError(f"{self.host} does not know {type(op).__name__}", op.path)
            connection.send(op, token)
            self._live.sent_at = now
        else:
            Connection(self.scope, *self._limits).frame(op)  # what cannot be sent is refused now
            self._queue.append((op, token, now))

    def _add_auth(self, op: Auth, token: Any, now: float) -> None:
        """Add an identity, now and on every later connection. The same one is kept once."""
        identity = self._identities.add(op, token, now)
        if identity.proven:
            self._events.append(Settled(token, None))
        elif self.phase == OPEN and self._connection is not None and not identity.asked:
            self._prove(identity, self._connection)
            self._live.sent_at = now

    def _prove(self, identity: Identity, connection: Connection) -> None:
        identity.asked = True
        connection.send(identity.op, _Internal(identity))

    def _is_unknown(self, op: Op[Any]) -> bool:
        """Whether our host has answered such an operation with -6 before."""
        return self.host is not None and type(op) in self._unknown.get(self.host, ())

    def _remove_here(self, op: RemoveWatches, token: Any) -> bool:
        """Whether a removal needed no word to the server; it is done then."""
        slots = self._connection.replies if self._connection is not None else ()
        coming = [slot.op for slot in slots if slot.token is not None] + [item[0] for item in self._queue]
        where = self._notifier.removal(op, coming)
        if where == "server":
            return False
        self._events += self._notifier.removed(op, self.client_state)
        self._events.append(Settled(token, NoWatcherError(None, op.path) if where == "nothing" else None))
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
        if self._connection is not None:
            replies = self._connection.replies
            for i, slot in enumerate(replies):
                if slot.token is token:
                    replies[i] = slot._replace(token=None)
                    return False
        return False

    def close(self, now: float) -> None:
        """End the session: what is under way is still answered, then the server is told. Takes at most 5 s."""
        if self.phase == ENDED or self._closing is not None:
            return
        self._ready = None
        self._closing = now + min(CLOSE_LIMIT, max(self.timeout / 3, 0.5))
        self._fail_queue(failing(ConnectionClosedError))
        if self.phase == OPEN and self._connection is not None:
            self._connection.send(CloseSession(), _CLOSE)
        elif self.phase == PAUSING and self._session_id:
            self._dial(now)
        elif self.phase in (NEW, PAUSING) or (self.phase == DIALING and not self._session_id):
            self._end(KeeperState.CLOSED, ConnectionClosedError())

    def abort(self, reason: str) -> None:
        """End it here and now, without a word to the server: its driver has failed."""
        if self.phase != ENDED:
            self._end(KeeperState.CLOSED, ConnectionClosedError(reason))

    def _check_usable(self) -> None:
        if self.client_state == KeeperState.AUTH_FAILED and self.last_error is not None:
            raise AuthFailedError(str(self.last_error))
        if self.phase == ENDED or self._closing is not None:
            raise ConnectionClosedError()

    # ---------------------------------------------------------------- from the network

    def connected(self, now: float) -> None:
        """The driver has connected as `Dial` asked."""
        if self.phase != DIALING:
            return
        self.phase = HANDSHAKE
        self._connection = Connection(self.scope, *self._limits)
        self._connection.open(
            ConnectRequest(0, self._last_zxid, round(self._live.requested * 1000), self._session_id,
                           self._password, False)
        )  # fmt: skip

    def received(self, data: bytes, now: float) -> None:
        """Bytes have arrived. b"" is for `lost`, not for here."""
        connection = self._connection
        if connection is None:
            return
        waiting_for_handshake = self.phase == HANDSHAKE
        if not waiting_for_handshake:  # what a stranger says in its place is no sign of life of the session
            self._live.contact_at = now
        incoming = connection.received(data)
        if waiting_for_handshake and connection.response is not None:
            self._welcome(connection, now)
        if incoming:
            self._take(incoming, now)
        if connection is not self._connection:
            return  # the session ended while we looked at it
        if connection.error is not None:
            self._hang_up(connection.error, now)
        elif connection.partial_reply:
            self._live.reply_begun(now)

    def lost(self, reason: str, now: float) -> None:
        """The connection has ended, or could not be made."""
        if self.phase in (DIALING, HANDSHAKE, OPEN):
            if self.phase == HANDSHAKE:
                reason = f"{reason} during the handshake (server not serving, or behind this session)"
            self._drop(ConnectionLoss(f"{self.host}: {reason}"), now)

    def timed_out(self, now: float) -> None:
        """Time has passed: do what is due. Read what the socket holds before calling this."""
        if self._closing is not None and now >= self._closing:
            if self.phase in (DIALING, HANDSHAKE, OPEN):
                self._events.append(HangUp("close() took too long"))
            self._end(KeeperState.CLOSED, ConnectionClosedError())
            return
        if self.phase in (PAUSING, DIALING, HANDSHAKE) and self._session_id and now >= self._live.expires_at():
            if self.phase != PAUSING:
                self._events.append(HangUp("the session has expired"))
            self._expire(f"no server heard from for {self.timeout * 4 / 3:.1f} s")
            self._pause(now)
        elif self.phase == PAUSING and now >= self._due:
            self._dial(now)
        elif self.phase in (DIALING, HANDSHAKE) and now >= self._due:
            self._hang_up(ConnectionLoss(f"{self.host}: no session within the connect time-out"), now)
        elif self.phase == OPEN and now >= self._live.silent_at():
            self._hang_up(ConnectionLoss(f"{self.host}: no answer for {self.timeout * 2 / 3:.1f} s"), now)
        elif self.phase == OPEN and now >= self._ping_at() and self._connection is not None:
            self._connection.send(Ping(), None)
            self._live.sent_at = now
        self._give_up_waiting(now)

    # -------------------------------------------------------------------- connecting

    def _dial(self, now: float) -> None:
        self.phase = DIALING
        self.host = self._rotation.next()
        budget = self._connect_timeout or self.timeout / len(self._rotation.hosts)
        self._due = now + budget
        self._events.append(Dial(self.host, self._due))

    def _pause(self, now: float) -> None:
        self.phase = PAUSING
        self._due = now + (CLOSING_PAUSE if self._closing is not None else self._rotation.pause(self.timeout))

    def _welcome(self, connection: Connection, now: float) -> None:
        """The answer to the handshake is in."""
        response = connection.response
        assert response is not None  # noqa: S101  # the caller looked
        if response.timeout_ms <= 0:
            self._refused(now)
            return
        if response.session_id == 0:
            self._hang_up(ProtocolError(f"{self.host}: a session without a number"), now)
            return
        if self._session_id and response.session_id != self._session_id:  # ClickHouse Keeper, for one
            self._expire("the server opened another session instead", keep_connection=True)
        self._session_id, self._password = response.session_id, response.passwd or b""
        self._live.granted(response.timeout_ms / 1000, now)
        self.phase = OPEN
        if self._closing is not None:
            connection.send(CloseSession(), _CLOSE)
            return
        for identity in self._identities:
            self._prove(identity, connection)
        self._replay(connection)
        queue, self._queue = self._queue, deque()
        for op, token, _ in queue:
            if self._is_unknown(op):
                self._events.append(Settled(token, UnimplementedError(None, op.path)))
            else:
                connection.send(op, token)
        self._ready = None if self._unknown.get(self.host) else connection  # type: ignore[arg-type]
        self._announce()

    def _replay(self, connection: Connection) -> None:
        """Arm the watches again, as of the zxid up to which they have told all."""
        self._to_replay = 0
        for op in list(self._notifier.replay(self._told_zxid, self._limits[1])):
            try:
                connection.send(op, _REPLAY)
                self._to_replay += 1
            except FrameTooLargeError:  # of one path; its read was shorter by a few bytes
                self._events += self._notifier.too_long(op)

    def _refused(self, now: float) -> None:
        """The server has said: expired. Or the password is wrong; on the wire that is the same."""
        if not self._session_id:
            self._hang_up(ProtocolError(f"{self.host}: the server calls a session expired that is yet to be"), now)
            return
        self._events.append(HangUp("expired"))
        self._expire("the server does not know it any more")
        if self._closing is not None:
            self._end(KeeperState.CLOSED, ConnectionClosedError())
        else:
            self._dial(now)

    def _announce(self) -> None:
        """Report the connection, once no identity is left unproven."""
        connection = self._connection
        if self._announced == KazooState.CONNECTED or connection is None or connection.auth_replies:
            return
        self._rotation.succeeded()
        self.last_error = None
        self._state(KazooState.CONNECTED, KeeperState.CONNECTED, None)

    # ----------------------------------------------------------------------- replies

    def _take(self, incoming: List[Incoming], now: float) -> None:
        add, add_all = self._events.append, self._events.extend
        for op, token, err, outcome in incoming:
            if op is None:
                self._events += self._notifier.notified(outcome, self.client_state)
                continue
            self._live.replied_at = now
            here = self._connection is not None  # or a reply before this one was the end of it
            if type(token) is _Internal:
                if here:
                    self._internal(op, token, err, outcome, now)
            elif token is not None:
                if op.watches is not None and here and not isinstance(outcome, ProtocolError):
                    self._notifier.armed(op, err)
                elif isinstance(op, RemoveWatches) and err in (0, NoWatcherError.code):
                    add_all(self._notifier.removed(op, self.client_state))
                add(tuple.__new__(Settled, (token, outcome)))
            elif isinstance(op, RemoveWatches) and err == 0:
                add_all(self._notifier.removed(op, self.client_state))  # though nobody waits for it any more
            if err in _FATAL and self._connection is not None:
                self._fatal(op, err, outcome, now)

    def _fatal(self, op: Op[Any], err: int, error: ZookeeperError, now: float) -> None:
        """An answer after which the server hangs up."""
        if err == _UNIMPLEMENTED:  # it hangs up by itself, and the session survives; never ask this host again
            self._ready = None
            if self.host is not None:
                self._unknown.setdefault(self.host, set()).add(type(op))
            if not self.in_flight and self._closing is None:  # be faster, so that the next call is not lost with it
                self._hang_up(ConnectionLoss(f"{self.host}: it hangs up on those who ask what it does not know"), now)
                self._dial(now)
        elif err == _EXPIRED:
            self._events.append(HangUp(str(error)))
            self._fail_in_flight(failing(SessionExpiredError, str(error)))
            self._expire(str(error))
            self._pause(now)
        elif err == _MOVED:
            self._hang_up(ConnectionLoss(f"{self.host}: {error}"), now)
        else:
            self._events.append(HangUp(str(error)))
            self._end(KeeperState.AUTH_FAILED, error)

    def _internal(self, op: Op[Any], token: _Internal, err: int, outcome: Any, now: float) -> None:
        """The reply to an operation of ours."""
        if token is _CLOSE:
            self._events.append(HangUp("closed"))
            self._end(KeeperState.CLOSED, ConnectionClosedError())
        elif isinstance(token.what, Identity):
            if err == 0:
                token.what.proven = True
                tokens, token.what.tokens = token.what.tokens, []
                self._settle(tokens, None)
                self._announce()
            elif err not in (_EXPIRED, _MOVED):  # not accepted, whatever the number
                self._events.append(HangUp(str(outcome)))
                self._end(KeeperState.AUTH_FAILED, outcome)
        elif err == 0:
            self._to_replay -= 1
            self._events += self._notifier.replayed(op)
        elif err == _UNIMPLEMENTED and isinstance(op, SetWatches2):
            self._events += self._notifier.unsupported()
        else:
            self._hang_up(ConnectionLoss(f"{self.host}: watches could not be set again: {outcome}"), now)

    # ------------------------------------------------------------------------ failing

    def _settle(self, tokens: List[Any], outcome: Any) -> None:
        """All of these waited for the same."""
        self._events += [Settled(token, outcome) for token in tokens]

    def _fail_in_flight(self, error: Failure) -> None:
        """No answer will come any more to what was sent, or was about to be."""
        self._ready = None
        connection, self._connection = self._connection, None
        self._identities.disconnected()
        for slot in connection.replies if connection is not None else ():
            if connection is not None and slot.token is not None and type(slot.token) is not _Internal:
                self._events.append(Settled(slot.token, error(slot.op.path, connection.was_sent(slot))))

    def _fail_queue(self, error: Failure) -> None:
        """What waits for a connection waits in vain."""
        queue, self._queue = self._queue, deque()
        self._events += [Settled(token, error(op.path, False)) for op, token, _ in queue]

    def _give_up_waiting(self, now: float) -> None:
        """Nothing waits longer than a session timeout for a connection."""
        oldest = now - self.timeout
        error = failing(ConnectionLoss, f"no connection for {self.timeout:.1f} s; last: {self.last_error}")
        while self._queue and self._queue[0][2] <= oldest:
            op, token, _ = self._queue.popleft()
            self._events.append(Settled(token, error(op.path, False)))
        self._settle(self._identities.take_waiting(oldest), error(None, False))

    # ------------------------------------------------------------------------ endings

    def _hang_up(self, error: ZookeeperError, now: float) -> None:
        self._events.append(HangUp(str(error)))
        self._drop(error, now)

    def _drop(self, error: ZookeeperError, now: float) -> None:
        """The connection is gone, the session perhaps not."""
        was_open = self.phase == OPEN
        self.last_error = error
        if was_open:
            self._live.lost(now)
        if self._connection is not None:
            self._last_zxid = max(self._last_zxid, self._connection.last_zxid)
            if was_open and not self._to_replay:  # what has changed under watches yet to be set is yet to be told
                self._told_zxid = self._last_zxid
        self._fail_in_flight(failing(ConnectionLoss, str(error)))
        if self._closing is not None and (was_open or not self._session_id):
            self._end(KeeperState.CLOSED, ConnectionClosedError())  # no answer to a close is an answer, too
            return
        if self._announced == KazooState.CONNECTED:
            self._state(KazooState.SUSPENDED, KeeperState.CONNECTING, error)
        self._pause(now)

    def _expire(self, reason: str, keep_connection: bool = False) -> None:
        """The session is gone: everything is told and forgotten."""
        had_one = bool(self._session_id)
        self._session_id, self._password = 0, b"\0" * 16
        self._last_zxid = self._told_zxid = self._to_replay = 0
        self._live.forget()
        self.last_error = SessionExpiredError(f"the session has expired: {reason}")
        if not keep_connection:
            self._connection = self._ready = None
        self._fail_queue(failing(SessionExpiredError, str(self.last_error)))
        if had_one:
            self._state(KazooState.LOST, KeeperState.EXPIRED_SESSION, self.last_error)
            self._events += self._notifier.ended(KeeperState.EXPIRED_SESSION)
            self.client_state = KeeperState.CONNECTING

    def _end(self, client_state: str, error: ZookeeperError) -> None:
        """AUTH_FAILED or CLOSED: for ever."""
        self.phase, self.last_error = ENDED, error
        failure = AuthFailedError if client_state == KeeperState.AUTH_FAILED else ConnectionClosedError
        make = failing(failure, str(error))
        self._fail_in_flight(make)
        self._fail_queue(make)
        self._closing = None
        self._settle(self._identities.take_waiting(), make(None, False))
        self._state(KazooState.LOST, client_state, error)
        self._events += self._notifier.ended(client_state)
        self._session_id, self._password = 0, b"\0" * 16

    def _state(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        if (state, client_state) != (self._announced, self.client_state):
            self._announced, self.client_state = state, client_state
            self._events.append(StateChanged(state, client_state, error))
