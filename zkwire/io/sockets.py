"""A session core and the sockets of its links, under one lock: what goes from either to the other.

Owns the lock, the sockets and the two ways to wait for them, and the performing of the core's actions. Must not know
which thread reads, or when: the driver and the I/O thread do, and both have the one `Sockets`. Rules:

- Every method of `Sockets` is called with `lock` held, and none of them waits.
- No user code runs under the lock: calls of watchers, listeners and callbacks are queued for the dispatch thread, and
  lines of the log for the I/O thread.
- One thread at a time calls `wait` of a wire, without the lock; it is the one that calls `take`.
- On plain TCP the thread that waits blocks in recv() itself, which costs nothing but the call: `SO_RCVTIMEO` bounds it,
  and `MSG_DONTWAIT` keeps all other calls from blocking. On TLS, and where the system has none of these, it polls, and
  the socket never blocks: a TLS socket takes one thread at a time (python/cpython#137583).
"""

from __future__ import annotations

import socket
import struct
import threading
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from itertools import zip_longest
from typing import Any, Callable, Deque, Dict, List, Optional, Protocol, Sequence, Set, Tuple, Union

from ..errors import ConnectionLoss, TLSError, ZookeeperError
from ..session.actions import METHODS, Action, StateChanged
from ..session.link import Link
from ..session.session import Session
from ..values import WatchedEvent, Watcher
from ..wire.connection import Slot
from .dialer import LONGEST_WAIT, Socket, Waker, reader
from .dispatch import Dispatcher, On
from .future import Future, release
from .process import now

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # the levels of `logging`
_MAIN = threading.main_thread().ident
#: As much as is read in one call.
RECEIVE = 64 * 1024
_SIZES = (RECEIVE,)
_AT_ONCE = (getattr(socket, "MSG_DONTWAIT", 0),)
_TIMEVAL = struct.Struct("@ll")


class Wire(Protocol):
    """The socket of a link."""

    link: Link
    sock: Any
    #: Whether the socket took no more, so that the I/O thread has to wait for room.
    blocked: bool
    is_open: bool
    #: Whether something may have arrived with the TLS handshake, which poll cannot see.
    fresh: bool

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""


