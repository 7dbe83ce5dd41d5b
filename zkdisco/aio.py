"""The awaited twins: `Client`, `Registrar`, `Instancer` for asyncio, over the same cores and runner.

Owns the event loop's side only. Everything here belongs to one event loop; nothing is thread-safe. What blocks in the
other front is awaited here, and constructors never wait: `await client.start()` (or `async with`), and likewise for an
instancer.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from collections import deque
from typing import (
    TYPE_CHECKING, Any, AsyncIterator, Callable, Deque, Dict, Generator, Generic, List, Optional, Sequence, Tuple,
    Union, overload,
)  # fmt: skip

from ._zkwire import ACL, WatchedEvent, async_zookeeper, errors
from .codecs import Codec, Instance
from .front import (
    GRACE, LEAVE, Accept, AnyGate, AnySettling, ClientBase, EventHandler, InstancerBase, Options, RegistrarBase,
    check_usable, has_ended, logger, session_event,
)  # fmt: skip
from .observers import Delivery, target_of
from .steps import create_parents, entries_of
from .values import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, ClientClosedError, Entries, Event, Service, D, T,
    validate_directory,
)  # fmt: skip


def _forget(future: asyncio.Future[Any]) -> None:
    """Its error is of no interest to anybody."""
    if not future.cancelled():
        future.exception()


class _LoopExecutor:
    """The event loop, as `Runner` wants it."""

    def call(self, function: Callable[..., object], *arguments: Any) -> object:
        """Run it on the loop, soon."""
        return asyncio.get_running_loop().call_soon(function, *arguments)

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Run it on the loop, later."""
        return asyncio.get_running_loop().call_later(delay, function, *arguments)

    def on(self, function: Callable[..., object]) -> Callable[..., Any]:
        """All of zkwire's callbacks come on the loop anyway."""
        return function


