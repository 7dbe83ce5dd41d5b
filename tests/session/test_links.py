"""A link before the driver has connected, and the probe's answers: nothing is sent, nothing breaks."""

from __future__ import annotations

from typing import Any, List

from zkwire.session.actions import Dial, HangUp
from zkwire.session.host_provider import Host
from zkwire.session.link import Link
from zkwire.session.rw_probe import LONGEST_PAUSE, SHORTEST_PROBE, ReadWriteProbe

HOST = Host("zk1", 2181)


def test_a_link_that_is_not_connected_has_nothing_to_send() -> None:
    link = Link(HOST, 0.0, 5.0)
    link.sent(0)
    link.lagging(0)
    link.step(b"token")
    link.close()
    assert (link.unsent, link.data_to_send(), link.in_flight, link.read_only) == (0, b"", 0, False)
    assert list(link.replay([])) == [] and link.replaying == 0 and "zk1" in repr(link)


def probe() -> Any:
    """A probe that has begun, and what it reports; its pauses are the shortest."""
    report: List[Any] = []
    made = ReadWriteProbe(report, lambda: 0.0)
    made.begin(0.0)
    return made, report


def test_a_probe_is_due_after_a_pause_and_lasts_so_long() -> None:
    made, report = probe()
    due = made.deadline()
    assert not made.timed_out(due - 0.01) and made.timed_out(due)
    made.dial(HOST, 30.0, due)
    assert [type(action) for action in report] == [Dial] and made.deadline() == due + SHORTEST_PROBE
    assert not made.timed_out(made.deadline()) and [type(action) for action in report] == [Dial, HangUp]


def test_pauses_double_up_to_the_longest() -> None:
    made, _ = probe()
    now, pauses = 0.0, []
    for _ in range(10):
        made.lost(now)
        pauses.append(made.deadline() - now)
    assert pauses[0] * 2 == pauses[1] and pauses[-1] == LONGEST_PAUSE / 2 == pauses[-2]


def test_bytes_for_a_probe_that_has_no_connection_are_of_no_interest() -> None:
    made, report = probe()
    assert not made.received(b"late", 0.0)
    made.dial(HOST, 1.0, 0.0)
    assert not made.received(b"early", 0.0) and made.link is not None and len(report) == 1


def test_dismissing_nobody_hangs_up_on_nobody() -> None:
    made, report = probe()
    made.dismiss(1.0, "whatever")
    assert report == [] and made.deadline() > 1.0
    made.stop()
    assert made.deadline() is None and report == []
