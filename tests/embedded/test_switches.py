"""The fault switches of the embedded server from the side of their user: what docs/testing.md says a service sees.

Each on both fronts, through nothing but the public API.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from zkdisco import Event, Service
from zkwire import KeeperState
from zkwire.embedded import EmbeddedServer
from zkwire.errors import (
    ConnectionLoss, NoNodeError, NotReadOnlyCallError, OperationTimeoutError, SessionExpiredError, ThrottledOpError, UnimplementedError,
)  # fmt: skip
from zkwire.ops import Create, SetData

COOKBOOK = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
CONNECTED, SUSPENDED, LOST = "CONNECTED", "SUSPENDED", "LOST"


def client(front: Front, **settings: Any) -> Tuple[EmbeddedServer, Any, Log]:
    """A server, a client of it that has made /a and its own /mine, and what its listener hears from now on."""
    server = front.server(**settings)
    zk, states = front.client(server.hosts), Log()
    zk.create("/a", b"1")
    zk.create("/mine", b"", ephemeral=True)
    zk.add_listener(states)
    return server, zk, states


def unanswered(front: Front, server: EmbeddedServer, zk: Any) -> Any:
    """The future of a write that the server has carried out and will not answer before it is healed."""
    server.black_hole("out")
    before = server.zxid
    (call,) = front.submit(zk, [SetData("/a", b"2")])
    until(lambda: server.zxid > before)
    return call


def resumed(states: Log) -> None:
    """The connection broke and came back, with the session."""
    assert states.wait(2) == [SUSPENDED, CONNECTED]


def renewed(states: Log) -> List[Any]:
    """The session was lost, and there is a new one."""
    return states.until(lambda seen: seen[-2:] == [LOST, CONNECTED])


def test_expire(front: Front) -> None:
    server, zk, states = client(front)
    old, call = zk.client_id[0], unanswered(front, server, zk)
    assert server.expire(old)
    server.heal()
    error = call.exception(10)
    assert isinstance(error, (SessionExpiredError, ConnectionLoss)) and error.maybe_applied
    renewed(states)
    assert zk.client_id[0] != old and zk.exists("/mine") is None and zk.get("/a")[0] == b"2"
    assert old not in server.sessions and not server.expire(old)


def test_expire_one_and_no_other(front: Front) -> None:
    server, zk, states = client(front)
    other = front.client(server.hosts)
    server.expire(other.client_id[0])
    until(lambda: other.connected and other.client_id[0] in server.sessions)
    assert zk.exists("/mine") and states.seen == []


@pytest.mark.parametrize("reset", [False, True])
def test_cut(front: Front, reset: bool) -> None:
    server, zk, states = client(front)
    session, log = zk.client_id[0], Log()
    zk.get("/a", watch=log)
    call = unanswered(front, server, zk)
    assert server.cut(session, reset=reset) == 1
    server.heal()
    error = call.exception(10)
    assert isinstance(error, ConnectionLoss) and error.maybe_applied
    resumed(states)
    assert zk.client_id[0] == session and zk.exists("/mine") and zk.get("/a")[1].version == 1
    assert log.wait(1)[0].type == "CHANGED"  # the watch was taken along


@pytest.mark.slow
def test_black_hole_in_and_out(front: Front) -> None:
    """Nothing arrives; the session is over at the server, and soon known to be; afterwards there is a new one."""
    server, zk, states = client(front)
    began = time.monotonic()
    server.black_hole()
    with pytest.raises((ConnectionLoss, OperationTimeoutError)) as caught:
        zk.set("/a", b"2")
    assert caught.value.maybe_applied
    states.wait(1)
    assert 0.3 < time.monotonic() - began < 2.0 and states.seen[0] == SUSPENDED  # two thirds of the session timeout
    until(lambda: not server.sessions)
    server.heal()
    renewed(states)
    assert zk.exists("/mine") is None and zk.get("/a")[0] == b"1"


def test_black_hole_out_applies_what_it_does_not_answer(front: Front) -> None:
    server, zk, states = client(front)
    server.black_hole("out")
    with pytest.raises(OperationTimeoutError) as caught:
        zk.set("/a", b"2", timeout=0.1)
    assert caught.value.maybe_applied
    server.heal()
    assert zk.get("/a")[0] == b"2" and zk.get("/a")[1].version == 1


@pytest.mark.long
def test_black_hole_of_one_session(front: Front) -> None:
    server, zk, states = client(front)
    other = front.client(server.hosts)
    server.black_hole("both", other.client_id[0])
    with pytest.raises((ConnectionLoss, OperationTimeoutError)):
        other.get("/a", timeout=0.1)
    assert zk.get("/a")[0] == b"1"


@pytest.mark.long
def test_delay(front: Front) -> None:
    server, zk, states = client(front)
    server.delay(0.2)
    began = time.monotonic()
    assert zk.get("/a")[0] == b"1"
    assert time.monotonic() - began >= 0.2
    with pytest.raises(OperationTimeoutError) as caught:
        zk.set("/a", b"2", timeout=0.05)
    assert caught.value.maybe_applied and zk.get("/a")[0] == b"2"
    server.delay(0)
    assert zk.get("/mine")[0] == b"" and states.seen == []  # the late answer was nobody else's


@pytest.mark.parametrize("size", [1, 9, 100])
def test_drop_after(front: Front, size: int) -> None:
    server, zk, states = client(front)
    session = zk.client_id[0]
    server.drop_after(size, session)
    outcomes = [call.exception(10) for call in front.submit(zk, [SetData("/a", b"%d" % n) for n in range(20)])]
    lost = [error for error in outcomes if error is not None]
    assert lost and all(isinstance(error, ConnectionLoss) for error in lost)
    assert len(lost) >= len(outcomes) - size // 88  # an answer has 4 + 16 + 68 bytes
    resumed(states)
    assert zk.client_id[0] == session and zk.exists("/mine")
    # None was sent again: every write that was answered, and at most each of the others, once.
    assert len(outcomes) - len(lost) <= zk.get("/a")[1].version <= len(outcomes)


def test_answer(front: Front) -> None:
    server, zk, states = client(front)
    server.answer(-127, SetData, "/a", times=2)
    assert zk.get("/a")[0] == b"1"
    for _ in range(2):
        with pytest.raises(ThrottledOpError) as caught:
            zk.set("/a", b"2")
        assert not caught.value.maybe_applied
    assert zk.get("/a")[1].version == 0
    zk.set("/a", b"2")
    server.answer(-4, Create, applied=True)
    with pytest.raises(ConnectionLoss):
        zk.create("/b")
    assert zk.exists("/b") and states.seen == []


def test_lag_behind(front: Front) -> None:
    """Who has seen more is refused, as by a server that is behind; one that has seen nothing is welcome."""
    server, zk, states = client(front)
    zk.get("/a")
    server.lag_behind(server.zxid - 1)
    assert zk.get("/a")[0] == b"1"
    server.cut(zk.client_id[0])
    states.wait(1)
    assert front.client(server.hosts).get("/a")[0] == b"1"
    assert states.seen == [SUSPENDED]
    server.lag_behind(None)
    resumed(states)


@pytest.mark.long
def test_refuse_sessions(front: Front) -> None:
    server, zk, states = client(front)
    server.refuse_sessions()
    with pytest.raises(OperationTimeoutError):
        front.new(server.hosts).start(0.3)
    assert zk.get("/a")[0] == b"1"
    server.cut(zk.client_id[0])
    assert states.wait(1) == [SUSPENDED]
    server.refuse_sessions(False)
    resumed(states)


def test_restart(front: Front) -> None:
    server, zk, states = client(front)
    session, log = zk.client_id[0], Log()
    zk.get("/a", watch=log)
    server.restart()
    resumed(states)
    assert zk.client_id[0] == session and zk.exists("/mine")
    zk.set("/a", b"2")
    assert log.wait(1)[0].type == "CHANGED"


@pytest.mark.long
def test_stop_and_start(front: Front) -> None:
    server, zk, states = client(front)
    short, seen = front.client(server.hosts, timeout=0.3), Log()
    short.add_listener(seen)
    server.stop()
    states.wait(1)
    with pytest.raises(OperationTimeoutError) as caught:
        zk.set("/a", b"2", timeout=0.1)
    assert not caught.value.maybe_applied  # it never left
    assert seen.wait(2) == [SUSPENDED, LOST]
    server.start()
    resumed(states)
    assert zk.get("/a")[1].version == 0 and short.get("/a")[0] == b"1"


@fault("X21")
def test_upgrade(front: Front) -> None:
    """The session survives, and what the old version did not know, the new one does."""
    server, zk, states = client(front, version="3.5")
    session, log = zk.client_id[0], Log()
    with pytest.raises(UnimplementedError):
        zk.add_watch("/a", log)
    resumed(states)  # a server hangs up on what it does not know
    server.upgrade("3.9")
    assert states.wait(4) == [SUSPENDED, CONNECTED] * 2
    assert zk.client_id[0] == session and zk.exists("/mine") and zk.server_version()[:2] == (3, 9)
    zk.add_watch("/a", log)
    zk.set("/a", b"2")
    assert log.wait(1)[0].type == "CHANGED"
    with pytest.raises(ValueError, match="4.0"):
        server.upgrade("4.0")


@pytest.mark.slow
def test_wipe(front: Front) -> None:
    server, zk, states = client(front)
    server.wipe()
    renewed(states)
    with pytest.raises(NoNodeError):
        zk.get("/a")
    assert zk.exists("/mine") is None


@pytest.mark.slow
def test_go_read_only(front: Front) -> None:
    server, zk, states = client(front)
    reader, seen = front.client(server.hosts, read_only=True), Log()
    reader.add_listener(seen)
    server.go_read_only()
    assert states.wait(1) == [SUSPENDED]
    until(lambda: reader.client_state == KeeperState.CONNECTED_RO)
    assert seen.wait(3) == [SUSPENDED, LOST, CONNECTED]  # a read-only server takes no session it has not made
    assert reader.get("/a")[0] == b"1"
    with pytest.raises(NotReadOnlyCallError) as caught:
        reader.set("/a", b"2")
    assert not caught.value.maybe_applied
    server.go_read_only(False)
    until(lambda: zk.connected and reader.client_state == KeeperState.CONNECTED)
    zk.set("/a", b"2")
    reader.set("/a", b"3")


def test_heal_ends_them_all(front: Front) -> None:
    server, zk, states = client(front)
    server.black_hole("out")
    server.delay(60.0)
    server.drop_after(200)
    server.answer(-127, times=100)
    server.lag_behind(0)
    server.refuse_sessions()
    server.heal()
    assert zk.get("/a")[0] == b"1"
    server.cut()
    resumed(states)
    assert front.client(server.hosts).get("/a")[0] == b"1"


def _owners(zk: Any) -> List[int]:
    """The sessions whose instances there are; none while there is no telling."""
    try:
        stats = [zk.exists(f"/services/api/{name}") for name in zk.get_children("/services/api")]
    except (ConnectionLoss, SessionExpiredError, OperationTimeoutError, NoNodeError):
        return []
    return [stat.ephemeralOwner for stat in stats if stat is not None]


def test_heal_lets_arrive_what_was_delayed(front: Front) -> None:
    server, zk, states = client(front)
    before = server.zxid
    server.delay(60.0)
    (call,) = front.submit(zk, [SetData("/a", b"2")])
    until(lambda: server.zxid > before)
    server.heal()
    assert call.result(9).version == 1 and states.seen == []


TROUBLES = {
    "expire": lambda server: [server.expire(session) for session in server.sessions],
    "cut": lambda server: server.cut(),
    "black_hole": lambda server: server.black_hole(),
    "delay": lambda server: server.delay(0.2),
    "drop_after": lambda server: server.drop_after(9),
    "answer": lambda server: (server.answer(-127, times=5), server.expire(server.sessions[0])),
    "lag_behind": lambda server: (server.lag_behind(0), server.cut()),
    "refuse_sessions": lambda server: (server.refuse_sessions(), server.cut()),
    "restart": lambda server: server.restart(),
    "wipe": lambda server: server.wipe(),
    "go_read_only": lambda server: server.go_read_only(),
    "upgrade": lambda server: server.upgrade("3.8"),
}
#: Switches that break no connection of the instancer.
QUIET = {"delay", "answer"}


@pytest.mark.slow
@pytest.mark.parametrize("switch", TROUBLES)
def test_discovery_is_as_before_when_it_is_over(front: Front, switch: str) -> None:
    """The last column of the table: with zkdisco, nothing need be done."""
    server = front.server()
    mine, theirs = front.client(server.hosts), front.client(server.hosts)
    registrar = front.registrar(front.disco(zk=mine), Service("/services", "api", b"10.0.0.1:80"))
    registrar.register()
    events = Log()
    front.instancer(front.disco(zk=theirs), "/services/api").register(events)
    events.until(lambda seen: seen and seen[-1] == Event(("10.0.0.1:80",)))
    TROUBLES[switch](server)
    if switch not in QUIET:
        events.until(lambda seen: any(event.error for event in seen))
    server.heal()
    server.go_read_only(False)
    until(lambda: mine.connected and registrar.node and _owners(theirs) == [mine.client_id[0]])
    events.until(lambda seen: seen[-1] == Event(("10.0.0.1:80",)))
    assert {event.instances for event in events.seen} <= {("10.0.0.1:80",), ()}


def test_the_table_has_every_switch() -> None:
    rows = {name for row in re.findall(r"^\| (`.*?) \|", COOKBOOK, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    assert set(TROUBLES) <= rows and all(hasattr(EmbeddedServer, name) for name in TROUBLES)
