"""What our side says to a server about nodes, watches and transactions, as scripts for `RawClient`.

Each topic gets a connected client, the server's version and a path of its own.
"""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from tests.tools.recording.raw import RawClient
from zkwire import ops
from zkwire.wire.operation import Op, armed
from zkwire.values import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, make_digest_acl
from zkwire.wire.session_ops import Auth, GetEphemerals, WhoAmI

Version = Tuple[int, ...]


def create(path: str, value: Any = b"", **flags: bool) -> ops.Create:
    return ops.Create(path, value, OPEN_ACL_UNSAFE, **flags)


def any_op(cls: Any, **fields: Any) -> Any:
    """An operation with any fields, for what ours would not send."""
    op = object.__new__(cls)
    op.__dict__.update(fields)
    return op


def any_create(path: Any, flags: int, acl: Sequence[ACL] = OPEN_ACL_UNSAFE) -> Any:
    return any_op(ops.Create, path=path, value=b"", acl=acl, flags=flags)


def any_multi(cls: Any, *each: Op[Any]) -> Any:
    return any_op(cls, ops=each, raise_on_error=True)


# ------------------------------------------------------------------ nodes


def nodes(c: RawClient, version: Version, root: str) -> None:
    """Every operation on nodes, answered with success."""
    c.must(create(root, None))
    c.must(create(f"{root}/ü", "data ü".encode()))
    c.must(create(f"{root}/e", b"", ephemeral=True))
    c.must(create(f"{root}/s-", b"x" * 300, sequence=True))
    c.must(create(f"{root}/", b"", ephemeral=True, sequence=True))
    for path in (root, f"{root}/ü", f"{root}/none", "/"):
        c.call(ops.Exists(path))
    c.must(ops.GetData(root))
    c.must(ops.GetData(f"{root}/ü"))
    c.must(ops.GetData(f"{root}/e"))
    c.must(ops.SetData(f"{root}/ü", b"", 0))
    c.must(ops.SetData(f"{root}/ü", None))
    c.must(ops.GetACL(root))
    c.must(ops.SetACL(f"{root}/ü", [*READ_ACL_UNSAFE, ACL(31, Id("ip", "127.0.0.1"))], 0))
    c.must(ops.GetACL(f"{root}/ü"))
    c.must(ops.GetChildren(root))
    c.must(ops.GetChildren2(root))
    c.must(ops.GetChildren(f"{root}/e"))
    c.must(ops.Sync(root))
    c.must(ops.Sync(f"{root}/none"))
    c.must(ops.Ping())
    c.must(ops.Delete(f"{root}/ü", 2))
    c.must(ops.Delete(f"{root}/e"))
    c.close()


def new_nodes(c: RawClient, version: Version, root: str) -> None:
    """The operations of 3.5 and later."""
    c.must(ops.Create2(root, b"two", OPEN_ACL_UNSAFE))
    c.must(ops.Create2(f"{root}/s", None, OPEN_ACL_UNSAFE, ephemeral=True, sequence=True))
    c.must(ops.CreateContainer(f"{root}/c", b"", OPEN_ACL_UNSAFE))
    c.must(ops.CreateTTL(f"{root}/t", b"", OPEN_ACL_UNSAFE, ttl=60))
    c.must(ops.CreateTTL(f"{root}/t-", b"", OPEN_ACL_UNSAFE, ttl=1e9, sequence=True))
    c.must(ops.GetData(f"{root}/c"))
    c.must(ops.Exists(f"{root}/t"))
    c.must(ops.GetData(root, armed))
    c.must(ops.GetChildren(root, armed))
    for kind in (1, 2, 3):
        c.must(ops.CheckWatches(root, kind))
    c.must(ops.RemoveWatches(root, 2))
    c.must(ops.RemoveWatches(root, 1))
    c.fails(ops.CheckWatches(root, 3), -121)
    c.fails(ops.RemoveWatches(root, 3), -121)
    if version >= (3, 6):
        c.must(GetEphemerals(root))
        c.must(GetEphemerals("/"))
        c.must(GetEphemerals("/nothing"))
        c.must(ops.GetAllChildrenNumber(root))
        c.must(ops.GetAllChildrenNumber(f"{root}/c"))
        c.fails(ops.GetAllChildrenNumber(f"{root}/none"), -101)
        for kind in (4, 5):  # WatcherType knows persistent watches from 3.9 on
            c.call(any_op(ops.RemoveWatches, path=root, kind=kind))
    if version >= (3, 7):
        c.must(WhoAmI())
    c.call(ops.Reconfig("server.9=127.0.0.1:1:1;127.0.0.1:1"))
    c.close()


