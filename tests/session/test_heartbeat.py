"""The deadlines of a session. What they do is shown in test_session; here is the arithmetic."""

from __future__ import annotations

import pytest

from zkwire.session.heartbeat import INSTEAD, LONGEST_PING, SHORTEST_TIMEOUT, Heartbeat


@pytest.fixture
def live() -> Heartbeat:
    live = Heartbeat(30.0)
    live.started(100.0)
    live.greeted(100.0)
    live.granted(9.0, 100.0, True)
    return live


def test_granted_and_forgotten(live: Heartbeat) -> None:
    assert (live.requested, live.timeout) == (30.0, 9.0)
    live.forget()
    assert live.timeout == 30.0
    live.granted(0.001, 1.0, True)
    assert live.timeout == INSTEAD
    assert live.ping_at() == pytest.approx(1.1)
    live.granted(SHORTEST_TIMEOUT, 1.0, True)
    assert live.timeout == SHORTEST_TIMEOUT


def test_silence_is_counted_from_the_last_reply(live: Heartbeat) -> None:
    assert live.silent_at() == 106.0
    live.contact_at = 103.0
    assert live.silent_at() == 106.0
    live.mark(50, 102.0)
    live.answered(50)
    live.replied_at = 103.0
    assert live.silent_at() == 109.0


def test_a_reply_that_begins_counts_once(live: Heartbeat) -> None:
    live.reply_begun(101.0)
    live.reply_begun(105.0)
    assert live.silent_at() == 107.0
    live.mark(50, 105.5)
    live.answered(50)
    live.replied_at = 106.0
    live.reply_begun(108.0)
    assert live.silent_at() == 114.0


def test_the_lease_ends_a_timeout_after_the_sending_of_what_was_answered(live: Heartbeat) -> None:
    live.mark(10, 103.0)
    live.mark(20, 104.0)
    live.answered(9)
    live.replied_at = 108.0
    assert live.silent_at() == 109.0
    live.answered(19)
    assert live.silent_at() == 112.0
    assert live.silence(112.0) == "no answer yet to what was sent 9.0 s ago and later"
    live.answered(20)
    assert live.silent_at() == 113.0
    live.replied_at = 105.0
    assert live.silent_at() == 111.0
    assert live.silence(111.0) == "no answer for 6.0 s"
    live.greeted(120.0)
    live.granted(9.0, 125.0, True)
    assert live.silent_at() == 129.0


def test_marks_are_few(live: Heartbeat) -> None:
    assert live.mark_due == 100.0
    live.mark(10, 100.0)
    assert live.mark_due == 100.0 + 9.0 / 16


def test_expiry_is_counted_from_the_last_contact_and_leaves_time_to_ask(live: Heartbeat) -> None:
    live.contact_at = 104.0
    assert live.expires_at() == 116.0
    live.lost(105.0)
    assert live.expires_at() == 116.0
    live.lost(200.0)  # noticed late, after a sleep of the machine
    assert live.expires_at() == 203.0


def test_pings_even_with_a_long_timeout(live: Heartbeat) -> None:
    assert live.ping_at() == 103.0
    live.granted(600.0, 100.0, True)
    assert live.ping_at() == 100.0 + LONGEST_PING
