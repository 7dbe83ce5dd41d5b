"""What it costs to follow many services in one process, on a real server: `make many` (Linux).

    python -m tests.tools.many [--services 1000] [--instances 5] [--changes 100] [--version 3.9.3] [--catalog]

Each service has five instances, an instancer and an observer; all are of one client, in a process of its own. With
`--catalog` one `Catalog` takes the place of all instancers, and each observer hears of its service. Printed are
the threads of that process, its resident memory and how much of that is for each service, the seconds until every
observer has had the first complete set; for a reconnect, the requests and the seconds until every observer has had a
fresh set again; and the time from a change (the writer's call) to the observer's call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import random
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import zkdisco
from tests.kit.harness.proxy import FaultProxy
from tests.kit.harness.servers import Server
from zkwire import ZooKeeper
from zkwire.ops import Create

TOP, INSTANCES = "/many", 5
#: Seconds that each step may take.
PATIENCE = 120.0
PING = 11


class Result(NamedTuple):
    """What came of a run: seconds, megabytes, kilobytes for each service."""

    services: int
    threads: int
    megabytes: float
    kilobytes: float
    first: float
    first_requests: int
    again: float
    again_requests: int
    changes: List[float]


def path_of(service: int) -> str:
    """Where its instances are."""
    return f"{TOP}/s{service:05}"


# ------------------------------------------------------------------ the process that follows them


class Observer:
    """What it was told last, and when; of a change it tells at once."""

    def __init__(self, changes: queue.SimpleQueue[Tuple[str, float]], instances: int) -> None:
        self._changes, self._instances = changes, instances
        self.calls, self.at, self.whole = 0, 0.0, False

    def __call__(self, event: Any) -> None:
        self.at = time.monotonic()
        self.whole = event.error is None and len(event.instances) == self._instances
        self.calls += 1
        for instance in event.instances:
            if instance.startswith("change"):
                self._changes.put((instance, self.at))


def memory() -> float:
    """The resident memory of this process, in kilobytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise SystemExit("no VmRSS in /proc/self/status")


