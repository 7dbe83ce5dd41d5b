"""Which watcher an event fires, and how watches are armed again."""

from __future__ import annotations

import random
from typing import Any, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import Heard
from zkwire.ops import SetWatches, SetWatches2
from zkwire.wire.operation import CHILD, DATA, EXIST, PERSISTENT, RECURSIVE
from zkwire.values import EventType
from zkwire.wire.messages import Scope
from zkwire.session.watches import BATCH, KINDS, Watches

CREATED, CHANGED, DELETED, KIDS = EventType.CREATED, EventType.CHANGED, EventType.DELETED, EventType.CHILD


def told(watches: Watches, event: str, path: str) -> List[Any]:
    """Whom an event is for."""
    return [watcher for watcher, _ in watches.fire(event, path)]


@pytest.mark.parametrize(
    ("event", "fired", "left"),
    [
        (CREATED, [DATA, EXIST, PERSISTENT, RECURSIVE], [CHILD, PERSISTENT, RECURSIVE]),
        (CHANGED, [DATA, EXIST, PERSISTENT, RECURSIVE], [CHILD, PERSISTENT, RECURSIVE]),
        (DELETED, [DATA, EXIST, CHILD, PERSISTENT, RECURSIVE], [PERSISTENT, RECURSIVE]),
        (KIDS, [CHILD, PERSISTENT], [DATA, EXIST, PERSISTENT, RECURSIVE]),
        (EventType.NONE, [PERSISTENT, RECURSIVE], list(KINDS)),
    ],
)
def test_what_fires_and_what_stays(event: str, fired: List[str], left: List[str]) -> None:
    watches = Watches(Scope())
    heard = {kind: Heard(kind) for kind in KINDS}
    for kind, watcher in heard.items():
        watches.add(kind, "/a", watcher)
    assert told(watches, event, "/a") == [heard[kind] for kind in fired]
    assert [kind for kind in KINDS if watches.paths(kind)] == left


def test_a_watcher_is_told_once_however_often_it_waits() -> None:
    watches, one = Watches(Scope()), Heard()
    for kind in KINDS:
        watches.add(kind, "/a", one)
        watches.add(kind, "/a", one)
    assert told(watches, DELETED, "/a") == [one]
    assert told(watches, DELETED, "/a") == [one]  # the persistent ones stay
    assert len(watches) == 2


def test_a_persistent_watch_is_told_of_with_its_own_path() -> None:
    """Which may be read afresh instead of an event; a one-shot watch has no such path, whatever else it is."""
    watches, once, here, above = Watches(Scope()), Heard(), Heard(), Heard()
    watches.add(DATA, "/a/b", once)
    watches.add(PERSISTENT, "/a/b", once)
    watches.add(PERSISTENT, "/a/b", here)
    watches.add(RECURSIVE, "/a", here)
    watches.add(RECURSIVE, "/a", above)
    assert watches.fire(CHANGED, "/a/b") == [(once, None), (here, "/a/b"), (above, "/a")]
    assert watches.fire(CHANGED, "/a/b") == [(once, "/a/b"), (here, "/a/b"), (above, "/a")]


def test_other_paths_are_left_alone() -> None:
    watches, one = Watches(Scope()), Heard()
    watches.add(DATA, "/a", one)
    for path in ("/", "/ab", "/a/b", "/A"):
        assert told(watches, CHANGED, path) == []
    assert told(watches, CHANGED, "/a") == [one]
    assert told(watches, CHANGED, "/a") == []


@fault("W16")
def test_ancestors_by_segment() -> None:
    watches = Watches(Scope())
    heard = {path: Heard(path) for path in ("/", "/a", "/a/b", "/ab", "/a/b/c", "/a/bc")}
    for path, watcher in heard.items():
        watches.add(RECURSIVE, path, watcher)
    assert told(watches, CREATED, "/a/b/c/d/e") == [heard[p] for p in ("/a/b/c", "/a/b", "/a", "/")]
    assert told(watches, CHANGED, "/ab") == [heard["/ab"], heard["/"]]
    assert told(watches, DELETED, "/") == [heard["/"]]
    assert told(watches, KIDS, "/a/b") == []  # a recursive watch hears of the child itself


