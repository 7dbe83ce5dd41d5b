"""The blocking front's engine: the threads that share one session core and one socket.

Owns who reads and who waits, and time. Must not know verbs. How it works:

- The core and the socket are touched only under `_lock`, and the socket never blocks: no two threads are ever inside
  it, which TLS sockets do not survive (python/cpython#137583). Waiting happens outside the lock, with poll.
- A thread that waits for a result reads the socket itself: it leads, and settles the results of the others, who
  follow. A sequential call then takes two system calls more than a bare socket, and no change of threads.
- The keeper, a thread of ours, dials, keeps the deadlines, and reads while nobody leads. While calls are made one
  after the other it stays off the socket, and looks every `PARKED` seconds whether it is needed again.
- Sending is put off while something is under way and nobody waits: it goes along with the next receipt (as Nagle's
  algorithm would have it), with a waiting call, or when there is enough for a system call.
"""

from __future__ import annotations

import functools
import logging
import threading
from _thread import allocate_lock
from time import monotonic
from typing import Any, Callable, Optional, Sequence, Set, Union

from .four_letter import Asking
from .process import now
from .dispatch import On
from ..errors import ConnectionClosedError, ForkedError, TLSError, ZookeeperError
from .process import track
from .four_letter import Question
from .future import Future, release
from ..session.host_provider import Host
from .line import Line
from ..wire.operation import Op
from ..session.link import Link
from ..session.session import DIALING, ENDED, Session
from ..session.actions import StateChanged
from .dialer import LONGEST_WAIT, READ, WRITE, Address, Attempt, SecureAttempt, begin, reader, wait_for

#: How long the keeper stays away from the socket after a call was seen reading, in seconds. The price of a longer
#: time is a later event right after a call, that of a shorter one a thread that wakes more often for nothing.
PARKED = 0.005
#: A thread that was woken to read does so within this time, in seconds, or something is wrong with it.
LATER = 1.0
#: This many bytes are worth a system call of their own.
ENOUGH = 32 * 1024


