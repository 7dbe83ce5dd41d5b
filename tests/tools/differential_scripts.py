"""Random scripts for the differential test: what several sessions do, made from a seed.

Owns which operations, arguments and mischief are tried, and what is left out since real servers die of it. The runner
is `tests/tools/differences.py`.
"""

from __future__ import annotations

import random
from typing import Any, Callable, NamedTuple

from zkwire.errors import MarshallingError
from zkwire.wire.jute import INT, encode
from zkwire.ops import (
    BY_OPCODE, AddWatch, Auth, Check, CheckWatches, CloseSession, Create, Create2, CreateContainer, CreateTTL, Delete,
    Exists, GetACL, GetAllChildrenNumber, GetChildren, GetChildren2, GetData, GetEphemerals, Multi, MultiRead, Ping,
    Reconfig, RemoveWatches, Sasl, SetACL, SetData, SetWatches, SetWatches2, Sync, WhoAmI,
)  # fmt: skip
from zkwire.values import ACL, Id, make_digest_acl
from zkwire.wire.messages import CONNECT_REQUEST, ConnectRequest

#: Below this node everything happens; it is made before and deleted after each script.
TOP = "/d"
SESSIONS = 3
STEPS = 20


class Step(NamedTuple):
    """What session `who` does.

    `verb` is "request" (`opcode` and `body`), "burst" (`parts`, sent at once), "raw" (`body`, as it is), "greet" (a
    new connection that begins with `body`), "resume", "kick" (resume with a wrong password), or "ahead" (resume with
    a zxid that nobody has seen).
    """

    who: int
    verb: str
    opcode: int = 0
    body: bytes = b""
    parts: tuple[tuple[int, bytes], ...] = ()

    def __repr__(self) -> str:
        op = BY_OPCODE.get(self.opcode)
        if self.verb == "burst":
            words = "; ".join(describe(BY_OPCODE[opcode], body)[:150] for opcode, body in self.parts)
            return f"Step({self.who}, 'burst', parts={self.parts!r})  # {words}"
        if self.verb != "request":
            return f"Step({self.who}, {self.verb!r}, body=bytes.fromhex({self.body.hex()!r}))"
        return f"Step({self.who}, {self.verb!r}, {self.opcode}, bytes.fromhex({self.body.hex()!r}))" + (
            f"  # {describe(op, self.body)[:300]}" if op else ""
        )


def describe(op: Any, body: bytes) -> str:
    """A request in words."""
    try:
        value = op.parse(body)
    except MarshallingError as error:
        return f"{op.__name__}, malformed: {error}"
    if isinstance(value, Multi):
        parts = (f"{type(part).__name__}{part.__dict__}" for part in value.ops)
        return f"{op.__name__}[{', '.join(parts)}]"
    return f"{op.__name__}{value.__dict__}"


def request(op: Any) -> tuple[int, bytes]:
    out = bytearray()
    op.body(out, None)
    return op.opcode, bytes(out)


