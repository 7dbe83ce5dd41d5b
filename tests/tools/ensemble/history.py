"""What a client has seen: one JSON object for each line of a file, in the order of writing.

Owns the kinds of records and how they are written and read. A line is one write to the kernel, so that all that a client has
seen is there after a SIGKILL, too; only the last line may be half one. Times are seconds since the epoch: all processes
are on one machine, and so are the servers, whose logs have the same clock.

=========  ==================================================================================================
`k`        further fields
=========  ==================================================================================================
start      who the client is: name, front, python, workloads
invoke     n (number of the call), op, and its arguments: path, value, version
ok         n, and what came back: path, value, version, mzxid, czxid, owner
fail       n, error: the call has certainly changed nothing
maybe      n, error: the call may have changed something
state      state (CONNECTED, SUSPENDED, LOST), sid
claim      path, sid: at `t` the client said that it is connected with this session, which owns the node
armed      w (number of the watch), how (data, exists, children, recursive), path, basis (the newest zxid known)
fired      w, type, path
shown      instances, or error: what an observer of an instancer was called with
wanted     name, wanted: from now on a registration is asked for, or not
registered name, wanted: the call that said so has returned well
rest       all is at rest, and the client has caught up: what was to be told was told before
end        the client has closed its session
=========  ==================================================================================================
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List

Record = Dict[str, Any]


class History:
    """Writes the history of one client. Any thread may write."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, kind: str, **fields: Any) -> None:
        """Add a record."""
        os.write(self._file, json.dumps({"t": time.time(), "k": kind, **fields}).encode() + b"\n")

    def close(self) -> None:
        """Write nothing more."""
        os.close(self._file)


def read(path: str) -> List[Record]:
    """All whole records of a file."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    return [json.loads(line) for line in lines[:-1]]