class Driver(Line):
    """Runs a `Session` on a socket. `on_state` is called with each `StateChanged`, and must only hand it on."""

    def __init__(
        self, session: Session, logger: logging.Logger, on_state: Callable[[StateChanged], None], name: str,
        ssl_context: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(session, logger, on_state, name, ssl_context)
        self._reading = allocate_lock()  # held by the one who may read: a leader, or the keeper
        self._leads = 0
        self._attempt: Union[Attempt, SecureAttempt, None] = None
        self._askings: Set[Asking] = set()
        self.forked = False
        self._keeper = threading.Thread(target=self._keep, name=f"{name} keeper", daemon=True)
        track(self)

    # ------------------------------------------------------------------- for the front

    def start(self) -> None:
        """Begin to connect."""
        with self._lock:
            self.session.start(now())
            self._waker.open()
            self._act()
        self._keeper.start()

    def submit(self, op: Op[Any], future: Future[Any], at_once: bool, force: bool = False) -> None:
        """Hand an operation to the core. `at_once`: somebody is going to wait for it; `force` as the core has it."""
        if self.forked:
            raise ForkedError()
        session = self.session
        with self._lock:
            try:
                session.submit(op, future, now(), force)
                if session.has_actions:
                    self._act()
                if at_once or session.idle or session.unsent >= ENOUGH:
                    self._flush()
            except (ZookeeperError, ValueError, TypeError):
                raise
            except BaseException:
                self._interrupted(())
                raise

    def set_hosts(self, hosts: Sequence[Host]) -> None:
        """Hand other hosts to the core."""
        if self.forked:
            raise ForkedError()
        with self._lock:
            self.session.set_hosts(hosts, now())
            self._act()
            self._flush()
        self._waker.wake()

    def ask(self, asking: Asking, question: Question) -> None:
        """Have a question answered beside the session, on the caller's thread, and no longer than there is a client."""
        self._askings.add(asking)
        try:
            if self.session.phase == ENDED:
                asking.give_up(ConnectionClosedError())
            asking.ask(question)
        finally:
            self._askings.discard(asking)

    def close(self, timeout: float) -> None:
        """End the session and the threads; returns within about `timeout` seconds, whatever the server does."""
        if self.forked:
            return
        deadline = monotonic() + timeout
        with self._lock:
            self.session.close(now())
            self._act()
            self._flush()
        self._waker.wake()
        with self.changed:
            self.changed.wait_for(lambda: self.session.phase == ENDED, timeout)
        with self._lock:
            if self.session.phase != ENDED:  # it may be time, and the keeper late
                self.session.timed_out(now())
                self._act()
        if self._keeper.ident is not None and threading.current_thread() is not self._keeper:
            self._keeper.join(max(0.0, deadline - monotonic()))
        self.dispatcher.end(max(0.0, deadline - monotonic()))

    # -------------------------------------------------------------- a future's host

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have user code called on the dispatch thread, or on the one it was wrapped for."""
        if self.forked:
            raise ForkedError()
        if isinstance(function, On):
            function(*arguments)
        else:
            self.dispatcher.call(function, *arguments)

    def withdraw(self, future: Future[Any]) -> bool:
        """Take its operation back if it is still queued; True if it will never be sent."""
        if self.forked:
            raise ForkedError()
        with self._lock:
            return self.session.cancel(future)

    def abandon(self, future: Future[Any]) -> bool:
        """Nobody waits for `future` any more; True if its operation will never be sent."""
        if self.forked:
            raise ForkedError()
        with self._lock:
            return self.session.cancel(future, forget=True)

    def wait(self, future: Future[Any], timeout: Optional[float]) -> bool:
        """Block until `future` is done, reading the socket if nobody else does; watchers called before come first."""
        if not future.done():
            if self.forked:
                raise ForkedError()
            deadline = None if timeout is None else monotonic() + timeout
            if self.session.unsent:
                with self._lock:
                    self._flush()
            while not future.done():
                if self._socket is not None and self._reading.acquire(False):
                    try:
                        self._lead(future, deadline)
                    finally:
                        self._reading.release()
                        self._promote()
                else:
                    self._follow(future, deadline)
                if deadline is not None and monotonic() >= deadline:
                    break
        if future.behind > self.dispatcher.returned and not self.forked:
            self.dispatcher.let_run(future.behind)
        return future.done()

    def _lead(self, future: Future[Any], deadline: Optional[float]) -> None:
        self._leads += 1
        while not future.done():
            sock = self._socket
            if sock is None:
                return
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return
            if self._readable(None if left is None else min(left, LONGEST_WAIT) * 1000):
                with self._lock:
                    if sock is self._socket:
                        self._receive()

    def _follow(self, future: Future[Any], deadline: Optional[float]) -> None:
        """Wait until the future is done, or the one who leads stops."""
        lock = future.lock()
        self._followers.append((future, lock))
        if future.done() or (self._socket is not None and not self._reading.locked()):
            return  # done, or the leader has stopped between two looks: try to lead
        lock.acquire(True, -1 if deadline is None else min(max(0.0, deadline - monotonic()), LONGEST_WAIT))

    def _promote(self) -> None:
        """Somebody who waits should lead now; if there is nobody, the keeper reads when it sees nobody leading."""
        followers = self._followers
        while followers:
            try:
                future, lock = followers.popleft()
            except IndexError:
                break
            if not future.done():
                release(lock)
                return
        if self.session.in_flight:
            self._waker.wake()

    # ------------------------------------------------------------------------ the keeper

    def _keep(self) -> None:
        seen = -1
        try:
            while self.session.phase != ENDED:
                parked = self._leads != seen or self._reading.locked()
                seen = self._leads
                readable = self._sleep(parked)
                if self._dial is not None or self._attempt is not None:
                    self._connect()
                if self._lookout.active:
                    self._look_out()
                if readable or self._retired:
                    self._read_for_others()
                self._keep_time()
        except Exception as error:
            self._logger.exception("the keeper of a ZooKeeper client has died; please report this")
            with self._lock:  # without it nobody would ever be told anything
                self.session.abort(f"the client has failed: {error!r}")
                self._act()
        finally:
            self._clean_up()

    def _keep_time(self) -> None:
        """Do what is due. What has arrived counts first."""
        with self._lock:
            deadline = self.session.deadline()
        if deadline is not None and now() >= deadline:
            self._read_for_others()
            self._let_lead()
            with self._lock:
                self.session.timed_out(now())
                self._act()
        with self._lock:
            self._flush()

    def _let_lead(self) -> None:
        """If we are late, whoever leads may be later: woken by what has arrived, but not come to read it yet."""
        receipts, end = self._receipts, monotonic() + LATER
        while self._reading.locked() and receipts == self._receipts and monotonic() < end:
            with self._lock:
                sock = self._socket
                if sock is None or not wait_for(0, (sock.fileno(), READ)):
                    return
            wait_for(PARKED, (self._waker.fileno(), READ))

    def _sleep(self, parked: bool) -> bool:
        """Wait for something to do; whether there is something to read, or somebody has asked us to look."""
        with self._lock:
            deadline, sock, attempt = self.session.deadline(), self._socket, self._attempt
            wanted = [(self._waker.fileno(), READ), *self._lookout.wanted()]
            times = [deadline, self._lookout.next_step, attempt.next_step if attempt is not None else None]
        deadline = min((at for at in times if at is not None), default=None)
        timeout = None if deadline is None else max(0.0, deadline - now())
        if attempt is not None:
            wanted += attempt.waiting_for
        if sock is not None:
            mask = (0 if parked else READ) | (WRITE if self._blocked else 0)
            if mask:
                wanted.append((sock.fileno(), mask))
            if parked:
                timeout = PARKED if timeout is None else min(PARKED, timeout)
        ready = wait_for(timeout, *wanted)
        asked = self._waker.fileno() in ready
        if asked:
            self._waker.drain()
        return asked or len(ready) > 0

    def _read_for_others(self) -> None:
        """Nobody leads: read what there is."""
        if self._reading.acquire(False):
            try:
                with self._lock:
                    for sock in self._retired:
                        sock.close()
                    self._retired.clear()
                    self._receive()
            finally:
                self._reading.release()
                self._promote_quietly()

    def _promote_quietly(self) -> None:
        """As `_promote`, for the keeper, who need not wake itself."""
        while self._followers:
            try:
                future, lock = self._followers.popleft()
            except IndexError:
                return
            if not future.done():
                release(lock)
                return

    def _connect(self) -> None:
        """Go on with the attempt to connect, or begin with the newest one asked for."""
        with self._lock:
            dial, self._dial = self._dial, None
            wanted = self.session.phase == DIALING
        if self._attempt is not None and (dial is not None or not wanted):
            self._attempt.give_up()
            self._attempt = None
        if dial is not None:
            self._logger.debug("= connecting to %s", dial.host)
            look_up = self._resolver.look_up(dial.host)
            order, tried = functools.partial(self._order, dial), functools.partial(self.session.tried, dial)
            self._attempt = begin(dial, look_up, self._ssl_context, order, tried)
        attempt = self._attempt
        if attempt is None:
            return
        try:
            sock = attempt.step(now())
        except (OSError, TLSError) as error:
            self._attempt = None
            with self._lock:
                if self._dial is None:
                    self._lost(error if isinstance(error, TLSError) else str(error))
            return
        if sock is not None:
            self._attempt = None
            with self._lock:
                if self._dial is not None or self.session.phase != DIALING:
                    sock.close()  # the core has changed its mind meanwhile
                    return
                self._socket, self._readable = sock, reader(sock.fileno())
                self.session.connected(self._link, now(), attempt.address)  # type: ignore[arg-type]
                self._act()
                self._flush()
                if self._ssl_context is not None:
                    self._receive()  # with the end of the handshake something may have come that poll cannot see
            for _, lock in list(self._followers):
                release(lock)

    def _order(self, link: Link, addresses: Sequence[Address]) -> Sequence[Address]:
        with self._lock:
            return self.session.candidates(link, addresses)

    def _look_out(self) -> None:
        """Go on with the second connection."""
        with self._lock:
            self._lookout.step(now())
            self._act()
            self._flush()

    def _clean_up(self) -> None:
        with self._lock:
            self._disconnect()
            self._lookout.end()
            retired, self._retired = self._retired, []
        for asking in tuple(self._askings):
            asking.give_up(ConnectionClosedError())
        if self._attempt is not None:
            self._attempt.give_up()
        with self._reading:  # a leader may still be in poll, woken by the shutdown
            for sock in retired:
                sock.close()
        self._waker.close()

    # ------------------------------------------------------------------------- after fork

    def disown(self) -> None:
        """In the child of a fork: drop the descriptors, without a word to the server, and refuse all use."""
        self.forked = True
        self._lock, self._reading = allocate_lock(), allocate_lock()
        for sock in [self._socket, *self._retired]:
            if sock is not None:
                sock.close()
        self._socket = None
        if self._attempt is not None:
            self._attempt.give_up()
        self._lookout.disown()
        self._waker.close()
