"""The embedded server on a socket: its life, its faults, and many clients at once."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Iterator

import pytest

from tests.tools.differences import Wire, request
from tests.tools.differential_scripts import OPEN
from tests.kit.harness.servers import four
from zkwire.embedded import EmbeddedServer
from zkwire.wire.jute import encode
from zkwire.ops import CloseSession, Create, Exists, GetData, Ping, SetData
from zkwire.wire.messages import CONNECT_REQUEST, ConnectRequest


@pytest.fixture
def embedded() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


def wire(server: EmbeddedServer, session: tuple[int, bytes] = (0, bytes(16))) -> Wire:
    return Wire(("127.0.0.1", server.port), session)


def ask(one: Wire, op: object) -> tuple[int, bytes]:
    """Error code and body of the reply; events before it are skipped."""
    one.xid += 1
    opcode, body = request(op)
    one.send(struct.pack(">ii", one.xid, opcode) + body)
    while True:
        frame = one.frame()
        assert frame is not None
        xid, _, code = struct.unpack_from(">iqi", frame)
        if xid in (one.xid, -2):
            return code, frame[16:]


def session_of(one: Wire) -> tuple[int, bytes]:
    assert one.response is not None and one.response.passwd is not None
    return one.response.session_id, one.response.passwd


def test_hosts_and_words(embedded):
    host, _, port = embedded.hosts.partition(":")
    assert host == "127.0.0.1" and four(host, int(port), "ruok") == "imok"
    assert f"clientPort={port}\n" in four(host, int(port), "conf")


def test_it_starts_and_stops_any_number_of_times():
    server = EmbeddedServer()
    server.stop()
    port = server.start().port
    assert server.start().port == port
    one = wire(server)
    assert ask(one, Create("/a", b"x", OPEN))[0] == 0
    server.stop()
    assert one.frame() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)
    server.start()
    again = wire(server, session_of(one))
    assert again.response is not None and again.response.session_id == session_of(one)[0]
    assert ask(again, GetData("/a"))[1][:5] == b"\0\0\0\1x"
    server.stop()
    for each in (one, again):
        each.close()


def test_restart_keeps_port_data_and_sessions(embedded):
    one = wire(embedded)
    ask(one, Create("/e", b"", OPEN, ephemeral=True))
    port = embedded.port
    embedded.restart()
    assert one.frame() is None and embedded.port == port
    again = wire(embedded, session_of(one))
    assert ask(again, Exists("/e"))[0] == 0
    one.close()
    again.close()


def test_a_port_in_use_is_an_error(embedded):
    with pytest.raises(OSError):
        EmbeddedServer(embedded.port).start()


def test_a_session_expires_by_the_clock(embedded):
    one, two = wire(embedded), wire(embedded)
    ask(one, Create("/e", b"", OPEN, ephemeral=True))
    dying = socket.create_connection(("127.0.0.1", embedded.port))
    hello = encode(CONNECT_REQUEST, ConnectRequest(0, 0, 200, 0, bytes(16), False))
    dying.sendall(struct.pack(">i", len(hello)) + hello)
    dying.settimeout(5)
    began = time.monotonic()
    while dying.recv(100):
        pass
    assert 0.2 <= time.monotonic() - began < 2.0
    assert len(embedded.sessions) == 2
    for each in (one, two):
        each.close()
    dying.close()


def test_expire_tells_the_others(embedded):
    owner, other = wire(embedded), wire(embedded)
    ask(owner, Create("/e", b"", OPEN, ephemeral=True))
    ask(other, Exists("/e", print))
    assert embedded.expire(session_of(owner)[0])
    frame = other.frame()
    assert frame is not None and struct.unpack_from(">iqiii", frame)[3] == 2
    assert owner.frame() is None
    assert not embedded.expire(session_of(owner)[0])
    owner.close()
    other.close()


def test_cut_and_reset(embedded):
    for reset in (False, True):
        one = wire(embedded)
        assert embedded.cut(session_of(one)[0], reset=reset) == 1
        if reset:
            with pytest.raises(ConnectionResetError):
                one.sock.recv(1)
        else:
            assert one.sock.recv(1) == b""
        one.close()


def test_drop_after_ends_inside_a_frame(embedded):
    one = wire(embedded)
    embedded.drop_after(9)
    with contextlib.suppress(ConnectionError):
        one.send(struct.pack(">ii", -2, 11))
    assert one.frame() is None and len(one.buffer) == 9
    embedded.heal()
    one.close()


def test_black_hole_and_heal(embedded):
    one = wire(embedded)
    embedded.black_hole("out")
    one.send(struct.pack(">ii", -2, 11))
    one.sock.settimeout(0.1)
    with pytest.raises(socket.timeout):
        one.frame()
    embedded.heal()
    one.sock.settimeout(5)
    assert one.frame() is not None
    one.close()


def test_delay_takes_its_time(embedded):
    one = wire(embedded)
    embedded.delay(0.2)
    began = time.monotonic()
    assert ask(one, Ping())[0] == 0
    assert time.monotonic() - began >= 0.2
    one.close()


def test_answer_lag_and_refusal(embedded):
    one = wire(embedded)
    embedded.answer(-127, SetData, "/a")
    assert ask(one, Create("/a", b"", OPEN))[0] == 0
    assert [ask(one, SetData("/a", b""))[0] for _ in range(2)] == [-127, 0]
    embedded.lag_behind(1)
    assert Wire(("127.0.0.1", embedded.port), session_of(one), embedded.zxid).response is None
    embedded.heal()
    embedded.refuse_sessions()
    assert wire(embedded).response is None
    one.close()


def test_wipe_and_read_only(embedded):
    one = wire(embedded)
    ask(one, Create("/a", b"", OPEN))
    embedded.go_read_only()
    assert one.frame() is None and four("127.0.0.1", embedded.port, "isro") == "ro"
    embedded.go_read_only(False)
    embedded.wipe()
    two = wire(embedded)
    assert ask(two, Exists("/a"))[0] == -101
    for each in (one, two):
        each.close()


def test_a_large_answer_reaches_a_slow_reader(embedded):
    one = wire(embedded)
    data = bytes(900_000)
    assert ask(one, Create("/big", data, OPEN))[0] == 0
    opcode, body = request(GetData("/big"))
    for xid in range(100, 120):
        one.send(struct.pack(">ii", xid, opcode) + body)
    for xid in range(100, 120):
        frame = one.frame()
        assert frame is not None and struct.unpack_from(">i", frame)[0] == xid and len(frame) > 900_000
    one.close()


def test_many_clients_at_once(embedded):
    failures: list[object] = []

    def work(number: int) -> None:
        one = wire(embedded)
        for count in range(50):
            if ask(one, Create(f"/{number}-{count}", b"", OPEN, ephemeral=True))[0]:
                failures.append((number, count))
        ask(one, CloseSession())
        one.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures and not embedded.sessions
    assert embedded.zxid == 8 * 52


def test_options_are_checked():
    with pytest.raises(ValueError, match="7.0"):
        EmbeddedServer(version="7.0")
    with pytest.raises(TypeError):
        EmbeddedServer(no_such_setting=1)
