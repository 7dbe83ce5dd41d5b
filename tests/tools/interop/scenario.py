"""Scenarios: what they note down, how two runs are compared, and the table at the end.

Owns the values that are compared. Must not know any client.
"""

from __future__ import annotations

import contextlib
import difflib
import queue
import re
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

from .place import PATIENCE, Place


class Trial:
    """One scenario on one place. `root` is a node of its own, `note` writes down what will be compared."""

    def __init__(self, place: Place, root: str) -> None:
        self.place, self.root = place, root
        self.notes: list[str] = []
        place.make(root)
        stat = place.other.exists(root)
        assert stat is not None
        self._base = stat.czxid
        self._lock = threading.Lock()

    def note(self, what: str, *values: Any) -> None:
        with self._lock:
            self.notes.append(f"{what}: " + ", ".join(repr(self.plain(value)) for value in values))

    def attempt(self, what: str, call: Callable[[], Any], errors: type[BaseException]) -> None:
        """Note down what a call gives: its value or its error."""
        try:
            self.note(what, call())
        except errors as error:
            self.note(f"{what} fails", type(error).__name__)

    def plain(self, value: Any) -> Any:
        """A value without what must differ: times, session ids, and zxids but for their distance from the root's."""
        if hasattr(value, "czxid"):
            return self.stat(value)
        if isinstance(value, str):
            return re.sub(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "GUID", value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return f"{type(value).__name__}{tuple(self.plain(one) for one in value)!r}"
        if isinstance(value, (tuple, list)):
            return type(value)(self.plain(one) for one in value)
        return value

    def stat(self, stat: Any) -> str:
        times = (stat.czxid, stat.mzxid, stat.pzxid)
        zxids = [zxid - self._base if zxid >= self._base else "before" for zxid in times]
        counts = [stat.version, stat.cversion, stat.aversion, stat.dataLength, stat.numChildren]
        return f"zxids {zxids} counts {counts} owned {stat.ephemeralOwner != 0} sane {0 < stat.ctime <= stat.mtime}"

    def events(self) -> Events:
        return Events(self)

    def in_background(self, call: Callable[[], Any]) -> Background:
        return Background(call)


class Events:
    """What watchers are told, in order: give `put` to them, and `note` as many as must come."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._queue: queue.Queue[Any] = queue.Queue()

    def put(self, *told: Any) -> None:
        self._queue.put(told[0] if len(told) == 1 else told)

    def next(self) -> Any:
        return self._queue.get(timeout=PATIENCE)

    def note(self, what: str, count: int = 1, *, ordered: bool = True) -> None:
        told = [self._trial.plain(self.next()) for _ in range(count)]
        self._trial.note(what, told if ordered else sorted(told, key=repr))

    def until(self, wanted: Any) -> None:
        """Pass over what is told until it is `wanted`: where it is chance how often somebody looks."""
        while self.next() != wanted:
            pass

    def rest(self, what: str = "nothing else is told") -> None:
        """Note down what has come beyond that; something slower than any event should come before."""
        left = []
        with contextlib.suppress(queue.Empty):
            while True:
                left.append(self._trial.plain(self._queue.get_nowait()))
        self._trial.note(what, left)


class Background:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            self._value = call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise TimeoutError("a call in the background does not end")
        if self._error is not None:
            raise self._error
        return self._value


@dataclass(frozen=True)
class Scenario:
    """`run` takes a `Trial`; whatever it raises means that it is broken, on whichever server."""

    client: str
    name: str
    run: Callable[[Trial], None]


class Book(list[Scenario]):
    """The scenarios of one client: `@book` before a function adds it, by the name of the function."""

    def __init__(self, client: str) -> None:
        super().__init__()
        self.client = client

    def __call__(self, run: Callable[[Trial], None]) -> Callable[[Trial], None]:
        self.append(Scenario(self.client, run.__name__.strip("_").replace("_", "-"), run))
        return run


@dataclass
class Outcome:
    """What became of a scenario: the notes of each place by name, or how it broke."""

    scenario: Scenario
    notes: dict[str, list[str]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        if self.broken:
            return "broken on " + " and ".join(sorted(self.broken))
        first, *others = self.notes.values()
        if not first or not others:
            return "broken: it notes nothing, or not on two servers"
        return "same" if all(one == first for one in others) else "different"

    def explain(self) -> str:
        """How the two differ."""
        if self.broken:
            return "\n".join(f"{name}: {text}" for name, text in self.broken.items())
        (name, first), (other, second) = self.notes.items()
        return "\n".join(difflib.unified_diff(first, second, name, other, n=1, lineterm=""))


def run_on(places: dict[str, Place], scenario: Scenario) -> Outcome:
    """Run a scenario on all places at the same time."""
    outcome = Outcome(scenario)

    def run(name: str, place: Place) -> None:
        root = f"/{scenario.client}-{scenario.name}".replace(" ", "-")
        notes: list[str] = []
        try:
            place.settle()
            trial = Trial(place, root)
            notes = trial.notes
            scenario.run(trial)
            place.proxy.heal()
            place.clear(root)
        except Exception:
            said = "".join(f"\n    {line}" for line in notes)
            outcome.broken[name] = traceback.format_exc() + f"  had noted:{said}"
        outcome.notes[name] = notes

    threads = [threading.Thread(target=run, args=item) for item in places.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.notes = {name: outcome.notes[name] for name in places}
    return outcome


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Client, scenario, verdict and how many values were compared, one line each."""
    for one in outcomes:
        compared = min(map(len, one.notes.values()), default=0)
        yield f"{one.scenario.client:<10} {one.scenario.name:<32} {compared:>4} notes  {one.seconds:>5.1f} s  {one.verdict}"
