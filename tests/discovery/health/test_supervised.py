"""The order of the end: by tables of what happens and what is done, and by random histories."""

from __future__ import annotations

import random
from typing import Any, List, Tuple

import pytest

from zkdisco.supervised import PATIENCE, TOGETHER, Deregister, Kill, PassOn, Supervision

TERM, INT, HUP, USR1 = 15, 2, 1, 10
DRAIN, KILL_AFTER = 5.0, 30.0


def played(*happens: Tuple[Any, ...], drain: float = DRAIN) -> List[Tuple[float, str]]:
    """What is done, and when: `happens` are (time, what, arguments...), and in between no deadline is missed."""
    core = Supervision(drain, KILL_AFTER)
    done: List[Tuple[float, str]] = []

    def take(now: float) -> None:
        for action in core.actions():
            done.append((round(now, 3), {Deregister: "deregister", Kill: "kill"}.get(type(action)) or f"send {action.number}"))

    def let_pass(end: float) -> None:
        while (deadline := core.deadline()) is not None and deadline <= end:
            core.timed_out(deadline)
            take(deadline)

    for now, what, *rest in happens:
        let_pass(now)
        if what == "signal":
            core.signalled(rest[0], rest[0] != USR1, now)
        elif what == "ended":
            core.ended(rest[0], now)
        elif what == "stands":
            core.stands(*rest, now)
        take(now)
    let_pass(1000.0)
    return done


#: A node that is listed, or may be, with a connection; without one; none.
LISTED, AWAY, NONE = (True, True), (True, False), (False, True)


@pytest.mark.parametrize("happens, done", [
    # confirmed in a moment, then drained, passed on, and killed in the end
    ([(0, "stands", *LISTED), (1, "signal", TERM), (1.5, "stands", *NONE)], [(1, "deregister"), (6.5, "send 15"), (36.5, "kill")]),
    # it ends when it is told
    ([(0, "stands", *LISTED), (1, "signal", TERM), (1.5, "stands", *NONE), (7, "ended", 0)], [(1, "deregister"), (6.5, "send 15")]),
    # it ends while it is drained
    ([(0, "stands", *LISTED), (1, "signal", INT), (1.5, "stands", *NONE), (2, "ended", 3)], [(1, "deregister")]),
    # it ends by itself
    ([(0, "stands", *LISTED), (1, "ended", 3)], [(1, "deregister")]),
    # never listed: nobody comes
    ([(0, "stands", *NONE), (1, "signal", TERM), (2, "ended", 0)], [(1, "deregister"), (1, "send 15")]),
    # gone long before, and a moment before
    ([(0, "stands", *LISTED), (1, "stands", *NONE), (9, "signal", TERM), (9, "ended", 0)], [(9, "deregister"), (9, "send 15")]),
    ([(0, "stands", *LISTED), (1, "stands", *NONE), (3, "signal", TERM), (9, "ended", 0)], [(3, "deregister"), (6, "send 15")]),
    # without a connection, the seconds count from the signal
    ([(0, "stands", *AWAY), (1, "signal", TERM), (9, "ended", 0)], [(1, "deregister"), (6, "send 15")]),
    # the connection comes back in the middle, and the node goes late: no more than PATIENCE is added
    ([(0, "stands", *AWAY), (1, "signal", TERM), (5, "stands", *NONE), (9, "ended", 0)], [(1, "deregister"), (8, "send 15")]),
    # a server that says nothing
    ([(0, "stands", *LISTED), (1, "signal", TERM), (9, "ended", 0)], [(1, "deregister"), (6, "send 15")]),
    # a second signal skips the rest; one that comes with the first does not
    ([(0, "stands", *LISTED), (1, "signal", TERM), (1.1, "stands", *NONE), (2, "signal", TERM), (9, "ended", 0)],
     [(1, "deregister"), (2, "send 15")]),
    ([(0, "stands", *LISTED), (1, "signal", TERM), (1.1, "signal", TERM), (1.1, "stands", *NONE), (9, "ended", 0)],
     [(1, "deregister"), (6.1, "send 15")]),
    ([(0, "stands", *LISTED), (1, "signal", TERM), (1.1, "signal", HUP), (1.1, "stands", *NONE), (9, "ended", 0)],
     [(1, "deregister"), (6.1, "send 15"), (6.1, "send 1")]),
    ([(0, "stands", *AWAY), (1, "signal", TERM), (2, "signal", INT), (9, "ended", 0)], [(1, "deregister"), (2, "send 15"), (2, "send 2")]),
    # others at once, in every phase
    ([(0, "signal", USR1), (0, "stands", *LISTED), (1, "signal", TERM), (1, "stands", *NONE), (2, "signal", USR1), (7, "signal", USR1),
      (8, "ended", 0), (9, "signal", USR1)],
     [(0, "send 10"), (1, "deregister"), (2, "send 10"), (6, "send 15"), (7, "send 10")]),
    # once told, each is passed on at once
    ([(0, "stands", *NONE), (1, "signal", TERM), (2, "signal", TERM), (3, "signal", INT), (4, "ended", 0)],
     [(1, "deregister"), (1, "send 15"), (2, "send 15"), (3, "send 2")]),
    # nothing after the end
    ([(0, "ended", 0), (1, "signal", TERM), (2, "signal", USR1), (2, "ended", 1)], [(0, "deregister")]),
])  # fmt: skip
def test_what_is_done(happens: Any, done: Any) -> None:
    assert played(*happens) == done


