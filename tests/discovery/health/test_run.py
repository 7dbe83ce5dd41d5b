"""`python -m zkdisco run` as a process: somebody else follows the list while things happen to it and to its command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from tests.kit import children
from tests.kit.fronts import until
from tests.kit.harness import ports
from tests.kit.stage import Namespaces, Stage, command
from zkdisco.supervised import TOGETHER
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.ops import Create

ONE = "10.0.0.1:80"
#: Seconds of `--drain`, and what a busy machine may add.
DRAIN, SLACK = 1.0, 3.0
#: Says what it hears, and when; ends at SIGTERM with status 7, unless it is told otherwise.
CHILD = """
import os, signal, sys, time
def heard(number, frame):
    print(signal.Signals(number).name, time.monotonic(), flush=True)
    if signal.Signals(number).name in sys.argv[1].split(","):
        sys.exit(7)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    if number not in (32, 33):
        signal.signal(number, heard)
print("up", os.getpid(), flush=True)
while True:
    signal.pause()
"""


def child(ends: str = "SIGTERM,SIGINT,SIGHUP,SIGQUIT") -> List[str]:
    return [sys.executable, "-c", CHILD, ends]


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tick=0.05) as one:
        yield one


@pytest.fixture
def stage(embedded: EmbeddedServer) -> Iterator[Stage]:
    with Stage(embedded.hosts) as one:
        yield one


def run_words(hosts: str, options: Tuple[str, ...], words: List[str]) -> List[str]:
    return command("run", hosts, "--data", ONE, "--interval", "0.1", "--drain", str(DRAIN), *options, "--", *words)


def started(stage: Stage, *options: str, words: Any = None, prefix: Tuple[str, ...] = (), **more: Any) -> Any:
    """The sidecar, whose command is up; `process.child` is the command's process id, if it says so."""
    process = stage.start([*prefix, *run_words(stage.hosts, options, child() if words is None else words)], "run", **more)
    if words is None:
        what, pid = process.stdout.readline().split()
        assert what == "up"
        process.child = int(pid)
    return process


def line(process: Any) -> Tuple[str, float]:
    """What the command has heard next, and when."""
    what, when = process.stdout.readline().split()
    return what, float(when)


