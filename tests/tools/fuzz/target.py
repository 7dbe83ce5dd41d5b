"""What a target of fuzzing is.

Owns the shape. Must not know any target.
"""

from __future__ import annotations

from random import Random
from typing import Any, Callable, NamedTuple, Tuple, Type

from zkwire.wire.messages import Scope

#: The longest frame a connection under test takes; a frame, and no more than a MiB besides, is what memory may hold.
MAX_FRAME = 64 * 1024
SCOPES = (None, Scope(""), Scope("/app"))


class Escape(Exception):
    """What should not have happened, in words."""


class Target(NamedTuple):
    """A decoder. `make(rng)` gives an input, `feed(rng, data)` consumes it; only `allowed` may come out."""

    name: str
    share: int
    make: Callable[[Random], bytes]
    feed: Callable[[Random, bytes], Any]
    allowed: Tuple[Type[Exception], ...]
    #: Called before each batch of inputs, with its number.
    begin: Callable[[int], Any] = lambda number: None
