"""The watches of one session: which watcher waits for which path and kind, and what each of them hears.

Owns the five lists of watches, keyed by the server's paths, and the way between these paths and the user's. Must not
know connections, phases, time, or what calls watchers. Methods return the actions to report, in order.
"""

from __future__ import annotations

from types import BuiltinMethodType, MethodType
from typing import Any, Collection, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Type, Union

from ..ensemble import CONFIG_NODE
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
#: Which one-shot watches an event fires (ZKWatchManager.materialize).
FIRES: Dict[str, Tuple[str, ...]] = {
    EventType.CREATED: (DATA, EXIST),
    EventType.CHANGED: (DATA, EXIST),
    EventType.DELETED: (DATA, EXIST, CHILD),
    EventType.CHILD: (CHILD,),
}
#: What a watcher hears when its watch is removed.
REMOVED: Dict[str, str] = {
    DATA: EventType.DATA_WATCH_REMOVED,
    EXIST: EventType.DATA_WATCH_REMOVED,
    CHILD: EventType.CHILD_WATCH_REMOVED,
    PERSISTENT: EventType.PERSISTENT_WATCH_REMOVED,
    RECURSIVE: EventType.PERSISTENT_WATCH_REMOVED,
}
#: What RemoveWatches removes, by its kind on the wire; kinds 4 and 5 are refused by 3.8.
REMOVABLE: Dict[int, Tuple[str, ...]] = {1: (CHILD,), 2: (DATA, EXIST), 3: KINDS}
#: What a SetWatches2 takes beside its paths, in bytes: header, zxid, five counts.
_AROUND = 8 + 8 + 5 * 4
_Watchers = Tuple[Watcher, ...]


