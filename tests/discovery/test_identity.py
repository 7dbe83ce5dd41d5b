"""Stable identities, on a virtual clock over a model of ZooKeeper: a process that comes back, and two that have one name."""

from __future__ import annotations

import random
import uuid
from typing import Any, Dict, List, Optional, Set

import pytest

from tests.kit.catalogue import fault
from tests.kit.discovery.peer import Peer
from tests.kit.discovery.tree import Connection, Node, Tree
from zkdisco.registration import Registration
from zkdisco.values import IdentityTakenError, Service, validate_identity
from zkwire import errors, ops
from zkwire.values import OPEN_ACL_UNSAFE

DIRECTORY = "/org/api"
GUID = "0123456789abcdef0123456789abcdef"
NAME = "host-1"
DATA = b"10.0.0.1:80"
#: Both forms of a stable identity.
FORMS = pytest.mark.parametrize("identity", [GUID, NAME])


class World:
    """A tree, and the processes of one identity."""

    def __init__(self, identity: str, parents: bool = True) -> None:
        self.identity, self.tree = identity, Tree(DIRECTORY)
        self.others = self.tree.open()  # a session of somebody else's
        self.number = 0
        for path in ("/org", DIRECTORY) if parents else ():
            self.tree.operator(ops.Create(path))

    def path(self) -> str:
        """Of a stranger's node with our name."""
        return f"{DIRECTORY}/{NAME if self.identity == NAME else f'_c_{GUID}-x{self.number}'}"

    def stranger(self, data: bytes = b"elsewhere", persistent: bool = False) -> Any:
        """Somebody makes a node with our name, if there is none."""
        if self.path() not in self.tree.nodes:
            self.number += 1  # sequential nodes do not come back under their paths
        somebody = Connection(0 if persistent else self.others, lambda event: None)
        return self.tree.apply(ops.Create(self.path(), data, OPEN_ACL_UNSAFE, not persistent), somebody)

    def ours(self) -> List[str]:
        """All nodes of the identity."""
        return [f"{DIRECTORY}/{name}" for name in self.tree.held() if name == NAME or name.startswith(f"_c_{GUID}-")]

    def settle(self, *processes: Process) -> None:
        """Everything good happens to all of them, until nothing is left to do."""
        for _ in range(20_000):
            busy = [one.peer for one in processes if not (one.peer.connection is not None and one.peer.quiet and one.peer.at_rest())]
            if not busy:
                return
            for peer in busy:
                peer.step()
            for one in processes:
                one.look()
        raise AssertionError("they never come to rest")