class _TaskDelivery:
    """Calls one observer from a task of its own, one event at a time; what it returns to be awaited is awaited."""

    def __init__(self, observer: Any) -> None:
        self._target = target_of(observer)
        self._next: Any = None
        self._task: Optional[asyncio.Task[None]] = None
        self._stopped = False

    def offer(self, event: Any) -> None:
        """Deliver this one next, in the place of any that has not been delivered."""
        self._next = event
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Deliver nothing more."""
        self._next, self._stopped = None, True
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._next is not None:
                event, self._next = self._next, None
                await self._deliver(event)
        finally:
            self._task = None

    async def _deliver(self, event: Any) -> None:
        try:
            result = self._target(event)
            if inspect.isawaitable(result):
                await result
        except BaseException as error:  # SystemExit too: it would end the loop; and that what it awaits is cancelled
            if self._stopped or isinstance(error, GeneratorExit):
                raise
            logger.exception("exception in the observer %r", self._target)


class _Mailbox:
    """Holds the newest event for one who iterates, and that there will be no other.

    It is its own delivery: from a task the last event could come behind the word that it was the last.
    """

    def __init__(self) -> None:
        self._event: Optional[Event[Any]] = None
        self._full = asyncio.Event()
        self._ended = False

    def put(self, event: Event[Any]) -> None:
        """Keep this one instead."""
        self._event = event
        self._full.set()

    offer = put

    def end(self) -> None:
        """There is no event after the one that waits."""
        self._ended = True
        self._full.set()

    def stop(self) -> None:
        """There is no event any more, not even the one that waits."""
        self._event = None
        self.end()

    async def get(self) -> Optional[Event[Any]]:
        """The newest event not yet seen, or None at the end."""
        while True:
            event, self._event = self._event, None
            if event is not None or self._ended:
                return event
            self._full.clear()
            await self._full.wait()


def _delivery(observer: Any) -> Delivery:
    """How events come to an observer."""
    return observer if isinstance(observer, _Mailbox) else _TaskDelivery(observer)


class _Holders:
    """Of one registration: the tasks that wait for it, and whether anybody was told that it stands."""

    def __init__(self) -> None:
        self.waiting = 0
        self.told = False
        self.stray = False  # whether it stands, and somebody who had been cancelled would have been told


class Client(ClientBase):
    """A connection to ZooKeeper for registrars and instancers; arguments as for `zkdisco.Client`.

    `async with Client(...) as client:`, or `await client.start()` and, in the end, `await client.stop()`. It is `start`
    that waits, as the blocking constructor does.
    """

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]] = None, acl: Sequence[ACL] = DEFAULT_ACL,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT, session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        credentials: Optional[Sequence[str]] = None, payload: Sequence[bytes] = (),
        event_handler: Optional[EventHandler] = None, ssl_context: Any = None, sasl: Any = None, *, zk: Any = None,
        wait: Optional[float] = None,
    ) -> None:  # fmt: skip
        options = Options(
            servers, acl, connect_timeout, session_timeout, credentials, payload, event_handler, zk, ssl_context, sasl,
            wait,
        )  # fmt: skip
        below = zk if zk is not None else async_zookeeper()(**options.zookeeper())
        super().__init__(options, below, zk is None, _LoopExecutor(), _delivery)
        self._stopped: Optional[asyncio.Future[None]] = None
        self._watching = False
        self._holders: Dict[Any, _Holders] = {}
        self._from_elsewhere: Deque[Callable[[], object]] = deque()
        self._handler = event_handler
        if event_handler is not None:
            self.zk.add_listener(self._session_event)

    async def start(self, timeout: Optional[float] = None) -> None:
        """Wait for a session, at most `session_timeout + connect_timeout`; errors as of the blocking constructor."""
        self.check()
        if self._owns:
            await self._connect(timeout)
        else:
            check_usable(self.zk, async_zookeeper())
        self._call_those()
        if not self._watching:
            self._watching = True
            self._end_watch.start()

    async def _connect(self, timeout: Optional[float]) -> None:
        """Wait for a session as long as was asked for."""
        seconds, wait = self.options.timeout if timeout is None else timeout, self.options.wait
        if wait is not None:
            if self.zk.driver.loop is None:
                self.zk.driver.start()
            await self.zk.driver.until(lambda: self.zk.connected or has_ended(self.zk), wait)
        if wait is None or has_ended(self.zk):
            await self.zk.start(seconds)

    def __await__(self) -> Generator[Any, None, Client]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Client:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def call_from_any_thread(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call it on the event loop, or in `start` if there is none yet."""
        self._from_elsewhere.append(functools.partial(function, *arguments))
        loop = self.zk.driver.loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._call_those)
            except RuntimeError:  # the loop is closed, and all of this client with it
                pass

    def _call_those(self) -> None:
        while self._from_elsewhere:
            self._from_elsewhere.popleft()()

    async def get_entries(
        self, path: str, *, timeout: Optional[float] = None
    ) -> Tuple[Entries, asyncio.Future[WatchedEvent]]:
        """The data of the children of `path`, sorted, and a future for the first change; see `zkdisco.Client`."""
        self.check()
        changed = self.zk.future()

        def watcher(event: WatchedEvent) -> None:
            if not changed.done():
                changed.set_result(event)

        recipe = entries_of(validate_directory(path), watcher)
        entries = await self.zk.run(recipe, self.options.timeout if timeout is None else timeout)
        return entries, changed

    async def create_parent_nodes(self, path: str, *, timeout: Optional[float] = None) -> None:
        """Create what is missing of `path`, itself included, with the client's ACL and payload."""
        self.check()
        recipe = create_parents(validate_directory(path), self.options.acl, self.options.payload)
        await self.zk.run(recipe, self.options.timeout if timeout is None else timeout)

    async def register(self, service: Service[Any], *, timeout: Optional[float] = None) -> str:
        """Register `service`, and keep it registered; the path of its node. An equal service is registered once.

        Cancelled, it leaves no registration behind, unless another caller has one or waits for it.
        """
        release = functools.partial(self.want_service, service, False)
        return await self.claim(service, self.want_service(service, True), release, timeout)

    async def deregister(self, service: Service[Any], *, timeout: Optional[float] = None) -> None:
        """Delete the node that `register` made. Raises `NotRegisteredError`."""
        self.unwanted(service)
        await self.wait(self.want_service(service, False), timeout)

    def holders(self, what: Any) -> _Holders:
        """Of a registration, by service or by core."""
        return self._holders.setdefault(what, _Holders())

    def unwanted(self, what: Any) -> None:
        """Somebody wants it no more: who has wanted it until now holds nothing."""
        self._holders.pop(what, None)

    async def claim(
        self, what: Any, future: asyncio.Future[Any], release: Callable[[], asyncio.Future[Any]],
        timeout: Optional[float],
    ) -> str:  # fmt: skip
        """Wait for a registration; if it stands in the end, and nobody knows since all were cancelled, `release` it."""
        holders = self.holders(what)
        holders.waiting += 1

        def unclaimed(done: asyncio.Future[Any]) -> None:
            holders.stray = not done.cancelled() and done.exception() is None
            look()

        def look() -> None:
            if holders.told or holders.waiting or self.closed or self._holders.get(what) is not holders:
                return
            if holders.stray:
                release().add_done_callback(_forget)
            if holders.stray or (future.done() and (future.cancelled() or future.exception() is not None)):
                del self._holders[what]  # it is taken back, or has failed: nobody holds anything

        try:
            node: str = await self.wait(future, timeout)
            holders.told = True
        except asyncio.CancelledError:
            future.add_done_callback(unclaimed)
            raise
        finally:
            holders.waiting -= 1
            look()
        return node

    async def wait(self, future: asyncio.Future[Any], timeout: Optional[float]) -> Any:
        """Wait for the registry's word, and tell it if nobody waits any more."""
        seconds = self.options.timeout if timeout is None else timeout
        try:
            await asyncio.wait([future], timeout=seconds)
            if not future.done():
                self.withdraw(future)
                await asyncio.wait([future], timeout=GRACE)
        except asyncio.CancelledError:
            future.add_done_callback(_forget)
            self.withdraw(future)
            raise
        return future.result()

    async def stop(self) -> None:
        """End all registrars and instancers, and the session if this client made it. See `zkdisco.Client.stop`.

        May be called twice: the second call waits for the first.
        """
        if self._stopped is not None:
            await asyncio.wait([self._stopped])
            return
        self._stopped = self.zk.future()
        try:
            await self._end(self._begin_to_stop())
        finally:
            self._stopped.set_result(None)

    async def _end(self, left: Optional[asyncio.Future[Any]]) -> None:
        if left is not None:
            left.add_done_callback(_forget)
        if self._owns:
            await self.zk.close()
        elif left is not None and not has_ended(self.zk):
            await asyncio.wait([left], timeout=min(LEAVE, self.options.timeout))
            if not left.done() and self.zk.connected:
                await asyncio.wait([left], timeout=max(0.0, self.options.timeout - LEAVE))
        self._give_up(left)
        self.zk.remove_listener(self._session_event)

    def _session_event(self, state: str) -> object:
        return self._handler(session_event(state, self.zk.client_state)) if self._handler is not None else None


