"""gunicorn, the pre-fork server: its workers register themselves, and are listed while they live.

The application is loaded before the fork (`preload_app`), and the master has a client of its own: what a worker inherits
of that must be refused, not be a set that is frozen for ever. The configuration is the one of docs/discovery.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Set

import gunicorn  # noqa: F401  # raises where it is not installed

from tests.kit.harness import ports

from .scenario import Book, Trial

PROJECT = Path(__file__).parents[3]
WORKERS = 2
book = Book("gunicorn")

CONFIG = """
import os
from zkdisco import Client, Registrar, Service

workers, preload_app, bind = {workers}, True, "127.0.0.1:{port}"


def post_fork(server, worker):
    worker.discovery = Client("{hosts}", session_timeout=2.0)
    service = Service("{root}", "workers", b"127.0.0.1:{port}/%d" % os.getpid())
    worker.registrar = Registrar(worker.discovery, service)
    worker.registrar.register()


def worker_exit(server, worker):
    worker.registrar.deregister()
    worker.discovery.stop()
"""
APPLICATION = """
import os
from zkdisco import Client, Instancer

client = Client("{hosts}", session_timeout=2.0)  # the master's
client.zk.ensure_path("{root}/workers")
instancer = Instancer(client, "{root}/workers")
CALLS = {{
    "/state": lambda: instancer.state, "/stale": lambda: instancer.stale_since, "/zk": lambda: client.zk.get("/"),
    "/observe": lambda: instancer.register(print), "/stop": lambda: client.stop(),
}}


def application(environ, start_response):
    try:
        said = repr(CALLS[environ["PATH_INFO"]]())
    except Exception as error:
        said = type(error).__name__
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""


class Gunicorn:
    """The master process and its workers."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.port = trial, ports.lease()
        self._folder = tempfile.TemporaryDirectory(prefix="zkwire-gunicorn-")
        place = {"hosts": trial.place.hosts, "root": trial.root, "port": self.port, "workers": WORKERS}
        Path(self._folder.name, "gunicorn.conf.py").write_text(CONFIG.format(**place), encoding="utf-8")
        Path(self._folder.name, "app.py").write_text(APPLICATION.format(**place), encoding="utf-8")
        self._log = Path(self._folder.name, "log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "app:application"], cwd=self._folder.name,
                env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> Gunicorn:
        return self

    def __exit__(self, kind: Any, error: Any, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        if kind is not None:
            print(self._log.read_text(encoding="utf-8", errors="replace")[-3000:], file=sys.stderr)
        ports.release(self.port)
        self._folder.cleanup()

    def listed(self) -> Set[int]:
        """The process ids of the workers that are registered."""
        other, directory = self.trial.place.other, f"{self.trial.root}/workers"
        found = other.get_many([f"{directory}/{name}" for name in other.get_children(directory)])
        return {int(one[0].rpartition(b"/")[2]) for one in found if isinstance(one, tuple)}

    def wait_for(self, count: int) -> Set[int]:
        """The workers, once there are so many in the directory."""
        place = self.trial.place
        place.wait(lambda: place.other.exists(f"{self.trial.root}/workers") is not None, "the directory")
        place.wait(lambda: len(self.listed()) == count, f"{count} workers in the directory")
        return self.listed()

    def ask(self, path: str) -> str:
        """What a worker answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:  # noqa: S310
            return str(answer.read().decode())


@book
def workers_are_listed_while_they_live(trial: Trial) -> None:
    """One that is killed is replaced, at most about a session timeout later; all leave with the master, at once."""
    with Gunicorn(trial) as server:
        first = server.wait_for(WORKERS)
        trial.note("workers listed", len(first))
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        trial.place.wait(lambda: victim not in server.listed() and len(server.listed()) == WORKERS, "the replacement")
        trial.note("the killed one is replaced, the other stayed", len(server.listed() & first))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(20)
        trial.note("listed after the master's end", sorted(server.listed()))


@book
def what_a_worker_inherits_is_refused(trial: Trial) -> None:
    """Every call of the master's client, in a worker, at once."""
    with Gunicorn(trial) as server:
        server.wait_for(WORKERS)
        for path in ("/state", "/stale", "/zk", "/observe", "/stop"):
            said = server.ask(path)
            trial.note(f"a worker asks for {path}", said)
            if said != "ForkedError":
                raise AssertionError(f"a worker that asks for {path} of the master's client is given {said}")