class Process:
    """One process with a registrar of the identity; `kill` makes it anew."""

    def __init__(self, world: World, data: bytes = DATA) -> None:
        self.world, self.data = world, data
        self.sessions: Set[int] = set()
        self.begin()

    def begin(self) -> None:
        """A new process, which knows nothing of the one before."""
        service = Service("/org", "api", self.data)
        self.core = Registration(service, OPEN_ACL_UNSAFE, (), GUID, lambda event: None, self.world.identity)
        self.peer = Peer(self.world.tree, self.core)
        self.open: Dict[int, bool] = {}
        self.outcomes: Dict[int, Any] = {}
        self.claimed = self.world.tree.zxid  # when it has last claimed the identity

    def kill(self, rng: Optional[random.Random] = None) -> None:
        """What it has sent may still arrive; its session goes on."""
        if self.peer.connection is not None:
            for _ in range((rng or random.Random(0)).randint(0, len(self.peer.up))):
                self.peer.serve()
            self.world.tree.connections.remove(self.peer.connection)
        self.begin()

    def step_to(self, kind: type) -> None:
        """All goes well until an operation of this kind is on its way."""
        while True:
            self.peer.step()
            if self.peer.up and isinstance(self.peer.up[0][1], kind):
                return

    def lose(self, applied: bool) -> None:
        """The answer to what is on its way is lost, and the connection with it."""
        key, op = self.peer.up.popleft()
        if applied:
            assert self.peer.connection is not None
            self.world.tree.apply(op, self.peer.connection)
        self.peer._answer(key, errors.ConnectionLoss("the answer is lost"))
        self.peer.cut(random.Random(0))

    def update(self, data: bytes) -> int:
        number = len(self.outcomes)
        self.outcomes[number], self.open[number] = None, True
        self.peer.tell(self.core.update, data, number)
        self.look()
        return number

    def want(self, wanted: bool) -> int:
        if wanted and not self.core.wanted:
            self.claimed = self.world.tree.zxid
        number = len(self.outcomes)
        self.outcomes[number], self.open[number] = None, wanted
        self.peer.tell(self.core.want, wanted, number)
        self.look()
        return number

    def promise(self) -> None:
        if not self.core.wanted:
            self.claimed = self.world.tree.zxid
        self.peer.tell(self.core.promise)
        self.look()

    def look(self) -> None:
        for number, outcome in self.core.settled():
            self.open.pop(number)
            self.outcomes[number] = outcome if outcome is not None else "done"
        if self.peer.session is not None:
            self.sessions.add(self.peer.session)

    def register(self) -> str:
        """The path of its node, once all is done."""
        number = self.want(True)
        self.world.settle(self)
        node = self.outcomes[number]
        assert isinstance(node, str), node
        return node

    def registered(self) -> bool:
        node = self.world.tree.nodes.get(self.core.node or "")
        return node is not None and node.owner == self.peer.session and self.core.error is None

    def taken(self) -> IdentityTakenError:
        assert isinstance(self.core.error, IdentityTakenError) and self.core.node is None, self.core.error
        assert self.core.deadline() is None, "it waits for the node to go, and does not ask again and again"
        return self.core.error


# ------------------------------------------------------------------------ one by one


def test_what_an_identity_is() -> None:
    given = uuid.UUID(GUID)
    for text in (GUID, GUID.upper(), str(given), str(given).upper()):
        assert validate_identity(text) == GUID
    for name in (NAME, "10.0.0.1:80_solr", "7", "zookeeper", GUID[:-1], GUID + "0", GUID[:-1] + "g", "-".join(GUID), "größe"):
        assert validate_identity(name) == name
    assert validate_identity(None) is None
    for wrong in ("", "/", "a/b", ".", "..", "a\0", "\ud800", "/a"):
        with pytest.raises(ValueError):
            validate_identity(wrong)
    for wrong in (5, b"host-1", given, ["a"]):
        with pytest.raises(TypeError):
            validate_identity(wrong)  # type: ignore[arg-type]


@FORMS
@fault("G03")
def test_a_killed_process_that_comes_back_replaces_its_node_in_one_transaction(identity: str) -> None:
    world = World(identity)
    process = Process(world)
    node = process.register()
    assert node == f"{DIRECTORY}/{NAME}" if identity == NAME else node.startswith(f"{DIRECTORY}/_c_{GUID}-")
    first = process.peer.session
    for _ in range(3):  # the sessions of all go on
        process.kill()
        seen = len(world.tree.history)
        process.register()
        assert all(len(held) == 1 for held in world.tree.history[seen:]), "never both, never none"
        assert process.registered() and process.peer.session != first
    world.tree.expire(first)
    world.settle(process)
    assert process.registered() and len(world.ours()) == 1


def test_a_guid_in_the_form_of_curator_is_the_same_identity() -> None:
    world = World(GUID)
    dashed = f"{DIRECTORY}/_c_{uuid.UUID(GUID)}-api"
    world.tree.apply(ops.Create(dashed, b"", OPEN_ACL_UNSAFE, True, True), Connection(world.others, lambda event: None))
    process = Process(world)
    process.register()
    assert len(world.ours()) == 1 == len(world.tree.held()) and process.registered()


@FORMS
def test_missing_parents_are_made(identity: str) -> None:
    process = Process(World(identity, parents=False))
    process.register()
    assert process.registered()