def done(*arguments: str, **options: Any) -> Any:
    """The command line, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "zkdisco", *arguments], cwd=children.ROOT, text=True, capture_output=True, timeout=25, **options
    )


def hurry(process: Any, told: float) -> None:
    """A second signal, so late after the first one, sent at `told`, that they are two."""
    until(lambda: time.monotonic() > told + TOGETHER + 0.1)
    process.send_signal(signal.SIGTERM)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# ------------------------------------------------------------------------------------- the order


@pytest.mark.timed
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_it_is_off_the_list_before_the_command_hears_of_the_end(stage: Stage, name: str) -> None:
    process = started(stage)
    stage.until(ONE)
    began = time.monotonic()
    stage.send(process, getattr(signal, name))
    gone = stage.until()
    what, when = line(process)
    assert what == name and stage.listed == ()
    assert gone < SLACK and began + gone + DRAIN - 0.1 <= when < began + DRAIN + SLACK
    assert stage.ended(process)[0] == 7
    assert stage.sets[-2:] == [(ONE,), ()], "it never came back"


def test_a_group_that_is_told_does_not_tell_the_command_too_early(stage: Stage) -> None:
    """As a process manager, and Ctrl-C in a terminal that is not our stdin, tell all of a group."""
    process = started(stage)
    stage.until(ONE)
    stage.send(process, signal.SIGTERM, group=True)
    what, _ = line(process)
    assert what == "SIGTERM" and stage.listed == ()
    assert stage.ended(process)[0] == 7


@pytest.mark.timed
def test_a_second_signal_skips_the_drain_and_one_that_comes_with_the_first_does_not(stage: Stage) -> None:
    process = started(stage, "--drain", "60")
    stage.until(ONE)
    began = time.monotonic()
    stage.send(process, signal.SIGTERM)
    os.kill(process.pid, signal.SIGHUP)
    stage.until()
    assert process.poll() is None
    until(lambda: time.monotonic() > began + 1.0)
    assert alive(process.child)
    hurry(process, began)
    assert line(process)[0] in ("SIGTERM", "SIGHUP") and stage.listed == (), "both, and Python hears the lower number first"
    status, took = stage.ended(process)
    assert status == 7 and took < SLACK


def test_other_signals_are_passed_on_at_once_in_every_phase(stage: Stage) -> None:
    process = started(stage, "--drain", "60")
    stage.until(ONE)
    names = ["SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGALRM", "SIGURG"]
    for name in names:
        stage.send(process, getattr(signal, name))
        assert line(process)[0] == name
    os.kill(process.pid, signal.SIGRTMIN)
    assert line(process)[0] == "SIGRTMIN"
    assert stage.listed == (ONE,)
    stage.send(process, signal.SIGTERM)
    stage.until()
    for name in names:
        stage.send(process, getattr(signal, name))
        assert line(process)[0] == name
    assert stage.listed == ()


def test_a_signal_that_is_only_forwarded_ends_nothing(stage: Stage) -> None:
    process = started(stage, "--forward", "hup,SIGQUIT", words=child("SIGTERM"))
    assert process.stdout.readline().startswith("up")
    stage.until(ONE)
    for name in ("SIGHUP", "SIGQUIT"):
        stage.send(process, getattr(signal, name))
        assert line(process)[0] == name
    assert stage.listed == (ONE,)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.listed == () and stage.ended(process)[0] == 7
    assert stage.sets.count((ONE,)) == 1


@pytest.mark.timed
def test_a_command_that_does_not_end_is_killed_with_what_it_has_started(stage: Stage) -> None:
    deaf = "trap : TERM; sleep 600 & echo $!; while :; do sleep 1; done"
    process = started(stage, "--drain", "0", "--kill-after", "1", words=["sh", "-c", deaf])
    pid = int(process.stdout.readline())
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    status, took = stage.ended(process)
    assert status == 137 and 0.9 < took < 1.0 + SLACK and "killed" in process.stderr.read()
    until(lambda: not alive(pid))


# ------------------------------------------------------------------------------ the command's end


@pytest.mark.parametrize("words, status", [
    (["true"], 0), (["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137), (["sh", "-c", "kill -15 $$"], 143),
])  # fmt: skip
def test_the_exit_status_is_the_commands(stage: Stage, words: List[str], status: int) -> None:
    process = started(stage, words=words)
    assert stage.ended(process)[0] == status
    with ZooKeeper(stage.hosts) as zk:
        assert not zk.exists("/svc/api") or zk.get_children("/svc/api") == []


@pytest.mark.timed
def test_a_command_that_dies_is_off_the_list_at_once(stage: Stage) -> None:
    process = started(stage, "--drain", "60", "--session-timeout", "20")
    stage.until(ONE)
    stage.send(process.child, signal.SIGKILL)
    assert stage.until() < SLACK
    status, took = stage.ended(process)
    assert status == 137 and took < SLACK


def test_a_command_that_cannot_be_started(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    for name, status in (("/no/such/program", 127), (str(tmp_path / "plain"), 126), (str(tmp_path), 126)):
        failed = done(*run_words(stage.hosts, (), [name])[3:])
        assert failed.returncode == status and failed.stderr.count("\n") == 1 and name in failed.stderr
    assert stage.sets == [()]


def test_what_the_command_inherits(stage: Stage, tmp_path: Path) -> None:
    """Its input and output, the dispositions and the mask of signals that we were given, the rest of the environment."""
    shell = "grep -E 'Sig(Blk|Ign)' /proc/self/status; cat; ls /proc/self/fd | tr '\\n' ' '; echo; echo $MINE $NOTIFY_SOCKET; pwd; exit 5"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        environment = {**os.environ, "MINE": "ours", "NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(children.ROOT)}
        process = subprocess.run(
            run_words(stage.hosts, (), ["sh", "-c", shell]), input="in\n", text=True, capture_output=True, timeout=25,
            cwd=tmp_path, env=environment, preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
        )  # fmt: skip
    blocked, ignored, said, files, own, where = process.stdout.splitlines()
    of_libc = 3 << 31  # 32 and 33, which `posix_spawn` of glibc ignores, and a program that needs them does not
    assert (int(blocked.split()[1], 16), int(ignored.split()[1], 16) & ~of_libc) == (0, 1 << signal.SIGUSR2 - 1)
    assert (said, files.split()[:3], own.strip(), where) == ("in", ["0", "1", "2"], "ours", str(tmp_path))
    assert len(files.split()) == 4 and process.returncode == 5, "of ours, nothing is left open"


# ------------------------------------------------------------------------------------- the health


def test_it_is_listed_while_it_is_healthy(stage: Stage, tmp_path: Path) -> None:
    flag = tmp_path / "well"
    process = started(stage, "--check", f"cmd test -e {flag}", "--rise", "2", "--fall", "2")
    assert "no check has passed yet" in process.stderr.readline()
    assert "exit status 1" in process.stderr.readline()
    assert stage.listed == ()
    for _ in range(3):
        flag.touch()
        stage.until(ONE)
        flag.unlink()
        stage.until()
    assert alive(process.child)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.ended(process)[0] == 7
    assert stage.sets == [(), (ONE,), (), (ONE,), (), (ONE,), ()]


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_a_port_that_opens_and_closes(stage: Stage, scheme: str) -> None:
    port = ports.lease()
    server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    check = f"{scheme}://:{port}" + ("/" if scheme == "http" else "")
    process = started(stage, "--check", check, "--timeout", "5", words=server)
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    stage.until()
    with socket.create_connection(("127.0.0.1", port), 10.0):
        pass  # it is drained: whoever has read the list a moment ago is served
    assert stage.ended(process)[0] == 143


def test_a_check_that_hangs_takes_it_off_the_list(stage: Stage, tmp_path: Path) -> None:
    flag = tmp_path / "hangs"
    process = started(stage, "--check", f"cmd sh -c 'test -e {flag} && sleep 600; true'", "--timeout", "0.5", "--fall", "1")
    stage.until(ONE)
    flag.touch()
    stage.until()
    flag.unlink()
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.ended(process)[0] == 7


def test_a_pause_file(stage: Stage, tmp_path: Path) -> None:
    pause = tmp_path / "pause"
    pause.touch()
    process = started(stage, "--pause-file", str(pause))
    assert f"paused: {pause} is there" in process.stderr.readline()
    assert stage.listed == ()
    for _ in range(2):
        pause.unlink()
        stage.until(ONE)
        pause.touch()
        stage.until()
    assert alive(process.child) and stage.sets == [(), (ONE,), (), (ONE,), ()]


# ----------------------------------------------------------------------------- ZooKeeper is away


@pytest.mark.timed
def test_without_zookeeper_the_command_starts_hears_and_ends_at_once() -> None:
    words = run_words("127.0.0.1:1", ("--session-timeout", "20"), child())
    with subprocess.Popen(words, cwd=children.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            began = time.monotonic()
            assert process.stdout.readline().startswith("up")
            process.send_signal(signal.SIGUSR1)
            assert line(process)[0] == "SIGUSR1"
            process.send_signal(signal.SIGTERM)
            what, when = line(process)
            assert what == "SIGTERM" and process.wait(10) == 7
            assert time.monotonic() - began < SLACK and "registered /" not in process.stderr.read()
        finally:
            process.kill()


def test_it_is_listed_once_zookeeper_is_there(embedded: EmbeddedServer, stage: Stage) -> None:
    embedded.stop()
    process = started(stage)
    assert "no connection" in process.stderr.readline()
    embedded.start()
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.listed == () and stage.ended(process)[0] == 7


def test_a_node_whose_answer_was_lost_is_drained_and_said_to_be_left(embedded: EmbeddedServer, stage: Stage, tmp_path: Path) -> None:
    pause = tmp_path / "pause"
    pause.touch()
    before = len(embedded.connected)
    process = started(stage, "--session-timeout", "20", "--pause-file", str(pause))
    embedded.wait_for(lambda: len(embedded.connected) > before)
    embedded.plant({"/svc/api": b""})
    embedded.lose_answer(Create)
    embedded.refuse_sessions()
    pause.unlink()
    stage.until(ONE)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    what, when = line(process)
    assert what == "SIGTERM" and when - began > DRAIN - 0.1, "callers may know of it: it is drained"
    assert process.wait(10) == 7 and stage.listed == (ONE,)
    assert "the node ends with the session, in 20 s at most" in process.stderr.read()


def test_a_node_whose_answer_is_on_the_way_goes_before_the_command_hears(
    embedded: EmbeddedServer, stage: Stage, tmp_path: Path
) -> None:
    pause = tmp_path / "pause"
    pause.touch()
    before = len(embedded.connected)
    process = started(stage, "--session-timeout", "20", "--drain", "0", "--pause-file", str(pause))
    embedded.wait_for(lambda: len(embedded.connected) > before)
    embedded.plant({"/svc/api": b""})
    with embedded.delay(0.5):
        pause.unlink()
        embedded.wait_for(lambda: embedded.tree("/svc/api"))
        process.send_signal(signal.SIGTERM)
        assert line(process)[0] == "SIGTERM" and not embedded.tree("/svc/api")
    assert process.wait(10) == 7


@pytest.mark.timed
def test_an_outage_in_the_middle_delays_no_signal_and_what_is_left_is_said(embedded: EmbeddedServer, stage: Stage) -> None:
    process = started(stage, "--session-timeout", "20")
    stage.until(ONE)
    embedded.stop()
    while "no connection" not in process.stderr.readline():
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    what, when = line(process)
    assert what == "SIGTERM" and DRAIN - 0.1 < when - began < DRAIN + SLACK
    assert process.wait(10) == 7
    assert "the node ends with the session, in 20 s at most" in process.stderr.read()
    embedded.start()


def test_zookeeper_comes_back_in_the_middle_of_the_drain(embedded: EmbeddedServer, stage: Stage) -> None:
    process = started(stage, "--session-timeout", "20", "--drain", "20")
    stage.until(ONE)
    embedded.stop()
    while "no connection" not in process.stderr.readline():
        pass
    told = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while "told to end" not in process.stderr.readline():
        pass
    embedded.start()
    with ZooKeeper(embedded.hosts) as zk:
        until(lambda: zk.get_children("/svc/api") == [])
        assert alive(process.child), "it is still drained"
        hurry(process, told)
        assert line(process)[0] == "SIGTERM" and process.wait(10) == 7
        assert zk.get_children("/svc/api") == []


@pytest.mark.timed
def test_a_server_that_says_nothing_holds_up_nobody(embedded: EmbeddedServer, stage: Stage) -> None:
    process = started(stage, "--session-timeout", "20")
    stage.until(ONE)
    embedded.black_hole()
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    what, when = line(process)
    assert what == "SIGTERM" and when - began < 2.0 + SLACK
    assert process.wait(10) == 7
    embedded.heal()


# ------------------------------------------------------------------------------------- process 1


@pytest.fixture(scope="module")
def namespaces() -> Namespaces:
    found = Namespaces()
    if found.why_not:
        pytest.skip(found.why_not)
    return found


def test_as_process_1_it_reaps_orphans_and_hands_signals_on(stage: Stage, namespaces: Namespaces) -> None:
    shell = "for n in 1 2 3 4 5; do sh -c 'sh -c \"sleep 0.2\" &' ; done; exec \"$@\""
    words = ["sh", "-c", shell, "sh", *child()]
    process = started(stage, "--check", "cmd sh -c 'sh -c \"sleep 0.1\" & exit 0'", words=words, prefix=tuple(namespaces.prefix))
    assert process.stdout.readline().startswith("up ")
    stage.until(ONE)
    first = namespaces.first(process)
    until(lambda: not zombies(first))
    stage.send(first, signal.SIGUSR1)
    assert line(process)[0] == "SIGUSR1"
    assert stage.listed == (ONE,)
    stage.send(first, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.listed == ()
    assert stage.ended(process)[0] == 7
    assert stage.sets.count((ONE,)) == 1, "no orphan's status was taken for a check's"


def zombies(first: int) -> List[str]:
    """What has ended in its namespace, and was not waited for."""
    space = os.readlink(f"/proc/{first}/ns/pid")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z" and os.readlink(path / "ns/pid") == space:
                found.append(path.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers are Linux's")
def test_as_a_subreaper_too(stage: Stage) -> None:
    become = textwrap.dedent("""
    import ctypes, os, sys
    import signal
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.execv(sys.argv[1], sys.argv[1:])
    """)
    shell = "sh -c 'sh -c \"exit 3\" &'; echo orphaned; exec \"$@\""
    process = started(stage, words=["sh", "-c", shell, "sh", *child()], prefix=(sys.executable, "-c", become))
    assert process.stdout.readline() == "orphaned\n" and process.stdout.readline().startswith("up ")
    stage.until(ONE)
    until(lambda: [one for one in below(process.pid)] and not any(state == "Z" for state in below(process.pid).values()))
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.listed == () and stage.ended(process)[0] == 7


def below(pid: int) -> Dict[str, str]:
    """The children of a process, and their states."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if parent == str(pid):
                found[path.parent.name] = state
    return found


