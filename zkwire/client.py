"""`ZooKeeper`, the blocking front.

Owns the constructor, the lifecycle, the listeners, and how work is done by waiting for it. Must not know the protocol.
"""

from __future__ import annotations

import functools
import logging
import random
import threading
import warnings
import weakref
from collections import deque
from time import monotonic
from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple, TypeVar, Union

from .connection import MAX_FRAME, MAX_REQUEST
from .dispatch import On
from .driver import Driver
from .errors import AuthFailedError, ConnectionClosedError, ForkedError, OperationTimeoutError, ZookeeperError
from .future import Future, Passive
from .op import Op
from .ops import Multi
from .recipes import WINDOW, Work
from .records import ACL, KazooState, KeeperState
from .session import CLOSE_LIMIT, ENDED
from .session_events import StateChanged
from .settings import DEFAULT_MAX_PENDING, DEFAULT_TIMEOUT, AuthData, Settings, make_session
from .verbs import Blocking, Transaction

T = TypeVar("T")
#: start() is late by no more than this, in seconds, when it fails and closes the client.
GRACE = 0.5
Listener = Callable[[str], object]


def _blocking(verb: Callable[..., Work[Any]]) -> Callable[..., Any]:
    """The method for a verb: what it stands for is done, and waited for."""

    @functools.wraps(verb)
    def method(self: "ZooKeeper", *args: Any, timeout: Optional[float] = None, **options: Any) -> Any:
        return self.run(verb(self, *args, **options), timeout)

    return method


