"""TLS: encrypts and decrypts the bytes of a session, and explains failures.

Owns the handshake, records, the name that is checked, and the error texts. Must not know threads, event loops or
polling. All checks are those of the user's `ssl.SSLContext`; `ssl` is imported only by clients that have a context.

OpenSSL works on buffers here, not on the socket. Both fronts share this, no two threads are ever inside a socket of
OpenSSL (python/cpython#137583), no decrypted bytes are hidden from poll, and no call blocks.
"""

from __future__ import annotations

import socket
from typing import Any, List, Optional, Sequence, Tuple, Union

from ..errors import TLSError
from ..session.host_provider import Host

#: The limit of one record (RFC 8446, 5.1). Bytes sent record by record are known to have left, or not to have.
RECORD = 16 * 1024
RECEIVE = 64 * 1024
#: The limit of bytes of TLS itself that wait to be sent; a server that makes the client exceed it is hostile.
LONGEST_REPLY = 256 * 1024
#: If a server closes the connection after ClientHello, the client connects again and waits silently this long, in s.
SILENCE = 0.2

_NAME = "dial the server by a name its certificate has"
_AUTHORITY = "have the context trust the CA that signed it: ssl.create_default_context(cafile=...)"
#: OpenSSL's verification error (X509_V_ERR_...) to advice.
_VERIFY = {
    9: "is the clock of this machine right?", 10: "renew it at the server; or is the clock of this machine wrong?",
    18: _AUTHORITY, 19: _AUTHORITY, 20: _AUTHORITY, 21: _AUTHORITY, 62: _NAME, 64: _NAME,
}  # fmt: skip
#: Part of OpenSSL's reason to its meaning.
_REASONS = (
    ("WRONG_VERSION_NUMBER", "its answer is not TLS: this is a plain port, or another service"),
    ("HTTP_REQUEST", "its answer is not TLS: this is another service"),
    ("PROTOCOL_VERSION", "it speaks none of the context's versions of TLS"),
    ("UNSUPPORTED_PROTOCOL", "it speaks none of the context's versions of TLS"),
    ("CERTIFICATE", "it refuses a client without a certificate it trusts: give the context one, with load_cert_chain"),
    ("ALERT_UNKNOWN_CA", "it does not trust the CA that signed this client's certificate"),
    ("HANDSHAKE_FAILURE", "no cipher in common, or it wants a client certificate: see load_cert_chain"),
)


def server_name(name: str) -> str:
    """The name that the certificate is checked for and SNI sends: the configured name, as certificates write it."""
    return name.partition("%")[0] if ":" in name else name[:-1] if name.endswith(".") else name


def check_names(context: Any, hosts: Sequence[Host]) -> None:
    """`TypeError` or `ValueError` if this context cannot make a connection to one of the hosts; None is allowed."""
    if context is None:
        return
    import ssl

    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, of ssl.create_default_context() say, not {context!r}")
    if context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise ValueError("ssl_context is that of a server; a client's is made by ssl.create_default_context(), say")
    for host in hosts:
        try:
            Tls(context, host.name)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"ssl_context is of no use for a connection to {host.name!r}: {error}") from error


class Tls:
    """The TLS of one connection, without its socket. After each `received` and `encrypt`, send the bytes of `outgoing`.

    These never raise: the error is in `error`, and all bytes before it were returned.
    """

    def __init__(self, context: Any, name: str) -> None:
        import ssl

        self._ssl = ssl
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._in, self._out, server_hostname=server_name(name))
        #: Whether the handshake is done.
        self.ready = False
        #: Whether the server has closed the TLS connection in order.
        self.over = False
        self.error: Optional[TLSError] = None
        self._spoken = self._heard = False

    def received(self, data: bytes) -> bytes:
        """Take bytes from the socket (none to begin with); returns the decrypted bytes for the session."""
        parts: List[bytes] = []
        self._spoken, self._heard = True, self._heard or bool(data)
        try:
            self._in.write(data)
            if not self.ready:
                self._object.do_handshake()
                self.ready = True
            while True:
                part = self._object.read(RECORD)
                if not part:
                    self.over = True
                    break
                parts.append(part)
        except self._ssl.SSLWantReadError:
            if self._out.pending > LONGEST_REPLY:
                self.error = TLSError("the server asks for handshakes without end")
        except self._ssl.SSLZeroReturnError:
            self.over = True
        except self._ssl.SSLError as error:
            self.error = _explained(error)
        return b"".join(parts)

    def encrypt(self, data: Union[bytes, memoryview]) -> int:
        """Encrypt the first bytes for the server; returns how many. None if TLS has to receive something first."""
        try:
            return int(self._object.write(data[:RECORD]))
        except self._ssl.SSLWantReadError:
            return 0  # during a new handshake
        except self._ssl.SSLError as error:
            self.error = _explained(error)
            return 0

    def outgoing(self) -> bytes:
        """The bytes for the socket."""
        return bytes(self._out.read())

    def farewell(self) -> bytes:
        """The bytes that close the TLS connection in order."""
        try:
            self._object.unwrap()
        except self._ssl.SSLError:  # the answer is not awaited; or there is no connection
            pass
        return self.outgoing()

    def hung_up(self, listened: bool) -> Union[OSError, TLSError, None]:
        """The meaning of a hang-up during the handshake. None: connect again, and wait silently for `SILENCE`.

        A server that closes the connection after ClientHello may be a plain port. Or it closes all connections, as a
        member of an ensemble without a quorum does before TLS begins (NettyServerCnxnFactory, channelActive).
        """
        if not self._spoken:
            return ConnectionError("the server hangs up before TLS begins (not serving?)")
        if self._heard:
            return ConnectionError("the server hung up in the midst of the TLS handshake")
        if not listened:
            return None
        return TLSError("it hangs up on TLS: this is a plain port (ssl_context= is for the secureClientPort)")


