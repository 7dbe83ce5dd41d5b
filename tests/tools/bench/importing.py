"""What it costs to import a client, and to have a first answer: each time in a new interpreter.

Owns the program that is run there. It runs isolated, so that bytecode is written and read as for any user.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import List

from .meter import PATH, Figures

ROOT = str(Path(__file__).parents[3])
REPEATED = 5

PROGRAM = """
import sys, os
from time import process_time
sys.path.insert(0, sys.argv[1])
page = os.sysconf("SC_PAGESIZE")
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * page / 1e6
def used(began, before):
    return [(process_time() - began) * 1e3, memory() - before]
began, before = process_time(), memory()
{importing}
figures = used(began, before)
zk = Client(sys.argv[2], timeout=30.0)
zk.start()
zk.get(sys.argv[3])
figures += used(began, before)
zk.stop()
import json
print(json.dumps(dict(zip(["time", "memory", "ready", "ready_memory"], figures))))
"""
IMPORTING = {
    "kazoo": "from kazoo.client import KazooClient as Client",
    "zkwire": "from zkwire import ZooKeeper as Client",
}


def once(client: str, hosts: str) -> Figures:
    """The figures of one process: CPU time in ms, memory in MB, for the import and until the first answer."""
    program = PROGRAM.replace("{importing}", IMPORTING[client])
    command = [sys.executable, "-I", "-c", program, ROOT, hosts, PATH]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"import of {client} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout)
    return figures


def measure(client: str, hosts: str) -> Figures:
    """Medians of a few processes, after one that compiles."""
    once(client, hosts)
    found: List[Figures] = [once(client, hosts) for _ in range(REPEATED)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}
