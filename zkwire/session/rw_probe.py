"""The probe for a read-write server, made while a read-only one serves the session.

Owns when to probe, how long to wait, and what an answer means. Must not know sockets, clocks, or what follows. Rules:

1. The session's link goes on undisturbed. A second link is made beside it, with a whole handshake that allows no
   read-only session: a read-only server hangs up on it, and a server that welcomes it takes over, on that very link.
   Nothing depends on the four-letter word `isro`, which may be forbidden, or never be answered.
2. Each probe has a deadline, and the pause before the next is longer, at random, so that clients do not come together.
"""

from __future__ import annotations

from typing import Callable, List, Optional

from .actions import Action, Dial, HangUp
from .host_provider import Host
from .link import Link

#: Pauses between probes, in seconds; each is about twice as long as the one before. (Java: 0.1 to 60 s.)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: A probe takes no longer than the pause before it, but has at least this many seconds.
SHORTEST_PROBE = 1.0


class ReadWriteProbe:
    """Probes, once it has begun, and reports `Dial` and `HangUp` to the session's list of actions."""

    def __init__(self, report: List[Action], random: Callable[[], float]) -> None:
        self._report, self._random = report, random
        #: The second link; None in the pauses between.
        self.link: Optional[Link] = None
        #: Whether its server has welcomed the session.
        self.welcomed = False
        self._pause = FIRST_PAUSE
        self._due: Optional[float] = None  # when the pause ends, or the probe; None: there is nothing to probe for

    def begin(self, now: float) -> None:
        """Probe, from now on."""
        self._pause = FIRST_PAUSE
        self._rest(now)

    def stop(self) -> None:
        """Probe no more."""
        if self.link is not None:
            self._report.append(HangUp(self.link, "no read-write server is wanted any more"))
        self.release()

    def release(self) -> Optional[Link]:
        """Probe no more; the second link, in the caller's hands from now on."""
        link, self.link = self.link, None
        self.welcomed, self._due = False, None
        return link

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return None if self.welcomed else self._due

    def timed_out(self, now: float) -> bool:
        """Time has passed; whether the next probe is due."""
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
        """Bytes have arrived on the second link; whether its server can take over."""
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
        """That server is not the one."""
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
