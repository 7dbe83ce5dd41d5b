"""The embedded server on sockets of an event loop, for one conversation, with a cut in its first connection.

Owns sockets, the place of the cut and what is done there. Must not know what is said. It has no clock: no session ever
expires, so a client that loses one has lost it by itself.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys
from typing import Any, List, NamedTuple, Optional, Sequence

from tests.kit.embedded_peer import OPEN, Peer, connected
from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.settings import Settings
from zkwire.wire.operation import Op
from zkwire.ops import Create

from .conversation import BEFORE

C2S, S2C = "c2s", "s2c"
FIN, RST, HOLE, SPLIT = "fin", "rst", "hole", "split"
#: Not in one place, but everywhere: each byte by itself, or as much as possible in one piece.
DRIP, GATHER = "drip", "gather"
_RESET = struct.pack("ii", 1, 0)
#: Seconds: until the second half of a split arrives, and how long a gathered answer waits for more.
LATER = 0.003
#: Of this process alone, where that can be: ports are used again, and strangers dial those they once knew.
ADDRESS = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}" if sys.platform == "linux" else "127.0.0.1"


class Cut(NamedTuple):
    """What happens to the first connection, once `at` bytes of `direction` have passed."""

    kind: str
    direction: str
    at: int


class Wire(asyncio.Protocol):
    """One connection of the client."""

    def __init__(self, server: SweepServer) -> None:
        self.server = server
        self.transport: Any = None
        self.cut: Optional[Cut] = None
        self.dead = False
        self.passed = {C2S: bytearray(), S2C: bytearray()}
        self._held = {C2S: bytearray(), S2C: bytearray()}
        self._waiting = {C2S: False, S2C: False}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.link = self.server.core.accept(("127.0.0.1", 4711), 0.0)
        self.server.wires.append(self)
        if len(self.server.wires) == 1:
            self.cut = self.server.cut
            if self.cut is not None and self.cut.at == 0 and self.cut.kind in (FIN, RST, HOLE):
                self._cut(self.cut)

    def data_received(self, data: bytes) -> None:
        if not self.dead:
            self._arrive(C2S, data)
            self.server.pump()

    def eof_received(self) -> bool:
        return self.dead  # keep a black hole open

    def connection_lost(self, exc: Optional[Exception]) -> None:
        if not self.dead:
            self.dead = True
            self.server.core.lost(self.link, 0.0)

    def flush(self) -> None:
        """Send what the server has to say."""
        if self.dead:
            return
        data = self.server.core.data_to_send(self.link, 0.0)
        if data:
            self._arrive(S2C, data)
        if self.link.over and not self.dead and not self._held[S2C]:
            self.transport.close()

    # ------------------------------------------------------------------- the way of the bytes

    def _arrive(self, direction: str, data: bytes) -> None:
        """Bytes on their way; whether they get there, whole and at once, the cut says."""
        cut = self.cut
        if cut is None or cut.direction != direction:
            self._deliver(direction, data)
        elif cut.kind in (DRIP, GATHER) or self._waiting[direction]:
            self._held[direction] += data
            self._later(direction)
        else:
            room = cut.at - len(self.passed[direction])
            if room < 0 or len(data) < room:
                self._deliver(direction, data)
                return
            self._deliver(direction, data[:room])
            if cut.kind == SPLIT:
                self._held[direction] += data[room:]
                self._later(direction)
            else:
                self._cut(cut)

    def _deliver(self, direction: str, data: bytes) -> None:
        self.passed[direction] += data
        if direction == S2C:
            self.transport.write(data)
        elif data:
            self.server.core.receive(self.link, data, 0.0)
            self.flush()

    def _later(self, direction: str) -> None:
        """Deliver what is held in a moment."""
        if not self._waiting[direction]:
            self._waiting[direction] = True
            pause = 0.0 if self.cut is not None and self.cut.kind == DRIP else LATER
            asyncio.get_running_loop().call_later(pause, self._release, direction)

    def _release(self, direction: str) -> None:
        self._waiting[direction] = False
        if self.dead:
            return
        held = self._held[direction]
        size = 1 if self.cut is not None and self.cut.kind == DRIP else len(held)
        piece = bytes(held[:size])
        del held[:size]
        self.server.cut_done = True
        self._deliver(direction, piece)
        if held:
            self._later(direction)
        self.server.pump()

    def _cut(self, cut: Cut) -> None:
        self.dead = self.server.cut_done = True
        if cut.kind == HOLE:
            return  # nothing passes any more, and the server knows nothing of it
        if cut.kind == FIN:
            self.transport.write_eof()  # and what the client still says is read, or it would be answered by a reset
        else:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        self.server.core.lost(self.link, 0.0)


class SweepServer:
    """The server of one conversation; `cut` is what its first connection suffers."""

    def __init__(self, cut: Optional[Cut]) -> None:
        self.cut, self.cut_done = cut, False
        self.core = ServerCore(Settings(), random=random.Random(1), epoch=1_000_000.0)
        self.wires: List[Wire] = []
        self._listening: Any = None
        self._other: Peer = connected(self.core)
        self.change([Create(path, data, OPEN) for path, data in BEFORE])

    async def start(self) -> None:
        """Listen."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: Wire(self), ADDRESS, 0, reuse_address=True
        )

    @property
    def hosts(self) -> str:
        """As a connect string."""
        return f"{ADDRESS}:{self._listening.sockets[0].getsockname()[1]}"

    def change(self, ops: Sequence[Op[Any]]) -> None:
        """Done by another client, which knows no failure."""
        for op in ops:
            result = self._other.ask(op)
            if isinstance(result, int):
                raise RuntimeError(f"the other client's {op!r} failed: {result}")
        self.pump()

    def pump(self) -> None:
        """Send what there is to say to all."""
        for wire in list(self.wires):
            wire.flush()

    def sessions(self) -> List[int]:
        """The sessions there are, but for the other client's."""
        return [one.id for one in self.core.sessions.all() if one.id != self._other.session[0]]

    async def stop(self) -> None:
        """Hang up, and listen no more."""
        self._listening.close()
        for wire in self.wires:
            wire.dead = True
            wire.transport.abort()
        await asyncio.sleep(0)
