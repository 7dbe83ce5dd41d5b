"""What a fault can touch: the servers, the network, and the client processes of one round.

Owns the client processes and what has become of each. Must not know faults or verdicts.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import threading
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

from tests.kit.harness import processes
from tests.kit.harness.servers import Ensemble, Home, Server
from zkwire import ZooKeeper
from zkwire.errors import ZookeeperError

from .network import ROOT

#: Seconds for a client process to do what it is told.
PATIENCE = 120.0


class ClientProcess:
    """One client process. `config` is what it is told at its start."""

    def __init__(self, python: str, config: Dict[str, Any], place: str, home: Home, folder: str) -> None:
        self.name, self.place, self.config, self.python = config["name"], place, config, python
        self.log = os.path.join(folder, f"{self.name}.log")
        self.stopped: List[Tuple[float, float]] = []
        self._stopped_at = 0.0
        self.killed = self.ready = False
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        command = [python, "-m", "tests.tools.ensemble.client", json.dumps(config)]
        self._process = processes.start(command, cwd=str(ROOT), log=self.log, network=home.network, talk=True)
        threading.Thread(target=self._read, name=f"reads {self.name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def order(self, what: str) -> None:
        """Tell it something."""
        assert self._process.stdin is not None
        self._process.stdin.write(what.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, expected: str, until: float) -> None:
        """Wait until it says so. RuntimeError if it ends, or does not say it in time."""
        try:
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            line = "nothing"
        if line != expected:
            raise RuntimeError(f"client {self.name} says {line!r}, not {expected!r}:\n{self._log()[-3000:]}")

    def suspend(self) -> None:
        """SIGSTOP."""
        self._stopped_at = time.time()
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)
        self.stopped.append((self._stopped_at, time.time()))

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """It ends, one way or another."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # an order that it has not read before it was killed

    def end(self, until: float) -> None:
        """Wait until it has ended by itself."""
        code = self._process.wait(max(0.1, until - time.monotonic()))
        if code:
            raise RuntimeError(f"client {self.name} has ended with {code}:\n{self._log()[-3000:]}")

    def _log(self) -> str:
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.decode().strip())
        self._lines.put("its end")


class World:
    """The surroundings of one round."""

    def __init__(self, ensemble: Ensemble, network: Any, names: Sequence[str], places: Sequence[str], seed: object) -> None:
        self.ensemble, self.network = ensemble, network
        self.servers: List[Server] = list(ensemble)
        self.server_names, self.places = list(names), list(places)
        self.random = random.Random(f"faults {seed}")
        self.clients: List[ClientProcess] = []
        self._again: Dict[str, Callable[[], ClientProcess]] = {}

    def name_of(self, server: Server) -> str:
        """Its home."""
        return self.server_names[self.servers.index(server)]

    def leader(self) -> Server:
        """The server that leads, as soon as one does."""
        return self._having("leader")[0]

    def follower(self) -> Server:
        """One that follows."""
        return self.random.choice(self._having("follower"))

    def _having(self, mode: str) -> List[Server]:
        """All servers with this mode. On a busy machine a server may not say in time which one it has."""
        until = time.monotonic() + PATIENCE
        while True:
            found = [server for server in self.servers if server.mode() == mode]
            if found:
                return found
            if time.monotonic() > until:
                raise LookupError(f"no {mode} within {PATIENCE:g} s")

    def voters(self) -> List[Server]:
        """All but the observers."""
        return [server for server in self.servers if not server.observer]

    def shuffled(self, things: Sequence[Any]) -> List[Any]:
        """In an order of the seed's."""
        return self.random.sample(list(things), len(things))

    def alive(self) -> List[ClientProcess]:
        """The clients that have not been killed."""
        return [client for client in self.clients if not client.killed]

    def add(self, make: Callable[[], ClientProcess]) -> None:
        """Start a client; `make` is called again where it is to be replaced."""
        client = make()
        self.clients.append(client)
        self._again[client.name] = make

    def replace(self, client: ClientProcess) -> None:
        """Start another one in the place of one that was killed."""
        self.add(self._again[client.name])

    def _writes(self, server: Server, seconds: float) -> bool:
        """Whether a write through this server was done."""
        zk = ZooKeeper(server.hosts, timeout=10.0)
        try:
            zk.start(max(1.0, min(10.0, seconds)))
            zk.set("/marks", self.name_of(server).encode(), timeout=10.0)
        except ZookeeperError:
            return False
        finally:
            zk.close()
        return True

    def wait_well(self, timeout: float = 90.0) -> None:
        """Wait until a write is done through each of the servers, and all clients have begun.

        A leader that was suspended says that it leads, and answers, until it finds that there is another one.
        """
        until = time.monotonic() + timeout
        for server in self.servers:
            server.wait_ready(timeout)
        for server in self.servers:
            while not self._writes(server, until - time.monotonic()):
                if time.monotonic() > until:
                    raise TimeoutError(f"no write through {self.name_of(server)} within {timeout} s:\n{server.log()[-3000:]}")
        for client in self.alive():
            if not client.ready:
                client.hear("ready", time.monotonic() + PATIENCE)
                client.ready = True
