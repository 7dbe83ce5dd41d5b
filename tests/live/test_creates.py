"""Creates with flags and TTLs that no client sends: the embedded server looks at their faults in the order of a real one.

`python -m tests.tools.creates` sends all of them, and prints what differs.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.conftest import chosen, named
from tests.tools.creates import Case, batches, differences, run
from tests.tools.differences import Player
from zkwire.embedded import EmbeddedServer
from zkwire.ops import CreateTTL

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

#: Every seventh batch, so that all flags, TTLs and ways come up; an old Python begins with another one than a new one.
EVERY, FIRST = 7, 0 if sys.version_info < (3, 11) else 3


@pytest.mark.watchdog(120)
@pytest.mark.parametrize("version", chosen("3.4", "3.8", "3.9"))
def test_creates_fail_in_the_same_order(version: str, shared: Any) -> None:
    full = named(version)
    shared.fetch(full)
    assert run(full, extended=not full.startswith("3.4"), every=EVERY, first=FIRST) == []


def test_there_are_hundreds_and_none_that_kills_a_server() -> None:
    some = [case for batch in batches()[FIRST::EVERY] for case in batch]
    assert len(some) > 300 and len({(case.kind, case.flags, case.way) for case in some}) > 20
    assert not any(case.deadly() for case in some)
    assert Case(CreateTTL, 0, "new", "open", -0.001).deadly()


def test_what_a_real_server_would_die_of_is_refused_here() -> None:
    with EmbeddedServer(version="3.8") as embedded:
        player = Player("127.0.0.1", embedded.port, (3, 8))
        steps = Case(CreateTTL, 0, "new", "open", -0.001).steps()
        assert " reply -5 " in player.play(steps)[0][0]


def test_the_comparison_sees_what_differs_between_versions() -> None:
    with EmbeddedServer(version="3.5") as older, EmbeddedServer(version="3.8") as newer:
        players = [Player("127.0.0.1", one.port, (3, 5)) for one in (older, newer)]
        (said,) = differences(players, [Case(CreateTTL, 5, "new", acl, 100.0) for acl in ("open", "null")])
    assert said.splitlines()[0] == "CreateTTL 5 ttl 100000, path: new, acl: null, alone"