OPEN = (ACL(31, Id("world", "anyone")),)
#: The scheme "auth" in the body of a request, behind its length.
AUTH = b"\0\0\0\4auth"
_ACLS = (
    OPEN, OPEN, OPEN, OPEN, (ACL(31, Id("auth", "")),), (ACL(1, Id("world", "anyone")),),
    (make_digest_acl("bob", "secret", all=True),), (make_digest_acl("bob", "secret", read=True, admin=True), OPEN[0]),
    (ACL(31, Id("ip", "127.0.0.1")),), (ACL(31, Id("ip", "127.0.0.0/8")),), (ACL(31, Id("ip", "10.0.0.0/33")),),
    (ACL(31, Id("ip", "10.1.2.3")), ACL(16, Id("world", "anyone"))), (), (ACL(31, Id("nobody", "x")),),
    (ACL(31, Id("digest", "no colon")),), (ACL(31, Id("digest", "a:b:c")),), (ACL(31, Id("digest", "a:b:")),),
    (ACL(31, Id("world", "someone")),), (ACL(0, Id("world", "anyone")),), (OPEN[0], OPEN[0]),
    (ACL(30, Id("world", "anyone")),), (ACL(29, Id("world", "anyone")), ACL(2, Id("digest", "carol:xyz="))),
    (ACL(23, Id("world", "anyone")),), (ACL(27, Id("world", "anyone")),), (ACL(15, Id("world", "anyone")),),
    (make_digest_acl("bob", "secret", all=True), ACL(1, Id("world", "anyone"))),
    (ACL(31, Id("auth", "")), ACL(1, Id("world", "anyone"))), (ACL(31, Id("ip", "127.0.0")),),
    (ACL(31, Id("x509", "CN=x")),), (ACL(31, Id("super", "")),), (ACL(31, Id("sasl", "bob")),), (ACL(31, Id("ip", "::1")),),
    (ACL(31, Id("ip", "127.0.0.1/32")),), (ACL(31, Id("ip", "127.0.0.1/")),), (ACL(31, Id("digest", "")),),
    (ACL(31, Id("digest", ":")),), (ACL(31, Id("world", "")),), (ACL(31, Id("auth", "ignored")),), (ACL(-1, OPEN[0].id),),
    (ACL(32, OPEN[0].id), OPEN[0]),
)  # fmt: skip
_PATHS = ("", "/a", "/a", "/b", "/a/x", "/a/x", "/a/y", "/b/x", "/a/x/1", "/a/x/2", "/c")
_BAD_PATHS = (
    "/d/", "/d//a", "d", "", "/d/.", "/d/../a", "/d/a/", "/d/\x01", "/d/\x00", "//", "/zookeeper/quota", "/zookeeper",
    "/zookeeper/config", "/d/\u00fc", "/d/a\uffff", "/d/\U0001f600", "/d/...", "/d/a b", "/missing/x", "/",
    "/d/\U0010ffff", "/d/\ufffd", "/d/\ue000", "/d/\u2028", "/zookeeper/quota/x", "/zookeeper/config/x",
)  # fmt: skip
_DATA = (b"", b"x", b"hello", None, b"\0" * 100)


