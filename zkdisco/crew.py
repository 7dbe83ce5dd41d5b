"""The threads that call observers: a handful, and more only while observers are slow.

Owns which thread calls which observer when, and how many threads there are. Must not know what events are, nor where
they come from. How it works:

- An observer for which something waits stands in a queue, once. A thread takes the first, and calls it with one event.
  What came meanwhile brings the observer to the end of the queue again.
- There is one thread as long as it gets on. If no thread has for `PATIENCE`, there are twice as many and one: who
  waits may block as well. Where all threads are known to be in long calls, the next observer gets one at once.
- An observer whose last call was long comes with another thread, unless one is free.
- A thread that has been free for `IDLE` ends, but for the last. Of the free ones, who worked last works first.
- Only the executor adds to the queue and to the threads, so that no signal handler comes in between: `offer` may be
  called anywhere.
"""

from __future__ import annotations

import logging
import threading
from _thread import allocate_lock
from collections import deque
from time import monotonic
from typing import Any, Deque, List, Optional

from ._zkwire import Dispatcher, track
from .observers import target_of, tell

#: Seconds until there are more threads for those that wait. A call that takes longer is a long one. It is ten times the
#: turn that the interpreter gives a thread: a quick observer takes longer only where the whole process stands still.
PATIENCE = 0.05
#: A thread gets on if it makes so many calls in that time.
FEW = 5
#: Seconds after which a thread that has nothing to do ends.
IDLE = 5.0

logger = logging.getLogger(__name__.rpartition(".")[0])


class Post:
    """Brings events to one observer, one at a time, the newest instead of those that it was too slow for."""

    def __init__(self, observer: Any, crew: Crew) -> None:
        self._target = target_of(observer)
        self._crew = crew
        self._waiting: Deque[Any] = deque(maxlen=1)
        #: Whether it stands in the queue or is called; set by the executor, cleared by the thread that has called it.
        self.taken = False
        #: Whether its last call was a long one.
        self.slow = False

    @property
    def waits(self) -> bool:
        """Whether there is something to deliver."""
        return bool(self._waiting)

    def offer(self, event: Any) -> None:
        """Deliver this one next, in the place of any that has not been delivered. Never blocks."""
        self._waiting.append(event)
        self._crew.offered(self)

    def stop(self) -> None:
        """Deliver nothing more; nothing more is offered. Never blocks."""
        self._waiting.clear()

    def deliver(self) -> None:
        """Call the observer with what waits for it. Never raises."""
        try:
            event = self._waiting.popleft()
        except IndexError:  # it was stopped
            return
        tell(self._target, event)


class Worker:
    """One thread, as the others see it."""

    def __init__(self) -> None:
        #: When its present call began; None between calls.
        self.since: Optional[float] = None
        #: How many calls it has made; and how many those were when the executor looked last.
        self.calls = self.noted = 0
        #: Whether its thread is to end.
        self.leaves = False
        #: Released to wake it, by the executor, which has taken it from the free ones.
        self.wake = allocate_lock()
        self.wake.acquire()

    def called_lately(self) -> bool:
        """Whether it is between calls, or its present call is not a long one."""
        since = self.since
        return since is None or monotonic() - since < PATIENCE

    def gets_on(self) -> bool:
        """Whether it is between calls, or has made some since the executor looked last."""
        return self.since is None or self.calls - self.noted >= FEW


class Crew:
    """The threads of one client for its observers. There are none before the first event."""

    def __init__(self, executor: Dispatcher) -> None:
        self._executor = executor
        self._queue: Deque[Post] = deque()
        self._free: Deque[Worker] = deque()  # the last one has worked last
        self._workers: List[Worker] = []
        self._looks = self._excused = self._refused = self._ended = False
        self._due = 0.0
        track(self)

    def deliver(self, observer: Any) -> Post:
        """How this observer is told. `TypeError` if it is none."""
        return Post(observer, self)

    def offered(self, post: Post) -> None:
        """Something waits for this observer. Never blocks; may be called anywhere."""
        if self._executor.here():
            self._line_up(post)
        else:
            self._executor.call(self._line_up, post)

    def end(self) -> None:
        """Call nobody any more, and let the threads go, each at the end of its call. Never blocks."""
        self._ended = True
        self._executor.call(self._dismiss)

    def disown(self) -> None:
        """In the child of a fork, which an observer may have made: its thread ends with that call."""
        self._ended = True

    # -------------------------------------------------------------- on the executor

    def _line_up(self, post: Post) -> None:
        if post.taken or not post.waits:
            return
        post.taken = True
        self._queue.append(post)
        if not self._wake():
            self._hire_unless([worker.called_lately() for worker in self._workers])
        if post.slow and not self._free:
            self._hire(1)
        self._look_later()

    def _look_later(self) -> None:
        """As long as one waits, look now and then whether the threads get on."""
        if not self._looks:
            self._looks = True
            for worker in self._workers:
                worker.noted = worker.calls
            self._due = monotonic() + PATIENCE
            self._executor.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        self._looks = False
        late = monotonic() > self._due + PATIENCE
        # Where this comes late, all of the process has stood still, and the threads too: that counts once in a row.
        self._excused = late and not self._excused
        if not self._excused:
            self._hire_unless([worker.gets_on() for worker in self._workers])
        if self._queue:
            self._look_later()

    def _hire_unless(self, well: List[bool]) -> None:
        if not any(well):
            self._hire(min(len(self._queue), len(well) + 1))

    def _hire(self, count: int) -> None:
        for _ in range(0 if self._ended else count):
            worker = Worker()
            try:
                threading.Thread(target=self._run, args=(worker,), name="zkdisco observer", daemon=True).start()
            except (RuntimeError, MemoryError) as error:  # "can't start new thread": the next look tries again
                if not self._refused:
                    self._refused = True
                    self._executor.call(logger.warning, "observers have to wait for a thread: %s", error)
                return
            self._refused = False
            self._workers.append(worker)

    def _wake(self) -> bool:
        """Wake a free thread; False if there is none."""
        try:
            worker = self._free.pop()
        except IndexError:
            return False
        worker.wake.release()
        return True

    def _let_go(self, worker: Worker) -> None:
        """It has been free for long: its thread may end, unless it is the last, or has just been waked."""
        if len(self._workers) > 1 and worker in self._free:
            self._free.remove(worker)
            self._workers.remove(worker)
            worker.leaves = True
            worker.wake.release()

    def _dismiss(self) -> None:
        while self._wake():
            pass

    # ---------------------------------------------------------------- on each thread

    def _run(self, worker: Worker) -> None:
        while not self._ended and self._turn(worker):
            pass

    def _turn(self, worker: Worker) -> bool:
        """Call an observer, or wait until one is to be called; False if the thread is to end."""
        try:
            post = self._queue.popleft()
        except IndexError:
            return self._rest(worker)
        worker.since = began = monotonic()
        post.deliver()
        worker.since = None
        worker.calls += 1
        post.slow = monotonic() - began > PATIENCE
        post.taken = False
        if post.waits:
            self._executor.call(self._line_up, post)
        return True  # returning drops the references to the observer before the next wait

    def _rest(self, worker: Worker) -> bool:
        """Wait until there is something to do; False if the thread is to end."""
        self._free.append(worker)
        if self._queue or self._ended:  # it came before this thread was seen to be free
            try:
                self._free.remove(worker)
                return True
            except ValueError:  # by now the executor has taken it from there, and wakes it
                pass
        while not worker.wake.acquire(True, IDLE):
            if len(self._workers) > 1:
                self._executor.call(self._let_go, worker)
        return not worker.leaves
