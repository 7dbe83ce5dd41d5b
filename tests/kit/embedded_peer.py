"""A client of a `ServerCore` in memory, for its tests: sends operations, reads replies and events."""

from __future__ import annotations

import random
import struct
from typing import Any, Optional

from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.settings import Settings
from zkwire.wire.jute import decode, encode
from zkwire.wire.operation import armed
from zkwire.values import ACL, Id
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, ConnectRequest, ConnectResponse

OPEN = (ACL(31, Id("world", "anyone")),)
WATCH = armed
CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4


def make_core(**settings: Any) -> ServerCore:
    """A core at time 0, with 1 s ticks."""
    settings.setdefault("tick", 1.0)
    return ServerCore(Settings(**settings), random=random.Random(1), epoch=1_000_000.0)


class Peer:
    """One connection to a core, on a clock of its own: set `now`."""

    def __init__(self, core: ServerCore, now: float = 0.0, port: int = 4711) -> None:
        self.core, self.now = core, now
        self.link = core.accept(("127.0.0.1", port), now)
        self.data = b""
        self.xid = 0
        self.response: Optional[ConnectResponse] = None
        self.events: list[tuple[int, Optional[str]]] = []

    # -- bytes

    def push(self, data: bytes) -> None:
        self.core.receive(self.link, data, self.now)

    def push_frame(self, payload: bytes) -> None:
        self.push(struct.pack(">i", len(payload)) + payload)

    def pull(self) -> bytes:
        """All bytes there are now."""
        self.data += self.core.data_to_send(self.link, self.now)
        return self.data

    def frames(self) -> list[bytes]:
        """All complete frames there are now."""
        self.pull()
        frames = []
        while len(self.data) >= 4:
            size = 4 + struct.unpack_from(">i", self.data)[0]
            if len(self.data) < size:
                break
            frames.append(self.data[4:size])
            self.data = self.data[size:]
        return frames

    # -- handshake

    def connect(
        self, timeout_ms: int = 10000, session: tuple[int, bytes] = (0, bytes(16)), zxid: int = 0,
        read_only: Optional[bool] = False,
    ) -> Optional[ConnectResponse]:  # fmt: skip
        """The server's answer to a handshake, None if it gave none."""
        self.push_frame(encode(CONNECT_REQUEST, ConnectRequest(0, zxid, timeout_ms, *session, read_only)))
        frames = self.frames()
        self.response = decode(CONNECT_RESPONSE, frames[0]) if frames else None
        return self.response

    @property
    def session(self) -> tuple[int, bytes]:
        assert self.response is not None and self.response.passwd is not None
        return self.response.session_id, self.response.passwd

    # -- requests

    def send(self, *ops: Any) -> None:
        """Operations, in one go."""
        out = b""
        for op in ops:
            self.xid += 1
            out += op.frame(self.xid if op.fixed_xid is None else op.fixed_xid, None)
        self.push(out)

    def replies(self) -> list[tuple[int, int, int, bytes]]:
        """(xid, zxid, error, body) of all replies there are; events go to `events`."""
        found = []
        for frame in self.frames():
            xid, zxid, code = struct.unpack_from(">iqi", frame)
            if xid == -1:
                self.events.append(self._event(frame))
            else:
                found.append((xid, zxid, code, frame[16:]))
        return found

    @staticmethod
    def _event(frame: bytes) -> tuple[int, Optional[str]]:
        """Type and path, in which a character beyond the BMP is two surrogates."""
        type_, state, size = struct.unpack_from(">iii", frame, 16)
        assert state == 3 and len(frame) == 28 + size
        return type_, frame[28:].decode("utf-8", "surrogatepass")

    def ask(self, op: Any) -> Any:
        """The value of the reply, or its error code as an int."""
        self.send(op)
        replies = self.replies()
        assert len(replies) == 1, replies
        _, _, code, body = replies[0]
        return code or decode(op.reply, body)

    def heard(self) -> list[tuple[int, Optional[str]]]:
        """The events since the last call."""
        assert self.replies() == []
        events, self.events = self.events, []
        return events


def connected(core: ServerCore, now: float = 0.0, **handshake: Any) -> Peer:
    """A peer with a new session."""
    peer = Peer(core, now)
    response = peer.connect(**handshake)
    assert response is not None and response.session_id
    return peer
