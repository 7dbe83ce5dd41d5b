"""A fixed small budget of the simulation, and proof that it can see; `make simulate` runs as much as you like."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, catch
from tests.simulation.rules import Violation
from tests.simulation.run import Failure, run_seed, run_steps, shrink
from tests.simulation.schedule import make

#: Bugs that take more seeds than a test has time for: `python -m tests.simulation --mutants --seeds 400` shows them.
RARE = {"relative_zxid_read_live", "read_succeeds_without_its_watch"}
#: Seeds that found bugs of ours: answers and events in the same bytes as, and behind, the refusal to set watches again.
FOUND = (13, 30, 32, 47, 48, 101, 171, 437, 581)


@pytest.mark.parametrize("first", range(1, 61, 10))
def test_no_violations(first: int) -> None:
    for seed in range(first, first + 10):
        failure, _ = run_seed(seed, 250)
        assert failure is None, str(failure)


@pytest.mark.parametrize("seed", FOUND)
def test_seeds_that_found_bugs(seed: int) -> None:
    failure, _ = run_seed(seed, 500)
    assert failure is None, str(failure)


def test_a_seed_repeats() -> None:
    runs = [run_steps(7, make(7, 200))[1].counts for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0]["requests"] > 50


@pytest.mark.parametrize("name", sorted(set(MUTANTS) - RARE))
def test_a_known_bug_is_seen(name: str) -> None:
    failure = catch(name, 60, 250)
    assert failure is not None, f"{name} was not seen"
    assert failure.rule != "crash", failure.text


def test_a_failure_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: object, now: float) -> None:
        raise Violation("I0", "a restart")

    monkeypatch.setattr("zkwire.embedded.core.ServerCore.restart", wrong)
    steps = next(s for s in (make(seed, 200) for seed in range(1, 50)) if any(step.kind == "restart" for step in s))
    seed = next(seed for seed in range(1, 50) if make(seed, 200) == steps)
    found = shrink(Failure(seed, 200, "I0", "a restart"))
    assert [step.kind for step in found] in (["restart"], ["down"], ["read_only"])
