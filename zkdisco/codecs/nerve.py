"""Airbnb's nerve, and synapse that reads it: JSON with host, port and more, in nodes of any name.

    Service("/nerve", "api", Instance("10.0.2.10", 80, "web-1", weight=2), codec="nerve")

nerve's "name" is an instance's `id`. `metadata` has "haproxy_server_options", text, and "labels", text by name; each
only if it is there.
"""

from __future__ import annotations

from typing import Any, Dict

from . import records
from .codec import Codec
from .instance import Instance

#: In the order in which nerve writes them.
FIELDS = ("host", "port", "name", "weight", "haproxy_server_options", "labels")


class Nerve(Codec[Instance]):
    """nerve's format. A weight is a whole number; without one it is 1, HAProxy's default."""

    name = "nerve"

    def decode(self, name: str, data: bytes) -> Instance:
        """The instance of a record. `ValueError` for one without host or port."""
        record = records.read(data)
        host, port = records.text(record, "host"), records.number(record, "port")
        weight = records.number(record, "weight")
        if not host or port is None:
            raise ValueError("a record without host or port")
        metadata: Dict[str, Any] = {}
        if records.text(record, "haproxy_server_options"):
            metadata["haproxy_server_options"] = record["haproxy_server_options"]
        if records.texts(record, "labels"):
            metadata["labels"] = records.texts(record, "labels")
        return Instance(
            host, port, records.text(record, "name") or name, weight=1.0 if weight is None else float(weight),
            metadata=metadata, raw=record, format=self.name,
        )  # fmt: skip

    def encode(self, instance: Instance) -> bytes:
        """The record, in the order of nerve's fields; what it does not know comes last."""
        if not isinstance(instance, Instance):
            raise TypeError(f"an instance of the format 'nerve' is an Instance, not {type(instance).__name__}")
        records.refuse(instance, self.name, "zone", "status")
        if instance.weight != int(instance.weight):
            raise ValueError(f"a weight of nerve is a whole number, not {instance.weight}")
        old = instance.raw if instance.format == self.name else {}
        metadata = dict(instance.metadata)
        record: Dict[str, Any] = dict.fromkeys(FIELDS)
        record.update(host=instance.host, port=instance.port)
        record["name"] = instance.id if instance.id and (old.get("name") or not old) else old.get("name")
        if instance.weight != 1 or old.get("weight") is not None:
            record["weight"] = int(instance.weight)
        options = records.text(metadata, "haproxy_server_options")
        labels = records.texts(metadata, "labels")
        same = options == records.text(old, "haproxy_server_options")
        record["haproxy_server_options"] = old.get("haproxy_server_options") if same else options
        record["labels"] = old.get("labels") if labels == records.texts(old, "labels") else labels
        unknown = set(metadata) - set(FIELDS[4:])
        if unknown:
            raise ValueError(f"no metadata of nerve: {', '.join(map(str, unknown))[:100]}")
        wanted = {key: value for key, value in record.items() if value is not None or key in old}
        return records.write({**wanted, **{key: value for key, value in old.items() if key not in record}})


#: The one instance there needs to be.
NERVE = Nerve()
