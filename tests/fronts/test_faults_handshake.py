"""The catalogue's handshake rows, on both fronts: what a server can answer to the first frame, or not answer."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Any, List, Tuple

import pytest

import zkdisco
from tests.kit.catalogue import fault
from tests.kit.harness.proxy import FaultProxy
from tests.kit.fronts import SLACK, Front, Log, eager, real, settled, told, until
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import event_frame, welcome_frame
from zkwire.errors import ConnectionLoss, OperationTimeoutError, SessionExpiredError, TLSError
from zkwire.ops import GetData

T = 1.0


def after(bad: Scripted, good: Any, front: Front, **options: Any) -> Any:
    """A client that is not started, and tries the bad server first."""
    options.setdefault("timeout", T)
    return eager(front.new(f"{bad.hosts},{good.hosts}", randomize_hosts=False, **options))


def saying(data: bytes) -> Any:
    """A handshake that answers with these bytes, and waits for the client to hang up."""

    def handshake(wire: Wire) -> bool:
        wire.send(data)
        wire.until_closed()
        return True

    return handshake


def dripping(wire: Wire) -> bool:
    for byte in welcome_frame():
        wire.send(bytes([byte]))
        if wire.closed.wait(0.05):
            break
    wire.until_closed()
    return True


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "drips"])
@fault("H01", "H02")
def test_one_deadline_for_a_server_that_is_silent_or_drips(how: str, front: Front) -> None:
    bad, good = front.scripted(), front.scripted()
    bad.handshake = saying(b"") if how == "silent" else dripping
    zk = after(bad, good, front)
    began = time.monotonic()
    zk.start()
    assert T / 2 - 0.05 < time.monotonic() - began < T / 2 + SLACK
    assert zk.get("/a")[0] == b"proper"
    assert (bad.connections, good.connections) == (1, 1)
    only = eager(front.new(bad.hosts, connect_timeout=0.2))
    began = time.monotonic()
    with pytest.raises(OperationTimeoutError):
        only.start(timeout=1.0)
    assert time.monotonic() - began < 1.0 + 2 * SLACK
    assert bad.connections >= 3


@fault("H03")
def test_an_answer_without_its_last_byte(front: Front) -> None:
    scripted = front.scripted()
    scripted.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid, read_only=None)
    zk = front.client(scripted.hosts, read_only=True)
    assert (zk.state, zk.client_state) == ("CONNECTED", "CONNECTED")
    assert zk.get("/a")[0] == b"proper"
    assert scripted.connections == 1


def watched(zk: Any, path: str) -> Log:
    log = Log()
    zk.get(path, watch=log)
    return log


@fault("H04")
def test_expired_and_left_open_by_the_server(front: Front) -> None:
    scripted, hung_up = front.scripted(), threading.Event()
    zk = eager(front.client(scripted.hosts))
    states, old, log = told(zk), zk.client_id, watched(zk, "/a")

    def expired(wire: Wire) -> bool:
        scripted.handshake = None
        wire.send(welcome_frame(0, 0, b"\0" * 16))
        wire.until_closed()
        hung_up.set()
        return True

    scripted.handshake = expired
    scripted.cut()
    assert states.wait(3) == ["SUSPENDED", "LOST", "CONNECTED"]
    assert hung_up.wait(2), "we close what the server leaves open"
    assert [(e.type, e.state) for e in log.wait(1)] == [("NONE", "EXPIRED_SESSION")]
    assert zk.client_id != old and zk.get("/a")[0] == b"proper"


@pytest.mark.slow
@fault("H05")
def test_a_reply_header_instead_of_an_answer(front: Front) -> None:
    """As a read-only server of 3.8 gives to those who must write."""
    bad, good = front.scripted(), front.scripted()
    bad.handshake = saying(bytes.fromhex("00000010000000000000000100000006ffffff89"))
    zk = after(bad, good, front)
    began = time.monotonic()
    zk.start()
    assert time.monotonic() - began < T / 2, "no time-out has to pass"
    assert zk.get("/a")[0] == b"proper"
    only = front.new(bad.hosts, timeout=6.0)
    with pytest.raises(OperationTimeoutError, match="-119"):
        only.start(timeout=1.2)
    assert bad.connections <= 1 + 3


@fault("H06")
@pytest.mark.parametrize("why", ["zxid", "refusing", "read-only"])
def test_hung_up_on_instead_of_an_answer(why: str, front: Front) -> None:
    """By one server: the next one is tried, and the session kept."""
    server = front.server()
    first, second = front.proxy(server), front.proxy(server)
    zk = eager(front.client(f"{first.hosts},{second.hosts}", randomize_hosts=False, timeout=3.0))
    for i in range(10):
        zk.create(f"/{i}")
    session, states = zk.client_id, told(zk)
    refuse = {
        "zxid": lambda: server.lag_behind(3),
        "refusing": lambda: server.refuse_sessions(),
        "read-only": lambda: server.go_read_only(),
    }
    refuse[why]()
    server.cut()
    second.wait(lambda p: p.connections >= 1)
    settled(zk)
    assert "LOST" not in states.seen
    server.go_read_only(False)
    server.heal()
    until(lambda: zk.connected)
    assert zk.client_id == session and zk.exists("/9")
    settled(zk)
    assert states.seen == ["SUSPENDED", "CONNECTED"]


@pytest.mark.slow
@fault("H06")
@pytest.mark.parametrize("why", ["zxid", "refusing"])
def test_hung_up_on_by_all_is_expiry_in_the_end(why: str, front: Front) -> None:
    """Java before 3.10, kazoo and aiozk would try for ever (ZOOKEEPER-4508)."""
    server = front.server()
    zk = eager(front.client(server.hosts))
    for i in range(10):
        zk.create(f"/{i}")
    session, states, log = zk.client_id, told(zk), watched(zk, "/1")
    began = time.monotonic()
    server.lag_behind(3) if why == "zxid" else server.refuse_sessions()
    server.cut()
    call = zk.submit(GetData("/1"))
    states.until(lambda seen: "LOST" in seen, timeout=T * 4 / 3 + SLACK)
    # Contact was at most a third of a timeout ago when it began.
    assert T - 0.1 < time.monotonic() - began < T * 4 / 3 + SLACK
    assert isinstance(call.exception(1), (ConnectionLoss, SessionExpiredError))
    assert [e.state for e in log.wait(1)] == ["EXPIRED_SESSION"]
    server.heal()
    until(lambda: zk.connected)
    assert zk.client_id != session and zk.exists("/9")
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"]


class Tap:
    """The handshakes that pass a proxy: (last zxid, timeout in ms, session id)."""

    def __init__(self) -> None:
        self.shown: List[Tuple[int, int, int]] = []
        self._known: set = set()  # type: ignore[type-arg]

    def __call__(self, direction: str, number: int, data: bytes) -> None:
        if direction == "up" and number not in self._known:
            self._known.add(number)
            self.shown.append(struct.unpack_from(">qiq", data, 8))  # type: ignore[arg-type]


@pytest.mark.slow
@fault("H07")
def test_an_ensemble_that_has_lost_its_data(front: Front) -> None:
    server, tap = front.server(), Tap()
    proxy: FaultProxy = front.proxy(server, tap=tap)
    zk = eager(front.client(proxy.hosts))
    for i in range(20):
        zk.create(f"/{i}")
    states, session = told(zk), zk.client_id
    began = time.monotonic()
    server.wipe()
    states.until(lambda seen: "LOST" in seen)
    assert time.monotonic() - began < T * 4 / 3 + SLACK
    until(lambda: zk.connected)
    assert zk.exists("/3") is None
    assert tap.shown[1][0] > 20 and tap.shown[1][2] == session[0], "it has tried to resume"
    assert (tap.shown[-1][0], tap.shown[-1][2]) == (0, 0), "and begun afresh, at zxid 0"
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"]


class Forgetful:
    """A relay that makes each attempt to resume a session one to open a new one, as ClickHouse Keeper has done."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.hosts = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._socks: List[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._socks += [client, server]
            first = client.recv(49, socket.MSG_WAITALL)
            server.sendall(first[:20] + b"\0" * 8 + first[28:32] + b"\0" * 16 + first[48:])
            for source, sink in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._pass, args=(source, sink)))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self) -> None:
        for sock in list(self._socks):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
        for sock in self._socks:
            sock.close()


