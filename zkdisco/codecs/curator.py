"""Apache Curator's service discovery (x-discovery): the JSON of a `ServiceInstance`, in a node called as its id.

    Service("/services", "api", Instance("10.0.2.10", 80, metadata={"zone": "a"}), codec="curator")
    Curator(payload_class="com.example.Details")            # for readers in Java that want a class of their own

The payload is `metadata`: an object as it is, without the `@class` that Java writes into it; anything else under the
name "payload". What there is besides (`sslPort`, `uriSpec`, `registrationTimeUTC`, `serviceType`) is in `raw`.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional

from . import records
from .codec import Codec, Naming
from .instance import Instance

#: The fields, in the order in which Curator 5 writes them, and what they are if nothing is said.
FIELDS: Dict[str, Any] = {
    "name": "", "id": "", "address": None, "port": None, "sslPort": None, "payload": None, "registrationTimeUTC": 0,
    "serviceType": "DYNAMIC", "uriSpec": None,
}  # fmt: skip
SERVICE_TYPES = ("DYNAMIC", "STATIC", "PERMANENT", "DYNAMIC_SEQUENTIAL")
#: What `enabled` is as a status. Curator itself leaves it out unless it is told not to; then nothing is said.
ENABLED = {"": None, "ENABLED": True, "DISABLED": False}
_CLASS = re.compile(r"(?:[A-Za-z_$][\w$]{0,99}\.){0,20}[A-Za-z_$][\w$]{0,99}", re.ASCII)


class ById(Naming):
    """The node of an instance is called as its id."""

    def node_name(self, instance: Any) -> Optional[str]:
        """The id; `ValueError` for an instance without one."""
        if not instance.id:
            raise ValueError("an instance needs an id, which its node is called by")
        return str(instance.id)


class Curator(Codec[Instance]):
    """Curator's format. `payload_class` is the `@class` that is written into a payload, the name of a Java class.

    An instance whose address or port Curator knows as null cannot be called: without an address it is refused, without
    a port its port is that of SSL, or 0. `status` is "ENABLED" or "DISABLED" where the record says so.
    """

    name = "curator"
    naming = ById()

    def __init__(self, payload_class: Optional[str] = None) -> None:
        if payload_class is not None and not _CLASS.fullmatch(payload_class):
            raise ValueError(f"no name of a Java class: {payload_class!r}")
        self.payload_class = payload_class

    def decode(self, name: str, data: bytes) -> Instance:
        """The instance of a record. `ValueError` for what Curator cannot read either, or without an address."""
        return self.instance_of(records.read(data))

    def instance_of(self, record: Dict[str, Any]) -> Instance:
        """The instance of a record that is no longer text, as `decode`."""
        if not isinstance(record.get("name"), str) or not isinstance(record.get("id"), str):
            raise ValueError("no ServiceInstance: it has no name or no id")
        address = records.text(record, "address")
        port, ssl = records.number(record, "port"), records.number(record, "sslPort")
        records.number(record, "registrationTimeUTC")
        if record.get("serviceType", "DYNAMIC") not in SERVICE_TYPES:
            raise ValueError(f"no service type: {str(record['serviceType'])[:100]}")
        status = next((word for word, value in ENABLED.items() if value is record.get("enabled")), None)
        if status is None:
            raise ValueError("enabled is neither true nor false")
        if not address:
            raise ValueError("an instance without an address")
        parts_of(record)
        found = Instance(
            address, port if port is not None else ssl or 0, record["id"], record["name"], status=status, raw=record,
            format=self.name,
        )  # fmt: skip
        return self.with_payload(found, record.get("payload"))

    def complete(self, instance: Instance) -> Instance:
        """With an id, a random uuid unless it has one, and the time of its registration, which is now."""
        _check(instance, self.name)
        raw = dict(instance.raw) if instance.format == self.name else {**FIELDS, "uriSpec": self.default_uri_spec()}
        if not raw.get("registrationTimeUTC"):
            raw["registrationTimeUTC"] = int(datetime.now(timezone.utc).timestamp() * 1000)
        return instance.but(id=instance.id or self.new_id(instance), raw=raw, format=self.name)

    def encode(self, instance: Instance) -> bytes:
        """The record, byte by byte as Curator 5 writes it; what it did not know comes last.

        `ValueError` for another type than DYNAMIC: our node goes with our session, and theirs would not.
        """
        _check(instance, self.name)
        old = instance.raw if instance.format == self.name else {}
        record = {name: old.get(name, default) for name, default in FIELDS.items()}
        if record["serviceType"] != "DYNAMIC":
            raise ValueError(f"a node of ours is DYNAMIC, not {record['serviceType']}: it goes with its session")
        if not instance.id:
            raise ValueError("an instance needs an id")
        record.update(name=instance.name, id=instance.id, address=instance.host)
        if record["port"] is not None or instance.port != (record["sslPort"] or 0):
            record["port"] = instance.port
        record["payload"] = self.payload_of(instance, old.get("payload"))
        record.update((name, value) for name, value in old.items() if name not in record)
        self.write_status(instance, record)
        return records.write(record)

    # --------------------------------------------- what formats on top of this one do otherwise

    def new_id(self, instance: Instance) -> str:
        """The id of an instance that has none."""
        return str(uuid.uuid4())

    def default_uri_spec(self) -> Any:
        """That of an instance for which nothing is said."""
        return None

    def with_payload(self, instance: Instance, payload: Any) -> Instance:
        """The instance, with what its payload says."""
        return instance.but(metadata=_metadata(payload))

    def payload_of(self, instance: Instance, old: Any) -> Any:
        """The payload that is to be written for the instance; `old` is that of its record, if it has one."""
        records.refuse(instance, self.name, "weight", "zone")
        metadata = dict(instance.metadata)
        wanted = self.payload_class
        kept = old.get("@class") if isinstance(old, dict) else None
        if records.same(_metadata(old), metadata) and wanted in (None, kept):
            return old
        if "@class" in metadata:
            raise ValueError("@class is no metadata: Curator(payload_class=...) writes it")
        if not metadata and wanted is None:
            return None
        if list(metadata) == ["payload"] and not isinstance(metadata["payload"], dict) and wanted is None:
            value = metadata["payload"]
            return ["java.util.ArrayList", value] if isinstance(value, list) else value
        named = wanted or kept
        return {"@class": named, **metadata} if named else metadata

    def write_status(self, instance: Instance, record: Dict[str, Any]) -> None:
        """Write the instance's status into the record."""
        if instance.status not in ENABLED:
            raise ValueError(f"no status of the format {self.name!r}: {instance.status[:100]!r}")
        enabled = ENABLED[instance.status]
        if record.get("enabled") is not enabled:
            record["enabled"] = enabled


