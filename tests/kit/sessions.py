"""The end of a session from outside, as if its time were over.

Owns the bytes of a client that takes a session over and closes it. The session's own client comes back at once, and may
take the session back in between: then it is taken over again.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Tuple


def end_session(hosts: str, client_id: Tuple[int, bytes], timeout: float = 10.0) -> None:
    """End the session `client_id` at the first of `hosts`, a chroot left out; returns once the server has done it."""
    deadline = time.monotonic() + timeout
    while not _closed(hosts.partition("/")[0].partition(",")[0], client_id, timeout):
        assert time.monotonic() < deadline, "its client takes the session back again and again"


def _closed(host: str, client_id: Tuple[int, bytes], timeout: float) -> bool:
    """Whether a close was answered; if its own client was faster, the session has moved away from here."""
    name, _, port = host.rpartition(":")
    number, password = client_id
    connect = struct.pack(">iqiqi16s?", 0, 0, 30_000, number, len(password), password, False)
    with socket.create_connection((name.strip("[]"), int(port)), timeout) as sock:
        try:
            sock.sendall(_framed(connect))
            answer = _frame(sock)
            if struct.unpack_from(">i", answer, 4)[0] <= 0:
                return True  # it has ended already
            sock.sendall(_framed(struct.pack(">ii", 1, -11)))
            return struct.unpack_from(">i", _frame(sock))[0] == 1
        except ConnectionError:
            return False


def _framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def _frame(sock: socket.socket) -> bytes:
    return _exactly(sock, struct.unpack(">i", _exactly(sock, 4))[0])


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("the server hung up")
        data += part
    return data
