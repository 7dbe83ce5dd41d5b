"""zkwire.ops: bad arguments are refused before anything is sent, and texts hide what is secret."""

from __future__ import annotations

import math
from typing import Any, Callable

import pytest

from zkwire import ops
from zkwire.wire.node_ops import TTL_LIMIT_MS
from zkwire.wire.operation import Op
from zkwire.values import ACL, Id
from zkwire.wire.messages import Scope
from zkwire.wire.session_ops import Auth, GetEphemerals

#: Makers of operations of one path.
ON_A_PATH = [
    ops.Create, ops.Create2, ops.CreateContainer, lambda p: ops.CreateTTL(p, ttl=1), ops.Delete, ops.Exists,
    ops.GetData, lambda p: ops.SetData(p, b""), ops.GetACL, lambda p: ops.SetACL(p, []), ops.GetChildren,
    ops.GetChildren2, ops.Sync, ops.Check, ops.GetAllChildrenNumber, lambda p: ops.AddWatch(p, print),
    ops.CheckWatches, ops.RemoveWatches, GetEphemerals,
]  # fmt: skip


@pytest.mark.parametrize("make", ON_A_PATH)
def test_path_is_checked(make: Callable[[Any], Op[Any]]) -> None:
    assert make("/a/b").path == "/a/b"
    assert make("/").path == "/"
    for bad in ("", "a", "/a/", "//", "/a\0", "/.."):
        with pytest.raises(ValueError, match="invalid path"):
            make(bad)
    for other in (None, b"/a", 1):
        with pytest.raises(TypeError, match="a path must be a str"):
            make(other)


@pytest.mark.parametrize("path", ["/", "/a/", "/a", "/a/b-"])
def test_sequential_create_may_end_in_a_slash(path: str) -> None:
    assert ops.Create(path, sequence=True).path == path
    assert ops.Create2(path, ephemeral=True, sequence=True).path == path
    assert ops.CreateTTL(path, ttl=1, sequence=True).path == path
    with pytest.raises(ValueError, match="invalid path"):
        ops.Create("/a//", sequence=True)


@pytest.mark.parametrize("make", [ops.Create, ops.Create2, ops.CreateContainer, ops.SetData])
@pytest.mark.parametrize("value", ["text", 7, bytearray(b"x"), [b"x"]])
def test_data_is_bytes(make: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=f"data must be bytes, not {type(value).__name__}"):
        make("/a", value)


@pytest.mark.parametrize("make", [ops.Delete, ops.Check, lambda p, v: ops.SetData(p, b"", v)])
def test_version_fits_an_int(make: Any) -> None:
    for good in (-1, 0, 2**31 - 1, -(2**31)):
        assert make("/a", good).frame(1, None)
    for bad in (2**31, -(2**31) - 1, "1", None, 1.0):
        with pytest.raises(ValueError, match="invalid version"):
            make("/a", bad)


@pytest.mark.parametrize("make", [lambda acl: ops.Create("/a", b"", acl), lambda acl: ops.SetACL("/a", acl)])
def test_acl_is_a_sequence_of_acl(make: Any) -> None:
    entry = ACL(31, Id("world", "anyone"))
    assert make([entry]).acl == [entry]
    for bad in ([("world", "anyone")], "world", [None], [Id("world", "anyone")], entry):
        with pytest.raises(TypeError, match="an ACL is a sequence of ACL values"):
            make(bad)


def test_acl_from_a_generator_is_refused_at_once() -> None:
    """Checked, it would be empty when it is written."""
    with pytest.raises(TypeError, match="an ACL is a sequence of ACL values"):
        ops.Create("/a", b"", (ACL(1, Id("ip", "::1")) for _ in "ab"))  # type: ignore[arg-type]


def test_kind_of_watch_to_remove() -> None:
    """Kinds 4 and 5 draw a MarshallingError from 3.8."""
    for kind in (1, 2, 3):
        assert ops.RemoveWatches("/a", kind).frame(1, None)[-4:] == kind.to_bytes(4, "big")
    for kind in (0, 4, 5, -1, 2**31):
        with pytest.raises(ValueError, match="invalid kind of watch"):
            ops.RemoveWatches("/a", kind)


