"""The same random scripts on real servers and on the embedded one: every answer and every event must be equal.

A script is a list of steps of several sessions, made from a seed. It is run in lock-step: a step is sent and answered,
then every other session sends a ping and reads up to its answer, so that events are compared with the step that caused
them. What may differ is normalised: session ids, passwords and times; zxids count from the start of the script.

The command line is `tests/tools/differential.py`.
"""

from __future__ import annotations

import random
import socket
import struct
from typing import Any, Callable, NamedTuple, Optional

from zkwire.errors import MarshallingError
from zkwire.jute import INT, LONG, USTRING, decode, encode
from zkwire.ops import (
    BY_OPCODE, AddWatch, Auth, Check, CheckWatches, CloseSession, Create, Create2, CreateContainer, CreateTTL, Delete,
    Exists, GetACL, GetAllChildrenNumber, GetChildren, GetChildren2, GetData, GetEphemerals, Multi, MultiRead, Ping,
    RemoveWatches, SetACL, SetData, SetWatches, SetWatches2, Sync, WhoAmI,
)  # fmt: skip
from zkwire.records import (
    ACL, ACLS, CONNECT_REQUEST, CONNECT_RESPONSE, WATCHER_EVENT, ConnectRequest, Id, Stat, make_digest_acl,
)  # fmt: skip

#: Below this node everything happens; it is made before and deleted after each script.
TOP = "/d"
SESSIONS = 3
STEPS = 20
#: Seconds after which a missing answer counts as none.
SILENCE = 5.0


# ------------------------------------------------------------------------------------ the wire


