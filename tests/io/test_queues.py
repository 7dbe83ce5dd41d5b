"""The queue that a signal handler may put into: where the standard library's is in C it is that one."""

from __future__ import annotations

import platform
import queue
import sys
import threading
from collections import deque
from typing import Any

import pytest

from zkwire.io import future, queues
from zkwire.io.queues import Empty, PlainQueue, SimpleQueue


def test_it_is_that_of_the_standard_library_where_that_is_in_c() -> None:
    expected: Any = queue.SimpleQueue if platform.python_implementation() == "CPython" else PlainQueue
    assert SimpleQueue is expected


def test_where_there_is_none_in_c_it_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_queue", None)
    spec = queues.__spec__
    assert spec is not None and spec.loader is not None
    fresh = type(queues)(queues.__name__)
    fresh.__package__ = queues.__package__
    spec.loader.exec_module(fresh)
    assert fresh.SimpleQueue is fresh.PlainQueue


@pytest.mark.parametrize("deaf", [None, 0.01])
def test_what_is_put_is_got_in_order_or_empty_is_raised(deaf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(future, "DEAF", deaf)
    one = PlainQueue()
    for arguments in ((False,), (False, 5.0), (True, 0.0), (True, 0.03)):
        with pytest.raises(Empty):
            one.get(*arguments)
    for number in range(3):
        one.put(number)
    assert (one.qsize(), one.empty()) == (3, False)
    assert [one.get(), one.get(False), one.get(True, 5.0)] == [0, 1, 2]
    assert (one.qsize(), one.empty()) == (0, True)
    with pytest.raises(Empty):  # the lock is open still, for what was taken
        one.get(True, 0.03)


def test_a_waiting_thread_is_woken() -> None:
    one, got = PlainQueue(), []
    thread = threading.Thread(target=lambda: got.extend([one.get(timeout=20), one.get(timeout=20)]))
    thread.start()
    one.put("first")
    one.put("second")
    thread.join(20)
    assert got == ["first", "second"]


def test_a_handler_may_put_while_its_thread_puts() -> None:
    """Before the item is there, and after it: nothing is lost, and nobody waits for himself."""
    one = PlainQueue()

    class Interrupted(deque):  # type: ignore[type-arg]
        struck = False

        def append(self, item: Any) -> None:
            if not self.struck:
                self.struck = True
                one.put("of the handler, before")
                super().append(item)
                one.put("of the handler, after")
            else:
                super().append(item)

    one._items = Interrupted()
    one.put("interrupted")
    assert [one.get(timeout=5) for _ in range(3)] == ["of the handler, before", "interrupted", "of the handler, after"]
