"""zkwire.ops, transactions: bytes, results by position whatever their type, and what a failure looks like."""

from __future__ import annotations

from typing import Any, List, Type

import pytest

from tests.kit.feeding import mutations, outcome, refuses, seeded, truncations, unhex
from tests.wire.test_ops import STAT, STAT_HEX, A
from zkwire import ops
from zkwire.errors import (
    BadVersionError, MarshallingError, NoNodeError, RolledBackError, RuntimeInconsistency, ZookeeperError,
)  # fmt: skip
from zkwire.wire.jute import encode
from zkwire.wire.operation import Op
from zkwire.ops import Multi, MultiRead
from zkwire.values import OPEN_ACL_UNSAFE
from zkwire.wire.messages import Scope

END = "ffffffff 01 ffffffff"
ALL: List[Op[Any]] = [
    ops.Create("/a", b"", []),
    ops.Create2("/a", b"", []),
    ops.CreateContainer("/a", b"", []),
    ops.CreateTTL("/a", b"", [], ttl=1),
    ops.Delete("/a", 3),
    ops.SetData("/a", b"v", 4),
    ops.Check("/a", 5),
]
REQUEST = f"""
    00000001 00 ffffffff {A} 00000000 00000000 00000000                    # create
    0000000f 00 ffffffff {A} 00000000 00000000 00000000                    # create2
    00000013 00 ffffffff {A} 00000000 00000000 00000004                    # createContainer
    00000015 00 ffffffff {A} 00000000 00000000 00000005 00000000000003e8   # createTTL
    00000002 00 ffffffff {A} 00000003                                      # delete
    00000005 00 ffffffff {A} 00000001 76 00000004                          # setData
    0000000d 00 ffffffff {A} 00000005                                      # check
    {END}
"""
#: 3.9.3: create2, container and ttl come back as type 15.
REPLY = f"""
    00000001 00 00000000 {A}
    0000000f 00 00000000 {A} {STAT_HEX}
    0000000f 00 00000000 {A} {STAT_HEX}
    0000000f 00 00000000 {A} {STAT_HEX}
    00000002 00 00000000
    00000005 00 00000000 {STAT_HEX}
    0000000d 00 00000000
    {END}
"""


def failed(*codes: int) -> bytes:
    """A reply of errors only: header and body have the same number."""
    return encode(Multi.reply, [(-1, code) for code in codes])


# ------------------------------------------------------------------ bytes


def test_request() -> None:
    body = unhex(REQUEST)
    assert Multi(ALL).frame(5, None) == (len(body) + 8).to_bytes(4, "big") + unhex("00000005 0000000e") + body
    assert list(Multi.parse(body).ops) == ALL
    assert Multi.parse(body).frame(5, None)[12:] == body


def test_empty_multi() -> None:
    assert Multi([]).frame(5, None) == unhex("00000011 00000005 0000000e", END)
    assert Multi([]).result(unhex(END), 0, None) == []
    assert MultiRead([]).frame(5, None) == unhex("00000011 00000005 00000016", END)
    assert MultiRead([]).result(unhex(END), 0, None) == []


def test_reply() -> None:
    made = ("/a", STAT)
    assert Multi(ALL).result(unhex(REPLY), 0, None) == ["/a", made, made, made, None, STAT, None]
    values = [(1, "/a"), (15, made), (15, made), (15, made), (2, None), (5, STAT), (13, None)]
    assert encode(Multi.reply, values) == unhex(REPLY)


def test_failed_reply_as_captured() -> None:
    """3.8.0: rolled back, the cause, not tried."""
    data = unhex(
        "ffffffff 00 00000000 00000000",
        "ffffffff 00 ffffff99 ffffff99",
        "ffffffff 00 fffffffe fffffffe",
        END,
    )
    assert failed(0, -103, -2) == data
    error = Multi(ALL[:3]).result(data, 0, None)
    assert isinstance(error, BadVersionError)


def test_cut_and_spoiled() -> None:
    read = MultiRead([ops.GetData("/a"), ops.GetChildren("/a")])
    bodies = [
        (Multi.parse, (), unhex(REQUEST)),
        (Multi(ALL).result, (0, None), unhex(REPLY)),
        (Multi(ALL[:3]).result, (0, None), failed(0, -103, -2)),
        (MultiRead.parse, (), read.frame(1, None)[12:]),
        (read.result, (0, None), unhex(f"00000004 00 00000000 ffffffff {STAT_HEX}") + failed(-101)),
    ]
    with seeded() as rng:
        for function, more, data in bodies:
            for cut in truncations(data):
                assert refuses(function, cut, *more), cut.hex()
            for spoiled in mutations(data, rng, 2000):
                outcome(function, spoiled, *more)


