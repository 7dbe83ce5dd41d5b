"""A `Settling`: alone, through random histories with rules, broken on purpose, and before an instancer of either front."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, cast

import pytest

from tests.discovery import test_membership
from tests.kit.discovery import histories
from tests.kit.discovery.histories import Broken, History, Value
from tests.kit.discovery.peer import Peer
from tests.kit.fronts import Front, Log, until
from zkdisco import Event
from zkdisco import settling as module
from zkdisco.codecs import TEXT
from zkdisco.settled import Settled
from zkdisco.settling import Settling, unmatched
from zkwire import ZooKeeper
from zkwire.errors import OperationTimeoutError
from zkwire.ops import Create, Delete

TEN = tuple("abcdefghij")
LOSS = ConnectionError("lost")


def settled(*instances: Any, **options: Any) -> Settling[Any]:
    """A filter with default times of 0.1, 5 and 30 s, which has shown these at 0."""
    filter = Settling[Any](**options)
    assert filter.event(Event(instances), 0.0) == Event(instances)
    return filter


# ----------------------------------------------------------------------------------- the event


def test_an_event_with_held_instances_is_a_value() -> None:
    event = Event(("a", "b"), None, ("b",))
    assert event == Event(("a", "b"), None, held=("b",)) and hash(event) == hash(Event(("a", "b"), None, ("b",)))
    assert event != Event(("a", "b")) and event != (("a", "b"), None) and Event(("a", "b")) == (("a", "b"), None)
    assert event != ((("a", "b"), None)) and (("a", "b"), None) != event  # noqa: SIM300
    instances, error = event
    assert (instances, error) == (("a", "b"), None)
    assert repr(event) == "Event(instances=('a', 'b'), error=None, held=('b',))"
    assert event._replace(error=LOSS) == Event(("a", "b"), LOSS, ("b",)) and event._replace(held=()) == Event(("a", "b"))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(event, protocol))  # noqa: S301
        assert again == event and again.held == ("b",) and type(again) is Event


# ----------------------------------------------------------------------------------- one by one


def test_a_removal_is_shown_when_its_burst_is_over() -> None:
    filter = settled(*TEN)
    assert filter.event(Event(TEN[1:]), 1.0) is None and filter.event(Event(TEN[2:]), 1.05) is None
    assert filter.deadline() == 1.1 and filter.missing == ("a", "b") and filter.missing_since == 1.0
    assert filter.timed_out(1.09) is None and filter.timed_out(1.1) == Event(TEN[2:]) and filter.deadline() is None


def test_what_goes_in_one_burst_is_one_event() -> None:
    filter = settled(*TEN)
    for number in range(1, 5):
        assert filter.event(Event(TEN[number:]), 1.0 + number / 100) is None
    assert filter.timed_out(filter.deadline() or 0.0) == Event(TEN[4:])
    assert filter.deadline() is None


def test_an_addition_passes_at_once_also_while_something_is_held() -> None:
    filter = settled("a", "b")
    assert filter.event(Event(()), 1.0) is None
    assert filter.timed_out(1.1) == Event(("a", "b"), None, held=("a", "b"))
    assert filter.event(Event(("c",)), 2.0) == Event(("b", "c"), None, held=("b",)), "in the place of one that went"
    assert filter.event(Event(("b", "c")), 3.0) == Event(("b", "c")), "it is back"


def test_more_than_half_is_held_for_the_bound() -> None:
    filter = settled(*TEN)
    assert filter.event(Event(TEN[6:]), 1.0) is None
    assert filter.timed_out(1.1) == Event(TEN, None, held=TEN[:6])
    assert filter.deadline() == 31.0 and filter.timed_out(30.9) is None
    assert filter.timed_out(31.0) == Event(TEN[6:]) and filter.deadline() is None


def test_half_is_not() -> None:
    filter = settled(*TEN)
    filter.event(Event(TEN[5:]), 1.0)
    assert filter.timed_out(1.1) == Event(TEN[5:])


def test_removals_within_a_few_seconds_count_together() -> None:
    filter = settled(*TEN)
    filter.event(Event(TEN[4:]), 1.0)
    assert filter.timed_out(1.1) == Event(TEN[4:]), "40 %"
    filter.event(Event(TEN[6:]), 4.0)
    assert filter.timed_out(4.1) == Event(TEN[4:], None, held=TEN[4:6]), "60 %"
    slow = settled(*TEN)
    slow.event(Event(TEN[4:]), 1.0)
    slow.timed_out(1.1)
    slow.event(Event(TEN[6:]), 7.0)
    assert slow.timed_out(7.1) == Event(TEN[6:]), "a third of the six there were"


def test_the_last_one_is_held() -> None:
    filter = settled("a")
    filter.event(Event(()), 1.0)
    assert filter.timed_out(1.1) == Event(("a",), None, held=("a",)) and filter.timed_out(31.0) == Event(())


def test_trouble_passes_at_once_and_stays() -> None:
    filter = settled("a", "b")
    filter.event(Event(()), 1.0)
    assert filter.event(Event((), LOSS), 1.05) == Event(("a", "b"), LOSS, held=("a", "b"))
    filter.timed_out(1.1)
    assert filter.timed_out(31.0) == Event((), LOSS), "not for longer, and no fresher"
    assert filter.event(Event(()), 32.0) == Event(())


def test_new_data_does_not_stand_beside_the_old() -> None:
    """All ten are told another weight: nobody has disappeared, and nobody is there twice."""
    filter = settled(*TEN)
    assert filter.event(Event(tuple("ABCDEFGHIJ")), 1.0) == Event(tuple("ABCDEFGHIJ")) and filter.deadline() is None
    held = settled("x", "a", "b", "c")
    held.event(Event(("x",)), 1.0)
    held.timed_out(1.1)
    assert held.event(Event(("y",)), 2.0) == Event(("a", "b", "c", "y"), None, held=("a", "b", "c")), "its own, not theirs"


def test_equal_instances_count_each_whether_they_can_be_hashed_or_not() -> None:
    for a, b in (("a", "b"), (Value("a"), Value("b"))):
        filter = settled(a, a, b, b)
        filter.event(Event((b,)), 1.0)
        event = filter.timed_out(1.1)
        assert event is not None and sorted(map(str, event.held)) == ["a", "a", "b"] and len(event.instances) == 4
        event = filter.event(Event((a, b)), 2.0)
        assert event is not None and sorted(map(str, event.held)) == ["a", "b"] and len(event.instances) == 4
    assert unmatched([1, 1, 2], [3, 1, 1, 1]) == ([2], [0, 3])
    assert unmatched([[1], [1], [2]], [[3], [1], [1], [1]]) == ([2], [0, 3])


def test_an_event_without_a_change_passes() -> None:
    """Its nodes are news."""
    filter = settled("a")
    assert filter.event(Event(("a",)), 1.0) == Event(("a",))
    assert Settling[str]().event(Event((), LOSS), 0.0) == Event((), LOSS)


def test_without_a_bound_nothing_is_kept() -> None:
    filter = settled(*TEN, hold=0)
    assert filter.event(Event(()), 1.0) == Event(()) and filter.deadline() is None


def test_a_late_call_decides_as_one_in_time() -> None:
    """The process has stood still."""
    filter = settled(*TEN)
    filter.event(Event(TEN[6:]), 1.0)
    assert filter.timed_out(20.0) == Event(TEN, None, held=TEN[:6])
    other = settled(*TEN)
    other.event(Event(TEN[6:]), 1.0)
    assert other.timed_out(40.0) == Event(TEN[6:])


@pytest.mark.parametrize("options", [{"share": -0.1}, {"share": 2}, {"hold": -1}, {"within": float("inf")}, {"burst": float("nan")}])
def test_what_can_be_no_filter(options: Dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"invalid {next(iter(options))}"):
        Settling(**options)


# ----------------------------------------------------------------------------------- by simulation


def test_a_few_histories() -> None:
    assert sum(len(History(seed).run(25).sizes) for seed in range(50)) == 50 * 26


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.watchdog(120)
def test_ten_thousand_histories() -> None:
    for seed in range(10_000):
        try:
            History(seed).run(8)
        except Broken as error:
            raise AssertionError(f"seed {seed}: {error}") from error


Mutant = Callable[[pytest.MonkeyPatch], None]


def never_lets_go(patch: pytest.MonkeyPatch) -> None:
    expire = Settling._expire

    def wrong(self: Settling[Any], now: float) -> bool:
        held = [one for one in self._gone if one.held]
        changed = expire(self, now)
        self._gone = [*held, *(one for one in self._gone if one not in held)]
        for one in held:
            one.until += histories.HOLD
        return changed

    patch.setattr(Settling, "_expire", wrong)


def begins_the_bound_anew(patch: pytest.MonkeyPatch) -> None:
    event = Settling.event

    def wrong(self: Settling[Any], event_: Event[Any], now: float) -> Optional[Event[Any]]:
        for one in self._gone:
            one.until += max(0.0, now - one.since) / 2 if one.held else 0.0
        return event(self, event_, now)

    patch.setattr(Settling, "event", wrong)


def additions_wait(patch: pytest.MonkeyPatch) -> None:
    event = Settling.event
    patch.setattr(Settling, "event", lambda self, one, now: event(self, one, now) if not self._gone else (event(self, one, now), None)[1])


def trouble_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    shown = Settling._shown
    patch.setattr(Settling, "_shown", lambda self: shown(self)._replace(error=None) if self._gone else shown(self))


def only_an_empty_set_is_held(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settling, "_is_mass", lambda self, since: not self._newest.instances)


def an_empty_set_is_believed(patch: pytest.MonkeyPatch) -> None:
    mass = Settling._is_mass
    patch.setattr(Settling, "_is_mass", lambda self, since: bool(self._newest.instances) and mass(self, since))


def each_removal_counts_alone(patch: pytest.MonkeyPatch) -> None:
    note = Settling._note
    patch.setattr(Settling, "_note", lambda self, size, now: (self._sizes.clear(), note(self, size, now))[1])


def what_is_back_is_held_on(patch: pytest.MonkeyPatch) -> None:
    event = Settling.event

    def wrong(self: Settling[Any], one: Event[Any], now: float) -> Optional[Event[Any]]:
        gone = [other for other in self._gone if other.until > now and other.held]
        event(self, one, now)
        self._gone = gone + [other for other in self._gone if other not in gone]
        return self._shown()

    patch.setattr(Settling, "event", wrong)


def held_is_not_named(patch: pytest.MonkeyPatch) -> None:
    shown = Settling._shown
    patch.setattr(Settling, "_shown", lambda self: shown(self)._replace(held=()))


def old_data_stands_beside_the_new(patch: pytest.MonkeyPatch) -> None:
    real = module.unmatched
    patch.setattr(module, "unmatched", lambda ones, others: (real(ones, others)[0], []) if isinstance(others, list) else real(ones, others))


MUTANTS: List[Mutant] = [
    never_lets_go, begins_the_bound_anew, additions_wait, trouble_is_forgotten, only_an_empty_set_is_held, an_empty_set_is_believed,
    each_removal_counts_alone, what_is_back_is_held_on, held_is_not_named, old_data_stands_beside_the_new,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_rules_see_what_is_broken(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    with pytest.raises(Broken):
        for seed in range(200):
            History(seed).run(25)


# ----------------------------------------------------------------------------------- before the core of an instancer


class Behind(test_membership.World):
    """An instancer's core behind a filter: what is shown and not held was true; the nodes are those of what is shown."""

    def __init__(self, recursive: bool = True) -> None:
        super().__init__(recursive)
        self.bare = self.core
        self.core: Any = Settled(self.bare, Settling(hold=8.0), TEXT)
        self.peer = Peer(self.tree, self.core)

    def wait(self, seconds: float) -> None:
        """All is heard of, then so much time passes."""
        while self.peer.up or self.peer.down:
            self.peer.step()
        self.peer.pass_time(seconds)
        self.look()

    def look(self) -> None:
        nodes = [node for table in self.core.nodes for node in table.values()]
        self.nodes = {node.name: node.data for node in nodes}
        assert len(self.nodes) == len(nodes), "two nodes of one name"
        events = self.core.events()
        for event in events:
            self.shown.append(event)
            true = tuple(sorted((Counter(event.instances) - Counter(event.held)).elements()))
            if event.error is None:
                instants = range(self.instant, len(self.tree.history))
                found = next((i for i in instants if test_membership.decoded(self.tree.history[i]) == true), None)
                assert found is not None, f"{event} never was, or was before"
                self.instant = found
        if events:
            assert not Counter(test_membership.decoded(self.nodes)) - Counter(self.shown[-1].instances), "nodes of nobody"
            assert self.core.deadline() is not None or not self.shown[-1].held, "held for ever"


