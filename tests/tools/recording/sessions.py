"""What our side says to a server about sessions, identities and the ensemble, as scripts for `RawClient`."""

from __future__ import annotations

from typing import Any

from tests.tools.recording.digest_md5 import response, rspauth
from tests.tools.recording.nodes import Version, create
from tests.tools.recording.raw import RawClient
from zkwire import ops
from zkwire.wire.operation import Op, armed
from zkwire.values import OPEN_ACL_UNSAFE
from zkwire.wire.session_ops import Auth, GetEphemerals, Sasl, WhoAmI

USER, PASSWORD = "bob", "bobsecret"


class Unknown(Op[Any]):
    """An operation of any number, without a body."""

    path = None

    def __init__(self, opcode: int) -> None:
        self.__dict__["opcode"] = opcode


def handshake(c: RawClient, version: Version, root: str) -> None:
    """New, resumed, expired and refused sessions. The client comes connected."""
    c.must(create(root, ephemeral=True))
    c.drop()
    c.connect()  # resumed
    c.must(ops.Exists(root))
    c.drop()
    _refused(c, passwd=b"\1" * 16)  # a wrong password
    c.connect()
    c.must(ops.Exists(root))
    c.drop()
    c.connect(read_only=None)  # resumed, without the last byte
    c.close()
    _refused(c)  # closed, so unknown
    for fields in (
        {"read_only": None}, {"read_only": True}, {"timeout_ms": 1}, {"timeout_ms": 0}, {"timeout_ms": -1},
        {"timeout_ms": 2**31 - 1}, {"passwd": b""}, {"passwd": b"x" * 17}, {"passwd": None},
    ):  # fmt: skip
        if version < (3, 5) and fields == {"passwd": None}:
            continue  # 3.4 never answers it
        fresh = RawClient(c.tape)
        if fresh.connect(**fields) is not None:  # type: ignore[arg-type]
            fresh.must(ops.Ping())
            fresh.close()
    ahead = RawClient(c.tape)
    if ahead.connect(last_zxid_seen=2**62) is not None:
        raise AssertionError("the server took a client that has seen the future")


def _refused(c: RawClient, **fields: Any) -> None:
    answer = c.connect(**fields)
    if answer is None or answer.timeout_ms > 0:
        raise AssertionError(f"expected an expired session, got {answer}")
    c.expect_end()


def moved(c: RawClient, version: Version, root: str) -> None:
    """One session on two connections: the older one ends."""
    c.must(create(root))
    twin = RawClient(c.tape)
    twin.session_id, twin.passwd = c.session_id, c.passwd
    twin.connect()
    twin.must(ops.SetData(root, b"by the twin"))
    c.expect_end()
    twin.close()


def auth(c: RawClient, version: Version, root: str) -> None:
    """Identities: taken, taken without a colon, refused; and the answer that overtakes others."""
    c.must(Auth("digest", b"bob:secret"))
    c.must(Auth("digest", b"nocolon"))
    c.must(Auth("ip", b""))
    c.must(ops.Create(root, b"", OPEN_ACL_UNSAFE))
    for turn in range(20):
        names = [create(f"{root}/{turn}-{i}", b"x" * 200) for i in range(20)]
        c.send(*names[:3], Auth("digest", b"carol:one"), ops.Ping(), *names[3:], Auth("digest", b"dave:two"))
        if c.replies(len(names) + 3)[-1].header.xid != -4:
            break  # the last auth has overtaken the last create; it depends on the server's threads
    else:
        raise AssertionError("no auth overtakes the requests before it")
    if version >= (3, 7):
        c.must(WhoAmI())
    c.close()
    bad = RawClient(c.tape)
    bad.connect()
    bad.fails(Auth("nonsense", b"x"), -115)
    bad.expect_end()
    bad.connect()  # the session is still there
    bad.close()


