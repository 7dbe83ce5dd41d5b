"""A bare socket loop: sends frames made beforehand and reads replies without decoding them. What Python can do at best."""

from __future__ import annotations

import socket
import struct
import time

from . import meter
from .meter import PATH, PIPELINED, WINDOW, Figures


class _Session:
    def __init__(self, hosts: str) -> None:
        host, _, port = hosts.partition(":")
        self.sock = socket.create_connection((host, int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(struct.pack(">iiqiqi16s?", 45, 0, 0, 30000, 0, 16, b"", False))
        self.read()
        path = PATH.encode()
        self.frame = struct.pack(f">iiii{len(path)}s?", 13 + len(path), 1, 4, len(path), path, False)

    def read(self) -> bytes:
        """One frame."""
        data = self.sock.recv(65536)
        while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
            data += self.sock.recv(65536)
        return data


def sequential(hosts: str, total: int) -> Figures:
    """One request at a time."""
    session = _Session(hosts)
    send, read, frame = session.sock.sendall, session.read, session.frame

    def get() -> None:
        send(frame)
        read()

    return meter.sequential(get)


def pipelined(hosts: str, total: int) -> Figures:
    """A window of requests in one send, then all their replies."""
    session = _Session(hosts)
    window = session.frame * WINDOW
    session.sock.sendall(session.frame)
    size = len(session.read())
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(PIPELINED // WINDOW):
        session.sock.sendall(window)
        left = size * WINDOW
        while left:
            left -= len(session.sock.recv(min(left, 1 << 18)))
    return {
        "cpu": (time.process_time() - cpu) / PIPELINED * 1e6,
        "wall": (time.perf_counter() - began) / PIPELINED * 1e6,
    }