@FORMS
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_a_stranger_is_never_touched(identity: str, persistent: bool, same: bool) -> None:
    if not persistent and (same or identity == GUID):
        return  # that is taken for a predecessor
    world = World(identity)
    world.stranger(DATA if same else b"elsewhere", persistent)
    stranger = world.tree.nodes[world.path()]
    process = Process(world)
    number = process.want(True)
    world.settle(process)
    error = process.outcomes[number]
    assert isinstance(error, IdentityTakenError) and isinstance(error, errors.NodeExistsError)
    assert error.path == world.path() and error.session_id == (0 if persistent else world.others)
    whose = "is persistent" if persistent else f"session 0x{world.others:x}"
    assert whose in str(error) and repr(world.path()) in str(error) and "another identity" in str(error)
    assert process.core.at_rest and process.core.node is None, "who was told of a failure has no registration"
    assert not process.peer.watches["data"] and not process.peer.watches["exist"]
    process.promise()
    world.settle(process)
    assert str(process.taken()) == str(error) and process.peer.watches["data"] == {world.path()}
    assert world.tree.nodes[world.path()] is stranger and stranger.version == 0
    world.tree.operator(ops.Delete(world.path()))
    world.settle(process)
    assert process.registered() and len(world.ours()) == 1


def test_a_node_that_may_not_be_read_is_a_strangers_even_if_it_held_our_data() -> None:
    world = World(NAME)
    world.stranger(DATA)
    world.tree.unreadable.add(world.path())
    process = Process(world)
    process.promise()
    world.settle(process)
    assert process.taken().session_id == world.others and not world.tree.deletes
    world.tree.expire(world.others)
    world.tree.unreadable.clear()
    world.settle(process)
    assert process.registered()


@FORMS
@pytest.mark.parametrize("how", ["connected", "cut", "expired", "lost here"])
def test_the_newer_of_two_live_processes_has_it_and_the_older_one_does_not_fight(identity: str, how: str) -> None:
    world = World(identity)
    older, newer = Process(world), Process(world)
    older.register()
    session = older.peer.session
    if how != "connected":
        older.peer.cut(random.Random(0))
    if how == "lost here":
        older.peer.lose_session()
    node = newer.register()
    if how == "expired":
        world.tree.expire(session)
    world.settle(older, newer)
    assert newer.registered() and world.ours() == [node]
    error = older.taken()
    assert error.session_id == newer.peer.session and error.path == node
    for peer in (older.peer, newer.peer, older.peer):  # nothing moves it
        zxid = world.tree.zxid
        peer.cut(random.Random(1))
        world.settle(older, newer)
        assert world.tree.zxid == zxid and older.taken().session_id == newer.peer.session
    number = older.want(True)
    world.settle(older, newer)
    assert isinstance(older.outcomes[number], IdentityTakenError) and newer.registered(), "to ask again is no new claim"
    newer.kill()
    world.tree.expire(max(newer.sessions))
    world.settle(older)
    assert older.registered() and len(world.ours()) == 1
    newer.promise()
    world.settle(older, newer)
    assert newer.registered() and older.taken()


@FORMS
def test_deregistering_leaves_the_node_of_who_has_it(identity: str) -> None:
    world = World(identity)
    older, newer = Process(world), Process(world)
    older.register()
    newer.register()
    number = older.want(False)  # it has not heard of the other one
    world.settle(older, newer)
    assert older.outcomes[number] == "done" and newer.registered() and len(world.ours()) == 1
    older.register()
    world.settle(older, newer)
    assert older.registered() and newer.taken()
    number = newer.want(False)
    world.settle(older, newer)
    assert newer.outcomes[number] == "done" and newer.core.at_rest and older.registered()
    assert not newer.peer.watches["data"], "a watch that nobody wants"
    number = older.want(False)
    world.settle(older, newer)
    assert older.outcomes[number] == "done" and world.ours() == []


@FORMS
def test_a_deleted_node_comes_back(identity: str) -> None:
    world = World(identity)
    process = Process(world)
    world.tree.operator(ops.Delete(process.register()))
    world.settle(process)
    assert process.registered()
    world.tree.operator(ops.Delete(process.core.node))
    world.tree.operator(ops.Delete(DIRECTORY))
    world.settle(process)
    assert process.registered()


