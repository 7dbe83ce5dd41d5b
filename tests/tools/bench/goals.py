"""What is measured and what is to be reached: one row for each goal.

Owns the order of the measurements, and the bounds. Absolute times move with the machine, ratios within one run hardly
do: a bound is a ratio where there is something to compare with.
"""

from __future__ import annotations

import statistics
from typing import Dict, List, NamedTuple, Optional, Tuple

from .meter import Figures

#: Client to module. The bare loop sends frames made beforehand and decodes nothing.
CLIENTS = {
    "bare": "bare_loop", "kazoo": "kazoo_client", "zkwire": "zkwire_threads", "asyncio": "zkwire_asyncio",
}  # fmt: skip
NAMES = {"bare": "bare socket loop", "kazoo": "kazoo", "zkwire": "zkwire", "asyncio": "zkwire, asyncio"}

#: Workload to the clients that do it.
RUNS: Dict[str, Tuple[str, ...]] = {
    "sequential": ("bare", "kazoo", "zkwire", "asyncio"),
    "pipelined": ("bare", "kazoo", "zkwire", "asyncio"),
    "batch": ("zkwire",),
    "creates": ("kazoo", "zkwire"),
    "children": ("kazoo", "zkwire"),
    "children_mixed": ("kazoo", "zkwire"),
    "multi": ("kazoo", "zkwire"),
    "threads": ("kazoo", "zkwire"),
    "watches": ("kazoo", "zkwire"),
    "rearm": ("zkwire", "asyncio"),
    "instances": ("kazoo", "zkwire"),
    "import": ("kazoo", "zkwire"),
}

#: Workload and figure to its unit.
UNITS = {
    ("sequential", "p50"): "us", ("sequential", "cpu"): "us",
    ("pipelined", "cpu"): "us", ("pipelined", "wall"): "us",
    ("batch", "cpu"): "us", ("batch", "wall"): "us",
    ("creates", "cpu"): "us", ("creates", "wall"): "us",
    ("children", "p50"): "ms", ("children", "cpu"): "ms",
    ("children_mixed", "p50"): "ms", ("children_mixed", "cpu"): "ms",
    ("multi", "p50"): "ms", ("multi", "cpu"): "ms",
    ("threads", "rate"): "1/s", ("threads", "cpu"): "us",
    ("watches", "set"): "us", ("watches", "event"): "us",
    ("rearm", "after_connect"): "ms", ("rearm", "after_cut"): "ms",
    ("instances", "load"): "ms", ("instances", "cpu"): "ms", ("instances", "change"): "ms",
    ("import", "time"): "ms", ("import", "memory"): "MB", ("import", "ready"): "ms", ("import", "ready_memory"): "MB",
}  # fmt: skip


class Goal(NamedTuple):
    """`figure` of `client` in `workload`, divided by that of `other` ("" for the figure itself), is to be at most `bound`.

    With `least` it is to be at least that. `instead` is the other's workload, if that is another one.
    """

    text: str
    workload: str
    figure: str
    client: str
    other: str
    bound: float
    least: bool = False
    instead: str = ""


GOALS = (
    Goal("get, one at a time: p50", "sequential", "p50", "zkwire", "bare", 1.10),
    Goal("get, one at a time: CPU", "sequential", "cpu", "zkwire", "bare", 1.8),
    Goal("get, 1000 in flight: CPU", "pipelined", "cpu", "zkwire", "kazoo", 0.13),
    Goal("get_many: CPU", "batch", "cpu", "zkwire", "kazoo", 0.10, instead="pipelined"),
    Goal("create, 1000 in flight: CPU", "creates", "cpu", "zkwire", "kazoo", 0.07),
    Goal("get_children of 10,000: CPU", "children", "cpu", "zkwire", "kazoo", 0.35),
    Goal("the same, names of unequal lengths: CPU", "children_mixed", "cpu", "zkwire", "kazoo", 0.35),
    Goal("multi of 1000 creates: CPU", "multi", "cpu", "zkwire", "kazoo", 0.20),
    Goal("8 threads of gets: operations per second", "threads", "rate", "zkwire", "kazoo", 3.0, least=True),
    Goal("data watch set: CPU", "watches", "set", "zkwire", "kazoo", 0.15),
    Goal("event delivered: CPU", "watches", "event", "zkwire", "kazoo", 0.15),
    Goal("10,000 watches set again, from the new connection on", "rearm", "after_connect", "zkwire", "", 40.0),
    Goal("the same, asyncio", "rearm", "after_connect", "asyncio", "", 40.0),
    Goal("10,000 instances: first load", "instances", "load", "zkwire", "kazoo", 0.45),
    Goal("10,000 instances: one registration to the full set", "instances", "change", "zkwire", "", 2.0),
    Goal("asyncio, get, one at a time: CPU", "sequential", "cpu", "asyncio", "bare", 2.6),
    Goal("asyncio, get, 1000 in flight: CPU", "pipelined", "cpu", "asyncio", "kazoo", 0.15),
    Goal("import: time", "import", "time", "zkwire", "kazoo", 0.55),
    Goal("import: memory", "import", "memory", "zkwire", "kazoo", 0.45),
)

#: Workload and client to the figures of each round.
Results = Dict[Tuple[str, str], List[Figures]]


class Spread(NamedTuple):
    """The median of some rounds, and the ends."""

    median: float
    least: float
    most: float


def spread(values: List[float]) -> Spread:
    """Of these values."""
    return Spread(statistics.median(values), min(values), max(values))


def outcome(goal: Goal, results: Results) -> Optional[Spread]:
    """The figure, or the ratio within each round; None if it was not measured."""
    ours = results.get((goal.workload, goal.client))
    if not ours:
        return None
    if not goal.other:
        return spread([figures[goal.figure] for figures in ours])
    theirs = results.get((goal.instead or goal.workload, goal.other))
    if not theirs:
        return None
    return spread([mine[goal.figure] / other[goal.figure] for mine, other in zip(ours, theirs)])


def reached(goal: Goal, found: Spread) -> bool:
    """Whether the median is as good as wanted."""
    return found.median >= goal.bound if goal.least else found.median <= goal.bound
