"""The files by which probes see how a process stands: on their own, and as the command line writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.children import ROOT
from tests.kit.fronts import until
from zkdisco.probes import HEARTBEAT, ProbeFiles
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer


@pytest.fixture
def complaints() -> List[str]:
    return []


@pytest.fixture
def files(tmp_path: Path, complaints: List[str]) -> ProbeFiles:
    return ProbeFiles(str(tmp_path / "ready"), str(tmp_path / "health"), complaints.append)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_the_ready_file_is_there_while_it_is_ready(files: ProbeFiles, tmp_path: Path, complaints: List[str]) -> None:
    (tmp_path / "ready").write_text("of a process that was killed")
    files.begin()
    assert os.listdir(tmp_path) == []
    for ready, shown in ((None, ""), ("/svc/a", "/svc/a\n"), ("/svc/b", "/svc/b\n"), (None, ""), (None, ""), ("x", "x\n")):
        files.show(ready, "{}", 0, 0.0)
        assert text(tmp_path / "ready") == shown
    files.end()
    assert os.listdir(tmp_path) == [] and complaints == []


def test_the_health_file_is_written_at_changes_and_now_and_then(files: ProbeFiles, tmp_path: Path) -> None:
    files.begin()
    health = tmp_path / "health"
    for moment, state, line, shown in (
        (0.0, 1, "a", "a"), (1.0, 1, "b", "a"), (2.0, 2, "c", "c"), (2.0 + HEARTBEAT - 0.1, 2, "d", "c"),
        (2.0 + HEARTBEAT, 2, "e", "e"), (3.0 + HEARTBEAT, 2, "f", "e"),
    ):  # fmt: skip
        files.show(None, line, state, moment)
        assert text(health) == shown + "\n", moment


def test_a_reader_never_finds_half_a_file(files: ProbeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.begin()
    files.show("one", "1", 1, 0.0)
    seen: List[str] = []
    replace = os.replace

    def looking(source: str, target: str) -> None:
        seen.extend([text(tmp_path / "ready"), text(tmp_path / "health")])
        replace(source, target)

    monkeypatch.setattr(os, "replace", looking)
    files.show("two", "2", 2, 0.0)
    assert seen == ["one\n", "1\n", "two\n", "1\n"] and text(tmp_path / "health") == "2\n"


def test_what_cannot_be_written_is_said_before_anything_is_sent(tmp_path: Path, complaints: List[str]) -> None:
    with pytest.raises(FileNotFoundError):
        ProbeFiles(str(tmp_path / "none" / "ready"), None, complaints.append).begin()
    with pytest.raises(OSError):
        ProbeFiles(None, str(tmp_path), complaints.append).begin()
    assert os.listdir(tmp_path) == []


def test_trouble_later_is_said_once_and_cured_by_itself(tmp_path: Path, complaints: List[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    files = ProbeFiles(str(folder / "ready"), None, complaints.append)
    files.begin()
    folder.rmdir()
    for _ in range(3):
        files.show("x", "", 0, 0.0)
    assert len(complaints) == 1 and "FileNotFoundError" in complaints[0] and str(folder) in complaints[0]
    folder.mkdir()
    files.show("x", "", 0, 0.0)
    assert text(folder / "ready") == "x\n" and len(complaints) == 1


# ------------------------------------------------------------------------ the command line


@contextmanager
def started(verb: str, hosts: str, tmp_path: Path, *arguments: str) -> Iterator[Any]:
    command = [
        sys.executable, "-m", "zkdisco", verb, "--servers", hosts, "--path", "/svc", "--name", "api", "--session-timeout", "1",
        "--ready-file", str(tmp_path / "ready"), "--health-file", str(tmp_path / "health"), *arguments,
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def health(tmp_path: Path) -> Any:
    return json.loads(text(tmp_path / "health") or "{}")


@pytest.mark.long
def test_a_probe_sees_whether_the_instance_is_listed(tmp_path: Path) -> None:
    """Through a registration, an outage that ends its session, and the end."""
    ready = tmp_path / "ready"
    ready.write_text("/svc/api/of-a-process-that-was-killed")
    with EmbeddedServer(tick=0.05) as server:
        server.stop()
        with started("register", server.hosts, tmp_path, "--data", "x:80", "--wait", "0") as it:
            until(lambda: health(tmp_path).get("ok") is False)
            assert not ready.exists(), "nothing is listed yet"
            server.restart()
            until(ready.exists)
            with ZooKeeper(server.hosts) as zk:
                node = text(ready).strip()
                assert zk.get(node)[0] == b"x:80"
                until(lambda: health(tmp_path)["ok"])
                assert health(tmp_path)["registrations"][0]["node"] == node
                server.stop()
                until(lambda: not health(tmp_path)["ok"])
                until(lambda: not ready.exists())
                until(lambda: health(tmp_path)["state"] == "LOST")
                server.restart()
                until(lambda: ready.exists() and zk.connected and zk.exists(text(ready).strip()))
            it.send_signal(signal.SIGTERM)
            _, error = it.communicate(timeout=10)
            assert it.returncode == 0, error
            assert os.listdir(tmp_path) == []


@pytest.mark.long
def test_a_probe_sees_whether_what_is_printed_is_of_the_moment(tmp_path: Path) -> None:
    with EmbeddedServer(tick=0.05) as server, ZooKeeper(server.hosts) as zk:
        zk.create("/svc/api/a", b"x:1", makepath=True)
        with started("watch", server.hosts, tmp_path) as it:
            until((tmp_path / "ready").exists)
            assert text(tmp_path / "ready") == "1\n"
            zk.create("/svc/api/b", b"x:2")
            until(lambda: text(tmp_path / "ready") == "2\n")
            until(lambda: health(tmp_path)["instancers"] == [{"directory": "/svc/api", "size": 2, "age": 0.0, "error": None}])
            server.stop()
            until(lambda: not (tmp_path / "ready").exists() and health(tmp_path)["instancers"][0]["age"] > 0)
            it.send_signal(signal.SIGTERM)
            assert it.wait(10) == 0 and os.listdir(tmp_path) == []


@fault("Y21")
def test_what_a_killed_process_leaves_is_removed_by_the_next_before_it_connects(tmp_path: Path) -> None:
    with EmbeddedServer() as server:
        with started("register", server.hosts, tmp_path, "--data", "x:80") as it:
            until((tmp_path / "ready").exists)
            it.kill()
            it.wait(10)
        assert (tmp_path / "ready").exists(), "nobody was there to remove it: so a probe looks at the age of the other file"
    with started("register", "127.0.0.1:1", tmp_path, "--data", "x:80", "--wait", "0"):
        until(lambda: not (tmp_path / "ready").exists() and health(tmp_path).get("ok") is False)


def test_a_file_that_cannot_be_written_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    with started("register", "127.0.0.1:1", tmp_path / "none", "--data", "x:80") as it:
        out, error = it.communicate(timeout=10)
    assert it.returncode == 1 and out == "" and error.startswith("zkdisco: FileNotFoundError") and error.count("\n") == 1
