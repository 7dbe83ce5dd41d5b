"""The files by which a probe sees how a process stands: one that is there while it is ready, one that says more.

Owns when they are written and removed. Must not know what is said in them. A reader finds a file whole or not at all:
it is written beside, and put in its place.
"""

from __future__ import annotations

import os
from typing import Callable, Optional

#: The health file is written anew after so many seconds, though nothing has changed: an older one is of a process that
#: stands still, or has been killed.
HEARTBEAT = 5.0


class ProbeFiles:
    """`ready` and `health` are paths or None; `complain(text)` is told, once, that one cannot be written."""

    def __init__(self, ready: Optional[str], health: Optional[str], complain: Callable[[str], object]) -> None:
        self._ready, self._health, self._complain = ready, health, complain
        self._is_ready: Optional[str] = None  # what the ready file says, if it is there
        self._told: object = None
        self._written_at: Optional[float] = None
        self._troubled = False

    @property
    def wanted(self) -> bool:
        """Whether there is any file to write."""
        return self._ready is not None or self._health is not None

    def begin(self) -> None:
        """Remove what a process that was killed has left. Raises `OSError` where such files cannot be written."""
        for path in (self._ready, self._health):
            if path is not None:
                _write(path, "")
                _remove(path)

    def show(self, ready: Optional[str], health: str, state: object, now: float) -> None:
        """`ready` is a line for the ready file, or None: it is not to be there.

        `health` is the line of the other file, written when `state` is another one, or the last time is long ago.
        """
        try:
            if self._ready is not None and ready != self._is_ready:
                _remove(self._ready) if ready is None else _write(self._ready, ready + "\n")
                self._is_ready = ready
            due = self._written_at is None or now - self._written_at >= HEARTBEAT
            if self._health is not None and (due or state != self._told):
                _write(self._health, health + "\n")
                self._told, self._written_at = state, now
        except OSError as error:
            if not self._troubled:
                self._complain(f"{type(error).__name__}: {error}")
            self._troubled = True
        else:
            self._troubled = False

    def end(self) -> None:
        """Remove them: nobody keeps them true any more."""
        for path in (self._ready, self._health):
            if path is not None:
                try:
                    _remove(path)
                except OSError as error:
                    self._complain(f"{type(error).__name__}: {error}")


def _write(path: str, text: str) -> None:
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(beside, path)
    except OSError:
        _remove(beside)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