def last_call(observers: List[Observer], calls: List[int]) -> float:
    """When all have been told of a whole set, each after so many calls."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE
    for observer, count in zip(observers, calls):
        while observer.calls <= count or not observer.whole:
            if time.monotonic() > end:
                raise SystemExit(f"no whole set within {PATIENCE} s")
            pause.wait(0.005)
    return max(observer.at for observer in observers)


def each_one(client: zkdisco.Client, observers: List[Observer]) -> None:
    """An instancer for each service."""
    for number, observer in enumerate(observers):
        zkdisco.Instancer(client, path_of(number), wait=0).register(observer)


def all_in_one(client: zkdisco.Client, observers: List[Observer]) -> None:
    """A catalog for all."""
    by_path = {path_of(number): observer for number, observer in enumerate(observers)}

    def hear(told: Any) -> None:
        if told.service and told.event is not None:
            by_path[f"{TOP}/{told.service}"](told.event)

    zkdisco.Catalog(client, TOP, wait=0).register(hear)


def follow(hosts: str, services: int, instances: int, catalog: bool) -> None:
    """Do what each line of the input asks for, and answer it with a line."""
    changes: queue.SimpleQueue[Tuple[str, float]] = queue.SimpleQueue()
    observers = [Observer(changes, instances) for _ in range(services)]
    calls = [0] * services
    with zkdisco.Client(hosts, session_timeout=30.0) as client:
        before, began = memory(), time.monotonic()
        (all_in_one if catalog else each_one)(client, observers)
        first = last_call(observers, calls) - began
        calls = [observer.calls for observer in observers]
        answer(first=first, threads=threading.active_count(), memory=memory(), before=before)
        for line in sys.stdin:
            if line == "again\n":
                answer(at=last_call(observers, calls))
            else:
                wanted = line.strip()
                name, at = changes.get(timeout=PATIENCE)
                while name != wanted:
                    name, at = changes.get(timeout=PATIENCE)
                answer(at=at, threads=threading.active_count())


def answer(**values: float) -> None:
    """Print one line."""
    print(json.dumps(values), flush=True)


# ------------------------------------------------------------------------------- the other side


class Requests:
    """The tap of a proxy: counts what a client asks, but for its handshakes and pings."""

    def __init__(self) -> None:
        self._rest: Dict[int, bytes] = defaultdict(bytes)
        self._greeted: Dict[int, bool] = {}
        self.count = 0

    def __call__(self, direction: str, connection: int, data: bytes) -> None:
        if direction != "up":
            return
        rest = self._rest[connection] + data
        while len(rest) >= 4 and len(rest) >= 4 + struct.unpack_from(">i", rest)[0]:
            (length,) = struct.unpack_from(">i", rest)
            if self._greeted.setdefault(connection, False):
                self.count += struct.unpack_from(">i", rest, 8)[0] != PING
            self._greeted[connection] = True
            rest = rest[4 + length :]
        self._rest[connection] = rest


class Follower:
    """The process that follows the services."""

    def __init__(self, hosts: str, services: int, instances: int, catalog: bool) -> None:
        numbers = ["--services", str(services), "--instances", str(instances), *(["--catalog"] if catalog else [])]
        command = [sys.executable, "-m", "tests.tools.many", "--follow", hosts, *numbers]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603

    def hear(self) -> Dict[str, float]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the process that follows the services has ended")
        found: Dict[str, float] = json.loads(line)
        return found

    def ask(self, what: str) -> None:
        """Give it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """It ends with its input."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            finally:
                self._process.kill()


@contextlib.contextmanager
def filled(hosts: str, services: int, instances: int) -> Iterator[ZooKeeper]:
    """The writer, with all instances there; they go at the end."""
    with ZooKeeper(hosts, timeout=30.0) as zk:
        zk.create(TOP)
        try:
            paths = [path_of(service) for service in range(services)]
            children = [f"{path}/n{instance}" for path in paths for instance in range(instances)]
            for level in (paths, children):
                for future in [zk.submit(Create(path, b"10.0.0.1:80 " + path.encode())) for path in level]:
                    future.result(PATIENCE)
            yield zk
        finally:
            zk.delete(TOP, recursive=True, timeout=PATIENCE)


def run(
    host: str, port: int, services: int, changes: int, seed: int = 1, instances: int = INSTANCES, catalog: bool = False
) -> Result:
    """One run against this server."""
    rng, requests = random.Random(seed), Requests()
    with filled(f"{host}:{port}", services, instances) as zk, FaultProxy(host, port, tap=requests) as line:
        follower = Follower(line.hosts, services, instances, catalog)
        try:
            loaded = follower.hear()
            first_requests = requests.count
            cut = time.monotonic()
            line.cut("rst")
            follower.ask("again")
            again = follower.hear()["at"] - cut
            again_requests = requests.count - first_requests
            took, threads = [], loaded["threads"]
            for number in range(changes):
                name = f"change {number}"
                began = time.monotonic()
                zk.set(f"{path_of(rng.randrange(services))}/n{rng.randrange(instances)}", name.encode(), timeout=PATIENCE)
                follower.ask(name)
                heard = follower.hear()
                took.append(heard["at"] - began)
                threads = max(threads, heard["threads"])
        finally:
            follower.close()
    each = (loaded["memory"] - loaded["before"]) / services
    return Result(services, int(threads), loaded["memory"] / 1024, each, loaded["first"], first_requests, again,
                  again_requests, took)  # fmt: skip


def main(arguments: Optional[List[str]] = None) -> int:
    """One run, printed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--instances", type=int, default=INSTANCES, help="of each service")
    parser.add_argument("--catalog", action="store_true", help="one catalog instead of many instancers")
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--version", default="3.9.3", help="of the server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--follow", metavar="HOSTS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.follow:
        follow(options.follow, options.services, options.instances, options.catalog)
        return 0
    with Server(options.version) as server:
        found = run(server.host, server.port, options.services, options.changes, options.seed, options.instances,
                    options.catalog)  # fmt: skip
    how = "one catalog" if options.catalog else "an instancer each"
    print(f"| {found.services} services of {options.instances} instances, {how} | ZooKeeper {options.version} |\n|---|---|")
    print(f"| threads, at most | {found.threads} |")
    print(f"| resident memory | {found.megabytes:.1f} MB, {found.kilobytes:.1f} KB for each service |")
    print(f"| first set of all | {found.first:.2f} s, {found.first_requests} requests |")
    print(f"| fresh again after a reconnect | {found.again:.2f} s, {found.again_requests} requests |")
    print(f"| a change, until its observer is called | median {statistics.median(found.changes) * 1000:.1f} ms, "
          f"worst {max(found.changes) * 1000:.1f} ms of {len(found.changes)} |")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
