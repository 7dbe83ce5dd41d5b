"""Who is told of what: watches from the reply that arms them to the event that fires or ends them.

Owns the way between the server's paths and the user's in both directions. Must not know connections, phases or time.
All methods return the `Fired` to report, in order.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Sequence

from .errors import NoNodeError
from .op import Op
from .ops import RemoveWatches, SetWatches2
from .records import EVENT_TYPES, PERSISTENT, RECURSIVE, EventType, KeeperState, Scope, WatchedEvent, Watcher, WatcherEvent
from .session_events import Fired
from .watches import REMOVABLE, REMOVED, Watches


class Notifier:
    """The watches of one session, and what their owners hear."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.watches = Watches()

    def armed(self, op: Op[Any], err: int) -> None:
        """A reply to an operation with a watch: it stands now, if the server has set it."""
        kinds = op.watches or (None, None)
        kind = kinds[0] if err == 0 else kinds[1] if err == NoNodeError.code else None
        if kind is not None and op.watch is not None:
            self.watches.add(kind, self._scope.prepend(op.path or "/"), op.watch)

    def notified(self, event: WatcherEvent, state: str) -> Iterator[Fired]:
        """A notification. What we do not know, or nobody waits for, is passed over."""
        kind = EVENT_TYPES.get(event.type)
        if kind is not None and event.path:
            yield from self._tell(self.watches.fire(kind, event.path), kind, state, event.path)

    def replay(self, relative_zxid: int) -> Iterator[Op[Any]]:
        """The requests that arm all watches on a new connection."""
        return self.watches.replay(relative_zxid)

    def replayed(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay was accepted. Persistent watches get no catch-up events, so their owners must read afresh."""
        if isinstance(op, SetWatches2):
            for kind, paths in ((PERSISTENT, op.persistent), (RECURSIVE, op.recursive)):
                for path in paths:
                    watchers = [w for _, w in self.watches.watchers(path, (kind,))]
                    yield from self._tell(watchers, EventType.NONE, KeeperState.CONNECTED, path)

    def unsupported(self) -> Iterator[Fired]:
        """The server we came to knows no persistent watches: they are gone."""
        for kind, path, watcher in self.watches.drop((PERSISTENT, RECURSIVE)):
            yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    def removal(self, op: RemoveWatches) -> str:
        """What a removal takes: "nothing" is there, it is done "here", or the "server" is to be asked."""
        present = self.watches.watchers(self._scope.prepend(op.path), REMOVABLE[op.kind])
        mine = [w for _, w in present if op.watcher is None or w == op.watcher]
        return "nothing" if not mine else "here" if op.local or len(mine) < len(present) else "server"

    def removed(self, op: RemoveWatches, state: str) -> Iterator[Fired]:
        """The watches are gone."""
        path = self._scope.prepend(op.path)
        for kind, watcher in self.watches.remove(path, op.watcher, REMOVABLE[op.kind]):
            yield from self._tell([watcher], REMOVED[kind], state, path)

    def ended(self, state: str) -> Iterator[Fired]:
        """The session is gone, all watches with it: each watcher is told once for each of its paths."""
        paths: Dict[str, List[Watcher]] = {}
        for _, path, watcher in self.watches.drop():
            paths.setdefault(path, []).append(watcher)
        for path, watchers in paths.items():
            yield from self._tell(list(dict.fromkeys(watchers)), EventType.NONE, state, path)

    def _tell(self, watchers: Sequence[Watcher], kind: str, state: str, path: str) -> Iterable[Fired]:
        if not watchers:
            return ()
        try:
            path = self._scope.strip(path)
        except ValueError:
            pass  # outside the chroot, as /zookeeper/config is: its own name is the right one
        return (Fired(watchers, WatchedEvent(kind, state, path)),)
