"""What the observers of a catalog are told: of each service the newest event.

Owns who hears what, service by service. Must not know where events come from, nor how an observer is called.
"""

from __future__ import annotations

import inspect
import threading
from typing import Any, Callable, Dict, Generic, List, Tuple

from .memberships import ServiceEvent
from .observers import Delivery, key_of, target_of, tell
from .values import T


class Digest:
    """Brings the events of many services to one observer: of each the newest, in the order in which they came up.

    `deliver(function)` brings a word to a function, as to an observer; with `awaited`, what that gives may be awaited.
    """

    def __init__(self, observer: Any, deliver: Callable[[Any], Delivery], awaited: bool) -> None:
        self._target = target_of(observer)
        self._lock = threading.RLock()  # a signal handler may come in between
        self._waiting: Dict[str, ServiceEvent[Any]] = {}
        self._delivery = deliver(self._await_all if awaited else self._tell_all)

    def offer(self, event: ServiceEvent[Any]) -> None:
        """Deliver this one, in the place of any of this service that has not been delivered. Never blocks."""
        with self._lock:
            self._waiting[event.service] = event
        self._delivery.offer(self)

    def stop(self) -> None:
        """Deliver nothing more. Never blocks."""
        with self._lock:
            self._waiting = {}
        self._delivery.stop()

    def _next(self) -> List[ServiceEvent[Any]]:
        """The one that has waited longest, or none."""
        with self._lock:
            for service in self._waiting:
                return [self._waiting.pop(service)]
            return []

    def _tell_all(self, _: Any) -> None:
        for event in iter(self._next, []):
            tell(self._target, event[0])

    async def _await_all(self, _: Any) -> None:
        try:
            for event in iter(self._next, []):
                told = self._target(event[0])
                if inspect.isawaitable(told):
                    await told
        except BaseException:
            if self._waiting:
                self._delivery.offer(self)  # what the observer raises costs it no other event
            raise


class Changes(Generic[T]):
    """The newest event of each service, and the observers of all. Thread-safe."""

    def __init__(self, deliver: Callable[[Any], Delivery], awaited: bool) -> None:
        self._deliver, self._awaited = deliver, awaited
        self._lock = threading.RLock()  # a signal handler may come in between
        #: By service, its newest event; what a reader was given does not change.
        self.newest: Dict[str, ServiceEvent[T]] = {}
        self._digests: Dict[Any, Tuple[Any, Any]] = {}

    def publish(self, events: List[ServiceEvent[T]]) -> None:
        """Tell all observers."""
        with self._lock:
            newest = dict(self.newest)
            for event in events:
                if event.event is None:
                    newest.pop(event.service, None)
                else:
                    newest[event.service] = event
            self.newest = newest
            for _, digest in self._digests.values():
                for event in events:
                    digest.offer(event)

    def register(self, observer: Any) -> None:
        """Tell this one too, beginning with the newest event of each service. The same one is told once."""
        target_of(observer)
        with self._lock:
            if key_of(observer) not in self._digests:
                self.add(observer, Digest(observer, self._deliver, self._awaited))

    def add(self, observer: Any, digest: Any) -> None:
        """Tell this one, by a delivery of its own."""
        with self._lock:
            self._digests[key_of(observer)] = (observer, digest)
            for event in self.newest.values():
                digest.offer(event)

    def deregister(self, observer: Any) -> None:
        """Tell it nothing more."""
        with self._lock:
            found = self._digests.pop(key_of(observer), None)
        if found is not None:
            found[1].stop()

    def stop(self) -> None:
        """Tell nobody anything more."""
        with self._lock:
            digests, self._digests = list(self._digests.values()), {}
        for _, digest in digests:
            digest.stop()
