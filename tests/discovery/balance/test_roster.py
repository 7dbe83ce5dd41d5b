"""What an `Endpoints` decides: one by one, and through random histories with rules, broken on purpose."""

from __future__ import annotations

import random
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from zkdisco.roster import FIRST_PAUSE, LONGEST_PAUSE, Endpoint, Roster

LOSS = ConnectionError("lost")


class Owner:
    """Makes and closes at once what a roster wants; the instances are the data as text."""

    def __init__(self, patience: Optional[float] = None) -> None:
        self.roster: Roster[str, str] = Roster(patience)
        self.now = 0.0
        self.failing: Dict[str, Exception] = {}
        self.made: List[str] = []
        self.open: List[Any] = []
        self.closed: List[Any] = []

    def see(self, nodes: Dict[str, str], trouble: Optional[Exception] = None, old: bool = False) -> Owner:
        self.roster.seen([(name, data.encode(), data) for name, data in sorted(nodes.items())], trouble, self.now, old)
        return self

    def work(self, most: int = 1000) -> Owner:
        for _ in range(most):
            self.close()
            job = self.roster.to_make(self.now)
            if job is None:
                break
            name, data, instance = job
            self.made.append(instance)
            if instance in self.failing:
                self.roster.failed(name, data, self.failing[instance], self.now)
            else:
                value = f"{name}/{instance}#{len(self.made)}"
                self.open.append(value)
                self.roster.made(name, data, value)
        self.close()
        return self

    def close(self) -> None:
        for endpoint in self.roster.to_close():
            self.closed.append(endpoint.value)
            self.open.remove(endpoint.value)

    def wait(self, seconds: float) -> Owner:
        self.now += seconds
        self.roster.timed_out(self.now)
        return self

    @property
    def values(self) -> List[str]:
        return [endpoint.value for endpoint in self.roster.endpoints()]


def test_one_is_made_for_each_node_once() -> None:
    owner = Owner().see({"a": "1", "b": "1"}).work()
    assert owner.values == ["a/1#1", "b/1#2"] and owner.roster.endpoints() is owner.roster.endpoints()
    before = owner.roster.endpoints()
    owner.see({"a": "1", "b": "1"}).work()
    assert owner.made == ["1", "1"] and all(one is other for one, other in zip(owner.roster.endpoints(), before))
    owner.see({"b": "1"})
    assert owner.values == ["b/1#2"] and owner.work().closed == ["a/1#1"]


def test_the_old_one_stays_until_the_one_with_new_data_stands() -> None:
    owner = Owner().see({"a": "1"}).work().see({"a": "2"})
    assert owner.values == ["a/1#1"]
    assert owner.work().values == ["a/2#2"] and owner.closed == ["a/1#1"]
    owner.see({"a": "3"}).see({"a": "4"})
    assert owner.values == ["a/2#2"] and owner.work().values == ["a/4#3"] and owner.open == ["a/4#3"]


def test_a_factory_that_fails_leaves_one_out_and_is_tried_again_ever_more_slowly() -> None:
    owner = Owner()
    owner.failing["2"] = OSError("refused")
    owner.see({"a": "1", "b": "2"}).work()
    assert owner.values == ["a/1#1"] and str(owner.roster.left_out()["b"]) == "refused"
    pauses = []
    for _ in range(9):
        at = owner.roster.deadline()
        assert at is not None
        pauses.append(at - owner.now)
        assert owner.work().roster.deadline() == at, "not before its time"
        owner.wait(at - owner.now).work()
    assert pauses[:3] == [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4] and pauses[-1] == LONGEST_PAUSE
    del owner.failing["2"]
    owner.wait(LONGEST_PAUSE).work()
    assert owner.values == ["a/1#1", "b/2#12"] and owner.roster.left_out() == {} and owner.roster.deadline() is None


def test_with_new_data_that_fails_the_old_one_goes() -> None:
    owner = Owner().see({"a": "1"}).work()
    owner.failing["2"] = OSError("refused")
    assert owner.see({"a": "2"}).work().values == [] and owner.closed == ["a/1#1"]


def test_under_trouble_all_stay_unless_there_is_an_end_to_patience() -> None:
    patient, other = Owner(), Owner(10.0)
    for owner in (patient, other):
        owner.see({"a": "1"}).work().see({"a": "1"}, LOSS, old=True)
        assert owner.wait(9.9).values == ["a/1#1"] and owner.roster.trouble is LOSS
        owner.see({"a": "1"}, LOSS, old=True).wait(0.1).work()
    assert patient.values == ["a/1#1"] and patient.roster.deadline() is None
    assert other.values == [] and other.open == [] and other.roster.deadline() is None
    assert other.see({"a": "1"}, LOSS, old=True).work().values == []
    assert other.see({"a": "1"}).work().values == ["a/1#2"]


