"""zkwire's asyncio front."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from typing import Any, Coroutine, List

from zkwire import AsyncZooKeeper
from zkwire.ops import GetData

from . import meter
from .meter import DIRECTORY, PATH, PIPELINED, SEQUENTIAL, WARM_UP, WINDOW, Figures


def _run(work: Coroutine[Any, Any, Figures]) -> Figures:
    return asyncio.run(work)


def sequential(hosts: str, total: int) -> Figures:
    async def work() -> Figures:
        async with AsyncZooKeeper(hosts, timeout=30.0) as zk:
            for _ in range(WARM_UP):
                await zk.get(PATH)
            times: List[float] = []
            cpu, clock = time.process_time(), time.perf_counter
            for _ in range(SEQUENTIAL):
                began = clock()
                await zk.get(PATH)
                times.append(clock() - began)
            return {"p50": statistics.median(times) * 1e6, "cpu": (time.process_time() - cpu) / SEQUENTIAL * 1e6}

    return _run(work())


def pipelined(hosts: str, total: int) -> Figures:
    async def work() -> Figures:
        async with AsyncZooKeeper(hosts, timeout=30.0) as zk:
            await zk.get(PATH)
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

    return _run(work())


def rearm(hosts: str, total: int) -> Figures:
    async def work() -> Figures:
        async with AsyncZooKeeper(hosts, timeout=30.0, max_pending=2 * total) as zk:
            paths = [f"{DIRECTORY}/{meter.name(number)}" for number in range(total)]
            for future in [zk.submit(GetData(path, watch=print)) for path in paths]:
                await future
            port = meter.port_of(hosts)
            dials, began = meter.Dials(port), time.perf_counter()
            meter.cut(port)
            while zk.connected:
                await asyncio.sleep(0)
            await zk.get(PATH)
            return meter.rearmed(began, dials)

    return _run(work())
