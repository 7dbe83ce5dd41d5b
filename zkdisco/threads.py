"""The blocking front: `Client`, `Registrar`, `Instancer`.

Owns how a caller waits, and the thread on which the cores run. Must not know what the cores decide.
"""

from __future__ import annotations

import atexit
import functools
import threading
import weakref
from time import monotonic
from typing import Any, Callable, Generic, Optional, Sequence, Tuple, Union, overload

from ._zkwire import ACL, Dispatcher, Future, WatchedEvent, ZooKeeper, errors
from .codecs import Codec, Instance
from .crew import Crew
from .front import (
    GRACE, LEAVE, Accept, AnyGate, AnySettling, ClientBase, EventHandler, InstancerBase, Options, RegistrarBase,
    check_usable, has_ended, logger, session_event,
)  # fmt: skip
from .observers import ThreadDelivery
from .steps import create_parents, entries_of
from .values import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, Entries, Event, Service, D, T, validate_directory,
)  # fmt: skip

#: So many session events wait for a slow handler.
EVENTS = 1000


class Client(ClientBase):
    """A connection to ZooKeeper for registrars and instancers.

    `servers` is a connect string or a sequence of them; a client made with `zk=`, a `ZooKeeper`, leaves that running
    when it stops. `acl` is for created nodes, `payload` the data of created parents by depth, `credentials` a user name
    and password for the digest scheme, `sasl` those for SASL (see `ZooKeeper`). `event_handler(event)` hears of the
    session, on a thread of its own. Times are seconds, at least 1.

    Without `wait`, the constructor blocks until there is a session, at most `session_timeout + connect_timeout`, and
    raises `OperationTimeoutError` after that. With `wait`, it blocks at most so many seconds, with 0 not at all, and
    whatever is asked for takes effect once ZooKeeper is there: see `Registrar.start` and `Instancer(wait=)`.

    A process that ends without `stop` says no goodbye: its instances are listed until the session time-out has passed.
    With `stop_at_exit`, the end of the interpreter calls `stop` (`atexit`: not after `os._exit`, nor after a signal
    that kills).

    Raises `ValueError` (`InvalidCredentialsError` among them) and `TypeError` before anything is dialled, and
    `AuthFailedError` or `TLSError` if no session is to be had.
    """

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]] = None, acl: Sequence[ACL] = DEFAULT_ACL,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT, session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        credentials: Optional[Sequence[str]] = None, payload: Sequence[bytes] = (),
        event_handler: Optional[EventHandler] = None, ssl_context: Any = None, sasl: Any = None, *,
        zk: Optional[ZooKeeper] = None, wait: Optional[float] = None, stop_at_exit: bool = False,
    ) -> None:  # fmt: skip
        options = Options(
            servers, acl, connect_timeout, session_timeout, credentials, payload, event_handler, zk, ssl_context, sasl,
            wait,
        )  # fmt: skip
        if zk is not None:
            check_usable(zk, ZooKeeper)
        below = zk if zk is not None else ZooKeeper(**options.zookeeper())
        self._dispatcher: Dispatcher = below.driver.another_dispatcher(logger, "zkdisco")
        self._crew = Crew(self._dispatcher)  # the threads that call observers
        super().__init__(options, below, zk is None, self._dispatcher, self._crew.deliver)
        self._stopper: Optional[int] = None
        self._stopped = self.zk.future()
        self._goodbye: Callable[[], None] = _nothing
        self._handler: Optional[ThreadDelivery] = None
        if event_handler is not None:
            own = self.zk.driver.another_dispatcher(logger, "zkdisco events")
            self._handler = ThreadDelivery(event_handler, own, EVENTS)
            self.zk.add_listener(self._session_event)
        if self._owns:
            try:
                self._connect()
            except BaseException:
                self.stop()
                raise
        self._end_watch.start()
        self._goodbye = functools.partial(_stop, weakref.ref(self))
        if stop_at_exit:
            atexit.register(self._goodbye)

    def _connect(self) -> None:
        """Wait for a session as long as was asked for."""
        wait = self.options.wait
        if wait is None:
            self.zk.start(self.options.timeout)
            return
        self.zk.driver.start()
        self.zk.driver.until(lambda: self.zk.connected or has_ended(self.zk), wait)
        if has_ended(self.zk):
            self.zk.start(self.options.timeout)  # which raises the cause at once

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

    def register(self, service: Service[Any], *, timeout: Optional[float] = None) -> str:
        """Register `service`, and keep it registered; the path of its node. See `Registrar`.

        An equal service is registered once; for two nodes with equal data use two `Registrar`s.
        """
        self.check_may_wait()
        node: str = self.wait(self.want_service(service, True), timeout)
        return node

    def deregister(self, service: Service[Any], *, timeout: Optional[float] = None) -> None:
        """Delete the node that `register` made. Raises `NotRegisteredError`. In a signal handler see `Registrar`."""
        future = self.want_service(service, False)
        if self.zk.driver.may_wait():
            self.wait(future, timeout)
        else:
            self.delete_service_now(service)

    def check_may_wait(self) -> None:
        """Raise after `stop`, and in a signal handler that has interrupted a call of this client."""
        self.check()
        if not self.zk.driver.may_wait():
            raise errors.NestedCallError()

    def wait(self, future: Future[Any], timeout: Optional[float]) -> Any:
        """Wait for the registry's word, and tell it if nobody waits any more."""
        try:
            return future.result(self.options.timeout if timeout is None else timeout)
        except errors.OperationTimeoutError:
            if future.done():
                raise
        except BaseException:
            self.withdraw(future)  # KeyboardInterrupt, say
            raise
        self.withdraw(future)
        return future.result(GRACE)

    # --------------------------------------------------------------------- the ending

    def stop(self) -> None:
        """End all registrars and instancers, and the session if this client made it. Takes at most a few seconds.

        While there is no connection it takes 2 s at most. What could not be taken back by then is taken back by itself
        once there is a connection again, or ends with the session. May be called twice: the second call waits for the
        first. Every later call raises `ClientClosedError`. May be called by a signal handler: if that has interrupted a
        call of this client, `stop` does not wait for the end, but brings it about.
        """
        with self._lock:
            first = self._stopper is None
            if first:
                self._stopper = threading.get_ident()
                left = self._begin_to_stop()
        may_wait = self.zk.driver.may_wait()
        if not first:
            if may_wait and self._stopper != threading.get_ident():
                self._wait_for(self._stopped, self.options.timeout + LEAVE)
        elif may_wait:
            self._end(left)
        else:
            self.delete_now()
            later = self.zk.future()
            later.add_done_callback(lambda done: self._end(left))
            later.set_result(None)

    def _end(self, left: Optional[Any]) -> None:
        try:
            if self._owns:
                self.zk.close()  # the server deletes our nodes with the session
            elif left is not None and not has_ended(self.zk):
                began = monotonic()
                if not self._wait_for(left, min(LEAVE, self.options.timeout)) and self.zk.connected:
                    self._wait_for(left, began + self.options.timeout - monotonic())
            self._crew.end()
            if self._handler is not None:
                self.zk.remove_listener(self._session_event)
                self._handler.end()  # it hears of the end, too
            self._give_up(left)
            if not self._running:
                self._dispatcher.end(1.0)
        finally:
            atexit.unregister(self._goodbye)
            self._stopped.set_result(None)

    def _at_rest(self) -> None:
        if self._stopped.done():
            self._dispatcher.end(0.0)

    @staticmethod
    def _wait_for(future: Any, seconds: float) -> bool:
        """Whether it is done by then."""
        try:
            future.exception(max(0.0, seconds))
        except errors.OperationTimeoutError:
            pass
        return bool(future.done())

    def _session_event(self, state: str) -> None:
        if self._handler is not None:
            self._handler.offer(session_event(state, self.zk.client_state))


