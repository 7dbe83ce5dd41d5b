"""What the command line writes: lines on stdout, troubles on stderr.

Owns what becomes of a line that nobody takes: the reader has left, is slow for ever, or the disk is full. Must not know
what the lines are about.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any, Optional

from .signals import Signals


class Output:
    """The output of a run, which a signal stops at any moment.

    If the run is there for its output (`needed`), what cannot be written ends it: `BrokenPipeError`, or another
    `OSError`. If it is not, a line that cannot be written is left out.
    """

    def __init__(self, signals: Signals, needed: bool) -> None:
        self._signals, self._needed = signals, needed

    def line(self, text: str) -> None:
        """Write a line to stdout. Blocks while nobody reads; `Stopped` once a signal has come."""
        if sys.stdout is not None:
            self._write(text, sys.stdout, self._needed)
        elif self._needed:
            raise BrokenPipeError

    def trouble(self, what: object) -> None:
        """Write a line to stderr. Blocks as `line` does; nothing is there for its stderr."""
        if sys.stderr is not None:
            self._write(_trouble(what), sys.stderr, False)

    def _write(self, text: str, stream: Any, needed: bool) -> None:
        try:
            with self._signals.breaking():
                _write(text, stream)
        except OSError:
            if needed:
                raise


def last_line(text: str) -> None:
    """Write a line to stdout, if that is possible without waiting for a reader."""
    _write_at_once(text, sys.stdout)


def last_error(text: str) -> None:
    """Write a line to stderr as it is, if that is possible without waiting for a reader."""
    _write_at_once(text, sys.stderr)


def last_trouble(what: object, status: int) -> int:
    """Write a line to stderr, if that is possible without waiting for a reader; `status`, which tells the same."""
    _write_at_once(_trouble(what), sys.stderr)
    return status


def drop(stream: Any) -> None:
    """Who reads it has left: there is nobody to tell, and what others have left in its buffer need not be flushed."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def nobody_reads() -> bool:
    """Whether stdout is a pipe or a terminal that has ended."""
    if sys.stdout is None:
        return True
    flags = _poll(sys.stdout, 0)
    return flags is not None and bool(flags & (select.POLLERR | select.POLLHUP | select.POLLNVAL))


def printable(text: str) -> str:
    """`text` itself if it is plain and can be printed; otherwise a JSON string of ASCII, in quotes: always one line."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    plain = bool(text) and text.isprintable() and text == text.strip() and not text.startswith('"')
    try:
        text.encode(encoding)
    except UnicodeError:
        plain = False
    return text if plain else json.dumps(text)


def _trouble(what: object) -> str:
    return f"zkdisco: {printable(str(what))}"


def _write(text: str, stream: Any) -> None:
    """Past the buffer of `stream`: what a signal or an error leaves unwritten is gone, and not flushed at the end."""
    try:
        number = stream.fileno()
        if os.name == "nt" and stream.isatty():  # bytes would be shown in the code page of the console
            raise OSError
    except (AttributeError, OSError, ValueError):  # a replacement without a file below
        print(text, file=stream, flush=True)
        return
    data = (text + os.linesep).encode(stream.encoding, stream.errors)
    while data:
        data = data[os.write(number, data) :]


def _write_at_once(text: str, stream: Any) -> None:
    if stream is None or _poll(stream, getattr(select, "POLLOUT", 0)) == 0:
        return
    try:
        _write(text, stream)
    except OSError:
        pass  # the exit status tells


def _poll(stream: Any, wanted: int) -> Optional[int]:
    """What `poll` says of the stream now, or None where that is not known: no such call, or no file below."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), wanted)
        return sum(flags for _, flags in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return None