@pytest.mark.parametrize("ttl", [0, 0.0009, -1, TTL_LIMIT_MS / 1000 + 1, math.inf, math.nan])
def test_ttl_that_kills_servers_is_refused(ttl: float) -> None:
    with pytest.raises(ValueError, match="invalid ttl"):
        ops.CreateTTL("/a", ttl=ttl)


@pytest.mark.parametrize(
    ("ttl", "ms"), [(0.001, 1), (0.0015, 2), (1, 1000), (TTL_LIMIT_MS / 1000, TTL_LIMIT_MS)]
)
def test_ttl_in_ms(ttl: float, ms: int) -> None:
    frame = ops.CreateTTL("/a", ttl=ttl).frame(1, Scope())
    assert int.from_bytes(frame[-8:], "big") == ms
    assert ops.CreateTTL.parse(frame, 12).ttl == ms / 1000


def test_flag_of_each_mode() -> None:
    """Opcode and flag go together: only the opcode decides at the server, so no other pair is ever made."""
    pairs = {
        (op.opcode, op.flags)
        for e in (False, True)
        for s in (False, True)
        for op in (ops.Create("/a", ephemeral=e, sequence=s), ops.Create2("/a", ephemeral=e, sequence=s))
    }
    assert pairs == {(n, flag) for n in (1, 15) for flag in range(4)}
    assert (ops.CreateContainer("/a").opcode, ops.CreateContainer("/a").flags) == (19, 4)
    ttl = [ops.CreateTTL("/a", ttl=1, sequence=s) for s in (False, True)]
    assert [(op.opcode, op.flags) for op in ttl] == [(21, 5), (21, 6)]


@pytest.mark.parametrize(
    ("scheme", "credential"), [(b"digest", b"x"), (None, b"x"), ("digest", "u:p"), ("digest", None)]
)
def test_auth_takes_str_and_bytes(scheme: Any, credential: Any) -> None:
    """A null credential, for one, is never answered by 3.8.0."""
    with pytest.raises(TypeError, match="auth takes"):
        Auth(scheme, credential)


@pytest.mark.parametrize(
    "op",
    [
        ops.Create("/a", b"", [ACL(2**31, Id("ip", "::1"))]),
        ops.Create("/a", b"", [ACL(1, Id("ip", "\ud800"))]),
        ops.Create("/", b"", [ACL(2**31, Id("ip", "::1"))], sequence=True),
        ops.Create("/", b"", [ACL(1, Id("ip", "\ud800"))], sequence=True),
        ops.SetACL("/a", [ACL(-(2**31) - 1, Id("ip", "::1"))]),
        ops.SetWatches(2**63),
        ops.SetWatches(0, ["/\ud800"]),
        ops.Reconfig(from_config=2**63),
        ops.Reconfig("\ud800"),
        Auth("\ud800", b""),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_wire_is_a_value_error(op: Op[Any]) -> None:
    with pytest.raises(ValueError, match=type(op).__name__):
        op.frame(1, Scope("/app"))


# ------------------------------------------------------------------ texts and values


def test_texts_hold_neither_data_nor_credentials() -> None:
    secret = "hunter2"
    acl = [ACL(31, Id("digest", secret))]
    for op in (
        ops.Create("/a", secret.encode(), acl),
        ops.SetData("/a", secret.encode()),
        ops.SetACL("/a", acl),
        ops.Sasl(secret.encode()),
        Auth("digest", secret.encode()),
        ops.Multi([ops.Create("/a", secret.encode(), acl)]),
    ):
        assert secret not in repr(op)
        assert type(op).__name__ in repr(op)
    assert repr(ops.GetData("/a")) == "GetData('/a')"
    assert repr(ops.Ping()) == "Ping()"


def test_operations_are_values() -> None:
    assert ops.GetData("/a") == ops.GetData("/a") != ops.GetData("/b")
    assert ops.Create("/a", b"x") != ops.Create("/a", b"y")
    assert ops.Create("/a") != ops.Create2("/a")
    for op in (ops.GetData("/a"), ops.Create("/a"), ops.Delete("/a"), Auth("digest", b"")):
        with pytest.raises(AttributeError):
            op.path = "/b"  # type: ignore[misc]
