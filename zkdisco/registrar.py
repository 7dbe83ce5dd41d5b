"""`Registrar`: one registration, blocking.

Owns the way between a caller and the core that decides (`registration.Registration`).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Optional, Set

from ._zkwire import Future, Guard, errors, ops
from .values import ClientClosedError, NotRegisteredError, Service
from .registration import Registration
from .runner import Runner

if TYPE_CHECKING:
    from .client import Client

#: Seconds in which the core says how it stands when a caller waits no more; it never waits for anything itself.
GRACE = 1.0


class RegistrarBase:
    """What both registrars share: the core, its runner, and the futures of those who wait."""

    def __init__(self, client: Any, service: Service) -> None:
        if not isinstance(service, Service):
            raise TypeError(f"a registrar takes a Service, not {service!r}")
        client.check()
        self._client, self._service = client, service
        self._runner = Runner(client.zk, client.executor, self._settle)
        options = client.options
        self._core = Registration(service, options.acl, options.payload, os.urandom(16).hex(), self._runner.watcher)
        self._lock = threading.RLock()  # for `_running`, and that nobody comes to wait when it ends
        self._running = self._ended = False
        self._pending: Set[Any] = set()
        self._guard = Guard(self)

    @property
    def node(self) -> Optional[str]:
        """The path of our node, or None while there is none."""
        return self._core.node

    @property
    def error(self) -> Optional[Exception]:
        """The newest trouble in keeping the registration up, or None if all is well.

        It is a `ConnectionLoss` from before the server may take the node for dead, until there is a connection again.
        """
        return self._core.error

    def want(self, wanted: bool) -> Any:
        """Tell the core; a future for the end of it."""
        self._client.check()
        future = self._client.zk.future()
        with self._lock:
            if not self._running:
                self._client.adopt(self)
                self._running = True
                self._runner.start(self._core)
            self._pending.add(future)
        self._runner.tell(self._want, wanted, future)
        if self._ended:  # meanwhile: perhaps nobody is there to be told
            self._conclude(future, ClientClosedError())
        return future

    def withdraw(self, future: Any) -> None:
        """Nobody will wait for `future` any more: it is settled soon, with success if that came first."""
        self._runner.tell(self._core.withdraw, future)

    def end(self) -> Any:
        """The client stops: if it keeps its session, the node must go; a future for that."""
        self._ended = True
        future = self._client.zk.future()
        self._runner.tell(self._end, future)
        return future

    def closed(self) -> None:
        """The client has stopped: nobody waits any more. A node left for want of a connection goes with the next."""
        self._runner.stop()
        self.delete_now()
        while self._pending:
            try:
                self._conclude(self._pending.pop(), ClientClosedError())
            except KeyError:  # the last one was concluded meanwhile
                break

    def delete_now(self) -> None:
        """Send a delete of our node, if there is one, and wait for nothing; the core has been told, or hears no more.

        That is all a signal handler can do which has interrupted a call of the client: its process may end at once.
        """
        if self._core.node is not None:
            try:
                self._client.zk.submit(
                    ops.Delete(self._core.node), lambda done: done.cancelled() or done.exception(), force=True
                )
            except errors.ZookeeperError:
                pass  # the session has ended, and the node with it

    def _want(self, wanted: bool, future: Any, now: float) -> None:
        if not self._ended:
            self._core.want(wanted, future, now)

    def _end(self, future: Any, now: float) -> None:
        if self._core.at_rest:
            self._conclude(future, None)
        else:
            self._core.want(False, future, now)

    def _settle(self) -> None:
        for future, outcome in self._core.settled():
            if self._ended and isinstance(outcome, NotRegisteredError):
                outcome = ClientClosedError()  # it was the client that took the registration back
            self._conclude(future, outcome)
        if self._core.at_rest:
            with self._lock:
                if self._running and not self._ended and not self._pending:
                    self._running = False
                    self._runner.stop()
                    self._client.release(self)

    def _conclude(self, future: Any, outcome: Any) -> None:
        self._pending.discard(future)
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class Registrar(RegistrarBase):
    """Registers a service, and keeps it registered until `deregister` or `client.stop()`.

    The node is `<path>/<name>/_c_<32 hex>-<10 digits>`, ephemeral. It comes back after the session has expired, or
    somebody deleted it; it is left alone when a connection was lost and the session survived. `with Registrar(client,
    service):` registers and deregisters. `timeout` is in seconds, by default the client's session and connect timeout
    together.
    """

    def __init__(self, client: Client, service: Service) -> None:
        super().__init__(client, service)

    def register(self, *, timeout: Optional[float] = None) -> str:
        """Register; the path of the node. If it is registered already, nothing happens.

        Raises what the server says (`NoAuthError`, ...), or `OperationTimeoutError`; then there is no registration.
        """
        self._client.check()
        if not self._client.zk.driver.may_wait():
            raise errors.NestedCallError()
        node: str = self._wait(self.want(True), timeout)
        return node

    def deregister(self, *, timeout: Optional[float] = None) -> None:
        """Delete our node; when this returns, none of ours is left. Raises `NotRegisteredError` if there was none.

        After `OperationTimeoutError` it goes on in the background. So it does in a signal handler that has interrupted
        a call of this client: then this returns at once, with the request sent, unless the handler came while the
        client was at its innermost; then it is sent once the handler has returned.
        """
        future = self.want(False)
        if self._client.zk.driver.may_wait():
            self._wait(future, timeout)
        else:
            self.delete_now()

    def _wait(self, future: Future[Any], timeout: Optional[float]) -> Any:
        try:
            return future.result(self._client.options.timeout if timeout is None else timeout)
        except errors.OperationTimeoutError:
            if future.done():
                raise
        except BaseException:
            self.withdraw(future)  # KeyboardInterrupt, say
            raise
        self.withdraw(future)
        return future.result(GRACE)

    def __enter__(self) -> Registrar:
        self.register()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._core.wanted:
            self.deregister()
