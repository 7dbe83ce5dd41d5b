"""One attempt to connect to a host: from its name through its addresses to a connected socket.

Owns name look-ups, the order and the timing of connects, and socket options. Must not know the protocol, nor TLS, which
`SecureAttempt` adds. Nothing here blocks: the blocking front polls, the asyncio front asks its event loop, and both
call `step`.

- A name is resolved again for each attempt, on a thread of its own, because no name service has a deadline. A host
  whose look-up is running gets no second thread.
- Addresses are tried one after the other: the next as soon as one fails, or after `STAGGER` if the one before is still
  connecting. Both then continue, and the first that connects wins (RFC 8305, "happy eyeballs").
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..typed import NamedTuple
from ..session.host_provider import Host
from .process import daemon_threads_allowed

if TYPE_CHECKING:
    from typing import Protocol, Union

    from .tls import TlsSocket

    Socket = Union[socket.socket, TlsSocket]

    class Target(Protocol):
        """The host to connect to, and the deadline; a `Link` is one. The deadline may change during the attempt."""

        @property
        def host(self) -> Host:
            """A name or an address, and the port."""

        @property
        def deadline(self) -> float:
            """Seconds, by the clock of the session."""


#: The head start of an address before the next one is tried beside it, in seconds (RFC 8305, section 5).
STAGGER = 0.25


class Address(NamedTuple):
    """One address of a host, as the `socket` module takes it."""

    family: int
    where: Any

    def __str__(self) -> str:
        return str(Host(*self.where[:2]))


class Server(NamedTuple):
    """A target that is no link."""

    host: Host
    deadline: float


class LookUp:
    """The look-up of one host: when it is done it has `addresses`, or an `error`."""

    def __init__(self, host: Host, addresses: Optional[Sequence[Address]] = None) -> None:
        self._host = host
        self.addresses = addresses
        self.error: Optional[OSError] = None

    @property
    def done(self) -> bool:
        """Whether the look-up has ended."""
        return self.addresses is not None or self.error is not None

    def run(self, wake: Callable[[], None]) -> None:
        """Ask the name service, without a time limit, and then call `wake`."""
        try:
            found = socket.getaddrinfo(self._host.name, self._host.port, type=socket.SOCK_STREAM)
            self.addresses = list(dict.fromkeys(Address(int(entry[0]), entry[4]) for entry in found))
        except Exception as error:  # besides OSError, UnicodeError for a name that IDNA cannot encode, and the like
            self.error = failure(error)
        wake()


class Resolver:
    """The look-ups of one client, for one thread at a time; `wake` is called after each, on the look-up's thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._under_way: Dict[Host, LookUp] = {}

    def look_up(self, host: Host) -> LookUp:
        """The look-up of this host that is running, or a new one; it is done at once if the host is an address."""
        literal = _literal(host)
        if literal is not None:
            return LookUp(host, [literal])
        self._under_way = {asked: one for asked, one in self._under_way.items() if not one.done}
        found = self._under_way.get(host)
        if found is None:
            found = LookUp(host)
            name, daemon = f"zkwire resolving {host.name}", daemon_threads_allowed()
            try:
                threading.Thread(target=found.run, args=(self._wake,), name=name, daemon=daemon).start()
            except (RuntimeError, MemoryError) as error:  # "can't start new thread": the system's limit is reached
                found.error = failure(error)
                return found
            self._under_way[host] = found
        return found


#: The functions of the session core for addresses: `order` sorts them, `tried` is called for each attempt.
Order = Callable[[Sequence[Address]], Sequence[Address]]
Tried = Callable[[Address], object]


class Attempt:
    """One attempt to connect to a target, through the addresses of its host.

    Call `step` whenever one of `waiting_for` is ready, when the resolver has called `wake`, and at `next_step`. The
    clock is the caller's.
    """

    def __init__(self, target: Target, look_up: LookUp, order: Order, tried: Tried) -> None:
        self.target = target
        #: The address that was connected, once `step` has returned a socket.
        self.address: Optional[Address] = None
        self._look_up, self._order, self._tried = look_up, order, tried
        self._left: Optional[List[Address]] = None  # the addresses not tried yet; None until the name is resolved
        self._under_way: Dict[socket.socket, Address] = {}
        self._begin_at = 0.0  # the time to try the next address, if one is left
        self._error: Optional[OSError] = None

    def step(self, now: float) -> Optional[socket.socket]:
        """A connected socket, or None while there is none yet. Raises `OSError` when all addresses have failed."""
        if self._left is None:
            self._resolved(now)
        ready = wait_for(0, *self.waiting_for) if self._under_way else ()
        for sock in [sock for sock in self._under_way if sock.fileno() in ready]:
            connected = self._connected(sock, self._under_way.pop(sock), now)
            if connected is not None:
                return connected
        while self._left and now >= self._begin_at:
            connected = self._begin(self._left.pop(0), now)
            if connected is not None:
                return connected
        if self._left is not None and not self._left and not self._under_way:
            raise self._error or OSError(f"{self.target.host.name} has no address")
        if now >= self.target.deadline:
            self.give_up()
            what = "the name service did not answer" if self._left is None else "connect timed out"
            raise self._error or TimeoutError(what)
        return None

    def _resolved(self, now: float) -> None:
        if self._look_up.error is not None:
            raise self._look_up.error
        if self._look_up.addresses is not None:
            self._left = list(self._order(self._look_up.addresses))
            self._begin_at = now

    def _begin(self, address: Address, now: float) -> Optional[socket.socket]:
        """Begin to connect to an address; returns its socket if it is connected at once."""
        self._tried(address)
        self._begin_at = now + STAGGER
        sock = None
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.connect(address.where)
        except BlockingIOError:
            assert sock is not None  # noqa: S101  # only connect() raises this
            self._under_way[sock] = address
            return None
        except Exception as error:  # an error of one address says nothing about the next
            if sock is not None:
                sock.close()
            self._failed(address, failure(error), now)
            return None
        return self._connected(sock, address, now)

    def _connected(self, sock: socket.socket, address: Address, now: float) -> Optional[socket.socket]:
        """A connect has ended: the socket, or None if it failed."""
        error = _connect_error(sock)
        if error is not None:
            sock.close()
            self._failed(address, error, now)
            return None
        self.address = address
        self.give_up()
        return sock

    def _failed(self, address: Address, error: OSError, now: float) -> None:
        several = self._look_up.addresses is not None and len(self._look_up.addresses) > 1
        self._error = OSError(f"{address}: {error}") if several else error
        self._begin_at = now

    @property
    def next_step(self) -> float:
        """The latest time to call `step` again."""
        deadline = self.target.deadline
        return min(self._begin_at, deadline) if self._left else deadline

    @property
    def waiting_for(self) -> List[Tuple[int, int]]:
        """The file descriptors to poll, and the events to poll for."""
        return [(sock.fileno(), WRITE) for sock in self._under_way]

    def give_up(self) -> None:
        """Close all sockets of the attempt."""
        for sock in self._under_way:
            sock.close()
        self._under_way.clear()


