"""zkwire.wire.messages: values, their bytes, and paths and ACLs as a scope changes them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.feeding import mutations, outcome, refuses, seeded, truncations, unhex
from zkwire import values
from zkwire.errors import MarshallingError
from zkwire.wire.jute import JuteType, decode, encode
from zkwire.values import (
    ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, EventType, Id, Permissions, Stat, WatchedEvent, make_acl,
    make_digest_acl, make_digest_acl_credential,
)  # fmt: skip
from zkwire.wire.messages import (
    ACL_ENTRY, ACLS, CONNECT_REQUEST, CONNECT_RESPONSE, EVENT_TYPES, ID, PATH, REPLY_HEADER, REQUEST_HEADER,
    RESULT_ACLS, RESULT_PATH, STAT, WATCHER_EVENT, ConnectRequest, ConnectResponse, ReplyHeader, RequestHeader, Scope,
    WatcherEvent,
)  # fmt: skip

PASSWD = bytes.fromhex("ce001bc8439db5a45cf36208c48e382f")

STAT_VALUE = Stat(6, 7, 1700000000000, 1700000000001, 1, 2, 3, 0x1000027379E0001, 5, 4, 8)
STAT_BYTES = """
    0000000000000006   # czxid
    0000000000000007   # mzxid
    0000018bcfe56800   # ctime, ms
    0000018bcfe56801   # mtime
    00000001           # version
    00000002           # cversion
    00000003           # aversion
    01000027379e0001   # ephemeralOwner
    00000005           # dataLength
    00000004           # numChildren
    0000000000000008   # pzxid
