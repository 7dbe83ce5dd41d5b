"""HBase's region servers and masters, below /hbase/rs and /hbase/backup-masters: by their names; read only.

A name is "host,port,start code". The data is binary, and not looked at.
"""

from __future__ import annotations

import re

from .codec import Codec, Naming
from .instance import Instance

_NAME = re.compile(r"([^,/\s]{1,300}),([0-9]{1,5}),([0-9]{1,19})")


class ServerNames(Naming):
    """Only names of a host, a port and a start code are servers."""

    def accepts(self, name: str) -> bool:
        """Whether it is such a name."""
        return _NAME.fullmatch(name) is not None


class HBase(Codec[Instance]):
    """HBase's format. `metadata["startcode"]` is when the server was started, in milliseconds since 1970."""

    name = "hbase"
    naming = ServerNames()

    def decode(self, name: str, data: bytes) -> Instance:
        """The server of this name, whatever its data. `ValueError` for another name."""
        found = _NAME.fullmatch(name)
        if found is None:
            raise ValueError(f"no name of a server: {name[:100]!r}")
        return Instance(
            found[1], int(found[2]), name, metadata={"startcode": int(found[3])}, raw=data, format=self.name
        )


#: The one instance there needs to be.
HBASE = HBase()
