"""All registrations of one client, without threads, sockets or clocks.

Owns which registrations there are: by service, for `Client.register`, and in doubt; what becomes of them when the
client stops, or can never have a session again; and what is to be told of them. `Runner` (or a simulation) feeds it
what happens, and carries out `operations`. Rules:

1. All is decided in one order, that in which the calls arrive here: of two callers that want an equal service to be
   registered and not to be, the last one has its way, and a registration is kept as long as it has a node, or a caller.
2. A client that stops wants none of them. What is then still there, or in doubt, is taken back once there is a
   connection, or ends with the session.
3. A client that can never have a session again tells each caller why, then and ever after.
4. Each change is reported once, not once per attempt; that there is no connection, once for all.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ._zkwire import WatchedEvent, errors
from .registration import Registration
from .values import ClientClosedError, NotRegisteredError, Service

_Key = Tuple[Registration, int]
#: What the loss of the connection, or of the session, does to each registration: told once for all.
SYMPTOMS = (errors.ConnectionLoss, errors.SessionExpiredError, errors.SessionMovedError)


class Report(NamedTuple):
    """How a registration stands: `node` is its path or None, `error` the newest trouble with its cause, or None.

    `registration` is None for what concerns all of them: that the connection is lost, or back.
    """

    registration: Optional[Registration]
    node: Optional[str]
    error: Optional[Exception]


class Registry:
    """The registrations of a client; `make` makes the one of a service that is not registered yet."""

    def __init__(self, make: Callable[[Service[Any]], Registration]) -> None:
        self._make = make
        self._all: Dict[Registration, Tuple[Optional[str], str]] = {}  # with what was reported last: node and error
        self._by_service: Dict[Service[Any], Registration] = {}
        self._tokens: Dict[Any, Registration] = {}
        self._deadlines: Dict[Registration, float] = {}
        self._session: Optional[Tuple[Optional[int], bool]] = None
        self._offline = False
        self._leaving = False
        self._left: List[Any] = []
        self._end: Optional[Exception] = None
        self._operations: List[Tuple[_Key, Any]] = []
        self._settled: List[Tuple[Any, Any]] = []
        self._reports: List[Report] = []
        self._stood: List[Registration] = []

    # -------------------------------------------------------------------------- out

    def operations(self) -> List[Tuple[_Key, Any]]:
        """(key, operation) to submit, in order; report each outcome with `answered(key, ...)`."""
        operations, self._operations = self._operations, []
        return operations

    def settled(self) -> List[Tuple[Any, Any]]:
        """(token, outcome) of intents that have come to an end; the outcome may be an exception."""
        settled, self._settled = self._settled, []
        return settled

    def reports(self) -> List[Report]:
        """What has changed, in order."""
        reports, self._reports = self._reports, []
        return reports

    def stood(self) -> List[Registration]:
        """Those whose `standing` is another one than before."""
        stood, self._stood = self._stood, []
        return stood

    @property
    def all(self) -> List[Registration]:
        """All that are wanted, there, in doubt, or waited for, in the order in which they came."""
        return list(self._all)

    def current(self, key: _Key) -> bool:
        """Whether the answer to `key` is still of interest: always."""
        return True

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return min(self._deadlines.values(), default=None)

    def own_paths(self) -> List[str]:
        """The paths of all nodes of ours that are known to be there, and that nobody else ever has."""
        return [path for path in (one.own_path for one in self.all) if path is not None]

    def node_of(self, service: Service[Any]) -> Optional[str]:
        """The path of the node of the one registration of this service, or None while there is none."""
        registration = self._by_service.get(service)
        return None if registration is None else registration.node

    @property
    def end(self) -> Optional[Exception]:
        """Why there will never be a session again, or None."""
        return self._end

    @property
    def at_rest(self) -> bool:
        """Whether no registration is wanted, there, in doubt, or waited for."""
        return not self._all

    # ---------------------------------------------------------------------- of callers

    def want(self, registration: Registration, wanted: bool, token: Any, now: float) -> None:
        """A caller wants it, or does not; `token` is settled as `Registration.want` has it."""
        if self._leaving:
            self._settled.append((token, ClientClosedError()))
            return
        self._adopt(registration, now)
        self._tokens[token] = registration
        registration.want(wanted, token, now)
        self._look(registration)

    def want_service(self, service: Service[Any], wanted: bool, token: Any, now: float) -> None:
        """As `want`, of the one registration of this service."""
        registration = self._by_service.get(service)
        if registration is None and not wanted and not self._leaving and self._end is None:
            error = NotRegisteredError(f"{service.directory}: not registered by this client")
            self._settled.append((token, error))
            return
        if registration is None:
            registration = self._by_service[service] = self._make(service)
        self.want(registration, wanted, token, now)

    def gate(self, registration: Registration, shut: Optional[Exception], now: float) -> None:
        """The gate of this one is open (None), or shut for this reason."""
        registration.gate(shut, now)
        if registration in self._all:
            self._look(registration)

    def update(self, registration: Registration, data: bytes, token: Any, now: float) -> None:
        """A caller wants our node to hold this; `token` is settled as `Registration.update` has it."""
        if self._leaving:
            self._settled.append((token, ClientClosedError()))
            return
        if registration in self._all:
            self._tokens[token] = registration
        registration.update(data, token, now)
        self._look(registration)

    def promise(self, registration: Registration, now: float) -> None:
        """It is wanted from now on, and no caller waits for it."""
        if not self._leaving:
            self._adopt(registration, now)
            registration.promise(now)
            self._look(registration)

    def withdraw(self, token: Any, now: float) -> None:
        """The caller waits no more: see `Registration.withdraw`."""
        registration = self._tokens.get(token)
        if registration is not None:
            registration.withdraw(token, now)
            self._look(registration)

    def leave(self, token: Any, now: float) -> None:
        """The client stops; `token` is settled once nothing of ours is left."""
        self._leaving = True
        self._left.append(token)
        for registration in self.all:
            registration.leave(ClientClosedError, now)
            self._look(registration)
        self._part()

    # --------------------------------------------------------------------- of the world

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """There is a connection with this session now; None: there is none."""
        self._session = (session_id, read_only)
        if self._all and self._offline != (session_id is None):
            self._offline = session_id is None
            loss = errors.ConnectionLoss("no connection to ZooKeeper", sent=False) if self._offline else None
            self._reports.append(Report(None, None, loss))
        for registration in self.all:
            registration.session(session_id, now, read_only)
            self._look(registration)

    def watched(self, event: WatchedEvent, now: float) -> None:
        """Something has happened to a node of ours, or to its watch."""
        for registration in self.all:
            if registration.concerned(event.path):
                registration.watched(event, now)
                self._look(registration)

    def answered(self, key: _Key, outcome: Any, now: float) -> None:
        """The outcome of operation `key`."""
        registration, number = key
        registration.answered(number, outcome, now)
        self._look(registration)

    def timed_out(self, now: float) -> None:
        """Time has passed: try again what has failed."""
        for registration in [one for one, deadline in self._deadlines.items() if now >= deadline]:
            registration.timed_out(now)
            self._look(registration)

    def ended(self, error: Exception, now: float) -> None:
        """There will never be a session again, for this cause."""
        self._end = error
        for registration in self.all:
            registration.ended(error, now)
            self._look(registration)
        self._part()

    # -------------------------------------------------------------------------- inside

    def _adopt(self, registration: Registration, now: float) -> None:
        if registration in self._all:
            return
        self._all[registration] = (None, "")
        if self._end is not None:
            registration.ended(self._end, now)
        elif self._session is not None:
            session_id, read_only = self._session
            self._offline = self._offline or session_id is None
            registration.session(session_id, now, read_only)

    def _look(self, registration: Registration) -> None:
        """Take over what it wants, and has to say."""
        self._operations += [((registration, number), op) for number, op in registration.operations()]
        for token, outcome in registration.settled():
            self._tokens.pop(token, None)
            self._settled.append((token, outcome))
        deadline = registration.deadline()
        if deadline is None:
            self._deadlines.pop(registration, None)
        else:
            self._deadlines[registration] = deadline
        self._report(registration)
        if registration.stood():
            self._stood.append(registration)
        if registration.at_rest and registration in self._all:
            del self._all[registration]
            if self._by_service.get(registration.service) is registration:
                del self._by_service[registration.service]
            self._part()

    def _report(self, registration: Registration) -> None:
        node, error = registration.node, registration.trouble
        if isinstance(error, SYMPTOMS) or (registration.settling and error in (None, registration.shut)):
            return  # the one is told for all, the other comes to an end soon
        told, now = self._all.get(registration), (node, f"{type(error).__name__}: {error}" if error is not None else "")
        if told is not None and told != now:
            self._all[registration] = now
            self._reports.append(Report(registration, node, error))

    def _part(self) -> None:
        """Those who wait for the end of all hear of it."""
        if not self._all:
            left, self._left = self._left, []
            self._settled += [(token, None) for token in left]
