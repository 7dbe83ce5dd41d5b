"""`AsyncZooKeeper`, the asyncio front over the same session core and the same verbs.

Owns everything that is awaited: verbs, time-outs, iterators. Must not know the protocol; verbs and rules are shared
with the blocking front. Everything happens on one event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import functools
from typing import (
    Any, AsyncGenerator, Callable, Coroutine, List, Optional, Sequence, Tuple, TypeVar,
)  # fmt: skip

from .config import GRACE, Front
from .errors import ConnectionLoss, OperationTimeoutError, ZookeeperError
from .io.aio_driver import BACKLOG, AsyncDriver, AsyncFuture
from .io.four_letter import Question, version_of
from .ops import AddWatch, Multi, RemoveWatches
from .recipes import Work, drive
from .session.host_provider import Host
from .session.session import CLOSE_LIMIT, ENDED
from .values import EventType, KeeperState, WatchedEvent, Watcher
from .verbs import Awaiting, Transaction
from .wire.operation import Op

T = TypeVar("T")


def _awaiting(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: it awaits the verb's operation or recipe."""

    @functools.wraps(verb)
    async def method(self: AsyncZooKeeper, *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        work = verb(self, *args, **options)
        if timeout is None and self._request_timeout is None and isinstance(work, Op):
            return await self._driver.submit(work)
        return await self.run(work, timeout)

    return method


class AsyncZooKeeper(Front, Awaiting, method=_awaiting):
    """A ZooKeeper client for asyncio: constructor and verbs of `ZooKeeper`, awaited, and `async with`.

    The client belongs to the event loop it is started on, and to its thread. Cancelling a call does not change the
    order of the others; a request that was sent may still be applied. The event loop calls watchers and listeners, in
    wire order; a coroutine function among them becomes a task. Code that blocks the event loop also blocks the pings:
    two thirds of the session timeout cost the connection, all of it the session.
    """

    def _set_up(self) -> None:
        listeners = self._listeners
        self._driver = AsyncDriver(self._session, self._logger, listeners, self._ssl_context)

    @property
    def driver(self) -> AsyncDriver:
        """The driver of the session. Internal: it may change with every release."""
        return self._driver

    # ------------------------------------------------------------------------ lifecycle

    async def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session; does nothing if there is one already.

        Raises as `ZooKeeper.start` does; if it raises, or is cancelled, the client is closed.
        """
        driver, session = self._driver, self._session
        if driver.loop is None:
            driver.start()
        driver.check()
        try:
            await driver.until(lambda: self.connected or session.phase == ENDED, timeout)
        except asyncio.CancelledError:
            await driver.close(GRACE)
            raise
        error = self._no_session(timeout)
        if error is not None:
            await driver.close(GRACE)
            raise error

    async def close(self) -> None:
        """End the session with its ephemeral nodes, and every pending call. Takes at most 5 s; idempotent.

        Earlier requests still get their replies if the server answers in time; later calls raise
        `ConnectionClosedError`.
        """
        await self._driver.close(CLOSE_LIMIT)

    stop = close

    def _set_hosts(self, hosts: Sequence[Host]) -> None:
        self._driver.set_hosts(hosts)

    async def __aenter__(self) -> AsyncZooKeeper:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # ----------------------------------------------------------------------------- work

    def submit(
        self, op: Op[T], then: Optional[Callable[[asyncio.Future[T]], object]] = None, *, force: bool = False
    ) -> AsyncFuture[T]:
        """Send an operation (from `zkwire.ops`) without waiting; an `asyncio.Future` for its result.

        `then(future)` is called with the outcome, as by `add_done_callback`. `force` and the errors are those of
        `ZooKeeper.submit`. If `future.cancel()` returns True, the operation is never sent; if False, it was sent, or is
        done.
        """
        future = self._driver.submit(op, force)
        if then is not None:
            future.add_done_callback(then)
        return future

    def future(self) -> asyncio.Future[Any]:
        """A future that the caller settles."""
        return asyncio.get_running_loop().create_future()

    def transaction(self) -> Transaction[Coroutine[Any, Any, List[Any]]]:
        """Collect operations that are done all or none; `await transaction.commit()` does them."""
        return Transaction(self._commit)

    def _commit(self, multi: Multi, timeout: Optional[float]) -> Coroutine[Any, Any, List[Any]]:
        return self.run(multi, timeout)

    async def run(self, work: Work[T], timeout: Optional[float] = None) -> T:
        """Do an operation or a recipe, within `timeout` seconds (None: `request_timeout`); its result."""
        if timeout is None:
            timeout = self._request_timeout
        driver = self._driver
        if not isinstance(work, Op):
            result: T = await self._run_recipe(work, timeout)
            return result
        if timeout is None:
            return await driver.submit(work)
        with Deadline(driver, timeout) as deadline:
            return await deadline.of(driver.submit(work))

    async def _run_recipe(self, work: Any, timeout: Optional[float]) -> Any:
        driver = self._driver
        steps = drive(work, driver.submit, _abandon, self._session.windows)
        with Deadline(driver, timeout) as deadline:
            try:
                future = next(steps)
                while True:
                    try:
                        answer = await deadline.of(future)
                    except Exception as error:
                        future = steps.throw(error)
                    else:
                        future = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            except ZookeeperError as error:
                # The traceback holds the recipe's frames, and these hold the error: this breaks the cycle.
                raise error.with_traceback(None)  # noqa: B904  # it is the same error
            finally:
                future = answer = None  # this frame is in the cycle too
                steps.close()

    async def command(self, word: bytes = b"ruok", *, timeout: Optional[float] = None) -> str:
        """As `ZooKeeper.command`."""
        question, (host, address) = Question(word), self._to_ask()
        self._driver.check()
        await self._driver.ask(question, host, address, self._patience(timeout))
        return question.answer()

    async def server_version(self, *, timeout: Optional[float] = None) -> Tuple[int, int, int]:
        """As `ZooKeeper.server_version`."""
        return version_of(await self.command(b"srvr", timeout=timeout))

    def watch(self, path: str, recursive: bool = False) -> AsyncGenerator[WatchedEvent, None]:
        """Every change of a node and its children, or with `recursive` of all nodes below it, from now on.

        Changes after the call of `watch` are included, so none is missed between a read and the iteration. An event of
        type NONE and state CONNECTED means that changes may have been missed: read again. The iteration ends with the
        watch or the session, after an event that gives the cause. ZooKeeper 3.6 and later; `UnimplementedError` before.
        iteration ends, after an event that says so. ZooKeeper 3.6 and later; `UnimplementedError` before.
        """
        events: asyncio.Queue[WatchedEvent] = asyncio.Queue()

        def watcher(event: WatchedEvent) -> None:
            if events.qsize() >= BACKLOG:
                while not events.empty():
                    events.get_nowait()
                events.put_nowait(WatchedEvent(EventType.NONE, KeeperState.CONNECTED, path))
            events.put_nowait(event)

        armed = self.submit(AddWatch(path, watcher, recursive))
        armed.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, if never iterated
        return self._iterate(events, armed, functools.partial(self._unwatch, path, watcher, armed))

    async def _iterate(
        self, events: asyncio.Queue[WatchedEvent], armed: asyncio.Future[None], leave: Callable[[], None]
    ) -> AsyncGenerator[WatchedEvent, None]:
        over = False
        try:
            with Deadline(self._driver, self._request_timeout) as deadline:
                await deadline.of(asyncio.shield(armed))  # shielded, so that it can be taken back later
            while not over:
                event = await events.get()
                lost = event.type == EventType.NONE and event.state != KeeperState.CONNECTED
                over = lost or event.type == EventType.PERSISTENT_WATCH_REMOVED
                yield event
        finally:
            if not over:
                leave()

    def _unwatch(self, path: str, watcher: Watcher, asked: asyncio.Future[None]) -> None:
        """Remove a watch once it is set; if the connection ends before that, so that the watch is not set again."""

        def done(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and isinstance(future.exception(), ConnectionLoss):
                self._unwatch(path, watcher, future)

        if not asked.done():
            asked.add_done_callback(functools.partial(self._unwatch, path, watcher))
            return
        try:
            self.submit(RemoveWatches(path, watcher=watcher, local=not self.connected)).add_done_callback(done)
        except ZookeeperError:
            pass  # closed: there are no watches any more


class Deadline:
    """The time-out of one call of one or more steps, `timeout` seconds from now (None: none): one timer for all."""

    def __init__(self, driver: AsyncDriver, timeout: Optional[float]) -> None:
        driver.check()
        self._timeout, self._late = timeout, False
        self._future: Optional[asyncio.Future[Any]] = None
        self._timer = None if timeout is None else driver.loop.call_later(timeout, self._passed)

    def of(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        """The future to await now: it fails with `OperationTimeoutError` when the time is up."""
        self._future = future
        if self._late:
            self._passed()
        return future

    def _passed(self) -> None:
        self._timer, self._late, future = None, True, self._future
        if future is not None and not future.done():
            error = OperationTimeoutError(f"no answer within {self._timeout} s")
            error.maybe_applied = not (isinstance(future, AsyncFuture) and future.withdraw())
            future.set_exception(error)

    def __enter__(self) -> Deadline:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._future = None
        if self._timer is not None:
            self._timer.cancel()


def _abandon(future: asyncio.Future[Any]) -> bool:
    """The outcome of one future of many is no longer wanted; True if its operation will never be sent."""
    unsent = future.cancel()
    if not future.cancelled():
        future.exception()  # else asyncio logs that it was never retrieved
    return unsent
