"""Recorded conversations between real clients and real servers: their text format, and what frames mean.

A transcript is `testdata/<server version>/<client>-<topic>.txt`:

    # server: ZooKeeper 3.8.0
    # client: kazoo 2.11.0
    ...
    C> 1 0000002d00000000...  # ConnectRequest(session 0x0, zxid 0x0, 10000 ms)
    S> 1 0000002500000000...  # ConnectResponse(session 0x100..., 10000 ms, read_only=False)
    S| 1                      # the server closed the connection

Direction, number of the connection, the frame in hex with its length. What follows a '#' is for readers
and made by `Dialogue`. Lines of all connections stand in the order in which the recorder saw them.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from pathlib import Path
from typing import Any, Deque, Dict, Iterable, Iterator, List, Optional

from zkwire.errors import BY_CODE, MarshallingError
from zkwire.wire.jute import JuteType, decode, encode
from zkwire.wire.operation import Op
from zkwire.ops import BY_OPCODE, Auth
from zkwire.wire.messages import (
    CONNECT_REQUEST, CONNECT_RESPONSE, REPLY_HEADER, REQUEST_HEADER, WATCHER_EVENT, ReplyHeader,
)  # fmt: skip
from zkwire.values import Stat

FOLDER = Path(__file__).resolve().parents[2] / "testdata"
CLIENT, SERVER, END = "C>", "S>", "S|"
_LINE = re.compile(r"(C>|S>|S\|) (\d+)(?: ([0-9a-f]+))?(?: +#.*)?")
_EVENT, _PING, _AUTH = -1, -2, -4


@dataclasses.dataclass(frozen=True)
class Line:
    """One frame (`data`, with its length), or for END the server's closing of the connection."""

    direction: str
    connection: int
    data: bytes = b""


@dataclasses.dataclass(frozen=True)
class Transcript:
    """One conversation. `head` has at least server, client, topic and date."""

    head: Dict[str, str]
    lines: List[Line]

    @property
    def version(self) -> str:
        """The server's version: "3.8.0"."""
        return self.head["server"].split()[-1]

    def connections(self) -> Dict[int, List[Line]]:
        """The lines of each connection."""
        each: Dict[int, List[Line]] = {}
        for line in self.lines:
            each.setdefault(line.connection, []).append(line)
        return each


def paths() -> List[Path]:
    """All transcripts there are."""
    return sorted(FOLDER.glob("*/*.txt"))


def load(path: Path) -> Transcript:
    """The transcript in a file; ValueError, with the line, if it is not one."""
    head: Dict[str, str] = {}
    lines: List[Line] = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if text.startswith("#"):
            key, _, value = text[1:].partition(":")
            head[key.strip()] = value.strip()
            continue
        match = _LINE.fullmatch(text)
        if not match or (match[3] is None) != (match[1] == END):
            raise ValueError(f"{path}:{number}: not a line of a transcript: {text!r}")
        lines.append(Line(match[1], int(match[2]), bytes.fromhex(match[3] or "")))
    if not {"server", "client", "topic", "date"} <= set(head):
        raise ValueError(f"{path}: the head is incomplete: {sorted(head)}")
    return Transcript(head, lines)


def dump(transcript: Transcript) -> str:
    """The text of a transcript, each line with its meaning."""
    dialogues: Dict[int, Dialogue] = {}
    out = [f"# {key}: {value}" for key, value in transcript.head.items()]
    for line in transcript.lines:
        dialogue = dialogues.setdefault(line.connection, Dialogue())
        if line.direction == END:
            out.append(f"{END} {line.connection}  # the server closed the connection")
        else:
            meaning = _printable(dialogue.read(line).meaning)
            out.append(f"{line.direction} {line.connection} {line.data.hex()}  # {meaning}")
    return "\n".join(out) + "\n"


def _printable(text: str) -> str:
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 150 else text[:147] + "..."


# ------------------------------------------------------------------ meaning


@dataclasses.dataclass(frozen=True)
class Meaning:
    """A decoded frame: `encode` gives its bytes again, `kind` says what it is.

    kind is "connect", "connected", "request", "reply", "event", "refused" (a header in place of the answer
    to the handshake) or "unknown" (a request this table of operations does not have). `op` is the request,
    in replies the one that is answered.
    """

    kind: str
    meaning: str
    frame: bytes
    op: Optional[Op[Any]] = None
    header: Optional[ReplyHeader] = None
    value: Any = None


