"""The fault catalogue's rows on sessions, on both fronts: servers that go and come, sessions that end, move or leak."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness.proxy import FaultProxy
from tests.kit.fronts import Front, Log, Requests, real, settled, until
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionClosedError, ConnectionLoss, NoNodeError, OperationTimeoutError, SessionExpiredError
from zkwire.wire.jute import decode, encode
from zkwire.ops import Create, GetData, SetData
from zkwire.wire.messages import CONNECT_REQUEST, CONNECT_RESPONSE, ConnectRequest, ConnectResponse

T = 1.0
ROOT = Path(__file__).parents[2]


def listening(zk: Any) -> Log:
    """A log of the states to come."""
    log = Log()
    zk.add_listener(log)
    return log


def closing(zk: Any) -> float:
    """Close it; the seconds that took."""
    began = time.monotonic()
    zk.close()
    return time.monotonic() - began


def shaken_hands(port: int, session: Tuple[int, bytes]) -> Tuple[socket.socket, ConnectResponse]:
    """Somebody presents a session; the open connection, and the answer."""
    sock = socket.create_connection(("127.0.0.1", port))
    body = encode(CONNECT_REQUEST, ConnectRequest(0, 0, 1000, session[0], session[1], False))
    sock.sendall(struct.pack(">i", len(body)) + body)
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack_from(">i", data)[0]:
        data += sock.recv(1000)
    return sock, decode(CONNECT_RESPONSE, data[4:])


@pytest.mark.slow
@fault("S01")
def test_a_restart_within_the_timeout_costs_what_was_in_flight_and_nothing_else(front: Front) -> None:
    server = front.server()
    zk, other = front.client(server.hosts, timeout=4.0), front.client(server.hosts, timeout=4.0)
    states, changed, listed = listening(zk), Log(), Log()
    zk.create("/e", ephemeral=True)
    zk.create("/p")
    zk.get("/e", watch=changed)
    zk.get_children("/p", watch=listed)
    session = zk.client_id
    server.black_hole("in", session[0])
    in_flight = [zk.submit(GetData("/e")) for _ in range(5)]
    server.stop()
    losses = [call.exception(5) for call in in_flight]
    assert all(isinstance(loss, ConnectionLoss) for loss in losses)
    assert losses[0].sent, 'the others may have been held back to go together'
    states.wait(1)
    waiting = [zk.submit(GetData("/e")) for _ in range(5)]
    server.start()
    assert [call.exception(5) for call in waiting] == [None] * 5, "what is called meanwhile waits, and succeeds"
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session
    assert other.exists("/e").ephemeralOwner == session[0]
    settled(zk)
    assert changed.seen == listed.seen == []
    other.set("/e", b"x")
    other.create("/p/c")
    zk.sync("/")
    settled(zk)
    assert changed.events == [("CHANGED", "/e")]
    assert listed.events == [("CHILD", "/p")]


@pytest.mark.slow
@fault("S02")
def test_an_outage_longer_than_the_timeout_is_told_once_to_everybody(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=3.0)
    states, watcher = listening(zk), Log()
    zk.create("/e", ephemeral=True)
    zk.get("/e", watch=watcher)
    zk.get_children("/e", watch=watcher)
    zk.add_watch("/", watcher, recursive=True)
    session = zk.client_id
    proxy.refuse()
    proxy.cut()
    states.wait(1)
    pending = [zk.submit(op) for op in (GetData("/e"), SetData("/e", b""), Create("/f", ephemeral=True))]
    assert server.expire(session[0])  # its time is over
    proxy.heal()
    errors = [call.exception(5) for call in pending]
    assert [type(error) for error in errors] == [SessionExpiredError] * 3
    assert not any(error.maybe_applied for error in errors)
    began = time.monotonic()
    assert zk.exists("/e") is None  # a new call is one of the new session, and waits for nothing else
    assert time.monotonic() - began < 1.0
    states.wait(3)
    assert zk.client_id != session
    told = [(event.type, event.state, event.path) for event in watcher.seen]
    assert sorted(told) == [("NONE", "EXPIRED_SESSION", "/"), ("NONE", "EXPIRED_SESSION", "/e")]
    zk.create("/e")
    zk.delete("/e")
    settled(zk)
    assert len(watcher.seen) == 2
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"]


@pytest.mark.slow
@fault("S02")
def test_after_an_outage_no_call_outwaits_a_session_timeout(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=0.6)
    states = listening(zk)
    server.stop()
    states.until(lambda seen: "LOST" in seen)
    began = time.monotonic()
    with pytest.raises(ConnectionLoss) as caught:
        zk.get("/a")
    assert not caught.value.maybe_applied
    assert time.monotonic() - began < 0.6 + 0.3
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST"]


@pytest.mark.slow
@fault("S03")
def test_no_server_for_four_thirds_of_the_timeout_is_expiry(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=T)
    states, watcher = listening(zk), Log()
    zk.exists("/a", watch=watcher)
    heard = time.monotonic()
    proxy.refuse()
    proxy.cut()
    states.until(lambda seen: "LOST" in seen)
    assert T * 4 / 3 - 0.05 < time.monotonic() - heard < T * 4 / 3 + 0.4
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST"]
    assert [event.state for event in watcher.wait(1)] == ["EXPIRED_SESSION"]
    proxy.heal()
    states.wait(3)
    assert zk.exists("/a") is None


ASLEEP = """
    import os, sys
    import zkwire.session.host_provider
    from tests.kit.fronts import Front
    from zkwire.errors import ConnectionLoss, SessionExpiredError
    from zkwire.ops import Create

    def say(*words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    zkwire.session.host_provider.SPREAD = 0.02
    front = Front(sys.argv[1])
    zk = front.client(sys.argv[2], timeout=0.5)
    zk.add_listener(say)
    zk.create("/e", ephemeral=True)
    say(zk.client_id[0])
    sys.stdin.readline()
    for call in [zk.submit(Create("/stale%d" % i, ephemeral=True)) for i in range(3)]:
        error = call.exception(5)
        say(type(error).__name__ if error else "ok")
    while True:
        try:
            say(zk.create("/fresh", ephemeral=True))
            break
        except (ConnectionLoss, SessionExpiredError):
            pass  # it was still one of the old session
    sys.stdin.readline()
    front.close()
    say("closed", front.complaints)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP on this system")
@pytest.mark.parametrize("name", ["threads", "asyncio"])
@fault("S04")
def test_a_client_that_slept_longer_than_its_timeout(name: str) -> None:
    """On wake it asks the server, and hears that it has expired; nothing of the stale connection counts."""
    requests = Requests()
    with EmbeddedServer(tick=0.05) as server, FaultProxy("127.0.0.1", server.port, tap=requests) as proxy:
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(ASLEEP), name, proxy.hosts], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with child:
            assert child.stdin and child.stdout
            session = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGSTOP)
            asleep = time.monotonic()
            until(lambda: server.sessions == () and time.monotonic() > asleep + 1.0)  # twice the timeout
            child.stdin.write("\n")
            child.stdin.flush()
            os.kill(child.pid, signal.SIGCONT)
            lines: List[str] = []
            while "/fresh" not in lines or "CONNECTED" not in lines:  # two threads of it say these
                lines.append(child.stdout.readline().strip())
                assert lines[-1], lines
            (fresh,) = server.sessions
            assert fresh != session
            nodes = server._core.data.tree.nodes
            states = [line for line in lines if line in ("SUSPENDED", "LOST", "CONNECTED")]
            assert states == ["SUSPENDED", "LOST", "CONNECTED"]
            assert requests.presented == [0, session, 0], "the server was asked, and its word is what counts"
            outcomes = [line for line in lines if line not in states and line != "/fresh"]
            assert len(outcomes) == 3
            for number, outcome in enumerate(outcomes):
                assert outcome in ("ok", "ConnectionLoss", "SessionExpiredError")
                assert (f"/stale{number}" in nodes) == (outcome == "ok")
                assert outcome != "ok" or nodes[f"/stale{number}"].owner == fresh
            assert "/e" not in nodes
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.read().splitlines() == ["LOST", "closed []"]
            assert child.wait(10) == 0