class Registrar(RegistrarBase, Generic[D]):
    """Registers a service, and keeps it registered until `deregister` or `client.stop()`; see `zkdisco.Registrar`."""

    def __init__(
        self, client: Client, service: Service[D], *, identity: Optional[str] = None, gate: Optional[AnyGate] = None
    ) -> None:  # fmt: skip
        super().__init__(client, service, identity, gate)
        self._client = client

    async def register(self, *, timeout: Optional[float] = None) -> str:
        """Register; the path of the node. If it is registered already, nothing happens.

        Cancelled, it leaves no registration behind, unless another caller has one or waits for it.
        """
        release = functools.partial(self._client.want, self._core, False)
        return await self._client.claim(self._core, self._client.want(self._core, True), release, timeout)

    def start(self) -> None:
        """Register from now on, without waiting, whatever it takes: `error` says how it stands. Plain, not awaited."""
        self._client.holders(self._core).told = True
        super().start()

    async def deregister(self, *, timeout: Optional[float] = None) -> None:
        """Delete our node; when this returns, none of ours is left. Raises `NotRegisteredError` if there was none."""
        self._client.unwanted(self._core)
        await self._client.wait(self._client.want(self._core, False), timeout)

    async def update(self, data: D, *, timeout: Optional[float] = None) -> None:
        """Replace the data of our node in place; see `zkdisco.Registrar.update`."""
        await self._client.wait(self._client.want_data(self._core, data), timeout)

    async def __aenter__(self) -> Registrar[D]:
        await self.register()
        return self

    async def __aexit__(self, kind: Any, *exc_info: object) -> None:
        """Deregister; an exception of the block is not held up for more than 2 s, nor replaced."""
        if not self._core.wanted or self._client.closed:
            return
        away = kind is not None or not self._client.zk.connected
        try:
            await self.deregister(timeout=min(LEAVE, self._client.options.timeout) if away else None)
        except errors.ZookeeperError as error:
            if kind is None:
                raise
            logger.warning("not deregistered from %s in time: %s", self._core.directory, error)


