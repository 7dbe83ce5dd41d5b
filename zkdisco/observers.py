"""The newest event and its observers, each served in its own time.

Owns who hears what: the newest event at once, then every newer one or the newest (conflated). Must not know where
events come from, nor how an observer is called: by a thread of the client's `Crew`, or by a task in `aio`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import BuiltinMethodType, MethodType
from typing import Any, Callable, Deque, Dict, Generic, Optional, Protocol, TypeVar, Union

from ._zkwire import Dispatcher

T = TypeVar("T")
E = TypeVar("E", contravariant=True)
logger = logging.getLogger(__name__)


class Inbox(Protocol[E]):
    """What events are put into: a `queue.Queue`, for example."""

    def put(self, event: E, /) -> object:
        """Take an event."""


#: Whom events are told: whatever can be called with one, or has `put`.
Observer = Union[Callable[[T], object], Inbox[T]]


class Delivery(Protocol):
    """Brings events to one observer."""

    def offer(self, event: Any) -> None:
        """Deliver this one next, in the place of any that has not been delivered. Never blocks."""

    def stop(self) -> None:
        """Deliver nothing more. Never blocks."""


class Observers(Generic[T]):
    """The newest event, and the deliveries to its observers. Thread-safe."""

    def __init__(self, deliver: Callable[[Any], Delivery]) -> None:
        self._deliver = deliver
        self._lock = threading.RLock()  # a signal handler may come in between
        #: The newest event, or None.
        self.newest: Optional[T] = None
        self._deliveries: Dict[Any, Any] = {}

    def __bool__(self) -> bool:
        """Whether there is anybody to tell."""
        return bool(self._deliveries)

    def publish(self, event: T) -> None:
        """Tell all observers."""
        with self._lock:
            self.newest = event
            for _, delivery in self._deliveries.values():
                delivery.offer(event)

    def register(self, observer: Any) -> None:
        """Tell this one too, beginning with the newest event. The same one is told once."""
        target_of(observer)
        with self._lock:
            if key_of(observer) not in self._deliveries:
                delivery = self._deliver(observer)
                self._deliveries[key_of(observer)] = (observer, delivery)
                if self.newest is not None:
                    delivery.offer(self.newest)

    def deregister(self, observer: Any) -> None:
        """Tell it nothing more."""
        with self._lock:
            found = self._deliveries.pop(key_of(observer), None)
        if found is not None:
            found[1].stop()

    def stop(self, last: T) -> None:
        """Tell nobody anything more; `last` is the newest event from now on."""
        with self._lock:
            self.newest = last
            deliveries, self._deliveries = list(self._deliveries.values()), {}
        for _, delivery in deliveries:
            delivery.stop()


def key_of(observer: Any) -> Any:
    """What tells observers apart: identity, except that a bound method is another object each time it is looked up."""
    return observer if isinstance(observer, (MethodType, BuiltinMethodType)) else id(observer)


def target_of(observer: Any) -> Callable[[Any], Any]:
    """What to call with an event: `put` if the observer has it, or else itself."""
    target = getattr(observer, "put", observer)
    if not callable(target):
        raise TypeError(f"an observer is a callable or has put(), which {observer!r} is and has not")
    function: Callable[[Any], Any] = target
    return function


def tell(target: Callable[[Any], Any], event: Any) -> None:
    """Call it with this event. What it raises is logged."""
    try:
        target(event)
    except BaseException:  # SystemExit too: it would end the thread that serves others
        try:
            logger.exception("exception in the observer %r", target)
        except BaseException:  # noqa: S110  # of a log handler, or of the observer's __repr__: user code, too
            pass


class ThreadDelivery:
    """Calls one function on the thread of `dispatcher`, which calls nothing else: the handler of session events.

    Of what has not been delivered the newest `keep` are kept. Without a lock: a signal handler may come in anywhere.
    """

    def __init__(self, handler: Any, dispatcher: Dispatcher, keep: int) -> None:
        self._handler = handler
        self._dispatcher = dispatcher
        self._waiting: Deque[Any] = deque(maxlen=keep)

    def offer(self, event: Any) -> None:
        """Deliver this one too."""
        self._waiting.append(event)
        if not self._dispatcher.waiting:  # or else the call that waits will find it
            self._dispatcher.call(self._deliver)

    def end(self) -> None:
        """Deliver what there is, and let the thread go."""
        self._dispatcher.end(0.0)

    def _deliver(self) -> None:
        while self._waiting:
            tell(self._handler, self._waiting.popleft())
