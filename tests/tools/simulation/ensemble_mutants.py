"""Bugs that only servers which are behind one another can show: of a client, of discovery, and of the members themselves.

Owns the bugs, as `mutants` does the others, which runs all.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generator, List, Tuple

from zkdisco import identity as identity_module
from zkdisco.identity import Name
from zkdisco.membership import Membership
from zkdisco.steps import ours
from zkwire.embedded import core as core_module
from zkwire.embedded.conditions import Conditions
from zkwire.embedded.core import BareCore
from zkwire.ops import Sync
from zkwire.session.session import Session
from zkwire.wire.jute import decode
from zkwire.wire.messages import CONNECT_REQUEST

from .tap import Tap

Patch = Tuple[Any, str, Any]


def older_server_joined() -> List[Patch]:
    """A client says that it has seen nothing, and is served by who is behind. Nobody reads its handshakes here."""
    connected, handshake = Session.connected, Tap._handshake

    def wrong(self: Session, link: Any, now: float, address: Any = None) -> None:
        seen, self._requests.last_zxid = self._requests.last_zxid, 0
        connected(self, link, now, address)
        self._requests.last_zxid = seen

    def blind(self: Tap, frame: bytes) -> None:
        seen, self._client.zxid = self._client.zxid, decode(CONNECT_REQUEST, frame).last_zxid_seen
        handshake(self, frame)
        self._client.zxid = seen

    return [(Session, "connected", wrong), (Tap, "_handshake", blind)]


def looked_for_without_sync() -> List[Patch]:
    """After a create that nobody has answered, who is behind is believed that there is no such node."""
    return [(identity_module, "ours", _without_sync(ours)), (Name, "find", _without_sync(Name.find))]


def _without_sync(recipe: Callable[..., Any]) -> Callable[..., Any]:
    def wrong(*arguments: Any) -> Generator[Any, Any, Any]:
        work = recipe(*arguments)
        try:
            wanted = next(work)
            while True:
                syncs = isinstance(wanted, list) and bool(wanted) and isinstance(wanted[0], Sync)
                try:
                    answer = yield wanted[1:] if syncs else wanted
                except Exception as error:
                    wanted = work.throw(error)
                else:
                    wanted = work.send([wanted[0].path, *answer] if syncs else answer)
        except StopIteration as end:
            return end.value

    return wrong


def new_session_read_at_once() -> List[Patch]:
    """What a new session reads first is shown, by whichever server it was resumed (ours, until it was found)."""
    return [(Membership, "_read_list", lambda self: self._ask("list", "", self._list()))]


def sync_does_not_wait() -> List[Patch]:
    """A member answers `sync` as soon as it is asked."""
    return [(core_module, "_REFUSED_READ_ONLY", core_module._REFUSED_READ_ONLY - {9})]


def write_answered_before_it_is_here() -> List[Patch]:
    """A member answers a write once the leader has it, and then a read from what it has itself."""
    return [(BareCore, "_when", lambda self, link, zxid, then, now: then(now))]


def member_refuses_nobody() -> List[Patch]:
    """A member serves clients that have seen more than it has."""
    return [(Conditions, "visible_zxid", lambda self, applied: 1 << 62)]


OF_ENSEMBLES: Dict[str, Callable[[], List[Patch]]] = {
    f.__name__: f
    for f in (
        older_server_joined, looked_for_without_sync, new_session_read_at_once, sync_does_not_wait,
        write_answered_before_it_is_here, member_refuses_nobody,
    )
}  # fmt: skip