def _nothing() -> None:
    """What a client does at the end of the interpreter, if not asked for more."""


def _stop(client: weakref.ref[Client]) -> None:
    """At the end of the interpreter."""
    found = client()
    if found is not None:
        try:
            found.stop()
        except errors.ForkedError:
            pass  # it belongs to the parent, which says goodbye itself


class Registrar(RegistrarBase, Generic[D]):
    """Registers a service, and keeps it registered until `deregister` or `client.stop()`.

    The node is `<path>/<name>/_c_<32 hex>-<10 digits>`, ephemeral. It comes back after the session has expired, or
    somebody deleted it; it is left alone when a connection was lost and the session survived. `with Registrar(client,
    service):` registers and deregisters. `timeout` is in seconds, by default the client's session and connect timeout
    together.

    With `identity`, a process that was killed and comes back replaces its own old node, instead of standing beside it
    until the old session has expired: in one transaction, so that nobody ever sees both or none. It is one of

    - a guid, 32 hex digits or as `str(uuid.uuid4())`, for a node as above. It is the process's own, kept in a file,
      say. Whatever ephemeral node has it is replaced, those of Apache Curator with this guid, too.
    - the name of the node, `<path>/<name>/<identity>`, as Kafka's /brokers/ids/<id>, Solr's live_nodes/<host:port>_solr
      and those of Curator's `ServiceInstance`. A node of that name is only replaced if it is ephemeral and holds the
      same data, as that of a predecessor at the same host and port does. Any other one is left alone.

    No two processes may have one identity at a time. If they do, the newer one has it: the other does not fight, its
    `error` is an `IdentityTakenError`, and it comes back when the newer one's node goes. `ValueError` or `TypeError` if
    it can be no identity.

    With `gate`, a `zkdisco.health.Gate` for example, the node is there while the registration is wanted and the gate is
    open: it is deleted when the gate shuts, and made again when it opens. Meanwhile `error` is a `GateShutError`.
    """

    def __init__(
        self, client: Client, service: Service[D], *, identity: Optional[str] = None, gate: Optional[AnyGate] = None
    ) -> None:  # fmt: skip
        super().__init__(client, service, identity, gate)
        self._client = client

    def register(self, *, timeout: Optional[float] = None) -> str:
        """Register; the path of the node. If it is registered already, nothing happens.

        Raises what the server says (`NoAuthError`, ...), `IdentityTakenError` if another has the identity, or
        `OperationTimeoutError`, which names the reason of a gate that was shut; then there is no registration.
        """
        self._client.check_may_wait()
        node: str = self._client.wait(self._client.want(self._core, True), timeout)
        return node

    def deregister(self, *, timeout: Optional[float] = None) -> None:
        """Delete our node; when this returns, none of ours is left. Raises `NotRegisteredError` if there was none.

        That of another process which has our identity stays.

        After `OperationTimeoutError` it goes on in the background. So it does in a signal handler that has interrupted
        a call of this client: then this returns at once, with the request sent, unless the handler came while the
        client was at its innermost; then it is sent once the handler has returned. A node of an exact name is looked at
        first, since it may be another's by then: that, too, is done once the handler has returned, at the latest.
        """
        future = self._client.want(self._core, False)
        if self._client.zk.driver.may_wait():
            self._client.wait(future, timeout)
        elif self._core.own_path is not None:
            self._client.delete_node_now(self._core.own_path)

    def update(self, data: D, *, timeout: Optional[float] = None) -> None:
        """Replace the data of our node in place: no instance comes or goes. After an expiry, the newest data is back.

        `data` is bytes, or an instance if the service has a codec: `registrar.update(service.data.but(weight=2.0))`.
        Raises `TypeError` or `ValueError` for what can be no data, `NotRegisteredError` if there is no registration,
        what the server says, or `OperationTimeoutError`; after that it goes on in the background.
        """
        self._client.check_may_wait()
        self._client.wait(self._client.want_data(self._core, data), timeout)

    def __enter__(self) -> Registrar[D]:
        self.register()
        return self

    def __exit__(self, kind: Any, *exc_info: object) -> None:
        """Deregister; an exception of the block is not held up for more than 2 s, nor replaced."""
        if not self._core.wanted or self._client.closed:
            return
        away = kind is not None or not self._client.zk.connected
        try:
            self.deregister(timeout=min(LEAVE, self._client.options.timeout) if away else None)
        except errors.ZookeeperError as error:
            if kind is None:
                raise
            logger.warning("not deregistered from %s in time: %s", self._core.directory, error)


