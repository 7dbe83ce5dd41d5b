"""The blocking front's engine, as callers' threads see it: submit, wait, close.

Owns which thread reads, and what each thread may do. Must not know verbs. How it works:

- A thread that waits for a result reads the socket itself: it is the leader, and settles the results of the other
  waiting threads, the followers. A sequential call takes the two system calls of a bare socket, and no thread switch.
- At the end of its wait a leader passes the turn to the follower that has waited longest. The I/O thread reads while no
  other thread waits, and stays off the socket while calls are made one after the other.
- Sending is deferred while requests are in flight and no thread waits. The bytes leave with the next receipt (like
  Nagle's algorithm), with a call that waits, or when there are enough for a system call.
- A signal handler interrupts the main thread anywhere, even while the thread holds the lock or waits. The handler's
  requests are then queued for the I/O thread; a call that would have to wait raises `NestedCallError`.
"""

from __future__ import annotations

import functools
import sys
from _thread import allocate_lock, get_ident
from time import monotonic, sleep
from types import FrameType
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, TypeVar

from ..errors import ConnectionClosedError, NestedCallError, OperationTimeoutError, ZookeeperError
from ..session.actions import StateChanged
from ..session.host_provider import Host
from ..session.session import ENDED, Session
from ..wire.operation import Op
from .coalescing import MANY, MOMENT
from .dispatch import Dispatcher, On
from .future import CancelledError, Future, Passive, acquire
from .io_thread import IoThread
from .process import now, refuse, track

if TYPE_CHECKING:
    import logging

    from .four_letter import FourLetterCall, Question

T = TypeVar("T")
#: This many bytes are sent at once, with a system call of their own.
ENOUGH = 32 * 1024
#: The pause between two attempts to start a thread when the system gives none, in seconds.
PAUSE = 0.1


