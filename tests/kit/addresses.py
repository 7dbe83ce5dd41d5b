"""Names with several addresses, and addresses that are no use.

Owns what a name service says in a test, and listeners that do not answer as a server would. Must not know clients.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, Iterator, List

import pytest


def several(monkeypatch: pytest.MonkeyPatch, name: str, *servers: Any) -> List[str]:
    """Have `name` resolve to the addresses of these servers (objects with a `port`), in this order.

    The list that is returned gets an entry for each time the name is looked up.
    """
    real, asked = socket.getaddrinfo, []

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in (name, name.encode()):
            return real(host, port, *args, **options)
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one.port)) for one in servers]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


class Useless:
    """An address that is no use: "dead" refuses, "deaf" takes no connections, "silent" takes them, "rude" hangs up."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.connections = 0
        self._stack = contextlib.ExitStack()
        self._listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=manner != "deaf"))
        self.port = self._listener.getsockname()[1]
        if manner == "dead":
            self._stack.close()
        elif manner == "deaf":
            self._fill()
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _fill(self) -> None:
        for _ in range(4):
            filler = self._stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(self._listener.getsockname())
        probe = self._stack.enter_context(socket.socket())
        probe.settimeout(0.05)
        if not probe.connect_ex(self._listener.getsockname()):
            pytest.skip("this system takes connections beyond the backlog")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                if self.manner == "rude":
                    sock.close()
                else:
                    self._stack.enter_context(sock)

    def close(self) -> None:
        """Free the port."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or a thread in accept() keeps it
        self._stack.close()


@contextlib.contextmanager
def useless(manner: str) -> Iterator[Useless]:
    """A `Useless` for the length of a block."""
    one = Useless(manner)
    try:
        yield one
    finally:
        one.close()
