"""The probe for a read-write server, made while a read-only one serves the session.

Owns the time of a probe, its length, and the meaning of an answer. Must not know sockets, clocks, or what happens
afterwards. Rules:

1. The session's link continues undisturbed. The probe is a second link with a full handshake that allows no read-only
   session: a read-only server closes it. A server that accepts it takes the session over, on that very link.
   Nothing depends on the four-letter word `isro`, which may be forbidden, or never be answered.
2. Each probe has a deadline. The pause before the next is longer, and random, so that clients do not come together.
"""

from __future__ import annotations

from typing import Callable, List, Optional

from .actions import Action, Dial, HangUp
from .host_provider import Host
from .link import Link

#: Pauses between probes, in seconds; each is about twice as long as the one before. (Java: 0.1 to 60 s.)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: The shortest time for a probe, in seconds; else a probe takes no longer than the pause before it.
SHORTEST_PROBE = 1.0


class ReadWriteProbe:
    """Probes once `begin` was called, and appends `Dial` and `HangUp` to the session's list of actions."""

    def __init__(self, report: List[Action], random: Callable[[], float]) -> None:
        self._report, self._random = report, random
        #: The second link; None in the pauses between.
        self.link: Optional[Link] = None
        #: Whether the server of the second link has accepted the session.
        self.welcomed = False
        self._pause = FIRST_PAUSE
        self._due: Optional[float] = None  # the end of the pause, or of the probe; None: not probing

    def begin(self, now: float) -> None:
        """Start probing."""
        self._pause = FIRST_PAUSE
        self._rest(now)

    def stop(self) -> None:
        """Stop probing."""
        if self.link is not None:
            self._report.append(HangUp(self.link, "no read-write server is wanted any more"))
        self.release()

    def release(self) -> Optional[Link]:
        """Stop probing; returns the second link, which now belongs to the caller."""
        link, self.link = self.link, None
        self.welcomed, self._due = False, None
        return link

    def deadline(self) -> Optional[float]:
        """The time at which to call `timed_out`, if at all."""
        return None if self.welcomed else self._due

    def timed_out(self, now: float) -> bool:
        """The deadline has come; returns whether the next probe is due."""
        if self._due is None or now < self._due or self.welcomed:
            return False
        if self.link is None:
            return True
        self.dismiss(now, "no answer in time")
        return False

    def dial(self, host: Host, budget: float, now: float) -> None:
        """Probe `host`, for at most `budget` seconds."""
        self._due = now + min(budget, max(self._pause, SHORTEST_PROBE))
        self.link = Link(host, now, self._due)
        self._report.append(Dial(self.link))

    def received(self, data: bytes, now: float) -> bool:
        """Bytes have arrived on the second link; returns whether its server can take the session over."""
        connection = self.link.connection if self.link is not None else None
        if connection is None:
            return False
        said_more = bool(connection.received(data))
        response = connection.response
        if connection.error is not None or said_more or self.welcomed:
            self.dismiss(now, "an answer that was not asked for")
        elif response is not None:
            self.welcomed = response.timeout_ms > 0 and response.session_id != 0 and not response.read_only
            if not self.welcomed:
                self.dismiss(now, "it is no read-write server, or does not know the session")
        return self.welcomed

    def dismiss(self, now: float, reason: str) -> None:
        """This server cannot take the session over: close the second link."""
        if self.link is not None:
            self._report.append(HangUp(self.link, reason))
        self._rest(now)

    def lost(self, now: float) -> None:
        """The second link has ended, or could not be made."""
        self._rest(now)

    def _rest(self, now: float) -> None:
        self.link, self.welcomed = None, False
        self._due = now + self._pause * (1 + self._random()) / 2
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
