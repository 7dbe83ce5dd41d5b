"""When a file is written and its command run, with a clock of the test's own."""

from __future__ import annotations

from zkdisco.outputs.schedule import LONGEST, RUN, WRITE, Schedule


def test_the_first_set_is_written_at_once_and_the_next_after_a_while() -> None:
    schedule = Schedule(2.0, commanded=False)
    assert schedule.due(10.0) == "" and schedule.deadline() is None and not schedule.settled
    schedule.want("a")
    assert schedule.due(10.0) == WRITE
    schedule.wrote("a", True, 10.0)
    assert schedule.settled and schedule.due(11.0) == "" and schedule.deadline() is None
    for text in "bcd":
        schedule.want(text)
    assert schedule.due(11.9) == "" and schedule.deadline() == 12.0 and not schedule.settled
    assert schedule.due(12.0) == WRITE and schedule.wanted == "d"
    schedule.wrote("d", False, 12.0)
    schedule.want("e")
    assert schedule.due(12.0) == WRITE, "the file was as it should be: nothing has been changed just now"


def test_back_to_what_it_was_is_nothing_to_do() -> None:
    schedule = Schedule(2.0, commanded=False)
    schedule.want("a")
    schedule.wrote("a", True, 0.0)
    schedule.want("b")
    schedule.want("a")
    assert schedule.settled and schedule.deadline() is None
    schedule.again()
    assert schedule.due(5.0) == WRITE and not schedule.settled


def test_a_command_follows_a_change_and_again_after_a_failure() -> None:
    schedule = Schedule(0.5, commanded=True)
    schedule.want("a")
    schedule.wrote("a", False, 0.0)
    assert schedule.settled, "no change, no command"
    schedule.owe(1.0)
    assert schedule.due(1.0) == RUN
    now, waits = 1.0, []
    for _ in range(8):
        schedule.ran(False, now)
        assert schedule.due(now) == "" and not schedule.settled
        deadline = schedule.deadline()
        assert deadline is not None and schedule.due(deadline) == RUN
        waits.append(deadline - now)
        now = deadline
    assert waits == [1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST]
    schedule.want("b")
    assert schedule.due(now) == WRITE, "first the file"
    schedule.wrote("b", True, now)
    assert schedule.due(now) == RUN, "another file may be better: at once"
    schedule.ran(False, now)
    assert schedule.deadline() == now + 1.0, "and patience begins anew"
    schedule.ran(True, now + 1.0)
    assert schedule.settled and schedule.deadline() is None


def test_a_file_that_cannot_be_written() -> None:
    schedule = Schedule(3.0, commanded=True)
    schedule.want("a")
    waits, now = [], 0.0
    for _ in range(7):
        schedule.not_written(now)
        deadline = schedule.deadline()
        assert deadline is not None and schedule.due(deadline - 0.01) == "" and schedule.due(deadline) == WRITE
        waits.append(deadline - now)
        now = deadline
    assert waits == [3, 3, 4, 8, 16, LONGEST, LONGEST]
    schedule.wrote("a", True, now)
    assert schedule.due(now) == RUN
    schedule.ran(True, now)
    schedule.want("b")
    schedule.not_written(now)
    assert schedule.deadline() == now + 3.0, "the failures before are forgotten"


def test_a_command_that_is_due_need_not_wait_for_the_next_write() -> None:
    schedule = Schedule(10.0, commanded=True)
    schedule.want("a")
    schedule.wrote("a", True, 0.0)
    schedule.want("b")
    assert schedule.due(0.0) == RUN and schedule.deadline() == 0.0
    schedule.ran(False, 0.0)
    assert schedule.deadline() == 1.0 and schedule.due(1.0) == RUN
