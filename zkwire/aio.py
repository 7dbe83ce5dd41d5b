"""`AsyncZooKeeper`, the asyncio front over the same session core and the same verbs.

Owns the event loop's side: timer, futures, tasks. Must not know the protocol; no verb, no rule and no deadline is
written here a second time. Everything happens on one event loop; nothing here is thread-safe.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections import deque
from itertools import zip_longest
from typing import (
    Any, AsyncGenerator, Callable, Coroutine, Deque, Dict, List, Optional, Sequence, Set, Tuple, TypeVar, Union,
)  # fmt: skip

from .aio_asking import Asking
from .aio_wire import Wire
from .clock import now
from .errors import (
    ConnectionClosedError, ConnectionLoss, ForkedError, OperationTimeoutError, TLSError, ZookeeperError,
)  # fmt: skip
from .fourletter import Question, version_of
from .front import GRACE, Front
from .hosts import Host
from .op import Op
from .ops import AddWatch, RemoveWatches
from .recipes import Work, drive
from .records import EventType, KeeperState, WatchedEvent, Watcher
from .session import CLOSE_LIMIT, ENDED, OPEN
from .session_events import Dial, Fired, HangUp, Look, LookAway, Oddity, Settled, StateChanged
from .verbs import Awaiting, Transaction

T = TypeVar("T")
#: An iterator of `watch` that is not read keeps this many events, and a watcher that is a coroutine function has this
#: many tasks; then those of a persistent watch are replaced by one that says: read afresh.
BACKLOG = 10_000

#: A watcher or listener that keeps the event loop from turning for so many seconds is complained of.
LONG = 0.25


def _awaiting(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: what it stands for is done, and awaited."""

    @functools.wraps(verb)
    async def method(self: AsyncZooKeeper, *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        return await self.run(verb(self, *args, **options), timeout)

    return method


class AsyncZooKeeper(Front, Awaiting, method=_awaiting):
    """A ZooKeeper client for asyncio: constructor and verbs of `ZooKeeper`, awaited, and `async with`.

    It belongs to the event loop it is started on, and to its thread. Cancelling a call leaves the order of the others
    as it is; what was sent may still be applied. Watchers and listeners are called on the event loop, in wire order;
    what a coroutine function among them is to do becomes a task. Code that keeps the event loop from turning keeps
    the session from being renewed: two thirds of its timeout cost the connection, all of it the session.
    """

    def _set_up(self) -> None:
        self._pid = os.getpid()
        self._loop: Any = None  # an event loop from start() on, and nothing happens before that
        self._wire: Optional[Wire] = None
        self._second: Optional[Wire] = None  # made beside the first, when the core asks to look
        self._timer: Optional[asyncio.TimerHandle] = None
        self._due = 0.0  # when, by the clock of the session
        self._news: Deque[Any] = deque()  # Settled, Fired, and calls of listeners, that are yet to be told
        self._telling = self._flushing = False
        self._changed: Optional[asyncio.Future[None]] = None
        self._tasks: Set[asyncio.Future[Any]] = set()
        self._running: Dict[int, int] = {}  # how many of them are of one watcher, by its id
        self._behind: Dict[int, Dict[str, None]] = {}  # which of its paths such a watcher is to read afresh
        self._askings: Set[Asking] = set()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and a session on it."""
        return super().connected and os.getpid() == self._pid

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
        if session.news:
            self._act()
        if session.in_flight <= 1:
            self._flush()
        elif not self._flushing:  # more may come before the loop turns
            self._flushing = True
            loop.call_soon(self._flush)
        if session.phase != OPEN:
            future.add_done_callback(lambda done: done.cancelled() and session.abandon(done))
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
            error.maybe_applied = not self._session.abandon(future)
            future.set_exception(error)

    def _abandon(self, future: asyncio.Future[Any]) -> None:
        """Nobody waits for it any more."""
        if not future.cancel() and not future.cancelled():
            future.exception()  # of interest to nobody
        self._session.abandon(future)

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

    # -------------------------------------------------------------- the event loop's side

    def _check(self) -> Any:
        """The event loop, if this is the place to use it from."""
        if os.getpid() != self._pid:
            raise ForkedError()
        if self._loop is None:
            raise ConnectionClosedError("not started: await start() first")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(f"{self!r} was started on another event loop, and is of use on that one only")
        return self._loop

    async def _until(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until the state is such, at most `timeout` seconds."""
        deadline = self._loop.time() + timeout
        while not done() and self._loop.time() < deadline:
            if self._changed is None or self._changed.done():
                self._changed = self._loop.create_future()
            await asyncio.wait([self._changed], timeout=deadline - self._loop.time())

    def _act(self) -> None:
        """Do what the core asks for."""
        for event in self._session.events():
            if isinstance(event, Settled) and not self._news:
                _settle(event.token, event.outcome)
            elif isinstance(event, (Settled, Fired)):
                self._news.append(event)
            elif isinstance(event, StateChanged):
                self._logger.info("= %s (%s) %s", event.state, event.client_state, event.error or "")
                self._news += [(functools.partial(self._tell, one), event.state) for one in self._to_tell(event.state)]
                if self._changed is not None and not self._changed.done():
                    self._changed.set_result(None)
            elif isinstance(event, Dial):
                self._disconnect()
                self._wire = self._begin(event.host)
            elif isinstance(event, HangUp):
                self._logger.info("= hanging up: %s", event.reason)
                self._disconnect()
            elif isinstance(event, Oddity):
                self._logger.debug("= ignored: %s", event.what)
            elif isinstance(event, Look):
                self._second = self._begin(event.host)
            elif isinstance(event, LookAway):
                second, self._second = self._second, None
                if second is not None:
                    second.end()
            else:
                self._disconnect()
                self._wire, self._second = self._second, None
        if self._session.phase == ENDED:
            self._disconnect()
            for asking in self._askings:
                asking.end(ConnectionClosedError())
        self._arm()
        if self._news and not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell_news)

    def _tell_news(self) -> None:
        """Hand out what has happened, in wire order: who has a result runs before the watchers of what came after it.

        And nobody finds a result before the watchers of what came before it were called.
        """
        settled, news = False, self._news
        try:
            while news and not (settled and not isinstance(news[0], Settled)):
                item = news.popleft()
                if isinstance(item, Settled):
                    settled = True
                    _settle(item.token, item.outcome)
                elif isinstance(item, Fired):
                    for watcher, lasting in zip_longest(item.watchers, item.lasting):
                        self._notify(watcher, item.event, lasting)
                else:
                    self._call(*item)
        finally:
            self._telling = bool(news)
            if news:
                self._loop.call_soon(self._tell_news)

    def _arm(self) -> None:
        """Have `_timed_out` called in time. A timer that is early only looks again."""
        deadline, timer = self._session.deadline(), self._timer
        if timer is not None and (deadline is None or deadline < self._due):
            timer.cancel()
            self._timer = timer = None
        if timer is None and deadline is not None:
            self._due = deadline
            self._timer = self._loop.call_later(max(0.0, deadline - now()), self._look_first)

    def _look_first(self) -> None:
        """It is time; but what has arrived counts first, and in the next turn it is read before timers are called."""
        self._timer = self._loop.call_later(0.0, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._weigh()
        self._session.timed_out(now())
        self._act()
        self._flush()

    def _begin(self, host: Host) -> Wire:
        self._logger.debug("= connecting to %s", host)
        wire = Wire(self, host, self._ssl_context)
        wire.dial()
        return wire

    def _disconnect(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.end()

    def _connected(self, wire: Wire) -> None:
        if wire is self._second:
            self._session.look_connected(now())
            wire.write(self._session.look_data_to_send())
        elif wire is self._wire:
            self._session.connected(now())
        else:
            wire.end()  # the core has changed its mind meanwhile
        self._act()
        self._flush()

    def _received(self, wire: Wire, data: bytes) -> None:
        self._weigh()
        if wire is self._wire:
            self._session.received(data, now())
            self._act()
            if not self._flushing:
                self._flush()
        elif wire is self._second:
            self._session.look_received(data, now())
            self._act()
            self._flush()

    def _lost(self, wire: Wire, reason: Union[str, TLSError]) -> None:
        if wire is self._wire:
            self._wire = None
            self._session.lagging(0)  # nobody knows how much of it has left since it was weighed
            self._session.lost(reason, now())
            level = logging.WARNING if isinstance(reason, TLSError) else logging.INFO
            self._logger.log(level, "= %s", self._session.last_error)
            self._act()
        elif wire is self._second:
            self._second = None
            self._session.look_lost(now())
            self._arm()

    def _weigh(self) -> None:
        """Tell the core what lies in the transport, before it may have to say what was sent."""
        wire = self._wire
        if wire is not None:
            self._session.lagging(wire.lag)

    def _flush(self) -> None:
        self._flushing = False
        wire = self._wire
        while wire is not None and wire.writable:
            data = self._session.data_to_send()
            count = wire.write(data) if data else 0
            if not count:
                return
            self._session.sent(count)

    def _notify(self, watcher: Watcher, event: WatchedEvent, lasting: Optional[str]) -> None:
        """Call a watcher; see `Fired` for `lasting`, and `BACKLOG` for what becomes of it under a storm."""
        if lasting is not None and self._running.get(id(watcher), 0) >= BACKLOG:
            self._behind.setdefault(id(watcher), {})[lasting] = None
        else:
            self._call(watcher, event)

    def _call(self, function: Callable[[Any], object], argument: Any) -> None:
        """Call user code; what it raises is logged, what it returns to be awaited becomes a task."""
        began = now()
        try:
            result = function(argument)
        except Exception:
            self._logger.exception("exception in %r, which was called with news of ZooKeeper", function)
            return
        took = now() - began
        if took > LONG:
            self._logger.warning("%r kept the event loop for %.1f s, in which no session is renewed", function, took)
        if asyncio.iscoroutine(result):
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            self._running[id(function)] = self._running.get(id(function), 0) + 1
            task.add_done_callback(functools.partial(self._task_done, function))

    def _task_done(self, function: Callable[[Any], object], task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        self._running[id(function)] -= 1
        if not self._running[id(function)]:
            del self._running[id(function)]
        if id(function) in self._behind:
            for path in self._behind.pop(id(function)):
                self._call(function, WatchedEvent(EventType.NONE, KeeperState.CONNECTED, path))
        if not task.cancelled() and task.exception() is not None:
            self._logger.error("exception in a watcher's task", exc_info=task.exception())


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    """The outcome of an operation is in."""
    if not future.done():
        if isinstance(outcome, ZookeeperError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
