"""Which endpoints are left out for a while, because calls of them have failed.

Owns who is out, until when, and how it comes back. Must not know calls, clocks or chance: `now` is an argument. Rules:

1. `threshold` failures in a row put an endpoint out, for `pause` seconds and a random part of that less.
2. Then one call goes to it, the *probe*. If that is a success, it is in again. If it fails, it is out for twice as
   long, up to `longest`. Nothing else goes to it until the probe is reported, or is taken for lost after `pause`.
3. If more than `share` of all would be out, none is: that is no fault of theirs, and the rest could not bear the load.

What others do. Curator's `DownInstancePolicy` (curator-x-discovery) counts errors for 30 s from the first, whatever
succeeds in between, puts an instance out at the second, lets all traffic in again when the 30 s are over, and gives
null when all are out. `Ejection(2, pause=30, window=30)` is the nearest to it. Finagle's failure accrual
(com.twitter.finagle.liveness) has rules 1 and 2 as here, with 5 failures and 5 to 300 s, for each endpoint by itself.
Rule 3 is Envoy's panic threshold of 50 %; Envoy's outlier detection by itself puts out 10 % at most.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Tuple


class _Record:
    """Of an endpoint that has failed: how often in a row; if it is out, until when; when its probe counts as lost."""

    def __init__(self, now: float, pause: float) -> None:
        self.failures, self.first, self.pause = 0, now, pause
        self.until: Optional[float] = None
        self.probe_lost_at: Optional[float] = None

    def is_out(self, now: float) -> bool:
        """Whether nothing may go to it."""
        if self.until is None:
            return False
        return now < self.until or (self.probe_lost_at is not None and now < self.probe_lost_at)


class Ejection:
    """`threshold` failures, seconds of `pause` and `longest`, a `share` of 1; see the rules above.

    With `window`, failures count for so many seconds from the first. With `slow`, a call that takes longer than so many
    seconds has failed. `threshold` 0 ejects nobody. `ValueError` for what can be no such number.
    """

    def __init__(
        self, threshold: int = 5, *, pause: float = 5.0, longest: float = 300.0, share: float = 0.5,
        window: Optional[float] = None, slow: Optional[float] = None,
    ) -> None:  # fmt: skip
        if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 0:
            raise ValueError(f"invalid threshold {threshold!r}: a number of failures, 0 for never")
        if not 0 <= share < 1:
            raise ValueError(f"invalid share {share!r}: a number from 0.0, and less than 1.0")
        for what, seconds in (("pause", pause), ("longest", longest), ("window", window), ("slow", slow)):
            if seconds is not None and not 0 < seconds < float("inf"):
                raise ValueError(f"invalid {what} {seconds!r}: seconds, more than 0")
        self._threshold, self._pause, self._longest = threshold, pause, max(pause, longest)
        self._share, self._window, self._slow = share, window, slow
        self._records: Dict[Any, _Record] = {}
        self._taken = False

    def take(self) -> Ejection:
        """Itself, for its one user. `ValueError` if it has one."""
        if self._taken:
            raise ValueError("an Ejection remembers what was reported: each balancer needs its own")
        self._taken = True
        return self

    def keep(self, endpoints: Tuple[Any, ...]) -> None:
        """These are all: forget what is known of others."""
        if self._records:
            there = set(endpoints)
            self._records = {one: record for one, record in self._records.items() if one in there}

    def live(self, endpoints: Tuple[Any, ...], now: float) -> Tuple[Any, ...]:
        """Those that may be called; the same tuple if that is all of them."""
        out = {endpoint for endpoint, record in self._records.items() if record.is_out(now)}
        if not out or len(out) > self._share * len(endpoints):
            return endpoints
        return tuple(endpoint for endpoint in endpoints if endpoint not in out)

    def deadline(self, now: float) -> Optional[float]:
        """When `live` may be others because time has passed, or None."""
        times = [time for one in self._records.values() for time in (one.until, one.probe_lost_at)]
        return min((time for time in times if time is not None and time > now), default=None)

    def chosen(self, endpoint: Any, now: float) -> bool:
        """It is called; whether `live` has changed."""
        record = self._records.get(endpoint)
        if record is None or record.until is None or record.is_out(now):
            return False
        record.probe_lost_at = now + record.pause
        return True

    def report(
        self, endpoint: Any, error: Optional[BaseException], seconds: float, now: float, random: Callable[[], float]
    ) -> bool:  # fmt: skip
        """A call of it has ended; whether `live` has changed."""
        record = self._records.get(endpoint)
        if error is not None and not isinstance(error, Exception):
            if record is not None and record.probe_lost_at is not None:
                record.probe_lost_at = None  # another call may be the probe
                return True
            return False
        if error is None and (self._slow is None or seconds <= self._slow):
            return self._succeeded(endpoint, record, now)
        if not self._threshold:
            return False
        if record is None:
            record = self._records[endpoint] = _Record(now, self._pause)
        return self._failed(record, now, random)

    def _succeeded(self, endpoint: Any, record: Optional[_Record], now: float) -> bool:
        if record is None or (record.until is not None and now < record.until):
            return False  # or it was called before it was put out: that is no probe
        del self._records[endpoint]
        return record.until is not None

    def _failed(self, record: _Record, now: float, random: Callable[[], float]) -> bool:
        if record.until is None:
            if self._window is not None and now - record.first > self._window:
                record.failures, record.first = 0, now
            record.failures += 1
            if record.failures < self._threshold:
                return False
        elif now < record.until:
            return False
        else:
            record.pause = min(record.pause * 2, self._longest)
        record.until, record.probe_lost_at = now + record.pause * (1 - random() / 2), None
        return True
