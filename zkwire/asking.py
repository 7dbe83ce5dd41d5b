"""A four-letter word on a connection of its own, for the blocking front: connect, ask, read until the end.

Owns that socket, on the thread of whoever asks. Must not know what is asked. Nothing blocks but poll, which the
deadline ends, or `give_up` from another thread.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Optional, Tuple

from .errors import ConnectionLoss, OperationTimeoutError, ZookeeperError
from .fourletter import Question
from .hosts import Host
from .names import Resolver
from .transport import READ, Socket, Waker, begin, wait_for


class Asking:
    """One question to `host`, with TLS if there is an `ssl.SSLContext`, by `deadline` (monotonic seconds)."""

    def __init__(self, host: Host, context: Any, deadline: float) -> None:
        self._host, self._deadline = host, deadline
        self._error: Optional[ZookeeperError] = None
        self._socket: Optional[Socket] = None
        self._waker = Waker()
        self._waker.open()
        self._attempt = begin(host, deadline, Resolver(self._waker.wake), context)

    def ask(self, question: Question) -> None:
        """Have it answered. Raises `OperationTimeoutError`, `ConnectionLoss`, `TLSError`, and what `give_up` got."""
        try:
            sock = self._connect()
            if sock.send(question.word) != len(question.word):
                raise ConnectionError("no room for a question")
            while True:
                try:
                    data = sock.recv(65536)
                except (BlockingIOError, InterruptedError):
                    self._wait(self._deadline, (sock.fileno(), READ))
                    continue
                if not data:
                    return
                question.received(data)
        except OSError as error:
            if isinstance(error, ZookeeperError):
                raise
            raise ConnectionLoss(f"{self._host}: {error}", sent=False) from None
        finally:
            self.close()

    def give_up(self, error: ZookeeperError) -> None:
        """Raise this where it is waited for; may be called on any thread."""
        self._error = error
        self._waker.wake()

    def close(self) -> None:
        """Free what there is."""
        self._attempt.give_up()
        if self._socket is not None:
            self._socket.close()
        self._waker.close()

    def _connect(self) -> Socket:
        while self._socket is None:
            self._socket = self._attempt.step(monotonic())
            if self._socket is None:
                self._wait(self._attempt.next_step, self._attempt.waiting_for)
        return self._socket

    def _wait(self, until: float, wanted: Optional[Tuple[int, int]]) -> None:
        """Until this is ready, `until` has come, or somebody wakes us."""
        if self._error is None:
            polled = [(self._waker.fileno(), READ)] + ([wanted] if wanted is not None else [])
            wait_for(max(0.0, until - monotonic()), *polled)
            self._waker.drain()
        if self._error is not None:
            raise self._error
        if monotonic() >= self._deadline:
            error = OperationTimeoutError(f"{self._host}: no answer to a four-letter word in time")
            error.maybe_applied = False
            raise error
