"""The identities a user has added to a session with `add_auth`.

Owns which there are, which the server has accepted on this connection, and who waits to hear that. They are sent on
every connection, in the order they were added. Must not know connections.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Optional

from .ops import Auth


class Identity:
    """One identity; `tokens` wait for the server's word, since `since` (seconds)."""

    def __init__(self, op: Auth, since: float) -> None:
        self.op, self.since = op, since
        self.asked = self.proven = False  # on this connection
        self.tokens: List[Any] = []


class Identities:
    """All of them, in order."""

    def __init__(self) -> None:
        self._all: List[Identity] = []

    def __iter__(self) -> Iterator[Identity]:
        return iter(self._all)

    def add(self, op: Auth, token: Any, now: float) -> Identity:
        """Add one, or find it if it is there already; `token` (None: nobody) waits unless it is proven."""
        known = next((i for i in self._all if i.op == op), None)
        if known is None:
            known = Identity(op, now)
            self._all.append(known)
        if token is not None and not known.proven:
            known.since = now
            known.tokens.append(token)
        return known

    def disconnected(self) -> None:
        """The next connection knows none of them."""
        for identity in self._all:
            identity.asked = identity.proven = False

    def abandon(self, token: Any) -> None:
        """Nobody waits for `token` any more; the identity itself stays."""
        for identity in self._all:
            if token in identity.tokens:
                identity.tokens.remove(token)

    def waiting_since(self) -> Optional[float]:
        """Since when the one who waits longest has waited; None if nobody does."""
        return min((i.since for i in self._all if i.tokens), default=None)

    def take_waiting(self, until: Optional[float] = None) -> List[Any]:
        """The tokens that have waited since `until` or longer (None: all of them), which wait no more."""
        taken: List[Any] = []
        for identity in self._all:
            if until is None or identity.since <= until:
                taken += identity.tokens
                identity.tokens = []
        return taken
