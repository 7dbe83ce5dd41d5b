"""`make demo`: three services come, one changes its data, one dies without a word, one leaves; events as they happen.

Runs on a real ZooKeeper, which the test harness fetches and starts (or `--servers` names). Each service is a process of
its own, so that one can really die.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from zkdisco import Client, Event, Instancer  # noqa: E402

PATH, NAME = "/demo", "api"
SESSION_TIMEOUT = 2.0
STARTED = time.monotonic()


def say(text: str) -> None:
    """A line, with the time since the start."""
    print(f"{time.monotonic() - STARTED:6.2f}  {text}", flush=True)


class Watcher:
    """Prints every event, and lets the script wait for a set."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._instances: Optional[tuple[str, ...]] = None

    def __call__(self, event: Event) -> None:
        say(f"    event: {len(event.instances)} live: {', '.join(event.instances) or 'none'}"
            + (f"  ({event.error})" if event.error else ""))  # fmt: skip
        with self._changed:
            self._instances = event.instances
            self._changed.notify_all()

    def wait(self, *instances: str) -> None:
        """Block until the set is just this one."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._instances == instances, 30):
                raise SystemExit(f"expected {instances}, saw {self._instances}")


def service(servers: str, data: str) -> subprocess.Popen[str]:
    """A service in a process of its own, registered when this returns."""
    root = str(Path(__file__).resolve().parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "zkdisco", "register", "--servers", servers, "--path", PATH, "--name", NAME,
         "--data", data, "--session-timeout", str(SESSION_TIMEOUT)],
        stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("registered "):
        raise SystemExit(f"the service {data} could not register")
    process.node = line.split()[1]  # type: ignore[attr-defined]
    return process


def show(servers: str) -> None:
    """The demonstration."""
    watcher = Watcher()
    with Client(servers) as client:
        instancer = Instancer(client, f"{PATH}/{NAME}")
        instancer.register(watcher)
        watcher.wait()
        say("three services come")
        first = service(servers, "10.0.0.1:8080")
        watcher.wait("10.0.0.1:8080")
        second = service(servers, "10.0.0.2:8080")
        watcher.wait("10.0.0.1:8080", "10.0.0.2:8080")
        third = service(servers, "10.0.0.3:8080")
        watcher.wait("10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080")
        say("the first changes its data")
        client.zk.set(first.node, b"10.0.0.1:9090")  # type: ignore[attr-defined]
        watcher.wait("10.0.0.1:9090", "10.0.0.2:8080", "10.0.0.3:8080")
        say(f"the second dies without a word; its session lasts {SESSION_TIMEOUT:g} s")
        second.kill()
        watcher.wait("10.0.0.1:9090", "10.0.0.3:8080")
        say("the third leaves")
        third.terminate()
        watcher.wait("10.0.0.1:9090")
        say("the first leaves, too")
        first.terminate()
        watcher.wait()
        instancer.stop()
        statuses = [process.wait(10) for process in (first, second, third)]
    say(f"done; exit statuses {statuses}")
    if statuses != [0, -9, 0]:
        raise SystemExit("the statuses should be [0, -9, 0]")


def main() -> None:
    """Parse arguments, find a server, show."""
    parser = argparse.ArgumentParser(description="The main job of zkdisco, shown on a real ZooKeeper.")
    parser.add_argument("--servers", help="host:port,... (default: one is fetched and started)")
    servers = parser.parse_args().servers
    if servers:
        show(servers)
        return
    from tests.harness.servers import Server

    say("starting a ZooKeeper of our own")
    with Server("3.8.0") as server:
        say(f"ZooKeeper {server.version} on {server.hosts}")
        show(server.hosts)


if __name__ == "__main__":
    main()
