"""Slopes of a soak, and what they are taken of; which rounds a run has; what a report says."""

from __future__ import annotations

import argparse
import os
from typing import Any, Dict, List

import pytest

from tests.tools.ensemble import __main__ as program
from tests.tools.ensemble import report
from tests.tools.ensemble.broken import BROKEN
from tests.tools.ensemble.checker import Violation
from tests.tools.ensemble.round import PROFILES, Happened, Plan, Result
from tests.tools.ensemble.soak import Sample, Samples, sample, slope


def test_a_slope_is_what_an_hour_adds() -> None:
    assert slope([(0, 5.0), (1800, 6.0), (3600, 7.0)]) == pytest.approx(2.0)
    assert slope([(0, 5.0)]) == 0.0


def test_a_sample_is_of_this_process() -> None:
    found = sample(os.getpid())
    descriptors = [os.dup(0) for _ in range(10)]
    more = sample(os.getpid())
    for descriptor in descriptors:
        os.close(descriptor)
    assert more.descriptors - found.descriptors == 10
    assert found.memory > 5000 and found.threads >= 1


@pytest.mark.parametrize("growing, grows", [
    ({}, []),
    ({"memory": 1.0}, ["memory by +3600.0 in an hour, more than 1024"]),
    ({"descriptors": 0.001}, ["descriptors by +3.6 in an hour, more than 1"]),
    ({"threads": 0.001}, ["threads by +3.6 in an hour, more than 1"]),
])  # fmt: skip
def test_what_grows_is_told(growing: Dict[str, float], grows: List[str]) -> None:
    samples = Samples()
    for at in range(0, 3000, 100):
        figures = {"memory": 20_000.0, "descriptors": 9.0, "threads": 4.0}
        samples._of["c01a"].append(Sample(at, **{what: value + growing.get(what, 0.0) * at for what, value in figures.items()}))
    lines, found = samples.lines()
    assert found == grows and len(lines) == 3


def test_few_samples_say_nothing() -> None:
    samples = Samples()
    for at in (0, 1, 2):
        samples._of["c01a"].append(Sample(at, 1000.0 * at, at, at))
    lines, grows = samples.lines()
    assert grows == [] and all("too few samples" in line for line in lines)


def options(**changed: Any) -> argparse.Namespace:
    """A command line."""
    usual = {"minutes": 0.0, "hours": 0.0, "rounds": 0, "seconds": 0.0, "seed": 5, "version": "3.9.3", "clients": 30, "profile": "",
             "wild": False, "broken": False, "no_broken": False}  # fmt: skip
    return argparse.Namespace(**{**usual, **changed})


def test_a_run_ends_with_broken_clients() -> None:
    judged, last = program.plans(options(), True)
    assert (judged.broken, judged.profile, judged.seed, judged.seconds) == (False, PROFILES[0], 5, 10.0)
    assert last.broken and last.clients == len(BROKEN) + 8 and last.seed == 6


def test_rounds_take_turns_in_the_kinds_of_ensembles() -> None:
    plans = list(program.plans(options(rounds=6, seconds=30.0), True))
    assert [plan.profile for plan in plans] == [*PROFILES, PROFILES[0]]
    assert [plan.seed for plan in plans] == [5, 6, 7, 8, 9, 10]
    assert not any(plan.broken for plan in plans)


def test_a_soak_has_rounds_of_an_hour() -> None:
    plan = next(iter(program.plans(options(hours=2.0), True)))
    assert plan.seconds == 3600 and plan.pace == program.SLOW_PACE


def test_a_profile_that_there_is_not() -> None:
    with pytest.raises(SystemExit, match="no profile 'x'; there are plain, TLS and SASL"):
        list(program.plans(options(profile="x"), True))


def result(**changed: Any) -> Result:
    """Of a round in which nothing was wrong."""
    plan = Plan("3.8.0", 1, 30.0, 8, PROFILES[0], wild=changed.pop("wild", False))
    usual = Result(plan, "a network", [Happened("a fault", 1.0, 2.0, 3.5, True)], 10, {"ok": 9, "maybe": 1}, 5, [], [],
                   {"a fault": [0.5, 1.5]}, {}, {}, "")  # fmt: skip
    return usual._replace(**changed)


WRONG = Violation("lost", "c01a", "what", 1.0)


@pytest.mark.parametrize("changed, code", [
    ({}, 0), ({"violations": [WRONG]}, 1), ({"servers": ["lost"]}, 0), ({"violations": [WRONG], "wild": True}, 0),
    ({"caught": {"hangs": []}}, 1), ({"caught": {"hangs": [WRONG]}}, 0),
])  # fmt: skip
def test_the_exit_status(changed: Dict[str, Any], code: int) -> None:
    assert program.verdict([result(**changed)], []) == code


def test_what_grows_is_wrong() -> None:
    assert program.verdict([result()], ["memory"]) == 1


def test_a_report() -> None:
    lines = report.of_round(1, result(violations=[WRONG], kept="/folder"))
    assert "1 faults, 10 operations (1 maybe, 9 ok), 5 transactions, 1 violations, 0 of the servers' own" in lines[0]
    assert lines[1:] == ["  VIOLATION lost: c01a what", "  histories, logs and data are kept in /folder"]
    table = report.of_all([result(caught={"hangs": [], "registers twice": [WRONG]})])
    assert "| a fault | 1 | 1.50 s, 1.50 s | 1.00 s, 1.50 s |" in table
    assert "| hangs | NOT FOUND |" in table and "| registers twice | 1 lost |" in table
    assert report.summary([result(), result(wild=True, violations=[WRONG])], 60.0).endswith("0 violations, 0 of the servers' own")
