"""The session core: watches from the reply that arms them, over reconnects, to the event that ends them."""

from __future__ import annotations

import random
import time
from typing import Any, Dict, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.world import STAT0, Heard, World, event_frame, framed, header, reply_frame, welcome_frame
from zkwire import ops
from zkwire.errors import ConnectionLoss, NoNodeError, NoWatcherError, UnimplementedError
from zkwire.ops import AddWatch, Auth, Create, Exists, GetChildren, GetData, RemoveWatches, SetWatches, SetWatches2
from zkwire.wire.operation import CHILD, DATA, EXIST, PERSISTENT
from zkwire.values import KazooState
from zkwire.session.watches import KINDS

CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST
READ = (b"", STAT0)


def armed(world: World, op: Any, value: Any = None, **reply: Any) -> None:
    """Submit and answer."""
    token = object()
    world.submit(op, token)
    world.answer(value, **reply)
    assert token in world.settled


def reconnected(world: World) -> World:
    world.lose()
    return world.open()


def replayed(world: World) -> List[Any]:
    assert world.peer is not None
    return [r.op for r in world.peer.requests if r.op.opcode in (101, 105)]


def test_reads_arm_by_what_they_found() -> None:
    """W12: kazoo keeps one list for data and exists, and makes phantom events of it."""
    world, heard = World().open(), Heard()
    armed(world, GetData("/d", heard), READ)
    armed(world, Exists("/there", heard), STAT0)
    armed(world, Exists("/missing", heard), err=-101, zxid=3)
    armed(world, GetChildren("/c", heard), [])
    armed(world, ops.GetChildren2("/c2", heard), ([], STAT0))
    armed(world, GetData("/nope", heard), err=-101)
    armed(world, GetChildren("/nope", heard), err=-102)
    reconnected(world)
    assert replayed(world) == [SetWatches(3, ["/d", "/there"], ["/missing"], ["/c", "/c2"])]


@fault("W11")
def test_a_watch_whose_call_was_lost_is_not_there() -> None:
    """W11."""
    world, heard = World().open(), Heard()
    world.submit(GetData("/a", heard), 1)
    world.lose()
    world.failed(1, ConnectionLoss)
    world.open()
    assert replayed(world) == []
    world.event("CHANGED", "/a")
    assert heard.events == []


def test_one_shot_watches_fire_once_persistent_ones_always() -> None:
    world, once, ever = World().open(), Heard(), Heard()
    armed(world, GetData("/a", once), READ)
    armed(world, AddWatch("/a", ever), 0)
    world.event("CHANGED", "/a")
    world.event("CHANGED", "/a")
    world.event("CHILD", "/a")
    assert once.events == [("CHANGED", "/a")]
    assert ever.events == [("CHANGED", "/a"), ("CHANGED", "/a"), ("CHILD", "/a")]


def test_a_deletion_is_told_once_and_clears_both_lists() -> None:
    """W13, W14: in the order of the wire."""
    world, one, parent = World().open(), Heard(), Heard()
    armed(world, GetData("/p/a", one), READ)
    armed(world, GetChildren("/p/a", one), [])
    armed(world, GetChildren("/p", parent), ["a"])
    world.receive(event_frame("DELETED", "/p/a") + event_frame("CHILD", "/p"))
    assert one.events == [("DELETED", "/p/a")]
    assert parent.events == [("CHILD", "/p")]
    assert [x[1] for x in world.order if isinstance(x, tuple)] == ["DELETED", "CHILD"]
    reconnected(world)
    assert replayed(world) == []


def test_events_come_before_the_reply_that_shows_the_change() -> None:
    """W09: kazoo's two queues lose this order."""
    world, heard = World().open(), Heard()
    armed(world, GetData("/a", heard), READ)
    world.submit(GetData("/a"), "read")
    world.receive(event_frame("CHANGED", "/a") + reply_frame(GetData("/a"), 2, (b"new", STAT0)))
    assert world.order[-2:] == [("fired", "CHANGED", "/a"), "read"]