@fault("H08")
def test_another_session_on_resume_is_the_end_of_ours(front: Front) -> None:
    server = front.server()
    relay = Forgetful(server.port)
    front._stack.callback(relay.close)
    zk = eager(front.client(relay.hosts, timeout=4.0))
    client = front.disco(zk=zk)
    registrar = front.registrar(client, zkdisco.Service("/services", "web", b"10.0.0.1:80"))
    registrar.register()
    zk.create("/a")
    states, old, log = told(zk), zk.client_id, watched(zk, "/a")
    node = registrar.node
    relay.cut()
    assert states.wait(3) == ["SUSPENDED", "LOST", "CONNECTED"]
    assert [(e.type, e.state) for e in log.wait(1)] == [("NONE", "EXPIRED_SESSION")]
    assert zk.client_id[0] not in (0, old[0])
    zk.set("/a", b"x")
    zk.sync("/")
    settled(zk)
    assert len(log.seen) == 1, "its watches went with the session"
    until(lambda: registrar.node not in (None, node))
    (name,) = until(lambda: [n for n in zk.get_children("/services/web") if n != node.rpartition("/")[2]])
    stat = zk.exists(f"/services/web/{name}")
    assert stat.ephemeralOwner == zk.client_id[0]


@pytest.mark.slow
@fault("H09")
@pytest.mark.parametrize(("asked", "granted"), [(1.0, 2.0), (9.0, 3.0)])
def test_the_granted_timeout_counts_and_the_wanted_one_is_asked_for(
    asked: float, granted: float, front: Front
) -> None:
    server, tap = front.server(min_session_timeout=2.0, max_session_timeout=3.0), Tap()
    proxy = front.proxy(server, tap=tap)
    zk = eager(front.client(proxy.hosts, timeout=asked))
    states = told(zk)
    assert zk.session_timeout == granted
    proxy.cut()
    states.wait(2)
    assert [timeout for _, timeout, _ in tap.shown] == [asked * 1000] * 2
    proxy.black_hole()
    began = time.monotonic()
    states.wait(3)
    assert granted / 3 < time.monotonic() - began < granted * 2 / 3 + SLACK
    proxy.cut()
    proxy.heal()


