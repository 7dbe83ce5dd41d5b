"""A session core and the sockets of its links, under one lock: moves bytes and actions between the two.

Owns the lock, the sockets and the two ways to wait for them, and performs the core's actions. Must not know which
thread reads, or when: the driver and the I/O thread decide that, and share one `Sockets`. Rules:

- Every method of `Sockets` is called with `lock` held, and none of them waits.
- No user code runs under the lock: calls of watchers, listeners and callbacks are queued for the dispatch thread, and
  log lines for the I/O thread.
- One thread at a time calls `wait` of a wire, without the lock; the same thread calls `take`.
- On plain TCP the waiting thread blocks in recv() itself, which needs no other system call: `SO_RCVTIMEO` limits the
  time, and `MSG_DONTWAIT` keeps all other calls from blocking. With TLS, and where the system lacks these options,
  the thread polls and the socket never blocks: a TLS socket takes one thread at a time (python/cpython#137583).
"""

from __future__ import annotations

import socket
import struct
import threading
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from itertools import zip_longest
from time import get_clock_info
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union

from ..errors import ConnectionLoss, TLSError, ZookeeperError
from ..session.actions import METHODS, Action, StateChanged
from ..session.link import Link
from ..session.session import Session
from ..values import WatchedEvent, Watcher
from ..wire.connection import Slot
from .coalescing import Coalescing
from .dialer import LONGEST_WAIT, Waker, reader
from .dispatch import Dispatcher, On
from .future import Future, heard_within, release
from .process import now