class Dialogue:
    """What the frames of one connection mean: it remembers which request the next reply answers."""

    def __init__(self) -> None:
        self.waiting: Deque[Meaning] = deque()
        self.auths: Deque[Meaning] = deque()
        self.pings: Deque[Meaning] = deque()
        self._asked = self._answered = False

    def read(self, line: Line) -> Meaning:
        """The meaning of the next line; `MarshallingError`, and nothing else, for bytes without one."""
        return self.client(line.data) if line.direction == CLIENT else self.server(line.data)

    def client(self, frame: bytes) -> Meaning:
        """The meaning of a frame of the client."""
        if not self._asked:
            request = decode(CONNECT_REQUEST, frame, 4)
            self._asked = True
            return Meaning("connect", repr(request), framed(encode(CONNECT_REQUEST, request)), value=request)
        header = decode(REQUEST_HEADER, frame, 4)
        if header.opcode in BY_OPCODE:
            op = BY_OPCODE[header.opcode].parse(frame, 12)
            again = op.frame(header.xid, None)
            said = Meaning("request", f"xid {header.xid} {told(op)}", again, op, value=header)
        else:
            said = Meaning("unknown", f"xid {header.xid} operation {header.opcode}", frame, value=header)
        {_AUTH: self.auths, _PING: self.pings}.get(header.xid, self.waiting).append(said)
        return said

    def server(self, frame: bytes) -> Meaning:
        """The meaning of a frame of the server."""
        if not self._answered:
            self._answered = True
            if len(frame) == 4 + REPLY_HEADER.least:
                header = decode(REPLY_HEADER, frame, 4)
                again = framed(encode(REPLY_HEADER, header))
                return Meaning("refused", _answer(header), again, header=header)
            response = decode(CONNECT_RESPONSE, frame, 4)
            again = framed(encode(CONNECT_RESPONSE, response))
            return Meaning("connected", repr(response), again, value=response)
        header = decode(REPLY_HEADER, frame, 4)
        if header.xid == _EVENT:
            event = decode(WATCHER_EVENT, frame, 20)
            again = framed(encode(REPLY_HEADER, header) + encode(WATCHER_EVENT, event))
            return Meaning("event", f"zxid {header.zxid:#x} {event!r}", again, None, header, event)
        return self._reply(frame, header, self._asked_by(header))

    def _asked_by(self, header: ReplyHeader) -> Meaning:
        fifo = {_AUTH: self.auths, _PING: self.pings}.get(header.xid, self.waiting)
        if not fifo:
            raise MarshallingError(f"reply to xid {header.xid}, and no request waits for one")
        if fifo[0].value.xid != header.xid:
            raise MarshallingError(f"reply to xid {header.xid}, expected {fifo[0].value.xid}")
        return fifo.popleft()

    def _reply(self, frame: bytes, header: ReplyHeader, asked: Meaning) -> Meaning:
        start = encode(REPLY_HEADER, header)
        if header.err or asked.op is None:  # what follows an error means nothing
            said = f"{_answer(header)} to {asked.op!r}"
            return Meaning("reply", said, framed(start + frame[20:]), asked.op, header, frame[20:])
        codec: JuteType[Any] = asked.op.reply
        value = decode(codec, frame, 20)
        outcome = asked.op.result(frame, 20, None)
        said = f"{_answer(header)} to {asked.op!r}: {_brief(outcome)}"
        return Meaning("reply", said, framed(start + encode(codec, value)), asked.op, header, outcome)


def framed(payload: bytes) -> bytes:
    """The payload with its length before it."""
    return len(payload).to_bytes(4, "big") + payload


def _answer(header: ReplyHeader) -> str:
    outcome = "ok"
    if header.err:
        outcome = f"{header.err} {BY_CODE[header.err].__name__ if header.err in BY_CODE else '?'}"
    return f"xid {header.xid} zxid {header.zxid:#x} {outcome}"


def _brief(value: Any) -> str:
    """A result in few words: of a Stat what matters."""
    if isinstance(value, Stat):
        zxids = f"{value.czxid:#x} {value.mzxid:#x} {value.pzxid:#x}"
        versions = f"{value.version},{value.cversion},{value.aversion}"
        return f"Stat({zxids} v{versions} owner {value.ephemeralOwner:#x})"
    if type(value) in (tuple, list):
        return f"[{', '.join(_brief(each) for each in value)}]"
    return repr(value)


def told(op: Op[Any]) -> str:
    """An operation with all its fields. (Its own repr keeps data and credentials out of logs.)"""
    if hasattr(op, "ops"):
        return f"{type(op).__name__}[{', '.join(told(each) for each in op.ops)}]"
    shown = {name: getattr(op, name) for name, _ in op.request if name != "kind" or not isinstance(op, Auth)}
    if "watch" in shown:
        shown["watch"] = shown["watch"] is not None
    if "acl" in shown and shown["acl"] is not None:
        shown["acl"] = [f"{acl.perms}:{acl.id.scheme}:{acl.id.id}" for acl in shown["acl"]]
    return f"{type(op).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


def meanings(lines: Iterable[Line]) -> Iterator[Meaning]:
    """The meaning of each frame, of all connections."""
    dialogues: Dict[int, Dialogue] = {}
    for line in lines:
        if line.direction != END:
            yield dialogues.setdefault(line.connection, Dialogue()).read(line)
