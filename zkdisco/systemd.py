"""What systemd is told of a service: that it is ready, that it stops, and a line on how it stands (`sd_notify`).

Owns the datagrams. Must not know what they are about. Where `NOTIFY_SOCKET` is not set, nothing is said to anybody.
"""

from __future__ import annotations

import os
import socket
from typing import Optional

#: The environment variable with the address of a socket; one that begins with "@" is an abstract one.
VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Tells `address`; None for nobody. Raises `ValueError` for an address that is of no known kind."""

    def __init__(self, address: Optional[str]) -> None:
        if address and address[0] not in "/@":
            raise ValueError(f"invalid {VARIABLE} {address!r}: a path, or @ and a name")
        self._address = address or None
        self._status = ""

    @classmethod
    def of_environment(cls) -> Notifier:
        """The one that systemd has asked for, if it has."""
        return cls(os.environ.get(VARIABLE))

    def tell(self, *lines: str) -> None:
        """Send these, as READY=1. Never blocks: `OSError` if it cannot be sent now."""
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode("utf-8", "surrogateescape"), os.fsencode(address))

    def status(self, text: str) -> None:
        """A line for people, as `systemctl status` shows it; sent when it is another one."""
        if text != self._status:
            self._status = text
            line = "".join(char if char.isprintable() else "?" for char in text)
            self.tell(f"STATUS={line}")
