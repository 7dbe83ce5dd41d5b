"""The second connection of the blocking front, made beside the first when the session core asks to `Look`.

Owns that socket and its attempt. Must not know what is looked for. Every method is called with the driver's lock held
and none blocks; whoever polls waits for what `wanted` says, until `next_step` at the latest.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, List, Optional, Tuple, Union

from ..errors import TLSError
from .dialer import Resolver
from ..session.session import Session
from ..session.link import Link
from .dialer import READ, Attempt, SecureAttempt, Socket, begin


class Lookout:
    """At most one connection at a time; `retire` gets sockets to be closed where nobody polls them."""

    def __init__(
        self, session: Session, wake: Callable[[], None], retire: Callable[[Socket], None], resolver: Resolver,
        ssl_context: Any,
    ) -> None:  # fmt: skip
        self._session, self._wake, self._retire = session, wake, retire
        self._resolver, self._ssl_context = resolver, ssl_context
        self._attempt: Union[Attempt, SecureAttempt, None] = None
        self._socket: Optional[Socket] = None
        self.link: Any = None

    def begin(self, link: Link) -> None:
        """Connect as asked."""
        self.end()
        self.link = link
        session = self._session
        order, tried = functools.partial(session.candidates, link), functools.partial(session.tried, link)
        self._attempt = begin(link, self._resolver.look_up(link.host), self._ssl_context, order, tried)
        self._wake()

    def end(self) -> None:
        """Give it up."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.give_up()
        sock = self.take()
        if sock is not None:
            self._retire(sock)

    def disown(self) -> None:
        """In the child of a fork: close what there is, here and now."""
        if self._attempt is not None:
            self._attempt.give_up()
        if self._socket is not None:
            self._socket.close()

    @property
    def active(self) -> bool:
        """Whether there is something to go on with."""
        return self._attempt is not None or self._socket is not None

    def take(self) -> Optional[Socket]:
        """The connected socket, in the caller's hands from now on."""
        sock, self._socket = self._socket, None
        return sock

    def wanted(self) -> List[Tuple[int, int]]:
        """(file descriptor, READ | WRITE) to be polled."""
        if self._socket is not None:
            return [(self._socket.fileno(), READ)]
        return self._attempt.waiting_for if self._attempt is not None else []

    @property
    def next_step(self) -> Optional[float]:
        """When to call `step` at the latest."""
        return self._attempt.next_step if self._attempt is not None else None

    def step(self, now: float) -> None:
        """Go on: connect, send, read; the core hears what comes of it."""
        try:
            if self._attempt is not None:
                self._connect(self._attempt, now)
            elif self._socket is not None:
                data = self._socket.recv(4096)
                if data:
                    self._session.received(self.link, data, now)
                else:
                    raise ConnectionError("the server closed the connection")
        except (BlockingIOError, InterruptedError):
            pass
        except (OSError, TLSError):
            self.end()
            self._session.lost(self.link, "lost", now)

    def _connect(self, attempt: Union[Attempt, SecureAttempt], now: float) -> None:
        sock = attempt.step(now)
        if sock is not None:
            self._attempt, self._socket = None, sock
            self._session.connected(self.link, now, attempt.address)
            greeting = bytes(self.link.data_to_send())
            self.link.sent(len(greeting))
            if sock.send(greeting) != len(greeting):
                raise ConnectionError("no room for a greeting")
