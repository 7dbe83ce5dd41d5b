"""Go kit's format, and that of whoever writes `host:port` as text: `sd/zk` hands its string to a factory as it is.

A scheme, user, path or query around the address, as in "http://10.0.0.1:80/api", are `metadata`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from .codec import Codec
from .instance import Instance, parse_address

#: Ports of the schemes that are written without one.
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class GoKit(Codec[Instance]):
    """Text with an address in it. `raw` is the text; it is what is written, as long as it has this address."""

    name = "gokit"

    def decode(self, name: str, data: bytes) -> Instance:
        """The instance at "host:port", or at a URL. `ValueError` for other text."""
        text = data.decode()
        return _read(text).but(id=name, raw=text, format=self.name)

    def encode(self, instance: Instance) -> bytes:
        """Its record, if that has the same address, or else "host:port"."""
        if not isinstance(instance, Instance):
            raise TypeError(f"an instance of the format 'gokit' is an Instance, not {type(instance).__name__}")
        if isinstance(instance.raw, str) and _read(instance.raw).address == instance.address:
            return instance.raw.encode()
        return instance.address.encode()


def _read(text: str) -> Instance:
    if "://" not in text:
        return parse_address(text)
    if not text.isprintable():
        raise ValueError(f"no URL: {text[:100]!r}")
    parts = urlsplit(text)
    scheme, found = parts.scheme, parse_address(parts.netloc.rpartition("@")[2], PORTS.get(parts.scheme))
    metadata = {"scheme": scheme, "path": parts.path, "query": parts.query}
    return found.but(metadata={key: value for key, value in metadata.items() if value})


#: The one instance there needs to be.
GOKIT = GoKit()
