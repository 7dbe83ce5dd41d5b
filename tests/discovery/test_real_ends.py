"""Processes that use zkdisco, and how they end where they really live: in a container, under systemd, in a pipe, in forks.

`make ends` shows most of this as a transcript.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, List

import pytest

from tests.conftest import in_ci
from tests.kit import children, services
from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, until
from tests.kit.stage import Namespaces, Stage, command, signals_pending
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

pytestmark = [pytest.mark.slow, pytest.mark.timed]  # all of it is about times
ONE = "10.0.0.1:80"
#: Seconds in which whoever has heard of the end has said goodbye, and in which the command line ends.
LEAVE = 2.0
#: Of the embedded server, and of the real ones here (`tests/kit/harness`), in seconds.
TICK, REAL_TICK = 0.05, 0.5
#: The session timeout of those that must be missed, and of those that must not.
SHORT, LONG = 1.0, 20.0


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tick=TICK) as one:
        yield one


@pytest.fixture
def stage(embedded: EmbeddedServer) -> Iterator[Stage]:
    with Stage(embedded.hosts) as one:
        yield one


@pytest.fixture
def real_stage(server393: Any) -> Iterator[Stage]:
    with Stage(server393.hosts) as one:
        yield one


@pytest.fixture(scope="module")
def namespaces() -> Namespaces:
    found = Namespaces()
    if found.why_not and in_ci():
        pytest.fail(found.why_not, pytrace=False)
    if found.why_not:
        pytest.skip(found.why_not)
    return found


def service(text: str, stage: Stage, timeout: float = LONG, *arguments: str) -> List[str]:
    return services.command(text, stage.hosts, timeout, *arguments)


# --------------------------------------------------------------- process 1, as docker starts it

#: Orphans of a container are adopted by its process 1, which does not know them: one has ended, one goes on, deaf.
ADOPTS = "sh -c 'true &'; sh -c 'sh -c \"trap : TERM; sleep 60; sleep 60\" &'; exec \"$@\""


@fault("Y13")
@pytest.mark.parametrize("orphans", [False, True])
def test_the_command_line_as_process_1_hears_sigterm(real_stage: Stage, namespaces: Namespaces, orphans: bool) -> None:
    shell = ["sh", "-c", ADOPTS, "sh"] if orphans else []
    process = real_stage.register(prefix=[*namespaces.prefix, *shell])
    real_stage.send(namespaces.first(process), signal.SIGTERM)
    gone = real_stage.until()
    status, took = real_stage.ended(process)
    assert (status, *process.communicate()) == (0, "deregistered\n", "")
    assert gone < LEAVE and took < LEAVE + SLACK


@fault("Y13", "Y21")
@pytest.mark.parametrize("text", [services.THREADS, services.ASYNCIO], ids=["threads", "asyncio"])
def test_a_service_as_process_1_hears_sigterm_by_its_handler(stage: Stage, namespaces: Namespaces, text: str) -> None:
    process = stage.start([*namespaces.prefix, *service(text, stage)])
    stage.until(ONE)
    stage.send(namespaces.first(process), signal.SIGTERM)
    gone = stage.until()
    status, took = stage.ended(process)
    assert (status, *process.communicate()) == (0, "", "")
    assert gone < LEAVE and took < LEAVE + SLACK


@fault("Y21")
def test_process_1_without_a_handler_does_not_hear_sigterm_and_is_missed_after_its_session(
    stage: Stage, namespaces: Namespaces
) -> None:
    """What `docker stop` does: SIGTERM, which the kernel keeps from it, then SIGKILL."""
    text = services.BEGIN + "print('not heard', flush=True)\nsys.stdin.readline()\n"
    process = stage.start([*namespaces.prefix, *service(text, stage, SHORT)])
    assert process.stdout.readline() == "registered\n"
    stage.until(ONE)
    first = namespaces.first(process)
    stage.send(first, signal.SIGTERM)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "not heard\n"
    assert stage.listed == (ONE,)
    stage.send(first, signal.SIGKILL)
    assert stage.until() < SHORT + TICK + SLACK


# ------------------------------------------------------------------------------ below systemd


@fault("Y21")
@pytest.mark.parametrize("timeout", [1, 3])
def test_a_killed_process_is_missed_after_its_session_timeout(real_stage: Stage, timeout: int) -> None:
    """Not before two thirds of it, in which nothing was to be said; a real server looks once in a tick."""
    process = real_stage.register(ONE, "--session-timeout", str(timeout))
    real_stage.send(process, signal.SIGKILL)
    took = real_stage.until()
    assert timeout / 3 < took < timeout + REAL_TICK + SLACK


@fault("Y13")
def test_sigterm_is_enough_and_sigkill_is_not_waited_for(stage: Stage) -> None:
    """TimeoutStopSec is never reached."""
    process = stage.register()
    stage.send(process, signal.SIGTERM)
    assert stage.until() < LEAVE
    status, took = stage.ended(process)
    assert status == 0 and took < LEAVE + SLACK


@fault("Y13")
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT])
def test_the_command_line_has_nothing_to_reload_and_ends(stage: Stage, number: int) -> None:
    process = stage.register()
    stage.send(process, number)
    assert stage.until() < LEAVE
    assert stage.ended(process)[0] == 0


@fault("Y13")
def test_what_was_ignored_when_it_was_started_stays_so(stage: Stage) -> None:
    """Below nohup, SIGHUP; in the background of a script, SIGINT and SIGQUIT."""
    process = stage.register(prefix=["sh", "-c", 'trap "" HUP INT QUIT; exec "$@"', "sh"])
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        stage.send(process, number)
    stage.send(process, signal.SIGTERM)
    assert stage.until() < LEAVE
    assert stage.ended(process)[0] == 0 and process.communicate()[0] == "deregistered\n"


@fault("Y13")
def test_a_service_reloads_in_place_on_sighup(stage: Stage) -> None:
    """Nobody is shown an empty set on the way."""
    process = stage.start(service(services.RELOADS, stage))
    stage.until(ONE)
    stage.send(process, signal.SIGHUP)
    stage.until(f"{ONE} reloaded")
    assert stage.sets == [(), (ONE,), (f"{ONE} reloaded",)]
    stage.send(process, signal.SIGTERM)
    assert stage.until() < LEAVE
    assert stage.ended(process)[0] == 0


@fault("Y13")
@pytest.mark.parametrize("second", [signal.SIGHUP, signal.SIGTERM])
def test_two_signals_at_once_are_one(embedded: EmbeddedServer, stage: Stage, second: int) -> None:
    """SIGTERM, and SIGHUP just behind it: SendSIGHUP=yes. The same one twice: a manager, and a parent that passes it on."""
    process = stage.register()
    embedded.delay(0.1)  # so that the goodbye takes its time
    stage.send(process, signal.SIGTERM)
    until(lambda: not signals_pending(process.pid))
    stage.send(process, second)
    status, took = stage.ended(process)
    embedded.heal()
    assert (status, took < LEAVE + SLACK) == (0, True)
    assert process.communicate()[0] == "deregistered\n"
    assert stage.until() < LEAVE


@fault("Y16")
def test_a_registration_outlives_the_journal(embedded: EmbeddedServer, stage: Stage) -> None:
    """stdout and stderr are a socket whose reader goes; there is trouble to report, and then that all is well again."""
    ours, its = socket.socketpair()
    with ours, its:
        process = stage.register(stdout=its.fileno(), stderr=its.fileno())
        assert ours.recv(1000).startswith(b"registered ")
    with ZooKeeper(embedded.hosts) as zk:
        node = f"/svc/api/{zk.get_children('/svc/api')[0]}"
        witness = stage.start(command("register", embedded.hosts, "--data", "10.0.0.2:80"))
        assert witness.stdout.readline().startswith("registered ")
        embedded.stop()
        assert "ConnectionLoss" in witness.stderr.readline()
        embedded.start()
        assert "all is well again" in witness.stderr.readline()
        stage.send(witness, signal.SIGTERM)
        assert stage.ended(witness)[0] == 0  # its node is gone, whatever the observer has been shown by now
        stage.until(ONE)
        until(lambda: zk.connected)
        comes_back(zk, node)
    stage.send(process, signal.SIGTERM)
    assert stage.ended(process)[0] == 0
    stage.until()


def comes_back(zk: ZooKeeper, node: str) -> None:
    """An operator deletes the only instance: whoever keeps it registered goes on doing so."""
    zk.delete(node)
    until(lambda: [name for name in zk.get_children("/svc/api") if name not in node])


@fault("Y16")
def test_a_registration_outlives_a_full_disk(stage: Stage) -> None:
    """It cannot say where it is registered, either time."""
    with open("/dev/full", "w") as full, ZooKeeper(stage.hosts) as zk:
        process = stage.register(stdout=full)
        for _ in range(2):
            comes_back(zk, f"/svc/api/{zk.get_children('/svc/api')[0]}")
        stage.until(ONE)
        stage.send(process, signal.SIGTERM)
        assert stage.until() < LEAVE
        assert (stage.ended(process)[0], process.communicate()[1]) == (0, "")


@fault("Y13", "Y21")
def test_the_whole_control_group_is_told_at_once(stage: Stage) -> None:
    """A master with a client of its own, and workers that are told twice: by systemd and by their master."""
    process = stage.start(service(services.PREFORK, stage))
    stage.until("10.0.0.1:80", "10.0.0.2:80")
    stage.send(process, signal.SIGTERM, group=True)
    gone = stage.until()
    status, took = stage.ended(process)
    assert (status, *process.communicate()) == (0, "", "")
    assert gone < LEAVE and took < 2 * LEAVE


@fault("Y21")
def test_the_whole_control_group_is_killed(stage: Stage) -> None:
    process = stage.start(service(services.PREFORK, stage, SHORT))
    stage.until("10.0.0.1:80", "10.0.0.2:80")
    stage.send(process, signal.SIGKILL, group=True)
    assert stage.until() < SHORT + TICK + SLACK


# ----------------------------------------------------------------------------------- in pipes


def piped(line: str, hosts: str) -> Any:
    """A shell's pipeline; $0 is Python, and $1 the connect string."""
    return subprocess.run(
        ["sh", "-c", line, sys.executable, hosts], cwd=children.ROOT, capture_output=True, text=True, timeout=25
    )


