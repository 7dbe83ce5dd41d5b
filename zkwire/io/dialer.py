"""Sockets: one attempt to connect, from name resolution to TLS, that never blocks the one who makes it.

Owns connect, socket options and what is waited for. Must not know the protocol. Names are resolved afresh for each
attempt, by a `Resolver`.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import Optional, Tuple, Any, Callable, Dict, Union, List

from ..session.host_provider import Host
from .tls import TlsSocket, SILENCE, Tls

Address = Tuple[int, Any]  # family, socket address


class LookUp:
    """Of one host: `addresses` or `error`, in the end."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.addresses: Optional[List[Address]] = None
        self.error: Optional[OSError] = None

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self.addresses is not None or self.error is not None

    def run(self, wake: Callable[[], None]) -> None:
        """Ask, however long it takes, and call `wake`."""
        try:
            found = socket.getaddrinfo(self._host.name, self._host.port, type=socket.SOCK_STREAM)
            self.addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in found))
        except (OSError, UnicodeError) as error:
            self.error = error if isinstance(error, OSError) else OSError(str(error))
        wake()


class Resolver:
    """The look-ups of one client, which is woken by `wake` after each. Used by one thread at a time."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._under_way: Dict[Host, LookUp] = {}

    def look_up(self, host: Host) -> LookUp:
        """The one that is under way, or a new one."""
        self._under_way = {asked: one for asked, one in self._under_way.items() if not one.done}
        found = self._under_way.get(host)
        if found is None:
            found = self._under_way[host] = LookUp(host)
            name = f"zkwire resolving {host.name}"
            threading.Thread(target=found.run, args=(self._wake,), name=name, daemon=True).start()
        return found


Socket = Union[socket.socket, TlsSocket]


def begin(host: Host, deadline: float, resolver: Resolver, ssl_context: Any) -> Union[Attempt, SecureAttempt]:
    """An attempt to connect, with TLS if there is a context."""
    if ssl_context is None:
        return Attempt(host, deadline, resolver)
    return SecureAttempt(host, deadline, resolver, ssl_context)


class Attempt:
    """One attempt to connect to a host, through all its addresses, by a deadline.

    Call `step` whenever `waiting_for` is ready, the resolver has called `wake`, or `next_step` has come.
    """

    def __init__(self, host: Host, deadline: float, resolver: Resolver) -> None:
        self.host, self.deadline = host, deadline
        self._connecting: Optional[socket.socket] = None
        #: When to call `step` at the latest.
        self.next_step = deadline
        self._error: Optional[OSError] = None
        literal = _literal(host)
        self._addresses: Optional[List[Address]] = None if literal is None else [literal]
        self._look_up = resolver.look_up(host) if literal is None else None

    def step(self, now: float) -> Optional[socket.socket]:
        """A connected socket, or None while there is none yet. Raises `OSError` once no address is left."""
        if self._addresses is None and self._look_up is not None:
            if self._look_up.error is not None:
                raise self._look_up.error
            if self._look_up.addresses is None:
                return None
            self._addresses = self._look_up.addresses[:]
        sock = self._connecting
        if sock is not None:
            if not wait_for(0, (sock.fileno(), WRITE)):
                if now < self.next_step:
                    return None
                self._error = TimeoutError("connect timed out")
            else:
                self._error = _connect_error(sock)
                if self._error is None:
                    self._connecting = None
                    return sock
            sock.close()
            self._connecting = None
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
                self._connecting = sock
                return None
            except OSError as error:
                self._error = error
                if sock is not None:
                    sock.close()
            else:
                return sock
        raise self._error or OSError(f"{self.host.name} has no address")

    @property
    def waiting_for(self) -> Optional[Tuple[int, int]]:
        """The file descriptor to be polled, and for what."""
        return None if self._connecting is None else (self._connecting.fileno(), WRITE)

    def take(self) -> Optional[Socket]:
        """End it: the socket there is, in the caller's hands from now on."""
        sock, self._connecting = self._connecting, None
        return sock

    def give_up(self) -> None:
        """End it here and now."""
        sock = self.take()
        if sock is not None:
            sock.close()


class SecureAttempt:
    """As `Attempt`, with a TLS handshake at the end of it, and a second connection to find out what a hang-up means."""

    def __init__(self, host: Host, deadline: float, resolver: Resolver, context: Any) -> None:
        self.host, self.deadline = host, deadline
        self._resolver, self._context = resolver, context
        self._tcp = Attempt(host, deadline, resolver)
        self._socket: Optional[TlsSocket] = None
        self._listens = False
        self._silent_until: Optional[float] = None

    def step(self, now: float) -> Optional[TlsSocket]:
        """A socket with TLS on it, or None while there is none yet. Raises `OSError` and `TLSError`."""
        if self._socket is None:
            sock = self._tcp.step(now)
            if sock is None:
                return None
            self._socket = TlsSocket(sock, Tls(self._context, self.host.name))
            self._silent_until = now + SILENCE if self._listens else None
        silent = self._silent_until is not None and now < self._silent_until
        if silent and not wait_for(0, (self._socket.fileno(), READ)):
            return None
        self._silent_until = None
        try:
            done = self._socket.handshake(self._listens)
        except BaseException:
            self._socket.close()
            raise
        if done:
            return self._socket
        if done is None:
            self._socket.close()
            self._socket, self._listens = None, True
            self._tcp = Attempt(self.host, self.deadline, self._resolver)
            return self.step(now)
        return None

    @property
    def next_step(self) -> float:
        """When to call `step` at the latest."""
        if self._socket is None:
            return self._tcp.next_step
        return self.deadline if self._silent_until is None else self._silent_until

    @property
    def waiting_for(self) -> Optional[Tuple[int, int]]:
        """The file descriptor to be polled, and for what."""
        if self._socket is None:
            return self._tcp.waiting_for
        return self._socket.fileno(), READ | (WRITE if self._socket.blocked else 0)

    def take(self) -> Optional[Socket]:
        """End it: the socket there is, in the caller's hands from now on."""
        return self._tcp.take() if self._socket is None else self._socket

    def give_up(self) -> None:
        """End it here and now."""
        sock = self.take()
        if sock is not None:
            sock.close()


def _literal(host: Host) -> Optional[Address]:
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
