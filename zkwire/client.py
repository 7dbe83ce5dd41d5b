"""`ZooKeeper`, the blocking front.

Owns the constructor, the lifecycle, the listeners, and how work is done by waiting for it. Must not know the protocol.
"""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from time import monotonic
from typing import Any, Callable, List, Optional, Sequence, Tuple, TypeVar

from .config import GRACE, Front
from .errors import OperationTimeoutError, TLSError, ZookeeperError
from .io.dispatch import On
from .io.driver import PAUSE, Driver
from .io.four_letter import FourLetterCall, Question, version_of
from .io.future import Future
from .io.process import is_refused
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
    """The method for a verb: what it stands for is done, and waited for."""

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
    `zkwire.sasl.Mechanism`. At most `max_pending` operations of `max_pending_bytes` in all are queued or under way; the
    operations of verbs of several steps are counted by themselves, with the same limit for all of them. Answers have at
    most `max_frame` bytes, requests at most `max_request`, which is the server's default limit. With `read_only`, a
    server without a quorum may serve reads, until a read-write one is found: `client_state` is CONNECTED_RO meanwhile,
    `client_id` is of no use to another client, and writes raise `NotReadOnlyCallError`.

    With `ssl_context`, an `ssl.SSLContext` (see `ssl.create_default_context`), connections are TLS from the first byte:
    servers are checked as the context says, for their names as they stand in `hosts`.

    After expiry it opens a new session by itself; listeners and watchers hear of it. `ValueError` and `TypeError` come
    from the constructor; nothing is dialled before `start`.
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
        """What runs the session. Internal: it may change with every release."""
        return self._driver

    # ------------------------------------------------------------------------ lifecycle

    def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session; nothing happens if there is one already.

        Raises `OperationTimeoutError` after `timeout` seconds, with the client closed; `AuthFailedError` at once, and
        `TLSError` once all hosts were tried, if none gave a session and TLS failed with one; `ConnectionClosedError`
        if it was closed.
        """
        driver, session, deadline = self._driver, self._session, monotonic() + timeout
        no_thread = None
        while True:
            try:
                driver.start()
                break
            except RuntimeError as error:  # "can't start new thread": the system's limit is reached
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
        """End the session, its ephemeral nodes with it, and every call under way. Takes at most 5 s; idempotent.

        May be called from a watcher, and from a signal handler: if that has interrupted a call of this client, `close`
        does not wait for the end, but brings it about. What was submitted before is still answered if the server
        answers in time; later calls raise `ConnectionClosedError`.
        """
        self._close(CLOSE_LIMIT)

    def _close(self, limit: float) -> None:
        """Wait for the end at most `limit` seconds; what takes longer goes on by itself."""
        self._finalizer.detach()
        self._driver.close(limit)

    stop = close

    def __enter__(self) -> ZooKeeper:
        try:
            self.start()
        except BaseException:  # no one will call __exit__
            self._close(GRACE)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _set_hosts(self, hosts: Sequence[Host]) -> None:
        self._driver.set_hosts(hosts)

    def _state_changed(self, event: StateChanged) -> None:
        """With the driver's lock held: queue the calls of the listeners, if it is news."""
        for listener in self._listeners.of(event.state):
            tell = listener if isinstance(listener, On) else functools.partial(self._listeners.tell, listener)
            self._driver.call(tell, event.state)

    # ----------------------------------------------------------------------------- work

    def submit(
        self, op: Op[T], then: Optional[Callable[[Future[T]], object]] = None, *, force: bool = False
    ) -> Future[T]:
        """Send an operation (from `zkwire.ops`) without waiting; a future with `concurrent.futures.Future`'s methods.

        `then(future)` is called with the outcome as by `add_done_callback`, but surely before what happens later.
        `force`: the operation is not refused for `max_pending`. Operations are done in the order of their submission.
        Raises at once what can be known at once: `ValueError`, `FrameTooLargeError`, `TooManyPendingError`,
        `ConnectionClosedError`, `AuthFailedError`. In a signal handler these may be the future's outcome instead.
        """
        return self._driver.submit(op, force, then)

    def future(self) -> Future[Any]:
        """A future to be settled by hand, with `set_result` or `set_exception`."""
        return self._driver.future()

    def transaction(self) -> BlockingTransaction:
        """Collect operations to be done together or not at all; `commit` does them, as does leaving `with`."""
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
            # The traceback holds the recipe's frames, and these hold the error: without it, all is freed at once.
            raise error.with_traceback(None)  # noqa: B904  # it is the same error
        finally:
            future = answer = None  # as this frame would
            steps.close()

    def command(self, word: bytes = b"ruok", *, timeout: Optional[float] = None) -> str:
        """The answer of the server we are connected to, to a four-letter word that only asks (`fourletter.WORDS`).

        It takes a connection of its own, with TLS if the client has it, and at most `timeout` seconds (None:
        `request_timeout`, else 2). Raises `UnimplementedError` for a word the server may not answer, as most may not
        be since 3.5.3 but b"srvr"; `ConnectionLoss` and `OperationTimeoutError`; `FrameTooLargeError` above 1 MiB.
        """
        question, (host, address) = Question(word), self._to_ask()
        call = FourLetterCall(host, address, self._ssl_context, monotonic() + self._patience(timeout))
        self._driver.ask(call, question)
        return question.answer()

    def server_version(self, *, timeout: Optional[float] = None) -> Tuple[int, int, int]:
        """The version of the server we are connected to, as (3, 9, 3); raises as `command` does."""
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
    """The client was collected without `close`: its threads must not live on, keeping the session alive."""
    if not is_refused(driver) and driver.session.phase not in (ENDED, NEW):
        driver.request_close()
        warnings.warn("a ZooKeeper client was not closed", ResourceWarning, stacklevel=2)  # which may raise


__all__ = ["KeeperState", "ZooKeeper"]
