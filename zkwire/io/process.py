"""The state of one process: its clock, which threads it may have, and what must not survive a fork.

Owns the choice of clock, and the handling of sockets and clients in the child of a fork. Must not know what they are.

The server expires a session while a laptop or a virtual machine is suspended. Python's monotonic clock stops on Linux
and macOS during that time: by it, the session would look alive after the resume. With this clock the client finds its
connection overdue at the next check, at most a third of the session timeout later, and asks the server.
"""

from __future__ import annotations

import _thread
import functools
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable

from ..errors import ForkedError

if TYPE_CHECKING:
    from typing import Protocol

    class ProcessBound(Protocol):
        """An object with a socket, a lock or a thread."""

        def disown(self) -> None:
            """In the child of a fork: drop the resources of the parent, without sending anything."""


def _choose() -> Callable[[], float]:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    if sys.platform == "darwin":  # `time.monotonic` is mach_absolute_time() there, which stops; this one goes on
        boottime = time.CLOCK_MONOTONIC
    if boottime is None:  # other systems have only the monotonic clock
        return time.monotonic
    try:
        time.clock_gettime(boottime)
    except OSError:  # an old kernel, or an emulation of Linux
        return time.monotonic
    return functools.partial(time.clock_gettime, boottime)


def daemon_threads_allowed() -> bool:
    """Whether a thread may be left behind at the end: not in an isolated subinterpreter (known since Python 3.12)."""
    allowed: Callable[[], bool] = getattr(_thread, "daemon_threads_allowed", lambda: True)
    return allowed()


def is_of_subinterpreter(error: RuntimeError) -> bool:
    """Whether a thread was refused because of the kind of interpreter: it is of no use to try again.

    The texts are "daemon threads are disabled in this (sub)interpreter" and, before Python 3.12, "thread is not
    supported for isolated subinterpreters".
    """
    return "subinterpreter" in str(error).replace("(sub)", "sub")


now = _choose()
_owners: weakref.WeakSet[ProcessBound] = weakref.WeakSet()
_watching = False


def track(owner: ProcessBound) -> None:
    """Call `owner.disown()` in every child forked from now on, while `owner` lives. Installs its hook on first use."""
    global _watching
    _owners.add(owner)
    if not _watching and hasattr(os, "register_at_fork"):
        _watching = True
        os.register_at_fork(after_in_child=_disown_all)


def _disown_all() -> None:
    for owner in list(_owners):
        owner.disown()


class Guard:
    """In every child forked from now on, each public method and property of `front` raises `ForkedError`.

    Keep the guard as long as the front lives. It costs nothing in the parent: in the child the object gets another
    class, derived from its own, that refuses every name without an underscore.
    """

    def __init__(self, front: object) -> None:
        self._front = weakref.ref(front)
        track(self)

    def disown(self) -> None:
        """In the child of a fork: refuse all further use of the front."""
        front = self._front()
        if front is not None:
            refuse(front)


def refuse(thing: object) -> None:
    """In the child of a fork: have every name of `thing` without an underscore raise `ForkedError`."""
    if not is_refused(thing):
        kind = type(thing)
        same = {"__doc__": kind.__doc__, "__module__": kind.__module__, "__slots__": ()}
        refusing = type(kind.__name__, (kind,), {**same, **_REFUSING})
        object.__setattr__(thing, "__class__", refusing)


def is_refused(thing: object) -> bool:
    """Whether `thing` belongs to the parent process."""
    return type(thing).__getattribute__ is _refuse


def _refuse(front: object, name: str) -> Any:
    if name.startswith("_"):
        return object.__getattribute__(front, name)
    raise ForkedError()


def _leave(front: object, *exc_info: object) -> None:
    """End a `with` block that began in the parent without an error, so that an exception in it is not hidden."""


async def _leave_async(front: object, *exc_info: object) -> None:
    """As `_leave`."""


_REFUSING = {"__getattribute__": _refuse, "__exit__": _leave, "__aexit__": _leave_async}
