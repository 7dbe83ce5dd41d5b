"""The same random scripts on real servers and on the embedded one: every answer and every event must be equal.

A script is a list of steps of several sessions, made from a seed. It is run in lock-step: a step is sent and answered,
then every other session sends a ping and reads up to its answer, so that events are compared with the step that caused
them. What may differ is normalised: session ids, passwords and times; zxids count from the start of the script.

The command line is `tests/tools/differential.py`.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Optional

from tests.tools.differential_scripts import OPEN, SESSIONS, TOP, Step, raw, request
from zkwire.errors import MarshallingError
from zkwire.wire.jute import LONG, USTRING, decode, encode
from zkwire.ops import (
    BY_OPCODE, Auth, CloseSession, Create, Delete, Exists, GetChildren, GetEphemerals,
)  # fmt: skip
from zkwire.values import ACL, Stat
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, WATCHER_EVENT, ConnectRequest

#: Seconds after which a missing answer counts as none.
SILENCE = 5.0


# ------------------------------------------------------------------------------------ the wire


class Wire:
    """One raw connection with a session."""

    def __init__(
        self, address: tuple[str, int], resume: tuple[int, bytes] = (0, bytes(16)), zxid: int = 0, greeting: bytes = b""
    ) -> None:
        self.sock = socket.create_connection(address, SILENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.xid = 0
        self.send(greeting or encode(CONNECT_REQUEST, ConnectRequest(0, zxid, 30000, *resume, False)))
        answer = self.frame()
        self.response = None if answer is None else decode(CONNECT_RESPONSE, answer)
        if answer is None:
            self.close()

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
            if name != "quota" and (name != "config" or self.version < (3, 5)):
                self._delete("/zookeeper/" + name)
        for place in ("/zookeeper/quota", "/zookeeper/config"):
            for name in self._children(place):
                self._delete(f"{place}/{name}")
        self._ask(self.janitor, *request(CloseSession()), 10**6)
        self.janitor.close()

    def _children(self, path: str) -> list[str]:
        answer = self._ask(self.janitor, *request(raw(GetChildren, path=path, watch=None)), 2)
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
        response = wire.response
        assert response is not None and response.passwd is not None
        if step.verb == "resume":
            self._resume(step.who, wire, response.passwd)
        elif step.verb == "kick":
            self._resume(step.who, wire, b"wrong" * 3 + b"!")
        elif step.verb == "ahead":
            ahead = Wire(self.address, (response.session_id, response.passwd), self.base + 10**9)
            self.lines.append(f"{step.who} from the future: {ahead.response}")
            ahead.close()
        elif step.verb == "greet":
            self._greet(step)
        elif step.verb == "raw":
            wire.sock.sendall(step.body)
            self._read(step.who, None, {})
        elif step.verb == "burst":
            self._burst(step, wire)
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

    def _greet(self, step: Step) -> None:
        wire = Wire(self.address, greeting=step.body)
        said = wire.response
        if said is None:
            self.lines.append(f"{step.who} greets in vain")
        else:
            known = said.session_id and len(said.passwd or b"")
            self.lines.append(f"{step.who} greets: {said.timeout_ms}, {known}, {said.read_only}")
            self._ask(wire, *request(CloseSession()), 10**6)
        wire.close()

    def _burst(self, step: Step, wire: Wire) -> None:
        """Requests at once. Answers to auth and pings overtake others as they can: they are looked at apart."""
        out, ops = b"", {10**6: Exists}
        for opcode, body in step.parts:
            wire.xid += 1
            ops[wire.xid] = BY_OPCODE[opcode]
            xid = -4 if opcode == 100 else -2 if opcode == 11 else wire.xid
            out += struct.pack(">iii", len(body) + 8, xid, opcode) + body
        out += struct.pack(">iiii", 13 + len(TOP), 10**6, 3, len(TOP)) + TOP.encode() + b"\0"
        wire.sock.sendall(out)
        self._read(step.who, 10**6, ops)
        apart = [line for line in self.lines if " auth " in line]
        self.lines = [line for line in self.lines if " auth " not in line] + apart

    def _hear(self, who: int, payload: bytes, xid: int, op: Any) -> None:
        """Send, and write down all that comes up to the reply with `xid`, or to the end."""
        wire = self.wires[who]
        assert wire is not None
        try:
            wire.send(payload)
        except ConnectionError:
            pass  # the end will be read below
        self._read(who, xid, {xid: op})

    def _read(self, who: int, xid: Optional[int], ops: dict[int, Any]) -> None:
        """Write down all that comes up to the reply with `xid`, or to the end; `ops` are those it answers."""
        wire = self.wires[who]
        assert wire is not None
        while True:
            try:
                frame = wire.frame()
            except socket.timeout:  # noqa: UP041  # TimeoutError since 3.10
                self.lines.append(f"{who} hears nothing")
                return
            if frame is None:
                self._lost(who, wire)
                return
            head, zxid, code = struct.unpack_from(">iqi", frame)
            self._note(who, head, zxid, code, frame, ops.get(head))
            hangs_up = code == -115 or (code, zxid) == (-6, -1) or ops.get(head) is CloseSession
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
        elif xid == -4:
            self.lines.append(f"{who} auth {code} {zxid} {len(frame)}")
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
        if isinstance(value, (tuple, list)):
            items = [self._plain(op, item) for item in value]
            return sorted(items, key=repr) if op is GetEphemerals else items
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
            said = "\n".join(
                f"  {name}:\n" + "".join(f"    {line}\n" for line in lines[index]) for name, lines in heard.items()
            )
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
