"""How a crowd of clients comes back, in small: `make crowd` prints it for ten thousand."""

from __future__ import annotations

import pytest

from tests.tools.crowd import ALL, ONE, PATIENCE, PLAIN, Scenario, play

CLIENTS = 300


def test_after_a_clean_loss_the_first_attempt_comes_at_once_and_is_enough() -> None:
    found = play(Scenario("", ONE, PATIENCE, PLAIN, 10.0), CLIENTS, 1, None)
    assert found.attempts == 1.0 and found.never == 0
    assert found.most < 0.1


@pytest.mark.long
def test_after_an_outage_the_clients_come_back_spread_and_soon() -> None:
    outage = Scenario("", ALL, 5.0, PLAIN, 10.0)
    ours = play(outage, CLIENTS, 1, None)
    in_step = play(outage, CLIENTS, 1, lambda provider, timeout, brief: 2.0 if provider.all_tried else 0.0)
    assert ours.never == in_step.never == 0
    assert ours.peak < in_step.peak / 4
    assert ours.most < 2.5


def test_the_same_seed_is_the_same_crowd() -> None:
    scenario = Scenario("", ALL, 1.0, PLAIN, 10.0)
    assert play(scenario, 50, 7, None) == play(scenario, 50, 7, None) != play(scenario, 50, 8, None)
