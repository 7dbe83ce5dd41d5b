"""`python -m zkdisco demo`: with nothing but Python, on real servers, and that it notices what does not happen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from tests.house.test_stdlib_only import BLOCKER
from tests.house.test_vendoring import only_app, vendored  # noqa: F401  # the fixture
from zkdisco import Event, Registrar, demo
from zkwire import ZooKeeper

ROOT = Path(__file__).parents[2]
ONE, TWO, MOVED, THREE = "10.0.0.1:80", "10.0.0.2:80", "10.0.0.2:90", "10.0.0.3:80"
COME = [[], [ONE], [ONE, TWO], [ONE, TWO, THREE], [ONE, MOVED, THREE], [ONE, THREE]]


def started(*arguments: str) -> subprocess.Popen[str]:
    """The demonstration, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "zkdisco", "demo", *arguments], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def lines(output: str) -> tuple[list[Any], Any]:
    """The events and the last line of JSON output."""
    found = [json.loads(line) for line in output.splitlines()]
    return [line for line in found if "instances" in line], found[-1]


@pytest.mark.slow
def test_it_needs_nothing_but_python(vendored: Path) -> None:  # noqa: F811
    """No site-packages, no zkwire but the vendored one, no program on the path, in less than ten seconds."""
    code = only_app(BLOCKER) + (
        f"sys.path.insert(0, {str(vendored)!r}); sys.argv = ['zkdisco', 'demo', '--json']; import runpy\n"
        "runpy.run_module('app._vendor.zkdisco', run_name='__main__')"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", code, ""], cwd=vendored, env={"PATH": ""},
        text=True, capture_output=True, timeout=25, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 10
    events, last = lines(done.stdout)
    assert last["done"] is True and last["missing"] is None and last["events"] == len(events)
    sets = [event["instances"] for event in events]
    assert sets[:8] == [*COME, [THREE], [ONE, THREE]]  # dead, expired and back
    assert sets[-2:] == [[ONE], []]
    troubles = [event["instances"] for event in events if event["error"]]
    assert troubles[:1] == [[ONE, THREE]] and len(troubles) >= 2  # the server stopped, the server lost its disk


@pytest.mark.slow
@pytest.mark.parametrize("version", ["server34", "server38"])
def test_on_a_real_server_it_cleans_up(version: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(version)
    with started("--servers", server.hosts, "--json") as process:
        output, errors = process.communicate(timeout=25)
    assert (process.returncode, errors) == (0, "")
    events, last = lines(output)
    assert [event["instances"] for event in events if not event["error"]][: len(COME)] == COME
    assert "second client" in output and "real ensemble" in output and "the server stops" not in output
    with ZooKeeper(server.hosts) as zk:
        assert not [name for name in zk.get_children("/") if name.startswith("zkdisco-demo-")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_nothing_behind(server38: Any, number: int) -> None:
    # With such a session it waits for the end of the one it kills: it cannot have come to its end before the signal.
    with started("--servers", server38.hosts, "--session-timeout", "15") as process:
        assert process.stdout is not None
        while f"2 live: {ONE}, {TWO}" not in process.stdout.readline():
            assert process.poll() is None
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as Ctrl-C does: to all of them
        else:
            process.send_signal(number)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, "") and "a signal came" in output, output
    with ZooKeeper(server38.hosts) as zk:
        assert not [name for name in zk.get_children("/") if name.startswith("zkdisco-demo-")]


def test_a_service_whose_demonstration_has_ended_before_it_began_goes_quietly() -> None:
    done = subprocess.run(
        [sys.executable, "-c", demo.PROCESS], input="", text=True, capture_output=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_reader_that_leaves_is_no_success_and_no_traceback() -> None:
    with started() as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == ""


def test_make_demo_is_the_same_thing() -> None:
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", "demo", "PYTHON=python3", "ARGS=--json"], cwd=ROOT, text=True,
        capture_output=True, check=True, env={"PATH": os.environ["PATH"]},  # without the flags of `make test`
    )  # fmt: skip
    assert done.stdout.splitlines() == ["python3 -m zkdisco demo --json"]


def test_an_event_that_does_not_come_is_noticed(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 0.1)
    monkeypatch.setattr(Registrar, "register", lambda self: "")
    assert demo.run(demo.Screen(True, SimpleQueue())) == 1
    _, last = lines(capsys.readouterr().out)
    assert last["done"] is False and ONE in last["missing"]


def test_events_are_expected_in_their_order() -> None:
    screen = demo.Screen(True, SimpleQueue())
    for instances in ((ONE,), (TWO,), (ONE,)):
        screen(Event(instances))
    screen.expect(TWO, within=0)
    screen.expect(ONE, within=0)
    for instances, trouble in (((TWO,), False), ((ONE,), True)):
        screen(Event((ONE,)))
        with pytest.raises(demo.Missing, match="within 0 s; saw Event"):
            screen.expect(*instances, trouble=trouble, within=0)


@pytest.mark.parametrize("signalled", [True, False])
def test_a_process_that_ends_before_it_is_told_what_to_do_is_no_reader_that_has_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signalled: bool
) -> None:
    """A Ctrl-C may reach it before it has a session of its own; or Python cannot be started."""
    inbox: Any = SimpleQueue()
    monkeypatch.setattr(demo, "PROCESS", "import os; os._exit(3)")
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        if data.startswith(b"[["):
            if signalled:
                inbox.put(None)
            raise BrokenPipeError
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    assert demo.run(demo.Screen(False, inbox)) == 1
    why = "a signal came" if signalled else "a registration of 10.0.0.2:80 by a process of its own"
    assert why in capsys.readouterr().out.splitlines()[-1]
