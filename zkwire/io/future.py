"""The future of the blocking front: the outcome of one operation.

Owns waiting for one outcome and running its callbacks, with the methods of `concurrent.futures.Future` at a tenth of
its cost, and how a thread waits for a lock. Must not know operations, sockets or sessions. It has no lock: where two
threads may act at once, each does one atomic call of a list. A signal handler may interrupt it anywhere.
"""

from __future__ import annotations

import os
from _thread import TIMEOUT_MAX, LockType, allocate_lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Tuple, TypeVar, Union

from ..errors import OperationTimeoutError, ZookeeperError
from ..typed import Generic

if TYPE_CHECKING:
    from typing import Protocol

    class Settler(Protocol):
        """The methods a future calls on its maker."""

        def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
            """Block until `future` is done or `timeout` seconds have passed; returns whether it is done."""

        def withdraw(self, future: Future[Any]) -> bool:
            """Take the operation back, and settle it with `CancelledError`; False if it was sent, or is done."""

        def check(self) -> None:
            """Raise `ForkedError` in the child of a fork, where no outcome will arrive."""

        def call(self, function: Callable[..., object], *arguments: Any) -> None:
            """Queue user code for another thread."""


T = TypeVar("T")
#: The longest time for which a thread may be deaf to signals, in seconds; None where none is. On Windows neither a wait
#: for a lock nor one for a socket ends with Ctrl-C: the handler runs when it is over.
DEAF = 0.1 if os.name == "nt" else None


class CancelledError(ZookeeperError):
    """The operation was cancelled before it was sent."""

    explanation = "cancelled before it was sent"


class Future(Generic[T]):
    """The outcome of an operation, which may still be pending. Made by `submit`; thread-safe."""

    __slots__ = ("_settler", "_done", "_outcome", "_hooks", "path", "__weakref__")

    def __init__(self, settler: Settler, path: Optional[str] = None) -> None:
        self._settler, self.path = settler, path
        self._done = False
        self._outcome: Any = None
        #: Locks of waiting threads, and functions to call; a function is in a tuple, so that no user's `__eq__` runs.
        self._hooks: List[Union[LockType, Tuple[Callable[[Future[T]], object]], None]] = []

    def done(self) -> bool:
        """Whether there is an outcome; a cancelled operation has one."""
        if not self._done:
            self._settler.check()
        return self._done

    def running(self) -> bool:
        """Whether the outcome is still pending."""
        return not self.done()

    def cancelled(self) -> bool:
        """Whether `cancel` succeeded."""
        return self.done() and isinstance(self._outcome, CancelledError)

    def cancel(self) -> bool:
        """Take the operation back if it was not sent; False if it was sent or is done already."""
        return self.cancelled() or self._settler.withdraw(self)

    def result(self, timeout: Optional[float] = None) -> T:
        """The result; blocks until it arrives, at most `timeout` seconds (None: as long as the session allows).

        Raises the operation's error, or `OperationTimeoutError`, after which the operation goes on.
        """
        if not self._done and not self._settler.wait(self, timeout):
            raise OperationTimeoutError(f"no answer within {timeout} s", self.path)
        outcome = self._outcome
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:  # breaks a reference cycle of the error and this frame
                del self, outcome
        value: T = outcome
        return value

    def exception(self, timeout: Optional[float] = None) -> Optional[Exception]:
        """The operation's error, or None if it succeeded; blocks as `result` does."""
        if not self._done and not self._settler.wait(self, timeout):
            raise OperationTimeoutError(f"no answer within {timeout} s", self.path)
        return self._outcome if isinstance(self._outcome, Exception) else None

    def add_done_callback(self, function: Callable[[Future[T]], object]) -> None:
        """Call `function(future)` on the dispatch thread once there is an outcome, or soon if there is one already."""
        self._hooks.append((function,))
        if self._done:
            self._run_hooks()

    # ------------------------------------------------------------------ for its maker

    def settle(self, outcome: Any) -> None:
        """Set the outcome: a result, or an exception instance. One thread at a time: the maker holds a lock."""
        if not self._done:
            self._outcome = outcome
            self._done = True
            if self._hooks:
                self._run_hooks()

    def set_result(self, result: T) -> None:
        """For the futures of `ZooKeeper.future`: set the result."""
        self._settle_once(result)

    def set_exception(self, error: Exception) -> None:
        """For the futures of `ZooKeeper.future`: set the error."""
        self._settle_once(error)

    def _settle_once(self, outcome: Any) -> bool:
        """Set the outcome, on any thread; False if another thread has set it already. See `Passive`."""
        try:
            self._hooks.remove(None)
        except ValueError:
            return False
        self.settle(outcome)
        return True

    def attend(self) -> LockType:
        """A lock that opens when the outcome arrives, which may be before this returns. Call `leave` in the end."""
        lock = allocate_lock()
        lock.acquire()
        self._hooks.append(lock)
        return lock

    def leave(self, lock: LockType) -> None:
        """Drop the lock of `attend`."""
        try:
            self._hooks.remove(lock)
        except ValueError:
            pass  # opened in the meantime

    def _run_hooks(self) -> None:
        """Open the locks and run the callbacks; each exactly once, however many threads do so at the same time."""
        hooks = self._hooks
        while hooks:
            try:
                hook = hooks.pop(0)
            except IndexError:  # another thread took the last one
                return
            if isinstance(hook, tuple):
                self._settler.call(hook[0], self)
            elif hook is not None:
                release(hook)


class Passive:
    """The maker of futures that the caller settles: a waiting thread only waits, and reads no socket."""

    def __init__(self, driver: Settler) -> None:
        self._driver = driver

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Queue user code for another thread."""
        self._driver.call(function, *arguments)

    def check(self) -> None:
        """Raise `ForkedError` in the child of a fork."""
        self._driver.check()

    def future(self) -> Future[Any]:
        """A future that the first call of `set_result` or `set_exception` settles."""
        future: Future[Any] = Future(self)
        future._hooks.append(None)  # removed by the call that settles it
        return future

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Block until `future` is done or `timeout` seconds have passed; returns whether it is done."""
        self.check()
        lock = future.attend()
        try:
            if not future.done():
                acquire(lock, timeout)
        finally:
            future.leave(lock)
        return future.done()

    def withdraw(self, future: Future[Any]) -> bool:
        """False: there is no operation to take back."""
        self.check()
        return future._settle_once(CancelledError())


def acquire(lock: LockType, seconds: Optional[float]) -> bool:
    """Wait for a lock, at most so long (None: without a limit); whether it was opened. Signals are heard meanwhile."""
    if DEAF is None:
        return lock.acquire(True, -1 if seconds is None else min(max(0.0, seconds), TIMEOUT_MAX))
    end = None if seconds is None else monotonic() + seconds
    while not lock.acquire(True, DEAF if end is None else max(0.0, min(DEAF, end - monotonic()))):
        if end is not None and monotonic() >= end:
            return False
    return True


def heard_within(seconds: float) -> float:
    """A time to wait in one piece, so that signals are heard in between; wait again afterwards."""
    return seconds if DEAF is None else min(seconds, DEAF)


def release(lock: LockType) -> None:
    """Open a lock that two threads may open at once."""
    try:
        lock.release()
    except RuntimeError:
        pass  # the other thread has opened it
