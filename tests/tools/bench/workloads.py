"""The workloads, one per client, each run in a process of its own: prints one JSON object of figures.

    python -m tests.tools.bench.workloads CLIENT WORKLOAD HOSTS

`raw` sends ready-made frames and reads replies without decoding them: what a Python socket loop can do at best.
Times are in microseconds, p50 over all operations, CPU is this process's user and system time per operation.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import struct
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Dict, List

PATH = "/bench/node"
DIRECTORY = "/bench/instances"
SEQUENTIAL = 4000
PIPELINED, WINDOW = 50_000, 1000
CHANGES = 30
Figures = Dict[str, float]


def sequential(get: Callable[[], object]) -> Figures:
    """One call at a time."""
    for _ in range(200):
        get()
    times: List[float] = []
    cpu, clock = time.process_time(), time.perf_counter
    for _ in range(SEQUENTIAL):
        began = clock()
        get()
        times.append(clock() - began)
    return {"p50": statistics.median(times) * 1e6, "cpu": (time.process_time() - cpu) / SEQUENTIAL * 1e6}


def pipelined(submit: Callable[[], Any], finish: Callable[[Any], object]) -> Figures:
    """Many calls, a window of them under way."""
    began, cpu = time.perf_counter(), time.process_time()
    under_way: deque[Any] = deque()
    for _ in range(PIPELINED):
        if len(under_way) >= WINDOW:
            finish(under_way.popleft())
        under_way.append(submit())
    while under_way:
        finish(under_way.popleft())
    return {
        "cpu": (time.process_time() - cpu) / PIPELINED * 1e6,
        "wall": (time.perf_counter() - began) / PIPELINED * 1e6,
    }


def change(prepare: Callable[[Callable[[int], None]], None], alter: Callable[[int], None], total: int) -> Figures:
    """One registration among many: from the answer to its create until the observer has the full set."""
    seen = threading.Condition()
    sizes = [0]

    def observer(size: int) -> None:
        with seen:
            sizes[0] = size
            seen.notify()

    def wait(size: int) -> None:
        with seen:
            if not seen.wait_for(lambda: sizes[0] == size, 60):
                raise SystemExit(f"the observer has {sizes[0]} instances, not {size}")

    began = time.perf_counter()
    prepare(observer)
    wait(total)
    load = time.perf_counter() - began
    times = []
    cpu = time.process_time()
    for i in range(CHANGES):
        began = time.perf_counter()
        alter(i)
        wait(total + i + 1)
        times.append(time.perf_counter() - began)
    return {
        "load": load * 1e3, "p50": statistics.median(times) * 1e3,
        "cpu": (time.process_time() - cpu) / CHANGES * 1e3,
    }  # fmt: skip


# ------------------------------------------------------------------------------- raw


class Raw:
    """A session on a bare socket."""

    def __init__(self, hosts: str) -> None:
        host, port = hosts.split(":")
        self.sock = socket.create_connection((host, int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(struct.pack(">iiqiqi16s?", 45, 0, 0, 30000, 0, 16, b"", False))
        self.read()

    def read(self) -> bytes:
        """One frame."""
        data = self.sock.recv(65536)
        while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
            data += self.sock.recv(65536)
        return data

    def run(self, workload: str) -> Figures:
        """The figures of a workload."""
        path = PATH.encode()
        frame = struct.pack(f">iiii{len(path)}s?", 13 + len(path), 1, 4, len(path), path, False)
        if workload == "sequential":
            send, read = self.sock.sendall, self.read

            def get() -> None:
                send(frame)
                read()

            return sequential(get)
        send_all = frame * WINDOW
        self.sock.sendall(frame)
        size = len(self.read())
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(PIPELINED // WINDOW):
            self.sock.sendall(send_all)
            left = size * WINDOW
            while left:
                left -= len(self.sock.recv(min(left, 1 << 18)))
        return {
            "cpu": (time.process_time() - cpu) / PIPELINED * 1e6,
            "wall": (time.perf_counter() - began) / PIPELINED * 1e6,
        }


def raw(workload: str, hosts: str, total: int) -> Figures:
    """A bare loop."""
    return Raw(hosts).run(workload)


# ------------------------------------------------------------------------- zkwire, zkdisco


def zkwire(workload: str, hosts: str, total: int) -> Figures:
    """Ours, blocking."""
    from zkwire import ZooKeeper
    from zkwire.ops import GetData

    if workload == "change":
        return zkdisco(hosts, total)
    with ZooKeeper(hosts, timeout=30.0) as zk:
        if workload == "sequential":
            return sequential(lambda: zk.get(PATH))
        if workload == "batch":
            cpu = time.process_time()
            zk.get_many([PATH] * PIPELINED)
            return {"cpu": (time.process_time() - cpu) / PIPELINED * 1e6}
        return pipelined(lambda: zk.submit(GetData(PATH)), lambda future: future.result())


def zkdisco(hosts: str, total: int) -> Figures:
    """Ours, discovery."""
    import zkdisco as disco
    from zkwire import ZooKeeper

    client, other = disco.Client(hosts, session_timeout=30.0), ZooKeeper(hosts, timeout=30.0)
    other.start()
    kept: List[Any] = []

    def prepare(observer: Callable[[int], None]) -> None:
        instancer = disco.Instancer(client, DIRECTORY, timeout=60)
        kept.append(instancer)
        instancer.register(lambda event: observer(len(event.instances)))

    def alter(i: int) -> None:
        other.create(f"{DIRECTORY}/zkwire-{i}", b"10.9.9.9:80", ephemeral=True)

    figures = change(prepare, alter, total)
    client.stop()
    other.close()
    return figures


def asyncio_front(workload: str, hosts: str, total: int) -> Figures:
    """Ours, awaited."""
    from zkwire import AsyncZooKeeper
    from zkwire.ops import GetData

    async def run() -> Figures:
        async with AsyncZooKeeper(hosts, timeout=30.0) as zk:
            if workload == "sequential":
                times: List[float] = []
                cpu, clock = time.process_time(), time.perf_counter
                for _ in range(SEQUENTIAL):
                    began = clock()
                    await zk.get(PATH)
                    times.append(clock() - began)
                return {"p50": statistics.median(times) * 1e6, "cpu": (time.process_time() - cpu) / SEQUENTIAL * 1e6}
            began, cpu = time.perf_counter(), time.process_time()
            under_way: deque[Any] = deque()
            for _ in range(PIPELINED):
                if len(under_way) >= WINDOW:
                    await under_way.popleft()
                under_way.append(zk.submit(GetData(PATH)))
            while under_way:
                await under_way.popleft()
            return {
                "cpu": (time.process_time() - cpu) / PIPELINED * 1e6,
                "wall": (time.perf_counter() - began) / PIPELINED * 1e6,
            }

    return asyncio.run(run())


# ----------------------------------------------------------------------------- kazoo


def kazoo(workload: str, hosts: str, total: int) -> Figures:
    """kazoo, and what its users would write for discovery at best: the difference only, pipelined."""
    from kazoo.client import KazooClient

    zk = KazooClient(hosts, timeout=30.0)
    zk.start()
    try:
        if workload == "sequential":
            return sequential(lambda: zk.get(PATH))
        if workload == "pipelined":
            return pipelined(lambda: zk.get_async(PATH), lambda result: result.get())
        other = KazooClient(hosts, timeout=30.0)
        other.start()
        known: Dict[str, bytes] = {}

        def prepare(observer: Callable[[int], None]) -> None:
            @zk.ChildrenWatch(DIRECTORY)  # type: ignore[untyped-decorator]
            def changed(names: List[str]) -> None:
                for name in known.keys() - set(names):
                    del known[name]
                reads = [(name, zk.get_async(f"{DIRECTORY}/{name}")) for name in names if name not in known]
                for name, read in reads:
                    known[name] = read.get()[0]
                observer(len(known))

        def alter(i: int) -> None:
            other.create(f"{DIRECTORY}/kazoo-{i}", b"10.9.9.9:80", ephemeral=True)

        figures = change(prepare, alter, total)
        other.stop()
        return figures
    finally:
        zk.stop()


CLIENTS = {"raw": raw, "kazoo": kazoo, "zkwire": zkwire, "asyncio": asyncio_front}


def main(client: str, workload: str, hosts: str, total: str) -> None:
    """Run one, print its figures."""
    print(json.dumps(CLIENTS[client](workload, hosts, int(total))))


if __name__ == "__main__":
    main(*sys.argv[1:])
