"""Whose readers a record of ours would break: what others keep in a directory, and what their readers do with ours.

Owns the table of readers, of which Curator and Prometheus are tried as they are. Must not know ZooKeeper: nodes come as
names and data.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

from . import find
from .auto import detected
from .codec import Codec

#: Formats whose records are JSON that Curator's reader knows no field of; and those whose data is no JSON.
STRANGE, NO_JSON = ("nerve", "serverset"), ("text", "gokit", "dubbo")
_WHOLE = "{}'s query for the service fails as a whole"
_EMPTY = "{} takes the record for an instance without a name and an address"
#: By the format that is there: what its readers do with ours, by ours ("": with all that are not named); "" is no harm.
READERS: Dict[str, Dict[str, str]] = {
    **{
        format: {"": _WHOLE.format(reader), **dict.fromkeys(STRANGE, _EMPTY.format(reader))}
        for format, reader in (("curator", "Curator"), ("spring", "Spring Cloud"), ("dubbo-app", "Dubbo"))
    },
    "gokit": {"": "Go kit hands the record to its factories as if it were an address", "text": ""},
    "serverset": {"": "Prometheus takes the record for a target without an address", **dict.fromkeys(NO_JSON, "")},
    "nerve": {
        "": "Prometheus takes the record for a target without an address; synapse leaves it out",
        **dict.fromkeys(NO_JSON, ""),
    },
    "kafka": {"": "Kafka's controller cannot read a name that is no number"},
    "solr": {"": "Solr takes every name for a live node"},
    "hbase": {"": "HBase's master cannot read a name that is none of a server"},
}


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
    effects = {format: readers.get(ours, readers[""]) for format, readers in READERS.items() if format != ours}
    return [
        Conflict(format, tuple(sorted(names)), effects[format])
        for format, names in sorted(there.items())
        if effects.get(format)
    ]
