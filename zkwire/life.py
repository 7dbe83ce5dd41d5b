"""The life of a session: how it is begun, goes on from connection to connection, and ends.

Owns phase, identity and announced state of the session, and each step from one phase to another. Must not know sockets,
nor who asks for a step: that is `Session`, by the rules written there.
"""

from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple

from .connection import MAX_FRAME, MAX_REQUEST, Connection
from .errors import (
    AuthFailedError, ConnectionClosedError, ConnectionLoss, FrameTooLargeError, ProtocolError, SessionExpiredError,
    TLSError, ZookeeperError,
)  # fmt: skip
from .exchange import Exchange, failing
from .hosts import Host
from .liveness import Liveness
from .records import ConnectRequest, KazooState, KeeperState, Scope
from .rotation import Rotation
from .sasl import Login, Mechanism
from .scout import Scout
from .session_events import Dial, Event, HangUp, StateChanged, TakeOver

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


class Life:
    """What a session is; all its steps are private to it and `Session`."""

    def __init__(
        self, hosts: Sequence[Host], *, timeout: float, random: Callable[[], float], scope: Optional[Scope] = None,
        client_id: Optional[Tuple[int, bytes]] = None, connect_timeout: Optional[float] = None, shuffle: bool = True,
        max_pending: int = 10_000, max_frame: int = MAX_FRAME, max_request: int = MAX_REQUEST, read_only: bool = False,
        sasl: Optional[Mechanism] = None, secure: bool = False,
    ) -> None:  # fmt: skip
        self._login = Login(sasl) if sasl is not None else None
        self._live = Liveness(timeout)
        self._events: List[Event] = []
        self._exchange = Exchange(
            scope if scope is not None else Scope(), self._events, max_pending, max_frame, max_request
        )
        self._max_pending = max_pending
        self.phase = NEW
        self.client_state = KeeperState.CONNECTING
        #: Why the last attempt or connection ended.
        self.last_error: Optional[ZookeeperError] = None
        self._connect_timeout = connect_timeout
        self._rotation = Rotation(hosts, shuffle, random)
        self._session_id, self._password = client_id if client_id else _NOBODY
        self._real = bool(self._session_id)  # made by a read-write server
        self._read_only = read_only
        self._scout = Scout(self._events, random)
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
