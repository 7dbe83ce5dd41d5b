"""A server that clients of others are tried on, real or embedded, behind a proxy that can break their connections.

Owns what can be done to a server and its clients, the same for both, and the session of somebody else who looks on.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any, Callable

from tests.kit.harness.proxy import FaultProxy
from tests.kit.harness.servers import Server, four
from zkwire import ConnectionLoss, NodeExistsError, NoNodeError, ZooKeeper
from zkwire.embedded import EmbeddedServer

SUPER, SASL_USER, SASL_PASSWORD = "super", "bob", "bobsecret"
#: Seconds that anything may take which must happen at all.
PATIENCE = 20.0


class Place:
    """`hosts` is the server through the proxy, `direct` past it; `other` is a session of somebody else."""

    def __init__(self, server: Any, version: str) -> None:
        self.server, self.version = server, version
        self.direct = server.hosts
        self.proxy = FaultProxy("127.0.0.1", server.port)
        self.other = ZooKeeper(self.direct, timeout=30.0)

    @property
    def hosts(self) -> str:
        return self.proxy.hosts

    def cut(self) -> None:
        """Break all connections through the proxy; sessions live on."""
        self.proxy.cut("rst")

    def away(self, meanwhile: Callable[[], object]) -> None:
        """Break all connections through the proxy, and let something happen before they can be made again."""
        self.proxy.refuse()
        self.proxy.cut("rst")
        meanwhile()
        self.proxy.heal()

    def restart(self) -> None:
        """Stop the server and start it with the same data."""
        self.server.restart()
        self.wait(lambda: self.other.exists("/") is not None, "the server after its restart")

    def silence(self, path: str) -> None:
        """Let nothing through until the session is gone that owns the node at `path`, then all again."""
        self.proxy.black_hole()
        self.wait(lambda: self.other.exists(path) is None, f"the end of the owner of {path}")
        self.proxy.cut("rst")
        self.proxy.heal()

    def steal(self, session_id: int, password: bytes) -> None:
        """End a session, as its owner could: it takes the id and the password."""
        with ZooKeeper(self.direct, client_id=(session_id, password)):
            pass

    def four(self, word: str) -> str:
        """The answer to a four-letter word."""
        return four("127.0.0.1", self.server.port, word)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something is true; a look that falls into the gap between two connections is repeated."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if condition():
                    return
            except ConnectionLoss:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {PATIENCE} s")
            time.sleep(0.02)

    def settle(self) -> None:
        """Wait until all sessions but ours are over: one that ends late would move the zxids of what follows."""
        self.wait(lambda: len(re.findall(r"^\t0x", self.four("dump"), re.MULTILINE)) == 1, "the end of all sessions")

    def make(self, path: str, data: bytes = b"") -> None:
        with contextlib.suppress(NodeExistsError):
            self.other.create(path, data)

    def clear(self, path: str) -> None:
        """Remove what a scenario has left, its ephemeral nodes too."""
        with contextlib.suppress(NoNodeError):
            self.other.delete(path, recursive=True)


@contextlib.contextmanager
def real(version: str) -> Iterator[Place]:
    """A real server, with a superuser, SASL, TTL nodes and short ticks."""
    sasl = {SASL_USER: SASL_PASSWORD}
    server = Server(version, tick=200, superpw=SUPER, sasl=sasl, extended=True)
    with server:
        yield from _open(server, version)


@contextlib.contextmanager
def embedded(version: str) -> Iterator[Place]:
    """The embedded server as the same version, set up in the same way."""
    sasl = {SASL_USER: SASL_PASSWORD}
    with EmbeddedServer(version=version, super_password=SUPER, sasl=sasl, tick=0.2, reap_interval=0.2) as server:
        yield from _open(server, version)


def _open(server: Any, version: str) -> Iterator[Place]:
    place = Place(server, version)
    with place.proxy, place.other:
        place.other.add_auth("digest", f"super:{SUPER}")
        yield place
