"""The ways in which bytes are spoiled.

Owns the mutations, of bytes and of streams of frames. Must not know what the bytes mean.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Callable, List, Sequence, Tuple

#: Lengths, counts, xids and codes at their worst.
EXTREMES = (-1, -2, 0, 1, 2**31 - 1, -(2**31), 0xFFFFF, 0x100000, 0x1000000, -115, -112, -4)
LONGEST_RANDOM = 64
#: As much as a repetition adds, at most, in bytes.
LONGEST = 60_000


def noise(rng: Random, size: int) -> bytes:
    """Random bytes."""
    return rng.getrandbits(8 * size).to_bytes(size, "big") if size else b""


def _flip(rng: Random, data: bytearray, other: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(rng: Random, data: bytearray, other: bytes) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _length(rng: Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    data[at : at + 4] = struct.pack(">i", rng.choice(EXTREMES))


def _cut(rng: Random, data: bytearray, other: bytes) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _insert(rng: Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = noise(rng, rng.randrange(1, 9))


def _remove(rng: Random, data: bytearray, other: bytes) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randrange(1, 9)]


def _splice(rng: Random, data: bytearray, other: bytes) -> None:
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]


def _repeat(rng: Random, data: bytearray, other: bytes) -> None:
    """Much of the same: what is small for each must be small for all together."""
    at = rng.randrange(len(data) + 1)
    piece = bytes(data[at : at + rng.choice((1, 4, 8, 16, 40))])
    if piece:
        data[at:at] = piece * (rng.choice((100, 1000, LONGEST)) // len(piece))


_MUTATIONS: Tuple[Callable[[Random, bytearray, bytes], None], ...] = (
    _flip, _flip, _byte, _length, _length, _cut, _insert, _remove, _splice,
)  # fmt: skip


def spoil(rng: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with something wrong; now and then, bytes of no origin."""
    if rng.random() < 0.1:
        return noise(rng, rng.randrange(LONGEST_RANDOM))
    data = bytearray(rng.choice(seeds))
    if rng.random() < 0.01:
        _repeat(rng, data, b"")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(_MUTATIONS)(rng, data, rng.choice(seeds))
    return bytes(data)


def spoil_frames(rng: Random, frames: List[bytes], others: Sequence[bytes]) -> List[bytes]:
    """A conversation with a frame swapped, doubled, dropped, replaced or spoiled, or with a stranger in it."""
    frames = list(frames)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(frames)) if frames else 0
        what = rng.randrange(6)
        if what == 0 and len(frames) > 1:
            second = rng.randrange(len(frames))
            frames[at], frames[second] = frames[second], frames[at]
        elif what == 1 and frames:
            frames.insert(at, frames[at])
        elif what == 2 and frames:
            del frames[at]
        elif what == 3:
            frames.insert(at, rng.choice(others))
        elif what == 4 and frames:  # whole, with its length right: its content is what is wrong
            body = spoil(rng, (frames[at][4:],))
            frames[at] = struct.pack(">i", len(body)) + body
        elif frames:
            frames[at] = spoil(rng, (frames[at],))
    return frames


def pieces(rng: Random, data: bytes) -> List[bytes]:
    """The bytes as they might arrive: at once, one by one, or in some pieces."""
    how = rng.randrange(4)
    if how == 0 and len(data) <= 200:
        return [data[i : i + 1] for i in range(len(data))]
    if how == 1 and data:
        cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randrange(1, 6)))
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)]) if a < b]
    return [data] if data else []
