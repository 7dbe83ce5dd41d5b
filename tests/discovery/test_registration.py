"""What a registrar decides, on a virtual clock over a model of ZooKeeper: whatever happens, one node or none."""

from __future__ import annotations

import random
from typing import Any, Callable, List, Optional

import pytest

from tests.kit.catalogue import fault
from tests.kit.discovery.peer import Peer
from tests.kit.discovery.tree import Tree
from zkdisco.values import NotRegisteredError, Service
from zkdisco.registration import Registration
from zkwire import errors, ops
from zkwire.values import OPEN_ACL_UNSAFE

DIRECTORY = "/org/api"
GUID = "0123456789abcdef0123456789abcdef"
PREFIX = f"_c_{GUID}-"
#: Nodes of others, some with names as near to ours as can be.
STRANGERS = (f"{DIRECTORY}/_c_{GUID[:-1]}e-0000000000", f"{DIRECTORY}/_c_{GUID}", f"{DIRECTORY}/plain")


class World:
    """One registration, its tree, and what was promised to whom."""

    def __init__(self, parents: bool = True, strangers: bool = True) -> None:
        self.tree = Tree(DIRECTORY)
        service = Service("/org", "api", b"10.0.0.1:80")
        self.core = Registration(service, OPEN_ACL_UNSAFE, (b"p0",), GUID, lambda event: None)
        self.peer = Peer(self.tree, self.core)
        self.outcomes: List[Any] = []
        self.open: List[int] = []
        self.wanted: List[bool] = []
        if parents:
            for path in ("/org", DIRECTORY):
                self.tree.operator(ops.Create(path))
            for path in STRANGERS if strangers else ():
                self.tree.operator(ops.Create(path))

    def ours(self) -> List[str]:
        return [name for name in self.tree.held() if name.startswith(PREFIX)]

    def want(self, wanted: bool) -> int:
        """An intent; its number."""
        number = len(self.wanted)
        self.wanted.append(wanted)
        self.outcomes.append(None)
        self.open.append(number)
        self.peer.tell(self.core.want, wanted, number)
        self.look()
        return number

    def withdraw(self, number: int) -> None:
        """Its caller waits no more: it is told so, at once."""
        self.peer.tell(self.core.withdraw, number)
        self.look()
        assert number not in self.open and isinstance(self.outcomes[number], errors.OperationTimeoutError)

    def look(self) -> None:
        """Take what was settled, once each; what was promised must be true at this moment."""
        for number, outcome in self.core.settled():
            assert number in self.open, f"{number} settled twice"
            self.open.remove(number)
            self.outcomes[number] = outcome if outcome is not None else "done"
            if outcome is None:
                assert not self.wanted[number] and self.ours() == []
            elif isinstance(outcome, str):
                assert self.wanted[number] and outcome.startswith(f"{DIRECTORY}/{PREFIX}")

    def run(self, number: Optional[int] = None) -> Any:
        """Let everything go well until all is at rest; the outcome of an intent."""
        self.peer.settle()
        self.look()
        return None if number is None else self.outcomes[number]

    def cut(self, seed: int = 0) -> None:
        self.peer.cut(random.Random(seed))
        self.look()


@pytest.fixture
def world() -> World:
    return World()


# ------------------------------------------------------------------------ one by one


def test_a_registration_and_its_end(world: World) -> None:
    node = world.run(world.want(True))
    assert node == f"{DIRECTORY}/{PREFIX}{3:010d}" and world.core.node == node
    assert world.tree.nodes[node].data == b"10.0.0.1:80" and world.tree.nodes[node].owner == world.peer.session
    assert world.run(world.want(False)) == "done"
    assert world.ours() == [] and all(path in world.tree.nodes for path in STRANGERS)


def test_missing_parents_are_made_with_payload_by_depth() -> None:
    world = World(parents=False)
    assert world.run(world.want(True)) == f"{DIRECTORY}/{PREFIX}0000000000"
    assert (world.tree.nodes["/org"].data, world.tree.nodes[DIRECTORY].data) == (b"p0", b"")


