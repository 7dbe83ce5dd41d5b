"""A client made by hand from `zkwire.ops` and a socket: each frame is sent, and awaited, as a script says.

It judges nothing and repairs nothing: no pings, no reconnect, no watches. That is for the script to do.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any, List, NamedTuple, Optional, Tuple

from tests.tools.recording.tape import Tape
from zkwire.errors import ZookeeperError
from zkwire.wire.jute import decode, encode
from zkwire.wire.operation import Op
from zkwire.ops import Auth, CloseSession, Ping
from zkwire.wire.messages import (
    CONNECT_REQUEST, CONNECT_RESPONSE, REPLY_HEADER, WATCHER_EVENT, ConnectRequest, ConnectResponse, ReplyHeader,
    WatcherEvent,
)  # fmt: skip

TIMEOUT = 10.0


class Reply(NamedTuple):
    """What came back: the header, and the outcome (a value, or an exception not raised)."""

    header: ReplyHeader
    outcome: Any

    @property
    def err(self) -> int:
        return self.header.err


class RawClient:
    """A session that a script drives, through as many connections as it likes, one at a time."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.session_id, self.passwd, self.last_zxid = 0, bytes(16), 0
        self.events: List[WatcherEvent] = []
        self.connection = 0
        self._sock: Optional[socket.socket] = None
        self._xid = 0
        self._waiting: List[Tuple[int, Op[Any]]] = []

    # ---------------------------------------------------------------- connections

    def connect(
        self, timeout_ms: int = 10000, read_only: Optional[bool] = False, **fields: Any
    ) -> Optional[ConnectResponse]:
        """Dial and shake hands: for a new session, or for the one this client has.

        `fields` replace those of the request. None if the server hangs up, or answers with something else
        than a ConnectResponse.
        """
        self.drop()
        self._sock = socket.create_connection(self.tape.address, TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = ConnectRequest(0, self.last_zxid, timeout_ms, self.session_id, self.passwd, read_only)
        body = encode(CONNECT_REQUEST, request._replace(**fields))
        self._sock.sendall(struct.pack(">i", len(body)) + body)
        frame = self._frame()
        self.connection = self.tape.connections
        if frame is None:
            self.tape.ended(self.connection)
            return None
        if len(frame) < 20:
            return None
        response = decode(CONNECT_RESPONSE, frame)
        if response.timeout_ms > 0:
            self.session_id, self.passwd = response.session_id, response.passwd or b""
        return response

    def drop(self) -> None:
        """Close the connection, and wait until the server has seen it; the session lives on there."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            while self._read(4096) is not None:
                pass
            self._sock.close()
        self._sock, self._xid, self._waiting = None, 0, []

    def close(self) -> None:
        """Close the session, and wait until the server hangs up."""
        if self.call(CloseSession()).err == 0:
            self.expect_end()
        self.drop()

    def expect_end(self) -> None:
        """Wait until the server hangs up; what it sends before is taken in."""
        while True:
            frame = self._frame()
            if frame is None:
                self.tape.ended(self.connection)
                self.drop()
                return
            self._take(frame)

    # ---------------------------------------------------------------- requests

    def send(self, *ops: Op[Any], xid: Optional[int] = None) -> None:
        """Send operations, in one segment, and wait for nothing."""
        frames = []
        for op in ops:
            number = op.fixed_xid if xid is None else xid
            if number is None:
                self._xid += 1
                number = self._xid
            frames.append(op.frame(number, None))
            self._waiting.append((number, op))
        self.raw(b"".join(frames))

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._sock is None:
            raise ConnectionError("not connected")
        self._sock.sendall(data)

    def call(self, op: Op[Any]) -> Reply:
        """Send an operation, and wait for its reply; ConnectionError if the server hangs up instead."""
        self.send(op)
        return self.replies(1)[0]

    def must(self, op: Op[Any]) -> Any:
        """As `call`; the value of a success, and an exception for anything else."""
        outcome = self.call(op).outcome
        if isinstance(outcome, ZookeeperError):
            raise outcome
        return outcome

    def fails(self, op: Op[Any], code: int) -> None:
        """As `call`, for an error that is to be recorded; AssertionError if something else comes."""
        reply = self.call(op)
        if reply.err != code:
            raise AssertionError(f"{op!r}: {reply}, expected {code}")

    def replies(self, count: int) -> List[Reply]:
        """The next replies, in the order in which they come; events before them go to `events`."""
        got: List[Reply] = []
        while len(got) < count:
            frame = self._frame()
            if frame is None:
                self.tape.ended(self.connection)
                raise ConnectionError(f"the server hung up; waiting for {self._waiting}")
            reply = self._take(frame)
            if reply is not None:
                got.append(reply)
        return got

    def wait_events(self, count: int) -> List[WatcherEvent]:
        """Wait until `count` events have come in all."""
        while len(self.events) < count:
            frame = self._frame()
            if frame is None:
                raise ConnectionError("the server hung up; waiting for events")
            self._take(frame)
        return self.events

    # ---------------------------------------------------------------- bytes

    def _take(self, frame: bytes) -> Optional[Reply]:
        header = decode(REPLY_HEADER, frame)
        if header.xid == -1:
            self.events.append(decode(WATCHER_EVENT, frame, 16))
            return None
        place = next((i for i, (xid, _) in enumerate(self._waiting) if xid == header.xid), None)
        if place is None:
            raise AssertionError(f"{header} to nothing; waiting: {self._waiting}")
        _, op = self._waiting.pop(place)
        if not isinstance(op, (Auth, Ping)) and header.zxid > 0:
            self.last_zxid = header.zxid
        outcome = op.refusal(header.err) if header.err else op.result(frame, 16, None)
        return Reply(header, outcome)

    def _frame(self) -> Optional[bytes]:
        """The next frame without its length; None at the end of the stream."""
        size = self._read(4)
        return None if size is None else self._read(int.from_bytes(size, "big"))

    def _read(self, size: int) -> Optional[bytes]:
        data = b""
        while len(data) < size:
            try:
                more = self._sock.recv(size - len(data)) if self._sock else b""
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            data += more
        return data
