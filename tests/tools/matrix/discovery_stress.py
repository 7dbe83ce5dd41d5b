"""A program: threads that register, observe, stop and make clients of zkdisco, over cuts, for some seconds.

    python -m tests.tools.matrix.discovery_stress SECONDS [cut]

`Trial.tell` says what it prints. All threads share one client and one instancer. In the end every registration must be
gone, and every thread too.
"""

from __future__ import annotations

import logging
import queue
import random
import sys
import threading
from typing import Any, List

from tests.kit.stress import Trial
from zkdisco import Client, Event, Instancer, Registrar, Service
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ZookeeperError

THREADS = 8
PATH = "/s/x"
#: Seconds in which each step has to be over.
PATIENCE = 20.0


class Stress:
    """One run."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    def run(self) -> None:
        with EmbeddedServer(tick=0.05) as self.server:
            options = {"session_timeout": 10.0, "connect_timeout": 5.0}
            with Client(self.server.hosts, **options) as self.watching, Client(self.server.hosts, **options) as self.client:
                self.instancer = Instancer(self.watching, PATH)
                self.trial.run(self.server, THREADS, self.work, 3 * PATIENCE)
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
            self.trial.wrong.append(f"not at rest: {self.instancer.state}, {self.server.tree(PATH)}")

    def work(self, i: int) -> int:
        chance, done = random.Random(i), 0
        steps = [self.registers, self.registers, self.observes, self.borrows, self.stops_while_it_registers]
        while not self.trial.over or not done:
            done += 1
            try:
                chance.choice(steps)(i, chance)
            except ZookeeperError:
                if not self.trial.cuts:
                    raise
        return done

    def registers(self, i: int, chance: random.Random) -> None:
        """A registration, whole: its node is there in between."""
        registrar = Registrar(self.client, Service("/s", "x", b"10.0.0.%d:%d" % (i, chance.randrange(9999))))
        try:
            registrar.register(timeout=PATIENCE)
            if registrar.node is None and not self.trial.cuts:
                self.trial.wrong.append("registered without a node")
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
            self.trial.wrong.append(f"register or stop hangs: {ends}")


def main(*arguments: str) -> None:
    """Run it."""
    logging.basicConfig(level=logging.ERROR)  # warnings are of the cuts
    trial = Trial(float(arguments[0]), "cut" in arguments)
    Stress(trial).run()
    trial.tell()


if __name__ == "__main__":
    main(*sys.argv[1:])