def test_deregistering_what_is_not_registered(world: World) -> None:
    assert isinstance(world.run(world.want(False)), NotRegisteredError)
    world.run(world.want(True))
    assert world.run(world.want(False)) == "done"
    assert isinstance(world.run(world.want(False)), NotRegisteredError)


def test_a_connection_lost_and_a_session_kept_touch_nothing(world: World) -> None:
    world.run(world.want(True))
    before = world.tree.zxid
    for seed in range(20):
        world.cut(seed)
        world.peer.connect()
        assert not world.peer.up, "not even a look"
        world.run()
    assert world.tree.zxid == before


@pytest.mark.parametrize("applied", [False, True])
def test_a_create_whose_answer_is_lost_makes_one_node(world: World, applied: bool) -> None:
    number = world.want(True)
    world.peer.connect()
    assert isinstance(world.peer.up[0][1], ops.Create)
    if applied:
        world.peer.serve()
    world.peer.up.clear() if applied else None
    keys = [item[1] for item in world.peer.down] or [key for key, _ in world.peer.up]
    world.peer.down.clear()
    world.peer.up.clear()
    for key in keys:
        world.peer._answer(key, errors.ConnectionLoss("the answer is lost"))
    world.cut()
    assert world.run(number).startswith(f"{DIRECTORY}/{PREFIX}")
    assert len(world.ours()) == 1 and not world.tree.deletes


def test_a_new_session_takes_over_what_is_left_of_the_old_one_in_one_transaction(world: World) -> None:
    world.run(world.want(True))
    old = world.peer.session
    world.cut()
    world.peer.lose_session()  # here; the server still has it
    seen = len(world.tree.history)
    world.run()
    assert len(world.ours()) == 1 and world.tree.nodes[world.core.node].owner == world.peer.session != old
    assert all(len([n for n in held if n.startswith(PREFIX)]) == 1 for held in world.tree.history[seen:])
    world.tree.expire(old)
    world.run()
    assert len(world.ours()) == 1


def test_what_is_left_of_an_old_session_is_looked_for_behind_a_sync(world: World) -> None:
    """Or else a server that is behind does not know of the node yet, and there are two until the old session ends."""
    world.run(world.want(True))
    world.cut()
    world.peer.connect()
    assert [type(op) for _, op in world.peer.up] == []  # the session goes on: so does its node
    world.cut()
    world.peer.lose_session()
    world.peer.connect()
    assert [type(op) for _, op in world.peer.up] == [ops.Sync, ops.Exists]


def test_an_orphan_is_not_forgotten_when_its_replacement_fails_unsent(world: World) -> None:
    """Then deregistering must still take the orphan away: after it, none of our nodes is left."""
    world.run(world.want(True))
    old = world.peer.session
    world.cut()
    world.peer.lose_session()
    world.peer.connect()
    for _ in ("Sync", "Exists"):
        world.peer.serve()  # and the orphan is found
        world.peer.hear()
    (key, op), = world.peer.up
    assert isinstance(op, ops.Multi)
    world.peer.up.clear()
    unsent = errors.ConnectionLoss("cut", sent=False)
    world.peer._answer(key, unsent)
    world.cut()
    number = world.want(False)
    assert world.run(number) == "done"
    assert world.ours() == [] and old in world.tree.sessions


def test_a_deleted_node_comes_back(world: World) -> None:
    node = world.run(world.want(True))
    world.tree.operator(ops.Delete(node))
    world.run()
    assert len(world.ours()) == 1 and world.core.node != node
    for path in [p for p in world.tree.nodes if p.startswith(DIRECTORY + "/")]:
        world.tree.operator(ops.Delete(path))
    world.tree.operator(ops.Delete(DIRECTORY))
    world.run()
    assert len(world.ours()) == 1


def test_no_rights_are_told_and_nothing_is_registered_later(world: World) -> None:
    world.tree.denied = (ops.Create,)
    assert isinstance(world.run(world.want(True)), errors.NoAuthError)
    world.tree.denied = ()
    world.peer.pass_time(100.0)
    world.run()
    assert world.ours() == [] and world.core.node is None and not world.core.wanted


