"""What a session core asks of its driver, and what it reports.

Owns these values only. A driver acts on them in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional, Sequence, Union

from ..errors import ZookeeperError
from .host_provider import Host
from ..values import WatchedEvent, Watcher


class Dial(NamedTuple):
    """Connect to `host` by `deadline`, then call `connected`, or `lost`. Any older connection is gone."""

    host: Host
    deadline: float


class HangUp(NamedTuple):
    """Close the connection, or give up dialling; do not call `lost`."""

    reason: str


class Look(NamedTuple):
    """Connect to `host` beside the first connection by `deadline`, then call `look_connected`, or `look_lost`."""

    host: Host
    deadline: float


class LookAway(NamedTuple):
    """Close that second connection, or give up dialling; do not call `look_lost`."""


class TakeOver(NamedTuple):
    """The second connection is the first from now on; close the one that was."""


class Settled(NamedTuple):
    """An operation is done: `outcome` is its result, or a `ZookeeperError` instance, which means it failed."""

    token: Any
    outcome: Any


class Fired(NamedTuple):
    """Call these watchers, in this order, with this event.

    `lasting` has the path of each one's persistent watch, None for a one-shot one. Whoever cannot keep up may be told
    of that path, with type NONE and state CONNECTED, to read afresh, instead of all he misses. Empty: of nobody.
    """

    watchers: Sequence[Watcher]
    event: WatchedEvent
    lasting: Sequence[Optional[str]] = ()


class Oddity(NamedTuple):
    """The server has said what we cannot understand and can live with: worth a line in the log."""

    what: str


class StateChanged(NamedTuple):
    """Tell the listeners. `state` is one of `KazooState`, `client_state` of `KeeperState`; `error` says why."""

    state: str
    client_state: str
    error: Optional[ZookeeperError]


Event = Union[Dial, HangUp, Look, LookAway, TakeOver, Settled, Fired, Oddity, StateChanged]
