"""The watchdog ends what hangs: by a failure where it can, by ending the run where it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

HANGS = """
import threading, pytest
@pytest.mark.watchdog(0.2)
def test_waits_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
def test_next():
    pass
"""

SWALLOWS = """
import threading, pytest
from tests.kit.harness import watchdog
watchdog.GRACE = 0.3
@pytest.mark.watchdog(0.2)
def test_swallows_everything():
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            pass
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a pytest run of its own, under our conftest."""
    (folder / "test_hangs.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", str(PROJECT / "pyproject.toml")]
    command += ["--rootdir", str(PROJECT), "-p", "no:cacheprovider", str(folder)]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_hanging_test_fails_with_stacks_and_the_others_run(tmp_path: Path):
    done = run(tmp_path, HANGS)
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "still running after 0.2 s" in done.stdout
    assert "test_waits_for_a_lock still runs" in done.stderr
    assert "most recent call first" in done.stderr


@pytest.mark.slow
def test_a_test_that_swallows_the_failure_ends_the_run(tmp_path: Path):
    done = run(tmp_path, SWALLOWS)
    assert done.returncode == 1
    assert "Timeout (0:00:00.500000)!" in done.stderr
    assert "passed" not in done.stdout and "failed" not in done.stdout
