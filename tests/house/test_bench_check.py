"""The hot paths cost no more system calls, Python calls, bytecodes and memory than they may; and more would be seen."""

from __future__ import annotations

import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import List

import pytest

from tests.tools.bench import check, counts
from zkwire import ZooKeeper
from zkwire.paths import validate_path

ROOT = Path(__file__).parents[2]


@pytest.mark.once
@pytest.mark.timed  # beside other load, replies come in more pieces, and are read by other threads
@pytest.mark.slow
@pytest.mark.watchdog(200)
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="the limits were counted with the lock")
def test_no_hot_path_has_become_more_expensive() -> None:
    command = [sys.executable, "-m", "tests.tools.bench.check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all within their limits" in done.stdout


def test_what_is_beyond_a_limit_is_named() -> None:
    limit = counts.Counts(10, 2, 3.0, 1.0, 100, 50, 0.1)
    found = {"fast": limit, "slow": limit._replace(system=3.5, left=1.0)}
    assert check.excesses(found, {"fast": limit, "slow": limit}) == [
        "slow: 3.50 system, limit 3", "slow: 1.00 left, limit 0.1",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.watchdog(120)
def test_one_more_call_system_call_and_kept_object_is_counted() -> None:
    """What the counts are for: each kind of regression moves its own column."""
    kept: List[object] = []

    def as_it_is(zk: ZooKeeper, count: int) -> None:
        for _ in range(count):
            zk.get(counts.NODE)

    def worse(zk: ZooKeeper, count: int) -> None:
        for _ in range(count):
            zk.get(counts.NODE)
            ours.send(b"x")
            theirs.recv(1)
            kept.append(validate_path("/a"))
            kept.append(bytearray(1000))

    ours, theirs = socket.socketpair()
    with ours, theirs, counts.server() as hosts:
        counts.populate(hosts)
        before, after = (counts.blocking(hosts, counts.Workload(work, counts.IN_TURN)) for work in (as_it_is, worse))
    assert after.system - before.system > 1.5
    assert after.calls - before.calls > 0.5
    assert after.opcodes - before.opcodes > 5
    assert after.bytes - before.bytes > 900
    assert before.left < check.LEFT < 1 <= after.left
