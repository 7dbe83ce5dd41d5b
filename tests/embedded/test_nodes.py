"""The embedded server's nodes and watches: types, counters, transactions, events and their order."""

from __future__ import annotations

import pytest

from tests.kit.embedded_peer import CHANGED, CHILD, CREATED, DELETED, OPEN, WATCH, Peer, connected, make_core
from zkwire.ops import (
    AddWatch, Check, CheckWatches, Create, Create2, CreateContainer, CreateTTL, Delete, Exists, GetAllChildrenNumber,
    GetChildren, GetChildren2, GetData, Multi, MultiRead, RemoveWatches, SetData, SetWatches, SetWatches2,
)  # fmt: skip
from zkwire.values import ACL, Id, Stat


def test_stat_to_the_field():
    core = make_core()
    peer = connected(core, now=5.0)
    peer.now = 6.0
    path, stat = peer.ask(Create2("/a", b"xy", OPEN, ephemeral=True))
    ms = 1_000_006_000
    assert path == "/a"
    assert stat == Stat(2, 2, ms, ms, 0, 0, 0, peer.session[0], 2, 0, 2)
    peer.now = 7.5
    assert peer.ask(SetData("/a", b"", 0)) == Stat(2, 3, ms, ms + 1500, 1, 0, 0, peer.session[0], 0, 0, 2)


def test_children_count_as_clients_see_it():
    peer = connected(make_core())
    peer.ask(Create("/p", b"", OPEN))
    peer.ask(Create("/p/a", b"", OPEN))
    peer.ask(Create("/p/b", b"", OPEN))
    peer.ask(Delete("/p/a"))
    names, stat = peer.ask(GetChildren2("/p"))
    assert names == ["b"]
    assert (stat.cversion, stat.numChildren, stat.pzxid) == (3, 1, 5)


def test_sequence_counts_all_creates():
    peer = connected(make_core())
    peer.ask(Create("/p", b"", OPEN))
    assert peer.ask(Create("/p/s-", b"", OPEN, sequence=True)) == "/p/s-0000000000"
    peer.ask(Create("/p/plain", b"", OPEN))
    peer.ask(Delete("/p/plain"))
    assert peer.ask(Create("/p/", b"", OPEN, sequence=True)) == "/p/0000000002"


@pytest.mark.parametrize(
    "op, code",
    [
        (Create("/a/b", b"", OPEN), -101), (Delete("/a"), -101), (SetData("/a", b""), -101), (GetData("/a"), -101),
        (Create("/a", b"", ()), -114), (Delete("/"), -8), (Delete("/zookeeper"), -8),
        (Create("/zookeeper", b"", OPEN), -110),
        (SetData("/", b"", 7), -103), (Create("/zookeeper/x", None, None), -114), (GetChildren("/a"), -101),
        (RemoveWatches("/a"), -121), (CheckWatches("/a"), -121), (CheckWatches("/a", 9), -5),
    ],
)  # fmt: skip
def test_errors(op, code):
    assert connected(make_core()).ask(op) == code


def test_errors_of_existing_nodes():
    peer = connected(make_core())
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    peer.ask(Create("/p", b"", OPEN))
    peer.ask(Create("/p/c", b"", OPEN))
    assert peer.ask(Create("/e/x", b"", OPEN)) == -108
    assert peer.ask(Create("/p", b"", OPEN)) == -110
    assert peer.ask(Delete("/p")) == -111
    assert peer.ask(Delete("/p/c", 3)) == -103


def test_a_refused_write_has_a_zxid_of_its_own():
    core = make_core()
    peer = connected(core)
    peer.send(Delete("/none"), GetData("/"))
    assert [reply[1] for reply in peer.replies()] == [2, 2]


# -- containers and TTL


def test_containers_and_ttl_nodes_vanish_in_time():
    core = make_core(reap_interval=1.0)
    peer = connected(core, timeout_ms=60000)
    peer.ask(CreateContainer("/c", b"", OPEN))
    peer.ask(CreateTTL("/t", b"", OPEN, ttl=5.0))
    peer.ask(Create("/c/x", b"", OPEN))
    peer.ask(Exists("/t", WATCH))
    assert peer.ask(GetData("/t"))[1].ephemeralOwner == 0
    core.tick(4.0)
    peer.ask(Delete("/c/x"))
    assert sorted(peer.ask(GetChildren("/"))) == ["c", "t", "zookeeper"]
    core.tick(5.0)
    assert sorted(peer.ask(GetChildren("/"))) == ["t", "zookeeper"]
    core.tick(6.0)
    peer.now = 6.0
    assert peer.heard() == [(DELETED, "/t")]


