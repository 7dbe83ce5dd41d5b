"""`python -m zkdisco render` as its users meet it: a process, its file, its output, its exit status, its signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from tests.kit.discovery.live import until
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
API = "/services/api"


class Started:
    """The command, running; its lines as they come."""

    def __init__(self, *arguments: str, shell: str = "") -> None:
        command = [sys.executable, "-m", "zkdisco", "render", *arguments]
        if shell:
            command = ["/bin/sh", "-c", f'{shell}; exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.out: List[str] = []
        self.errors: List[str] = []
        self._readers = [threading.Thread(target=lambda pipe=pipe, lines=lines: lines.extend(iter(pipe.readline, "")), daemon=True)
                         for pipe, lines in ((self.process.stdout, self.out), (self.process.stderr, self.errors))]  # fmt: skip
        for reader in self._readers:
            reader.start()

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit status after a signal."""
        self.process.send_signal(number)
        return self.left()

    def left(self) -> int:
        status = self.process.wait(20)
        for reader in self._readers:
            reader.join(20)
        return status


@contextlib.contextmanager
def started(*arguments: str, shell: str = "") -> Iterator[Started]:
    one = Started(*arguments, shell=shell)
    try:
        yield one
    finally:
        one.process.kill()
        one.left()
        one.process.stdout.close()  # type: ignore[union-attr]
        one.process.stderr.close()  # type: ignore[union-attr]


def done(*arguments: str) -> Any:
    return subprocess.run([sys.executable, "-m", "zkdisco", *arguments], cwd=ROOT, text=True, capture_output=True, timeout=25)


