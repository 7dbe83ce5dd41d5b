"""The watches of one session: the watchers of each path and kind, and the events that each of them gets.

Owns the five lists of watches, keyed by the server's paths, and the mapping between these paths and the user's. Must
not know connections, phases, time, or what calls watchers. Methods return the actions to report, in order.
"""

from __future__ import annotations

from types import BuiltinMethodType, MethodType
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ..paths import CONFIG_NODE
from ..errors import NoNodeError
from ..ops import Op, RemoveWatches, SetWatches, SetWatches2
from ..values import EventType, KeeperState, WatchedEvent, Watcher
from ..wire.messages import EVENT_TYPES, Scope, WatcherEvent
from ..wire.operation import CHILD, DATA, EXIST, PERSISTENT, RECURSIVE
from ..wire.session_ops import RemoveConfigWatches
from .actions import Fired, Noted

KINDS = (DATA, EXIST, CHILD, PERSISTENT, RECURSIVE)
#: As the Java client (ClientCnxn.SET_WATCHES_MAX_LENGTH): all of them in one frame could exceed jute.maxbuffer.
BATCH = 128 * 1024
#: The one-shot watches that an event fires (ZKWatchManager.materialize).
FIRES: Dict[str, Tuple[str, ...]] = {
    EventType.CREATED: (DATA, EXIST),
    EventType.CHANGED: (DATA, EXIST),
    EventType.DELETED: (DATA, EXIST, CHILD),
    EventType.CHILD: (CHILD,),
}
#: The event that a watcher gets when its watch is removed.
REMOVED: Dict[str, str] = {
    DATA: EventType.DATA_WATCH_REMOVED,
    EXIST: EventType.DATA_WATCH_REMOVED,
    CHILD: EventType.CHILD_WATCH_REMOVED,
    PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}
#: The watches that RemoveWatches removes, by its kind on the wire; kinds 4 and 5 are refused by 3.8.
REMOVABLE: Dict[int, Tuple[str, ...]] = {1: (CHILD,), 2: (DATA, EXIST), 3: KINDS}
#: The size of a SetWatches2 without its paths, in bytes: header, zxid, five counts.
_AROUND = 8 + 8 + 5 * 4
_Watchers = Tuple[Watcher, ...]


def identity(function: Any) -> Any:
    """The identity of a watcher or listener; neither its `__eq__` nor its `__hash__` is called.

    Python makes a new object each time a bound method is named: the same method of the same object is one watcher.
    """
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    if isinstance(function, BuiltinMethodType):
        return id(function.__self__), function.__name__
    return id(function)


def _among(watcher: Watcher, watchers: Sequence[Watcher]) -> bool:
    """Whether a watcher is one of these."""
    key = identity(watcher)
    return any(identity(other) == key for other in watchers)