def test_a_fresh_container_is_kept():
    core = make_core()
    peer = connected(core, timeout_ms=60000)
    peer.ask(CreateContainer("/c", b"", OPEN))
    core.tick(30.0)
    assert peer.ask(Exists("/c"))


def test_ttl_needs_extended_types():
    peer = connected(make_core(extended=False))
    assert peer.ask(CreateTTL("/t", b"", OPEN, ttl=1.0)) == -6
    assert not peer.link.over


# -- transactions


def test_a_transaction_is_all_or_nothing():
    peer = connected(make_core())
    ops = [Create("/a", b"", OPEN), SetData("/none", b""), Delete("/a")]
    assert peer.ask(Multi(ops)) == [(-1, 0), (-1, -101), (-1, -2)]
    assert peer.ask(Exists("/a")) == -101


def test_a_transaction_sees_what_it_did():
    peer = connected(make_core())
    ops = [
        Create("/a", b"", OPEN), Create2("/a/s", b"", OPEN, sequence=True), SetData("/a", b"x", 0), Check("/a", 1),
        Delete("/a/s0000000000"), Delete("/a", 1),
    ]  # fmt: skip
    results = peer.ask(Multi(ops))
    assert [kind for kind, _ in results] == [1, 15, 5, 13, 2, 2]
    assert results[1][1][0] == "/a/s0000000000"
    assert peer.ask(Exists("/a")) == -101


def test_create2_in_a_transaction_by_version():
    for version, kind in (("3.8", 1), ("3.9", 15)):
        peer = connected(make_core(version=version))
        assert peer.ask(Multi([Create2("/a", b"", OPEN)]))[0][0] == kind


def test_multi_read_gives_partial_results():
    peer = connected(make_core())
    peer.ask(Create("/a", b"x", OPEN))
    results = peer.ask(MultiRead([GetData("/a"), GetChildren("/a"), GetData("/b")]))
    assert [kind for kind, _ in results] == [4, 8, -1]
    assert (results[0][1][0], results[1][1], results[2][1]) == (b"x", [], -101)


def test_a_write_among_reads_is_malformed():
    peer = connected(make_core())
    op = object.__new__(MultiRead)
    op.__dict__["ops"] = [Delete("/a")]
    peer.send(op)
    assert [reply[2:] for reply in peer.replies()] == [(-5, bytes.fromhex("ffffffff01ffffffff"))]


def test_all_children_number():
    peer = connected(make_core())
    assert peer.ask(GetAllChildrenNumber("/")) == 3
    for path in ("/a", "/a/b", "/ab"):
        peer.ask(Create(path, b"", OPEN))
    assert (peer.ask(GetAllChildrenNumber("/a")), peer.ask(GetAllChildrenNumber("/"))) == (1, 6)


# -- watches


def test_one_shot_watches_fire_once_and_in_order():
    core = make_core()
    writer, watcher = connected(core), connected(core)
    writer.ask(Create("/a", b"", OPEN))
    assert watcher.ask(Exists("/a/b", WATCH)) == -101
    watcher.ask(GetData("/a", WATCH))
    watcher.ask(GetChildren("/a", WATCH))
    writer.ask(Create("/a/b", b"", OPEN))
    writer.ask(SetData("/a", b"1"))
    writer.ask(SetData("/a", b"2"))
    assert watcher.heard() == [(CREATED, "/a/b"), (CHILD, "/a"), (CHANGED, "/a")]


def test_an_event_precedes_the_reply_of_the_own_write():
    peer = connected(make_core())
    peer.ask(Exists("/a", WATCH))
    peer.send(Create("/a", b"", OPEN))
    kinds = [frame[:4] == b"\xff\xff\xff\xff" for frame in peer.frames()]
    assert kinds == [True, False]


