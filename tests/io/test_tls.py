"""TLS over memory and over a pair of sockets: what is sent and heard, in which order, and what stands in the way."""

from __future__ import annotations

import random
import socket
import ssl
from typing import Iterator, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness import pki
from tests.kit.tls import Peer, key_update, renegotiate
from zkwire.errors import TLSError
from zkwire.session.host_provider import Host
from zkwire.io.tls import LONGEST_REPLY, RECORD, Tls, TlsSocket, check_names, server_name


def handshaken(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Tuple[Tls, Peer]:
    """Both ends over memory, after the handshake."""
    context = pki.server_context()
    context.minimum_version = context.maximum_version = version
    tls, peer = Tls(pki.client_context(), "localhost"), Peer(context)
    assert tls.received(b"") == b""
    for _ in range(4):
        peer.received(tls.outgoing())
        assert tls.received(peer.outgoing.read()) == b""
    assert tls.ready and peer.ready and tls.error is None
    return tls, peer


@pytest.fixture
def ends() -> Iterator[Tuple[TlsSocket, socket.socket, Peer]]:
    """A `TlsSocket` that has shaken hands, with little room in its socket, and the other end of that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        theirs.settimeout(5)
        peer, sock = Peer(), TlsSocket(ours, Tls(pki.client_context(), "localhost"))
        while not sock.handshake(False):
            peer.received(theirs.recv(65536))
            theirs.sendall(peer.outgoing.read())
        peer.received(theirs.recv(65536))  # our last word
        yield sock, theirs, peer


# ------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "checked"),
    [("zk1", "zk1"), ("zk1.example.", "zk1.example"), ("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("fe80::1%eth0", "fe80::1")],
)
def test_names_are_checked_as_certificates_write_them(name: str, checked: str) -> None:
    assert server_name(name) == checked
    check_names(pki.client_context(), [Host(name, 2281)])


def test_no_context_is_no_trouble() -> None:
    check_names(None, [Host("h", 1)])


# --------------------------------------------------------------------------- over memory


@fault("A11")
def test_all_of_a_record_is_heard_at_once() -> None:
    tls, peer = handshaken()
    peer.object.write(b"one" * 5000)
    peer.object.write(b"two")
    assert tls.received(peer.outgoing.read()) == b"one" * 5000 + b"two"
    peer.object.write(b"three")
    data = peer.outgoing.read()
    assert [tls.received(data[at : at + 1]) for at in range(len(data))] == [b""] * (len(data) - 1) + [b"three"]


def test_what_came_before_an_error_or_an_end_is_heard() -> None:
    tls, peer = handshaken()
    peer.object.write(b"all is well")
    good = peer.outgoing.read()
    assert tls.received(good + b"\x17\x03\x03\x00\x05wrong") == b"all is well"
    assert isinstance(tls.error, TLSError)
    tls, peer = handshaken()
    peer.object.write(b"good bye")
    with pytest.raises(ssl.SSLWantReadError):
        peer.object.unwrap()
    assert tls.received(peer.outgoing.read()) == b"good bye"
    assert tls.over and tls.error is None


def test_a_record_at_a_time_is_sent() -> None:
    tls, peer = handshaken()
    data = memoryview(bytes(50_000))
    count = tls.encrypt(data)
    assert count == RECORD
    assert peer.received(tls.outgoing()) == bytes(RECORD)


@fault("A12")
def test_new_keys_are_answered() -> None:
    tls, peer = handshaken()
    key_update(peer.object)
    peer.object.write(b"in new keys")
    assert tls.received(peer.outgoing.read()) == b"in new keys"
    assert tls.encrypt(b"in ours") == 7
    assert peer.received(tls.outgoing()) == b"in ours"


@fault("A12")
def test_a_new_handshake_comes_before_what_is_to_be_sent() -> None:
    """WANT_READ when writing: nothing is taken, and once the handshake is through, the same goes."""
    tls, peer = handshaken(ssl.TLSVersion.TLSv1_2)
    renegotiate(peer.object)
    assert tls.received(peer.outgoing.read()) == b""
    hello = tls.outgoing()
    assert hello
    assert tls.encrypt(b"later") == 0 and tls.error is None
    for _ in range(4):
        assert peer.received(hello + tls.outgoing()) == b""
        hello = b""
        assert tls.received(peer.outgoing.read()) == b""
    assert tls.encrypt(b"later") == 5
    assert peer.received(tls.outgoing()) == b"later"


def test_a_server_cannot_make_us_keep_what_it_does_not_read() -> None:
    tls, peer = handshaken(ssl.TLSVersion.TLSv1_2)
    hello_request = b""
    renegotiate(peer.object)
    hello_request = peer.outgoing.read()
    tls.received(hello_request)
    assert tls.error is None and 0 < len(tls.outgoing()) < 1000
    tls._out.write(bytes(LONGEST_REPLY + 1))
    tls.received(b"")
    assert "handshakes without end" in str(tls.error)


def test_nothing_but_its_own_error_comes_of_any_bytes() -> None:
    dice = random.Random(137583)
    for _ in range(50):
        tls, peer = handshaken() if dice.random() < 0.5 else (Tls(pki.client_context(), "localhost"), Peer())
        tls.received(b"")
        peer.received(tls.outgoing())
        if peer.ready:
            peer.object.write(bytes(dice.randrange(1, 300)))
        data = bytearray(peer.outgoing.read())
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        for at in range(0, len(data), 50):
            tls.received(bytes(data[at : at + 50]))
        tls.received(bytes(dice.randrange(256) for _ in range(40)))
        tls.encrypt(b"x")
        assert tls.error is None or "\n" not in str(tls.error)


# -------------------------------------------------------------------------- over sockets


@fault("A12")
def test_reading_goes_on_while_sending_cannot(ends: Tuple[TlsSocket, socket.socket, Peer]) -> None:
    """WANT_WRITE when reading: new keys are asked for, and the answer does not fit into the socket."""
    sock, theirs, peer = ends
    sent = 0
    record = bytes(range(256)) * 64
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            sent += sock.send(record)
    assert sock.blocked
    for number in range(3):
        key_update(peer.object)
        peer.object.write(b"heard %d" % number)
        theirs.sendall(peer.outgoing.read())
        assert sock.recv(65536) == b"heard %d" % number
        with pytest.raises(BlockingIOError):
            sock.send(record)
    heard = b""
    while sock.blocked or len(heard) < sent:
        heard += peer.received(theirs.recv(65536))
        if sock.blocked:
            try:
                sent += sock.send(record)
            except BlockingIOError:
                continue
    assert heard == record * (sent // len(record))
    assert sock.send(b"and on") == 6
    assert peer.received(theirs.recv(65536)) == b"and on"


def test_half_a_record_has_not_been_sent(ends: Tuple[TlsSocket, socket.socket, Peer]) -> None:
    """What is not reported as sent, the server cannot have understood."""
    sock, theirs, peer = ends
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += sock.send(bytes(5000))
    sock.close()
    heard = 0
    while True:
        data = theirs.recv(65536)
        if not data:
            break
        heard += len(peer.received(data))
    assert heard == sent > 0


def test_a_broken_pipe_is_asked_for_its_reason(ends: Tuple[TlsSocket, socket.socket, Peer]) -> None:
    """With TLS 1.3 a server refuses our certificate when we think that all is well."""
    sock, theirs, _ = ends
    theirs.sendall(bytes.fromhex("15030300020230"))  # in clear, and so no more than an error; but read it is
    theirs.close()
    with pytest.raises(TLSError):
        sock.send(b"x")


def test_the_end_in_order_is_seen_by_poll(ends: Tuple[TlsSocket, socket.socket, Peer]) -> None:
    sock, theirs, peer = ends
    peer.object.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        peer.object.unwrap()
    theirs.sendall(peer.outgoing.read())
    assert sock.recv(65536) == b"last"
    assert theirs.recv(65536) == b""  # it is shut down, so poll returns though the peer keeps its end open
    assert sock.recv(65536) == b""


def test_what_comes_with_the_end_of_the_handshake_is_not_forgotten() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        sock = TlsSocket(ours, Tls(pki.client_context(), "localhost"))
        context = pki.server_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # its last word in the handshake is the server's
        peer = Peer(context)
        done = sock.handshake(False)
        while not done:
            peer.received(theirs.recv(65536))
            if peer.ready:
                peer.object.write(b"first")
            theirs.sendall(peer.outgoing.read())
            done = sock.handshake(False)
        assert sock.recv(65536) == b"first"


def test_farewell_is_said_and_not_waited_for(ends: Tuple[TlsSocket, socket.socket, Peer]) -> None:
    sock, theirs, peer = ends
    sock.shutdown(socket.SHUT_RDWR)
    peer.received(theirs.recv(65536))
    assert peer.object.read(1) == b""  # an end in order, and no error
    assert theirs.recv(65536) == b""
