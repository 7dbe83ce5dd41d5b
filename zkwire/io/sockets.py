"""A session core and the sockets of its links, under one lock: what goes from either to the other.

Owns the lock, the sockets, and the performing of the core's actions. Must not know which thread reads, or when: the
driver and the I/O thread do, and both have this object. Every method is called with `lock` held, and none of them
waits. No user code runs under the lock: calls of watchers, listeners and callbacks are queued for the dispatch thread,
and lines of the log for the I/O thread.
"""

from __future__ import annotations

import socket
import threading
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from itertools import zip_longest
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union

from ..errors import ConnectionLoss, TLSError, ZookeeperError
from ..session.actions import METHODS, Action, StateChanged
from ..session.link import Link
from ..session.session import Session
from ..values import WatchedEvent, Watcher
from ..wire.connection import Slot
from .dialer import Socket, Waker
from .dispatch import Dispatcher, On
from .future import Future, release
from .process import now
from .wires import Wire, wire

DEBUG, INFO, WARNING = 10, 20, 30  # the levels of `logging`
_MAIN = threading.main_thread().ident


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
        self._todo: Deque[Action] = deque()

    # ----------------------------------------------------------------------- actions

    def perform(self) -> None:
        """Do what the core asks for."""
        todo = self._todo
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
            release(self.state_waiters.pop())

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