def test_without_a_drain_it_is_told_once_the_node_is_gone() -> None:
    assert played((0, "stands", *LISTED), (1, "signal", TERM), (1.2, "stands", *NONE), (9, "ended", 0), drain=0.0) == [
        (1, "deregister"), (1.2, "send 15")]  # fmt: skip
    assert played((0, "stands", *LISTED), (1, "signal", TERM), (9, "ended", 0), drain=0.0) == [(1, "deregister"), (3, "send 15")]
    assert played((0, "stands", *AWAY), (1, "signal", TERM), (9, "ended", 0), drain=0.0) == [(1, "deregister"), (1, "send 15")]


@pytest.mark.parametrize("status, ours", [(0, 0), (1, 1), (255, 255), (-15, 143), (-9, 137)])
def test_the_exit_status(status: int, ours: int) -> None:
    core = Supervision(0.0, 0.0)
    assert core.status is None and core.phase == "running" and not core.ending
    core.ended(status, 0.0)
    core.ended(77, 1.0)
    assert (core.status, core.phase, core.ending) == (ours, "ended", True)


def test_the_phases() -> None:
    core = Supervision(1.0, 1.0)
    core.stands(*LISTED, 0.0)
    assert core.phase == "running"
    core.signalled(TERM, True, 1.0)
    assert core.phase == "draining" and core.ending
    core.stands(*NONE, 1.0)
    core.timed_out(2.0)
    assert core.phase == "stopping" and core.deadline() == 3.0
    core.timed_out(3.0)
    assert core.deadline() is None and isinstance(core.actions()[-1], Kill)


def test_random_histories() -> None:
    """The order holds in each, no signal is lost, and no wait is longer than was said."""
    told = hurried = 0
    for seed in range(2000):
        rng = random.Random(seed)
        now, asked, second, sent_usr, got_usr, over = 0.0, None, None, 0, 0, False
        core = Supervision(DRAIN, KILL_AFTER)
        done: List[Tuple[float, Any]] = []
        for _ in range(60):
            now += rng.choice([0.0, 0.01, 0.2, 1.0, 3.0])
            while (deadline := core.deadline()) is not None and deadline <= now:
                core.timed_out(deadline)
                done += [(deadline, action) for action in core.actions()]
            choice = rng.random()
            if choice < 0.1:
                if asked is None and not over:
                    asked = now
                elif asked is not None and second is None and now - asked > TOGETHER:
                    second = now
                core.signalled(rng.choice([TERM, INT]), True, now)
            elif choice < 0.3:
                sent_usr += not over
                core.signalled(USR1, False, now)
            elif choice < 0.32:
                over = True
                core.ended(0, now)
            else:
                core.stands(rng.random() < 0.5, rng.random() < 0.7, now)
            done += [(now, action) for action in core.actions()]
        got_usr = sum(action == PassOn(USR1) for _, action in done)
        assert got_usr == sent_usr, seed
        ends = [when for when, action in done if isinstance(action, PassOn) and action.number != USR1]
        out = [when for when, action in done if isinstance(action, Deregister)]
        kills = [when for when, action in done if isinstance(action, Kill)]
        assert len(out) == (1 if asked is not None or over else 0) and len(kills) <= 1, seed
        assert not ends or (asked is not None and out == [asked] and ends[0] >= asked), seed
        if ends:
            told += 1
            assert asked is not None and ends[0] - asked <= PATIENCE + DRAIN + 1e-9, seed
            hurried += second is not None and ends[0] == second
        assert not kills or abs(kills[0] - ends[0] - KILL_AFTER) < 1e-9, seed
    assert told > 500 and hurried > 20
