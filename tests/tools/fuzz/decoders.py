"""Inputs for the decoders: made from their number, fed, and watched.

Owns seeds, batches, the bound on memory, and what counts as an escape. Must not know what the decoders are.
"""

from __future__ import annotations

import time
import tracemalloc
import zlib
from random import Random
from typing import Dict, List, NamedTuple, Optional, Tuple

from .target import MAX_FRAME, Target
from .targets import targets

#: A batch is what is run, and repeated, as a whole.
BATCH = 500
#: What one input may make a decoder hold, in bytes.
BOUND = MAX_FRAME + 1024 * 1024
#: No input takes longer, in seconds; one of a few hundred bytes takes a millisecond.
SLOW = 5.0
#: Of a longer input so many bytes are printed; its number makes it again.
SHOWN = 2048


class Batch(NamedTuple):
    """Some inputs of one target."""

    target: str
    number: int
    count: int


class Failure(NamedTuple):
    """An input that something escaped from."""

    target: str
    number: int
    seed: int
    text: str
    data: bytes

    def __str__(self) -> str:
        again = f"python -m tests.tools.fuzz --seed {self.seed} --only {self.target}:{self.number}"
        shown = self.data[:SHOWN].hex() + f"... {len(self.data)} bytes" * (len(self.data) > SHOWN)
        return f"{self.target}: {self.text}\n  input {shown}\n  {again}"


class Result(NamedTuple):
    """What came of a batch: how many inputs, the most memory one took, and the first escape."""

    inputs: int
    peak: int
    failure: Optional[Failure]


def batches(inputs: int) -> List[Batch]:
    """So many inputs, and a few more, over all targets by their shares."""
    known = targets()
    shares = sum(target.share for target in known)
    found = []
    for target in known:
        left, number = -(-inputs * target.share // shares), 0
        while left > 0:
            found.append(Batch(target.name, number, min(BATCH, left)))
            left, number = left - BATCH, number + 1
    return found


def source(target: str, number: int, seed: int) -> Random:
    """The random source of one input."""
    return Random(zlib.crc32(target.encode()) << 64 | seed << 32 | number)


_known: Dict[str, Target] = {}


def run(work: Tuple[Batch, int]) -> Result:
    """Feed a batch."""
    if not _known:
        _known.update((target.name, target) for target in targets())
    batch, seed = work
    target, peak = _known[batch.target], 0
    target.begin(batch.number)
    started = not tracemalloc.is_tracing()
    if started:
        tracemalloc.start()
    try:
        for index in range(batch.count):
            number = batch.number * BATCH + index
            rng = source(target.name, number, seed)
            data = target.make(rng)
            text, took = _feed(target, rng, data)
            peak = max(peak, took)
            if text:
                return Result(index + 1, peak, Failure(target.name, number, seed, text, data))
    finally:
        if started:
            tracemalloc.stop()
    return Result(batch.count, peak, None)


def _feed(target: Target, rng: Random, data: bytes) -> Tuple[str, int]:
    """What is wrong, if anything is, and the memory it took."""
    text = ""
    before, began = tracemalloc.get_traced_memory()[0], time.perf_counter()
    tracemalloc.reset_peak()
    try:
        target.feed(rng, data)
    except target.allowed:
        pass
    except Exception as error:
        text = f"{type(error).__name__} escaped: {error}"
    took = tracemalloc.get_traced_memory()[1] - before
    if took > BOUND:
        text = text or f"{took} bytes of memory for an input of {len(data)}"
    seconds = time.perf_counter() - began
    return text or (f"{seconds:.1f} s" if seconds > SLOW else ""), took
