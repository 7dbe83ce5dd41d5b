"""Sockets: one attempt to connect, name resolution included, that never blocks the one who makes it.

Owns getaddrinfo, connect and socket options. Must not know the protocol. Names are resolved afresh for each attempt,
on a thread of their own, since getaddrinfo takes no time-out.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Any, Callable, List, Optional, Tuple

from .hosts import Host

_Address = Tuple[int, Any]  # family, socket address


class Attempt:
    """One attempt to connect to a host, through all its addresses, by a deadline.

    Call `step` whenever `waiting_for` is ready, `wake` was called, or `next_step` has come.
    """

    def __init__(self, host: Host, deadline: float, wake: Callable[[], None]) -> None:
        self.host, self.deadline = host, deadline
        #: The socket that is connecting, to be polled for writing.
        self.waiting_for: Optional[socket.socket] = None
        #: When to call `step` at the latest.
        self.next_step = deadline
        self._wake = wake
        self._addresses: Optional[List[_Address]] = None
        self._error: Optional[OSError] = None
        literal = _literal(host)
        if literal is not None:
            self._addresses = [literal]
        else:
            threading.Thread(target=self._resolve, name=f"zkwire resolving {host.name}", daemon=True).start()

    def step(self, now: float) -> Optional[socket.socket]:
        """A connected socket, or None while there is none yet. Raises `OSError` once no address is left."""
        if self._addresses is None:
            if self._error is not None:
                raise self._error
            return None
        sock = self.waiting_for
        if sock is not None:
            if not writable(sock):
                if now < self.next_step:
                    return None
                self._error = TimeoutError("connect timed out")
            else:
                self._error = _connect_error(sock)
                if self._error is None:
                    self.waiting_for = None
                    return sock
            sock.close()
            self.waiting_for = None
        return self._connect(now)

    def _connect(self, now: float) -> Optional[socket.socket]:
        while self._addresses:
            self.next_step = now + (self.deadline - now) / len(self._addresses)
            family, address = self._addresses.pop(0)
            sock = None
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.connect(address)
            except BlockingIOError:
                self.waiting_for = sock
                return None
            except OSError as error:
                self._error = error
                if sock is not None:
                    sock.close()
            else:
                return sock
        raise self._error or OSError(f"{self.host.name} has no address")

    def give_up(self) -> None:
        """Forget the attempt."""
        if self.waiting_for is not None:
            self.waiting_for.close()
            self.waiting_for = None

    def _resolve(self) -> None:
        try:
            found = socket.getaddrinfo(self.host.name, self.host.port, type=socket.SOCK_STREAM)
            self._addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in found))
        except (OSError, UnicodeError) as error:
            self._error = error if isinstance(error, OSError) else OSError(str(error))
        self._wake()


def _literal(host: Host) -> Optional[_Address]:
    """The address of a host given by number, which needs no resolving."""
    for family, address in ((socket.AF_INET, (host.name, host.port)), (socket.AF_INET6, (host.name, host.port, 0, 0))):
        try:
            socket.inet_pton(family, host.name)
        except (OSError, UnicodeError):
            continue
        return int(family), address
    return None


def _connect_error(sock: socket.socket) -> Optional[OSError]:
    """Why a connect failed, or None if it succeeded."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return OSError(code, os.strerror(code))
    try:
        if sock.getsockname() == sock.getpeername():  # a local port nobody listens on can connect to itself
            return OSError("connected to itself: nobody listens on this port")
    except OSError as error:
        return error
    return None


class Waker:
    """Wakes a thread out of `wait_for`: the reading end is polled, `wake` makes it readable."""

    def __init__(self) -> None:
        self._reader: Optional[socket.socket] = None
        self._writer: Optional[socket.socket] = None

    def open(self) -> None:
        """Make both ends; before that there is nobody to wake."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        """Make the reading end readable. Never blocks, never raises."""
        writer = self._writer
        try:
            if writer is not None:
                writer.send(b"\0")
        except OSError:
            pass  # full: awake already; closed: nobody sleeps any more

    def drain(self) -> None:
        """Take what `wake` has written."""
        reader = self._reader
        try:
            while reader is not None and len(reader.recv(4096)) == 4096:
                pass
        except OSError:
            pass  # empty, which is what we want

    def fileno(self) -> int:
        """The reading end."""
        return -1 if self._reader is None else self._reader.fileno()

    def close(self) -> None:
        """Free both ends."""
        for end in (self._reader, self._writer):
            if end is not None:
                end.close()


#: poll and locks take no more; who waits longer wakes once a day, in seconds.
LONGEST_WAIT = 86400.0

if hasattr(select, "poll"):
    READ, WRITE = select.POLLIN, select.POLLOUT

    def reader(fd: int) -> Callable[[Optional[float]], object]:
        """A function that blocks until `fd` is readable, at most the given ms (None: for ever); true if it is."""
        poller = select.poll()
        poller.register(fd, READ)
        return poller.poll

    def wait_for(timeout: Optional[float], *wanted: Tuple[int, int]) -> List[int]:
        """Block until one of the (file descriptor, READ | WRITE) is ready, at most `timeout` s; those that are."""
        poller = select.poll()
        for fd, mask in wanted:
            poller.register(fd, mask)
        if timeout is not None:
            timeout = max(0, -(-min(timeout, LONGEST_WAIT) * 1000 // 1))
        return [fd for fd, _ in poller.poll(timeout)]

else:  # Windows has no poll, and its select no limit of 1024
    READ, WRITE = 1, 4

    def reader(fd: int) -> Callable[[Optional[float]], object]:
        """A function that blocks until `fd` is readable, at most the given ms (None: for ever); true if it is."""
        return lambda ms: select.select([fd], [], [], None if ms is None else ms / 1000)[0]

    def wait_for(timeout: Optional[float], *wanted: Tuple[int, int]) -> List[int]:
        """Block until one of the (file descriptor, READ | WRITE) is ready, at most `timeout` s; those that are."""
        readers = [fd for fd, mask in wanted if mask & READ]
        writers = [fd for fd, mask in wanted if mask & WRITE]
        timeout = None if timeout is None else min(timeout, LONGEST_WAIT)
        return sorted({fd for ready in select.select(readers, writers, writers, timeout) for fd in ready})


def writable(sock: socket.socket) -> bool:
    """Whether a connect has come to an end."""
    return bool(wait_for(0, (sock.fileno(), WRITE)))
