"""One session core and its socket: what goes from either to the other, and what the core asks for.

Owns the socket while there is one. All here is called with `_lock` held, and nothing here waits. Must not know who
reads, or when: that is `Driver`.
"""

from __future__ import annotations

import logging
import socket
import threading
from _thread import LockType, allocate_lock, get_ident
from collections import deque
from itertools import zip_longest
from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple, Union

from .process import now
from ..wire.connection import Slot
from .dispatch import Dispatcher, On
from ..errors import ConnectionLoss, TLSError, ZookeeperError
from .future import Future, release
from .lookout import Lookout
from .dialer import Resolver
from ..session.session import ENDED, Session
from ..session.actions import METHODS, Action, StateChanged
from ..session.link import Link
from .dialer import Socket, Waker, reader

RECEIVE = 64 * 1024
_MAIN = threading.main_thread().ident


class Line:
    """`on_state` is called with each `StateChanged`, and must only hand it on."""

    def __init__(
        self, session: Session, logger: logging.Logger, on_state: Callable[[StateChanged], None], name: str,
        ssl_context: Any,
    ) -> None:  # fmt: skip
        self.session, self._logger, self._on_state, self._ssl_context = session, logger, on_state, ssl_context
        self.dispatcher = Dispatcher(logger, f"{name} dispatch")
        self.changed = threading.Condition()
        self._lock = allocate_lock()
        self._receipts = 0
        self._followers: Deque[Tuple[Future[Any], LockType]] = deque()
        self._socket: Optional[Socket] = None
        self._readable: Callable[[Optional[float]], object] = lambda ms: False  # of the socket, for who leads
        self._retired: List[Socket] = []
        self._todo: Deque[Action] = deque()
        self._blocked = False
        self._dial: Optional[Link] = None
        self._link: Optional[Link] = None
        self._waker = Waker()
        self._resolver = Resolver(self._waker.wake)
        self._lookout = Lookout(session, self._waker.wake, self._retire, self._resolver, ssl_context)

    def _act(self) -> None:
        """Do what the core asks for."""
        todo = self._todo
        todo.extend(self.session.actions())
        while todo:
            action = todo.popleft()
            getattr(self, METHODS[type(action)])(*action)
        if self._link is not self.session.link:
            if self._lookout.link is not None and self._lookout.link is self.session.link:
                sock = self._lookout.take()
                self._disconnect()
                if sock is not None:
                    self._socket, self._readable = sock, reader(sock.fileno())
            self._link = self.session.link

    def dial(self, link: Link) -> None:
        if link is self.session.link:
            self._disconnect()
            self._link = self._dial = link
            self._waker.wake()
        elif self.session.wants(link):
            self._lookout.begin(link)

    def hang_up(self, link: Link, reason: str) -> None:
        if link is self._link:
            self._logger.info("= hanging up: %s", reason)
            self._disconnect()
        elif link is self._lookout.link:
            self._lookout.end()

    def reply(self, token: Any, outcome: Any) -> None:
        token.settle(outcome, self.dispatcher.queued)

    def fire(self, watchers: Sequence[Any], event: Any, lasting: Sequence[Optional[str]]) -> None:
        for watcher, path in zip_longest(watchers, lasting):
            if isinstance(watcher, On):
                watcher.dispatcher.tell(watcher.function, event, path)
            else:
                self.dispatcher.tell(watcher, event, path)

    def state_changed(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        self._logger.info("= %s (%s)%s", state, client_state, _reason(error))
        self._on_state(StateChanged(state, client_state, error))
        with self.changed:
            self.changed.notify_all()
        if self.session.phase == ENDED:
            self._waker.wake()

    def note(self, what: str) -> None:
        self._logger.debug("= ignored: %s", what)

    def _retire(self, sock: Socket) -> None:
        """To be closed by whoever reads next: a descriptor must not vanish under a poll."""
        self._retired.append(sock)
        self._waker.wake()

    def _disconnect(self) -> None:
        """Put the socket away."""
        self._dial, self._blocked = None, False
        sock, self._socket = self._socket, None
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # gone already
            self._retire(sock)
            followers = self._followers
            while followers:  # they wait for a leader who has nothing to read any more
                try:
                    release(followers.popleft()[1])
                except IndexError:  # who just stopped leading took the last one
                    break

    def _flush(self) -> None:
        sock, session = self._socket, self.session
        try:
            while sock is not None:
                data = session.link.data_to_send() if session.link is not None else b""
                if not data:
                    self._blocked = False
                    return
                try:
                    count = sock.send(data)
                except (BlockingIOError, InterruptedError):
                    if not self._blocked:
                        self._blocked = True
                        self._waker.wake()  # the keeper waits until the socket takes more
                    return
                except (OSError, TLSError) as error:
                    self._lose(error if isinstance(error, TLSError) else f"sending failed: {error}")
                    return
                if not count:  # TLS has to hear something first
                    self._blocked = False
                    return
                if session.link is not None:
                    session.link.sent(count)
        except BaseException:
            self._interrupted(())  # nobody knows what has left
            raise

    def _receive(self) -> None:
        sock = self._socket
        if sock is None:
            return
        # Signal handlers run in the main thread, and may raise there wherever it is, here too.
        link = self.session.link
        slots = tuple(link.connection.replies) if get_ident() == _MAIN and link is not None and link.connection else ()
        try:
            self._receipts += 1
            try:
                data: Optional[bytes] = sock.recv(RECEIVE)
            except (BlockingIOError, InterruptedError):
                data = None  # or TLS has heard what is no news for us, and may go on sending
            except (OSError, TLSError) as error:
                self._lose(error if isinstance(error, TLSError) else f"receiving failed: {error}")
                return
            if data:
                self.session.received(link, data, now())  # type: ignore[arg-type]
                self._act()
            elif data is not None:
                self._lose("the server closed the connection")
            if self.session.unsent and not self._blocked:
                self._flush()
        except BaseException:
            self._interrupted(slots)
            raise

    def _interrupted(self, slots: Sequence[Slot]) -> None:
        """Ctrl-C, say, in the midst of the core's work: begin afresh, and leave nobody without an answer."""
        self._lose("interrupted by an exception, perhaps of a signal handler")
        for slot in slots:
            if isinstance(slot.token, Future):
                slot.token.settle(ConnectionLoss(None, slot.op.path))

    def _lose(self, reason: Union[str, TLSError]) -> None:
        self._disconnect()
        self._lost(reason)

    def _lost(self, reason: Union[str, TLSError]) -> None:
        if self._link is not None:
            self.session.lost(self._link, reason, now())
        level = logging.WARNING if isinstance(reason, TLSError) else logging.INFO
        self._logger.log(level, "= %s", self.session.last_error)
        self._act()


def _reason(error: Optional[ZookeeperError]) -> str:
    return "" if error is None else f": {error}"