@FORMS
def test_an_expiry_is_one_transaction_and_the_newest_data_counts(identity: str) -> None:
    world = World(identity)
    process = Process(world)
    process.register()
    process.peer.cut(random.Random(0))
    process.update(b"newest")
    process.peer.lose_session()
    seen = len(world.tree.history)
    world.settle(process)
    assert all(len(held) == 1 for held in world.tree.history[seen:]) and process.registered()
    assert world.tree.nodes[process.core.node].data == b"newest"


@FORMS
@pytest.mark.parametrize("applied", [False, True])
def test_a_create_whose_answer_is_lost_makes_one_node(identity: str, applied: bool) -> None:
    world = World(identity)
    process = Process(world)
    number = process.want(True)
    process.step_to(ops.Create)
    process.lose(applied)
    world.settle(process)
    assert process.outcomes[number] == process.core.node and process.registered() and not world.tree.deletes


@FORMS
@pytest.mark.parametrize("applied", [False, True])
def test_a_replacement_whose_answer_is_lost_is_made_once(identity: str, applied: bool) -> None:
    """The claim is used up by then: the predecessor's node is known, and goes all the same."""
    world = World(identity)
    process = Process(world)
    process.register()
    process.kill()
    number = process.want(True)
    process.step_to(ops.Multi)
    process.lose(applied)
    world.settle(process)
    assert process.outcomes[number] == process.core.node and process.registered()
    assert all(len(held) == 1 for held in world.tree.history[2:]) and len(world.ours()) == 1


@FORMS
def test_a_replacement_whose_answer_is_lost_does_not_fight_for_what_is_newer(identity: str) -> None:
    world = World(identity)
    older, newer = Process(world), Process(world)
    number = older.want(True)
    older.step_to(ops.Create)
    older.lose(True)
    node = newer.register()
    world.settle(older, newer)
    assert isinstance(older.outcomes[number], IdentityTakenError) and newer.registered() and world.ours() == [node]


@FORMS
def test_who_wants_it_again_before_it_was_gone_has_no_claim_left(identity: str) -> None:
    world = World(identity)
    older, newer = Process(world), Process(world)
    older.register()
    older.peer.cut(random.Random(0))
    older.want(False)
    older.want(True)
    world.settle(older)
    newer.register()
    world.settle(older, newer)
    assert newer.registered() and older.taken()


@FORMS
def test_a_create_that_waited_and_went_with_the_next_session_is_ours(identity: str) -> None:
    """Found by simulation, seed 394: what was made with the new session was taken for another's, for as long as that lasted."""
    core = Registration(Service("/org", "api", DATA), OPEN_ACL_UNSAFE, (), GUID, lambda event: None, identity)
    tree = Tree(DIRECTORY)
    for path in ("/org", DIRECTORY):
        tree.operator(ops.Create(path))
    first, second = Connection(tree.open(), lambda event: None), Connection(tree.open(), lambda event: None)
    core.session(first.session, 0.0)
    core.want(True, "token", 0.0)
    waiting = core.operations()
    while not isinstance(waiting[0][1], ops.Create):
        for key, op in waiting:
            core.answered(key, tree.apply(op, first), 0.0)
        waiting = core.operations()
    core.session(None, 0.0)
    core.session(second.session, 0.0)
    while waiting:
        for key, op in waiting:
            core.answered(key, tree.apply(op, second), 0.0)
        waiting = core.operations()
    assert core.settled() == [("token", core.node)] and core.error is None
    assert list(tree.held()) == [str(core.node).rpartition("/")[2]] and tree.nodes[str(core.node)].owner == second.session


@FORMS
def test_two_registrars_of_one_client_with_one_identity_share_a_node(identity: str) -> None:
    """That is a mistake; but nothing is made and deleted for ever, and the newer one's data counts."""
    world = World(identity)
    first, second = Process(world), Process(world, b"newer" if identity == GUID else DATA)
    second.peer.session = first.peer.session = world.tree.open()
    first.register()
    second.register()
    world.settle(first, second)
    assert first.registered() and second.registered() and first.core.node == second.core.node
    assert world.tree.nodes[second.core.node].data == second.data
    second.want(False)
    world.settle(first, second)
    assert first.registered() and world.ours() == [first.core.node]


