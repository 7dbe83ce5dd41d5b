"""What both fronts share: options, registrations and instancers on the way between callers and cores.

Owns who waits for what, what is logged, and what is to be ended. Must not know how a caller waits: `threads` blocks,
`aio` awaits.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, Dict, Generic, List, Optional, Protocol, Sequence, Set, Tuple, Union

from ._zkwire import ACL, EventType, Guard, KazooState, KeeperState, WatchedEvent, errors, ops, parse_hosts
from .codecs import Codec
from .following import Following
from .membership import TRANSIENT, Membership
from .observers import Delivery, Observer, Observers
from .registration import Registration
from .registry import Registry, Report
from .reports import ClientReport, InstancerReport, RegistrationReport
from .replica import Nodes, in_order
from .runner import ENDED, EndWatch, Executor, Runner, Window, ZooKeeperFront
from .values import (
    WITH_A_SET, ClientClosedError, Event, GateShutError, Node, NotRegisteredError, Service, T, validate_acl,
    validate_codec, validate_credentials, validate_directory, validate_identity, validate_minimum, validate_payload,
    validate_timeout, validate_wait,
)  # fmt: skip

if TYPE_CHECKING:
    from .settled import Settled

#: The logger of this package, wherever it is vendored.
logger = logging.getLogger(__name__.rpartition(".")[0])
EventHandler = Callable[[WatchedEvent], object]
#: Which children are instances, by their names.
Accept = Callable[[str], bool]
#: Seconds in which a core says how it stands when a caller waits no more; it never waits for anything itself.
GRACE = 1.0
#: Seconds that leaving takes while there is no connection; what is left is taken back by itself once there is one.
LEAVE = 2.0


class AnyGate(Protocol):
    """What a registrar asks of a gate; `zkdisco.health.Gate` is one."""

    @property
    def shut(self) -> Optional[str]:
        """Why it is shut, or None: it is open. Asked for on any thread; must not block."""

    def observe(self, turned: Callable[[], object]) -> None:
        """Call it whenever `shut` is another one, on any thread."""


class AnySettling(Protocol):
    """What an instancer asks of its filter of events; `zkdisco.Settling` is one, and loaded by whoever has one."""

    @property
    def missing_since(self) -> Optional[float]:
        """Since when something is shown that is gone, or None."""

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""

    def take(self) -> Any:
        """Itself, once; it has one user."""

    def event(self, event: Any, now: float) -> Any:
        """What is to be shown instead of this, or None."""

    def timed_out(self, now: float) -> Any:
        """What is to be shown as time has passed, or None."""


class Options:
    """What both clients take, checked before anything is dialled."""

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]], acl: Sequence[ACL], connect_timeout: float,
        session_timeout: float, credentials: Optional[Sequence[str]], payload: Sequence[bytes],
        event_handler: Optional[EventHandler], zk: Any, ssl_context: Any, sasl: Any, wait: Optional[float],
    ) -> None:  # fmt: skip
        if (servers is None) == (zk is None):
            raise ValueError("give either servers or zk=, a ZooKeeper")
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
        self.wait = validate_wait(wait)
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


class Child(Protocol):
    """What follows something on a client, and ends with it."""

    def end(self, error: ClientClosedError) -> None:
        """The client has been stopped."""

    def told_end(self, error: Exception) -> None:
        """There will never be a session again. On the executor."""

    def report(self) -> InstancerReport:
        """How it stands just now."""


class ClientBase:
    """What both clients share; everything below `_settle` runs on the executor."""

    def __init__(
        self, options: Options, zk: Any, owns: bool, executor: Executor, deliver: Callable[[Any], Delivery]
    ) -> None:  # fmt: skip
        self.options = options
        #: What brings events to an observer.
        self.deliver = deliver
        #: The ZooKeeper below.
        self.zk = zk
        self.executor = executor
        #: Of all instancers together; registrations go first.
        self.window = Window()
        self._owns = owns
        self._lock = threading.RLock()  # a signal handler may come in between
        self._closed = False
        self._children: List[Child] = []
        self._registry = Registry(self.registration)
        self._runner = Runner(zk, executor, self._settle)
        self._running = False
        self._pending: Set[Any] = set()
        self._observed: Dict[Registration, RegistrarBase] = {}
        self._end_watch = EndWatch(zk, executor, self._ended)
        self._guard = Guard(self)

    def check(self) -> None:
        """Raise `ClientClosedError` after `stop`."""
        if self._closed:
            raise ClientClosedError()

    @property
    def closed(self) -> bool:
        """Whether it has been stopped."""
        return self._closed

    # ------------------------------------------------------------------ registrations

    def registration(self, service: Service[Any], identity: Optional[str] = None) -> Registration:
        """A new one; `identity` is a valid one, or None for a random one."""
        options, guid = self.options, os.urandom(16).hex()
        stable = identity if identity is not None else service.node_name
        made = Registration(service, options.acl, options.payload, guid, self._runner.watcher, stable)
        made.since = time.time()
        return made

    def follow(self, registration: Registration, gate: AnyGate) -> None:
        """This gate is the registration's from now on. The gate keeps no client alive."""
        if not (hasattr(gate, "shut") and callable(getattr(gate, "observe", None))):
            raise TypeError(f"gate= must have `shut` and `observe`, as zkdisco.health.Gate has, which {gate!r} has not")
        owner = weakref.ref(self)

        def turned() -> None:
            client = owner()
            if client is not None:
                client.call_from_any_thread(client._look_at, registration, gate)

        registration.gate(_shut(gate), monotonic())
        gate.observe(turned)
        turned()  # it may have turned in between

    def call_from_any_thread(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it on the executor."""
        self.executor.call(function, *arguments)

    def _look_at(self, registration: Registration, gate: AnyGate) -> None:
        """How the gate stands by now: of several turns, the last one counts. On the executor."""
        self._registry.gate(registration, _shut(gate), monotonic())
        self._runner.pump()

    def ask(self, function: Callable[..., None], *arguments: Any) -> Any:
        """Call a method of the registry with these arguments and a future, which it settles; the future."""
        self.check()
        future = self.zk.future()
        if self.end is not None:  # known already: a caller with little time would hear that it is over
            self._conclude(future, self.end)
            return future
        self._tell(function, *arguments, future)
        if self._closed:  # meanwhile: perhaps nobody is there to be told
            self._conclude(future, ClientClosedError())
        return future

    def want(self, registration: Registration, wanted: bool) -> Any:
        """A future for the end of it."""
        return self.ask(self._registry.want, registration, wanted)

    def want_service(self, service: Service[Any], wanted: bool) -> Any:
        """As `want`, of the one registration of this service."""
        return self.ask(self._registry.want_service, service, wanted)

    def want_data(self, registration: Registration, data: Any) -> Any:
        """A future for the time when its node holds this: bytes, or an instance of the service's codec."""
        return self.ask(self._registry.update, registration, registration.service.encode(data))

    def promise(self, registration: Registration) -> None:
        """It is wanted from now on; nobody waits."""
        self.check()
        self._tell(self._promise, registration, object())

    def _promise(self, registration: Registration, ticket: object, now: float) -> None:
        """On the executor. The ticket keeps the registry running until it knows of the registration."""
        self._pending.discard(ticket)
        self._registry.promise(registration, now)

    def withdraw(self, future: Any) -> None:
        """Nobody will wait for `future` any more: it is settled soon, with success if that came first."""
        self._runner.tell(self._registry.withdraw, future)

    @property
    def end(self) -> Optional[Exception]:
        """Why there will never be a session again, as far as the registrations have heard, or None."""
        return self._registry.end

    def _ended(self, error: Exception) -> None:
        """There will never be a session again."""
        self._registry.ended(error, monotonic())
        self._settle()
        with self._lock:
            children = list(self._children)
        for child in children:
            child.told_end(error)
        for registrar in list(self._observed.values()):
            registrar.look()

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call it on the executor; the last argument is what there is to wait for until then."""
        with self._lock:
            if not self._running:
                self._running = True
                self._runner.start(self._registry)
            self._pending.add(arguments[-1])
        self._runner.tell(function, *arguments)

    def delete_now(self) -> None:
        """Send a delete of each node of ours, and wait for nothing; the registry has been told, or hears no more.

        That is all a signal handler can do which has interrupted a call of the client: its process may end at once.
        Where a node has an exact name, it may be another's once the delete arrives: the registry looks first.
        """
        for node in self._registry.own_paths():
            self.delete_node_now(node)

    def delete_service_now(self, service: Service[Any]) -> None:
        """As `delete_now`, of the one registration of this service."""
        node = self._registry.node_of(service)
        if node is not None:
            self.delete_node_now(node)

    def delete_node_now(self, node: str) -> None:
        """Send a delete of this node."""
        try:
            self.zk.submit(ops.Delete(node), _forget, force=True)
        except errors.ZookeeperError:
            pass  # the session has ended, and the node with it

    def _settle(self) -> None:
        """The registry may have something to say."""
        for future, outcome in self._registry.settled():
            if self._closed and isinstance(outcome, NotRegisteredError):
                outcome = ClientClosedError()  # it was the client that took the registration back
            self._conclude(future, outcome)
        for report in self._registry.reports():
            if not self._closed:  # what its own end brings about is no trouble
                _log(report)
        for registration in self._registry.stood():
            registration.since = time.time()
            registrar = self._observed.get(registration)
            if registrar is not None:
                registrar.look()
        if not self._registry.at_rest:
            return
        with self._lock:
            over = self._running and not self._pending
            if over:
                self._running = False
                self._runner.stop()
        if over and self._closed:
            self._end_watch.stop()
            self._at_rest()

    def _at_rest(self) -> None:
        """The client has been stopped, and nothing of ours is left."""

    def _conclude(self, future: Any, outcome: Any) -> None:
        self._pending.discard(future)
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    # ----------------------------------------------------------------------- reporting

    def report(self) -> ClientReport:
        """How the session, each registration and each instancer stand just now. Never blocks."""
        self.check()
        client_id = self.zk.client_id
        with self._lock:
            children = list(self._children)
        registrations = tuple(registration_report(one, None) for one in self._registry.all)
        instancers = tuple(child.report() for child in children)
        return ClientReport(self.zk.state, client_id[0] if client_id else None, self.end, registrations, instancers)

    def observe(self, registration: Registration, registrar: RegistrarBase) -> None:
        """Let `registrar.look` be called whenever it stands otherwise."""
        with self._lock:
            self.check()
            self._observed[registration] = registrar
        self.executor.call(registrar.look)  # what came before that

    def unobserve(self, registration: Registration, registrar: RegistrarBase) -> None:
        """Nobody may be left who wants to know how it stands."""
        with self._lock:
            if not registrar.is_observed:
                self._observed.pop(registration, None)

    # --------------------------------------------------------------------- the ending

    def adopt(self, child: Child) -> None:
        """`child.end()` is to be called by `stop`."""
        with self._lock:
            self.check()
            self._children.append(child)

    def release(self, child: Child) -> None:
        """It has ended by itself."""
        with self._lock:
            self._children = [other for other in self._children if other is not child]

    def _begin_to_stop(self) -> Optional[Any]:
        """All is told to end; a future for the end of the registrations, or None if there are none."""
        with self._lock:
            self._closed = True
            if not self._running:
                self._end_watch.stop()  # or else what is left still has to hear of the end
            children, self._children = self._children, []
            observed, self._observed = self._observed, {}
            left = None
            if self._running:
                left = self.zk.future()
                self._tell(self._registry.leave, left)
        for child in children:
            child.end(ClientClosedError())
        for registrar in observed.values():
            registrar.end()
        return left

    def _give_up(self, left: Optional[Any]) -> None:
        """Nobody waits any more; what is left is taken back in the background, if there is still a session to come."""
        over = self._owns or has_ended(self.zk)
        if left is not None and not left.done() and not over:
            logger.warning("stopped, but not all registrations could be taken back yet: that goes on in the background")
        if over:
            self._end_watch.stop()
            self._runner.stop()
            self._running = False
        while self._pending:
            try:
                future = self._pending.pop()
            except KeyError:  # the last one was concluded meanwhile
                break
            if hasattr(future, "set_exception"):  # or it is the ticket of a promise
                self._conclude(future, ClientClosedError())


def _shut(gate: AnyGate) -> Optional[GateShutError]:
    reason = gate.shut
    return None if reason is None else GateShutError(reason)


def _log(report: Report) -> None:
    """One line for each change."""
    registration, node, error = report
    if registration is None:
        if error is not None:
            logger.warning("no connection to ZooKeeper: registrations stand until the session ends")
        else:
            logger.info("connected to ZooKeeper again: registrations are looked after")
    elif error is not None:
        logger.warning("registration in %s: %s: %s", registration.directory, type(error).__name__, error)
    elif node is not None:
        logger.info("registered as %s", node)
    else:
        logger.info("no longer registered in %s", registration.directory)


class RegistrarBase:
    """What both registrars share."""

    def __init__(
        self, client: ClientBase, service: Service[Any], identity: Optional[str], gate: Optional[AnyGate]
    ) -> None:  # fmt: skip
        if not isinstance(service, Service):
            raise TypeError(f"a registrar takes a Service, not {service!r}")
        stable = validate_identity(identity)
        client.check()
        self._owner = client
        self._core = client.registration(service, stable)
        if gate is not None:
            client.follow(self._core, gate)
        self._observers: Observers[RegistrationReport] = Observers(client.deliver)
        self._guard = Guard(self)

    @property
    def node(self) -> Optional[str]:
        """The path of our node, or None while there is none, or once the client has been stopped."""
        return None if self._owner.closed else self._core.node

    @property
    def error(self) -> Optional[Exception]:
        """The newest trouble in keeping the registration up, or None if all is well.

        It is a `ConnectionLoss` from before the server may take the node for dead, until there is a connection again.
        Where there will never be one, it is the cause; after the client's stop, `ClientClosedError`. While another
        process has our identity, it is an `IdentityTakenError`, which says which one. While the registration is wanted
        and its gate is shut, it is a `GateShutError` with the gate's reason.
        """
        if self._owner.closed:
            return ClientClosedError()
        return self._owner.end or self._core.trouble

    def start(self) -> None:
        """Register from now on, without waiting, whatever it takes: `error` says how it stands. Never blocks."""
        self._owner.promise(self._core)

    def report(self) -> RegistrationReport:
        """How the registration stands just now. Never blocks."""
        report = registration_report(self._core, self.error)
        return report._replace(node=None) if self._owner.closed else report

    def observe(self, observer: Observer[RegistrationReport]) -> None:
        """Call `observer(report)`, or `observer.put(report)`, with how it stands now, then whenever that has changed.

        A `RegistrationReport` comes when our node has come or gone, and when `error` is another one. A slow observer
        gets the newest instead of each; one that raises is logged and hears on. After the client's stop it hears
        nothing more. Neither blocks nor raises because of the observer; `TypeError` if it is none.
        """
        self._owner.check()
        if not self._observers:
            self._observers.publish(self.report())
        self._observers.register(observer)
        self._owner.observe(self._core, self)

    def unobserve(self, observer: Observer[RegistrationReport]) -> None:
        """Call it no more."""
        self._observers.deregister(observer)
        self._owner.unobserve(self._core, self)

    @property
    def is_observed(self) -> bool:
        """Whether anybody wants to know how it stands."""
        return bool(self._observers)

    def look(self) -> None:
        """It may stand otherwise. On the executor."""
        report, newest = self.report(), self._observers.newest
        if newest is None or (report.node, str(report.error)) != (newest.node, str(newest.error)):
            self._observers.publish(report)

    def end(self) -> None:
        """Tell nobody anything more."""
        self._observers.stop(self.report())


def registration_report(core: Registration, error: Optional[Exception]) -> RegistrationReport:
    """How it stands; `error` is of more than this registration."""
    node, trouble = core.standing
    return RegistrationReport(core.directory, node, error or trouble, core.since)


class InstancerBase(Generic[T]):
    """What both instancers share: the core, its runner, the observers."""

    def __init__(
        self, client: ClientBase, path: str, accept: Optional[Accept], wait: Optional[float],
        codec: Optional[Union[str, Codec[Any]]], settling: Optional[AnySettling],
    ) -> None:  # fmt: skip
        directory, known = validate_directory(path), validate_codec(codec)
        if accept is not None and not callable(accept):
            raise TypeError(f"accept= is called with the name of a child, which {accept!r} cannot be")
        seconds = validate_wait(wait)
        client.check()
        self._owner = client
        self._observers: Observers[Event[T]] = Observers(client.deliver)
        self._nodes: Nodes = ()
        self._sorted: Tuple[Nodes, Tuple[Node, ...]] = ((), ())  # of which nodes, and these
        self._waiting: List[Tuple[int, Any]] = []  # on the executor
        self._runner = Runner(client.zk, client.executor, self._publish, client.window)
        watcher = self._runner.watcher
        #: What makes an instance of a node; it may be called by any thread.
        self.codec: Codec[Any] = Careful(known)
        core = Membership(directory, watcher, careful(accept), random.random, self.codec)
        self._core: Union[Membership, Settled] = core if settling is None else settled(core, settling, self.codec)
        self._following = Following(client, self._runner, self._core, self._last_operations, seconds)
        self._troubles = ""
        self._guard = Guard(self)

    @property
    def directory(self) -> str:
        """The path whose children are the instances."""
        return self._core.directory

    @property
    def owner(self) -> ClientBase:
        """The client it belongs to."""
        return self._owner

    @property
    def state(self) -> Event[T]:
        """The newest event: the complete set, and the trouble there is with it, if any.

        Before anything is known it is an empty set with a `ConnectionLoss`; after `stop`, the last set with a
        `ClientClosedError`.
        """
        newest = self._observers.newest
        return newest if newest is not None else Event[T]((), errors.ConnectionLoss("nothing is known yet", sent=False))

    @property
    def nodes(self) -> Tuple[Node, ...]:
        """The same set as in `state`, as the nodes they are, sorted by name: `Node(name, data, stat)`.

        Nodes whose data is not UTF-8 are here, too; those that cannot be read are named by `state.error` only.
        """
        sorted_of, found = self._sorted
        nodes = self._nodes
        if sorted_of != nodes:
            found = in_order(nodes)
            self._sorted = (nodes, found)
        return found

    def report(self) -> InstancerReport:
        """How it stands just now. Never blocks."""
        event, stale = self.state, self.stale_since
        age = 0.0 if stale is None else max(0.001, monotonic() - stale)
        return InstancerReport(self._core.directory, len(event.instances), age, event.error)

    @property
    def stale_since(self) -> Optional[float]:
        """Since when the set in `state` may be out of date (`time.monotonic`), or None.

        With trouble, since it was noticed; without, once a change has been known for a second, and is not in the set.
        After `stop`, since then, if not before.
        None is no promise that the server itself is up to date: a follower that lags, nobody can tell from its answers.
        """
        return self._following.stale_since(self._core.stale_since(monotonic()))

    def register(self, observer: Observer[Event[T]]) -> None:
        """Call `observer(event)`, or `observer.put(event)`, with the newest event now, then with every newer one.

        A slow observer gets the newest instead of each; one that raises is logged and hears on. Neither blocks nor
        raises because of the observer; `TypeError` if it is none.
        """
        self._owner.check()
        if self._following.stopped is None:
            self._observers.register(observer)

    def deregister(self, observer: Observer[Event[T]]) -> None:
        """Call it no more."""
        self._observers.deregister(observer)

    def begin(self) -> Any:
        """Start to watch; a future for the first complete set."""
        return self._following.begin(self)

    def told_end(self, error: Exception) -> None:
        """There will never be a session again. On the executor."""
        self._following.told_end(error)

    def await_set(self, minimum: int) -> Any:
        """A future for an event that is of the moment, and has at least so many instances."""
        validate_minimum(minimum)
        self._owner.check()
        future = self._owner.zk.future()
        future.add_done_callback(_forget)
        end = self._owner.end
        if end is not None and self._following.stopped is None:
            future.set_exception(end)
        else:
            self._owner.executor.call(self._await, minimum, future)
        return future

    def forget(self, future: Any) -> None:
        """Nobody waits for it any more."""
        self._owner.executor.call(self._forget, future)

    def too_few(self, minimum: int) -> errors.OperationTimeoutError:
        """Why a caller has waited in vain."""
        event = self.state
        why = f"; {type(event.error).__name__}: {event.error}" if event.error is not None else ""
        live, held = len(event.instances) - len(event.held), f" ({len(event.held)} more are held)" if event.held else ""
        text = f"{self._core.directory}: {live} of at least {minimum} instances in time{held}{why}"
        return errors.OperationTimeoutError(text)

    def _await(self, minimum: int, future: Any) -> None:
        self._waiting.append((minimum, future))
        self._satisfy()

    def _forget(self, future: Any) -> None:
        self._waiting = [entry for entry in self._waiting if entry[1] is not future]

    def _satisfy(self) -> None:
        """Settle those who wait for what there is now. On the executor."""
        if not self._waiting:
            return
        event = self.state
        of_the_moment = event.error is None or isinstance(event.error, WITH_A_SET)
        over = self._following.stopped is not None or self._core.over
        waiting, self._waiting = self._waiting, []
        for minimum, future in waiting:
            if future.done():
                continue
            if of_the_moment and len(event.instances) - len(event.held) >= minimum:
                future.set_result(event)
            elif over and event.error is not None:
                future.set_exception(event.error)
            else:
                self._waiting.append((minimum, future))

    def end(self, error: ClientClosedError) -> None:
        """Watch no more, and tell nobody anything more; the watch is taken back from a session that goes on."""
        self._following.end(error)
        self._observers.stop(Event(self.state.instances, error))
        self._owner.executor.call(self._satisfy)

    def leave(self) -> None:
        """`end`, by itself."""
        if self._following.stopped is None:
            self.end(ClientClosedError("the instancer has been stopped"))
            self._owner.release(self)

    def _last_operations(self, local: bool) -> List[Any]:
        """What ends the watch."""
        return [self._core.stop(local)]

    def _publish(self) -> None:
        self._nodes = self._core.nodes  # before the event, so that who hears of it finds them
        for event in self._core.events():
            self._observers.publish(event)
            self._log(event)
            self._following.settle(event.error)
        self._satisfy()

    def _log(self, event: Event[T]) -> None:
        """One line for each change of what is wrong; that there is no connection is told by others."""
        error = event.error
        if isinstance(error, TRANSIENT):
            return
        troubles = "" if error is None else f"{type(error).__name__}: {error}"
        if troubles != self._troubles:
            self._troubles = troubles
            if error is not None:
                logger.warning("%s: %s", self._core.directory, troubles)
            else:
                logger.info("%s: all is well again", self._core.directory)


def settled(core: Membership, settling: AnySettling, codec: Codec[Any]) -> Settled:
    """`core` behind this filter, which is loaded by whoever has one."""
    from .settled import Settled
    from .settling import Settling

    if not isinstance(settling, Settling):
        raise TypeError(f"settling= is a zkdisco.settling.Settling, not {settling!r}")
    return Settled(core, settling, codec)


def careful(accept: Optional[Accept]) -> Optional[Accept]:
    """`accept`, but a child on which it raises is taken, and that is logged: a bug of the filter hides no instance."""
    if accept is None:
        return None
    given = accept

    def takes(name: str) -> bool:
        try:
            return bool(given(name))
        except Exception:
            logger.exception("exception in accept=%r for the child %r, which is taken", given, name)
            return True

    return takes


class Careful(Codec[Any]):
    """A codec that may be a user's: what it raises leaves out one node, and is logged unless it is a `ValueError`."""

    def __init__(self, codec: Codec[Any]) -> None:
        self._codec, self.naming = codec, codec.naming

    def decode(self, name: str, data: bytes) -> Any:
        """As the codec. `ValueError`, whatever it raises."""
        try:
            return self._codec.decode(name, data)
        except ValueError:
            raise
        except Exception as error:
            logger.exception("exception in %r for the node %r, which is left out", self._codec, name)
            raise ValueError(f"{self._codec!r} raised {type(error).__name__}: {error}") from error


def _forget(future: Any) -> None:
    """How it ended is of no interest any more."""
    if not future.cancelled():
        future.exception()


def check_usable(zk: Any, kind: Any) -> None:
    """`TypeError` or `ValueError` unless `zk` is a `ZooKeeper` (or `AsyncZooKeeper`) that has not ended.

    It may be without a connection just now, or not be started yet: there will be one.
    """
    if not isinstance(zk, kind):
        given, wanted = (f"{one.__module__}.{one.__qualname__}" for one in (type(zk), kind))
        raise TypeError(f"zk= must be a {wanted}, of the zkwire that this zkdisco uses, not a {given}")
    if has_ended(zk):
        raise ValueError(f"zk= must be a {kind.__name__} that has not ended; this one is {zk.client_state} for good")


def has_ended(zk: ZooKeeperFront) -> bool:
    """Whether it will never have a session again: ours has gone, and our nodes with it."""
    return zk.client_state in ENDED


def session_event(state: str, client_state: str) -> WatchedEvent:
    """What an event handler hears of a state."""
    known = {KazooState.CONNECTED: KeeperState.CONNECTED, KazooState.SUSPENDED: KeeperState.CONNECTING}
    lost = client_state if client_state in ENDED else KeeperState.EXPIRED_SESSION
    return WatchedEvent(EventType.NONE, known.get(state, lost), None)