def test_trouble_that_leaves_the_set_true_is_no_trouble() -> None:
    owner = Owner(10.0).see({"a": "1"}, LOSS).work().wait(100.0)
    assert owner.values == ["a/1#1"]


def test_what_is_not_wanted_any_more_is_closed_when_it_is_made() -> None:
    for later in ({"b": "1"}, {"a": "2"}):
        owner = Owner().see({"a": "1"})
        job = owner.roster.to_make(0.0)
        assert job == ("a", b"1", "1")
        owner.see(later)
        owner.roster.made("a", b"1", "late")
        assert [endpoint.value for endpoint in owner.roster.to_close()] == ["late"]
        assert owner.roster.failed("a", b"1", LOSS, 0.0) is False
        owner.roster.end()
        assert owner.roster.to_make(0.0) is None and owner.values == []


def test_the_same_error_is_no_news() -> None:
    roster: Roster[str, str] = Roster()
    roster.seen([("a", b"1", "1")], None, 0.0)
    assert [roster.failed("a", b"1", OSError(text), 0.0) for text in ("x", "x", "y")] == [True, False, True]


def test_an_endpoint_stands_for_itself() -> None:
    one, other = Endpoint([1], "x", "a"), Endpoint([1], "x", "a")
    assert one != other and len({one, other}) == 2 and (one.weight, one.zone) == (1.0, "")
    assert repr(one) == "Endpoint([1], 'x')"


# ----------------------------------------------------------------------------------- by simulation


def story(seed: int) -> None:
    """Nodes come, go and change; factories fail; trouble comes. Rules: one endpoint for each node, none twice, none lost."""
    rng = random.Random(seed)
    owner = Owner(rng.choice((None, 5.0)))
    nodes: Dict[str, str] = {}
    since: Optional[float] = None
    for _ in range(40):
        for _ in range(rng.randrange(4)):
            name = rng.choice("abcdef")
            if rng.random() < 0.4:
                nodes.pop(name, None)
            else:
                nodes[name] = str(rng.randrange(4))
        if rng.random() < 0.2:
            owner.failing = {data: LOSS for data in "0123" if rng.random() < 0.3}
        old = rng.random() < 0.3
        since = (owner.now if since is None else since) if old else None
        owner.see(nodes, LOSS if old else None, old).work(rng.randrange(5))
        shown = owner.roster.endpoints()
        assert len({endpoint.node for endpoint in shown}) == len(shown) and {endpoint.node for endpoint in shown} <= set(nodes), seed
        assert set(owner.values) <= set(owner.open), f"seed {seed}: shown {owner.values}, open {owner.open}"
        owner.wait(rng.choice((0.0, 1.0, 4.0)) * rng.random())
        if owner.roster.endpoints() and since is not None:
            assert owner.roster._patience is None or owner.now < since + 5.0, f"seed {seed}: too patient"
    owner.failing = {}
    owner.see(nodes).wait(LONGEST_PAUSE).work()
    found = [(endpoint.node, endpoint.instance) for endpoint in owner.roster.endpoints()]
    assert found == sorted(nodes.items()) and sorted(owner.values) == sorted(owner.open), f"seed {seed}: {found}, open {owner.open}"
    assert owner.roster.deadline() is None and len(set(owner.closed)) == len(owner.closed), seed
    owner.roster.end()
    assert owner.work().open == [], seed


def test_stories() -> None:
    for seed in range(200):
        story(seed)


Method = Callable[..., Any]


def keeps_the_old(roster: Any) -> Tuple[str, Method]:
    return "_leave", lambda self, place: None


def one_for_each_name(roster: Any) -> Tuple[str, Method]:
    seen = roster.seen
    return "seen", lambda self, nodes, *rest: seen(self, [(n, self._places[n].data if n in self._places else d, i) for n, d, i in nodes], *rest)


def is_never_impatient(roster: Any) -> Tuple[str, Method]:
    return "timed_out", lambda self, now: None


def gives_up(roster: Any) -> Tuple[str, Method]:
    failed = roster.failed
    return "failed", lambda self, name, data, error, now: failed(self, name, data, error, 1e9)


@pytest.mark.parametrize("mutant", [keeps_the_old, one_for_each_name, is_never_impatient, gives_up], ids=lambda one: one.__name__)
def test_the_stories_see_what_is_broken(mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Roster, *mutant(Roster))
    with pytest.raises(AssertionError):
        for seed in range(200):
            story(seed)
