"""The I/O thread of the blocking front: it dials, keeps the deadlines, and reads when no caller reads.

Owns the times of all this, and the work that other threads must not do themselves: log lines, requests of signal
handlers, further attempts to start a thread. Must not know verbs, nor what callers wait for. How it works:

- While calls are made one after the other, callers read the socket, and this thread stays off it. It checks now and
  then whether the calls have stopped, more rarely the longer they last, and then reads itself. It does not poll for
  the end of a long call: that call's thread wakes it.
- No user code runs here except log handlers, and those only while the system gives the dispatcher no thread.
"""

from __future__ import annotations

import functools
import threading
from _thread import allocate_lock, get_ident
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple

from ..errors import ConnectionClosedError, TLSError
from ..session.actions import StateChanged
from ..session.auth import Login
from ..session.link import Link
from ..session.session import ENDED, Session
from .attempts import begin
from .coalescing import MOMENT
from .dialer import READ, WRITE, Address, Resolver, Waker, failure, wait_for
from .dispatch import Dispatcher, Unstarted
from .process import now
from .sockets import DEBUG, ERROR, Sockets
from .turns import Turns

if TYPE_CHECKING:
    import logging

    from .attempts import AnyAttempt
    from .four_letter import FourLetterCall
    from .sockets import Wire

#: After a caller was seen reading, this thread stays off the socket for this many seconds, growing to the longer time
#: while calls continue. A longer time delays an event that follows a call; a shorter one wakes the thread more often
#: for nothing.
SHORTEST_GRACE, LONGEST_GRACE = 0.005, 0.04
#: The longest time for a woken caller to read, in seconds; after that this thread reads itself.
LATER = 1.0
#: The pause between two attempts at work that may be delayed a little, in seconds.
PAUSE = 0.1