@pytest.mark.slow
@fault("S05")
def test_jumps_of_the_wall_clock_are_of_no_effect(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=1.0)
    states, session = listening(zk), zk.client_id
    zk.create("/e", ephemeral=True)
    true_time = time.time
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "zkwire"]
    assert not [module for module in modules if true_time in vars(module).values()], "out of reach of what follows"
    for day in (86_400, -86_400):
        monkeypatch.setattr(time, "time", lambda day=day: true_time() + day)
        received, _ = server._core.traffic()
        until(lambda received=received: server._core.traffic()[0] >= received + 2)  # pings go on
        assert zk.get("/e")[0] == b""
        with pytest.raises(OperationTimeoutError):
            server.delay(0.3)
            zk.get("/e", timeout=0.1)
        server.delay(0)
    settled(zk)
    assert (states.seen, zk.client_id) == ([], session)


@pytest.mark.slow
@fault("S06")
def test_a_session_that_moved_is_resumed_and_has_one_connection(front: Front) -> None:
    """Somebody else takes it over: we get the end of our connection, and take it back. We never fight ourselves."""
    server = front.server()
    left, right = front.proxy(server), front.proxy(server)
    zk = front.client(f"{left.hosts},{right.hosts}", timeout=2.0)
    states, session = listening(zk), zk.client_id
    zk.create("/e", ephemeral=True)

    def served() -> List[Any]:
        return [link for link in list(server._core.links) if link.session_id == session[0]]

    sock, response = shaken_hands(server.port, session)
    assert response.session_id == session[0]
    states.wait(2)
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]
    assert sock.recv(1) == b"", "who has taken it over has lost it in turn"
    sock.close()
    assert zk.client_id == session
    assert len(served()) == 1
    for number in range(2):  # and now by our own moves, from one address of the server to the other
        for proxy in (left, right):
            proxy.cut()
        states.wait(2 * number + 4)
        assert zk.exists("/e").ephemeralOwner == session[0]
        assert len(served()) == 1
        assert left.open + right.open == 1, "one connection at a time"
    assert zk.client_id == session


