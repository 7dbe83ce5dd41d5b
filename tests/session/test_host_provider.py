"""Whom to dial next, and when."""

from __future__ import annotations

import random

import pytest

from zkwire.session.host_provider import Host
from zkwire.session.host_provider import LONGEST, SPREAD, HostProvider

HOSTS = [Host(name, 2181) for name in "abc"]


def test_in_order_and_round() -> None:
    rotation = HostProvider(HOSTS, False, lambda: 0.0)
    assert [rotation.next().name for _ in range(7)] == list("abcabca")


def test_shuffled_evenly() -> None:
    """D05: 3000 clients, each host first for about a third of them, each order for about a sixth."""
    rng = random.Random(3)
    orders = ["".join(h.name for h in HostProvider(HOSTS, True, rng.random).hosts) for _ in range(3000)]
    counts = {order: orders.count(order) for order in set(orders)}
    assert len(counts) == 6
    assert all(400 < count < 600 for count in counts.values())
    assert [Host(name, 2181) for name in "abc"] == HOSTS  # the caller's list is left alone


def test_random_numbers_at_their_ends_are_within_the_list() -> None:
    for value in (0.0, 0.999999999):
        assert sorted(HostProvider(HOSTS, True, lambda value=value: value).hosts) == HOSTS  # type: ignore[misc]


@pytest.mark.parametrize("timeout", [0.3, 6.0, 30.0])
def test_pauses(timeout: float) -> None:
    """None right after a loss nor within a pass, growing ones between passes, never a third of the timeout."""
    limit = min(LONGEST, timeout / 3)
    for low, value in ((True, 0.0), (False, 1.0)):
        rotation = HostProvider(HOSTS, False, lambda value=value: value)  # type: ignore[misc]
        assert rotation.pause(timeout) == 0.0, "the first attempt after a loss comes at once"
        pauses = []
        for _ in range(5):
            for _ in HOSTS:
                rotation.next()
                pauses.append(rotation.pause(timeout))
        assert [p for i, p in enumerate(pauses) if i % 3 != 2] == [0.0] * 10
        between = pauses[2::3]
        assert between[0] == (0.0 if low else min(SPREAD, limit)), "then a random one"
        assert between[1:] == sorted(between[1:])
        assert 0 < between[1] < between[-1] <= limit + 1e-9
        rotation.succeeded(None, None)
        assert rotation.pause(timeout) == 0.0


@pytest.mark.long
def test_an_outage_of_days_is_survived() -> None:
    """After 1026 passes, half an hour of them, a growing power of two was too big for a float, and that was the end."""
    rotation = HostProvider(HOSTS, False, lambda: 0.5)
    for _ in range(3 * 100_000):
        rotation.next()
        assert rotation.pause(30.0) <= LONGEST


def test_with_new_hosts_the_addresses_of_the_old_ones_are_known_as_before() -> None:
    rotation = HostProvider(HOSTS, False, lambda: 0.0)
    rotation.candidates(HOSTS[0], [1, 2])
    rotation.tried(HOSTS[0], 1)
    rotation.replace([HOSTS[0], Host("d", 2181)], HOSTS[0])
    assert rotation.candidates(HOSTS[0], [1, 2]) == [2, 1]
    rotation.replace([Host("d", 2181)], HOSTS[0])
    rotation.replace(HOSTS, None)
    assert rotation.candidates(HOSTS[0], [1, 2]) == [1, 2], "a host that was gone is as new"
