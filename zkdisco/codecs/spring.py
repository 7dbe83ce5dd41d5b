"""Spring Cloud ZooKeeper: Curator's record with a `ZookeeperInstance` as its payload, by default below /services.

    Service("/services", "payments", Instance("10.0.2.10", 80, metadata={"version": "7"}), codec="spring")

`metadata` is that of the `ZookeeperInstance`, text by name. Three of its entries have places of their own: `status` is
"instance_status" ("UP", "OUT_OF_SERVICE"), `zone` and `weight` are those that Spring Cloud's load balancer looks for.
"""

from __future__ import annotations

from typing import Any, Dict

from . import records
from .curator import Curator, uri_spec
from .instance import Instance

PAYLOAD_CLASS = "org.springframework.cloud.zookeeper.discovery.ZookeeperInstance"
URI_SPEC = "{scheme}://{address}:{port}"
STATUS = "instance_status"


class Spring(Curator):
    """Spring Cloud's format."""

    name = "spring"

    def __init__(self) -> None:
        super().__init__(PAYLOAD_CLASS)

    def default_uri_spec(self) -> Any:
        """As Spring Cloud's own."""
        return uri_spec(URI_SPEC)

    def with_payload(self, instance: Instance, payload: Any) -> Instance:
        """`ValueError` for a payload of another class, which Spring Cloud's reader does not take."""
        metadata = payload_metadata(payload, PAYLOAD_CLASS)
        status, zone = metadata.pop(STATUS, ""), metadata.pop("zone", "")
        weight = metadata.get("weight", "")
        if weight.isdecimal() and weight.isascii() and len(weight) < 10:
            del metadata["weight"]
        return instance.but(
            status=status.upper() or instance.status, zone=zone, metadata=metadata,
            weight=1.0 if "weight" in metadata or not weight else float(weight),
        )  # fmt: skip

    def payload_of(self, instance: Instance, old: Any) -> Any:
        """A `ZookeeperInstance`, with what else is in the old one."""
        if instance.weight != int(instance.weight):
            raise ValueError(f"a weight of Spring Cloud is a whole number, not {instance.weight}")
        metadata = text_metadata(instance)
        known = records.texts(old, "metadata") if isinstance(old, dict) else {}
        places = {STATUS: instance.status, "zone": instance.zone, "weight": f"{instance.weight:.0f}"}
        for name, value in places.items():
            if name in metadata:
                if name == "weight" and instance.weight == 1 and not metadata[name].isdecimal():
                    continue  # no number: it is kept as it is
                raise ValueError(f"{name!r} is no metadata: it has a place of its own")
            if known.get(name, "").upper() == value.upper():
                value = known.get(name, "")
            if name in known or value != ("1" if name == "weight" else ""):
                metadata[name] = value
        ordered = {name: metadata.pop(name) for name in known if name in metadata}
        return zookeeper_instance(PAYLOAD_CLASS, old, instance.id, instance.name, {**ordered, **metadata})

    def write_status(self, instance: Instance, record: Dict[str, Any]) -> None:
        """It is in the payload."""


def payload_metadata(payload: Any, wanted: str) -> Dict[str, str]:
    """The metadata of a `ZookeeperInstance`; `ValueError` if the payload is no such thing. No payload has none."""
    if payload is None:
        return {}
    if not isinstance(payload, dict) or payload.get("@class") != wanted:
        raise ValueError(f"the payload is no {wanted}")
    records.text(payload, "id"), records.text(payload, "name")
    return records.texts(payload, "metadata")


def text_metadata(instance: Instance) -> Dict[str, str]:
    """The instance's metadata, in which all is text; otherwise `ValueError`."""
    for name, value in instance.metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"metadata is text by name, not {name!r}: {str(value)[:100]}")
    return dict(instance.metadata)


def zookeeper_instance(payload_class: str, old: Any, id: Any, name: str, metadata: Dict[str, str]) -> Dict[str, Any]:
    """The payload, in the order in which Java writes it."""
    kept = dict(old) if isinstance(old, dict) else {}
    for key in ("@class", "metadata"):
        kept.pop(key, None)
    first = {"@class": payload_class, "id": kept.pop("id", id), "name": kept.pop("name", name), "metadata": metadata}
    return {**first, **kept}


#: The one instance there needs to be.
SPRING = Spring()
