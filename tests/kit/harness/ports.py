"""Ports of 127.0.0.1, each given to one user at a time, across all test processes of this machine.

A port is leased by an exclusive lock on a file of its number. The kernel drops the lock when the
process ends, however it ends, so no lease outlives its owner.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import socket
import tempfile
from typing import IO

# Below the ephemeral range of Linux (32768) and macOS (49152): no outgoing connection takes one.
FIRST, LAST = 20000, 27999

_leases: dict[int, IO[str]] = {}


def _folder() -> str:
    path = os.path.join(tempfile.gettempdir(), f"zkwire-ports-{os.getuid()}")
    os.makedirs(path, exist_ok=True)
    return path


def _bindable(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def lease() -> int:
    """A port which nobody listens on and nobody else is given until `release`."""
    folder = _folder()
    # A random start keeps other users of the machine, whose locks we do not see, out of our way.
    start = random.randint(FIRST, LAST)
    for port in itertools.chain(range(start, LAST + 1), range(FIRST, start)):
        if port in _leases:
            continue
        lock = open(os.path.join(folder, str(port)), "w", encoding="ascii")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if _bindable(port):
            _leases[port] = lock
            return port
        lock.close()
    raise RuntimeError(f"no free port in {FIRST}-{LAST}")


def release(port: int) -> None:
    """Give a port back. A port that is not leased is left alone."""
    lock = _leases.pop(port, None)
    if lock is not None:
        lock.close()
