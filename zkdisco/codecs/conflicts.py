"""Whose readers a record of ours would break: what others keep in a directory, and what their readers do with ours.

Owns the table of readers. Must not know ZooKeeper: nodes come as names and data.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Tuple, Union

from . import find
from .auto import detected
from .codec import Codec

#: By the format that is there: formats that its readers take, besides their own, and what they do with others.
READERS: Dict[str, Tuple[FrozenSet[str], str]] = {
    "curator": (frozenset(("spring", "dubbo-app")), "Curator's query for the service fails as a whole"),
    "spring": (frozenset(), "Spring Cloud's query for the service fails as a whole"),
    "dubbo-app": (frozenset(), "Dubbo's query for the application fails as a whole"),
    "gokit": (frozenset(("text",)), "Go kit hands the record to its factories as if it were an address"),
    "serverset": (frozenset(), "Prometheus takes other JSON for a target without an address"),
    "nerve": (frozenset(), "synapse and Prometheus take other JSON for a server without an address, or leave it out"),
    "dubbo": (frozenset(), "nothing: Dubbo leaves out what is no URL"),
    "kafka": (frozenset(), "Kafka's controller cannot read a name that is no number"),
    "solr": (frozenset(), "Solr takes every name for a live node"),
    "hbase": (frozenset(), "HBase's master cannot read a name that is none of a server"),
}
#: What only plain text, that is no JSON, does no harm to; and readers that nothing harms.
JSON_ONLY, UNHARMED = frozenset(("serverset",)), frozenset(("dubbo",))
#: Formats whose data is no JSON.
NO_JSON = frozenset(("text", "gokit", "dubbo"))


class Conflict(NamedTuple):
    """Whose readers would be broken: of the format of `nodes`, names of those that are there; `effect` says how."""

    format: str
    nodes: Tuple[str, ...]
    effect: str

    def __str__(self) -> str:
        more = f" and {len(self.nodes) - 1} more" if len(self.nodes) > 1 else ""
        return f"{self.nodes[0]!r}{more}: in the format {self.format!r}; {self.effect}"


def conflicts(nodes: Iterable[Tuple[str, bytes]], codec: Optional[Union[str, Codec[Any]]] = None) -> List[Conflict]:
    """What would break if we wrote into the directory of these nodes, each a name and data; [] if nothing is known to.

    `codec` is ours, as for a `Service`; None writes plain text. Nodes in no format that can be told are passed over.
    """
    ours = "text" if codec is None else find(codec).name
    there: Dict[str, List[str]] = {}
    for name, data in nodes:
        there.setdefault(detected(name, data) or "", []).append(name)
    return [
        Conflict(format, tuple(sorted(names)), READERS[format][1])
        for format, names in sorted(there.items())
        if format in READERS and _breaks(format, ours)
    ]


def _breaks(format: str, ours: str) -> bool:
    if ours == format or ours in READERS[format][0] or format in UNHARMED:
        return False
    return not (format in JSON_ONLY and ours in NO_JSON)
