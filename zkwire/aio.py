"""`AsyncZooKeeper`, the asyncio front over the same session core and the same verbs.

Owns what is awaited: futures, time-outs, iterators. Must not know the protocol; no verb, no rule and no deadline is
written here a second time. Everything happens on one event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import (
    Any, AsyncGenerator, Callable, Coroutine, List, Optional, Sequence, Tuple, TypeVar,
)  # fmt: skip

from .io.aio_four_letter import Asking
from .io.aio_driver import BACKLOG, AsyncLine
from .io.process import now
from .errors import ConnectionLoss, OperationTimeoutError, ZookeeperError
from .io.four_letter import Question, version_of
from .config import GRACE
from .session.host_provider import Host
from .wire.operation import Op
from .ops import AddWatch, RemoveWatches
from .recipes import Work, drive
from .values import EventType, KeeperState, WatchedEvent, Watcher
from .session.session import CLOSE_LIMIT, ENDED, OPEN
from .verbs import Awaiting, Transaction

T = TypeVar("T")

def _awaiting(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: what it stands for is done, and awaited."""

    @functools.wraps(verb)
    async def method(self: AsyncZooKeeper, *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        return await self.run(verb(self, *args, **options), timeout)

    return method


class AsyncZooKeeper(AsyncLine, Awaiting, method=_awaiting):
    """A ZooKeeper client for asyncio: constructor and verbs of `ZooKeeper`, awaited, and `async with`.

    It belongs to the event loop it is started on, and to its thread. Cancelling a call leaves the order of the others
    as it is; what was sent may still be applied. Watchers and listeners are called on the event loop, in wire order;
    what a coroutine function among them is to do becomes a task. Code that keeps the event loop from turning keeps
    the session from being renewed: two thirds of its timeout cost the connection, all of it the session.
    """

    # ------------------------------------------------------------------------ lifecycle

    async def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session; nothing happens if there is one already.

        Raises as `ZooKeeper.start` does; if it raises, or is cancelled, the client is closed.
        """
        if self._loop is None and os.getpid() == self._pid:
            self._session.start(now())
            self._loop = asyncio.get_running_loop()
            self._act()
        self._check()
        try:
            await self._until(lambda: self.connected or self._session.phase == ENDED, timeout)
        except asyncio.CancelledError:
            await self._close(GRACE)
            raise
        error = self._no_session(timeout)
        if error is not None:
            await self._close(GRACE)
            raise error

    async def close(self) -> None:
        """End the session, its ephemeral nodes with it, and every call under way. Takes at most 5 s; idempotent.

        What was submitted before is still answered if the server answers in time; later calls raise
        `ConnectionClosedError`.
        """
        await self._close(CLOSE_LIMIT)

    stop = close

    async def _close(self, limit: float) -> None:
        if os.getpid() != self._pid:
            return
        if self._loop is None or self._loop.is_closed():  # with the loop, all that would have to be told has gone
            self._session.abort("its event loop was closed")
            self._loop = self._wire = None
            return
        self._check()
        self._session.close(now())
        self._act()
        self._flush()
        await self._until(lambda: self._session.phase == ENDED, limit)
        self._weigh()
        self._session.abort("close() took too long")
        self._act()
        while self._news:  # results that stand behind watchers
            await asyncio.sleep(0)

    def _set_hosts(self, hosts: Sequence[Host]) -> None:
        if self._loop is not None or os.getpid() != self._pid:
            self._check()
        self._session.set_hosts(hosts, now())
        if self._loop is not None:
            self._act()
            self._flush()

    async def __aenter__(self) -> AsyncZooKeeper:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # ----------------------------------------------------------------------------- work

    def submit(self, op: Op[T], then: Optional[Callable[[asyncio.Future[T]], object]] = None) -> asyncio.Future[T]:
        """Send an operation (from `zkwire.ops`) without waiting; an `asyncio.Future` for its result.

        Raises as `ZooKeeper.submit` does. If the future is cancelled before the operation is sent, it never is.
        """
        loop, session = self._check(), self._session
        future: asyncio.Future[T] = loop.create_future()
        if then is not None:
            future.add_done_callback(then)
        session.submit(op, future, now())
        if session.has_actions:
            self._act()
        if session.in_flight <= 1:
            self._flush()
        elif not self._flushing:  # more may come before the loop turns
            self._flushing = True
            loop.call_soon(self._flush)
        if session.phase != OPEN:
            future.add_done_callback(lambda done: done.cancelled() and session.cancel(done))
            self._arm()
        return future

    def future(self) -> asyncio.Future[Any]:
        """A future to be settled by whoever asked for it."""
        return asyncio.get_running_loop().create_future()

    def transaction(self) -> Transaction[Coroutine[Any, Any, List[Any]]]:
        """Collect operations to be done together or not at all; `await transaction.commit()` does them."""
        return Transaction(self.run)

    async def run(self, work: Work[T], timeout: Optional[float] = None) -> T:
        """Do an operation or a recipe, within `timeout` seconds (None: `request_timeout`); its result."""
        self._check()
        deadline = self._deadline(timeout)
        if isinstance(work, Op):
            return await self._finish(self.submit(work), deadline)
        steps = drive(work, self.submit, self._abandon)
        try:
            future = next(steps)
            while True:
                try:
                    answer = await self._finish(future, deadline)
                except Exception as error:
                    future = steps.throw(error)
                else:
                    future = steps.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    async def command(self, word: bytes = b"ruok", *, timeout: Optional[float] = None) -> str:
        """As `ZooKeeper.command`."""
        self._check()
        question, patience = Question(word), self._patience(timeout)
        asking = Asking(self._to_ask(), self._ssl_context, question)
        self._askings.add(asking)
        try:
            await asyncio.wait([asking.done], timeout=patience)
        finally:
            self._askings.discard(asking)
            late = OperationTimeoutError(f"no answer to a four-letter word within {patience} s")
            late.maybe_applied = False
            asking.end(late)
        error = asking.done.result()
        if error is not None:
            raise error
        return question.answer()

    async def server_version(self, *, timeout: Optional[float] = None) -> Tuple[int, int, int]:
        """As `ZooKeeper.server_version`."""
        return version_of(await self.command(b"srvr", timeout=timeout))

    def _deadline(self, timeout: Optional[float]) -> Optional[float]:
        timeout = self._request_timeout if timeout is None else timeout
        return None if timeout is None else self._loop.time() + timeout

    async def _finish(self, future: asyncio.Future[T], deadline: Optional[float]) -> T:
        """The result of a future that nobody else awaits, by `deadline`."""
        if deadline is not None and not future.done():
            timer = self._loop.call_at(deadline, self._too_late, future)
            future.add_done_callback(lambda done: timer.cancel())
        try:
            return await future
        except asyncio.CancelledError:
            self._abandon(future)
            raise

    def _too_late(self, future: asyncio.Future[Any]) -> None:
        if not future.done():
            error = OperationTimeoutError("no answer within the time-out")
            error.maybe_applied = not self._session.cancel(future, forget=True)
            future.set_exception(error)

    def _abandon(self, future: asyncio.Future[Any]) -> None:
        """Nobody waits for it any more."""
        if not future.cancel() and not future.cancelled():
            future.exception()  # of interest to nobody
        self._session.cancel(future, forget=True)

    def watch(self, path: str, recursive: bool = False) -> AsyncGenerator[WatchedEvent, None]:
        """Every change of a node and its children, or with `recursive` of all nodes below it, from now on.

        What is called after `watch` is seen, so nothing is missed between a read and the iteration. Type NONE with
        state CONNECTED says that changes may have been missed: read afresh. With the watch or the session the
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
        armed.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody iterates
        return self._iterate(events, armed, functools.partial(self._unwatch, path, watcher, armed))

    async def _iterate(
        self, events: asyncio.Queue[WatchedEvent], armed: asyncio.Future[None], leave: Callable[[], None]
    ) -> AsyncGenerator[WatchedEvent, None]:
        over = False
        try:
            await self._finish(asyncio.shield(armed), self._deadline(None))  # or it could not be taken back
            while not over:
                event = await events.get()
                lost = event.type == EventType.NONE and event.state != KeeperState.CONNECTED
                over = lost or event.type == EventType.PERSISTENT_WATCH_REMOVED
                yield event
        finally:
            if not over:
                leave()

    def _unwatch(self, path: str, watcher: Watcher, asked: asyncio.Future[None]) -> None:
        """Take a watch back once it stands; if the connection ends meanwhile, so that it is not armed again."""

        def done(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and isinstance(future.exception(), ConnectionLoss):
                self._unwatch(path, watcher, future)

        if not asked.done():
            asked.add_done_callback(functools.partial(self._unwatch, path, watcher))
            return
        try:
            self.submit(RemoveWatches(path, watcher=watcher, local=not self.connected)).add_done_callback(done)
        except ZookeeperError:
            pass  # closed, and all watches with it
