"""One connection as asyncio sees it, from the attempt to connect to its end, with TLS or without.

Owns the attempt, then the transport. Must not know sessions: see `ChannelOwner` for what it calls. The attempt is the
dialer's, as on the blocking front; here the event loop waits for its sockets instead of poll.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any, List, Optional, Protocol, Union

from ..errors import TLSError
from .dialer import READ, WRITE, Address, failure
from .process import now, track

if TYPE_CHECKING:
    from .attempts import AnyAttempt
    from .dialer import Socket
    from .tls import Tls

#: The most that is read in one call, in bytes.
RECEIVE = 64 * 1024
#: The reason of a loss when the server has closed the connection in order.
CLOSED = "the server closed the connection"
#: How often, in seconds, an attempt is looked at on an event loop that cannot watch foreign sockets (Windows).
GLANCE = 0.01


class ChannelOwner(Protocol):
    """The methods a channel calls on its owner."""

    def connected(self, channel: Channel) -> None:
        """The connection is made: bytes may be written."""

    def received(self, channel: Channel, data: bytes) -> None:
        """Bytes have arrived."""

    def lost(self, channel: Channel, reason: Union[str, TLSError]) -> None:
        """The connection has ended, or could not be made."""

    def resumed(self, channel: Channel) -> None:
        """All that was written before has left; more may be written."""


class Channel(asyncio.BufferedProtocol):
    """One connection: the result of `attempt`, on this event loop. Call `step` to begin, and when a name is resolved.

    `key` belongs to the owner, which recognizes the channel by it.
    """

    def __init__(self, loop: Any, owner: ChannelOwner, attempt: AnyAttempt, key: Any = None) -> None:
        self._loop, self._owner, self.key = loop, owner, key
        self._attempt: Optional[AnyAttempt] = attempt
        self._watched: List[int] = []
        self._timer: Optional[asyncio.TimerHandle] = None
        self._adopting: Optional[asyncio.Task[None]] = None
        self._fd = -1
        self._buffer = memoryview(bytearray(RECEIVE))
        self._tls: Optional[Tls] = None
        self._early = b""
        self._over = False
        #: The address that was connected.
        self.address: Optional[Address] = None
        #: Whether bytes go to `transport.write` directly; else they go to `encrypt`.
        self.plain = True
        #: Whether more bytes would have to wait in this process.
        self.paused = True
        self.transport: Any = None
        track(self)

    # ------------------------------------------------------------------ the attempt

    def step(self) -> None:
        """Continue the attempt to connect."""
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
        except Exception as error:  # any exception ends this attempt, not the client
            self._fail(error)

    def _watch(self, attempt: AnyAttempt) -> None:
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
        """Have the event loop forget the sockets before the attempt closes them."""
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
        if not isinstance(sock, socket.socket):
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
        """Give up the attempt, or close the connection."""
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
        """In the child of a fork: drop the socket without sending anything to the server. asyncio may close it later.

        The event loop is not informed: it would change the kernel's selector, which the parent shares.
        """
        if self._attempt is not None:
            self._attempt.give_up()
        if self._fd >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, self._fd)
            os.close(nothing)

    @property
    def lag(self) -> int:
        """The number of bytes written that have not left yet; 0 with TLS, which takes only few at a time."""
        return 0 if self._tls is not None or self.transport is None else int(self.transport.get_write_buffer_size())

    def encrypt(self, data: Union[bytes, memoryview]) -> int:
        """Encrypt and send the first bytes; returns how many. None if TLS has to receive first, or has failed."""
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
        transport.set_write_buffer_limits(0)  # so that few bytes are counted as sent and are not
        self.paused = False
        self._owner.connected(self)
        if self._early and not self._over:
            self._owner.received(self, self._early)

    # A protocol that is not buffered gets a new bytes object for each receipt, cut by asyncio out of 256 KiB.
    # Depending on what the C library has allocated before, that takes three system calls.

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
                self._owner.resumed(self)  # TLS may have waited for these bytes before it can send more
            if tls.over:
                self.transport.abort()

    def eof_received(self) -> None:
        self.transport.abort()  # close() would wait until all that was written has left

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
        """Send the bytes of TLS itself; its failure ends the connection."""
        data = tls.outgoing()
        if data:
            self.transport.write(data)
        if tls.error is not None:
            self.transport.abort()
