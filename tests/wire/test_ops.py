"""zkwire.ops, one operation at a time: bytes of requests and replies, both directions, and what is refused.

Transactions are in test_multi.py.
"""

from __future__ import annotations

import struct
from typing import Any, List, Optional, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.feeding import mutations, outcome, refuses, seeded, truncations, unhex
from zkwire import errors, ops
from zkwire.errors import MarshallingError, NoNodeError, ZookeeperError
from zkwire.wire.jute import decode, encode
from zkwire.wire.operation import Op, armed
from zkwire.ops import BY_OPCODE
from zkwire.values import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, Stat, WatchedEvent
from zkwire.wire.messages import Scope
from zkwire.wire.session_ops import Auth, GetEphemerals, WhoAmI

WORLD = "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"  # world:anyone, all permissions
STAT = Stat(6, 7, 1, 2, 1, 2, 3, 0, 5, 4, 8)
STAT_HEX = (
    "0000000000000006 0000000000000007 0000000000000001 0000000000000002 00000001 00000002 00000003"
    "0000000000000000 00000005 00000004 0000000000000008"
)
A = "00000002 2f61"  # "/a"
A7 = "0000000d 2f612f 30303030303030303037"  # "/a/0000000007"
AM = "0000000d 2f61 2d32313437343833363438"  # "/a-2147483648"


def on_event(event: WatchedEvent) -> None:
    """A watcher."""


#: Operation; request body; value of the reply as the wire has it; reply body.
TABLE: List[Tuple[Op[Any], str, Any, str]] = [
    (ops.Create("/a", b"v1", OPEN_ACL_UNSAFE), f"{A} 00000002 7631 {WORLD} 00000000", "/a", A),
    (ops.Create("/a", None, [], ephemeral=True), f"{A} ffffffff 00000000 00000001", "/a", A),
    (ops.Create("/a/", b"", None, sequence=True), "00000003 2f612f 00000000 ffffffff 00000002", "/a/0000000007", A7),
    (ops.Create("/a", b"", [], ephemeral=True, sequence=True), f"{A} 00000000 00000000 00000003", "/a-2147483648", AM),
    (ops.Create2("/a", b"", []), f"{A} 00000000 00000000 00000000", ("/a", STAT), A + STAT_HEX),
    (ops.CreateContainer("/a", b"", []), f"{A} 00000000 00000000 00000004", ("/a", STAT), A + STAT_HEX),
    (
        ops.CreateTTL("/a", b"", [], ttl=1.5),
        f"{A} 00000000 00000000 00000005 00000000000005dc",
        ("/a", STAT),
        A + STAT_HEX,
    ),
    (
        ops.CreateTTL("/a", b"", [], ttl=0.001, sequence=True),
        f"{A} 00000000 00000000 00000006 0000000000000001",
        ("/a-2147483648", STAT),
        AM + STAT_HEX,
    ),
    (ops.Delete("/a", 7), f"{A} 00000007", None, ""),
    (ops.Delete("/a"), f"{A} ffffffff", None, ""),
    (ops.Exists("/a"), f"{A} 00", STAT, STAT_HEX),
    (ops.Exists("/a", armed), f"{A} 01", STAT, STAT_HEX),
    (ops.GetData("/a"), f"{A} 00", (b"v", STAT), "00000001 76" + STAT_HEX),
    (ops.GetData("/a", armed), f"{A} 01", (None, STAT), "ffffffff" + STAT_HEX),
    (ops.SetData("/a", b"v", 3), f"{A} 00000001 76 00000003", STAT, STAT_HEX),
    (ops.SetData("/a", None), f"{A} ffffffff ffffffff", STAT, STAT_HEX),
    (ops.GetACL("/a"), A, ([ACL(31, Id("world", "anyone"))], STAT), WORLD + STAT_HEX),
    (ops.SetACL("/a", list(OPEN_ACL_UNSAFE), 1), f"{A} {WORLD} 00000001", STAT, STAT_HEX),
    (ops.GetChildren("/a", armed), f"{A} 01", ["b", "é"], "00000002 00000001 62 00000002 c3a9"),
    (ops.GetChildren2("/a"), f"{A} 00", ([], STAT), "00000000" + STAT_HEX),
    (ops.Sync("/a"), A, "/a", A),
    (ops.Check("/a", 2), f"{A} 00000002", None, ""),
    (ops.GetAllChildrenNumber("/a"), A, 7, "00000007"),
    (ops.AddWatch("/a", armed), f"{A} 00000000", 0, "00000000"),
    (ops.AddWatch("/a", armed, recursive=True), f"{A} 00000001", 0, "00000000"),
    (ops.CheckWatches("/a", 1), f"{A} 00000001", None, ""),
    (ops.RemoveWatches("/a"), f"{A} 00000003", None, ""),
    (
        ops.SetWatches(0x70, ["/a"], [], ["/b", "/c"]),
        f"0000000000000070 00000001 {A} 00000000 00000002 00000002 2f62 00000002 2f63",
        None,
        "",
    ),
    (
        ops.SetWatches2(0x70, ["/sw"], ["/nonode"], ["/sw"], [], ["/pp"]),  # captured from the Java client
        "0000000000000070 00000001 00000003 2f7377 00000001 00000007 2f6e6f6e6f6465 00000001 00000003 2f7377"
        "00000000 00000001 00000003 2f7070",
        None,
        "",
    ),
    (ops.Ping(), "", None, ""),
    (Auth("digest", b"bob:secret"), "00000000 00000006 646967657374 0000000a 626f623a736563726574", None, ""),
    (ops.Sasl(b""), "00000000", b"x", "00000001 78"),
    (ops.Sasl(None), "ffffffff", None, "ffffffff"),
    (ops.CloseSession(), "", None, ""),
    (GetEphemerals("/a"), A, ["/a", "/ab"], f"00000002 {A} 00000003 2f6162"),
    (WhoAmI(), "", [Id("ip", "127.0.0.1")], "00000001 00000002 6970 00000009 3132372e302e302e31"),
    (
        ops.Reconfig("s", None, None, 0x100),
        "00000001 73 ffffffff ffffffff 0000000000000100",
        (b"server.1", STAT),
        "00000008 7365727665722e31" + STAT_HEX,
    ),
]
#: What follows the header of their replies is known before.
REPLY_SAYS_NOTHING = (ops.AddWatch, ops.Sync)
table = pytest.mark.parametrize(
    ("op", "body", "value", "reply"),
    [pytest.param(*row, id=f"{i}-{row[0]!r}") for i, row in enumerate(TABLE)],
)