# ------------------------------------------------------------------------------------ who is told


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(stage: Stage, tmp_path: Path, abstract: bool) -> None:
    name = f"@zkdisco-{os.getpid()}-{os.urandom(4).hex()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind("\0" + name[1:] if abstract else name)
        notified.settimeout(20.0)
        flag = tmp_path / "well"
        process = started(stage, "--check", f"cmd test -e {flag}", env={**os.environ, "NOTIFY_SOCKET": name})
        heard = [notified.recv(4096).decode()]
        assert heard[0].startswith("STATUS=not registered: ")
        flag.touch()
        while heard[-1] != "READY=1":
            heard.append(notified.recv(4096).decode())
        assert stage.until(ONE) >= 0.0
        assert notified.recv(4096).decode().startswith("STATUS=registered /svc/api/_c_")
        flag.unlink()
        assert "exit status 1" in notified.recv(4096).decode()
        flag.touch()
        assert notified.recv(4096).decode().startswith("STATUS=registered "), "it is ready once"
        stage.send(process, signal.SIGTERM)
        assert notified.recv(4096) == b"STOPPING=1"
        assert stage.ended(process)[0] == 7


def test_nobody_who_listens_to_what_systemd_is_told(stage: Stage) -> None:
    process = started(stage, env={**os.environ, "NOTIFY_SOCKET": "/no/such/socket"})
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.ended(process)[0] == 7
    assert "systemd is not told" in process.stderr.read()


