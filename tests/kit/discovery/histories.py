"""Random histories of a set, what a `Settling` makes of them, and the rules it has to keep.

Owns the histories and the rules. Must not know how the filter decides. The rules are:

S1 nothing is shown for longer than the bound; S2 what is there is shown at once; S3 held is what is shown and not there,
and was shown before; S4 at rest, the truth is shown; S5 the newest error is told at once; S6 a set is not shown empty
within the bound of there being somebody; S7 less than the share is not shown; S8 nothing more is shown because something
is held; S9 what only goes is told once for each burst.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Callable, Dict, List, Optional, Tuple

from zkdisco import Event
from zkdisco.settling import Settling

HOLD, WITHIN, BURST = 8.0, 3.0, 0.25


class Broken(Exception):
    """A rule is broken; its text begins with the rule."""


def require(condition: object, text: str, *values: Any) -> None:
    if not condition:
        raise Broken(text.format(*values))


class Value:
    """An instance of a type that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and other.name == self.name

    def __repr__(self) -> str:
        return self.name


def names(instances: Tuple[Any, ...]) -> Dict[str, int]:
    """As a multiset."""
    return Counter(map(str, instances))


class History:
    """One filter, and all that has happened to it."""

    def __init__(self, seed: int, settling: Optional[Settling[Any]] = None) -> None:
        self.rng = random.Random(seed)
        self.share = self.rng.choice((0.0, 0.3, 0.5, 0.5, 0.9))
        self.settling = settling or Settling(self.share, HOLD, within=WITHIN, burst=BURST)
        self.make: Callable[[str], Any] = Value if self.rng.random() < 0.2 else str
        self.now = 0.0
        self.truth: List[str] = []
        self.error: Optional[Exception] = None
        self.shown: Optional[Event[Any]] = None
        self.left: Dict[str, List[float]] = {}  # by name, when each that is not back went
        self.sizes: List[Tuple[float, int]] = [(0.0, 0)]  # since when there were so many
        self.told_at: List[float] = []  # when something was published that no addition and no error had caused

    def run(self, steps: int) -> History:
        for _ in range(steps):
            self.change()
            self.wait(self.rng.choice((0.0, 0.01, 0.1, 0.5, 2.0, 6.0)) * self.rng.random())
        self.wait(HOLD + BURST)
        require(self.shown is not None and names(self.shown.instances) == names(tuple(self.truth)), "S4 {} of {}", self.shown, self.truth)
        require(self.shown is not None and not self.shown.held and self.settling.deadline() is None, "S4 {} held at rest", self.shown)
        return self

    def change(self) -> None:
        """Something happens at the source."""
        before, kind = list(self.truth), self.rng.random()
        if kind < 0.15:
            self.error = self.rng.choice((None, ConnectionError("lost"), ConnectionError("left out")))
        elif kind < 0.45:
            self.truth += [f"n{self.rng.randrange(14)}" for _ in range(self.rng.choice((1, 1, 2, 6)))]
        elif kind < 0.75:
            for _ in range(min(len(self.truth), self.rng.choice((1, 1, 2, 6)))):
                self.truth.pop(self.rng.randrange(len(self.truth)))
        elif kind < 0.85:
            self.truth = []
        elif self.truth:
            self.truth[self.rng.randrange(len(self.truth))] = f"n{self.rng.randrange(14)}"
        self.feed(before)

    def feed(self, before: List[str]) -> None:
        removed, added = Counter(before) - Counter(self.truth), Counter(self.truth) - Counter(before)
        for name in added.elements():
            if self.left.get(name):
                self.left[name].pop(0)
        for name in removed.elements():
            self.left.setdefault(name, []).append(self.now)
        self.sizes.append((self.now, len(self.truth)))
        was = len(self.shown.instances) if self.shown is not None else 0
        old = self.shown.error if self.shown is not None else None
        event = self.settling.event(Event(tuple(self.make(name) for name in sorted(self.truth)), self.error), self.now)
        self._told(event, not added and self.error is old)
        require(self.shown is not None and self.shown.error is self.error, "S5 {} instead of {!r}", self.shown, self.error)
        most = max(was, len(self.truth))
        require(self.shown is not None and len(self.shown.instances) <= most, "S8 {} of {}, there were {}", self.shown, self.truth, was)
        self.check()

    def wait(self, seconds: float) -> None:
        """Time passes; the filter is called at its deadlines."""
        end = self.now + seconds
        while True:
            deadline = self.settling.deadline()
            if deadline is None or deadline > end:
                break
            require(deadline >= self.now, "S1 a deadline {} that has passed", deadline)
            self.now = deadline
            self._told(self.settling.timed_out(self.now), True)
            self.check()
        self.now = end
        self.check()

    def _told(self, event: Optional[Event[Any]], alone: bool) -> None:
        if event is None:
            return
        truth, before = Counter(self.truth), names(self.shown.instances) if self.shown is not None else {}
        held, shown = Counter(names(event.held)), Counter(names(event.instances))
        require(held == shown - truth, "S3 held {} of {}, there is {}", held, shown, truth)
        require(not held - Counter(before), "S3 held {}, which were not shown in {}", held, before)
        if alone and self.shown is not None and before != shown:
            self.told_at.append(self.now)
        self.shown = event

    def check(self) -> None:
        if self.shown is None:
            return
        truth, shown = Counter(self.truth), Counter(names(self.shown.instances))
        require(not truth - shown, "S2 {} is not shown in {}", truth - shown, shown)
        for name, count in (shown - truth).items():
            young = [at for at in self.left.get(name, []) if at + HOLD > self.now - 1e-9 or at + BURST > self.now]
            require(count <= len(young), "S1 {} is shown {} times at {}, went at {}", name, count, self.now, self.left.get(name))
        ends = [(end, size) for (_, size), (end, _) in zip(self.sizes, [*self.sizes[1:], (self.now, 0)])]
        lively = max((end for end, size in ends if size), default=-HOLD)
        require(self.shown.instances or lively + HOLD <= self.now + 1e-9, "S6 empty, somebody was there until {}", lively)
        most = max([size for end, size in ends if end > self.now - WITHIN], default=0)
        require(len(self.shown.instances) >= (1 - self.share) * most - 1e-9, "S7 {} shown of {}", len(self.shown.instances), most)
