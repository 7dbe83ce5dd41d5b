"""Which sets really existed: batches of events, and the answers between them."""

from __future__ import annotations

import random
from typing import Any, Dict, List, Optional, Tuple

import pytest

from tests.kit.catalogue import fault
from zkdisco.values import Node
from zkdisco.timeline import GONE, LIST, Timeline
from zkwire import Stat

STAT = Stat(*[0] * 11)


def held(text: str) -> Node:
    return Node("", text.encode(), STAT)


def loaded(**values: str) -> Timeline:
    """One that has shown this."""
    timeline = Timeline(0.0)
    for name, value in values.items():
        timeline.known(name, held(value), 0.0)
    timeline.known(LIST, None, 0.0)
    assert timeline.answered()
    return timeline


def test_nothing_is_whole_before_the_list_is_known() -> None:
    timeline = Timeline(3.0)
    assert timeline.behind_since == 3.0 and not timeline.answered()
    timeline.changed("a", 4.0)
    timeline.known(LIST, None, 4.0)
    assert not timeline.answered()
    timeline.read("a", held("1"), 5.0)
    assert timeline.answered() and timeline.replica.instances() == ("1",) and timeline.behind_since is None


@fault("Y01")
def test_a_batch_is_shown_though_newer_ones_wait() -> None:
    timeline = loaded(a="1", b="1")
    timeline.changed("a", 1.0)
    assert not timeline.answered()  # of something else
    timeline.changed("b", 2.0)
    timeline.read("a", held("2"), 3.0)
    assert timeline.answered() and timeline.replica.instances() == ("1", "2"), "as it was before b changed"
    assert timeline.behind_since == 2.0 and not timeline.missed()
    timeline.read("b", held("3"), 4.0)
    assert timeline.answered() and timeline.replica.instances() == ("2", "3")


@fault("Y01")
def test_restless_is_what_has_changed_more_than_once_since_the_newest_whole_set() -> None:
    """Found by simulation, seed 3175: sweeps read only what was missed, and what was not spoiled eight of them in a row."""
    timeline = loaded(a="1", b="1", c="1")
    timeline.changed("a", 1.0)
    timeline.changed("b", 1.0)
    timeline.read("b", held("2"), 2.0)
    assert not timeline.answered() and timeline.restless() == set()
    timeline.changed("b", 2.0)
    timeline.known("c", GONE, 2.0)
    timeline.changed("c", 2.0)
    assert timeline.restless() == {"b", "c"} and timeline.missed() == set()
    for name in "abc":
        timeline.read(name, held("3"), 3.0)
    assert timeline.answered() and timeline.replica.instances() == ("3", "3", "3")
    assert timeline.restless() == set()


def test_what_came_in_one_batch_is_shown_in_one_go() -> None:
    timeline = loaded(old="1", other="2")
    timeline.known("old", GONE, 1.0)
    timeline.changed("new", 1.0)
    assert not timeline.answered() and timeline.replica.instances() == ("1", "2")
    timeline.read("new", held("3"), 2.0)
    assert timeline.answered() and timeline.replica.instances() == ("2", "3")


@fault("Y01")
def test_a_node_that_changes_before_its_answer_is_known_only_from_the_newest_change_on() -> None:
    timeline = loaded(a="1", b="1")
    timeline.changed("a", 1.0)
    timeline.answered()
    timeline.changed("b", 1.5)
    timeline.answered()
    timeline.changed("a", 2.0)
    timeline.read("a", held("3"), 2.5)
    assert not timeline.answered() and timeline.missed() == {"a"}, "b's value is not known yet"
    timeline.read("b", held("2"), 3.0)
    assert timeline.answered() and timeline.replica.instances() == ("2", "3") and not timeline.missed()


@fault("Y01")
def test_two_that_change_between_all_answers_are_never_known_together_and_are_named() -> None:
    timeline = loaded(a="1", b="1")
    timeline.changed("a", 1.0)
    timeline.changed("b", 1.0)
    for number in range(40):
        read = "ab"[number % 2]
        timeline.read(read, held(f"{read}{number}"), 2.0 + number)
        assert not timeline.answered()
        timeline.changed("a", 2.5 + number)
        timeline.changed("b", 2.5 + number)
    assert timeline.missed() == {"a", "b"} and timeline.behind_since == 1.0
    timeline.read("a", held("a"), 51.0)
    assert not timeline.answered()
    timeline.read("b", held("b"), 51.0)  # no change comes in between, as in a sweep
    assert timeline.answered() and timeline.replica.instances() == ("a", "b") and not timeline.missed()


def history(seed: int) -> None:
    """Random changes and answers of three nodes: every set shown is one the directory had, none older than the one before."""
    rng = random.Random(seed)
    truth: Dict[str, Optional[int]] = {"a": 0, "b": 0, "c": 0}
    timeline = loaded(a="0", b="0", c="0")
    instants: List[Tuple[str, ...]] = [("0", "0", "0")]
    waiting: List[str] = []
    at = 0
    for number in range(1, 80):
        if rng.random() < 0.6:
            for name in rng.sample(sorted(truth), rng.choice((1, 1, 2))):  # one transaction
                truth[name] = None if rng.random() < 0.2 else number
                if truth[name] is None:
                    timeline.known(name, GONE, number)
                else:
                    timeline.changed(name, number)
                    if name not in waiting:
                        waiting.append(name)
            instants.append(tuple(sorted(str(value) for value in truth.values() if value is not None)))
        elif waiting:
            name = waiting.pop(0)
            if timeline.waits(name):
                timeline.read(name, held(str(truth[name])), number)
            if timeline.answered():
                at = instants.index(timeline.replica.instances(), at)
    while waiting:
        name = waiting.pop(0)
        if timeline.waits(name):
            timeline.read(name, held(str(truth[name])), 99)
        timeline.answered()
    timeline.answered()
    assert timeline.replica.instances() == instants[-1] and timeline.behind_since is None


@pytest.mark.long
@pytest.mark.once
def test_random_histories_show_only_what_was() -> None:
    for seed in range(2000):
        try:
            history(seed)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_ten_thousand_answers_cost_no_more_each_than_ten() -> None:
    """Counted in the steps that are taken, not in time: each change is appended once and shown once."""
    timeline = loaded()
    counted: Any = []
    put = timeline.replica.put
    timeline.replica.put = lambda *a: (counted.append(1), put(*a))[1]  # type: ignore[method-assign, func-returns-value]
    for number in range(10_000):
        timeline.changed(f"n{number}", 1.0)
    for number in range(10_000):
        timeline.read(f"n{number}", held("1"), 1.0)
        assert timeline.answered() is (number == 9_999)
    assert len(counted) == 10_000


def test_a_name_in_the_list_may_be_another_node_once_the_list_has_changed() -> None:
    """Found by simulation, seed 228 of 500 steps, before 3.6: a node made again was shown beside what was there before."""
    timeline = Timeline(0.0)
    timeline.known(LIST, None, 0.0)
    timeline.answered()
    timeline.changed(LIST, 1.0)
    assert not timeline.answered(), "the list is being read"
    timeline.changed("a", 1.0)
    timeline.known(LIST, None, 1.0)
    timeline.answered()
    assert timeline.listed_once("a")
    timeline.changed("b", 2.0)
    assert timeline.listed_once("a")
    timeline.changed(LIST, 2.0)
    assert not timeline.listed_once("a"), "it may have been deleted, and made again"
    timeline.known(LIST, None, 2.0)
    assert not timeline.listed_once("a"), "the new list names it, whichever it is"