def test_no_rights_in_the_background_are_tried_again_and_cured(world: World) -> None:
    node = world.run(world.want(True))
    world.tree.denied = (ops.Create,)
    world.tree.operator(ops.Delete(node))
    pauses = []
    for _ in range(8):
        while not world.peer.quiet:
            (world.peer.serve if world.peer.up else world.peer.hear)()
        assert isinstance(world.core.error, errors.NoAuthError) and world.ours() == []
        pauses.append(world.core.deadline() - world.peer.now)
        world.peer.pass_time(pauses[-1])
    assert pauses == sorted(pauses) and pauses[0] >= 0.5 and pauses[-1] <= 60
    world.tree.denied = ()
    world.run()
    assert len(world.ours()) == 1 and world.core.error is None


# -------------------------------------------------------------- intents that cross


def test_a_withdrawn_registration_is_never_made(world: World) -> None:
    number = world.want(True)  # there is no connection
    world.withdraw(number)
    world.run()
    assert world.ours() == [] and not world.core.wanted and world.tree.deletes == []


def test_a_withdrawn_registration_whose_node_was_made_but_not_told_of_is_taken_back(world: World) -> None:
    number = world.want(True)
    world.peer.connect()
    world.peer.serve()  # the create is through, its answer is under way
    assert world.core.node is None and number in world.open
    world.withdraw(number)
    world.run()
    assert world.ours() == [] and not world.core.wanted


def test_who_waits_is_told_as_soon_as_the_node_stands(world: World) -> None:
    """Without waiting for the watch; if the node goes before that is set, it comes back."""
    number = world.want(True)
    world.peer.connect()
    while world.core.node is None:
        world.peer.serve()
        world.peer.hear()
    node = world.core.node
    world.look()
    assert number not in world.open and world.core.settling, "the look at it is under way"
    world.tree.operator(ops.Delete(node))
    world.run()
    assert world.core.wanted and len(world.ours()) == 1 and world.core.node != node


def test_withdrawing_a_second_register_leaves_the_first(world: World) -> None:
    node = world.run(world.want(True))
    world.cut()
    number = world.want(True)
    world.withdraw(number)
    world.run()
    assert world.core.node == node and world.core.wanted and len(world.ours()) == 1


def test_withdrawing_one_of_two_leaves_the_other(world: World) -> None:
    first, second = world.want(True), world.want(True)
    world.withdraw(first)
    assert world.run(second).startswith(DIRECTORY) and len(world.ours()) == 1


def test_a_deregister_during_a_register_that_fails_is_done(world: World) -> None:
    """The failure of a create that nobody wants any more is no failure to deregister."""
    world.tree.denied = (ops.Create,)
    first = world.want(True)
    world.peer.connect()
    second = world.want(False)
    world.run()
    assert isinstance(world.outcomes[first], NotRegisteredError) and world.outcomes[second] == "done"


def test_a_deregister_during_a_register_that_never_left_is_settled(world: World) -> None:
    world.peer.connect()
    world.want(True)
    (key, _), = world.peer.up
    world.peer.up.clear()
    second = world.want(False)
    world.peer._answer(key, errors.ConnectionLoss("cut", sent=False))
    world.cut()
    assert world.run(second) == "done"
    assert world.open == [] and world.ours() == []


def test_a_deregister_that_goes_on_can_be_waited_for_again(world: World) -> None:
    world.run(world.want(True))
    world.cut()
    first = world.want(False)
    world.withdraw(first)
    second = world.want(False)
    assert world.run(second) == "done" and world.ours() == []


@fault("G06")
def test_the_last_intent_wins(world: World) -> None:
    numbers = [world.want(wanted) for wanted in (True, False, True, False, True)]
    world.run()
    assert len(world.ours()) == 1 and world.outcomes[numbers[-1]] == world.core.node and world.open == []


def test_an_error_that_is_none_of_zookeepers_does_not_end_the_registrar(world: World) -> None:
    number = world.want(True)
    world.peer.connect()
    (key, _), = world.peer.up
    world.peer.up.clear()
    world.peer._answer(key, ValueError("it cannot be encoded"))
    assert isinstance(world.run(number), ValueError)
    assert world.run(world.want(True)).startswith(DIRECTORY)


# ---------------------------------------------------------------- random schedules

STEPS = 400


