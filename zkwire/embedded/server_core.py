"""The server without I/O, complete: the core with its four-letter words, and the faults that tests switch.

Owns what is put together. Must not know sockets, threads or the time.
"""

from __future__ import annotations

from typing import Any, Optional

from .core import BareCore
from .faults import FaultsAt
from .fourletter import answer_word
from .link import ServerLink
from .ongoing import Ongoing


class ServerCore(BareCore):
    """One server with its data, without sockets, threads and clock; see `core`."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.ongoing = Ongoing(self)

    def faults(self, now: float) -> FaultsAt:
        """The switches, to be used at this moment: `core.faults(now).cut()`."""
        return FaultsAt(self, self.ongoing, now)

    def answer_word(self, word: bytes, link: ServerLink, now: float) -> Optional[str]:
        """The text for a connection that starts with this four-letter word; None if it is no such word."""
        return answer_word(self, word, link, now)
