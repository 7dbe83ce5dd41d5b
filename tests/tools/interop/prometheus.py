"""Prometheus' own discovery of serversets and of nerve's records: its list of targets, as zkdisco registers and leaves."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from tests.kit.harness import foreign, ports
from zkdisco import Client, Registrar, Service
from zkdisco.codecs import Instance

from .place import PATIENCE
from .scenario import Book, Trial

PROGRAM = foreign.prometheus()
CONFIGURATION = """\
global: {scrape_interval: 1h, scrape_timeout: 1s}
scrape_configs:
- job_name: %(kind)s
  %(kind)s_sd_configs: [{servers: ["%(hosts)s"], paths: ["%(path)s"]}]
"""
book = Book("Prometheus")


class Targets:
    """What a Prometheus has found."""

    def __init__(self, trial: Trial, url: str) -> None:
        self._trial, self._url = trial, url

    def __call__(self) -> list[dict[str, str]]:
        with urllib.request.urlopen(f"{self._url}/api/v1/targets", timeout=PATIENCE) as answer:
            found = [one["discoveredLabels"] for one in json.load(answer)["data"]["activeTargets"]]
        return sorted(found, key=lambda labels: str(labels["__address__"]))

    def note(self, what: str, wanted: Callable[[list[str]], bool]) -> None:
        """Note its list of targets, once their addresses are as they are wanted."""
        deadline = time.monotonic() + PATIENCE
        while not wanted([one["__address__"] for one in self()]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {self()}")
            time.sleep(0.1)
        for one in self():
            told = {key: value for key, value in one.items() if key == "__address__" or key.startswith("__meta")}
            self._trial.note(what, {key: self._trial.plain(value) for key, value in sorted(told.items())})
        self._trial.note(f"{what}, in all", len(self()))


@contextlib.contextmanager
def prometheus(trial: Trial, kind: str, path: str) -> Iterator[Targets]:
    """A Prometheus that follows a path, on a port of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file, port = Path(folder, "prometheus.yml"), ports.lease()
        file.write_text(CONFIGURATION % {"kind": kind, "hosts": trial.place.hosts, "path": path}, encoding="utf-8")
        command = [PROGRAM, f"--config.file={file}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        with open(f"{folder}/log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            targets = Targets(trial, f"http://127.0.0.1:{port}")
            try:
                trial.place.wait(lambda: _serves(targets, process, folder), "Prometheus")
                yield targets
            finally:
                process.kill()
                ports.release(port)


def _serves(targets: Targets, process: subprocess.Popen[bytes], folder: str) -> bool:
    if process.poll() is not None:
        raise RuntimeError(Path(folder, "log").read_text(encoding="utf-8", errors="replace")[-2000:])
    try:
        return targets() == []
    except OSError:
        return False


def _follow(trial: Trial, kind: str, *metadata: dict[str, Any]) -> None:
    path = f"{trial.root}/api"
    trial.place.make(path)
    client = Client(zk=trial.place.other)
    with prometheus(trial, kind, path) as targets:
        instances = [Instance(f"10.0.2.{number}", 80, f"member_{number}", metadata=one) for number, one in enumerate(metadata)]
        registrars = [Registrar(client, Service(trial.root, "api", one, codec=kind)) for one in instances]
        for registrar in registrars:
            registrar.register()
        targets.note("registered", lambda found: found == [one.address for one in instances])
        registrars[0].update(instances[0].but(port=8080, status="ALIVE" if kind == "serverset" else ""))
        targets.note("updated", lambda found: "10.0.2.0:8080" in found)
        registrars[0].deregister()
        targets.note("deregistered", lambda found: found == [one.address for one in instances[1:]])
        plain = Registrar(client, Service(trial.root, "api", b"10.0.2.99:80"))
        plain.register()
        curators = Registrar(client, Service(trial.root, "api", Instance("10.0.2.98", 80, "one"), codec="curator"))
        curators.register()
        targets.note("beside text, and Curator's JSON", lambda found: any(one.startswith(":") for one in found))
        for registrar in (*registrars[1:], plain, curators):
            registrar.deregister()
        targets.note("all have gone", lambda found: not found)


@book
def serversets(trial: Trial) -> None:
    more = {"additionalEndpoints": {"http-admin": {"host": "10.0.2.1", "port": 9990}}, "shard": 3}
    _follow(trial, "serverset", {}, more)


@book
def nerve(trial: Trial) -> None:
    _follow(trial, "nerve", {}, {"labels": {"az": "a"}})
