"""What `make balance` prints keeps to bounds: how even, how little disturbed, and that no choice costs by the number."""

from __future__ import annotations

import pytest

from tests.tools import balance


@pytest.mark.parametrize("endpoints", [10, 50])
def test_calls_are_spread_by_chance_or_better(endpoints: int) -> None:
    for row in balance.evenness(endpoints, 5000):
        if row.name == "consistent hash":
            assert row.max_to_mean < 1.7, row
        else:
            assert row.chi_square < row.limit, row
        if row.name in ("round robin", "weighted", "least outstanding"):
            assert row.chi_square < endpoints / 10, row


@pytest.mark.parametrize("endpoints", [3, 20])
def test_only_the_keys_of_who_leaves_move(endpoints: int) -> None:
    gone, others, came = balance.disturbance(endpoints, 3000)
    assert others == 0 and came == gone and 0.5 / endpoints < gone < 1.6 / endpoints


@pytest.mark.timed
def test_a_choice_does_not_cost_by_the_number() -> None:
    """A hundred times the endpoints; what looks at each of them would take tens of times as long."""
    few, many = balance.cost(10, 1000), balance.cost(1000, 1000)
    assert few.keys() == many.keys() == balance.MAKERS.keys()
    for name, (seconds, _) in many.items():
        assert seconds < few[name][0] * 5, (name, seconds, few[name][0])
