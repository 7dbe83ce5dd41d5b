"""Four-letter words: the commands that a server answers outside the protocol, and how to read the answers.

Owns the list and the limits. Must not know sockets or clocks. One connection takes one word, four bytes and nothing
else; the answer is text, and ends with the connection.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

from ..errors import (
    UnimplementedError, FrameTooLargeError, ZookeeperError, ConnectionLoss, ProtocolError, OperationTimeoutError,
)  # fmt: skip
from ..session.host_provider import Host
from .attempts import begin
from .dialer import READ, Address, LookUp, Server, Waker, wait_for
from .future import heard_within

if TYPE_CHECKING:
    from .dialer import Socket

#: The words that only read. Not those that reset counters (crst, srst) or take an argument (gtmk, stmk).
WORDS = (
    b"conf", b"cons", b"dirs", b"dump", b"envi", b"isro", b"mntr", b"ruok", b"srvr", b"stat", b"wchc", b"wchp",
    b"wchs",
)  # fmt: skip
#: The limit of an answer, in bytes. (mntr of a server with some hundred top-level nodes: more than 64 KiB.)
LIMIT = 1024 * 1024
_REFUSED = "is not executed because it is not in the whitelist."  # NopCommand
_VERSION = "Zookeeper version: "
#: The most digits of a number of a version: int() refuses more than 4300 of them, with a ValueError.
_DIGITS = 9


class Question:
    """One word and its answer. `ValueError` for a word that is not in `WORDS`."""

    def __init__(self, word: bytes) -> None:
        if word not in WORDS:
            raise ValueError(f"unknown four-letter word {word!r}; there are {b' '.join(WORDS).decode()}, as bytes")
        self.word = word
        self._parts: List[bytes] = []
        self._size = 0

    def received(self, data: bytes) -> None:
        """A part of the answer. Raises `FrameTooLargeError`."""
        self._size += len(data)
        if self._size > LIMIT:
            raise FrameTooLargeError(f"the answer to {self.word.decode()} has more than {LIMIT} bytes")
        self._parts.append(data)

    def answer(self) -> str:
        """The text, once the connection has ended.

        `UnimplementedError` if the server does not allow the word, `ConnectionLoss` if the answer is empty.
        """
        text = b"".join(self._parts).decode("utf-8", "replace")
        if not text:
            text = f"the server hung up without an answer to {self.word.decode()}; it may not know this word"
            raise ConnectionLoss(text, sent=False)
        if text.rstrip().endswith(_REFUSED):
            raise UnimplementedError(f"the server may not answer {self.word.decode()} (4lw.commands.whitelist)")
        return text


def version_of(answer: str) -> Tuple[int, int, int]:
    """The version in the answer to srvr. Raises `ProtocolError`."""
    before, _, after = answer.partition(_VERSION)
    numbers = after[: len(after) - len(after.lstrip("0123456789."))].split(".")[:3]
    if before or len(numbers) < 3 or not all(0 < len(number) <= _DIGITS for number in numbers):
        raise ProtocolError(f"no version in the answer to srvr: {answer[:100]!r}")
    major, minor, patch = map(int, numbers)
    return major, minor, patch


class FourLetterCall:
    """One word to the server at this address of `host`, with TLS if there is an `ssl.SSLContext`, by `deadline`."""

    def __init__(self, host: Host, address: Address, context: Any, deadline: float) -> None:
        self._host, self._deadline = host, deadline
        self._error: Optional[ZookeeperError] = None
        self._socket: Optional[Socket] = None
        self._waker = Waker()
        self._waker.open()
        self._attempt = begin(Server(host, deadline), LookUp(host, [address]), context)

    def ask(self, question: Question) -> None:
        """Get the answer. Raises `OperationTimeoutError`, `ConnectionLoss`, `TLSError`, and the error of `give_up`."""
        try:
            sock = self._connect()
            if sock.send(question.word) != len(question.word):
                raise ConnectionError("the socket takes no four bytes")
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
            if monotonic() >= self._deadline:
                raise self._late() from None
            raise ConnectionLoss(f"{self._host}: {error}", sent=False) from None
        finally:
            self.close()

    def give_up(self, error: ZookeeperError) -> None:
        """Have the waiting `ask` raise this error; may be called on any thread."""
        self._error = error
        self._waker.wake()

    def close(self) -> None:
        """Close the socket."""
        self._attempt.give_up()
        if self._socket is not None:
            self._socket.close()
        self._waker.close()

    def _connect(self) -> Socket:
        while self._socket is None:
            self._socket = self._attempt.step(monotonic())
            if self._socket is None:
                self._wait(self._attempt.next_step, *self._attempt.waiting_for)
        return self._socket

    def _wait(self, until: float, *wanted: Tuple[int, int]) -> None:
        """Wait until one of these is ready, `until` has come, or `give_up` was called."""
        if self._error is None:
            wait_for(heard_within(max(0.0, until - monotonic())), (self._waker.fileno(), READ), *wanted)
            self._waker.drain()
        if self._error is not None:
            raise self._error
        if monotonic() >= self._deadline:
            raise self._late()

    def _late(self) -> OperationTimeoutError:
        error = OperationTimeoutError(f"{self._host}: no answer to a four-letter word in time")
        error.maybe_applied = False
        return error
