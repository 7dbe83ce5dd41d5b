"""What whoever follows directories is on its client: a core that runs, its first complete set, and its end.

Owns when it begins and ends, and that its watches are taken back from a session that goes on. Must not know what the
core tells.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Callable, List, Optional, Protocol

from ._zkwire import errors
from .membership import TRANSIENT
from .runner import Executor, Runner
from .values import WITH_A_SET, ClientClosedError


#: Seconds until a server that takes no more requests is asked again.
AGAIN = 1.0


class Owner(Protocol):
    """A client of discovery, as who follows something needs it."""

    zk: Any
    executor: Executor

    @property
    def end(self) -> Optional[Exception]:
        """Why there will never be a session again, or None."""

    def adopt(self, child: Any) -> None:
        """`child.end()` is to be called by the client's stop."""


class Following:
    """A core of `owner`, a client, that `runner` runs; `child` is who is told of the client's end by `owner`.

    `wait` is the number of seconds in which the first complete set may come without being missed; see `Instancer`.
    """

    def __init__(
        self, owner: Owner, runner: Runner, core: Any, take_back: Callable[[bool], List[Any]],
        wait: Optional[float],
    ) -> None:  # fmt: skip
        self._owner, self._runner, self._core, self._take_back = owner, runner, core, take_back
        self.wait = wait
        #: A future for the first complete set, once it has begun.
        self.first: Any = None
        #: When it was ended, or None.
        self.stopped: Optional[float] = None
        self._began = 0.0

    def begin(self, child: Any) -> Any:
        """Start to watch; a future for the first complete set."""
        self._began = monotonic()
        self.first = self._owner.zk.future()
        self.first.add_done_callback(_forget)
        self._owner.adopt(child)
        self._runner.start(self._core)
        end = self._owner.end
        if end is not None:  # or else it is told: it is one of the children now
            if self.wait is None:
                self.first.set_exception(end)
            self._owner.executor.call(self.told_end, end)
        return self.first

    def told_end(self, error: Exception) -> None:
        """There will never be a session again. On the executor."""
        self._runner.end(error)

    def settle(self, error: Optional[Exception], complete: bool = True) -> None:
        """An event was shown, with this trouble: it may be the first set. On the executor."""
        if self.first.done() or isinstance(error, TRANSIENT):
            return
        if error is not None and not isinstance(error, WITH_A_SET):
            self.first.set_exception(error)
        elif complete:
            self.first.set_result(None)

    def stale_since(self, known: Optional[float]) -> Optional[float]:
        """Since when what is shown may be out of date, by what the core knows."""
        if known is None and self.first is not None and not self.first.done():
            known = self._began  # nothing is known yet
        return known if known is not None else self.stopped

    def end(self, error: ClientClosedError) -> None:
        """Watch no more; the watches are taken back from a session that goes on."""
        self.stopped = monotonic()
        self._runner.stop()
        if self.first is not None and not self.first.done():
            self.first.set_exception(error)
        self._owner.executor.call(self._say_goodbye)

    def _say_goodbye(self) -> None:
        """On the executor, so that it comes behind whatever was asked for."""
        # Without a connection it is the client that must not set the watch again.
        for op in self._take_back(not self._owner.zk.connected):
            self._remove(op)

    def _remove(self, op: Any) -> None:
        try:
            self._owner.zk.submit(op, force=True).add_done_callback(lambda done: self._removed(op, done))
        except errors.ZookeeperError:
            pass  # no session, no watch

    def _removed(self, op: Any, future: Any) -> None:
        """The answer; a watch of which none came is set again on the next connection, or stays where it is."""
        error = None if future.cancelled() else future.exception()
        if isinstance(error, errors.ConnectionLoss):
            self._owner.executor.call(self._say_goodbye)
        elif isinstance(error, errors.ThrottledOpError):
            self._owner.executor.call_later(AGAIN, self._remove, op)


def _forget(future: Any) -> None:
    """How it ended is of no interest any more."""
    if not future.cancelled():
        future.exception()