@pytest.fixture
def there() -> Iterator[Any]:
    """A server, and a session of somebody else in it."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        zk.ensure_path(API)
        zk.server = server
        yield zk


def options(hosts: Any, path: Path, form: str = "haproxy", *more: str) -> List[str]:
    return ["--servers", str(hosts), "--path", "/services", "--name", "api", "--output", str(path), "--format", form, "--every", "0", *more]


def backend(*servers: str) -> str:
    return "backend api\n" + "".join(f"    server {name} 10.0.0.1:80 check\n" for name in servers)


def test_it_follows_until_a_signal(there: Any, tmp_path: Path) -> None:
    path, runs = tmp_path / "out", tmp_path / "runs"
    there.create(f"{API}/a", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path, "haproxy", "--exec", f"cat {path} >>{runs}; echo ran")) as it:
        until(lambda: runs.exists() and runs.read_text() == backend("a"))
        there.create(f"{API}/b", b"10.0.0.1:80")
        until(lambda: runs.read_text() == backend("a") + backend("a", "b"))
        there.create(f"{API}/bad\u202ename", b"none of our\nbusiness\x1b[2J")
        until(lambda: it.errors != [])
        there.delete(f"{API}/a")
        until(lambda: path.read_text() == backend("b"))
        until(lambda: it.out[-2:] == [f"wrote {path}\n", "the command ended with status 0: ran\n"] and len(it.out) == 6)
        assert it.end() == 0
    assert it.errors == ["zkdisco: 1 left out: 'bad\\u202ename': no host:port: 'none of our\\nbusiness\\x1b[2J'\n"]
    assert path.read_text() == backend("b"), "it stays"


def test_an_empty_set_is_held_back_and_said(there: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    there.create(f"{API}/a", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path)) as it:
        until(path.exists)
        there.delete(API, recursive=True)
        until(lambda: any("nothing is left to write" in line for line in it.errors))
        assert path.read_text() == backend("a")
        there.create(f"{API}/c", b"10.0.0.1:80", makepath=True)
        until(lambda: path.read_text() == backend("c"))
        assert it.end(signal.SIGINT) == 0
    with started(*options(there.server.hosts, path, "haproxy", "--allow-empty")) as it:
        there.delete(f"{API}/c")
        until(lambda: path.read_text() == backend())


def test_zookeeper_is_away_at_the_start_and_in_between(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("of the process before us\n")
    with EmbeddedServer() as server:
        with ZooKeeper(server.hosts) as zk:
            zk.create(f"{API}/a", b"10.0.0.1:80", makepath=True)
        server.stop()
        lost = done("render", *options(server.hosts, path, "haproxy", "--session-timeout", "1", "--connect-timeout", "1"))
        assert lost.returncode == 1 and lost.stderr.count("\n") == 1 and path.read_text() == "of the process before us\n"
        with started("--wait", "0", *options(server.hosts, path, "haproxy", "--session-timeout", "5")) as it:
            until(lambda: any("not written" in line for line in it.errors))
            assert path.read_text() == "of the process before us\n"
            server.restart()
            until(lambda: path.read_text() == backend("a"))
            seen = len(it.errors)
            server.stop()
            until(lambda: any("not written: ConnectionLoss" in line for line in it.errors[seen:]))
            assert path.read_text() == backend("a")
            server.restart()
            with ZooKeeper(server.hosts) as zk:
                zk.create(f"{API}/b", b"10.0.0.1:80")
                until(lambda: path.read_text() == backend("a", "b"))
            assert it.end() == 0


def test_once(there: Any, tmp_path: Path) -> None:
    path, runs = tmp_path / "out", tmp_path / "runs"
    arguments = ["render", *options(there.server.hosts, path, "haproxy", "--once", "--exec", f"echo ran >>{runs}")]
    empty = done(*arguments)
    assert empty.returncode == 1 and "nothing is left" in empty.stderr and empty.stderr.count("\n") == 1 and not path.exists()
    there.create(f"{API}/a", b"10.0.0.1:80")
    first = done(*arguments)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"wrote {path}\nthe command ended with status 0\n" and path.read_text() == backend("a")
    second = done(*arguments, "--json")
    assert (second.returncode, second.stdout, runs.read_text()) == (0, "", "ran\n"), "nothing has changed"
    there.create(f"{API}/b", b"10.0.0.1:80")
    failed = done(*arguments[:-1], "echo why; exit 3")
    assert failed.returncode == 1 and "the command ended with status 3: why" in failed.stderr and failed.stderr.count("\n") == 1
    third = done(*arguments, "--json")
    assert third.returncode == 0 and runs.read_text() == "ran\nran\n", "the command is still owed"
    assert [json.loads(line)["text"] for line in third.stdout.splitlines()] == ["the command ended with status 0"]
    gone = done("render", *options(there.server.hosts, tmp_path / "x", "json", "--once", "--allow-empty"), "--name", "none")
    assert gone.returncode == 0 and json.loads((tmp_path / "x").read_text()) == {"path": "/services/none", "instances": []}


def test_arguments_before_the_verb_the_environment_and_a_template(there: Any, tmp_path: Path) -> None:
    there.create(f"{API}/a", b"http://10.0.0.1:80/x")
    source, path = tmp_path / "t", tmp_path / "out"
    source.write_text("$color\n#each\n$host $meta_scheme\n#end\n")
    environment = {**os.environ, "ZKDISCO_SERVERS": there.server.hosts}
    it = subprocess.run(
        [sys.executable, "-m", "zkdisco", "--json", "--wait", "20", "render", "--path", API, "--codec", "gokit", "--once", "--format", "template",
         "--template", str(source), "--set", "color=red", "--output", str(path), "--mode", "0600"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=25,
    )  # fmt: skip
    assert (it.returncode, it.stderr) == (0, "") and json.loads(it.stdout)["text"] == f"wrote {path}"
    assert path.read_text() == "red\n10.0.0.1 http\n" and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("more, why", [
    (["--format", "yaml"], "invalid choice"), (["--set", "backend"], "NAME=VALUE"), (["--set", "x=y"], "backend, server"),
    (["--set", "backend=a b"], "backend"), (["--mode", "9"], "octal"), (["--mode", "7777"], "7777"), (["--every", "-1"], "every"),
    (["--template", "x"], "--template goes with"), (["--format", "template"], "--template goes with"), (["--codec", "none"], "invalid choice: 'none'"),
    (["--exec-timeout", "0"], "command_timeout"), (["--name", "a/b"], "a/b"),
])  # fmt: skip
def test_arguments_that_cannot_be_right(more: List[str], why: str, tmp_path: Path) -> None:
    it = done("render", *options("127.0.0.1:1", tmp_path / "out"), *more)
    assert it.returncode == 2 and why in it.stderr and not (tmp_path / "out").exists()


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "out", tmp_path):
        it = done("render", *options("127.0.0.1:1", path))
        assert it.returncode == 1 and it.stderr.count("\n") == 1 and str(path.parent) in it.stderr


def test_a_disk_that_is_full(there: Any, tmp_path: Path) -> None:
    """A limit of the kernel on the size of files stands for it: a write ends in the middle."""
    path = tmp_path / "out"
    path.write_text("old\n")
    for number in range(40):
        there.create(f"{API}/node-{number:03}", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path), shell="ulimit -f 1") as it:
        until(lambda: any("File too large" in line for line in it.errors))
        assert path.read_text() == "old\n" and os.listdir(tmp_path) == ["out"]
        for number in range(1, 40):
            there.delete(f"{API}/node-{number:03}")
        until(lambda: path.read_text() == backend("node-000"))
        assert it.end() == 0


def test_a_reload_that_hangs_holds_up_no_signal(there: Any, tmp_path: Path) -> None:
    path, mark = tmp_path / "out", tmp_path / "mark"
    there.create(f"{API}/a", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path, "haproxy", "--exec", f"trap '' TERM; touch {mark}; sleep 300; sleep 300")) as it:
        until(mark.exists)
        began = time.monotonic()
        assert it.end() == 0 and time.monotonic() - began < 3.0, "2 s, and what the interpreter takes to end"
    assert path.read_text() == backend("a") and (tmp_path / ".out.owed").exists()
    ran = done("render", *options(there.server.hosts, path, "haproxy", "--once", "--exec", "echo again"))
    assert ran.stdout == "the command ended with status 0: again\n" and not (tmp_path / ".out.owed").exists()


def test_a_file_is_whole_whenever_it_is_killed(there: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    for number in range(30):
        there.create(f"{API}/{number}", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path, "json")):
        until(path.exists)
        for number in range(30):
            there.delete(f"{API}/{number}")
            assert json.loads(path.read_text())["instances"]
    assert json.loads(path.read_text())["instances"]


def test_the_ready_file_is_there_while_the_file_is_as_it_should_be(there: Any, tmp_path: Path) -> None:
    path, ready = tmp_path / "out", tmp_path / "ready"
    there.create(f"{API}/a", b"10.0.0.1:80")
    with started(*options(there.server.hosts, path, "haproxy", "--ready-file", str(ready), "--exec", f"test ! -e {tmp_path}/bad")) as it:
        until(ready.exists)
        (tmp_path / "bad").touch()
        there.create(f"{API}/b", b"10.0.0.1:80")
        until(lambda: not ready.exists())
        (tmp_path / "bad").unlink()
        until(ready.exists)
        assert it.end() == 0 and not ready.exists()


def test_other_verbs_load_nothing_of_it() -> None:
    code = ("import sys; from zkdisco import cli; sys.stderr = open('/dev/null', 'w')\n"
            "try: cli.main(['list', '--path', 'x'])\nexcept SystemExit: pass\n"
            "print([name for name in sys.modules if 'outputs' in name or 'rendering' in name or 'subprocess' in name])")  # fmt: skip
    it = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=25, check=True)
    assert it.stdout == "[]\n"
