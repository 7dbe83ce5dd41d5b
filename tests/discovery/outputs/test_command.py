"""The command that follows: its end, its output, its time, and what is left of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kit.discovery.live import until
from zkdisco.outputs.command import KEPT, run


def never() -> bool:
    return False


@pytest.mark.parametrize("line, well, how, output", [
    ("echo a; echo b >&2", True, "ended with status 0", "a\nb"), ("echo bad; exit 3", False, "ended with status 3", "bad"),
    ("kill -9 $$", False, "was killed by signal 9", ""), ("exec nothing-of-that-name", False, "ended with status 127", None),
    ("cat", True, "ended with status 0", ""), ("exec >&- 2>&-; sleep 0.2; exit 4", False, "ended with status 4", ""),
    (r"printf '\377\033[2J'", True, "ended with status 0", "\ufffd\x1b[2J"),
])  # fmt: skip
def test_how_it_ends(line: str, well: bool, how: str, output: str) -> None:
    ran = run(line, 20.0, never)
    assert (ran.well, ran.how) == (well, how) and (output is None or ran.output == output)


def test_the_end_of_much_output_is_kept() -> None:
    ran = run("seq 100000; echo the end", 20.0, never)
    assert ran.well and ran.output.endswith("99999\n100000\nthe end") and len(ran.output) <= KEPT


def gone(pid: int) -> bool:
    """A process that nobody has waited for is a zombie: gone, too."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_it_is_killed_with_its_children_when_its_time_is_over(trap: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ran = run(f"{trap}sleep 300 & echo $$ $! >{pids}; echo said; wait; wait; sleep 300", 0.5, never)
    assert (ran.well, ran.how, ran.output) == (False, "took more than 0.5 s, and was killed", "said")
    for pid in pids.read_text().split():
        until(lambda pid=pid: gone(int(pid)))


def test_it_is_killed_when_we_are_told_to_stop(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    ran = run(f"touch {mark}; sleep 300", 60.0, mark.exists)
    assert (ran.well, ran.how) == (False, "was ended with us")


def test_a_daemon_that_it_starts_lives_on_and_holds_nothing_up(tmp_path: Path) -> None:
    ran = run("sleep 300 & echo $!", 20.0, never)
    assert ran.well and not gone(int(ran.output))
    os.kill(int(ran.output), signal.SIGKILL)


def test_a_shell_that_cannot_be_started() -> None:
    for line in ("x" * 3_000_000, "a\0b"):
        assert run(line, 5.0, never).how.startswith("cannot be started: ")
