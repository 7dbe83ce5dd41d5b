"""The awaited twins: `Client`, `Registrar`, `Instancer` for asyncio, over the same cores and runner.

Owns the event loop's side only. Everything here belongs to one event loop; nothing is thread-safe. What blocks in the
other front is awaited here, and constructors never wait: `await client.start()` (or `async with`), and likewise for an
instancer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any, AsyncIterator, Callable, Dict, Generator, List, Optional, Sequence, Tuple, Union

from ._zkwire import ACL, WatchedEvent, async_zookeeper, errors
from .observers import target_of
from .client import EventHandler, Options, check_running, has_ended, session_event
from .instancer import Accept, InstancerBase
from .values import (
    DEFAULT_ACL, DEFAULT_CONNECT_TIMEOUT, DEFAULT_SESSION_TIMEOUT, ClientClosedError, Entries, Event,
    NotRegisteredError, Service, validate_directory,
)  # fmt: skip
from .steps import create_parents, entries_of
from .registrar import GRACE, RegistrarBase

logger = logging.getLogger(__name__)


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

    def offer(self, event: Any) -> None:
        """Deliver this one next, in the place of any that has not been delivered."""
        self._next = event
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Deliver nothing more."""
        self._next = None
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._next is not None:
                event, self._next = self._next, None
                try:
                    result = self._target(event)
                    if inspect.isawaitable(result):
                        await result
                except Exception:
                    logger.exception("exception in the observer %r", self._target)
        finally:
            self._task = None


class _Mailbox:
    """Holds the newest event for one who iterates; None is the end."""

    def __init__(self) -> None:
        self._event: Optional[Event] = None
        self._full = asyncio.Event()
        self._ended = False

    def put(self, event: Optional[Event]) -> None:
        """Keep this one instead."""
        self._event, self._ended = event, self._ended or event is None
        self._full.set()

    async def get(self) -> Optional[Event]:
        """The newest event not yet seen, or None at the end."""
        while True:
            await self._full.wait()
            self._full.clear()
            if self._ended:
                return None
            event, self._event = self._event, None
            if event is not None:
                return event


class Client:
    """A connection to ZooKeeper for registrars and instancers; arguments as for `zkdisco.Client`.

    `async with Client(...) as client:`, or `await client.start()` and, in the end, `await client.stop()`.
    """

    def __init__(
        self, servers: Optional[Union[str, Sequence[str]]] = None, acl: Sequence[ACL] = DEFAULT_ACL,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT, session_timeout: float = DEFAULT_SESSION_TIMEOUT,
        credentials: Optional[Sequence[str]] = None, payload: Sequence[bytes] = (),
        event_handler: Optional[EventHandler] = None, ssl_context: Any = None, sasl: Any = None, *, zk: Any = None,
    ) -> None:  # fmt: skip
        self.options = Options(
            servers, acl, connect_timeout, session_timeout, credentials, payload, event_handler, zk, ssl_context, sasl
        )
        self._owns = zk is None
        #: The AsyncZooKeeper below.
        self.zk = zk if zk is not None else async_zookeeper()(**self.options.zookeeper())
        self.executor = _LoopExecutor()
        self._closed = False
        self._children: List[Any] = []
        self._registrars: Dict[Service, Registrar] = {}
        self._handler = event_handler
        if event_handler is not None:
            self.zk.add_listener(self._session_event)

    async def start(self, timeout: Optional[float] = None) -> None:
        """Wait for a session, at most `session_timeout + connect_timeout`; errors as of the blocking constructor."""
        self.check()
        if self._owns:
            await self.zk.start(self.options.timeout if timeout is None else timeout)
        else:
            check_running(self.zk, async_zookeeper())

    def __await__(self) -> Generator[Any, None, Client]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Client:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

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

    async def register(self, service: Service, *, timeout: Optional[float] = None) -> str:
        """Register `service`, and keep it registered; the path of its node. An equal service is registered once."""
        self.check()
        registrar = self._registrars.get(service) or Registrar(self, service)
        self._registrars[service] = registrar
        return await registrar.register(timeout=timeout)

    async def deregister(self, service: Service, *, timeout: Optional[float] = None) -> None:
        """Delete the node that `register` made. Raises `NotRegisteredError`."""
        self.check()
        registrar = self._registrars.get(service)
        if registrar is None:
            raise NotRegisteredError(f"{service.directory}: not registered by this client")
        await registrar.deregister(timeout=timeout)
        if self._registrars.get(service) is registrar and registrar.node is None:
            del self._registrars[service]

    async def stop(self) -> None:
        """End all registrars and instancers, and the session if this client made it. May be called twice."""
        if self._closed:
            return
        self._closed = True
        children, self._children = self._children, []
        pending = [future for future in [child.end() for child in children] if future is not None]
        if self._owns:
            for future in pending:
                future.cancel()
            await self.zk.close()
        elif pending:
            await asyncio.wait(pending, timeout=0.0 if has_ended(self.zk) else self.options.timeout)
            for future in pending:
                if future.done() and not future.cancelled():
                    future.exception()  # there is nobody left to tell
        for child in children:
            child.closed()
        self.zk.remove_listener(self._session_event)

    def check(self) -> None:
        """Raise `ClientClosedError` after `stop`."""
        if self._closed:
            raise ClientClosedError()

    def adopt(self, child: Any) -> None:
        """`child.end()` is to be called by `stop`."""
        self.check()
        self._children.append(child)

    def release(self, child: Any) -> None:
        """It has ended by itself."""
        self._children = [other for other in self._children if other is not child]

    def _session_event(self, state: str) -> object:
        return self._handler(session_event(state, self.zk.client_state)) if self._handler is not None else None


