"""Whose turn it is to read the socket: one thread leads, the others that wait follow it.

Owns the turn and the queue of followers. Must not know sockets. A signal handler may raise in the main thread anywhere:
the turn is taken by one call that leaves the thread's mark, so that a `finally` around it gives back what was taken.
"""

from __future__ import annotations

from _thread import LockType, allocate_lock
from typing import Any, Dict, Set, Tuple

from .dialer import Waker
from .future import Future, release


class Turns:
    """Threads go by their `get_ident()`. `waker` wakes the I/O thread."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        #: The thread whose turn it is, under the key "": `setdefault` takes the turn, if no other thread has it.
        self.reader: Dict[str, int] = {}
        self.followers: Dict[int, Tuple[Future[Any], LockType]] = {}
        self._lock = allocate_lock()  # for the order of the followers
        #: Threads that wait for something here, and must not wait for something else meanwhile.
        self.inside: Set[int] = set()
        #: How often a thread has led.
        self.leads = 0
        #: Whether the I/O thread wants to hear of the end of a turn that takes long.
        self.watched = False

    @property
    def taken(self) -> bool:
        """Whether a thread reads."""
        return bool(self.reader)

    def take(self, me: int) -> bool:
        """Take the turn, if no other thread has it."""
        return self.reader.setdefault("", me) == me

    def give_back(self, me: int) -> None:
        """End the turn, if it was taken; see `pass_on`."""
        if self.reader.get("") == me:
            del self.reader[""]

    def wake(self) -> None:
        """The turn that the I/O thread wants to hear of has ended."""
        self.watched = False
        self._waker.wake()

    def join(self, me: int, future: Future[Any], lock: LockType) -> None:
        """Follow: `lock` is opened when it is this thread's turn. Look again whether a thread reads before waiting."""
        with self._lock:
            self.followers[me] = future, lock

    def leave(self, me: int) -> None:
        """Follow no more."""
        with self._lock:
            self.followers.pop(me, None)

    def pass_on(self) -> None:
        """If no thread reads, have the follower that has waited longest try to."""
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
