"""The gate: by tables, and by random histories against what its rules say."""

from __future__ import annotations

import random
from typing import Any, List, Optional, Tuple

import pytest

from zkdisco.health import Gate
from zkdisco.health.gate import PAUSED, UNCHECKED


def fed(gate: Gate, results: str) -> List[bool]:
    """Whether it is open after each result: `+` passed, `-` failed, `p` pause, `r` resume."""
    opened = []
    for number, result in enumerate(results):
        now = float(number)
        if result in "+-":
            gate.passed(now) if result == "+" else gate.failed(f"why {number}", now)
        else:
            gate.pause("by hand", now) if result == "p" else gate.resume(now)
        opened.append(gate.shut is None)
    return opened


@pytest.mark.parametrize("rise, fall, begin_open, results, opened", [
    (2, 3, False, "++", ".o"),
    (2, 3, False, "+-+-++", ".....o"),
    (1, 1, False, "+-+-", "o.o."),
    (2, 3, False, "++--+--+---", ".ooooooooo."),
    (2, 3, True, "---++", "oo..o"),
    (3, 1, True, "-++-+++", "......o"),
    (2, 2, True, "pr", ".o"),
    (2, 2, True, "p--r++", ".....o"),
    (2, 2, False, "p++r", "...o"),
    (2, 2, True, "p-r", "..o"),
])  # fmt: skip
def test_what_opens_and_shuts_it(rise: int, fall: int, begin_open: bool, results: str, opened: str) -> None:
    assert fed(Gate(rise, fall, begin_open=begin_open), results) == [one == "o" for one in opened]


def test_the_reason_is_the_cause() -> None:
    gate = Gate(2, 2)
    assert gate.shut == UNCHECKED and gate.since is None
    gate.failed("refused", 1.0)
    assert gate.shut == "refused"
    gate.passed(2.0)
    assert gate.shut == "refused", "one is not enough, and the last trouble was this"
    gate.passed(3.0)
    assert (gate.shut, gate.since) == (None, 3.0)
    gate.failed("slow", 4.0)
    assert gate.shut is None
    gate.failed("refused", 5.0)
    assert (gate.shut, gate.since) == ("refused", 5.0)
    gate.failed("no such host", 6.0)
    assert (gate.shut, gate.since) == ("no such host", 5.0), "another reason is no turn"
    gate.pause("", 7.0)
    assert (gate.shut, gate.failing, gate.paused, gate.since) == (PAUSED, "no such host", PAUSED, 5.0)
    gate.resume(8.0)
    assert (gate.shut, gate.paused) == ("no such host", None)


def test_who_observes_hears_of_each_change_of_the_reason_and_of_nothing_else() -> None:
    gate, heard = Gate(1, 2), []
    gate.observe(lambda: heard.append(gate.shut))
    for step in (lambda: gate.passed(1.0), lambda: gate.passed(2.0), lambda: gate.failed("a", 3.0), lambda: gate.failed("b", 4.0),
                 lambda: gate.failed("b", 5.0), lambda: gate.failed("c", 6.0), lambda: gate.pause("p", 7.0), lambda: gate.failed("d", 8.0),
                 lambda: gate.resume(9.0), lambda: gate.passed(10.0)):  # fmt: skip
        step()
    assert heard == [None, "b", "c", "p", "d", None]


def test_who_turns_it_while_it_tells_is_told_of_too() -> None:
    """As another thread may: the newest state is always told last."""
    gate, heard = Gate(1, 1), []

    def turned() -> None:
        heard.append(gate.shut)
        if len(heard) == 1:
            gate.pause("meanwhile", 1.0)

    gate.observe(turned)
    gate.passed(0.0)
    assert heard == [None, "meanwhile"]


@pytest.mark.parametrize("rise, fall", [(0, 1), (1, 0), (-1, 1), (True, 1), (1, 1.5), ("1", 1)])
def test_counts_that_are_none(rise: Any, fall: Any) -> None:
    with pytest.raises(ValueError, match="a number of checks, at least 1"):
        Gate(rise, fall)


def said(history: List[Tuple[str, str]], rise: int, fall: int, begin_open: bool) -> Optional[str]:
    """What the rules say of a history, told otherwise: by looking at runs of equal results."""
    paused, shut, run, last = None, None if begin_open else UNCHECKED, 0, ""
    for what, reason in history:
        if what == "pause":
            paused = reason
        elif what == "resume":
            paused = None
        else:
            run, last = (run + 1 if what == last else 1), what
            if what == "passed" and run >= rise:
                shut = None
            elif what == "failed" and (shut is not None or run >= fall):
                shut = reason
    return paused if paused is not None else shut


def test_random_histories() -> None:
    opened = 0
    for seed in range(300):
        rng = random.Random(seed)
        rise, fall, begin_open = rng.randint(1, 4), rng.randint(1, 4), rng.random() < 0.5
        gate, history = Gate(rise, fall, begin_open=begin_open), []
        for moment in range(100):
            what = rng.choices(["passed", "failed", "pause", "resume"], [5, 5, 1, 2])[0]
            reason = f"reason {rng.randrange(5)}"
            history.append((what, reason))
            {"passed": gate.passed, "resume": gate.resume}[what](float(moment)) if what in ("passed", "resume") else getattr(
                gate, what
            )(reason, float(moment))
            assert gate.shut == said(history, rise, fall, begin_open), (seed, history)
            opened += gate.shut is None
    assert 3000 < opened < 27000, "both are to be seen"
