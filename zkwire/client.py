"""`ZooKeeper`, the blocking front.

Owns the constructor, the lifecycle, the listeners, and waiting for results. Must not know the protocol.
"""

from __future__ import annotations

import functools
import threading
import weakref
from time import monotonic
from typing import Any, Callable, List, Optional, Sequence, Tuple, TypeVar

from .config import GRACE, Front
from .errors import OperationTimeoutError, TLSError, ZookeeperError
from .io.dispatch import On
from .io.driver import PAUSE, Driver
from .io.four_letter import FourLetterCall, Question, version_of
from .io.future import Future
from .io.process import is_of_subinterpreter, is_refused
from .ops import Multi
from .recipes import Work, drive
from .session.actions import StateChanged
from .session.host_provider import Host
from .session.session import CLOSE_LIMIT, ENDED, NEW
from .values import KazooState, KeeperState
from .verbs import Blocking, Transaction
from .wire.operation import Op

T = TypeVar("T")


def _blocking(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: it does the verb's operation or recipe, and waits for the result."""

    @functools.wraps(verb)
    def method(self: ZooKeeper, *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        return self.run(verb(self, *args, **options), timeout)

    return method


class ZooKeeper(Front, Blocking, method=_blocking):
    """A ZooKeeper client whose calls block. Thread-safe. `with ZooKeeper(hosts) as zk:` starts and closes it.

    `hosts` is a connect string, "h1:2181,h2:2181/chroot", or a sequence of such. All times are seconds: `timeout` is
    the session timeout to ask for, `connect_timeout` bounds name resolution, TCP, TLS and handshake for one server
    together (None: a share of `timeout`), `request_timeout` is the default of every verb's `timeout`. `client_id`
    resumes a session, `(id, password)`. `sasl` is a user name and a password for SASL DIGEST-MD5, or a
    `zkwire.sasl.Mechanism`. At most `max_pending` operations of at most `max_pending_bytes` are queued or in flight;
    the operations of verbs of several steps have a separate count with the same limit. Replies have at most
    `max_frame` bytes, requests at most `max_request`, which is the server's default limit. With `read_only`, a
    server without a quorum may serve reads, until a read-write one is found: `client_state` is then CONNECTED_RO,
    `client_id` is invalid for any other client, and writes raise `NotReadOnlyCallError`.

    With `ssl_context`, an `ssl.SSLContext` (see `ssl.create_default_context`), connections are TLS from the first byte:
    servers are checked as the context demands, for their names as written in `hosts`.

    After expiry the client opens a new session itself; listeners and watchers are called. The constructor raises
    `ValueError` and `TypeError`; no connection is made before `start`.
    """

    def _set_up(self) -> None:
        me = weakref.WeakMethod(self._state_changed)
        self._driver = Driver(
            self._session, self._logger, lambda event: _hand_on(me, event), "zkwire", self._ssl_context
        )
        self._finalizer = weakref.finalize(self, _forgotten, self._driver)
        self._finalizer.atexit = False

    @property
    def driver(self) -> Driver:
        """The driver of the session. Internal: it may change with every release."""
        return self._driver

    # ------------------------------------------------------------------------ lifecycle

    def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session; does nothing if there is one already.

        Raises `OperationTimeoutError` after `timeout` seconds, with the client closed; `AuthFailedError` at once;
        `TLSError` once all hosts were tried, if none gave a session and TLS failed with one; `ConnectionClosedError` if
        the client was closed; `RuntimeError` in a subinterpreter that allows no daemon threads.
        """
        driver, session, deadline = self._driver, self._session, monotonic() + timeout
        no_thread = None
        while True:
            try:
                driver.start()
                break
            except RuntimeError as error:
                if is_of_subinterpreter(error):
                    self._close(GRACE)
                    text = f"{error}; ZooKeeper needs its threads, AsyncZooKeeper does without"
                    raise RuntimeError(text) from error
                # "can't start new thread": the system's limit is reached
                no_thread = f"no session within {timeout} s; the system gives no thread: {error}"
            if monotonic() >= deadline or not threading.main_thread().is_alive():  # or the interpreter ends
                self._close(GRACE)
                raise OperationTimeoutError(no_thread)
            driver.until(lambda: session.phase == ENDED, min(PAUSE, max(0.0, deadline - monotonic())))
        driver.until(lambda: session.state == KazooState.CONNECTED or session.phase == ENDED, deadline - monotonic())
        failure = self._no_session(timeout)
        if failure is not None:
            if isinstance(failure, (OperationTimeoutError, TLSError)):
                self._close(GRACE)
            raise failure

    def close(self) -> None:
        """End the session with its ephemeral nodes, and every pending call. Takes at most 5 s; idempotent.

        May be called from a watcher, and from a signal handler: if that has interrupted a call of this client, `close`
        starts the end and does not wait for it. Earlier requests still get their replies if the server answers in time;
        later calls raise `ConnectionClosedError`.
        """
        self._close(CLOSE_LIMIT)

    def _close(self, limit: float) -> None:
        """Wait for the end at most `limit` seconds; after that the I/O thread finishes it."""
        self._finalizer.detach()
        self._driver.close(limit)

    stop = close

    def __enter__(self) -> ZooKeeper:
        try:
            self.start()
        except BaseException:  # __exit__ is not called after an exception in __enter__
            self._close(GRACE)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _set_hosts(self, hosts: Sequence[Host]) -> None:
        self._driver.set_hosts(hosts)

    def _state_changed(self, event: StateChanged) -> None:
        """Called with the driver's lock held: queue the calls of the listeners, if the state has changed."""
        for listener in self._listeners.of(event.state):
            tell = listener if isinstance(listener, On) else functools.partial(self._listeners.tell, listener)
            self._driver.call(tell, event.state)

    # ----------------------------------------------------------------------------- work

    def submit(
        self, op: Op[T], then: Optional[Callable[[Future[T]], object]] = None, *, force: bool = False
    ) -> Future[T]:
        """Send an operation (from `zkwire.ops`) without waiting; a future with `concurrent.futures.Future`'s methods.

        `then(future)` is called with the outcome as by `add_done_callback`, and before the calls for any later event.
        `force`: ignore the limit `max_pending`. Operations are done in the order of their submission. Errors that are
        known at once are raised: `ValueError`, `FrameTooLargeError`, `TooManyPendingError`, `ConnectionClosedError`,
        `AuthFailedError`. In a signal handler they may be the future's outcome instead.
        """
        return self._driver.submit(op, force, then)

    def future(self) -> Future[Any]:
        """A future that the caller settles, with `set_result` or `set_exception`."""
        return self._driver.future()

    def transaction(self) -> BlockingTransaction:
        """Collect operations that are done all or none; `commit` does them, as does the end of a `with` block."""
        return BlockingTransaction(self._commit)

    def _commit(self, multi: Multi, timeout: Optional[float]) -> List[Any]:
        result: List[Any] = self.run(multi, timeout)
        return result

    def run(self, work: Work[T], timeout: Optional[float] = None) -> T:
        """Do an operation or a recipe, and wait for its result, at most `timeout` seconds (None: `request_timeout`)."""
        if timeout is None:
            timeout = self._request_timeout
        if isinstance(work, Op):
            return self._driver.execute(work, timeout)
        driver = self._driver
        deadline = None if timeout is None else monotonic() + timeout
        steps = drive(work, driver.submit, driver.give_up, self._session.windows)
        try:
            future = next(steps)
            while True:
                try:
                    answer = driver.finish(future, deadline, timeout)
                except Exception as error:
                    future = steps.throw(error)
                else:
                    future = steps.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except ZookeeperError as error:
            # The traceback holds the recipe's frames, and these hold the error: this breaks the cycle.
            raise error.with_traceback(None)  # noqa: B904  # it is the same error
        finally:
            future = answer = None  # this frame is in the cycle too
            steps.close()

    def command(self, word: bytes = b"ruok", *, timeout: Optional[float] = None) -> str:
        """The answer of the connected server to a four-letter word that only reads (see `zkwire.io.four_letter.WORDS`).

        It uses a connection of its own, with TLS if the client has it, and takes at most `timeout` seconds (None:
        `request_timeout`, else 2). Raises `UnimplementedError` for a word that the server's configuration forbids (by
        default all but b"srvr", since 3.5.3); `ConnectionLoss` and `OperationTimeoutError`; `FrameTooLargeError` above
        1 MiB.
        """
        question, (host, address) = Question(word), self._to_ask()
        call = FourLetterCall(host, address, self._ssl_context, monotonic() + self._patience(timeout))
        self._driver.ask(call, question)
        return question.answer()

    def server_version(self, *, timeout: Optional[float] = None) -> Tuple[int, int, int]:
        """The version of the connected server, as (3, 9, 3); raises as `command` does."""
        return version_of(self.command(b"srvr", timeout=timeout))


class BlockingTransaction(Transaction[List[Any]]):
    """A transaction; as a context manager it commits at the end, unless the block raised."""

    def __enter__(self) -> BlockingTransaction:
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is None:
            self.commit()


def _hand_on(method: weakref.WeakMethod[Any], event: StateChanged) -> None:
    alive = method()
    if alive is not None:
        alive(event)


def _forgotten(driver: Driver) -> None:
    """The client was collected without `close`: end its threads, which would keep the session alive."""
    if not is_refused(driver) and driver.session.phase not in (ENDED, NEW):
        driver.request_close()
        import warnings

        warnings.warn("a ZooKeeper client was not closed", ResourceWarning, stacklevel=2)  # may raise


__all__ = ["KeeperState", "ZooKeeper"]
