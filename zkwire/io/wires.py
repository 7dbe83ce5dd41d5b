"""The socket of one link: how a thread waits for what arrives on it, while others send.

Owns the two ways to wait. Must not know sessions, nor which thread waits. One thread at a time calls `wait` and `take`;
`take` and `send` are called with a lock held that is common to both, because a TLS socket takes one thread at a time.

- On plain TCP the thread that waits blocks in recv() itself, which costs nothing but the call: `SO_RCVTIMEO` bounds it,
  and `MSG_DONTWAIT` keeps all other calls from blocking.
- On TLS, and where the system has none of these, the thread polls, and the socket never blocks.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, List, Optional, Protocol, Union

from ..session.link import Link
from .dialer import LONGEST_WAIT, Socket, reader

#: As much as is read in one call.
RECEIVE = 64 * 1024
_SIZES = (RECEIVE,)
_AT_ONCE = (getattr(socket, "MSG_DONTWAIT", 0),)
_TIMEVAL = struct.Struct("@ll")


class Wire(Protocol):
    """The socket of a link."""

    link: Link
    sock: Any
    #: Whether the socket took no more, so that the I/O thread has to wait for room.
    blocked: bool
    is_open: bool
    #: Whether something may have arrived with the TLS handshake, which poll cannot see.
    fresh: bool

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""


def wire(link: Link, sock: Socket) -> Wire:
    """The wire on a connected socket."""
    if isinstance(sock, socket.socket) and _AT_ONCE != (0,) and hasattr(socket, "SO_RCVTIMEO"):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(LONGEST_WAIT), 0))
        except (OSError, ValueError):  # another idea of what a time is
            return PolledWire(link, sock)
        sock.setblocking(True)
        return BlockingWire(link, sock)
    return PolledWire(link, sock)


class BlockingWire:
    """A wire on plain TCP."""

    __slots__ = ("link", "sock", "blocked", "is_open", "fresh", "_recv", "_send", "_inbox", "_limit", "_error")

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self.link, self.sock = link, sock
        self.blocked, self.is_open, self.fresh = False, True, False
        self._recv, self._send = sock.recv, sock.send
        self._inbox: List[bytes] = []  # read, and not taken yet
        self._limit = LONGEST_WAIT  # of recv(), in seconds, as the socket has it
        self._error: Optional[OSError] = None

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""
        inbox = self._inbox
        if inbox:
            return True
        if left is None:
            left = LONGEST_WAIT
        try:
            if not left / 4 <= self._limit <= left:
                self._set_limit(left)
            # One step for Python: a signal handler that raises cannot come between the socket and the list.
            inbox.extend(map(self._recv, _SIZES))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._error = error
        return True

    def _set_limit(self, left: float) -> None:
        """Have recv() give up in time. A bit earlier, so that the next call with as much time need not say so again."""
        self._limit = limit = min(left * 0.75 if left > 0.01 else max(left, 1e-6), LONGEST_WAIT)
        packed = _TIMEVAL.pack(int(limit), int(limit % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError`."""
        inbox = self._inbox
        if not inbox:
            if self._error is not None:
                raise self._error
            try:
                inbox.extend(map(self._recv, _SIZES, _AT_ONCE))
            except (BlockingIOError, InterruptedError):
                return None
        return inbox.pop(0)

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""
        return self._send(data, *_AT_ONCE)


class PolledWire:
    """A wire on TLS, or on a socket that only poll can wait for with a limit."""

    __slots__ = ("link", "sock", "blocked", "is_open", "fresh", "_readable")

    def __init__(self, link: Link, sock: Socket) -> None:
        self.link, self.sock = link, sock
        self.blocked, self.is_open, self.fresh = False, True, True
        self._readable = reader(sock.fileno())

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""
        left = LONGEST_WAIT if left is None else min(left, LONGEST_WAIT)
        return self.fresh or bool(self._readable(-(-left * 1000 // 1)))

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""
        self.fresh = False
        try:
            return bytes(self.sock.recv(RECEIVE))
        except (BlockingIOError, InterruptedError):
            return None  # or TLS has heard what is no news for the session, and may go on sending

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""
        return int(self.sock.send(data))
