"""Received bytes gather for a moment where that costs no call any time, and nowhere else."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, List

import pytest

from tests.kit.fronts import Front, Log
from tests.kit.hostile import Scripted
from zkwire import ZooKeeper
from zkwire.aio import AsyncZooKeeper
from zkwire.errors import ConnectionLoss
from zkwire.io.aio_dialer import Channel
from zkwire.io.coalescing import BURST, ENOUGH, LATE, LOOP_MOMENT, MANY, MOMENT, Coalescing
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
    assert Coalescing().wanted(before, left, 10.0) is wanted


def test_events_gather_in_a_burst_only() -> None:
    decision, now = Coalescing(), 10.0
    assert not decision.wanted(0, 0, now), "the first is read at once"
    now += BURST * 1.1
    assert not decision.wanted(0, 0, now), "as is the next, if it does not follow hard upon it"
    now += BURST * 0.5
    assert decision.wanted(0, 0, now)
    now += MOMENT + LATE + BURST * 0.5
    assert decision.wanted(0, 0, now), "they were there when the moment had passed"
    now += MOMENT + LATE + BURST * 1.1
    assert not decision.wanted(0, 0, now), "the burst is over"
    now += BURST * 1.1
    assert not decision.wanted(0, 0, now)


def test_a_reply_between_events_is_no_burst() -> None:
    decision = Coalescing()
    assert not decision.wanted(0, 0, 10.0)
    assert not decision.wanted(1, 0, 10.0 + BURST / 4)
    assert not decision.wanted(0, 0, 10.0 + BURST * 1.2)


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


def test_asyncio_rests_and_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transport pauses, and every reply arrives all the same; also when the connection ends in the meantime."""
    rests: List[float] = []

    def counting(rest: Callable[..., None]) -> Callable[..., None]:
        def counted(channel: Any, delay: float) -> None:
            rests.append(delay)
            rest(channel, delay)

        return counted

    monkeypatch.setattr(Channel, "rest", counting(Channel.rest))
    with Scripted() as server:

        async def run() -> None:
            async with AsyncZooKeeper(server.hosts, timeout=30.0) as zk:
                channel = zk._driver._main
                channel._buffer = channel._buffer[:150]
                assert len(await asyncio.gather(*[zk.submit(GetData("/a")) for _ in range(4 * MANY)])) == 4 * MANY
                assert len(rests) > MANY and set(rests) == {LOOP_MOMENT}
                rests.clear()
                await zk.get("/a")
                assert rests == []
                channel.rest(0.0)
                server.cut()
                with pytest.raises(ConnectionLoss):  # the end is heard, and by the call that was on its way
                    await zk.get("/a", timeout=10)
                assert (await zk.get("/a", timeout=10))[0] is not None

        asyncio.run(run())


def test_events_of_a_burst_all_arrive_in_order(front: Front) -> None:
    server, log = front.server(), Log()
    zk, other = front.client(server.hosts), front.client(server.hosts)
    zk.create("/burst")
    zk.add_watch("/burst", log, recursive=True)
    names = [f"/burst/{number:04}" for number in range(500)]
    for future in [other.submit(Create(name)) for name in names]:
        future.result(10)
    log.until(lambda seen: len(seen) == len(names), 10.0)
    assert [event.path for event in log.seen] == names