def errors(c: RawClient, version: Version, root: str) -> None:
    """The server's refusals, each of the operations that can draw it."""
    c.must(create(root))
    c.must(create(f"{root}/e", ephemeral=True))
    none = f"{root}/none"
    for op in (
        create(f"{none}/a"), ops.Delete(none), ops.GetData(none), ops.SetData(none, b""), ops.GetACL(none),
        ops.SetACL(none, OPEN_ACL_UNSAFE), ops.GetChildren(none), ops.GetChildren2(none),
        ops.Exists(none, armed),
    ):  # fmt: skip
        c.fails(op, -101)
    c.fails(create(root), -110)
    c.fails(ops.Delete(root), -111)
    c.fails(create(f"{root}/e/a"), -108)
    c.fails(ops.Delete(f"{root}/e", 7), -103)
    c.fails(ops.SetData(root, b"", 7), -103)
    c.fails(ops.SetACL(root, OPEN_ACL_UNSAFE, 7), -103)
    c.fails(any_create(f"{root}/a", 0, []), -114)
    c.fails(ops.Create(f"{root}/a", b"", [ACL(31, Id("auth", ""))]), -114)
    c.fails(ops.SetACL(root, [ACL(31, Id("nonsense", "x"))]), -114)
    c.call(ops.Delete("/"))
    c.call(any_create(f"{root}/a", 99))
    c.call(any_create(None, 0))
    c.call(any_create(f"{root}/../a", 0))
    locked = f"{root}/locked"
    c.must(ops.Create(locked, b"", [make_digest_acl("bob", "secret", all=True)]))
    for op in (
        ops.GetData(locked), ops.SetData(locked, b""), create(f"{locked}/a"), ops.GetChildren(locked),
        ops.GetChildren2(locked), ops.GetACL(locked), ops.SetACL(locked, OPEN_ACL_UNSAFE), ops.Exists(locked),
    ):  # fmt: skip
        c.call(op)  # which of them a version refuses is for the transcript to say
    c.fails(ops.GetData(locked), -102)
    c.must(Auth("digest", b"bob:secret"))
    c.must(ops.GetData(locked))
    c.must(ops.GetACL(locked))
    c.must(ops.Create(f"{locked}/a", b"", [ACL(31, Id("auth", ""))]))
    c.must(ops.GetACL(f"{locked}/a"))
    c.close()


# ------------------------------------------------------------------ watches


def watches(c: RawClient, version: Version, root: str) -> None:
    """One-shot watches: kinds, order, one event for several watches, none for a missing node's data."""
    c.must(create(root))
    c.must(ops.Exists(f"{root}/a", armed))
    c.fails(ops.GetData(f"{root}/a", armed), -101)
    c.must(ops.GetChildren(root, armed))
    c.must(create(f"{root}/a"))  # CREATED and CHILD, before the answer
    c.must(ops.GetData(f"{root}/a", armed))
    c.must(ops.Exists(f"{root}/a", armed))
    c.must(ops.SetData(f"{root}/a", b"1"))  # one CHANGED for two watches
    c.must(ops.SetData(f"{root}/a", b"2"))  # none
    c.must(ops.GetData(f"{root}/a", armed))
    c.must(ops.Exists(f"{root}/a", armed))
    c.must(ops.GetChildren2(f"{root}/a", armed))
    c.must(ops.GetChildren(root, armed))
    c.must(ops.Delete(f"{root}/a"))  # one DELETED for three watches, then CHILD of the parent
    for name in "bcd":
        c.must(create(f"{root}/{name}"))
        c.must(ops.GetData(f"{root}/{name}", armed))
    c.must(ops.GetChildren(root, armed))
    c.must(ops.Multi([ops.SetData(f"{root}/b", b"x"), ops.Delete(f"{root}/c"), create(f"{root}/new")]))
    c.must(ops.GetData(root, armed))
    c.send(ops.SetData(root, b"1"), ops.GetData(root, armed), ops.SetData(root, b"2"), ops.GetData(root))
    c.replies(4)
    c.close()
    if len(c.events) != 10:
        raise AssertionError(f"{len(c.events)} events: {c.events}")


