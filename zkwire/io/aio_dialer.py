"""One connection as asyncio sees it, from the attempt to the end, with TLS or without.

Owns the transport. Must not know sessions; whom it serves has `connected`, `received`, `lost` and `flush`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Optional, Protocol, Union

from ..errors import TLSError
from .process import track
from ..session.host_provider import Host
from .tls import SILENCE, Tls


#: Why a wire is lost whose server has hung up in due form.
CLOSED = "the server closed the connection"


class Owner(Protocol):
    """Whom a wire serves."""

    def _connected(self, wire: Wire) -> None:
        """Bytes may be written."""

    def _received(self, wire: Wire, data: bytes) -> None:
        """Bytes have come, perhaps none."""

    def _lost(self, wire: Wire, reason: Union[str, TLSError]) -> None:
        """It has ended, or could not be made."""

    def _flush(self) -> None:
        """The transport takes more."""


class Wire(asyncio.Protocol):
    """One connection to `host`; with an `ssl.SSLContext`, one whose handshake is TLS."""

    def __init__(self, owner: Owner, host: Host, context: Any) -> None:
        self._owner, self._host, self._context = owner, host, context
        self._tls: Optional[Tls] = None
        self._listens = False
        self._timer: Optional[asyncio.TimerHandle] = None
        self._dialling: Optional[asyncio.Task[None]] = None
        self._over = False
        self.transport: Any = None
        track(self)

    def dial(self) -> None:
        """Connect, for as long as the owner has patience."""
        self._dialling = asyncio.get_running_loop().create_task(self._dial())

    async def _dial(self) -> None:
        host = self._host
        # For addresses there is no race to be run; cancelled in the middle of one, asyncio forgets to close a socket.
        delay = 0.25 if host.name[-1:].isalpha() and ":" not in host.name else None
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, host.name, host.port, happy_eyeballs_delay=delay)
        except (OSError, UnicodeError) as error:
            self._owner._lost(self, str(error))

    def end(self) -> None:
        """Connect no more, or hang up."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is not None:
            if self._tls is not None and self._tls.ready:
                self.transport.write(self._tls.farewell())
            self.transport.abort()
        elif self._dialling is not None:
            self._dialling.cancel()

    def disown(self) -> None:
        """In the child of a fork: let go of the socket, without a word to the server. asyncio may close it later on."""
        if self.transport is not None:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, self.transport.get_extra_info("socket").fileno())
            os.close(nothing)

    @property
    def writable(self) -> bool:
        """Whether what is written leaves at once."""
        return self.transport is not None and not self.transport.get_write_buffer_size()

    @property
    def lag(self) -> int:
        """Of the bytes written, so many have not left yet. 0 with TLS, which cannot tell, and takes few at a time."""
        return 0 if self._tls is not None or self.transport is None else int(self.transport.get_write_buffer_size())

    def write(self, data: Union[bytes, memoryview]) -> int:
        """Send the first bytes; how many. None, if TLS has to hear something first, or has failed."""
        if self._tls is None:
            self.transport.write(data)
            return len(data)
        count = self._tls.encrypt(data)
        self._speak()
        return count

    # ------------------------------------------------------------------ for asyncio

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(0)  # so that little counts as sent that was not
        if self._over:
            transport.abort()
        elif self._context is None:
            self._owner._connected(self)
        else:
            self._tls = Tls(self._context, self._host.name)
            if self._listens:
                self._timer = asyncio.get_running_loop().call_later(SILENCE, self._take, b"")
            else:
                self._take(b"")

    def data_received(self, data: bytes) -> None:
        if self._tls is None:
            self._owner._received(self, data)
        else:
            self._take(data)

    def eof_received(self) -> None:
        self.transport.abort()  # asyncio would first wait until all that was written has gone

    def connection_lost(self, exc: Optional[Exception]) -> None:
        reason: Union[str, TLSError] = str(exc) if exc else CLOSED
        if self._timer is not None:
            self._timer.cancel()
        if self._tls is not None and self._tls.error is not None:
            reason = self._tls.error
        elif self._tls is not None and not self._tls.ready and not self._over:
            meaning = self._tls.hung_up(self._listens)
            if meaning is None:
                self._tls, self.transport, self._listens = None, None, True
                self.dial()
                return
            reason = meaning if isinstance(meaning, TLSError) else str(meaning)
        self._owner._lost(self, reason)

    def resume_writing(self) -> None:
        self._owner._flush()

    # -------------------------------------------------------------------------- TLS

    def _take(self, data: bytes) -> None:
        """Bytes of the server; none, to begin with."""
        tls = self._tls
        if tls is None or self._over:
            return
        was_ready = tls.ready
        plain = tls.received(data)
        self._speak()
        if tls.ready and not was_ready:
            self._owner._connected(self)
        if tls.ready:
            self._owner._received(self, plain)
        if tls.over:
            self.transport.abort()

    def _speak(self) -> None:
        """Send what TLS has to say; its failure is the end."""
        assert self._tls is not None  # noqa: S101  # the caller looked
        data = self._tls.outgoing()
        if data:
            self.transport.write(data)
        if self._tls.error is not None:
            self.transport.abort()
