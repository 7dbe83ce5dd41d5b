"""Carries out what a core decides, on either front of zkwire.

Owns the way from a core to ZooKeeper and back: operations, watches, session states, timers, all on one executor in
wire order. Nothing of a core's waits for a connection: without one, it fails at once, known not to have been sent, and
the core decides anew. Where the client takes no more requests for now (`max_pending`), operations wait here for others
of the same core; the first is never refused, so that a core comes on whatever others do. Cores that share a `Window`
have so many operations under way together, and take turns; one without goes first. Must not know what the cores decide.
The executor is a `Dispatcher` (a thread) or an event loop.

Where many nodes are to be read without a watch, they are read together (`MultiRead`): for the server, and for the line,
that is one request. How many go into one depends on how much data such nodes have turned out to have. So it is with
lists of children.
"""

from __future__ import annotations

from collections import defaultdict, deque
from time import monotonic
from typing import Any, Callable, DefaultDict, Deque, List, Optional, Protocol, Set, Tuple

from ._zkwire import KazooState, KeeperState, WatchedEvent, errors, ops

#: So many operations are under way at a time, of all cores that share a window, or of one that has none.
WINDOW = 4000
#: At most so many reads go together, with so many bytes of data and so many of paths; so many at least, which is how it
#: begins; and so many such requests are under way at a time.
TOGETHER, TOGETHER_BYTES, PATHS_BYTES = 128, 64 * 1024, 64 * 1024
LEAST, AT_ONCE = 16, 8
#: Seconds until a client that has let a request wait in vain is asked again whether it is at its end.
LOOK_AGAIN = 1.0
#: The states in which there will never be a session again.
ENDED = (KeeperState.AUTH_FAILED, KeeperState.CLOSED)


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

    def ended(self, error: Exception, now: float) -> None:
        """There will be no connection any more, for this cause."""

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


