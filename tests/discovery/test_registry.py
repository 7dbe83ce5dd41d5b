"""All registrations of one client, over a model of ZooKeeper: who hears what, and in which order."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from tests.kit.discovery.peer import Peer
from tests.kit.discovery.tree import Tree
from zkdisco.registration import Registration
from zkdisco.registry import Registry, Report
from zkdisco.values import ClientClosedError, NotRegisteredError, Service
from zkwire import errors, ops
from zkwire.values import OPEN_ACL_UNSAFE

DIRECTORY = "/org/api"
SERVICE, OTHER = Service("/org", "api", b"1"), Service("/org", "api", b"2")


class World:
    """A registry, its tree, and what was told."""

    def __init__(self) -> None:
        self.tree = Tree(DIRECTORY)
        self.made: List[Registration] = []
        self.registry = Registry(self.make)
        self.peer = Peer(self.tree, self.registry)
        self.outcomes: Dict[Any, Any] = {}
        self.reports: List[Report] = []

    def make(self, service: Service) -> Registration:
        self.made.append(Registration(service, OPEN_ACL_UNSAFE, (), f"{len(self.made):032x}", lambda event: None))
        return self.made[-1]

    def call(self, method: Any, *arguments: Any) -> None:
        self.peer.tell(method, *arguments)
        self.look()

    def look(self) -> None:
        for token, outcome in self.registry.settled():
            assert token not in self.outcomes, f"{token} is settled twice"
            self.outcomes[token] = outcome
        self.reports += self.registry.reports()

    def settle(self) -> None:
        self.peer.settle()
        self.look()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def standing(world: World) -> World:
    """With one registration, which stands."""
    world.call(world.registry.want_service, SERVICE, True, "first")
    world.settle()
    return world


def test_two_callers_of_one_service_share_a_registration(world: World) -> None:
    world.call(world.registry.want_service, SERVICE, True, "a")
    world.call(world.registry.want_service, SERVICE, True, "b")
    world.call(world.registry.want_service, OTHER, True, "c")
    world.settle()
    assert world.outcomes["a"] == world.outcomes["b"] == world.registry.node_of(SERVICE) != world.outcomes["c"]
    assert len(world.made) == 2 and sorted(world.tree.held().values()) == [b"1", b"2"]
    assert sorted(world.registry.own_paths()) == sorted([world.outcomes["a"], world.outcomes["c"]])


def test_a_service_taken_back_is_forgotten_and_made_anew(standing: World) -> None:
    standing.call(standing.registry.want_service, SERVICE, False, "away")
    standing.settle()
    assert standing.outcomes["away"] is None and standing.registry.at_rest
    assert standing.registry.node_of(SERVICE) is None and standing.registry.deadline() is None
    standing.call(standing.registry.want_service, SERVICE, True, "again")
    standing.settle()
    assert len(standing.made) == 2 and standing.outcomes["again"] == standing.registry.node_of(SERVICE)


def test_what_nobody_registered_cannot_be_taken_back(world: World) -> None:
    world.call(world.registry.want_service, SERVICE, False, "away")
    assert isinstance(world.outcomes["away"], NotRegisteredError) and DIRECTORY in str(world.outcomes["away"])
    assert world.made == []


def test_an_update_is_settled_once_the_node_holds_it(standing: World) -> None:
    standing.call(standing.registry.update, standing.made[0], b"new", "update")
    assert "update" not in standing.outcomes
    standing.settle()
    assert standing.outcomes["update"] == standing.registry.node_of(SERVICE)
    assert list(standing.tree.held().values()) == [b"new"]


def test_an_update_of_what_is_not_registered_says_so_to_its_caller(world: World) -> None:
    world.call(world.registry.update, world.make(SERVICE), b"new", "update")
    assert isinstance(world.outcomes["update"], NotRegisteredError) and world.registry.at_rest


def test_a_promise_is_kept_without_a_caller(world: World) -> None:
    world.call(world.registry.promise, world.make(SERVICE))
    world.settle()
    assert list(world.tree.held().values()) == [b"1"] and world.outcomes == {}
    assert [report.node for report in world.reports if report.registration] == world.registry.own_paths()


def test_a_caller_who_gives_up_takes_back_what_nobody_else_waits_for(world: World) -> None:
    world.call(world.registry.want_service, SERVICE, True, "a")
    world.call(world.registry.withdraw, "a")
    assert isinstance(world.outcomes["a"], errors.OperationTimeoutError) and world.registry.at_rest
    world.settle()
    assert world.tree.held() == {}


def test_whom_nobody_knows_cannot_give_up(standing: World) -> None:
    standing.call(standing.registry.withdraw, "somebody")
    standing.settle()
    assert "somebody" not in standing.outcomes and len(standing.tree.held()) == 1


def test_a_client_that_stops_takes_all_back_and_wants_nothing_more(standing: World) -> None:
    registration = standing.made[0]
    standing.call(standing.registry.leave, "stop")
    assert "stop" not in standing.outcomes, "our node is still there"
    for token, call in (("want", (standing.registry.want_service, OTHER, True)),
                        ("away", (standing.registry.want_service, SERVICE, False)),
                        ("update", (standing.registry.update, registration, b"new"))):  # fmt: skip
        standing.call(*call, token)
        assert isinstance(standing.outcomes[token], ClientClosedError), token
    standing.call(standing.registry.promise, standing.make(OTHER))
    standing.settle()
    assert standing.outcomes["stop"] is None and standing.tree.held() == {} and standing.registry.at_rest


def test_a_client_with_nothing_stops_at_once(world: World) -> None:
    world.call(world.registry.leave, "stop")
    assert world.outcomes == {"stop": None}


def test_a_client_that_can_never_have_a_session_tells_everybody_why(standing: World) -> None:
    cause = errors.AuthFailedError("refused")
    standing.call(standing.registry.want_service, OTHER, True, "waits")
    standing.call(standing.registry.leave, "stop")
    standing.call(standing.registry.ended, cause)
    assert isinstance(standing.outcomes["waits"], ClientClosedError) and standing.outcomes["stop"] is None
    assert standing.registry.end is cause and standing.registry.at_rest


@pytest.mark.parametrize("wanted", [True, False])
def test_whoever_comes_after_the_end_hears_its_cause(world: World, wanted: bool) -> None:
    cause = errors.AuthFailedError("refused")
    world.call(world.registry.ended, cause)
    world.call(world.registry.want_service, SERVICE, wanted, "late")
    assert world.outcomes["late"] is cause and world.registry.at_rest


def test_the_loss_of_the_connection_is_told_once_for_all(standing: World) -> None:
    standing.call(standing.registry.want_service, OTHER, True, "second")
    standing.settle()
    standing.reports.clear()
    for session in (None, None, standing.peer.session, standing.peer.session):
        standing.registry.session(session, 1.0)
        standing.look()
    assert [(report.registration, type(report.error)) for report in standing.reports] == [
        (None, errors.ConnectionLoss), (None, type(None)),
    ]  # fmt: skip


def test_a_registration_that_comes_while_there_is_no_connection_waits_and_the_return_is_told(world: World) -> None:
    world.registry.session(None, 0.0)
    world.call(world.registry.want_service, SERVICE, True, "a")
    assert world.registry.operations() == [] and "a" not in world.outcomes
    world.registry.session(world.tree.open(), 1.0)
    world.look()
    assert [(report.registration, report.error) for report in world.reports] == [(None, None)]
    assert [type(op) for _, op in world.registry.operations()] == [ops.Create]


def test_trouble_that_repeats_itself_is_reported_once_and_tried_again_in_time(standing: World) -> None:
    standing.reports.clear()
    standing.tree.denied = (ops.Create,)
    standing.tree.operator(ops.Delete(standing.registry.own_paths()[0]))
    standing.peer.settle_for(60)
    standing.look()
    assert standing.registry.deadline() is not None
    assert [(one.node, type(one.error)) for one in standing.reports] == [(None, errors.NoAuthError)]
    standing.tree.denied = ()
    standing.settle()
    assert standing.reports[-1].error is None and standing.reports[-1].node == standing.registry.node_of(SERVICE)
    assert standing.registry.deadline() is None


def test_an_event_of_another_node_asks_nothing(standing: World) -> None:
    standing.tree.operator(ops.Create(f"{DIRECTORY}/stranger"))
    standing.settle()
    assert standing.registry.operations() == [] and standing.peer.quiet


def test_who_stands_otherwise_than_before_is_named_once(standing: World) -> None:
    assert standing.registry.stood().count(standing.made[0]) >= 1
    assert standing.registry.stood() == []
