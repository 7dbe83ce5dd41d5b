"""What stands in front of a sidecar that is process 1 of a container: it adopts orphans, and hands signals on.

Owns that every orphan is reaped. Orphans can only be told from other children by those that know all children: so the
process that adopts is one that has a single child, which does the work. Must not know what that work is.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn, Optional, Set

#: `prctl(2)`: whether orphans among our descendants become our children. It survives `exec`.
PR_GET_CHILD_SUBREAPER = 37
#: What is left as it is: faults of our own, and what stops a process.
UNHEARD = ("KILL", "STOP", "SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "PIPE", "TSTP", "TTIN", "TTOU")


def stand_in_front() -> None:
    """Return in a child of this process, if orphans come to this one, which then ends as the child does.

    Where no orphans come, return at once. To be called while there is one thread.
    """
    if not adopts():
        return
    heard = {int(number) for number in signal.valid_signals()}
    heard -= {int(getattr(signal, f"SIG{name}")) for name in UNHEARD if hasattr(signal, f"SIG{name}")}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as a parent may hand it on, it would never come
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    pid = os.fork()
    if not pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _serve(pid, heard)


def adopts() -> bool:
    """Whether orphans become children of this process."""
    if os.getpid() == 1:
        return True
    if not sys.platform.startswith("linux"):
        return False
    try:
        import ctypes

        flag = ctypes.c_int(0)
        return ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0) == 0 and bool(flag.value)
    except (ImportError, OSError, AttributeError):  # a Python without, or a library without
        return False


def _serve(pid: int, heard: Set[int]) -> NoReturn:
    """Hand on what comes, until `pid` has ended."""
    while True:
        number = signal.sigwait(heard)
        if number != signal.SIGCHLD:
            os.kill(pid, number)  # it is there: it has not been waited for
            continue
        status = _reap(pid)
        if status is not None:
            os._exit(status)


def _reap(child: int) -> Optional[int]:
    """Wait for all that have ended; the exit status if `child` is one of them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)  # `child` is always there, or has ended
        if not pid:
            return None
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
