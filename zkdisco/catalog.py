"""The services below one path, all of them, on one client: `Catalog`.

Owns what callers see of it. Must not know what the cores decide. `zkdisco.aio.Catalog` is the awaited twin.
"""

from __future__ import annotations

import random
from time import monotonic
from typing import Any, Dict, Generic, Optional, Tuple, Union, overload

from ._zkwire import Guard, errors
from .changes import Changes
from .codecs import Codec, Instance
from .following import Following
from .front import Accept, Careful, ClientBase, careful, logger
from .membership import TRANSIENT
from .memberships import Memberships, ServiceEvent
from .observers import Observer
from .replica import in_order
from .reports import InstancerReport
from .runner import Runner
from .threads import Client
from .values import ClientClosedError, Event, Node, T, validate_codec, validate_directory, validate_wait


#: Of the catalog, before anything is known.
NOTHING = ServiceEvent[str]("", Event((), errors.ConnectionLoss("nothing is known yet", sent=False)))


class CatalogBase(Generic[T]):
    """What both catalogs share."""

    def __init__(
        self, client: ClientBase, path: str, services: Optional[Accept], accept: Optional[Accept],
        codec: Optional[Union[str, Codec[Any]]], wait: Optional[float], awaited: bool,
    ) -> None:  # fmt: skip
        self._directory, known = validate_directory(path), validate_codec(codec)
        for name, function in (("services", services), ("accept", accept)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}= is called with the name of a child, which {function!r} cannot be")
        seconds = validate_wait(wait)
        client.check()
        self._owner = client
        self._changes: Changes[T] = Changes(client.deliver, awaited)
        self._runner = Runner(client.zk, client.executor, self._publish, client.window)
        self._core = Memberships(
            self._directory, self._runner.watcher, careful(services), careful(accept), random.random, Careful(known)
        )  # fmt: skip
        self._following = Following(client, self._runner, self._core, self._core.stop, seconds)
        self._troubles = ""
        self._end: Optional[Exception] = None
        self._guard = Guard(self)

    @property
    def services(self) -> Tuple[str, ...]:
        """The names of all services, sorted; also of those without an instance."""
        return self._list().instances

    @property
    def error(self) -> Optional[Exception]:
        """What is wrong with the list of services, or None; that there is no connection is told here, too."""
        return self._list().error

    @property
    def state(self) -> Dict[str, Event[T]]:
        """Of each service the newest event, as an instancer's `state`. Copied: it does not change."""
        newest = self._changes.newest
        state = {name: told.event for name, told in newest.items() if name and told.event is not None}
        if self._end is not None:
            state = {name: Event[T](event.instances, self._end) for name, event in state.items()}
        return state

    def nodes(self, service: str) -> Tuple[Node, ...]:
        """The nodes of a service, as an instancer's `nodes`; none if there is no such service."""
        try:
            return in_order(self._core.nodes(service))
        except KeyError:
            return ()

    @property
    def stale_since(self) -> Optional[float]:
        """Since when any of it may be out of date (`time.monotonic`), or None; see `Instancer.stale_since`."""
        return self._following.stale_since(self._core.stale_since(monotonic()))

    def report(self) -> InstancerReport:
        """How it stands just now: the instances of all services together. Never blocks."""
        stale, count = self.stale_since, sum(len(event.instances) for event in self.state.values())
        age = 0.0 if stale is None else max(0.001, monotonic() - stale)
        return InstancerReport(self._directory, count, age, self.error)

    def register(self, observer: Observer[ServiceEvent[T]]) -> None:
        """Call `observer(event)`, or `observer.put(event)`, with the newest event of each service, then newer ones.

        A slow observer gets the newest of a service instead of each; one that raises is logged and hears on. Neither
        blocks nor raises because of the observer; `TypeError` if it is none.
        """
        self._owner.check()
        if self._following.stopped is None:
            self._changes.register(observer)

    def deregister(self, observer: Observer[ServiceEvent[T]]) -> None:
        """Call it no more."""
        self._changes.deregister(observer)

    # ------------------------------------------------------------------ for its client

    def told_end(self, error: Exception) -> None:
        """There will never be a session again. On the executor."""
        self._following.told_end(error)

    def end(self, error: ClientClosedError) -> None:
        """Watch no more, and tell nobody anything more."""
        self._end = error
        self._changes.stop()
        self._following.end(error)

    def leave(self) -> None:
        """`end`, by itself."""
        if self._following.stopped is None:
            self.end(ClientClosedError("the catalog has been stopped"))
            self._owner.release(self)

    def _list(self) -> Event[str]:
        """The event of the catalog itself."""
        told: Any = self._changes.newest.get("", NOTHING)
        event: Event[str] = told.event
        return event if self._end is None else Event(event.instances, self._end)

    def _publish(self) -> None:
        events = self._core.events()
        if not events:
            return
        self._changes.publish(events)
        error = self._list().error
        self._following.settle(error, self._core.complete)
        self._log(error)

    def _log(self, error: Optional[Exception]) -> None:
        """One line for each change of what is wrong with the list; that there is no connection is told by others."""
        troubles = "" if error is None else f"{type(error).__name__}: {error}"
        if isinstance(error, TRANSIENT) or troubles == self._troubles:
            return
        self._troubles = troubles
        if error is not None:
            logger.warning("%s: %s", self._directory, troubles)
        else:
            logger.info("%s: all is well again", self._directory)


class Catalog(CatalogBase[T]):
    """All services below `path`, with the instances of each, followed from now on.

    It is what an `Instancer` for each service would be, and one that follows which services there are; but with
    ZooKeeper 3.6 and later it has one watch for all, and a change costs one read. Before 3.6 it costs what they do.

    Services whose names `services(name)` does not take are not followed, nor read. `accept`, `codec`, `timeout` and
    `wait` are those of `Instancer`, and so is what the constructor waits for and raises: the first complete set of
    every service. Observers hear a `ServiceEvent` at every change: of a service, or with the name "" of the list.
    """

    @overload
    def __init__(
        self: Catalog[str], client: Client, path: str, *, services: Optional[Accept] = None,
        accept: Optional[Accept] = None, codec: None = None, timeout: Optional[float] = None,
        wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Catalog[Instance], client: Client, path: str, *, services: Optional[Accept] = None,
        accept: Optional[Accept] = None, codec: str, timeout: Optional[float] = None, wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, client: Client, path: str, *, services: Optional[Accept] = None, accept: Optional[Accept] = None,
        codec: Codec[T], timeout: Optional[float] = None, wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, client: Client, path: str, *, services: Optional[Accept] = None, accept: Optional[Accept] = None,
        codec: Optional[Union[str, Codec[Any]]] = None, timeout: Optional[float] = None, wait: Optional[float] = None,
    ) -> None:  # fmt: skip
        super().__init__(client, path, services, accept, codec, wait, awaited=False)
        first = self._following.begin(self)
        seconds = wait if wait is not None else client.options.timeout if timeout is None else timeout
        try:
            first.result(seconds)
        except BaseException as error:
            late = isinstance(error, errors.OperationTimeoutError) and not first.done()
            if wait is not None and late:
                return
            why = self.error
            self.leave()
            if late and why is not None:
                raise errors.OperationTimeoutError(f"{path}: not all services read in time; {why}") from None
            raise

    def stop(self) -> None:
        """Stop watching; observers hear nothing more. May be called twice."""
        self.leave()

    def __enter__(self) -> Catalog[T]:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