def wire(link: Link, sock: Socket) -> Wire:
    """The wire on a connected socket."""
    if isinstance(sock, socket.socket) and _AT_ONCE != (0,) and hasattr(socket, "SO_RCVTIMEO"):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(LONGEST_WAIT), 0))
        except (OSError, ValueError):  # another idea of what a time is
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
        self._inbox: List[bytes] = []  # read, and not taken yet
        self._limit = LONGEST_WAIT  # of recv(), in seconds, as the socket has it
        self._error: Optional[OSError] = None

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""
        inbox = self._inbox
        if inbox:
            return True
        if left is None:
            left = LONGEST_WAIT
        try:
            if not left / 4 <= self._limit <= left:
                self._set_limit(left)
            # One step for Python: a signal handler that raises cannot come between the socket and the list.
            inbox.extend(map(self._recv, _SIZES))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._error = error
        return True

    def _set_limit(self, left: float) -> None:
        """Have recv() give up in time. A bit earlier, so that the next call with as much time need not say so again."""
        self._limit = limit = min(left * 0.75 if left > 0.01 else max(left, 1e-6), LONGEST_WAIT)
        packed = _TIMEVAL.pack(int(limit), int(limit % 1 * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, packed)

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError`."""
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
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""
        return self._send(data, *_AT_ONCE)


class PolledWire:
    """A wire on TLS, or on a socket that only poll can wait for with a limit."""

    __slots__ = ("link", "sock", "blocked", "is_open", "fresh", "_readable")

    def __init__(self, link: Link, sock: Socket) -> None:
        self.link, self.sock = link, sock
        self.blocked, self.is_open, self.fresh = False, True, True
        self._readable = reader(sock.fileno())

    def wait(self, left: Optional[float]) -> bool:
        """Block until there may be something to `take`, at most `left` seconds (None: for long)."""
        left = LONGEST_WAIT if left is None else min(left, LONGEST_WAIT)
        return self.fresh or bool(self._readable(-(-left * 1000 // 1)))

    def take(self) -> Optional[bytes]:
        """What has arrived, b"" for the end, None for nothing. Never blocks; raises `OSError` and `TLSError`."""
        self.fresh = False
        try:
            return bytes(self.sock.recv(RECEIVE))
        except (BlockingIOError, InterruptedError):
            return None  # or TLS has heard what is no news for the session, and may go on sending

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Send what goes without waiting; how many bytes. Raises as a socket that never blocks."""
        return int(self.sock.send(data))


class Sockets:
    """`on_state` is called with each `StateChanged`, and must only hand it on. `waker` wakes the I/O thread."""

    def __init__(
        self, session: Session, dispatcher: Dispatcher, on_state: Callable[[StateChanged], None], waker: Waker
    ) -> None:
        self.session, self._dispatcher, self._on_state = session, dispatcher, on_state
        session.on_reply = Future.settle
        self.lock = allocate_lock()
        #: The wire of the session's link, or None: read without the lock.
        self.main: Optional[Wire] = None
        self.wires: Dict[Link, Wire] = {}
        #: Links the core wants connected.
        self.wanted: Set[Link] = set()
        #: Wires to be closed where no thread reads: a descriptor must not vanish under one that does.
        self.retired: List[Wire] = []
        #: How often something was received: the sign that the thread that reads is alive.
        self.receipts = 0
        #: Lines for the log, (level, text, arguments).
        self.lines: Deque[Tuple[int, str, Tuple[Any, ...]]] = deque()
        #: Locks to be opened at the next change of state.
        self.state_waiters: List[LockType] = []
        self.waker = waker
        #: Actions of the core that are yet to be performed.
        self.todo: Deque[Action] = deque()

    # ----------------------------------------------------------------------- actions

    def perform(self) -> None:
        """Do what the core asks for."""
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
        """Hand a state on, and wake the threads that wait for one."""
        self.say(INFO, "= %s (%s)%s", state, client_state, "" if error is None else f": {error}")
        self._on_state(StateChanged(state, client_state, error))
        while self.state_waiters:
            try:
                release(self.state_waiters.pop())
            except IndexError:  # the last one has given up
                break

    def note(self, what: str) -> None:
        """What the server sent was passed over."""
        self.say(DEBUG, "= ignored: %s", what)

    def say(self, level: int, text: str, *arguments: Any) -> None:
        """Have the I/O thread see to a line of the log."""
        self.lines.append((level, text, arguments))
        self.waker.wake()

    # ------------------------------------------------------------------------ sockets

    def connected(self, link: Link, sock: Socket, address: Any) -> None:
        """A link is connected; if the core wants it no longer, the socket is closed."""
        if link not in self.wanted:
            sock.close()
            return
        self.wires[link] = one = wire(link, sock)
        self.session.connected(link, now(), address)
        self.perform()
        self.flush(one)

    def retire(self, link: Link) -> None:
        """A link is wanted no more."""
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
        """Send what a link has to send, as far as it goes."""
        connection = one.link.connection
        try:
            while connection is not None and one.is_open and connection.unsent:
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
                if not count:  # TLS has to hear something first
                    break
                connection.sent(count)
            one.blocked = False
        except BaseException:
            self.interrupted(())  # no one knows what has left
            raise

    def receive(self, one: Wire) -> None:
        """Hand to the core what has arrived on a wire. The thread is the one that reads."""
        session, connection = self.session, one.link.connection
        # Signal handlers run in the main thread, and may raise there wherever it is, here too.
        under_way = tuple(connection.replies) if connection is not None and get_ident() == _MAIN else ()
        self.receipts += 1
        try:
            try:
                data = one.take()
            except (OSError, TLSError) as error:
                self.lose(one, error if isinstance(error, TLSError) else f"receiving failed: {error}")
                return
            if data:
                session.received(one.link, data, now())
                if session.has_actions:
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
        """A signal handler has raised in the midst of the core's work: begin afresh, and leave no call unanswered."""
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
        """In the child of a fork: close the descriptors, without a word to the server."""
        self.lock = allocate_lock()
        for one in [*self.wires.values(), *self.retired]:
            one.sock.close()
        self.wires, self.retired, self.main = {}, [], None
        self.waker.close()
