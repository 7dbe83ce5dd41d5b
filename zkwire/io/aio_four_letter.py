"""A four-letter word on a connection of its own, for the asyncio front: connect, ask, read until the end.

Owns that connection. Must not know what is asked, nor for how long: whoever loses patience calls `end`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Optional, Union

from .aio_dialer import CLOSED, Wire
from ..errors import ConnectionLoss, FrameTooLargeError, TLSError, ZookeeperError
from .four_letter import Question
from ..session.host_provider import Host


class Asking:
    """One question to `host`, with TLS if there is an `ssl.SSLContext`."""

    def __init__(self, host: Host, context: Any, question: Question) -> None:
        self._host, self._question = host, question
        #: Its result is None once all has been said, or else what went wrong.
        self.done: asyncio.Future[Optional[ZookeeperError]] = asyncio.get_running_loop().create_future()
        self._wire = Wire(self, host, context)
        self._wire.dial()

    def end(self, error: Optional[ZookeeperError] = None) -> None:
        """Hang up; all has been said, or this went wrong."""
        if not self.done.done():
            self.done.set_result(error)
            self._wire.end()

    # ------------------------------------------------------------------ for the wire

    def _connected(self, wire: Wire) -> None:
        wire.write(self._question.word)

    def _received(self, wire: Wire, data: bytes) -> None:
        try:
            self._question.received(data)
        except FrameTooLargeError as error:
            self.end(error)

    def _lost(self, wire: Wire, reason: Union[str, TLSError]) -> None:
        if isinstance(reason, TLSError):
            self.end(reason)
        else:
            self.end(None if reason == CLOSED else ConnectionLoss(f"{self._host}: {reason}", sent=False))

    def _flush(self) -> None:
        """Four bytes need no second write."""
