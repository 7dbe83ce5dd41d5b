"""For tests of balancers: endpoints with a clock and chance in the test's hands, and what a distribution is like."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Dict, Iterable, List

from zkdisco.balance import Balancer, Endpoint, FixedEndpoints
from zkdisco.codecs import Instance


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene(FixedEndpoints[Instance, int]):
    """So many endpoints, with weights and zones in turn; their values are their numbers."""

    def __init__(self, count: int, weights: Iterable[float] = (1.0,), zones: Iterable[str] = ("",), seed: int = 1) -> None:
        self.hand = Clock()
        weights, zones = list(weights), list(zones)
        pairs = [
            (Instance(f"10.0.{n // 250}.{n % 250}", 80, weight=weights[n % len(weights)], zone=zones[n % len(zones)]), n)
            for n in range(count)
        ]
        super().__init__(pairs, random=random.Random(seed).random, clock=self.hand)

    def without(self, *numbers: int) -> None:
        """These leave."""
        self.set(endpoint for endpoint in self.endpoints() if endpoint.value not in numbers)


def counts(balancer: Balancer[Any, Any], calls: int) -> Dict[Any, int]:
    """How often each is chosen, by value, where every call is over before the next one."""
    found: Dict[Any, int] = Counter()
    for _ in range(calls):
        endpoint = balancer.choose()
        found[endpoint.value] += 1
        balancer.report(endpoint, None, 0.01)
    return found


def chi_square(found: List[int], expected: List[float]) -> float:
    """The sum of the squares of what differs, over what is expected; for n classes it is n-1 as a rule."""
    return sum((count - wanted) ** 2 / wanted for count, wanted in zip(found, expected))


def limit(classes: int) -> float:
    """Chi-square is above this once in 100,000 times (Wilson and Hilferty's approximation)."""
    degrees = classes - 1
    return float(degrees * (1 - 2 / (9 * degrees) + 4.265 * (2 / (9 * degrees)) ** 0.5) ** 3)


def owners(balancer: Balancer[Any, Any], keys: int) -> Dict[str, Endpoint[Any, Any]]:
    """Whose each of so many keys is."""
    return {f"key {number}": balancer.choose(f"key {number}") for number in range(keys)}
