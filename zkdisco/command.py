"""The command of a sidecar as a process: its start, the signals that reach it, and how it has ended.

Owns what the command inherits. It gets our files, our environment but for `NOTIFY_SOCKET`, and the dispositions of
signals that we were given: Python's own (SIGPIPE ignored) are not handed on. Must not know when it is to end. Rules:

1. The command is in a process group of its own, so that a signal for the group of the sidecar, Ctrl-C or that of a
   process manager, does not reach it before the registration is taken back.
2. But where our stdin is the terminal, and we are in its foreground, the command stays in our group: another one could
   not read from there. Then Ctrl-C reaches both at once.
"""

from __future__ import annotations

import os
import signal
from typing import Any, Dict, List, Optional, Sequence

from .systemd import VARIABLE

#: What Python ignores from its start on; a program that is started by a shell finds the default.
OF_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
#: Exit statuses of `env`, `nohup`, `timeout` and shells: no such command, and one that cannot be run.
NOT_FOUND, NOT_RUNNABLE = 127, 126


def in_foreground() -> bool:
    """Whether stdin is our terminal, and Ctrl-C there is for us."""
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:  # no terminal, or not ours
        return False


class Command:
    """A running command. Raises `OSError` if it cannot be started; `not_started` gives the exit status of that."""

    def __init__(self, words: Sequence[str]) -> None:
        default = [getattr(signal, name) for name in OF_PYTHON if hasattr(signal, name)]
        options: Dict[str, Any] = {} if in_foreground() else {"setpgroup": 0}
        environment = {name: value for name, value in os.environb.items() if name != VARIABLE.encode()}
        self.pid = os.posix_spawnp(words[0], list(words), environment, setsigdef=default, **options)
        self._has_group = bool(options)
        #: Its exit status, or minus the number of the signal that ended it; None while it runs.
        self.status: Optional[int] = None

    def look(self) -> Optional[int]:
        """`status`, as it is now. Never blocks."""
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # SIGCHLD was ignored when we were started, so that the kernel has not kept it
                self.status = 0
                return self.status
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.look() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL to it, and to all of its group if it has one of its own."""
        if self.look() is None:
            (os.killpg if self._has_group else os.kill)(self.pid, signal.SIGKILL)


def not_started(error: OSError) -> int:
    """The exit status that says why a command could not be started."""
    return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE


def passed_on() -> List[int]:
    """The signals that are for the command when they come to us.

    Left out are those that the kernel sends for a fault, for a child, for a pipe or a limit of ours, and those by which
    a terminal stops a background process.
    """
    ours = ("KILL", "STOP", "CHLD", "SEGV", "BUS", "FPE", "ILL", "TRAP", "ABRT", "SYS", "PIPE", "XFSZ", "XFZ", "XCPU",
            "TTIN", "TTOU")  # fmt: skip
    left_out = {int(getattr(signal, f"SIG{name}")) for name in ours if hasattr(signal, f"SIG{name}")}
    if in_foreground() and hasattr(signal, "SIGTSTP"):
        left_out.add(int(signal.SIGTSTP))  # Ctrl-Z is for all of the group
    return sorted(int(number) for number in signal.valid_signals() if int(number) not in left_out)
