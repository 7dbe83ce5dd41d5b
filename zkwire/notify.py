"""Who is told of what: watches from the reply that arms them to the event that fires or ends them.

Owns the way between the server's paths and the user's in both directions. Must not know connections, phases or time.
All methods return the events to report, in order.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Iterator, List, Sequence, Union

from .errors import NoNodeError
from .op import Op
from .ops import RemoveWatches, SetWatches2
from .records import (
    EVENT_TYPES, PERSISTENT, RECURSIVE, EventType, KeeperState, Scope, WatchedEvent, Watcher, WatcherEvent,
)  # fmt: skip
from .session_events import Fired, Oddity
from .watches import KINDS, REMOVABLE, REMOVED, Watches


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
            self.watches.add(kind, op.server_path(self._scope), op.watch)

    def notified(self, event: WatcherEvent, state: str) -> Iterator[Union[Fired, Oddity]]:
        """A notification. What we do not know, or nobody waits for, is passed over."""
        kind = EVENT_TYPES.get(event.type)
        if kind is None or not event.path or event.path[0] != "/":
            yield Oddity(f"an event of type {event.type} for the path {event.path!r:.200}")
        else:
            fired = self.watches.fire(kind, event.path)
            if fired:
                lasting = [path and self._user_path(path) for _, path in fired]
                yield Fired([w for w, _ in fired], WatchedEvent(kind, state, self._user_path(event.path)), lasting)

    def replay(self, relative_zxid: int, limit: int) -> Iterator[Op[Any]]:
        """The requests that arm all watches on a new connection, none longer than `limit` bytes if that can be."""
        return self.watches.replay(relative_zxid, limit)

    def too_long(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay that cannot be sent: its watches are gone."""
        for kind in KINDS:
            for path in getattr(op, kind, ()):
                for _, watcher in self.watches.remove(path, None, (kind,)):
                    yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    def replayed(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay was accepted. Persistent watches get no catch-up events, so their owners must read afresh."""
        if isinstance(op, SetWatches2):
            for kind, paths in ((PERSISTENT, op.persistent), (RECURSIVE, op.recursive)):
                for path in paths:
                    watchers = [w for _, w in self.watches.watchers(path, (kind,))]
                    for fired in self._tell(watchers, EventType.NONE, KeeperState.CONNECTED, path):
                        yield fired._replace(lasting=[fired.event.path] * len(watchers))

    def unsupported(self) -> Iterator[Fired]:
        """The server we came to knows no persistent watches: they are gone."""
        for kind, path, watcher in self.watches.drop((PERSISTENT, RECURSIVE)):
            yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    def removal(self, op: RemoveWatches, coming: Iterable[Op[Any]]) -> str:
        """What a removal takes: "nothing" is there, it is done "here", or the "server" is to be asked.

        The server knows paths, not watchers: it is not asked while somebody else waits for this one, or is about to
        when operations that are `coming` succeed. Nor for one kind only where a persistent watch stands, half of which
        it would remove (WatchManager keeps those among the others).
        """
        path, kinds = self._scope.prepend(op.path), REMOVABLE[op.kind]
        present = self.watches.watchers(path)
        near = [w for kind, w in present if kind in kinds]
        lasting = any(kind not in kinds and kind in (PERSISTENT, RECURSIVE) for kind, _ in present)
        far = [o.watch for o in coming if o.path == op.path and o.watches and o.watch and o.watches[0] in kinds]
        mine = [w for w in near if op.watcher in (None, w)]
        if op.local or lasting or any(op.watcher not in (None, w) for w in near + far):
            return "here" if mine else "nothing"
        return "server" if mine or far else "nothing"

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
        return (Fired(watchers, WatchedEvent(kind, state, self._user_path(path))),) if watchers else ()

    def _user_path(self, path: str) -> str:
        try:
            return self._scope.strip(path)
        except ValueError:
            return path  # outside the chroot, as /zookeeper/config is: its own name is the right one
