"""One simulated TCP connection: two streams of bytes, delayed, split anywhere, held back or cut.

Owns what happens to bytes on their way. Must not know what they mean. Streams never reorder or lose bytes before their
end; an end may be told to both sides, to one, or to none.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Callable, Deque, Optional

from .clock import Clock

#: So much a socket takes while nothing gets through.
BUFFER = 3000


class Stream:
    """One direction. `deliver` gets bytes, `end` is called once at their end."""

    def __init__(self, clock: Clock, rng: Random, latency: float, deliver: Callable[[bytes], None],
                 end: Callable[[], None]) -> None:  # fmt: skip
        self._clock, self._rng, self.latency = clock, rng, latency
        self._deliver, self.end = deliver, end
        self._queue: Deque[Optional[bytes]] = deque()  # None: the end
        self._free_at = 0.0
        self.in_flight = 0
        #: A black hole.
        self.held = False
        #: How many more bytes get through before `on_cut`.
        self.cut_after: Optional[int] = None
        self.on_cut: Callable[[], None] = lambda: None
        self.closed = False

    def push(self, data: bytes) -> None:
        """Bytes enter, in one piece or several."""
        if self.closed or not data:
            return
        self.in_flight += len(data)
        if len(data) > 1 and self._rng.random() < 0.15:
            at = self._rng.randrange(1, len(data))
            self._schedule(data[:at])
            data = data[at:]
        self._schedule(data)

    def finish(self) -> None:
        """No more bytes; the other side hears it behind those under way."""
        if not self.closed:
            self.closed = True
            self._schedule(None)

    def kill(self) -> None:
        """Nothing arrives any more, not even the end."""
        self.closed = True
        self._queue.clear()
        self.end = self._deliver = _nowhere

    def release(self) -> None:
        """The black hole ends: what was held back arrives."""
        if self.held:
            self.held = False
            for _ in range(len(self._queue)):
                self._clock.at(self._clock.now, self._arrive)

    def _schedule(self, data: Optional[bytes]) -> None:
        self._queue.append(data)
        delay = self.latency * (0.5 + self._rng.random())
        self._free_at = max(self._free_at, self._clock.now + delay)
        self._clock.at(self._free_at, self._arrive)

    def _arrive(self) -> None:
        if self.held or not self._queue:
            return
        data = self._queue.popleft()
        if data is None:
            self.end()
            return
        self.in_flight -= len(data)
        if self.cut_after is not None:
            if len(data) >= self.cut_after:
                data, on_cut = data[: self.cut_after], self.on_cut
                self.cut_after = None
                if data:
                    self._deliver(data)
                on_cut()
                return
            self.cut_after -= len(data)
        self._deliver(data)


def _nowhere(data: bytes = b"") -> None:
    """Where the bytes of a dead stream go."""


class Wire:
    """Both directions of a connection: `up` to the server, `down` to the client."""

    def __init__(self, up: Stream, down: Stream) -> None:
        self.up, self.down = up, down

    def room(self) -> int:
        """How many bytes the client's socket takes now."""
        return BUFFER - self.up.in_flight if self.up.held else 1 << 30

    def cut(self, tell_client: bool, tell_server: bool, drain: bool = False) -> None:
        """Break it; those who are not told must find out by themselves. `drain`: what is under way up still arrives."""
        ends = [end for tell, end in ((tell_client, self.down.end), (tell_server and not drain, self.up.end)) if tell]
        self.down.kill()
        if not drain:
            self.up.kill()
        elif tell_server:
            self.up.finish()
        else:
            self.up.closed = True
        for end in ends:
            end()
