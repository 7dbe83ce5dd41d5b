"""A name service for a test: which addresses a name has, in which order, and names that are never answered.

Owns what `socket.getaddrinfo` says to the process. Must not know who asks.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Dict, Iterator, List, Sequence

import pytest

Addresses = Sequence[str]


class Names:
    """Stands in for the resolver; names it does not know go to the real one."""

    def __init__(self) -> None:
        #: The addresses of a name, in the order of the answer; with `round_robin` each answer begins with the next one.
        self.known: Dict[str, Addresses] = {}
        #: Names whose questions hang until `release`, or for eight seconds.
        self.hanging: List[str] = []
        #: The names asked for, in their order.
        self.asked: List[str] = []
        self.round_robin = False
        self._release = threading.Event()
        self._real = socket.getaddrinfo
        self._lock = threading.Lock()
        #: How many questions hang just now.
        self.waiting = 0

    def __call__(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            self.asked.append(host)
            if host in self.known:
                addresses = list(self.known[host])
                if self.round_robin:
                    self.known[host] = addresses[1:] + addresses[:1]
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in addresses]
            hangs = host in self.hanging
            self.waiting += hangs
        if hangs:
            self._release.wait(8)
            with self._lock:
                self.waiting -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "the name service has not answered")
        return self._real(host, port, *arguments, **options)

    def release(self) -> None:
        """All questions that hang fail."""
        self._release.set()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """The resolver of the process, for one test."""
    one = Names()
    monkeypatch.setattr(socket, "getaddrinfo", one)
    yield one
    one.release()


__all__ = ["Names", "names"]