def test_a_watch_stands_before_an_event_behind_its_reply_in_one_segment() -> None:
    world, heard = World().open(), Heard()
    world.submit(GetData("/a", heard), 1)
    world.receive(reply_frame(GetData("/a"), 1, READ) + event_frame("CHANGED", "/a"))
    assert heard.events == [("CHANGED", "/a")]
    assert world.order[-2:] == [1, ("fired", "CHANGED", "/a")]


@pytest.mark.parametrize(("kind", "state", "path"), [(42, 3, "/a"), (3, 99, "/b"), (-1, 3, None), (3, 3, None), (1, 3, "")])
def test_what_is_unknown_in_an_event_is_passed_over(kind: int, state: int, path: Any) -> None:
    """W25: Java drops the connection."""
    world, heard = World().open(), Heard()
    armed(world, GetData("/a", heard), READ)
    body = b"\xff\xff\xff\xff" if path is None else len(path).to_bytes(4, "big") + path.encode()
    world.receive(framed(header(-1, -1) + kind.to_bytes(4, "big", signed=True) + state.to_bytes(4, "big") + body))
    assert heard.events == []
    assert world.states == [CONNECTED]
    world.event("CHANGED", "/a")
    assert heard.events == [("CHANGED", "/a")]


@pytest.mark.parametrize("path", ["abc", "ab/c", "x/", "ää"])
def test_an_event_of_no_path_at_all_is_passed_over_by_recursive_watches(path: str) -> None:
    """Found by make fuzz: a ValueError escaped from the core, and killed the keeper of the blocking front."""
    world, heard = World().open(), Heard()
    armed(world, AddWatch("/", heard, recursive=True), 0)
    world.event("CHANGED", path)
    assert heard.events == []
    world.event("CHANGED", "/a")
    assert heard.events == [("CHANGED", "/a")]


def test_an_event_a_hundred_thousand_nodes_deep_keeps_nobody_waiting() -> None:
    world, top, near, beside = World().open(), Heard("top"), Heard("near"), Heard("beside")
    for path, heard in (("/", top), ("/x/x", near), ("/x/xx", beside)):
        armed(world, AddWatch(path, heard, recursive=True), 0)
    path = "/x" * 200_000
    began = time.perf_counter()
    world.event("CHANGED", path)
    assert time.perf_counter() - began < 2
    assert top.events == near.events == [("CHANGED", path)]
    assert beside.events == []


# -------------------------------------------------------------------------- reconnects


def test_watches_are_set_again_before_all_else_and_catch_up_before_replies() -> None:
    """W01, W02."""
    world, heard = World().open(), Heard()
    armed(world, GetData("/a", heard), READ, zxid=0x10)
    world.submit(Auth("digest", b"u:p"), "auth")
    world.receive(framed(header(-4)))
    world.lose()
    world.submit(GetData("/a"), "read")
    world.advance(5, until=lambda: world.session.phase == "dialing")
    peer = world.connect()
    world.welcome()
    assert [r.op.opcode for r in peer.requests] == [100, 101, 4]
    assert peer.requests[1].op == SetWatches(0x10, ["/a"], [], [])
    world.receive(
        framed(header(-4)) + event_frame("CHANGED", "/a") + reply_frame(peer.requests[1].op, 1, zxid=0x20)
        + reply_frame(GetData("/a"), 2, (b"new", STAT0), zxid=0x20)
    )  # fmt: skip
    assert heard.events == [("CHANGED", "/a")]
    assert world.order[-2:] == [("fired", "CHANGED", "/a"), "read"]


def test_the_zxid_of_events_does_not_count() -> None:
    """W08, A4: the connection ends between the events of one transaction; the rest must come after the reconnect."""
    world, heard = World().open(), Heard()
    for path in ("/1", "/2", "/3"):
        armed(world, GetData(path, heard), READ, zxid=0x10)
    world.event("CHANGED", "/1", zxid=0x11)
    reconnected(world)
    assert replayed(world) == [SetWatches(0x10, ["/2", "/3"], [], [])]


