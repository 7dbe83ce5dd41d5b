"""The signals that end the command line.

Owns when one counts: the first is heard at any moment, even in a write that nobody reads, and a second one ends the
process, unless it comes with the first. Must not know what is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
from time import monotonic
from typing import Any, Iterator, Optional

from ._zkwire import SimpleQueue

#: SIGBREAK is Windows': Ctrl-Break, and all that one process can send another one there.
ENDING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGBREAK")
#: Seconds in which signals are one: `timeout` and a terminal that closes send two at once, as systemd does with
#: SendSIGHUP=yes, and a service manager and a parent process may both tell the same process. Fingers are slower.
TOGETHER = 0.3


class Stopped(Exception):
    """A signal has come."""


class Signals:
    """Puts None into `inbox` for the first signal; one that is ignored already stays so (nohup)."""

    def __init__(self, inbox: SimpleQueue[Any]) -> None:
        self._inbox = inbox
        self._first: Optional[float] = None
        self._breaks = False

    def listen(self) -> None:
        """From now on. On the main thread."""
        for name in ENDING:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._heard)

    @contextlib.contextmanager
    def breaking(self) -> Iterator[None]:
        """A signal that has come, or that comes inside, raises `Stopped`: a write may wait for a reader for ever."""
        self._breaks = True
        try:
            if self._first is not None:
                raise Stopped
            yield
        finally:
            self._breaks = False

    def _heard(self, number: int, frame: Any) -> None:
        now = monotonic()
        if self._first is None:
            self._first = now
            self._inbox.put(None)
            if self._breaks:
                raise Stopped
        elif now - self._first > TOGETHER:
            os._exit(128 + number)
