"""Detection: what format a node is in, by what its name and its data have that no other format has.

    Instancer(client, "/services/api", codec="auto")    # instance.format says what each node was taken for

A node that fits no format, or more than one, is left out: nothing is guessed. `detect` says the same of one node.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from . import dubbo, records, spring
from .codec import Codec, Naming
from .curator import CURATOR
from .gokit import GOKIT
from .hbase import HBASE
from .instance import Instance
from .kafka import KAFKA
from .nerve import NERVE
from .serverset import SERVERSET
from .solr import SOLR

#: What a record of each format has. Where the names of one are all among those of another, the longer list counts.
SIGNS: Tuple[Tuple[Codec[Instance], FrozenSet[str]], ...] = (
    (CURATOR, frozenset(("name", "id", "address", "serviceType"))),
    (CURATOR, frozenset(("name", "id", "address", "registrationTimeUTC"))),
    (SERVERSET, frozenset(("serviceEndpoint",))),
    (NERVE, frozenset(("host", "port"))),
    (KAFKA, frozenset(("version", "endpoints"))),
    (KAFKA, frozenset(("version", "host", "port", "jmx_port"))),
)
#: Formats whose instances are told by their names, whatever the data.
BY_NAME: Tuple[Codec[Instance], ...] = (SOLR, HBASE, dubbo.DUBBO)
#: Curator's records that are more than that, by the `@class` of their payload.
BY_CLASS: Dict[Any, Codec[Instance]] = {
    spring.PAYLOAD_CLASS: spring.SPRING, dubbo.PAYLOAD_CLASS: dubbo.DUBBO_APPLICATION,
}  # fmt: skip


def detect(name: str, data: bytes) -> Codec[Instance]:
    """The codec of the one format that a node can be in; `ValueError` if that cannot be told, saying why."""
    found = [codec for codec in BY_NAME if codec.naming.accepts(name)] + _by_data(name, data)
    if len(found) != 1:
        several = " and ".join(codec.name for codec in found)
        raise ValueError(f"it may be {several}" if found else "in no format that is known")
    return found[0]


def _by_data(name: str, data: bytes) -> List[Codec[Instance]]:
    if data.lstrip()[:1] != b"{":
        try:
            GOKIT.decode(name, data[: records.LARGEST])
        except ValueError:
            return []
        return [GOKIT]
    try:
        record = records.read(data)
    except ValueError:
        return []
    fit = [(codec, signs) for codec, signs in SIGNS if signs <= record.keys()]
    found = {codec.name: codec for codec, signs in fit if not any(signs < more for _, more in fit)}
    if KAFKA.name in found and not KAFKA.naming.accepts(name):
        del found[KAFKA.name]
    if SERVERSET.name in found and not SERVERSET.naming.accepts(name):
        del found[SERVERSET.name]
    payload = record.get("payload")
    kind = payload.get("@class") if isinstance(payload, dict) else None
    return [
        BY_CLASS.get(kind, codec) if codec is CURATOR and isinstance(kind, str) else codec for codec in found.values()
    ]


class AsDetected(Naming):
    """Any node is an instance; ours is called as the format of the instance has it."""

    def node_name(self, instance: Any) -> Optional[str]:
        """As the format of the instance; `ValueError` for one of no format."""
        return _of(instance).naming.node_name(instance)


class Auto(Codec[Instance]):
    """Each node in the format it is in. What it was taken for is its instance's `format`, in which it is written."""

    name = "auto"
    naming = AsDetected()

    def decode(self, name: str, data: bytes) -> Instance:
        """The instance of a node in any format. `ValueError` if that cannot be told, or the node cannot be read."""
        return detect(name, data).decode(name, data)

    def encode(self, instance: Instance) -> bytes:
        """The record in the format that the instance was decoded from. `ValueError` for one of no format."""
        return _of(instance).encode(instance)


_KNOWN: Dict[str, Codec[Instance]] = {
    codec.name: codec for codec in (*(codec for codec, _ in SIGNS), *BY_NAME, *BY_CLASS.values(), GOKIT)
}


def detected(name: str, data: bytes) -> Optional[str]:
    """The name of the format that a node can be in, or None if that cannot be told."""
    try:
        return detect(name, data).name
    except ValueError:
        return None


def _of(instance: Any) -> Codec[Instance]:
    if not isinstance(instance, Instance):
        raise TypeError(f"an instance of the format 'auto' is an Instance, not {type(instance).__name__}")
    if instance.format not in _KNOWN:
        raise ValueError("the format 'auto' is for reading: say in which format this instance is to be written")
    return _KNOWN[instance.format]


#: The one instance there needs to be.
AUTO = Auto()
