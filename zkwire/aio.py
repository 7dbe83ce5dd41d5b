"""`AsyncZooKeeper`, the asyncio front over the same session core and the same verbs.

Owns the event loop's side: transport, timer, futures. Must not know the protocol; no verb, no rule and no deadline is
written here a second time. Everything happens on one event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
from collections import deque
from typing import Any, AsyncIterator, Callable, Coroutine, Deque, List, Optional, Sequence, Set, Tuple, TypeVar, Union

from .connection import MAX_FRAME, MAX_REQUEST
from .errors import AuthFailedError, ConnectionClosedError, ForkedError, OperationTimeoutError, ZookeeperError
from .op import Op
from .ops import Multi
from .recipes import WINDOW, Work
from .records import EventType, KazooState, KeeperState, WatchedEvent
from .session import CLOSE_LIMIT, ENDED, OPEN
from .session_events import Dial, Fired, HangUp, Settled, StateChanged
from .settings import DEFAULT_MAX_PENDING, DEFAULT_TIMEOUT, AuthData, Settings, make_session
from .verbs import Awaiting, Transaction

T = TypeVar("T")
#: An iterator of `watch` that is not read keeps this many events; then they are replaced by one that says: read afresh.
BACKLOG = 10_000


def _awaiting(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: what it stands for is done, and awaited."""

    @functools.wraps(verb)
    async def method(self: AsyncZooKeeper, *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        return await self.run(verb(self, *args, **options), timeout)

    return method


class _Wire(asyncio.Protocol):
    """One connection, as asyncio sees it."""

    def __init__(self, front: AsyncZooKeeper) -> None:
        self._front = front
        self.transport: Optional[asyncio.Transport] = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of create_connection: it is one

    def data_received(self, data: bytes) -> None:
        self._front._received(self, data)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._front._lost(self, str(exc) if exc else "the server closed the connection")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._front._flush()


class AsyncZooKeeper(Awaiting, method=_awaiting):
    """A ZooKeeper client for asyncio: constructor and verbs of `ZooKeeper`, awaited, and `async with`.

    Cancelling a call leaves the order of the others as it is; what was sent may still be applied. Watchers and
    listeners are called on the event loop, in wire order; a coroutine function as a watcher becomes a task.
    """

    def __init__(
        self, hosts: Union[str, Sequence[str]] = "127.0.0.1:2181", timeout: float = DEFAULT_TIMEOUT,
        auth_data: Optional[AuthData] = None, default_acl: Any = None, read_only: bool = False,
        randomize_hosts: bool = True, client_id: Optional[Tuple[int, bytes]] = None,
        connect_timeout: Optional[float] = None, request_timeout: Optional[float] = None, ssl_context: Any = None,
        sasl: Any = None, max_pending: int = DEFAULT_MAX_PENDING, max_frame: int = MAX_FRAME,
        logger: Optional[logging.Logger] = None, *, max_request: int = MAX_REQUEST,
    ) -> None:  # fmt: skip
        settings = Settings(
            hosts, timeout, auth_data, default_acl, read_only, randomize_hosts, client_id, connect_timeout,
            request_timeout, ssl_context, sasl, max_pending, max_frame, max_request,
        )  # fmt: skip
        self._session = make_session(settings, random.random, 0.0)
        self._request_timeout = request_timeout
        self._logger = logger or logging.getLogger("zkwire")
        self._listeners: List[Callable[[str], object]] = []
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._pid = os.getpid()
        self._wire: Optional[_Wire] = None
        self._dialling: Optional[asyncio.Task[None]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._flushing = False
        self._told = KazooState.LOST
        self._changed: Optional[asyncio.Future[None]] = None
        self._tasks: Set[asyncio.Future[Any]] = set()

    # ------------------------------------------------------------------------ lifecycle

    async def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session. Raises as `ZooKeeper.start` does."""
        self._check_process()
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._session.start(self._loop.time())
            self._act()
        session = self._session
        try:
            await self._until(lambda: self.connected or session.phase == ENDED, timeout)
        except asyncio.CancelledError:
            await self.close()
            raise
        if self.connected:
            return
        error = session.last_error
        if session.phase == ENDED:
            raise error if isinstance(error, AuthFailedError) else ConnectionClosedError()
        await self.close()
        raise OperationTimeoutError(f"no session within {timeout} s; the last attempt: {error}")

    async def close(self) -> None:
        """End the session, and every call under way. Takes at most 5 s; idempotent."""
        if os.getpid() != self._pid:
            return
        self._session.close(self._loop.time() if self._loop else 0.0)
        if self._loop is not None:
            self._act()
            self._flush()
            await self._until(lambda: self._session.phase == ENDED, CLOSE_LIMIT)

    stop = close

    async def __aenter__(self) -> AsyncZooKeeper:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # ---------------------------------------------------------------------------- state

    @property
    def state(self) -> str:
        """CONNECTED, SUSPENDED or LOST (see `KazooState`)."""
        return self._session.state

    @property
    def client_state(self) -> str:
        """The state in detail (see `KeeperState`)."""
        return self._session.client_state

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and a session on it."""
        return self._session.state == KazooState.CONNECTED

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Session id and password, or None without a session. Whoever has both can take the session over."""
        return self._session.client_id

    @property
    def session_timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._session.timeout

    def add_listener(self, listener: Callable[[str], object]) -> None:
        """Call `listener(state)` at each change of `state`, until it returns True."""
        if listener not in self._listeners:
            self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[str], object]) -> None:
        """Call it no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    # ----------------------------------------------------------------------------- work

    def submit(self, op: Op[T], then: Optional[Callable[[asyncio.Future[T]], object]] = None) -> asyncio.Future[T]:
        """Send an operation without waiting; an `asyncio.Future` for its result. As `ZooKeeper.submit`."""
        self._check_process()
        if self._loop is None:
            raise ConnectionClosedError("not started: await start() first")
        session, future = self._session, self._loop.create_future()
        if then is not None:
            future.add_done_callback(then)
        session.submit(op, future, self._loop.time())
        if session.news:
            self._act()
        if session.in_flight <= 1:
            self._flush()
        elif not self._flushing:  # more may come before the loop turns
            self._flushing = True
            self._loop.call_soon(self._flush)
        if session.phase != OPEN:
            self._arm()
        return future

    def future(self) -> asyncio.Future[Any]:
        """A future to be settled by whoever asked for it."""
        return asyncio.get_running_loop().create_future()

    def transaction(self) -> Transaction[Coroutine[Any, Any, List[Any]]]:
        """Collect operations to be done together or not at all; `await transaction.commit()` does them."""
        return Transaction(self._commit)

    async def _commit(self, multi: Multi, timeout: Optional[float]) -> List[Any]:
        return await self.run(multi, timeout)

    async def run(self, work: Work[T], timeout: Optional[float] = None) -> T:
        """Do an operation or a recipe, within `timeout` seconds (None: `request_timeout`); its result."""
        if timeout is None:
            timeout = self._request_timeout
        self._check_process()
        if self._loop is None:
            raise ConnectionClosedError("not started: await start() first")
        deadline = None if timeout is None else self._loop.time() + timeout
        if isinstance(work, Op):
            return await self._finish(self.submit(work), deadline)
        try:
            wanted = next(work)
            while True:
                try:
                    if isinstance(wanted, Op):
                        answer = await self._finish(self.submit(wanted), deadline)
                    else:
                        answer = await self._pipeline(wanted, deadline)
                except Exception as error:
                    wanted = work.throw(error)
                else:
                    wanted = work.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _pipeline(self, ops: Sequence[Op[Any]], deadline: Optional[float]) -> List[Any]:
        """The outcomes of many operations, errors included as values, a window of them under way at a time."""
        outcomes: List[Any] = []
        under_way: Deque[asyncio.Future[Any]] = deque()
        remaining = iter(ops)
        try:
            while True:
                for op in remaining:
                    under_way.append(self.submit(op))
                    if len(under_way) >= WINDOW:
                        break
                if not under_way:
                    return outcomes
                try:
                    outcomes.append(await self._finish(under_way.popleft(), deadline))
                except OperationTimeoutError:
                    raise
                except ZookeeperError as error:
                    outcomes.append(error)
        finally:
            for future in under_way:
                self._session.abandon(future)
                future.cancel()

    async def _finish(self, future: asyncio.Future[T], deadline: Optional[float]) -> T:
        """The result of a future that nobody else awaits, by `deadline`."""
        if deadline is None or self._loop is None:
            timer = None
        else:
            timer = self._loop.call_at(deadline, self._too_late, future)
        try:
            return await future
        except asyncio.CancelledError:
            self._session.abandon(future)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _too_late(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            error = OperationTimeoutError("no answer within the time-out")
            error.maybe_applied = not self._session.abandon(future)
            future.set_exception(error)

    async def watch(self, path: str, recursive: bool = False) -> AsyncIterator[WatchedEvent]:
        """Every change of a node and its children, or with `recursive` of all nodes below it, as it comes.

        Type NONE with state CONNECTED says that changes may have been missed: read afresh. With the session the
        iteration ends, after an event that says so. ZooKeeper 3.6 and later; `UnimplementedError` before.
        """
        events: Deque[WatchedEvent] = deque()
        ready = asyncio.Event()

        def watcher(event: WatchedEvent) -> None:
            if len(events) >= BACKLOG:
                events.clear()
                events.append(WatchedEvent(EventType.NONE, KeeperState.CONNECTED, path))
            events.append(event)
            ready.set()

        await self.add_watch(path, watcher, recursive)
        try:
            while True:
                await ready.wait()
                ready.clear()
                while events:
                    event = events.popleft()
                    yield event
                    if event.type == EventType.NONE and event.state != KeeperState.CONNECTED:
                        return
        finally:
            if self.connected:
                await self.remove_watches(path, watcher)

    # -------------------------------------------------------------- the event loop's side

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ForkedError()

    async def _until(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until the state is such, at most `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not done() and loop.time() < deadline:
            if self._changed is None or self._changed.done():
                self._changed = loop.create_future()
            await asyncio.wait([self._changed], timeout=deadline - loop.time())

    def _act(self) -> None:
        """Do what the core asks for."""
        loop = self._loop
        if loop is None:
            return
        arm = False
        for event in self._session.events():
            if type(event) is Settled:
                if event.token is not None and not event.token.done():
                    if isinstance(event.outcome, ZookeeperError):
                        event.token.set_exception(event.outcome)
                    else:
                        event.token.set_result(event.outcome)
                continue
            arm = True
            if isinstance(event, Fired):
                for watcher in event.watchers:
                    loop.call_soon(self._call, watcher, event.event)
            elif isinstance(event, StateChanged):
                self._logger.info("= %s (%s)", event.state, event.client_state)
                loop.call_soon(self._tell, event.state)
                if self._changed is not None and not self._changed.done():
                    self._changed.set_result(None)
            else:
                self._disconnect()
                if isinstance(event, HangUp):
                    self._logger.info("= hanging up: %s", event.reason)
                elif isinstance(event, Dial):
                    self._dialling = loop.create_task(self._dial(event))
        if arm:
            self._arm()

    def _arm(self) -> None:
        """Have `_timed_out` called in time. A timer that is early only looks again."""
        deadline = self._session.deadline()
        if self._timer is not None and (deadline is None or deadline < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if deadline is not None and self._timer is None and self._loop is not None:
            self._timer = self._loop.call_at(deadline, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        if self._loop is not None:
            deadline = self._session.deadline()
            if deadline is not None and self._loop.time() >= deadline:
                self._session.timed_out(self._loop.time())
                self._act()
                self._flush()
            self._arm()

    async def _dial(self, dial: Dial) -> None:
        loop = asyncio.get_running_loop()
        wire = _Wire(self)
        self._logger.debug("= connecting to %s", dial.host)
        try:
            connecting = loop.create_connection(lambda: wire, dial.host.name, dial.host.port, happy_eyeballs_delay=0.25)
            await asyncio.wait_for(connecting, dial.deadline - loop.time())
        except (OSError, UnicodeError, asyncio.TimeoutError) as error:
            self._session.lost(str(error) or "connect timed out", loop.time())
            self._act()
            return
        self._wire = wire
        self._session.connected(loop.time())
        self._act()
        self._flush()

    def _disconnect(self) -> None:
        if self._dialling is not None and self._dialling is not asyncio.current_task(self._loop):
            self._dialling.cancel()
        self._dialling = None
        wire, self._wire = self._wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.abort()

    def _flush(self) -> None:
        self._flushing = False
        wire = self._wire
        while wire is not None and wire.transport is not None and not wire.paused:
            data = self._session.data_to_send()
            if not data:
                return
            wire.transport.write(bytes(data))
            self._session.sent(len(data))

    def _received(self, wire: _Wire, data: bytes) -> None:
        if wire is self._wire and self._loop is not None:
            self._session.received(data, self._loop.time())
            self._act()
            if self._session.unsent and not self._flushing:
                self._flush()

    def _lost(self, wire: _Wire, reason: str) -> None:
        if wire is self._wire and self._loop is not None:
            self._wire = None
            self._session.lost(reason, self._loop.time())
            self._act()

    def _tell(self, state: str) -> None:
        if state != self._told:
            self._told = state
            for listener in list(self._listeners):
                if self._call(listener, state) is True:
                    self.remove_listener(listener)

    def _call(self, function: Callable[[Any], object], argument: Any) -> object:
        """Call user code; what it raises is logged, what it returns to be awaited becomes a task."""
        try:
            result = function(argument)
        except Exception:
            self._logger.exception("exception in %r, which was called with news of ZooKeeper", function)
            return None
        if asyncio.iscoroutine(result):
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            task.add_done_callback(self._task_done)
        return result

    def _task_done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._logger.error("exception in a watcher's task", exc_info=task.exception())
