"""A program: threads that register, observe, stop and make clients of zkdisco, over cuts, for some seconds.

    python -m tests.tools.matrix.discovery_stress SECONDS [cut]

It prints what it found wrong, and "done WRONG LOCK COUNT": whether there is an interpreter lock, and how much was done. All
threads share one client and one instancer. In the end every registration must be gone, and every thread too.
"""

from __future__ import annotations

import logging
import queue
import random
import sys
import threading
import time
import traceback
from typing import Any, List

from zkdisco import Client, Event, Instancer, Registrar, Service
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ZookeeperError

THREADS = 8
PATH = "/s/x"
#: Seconds in which each step has to be over.
PATIENCE = 20.0


class Stress:
    """One run. `wrong` has what went wrong, `count` how many steps were taken."""

    def __init__(self, seconds: float, cuts: bool) -> None:
        self.seconds, self.cuts = seconds, cuts
        self.wrong: List[str] = []
        self.count = 0
        self._lock = threading.Lock()
        threading.excepthook = lambda args: self.wrong.append(f"{args.thread}: {args.exc_value!r}")

    def run(self) -> None:
        with EmbeddedServer(tick=0.05) as self.server:
            options = {"session_timeout": 10.0, "connect_timeout": 5.0}
            with Client(self.server.hosts, **options) as self.watching, Client(self.server.hosts, **options) as self.client:
                self.instancer = Instancer(self.watching, PATH)
                self.end = time.monotonic() + self.seconds
                threads = [threading.Thread(target=self.guarded, args=(i,), daemon=True) for i in range(THREADS)]
                for thread in threads:
                    thread.start()
                pause = threading.Event()
                while time.monotonic() < self.end:
                    pause.wait(0.05)
                    if self.cuts:
                        self.server.cut()
                for thread in threads:
                    thread.join(3 * PATIENCE)
                    if thread.is_alive():
                        self.wrong.append(f"{thread.name} hangs")
                self.at_rest()

    def at_rest(self) -> None:
        """What there must be when all threads have ended: nothing, and an instancer that says so."""
        heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.instancer.register(heard.put)
        try:
            event = heard.get(timeout=PATIENCE)
            while event.instances or event.error is not None:
                event = heard.get(timeout=PATIENCE)
        except queue.Empty:
            self.wrong.append(f"not at rest: {self.instancer.state}, {self.server.tree(PATH)}")

    def guarded(self, i: int) -> None:
        try:
            self.work(i)
        except Exception:
            self.wrong.append(traceback.format_exc())

    def work(self, i: int) -> None:
        chance, done = random.Random(i), 0
        steps = [self.registers, self.registers, self.observes, self.borrows, self.stops_while_it_registers]
        while time.monotonic() < self.end or not done:
            done += 1
            try:
                chance.choice(steps)(i, chance)
            except ZookeeperError:
                if not self.cuts:
                    raise
        with self._lock:
            self.count += done

    def registers(self, i: int, chance: random.Random) -> None:
        """A registration, whole: its node is there in between."""
        registrar = Registrar(self.client, Service("/s", "x", b"10.0.0.%d:%d" % (i, chance.randrange(9999))))
        try:
            registrar.register(timeout=PATIENCE)
            if registrar.node is None and not self.cuts:
                self.wrong.append("registered without a node")
        finally:
            registrar.deregister(timeout=PATIENCE)

    def observes(self, i: int, chance: random.Random) -> None:
        """An observer hears at once; one that has left hears nothing."""
        heard: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.instancer.register(heard.put)
        heard.get(timeout=PATIENCE)
        self.instancer.deregister(heard.put)
        repr((self.instancer.state, self.instancer.stale_since, self.client.report()))

    def borrows(self, i: int, chance: random.Random) -> None:
        """A client on the ZooKeeper of the shared one, with an instancer of its own."""
        with Client(zk=self.client.zk) as client:
            instancer = Instancer(client, PATH, timeout=PATIENCE)
            instancer.register(lambda event: None)
            if chance.random() < 0.5:
                instancer.stop()

    def stops_while_it_registers(self, i: int, chance: random.Random) -> None:
        """One thread registers while another one stops the client."""
        client = Client(self.server.hosts, session_timeout=10.0, connect_timeout=5.0)
        registrar = Registrar(client, Service("/s", "y", b"%d" % i))
        ends: List[Any] = []

        def register() -> None:
            try:
                ends.append(registrar.register(timeout=PATIENCE))
            except ZookeeperError as error:
                ends.append(error)

        threads = [threading.Thread(target=call, daemon=True) for call in (register, client.stop)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(2 * PATIENCE)
        if any(thread.is_alive() for thread in threads) or len(ends) != 1:
            self.wrong.append(f"register or stop hangs: {ends}")


def main(*arguments: str) -> None:
    """Run it."""
    logging.basicConfig(level=logging.ERROR)  # warnings are of the cuts
    stress = Stress(float(arguments[0]), "cut" in arguments)
    stress.run()
    for text in stress.wrong[:10]:
        print(text)
    print("done", len(stress.wrong), getattr(sys, "_is_gil_enabled", lambda: True)(), stress.count)


if __name__ == "__main__":
    main(*sys.argv[1:])
