"""How processes that use zkdisco end, as a transcript: what was sent to them, and what somebody else saw: `make ends`.

    python -m tests.tools.ends [--version 3.9.3] [-k part of a scene's title]

Processes are real, and so is the server; `--version embedded` takes the embedded one. Each line begins with the time in
UTC, and the seconds since what was done last. The exit status is 1 if a scene did not go as its title says.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

from tests.kit import children, services
from tests.kit.harness import ports
from tests.kit.harness.servers import Server
from tests.kit.stage import Namespaces, Stage
from zkwire.embedded import EmbeddedServer

ONE = "10.0.0.1:80"
#: The session timeouts, in seconds: one that the scene must not wait for, and one that it shows.
LONG, SHORT = 20.0, 4.0
#: Seconds in which a process that is told to end does so.
LEAVE = 2.0
#: What a real server adds to a session timeout: it looks once in a tick.
TICK = 0.5

Scene = Callable[["Teller", Stage], None]
SCENES: Dict[str, Scene] = {}


class Teller:
    """Prints lines with their times; the seconds count from the last thing that was done."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def __call__(self, line: str) -> None:
        if not line.startswith(("    ", "process ")):  # something is done
            self._since = time.monotonic()
        now = datetime.now(timezone.utc).isoformat(sep=" ", timespec="milliseconds")[:-6]
        sys.stdout.write(f"{now}  {time.monotonic() - self._since:6.3f} s  {line}\n")  # in one piece: two threads write
        sys.stdout.flush()


class Wrong(Exception):
    """It did not go as it should."""


def scene(title: str) -> Callable[[Scene], Scene]:
    """A scene of the transcript."""

    def kept(function: Scene) -> Scene:
        SCENES[title] = function
        return function

    return kept


def should(true: bool, what: str) -> None:
    if not true:
        raise Wrong(what)


def told(process: Any, say: Teller) -> None:
    """What a process has printed since, once it has ended."""
    for text, stream in zip(process.communicate(), ("stdout", "stderr")):
        for line in text.splitlines():
            say(f"    its {stream}: {line}")


# -------------------------------------------------------------------------------------- scenes


@scene("`python -m zkdisco register` as process 1 of a PID namespace: `docker stop`")
def process_1(say: Teller, stage: Stage) -> None:
    namespaces = Namespaces()
    if namespaces.why_not:
        say(f"not shown: {namespaces.why_not}")
        return
    process = stage.register(prefix=namespaces.prefix)
    first = namespaces.first(process)
    say(f"process {first} is process 1 of its namespace")
    ends(say, stage, process, first)


@scene("a service with signal.signal, as in docs/discovery.md, as process 1")
def service_as_process_1(say: Teller, stage: Stage) -> None:
    namespaces = Namespaces()
    if namespaces.why_not:
        say(f"not shown: {namespaces.why_not}")
        return
    process = stage.start(
        [*namespaces.prefix, *services.command(services.THREADS, stage.hosts, LONG)], "the service is started"
    )
    stage.until(ONE)
    first = namespaces.first(process)
    say(f"process {first} is process 1 of its namespace")
    ends(say, stage, process, first)


@scene("systemd stops a unit, KillMode=control-group, SendSIGHUP=yes: SIGTERM and SIGHUP to all")
def systemd(say: Teller, stage: Stage) -> None:
    process = stage.register()
    stage.send(process, signal.SIGTERM, group=True)
    os.killpg(process.pid, signal.SIGHUP)
    say(f"SIGHUP to process group {process.pid}")
    status, took = ended(say, stage, process)
    should(status == 0 and took < LEAVE, "exit status 0 in time")


@scene("systemd reloads a service that has a handler of SIGHUP")
def reload(say: Teller, stage: Stage) -> None:
    process = stage.start(services.command(services.RELOADS, stage.hosts, LONG), "the service is started")
    stage.until(ONE)
    stage.send(process, signal.SIGHUP)
    stage.until(f"{ONE} reloaded")
    should(() not in stage.sets[1:], "no gap")
    ends(say, stage, process, process.pid)


@scene("kill -9: missed after the session timeout, here 4 s")
def killed(say: Teller, stage: Stage) -> None:
    process = stage.register(ONE, "--session-timeout", str(SHORT))
    stage.send(process, signal.SIGKILL)
    ended(say, stage, process, SHORT + TICK)