@fault("W07")
def test_the_zxid_is_the_one_from_before_the_new_connection() -> None:
    """W07: go-zookeeper reads the live one, which replies of the new connection have moved."""
    world, heard = World().open(), Heard()
    armed(world, GetData("/a", heard), READ, zxid=0x10)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    peer = world.connect()
    peer.welcomed = True
    world.receive(welcome_frame() + framed(header(-2, 0x99)))
    assert replayed(world) == [SetWatches(0x10, ["/a"], [], [])]


def test_a_server_that_takes_over_is_told_what_the_read_only_one_has_shown() -> None:
    world, heard = World(hosts=2, read_only=True).open(read_only=True), Heard()
    armed(world, GetData("/a", heard), READ, zxid=0x10)
    world.advance(60, until=lambda: world.probe is not None)
    world.probe_connect()
    world.probe_receive(welcome_frame())
    assert replayed(world) == [SetWatches(0x10, ["/a"], [], [])] and heard.events == []


@fault("W07")
def test_the_zxid_is_the_one_from_before_the_answer_to_an_identity() -> None:
    """It comes before the watches are set again, and on some servers with a zxid of today."""
    world, heard = World().open(), Heard()
    world.submit(Auth("digest", b"u:p"), "auth")
    world.receive(framed(header(-4, 0x8)))
    world.answered += 1
    armed(world, GetData("/a", heard), READ, zxid=0x10)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    world.receive(framed(header(-4, 0x99)))
    assert replayed(world) == [SetWatches(0x10, ["/a"], [], [])]
    reconnected(world)
    assert replayed(world) == [SetWatches(0x10, ["/a"], [], [])], "nor does it count for the next connection"


@fault("W07")
def test_a_replay_cut_in_the_middle_is_done_again_from_the_old_zxid() -> None:
    """The answer to the first batch has the zxid of today. Were it taken for the second batch, whose answer was lost,
    all that has changed under its paths since the first disconnection would never be told."""
    world, heard = World().open(), Heard()
    paths = [f"/{'x' * 990}{i:04}" for i in range(200)]
    for path in paths:
        armed(world, GetData(path, heard), READ, zxid=0x10)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert len(replayed(world)) == 2
    world.answer(zxid=0x50)
    reconnected(world)
    assert {op.relative_zxid for op in replayed(world)} == {0x10}
    assert world.peer is not None
    assert world.peer.handshake is not None
    assert world.peer.handshake.last_zxid_seen == 0x50  # what we have seen is another matter
    armed(world, GetData("/more", heard), READ, zxid=0x60)
    reconnected(world)
    assert {op.relative_zxid for op in replayed(world)} == {0x60}


def test_a_refused_replay_does_not_move_the_zxid_either() -> None:
    """W18: the others are set again on the next connection, and must not miss what happened meanwhile."""
    world, once, ever = World().open(), Heard(), Heard()
    armed(world, GetData("/a", once), READ, zxid=0x10)
    armed(world, AddWatch("/p", ever, recursive=True), 0, zxid=0x10)
    world.lose()
    world.submit(GetData("/b"), "read")
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert [type(op) for op in replayed(world)] == [SetWatches2]
    world.answer(err=-6, zxid=-1)
    assert ever.events == [("PERSISTENT_WATCH_REMOVED", "/p")]
    world.answer(READ, zxid=0x60)  # an old server may answer what is behind, before it hangs up
    reconnected(world)
    assert replayed(world) == [SetWatches(0x10, ["/a"], [], [])]
    assert len(world.dials) == 3
    reconnected(world)
    assert ever.events == [("PERSISTENT_WATCH_REMOVED", "/p")]


def test_a_forgotten_read_behind_a_refused_replay_in_the_same_bytes_is_not_reported() -> None:
    """The caller has stopped waiting, and was told so. Found by seed 53 of the simulation, with a mutant."""
    world = World().open()
    armed(world, GetData("/a", Heard()), READ, zxid=0x10)
    world.lose()
    world.submit(GetData("/b"), "forgotten")
    world.submit(GetData("/c"), "wanted")
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert not world.session.cancel("forgotten", forget=True)
    replay, *reads = world.waiting
    world.receive(b"".join([
        reply_frame(replay.op, replay.xid, err=-127), *(reply_frame(read.op, read.xid, READ, zxid=0x60) for read in reads)
    ]))  # fmt: skip
    assert "forgotten" not in world.settled
    assert world.failed("wanted", ConnectionLoss).sent