def failure(error: Exception) -> OSError:
    """Any exception as one that a failed attempt raises; its cause stays attached."""
    if isinstance(error, OSError):
        return error
    wrapped = OSError(f"{type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _literal(host: Host) -> Optional[Address]:
    """The address of a host that is an address already; None for a name."""
    for family, where in ((socket.AF_INET, (host.name, host.port)), (socket.AF_INET6, (host.name, host.port, 0, 0))):
        try:
            socket.inet_pton(family, host.name)
        except (OSError, UnicodeError):
            continue
        return Address(int(family), where)
    return None


def _connect_error(sock: socket.socket) -> Optional[OSError]:
    """The error of a failed connect, or None if it succeeded."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        return OSError(code, getattr(socket, "errorTab", {}).get(code) or os.strerror(code))  # errorTab: Windows'
    try:
        if sock.getsockname() == sock.getpeername():  # a local port without a listener can connect to itself
            return OSError("connected to itself: no server listens on this port")
    except OSError as error:
        return error
    return None


class Waker:
    """Wakes a thread that waits in `wait_for`: it polls the reading end, and `wake` makes that readable."""

    def __init__(self) -> None:
        self._reader: Optional[socket.socket] = None
        self._writer: Optional[socket.socket] = None

    def open(self) -> None:
        """Make both ends; a thread can be woken from then on."""
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
            pass  # full: the thread is awake already; closed: it does not wait any more

    def drain(self) -> None:
        """Read the bytes that `wake` has written."""
        reader = self._reader
        try:
            while reader is not None and len(reader.recv(4096)) == 4096:
                pass
        except OSError:
            pass  # empty, as it should be

    def fileno(self) -> int:
        """The file descriptor of the reading end."""
        return -1 if self._reader is None else self._reader.fileno()

    def close(self) -> None:
        """Close both ends."""
        for end in (self._reader, self._writer):
            if end is not None:
                end.close()


#: The limit of poll and locks; a thread that waits longer wakes once a day, in seconds.
LONGEST_WAIT = 86400.0

if hasattr(select, "poll"):
    READ, WRITE = select.POLLIN, select.POLLOUT

    def reader(fd: int) -> Callable[[Optional[float]], object]:
        """A function that blocks until `fd` is readable, at most the given ms (None: no limit); true if it is."""
        poller = select.poll()
        poller.register(fd, READ)
        return poller.poll

    def wait_for(timeout: Optional[float], *wanted: Tuple[int, int]) -> List[int]:
        """Block until one of the (file descriptor, READ | WRITE) is ready, at most `timeout` s; returns those."""
        poller = select.poll()
        for fd, mask in wanted:
            poller.register(fd, mask)
        if timeout is not None:
            timeout = max(0, -(-min(timeout, LONGEST_WAIT) * 1000 // 1))
        return [fd for fd, _ in poller.poll(timeout)]

else:  # Windows has no poll, but its select has no limit of 1024
    READ, WRITE = 1, 4

    def reader(fd: int) -> Callable[[Optional[float]], object]:
        """A function that blocks until `fd` is readable, at most the given ms (None: no limit); true if it is."""
        return lambda ms: select.select([fd], [], [], None if ms is None else ms / 1000)[0]

    def wait_for(timeout: Optional[float], *wanted: Tuple[int, int]) -> List[int]:
        """Block until one of the (file descriptor, READ | WRITE) is ready, at most `timeout` s; returns those."""
        readers = [fd for fd, mask in wanted if mask & READ]
        writers = [fd for fd, mask in wanted if mask & WRITE]
        timeout = None if timeout is None else min(timeout, LONGEST_WAIT)
        if not wanted:  # Windows' select refuses to wait for nothing
            time.sleep(timeout or 0.0)
            return []
        return sorted({fd for ready in select.select(readers, writers, writers, timeout) for fd in ready})