class ZooKeeper(Blocking, method=_blocking):
    """A ZooKeeper client whose calls block. Thread-safe. `with ZooKeeper(hosts) as zk:` starts and closes it.

    `hosts` is a connect string, "h1:2181,h2:2181/chroot", or a sequence of such. All times are seconds: `timeout` is
    the session timeout to ask for, `connect_timeout` bounds name resolution, TCP and handshake for one server together
    (None: a share of `timeout`), `request_timeout` is the default of every verb's `timeout`. `client_id` resumes a
    session, `(id, password)`. At most `max_pending` operations are queued or under way, answers have at most
    `max_frame` bytes, requests at most `max_request`, which is the server's default limit.

    After expiry it opens a new session by itself; listeners and watchers hear of it. `ValueError` and `TypeError` come
    from the constructor; nothing is dialled before `start`.
    """

    def __init__(
        self, hosts: Union[str, Sequence[str]] = "127.0.0.1:2181", timeout: float = DEFAULT_TIMEOUT,
        auth_data: Optional[AuthData] = None, default_acl: Optional[Sequence[ACL]] = None, read_only: bool = False,
        randomize_hosts: bool = True, client_id: Optional[Tuple[int, bytes]] = None,
        connect_timeout: Optional[float] = None, request_timeout: Optional[float] = None, ssl_context: Any = None,
        sasl: Any = None, max_pending: int = DEFAULT_MAX_PENDING, max_frame: int = MAX_FRAME,
        logger: Optional[logging.Logger] = None, *, max_request: int = MAX_REQUEST,
    ) -> None:  # fmt: skip
        settings = Settings(
            hosts, timeout, auth_data, default_acl, read_only, randomize_hosts, client_id, connect_timeout,
            request_timeout, ssl_context, sasl, max_pending, max_frame, max_request,
        )  # fmt: skip
        self._request_timeout = request_timeout
        self._logger = logger or logging.getLogger("zkwire")
        self._listeners: List[Listener] = []
        self._told = KazooState.LOST
        self._started = False
        session = make_session(settings, random.random, monotonic())
        me = weakref.WeakMethod(self._state_changed)
        self._driver = Driver(session, self._logger, lambda event: _hand_on(me, event), "zkwire")
        self._finalizer = weakref.finalize(self, _forgotten, self._driver)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        hosts = ",".join(str(host) for host in self._driver.session.hosts)
        return f"<ZooKeeper {hosts}{self._driver.session.scope.prefix} {self.client_state}>"

    def __reduce__(self) -> Any:
        raise TypeError("a ZooKeeper client cannot be pickled: its session cannot be shared")

    # ------------------------------------------------------------------------ lifecycle

    def start(self, timeout: float = 15.0) -> None:
        """Connect, and return once there is a session; nothing happens if there is one already.

        Raises `OperationTimeoutError` after `timeout` seconds, with the client closed; `AuthFailedError` at once;
        `ConnectionClosedError` if it was closed.
        """
        driver = self._driver
        if driver.forked:
            raise ForkedError()
        if not self._started:
            self._started = True
            driver.start()
        session = driver.session
        with driver.changed:
            driver.changed.wait_for(lambda: self.connected or session.phase == ENDED, timeout)
        if self.connected:
            return
        error = session.last_error
        if session.phase == ENDED:
            raise error if isinstance(error, AuthFailedError) else ConnectionClosedError()
        self._close(GRACE)
        raise OperationTimeoutError(f"no session within {timeout} s; the last attempt: {error}")

    def close(self) -> None:
        """End the session, its ephemeral nodes with it, and every call under way. Takes at most 5 s; idempotent.

        May be called from a watcher. What was submitted before is still answered if the server answers in time; later
        calls raise `ConnectionClosedError`.
        """
        self._close(CLOSE_LIMIT)

    def _close(self, limit: float) -> None:
        """Wait for the end at most `limit` seconds; what takes longer goes on by itself."""
        self._finalizer.detach()
        self._driver.close(limit)

    stop = close

    def __enter__(self) -> "ZooKeeper":
        try:
            self.start()
        except BaseException:  # nobody will call __exit__
            self._close(GRACE)
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------- state

    @property
    def state(self) -> str:
        """CONNECTED, SUSPENDED or LOST (see `KazooState`)."""
        return self._driver.session.state

    @property
    def client_state(self) -> str:
        """The state in detail (see `KeeperState`)."""
        return self._driver.session.client_state

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and a session on it."""
        return self.state == KazooState.CONNECTED and not self._driver.forked

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Session id and password, or None without a session. Whoever has both can take the session over."""
        return self._driver.session.client_id

    @property
    def session_timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._driver.session.timeout

    def add_listener(self, listener: Listener) -> None:
        """Call `listener(state)` on the dispatch thread at each change of `state`, until it returns True."""
        if not callable(listener):
            raise TypeError(f"a listener must be callable, not {listener!r}")
        if listener not in self._listeners:
            self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Call it no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _state_changed(self, event: StateChanged) -> None:
        """On the I/O path: hand it on, if it is news."""
        if event.state != self._told:
            self._told = event.state
            for listener in list(self._listeners):
                self._driver.call(listener if isinstance(listener, On) else self._tell(listener), event.state)

    def _tell(self, listener: Listener) -> Listener:
        def tell(state: str) -> None:
            if listener in self._listeners and listener(state) is True:
                self.remove_listener(listener)

        return tell

    # ----------------------------------------------------------------------------- work

    def submit(self, op: Op[T], then: Optional[Callable[[Future[T]], object]] = None) -> Future[T]:
        """Send an operation (from `zkwire.ops`) without waiting; a future with `concurrent.futures.Future`'s methods.

        `then(future)` is called with the outcome as by `add_done_callback`, but surely before what happens later.
        Operations are done in the order of their submission. Raises at once what can be known at once: `ValueError`,
        `FrameTooLargeError`, `TooManyPendingError`, `ConnectionClosedError`, `AuthFailedError`.
        """
        return self._submit(op, False, then)

    def _submit(self, op: Op[T], at_once: bool, then: Optional[Callable[[Future[T]], object]] = None) -> Future[T]:
        if not self._started:
            raise ConnectionClosedError("not started: call start() first")
        future: Future[T] = Future(self._driver, op.path)
        if then is not None:
            future.add_done_callback(then)
        self._driver.submit(op, future, at_once)
        return future

    def future(self) -> Future[Any]:
        """A future to be settled by whoever asked for it, with `set_result` or `set_exception`."""
        return Future(Passive(self._driver.call))

    def transaction(self) -> "BlockingTransaction":
        """Collect operations to be done together or not at all; `commit` does them, as does leaving `with`."""
        return BlockingTransaction(self._commit)

    def _commit(self, multi: Multi, timeout: Optional[float]) -> List[Any]:
        result: List[Any] = self.run(multi, timeout)
        return result

    def run(self, work: Work[T], timeout: Optional[float] = None) -> T:
        """Do an operation or a recipe, and wait for its result, at most `timeout` seconds (None: `request_timeout`)."""
        if timeout is None:
            timeout = self._request_timeout
        deadline = None if timeout is None else monotonic() + timeout
        if isinstance(work, Op):
            return self._finish(self._submit(work, True), deadline, timeout)
        try:
            wanted = next(work)
            while True:
                try:
                    if isinstance(wanted, Op):
                        answer = self._finish(self._submit(wanted, True), deadline, timeout)
                    else:
                        answer = self._pipeline(wanted, deadline, timeout)
                except Exception as error:
                    wanted = work.throw(error)
                else:
                    wanted = work.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _pipeline(self, ops: Sequence[Op[Any]], deadline: Optional[float], timeout: Optional[float]) -> List[Any]:
        """The outcomes of many operations, errors included as values, a window of them under way at a time."""
        outcomes: List[Any] = []
        under_way: Deque[Future[Any]] = deque()

        def take() -> None:
            try:
                outcomes.append(self._finish(under_way.popleft(), deadline, timeout))
            except OperationTimeoutError:
                raise
            except ZookeeperError as error:
                outcomes.append(error)

        try:
            for op in ops:
                under_way.append(self._submit(op, False))
                if len(under_way) >= WINDOW:
                    take()
            while under_way:
                take()
        except BaseException:  # time is up, say: what is still queued is not to be done later
            if not self._driver.forked:
                for future in under_way:
                    self._driver.abandon(future)
            raise
        return outcomes

    def _finish(self, future: Future[T], deadline: Optional[float], timeout: Optional[float]) -> T:
        """The result of a future that nobody else waits for, by `deadline`."""
        try:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            done = self._driver.wait(future, left)
        except BaseException:  # KeyboardInterrupt, say: nobody will come for the result
            if not self._driver.forked:
                self._driver.abandon(future)
            raise
        if not done:
            unsent = self._driver.abandon(future)
            error = OperationTimeoutError(f"no answer within {timeout} s", future.path)
            error.maybe_applied = not unsent
            if not future.done():
                raise error
        return future.result(0)


class BlockingTransaction(Transaction[List[Any]]):
    """A transaction; as a context manager it commits at the end, unless the block raised."""

    def __enter__(self) -> "BlockingTransaction":
        return self

    def __exit__(self, kind: Any, *rest: object) -> None:
        if kind is None:
            self.commit()


def _hand_on(method: "weakref.WeakMethod[Any]", event: StateChanged) -> None:
    alive = method()
    if alive is not None:
        alive(event)


def _forgotten(driver: Driver) -> None:
    """The client was collected without `close`: its threads must not live on, keeping the session alive."""
    if driver.session.phase not in (ENDED, "new") and not driver.forked:
        threading.Thread(target=driver.close, args=(CLOSE_LIMIT,), daemon=True).start()
        warnings.warn("a ZooKeeper client was not closed", ResourceWarning, stacklevel=2)  # which may raise


__all__ = ["KeeperState", "ZooKeeper"]