@pytest.mark.parametrize("text", ["00000063 00 ffffffff", "0000000e 00 ffffffff", "fffffffe 00 00000000"])
def test_unknown_types(text: str) -> None:
    assert refuses(Multi.parse, unhex(text, END))
    assert refuses(Multi([]).result, unhex(text, END), 0, None)


def test_no_end() -> None:
    assert refuses(Multi.parse, b"")
    assert refuses(Multi([]).result, b"", 0, None)


# ------------------------------------------------------------------ results by position


@pytest.mark.parametrize("kind", ["0000000f", "00000013", "00000015"])
@pytest.mark.parametrize("op", ALL[1:4], ids=repr)
def test_create_with_stat_under_any_type(op: Op[Any], kind: str) -> None:
    """Servers say 15 for 15, 19 and 21; the number of the request itself is no surprise either."""
    assert Multi([op]).result(unhex(f"{kind} 00 00000000 {A} {STAT_HEX} {END}"), 0, None) == [("/a", STAT)]


@pytest.mark.parametrize("op", ALL[1:4], ids=repr)
def test_create_with_stat_answered_without(op: Op[Any]) -> None:
    """3.8.0 answers a create2 within a transaction as a create."""
    assert Multi([op]).result(unhex(f"00000001 00 00000000 {A} {END}"), 0, None) == [("/a", None)]


def test_create_answered_with_stat() -> None:
    result = Multi([ops.Create("/a")]).result(unhex(f"0000000f 00 00000000 {A} {STAT_HEX} {END}"), 0, None)
    assert result == ["/a"]


@pytest.mark.parametrize(
    ("op", "result"),
    [
        (ops.Create("/a"), "00000002 00 00000000"),
        (ops.Create("/a"), f"00000005 00 00000000 {STAT_HEX}"),
        (ops.Create2("/a"), "0000000d 00 00000000"),
        (ops.Delete("/a"), f"00000001 00 00000000 {A}"),
        (ops.Delete("/a"), f"00000005 00 00000000 {STAT_HEX}"),
        (ops.SetData("/a", b""), "00000002 00 00000000"),
        (ops.Check("/a"), f"0000000f 00 00000000 {A} {STAT_HEX}"),
        (ops.SetData("/a", b""), "00000008 00 00000000 00000000"),
    ],
)
def test_result_of_another_operation_is_malformed(op: Op[Any], result: str) -> None:
    assert refuses(Multi([op]).result, unhex(result, END), 0, None)


def test_number_of_results() -> None:
    one = "0000000d 00 00000000"
    check = ops.Check("/a")
    assert Multi([check]).result(unhex(one, END), 0, None) == [None]
    with pytest.raises(MarshallingError, match="1 results for 2 operations"):
        Multi([check, check]).result(unhex(one, END), 0, None)
    assert refuses(Multi([check]).result, unhex(END), 0, None)
    assert refuses(Multi([]).result, unhex(one, END), 0, None)
    assert refuses(MultiRead([ops.GetData("/a")]).result, unhex(END), 0, None)


# ------------------------------------------------------------------ failure


@pytest.mark.parametrize(
    ("codes", "types"),
    [
        ((-103, -2, -2), [BadVersionError, RuntimeInconsistency, RuntimeInconsistency]),
        ((0, -103, -2), [RolledBackError, BadVersionError, RuntimeInconsistency]),
        ((0, 0, -101), [RolledBackError, RolledBackError, NoNodeError]),
        ((0, 0, -999), [RolledBackError, RolledBackError, ZookeeperError]),
    ],
)
def test_failure_by_position(codes: Any, types: List[Type[ZookeeperError]]) -> None:
    each = [ops.Check("/a"), ops.Delete("/b"), ops.Delete("/c")]
    data = failed(*codes)
    error = Multi(each).result(data, 0, None)
    cause = next(i for i, code in enumerate(codes) if code not in (0, -2))
    assert type(error) is types[cause]
    assert (error.code, error.path) == (codes[cause], each[cause].path)
    told = Multi(each, raise_on_error=False).result(data, 0, None)
    assert [type(e) for e in told] == types
    assert [e.path for e in told] == ["/a", "/b", "/c"]
    assert not any(e.maybe_applied for e in told)