if TYPE_CHECKING:
    from typing import Protocol

    from .dialer import Socket

    class Wire(Protocol):
        """The socket of a link."""

        link: Link
        sock: Any
        #: Whether the socket is full, so that the I/O thread has to wait for room.
        blocked: bool
        is_open: bool
        #: Whether bytes may have arrived with the TLS handshake, which poll cannot see.
        fresh: bool

        def wait(self, left: Optional[float]) -> bool:
            """Block until there may be something to `take`, at most `left` seconds (None: a long time)."""

        def take(self) -> Optional[bytes]:
            """The received bytes, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""

        def send(self, data: Union[bytes, memoryview]) -> int:
            """Send as many bytes as possible without waiting; returns how many. Raises as a non-blocking socket."""


DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # the levels of `logging`
_MAIN = threading.main_thread().ident
#: The most that is read in one call, in bytes.
RECEIVE = 64 * 1024
_SIZES = (RECEIVE,)
_AT_ONCE = (getattr(socket, "MSG_DONTWAIT", 0),)
_TIMEVAL = struct.Struct("@ll")


def wire(link: Link, sock: Socket) -> Wire:
    """The wire for a connected socket."""
    if isinstance(sock, socket.socket) and _AT_ONCE != (0,) and hasattr(socket, "SO_RCVTIMEO"):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(LONGEST_WAIT), 0))
        except (OSError, ValueError):  # the system has another struct timeval
            return PolledWire(link, sock)
        sock.setblocking(True)
        return BlockingWire(link, sock)
    return PolledWire(link, sock)


class BlockingWire:
    """A wire on plain TCP."""

    __slots__ = ("link", "sock", "blocked", "is_open", "fresh", "_recv", "_send", "_inbox", "_limit", "_error")

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self.link, self.sock = link, sock
        self.blocked, self.is_open, self.fresh = False, True, False
        self._recv, self._send = sock.recv, sock.send
        self._inbox: List[bytes] = []  # received, not taken yet
        self._limit = LONGEST_WAIT  # the receive timeout set on the socket, in seconds
        self._error: Optional[OSError] = None

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: a long time)."""
        inbox = self._inbox
        if inbox:
            return True
        if left is None:
            left = LONGEST_WAIT
        try:
            if not left / 4 <= self._limit <= left:
                self._set_limit(left)
        except OSError:
            return True  # macOS refuses options of a connection that was reset: `take` says what became of it
        try:
            # One bytecode: a signal handler that raises cannot lose bytes between the socket and the list.
            inbox.extend(map(self._recv, _SIZES))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._error = error
        return True

    def _set_limit(self, left: float) -> None:
        """Set the timeout of recv(). It is a bit shorter: the next call with equal time need not set it."""
        self._limit = limit = min(left * 0.75 if left > 0.01 else max(left, 1e-6), LONGEST_WAIT)
        packed = _TIMEVAL.pack(int(limit), int(limit % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)

    def take(self) -> Optional[bytes]:
        """The received bytes, b"" for the end, None for nothing. Never blocks; raises `OSError`."""
        inbox = self._inbox
        if not inbox:
            if self._error is not None:
                raise self._error
            try:
                inbox.extend(map(self._recv, _SIZES, _AT_ONCE))
            except (BlockingIOError, InterruptedError):
                return None
        return inbox.pop(0)

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send as many bytes as possible without waiting; returns how many. Raises as a non-blocking socket."""
        return self._send(data, *_AT_ONCE)


class PolledWire:
    """A wire on TLS, or on a system whose recv() has no timeout."""

    __slots__ = ("link", "sock", "blocked", "is_open", "fresh", "_readable")

    def __init__(self, link: Link, sock: Socket) -> None:
        self.link, self.sock = link, sock
        self.blocked, self.is_open, self.fresh = False, True, True
        self._readable = reader(sock.fileno())

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: a long time)."""
        left = heard_within(LONGEST_WAIT if left is None else min(left, LONGEST_WAIT))
        return self.fresh or bool(self._readable(-(-left * 1000 // 1)))

    def take(self) -> Optional[bytes]:
        """The received bytes, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""
        self.fresh = False
        try:
            return bytes(self.sock.recv(RECEIVE))
        except (BlockingIOError, InterruptedError):
            return None  # or only TLS received something, after which it may be able to send

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send as many bytes as possible without waiting; returns how many. Raises as a non-blocking socket."""
        return int(self.sock.send(data))


class Sockets:
    """`on_state` is called with each `StateChanged` and only queues calls. `waker` wakes the I/O thread."""

    def __init__(
        self, session: Session, dispatcher: Dispatcher, on_state: Callable[[StateChanged], None], waker: Waker
    ) -> None:
        self.session, self._dispatcher, self._on_state = session, dispatcher, on_state
        #: Steps of logins to be taken, as in `Prove`.
        self.steps: Deque[Tuple[Link, Callable[[Any], Optional[bytes]], Any]] = deque()
        session.on_reply = Future.settle
        self.lock = allocate_lock()
        #: The wire of the session's link, or None; may be read without the lock.
        self.main: Optional[Wire] = None
        self.wires: Dict[Link, Wire] = {}
        #: The links that the core wants connected.
        self.wanted: Set[Link] = set()
        #: Wires to be closed once no thread reads them: a descriptor must not be closed under a thread that reads.
        self.retired: List[Wire] = []
        #: The number of receipts: it shows that the reading thread is running.
        self.receipts = 0
        #: Whether to let bytes gather for a moment before the next receipt.
        self.gather = False
        self._coalescing = Coalescing(get_clock_info("monotonic").resolution)
        #: Lines for the log, (level, text, arguments).
        self.lines: Deque[Tuple[int, str, Tuple[Any, ...]]] = deque()
        #: Locks to be opened at the next change of state.
        self.state_waiters: List[LockType] = []
        self.waker = waker
        #: Actions of the core that are not performed yet.
        self.todo: Deque[Action] = deque()

    # ----------------------------------------------------------------------- actions

    def perform(self) -> None:
        """Perform the core's actions."""
        todo = self.todo
        todo.extend(self.session.actions())
        while todo:
            action = todo.popleft()
            getattr(self, METHODS[type(action)])(*action)
        link = self.session.link
        self.main = self.wires.get(link) if link is not None else None

    def dial(self, link: Link) -> None:
        """Have the I/O thread connect a link."""
        self.wanted.add(link)
        self.waker.wake()

    def hang_up(self, link: Link, reason: str) -> None:
        """Close a link's connection, or have the I/O thread give up the attempt."""
        self.say(INFO, "= hanging up: %s", reason)
        self.retire(link)

    def prove(self, link: Link, step: Callable[[Any], Optional[bytes]], argument: Any) -> None:
        """Have the I/O thread pass on a step of a login."""
        self.steps.append((link, step, argument))
        self.waker.wake()

    def reply(self, token: Optional[Future[Any]], outcome: Any) -> None:
        """An operation is done."""
        if token is not None:
            token.settle(outcome)

    def fire(self, watchers: Sequence[Watcher], event: WatchedEvent, lasting: Sequence[Optional[str]]) -> None:
        """Queue the calls of watchers."""
        for watcher, path in zip_longest(watchers, lasting):
            if isinstance(watcher, On):
                watcher.dispatcher.tell(watcher.function, event, path)
            else:
                self._dispatcher.tell(watcher, event, path)

    def state_changed(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        """Report a state, and wake the threads that wait for one."""
        self.say(INFO, "= %s (%s)%s", state, client_state, "" if error is None else f": {error}")
        self._on_state(StateChanged(state, client_state, error))
        while self.state_waiters:
            try:
                release(self.state_waiters.pop())
            except IndexError:  # the last waiting thread has given up
                break

    def note(self, what: str) -> None:
        """Log something that the core has ignored."""
        self.say(DEBUG, "= ignored: %s", what)

    def say(self, level: int, text: str, *arguments: Any) -> None:
        """Queue a log line for the I/O thread."""
        self.lines.append((level, text, arguments))
        self.waker.wake()

    # ------------------------------------------------------------------------ sockets

    def connected(self, link: Link, sock: Socket, address: Any) -> None:
        """A link is connected; if the core has given it up, the socket is closed."""
        if link not in self.wanted:
            sock.close()
            return
        self.wires[link] = one = wire(link, sock)
        self.session.connected(link, now(), address)
        self.perform()
        self.flush(one)

    def retire(self, link: Link) -> None:
        """A link is no longer wanted: retire its socket."""
        self.wanted.discard(link)
        one = self.wires.pop(link, None)
        if one is not None:
            one.is_open = False
            if self.main is one:
                self.main = None
            try:
                one.sock.shutdown(socket.SHUT_RDWR)  # which wakes the thread that reads
            except OSError:
                pass  # gone already
            self.retired.append(one)
        self.waker.wake()

    def flush(self, one: Wire) -> None:
        """Send the bytes of a link, as many as possible."""
        connection = one.link.connection
        try:
            while connection is not None and connection.unsent and one.is_open:
                try:
                    count = one.send(connection.data_to_send())
                except (BlockingIOError, InterruptedError):
                    if not one.blocked:
                        one.blocked = True
                        self.waker.wake()  # the I/O thread waits until the socket takes more
                    return
                except (OSError, TLSError) as error:
                    self.lose(one, error if isinstance(error, TLSError) else f"sending failed: {error}")
                    return
                if not count:  # TLS has to receive something first
                    break
                connection.sent(count)
            one.blocked = False
        except BaseException:
            self.interrupted(())  # it is unknown how many bytes have left
            raise

    def receive(self, one: Wire) -> None:
        """Pass received bytes of a wire to the core. Called by the reading thread."""
        session, connection = self.session, one.link.connection
        # Signal handlers run in the main thread and may raise at any point of its code, also here.
        under_way = tuple(connection.replies) if connection is not None and get_ident() == _MAIN else ()
        self.receipts += 1
        before = len(connection.replies) if connection is not None else 0
        try:
            try:
                data = one.take()
            except (OSError, TLSError) as error:
                self.lose(one, error if isinstance(error, TLSError) else f"receiving failed: {error}")
                return
            if data:
                at = now()
                session.received(one.link, data, at)
                if before != 1:
                    self.gather = self._coalescing.wanted(before, session.in_flight, at, len(session.queued))
                elif self.gather:
                    self.gather = False
                if session.queued:
                    self.perform()
            elif data is not None:
                self.lose(one, "the server closed the connection")
                return
        except BaseException:
            self.interrupted(under_way)
            raise
        if connection is not None and connection.unsent and not one.blocked:
            self.flush(one)

    def interrupted(self, under_way: Sequence[Slot]) -> None:
        """A signal handler has raised while the core was working: end the connection, and let no call wait for ever."""
        if self.main is not None:
            self.lose(self.main, "interrupted by an exception, perhaps of a signal handler")
        for slot in under_way:
            if isinstance(slot.token, Future):
                slot.token.settle(ConnectionLoss(None, slot.op.path))

    def lose(self, one: Wire, reason: Union[str, TLSError]) -> None:
        """A connection has ended."""
        if one.is_open:
            self.retire(one.link)
            self.lost(one.link, reason)

    def lost(self, link: Link, reason: Union[str, TLSError]) -> None:
        """A connection has ended, or could not be made."""
        of_session = link is self.session.link
        self.wanted.discard(link)
        self.session.lost(link, reason, now())
        why = self.session.last_error if of_session else f"{link.host}: {reason}"
        self.say(WARNING if isinstance(reason, TLSError) else INFO, "= %s", why)
        self.perform()

    def disown(self) -> None:
        """In the child of a fork: close the descriptors without sending anything to the server."""
        self.lock = allocate_lock()
        for one in [*self.wires.values(), *self.retired]:
            one.sock.close()
        self.wires, self.retired, self.main = {}, [], None
        self.waker.close()
