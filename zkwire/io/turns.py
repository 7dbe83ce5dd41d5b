"""Which thread reads the socket: one thread is the leader, the other waiting threads follow it.

Owns the turn and the queue of followers. Must not know sockets. A signal handler may raise in the main thread anywhere:
one call takes the turn and leaves the thread's mark, so that a `finally` around it gives back what was taken.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock
from typing import Any, Dict, Set, Tuple

from .dialer import Waker
from .future import Future, release


class Turns:
    """Threads are known by their `get_ident()`. `waker` wakes the I/O thread."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        #: The thread that has the turn, under the key "": `setdefault` takes the turn, if no other thread has it.
        self.reader: Dict[str, int] = {}
        self.followers: Dict[int, Tuple[Future[Any], LockType]] = {}
        self._lock = allocate_lock()  # protects the order of the followers
        #: Threads that wait here; such a thread must not start a second wait (in a signal handler).
        self.inside: Set[int] = set()
        #: The number of turns so far.
        self.leads = 0
        #: Whether the I/O thread wants to be woken at the end of a long turn.
        self.watched = False

    @property
    def taken(self) -> bool:
        """Whether a thread has the turn."""
        return bool(self.reader)

    def take(self, me: int) -> bool:
        """Take the turn, if no other thread has it."""
        return self.reader.setdefault("", me) == me

    def give_back(self, me: int) -> None:
        """End the turn, if this thread has it; see `pass_on`."""
        if self.reader.get("") == me:
            del self.reader[""]

    def wake(self) -> None:
        """Wake the I/O thread: the turn that it waits for has ended."""
        self.watched = False
        self._waker.wake()

    def join(self, me: int, future: Future[Any], lock: LockType) -> None:
        """Follow: `lock` is opened when this thread gets the turn. Check again for a leader before waiting."""
        with self._lock:
            self.followers[me] = future, lock

    def leave(self, me: int) -> None:
        """Stop following."""
        with self._lock:
            self.followers.pop(me, None)

    def pass_on(self) -> None:
        """If no thread reads, wake the follower that has waited longest."""
        if self.followers and not self.reader:
            with self._lock:
                for me, (future, lock) in self.followers.items():
                    if not future._done:
                        del self.followers[me]
                        release(lock)
                        return

    def disown(self) -> None:
        """In the child of a fork: no other thread is left."""
        self._lock = allocate_lock()
        self.reader, self.followers = {}, {}
