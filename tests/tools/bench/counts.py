"""Counts what an operation costs, rather than how long it takes: the same on a busy machine as on a quiet one.

Owns the ways to count: Python calls and bytecodes in the package itself, system calls of sockets and polling on every
thread, memory. Must not know limits. The server is a process of its own, so that nothing of it is counted.

- A Python call is a frame of a file of zkwire that is entered, on any thread; `files` are those of the caller's thread.
- A system call is a call of a C function that is one: `recv`, `send`, `poll` and their like. `sys.setprofile` reports it
  whoever holds the function; nothing is replaced. Locks that block are not seen.
- A bytecode is one that a frame of zkwire executes: it sees loops, which calls do not. It differs by version of Python.
- `bytes` is what each of many operations in flight holds at the peak; `left` is how many memory blocks each leaves behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Set, Tuple

import zkwire
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.ops import Create, GetData, SetData

PROJECT = Path(__file__).parents[3]
PACKAGE = os.path.dirname(zkwire.__file__) + os.sep
EMBEDDED = PACKAGE + "embedded"
NODE, DIRECTORY, CHILDREN = "/node", "/directory", 1000
OPERATIONS, TRACED, IN_FLIGHT = 100, 25, 1000
#: The least of so many tries counts: the I/O thread wakes now and then, whatever the operations are.
TRIES = 3

_NAMES = {"recv", "recv_into", "recvmsg", "send", "sendall", "sendmsg", "poll", "select", "read", "write"}
_OWNERS: Tuple[type, ...] = tuple(
    {socket.socket, *(type(getattr(select, kind)()) for kind in ("poll", "epoll", "kqueue") if hasattr(select, kind))}
)


class Counts(NamedTuple):
    """Of one operation."""

    calls: float
    files: int
    system: float
    opcodes: float
    bytes: float
    left: float


def _is_system_call(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    if function.__name__ not in _NAMES:
        return False
    return isinstance(owner, _OWNERS) or owner is select or getattr(owner, "__name__", "") in ("posix", "nt")


class Profile:
    """What `sys.setprofile` and `sys.settrace` report, of all threads that are begun inside `threads`."""

    def __init__(self) -> None:
        self.on = False
        self.calls = self.system = self.opcodes = 0
        self.files: Set[str] = set()
        self._caller = threading.get_ident()

    def profile(self, frame: Any, event: str, argument: Any) -> None:
        """For `sys.setprofile`."""
        if not self.on:
            return
        if event == "call":
            name = frame.f_code.co_filename
            if name.startswith(PACKAGE):
                self.calls += 1
                if threading.get_ident() == self._caller:
                    self.files.add(name)
        elif event == "c_call" and _is_system_call(argument):
            self.system += 1

    def trace(self, frame: Any, event: str, argument: Any) -> Any:
        """For `sys.settrace`."""
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "opcode" and self.on:
            self.opcodes += 1
        return self._opcode

    @contextlib.contextmanager
    def threads(self, bytecodes: bool) -> Iterator[None]:
        """Threads begun inside are counted."""
        install, hook = (threading.settrace, self.trace) if bytecodes else (threading.setprofile, self.profile)
        install(hook)  # type: ignore[operator]
        try:
            yield
        finally:
            install(None)  # type: ignore[arg-type, operator]

    @contextlib.contextmanager
    def counting(self, bytecodes: bool, caller: bool = True) -> Iterator[None]:
        """What happens inside is counted, on this thread only if `caller`."""
        install, hook = (sys.settrace, self.trace) if bytecodes else (sys.setprofile, self.profile)
        self.calls = self.system = self.opcodes = 0
        self.files.clear()
        self.on = True
        if caller:
            install(hook)  # type: ignore[operator]
        try:
            yield
        finally:
            install(None)  # type: ignore[operator]
            self.on = False


@contextlib.contextmanager
def server() -> Iterator[str]:
    """An embedded server in another process."""
    command = [sys.executable, "-m", "zkwire", "serve"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)


def populate(hosts: str) -> None:
    """The nodes that are read."""
    with ZooKeeper(hosts) as zk:
        zk.create(NODE, b"x" * 100)
        zk.create(DIRECTORY)
        for future in [zk.submit(Create(f"{DIRECTORY}/n{i:06}", b"10.0.0.1:80")) for i in range(CHILDREN)]:
            future.result()


class Workload(NamedTuple):
    """`work(client, count)` does so many operations; `caller` says whether what the caller's thread does is counted."""

    work: Callable[[Any, int], object]
    caller: bool = True
    prepare: Callable[[Any, int], object] = lambda zk, count: None


def _gets(zk: ZooKeeper, count: int) -> None:
    for _ in range(count):
        zk.get(NODE)


def _pipelined(zk: ZooKeeper, count: int) -> None:
    for future in [zk.submit(GetData(NODE)) for _ in range(count)]:
        future.result()


def _creates(zk: ZooKeeper, count: int) -> None:
    root = zk.create("/c-", sequence=True)
    for future in [zk.submit(Create(f"{root}/{number}", b"x" * 100)) for number in range(count)]:
        future.result()


def _children(zk: ZooKeeper, count: int) -> None:
    for _ in range(count):
        zk.get_children(DIRECTORY)


