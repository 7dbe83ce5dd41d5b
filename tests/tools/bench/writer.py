"""The other process of the watch workload: sets every watched node once for each line it reads."""

from __future__ import annotations

import sys

from tests.tools.bench.meter import watched
from zkwire import ZooKeeper
from zkwire.ops import SetData


def main(hosts: str) -> None:
    """Until the end of the input."""
    with ZooKeeper(hosts, timeout=30.0) as zk:
        print("ready", flush=True)
        for _ in sys.stdin:
            for future in [zk.submit(SetData(path, b"changed")) for path in watched()]:
                future.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
