"""The look-out for a read-write server, kept while a read-only one serves us.

Owns when to look, how long to wait, and what an answer means. Must not know sockets, clocks, or what follows. Rules:

1. The first connection goes on undisturbed. A second one is made beside it, with a whole handshake that allows no
   read-only session: a read-only server hangs up on it, and whoever welcomes it takes over, on that very connection.
   Nothing depends on the four-letter word `isro`, which may be forbidden, or never be answered.
2. Each look has a deadline, and the pause before the next is longer, at random, so that clients do not come together.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Union

from ..wire.connection import Connection
from .host_provider import Host
from .actions import Event, Look, LookAway

#: Pauses between looks, in seconds; each is about twice as long as the one before. (Java: 0.1 to 60 s.)
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: A look takes no longer than the pause before it, but has at least this many seconds.
PATIENCE = 1.0


class ReadWriteProbe:
    """Looks, while it is told to, and reports `Look` and `LookAway` to the session's list of events."""

    def __init__(self, report: List[Event], random: Callable[[], float]) -> None:
        self._report, self._random = report, random
        #: Whom we look at; None in the pauses between.
        self.host: Optional[Host] = None
        #: The second connection, once it is made.
        self.connection: Optional[Connection] = None
        #: Whether its server has welcomed us.
        self.welcomed = False
        #: The zxid we told that server we had seen.
        self.zxid = 0
        self._pause = FIRST_PAUSE
        self._due: Optional[float] = None  # when the pause ends, or the look; None: nothing is to be looked for

    def begin(self, now: float) -> None:
        """Look, from now on."""
        self._pause = FIRST_PAUSE
        self._rest(now)

    def stop(self) -> None:
        """Look no more."""
        if self.host is not None:
            self._report.append(LookAway())
        self.dismissed()

    def dismissed(self) -> None:
        """The second connection is in other hands; look no more."""
        self._forget()
        self._due = None

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return None if self.welcomed else self._due

    def timed_out(self, now: float) -> bool:
        """Time has passed; whether the next look is due."""
        if self._due is None or now < self._due or self.welcomed:
            return False
        if self.host is None:
            return True
        self._report.append(LookAway())
        self._rest(now)
        return False

    def look(self, host: Host, budget: float, now: float) -> None:
        """Have a look at `host`, for at most `budget` seconds."""
        self.host = host
        self._due = now + min(budget, max(self._pause, PATIENCE))
        self._report.append(Look(host, self._due))

    def connected(self, connection: Connection, zxid: int) -> None:
        """The driver has connected; the handshake waits in `connection`."""
        self.connection, self.zxid = connection, zxid

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the second socket; report what it took with `sent`."""
        return self.connection.data_to_send() if self.connection is not None else b""

    def sent(self, count: int) -> None:
        """The second socket took `count` bytes."""
        if self.connection is not None:
            self.connection.sent(count)

    def received(self, data: bytes, now: float) -> bool:
        """Bytes from the second socket; whether its server can take over."""
        connection = self.connection
        if connection is None:
            return False
        said_more = bool(connection.received(data))
        response = connection.response
        if connection.error is not None or said_more or self.welcomed:
            self.dismiss(now)  # nothing was asked but who it is
        elif response is not None:
            self.welcomed = response.timeout_ms > 0 and response.session_id != 0 and not response.read_only
            if not self.welcomed:
                self.dismiss(now)
        return self.welcomed

    def dismiss(self, now: float) -> None:
        """That server is not the one."""
        self._report.append(LookAway())
        self._rest(now)

    def lost(self, now: float) -> None:
        """The second connection has ended, or could not be made."""
        if self.host is not None:
            self._rest(now)

    def _rest(self, now: float) -> None:
        self._forget()
        self._due = now + self._pause * (1 + self._random()) / 2
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _forget(self) -> None:
        self.host = self.connection = None
        self.welcomed = False
