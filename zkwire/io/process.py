"""What belongs to one process: its clock, and what must not survive a fork.

Owns the choice of clock, and who is told in the child of a fork. Must not know who asks, nor what they do then.

A session ends at the server while a laptop or a virtual machine is suspended. Python's monotonic clock stops on Linux
meanwhile, and whoever went by it would take the session for fresh on waking up; with this one the connection is found
overdue at the next look, at most a third of the session timeout later, and the server is asked.
"""

from __future__ import annotations

import functools
import os
import time
import weakref
from typing import Callable, Protocol


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


class Owner(Protocol):
    """Something with a socket, a lock or a thread."""

    def disown(self) -> None:
        """In the child of a fork: let go of all that is the parent's, without a word to anybody."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()
_watching = False


def track(owner: Owner) -> None:
    """Call `owner.disown()` in every child forked from now on, while `owner` lives. Not at import: only users pay."""
    global _watching
    _owners.add(owner)
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(after_in_child=_disown_all)


def _disown_all() -> None:
    for owner in list(_owners):
        owner.disown()