def followed(seed: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> Behind:
    monkeypatch.setattr(test_membership, "World", Behind)
    try:
        world: Any = test_membership.schedule(seed, steps)
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {error!r}") from error
    return cast(Behind, world)


@pytest.mark.once
def test_random_schedules_of_an_instancer_behind_it_end_with_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    held = sum(any(event.held for event in followed(seed, 200, monkeypatch).shown) for seed in range(80))
    assert held > 10, "many of them have held somebody"


@pytest.mark.once
@pytest.mark.parametrize("name, wrong", [
    ("_keep", lambda self: setattr(self, "nodes", self._before)),
    ("_note", lambda self, before, after: None),
])  # fmt: skip
def test_an_instancer_shows_the_nodes_of_those_held(name: str, wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for broken in (False, True):
        if broken:
            monkeypatch.setattr(Settled, name, wrong)
        world = Behind()
        world.make_directory()
        for node in "ab":
            world.add(node, node.encode())
        world.run()
        for node in "ab":
            world.change(Delete(f"{test_membership.DIRECTORY}/{node}"))
        world.wait(0.2)
        assert world.shown[-1].held == ("a", "b") and (world.nodes == {"a": b"a", "b": b"b"}) is not broken
        world.wait(9.0)
        assert world.shown[-1] == Event(()) and world.nodes == {}


def test_the_end_of_all_sessions_is_one_event_with_the_truth() -> None:
    world = Behind()
    world.make_directory()
    world.add("a", b"a")
    world.run()
    world.change(Delete(f"{test_membership.DIRECTORY}/a"))
    world.wait(1.0)
    assert world.shown[-1].held == ("a",)
    world.core.ended(LOSS, world.peer.now)
    assert world.core.events() == [Event((), LOSS)] and world.core.over and world.core.deadline() is None


def test_each_instancer_needs_its_own() -> None:
    filter = Settling[Any]()
    Settled(Behind().bare, filter, TEXT)
    with pytest.raises(ValueError, match="needs its own"):
        Settled(Behind().bare, filter, TEXT)


# ----------------------------------------------------------------------------------- on both fronts


@pytest.mark.slow
@pytest.mark.timed
def test_an_instancer_shows_what_went_all_at_once_for_a_while(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path("/svc/api")
        zk.multi([Create(f"/svc/api/{name}", name.encode()) for name in "abcd"])
        instancer, heard = front.instancer(front.disco(server.hosts, session_timeout=10.0), "/svc/api", settling=Settling(hold=3.0)), Log()
        instancer.register(heard)
        heard.wait()
        zk.multi([Delete(f"/svc/api/{name}") for name in "abcd"])
        event = heard.wait(2)[1]
        assert event == Event(tuple("abcd"), None, held=tuple("abcd")) and instancer.state is event
        assert [node.name for node in instancer.nodes] == list("abcd"), "the nodes of this very set"
        with pytest.raises(OperationTimeoutError, match=r": 0 of at least 1 instances in time \(4 more are held\)$"):
            instancer.wait(timeout=0.05)
        zk.create("/svc/api/e", b"e")
        event = heard.wait(3)[2]
        assert (event.instances, len(event.held)) == (tuple("bcde"), 3) and instancer.wait().instances == tuple("bcde")
        until(lambda: instancer.stale_since is not None)
        heard.until(lambda seen: seen[-1] == Event(("e",)))
        assert [node.name for node in instancer.nodes] == ["e"] and instancer.stale_since is None and len(heard.seen) == 4


@pytest.mark.slow
def test_an_outage_shows_nothing_longer(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    with ZooKeeper(server.hosts) as zk:
        zk.ensure_path("/svc/api")
        zk.multi([Create(f"/svc/api/{name}", name.encode()) for name in "ab"])
        client = front.disco(proxy.hosts, session_timeout=10.0)
        instancer, heard = front.instancer(client, "/svc/api", settling=Settling(hold=1.5)), Log()
        instancer.register(heard)
        zk.multi([Delete(f"/svc/api/{name}") for name in "ab"])
        heard.until(lambda seen: seen[-1].held == ("a", "b"))
        proxy.refuse()
        proxy.cut("rst")
        heard.until(lambda seen: seen[-1].error is not None and seen[-1].held == ("a", "b"))
        heard.until(lambda seen: seen[-1].error is not None and seen[-1].instances == ())


def test_it_is_a_settling_or_nothing(front: Front) -> None:
    client = front.disco(front.server().hosts)
    with pytest.raises(TypeError, match="settling="):
        front.instancer(client, "/svc/api", settling=0.5)
