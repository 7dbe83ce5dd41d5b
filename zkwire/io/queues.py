"""A queue that a signal handler may put into, wherever it has interrupted its thread: `SimpleQueue`.

Owns the choice: CPython's is written in C and allows that. PyPy's is written in Python, with a lock that is not taken
twice by one thread; there `PlainQueue` stands for it. Must not know what is queued.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any, Deque, Optional

from .future import acquire, release


class PlainQueue:
    """A queue for one reading thread: a deque, and a lock that is opened whenever something was put."""

    def __init__(self) -> None:
        self._items: Deque[Any] = deque()
        self._news = allocate_lock()
        self._news.acquire()

    def put(self, item: Any) -> None:
        """Add an item. Never blocks."""
        self._items.append(item)
        release(self._news)

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        """The first item; with `block` wait for one, at most `timeout` seconds (None: any time). Raises `Empty`."""
        end = None if timeout is None else monotonic() + timeout
        while True:
            try:
                return self._items.popleft()
            except IndexError:
                pass
            left = None if end is None else end - monotonic()
            if not block or (left is not None and left <= 0):
                raise Empty
            acquire(self._news, left)  # opened, perhaps, for an item that was taken already: look again

    def qsize(self) -> int:
        """The number of items."""
        return len(self._items)

    def empty(self) -> bool:
        """Whether there is no item."""
        return not self._items


if TYPE_CHECKING:
    from queue import SimpleQueue as SimpleQueue
else:
    try:
        from _queue import SimpleQueue
    except ImportError:
        SimpleQueue = PlainQueue

__all__ = ["Empty", "PlainQueue", "SimpleQueue"]
