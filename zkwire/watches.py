"""Which watcher waits for which path and kind, what a notification fires, and how the rest is armed again.

Owns the five lists of watches, keyed by the server's paths. Must not know connections, chroots or who calls watchers.
"""

from __future__ import annotations

from typing import Any, Collection, Dict, Iterator, List, Optional, Sequence, Tuple, Type, Union

from .op import Op
from .ops import SetWatches, SetWatches2
from .records import CHILD, DATA, EXIST, PERSISTENT, RECURSIVE, EventType, Watcher

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


class Watches:
    """The watches of one session."""

    def __init__(self) -> None:
        self._lists: Dict[str, Dict[str, _Watchers]] = {kind: {} for kind in KINDS}

    def __len__(self) -> int:
        return sum(len(paths) for paths in self._lists.values())

    def add(self, kind: str, path: str, watcher: Watcher) -> None:
        """Let `watcher` wait; the same one waits once only."""
        paths = self._lists[kind]
        present = paths.get(path)
        if present is None:
            paths[path] = (watcher,)
        elif watcher not in present:
            paths[path] = (*present, watcher)

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

    def fire(self, event_type: str, path: str) -> List[Tuple[Watcher, Optional[str]]]:
        """Whom an event is for, each once, with the path of his persistent watch; one-shot watches are gone after that.

        Who has both kinds counts as one who waited once: without a path.
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
        first: Dict[Watcher, Optional[str]] = {}
        for watcher, at in found:
            first.setdefault(watcher, at)
        return list(first.items())

    def remove(
        self, path: str, watcher: Optional[Watcher] = None, kinds: Sequence[str] = KINDS
    ) -> List[Tuple[str, Watcher]]:
        """Forget the watches of a path, or those of one watcher; they are returned with their kinds."""
        gone = [(kind, w) for kind, w in self.watchers(path, kinds) if watcher is None or w == watcher]
        for kind, one in gone:
            rest = tuple(w for w in self._lists[kind][path] if w != one)
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
        behind = [(CHILD, path) for path in lists[CHILD] if path in recursive]  # which would silence it: see modes.py
        yield from _batches(SetWatches, behind, relative_zxid, limit)


def _batches(
    make: Union[Type[SetWatches], Type[SetWatches2]], watches: Sequence[Tuple[str, str]], zxid: int, limit: int
) -> Iterator[Op[Any]]:
    """Requests for the (kind, path)s, in their order."""
    batch: Dict[str, List[str]] = {}
    size, limit = 0, min(BATCH, limit - _AROUND)
    for kind, path in watches:
        cost = len(path.encode()) + 4
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
