"""A fixed small budget of the simulation, and proof that it can see; `make simulate` runs as much as you like."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.catalogue import fault
from tests.tools.simulation.mutants import MUTANTS, catch
from tests.tools.simulation.rules import Violation
from tests.tools.simulation.run import Failure, Totals, run_seed, run_steps, shrink
from tests.tools.simulation.schedule import make
from tests.tools.simulation.world import World as Simulated
from tests.kit.world import STAT0, Heard, World, event_frame, reply_frame
from zkwire.errors import ConnectionLoss
from zkwire.ops import Create, Exists, GetData

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

#: Bugs that take more seeds than a test has time for: `python -m tests.tools.simulation --mutants --seeds 400` shows them.
RARE = {
    "answer_to_an_update_taken_for_done", "exception_of_a_block_replaced", "fights_for_its_identity",
    "iteration_without_the_cause", "looked_for_without_sync", "lost_request_taken_for_the_cause",
    "name_taken_for_the_node_it_was", "new_session_read_at_once", "no_sweeps",
    "observer_gets_the_oldest", "one_bad_child_spoils_all", "one_bad_observer_is_dropped", "one_of_several_is_named",
    "read_only_answer_taken_for_proof", "read_succeeds_without_its_watch", "recursive_watch_silences_children",
    "relative_zxid_read_live", "sent_request_taken_back", "set_watches_2_for_all", "shown_only_at_rest",
    "silent_changes_taken_for_one", "stale_only_with_trouble", "stop_gives_up_for_good",
    "stopped_client_deaf_to_the_end", "success_of_the_cancelled_stands", "update_waits_behind_a_failure",
    "watch_left_by_a_lost_removal",
}  # fmt: skip

@pytest.mark.long
@pytest.mark.parametrize("first", range(1, 41, 10))
@fault("W09")
def test_no_violations(first: int) -> None:
    for seed in range(first, first + 10):
        failure, _ = run_seed(seed, 250)
        assert failure is None, str(failure)


def test_answers_behind_the_refusal_to_set_watches_again() -> None:
    """Found by seeds 13, 48 and 437 of the first schedules: they came in the same bytes as the refusal.

    The read succeeded, but its watch stood nowhere; or it showed what no event had told; or the event came, in a shape
    that its watch does not have.
    """
    world = World().open()
    old, new = Heard("old"), Heard("new")
    world.submit(Exists("/a", old), 1)
    world.answer(STAT0, zxid=5)
    world.lose()
    world.submit(GetData("/b", new), 2)
    world.submit(Create("/c"), 3)
    world.advance(60.0, until=lambda: world.session.phase == "dialing")
    world.connect()
    world.welcome()
    replay, read, write = world.waiting
    world.receive(
        reply_frame(replay.op, replay.xid, err=-127) + event_frame("CHANGED", "/a")
        + reply_frame(read.op, read.xid, (b"", STAT0), 9) + reply_frame(write.op, write.xid, "/c", 10)
    )  # fmt: skip
    assert world.failed(2, ConnectionLoss).sent
    assert world.ok(3) == "/c"  # whoever wrote had better know
    assert not old.events
    world.open()
    assert world.peer is not None
    assert list(world.peer.requests[0].op.data) == ["/a"]  # type: ignore[attr-defined]
    assert world.peer.requests[0].op.relative_zxid == 5  # type: ignore[attr-defined]
    assert not new.events


def test_a_seed_repeats() -> None:
    runs = [run_steps(7, make(7, 200))[1].counts for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0]["requests"] > 50


@pytest.mark.long
def test_a_seed_repeats_what_the_fronts_tell() -> None:
    """Word for word, and at the same time, on threads and on event loops."""
    fronts = set()
    for seed in range(1, 7):
        worlds = [Simulated(seed) for _ in range(2)]
        for world in worlds:
            world.run(make(seed, 200))
        assert worlds[0].trail == worlds[1].trail and len(worlds[0].trail) > 10
        fronts |= {type(one).__name__ for one in worlds[0].discoveries}
    assert fronts == {"AsyncDiscovery", "BlockingDiscovery"}


def test_an_ensemble_repeats_and_its_members_do_behave_badly() -> None:
    totals = Totals()
    for seed in range(1, 9):
        failure, figures = run_seed(seed, 500, True)
        assert failure is None, str(failure)
        assert run_seed(seed, 500, True)[1].counts == figures.counts
        totals.add(figures)
    assert totals.counts["ensembles"] == 8
    assert all(totals.counts[name] for name in (
        "stale reads", "waits for a member to catch up", "moves", "refusals by members behind", "members down",
        "elections", "losses of the quorum",
    )), totals  # fmt: skip


@pytest.mark.parametrize(("seed", "ensemble", "has"), [(3, None, True), (4, None, False), (3, False, False), (4, True, True)])
def test_whether_there_is_an_ensemble_is_up_to_the_seed_unless_it_is_forced(seed: int, ensemble: Any, has: bool) -> None:
    assert Simulated(seed, ensemble).server.is_ensemble is has
    failure = Failure(seed, 250, "I0", "nothing", ensemble)
    forced = {None: "", False: " --servers one", True: " --servers ensemble"}[ensemble]
    assert f"--seed {seed} --steps 250{forced} --shrink" in str(failure)


@pytest.mark.slow
@pytest.mark.watchdog(120)  # what a bug does to a server may take long to simulate
@pytest.mark.parametrize("name", sorted(set(MUTANTS) - RARE))
def test_a_known_bug_is_seen(name: str) -> None:
    failure = catch(name, 60, 250)
    assert failure is not None, f"{name} was not seen"
    assert failure.rule != "crash", failure.text


def test_a_failure_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: object, now: float) -> None:
        raise Violation("I0", "a restart")

    monkeypatch.setattr("zkwire.embedded.core.BareCore.restart", wrong)
    seed = next(seed for seed in range(1, 50) if any(step.kind == "restart" for step in make(seed, 200)))
    found = shrink(Failure(seed, 200, "I0", "a restart"))
    assert [step.kind for step in found] in (["restart"], ["down"], ["read_only"])
