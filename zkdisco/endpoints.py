"""One endpoint for each live instance: made when it comes, closed when it goes. Go kit's endpointer.

    with Endpoints(instancer, lambda address: Pool(address), close=Pool.close) as endpoints:
        balancer = RoundRobin(endpoints)                      # see zkdisco.balance

Owns when a user's factory and closer are called, and on which threads. Must not know what an endpoint is, nor who is to
be called: there are no retries, no proxies and no HTTP client here.
"""

from __future__ import annotations

import threading
from random import random
from time import monotonic
from types import TracebackType
from typing import Any, Callable, Dict, Generic, List, Optional, Tuple, Type

from ._zkwire import Guard
from .front import InstancerBase, logger
from .roster import E, Endpoint, I, Roster, none_of
from .threads import Instancer
from .values import WITH_A_SET, Event, NoEndpointsError, Node


class EndpointsBase(Generic[I, E]):
    """What both fronts share: all but the calls of the factory and the closer."""

    #: What balancers take for the time, and for chance.
    clock, random = staticmethod(monotonic), staticmethod(random)
    #: The instancers of its front.
    _follows: Type[InstancerBase[Any]]

    def __init__(
        self, instancer: InstancerBase[I], factory: Callable[[I], Any], close: Optional[Callable[[E], Any]],
        invalidate_on_error: Optional[float],
    ) -> None:  # fmt: skip
        if not isinstance(instancer, self._follows):
            raise TypeError(f"endpoints are made for a {self._follows.__module__}.Instancer, not for {instancer!r}")
        for what in (factory, close):
            if what is not None and not callable(what):
                raise TypeError(f"a factory, or what closes, is called with one argument, which {what!r} cannot be")
        self._instancer, self._factory, self._closer = instancer, factory, close
        if invalidate_on_error is not None and not 0 <= invalidate_on_error < float("inf"):
            raise ValueError(f"invalid invalidate_on_error {invalidate_on_error!r}: seconds, 0 or more, None for never")
        self._owner = instancer.owner
        self._lock = threading.RLock()  # a signal handler may come in between
        self._roster: Roster[I, E] = Roster(invalidate_on_error)
        self._timer: Any = None
        self._timer_at: Optional[float] = None
        self._closed = False
        self._known: Dict[str, Tuple[bytes, Optional[I]]] = {}  # by node, its data and its instance, if it takes calls
        self._work = self._owner.deliver(self._turn)
        self._guard = Guard(self)

    def endpoints(self) -> Tuple[Endpoint[I, E], ...]:
        """All there are just now, by the names of their nodes; the same tuple until there are others. Never blocks."""
        with self._lock:
            self._roster.timed_out(monotonic())
            return self._roster.endpoints()

    def left_out(self) -> Dict[str, BaseException]:
        """By the name of the node, what the factory has raised for an instance that has no endpoint."""
        with self._lock:
            return self._roster.left_out()

    def none(self) -> NoEndpointsError:
        """Why there is no endpoint: what a balancer raises."""
        with self._lock:
            return none_of(self._instancer.directory, self._roster)

    # ------------------------------------------------------------------------ inside

    def _look(self) -> None:
        """Take over what the instancer knows now."""
        state, before, self._known = self._instancer.state, self._known, {}
        for node in self._instancer.nodes:
            known = before.get(node.name)
            if known is None or known[0] != node.data:
                known = node.data, self._decoded(node)
            self._known[node.name] = known
        nodes = [(name, data, one) for name, (data, one) in self._known.items() if one is not None]
        old = state.error is not None and not isinstance(state.error, WITH_A_SET)
        with self._lock:
            if not self._closed:
                self._roster.seen(nodes, state.error, monotonic(), old)

    def _decoded(self, node: Node) -> Optional[I]:
        """The instance of a node, or None if it takes no calls, or is none and so left out of the set as well."""
        try:
            instance: I = self._instancer.codec.decode(node.name, node.data)
        except ValueError:
            return None
        return instance if getattr(instance, "available", True) else None

    def _heard(self, event: Event[I]) -> None:
        """An observer of the instancer. Gone endpoints are not shown from now on, whatever a factory waits for."""
        self._look()
        self._work.offer(True)

    def _next(self) -> Tuple[List[Endpoint[I, E]], Optional[Tuple[str, bytes, I]]]:
        """What is to be closed now, and what is to be made then; with neither, when to look again."""
        with self._lock:
            now = monotonic()
            self._roster.timed_out(now)
            closing, job = self._roster.to_close(), None if self._closed else self._roster.to_make(now)
            if not closing and job is None:
                self._owner.executor.call(self._set_timer)
            return closing, job

    def _made(self, job: Tuple[str, bytes, I], value: E) -> None:
        with self._lock:
            self._roster.made(job[0], job[1], value)

    def _failed(self, job: Tuple[str, bytes, I], error: BaseException) -> None:
        with self._lock:
            news = self._roster.failed(job[0], job[1], error, monotonic())
        if not isinstance(error, Exception):  # it ends this turn; or else a timer might begin another one beside it
            self._owner.executor.call(self._set_timer)
        if news:
            logger.warning("no endpoint for %r: %s: %s", job[2], type(error).__name__, error)

    def _set_timer(self) -> None:
        """On the executor: come back when there is something to do."""
        with self._lock:
            at = None if self._closed else self._roster.deadline()
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, at
        if at is not None:
            self._timer = self._owner.executor.call_later(max(0.0, at - monotonic()), self._rung)

    def _rung(self) -> None:
        self._timer = self._timer_at = None
        self._work.offer(True)

    def _end(self) -> List[Endpoint[I, E]]:
        """Hear and make nothing more; what is to be closed."""
        self._instancer.deregister(self._heard)
        with self._lock:
            self._closed = True
            self._roster.end()
            closing = self._roster.to_close()
        self._owner.executor.call(self._set_timer)
        return closing

    def _turn(self, _: object) -> Any:
        """Make and close what is to be, one after the other."""
        raise NotImplementedError


