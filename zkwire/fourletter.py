"""Four-letter words: what may be asked of a server beside the protocol, and what its answer says.

Owns the list and the limits. Must not know sockets, clocks, or who asks. One connection takes one word, four bytes and
nothing else; the answer is text, and ends with the connection.
"""

from __future__ import annotations

import re
from typing import List, Tuple

from .errors import ConnectionLoss, FrameTooLargeError, ProtocolError, UnimplementedError

#: Those that only tell. None that resets counters (crst, srst) or takes an argument (gtmk, stmk).
WORDS = (
    b"conf", b"cons", b"dirs", b"dump", b"envi", b"isro", b"mntr", b"ruok", b"srvr", b"stat", b"wchc", b"wchp",
    b"wchs",
)  # fmt: skip
#: An answer is no longer, in bytes. (mntr of a server whose data have some hundred top-level names: more than 64 KiB.)
LIMIT = 1024 * 1024
#: Nor does it take longer, in seconds, unless the caller has more patience.
PATIENCE = 2.0
_REFUSED = "is not executed because it is not in the whitelist."  # NopCommand
#: With digits that make a number: int() refuses more than 4300 of them, with a ValueError.
_VERSION = re.compile(r"Zookeeper version: (\d{1,9})\.(\d{1,9})\.(\d{1,9})(?!\d)")


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

        `UnimplementedError` if the server is not allowed to tell, `ConnectionLoss` if it has said nothing.
        """
        text = b"".join(self._parts).decode("utf-8", "replace")
        if not text:
            text = f"the server hung up without an answer to {self.word.decode()}; perhaps it does not know it"
            raise ConnectionLoss(text, sent=False)
        if text.rstrip().endswith(_REFUSED):
            raise UnimplementedError(f"the server may not answer {self.word.decode()} (4lw.commands.whitelist)")
        return text


def version_of(answer: str) -> Tuple[int, int, int]:
    """The version in the answer to srvr. Raises `ProtocolError`."""
    found = _VERSION.match(answer)
    if found is None:
        raise ProtocolError(f"no version in the answer to srvr: {answer[:100]!r}")
    return int(found.group(1)), int(found.group(2)), int(found.group(3))
