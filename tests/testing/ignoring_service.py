"""A service that ignores troubles: it connects once, pings, and never looks whether it still has anything to say.

It does what the README's example asks of a service, as long as nothing happens.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Any

from zkwire import OPEN_ACL_UNSAFE
from zkwire.ops import Create, GetData, Op, SetData
from zkwire.wire.jute import encode
from zkwire.wire.messages import CONNECT_REQUEST, ConnectRequest

_PING = struct.pack(">iii", 8, -2, 11)


class MyService:
    """Is listed in /services/api, follows /config, and counts orders."""

    def __init__(self, hosts: str) -> None:
        host, port = hosts.split(":")
        self.sock = socket.create_connection((host, int(port)), 5)
        greeting = encode(CONNECT_REQUEST, ConnectRequest(0, 0, 1000, 0, bytes(16), False))
        self.sock.sendall(struct.pack(">i", len(greeting)) + greeting)
        self._frame()
        self.config, self.xid, self.dead, self.over = b"", 0, False, threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._ping, daemon=True)

    def __enter__(self) -> MyService:
        for path, last in (("/services", False), ("/services/api", False), ("/services/api/one", True)):
            self._ask(Create(path, b"10.0.2.10:80" if last else b"", OPEN_ACL_UNSAFE, ephemeral=last))
        self.sock.settimeout(0.1)  # nobody has told it that answers may be late
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join(5)
        self.sock.close()

    def work(self) -> bytes:
        """The configuration; its worker dies of the first trouble, and nothing starts another."""
        if self.dead:
            raise RuntimeError("the worker has died")
        with contextlib.suppress(OSError):
            reply = self._ask(GetData("/config"))
            if len(reply) > 20:
                length = struct.unpack_from(">i", reply, 16)[0]
                self.config = reply[20 : 20 + length]
                return self.config
        self.dead = True
        return self.config

    def count(self) -> None:
        """An order more."""
        with contextlib.suppress(OSError):
            self._ask(SetData("/orders", b"1"))

    def _ask(self, op: Op[Any]) -> bytes:
        self.xid += 1
        with self.lock:
            self.sock.sendall(op.frame(self.xid, None))
        while True:
            frame = self._frame()
            if struct.unpack_from(">i", frame)[0] == self.xid:
                return frame

    def _frame(self) -> bytes:
        return self._bytes(struct.unpack(">i", self._bytes(4))[0])

    def _bytes(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                raise ConnectionResetError
            data += more
        return data

    def _ping(self) -> None:
        while not self.over.wait(0.2):
            with contextlib.suppress(OSError), self.lock:
                self.sock.sendall(_PING)
