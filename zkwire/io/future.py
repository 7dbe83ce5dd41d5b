"""The answer to come of an operation of the blocking front.

Owns waiting and callbacks of one result, with the methods of `concurrent.futures.Future` at a tenth of its cost. Must
not know operations, sockets or sessions.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, LockType, allocate_lock
from typing import Any, Callable, Generic, List, Optional, Protocol, TypeVar

from ..errors import OperationTimeoutError, ZookeeperError

T = TypeVar("T")
#: Held while the list of those who wait is made, by one of two who come at once.
_making = allocate_lock()


class CancelledError(ZookeeperError):
    """The operation was cancelled before it was sent."""

    explanation = "cancelled before it was sent"


class Host(Protocol):
    """What a future needs of the one who settles it."""

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Block until `future` is done or `timeout` seconds have passed; whether it is done."""

    def withdraw(self, future: Future[Any]) -> bool:
        """Take its operation back if it is still queued; True if it will never be sent."""

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call user code, but not here and not now."""


class Future(Generic[T]):
    """The outcome of an operation, perhaps still to come. Made by `submit`; thread-safe."""

    __slots__ = ("_host", "_done", "_outcome", "_locks", "_callbacks", "_cancelled", "behind", "path")

    def __init__(self, host: Host, path: Optional[str] = None) -> None:
        self._host = host
        self._done = self._cancelled = False
        self._outcome: Any = None
        self._locks: Optional[List[LockType]] = None
        self._callbacks: Optional[List[Callable[[Future[T]], object]]] = None
        #: How many callbacks had been handed out when the answer came; `wait` lets those run first.
        self.behind = 0
        self.path = path

    def done(self) -> bool:
        """Whether the outcome is in, the operation cancelled included."""
        return self._done

    def running(self) -> bool:
        """Whether the outcome is still to come."""
        return not self._done

    def cancelled(self) -> bool:
        """Whether `cancel` succeeded."""
        return self._cancelled

    def cancel(self) -> bool:
        """Take the operation back if it is still queued; False if it was sent or is done already."""
        if self._done or not self._host.withdraw(self):
            return self._cancelled
        self._cancelled = True
        self.settle(CancelledError(None, self.path))
        return True

    def result(self, timeout: Optional[float] = None) -> T:
        """The result; blocks until it is in, at most `timeout` seconds (None: as long as the session lets it take).

        Raises the operation's error, or `OperationTimeoutError`, after which the operation goes on.
        """
        self._host.wait(self, timeout)
        if not self._done:
            raise OperationTimeoutError(f"no answer within {timeout} s", self.path)
        return self.settled()

    def settled(self) -> T:
        """The result of a future that is done; raises the operation's error."""
        outcome = self._outcome
        if isinstance(outcome, Exception):
            raise outcome
        value: T = outcome
        return value

    def exception(self, timeout: Optional[float] = None) -> Optional[Exception]:
        """The operation's error, or None if it succeeded; blocks as `result` does."""
        self._host.wait(self, timeout)
        if not self._done:
            raise OperationTimeoutError(f"no answer within {timeout} s", self.path)
        return self._outcome if isinstance(self._outcome, Exception) else None

    def add_done_callback(self, function: Callable[[Future[T]], object]) -> None:
        """Call `function(future)` on the dispatch thread once the outcome is in, or soon if it is already."""
        if self._callbacks is None:
            with _making:
                if self._callbacks is None:
                    self._callbacks = []
        self._callbacks.append(function)
        if self._done:
            self._run_callbacks()

    # ---------------------------------------------------- for the one who settles it

    def settle(self, outcome: Any, behind: int = 0) -> None:
        """The outcome is in: a result, or an exception instance."""
        if self._done:
            return
        self._outcome, self.behind = outcome, behind
        self._done = True
        for lock in self._locks or ():
            release(lock)
        if self._callbacks is not None:
            self._run_callbacks()

    def set_result(self, result: T) -> None:
        """For makers of futures of their own (`ZooKeeper.future`): the result is in."""
        self.settle(result)

    def set_exception(self, error: Exception) -> None:
        """For makers of futures of their own (`ZooKeeper.future`): there will be no result."""
        self.settle(error)

    def lock(self) -> LockType:
        """A lock that opens when the outcome is in; look at `done` again before waiting for it."""
        lock = allocate_lock()
        lock.acquire()
        if self._locks is None:
            with _making:
                if self._locks is None:
                    self._locks = []
        self._locks.append(lock)
        return lock

    def _run_callbacks(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            try:
                function = callbacks.pop(0)
            except IndexError:  # another thread took the last one
                return
            self._host.call(function, self)


class Passive:
    """The host of futures that are settled by hand: whoever waits just waits, and reads no socket meanwhile."""

    def __init__(self, call: Callable[..., None]) -> None:
        self.call = call

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Block until `future` is done or `timeout` seconds have passed; whether it is done."""
        if not future.done():
            lock = future.lock()
            if not future.done():
                lock.acquire(True, -1 if timeout is None else min(max(0.0, timeout), TIMEOUT_MAX))
        return future.done()

    def withdraw(self, future: Future[Any]) -> bool:
        """There is nothing that could be sent."""
        return True


def release(lock: LockType) -> None:
    """Open a lock that two may open at once."""
    try:
        lock.release()
    except RuntimeError:
        pass  # the other was faster; open is open