def uri_spec(template: str) -> Dict[str, Any]:
    """Curator's `UriSpec` of a template, as "{scheme}://{address}:{port}/{name}": what a record has as `uriSpec`."""
    parts: List[Dict[str, Any]] = []
    for literal, variable in re.findall(r"([^{}]+)|\{([^{}]+)\}", template):
        parts.append({"value": literal or variable.strip(), "variable": bool(variable)})
    if "".join(_spelt(part) for part in parts) != re.sub(r"\{\s*([^{}]*?)\s*\}", r"{\1}", template):
        raise ValueError(f"no template of a URL: {template[:100]!r}")
    return {"parts": parts}


def url(instance: Instance, variables: Optional[Mapping[str, str]] = None) -> str:
    """The URL of an instance of Curator, Spring Cloud or Dubbo by its `uriSpec`; "" if it has none.

    `variables` stand for what a template names besides: scheme (otherwise "https" if there is a port for SSL, or else
    "http"), or names of your own. `ValueError` for a name that nothing is known for, and for what can be no URL.
    """
    record = instance.raw if isinstance(instance.raw, dict) else {}
    host = f"[{instance.host}]" if ":" in instance.host else instance.host
    known = {
        "scheme": "http" if record.get("sslPort") is None else "https", "name": instance.name, "id": instance.id,
        "address": host, "port": record.get("port", instance.port), "ssl-port": record.get("sslPort"),
        "registration-time-utc": record.get("registrationTimeUTC"), "service-type": record.get("serviceType"),
        "[": "{", "]": "}", **(variables or {}),
    }  # fmt: skip
    built = []
    for part in parts_of(record):
        value = known.get(part["value"]) if part["variable"] else part["value"]
        if value is None:
            raise ValueError(f"nothing is known for {{{part['value'][:100]}}}")
        built.append(str(value))
    found = "".join(built)
    if not found.isprintable() or " " in found:
        raise ValueError(f"no URL: {found[:100]!r}")
    return found


def parts_of(record: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """The parts of a record's `uriSpec`; `ValueError` if they are none."""
    parts = records.mapping(record, "uriSpec").get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError("uriSpec has no list of parts")
    for part in parts:
        if not isinstance(part.get("value"), str) or not isinstance(part.get("variable", False), bool):
            raise ValueError("a part of uriSpec has no value")
    return [{"value": part["value"], "variable": part.get("variable", False)} for part in parts]


def _spelt(part: Mapping[str, Any]) -> str:
    return f"{{{part['value']}}}" if part["variable"] else str(part["value"])


def _metadata(payload: Any) -> Dict[str, Any]:
    """A payload by name, without what Java's readers need to make objects of it."""
    if payload is None:
        return {}
    if isinstance(payload, dict):
        if not isinstance(payload.get("@class", ""), str):
            raise ValueError("@class of the payload is no text")
        return {name: value for name, value in payload.items() if name != "@class"}
    if isinstance(payload, list) and len(payload) == 2 and isinstance(payload[0], str) and "." in payload[0]:
        payload = payload[1] if _CLASS.fullmatch(payload[0]) else payload  # Java writes the class of a list before it
    return {"payload": payload}


def _check(instance: Any, name: str) -> None:
    if not isinstance(instance, Instance):
        raise TypeError(f"an instance of the format {name!r} is an Instance, not {type(instance).__name__}")


#: The one instance there needs to be; one with another `payload_class` is another.
CURATOR = Curator()
