"""Switches as values: `with` ends what it has begun, and nothing else; and the switches that only exist as values."""

from __future__ import annotations

import random
import time
from typing import Any, Callable, Dict

import pytest

from tests.kit.fronts import Front, Log, until
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionLoss, OperationTimeoutError, ThrottledOpError
from zkwire.ops import Create, GetData, SetData

from .test_switches import CONNECTED, LOST, SUSPENDED, client


@pytest.mark.parametrize("direction", ["in", "out", "both"])
def test_a_black_hole_ends_with_its_block(front: Front, direction: str) -> None:
    server, zk, states = client(front)
    with server.black_hole(direction):
        (call,) = front.submit(zk, [SetData("/a", b"2")])
        until(lambda: any(request.op == "SetData" for request in server.requests()))
    assert call.result(5).version == 1 and states.seen == []


def test_of_two_black_holes_the_outer_one_goes_on(front: Front) -> None:
    server, zk, states = client(front)
    before = server.zxid
    with server.black_hole("out"):
        with server.black_hole():
            (call,) = front.submit(zk, [SetData("/a", b"2")])
            until(lambda: server.requests()[-1].op == "SetData")
            assert server.zxid == before
        until(lambda: server.zxid > before)  # "in" is over
        assert not call.done() and server.requests()[-1].outcome is None
    assert call.result(5).version == 1 and states.seen == []


def test_the_outer_one_may_end_first(front: Front) -> None:
    server, zk, states = client(front)
    outer = server.black_hole("out")
    inner = server.black_hole("out")
    outer.end()
    (call,) = front.submit(zk, [SetData("/a", b"2")])
    until(lambda: server.tree()["/a"] == b"2")
    assert not call.done()
    inner.end()
    inner.end()  # twice is once
    assert call.result(5).version == 1


def test_one_session_is_healed_and_the_other_is_not(front: Front) -> None:
    server, zk, states = client(front)
    other = front.client(server.hosts)
    with server.black_hole("out", other.client_id[0]):
        with server.black_hole("out", zk.client_id[0]):
            pass
        assert zk.get("/a")[0] == b"1"
        (call,) = front.submit(other, [GetData("/a")])
        until(lambda: server.requests()[-1].session == other.client_id[0] and server.requests()[-1].op == "GetData")
        assert not call.done()
    assert call.result(5)[0] == b"1"


def took(zk: Any) -> float:
    began = time.monotonic()
    zk.get("/a")
    return time.monotonic() - began


def test_delays_end_one_by_one(front: Front) -> None:
    server, zk, states = client(front)
    with server.delay(0.1):
        with server.delay(0.3):
            assert took(zk) >= 0.3
        assert 0.1 <= took(zk) < 0.3
    assert took(zk) < 0.1


@pytest.mark.long
def test_jitter_repeats_itself_from_a_seed(front: Front) -> None:
    server = front.server(max_session_timeout=30.0)
    zk = front.client(server.hosts, timeout=30.0)  # no ping takes a number of the sequence
    zk.create("/a")
    for _ in range(2):
        dice = random.Random(7)
        with server.delay(0.01, jitter=0.05, seed=7):
            for _ in range(8):
                zk.get("/a")
        server.wait_for(lambda: server.requests()[-1].took is not None)
        late = [0.01 + dice.uniform(0.0, 0.05) for _ in range(8)]
        assert all(one.took is not None and one.took >= least for one, least in zip(server.requests()[-8:], late))
    with pytest.raises(ValueError, match="jitter -1"):
        server.delay(0.1, jitter=-1)


def test_jitter_keeps_the_order_and_ends_with_heal(front: Front) -> None:
    server, zk, states = client(front)
    server.delay(0.0, jitter=60.0)
    calls = front.submit(zk, [SetData("/a", b"%d" % number) for number in range(20)])
    until(lambda: server.tree()["/a"] == b"19")
    server.heal()
    assert [call.result(9).version for call in calls] == list(range(1, 21)) and states.seen == []


def test_a_limited_rate(front: Front) -> None:
    server, zk, states = client(front)
    zk.set("/a", b"x" * 4000)
    with server.limit_rate(20_000):
        assert took(zk) >= 0.2  # 4,084 bytes
    assert took(zk) < 0.2 and states.seen == []
    with pytest.raises(ValueError, match="rate 0"):
        server.limit_rate(0)


def test_drop_after_ends_with_its_block(front: Front) -> None:
    server, zk, states = client(front)
    with server.drop_after(1000), server.drop_after(10_000, zk.client_id[0]):
        assert zk.get("/a")[0] == b"1"
    for call in front.submit(zk, [GetData("/a")] * 300):  # some 30,000 bytes
        call.result(5)
    assert states.seen == []