def test_persistent_watches_are_told_to_read_afresh() -> None:
    """W17: they get no catch-up events."""
    world, ever, below = World().open(), Heard(), Heard()
    armed(world, AddWatch("/p", ever), 0)
    armed(world, AddWatch("/r", below, recursive=True), 0)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    assert ever.events == []  # not before they stand again
    world.answer(expect=SetWatches2)
    assert ever.events == [("NONE", "/p")]
    assert below.events == [("NONE", "/r")]
    world.event("CHANGED", "/r/x")
    assert below.events == [("NONE", "/r"), ("CHANGED", "/r/x")]


@pytest.mark.parametrize("max_request", [0xFFFFF, 60_000])
def test_replays_keep_to_the_limit_of_a_request(max_request: int) -> None:
    """W05: a server with a small jute.maxbuffer would hang up for ever."""
    world, heard = World(max_request=max_request).open(), Heard()
    paths = {f"/{'é' * 450}{i:04}" for i in range(400)}
    for path in paths:
        armed(world, GetData(path, heard), READ, zxid=4)
    reconnected(world)
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
    assert world.peer is not None
    assert all(len(r.op.frame(1, None)) - 4 <= min(max_request, 128 * 1024 + 100) for r in world.peer.requests)
    assert {path for op in replayed(world) for path in op.data} == paths
    assert {op.relative_zxid for op in replayed(world)} == {4}


def test_a_path_too_long_to_be_watched_again_is_told_and_the_others_live() -> None:
    """W06: the read that set it was within the limit, the request that sets it again is not."""
    world, lost, kept = World(max_request=1000).open(), Heard(), Heard()
    long = "/" + "x" * (1000 - 8 - 4 - 1 - 1)
    armed(world, GetData(long, lost), READ)
    armed(world, GetData("/a", kept), READ)
    reconnected(world)
    assert world.states == [CONNECTED, SUSPENDED, CONNECTED]
    assert lost.events == [("DATA_WATCH_REMOVED", long)]
    assert [list(op.data) for op in replayed(world)] == [["/a"]]
    world.event("CHANGED", "/a")
    assert kept.events == [("CHANGED", "/a")]
    reconnected(world)
    assert len(lost.events) == 1


def test_watches_that_cannot_be_set_again_cost_the_connection_not_the_client() -> None:
    world, heard = World().open(), Heard()
    armed(world, GetData("/a", heard), READ)
    world.lose()
    world.advance(5, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    world.answer(err=-1)
    assert world.states[-1] == SUSPENDED
    world.open()
    assert world.states[-1] == CONNECTED
    assert len(replayed(world)) == 1


# ----------------------------------------------------------------------------- chroot


def test_watches_are_kept_by_the_servers_path() -> None:
    """W24: /app1x is not below /app1."""
    world, heard = World(chroot="/app1").open(), Heard()
    armed(world, GetData("/", heard), READ)
    armed(world, GetChildren("/a", heard), [])
    world.event("CHANGED", "/app1x")
    world.event("CHILD", "/a")
    assert heard.events == []
    world.event("CHILD", "/app1/a")
    world.event("CHANGED", "/app1")
    assert heard.events == [("CHILD", "/a"), ("CHANGED", "/")]


def test_a_recursive_watch_under_a_chroot() -> None:
    world, heard = World(chroot="/app").open(), Heard()
    armed(world, AddWatch("/", heard, recursive=True), 0)
    world.event("CREATED", "/app/x/y")
    world.event("CREATED", "/apple")
    assert heard.events == [("CREATED", "/x/y")]
    reconnected(world)
    assert replayed(world) == [SetWatches2(0, [], [], [], [], ["/app"])]
    assert heard.events[-1] == ("NONE", "/")


# ---------------------------------------------------------------------------- removal


def test_the_server_is_asked_when_the_last_watcher_goes() -> None:
    """W21."""
    world, one, two = World().open(), Heard("one"), Heard("two")
    armed(world, GetData("/a", one), READ)
    armed(world, GetData("/a", two), READ)
    world.submit(RemoveWatches("/a", 3, one), "one")
    world.ok("one")
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]
    assert world.waiting == []
    world.submit(RemoveWatches("/a", 3, two), "two")
    assert [r.op.opcode for r in world.waiting] == [18]
    world.answer()
    world.ok("two")
    assert two.events == [("DATA_WATCH_REMOVED", "/a")]
    world.submit(RemoveWatches("/a", 3, two), "none")
    world.failed("none", NoWatcherError)
    reconnected(world)
    assert replayed(world) == []


