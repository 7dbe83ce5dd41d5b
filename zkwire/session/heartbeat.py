"""The heartbeat of a session: decides from the times of replies whether its connection and the session are alive.

Owns the arithmetic of the session timeout. Must not know what is sent or received, nor the clock: `now` is an argument,
in seconds. A connection is alive while replies arrive. Events do not count, and neither does what the client sends. A
reply that has begun to arrive counts once, so a dead connection that delivers single bytes is still found dead.

The server counts the session's time from the last request it got, which may be much older than its reply. So the
client treats the session as leased: for one timeout from the time it sent the newest request that is known to be
answered. When the lease ends, the connection no longer proves anything, whatever has arrived on it.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Tuple

#: Even with a long timeout the client pings this often, in seconds (ClientCnxn.SendThread: MAX_SEND_PING_INTERVAL).
LONGEST_PING = 10.0
#: The lowest timeout used, in seconds. A server that grants less would need more than ten pings a second: the client
#: then pings as for this timeout, and the server may expire the session.
SHORTEST_TIMEOUT = 0.1
INSTEAD = 0.3
#: How many positions in the stream of requests are recorded with their times, per timeout.
MARKS = 16


class Heartbeat:
    """The deadlines of one session; `timeout` is the one asked for, then the one granted, in seconds."""

    def __init__(self, timeout: float) -> None:
        #: The timeout granted last by a server that knows whether the session is alive, one that is not read-only.
        self.requested = self.timeout = self.known_timeout = timeout
        #: Time of the last reply; time of the last bytes of any kind from a server that knows whether the session is
        #: alive; and time of the last request, by which the server knows that the client is alive.
        self.replied_at = self.contact_at = self.sent_at = 0.0
        #: The time from which `mark` records the next request.
        self.mark_due = 0.0
        #: Positions in the stream of requests and the times they were sent, as far as they are unanswered.
        self.marks: Deque[Tuple[int, float]] = deque()
        self._greeted_at = self._leased_at = 0.0
        self._lost = 0.0
        self._begun_at = -1.0

    def started(self, now: float) -> None:
        """Start the session's time; no server has answered yet."""
        self.contact_at = self._lost = now

    def greeted(self, now: float) -> None:
        """The handshake was sent."""
        self._greeted_at = now

    def granted(self, timeout: float, now: float, proven: bool) -> None:
        """A server has answered the handshake; `proven`: it is not read-only, so it knows the session is alive."""
        self.timeout = timeout if timeout >= SHORTEST_TIMEOUT else INSTEAD
        self.replied_at = self.sent_at = self.mark_due = now
        if proven:
            self.contact_at, self.known_timeout = now, self.timeout
        self._leased_at = self._greeted_at
        self.marks.clear()

    def mark(self, end: int, now: float) -> None:
        """A request was sent; it ends at `end` in the stream."""
        self.marks.append((end, now))
        self.mark_due = now + self.timeout / MARKS

    def answered(self, end: int) -> None:
        """All requests up to `end` in the stream have been answered."""
        marks = self.marks
        while marks and marks[0][0] <= end:
            self._leased_at = marks.popleft()[1]

    def forget(self) -> None:
        """The session has ended; a new one starts with the timeout that was asked for."""
        self.timeout = self.known_timeout = self.requested

    def reply_begun(self, now: float) -> None:
        """The first bytes of a reply have arrived; this counts once for each reply."""
        if self._begun_at != self.replied_at:
            self.replied_at = self._begun_at = now

    def lost(self, now: float) -> None:
        """The connection has ended."""
        self._lost = now

    def silent_at(self) -> float:
        """The time at which the connection is given up if no reply arrives."""
        return min(self.replied_at + self.timeout * 2 / 3, self._leased_at + self.timeout)

    def silence(self, now: float) -> str:
        """The reason for giving the connection up now."""
        if now >= self.replied_at + self.timeout * 2 / 3:
            return f"no answer for {self.timeout * 2 / 3:.1f} s"
        return f"no answer yet to what was sent {self.timeout:.1f} s ago and later"

    def ping_at(self) -> float:
        """The time of the next ping, if none is in flight."""
        return self.sent_at + min(self.timeout / 3, LONGEST_PING)

    def lease_ends_at(self) -> float:
        """The end of the lease: from then on the server may have expired the session."""
        return self._leased_at + self.timeout

    def expires_at(self) -> float:
        """The time at which the session counts as expired without an answer of a server (ZOOKEEPER-4508: 4/3 timeouts).

        After a jump of the clock, as after a suspend, the client asks a server before it decides on its own.
        """
        return max(self.contact_at + self.known_timeout * 4 / 3, self._lost + self.known_timeout / 3)
