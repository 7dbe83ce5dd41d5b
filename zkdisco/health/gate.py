"""Whether an instance is to be listed: open or shut, by the results of a check, and by hand.

Owns how many results it takes to turn, the pause, and the reason. Must not know what is checked, nor sockets, threads
or clocks: results come in, with their times. Rules:

1. A gate that is shut opens with `rise` passed checks in a row, one that is open shuts with `fall` failed ones in a
   row. Nothing else turns it, but for the pause.
2. It begins shut, unless it is told to begin open: what has not been checked is not listed.
3. A pause shuts it at once, whatever the checks say, and they go on: when the pause is over, it is what they say.
4. The reason is the cause: the pause, or else why the newest check failed; while checks pass again, why the last one
   that counted had failed.
"""

from __future__ import annotations

from typing import Callable, List, NamedTuple, Optional

#: The reason before the first check.
UNCHECKED = "no check has passed yet"
#: The reason of a pause that was given none.
PAUSED = "paused"


class Verdict(NamedTuple):
    """What the checks say: `failing` is the reason or None, `row` counts results in a row that speak against it."""

    failing: Optional[str]
    row: int = 0


class Gate:
    """Opens after `rise` passed checks in a row, shuts after `fall` failed ones. It begins shut, or else `begin_open`.

    Results come from one thread, by `passed` and `failed`; `pause` and `resume` may be called by another one. `shut`
    may be read anywhere. `ValueError` for counts below 1.
    """

    def __init__(self, rise: int = 2, fall: int = 3, *, begin_open: bool = False) -> None:
        for name, count in (("rise", rise), ("fall", fall)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"invalid {name} {count!r}: a number of checks, at least 1")
        self._rise, self._fall = rise, fall
        self._verdict = Verdict(None if begin_open else UNCHECKED)
        self._paused: Optional[str] = None
        self._told: Optional[str] = self.shut
        self._since: Optional[float] = None
        self._observers: List[Callable[[], object]] = []

    # -------------------------------------------------------------------------- out

    @property
    def shut(self) -> Optional[str]:
        """Why it is shut, or None: it is open."""
        paused = self._paused
        return paused if paused is not None else self._verdict.failing

    @property
    def failing(self) -> Optional[str]:
        """What the checks say, whether there is a pause or not: why it would be shut, or None."""
        return self._verdict.failing

    @property
    def paused(self) -> Optional[str]:
        """Why there is a pause, or None."""
        return self._paused

    @property
    def since(self) -> Optional[float]:
        """When it opened or shut last, in the time that was given with the results; None if it never did."""
        return self._since

    def observe(self, turned: Callable[[], object]) -> None:
        """Call `turned()` whenever `shut` is another one: on the thread that has brought that about, so be short."""
        self._observers.append(turned)

    # --------------------------------------------------------------------------- in

    def passed(self, now: float) -> None:
        """A check has passed."""
        failing, row = self._verdict
        if failing is None or row + 1 >= self._rise:
            self._verdict = Verdict(None)
        else:
            self._verdict = Verdict(failing, row + 1)
        self._look(now)

    def failed(self, reason: str, now: float) -> None:
        """A check has failed, for this reason."""
        failing, row = self._verdict
        if failing is not None or row + 1 >= self._fall:
            self._verdict = Verdict(reason)
        else:
            self._verdict = Verdict(None, row + 1)
        self._look(now)

    def pause(self, reason: str, now: float) -> None:
        """Be shut until `resume`."""
        self._paused = reason or PAUSED
        self._look(now)

    def resume(self, now: float) -> None:
        """The pause is over."""
        self._paused = None
        self._look(now)

    def _look(self, now: float) -> None:
        """Tell of a turn; again, if another thread has turned it meanwhile."""
        while True:
            told, shut = self._told, self.shut
            if shut == told:
                return
            self._told = shut
            if (shut is None) != (told is None):
                self._since = now
            for turned in self._observers:
                turned()
