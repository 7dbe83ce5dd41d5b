"""A thread on which user code runs: watchers, state listeners, callbacks of futures, timers, log handlers.

Owns their order and their isolation: what raises is logged, what blocks delays only what is behind it. Must not know
what it calls. A client has one such thread; code that must not wait for the users' makes one more, and wraps what is to
run there with `on`. `call` may be called anywhere: under any lock, and by a signal handler that has interrupted it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from _thread import allocate_lock
from collections import deque
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Tuple

from ..values import EventType, KeeperState, WatchedEvent, Watcher

if TYPE_CHECKING:
    import logging

#: With so many calls waiting, a persistent watch gets no more events: its watcher is called once, behind them, to read
#: afresh. Some 40 MB; one-shot watches need no bound, there are as many events as watches were set.
BACKLOG = 100_000

#: A call that takes so many seconds is worth a warning.
LONG = 0.5

#: Between two attempts to start a thread, where the system gave none, in seconds.
RETRY = 0.1

_Job = Tuple[Callable[..., object], Tuple[Any, ...]]


class Timer:
    """A call to come; `cancel` it on the dispatch thread, or at the risk that it is just being made."""

    __slots__ = ("function", "arguments", "cancelled")

    def __init__(self, function: Callable[..., object], arguments: Tuple[Any, ...]) -> None:
        self.function, self.arguments, self.cancelled = function, arguments, False

    def cancel(self) -> None:
        """Do not make the call."""
        self.cancelled = True


class On:
    """A function that belongs on a certain dispatch thread."""

    __slots__ = ("dispatcher", "function")

    def __init__(self, dispatcher: Dispatcher, function: Callable[..., object]) -> None:
        self.dispatcher, self.function = dispatcher, function

    def __call__(self, *arguments: Any) -> None:
        self.dispatcher.call(self.function, *arguments)


class Dispatcher:
    """Calls functions one after the other on a thread of its own, which starts with the first of them.

    If the system gives no thread, what waits goes on waiting, `stuck(self)` is called, and `start` is to be called now
    and then; so does each further `call`. After `end`, a thread lives as long as there is something to call.
    """

    def __init__(
        self, logger: logging.Logger, name: str, stuck: Callable[[Dispatcher], object] = lambda dispatcher: None
    ) -> None:
        self._logger, self._name, self._stuck = logger, name, stuck
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._new_timers: SimpleQueue[Tuple[float, int, Timer]] = SimpleQueue()
        self._timers: List[Tuple[float, int, Timer]] = []  # of the thread alone
        self._numbers = itertools.count()
        self._running = allocate_lock()  # held while there is a thread
        self._thread: Optional[threading.Thread] = None
        self._ended = False
        self._behind: Dict[Tuple[int, str], Tuple[Watcher]] = {}  # by id: a watcher need not be hashable

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._jobs.qsize()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called, behind all before it. Never blocks, never raises."""
        self._jobs.put((function, arguments))
        if not self._running.locked():
            self.start()

    def start(self) -> bool:
        """See to it that there is a thread; False if the system gives none."""
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
        """Have a watcher called; see `Fired` for `lasting`, and `BACKLOG` for what becomes of it under a storm."""
        if lasting is None or self._jobs.qsize() < BACKLOG:
            self.call(watcher, event)
            return
        key, entry = (id(watcher), lasting), (watcher,)
        if self._behind.setdefault(key, entry) is entry:
            self.call(self._catch_up, key)

    def _catch_up(self, key: Tuple[int, str]) -> None:
        (watcher,) = self._behind.pop(key)
        # What it reads from now on shows all that it missed; what comes from now on it is called for.
        self._call(watcher, (WatchedEvent(EventType.NONE, KeeperState.CONNECTED, key[1]),))

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`, to be called anywhere, but run on this thread."""
        return On(self, function)

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Have `function(*arguments)` called in `delay` seconds, unless the timer is cancelled before.

        It is not behind the calls that wait, but comes between two of them.
        """
        timer = Timer(function, arguments)
        self._new_timers.put((monotonic() + delay, next(self._numbers), timer))
        self.call(_nothing)  # so that the thread, if it waits, waits no longer than that
        return timer

    def here(self) -> bool:
        """Whether the caller runs on the dispatch thread."""
        return threading.current_thread() is self._thread

    def end(self, timeout: float) -> None:
        """Let what waits run, and wait for the thread, unless called on it. What comes later is called, too.

        Where the system gives no thread, what waits is called here and now.
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
        """Make calls until there is nothing more to come. `_running` is held, and free afterwards."""
        more = True
        while more:
            while self._turn():
                pass
            self._running.release()
            more = not self._jobs.empty() and self._running.acquire(False)  # it came between a look and the release

    def _turn(self) -> bool:
        """Make a call, or one for a timer that is due and another; False if there is nothing more to come."""
        delay = self._until_next_timer()
        due = delay is not None and delay <= 0
        if due:
            timer = heapq.heappop(self._timers)[2]
            self._call(timer.function, timer.arguments)
            del timer
        try:
            function, arguments = self._jobs.get(not due and not self._ended, delay)
        except Empty:
            return due or not self._ended
        self._call(function, arguments)
        return True  # and let go of what was called, before the next wait

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
                self._logger.warning("%r kept the dispatch thread for %.1f s, and what was behind it", function, took)
        except BaseException:  # SystemExit too: it would end this thread, and with it all calls
            try:
                self._logger.exception("exception in %r, which was called with news of ZooKeeper", function)
            except BaseException:  # noqa: S110  # of a log handler, or of the function's __repr__: user code, too
                pass


class Unstarted:
    """Dispatchers that the system gave no thread. `wake` wakes the thread that is to `retry` now and then."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._all: Deque[Dispatcher] = deque()
        self._next_try = 0.0

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, dispatcher: Dispatcher) -> None:
        """Start it later."""
        self._all.append(dispatcher)
        if self._next_try <= monotonic():
            self._wake()

    def retry(self) -> None:
        """Try again, unless that was tried just now."""
        if self._all and monotonic() >= self._next_try:
            self._next_try = monotonic() + RETRY
            for _ in range(len(self._all)):
                self._all.popleft().start()


def _nothing() -> None:
    """A call that only wakes the thread."""
