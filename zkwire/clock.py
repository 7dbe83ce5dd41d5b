"""The clock of a session: seconds that never go back, and do not stop while the machine sleeps.

Owns the choice of clock. Must not know who asks.

A session ends at the server while a laptop or a virtual machine is suspended. Python's monotonic clock stops on Linux
meanwhile, and whoever went by it would take the session for fresh on waking up; with this one the connection is found
overdue at the next look, at most a third of the session timeout later, and the server is asked.
"""

from __future__ import annotations

import functools
import time
from typing import Callable


def _choose() -> Callable[[], float]:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if boottime is None:  # elsewhere the monotonic clock is the best there is
        return time.monotonic
    try:
        time.clock_gettime(boottime)
    except OSError:  # an old kernel, or one that only looks like Linux
        return time.monotonic
    return functools.partial(time.clock_gettime, boottime)


now = _choose()
