"""A block of /etc/hosts: the addresses of a service below one name, between two lines that mark it.

What stands outside of the block belongs to others, and stays.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, List, Optional

from .entry import Entry
from .format import Choice, Format, address, host_name


class Hosts(Format):
    """A line for each address. Instances that say they take no calls are not there; names have no place in it."""

    name = "hosts"
    choices = {
        "host": Choice("$service", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"), "the name of a host, as api.internal"),
    }

    def __init__(self, service: str = "", path: str = "", settings: Any = None) -> None:
        super().__init__(service, path, settings)
        host_name(self.settings["host"])
        if not path.isascii() or not path.isprintable():
            raise ValueError(f"the path {path!r} cannot stand in a comment of a hosts file")
        self._begin, self._end = f"# zkdisco begin {path}", f"# zkdisco end {path}"

    def one(self, entry: Entry) -> str:
        """The address."""
        if entry.instance is None:
            raise ValueError(f"no address: {ascii(entry.text[:100])}")
        if not entry.instance.available:
            raise ValueError(f"its status is {entry.instance.status!r}")
        found = address(entry.instance.host)
        if found is None:
            raise ValueError(f"{entry.instance.host!r} is no IP address")
        return found

    def whole(self, ones: List[Any]) -> str:
        """The block. IPv4 comes first, in the order of the numbers."""
        found = sorted(map(ip_address, set(ones)), key=lambda one: (one.version, int(one)))
        lines = [self._begin, *(f"{one} {self.settings['host']}" for one in found), self._end]
        return "".join(line + "\n" for line in lines)

    def place(self, text: str, existing: Optional[str]) -> str:
        """The file with the block in its old place, or at the end. `ValueError` if it is not clear where it ends."""
        lines = (existing or "").split("\n")
        bare = [line.rstrip() for line in lines]
        begins, ends = bare.count(self._begin), bare.count(self._end)
        if (begins, ends) == (0, 0):
            before = existing or ""
            return before + ("\n" if before and not before.endswith("\n") else "") + text
        begin = bare.index(self._begin) if begins else 0
        end = bare.index(self._end) if ends else 0
        if (begins, ends) != (1, 1) or end < begin:
            raise ValueError(f"it is not clear where the block {self._begin!r} ends: there must be one, with its end")
        return "\n".join([*lines[:begin], *text.split("\n")[:-1], *lines[end + 1 :]])


FORMAT = Hosts
