"""Runs seeds: one, with its failure if it has one; and makes failing schedules shorter.

Owns replay. Must not know what a step does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

from .rules import Violation
from .schedule import Step, make
from .world import World


@dataclass
class Failure:
    """A seed that fails, and how."""

    seed: int
    steps: int
    rule: str
    text: str
    #: Whether the servers were an ensemble because that was asked for, or were not; None is as the seed says.
    ensemble: Optional[bool] = None

    def __str__(self) -> str:
        forced = "" if self.ensemble is None else f" --servers {'ensemble' if self.ensemble else 'one'}"
        again = f"python -m tests.tools.simulation --seed {self.seed} --steps {self.steps}{forced} --shrink"
        return f"SEED {self.seed} FAILS: {self.text}\n  again: {again}"


@dataclass
class Totals:
    """What has happened, in numbers."""

    counts: Dict[str, int] = field(default_factory=dict)

    def add(self, other: Totals) -> None:
        """Sum up."""
        for name, count in other.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counts.items())


def run_steps(seed: int, steps: Sequence[Step], ensemble: Optional[bool] = None) -> Tuple[Optional[Violation], Totals]:
    """Carry out a schedule in the surroundings of a seed."""
    world = World(seed, ensemble)
    violation = None
    try:
        world.run(steps)
    except Violation as error:
        violation = error
    except Exception as error:  # whatever escapes a core is a bug of its own
        violation = Violation("crash", repr(error))
        violation.__cause__ = error
    counts = {
        "requests": world.ledger.frames, "writes applied": world.ledger.applications, "faults": world.faults,
        "connects": sum(client.reconnects for client in world.clients),
        "sets shown": sum(party.shown for party in (*world.instancers, *world.left)), "words of discovery": len(world.trail),
        **world.server.counts,
    }  # fmt: skip
    return violation, Totals(counts)


def run_seed(seed: int, steps: int, ensemble: Optional[bool] = None) -> Tuple[Optional[Failure], Totals]:
    """One seed; whether its servers are an ensemble is up to the seed, unless `ensemble` says so."""
    violation, totals = run_steps(seed, make(seed, steps, ensemble), ensemble)
    return (Failure(seed, steps, violation.rule, str(violation), ensemble) if violation is not None else None), totals


def shrink(failure: Failure, budget: int = 400) -> List[Step]:
    """Fewer steps that break the same rule: ever smaller pieces are left out while that works."""
    steps = make(failure.seed, failure.steps, failure.ensemble)
    size = len(steps) // 2
    while size and budget > 0:
        at = 0
        while at < len(steps) and budget > 0:
            rest = steps[:at] + steps[at + size :]
            budget -= 1
            violation, _ = run_steps(failure.seed, rest, failure.ensemble)
            if violation is not None and violation.rule == failure.rule:
                steps = rest
            else:
                at += size
        size //= 2
    return steps
