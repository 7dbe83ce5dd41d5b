"""The pages for probes and Prometheus: whoever asks can do no harm; and the text of metrics."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from typing import Any, Iterator, List

import pytest

from tests.kit.fronts import until
from zkdisco import pages
from zkdisco.exposition import Family, exposition, gauge
from zkdisco.pages import AT_ONCE, HEAD, Page, Pages

GET = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n"


def broken() -> Page:
    raise ConnectionError("of the page itself")


@pytest.fixture
def port() -> Iterator[int]:
    served = Pages(("127.0.0.1", 0), {"/page": lambda: Page(200, "text/plain", "all is well: é\n"), "/broken": broken})
    yield served.address[1]
    served.close()
    until(lambda: not [one for one in threading.enumerate() if one.name.startswith("zkdisco page")])


def asked(port: int, request: bytes) -> bytes:
    """The whole answer."""
    with socket.create_connection(("127.0.0.1", port), 20.0) as connection:
        with contextlib.suppress(OSError):  # hung up on while it was talking
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                answer += data
        return answer


def status(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


def test_a_page(port: int) -> None:
    head, _, body = asked(port, GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 ") and body == "all is well: é\n".encode()
    assert f"Content-Length: {len(body)}".encode() in head and b"Python" not in head
    assert asked(port, GET.replace(b"GET", b"HEAD")).endswith(b"\r\n\r\n")
    assert status(asked(port, b"GET /page?a=b HTTP/1.0\r\n\r\n")) == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=20) as answer:
        assert answer.read() == body


@pytest.mark.parametrize("request_, wanted", [
    (b"GET / HTTP/1.1\r\n\r\n", 404), (b"GET /page/../page HTTP/1.1\r\n\r\n", 404), (b"POST /page HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 501),
    (b"\r\n\r\n", 0), (b"\x00\xff\x16\x03\r\n\r\n", 400), (b"GET\r\n\r\n", 400), (b"GET /page HTTP/9.9\r\n\r\n", 505), (b"x" * (HEAD * 3), 0),
    (b"GET /" + b"a" * HEAD * 2 + b" HTTP/1.1\r\n\r\n", 0), (b"GET /page HTTP/1.1\r\n" + b"a: b\r\n" * 5000, 0),
    (b"GET /page HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n", 431), (b"GET /page HTTP/1.1\r\nbroken header\r\n\r\n", None),
    (b"GET /broken HTTP/1.1\r\n\r\n", 0), (b"<script>\r\n\r\n", 400),
])  # fmt: skip
def test_what_is_no_good_request(port: int, request_: bytes, wanted: Any, capfd: Any) -> None:
    answer = asked(port, request_)
    assert wanted is None or status(answer) == wanted, answer[:200]
    assert b"script" not in answer and b"aaaa" not in answer
    assert status(asked(port, GET)) == 200, "others are served on"
    assert capfd.readouterr() == ("", ""), "nothing is logged"


def test_those_who_say_nothing_take_no_more_than_the_room_there_is(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 0.5)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20.0)) for _ in range(AT_ONCE)]
        until(lambda: len([one for one in threading.enumerate() if one.name == "zkdisco page"]) == AT_ONCE)
        assert asked(port, GET) == b"", "there is no room"
        for one in silent:
            assert one.recv(1) == b"", "its time is over"
        until(lambda: status(asked(port, GET)) == 200)


@pytest.mark.timed
def test_one_that_comes_drop_by_drop_has_no_more_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PATIENCE", 0.5)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 20.0) as connection:
        with contextlib.suppress(OSError):
            while time.monotonic() < began + 20:
                connection.sendall(b"G")
                time.sleep(0.05)
    assert time.monotonic() - began < 5.0


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):
        Pages(taken.getsockname(), {})


def test_the_text_of_metrics() -> None:
    text = exposition([
        gauge("a", "One\nline \\.", 1), gauge("b", "B.", 0.25, path='/s/"a"\\\n\r'), gauge("c", "C.", True),
        Family("d_total", "counter", "D.", (({"r": "x"}, 3), ({"r": "y"}, 4))),
    ])  # fmt: skip
    lines: List[str] = text.split("\n")
    assert lines == [
        "# HELP a One\\nline \\\\.", "# TYPE a gauge", "a 1", "# HELP b B.", "# TYPE b gauge", 'b{path="/s/\\"a\\"\\\\\\n "} 0.25',
        "# HELP c C.", "# TYPE c gauge", "c 1", "# HELP d_total D.", "# TYPE d_total counter", 'd_total{r="x"} 3', 'd_total{r="y"} 4', "",
    ]  # fmt: skip
