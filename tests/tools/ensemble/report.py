"""What came of the rounds, as text: each round in a few lines, and at the end tables for all."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from typing import Any, Dict, List, Sequence

#: Violations that are shown of each round.
SHOWN = 20


def of_round(number: int, result: Any) -> List[str]:
    """The lines of one round."""
    plan = result.plan
    kind = "broken clients among them" if plan.broken else "wild" if plan.wild else "judged"
    lines = [
        f"round {number}: {plan.version}, {plan.profile.name}, {plan.clients} clients ({kind}), seed {plan.seed}: {len(result.faults)} faults, "
        f"{result.operations} operations ({_counted(result.outcomes)}), {result.transactions} transactions, "
        f"{len(result.violations)} violations, {len(result.servers)} of the servers' own"
    ]
    lines += [f"  VIOLATION {v.rule}: {v.client} {v.text}" for v in result.violations[:SHOWN]]
    lines += [f"  of the servers: {what}" for what in result.servers[:SHOWN]]
    if result.kept:
        lines.append(f"  histories, logs and data are kept in {result.kept}")
    return lines


def of_all(results: Sequence[Any]) -> List[str]:
    """Faults and recovery times of all rounds, and the broken clients."""
    held: Dict[str, List[float]] = defaultdict(list)
    back: Dict[str, List[float]] = defaultdict(list)
    for result in results:
        for fault in result.faults:
            held[fault.name].append(fault.well - fault.ended)
        for name, times in result.recoveries.items():
            back[name] += times
    lines = ["", "| fault | times | all servers serve again: median, most | a client has an answer again: median, most |", "|---|---|---|---|"]
    lines += [f"| {name} | {len(held[name])} | {_times(held[name])} | {_times(back[name])} |" for name in sorted(held)]
    every = [time for times in back.values() for time in times]
    lines += [f"| all | {sum(map(len, held.values()))} | {_times([t for times in held.values() for t in times])} | {_times(every)} |"]
    caught: Dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        for kind, found in result.caught.items():
            caught[kind].update(v.rule for v in found)
    if caught:
        lines += ["", "| broken client | found by |", "|---|---|"]
        lines += [f"| {kind} | {_counted(counts) or 'NOT FOUND'} |" for kind, counts in caught.items()]
    return lines


def summary(results: Sequence[Any], seconds: float) -> str:
    """One line for all."""
    judged = [result for result in results if not result.plan.wild]
    outcomes: Counter[str] = Counter()
    for result in results:
        outcomes.update(result.outcomes)
    parts = [
        f"{len(results)} rounds in {seconds:.0f} s on {results[0].network}: {sum(len(r.faults) for r in results)} faults",
        f"{sum(r.operations for r in results)} operations ({_counted(outcomes)})",
        f"{sum(r.transactions for r in results)} transactions",
        f"{sum(len(r.violations) for r in judged)} violations",
        f"{sum(len(r.servers) for r in judged)} of the servers' own",
    ]
    return ", ".join(parts)


def _counted(counts: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _times(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.2f} s, {max(times):.2f} s" if times else ""
