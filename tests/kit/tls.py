"""TLS for servers that speak none: a relay that ends TLS before a plain port, and does with records what a test wants.

What is done to bytes rather than to records (cutting, dripping, black holes) is for a fault proxy before the relay.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import ssl
import struct
import threading
from typing import Any, Callable, List, Optional

from tests.kit.harness import pki


def _libssl(name: str) -> Any:
    """A function of the libssl that Python itself uses."""
    import _ssl

    return getattr(ctypes.CDLL(_ssl.__file__), name)


def _handle(sslobject: Any) -> ctypes.c_void_p:
    """The SSL* in an `ssl.SSLObject`: behind the head of the object and the weak reference to its socket."""
    inner = sslobject._sslobj
    return ctypes.c_void_p.from_address(id(inner) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p))


def key_update(sslobject: Any) -> None:
    """New keys (TLS 1.3), and ask the peer for new ones too; `ssl` has no way to say so."""
    assert _libssl("SSL_key_update")(_handle(sslobject), 1) == 1
    sslobject.do_handshake()


def renegotiate(sslobject: Any) -> None:
    """A new handshake (TLS 1.2), asked for by the server."""
    assert _libssl("SSL_renegotiate")(_handle(sslobject)) == 1
    with contextlib.suppress(ssl.SSLWantReadError):
        sslobject.do_handshake()


class Peer:
    """The server's side of TLS over memory: bytes in, bytes out."""

    def __init__(self, context: Optional[ssl.SSLContext] = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = (context or pki.server_context()).wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.ready = False

    def received(self, data: bytes) -> bytes:
        """What the client's bytes hold; raises `ssl.SSLError`."""
        self.incoming.write(data)
        plain = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            if not self.ready:
                self.object.do_handshake()
                self.ready = True
            while True:
                part = self.object.read(65536)
                if not part:
                    break
                plain += part
        return plain


class Relay:
    """Listens on 127.0.0.1 with TLS, and passes all on to a plain port; client certificates as the context says."""

    def __init__(self, port: int, context: Optional[ssl.SSLContext] = None) -> None:
        self._target, self._context = port, context or pki.server_context()
        self._context.sni_callback = lambda sock, name, ctx: self.names.append(name)
        #: The names clients have asked for.
        self.names: List[Optional[str]] = []
        self.connections = 0
        #: So many replies go into one record.
        self.gather = 1
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: List[_End] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def hosts(self) -> str:
        """The relay as a connect string."""
        return f"127.0.0.1:{self.port}"

    def use(self, context: ssl.SSLContext) -> None:
        """Another certificate, from the next connection on."""
        self._context = context

    def tell(self, what: Callable[[Any], None]) -> None:
        """Have every connection do something to its `ssl.SSLObject`."""
        for end in self._ends:
            end.tell(what)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            end = _End(self, sock, self._target, Peer(self._context))
            self._ends.append(end)
            thread = threading.Thread(target=end.run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End it, with all its connections and threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake a thread in accept
        self._listener.close()
        self._threads[0].join(5)
        for end in self._ends:
            end.tell(None)
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _End:
    """One connection of a relay, on a thread of its own."""

    def __init__(self, relay: Relay, sock: socket.socket, target: int, peer: Peer) -> None:
        self._relay, self._sock, self._target, self._peer = relay, sock, target, peer
        self._woken, self._wake = socket.socketpair()
        self._todo: List[Optional[Callable[[Any], None]]] = []
        self._over = False

    def tell(self, what: Optional[Callable[[Any], None]]) -> None:
        """Do this on the connection's thread; None ends it."""
        self._todo.append(what)
        with contextlib.suppress(OSError):  # it has ended already
            self._wake.send(b"\0")

    def run(self) -> None:
        with self._sock, self._woken, self._wake, contextlib.suppress(OSError):  # OSError: somebody has gone
            try:
                with socket.create_connection(("127.0.0.1", self._target), 5) as plain:
                    self._relay_all(plain)
            finally:
                with contextlib.suppress(OSError):
                    self._sock.sendall(self._peer.outgoing.read())

    def _relay_all(self, plain: socket.socket) -> None:
        held = b""
        while not self._over:
            ready, _, _ = select.select([self._sock, plain, self._woken], [], [], 30)
            if self._woken in ready:
                self._woken.recv(1)
                what = self._todo.pop(0)
                if what is None:
                    return
                what(self._peer.object)
            if self._sock in ready:
                data = self._sock.recv(65536)
                if not data:
                    return
                plain.sendall(self._peer.received(data))
                held = self._write(held)
            if plain in ready:
                data = plain.recv(65536)
                if not data:
                    with contextlib.suppress(ssl.SSLError):
                        self._peer.object.unwrap()  # the client is told that this is the end
                    return
                held = self._write(held + data)
            self._sock.sendall(self._peer.outgoing.read())

    def _write(self, held: bytes) -> bytes:
        """Send frames, if there are enough; what is to wait."""
        frames, at = 0, 0
        gather = self._relay.gather
        while gather > 1 and at + 4 <= len(held):
            at += 4 + struct.unpack_from(">i", held, at)[0]
            frames += 1
        if gather == 1 or frames >= gather:
            with contextlib.suppress(ssl.SSLWantReadError):  # in the midst of a new handshake
                while held:
                    held = held[self._peer.object.write(held[:16384]) :]
        return held


__all__ = ["Peer", "Relay", "key_update", "renegotiate"]