def test_local_removal_needs_no_server() -> None:
    world, one = World().open(), Heard()
    armed(world, GetChildren("/a", one), [])
    world.lose()
    world.submit(RemoveWatches("/a", 3, None, local=True), 1)
    world.ok(1)
    assert one.events == [("CHILD_WATCH_REMOVED", "/a")]


@fault("W20")
def test_a_removal_races_an_event() -> None:
    """W20: exactly one of the two is heard."""
    for event_first in (True, False):
        world, one = World().open(), Heard()
        armed(world, GetData("/a", one), READ)
        world.submit(RemoveWatches("/a"), 1)
        if event_first:
            world.event("CHANGED", "/a")
            world.answer(err=-121)
            world.failed(1, NoWatcherError)
        else:
            world.answer()
            world.event("CHANGED", "/a")
            world.ok(1)
        assert one.events == [("CHANGED" if event_first else "DATA_WATCH_REMOVED", "/a")]


def test_a_removal_nobody_waits_for_any_more_still_counts() -> None:
    """Its caller has timed out; the server has removed the watch, so we must not go on believing in it."""
    world, one = World().open(), Heard()
    armed(world, GetData("/a", one), READ)
    world.submit(RemoveWatches("/a"), 1)
    world.session.cancel(1, forget=True)
    world.answer()
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]
    reconnected(world)
    assert replayed(world) == []


def test_a_removal_does_not_take_a_watch_that_is_under_way() -> None:
    """The server knows paths only: asked to remove `one`, it would drop the watch that `two` is about to get."""
    world, one, two = World().open(), Heard("one"), Heard("two")
    armed(world, GetData("/a", one), READ)
    world.submit(GetData("/a", two), "read")
    world.submit(RemoveWatches("/a", 3, one), "remove")
    world.answer(READ)
    world.ok("remove")
    assert [type(op) for op in sent(world)] == [GetData, GetData]
    world.event("CHANGED", "/a")
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]
    assert two.events == [("CHANGED", "/a")]


def test_a_removal_waits_for_all_watches_of_its_path_that_are_under_way() -> None:
    """Found by seed 4212 of the simulation: at the server it took half of a recursive watch that was still to be sent."""
    world, once, ever = World().open(), Heard("once"), Heard("ever")
    world.submit(Exists("/a", once), "read")
    world.submit(AddWatch("/a", ever, True), "add")
    world.submit(RemoveWatches("/a", 2), "remove")
    world.submit(Create("/b"), "behind")
    world.answer(err=-101)
    assert [type(op) for op in sent(world)] == [Exists, AddWatch]
    world.answer(0)
    assert [type(op) for op in sent(world)] == [Exists, AddWatch, Create]
    assert world.ok("remove") is None
    assert once.events == [("DATA_WATCH_REMOVED", "/a")]
    world.event("CREATED", "/a/b")
    assert ever.events == [("CREATED", "/a/b")]


def test_a_watch_set_again_in_vain_has_told_nothing_more() -> None:
    """Found by seed 13841 of the simulation: answers that came with the refusal moved the zxid of the next replay."""
    world, once, ever = World().open(), Heard("once"), Heard("ever")
    armed(world, GetChildren("/a", once), [], zxid=7)
    world.submit(AddWatch("/a", ever, True), "add")
    world.submit(Create("/b"), "create")
    add, again, create = world.waiting
    world.receive(
        reply_frame(add.op, add.xid, 0, 7) + reply_frame(again.op, again.xid, err=-127)
        + reply_frame(create.op, create.xid, "/b", 9)
    )  # fmt: skip
    assert world.ok("create") == "/b"
    world.open()
    assert SetWatches(7, [], [], ["/a"]) in replayed(world)


