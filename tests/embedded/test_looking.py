"""What a test may look at: nodes, requests and sessions of the embedded server, and waiting for them."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, List

import pytest

from tests.kit.fronts import Front, Log, until
from zkwire.client import ZooKeeper
from zkwire.embedded import EmbeddedEnsemble, EmbeddedServer
from zkwire.embedded.journal import KEPT, Journal
from zkwire.errors import BadVersionError, ConnectionLoss, NoNodeError
from zkwire.ops import Exists, GetData


def test_the_tree(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)
    assert server.tree() == {}
    zk.create("/b", b"2")
    zk.create("/a/b", b"1", makepath=True)
    zk.create("/ab")
    assert list(server.tree().items()) == [("/a", b""), ("/a/b", b"1"), ("/ab", b""), ("/b", b"2")]
    assert server.tree("/a") == server.tree("/a/") == {"/a/b": b"1"}
    assert server.tree("/none") == server.tree("/b") == {}
    assert "/zookeeper/quota" in server.tree("/zookeeper")


def test_planting(front: Front) -> None:
    server = front.server()
    server.plant({"/a/b/c": b"1", "/a": b"2"})
    assert server.tree() == {"/a": b"2", "/a/b": b"", "/a/b/c": b"1"}
    zk, log = front.client(server.hosts), Log()
    assert zk.get("/a/b/c", watch=log)[1].version == 0
    server.plant({"/a/b/c": b"3"})
    assert log.wait(1)[0].type == "CHANGED" and zk.get("/a/b/c")[1].version == 1
    zk.set("/a/b/c", b"4", version=1)
    with pytest.raises(ValueError, match="cannot plant '/a/': invalid"):
        server.plant({"/a//b": b""})


def _asked(server: EmbeddedServer) -> List[Any]:
    return [(request.op, request.path, request.outcome) for request in server.requests()]


def test_requests(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=10.0)
    session = zk.client_id[0]
    zk.create("/ä")
    with pytest.raises(NoNodeError):
        zk.get("/none")
    with pytest.raises(BadVersionError):
        zk.set("/ä", b"", version=7)
    zk.get_children("/")
    zk.close()
    assert _asked(server) == [
        ("Connect", None, "OK"), ("Create", "/ä", "OK"), ("GetData", "/none", "NoNodeError"),
        ("SetData", "/ä", "BadVersionError"), ("GetChildren", "/", "OK"), ("CloseSession", None, "OK"),
    ]  # fmt: skip
    requests = server.requests()
    assert {request.session for request in requests} == {session}
    assert [request.at for request in requests] == sorted(request.at for request in requests)
    assert all(request.took is not None and 0 <= request.took < 5 for request in requests)


def test_requests_with_events_between_them_and_many_at_once(front: Front) -> None:
    server = front.server()
    zk, log = front.client(server.hosts), Log()
    zk.create("/a")
    for _ in range(50):
        zk.exists("/a", watch=log)
        zk.set("/a", b"")
    log.wait(50)
    for call in front.submit(zk, [GetData("/a") if number % 2 else Exists("/b") for number in range(1000)]):
        call.exception(10)
    asked = _asked(server)[-1000:]
    assert asked == [("Exists", "/b", "NoNodeError"), ("GetData", "/a", "OK")] * 500


def test_a_handshake_that_resumes_and_one_that_is_refused(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)
    session = zk.client_id[0]
    with server.refuse_sessions():
        server.cut()
        server.wait_for(lambda: _asked(server)[-1] == ("Connect", None, "ConnectionLoss"))
    server.wait_for(lambda: _asked(server)[-1] == ("Connect", None, "OK"))
    assert {request.session for request in server.requests()} == {session}
    server.expire(session)
    server.wait_for(lambda: ("Connect", None, "SessionExpiredError") in _asked(server))
    server.wait_for(lambda: server.connected and session not in server.connected)


def test_pings_are_shown_on_demand(front: Front) -> None:
    server = front.server()
    front.client(server.hosts, timeout=0.3)
    server.wait_for(lambda: [r for r in server.requests(pings=True) if r.op == "Ping" and r.outcome == "OK"])
    assert _asked(server) == [("Connect", None, "OK")]


def test_what_is_no_request_is_not_listed(front: Front) -> None:
    server = front.server()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"ruok")
        assert sock.recv(10) == b"imok"
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        assert sock.recv(10) == b""
    zk = front.client(server.hosts)
    zk.create("/a")
    assert _asked(server) == [("Connect", None, "OK"), ("Create", "/a", "OK")]


def test_the_journal_is_bounded_and_forgets_connections() -> None:
    journal = Journal()
    frame = b"\x00\x00\x00\x0c" + b"\x00\x00\x00\x01" + b"\x00\x00\x00\x04" + b"\x00\x00\x00\x00"
    journal.heard("one", frame * (KEPT + 10), 0.0)
    assert len(journal.requests(False)) == KEPT
    journal.ended("one")
    assert {request.outcome for request in journal.requests(False)} == {"ConnectionLoss"}
    assert journal._talks == {}


def test_connected(front: Front) -> None:
    server = front.server()
    assert server.connected == ()
    zk = front.client(server.hosts)
    assert server.connected == server.sessions == (zk.client_id[0],)
    with server.down():
        assert server.connected == () and server.sessions == (zk.client_id[0],)


def test_wait_for_wakes_at_a_change(monkeypatch: pytest.MonkeyPatch, front: Front) -> None:
    monkeypatch.setattr("zkwire.embedded.looking._GLANCE", 60.0)
    server = front.server()
    zk = front.client(server.hosts)
    threads = [threading.Thread(target=zk.create, args=("/a", b"1"))]
    seen: List[bytes] = []

    def condition() -> bytes:
        value = server.tree().get("/a", b"")
        seen.append(value)
        if threads and not threads[0].is_alive() and len(seen) == 1:
            threads[0].start()
        return value

    began = time.monotonic()
    assert server.wait_for(condition, 50.0) == b"1" and seen[0] == b""
    assert time.monotonic() - began < 20
    threads.pop().join(5)
    with pytest.raises(AssertionError):
        server.wait_for(lambda: None, 0.0)


def test_wait_for_may_ask_for_something_else(front: Front) -> None:
    server, event = front.server(), threading.Event()
    timer = threading.Timer(0.1, event.set)
    timer.start()
    assert server.wait_for(event.is_set)
    timer.join(5)


def test_wait_for_says_what_was_last_seen(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)
    zk.create("/a")
    with pytest.raises(AssertionError) as caught:
        server.wait_for(lambda: [], 0.1)
    text = str(caught.value)
    assert "not within 0.1 s: the last value was []" in text and f"sessions: 0x{zk.client_id[0]:x}" in text
    assert "Create /a: OK" in text and "nodes: ['/a']" in text
    with pytest.raises(ZeroDivisionError):
        server.wait_for(lambda: 1 / 0)
    until(lambda: zk.exists("/a"))


def test_each_member_of_an_ensemble_is_looked_at_by_itself() -> None:
    with EmbeddedEnsemble(3) as ensemble:
        leader = ensemble.await_leader()
        follower = next(member for member in ensemble.members if member is not leader)
        with ZooKeeper(follower.hosts, timeout=10.0) as zk:
            with follower.lose_answer(), pytest.raises(ConnectionLoss):
                zk.create("/a", b"1")
            assert zk.get("/a")[0] == b"1" and follower.tree() == {"/a": b"1"}
            assert follower.connected == leader.sessions == (zk.client_id[0],) and leader.connected == ()
            assert _asked(follower)[1] == ("Create", "/a", "ConnectionLoss") and _asked(leader) == []
            with leader.refuse_sessions():
                leader.cut()
                assert zk.get("/a")[0] == b"1"
