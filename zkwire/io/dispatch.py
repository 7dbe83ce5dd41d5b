"""A thread on which user code runs: watchers, state listeners, callbacks of futures, timers, log handlers.

Owns the order and the isolation of calls: an exception is logged, a call that blocks delays only later calls. Must not
know what it calls. A client has one dispatch thread; code that must not wait for the users' code makes one more, and
wraps its functions with `on`. `call` may be called anywhere: under any lock, and by a signal handler that has
interrupted it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from _thread import allocate_lock
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Tuple

from ..values import EventType, KeeperState, WatchedEvent, Watcher
from .queues import Empty, SimpleQueue

if TYPE_CHECKING:
    import logging

#: With this many calls waiting, a persistent watch gets no more events: its watcher is called once, behind them, and
#: reads again. Some 40 MB; one-shot watches need no bound, because each gives one event.
BACKLOG = 100_000

#: A call that takes longer than this, in seconds, is reported in the log.
LONG = 0.5

#: The pause between two attempts to start a thread when the system gives none, in seconds.
RETRY = 0.1

_Job = Tuple[Callable[..., object], Tuple[Any, ...]]


class Timer:
    """A call in the future; `cancel` it on the dispatch thread, because elsewhere the call may be running just then."""

    __slots__ = ("function", "arguments", "cancelled")

    def __init__(self, function: Callable[..., object], arguments: Tuple[Any, ...]) -> None:
        self.function, self.arguments, self.cancelled = function, arguments, False

    def cancel(self) -> None:
        """Do not make the call."""
        self.cancelled = True


class On:
    """A function that has to run on a certain dispatch thread."""

    __slots__ = ("dispatcher", "function")

    def __init__(self, dispatcher: Dispatcher, function: Callable[..., object]) -> None:
        self.dispatcher, self.function = dispatcher, function

    def __call__(self, *arguments: Any) -> None:
        self.dispatcher.call(self.function, *arguments)


class Dispatcher:
    """Calls functions one after the other on a thread of its own, which starts with the first call.

    If the system gives no thread, waiting calls stay queued and `stuck(self)` is called. The owner then calls `start`
    now and then; each further `call` also tries. After `end`, a thread lives as long as calls are queued. `rest()` is
    called on the thread when no calls are left, before it waits.
    """

    def __init__(
        self, logger: logging.Logger, name: str, stuck: Callable[[Dispatcher], object] = lambda dispatcher: None,
        rest: Optional[Callable[[], object]] = None,
    ) -> None:  # fmt: skip
        self._logger, self._name, self._stuck, self._rest = logger, name, stuck, rest
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._new_timers: SimpleQueue[Tuple[float, int, Timer]] = SimpleQueue()
        self._timers: List[Tuple[float, int, Timer]] = []  # used by the thread only
        self._numbers = itertools.count()
        self._running = allocate_lock()  # held while there is a thread
        self._thread: Optional[threading.Thread] = None
        self._ended = False
        self._behind: Dict[Tuple[int, str], Tuple[Watcher]] = {}  # by id: a watcher need not be hashable

    @property
    def waiting(self) -> int:
        """The number of waiting calls."""
        return self._jobs.qsize()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Queue `function(*arguments)`. Never blocks, never raises."""
        self._jobs.put((function, arguments))
        if not self._running.locked():
            self.start()

    def start(self) -> bool:
        """Make sure that there is a thread; False if the system gives none."""
        if not self._running.acquire(False):
            return True
        try:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        except (RuntimeError, MemoryError):  # "can't start new thread": the system's limit is reached, or it is late
            self._thread = None
            self._running.release()
            self._stuck(self)
            return False
        return True

    def tell(self, watcher: Watcher, event: WatchedEvent, lasting: Optional[str]) -> None:
        """Queue the call of a watcher; see `Fired` for `lasting`, and `BACKLOG` for too many events."""
        if lasting is None or self._jobs.qsize() < BACKLOG:
            self.call(watcher, event)
            return
        key, entry = (id(watcher), lasting), (watcher,)
        if self._behind.setdefault(key, entry) is entry:
            self.call(self._catch_up, key)

    def _catch_up(self, key: Tuple[int, str]) -> None:
        (watcher,) = self._behind.pop(key)
        # From here on the watcher's reads show all that it missed, and new events are queued again.
        self._call(watcher, (WatchedEvent(EventType.NONE, KeeperState.CONNECTED, key[1]),))

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`, which may be called anywhere, but runs on this thread."""
        return On(self, function)

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Call `function(*arguments)` in `delay` seconds, unless the timer is cancelled before.

        It does not wait for the queued calls, but runs between two of them.
        """
        timer = Timer(function, arguments)
        self._new_timers.put((monotonic() + delay, next(self._numbers), timer))
        self.call(_nothing)  # wakes the thread: it has to see the new timer
        return timer

    def here(self) -> bool:
        """Whether the caller runs on the dispatch thread."""
        return threading.current_thread() is self._thread

    def end(self, timeout: float) -> None:
        """Make the queued calls, and wait for the thread, unless called on it. Later calls are made, too.

        Where the system gives no thread, the queued calls are made by the caller.
        """
        self._ended = True
        if self._jobs.empty() and not self._running.locked():
            return
        self._jobs.put((_nothing, ()))
        if not self.start() and self._running.acquire(False):
            self._run()
        thread = self._thread
        if thread is not None and thread.ident is not None and not self.here():
            thread.join(timeout)

    def _run(self) -> None:
        """Make calls until the queue has ended. `_running` is held, and released at the end."""
        more = True
        while more:
            while self._turn():
                pass
            self._running.release()
            more = not self._jobs.empty() and self._running.acquire(False)  # queued before the release

    def _turn(self) -> bool:
        """Make a call, or that of a timer that is due and another; False if the queue has ended."""
        delay = self._until_next_timer()
        due = delay is not None and delay <= 0
        if due:
            timer = heapq.heappop(self._timers)[2]
            self._call(timer.function, timer.arguments)
            del timer
        if self._rest is not None and not due and self._jobs.empty():
            self._call(self._rest, ())
        waits = not due and not self._ended
        try:
            function, arguments = self._jobs.get(waits, delay if waits else None)  # PyPy refuses a time-out for no wait
        except Empty:
            return due or not self._ended
        self._call(function, arguments)
        return True  # returning drops the references to the call before the next wait

    def _until_next_timer(self) -> Optional[float]:
        timers = self._timers
        while not self._new_timers.empty():
            heapq.heappush(timers, self._new_timers.get())
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
        return max(0.0, timers[0][0] - monotonic()) if timers else None

    def _call(self, function: Callable[..., object], arguments: Tuple[Any, ...]) -> None:
        began = monotonic()
        try:
            function(*arguments)
            took = monotonic() - began
            if took > LONG:
                self._logger.warning("%r blocked the dispatch thread for %.1f s, and all later calls", function, took)
        except BaseException:  # SystemExit too: it would end this thread, and with it all calls
            try:
                self._logger.exception("exception in %r, which was called by the ZooKeeper client", function)
            except BaseException:  # noqa: S110  # of a log handler, or of the function's __repr__: user code, too
                pass


class Unstarted:
    """The dispatchers without a thread. `wake` wakes the thread that calls `retry` now and then."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._all: Deque[Dispatcher] = deque()
        self._next_try = 0.0

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, dispatcher: Dispatcher) -> None:
        """Start this dispatcher later."""
        self._all.append(dispatcher)
        if self._next_try <= monotonic():
            self._wake()

    def retry(self) -> None:
        """Try to start the dispatchers again, unless that was tried just now."""
        if self._all and monotonic() >= self._next_try:
            self._next_try = monotonic() + RETRY
            for _ in range(len(self._all)):
                self._all.popleft().start()


def _nothing() -> None:
    """A call that only wakes the thread."""
