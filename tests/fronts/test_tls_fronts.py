"""TLS on both fronts: who is refused and how that is said, records that are no frames, new keys, ends without a word."""

from __future__ import annotations

import gc
import os
import ssl
import threading
import time
from typing import Any, Callable, Iterator, List

import pytest

import zkdisco
from tests.kit.catalogue import fault
from tests.conftest import Shared, named
from tests.kit.harness import pki
from tests.kit.harness.servers import Server
from tests.kit.fronts import Front, Log, real, settled, until, eager
from tests.kit.hostile import Wire
from tests.kit.tls import Relay, key_update, renegotiate
from tests.kit.world import welcome_frame
from tests.io.test_driver import in_child, needs_fork
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ConnectionClosedError, ConnectionLoss, OperationTimeoutError, TLSError, ZookeeperError
from zkwire.io.tls import SILENCE
from zkwire.ops import GetData, SetData


def only(version: ssl.TLSVersion, context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, for one version."""
    context.minimum_version = context.maximum_version = version
    return context


def secured(front: Front, **options: Any) -> Any:
    """A relay before an embedded server, and a client of it."""
    relay = front.relay(front.server())
    return relay, front.client(relay.hosts, ssl_context=pki.client_context(), **options)


def again(call: Callable[[], Any]) -> Any:
    """The first answer after a loss."""

    def probe() -> Any:
        try:
            return [call()]
        except ZookeeperError:
            return None

    return until(probe)[0]


# ------------------------------------------------------------------------- who is refused


@pytest.mark.parametrize(
    ("certificate", "ca", "text"),
    [
        ("server", "other-ca", "its certificate is refused: unable to get local issuer certificate; have the context"),
        ("stranger", "ca", "its certificate is refused: unable to get local issuer certificate; have the context"),
        ("self-signed", "ca", "its certificate is refused: self.signed certificate; have the context trust"),
        ("expired", "ca", "its certificate is refused: certificate has expired; renew it"),
        ("wrong-name", "ca", r"certificate is not valid for '127.0.0.1'; dial the server by a name its certificate has"),
    ],
    ids=["wrong CA", "strange CA", "self-signed", "expired", "wrong name"],
)
@fault("A10")
def test_start_says_at_once_why_a_server_is_not_trusted(front: Front, certificate: str, ca: str, text: str) -> None:
    relay = front.relay(front.server(), pki.server_context(certificate))
    zk = front.new(relay.hosts, ssl_context=pki.client_context(ca=ca), timeout=10.0)
    began = time.monotonic()
    with pytest.raises(TLSError, match=text) as caught:
        zk.start()
    assert time.monotonic() - began < 5
    assert str(caught.value).startswith(relay.hosts)
    assert relay.connections == 1
    assert not zk.connected
    with pytest.raises(ConnectionClosedError):
        zk.get("/")
    with pytest.raises(TLSError, match=text):
        zk.start()


@fault("A10")
def test_what_was_queued_fails_with_the_cause(front: Front) -> None:
    relay = front.relay(front.server(), pki.server_context("expired"))
    zk = front.new(relay.hosts, ssl_context=pki.client_context(), auth_data=[("digest", "u:p")])
    log = Log()
    zk.add_listener(log)
    with pytest.raises(TLSError, match="expired"):
        zk.start()
    assert real(zk)._session.pending == 0
    settled(zk)
    assert log.seen == []  # LOST it was before


@fault("A10")
def test_another_host_may_be_better(front: Front) -> None:
    server = front.server()
    bad, good = front.relay(server, pki.server_context("expired")), front.relay(server)
    hosts = f"{bad.hosts},{good.hosts}"
    zk = front.new(hosts, ssl_context=pki.client_context(), randomize_hosts=False)
    zk.start()
    assert zk.exists("/")
    assert bad.connections == good.connections == 1
    alone = front.new(f"{bad.hosts},127.0.0.1:1", ssl_context=pki.client_context(), randomize_hosts=False)
    with pytest.raises(TLSError, match="expired"):
        alone.start()


@pytest.mark.slow
@fault("A10")
def test_a_certificate_that_expires_is_not_asked_for_hot_and_may_be_renewed(front: Front) -> None:
    relay, zk = secured(front, timeout=3.0)
    session, log = zk.client_id, Log()
    zk.add_listener(log)
    relay.use(pki.server_context("expired"))
    relay.tell(None)
    began = time.monotonic()
    until(lambda: relay.connections >= 3)
    # The first attempt comes at once and the second at random; before the third is half of the usual pause, which is
    # half to all of a third of the timeout.
    assert time.monotonic() - began > 3.0 / 3 / 2 / 2
    assert not zk.connected
    relay.use(pki.server_context())
    log.until(lambda seen: seen == ["SUSPENDED", "CONNECTED"])
    assert zk.client_id == session
    assert relay.connections <= 6
    assert zk.exists("/")


def test_the_configured_name_is_checked_and_said(front: Front) -> None:
    relay = front.relay(front.server(), pki.server_context("wrong-name"))
    with pytest.raises(TLSError, match="not valid for 'localhost'"):
        front.new(f"localhost:{relay.port}", ssl_context=pki.client_context()).start()
    relay.use(pki.server_context())
    front.client(f"localhost:{relay.port}", ssl_context=pki.client_context())
    assert relay.names[0] == "localhost"  # the first server_context has the callback


def test_whose_checks_are_off_is_the_users_choice(front: Front) -> None:
    relay = front.relay(front.server(), pki.server_context("self-signed"))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert front.client(relay.hosts, ssl_context=context).exists("/")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("certificate", ["", "stranger", "client"])
def test_a_server_that_wants_a_certificate(front: Front, version: ssl.TLSVersion, certificate: str) -> None:
    """With TLS 1.3 the client learns of the refusal only after its handshake."""
    relay = front.relay(front.server(), only(version, pki.server_context(client_ca="ca")))
    zk = front.new(relay.hosts, ssl_context=pki.client_context(certificate))
    if certificate == "client":
        zk.start()
        assert zk.exists("/")
    else:
        with pytest.raises(TLSError, match="certificate|trust"):
            zk.start()


def test_no_version_in_common(front: Front) -> None:
    relay = front.relay(front.server(), only(ssl.TLSVersion.TLSv1_2, pki.server_context()))
    zk = front.new(relay.hosts, ssl_context=only(ssl.TLSVersion.TLSv1_3, pki.client_context()))
    with pytest.raises(TLSError, match="none of the context's versions of TLS"):
        zk.start()


# -------------------------------------------------------------------- TLS to whom speaks none


@fault("A09")
def test_tls_to_a_plain_port(front: Front) -> None:
    server = front.server()
    zk = front.new(server.hosts, ssl_context=pki.client_context(), timeout=10.0)
    began = time.monotonic()
    with pytest.raises(TLSError, match="hangs up on TLS: this is a plain port"):
        zk.start()
    assert time.monotonic() - began < 5


@fault("A09", "H13")
def test_tls_to_another_service(front: Front) -> None:
    scripted = front.scripted()
    scripted._converse = lambda wire: wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[method-assign]
    with pytest.raises(TLSError, match="not TLS"):
        front.new(scripted.hosts, ssl_context=pki.client_context()).start()


@fault("A09")
def test_plain_to_a_tls_port(front: Front) -> None:
    relay = front.relay(front.server())
    zk = front.new(relay.hosts, timeout=10.0)
    with pytest.raises(OperationTimeoutError, match="or this is a TLS port"):  # it hangs up, as many others do
        zk.start(timeout=0.4)
    assert relay.connections <= 2
    scripted = front.scripted()
    scripted.handshake = lambda wire: not wire.send(bytes.fromhex("15030300020228"))
    with pytest.raises(TLSError, match="this is a TLS port; give ssl_context="):
        front.new(scripted.hosts).start()
    assert scripted.connections == 1


@pytest.mark.slow
@fault("A09")
def test_a_running_client_that_meets_the_wrong_protocol_tries_on_with_pauses(front: Front) -> None:
    relay, zk = secured(front, timeout=3.0)
    proxied = front.proxy(relay)
    zk = front.client(proxied.hosts, ssl_context=pki.client_context(), timeout=3.0)
    secure = proxied.target
    proxied.target = ("127.0.0.1", relay._target)
    proxied.cut()
    before, began = proxied.connections, time.monotonic()
    until(lambda: proxied.connections >= before + 6)  # two for each attempt, the second of which waits silently
    assert time.monotonic() - began > 2 * SILENCE * 0.98
    assert not zk.connected
    proxied.target = secure
    assert again(lambda: zk.exists("/"))


@pytest.mark.long
@fault("A09")
def test_a_server_that_hangs_up_on_everybody_is_no_plain_port(front: Front) -> None:
    """It has no quorum, say, and is asked again until it has."""
    server = front.scripted()
    server._converse = lambda wire: None  # type: ignore[method-assign]
    zk = front.new(server.hosts, ssl_context=pki.client_context(), timeout=3.0)
    with pytest.raises(OperationTimeoutError, match="hangs up before TLS begins"):
        zk.start(timeout=0.5)


# ----------------------------------------------------------------------------- time-outs


@pytest.mark.slow
@fault("H01", "A12")
def test_a_handshake_that_stalls_costs_one_connect_timeout(front: Front) -> None:
    relay = front.relay(front.server())
    proxy = front.proxy(relay)
    proxy.ignore()
    context = pki.client_context()
    zk = front.new(proxy.hosts, ssl_context=context, connect_timeout=0.3)
    began = time.monotonic()
    with pytest.raises(OperationTimeoutError, match="no session within"):
        zk.start(timeout=0.8)
    assert 0.8 <= time.monotonic() - began < 2.5
    began = time.monotonic()
    options = {"connect_timeout": 0.4, "randomize_hosts": False}
    front.client(f"{proxy.hosts},{relay.hosts}", ssl_context=context, **options)
    assert 0.4 <= time.monotonic() - began < 2.5


@pytest.mark.slow
@fault("H02")
def test_a_handshake_that_drips_has_one_deadline(front: Front) -> None:
    proxy = front.proxy(front.relay(front.server()))
    proxy.drip(20, "down")
    zk = eager(front.new(proxy.hosts, ssl_context=pki.client_context(), connect_timeout=0.4, timeout=3.0))
    began = time.monotonic()
    with pytest.raises(OperationTimeoutError):
        zk.start(timeout=1.0)
    assert 1.0 <= time.monotonic() - began < 2.5
    assert proxy.connections >= 2


@pytest.mark.slow
def test_close_waits_for_no_farewell(front: Front) -> None:
    proxy = front.proxy(front.relay(front.server()))
    zk = front.client(proxy.hosts, ssl_context=pki.client_context(), timeout=2.0)
    proxy.black_hole()
    began = time.monotonic()
    zk.close()
    assert time.monotonic() - began < 2.0


# ------------------------------------------------------------------- records and frames


@fault("A11")
def test_five_replies_in_one_record(front: Front) -> None:
    """kazoo has the first at once and the others with the next ping."""
    relay, zk = secured(front, timeout=30.0)
    zk.create("/a", b"x")
    began = time.monotonic()
    relay.gather = 5
    futures = [zk.submit(GetData("/a")) for _ in range(5)]
    assert [future.result(5)[0] for future in futures] == [b"x"] * 5
    relay.gather = 5
    futures = [zk.submit(GetData("/a")) for _ in range(10)]
    assert futures[0].result(5)[0] == b"x"
    relay.gather = 1
    assert [future.result(5)[0] for future in futures] == [b"x"] * 10
    assert time.monotonic() - began < 5


@fault("A11")
def test_a_watch_event_behind_a_reply_in_its_record(front: Front) -> None:
    relay, zk = secured(front, timeout=30.0)
    zk.create("/a")
    log = Log()
    zk.get("/a", watch=log)
    relay.gather = 2
    zk.set("/a", b"1")  # its event and its reply
    relay.gather = 1
    assert log.wait(1, 5)[0].path == "/a"


@fault("A11")
def test_frames_of_many_records(front: Front) -> None:
    relay = front.relay(front.server())
    proxy = front.proxy(relay)
    zk = front.client(proxy.hosts, ssl_context=pki.client_context(), timeout=10.0)
    big = os.urandom(900_000)
    zk.create("/big", big)
    assert zk.get("/big")[0] == big
    proxy.split(7)
    zk.create("/small", b"seven bytes at a time")
    assert zk.get("/small")[0] == b"seven bytes at a time"


@fault("A11")
def test_what_comes_in_one_segment_with_the_end_of_the_handshake(front: Front) -> None:
    """TLS has it by then, and the socket has nothing more to tell; this server answers before it is asked."""

    def hasty(wire: Wire) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = only(ssl.TLSVersion.TLSv1_2, pki.server_context())  # where the server's word is the last
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.send(outgoing.read())
                incoming.write(wire.sock.recv(65536))
        tls.write(welcome_frame(30_000))
        wire.send(outgoing.read())
        wire.sock.recv(65536)  # the question
        wire.sock.recv(65536)  # the good-bye, to which hanging up is an answer

    scripted = front.scripted()
    scripted._converse = hasty  # type: ignore[method-assign]
    began = time.monotonic()
    zk = front.client(scripted.hosts, ssl_context=pki.client_context(), timeout=30.0, connect_timeout=5.0)
    assert time.monotonic() - began < 2.5
    assert (zk.connected, scripted.connections) == (True, 1)


@fault("A12")
def test_new_keys_in_the_midst_of_traffic(front: Front) -> None:
    relay, zk = secured(front, timeout=10.0)
    zk.create("/a", b"0")
    futures: List[Any] = []
    for number in range(20):
        relay.tell(key_update)
        futures += [zk.submit(SetData("/a", b"%d" % number)), zk.submit(GetData("/a"))]
    assert [future.result(5)[0] for future in futures[1::2]] == [b"%d" % number for number in range(20)]
    relay.tell(key_update)
    assert zk.get("/a")[0] == b"19"
    assert relay.connections == 1


@fault("A12")
def test_a_new_handshake_in_the_midst_of_traffic(front: Front) -> None:
    relay = front.relay(front.server(), only(ssl.TLSVersion.TLSv1_2, pki.server_context()))
    zk = front.client(relay.hosts, ssl_context=pki.client_context(), timeout=10.0)
    zk.create("/a", b"0")
    for number in range(5):
        relay.tell(renegotiate)
        until(lambda: zk.set("/a", b"%d" % number, timeout=5))  # noqa: B023  # called before the next number
        assert zk.get("/a", timeout=5)[0] == b"%d" % number
    assert relay.connections == 1


@pytest.mark.slow
@fault("A13")
def test_an_end_without_a_word_in_the_midst_of_a_frame(front: Front) -> None:
    relay = front.relay(front.server())
    proxy = front.proxy(relay)
    zk = front.client(proxy.hosts, ssl_context=pki.client_context(), timeout=3.0)
    session = zk.client_id
    zk.create("/a", b"x" * 40_000)
    for how, count in (("fin", 1), ("fin", 20_000), ("rst", 30_000)):
        proxy.cut_after(count, "down", how)
        with pytest.raises(ConnectionLoss) as caught:
            zk.get("/a")
        assert caught.value.maybe_applied
        proxy.heal()
        assert again(lambda: zk.get("/a"))[0] == b"x" * 40_000
    assert zk.client_id == session


@pytest.mark.slow
def test_an_orderly_end_is_an_end_even_if_the_socket_stays_open(front: Front) -> None:
    relay, zk = secured(front, timeout=3.0)
    log = Log()
    zk.add_listener(log)

    def farewell(sslobject: Any) -> None:
        try:
            sslobject.unwrap()
        except ssl.SSLWantReadError:
            pass

    relay.tell(farewell)
    log.until(lambda seen: seen[:2] == ["SUSPENDED", "CONNECTED"])
    assert zk.exists("/")


# ------------------------------------------------------------------------------ the rest


def test_the_second_connection_of_a_read_only_client_is_tls_too(front: Front) -> None:
    plain, read_write = front.server(), front.server()
    plain.go_read_only()
    seen: List[bytes] = []
    first, second = front.relay(plain), front.relay(read_write)
    proxy = front.proxy(second, tap=lambda direction, number, data: seen.append(data))
    proxy.refuse()
    context, states = pki.client_context(), Log()
    zk = front.new(
        f"{first.hosts},{proxy.hosts}", ssl_context=context, read_only=True, timeout=3.0, randomize_hosts=False
    )
    zk.add_listener(states)
    zk.start()
    assert zk.client_state == "CONNECTED_RO"
    second.use(pki.server_context("expired"))
    proxy.heal()
    until(lambda: second.connections >= 1)
    assert zk.exists("/")
    second.use(pki.server_context())
    until(lambda: zk.client_state == "CONNECTED")
    assert zk.create("/a") == "/a"
    assert seen and all(data[:1] in b"\x14\x15\x16\x17" for data in seen)  # records of TLS, and nothing else


def test_new_hosts_are_tls_too(front: Front) -> None:
    server = front.server()
    relay, other = front.relay(server), front.relay(server)
    zk = front.client(relay.hosts, ssl_context=pki.client_context(), timeout=3.0)
    with pytest.raises(ValueError, match="not a host name"):
        zk.set_hosts(f"{'a' * 64}.example:1")
    zk.set_hosts(other.hosts)
    until(lambda: other.connections and zk.connected)
    assert zk.exists("/", timeout=3)


def test_nothing_of_it_is_in_clear(front: Front) -> None:
    seen: List[bytes] = []
    relay = front.relay(front.server())
    proxy = front.proxy(relay, tap=lambda direction, number, data: seen.append(data))
    auth = [("digest", "arthur:swordfish")]
    zk = front.client(proxy.hosts, ssl_context=pki.client_context(), auth_data=auth)
    zk.create("/hidden-path", b"hidden data")
    zk.close()
    traffic = b"".join(seen)
    assert len(traffic) > 1000
    for secret in (b"swordfish", b"hidden", b"\0\0\0\x2d\0\0\0\0"):
        assert secret not in traffic


def test_discovery(front: Front) -> None:
    relay = front.relay(front.server())
    client = front.disco([relay.hosts], ssl_context=pki.client_context())
    registrar = front.registrar(client, zkdisco.Service("/services", "api", b"10.0.0.1:80"))
    registrar.register()
    assert front.instancer(client, "/services/api").state.instances == ("10.0.0.1:80",)
    registrar.deregister()
    relay.use(pki.server_context("expired"))
    with pytest.raises(TLSError, match="expired"):
        front.disco([relay.hosts], ssl_context=pki.client_context())


def test_a_context_that_is_of_no_use_is_refused_before_anything_is_dialled(front: Front) -> None:
    with pytest.raises(TypeError, match=r"must be an ssl.SSLContext, .* not True"):
        front.new("h:1", ssl_context=True)
    with pytest.raises(ValueError, match="ssl_context is that of a server"):
        front.new("h:1", ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    with pytest.raises(ValueError, match="not a host name"):
        front.new(f"{'a' * 64}.example:1", ssl_context=pki.client_context())


def test_many_threads_one_connection() -> None:
    wrong: List[Any] = []
    with EmbeddedServer() as server, Relay(server.port) as relay:
        with ZooKeeper(relay.hosts, ssl_context=pki.client_context()) as zk:

            def work(name: str) -> None:
                zk.create(name, name.encode())
                for _ in range(60):
                    got = zk.get(name, timeout=10)[0]
                    if got != name.encode():
                        wrong.append(got)

            threads = [threading.Thread(target=work, args=(f"/{number}",)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert not wrong
            assert len(zk.get_children("/")) == 9
        assert relay.connections == 1


@needs_fork
@fault("P01")
def test_a_forked_child_says_nothing_in_the_parents_name(front: Front) -> None:
    """Not even that TLS is over, which the server would take for the parent's word."""
    relay = front.relay(front.server())
    zk = front.client(relay.hosts, timeout=9.0, ssl_context=pki.client_context())
    clients = [real(zk)]
    zk.create("/a", b"x")

    def child() -> str:
        try:
            asking = clients[0].get("/a")
            return f"answered {asking.send(None) if front.is_asyncio else asking!r}"
        finally:
            closing = clients[0].close()
            if front.is_asyncio:
                with pytest.raises(StopIteration):
                    closing.send(None)
            clients.clear()
            gc.collect()

    assert in_child(child).startswith("ForkedError")
    assert zk.get("/a")[0] == b"x"
    assert relay.connections == 1


# -------------------------------------------------------------------------- real servers


@pytest.fixture(scope="module", params=["3.8", "3.9"])
def secure(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A real server whose TLS port wants certificates of our CA."""
    version = named(request.param)
    shared.fetch(version)
    with Server(version, tls="need") as server:
        yield server


@fault("A09", "A10")
def test_a_real_server(secure: Server, front: Front, unique: str) -> None:
    zk, log, path = front.client(secure.secure_hosts, ssl_context=pki.client_context("client")), Log(), f"/{unique}"
    zk.create(path, b"1", ephemeral=True)
    assert zk.get(path, watch=log)[0] == b"1"
    big = os.urandom(500_000)
    zk.set(path, big)
    assert zk.get(path)[0] == big
    assert log.wait(1)[0].path == path
    zk.delete(path)
    for context, text in (
        (pki.client_context(), "refuses a client without a certificate it trusts"),
        (pki.client_context("stranger"), "refuses a client without a certificate it trusts"),
        (pki.client_context("client", ca="other-ca"), "its certificate is refused"),
    ):
        with pytest.raises(TLSError, match=text):
            front.new(secure.secure_hosts, ssl_context=context).start()
    with pytest.raises(TLSError, match="this is a plain port"):
        front.new(secure.hosts, ssl_context=pki.client_context("client")).start()
    with pytest.raises(OperationTimeoutError, match="or this is a TLS port"):
        front.new(secure.secure_hosts).start(timeout=0.5)
