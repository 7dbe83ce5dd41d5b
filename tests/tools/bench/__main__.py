"""Runs every client and workload in turn, several rounds interleaved, and writes medians and ratios.

    python -m tests.tools.bench [--rounds 5] [--instances 10000] [--only WORKLOAD] [--json FILE] [--docs FOLDER]

Each measurement is a process of its own. Nothing here fails when a goal is not reached: read the table. A whole run
writes benchmark.md and benchmark.svg into docs/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from tests.kit.harness import packages
from tests.kit.harness.servers import Server
from zkwire import ZooKeeper
from zkwire.ops import Create

from . import importing, picture, report
from .goals import RUNS, Results
from .meter import DIRECTORY, MIXED, PATH, WATCHED, Figures, mixed, name

PROJECT = Path(__file__).parents[3]
VERSION = "3.8.0"


def populate(hosts: str, instances: int) -> None:
    """The nodes that are read."""
    with ZooKeeper(hosts, timeout=30.0) as zk:
        zk.create(PATH, b"x" * 100, makepath=True)
        for directory, named in ((DIRECTORY, name), (MIXED, mixed)):
            zk.ensure_path(directory)
            data = [b"10.0.%d.%d:8080" % divmod(i, 250) for i in range(instances)]
            futures = [zk.submit(Create(f"{directory}/{named(i)}", data[i])) for i in range(instances)]
            for future in futures:
                future.result()


def measure(client: str, workload: str, hosts: str, instances: int) -> Figures:
    """One process, or for an import some."""
    if workload == "import":
        return importing.measure(client, hosts)
    command = [sys.executable, "-m", "tests.tools.bench.worker", client, workload, hosts, str(instances)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{client} {workload} failed:\n{done.stdout}{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def run(rounds: int, instances: int, only: Optional[List[str]]) -> Results:
    """All measurements, in every second round backwards: who comes later has no advantage."""
    results: Results = {(workload, client): [] for workload in only or RUNS for client in RUNS[workload]}
    with Server(VERSION, heap="512m") as server:
        populate(server.hosts, instances)
        for turn in range(rounds):
            for workload, client in list(results)[:: -1 if turn % 2 else 1]:
                began = time.monotonic()
                results[workload, client].append(measure(client, workload, server.hosts, instances))
                print(f"round {turn + 1}/{rounds}  {workload:14} {client:8} {time.monotonic() - began:5.1f} s",
                      file=sys.stderr, flush=True)  # fmt: skip
    return results


def about(rounds: int) -> str:
    """When, where, with what."""
    parts = [
        f"{datetime.date.today().isoformat()}", f"{os.cpu_count()} cores of {_processor()}, {platform.system()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"ZooKeeper {VERSION} on the same machine, nothing forced to disk", f"Java {packages.java_version(packages.java())}",
        f"{rounds} rounds",
    ]  # fmt: skip
    return "; ".join(parts)


def _processor() -> str:
    """The machine class: what the kernel calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def main() -> None:
    """The whole run."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--only", choices=sorted(RUNS), action="append", help="this workload; may be repeated")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--docs", metavar="FOLDER", type=Path, help="write benchmark.md and benchmark.svg there "
                        "(docs/, if nothing is left out)")  # fmt: skip
    options = parser.parse_args()
    if options.instances < WATCHED:
        parser.error(f"--instances: at least {WATCHED}, which are watched")
    began = time.monotonic()
    results = run(options.rounds, options.instances, options.only)
    written(results, about(options.rounds), options)
    print(f"\n{report.goals(results)}\n\n{report.figures(results)}\n\n{time.monotonic() - began:.0f} s")


def written(results: Results, line: str, options: Any) -> None:
    """The files that were asked for."""
    folder: Optional[Path] = options.docs or (None if options.only else PROJECT / "docs")
    if folder is not None:
        folder.mkdir(exist_ok=True)
        (folder / "benchmark.md").write_text(report.markdown(results, line), encoding="utf-8")
        (folder / "benchmark.svg").write_text(picture.svg(results, line), encoding="utf-8")
    if options.json:
        found: Dict[str, List[Figures]] = {f"{workload} {client}": all_ for (workload, client), all_ in results.items()}
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
