"""Requests that no client of this project makes: nulls, other flags, mixtures; the server refuses them as the real one does."""

from __future__ import annotations

import struct
from typing import Any, Optional, Tuple

import pytest

from tests.kit.embedded_peer import OPEN, Peer, connected, make_core
from zkwire.embedded.conditions import Conditions, Rule
from zkwire.embedded.identity import Identities, hashed
from zkwire.embedded.sessions import Sessions
from zkwire.embedded.watches import RECURSIVE, WatchList
from zkwire.errors import InvalidACLError, MarshallingError
from zkwire.ops import Create, Exists, GetData
from zkwire.values import ACL, Id, Permissions

MALFORMED, BAD_ARGUMENTS, NO_NODE, NO_AUTH, INVALID_ACL = -5, -8, -101, -102, -114


def text(value: Optional[str]) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value.encode()


def vector(*values: Optional[str]) -> bytes:
    return struct.pack(">i", len(values)) + b"".join(map(text, values))


ANYONE = struct.pack(">ii", 1, 31) + text("world") + text("anyone")


def create(path: Optional[str], flags: int, acl: bytes = ANYONE) -> bytes:
    return text(path) + struct.pack(">i", 0) + acl + struct.pack(">i", flags)


def transaction(*parts: Tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">i?i", opcode, False, -1) + body for opcode, body in parts) + struct.pack(">i?i", -1, True, -1)


def answer(peer: Peer, opcode: int, body: bytes) -> Any:
    """The error code of the reply."""
    peer.push_frame(struct.pack(">ii", 1, opcode) + body)
    replies = peer.replies()
    assert len(replies) == 1, replies
    return replies[0][2]


@pytest.mark.parametrize(("opcode", "body"), [
    (14, transaction((2, text("/a") + struct.pack(">i", -1)), (4, text("/") + b"\0"))),
    (14, transaction((11, b""))), (14, transaction((4, text("/") + b"\0"))[:-9]), (14, b"\0"),
    (101, struct.pack(">qi", 0, -1) + vector() + vector()), (101, struct.pack(">q", 0) + vector(None) + vector() + vector()),
])  # fmt: skip
def test_what_does_not_decode_is_malformed(opcode: int, body: bytes) -> None:
    peer = connected(make_core())
    assert answer(peer, opcode, body) == MALFORMED
    assert peer.ask(Exists("/")).numChildren == 1, "the connection is as good as before"


def test_a_refused_transaction_has_done_nothing() -> None:
    peer = connected(make_core())
    assert answer(peer, 14, transaction((1, create("/a", 0)), (4, text("/") + b"\0"))) == MALFORMED
    assert peer.ask(GetData("/a")) == NO_NODE


@pytest.mark.parametrize("flags", [7, -1, 99])
def test_flags_that_nobody_knows(flags: int) -> None:
    peer = connected(make_core())
    assert answer(peer, 1, create("/a", flags)) == BAD_ARGUMENTS
    assert peer.ask(GetData("/a")) == NO_NODE


def test_a_null_acl_is_refused() -> None:
    peer = connected(make_core())
    assert answer(peer, 1, create("/a", 0, struct.pack(">i", -1))) == INVALID_ACL
    assert peer.ask(GetData("/a")) == NO_NODE


# ---------------------------------------------------------------------------- identities


@pytest.mark.parametrize("scheme", ["world", "digest", "ip"])
def test_an_identity_without_a_name_is_malformed(scheme: str) -> None:
    with pytest.raises(MarshallingError, match="without a name"):
        Identities().resolve([ACL(31, Id(scheme, None))], [])  # type: ignore[arg-type]


@pytest.mark.parametrize("acl", [[], [ACL(31, Id(None, "a"))], [ACL(31, Id("unknown", "a"))], [ACL(31, Id("auth", ""))]])  # type: ignore[arg-type]
def test_acls_that_name_nobody(acl: Any) -> None:
    with pytest.raises(InvalidACLError):
        Identities().resolve(acl, [Id("ip", "127.0.0.1")])


def test_auth_stands_for_all_that_were_proven_and_an_entry_counts_once() -> None:
    mine = [Id("ip", "127.0.0.1"), Id("digest", "a:b"), Id("digest", "c:d")]
    twice = [ACL(1, Id("auth", "")), ACL(1, Id("auth", "")), ACL(2, Id("world", "anyone"))]
    assert Identities().resolve(twice, mine) == [
        ACL(1, Id("digest", "a:b")), ACL(1, Id("digest", "c:d")), ACL(2, Id("world", "anyone")),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [1, 11, 12, 40])