def test_a_create_that_was_applied_and_is_answered_with_node_exists_is_ours() -> None:
    """A request of the connection that was lost may arrive after the look."""
    world = World(NAME)
    process = Process(world)
    number, peer = process.want(True), process.peer
    process.step_to(ops.Create)
    late = peer.up[0][1]
    process.lose(False)
    process.step_to(ops.Create)
    assert peer.connection is not None
    world.tree.apply(late, peer.connection)
    world.settle(process)
    assert process.outcomes[number] == f"{DIRECTORY}/{NAME}" and process.registered() and not world.tree.deletes


def test_a_node_that_changes_hands_between_look_and_replacement_is_not_deleted() -> None:
    """The version of its data is 0 again: what tells is that something was made in the directory."""
    for data in (b"elsewhere", DATA):
        world = World(NAME)
        process = Process(world)
        process.register()
        process.kill()
        process.want(True)
        peer = process.peer
        process.step_to(ops.Multi)
        old = world.tree.nodes[world.path()]
        world.tree.expire(old.owner)
        world.stranger(data)
        deletes = len(world.tree.deletes)
        peer.serve()
        assert len(world.tree.deletes) == deletes and world.tree.nodes[world.path()].owner == world.others
        world.settle(process)
        assert process.registered() == (data == DATA)
        assert all(not name.endswith(tuple("0123456789")) or name == NAME for held in world.tree.history for name in held)


def test_a_directory_in_which_others_make_nodes_all_the_time_does_not_keep_us_out() -> None:
    world = World(NAME)
    process = Process(world)
    process.register()
    process.kill()
    process.want(True)
    for number in range(30):
        for _ in range(2):
            process.peer.step()
        world.tree.operator(ops.Create(f"{DIRECTORY}/busy{number}"))
        process.look()
    world.settle(process)
    assert process.registered()


def test_an_update_does_not_write_to_the_node_of_who_has_it() -> None:
    world = World(NAME)
    older, newer = Process(world), Process(world)
    older.register()
    newer.register()
    newer.update(b"newer")
    world.settle(newer)
    number = older.update(b"older")
    world.settle(older, newer)
    assert world.tree.nodes[world.path()].data == b"newer" and isinstance(older.outcomes[number], IdentityTakenError)
    newer.kill()
    world.tree.expire(max(newer.sessions))
    world.settle(older)
    number = older.update(b"once more")
    older.step_to(ops.SetData)  # it has looked, and found its own node
    world.tree.operator(ops.Delete(world.path()))
    newer.register()
    newer.update(b"newer")
    world.settle(newer)
    world.settle(older, newer)
    assert world.tree.nodes[world.path()].data == b"newer" and isinstance(older.outcomes[number], IdentityTakenError)


@FORMS
def test_a_takeover_while_a_caller_still_waits_leaves_no_watch(identity: str) -> None:
    world = World(identity)
    older, newer = Process(world), Process(world)
    number = older.want(True)
    older.step_to(ops.Create)
    older.step_to(ops.GetData)  # the look at the node that it has made
    newer.register()
    world.settle(older, newer)
    assert isinstance(older.outcomes[number], IdentityTakenError) and newer.registered()
    assert not older.peer.watches["data"] and older.core.at_rest


def test_a_replacement_between_the_list_and_a_look_at_its_nodes_is_no_gap() -> None:
    """Found by twenty processes with one guid on a real loop: the oldest made a node beside the newest one's."""
    world = World(GUID)
    older, newer = Process(world), Process(world)
    older.register()
    newer.register()
    older.step_to(ops.Exists)  # it has read the list
    newer.kill()
    node = newer.register()
    seen = len(world.tree.history)
    world.settle(older, newer)
    assert newer.registered() and world.ours() == [node] and older.taken() and len(world.tree.history) == seen


