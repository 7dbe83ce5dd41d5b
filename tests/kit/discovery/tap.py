"""What a client costs on the wire: the tap of a proxy that counts round trips and bytes.

Owns the count. Must not know what is asked.
"""

from __future__ import annotations

from typing import List, Tuple


class Tap:
    """Counts what comes down to one client, and when it sends."""

    def __init__(self) -> None:
        self.log: List[Tuple[str, int, int]] = []

    def __call__(self, direction: str, connection: int, data: bytes) -> None:
        self.log.append((direction, connection, len(data)))

    @property
    def connection(self) -> int:
        """The newest connection."""
        return max(number for _, number, _ in self.log)

    def round_trips(self) -> int:
        """How often the client sent something and then waited for something, on the newest connection."""
        ways = [direction for direction, number, _ in self.log if number == self.connection]
        return sum(pair == ("up", "down") for pair in zip(ways, ways[1:]))

    def bytes(self, direction: str) -> int:
        """How many there were in this direction, on the newest connection."""
        return sum(size for way, number, size in self.log if (way, number) == (direction, self.connection))

    def __str__(self) -> str:
        return f"{self.round_trips()} round trips, {self.bytes('up')} bytes up, {self.bytes('down')} down"


__all__ = ["Tap"]