def test_however_many_identities_each_stays_once(count: int) -> None:
    ids = [Id("digest", f"user{number}:x") for number in range(count)]
    assert sorted(hashed(ids)) == sorted(ids)
    assert hashed(ids) == hashed(list(hashed(ids)))


# ------------------------------------------------------------------- rules, and watches


@pytest.mark.parametrize(("opcode", "body", "hit"), [
    (4, text("/a") + b"\0", True), (4, text("/b") + b"\0", False), (4, b"\0", False), (-11, b"", False), (11, b"", False),
])  # fmt: skip
def test_a_rule_of_a_path_is_for_requests_with_that_path(opcode: int, body: bytes, hit: bool) -> None:
    rule = Rule(-4, None, "/a", 2, False)
    conditions = Conditions(rules=[rule])
    assert conditions.rule_for(opcode, body) is (rule if hit else None) and rule.times == 2 - hit


def test_a_rule_is_used_up() -> None:
    conditions = Conditions(rules=[Rule(-4, frozenset([4]), None, 2, False)])
    assert [conditions.rule_for(4, b"") is not None for _ in range(3)] == [True, True, False] and conditions.rules == []
    conditions.forget(Rule(-4, None, None, 1, False))
    assert conditions.visible_zxid(7) == 7
    conditions.lag = 5
    assert (conditions.visible_zxid(7), conditions.visible_zxid(3)) == (5, 3)
    conditions.clear()
    assert conditions == Conditions()


def test_a_watcher_is_found_by_path_and_kind() -> None:
    watches = WatchList(True)
    watches.add("/a", "me", RECURSIVE)
    assert watches.has("/a", "me") and watches.has("/a", "me", RECURSIVE)
    assert not watches.has("/a", "you") and not watches.has("/b", "me") and not watches.has(None, "me")
    watches.forget("me")
    assert not watches.has("/a", "me") and watches.recursive == 0 and watches.paths == {}


# ------------------------------------------------------------------ what versions differ in


@pytest.mark.parametrize("version", ["3.5", "3.8"])
def test_before_3_9_a_lone_check_is_never_answered(version: str) -> None:
    peer = connected(make_core(version=version))
    peer.push_frame(struct.pack(">ii", 1, 13) + text("/") + struct.pack(">i", -1))
    assert peer.replies() == [] and not peer.link.over
    assert peer.ask(GetData("/missing")) == NO_NODE


@pytest.mark.parametrize(("version", "hidden"), [("3.8", False), ("3.9", True)])
def test_since_3_9_only_readers_hear_that_a_node_exists(version: str, hidden: bool) -> None:
    peer = connected(make_core(version=version))
    assert peer.ask(Create("/a", b"", [ACL(Permissions.CREATE, Id("world", "anyone"))])) == "/a"
    found = peer.ask(Exists("/a"))
    assert found == NO_AUTH if hidden else found.czxid > 0


@pytest.mark.parametrize(("version", "flags"), [("3.8", 5), ("3.8", 6), ("3.9", 5)])
def test_a_ttl_node_without_a_ttl_in_a_transaction(version: str, flags: int) -> None:
    peer = connected(make_core(version=version))
    peer.ask(Create("/before", b"", OPEN))
    assert answer(peer, 14, transaction((1, create("/a", flags)))) == MALFORMED
    assert peer.ask(GetData("/a")) == NO_NODE
    peer.ask(Create("/after", b"", OPEN))
    assert peer.ask(Exists("/after")).czxid == peer.ask(Exists("/before")).czxid + 2, "it has a zxid of its own"


def test_reads_of_a_transaction_end_at_what_cannot_be_read() -> None:
    peer = connected(make_core())
    peer.push_frame(struct.pack(">ii", 1, 22) + transaction((8, text("/") + b"\0"), (4, text(None) + b"\0")))
    ((_, _, code, body),) = peer.replies()
    listed = struct.pack(">i?i", 8, False, 0) + vector("zookeeper")
    assert code == MALFORMED and body == listed + struct.pack(">i?i", -1, True, -1)


@pytest.mark.parametrize("seed", [0, 1, 1 << 40, (1 << 63) - 1])
def test_whatever_the_seed_no_session_has_the_number_of_none(seed: int) -> None:
    sessions: Sessions[Any] = Sessions(seed, 1.0, 0.2, 60.0)
    ids = [sessions.create(1000, 0.0).id for _ in range(3)]
    assert 0 < ids[0] < ids[1] < ids[2] < 1 << 63