class ZooKeeperFront(Protocol):
    """What is needed of a client of either front of zkwire."""

    @property
    def state(self) -> str:
        """CONNECTED, SUSPENDED or LOST."""

    @property
    def client_state(self) -> str:
        """The finer state, a `KeeperState`."""

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Id and password of the session, or None."""

    def add_listener(self, listener: Callable[[str], object]) -> None:
        """Call it with each new state."""

    def remove_listener(self, listener: Callable[[str], object]) -> None:
        """Call it no more."""

    def submit(self, op: Any, then: Any = None, *, force: bool = False) -> Any:
        """Send an operation; a future for its result."""


class Window:
    """How many operations of several cores are under way together; those that wait take turns, one operation each."""

    def __init__(self, size: int = WINDOW) -> None:
        self._free = size
        self._waiting: Deque[Runner] = deque()
        self._granted: Set[Runner] = set()

    def take(self, runner: Runner) -> bool:
        """Whether there is room; if not, `runner.wake` is called once there is."""
        if runner in self._granted:
            self._granted.discard(runner)
            return True
        if self._free:
            self._free -= 1
            return True
        if runner not in self._waiting:
            self._waiting.append(runner)
        return False

    def give(self) -> None:
        """One operation is done: the room is for the one that has waited longest, whoever asks before its turn."""
        if self._waiting:
            runner = self._waiting.popleft()
            self._granted.add(runner)
            runner.wake()
        else:
            self._free += 1

    def give_unused(self, runner: Runner) -> None:
        """Its turn is over: room that it has not used is for others."""
        if runner in self._granted:
            self._granted.discard(runner)
            self.give()


class Reads:
    """How many nodes, or lists of children, are read together, and what comes of it."""

    def __init__(self) -> None:
        self._largest: Optional[int] = None  # the most data that a node had, in bytes; None before the first answer
        self._alone = False  # whether reading together has failed, so that it is not done any more
        self._under_way = 0

    @staticmethod
    def suits(op: Any) -> bool:
        """Whether this operation may be read together with others."""
        return type(op) in (ops.GetData, ops.GetChildren) and op.watch is None

    def room(self, op: Any) -> int:
        """How many reads like this one may go together now; 0 if they have to wait for those under way."""
        if self._alone:
            return 1
        if self._under_way >= (AT_ONCE if self._largest is not None else 1):
            return 0
        if self._largest is None:
            return LEAST
        by_bytes = min(TOGETHER_BYTES // (self._largest + 1), PATHS_BYTES // len(op.path))
        return min(TOGETHER, by_bytes) if by_bytes >= LEAST else 1

    def sent(self, op: Any) -> None:
        """A request has been sent."""
        self._under_way += type(op) is ops.MultiRead

    def answered(self, outcome: Any, count: int) -> List[Any]:
        """The outcomes of `count` operations that went together."""
        if count == 1:
            return [outcome]
        self._under_way -= 1
        if isinstance(outcome, Exception):
            return self.refused(outcome, count)
        sizes = [_size(one) for one in outcome if not isinstance(one, Exception)]
        self._largest = max([*sizes, self._largest or 0])
        return list(outcome)

    def refused(self, error: Exception, count: int) -> List[Any]:
        """The outcomes if all of it failed: nobody can say because of which node, so all is read anew, one by one."""
        if count > 1 and not isinstance(error, errors.ConnectionLoss):
            self._alone = True
            if isinstance(error, (errors.ProtocolError, errors.UnimplementedError)):
                error = errors.ConnectionLoss(f"reading together: {error}")
        return [error] * count


def _size(outcome: Any) -> int:
    """Of the data of a node, or of a list of names, in bytes, as far as that matters."""
    if isinstance(outcome, list):
        return sum(map(len, outcome)) + 4 * len(outcome)
    return len(outcome[0] or b"")  # null counts as empty


class Runner:
    """Runs one core; `outcome` is called on the executor whenever the core may have something to say."""

    def __init__(
        self, zk: ZooKeeperFront, executor: Executor, outcome: Callable[[], None], window: Optional[Window] = None
    ) -> None:  # fmt: skip
        self._zk, self._executor, self._outcome = zk, executor, outcome
        self._window = window if window is not None else Window()
        self._core: Optional[Core] = None
        self._backlog: Deque[Tuple[Any, Any]] = deque()
        self._under_way: Set[Any] = set()
        self._sent: Set[Any] = set()  # those of them that could not be taken back
        self._reads: DefaultDict[type, Reads] = defaultdict(Reads)  # by the kind of operation
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
        self._executor.call(self._put_away)

    def tell(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a method of the core with these arguments and the time, on the executor."""
        self._executor.call(self._tell, function, arguments)

    # -------------------------------------------------------------- on the executor

    def _tell(self, function: Callable[..., None], arguments: Tuple[Any, ...]) -> None:
        if self._core is not None:
            function(*arguments, monotonic())
            self.pump()

    def _begin(self) -> None:
        self._state(self._zk.state)  # as it is now: what the listener has heard since comes behind

    def _state(self, state: str) -> None:
        self._connected = state == KazooState.CONNECTED
        if not self._connected:
            for future in list(self._under_way):
                # What was sent on the lost connection has failed by now; this takes back what waits to be sent. Where
                # this is heard late, there is another connection already: what was sent on that has an unknown outcome.
                if not future.cancel():
                    self._sent.add(future)
        core = self._core
        if core is not None:
            client_id = self._zk.client_id if self._connected else None
            read_only = self._zk.client_state == KeeperState.CONNECTED_RO
            core.session(client_id[0] if client_id else None, monotonic(), read_only)
            self.pump()

    def end(self, error: Exception) -> None:
        """There will never be a session again, for this cause."""
        core = self._core
        if core is not None:
            core.ended(error, monotonic())
            self.pump()

    def _watched(self, event: WatchedEvent) -> None:
        core = self._core  # which another thread may take away
        if core is not None:
            core.watched(event, monotonic())
            self.pump()

    def _done(self, keys: List[Any], reads: Reads, future: Any) -> None:
        self._under_way.discard(future)
        self._window.give()
        error = _lost(future in self._sent) if future.cancelled() else future.exception()
        self._sent.discard(future)
        outcome = error if error is not None else future.result()
        self._answered(keys, reads.answered(outcome, len(keys)))

    def _answered(self, keys: List[Any], outcomes: List[Any]) -> None:
        for key, outcome in zip(keys, outcomes):
            core = self._core  # which another thread may take away
            if core is not None:
                core.answered(key, outcome, monotonic())
        if self._core is not None:
            self.pump()

    def _timed_out(self) -> None:
        self._timer = self._timer_at = None
        core = self._core  # which another thread may take away
        if core is not None:
            core.timed_out(monotonic())
            self.pump()

    def wake(self) -> None:
        """There is room for an operation that waits."""
        self._executor.call(self._turn)

    def _turn(self) -> None:
        self.pump()
        self._window.give_unused(self)

    def pump(self) -> None:
        """Submit what the core wants, see to its deadline, and let its owner look."""
        core = self._core
        if core is None:
            return
        self._backlog += core.operations()
        while self._backlog:
            taken = self._take(core)
            if taken and not self._submit(taken):
                self._backlog.extendleft(reversed(taken))
                break
            if not taken and self._backlog:
                break  # it has to wait for reads that are under way
        deadline = core.deadline()
        if deadline != self._timer_at:
            self._cancel_timer()
            if deadline is not None:
                self._timer_at = deadline
                self._timer = self._executor.call_later(max(0.0, deadline - monotonic()), self._timed_out)
        self._outcome()

    def _take(self, core: Core) -> List[Tuple[Any, Any]]:
        """The next operation, or the next ones that can be read together; none if they have to wait."""
        taken: List[Tuple[Any, Any]] = []
        while self._backlog:
            key, op = self._backlog[0]
            if not core.current(key):
                self._backlog.popleft()
            elif not Reads.suits(op):
                return taken or [self._backlog.popleft()]
            elif len(taken) >= self._reads[type(op)].room(op) or (taken and type(op) is not type(taken[0][1])):
                break
            else:
                taken.append(self._backlog.popleft())
        while 1 < len(taken) < LEAST:
            self._backlog.appendleft(taken.pop())
        return taken

    def _submit(self, taken: List[Tuple[Any, Any]]) -> bool:
        """Submit these, or see to it that they fail; False if they have to wait for others."""
        keys = [key for key, _ in taken]
        if not self._connected:
            self._executor.call(self._answered, keys, [_lost(False)] * len(keys))
            return True
        if not self._window.take(self):
            return False
        reads = self._reads[type(taken[0][1])]
        op = taken[0][1] if len(taken) == 1 else ops.MultiRead([op for _, op in taken])
        first = not self._under_way
        try:
            # Given along, not added afterwards: an answer must never come behind an event that came after it.
            future = self._zk.submit(op, self._executor.on(lambda done: self._done(keys, reads, done)), force=first)
        except Exception as error:
            self._window.give()
            if isinstance(error, errors.TooManyPendingError) and not first:
                return False
            # refused at once: an outcome like any other
            self._executor.call(self._answered, keys, reads.refused(error, len(keys)))
            return True
        self._under_way.add(future)
        reads.sent(op)
        return True

    def _put_away(self) -> None:
        """Nothing more is done for a core that has been taken away, unless there is another one by now."""
        if self._core is None:
            self._backlog.clear()
            self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_at = None