ZKDISCO = "$0 -m zkdisco {} --servers $1 --path /svc --name api"


@fault("Y16")
@pytest.mark.parametrize("reader", ["head -1", "true", "grep -m1 live"])
@pytest.mark.parametrize("verb", ["watch", "list"])
def test_a_reader_that_has_seen_enough(embedded: EmbeddedServer, verb: str, reader: str) -> None:
    """More than a pipe holds is to be written; nobody complains."""
    with ZooKeeper(embedded.hosts) as zk:
        zk.ensure_path("/svc/api")
        for number in range(100):
            zk.create(f"/svc/api/n{number:03}", b"x" * 2000)
    done = piped(f"{ZKDISCO.format(verb)} | {reader}", embedded.hosts)
    assert done.stderr == ""
    assert done.stdout.count("\n") == (0 if reader == "true" or (verb, reader) == ("list", "grep -m1 live") else 1)


@fault("Y16")
def test_a_registration_outlives_the_reader_of_its_output(stage: Stage) -> None:
    line = f"{ZKDISCO.format('register')} --data {ONE} | head -1; echo read >&2"
    process = stage.start(["sh", "-c", line, sys.executable, stage.hosts])
    assert process.stdout.readline().startswith("registered ")
    stage.until(ONE)
    stage.send(process, signal.SIGTERM, group=True)
    assert stage.until() < LEAVE
    assert "Traceback" not in process.communicate(timeout=10)[1]