class Instancer(InstancerBase[T]):
    """The live instances below `path`, followed from `start` on; see `zkdisco.Instancer`.

    `async for event in instancer` gives the newest event, then every newer one or the newest, until `stop`, or until
    the client can never have a session again: the last event has the cause.
    """

    @overload
    def __init__(
        self: Instancer[str], client: Client, path: str, *, accept: Optional[Accept] = None,
        wait: Optional[float] = None, codec: None = None, settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Instancer[Instance], client: Client, path: str, *, accept: Optional[Accept] = None,
        wait: Optional[float] = None, codec: str, settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, client: Client, path: str, *, accept: Optional[Accept] = None, wait: Optional[float] = None,
        codec: Codec[T], settling: Optional[AnySettling] = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, client: Client, path: str, *, accept: Optional[Accept] = None, wait: Optional[float] = None,
        codec: Optional[Union[str, Codec[Any]]] = None,
        settling: Optional[AnySettling] = None,
    ) -> None:  # fmt: skip
        super().__init__(client, path, accept, wait, codec, settling)
        self._client = client
        self._iterations: List[_Mailbox] = []
        self._starters = 0
        self._told = False  # whether one of them has returned
        self._over = False

    async def start(self, timeout: Optional[float] = None) -> None:
        """Wait for the first complete set; raises as the blocking constructor does.

        Where several tasks wait, one that is cancelled, or waits no longer, ends it for none of the others.
        """
        self._client.check()
        if self._following.stopped is not None:
            raise ClientClosedError("the instancer has been stopped")
        first = self._following.first if self._following.first is not None else self.begin()
        seconds = self._client.options.timeout if timeout is None else timeout
        if self._following.wait is not None:
            seconds = self._following.wait
        self._starters += 1
        cancelled = True
        try:
            await asyncio.wait([first], timeout=seconds)
            cancelled = False
        finally:
            self._starters -= 1
            why, in_time = self.state.error, first.done() and not cancelled
            failed = first.done() and first.exception() is not None
            self._told = self._told or in_time
            if failed or not (self._told or self._starters or self._following.wait is not None):
                self.leave()
        if in_time:
            first.result()
        elif self._following.wait is None:
            raise errors.OperationTimeoutError(f"no instances read in time; {why or 'no connection'}")

    async def wait(self, minimum: int = 1, timeout: Optional[float] = None) -> Event[T]:
        """Wait until at least `minimum` instances are live; see `zkdisco.Instancer.wait`. Starts what is not."""
        future = self.await_set(minimum)
        if self._following.first is None and self._following.stopped is None:
            self.begin()
        seconds = self._client.options.timeout if timeout is None else timeout
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            if not future.done():
                self.forget(future)
        if not future.done():
            raise self.too_few(minimum)
        found: Event[T] = future.result()
        return found

    async def stop(self) -> None:
        """Stop watching; observers hear nothing more, and iterations end. May be called twice."""
        self.leave()

    def _publish(self) -> None:
        super()._publish()
        self._over = self._core.over
        if self._over:
            for mailbox in self._iterations:
                mailbox.end()

    def __await__(self) -> Generator[Any, None, Instancer[T]]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Instancer[T]:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[Event[T]]:
        if self._following.stopped is None and (self._following.first is None or not self._following.first.done()):
            await self.start()
        if self._following.stopped is not None:
            return  # nobody would ever say that it is over
        mailbox = _Mailbox()
        if self._over:
            yield self.state
            return
        self._iterations.append(mailbox)
        self._observers.register(mailbox)
        try:
            while True:
                event = await mailbox.get()
                if event is None:
                    return
                yield event
        finally:
            self._iterations.remove(mailbox)
            self.deregister(mailbox)


if TYPE_CHECKING:
    from .aio_catalog import Catalog as Catalog
    from .aio_endpoints import Endpoints as Endpoints


#: What is loaded when it is asked for, since not everybody needs it.
LAZY = ("Catalog", "Endpoints")


def __getattr__(name: str) -> Any:
    """What `LAZY` names."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".aio_{name.lower()}", __package__), name)
