"""`make steady`: its arithmetic; and a few seconds of it, on real servers behind a line of 50 ms there and back (Y01)."""

from __future__ import annotations

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness.proxy import FaultProxy
from tests.tools.steady import History, run, weighed


def test_what_was_shown_is_looked_up() -> None:
    history = History()
    sets = []
    for at, data in ((10.0, {"a": b"1"}), (11.0, {"a": b"2"}), (12.0, {"a": b"2", "b": b"3"})):
        history.data = data
        history.note(at)
        sets.append(history.now())
    one, two, three = sets
    assert (history.age(one, 11.5), history.age(two, 11.5), history.age(three, 99.0)) == (0.5, 0.0, 0.0)
    assert history.age(frozenset(["3"]), 99.0) is None
    found = weighed(history, [(10.1, one), (11.6, two), (12.7, three)], 2, 10.0, 13.0)
    assert (found.sets, found.never_existed) == (3, 0)
    assert found.silence == pytest.approx(1.5) and found.oldest == pytest.approx(0.7)
    found = weighed(history, [(10.1, one), (11.6, frozenset(["2", "7"]))], 2, 10.0, 13.0)
    assert found.never_existed == 1


@pytest.mark.timed
@pytest.mark.slow
@fault("Y01")
@pytest.mark.parametrize("name", ["server393", "server34"])
def test_a_directory_that_changes_all_the_time(name: str, request: pytest.FixtureRequest) -> None:
    """Never silent, never older than a second, never a set that did not exist; the last one soon after the last change."""
    real = request.getfixturevalue(name)
    with FaultProxy(real.host, real.port) as line:
        line.delay(0.025)
        found = run(real.hosts, line, 50.0, 4.0, 1)
    assert found.never_existed == 0 and found.sets > 10
    assert found.silence < 1.0 and found.oldest < 1.0 and found.said_old == 0, found
    assert found.last is not None and found.last < 1.0, found
