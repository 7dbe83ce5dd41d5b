"""The command line: so many inputs and connections, or one.

Owns what is printed and the exit status.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, Callable, List, Optional, Set, Tuple, Union

from . import connections, decoders
from .connections import SHARES

Work = Tuple[Callable[[Any], Any], Any]
Outcome = Union[connections.Result, decoders.Result]


def main(arguments: Optional[List[str]] = None) -> int:
    """Run; 0 if nothing escaped."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.fuzz", description="Spoiled bytes for all that reads bytes.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="for the decoders")
    parser.add_argument("--connections", type=int, default=10_000, help="over sockets, to clients and to the server")
    parser.add_argument("--minutes", type=float, help="no longer than this, however many that makes")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other inputs")
    parser.add_argument("--only", help="one input, as reply-Multi:1234, or one batch, as asyncio:3:400")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    if options.only:
        return _one(options.only, options.seed)
    works: List[Work] = [(decoders.run, (batch, options.seed)) for batch in decoders.batches(options.inputs)]
    works += [(connections.run, (batch, options.seed)) for batch in connections.batches(options.connections)]
    random.Random(options.seed).shuffle(works)  # so that little time means a little of everything
    return _many(works, options.jobs, options.minutes)


def _one(what: str, seed: int) -> int:
    name, number, *count = what.split(":")
    if name in SHARES:
        told = connections.run((connections.Batch(name, int(number), int(count[0])), seed)).failures
    else:
        batch = decoders.Batch(name, int(number) // decoders.BATCH, int(number) % decoders.BATCH + 1)
        failure = decoders.run((batch, seed)).failure  # with those before it, in case they matter
        told = [str(failure)] if failure is not None else []
    print("\n".join(told) or f"{what}: nothing escapes")
    return 1 if told else 0


def _many(works: List[Work], jobs: int, minutes: Optional[float]) -> int:
    began = time.perf_counter()
    inputs = dialled = escapes = peak = 0
    with ProcessPoolExecutor(jobs) as pool:
        running: Set[Future[Outcome]] = set()
        todo = iter(works)
        while True:
            late = minutes is not None and time.perf_counter() - began > minutes * 60
            for function, argument in [] if late else todo:
                running.add(pool.submit(function, argument))
                if len(running) >= 2 * jobs:
                    break
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                result = one.result()
                if isinstance(result, decoders.Result):
                    inputs, peak = inputs + result.inputs, max(peak, result.peak)
                    texts = [] if result.failure is None else [str(result.failure)]
                else:
                    dialled, texts = dialled + result.connections, result.failures
                escapes += len(texts)
                for text in texts:
                    print(text, flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
    print(f"{inputs} decoder inputs, {dialled} connections, {escapes} escapes, peak {peak / 2**20:.1f} MiB")
    return 1 if escapes else 0


if __name__ == "__main__":
    sys.exit(main())
