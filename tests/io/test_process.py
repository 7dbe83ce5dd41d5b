"""The clock of sessions."""

from __future__ import annotations

import re
import threading
import time

import pytest

from tests.kit.catalogue import fault
from zkwire import OperationTimeoutError, ZooKeeper
from zkwire.io import process as clock


@fault("B05")
@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock here that goes on while the machine sleeps")
def test_it_goes_on_while_the_machine_sleeps() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= clock.now() <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_elsewhere_it_is_the_monotonic_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", 12345, raising=False)
    assert clock._choose() is time.monotonic
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert clock._choose() is time.monotonic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("daemon threads are disabled in this (sub)interpreter", True),
        ("thread is not supported for isolated subinterpreters", True),
        ("can't start new thread", False),
        ("can't create new thread at interpreter shutdown", False),
    ],
)
def test_which_refusals_of_a_thread_are_for_good(
    text: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that never gives a thread says so at once, and is told of; a system that has none left may have one later."""
    assert clock.is_of_subinterpreter(RuntimeError(text)) is expected
    zk = ZooKeeper("127.0.0.1:1")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError if expected else OperationTimeoutError, match=re.escape(text)):
        zk.start(timeout=0.2)
    assert zk.client_state == "CLOSED"