def schedule(seed: int, also: Callable[[World, random.Random], object] = lambda world, rng: None) -> World:
    """Anything, in any order, and `also` now and then; then everything goes well."""
    rng = random.Random(seed)
    world = World(parents=rng.random() < 0.5)
    tree, peer = world.tree, world.peer
    protected = {path: node for path, node in tree.nodes.items() if path in STRANGERS}
    for _ in range(STEPS):
        choice = rng.random()
        if choice < 0.35 and peer.up:
            peer.serve()
        elif choice < 0.70 and peer.down:
            peer.hear()
        elif choice < 0.76:
            peer.connect() if peer.connection is None else peer.cut(rng)
        elif choice < 0.79:
            if peer.connection is None and peer.session is not None:
                peer.lose_session() if rng.random() < 0.6 else peer.give_up()
        elif choice < 0.81 and tree.sessions:
            session = rng.choice(sorted(tree.sessions))
            if peer.connection is None or session != peer.session:
                tree.expire(session)
            else:
                peer.cut(rng)
                tree.expire(session)
        elif choice < 0.84 and tree.held():
            path = f"{DIRECTORY}/{rng.choice(sorted(tree.held()))}"
            if path not in protected:
                tree.operator(ops.Delete(path))
        elif choice < 0.85 and DIRECTORY in tree.nodes and not protected:
            for name in list(tree.held()):
                tree.operator(ops.Delete(f"{DIRECTORY}/{name}"))
            tree.operator(ops.Delete(DIRECTORY))
        elif choice < 0.87:
            tree.denied = rng.choice([(), (ops.Create,), (ops.Delete,), (ops.GetChildren,), ()])
        elif choice < 0.92:
            world.want(rng.random() < 0.6)
        elif choice < 0.93 and world.open:
            world.withdraw(rng.choice(world.open))
        else:
            peer.pass_time(rng.choice([0.1, 1.0, 10.0]))
        also(world, rng)
        world.look()
        check(world, protected)
    tree.denied = ()
    world.run()
    for session in sorted(tree.sessions - {peer.session}):
        tree.expire(session)
    world.run()
    check(world, protected)
    return world


def check(world: World, protected: Any) -> None:
    """What holds at every instant."""
    assert all(world.tree.nodes.get(path) is node for path, node in protected.items()), "a stranger's node was touched"
    for session, path in world.tree.deletes:
        assert session == 0 or path.startswith(f"{DIRECTORY}/{PREFIX}"), path
    mine = [world.tree.nodes[f"{DIRECTORY}/{name}"].owner for name in world.ours()]
    assert len(mine) == len(set(mine)), "two of our nodes in one session"


@pytest.mark.once
@pytest.mark.parametrize("block", range(4))
@fault("G06")
def test_random_schedules_end_with_one_node_or_none(block: int) -> None:
    for seed in range(block * 100, block * 100 + 100):
        try:
            world = schedule(seed)
            expected = 1 if world.core.wanted else 0
            assert len(world.ours()) == expected, f"{world.ours()}, {expected} expected"
            assert world.open == [], f"never settled: {world.open}"
            assert world.core.node == (f"{DIRECTORY}/{world.ours()[0]}" if expected else None)
            assert not expected or world.tree.nodes[world.core.node].owner == world.peer.session
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_without_a_connection_there_is_trouble_until_it_is_back(world: World) -> None:
    """G10: from before the server may give the session away."""
    world.run(world.want(True))
    assert world.core.error is None
    world.cut()
    assert isinstance(world.core.error, errors.ConnectionLoss)
    world.run()
    assert world.core.error is None
    world.run(world.want(False))
    world.cut()
    assert world.core.error is None, "nothing is wanted"


def test_an_update_of_a_registration_that_fails_is_told_of_the_failure() -> None:
    """Found by simulation, seed 644 of 500 steps: it waited for ever, behind a registration that was none any more."""
    core = Registration(Service("/org", "api", b"one"), OPEN_ACL_UNSAFE, (), GUID, lambda event: None)
    core.session(7, 0.0)
    core.want(True, "registered", 0.0)
    operations = core.operations()
    core.update(b"two", "updated", 0.0)
    refusal, settled = errors.NoAuthError("the ACL of '/org' does not permit CREATE", DIRECTORY), []
    for _ in range(20):
        for key, _op in operations:
            core.answered(key, refusal, 0.0)
        settled += core.settled()
        operations = core.operations()
    assert {token: type(outcome) for token, outcome in settled} == dict.fromkeys(["registered", "updated"], errors.NoAuthError)
    assert not core.wanted