def sasl(c: RawClient, version: Version, root: str) -> None:
    """DIGEST-MD5: good, twice on one connection, again after a resume; a wrong password, an unknown user."""
    challenge = c.must(Sasl(b""))
    proof = c.must(Sasl(response(challenge, USER, PASSWORD, "OA6MG9tEQGm2hhCNONCE")))
    if proof != rspauth(challenge, USER, PASSWORD, "OA6MG9tEQGm2hhCNONCE"):
        raise AssertionError(f"the server does not prove itself: {proof!r}")
    c.must(create(root))
    if version >= (3, 7):
        c.must(WhoAmI())
    c.send(Sasl(b""))  # a second exchange on one connection
    c.expect_end()  # with -115 before it from 3.5 on; 3.4 just hangs up
    c.connect()
    challenge = c.must(Sasl(b""))
    c.must(Sasl(response(challenge, USER, PASSWORD, "second")))
    c.must(ops.GetData(root))
    c.close()
    for user, password in ((USER, "wrong"), ("nobody", "nothing")):
        bad = RawClient(c.tape)
        bad.connect()
        challenge = bad.must(Sasl(b""))
        bad.send(Sasl(response(challenge, user, password, "third")))
        bad.expect_end()


def sasl_required(c: RawClient, version: Version, root: str) -> None:
    """A server that takes no session without SASL."""
    c.send(ops.GetData("/"))
    c.expect_end()
    good = RawClient(c.tape)
    good.connect()
    good.must(Sasl(response(good.must(Sasl(b"")), USER, PASSWORD, "fourth")))
    good.must(create(root))
    good.close()


def unimplemented(c: RawClient, version: Version, root: str) -> None:
    """What the server does not know: -6, and it hangs up, but the session lives."""
    newer = [
        ((3, 5), ops.Create2(root, b"", OPEN_ACL_UNSAFE)), ((3, 5), ops.CheckWatches(root)),
        ((3, 5), ops.RemoveWatches(root)), ((3, 5), ops.CreateContainer(root, b"", OPEN_ACL_UNSAFE)),
        ((3, 5), ops.Reconfig("x")), ((3, 6), ops.MultiRead([])), ((3, 6), GetEphemerals("/")),
        ((3, 6), ops.GetAllChildrenNumber("/")), ((3, 6), ops.SetWatches2(0)),
        ((3, 6), ops.AddWatch(root, armed)), ((3, 7), WhoAmI()), ((99,), Unknown(77)),
    ]  # fmt: skip
    for since, op in newer:
        if version < since:
            c.fails(op, -6)
            c.expect_end()
            c.connect()
    if version >= (3, 5):  # known, but switched off here (extendedTypesEnabled): the connection stays
        c.fails(ops.CreateTTL(root, b"", OPEN_ACL_UNSAFE, ttl=60), -6)
    c.must(ops.Exists("/"))
    c.close()


def closing(c: RawClient, version: Version, root: str) -> None:
    """The end of a session: another sees its ephemeral nodes go; a write behind the end is lost."""
    other = RawClient(c.tape)
    other.connect()
    other.must(create(root))
    c.must(create(f"{root}/e", ephemeral=True))
    other.must(ops.Exists(f"{root}/e", armed))
    other.must(ops.GetChildren(root, armed))
    c.close()
    other.wait_events(2)
    other.must(ops.GetChildren(root))
    other.send(ops.Exists(root), ops.CloseSession(), create(f"{root}/late"))
    other.expect_end()
    third = RawClient(c.tape)
    third.connect()
    third.must(ops.GetChildren(root))
    third.close()


def expiry(c: RawClient, version: Version, root: str) -> None:
    """A session that nobody keeps alive: another sees its ephemeral node go, and its return is refused."""
    c.close()
    short = RawClient(c.tape)
    short.connect(timeout_ms=1000)
    short.must(create(root, ephemeral=True))
    short.drop()
    other = RawClient(c.tape)
    other.connect(timeout_ms=20000)
    other.must(ops.Exists(root, armed))
    other.wait_events(1)
    _refused(short)
    other.close()