class Registrar(RegistrarBase):
    """Registers a service, and keeps it registered until `deregister` or `client.stop()`; see `zkdisco.Registrar`."""

    def __init__(self, client: Client, service: Service) -> None:
        super().__init__(client, service)
        self._callers = 0  # of `register`, under way
        self._told = False  # whether one of them has returned since

    async def register(self, *, timeout: Optional[float] = None) -> str:
        """Register; the path of the node. If it is registered already, nothing happens.

        Cancelled, it leaves no registration behind, unless another caller has one or waits for it.
        """
        future = self.want(True)
        self._callers += 1
        try:
            node: str = await self._wait(future, timeout)
        except asyncio.CancelledError:
            future.add_done_callback(self._unclaimed)
            raise
        finally:
            self._callers -= 1
        self._told = True
        return node

    def _unclaimed(self, future: asyncio.Future[Any]) -> None:
        """Its caller was cancelled. If it stands after all, and nobody else knows, it is taken back."""
        stands = not future.cancelled() and future.exception() is None
        if stands and self._core.wanted and not (self._told or self._callers or self._ended):
            self.want(False).add_done_callback(_forget)

    async def deregister(self, *, timeout: Optional[float] = None) -> None:
        """Delete our node; when this returns, none of ours is left. Raises `NotRegisteredError` if there was none."""
        self._told = False
        await self._wait(self.want(False), timeout)

    async def _wait(self, future: asyncio.Future[Any], timeout: Optional[float]) -> Any:
        seconds = self._client.options.timeout if timeout is None else timeout
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

    async def __aenter__(self) -> Registrar:
        await self.register()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._core.wanted:
            await self.deregister()


class Instancer(InstancerBase):
    """The live instances below `path`, followed from `start` on; see `zkdisco.Instancer`.

    `async for event in instancer` gives the newest event, then every newer one or the newest, until `stop`.
    """

    def __init__(self, client: Client, path: str, *, accept: Optional[Accept] = None) -> None:
        super().__init__(client, path, _TaskDelivery, accept)
        self._iterations: List[_Mailbox] = []

    async def start(self, timeout: Optional[float] = None) -> None:
        """Wait for the first complete set; raises as the blocking constructor does."""
        self._client.check()
        if self._stopped:
            raise ClientClosedError("the instancer has been stopped")
        first = self._first if self._first is not None else self.begin()
        seconds = self._client.options.timeout if timeout is None else timeout
        try:
            await asyncio.wait([first], timeout=seconds)
            if first.done():
                first.result()
                return
        except BaseException:
            self.leave()
            raise
        self.leave()
        raise errors.OperationTimeoutError(f"no instances read in time; {self.state.error or 'no connection'}")

    async def stop(self) -> None:
        """Stop watching; observers hear nothing more, and iterations end. May be called twice."""
        self.leave()

    def end(self) -> None:
        """Watch no more, tell nobody anything more, and let iterations end."""
        super().end()
        for mailbox in self._iterations:
            mailbox.put(None)

    def __await__(self) -> Generator[Any, None, Instancer]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Instancer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[Event]:
        if self._first is None and not self._stopped:
            await self.start()
        if self._stopped:
            return  # nobody would ever say that it is over
        mailbox = _Mailbox()
        self._iterations.append(mailbox)
        self.register(mailbox)
        try:
            while True:
                event = await mailbox.get()
                if event is None:
                    return
                yield event
        finally:
            self._iterations.remove(mailbox)
            self.deregister(mailbox)
