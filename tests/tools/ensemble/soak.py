"""What becomes of the client processes over hours: memory, descriptors and threads, and how they grow.

Owns the samples, which are taken whenever all is well after a fault, and their slopes. Linux only (/proc).
"""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from .world import World

#: The share of a client's samples, from the first, that is not counted: caches and allocators fill.
WARM_UP = 0.3
#: What may grow in an hour: memory in KiB, descriptors, threads. Fewer samples than `ENOUGH` say nothing.
LIMITS = {"memory": 1024.0, "descriptors": 1.0, "threads": 1.0}
ENOUGH = 20


class Sample(NamedTuple):
    """One client at one time: seconds, resident memory in KiB, descriptors, threads."""

    at: float
    memory: float
    descriptors: float
    threads: float


class Samples:
    """Those of one round, by client."""

    def __init__(self) -> None:
        self._of: Dict[str, List[Sample]] = defaultdict(list)

    def take(self, world: World) -> None:
        """Look at all clients that live."""
        for client in world.alive():
            self._of[client.name].append(sample(client.pid))

    def lines(self) -> Tuple[List[str], List[str]]:
        """The figures of the round, and what grows too much."""
        lines, grows = [], []
        for what, limit in LIMITS.items():
            slopes = {
                name: slope([(s.at, getattr(s, what)) for s in samples[int(WARM_UP * len(samples)) :]])
                for name, samples in self._of.items() if len(samples) >= ENOUGH
            }  # fmt: skip
            now = [getattr(samples[-1], what) for samples in self._of.values()]
            if slopes:
                middle, most = statistics.median(slopes.values()), max(slopes, key=lambda name: slopes[name])
                lines.append(f"  {what}: {statistics.median(now):.0f}, most {max(now):.0f}; in an hour "
                             f"{middle:+.1f}, most {slopes[most]:+.1f} ({most})")  # fmt: skip
                if middle > limit:
                    grows.append(f"{what} by {middle:+.1f} in an hour, more than {limit:g}")
            elif now:
                lines.append(f"  {what}: {statistics.median(now):.0f}, most {max(now):.0f}; too few samples for a slope")
        return lines, grows


def sample(pid: int) -> Sample:
    """A process as it is now."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(time.time(), float(status["VmRSS"].split()[0]), float(descriptors), float(status["Threads"]))


def slope(points: Sequence[Tuple[float, float]]) -> float:
    """How much more it is after an hour, by least squares."""
    times, values = [at for at, _ in points], [value for _, value in points]
    middle, mean = statistics.fmean(times), statistics.fmean(values)
    spread = sum((at - middle) ** 2 for at in times)
    return 3600 * sum((at - middle) * (value - mean) for at, value in points) / spread if spread else 0.0


__all__ = ["ENOUGH", "LIMITS", "Sample", "Samples", "sample", "slope"]
