"""SolrCloud's live nodes: names below /live_nodes as "10.0.2.10:8983_solr", whose data is of no matter; read only."""

from __future__ import annotations

import re
from urllib.parse import unquote

from .codec import Codec, Naming
from .instance import Instance, parse_address

_NAME = re.compile(r"([^_/\s]{1,300}:[0-9]{1,5})_([^\s/]{0,300})")


class LiveNodes(Naming):
    """Only names of an address, "_" and a context are live nodes."""

    def accepts(self, name: str) -> bool:
        """Whether it is such a name."""
        return _NAME.fullmatch(name) is not None


class Solr(Codec[Instance]):
    """Solr's format. `metadata["context"]` is the path of the application, without the slash it begins with."""

    name = "solr"
    naming = LiveNodes()

    def decode(self, name: str, data: bytes) -> Instance:
        """The node of this name, whatever its data. `ValueError` for another name."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"no name of a live node: {name[:100]!r}")
        context = unquote(found[2], errors="strict")
        if not context.isprintable():
            raise ValueError(f"no context: {context[:100]!r}")
        return parse_address(found[1]).but(
            id=name, metadata={"context": context} if context else {}, raw=data, format=self.name
        )


#: The one instance there needs to be.
SOLR = Solr()