#: ZooDefs.OpCode.
OPCODES = {
    "Create": 1, "Delete": 2, "Exists": 3, "GetData": 4, "SetData": 5, "GetACL": 6, "SetACL": 7,
    "GetChildren": 8, "Sync": 9, "Ping": 11, "GetChildren2": 12, "Check": 13, "Multi": 14, "Create2": 15,
    "Reconfig": 16, "CheckWatches": 17, "RemoveWatches": 18, "CreateContainer": 19, "CreateTTL": 21,
    "MultiRead": 22, "Auth": 100,
    "SetWatches": 101, "Sasl": 102, "GetEphemerals": 103, "GetAllChildrenNumber": 104, "SetWatches2": 105,
    "AddWatch": 106, "WhoAmI": 107, "CloseSession": -11,
}  # fmt: skip
#: What changes something, so that a lost answer leaves a doubt.
WRITES = {
    "Create", "Create2", "CreateContainer", "CreateTTL", "Delete", "SetData", "SetACL", "Multi", "Reconfig",
    "CloseSession",
}  # fmt: skip


#: Stands in a transaction only, or is the session's own business.
NOT_FOR_USERS = {"Check", "Ping", "SetWatches", "SetWatches2", "Auth", "Sasl", "CloseSession"}


def test_opcodes() -> None:
    assert {cls.__name__: code for code, cls in BY_OPCODE.items()} == OPCODES
    assert all(cls.opcode == code for code, cls in BY_OPCODE.items())


def test_table_above_has_every_operation() -> None:
    assert {type(op).__name__ for op, *_ in TABLE} == set(OPCODES) - {"Multi", "MultiRead"}


def test_what_is_known_of_each_operation() -> None:
    assert {cls.__name__ for cls in BY_OPCODE.values() if cls.writes} == WRITES
    assert {cls.__name__ for cls in BY_OPCODE.values() if not cls.alone} == NOT_FOR_USERS
    fixed = {cls.__name__: cls.fixed_xid for cls in BY_OPCODE.values() if cls.fixed_xid is not None}
    assert fixed == {"Ping": -2, "Auth": -4}


# ------------------------------------------------------------------ bytes, both directions


@table
def test_request_is_written(op: Op[Any], body: str, value: Any, reply: str) -> None:
    want = unhex(body)
    header = struct.pack(">iii", len(want) + 8, 0x01020304, op.opcode)
    assert op.frame(0x01020304, None) == header + want
    out = bytearray(b"\x55")
    op.body(out, None)
    assert bytes(out) == b"\x55" + want


@table
def test_request_is_read(op: Op[Any], body: str, value: Any, reply: str) -> None:
    data = unhex(body)
    got = type(op).parse(data)
    assert type(got) is type(op)
    for name, _ in op.request:
        assert list_of(getattr(got, name)) == list_of(getattr(op, name)), name
    assert got.frame(9, None) == op.frame(9, None)
    assert type(op).read(b"\x55" + data + b"\xaa", 1, None)[1] == len(data) + 1
    assert got.path == op.path


