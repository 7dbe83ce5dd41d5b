"""An instance as all formats but plain text give it.

Owns the value and what makes it valid. Must not know formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Mapping, Optional

#: What says that an instance takes calls; "" where a format knows no status.
AVAILABLE = frozenset({"", "UP", "ALIVE", "ENABLED"})
_EMPTY: Mapping[str, Any] = {}
#: A name, an IPv4 address or an IPv6 address without brackets. Whatever could end a word, a line or a rule is no host.
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?|[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,16})?")


@dataclass(frozen=True)
class Instance:
    """Somebody who offers a service: at `host` (a name or an address, IPv6 without brackets) and `port` (0: none).

    `id` tells it from others of the service, and is what its node is called where the format has it so; "" lets the
    format choose one. `name` is the service's. `weight` is relative, 1.0 for an ordinary one. `zone` is where it is, as
    far as the format tells. `status` is the format's own word in upper case, as "UP" or "OUT_OF_SERVICE"; "" where it
    has none. `metadata` is what else the format tells, by name. `raw` is the record it was decoded from: what the codec
    does not know is there, and is written again when the instance is encoded. `format` is the name of the format it was
    decoded from, "" for one that was not: with `codec="auto"` it says what the node was taken for.

    Values are compared by all but `raw` and `format`. `ValueError` for a host, port or weight that cannot be one.
    """

    host: str
    port: int = 0
    id: str = ""
    name: str = ""
    weight: float = 1.0
    zone: str = ""
    status: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    raw: Any = field(default=None, compare=False, repr=False)
    format: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.host, str):
            raise TypeError(f"a host is a str, not {type(self.host).__name__}")
        if not _HOST.fullmatch(self.host):
            raise ValueError(f"no host name and no address: {self.host[:100]!r}")
        if isinstance(self.port, bool) or not isinstance(self.port, int):
            raise TypeError(f"a port is an int, not {type(self.port).__name__}")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"no port: {self.port}")
        if isinstance(self.weight, bool) or not isinstance(self.weight, (int, float)):
            raise TypeError(f"a weight is a number, not {type(self.weight).__name__}")
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"no weight: {self.weight}")
        for what in ("id", "name", "zone", "status", "format"):
            if not isinstance(getattr(self, what), str):
                raise TypeError(f"{what} is a str, not {type(getattr(self, what)).__name__}")

    def __hash__(self) -> int:
        return hash((self.host, self.port, self.id, self.name))

    def __str__(self) -> str:
        return self.address

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 address in brackets; without a port the host alone."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    @property
    def available(self) -> bool:
        """Whether its status says that it takes calls, or nothing."""
        return self.status in AVAILABLE

    def as_dict(self) -> Dict[str, Any]:
        """All but `raw`, by name, for JSON."""
        names = ("host", "port", "id", "name", "weight", "zone", "status", "metadata", "format")
        return {name: getattr(self, name) for name in names}

    def but(self, **changes: Any) -> Instance:
        """The same with other values, as `dataclasses.replace`; what its record has besides is kept."""
        return replace(self, **changes)


def parse_address(text: str, default_port: Optional[int] = None) -> Instance:
    """The instance at "host:port", "[::1]:80", or "host" alone if there is a default; `ValueError` otherwise."""
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?", text)
    if found is None or (found[3] is None and default_port is None):
        raise ValueError(f"no host:port: {text[:100]!r}")
    return Instance(found[1] or found[2], int(found[3]) if found[3] else default_port or 0)