def got(port: int, page: str) -> Tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def metrics(port: int) -> Dict[str, float]:
    """What Prometheus would read: each sample with its labels, after the help and the type of its metric."""
    status, text = got(port, "/metrics")
    assert status == 200 and text.endswith("\n")
    found: Dict[str, float] = {}
    typed = set()
    for one in text.splitlines():
        if one.startswith("# TYPE "):
            typed.add(one.split()[2])
            assert one.split()[3] in ("gauge", "counter")
        elif not one.startswith("# HELP "):
            sample = re.fullmatch(r'([a-z_]+)(\{[a-z]+="(?:[^"\\]|\\.)*"\})? (-?[0-9.e+-]+)', one)
            assert sample is not None and sample.group(1) in typed, one
            found[sample.group(1) + (sample.group(2) or "")] = float(sample.group(3))
    return found


def test_kubernetes_and_prometheus_are_told(stage: Stage, tmp_path: Path) -> None:
    port, flag, pause = ports.lease(), tmp_path / "well", tmp_path / "pause"
    ready, health = tmp_path / "ready", tmp_path / "health"
    process = started(
        stage, "--check", f"cmd test -e {flag}", "--listen", f":{port}", "--pause-file", str(pause), "--drain", "60",
        "--ready-file", str(ready), "--health-file", str(health),
    )  # fmt: skip
    assert got(port, "/healthz")[0] == 503 and got(port, "/readyz")[0] == 503 and not ready.exists()
    flag.touch()
    stage.until(ONE)
    until(lambda: got(port, "/readyz")[0] == 200 and ready.exists())
    assert json.loads(got(port, "/healthz")[1])["phase"] == "running" and ready.read_text().startswith("/svc/api/_c_")
    until(lambda: json.loads(health.read_text())["ok"])
    found = metrics(port)
    assert found['zkdisco_registered{directory="/svc/api"}'] == found["zkdisco_connected"] == found["zkdisco_healthy"] == 1
    assert found["zkdisco_paused"] == found["zkdisco_ending"] == 0 and found["zkdisco_registrations_total"] == 1
    assert found['zkdisco_checks_total{result="passed"}'] >= 2 and found["zkdisco_check_duration_seconds"] > 0
    pause.touch()
    stage.until()
    until(lambda: got(port, "/readyz")[0] == 503 and not ready.exists())
    status, text = got(port, "/healthz")
    assert status == 200 and str(pause) in json.loads(text)["why"], "nothing is wrong with it: no reason to restart it"
    pause.unlink()
    stage.until(ONE)
    until(lambda: metrics(port)["zkdisco_registrations_total"] == 2)
    told = time.monotonic()
    stage.send(process, signal.SIGTERM)
    stage.until()
    until(lambda: got(port, "/readyz")[0] == 503 and got(port, "/healthz")[0] == 200 and not ready.exists())
    assert metrics(port)["zkdisco_ending"] == 1
    hurry(process, told)
    assert stage.ended(process)[0] == 7 and os.listdir(tmp_path) == ["well"]


