"""The heartbeat of a session: whether its connection is alive and the session may be, by what was heard when.

Owns the arithmetic of the session timeout. Must not know what is sent or received, nor the clock: `now` comes in, in
seconds. A connection is alive if replies come. Events do not count, nor do our own sends; a reply that has begun to
arrive counts once, so that one dripping in byte by byte does not hold a dead connection up.

The server counts the session's time from the last request it got, which may be much older than its answer. So the
session is leased, to be sure, for one timeout from when the newest request was sent that is known to be answered; at
the end of that a connection counts for nothing, whatever has arrived on it.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Tuple

#: Even with a long timeout we ping this often, in seconds (ClientCnxn.SendThread: MAX_SEND_PING_INTERVAL).
LONGEST_PING = 10.0
#: A server that grants less (in seconds) cannot mean it: no client could keep such a session. We take it for the
#: timeout at which there are ten pings a second, and the server may call that expired.
SHORTEST_TIMEOUT = 0.1
INSTEAD = 0.3
#: So many times in a timeout it is noted where in the stream of requests we are.
MARKS = 16


class Heartbeat:
    """The deadlines of one session; `timeout` is the one asked for, then the one granted, in seconds."""

    def __init__(self, timeout: float) -> None:
        #: `known_timeout` is what a server granted that knows whether the session lives.
        self.requested = self.timeout = self.known_timeout = timeout
        #: When a reply came last; when bytes of any kind came last from a server that knows whether the session lives;
        #: and when this client sent something, which tells the server that it lives.
        self.replied_at = self.contact_at = self.sent_at = 0.0
        #: When `mark` wants to know of a request again.
        self.mark_due = 0.0
        #: Where in the stream of requests the client was when, as far as it is not answered.
        self.marks: Deque[Tuple[int, float]] = deque()
        self._greeted_at = self._leased_at = 0.0
        self._lost = 0.0
        self._begun_at = -1.0

    def started(self, now: float) -> None:
        """No server was heard from yet; the time counts from here."""
        self.contact_at = self._lost = now

    def greeted(self, now: float) -> None:
        """The handshake is on its way."""
        self._greeted_at = now

    def granted(self, timeout: float, now: float, proven: bool) -> None:
        """A server has answered the handshake; `proven`: one that knows whether the session lives, no read-only one."""
        self.timeout = timeout if timeout >= SHORTEST_TIMEOUT else INSTEAD
        self.replied_at = self.sent_at = self.mark_due = now
        if proven:
            self.contact_at, self.known_timeout = now, self.timeout
        self._leased_at = self._greeted_at
        self.marks.clear()

    def mark(self, end: int, now: float) -> None:
        """A request was sent that ends there in the stream."""
        self.marks.append((end, now))
        self.mark_due = now + self.timeout / MARKS

    def answered(self, end: int) -> None:
        """All requests up to there have been answered."""
        marks = self.marks
        while marks and marks[0][0] <= end:
            self._leased_at = marks.popleft()[1]

    def forget(self) -> None:
        """The session is gone; the next one is asked for afresh."""
        self.timeout = self.known_timeout = self.requested

    def reply_begun(self, now: float) -> None:
        """The first bytes of a reply have arrived, which counts once."""
        if self._begun_at != self.replied_at:
            self.replied_at = self._begun_at = now

    def lost(self, now: float) -> None:
        """The connection is gone."""
        self._lost = now

    def silent_at(self) -> float:
        """When the connection is to be given up."""
        return min(self.replied_at + self.timeout * 2 / 3, self._leased_at + self.timeout)

    def silence(self, now: float) -> str:
        """Why it is given up now."""
        if now >= self.replied_at + self.timeout * 2 / 3:
            return f"no answer for {self.timeout * 2 / 3:.1f} s"
        return f"no answer yet to what was sent {self.timeout:.1f} s ago and later"

    def ping_at(self) -> float:
        """When to ping, with no ping under way."""
        return self.sent_at + min(self.timeout / 3, LONGEST_PING)

    def lease_ends_at(self) -> float:
        """When the server may give the session away, as far as its answers have shown."""
        return self._leased_at + self.timeout

    def expires_at(self) -> float:
        """When the session counts as expired if no server is heard from (ZOOKEEPER-4508: 4/3 of the timeout).

        After a jump of the clock, as of a suspended machine, a server is asked before we decide by ourselves.
        """
        return max(self.contact_at + self.known_timeout * 4 / 3, self._lost + self.known_timeout / 3)