"""

SAMPLES = [
    ("stat", STAT, STAT_VALUE, STAT_BYTES),
    (
        "stat of wrapped versions",
        STAT,
        Stat(-1, 2**63 - 1, 0, -(2**63), -(2**31), 2**31 - 1, -1, -1, 0, 0, 0),
        "ffffffffffffffff 7fffffffffffffff 0000000000000000 8000000000000000 80000000 7fffffff ffffffff"
        "ffffffffffffffff 00000000 00000000 0000000000000000",
    ),
    ("id", ID, Id("world", "anyone"), "00000005 776f726c64 00000006 616e796f6e65"),
    ("acl", ACL_ENTRY, ACL(31, Id("auth", "")), "0000001f 00000004 61757468 00000000"),
    ("request header", REQUEST_HEADER, RequestHeader(-2, 11), "fffffffe 0000000b"),
    ("reply header", REPLY_HEADER, ReplyHeader(1, 0x100000006, -119), "00000001 0000000100000006 ffffff89"),
    (
        "new session",  # captured from the Java client
        CONNECT_REQUEST,
        ConnectRequest(0, 0, 10000, 0, bytes(16), False),
        "00000000 0000000000000000 00002710 0000000000000000 00000010 00000000000000000000000000000000 00",
    ),
    (
        "resumed session",
        CONNECT_REQUEST,
        ConnectRequest(0, 0x70, 30000, 0x100000B4CD40017, PASSWD, True),
        "00000000 0000000000000070 00007530 0100000b4cd40017 00000010 ce001bc8439db5a45cf36208c48e382f 01",
    ),
    (
        "request of an old client",
        CONNECT_REQUEST,
        ConnectRequest(0, 0, 1, 0, None, None),
        "00000000 0000000000000000 00000001 0000000000000000 ffffffff",
    ),
    (
        "granted",  # captured from 3.8.0
        CONNECT_RESPONSE,
        ConnectResponse(0, 10000, 0x100000B4CD40000, PASSWD, False),
        "00000000 00002710 0100000b4cd40000 00000010 ce001bc8439db5a45cf36208c48e382f 00",
    ),
    (
        "expired",  # captured from 3.8.0
        CONNECT_RESPONSE,
        ConnectResponse(0, 0, 0, bytes(16), False),
        "00000000 00000000 0000000000000000 00000010 00000000000000000000000000000000 00",
    ),
    (
        "answer without the readOnly byte",
        CONNECT_RESPONSE,
        ConnectResponse(0, 10000, 7, b"", None),
        "00000000 00002710 0000000000000007 00000000",
    ),
    ("event", WATCHER_EVENT, WatcherEvent(3, 3, "/a"), "00000003 00000003 00000002 2f61"),
    ("event of no known kind", WATCHER_EVENT, WatcherEvent(99, -1, None), "00000063 ffffffff ffffffff"),
    ("path", PATH, "/a", "00000002 2f61"),
    ("null path", PATH, None, "ffffffff"),
    ("no ACL", ACLS, None, "ffffffff"),
    ("empty ACL", ACLS, [], "00000000"),
    ("ACL", ACLS, [ACL(1, Id("ip", "::1"))], "00000001 00000001 00000002 6970 00000003 3a3a31"),
]
samples = pytest.mark.parametrize(
    ("codec", "value", "text"), [pytest.param(*sample[1:], id=sample[0]) for sample in SAMPLES]
)


@samples
def test_both_directions(codec: JuteType[Any], value: Any, text: str) -> None:
    assert encode(codec, value) == unhex(text)
    got = decode(codec, unhex(text))
    assert got == value
    assert type(got) is type(value)


@samples
def test_cut_and_spoiled(codec: JuteType[Any], value: Any, text: str) -> None:
    """Only MarshallingError escapes; cut, the handshake may end before its last byte but nowhere else."""
    data = unhex(text)
    without_flag = len(data) - 1 if getattr(value, "read_only", None) is not None else None
    for cut in truncations(data):
        assert refuses(decode, codec, cut) is (len(cut) != without_flag), cut.hex()
    with seeded() as rng:
        for spoiled in mutations(data, rng, 200):
            outcome(decode, codec, spoiled)


# ------------------------------------------------------------------ Stat


def test_stat_is_68_bytes() -> None:
    assert len(encode(STAT, STAT_VALUE)) == STAT.least == 68


def test_names_kazoo_gives_to_fields_of_stat() -> None:
    s = STAT_VALUE
    assert (s.acl_version, s.children_version, s.data_length, s.children_count) == (3, 2, 5, 4)
    assert (s.created, s.last_modified) == (1700000000.0, 1700000000.001)
    assert (s.creation_transaction_id, s.last_modified_transaction_id) == (6, 7)
    assert s.owner_session_id == 0x1000027379E0001
    assert s._replace(ephemeralOwner=0).owner_session_id is None


# ------------------------------------------------------------------ handshake


def test_sizes_of_the_handshake() -> None:
    """45 and 37 bytes with the readOnly byte, 44 and 36 without."""
    ask, answer = ConnectRequest(0, 0, 1, 0, bytes(16), True), ConnectResponse(0, 1, 1, bytes(16), True)
    for flag, (to, back) in ((True, (0x2D, 0x25)), (None, (0x2C, 0x24))):
        assert len(encode(CONNECT_REQUEST, ask._replace(read_only=flag))) == to
        assert len(encode(CONNECT_RESPONSE, answer._replace(read_only=flag))) == back


@pytest.mark.parametrize(
    "text",
    [
        "00000000 0000000100000006 ffffff89",  # captured: a ReplyHeader in place of the answer
        "00000000 00002710 0000000000000007 00000010 0000",  # password cut short
        "00000000 00002710 0000000000000007 7fffffff",
        "",
    ],
)
def test_answers_that_are_no_connect_response(text: str) -> None:
    assert refuses(decode, CONNECT_RESPONSE, unhex(text))


def test_password_is_not_in_the_texts() -> None:
    for value in (
        ConnectRequest(0, 0x70, 30000, 0x17, PASSWD, True),
        ConnectResponse(0, 30000, 0x17, PASSWD, True),
    ):
        assert "0x17" in repr(value)
        assert "30000 ms" in repr(value)
        assert PASSWD.hex() not in repr(value)
        assert repr(PASSWD) not in repr(value)


# ------------------------------------------------------------------ ACL


def test_constants() -> None:
    assert list(OPEN_ACL_UNSAFE) == [ACL(31, Id("world", "anyone"))]
    assert list(READ_ACL_UNSAFE) == [ACL(1, Id("world", "anyone"))]
    assert list(CREATOR_ALL_ACL) == [ACL(31, Id("auth", ""))]
    p = Permissions
    assert (p.READ, p.WRITE, p.CREATE, p.DELETE, p.ADMIN, p.ALL) == (1, 2, 4, 8, 16, 31)


@pytest.mark.parametrize(
    ("granted", "perms"),
    [
        ({}, 0),
        ({"read": True}, 1),
        ({"write": True}, 2),
        ({"create": True}, 4),
        ({"delete": True}, 8),
        ({"admin": True}, 16),
        ({"read": True, "delete": True}, 9),
        ({"all": True}, 31),
        ({"all": True, "read": True}, 31),
    ],
)
def test_make_acl(granted: Any, perms: int) -> None:
    assert make_acl("ip", "::1", **granted) == ACL(perms, Id("ip", "::1"))
    assert make_digest_acl("bob", "secret", **granted).perms == perms


def test_digest_of_the_server() -> None:
    """As a server shows it after `auth digest bob:secret`."""
    shown = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="
    assert make_digest_acl_credential("bob", "secret") == shown
    assert make_digest_acl("bob", "secret", all=True) == ACL(31, Id("digest", shown))


# ------------------------------------------------------------------ events


def test_event_types_of_the_wire() -> None:
    assert EVENT_TYPES == {
        1: EventType.CREATED,
        2: EventType.DELETED,
        3: EventType.CHANGED,
        4: EventType.CHILD,
    }


def test_a_watched_event_is_a_value() -> None:
    event = WatchedEvent(EventType.CREATED, values.KeeperState.CONNECTED, "/a")
    assert event == ("CREATED", "CONNECTED", "/a")
    assert (event.type, event.state, event.path) == event


# ------------------------------------------------------------------ scope


def test_scope_changes_paths() -> None:
    scope = Scope("/app1")
    assert encode(PATH, "/a", scope) == unhex("00000007 2f617070312f61")
    assert encode(PATH, "/", scope) == unhex("00000005 2f61707031")
    assert encode(PATH, None, scope) == unhex("ffffffff")
    assert decode(PATH, unhex("00000007 2f617070312f61"), 0, scope) == "/a"
    assert decode(PATH, unhex("00000005 2f61707031"), 0, scope) == "/"
    assert decode(PATH, unhex("ffffffff"), 0, scope) is None


@pytest.mark.parametrize("path", ["/app1x", "/app", "/", "", "/zookeeper/config"])
def test_result_outside_the_chroot_is_malformed(path: str) -> None:
    data = encode(PATH, path)
    with pytest.raises(MarshallingError, match="outside the chroot"):
        decode(RESULT_PATH, data, 0, Scope("/app1"))
    assert decode(RESULT_PATH, data, 0, Scope()) == path
    assert decode(RESULT_PATH, data) == path


def test_result_path_is_not_null() -> None:
    assert refuses(decode, RESULT_PATH, unhex("ffffffff"))
    assert refuses(decode, RESULT_PATH, unhex("ffffffff"), 0, Scope("/app1"))


def test_scope_has_a_default_acl() -> None:
    everyone = encode(ACLS, OPEN_ACL_UNSAFE)
    assert encode(ACLS, None, Scope()) == everyone
    assert encode(ACLS, None, Scope("/a", READ_ACL_UNSAFE)) == encode(ACLS, READ_ACL_UNSAFE)
    assert encode(ACLS, [], Scope()) == unhex("00000000")  # the server refuses it; not ours to hide
    assert encode(ACLS, None) == unhex("ffffffff")
    assert encode(ACLS, READ_ACL_UNSAFE, Scope()) == encode(ACLS, READ_ACL_UNSAFE)
    assert everyone == unhex(
        """
        00000001                  # one entry
        0000001f                  # all permissions
        00000005 776f726c64       # world
        00000006 616e796f6e65     # anyone
        """
    )


def test_default_acl_is_a_copy() -> None:
    mine = [ACL(1, Id("ip", "::1"))]
    scope = Scope("", mine)
    mine.clear()
    assert scope.default_acl == (ACL(1, Id("ip", "::1")),)


def test_acl_in_a_reply_is_not_null() -> None:
    assert refuses(decode, RESULT_ACLS, unhex("ffffffff"))
    assert decode(RESULT_ACLS, unhex("00000000")) == []