@scene("the end of the interpreter by an exception, with stop_at_exit=True")
def goodbye(say: Teller, stage: Stage) -> None:
    interpreter(say, stage, LEAVE, "goodbye")


@scene("the end of the interpreter by an exception, without: missed after the session timeout, here 4 s")
def no_goodbye(say: Teller, stage: Stage) -> None:
    interpreter(say, stage, SHORT + TICK)


@scene("gunicorn with preload_app: a worker is killed and replaced, then the master is told to end")
def gunicorn(say: Teller, stage: Stage) -> None:
    try:
        from tests.tools.interop import gunicorn_server
    except ImportError as error:
        say(f"not shown: {error}")
        return
    place = {"hosts": stage.hosts, "root": "/svc", "port": ports.lease(), "workers": 2}
    with tempfile.TemporaryDirectory(prefix="zkwire-ends-") as folder:
        config = gunicorn_server.CONFIG.replace('"workers"', '"api"')  # the directory that the observer follows
        Path(folder, "gunicorn.conf.py").write_text(config.format(**place), encoding="utf-8")
        Path(folder, "app.py").write_text(gunicorn_server.APPLICATION.format(**place), encoding="utf-8")
        process = stage.start(
            [sys.executable, "-m", "gunicorn", "app:application"], "gunicorn app:application, with two workers",
            cwd=folder, env={**os.environ, "PYTHONPATH": str(children.ROOT)},
        )  # fmt: skip
        two = several(stage, 2)
        victim = int(two[0].rpartition("/")[2])
        stage.send(victim, signal.SIGKILL)
        several(stage, 2, but=two[0])
        stage.send(process, signal.SIGTERM)
        status, _ = ended(say, stage, process)
        should(status == 0, "exit status 0")


# --------------------------------------------------------------------------------------- steps


def ends(say: Teller, stage: Stage, process: Any, pid: int) -> None:
    """SIGTERM, and all is over in time."""
    stage.send(pid, signal.SIGTERM)
    status, took = ended(say, stage, process)
    should(status == 0 and took < LEAVE, "exit status 0 in time")


def ended(say: Teller, stage: Stage, process: Any, within: float = LEAVE) -> Any:
    """The process has ended, and nothing is listed after at most so many seconds; its status, and when."""
    found = stage.ended(process)
    gone = stage.until()
    told(process, say)
    say(f"process {process.pid} is not listed any more, {gone:.3f} s after that")
    should(gone < within, f"not listed after {within:g} s")
    return found


def interpreter(say: Teller, stage: Stage, within: float, *arguments: str) -> None:
    text = services.BEGIN + "raise RuntimeError('mine')\n"
    process = stage.start(services.command(text, stage.hosts, SHORT, *arguments), "a program is started")
    stage.until(ONE)
    stage.act("it reads a line, and raises an exception")
    process.stdin.write("\n")
    process.stdin.flush()
    ended(say, stage, process, within)


def several(stage: Stage, count: int, but: str = "") -> List[str]:
    """So many are listed, and this one is not; they are."""
    end = time.monotonic() + 20.0
    while len(stage.listed) != count or but in stage.listed:
        should(time.monotonic() < end, f"{count} listed, not {stage.listed}")
        time.sleep(0.01)
    return list(stage.listed)


@contextlib.contextmanager
def served(version: str) -> Iterator[str]:
    """The connect string of a server."""
    with EmbeddedServer() if version == "embedded" else Server(version) as server:  # type: ignore[attr-defined]
        yield server.hosts


def main() -> int:
    """All scenes; 1 if one went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.ends", description=__doc__.splitlines()[0])
    parser.add_argument("--version", default="3.9.3", help="of the server, or: embedded")
    parser.add_argument("-k", default="", help="only scenes whose title has this in it")
    options = parser.parse_args()
    children.hear_signals()
    say, wrong = Teller(), 0
    print(f"Python {sys.version.split()[0]}, ZooKeeper {options.version}")
    with served(options.version) as hosts:
        for title, function in SCENES.items():
            if options.k not in title:
                continue
            print(f"\n{title}\n{'-' * len(title)}")
            try:
                with Stage(hosts, say) as stage:
                    function(say, stage)
            except (Wrong, AssertionError) as error:
                wrong += 1
                say(f"WRONG: {error}")
    print(f"\n{wrong} scenes went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