class Watches:
    """`add` and `remove` take paths of the server; events show paths of the user."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._lists: Dict[str, Dict[str, _Watchers]] = {kind: {} for kind in KINDS}

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._lists.values())

    # ------------------------------------------------------------------------- registry

    def add(self, kind: str, path: str, watcher: Watcher) -> None:
        """Register `watcher`; registering the same one twice has no effect."""
        paths = self._lists[kind]
        present = paths.get(path)
        if present is None:
            paths[path] = (watcher,)
        elif not _among(watcher, present):
            paths[path] = (*present, watcher)

    def armed(self, op: Op[Any], err: int) -> None:
        """A reply to an operation with a watch has arrived: the watch is registered if the server has set it."""
        kinds = op.watches or (None, None)
        kind = kinds[0] if err == 0 else kinds[1] if err == NoNodeError.code else None
        if kind is not None and op.watch is not None:
            self.add(kind, op.server_path(self._scope), op.watch)

    @property
    def lasting(self) -> bool:
        """Whether there is a persistent or recursive watch."""
        return bool(self._lists[PERSISTENT] or self._lists[RECURSIVE])

    def paths(self, kind: str) -> Sequence[str]:
        """The paths that have a watch of this kind."""
        return tuple(self._lists[kind])

    def watchers(self, path: str, kinds: Sequence[str] = KINDS) -> List[Tuple[str, Watcher]]:
        """The watchers of a path, with their kinds."""
        return [(kind, watcher) for kind in kinds for watcher in self._lists[kind].get(path, ())]

    def remove(
        self, path: str, watcher: Optional[Watcher] = None, kinds: Sequence[str] = KINDS
    ) -> List[Tuple[str, Watcher]]:
        """Forget the watches of a path, or those of one watcher; returns them with their kinds."""
        gone = [(kind, w) for kind, w in self.watchers(path, kinds) if watcher is None or _among(w, (watcher,))]
        for kind, one in gone:
            rest = tuple(w for w in self._lists[kind][path] if w is not one)
            if rest:
                self._lists[kind][path] = rest
            else:
                del self._lists[kind][path]
        return gone

    def drop(self, kinds: Sequence[str] = KINDS) -> List[Tuple[str, str, Watcher]]:
        """Forget all watches of these kinds; returns (kind, path, watcher) of each."""
        gone = [(kind, path, w) for kind in kinds for path, ws in self._lists[kind].items() for w in ws]
        for kind in kinds:
            self._lists[kind] = {}
        return gone

    # ---------------------------------------------------------------------- notifications

    def fire(self, event_type: str, path: str) -> List[Tuple[Watcher, Optional[str]]]:
        """The watchers of an event, each once, with the path of its persistent watch; one-shot watches are removed.

        A watcher with both a persistent and a one-shot watch is returned without a path, as for a one-shot watch.
        """
        found: List[Tuple[Watcher, Optional[str]]] = []
        for kind in FIRES.get(event_type, ()):
            found += [(watcher, None) for watcher in self._lists[kind].pop(path, ())]
        found += [(watcher, path) for watcher in self._lists[PERSISTENT].get(path, ())]
        recursive = self._lists[RECURSIVE]
        if recursive and event_type != EventType.CHILD:  # each node below has its own event
            for above in _above(path, recursive):
                found += [(watcher, above) for watcher in recursive[above]]
        if len(found) < 2:
            return found
        first: Dict[Any, Tuple[Watcher, Optional[str]]] = {}
        for watcher, at in found:
            first.setdefault(identity(watcher), (watcher, at))
        return list(first.values())

    def notified(self, event: WatcherEvent, state: str) -> Iterator[Union[Fired, Noted]]:
        """A watch event has arrived. An unknown type is noted; an event without a watcher is ignored."""
        kind = EVENT_TYPES.get(event.type)
        if kind is None or not event.path or event.path[0] != "/":
            yield Noted(f"an event of type {event.type} for the path {event.path!r:.200}")
        else:
            fired = self.fire(kind, event.path)
            if fired:
                lasting = [path and self._user_path(path) for _, path in fired]
                yield Fired([w for w, _ in fired], WatchedEvent(kind, state, self._user_path(event.path)), lasting)

    # --------------------------------------------------------------------------- replay

    def replay(self, relative_zxid: int, limit: int = BATCH) -> Iterator[Op[Any]]:
        """The requests that arm all watches on a new connection, in batches of at most `BATCH` bytes of paths.

        No batch, with its header, is longer than `limit`, unless one path alone is too long.

        SetWatches2 is used only if a persistent watch exists: servers before 3.6 close the connection on it. The server
        sends events for changes since `relative_zxid`, which must be read before any reply of the new connection.
        """
        lists, recursive = self._lists, self._lists[RECURSIVE]
        make: Union[Type[SetWatches], Type[SetWatches2]] = SetWatches2 if self.lasting else SetWatches
        first = [(kind, path) for kind in KINDS for path in lists[kind] if kind != CHILD or path not in recursive]
        yield from _batches(make, first, relative_zxid, limit)
        behind = [(CHILD, path) for path in lists[CHILD] if path in recursive]  # suppressed: see watch_modes.py
        yield from _batches(SetWatches, behind, relative_zxid, limit)

    def too_long(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay that is too long to be sent: its watches are lost."""
        for kind in KINDS:
            for path in getattr(op, kind, ()):
                for _, watcher in self.remove(path, None, (kind,)):
                    yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    def replayed(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay was accepted. Persistent watches get no missed events, so their watchers must read again."""
        if isinstance(op, SetWatches2):
            for kind, paths in ((PERSISTENT, op.persistent), (RECURSIVE, op.recursive)):
                for path in paths:
                    watchers = [w for _, w in self.watchers(path, (kind,))]
                    for fired in self._tell(watchers, EventType.NONE, KeeperState.CONNECTED, path):
                        yield fired._replace(lasting=[fired.event.path] * len(watchers))

    def unsupported(self) -> Iterator[Fired]:
        """The server of the new connection knows no persistent watches: they are lost."""
        for kind, path, watcher in self.drop((PERSISTENT, RECURSIVE)):
            yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    # -------------------------------------------------------------------------- removal

    def where(self, op: RemoveWatches) -> RemoveWatches:
        """The removal with its real path: the configuration's node lies outside any chroot."""
        inside = self._scope.prepend(op.path)
        if op.path != CONFIG_NODE or op.path == inside or self.watchers(inside) or not self.watchers(CONFIG_NODE):
            return op
        return RemoveConfigWatches(op.kind, op.watcher, op.local)

    def removal(self, op: RemoveWatches, coming: Iterable[Op[Any]]) -> str:
        """What a removal needs: there is "nothing" to remove, it is done "here", or the "server" is asked.

        The server knows paths, not watchers: it is not asked while another watcher waits for this path, or will when
        the operations `coming` succeed. It is not asked for one kind only where a persistent watch exists, because it
        would remove half of that (WatchManager keeps those among the others).
        """
        path, kinds = op.server_path(self._scope), REMOVABLE[op.kind]
        present = self.watchers(path)
        near = [w for kind, w in present if kind in kinds]
        lasting = any(kind not in kinds and kind in (PERSISTENT, RECURSIVE) for kind, _ in present)
        far = [o.watch for o in coming if o.path == op.path and o.watches and o.watch and o.watches[0] in kinds]
        watcher = op.watcher
        mine = [w for w in near if watcher is None or _among(w, (watcher,))]
        others = watcher is not None and any(not _among(w, (watcher,)) for w in near + far)
        if op.local or lasting or others:
            return "here" if mine else "nothing"
        return "server" if mine or far else "nothing"

    def removed(self, op: RemoveWatches, state: str) -> Iterator[Fired]:
        """The watches were removed: call their watchers."""
        path = op.server_path(self._scope)
        for kind, watcher in self.remove(path, op.watcher, REMOVABLE[op.kind]):
            yield from self._tell([watcher], REMOVED[kind], state, path)

    def ended(self, state: str) -> Iterator[Fired]:
        """The session has ended, all watches with it: each watcher is called once for each of its paths."""
        paths: Dict[str, Dict[Any, Watcher]] = {}
        for _, path, watcher in self.drop():
            paths.setdefault(path, {}).setdefault(identity(watcher), watcher)
        for path, watchers in paths.items():
            yield from self._tell(list(watchers.values()), EventType.NONE, state, path)

    def _tell(self, watchers: Sequence[Watcher], kind: str, state: str, path: str) -> Iterable[Fired]:
        return (Fired(watchers, WatchedEvent(kind, state, self._user_path(path))),) if watchers else ()

    def _user_path(self, path: str) -> str:
        try:
            return self._scope.strip(path)
        except ValueError:
            return path  # outside the chroot, as /zookeeper/config is: its path has no chroot to strip


def _batches(
    make: Union[Type[SetWatches], Type[SetWatches2]], watches: Sequence[Tuple[str, str]], zxid: int, limit: int
) -> Iterator[Op[Any]]:
    """Requests for the (kind, path)s, in their order."""
    batch: Dict[str, List[str]] = {}
    size, limit = 0, min(BATCH, limit - _AROUND)
    for kind, path in watches:
        cost = (len(path) if path.isascii() else len(path.encode())) + 4
        if batch and size + cost > limit:
            yield make(zxid, **batch)
            batch, size = {}, 0
        batch.setdefault(kind, []).append(path)
        size += cost
    if batch:
        yield make(zxid, **batch)


def _above(path: str, known: Collection[str]) -> Iterator[str]:
    """Those of the `known` paths that are `path` itself or above it, nearest first if `path` is short.

    A server may send a path with a million nodes: walking up, each step a copy, would take minutes.
    """
    if path.count("/") > len(known):
        yield from (above for above in known if path == above or above == "/" or path.startswith(above + "/"))
        return
    while path:
        if path in known:
            yield path
        path = path.rpartition("/")[0] or ("/" if path != "/" else "")
