"""What came out, as Markdown: goals and ratios first, then every figure.

Owns the words of docs/benchmark.md. Must not know how anything was measured.
"""

from __future__ import annotations

from typing import Iterable, List, Sequence

from .goals import GOALS, NAMES, UNITS, Goal, Results, Spread, outcome, reached, spread

HEAD = """\
# Benchmark

zkwire and zkdisco beside kazoo 2.11.0 and a bare socket loop, which sends frames made beforehand and decodes nothing: the
best that Python can do. Written by `make bench`, which draws [the picture](benchmark.svg) as well.

![CPU time relative to kazoo](benchmark.svg)

{about}

Each measurement is a process of its own, and the clients take turns in every round. Absolute times move with the machine;
ratios within one run hardly do. So a goal is a ratio wherever there is something to compare with: the median over the
rounds of the ratio within a round, with the smallest and the largest. CPU is user and system time of the whole process.
"""

NOTES = """\
- A watch is set again after a lost connection by zkwire alone: kazoo's users read everything again. It is measured from the
  `connect` system call on, so that the pause before it does not count.
- For discovery kazoo runs a pipelined difference written by hand, which is better than what most of its users write.
- Import: a new process, bytecode compiled before; `ready` is the CPU time of import, connection and first answer together.

To repeat it: `make bench` on a machine that does nothing else, with Python 3.9 or newer. It fetches kazoo and a ZooKeeper
server (and Java, if there is none), and takes about five minutes. `make bench ARGS="--only sequential --rounds 3"` measures
one workload and writes no files. What needs no quiet machine is `make bench-check`: system calls, Python calls, bytecodes
and memory of an operation.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(text)


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(found: Spread) -> str:
    return f"{number(found.median)} ({number(found.least)} to {number(found.most)})"


def _goal(goal: Goal, results: Results) -> List[str]:
    found = outcome(goal, results)
    assert found is not None
    unit = f"of {NAMES[goal.other]}" if goal.other else UNITS[goal.workload, goal.figure]
    sign = ">=" if goal.least else "<="
    return [
        goal.text, _spread(found), unit, f"{sign} {number(goal.bound)}", "yes" if reached(goal, found) else "**no**",
    ]  # fmt: skip


def goals(results: Results) -> str:
    """The goals that were measured."""
    rows = [_goal(goal, results) for goal in GOALS if outcome(goal, results) is not None]
    return table(("workload", "zkwire", "", "goal", "reached"), rows)


def figures(results: Results) -> str:
    """Every figure."""
    rows = []
    for (workload, client), rounds in results.items():
        for name in rounds[0]:
            found = spread([one[name] for one in rounds])
            unit = UNITS[workload, name]
            rows.append((workload, name, NAMES[client], *(number(value) for value in found), unit))
    return table(("workload", "figure", "client", "median", "min", "max", "unit"), rows)


def markdown(results: Results, about: str) -> str:
    """The whole page."""
    return "\n".join([HEAD.format(about=about), goals(results), "", "## All figures", "", figures(results), "", NOTES])
