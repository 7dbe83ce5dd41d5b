"""What clients have asked of a server, and what they got: read off the bytes that pass its sockets.

Owns the requests as clients see them: one that lies in a black hole was made, and one whose reply was cut off has no
answer. Must not know sockets, faults or the clock. It keeps a bounded number of requests, and no data.
"""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from typing import Any, DefaultDict, Deque, Dict, List, Optional

from ..errors import BY_CODE
from ..ops import BY_OPCODE
from ..typed import NamedTuple

#: So many requests are kept.
KEPT = 10_000
CONNECT, PING, AUTH, SASL = 0, 11, 100, 102
#: Opcodes whose requests begin with a path.
_ON_PATH = frozenset(code for code, op in BY_OPCODE.items() if op.request and op.request[0][0] == "path")
#: A first "length" above this is a four-letter word.
_LONGEST = 1 << 24
_OK, _LOST, _EXPIRED = 0, -4, -112


class ClientRequest(NamedTuple):
    """One request of a client: `op` is its name as in `zkwire.ops`, or "Connect" for the handshake of a connection.

    `session` is the session's id; for a handshake the one that the client wants to resume, or the new one it got.
    `path` is the server's, None where there is none. `outcome` is None while there is no answer, "OK", or the name of
    the error: "ConnectionLoss" if the connection ended before the answer. `at` is when it arrived, in seconds of
    `time.monotonic`, and `took` the seconds until its answer was sent.
    """

    session: int
    op: str
    path: Optional[str]
    outcome: Optional[str]
    at: float
    took: Optional[float]


class _Entry:
    """One request, as it is kept: small, and cheap to make."""

    __slots__ = ("session", "opcode", "path", "at", "code", "answered")

    def __init__(self, session: int, opcode: int, path: bytes, at: float) -> None:
        self.session, self.opcode, self.path, self.at = session, opcode, path, at
        self.code: Optional[int] = None
        self.answered: Optional[float] = None

    def value(self) -> ClientRequest:
        op, code = BY_OPCODE.get(self.opcode), self.code
        name = "Connect" if self.opcode == CONNECT else str(self.opcode) if op is None else op.__name__
        path = self.path.decode("utf-8", "replace") if self.opcode in _ON_PATH else None
        error = None if code is None else BY_CODE.get(code)
        outcome = None if code is None else "OK" if code == _OK else str(code) if error is None else error.__name__
        took = None if self.answered is None else self.answered - self.at
        return ClientRequest(self.session, name, path, outcome, self.at, took)


class _Talk:
    """One connection, as the journal follows it."""

    __slots__ = ("incoming", "outgoing", "session", "greeting", "waiting", "ignored")

    def __init__(self) -> None:
        self.incoming, self.outgoing = bytearray(), bytearray()
        self.session = 0
        #: The handshake; None until it has arrived.
        self.greeting: Optional[_Entry] = None
        #: The requests without an answer, by xid.
        self.waiting: DefaultDict[int, Deque[_Entry]] = defaultdict(deque)
        #: Whether this is a four-letter word, or nonsense.
        self.ignored = False


class Journal:
    """The last requests of all clients of a server, on all their connections."""

    def __init__(self) -> None:
        self._entries: Deque[_Entry] = deque(maxlen=KEPT)
        self._talks: Dict[Any, _Talk] = {}

    def requests(self, pings: bool) -> List[ClientRequest]:
        """The requests as values, oldest first."""
        return [entry.value() for entry in self._entries if pings or entry.opcode != PING]

    def heard(self, link: Any, data: bytes, now: float) -> None:
        """Bytes have come from a client."""
        talk = self._talks.get(link)
        if talk is None:
            talk = self._talks[link] = _Talk()
        for frame in _frames(talk, talk.incoming, data):
            entry = _asked(talk, frame, now)
            if entry is not None:
                self._entries.append(entry)

    def told(self, link: Any, data: bytes, now: float) -> None:
        """Bytes have been sent to a client."""
        talk = self._talks.get(link)
        if talk is not None:
            for frame in _frames(talk, talk.outgoing, data):
                _answered(talk, frame, now)

    def ended(self, link: Any) -> None:
        """A connection has ended: what has no answer gets none."""
        talk = self._talks.pop(link, None)
        if talk is None:
            return
        left = [entry for entries in talk.waiting.values() for entry in entries]
        if talk.greeting is not None and talk.greeting.code is None:
            left.append(talk.greeting)
        for entry in left:
            entry.code = _LOST


def _asked(talk: _Talk, frame: bytes, now: float) -> Optional[_Entry]:
    if talk.greeting is None:
        session = struct.unpack_from(">q", frame, 16)[0] if len(frame) >= 24 else 0
        talk.session = session
        talk.greeting = _Entry(session, CONNECT, b"", now)
        return talk.greeting
    if len(frame) < 8:
        return None
    xid, opcode = struct.unpack_from(">ii", frame)
    entry = _Entry(talk.session, opcode, _path(frame) if opcode in _ON_PATH else b"", now)
    talk.waiting[xid].append(entry)
    return entry


def _path(frame: bytes) -> bytes:
    length = struct.unpack_from(">i", frame, 8)[0] if len(frame) >= 12 else 0
    return frame[12 : 12 + max(0, length)]


def _answered(talk: _Talk, frame: bytes, now: float) -> None:
    greeting = talk.greeting
    if greeting is not None and greeting.code is None:
        granted = struct.unpack_from(">q", frame, 8)[0] if len(frame) >= 16 else 0
        greeting.code, greeting.answered = _OK if granted else _EXPIRED, now
        greeting.session = talk.session = greeting.session or granted
        return
    if len(frame) < 16:
        return
    xid, _, code = struct.unpack_from(">iqi", frame)
    entries = talk.waiting.get(xid)
    if entries:  # notifications answer nothing
        entry = entries.popleft()
        entry.code, entry.answered = code, now
        if not entries:
            del talk.waiting[xid]


def _frames(talk: _Talk, pending: bytearray, data: bytes) -> List[bytes]:
    """The frames that `data` completes."""
    if talk.ignored:
        return []
    pending += data
    frames: List[bytes] = []
    at, end = 0, len(pending)
    while end - at >= 4:
        length = struct.unpack_from(">i", pending, at)[0]
        if not 0 <= length <= _LONGEST:
            talk.ignored = True
            pending.clear()
            return frames
        if end - at < 4 + length:
            break
        frames.append(bytes(pending[at + 4 : at + 4 + length]))
        at += 4 + length
    del pending[:at]
    return frames
