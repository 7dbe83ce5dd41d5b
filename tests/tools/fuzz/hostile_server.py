"""A server on an event loop that speaks properly until it does not: then, what it says is spoiled.

Owns the sockets and what happens to the answers of a proper core on their way. Must not know who is connected.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from typing import Any, List

from tests.kit.embedded_peer import OPEN, connected
from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.settings import Settings
from zkwire.ops import Create

from .corpus import load
from .spoil import noise, pieces, spoil, spoil_frames

_RESET = struct.pack("ii", 1, 0)
#: A spoiled connection is ended after so many seconds, if the client has not done so.
PATIENCE = 0.1
#: Frames that may be passed on before the first is spoiled; the first is the answer to the handshake.
HONEST = (0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 7, 10)


class HostileServer:
    """`hostile` may be changed at any time. All that it does follows from `seed` and the number of a connection."""

    def __init__(self, seed: int) -> None:
        self.seed, self.hostile = seed, True
        self.core = ServerCore(Settings(min_session_timeout=0.1, sasl={"bob": "x"}), random=random.Random(seed), epoch=1_000_000.0)
        self.connections = 0
        self.last: List[bytes] = []  # what was said last in place of the truth, for who has to find out
        self._wires: List[_Wire] = []
        self._strangers = [frame for talk in load().talks for frame in talk.server][::7]
        other = connected(self.core, timeout_ms=60000)
        for path in ("/a", "/b", "/c", "/c/d"):
            other.ask(Create(path, b"1", OPEN))

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Wire(self), "127.0.0.1", 0, backlog=1000)
        self.hosts = f"127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"

    def behave(self) -> None:
        """From now on be a proper server; connections of before are ended."""
        self.hostile = False
        for wire in list(self._wires):
            wire.transport.abort()

    def pump(self) -> None:
        """Send what there is to say to all."""
        for wire in list(self._wires):
            wire.flush()

    async def stop(self) -> None:
        """Hang up, and listen no more."""
        self._listening.close()
        for wire in list(self._wires):
            wire.transport.abort()
        await asyncio.sleep(0)


class _Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: HostileServer) -> None:
        self.server = server
        self.transport: Any = None
        self._spoiled = False

    def connection_made(self, transport: Any) -> None:
        server = self.server
        self.transport = transport
        server.connections += 1
        server._wires.append(self)
        self.rng = random.Random(zlib.crc32(b"server") << 64 | server.seed << 32 | server.connections)
        self._honest = self.rng.choice(HONEST) if server.hostile else -1
        self.link = server.core.accept(("127.0.0.1", 4711), 0.0)
        if server.hostile:  # who has nothing to say is not to stay
            asyncio.get_running_loop().call_later(3 * PATIENCE, self._end)

    def data_received(self, data: bytes) -> None:
        if not self._spoiled:
            self.server.core.receive(self.link, data, 0.0)
            self.server.pump()

    def connection_lost(self, exc: Any) -> None:
        self.server._wires.remove(self)
        self.server.core.lost(self.link, 0.0)

    def flush(self) -> None:
        """Say what the core says, up to the moment."""
        data = self.server.core.data_to_send(self.link, 0.0)
        if self._honest < 0:
            self.transport.write(data)
        elif data and not self._spoiled:
            self._say(_split(data))
        if self.link.over and not self._spoiled:
            self.transport.close()

    def _say(self, frames: List[bytes]) -> None:
        true, self._honest = frames[: self._honest], self._honest - len(frames)
        self.transport.write(b"".join(true))
        rest = frames[len(true) :]
        if rest or self._honest <= 0:
            self._spoil(rest or [b""])

    def _spoil(self, frames: List[bytes]) -> None:
        """The moment has come: say something else, in some pieces, and end it soon."""
        self._spoiled = True
        rng, how = self.rng, self.rng.randrange(5)
        if how == 0:
            data = noise(rng, rng.randrange(1, 100))
        elif how < 3:
            data = spoil(rng, frames)
        else:
            data = b"".join(spoil_frames(rng, frames, self.server._strangers))
        self.server.last = [*self.server.last[-20:], data]
        for piece in pieces(rng, data):
            if self.transport.is_closing():
                break
            self.transport.write(piece)
        asyncio.get_running_loop().call_later(rng.random() * PATIENCE, self._end)

    def _end(self) -> None:
        if self.transport.is_closing():
            return
        if self.rng.random() < 0.5:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


def _split(data: bytes) -> List[bytes]:
    """The frames of a proper server."""
    frames, at = [], 0
    while at < len(data):
        end = at + 4 + struct.unpack_from(">i", data, at)[0]
        frames.append(data[at:end])
        at = end
    return frames
