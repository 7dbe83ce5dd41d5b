"""A name with several addresses is several servers: their order, their share of time, and when a pass over them ends."""

from __future__ import annotations

import collections
import random
from typing import List

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import World
from zkwire.session.host_provider import Host, HostProvider

NAME, OTHER = Host("name", 2181), Host("other", 2181)
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def provider(*hosts: Host, seed: int = 1) -> HostProvider:
    return HostProvider(hosts or (NAME,), True, random.Random(seed).random)


def dial(hosts: HostProvider, addresses: List[str] = ADDRESSES) -> str:
    """One attempt that connects to the first candidate; its address."""
    host = hosts.next()
    first: str = hosts.candidates(host, addresses)[0]
    hosts.tried(host, first)
    return first


@fault("X15")
def test_clients_of_one_name_spread_over_its_addresses() -> None:
    counts = collections.Counter(dial(provider(seed=seed)) for seed in range(3000))
    assert set(counts) == set(ADDRESSES)
    assert all(abs(count - 1000) < 100 for count in counts.values())


@fault("X15")
def test_after_a_failure_the_address_tried_longest_ago_comes_next() -> None:
    hosts = provider()
    rounds = [[dial(hosts) for _ in ADDRESSES] for _ in range(3)]
    assert sorted(rounds[0]) == ADDRESSES
    assert rounds[0] == rounds[1] == rounds[2]


@fault("X15")
def test_an_address_that_is_new_is_tried_before_those_that_failed() -> None:
    hosts = provider()
    failed = [dial(hosts, ADDRESSES[:2]) for _ in range(2)]
    assert hosts.candidates(NAME, ADDRESSES) == ["10.0.0.3", *failed]


@fault("X15")
def test_each_address_is_tried_before_there_is_a_pause() -> None:
    hosts = provider(NAME, OTHER)
    tried, pauses = [], []
    for _ in range(8):
        host = hosts.next()
        address = hosts.candidates(host, ADDRESSES if host == NAME else ["10.9.9.9"])[0]
        hosts.tried(host, address)
        tried.append(address)
        pauses.append(hosts.pause(30.0) > 0)
    assert sorted(tried[:4]) == sorted([*ADDRESSES, "10.9.9.9"]) == sorted(tried[4:])
    assert pauses == [False, False, False, True] * 2


@fault("X15")
def test_a_loss_leads_to_another_address_of_the_name() -> None:
    hosts = provider()
    first = dial(hosts)
    hosts.succeeded(NAME, first)
    assert hosts.pause(30.0) == 0.0
    assert dial(hosts) != first


def test_what_a_name_no_longer_has_is_forgotten() -> None:
    hosts = provider()
    for _ in ADDRESSES:
        dial(hosts)
    hosts.candidates(NAME, ["10.0.0.9"])
    assert hosts.count == 1
    assert hosts.candidates(NAME, ["10.0.0.9", "10.0.0.1"])[0] in ("10.0.0.9", "10.0.0.1"), "both count as new"
    assert hosts.count == 2


@fault("X15")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_silent_address_gets_its_share_of_the_timeout(count: int) -> None:
    """Known only once the name is resolved: the deadline of the link becomes earlier then."""
    world = World(timeout=9.0)
    link = world.dials[0][1]
    assert link.deadline == pytest.approx(world.now + 9.0)
    ordered = world.session.candidates(link, ADDRESSES[:count])
    assert link.deadline == pytest.approx(world.now + 9.0 / count)
    for address in ordered[:1]:
        world.session.tried(link, address)
    world.connect()
    world.advance(9.0 / count + 0.001, until=lambda: len(world.hangups) == 1)
    assert world.hangups
    world.pump()
    if count > 1:
        assert world.session.phase == "dialing" or world.session.deadline() == pytest.approx(world.now, abs=0.01)
        world.advance(0.01, until=lambda: len(world.dials) == 2)
        second = world.dials[-1][1]
        assert world.session.candidates(second, ADDRESSES[:count])[-1] == ordered[0], "the silent one comes last now"


@fault("X15")
def test_the_address_of_the_session_is_known() -> None:
    world = World()
    link = world.dials[0][1]
    world.session.connected(link, world.now, "10.0.0.2")
    assert link.server == (link.host, "10.0.0.2")
