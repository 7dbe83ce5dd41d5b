"""A membership behind a `Settling`: a core as the membership is, whose events are the filter's.

Owns that both have one deadline, and which nodes belong to a set with instances that are gone. Must not know what
either decides.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from ._zkwire import WatchedEvent
from .codecs import Codec
from .membership import LATE, Membership
from .replica import Nodes
from .settling import Settling, unmatched
from .values import Event, Node


class Settled:
    """As the `Membership` it is given, for a `Runner` and an instancer; `codec` is the membership's."""

    def __init__(self, core: Membership, settling: Settling[Any], codec: Codec[Any]) -> None:
        self._core, self._settling, self._codec = core, settling.take(), codec
        self.directory = core.directory
        self.operations, self.current, self.stop = core.operations, core.current, core.stop
        self._events: List[Event[Any]] = []
        self._before: Nodes = ()
        self._kept: List[Tuple[Node, Any]] = []  # nodes that are gone, with their instances, which are still shown
        #: The nodes of the newest set, also of what is gone and still shown.
        self.nodes: Nodes = ()

    def events(self) -> List[Event[Any]]:
        """What is to be published, in order."""
        events, self._events = self._events, []
        return events

    @property
    def over(self) -> bool:
        """Whether there will never be another event."""
        return self._core.over

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        times = (self._core.deadline(), self._settling.deadline())
        return min((time for time in times if time is not None), default=None)

    def stale_since(self, now: float) -> Optional[float]:
        """As the membership's; what has been gone for `LATE` and is still shown makes a set old, too."""
        stale, missing = self._core.stale_since(now), self._settling.missing_since
        if missing is None or now - missing <= LATE:
            return stale
        return missing if stale is None else min(stale, missing)

    # --------------------------------------------------------------------------- in

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """As the membership's."""
        self._core.session(session_id, now, read_only)
        self._look(now)

    def ended(self, error: Exception, now: float) -> None:
        """There will never be a session again: the last set stays, without what is gone from it."""
        self._core.ended(error, now)
        self._look(float("inf"))
        del self._events[:-1]

    def watched(self, event: WatchedEvent, now: float) -> None:
        """As the membership's."""
        self._core.watched(event, now)
        self._look(now)

    def answered(self, key: Any, outcome: Any, now: float) -> None:
        """As the membership's."""
        self._core.answered(key, outcome, now)
        self._look(now)

    def timed_out(self, now: float) -> None:
        """Time has passed, for either of them."""
        deadline = self._core.deadline()
        if deadline is not None and deadline <= now:
            self._core.timed_out(now)
        self._look(now)

    def _look(self, now: float) -> None:
        """Have the filter see what is new, and what time it is."""
        told = [self._settling.event(event, now) for event in self._core.events()]
        deadline = self._settling.deadline()
        if deadline is not None and deadline <= now:
            told.append(self._settling.timed_out(now))
        self._events += [event for event in told if event is not None]
        if told or self._before is not self._core.nodes:
            self._note(self._before, self._core.nodes)
            self._before = self._core.nodes
            self._keep()

    def _keep(self) -> None:
        """Of the nodes that are gone, those whose instances are shown; none has the name of one that is there."""
        there = self._before
        if self._kept:
            gone = set(unmatched([instance for _, instance in self._kept], self._settling.missing)[0])
            self._kept = [one for place, one in enumerate(self._kept) if place not in gone]
        names = {node.name for node, _ in self._kept}
        names.difference_update(*there)
        kept = {node.name: node for node, _ in self._kept if node.name in names}
        self.nodes = (*there, kept) if kept else there

    def _note(self, before: Nodes, after: Nodes) -> None:
        """Keep those that are gone, or hold other data, as long as the filter shows what they were."""
        for old, new in zip(before, after):
            if old is not new:
                for name, node in old.items():
                    if name not in new or new[name].data != node.data:
                        try:
                            self._kept.append((node, self._codec.decode(name, node.data)))
                        except ValueError:
                            pass  # it was left out, and shown by nobody
