"""A barrier in the queue of the blocking front's dispatch thread, for tests and for tools that run without pytest."""

from __future__ import annotations

import threading

from zkwire import ZooKeeper


def dispatched(zk: ZooKeeper, patience: float) -> bool:
    """Wait until the user's code that was queued so far has run: watchers, listeners, callbacks; whether it has.

    The callback of a future of our own is behind all of it. Not to be called on the dispatch thread.
    """
    behind, ran = zk.future(), threading.Event()
    behind.add_done_callback(lambda done: ran.set())
    behind.set_result(None)
    return ran.wait(patience)
