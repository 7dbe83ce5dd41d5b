"""What a session core asks of its driver, and what it reports to it.

Owns these values and the one table of the methods that perform them. A driver performs actions in their order:

    for action in session.actions():
        getattr(driver, METHODS[type(action)])(*action)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Union

from ..typed import NamedTuple

if TYPE_CHECKING:
    from ..errors import ZookeeperError
    from ..values import WatchedEvent, Watcher
    from .link import Link


class Dial(NamedTuple):
    """Connect `link` to its host by its deadline, then call `connected` with it, or `lost`."""

    link: Link


class HangUp(NamedTuple):
    """Close the connection of `link`, or give up dialling it; do not call `lost`."""

    link: Link
    reason: str


class Prove(NamedTuple):
    """Take a step of a SASL login with `Login.take(step, argument)`, then call `proved` with the link and the outcome.

    It is the user's code: no lock may be held, and neither other links nor the deadlines may wait for it.
    """

    link: Link
    step: Callable[[Any], Optional[bytes]]
    argument: Any


class Replied(NamedTuple):
    """An operation is done: `outcome` is its result, or an exception instance, which means it failed."""

    token: Any
    outcome: Any


class Fired(NamedTuple):
    """Call these watchers, in this order, with this event.

    `lasting` has the path of each watcher's persistent watch, None for a one-shot watch; it is empty if all are
    one-shot. A driver may replace the events for a slow watcher of a persistent watch by one event of that path
    with type NONE and state CONNECTED. It means: events were left out, read the data again.
    """

    watchers: Sequence[Watcher]
    event: WatchedEvent
    lasting: Sequence[Optional[str]] = ()


class StateChanged(NamedTuple):
    """Call the listeners. `state` is one of `KazooState`, `client_state` of `KeeperState`; `error` is the cause."""

    state: str
    client_state: str
    error: Optional[ZookeeperError]


class Noted(NamedTuple):
    """The server has sent something that the core does not know and ignores: the driver logs it."""

    what: str


Action = Union[Dial, HangUp, Prove, Replied, Fired, StateChanged, Noted]
#: The method of a driver that performs each kind of action, with the action's fields as its arguments.
METHODS: Dict[type, str] = {
    Dial: "dial", HangUp: "hang_up", Prove: "prove", Replied: "reply", Fired: "fire", StateChanged: "state_changed",
    Noted: "note",
}  # fmt: skip
