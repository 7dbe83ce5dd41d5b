"""The one thread on which user code runs: watchers, state listeners, callbacks of futures.

Owns their order and their isolation: what raises is logged, what blocks delays only what is behind it. Must not know
what it calls.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any, Callable, Optional, Tuple

#: A result that came behind an event lets the event's watchers run first, but not longer than this, in seconds: a
#: watcher may be waiting for the very thread that waits for the result.
PATIENCE = 0.25

_Job = Tuple[Callable[..., object], Tuple[Any, ...]]


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
            job = self._jobs.get()
            if job is None:
                return
            try:
                job[0](*job[1])
            except Exception:
                self._logger.exception("exception in %r, which was called with news of ZooKeeper", job[0])
            with self._progress:
                self.returned += 1
                self._progress.notify_all()
