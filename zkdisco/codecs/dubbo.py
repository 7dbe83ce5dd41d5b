"""Apache Dubbo, in both of its ways: a provider's URL as the name of a node, or an application's record as Curator's.

    orders = Instance("10.0.2.10", 20880, name="com.example.Orders")
    Service("/dubbo/com.example.Orders", "providers", orders, codec="dubbo")
    Service("/services", "orders", Instance("10.0.2.10", 20880, metadata={...}), codec="dubbo-app")

Of a URL, `metadata` has "protocol", "path" (the interface) and "parameters", text by name. Of an application's record,
`metadata` is that of its payload: "dubbo.endpoints", "dubbo.metadata.revision" and so on.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Optional
from urllib.parse import quote_plus, unquote_plus

from . import records
from .codec import Codec, Naming
from .curator import Curator
from .instance import Instance, parse_address
from .spring import payload_metadata, text_metadata, zookeeper_instance

PAYLOAD_CLASS = "org.apache.dubbo.registry.zookeeper.ZookeeperInstance"
#: What stands for "://" in a name.
SEPARATOR = "%3A%2F%2F"
#: What is kept beside providers, or stands for none of them: it is no instance.
NO_PROVIDERS = frozenset({"empty", "override", "route", "condition", "script", "tag", "consumer", "admin"})
#: The weight of a provider that says nothing of one, which is 1.0 here.
WEIGHT = 100
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,63}")


class Urls(Naming):
    """Only names that are URLs, percent-encoded, are providers."""

    def accepts(self, name: str) -> bool:
        """Whether "://" is in it, encoded."""
        return SEPARATOR in name.upper()

    def node_name(self, instance: Any) -> Optional[str]:
        """The URL of the instance, encoded as Java does it. `ValueError` for metadata that make none."""
        old = instance.raw if instance.format == DUBBO.name else None
        if isinstance(old, str):
            known = read_url(old)
            if known == instance.but(id=known.id):
                return old
        return encoded(_url(instance))


class Dubbo(Codec[Instance]):
    """Dubbo's providers by interface. The id is the name of the node.

    A parameter `weight` is the instance's, of which 100 is 1.0; with `disabled` its status is "DISABLED". All of it is
    in the name: nothing changes while it is registered.
    """

    name = "dubbo"
    naming = Urls()

    def decode(self, name: str, data: bytes) -> Instance:
        """The provider of this name; what its data is does not matter. `ValueError` for what is no provider."""
        return read_url(name)

    def complete(self, instance: Instance) -> Instance:
        """With its URL, encoded, as its id."""
        _check(instance, self.name)
        return instance.but(id=self.naming.node_name(instance))

    def encode(self, instance: Instance) -> bytes:
        """The host, which is what Dubbo's own client leaves there."""
        _check(instance, self.name)
        self.naming.node_name(instance)
        return instance.host.encode()


class DubboApplication(Curator):
    """Dubbo's applications: Curator's record with a `ZookeeperInstance` of its own. The id is "host:port"."""

    name = "dubbo-app"

    def __init__(self) -> None:
        super().__init__(PAYLOAD_CLASS)

    def new_id(self, instance: Instance) -> str:
        """The address, as Dubbo has it."""
        return f"{instance.host}:{instance.port}"

    def with_payload(self, instance: Instance, payload: Any) -> Instance:
        """`ValueError` for a payload of another class, which Dubbo's reader does not take."""
        return instance.but(metadata=payload_metadata(payload, PAYLOAD_CLASS))

    def payload_of(self, instance: Instance, old: Any) -> Any:
        """A `ZookeeperInstance`, with what else is in the old one."""
        records.refuse(instance, self.name, "weight", "zone")
        return zookeeper_instance(PAYLOAD_CLASS, old, None, instance.name, text_metadata(instance))


