"""How even balancers are, what a change disturbs, and what a choice costs: `python -m tests.tools.balance`.

All but the costs is seeded: the same numbers each time. Chi-square is for n endpoints about n-1, and above its limit
once in 100,000 runs if the calls are spread by chance alone; a balancer that goes in turns is far below.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from tests.kit.discovery.calling import Scene, chi_square, counts, limit, owners
from zkdisco.balance import (
    Balancer, ConsistentHash, LeastOutstanding, RandomChoice, RoundRobin, TwoChoices, Weighted, ZoneFirst,
)  # fmt: skip

Make = Callable[[Any], Balancer[Any, Any]]
MAKERS: Dict[str, Make] = {
    "round robin": RoundRobin, "random": RandomChoice, "weighted": Weighted, "least outstanding": LeastOutstanding,
    "two choices": TwoChoices, "zone first": lambda source: ZoneFirst(source, "a"), "consistent hash": ConsistentHash,
}  # fmt: skip


class Evenness(NamedTuple):
    """How calls were spread: chi-square and its limit, and the most loaded endpoint beside the mean."""

    name: str
    endpoints: int
    chi_square: float
    limit: float
    max_to_mean: float


def evenness(endpoints: int, calls: int) -> List[Evenness]:
    """Of every balancer, where each call is over before the next; by weight with weights of 1, 2 and 4."""
    found = []
    for name, make in MAKERS.items():
        scene = Scene(endpoints, weights=(1.0, 2.0, 4.0) if name == "weighted" else (1.0,))
        balancer = make(scene)
        if name == "consistent hash":
            chosen: Dict[int, int] = Counter(endpoint.value for endpoint in owners(balancer, calls).values())
        else:
            chosen = counts(balancer, calls)
        total = sum(endpoint.weight for endpoint in scene.endpoints())
        expected = [calls * endpoint.weight / total for endpoint in scene.endpoints()]
        seen = [chosen[endpoint.value] for endpoint in scene.endpoints()]
        worst = max(count / wanted for count, wanted in zip(seen, expected))
        found.append(Evenness(name, endpoints, chi_square(seen, expected), limit(endpoints), worst))
    return found


def disturbance(endpoints: int, keys: int) -> Tuple[float, float, float]:
    """The share of keys that move when one of so many leaves, and those of others among them; and when one comes."""
    scene = Scene(endpoints)
    balancer = ConsistentHash(scene)
    everyone, before = scene.endpoints(), owners(balancer, keys)
    scene.without(0)
    after = owners(balancer, keys)
    moved = [key for key in before if before[key] is not after[key]]
    others = sum(before[key].value != 0 for key in moved)
    scene.set(everyone)
    back = owners(balancer, keys)
    return len(moved) / keys, others / keys, sum(back[key] is not after[key] for key in back) / keys


def cost(endpoints: int, rounds: int) -> Dict[str, Tuple[float, float]]:
    """Microseconds of a choice with its report, the best of five; and milliseconds after one has come or gone."""
    found = {}
    for name, make in MAKERS.items():
        scene = Scene(endpoints, zones="ab")
        everyone, balancer = scene.endpoints(), make(scene)
        balancer.choose("key")
        best = change = float("inf")
        for turn in range(5):
            began = time.perf_counter()
            for _ in range(rounds):
                balancer.report(balancer.choose("key"), None, 0.01)
            best = min(best, (time.perf_counter() - began) / rounds * 1e6)
            scene.set(everyone[1 + turn % 2 :])
            began = time.perf_counter()
            balancer.choose("key")
            change = min(change, (time.perf_counter() - began) * 1e3)
        found[name] = (best, change)
    return found


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000)
    options = parser.parse_args()
    for endpoints in (10, 100):
        print(f"\n{options.calls} calls of {endpoints} endpoints    chi-square     limit  max/mean")
        for row in evenness(endpoints, options.calls):
            print(f"  {row.name:<30} {row.chi_square:>12.1f} {row.limit:>9.1f} {row.max_to_mean:>9.3f}")
    print("\nconsistent hash: keys that move when one leaves     all    of others    1/n    when it comes")
    for endpoints in (3, 10, 100, 1000):
        gone, others, came = disturbance(endpoints, 20_000)
        print(f"  {endpoints:>4} endpoints {gone:>38.4f} {others:>12.4f} {1 / endpoints:>6.4f} {came:>16.4f}")
    small, large = cost(10, 20_000), cost(1000, 20_000)
    print("\na choice and its report, microseconds        10 endpoints    1,000    after a change, milliseconds: 10   1,000")
    for name in MAKERS:
        print(f"  {name:<30} {small[name][0]:>24.2f} {large[name][0]:>8.2f} {small[name][1]:>36.3f} {large[name][1]:>7.2f}")


if __name__ == "__main__":
    main()