class _Heard:
    """A watcher that is waited for."""

    def __init__(self) -> None:
        self.count, self._changed = 0, threading.Condition()

    def __call__(self, event: object) -> None:
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Until it was called so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count >= count, 20), f"{self.count} events, not {count}"


class _Watched:
    """Watches of the client that is counted; another one, which is not, makes the changes."""

    def __init__(self, hosts: str) -> None:
        self._other = ZooKeeper(hosts)
        self._other.start()
        self._heard = _Heard()

    def prepare(self, zk: ZooKeeper, count: int) -> None:
        """Set the watches."""
        self._heard = _Heard()
        for future in [zk.submit(GetData(f"{DIRECTORY}/n{i:06}", watch=self._heard)) for i in range(count)]:
            future.result()

    def change(self, zk: ZooKeeper, count: int) -> None:
        """Change each node, and wait for the events."""
        for future in [self._other.submit(SetData(f"{DIRECTORY}/n{i:06}", b"changed")) for i in range(count)]:
            future.result()
        self._heard.wait(count)

    def close(self) -> None:
        """End the other client."""
        self._other.close()


BLOCKING = {
    "get, blocking": Workload(_gets), "get, pipelined": Workload(_pipelined), "create, pipelined": Workload(_creates),
    f"get_children of {CHILDREN}": Workload(_children),
}  # fmt: skip


async def _awaited(zk: AsyncZooKeeper, count: int) -> None:
    for _ in range(count):
        await zk.get(NODE)


async def _awaited_pipelined(zk: AsyncZooKeeper, count: int) -> None:
    for future in [zk.submit(GetData(NODE)) for _ in range(count)]:
        await future


AWAITED = {"asyncio: get, one at a time": _awaited, "asyncio: get, pipelined": _awaited_pipelined}


def count_all(hosts: str) -> Dict[str, Counts]:
    """All workloads."""
    found = {}
    watched = _Watched(hosts)
    try:
        workloads = {**BLOCKING, "event, delivered": Workload(watched.change, False, watched.prepare)}
        for name, workload in workloads.items():
            found[name] = blocking(hosts, workload)
    finally:
        watched.close()
    for name, work in AWAITED.items():
        found[name] = asyncio.run(_on_loop(hosts, work))
    return found


def blocking(hosts: str, workload: Workload) -> Counts:
    """One workload of the blocking front."""
    results: List[Tuple[float, int, float]] = []
    for bytecodes, count in ((False, OPERATIONS), (True, TRACED)):
        profile = Profile()
        with profile.threads(bytecodes):
            zk = ZooKeeper(hosts)
            zk.start()
        with zk:
            _work(workload, zk, count)
            for _ in range(TRIES):
                workload.prepare(zk, count)
                with profile.counting(bytecodes, workload.caller):
                    workload.work(zk, count)
                results.append(_each(profile, bytecodes, count))
    with ZooKeeper(hosts) as zk:
        with _no_collector():
            _work(workload, zk, IN_FLIGHT)
            memory: List[Tuple[float, float]] = []
            for _ in range(TRIES):
                with _memory(memory):
                    _work(workload, zk, IN_FLIGHT)
    return _least(results, memory)


def _work(workload: Workload, zk: Any, count: int) -> None:
    workload.prepare(zk, count)
    workload.work(zk, count)


async def _on_loop(hosts: str, work: Callable[[Any, int], Any]) -> Counts:
    results: List[Tuple[float, int, float]] = []
    async with AsyncZooKeeper(hosts) as zk:
        for bytecodes, count in ((False, OPERATIONS), (True, TRACED)):
            profile = Profile()
            await work(zk, count)
            for _ in range(TRIES):
                with profile.counting(bytecodes):
                    await work(zk, count)
                results.append(_each(profile, bytecodes, count))
        with _no_collector():
            await work(zk, IN_FLIGHT)
            memory: List[Tuple[float, float]] = []
            for _ in range(TRIES):
                with _memory(memory):
                    await work(zk, IN_FLIGHT)
    return _least(results, memory)


def _each(profile: Profile, bytecodes: bool, count: int) -> Tuple[float, int, float]:
    """Calls, files and system calls of an operation; or its bytecodes, with -1 for files."""
    if bytecodes:
        return profile.opcodes / count, -1, 0.0
    return profile.calls / count, len(profile.files), profile.system / count


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """What is left behind inside waits for no collector, which would also empty the interpreter's free lists."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _memory(found: List[Tuple[float, float]]) -> Iterator[None]:
    """The peak in bytes, and what is left in blocks, of `IN_FLIGHT` operations done inside: the share of each."""
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    found.append((peak / IN_FLIGHT, (sys.getallocatedblocks() - blocks) / IN_FLIGHT))


def _least(results: List[Tuple[float, int, float]], memory: List[Tuple[float, float]]) -> Counts:
    counted = [result for result in results if result[1] >= 0]
    return Counts(
        calls=min(calls for calls, _, _ in counted), files=min(files for _, files, _ in counted),
        system=min(system for _, _, system in counted), opcodes=min(one for one, files, _ in results if files < 0),
        bytes=min(peak for peak, _ in memory), left=min(left for _, left in memory),
    )  # fmt: skip