class EndWatch:
    """Says when there will never be a session again, and why: `tell(error)` is called once, on the executor.

    Listeners hear LOST when a session has expired, and not once more when the client then comes to its end. So while
    there is no session, a request waits in the client: it is answered by the next session, or refused with the cause.
    """

    def __init__(self, zk: ZooKeeperFront, executor: Executor, tell: Callable[[Exception], object]) -> None:
        self._zk, self._executor, self._tell = zk, executor, tell
        self._listener = executor.on(self._look)
        self._asked = self._over = False

    def start(self) -> None:
        """Begin; call it once the client is started."""
        self._zk.add_listener(self._listener)
        if self._zk.state == KazooState.LOST:
            self._executor.call(self._look, KazooState.LOST)

    def stop(self) -> None:
        """Say nothing."""
        self._over = True
        self._zk.remove_listener(self._listener)

    def _look(self, state: str) -> None:
        if state != KazooState.LOST or self._asked or self._over:
            return
        self._asked = True
        try:
            self._zk.submit(ops.Exists("/"), self._executor.on(self._answered), force=True)
        except Exception as error:
            self._judge(error)

    def _answered(self, future: Any) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._judge(error)
        elif self._zk.state != KazooState.LOST:
            self._asked = False
        elif not self._over:  # a session that has not been announced may end so: nobody would hear LOST once more
            self._executor.call_later(LOOK_AGAIN, self._ask_again)

    def _judge(self, error: Exception) -> None:
        """It was refused: either that is the end, or it is asked again later, if there is still no session."""
        if not self._over and self._zk.client_state in ENDED:
            self._over = True
            self._tell(self._cause() or error)  # what the request has met on the way to the end is not its cause
        elif not self._over:
            self._executor.call_later(LOOK_AGAIN, self._ask_again)

    def _cause(self) -> Optional[Exception]:
        """What a client at its end refuses a request with."""
        try:
            self._zk.submit(ops.Exists("/"), self._executor.on(_forget), force=True)
        except Exception as error:
            return error
        return None

    def _ask_again(self) -> None:
        self._asked = False
        self._look(self._zk.state)


def _forget(future: Any) -> None:
    """Its outcome is of no interest."""
    if not future.cancelled():
        future.exception()


def _lost(sent: bool) -> errors.ConnectionLoss:
    return errors.ConnectionLoss("no connection to ZooKeeper", sent=sent)
