"""Two rounds of half a minute of `make ensemble`, on real servers: under faults nothing is wrong, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, List, Set

import pytest

from tests.conftest import named
from tests.kit.discovery.live import until
from tests.tools.ensemble import network

ROOT = Path(__file__).parents[2]
#: Few enough for two cores on which other tests run.
CLIENTS = 8


def left() -> Set[str]:
    """Folders of rounds."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("zkwire-ensemble-")}


def processes_below(folder: Path) -> List[str]:
    """The command lines of all processes that name this folder, or work in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text(encoding="utf-8", errors="replace").replace("\0", " ")
            if line and (str(folder) in line or str(folder) in os.readlink(process / "cwd")):
                found.append(line)
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.watchdog(240)
@pytest.mark.parametrize("short, profile, seed", [("3.9", "TLS", 12)])
def test_a_round(shared: Any, short: str, profile: str, seed: int) -> None:
    version = named(short)
    shared.fetch(version)
    before = left()
    command = [sys.executable, "-m", "tests.tools.ensemble", "--rounds", "1", "--seconds", "30", "--clients", str(CLIENTS),
               "--version", version, "--profile", profile, "--seed", str(seed)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=220, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 violations" in done.stdout
    assert left() == before


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.watchdog(180)
def test_a_round_behind_the_proxy(shared: Any) -> None:
    version = named("3.8")
    shared.fetch(version)
    command = [sys.executable, "-m", "tests.tools.ensemble", "--rounds", "1", "--seconds", "30", "--clients", "4",
               "--version", version, "--profile", "plain", "--no-namespaces"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=160, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "network: the fault proxy" in done.stdout


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.watchdog(240)
def test_nothing_is_left_after_ctrl_c(shared: Any, tmp_path: Path) -> None:
    shared.fetch(named("3.8"))
    command = [sys.executable, "-m", "tests.tools.ensemble", "--rounds", "1", "--seconds", "100", "--clients", "2",
               "--version", named("3.8")]  # fmt: skip
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: len(list(tmp_path.glob("zkwire-ensemble-*/c*.history"))) == 2, 150)
            assert len(processes_below(tmp_path)) >= 5  # three servers, two clients
        finally:
            process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, ""), said
    assert processes_below(tmp_path) == []
    assert [path.name for path in tmp_path.glob("zkwire-*") if not path.name.startswith("zkwire-ports-")] == []


@pytest.mark.slow
@pytest.mark.skipif(bool(network.unavailable()), reason=network.unavailable() or "there are namespaces")
def test_each_direction_of_each_pair_has_its_own_rule() -> None:
    code = """
import socket, sys, time
from tests.kit.harness import processes
from tests.tools.ensemble.network import CONTROL, Line, Network

SERVER = "import socket; s = socket.create_server(('0.0.0.0', 7000))\\nwhile True: c, _ = s.accept(); c.sendall(c.recv(9)); c.close()"
net = Network(["one", "two"], 1)
servers = [processes.start([sys.executable, "-c", SERVER], cwd="/", log="/dev/null", network=net.home(name).network) for name in ("one", "two")]

def asked(name, seconds):
    try:
        with socket.create_connection((net.addresses[name], 7000), seconds) as sock:
            sock.sendall(b"hello")
            return sock.recv(9).decode()
    except ConnectionRefusedError:
        return asked(name, seconds)  # it has not begun to listen
    except TimeoutError if sys.version_info >= (3, 10) else socket.timeout:
        return "nothing"

print(asked("one", 5), asked("two", 5))
net.set({(CONTROL, "one"): Line(drop=True)})
print(asked("one", 0.5), asked("two", 5))
net.set({("two", CONTROL): Line(drop=True)})
print(asked("one", 5), asked("two", 0.5))
net.set({(CONTROL, "one"): Line(delay=0.2)})
began = time.monotonic()
print(asked("one", 5), time.monotonic() - began >= 0.4)
net.set({(CONTROL, "one"): Line(loss=1.0)})
print(asked("one", 0.5), net.packets["passed"] > 20 and net.packets["dropped"] > 1)
for server in servers:
    server.kill()
    server.wait()
net.close()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["hello hello", "nothing hello", "hello nothing", "hello True", "nothing True"]
