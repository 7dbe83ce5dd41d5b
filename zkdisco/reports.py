"""How a client of discovery stands, as values to print, to log, or to answer a probe with.

Owns their fields and their text. Must not know who makes them. Nothing in them is secret: neither credentials nor
session passwords, nor what nodes hold.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Dict, NamedTuple, Optional, Tuple


class RegistrationReport(NamedTuple):
    """How a registration stands: `node` is the path of our node or None, `error` the newest trouble or None.

    `since` is when that came to be so, as `time.time()` has it. `directory` is where our node is to be.
    """

    directory: str
    node: Optional[str]
    error: Optional[Exception]
    since: float

    @property
    def ok(self) -> bool:
        """Whether our node is there, as far as is known, and nothing is wrong."""
        return self.node is not None and self.error is None

    def as_dict(self) -> Dict[str, Any]:
        """The same for JSON: times as ISO 8601 in UTC, errors as text."""
        error, since = _text(self.error), iso_time(self.since)
        return {"directory": self.directory, "node": self.node, "error": error, "since": since}

    def __str__(self) -> str:
        state = f"registered as {self.node}" if self.node is not None else "not registered"
        return _line(f"{self.directory}: {state} since {iso_time(self.since)}", self.error)


class InstancerReport(NamedTuple):
    """How an instancer stands: the number of its instances, and the trouble there is with them, or None.

    `age` is how long they may have been out of date, in seconds; 0.0 if they are not.
    """

    directory: str
    size: int
    age: float
    error: Optional[Exception]

    @property
    def ok(self) -> bool:
        """Whether the set is known to be that of the moment; some children may be left out of it (`error`)."""
        return self.age == 0.0

    def as_dict(self) -> Dict[str, Any]:
        """The same for JSON."""
        age = round(self.age, 3)
        return {"directory": self.directory, "size": self.size, "age": age, "error": _text(self.error)}

    def __str__(self) -> str:
        old = f", {self.age:.1f} s old" if self.age else ""
        return _line(f"{self.directory}: {self.size} instance{'s' * (self.size != 1)}{old}", self.error)


class ClientReport(NamedTuple):
    """How a client stands, and all that it looks after.

    `state` is CONNECTED, SUSPENDED or LOST, `session_id` that of the newest session or None, `error` why there will
    never be one again, or None.
    """

    state: str
    session_id: Optional[int]
    error: Optional[Exception]
    registrations: Tuple[RegistrationReport, ...]
    instancers: Tuple[InstancerReport, ...]

    @property
    def ok(self) -> bool:
        """Whether there is a connection, every registration stands, and every set is that of the moment."""
        return self.state == "CONNECTED" and all(one.ok for one in self.registrations + self.instancers)

    def as_dict(self) -> Dict[str, Any]:
        """The same for JSON, with `ok`; the session's id as servers log it."""
        return {
            "ok": self.ok, "state": self.state, "session_id": _hex(self.session_id), "error": _text(self.error),
            "registrations": [one.as_dict() for one in self.registrations],
            "instancers": [one.as_dict() for one in self.instancers],
        }  # fmt: skip

    def __str__(self) -> str:
        head = _line(f"{self.state}, session {_hex(self.session_id) or 'none'}", self.error)
        return "\n".join([head, *map(str, self.registrations), *map(str, self.instancers)])


def _hex(session_id: Optional[int]) -> Optional[str]:
    return None if session_id is None else f"0x{session_id & 0xFFFFFFFFFFFFFFFF:x}"


def _text(error: Optional[Exception]) -> Optional[str]:
    return None if error is None else f"{type(error).__name__}: {error}"


def iso_time(seconds: float) -> str:
    """What `time.time()` has given, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def _line(text: str, error: Optional[Exception]) -> str:
    """One line, whatever paths and errors hold."""
    whole = text if error is None else f"{text}: {_text(error)}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in whole)