class IoThread:
    """The thread, and the objects it shares with callers: `sockets`, `turns`, `dispatcher`."""

    def __init__(
        self, session: Session, on_state: Callable[[StateChanged], None], logger: logging.Logger, name: str,
        ssl_context: Any,
    ) -> None:  # fmt: skip
        waker = Waker()
        #: The dispatchers that the system gave no thread.
        self.unstarted = Unstarted(waker.wake)
        self.dispatcher = Dispatcher(logger, f"{name} dispatch", self.unstarted.add)
        self.sockets = Sockets(session, self.dispatcher, on_state, waker)
        self.turns = Turns(waker)
        #: Calls SASL mechanisms, on a thread that lives as long as a call: a login does not wait for watchers.
        self._logins = Dispatcher(logger, f"{name} login", self.unstarted.add)
        self._logins.end(0.0)
        #: Set without a lock, possibly by a signal handler; wake the thread afterwards.
        self.close_requested = False
        self.four_letter_calls: Set[FourLetterCall] = set()
        self.ident: Optional[int] = None
        self._session, self._waker, self._logger, self._ssl_context = session, waker, logger, ssl_context
        self._name = f"{name} I/O"
        self._resolver = Resolver(waker.wake)
        self._attempts: Dict[Link, AnyAttempt] = {}
        self._later: Deque[Callable[[], object]] = deque()
        self._starting = allocate_lock()  # held from the first start on
        self._thread: Optional[threading.Thread] = None
        self._leads_seen, self._grace = 0, SHORTEST_GRACE
        #: Wires to be closed, with the numbers of turns and receipts at the time they were retired.
        self._retired: Deque[Tuple[Wire, int, int]] = deque()

    # ---------------------------------------------------------------------- for callers

    def start(self) -> None:
        """Start the thread, once. `RuntimeError` if the system gives none."""
        if self._starting.acquire(False):
            try:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
            except BaseException:
                self._starting.release()
                raise

    def later(self, function: Callable[[], object]) -> None:
        """Have the thread call this under the lock, soon. May be called anywhere."""
        self._later.append(function)
        self._waker.wake()

    def _take_step(self, link: Link, step: Callable[[Any], Optional[bytes]], argument: Any) -> None:
        outcome = Login.take(step, argument)
        self.later(lambda: self._session.proved(link, outcome, now()))

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, unless called on it; if it never ran, do its final work here."""
        thread = self._thread
        if thread is not None:
            if get_ident() != self.ident:
                thread.join(timeout)
        elif self._starting.acquire(False):  # from now on no thread can be started
            self._clean_up()

    def disown(self) -> None:
        """In the child of a fork: close the descriptors."""
        self.sockets.disown()
        self.turns.disown()
        for one, _, _ in self._retired:
            one.sock.close()
        for attempt in self._attempts.values():
            attempt.give_up()

    # ------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        self.ident = get_ident()
        self.turns.inside.add(self.ident)
        try:
            while self._session.phase != ENDED:
                self._turn()
        except Exception as error:
            self._failed(error)
        finally:
            self._clean_up()
            self.turns.inside.discard(self.ident)

    def _failed(self, error: Exception) -> None:
        self._logger.exception("the I/O thread of a ZooKeeper client has failed; please report this")
        with self.sockets.lock:  # without the thread no call would get its outcome
            self._session.abort(f"the client's I/O thread has failed: {error!r}")
            while self._session.queued or self.sockets.todo:
                try:
                    self.sockets.perform()
                except Exception:
                    import traceback  # only here: it takes as long to import as all of the session core

                    self.sockets.lines.append((ERROR, "and what follows from it: %s", (traceback.format_exc(),)))

    def _turn(self) -> None:
        reads, limit = self._look()
        ready = self._sleep(reads, limit)
        self._do_requests()
        self._connect()
        self._read(ready)
        self._close_retired()
        self._keep_time()
        self.turns.pass_on()
        self.unstarted.retry()
        self._write_log()

    def _look(self) -> Tuple[bool, Optional[float]]:
        """Whether to read the session's socket; else the time to the next check, in seconds (None: until woken)."""
        turns, sockets = self.turns, self.sockets
        if self.close_requested:
            return True, None
        if turns.leads != self._leads_seen:
            self._leads_seen = turns.leads
            grace, self._grace = self._grace, min(self._grace * 2, LONGEST_GRACE)
            return False, grace
        self._grace = SHORTEST_GRACE
        if turns.taken:
            turns.watched = True
            if turns.taken:  # a long call: its thread wakes this one at its end
                return False, None
        if sockets.gather:
            sockets.gather = False
            if not self._session.in_flight:  # or else replies are for callbacks, which may submit the next
                sleep(MOMENT)
        return True, None

    def _sleep(self, reads: bool, limit: Optional[float]) -> List[int]:
        """Wait for something to do, at most `limit` seconds; returns the ready descriptors."""
        sockets, wanted = self.sockets, [(self._waker.fileno(), READ)]
        with sockets.lock:
            times = [self._session.deadline()]
            for one in sockets.wires.values():
                mask = (READ if reads or one is not sockets.main else 0) | (WRITE if one.blocked else 0)
                if mask:
                    wanted.append((one.sock.fileno(), mask))
        for attempt in self._attempts.values():
            times.append(attempt.next_step)
            wanted += attempt.waiting_for
        at = [at - now() for at in times if at is not None]
        if limit is not None:
            at.append(limit)
        if self._retired or self.unstarted:
            at.append(PAUSE)
        ready = wait_for(max(0.0, min(at)) if at else None, *wanted)
        if self._waker.fileno() in ready:
            self._waker.drain()
        return ready

    def _do_requests(self) -> None:
        """Do the requests of threads that must not do them themselves, and pass on the steps of logins."""
        sockets = self.sockets
        while sockets.steps:
            self._logins.call(self._take_step, *sockets.steps.popleft())
        if self.close_requested or self._later:
            with sockets.lock:
                while self._later:
                    self._later.popleft()()
                if self.close_requested:
                    self._session.close(now())
                sockets.perform()

    def _connect(self) -> None:
        """Continue the attempts to connect: begin those the core wants, end those it has given up."""
        sockets, attempts = self.sockets, self._attempts
        with sockets.lock:
            wanted = [link for link in sockets.wanted if link not in sockets.wires]
        for link in [link for link in attempts if link not in wanted]:
            attempts.pop(link).give_up()
        for link in wanted:
            if link not in attempts:
                sockets.lines.append((DEBUG, "= connecting to %s", (link.host,)))
                order, tried = functools.partial(self._order, link), functools.partial(self._tried, link)
                attempts[link] = begin(link, self._resolver.look_up(link.host), self._ssl_context, order, tried)
        for link, attempt in list(attempts.items()):
            try:
                sock = attempt.step(now())
            except Exception as error:  # any other exception, as of a patched socket module, fails the attempt
                attempts.pop(link).give_up()
                reason = error if isinstance(error, TLSError) else str(failure(error))
                with sockets.lock:
                    if link in sockets.wanted:
                        sockets.lost(link, reason)
                continue
            if sock is not None:
                del attempts[link]
                with sockets.lock:
                    sockets.connected(link, sock, attempt.address)

    def _order(self, link: Link, addresses: Sequence[Address]) -> Sequence[Address]:
        with self.sockets.lock:
            return self._session.candidates(link, addresses)

    def _tried(self, link: Link, address: Address) -> None:
        with self.sockets.lock:
            self._session.tried(link, address)

    def _read(self, ready: Sequence[int]) -> None:
        """Read received bytes, unless a caller reads."""
        sockets, turns, me = self.sockets, self.turns, get_ident()
        with sockets.lock:
            wires = [one for one in sockets.wires.values() if one.fresh or one.sock.fileno() in ready]
        for one in wires:
            try:
                if one is not sockets.main or turns.take(me):
                    with sockets.lock:
                        if one.is_open:
                            sockets.receive(one)
            finally:
                turns.give_back(me)

    def _close_retired(self) -> None:
        """Close the retired sockets, once no caller can be in recv() on them: the shutdown has woken it."""
        sockets, turns, me = self.sockets, self.turns, get_ident()
        if sockets.retired:
            with sockets.lock:
                retired, sockets.retired = sockets.retired, []
            self._retired += [(one, turns.leads, sockets.receipts) for one in retired]
        try:
            while self._retired:
                one, leads, receipts = self._retired[0]
                if turns.leads == leads and sockets.receipts == receipts and not turns.take(me):
                    break  # the thread that had the turn at that time still has it
                self._retired.popleft()
                one.sock.close()
        finally:
            turns.give_back(me)

    def _keep_time(self) -> None:
        """Call `timed_out` if the deadline has come, after reading what has arrived."""
        sockets = self.sockets
        with sockets.lock:
            deadline = self._session.deadline()
        if deadline is not None and now() >= deadline:
            main = sockets.main
            if main is not None:
                self._read([main.sock.fileno()])
                self._let_lead(PAUSE if now() - deadline > PAUSE else 0.0)
            with sockets.lock:
                self._session.timed_out(now())
                sockets.perform()
        with sockets.lock:
            for one in list(sockets.wires.values()):
                sockets.flush(one)

    def _let_lead(self, grace: float) -> None:
        """If this thread is late, a leader may be later: woken by received bytes, but not running yet. Wait for it.

        Once recv() has taken the bytes, the socket no longer shows them: for `grace` seconds the socket is not asked.
        """
        sockets, receipts, began = self.sockets, self.sockets.receipts, monotonic()
        while self.turns.taken and receipts == sockets.receipts and monotonic() < began + LATER:
            with sockets.lock:
                main = sockets.main
                if main is None:
                    return
                if monotonic() >= began + grace and not wait_for(0, (main.sock.fileno(), READ)):
                    return
            wait_for(SHORTEST_GRACE, (self._waker.fileno(), READ))

    def _write_log(self) -> None:
        """Have log lines written on the dispatch thread: a log handler is user code, and may use this client."""
        lines, logger = self.sockets.lines, self._logger
        while lines:
            level, text, arguments = lines.popleft()
            if logger.isEnabledFor(level):
                if self.unstarted:  # the lines may explain why there is no thread
                    logger.log(level, text, *arguments)
                else:
                    self.dispatcher.call(logger.log, level, text, *arguments)

    def _clean_up(self) -> None:
        sockets, turns = self.sockets, self.turns
        self._do_requests()
        for attempt in self._attempts.values():
            attempt.give_up()
        self._attempts.clear()
        with sockets.lock:
            for link in list(sockets.wires):
                sockets.retire(link)
        while self.four_letter_calls:
            try:
                self.four_letter_calls.pop().give_up(ConnectionClosedError())
            except KeyError:  # its thread has removed it already
                break
        end = monotonic() + LATER
        while turns.taken and monotonic() < end:  # a caller may still be in recv(), woken by the shutdown
            wait_for(SHORTEST_GRACE)
        self._close_retired()
        for one, _, _ in self._retired:
            one.sock.close()
        self._write_log()
        self._waker.close()
        self.dispatcher.end(0.0)
