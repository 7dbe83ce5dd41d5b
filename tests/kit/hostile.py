"""A TCP server that speaks just enough ZooKeeper to do wrong what the test wants it to do wrong.

`serve_properly` answers as a real server would, from a script of a few operations; a test replaces the answer to the
handshake or to a request by bytes of its own, and takes that back while the server runs.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any, Callable, Dict, List, Optional

from tests.kit.world import STAT0, framed, header, reply_frame, welcome_frame
from zkwire.ops import BY_OPCODE

#: What a proper server says to each operation.
ANSWERS: Dict[int, Callable[[Any], Any]] = {
    1: lambda op: op.path + ("0000000000" if op.flags & 2 else ""), 2: lambda op: None, 3: lambda op: STAT0, 4: lambda op: (b"proper", STAT0),
    5: lambda op: STAT0, 6: lambda op: ([], STAT0), 8: lambda op: ["child"], 9: lambda op: op.path, 101: lambda op: None, 105: lambda op: None,
    106: lambda op: 0, 14: lambda op: [(5, STAT0)] * len(op.ops), -11: lambda op: None,
}  # fmt: skip


class Wire:
    """One accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.closed = threading.Event()
        #: The client's first frame, with its length.
        self.first = b""

    def send(self, data: bytes) -> None:
        """Send, or find that the client has gone."""
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed.set()

    def exactly(self, size: int) -> Optional[bytes]:
        """So many bytes, or None at the end."""
        data = b""
        while len(data) < size:
            try:
                more = self.sock.recv(size - len(data))
            except OSError:
                more = b""
            if not more:
                self.closed.set()
                return None
            data += more
        return data

    def frame(self) -> Optional[bytes]:
        """The body of a frame of the client, or None at the end."""
        start = self.exactly(4)
        return None if start is None else self.exactly(struct.unpack(">i", start)[0])

    def until_closed(self) -> None:
        """Read and answer nothing until the client hangs up."""
        while self.exactly(1) is not None:
            pass


class Scripted:
    """The server. `handshake` and `request` are called where set; they return whether they have dealt with it."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.handshake: Optional[Callable[[Wire], bool]] = None
        self.request: Optional[Callable[[Wire, int, Any], bool]] = None
        #: Called with four bytes that begin a connection and are a four-letter word, where set.
        self.word: Optional[Callable[[Wire, bytes], object]] = None
        #: The answer to the handshake, made of the session id and the timeout in ms that it would have.
        self.welcome: Callable[[int, int], bytes] = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid)
        #: Called with each ping; whether it has dealt with it.
        self.ping: Optional[Callable[[Wire], bool]] = None
        #: What an identity is answered with, and what is called with each first; whether it has dealt with it.
        self.auth = framed(header(-4))
        self.identity: Optional[Callable[[Wire], bool]] = None
        self.connections = 0
        self.seen: List[Any] = []
        self.sessions = 0
        self.changed = threading.Condition()
        self._wires: List[Wire] = []
        self._threads: List[threading.Thread] = []
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def hosts(self) -> str:
        """The server as a connect string."""
        return f"127.0.0.1:{self.port}"

    def behave(self) -> None:
        """From now on, be a proper server; connections of before are cut."""
        self.handshake = self.request = self.ping = self.identity = None
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for wire in list(self._wires):
            try:
                wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def wait(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Until something is seen here."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), "the server did not see it"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(sock)
            self._wires.append(wire)
            with self.changed:
                self.connections += 1
                self.changed.notify_all()
            thread = threading.Thread(target=self._run, args=(wire,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, wire: Wire) -> None:
        try:
            self._converse(wire)
        finally:
            wire.sock.close()

    def _converse(self, wire: Wire) -> None:
        start = wire.exactly(4)
        if self.word is not None and start is not None and start.isalpha():
            self.word(wire, start)
            return
        first = wire.exactly(struct.unpack(">i", start)[0]) if start is not None else None
        if first is None:
            return
        wire.first = framed(first)
        if self.handshake is not None and self.handshake(wire):
            return
        (sid,) = struct.unpack_from(">q", first, 16)
        (timeout_ms,) = struct.unpack_from(">i", first, 12)
        if not sid:
            self.sessions += 1
        wire.send(self.welcome(sid or 0x1000 + self.sessions, timeout_ms))
        while True:
            body = wire.frame()
            if body is None:
                return
            xid, opcode = struct.unpack_from(">ii", body)
            if opcode == 11:
                if self.ping is not None and self.ping(wire):
                    continue
                wire.send(framed(header(-2)))
                continue
            if opcode == 100:
                if self.identity is None or not self.identity(wire):
                    wire.send(self.auth)
                continue
            op = BY_OPCODE[opcode].parse(body, 8)
            with self.changed:
                self.seen.append(op)
                self.changed.notify_all()
            if self.request is not None and self.request(wire, xid, op):
                continue
            wire.send(reply_frame(op, xid, ANSWERS[opcode](op), zxid=1))
            if opcode == -11:
                return

    def close(self) -> None:
        """End it and all its threads."""
        # Closing alone would not wake a thread in accept.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(5)
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


__all__ = ["ANSWERS", "Scripted", "Wire"]
