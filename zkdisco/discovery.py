"""What an instancer decides, without threads, sockets or clocks: a replica of one directory, shown when it is whole.

Owns what is watched and read, and when a set may be shown. `Runner` (or a simulation) feeds it what happens, in wire
order, and carries out `operations`. Rules:

1. A set is published only while no read is under way: events come before the replies that show their change, so then
   the replica is what the server has. A partial set is never shown. A deletion, which needs no read, gets one all the
   same: it may be the first event of a transaction (or of the end of a session) that did more.
2. With ZooKeeper 3.6 and later one persistent recursive watch tells of every change, and each costs one read. Before
   3.6, one watch is on the list and one on each node; a changed list is read again, of the nodes only the new ones.
   Servers may be upgraded, so that each new connection is asked for the recursive watch. Where a connection was lost
   with this request under way, the request is alone the next time, and comes ever later behind what others ask for:
   servers that hang up on what they do not know are found out by this. After `LOSSES` of these one is not asked.
3. Trouble is published with the last good set. Whatever the trouble was, reading starts again: at once with a new
   connection, otherwise ever more slowly.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from ._zkwire import EventType, KeeperState, WatchedEvent, errors, ops, paths
from .model import Event, UndecodableDataError
from .replica import Replica

#: Pauses between tries while there is a connection, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: What a new connection cures; the session says so itself.
TRANSIENT = (errors.ConnectionLoss, errors.SessionExpiredError, errors.SessionMovedError)

#: So many connections in a row may end with the request for the recursive watch under way.
LOSSES = 6
#: How long that request waits after the second of them, in seconds; then twice as long each time.
ALONE = 0.1

_WATCH, _LIST, _EXISTS, _DATA, _BARRIER = "watch", "list", "exists", "data", "barrier"
_Key = Tuple[int, str, str]


class Discovery:
    """The instances in `directory`. `watcher` is what ZooKeeper should call; it must end up in `watched`."""

    def __init__(self, directory: str, watcher: Callable[[WatchedEvent], object]) -> None:
        self.directory = directory
        self._watcher = watcher
        self._inside = directory if directory == "/" else directory + "/"
        self._replica = Replica()
        self._connected = False
        self._recursive = True
        self._losses = 0  # connections in a row that ended with the request for the recursive watch under way
        self._round = 0  # answers of earlier rounds no longer count
        self._reading: Dict[Tuple[str, str], int] = {}  # how many reads of a thing are under way
        self._operations: List[Tuple[_Key, Any]] = []
        self._events: List[Event] = []
        self._newest: Optional[Event] = None
        self._retry_at: Optional[float] = None
        self._pause = FIRST_PAUSE

    # -------------------------------------------------------------------------- out

    def operations(self) -> List[Tuple[_Key, Any]]:
        """(key, operation) to submit, in order; report each outcome with `answered(key, ...)`."""
        operations, self._operations = self._operations, []
        return operations

    def events(self) -> List[Event]:
        """What is to be published, in order."""
        events, self._events = self._events, []
        return events

    def current(self, key: _Key) -> bool:
        """Whether the answer to `key` is still of interest."""
        return key[0] == self._round

    def stop(self) -> ops.RemoveWatches:
        """The operation that ends our watch; before 3.6 no server is told, since those before 3.5 hang up on it."""
        return ops.RemoveWatches(self.directory, watcher=self._watcher, local=not self._recursive)

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return self._retry_at

    # --------------------------------------------------------------------------- in

    def session(self, session_id: Optional[int], now: float) -> None:
        """There is a connection with this session now; None: there is none."""
        if session_id is not None:
            self._connected, self._pause = True, FIRST_PAUSE
            self._recursive = self._losses < LOSSES
            if not self._recursive:
                self._losses -= 1  # the next connection is asked again
            if self._recursive and self._losses > 1:
                self._later(ALONE * 2 ** (self._losses - 2), now)
            else:
                self._load()
        else:
            self._abort()
            self._retry_at, self._connected = None, False
            self._trouble(errors.ConnectionLoss("no connection to ZooKeeper", self.directory, sent=False))

    def watched(self, event: WatchedEvent, now: float) -> None:
        """A watch of ours has fired."""
        if not self._connected or self._retry_at is not None:
            return  # all is read afresh anyway
        if event.type in (EventType.NONE, EventType.PERSISTENT_WATCH_REMOVED):
            if event.state == KeeperState.CONNECTED and self._recursive and (_WATCH, "") not in self._reading:
                self._load()  # armed again after a reconnect: changes may have been missed
            return
        path = event.path or ""
        name = path[len(self._inside) :] if path.startswith(self._inside) else ""
        if not name:
            self._directory_changed(event.type)
        elif "/" not in name:
            if event.type == EventType.DELETED:
                self._deleted(name)
            elif event.type in (EventType.CREATED, EventType.CHANGED):
                self._read(name)
        self._publish()

    def timed_out(self, now: float) -> None:
        """Try again."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            if self._connected:
                self._load()

    def answered(self, key: Tuple[int, str, str], outcome: Any, now: float) -> None:
        """The outcome of operation `key`."""
        number, kind, name = key
        if number != self._round:
            return
        thing = (kind, name)
        self._reading[thing] -= 1
        if not self._reading[thing]:
            del self._reading[thing]
        if kind == _WATCH and isinstance(outcome, errors.UnimplementedError):
            self._recursive = False
            self._abort()
            self._later(0.0, now)  # the server hangs up on it, or did before; a new connection loads as well
        elif kind == _WATCH and self._losses and not isinstance(outcome, Exception):
            self._losses = 0
            self._ask(_LIST, "", self._list())
        elif isinstance(outcome, errors.NoNodeError):
            self._missing(kind, name)
        elif isinstance(outcome, Exception):
            self._losses += kind == _WATCH and isinstance(outcome, errors.ConnectionLoss) and outcome.sent
            self._failed(outcome, now)
        elif kind == _LIST:
            self._listed(outcome)
        elif kind == _EXISTS and outcome is not None:
            self._ask(_LIST, "", self._list())
        elif kind == _DATA:
            self._replica.put(name, outcome[0])
        self._publish()

    # ---------------------------------------------------------------------- reading

    def _load(self) -> None:
        """Read everything afresh; what was published stays until the new set is whole."""
        self._abort()
        self._retry_at = None
        if self._recursive:
            self._ask(_WATCH, "", ops.AddWatch(self.directory, self._watcher, True))
        if not self._recursive or not self._losses:
            self._ask(_LIST, "", self._list())

    def _list(self) -> ops.GetChildren:
        return ops.GetChildren(self.directory, None if self._recursive else self._watcher)

    def _read(self, name: str) -> None:
        if paths.is_name(name):  # no honest server has others
            self._ask(_DATA, name, ops.GetData(self._inside + name, None if self._recursive else self._watcher))

    def _ask(self, kind: str, name: str, op: Any) -> None:
        thing = (kind, name)
        self._reading[thing] = self._reading.get(thing, 0) + 1
        self._operations.append(((self._round, kind, name), op))

    def _listed(self, names: List[str]) -> None:
        """The list is in: read what we do not have, forget what is gone."""
        self._replica.keep(names)
        for name in names:
            if name not in self._replica and (_DATA, name) not in self._reading:
                self._read(name)

    def _deleted(self, name: str) -> None:
        """It is gone; whatever went or came with it has been told of once any read from now on is answered."""
        self._replica.drop(name)
        if not self._recursive:
            self._directory_changed(EventType.CHILD)  # that event follows, and finds the list under way
        elif not self._reading:
            self._ask(_BARRIER, "", ops.Exists(self.directory))

    def _directory_changed(self, event_type: str) -> None:
        """Its list has changed, or it has come or gone; or, of the recursive watch, anything below it has changed.

        Compatible servers tell the watched path instead of the node's, so that all nodes are to be read again; what
        is under way already will be answered with the change.
        """
        if self._recursive:
            self._replica = Replica()
            if (_LIST, "") not in self._reading:
                self._ask(_LIST, "", self._list())
            return
        if event_type not in (EventType.CHILD, EventType.CREATED, EventType.DELETED):
            return
        # A list under way when a CHILD event comes has not been answered yet, and will show the change.
        if event_type != EventType.CHILD or (_LIST, "") not in self._reading:
            self._ask(_LIST, "", self._list())

    def _missing(self, kind: str, name: str) -> None:
        """There is no such node: gone between list and read; or there is no directory, which is an empty set."""
        if kind == _LIST:
            self._replica.keep(())
            if not self._recursive:
                self._ask(_EXISTS, "", ops.Exists(self.directory, self._watcher))
        else:
            self._replica.drop(name)

    # -------------------------------------------------------------------- publishing

    def _publish(self) -> None:
        """Show the set, if it is whole and news."""
        if self._reading or not self._connected or self._retry_at is not None:
            return
        self._pause = FIRST_PAUSE
        name, newest = self._replica.undecodable(), self._newest
        error: Optional[Exception] = None
        if name is not None:
            error = UndecodableDataError(None, self._inside + name)
            if newest is not None and str(newest.error) == str(error):
                error = newest.error  # the same trouble is no news
        self._show(Event(self._replica.instances(), error))

    def _show(self, event: Event) -> None:
        if event != self._newest:
            self._newest = event
            self._events.append(event)

    def _trouble(self, error: Exception) -> None:
        """Say so, with the last good set."""
        newest = self._newest
        if newest is None or type(newest.error) is not type(error) or str(newest.error) != str(error):
            self._show(Event(newest.instances if newest is not None else (), error))

    def _failed(self, error: Exception, now: float) -> None:
        self._abort()
        if not isinstance(error, TRANSIENT):
            self._trouble(error)
        self._later(self._pause, now)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _later(self, pause: float, now: float) -> None:
        self._retry_at = now + pause

    def _abort(self) -> None:
        """Answers to come are for nobody, and the replica is to be read afresh."""
        self._round += 1
        self._reading, self._operations, self._replica = {}, [], Replica()
