"""Real ZooKeeper servers for tests: one `Server`, or an `Ensemble` of them, on ports of 127.0.0.1, or each at home elsewhere.

    with Server("3.8.0") as server:
        server.hosts                    # "127.0.0.1:21234"
        server.kill(); server.start()   # same port, same data

Every call that changes a server returns when the change is done. Servers die with the test process.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Optional

from . import packages, ports, processes
from .config import Options, Place, jaas_conf, properties, zoo_cfg

#: Bytes of the header of a transaction log (FileHeader: magic, version, dbid).
LOG_HEADER = 16
SERVING = ("standalone", "leader", "follower", "observer")


def four(host: str, port: int, word: str, timeout: float = 2.0) -> str:
    """The answer to a four letter word, '' when there is none."""
    answer = b""
    try:
        with socket.create_connection((host, port), timeout) as sock:
            sock.sendall(word.encode())
            while True:
                more = sock.recv(65536)
                if not more:
                    break
                answer += more
    except OSError:
        return ""
    return answer.decode(errors="replace")


def mode(host: str, port: int) -> str:
    """'standalone', 'leader', 'follower', 'observer', 'read-only'; '' when it does not serve."""
    # A server that is about to serve may take a connection and never answer on it: ask again soon.
    for line in four(host, port, "srvr", 0.5).splitlines():
        if line.startswith("Mode: "):
            return line[len("Mode: ") :].strip()
    return ""


def listens(host: str, port: int) -> bool:
    """Whether a connection to this port is accepted."""
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


class External:
    """A server that somebody else runs (``ZKWIRE_TEST_HOSTS``): it can be asked, not changed."""

    def __init__(self, hosts: str) -> None:
        self.hosts = hosts
        self.version = "external"
        host, _, port = hosts.split(",")[0].split("/")[0].rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)

    def since(self, *version: int) -> bool:
        """False: what somebody else's server can do is not known."""
        return False

    def four(self, word: str) -> str:
        return four(self.host, self.port, word)

    def mode(self) -> str:
        return mode(self.host, self.port)

    def close(self) -> None:
        """Nothing: it is not ours."""


class Home(NamedTuple):
    """Where a server runs: its address, and a descriptor of its network namespace (None: the one of the tests)."""

    host: str = "127.0.0.1"
    network: Optional[int] = None