def list_of(value: Any) -> Any:
    """Vectors are read as lists, whatever sequence they were."""
    return list(value) if isinstance(value, (tuple, list)) else value


@table
def test_reply_is_written_and_read(op: Op[Any], body: str, value: Any, reply: str) -> None:
    data = unhex(reply)
    assert encode(op.reply, value) == data
    assert decode(op.reply, data) == value
    want = None if isinstance(op, ops.AddWatch) else value
    assert op.result(b"\x55" + data + b"future", 1, None) == want


@fault("M09")
@pytest.mark.parametrize(
    ("op", "path"),
    [(ops.Create("/a/b"), path) for path in ("/a/c", "/a", "/", "", "/a/b/", "/a/bc", "/x/b", "/a/../b")]
    + [(ops.Create("/a/b-", sequence=True), path) for path in (
        "/a/b-", "/a/c-0000000001", "/a/b-1/2", "/a/b-../0000000001", "/a/b-x", "/a/b--", "/a/b-١", "/b-0000000001",
    )],
)  # fmt: skip
def test_a_create_answered_with_another_path(op: Any, path: str) -> None:
    """Whoever deletes or writes what he has created would do it elsewhere."""
    for one in (op, ops.Create2(op.path, sequence=op.flags == 2)):
        value = path if one.opcode == 1 else (path, STAT)
        with pytest.raises(MarshallingError, match="answered with the path"):
            one.result(encode(one.reply, value), 0, None)
        with pytest.raises(MarshallingError, match="answered with the path"):
            ops.Multi([one]).conclude([(one.opcode, value)])


@table
def test_cut_and_spoiled(op: Op[Any], body: str, value: Any, reply: str) -> None:
    for cut in truncations(unhex(body)):
        assert refuses(type(op).parse, cut), cut.hex()
    for cut in truncations(unhex(reply)):
        assert refuses(op.result, cut, 0, None) is not isinstance(op, REPLY_SAYS_NOTHING), cut.hex()
    with seeded() as rng:
        for spoiled in mutations(unhex(body), rng, 100):
            outcome(type(op).parse, spoiled)
        for spoiled in mutations(unhex(reply), rng, 100):
            outcome(op.result, spoiled, 0, None)


def test_captured_frames() -> None:
    """Whole frames as captured between the Java client and 3.8.0."""
    create = ops.Create("/a", b"v1", OPEN_ACL_UNSAFE).frame(1, None)
    assert create == unhex(f"00000033 00000001 00000001 {A} 00000002 7631 {WORLD} 00000000")
    assert ops.Ping().frame(-2, None) == unhex("00000008 fffffffe 0000000b")
    auth = unhex("00000024 fffffffc 00000064 00000000 00000006 646967657374 0000000a 626f623a736563726574")
    assert Auth("digest", b"bob:secret").frame(-4, None) == auth
    watch = ops.AddWatch("/p", on_event).frame(0x2A, None)
    assert watch == unhex("00000012 0000002a 0000006a 00000002 2f70 00000000")
    assert ops.Sasl(b"").frame(1, None) == unhex("0000000c 00000001 00000066 00000000")
    assert ops.CloseSession().frame(3, None) == unhex("00000008 00000003 fffffff5")


def test_null_paths_and_data_of_a_client_are_read() -> None:
    op = ops.Create.parse(unhex(f"ffffffff ffffffff {WORLD} 00000000"))
    assert (op.path, op.value) == (None, None)
    assert ops.GetData.parse(unhex("ffffffff 00")).path is None


@pytest.mark.parametrize("mode", ["00000002", "ffffffff", "7fffffff"])
def test_add_watch_of_unknown_mode(mode: str) -> None:
    assert refuses(ops.AddWatch.parse, unhex(A + mode))


# ------------------------------------------------------------------ errors and outcomes


@table
def test_refusal_names_the_path(op: Op[Any], body: str, value: Any, reply: str) -> None:
    error = op.refusal(-102)
    assert isinstance(error, errors.NoAuthError)
    assert error.path == op.path
    unknown = op.refusal(-999)
    assert type(unknown) is ZookeeperError
    assert unknown.code == -999


def test_exists_takes_no_node_for_an_answer() -> None:
    assert ops.Exists("/a").refusal(-101) is None
    assert isinstance(ops.GetData("/a").refusal(-101), NoNodeError)


