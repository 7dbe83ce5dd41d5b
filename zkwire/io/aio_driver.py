"""The asyncio front's engine: one session core on one event loop.

Owns the connections of the session's links, the timer, the order in which outcomes and events are delivered, and the
tasks of watchers. Must not know verbs. How it works:

- Everything happens on the event loop and in its thread. After each input to the core the driver performs its actions,
  sets the timer, and sends its bytes.
- No user code runs during that: the event loop calls watchers, listeners and log handlers later, in wire order, and
  asyncio itself resumes the tasks that wait for a future.
- A request made while nothing is in flight is sent at once; others are sent together, once in a turn of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import weakref
from collections import deque
from itertools import zip_longest
from typing import Any, Callable, Deque, Dict, Optional, Protocol, Sequence, Set, TypeVar, Union

from .aio_dialer import CLOSED, Channel
from .attempts import begin
from .dialer import Address, LookUp, Resolver, Server
from .four_letter import Question
from .process import now
from ..errors import (
    ConnectionClosedError, ConnectionLoss, FrameTooLargeError, OperationTimeoutError, TLSError, ZookeeperError,
)  # fmt: skip
from ..session.actions import METHODS, Fired, Replied
from ..session.auth import Login
from ..session.host_provider import Host
from ..session.link import Link
from ..session.session import ENDED, OPEN, Session
from ..values import EventType, KazooState, KeeperState, WatchedEvent, Watcher
from ..wire.operation import Op

T = TypeVar("T")
#: The limit of undelivered events of one `watch` iterator, and of tasks of one watcher that is a coroutine function;
#: above it, the events of a persistent watch are replaced by one event that tells the caller to read again.
BACKLOG = 10_000
#: A watcher or listener that blocks the event loop for longer than this, in seconds, is reported in the log.
LONG = 0.25

class StateListeners(Protocol):
    """The methods the driver calls on the client's listeners."""

    def of(self, state: str) -> Sequence[Callable[[str], object]]:
        """The listeners to call for a state of the session."""

    def tell(self, listener: Callable[[str], object], state: str) -> object:
        """Call a listener, unless it was removed in the meantime."""


class AsyncFuture(asyncio.Future[T]):
    """The outcome of an operation."""

    session: Optional[Session] = None
    path: Optional[str] = None
    #: Whether the outcome has arrived; the future may still wait for earlier events.
    answered = False

    def cancel(self, msg: Optional[Any] = None) -> bool:
        """Stop waiting. True if the operation was not sent and now never is; False if it was sent, or is done.

        The future counts as cancelled in both cases, unless it is done.
        """
        if self.done():
            return False
        unsent = self.withdraw()
        super().cancel(msg)
        return unsent

    def withdraw(self) -> bool:
        """Take the operation back: True if it was not sent, and now never is. If it was sent, its reply is ignored."""
        return self.session is not None and not self.answered and self.session.cancel(self, True)


