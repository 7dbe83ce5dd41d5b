"""Sessions: ids, passwords, time-outs and when they end.

Owns which sessions exist and until when. Must not know connections (each session stores its own as an opaque value),
nodes or bytes. Times are seconds of the caller's clock.
"""

from __future__ import annotations

import hashlib
import math
from itertools import count
from typing import Dict, Generic, List, Optional, TypeVar

from .alarms import Alarms

L = TypeVar("L")


class ServerSession(Generic[L]):
    """One session. `link` is the connection that serves it, or None; `local` ones end with read-only mode."""

    __slots__ = ("id", "timeout_ms", "expires", "link", "local", "order")

    def __init__(self, id_: int, timeout_ms: int, local: bool) -> None:
        self.id, self.timeout_ms, self.local = id_, timeout_ms, local
        self.expires = 0.0
        self.order = 0
        self.link: Optional[L] = None


class Sessions(Generic[L]):
    """All sessions of a server. Expiry is checked once a tick, so a session lives up to one tick longer."""

    def __init__(self, seed: int, tick: float, least: float, most: float) -> None:
        self._secret = seed.to_bytes(8, "big")
        self._next = (seed << 24 & 0x00FFFFFFFFFFFFFF) | 1
        self._tick = tick
        self._least_ms, self._most_ms = round(least * 1000), round(most * 1000)
        self._by_id: Dict[int, ServerSession[L]] = {}
        self._order = count()
        #: When each session expires, those of the ensemble and local ones apart.
        self._ends: Dict[bool, Alarms[int]] = {False: Alarms(), True: Alarms()}

    def __len__(self) -> int:
        return len(self._by_id)

    def all(self) -> List[ServerSession[L]]:
        """All sessions, oldest first."""
        return list(self._by_id.values())

    def get(self, id_: int) -> Optional[ServerSession[L]]:
        """The session, or None."""
        return self._by_id.get(id_)

    def negotiate(self, asked_ms: int) -> int:
        """The time-out granted for the requested one."""
        return min(max(asked_ms, self._least_ms), self._most_ms)

    def create(self, timeout_ms: int, now: float, local: bool = False, id_: Optional[int] = None) -> ServerSession[L]:
        """A new session; `id_` is for a session that was made elsewhere."""
        if id_ is None:
            id_, self._next = self._next, self._next + 1
        session: ServerSession[L] = ServerSession(id_, timeout_ms, local)
        self.put(session, now)
        return session

    def put(self, session: ServerSession[L], now: float) -> None:
        """Add a session, whose time starts now."""
        self._by_id[session.id] = session
        session.order = next(self._order)
        self.touch(session, now)

    def password(self, id_: int) -> bytes:
        """The 16 bytes that prove the ownership of a session."""
        return hashlib.sha256(self._secret + id_.to_bytes(8, "big", signed=True)).digest()[:16]

    def touch(self, session: ServerSession[L], now: float) -> None:
        """The client of the session has sent something."""
        session.expires = (math.floor((now + session.timeout_ms / 1000) / self._tick) + 1) * self._tick
        self._ends[session.local].set(session.id, session.expires)

    def remove(self, session: ServerSession[L]) -> None:
        """Forget a session."""
        self._by_id.pop(session.id, None)
        self._ends[session.local].drop(session.id)

    def expired(self, now: float, local_only: bool) -> List[ServerSession[L]]:
        """The expired sessions, oldest first; `local_only` for a server that must not expire the others."""
        ids = [id_ for local, ends in self._ends.items() if local or not local_only for id_ in ends.due(now)]
        return sorted((self._by_id[id_] for id_ in ids), key=lambda one: one.order)

    def deadline(self, local_only: bool) -> Optional[float]:
        """When the next session may expire."""
        moments = [ends.next() for local, ends in self._ends.items() if local or not local_only]
        return min((moment for moment in moments if moment is not None), default=None)
