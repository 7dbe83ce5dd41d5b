"""The command line: many seeds, one seed, a shorter schedule of it, or the mutants.

Owns what is printed and the exit status.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from typing import Dict, List, Optional, Tuple

from .run import Failure, Totals, run_seed, shrink
from .world import World

SERVERS: Dict[str, Optional[bool]] = {"seed": None, "one": False, "ensemble": True}


def main(arguments: Optional[List[str]] = None) -> int:
    """Run; 0 if there was no violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.simulation", description="Deterministic simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--steps", type=int, default=500, help="steps of each")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--shrink", action="store_true", help="with --seed: find fewer steps that fail alike")
    parser.add_argument("--mutants", action="store_true", help="known bugs, put back one at a time: each must be seen")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--servers", choices=SERVERS, default="seed", help="one, an ensemble, or as the seed says")
    options = parser.parse_args(arguments)
    ensemble = SERVERS[options.servers]
    if options.mutants:
        from .mutants import prove

        return prove(options.seeds, options.steps)
    if options.seed is not None:
        return _one(options.seed, options.steps, options.shrink, ensemble)
    return _many(range(options.first, options.first + options.seeds), options.steps, options.jobs, ensemble)


def _one(seed: int, steps: int, short: bool, ensemble: Optional[bool]) -> int:
    print(f"seed {seed} runs on {World(seed, ensemble).server}")
    failure = run_seed(seed, steps, ensemble)[0]
    if failure is None:
        print(f"seed {seed}, {steps} steps, 0 violations")
        return 0
    print(failure)
    if short:
        for number, step in enumerate(shrink(failure)):
            print(f"{number:4} {step.kind:10} salt {step.salt:#010x}, then {step.pause:.3f} s")
    return 1


def _batch(work: Tuple[range, int, Optional[bool]]) -> Tuple[List[Failure], Totals]:
    failures, totals = [], Totals()
    for seed in work[0]:
        failure, figures = run_seed(seed, *work[1:])
        totals.add(figures)
        if failure is not None:
            failures.append(failure)
            print(failure, flush=True)
    return failures, totals


def _many(seeds: range, steps: int, jobs: int, ensemble: Optional[bool]) -> int:
    began = time.perf_counter()
    batches = [(seeds[i : i + 100], steps, ensemble) for i in range(0, len(seeds), 100)]
    failures, totals = 0, Totals()
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        results = map(_batch, batches) if pool is None else pool.map(_batch, batches)
        for number, (failed, figures) in enumerate(results, 1):
            failures += len(failed)
            totals.add(figures)
            if number % 10 == 0 and number < len(batches):
                print(f"{number * 100} seeds so far, {failures} violations", flush=True)
    seconds = time.perf_counter() - began
    print(totals)
    print(f"{seconds:.1f} s, {len(seeds) * steps / seconds:.0f} steps per second")
    print(f"{len(seeds)} seeds, {len(seeds) * steps} steps, {failures} violations")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
