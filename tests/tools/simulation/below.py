"""The ZooKeeper that the fronts of zkdisco are given: that of zkwire, with a driver of the simulation below it.

Owns how a driver submits, waits and closes over the session core of a client of the simulation. Must not know discovery.
What is above the driver is zkwire's own: verbs, `start`, `close`, listeners, futures, the order of delivery.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Callable, Optional

from zkwire.aio import AsyncZooKeeper
from zkwire.client import ZooKeeper
from zkwire.config import Listeners
from zkwire.io.aio_driver import AsyncDriver, AsyncFuture
from zkwire.io.dispatch import On
from zkwire.io.future import CancelledError, Future, Passive
from zkwire.ops import Delete, Multi, RemoveWatches
from zkwire.session.session import ENDED

from .executors import Executor
from .rules import require

if TYPE_CHECKING:
    from .client import Client


class _Strict(logging.Logger):
    """Logs nothing; what is logged as an exception is a bug, since nobody's watchers raise here."""

    def exception(self, *message: Any, **options: Any) -> None:
        """Remember it."""
        BlockingBelow.world.crash = BlockingBelow.world.crash or sys.exc_info()[1]


logger = _Strict("strict", logging.CRITICAL + 1)


class _Pending(Future[Any]):
    """The future of an operation."""

    __slots__ = ("asked",)

    asked: Any


class _Passive(Passive):
    """The maker of futures that the caller settles."""

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Let the world go on until it is done."""
        return bool(self._driver.wait(future, timeout))


def check_asked(client: Client, op: Any) -> None:
    """Nobody deletes what is not his; of a watch that is taken back locally the server does not hear."""
    for one in op.ops if isinstance(op, Multi) else (op,):
        if isinstance(one, Delete):
            require(client.world.owns(client, one.path), "D5", "{} is deleted, which is not ours", one.path)
    if isinstance(op, RemoveWatches) and op.local:
        client.unclaimed[op.path] = None  # the server is not told


class BlockingDriver:
    """What `zkwire.io.driver.Driver` is to the blocking front and to zkdisco."""

    def __init__(self, client: Client, listeners: Listeners) -> None:
        self._client, self.session, self._listeners = client, client.session, listeners
        self.dispatcher = Executor(client, client.lag)
        #: Whether the caller is no signal handler that has interrupted another call.
        self.waits = True

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()

    def may_wait(self) -> bool:
        """Whether the caller may wait."""
        return self.waits

    def until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait until `done()`."""
        self._client.world.wait(self._client, done, timeout)
        return done()

    def submit(self, op: Any, force: bool = False, then: Optional[Callable[[Any], object]] = None) -> Any:
        """Pass an operation to the core."""
        check_asked(self._client, op)
        future = _Pending(self)  # type: ignore[arg-type]
        if then is not None:
            future._hooks.append((then,))
        future.asked = self._client.submit(op, future.settle, force=force)
        return future

    def execute(self, op: Any, timeout: Optional[float]) -> Any:
        """Do an operation, and wait for it."""
        return self.finish(self.submit(op), None, timeout)

    def finish(self, future: Any, deadline: Optional[float], timeout: Optional[float]) -> Any:
        """Wait for a result, until `deadline`."""
        seconds = timeout if deadline is None else deadline - self._client.now()
        try:
            return future.result(None if seconds is None else max(0.0, seconds))
        finally:
            if not future._done:
                self.give_up(future)

    def give_up(self, future: Any) -> bool:
        """Nobody waits for it any more."""
        return not future.asked.over and self._client.abandon(future.asked)

    def another_dispatcher(self, logger: Any, name: str) -> Executor:
        """One more."""
        return Executor(self._client, self._client.lag)

    def future(self) -> Future[Any]:
        """A future that the caller settles."""
        return _Passive(self).future()  # type: ignore[arg-type]

    def close(self, timeout: float) -> None:
        """End the session."""
        client = self._client
        self.session.close(client.now())
        client.settle()
        if not self.waits:
            return
        self.until(lambda: self.session.phase == ENDED, timeout)
        if self.session.phase != ENDED:
            self.session.timed_out(client.now())
            client.settle()

    # -------------------------------------------------------------- a future's host

    def check(self) -> None:
        """There are no forks here."""

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Queue user code."""
        if isinstance(function, On):
            function(*arguments)
        else:
            self.dispatcher.call(function, *arguments)

    def withdraw(self, future: Any) -> bool:
        """Take an operation back that was not sent."""
        if future.asked.over or not self._client.withdraw(future.asked):
            return False
        future.settle(CancelledError(None, future.path))
        return True

    def wait(self, future: Any, timeout: Optional[float]) -> bool:
        """Let the world go on until it is done."""
        self._client.world.wait(self._client, lambda: future._done, 1e6 if timeout is None else timeout)
        return bool(future._done)

    # ------------------------------------------------------------------ for the client

    def fire(self, watchers: Any, event: Any, lasting: Any) -> None:
        """A watch has fired."""
        for watcher in watchers:
            self.call(watcher, event)


class _Asked:
    """What an `AsyncFuture` takes for its session."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.call: Any = None

    def cancel(self, future: Any, forget: bool) -> bool:
        """Take it back, or forget it."""
        return not self.call.over and self._client.abandon(self.call)


class AsyncFacingDriver(AsyncDriver):
    """zkwire's own, but for the way to the core and the network."""

    def __init__(self, client: Client, listeners: Listeners) -> None:
        super().__init__(client.session, logger, listeners, None)
        self._client = client

    def start(self) -> None:
        """Begin to connect."""
        self._client.start()
        self.loop = self._client.loop

    def submit(self, op: Any, force: bool = False) -> Any:
        """Pass an operation to the core."""
        self.check()
        check_asked(self._client, op)
        asked, future = _Asked(self._client), AsyncFuture[Any](loop=self.loop)
        future.session = asked  # type: ignore[assignment]
        asked.call = self._client.submit(op, lambda outcome: self.reply(future, outcome), force=force)
        return future

    def _feed(self, give: Callable[..., object], *arguments: Any) -> None:
        give(*arguments)
        self._client.settle()

    def _report_lag(self) -> None:
        pass


class _Nothing:
    def detach(self) -> None:
        """There is no finalizer."""


class BlockingBelow(ZooKeeper):
    """Without a client, it is that of a front which makes a ZooKeeper of its own."""

    def __init__(self, hosts: str = "", *, client: Optional[Client] = None, **options: Any) -> None:
        self.client = client or BlockingBelow.world.newcomer
        self._session, self._logger, self._request_timeout = self.client.session, logger, None
        self._listeners = Listeners()
        self._driver: Any = BlockingDriver(self.client, self._listeners)
        self._finalizer: Any = _Nothing()
        self.client.zk = self

    world: Any = None

    def state_changed(self, event: Any) -> None:
        """The session's state is another one."""
        self._state_changed(event)


class AsyncBelow(AsyncZooKeeper):
    """As `BlockingBelow`."""

    def __init__(self, hosts: str = "", *, client: Optional[Client] = None, **options: Any) -> None:
        self.client = client or BlockingBelow.world.newcomer
        self._session, self._logger, self._request_timeout = self.client.session, logger, None
        self._listeners = Listeners()
        self._driver: Any = AsyncFacingDriver(self.client, self._listeners)
        self.client.zk = self

    def state_changed(self, event: Any) -> None:
        """The session's state is another one."""
        self._driver.state_changed(event.state, event.client_state, event.error)