@fault("W16")
def test_ancestors_are_those_of_a_plain_rule() -> None:
    rng = random.Random(7)
    names = ["a", "ab", "b", "a.b", "é"]
    for _ in range(2000):
        watched = "/" + "/".join(rng.choice(names) for _ in range(rng.randrange(4)))
        path = "/" + "/".join(rng.choice(names) for _ in range(rng.randrange(1, 6)))
        watches, one = Watches(Scope()), Heard()
        watches.add(RECURSIVE, watched, one)
        expected = watched == "/" or path == watched or path.startswith(watched + "/")
        assert bool(watches.fire(CHANGED, path)) is expected, (watched, path)


def test_removal_takes_what_was_named() -> None:
    watches, one, two = Watches(Scope()), Heard("one"), Heard("two")
    for watcher in (one, two):
        for kind in KINDS:
            watches.add(kind, "/a", watcher)
    assert watches.remove("/a", one, (CHILD,)) == [(CHILD, one)]
    assert watches.remove("/a", one) == [(kind, one) for kind in KINDS if kind != CHILD]
    assert watches.remove("/b") == []
    assert watches.remove("/a") == [(kind, two) for kind in KINDS]
    assert len(watches) == 0


def test_drop_takes_all_of_the_kinds() -> None:
    watches, one = Watches(Scope()), Heard()
    watches.add(DATA, "/a", one)
    watches.add(RECURSIVE, "/b", one)
    assert watches.drop((PERSISTENT, RECURSIVE)) == [(RECURSIVE, "/b", one)]
    assert watches.drop() == [(DATA, "/a", one)]
    assert len(watches) == 0


def test_nothing_is_replayed_for_nothing() -> None:
    assert list(Watches(Scope()).replay(5)) == []


def test_the_second_request_only_for_persistent_watches() -> None:
    watches, one = Watches(Scope()), Heard()
    watches.add(DATA, "/d", one)
    watches.add(EXIST, "/e", one)
    watches.add(CHILD, "/c", one)
    assert list(watches.replay(5)) == [SetWatches(5, ["/d"], ["/e"], ["/c"])]
    watches.add(RECURSIVE, "/r", one)
    watches.add(PERSISTENT, "/p", one)
    assert list(watches.replay(5)) == [SetWatches2(5, ["/d"], ["/e"], ["/c"], ["/p"], ["/r"])]


@pytest.mark.parametrize("limit", [BATCH, 64 * 1024, 3000])
def test_batches_are_counted_in_bytes(limit: int) -> None:
    """As ZOOKEEPER-706; Java counts characters, so that its frames may be three times as long."""
    watches, one = Watches(Scope()), Heard()
    kinds = {}
    for i in range(4000):
        path = f"/{'é' * 40}{i:05}"
        kind = KINDS[i % 5]
        kinds[path] = kind
        watches.add(kind, path, one)
    batches = list(watches.replay(9, limit))
    replayed = {}
    for op in batches:
        assert isinstance(op, SetWatches2)
        assert op.relative_zxid == 9
        frame = op.frame(1, None)
        assert len(frame) - 4 <= limit + 36
        for kind in KINDS:
            for path in getattr(op, kind):
                assert path not in replayed
                replayed[path] = kind
    assert replayed == kinds
    total = sum(len(path.encode()) + 4 for path in kinds)
    assert len(batches) <= total // (limit - 100) + 1


def test_a_path_longer_than_a_batch_stands_alone() -> None:
    watches, one = Watches(Scope()), Heard()
    long = "/" + "x" * (BATCH + 10)
    for path in ("/a", long, "/b"):
        watches.add(DATA, path, one)
    assert [list(op.data) for op in watches.replay(1)] == [["/a"], [long], ["/b"]]
