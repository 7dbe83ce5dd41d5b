"""`python -m zkwire serve`, as a user runs it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from zkwire import ZooKeeper

ROOT = Path(__file__).parents[2]


def zkwire(*arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "zkwire", *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_comes(number: int) -> None:
    with zkwire("serve") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving on 127.0.0.1:")
        with ZooKeeper(line.split()[-1]) as zk:
            zk.create("/a", b"1")
            assert zk.get("/a")[0] == b"1"
        process.send_signal(number)
        assert process.wait(10) == 0


def test_a_port_in_use_is_one_line_and_status_1() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with zkwire("serve", "--port", str(taken.getsockname()[1])) as process:
            _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("zkwire: port") and errors.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("serve", "--port", "70000"), ("serve", "--version", "2.0"), ("nonsense",)])
def test_a_usage_error_is_status_2(arguments: tuple[str, ...]) -> None:
    with zkwire(*arguments) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "usage:" in errors


def test_help_has_examples() -> None:
    with zkwire("--help") as process:
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "python -m zkwire serve --port 2181" in output
