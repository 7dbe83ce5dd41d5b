"""A program: sixteen threads on one client, over cuts, for some seconds; it prints what it found wrong.

Usage: stress.py SECONDS [cut]. `Trial.tell` prints the last line. Every thread has a node of its own, and knows what it must
find there; all of them use each other's futures, watches, listeners and properties.
"""

from __future__ import annotations

import random
import sys
import threading
from typing import Any

from tests.kit.stress import Trial
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss, ZookeeperError
from zkwire.ops import GetData
from zkwire.values import WatchedEvent

THREADS = 16


class Stress:
    """One run."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def run(self) -> None:
        with EmbeddedServer(tick=0.05) as server, ZooKeeper(server.hosts, timeout=20.0, request_timeout=15.0) as self.zk:
            self.zk.create("/n", b"")
            self.ids = {self.zk.client_id}
            for i in range(THREADS):
                self.zk.create(f"/n/{i}", b"0")
            self.trial.run(server, THREADS, self.work, 30)
            if self.zk._session.pending:
                self.trial.wrong.append(f"{self.zk._session.pending} operations pending")

    def work(self, i: int) -> int:
        zk, path, chance = self.zk, f"/n/{i}", random.Random(i)
        known, certain, done = 0, True, 0
        while not self.trial.over or not done:
            done += 1
            try:
                kind = chance.randrange(6)
                if kind == 0:
                    for _ in range(5):
                        value = int(zk.get(path)[0])
                        if certain and value != known:
                            self.trial.wrong.append(f"{path} is {value}, and was set to {known}")
                        known, certain = value, True
                elif kind == 1:
                    certain = False
                    zk.set(path, b"%d" % (known + 1))
                    known, certain = known + 1, True
                elif kind == 2:
                    futures = [zk.submit(GetData(f"/n/{(i + j) % THREADS}")) for j in range(20)]
                    cancelled = [future for future in chance.sample(futures, 5) if future.cancel()]
                    for future in futures:
                        if future not in cancelled:
                            future.result(15)
                elif kind == 3:
                    self.share(chance, path)
                elif kind == 4:
                    called = threading.Event()
                    zk.submit(GetData(path)).add_done_callback(lambda future, called=called: called.set())  # type: ignore[misc]
                    if not called.wait(15):
                        self.trial.wrong.append("a callback was not called")
                else:
                    self.look(chance)
            except ConnectionLoss as error:
                certain = certain and not error.maybe_applied and kind != 1
        return done

    def share(self, chance: random.Random, path: str) -> None:
        """Several threads wait for one future; one of them may settle another."""
        future, own, got = self.zk.submit(GetData(path)), self.zk.future(), []  # type: ignore[var-annotated]

        def wait(number: int) -> None:
            try:
                got.append(future.exception(15))
            except ZookeeperError as error:
                got.append(error)
            own.set_result(number)

        threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(3)]
        for thread in threads:
            thread.start()
        first = own.result(15)
        for thread in threads:
            thread.join(15)
        if len(got) != 3 or own.result(0) != first or len({id(outcome) for outcome in got}) != 1:
            self.trial.wrong.append(f"one future, {got} and {own}")

    def look(self, chance: random.Random) -> None:
        """Whatever a client shows of itself, and who hears of it."""
        zk, heard = self.zk, []  # type: ignore[var-annotated]

        def listener(state: str) -> None:
            heard.append(state)

        def watcher(event: WatchedEvent) -> None:
            heard.append(event)

        zk.add_listener(listener)
        if zk.client_id not in self.ids:
            self.trial.wrong.append(f"a torn client_id: {zk.client_id}")
        if zk.state not in ("CONNECTED", "SUSPENDED") or zk.client_state not in ("CONNECTED", "CONNECTING"):
            self.trial.wrong.append(f"{zk.state}, {zk.client_state}")
        repr(zk)
        zk.get("/n", watch=watcher)
        zk.remove_listener(listener)


def main(*arguments: Any) -> None:
    """Run it."""
    trial = Trial(float(arguments[0]), "cut" in arguments)
    Stress(trial).run()
    trial.tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