def test_a_lasting_watch_waits_for_a_removal_on_its_path() -> None:
    """Found by seed 5560 of the simulation: the watch that was being removed was set again behind the recursive one."""
    world, once, ever = World().open(), Heard("once"), Heard("ever")
    armed(world, GetChildren("/a", once), [])
    world.submit(RemoveWatches("/a"), "remove")
    world.submit(AddWatch("/a", ever, True), "add")
    assert [type(op) for op in sent(world)] == [GetChildren, RemoveWatches]
    world.answer()
    assert [type(op) for op in sent(world)] == [GetChildren, RemoveWatches, AddWatch]


def test_a_watcher_whose_watch_is_under_way_can_be_removed() -> None:
    world, one, two = World().open(), Heard("one"), Heard("two")
    armed(world, AddWatch("/a", one), 0)
    world.submit(AddWatch("/a", two), "add")
    world.submit(RemoveWatches("/a", 3, two), "remove")
    world.answer(0)
    assert world.ok("remove") is None
    world.event("CHANGED", "/a")
    assert two.events == [("PERSISTENT_WATCH_REMOVED", "/a")]
    assert one.events == [("CHANGED", "/a")]


def test_a_removal_of_all_reaches_a_watch_that_is_under_way() -> None:
    world, one = World().open(), Heard()
    world.submit(GetData("/a", one), "read")
    world.submit(RemoveWatches("/a"), "remove")
    assert "remove" not in world.settled
    world.answer(READ)
    world.answer()
    world.ok("remove")
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]


def test_removal_of_the_children_kind_leaves_a_persistent_watch_alone() -> None:
    """A 3.8 server keeps a persistent watch among those of data and of children: asked for one, it halves it."""
    world, one, ever = World().open(), Heard(), Heard()
    armed(world, GetChildren("/a", one), [])
    armed(world, AddWatch("/a", ever), 0)
    world.submit(RemoveWatches("/a", 1), 1)
    world.ok(1)
    assert world.waiting == []
    assert one.events == [("CHILD_WATCH_REMOVED", "/a")]
    assert ever.events == []


# ------------------------------------------------------------------------- old servers


def test_add_watch_at_an_old_server_fails_once_and_is_not_repeated() -> None:
    """W18."""
    world, ever, once = World().open(), Heard(), Heard()
    armed(world, GetData("/a", once), READ, zxid=8)
    world.submit(AddWatch("/p", ever), 1)
    world.answer(err=-6, zxid=-1)
    world.failed(1, UnimplementedError)
    reconnected(world)
    assert replayed(world) == [SetWatches(8, ["/a"], [], [])]
    with pytest.raises(UnimplementedError):
        world.submit(AddWatch("/p", ever), 2)
    world.event("CHANGED", "/a")
    assert once.events == [("CHANGED", "/a")]
    assert ever.events == []


# -------------------------------------------------------------------------- a long run


