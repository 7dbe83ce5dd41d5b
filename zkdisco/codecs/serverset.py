"""Serversets, as Finagle and Aurora keep them: a node `member_...` with the endpoints of an instance as JSON.

    Service("/discovery/prod", "api", Instance("10.0.2.10", 80, metadata={"shard": 3}), codec="serverset")

`metadata` has "shard", a whole number, and "additionalEndpoints", by name an object of host and port; each only if it
is there. Weights are in other nodes (`vector_...`), which are no instances.
"""

from __future__ import annotations

import uuid
from typing import Any, Dict, Mapping, Optional

from . import records
from .codec import Codec, Naming
from .instance import Instance

PREFIX = "member_"
FIELDS = ("serviceEndpoint", "additionalEndpoints", "status", "shard")


class Members(Naming):
    """Only nodes whose name begins with `member_` are instances, as for all readers of serversets."""

    def accepts(self, name: str) -> bool:
        """Whether it begins so."""
        return name.startswith(PREFIX)

    def node_name(self, instance: Any) -> Optional[str]:
        """The instance's id; `ValueError` if it does not begin so."""
        if not instance.id.startswith(PREFIX):
            raise ValueError(f"the id of a member begins with {PREFIX!r}, unlike {instance.id[:100]!r}")
        return str(instance.id)


class Serverset(Codec[Instance]):
    """The format of serversets. `id` is the name of the node, `member_` and 32 hex digits for one of ours."""

    name = "serverset"
    naming = Members()

    def decode(self, name: str, data: bytes) -> Instance:
        """The instance at the service endpoint. `ValueError` for a record without one."""
        record = records.read(data)
        host, port = _endpoint(record, "serviceEndpoint")
        metadata: Dict[str, Any] = {}
        if records.number(record, "shard") is not None:
            metadata["shard"] = record["shard"]
        more = records.mapping(record, "additionalEndpoints")
        if more:
            metadata["additionalEndpoints"] = {key: dict(zip(("host", "port"), _endpoint(more, key))) for key in more}
        status = records.text(record, "status").upper()
        return Instance(host, port, name, status=status, metadata=metadata, raw=record, format=self.name)

    def complete(self, instance: Instance) -> Instance:
        """With the name of a member as its id, and the status "ALIVE" unless it has another."""
        _check(instance)
        id = instance.id or uuid.uuid4().hex
        return instance.but(id=id if id.startswith(PREFIX) else PREFIX + id, status=instance.status or "ALIVE")

    def encode(self, instance: Instance) -> bytes:
        """The record, in the order of Finagle's fields; what they do not know comes last."""
        _check(instance)
        records.refuse(instance, self.name, "weight", "zone")
        old = instance.raw if instance.format == self.name else {}
        metadata = dict(instance.metadata)
        more, shard = metadata.pop("additionalEndpoints", {}), metadata.pop("shard", None)
        if metadata:
            raise ValueError(f"no metadata of a serverset: {', '.join(map(str, metadata))[:100]}")
        record: Dict[str, Any] = dict.fromkeys(FIELDS)
        record["serviceEndpoint"] = _joined(old.get("serviceEndpoint"), instance.host, instance.port)
        known = records.mapping(old, "additionalEndpoints")
        record["additionalEndpoints"] = {
            key: _joined(known.get(key), *_endpoint(more, key)) for key in records.mapping({"": more}, "")
        }
        same = records.text(old, "status").upper() == instance.status.upper()
        record["status"] = old.get("status") if same else instance.status.upper()
        if records.number({"shard": shard}, "shard") is not None:
            record["shard"] = shard
        wanted = {key: value for key, value in record.items() if value is not None or key in old}
        return records.write({**wanted, **{key: value for key, value in old.items() if key not in record}})


def _endpoint(record: Mapping[str, Any], key: str) -> Any:
    """Host and port; an `Instance` says whether they can be that."""
    found = records.mapping(record, key)
    host, port = records.text(found, "host"), records.number(found, "port")
    if not host:
        raise ValueError(f"{key} has no host")
    checked = Instance(host, port or 0)
    return checked.host, checked.port


def _joined(old: Any, host: str, port: int) -> Dict[str, Any]:
    found = dict(old) if isinstance(old, dict) else {"host": host, "port": port}
    found["host"] = host
    if found.get("port") is not None or port:
        found["port"] = port
    return found


def _check(instance: Any) -> None:
    if not isinstance(instance, Instance):
        raise TypeError(f"an instance of the format 'serverset' is an Instance, not {type(instance).__name__}")


#: The one instance there needs to be.
SERVERSET = Serverset()
