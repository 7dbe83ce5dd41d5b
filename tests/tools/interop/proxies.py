"""HAProxy 2.6 and nginx 1.22 follow a file of `zkdisco render`, under load; and take no configuration from hostile nodes.

Every request that fails is counted and printed: none may when an instance is deregistered and goes on to answer for a
moment, and no more than are under way when a process is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit.discovery import hostile_records
from tests.kit.harness import foreign, ports

from zkwire.embedded import EmbeddedServer

from .place import PATIENCE, Place
from .scenario import Book, Trial

PROJECT = Path(__file__).parents[3]
HAPROXY, ENVIRONMENT = foreign.haproxy()
NGINX = foreign.nginx()
#: Who asks at a time, and how many answers tell which servers there are.
CLIENTS, TELLING = 4, 60
#: Requests of a phase after the proxy has changed over.
REQUESTS = 300
HOSTILE = 1000
book = Book("proxies")

BASE_HAPROXY = """
global
    stats socket {folder}/admin mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    retries 3
    option redispatch
frontend web
    bind 127.0.0.1:{port}
    default_backend api
"""
BASE_NGINX = """
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/errors;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    include {folder}/api.conf;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://api; proxy_connect_timeout 1s; }} }}
}}
"""


class Load:
    """Clients that ask all the time, each with a connection of its own for each request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._answers: deque[str] = deque(maxlen=TELLING)
        self.well, self.failed = 0, 0
        self.why: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                body = self._one()
            except OSError as error:
                body = f"{type(error).__name__}: {error}"
            with self._lock:
                if body.isdigit():
                    self.well += 1
                    self._answers.append(body)
                else:
                    self.failed += 1
                    self.why.append(body)
            self._over.wait(0.001)

    def _one(self) -> str:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            with connection.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        return body.decode() if b" 200 " in head.split(b"\r\n")[0] else f"answer: {head[:60]!r}"

    def reset(self) -> None:
        with self._lock:
            self.well, self.failed, self.why = 0, 0, []
            self._answers.clear()

    @property
    def seen(self) -> set[str]:
        """The servers of the last answers, if there were enough."""
        with self._lock:
            return set(self._answers) if len(self._answers) == TELLING else set()


class Backends:
    """The processes behind the proxy, by port."""

    def __init__(self, hosts: str, root: str) -> None:
        self._hosts, self._root = hosts, root
        self._processes: dict[str, Any] = {}

    def start(self) -> str:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.interop.backend", self._hosts, self._root, "api"],
            cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        port = process.stdout.readline().strip()  # type: ignore[union-attr]
        self._processes[port] = process
        return str(port)

    @property
    def ports(self) -> set[str]:
        return set(self._processes)

    def leave(self, port: str) -> Any:
        """It deregisters, and goes on to answer; whom to `end` later."""
        process = self._processes.pop(port)
        process.stdin.write("leave\n")
        process.stdin.flush()
        assert process.stdout.readline() == "deregistered\n"
        return process

    def kill(self, port: str) -> None:
        process = self._processes.pop(port)
        process.kill()
        self.end(process)

    @staticmethod
    def end(process: Any) -> None:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait(PATIENCE)
        process.stdout.close()

    def end_all(self) -> None:
        for port in list(self._processes):
            self.kill(port)


@contextlib.contextmanager
def running(command: list[str], log: str, **options: Any) -> Iterator[Any]:
    """A process; ended by SIGTERM, or else killed."""
    with open(log, "ab") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def render(place: Place, path: str, folder: str, output: str, form: str, reload: str, *more: str) -> Any:
    """`python -m zkdisco render`, running."""
    command = [sys.executable, "-m", "zkdisco", "render", "--servers", place.hosts, "--path", path, "--output", output,
               "--format", form, "--every", "0.2", "--exec", reload, *more]  # fmt: skip
    return running(command, f"{folder}/render", cwd=PROJECT)