def test_rules_of_answer_end_with_their_block(front: Front) -> None:
    server, zk, states = client(front)
    with server.answer(-127, SetData, times=100):
        with server.answer(-101, SetData, "/mine", times=100):
            with pytest.raises(ThrottledOpError):
                zk.set("/a", b"2")
        with pytest.raises(ThrottledOpError):
            zk.set("/mine", b"2")
    assert zk.set("/mine", b"2").version == 1


@pytest.mark.parametrize("times", [1, 2])
def test_the_answer_is_lost_and_the_write_is_not(front: Front, times: int) -> None:
    server, zk, states = client(front)
    with server.lose_answer(SetData, "/a", times=times):
        zk.set("/mine", b"")  # another path
        zk.create("/b")  # another operation
        for number in range(times):
            with pytest.raises(ConnectionLoss) as caught:
                zk.set("/a", b"2")
            assert caught.value.maybe_applied
            assert states.wait(2 * number + 2)[-2:] == [SUSPENDED, CONNECTED]
        assert zk.get("/a")[1].version == times
        assert zk.set("/a", b"3").version == times + 1
    assert [request.outcome for request in server.requests() if request.path == "/a" and request.op == "SetData"] == [
        *["ConnectionLoss"] * times, "OK",
    ]  # fmt: skip
    with server.lose_answer():
        zk.get("/a")  # no write
    assert zk.create("/c") == "/c" and len(states.seen) == 2 * times
    with pytest.raises(ValueError, match="times 0"):
        server.lose_answer(times=0)


#: Switches that matter to those who connect: begin one, and begin one of a second kind of the same.
REFUSALS: Dict[str, Callable[[EmbeddedServer], Any]] = {
    "lag_behind": lambda server: server.lag_behind(0),
    "refuse_sessions": lambda server: server.refuse_sessions(),
    "go_read_only": lambda server: server.go_read_only(),
    "down": lambda server: server.down(),
}


@pytest.mark.long
@pytest.mark.parametrize("switch", REFUSALS)
def test_refusals_are_nested(front: Front, switch: str) -> None:
    server = front.server()
    zk, states = front.client(server.hosts, timeout=10.0), Log()
    zk.create("/a", b"1")
    zk.add_listener(states)
    with REFUSALS[switch](server):
        with REFUSALS[switch](server):
            server.cut()
            states.wait(1)
        with pytest.raises(OperationTimeoutError):
            zk.get("/a", timeout=0.2)
        assert states.seen == [SUSPENDED]
    assert states.until(lambda seen: seen[-1] == CONNECTED)[-1] == CONNECTED and zk.get("/a")[0] == b"1"


@pytest.mark.long
@pytest.mark.parametrize("switch", REFUSALS)
def test_heal_ends_refusals_too(front: Front, switch: str) -> None:
    server = front.server()
    zk, states = front.client(server.hosts, timeout=10.0), Log()
    zk.create("/a", b"1")
    zk.add_listener(states)
    fault = REFUSALS[switch](server)
    server.cut()
    states.wait(1)
    server.heal()
    states.until(lambda seen: seen[-1] == CONNECTED)
    assert zk.get("/a", timeout=10.0)[0] == b"1"
    fault.end()  # of no effect
    assert zk.get("/a", timeout=10.0)[0] == b"1"


def test_what_ends_a_switch_by_hand_ends_all_of_its_kind(front: Front) -> None:
    server, zk, states = client(front)
    with server.refuse_sessions(), server.lag_behind(0), server.delay(60.0), server.black_hole("out"):
        server.refuse_sessions(False)
        server.lag_behind(None)
        server.delay(0)
    server.cut()
    assert states.wait(2) == [SUSPENDED, CONNECTED]
    with server.go_read_only():
        states.until(lambda seen: seen[-1] != CONNECTED)
        server.go_read_only(False)
        states.until(lambda seen: seen[-1] == CONNECTED)
        zk.set("/a", b"2")


def test_a_block_that_raises_ends_its_fault(front: Front) -> None:
    server, zk, states = client(front)
    with pytest.raises(ZeroDivisionError), server.black_hole():
        raise ZeroDivisionError
    assert zk.create("/b") == "/b" and states.seen == []


@pytest.mark.slow
def test_the_end_of_a_black_hole_tells_those_who_have_been_dropped(front: Front) -> None:
    server, zk, states = client(front)
    with server.black_hole():
        until(lambda: not server.sessions)
    states.until(lambda seen: seen[-2:] == [LOST, CONNECTED])
    (call,) = front.submit(zk, [Create("/b")])
    assert call.result(5) == "/b"
