"""A session core on a virtual clock, and the server it talks to, which says what the test tells it to.

The server's side is no kinder than a real one: it takes the client's bytes apart frame by frame, refuses anything
before the handshake, and answers with the wire table's own codecs. Nothing here has threads, sockets or time.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type

from zkwire.errors import ZookeeperError
from zkwire.session.host_provider import Host
from zkwire.wire.jute import decode, encode
from zkwire.wire.operation import Op
from zkwire.ops import BY_OPCODE, Ping
from zkwire.wire.messages import (
    CONNECT_REQUEST, CONNECT_RESPONSE, WATCHER_EVENT, ConnectRequest, ConnectResponse, Scope, WatcherEvent,
)  # fmt: skip
from zkwire.values import EventType, Stat, WatchedEvent
from zkwire.session.session import Session
from zkwire.session.actions import Dial, Fired, HangUp, Prove, Replied, StateChanged
from zkwire.session.auth import Login
from zkwire.session.link import Link

PASSWORD = bytes(range(1, 17))
SID = 0x0100000B4CD40000
STAT0 = Stat(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1)
EVENT_NUMBERS = {EventType.CREATED: 1, EventType.DELETED: 2, EventType.CHANGED: 3, EventType.CHILD: 4}


def framed(body: bytes) -> bytes:
    """The body with its length before it."""
    return struct.pack(">i", len(body)) + body


def header(xid: int, zxid: int = 0, err: int = 0) -> bytes:
    """A ReplyHeader."""
    return struct.pack(">iqi", xid, zxid, err)


def reply_frame(op: Op[Any], xid: int, value: Any = None, zxid: int = 0, err: int = 0, scope: Any = None) -> bytes:
    """The reply to an operation: a value for its codec, or an error."""
    return framed(header(xid, zxid, err) + (b"" if err else encode(op.reply, value, scope)))


def event_frame(kind: str, path: str, zxid: int = -1) -> bytes:
    """A notification."""
    event = WatcherEvent(EVENT_NUMBERS[kind], 3, path)
    return framed(header(-1, zxid) + encode(WATCHER_EVENT, event))


def welcome_frame(
    timeout_ms: int = 9000, sid: int = SID, passwd: Optional[bytes] = PASSWORD, read_only: Optional[bool] = False
) -> bytes:
    """A ConnectResponse."""
    return framed(encode(CONNECT_RESPONSE, ConnectResponse(0, timeout_ms, sid, passwd, read_only)))


class Request(NamedTuple):
    """What the client sent."""

    xid: int
    op: Op[Any]


class Peer:
    """The server's end of one connection: bytes to requests."""

    def __init__(self) -> None:
        self._buffer = b""
        self.handshake: Optional[ConnectRequest] = None
        self.welcomed = False
        self.requests: List[Request] = []

    def feed(self, data: bytes) -> None:
        """Take what the client has sent."""
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">i", self._buffer)
            assert 8 <= length <= 0xFFFFF, f"a frame of {length} bytes from the client"
            if len(self._buffer) < 4 + length:
                return
            body, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
            if self.handshake is None:
                assert length == 45, "a ConnectRequest with its readOnly byte has 45 bytes"
                self.handshake = decode(CONNECT_REQUEST, body)
                continue
            assert self.welcomed, "a request before the answer to the handshake"
            xid, opcode = struct.unpack_from(">ii", body)
            op = BY_OPCODE[opcode].parse(body, 8)
            assert opcode != 13, "a lone check, which 3.8.0 never answers"
            self.requests.append(Request(xid, op))


