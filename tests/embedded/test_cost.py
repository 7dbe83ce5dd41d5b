"""What a call costs the embedded server does not depend on how many clients it has: counted in Python calls."""

from __future__ import annotations

import contextlib
import random
import sys
from typing import Any

import pytest

from tests.embedded.test_server import ask, wire
from tests.kit.embedded_peer import OPEN, WATCH, connected, make_core
from zkwire.embedded import EmbeddedServer
from zkwire.embedded.alarms import Alarms
from zkwire.embedded.watches import ServerWatches
from zkwire.embedded.serving import Serving
from zkwire.embedded.versions import profile_of
from zkwire.ops import Create, Exists, GetData

MANY = 500
CALLS = 50


def calls_of_a_server(idle: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The Python calls that a server's thread makes for some requests of one client, beside so many that only wait."""
    count = 0
    counting = False

    def profile(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += counting and event == "call"

    real = Serving._serve

    def serve(*args: Any) -> None:
        sys.setprofile(profile)
        try:
            real(*args)
        finally:
            sys.setprofile(None)

    with contextlib.ExitStack() as stack:
        stack.enter_context(monkeypatch.context()).setattr(Serving, "_serve", serve)
        server = stack.enter_context(EmbeddedServer(tick=60.0, reap_interval=60.0))
        waiting = [stack.enter_context(contextlib.closing(wire(server))) for _ in range(idle)]
        one = stack.enter_context(contextlib.closing(wire(server)))
        assert ask(one, Create("/a", b"", OPEN))[0] == 0
        for other in waiting[:10]:
            assert ask(other, Exists("/elsewhere", WATCH))[0] == -101
        assert ask(one, GetData("/a"))[0] == 0  # what the others have left to do is done
        counting = True
        for _ in range(CALLS):
            assert ask(one, GetData("/a"))[0] == 0
        counting = False
    return count


@pytest.mark.long
def test_a_call_costs_the_same_beside_five_hundred_idle_clients(monkeypatch):
    alone, crowded = calls_of_a_server(0, monkeypatch), calls_of_a_server(MANY, monkeypatch)
    assert alone > 20 * CALLS, "the server was not watched"
    # The last reply may be read before the server has gone back to wait, or after.
    assert abs(crowded - alone) < alone / CALLS, f"{alone / CALLS} calls alone, {crowded / CALLS} beside {MANY}"


def test_time_passes_for_five_hundred_sessions_as_for_one():
    core = make_core()
    peers = [connected(core, timeout_ms=10000) for _ in range(MANY)]
    for peer in peers[:-1]:
        peer.pull()
    busy = peers[-1]
    looked_at = 0
    real = core.sessions._ends[False]._enter

    def enter(*args: Any) -> None:
        nonlocal looked_at
        looked_at += 1
        real(*args)

    core.sessions._ends[False]._enter = enter  # type: ignore[method-assign]
    for busy.now in (0.1 * n for n in range(1, 90)):
        core.tick(busy.now)
        assert core.deadline() is not None
        busy.ask(GetData("/"))
    assert looked_at <= 1, "who has only waited is not looked at"
    core.tick(12.0)
    assert len(core.sessions) == 1


@pytest.mark.parametrize("seed", range(5))
def test_alarms_are_as_a_table_that_is_searched(seed):
    rng = random.Random(seed)
    alarms: Alarms[int] = Alarms()
    table: dict[int, float] = {}
    now = 0.0
    for _ in range(2000):
        key, what = rng.randrange(20), rng.randrange(6)
        if what < 3:
            table[key] = now + rng.randrange(1, 50)
            alarms.set(key, table[key])
        elif what == 3:
            table.pop(key, None)
            alarms.drop(key)
        elif what == 4:
            now += rng.randrange(5)
        assert alarms.next() == min(table.values(), default=None)
        due = alarms.due(now)
        assert sorted(due) == sorted(key for key, moment in table.items() if moment <= now)
        assert [table[key] for key in due] == sorted(table[key] for key in due)
        if what == 5:
            for key in due:
                del table[key]
                alarms.drop(key)
    assert len(alarms._heap) < 200


def test_who_leaves_takes_its_watches_with_it_without_a_search():
    watches = ServerWatches(profile_of("3.9"))
    watches.add("/a", "one", "persistent")
    watches.add("/b", "two", "recursive")
    watches.data.add("/a", "two", "standard")
    watches.forget("two")
    assert watches.data.paths == {"/a": {"one": frozenset({"persistent"})}} and watches.data.recursive == 0
    watches.forget("one")
    assert watches.data.paths == watches.child.paths == watches.data._paths_of == watches.child._paths_of == {}