@fault("Y13", "Y16")
def test_a_signal_is_heard_while_nobody_reads(embedded: EmbeddedServer, stage: Stage) -> None:
    """A pager that has been left open: the pipe is full, and the write waits."""
    process = stage.start(command("watch", stage.hosts, "--json"))
    assert process.stdout.readline()
    with ZooKeeper(embedded.hosts) as zk:
        zk.ensure_path("/svc/api")
        for number in range(10):
            zk.create(f"/svc/api/n{number}", b"x" * 100_000)
    until(lambda: Path(f"/proc/{process.pid}/wchan").read_text().endswith("pipe_write") or in_write(process.pid))
    stage.send(process, signal.SIGTERM)
    status, took = stage.ended(process)
    assert (status, process.stderr.read().count("Traceback")) == (0, 0)
    assert took < LEAVE + SLACK


def in_write(pid: int) -> bool:
    """Whether the main thread of a process waits in `write`, by its system call; 1 on x86-64, 64 on ARM."""
    try:
        return Path(f"/proc/{pid}/syscall").read_text().split()[:2] in (["1", "0x1"], ["64", "0x1"])
    except OSError:
        return False


# ----------------------------------------------------------------- the end of the interpreter

#: What the program does after a line has come, and the status with which it ends.
ENDINGS = {
    "at its end": ("", 0),
    "by an exception": ("raise RuntimeError('mine')", 1),
    "by sys.exit": ("sys.exit(3)", 3),
    "after sys.exit in a thread": ("one = threading.Thread(target=sys.exit, args=(3,)); one.start(); one.join()", 0),
    "with an observer that hangs": (
        "seen = threading.Event(); one = Instancer(client, '/svc/api')\n"
        "one.register(lambda event: (seen.set(), hang())); seen.wait()", 0),
    "with a daemon thread in a call": (
        "from zkwire import ZookeeperError\n"
        "def busy():\n"
        "    try:\n"
        "        while True: client.zk.get('/svc')\n"
        "    except ZookeeperError: pass  # closed\n"
        "threading.Thread(target=busy, daemon=True).start()", 0),
    "in a handler of SIGTERM": ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); signal.raise_signal(signal.SIGTERM)", 4),
}  # fmt: skip


