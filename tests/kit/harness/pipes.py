"""What happens to the bytes of one proxied connection. `proxy` says when; it owns threads and switches.

A `Link` is a client's socket and a server's; each of its two `Pipe`s carries one direction, under the
`Faults` of that direction. Links neither wait nor close sockets: they say what they wait for, and that
they are done.
"""

from __future__ import annotations

import dataclasses
import errno
import selectors
import socket
import struct
from collections import deque
from typing import Callable, Optional

# As much as a socket's own buffers would take: who sends more into a slow direction has to wait.
BACKLOG = 1 << 20
# Seconds between two pieces: the receiver must get a chance to read one before the next is there.
PAUSE = 0.001


@dataclasses.dataclass
class Traffic:
    """One direction's counters, over all connections: what arrived, in how many reads, what passed."""

    bytes: int = 0
    segments: int = 0
    passed: int = 0


@dataclasses.dataclass
class Faults:
    """The switches of one direction. They hold for all connections."""

    hole: bool = False
    """What arrives is lost."""
    hold: bool = False
    """What arrives is kept back."""
    delay: float = 0.0
    """Seconds from a segment's arrival to its passing."""
    rate: float = 0.0
    """Bytes per second, 0 for no limit."""
    piece: int = 0
    """Most bytes sent at once, 0 for no limit."""
    budget: Optional[int] = None
    """Bytes that still pass before the cut, None for no cut."""
    budget_end: str = "fin"


class Pipe:
    """One direction of a link: reads from `source`, keeps what has to wait, writes to `sink`."""

    def __init__(self, source: socket.socket, sink: socket.socket, faults: Faults, traffic: Traffic) -> None:
        self.source, self.sink, self.faults, self.traffic = source, sink, faults, traffic
        self.queue: deque[tuple[float, bytes]] = deque()  # (when it may pass, data); b"" is the end
        self.size = 0
        self.earliest = 0.0  # when the rate allows the next byte
        self.read_all = False  # the source has ended
        self.wrote_all = False  # the sink has been told so
        self.dead = False  # bytes were lost: nothing may ever pass again
        self.failed = False  # the source was reset, or the sink is gone
        self.blocked = False  # the sink takes no more for now

    def read(self, now: float, tap: Callable[[bytes], None]) -> None:
        if self.read_all or self.size >= BACKLOG:
            return
        try:
            data = self.source.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # that one: still connecting, on some systems
                self.read_all = self.failed = True
            return
        self.read_all = not data
        if data:
            self.traffic.bytes += len(data)
            self.traffic.segments += 1
            tap(data)
        if self.dead or self.faults.hole:
            self.lose()
        elif not self.wrote_all:
            self.queue.append((now + self.faults.delay, data))
            self.size += len(data)

    def lose(self) -> None:
        """Nothing passes here any more, whatever the switches say later."""
        self.dead = True
        self.queue.clear()
        self.size = 0

    def finish(self) -> None:
        """Tell the sink that this is the end; what still comes from the source is read and dropped.

        Unread data would turn the closing of a socket from FIN into RST.
        """
        self.queue.clear()
        self.size = 0
        self._end_sink()

    def next_time(self) -> float | None:
        """When `write` has something to do; None when that depends on something else than time."""
        if not self.queue or self.blocked or self.faults.hold:
            return None
        return max(self.queue[0][0], self.earliest)

    def write(self, now: float) -> str | None:
        """Pass on what is due. Returns the cut that is due after it ("fin", "rst", "hole"), if one is."""
        if self.faults.hole and self.queue:
            self.lose()
        while not self.faults.hold and self.queue and max(self.queue[0][0], self.earliest) <= now:
            if not self.queue[0][1]:
                self.queue.clear()
                self._end_sink()
                return None
            if self.faults.budget == 0:
                return self._spent()
            sent = self._send(now)
            if self.faults.budget == 0:
                return self._spent()
            if not sent:
                return None
        return None

    def _send(self, now: float) -> int:
        due, data = self.queue.popleft()
        limits = (len(data), self.faults.piece, int(self.faults.rate / 100) or bool(self.faults.rate))
        size = min(limit for limit in (*limits, self.faults.budget) if limit)
        try:
            sent = self.sink.send(data[:size])
            self.blocked = False
        except OSError as error:
            sent = 0
            self.blocked = isinstance(error, BlockingIOError) or error.errno == errno.ENOTCONN
            self.failed = self.failed or not self.blocked
        if data[sent:]:
            self.queue.appendleft((due, data[sent:]))
        self.size -= sent
        self.traffic.passed += sent
        if self.faults.rate or self.faults.piece:
            per_byte = 1 / self.faults.rate if self.faults.rate else 0.0
            self.earliest = now + max(sent * per_byte, PAUSE)
        if self.faults.budget is not None:
            self.faults.budget -= sent
        return sent

    def _spent(self) -> str:
        self.faults.budget = None
        return self.faults.budget_end

    def _end_sink(self) -> None:
        if not self.wrote_all:
            self.wrote_all = True
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                self.failed = True


class Link:
    """One connection of a client, and the one to the server that was opened for it."""

    def __init__(
        self, number: int, client: socket.socket, server: socket.socket, up: Pipe, down: Pipe
    ) -> None:
        self.number = number
        self.client, self.server = client, server
        self.up, self.down = up, down
        self.reset = False  # to be closed by RST, now
        self.cut_by_us = False

    @property
    def done(self) -> bool:
        """Whether its sockets are to be closed."""
        return self.reset or all(p.read_all and (p.wrote_all or p.dead) for p in (self.up, self.down))

    def cut(self, how: str) -> None:
        """End it by "fin" or "rst", or lose all of it from now on ("hole")."""
        self.cut_by_us = how != "hole"
        for pipe in (self.up, self.down):
            if how == "hole":
                pipe.lose()
            elif how == "fin":
                pipe.finish()
        self.reset = how == "rst"

    def write(self, now: float) -> None:
        for pipe in (self.up, self.down):
            how = pipe.write(now)
            if how:
                self.cut(how)
        for pipe in (self.up, self.down):
            # A reset passes like data: through a hole it does not, and after our own cut nobody is left.
            if pipe.failed and not pipe.dead and not pipe.faults.hold:
                if pipe.faults.hole:
                    pipe.lose()
                else:
                    self.reset = True

    def interests(self) -> list[tuple[socket.socket, int]]:
        """Each socket and the selector events it waits for."""
        found = []
        for inward, outward in ((self.up, self.down), (self.down, self.up)):
            read = selectors.EVENT_READ if not inward.read_all and inward.size < BACKLOG else 0
            write = selectors.EVENT_WRITE if outward.blocked and outward.queue and not outward.dead else 0
            found.append((inward.source, read | write))
        return found

    def close(self) -> None:
        """Close both sockets. The caller has forgotten them before."""
        for sock in (self.client, self.server):
            (hard_close if self.reset else socket.socket.close)(sock)


def hard_close(sock: socket.socket) -> None:
    """Close by RST: what is not sent yet is dropped."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
