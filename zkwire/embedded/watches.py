"""The server's watches: the watchers of each path, and the notifications of a change.

Owns the server's two lists of watches (data and children), the three modes and the order of notifications. Must not
know trees, sessions or bytes: a watcher is any hashable object, and notifications are returned, not sent.
"""

from __future__ import annotations

from typing import Any, Dict, FrozenSet, Hashable, List, Optional, Tuple

from ..errors import MarshallingError
from ..paths import parent_of
from .tree import CHILD, DELETED, Change
from .versions import Profile

STANDARD, PERSISTENT, RECURSIVE = "standard", "persistent", "recursive"
Modes = FrozenSet[str]
_NONE: Modes = frozenset()


class WatchList:
    """One of the lists: path to watcher to modes. Iteration is in order of arrival, so that runs are repeatable."""

    def __init__(self, modes_add_up: bool) -> None:
        self._modes_add_up = modes_add_up
        self.paths: Dict[str, Dict[Hashable, Modes]] = {}
        self.recursive = 0
        self._paths_of: Dict[Hashable, Dict[str, None]] = {}

    def add(self, path: str, watcher: Hashable, mode: str) -> None:
        """Add a mode; before 3.9 it replaces any other."""
        old = self.paths.get(path, {}).get(watcher, _NONE)
        self._put(path, watcher, old | {mode} if self._modes_add_up else frozenset({mode}))

    def drop(self, path: Optional[str], watcher: Hashable, mode: Optional[str] = None) -> bool:
        """Remove one mode or, with None, all; returns whether there was one."""
        old = _NONE if path is None else self.paths.get(path, {}).get(watcher, _NONE)
        if path is None or not old:
            return False
        new = _NONE if mode is None else old - {mode}
        self._put(path, watcher, new)
        return old != new

    def has(self, path: Optional[str], watcher: Hashable, mode: Optional[str] = None) -> bool:
        """Whether the watcher has this mode here or, with None, any mode."""
        modes = _NONE if path is None else self.paths.get(path, {}).get(watcher, _NONE)
        return bool(modes) if mode is None else mode in modes

    def forget(self, watcher: Hashable) -> None:
        """Drop all watches of one watcher."""
        for path in list(self._paths_of.get(watcher, ())):
            self._put(path, watcher, _NONE)

    def trigger(self, change: Change, type_: int) -> Dict[Hashable, str]:
        """The watchers to notify of an event of `type_` at the change's path, and the path each watches, nearest first.

        Standard watches are removed.
        """
        told: Dict[Hashable, str] = {}
        for watcher, modes in list(self.paths.get(change.path, {}).items()):
            if not self._modes_add_up and RECURSIVE in modes and type_ == CHILD:
                continue
            told[watcher] = change.path
            self._put(change.path, watcher, modes - {STANDARD})
        above = change.path
        while self.recursive and above not in ("/", ""):
            above = parent_of(above)
            for watcher, modes in self.paths.get(above, {}).items():
                if RECURSIVE in modes and (self._modes_add_up or type_ != CHILD):
                    told.setdefault(watcher, above)
        return told

    def _put(self, path: str, watcher: Hashable, modes: Modes) -> None:
        watchers = self.paths.setdefault(path, {})
        self.recursive += (RECURSIVE in modes) - (RECURSIVE in watchers.get(watcher, _NONE))
        if modes:
            watchers[watcher] = modes
            self._paths_of.setdefault(watcher, {})[path] = None
        elif watchers.pop(watcher, None):
            _discard(self._paths_of, watcher, path)
        if not watchers:
            del self.paths[path]


def _discard(table: Dict[Any, Dict[Any, None]], key: Any, value: Any) -> None:
    """Remove one value, and the key with its last."""
    del table[key][value]
    if not table[key]:
        del table[key]


class ServerWatches:
    """Both lists."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.data = WatchList(profile.watch_modes_add_up)
        self.child = WatchList(profile.watch_modes_add_up)

    def add(self, path: str, watcher: Hashable, mode: str) -> None:
        """Add a persistent or recursive watch."""
        self.data.add(path, watcher, mode)
        if mode == PERSISTENT or not self._profile.watch_modes_add_up:
            self.child.add(path, watcher, mode)

    def forget(self, watcher: Hashable) -> None:
        """Drop all watches of one watcher, whose connection has ended."""
        self.data.forget(watcher)
        self.child.forget(watcher)

    def trigger(self, change: Change) -> Dict[Hashable, str]:
        """The watchers to notify of a change, in the order of the wire, each with its watched path.

        A deletion concerns both lists, but each watcher is notified once.
        """
        if change.type == CHILD:
            return self.child.trigger(change, CHILD)
        told = self.data.trigger(change, change.type)
        if change.type == DELETED:
            for watcher, path in self.child.trigger(change, DELETED).items():
                told.setdefault(watcher, path)
        return told

    def has(self, path: Optional[str], watcher: Hashable, kind: int) -> bool:
        """The answer to checkWatches. `MarshallingError` for an unknown kind, and for some bad paths."""
        places = self._places(kind)
        if kind == 4:
            places = places[1:]  # the data list counts for both
        if self._profile.counts_others_watches:
            return any([_has_any(watches, path) for watches, _ in places])
        return any(watches.has(path, watcher, mode) for watches, mode in places)

    def drop(self, path: Optional[str], watcher: Hashable, kind: int) -> bool:
        """Do removeWatches; returns whether there was a watch of the kind."""
        return any([watches.drop(path, watcher, mode) for watches, mode in self._places(kind)])

    def _places(self, kind: int) -> List[Tuple[WatchList, Optional[str]]]:
        """The places of watches of a kind (Watcher.WatcherType); `MarshallingError` for an unknown kind."""
        adds_up = self._profile.watch_modes_add_up
        standard = STANDARD if adds_up else None
        table: Dict[int, Any] = {
            1: [(self.child, standard)],
            2: [(self.data, standard)],
            3: [(self.child, None), (self.data, None)],
        }
        if adds_up:
            table[4] = [(self.child, PERSISTENT), (self.data, PERSISTENT)]
            table[5] = [(self.data, RECURSIVE)]
        if kind not in table:
            raise MarshallingError(f"watches of kind {kind}")
        places: List[Tuple[WatchList, Optional[str]]] = table[kind]
        return places

    def summary(self) -> Tuple[int, int, int]:
        """Of the data list: the numbers of watchers, paths, and watches."""
        watchers = {watcher for there in self.data.paths.values() for watcher in there}
        return len(watchers), len(self.data.paths), sum(map(len, self.data.paths.values()))


def _has_any(watches: WatchList, path: Optional[str]) -> bool:
    """checkWatches before 3.9: a watch of any connection counts, and paths without a slash are an error."""
    if path is None or (path and "/" not in path):
        raise MarshallingError(f"watches of {path!r}")
    if path and path in watches.paths:
        return True
    if watches.recursive and path and not path.startswith("/"):
        raise MarshallingError(f"watches of {path!r}")
    return False
