"""What stands against mass disappearance: a filter from events to events that keeps for a while what goes all at once.

Owns which instances are shown though they are gone, and until when. Must not know where events come from, nor clocks:
`now` is an argument, in seconds. Instances are told apart by their values, of any type; equal ones count each. Rules:

1. What is added is shown at once, and so is every change of `error`.
2. What is removed is shown for `burst` seconds more. What goes in that time is one removal, and one event.
3. A removal that leaves nothing, or after which more than `share` of those there were in the last `within` seconds are
   gone, is held: shown for `hold` seconds since it went, and named by `Event.held`.
4. What comes back is held no more. Whatever else comes takes the place of one that has gone, of the same event if there
   is one: an instance with other data does not stand beside its old self.
5. Nothing is shown for longer than that, whatever the trouble. `error` is always that of the newest event.

What others do. Finagle's `StabilizingAddr` (finagle-core, com.twitter.finagle.addr) delays every removal by a grace
period, whatever the share, and begins it anew when its source is healthy again; `serverset2.Stabilizer` drops what was
not seen for an epoch without a failure. Under lasting trouble neither has a bound. Here a single removal is late by
`burst` only, and `error` says what may be old. Envoy's panic threshold (its documentation, "Panic threshold") is of
health, not of membership: below 50 % of healthy hosts it calls all, for as long as that lasts. `zkdisco.balance` does
so with its ejections; here the share is of those that were there lately, and what is gone is believed in the end.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, Deque, Dict, Generic, Iterable, List, Optional, Sequence, Tuple

from .values import Event, T

#: Seconds for which what has disappeared in mass is shown: a fleet takes some session timeouts to be registered again.
HOLD = 30.0
#: Seconds in which removals count together: the sessions of one trouble end within a session timeout.
WITHIN = 5.0
#: Seconds in which what goes is one removal.
BURST = 0.1


class _Gone(Generic[T]):
    """Shown, though it went at `since`; until `until`."""

    def __init__(self, instance: T, since: float, until: float) -> None:
        self.instance, self.since, self.until, self.held = instance, since, until, False


class Settling(Generic[T]):
    """Give it each event, and call `timed_out` at `deadline()`; both return the event to publish, or None.

    `share` is from 0.0 (every removal is held) to 1.0 (only one that leaves nothing is); times are in seconds. It
    remembers, so that each instancer needs its own. `ValueError` for what can be no share or time.
    """

    def __init__(
        self, share: float = 0.5, hold: float = HOLD, *, within: float = WITHIN, burst: float = BURST
    ) -> None:  # fmt: skip
        if not 0 <= share <= 1:
            raise ValueError(f"invalid share {share!r}: a number from 0.0 to 1.0")
        for what, seconds in (("hold", hold), ("within", within), ("burst", burst)):
            if not 0 <= seconds < float("inf"):
                raise ValueError(f"invalid {what} {seconds!r}: seconds, 0 or more")
        self._share, self._hold, self._within, self._burst = share, hold, within, min(burst, hold)
        self._newest: Optional[Event[T]] = None
        self._gone: List[_Gone[T]] = []  # those gone first come first
        self._sizes: Deque[Tuple[float, int]] = deque()  # until when there were so many; later ones are smaller
        self._deadline: Optional[float] = None
        self._taken = False

    @property
    def missing(self) -> Tuple[T, ...]:
        """What is shown, though it is gone, what went first first: those held, and the removals of a burst."""
        return tuple(one.instance for one in self._gone)

    @property
    def missing_since(self) -> Optional[float]:
        """Since when the first of them is gone, or None."""
        return self._gone[0].since if self._gone else None

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        return self._deadline

    def take(self) -> Settling[T]:
        """Itself, for its one user. `ValueError` if it has one."""
        if self._taken:
            raise ValueError("a Settling remembers what it was shown: each instancer needs its own")
        self._taken = True
        return self

    def event(self, event: Event[T], now: float) -> Optional[Event[T]]:
        """What to publish at once for this event; the rest of it comes at the deadline."""
        first, before = self._newest is None, self._newest or Event[T](())
        changed = self._expire(now)
        removed, added = unmatched(before.instances, event.instances)
        self._note(len(before.instances), now)
        self._newest = event
        stay, fresh = unmatched(self.missing, [event.instances[place] for place in added])
        taken = len(removed[: len(fresh)])  # places of this event's own; others are of what went first
        self._gone = [self._gone[place] for place in stay][len(fresh) - taken :]
        self._gone += [_Gone(before.instances[place], now, now + self._burst) for place in removed[taken:]]
        changed = self._expire(now) or changed
        only_removes = removed and not added and event.error is before.error and not first
        return None if only_removes and not changed else self._shown()

    def timed_out(self, now: float) -> Optional[Event[T]]:
        """Time has passed: a burst is over, or what was held is held no more."""
        return self._shown() if self._expire(now) else None

    def _expire(self, now: float) -> bool:
        """Decide on a burst that is over, and let go what was held long enough; whether anything has changed."""
        over = [one for one in self._gone if not one.held and one.until <= now]
        if over:
            mass = self._is_mass(over[0].since)
            for one in [one for one in self._gone if not one.held]:
                one.held, one.until = True, one.since + self._hold if mass else now
        left = [one for one in self._gone if one.until > now]
        changed = bool(over) or len(left) < len(self._gone)
        self._gone = left
        self._deadline = min((one.until for one in left), default=None)
        return changed

    def _is_mass(self, since: float) -> bool:
        """Whether too many are gone of those there were lately; the first of this burst went at `since`."""
        while self._sizes and self._sizes[0][0] < since - self._within:
            self._sizes.popleft()
        size = len(self._newest.instances) if self._newest is not None else 0
        most = self._sizes[0][1] if self._sizes else size
        return size == 0 or most - size > self._share * most

    def _note(self, size: int, now: float) -> None:
        """There were so many until now."""
        while self._sizes and self._sizes[-1][1] <= size:
            self._sizes.pop()
        self._sizes.append((now, size))
        while self._sizes[0][0] < now - self._within - self._burst:
            self._sizes.popleft()

    def _shown(self) -> Event[T]:
        """The newest event, with what is missing from it: text sorted, others behind what is there."""
        newest, missing = self._newest or Event[T](()), self.missing
        together: Any = (*newest.instances, *missing)
        if missing and all(isinstance(instance, str) for instance in together):
            together = sorted(together)
        return Event(tuple(together), newest.error, missing)


def unmatched(ones: Sequence[Any], others: Sequence[Any]) -> Tuple[List[int], List[int]]:
    """The places of each that have no equal in the other. Equal ones are matched one by one."""
    # Of two sets one after the other most is the same: what begins or ends both is looked at no further.
    same = _common(ones, others, len(ones), len(others))
    both = min(len(ones), len(others)) - same
    end = _common(reversed(ones), reversed(others), both, both)
    places = range(same, len(ones) - end)
    alone: List[int] = []
    try:
        waiting: Dict[Any, List[int]] = {}
        for place in range(len(others) - end - 1, same - 1, -1):
            waiting.setdefault(others[place], []).append(place)
        for place in places:
            if waiting.get(ones[place]):
                waiting[ones[place]].pop()
            else:
                alone.append(place)
        return alone, sorted(place for left in waiting.values() for place in left)
    except TypeError:  # they cannot be hashed
        alone, rest = [], list(range(same, len(others) - end))
        for place in places:
            found = next((other for other in rest if others[other] == ones[place]), None)
            if found is None:
                alone.append(place)
            else:
                rest.remove(found)
        return alone, rest


def _common(ones: Iterable[Any], others: Iterable[Any], *most: int) -> int:
    """How many both begin with, at most so many."""
    pairs = zip(ones, others)
    return next((place for place, (one, other) in enumerate(islice(pairs, min(most))) if one is not other), min(most))
