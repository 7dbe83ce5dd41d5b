"""When a file is written, and when its command is run: at most every so often, and again after a failure.

Owns what is wanted, what is done, and how long to wait. Must not know files, processes, threads or clocks: `now` is in
seconds of any clock that only goes on.
"""

from __future__ import annotations

from typing import Optional

#: Seconds between a failure and the next attempt: the first time, and at most; each is twice the one before.
FIRST, LONGEST = 1.0, 30.0
WRITE, RUN = "write", "run"


class Schedule:
    """`every` are the seconds between two writes, at least; `commanded` says whether a command follows a change."""

    def __init__(self, every: float, commanded: bool) -> None:
        self._every, self._commanded = every, commanded
        self._wanted: Optional[str] = None
        self._written: Optional[str] = None
        self._next_write = 0.0
        self._next_run: Optional[float] = None
        self._failures = {WRITE: 0, RUN: 0}

    @property
    def wanted(self) -> str:
        """The text that is to be in the file."""
        return self._wanted or ""

    @property
    def settled(self) -> bool:
        """Whether all that is wanted is done."""
        return self._wanted is not None and self._written == self._wanted and self._next_run is None

    def want(self, text: str) -> None:
        """Have this text in the file."""
        self._wanted = text

    def again(self) -> None:
        """The file is not as it was left: it is to be written anew."""
        self._written = None

    def due(self, now: float) -> str:
        """What is to be done now, `WRITE` or `RUN`, or "" for nothing. A file is written before a command is run."""
        if self._wanted is not None and self._written != self._wanted:
            if now >= self._next_write:
                return WRITE
            return RUN if self._next_run is not None and now >= self._next_run and not self._failures[WRITE] else ""
        return RUN if self._next_run is not None and now >= self._next_run else ""

    def deadline(self) -> Optional[float]:
        """When to ask again; None while nothing is to be done before something else is wanted."""
        times = [] if self._next_run is None else [self._next_run]
        if self._wanted is not None and self._written != self._wanted:
            times.append(self._next_write)
        return min(times, default=None)

    def wrote(self, text: str, changed: bool, now: float) -> None:
        """The file holds this text; `changed` says whether a command has to follow."""
        self._written, self._failures[WRITE] = text, 0
        if changed:
            self._next_write = now + self._every
            self._next_run = now if self._commanded else None
            self._failures[RUN] = 0

    def owe(self, now: float) -> None:
        """A command has to be run, though the file is as it should be."""
        self._next_run = now if self._commanded else None

    def ran(self, well: bool, now: float) -> None:
        """The command has ended."""
        self._next_run = None if well else now + self._wait(RUN)
        if well:
            self._failures[RUN] = 0

    def not_written(self, now: float) -> None:
        """The file could not be written."""
        self._next_write = now + max(self._every, self._wait(WRITE))

    def _wait(self, what: str) -> float:
        self._failures[what] += 1
        return min(LONGEST, FIRST * 2.0 ** min(self._failures[what] - 1, 10))