class Instancer(InstancerBase[T]):
    """The live instances below `path` (`<path>/<name>` of the services), followed from now on.

    The constructor returns with the first complete set in `state`; a missing directory is an empty set. It blocks at
    most `timeout` seconds, by default the client's session and connect timeout together, and raises `ValueError`,
    `NoAuthError` or `OperationTimeoutError`. Afterwards trouble is told in events, and cured by itself. With `wait` it
    blocks at most so many seconds, with 0 not at all, and raises nothing for want of a connection: the first set comes
    as an event.

    With `codec`, a `zkdisco.codecs.Codec` or the name of a format, instances are what that makes of a node's data
    (`Instance` for all formats but text), in the order of the nodes' names. What it cannot read is left out, and named.

    With `settling`, a `zkdisco.settling.Settling`, what goes all at once is shown for a while: `event.held` names it.

    Children whose names `accept(name)` does not take are no instances: they are not read. It is called on the thread
    on which the client's cores run, and must not block.

    Observers are called by threads of the client, of which there are few: each observer by one at a time, not always by
    the same. (One that is registered with several instancers may be called for two of them at a time.) They may block:
    nobody waits for them.
    """

    @overload
    def __init__(
        self: Instancer[str], client: Client, path: str, *, timeout: Optional[float] = None,
        accept: Optional[Accept] = None, wait: Optional[float] = None, codec: None = None,
        settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Instancer[Instance], client: Client, path: str, *, timeout: Optional[float] = None,
        accept: Optional[Accept] = None, wait: Optional[float] = None, codec: str,
        settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, client: Client, path: str, *, timeout: Optional[float] = None, accept: Optional[Accept] = None,
        wait: Optional[float] = None, codec: Codec[T], settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, client: Client, path: str, *, timeout: Optional[float] = None, accept: Optional[Accept] = None,
        wait: Optional[float] = None, codec: Optional[Union[str, Codec[Any]]] = None,
        settling: Optional[AnySettling] = None,
    ) -> None:  # fmt: skip
        super().__init__(client, path, accept, wait, codec, settling)
        self._client = client
        first = self.begin()
        try:
            first.result(self._seconds(client, timeout))
        except BaseException as error:
            if wait is not None and isinstance(error, errors.OperationTimeoutError) and not first.done():
                return
            why = self.state.error
            self.leave()
            if isinstance(error, errors.OperationTimeoutError) and why is not None:
                raise errors.OperationTimeoutError(f"{path}: no instances read in time; {why}") from None
            raise

    def wait(self, minimum: int = 1, timeout: Optional[float] = None) -> Event[T]:
        """Wait until at least `minimum` instances are live; the event that shows them.

        It counts what is known to be so at the moment: while there is no connection, nothing is, and what is held by a
        `Settling` never. Blocks at most
        `timeout` seconds, by default the client's session and connect timeout together, and raises
        `OperationTimeoutError` then. Raises the cause at once where there will never be such a set: after `stop`, or
        where the client can never have a session again.
        """
        self._client.check_may_wait()
        future = self.await_set(minimum)
        try:
            found: Event[T] = future.result(self._client.options.timeout if timeout is None else timeout)
            return found
        except errors.OperationTimeoutError:
            if future.done():  # at the last moment
                at_last: Event[T] = future.result(0.0)
                return at_last
            self.forget(future)
            raise self.too_few(minimum) from None
        except BaseException:
            self.forget(future)  # KeyboardInterrupt, say
            raise

    def _seconds(self, client: Client, timeout: Optional[float]) -> float:
        if self._following.wait is not None:
            return self._following.wait
        return client.options.timeout if timeout is None else timeout

    def stop(self) -> None:
        """Stop watching; observers hear nothing more. May be called twice."""
        self.leave()