def read_url(name: str) -> Instance:
    """The provider whose node is called so."""
    if len(name) > records.LARGEST:
        raise ValueError(f"a name of {len(name)} characters")
    text = unquote_plus(name, errors="strict")
    head, _, query = text.partition("?")
    protocol, found, rest = head.partition("://")
    if not found or not _PROTOCOL.fullmatch(protocol):
        raise ValueError(f"no URL of a provider: {text[:100]!r}")
    if protocol in NO_PROVIDERS:
        raise ValueError(f"{protocol}:// is no provider")
    authority, _, path = rest.partition("/")
    parameters: Dict[str, str] = {}
    for pair in query.split("&") if query else ():
        key, _, value = pair.partition("=")
        if not key or key in parameters:
            raise ValueError(f"no parameters of a URL: {query[:100]!r}")
        parameters[key] = value
    if not text.isprintable():
        raise ValueError(f"no URL of a provider: {text[:100]!r}")
    if parameters.get("category", "providers") != "providers":
        raise ValueError(f"of the category {parameters['category'][:100]!r}, which is no provider")
    weight = parameters.get("weight", str(WEIGHT))
    if not (weight.isascii() and weight.isdecimal() and len(weight) < 10):
        raise ValueError(f"no weight: {weight[:100]!r}")
    off = parameters.get("disabled") == "true" or parameters.get("enabled") == "false"
    metadata = {"protocol": protocol, "path": path, "parameters": parameters}
    return parse_address(authority.rpartition("@")[2], 0).but(
        id=name, name=parameters.get("interface", path.rpartition("/")[2]), weight=int(weight) / WEIGHT,
        zone=parameters.get("zone", ""), status="DISABLED" if off else "", metadata=metadata, raw=name, format="dubbo",
    )  # fmt: skip


def encoded(url: str) -> str:
    """A URL as the name of a node, encoded as Java does it."""
    return quote_plus(url, safe="*").replace("~", "%7E")


def _url(instance: Instance) -> str:
    """The URL that says the same as the instance; `ValueError` if none can."""
    metadata = dict(instance.metadata)
    protocol, path = records.text(metadata, "protocol") or "dubbo", records.text(metadata, "path") or instance.name
    if path in ("", "providers"):  # which is the name of the directory
        raise ValueError("a provider needs the name of its interface, as Instance(name=...)")
    parameters = dict(records.texts(metadata, "parameters"))
    if set(metadata) - {"protocol", "path", "parameters"}:
        raise ValueError("metadata of a provider are protocol, path and parameters")
    if "interface" not in parameters and "/" not in path:
        parameters["interface"] = path
    if instance.weight * WEIGHT != int(instance.weight * WEIGHT):
        raise ValueError(f"no weight of Dubbo: {instance.weight}")
    if "weight" in parameters or instance.weight != 1:
        parameters["weight"] = str(int(instance.weight * WEIGHT))
    if "zone" in parameters or instance.zone:
        parameters["zone"] = instance.zone
    if instance.status not in ("", "ENABLED", "DISABLED"):
        raise ValueError(f"no status of Dubbo: {instance.status[:100]!r}")
    off = parameters.get("disabled") == "true" or parameters.get("enabled") == "false"
    if off is not (instance.status == "DISABLED"):
        parameters.pop("enabled", None), parameters.pop("disabled", None)
        parameters.update({"disabled": "true"} if instance.status == "DISABLED" else {})
    query = "&".join(f"{key}={value}" for key, value in parameters.items())
    url = f"{protocol}://{instance.address}/{path}" + (f"?{query}" if query else "")
    made = read_url(encoded(url))
    if made.address != instance.address or made.metadata["parameters"] != parameters or made.metadata["path"] != path:
        raise ValueError(f"no URL can say this: {url[:100]!r}")
    return url


def _check(instance: Any, name: str) -> None:
    if not isinstance(instance, Instance):
        raise TypeError(f"an instance of the format {name!r} is an Instance, not {type(instance).__name__}")


#: The two instances there need to be.
DUBBO = Dubbo()
DUBBO_APPLICATION = DubboApplication()