@pytest.mark.parametrize(
    ("op", "watches"),
    [
        (ops.Exists("/a"), ("data", "exist")),
        (ops.GetData("/a"), ("data", None)),
        (ops.GetChildren("/a"), ("child", None)),
        (ops.GetChildren2("/a"), ("child", None)),
        (ops.AddWatch("/a", on_event), ("persistent", None)),
        (ops.AddWatch("/a", on_event, True), ("recursive", None)),
        (ops.SetData("/a", b""), None),
    ],
)
def test_list_a_watch_stands_in(op: Op[Any], watches: Optional[Tuple[str, Optional[str]]]) -> None:
    assert op.watches == watches


def test_watch_is_a_flag_on_the_wire() -> None:
    for cls in (ops.Exists, ops.GetData, ops.GetChildren, ops.GetChildren2):
        assert cls("/a", on_event).frame(1, None)[-1:] == b"\1"
        assert cls("/a").frame(1, None)[-1:] == b"\0"
        assert cls.parse(unhex(A + "01")).watch is armed
        assert cls.parse(unhex(A + "00")).watch is None


def test_fast_frame_is_the_frame() -> None:
    """PathAndWatch makes its frame in one go: the same bytes as by its fields, with any scope."""
    for scope in (None, Scope(), Scope("/app")):
        for path in ("/", "/a", "/é日"):
            for cls in (ops.Exists, ops.GetData, ops.GetChildren, ops.GetChildren2):
                op = cls(path, on_event)
                assert op.frame(77, scope) == Op.frame(op, 77, scope)


# ------------------------------------------------------------------ scope


def test_chroot_is_put_before_every_path() -> None:
    scope = Scope("/app")
    for op, *_ in TABLE:
        if op.path is None:
            assert op.frame(1, scope) == op.frame(1, None)
        else:
            served = type(op).parse(op.frame(1, scope), 12)
            assert served.path == "/app" + op.path
            assert type(op).parse(op.frame(1, scope), 12, scope).path == op.path


def test_chroot_is_taken_off_results() -> None:
    scope, inside, outside = Scope("/app"), "00000006 2f6170702f61", "00000005 2f61707078"
    for op in (ops.Create("/a"), ops.Sync("/a")):
        assert op.result(unhex(inside), 0, scope) == "/a"
    assert refuses(ops.Create("/a").result, unhex(outside), 0, scope)
    for op in (ops.Create2("/a"), ops.CreateContainer("/a"), ops.CreateTTL("/a", ttl=1)):
        assert op.result(unhex(inside + STAT_HEX), 0, scope) == ("/a", STAT)
        assert refuses(op.result, unhex(outside + STAT_HEX), 0, scope)


def test_ephemerals_outside_the_chroot_are_left_out() -> None:
    """The server matches the plain string: "/app" finds "/appx" too (ZKDatabase.getEphemerals filters so)."""
    reply = encode(GetEphemerals.reply, ["/app/a", "/app", "/appx/b", "/app/b/c", "/application"])
    assert GetEphemerals("/").result(reply, 0, Scope("/app")) == ["/a", "/", "/b/c"]
    assert GetEphemerals("/").result(reply, 0, Scope())[2] == "/appx/b"
    assert GetEphemerals("/").frame(1, Scope("/app")) == unhex("00000010 00000001 00000067 00000004 2f617070")


@pytest.mark.parametrize(
    "op",
    [
        ops.Create("/", b"", [], sequence=True),
        ops.Create("/", b"", [], ephemeral=True, sequence=True),
        ops.Create2("/", b"", [], sequence=True),
        ops.CreateTTL("/", b"", [], ttl=1, sequence=True),
    ],
)
def test_sequential_create_of_the_root_stays_below_the_chroot(op: Any) -> None:
    """Without the slash the server would make "/app0000000000", a sibling of the chroot."""
    assert type(op).parse(op.frame(1, Scope("/app")), 12).path == "/app/"
    assert type(op).parse(op.frame(1, Scope()), 12).path == "/"
    assert type(op).parse(op.frame(1, None), 12).path == "/"
    assert type(op).parse(op.frame(1, Scope("/app")), 12).flags == op.flags


def test_plain_create_of_the_root_is_the_chroot_itself() -> None:
    assert ops.Create.parse(ops.Create("/").frame(1, Scope("/app")), 12).path == "/app"


def test_scope_has_the_default_acl() -> None:
    scope = Scope("", READ_ACL_UNSAFE)
    for op in (ops.Create("/a"), ops.Create2("/a"), ops.CreateContainer("/a"), ops.CreateTTL("/a", ttl=1)):
        assert type(op).parse(op.frame(1, scope), 12).acl == list(READ_ACL_UNSAFE)
    mine = ops.Create("/a", b"", OPEN_ACL_UNSAFE)
    assert ops.Create.parse(mine.frame(1, scope), 12).acl == list(OPEN_ACL_UNSAFE)