def quota(c: RawClient, version: Version, root: str) -> None:
    """Hard limits, of 3.7 and later with enforceQuota."""
    c.must(create(root))
    c.must(create(f"/zookeeper/quota{root}"))
    limits = b"count=-1,bytes=-1=;byteHardLimit=20;countHardLimit=2"
    c.must(create(f"/zookeeper/quota{root}/zookeeper_limits", limits))
    c.must(create(f"/zookeeper/quota{root}/zookeeper_stats", b"count=1,bytes=0"))
    c.must(create(f"{root}/a", b"12345"))
    c.fails(create(f"{root}/b"), -125)
    c.fails(ops.SetData(f"{root}/a", b"x" * 30), -125)
    c.call(ops.Multi([ops.SetData(f"{root}/a", b"x" * 30)]))
    c.close()


# ------------------------------------------------------------------ ensembles


def follower(c: RawClient, version: Version, root: str) -> None:
    """The client is connected to a follower: writes go round by the leader, and auth overtakes them all."""
    c.must(create(root))
    c.must(ops.Sync(root))
    c.must(create(f"{root}/e", ephemeral=True))
    c.must(ops.GetChildren(root, armed))
    creates = [create(f"{root}/{i}") for i in range(5)]
    c.send(*creates[:3], Auth("digest", b"bob:secret"), ops.GetData(root), *creates[3:], ops.Ping())
    c.replies(8)
    c.must(ops.Multi([ops.SetData(root, b"1"), ops.Delete(f"{root}/0")]))
    c.fails(ops.Delete(root), -111)
    c.close()


def reconfig(c: RawClient, version: Version, root: str, leaving: str = "3") -> None:
    """The members of the ensemble: read, changed by the superuser, refused."""
    c.must(ops.GetData("/zookeeper/config", armed))
    c.fails(ops.Reconfig(leaving=leaving), -102)
    c.must(Auth("digest", b"super:super"))
    c.must(ops.GetData("/zookeeper/config"))
    c.fails(ops.Reconfig(leaving=leaving, from_config=1), -103)
    c.call(ops.Reconfig("nonsense"))
    c.must(ops.Reconfig(leaving=leaving))
    c.must(ops.GetData("/zookeeper/config"))
    c.close()


def read_only(c: RawClient, version: Version, root: str) -> None:
    """A server that has lost its quorum, for a session of better days and for new ones."""
    c.connect(read_only=False)  # a global session is not known here, or not served
    c.connect(read_only=True)
    fresh = RawClient(c.tape)
    fresh.connect(read_only=False)
    if fresh.connect(read_only=True) is None:
        return
    fresh.must(ops.GetData("/"))
    fresh.must(ops.GetChildren("/", armed))
    fresh.must(Auth("digest", b"bob:secret"))
    fresh.must(ops.Ping())
    multi = ops.Multi([create(root)])
    for op in (create(root), ops.Delete(root), ops.SetData("/", b""), ops.Sync("/"), multi):
        fresh.call(op)
    if version >= (3, 6):
        fresh.must(ops.MultiRead([ops.GetData("/")]))
        fresh.must(ops.SetWatches2(0, [], [], [], ["/"], []))
    fresh.call(create(f"{root}-e", ephemeral=True))
    fresh.close()


def read_only_refusing(c: RawClient, version: Version, root: str) -> None:
    """A server that has lost its quorum and has no local sessions: a header in place of the answer."""
    for session_id in (c.session_id, 0):
        c.session_id = session_id
        for wish in (False, True):
            if c.connect(read_only=wish) is not None:
                raise AssertionError("a session without a quorum")


def local_session(c: RawClient, version: Version, root: str) -> None:
    """A session that only its server knows (3.5 and later): it may not own nodes."""
    c.must(create(root))
    c.fails(create(f"{root}/e", ephemeral=True), -120)
    c.call(ops.Multi([create(f"{root}/e", ephemeral=True)]))
    c.close()
