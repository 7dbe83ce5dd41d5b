"""Carries out what a core decides, on either front of zkwire.

Owns the way from a core to ZooKeeper and back: operations, watches, session states, timers, all on one executor in
wire order. Nothing of a core's waits for a connection: without one, it fails at once, known not to have been sent, and
the core decides anew. Where the client takes no more requests for now (`max_pending`), operations wait here for others
of the same core; the first is never refused, so that a core comes on whatever others do. Must not know what the cores
decide. The executor is a `Dispatcher` (a thread) or an event loop.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Callable, Deque, List, Optional, Protocol, Set, Tuple

from ._zkwire import KazooState, KeeperState, WatchedEvent, errors

#: So many operations of one core are under way at a time; the rest waits here.
WINDOW = 1000


class Core(Protocol):
    """What runs here."""

    def operations(self) -> List[Tuple[Any, Any]]:
        """(key, operation) to submit."""

    def current(self, key: Any) -> bool:
        """Whether the answer to `key` is still of interest."""

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`."""

    def session(self, session_id: Optional[int], now: float, read_only: bool = False) -> None:
        """The connection has come or gone; a server without a quorum is `read_only`."""

    def watched(self, event: WatchedEvent, now: float) -> None:
        """A watch has fired."""

    def answered(self, key: Any, outcome: Any, now: float) -> None:
        """An operation is done."""

    def timed_out(self, now: float) -> None:
        """Time has passed."""


class Executor(Protocol):
    """Where everything of one client of discovery runs."""

    def call(self, function: Callable[..., object], *arguments: Any) -> object:
        """Run it there, soon."""

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Any:
        """Run it there, later; the result has `cancel`."""

    def on(self, function: Callable[..., object]) -> Callable[..., None]:
        """A function that runs it there."""


class Runner:
    """Runs one core; `outcome` is called on the executor whenever the core may have something to say."""

    def __init__(self, zk: Any, executor: Executor, outcome: Callable[[], None]) -> None:
        self._zk, self._executor, self._outcome = zk, executor, outcome
        self._core: Optional[Core] = None
        self._backlog: Deque[Tuple[Any, Any]] = deque()
        self._under_way: Set[Any] = set()
        self._connected = False
        self._timer: Any = None
        self._timer_at: Optional[float] = None
        self._listener = executor.on(self._state)
        #: To be given to ZooKeeper as the watcher of everything the core watches.
        self.watcher = executor.on(self._watched)

    def start(self, core: Core) -> None:
        """Begin: the core hears of the connection there is, then of everything to come."""
        self._core = core
        self._zk.add_listener(self._listener)
        self._executor.call(self._begin)

    def stop(self) -> None:
        """The core hears nothing more."""
        self._core = None
        self._zk.remove_listener(self._listener)
        self._executor.call(self._cancel_timer)

    def tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a method of the core with these arguments and the time, on the executor."""
        self._executor.call(self._tell, function, arguments)

    # -------------------------------------------------------------- on the executor

    def _tell(self, function: Callable[..., None], arguments: Tuple[Any, ...]) -> None:
        if self._core is not None:
            function(*arguments, monotonic())
            self._pump()

    def _begin(self) -> None:
        self._state(self._zk.state)  # as it is now: what the listener has heard since comes behind

    def _state(self, state: str) -> None:
        self._connected = state == KazooState.CONNECTED
        if not self._connected:
            for future in list(self._under_way):
                future.cancel()  # what was sent has failed by now; this takes back what waits to be sent
        core = self._core
        if core is not None:
            client_id = self._zk.client_id if self._connected else None
            read_only = self._zk.client_state == KeeperState.CONNECTED_RO
            core.session(client_id[0] if client_id else None, monotonic(), read_only)
            self._pump()

    def _watched(self, event: WatchedEvent) -> None:
        core = self._core  # which another thread may take away
        if core is not None:
            core.watched(event, monotonic())
            self._pump()

    def _done(self, key: Any, future: Any) -> None:
        self._under_way.discard(future)
        error = _unsent() if future.cancelled() else future.exception()
        self._answered(key, error if error is not None else future.result())

    def _answered(self, key: Any, outcome: Any) -> None:
        core = self._core  # which another thread may take away
        if core is not None:
            core.answered(key, outcome, monotonic())
            self._pump()

    def _timed_out(self) -> None:
        self._timer = self._timer_at = None
        core = self._core  # which another thread may take away
        if core is not None:
            core.timed_out(monotonic())
            self._pump()

    def _pump(self) -> None:
        """Submit what the core wants, see to its deadline, and let its owner look."""
        core = self._core
        if core is None:
            return
        self._backlog += core.operations()
        while self._backlog and len(self._under_way) < WINDOW:
            key, op = self._backlog[0]
            if core.current(key) and not self._submit(key, op):
                break
            self._backlog.popleft()
        deadline = core.deadline()
        if deadline != self._timer_at:
            self._cancel_timer()
            if deadline is not None:
                self._timer_at = deadline
                self._timer = self._executor.call_later(max(0.0, deadline - monotonic()), self._timed_out)
        self._outcome()

    def _submit(self, key: Any, op: Any) -> bool:
        """Submit it, or see to it that it fails; False if it has to wait for another one of this core."""
        if not self._connected:
            self._executor.call(self._answered, key, _unsent())
            return True
        first = not self._under_way
        try:
            # Given along, not added afterwards: an answer must never come behind an event that came after it.
            future = self._zk.submit(op, self._executor.on(lambda done: self._done(key, done)), force=first)
        except Exception as error:
            if isinstance(error, errors.TooManyPendingError) and not first:
                return False
            self._executor.call(self._answered, key, error)  # refused at once: an outcome like any other
            return True
        self._under_way.add(future)
        return True

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_at = None


def _unsent() -> errors.ConnectionLoss:
    return errors.ConnectionLoss("no connection to ZooKeeper", sent=False)
