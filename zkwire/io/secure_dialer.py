"""One attempt to connect with TLS.

Owns the order of TCP connect and TLS handshake, and finds out why a server closed the connection. Must not know the
protocol. A TLS handshake belongs to one address: if it fails, so does the attempt, and the next attempt uses another
address.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from ..errors import TLSError
from .dialer import READ, WRITE, Address, Attempt, LookUp, failure, wait_for
from .tls import SILENCE, Tls, TlsSocket


class SecureAttempt:
    """As `Attempt`, followed by a TLS handshake; a second connection finds out why a server closed the first."""

    def __init__(self, tcp: Attempt, context: Any) -> None:
        self.target, self._tcp, self._context = tcp.target, tcp, context
        self._socket: Optional[TlsSocket] = None
        self._listens = False
        self._silent_until: Optional[float] = None

    def step(self, now: float) -> Optional[TlsSocket]:
        """A socket with TLS on it, or None while there is none yet. Raises `OSError` and `TLSError`."""
        try:
            return self._step(now)
        except (OSError, TLSError):
            self.give_up()
            raise
        except Exception as error:  # for example of a user's subclass of SSLContext
            self.give_up()
            raise failure(error) from error

    def _step(self, now: float) -> Optional[TlsSocket]:
        if self._socket is None:
            sock = self._tcp.step(now)
            if sock is None:
                return None
            try:
                tls = Tls(self._context, self.target.host.name)
            except BaseException:
                sock.close()
                raise
            self._socket = TlsSocket(sock, tls)
            self._silent_until = now + SILENCE if self._listens else None
        silent = self._silent_until is not None and now < self._silent_until
        if not silent or wait_for(0, (self._socket.fileno(), READ)):
            self._silent_until = None
            done = self._socket.handshake(self._listens)
            if done:
                done_with, self._socket = self._socket, None
                return done_with
            if done is None:
                self._ask_again()
                return self._step(now)
        if now >= self.target.deadline:
            raise TimeoutError("the server did not finish the TLS handshake in time")
        return None

    def _ask_again(self) -> None:
        """Connect to the same address once more, and wait for the server before sending anything."""
        address = self.address
        assert address is not None and self._socket is not None  # noqa: S101  # it was connected
        self._socket.close()
        self._socket, self._listens = None, True
        self._tcp = Attempt(self.target, LookUp(self.target.host, [address]), list, lambda again: None)

    @property
    def address(self) -> Optional[Address]:
        """The address that was connected, once `step` has returned a socket."""
        return self._tcp.address

    @property
    def next_step(self) -> float:
        """The latest time to call `step` again."""
        if self._socket is None:
            return self._tcp.next_step
        deadline = self.target.deadline
        return deadline if self._silent_until is None else min(self._silent_until, deadline)

    @property
    def waiting_for(self) -> List[Tuple[int, int]]:
        """The file descriptors to poll, and the events to poll for."""
        if self._socket is None:
            return self._tcp.waiting_for
        return [(self._socket.fileno(), READ | (WRITE if self._socket.blocked else 0))]

    def give_up(self) -> None:
        """Close all sockets of the attempt."""
        self._tcp.give_up()
        sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()