class World:
    """A session, its clock and its server. Every step hands bytes over and notes the events."""

    def __init__(
        self, *, hosts: int = 1, timeout: float = 9.0, random: Callable[[], float] = lambda: 0.5, chroot: str = "",
        start: bool = True, **options: Any,
    ) -> None:  # fmt: skip
        names = [Host(chr(ord("a") + i), 2181) for i in range(hosts)]
        self.session = Session(
            names, timeout=timeout, random=random, scope=Scope(chroot), shuffle=False, **options
        )
        self.now = 1000.0
        self.settled: Dict[Any, Any] = {}
        self.order: List[Any] = []  # what happened, in order: tokens, ("fired", event), states
        self.fired: List[WatchedEvent] = []
        self.states: List[str] = []
        self.dials: List[Tuple[float, Link]] = []
        self.hangups: List[str] = []
        self.peer: Optional[Peer] = None
        self.answered = 0
        self.probes: List[Tuple[float, Link]] = []  # second connections asked for
        self.link: Optional[Link] = None
        self.probe: Optional[Link] = None
        self.second: Optional[Peer] = None
        if start:
            self.session.start(self.now)
            self.pump()

    # -- the driver's part

    def pump(self, limit: Optional[int] = None) -> None:
        """Act on events; let the server have `limit` bytes of what is to be sent (None: all)."""
        self._collect()
        while limit is None or limit > 0:
            data = self.link.data_to_send() if self.link is not None and self.link is self.session.link else b""
            if not data:
                break
            part = bytes(data if limit is None else data[:limit])
            assert self.peer is not None and self.link is not None, "bytes to send without a connection"
            self.peer.feed(part)
            self.link.sent(len(part))
            if limit is not None:
                limit -= len(part)
        self._collect()

    def _collect(self) -> None:
        for event in self.session.actions():
            if isinstance(event, Dial) and event.link is self.session.link:
                self.dials.append((self.now, event.link))
                self.link, self.peer = event.link, None
            elif isinstance(event, Dial):
                assert self.probe is None, "a third connection"
                self.probes.append((self.now, event.link))
                self.probe, self.second = event.link, None
            elif isinstance(event, Prove):
                self.session.proved(event.link, Login.take(event.step, event.argument), self.now)
                self._collect()
            elif isinstance(event, HangUp) and event.link is self.probe:
                self.probe = self.second = None
            elif isinstance(event, HangUp):
                assert event.link is self.link, "a connection is given up that is not there"
                self.hangups.append(event.reason)
                self.peer = None
            elif isinstance(event, Replied):
                assert event.token not in self.settled, f"{event.token} settled twice"
                self.settled[event.token] = event.outcome
                self.order.append(event.token)
            elif isinstance(event, Fired):
                for watcher in event.watchers:
                    watcher(event.event)
                    self.fired.append(event.event)
                    self.order.append(("fired", event.event.type, event.event.path))
            elif isinstance(event, StateChanged):
                self.states.append(event.state)
                self.order.append(event.state)
        if self.probe is not None and self.probe is self.session.link:  # the probed server takes over
            assert self.second is not None and self.second.welcomed and self.peer is None
            self.link, self.peer, self.probe, self.second, self.answered = self.probe, self.second, None, None, 0

    def connect(self) -> Peer:
        """The driver has connected as asked; the handshake is on its way."""
        peer = self.peer = Peer()
        self.answered = 0
        assert self.link is not None, "no connection is wanted"
        self.session.connected(self.link, self.now)
        self.pump()
        assert peer.handshake is not None
        return peer

    def receive(self, data: bytes) -> None:
        """Bytes for the client."""
        if self.link is not None:
            self.session.received(self.link, data, self.now)
        self.pump()

    def probe_connect(self) -> Peer:
        """The driver has made the second connection."""
        peer = self.second = Peer()
        assert self.probe is not None, "no second connection is wanted"
        self.session.connected(self.probe, self.now)
        data = bytes(self.probe.data_to_send())
        self.probe.sent(len(data))
        peer.feed(data)
        assert peer.handshake is not None
        return peer

    def probe_receive(self, data: bytes) -> None:
        """Bytes from the second connection; the end of it is b""."""
        probe = self.probes[-1][1]
        if data:
            if self.second is not None:
                self.second.welcomed = True
            self.session.received(probe, data, self.now)
        else:
            self.probe = self.second = None
            self.session.lost(probe, "the server closed the connection", self.now)
        self.pump()

    def lose(self, reason: str = "the server closed the connection") -> None:
        """The connection has ended."""
        link, self.peer = self.link, None
        assert link is not None, "no connection was ever wanted"
        self.session.lost(link, reason, self.now)
        self.pump()

    def advance(self, seconds: float, *, until: Optional[Callable[[], bool]] = None) -> None:
        """Let time pass, calling `timed_out` at each deadline, as a punctual driver would."""
        end = self.now + seconds
        for _ in range(100_000):
            if until is not None and until():
                return
            deadline = self.session.deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline) + 1e-9
            self.session.timed_out(self.now)
            self.pump()
        else:
            raise AssertionError("the core's deadline never moves on")
        self.now = max(self.now, end)

    # -- the server's part

    def welcome(self, **options: Any) -> None:
        """Answer the handshake; with nothing given, as a real server would: the session asked for goes on."""
        assert self.peer is not None and self.peer.handshake is not None
        options.setdefault("sid", self.peer.handshake.session_id or SID)
        options.setdefault("timeout_ms", self.peer.handshake.timeout_ms)
        self.peer.welcomed = True
        self.receive(welcome_frame(**options))

    def open(self, **options: Any) -> World:
        """From a dial to a session, auth and watches accepted."""
        if self.session.phase == "pausing":
            self.advance(60.0, until=lambda: self.session.phase == "dialing")
        self.connect()
        self.welcome(**options)
        self.accept_internal()
        return self

    @property
    def waiting(self) -> List[Request]:
        """Requests not yet answered; pings excluded."""
        assert self.peer is not None
        return [r for r in self.peer.requests[self.answered :] if not isinstance(r.op, Ping)]

    def accept_internal(self) -> None:
        """Say yes to auth and to watches set again, which come before all else."""
        while self.waiting and self.waiting[0].op.opcode in (100, 101, 105):
            self.answer()

    def answer(self, value: Any = None, *, zxid: int = 0, err: int = 0, expect: Optional[Type[Op[Any]]] = None) -> Request:
        """Answer the oldest request."""
        assert self.peer is not None
        while isinstance(self.peer.requests[self.answered].op, Ping):
            self.answered += 1
        request = self.peer.requests[self.answered]
        self.answered += 1
        assert expect is None or isinstance(request.op, expect), f"{request} is no {expect}"
        self.receive(reply_frame(request.op, request.xid, value, zxid, err))
        return request

    def pong(self, zxid: int = 0, err: int = 0) -> None:
        """The reply to a ping."""
        self.receive(framed(header(-2, zxid, err)))

    def event(self, kind: str, path: str, zxid: int = -1) -> None:
        """A notification."""
        self.receive(event_frame(kind, path, zxid))

    def submit(self, op: Op[Any], token: Any, *, pump: bool = True) -> None:
        """An operation of the user."""
        self.session.submit(op, token, self.now)
        if pump:
            self.pump()

    def ok(self, token: Any) -> Any:
        """The result of an operation that must have succeeded."""
        outcome = self.settled[token]
        assert not isinstance(outcome, ZookeeperError), outcome
        return outcome

    def failed(self, token: Any, cls: Type[ZookeeperError]) -> Any:
        """The error of an operation that must have failed."""
        outcome = self.settled[token]
        assert type(outcome) is cls, f"{token}: {outcome!r} is no {cls.__name__}"
        return outcome


class Heard:
    """A watcher that remembers."""

    def __init__(self, name: str = "watcher") -> None:
        self.name = name
        self.events: List[Tuple[str, Optional[str]]] = []

    def __call__(self, event: WatchedEvent) -> None:
        self.events.append((event.type, event.path))

    def __repr__(self) -> str:
        return self.name


__all__ = [
    "PASSWORD", "SID", "STAT0", "Heard", "Peer", "Request", "World", "event_frame",
    "framed", "header", "reply_frame", "welcome_frame",
]  # fmt: skip
