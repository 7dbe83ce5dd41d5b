"""A Python of its own for a scenario that may hang, stop or end the process it runs in.

Owns the child's start, its time limit, what it has printed, and that it hears signals. Must not know what is tested.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

#: Where both packages can be imported from.
ROOT = Path(__file__).parents[2]

#: What a shell lets the commands ignore that it starts in the background, and `nohup` the one it starts.
IGNORED = ("SIGINT", "SIGQUIT", "SIGHUP")

_LIMIT = "import faulthandler; faulthandler.dump_traceback_later({seconds}, exit=True)\n"


def command(code: str, *arguments: str, seconds: float = 20.0) -> list[str]:
    """The command line of a child that runs `code`; after `seconds` it prints all its stacks and ends."""
    return [sys.executable, "-c", _LIMIT.format(seconds=seconds) + textwrap.dedent(code), *arguments]


def run(code: str, *arguments: str, seconds: float = 20.0) -> str:
    """Run `code` to its end; what it has printed. A child that fails, or that takes longer, is a failure."""
    done = subprocess.run(
        command(code, *arguments, seconds=seconds), cwd=ROOT, capture_output=True, text=True, timeout=seconds + 5
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def hear_signals() -> None:
    """From now on children hear what this process was started to ignore, and it hears Ctrl-C itself.

    A signal that is ignored is ignored by every program that is started from here; one that has a handler is not.
    """
    for name in IGNORED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if name == "SIGINT" else lambda *_: None)


__all__ = ["ROOT", "command", "hear_signals", "run"]
