"""Starts child processes that do not outlive the tests, not even when the tests are SIGKILLed."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from typing import Optional

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
network = int(sys.argv[2])
if network >= 0:
    if ctypes.CDLL(None).setns(network, 0x40000000):  # CLONE_NEWNET
        sys.exit("the network namespace cannot be entered")
    os.close(network)
os.execv(sys.argv[3], sys.argv[3:])
"""

# "Parent's death" is the death of the thread that started the child. Tests start servers in short-lived
# threads too, so all children are started by this one thread, which lives as long as the process.
_nursery = concurrent.futures.ThreadPoolExecutor(1, "nursery")


def start(
    command: list[str], *, cwd: str, log: str, network: Optional[int] = None, talk: bool = False
) -> subprocess.Popen[bytes]:
    """Start `command` (its first word a path), appending what it prints to the file `log`.

    `network` is a descriptor of the network namespace it is to run in. With `talk`, its input and output are pipes, and
    only what it prints to stderr goes to the file.
    """
    return _nursery.submit(_start, command, cwd, log, network, talk).result()


def _start(command: list[str], cwd: str, log: str, network: Optional[int], talk: bool) -> subprocess.Popen[bytes]:
    place = "-1" if network is None else str(network)
    with open(log, "ab") as out:
        # A session of its own: Ctrl-C goes to the tests, which end their servers in order.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MORTAL, str(os.getpid()), place, *command],
            stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
            stdout=subprocess.PIPE if talk else out,
            stderr=out,
            cwd=cwd,
            pass_fds=() if network is None else (network,),
            start_new_session=True,
        )
