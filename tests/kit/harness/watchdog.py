"""Ends a test that hangs: all stacks are shown, then the test fails; if even that hangs, the run ends.

Two steps. A signal raises in the main thread, which frees it from locks, sockets and event loops, so
that the other tests still run. Code that swallows the exception, or never returns to Python, is ended
by faulthandler `GRACE` seconds later with the whole process (servers die with it).
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

DEFAULT = 30.0
GRACE = 10.0
# A fixture may fetch a server over a slow network.
SETUP = 300.0

# pytest redirects descriptor 2 during tests; the stacks of a run that is about to end must be seen.
_stderr = 2


def configure() -> None:
    """Remember where stderr really goes; called when pytest captures nothing."""
    global _stderr
    _stderr = os.dup(2)


@contextlib.contextmanager
def guard(seconds: float, what: str) -> Iterator[None]:
    """Fail what runs inside after `seconds`. Only in the main thread."""

    def bark(number: int, frame: FrameType | None) -> None:
        os.write(_stderr, f"\nwatchdog: {what} still runs after {seconds:g} s\n".encode())
        faulthandler.dump_traceback(_stderr, all_threads=True)
        pytest.fail(f"watchdog: still running after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, bark)
    faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=_stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