class TlsSocket:
    """A connected socket that never blocks, with TLS on it; the methods are those of a socket. Not thread-safe."""

    def __init__(self, sock: socket.socket, tls: Tls) -> None:
        self._sock, self._tls = sock, tls
        self._rest = b""  # encrypted, not sent yet
        self._taken = 0  # the number of the session's bytes in it
        self._early = b""

    @property
    def blocked(self) -> bool:
        """Whether encrypted bytes wait until the socket has room."""
        return bool(self._rest)

    def handshake(self, listened: bool) -> Optional[bool]:
        """Continue the handshake; returns whether it is done. None and errors as in `Tls.hung_up`; `TLSError`."""
        tls, data, over = self._tls, b"", False
        try:
            data = self._sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            pass
        except ConnectionError:
            over = True
        else:
            over = not data
        if over:
            error = tls.hung_up(listened)
            if error is not None:
                raise error
            return None
        self._early += tls.received(data)
        self._push_some()
        if tls.error is not None:
            raise tls.error
        return tls.ready and not self._rest

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send a record; returns how many bytes of `data` have left. None if TLS has to receive something first.

        A server can do nothing with half a record, so it has certainly not processed any byte that is not counted here.
        Raises as a socket does, and `TLSError`. After `BlockingIOError`, call again with the same data.
        """
        if not self._taken:
            self._taken = self._tls.encrypt(data)
        try:
            self._push()
        except (BlockingIOError, InterruptedError):
            raise
        except OSError:
            try:
                self._tls.received(self._sock.recv(RECEIVE))  # the server may have sent an alert with the reason
            except OSError:
                pass
            if self._tls.error is None:
                raise
        if self._tls.error is not None:
            raise self._tls.error
        taken, self._taken = self._taken, 0
        return taken

    def recv(self, size: int) -> bytes:
        """All received bytes for the session, about `size` at most. Raises as `send` does."""
        tls, data = self._tls, self._early
        if data:
            self._early = b""
            return data
        if tls.error is None and not tls.over:
            data = self._sock.recv(size)
            if not data:
                return data
            data = tls.received(data)
            self._push_some()
            if tls.error is not None or tls.over:
                self._shut()  # so that poll reports the end at once
        if data:
            return data
        if tls.error is not None:
            raise tls.error
        if tls.over:
            return b""
        raise BlockingIOError("no whole record yet")

    def _push(self) -> None:
        """Send the bytes of TLS itself."""
        while True:
            self._rest = self._rest or self._tls.outgoing()
            if not self._rest:
                return
            self._rest = self._rest[self._sock.send(self._rest) :]

    def _push_some(self) -> None:
        """Send what the socket takes; the rest goes with the next record, and the next call raises the error."""
        try:
            self._push()
        except OSError:
            pass

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # gone already
            pass

    def detach(self) -> Tuple[socket.socket, Tls, bytes]:
        """After the handshake: the socket, its TLS, and the received bytes for the session, all for the caller."""
        return self._sock, self._tls, self._early

    def fileno(self) -> int:
        """The file descriptor, for poll."""
        return self._sock.fileno()

    def shutdown(self, how: int) -> None:
        """Close the TLS connection, without waiting for the answer."""
        if not self._rest:
            self._rest = self._tls.farewell()
            self._push_some()
        self._sock.shutdown(how)

    def close(self) -> None:
        """Close the socket without sending anything: after a fork the connection belongs to the parent."""
        self._sock.close()


def _explained(error: Any) -> TLSError:
    """OpenSSL's error as a `TLSError`, with advice."""
    code = getattr(error, "verify_code", None)
    if code is not None:
        advice = _VERIFY.get(code, "see the checks of the context")
        return TLSError(f"its certificate is refused: {error.verify_message.rstrip('.')}; {advice}")
    reason = error.reason or ""
    meaning = next((text for part, text in _REASONS if part in reason), "the TLS connection has failed")
    return TLSError(f"{meaning} ({reason or error})")
