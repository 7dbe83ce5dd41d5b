"""Who is left out because calls have failed: by itself, and through random histories with rules."""

from __future__ import annotations

import random
from typing import Any, Dict, List

import pytest

from zkdisco.balance import Ejection

NOBODY: Any = OSError("refused")


def half() -> float:
    return 0.5


def failed(ejection: Ejection, endpoint: str, now: float, times: int = 1) -> None:
    for _ in range(times):
        ejection.report(endpoint, OSError("refused"), 0.1, now, lambda: 0.0)


def test_failures_in_a_row() -> None:
    ejection = Ejection(3, pause=10.0)
    failed(ejection, "a", 0.0, 2)
    assert ejection.report("a", None, 0.1, 0.0, half) is False and ejection.live(tuple("abc"), 0.0) == tuple("abc")
    failed(ejection, "a", 1.0, 3)
    assert ejection.live(tuple("abc"), 1.0) == tuple("bc") and ejection.deadline(1.0) == 11.0
    assert ejection.live(tuple("abc"), 11.0) == tuple("abc")


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    ejection, now, pauses = Ejection(1, pause=10.0, longest=35.0), 0.0, []
    failed(ejection, "a", now)
    for _ in range(4):
        at = ejection.deadline(now)
        assert at is not None
        pauses.append(at - now)
        now = at
        assert ejection.chosen("a", now) is True and ejection.live(tuple("abc"), now) == tuple("bc")
        failed(ejection, "a", now)
    assert pauses == [10.0, 20.0, 35.0, 35.0]


def test_part_of_the_pause_is_random() -> None:
    ejection = Ejection(1, pause=10.0)
    ejection.report("a", NOBODY, 0.1, 0.0, half)
    assert ejection.deadline(0.0) == 7.5


def test_a_probe_of_which_nothing_is_heard_is_taken_for_lost() -> None:
    ejection = Ejection(1, pause=10.0)
    failed(ejection, "a", 0.0)
    ejection.chosen("a", 12.0)
    assert ejection.live(tuple("abc"), 21.9) == tuple("bc") and ejection.deadline(12.0) == 22.0
    assert ejection.live(tuple("abc"), 22.0) == tuple("abc") and ejection.chosen("a", 22.0) is True


def test_a_probe_that_is_given_up_leaves_room_for_another() -> None:
    ejection = Ejection(1, pause=10.0)
    failed(ejection, "a", 0.0)
    ejection.chosen("a", 10.0)
    assert ejection.report("a", KeyboardInterrupt(), 0.1, 10.0, half) is True
    assert ejection.live(tuple("abc"), 10.0) == tuple("abc")


def test_what_was_called_before_it_was_put_out_is_no_probe() -> None:
    ejection = Ejection(2, pause=10.0)
    failed(ejection, "a", 0.0, 5)
    assert ejection.deadline(0.0) == 10.0, "later failures of the same trouble make it no longer"
    assert ejection.report("a", None, 0.1, 1.0, half) is False and ejection.live(tuple("abc"), 1.0) == tuple("bc")


def test_more_than_the_share_is_nobody() -> None:
    ejection = Ejection(1)
    failed(ejection, "a", 0.0)
    failed(ejection, "b", 0.0)
    assert ejection.live(tuple("abcd"), 0.0) == tuple("cd")
    failed(ejection, "c", 0.0)
    everyone = tuple("abcd")
    assert ejection.live(everyone, 0.0) is everyone
    assert ejection.live(("a",), 0.0) == ("a",)
    assert Ejection(0).report("a", NOBODY, 0.1, 0.0, half) is False


def test_failures_of_long_ago_do_not_count() -> None:
    ejection = Ejection(2, window=30.0)
    failed(ejection, "a", 0.0)
    failed(ejection, "a", 31.0)
    assert ejection.live(tuple("ab"), 31.0) == tuple("ab")
    failed(ejection, "a", 60.0)
    assert ejection.live(tuple("ab"), 60.0) == ("b",)


def test_each_balancer_needs_its_own() -> None:
    ejection = Ejection().take()
    with pytest.raises(ValueError, match="needs its own"):
        ejection.take()


def test_who_is_gone_is_forgotten() -> None:
    ejection = Ejection(1)
    failed(ejection, "a", 0.0)
    ejection.keep(("b", "c"))
    assert ejection.live(tuple("abc"), 0.0) == tuple("abc")


@pytest.mark.parametrize("options", [
    {"threshold": -1}, {"threshold": True}, {"share": 1.0}, {"pause": 0}, {"longest": float("inf")}, {"window": -1}, {"slow": 0},
])  # fmt: skip
def test_what_can_be_no_ejection(options: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"invalid {next(iter(options))}"):
        Ejection(**options)


# ----------------------------------------------------------------------------------- by simulation


def story(seed: int) -> None:
    """Endpoints that fail for a while; the rules: some are always live, the good never go, the bad come back once well."""
    rng = random.Random(seed)
    everyone = tuple(f"e{n}" for n in range(rng.choice((1, 2, 5, 12))))
    ejection, now = Ejection(rng.choice((1, 3)), pause=2.0, longest=16.0), 0.0
    bad = set(rng.sample(everyone, rng.randrange(len(everyone) + 1)))
    waiting: List[str] = []
    for step in range(400):
        now += rng.random() * 0.2
        if step == 250:
            bad.clear()
        live = ejection.live(everyone, now)
        assert len(live) >= len(everyone) / 2, f"seed {seed}: {live} of {everyone}"
        assert set(everyone) - set(live) <= bad or step >= 250, f"seed {seed}: {live} are live, {bad} are bad"
        one = rng.choice(live)
        ejection.chosen(one, now)
        waiting.append(one)
        if rng.random() < 0.9:
            done = waiting.pop(rng.randrange(len(waiting)))
            ejection.report(done, OSError() if done in bad else None, 0.1, now, rng.random)
    now += 40.0
    for one in everyone:
        ejection.chosen(one, now)
        ejection.report(one, None, 0.1, now, rng.random)
    assert ejection.live(everyone, now) == everyone and ejection.deadline(now) is None, f"seed {seed}"


def test_stories() -> None:
    for seed in range(60):
        story(seed)


@pytest.mark.parametrize("name, value", [
    ("live", lambda self, endpoints, now: tuple(e for e in endpoints if e not in self._records or not self._records[e].is_out(now))),
    ("_succeeded", lambda self, endpoint, record, now: False),
    ("keep", None),
])  # fmt: skip
def test_the_stories_see_what_is_broken(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without panic; a success that changes nothing; failures that are never another's."""
    if name == "keep":
        report = Ejection.report
        name, value = "report", lambda self, one, error, *rest: report(self, one, OSError(), *rest)
    monkeypatch.setattr(Ejection, name, value)
    with pytest.raises(AssertionError):
        for seed in range(60):
            story(seed)