@pytest.mark.parametrize("persistent", [True, False])
def test_a_node_that_has_to_go_again_goes_though_the_answer_is_lost(persistent: bool) -> None:
    """A stranger came between the look and the create: it is persistent, or newer than ours."""
    world = World(GUID)
    process = Process(world)
    process.promise()
    process.step_to(ops.Create)
    if persistent:
        world.stranger(b"persistent", True)
    process.step_to(ops.GetData)
    if not persistent:
        world.stranger()
    process.step_to(ops.Delete)
    process.lose(False)
    world.settle(process)
    assert world.ours() == [world.path()] and process.taken().path == world.path()


def test_a_replacement_before_it_is_watched_is_no_gap() -> None:
    world = World(GUID)
    older, newer = Process(world), Process(world)
    older.register()
    newer.register()
    older.step_to(ops.GetChildren)
    older.step_to(ops.GetData)  # the watch on what was found
    newer.kill()
    node = newer.register()
    seen = len(world.tree.history)
    world.settle(older, newer)
    assert newer.registered() and world.ours() == [node] and older.taken() and len(world.tree.history) == seen


def test_what_goes_before_it_is_watched_is_no_trouble_any_more() -> None:
    world = World(NAME)
    world.stranger()
    process = Process(world)
    process.promise()
    process.step_to(ops.GetData)
    process.peer.serve()
    process.step_to(ops.GetData)  # the watch
    world.tree.operator(ops.Delete(world.path()))
    world.settle(process)
    process.peer.cut(random.Random(0))
    process.peer.connect()
    assert process.registered()


@FORMS
def test_two_that_begin_at_the_same_time_leave_one(identity: str) -> None:
    for seed in range(60):
        rng, world = random.Random(seed), World(identity)
        predecessor = Process(world)
        if seed % 2:
            predecessor.register()
            predecessor.kill()
        both = [Process(world), Process(world)]
        for one in both:
            one.promise()
        for _ in range(60):
            rng.choice(both).peer.step()
        world.settle(*both)
        assert len(world.ours()) == 1 and sum(one.registered() for one in both) == 1, seed
        next(one for one in both if not one.registered()).taken()


# ---------------------------------------------------------------- random schedules

STEPS = 400


class Rules:
    """What holds at every instant of a history."""

    def __init__(self, world: World, processes: List[Process]) -> None:
        self.world, self.processes = world, processes
        self.strangers: Set[int] = set()  # ids of nodes that nobody may take for ours
        self.kept: List[Node] = []
        self.made: List[Node] = []  # all that ever had our name
        self._at = 0
        create = world.tree.create_now

        def create_now(path: str, *rest: Any) -> str:
            made = create(path, *rest)
            if made in world.ours():
                self.made.append(world.tree.nodes[made])
            return made

        world.tree.create_now = create_now  # type: ignore[method-assign]

    def protect(self, node: Node) -> None:
        self.strangers.add(id(node))
        self.kept.append(node)

    def check(self) -> None:
        tree = self.world.tree
        for (session, path), (node, when) in list(zip(tree.deletes, tree.deleted))[self._at :]:
            process = next((one for one in self.processes if session in one.sessions), None)
            if process is None:
                continue
            assert id(node) not in self.strangers, f"{path} of a stranger was deleted"
            before = [one.czxid for one in self.made if one.owner in process.sessions and process.claimed < one.czxid < when]
            newer = bool(before) and node.czxid > max(before)
            assert not newer or node.owner in process.sessions, f"{process} fights for {path}"
        self._at = len(tree.deletes)
        for node in self.kept:
            assert node.data in (b"elsewhere", b"persistent"), "a stranger's node was written to"
        owners = [tree.nodes[path].owner for path in self.world.ours()]
        assert len(owners) == len(set(owners)), "two nodes in one session"


