"""One measurement in a process of its own: prints one JSON object of figures.

    python -m tests.tools.bench.worker CLIENT WORKLOAD HOSTS INSTANCES
"""

from __future__ import annotations

import importlib
import json
import sys

from .goals import CLIENTS


def main(client: str, workload: str, hosts: str, total: str) -> None:
    """Run it."""
    module = importlib.import_module(f"{__package__}.{CLIENTS[client]}")
    print(json.dumps(getattr(module, workload)(hosts, int(total))))


if __name__ == "__main__":
    main(*sys.argv[1:])
