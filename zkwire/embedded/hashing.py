"""The hash codes of Java, which decide the order in which its sets and maps are read."""

from __future__ import annotations

import struct


def string_hash(text: str) -> int:
    """String.hashCode, as 32 bits without a sign."""
    value = 0
    if text.isascii():
        for unit in text.encode():
            value = value * 31 + unit & 0xFFFFFFFF
        return value
    for (unit,) in struct.iter_unpack(">H", text.encode("utf-16-be", "surrogatepass")):
        value = value * 31 + unit & 0xFFFFFFFF
    return value


def spread(value: int) -> int:
    """The hash code as HashMap and ConcurrentHashMap use it: the lower bits choose the place in the table."""
    return value ^ value >> 16