def identity(function: Any) -> Any:
    """A key by which a watcher or listener is known as the same; neither its `__eq__` nor its `__hash__` is called.

    Python makes a new object each time a bound method is named: two of the same method of the same object are one.
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
        """Let `watcher` wait; the same one waits once only."""
        paths = self._lists[kind]
        present = paths.get(path)
        if present is None:
            paths[path] = (watcher,)
        elif not _among(watcher, present):
            paths[path] = (*present, watcher)

    def armed(self, op: Op[Any], err: int) -> None:
        """A reply to an operation with a watch has come: the watch stands now, if the server has set it."""
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
        """Forget the watches of a path, or those of one watcher; they are returned with their kinds."""
        gone = [(kind, w) for kind, w in self.watchers(path, kinds) if watcher is None or _among(w, (watcher,))]
        for kind, one in gone:
            rest = tuple(w for w in self._lists[kind][path] if w is not one)
            if rest:
                self._lists[kind][path] = rest
            else:
                del self._lists[kind][path]
        return gone

    def drop(self, kinds: Sequence[str] = KINDS) -> List[Tuple[str, str, Watcher]]:
        """Forget all watches of these kinds; (kind, path, watcher) of each is returned."""
        gone = [(kind, path, w) for kind in kinds for path, ws in self._lists[kind].items() for w in ws]
        for kind in kinds:
            self._lists[kind] = {}
        return gone

    # ---------------------------------------------------------------------- notifications

    def fire(self, event_type: str, path: str) -> List[Tuple[Watcher, Optional[str]]]:
        """The watchers an event is for, each once, with the path of its persistent watch; one-shot watches go with it.

        A watcher with watches of both kinds counts as one that waited once: without a path.
        """
        found: List[Tuple[Watcher, Optional[str]]] = []
        for kind in FIRES.get(event_type, ()):
            found += [(watcher, None) for watcher in self._lists[kind].pop(path, ())]
        found += [(watcher, path) for watcher in self._lists[PERSISTENT].get(path, ())]
        recursive = self._lists[RECURSIVE]
        if recursive and event_type != EventType.CHILD:  # each node below tells of itself
            for above in _above(path, recursive):
                found += [(watcher, above) for watcher in recursive[above]]
        if len(found) < 2:
            return found
        first: Dict[Any, Tuple[Watcher, Optional[str]]] = {}
        for watcher, at in found:
            first.setdefault(identity(watcher), (watcher, at))
        return list(first.values())

    def notified(self, event: WatcherEvent, state: str) -> Iterator[Union[Fired, Noted]]:
        """A notification. An event of an unknown type is noted; one that no watcher waits for is passed over."""
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

        No batch, with its header, is longer than `limit`, unless it is one path that alone is too long.

        SetWatches2 is used only if a persistent watch exists: servers before 3.6 hang up on it. The server makes
        events for what changed since `relative_zxid`, which must be taken before any reply of the new connection.
        """
        lists, recursive = self._lists, self._lists[RECURSIVE]
        make: Union[Type[SetWatches], Type[SetWatches2]] = SetWatches2 if self.lasting else SetWatches
        first = [(kind, path) for kind in KINDS for path in lists[kind] if kind != CHILD or path not in recursive]
        yield from _batches(make, first, relative_zxid, limit)
        behind = [(CHILD, path) for path in lists[CHILD] if path in recursive]  # it would be silenced: watch_modes.py
        yield from _batches(SetWatches, behind, relative_zxid, limit)

    def too_long(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay that cannot be sent: its watches are gone."""
        for kind in KINDS:
            for path in getattr(op, kind, ()):
                for _, watcher in self.remove(path, None, (kind,)):
                    yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    def replayed(self, op: Op[Any]) -> Iterator[Fired]:
        """A replay was accepted. Persistent watches get no catch-up events, so their owners must read afresh."""
        if isinstance(op, SetWatches2):
            for kind, paths in ((PERSISTENT, op.persistent), (RECURSIVE, op.recursive)):
                for path in paths:
                    watchers = [w for _, w in self.watchers(path, (kind,))]
                    for fired in self._tell(watchers, EventType.NONE, KeeperState.CONNECTED, path):
                        yield fired._replace(lasting=[fired.event.path] * len(watchers))

    def unsupported(self) -> Iterator[Fired]:
        """The server of the new connection knows no persistent watches: they are gone."""
        for kind, path, watcher in self.drop((PERSISTENT, RECURSIVE)):
            yield from self._tell([watcher], REMOVED[kind], KeeperState.CONNECTED, path)

    # -------------------------------------------------------------------------- removal

    def where(self, op: RemoveWatches) -> RemoveWatches:
        """The removal as it is meant: below a chroot, the configuration's node is known by its path outside of it."""
        inside = self._scope.prepend(op.path)
        if op.path != CONFIG_NODE or op.path == inside or self.watchers(inside) or not self.watchers(CONFIG_NODE):
            return op
        return RemoveConfigWatches(op.kind, op.watcher, op.local)

    def removal(self, op: RemoveWatches, coming: Iterable[Op[Any]]) -> str:
        """What a removal takes: "nothing" is there, it is done "here", or the "server" is to be asked.

        The server knows paths, not watchers: it is not asked while another watcher waits for this path, or is about to
        when operations that are `coming` succeed. Nor for one kind only where a persistent watch stands, half of which
        it would remove (WatchManager keeps those among the others).
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
        """The watches are gone."""
        path = op.server_path(self._scope)
        for kind, watcher in self.remove(path, op.watcher, REMOVABLE[op.kind]):
            yield from self._tell([watcher], REMOVED[kind], state, path)

    def ended(self, state: str) -> Iterator[Fired]:
        """The session is gone, all watches with it: each watcher hears of it once for each of its paths."""
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
            return path  # outside the chroot, as /zookeeper/config is: its own name is the right one


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
    """Those of the `known` paths that are `path` itself or above it, nearest first where there is little to walk.

    A server may send a path of a million nodes: walking up, each step a copy, would take minutes.
    """
    if path.count("/") > len(known):
        yield from (above for above in known if path == above or above == "/" or path.startswith(above + "/"))
        return
    while path:
        if path in known:
            yield path
        path = path.rpartition("/")[0] or ("/" if path != "/" else "")