def test_failure_without_a_cause_is_still_an_error() -> None:
    assert isinstance(Multi(ALL[:2]).result(failed(-2, -2), 0, None), RuntimeInconsistency)
    assert isinstance(Multi(ALL[:1]).result(failed(0), 0, None), RolledBackError)


def test_failure_beside_success_is_a_failure() -> None:
    """No server does it; but a result must never be read as an error's code or the other way round."""
    data = unhex(f"00000005 00 00000000 {STAT_HEX}") + failed(-101)
    error = Multi([ops.SetData("/a", b""), ops.Delete("/b")]).result(data, 0, None)
    assert isinstance(error, NoNodeError)
    assert error.path == "/b"


@pytest.mark.parametrize("raise_on_error", [True, False])
def test_refusal_as_a_whole(raise_on_error: bool) -> None:
    """3.9.3 answers some malformed transactions so."""
    error = Multi(ALL, raise_on_error).refusal(-5)
    assert isinstance(error, MarshallingError)
    assert error.path is None


# ------------------------------------------------------------------ reads


def test_multi_read() -> None:
    read = MultiRead([ops.GetData("/a"), ops.GetData("/gone"), ops.GetChildren("/a")])
    assert read.frame(1, None) == unhex(
        "00000044 00000001 00000016",
        f"00000004 00 ffffffff {A} 00",
        "00000004 00 ffffffff 00000005 2f676f6e65 00",
        f"00000008 00 ffffffff {A} 00",
        END,
    )
    assert list(MultiRead.parse(read.frame(1, None), 12).ops) == list(read.ops)
    data, gone, children = read.result(
        unhex(
            f"00000004 00 00000000 00000001 76 {STAT_HEX}",
            "ffffffff 00 ffffff9b ffffff9b",
            "00000008 00 00000000 00000001 00000001 62",
            END,
        ),
        0,
        None,
    )
    assert (data, children) == ((b"v", STAT), ["b"])
    assert isinstance(gone, NoNodeError)
    assert gone.path == "/gone"


def test_read_with_results_of_another_operation() -> None:
    read = MultiRead([ops.GetData("/a")])
    assert refuses(read.result, unhex("00000008 00 00000000 00000000", END), 0, None)


# ------------------------------------------------------------------ arguments and scope


@pytest.mark.parametrize(
    "op", [ops.Exists("/a"), ops.GetChildren2("/a"), ops.Sync("/a"), Multi([]), MultiRead([]), 7]
)
def test_what_cannot_stand_in_a_transaction(op: Any) -> None:
    with pytest.raises(ValueError, match="cannot stand in a Multi"):
        Multi([ops.Check("/a"), op])


@pytest.mark.parametrize(
    "op", [ops.Check("/a"), ops.Create("/a"), ops.Exists("/a"), ops.GetChildren2("/a"), None]
)
def test_what_cannot_stand_in_a_multi_read(op: Any) -> None:
    with pytest.raises(ValueError, match="cannot stand in a MultiRead"):
        MultiRead([ops.GetData("/a"), op])


def test_no_watch_in_a_multi_read() -> None:
    with pytest.raises(ValueError, match="a watch cannot be set by a MultiRead"):
        MultiRead([ops.GetData("/a", print)])


def test_operations_are_taken_over_when_it_is_made() -> None:
    mine = [ops.Check("/a")]
    multi = Multi(mine)
    mine.clear()
    assert multi.ops == (ops.Check("/a"),)
    assert Multi(iter([ops.Check("/a")])).ops == multi.ops  # type: ignore[arg-type]


def test_chroot_and_default_acl_reach_every_operation() -> None:
    scope = Scope("/app")
    served = Multi.parse(Multi([*ALL, ops.Create("/", sequence=True)]).frame(1, scope), 12)
    assert [op.path for op in served.ops] == ["/app/a"] * len(ALL) + ["/app/"]
    assert served.ops[-1].acl == list(OPEN_ACL_UNSAFE)  # type: ignore[attr-defined]
    assert served.ops[0].acl == []  # type: ignore[attr-defined]
    reads = MultiRead.parse(MultiRead([ops.GetData("/"), ops.GetChildren("/b")]).frame(1, scope), 12)
    assert [op.path for op in reads.ops] == ["/app", "/app/b"]


def test_chroot_is_taken_off_created_paths() -> None:
    reply = encode(Multi.reply, [(1, "/app/a"), (15, ("/app/b", STAT))])
    multi = Multi([ops.Create("/a"), ops.Create2("/b")])
    assert multi.result(reply, 0, Scope("/app")) == ["/a", ("/b", STAT)]
    assert refuses(multi.result, reply, 0, Scope("/ap"))
