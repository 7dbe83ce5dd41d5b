"""Counts what an operation costs, rather than how long it takes: the same on a busy machine as on a quiet one.

Owns the ways to count: Python calls and bytecodes in the package itself, system calls of sockets and polling on every
thread, memory. Must not know limits. The server is a process of its own, so that nothing of it is counted.

- A Python call is a frame of a file of zkwire that is entered, on the thread that does the work: the caller's, but for
  events, which other threads deliver. `files` are those of these frames, where every second operation at least enters one.
- A system call is a call of a C function that is one: `recv`, `send`, `poll` and their like, as `sys.setprofile` reports it.
  It sees calls from Python only; so sockets are `SeenSocket`s, whose methods are Python. Locks that block are not seen. `elsewhere` are those of other threads:
  the I/O thread wakes now and then by the clock, so that this figure alone grows a little on a busy machine.
- A bytecode is one that a frame of zkwire executes: it sees loops, which calls do not. It differs by version of Python.
- `bytes` is the peak of memory, divided by the number of operations, which all are in flight where they are pipelined;
  `left` is how many memory blocks each leaves behind.
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
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import zkwire
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.ops import Create, GetData, SetData

PROJECT = Path(__file__).parents[3]
PACKAGE = os.path.dirname(zkwire.__file__) + os.sep
EMBEDDED = PACKAGE + "embedded"
NODE, DIRECTORY, CHILDREN = "/node", "/directory", 1000
OPERATIONS, TRACED, IN_FLIGHT = 100, 25, 1000
#: Of operations one at a time, where memory is measured.
IN_TURN = 300
#: The least of so many tries counts: now and then the I/O thread reads a reply before the caller does.
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
    elsewhere: float
    opcodes: float
    bytes: float
    left: float


def _is_system_call(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    if function.__name__ not in _NAMES:
        return False
    return isinstance(owner, _OWNERS) or owner is select or getattr(owner, "__name__", "") in ("posix", "nt")


class SeenSocket(socket.socket):
    """A socket of which nothing is hidden from a profile: what calls `recv`, even `map`, calls Python, which calls C."""

    def recv(self, *arguments: Any) -> bytes:
        return super().recv(*arguments)

    def recv_into(self, *arguments: Any) -> int:
        return super().recv_into(*arguments)

    def send(self, *arguments: Any) -> int:
        return super().send(*arguments)

    def sendall(self, *arguments: Any) -> None:
        return super().sendall(*arguments)

    def sendmsg(self, *arguments: Any) -> int:
        return super().sendmsg(*arguments)


class Profile:
    """What `sys.setprofile` and `sys.settrace` report of the caller's thread, and of threads begun inside `threads`.

    With `caller`, the caller's thread does the work, without it the others do.
    """

    def __init__(self, bytecodes: bool, caller: bool) -> None:
        self._bytecodes, self._caller = bytecodes, caller
        self._thread = threading.get_ident()
        self._on = False
        self._clear()

    def _clear(self) -> None:
        self.calls = self.system = self.elsewhere = self.opcodes = 0
        self.files: Dict[str, int] = {}

    def _works(self) -> bool:
        return (threading.get_ident() == self._thread) == self._caller

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if not self._on:
            return
        if event == "call":
            name = frame.f_code.co_filename
            if name.startswith(PACKAGE) and self._works():
                self.calls += 1
                self.files[name] = self.files.get(name, 0) + 1
        elif event == "c_call" and _is_system_call(argument):
            if self._works():
                self.system += 1
            else:
                self.elsewhere += 1

    def _trace(self, frame: Any, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or not self._works():
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._opcode

    def _opcode(self, frame: Any, event: str, argument: Any) -> Any:
        if event == "opcode" and self._on:
            self.opcodes += 1
        return self._opcode

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Threads begun inside are counted."""
        install: Any = threading.settrace if self._bytecodes else threading.setprofile
        install(self._trace if self._bytecodes else self._profile)
        try:
            yield
        finally:
            install(None)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """What happens inside is counted."""
        install: Any = sys.settrace if self._bytecodes else sys.setprofile
        self._clear()
        self._on = True
        if self._caller:
            install(self._trace if self._bytecodes else self._profile)
        try:
            yield
        finally:
            install(None)
            self._on = False


