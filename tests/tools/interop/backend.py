"""A service of the scenarios with proxies: it answers each GET with its port, registers itself, and hears its input.

    python -m tests.tools.interop.backend HOSTS PATH NAME

It prints its port once it is registered. A line on its input takes the registration back, which it then prints; it goes on
to answer until its input ends.
"""

from __future__ import annotations

import http.server
import sys
import threading
import time
from typing import Any

from zkdisco import Client, Registrar, Service

#: Seconds that an answer takes: so there is always one under way when a process is killed.
WORK = 0.002


class Answer(http.server.BaseHTTPRequestHandler):
    """200, and the port."""

    def do_GET(self) -> None:
        time.sleep(WORK)
        body = str(self.server.server_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


class Server(http.server.ThreadingHTTPServer):
    """With room for a burst."""

    request_queue_size, daemon_threads = 128, True


def main(hosts: str, path: str, name: str) -> None:
    server = Server(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    with Client(hosts, session_timeout=2.0) as client:
        registrar = Registrar(client, Service(path, name, f"127.0.0.1:{port}".encode()))
        registrar.register()
        print(port, flush=True)
        if sys.stdin.readline():
            registrar.deregister()
            print("deregistered", flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
