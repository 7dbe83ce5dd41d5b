"""What an observer sees of a directory that changes all the time, on real servers behind a slow line: `make steady`.

    python -m tests.tools.steady [--seconds 30] [--delay 0.025] [--rates 20,50,100] [--versions 3.9.3,3.4.13]

One writer changes the data of instances, and now and then takes one out or puts one in. It knows the set after each of
its changes, and when the server had it. So each set that the observer is shown can be looked up: that it really existed,
and how long ago the next one came. Printed are the number of sets shown, the longest time without one, the age of what
was shown (the oldest change not in it, at the end of each set's time), how often a set never existed, how often what
was shown was said to be old, and how long after the last change the last set was shown.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from threading import Event
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple

import zkdisco
from tests.kit.harness.proxy import FaultProxy
from tests.kit.harness.servers import Server
from zkwire import ZooKeeper
from zkwire.ops import Create

PATH, INSTANCES = "/services/steady", 100
#: The share of changes that take an instance out or put one in.
MEMBERSHIP = 0.2
#: The longest time the last set may take to be shown, in seconds.
AT_REST = 30.0

Shown = FrozenSet[str]


class Result(NamedTuple):
    """What came of one run; times in seconds."""

    changes: int
    sets: int
    silence: float
    median_age: float
    oldest: float
    never_existed: int
    said_old: int
    last: Optional[float]


class History:
    """The sets that existed, in order, and when each began."""

    def __init__(self) -> None:
        self.data: Dict[str, bytes] = {}
        self.began: List[float] = []
        self._index: Dict[Shown, int] = {}

    def now(self) -> Shown:
        """The newest set."""
        return frozenset(data.decode() for data in self.data.values())

    def note(self, at: float) -> None:
        """A change was made."""
        self._index[self.now()] = len(self.began)
        self.began.append(at)

    def age(self, shown: Shown, at: float) -> Optional[float]:
        """How long before `at` the set that followed this one began; 0 for the newest, None if it never existed."""
        index = self._index.get(shown)
        if index is None:
            return None
        return max(0.0, at - self.began[index + 1]) if index + 1 < len(self.began) else 0.0


class Writer:
    """Makes changes on the server itself, without the slow line."""

    def __init__(self, zk: ZooKeeper, history: History, seed: int) -> None:
        self._zk, self._history, self._random = zk, history, random.Random(seed)
        self._number = 0

    def fill(self) -> None:
        """The directory and its first instances."""
        self._zk.ensure_path(PATH)
        for number in range(INSTANCES):
            self._history.data[f"n{number:03}"] = self._data()
        for future in [self._zk.submit(Create(f"{PATH}/{n}", d)) for n, d in self._history.data.items()]:
            future.result(30)
        self._history.note(time.monotonic())

    def change(self) -> None:
        """One change, done when this returns."""
        name, data = f"n{self._random.randrange(INSTANCES):03}", self._history.data
        if name not in data:
            fresh = self._data()
            self._zk.create(f"{PATH}/{name}", fresh, timeout=30)
            data[name] = fresh
        elif self._random.random() < MEMBERSHIP / 2:
            self._zk.delete(f"{PATH}/{name}", timeout=30)
            del data[name]
        else:
            fresh = self._data()
            self._zk.set(f"{PATH}/{name}", fresh, timeout=30)
            data[name] = fresh
        self._history.note(time.monotonic())

    def _data(self) -> bytes:
        self._number += 1
        return b"10.0.0.1:%d" % self._number


class Observer:
    """What was shown, and when."""

    def __init__(self, instancer: Any) -> None:
        self._instancer = instancer
        self.shown: List[Tuple[float, Shown]] = []
        self.said_old = 0
        self.newest = Event()

    def __call__(self, event: Any) -> None:
        self.shown.append((time.monotonic(), frozenset(event.instances)))
        self.newest.set()

    def look(self) -> None:
        """Note whether what is shown is said to be old."""
        self.said_old += self._instancer.stale_since is not None

    def wait_for(self, last: Shown, limit: float) -> Optional[float]:
        """The seconds until this set is shown."""
        began = time.monotonic()
        while True:
            self.newest.clear()
            if self.shown and self.shown[-1][1] == last:
                return max(0.0, self.shown[-1][0] - began)
            if not self.newest.wait(max(0.0, began + limit - time.monotonic())):
                return None


def run(hosts: str, line: FaultProxy, rate: float, seconds: float, seed: int) -> Result:
    """One run of `seconds`, with `rate` changes per second."""
    history, pause = History(), Event()
    with ZooKeeper(hosts, timeout=30.0) as zk:
        writer = Writer(zk, history, seed)
        writer.fill()
        client = zkdisco.Client(line.hosts, session_timeout=10.0)
        try:
            instancer = zkdisco.Instancer(client, PATH, timeout=30)
            observer = Observer(instancer)
            instancer.register(observer)
            if observer.wait_for(history.now(), AT_REST) is None:
                raise SystemExit("the first set was not shown")
            began = time.monotonic()
            first = len(observer.shown) - 1
            changes = 0
            while time.monotonic() < began + seconds:
                pause.wait(max(0.0, began + changes / rate - time.monotonic()))
                writer.change()
                observer.look()
                changes += 1
            ended = time.monotonic()
            last = observer.wait_for(history.now(), AT_REST)
        finally:
            client.stop()
        zk.delete(PATH, recursive=True)
    return weighed(history, observer.shown[first:], changes, began, ended)._replace(said_old=observer.said_old, last=last)


def weighed(
    history: History, shown: Sequence[Tuple[float, Shown]], changes: int, began: float, ended: float
) -> Result:
    """The figures of a run, but for those of the observer."""
    times = [at for at, _ in shown if began <= at <= ended]
    ends = [at for at, _ in shown[1:]] + [ended]
    ages = [history.age(what, min(end, ended)) for (_, what), end in zip(shown, ends)]
    known = [age for age in ages if age is not None]
    silence = max(after - before for before, after in zip([began, *times], [*times, ended]))
    return Result(changes, len(times), silence, statistics.median(known), max(known), len(ages) - len(known), 0, None)


def main() -> int:
    """All runs; 1 if a set was shown that never existed, or the last one was not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--delay", type=float, default=0.025, help="of the line, each way, in seconds")
    parser.add_argument("--rates", default="20,50,100", help="changes per second")
    parser.add_argument("--versions", default="3.9.3,3.4.13")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| server | changes/s | changes | sets shown | longest silence | age, median | age, most | never existed | "
          "said to be old | at rest after |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    bad = 0
    for version in options.versions.split(","):
        with Server(version) as server, FaultProxy(server.host, server.port) as line:
            line.delay(options.delay)
            for rate in map(float, options.rates.split(",")):
                found = run(server.hosts, line, rate, options.seconds, options.seed)
                bad += found.never_existed or found.last is None
                rest = "never" if found.last is None else f"{found.last:.2f} s"
                print(f"| {version} | {rate:g} | {found.changes} | {found.sets} | {found.silence:.2f} s | "
                      f"{found.median_age:.3f} s | {found.oldest:.2f} s | {found.never_existed} | {found.said_old} | "
                      f"{rest} |", flush=True)  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
