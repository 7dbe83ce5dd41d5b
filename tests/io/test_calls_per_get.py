"""What a sequential call costs, counted: Python calls, files of the package they are in, system calls."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any, Iterator, List, Set

import pytest

from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer


@pytest.fixture
def zk() -> Iterator[ZooKeeper]:
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=30.0) as client:
        client.create("/a", b"x")
        for _ in range(10):
            client.get("/a")
        yield client


@pytest.mark.parametrize("options", [{}, {"timeout": 10.0}])
def test_a_get_takes_few_calls_in_few_files(zk: ZooKeeper, options: Any) -> None:
    """On the caller's thread, the reply included; with a time-out as well."""
    names: List[str] = []
    files: Set[str] = set()

    def count(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)
            files.add(frame.f_code.co_filename)

    zk.get("/a", **options)
    sys.setprofile(count)
    try:
        zk.get("/a", **options)
    finally:
        sys.setprofile(None)
    assert 10 < len(names) <= 40, names
    assert len(files) <= 10, files


class Counting(socket.socket):
    """A socket that notes its system calls, by name and thread, if it is a client's."""

    calls: List[Any] = []
    connects = False

    def _note(self, name: str, *arguments: Any) -> Any:
        if self.connects:
            self.calls.append((name, threading.get_ident()))
        return getattr(super(), name)(*arguments)

    def connect(self, address: Any) -> None:
        self.connects = True
        super().connect(address)

    def send(self, *arguments: Any) -> int:
        return int(self._note("send", *arguments))

    def recv(self, *arguments: Any) -> bytes:
        return bytes(self._note("recv", *arguments))

    def setsockopt(self, *arguments: Any) -> None:
        self._note("setsockopt", *arguments)


@pytest.mark.parametrize("options", [{}, {"timeout": 10.0}])
def test_a_get_takes_two_system_calls(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One to send and one to receive, on one thread; the I/O thread stays off the socket."""
    monkeypatch.setattr("zkwire.io.dialer.socket.socket", Counting)
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        zk.create("/a", b"x")
        for _ in range(10):
            zk.get("/a", **options)
        Counting.calls.clear()
        for _ in range(100):
            zk.get("/a", **options)
        calls, me = list(Counting.calls), threading.get_ident()
    mine = [name for name, thread in calls if thread == me]
    assert mine == ["send", "recv"] * 100
    assert len(calls) <= 205, "the I/O thread reads, too"


def test_a_batch_takes_as_few_system_calls_as_its_bytes_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand operations go out in pieces of 32 KiB or more; what waits for the last answer reads many at once."""
    monkeypatch.setattr("zkwire.io.dialer.socket.socket", Counting)
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        zk.create("/a", b"x")
        Counting.calls.clear()
        assert len(zk.get_many(["/a"] * 1000)) == 1000
        sends = [name for name, _ in Counting.calls if name == "send"]
    assert 1 <= len(sends) <= 20