class Server:
    """One server process. The keywords are the fields of `config.Options`, but for its home.

    It is started by `start`, or by entering it as a context manager, which closes it at the end.
    """

    def __init__(self, version: str = "3.8.0", *, home: Home = Home(), **options: Any) -> None:  # noqa: B008  # a value
        self.version = version
        self.options = Options(**options)
        self.host, self.network = home
        self.port = ports.lease()
        self.secure_port = ports.lease() if self.options.tls else None
        self.folder = tempfile.mkdtemp(prefix=f"zkwire-{version}-")
        self.process: subprocess.Popen[bytes] | None = None
        self.suspended = False
        # Set by an Ensemble.
        self.number = 0
        self.members: dict[str, str] = {}
        self.observer = False
        atexit.register(self.close)

    @property
    def hosts(self) -> str:
        """The server as a client's connect string."""
        return f"{self.host}:{self.port}"

    @property
    def secure_hosts(self) -> str:
        """The TLS port as a connect string; the certificate is for localhost and 127.0.0.1."""
        return f"{self.host}:{self.secure_port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def since(self, *version: int) -> bool:
        """Whether it is this version, ``since(3, 6)``, or a later one: for what came with it."""
        return tuple(int(part) for part in self.version.split(".")) >= version

    # -- life

    def start(self, *, wait: bool = True, timeout: float = 30.0) -> Server:
        """Start, with the data there is, and wait until it serves. A running server is left alone."""
        if not self.running:
            command = self._command()
            self._mend_log()
            self.process = processes.start(command, cwd=self.folder, log=self._log, network=self.network)
            self.suspended = False
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until it takes operations. (`ruok` answers too early: only a mode in `srvr` is proof.)"""
        self.wait_mode(*SERVING, timeout=timeout)
        deadline = time.monotonic() + timeout
        while self.secure_port and not listens(self.host, self.secure_port):  # it is opened after the other one
            if time.monotonic() > deadline:
                raise TimeoutError(f"ZooKeeper {self.version}: nothing listens at its TLS port:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def wait_mode(self, *modes: str, timeout: float = 30.0) -> str:
        """Wait until its mode is one of `modes` ('' waits for the loss of it), and return it."""
        deadline = time.monotonic() + timeout
        while True:
            now = self.mode()
            if now in modes:
                return now
            if not self.running:
                raise RuntimeError(f"ZooKeeper {self.version} died:\n{self.log()[-3000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"ZooKeeper {self.version}: {now!r}, not {modes}:\n{self.log()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM, as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: a crash. The kernel closes its connections."""
        self._end(signal.SIGKILL)

    def suspend(self) -> None:
        """SIGSTOP: connections stay open and new ones are accepted by the kernel, nothing answers."""
        pid = self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # until its last thread stands
        self.suspended = True

    def resume(self) -> None:
        """SIGCONT after `suspend`."""
        self._signal(signal.SIGCONT)
        self.suspended = False

    def restart(self) -> Server:
        """`stop`, then `start` with the same data."""
        self.stop()
        return self.start()

    def wipe(self) -> None:
        """Forget all data, as after a restore of an empty disk. Only when it does not run."""
        if self.running:
            raise RuntimeError("wipe: the server still runs")
        shutil.rmtree(self._data, ignore_errors=True)

    def close(self) -> None:
        """End it for good and leave nothing behind."""
        atexit.unregister(self.close)
        self._end(signal.SIGKILL)
        ports.release(self.port)
        if self.secure_port:
            ports.release(self.secure_port)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- questions

    def four(self, word: str, timeout: float = 2.0) -> str:
        """The answer to a four letter word, '' when there is none."""
        return four(self.host, self.port, word, timeout)

    def mode(self) -> str:
        """'standalone', 'leader', 'follower', 'observer', 'read-only'; '' when it does not serve."""
        return "" if self.suspended or not self.running else mode(self.host, self.port)

    def log(self) -> str:
        """What the server has logged so far."""
        try:
            with open(self._log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    # -- inside

    @property
    def _data(self) -> str:
        return os.path.join(self.folder, "data")

    @property
    def _log(self) -> str:
        return os.path.join(self.folder, "log")

    def _command(self) -> list[str]:
        java, jars = packages.java(), packages.classpath(self.version)
        place = Place(self.folder, self.port, self.secure_port, self.members, self.observer, self.host)
        os.makedirs(self._data, exist_ok=True)
        numbers = tuple(int(part) for part in self.version.split("."))
        self._write("zoo.cfg", zoo_cfg(self.options, place, numbers))
        self._write("jaas.conf", jaas_conf(self.options.sasl))
        if self.number:
            self._write("data/myid", f"{self.number}\n")
        # A test server is short-lived and shares few cores: little heap, one collector thread, no
        # second compiler.
        small = [
            f"-Xmx{self.options.heap}",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
        ]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        config = os.path.join(self.folder, "zoo.cfg")
        return [java, *small, *properties(self.options, place), "-cp", jars, main, config]

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            file.write(text)

    def _signal(self, number: signal.Signals) -> int:
        """Its process id."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"{number.name}: the server does not run")
        self.process.send_signal(number)
        return self.process.pid

    def _mend_log(self) -> None:
        """As an operator would: a server killed between opening a transaction log and writing its header cannot start again
        before 3.5 (an EOFException; ZOOKEEPER-1621). What such a file was to hold has been answered to nobody."""
        for name in os.listdir(versioned) if os.path.isdir(versioned := os.path.join(self._data, "version-2")) else ():
            path = os.path.join(versioned, name)
            if name.startswith("log.") and os.path.getsize(path) < LOG_HEADER:
                os.unlink(path)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        if self.suspended:
            process.send_signal(signal.SIGCONT)  # a stopped process does not see SIGTERM
            self.suspended = False
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Ensemble:
    """`size` voting servers, and `observers`. The keywords are those of `Server`, the same for all but their homes."""

    def __init__(
        self, size: int = 3, version: str = "3.8.0", *, observers: int = 0, homes: Sequence[Home] = (), **options: Any
    ) -> None:
        self.version = version
        where = homes or [Home()] * (size + observers)
        self.servers = [Server(version, home=home, **options) for home in where]
        self._ports = [ports.lease() for _ in range(2 * len(self.servers))]
        members = {}
        for index, server in enumerate(self.servers):
            server.number = index + 1
            server.observer = index >= size
            line = f"{server.host}:{self._ports[2 * index]}:{self._ports[2 * index + 1]}"
            members[f"server.{server.number}"] = line + (":observer" if server.observer else "")
        for server in self.servers:
            server.members = members

    @property
    def hosts(self) -> str:
        """All members as a client's connect string."""
        return ",".join(server.hosts for server in self.servers)

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __getitem__(self, index: int) -> Server:
        return self.servers[index]

    def __len__(self) -> int:
        return len(self.servers)

    def start(self, *, wait: bool = True, timeout: float = 40.0) -> Ensemble:
        """Start the members that do not run, and wait until all serve."""
        for server in self.servers:
            server.start(wait=False)
        if wait:
            self.wait_ready(timeout)
        return self

    def wait_ready(self, timeout: float = 40.0) -> None:
        """Wait until every member that runs, and is not suspended, serves."""
        for server in self._awake():
            server.wait_ready(timeout)

    def modes(self, timeout: float = 40.0) -> dict[Server, str]:
        """What each member that runs, and is not suspended, says it is, when all of them serve and one leads.

        A busy machine may make a member slow to say it, or an election begin anew, also after `wait_ready`.
        """
        deadline = time.monotonic() + timeout
        while True:
            modes = {server: server.mode() for server in self._awake()}
            if "leader" in modes.values() and set(modes.values()) <= set(SERVING):
                return modes
            if time.monotonic() > deadline:
                raise TimeoutError(f"no ensemble that serves: {list(modes.values())}")
            time.sleep(0.02)

    def leader(self) -> Server:
        """The member that leads, as soon as there is one."""
        return next(server for server, mode in self.modes().items() if mode == "leader")

    def followers(self) -> list[Server]:
        """The members that follow, as soon as all serve."""
        return [server for server, mode in self.modes().items() if mode == "follower"]

    def close(self) -> None:
        """End all members and leave nothing behind."""
        for server in self.servers:
            server.close()
        for port in self._ports:
            ports.release(port)

    def __enter__(self) -> Ensemble:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _awake(self) -> list[Server]:
        return [server for server in self.servers if server.running and not server.suspended]