def ending(stage: Stage, code: str, timeout: float, *arguments: str) -> Any:
    """A program that is registered, and ends by `code` now."""
    process = stage.start(service(services.BEGIN + code + "\n", stage, timeout, *arguments))
    assert process.stdout.readline() == "registered\n", process.stderr.read()
    stage.until(ONE)
    stage.act("a line comes")
    process.stdin.write("\n")
    process.stdin.flush()
    return process


@fault("Y21")
@pytest.mark.parametrize("how", ENDINGS)
def test_the_end_of_the_interpreter_says_goodbye_if_asked_to(stage: Stage, how: str) -> None:
    """In the order of `atexit`: what was registered later finds it listed, what was registered before finds it stopped."""
    code, status = ENDINGS[how]
    process = ending(stage, code, LONG, "goodbye")
    assert stage.until() < LEAVE
    assert stage.ended(process)[0] == status
    out, errors = process.communicate()
    assert out == "last registered: True\nfirst registered: None ClientClosedError\n"
    assert errors.count("Traceback") == errors.count("RuntimeError: mine") == int("exception" in how), errors


@fault("Y21")
@pytest.mark.parametrize("how", ["at its end", "by an exception", "with an observer that hangs"])
def test_the_end_of_the_interpreter_says_nothing_if_not_asked_to(stage: Stage, how: str) -> None:
    code, status = ENDINGS[how]
    process = ending(stage, code, SHORT)
    ended, _ = stage.ended(process)
    took = stage.until()
    assert ended == status and SHORT / 3 < took < SHORT + TICK + LEAVE
    assert "first registered: /svc/api/_c_" in process.communicate()[0], "it was listed to the last"


@fault("Y21")
@pytest.mark.parametrize(("code", "status"), [
    ("os._exit(5)", 5), ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM), ("os.abort()", -signal.SIGABRT),
], ids=["os._exit", "SIGTERM without a handler", "a crash"])  # fmt: skip
def test_an_end_that_passes_the_interpreter_by_is_missed_after_the_session(stage: Stage, code: str, status: int) -> None:
    process = ending(stage, code, SHORT, "goodbye")
    ended, _ = stage.ended(process)
    took = stage.until()
    assert ended == status and SHORT / 3 < took < SHORT + TICK + SLACK
    assert process.communicate()[0] == ""


@fault("Y21")
def test_the_goodbye_waits_for_threads_that_are_alive(stage: Stage) -> None:
    """The main thread has come to its end, another serves on: it is listed as long, and its session lives on."""
    code = (
        "def serve():\n"
        "    while threading.main_thread().is_alive(): time.sleep(0.01)\n"
        "    print('main has ended', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    print(client.zk.get(registrar.node)[0], flush=True)\n"
        "threading.Thread(target=serve).start()\n"
    )
    process = ending(stage, code, SHORT, "goodbye")
    assert process.stdout.readline() == "main has ended\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * SHORT)
    assert stage.sets == [(), (ONE,)]
    stage.act("the thread ends")
    process.stdin.write("\n")
    process.stdin.flush()
    assert stage.until() < LEAVE
    assert stage.ended(process)[0] == 0 and process.stdout.readline() == "b'10.0.0.1:80'\n"


@fault("Y21")
def test_an_event_handler_that_hangs_holds_the_goodbye_up_for_nobody(stage: Stage) -> None:
    process = ending(stage, "", LONG, "goodbye", "handler")
    gone = stage.until()
    status, took = stage.ended(process)
    assert status == 0 and gone < LEAVE and took < 2 * LEAVE


# ------------------------------------------------------------------------------------- forks