def test_our_lists_are_those_of_the_server_at_rest() -> None:
    """I7, I10: whatever was read, changed, cut and lost: a model of the server's watches and ours are the same, each
    one-shot watch fired at most once, and no event was for nothing."""
    rng = random.Random(11)
    for _ in range(60):
        world = World().open()
        table: Dict[str, set] = {kind: set() for kind in KINDS}  # type: ignore[type-arg]
        watchers: List[Heard] = []
        for _ in range(60):
            path = f"/{rng.randrange(4)}"
            step = rng.randrange(7)
            heard = Heard()
            if step < 4:
                watchers.append(heard)
                token = object()
                op, value, err, kind = [
                    (GetData(path, heard), READ, 0, DATA), (Exists(path, heard), None, -101, EXIST),
                    (GetChildren(path, heard), [], 0, CHILD), (AddWatch(path, heard), 0, 0, PERSISTENT),
                ][step]  # fmt: skip
                world.submit(op, token)
                if step < 3 and rng.random() < 0.2:
                    world.session.cancel(token, forget=True)
                    watchers.remove(heard)
                world.answer(value, err=err)
                table[kind].add(path)
            elif step == 4:
                event = rng.choice(["CHANGED", "CHILD"])
                kinds = (DATA, EXIST) if event == "CHANGED" else (CHILD,)
                if any(path in table[kind] for kind in (*kinds, PERSISTENT)):
                    for kind in kinds:
                        table[kind].discard(path)
                    world.event(event, path)
            elif step == 5 and rng.random() < 0.3:
                world.lose()
                world.open()
                table = {kind: set() for kind in KINDS}
                for op in replayed(world):
                    for kind in KINDS:
                        table[kind] |= set(getattr(op, kind, ()))
            elif step == 6 and rng.random() < 0.5:
                token = object()
                world.submit(RemoveWatches(path), token)
                if token not in world.settled:
                    world.answer()
                    for kind in KINDS:
                        table[kind].discard(path)
        ours = {kind: set(world.session._requests.watches.paths(kind)) for kind in KINDS}
        for kind in KINDS:
            assert ours[kind] <= table[kind]
        for heard in watchers:
            changes = [e for e in heard.events if e[0] in ("CHANGED", "CHILD")]
            assert len(changes) <= 1 or any(
                heard in world.session._requests.watches._lists[PERSISTENT].get(f"/{i}", ()) for i in range(4)
            ) or ("PERSISTENT_WATCH_REMOVED" in {e[0] for e in heard.events})  # fmt: skip


def test_a_create_under_a_watch_of_existence() -> None:
    world, heard = World().open(), Heard()
    armed(world, Exists("/a", heard), err=-101)
    world.submit(Create("/a"), "create")
    world.receive(event_frame("CREATED", "/a") + reply_frame(Create("/a"), 2, "/a", zxid=5))
    assert heard.events == [("CREATED", "/a")]
    assert world.order[-2:] == [("fired", "CREATED", "/a"), "create"]
    assert not isinstance(world.settled["create"], NoNodeError)


# --------------------------------------------------------- several modes on one path (ZOOKEEPER-4466)


def sent(world: World) -> List[Any]:
    """What the server was asked on this connection, in order."""
    assert world.peer is not None
    return [request.op for request in world.peer.requests]


def flag(world: World) -> bool:
    """Whether the newest request asks for a watch."""
    return sent(world)[-1].watch is not None


@pytest.mark.parametrize("recursive", [False, True])
def test_a_read_does_not_ask_for_what_a_lasting_watch_tells(recursive: bool) -> None:
    world, ever, once = World().open(), Heard(), Heard()
    armed(world, AddWatch("/a", ever, recursive), 0)
    armed(world, GetData("/a", once), READ)
    assert not flag(world)
    armed(world, Exists("/a", once), STAT0)
    assert not flag(world)
    armed(world, GetChildren("/a", once), [])
    assert flag(world) == recursive  # which does not tell of children
    armed(world, GetData("/a/below", once), READ)
    assert flag(world)
    world.event("CHANGED", "/a")
    assert once.events == [("CHANGED", "/a")] and ever.events == [("CHANGED", "/a")]


def test_reads_without_a_watch_and_other_clients_are_as_ever() -> None:
    world = World().open()
    armed(world, AddWatch("/a", Heard()), 0)
    armed(world, GetData("/a"), READ)
    armed(world, Create("/b"), "/b")
    assert [type(op) for op in sent(world)] == [AddWatch, GetData, Create]


def test_a_recursive_watch_is_followed_by_the_watch_on_children_that_it_silences() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    armed(world, GetChildren("/a", once), [], zxid=7)
    world.submit(AddWatch("/a", ever, True), 1)
    assert sent(world)[-2:] == [AddWatch("/a", sent(world)[-2].watch, True), SetWatches(7, [], [], ["/a"])]
    world.answer(0)
    world.answer()
    assert world.ok(1) is None
    assert not ever.events
    armed(world, AddWatch("/a", ever, False), 0)
    assert len(sent(world)) == 4  # a plain one tells of children


