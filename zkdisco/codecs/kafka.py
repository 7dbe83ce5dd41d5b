"""Kafka's brokers, as those that use ZooKeeper register below /brokers/ids; read only.

The id is the broker's number, `zone` its rack. The address is that of the PLAINTEXT listener if there is one,
otherwise of the first listener; all of them are in `metadata["endpoints"]`, by the listener's name. What else the
record has is in `metadata` as it is.
"""

from __future__ import annotations

from typing import Any, Dict

from . import records
from .codec import Codec, Naming
from .instance import Instance, parse_address

KEPT = ("listener_security_protocol_map", "jmx_port", "timestamp", "version", "features", "tags")


class Numbers(Naming):
    """Only nodes that are called as a number are brokers."""

    def accepts(self, name: str) -> bool:
        """Whether it is decimal digits."""
        return name.isascii() and name.isdecimal() and len(name) < 20


class Kafka(Codec[Instance]):
    """Kafka's format, of all its versions."""

    name = "kafka"
    naming = Numbers()

    def decode(self, name: str, data: bytes) -> Instance:
        """The broker of a record. `ValueError` for one without an address."""
        record = records.read(data)
        if records.number(record, "version") is None:
            raise ValueError("no broker: the record has no version")
        listeners = record.get("endpoints")
        if not isinstance(listeners, (list, type(None))):
            raise ValueError("endpoints is no array")
        endpoints: Dict[str, str] = {}
        for listener in listeners or ():
            if not isinstance(listener, str):
                raise ValueError("an endpoint is no text")
            word, found, address = listener.partition("://")
            if not found or not word.isprintable() or word in endpoints:
                raise ValueError(f"no endpoint: {listener[:100]!r}")
            endpoints[word] = parse_address(address).address
        host, port = records.text(record, "host"), records.number(record, "port")
        if not host or port is None or port < 1:  # no listener is PLAINTEXT: host is null, and port -1
            if not endpoints:
                raise ValueError("a broker without an address")
            first = parse_address(next(iter(endpoints.values())), 0)
            host, port = first.host, first.port
        metadata: Dict[str, Any] = {"endpoints": endpoints} if endpoints else {}
        metadata.update((key, record[key]) for key in KEPT if key in record)
        return Instance(
            host, port, name, zone=records.text(record, "rack"), metadata=metadata, raw=record, format=self.name
        )


#: The one instance there needs to be.
KAFKA = Kafka()
