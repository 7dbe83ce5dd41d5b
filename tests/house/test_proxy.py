"""The fault proxy breaks what it says it breaks, and nothing else. The server here is an echo."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.kit.harness.proxy import FaultProxy

pytestmark = pytest.mark.once

HELLO = b"0123456789"


class Echo:
    """Sends back what it gets, and keeps how each connection ended: "fin" or "rst"."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closing = False
        self.got = bytearray()
        self.ends: list[str] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def _accept(self) -> None:
        threads = []
        while True:
            sock, _ = self.listener.accept()
            if self.closing:
                sock.close()
                break
            threads.append(threading.Thread(target=self._serve, args=(sock,)))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, sock: socket.socket) -> None:
        end = "fin"
        with sock:
            try:
                while data := sock.recv(65536):
                    with self.changed:
                        self.got += data
                        self.changed.notify_all()
                    sock.sendall(data)
            except OSError:
                end = "rst"
        with self.changed:
            self.ends.append(end)
            self.changed.notify_all()

    def wait_end(self) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: self.ends, 5), "the server's connection did not end"
            return self.ends.pop(0)

    def close(self) -> None:
        self.closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with contextlib.closing(Echo()) as server:
        yield server


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", echo.port) as it:
        yield it


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def read(sock: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer at the end."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def silent(sock: socket.socket, seconds: float = 0.2) -> bool:
    """Whether nothing, and no end, comes within that time."""
    sock.settimeout(seconds)
    try:
        sock.recv(1)
    except socket.timeout:
        return True
    finally:
        sock.settimeout(5)
    return False


def talk(sock: socket.socket, data: bytes = HELLO) -> None:
    sock.sendall(data)
    assert read(sock, len(data)) == data


def test_passes_all_bytes_and_counts_them(proxy: FaultProxy):
    data = bytes(range(256)) * 8192  # more than all buffers on the way: passes only if both ways flow
    with connect(proxy) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert read(sock, len(data)) == data
        sender.join()
        # Counted when sent: the last may be read a moment before.
        proxy.wait(lambda p: p.traffic["down"].passed == len(data))
        up = proxy.traffic["up"]
        assert (up.bytes, up.passed, proxy.traffic["down"].bytes) == (len(data),) * 3
        assert (proxy.connections, proxy.open) == (1, 1)


def test_end_of_client_reaches_server_and_back(proxy: FaultProxy, echo: Echo):
    with connect(proxy) as sock:
        sock.sendall(HELLO)
        sock.shutdown(socket.SHUT_WR)
        assert read(sock, 99) == HELLO
    assert echo.wait_end() == "fin"
    proxy.wait(lambda p: p.open == 0)


def test_cut_by_fin_reaches_both_ends(proxy: FaultProxy, echo: Echo):
    with connect(proxy) as sock:
        talk(sock)
        proxy.cut("fin")
        assert proxy.open == 0
        assert sock.recv(1) == b""
        assert echo.wait_end() == "fin"
    with connect(proxy) as sock:
        talk(sock)


def test_cut_by_rst_reaches_both_ends(proxy: FaultProxy, echo: Echo):
    with connect(proxy) as sock:
        talk(sock)
        proxy.cut("rst")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert echo.wait_end() == "rst"


@pytest.mark.parametrize("count", [0, 1, 9, 10])
@pytest.mark.parametrize("how", ["fin", "rst"])
def test_cut_after_passes_exactly_so_many_bytes(proxy: FaultProxy, echo: Echo, count: int, how: str):
    with connect(proxy) as sock:
        talk(sock, b"abc")
        proxy.cut_after(count, "down", how)
        sock.sendall(HELLO)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = read(sock, count)
        assert received == HELLO[:count]
        if how == "fin":
            assert sock.recv(1) == b""
        else:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        proxy.wait(lambda p: p.traffic["down"].passed == 3 + count)
    with connect(proxy) as sock:
        talk(sock)  # it works once


def test_cut_after_in_requests(proxy: FaultProxy, echo: Echo):
    proxy.cut_after(4, "up", "fin")
    with connect(proxy) as sock:
        sock.sendall(HELLO)
        assert echo.wait_end() == "fin"
        assert echo.got == HELLO[:4]


def test_cut_after_into_a_hole_leaves_the_connection_open(proxy: FaultProxy):
    proxy.cut_after(4, "down", "hole")
    with connect(proxy) as sock:
        sock.sendall(HELLO)
        assert read(sock, 4) == HELLO[:4]
        assert silent(sock)
        assert proxy.open == 1


@pytest.mark.parametrize("direction, reaches_server", [("up", False), ("down", True), ("both", False)])
def test_black_hole_swallows_a_direction(proxy: FaultProxy, echo: Echo, direction: str, reaches_server: bool):
    with connect(proxy) as sock:
        talk(sock)
        proxy.black_hole(direction)
        sock.sendall(b"lost")
        proxy.wait(lambda p: p.traffic["down" if reaches_server else "up"].bytes == len(HELLO) + 4)
        assert silent(sock)
        assert (echo.got == HELLO + b"lost") is reaches_server
        proxy.heal()
        sock.sendall(b"more")
        assert silent(sock), "a stream with a gap was delivered"
    with connect(proxy) as sock:
        talk(sock)


def test_black_hole_hides_the_end_of_a_connection(proxy: FaultProxy, echo: Echo):
    with connect(proxy) as sock:
        talk(sock)
        proxy.black_hole()
    proxy.heal()
    with connect(proxy) as sock:
        talk(sock)
    assert echo.wait_end() == "fin"
    assert echo.ends == [], "the server has learned of an end that a black hole had swallowed"
    proxy.cut()


def test_black_hole_that_keeps_delivers_later(proxy: FaultProxy):
    with connect(proxy) as sock:
        proxy.black_hole("up", keep=True)
        sock.sendall(HELLO)
        proxy.wait(lambda p: p.traffic["up"].bytes == len(HELLO))
        assert silent(sock)
        proxy.heal()
        assert read(sock, len(HELLO)) == HELLO


def test_refuse_and_heal(proxy: FaultProxy):
    with connect(proxy) as old:
        talk(old)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        talk(old)
        proxy.heal()
        with connect(proxy) as sock:
            talk(sock)


def test_ignored_connections_are_open_and_mute(proxy: FaultProxy, echo: Echo):
    proxy.ignore()
    with connect(proxy) as sock:
        sock.sendall(HELLO)
        assert silent(sock)
        proxy.wait(lambda p: (p.connections, p.open) == (1, 1))
        proxy.cut("rst")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert not echo.got


def test_delay_shifts_in_time(proxy: FaultProxy):
    with connect(proxy) as sock:
        talk(sock)
        proxy.delay(0.1)
        started = time.monotonic()
        talk(sock)
        assert time.monotonic() - started >= 0.2  # each way once
        proxy.delay(0)
        talk(sock)


def test_drip_limits_the_rate(proxy: FaultProxy):
    with connect(proxy) as sock:
        proxy.drip(50, "down")
        sock.sendall(HELLO)
        assert len(sock.recv(99)) == 1
        started = time.monotonic()
        assert read(sock, 9) == HELLO[1:]
        assert time.monotonic() - started >= 0.12  # 9 bytes at 50 per second, less what waited already


def test_split_sends_single_bytes(proxy: FaultProxy):
    data = HELLO * 10
    with connect(proxy) as sock:
        proxy.split(1, "down")
        sock.sendall(data)
        pieces = []
        while sum(map(len, pieces)) < len(data):
            pieces.append(sock.recv(99))
        assert b"".join(pieces) == data
        # On a busy machine some join before they are read; unsplit it would be one or two.
        assert len(pieces) > 20


def test_tap_sees_what_arrives_and_may_cut(echo: Echo):
    seen: list[tuple[str, int, bytes]] = []

    def tap(direction: str, connection: int, data: bytes) -> None:
        seen.append((direction, connection, data))
        if data == b"bye":
            proxy.cut("fin")

    with FaultProxy("127.0.0.1", echo.port, tap) as proxy, connect(proxy) as sock:
        talk(sock)
        sock.sendall(b"bye")
        assert sock.recv(1) == b""
    assert seen == [("up", 1, HELLO), ("down", 1, HELLO), ("up", 1, b"bye")]
    assert echo.got == HELLO


def test_dead_target_ends_the_connection(echo: Echo):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections to it are refused
        port = taken.getsockname()[1]
        # The reset may come while the client still connects.
        with FaultProxy("127.0.0.1", port) as proxy, pytest.raises(ConnectionResetError):
            with connect(proxy) as sock:
                sock.recv(1)


def test_close_ends_connections_and_frees_the_port(echo: Echo):
    proxy = FaultProxy("127.0.0.1", echo.port)
    with connect(proxy) as sock:
        talk(sock)
        proxy.close()
        proxy.close()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)


def test_bad_switches_are_refused(proxy: FaultProxy):
    for flip in (
        lambda: proxy.cut("gently"),
        lambda: proxy.cut_after(1, "up", "gently"),
        lambda: proxy.cut_after(1, "sideways"),
        lambda: proxy.wait(lambda p: 1 / 0),  # a condition's own error is not hidden either
    ):
        with pytest.raises((ValueError, ZeroDivisionError)):
            flip()
