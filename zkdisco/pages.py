"""A few small pages over HTTP, for probes and for Prometheus: plain GETs, one answer for each connection.

Owns the listening socket and its threads, and that no request can do harm: it is read up to `HEAD` bytes and for
`PATIENCE` seconds in all, though it comes drop by drop. At most `AT_ONCE` are served together; the server hangs up on
others. Nothing of a request is logged or echoed, and nothing is read beyond its head. Must not know what the pages say.
"""

from __future__ import annotations

import io
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer
from time import monotonic
from typing import Any, Callable, Dict, NamedTuple, Tuple

#: Bytes, seconds, connections.
HEAD, PATIENCE, AT_ONCE = 8192, 5.0, 16


class Page(NamedTuple):
    """An answer: status, content type, text."""

    status: int
    kind: str
    text: str


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.0"
    server_version, sys_version = "zkdisco", ""
    timeout = PATIENCE

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(_head(self.connection))

    def do_GET(self) -> None:
        """Answer with a page."""
        self._answer(True)

    def do_HEAD(self) -> None:
        """Answer as to GET, without the page."""
        self._answer(False)

    def _answer(self, whole: bool) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        status, kind, text = make() if make is not None else Page(404, "text/plain; charset=utf-8", "no such page\n")
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if whole:
            self.wfile.write(body)

    def send_error(self, code: int, message: Any = None, explain: Any = None) -> None:
        """Answer to what is no request that can be answered; none of it is repeated."""
        phrase = self.responses[code][0] if code in self.responses else "Error"
        self.wfile.write(f"HTTP/1.0 {int(code)} {phrase}\r\nContent-Length: 0\r\n\r\n".encode("ascii"))
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        """Say nothing: others could fill the disk."""


def _head(connection: socket.socket) -> bytes:
    """What is there of a request by its time-out, up to the end of its head; nothing if it is too long."""
    end, head = monotonic() + PATIENCE, b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left = end - monotonic()
        if left <= 0 or len(head) > HEAD:
            return b""
        connection.settimeout(left)
        try:
            data = connection.recv(HEAD)
        except OSError:  # its time is over, or it has hung up
            return b""
        if not data:
            return head
        head += data
    connection.settimeout(PATIENCE)
    return head


class _Server(HTTPServer):
    request_queue_size = 64

    def __init__(self, family: int, address: Tuple[str, int], pages: Dict[str, Callable[[], Page]]) -> None:
        self.pages = pages
        self.address_family = family
        self._room = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """As `HTTPServer` does it, but no name server is asked for our name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """On a thread of its own, if there is room."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            arguments = (request, client_address)
            threading.Thread(target=self._serve, args=arguments, name="zkdisco page", daemon=True).start()
        except (RuntimeError, MemoryError):  # no thread is to be had
            self._room.release()
            self.shutdown_request(request)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # who has asked has left
        finally:
            self.shutdown_request(request)
            self._room.release()


class Pages:
    """Serves `pages`, by path, at (host, port) from now on; 0 for any free port. `OSError` if it cannot be had."""

    def __init__(self, place: Tuple[str, int], pages: Dict[str, Callable[[], Page]]) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            *place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]  # fmt: skip
        self._server = _Server(family, (str(address[0]), int(address[1])), pages)
        #: (host, port) as they are.
        self.address: Tuple[str, int] = self._server.server_address[:2]  # type: ignore[assignment]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="zkdisco pages", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()