@fault("H10")
@pytest.mark.parametrize("timeout_ms", [1, 2**31 - 1])
def test_absurd_timeouts(timeout_ms: int, front: Front) -> None:
    scripted, pings = front.scripted(), []
    scripted.welcome = lambda sid, wanted: welcome_frame(timeout_ms, sid)
    scripted.ping = lambda wire: bool(pings.append(time.monotonic()))  # type: ignore[func-returns-value]
    zk = front.client(scripted.hosts)
    states = told(zk)
    if timeout_ms == 1:
        until(lambda: len(pings) >= 5)
        assert pings[4] - pings[0] > 4 * 0.1 - 0.05, "pings are no closer than 100 ms"
    else:
        assert zk.session_timeout == pytest.approx(2**31 / 1000, abs=0.01)
        session = real(zk)._session
        assert session.deadline() == pytest.approx(session._heartbeat.sent_at + 10.0)
    assert zk.get("/a")[0] == b"proper"
    settled(zk)
    assert (states.seen, scripted.connections) == ([], 1)


@fault("H11")
@pytest.mark.parametrize("password", [b"", b"p" * 17, b"p" * 1024, None])
def test_odd_passwords_are_kept_and_shown_again(password: Any, front: Front) -> None:
    scripted = front.scripted()
    scripted.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid, password)
    zk = eager(front.client(scripted.hosts))
    states, session, shown = told(zk), zk.client_id, []
    assert session[1] == (password or b"")
    scripted.handshake = lambda wire: bool(shown.append(wire.first[28:]))  # type: ignore[func-returns-value]
    scripted.cut()
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"]
    expected = password or b""
    assert shown == [struct.pack(">i", len(expected)) + expected + b"\0"]
    assert zk.client_id == session