class Endpoints(EndpointsBase[I, E]):
    """The endpoints of an instancer: `factory(instance)` makes one, `close(value)` closes it.

    One is made for each instance that takes calls (`available`, where instances have that), by its node's name and
    data. An instance that comes back gets another one. So does one with other data: its old one stays until then. The
    constructor makes those for the instances there are, on the caller's thread. Later ones are made, and gone ones
    closed, by threads of the client, one at a time: a factory may block, but holds up the others. A factory that raises
    leaves that instance out: see `left_out`. It is tried again after 0.5 s, then ever more slowly, up to every 30 s.
    What `close` raises is logged.

    Under trouble the last good set stays. With `invalidate_on_error`, in seconds, it goes once trouble has lasted that
    long, and is made anew afterwards.

    `close` before the client stops: what is left then is closed by nobody else.
    """

    _follows = Instancer

    def __init__(
        self, instancer: Instancer[I], factory: Callable[[I], E], close: Optional[Callable[[E], object]] = None, *,
        invalidate_on_error: Optional[float] = None,
    ) -> None:  # fmt: skip
        super().__init__(instancer, factory, close, invalidate_on_error)
        self._look()
        try:
            self._turn(True)
        except BaseException:  # KeyboardInterrupt, say
            self.close()
            raise
        instancer.register(self._heard)

    def close(self) -> None:
        """Close all, on this thread; there are none from now on. Waits for nothing else. May be called twice.

        One that a factory is just making is closed when it is made.
        """
        self._close_all(self._end())

    def __enter__(self) -> Endpoints[I, E]:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:  # fmt: skip
        self.close()

    def _turn(self, _: object) -> None:
        while True:
            closing, job = self._next()
            self._close_all(closing)
            if job is None:
                if not closing:
                    return
                continue
            try:
                value = self._factory(job[2])
            except BaseException as error:
                self._failed(job, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._made(job, value)

    def _close_all(self, closing: List[Endpoint[I, E]]) -> None:
        for endpoint in closing if self._closer is not None else ():
            try:
                self._closer(endpoint.value)  # type: ignore[misc]
            except Exception:
                logger.exception("exception while %r was closed", endpoint)