def follow(trial: Trial, kind: str, output: str, reload: str, proxy: list[str], port: int, folder: str, more: list[str],
           environment: Any) -> None:  # fmt: skip
    """Registrations, deregistrations and kills, under load; the numbers are printed."""
    place, path = trial.place, f"{trial.root}/api"
    backends = Backends(place.direct, trial.root)
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                backends.start()
            stack.enter_context(render(place, path, folder, output, kind, reload, *more))
            place.wait(lambda: os.path.exists(output) and all(one in Path(output).read_text() for one in backends.ports), "a file")
            process = stack.enter_context(running(proxy, f"{folder}/proxy", env=environment))
            Path(folder, "proxy.pid").write_text(str(process.pid))
            place.wait(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the proxy")
            load = stack.enter_context(Load(port))
            phases(trial, kind, backends, load, output)
    except BaseException:
        for name in ("render", "proxy", "errors"):
            with contextlib.suppress(OSError):
                print(f"--- {name}:\n{Path(folder, name).read_text()[-1500:]}")
        raise
    finally:
        backends.end_all()


def phases(trial: Trial, kind: str, backends: Backends, load: Load, output: str) -> None:
    """What happens to the instances."""
    total = [0, 0]
    where = f"{kind:<8} {'embedded' if isinstance(trial.place.server, EmbeddedServer) else 'real':<9}"

    def phase(what: str, bound: int) -> None:
        """Wait until the file and the proxy have changed over, and count."""
        began = time.monotonic()
        listed = re.compile(r"server .*127\.0\.0\.1:([0-9]+)")
        trial.place.wait(lambda: set(listed.findall(Path(output).read_text())) == backends.ports, f"{what}: the file")
        trial.place.wait(lambda: load.seen == backends.ports, f"{what}: {backends.ports}")
        took, asked = time.monotonic() - began, load.well
        trial.place.wait(lambda: load.well >= asked + REQUESTS, f"{what}: requests")
        well, failed, why = load.well, load.failed, load.why
        print(f"    {where} {what:<38} {well:>6} answered, {failed} failed; changed over after {took:.2f} s", flush=True)
        assert failed <= bound, f"{what}: {failed} failed, {bound} may: {why[:5]}"
        total[0], total[1] = total[0] + well, total[1] + failed
        trial.note(what, len(backends.ports))
        load.reset()

    phase("three instances", 0)
    for number in (4, 5):
        backends.start()
        phase(f"one is registered: {number}", 0)
    for number in (4, 3):
        leaving = backends.leave(min(backends.ports))
        phase(f"one is deregistered: {number} left", 0)
        backends.end(leaving)
        phase(f"its process has ended: {number} left", 0)
    backends.start()
    phase("one is registered: 4", 0)
    for number in (3, 2):
        backends.kill(max(backends.ports))
        phase(f"one is killed with -9: {number} left", CLIENTS)
    print(f"    {where} in all {sum(total)} requests, {total[1]} failed", flush=True)


@book
def _haproxy_follows(trial: Trial) -> None:
    port = ports.lease()
    with tempfile.TemporaryDirectory() as folder:
        base, output = Path(folder, "base.cfg"), f"{folder}/api.cfg"
        base.write_text(BASE_HAPROXY.format(folder=folder, port=port))
        files = ["-f", str(base), "-f", output]
        reload = (f"test ! -e {folder}/proxy.pid || {{ LD_LIBRARY_PATH={ENVIRONMENT['LD_LIBRARY_PATH']} {HAPROXY} -c -q "
                  f"{' '.join(files)} && kill -USR2 $(cat {folder}/proxy.pid); }}")  # fmt: skip
        more = ["--set", "server=check inter 200ms fall 2 rise 1"]
        follow(trial, "haproxy", output, reload, [HAPROXY, "-W", "-db", *files], port, folder, more, ENVIRONMENT)
    ports.release(port)


@book
def _nginx_follows(trial: Trial) -> None:
    port = ports.lease()
    with tempfile.TemporaryDirectory() as folder:
        command = nginx_command(folder, port)
        reload = f"test ! -e {folder}/proxy.pid || {{ {' '.join(command)} -t && kill -HUP $(cat {folder}/proxy.pid); }}"
        follow(trial, "nginx", f"{folder}/api.conf", reload, command, port, folder, [], None)
    ports.release(port)


def nginx_command(folder: str, port: int) -> list[str]:
    user = "user root;" if os.geteuid() == 0 else ""
    Path(folder, "nginx.conf").write_text(BASE_NGINX.format(folder=folder, port=port, user=user))
    return [NGINX, "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/errors"]


@book
def _hostile_nodes_write_no_configuration(trial: Trial) -> None:
    """A thousand hostile records, written with the real parsers of both looking at what becomes of them."""
    place, path = trial.place, f"{trial.root}/api"
    rng = random.Random(10)
    records = hostile_records.records(rng, HOSTILE)
    place.make(path)
    made = 0
    for name, data in records:
        place.other.create(f"{path}/{name if hostile_records.can_be_a_node(name) else f'n{made}'}", data)
        made += 1
    trial.note("hostile nodes", made)
    port = ports.lease()
    for form in ("haproxy", "nginx"):
        with tempfile.TemporaryDirectory() as folder:
            output = f"{folder}/api.{'cfg' if form == 'haproxy' else 'conf'}"
            done = subprocess.run(
                [sys.executable, "-m", "zkdisco", "render", "--servers", place.direct, "--path", path, "--output", output,
                 "--format", form, "--once", *(["--set", "names=no"] if form == "nginx" else [])],
                cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE * 3, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-500:]
            assert (done.stdout + done.stderr).replace("\n", "").isprintable(), "nothing for a terminal to obey"
            servers = [line for line in Path(output).read_text().splitlines() if line.startswith("    server ")]
            command, environment = nginx_command(folder, port), None
            command += ["-t"]
            if form == "haproxy":
                base = Path(folder, "base.cfg")
                base.write_text(BASE_HAPROXY.format(folder=folder, port=port))
                command, environment = [HAPROXY, "-c", "-f", str(base), "-f", output], ENVIRONMENT
            checked = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE * 3, check=False)
            print(f"    {form:<8} {made} hostile nodes, {len(servers)} servers; the check ends with {checked.returncode}", flush=True)
            assert checked.returncode == 0, (checked.stdout + checked.stderr)[-1000:]
            trial.note(form, checked.returncode, len(servers) > 0)
    ports.release(port)
