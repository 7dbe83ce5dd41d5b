"""The harness keeps its word about servers: they start, die, come back with their data, and vanish.

The words to the server are written out byte by byte: the harness is not tested with the client that is
tested with the harness.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from tests.conftest import chosen, named
from tests.kit.harness import debian, packages, pki, ports
from tests.kit.harness.servers import Ensemble, Server, four

pytestmark = pytest.mark.once

PROJECT = Path(__file__).resolve().parents[2]


def string(text: str) -> bytes:
    return struct.pack(">i", len(text)) + text.encode()


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def create_node(server: Server, path: str) -> None:
    """Create a node in a session of its own."""
    connect = struct.pack(">iqiqi16s", 0, 0, 10000, 0, 16, b"")
    anyone = struct.pack(">ii", 1, 31) + string("world") + string("anyone")
    create = struct.pack(">ii", 1, 1) + string(path) + string("") + anyone + struct.pack(">i", 0)
    close = struct.pack(">ii", 2, -11)
    with socket.create_connection((server.host, server.port), 5) as sock, sock.makefile("rb") as replies:
        sock.sendall(frame(connect) + frame(create) + frame(close))
        for _ in range(2):
            (size,) = struct.unpack(">i", replies.read(4))
            reply = replies.read(size)
        assert struct.unpack(">iqi", reply[:16])[::2] == (1, 0), "create failed"


def node_count(server: Server) -> int:
    found = re.search(r"Node count: (\d+)", server.four("srvr"))
    assert found
    return int(found[1])


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_shared_server_serves(server):
    assert server.mode() in ("standalone", "leader", "follower")


def test_data_outlives_a_kill_and_not_a_wipe(own_server: Callable[..., Server]):
    server = own_server()
    empty, port = node_count(server), server.port
    create_node(server, "/kept")
    server.kill()
    assert server.mode() == ""
    server.start()
    assert (server.mode(), server.port, node_count(server)) == ("standalone", port, empty + 1)
    with pytest.raises(RuntimeError):
        server.wipe()
    server.stop()
    server.wipe()
    assert node_count(server.start()) == empty


def test_suspended_server_takes_connections_and_is_mute(own_server: Callable[..., Server]):
    server = own_server()
    server.suspend()
    with socket.create_connection((server.host, server.port), 5) as sock:
        sock.sendall(b"ruok")
        sock.settimeout(0.3)
        with pytest.raises(socket.timeout):
            sock.recv(1)
    server.resume()
    server.wait_ready()
    server.suspend()
    server.stop()
    assert not server.running


def test_options_reach_the_server(own_server: Callable[..., Server]):
    conf = own_server(tick=300, cfg={"maxSessionTimeout": 9000, "minSessionTimeout": None}).four("conf")
    assert "tickTime=300" in conf
    assert "maxSessionTimeout=9000" in conf
    assert "minSessionTimeout=600" in conf  # the server's own default: two ticks
    with pytest.raises(TypeError):
        Server("3.8.0", no_such_option=True)


@pytest.mark.parametrize("version", [one for one in chosen("3.8", "3.9") if not one.startswith("3.4")])
def test_tls_port_answers_to_a_known_client(own_server: Callable[..., Server], version: str):
    server = own_server(version, tls="need")
    context = pki.client_context("client")
    with socket.create_connection((server.host, server.secure_port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as sock:
            sock.sendall(b"ruok")
            assert sock.recv(4) == b"imok"


@pytest.mark.watchdog(90)
@pytest.mark.parametrize("version", chosen("3.9"))
def test_ensemble_elects_a_leader_again(ensemble: Callable[..., Ensemble], version: str):
    members = ensemble(3, version)
    assert len(members.followers()) == 2
    first = members.leader()
    first.kill()
    assert members.leader() is not first
    members.start()
    assert first in members.followers()


@pytest.mark.watchdog(90)
@pytest.mark.parametrize("version", chosen("3.4"))
def test_survivor_of_an_ensemble_is_read_only(ensemble: Callable[..., Ensemble], version: str):
    members = ensemble(3, version, readonly=True)
    members[0].kill()
    members[1].kill()
    assert members[2].wait_mode("read-only") == "read-only"


@pytest.mark.watchdog(60)
def test_observer_is_no_voter(ensemble: Callable[..., Ensemble]):
    members = ensemble(2, observers=1)
    assert members.modes()[members[2]] == "observer"


DIES = """
import os, signal, sys, threading
from tests.kit.harness.servers import Server
server = Server(sys.argv[1])
thread = threading.Thread(target=server.start)  # which ends at once, and must not end the server
thread.start()
thread.join()
server.wait_ready()
server.suspend()
print(server.process.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with parents")
def test_no_server_outlives_killed_tests(shared):
    version = named("")
    shared.fetch(version)
    done = subprocess.run(
        [sys.executable, "-c", DIES, version], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    try:
        deadline = time.monotonic() + 5
        while alive(int(pid)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(int(pid))
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_closed_server_leaves_nothing(own_server: Callable[..., Server]):
    server = own_server()
    process, folder, port = server.process, server.folder, server.port
    server.close()
    assert process is not None and process.poll() is not None
    assert not os.path.exists(folder)
    assert four("127.0.0.1", port, "ruok") == ""


def test_ports_are_given_once_across_processes():
    mine = [ports.lease() for _ in range(4)]
    try:
        text = "import sys; from tests.kit.harness import ports; ports.FIRST = ports.LAST = int(sys.argv[1])\n"
        text += "try: print(ports.lease())\nexcept RuntimeError: print('none')"
        for port in mine:
            command = [sys.executable, "-c", text, str(port)]
            assert subprocess.check_output(command, cwd=PROJECT, text=True).strip() == "none"
        assert len(set(mine)) == 4
    finally:
        for port in mine:
            ports.release(port)


NAMED = "http://named/debian"


@pytest.fixture
def apt(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "sources.list.d").mkdir()
    yield tmp_path


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("sources.list", "", NAMED),
        ("sources.list", "# deb http://off/debian bookworm main\n", NAMED),
        ("sources.list", "deb http://mirror/debian bookworm main\n", "http://mirror/debian"),
        (
            "sources.list",
            "deb [arch=amd64 signed-by=/k] http://m/debian/ sid main contrib",
            "http://m/debian/",
        ),
        ("sources.list", "deb http://m/debian-security bookworm main", NAMED),
        ("sources.list", "deb http://m/ubuntu jammy main", NAMED),
        ("sources.list.d/x.list", "deb http://docker/linux/debian bookworm stable", NAMED),
        (
            "sources.list.d/debian.sources",
            "Types: deb\n# http://snapshot/debian\nURIs: http://m/debian\nSuites: trixie trixie-updates\n"
            "Components: main\n\nTypes: deb\nURIs: http://other/debian\nSuites: trixie\nComponents: main\n",
            "http://m/debian",
        ),
    ],
)
def test_mirror_is_the_one_of_the_machine(
    apt: Path, name: str, text: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    (apt / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv(debian.MIRROR_VARIABLE, NAMED)
    assert debian.mirror(str(apt)) == expected


def test_no_mirror_at_all_says_how_to_name_one(apt: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(debian.MIRROR_VARIABLE, raising=False)
    with pytest.raises(debian.DebianError, match="ZKWIRE_DEBIAN_MIRROR"):
        debian.mirror(str(apt))


def test_two_fetchers_at_once_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZKWIRE_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOOKEEPER_HOME", raising=False)
    unpacked = []

    def unpack(suite: str, names: list[str], target: Path) -> None:
        unpacked.append(suite)
        target.mkdir()

    monkeypatch.setattr(debian, "unpack", unpack)
    threads = [threading.Thread(target=packages.classpath, args=("3.8.0",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unpacked == ["bookworm"]


def test_failed_fetch_says_why_and_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZKWIRE_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOOKEEPER_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    for _ in range(2):
        with pytest.raises(packages.Unavailable, match="no apt-get on this machine"):
            packages.classpath("3.8.0")
        monkeypatch.setattr(debian, "unpack", lambda *_: pytest.fail("asked the network again"))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


IN_THE_BACKGROUND = """
import signal, subprocess, sys
numbers = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP]
for number in numbers:
    signal.signal(number, signal.SIG_IGN)
if sys.argv[1] == "heard":
    from tests.kit import children
    children.hear_signals()
child = "import signal, sys; print([signal.getsignal(int(n)) is not signal.SIG_IGN for n in sys.argv[1:]])"
print(subprocess.run([sys.executable, "-c", child, *[str(int(n)) for n in numbers]], capture_output=True, text=True).stdout)
"""


@pytest.mark.parametrize("how", ["heard", "ignored"])
def test_children_hear_signals_though_the_tests_run_in_the_background(how: str) -> None:
    """What a shell lets a background job ignore is inherited: a test would wait in vain for the effect of a signal."""
    done = subprocess.run([sys.executable, "-c", IN_THE_BACKGROUND, how], cwd=PROJECT, capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == str([how == "heard"] * 3), done.stderr
