"""Received bytes gather for a moment where that costs no call any time, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, List

import pytest

from tests.kit.fronts import Front, Log
from tests.kit.hostile import Scripted, Wire
from zkwire import ZooKeeper
from zkwire.aio import AsyncZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss
from zkwire.io.coalescing import BURST, ENOUGH, EVENTS, IN_A_ROW, LATE, MANY, MOMENT, Coalescing
from zkwire.ops import Create, GetData


@pytest.mark.parametrize(
    "before, left, wanted",
    [
        (1, 0, False), (2, 1, False), (MANY - 1, MANY - 2, False),  # few requests: each reply counts
        (MANY, MANY - 1, False), (MANY + 1, MANY, True),
        (1000, 1000 - ENOUGH + 1, True), (1000, 1000 - ENOUGH, False), (1000, 10, False),
    ],
)  # fmt: skip
def test_replies_gather_where_many_are_in_flight_and_few_arrive(before: int, left: int, wanted: bool) -> None:
    assert Coalescing().wanted(before, left, 10.0, 0) is wanted


def burst(decision: Coalescing, now: float) -> float:
    """Events that follow hard upon each other until they gather; the time."""
    assert not decision.wanted(0, 0, now, 1), "the first is read at once"
    for _ in range(IN_A_ROW - 1):
        now += BURST / 2
        assert not decision.wanted(0, 0, now, 1), "and so are a few"
    now += BURST / 2
    assert decision.wanted(0, 0, now, 1)
    return now


def test_events_gather_in_a_burst_only() -> None:
    decision = Coalescing()
    now = burst(decision, 10.0)
    for _ in range(10):
        now += MOMENT + LATE
        assert decision.wanted(0, 0, now, EVENTS), "they were there when the moment had passed"
    now += MOMENT + LATE + BURST * 1.1
    assert not decision.wanted(0, 0, now, EVENTS), "the burst is over"
    burst(decision, now + 1.0)


def test_a_moment_that_gathers_nothing_is_the_last() -> None:
    decision = Coalescing()
    now = burst(decision, 10.0) + MOMENT
    assert not decision.wanted(0, 0, now, 1)
    assert not decision.wanted(0, 0, now + BURST / 2, 1)


def test_events_one_after_the_other_never_gather() -> None:
    decision, now = Coalescing(), 10.0
    for _ in range(100):
        now += BURST * 1.1
        assert not decision.wanted(0, 0, now, 1)


def test_a_reply_between_events_is_no_burst() -> None:
    decision, now = Coalescing(), 10.0
    for _ in range(100):
        now += BURST * 0.6
        assert not decision.wanted(0, 0, now, 1)
        now += BURST * 0.6
        assert not decision.wanted(1, 0, now, 0)


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """The moments that callers of the blocking front wait; in these tests they take no time."""
    waited: List[float] = []
    monkeypatch.setattr("zkwire.io.driver.sleep", waited.append)
    return waited


def test_a_call_alone_and_a_few_wait_for_nothing(moments: List[float]) -> None:
    with Scripted() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        for _ in range(50):
            zk.get("/a")
        for _ in range(5):
            for future in [zk.submit(GetData("/a")) for _ in range(MANY - 1)]:
                future.result(5)
        assert moments == []


def test_a_call_after_many_waits_for_nothing(moments: List[float]) -> None:
    """Nothing of the decision is left when the many are answered."""
    with Scripted() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        for future in [zk.submit(GetData("/a")) for _ in range(4 * MANY)]:
            future.result(5)
        moments.clear()
        for _ in range(20):
            zk.get("/a")
        assert moments == []


def test_many_in_flight_are_received_together(moments: List[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt of two replies, with hundreds to come: the next one is given a moment, with the limits of the call."""
    monkeypatch.setattr("zkwire.io.sockets._SIZES", (150,))  # the reply to a get has 92 bytes and data
    with Scripted() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        for future in [zk.submit(GetData("/a")) for _ in range(4 * MANY)]:
            future.result(5)
        assert len(moments) > MANY and set(moments) == {MOMENT}


def test_no_moment_beyond_the_time_limit_of_a_call(moments: List[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkwire.io.sockets._SIZES", (150,))
    monkeypatch.setattr("zkwire.io.driver.MOMENT", 60.0)
    with Scripted() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        for future in [zk.submit(GetData("/a")) for _ in range(4 * MANY)]:
            future.result(5)
        assert moments == []


@pytest.mark.long
def test_what_arrives_before_the_end_of_a_connection_counts(front: Front) -> None:
    """Of a hundred requests thirty are answered, each by itself, and then the server closes."""
    asked: List[Wire] = []

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.path != "/many" or (asked and wire is not asked[0]):
            return False
        asked.append(wire)
        if len(asked) == 31:
            wire.sock.shutdown(socket.SHUT_WR)
        return len(asked) > 30

    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=8.0)
    zk.get("/a")
    scripted.request = request
    futures = [zk.submit(GetData("/many")) for _ in range(100)]
    errors = [future.exception(5) for future in futures]
    assert errors[:30] == [None] * 30
    assert {type(error) for error in errors[30:]} <= {ConnectionLoss, type(None)}, "the last ones go to the next connection"
    assert isinstance(errors[30], ConnectionLoss)


@pytest.mark.long
def test_a_loop_that_was_blocked_reads_before_it_gives_up() -> None:
    """Replies that arrived while user code blocked the loop beyond the time limit of the calls."""
    with EmbeddedServer() as server:

        def answered() -> int:
            return sum(one.op == "Exists" and one.outcome == "OK" for one in server.requests())

        async def run() -> None:
            async with AsyncZooKeeper(server.hosts, timeout=10.0) as zk:
                for batch in range(1, 6):
                    calls = [asyncio.ensure_future(zk.exists("/", timeout=0.1)) for _ in range(200)]
                    await asyncio.sleep(0)
                    await asyncio.sleep(0.002)  # they are sent, and perhaps answered in part
                    threading.Event().wait(0.2)  # blocks
                    server.wait_for(lambda batch=batch: answered() == 200 * batch)  # and so does this, if it must
                    assert all([stat is not None for stat in await asyncio.gather(*calls)])

        asyncio.run(run())


def test_events_of_a_burst_all_arrive_in_order(front: Front) -> None:
    server, log = front.server(), Log()
    zk, other = front.client(server.hosts, timeout=30.0), front.client(server.hosts, timeout=30.0)
    zk.create("/burst")
    zk.add_watch("/burst", log, recursive=True)
    names = [f"/burst/{number:04}" for number in range(500)]
    for future in [other.submit(Create(name)) for name in names]:
        future.result(10)
    log.until(lambda seen: len(seen) == len(names), 10.0)
    assert [event.path for event in log.seen] == names


def test_a_burst_of_events_is_no_reason_for_a_call_to_wait(moments: List[float]) -> None:
    """The decision is about the next receipt, whoever makes it: a call alone does not wait for what was a burst."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=30.0) as zk:
        zk.exists("/")
        for _ in range(20):
            zk._driver._sockets.gather = True
            zk.exists("/")
        assert moments == []