def test_json_lines_on_stderr_and_nothing_on_stdout(stage: Stage) -> None:
    process = started(stage, "--json", words=["sh", "-c", "read line"])
    stage.until(ONE)
    told = json.loads(process.stderr.readline())
    while told["node"] is None:
        told = json.loads(process.stderr.readline())
    assert told["node"].startswith("/svc/api/_c_") and told["error"] is None
    out, error = process.communicate("x\n", timeout=20)
    assert process.returncode == 0 and out == "" and all(json.loads(one) for one in error.splitlines())


@pytest.mark.timed
def test_who_does_not_read_stderr_delays_nothing(stage: Stage, tmp_path: Path) -> None:
    """A pipe that is full from the first moment."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    process = started(stage, stderr=writing)
    stage.until(ONE)
    stage.send(process, signal.SIGTERM)
    assert line(process)[0] == "SIGTERM" and stage.ended(process)[0] == 7
    os.close(reading)
    os.close(writing)


# ---------------------------------------------------------------------------------- the arguments

GOOD = ("run", "--path", "/s", "--name", "a", "--data", "x")


@pytest.mark.parametrize("arguments", [
    [*GOOD], [*GOOD, "--"], [*GOOD, "true"], ["run", "--path", "/s", "--name", "a", "--", "true"], [*GOOD, "--check", "80", "--", "true"],
    [*GOOD, "--check", "cmd /no/such", "--", "true"], [*GOOD, "--rise", "0", "--", "true"], [*GOOD, "--fall", "x", "--", "true"],
    [*GOOD, "--drain", "-1", "--", "true"], [*GOOD, "--drain", "nan", "--", "true"], [*GOOD, "--interval", "0", "--", "true"],
    [*GOOD, "--timeout", "inf", "--", "true"], [*GOOD, "--listen", "host:80", "--", "true"], [*GOOD, "--listen", ":99999", "--", "true"],
    [*GOOD, "--forward", "SIGNOTHING", "--", "true"], [*GOOD, "--identity", "a/b", "--", "true"],
    ["list", "--path", "/s", "--", "true"], ["run", "--path", "s", "--name", "a", "--data", "x", "--", "true"],
], ids=" ".join)  # fmt: skip
def test_usage_errors(arguments: List[str]) -> None:
    failed = done(*arguments)
    assert failed.returncode == 2 and failed.stdout == "" and "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("python -m zkdisco")


def test_troubles_before_the_start_are_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for options in (("--listen", f":{taken.getsockname()[1]}"), ("--ready-file", "/no/such/ready"), ("--credentials-file", "/no/such")):
            failed = done(*GOOD, "--servers", "127.0.0.1:1", *options, "--", "touch", str(tmp_path / "started"))
            assert failed.returncode == 1 and failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    assert not (tmp_path / "started").exists()


def test_connection_options_before_the_verb_and_in_the_environment(stage: Stage) -> None:
    words = [sys.executable, "-m", "zkdisco", "--servers", stage.hosts, "run", "--path", "/svc", "--name", "api", "--data", ONE]
    for given, environment in ((words, {}), ([*words[:3], *words[5:]], {"ZKDISCO_SERVERS": stage.hosts})):
        process = stage.start([*given, "--drain", "0", "--identity", "host-1", "--", *child()], env={**os.environ, **environment})
        assert process.stdout.readline().startswith("up ")
        stage.until(ONE)
        with ZooKeeper(stage.hosts) as zk:
            assert zk.get_children("/svc/api") == ["host-1"]
        stage.send(process, signal.SIGTERM)
        assert stage.ended(process)[0] == 7
        stage.until()


@pytest.mark.slow
def test_help() -> None:
    shown = done("run", "--help")
    assert shown.returncode == 0 and "examples:" in shown.stdout and "--servers" in shown.stdout and "-- COMMAND" in shown.stdout
