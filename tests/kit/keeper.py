"""A proxy that turns the embedded server into one that is compatible with ZooKeeper but not the same.

Owns frames on their way: it hangs up on operations it is told not to know, and changes what the server says. Must not
know what is tested.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Callable, Iterable, List, Optional, Set


def _frame(sock: socket.socket) -> Optional[bytes]:
    """The body of the next frame, or None at the end."""
    data, size = b"", 4
    while len(data) < size:
        try:
            more = sock.recv(size - len(data))
        except OSError:
            return None
        if not more:
            return None
        data += more
        if size == 4 == len(data):
            size += struct.unpack(">i", data)[0]
    return data[4:]


def _send(sock: socket.socket, body: bytes) -> None:
    with contextlib.suppress(OSError):  # the end is seen by who reads
        sock.sendall(struct.pack(">i", len(body)) + body)


class Keeper:
    """Listens before the server at `port`, itself at `host` and `port_here`.

    `unknown` are opcodes it hangs up on, without a word. `down(body)` and `up(body)` may change frames behind the
    handshakes, `greeting(body)` the client's handshake; `up` may return None for a frame that is to be lost.
    """

    def __init__(self, port: int, unknown: Iterable[int] = (), host: str = "127.0.0.1", port_here: int = 0) -> None:
        self.target = ("127.0.0.1", port)
        self.unknown: Set[int] = set(unknown)
        self.down: Callable[[bytes], bytes] = lambda body: body
        self.up: Callable[[bytes], Optional[bytes]] = lambda body: body
        self.greeting: Callable[[bytes], bytes] = lambda body: body
        #: Opcodes as they came, pings included.
        self.seen: List[int] = []
        self.connections = 0
        self._pairs: List[tuple[socket.socket, socket.socket]] = []
        self._threads: List[threading.Thread] = []
        self._listener = socket.create_server((host, port_here))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def hosts(self) -> str:
        """The proxy as a connect string."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """End all connections."""
        for pair in list(self._pairs):
            self._kill(pair)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _kill(pair: tuple[socket.socket, socket.socket]) -> None:
        for sock in pair:
            with contextlib.suppress(OSError):  # it has ended already
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            self._pairs.append(pair)
            self._start(self._upwards, pair)
            self._start(self._downwards, pair)

    def _upwards(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        first = _frame(client)
        if first is not None:
            _send(server, self.greeting(first))
            while True:
                body = _frame(client)
                if body is None:
                    break
                (opcode,) = struct.unpack_from(">i", body, 4)
                self.seen.append(opcode)
                if opcode in self.unknown:
                    break
                changed = self.up(body)
                if changed is not None:
                    _send(server, changed)
        self._kill(pair)

    def _downwards(self, pair: tuple[socket.socket, socket.socket]) -> None:
        client, server = pair
        first = _frame(server)
        if first is not None:
            _send(client, first)
            while True:
                body = _frame(server)
                if body is None:
                    break
                _send(client, self.down(body))
        self._kill(pair)

    def close(self) -> None:
        """End it, its connections and its threads."""
        with contextlib.suppress(OSError):  # closing alone would not wake a thread in accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(5)
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for pair in self._pairs:
            for sock in pair:
                sock.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


__all__ = ["Keeper"]
