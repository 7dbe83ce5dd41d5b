"""One connection without its socket: framing, handshake, order of replies, last zxid. Bytes in, values out.

Owns the protocol state between one connect and its loss. Must not know sockets, clocks, sessions or watches. Rules:

1. The first frame each way is the handshake; nothing else is written before its answer has arrived.
2. Ordinary replies come in the order of their requests; a reply with another xid breaks the connection.
3. Replies to auth (-4) have an order of their own and overtake the others. Those to pings (-2) are in no order here,
   but a server answers in order (CommitProcessor): one that overtakes an older request does not prove it alive.
4. The last zxid is that of ordinary replies only. Events do not count: several may share one zxid, and a connection
   that ends between them must not lose the rest.
5. `received` never raises. The error is in `error`; everything before it was returned.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Deque, List, Optional, Tuple, Union

from ..errors import FrameTooLargeError, MarshallingError, ProtocolError, TLSError, ZookeeperError
from ..typed import NamedTuple
from .jute import decode, encode
from .operation import Op
from .messages import CONNECT_REQUEST, CONNECT_RESPONSE, WATCHER_EVENT, ConnectRequest, ConnectResponse, WatcherEvent

#: Java's server takes requests of up to jute.maxbuffer, by default 0xfffff bytes, and closes on longer ones.
MAX_REQUEST = 0xFFFFF
#: Replies may be longer than requests: the reply with the biggest legal node adds Stat and header. Four times that.
MAX_FRAME = 4 * 1024 * 1024
#: A ConnectResponse has 37 bytes, with a password of 16. A longer one is accepted, within this bound.
MAX_HANDSHAKE = 4096
MAX_PASSWORD = 1024
#: xids wrap to 1: numbers below have meanings of their own (ClientCnxn.getXid).
XID_LIMIT = 2**31 - 1
#: The most that goes to the socket in one call, in bytes.
CHUNK = 256 * 1024
#: The first bytes of an alert and of a handshake in TLS (RFC 8446, 5.1): type, version 3.
_TLS = (b"\x15\x03", b"\x16\x03")

#: Length of a frame and header of a reply; its size, and that of the header alone.
_HEAD = struct.Struct(">iiqi")
_HEAD_SIZE, _HEADER_SIZE = 20, 16
_LENGTH = struct.Struct(">i")
_XID = struct.Struct(">ii")
_unpack_head, _new = _HEAD.unpack_from, tuple.__new__
#: xids of frames outside the order of requests: events, pings, auth.
_EVENT, _PINGED, _AUTH = -1, -2, -4
_OUT_OF_ORDER = frozenset((_EVENT, _PINGED, _AUTH))


class Slot(NamedTuple):
    """A request that waits for its reply; `end` is the position of its last byte in the stream of sent bytes."""

    xid: int
    op: Op[Any]
    token: Any
    end: int


#: (op, token, error code, outcome) for a reply, (None, None, 0, event) for an event.
Incoming = Tuple[Optional[Op[Any]], Any, int, Any]


class Connection:
    """One connection from its first byte to its last.

    Call `open` first; then, in any order, `send`, `received`, and `data_to_send` followed by `sent`.
    """

    def __init__(
        self, scope: Any, max_frame: int = MAX_FRAME, max_request: int = MAX_REQUEST, first_xid: int = 1
    ) -> None:
        self.scope = scope
        self.max_frame, self.max_request = max_frame, max_request
        #: Set once the received bytes are invalid; the connection is then unusable.
        self.error: Optional[ProtocolError] = None
        #: The answer to the handshake, once it has arrived.
        self.response: Optional[ConnectResponse] = None
        #: zxid of the newest ordinary reply, 0 before the first.
        self.last_zxid = 0
        #: Whether a ping waits for its reply.
        self.pinging = False
        #: Bytes queued so far, which is the end of the newest request; and how many of them the socket has not taken.
        self.written = self.unsent = 0
        #: How many of the bytes reported with `sent` the driver has only passed on, so that they may not have left.
        self.lag = 0
        self._pinged = 0  # the end of the ping in the stream of sent bytes
        self.replies: Deque[Slot] = deque()
        self.auth_replies: Deque[Slot] = deque()
        self._next_xid = first_xid
        self._request = b""
        self._out: Deque[bytes] = deque()
        self._head: Union[bytes, memoryview, None] = None
        self._longest = max_request + 4
        self._chunks: List[bytes] = []
        #: The number of received bytes that wait for the rest of their frame.
        self.kept = 0
        self._need = 4

    # ---------------------------------------------------------------------- sending

    def open(self, request: ConnectRequest) -> None:
        """Queue the handshake."""
        body = self._request = encode(CONNECT_REQUEST, request)
        self._append(_LENGTH.pack(len(body)) + body)

    def frame(self, op: Op[Any], xid: int = 0) -> bytes:
        """The request as bytes; `ValueError` or `FrameTooLargeError` if it cannot be encoded."""
        frame = op.frame(xid, self.scope)
        if len(frame) - 4 > self.max_request:
            raise FrameTooLargeError(
                f"{op!r} takes {len(frame) - 4} bytes; the server's limit (jute.maxbuffer) is {self.max_request}",
                op.path,
            )
        return frame

    def send(self, op: Op[Any], token: Any, wire: Optional[Op[Any]] = None) -> None:
        """Queue a request. If this raises `ValueError` or `FrameTooLargeError`, nothing has changed.

        `wire` is the operation that the server gets, if that is not `op`.
        """
        xid = op.fixed_xid
        if xid is None:
            xid = self._next_xid
            frame = (wire or op).frame(xid, self.scope)
            size = len(frame)
            if size > self._longest:
                self.frame(op, xid)  # raises the error
            self._next_xid = xid + 1 if xid < XID_LIMIT else 1
            self._out.append(frame)
            self.unsent += size
            self.written = end = self.written + size
            self.replies.append(_new(Slot, (xid, op, token, end)))
            return
        self._append(self.frame(op, xid))
        if xid == _AUTH:
            self.auth_replies.append(Slot(xid, op, token, self.written))
        else:
            self.pinging, self._pinged = True, self.written

    def _append(self, frame: bytes) -> None:
        self._out.append(frame)
        self.unsent += len(frame)
        self.written += len(frame)

    @property
    def answered(self) -> int:
        """The position in the stream of sent bytes up to which all requests are answered."""
        end = self.replies[0].end - 1 if self.replies else self.written
        return min(end, self._pinged - 1) if self.pinging else end

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the socket, possibly none, possibly not all. Report what it took with `sent`."""
        if self._head is None:
            out = self._out
            if not out:
                return b""
            if len(out) == 1:
                self._head = out.popleft()
                return self._head
            parts, size = [], 0
            while out and size < CHUNK:
                part = out.popleft()
                parts.append(part)
                size += len(part)
            self._head = b"".join(parts)
        return self._head

    def sent(self, count: int) -> None:
        """The socket took the first `count` bytes of `data_to_send`."""
        self.unsent -= count
        head = self._head
        self._head = None if head is None or count >= len(head) else memoryview(head)[count:]

    def was_sent(self, slot: Slot) -> bool:
        """Whether the last byte of a request has left for the network."""
        return slot.end <= self.written - self.unsent - self.lag

    # -------------------------------------------------------------------- receiving

    @property
    def partial_reply(self) -> bool:
        """Whether the beginning of a reply (not of an event) has arrived, and the rest has not."""
        if self.kept < 8:
            return False
        if len(self._chunks[0]) < 8:  # joined once only, even if the reply arrives byte by byte
            self._chunks = [b"".join(self._chunks)]
        return int(_XID.unpack_from(self._chunks[0])[1]) != -1

    def received(self, data: bytes) -> List[Incoming]:
        """The replies and events in the bytes, in wire order; an incomplete frame waits for the next call.

        The answer to the handshake goes to `response` instead. After an error in the bytes, `error` is set, and all
        further bytes are ignored.
        """
        incoming: List[Incoming] = []
        if self.error is not None:
            return incoming
        if self.kept:
            self._chunks.append(data)
            self.kept += len(data)
            if self.kept < self._need:
                return incoming
            data = b"".join(self._chunks)
            self._chunks, self.kept = [], 0
        try:
            at = self._greeted(data) if self.response is None else 0
            if self.response is not None:
                at = self._take(data, at, incoming)
            if at < len(data):
                self._keep(data[at:] if at else data, incoming)
        except ProtocolError as error:
            self.error = error
            self._chunks, self.kept = [], 0
        return incoming

    def _take(self, data: bytes, at: int, incoming: List[Incoming]) -> int:
        """Take whole frames from `data`, starting at `at`; returns the position of the rest."""
        size, replies, scope, max_frame = len(data), self.replies, self.scope, self.max_frame
        sent = self.written - self.unsent - self.lag
        while size - at >= _HEAD_SIZE:
            length, xid, zxid, err = _unpack_head(data, at)
            end = at + 4 + length
            if not _HEADER_SIZE <= length <= max_frame:
                raise self._bad_length(length, data, at, incoming)
            if end > size:
                break
            # One frame, cut off from the next: no length inside may point beyond it.
            frame, body = (data[at:end], _HEAD_SIZE) if end < size else (data, at + _HEAD_SIZE)
            at = end
            if xid < 0 and xid in _OUT_OF_ORDER:
                self._out_of_order(xid, err, frame, body, incoming)
                continue
            if not replies:
                raise ProtocolError(f"a reply to xid {xid}, which answers no request")
            expected, op, token, written = replies[0]
            if expected != xid or written > sent:
                raise ProtocolError(f"a reply to xid {xid}, expected {expected}, which is not sent yet")
            replies.popleft()
            if zxid > self.last_zxid:
                self.last_zxid = zxid
            if err:
                incoming.append((op, token, err, op.refusal(err, scope)))
                continue
            try:
                incoming.append((op, token, 0, op.result(frame, body, scope)))
            except MarshallingError as error:
                error.path = op.path
                incoming.append((op, token, 0, error))
                raise
        return at

    def _keep(self, rest: bytes, incoming: List[Incoming]) -> None:
        """Keep the beginning of a frame, unless its length is already invalid."""
        self._need = 4
        if len(rest) >= 4:
            length = _LENGTH.unpack_from(rest)[0]
            self._need = 4 + length
            if self.response is None:
                self._check_first(length, rest[:16])
            elif not _HEADER_SIZE <= length <= self.max_frame:
                if length < _HEADER_SIZE or len(rest) >= 8 or not self.replies:
                    raise self._bad_length(length, rest, 0, incoming)
                self._need = 8  # the next four bytes are the xid
        self._chunks, self.kept = [rest], len(rest)

    def _out_of_order(self, xid: int, err: int, frame: bytes, body: int, incoming: List[Incoming]) -> None:
        """Take a frame outside the order of requests: an event, or the reply to a ping or an auth."""
        if xid == _EVENT:
            incoming.append((None, None, 0, decode(WATCHER_EVENT, frame, body)))
        elif xid == _PINGED:
            self.pinging = False
            if err or not self.replies or self.replies[0].end >= self._pinged:
                incoming.append((_PING, None, err, _PING.refusal(err) if err else None))
        else:
            if not self.auth_replies:
                raise ProtocolError("an auth reply that answers no request")
            _, op, token, _ = self.auth_replies.popleft()
            incoming.append((op, token, err, op.refusal(err) if err else None))

    def _greeted(self, data: bytes) -> int:
        """Take the answer to the handshake, if it is complete; returns the position behind it."""
        if len(data) < 4:
            return 0
        length = _LENGTH.unpack_from(data)[0]
        self._check_first(length, data[:16])
        if len(data) < 4 + length:
            return 0
        self._handshake(data[4 : 4 + length])
        return int(4 + length)

    def _check_first(self, length: int, start: bytes) -> None:
        if start[:2] in _TLS:
            raise TLSError(
                f"the first bytes are {start!r}, not the answer of a ZooKeeper server: "
                "this is a TLS port; give ssl_context=, or the plain port (clientPort)"
            )
        if not 0 <= length <= MAX_HANDSHAKE:
            raise ProtocolError(
                f"the first bytes are {start!r}, not the answer of a ZooKeeper server: "
                "is this a TLS port, or another service?"
            )

    def _bad_length(self, length: int, data: bytes, at: int, incoming: List[Incoming]) -> ProtocolError:
        if length <= self.max_frame:
            return ProtocolError(f"a frame of {length} bytes; a header alone has {_HEADER_SIZE}")
        error = FrameTooLargeError(f"a frame of {length} bytes; max_frame is {self.max_frame}")
        if self.replies and self.replies[0].xid == _XID.unpack_from(data, at)[1]:
            slot = self.replies.popleft()
            error.path = slot.op.path
            incoming.append((slot.op, slot.token, 0, error))
        return error

    def _handshake(self, body: bytes) -> None:
        if len(body) < 20:  # a read-only server of 3.8 answers with a reply header and -119
            code = _HEAD.unpack(b"\0\0\0\0" + body)[3] if len(body) == _HEADER_SIZE else None
            raise ProtocolError(f"the server refused the session ({len(body)} bytes, error {code})", code=code)
        if body == self._request:  # a connection to a local port without a listener may reach itself
            raise ProtocolError("the bytes sent come back: nothing listens there, or an echo service")
        response = decode(CONNECT_RESPONSE, body)
        if response.protocol_version != 0:
            raise ProtocolError(f"protocol version {response.protocol_version} in the answer to the handshake")
        if len(response.passwd or b"") > MAX_PASSWORD:
            raise ProtocolError("an absurdly long session password")
        self.response = response


class _Ping(Op[None]):
    """The operation in the reply to a ping."""

    path = None


_PING = _Ping()

__all__ = ["CHUNK", "MAX_FRAME", "MAX_REQUEST", "Connection", "Incoming", "Slot", "WatcherEvent", "ZookeeperError"]