@fault("S07")
def test_a_stranger_with_a_wrong_password_costs_a_connection_not_the_session(front: Front) -> None:
    server = front.server(version="3.8")
    zk = front.client(server.hosts)
    states, session, watcher = listening(zk), zk.client_id, Log()
    zk.create("/e", ephemeral=True)
    zk.get("/e", watch=watcher)
    sock, response = shaken_hands(server.port, (session[0], b"guessed password"))
    sock.close()
    assert (response.session_id, response.timeout_ms) == (0, 0)
    states.wait(2)
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]
    assert zk.client_id == session
    assert zk.exists("/e").ephemeralOwner == session[0]
    zk.set("/e", b"1")
    assert watcher.wait(1)[0].type == "CHANGED"


@pytest.mark.long
@fault("S09")
def test_nobody_is_left_without_an_answer_when_close_returns(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a long session timeout the core gives up at the very moment up to which close() waits."""
    for module in ("session.session", "client", "aio"):
        monkeypatch.setattr(f"zkwire.{module}.CLOSE_LIMIT", 0.4)
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=30.0)
    scripted.request = lambda wire, xid, op: True
    call = zk.submit(GetData("/a"))
    if not front.is_asyncio:  # whose one thread does both, in this order

        def keep_the_keeper_waiting() -> None:
            with real(zk)._driver._sockets.lock:
                threading.Event().wait(0.2)  # on a busy machine it comes late

        threading.Timer(0.3, keep_the_keeper_waiting).start()
    began = time.monotonic()
    zk.close()
    assert real(zk)._session.pending == 0
    assert isinstance(call.exception(1), ConnectionClosedError)
    assert 0.4 <= time.monotonic() - began < 0.9


@pytest.mark.slow
@fault("S09")
def test_close_is_bounded_when_the_server_is_silent(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=T)
    zk.create("/a")
    proxy.black_hole()
    pending = [zk.submit(GetData("/a")) for _ in range(10)]
    assert closing(zk) < max(0.5, T / 3) + 0.3
    errors = [call.exception(9) for call in pending]
    assert all(isinstance(error, (ConnectionClosedError, ConnectionLoss)) for error in errors)
    with pytest.raises(ConnectionClosedError):
        zk.get("/a")
    long = front.client(server.hosts, timeout=60.0)
    monkeypatch.setattr("zkwire.session.session.CLOSE_LIMIT", 0.3)  # 5 s are for a virtual clock
    server.black_hole()
    call = long.submit(GetData("/a"))
    assert closing(long) < 0.6
    assert isinstance(call.exception(0), (ConnectionClosedError, ConnectionLoss))
    server.heal()


@fault("S10")
def test_the_end_of_the_stream_instead_of_an_answer_is_a_close(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    for how in ("fin", "rst"):
        zk = front.client(proxy.hosts, timeout=3.0)
        zk.create("/e", ephemeral=True)
        proxy.cut_after(0, "down", how)  # the answer, when it comes, is swallowed with the connection
        connections = proxy.connections
        assert closing(zk) < 0.5
        assert zk.client_state == "CLOSED"
        assert proxy.connections == connections
        assert server.sessions == ()
        assert "/e" not in server._core.data.tree.nodes


# ------------------------------------------------------------------------------ close


@fault("S11")
def test_close_twice_and_by_many_at_once(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)
    threads = [threading.Thread(target=zk.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert closing(zk) < 0.1
    never = front.new(server.hosts)
    never.close()
    never.close()
    assert server.sessions == ()


@fault("S11", "W23")
def test_close_in_a_watcher_and_in_a_listener(front: Front) -> None:
    server = front.server()
    for place in ("watcher", "listener"):
        zk, closed = front.client(server.hosts), threading.Event()
        client = real(zk)

        def close(news: Any, client: Any = client, closed: threading.Event = closed) -> Any:
            if not front.is_asyncio:
                client.close()
                client.close()
                return closed.set()

            async def both() -> None:
                await client.close()
                await client.close()
                closed.set()

            return both()

        if place == "watcher":
            zk.exists("/w", watch=close)
            assert zk.submit(Create("/w")).exception(5) is None, "what was under way is answered"
        else:
            zk.add_listener(close)
            server.cut()
        assert closed.wait(5)
        with pytest.raises(ConnectionClosedError):
            zk.get("/w")
        assert zk.client_state == "CLOSED"
    until(lambda: server.sessions == ())


EXITS = {
    "threads": """
        import atexit, sys
        from zkwire import ZooKeeper

        zk = ZooKeeper(sys.argv[1], timeout=2.0)
        zk.start()
        atexit.register(zk.close)
        atexit.register(zk.close)
    """,
    "asyncio": """
        import asyncio, atexit, sys
        from zkwire import AsyncZooKeeper

        async def main():
            global zk
            zk = AsyncZooKeeper(sys.argv[1], timeout=2.0)
            await zk.start()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        atexit.register(loop.close)
        atexit.register(lambda: loop.run_until_complete(zk.close()))
        atexit.register(lambda: loop.run_until_complete(zk.close()))
    """,
}


@pytest.mark.parametrize("name", EXITS)
@fault("S11")
def test_close_from_atexit(name: str) -> None:
    with EmbeddedServer(tick=0.05) as server:
        code = [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(EXITS[name]), server.hosts]
        done = subprocess.run(code, cwd=ROOT, timeout=20, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert server.sessions == ()


@fault("S11")
def test_close_from_a_destructor(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)

    class Owner:
        """Has a client, and closes it when it is forgotten."""

        def __del__(self) -> None:
            zk.close()
            zk.close()

    owner = [Owner()]
    owner.clear()
    assert zk.client_state == "CLOSED"
    assert server.sessions == ()


@fault("S12")
def test_what_was_asked_before_close_is_done_in_order(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=9.0)
    server.black_hole("in", zk.client_id[0])
    calls = front.submit(zk, [Create(f"/{i:04}") for i in range(1000)])
    closer = threading.Thread(target=zk.close)
    closer.start()
    with pytest.raises(ConnectionClosedError):
        while True:  # until close() has begun
            calls.append(zk.submit(Create(f"/{len(calls):04}")))
    server.heal()
    closer.join(5)
    assert [call.exception(0) for call in calls] == [None] * len(calls)
    nodes = server._core.data.tree.nodes
    made = [nodes[f"/{i:04}"].czxid for i in range(len(calls))]
    assert made == sorted(made)
    assert server.sessions == ()


@pytest.mark.slow
@fault("S13")
def test_starts_stops_and_failed_starts_leave_no_session(front: Front) -> None:
    server = front.server()
    for number in range(15):
        zk = front.client(server.hosts)
        zk.create(f"/{number}", ephemeral=True)
        assert len(server.sessions) == 1
        zk.stop()
        assert server.sessions == ()
    proxy = front.proxy(server)
    failures: List[Callable[[], None]] = [
        proxy.refuse, lambda: server.refuse_sessions(), lambda: proxy.cut_after(0, "down", "hole"),
    ]  # fmt: skip
    for fail in failures:
        fail()
        zk = front.new(proxy.hosts, timeout=0.4)
        with pytest.raises(OperationTimeoutError):
            zk.start(timeout=0.15)
        proxy.heal()
        server.heal()
    until(lambda: server.sessions == ())  # the answer to the last handshake never arrived: that session just expires
    assert server._core.data.tree.ephemerals == {} or not any(server._core.data.tree.ephemerals.values())
    again = front.client(server.hosts)
    with pytest.raises(NoNodeError):
        again.get("/0")
