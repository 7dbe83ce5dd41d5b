"""The command that follows a change: run, bounded in time, its output at hand.

Owns the process and its group. Must not know why it is run. Nothing of what nodes hold is in its arguments, its input
or its environment.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from time import monotonic
from typing import Any, Callable, NamedTuple

#: So much of what it prints is kept, in bytes: the end.
KEPT = 2000
#: Seconds that a group has after SIGTERM, before SIGKILL.
GRACE = 0.3
LOOK = 0.05


class Ran(NamedTuple):
    """How a command has ended: `well` or not, `how` in words, and the end of its `output`."""

    well: bool
    how: str
    output: str


def run(command: str, seconds: float, stopped: Callable[[], bool]) -> Ran:
    """Run a line of shell to its end: at most so many seconds, and only until `stopped()`; then its group is killed.

    Blocks so long. Processes that it leaves behind live on if it ends by itself; they must have another output by then.
    """
    began = monotonic()
    try:
        process = subprocess.Popen(  # noqa: S602  # it is the user's own line, and nothing is put into it
            command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        return Ran(False, f"cannot be started: {error}", "")
    output, why = b"", ""
    with process:
        pipe: Any = process.stdout
        os.set_blocking(pipe.fileno(), False)
        while process.poll() is None:
            if stopped() or monotonic() - began > seconds:
                why = "was ended with us" if stopped() else f"took more than {seconds:g} s, and was killed"
                _kill(process)
                break
            output = _more(pipe, output, LOOK)
        output = _more(pipe, output, 0.0)
    status = process.returncode
    how = why or (f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}")
    return Ran(status == 0 and not why, how, output.decode("utf-8", "replace").strip())


def _more(pipe: Any, output: bytes, seconds: float) -> bytes:
    """What is there to read within so many seconds, behind what was read."""
    select.select([pipe], [], [], seconds)
    data = pipe.read(65536)
    if data == b"" and seconds:  # it has closed its output, and goes on
        select.select([], [], [], seconds)
    return (output + (data or b""))[-KEPT:]


def _kill(process: Any) -> None:
    """End the group: politely, then for certain."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE if number == signal.SIGTERM else None)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