def act(rng: random.Random, world: World, rules: Rules, process: Process) -> None:
    """One step, of anybody's."""
    tree, peer, choice = world.tree, process.peer, rng.random()
    if choice < 0.35 and peer.up:
        peer.serve()
    elif choice < 0.70 and peer.down:
        peer.hear()
    elif choice < 0.77:
        peer.connect() if peer.connection is None else peer.cut(rng)
    elif choice < 0.80:
        if peer.connection is None and peer.session is not None:
            peer.lose_session() if rng.random() < 0.6 else peer.give_up()
    elif choice < 0.83 and tree.sessions:
        session = rng.choice(sorted(tree.sessions))
        if session != world.others:
            for one in rules.processes:
                if one.peer.connection is not None and one.peer.session == session:
                    one.peer.cut(rng)
            tree.expire(session)
    elif choice < 0.86 and world.ours():
        tree.operator(ops.Delete(rng.choice(world.ours())))
    elif choice < 0.88 and DIRECTORY in tree.nodes and (world.identity == NAME or not world.ours()):
        # (Who comes beside a node with a guid, and replaces it not, is no registrar: nobody hears of that.)
        persistent = rng.random() < 0.3
        made = world.stranger(b"persistent" if persistent else b"elsewhere", persistent)
        if made == world.path() and (persistent or world.identity == NAME):
            rules.protect(tree.nodes[made])
    elif choice < 0.89 and DIRECTORY in tree.nodes:
        tree.operator(ops.Create(f"{DIRECTORY}/busy{len(tree.history)}"))
    elif choice < 0.90:
        tree.denied = rng.choice([(), (), (ops.Create,), (ops.Delete,), (ops.GetChildren,)])
    elif choice < 0.915:
        process.kill(rng)
    elif choice < 0.95:
        process.want(rng.random() < 0.6)
    elif choice < 0.96:
        process.promise()
    elif choice < 0.97 and process.open:
        process.peer.tell(process.core.withdraw, rng.choice(sorted(process.open)))
    else:
        peer.pass_time(rng.choice([0.1, 1.0, 10.0]))


def schedule(seed: int, identity: str) -> None:
    """Anything, in any order; then everything goes well."""
    rng = random.Random(seed)
    world = World(identity, parents=rng.random() < 0.7)
    processes = [Process(world) for _ in range(rng.choice((1, 2, 2, 3)))]
    rules = Rules(world, processes)
    for _ in range(STEPS):
        process = rng.choice(processes)
        act(rng, world, rules, process)
        for one in processes:
            one.look()
        rules.check()
    world.tree.denied = ()
    world.settle(*processes)
    for session in sorted(world.tree.sessions - {one.peer.session for one in processes} - {world.others}):
        world.tree.expire(session)
        world.settle(*processes)
    rules.check()
    stranger = world.tree.nodes.get(world.path())
    if stranger is not None and stranger.owner in (0, world.others):
        for one in processes:
            if one.core.wanted:
                assert one.taken().session_id == stranger.owner
        world.tree.operator(ops.Delete(world.path()))
        world.settle(*processes)
    rules.check()
    have = [one for one in processes if one.registered()]
    assert len(world.ours()) == len(have) == int(any(one.core.wanted for one in processes)), (world.ours(), have)
    for one in processes:
        assert not one.open, f"never settled: {one.open}"
        if one.core.wanted and one not in have:
            assert one.taken().session_id == have[0].peer.session
        wanted = {one.core.node} if one in have else {one.taken().path} if one.core.wanted else set()
        assert one.peer.watches["data"] == wanted, (one.peer.watches, wanted)


@pytest.mark.once
@pytest.mark.parametrize("block", range(8))
@FORMS
@fault("G06")
def test_random_schedules_end_with_one_node_or_none(identity: str, block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        try:
            schedule(seed, identity)
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


def test_events_of_others_do_not_make_it_look_again() -> None:
    world = World(NAME)
    world.stranger()
    process = Process(world)
    process.promise()
    world.settle(process)
    world.tree.operator(ops.Create(f"{DIRECTORY}/other"))
    assert not process.core.concerned(f"{DIRECTORY}/other") and process.core.concerned(world.path())
    world.tree.operator(ops.SetData(world.path(), DATA))
    world.settle(process)
    assert process.registered(), "with our data it is a predecessor's: we have had no node yet, and claim it"
