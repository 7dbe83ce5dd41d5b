"""What an instancer decides, without threads, sockets or clocks: who is in one directory, as sets that really existed.

Owns what is watched and read, and when a set is shown. `Runner` (or a simulation) feeds it what happens, in wire order,
and carries out `operations`. Rules:

1. A set is shown when it is known whole (see `timeline`): under steady changes that is the newest instant all of
   whose values are known, a round trip ago. A partial set is never shown. A batch of events that needs no read is
   closed by a *barrier*, a request whose answer says that the transaction is over.
2. A node that changes while its read is under way needs no second read: the answer comes behind the event and shows it.
   Where several nodes change faster than they can be read one by one, these are read in one go, a *sweep*: the answers
   lie so close together that hardly a change comes in between.
3. With ZooKeeper 3.6 and later one persistent recursive watch tells of every change, and each costs one read. Before
   3.6, one watch is on the list and one on each node; a changed list is read again, of the nodes only the new ones. A
   watch that has fired tells of no second change: the version of the data says whether there was one.
   Servers may be upgraded, so that each new connection is asked for the recursive watch. Where a connection was lost
   with this request under way, the request is alone the next time, and comes ever later behind what others ask for:
   servers that hang up on what they do not know are found out by this. After `LOSSES` of these one is not asked.
4. One child costs one child: what cannot be read is left out and named. A refused one is asked for again, ever more
   slowly, since no event says that it may be read now. One whose answer ended the connection, because it was too large,
   is asked for its size first from then on.
5. Other trouble is published with the last good set. Whatever the trouble was, reading starts again: at once with a new
   connection, unless it was what we asked for that ended the one before, otherwise ever more slowly.
6. No set is older than the one shown before. Within a session servers see to that. A new session has seen nothing yet,
   and until it is answered, it may be resumed by a server that is behind what the one before has seen: so what it reads
   first, it reads behind a `sync`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from ._zkwire import EventType, KeeperState, Stat, WatchedEvent, errors, ops, paths
from .codecs import TEXT, Codec
from .replica import Nodes
from .timeline import GONE, LIST, Timeline
from .values import Event, Node, ReadOnlyServerError, left_out

#: Pauses between tries while there is a connection, in seconds; of one refused child, up to three times as long.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
#: What a new connection cures; the session says so itself.
TRANSIENT = (errors.ConnectionLoss, errors.SessionExpiredError, errors.SessionMovedError)
#: What is not the fault of the node that was asked for.
GENERAL = (
    *TRANSIENT, errors.ConnectionClosedError, errors.AuthFailedError, errors.TooManyPendingError,
    errors.ThrottledOpError, errors.UnimplementedError, errors.OperationTimeoutError,
    errors.RequestTimeoutError, errors.NestedCallError,
)  # fmt: skip

#: So many connections in a row may end with the request for the recursive watch under way.
LOSSES = 6
#: How long that request waits after the second of them, in seconds; then twice as long each time.
ALONE = 0.1
#: A node with less data than this, in bytes, is not too large for any client.
SMALL = 4096
#: A sweep begins when something has not been shown for so long, in seconds: nine of them may fail within `LATE`.
SWEEP = 0.1
#: What is shown may be older than this, in seconds, only if `stale_since` says so. It is more than a round trip between
#: any two continents with a sweep on top, and no more than the shortest session timeout, as a dead process has.
LATE = 1.0

#: After a reconnect a set that is known is read afresh at a random moment: one of so many nodes within a second, a
#: smaller one sooner, a larger one no later. Where a whole fleet comes back, what is small is served first, and so are
#: registrations.
RELOADS, LONGEST_DELAY, SHORTEST_DELAY = 10_000, 1.0, 0.01

_WATCH, _LIST, _EXISTS, _DATA, _SIZE, _BARRIER, _SWEEP = "watch", "list", "exists", "data", "size", "barrier", "sweep"
_SYNC = "sync"
_Key = Tuple[int, str, str]
#: What tells two values of a node apart: when it was made, and how often it was set since.
_Version = Tuple[int, int]


class Membership:
    """The instances in `directory`. `watcher` is what ZooKeeper should call; it must end up in `watched`.

    Children whose names `accept` does not take are no instances, nor are those that the codec does not. `random` gives
    numbers from 0.0 to 1.0. A recursive watch of `lead` covers this directory, too: whoever feeds this one hands on its
    events, and begins a session here once that has read its directory. `burden` says how many nodes are read afresh
    with it.
    """

    def __init__(
        self, directory: str, watcher: Callable[[WatchedEvent], object],
        accept: Optional[Callable[[str], bool]] = None, random: Callable[[], float] = lambda: 0.0,
        codec: Codec[Any] = TEXT, lead: Optional[Membership] = None, burden: Optional[Callable[[], int]] = None,
    ) -> None:  # fmt: skip
        self.directory = directory
        self._watcher, self._accept, self._random, self._codec = watcher, accept, random, codec
        self._lead, self._burden = lead, burden
        self._inside = directory if directory == "/" else directory + "/"
        self._connected = self._read_only = self._over = False
        self._session: Optional[int] = None
        self._shown_in: Optional[int] = None  # the session that a set was shown in last
        #: Whether one watch tells of everything.
        self.recursive = True
        #: How often it was read afresh.
        self.loads = 0
        self._losses = 0  # connections in a row that ended with the request for the recursive watch under way
        self._round = 0  # answers of earlier rounds no longer count
        self._reading: Dict[Tuple[str, str], int] = {}  # how many reads of a thing are under way
        self._operations: List[Tuple[_Key, Any]] = []
        self._timeline = Timeline(0.0, codec)
        self._present: Dict[str, Optional[_Version]] = {}  # the children as of the newest word; None: not read yet
        self._refused: Dict[str, Exception] = {}
        self._harmful: Dict[str, _Harm] = {}  # whose answer ended a connection
        self._ask_again_at: Optional[float] = None  # for those refused
        self._patience = FIRST_PAUSE
        self._sweep_from = 0.0
        self._events: List[Event[Any]] = []
        #: The nodes of the newest set.
        self.nodes: Nodes = ()
        #: Of that set by name, why a node is left out.
        self.left_out: Dict[str, Exception] = {}
        self._afresh = True  # whether what is shown next was read afresh
        self._newest: Optional[Event[Any]] = None
        self._trouble_since: Optional[float] = None
        self._ours: Optional[Exception] = None  # the trouble by which we ended the connection ourselves
        self._retry_at: Optional[float] = None
        self._pause = FIRST_PAUSE

    # -------------------------------------------------------------------------- out

    def operations(self) -> List[Tuple[_Key, Any]]:
        """(key, operation) to submit, in order; report each outcome with `answered(key, ...)`."""
        operations, self._operations = self._operations, []
        return operations

    def events(self) -> List[Event[Any]]:
        """What is to be published, in order."""
        events, self._events = self._events, []
        return events

    def current(self, key: _Key) -> bool:
        """Whether the answer to `key` is still of interest."""
        return key[0] == self._round

    @property
    def over(self) -> bool:
        """Whether there will never be another event."""
        return self._over

    def stop(self, local: bool = False) -> ops.RemoveWatches:
        """The operation that ends our watch; before 3.6 no server is told, since those before 3.5 hang up on it.

        With `local` it is not told either: there is no connection, and no watch that the client does not set again.
        """
        return ops.RemoveWatches(self.directory, watcher=self._watcher, local=local or not self.recursive)

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        times = [self._retry_at, self._ask_again_at, self._sweep_at()]
        return min((time for time in times if time is not None), default=None)

    def stale_since(self, now: float) -> Optional[float]:
        """Since when the newest event may be out of date, as far as is known, or None.

        With trouble, since it was noticed; without, once a change that was heard of has not been shown for `LATE`.
        """
        behind = self._timeline.behind_since
        if self._trouble_since is not None or behind is None:
            return self._trouble_since
        return behind if now - behind > LATE else None

    # --------------------------------------------------------------------------- in

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """There is a connection with this session now; None: there is none. `read_only`: the server has no quorum."""
        if session_id is None:
            self._abort(now)
            self._retry_at, self._connected = None, False
            loss = errors.ConnectionLoss("no connection to ZooKeeper", self.directory, sent=False)
            self._trouble(self._ours or loss, now)
            return
        self._connected, self._read_only, self._session = True, read_only, session_id
        self.recursive = self._losses < LOSSES if self._lead is None else self._lead.recursive
        if not self.recursive and self._lead is None:
            self._losses -= 1  # the next connection is asked again
        if self._ours is not None:
            self._abort(now)
            self._retry(now)
            return
        self._pause = FIRST_PAUSE
        alone = ALONE * 2 ** (self._losses - 2) if self.recursive and self._losses > 1 else 0.0
        known = sum(map(len, self.nodes)) + (self._burden() if self._burden is not None else 0)
        delay = max(alone, self._random() * min(known / RELOADS, LONGEST_DELAY))
        if delay < SHORTEST_DELAY or self._lead is not None:
            self._load(now)
        else:
            self._abort(now)
            self._later(delay, now)

    def ended(self, error: Exception, now: float) -> None:
        """There will never be a session again: the last set stays, with the cause, and nothing follows."""
        self._abort(now)
        self._connected, self._retry_at, self._ours, self._over = False, None, error, True
        self._trouble(error, now)

    def kept_waiting(self, error: Exception, now: float) -> None:
        """There is a connection, but for this cause no session is begun here as yet."""
        if not self._connected:
            self._trouble(error, now)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """A watch of ours has fired."""
        if not self._connected or self._retry_at is not None:
            return  # all is read afresh anyway
        if event.type in (EventType.NONE, EventType.PERSISTENT_WATCH_REMOVED):
            if event.state == KeeperState.CONNECTED and self.recursive and (_WATCH, "") not in self._reading:
                self._load(now)  # armed again after a reconnect: changes may have been missed
            return
        path = event.path or ""
        name = path[len(self._inside) :] if path.startswith(self._inside) else ""
        if not name:
            self._directory_changed(event.type, now)
        elif "/" not in name and self._takes(name):
            if event.type == EventType.DELETED:
                self._gone(name, now)
                if not self.recursive:
                    self._list_changed(now)  # that event follows, and finds the list under way
            elif event.type in (EventType.CREATED, EventType.CHANGED):
                self._changed(name, now)
        self._close_batch()

    def timed_out(self, now: float) -> None:
        """Time has passed: try again, ask again for who is refused, or sweep."""
        sweep_at = self._sweep_at()
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            if self._connected:
                self._load(now)
            return
        if self._ask_again_at is not None and now >= self._ask_again_at:
            self._ask_again_at = None
            for name in self._refused:
                self._ask_for(name)
        if sweep_at is not None and now >= sweep_at:
            self._sweep(now)

    def answered(self, key: _Key, outcome: Any, now: float) -> None:
        """The outcome of operation `key`."""
        number, kind, name = key
        if isinstance(outcome, errors.ProtocolError):
            self._blame(kind, name, outcome)  # whatever came of the round it belongs to
        if number != self._round:
            return
        thing = (_DATA if kind == _SIZE else kind, name)
        self._reading[thing] -= 1
        if not self._reading[thing]:
            del self._reading[thing]
        if kind == _WATCH and isinstance(outcome, errors.UnimplementedError):
            self.recursive = False
            self._abort(now)
            self._later(0.0, now)  # the server hangs up on it, or did before; a new connection loads as well
        elif kind == _WATCH and self._losses and not isinstance(outcome, Exception):
            self._losses = 0
            self._read_list()
        elif kind == _SYNC and isinstance(outcome, errors.NotReadOnlyCallError):
            pass  # what such a server has may be old, which is published with it
        elif kind == _SYNC and isinstance(outcome, errors.UnimplementedError):
            self._shown_in = self._session  # asked once: the server may hang up on it
        elif isinstance(outcome, errors.NoNodeError):
            self._missing(kind, name, now)
        elif kind == _DATA and isinstance(outcome, Exception) and not isinstance(outcome, GENERAL):
            self._unreadable(name, outcome, now)
        elif isinstance(outcome, Exception):
            self._losses += kind == _WATCH and isinstance(outcome, errors.ConnectionLoss) and outcome.sent
            self._failed(outcome, now)
        elif kind == _LIST:
            self._listed(outcome, now)
        elif kind == _EXISTS and outcome is not None:
            self._ask(_LIST, "", self._list())
        elif kind == _SIZE:
            self._measured(name, outcome, now)
        elif kind == _DATA:
            self._read(name, Node(name, outcome[0] or b"", outcome[1]), now)  # null counts as empty, as Go kit has it
        if number == self._round:
            if self._timeline.answered():
                self._publish(now)
            self._close_batch()

    # ---------------------------------------------------------------------- reading

    def _load(self, now: float) -> None:
        """Read everything afresh; what was published stays until the new set is whole."""
        self._abort(now)
        self._retry_at = None
        if self.recursive and self._lead is None:
            self._ask(_WATCH, "", ops.AddWatch(self.directory, self._watcher, True))
        if not self.recursive or not self._losses:
            self._read_list()

    def _read_list(self) -> None:
        if self._shown_in not in (None, self._session) and self._lead is None:  # which has done that
            self._ask(_SYNC, "", ops.Sync(self.directory))
        self._ask(_LIST, "", self._list())

    def _list(self) -> ops.GetChildren:
        return ops.GetChildren(self.directory, None if self.recursive else self._watcher)

    def _ask_for(self, name: str) -> None:
        """Ask for a child's data, or first for its size, if that may be too much."""
        path, watcher = self._inside + name, None if self.recursive else self._watcher
        if name in self._harmful:
            self._ask(_SIZE, name, ops.Exists(path, watcher))
        else:
            self._ask(_DATA, name, ops.GetData(path, watcher))

    def _ask(self, kind: str, name: str, op: Any) -> None:
        thing = (_DATA if kind == _SIZE else kind, name)
        self._reading[thing] = self._reading.get(thing, 0) + 1
        self._operations.append(((self._round, kind, name), op))

    def _close_batch(self) -> None:
        """See that an answer comes behind what was heard."""
        if not self._reading and self._timeline.behind_since is not None:
            self._ask(_BARRIER, "", ops.Exists(self.directory))

    def _sweep_at(self) -> Optional[float]:
        """When to read in one go what changes faster than it is answered."""
        behind = self._timeline.behind_since
        if behind is None or (_SWEEP, "") in self._reading or self._retry_at is not None:
            return None
        return max(behind + SWEEP, self._sweep_from) if self._timeline.missed() - {LIST} else None

    def _sweep(self, now: float) -> None:
        """Read it; the request behind it says when the next one may come.

        The server answers all of it at about one moment. So it takes in whatever changes often: a node that is left
        out, and changes on the way, would leave that moment unknown.
        """
        self._sweep_from = now + SWEEP
        names = self._timeline.restless()
        if LIST in names:
            self._ask(_LIST, "", self._list())
        for name in sorted(names - {LIST}):  # also what is not there just now: it may be, by then
            self._ask_for(name)
        self._ask(_SWEEP, "", ops.Exists(self.directory))

    # ------------------------------------------------------------------------ events

    def _takes(self, name: str) -> bool:
        """Whether a child is to be followed: its name can be one, and the user takes it."""
        if not paths.is_name(name) or not self._codec.naming.accepts(name):
            return False
        return self._accept is None or self._accept(name)

    def _changed(self, name: str, now: float) -> None:
        """It has come, or has other data."""
        self._present.setdefault(name, None)
        self._timeline.changed(name, now)
        if (_DATA, name) not in self._reading:
            self._ask_for(name)

    def _gone(self, name: str, now: float) -> None:
        if self._present.pop(name, GONE) is not GONE:
            self._timeline.known(name, GONE, now)
        self._refused.pop(name, None)
        self._harmful.pop(name, None)

    def _list_changed(self, now: float) -> None:
        self._timeline.changed(LIST, now)
        if (_LIST, "") not in self._reading:
            self._ask(_LIST, "", self._list())

    def _directory_changed(self, event_type: str, now: float) -> None:
        """Its list has changed, or it has come or gone; or, of the recursive watch, anything below it has changed.

        Compatible servers tell the watched path instead of the node's, so that all nodes are to be read again; what
        is under way already will be answered with the change.
        """
        if self.recursive:
            for name in [name for kind, name in self._reading if kind == _DATA and name in self._present]:
                self._timeline.changed(name, now)
            self._list_changed(now)
            self._present = dict.fromkeys(self._present)
        elif event_type in (EventType.CHILD, EventType.CREATED, EventType.DELETED):
            self._list_changed(now)

    # ----------------------------------------------------------------------- answers

    def _listed(self, names: List[str], now: float) -> None:
        """The list is in: read what we do not have, forget what is gone."""
        there = {name for name in names if self._takes(name)}
        for name in [name for name in self._present if name not in there]:
            self._gone(name, now)
        for name in sorted(there):
            if self._present.setdefault(name, None) is not None or self._timeline.waits(name):
                continue
            if name not in self._refused or self.recursive:
                self._changed(name, now)
        if self._timeline.waits(LIST):
            self._timeline.known(LIST, None, now)

    def _read(self, name: str, node: Node, now: float) -> None:
        """A child's data is in."""
        if name not in self._present:
            return  # it is gone, or its coming is still to be told
        before, version = self._present[name], (node.stat.czxid, node.stat.version)
        self._present[name] = version
        was_refused = self._refused.pop(name, None) is not None
        if not self._timeline.waits(name):
            if version != before or was_refused:
                self._timeline.known(name, node, now)
        elif self.recursive or self._changed_once(name, before, version):
            self._timeline.read(name, node, now)
        else:
            self._timeline.known(name, node, now)

    def _changed_once(self, name: str, before: Optional[_Version], version: _Version) -> bool:
        """Whether a node, whose watch has fired once, has changed no more than once since."""
        if before is None:  # new in the list: it was there, as it was made, unless it was made again since
            return version[1] == 0 and not self._timeline.waits(LIST) and self._timeline.listed_once(name)
        return version[0] == before[0] and version[1] <= before[1] + 1

    def _missing(self, kind: str, name: str, now: float) -> None:
        """There is no such node: gone between list and read; or there is no directory, which is an empty set."""
        if kind == _LIST:
            self._listed([], now)
            if not self.recursive:
                self._ask(_EXISTS, "", ops.Exists(self.directory, self._watcher))
        elif name:
            self._gone(name, now)

    def _unreadable(self, name: str, cause: Exception, now: float) -> None:
        """The server refuses this child, or its answer cannot be taken."""
        self._leave_out(name, cause, now)
        if self._ask_again_at is None:
            self._ask_again_at = now + self._patience
            self._patience = min(self._patience * 2, LONGEST_PAUSE * 3)

    def _blame(self, kind: str, name: str, cause: errors.ProtocolError) -> None:
        """The answer to this has ended the connection, or is going to."""
        if kind == _DATA:
            self._harmful[name] = _Harm(cause)
        else:
            self._ours = cause

    def _leave_out(self, name: str, cause: Exception, now: float) -> None:
        if name not in self._present:
            return
        before = self._refused.get(name)
        if before is None:
            self._patience = FIRST_PAUSE
        if self._timeline.waits(name) or str(before) != str(cause):
            self._refused[name] = cause
            self._timeline.known(name, cause, now)

    def _measured(self, name: str, stat: Optional[Stat], now: float) -> None:
        """How much data a child has whose answer has once ended the connection."""
        harm = self._harmful.get(name)
        if stat is None or harm is None:
            self._gone(name, now)
        elif harm.is_over(stat):
            del self._harmful[name]
            self._ask_for(name)
        else:
            harm.stat = stat
            self._leave_out(name, harm.cause, now)

    # -------------------------------------------------------------------- publishing

    def _publish(self, now: float) -> None:
        """Show the newest whole set, if it is news."""
        self._pause, self._ours, self._shown_in = FIRST_PAUSE, None, self._session
        replica, newest = self._timeline.replica, self._newest
        error: Optional[Exception] = None
        if self._read_only:
            error = ReadOnlyServerError(None, self.directory)
        elif replica.left_out:
            error = left_out({self._inside + name: cause for name, cause in replica.left_out.items()})
        if not self._read_only:
            self._trouble_since = None
        elif self._trouble_since is None:
            self._trouble_since = now
        if error is not None and newest is not None and str(newest.error) == str(error):
            error = newest.error  # the same trouble is no news
        before, self.nodes, self.left_out = self.nodes, replica.nodes(), dict(replica.left_out)
        changed = replica.news()
        if self._afresh:
            changed, self._afresh = not same(before, self.nodes), False
            self.loads += 1
        self._show(Event(replica.instances(), error), changed)

    def _show(self, event: Event[Any], changed: bool = False) -> None:
        """Publish it, if it is news, or its nodes are."""
        if changed or event != self._newest:
            self._newest = event
            self._events.append(event)

    def _trouble(self, error: Exception, now: float) -> None:
        """Say so, with the last good set."""
        newest = self._newest
        if self._trouble_since is None:
            self._trouble_since = now
        if newest is None or type(newest.error) is not type(error) or str(newest.error) != str(error):
            self._show(Event(newest.instances if newest is not None else (), error))

    def _failed(self, error: Exception, now: float) -> None:
        self._abort(now)
        if not isinstance(error, TRANSIENT):
            self._trouble(error, now)
        self._retry(now)

    def _retry(self, now: float) -> None:
        self._later(self._pause, now)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _later(self, pause: float, now: float) -> None:
        self._retry_at = now + pause

    def _abort(self, now: float) -> None:
        """Answers to come are for nobody, and everything is to be read afresh."""
        self._round += 1
        self._reading, self._operations, self._present, self._refused = {}, [], {}, {}
        behind = self._timeline.behind_since  # what is not shown yet does not become newer by being read afresh
        self._timeline = Timeline(now if behind is None else behind, self._codec)
        self._ask_again_at, self._afresh = None, True


def same(nodes: Nodes, others: Nodes) -> bool:
    """Whether these are nodes of the same names, with the same data."""
    return len(nodes) == len(others) and all(map(_same_table, nodes, others))


def _same_table(ours: Dict[str, Node], theirs: Dict[str, Node]) -> bool:
    return ours.keys() == theirs.keys() and all(node.data == theirs[name].data for name, node in ours.items())


class _Harm:
    """Why a child's answer has ended a connection, and what the node was like then, once that is known."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        self.stat: Optional[Stat] = None

    def is_over(self, stat: Stat) -> bool:
        """Whether the node is another one now, so that it may be read."""
        if not isinstance(self.cause, errors.FrameTooLargeError):
            return self.stat is not None and stat.mzxid != self.stat.mzxid
        return stat.dataLength < (SMALL if self.stat is None else self.stat.dataLength)