def persistent(c: RawClient, version: Version, root: str) -> None:
    """Watches that stay, of 3.6 and later, beside others."""
    c.must(ops.AddWatch(root, armed))
    c.must(create(root))
    c.must(ops.AddWatch(root, armed, recursive=True))
    c.must(ops.Exists(root, armed))
    c.must(ops.SetData(root, b"1"))  # one CHANGED for three
    c.must(create(f"{root}/a"))
    c.must(ops.GetChildren(f"{root}/a", armed))
    c.must(create(f"{root}/a/b"))
    c.must(ops.SetData(f"{root}/a/b", b"1"))
    c.must(ops.Multi([ops.Delete(f"{root}/a/b"), ops.Delete(f"{root}/a")]))
    c.must(ops.RemoveWatches(root, 3))
    c.must(ops.SetData(root, b"2"))
    c.must(ops.AddWatch("/", armed, recursive=True))
    c.must(create(f"{root}/z"))
    c.must(ops.CheckWatches("/", 3))
    c.close()


def catch_up(c: RawClient, version: Version, root: str) -> None:
    """Watches armed again on a new connection: what changed meanwhile is told before the answer."""
    names = ("changed", "gone", "same")
    c.must(create(root))
    for name in names:
        c.must(create(f"{root}/{name}"))
        c.must(ops.GetData(f"{root}/{name}", armed))
        c.must(ops.GetChildren(f"{root}/{name}", armed))
    c.must(ops.Exists(f"{root}/new", armed))
    c.must(ops.Exists(f"{root}/never", armed))
    seen = c.last_zxid
    c.drop()
    other = RawClient(c.tape)
    other.connect()
    other.must(ops.SetData(f"{root}/changed", b"x"))
    other.must(create(f"{root}/changed/child"))
    other.must(ops.Delete(f"{root}/gone"))
    other.must(create(f"{root}/new"))
    other.close()
    paths = [f"{root}/{name}" for name in names]
    exist = [f"{root}/new", f"{root}/never"]
    c.connect()
    c.send(ops.SetWatches(seen, paths, exist, paths), ops.GetData(f"{root}/new"))
    c.replies(2)
    c.must(ops.SetData(f"{root}/same", b"y"))
    c.must(create(f"{root}/never"))
    if version >= (3, 6):
        c.drop()
        c.connect()
        c.send(ops.SetWatches2(seen, paths, exist, [root], [root], [f"{root}/new"]), xid=-8)
        c.replies(1)
        c.must(create(f"{root}/new/child"))
        c.must(ops.SetData(root, b"z"))
    c.close()


# ------------------------------------------------------------------ transactions


def multi(c: RawClient, version: Version, root: str) -> None:
    """Transactions: all kinds of operations; failures by position; reads, with partial failure."""
    c.must(ops.Multi([]))
    c.must(ops.Multi([create(root), create(f"{root}/a", b"1"), ops.Check(f"{root}/a", 0)]))
    numbered = create(f"{root}/s-", sequence=True)
    c.must(ops.Multi([ops.SetData(f"{root}/a", b"2", 0), ops.Check(root), numbered]))
    if version >= (3, 5):
        c.must(ops.Multi([ops.Create2(f"{root}/2", b"", OPEN_ACL_UNSAFE)]))
        c.must(ops.Multi([ops.CreateContainer(f"{root}/c", b"", OPEN_ACL_UNSAFE)]))
        ttl = ops.CreateTTL(f"{root}/t", b"", OPEN_ACL_UNSAFE, ttl=60)
        c.must(ops.Multi([ttl, create(f"{root}/x"), ops.Create2(f"{root}/y", None, OPEN_ACL_UNSAFE)]))
    for bad in (
        [ops.SetData(f"{root}/a", b""), ops.Check(f"{root}/a", 99), ops.Delete(f"{root}/a")],
        [create(f"{root}/b"), create(f"{root}/b")],
        [ops.Delete(f"{root}/none"), create(f"{root}/b"), ops.Delete(root)],
        [create(f"{root}/b"), ops.Delete(root)],
        [ops.Check(f"{root}/none")],
    ):
        c.call(ops.Multi(bad))
    c.call(any_multi(ops.Multi, ops.GetData(root)))
    c.must(ops.Multi([ops.Delete(f"{root}/a"), create(f"{root}/a"), ops.Delete(f"{root}/a")]))
    c.close()


def multi_read(c: RawClient, version: Version, root: str) -> None:
    """Reads in one go, of 3.6 and later, with partial failure; and a write among them."""
    c.must(create(root, b"r"))
    c.must(create(f"{root}/null", None))
    c.must(ops.MultiRead([]))
    c.must(ops.MultiRead([ops.GetData(root), ops.GetChildren(root), ops.GetData(f"{root}/null")]))
    c.must(ops.MultiRead([ops.GetData(f"{root}/none"), ops.GetChildren(f"{root}/none"), ops.GetData(root)]))
    c.call(any_multi(ops.MultiRead, ops.Delete(root)))
    c.must(ops.GetData(root))
    c.close()
