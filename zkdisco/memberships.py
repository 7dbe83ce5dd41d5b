"""What a catalog decides, without threads, sockets or clocks: who is in each of the directories below one directory.

Owns which services there are, and which of them an event or an answer is for. What is true of one service its own
`Membership` decides, and so does one for the list of services: the *root*, whose instances are their names. Rules:

1. With ZooKeeper 3.6 and later the recursive watch of the root tells of everything below it, so that a change costs one
   read. Before 3.6, each service has watches of its own, and costs what an instancer does.
2. A service is read once the root has shown it: its requests lie behind the watch that tells of its changes.
3. After a reconnect the root is read first. Until then services show what they did, with the trouble.
4. A service whose directory cannot be read any more is left out of the root, but it is not gone: it is followed on, and
   shows its last set with its own trouble. One that never could be read is named by the root's error only.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Generic, List, NamedTuple, Optional, Set, Tuple

from ._zkwire import EventType, WatchedEvent, ops
from .codecs import TEXT, Codec
from .membership import TRANSIENT, Membership
from .replica import Nodes
from .values import Event, T


class _FieldsOfService(NamedTuple):
    service: str
    event: Optional[Event[Any]]


class ServiceEvent(_FieldsOfService, Generic[T]):
    """What an observer of a catalog hears: the newest `event` of `service`, or None once there is no such service.

    Of the catalog itself `service` is "", and the event's instances are the names of all services, sorted; its error
    is what is wrong with the list of these.
    """

    event: Optional[Event[T]]


class _Names(Codec[str]):
    """The instances of the root: their names, whatever their data."""

    def decode(self, name: str, data: bytes) -> str:
        return name


_NAMES = _Names()
_Key = Tuple[int, Any]
ROOT = 0


class Memberships:
    """The services below `directory`. `watcher` is what ZooKeeper should call; it must end up in `watched`.

    Services whose names `services` does not take are not followed; of the others, children whose names `accept` does
    not take are no instances. `random` gives numbers from 0.0 to 1.0.
    """

    def __init__(
        self, directory: str, watcher: Callable[[WatchedEvent], object],
        services: Optional[Callable[[str], bool]] = None, accept: Optional[Callable[[str], bool]] = None,
        random: Callable[[], float] = lambda: 0.0, codec: Codec[Any] = TEXT,
    ) -> None:  # fmt: skip
        self.directory = directory
        self._inside = directory if directory == "/" else directory + "/"
        self._watcher, self._accept, self._random, self._codec = watcher, accept, random, codec
        self._root = Membership(directory, watcher, services, random, _NAMES, None, lambda: self._count)
        self._ids: Dict[str, int] = {}
        self._members: Dict[int, Tuple[str, Membership]] = {ROOT: ("", self._root)}
        self._next = ROOT + 1
        self._shown: Nodes = ()  # of the root, as of when services were made of them last
        self._loads = 0  # how often the root had been read when the services were told of their session
        self._session: Tuple[Optional[int], bool] = (None, False)
        self._deadlines: Dict[int, float] = {}
        self._touched: Set[int] = {ROOT}
        self._events: List[ServiceEvent[Any]] = []
        self._count = 0  # of the nodes of all services, as of when these were shown
        self._sizes: Dict[int, int] = {}
        self._unseen: Set[int] = {ROOT}  # that have shown no set yet, and no reason why not

    # -------------------------------------------------------------------------- out

    def operations(self) -> List[Tuple[_Key, Any]]:
        """(key, operation) to submit, in order; report each outcome with `answered(key, ...)`."""
        touched, self._touched = sorted(self._touched), set()
        found = []
        for number in touched:
            if number in self._members:
                found += [((number, key), op) for key, op in self._members[number][1].operations()]
        return found

    def events(self) -> List[ServiceEvent[Any]]:
        """What is to be published, in order."""
        events, self._events = self._events, []
        return events

    def current(self, key: _Key) -> bool:
        """Whether the answer to `key` is still of interest."""
        return key[0] in self._members and self._members[key[0]][1].current(key[1])

    @property
    def over(self) -> bool:
        """Whether there will never be another event."""
        return self._root.over

    @property
    def complete(self) -> bool:
        """Whether all services that are known have shown a set, or why they cannot."""
        return not self._unseen

    def stop(self, local: bool = False) -> List[ops.RemoveWatches]:
        """The operations that end our watches; see `Membership.stop`."""
        recursive = self._root.recursive
        return [one.stop(local) for _, one in self._members.values() if one is self._root or not recursive]

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return min(self._deadlines.values(), default=None)

    def stale_since(self, now: float) -> Optional[float]:
        """Since when any of it may be out of date, as far as is known, or None."""
        members = list(self._members.values())  # which may change meanwhile: this is asked on any thread
        times = [one.stale_since(now) for _, one in members]
        return min((time for time in times if time is not None), default=None)

    def nodes(self, service: str) -> Nodes:
        """The nodes of the newest set of a service. `KeyError` if there is no such service."""
        return self._members[self._ids[service]][1].nodes

    # --------------------------------------------------------------------------- in

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """There is a connection with this session now; None: there is none. `read_only`: the server has no quorum."""
        self._session, self._loads = (session_id, read_only), self._root.loads
        self._root.session(session_id, now, read_only)
        if session_id is None:
            for number in self._ids.values():
                self._members[number][1].session(None, now)
                self._look(number, now)
        self._look(ROOT, now)

    def ended(self, error: Exception, now: float) -> None:
        """There will never be a session again: the last sets stay, with the cause, and nothing follows."""
        self._session = (None, False)
        for number, (_, one) in list(self._members.items()):
            one.ended(error, now)
            self._look(number, now)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """A watch of ours has fired."""
        path = event.path or ""
        inside = path.startswith(self._inside) and path != self.directory
        if event.type in (EventType.NONE, EventType.PERSISTENT_WATCH_REMOVED) or not inside:
            self._root.watched(event, now)
            if self._root.recursive and event.type not in (EventType.NONE, EventType.PERSISTENT_WATCH_REMOVED):
                self._anything_changed(event, now)
            self._look(ROOT, now)
            return
        service, _, below = path[len(self._inside) :].partition("/")
        if not below:
            self._root.watched(event, now)
        if service in self._ids and (below or not self._root.recursive):
            self._members[self._ids[service]][1].watched(event, now)
            self._look(self._ids[service], now)
        if not below:
            self._look(ROOT, now)

    def timed_out(self, now: float) -> None:
        """Time has passed."""
        for number in sorted(number for number, at in self._deadlines.items() if now >= at):
            self._members[number][1].timed_out(now)
            self._look(number, now)

    def answered(self, key: _Key, outcome: Any, now: float) -> None:
        """The outcome of operation `key`."""
        number, inner = key
        if number in self._members:
            self._members[number][1].answered(inner, outcome, now)
            self._look(number, now)

    # ---------------------------------------------------------------------- services

    def _anything_changed(self, event: WatchedEvent, now: float) -> None:
        """Compatible servers tell the watched path instead of the node's: it may be anything, of any service."""
        for service, number in self._ids.items():
            path = self._inside + service
            self._members[number][1].watched(WatchedEvent(event.type, event.state, path), now)
            self._look(number, now)

    def _look(self, number: int, now: float) -> None:
        """A membership was told something: see what it has to say."""
        service, one = self._members[number]
        self._touched.add(number)
        deadline = one.deadline()
        if deadline is None:
            self._deadlines.pop(number, None)
        else:
            self._deadlines[number] = deadline
        told = one.events()
        if number == ROOT:
            self._services(now)
            if one.left_out:
                told = [event._replace(instances=tuple(sorted(self._ids))) for event in told]
            self._hand_on(told, now)
        else:
            size = sum(map(len, one.nodes)) if told else self._sizes.get(number, 0)
            self._count += size - self._sizes.get(number, 0)
            self._sizes[number] = size
        if any(not isinstance(event.error, TRANSIENT) for event in told):
            self._unseen.discard(number)
        self._events += [ServiceEvent(service, event) for event in told]

    def _services(self, now: float) -> None:
        """The root may have shown other services, or have been read afresh."""
        root = self._root
        if root.nodes is not self._shown:
            self._shown = root.nodes
            names = {name for table in root.nodes for name in table} | (root.left_out.keys() & self._ids.keys())
            for service in [service for service in self._ids if service not in names]:
                self._drop(service)
            for service in sorted(names - self._ids.keys()):
                self._add(service, now)
        if root.loads != self._loads and self._session[0] is not None:
            self._loads = root.loads
            for number in list(self._ids.values()):
                self._begin(number, now)

    def _hand_on(self, told: List[Event[Any]], now: float) -> None:
        """While the root cannot be read in this session, that is what the services wait for."""
        errors = [event.error for event in told if event.error is not None]
        if self._session[0] is None or not errors or isinstance(errors[-1], TRANSIENT):
            return
        for number in self._ids.values():
            self._members[number][1].kept_waiting(errors[-1], now)
            self._look(number, now)

    def _add(self, service: str, now: float) -> None:
        number, self._next = self._next, self._next + 1
        one = Membership(
            self._inside + service, self._watcher, self._accept, self._random, self._codec, self._root
        )  # fmt: skip
        self._ids[service], self._members[number] = number, (service, one)
        self._unseen.add(number)
        if self._loads == self._root.loads:  # or else all are begun
            self._begin(number, now)

    def _begin(self, number: int, now: float) -> None:
        """Read a service afresh, in the present session."""
        session_id, read_only = self._session
        if session_id is not None:
            self._members[number][1].session(session_id, now, read_only)
            self._look(number, now)

    def _drop(self, service: str) -> None:
        number = self._ids.pop(service)
        del self._members[number]
        self._deadlines.pop(number, None)
        self._touched.discard(number)
        self._unseen.discard(number)
        self._count -= self._sizes.pop(number, 0)
        self._events.append(ServiceEvent(service, None))


__all__ = ["Memberships", "ServiceEvent"]
