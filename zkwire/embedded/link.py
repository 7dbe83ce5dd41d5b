"""One connection of a client, without its socket: frames in, bytes out, its identities, and its network faults.

Owns framing, the output queue and the faults of one connection. Must not know requests or sessions.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

from ..values import Id
from .conditions import Weather

_LENGTH = struct.Struct(">i")


class ServerLink:
    """One connection. `address` is the client's host and port.

    The link enters itself into `stirred` when there is something to do for it: bytes to send, or its end.
    """

    def __init__(
        self, address: Tuple[str, int], weather: Weather, now: float, stirred: Dict[ServerLink, None]
    ) -> None:
        self.address, self.weather, self._stirred = address, weather, stirred
        self.ids: List[Id] = [Id("ip", address[0])]
        self.session_id = 0
        self.timeout_ms = 0
        #: None until the handshake; then whether the client sends the readOnly byte.
        self.knows_read_only: Optional[bool] = None
        self.sasl: Any = None
        self.accepted, self.heard = now, now
        self.received = self.sent = 0
        self.last_operation, self.last_xid, self.last_zxid = "NA", 0, 0
        self.closing = False
        #: Closed at once: nothing more is sent, not even queued bytes.
        self.dead = False
        #: Whether the connection ends with a reset.
        self.reset = False
        #: Requests that have not been carried out, because an earlier one waits.
        self.backlog: Deque[Any] = deque()
        #: What waits until the server has applied a zxid, which is given first.
        self.parked: Deque[Tuple[int, Callable[[float], None]]] = deque()
        #: Whether the client has asked for the end of its session.
        self.leaving = False
        self._in = bytearray()
        self._held = bytearray()
        #: When each piece was queued, how much later it arrives by `jitter` and `rate`, and its bytes.
        self._out: Deque[Tuple[float, float, bytes]] = deque()
        self._line_free = 0.0

    # ------------------------------------------------------------------------------- input

    def feed(self, data: bytes) -> bool:
        """Take bytes from the client; returns whether they arrive now."""
        if self.weather.hold_in:
            self._held += data
            return False
        self._in += self._held + data
        self._held.clear()
        return True

    def word(self) -> Optional[bytes]:
        """The first four bytes of a new connection, which may be a four-letter word; None until they have arrived."""
        return bytes(self._in[:4]) if len(self._in) >= 4 else None

    def frames(self, limit: int) -> Iterator[bytes]:
        """The complete frames received so far; an invalid length closes the connection."""
        while not self.closing and len(self._in) >= 4:
            length: int = _LENGTH.unpack_from(self._in)[0]
            if not 0 <= length <= limit:
                self.kill()
                return
            if len(self._in) < 4 + length:
                return
            frame = bytes(self._in[4 : 4 + length])
            del self._in[: 4 + length]
            self.received += 1
            yield frame

    # ------------------------------------------------------------------------------ output

    def send(self, payload: bytes, now: float) -> None:
        """Queue a frame."""
        self.send_raw(_LENGTH.pack(len(payload)) + payload, now)

    def send_raw(self, data: bytes, now: float) -> None:
        """Queue bytes that are no frame. Bytes queued after `close` are dropped."""
        if not self.closing:
            self.sent += 1
            self._out.append((now, self._lateness(len(data), now), data))
            self.stir()

    def _lateness(self, size: int, now: float) -> float:
        weather = self.weather
        late = weather.jitter() if weather.jitter is not None else 0.0
        if weather.rate:
            self._line_free = max(self._line_free, now) + size / weather.rate
            late += self._line_free - now
        return late

    def lose_answers(self) -> None:
        """Break the connection before any byte more is sent, as if the network did."""
        self.weather.cut_after = 0
        self.stir()

    def close(self) -> None:
        """Close the connection once all queued bytes are sent."""
        self.closing = True
        self.stir()

    def kill(self) -> None:
        """Close the connection at once."""
        self.closing = self.dead = True
        self._out.clear()
        self.stir()

    def take(self, now: float) -> bytes:
        """The bytes to send now."""
        out = bytearray()
        while self._out and not self.weather.hold_out and self._arrival() <= now:
            out += self._out.popleft()[2]
        left = self.weather.cut_after
        if left is not None:
            self.weather.cut_after = left - len(out)
            if left <= len(out):
                del out[left:]
                self.kill()
        return bytes(out)

    def ready_at(self) -> Optional[float]:
        """The time at which the next bytes may be sent; None for never."""
        return self._arrival() if self._out and not self.weather.hold_out else None

    def _arrival(self) -> float:
        """When the next bytes arrive, as things are now: what has ended makes nothing late any more."""
        queued, late, _ = self._out[0]
        weather = self.weather
        return queued + weather.delay + (late if weather.rate or weather.jitter is not None else 0.0)

    def stir(self) -> None:
        """There is something to do for this connection."""
        self._stirred[self] = None

    def settle(self) -> None:
        """Whoever serves the connection has looked at it; while more is to come, it stays in `stirred`."""
        if self.over or not (self._out or self.closing):
            self._stirred.pop(self, None)

    @property
    def over(self) -> bool:
        """Whether to close the connection now."""
        return (self.dead or (self.closing and not self._out)) and not self.weather.hold_out
