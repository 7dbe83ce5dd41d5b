"""`Instancer`: the live instances of one service, blocking.

Owns the way between the core that decides (`membership.Membership`) and observers.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any, Callable, Optional

from ._zkwire import Guard, errors
from .observers import Cache, Delivery, ThreadDelivery
from .client import Client
from .membership import TRANSIENT, Membership
from .values import WITH_A_SET, ClientClosedError, Event, validate_directory
from .runner import Runner

logger = logging.getLogger(__name__)


#: Which children are instances, by their names.
Accept = Callable[[str], bool]


def _careful(accept: Optional[Accept]) -> Optional[Accept]:
    """`accept`, but a child on which it raises is taken, and that is logged: a bug of the filter hides no instance."""
    if accept is None:
        return None
    given = accept

    def takes(name: str) -> bool:
        try:
            return bool(given(name))
        except Exception:
            logger.exception("exception in accept=%r for the child %r, which is taken", given, name)
            return True

    return takes


class InstancerBase:
    """What both instancers share: the core, its runner, the cache."""

    def __init__(
        self, client: Any, path: str, deliver: Callable[[Any], Delivery], accept: Optional[Accept]
    ) -> None:  # fmt: skip
        directory = validate_directory(path)
        if accept is not None and not callable(accept):
            raise TypeError(f"accept= is called with the name of a child, which {accept!r} cannot be")
        client.check()
        self._client = client
        self._cache = Cache(deliver)
        self._runner = Runner(client.zk, client.executor, self._publish)
        self._core = Membership(directory, self._runner.watcher, _careful(accept))
        self._first: Any = None
        self._stopped = False
        self._guard = Guard(self)

    @property
    def state(self) -> Event:
        """The newest event: the complete set, and the trouble there is with it, if any."""
        return self._cache.newest

    @property
    def stale_since(self) -> Optional[float]:
        """Since when the set in `state` may be out of date (`time.monotonic`), or None.

        With trouble, since it was noticed; without, once a change has been known for a second, and is not in the set.
        """
        return self._core.stale_since(monotonic())

    def register(self, observer: Any) -> None:
        """Call `observer(event)`, or `observer.put(event)`, with the newest event now, then with every newer one.

        A slow observer gets the newest instead of each; one that raises is logged and hears on. Neither blocks nor
        raises because of the observer; `TypeError` if it is none.
        """
        self._client.check()
        if not self._stopped:
            self._cache.register(observer)

    def deregister(self, observer: Any) -> None:
        """Call it no more."""
        self._cache.deregister(observer)

    def begin(self) -> Any:
        """Start to watch; a future for the first complete set."""
        self._first = self._client.zk.future()
        self._first.add_done_callback(_forget)
        self._client.adopt(self)
        self._runner.start(self._core)
        return self._first

    def end(self) -> None:
        """Watch no more, and tell nobody anything more; the watch is taken back from a connection that goes on."""
        self._stopped = True
        self._runner.stop()
        self._cache.stop()
        if self._first is not None and not self._first.done():
            self._first.set_exception(ClientClosedError())
        self._client.executor.call(self._take_back)

    def delete_now(self) -> None:
        """There is nothing of ours at the server that would have to be deleted."""

    def closed(self) -> None:
        """The client has stopped."""

    def leave(self) -> None:
        """`end`, by itself."""
        if not self._stopped:
            self.end()
            self._client.release(self)

    def _take_back(self) -> None:
        """On the executor, so that it comes behind whatever was asked for."""
        if self._client.zk.connected:
            try:
                self._client.zk.submit(self._core.stop(), force=True).add_done_callback(_forget)
            except errors.ZookeeperError:
                pass  # no connection, no watch

    def _publish(self) -> None:
        first = self._first
        for event in self._core.events():
            self._cache.publish(event)
            if first.done() or isinstance(event.error, TRANSIENT):
                continue
            if event.error is None or isinstance(event.error, WITH_A_SET):
                first.set_result(None)
            else:
                first.set_exception(event.error)


def _forget(future: Any) -> None:
    """Whether the watch was still there, or the connection, is of no interest any more."""
    if not future.cancelled():
        future.exception()


class Instancer(InstancerBase):
    """The live instances below `path` (`<path>/<name>` of the services), followed from now on.

    The constructor returns with the first complete set in `state`; a missing directory is an empty set. It blocks at
    most `timeout` seconds, by default the client's session and connect timeout together, and raises `ValueError`,
    `NoAuthError` or `OperationTimeoutError`. Afterwards trouble is told in events, and cured by itself.

    Children whose names `accept(name)` does not take are no instances: they are not read. It is called on the thread
    on which the client's cores run, and must not block.
    """

    def __init__(
        self, client: Client, path: str, *, timeout: Optional[float] = None, accept: Optional[Accept] = None
    ) -> None:  # fmt: skip
        another = client.zk.driver.another_dispatcher
        deliver = lambda observer: ThreadDelivery(observer, another(logger, "zkdisco observer"))  # noqa: E731
        super().__init__(client, path, deliver, accept)
        first = self.begin()
        try:
            first.result(client.options.timeout if timeout is None else timeout)
        except BaseException as error:
            self.leave()
            if isinstance(error, errors.OperationTimeoutError) and self.state.error is not None:
                raise errors.OperationTimeoutError(f"{path}: no instances read in time; {self.state.error}") from None
            raise

    def stop(self) -> None:
        """Stop watching; observers hear nothing more. May be called twice."""
        self.leave()
