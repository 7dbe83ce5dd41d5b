"""The checker of `make ensemble`, rule by rule, on made-up logs and histories; the reader of logs; what counts of several logs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from tests.kit.stories import Story
from tests.tools.ensemble import recovery, txnlog
from tests.tools.ensemble.checker import RULES, Case, violations
from tests.tools.ensemble.truth import Log, Truth, merged
from tests.tools.ensemble.txnlog import Change, Closed, Created, DataSet, Deleted, Opened, Txn

R = "/registers/r0"


def stat(mzxid: int, version: int, czxid: int = 1, owner: int = 0) -> Dict[str, int]:
    """What a call gives back of a node."""
    return {"mzxid": mzxid, "version": version, "czxid": czxid, "owner": owner}


def told(violations_: List[Any]) -> List[Tuple[str, str]]:
    """Rule and client of each."""
    return [(v.rule, v.client) for v in violations_]


@pytest.fixture
def story() -> Story:
    """One node is there."""
    story = Story()
    story.txn(Created(R, b"", False))
    return story


# ---------------------------------------------------------------------------------------- writes


def test_a_write_that_was_done_and_acknowledged(story: Story) -> None:
    zxid = story.txn(DataSet(R, b"a.1", 1))
    story.call("a", "set", "ok", stat(zxid, 1), path=R, value="a.1", version=0)
    assert story.verdict() == []


def test_lost(story: Story) -> None:
    story.call("a", "set", "ok", stat(2, 1), path=R, value="a.1", version=0)
    assert told(story.verdict()) == [("lost", "a")]


def test_what_nobody_knows_is_not_lost(story: Story) -> None:
    story.call("a", "set", "ok", stat(2, 1), path=R, value="a.1", version=0)
    doubtful = [Txn(2, 0.0, 1, 0, (DataSet(R, b"a.1", 1),))]
    found = violations(Case(story.histories, Truth(story.txns, doubtful), gone=["a"]))
    assert found == []


def test_what_the_servers_have_lost_is_not_the_clients_fault(story: Story) -> None:
    gone = [Txn(2, 0.0, 1, 0, (DataSet(R, b"a.1", 1),))]
    story.call("a", "set", "ok", stat(2, 1), path=R, value="a.1", version=0)
    story.call("b", "get", "ok", {"value": "a.1", **stat(2, 1)}, path=R)
    assert violations(Case(story.histories, Truth(story.txns, lost=gone), gone=["a", "b"])) == []


@pytest.mark.parametrize("outcome", ["maybe", ""])
def test_in_doubt_both_is_right(story: Story, outcome: str) -> None:
    story.call("a", "set", outcome, {"error": "ConnectionLoss"}, path=R, value="a.1", version=0)
    story.call("a", "set", outcome, {"error": "ConnectionLoss"}, path=R, value="a.2", version=0)
    story.txn(DataSet(R, b"a.2", 1))
    assert story.verdict() == []


def test_twice(story: Story) -> None:
    for version in (1, 2):
        story.txn(DataSet(R, b"a.1", version))
    story.call("a", "set", "maybe", {}, path=R, value="a.1", version=-1)
    assert told(story.verdict()) == [("twice", "a")]


def test_a_protected_create_may_be_done_again_when_the_first_has_gone(story: Story) -> None:
    story.txn(Created("/protected/_c_1-p-1", b"a.1", True), session=7)
    story.txn(Closed(), session=7)
    zxid = story.txn(Created("/protected/_c_1-p-2", b"a.1", True), session=8)
    story.call("a", "create", "ok", {"path": "/protected/_c_1-p-2", **stat(zxid, 0, zxid, 8)},
               path="/protected/p-", value="a.1", protect=True)  # fmt: skip
    assert story.verdict() == []


def test_two_nodes_of_a_protected_create_are_one_too_many(story: Story) -> None:
    for number in (1, 2):
        story.txn(Created(f"/protected/_c_1-p-{number}", b"a.1", False))
    story.call("a", "create", "maybe", {}, path="/protected/p-", value="a.1", protect=True)
    assert told(story.verdict()) == [("twice", "a")]


def test_denied(story: Story) -> None:
    story.txn(DataSet(R, b"a.1", 1))
    story.call("a", "set", "fail", {"error": "BadVersionError"}, path=R, value="a.1", version=0)
    assert told(story.verdict()) == [("denied", "a")]


@pytest.mark.parametrize("wrong", [{"mzxid": 1}, {"version": 2}, {"owner": 5}, {"path": "/other"}])
def test_answer(story: Story, wrong: Dict[str, Any]) -> None:
    zxid = story.txn(DataSet(R, b"a.1", 1))
    story.call("a", "set", "ok", {"path": R, **stat(zxid, 1), **wrong}, path=R, value="a.1", version=0)
    assert told(story.verdict()) == [("answer", "a")]


def test_half(story: Story) -> None:
    for half in "ab":
        story.txn(DataSet(f"/pairs/{half}0", b"a.1", 1))
    story.call("a", "multi", "maybe", {}, paths=["/pairs/a0", "/pairs/b0"], value="a.1")
    assert told(story.verdict()) == [("half", "a")]


def test_a_whole_transaction(story: Story) -> None:
    zxid = story.txn(DataSet("/pairs/a0", b"a.1", 1), DataSet("/pairs/b0", b"a.1", 1))
    story.call("a", "multi", "ok", {"mzxid": zxid}, paths=["/pairs/a0", "/pairs/b0"], value="a.1")
    assert story.verdict() == []


def _in_the_wrong_order(story: Story) -> None:
    second, first = story.txn(DataSet(R, b"b.1", 1)), story.txn(DataSet(R, b"a.1", 2))
    story.call("a", "set", "ok", stat(first, 2), path=R, value="a.1", version=-1)
    story.call("b", "set", "ok", stat(second, 1), path=R, value="b.1", version=-1)


def test_order(story: Story) -> None:
    _in_the_wrong_order(story)
    assert told(story.verdict()) == [("order", "b")]


def test_what_a_broken_client_says_proves_nothing_against_others(story: Story) -> None:
    _in_the_wrong_order(story)
    assert story.verdict(broken=["a"]) == []


# ----------------------------------------------------------------------------------------- reads


@pytest.mark.parametrize("wrong", [{"value": "other"}, {"mzxid": 3}, {"version": 7}, {"owner": 9}])
def test_fiction(story: Story, wrong: Dict[str, Any]) -> None:
    zxid = story.txn(DataSet(R, b"x", 1))
    story.call("a", "get", "ok", {"value": "x", **stat(zxid, 1), **wrong}, path=R)
    assert ("fiction", "a") in told(story.verdict())


def test_children_that_never_were(story: Story) -> None:
    zxid = story.txn(Created("/watched/w0", b"", False))
    story.call("a", "children", "ok", {"names": ["w0"], "pzxid": zxid}, path="/watched")
    assert story.verdict() == []
    story.call("a", "children", "ok", {"names": ["w1"], "pzxid": zxid}, path="/watched")
    assert told(story.verdict()) == [("fiction", "a")]


def test_an_old_read_is_right_for_a_client_that_has_seen_nothing_newer(story: Story) -> None:
    story.txn(DataSet(R, b"x", 1))
    story.call("a", "get", "ok", {"value": "", **stat(1, 0)}, path=R)
    assert story.verdict() == []


@pytest.mark.parametrize("op", ["get", "exists", "children", "absent"])
def test_stale(story: Story, op: str) -> None:
    new = story.txn(DataSet(R, b"x", 1), Created("/watched/w0", b"", False))
    story.call("a", "get", "ok", {"value": "x", **stat(new, 1)}, path=R)
    if op == "get":
        story.call("a", "get", "ok", {"value": "", **stat(1, 0)}, path=R)
    elif op == "exists":
        story.call("a", "exists", "ok", {"there": True, **stat(1, 0)}, path=R)
    elif op == "children":
        story.call("a", "children", "ok", {"names": [], "pzxid": 0}, path="/watched")
    else:
        story.call("a", "exists", "ok", {"there": False}, path="/watched/w0")
    assert told(story.verdict()) == [("stale", "a")]


# --------------------------------------------------------------------------------------- sessions


def test_owner(story: Story) -> None:
    story.txn(Opened(), session=7)
    story.txn(Created("/owners/o0", b"a.1", True), session=7)
    story.record("a", "claim", path="/owners/o0", sid=7, at=story.now)
    story.txn(Closed(), session=7)
    assert story.verdict() == []
    story.record("a", "claim", path="/owners/o0", sid=7, at=story.now + 0.02)
    (found,) = story.verdict()
    assert found[:2] == ("owner", "a") and "0.020 s after session 0x7 had ended" in found.text


# ---------------------------------------------------------------------------------------- watches


def watching(story: Story, how: str, path: str, basis: int, *events: str) -> None:
    """A client sets a watch, and its watcher is called with these types of events."""
    story.record("a", "armed", w="w", how=how, path=path, basis=basis)
    for event in events:
        story.record("a", "fired", w="w", type=event, path=path, state="CONNECTED")
    story.record("a", "rest", sid=1)


@pytest.mark.parametrize("how, path", [("data", R), ("children", "/registers"), ("absent", "/registers/new")])
def test_a_watch_fires_once_for_a_change(story: Story, how: str, path: str) -> None:
    story.txn(DataSet(R, b"x", 1), Created("/registers/new", b"", False))
    watching(story, how, path, 1, "CHANGED")
    assert story.verdict() == []


@pytest.mark.parametrize("how, path", [("data", R), ("children", "/registers"), ("absent", "/registers/new")])
def test_a_change_that_no_watch_told(story: Story, how: str, path: str) -> None:
    story.txn(DataSet(R, b"x", 1), Created("/registers/new", b"", False))
    watching(story, how, path, 1)
    assert told(story.verdict()) == [("watch", "a")]


def test_a_watch_that_fires_twice(story: Story) -> None:
    story.txn(DataSet(R, b"x", 1))
    watching(story, "data", R, 1, "CHANGED", "CHANGED")
    assert told(story.verdict()) == [("watch", "a")]


@pytest.mark.parametrize("event", ["CHANGED", "NONE"])
def test_a_watch_that_fires_for_nothing(story: Story, event: str) -> None:
    watching(story, "data", R, 1, event)
    assert told(story.verdict()) == [("watch", "a")]


def test_a_watch_ends_with_its_session(story: Story) -> None:
    story.record("a", "state", state="LOST", sid=0)
    watching(story, "data", R, 1, "NONE")
    assert story.verdict() == []


def test_a_node_that_came_and_went_may_be_missed(story: Story) -> None:
    story.txn(Created("/registers/new", b"", False))
    story.txn(Deleted("/registers/new"))
    watching(story, "absent", "/registers/new", 1)
    assert story.verdict() == []


def following(story: Story, *events: Tuple[str, str]) -> None:
    """A recursive watch, what it is told, and rest. Four changes happen: w0, w1, w0, w1."""
    story.txn(Created("/watched/w0", b"", False), Created("/watched/w1", b"", False))
    for version in (1, 2):
        for node in "01":
            story.txn(DataSet(f"/watched/w{node}", b"x", version))
    story.record("a", "armed", w="w", how="recursive", path="/watched", basis=2)
    for kind, value in events:
        if kind == "state":
            story.record("a", "state", state=value, sid=1)
        else:
            state = "EXPIRED_SESSION" if value == "ended" else "CONNECTED"
            story.record("a", "fired", w="w", type=kind, path=f"/watched/{value}", state=state)
    story.record("a", "rest", sid=1)


ZERO, ONE, AWAY, MISSED = ("CHANGED", "w0"), ("CHANGED", "w1"), ("state", "SUSPENDED"), ("NONE", "")


@pytest.mark.parametrize("events", [
    (ZERO, ONE, ZERO, ONE), (ZERO, ONE), (ZERO, AWAY, MISSED), (AWAY, MISSED, ONE), (ZERO, AWAY, ZERO, MISSED),
    (ZERO, ("NONE", "ended"), ZERO, ZERO),
])  # fmt: skip
def test_a_recursive_watch_that_tells_all(story: Story, events: Any) -> None:
    following(story, *events)
    assert story.verdict() == []


@pytest.mark.parametrize("events", [
    (ZERO, ZERO), (ZERO, ONE, ZERO), (ONE, ONE), (ZERO, AWAY), (("DELETED", "w0"),), (ZERO, AWAY, ("CREATED", "w9"), MISSED),
    (MISSED, ZERO),
])  # fmt: skip
def test_gap(story: Story, events: Any) -> None:
    following(story, *events)
    assert told(story.verdict()) == [("gap", "a")]


# -------------------------------------------------------------------------------------- discovery


def registering(story: Story, *what: str) -> None:
    """A registrar: `+` and `-` are nodes that come and go, `on` and `off` what was wanted and told."""
    live: List[str] = []
    for number, word in enumerate(what):
        if word in ("on", "off"):
            story.record("a", "wanted", name="a", wanted=word == "on")
        elif word in ("ON", "OFF"):
            story.record("a", "registered", name="a", wanted=word == "ON")
        elif word == "+":
            live.append(f"/services/api/_c_{number}")
            story.txn(Created(live[-1], b"a#0", True), session=7)
        else:
            story.txn(Deleted(live.pop()), session=7 if word == "-" else 9)
    story.record("a", "rest", sid=7)


@pytest.mark.parametrize("what", ["on + ON", "on + ON off - OFF", "on + - + ON", "on + ON off - OFF on + ON"])
def test_a_registration_as_it_should_be(story: Story, what: str) -> None:
    registering(story, *what.split())
    assert story.verdict() == []


@pytest.mark.parametrize("what", [
    "on + + - ON", "on ON", "on ON +", "on + ON -", "on + ON off OFF -", "on + ON off OFF", "on + ON x + ON",
])  # fmt: skip
def test_registration(story: Story, what: str) -> None:
    registering(story, *what.split())
    assert set(told(story.verdict())) == {("registration", "a")}


def showing(story: Story, *sets: str) -> None:
    """An observer is called with these; the sets that there were are none, x, xy, y, x."""
    story.txn(Created("/services/api/1", b"x", False))
    story.txn(Created("/services/api/2", b"y", False))
    story.txn(Deleted("/services/api/1"))
    story.txn(Deleted("/services/api/2"), Created("/services/api/3", b"x", False))
    for instances in sets:
        story.record("a", "shown", instances=list(instances.strip("!")), error=None, at_rest="!" in instances)
    story.record("a", "rest", sid=1)


@pytest.mark.parametrize("sets", [("", "x", "xy", "y", "x!"), ("", "y", "x"), ("x", "xy", "x"), ("xy", "xy")])
def test_sets_that_were(story: Story, sets: Any) -> None:
    showing(story, *sets)
    assert story.verdict() == []


@pytest.mark.parametrize("sets", [("z",), ("y", "xy"), ("x", ""), ("x", "xy!")])
def test_shown(story: Story, sets: Any) -> None:
    showing(story, *sets)
    assert told(story.verdict()) == [("shown", "a")]


# ------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("outcome", ["ok", ""])
def test_hang(story: Story, outcome: str) -> None:
    story.record("a", "invoke", n=1, op="sync", path="/")
    story.now += 10.5
    story.record("a", outcome or "state", n=1, op="sync", state="LOST", sid=0)
    assert told(story.verdict()) == [("hang", "a")]
    begun = story.histories["a"][0]["t"]
    assert story.verdict(stopped={"a": [(begun + 1, begun + 5)]}) == []


def test_back(story: Story) -> None:
    story.call("a", "get", "ok", {"value": "", **stat(1, 0)}, path=R)
    assert told(violations(Case(story.histories, Truth(story.txns)))) == [("back", "a")]
    assert violations(Case(story.histories, Truth(story.txns), gone=["a"])) == []


def test_every_rule_has_a_test_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


def test_recovery_is_from_the_end_of_a_fault_to_the_next_good_answer(story: Story) -> None:
    class Fault:
        name, begun, ended = "a fault", 1004.0, 1006.0

    story.call("a", "sync", "ok", {}, path="/")
    story.call("a", "sync", "maybe", {}, path="/")
    story.now += 2.5
    story.call("a", "sync", "ok", {}, path="/")
    assert recovery.recoveries(Case(story.histories, Truth(story.txns)), [Fault]) == {"a fault": [3.5]}


# ---------------------------------------------------------------------------------------- the log


def string(text: str) -> bytes:
    """As jute has it."""
    return struct.pack(">i", len(text)) + text.encode()


ACLS = struct.pack(">ii", 1, 31) + string("world") + string("anyone")
CREATE = string("/a") + string("data") + ACLS + b"\x01" + struct.pack(">i", 3)
SET = string("/a") + string("new") + struct.pack(">i", 5)
FAILED = struct.pack(">i", -101)
DIGEST = bytes(12)


def record(kind: int, body: bytes, zxid: int = 0x100000001) -> bytes:
    """A transaction of session 7 as it stands in a log."""
    whole = struct.pack(">qiqqi", 7, 3, zxid, 1_700_000_000_500, kind) + body + DIGEST
    return struct.pack(">qi", zlib.adler32(whole), len(whole)) + whole + b"B"


def multi(*parts: Tuple[int, bytes]) -> bytes:
    """The body of a transaction of several."""
    return struct.pack(">i", len(parts)) + b"".join(struct.pack(">ii", kind, len(body)) + body for kind, body in parts)


@pytest.mark.parametrize("kind, body, changes", [
    (1, CREATE, (Created("/a", b"data", True),)),
    (15, CREATE, (Created("/a", b"data", True),)),
    (19, string("/a") + string("") + ACLS + struct.pack(">i", 3), (Created("/a", b"", False),)),
    (21, string("/a") + string("") + ACLS + struct.pack(">iq", 3, 9), (Created("/a", b"", False),)),
    (2, string("/a"), (Deleted("/a"),)),
    (20, string("/a"), (Deleted("/a"),)),
    (5, SET, (DataSet("/a", b"new", 5),)),
    (7, string("/a") + ACLS + struct.pack(">i", 1), ()),
    (-1, FAILED, ()),
    (-10, struct.pack(">i", 4000), (Opened(),)),
    (-11, b"", (Closed(),)),
    (14, multi((13, string("/a") + struct.pack(">i", 1)), (5, SET), (2, string("/b"))), (DataSet("/a", b"new", 5), Deleted("/b"))),
    (14, multi((5, SET), (-1, FAILED)), ()),
])  # fmt: skip
def test_each_kind_of_transaction(kind: int, body: bytes, changes: Tuple[Change, ...]) -> None:
    ((txn, _),) = txnlog.transactions(record(kind, body), 0)
    assert txn == Txn(0x100000001, 1_700_000_000.5, 7, 3, changes)


def test_an_unknown_kind_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="unknown type 99"):
        list(txnlog.transactions(record(99, b""), 0))


def test_a_log_that_grows_is_read_on(tmp_path: Path) -> None:
    folder = tmp_path / "version-2"
    tail = txnlog.LogTail(str(tmp_path))
    assert list(tail.more()) == []
    folder.mkdir()
    log = folder / "log.100000001"
    first, second = record(5, SET), record(5, SET, 0x100000002)
    head = b"ZKLG" + struct.pack(">iq", 2, 0)
    log.write_bytes(head + first + second[:20] + bytes(50))
    assert [txn.zxid for txn in tail.more()] == [0x100000001]
    log.write_bytes(head + first + second + bytes(50))
    (folder / "log.100000003").write_bytes(head + record(5, SET, 0x100000003))
    (folder / "snapshot.10000000f").write_bytes(b"")
    assert [txn.zxid for txn in tail.more()] == [0x100000002, 0x100000003]
    assert [txn.zxid for txn in txnlog.read(str(tmp_path))] == [0x100000001, 0x100000002, 0x100000003]
    assert txnlog.snapshots(str(tmp_path)) == [0x10000000F]


def test_a_damaged_record_ends_the_log() -> None:
    whole = record(5, SET) + record(5, SET, 0x100000002)
    for at in range(len(whole) - 1):
        damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        assert len(list(txnlog.transactions(damaged, 0))) < 2
        assert len(list(txnlog.transactions(whole[:at], 0))) < 2


# ------------------------------------------------------------------------------- what counts


def log(*zxids: int, **options: Any) -> Log:
    """A log with these transactions."""
    return Log([Txn(zxid, 0.0, 1, 0, ()) for zxid in zxids], **options)


def zxids(txns: List[Txn]) -> List[int]:
    """Theirs."""
    return [txn.zxid for txn in txns]


@pytest.mark.parametrize("logs, committed, doubtful, lost", [
    # All agree; one has not got the last one yet.
    ((log(1, 2, 3), log(1, 2, 3), log(1, 2)), [1, 2, 3], [], []),
    # The leader has proposed 3 to nobody; the others have elected another, and gone on.
    ((log(1, 2, 11, snapshots=[10]), log(1, 2, 3, 11), log(1, 2, 11)), [1, 2, 11], [], []),
    # One was sent a snapshot (up to 10), and has a gap; what it had of its own stays in its log.
    ((log(1, 2, 9, 10, 11), log(1, 2, 3, 11, snapshots=[10]), log(1, 2, 9, 10, 11)), [1, 2, 9, 10, 11], [], []),
    # The last leader has what it has, though the others have not got it yet; what another has at its end, nobody knows.
    ((log(1, 2, 3), log(1, 2), log(1, 2)), [1, 2, 3], [], []),
    ((log(1, 2), log(1, 2, 3), log(1, 2)), [1, 2], [3], []),
    # A majority had it, and the third went on without it: the servers have lost it.
    ((log(1, 2, 11), log(1, 2, 3, 11), log(1, 2, 3, 11)), [1, 2, 11], [], [3]),
    ((log(1, 2, 11), log(1, 2, 11, seen=log(3).txns), log(1, 2, 11, seen=log(3).txns)), [1, 2, 11], [], [3]),
])  # fmt: skip
def test_what_counts_of_three_logs(logs: Any, committed: List[int], doubtful: List[int], lost: List[int]) -> None:
    found = merged({"s1": logs[0], "s2": logs[1], "s3": logs[2]}, "s1")
    assert (zxids(found.committed), zxids(found.doubtful), zxids(found.lost)) == (committed, doubtful, lost)
    assert found.different == []


def test_an_observer_is_only_told_of_what_is_committed() -> None:
    logs = {"s1": log(1), "s2": log(1), "s3": log(1), "s4": log(1, 2, observer=True)}
    assert zxids(merged(logs, "s1").committed) == [1, 2]


def test_one_zxid_for_two_things() -> None:
    other = Log([Txn(1, 0.0, 1, 0, (Deleted("/a"),))])
    assert merged({"s1": log(1), "s2": other, "s3": log(1)}, "s1").different == [1]


def test_nodes_go_with_their_session(story: Story) -> None:
    make: Callable[[str], Change] = lambda path: Created(path, b"", True)  # noqa: E731
    story.txn(make("/e1"), make("/e2"), session=7)
    story.txn(Deleted("/e1"), session=7)
    story.txn(make("/e1"), session=8)
    story.txn(Closed(), session=7)
    assert set(Truth(story.txns).live()) == {R, "/e1"}