@fault("Y21")
@pytest.mark.parametrize("goodbye", [True, False])
@pytest.mark.parametrize(
    "child", ["pass", "sys.exit(1)", "raise RuntimeError('mine')", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"]
)
def test_a_child_that_ends_leaves_the_parents_registration_alone(stage: Stage, child: str, goodbye: bool) -> None:
    code = (
        f"child = os.fork()\nif child:\n    os.waitpid(child, 0)\n    print(client.zk.get(registrar.node)[0], flush=True)\n"
        f"    sys.stdin.readline()\n    registrar.update(b'still here')\n    sys.stdin.readline()\nelse:\n    {child}\n"
    )
    process = ending(stage, code, SHORT, *["goodbye"] * goodbye)
    line = until(lambda: process.stdout.readline().replace("first registered", "last registered"))
    while "b'10.0.0.1:80'" not in line:
        assert "registered" in line, "only what the child says at its end"
        line = process.stdout.readline()
    assert stage.sets == [(), (ONE,)]
    process.stdin.write("\n")
    process.stdin.flush()
    stage.until("still here")
    stage.act("the parent ends")
    process.stdin.write("\n")
    process.stdin.flush()
    assert stage.until() < (LEAVE if goodbye else SHORT + TICK + LEAVE)
    assert stage.ended(process)[0] == 0


PARALLEL = """
import multiprocessing, sys
from zkdisco import Client, Registrar, Service
from zkwire.errors import ForkedError

def work(hosts, number, how, said, go):
    if how == "inherited":
        try:
            registrar.deregister()
        except (ForkedError, NameError) as error:
            said.put(type(error).__name__)
        return
    client = Client(hosts, session_timeout=1.0, stop_at_exit=how == "goodbye")
    mine = Registrar(client, Service("/svc", "api", b"10.0.0.%d:80" % number))
    mine.register()
    said.put("registered")
    go.get()
    if how == "stop":
        client.stop()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with Client(sys.argv[1]) as client, Registrar(client, Service("/svc", "api", b"10.0.0.1:80")) as registrar:
        said, go = context.Queue(), context.Queue()
        for number, how in enumerate(("inherited", "stop", "goodbye", "nothing"), 2):
            child = context.Process(target=work, args=(sys.argv[1], number, how, said, go))
            child.start()
            print(how, said.get(), flush=True)
            sys.stdin.readline()
            go.put("on")
            child.join()
            print("ended", child.exitcode, flush=True)
            sys.stdin.readline()
            if how == "inherited":
                go.get()
"""


def says_goodbye(method: str) -> bool:
    """Whether a child of `multiprocessing` runs what is registered with `atexit`."""
    return method == "spawn" or sys.version_info >= (3, 13)


@fault("Y21")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing(stage: Stage, tmp_path: Path, method: str) -> None:
    """The parent's registration stands; a child's own goes at once if it stops, and with its session if it says nothing."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    file = tmp_path / "parallel.py"
    file.write_text(PARALLEL)
    process = stage.start(
        [sys.executable, "-W", "ignore", str(file), stage.hosts, method],
        env=dict(os.environ, PYTHONPATH=str(children.ROOT)),
    )  # fmt: skip

    def goes_on() -> None:
        process.stdin.write("\n")
        process.stdin.flush()

    def next_child(said: str, bound: float, *listed: str) -> None:
        """It is shown what the child has registered, then that the child is gone, within `bound` seconds of its end."""
        assert process.stdout.readline() == said, process.stderr.read()
        stage.until(ONE, *listed)
        goes_on()
        assert process.stdout.readline() == "ended 0\n"
        stage.act("the child has ended")
        assert stage.until(ONE) < bound, said
        goes_on()

    missed = SHORT + TICK + SLACK
    next_child(f"inherited {'ForkedError' if method == 'fork' else 'NameError'}\n", LEAVE)
    next_child("stop registered\n", LEAVE, "10.0.0.3:80")
    next_child("goodbye registered\n", SHORT / 2 if says_goodbye(method) else missed, "10.0.0.4:80")
    next_child("nothing registered\n", missed, "10.0.0.5:80")
    stage.until()
    assert stage.ended(process)[0] == 0
    assert all(ONE in one for one in stage.sets[1:-1]), "the parent was listed all the time"


# -------------------------------------------------------------------------------- make ends


def test_the_transcript() -> None:
    """A scene, without a server of Apache's; each line has its time, and what was done comes before what was seen."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.ends", "--version", "embedded", "-k", "systemd reloads"],
        cwd=children.ROOT, capture_output=True, text=True, timeout=25,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    steps = ["follows /svc/api", "shown 0", "is started", "shown 1: 10.0.0.1:80", "SIGHUP", "reloaded", "SIGTERM", "shown 0", "exit status 0"]
    lines = iter(line for line in done.stdout.splitlines() if line[:4].isdigit())
    assert all(any(step in line for line in lines) for step in steps), done.stdout