def test_a_registration_given_up_without_a_connection_is_in_no_trouble() -> None:
    """Found by simulation: it said for ever that there was no connection, since nobody tells it of the next one."""
    core = Registration(Service("/org", "api", b"one"), OPEN_ACL_UNSAFE, (), GUID, lambda event: None)
    core.session(None, 0.0)
    core.want(True, "registered", 0.0)
    assert isinstance(core.error, errors.ConnectionLoss)
    core.withdraw("registered", 0.0)
    ((_, outcome),) = core.settled()
    assert isinstance(outcome, errors.OperationTimeoutError) and "no connection" in str(outcome)
    assert core.at_rest and core.error is None


# ------------------------------------------------------------------- those who never rest


def harassed(world: World, harm: Any, most: int = 2000) -> None:
    """Everything goes on, and after each thing the server did `harm(op)` happens, until something has failed for good."""
    world.peer.connect()
    for _ in range(most):
        if world.peer.up:
            op = world.peer.up[0][1]
            world.peer.serve()
            harm(op)
        elif world.peer.down:
            world.peer.hear()
        else:
            break
    world.look()


def test_a_node_that_somebody_deletes_again_and_again_is_an_error(world: World) -> None:
    number = world.want(True)

    def harm(op: Any) -> None:
        for name in world.ours() if isinstance(op, ops.Create) else ():
            world.tree.operator(ops.Delete(f"{DIRECTORY}/{name}"))

    harassed(world, harm)
    assert world.outcomes[number] and "again and again" in str(world.core.error)
    assert isinstance(world.run(world.want(True)), str), "once they stop, it stands"


def test_a_directory_that_somebody_deletes_again_and_again_is_an_error() -> None:
    world = World(parents=False)
    number = world.want(True)

    def harm(op: Any) -> None:
        if isinstance(op, ops.Create) and op.path == DIRECTORY and DIRECTORY in world.tree.nodes:
            world.tree.operator(ops.Delete(DIRECTORY))

    harassed(world, harm)
    assert isinstance(world.outcomes[number], errors.NoNodeError) and world.outcomes[number].path == DIRECTORY
    assert world.ours() == []


def test_a_server_that_makes_another_node_than_was_asked_for_is_not_believed(world: World) -> None:
    world.core.session(1, 0.0)
    world.core.want(True, 0, 0.0)
    ((key, op),) = world.core.operations()
    world.core.answered(key, f"{DIRECTORY}/somebody", 0.0)
    ((_, outcome),) = world.core.settled()
    assert isinstance(op, ops.Create) and isinstance(outcome, errors.ProtocolError) and "somebody" in str(outcome)
    assert world.core.node is None


def test_who_does_not_wait_cannot_give_up(world: World) -> None:
    node = world.run(world.want(True))
    world.core.withdraw("nobody", 1.0)
    assert world.core.settled() == [] and world.core.node == node and world.core.wanted


def test_an_answer_after_the_end_is_of_no_interest(world: World) -> None:
    world.core.session(1, 0.0)
    world.core.want(True, 0, 0.0)
    ((key, _),) = world.core.operations()
    cause = errors.AuthFailedError("refused")
    world.core.ended(cause, 0.0)
    assert world.core.settled() == [(0, cause)]
    world.core.answered(key, f"{DIRECTORY}/{PREFIX}0000000003", 0.0)
    assert world.core.node is None and world.core.operations() == [] and world.core.settled() == []


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_before_its_time_nothing_is_tried_again(world: World, seconds: float) -> None:
    world.tree.denied = (ops.Create,)
    world.core.promise(0.0)
    world.peer.connect()
    while world.peer.up or world.peer.down:
        (world.peer.serve if world.peer.up else world.peer.hear)()
    due = world.core.deadline()
    assert due is not None
    world.core.timed_out(due + seconds)
    assert bool(world.core.operations()) is (seconds == 0.0)
