"""The one operation that zkwire does not have: another configuration of the ensemble."""

from __future__ import annotations

from typing import Optional, Tuple

from zkwire.errors import ReconfigInProcessError, ZookeeperError
from zkwire.client import ZooKeeper
from zkwire.values import Stat
from zkwire.wire.jute import LONG, USTRING
from zkwire.wire.node_ops import DATA_AND_STAT
from zkwire.wire.operation import Pathless

#: Seconds for one attempt.
PATIENCE = 20.0


class Reconfig(Pathless[Tuple[bytes, Stat]]):
    """Servers join (`server.3=host:port:port;host:port`) or leave (their numbers)."""

    opcode = 16
    writes = True
    request = (("joining", USTRING), ("leaving", USTRING), ("members", USTRING), ("from_config", LONG))
    reply = DATA_AND_STAT

    def __init__(self, joining: Optional[str] = None, leaving: Optional[str] = None) -> None:
        self.__dict__.update(joining=joining, leaving=leaving, members=None, from_config=-1)


def reconfigure(hosts: str, until_done: int = 5, **change: str) -> None:
    """Have the change done. Who joins what it is in already, or leaves what it has left, changes nothing: it may be repeated."""
    for attempt in range(until_done):
        with ZooKeeper(hosts, timeout=30.0) as zk:
            try:
                zk.submit(Reconfig(**change)).result(PATIENCE)
                return
            except ZookeeperError as error:
                again = error.maybe_applied or isinstance(error, ReconfigInProcessError)
                if not again or attempt == until_done - 1:
                    raise
