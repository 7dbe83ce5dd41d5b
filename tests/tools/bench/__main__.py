"""Runs every client and workload in turn, several rounds interleaved, and prints medians and ratios.

    python -m tests.tools.bench [--rounds 5] [--instances 10000] [--only WORKLOAD] [--json FILE]

Absolute times move with the machine; only ratios of one run count. Each measurement is a process of its own. The
figures to be reached are printed beside what was reached, and nothing here fails: read them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from typing import Any, Dict, List, Tuple

from tests.tools.bench.workloads import DIRECTORY, PATH
from tests.kit.harness.proxy import FaultProxy
from tests.kit.harness.servers import Server
from zkwire import ZooKeeper
from zkwire.ops import Create

RUNS: Dict[str, Tuple[str, ...]] = {
    "sequential": ("raw", "kazoo", "zkwire", "asyncio"),
    "pipelined": ("raw", "kazoo", "zkwire", "asyncio"),
    "batch": ("zkwire",),
    "change": ("kazoo", "zkwire"),
}
#: workload, figure, ours, of whom, bound, what it is (the bounds of the first release, then the goals).
BOUNDS = (
    ("sequential", "p50", "zkwire", "kazoo", 0.65, "one get at a time, p50"),
    ("sequential", "p50", "zkwire", "raw", 1.35, "one get at a time, p50"),
    ("sequential", "p50", "zkwire", "raw", 1.15, "  goal"),
    ("sequential", "cpu", "zkwire", "raw", 1.8, "one get at a time, CPU: goal"),
    ("pipelined", "cpu", "zkwire", "kazoo", 0.25, "50,000 gets, 1,000 in flight, CPU"),
    ("pipelined", "cpu", "zkwire", "kazoo", 0.15, "  goal"),
    ("sequential", "cpu", "asyncio", "raw", 2.6, "asyncio, one get at a time, CPU: goal"),
    ("pipelined", "cpu", "asyncio", "kazoo", 0.25, "asyncio, 1,000 in flight, CPU: goal"),
    ("change", "load", "zkwire", "kazoo", 0.45, "initial load of the instances: goal"),
    ("change", "p50", "zkwire", "kazoo", 0.65, "one registration to the full set"),
)


def populate(hosts: str, instances: int) -> None:
    """The nodes that are read."""
    with ZooKeeper(hosts, timeout=30.0) as zk:
        zk.create(PATH, b"x" * 100, makepath=True)
        zk.ensure_path(DIRECTORY)
        futures = [zk.submit(Create(f"{DIRECTORY}/n{i:06}", b"10.0.%d.%d:8080" % divmod(i, 250))) for i in range(instances)]
        for future in futures:
            future.result()


def measure(client: str, workload: str, hosts: str, instances: int) -> Dict[str, float]:
    """One process."""
    command = [sys.executable, "-m", "tests.tools.bench.workloads", client, workload, hosts, str(instances)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{client} {workload} failed:\n{done.stdout}{done.stderr}")
    figures: Dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def bytes_per_change(server: Server, instances: int) -> Dict[str, float]:
    """What one registration costs on the wire, counted by a proxy, in bytes received."""
    received = {}
    for client in RUNS["change"]:
        with FaultProxy(server.host, server.port) as proxy:
            marks: List[int] = []
            figures = measure(client, "change", proxy.hosts, instances)
            marks.append(proxy.traffic["down"].bytes)
            received[client] = figures["p50"]
    return received


def main() -> None:
    """The whole run."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--only", choices=sorted(RUNS))
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    results: Dict[Tuple[str, str], List[Dict[str, float]]] = {}
    with Server("3.8.0") as server:
        populate(server.hosts, options.instances)
        for turn in range(options.rounds):
            for workload, clients in RUNS.items():
                if options.only in (None, workload):
                    for client in clients:
                        began = time.monotonic()
                        results.setdefault((workload, client), []).append(
                            measure(client, workload, server.hosts, options.instances)
                        )
                        print(f"round {turn + 1}/{options.rounds}  {workload:10} {client:8} "
                              f"{time.monotonic() - began:5.1f} s", file=sys.stderr)  # fmt: skip
    report(results, options)


def report(results: Dict[Tuple[str, str], List[Dict[str, float]]], options: Any) -> None:
    """Medians, then ratios: the median over rounds of the ratio within a round."""
    print(f"Python {platform.python_version()}, ZooKeeper 3.8.0 on loopback, {options.rounds} rounds, medians")
    for (workload, client), rounds in results.items():
        figures = "  ".join(f"{name} {statistics.median(r[name] for r in rounds):10.2f}" for name in rounds[0])
        unit = "ms" if workload == "change" else "us"
        print(f"  {workload:10} {client:8} {figures} {unit}")
    for workload, figure, ours, theirs, bound, text in BOUNDS:
        a, b = results.get((workload, ours)), results.get((workload, theirs))
        if a and b:
            ratio = statistics.median(x[figure] / y[figure] for x, y in zip(a, b))
            verdict = "reached" if ratio <= bound else "NOT reached"
            print(f"  {text:40} {ours} / {theirs} = {ratio:5.2f}   (<= {bound:.2f}: {verdict})")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as out:
            json.dump({f"{w} {c}": r for (w, c), r in results.items()}, out, indent=1)


if __name__ == "__main__":
    main()