@fault("H11")
@pytest.mark.parametrize("size", [1025, 2**20])
def test_absurd_passwords_are_a_protocol_error(size: int, front: Front) -> None:
    bad, good = front.scripted(), front.scripted()
    bad.handshake = saying(welcome_frame(passwd=b"p" * size))
    zk = after(bad, good, front)
    began = time.monotonic()
    zk.start()
    assert time.monotonic() - began < T / 2
    assert (bad.connections, good.connections) == (1, 1)
    assert len(zk.client_id[1]) == 16


@fault("H12")
def test_expiry_and_a_reset_right_behind_it(front: Front) -> None:
    """A byte of ours behind the handshake would make the reset overtake the answer."""
    scripted = front.scripted()
    zk = eager(front.client(scripted.hosts, auth_data=[("digest", "bob:x")]))
    states, rounds, early = told(zk), 5, []

    def expired(wire: Wire) -> bool:
        scripted.handshake = None
        wire.sock.settimeout(0.02)
        try:
            early.append(wire.sock.recv(1))
        except socket.timeout:
            pass  # as it should be: nothing comes before our answer
        wire.sock.settimeout(None)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.send(welcome_frame(0, 0, b"\0" * 16))
        wire.sock.close()
        return True

    for i in range(rounds):
        zk.get("/a", watch=Log(), timeout=5)  # with an identity and a watch there is much to be said
        scripted.handshake = expired
        scripted.cut()
        states.wait(3 * (i + 1))
    settled(zk)
    assert states.seen == ["SUSPENDED", "LOST", "CONNECTED"] * rounds
    assert early == []


OTHERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "tls alert": bytes.fromhex("15030300020228"),
    "four letters": b"This ZooKeeper instance is not currently serving requests\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@fault("H13")
@pytest.mark.parametrize("name", OTHERS)
def test_another_service(name: str, front: Front) -> None:
    bad, good = front.scripted(), front.scripted()
    bad.handshake = saying(OTHERS[name])
    zk = after(bad, good, front)
    began = time.monotonic()
    zk.start()
    assert time.monotonic() - began < T / 2
    assert zk.get("/a")[0] == b"proper"
    only = front.new(bad.hosts, timeout=6.0)
    # That it is TLS which is spoken there is certain, and no time will change it.
    error, text = (TLSError, "this is a TLS port") if name == "tls alert" else (OperationTimeoutError, "a TLS port, or")
    with pytest.raises(error, match=f"not the answer of a ZooKeeper server: .*{text}"):
        only.start(timeout=0.3)


@fault("M13")
def test_a_notification_before_the_answer(front: Front) -> None:
    bad, good = front.scripted(), front.scripted()
    bad.handshake = saying(event_frame("CHANGED", "/a/very/long/path/as/events/may/have") + welcome_frame())
    zk = after(bad, good, front)
    began = time.monotonic()
    zk.start()
    assert time.monotonic() - began < T / 2
    assert (bad.connections, good.connections) == (1, 1)
    assert zk.get("/a")[0] == b"proper"
    states, session = told(zk), zk.client_id
    good.cut()
    assert states.wait(2) == ["SUSPENDED", "CONNECTED"], "nor is it the word of a server on our session"
    assert (bad.connections, good.connections, zk.client_id) == (2, 2, session)
