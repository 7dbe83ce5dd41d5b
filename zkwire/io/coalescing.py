"""Whether received bytes may gather for a moment before they are read, as network cards coalesce interrupts.

Owns the decision and its figures. Must not know sockets or threads. A receipt costs more than ten of the replies in
it, and a server sends each reply by itself: a client that reads each at once spends most of its time with receipts. No
call takes longer for it: where so many requests are in flight a reply takes longer than the moment, and an event is
late by a moment only in a burst of events. The reply to a request alone, and the first event, are always read at once.
"""

from __future__ import annotations

#: The moment, in seconds.
MOMENT = 0.0005
#: The least number of requests in flight, before and after a receipt; and the number of replies that are enough.
MANY, ENOUGH = 64, 16
#: The longest time between two receipts of a burst of events, besides the moment and its lateness, in seconds.
BURST, LATE = 0.0003, 0.0005
#: So many receipts one after the other are a burst, and so many events in each receipt keep it one.
IN_A_ROW, EVENTS = 4, 2


class Coalescing:
    """The decision for one connection after the other. Times are those of the session's clock, in seconds.

    `resolution` is that of the system's clock. Where it cannot tell a moment, a pause takes longer than one, and
    nothing gathers: on Windows it is 16 ms before Python 3.13.
    """

    def __init__(self, resolution: float = 0.0) -> None:
        self._possible = resolution <= MOMENT
        self._received_at = -BURST
        self._in_a_row = 0

    def wanted(self, before: int, left: int, now: float, events: int) -> bool:
        """Whether to let bytes gather before the next receipt; so many requests were, and are, in flight."""
        if before >= MANY:
            return self._possible and left >= MANY and before - left < ENOUGH
        if before or not self._possible:
            return False
        gathered = self._in_a_row >= IN_A_ROW
        gap = now - self._received_at - (MOMENT + LATE if gathered else 0.0)
        self._received_at = now
        self._in_a_row = self._in_a_row + 1 if gap < BURST and (not gathered or events >= EVENTS) else 0
        return self._in_a_row >= IN_A_ROW