class Wire:
    """One raw connection with a session."""

    def __init__(self, address: tuple[str, int], resume: tuple[int, bytes] = (0, bytes(16)), zxid: int = 0) -> None:
        self.sock = socket.create_connection(address, SILENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.xid = 0
        self.send(encode(CONNECT_REQUEST, ConnectRequest(0, zxid, 30000, *resume, False)))
        answer = self.frame()
        self.response = None if answer is None else decode(CONNECT_RESPONSE, answer)

    def send(self, payload: bytes) -> None:
        self.sock.sendall(struct.pack(">i", len(payload)) + payload)

    def frame(self) -> Optional[bytes]:
        """The next frame, or None at the end of the connection."""
        while len(self.buffer) < 4 or len(self.buffer) < 4 + struct.unpack_from(">i", self.buffer)[0]:
            try:
                more = self.sock.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return None
            self.buffer += more
        size = 4 + struct.unpack_from(">i", self.buffer)[0]
        frame, self.buffer = self.buffer[4:size], self.buffer[size:]
        return frame

    def close(self) -> None:
        self.sock.close()


# ------------------------------------------------------------------------------------- scripts


class Step(NamedTuple):
    """What session `who` does: `verb` is "request" (opcode and body), "resume", "kick" or "open"."""

    who: int
    verb: str
    opcode: int = 0
    body: bytes = b""

    def __repr__(self) -> str:
        op = BY_OPCODE.get(self.opcode)
        if self.verb != "request":
            return f"Step({self.who}, {self.verb!r})"
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
_ACLS = (
    OPEN, OPEN, OPEN, OPEN, (ACL(31, Id("auth", "")),), (ACL(1, Id("world", "anyone")),),
    (make_digest_acl("bob", "secret", all=True),), (make_digest_acl("bob", "secret", read=True, admin=True), OPEN[0]),
    (ACL(31, Id("ip", "127.0.0.1")),), (ACL(31, Id("ip", "127.0.0.0/8")),), (ACL(31, Id("ip", "10.0.0.0/33")),),
    (ACL(31, Id("ip", "10.1.2.3")), ACL(16, Id("world", "anyone"))), (), (ACL(31, Id("nobody", "x")),),
    (ACL(31, Id("digest", "no colon")),), (ACL(31, Id("digest", "a:b:c")),), (ACL(31, Id("digest", "a:b:")),),
    (ACL(31, Id("world", "someone")),), (ACL(0, Id("world", "anyone")),), (OPEN[0], OPEN[0]),
    (ACL(30, Id("world", "anyone")),), (ACL(29, Id("world", "anyone")), ACL(2, Id("digest", "carol:xyz="))),
    (ACL(31, Id("auth", "")), ACL(1, Id("world", "anyone"))), (ACL(31, Id("ip", "127.0.0")),),
)  # fmt: skip
_PATHS = ("", "/a", "/a", "/b", "/a/x", "/a/x", "/a/y", "/b/x", "/a/x/1", "/a/x/2", "/c")
_BAD_PATHS = (
    "/d/", "/d//a", "d", "", "/d/.", "/d/../a", "/d/a/", "/d/\x01", "/d/\x00", "//", "/zookeeper/quota", "/zookeeper",
    "/zookeeper/config", "/d/\u00fc", "/d/a\uffff", "/d/\U0001f600", "/d/...", "/d/a b", "/missing/x", "/",
)  # fmt: skip
_DATA = (b"", b"x", b"hello", None, b"\0" * 100)


class Author:
    """Makes the steps of one script. `version` is the oldest server that is to understand it."""

    def __init__(self, seed: int, version: tuple[int, int]) -> None:
        self.random = random.Random(seed)
        self.version = version

    def script(self, steps: int = STEPS) -> list[Step]:
        return [self.step() for _ in range(steps)]

    def step(self) -> Step:
        who = self.random.randrange(SESSIONS)
        chance = self.random.random()
        if chance < 0.03:
            return Step(who, "resume")
        if chance < 0.04:
            return Step(who, "kick")
        if chance < 0.07:
            return Step(who, "request", *self.garbled())
        return Step(who, "request", *request(self.operation()))

    def garbled(self) -> tuple[int, bytes]:
        """A request that is cut off, extended, changed in a byte, or of an unknown kind."""
        chance = self.random.random()
        if chance < 0.1:
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
        if opcode == 106:
            return body[:4] != b"\xff\xff\xff\xff"  # a null path breaks the end of the session
        return opcode not in (100, 101, 105)  # null credentials are never answered

    def operation(self) -> Any:
        table: list[tuple[int, Callable[[], Any]]] = [
            (16, self.create), (8, self.delete), (8, self.set_data), (6, self.set_acl), (8, self.watching(Exists)),
            (9, self.watching(GetData)), (7, self.watching(GetChildren)), (5, self.watching(GetChildren2)),
            (4, self.plain(GetACL)), (2, self.plain(Sync)), (9, self.multi), (4, self.auth), (4, self.set_watches),
            (1, Ping), (1, CloseSession), (1, lambda: raw(Check, path=self.path(), version=self.version_number())),
        ]  # fmt: skip
        if self.version >= (3, 5):
            table += [(3, self.watch_kind(CheckWatches)), (3, self.watch_kind(RemoveWatches))]
            table += [(3, self.create2), (1, self.container), (1, self.ttl)]
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
        return raw(AddWatch, path=self.path(), recursive=self.random.random() < 0.5)

    def auth(self) -> Any:
        credential = self.random.choice((b"bob:secret", b"bob:secret", b"carol:x", b"nocolon", b"super:super", b":", b""))
        scheme = self.random.choices(("digest", "ip", "world", "nobody"), (20, 2, 1, 1))[0]
        return Auth(scheme, credential)

    def set_watches(self) -> Any:
        def some() -> tuple[str, ...]:
            return tuple(self.path() for _ in range(self.random.randrange(3)))

        # Relative zxids are given as offsets, which the runner turns into zxids of the server.
        since = self.random.choice((-1000000, 0, 1000000))
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


# ------------------------------------------------------------------------------------- running


class Player:
    """Runs scripts on one server and writes down what it says."""

    def __init__(self, host: str, port: int, version: tuple[int, int]) -> None:
        self.address = (host, port)
        self.version = version
        self.base = 0
        self.wires: list[Optional[Wire]] = []
        self.ids: dict[int, str] = {0: "none"}
        self.lines: list[str] = []

    def play(self, script: list[Step]) -> list[list[str]]:
        """What is heard after each step."""
        self._begin()
        try:
            return [self._play(step) for step in script]
        finally:
            self._end()

    def _begin(self) -> None:
        janitor = Wire(self.address)
        self._ask(janitor, *request(Auth("digest", b"super:super")), -4)
        answer = self._ask(janitor, *request(Create(TOP, b"", OPEN)), 1)
        self.base = struct.unpack_from(">q", answer, 4)[0]
        self.janitor = janitor
        self.wires = [Wire(self.address) for _ in range(SESSIONS)]
        self.ids = {0: "none"}
        for index, wire in enumerate(self.wires):
            assert wire is not None and wire.response is not None
            self.ids[wire.response.session_id] = f"session {index}"

    def _end(self) -> None:
        for wire in self.wires:
            if wire is not None:
                self._ask(wire, *request(CloseSession()), 10**6)
                wire.close()
        self._delete(TOP)
        # A script may have left nodes beside its own.
        for name in self._children("/"):
            if name != "zookeeper":
                self._delete("/" + name)
        for name in self._children("/zookeeper"):
            if name not in ("config", "quota"):
                self._delete("/zookeeper/" + name)
        for place in ("/zookeeper/quota", "/zookeeper/config"):
            for name in self._children(place):
                self._delete(f"{place}/{name}")
        self._ask(self.janitor, *request(CloseSession()), 10**6)
        self.janitor.close()

    def _children(self, path: str) -> list[str]:
        answer = self._ask(self.janitor, *request(GetChildren(path)), 2)
        if answer is None or struct.unpack_from(">i", answer, 12)[0]:
            return []
        return decode(GetChildren.reply, answer, 16)

    def _delete(self, path: str) -> None:
        for name in self._children(path):
            self._delete(f"{path}/{name}")
        self._ask(self.janitor, *request(raw(Delete, path=path, version=-1)), 3)

    def _ask(self, wire: Wire, opcode: int, body: bytes, xid: int) -> Any:
        """The reply, past events, or None at the end of the connection."""
        try:
            wire.send(struct.pack(">ii", xid, opcode) + body)
            while True:
                frame = wire.frame()
                if frame is None or struct.unpack_from(">i", frame)[0] == xid:
                    return frame
        except ConnectionError:
            return None

    def _play(self, step: Step) -> list[str]:
        self.lines = []
        wire = self.wires[step.who]
        if wire is None:
            # Its session ended in an earlier step: take a new one.
            wire = self.wires[step.who] = Wire(self.address)
            self.ids[wire.response.session_id] = f"session {step.who}"  # type: ignore[union-attr]
        if step.verb == "resume":
            self._resume(step.who, wire, wire.response.passwd)  # type: ignore[union-attr,arg-type]
        elif step.verb == "kick":
            self._resume(step.who, wire, b"wrong" * 3 + b"!")
        else:
            self._request(step, wire)
        for who in range(SESSIONS):
            if who != step.who and self.wires[who] is not None:
                self._hear(who, struct.pack(">ii", -2, 11), -2, None)
        # A session that ends deletes its nodes in the order of a hash table.
        return sorted(self.lines) if step.opcode == CloseSession.opcode else self.lines

    def _resume(self, who: int, old: Wire, password: bytes) -> None:
        session = old.response.session_id  # type: ignore[union-attr]
        new = Wire(self.address, (session, password))
        said = new.response and (new.response.timeout_ms, self.ids[new.response.session_id], new.response.read_only)
        self.lines.append(f"{who} resumes: {said}; old connection says {self._rest(old)}")
        old.close()
        if new.response is not None and new.response.session_id == 0:
            self.lines.append(f"{who} refused: {new.frame()}")
            new.close()
            new = Wire(self.address, (session, old.response.passwd))  # type: ignore[union-attr,arg-type]
        self.wires[who] = new

    def _rest(self, wire: Wire) -> str:
        frames = 0
        while wire.frame() is not None:
            frames += 1
        return f"{frames} frames, then the end"

    def _request(self, step: Step, wire: Wire) -> None:
        op = BY_OPCODE.get(step.opcode)
        wire.xid += 1
        xid = -4 if step.opcode == 100 else -2 if step.opcode == 11 else wire.xid
        body = step.body
        if step.opcode in (101, 105) and len(body) >= 8:
            since = max(0, self.base + struct.unpack_from(">q", body)[0])
            body = encode(LONG, since) + body[8:]
        payload = struct.pack(">ii", xid, step.opcode) + body
        if step.opcode == 13 and self.version < (3, 9):
            # Its success is never answered, so something that is follows it.
            wire.send(payload)
            self._hear(step.who, struct.pack(">ii", xid + 10**6, 3) + encode(USTRING, TOP) + b"\0", xid + 10**6, Exists)
        else:
            self._hear(step.who, payload, xid, op)

    def _hear(self, who: int, payload: bytes, xid: int, op: Any) -> None:
        """Send, and write down all that comes up to the reply with `xid`, or to the end."""
        wire = self.wires[who]
        assert wire is not None
        try:
            wire.send(payload)
        except ConnectionError:
            pass  # the end will be read below
        while True:
            try:
                frame = wire.frame()
            except TimeoutError:
                self.lines.append(f"{who} hears nothing")
                return
            if frame is None:
                self._lost(who, wire)
                return
            head, zxid, code = struct.unpack_from(">iqi", frame)
            self._note(who, head, zxid, code, frame, op if head == xid else None)
            hangs_up = code == -115 or (code, zxid) == (-6, -1) or op is CloseSession
            if head == xid and not hangs_up:
                return

    def _lost(self, who: int, wire: Wire) -> None:
        """The connection ended: go on with the same session on another, if there still is one."""
        self.lines.append(f"{who} is hung up on")
        wire.close()
        new = Wire(self.address, (wire.response.session_id, wire.response.passwd))  # type: ignore[union-attr,arg-type]
        alive = new.response is not None and new.response.session_id != 0
        self.lines.append(f"{who} {'lives on' if alive else 'is gone'}")
        if alive:
            self.wires[who] = new
        else:
            new.close()
            self.wires[who] = None

    # -- normalising

    def _note(self, who: int, xid: int, zxid: int, code: int, frame: bytes, op: Any) -> None:
        if xid == -1:
            event = _decode(WATCHER_EVENT, frame)
            self.lines.append(f"{who} is told: {event} zxid {self._zxid(zxid)}")
        elif xid == -2:
            if op is not None or code:
                self.lines.append(f"{who} pong {code} {self._zxid(zxid)}")
        elif op is None or code or len(frame) == 16:
            self.lines.append(f"{who} reply {code} {self._zxid(zxid)} {frame[16:].hex()}")
        else:
            value = _decode(op.reply, frame)
            self.lines.append(f"{who} reply {code} {self._zxid(zxid)} {self._plain(op, value)}")

    def _zxid(self, zxid: int) -> str:
        return str(zxid) if zxid <= 0 else f"+{zxid - self.base}" if zxid >= self.base else "before"

    def _plain(self, op: Any, value: Any) -> Any:
        if isinstance(value, Stat):
            return self._stat(value)
        if isinstance(value, ACL):
            return (value.perms, *value.id)
        if isinstance(value, list) and op in (GetChildren, GetChildren2, GetEphemerals, GetACL, WhoAmI, MultiRead):
            items = [self._plain(op, item) for item in value]
            return items if op is MultiRead else sorted(items, key=repr)
        if isinstance(value, (tuple, list)):
            kind = GetChildren if op is MultiRead else op
            return [self._plain(kind, item) for item in value]
        return value

    def _stat(self, stat: Stat) -> Any:
        """All but times; of nodes older than the script, whose counts depend on earlier ones, only what stays."""
        owner = self.ids.get(stat.ephemeralOwner, "unknown")
        if stat.czxid < self.base:
            return ("old", stat.version, stat.aversion, owner, stat.dataLength)
        zxids = [self._zxid(zxid) for zxid in (stat.czxid, stat.mzxid, stat.pzxid)]
        sane = 10**12 < stat.ctime <= stat.mtime
        counts = stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren
        return (*zxids, *counts, owner, sane)


def _decode(codec: Any, frame: bytes) -> Any:
    """The body of a reply, or its bytes in hex: servers write characters beyond the BMP as pairs of surrogates."""
    try:
        return decode(codec, frame, 16)
    except MarshallingError:
        return frame[16:].hex()


def compare(players: dict[str, Player], script: list[Step]) -> Optional[str]:
    """None if all players hear the same of a script, else what they hear at the first step that differs."""
    heard = {name: player.play(script) for name, player in players.items()}
    for index, step in enumerate(script):
        if len({tuple(lines[index]) for lines in heard.values()}) > 1:
            said = "\n".join(f"  {name}:\n" + "".join(f"    {line}\n" for line in lines[index]) for name, lines in heard.items())
            return f"step {index}, {step!r}:\n{said}"
    return None


def shrink(players: dict[str, Player], script: list[Step]) -> list[Step]:
    """The script without the steps that are not needed for a difference."""
    at = len(script) - 1
    while at >= 0:
        shorter = script[:at] + script[at + 1 :]
        if compare(players, shorter) is not None:
            script = shorter
        at -= 1
    return script
