"""One connection as asyncio sees it, from the attempt to connect to its end, with TLS or without.

Owns the attempt, then the transport. Must not know sessions: see `Owner` for what it knows. How an attempt goes is the
dialer's, for both fronts; here the event loop does what the blocking front does by polling.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, List, Optional, Protocol, Union

from ..errors import TLSError
from .dialer import READ, WRITE, Address, Attempt, SecureAttempt, Socket, failure
from .process import now, track
from .tls import RECEIVE, Tls, TlsSocket

#: The reason of a loss when the server has hung up in due form.
CLOSED = "the server closed the connection"
#: An event loop that watches no sockets but its own (Windows) looks at an attempt every so many seconds.
GLANCE = 0.01


class Owner(Protocol):
    """What a channel needs of its owner."""

    def connected(self, channel: Channel) -> None:
        """Bytes may be written."""

    def received(self, channel: Channel, data: bytes) -> None:
        """Bytes have come."""

    def lost(self, channel: Channel, reason: Union[str, TLSError]) -> None:
        """The connection has ended, or could not be made."""

    def resumed(self, channel: Channel) -> None:
        """More may be written; what was written before has left."""


class Channel(asyncio.BufferedProtocol):
    """One connection: what comes of `attempt`, on this event loop. Call `step` to begin, and when a name is resolved.

    `key` is the owner's, to know it by.
    """

    def __init__(self, loop: Any, owner: Owner, attempt: Union[Attempt, SecureAttempt], key: Any = None) -> None:
        self._loop, self._owner, self.key = loop, owner, key
        self._attempt: Union[Attempt, SecureAttempt, None] = attempt
        self._watched: List[int] = []
        self._timer: Optional[asyncio.TimerHandle] = None
        self._adopting: Optional[asyncio.Task[None]] = None
        self._fd = -1
        self._buffer = memoryview(bytearray(RECEIVE))
        self._tls: Optional[Tls] = None
        self._early = b""
        self._over = False
        #: The address that is connected.
        self.address: Optional[Address] = None
        #: Whether bytes go to `transport.write` as they are; else they go to `encrypt`.
        self.plain = True
        #: Whether what is written would not leave at once.
        self.paused = True
        self.transport: Any = None
        track(self)

    # ------------------------------------------------------------------ the attempt

    def step(self) -> None:
        """Go on with the attempt to connect."""
        attempt = self._attempt
        if attempt is None:
            return
        self._stop_watching()
        try:
            sock = attempt.step(now())
            if sock is None:
                self._watch(attempt)
            else:
                self._adopt(sock, attempt.address)
        except Exception as error:  # whatever it is, it is the end of this attempt and not of the client
            self._fail(error)

    def _watch(self, attempt: Union[Attempt, SecureAttempt]) -> None:
        delay = max(0.0, attempt.next_step - now())
        try:
            for fd, mask in attempt.waiting_for:
                self._watched.append(fd)
                if mask & READ:
                    self._loop.add_reader(fd, self.step)
                if mask & WRITE:
                    self._loop.add_writer(fd, self.step)
        except NotImplementedError:
            self._watched.clear()
            delay = min(delay, GLANCE)
        self._timer = self._loop.call_later(delay, self.step)

    def _stop_watching(self) -> None:
        """Before the attempt closes a socket, the loop must have forgotten it."""
        for fd in self._watched:
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _adopt(self, sock: Socket, address: Optional[Address]) -> None:
        """Have the event loop make a transport of a connected socket."""
        self._attempt, self.address = None, address
        if isinstance(sock, TlsSocket):
            sock, self._tls, self._early = sock.detach()
            self.plain = False
        self._fd = sock.fileno()

        async def adopt() -> None:
            try:
                await self._loop.create_connection(lambda: self, sock=sock)
            except BaseException as error:
                self._fd = -1
                sock.close()
                if not isinstance(error, Exception):
                    raise
                self._fail(error)

        self._adopting = self._loop.create_task(adopt())

    def _fail(self, error: Exception) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up()
        if not self._over:
            self._over = True
            self._owner.lost(self, error if isinstance(error, TLSError) else str(failure(error)))

    # ------------------------------------------------------------------ for the owner

    def end(self) -> None:
        """Connect no more, or hang up."""
        self._over = True
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self._stop_watching()
            attempt.give_up()
        if self.transport is not None:
            if self._tls is not None:
                self.transport.write(self._tls.farewell())
            self.transport.abort()

    def disown(self) -> None:
        """In the child of a fork: let go of the socket, without a word to the server. asyncio may close it later on.

        The event loop is not to be told: it would tell the kernel, and so the parent.
        """
        if self._attempt is not None:
            self._attempt.give_up()
        if self._fd >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, self._fd)
            os.close(nothing)

    @property
    def lag(self) -> int:
        """How many of the bytes written have not left yet. 0 with TLS, which cannot tell, and takes few at a time."""
        return 0 if self._tls is not None or self.transport is None else int(self.transport.get_write_buffer_size())

    def encrypt(self, data: Union[bytes, memoryview]) -> int:
        """Send the first bytes over TLS; how many. None, if TLS has to hear something first, or has failed."""
        assert self._tls is not None  # noqa: S101  # the owner has looked at `plain`
        count = self._tls.encrypt(data)
        self._speak(self._tls)
        return count

    # ------------------------------------------------------------------ for asyncio

    def connection_made(self, transport: Any) -> None:
        self.transport, self._adopting = transport, None
        if self._over:
            transport.abort()
            return
        transport.set_write_buffer_limits(0)  # so that little counts as sent that was not
        self.paused = False
        self._owner.connected(self)
        if self._early and not self._over:
            self._owner.received(self, self._early)

    # The other kind of protocol gets new bytes for each receipt, which asyncio cuts out of 256 KiB. Depending on what
    # the C library has allocated before, that takes three system calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data, tls = bytes(self._buffer[:nbytes]), self._tls
        if tls is not None:
            data = tls.received(data)
            self._speak(tls)
        if data and not self._over:
            self._owner.received(self, data)
        if tls is not None:
            if not self._over:
                self._owner.resumed(self)  # perhaps it had to hear this before it takes more
            if tls.over:
                self.transport.abort()

    def eof_received(self) -> None:
        self.transport.abort()  # asyncio would first wait until all that was written has gone

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._fd = -1
        if self._over:
            return
        self._over = True
        error = None if self._tls is None else self._tls.error
        self._owner.lost(self, error or (str(exc) if exc else CLOSED))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if not self._over:
            self._owner.resumed(self)

    # -------------------------------------------------------------------------- TLS

    def _speak(self, tls: Tls) -> None:
        """Send what TLS has to say; its failure is the end."""
        data = tls.outgoing()
        if data:
            self.transport.write(data)
        if tls.error is not None:
            self.transport.abort()