def test_what_depends_on_an_answer_waits_for_it_and_all_behind_it() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    world.submit(AddWatch("/a", ever), 1)
    world.submit(GetData("/b", once), 2)
    world.submit(GetData("/a", once), 3)
    world.submit(Create("/c"), 4)
    assert [op.path for op in sent(world)] == ["/a", "/b"]
    world.answer(0)
    assert [op.path for op in sent(world)] == ["/a", "/b", "/a", "/c"]
    assert sent(world)[2].watch is None
    world.answer(READ)
    world.answer(READ)
    world.answer("/c")
    assert [world.ok(token) for token in (1, 2, 3, 4)] == [None, READ, READ, "/c"]


def test_a_lasting_watch_waits_for_reads_on_its_path() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    world.submit(GetChildren("/a", once), 1)
    world.submit(AddWatch("/a", ever, True), 2)
    world.submit(Create("/c"), 3)
    assert len(sent(world)) == 1
    world.answer([], zxid=5)
    assert [type(op) for op in sent(world)] == [GetChildren, AddWatch, SetWatches, Create]


def test_answers_that_come_together_are_all_taken_before_anything_goes_out() -> None:
    """Found by seed 1017 of the simulation: the watch on children stood only after the recursive one was sent."""
    world, ever, once = World().open(), Heard(), Heard()
    world.submit(Exists("/a", once), 1)
    world.submit(GetChildren("/a", once), 2)
    world.submit(AddWatch("/a", ever, True), 3)
    world.receive(reply_frame(Exists("/a"), 1, STAT0) + reply_frame(GetChildren("/a"), 2, []))
    assert [type(op) for op in sent(world)] == [Exists, GetChildren, AddWatch, SetWatches]


def test_what_was_held_back_goes_to_the_next_connection() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    world.submit(AddWatch("/a", ever), 1)
    world.submit(GetData("/a", once), 2)
    world.lose()
    assert world.failed(1, ConnectionLoss).sent
    world.open()
    assert flag(world)
    world.answer(READ)
    assert world.ok(2) == READ


def test_close_sends_what_was_held_back() -> None:
    world = World().open()
    world.submit(AddWatch("/a", Heard()), 1)
    world.submit(GetData("/a", Heard()), 2)
    world.session.close(world.now)
    world.pump()
    assert [op.opcode for op in sent(world)] == [106, 4, -11]


def test_a_read_behind_a_removal_waits_for_it() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    armed(world, AddWatch("/a", ever), 0)
    world.submit(RemoveWatches("/a", 3, ever), 1)
    world.submit(GetData("/a", once), 2)
    assert [type(op) for op in sent(world)] == [AddWatch, RemoveWatches]
    world.answer()
    assert flag(world)


def test_a_replay_sets_a_silenced_watch_behind_the_recursive_one() -> None:
    world, ever, once = World().open(), Heard(), Heard()
    armed(world, AddWatch("/a", ever, True), 0)
    for path in ("/a", "/b"):
        armed(world, GetChildren(path, once), [])
    armed(world, GetData("/a", once), READ, zxid=4)
    reconnected(world)
    assert replayed(world) == [SetWatches2(4, ["/a"], [], ["/b"], [], ["/a"]), SetWatches(4, [], [], ["/a"])]


def test_a_watch_on_children_is_set_again_as_of_what_was_seen_on_any_connection() -> None:
    """Behind a recursive watch that silences it. Found by seed 51 of the simulation: a new connection has seen nothing."""
    world, kids = World().open(), Heard()
    world.submit(GetChildren("/a", kids), "kids")
    world.answer([], zxid=5)
    world.lose()
    world.open()
    world.submit(AddWatch("/a", Heard(), recursive=True), "below")
    again = world.waiting[-1].op
    assert isinstance(again, SetWatches)
    assert (again.relative_zxid, tuple(again.child)) == (5, ("/a",))
