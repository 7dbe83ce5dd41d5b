"""One session core on an event loop: what goes to and from its connection, and what the core asks for.

Owns the connection while there is one, the timer, and the tasks of watchers. Must not know verbs, nor who waits.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections import deque
from itertools import zip_longest
from typing import (
    Any, Callable, Deque, Dict, Optional, Set, Union,
)  # fmt: skip

from .aio_four_letter import Asking
from .aio_dialer import Wire
from .process import now
from ..errors import ConnectionClosedError, ForkedError, TLSError, ZookeeperError
from ..config import Front
from ..session.host_provider import Host
from ..values import EventType, KeeperState, WatchedEvent, Watcher
from ..session.session import ENDED
from ..session.actions import METHODS, Fired, Replied
from ..session.link import Link

#: An iterator of `watch` that is not read keeps this many events, and a watcher that is a coroutine function has this
#: many tasks; then those of a persistent watch are replaced by one that says: read afresh.
BACKLOG = 10_000

#: A watcher or listener that keeps the event loop from turning for so many seconds is complained of.
LONG = 0.25


class AsyncLine(Front):
    """All of it happens on one event loop, and in its thread."""

    def _set_up(self) -> None:
        self._pid = os.getpid()
        self._loop: Any = None  # an event loop from start() on, and nothing happens before that
        self._wire: Optional[Wire] = None
        self._link: Any = None
        self._second_link: Any = None
        self._second: Optional[Wire] = None  # made beside the first, when the core asks to look
        self._timer: Optional[asyncio.TimerHandle] = None
        self._due = 0.0  # when, by the clock of the session
        self._news: Deque[Any] = deque()  # Replied, Fired, and calls of listeners, that are yet to be told
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
        for action in self._session.actions():
            getattr(self, METHODS[type(action)])(*action)
        if self._link is not self._session.link:
            if self._second is not None and self._second_link is self._session.link:
                self._disconnect()
                self._wire, self._second = self._second, None
            self._link = self._session.link
        if self._session.phase == ENDED:
            self._disconnect()
            for asking in self._askings:
                asking.end(ConnectionClosedError())
        self._arm()
        if self._news and not self._telling:
            self._telling = True
            self._loop.call_soon(self._tell_news)

    def dial(self, link: Link) -> None:
        if link is self._session.link:
            self._disconnect()
            self._link, self._wire = link, self._begin(link.host)
        elif self._session.wants(link):
            self._second_link, self._second = link, self._begin(link.host)

    def hang_up(self, link: Link, reason: str) -> None:
        if link is self._link:
            self._logger.info("= hanging up: %s", reason)
            self._disconnect()
        elif link is self._second_link and self._second is not None:
            self._second.end()
            self._second = None

    def reply(self, token: Any, outcome: Any) -> None:
        if self._news:
            self._news.append(Replied(token, outcome))
        else:
            _settle(token, outcome)

    def fire(self, watchers: Any, event: Any, lasting: Any) -> None:
        self._news.append(Fired(watchers, event, lasting))

    def state_changed(self, state: str, client_state: str, error: Any) -> None:
        self._logger.info("= %s (%s) %s", state, client_state, error or "")
        self._news += [(functools.partial(self._tell, one), state) for one in self._to_tell(state)]
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def note(self, what: str) -> None:
        self._logger.debug("= ignored: %s", what)

    def _tell_news(self) -> None:
        """Hand out what has happened, in wire order: who has a result runs before the watchers of what came after it.

        And nobody finds a result before the watchers of what came before it were called.
        """
        settled, news = False, self._news
        try:
            while news and not (settled and not isinstance(news[0], Replied)):
                item = news.popleft()
                if isinstance(item, Replied):
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
            self._session.connected(self._second_link, now())
            data = bytes(self._second_link.data_to_send())
            self._second_link.sent(len(data))
            wire.write(data)
        elif wire is self._wire:
            self._session.connected(self._link, now())
        else:
            wire.end()  # the core has changed its mind meanwhile
        self._act()
        self._flush()

    def _received(self, wire: Wire, data: bytes) -> None:
        self._weigh()
        if wire is self._wire:
            self._session.received(self._link, data, now())
            self._act()
            if not self._flushing:
                self._flush()
        elif wire is self._second:
            self._session.received(self._second_link, data, now())
            self._act()
            self._flush()

    def _lost(self, wire: Wire, reason: Union[str, TLSError]) -> None:
        if wire is self._wire:
            self._wire = None
            self._link.lagging(0)  # nobody knows how much of it has left since it was weighed
            self._session.lost(self._link, reason, now())
            level = logging.WARNING if isinstance(reason, TLSError) else logging.INFO
            self._logger.log(level, "= %s", self._session.last_error)
            self._act()
        elif wire is self._second:
            self._second = None
            self._session.lost(self._second_link, reason, now())
            self._act()

    def _weigh(self) -> None:
        """Tell the core what lies in the transport, before it may have to say what was sent."""
        wire = self._wire
        if wire is not None:
            self._link.lagging(wire.lag)

    def _flush(self) -> None:
        self._flushing = False
        wire = self._wire
        while wire is not None and wire.writable:
            data = self._link.data_to_send()
            count = wire.write(data) if data else 0
            if not count:
                return
            self._link.sent(count)

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
