"""Threads that work on one thing for some seconds, over cuts of its connections, and what was found wrong. For programs."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Callable, List

from zkwire.embedded import EmbeddedServer

#: Seconds between two cuts.
CUTS = 0.05


class Trial:
    """One run. `wrong` has what went wrong, in any thread; `count` how much was done."""

    def __init__(self, seconds: float, cuts: bool) -> None:
        self.seconds, self.cuts = seconds, cuts
        self.wrong: List[str] = []
        self.count = 0
        self._lock = threading.Lock()
        self._end = 0.0
        threading.excepthook = lambda args: self.wrong.append(f"{args.thread}: {args.exc_value!r}")

    @property
    def over(self) -> bool:
        """Whether the seconds have passed."""
        return time.monotonic() >= self._end

    def run(self, server: EmbeddedServer, threads: int, work: Callable[[int], int], patience: float) -> None:
        """Call `work(number)` in each of the threads: it works until the trial is `over`, and returns how much it did.

        A thread that has not ended after `patience` seconds more hangs.
        """
        self._end = time.monotonic() + self.seconds
        working = [threading.Thread(target=self._guarded, args=(work, i), daemon=True) for i in range(threads)]
        for thread in working:
            thread.start()
        pause = threading.Event()
        while not self.over:
            pause.wait(CUTS)
            if self.cuts:
                server.cut()
        for thread in working:
            thread.join(patience)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} hangs")

    def _guarded(self, work: Callable[[int], int], number: int) -> None:
        try:
            done = work(number)
        except Exception:
            self.wrong.append(traceback.format_exc())
        else:
            with self._lock:
                self.count += done

    def tell(self) -> None:
        """Print what was wrong, and "done WRONG LOCK COUNT": LOCK is False on a CPython without the interpreter lock."""
        for text in self.wrong[:10]:
            print(text)
        print("done", len(self.wrong), getattr(sys, "_is_gil_enabled", lambda: True)(), self.count)
