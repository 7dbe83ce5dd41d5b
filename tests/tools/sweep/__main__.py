"""The command line: every point, some, or one.

Owns what is printed and the exit status.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Dict, List, Optional, Tuple

from .fronts import FRONTS
from .oracle import Reference
from .run import CUTS, TIMEOUT, Failure, Point, parse, points, references, run
from .server import C2S, DRIP, GATHER, S2C, SPLIT

NAMES = "FIN, RST, black hole"
BATCH = 1500


def main(arguments: Optional[List[str]] = None) -> int:
    """Run; 0 if nothing hung and no outcome was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.sweep", description="A conversation, cut at every byte.")
    parser.add_argument("--step", type=int, default=1, help="every so many bytes")
    parser.add_argument("--only", help="one point, as threads:rst:s2c:1234 (kinds: fin rst hole split drip gather)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="session timeout, in seconds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    reference = references(options.timeout)
    if options.only:
        failures = run([parse(options.only)], reference, options.timeout)
        print(f"{options.only}: {'failed' if failures else 'as it should be'}")
        return 1 if failures else 0
    print(f"{reference['asyncio'].frames} frames", flush=True)
    cuts = list(points(reference, CUTS, options.step))
    whole = [*points(reference, [SPLIT], options.step), *points(reference, [DRIP, GATHER])]
    failed = _many([*cuts, *whole], reference, options.timeout, options.jobs)
    hangs = sum(failure.hang for failure in failed)
    size = sum(reference["asyncio"].bytes(direction) for direction in (C2S, S2C))
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"{len(whole)} deliveries in other pieces (split at each byte, byte by byte, in one piece)")
    print(
        f"{len(cuts)} cut points ({size} bytes x {NAMES} x {', '.join(FRONTS)}), "
        f"{hangs} hangs, {len(failed) - hangs} wrong outcomes"
    )
    return 1 if failed else 0


def _batch(work: Tuple[List[Point], Dict[str, Reference], float]) -> List[Failure]:
    return run(*work, tell=lambda failure: print(failure, flush=True))


def _many(wanted: List[Point], reference: Dict[str, Reference], timeout: float, jobs: int) -> List[Failure]:
    count = max(1, len(wanted) // BATCH)
    batches = [(wanted[i::count], reference, timeout) for i in range(count)]
    failed: List[Failure] = []
    if jobs <= 1:
        for batch in batches:
            failed += _batch(batch)
        return failed
    with ProcessPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(_batch, batch) for batch in batches]):
            failed += future.result()
    return failed


if __name__ == "__main__":
    sys.exit(main())