class Driver:
    """Runs a `Session` on sockets. `on_state` gets each `StateChanged`, and only queues calls."""

    def __init__(
        self, session: Session, logger: logging.Logger, on_state: Callable[[StateChanged], None], name: str,
        ssl_context: Any = None,
    ) -> None:  # fmt: skip
        self.session = session
        self._io = io = IoThread(session, on_state, logger, name, ssl_context)
        self._sockets, self._turns = io.sockets, io.turns
        #: The dispatcher, on whose thread user code runs.
        self.dispatcher = io.dispatcher
        self._started = False
        track(self)

    # ------------------------------------------------------------------------ guards

    def check(self) -> None:
        """Raise `ForkedError` in the child of a fork, as do all public methods."""

    def may_wait(self) -> bool:
        """Whether this thread may wait for a result: not while it is inside another call of this client.

        A signal handler may have interrupted such a call: a call that waits raises `NestedCallError` there.
        """
        me = get_ident()
        busy = me == self._io.ident or me in self._turns.inside or self._sockets.lock.locked()
        return not busy or not self._in_own_call()

    def _in_own_call(self) -> bool:
        """Whether this thread has been interrupted in a call of this driver, or is the I/O thread.

        The call stack shows it; a flag could be left behind by a signal handler that raises. Called only where the
        thread's mark, or the lock, shows that it is possible.
        """
        if get_ident() == self._io.ident:
            return True
        frame: Optional[FrameType] = sys._getframe(1)
        names = globals()
        while frame is not None and frame.f_globals is names:  # the frames of the present call
            frame = frame.f_back
        while frame is not None:
            if frame.f_globals is names and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        return False

    def _refuse_nested(self) -> None:
        if self._in_own_call():
            raise NestedCallError()
        self._turns.inside.discard(get_ident())

    # ------------------------------------------------------------------- for the front

    def start(self) -> None:
        """Begin to connect. `RuntimeError` if the system gives no thread: call it again."""
        sockets = self._sockets
        if sockets.lock.locked() and self._in_own_call():
            raise NestedCallError()
        with sockets.lock:
            if not self._started:
                self.session.start(now())
                sockets.waker.open()
                sockets.perform()
                self._started = True
        self._io.start()

    def until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait until `done()` is true for the state, at most `timeout` seconds; returns whether it is."""
        deadline, waiters, me = monotonic() + timeout, self._sockets.state_waiters, get_ident()
        if me in self._turns.inside:
            self._refuse_nested()
        lock = allocate_lock()
        lock.acquire()
        try:
            self._turns.inside.add(me)
            while True:
                waiters.append(lock)
                left = deadline - monotonic()
                if done() or left <= 0 or not acquire(lock, left):
                    return done()
        finally:
            self._turns.inside.discard(me)
            try:
                waiters.remove(lock)
            except ValueError:  # opened in the meantime
                pass

    def submit(self, op: Op[T], force: bool = False, then: Optional[Callable[[Future[T]], object]] = None) -> Future[T]:
        """Pass an operation to the core; returns its future, with which `then` is called. See `Session.submit`."""
        if not self._started:
            raise ConnectionClosedError("not started: call start() first")
        sockets, session = self._sockets, self.session
        future: Future[T] = Future(self, op.path)
        if then is not None:
            future.add_done_callback(then)
        if sockets.lock.locked() and self._in_own_call():
            self._io.later(functools.partial(self._submit_later, op, future, force))
            return future
        with sockets.lock:
            try:
                session.submit(op, future, now(), force)
                if session.queued:
                    sockets.perform()
                main, inside = sockets.main, self._turns.inside  # of which one is the I/O thread
                if main is not None and (
                    session.idle or session.unsent >= ENOUGH or (len(inside) > 1 and get_ident() in inside)
                ):  # a signal handler that has interrupted the reading thread must not wait for a receipt
                    sockets.flush(main)
            except (ZookeeperError, ValueError, TypeError):
                raise
            except BaseException:
                sockets.interrupted(())
                raise
        return future

    def _submit_later(self, op: Op[Any], future: Future[Any], force: bool) -> None:
        """Submit on the I/O thread: an error becomes the outcome."""
        try:
            self.session.submit(op, future, now(), force)
        except (ZookeeperError, ValueError, TypeError) as error:
            future.settle(error)

    def execute(self, op: Op[T], timeout: Optional[float]) -> T:
        """Do an operation and wait for its result, at most `timeout` seconds (None: as long as the session allows)."""
        me = get_ident()
        if not self._started:
            raise ConnectionClosedError("not started: call start() first")
        sockets, session = self._sockets, self.session
        if me in self._turns.inside or sockets.lock.locked():
            self._refuse_nested()
        deadline = None if timeout is None else monotonic() + timeout
        future: Future[T] = Future(self, op.path)
        with sockets.lock:
            try:
                session.submit(op, future, now())
                if session.queued:
                    sockets.perform()
                main = sockets.main
                if main is not None:
                    sockets.flush(main)
            except (ZookeeperError, ValueError, TypeError):
                raise
            except BaseException:
                sockets.interrupted(())
                raise
        try:
            return self._finish(future, deadline, timeout, me)
        finally:
            del future  # see `_finish`

    def finish(self, future: Future[T], deadline: Optional[float], timeout: Optional[float]) -> T:
        """The result of a future that no other thread waits for, by `deadline` (`timeout` seconds after its start)."""
        if not future._done:
            self._flush()
        return self._finish(future, deadline, timeout, get_ident())

    def _flush(self) -> None:
        """Send the deferred bytes, because this thread is going to wait."""
        sockets = self._sockets
        main = sockets.main
        if main is not None and main.link.unsent and not main.blocked:
            if sockets.lock.locked() and self._in_own_call():
                raise NestedCallError()
            with sockets.lock:
                sockets.flush(main)

    def _finish(self, future: Future[T], deadline: Optional[float], timeout: Optional[float], me: int) -> T:
        try:
            done = future._done or self._wait(future, deadline, me)
        except BaseException:  # KeyboardInterrupt for example: no thread will take the result
            self.give_up(future)
            raise
        if not done:
            unsent = self.give_up(future)
            if not future._done:
                error = OperationTimeoutError(f"no answer within {timeout} s", future.path)
                error.maybe_applied = not unsent
                try:
                    raise error
                finally:  # as below
                    del error
        outcome = future._outcome
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:  # breaks a reference cycle of the error and this frame
                del outcome, future
        result: T = outcome
        return result

    def give_up(self, future: Future[Any]) -> bool:
        """No thread waits for `future` any more; True if its operation was not sent, and never will be."""
        lock = self._sockets.lock
        if lock.locked() and self._in_own_call():
            self._io.later(functools.partial(self.session.cancel, future, True))
            return False
        with lock:
            return not future._done and self.session.cancel(future, True)

    def set_hosts(self, hosts: Sequence[Host]) -> None:
        """Pass other hosts to the core."""
        sockets = self._sockets
        if sockets.lock.locked() and self._in_own_call():
            raise NestedCallError()
        with sockets.lock:
            self.session.set_hosts(hosts, now())
            sockets.perform()
            if sockets.main is not None:
                sockets.flush(sockets.main)
        sockets.waker.wake()

    def ask(self, call: FourLetterCall, question: Question) -> None:
        """Ask a four-letter word beside the session, on the caller's thread, until the client is closed."""
        self._io.four_letter_calls.add(call)
        try:
            if self.session.phase == ENDED:
                call.give_up(ConnectionClosedError())
            call.ask(question)
        finally:
            self._io.four_letter_calls.discard(call)

    def another_dispatcher(self, logger: logging.Logger, name: str) -> Dispatcher:
        """One more dispatcher, for calls that must not wait for the watchers' code.

        What its calls submit one after the other is sent when the last of them returns, not with the next receipt. If
        the system gives it no thread, the I/O thread tries again.
        """
        return Dispatcher(logger, name, self._io.unstarted.add, self._flush)

    def future(self) -> Future[Any]:
        """A future that the caller settles."""
        return Passive(self).future()

    # -------------------------------------------------------------- a future's host

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Queue user code for the dispatch thread, or for the one it was wrapped for."""
        if isinstance(function, On):
            function(*arguments)
        else:
            self.dispatcher.call(function, *arguments)

    def withdraw(self, future: Future[Any]) -> bool:
        """Take a future's operation back, and settle it with `CancelledError`; False if it was sent, or is done."""
        lock = self._sockets.lock
        if lock.locked() and self._in_own_call():
            raise NestedCallError()
        with lock:
            unsent = self.session.cancel(future)
            if unsent:
                future.settle(CancelledError(None, future.path))
        return unsent

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Block until `future` is done or `timeout` seconds have passed; returns whether it is done."""
        self._flush()
        return self._wait(future, None if timeout is None else monotonic() + timeout, get_ident())

    def _wait(self, future: Future[Any], deadline: Optional[float], me: int) -> bool:
        """Block until `future` is done, or `deadline`; the thread reads the socket if no other thread does."""
        turns, sockets = self._turns, self._sockets
        inside = turns.inside
        if me in inside or me == self._io.ident:
            self._refuse_nested()
        try:
            inside.add(me)
            while not future._done:
                if sockets.main is None or not self._lead(future, deadline, me):
                    self._follow(future, deadline, me)
                if deadline is not None and monotonic() >= deadline:
                    break
        finally:
            inside.discard(me)
            if turns.followers:
                turns.pass_on()
        return future._done

    def _lead(self, future: Future[Any], deadline: Optional[float], me: int) -> bool:
        """Read until `future` is done; False if another thread has the turn."""
        turns, sockets = self._turns, self._sockets
        reader = turns.reader
        try:
            if reader.setdefault("", me) != me:
                return False
            turns.leads += 1
            while not future._done:
                if sockets.gather:
                    self._gather(deadline)
                main = sockets.main
                left = None if deadline is None else deadline - monotonic()
                if main is None or (left is not None and left <= 0):
                    break
                if main.wait(left):
                    with sockets.lock:
                        if main.is_open:
                            sockets.receive(main)
        finally:
            if reader.get("") == me:
                del reader[""]
            if turns.watched:
                turns.wake()
        return True

    def _gather(self, deadline: Optional[float]) -> None:
        """Let replies gather for a moment, if there is time."""
        self._sockets.gather = False
        if self.session.in_flight >= MANY and (deadline is None or deadline - monotonic() > 2 * MOMENT):
            sleep(MOMENT)

    def _follow(self, future: Future[Any], deadline: Optional[float], me: int) -> None:
        """Wait until the future is done, or this thread gets the turn to read."""
        lock = future.attend()
        try:
            self._turns.join(me, future, lock)
            if not future._done and (self._turns.taken or self._sockets.main is None):
                acquire(lock, None if deadline is None else deadline - monotonic())
        finally:
            self._turns.leave(me)
            future.leave(lock)

    # ------------------------------------------------------------------------- the end

    def request_close(self) -> None:
        """Have the I/O thread end the session. May be called anywhere, also by a signal handler."""
        self._io.close_requested = True
        self._sockets.waker.wake()

    def close(self, timeout: float) -> None:
        """End the session and the threads; returns within about `timeout` seconds, whatever the server does.

        A thread that has interrupted another call of this client does not wait for the end.
        """
        self.request_close()
        if not self.may_wait():
            return
        deadline, sockets = monotonic() + timeout, self._sockets
        with sockets.lock:
            self.session.close(now())
            sockets.perform()
            if sockets.main is not None:
                sockets.flush(sockets.main)
        sockets.waker.wake()
        self.until(lambda: self.session.phase == ENDED, timeout)
        with sockets.lock:
            if self.session.phase != ENDED:  # the time may be up, and the I/O thread late
                self.session.timed_out(now())
                sockets.perform()
        inside, me = self._turns.inside, get_ident()
        try:
            inside.add(me)  # a signal handler that closes again must not join too: before 3.13 a join holds a lock
            self._io.join(max(0.0, deadline - monotonic()))
            self.dispatcher.end(max(0.0, deadline - monotonic()))
        finally:
            inside.discard(me)

    def disown(self) -> None:
        """In the child of a fork: close the descriptors without sending anything, and refuse all further calls."""
        self._io.disown()
        refuse(self)
