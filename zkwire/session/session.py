"""One session over many links, without sockets, threads or clocks.

Owns when to dial, ping, give up and expire, and the consequences of each reply. Must not know sockets, futures or what
calls watchers. `now` is monotonic time in seconds and never goes back; `token` is any value of the driver, which the
core returns with the reply. Rules:

1. On each link, in this order: handshake, SASL, auth, watches (with the last zxid from before), then user operations.
   Connected is reported once authentication is done. SASL is a part of the handshake: the client sends no other
   request before the server has authenticated itself.
2. A request that was sent is never sent again. A request in flight when a link ends fails with `ConnectionLoss`, which
   says whether it was sent; a request submitted without a link waits for one, at most a session timeout.
3. Two thirds of the timeout without a reply end a link, however many requests are sent or events received.
4. The server decides on expiry. Four thirds of the timeout without hearing from any server are expiry too
   (ZOOKEEPER-4508). Then every caller and watcher gets the error, all state is dropped, and a new session is opened.
5. AUTH_FAILED and CLOSED are final.
6. A read-only server invents session ids: such an id proves nothing, and is sent to no other server. Before 3.7 it also
   resumes sessions that the ensemble may have expired: an answer of a read-only server does not prove that the
   session is alive. While one serves the session, a `ReadWriteProbe` looks for a read-write server.
7. A client that fails in TLS before it ever had a session ends once all servers were tried: a retry would not help.
   With a session it goes on: the cause may pass, such as a certificate that is renewed too late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple, Union

from ..errors import (
    AuthFailedError, ConnectionClosedError, ConnectionLoss, FrameTooLargeError, ProtocolError,
    SessionClosedRequireSaslError, SessionExpiredError, TLSError, ZookeeperError,
)  # fmt: skip
from ..ops import Op, Ping
from ..values import KazooState, KeeperState
from ..wire.connection import MAX_FRAME, MAX_REQUEST, Connection, Incoming
from ..wire.messages import ConnectRequest, Scope
from .actions import Action, Dial, HangUp, Prove, Replied, StateChanged
from .auth import AuthInfo, Login, Step
from .heartbeat import Heartbeat
from .host_provider import BRIEF, Host, HostProvider
from .link import CLOSE, LOGIN, Internal, Link
from .requests import (
    AUTH_FAILED, CONSEQUENCES, EXPIRED, MOVED, NEEDS_SASL, UNIMPLEMENTED, Requests, failing,
)  # fmt: skip
from .rw_probe import ReadWriteProbe

if TYPE_CHECKING:
    from ..sasl import Mechanism

#: The longest time for one server to answer the handshake, in seconds, unless `connect_timeout` sets it: a server that
#: accepts connections while it starts would otherwise hold a client with a long session timeout.
LONGEST_CONNECT = 10.0
#: The longest time for close(), in seconds.
CLOSE_LIMIT = 5.0
#: The longest time a session that moves to another server waits for its requests in flight, in seconds.
LEAVING_LIMIT = 1.0
#: The pause between attempts to reach a server only to close the session, in seconds.
CLOSING_PAUSE = 0.1
#: The default limit for the bytes of all pending requests.
MAX_PENDING_BYTES = 64 * 1024 * 1024
#: The id and password sent in the handshake without a session.
_NO_SESSION = (0, b"\0" * 16)
#: Types of the tokens of the session's own operations; pings have none.
_OWN = frozenset((Internal, type(None)))
# The phases: not started; pausing before an attempt; waiting for the driver to connect; waiting for the answer to the
# handshake, or for SASL; connected; ended.
NEW, PAUSING, DIALING, HANDSHAKE, OPEN, ENDED = "new", "pausing", "dialing", "handshake", "open", "ended"


class Session:
    """The session core. Times are seconds.

    Inputs: `start`, `submit`, `connected`, `received`, `proved`, `lost`, `timed_out`, `close`. After each of these the
    driver sends the bytes of the links, performs `actions`, and calls `timed_out` at `deadline`. Inputs about a link
    that the core has given up are ignored.
    """

    def __init__(
        self, hosts: Sequence[Host], *, timeout: float, random: Callable[[], float], scope: Optional[Scope] = None,
        client_id: Optional[Tuple[int, bytes]] = None, connect_timeout: Optional[float] = None, shuffle: bool = True,
        max_pending: int = 10_000, max_pending_bytes: int = MAX_PENDING_BYTES, max_frame: int = MAX_FRAME,
        max_request: int = MAX_REQUEST, read_only: bool = False, sasl: Optional[Mechanism] = None, secure: bool = False,
    ) -> None:  # fmt: skip
        #: The actions that `actions` takes.
        self.queued: List[Action] = []
        #: Called with (token, outcome) instead of a `Replied` action, if no action is queued before it.
        self.on_reply: Optional[Callable[[Any, Any], object]] = None
        #: The link to the session's server, or to the one that is being tried; None in the pauses between.
        self.link: Optional[Link] = None
        self.phase = NEW
        self.client_state = KeeperState.CONNECTING
        #: The listeners' view, one of `KazooState`.
        self.state = KazooState.LOST
        #: Session id and password, or None while there is no session. The password is a secret.
        #: In the state CONNECTED_RO the read-only server invented them, and no other server knows them.
        self.client_id: Optional[Tuple[int, bytes]] = client_id if client_id is not None and client_id[0] else None
        #: The cause of the end of the last attempt or connection.
        self.last_error: Optional[ZookeeperError] = None
        #: Chroot and default ACL.
        self.scope = scope if scope is not None else Scope()
        self._login = Login(sasl) if sasl is not None else None
        self._proving = False  # whether the mechanism is asked for its next step
        self._heartbeat = Heartbeat(timeout)
        self._requests = Requests(
            self.scope, self.queued, max_pending, max_pending_bytes, max_frame, max_request
        )
        self._max_pending, self._max_bytes = max_pending, max_pending_bytes
        #: The operations of recipes in flight, which do not count for `max_pending`.
        self.windows = self._requests.windows
        self._connect_timeout = connect_timeout
        self._hosts = HostProvider(hosts, shuffle, random)
        self._real = self.client_id is not None  # made by a read-write server
        self._read_only = read_only
        self._probe = ReadWriteProbe(self.queued, random)
        self._pause_ends = 0.0
        self._closing: Optional[float] = None
        self._leaving: Optional[float] = None  # the deadline of the requests in flight before the session moves
        self._secure = secure
        self._refusal: Optional[TLSError] = None
        self._served = False

    # ------------------------------------------------------------------- what it shows

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts, in the order they are tried."""
        return tuple(self._hosts.hosts)

    @property
    def host(self) -> Optional[Host]:
        """The host the session is connected to, or the one that is being tried."""
        return self.link.host if self.link is not None else None

    @property
    def timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._heartbeat.timeout

    def state_at(self, now: float) -> str:
        """`state`, but SUSPENDED once the lease has ended: the server may have expired the session."""
        overdue = self.state == KazooState.CONNECTED and now >= self._heartbeat.lease_ends_at()
        return KazooState.SUSPENDED if overdue else self.state

    def client_state_at(self, now: float) -> str:
        """`client_state`, but CONNECTING once the lease has ended."""
        return self.client_state if self.state_at(now) == self.state else KeeperState.CONNECTING

    @property
    def pending(self) -> int:
        """The number of operations that were submitted and have no reply yet."""
        return self._requests.pending

    @property
    def in_flight(self) -> int:
        """The number of operations that wait for a reply of the server."""
        link = self.link
        connection = link.connection if link is not None else None
        return len(connection.replies) if connection is not None else 0

    @property
    def idle(self) -> bool:
        """Whether at most one operation is in flight."""
        return self.in_flight <= 1

    @property
    def unsent(self) -> int:
        """The number of bytes that wait to be sent on the session's link."""
        return self.link.unsent if self.link is not None else 0

    def actions(self) -> List[Action]:
        """Take the actions since the last call, in order."""
        actions = self.queued[:]
        self.queued.clear()
        return actions

    def deadline(self) -> Optional[float]:
        """The time at which to call `timed_out`; None for never."""
        times = [self._closing] if self._closing is not None else []
        if self.phase == PAUSING:
            times.append(self._pause_ends)
        elif self.phase in (DIALING, HANDSHAKE) and self.link is not None:
            times.append(self.link.deadline)
        elif self.phase == OPEN:
            times += (self._heartbeat.silent_at(), self._ping_at())
            times += [at for at in (self._leaving, self._probe.deadline()) if at is not None]
        if self._may_expire():
            times.append(self._heartbeat.expires_at())
        since = self._requests.waiting_since()
        if since is not None:
            times.append(since + self.timeout)
        return min(times) if times else None

    def _may_expire(self) -> bool:
        """Whether silence alone may end the session: no server that knows the session is connected."""
        if self.client_id is None:
            return False
        if self.phase == OPEN:
            return self._real and self.link is not None and self.link.read_only
        return self.phase in (PAUSING, DIALING, HANDSHAKE)

    def _ping_at(self) -> float:
        connection = self._requests.connection
        pinging = connection is not None and connection.pinging
        return self._heartbeat.silent_at() if pinging else self._heartbeat.ping_at()

    # ------------------------------------------------------------------ from the user

    def start(self, now: float) -> None:
        """Begin to connect. Raises `ConnectionClosedError` if the session was closed."""
        self._check_usable()
        if self.phase == NEW:
            self._heartbeat.started(now)
            self._dial(now)

    def submit(self, op: Op[Any], token: Any, now: float, force: bool = False) -> None:
        """Send an operation, or queue it until there is a link; each operation gets one reply with this token.

        `force`: ignore the limit `max_pending`. Raises, with nothing done: `ValueError` for an operation that
        cannot be sent, `FrameTooLargeError`, `TooManyPendingError`, `UnimplementedError` (this server has refused it
        before), `ConnectionClosedError`, `AuthFailedError`.
        """
        ready = self._requests.ready
        if ready is not None and op.plain:
            replies = ready.replies
            within = not replies or ready.written - replies[0].end < self._max_bytes
            if within and len(replies) < self._max_pending or force:
                ready.send(op, token)
                heartbeat = self._heartbeat
                heartbeat.sent_at = now
                if now >= heartbeat.mark_due:
                    heartbeat.mark(ready.written, now)
                return
        self._check_usable()
        if self._requests.submit(op, token, now, self.phase == OPEN and self._leaving is None, force):
            self._sent(now)

    def _sent(self, now: float) -> None:
        """A request was sent that keeps the session alive and will get a reply."""
        connection = self._requests.connection
        self._heartbeat.sent_at = now
        if connection is not None and now >= self._heartbeat.mark_due:
            self._heartbeat.mark(connection.written, now)

    def cancel(self, token: Any, forget: bool = False) -> bool:
        """Take an operation back: True if it was not sent, and now never is. Takes constant time.

        False if it was sent. With `forget`, its reply is then not reported and its one-shot watch not taken; without
        `forget` nothing changes.
        """
        return self._requests.cancel(token, forget)

    def set_hosts(self, hosts: Sequence[Host], now: float) -> None:
        """Use these servers from now on. If the present one is not among them, or has to give up a share of its
        clients, the session moves to another.

        Raises as `submit` does for a session that has ended.
        """
        self._check_usable()
        elsewhere = self._hosts.replace(hosts, self.host)
        probed = self._probe.link
        if probed is not None and probed.host not in hosts:
            self._probe.dismiss(now, "no longer one of the servers")
        if self.phase == OPEN and elsewhere and self._leaving is None:
            self._begin_to_leave(now)
        elif self.phase in (DIALING, HANDSHAKE) and self.host not in hosts:
            self._hang_up(ConnectionLoss(f"{self.host}: no longer one of the servers"), now)
            self._dial(now)

    def close(self, now: float) -> None:
        """End the session: requests in flight still get replies, then the close request is sent. Takes at most 5 s."""
        if self.phase == ENDED or self._closing is not None:
            return
        self._closing = now + min(CLOSE_LIMIT, max(self.timeout / 3, 0.5))
        if self.phase == OPEN:
            self._requests.close()
        self._requests.fail_queue(failing(ConnectionClosedError))
        self._stay()
        if self.phase == OPEN:
            return
        if self.phase == PAUSING and self._real:
            self._dial(now)
        elif self.phase in (NEW, PAUSING) or (self.phase == DIALING and not self._real):
            self._end(KeeperState.CLOSED, ConnectionClosedError())

    def abort(self, reason: str) -> None:
        """End the session at once, without a close request: its driver has failed."""
        if self.phase != ENDED:
            self._end(KeeperState.CLOSED, ConnectionClosedError(reason))

    def _check_usable(self) -> None:
        if self.client_state == KeeperState.AUTH_FAILED and self.last_error is not None:
            error = self.last_error
            raise type(error)(str(error)) if isinstance(error, AuthFailedError) else AuthFailedError(str(error))
        if self.phase == ENDED or self._closing is not None:
            reason = str(self.last_error) if isinstance(self.last_error, ConnectionClosedError) else None
            raise ConnectionClosedError(reason)

    # ---------------------------------------------------------------- from the network

    def wants(self, link: Link) -> bool:
        """Whether a link is still one of the session's, and not given up."""
        return link is self.link or link is self._probe.link

    def candidates(self, link: Link, addresses: Sequence[Any]) -> List[Any]:
        """The addresses of a link's host, just resolved, in the order they are to be tried.

        The link's deadline becomes earlier where there are several: each address gets its share of the timeout.
        """
        ordered = self._hosts.candidates(link.host, addresses)
        if link is self.link:
            link.deadline = min(link.deadline, link.began + self._budget())
        return ordered

    def tried(self, link: Link, address: Any) -> None:
        """The driver begins to connect to an address of a link's host."""
        self._hosts.tried(link.host, address)

    def connected(self, link: Link, now: float, address: Any = None) -> None:
        """The driver has connected as `Dial` asked, to this address."""
        if link is self.link and self.phase == DIALING:
            self.phase = HANDSHAKE
            link.address = address
            self._greet(link, self._read_only, now)
        elif link is self._probe.link:
            link.address = address
            self._greet(link, False, now)

    def received(self, link: Link, data: bytes, now: float) -> None:
        """Bytes have arrived on a link. For the end of the connection (b"") call `lost` instead."""
        connection = link.connection
        if link is not self.link or connection is None:
            if link is self._probe.link and self._probe.received(data, now):
                self._begin_to_leave(now)
            return
        greeted = connection.response is not None
        incoming = connection.received(data)
        if not greeted and connection.response is not None:
            self._welcome(link, connection, now)
        elif link.counts:
            self._heartbeat.contact_at = now
        if incoming:
            self._take(incoming, now)
        if link is not self.link:
            return  # the link ended while its bytes were processed
        if self._heartbeat.marks:
            self._heartbeat.answered(connection.answered)
        if connection.error is not None:
            self._hang_up(connection.error, now)
        elif connection.kept and connection.partial_reply:
            self._heartbeat.reply_begun(now)
        if self._leaving is not None:
            self._leave(now)

    def proved(self, link: Link, outcome: Any, now: float) -> None:
        """A step of a login was taken, as `Prove` asked; its outcome is a token, None, or what the mechanism raised."""
        login = self._login
        if link is not self.link or self.phase != HANDSHAKE or login is None:
            return  # the link has ended in the meantime
        self._proving = False
        try:
            token = login.answered(outcome)
            if token is not None:
                link.step(token)
        except (AuthFailedError, FrameTooLargeError) as error:
            self._refuse(AuthFailedError(str(error)))
        else:
            if token is None:
                login.done()
                self._open(link, now)

    def lost(self, link: Link, reason: Union[str, TLSError], now: float) -> None:
        """The connection of a link has ended, or could not be made."""
        if link is self._probe.link:
            self._probe.lost(now)
        if link is not self.link or self.phase not in (DIALING, HANDSHAKE, OPEN):
            return
        if isinstance(reason, TLSError):
            self._drop(TLSError(f"{link.host}: {reason}"), now)
            return
        if self.phase == HANDSHAKE and self._login is not None and (link.in_flight or self._proving):
            reason += " during SASL authentication"
            refused = self._login.hung_up(self._hosts.count)
            if refused is not None:
                self._end(KeeperState.AUTH_FAILED, refused)
                return
        elif self.phase == HANDSHAKE:
            reason += " during the handshake (the server is starting or has no quorum, has seen less than this session,"
            reason += " takes no more connections from this address (maxClientCnxns), or is of another ensemble"
            reason += ")" if self._secure else "; or this is a TLS port, or a proxy without a server behind it)"
        elif self.phase == OPEN:
            self._requests.hung_up()
        self._drop(ConnectionLoss(f"{link.host}: {reason}"), now)

    def timed_out(self, now: float) -> None:
        """The deadline has come. Before calling this, the driver reads what the socket holds."""
        link, connection = self.link, self._requests.connection
        if self._closing is not None and now >= self._closing:
            self._put_away("close() took too long")
            self._end(KeeperState.CLOSED, ConnectionClosedError())
            return
        if self._may_expire() and now >= self._heartbeat.expires_at():
            self._put_away("the session has expired")
            self._expire(f"no server that knows of it heard from for {self._heartbeat.known_timeout * 4 / 3:.1f} s")
            self._pause(now)
        elif self.phase == PAUSING and now >= self._pause_ends:
            self._dial(now)
        elif self.phase in (DIALING, HANDSHAKE) and link is not None and now >= link.deadline:
            self._hang_up(ConnectionLoss(f"{link.host}: no session within the connect time-out"), now)
        elif self.phase == OPEN and now >= self._heartbeat.silent_at():
            self._hang_up(ConnectionLoss(f"{self.host}: {self._heartbeat.silence(now)}"), now)
        elif self.phase == OPEN and now >= self._ping_at() and connection is not None:
            connection.send(Ping(), None)
            self._sent(now)
        if self._leaving is not None:
            self._leave(now)
        if self._probe.timed_out(now):
            self._probe.dial(self._hosts.other(self.host), self._budget(), now)
        reason = f"no connection for {self.timeout:.1f} s; last: {self.last_error}"
        self._requests.give_up(now - self.timeout, failing(ConnectionLoss, reason))

    # ----------------------------------------------------------------------- replies

    def _take(self, incoming: List[Incoming], now: float) -> None:
        requests, actions, on_reply = self._requests, self.queued, self.on_reply
        forgotten = requests.forgotten
        for reply in incoming:
            op, token, err, outcome = reply
            if op is None:
                requests.event(outcome, self.client_state)
                continue
            self._heartbeat.replied_at = now
            plain = requests.ready is not None and op.plain and err not in CONSEQUENCES
            if plain and type(token) not in _OWN and not (forgotten and token in forgotten):
                if op.watches is not None and op.watch is not None and not isinstance(outcome, ProtocolError):
                    requests.watches.armed(op, err)
                if actions or on_reply is None:  # an event is reported before the reply that shows its change
                    actions.append(Replied(token, outcome))
                else:
                    on_reply(token, outcome)
                continue
            if err == NEEDS_SASL:
                has_auth = any(True for _ in requests.auth_infos)
                outcome = SessionClosedRequireSaslError.remedied(self._login is not None, has_auth, op.path)
                reply = op, token, err, outcome
            if type(token) is Internal:
                if self.link is not None:  # None if an earlier reply has ended it
                    self._internal(op, token, err, outcome, now)
            elif token is not None:
                requests.replied(reply, self.client_state)
            if err in CONSEQUENCES and self.link is not None:
                self._consequence(op, err, outcome, now)
        if requests.waiting and self.phase == OPEN:
            requests.taken()

    def _consequence(self, op: Op[Any], err: int, error: ZookeeperError, now: float) -> None:
        """Handle an error code after which the server closes the connection."""
        if err == UNIMPLEMENTED:  # the server closes the connection; the session survives
            if self._requests.unimplemented(op) and not self.in_flight and self._closing is None:
                reason = "it hangs up after an operation that it does not know"
                self._hang_up(ConnectionLoss(f"{self.host}: {reason}"), now)  # so that no further request is lost
                self._dial(now)
        elif err == EXPIRED:
            self._put_away(str(error))
            self._requests.disconnected(failing(SessionExpiredError, str(error)), False)
            self._expire(str(error))
            self._pause(now)
        elif err == MOVED:
            self._hang_up(ConnectionLoss(f"{self.host}: {error}"), now)
        else:
            self._refuse(error)

    def _internal(self, op: Op[Any], token: Internal, err: int, outcome: Any, now: float) -> None:
        """The reply to an operation of the session's own."""
        if token is CLOSE:
            self._put_away("closed")
            self._end(KeeperState.CLOSED, ConnectionClosedError())
        elif err in (EXPIRED, MOVED):
            pass  # the error does not concern the operation; see `_consequence`
        elif token is LOGIN and self._login is not None and self.link is not None:
            try:
                self._prove(self.link, self._login.challenged(outcome))
            except AuthFailedError as error:
                self._refuse(error)
        elif isinstance(token.what, AuthInfo):
            if err == 0:
                self._requests.proven(token.what)
                self._announce()
            else:  # any other code: not accepted
                self._refuse(outcome)
        elif err in (AUTH_FAILED, NEEDS_SASL):
            pass  # `_consequence` handles it, with the cause
        elif not self._requests.replayed(op, err, token):
            self._hang_up(ConnectionLoss(f"{self.host}: watches could not be set again: {outcome}"), now)

    # -------------------------------------------------------------------- connecting

    def _dial(self, now: float) -> None:
        self.phase = DIALING
        self.link = Link(self._hosts.next(), now, now + self._budget())
        self.queued.append(Dial(self.link))

    def _budget(self) -> float:
        """The longest time one server may take, from the attempt to connect to the session, in seconds."""
        return self._connect_timeout or min(self.timeout / self._hosts.count, LONGEST_CONNECT)

    def _greet(self, link: Link, read_only: bool, now: float) -> None:
        """Send the handshake on a new link."""
        self._heartbeat.greeted(now)
        zxid, timeout_ms = self._requests.seen_zxid, round(self._heartbeat.requested * 1000)
        session_id, password = self.client_id if self._real and self.client_id is not None else _NO_SESSION
        if link is self.link:
            self._requests.link = link
        connection = self._requests.connect()
        link.greet(connection, ConnectRequest(0, zxid, timeout_ms, session_id, password, read_only))

    def _pause(self, now: float, brief: bool = False) -> None:
        self.phase, self.link = PAUSING, None
        pause = CLOSING_PAUSE if self._closing is not None else self._hosts.pause(self.timeout, brief)
        self._pause_ends = now + pause

    def _welcome(self, link: Link, connection: Connection, now: float) -> None:
        """Handle the answer to the handshake."""
        response = connection.response
        assert response is not None  # noqa: S101  # the caller looked
        known = self.client_id[0] if self._real and self.client_id is not None else None
        another = known is not None and response.session_id != known
        if response.read_only and (response.timeout_ms <= 0 or another or not self._read_only):
            reason = "it is read-only, and does not know this session" if self._real else "it is read-only"
            self._hang_up(ConnectionLoss(f"{link.host}: {reason}"), now)
            return
        if response.timeout_ms <= 0:
            self._refused(now)
            return
        if response.session_id == 0:
            self._hang_up(ProtocolError(f"{link.host}: a session without a number"), now)
            return
        if another:  # ClickHouse Keeper, for one
            self._expire("the server opened another session instead", keep_link=True)
        self.client_id = response.session_id, response.passwd or b""
        self._real = self._real or not response.read_only
        link.counts = not response.read_only or not self._real
        self._heartbeat.granted(response.timeout_ms / 1000, now, link.counts)
        if self._login is not None:
            self._prove(link, self._login.begin(link.host.name))
        else:
            self._open(link, now)

    def _prove(self, link: Link, step: Step) -> None:
        """Have a step of SASL taken. The client sends no other request until the server has authenticated itself."""
        self._proving = True
        self.queued.append(Prove(link, *step))

    def _open(self, link: Link, now: float) -> None:
        """The session is connected."""
        self.phase, link.opened = OPEN, now
        if self._closing is not None:
            self._requests.close()
            return
        self._requests.opened(link)
        self._announce()
        if link.read_only:
            self._probe.begin(now)

    def _refused(self, now: float) -> None:
        """The server answered that the session has expired. A wrong password gets the same answer."""
        if not self._real:
            reason = "the server calls a session expired that is yet to be opened"
            self._hang_up(ProtocolError(f"{self.host}: {reason}"), now)
            return
        self._put_away("expired")
        self._expire("the server does not know it any more")
        if self._closing is not None:
            self._end(KeeperState.CLOSED, ConnectionClosedError())
        else:
            self._dial(now)

    def _announce(self) -> None:
        """Report the connection, once the server has accepted all auth infos."""
        link, connection = self.link, self._requests.connection
        if self.state == KazooState.CONNECTED or link is None or connection is None or connection.auth_replies:
            return
        self._hosts.succeeded(link.host, link.address)
        self._served = True
        self.last_error = None
        self._state(KazooState.CONNECTED, KeeperState.CONNECTED_RO if link.read_only else KeeperState.CONNECTED, None)

    # ------------------------------------------------------------------- to another server

    def _begin_to_leave(self, now: float) -> None:
        """Send nothing more on this link: new requests wait for the next server."""
        self._requests.hold()
        self._leaving = now + LEAVING_LIMIT
        self._leave(now)

    def _leave(self, now: float) -> None:
        """Move to another server once the requests in flight are answered: to the probed one, if it has accepted us."""
        if self._leaving is None or (self.in_flight and now < self._leaving):
            return
        probe, error = self._probe, ConnectionLoss(f"{self.host}: going to another server")
        connection = probe.link.connection if probe.link is not None else None
        if not probe.welcomed or probe.link is None or self._requests.seen_zxid > probe.link.shown_zxid:
            self._hang_up(error, now)
            self._dial(now)
            return
        self._leaving = None
        self._put_away(str(error))
        self._requests.disconnected(failing(ConnectionLoss, str(error)), True)
        if self.state == KazooState.CONNECTED:
            self._state(KazooState.SUSPENDED, KeeperState.CONNECTING, error)
        link = self.link = self._requests.link = probe.release()
        if link is not None and connection is not None:
            self.phase, link.deadline = HANDSHAKE, now + self._budget()
            self._welcome(link, connection, now)

    def _stay(self) -> None:
        """Cancel the move to another server."""
        self._leaving = None
        self._probe.stop()

    # ------------------------------------------------------------------------ endings

    def _put_away(self, reason: str) -> None:
        """Have the driver close the link's connection, if there is one."""
        if self.link is not None:
            self.queued.append(HangUp(self.link, reason))
            self.link = None

    def _hang_up(self, error: ZookeeperError, now: float) -> None:
        if self.link is not None:
            self.queued.append(HangUp(self.link, str(error)))
        self._drop(error, now)

    def _drop(self, error: ZookeeperError, now: float) -> None:
        """The link has ended; the session may be alive."""
        link, was_open, said_all = self.link, self.phase == OPEN, self.unsent == 0
        self.last_error = error
        self._stay()
        if was_open and link is not None and link.counts:
            self._heartbeat.lost(now)
        self.link = None
        self._requests.disconnected(failing(ConnectionLoss, str(error)), was_open)
        if self._closing is not None and (was_open and said_all or not self._real):
            self._end(KeeperState.CLOSED, ConnectionClosedError())  # the end of the link, not a reply
            return
        if self.state == KazooState.CONNECTED:
            self._state(KazooState.SUSPENDED, KeeperState.CONNECTING, error)
        if isinstance(error, TLSError):
            self._refusal = error
        if self._refusal is not None and not self._served and self._hosts.all_tried:
            self._end(KeeperState.CLOSED, self._refusal)
            return
        self._pause(now, was_open and link is not None and now - link.opened < BRIEF)

    def _refuse(self, error: ZookeeperError) -> None:
        """The server refuses the client, or the client refuses the server."""
        self._put_away(str(error))
        self._end(KeeperState.AUTH_FAILED, error)

    def _expire(self, reason: str, keep_link: bool = False) -> None:
        """The session has expired: every caller and watcher gets the error, and its state is dropped."""
        had_one = self.client_id is not None
        self.client_id, self._real = None, False
        self._heartbeat.forget()
        self._stay()
        self.last_error = SessionExpiredError(f"the session has expired: {reason}")
        failure = failing(SessionExpiredError, str(self.last_error))
        if not keep_link:
            self._requests.disconnected(failure, False)
        self._requests.expired(failure)
        if had_one:
            self._state(KazooState.LOST, KeeperState.EXPIRED_SESSION, self.last_error)
            self._requests.end_watches(KeeperState.EXPIRED_SESSION)
            self.client_state = KeeperState.CONNECTING

    def _end(self, client_state: str, error: ZookeeperError) -> None:
        """End in the state AUTH_FAILED or CLOSED, which is final."""
        self.phase, self.last_error, self.link = ENDED, error, None
        failure = AuthFailedError if client_state == KeeperState.AUTH_FAILED else ConnectionClosedError
        self._requests.end(failing(type(error) if isinstance(error, failure) else failure, str(error)))
        self._closing = None
        self._stay()
        self._state(KazooState.LOST, client_state, error)
        self._requests.end_watches(client_state)
        self.client_id, self._real = None, False

    def _state(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        if (state, client_state) != (self.state, self.client_state):
            self.state, self.client_state = state, client_state
            self.queued.append(StateChanged(state, client_state, error))
