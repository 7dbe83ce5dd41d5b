"""The ways in which bytes are spoiled before a decoder gets them, and hex as it stands in tests.

Random choices come from `random.Random(seed)`; `seeded` names the seed when a test fails.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Iterator
from typing import Any, Callable

from zkwire.errors import MarshallingError

#: ``ZKWIRE_SEED=n`` repeats a failed run, or tries another than the usual one.
SEED = int(os.environ.get("ZKWIRE_SEED", "20240229"))

#: Bytes that make the worst lengths, counts and flags.
_NASTY = (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFE, 0xFF)


def unhex(*lines: str) -> bytes:
    """The bytes of lines of hex digits; what follows a '#' is their meaning."""
    return bytes.fromhex("".join(re.sub(r"#.*|\s", "", line) for text in lines for line in text.splitlines()))


@contextlib.contextmanager
def seeded(seed: int = SEED) -> Iterator[random.Random]:
    """A random source; if the block fails, the seed is printed beside the failure."""
    try:
        yield random.Random(seed)
    except BaseException:
        print(f"ZKWIRE_SEED={seed}")
        raise


def truncations(data: bytes) -> Iterator[bytes]:
    """`data` cut at every byte, the empty bytes first, the whole not included."""
    for length in range(len(data)):
        yield data[:length]


def mutations(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """`count` copies of `data`, each with one byte replaced."""
    for _ in range(count if data else 0):
        spoiled = bytearray(data)
        spoiled[rng.randrange(len(data))] = rng.choice(_NASTY) if rng.random() < 0.5 else rng.randrange(256)
        yield bytes(spoiled)


def outcome(read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` returns, or the `MarshallingError` it raises; anything else it raises goes through."""
    try:
        return read(*arguments)
    except MarshallingError as error:
        return error


def refuses(read: Callable[..., Any], *arguments: Any) -> bool:
    """Whether `read` raises `MarshallingError`."""
    return isinstance(outcome(read, *arguments), MarshallingError)