class Author:
    """Makes the steps of one script. `version` is the oldest server that is to understand it."""

    def __init__(self, seed: int, version: tuple[int, int]) -> None:
        self.random = random.Random(seed)
        self.version = version

    def script(self, steps: int = STEPS) -> list[Step]:
        """A few nodes first, so that there is something to work on."""
        begin = []
        for path in ("/a", "/a/x", "/b")[: self.random.randrange(4)]:
            flags = self.random.choice((0, 0, 0, 0, 1))
            op = raw(Create, path=TOP + path, value=b"0", acl=self.acl(), flags=flags)
            begin.append(Step(self.random.randrange(SESSIONS), "request", *request(op)))
        return begin + [self.step() for _ in range(steps - len(begin))]

    def step(self) -> Step:
        who = self.random.randrange(SESSIONS)
        verb = self.random.choices(
            ("request", "garbled", "burst", "resume", "kick", "ahead", "raw", "greet"), (84, 4, 5, 3, 1, 1, 1, 1)
        )[0]
        if verb == "request":
            return Step(who, verb, *request(self.operation()))
        if verb == "garbled":
            return Step(who, "request", *self.garbled())
        if verb == "burst":
            return Step(who, verb, parts=tuple(self.burst()))
        if verb == "raw":
            frames = ("00000000", "00000003000000", "ffffffff", "00100000", "72756f6b", "0000000700000001000000")
            return Step(who, verb, body=bytes.fromhex(self.random.choice(frames)))
        return Step(who, verb, body=self.greeting() if verb == "greet" else b"")

    def greeting(self) -> bytes:
        timeout = self.random.choice((-5, 0, 1, 100, 4000, 59999, 2**31 - 1))
        # A null password is never answered by 3.4.
        passwd = self.random.choice((bytes(16), b"", None if self.version > (3, 4) else b"", bytes(17), b"p" * 16))
        session = self.random.choice((0, 0, 0, 12345, -1))
        protocol = self.random.choice((0, 0, 5, -1))
        flag = self.random.choice((False, True, None))
        whole = encode(CONNECT_REQUEST, ConnectRequest(protocol, 0, timeout, session, passwd, flag))
        return whole if self.random.random() < 0.8 else whole[: self.random.randrange(len(whole))]

    def burst(self) -> list[tuple[int, bytes]]:
        """Some operations at once.

        No setACL: real servers check what follows one against the old or the new ACL. And no credential that ACLs
        name: whether it makes a watcher hear of what was sent before it depends on threads, too.
        """
        makes = [self.create, self.delete, self.set_data, self.watching(GetData), self.watching(Exists), self.multi,
                 self.watching(GetChildren), self.plain(Sync), Ping]  # fmt: skip
        if self.version > (3, 4):  # which judges requests by what their connection is when their turn comes
            makes.append(lambda: Auth("digest", b"dora:late"))
        parts = [request(self.random.choice(makes)()) for _ in range(self.random.randrange(2, 7))]
        if any(AUTH in body for _, body in parts):  # whom it names is found out when its turn comes
            parts.sort(key=lambda part: part[0] != Auth.opcode)
        return parts

    def garbled(self) -> tuple[int, bytes]:
        """A request that is cut off, extended, changed in a byte, or of an unknown kind."""
        chance = self.random.random()
        if chance < 0.1:
            return self.mangled()
        if chance < 0.2:
            return self.random.choice((0, 10, 23, 77, 108, -1, -12, 2**31 - 1)), b""
        opcode, body = request(self.operation())
        if chance < 0.4:
            body = body[: self.random.randrange(len(body) + 1)]
        elif chance < 0.5:
            body += bytes(self.random.randrange(256) for _ in range(3))
        elif chance < 0.6:
            body = encode(INT, -1) + body[4:]
        elif body:
            at = self.random.randrange(len(body))
            body = body[:at] + bytes([self.random.randrange(256)]) + body[at + 1 :]
        return (opcode, body) if self.harmless(opcode, body) else (11, b"")

    @staticmethod
    def harmless(opcode: int, body: bytes) -> bool:
        """Whether no real server is known to die or to fall silent of it."""
        if opcode == 21 or (opcode == 14 and b"\0\0\0\x15" in body):
            return False  # createTTL with a bad flag and TTL kills the process
        if b"/zookeeper_" in body:
            return False  # figures of a quota that are none, too
        return opcode != 106 or body[:4] != b"\xff\xff\xff\xff"  # a null path breaks the end of the session

    def operation(self) -> Any:
        table: list[tuple[int, Callable[[], Any]]] = [
            (16, self.create), (8, self.delete), (8, self.set_data), (6, self.set_acl), (8, self.watching(Exists)),
            (9, self.watching(GetData)), (7, self.watching(GetChildren)), (5, self.watching(GetChildren2)),
            (6, self.plain(GetACL)), (2, self.plain(Sync)), (9, self.multi), (3, self.family), (3, self.quota), (4, self.auth),
            (4, self.set_watches), (1, Ping), (1, CloseSession),
            (1, lambda: raw(Check, path=self.path(), version=self.version_number())),
        ]  # fmt: skip
        if self.version >= (3, 5):
            table += [(3, self.watch_kind(CheckWatches)), (3, self.watch_kind(RemoveWatches))]
            table += [(3, self.create2), (1, self.container), (1, self.ttl), (1, self.reconfig)]
            table += [(1, lambda: raw(Sasl, token=self.random.choice((b"", b"no SASL here", None))))]
        if self.version >= (3, 6):
            table += [(7, self.add_watch), (3, self.multi_read), (2, self.plain(GetAllChildrenNumber))]
            table += [(2, lambda: raw(GetEphemerals, path=self.random.choice(("/", "", "/d/a", "/d/a/", None))))]
        if self.version >= (3, 7):
            table += [(1, WhoAmI)]
        make = self.random.choices([make for _, make in table], [weight for weight, _ in table])[0]
        return make()

    # -- arguments

    def path(self) -> str:
        if self.random.random() < 0.06:
            return self.random.choice(_BAD_PATHS)
        return TOP + self.random.choice(_PATHS)

    def version_number(self) -> int:
        return self.random.choice((-1, -1, -1, 0, 0, 1, 2, 5, -2))

    def acl(self) -> Any:
        return self.random.choice(_ACLS) if self.random.random() < 0.4 else OPEN

    def flags(self) -> int:
        return self.random.choice((0, 0, 0, 0, 1, 1, 2, 3))

    # -- operations

    def create(self) -> Any:
        flags = self.flags() if self.random.random() < 0.95 else self.random.choice((4, 5, 6, 9, -1))
        return raw(Create, path=self.path(), value=self.random.choice(_DATA), acl=self.acl(), flags=flags)

    def create2(self) -> Any:
        return raw(Create2, path=self.path(), value=self.random.choice(_DATA), acl=self.acl(), flags=self.flags())

    def container(self) -> Any:
        flags = self.random.choice((4, 4, 4, 0, 1, 2))
        return raw(CreateContainer, path=self.path(), value=b"c", acl=self.acl(), flags=flags)

    def ttl(self) -> Any:
        ttl = self.random.choice((100.0, 1099511627.775, 0.0, -1.0, 1099511627.776))
        return raw(CreateTTL, path=self.path(), value=b"t", acl=self.acl(), flags=self.random.choice((5, 6)), ttl=ttl)

    def delete(self) -> Any:
        return raw(Delete, path=self.path(), version=self.version_number())

    def set_data(self) -> Any:
        return raw(SetData, path=self.path(), value=self.random.choice(_DATA), version=self.version_number())

    def set_acl(self) -> Any:
        path = self.path()
        if path in ("/", "") or path.startswith("/zookeeper"):
            path = TOP  # what is outside of it must not change
        return raw(SetACL, path=path, acl=self.acl(), version=self.version_number())

    def plain(self, kind: Any) -> Callable[[], Any]:
        return lambda: raw(kind, path=self.path())

    def watching(self, kind: Any) -> Callable[[], Any]:
        return lambda: raw(kind, path=self.path(), watch=self.random.choice((None, print)))

    def watch_kind(self, kind: Any) -> Callable[[], Any]:
        return lambda: raw(kind, path=self.path(), kind=self.random.choice((1, 2, 3, 3, 4, 5, 0, 6)))

    def add_watch(self) -> Any:
        return raw(AddWatch, path=self.path(), mode=self.random.randrange(2))

    def auth(self) -> Any:
        credentials = (b"bob:secret", b"bob:secret", b"carol:x", b"nocolon", b"super:super", b":", b"")
        credential = self.random.choice(credentials)
        schemes = ("digest", "ip", "world", "nobody", "x509", "super", "auth", "")
        scheme = self.random.choices(schemes, (40, 4, 2, 2, 1, 1, 1, 1))[0]
        return Auth(scheme, credential)

    def set_watches(self) -> Any:
        def some() -> tuple[str, ...]:
            return tuple(self.path() for _ in range(self.random.randrange(3)))

        # Relative zxids are given as offsets, which the runner turns into zxids of the server.
        since = self.random.choice((-1000000, 3, 6, 10, 1000000))
        if self.version >= (3, 6) and self.random.random() < 0.5:
            return SetWatches2(since, some(), some(), some(), some(), some())
        return SetWatches(since, some(), some(), some())

    def multi(self) -> Any:
        makes = [self.create, self.create, self.delete, self.set_data, self.set_data, self.check]
        if self.version >= (3, 5):
            makes += [self.create2, self.container]
            if self.random.random() < 0.1:
                makes += [self.ttl]
        if self.random.random() < 0.03:
            makes += [self.watching(GetData)]
        return raw(Multi, ops=[self.random.choice(makes)() for _ in range(self.random.randrange(5))])

    def family(self) -> Any:
        """A transaction about one node and its children, in which later operations depend on earlier ones."""
        path = self.path()
        child, flags = path + "/z", self.random.choice((0, 0, 1, 2))
        steps = [
            raw(Create, path=path, value=b"f", acl=self.acl(), flags=self.random.choice((0, 0, 1, 2))),
            raw(Create, path=child, value=b"f", acl=OPEN, flags=flags), raw(SetData, path=path, value=b"g", version=0),
            raw(Create, path=path + "/s", value=b"f", acl=OPEN, flags=2), raw(Check, path=path, version=1),
            raw(Delete, path=child, version=-1), raw(Delete, path=path, version=1),
        ]  # fmt: skip
        return raw(Multi, ops=[step for step in steps if self.random.random() < 0.75])

    def mangled(self) -> tuple[int, bytes]:
        """A request about a path that is no UTF-8, as the C client sends it when told to."""
        whole = "/d/\u00e9\u20ac\U0001f600".encode() + b"\xed\xa0\xbd\xed\xb8\x80\xed\xbf\xc0\x80\xf8\xff"
        begin = self.random.randrange(len(whole))
        path = self.random.choice((b"", b"/d/")) + whole[begin : begin + self.random.randrange(1, 9)]
        makes = (Sync, GetACL, SetData, GetChildren)
        op = raw(self.random.choice(makes), path="", value=b"", version=-1, watch=print)
        opcode, body = request(op)
        return opcode, encode(INT, len(path)) + path + body[4:]

    def reconfig(self) -> Any:
        some = (None, "", "9", "server.7=127.0.0.1:1:2;3")
        values = {name: self.random.choice(some) for name in ("joining", "leaving", "new_members")}
        return raw(Reconfig, **values, from_config=self.random.choice((-1, 0, 7)))

    def quota(self) -> Any:
        """A quota made, looked at, changed or given up. What is no figure is left out: real servers die of it."""
        # In 3.4 the end of a quota may be that of another below it, by a bug.
        top = "/zookeeper/quota" + self.random.choice((TOP, TOP, TOP + "/a") if self.version > (3, 4) else (TOP,))
        limits, stats = f"{top}/zookeeper_limits", f"{top}/zookeeper_stats"
        some = self.random.choice((b"count=3,bytes=10", b"count=-1,bytes=-1=;byteHardLimit=7;countHardLimit=5"))
        above = [raw(Create, path="/zookeeper/quota" + TOP, value=b"", acl=OPEN, flags=0)]
        above += [raw(Create, path=top, value=b"", acl=OPEN, flags=0)] if top.endswith("/a") else []
        both = [raw(Create, path=path, value=some, acl=OPEN, flags=0) for path in (limits, stats)]
        steps = (
            raw(Multi, ops=[*above, *both]), raw(Multi, ops=both), raw(GetData, path=stats, watch=print),
            raw(GetData, path=stats, watch=None), raw(SetData, path=limits, value=some, version=-1),
            raw(SetData, path=stats, value=b"count=1,bytes=2", version=-1), raw(Delete, path=limits, version=-1),
            raw(Delete, path=stats, version=-1),
        )  # fmt: skip
        return self.random.choices(steps, (4, 2, 1, 4, 1, 1, 1, 1))[0]

    def check(self) -> Any:
        return raw(Check, path=self.path(), version=self.version_number())

    def multi_read(self) -> Any:
        makes = [self.watching(GetData), self.watching(GetChildren)]
        if self.random.random() < 0.1:
            makes += [self.delete]
        return raw(MultiRead, ops=[self.random.choice(makes)() for _ in range(self.random.randrange(4))])


def raw(op_class: Any, /, **fields: Any) -> Any:
    """An operation without its checks: bad arguments are what servers are asked about."""
    op = object.__new__(op_class)
    op.__dict__.update(fields)
    return op
