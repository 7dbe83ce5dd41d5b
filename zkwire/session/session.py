"""One session over many connections, without sockets, threads or clocks.

Owns when to dial, ping, give up and expire; what is replayed on a new connection; and what becomes of every operation.
Must not know sockets, futures or who calls watchers. `now` is monotonic time in seconds and never goes back; `token`
is whatever the caller wants to see again. Rules:

1. On each connect, in this order: handshake, SASL, auth, watches (with the last zxid from before), then user
   operations. Connected is reported once authentication is through. SASL is a part of the handshake: nothing
   else is said to a server before it has proved itself.
2. A request that was sent is never sent again. What is under way when a connection ends fails with `ConnectionLoss`,
   which says whether it was sent; what is submitted without a connection waits for one, at most a session timeout.
3. Two thirds of the timeout without a reply end a connection, however busy it is with sending or with events.
4. The server decides on expiry. Four thirds of the timeout without hearing from any server are expiry too
   (ZOOKEEPER-4508). After it, everything is told, forgotten, and a new session is opened.
5. AUTH_FAILED and CLOSED are for ever.
6. A read-only server makes sessions up: such an id proves nothing, and is presented to nobody. What it says about a
   session it does not know proves nothing either. While it serves us, a `ReadWriteProbe` looks for a read-write one.
7. Who is refused by TLS before there ever was a session, ends once all hosts were tried: nothing will change. Later on
   it may, as when a certificate is renewed too late.
"""

from __future__ import annotations

from typing import Optional, Tuple, Any, Callable, Union, List, Sequence

from ..wire.connection import Slot, Incoming, MAX_FRAME, Connection, MAX_REQUEST
from ..errors import (
    FrameTooLargeError, ZookeeperError, ConnectionLoss, ConnectionClosedError, ProtocolError, AuthFailedError,
    TLSError, SessionExpiredError,
)  # fmt: skip
from .requests import Requests, failing, UNIMPLEMENTED, EXPIRED, CONSEQUENCES, CLOSE, LOGIN, MOVED, Internal
from .host_provider import Host
from .auth import Identity
from .heartbeat import Heartbeat
from ..wire.operation import Op
from ..ops import Ping
from ..wire.messages import Scope, ConnectRequest
from ..values import KeeperState, KazooState
from .host_provider import HostProvider
from ..sasl import Mechanism
from .auth import Login
from .rw_probe import ReadWriteProbe
from .actions import TakeOver, HangUp, Dial, StateChanged, Event

#: One server gets no longer to answer the handshake, in seconds, unless `connect_timeout` says so: one that accepts
#: connections while it is starting would otherwise hold a client with a long session timeout.
LONGEST_CONNECT = 10.0
#: close() takes no longer, in seconds.
CLOSE_LIMIT = 5.0
#: Who goes to another server waits no longer than this, in seconds, for what is under way at the present one.
LEAVING_LIMIT = 1.0
#: Between attempts to reach a server only to close the session, in seconds.
CLOSING_PAUSE = 0.1
#: What is presented where there is no session.
_NOBODY = (0, b"\0" * 16)
# Where we are: not started; pausing before an attempt; waiting for the driver to connect; for the answer to the
# handshake, or of SASL; connected; ended.
NEW, PAUSING, DIALING, HANDSHAKE, OPEN, ENDED = "new", "pausing", "dialing", "handshake", "open", "ended"


