"""Fails on a regression of the hot paths, on a machine as busy as it may be: `make bench-check`.

Owns the limits, and why they are these: seconds measure the machine and whatever else it does; they differ by a third
from run to run, more than most regressions. What is counted here differs by nothing or by a few per cent, and each
regression of the past would have shown in one of these columns: one more wake-up of a thread is a system call, one more
layer is a Python call, a loop where there was a C function is bytecodes, a record kept for each operation is bytes, and
what is kept for ever is blocks.

A limit is what was counted on CPython 3.9 and 3.13, whichever had more, and a twentieth; where it depends on how much
arrives together, a tenth to a third. Who makes a path cheaper
lowers its limit; who has to raise one says why.
"""

from __future__ import annotations

import sys
from typing import Dict, List

from .counts import Counts, count_all, populate, server
from .report import table

#: Blocks that may be left behind by each operation, whatever it is: nothing, but for what is cached once.
LEFT = 0.1
LIMITS: Dict[str, Counts] = {
    #                      calls, files, system calls, elsewhere, bytecodes, bytes, blocks left
    "get, blocking": Counts(28, 10, 2.1, 1, 1200, 240, LEFT),
    "get, pipelined": Counts(17, 9, 0.2, 1, 720, 780, LEFT),
    "create, pipelined": Counts(26, 11, 0.2, 1, 980, 690, LEFT),
    # Of one list, whose thousand names cost neither a call nor a bytecode each.
    "get_children of 1000": Counts(32, 10, 2.1, 2, 1360, 360, LEFT),
    # Depends on how many events arrive together.
    "event, delivered": Counts(21, 8, 0.3, 0.3, 620, 1000, LEFT),
    "asyncio: get, one at a time": Counts(24, 9, 4.1, 0, 960, 100, LEFT),
    "asyncio: get, pipelined": Counts(11, 8, 0.2, 0, 620, 1100, LEFT),
}  # fmt: skip


def excesses(found: Dict[str, Counts], limits: Dict[str, Counts]) -> List[str]:
    """What is beyond its limit."""
    return [
        f"{name}: {value:.2f} {field}, limit {limit:g}"
        for name, counts in found.items()
        for field, value, limit in zip(Counts._fields, counts, limits[name])
        if value > limit
    ]


def main() -> int:
    """Count, print, and fail if there is too much of anything."""
    with server() as hosts:
        populate(hosts)
        found = count_all(hosts)
    rows = [
        (name, *(f"{value:.1f} / {limit:g}" if field != "left" else f"{value:.2f} / {limit:g}"
                 for field, value, limit in zip(Counts._fields, counts, LIMITS[name])))
        for name, counts in found.items()
    ]  # fmt: skip
    heads = ("one operation, counted / limit", "Python calls", "files", "system calls", "elsewhere", "bytecodes", "bytes", "blocks left")
    print(table(heads, rows))
    beyond = excesses(found, LIMITS)
    print("\n".join(["", *beyond]) if beyond else "\nall within their limits")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