def test_data_and_child_watch_hear_of_a_deletion_once():
    core = make_core()
    writer, watcher = connected(core), connected(core)
    writer.ask(Create("/a", b"", OPEN))
    watcher.ask(GetData("/a", WATCH))
    watcher.ask(GetChildren("/a", WATCH))
    watcher.ask(GetChildren("/", WATCH))
    writer.ask(Delete("/a"))
    assert watcher.heard() == [(DELETED, "/a"), (CHILD, "/")]


def test_persistent_and_recursive_watches():
    core = make_core()
    writer, persistent, recursive = connected(core), connected(core), connected(core)
    persistent.ask(AddWatch("/a", WATCH))
    recursive.ask(AddWatch("/", WATCH, recursive=True))
    for op in (Create("/a", b"", OPEN), Create("/a/b", b"", OPEN), SetData("/a/b", b"x"), Delete("/a/b"), Delete("/a")):
        writer.ask(op)
    assert persistent.heard() == [(CREATED, "/a"), (CHILD, "/a"), (CHILD, "/a"), (DELETED, "/a")]
    assert recursive.heard() == [
        (CREATED, "/a"), (CREATED, "/a/b"), (CHANGED, "/a/b"), (DELETED, "/a/b"), (DELETED, "/a"),
    ]  # fmt: skip
    assert recursive.ask(RemoveWatches("/")) is None
    writer.ask(Create("/a", b"", OPEN))
    assert recursive.heard() == []


def test_before_3_9_a_standard_watch_takes_the_place_of_a_persistent_one():
    for version, times in (("3.8", 1), ("3.9", 2)):
        core = make_core(version=version)
        writer, watcher = connected(core), connected(core)
        watcher.ask(AddWatch("/a", WATCH))
        watcher.ask(Exists("/a", WATCH))
        writer.ask(Create("/a", b"", OPEN))
        writer.ask(SetData("/a", b""))
        assert len(watcher.heard()) == times, version


def test_set_watches_catches_up_and_arms():
    core = make_core()
    peer, writer = connected(core), connected(core)
    for path in ("/kept", "/gone", "/changed", "/parent"):
        writer.ask(Create(path, b"", OPEN))
    since = core.data.applied
    writer.ask(Delete("/gone"))
    writer.ask(SetData("/changed", b"x"))
    writer.ask(Create("/parent/x", b"", OPEN))
    writer.ask(Create("/new", b"", OPEN))
    peer.send(SetWatches(since, ["/kept", "/gone", "/changed"], ["/new", "/never"], ["/parent", "/kept"]))
    assert [reply[2] for reply in peer.replies()] == [0]
    assert peer.heard() == [(DELETED, "/gone"), (CHANGED, "/changed"), (CREATED, "/new"), (CHILD, "/parent")]
    writer.ask(SetData("/kept", b""))
    writer.ask(Create("/never", b"", OPEN))
    assert peer.heard() == [(CHANGED, "/kept"), (CREATED, "/never")]


def test_set_watches_2_arms_persistent_watches_without_catching_up():
    core = make_core()
    peer, writer = connected(core), connected(core)
    writer.ask(Create("/a", b"", OPEN))
    peer.send(SetWatches2(0, persistent=["/a"], recursive=["/b"]))
    assert peer.replies() and peer.heard() == []
    writer.ask(Create("/b", b"", OPEN))
    writer.ask(SetData("/a", b""))
    assert peer.heard() == [(CREATED, "/b"), (CHANGED, "/a")]


def test_watches_end_with_their_connection():
    core = make_core()
    old, writer = connected(core), connected(core)
    old.ask(Exists("/a", WATCH))
    new = Peer(core)
    new.connect(10000, old.session)
    writer.ask(Create("/a", b"", OPEN))
    assert new.heard() == []


def test_events_of_nodes_that_may_not_be_read_are_kept_back():
    core = make_core()
    writer, watcher = connected(core), connected(core)
    watcher.ask(Exists("/a", WATCH))
    watcher.ask(Exists("/b", WATCH))
    writer.ask(Create("/a", b"", (ACL(30, Id("world", "anyone")),)))
    writer.ask(Create("/b", b"", OPEN))
    assert watcher.heard() == [(CREATED, "/b")]
