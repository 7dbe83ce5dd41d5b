"""`Client`: a connection to ZooKeeper, set up for discovery.

Owns the options, the `ZooKeeper` below, the thread on which the cores run, and what is to be ended with them.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from ._zkwire import (
    ACL, Dispatcher, EventType, Future, Guard, KazooState, KeeperState, WatchedEvent, ZooKeeper, errors, parse_hosts,
)  # fmt: skip
from .observers import ThreadDelivery
from .values import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, ClientClosedError, Entries, NotRegisteredError,
    Service, validate_acl, validate_credentials, validate_directory, validate_payload, validate_timeout,
)  # fmt: skip
from .steps import create_parents, entries_of
from .registrar import Registrar

logger = logging.getLogger(__name__)
#: So many session events wait for a slow handler.
EVENTS = 1000
EventHandler = Callable[[WatchedEvent], object]


class Options:
    """What both clients take, checked before anything is dialled."""

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]], acl: Sequence[ACL], connect_timeout: float,
        session_timeout: float, credentials: Optional[Sequence[str]], payload: Sequence[bytes],
        event_handler: Optional[EventHandler], zk: Any, ssl_context: Any, sasl: Any,
    ) -> None:  # fmt: skip
        if (servers is None) == (zk is None):
            raise ValueError("give either servers or zk=, a running ZooKeeper")
        if zk is not None and (credentials or ssl_context is not None or sasl is not None):
            raise ValueError("credentials, ssl_context and sasl belong to the ZooKeeper given as zk=")
        if servers is not None:
            parse_hosts(servers)
        self.servers, self._ssl_context, self._sasl = servers, ssl_context, sasl
        self.acl = validate_acl(acl)
        self.connect_timeout = validate_timeout("connect_timeout", connect_timeout)
        self.session_timeout = validate_timeout("session_timeout", session_timeout)
        self.credentials = validate_credentials(credentials)
        self.payload = validate_payload(payload)
        if event_handler is not None and not callable(event_handler):
            raise TypeError(f"an event handler must be callable, not {event_handler!r}")
        #: No call takes longer, in seconds: as long as a session may take to be lost, and another to be made.
        self.timeout = self.session_timeout + self.connect_timeout

    def zookeeper(self) -> Dict[str, Any]:
        """The arguments for the `ZooKeeper` below."""
        auth = [("digest", ":".join(self.credentials))] if self.credentials else None
        return dict(
            hosts=self.servers, timeout=self.session_timeout, connect_timeout=self.connect_timeout, auth_data=auth,
            default_acl=self.acl, ssl_context=self._ssl_context, sasl=self._sasl,
        )  # fmt: skip


class Client:
    """A connection to ZooKeeper for registrars and instancers.

    `servers` is a connect string or a sequence of them; a client made with `zk=`, a running `ZooKeeper`, leaves that
    running when it stops. `acl` is for created nodes, `payload` the data of created parents by depth, `credentials` a
    user name and password for the digest scheme, `sasl` those for SASL (see `ZooKeeper`).
    `event_handler(event)` hears of the session, on a thread of its own. Times are seconds, at least 1. Blocks until
    there is a session, at most `session_timeout + connect_timeout`.

    Raises `ValueError` (`InvalidCredentialsError` among them) and `TypeError` before anything is dialled, and
    `OperationTimeoutError`, `AuthFailedError` or `TLSError` if no session is to be had.
    """

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]] = None, acl: Sequence[ACL] = DEFAULT_ACL,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT, session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        credentials: Optional[Sequence[str]] = None, payload: Sequence[bytes] = (),
        event_handler: Optional[EventHandler] = None, ssl_context: Any = None, sasl: Any = None, *,
        zk: Optional[ZooKeeper] = None,
    ) -> None:  # fmt: skip
        self.options = Options(
            servers, acl, connect_timeout, session_timeout, credentials, payload, event_handler, zk, ssl_context, sasl
        )
        if zk is not None:
            check_running(zk, ZooKeeper)
        self._owns = zk is None
        #: The ZooKeeper below.
        self.zk = zk if zk is not None else ZooKeeper(**self.options.zookeeper())
        self.executor: Dispatcher = self.zk.driver.another_dispatcher(logger, "zkdisco")
        self._lock = threading.RLock()  # a signal handler may come in between
        self._closed = False
        self._guard = Guard(self)
        self._children: List[Any] = []
        self._registrars: Dict[Service, Any] = {}
        self._handler: Optional[ThreadDelivery] = None
        if event_handler is not None:
            own = self.zk.driver.another_dispatcher(logger, "zkdisco events")
            self._handler = ThreadDelivery(event_handler, own, EVENTS)
            self.zk.add_listener(self._session_event)
        if self._owns:
            try:
                self.zk.start(self.options.timeout)
            except BaseException:
                self.stop()
                raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------ reading

    def get_entries(self, path: str, *, timeout: Optional[float] = None) -> Tuple[Entries, Future[WatchedEvent]]:
        """The data of the children of `path`, sorted, and a future for the first change of the list.

        Children that cannot be read are left out, and named by the list's attribute `error`, an `InstancesLeftOutError`
        or None. Raises `NodeNotFoundError` if there is no such node.
        """
        self.check()
        directory = validate_directory(path)
        changed: Future[WatchedEvent] = self.zk.future()
        recipe = entries_of(directory, changed.set_result)
        entries: Entries = self.zk.run(recipe, self.options.timeout if timeout is None else timeout)
        return entries, changed

    def create_parent_nodes(self, path: str, *, timeout: Optional[float] = None) -> None:
        """Create what is missing of `path`, itself included, with the client's ACL and payload."""
        self.check()
        recipe = create_parents(validate_directory(path), self.options.acl, self.options.payload)
        self.zk.run(recipe, self.options.timeout if timeout is None else timeout)

    # -------------------------------------------------------------------- registering

    def register(self, service: Service, *, timeout: Optional[float] = None) -> str:
        """Register `service`, and keep it registered; the path of its node. See `Registrar`.

        An equal service is registered once; for two nodes with equal data use two `Registrar`s.
        """
        self.check()
        with self._lock:
            registrar: Registrar = self._registrars.setdefault(service, Registrar(self, service))
        return registrar.register(timeout=timeout)

    def deregister(self, service: Service, *, timeout: Optional[float] = None) -> None:
        """Delete the node that `register` made. Raises `NotRegisteredError`."""
        self.check()
        with self._lock:
            registrar = self._registrars.get(service)
        if registrar is None:
            raise NotRegisteredError(f"{service.directory}: not registered by this client")
        registrar.deregister(timeout=timeout)
        with self._lock:
            if registrar.node is None and self._registrars.get(service) is registrar:
                del self._registrars[service]

    # --------------------------------------------------------------------- the ending

    def stop(self) -> None:
        """End all registrars and instancers, and the session if this client made it. Takes at most a few seconds.

        May be called twice; every later call raises `ClientClosedError`. May be called by a signal handler: if that has
        interrupted a call of this client, `stop` does not wait for the end, but brings it about.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            children, self._children = self._children, []
        pending = [child.end() for child in children]
        if self.zk.driver.may_wait():
            self._end(children, pending)
        else:
            for child in children:
                child.delete_now()
            later = self.zk.future()
            later.add_done_callback(lambda done: self._end(children, pending))
            later.set_result(None)

    def _end(self, children: List[Any], pending: List[Any]) -> None:
        if self._owns:
            self.zk.close()  # the server deletes our nodes with the session
        else:
            deadline = monotonic() + (0.0 if has_ended(self.zk) else self.options.timeout)
            for future in pending:
                try:
                    if future is not None:
                        future.exception(max(0.0, deadline - monotonic()))
                except errors.OperationTimeoutError:
                    pass  # there is no connection; see `closed`
        if self._handler is not None:
            self.zk.remove_listener(self._session_event)
            self._handler.end()  # it hears of the end, too
        self.executor.end(1.0)
        for child in children:
            child.closed()

    def check(self) -> None:
        """Raise `ClientClosedError` after `stop`."""
        if self._closed:
            raise ClientClosedError()

    def adopt(self, child: Any) -> None:
        """`child.end()` is to be called by `stop`."""
        with self._lock:
            self.check()
            self._children.append(child)

    def release(self, child: Any) -> None:
        """It has ended by itself."""
        with self._lock:
            self._children = [other for other in self._children if other is not child]

    def _session_event(self, state: str) -> None:
        if self._handler is not None:
            self._handler.offer(session_event(state, self.zk.client_state))


def check_running(zk: Any, kind: Any) -> None:
    """`TypeError` or `ValueError` unless `zk` is a `ZooKeeper` (or `AsyncZooKeeper`) that has a session.

    It may be without a connection just now: there will be another.
    """
    if not isinstance(zk, kind):
        given, wanted = (f"{one.__module__}.{one.__qualname__}" for one in (type(zk), kind))
        raise TypeError(f"zk= must be a {wanted}, of the zkwire that this zkdisco uses, not a {given}")
    if has_ended(zk):
        raise ValueError(f"zk= must be a running {kind.__name__}; this one is {zk.client_state} for good")
    if not zk.connected and zk.client_id is None:
        text = "has no session now: call its start() first, or wait until it is connected again"
        raise ValueError(f"zk= must be a running {kind.__name__}; this one {text}")


def has_ended(zk: Any) -> bool:
    """Whether it will never have a session again: ours has gone, and our nodes with it."""
    return zk.client_state in (KeeperState.AUTH_FAILED, KeeperState.CLOSED)


def session_event(state: str, client_state: str) -> WatchedEvent:
    """What an event handler hears of a state."""
    known = {KazooState.CONNECTED: KeeperState.CONNECTED, KazooState.SUSPENDED: KeeperState.CONNECTING}
    ended = client_state in (KeeperState.AUTH_FAILED, KeeperState.CLOSED)
    lost = client_state if ended else KeeperState.EXPIRED_SESSION
    return WatchedEvent(EventType.NONE, known.get(state, lost), None)
