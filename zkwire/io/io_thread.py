"""The blocking front's engine, as its own thread sees it: dial, keep the deadlines, read where no caller reads.

Owns what is done at which time, and what is done for threads that must not do it themselves: lines of the log, requests
of signal handlers, another attempt to start a thread. Must not know verbs, nor what callers wait for. How it works:

- While calls are made one after the other, callers read the socket, and this thread stays off it. It looks now and then
  whether that has ended, the more rarely the longer it lasts, and then reads itself. A call that takes long is not
  looked after: its thread says when it has ended.
- No user code runs here, but log handlers, and those only while the system gives no thread to the dispatcher.
"""

from __future__ import annotations

import functools
import threading
import traceback
from _thread import allocate_lock, get_ident
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, List, Optional, Sequence, Set, Tuple, Union

from ..errors import ConnectionClosedError, TLSError
from ..session.actions import StateChanged
from ..session.link import Link
from ..session.session import ENDED, Session
from .dialer import READ, WRITE, Address, Attempt, Resolver, SecureAttempt, Waker, begin, failure, wait_for
from .dispatch import Dispatcher, Unstarted
from .four_letter import Asking
from .process import now
from .sockets import DEBUG, ERROR, Sockets, Wire
from .turns import Turns

if TYPE_CHECKING:
    import logging

#: After a call was seen reading, this thread stays off the socket for so many seconds, and up to the longer time while
#: there are always more of them. The price of a longer time is a later event right after a call, that of a shorter one
#: a thread that wakes more often for nothing.
SHORTEST_GRACE, LONGEST_GRACE = 0.005, 0.04
#: A thread that was woken to read does so within this time, in seconds, or something is wrong with it.
LATER = 1.0
#: Between two attempts at what may go only a little later, in seconds.
PAUSE = 0.1


class IoThread:
    """The thread, and what it shares with callers: `sockets`, `turns`, `dispatcher`."""

    def __init__(
        self, session: Session, on_state: Callable[[StateChanged], None], logger: logging.Logger, name: str,
        ssl_context: Any,
    ) -> None:  # fmt: skip
        waker = Waker()
        #: Dispatchers that the system gave no thread.
        self.unstarted = Unstarted(waker.wake)
        self.dispatcher = Dispatcher(logger, f"{name} dispatch", self.unstarted.add)
        self.sockets = Sockets(session, self.dispatcher, on_state, waker)
        self.turns = Turns(waker)
        #: Set without a lock, by a signal handler perhaps; wake the thread afterwards.
        self.close_requested = False
        self.askings: Set[Asking] = set()
        self.ident: Optional[int] = None
        self._session, self._waker, self._logger, self._ssl_context = session, waker, logger, ssl_context
        self._name = f"{name} I/O"
        self._resolver = Resolver(waker.wake)
        self._attempts: Dict[Link, Union[Attempt, SecureAttempt]] = {}
        self._later: Deque[Callable[[], object]] = deque()
        self._starting = allocate_lock()  # held from the first start on
        self._thread: Optional[threading.Thread] = None
        self._leads_seen, self._grace = 0, SHORTEST_GRACE
        #: Wires to be closed, and how many turns and receipts there had been when they came here.
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
        """Have this called under the lock, soon. May itself be called anywhere."""
        self._later.append(function)
        self._waker.wake()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, unless called on it; where it never ran, do what it would have done then."""
        thread = self._thread
        if thread is not None:
            if get_ident() != self.ident:
                thread.join(timeout)
        elif self._starting.acquire(False):  # and no thread will be started any more
            self._clean_up()

    def disown(self) -> None:
        """In the child of a fork: drop the descriptors."""
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
        with self.sockets.lock:  # without the thread no call would ever be answered
            self._session.abort(f"the client's I/O thread has failed: {error!r}")
            while self._session.has_actions or self.sockets.todo:
                try:
                    self.sockets.perform()
                except Exception:
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
        """Whether to read the session's socket; else when to look again, in seconds (None: when a caller wakes it)."""
        turns = self.turns
        if self.close_requested:
            return True, None
        if turns.leads != self._leads_seen:
            self._leads_seen = turns.leads
            grace, self._grace = self._grace, min(self._grace * 2, LONGEST_GRACE)
            return False, grace
        self._grace = SHORTEST_GRACE
        if turns.taken:
            turns.watched = True
            if turns.taken:  # still: it is heard of when it ends
                return False, None
        return True, None

    def _sleep(self, reads: bool, limit: Optional[float]) -> List[int]:
        """Wait for something to do, at most `limit` seconds; the descriptors that are ready."""
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
        """What threads have asked for that could not do it themselves."""
        sockets = self.sockets
        if self.close_requested or self._later:
            with sockets.lock:
                while self._later:
                    self._later.popleft()()
                if self.close_requested:
                    self._session.close(now())
                sockets.perform()

    def _connect(self) -> None:
        """Go on with the attempts to connect: begin those the core wants, end those it does not want any more."""
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
            except Exception as error:  # an odd one, of a patched socket module say, is a failed attempt as well
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
        """Read what has arrived, unless a caller does."""
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
        """Close the sockets that are used no more, once no caller can be in recv() on them: the shutdown woke it."""
        sockets, turns, me = self.sockets, self.turns, get_ident()
        if sockets.retired:
            with sockets.lock:
                retired, sockets.retired = sockets.retired, []
            self._retired += [(one, turns.leads, sockets.receipts) for one in retired]
        try:
            while self._retired:
                one, leads, receipts = self._retired[0]
                if turns.leads == leads and sockets.receipts == receipts and not turns.take(me):
                    break  # it is the turn of the thread whose turn it was
                self._retired.popleft()
                one.sock.close()
        finally:
            turns.give_back(me)

    def _keep_time(self) -> None:
        """Do what is due. What has arrived counts first."""
        sockets = self.sockets
        with sockets.lock:
            deadline = self._session.deadline()
        if deadline is not None and now() >= deadline:
            main = sockets.main
            if main is not None:
                self._read([main.sock.fileno()])
                self._let_lead()
            with sockets.lock:
                self._session.timed_out(now())
                sockets.perform()
        with sockets.lock:
            for one in list(sockets.wires.values()):
                sockets.flush(one)

    def _let_lead(self) -> None:
        """If this thread is late, one that reads may be later: woken by what has arrived, but not come to take it."""
        sockets, receipts, end = self.sockets, self.sockets.receipts, monotonic() + LATER
        while self.turns.taken and receipts == sockets.receipts and monotonic() < end:
            with sockets.lock:
                main = sockets.main
                if main is None or not wait_for(0, (main.sock.fileno(), READ)):
                    return
            wait_for(SHORTEST_GRACE, (self._waker.fileno(), READ))

    def _write_log(self) -> None:
        """Have lines written on the dispatch thread: a log handler is user code, and may use this client."""
        lines, logger = self.sockets.lines, self._logger
        while lines:
            level, text, arguments = lines.popleft()
            if logger.isEnabledFor(level):
                if self.unstarted:  # what there is to say may be why there is no thread
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
        while self.askings:
            try:
                self.askings.pop().give_up(ConnectionClosedError())
            except KeyError:  # its thread was faster
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
