"""How each workload is measured, whoever does it: what is repeated, and which figures come of it.

Owns the nodes, the numbers of repetitions, and the clocks: `cpu` is user and system time of the whole process. Must not
know any client: it gets functions.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Dict, List, Sequence

Figures = Dict[str, float]
PATH = "/bench/node"
#: Children whose names have the same length, as those of instances have, and children whose names have not.
DIRECTORY, MIXED = "/bench/instances", "/bench/mixed"
WARM_UP, SEQUENTIAL = 200, 4000
PIPELINED, WINDOW = 30_000, 1000
CREATES = 10_000
THREADS, EACH = 8, 1500
LISTS = 20
MULTIS, IN_MULTI = 5, 1000
WATCHED = 5000
CHANGES = 10
PATIENCE = 60.0


def name(number: int) -> str:
    """The name of an instance."""
    return f"n{number:06}"


def mixed(number: int) -> str:
    """The name of a child in `MIXED`."""
    return f"member-{number}"


def watched() -> List[str]:
    """The nodes that are watched."""
    return [f"{DIRECTORY}/{name(number)}" for number in range(WATCHED)]


def sequential(get: Callable[[], object]) -> Figures:
    """One call at a time."""
    for _ in range(WARM_UP):
        get()
    times: List[float] = []
    cpu, clock = time.process_time(), time.perf_counter
    for _ in range(SEQUENTIAL):
        began = clock()
        get()
        times.append(clock() - began)
    return {"p50": statistics.median(times) * 1e6, "cpu": (time.process_time() - cpu) / SEQUENTIAL * 1e6}


def pipelined(count: int, submit: Callable[[int], Any], finish: Callable[[Any], object]) -> Figures:
    """Many calls, a window of them under way."""
    finish(submit(-1))
    began, cpu = time.perf_counter(), time.process_time()
    under_way: deque[Any] = deque()
    for number in range(count):
        if len(under_way) >= WINDOW:
            finish(under_way.popleft())
        under_way.append(submit(number))
    while under_way:
        finish(under_way.popleft())
    return _each(count, began, cpu, 1e6)


def whole(count: int, call: Callable[[], object], unit: float = 1e6) -> Figures:
    """One call that does it all."""
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return _each(count, began, cpu, unit)


def _each(count: int, began: float, cpu: float, unit: float) -> Figures:
    return {
        "cpu": (time.process_time() - cpu) / count * unit,
        "wall": (time.perf_counter() - began) / count * unit,
    }


def repeated(count: int, call: Callable[[int], object]) -> Figures:
    """A few large calls, one at a time, in milliseconds."""
    call(-1)
    times: List[float] = []
    cpu, clock = time.process_time(), time.perf_counter
    for number in range(count):
        began = clock()
        call(number)
        times.append(clock() - began)
    return {"p50": statistics.median(times) * 1e3, "cpu": (time.process_time() - cpu) / count * 1e3}


def threads(get: Callable[[], object]) -> Figures:
    """Several threads on one client, each with one call at a time."""
    get()
    ready = threading.Barrier(THREADS + 1)

    def work() -> None:
        ready.wait()
        for _ in range(EACH):
            get()

    workers = [threading.Thread(target=work) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    ready.wait()
    began, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.join()
    figures = _each(THREADS * EACH, began, cpu, 1e6)
    return {"rate": 1e6 / figures["wall"], "cpu": figures["cpu"]}


class Counter:
    """A watcher that is called so many times; thread-safe, and nothing but a count."""

    def __init__(self, count: int) -> None:
        self._left, self._lock, self._done = count, threading.Lock(), threading.Event()

    def __call__(self, event: object) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self._done.set()

    def wait(self) -> None:
        """Until it was called so often."""
        if not self._done.wait(PATIENCE):
            raise SystemExit(f"{self._left} of the watchers were not called")


class Writer:
    """Another process, which changes every watched node when it is asked to."""

    def __init__(self, hosts: str) -> None:
        command = [sys.executable, "-m", "tests.tools.bench.writer", hosts]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line()

    def _line(self) -> None:
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise SystemExit("the writer has ended")

    def change_all(self) -> None:
        """Begin; returns at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def watches(hosts: str, watch: Callable[[Sequence[str], Counter], object]) -> Figures:
    """Set a watch on each of many nodes, in one go; then all of them are changed."""
    writer, counter = Writer(hosts), Counter(WATCHED)
    try:
        paths = watched()
        watch(paths[:1], Counter(1))  # which hears the change as well, and is not counted
        cpu = time.process_time()
        watch(paths, counter)
        between = time.process_time()
        writer.change_all()
        counter.wait()
        ended = time.process_time()
    finally:
        writer.close()
    return {"set": (between - cpu) / WATCHED * 1e6, "event": (ended - between) / WATCHED * 1e6}


class Dials:
    """Notes when this process has begun to connect to a port last, whichever library does it (PEP 578)."""

    def __init__(self, port: int) -> None:
        self._port, self.last = port, 0.0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: Any) -> None:
        if event == "socket.connect" and arguments[1][1] == self._port:
            self.last = time.perf_counter()


def port_of(hosts: str) -> int:
    """The port of a connect string with one server."""
    return int(hosts.rpartition(":")[2])


def cut(port: int) -> None:
    """End every connection of this process to that port, as the network would: no client is asked."""
    for entry in os.listdir("/proc/self/fd"):
        try:
            copy = socket.socket(fileno=os.dup(int(entry)))
        except OSError:
            continue  # no socket, or gone
        with copy:
            if copy.family == socket.AF_INET and _peer(copy) == port:
                copy.shutdown(socket.SHUT_RDWR)


def _peer(connection: socket.socket) -> int:
    try:
        port: int = connection.getpeername()[1]
    except OSError:  # it listens, or is of another kind
        return 0
    return port


def rearmed(began: float, dials: Dials) -> Figures:
    """After a cut that began then, an operation has been answered, which the server does after the watches."""
    now = time.perf_counter()
    return {"after_connect": (now - dials.last) * 1e3, "after_cut": (now - began) * 1e3}


def instances(prepare: Callable[[Callable[[int], None]], None], alter: Callable[[int], None], total: int) -> Figures:
    """All instances, first; then one registration after the other, until the observer has the full set."""
    seen = threading.Condition()
    sizes = [0]

    def observer(size: int) -> None:
        with seen:
            sizes[0] = size
            seen.notify()

    def wait(size: int) -> None:
        with seen:
            if not seen.wait_for(lambda: sizes[0] == size, PATIENCE):
                raise SystemExit(f"the observer has {sizes[0]} instances, not {size}")

    began, cpu = time.perf_counter(), time.process_time()
    prepare(observer)
    wait(total)
    figures = {"load": (time.perf_counter() - began) * 1e3, "cpu": (time.process_time() - cpu) * 1e3}
    times = []
    for number in range(CHANGES):
        began = time.perf_counter()
        alter(number)
        wait(total + number + 1)
        times.append(time.perf_counter() - began)
    return {**figures, "change": statistics.median(times) * 1e3}

