"""A Python of its own for a scenario that may hang, stop or end the process it runs in.

Owns the child's start, its time limit and what it has printed. Must not know what is tested.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

#: Where both packages can be imported from.
ROOT = Path(__file__).parents[2]

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


__all__ = ["ROOT", "command", "run"]