class Session:
    """The session core. Times are seconds; all arguments are keyword-only but the hosts.

    Feed it: `start`, `submit`, `connected`, `received`, `lost`, `timed_out`, `close`. After each of these,
    send `data_to_send` (and say so with `sent`), act on `events`, and call `timed_out` at `deadline`.
    """

    def __init__(
        self, hosts: Sequence[Host], *, timeout: float, random: Callable[[], float], scope: Optional[Scope] = None,
        client_id: Optional[Tuple[int, bytes]] = None, connect_timeout: Optional[float] = None, shuffle: bool = True,
        max_pending: int = 10_000, max_frame: int = MAX_FRAME, max_request: int = MAX_REQUEST, read_only: bool = False,
        sasl: Optional[Mechanism] = None, secure: bool = False,
    ) -> None:  # fmt: skip
        self._login = Login(sasl) if sasl is not None else None
        self._live = Heartbeat(timeout)
        self._events: List[Event] = []
        self._exchange = Requests(
            scope if scope is not None else Scope(), self._events, max_pending, max_frame, max_request
        )
        self._max_pending = max_pending
        self.phase = NEW
        self.client_state = KeeperState.CONNECTING
        #: Why the last attempt or connection ended.
        self.last_error: Optional[ZookeeperError] = None
        self._connect_timeout = connect_timeout
        self._rotation = HostProvider(hosts, shuffle, random)
        self._session_id, self._password = client_id if client_id else _NOBODY
        self._real = bool(self._session_id)  # made by a read-write server
        self._read_only = read_only
        self._scout = ReadWriteProbe(self._events, random)
        self._announced = KazooState.LOST
        self._due = 0.0  # when the pause ends, or the attempt
        self._closing: Optional[float] = None
        self._leaving: Optional[float] = None  # until when we wait for answers before we go to another server
        self._secure = secure
        self._refusal: Optional[TLSError] = None
        self._served = False

    # -------------------------------------------------------------------- what it shows

    @property
    def timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._live.timeout

    @property
    def host(self) -> Optional[Host]:
        """The server we are connected to, or trying to reach."""
        return self._exchange.host

    @property
    def in_flight(self) -> int:
        """Operations that wait for an answer of the server."""
        return self._exchange.in_flight

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        connection = self._exchange.connection
        return connection.unsent if connection is not None else 0

    # -------------------------------------------------------------------- connecting

    def _dial(self, now: float) -> None:
        self.phase = DIALING
        self._exchange.host = host = self._rotation.next()
        self._due = now + self._budget()
        self._events.append(Dial(host, self._due))

    def _budget(self) -> float:
        return self._connect_timeout or min(self.timeout / len(self._rotation.hosts), LONGEST_CONNECT)

    def _greet(self, read_only: bool, now: float) -> Connection:
        """A new connection with the handshake on its way."""
        self._live.greeted(now)
        connection = self._exchange.connect()
        zxid, timeout_ms = self._exchange.seen_zxid, round(self._live.requested * 1000)
        session_id, password = (self._session_id, self._password) if self._real else _NOBODY
        connection.open(ConnectRequest(0, zxid, timeout_ms, session_id, password, read_only))
        return connection

    def _pause(self, now: float) -> None:
        self.phase = PAUSING
        self._due = now + (CLOSING_PAUSE if self._closing is not None else self._rotation.pause(self.timeout))

    def _welcome(self, connection: Connection, now: float) -> None:
        """The answer to the handshake is in."""
        response = connection.response
        assert response is not None  # noqa: S101  # the caller looked
        stranger = response.timeout_ms <= 0 or (self._real and response.session_id != self._session_id)
        if response.read_only and (stranger or not self._read_only):
            reason = "it is read-only, and does not know this session" if self._real else "it is read-only"
            self._hang_up(ConnectionLoss(f"{self.host}: {reason}"), now)
            return
        if response.timeout_ms <= 0:
            self._refused(now)
            return
        if response.session_id == 0:
            self._hang_up(ProtocolError(f"{self.host}: a session without a number"), now)
            return
        if self._real and response.session_id != self._session_id:  # ClickHouse Keeper, for one
            self._expire("the server opened another session instead", keep_connection=True)
        self._session_id, self._password = response.session_id, response.passwd or b""
        self._real = self._real or not response.read_only
        self._live.granted(response.timeout_ms / 1000, now)
        if self._login is not None:
            self._prove(now, self._login.begin)
        else:
            self._open(connection, now)

    def _prove(self, now: float, step: Callable[..., Optional[bytes]], *arguments: Any) -> None:
        """Take a step of SASL. Nothing else is said until the server has proved itself too."""
        try:
            token = step(*arguments)
            if token is not None:
                self._exchange.say(token)
        except (AuthFailedError, FrameTooLargeError) as error:
            self._refuse(AuthFailedError(str(error)))
        else:
            if token is None and self._exchange.connection is not None:
                self._open(self._exchange.connection, now)

    def _open(self, connection: Connection, now: float) -> None:
        """We are in."""
        self.phase = OPEN
        if self._closing is not None:
            self._exchange.close()
            return
        self._exchange.opened(connection)
        self._announce()
        if connection.response is not None and connection.response.read_only:
            self._scout.begin(now)

    def _refused(self, now: float) -> None:
        """The server has said: expired. Or the password is wrong; on the wire that is the same."""
        if not self._real:
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
        connection = self._exchange.connection
        if self._announced == KazooState.CONNECTED or connection is None or connection.auth_replies:
            return
        self._rotation.succeeded()
        self._served = True
        self.last_error = None
        read_only = connection.response is not None and connection.response.read_only
        self._state(KazooState.CONNECTED, KeeperState.CONNECTED_RO if read_only else KeeperState.CONNECTED, None)

    # ------------------------------------------------------------------- to another server

    def _begin_to_leave(self, now: float) -> None:
        """Send nothing more here: what is submitted waits for the next server."""
        self._exchange.hold()
        self._leaving = now + LEAVING_LIMIT
        self._leave(now)

    def _leave(self, now: float) -> None:
        """Go to another server, once what is under way is answered: to the one that has welcomed us, or the next."""
        if self._leaving is None or (self.in_flight and now < self._leaving):
            return
        scout, connection, host = self._scout, self._scout.connection, self._scout.host
        error = ConnectionLoss(f"{self.host}: going to another server")
        if not scout.welcomed or connection is None or self._exchange.seen_zxid > scout.zxid:
            self._hang_up(error, now)
            self._dial(now)
            return
        self._leaving = None
        scout.dismissed()
        self._events.append(TakeOver())
        self._exchange.disconnected(failing(ConnectionLoss, str(error)), True)
        if self._announced == KazooState.CONNECTED:
            self._state(KazooState.SUSPENDED, KeeperState.CONNECTING, error)
        self._exchange.connection, self._exchange.host = connection, host
        self.phase, self._due = HANDSHAKE, now + self._budget()
        self._welcome(connection, now)

    def _stay(self) -> None:
        """Go nowhere else."""
        self._leaving = None
        self._scout.stop()

    # ------------------------------------------------------------------------ endings

    def _hang_up(self, error: ZookeeperError, now: float) -> None:
        self._events.append(HangUp(str(error)))
        self._drop(error, now)

    def _drop(self, error: ZookeeperError, now: float) -> None:
        """The connection is gone, the session perhaps not."""
        was_open, said_all = self.phase == OPEN, self.unsent == 0
        self.last_error = error
        self._stay()
        if was_open:
            self._live.lost(now)
        self._exchange.disconnected(failing(ConnectionLoss, str(error)), was_open)
        if self._closing is not None and (was_open and said_all or not self._real):
            self._end(KeeperState.CLOSED, ConnectionClosedError())  # no answer to a close is an answer, too
            return
        if self._announced == KazooState.CONNECTED:
            self._state(KazooState.SUSPENDED, KeeperState.CONNECTING, error)
        if isinstance(error, TLSError):
            self._refusal = error
        if self._refusal is not None and not self._served and self._rotation.all_tried:
            self._end(KeeperState.CLOSED, self._refusal)
            return
        self._pause(now)

    def _refuse(self, error: ZookeeperError) -> None:
        """The server does not want us, or we do not want the server."""
        self._events.append(HangUp(str(error)))
        self._end(KeeperState.AUTH_FAILED, error)

    def _expire(self, reason: str, keep_connection: bool = False) -> None:
        """The session is gone: everything is told and forgotten."""
        had_one = bool(self._session_id)
        (self._session_id, self._password), self._real = _NOBODY, False
        self._live.forget()
        self._stay()
        self.last_error = SessionExpiredError(f"the session has expired: {reason}")
        failure = failing(SessionExpiredError, str(self.last_error))
        if not keep_connection:
            self._exchange.disconnected(failure, False)
        self._exchange.expired(failure)
        if had_one:
            self._state(KazooState.LOST, KeeperState.EXPIRED_SESSION, self.last_error)
            self._exchange.end_watches(KeeperState.EXPIRED_SESSION)
            self.client_state = KeeperState.CONNECTING

    def _end(self, client_state: str, error: ZookeeperError) -> None:
        """AUTH_FAILED or CLOSED: for ever."""
        self.phase, self.last_error = ENDED, error
        failure = AuthFailedError if client_state == KeeperState.AUTH_FAILED else ConnectionClosedError
        self._exchange.end(failing(failure, str(error)))
        self._closing = None
        self._stay()
        self._state(KazooState.LOST, client_state, error)
        self._exchange.end_watches(client_state)
        (self._session_id, self._password), self._real = _NOBODY, False

    def _state(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        if (state, client_state) != (self._announced, self.client_state):
            self._announced, self.client_state = state, client_state
            self._events.append(StateChanged(state, client_state, error))

    # ------------------------------------------------------------------- what it shows

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
        """Session id and password, or None while there is no session. The password is a secret.

        In the state CONNECTED_RO they were made up, and are of use to nobody.
        """
        return (self._session_id, self._password) if self._session_id else None

    @property
    def scope(self) -> Scope:
        """Chroot and default ACL."""
        return self._exchange.scope

    @property
    def pending(self) -> int:
        """Operations submitted and not yet settled."""
        return self._exchange.pending

    def slots(self) -> Sequence[Slot]:
        """What waits for an answer now."""
        connection = self._exchange.connection
        return tuple(connection.replies) if connection is not None else ()

    @property
    def idle(self) -> bool:
        """Whether the newest operation is the only one under way, or there is none."""
        connection = self._exchange.connection
        return connection is None or len(connection.replies) <= 1

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the socket; report what it took with `sent`."""
        connection = self._exchange.connection
        return connection.data_to_send() if connection is not None else b""

    def sent(self, count: int) -> None:
        """The socket took `count` bytes of `data_to_send`."""
        connection = self._exchange.connection
        if connection is not None:
            connection.sent(count)

    def lagging(self, count: int) -> None:
        """Of what `sent` was told of, `count` bytes have not left this process yet, and perhaps never will."""
        connection = self._exchange.connection
        if connection is not None:
            connection.lag = count

    @property
    def news(self) -> bool:
        """Whether `events` has something to say."""
        return bool(self._events)

    def events(self) -> List[Event]:
        """What has happened since the last call, in order."""
        events = self._events[:]
        self._events.clear()
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
            times += [at for at in (self._leaving, self._scout.deadline()) if at is not None]
        since = self._exchange.waiting_since()
        if since is not None:
            times.append(since + self.timeout)
        return min(times) if times else None

    def _ping_at(self) -> float:
        connection = self._exchange.connection
        return self._live.silent_at() if connection is not None and connection.pinging else self._live.ping_at()

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
        ready = self._exchange.ready
        if ready is not None and op.plain and len(ready.replies) < self._max_pending:
            ready.send(op, token)
            live = self._live
            live.sent_at = now
            if now >= live.mark_due:
                live.mark(ready.written, now)
            return
        self._check_usable()
        if self._exchange.submit(op, token, now, self.phase == OPEN and self._leaving is None):
            self._sent(now)

    def _sent(self, now: float) -> None:
        """Something was sent that will be answered."""
        connection = self._exchange.connection
        self._live.sent_at = now
        if connection is not None and now >= self._live.mark_due:
            self._live.mark(connection.written, now)

    def withdraw(self, token: Any) -> bool:
        """Take an operation back that is still queued: True if it was, and now is never sent."""
        return self._exchange.withdraw(token)

    def abandon(self, token: Any) -> bool:
        """Nobody waits for `token` any more. True if it was still queued: then it is never sent."""
        return self._exchange.abandon(token)

    def set_hosts(self, hosts: Sequence[Host], now: float) -> None:
        """Other servers are to be tried from now on. If ours is none of them, or is to be relieved, we go to another.

        Raises as `submit` does for a session that has ended.
        """
        self._check_usable()
        elsewhere = self._rotation.replace(hosts, self.host)
        if self._scout.host is not None and self._scout.host not in hosts:
            self._scout.dismiss(now)
        if self.phase == OPEN and elsewhere and self._leaving is None:
            self._begin_to_leave(now)
        elif self.phase in (DIALING, HANDSHAKE) and self.host not in hosts:
            self._hang_up(ConnectionLoss(f"{self.host}: no longer one of our servers"), now)
            self._dial(now)

    def close(self, now: float) -> None:
        """End the session: what is under way is still answered, then the server is told. Takes at most 5 s."""
        if self.phase == ENDED or self._closing is not None:
            return
        self._closing = now + min(CLOSE_LIMIT, max(self.timeout / 3, 0.5))
        if self.phase == OPEN:
            self._exchange.close()
        self._exchange.fail_queue(failing(ConnectionClosedError))
        self._stay()
        if self.phase == OPEN:
            return
        if self.phase == PAUSING and self._real:
            self._dial(now)
        elif self.phase in (NEW, PAUSING) or (self.phase == DIALING and not self._real):
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
        self._exchange.connection = self._greet(self._read_only, now)

    def received(self, data: bytes, now: float) -> None:
        """Bytes have arrived. b"" is for `lost`, not for here."""
        connection = self._exchange.connection
        if connection is None:
            return
        waiting_for_handshake = connection.response is None
        if not waiting_for_handshake:  # what a stranger says in its place is no sign of life of the session
            self._live.contact_at = now
        incoming = connection.received(data)
        if waiting_for_handshake and connection.response is not None:
            self._welcome(connection, now)
        if incoming:
            self._take(incoming, now)
        if connection is not self._exchange.connection:
            return  # the session ended while we looked at it
        self._live.answered(connection.answered)
        if connection.error is not None:
            self._hang_up(connection.error, now)
        elif connection.partial_reply:
            self._live.reply_begun(now)
        if self._leaving is not None:
            self._leave(now)

    def lost(self, reason: Union[str, TLSError], now: float) -> None:
        """The connection has ended, or could not be made."""
        if self.phase in (DIALING, HANDSHAKE, OPEN):
            if isinstance(reason, TLSError):
                self._drop(TLSError(f"{self.host}: {reason}"), now)
                return
            if self.phase == HANDSHAKE and self._login is not None and self._exchange.in_flight:
                reason += " during SASL authentication"
                refused = self._login.hung_up(len(self._rotation.hosts))
                if refused is not None:
                    self._end(KeeperState.AUTH_FAILED, refused)
                    return
            elif self.phase == HANDSHAKE:
                reason += " during the handshake (server not serving, behind this session, or of another ensemble"
                reason += ")" if self._secure else "; or this is a TLS port)"
            self._drop(ConnectionLoss(f"{self.host}: {reason}"), now)

    def look_connected(self, now: float) -> None:
        """The driver has connected as `Look` asked; then send `look_data_to_send`."""
        if self._scout.host is not None:
            self._scout.connected(self._greet(False, now), self._exchange.seen_zxid)

    def look_data_to_send(self) -> bytes:
        """All that is ever sent on the second connection, once."""
        data = bytes(self._scout.data_to_send())
        self._scout.sent(len(data))
        return data

    def look_received(self, data: bytes, now: float) -> None:
        """Bytes have arrived on the second connection."""
        if self._scout.received(data, now):
            self._begin_to_leave(now)

    def look_lost(self, now: float) -> None:
        """The second connection has ended, or could not be made."""
        self._scout.lost(now)

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
            self._hang_up(ConnectionLoss(f"{self.host}: {self._live.silence(now)}"), now)
        elif self.phase == OPEN and now >= self._ping_at() and self._exchange.connection is not None:
            self._exchange.connection.send(Ping(), None)
            self._sent(now)
        if self._leaving is not None:
            self._leave(now)
        if self._scout.timed_out(now):
            self._scout.look(self._rotation.other(self.host), self._budget(), now)
        reason = f"no connection for {self.timeout:.1f} s; last: {self.last_error}"
        self._exchange.give_up(now - self.timeout, failing(ConnectionLoss, reason))

    # ----------------------------------------------------------------------- replies

    def _take(self, incoming: List[Incoming], now: float) -> None:
        exchange, live = self._exchange, self._live
        for reply in incoming:
            op, token, err, outcome = reply
            if op is None:
                exchange.event(outcome, self.client_state)
                continue
            live.replied_at = now
            if type(token) is not Internal:
                exchange.settle(reply, self.client_state)
            elif exchange.connection is not None:  # or a reply before this one was the end of it
                self._internal(op, token, err, outcome, now)
            if err in CONSEQUENCES and exchange.connection is not None:
                self._consequence(op, err, outcome, now)
        if self.phase == OPEN:
            exchange.taken()

    def _consequence(self, op: Op[Any], err: int, error: ZookeeperError, now: float) -> None:
        """An answer after which the server hangs up."""
        if err == UNIMPLEMENTED:  # it hangs up by itself, and the session survives
            if self._exchange.unimplemented(op) and not self.in_flight and self._closing is None:
                reason = "it hangs up on those who ask what it does not know"
                self._hang_up(ConnectionLoss(f"{self.host}: {reason}"), now)  # before the next call is lost with it
                self._dial(now)
        elif err == EXPIRED:
            self._events.append(HangUp(str(error)))
            self._exchange.disconnected(failing(SessionExpiredError, str(error)), False)
            self._expire(str(error))
            self._pause(now)
        elif err == MOVED:
            self._hang_up(ConnectionLoss(f"{self.host}: {error}"), now)
        else:
            self._refuse(error)

    def _internal(self, op: Op[Any], token: Internal, err: int, outcome: Any, now: float) -> None:
        """The reply to an operation of ours."""
        if token is CLOSE:
            self._events.append(HangUp("closed"))
            self._end(KeeperState.CLOSED, ConnectionClosedError())
        elif err in (EXPIRED, MOVED):
            pass  # which says nothing about us; see `_consequence`
        elif token is LOGIN and self._login is not None:
            self._prove(now, self._login.answer, outcome)
        elif isinstance(token.what, Identity):
            if err == 0:
                self._exchange.proven(token.what)
                self._announce()
            else:  # not accepted, whatever the number
                self._refuse(outcome)
        elif not self._exchange.replayed(op, err, token):
            self._hang_up(ConnectionLoss(f"{self.host}: watches could not be set again: {outcome}"), now)
