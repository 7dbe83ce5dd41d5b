"""A thread that makes a check at an interval, and tells a gate what came of it.

Owns when a check is made, and what counts as its result. Must not know what is checked. Rules:

1. Checks never overlap. The interval is from one beginning to the next; a check that takes longer delays the next one.
2. A check that has said nothing by its time-out has failed, whatever it waits for: a name server, for example, that
   nobody can hurry. Until it comes back no other one is made, and each interval counts as another failure.
3. Whatever a check raises is a failure. The gate is told with no lock held.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Callable, NamedTuple, Optional

from .checks import CheckFailed, HealthCheck
from .gate import Gate

#: Seconds that a check gets beyond its time-out to say itself why it has failed.
GRACE = 0.1
#: Seconds that `stop` waits for a check that is under way.
LEAVE = 1.0


def _nothing() -> None:
    """What a check does to hurry, if it has no `cancel`."""


class Result(NamedTuple):
    """What came of a check: why it failed or None, and the seconds it took."""

    reason: Optional[str]
    seconds: float


class Prober:
    """Checks every `interval` seconds, each time for at most `timeout` seconds, and tells `gate`.

    `check(seconds)` is what `parse_check` gives, or any callable that raises if the instance is not well. On the
    prober's thread `told(result)` hears of each `Result`. `ValueError` for times that are not positive.
    """

    def __init__(
        self, check: HealthCheck, gate: Gate, interval: float = 1.0, timeout: float = 1.0,
        told: Callable[[Result], object] = lambda result: None,
    ) -> None:  # fmt: skip
        for name, seconds in (("interval", interval), ("timeout", timeout)):
            if not 0 < seconds < threading.TIMEOUT_MAX:
                raise ValueError(f"invalid {name} {seconds!r}: seconds, more than 0")
        if not callable(check):
            raise TypeError(f"a check is called with the seconds it may take, which {check!r} cannot be")
        self._check, self._gate, self._told = check, gate, told
        self._interval, self._timeout = interval, timeout
        self._stopped = threading.Event()
        self._orders: SimpleQueue[bool] = SimpleQueue()  # True for a check, False for the end
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"zkdisco {name}", daemon=True)
            for name, target in (("prober", self._run), ("check", self._serve))
        ]

    def start(self) -> None:
        """Begin, with a check at once. Never blocks. Once only: `RuntimeError` the second time."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Check no more; the gate stays as it is. Waits at most 1 s for a check that is under way. May be repeated."""
        self._stopped.set()
        self._orders.put(False)
        getattr(self._check, "cancel", _nothing)()
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(LEAVE)

    # ---------------------------------------------------------------- the prober's thread

    def _run(self) -> None:
        under_way = False
        while not self._stopped.is_set():
            began = monotonic()
            if under_way and self._next(0.0) is not None:  # it has failed already, whatever it says by now
                under_way = False
            result = None
            if not under_way:
                self._orders.put(True)
                result = self._next(self._timeout + GRACE)
                under_way = result is None
            if result is None or (result.reason is None and result.seconds > self._timeout):
                result = Result(f"{self._check}: not done within {self._timeout:g} s", monotonic() - began)
            if self._stopped.is_set():
                return
            self._tell(result)
            self._stopped.wait(max(0.0, began + self._interval - monotonic()))

    def _next(self, seconds: float) -> Optional[Result]:
        """What came of the check that is under way, or None if it is not known by then."""
        try:
            return self._results.get(seconds > 0, seconds)
        except Empty:
            return None

    def _tell(self, result: Result) -> None:
        if result.reason is None:
            self._gate.passed(monotonic())
        else:
            self._gate.failed(result.reason, monotonic())
        self._told(result)

    # ---------------------------------------------------------------- the check's thread

    def _serve(self) -> None:
        while self._orders.get():
            began = monotonic()
            try:
                self._check(self._timeout)
                reason = None
            except CheckFailed as error:
                reason = str(error)
            except BaseException as error:  # SystemExit too: without this thread nothing would be checked any more
                reason = f"{type(error).__name__}: {error}"
            self._results.put(Result(reason, monotonic() - began))