@contextlib.contextmanager
def server() -> Iterator[str]:
    """An embedded server in another process; meanwhile, sockets that are made in this one are seen."""
    command = [sys.executable, "-m", "zkwire", "serve"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        usual, socket.socket = socket.socket, SeenSocket  # type: ignore[misc]
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            socket.socket = usual  # type: ignore[misc]
            process.send_signal(signal.SIGTERM)


def populate(hosts: str) -> None:
    """The nodes that are read."""
    with ZooKeeper(hosts) as zk:
        zk.create(NODE, b"x" * 100)
        zk.create(DIRECTORY)
        for future in [zk.submit(Create(f"{DIRECTORY}/n{i:06}", b"10.0.0.1:80")) for i in range(CHILDREN)]:
            future.result()


class Workload(NamedTuple):
    """`work(client, count)` does so many operations, on the thread of the `caller`, or other threads do.

    Memory is measured over `many` of them.
    """

    work: Callable[[Any, int], object]
    many: int = IN_FLIGHT
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
    "get, blocking": Workload(_gets, IN_TURN), "get, pipelined": Workload(_pipelined), "create, pipelined": Workload(_creates),
    f"get_children of {CHILDREN}": Workload(_children, IN_TURN),
}  # fmt: skip


async def _awaited(zk: AsyncZooKeeper, count: int) -> None:
    for _ in range(count):
        await zk.get(NODE)


async def _awaited_pipelined(zk: AsyncZooKeeper, count: int) -> None:
    for future in [zk.submit(GetData(NODE)) for _ in range(count)]:
        await future


AWAITED = {
    "asyncio: get, one at a time": Workload(_awaited, IN_TURN),
    "asyncio: get, pipelined": Workload(_awaited_pipelined),
}  # fmt: skip


def count_all(hosts: str) -> Dict[str, Counts]:
    """All workloads."""
    found = {}
    watched = _Watched(hosts)
    try:
        workloads = {**BLOCKING, "event, delivered": Workload(watched.change, IN_FLIGHT, False, watched.prepare)}
        for name, workload in workloads.items():
            found[name] = blocking(hosts, workload)
    finally:
        watched.close()
    for name, workload in AWAITED.items():
        found[name] = asyncio.run(_on_loop(hosts, workload))
    return found


def blocking(hosts: str, workload: Workload) -> Counts:
    """One workload of the blocking front."""
    profiles: List[Tuple[float, ...]] = []
    opcodes: List[float] = []
    for bytecodes, count in ((False, OPERATIONS), (True, TRACED)):
        profile = Profile(bytecodes, workload.caller)
        with profile.threads():
            zk = ZooKeeper(hosts)
            zk.start()
        with zk:
            _work(workload, zk, count)
            for _ in range(TRIES):
                workload.prepare(zk, count)
                with profile.counting():
                    workload.work(zk, count)
                _note(profile, count, profiles, opcodes)
    memory: List[Tuple[float, float]] = []
    with ZooKeeper(hosts) as zk, _no_collector():
        _work(workload, zk, workload.many)
        for _ in range(TRIES):
            with _memory(memory, workload.many):
                _work(workload, zk, workload.many)
    return _least(profiles, opcodes, memory)


def _work(workload: Workload, zk: Any, count: int) -> None:
    workload.prepare(zk, count)
    workload.work(zk, count)


async def _on_loop(hosts: str, workload: Workload) -> Counts:
    work: Any = workload.work
    profiles: List[Tuple[float, ...]] = []
    opcodes: List[float] = []
    memory: List[Tuple[float, float]] = []
    async with AsyncZooKeeper(hosts) as zk:
        for bytecodes, count in ((False, OPERATIONS), (True, TRACED)):
            profile = Profile(bytecodes, True)
            await work(zk, count)
            for _ in range(TRIES):
                with profile.counting():
                    await work(zk, count)
                _note(profile, count, profiles, opcodes)
        with _no_collector():
            await work(zk, workload.many)
            for _ in range(TRIES):
                with _memory(memory, workload.many):
                    await work(zk, workload.many)
    return _least(profiles, opcodes, memory)


def _note(profile: Profile, count: int, profiles: List[Tuple[float, ...]], opcodes: List[float]) -> None:
    """What one try has counted, for each operation: either kind."""
    if profile.opcodes:
        opcodes.append(profile.opcodes / count)
    else:
        files = sum(1 for calls in profile.files.values() if calls >= count / 2)
        profiles.append((profile.calls / count, files, profile.system / count, profile.elsewhere / count))


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
def _memory(found: List[Tuple[float, float]], count: int) -> Iterator[None]:
    """The peak in bytes, and what is left in blocks, of so many operations done inside: the share of each."""
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    found.append((peak / count, (sys.getallocatedblocks() - blocks) / count))


def _least(profiles: List[Tuple[float, ...]], opcodes: List[float], memory: List[Tuple[float, float]]) -> Counts:
    calls, files, system, elsewhere = (min(column) for column in zip(*profiles))
    peak, left = (min(column) for column in zip(*memory))
    return Counts(calls, int(files), system, elsewhere, min(opcodes), peak, left)
