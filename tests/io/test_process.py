"""The clock of sessions."""

from __future__ import annotations

import time

import pytest

from tests.kit.catalogue import fault
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
