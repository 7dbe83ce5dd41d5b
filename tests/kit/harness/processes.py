"""Starts child processes that do not outlive the tests, not even when the tests are SIGKILLed."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys

# The child asks the kernel for a SIGKILL at its parent's death, then becomes the program: the request
# survives exec, and the process id stays. Done by a small program because a preexec_fn may deadlock
# in a process with threads (Python >= 3.12 warns of it). Where there is no prctl (macOS) the program
# just runs, and `Server.close` at exit has to do.
_MORTAL = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
except (AttributeError, OSError):
    pass
if os.getppid() != int(sys.argv[1]):
    sys.exit("the tests ended before their server began")
os.execv(sys.argv[2], sys.argv[2:])
"""

# "Parent's death" is the death of the thread that started the child. Tests start servers in short-lived
# threads too, so all children are started by this one thread, which lives as long as the process.
_nursery = concurrent.futures.ThreadPoolExecutor(1, "nursery")


def start(command: list[str], *, cwd: str, log: str) -> subprocess.Popen[bytes]:
    """Start `command` (its first word a path), appending what it prints to the file `log`."""
    return _nursery.submit(_start, command, cwd, log).result()


def _start(command: list[str], cwd: str, log: str) -> subprocess.Popen[bytes]:
    with open(log, "ab") as out:
        # A session of its own: Ctrl-C goes to the tests, which end their servers in order.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MORTAL, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=cwd,
            start_new_session=True,
        )
