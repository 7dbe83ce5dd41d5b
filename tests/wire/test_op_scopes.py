"""Operations in a chroot and beside it, and operations as values."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from zkwire import errors, ops
from zkwire.ops import Create, Delete, Exists, GetConfig, GetData, RemoveWatches, SetACL
from zkwire.wire.node_ops import CreateChroot
from zkwire.wire.operation import Scope
from zkwire.wire.session_ops import RemoveConfigWatches
from zkwire.values import OPEN_ACL_UNSAFE

SCOPE = Scope("/x/y/z", OPEN_ACL_UNSAFE)


@pytest.mark.parametrize(("up", "path"), [(0, "/x/y/z"), (1, "/x/y"), (2, "/x"), (9, "/x")])
def test_the_chroot_and_what_is_above_it(up: int, path: str) -> None:
    op = CreateChroot(up)
    assert op.server_path(SCOPE) == path
    parts = b"".join(op.parts(SCOPE))
    assert parts == b"".join(Create(path, b"", OPEN_ACL_UNSAFE).parts(None)) and op.conclude(path) is None


def test_why_a_chroot_cannot_be_made_names_chroot_and_level() -> None:
    error = CreateChroot(1).refusal(errors.NoAuthError.code, SCOPE)
    assert isinstance(error, errors.NoAuthError) and error.path == "/"
    assert "'/x/y/z'" in str(error) and "/x/y" in str(error)
    assert isinstance(CreateChroot(1).refusal(errors.NoNodeError.code), errors.NoNodeError)


def test_the_configuration_is_outside_the_chroot() -> None:
    op, plain = GetConfig(), GetData("/zookeeper/config")
    assert op.server_path(SCOPE) == "/zookeeper/config" and op.frame(3, SCOPE) == plain.frame(3, None) != plain.frame(3, SCOPE)
    error = op.refusal(errors.NoNodeError.code, SCOPE)
    assert isinstance(error, errors.NoNodeError) and error.path == "/zookeeper/config" and "chroot" not in str(error)


def test_the_watches_of_the_configuration_are_removed_outside_the_chroot() -> None:
    op, plain = RemoveConfigWatches(2), RemoveWatches("/zookeeper/config", 2)
    assert (op.kind, op.watcher, op.local) == (2, None, False)
    assert op.server_path(SCOPE) == "/zookeeper/config" and op.frame(3, SCOPE) == plain.frame(3, None) != plain.frame(3, SCOPE)


@pytest.mark.parametrize("kind", [0, 4, -1])
def test_there_are_three_kinds_of_watches_to_remove(kind: int) -> None:
    with pytest.raises(ValueError, match="1 children, 2 data, 3 any"):
        RemoveWatches("/a", kind)


@pytest.mark.parametrize(("mode", "recursive"), [(0, False), (1, True)])
def test_which_watches_include_the_nodes_below(mode: int, recursive: bool) -> None:
    assert ops.AddWatch("/a", print, mode).recursive is recursive


@pytest.mark.parametrize("make", [GetData, Exists])
def test_a_watcher_is_something_to_call(make: Any) -> None:
    with pytest.raises(TypeError, match="must be callable"):
        make("/a", "no function")


def test_an_operation_is_a_value() -> None:
    op = Delete("/a", 3)
    assert op == Delete("/a", 3) and hash(op) == hash(Delete("/a", 4)) and op != Delete("/a", 4) and op != GetData("/a")
    with pytest.raises(AttributeError, match="make another one"):
        op.path = "/b"
    with pytest.raises(AttributeError, match="is a value"):
        del op.path
    assert op.path == "/a"


def test_a_path_that_cannot_be_sent_is_a_value_error() -> None:
    op = GetData("/a")
    op.__dict__["path"] = "/\ud800"
    with pytest.raises(ValueError, match="surrogates"):
        op.frame(1, None)


def test_a_new_acl_is_for_any_version_unless_one_is_given() -> None:
    def version(op: SetACL) -> int:
        return int(struct.unpack(">i", op.frame(1, None)[-4:])[0])

    assert (version(SetACL("/a", OPEN_ACL_UNSAFE)), version(SetACL("/a", OPEN_ACL_UNSAFE, 7))) == (-1, 7)