class AsyncDriver:
    """Runs a `Session` on the event loop that `start` is called on."""

    def __init__(self, session: Session, logger: logging.Logger, listeners: StateListeners, ssl_context: Any) -> None:
        self.session, self._logger, self._listeners, self._ssl_context = session, logger, listeners, ssl_context
        #: The event loop, set by `start`.
        self.loop: Any = None
        self._channels: Dict[Link, Channel] = {}
        self._main: Optional[Channel] = None  # the channel of the session's link, once it is connected
        self._resolver = Resolver(functools.partial(_resolved, weakref.ref(self)))
        self._timer: Optional[asyncio.TimerHandle] = None
        self._due = 0.0  # the time of the timer, by the clock of the session
        #: What is to be delivered, in order: Replied, Fired, and calls of listeners and of the logger.
        self._undelivered: Deque[Any] = deque()
        self._telling = self._flushing = False
        #: Whether the core is working, or its bytes are being sent. A request of a signal handler is then deferred.
        self._busy = False
        self._changed: Optional[asyncio.Future[None]] = None
        self._tasks: Set[asyncio.Future[Any]] = set()
        self._running: Dict[int, int] = {}  # the number of tasks of each watcher, by its id
        self._behind: Dict[int, Dict[str, None]] = {}  # the paths that such a watcher has to read again
        self._four_letter_calls: Set[AsyncFourLetterCall] = set()

    # ------------------------------------------------------------------- for the front

    def start(self) -> None:
        """Begin to connect, on the running event loop."""
        self.session.start(now())
        self.loop = asyncio.get_running_loop()
        self.session.on_reply = self.reply
        self._perform()

    def check(self) -> None:
        """Raise unless the client was started on the running event loop."""
        if self.loop is None:
            raise ConnectionClosedError("not started: await start() first")
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the client was started on another event loop, and can be used on that one only")

    def submit(self, op: Op[T], force: bool = False) -> AsyncFuture[T]:
        """Pass an operation to the core; returns its future. See `Session.submit` for `force` and errors."""
        loop, session = self.loop, self.session
        if loop is None or asyncio.get_running_loop() is not loop:
            self.check()
        future: AsyncFuture[T] = AsyncFuture(loop=loop)
        future.session = session
        if self._busy:
            loop.call_soon_threadsafe(self._submit_later, op, future, force)
            return future
        self._busy = True
        try:
            session.submit(op, future, now(), force)
            if not op.plain or session.phase != OPEN:  # the core may have answered others at once, or queued them
                self._perform()
            main = self._main
            if main is not None and not self._flushing:
                if len(main.key.connection.replies) <= 1:
                    self._send(main)
                else:  # more requests may follow in this turn of the loop
                    self._flushing = True
                    loop.call_soon(self._flush)
        finally:
            self._busy = False
        return future

    def _submit_later(self, op: Op[Any], future: AsyncFuture[Any], force: bool) -> None:
        """Submit what a signal handler requested while it had interrupted the core."""
        if not future.done():
            try:
                self._feed(self.session.submit, op, future, now(), force)
            except (ZookeeperError, ValueError, TypeError) as error:
                future.set_exception(error)

    def set_hosts(self, hosts: Sequence[Host]) -> None:
        """Pass other hosts to the core."""
        if self.loop is None:
            self.session.set_hosts(hosts, now())
            return
        self.check()
        if self._busy:
            self.loop.call_soon_threadsafe(self.set_hosts, hosts)
        else:
            self._feed(self.session.set_hosts, hosts, now())

    async def until(self, done: Callable[[], bool], timeout: float) -> None:
        """Wait until `done()` is true for the session's state, at most `timeout` seconds."""
        deadline = self.loop.time() + timeout
        while not done() and self.loop.time() < deadline:
            if self._changed is None or self._changed.done():
                self._changed = self.loop.create_future()
            await asyncio.wait([self._changed], timeout=deadline - self.loop.time())

    async def close(self, limit: float) -> None:
        """End the session, at most `limit` seconds from now, and deliver all remaining events and outcomes."""
        session = self.session
        if self.loop is None or self.loop.is_closed():  # with the loop, all tasks that waited have ended
            session.on_reply = None
            session.abort("its event loop was closed")
            session.actions()
            self.loop = self._timer = None
            self._channels.clear()
            self._main = None
            return
        self.check()
        self._feed(session.close, now())
        await self.until(lambda: session.phase == ENDED, limit)
        self._report_lag()
        self._feed(session.abort, "close() took too long")
        while self._undelivered:  # outcomes that are queued behind watchers
            await asyncio.sleep(0)

    async def ask(self, question: Question, host: Host, address: Address, patience: float) -> None:
        """Ask the server at this address a four-letter word, within `patience` seconds."""
        target = Server(host, now() + patience)
        attempt = begin(target, LookUp(host, [address]), self._ssl_context)
        call = AsyncFourLetterCall(self.loop, host, attempt, question)
        self._four_letter_calls.add(call)
        try:
            await asyncio.wait([call.done], timeout=patience)
        finally:
            self._four_letter_calls.discard(call)
            late = OperationTimeoutError(f"{host}: no answer to a four-letter word within {patience} s")
            late.maybe_applied = False
            call.end(late)
        error = call.done.result()
        if error is not None:
            raise error

    # ---------------------------------------------------------- what the core asks for

    def _feed(self, give: Callable[..., object], *arguments: Any) -> None:
        """Give the core an input, then perform its actions and send its bytes.

        In the meantime only a signal handler can call the client: see `_busy`.
        """
        self._busy = True
        try:
            give(*arguments)
            self._perform()
            if self._main is not None:
                self._send(self._main)
        finally:
            self._busy = False

    def _perform(self) -> None:
        """Perform the core's actions."""
        session = self.session
        for action in session.actions():
            getattr(self, METHODS[type(action)])(*action)
        link = session.link
        self._main = self._channels.get(link) if link is not None and link.connection is not None else None
        if session.phase == ENDED:
            self._ended()
        self._arm()

    def _ended(self) -> None:
        """The session has ended: drop the references that would keep the client alive."""
        self.session.on_reply = None
        channels, self._main = list(self._channels.values()), None
        self._channels.clear()
        for channel in channels:
            channel.end()
        for call in self._four_letter_calls:
            call.end(ConnectionClosedError())

    def dial(self, link: Link) -> None:
        """Begin to connect a link."""
        session = self.session
        self._log(logging.DEBUG, "= connecting to %s", link.host)
        attempt = begin(
            link, self._resolver.look_up(link.host), self._ssl_context, functools.partial(session.candidates, link),
            functools.partial(session.tried, link),
        )  # fmt: skip
        channel = self._channels[link] = Channel(self.loop, self, attempt, link)
        self.loop.call_soon(channel.step)

    def hang_up(self, link: Link, reason: str) -> None:
        """Close the connection of a link, or give up the attempt."""
        channel = self._channels.pop(link, None)
        if channel is not None:
            self._log(logging.INFO, "= hanging up: %s", reason)
            channel.end()

    def prove(self, link: Link, step: Callable[[Any], Optional[bytes]], argument: Any) -> None:
        """Have a step of a login taken once the core has done its work: a mechanism is user code."""
        self.loop.call_soon(self._take_step, link, step, argument)

    def _take_step(self, link: Link, step: Callable[[Any], Optional[bytes]], argument: Any) -> None:
        self._feed(self.session.proved, link, Login.take(step, argument), now())

    def reply(self, token: Any, outcome: Any) -> None:
        """An operation is done: settle its future, once everything before it was delivered."""
        if self._undelivered:
            token.answered = True
            self._undelivered.append(Replied(token, outcome))
        elif not token.done():
            if isinstance(outcome, Exception):
                token.set_exception(outcome)
            else:
                token.set_result(outcome)

    def fire(self, watchers: Sequence[Watcher], event: WatchedEvent, lasting: Sequence[Optional[str]]) -> None:
        """Queue the calls of watchers."""
        self._tell(Fired(watchers, event, lasting))

    def state_changed(self, state: str, client_state: str, error: Optional[ZookeeperError]) -> None:
        """Queue the calls of listeners."""
        self._log(logging.INFO, "= %s (%s) %s", state, client_state, error or "")
        for listener in self._listeners.of(state):
            self._tell((functools.partial(self._listeners.tell, listener), state))
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def note(self, what: str) -> None:
        """Log something that the core has ignored."""
        self._log(logging.DEBUG, "= ignored: %s", what)

    def _arm(self) -> None:
        """Schedule `_timed_out`. A timer that fires early only looks at the deadline again."""
        deadline, timer = self.session.deadline(), self._timer
        if timer is not None and (deadline is None or deadline < self._due):
            timer.cancel()
            self._timer = timer = None
        if timer is None and deadline is not None:
            self._due = deadline
            self._timer = self.loop.call_later(max(0.0, deadline - now()), self._look_first)

    def _look_first(self) -> None:
        """The deadline has come, but received bytes go first: the loop reads them before its next round of timers."""
        self._timer = self.loop.call_later(0.0, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        self._report_lag()
        self._feed(self.session.timed_out, now())

    # ------------------------------------------------------------------ the connections

    def step(self) -> None:
        """Continue all attempts to connect: a name was resolved."""
        for channel in list(self._channels.values()):
            channel.step()

    def connected(self, channel: Channel) -> None:
        """A link is connected."""
        self._feed(self.session.connected, channel.key, now(), channel.address)
        self._send(channel)

    def received(self, channel: Channel, data: bytes) -> None:
        """Bytes of a link have arrived."""
        session, link = self.session, channel.key
        if channel.paused:
            link.lagging(channel.lag)
        connection = link.connection
        if connection is None:
            return
        pinging = connection.pinging
        self._busy = True
        try:
            session.received(link, data, now())
            if session.queued or session.state != KazooState.CONNECTED:
                self._perform()
            elif pinging:  # once connected, only a ping can make the deadline earlier
                self._arm()
            if connection.unsent:
                self._send(channel)
            if link is not session.link and self._main is not None:
                self._send(self._main)
        finally:
            self._busy = False

    def lost(self, channel: Channel, reason: Union[str, TLSError]) -> None:
        """A connection has ended, or could not be made."""
        link = channel.key
        if self._channels.pop(link, None) is None:
            return
        link.lagging(0)  # how much has left since `_report_lag` is unknown
        main = link is self.session.link
        self._feed(self.session.lost, link, reason, now())
        if main:
            level = logging.WARNING if isinstance(reason, TLSError) else logging.INFO
            self._log(level, "= %s", self.session.last_error)

    def resumed(self, channel: Channel) -> None:
        """The transport takes more bytes; all that was written before has left."""
        self._feed(channel.key.lagging, 0)
        self._send(channel)

    def _send(self, channel: Channel) -> None:
        """Send the bytes of a link, as many as leave at once."""
        link = channel.key
        connection = link.connection
        if channel.paused or connection is None:
            return
        data = connection.data_to_send()
        while data:
            if channel.plain:
                channel.transport.write(data)
                count = len(data)
            else:
                count = channel.encrypt(data)
                if not count:  # TLS has to receive something first
                    return
            connection.sent(count)
            if channel.paused:
                link.lagging(channel.lag)
                return
            data = connection.data_to_send()

    def _flush(self) -> None:
        """Send the bytes of the session's link, once in a turn of the loop."""
        self._flushing, main = False, self._main
        if main is not None:
            self._busy = True
            try:
                self._send(main)
            finally:
                self._busy = False

    def _report_lag(self) -> None:
        """Tell the core how many bytes are still in the transport, before it has to say which requests were sent."""
        if self._main is not None:
            self._main.key.lagging(self._main.lag)

    # ------------------------------------------------------------------------ user code

    def _log(self, level: int, text: str, *arguments: object) -> None:
        """Queue a line of the log: log handlers are user code, and may use the client."""
        if self._logger.isEnabledFor(level):
            self._tell((functools.partial(self._logger.log, level, text), *arguments))

    def _tell(self, item: Any) -> None:
        self._undelivered.append(item)
        if not self._telling:
            self._telling = True
            self.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        """Deliver outcomes and events, in wire order: a task resumes before the watchers of later events are called.

        No outcome is visible before the watchers of earlier events were called.
        """
        replied, undelivered = False, self._undelivered
        try:
            while undelivered and not (replied and not isinstance(undelivered[0], Replied)):
                item = undelivered.popleft()
                if isinstance(item, Replied):
                    replied = True
                    _settle(*item)
                elif isinstance(item, Fired):
                    for watcher, lasting in zip_longest(item.watchers, item.lasting):
                        self._notify(watcher, item.event, lasting)
                else:
                    self._call(*item)
        finally:
            self._telling = bool(undelivered)
            if undelivered:
                self.loop.call_soon(self._deliver)

    def _notify(self, watcher: Watcher, event: WatchedEvent, lasting: Optional[str]) -> None:
        """Call a watcher; see `Fired` for `lasting`, and `BACKLOG` for too many events."""
        if lasting is not None and self._running.get(id(watcher), 0) >= BACKLOG:
            self._behind.setdefault(id(watcher), {})[lasting] = None
        else:
            self._call(watcher, event)

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call user code; log what it raises, and make a task of an awaitable it returns."""
        began = now()
        try:
            result = function(*arguments)
        except Exception:
            self._logger.exception("exception in %r, which was called by the ZooKeeper client", function)
            return
        took = now() - began
        if took > LONG:
            self._logger.warning("%r blocked the event loop for %.1f s; no session is kept alive", function, took)
        if asyncio.iscoroutine(result):
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            self._running[id(function)] = self._running.get(id(function), 0) + 1
            task.add_done_callback(functools.partial(self._task_done, function))

    def _task_done(self, function: Callable[..., object], task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        self._running[id(function)] -= 1
        if not self._running[id(function)]:
            del self._running[id(function)]
        if id(function) in self._behind:
            for path in self._behind.pop(id(function)):
                self._call(function, WatchedEvent(EventType.NONE, KeeperState.CONNECTED, path))
        if not task.cancelled() and task.exception() is not None:
            self._logger.error("exception in a watcher's task", exc_info=task.exception())


def _resolved(driver_ref: weakref.ref[AsyncDriver]) -> None:
    """Called on the thread of a look-up, which may outlive the client."""
    driver = driver_ref()
    if driver is not None and driver.loop is not None:
        with contextlib.suppress(RuntimeError):  # the loop was closed in the meantime
            driver.loop.call_soon_threadsafe(driver.step)


def _settle(future: Any, outcome: Any) -> None:
    """Settle a future with the outcome of its operation."""
    if not future.done():
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class AsyncFourLetterCall:
    """One four-letter word on a connection of its own: connect, ask, read to the end."""

    def __init__(self, loop: Any, host: Host, attempt: Any, question: Question) -> None:
        self._host, self._question = host, question
        #: Its result is None once the answer is complete, or else the error.
        self.done: asyncio.Future[Optional[ZookeeperError]] = loop.create_future()
        self._channel = Channel(loop, self, attempt)
        loop.call_soon(self._channel.step)

    def end(self, error: Optional[ZookeeperError] = None) -> None:
        """Close the connection: the answer is complete, or this error occurred."""
        if not self.done.done():
            self.done.set_result(error)
            self._channel.end()

    # --------------------------------------------------------------- for the channel

    def connected(self, channel: Channel) -> None:
        """Send the word."""
        if channel.plain:
            channel.transport.write(self._question.word)
        else:
            channel.encrypt(self._question.word)

    def received(self, channel: Channel, data: bytes) -> None:
        """A part of the answer."""
        try:
            self._question.received(data)
        except FrameTooLargeError as error:
            self.end(error)

    def lost(self, channel: Channel, reason: Union[str, TLSError]) -> None:
        """The connection has ended, and the answer with it; or it could not be made."""
        if isinstance(reason, TLSError):
            self.end(reason)
        else:
            self.end(None if reason == CLOSED else ConnectionLoss(f"{self._host}: {reason}", sent=False))

    def resumed(self, channel: Channel) -> None:
        """Not used: four bytes need no second write."""
