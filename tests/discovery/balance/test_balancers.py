"""Balancers: who is chosen, how evenly, and what changes when endpoints do. Chance is seeded."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any, Callable, Dict, List

import pytest

from tests.kit.discovery.calling import Scene, chi_square, counts, limit, owners
from zkdisco.balance import (
    Balancer, ConsistentHash, Ejection, Endpoint, FixedEndpoints, LeastOutstanding, NoEndpointsError, RandomChoice,
    RoundRobin, TwoChoices, Weighted, ZoneFirst,
)  # fmt: skip


def zone_first(source: Any, **options: Any) -> ZoneFirst[Any, Any]:
    return ZoneFirst(source, "a", **options)


Make = Callable[..., Balancer[Any, Any]]
ALL: List[Make] = [RoundRobin, RandomChoice, Weighted, LeastOutstanding, TwoChoices, zone_first, ConsistentHash]
EVERY = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
EVEN = pytest.mark.parametrize("make", [make for make in ALL if make is not ConsistentHash], ids=lambda make: make.__name__)


# ----------------------------------------------------------------------------------- all of them


@EVERY
def test_without_endpoints_there_is_a_clear_error(make: Make) -> None:
    scene = Scene(0)
    balancer = make(scene)
    with pytest.raises(NoEndpointsError, match="none of 0 endpoints"):
        balancer.choose("key")
    scene.set([Endpoint("one", 1)])
    assert balancer.choose("key").value == 1, "an instance that is text has no weight and no zone"
    scene.set([])
    with pytest.raises(NoEndpointsError):
        balancer.choose("key")


@EVERY
def test_it_follows_its_source(make: Make) -> None:
    scene = Scene(5)
    balancer = make(scene)
    assert {balancer.choose(f"key {number}").value for number in range(300)} == {0, 1, 2, 3, 4}
    scene.without(0, 1, 2)
    assert {balancer.choose(f"key {number}").value for number in range(200)} == {3, 4}


@EVEN
@pytest.mark.parametrize("count", [2, 7])
def test_the_load_is_even(make: Make, count: int) -> None:
    found = counts(make(Scene(count)), 4000)
    assert chi_square([found[value] for value in range(count)], [4000 / count] * count) < limit(count)


@EVERY
def test_the_same_seed_gives_the_same_choices(make: Make) -> None:
    first, second = (make(Scene(7, seed=5)) for _ in range(2))
    assert [first.choose(str(n)).value for n in range(100)] == [second.choose(str(n)).value for n in range(100)]


@EVERY
def test_one_that_fails_is_left_out_and_comes_back(make: Make) -> None:
    scene = Scene(4)
    balancer = make(scene, ejection=Ejection(3, pause=10.0))
    bad = scene.endpoints()[1]
    for _ in range(3):
        balancer.report(bad, OSError("refused"), 0.01)
    assert balancer.ejected() == (bad,)
    for number in range(200):
        assert balancer.choose(f"key {number}") is not bad
    scene.hand.now += 10.0
    probes = [endpoint for endpoint in (balancer.choose(f"key {number}") for number in range(200)) if endpoint is bad]
    assert len(probes) == 1, "one call goes to it, until that is reported"
    balancer.report(bad, None, 0.01)
    assert balancer.ejected() == () and bad in [balancer.choose(f"key {number}") for number in range(400)]


@EVERY
def test_not_all_are_left_out(make: Make) -> None:
    scene = Scene(4)
    balancer = make(scene, ejection=Ejection(1))
    for endpoint in scene.endpoints():
        balancer.report(endpoint, OSError("refused"), 0.01)
    assert {balancer.choose(f"key {number}").value for number in range(300)} == {0, 1, 2, 3}


@EVERY
def test_many_threads_may_choose_while_endpoints_come_and_go(make: Make) -> None:
    scene, faults = Scene(20), []
    everyone, balancer = scene.endpoints(), make(scene)
    over = threading.Event()

    def use(number: int) -> None:
        try:
            for turn in range(400):
                with balancer.call(f"{number} {turn}") as endpoint:
                    assert endpoint in everyone
        except BaseException as error:
            faults.append(error)

    def change() -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            scene.set(everyone[turn % 10 :])

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    changer = threading.Thread(target=change)
    for thread in (changer, *threads):
        thread.start()
    for thread in threads:
        thread.join(25)
    over.set()
    changer.join(25)
    assert faults == [] and not any(thread.is_alive() for thread in threads)


def test_a_call_reports_what_becomes_of_it() -> None:
    scene = Scene(3)
    balancer = TwoChoices(scene, ejection=Ejection(1))
    with pytest.raises(OSError, match="refused"):
        with balancer.call() as endpoint:
            raise OSError("refused")
    assert balancer.ejected() == (endpoint,)
    other = RoundRobin(scene, ejection=Ejection(1))
    with pytest.raises(asyncio.CancelledError):
        with other.call():
            raise asyncio.CancelledError
    assert other.ejected() == (), "whoever gives up says nothing of the endpoint"
    slow = RoundRobin(scene, ejection=Ejection(1, slow=2.0))
    with slow.call() as endpoint:
        scene.hand.now += 2.1
    assert slow.ejected() == (endpoint,)


# ----------------------------------------------------------------------------------- each of them


def test_round_robin_is_one_after_the_other() -> None:
    balancer = RoundRobin(Scene(3))
    first = balancer.choose().value
    assert [balancer.choose().value for _ in range(6)] == [(first + n) % 3 for n in range(1, 7)]
    assert {RoundRobin(Scene(3, seed=seed)).choose().value for seed in range(30)} == {0, 1, 2}, "not all begin with the same"


def test_weights_are_kept_exactly_and_evenly() -> None:
    balancer = Weighted(Scene(3, weights=(5.0, 1.0, 2.0)))
    chosen = [balancer.choose().value for _ in range(800)]
    for start in range(0, 800, 8):
        found = Counter(chosen[start : start + 8])
        assert abs(found[0] - 5) <= 1 and abs(found[1] - 1) <= 1 and abs(found[2] - 2) <= 1, "in every eight calls"
    assert abs(Counter(chosen)[0] - 500) <= 1
    assert max(len(run) for run in "".join(map(str, chosen)).replace("1", " ").replace("2", " ").split()) <= 4


def test_weights_are_kept_when_others_come_and_go() -> None:
    scene = Scene(40, weights=(1.0, 3.0))
    everyone, balancer, found = scene.endpoints(), Weighted(scene), Counter[float]()
    for turn in range(400):
        scene.set(everyone[turn % 2 * 2 :])
        for _ in range(50):
            endpoint = balancer.choose()
            found[endpoint.weight] += 1
    assert found[3.0] / found[1.0] == pytest.approx(3.0, rel=0.05)


def test_weight_zero_takes_no_call() -> None:
    for make in (Weighted, ConsistentHash):
        scene = Scene(2, weights=(0.0, 1.0))
        balancer: Balancer[Any, Any] = make(scene)
        assert {balancer.choose(str(n)).value for n in range(50)} == {1}
        scene.without(1)
        with pytest.raises(NoEndpointsError, match="none of 1 endpoints takes a call"):
            balancer.choose("key")


def test_the_least_busy_is_next() -> None:
    scene = Scene(3)
    balancer = LeastOutstanding(scene)
    a, b, c = (balancer.choose() for _ in range(3))
    assert {a.value, b.value, c.value} == {0, 1, 2}
    balancer.report(b, None, 0.1)
    assert balancer.choose() is b
    balancer.report(a, None, 0.1)
    balancer.report(c, None, 0.1)
    assert balancer.choose() is a and balancer.choose() is c, "who has waited longer"
    for _ in range(3):
        balancer.report(b, None, 0.1)
    assert balancer.choose() is b and balancer.choose() in (a, b, c), "reported too often: it has no calls, not less"


def test_a_slow_one_gets_fewer_calls() -> None:
    """One of four takes ten times as long. Under ten calls at a time, the others are not kept waiting for it."""
    shares: Dict[str, float] = {}
    for make in (RoundRobin, LeastOutstanding, TwoChoices):
        balancer: Balancer[Any, Any] = make(Scene(4))
        busy: List[Any] = []  # (end, number, endpoint)
        found = Counter[int]()
        for number in range(3000):
            if len(busy) >= 10:
                busy.sort(key=lambda one: one[:2])
                now, _, done = busy.pop(0)
                balancer.report(done, None, 1.0)
            else:
                now = 0.0
            endpoint = balancer.choose()
            found[endpoint.value] += 1
            busy.append((now + (10.0 if endpoint.value == 0 else 1.0), number, endpoint))
        shares[make.__name__] = found[0] / 3000
    assert shares["RoundRobin"] == pytest.approx(0.25, abs=0.01)
    assert shares["LeastOutstanding"] < 0.12 and shares["TwoChoices"] < 0.15


def test_two_choices_are_two() -> None:
    scene = Scene(2)
    balancer = TwoChoices(scene)
    first = balancer.choose()
    assert balancer.choose() is not first, "of two, it is always the idle one"


@pytest.mark.parametrize("zones, kept", [("ab", 1.0), ("aab", 1.0), ("abbb", 0.5), ("abbcc", 0.6), ("bc", 0.0), ("a", 1.0)])
def test_our_zone_comes_first_as_far_as_it_is_enough(zones: str, kept: float) -> None:
    scene = Scene(len(zones) * 4, zones=zones)
    found = Counter[str]()
    balancer = ZoneFirst(scene, "a")
    for _ in range(6000):
        found[balancer.choose().zone] += 1
    assert found["a"] / 6000 == pytest.approx(kept, abs=0.03)


def test_with_clients_in_all_zones_all_endpoints_get_the_same() -> None:
    scene = Scene(30, zones="abbbcccccc")
    found = Counter[int]()
    for zone in "abc":
        balancer = ZoneFirst(scene, zone)
        for _ in range(10_000):
            found[balancer.choose().value] += 1
    assert max(found.values()) / 1000 < 1.15 and min(found.values()) / 1000 > 0.85
    half = ZoneFirst(scene, "a", share=0.1)
    assert {half.choose().zone for _ in range(300)} == {"a"}, "a tenth of the clients, a tenth of the endpoints"


def test_a_key_stays_where_it_is() -> None:
    scene = Scene(10)
    balancer = ConsistentHash(scene)
    before = owners(balancer, 2000)
    assert owners(balancer, 2000) == before and balancer.choose(b"key 7") is before["key 7"]
    gone = scene.endpoints()[3]
    scene.without(3)
    after = owners(balancer, 2000)
    assert [key for key in before if before[key] is not after[key]] == [key for key in before if before[key] is gone]
    scene.set([*scene.endpoints(), gone])
    assert owners(balancer, 2000) == before


def test_all_processes_agree_on_the_owner() -> None:
    """The places are those of BLAKE2b, whatever the seed of Python's hashes, the order or the client."""
    scene = Scene(5)
    balancer = ConsistentHash(scene)
    found = [balancer.choose(f"key {number}").value for number in range(12)]
    scene.set(reversed(scene.endpoints()))
    assert [balancer.choose(f"key {number}").value for number in range(12)] == found == KNOWN


#: On every interpreter and every machine.
KNOWN = [2, 2, 3, 1, 3, 2, 0, 1, 2, 2, 0, 4]


def test_equal_names_share_their_keys() -> None:
    scene = FixedEndpoints([("a", 1), ("a", 2), ("b", 3)], random=lambda: 0.0, clock=lambda: 0.0)
    balancer = ConsistentHash(scene)
    before = {n: balancer.choose(str(n)).value for n in range(100)}
    assert set(before.values()) == {1, 3}
    scene.set(scene.endpoints()[1:])
    after = {n: balancer.choose(str(n)).value for n in range(100)}
    assert all((before[n], after[n]) in ((1, 2), (3, 3)) for n in range(100)), "the other one takes over"


@pytest.mark.parametrize("key", [None, 3, bytearray(b"x")])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(TypeError, match="a key is a str or bytes"):
        ConsistentHash(Scene(2)).choose(key)


@pytest.mark.parametrize("make, options", [
    (ConsistentHash, {"points": 0}), (ConsistentHash, {"points": True}), (zone_first, {"share": 1.1}),
])  # fmt: skip
def test_what_can_be_no_balancer(make: Make, options: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"invalid {next(iter(options))}"):
        make(Scene(1), **options)
