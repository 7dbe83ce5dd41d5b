"""A thread on which user code runs: watchers, state listeners, callbacks of futures, timers.

Owns their order and their isolation: what raises is logged, what blocks delays only what is behind it. Must not know
what it calls. A client has one such thread; whoever must not wait for others' code makes one more, and wraps what is
to run there with `on`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Callable, Dict, List, Optional, Tuple

from ..values import EventType, KeeperState, WatchedEvent, Watcher

#: A result that came behind an event lets the event's watchers run first, but not longer than this, in seconds: a
#: watcher may be waiting for the very thread that waits for the result.
PATIENCE = 0.25
#: With so many calls waiting, a persistent watch gets no more events: its watcher is told once, behind them, to read
#: afresh. Some 40 MB; one-shot watches need no bound, there are as many events as watches were set.
BACKLOG = 100_000

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
    """A function that belongs on a certain thread; two of the same are equal."""

    __slots__ = ("dispatcher", "function")

    def __init__(self, dispatcher: Dispatcher, function: Callable[..., object]) -> None:
        self.dispatcher, self.function = dispatcher, function

    def __call__(self, *arguments: Any) -> None:
        self.dispatcher.call(self.function, *arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, On) and (self.dispatcher, self.function) == (other.dispatcher, other.function)

    def __hash__(self) -> int:
        return hash(self.function)


class Dispatcher:
    """Calls functions one after the other on a thread of its own, which starts with the first of them."""

    def __init__(self, logger: logging.Logger, name: str) -> None:
        self._logger, self._name = logger, name
        self._jobs: SimpleQueue[Optional[_Job]] = SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._lock = threading.Lock()
        self._progress = threading.Condition()
        #: How many functions were handed in, and how many have returned.
        self.queued = self.returned = 0
        self._stuck_at = -1
        self._ended = False
        self._behind: Dict[Tuple[int, str], Watcher] = {}  # by id: a watcher need not be hashable
        self._timers: List[Tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called, behind all before it. Never blocks."""
        with self._lock:
            if self._ended:
                return
            self.queued += 1
            self._jobs.put((function, arguments))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def tell(self, watcher: Watcher, event: WatchedEvent, lasting: Optional[str]) -> None:
        """Have a watcher called; see `Fired` for `lasting`, and `BACKLOG` for what becomes of it under a storm."""
        if lasting is None or self.queued - self.returned < BACKLOG:
            self.call(watcher, event)
            return
        key = id(watcher), lasting
        with self._lock:
            known = key in self._behind
            self._behind[key] = watcher
        if not known:
            self.call(self._catch_up, key)

    def _catch_up(self, key: Tuple[int, str]) -> None:
        with self._lock:
            watcher = self._behind.pop(key)
        # What it reads from now on shows all that it was not told of; what comes from now on it is told of.
        self._call(watcher, (WatchedEvent(EventType.NONE, KeeperState.CONNECTED, key[1]),))

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        """`function`, to be called by whoever it is given to, but on this thread."""
        return On(self, function)

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Have `function(*arguments)` called in `delay` seconds, unless the timer is cancelled before."""
        timer = Timer(function, arguments)
        self.call(heapq.heappush, self._timers, (monotonic() + delay, next(self._numbers), timer))
        return timer

    def here(self) -> bool:
        """Whether the caller runs on the dispatch thread."""
        return threading.current_thread() is self._thread

    def let_run(self, count: int) -> None:
        """Wait until the first `count` functions have returned, but not for one that blocks."""
        if self.returned >= count or self.here() or self._stuck_at == self.returned:
            return
        with self._progress:
            if not self._progress.wait_for(lambda: self.returned >= count, PATIENCE):
                self._stuck_at = self.returned
                self._logger.warning("a watcher or listener blocks the dispatch thread; those behind it wait")

    def end(self, timeout: float) -> None:
        """Let what is queued run, take nothing more, and wait for the thread, unless called on it."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._jobs.put(None)
        if self._thread is not None and not self.here():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._until_next_timer())
            except Empty:
                _, _, timer = heapq.heappop(self._timers)
                if not timer.cancelled:
                    self._call(timer.function, timer.arguments)
                continue
            if job is None:
                return
            self._call(*job)
            with self._progress:
                self.returned += 1
                self._progress.notify_all()

    def _until_next_timer(self) -> Optional[float]:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - monotonic()) if self._timers else None

    def _call(self, function: Callable[..., object], arguments: Tuple[Any, ...]) -> None:
        try:
            function(*arguments)
        except BaseException:  # SystemExit too: it would end this thread, and with it all news
            self._logger.exception("exception in %r, which was called with news of ZooKeeper", function)
