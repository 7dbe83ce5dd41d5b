"""The core of a registration with a gate: the node is there exactly while it is wanted and the gate is open."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.discovery.test_registration import DIRECTORY, World, schedule
from zkdisco.registry import Registry
from zkdisco.registration import Registration
from zkdisco.values import GateShutError, NotRegisteredError, Service
from zkwire import errors
from zkwire.values import OPEN_ACL_UNSAFE

SHUT = GateShutError("127.0.0.1:80: Connection refused")


@pytest.fixture
def world() -> World:
    return World()


def gate(world: World, shut: Any) -> None:
    world.peer.tell(world.core.gate, shut)
    world.look()


def test_a_shut_gate_keeps_the_node_away_and_whoever_registers_waits(world: World) -> None:
    gate(world, SHUT)
    number = world.want(True)
    world.run()
    assert world.ours() == [] and world.open == [number] and world.core.trouble is SHUT and world.core.node is None
    gate(world, None)
    assert world.run(number) == world.core.node and len(world.ours()) == 1 and world.core.trouble is None


def test_it_goes_when_the_gate_shuts_and_comes_back_when_it_opens(world: World) -> None:
    world.run(world.want(True))
    for _ in range(3):
        gate(world, SHUT)
        world.run()
        assert world.ours() == [] and world.core.node is None and world.core.trouble is SHUT and not world.core.at_rest
        gate(world, None)
        world.run()
        assert len(world.ours()) == 1 and world.core.trouble is None


def test_another_reason_is_no_turn(world: World) -> None:
    world.run(world.want(True))
    gate(world, SHUT)
    world.run()
    other = GateShutError("127.0.0.1:80: not connected in time")
    gate(world, other)
    assert world.core.trouble is other and world.peer.quiet


def test_deregistering_behind_a_shut_gate(world: World) -> None:
    world.run(world.want(True))
    gate(world, SHUT)
    world.run()
    assert world.run(world.want(False)) == "done" and world.core.at_rest and world.core.trouble is None
    gate(world, None)
    world.run()
    assert world.ours() == [] and isinstance(world.run(world.want(False)), NotRegisteredError)


def test_who_waits_no_longer_is_told_why_and_has_no_registration(world: World) -> None:
    gate(world, SHUT)
    number = world.want(True)
    world.run()
    world.withdraw(number)
    assert "Connection refused" in str(world.outcomes[number])
    gate(world, None)
    world.run()
    assert world.ours() == [] and world.core.at_rest


def test_the_reason_outlasts_an_outage_which_is_a_symptom_of_nothing(world: World) -> None:
    world.run(world.want(True))
    gate(world, SHUT)
    world.run()
    world.cut()
    assert world.core.trouble is SHUT and world.core.error is None
    world.run()
    gate(world, None)
    world.run()
    assert len(world.ours()) == 1 and world.core.trouble is None


def test_it_shuts_and_opens_without_a_connection(world: World) -> None:
    node = world.run(world.want(True))
    world.cut()
    gate(world, SHUT)
    assert world.core.node == node and world.core.trouble is SHUT, "nobody could take it back"
    gate(world, None)
    assert isinstance(world.core.trouble, errors.ConnectionLoss)
    world.run()
    assert world.core.node == node and world.core.trouble is None, "it was never away"
    world.cut()
    gate(world, SHUT)
    world.run()
    assert world.ours() == []


def test_a_node_that_is_about_to_go_is_no_success(world: World) -> None:
    """Found by an example of the documentation: the gate shut while our node was looked at, and `register` returned."""
    first = world.want(True)
    world.peer.connect()
    while not isinstance(world.outcomes[first], str):
        world.peer.step()
        world.look()
    gate(world, SHUT)  # the work of the registration is still under way
    second = world.want(True)
    world.run()
    assert world.ours() == [] and world.open == [second]
    gate(world, None)
    assert world.run(second) == world.core.node and len(world.ours()) == 1


def test_what_was_updated_meanwhile_is_what_comes_back(world: World) -> None:
    world.run(world.want(True))
    gate(world, SHUT)
    world.run()
    world.peer.tell(world.core.update, b"10.0.0.2:80", "update")
    world.peer.settle()
    assert world.core.settled() == []
    gate(world, None)
    world.peer.settle()
    assert world.core.settled() == [("update", world.core.node)]
    assert world.tree.nodes[str(world.core.node)].data == b"10.0.0.2:80"


def test_a_node_that_may_not_be_deleted_is_tried_again(world: World) -> None:
    from zkwire import ops

    world.run(world.want(True))
    world.tree.denied = (ops.Delete,)
    gate(world, SHUT)
    world.peer.settle_for(0.5)
    assert len(world.ours()) == 1 and isinstance(world.core.error, errors.NoAuthError) and world.core.trouble is SHUT
    world.tree.denied = ()
    world.run()
    assert world.ours() == []


def test_a_report_for_each_turn() -> None:
    """What is logged: the reason once, and that it is registered again."""
    registry = Registry(lambda service: core)
    core = Registration(Service("/org", "api", b"x"), OPEN_ACL_UNSAFE, (), "0" * 32, lambda event: None)
    registry.session(1, 0.0)
    registry.promise(core, 0.0)
    told = []

    def run() -> None:
        for _ in range(20):
            for key, op in registry.operations():
                registry.answered(key, answer(op), 0.0)
            told.extend((report.node, str(report.error) if report.error else "") for report in registry.reports())

    def answer(op: Any) -> Any:
        from zkwire import ops
        from zkwire.values import Stat

        stat = Stat(1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 1)
        return {ops.Create: lambda: f"/org/api/_c_{'0' * 32}-0000000000", ops.GetData: lambda: (b"x", stat), ops.Delete: lambda: None}[type(op)]()

    run()
    registry.gate(core, SHUT, 1.0)
    run()
    registry.gate(core, None, 2.0)
    run()
    node = f"/org/api/_c_{'0' * 32}-0000000000"
    assert told == [(node, ""), (None, str(SHUT)), (node, "")]


@pytest.mark.once
@pytest.mark.parametrize("block", range(4))
def test_random_schedules_end_with_one_node_exactly_if_it_is_meant_to_be(block: int) -> None:
    """Everything that can happen to a registration, and a gate that turns now and then in between."""

    def turns(world: World, rng: random.Random) -> None:
        if rng.random() < 0.05:
            world.peer.tell(world.core.gate, rng.choice([None, SHUT]))

    meant = 0
    for seed in range(block * 100, block * 100 + 100):
        try:
            world = schedule(seed, turns)
            expected = 1 if world.core.wanted and world.core.shut is None else 0
            meant += expected
            assert len(world.ours()) == expected, f"{world.ours()}, {expected} expected"
            assert world.core.node == (f"{DIRECTORY}/{world.ours()[0]}" if expected else None)
            assert not expected or world.tree.nodes[str(world.core.node)].owner == world.peer.session
            left = [number for number in world.open if not (world.wanted[number] and world.core.wanted and world.core.shut)]
            assert left == [], f"never settled: {left}"
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
    assert 10 < meant < 90, "both are to be seen"
