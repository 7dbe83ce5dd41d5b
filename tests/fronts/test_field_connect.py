"""How a connection comes about: names, addresses, loops, connect strings, refusals (X06, X15, X18, X22, X24, X25, X26, X30)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest

import zkdisco
from tests.kit import children
from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, Front, Log, settled, until
from tests.kit.harness import pki
from tests.kit.hostile import Wire
from tests.kit.keeper import Keeper
from tests.kit.names import Names, names  # noqa: F401  # a fixture
from tests.kit.world import framed, header, reply_frame, welcome_frame
from zkwire import AsyncZooKeeper, AuthFailedError, KazooState, KeeperState, OperationTimeoutError, ZooKeeper, ZookeeperError
from zkwire.errors import SessionClosedRequireSaslError
from zkwire.embedded import EmbeddedServer
from zkwire.ops import GetData

NAME = "zk.test"
BAD = "127.0.0.2"

# ------------------------------------------------------------------------ a name service that hangs


@pytest.mark.long
@fault("X06")
def test_a_hanging_name_service_takes_one_thread_and_no_executor(names: Names) -> None:  # noqa: F811
    """The application's own to_thread() has all its threads, and asyncio.run ends at once."""
    names.hanging.append("zk.hangs")
    before = threading.active_count()

    async def main() -> None:
        zk = AsyncZooKeeper("zk.hangs:2181", timeout=2.0, connect_timeout=0.2)
        with pytest.raises(OperationTimeoutError):
            await zk.start(timeout=1.2)
        assert names.asked, "it was asked"
        assert names.waiting == 1, "one question for one name"
        workers = [asyncio.to_thread(time.monotonic) for _ in range(40)] if sys.version_info >= (3, 9) else []
        await asyncio.wait_for(asyncio.gather(*workers), 1.0)
        await asyncio.wait_for(zk.close(), 1.0)
        other = AsyncZooKeeper("zk.hangs:2181", timeout=2.0, connect_timeout=0.2)
        with pytest.raises(OperationTimeoutError):
            await other.start(timeout=0.3)
        await other.close()

    began = time.monotonic()
    asyncio.run(main())
    took = time.monotonic() - began
    assert took < 1.2 + 0.3 + 1.0 + SLACK
    assert threading.active_count() - before <= 2
    names.release()
    until(lambda: threading.active_count() <= before)


@pytest.mark.long
@fault("X06")
def test_a_hanging_name_service_keeps_no_server_from_being_used(front: Front, names: Names) -> None:  # noqa: F811
    """The first of two hosts is never resolved: the second one serves, and close() does not wait for the first."""
    names.hanging.append("zk.hangs")
    server = front.server()
    zk = front.new(f"zk.hangs:{server.port},{server.hosts}", randomize_hosts=False, timeout=2.0)
    began = time.monotonic()
    zk.start(5.0)
    assert time.monotonic() - began < 2.5
    assert zk.exists("/") is not None
    began = time.monotonic()
    zk.close()
    assert time.monotonic() - began < 1.0
    names.release()


# ------------------------------------------------------------------------ one name, several addresses


@contextlib.contextmanager
def bad_address(kind: str, port: int) -> Iterator[List[Any]]:
    """Somebody at the bad address: refuses, swallows SYNs, accepts and says nothing, or accepts and hangs up."""
    kept: List[Any] = []
    if kind == "refuses":
        yield kept
        return
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((BAD, port))
    listener.listen(0 if kind == "swallows" else 50)
    if kind == "swallows":  # with a full backlog the kernel drops what comes
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((BAD, port))
            kept.append(filler)
    thread = None
    if kind in ("is silent", "hangs up"):

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                if kind == "hangs up":
                    sock.close()
                    kept.append(None)
                else:
                    kept.append(sock)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
    try:
        yield kept
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        if thread is not None:
            thread.join(5)
        for sock in kept:
            if sock is not None:
                sock.close()


#: How long each may keep us from the next address, beside what the machine adds.
SHARE = {"refuses": 0.3, "swallows": 0.3, "hangs up": 0.6, "is silent": 1.3}


@pytest.mark.long
@fault("X15")
@pytest.mark.parametrize("kind", list(SHARE))
def test_the_first_address_is_bad(front: Front, names: Names, kind: str) -> None:  # noqa: F811
    server = front.server()
    names.known[NAME] = [BAD, "127.0.0.1"]
    with bad_address(kind, server.port):
        options = {"connect_timeout": 1.0 if kind == "is silent" else 4.0}
        zk = front.new(f"{NAME}:{server.port}", timeout=6.0, randomize_hosts=False, **options)
        began = time.monotonic()
        zk.start(8.0)
        assert time.monotonic() - began < SHARE[kind] + SLACK
        assert zk.exists("/") is not None
        zk.close()


@pytest.mark.long
@fault("X15")
@pytest.mark.timed  # within the session's timeout
@pytest.mark.parametrize("kind", list(SHARE))
def test_the_first_address_is_bad_at_a_reconnect(front: Front, names: Names, kind: str) -> None:  # noqa: F811
    """The session is kept: the bad address takes less than its timeout."""
    server = front.server()
    names.known[NAME] = ["127.0.0.1"]
    zk = front.new(f"{NAME}:{server.port}", timeout=4.0, randomize_hosts=False)
    zk.start(8.0)
    session, states = zk.client_id, Log()
    zk.add_listener(states)
    names.known[NAME] = [BAD, "127.0.0.1"]
    with bad_address(kind, server.port):
        server.cut()
        states.until(lambda seen: KazooState.SUSPENDED in seen)
        until(lambda: zk.connected, 4.0)
        assert zk.client_id == session
        zk.close()


@pytest.mark.long
@fault("X15")
@pytest.mark.parametrize("kind", list(SHARE))
def test_the_first_address_is_bad_after_set_hosts(front: Front, names: Names, kind: str) -> None:  # noqa: F811
    first, second = front.server(), front.scripted()
    names.known[NAME] = [BAD, "127.0.0.1"]
    zk = front.client(first.hosts, timeout=3.0)
    with bad_address(kind, second.port):
        zk.set_hosts(f"{NAME}:{second.port}")
        second.wait(lambda: second.connections > 0, 4.0)
        until(lambda: zk.connected)
        assert zk.get("/a")[0] == b"proper"
        zk.close()


@pytest.mark.long
@fault("X15")
@pytest.mark.parametrize("kind", list(SHARE))
def test_the_first_address_is_bad_behind_tls(front: Front, names: Names, kind: str) -> None:  # noqa: F811
    relay = front.relay(front.server())
    port = int(relay.hosts.rpartition(":")[2])
    names.known["localhost"] = [BAD, "127.0.0.1"]  # the name the certificate has
    with bad_address(kind, port):
        zk = front.new(
            f"localhost:{port}", timeout=3.0, connect_timeout=1.0, ssl_context=pki.client_context(), randomize_hosts=False
        )
        began = time.monotonic()
        zk.start(8.0)
        assert time.monotonic() - began < SHARE[kind] + 2 * SLACK
        assert zk.exists("/") is not None
        zk.close()


@pytest.mark.long
@fault("X15")
@pytest.mark.parametrize("kind", list(SHARE))
def test_the_first_address_is_bad_for_the_probe(front: Front, names: Names, kind: str) -> None:  # noqa: F811
    """A read-only session looks for a read-write server, and finds it at the second address of its name."""
    read_only, read_write = front.server(), front.scripted()
    read_only.go_read_only()
    names.known[NAME] = [BAD, "127.0.0.1"]
    read_write.handshake = lambda wire: True  # not yet
    zk = front.new(
        f"{read_only.hosts},{NAME}:{read_write.port}", timeout=3.0, connect_timeout=1.0, read_only=True, randomize_hosts=False
    )
    with bad_address(kind, read_write.port):
        zk.start(8.0)
        assert zk.client_state == KeeperState.CONNECTED_RO
        read_write.handshake = None
        until(lambda: zk.client_state == KeeperState.CONNECTED, 8.0)
        zk.close()


@fault("X15")
@pytest.mark.parametrize("rotated", [True, False])
def test_thirty_clients_spread_over_the_addresses_of_a_name(names: Names, rotated: bool) -> None:  # noqa: F811
    """Whether the name service turns its answers round or not."""
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(EmbeddedServer())
        keepers = [stack.enter_context(Keeper(server.port, host=addresses[0]))]
        port = keepers[0].port
        keepers += [stack.enter_context(Keeper(server.port, host=address, port_here=port)) for address in addresses[1:]]
        names.known[NAME], names.round_robin = addresses, rotated
        clients = [ZooKeeper(f"{NAME}:{port}", timeout=6.0) for _ in range(15)]
        for zk in clients:
            stack.callback(zk.close)
            zk.start(8.0)

        async def fifteen() -> None:
            more = [AsyncZooKeeper(f"{NAME}:{port}", timeout=6.0) for _ in range(15)]
            await asyncio.gather(*[zk.start(8.0) for zk in more])
            await asyncio.gather(*[zk.close() for zk in more])

        asyncio.run(fifteen())
        counts = [keeper.connections for keeper in keepers]
        assert sum(counts) == 30, counts
        assert min(counts) >= 1, counts  # each at random: one is left out once in 60,000 runs


@fault("X15")
def test_a_four_letter_word_goes_to_the_server_of_the_session(front: Front, names: Names) -> None:  # noqa: F811
    """Even if another address of the name has come to life in between."""
    server = front.server()
    names.known[NAME] = [BAD, "127.0.0.1"]
    zk = front.new(f"{NAME}:{server.port}", timeout=6.0, randomize_hosts=False)
    zk.start(8.0)
    version = zk.server_version()
    asked: List[bytes] = []
    with socket.create_server((BAD, server.port)) as listener:

        def other() -> None:
            try:
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        asked.append(sock.recv(4))
                        sock.sendall(b"Zookeeper version: 3.4.99-other, built on x\nMode: follower\n")
            except OSError:
                return

        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert zk.server_version() == version != (3, 4, 99)
        assert "3.4.99" not in zk.command(b"srvr")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    assert asked == []


# ------------------------------------------------------------------------ loops, and what nobody expects


@fault("X18")
@pytest.mark.parametrize("method", ["connect", "connect_ex", "setsockopt", "getpeername"])
def test_an_unexpected_exception_in_an_attempt_to_connect(front: Front, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A failed attempt: the next one succeeds. (What is not called cannot fail: then there is nothing to see.)"""
    server, failed = front.server(), []
    original = getattr(socket.socket, method)

    def odd(sock: Any, *arguments: Any) -> Any:
        if sys._getframe(1).f_code.co_filename.replace("\\", "/").find("/embedded/") < 0 and len(failed) < 2:
            failed.append(1)
            raise LookupError("something odd")
        return original(sock, *arguments)

    zk = front.new(server.hosts, timeout=2.0)
    monkeypatch.setattr(socket.socket, method, odd, raising=False)
    zk.start(8.0)
    monkeypatch.undo()
    assert zk.exists("/") is not None


@pytest.mark.long
@fault("X18")
def test_the_cause_of_attempts_that_fail_oddly_is_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    server = front.server()

    def odd(sock: Any, *arguments: Any) -> Any:
        raise LookupError("something odd")

    zk = front.new(server.hosts, timeout=2.0)
    monkeypatch.setattr(socket.socket, "connect", odd)
    monkeypatch.setattr(socket.socket, "connect_ex", odd)
    began = time.monotonic()
    with pytest.raises(ZookeeperError) as caught:
        zk.start(0.8)
    assert time.monotonic() - began < 0.8 + SLACK
    assert "something odd" in str(caught.value)
    monkeypatch.undo()
    assert front.client(server.hosts).exists("/") is not None


async def converse(hosts: str) -> None:
    """The ordinary life of a client."""
    async with AsyncZooKeeper(hosts, timeout=4.0) as zk:
        heard = asyncio.Event()
        await zk.create("/a", b"1")
        await zk.get("/a", watch=lambda event: heard.set())
        await asyncio.gather(*[zk.get("/a") for _ in range(50)])
        await zk.set("/a", b"2")
        await asyncio.wait_for(heard.wait(), 5)
        transaction = zk.transaction()
        transaction.delete("/a")
        await transaction.commit()


class Strict(asyncio.SelectorEventLoop):
    """A loop of another make: it offers what the documentation promises, on transports that hide their sockets."""

    async def create_connection(  # type: ignore[override]  # as uvloop has it, which knows no happy eyeballs
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, ssl: Any = None, family: int = 0, proto: int = 0,
        flags: int = 0, sock: Any = None, local_addr: Any = None, server_hostname: Any = None, ssl_handshake_timeout: Any = None,
    ) -> Any:  # fmt: skip
        return await super().create_connection(
            protocol_factory, host, port, ssl=ssl, family=family, proto=proto, flags=flags, sock=sock, local_addr=local_addr,
            server_hostname=server_hostname, ssl_handshake_timeout=ssl_handshake_timeout,
        )  # fmt: skip

    def _make_socket_transport(self, *arguments: Any, **options: Any) -> Any:
        transport = super()._make_socket_transport(*arguments, **options)  # type: ignore[misc]
        real = transport.get_extra_info
        transport.get_extra_info = lambda name, default=None: Hidden(real(name)) if name == "socket" else real(name, default)
        return transport


class Hidden:
    """As much of a socket as a transport has to show: it may be asked, not used."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        if name in ("family", "type", "proto", "fileno", "getsockname", "getpeername", "getsockopt", "setsockopt"):
            return getattr(self._sock, name)
        raise AttributeError(name)


@fault("X18")
def test_a_loop_of_another_make() -> None:
    with EmbeddedServer() as server:
        loop = Strict()
        try:
            loop.run_until_complete(asyncio.wait_for(converse(server.hosts), 10))
        finally:
            loop.close()


@fault("X18")
def test_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    with EmbeddedServer() as server:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(converse(server.hosts), 10))
        finally:
            loop.close()


@fault("X18")
def test_eager_tasks() -> None:
    """Tasks that run at once when they are made (Python 3.12); before, a factory that makes plain ones."""
    factory = getattr(asyncio, "eager_task_factory", lambda loop, coroutine, **options: asyncio.Task(coroutine, loop=loop, **options))
    with EmbeddedServer() as server:

        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(factory)
            await asyncio.wait_for(converse(server.hosts), 10)

        asyncio.run(main())


# ------------------------------------------------------------------------ connect strings

WRONG: List[Tuple[Any, str]] = [
    ("a:2181/kafka,b:2181/kafka", "a:2181,b:2181/kafka"),
    ("a:2181/kafka,b:2181", "chroot|end"),
    (["a:2181/kafka", "b:2181/kafka"], "chroot"),
    ("a:2181;b:2181", "comma|separate"),
    ("a:2181 b:2181", "comma|separate|blank|space"),
    ("a b:2181", "comma|separate|blank|space"),
    ("zk://a:2181,b:2181/mesos", "a:2181,b:2181/mesos|zk://"),
    ("tcp://a:2181", "tcp://"),
    ("https://a:2181/", "https://"),
    ("zookeeper://a", "zookeeper://"),
    ("a:2181,", "comma|empty"),
    (",a:2181", "comma|empty"),
    ("a:2181,,b:2181", "comma|empty"),
    ("a..b:2181", r"a\.\.b"),
    (".a:2181", r"\.a"),
    ("a/b/../c", r"\.\."),
    ("x" * 64 + ".org:2181", "x{20}"),
    ("a:2181,b:2181?timeout=3", r"\?"),
    ("user:pw@a:2181", "@|auth"),
    ("a\x00b:2181", "."),
    ("a:2181/x//y", "//|slash"),
    ("", "."),
    ("a:port", "port"),
    ("a:70000", "70000|port"),
]


@fault("X22")
@pytest.mark.parametrize(("hosts", "hint"), WRONG)
def test_connect_strings_that_are_nearly_right(front: Front, names: Names, hosts: Any, hint: str) -> None:  # noqa: F811
    """Refused before anything is asked or dialled; the text shows what is wrong, or the right form. So in set_hosts and zkdisco."""
    with pytest.raises(ValueError, match=hint):
        front.new(hosts)
    server = front.server()
    zk = front.client(server.hosts, timeout=6.0)
    with pytest.raises(ValueError, match=hint):
        zk.set_hosts(hosts)
    assert zk.exists("/") is not None
    with pytest.raises(ValueError, match=hint):
        front.disco(hosts)
    assert [host for host in names.asked if host != "127.0.0.1"] == []


@fault("X22")
@pytest.mark.parametrize(
    "hosts", ["a", "a:2181", "a,b:2182", "a:2181,b:2181/chroot", "a:2181/a/b", ["a:2181", "b"], "[::1]:2181", "10.0.0.1", "a.b.c.", "zk_1:2181", "a:2181/"]
)
def test_connect_strings_that_are_right(hosts: Any) -> None:
    ZooKeeper(hosts).close()


# ------------------------------------------------------------------------ refusals


def refused(front: Front, how: str, **options: Any) -> ZookeeperError:
    """What a caller hears when the server says -124 in this way."""
    server = front.scripted()
    server.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid)
    zk = front.new(server.hosts, timeout=3.0, **options)
    front.complaints.clear()

    def enforce(wire: Wire, xid: int, op: Any) -> bool:
        wire.send(reply_frame(op, xid, err=-124))
        with contextlib.suppress(OSError):  # the client may have hung up first
            wire.sock.shutdown(socket.SHUT_RDWR)
        return True

    with pytest.raises(ZookeeperError) as caught:
        if how == "identity":
            server.auth = framed(header(-4, err=-124))
            zk.start(5.0)
            zk.get("/a", timeout=2.0)
        elif how == "watches":
            zk.start(5.0)
            zk.get("/a", watch=Log())
            server.request = enforce
            server.cut()
            until(lambda: zk.client_state not in (KeeperState.CONNECTED, KeeperState.CONNECTING))
            zk.get("/a", timeout=2.0)
        else:
            zk.start(5.0)
            server.request = enforce
            if how == "call":
                zk.get("/a", timeout=2.0)
            elif how == "submit":
                raise front.submit(zk, [GetData("/a")])[0].exception(5)
            elif how == "recipe":
                zk.ensure_path("/a/b", timeout=2.0)
    zk.close()
    return caught.value


@fault("X24")
@pytest.mark.parametrize("how", ["call", "submit", "recipe", "watches", "identity"])
def test_124_is_one_error_on_every_path(front: Front, how: str) -> None:
    options = {"auth_data": [("digest", "user:password")]} if how == "identity" else {}
    error = refused(front, how, **options)
    assert type(error) is SessionClosedRequireSaslError and isinstance(error, AuthFailedError), repr(error)
    assert error.code == -124


@fault("X24")
def test_the_text_of_124_has_the_remedy_that_fits(front: Front) -> None:
    """Without credentials: give some. With an identity, or SASL: it is the wrong kind. All three differ."""
    nothing = str(refused(front, "call"))
    identity = str(refused(front, "call", auth_data=[("digest", "user:password")]))
    assert "sasl" in nothing and "auth_data" in nothing, nothing
    assert nothing != identity, identity
    assert "digest" in identity or "auth_data" in identity or "sasl" in identity, identity
    assert "password" not in identity.replace("user and password", "").replace("a password", ""), "no secrets"


@pytest.mark.long
@fault("X24")
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_server_or_proxy_that_accepts_and_hangs_up(front: Front, how: str) -> None:
    """maxClientCnxns reached, a server that starts, a TLS port, a proxy without a server behind: the text lists them."""
    server = front.scripted()

    def hang_up(wire: Wire) -> bool:
        if how == "resets":
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    server.handshake = hang_up
    zk = front.new(server.hosts, timeout=2.0)
    with pytest.raises(ZookeeperError) as caught:
        zk.start(0.7)
    text = str(caught.value)
    for cause in ("maxClientCnxns", "TLS", "proxy"):
        assert cause.lower() in text.lower(), text
    assert "quorum" in text or "start" in text.replace("start()", ""), text
    server.behave()
    assert front.client(server.hosts).get("/a")[0] == b"proper"


# ------------------------------------------------------------------------ SASL


class Kerberos:
    """A mechanism that needs the server's name; it gives a token that is refused, or taken."""

    def __init__(self) -> None:
        self.hosts: List[Any] = []

    def start(self, host: str) -> bytes:
        self.hosts.append(host)
        return b"token for zookeeper/%s" % host.encode()

    def step(self, challenge: bytes) -> None:
        return None


@pytest.mark.long
@fault("X25")
def test_a_mechanism_is_told_the_configured_host_of_each_connection(front: Front, names: Names) -> None:  # noqa: F811
    """The name as it was given, not an address: at the first connection, at a reconnect, at another server."""
    servers = [front.scripted(), front.scripted()]
    names.known["one.example.org"] = names.known["two.example.org"] = ["127.0.0.1"]
    tokens: List[bytes] = []
    for server in servers:
        _take_sasl(server, tokens)
    mechanism = Kerberos()
    hosts = [f"one.example.org:{servers[0].port}", f"two.example.org:{servers[1].port}"]
    zk = front.new(",".join(hosts), timeout=4.0, sasl=mechanism, randomize_hosts=False)
    zk.start(8.0)
    assert mechanism.hosts == ["one.example.org"]
    servers[0].cut()
    until(lambda: len(mechanism.hosts) >= 2 and zk.connected)
    servers[0].handshake = lambda wire: True
    servers[0].cut()
    until(lambda: "two.example.org" in mechanism.hosts and zk.connected)
    assert set(mechanism.hosts) == {"one.example.org", "two.example.org"}
    assert set(tokens) == {b"token for zookeeper/one.example.org", b"token for zookeeper/two.example.org"}


def _take_sasl(server: Any, tokens: List[bytes]) -> None:
    """Let a scripted server take any token of a login as the last one."""
    from zkwire.ops import BY_OPCODE

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != 102:
            return False
        tokens.append(bytes(op.token))
        wire.send(framed(header(xid, 0, 0) + struct.pack(">i", 0)))
        return True

    assert 102 in BY_OPCODE
    server.request = request


# ------------------------------------------------------------------------ read-only before 3.7


@pytest.mark.long
@fault("X26")
def test_a_session_resumed_by_a_server_without_a_quorum_is_lost_in_time(front: Front) -> None:
    """It says the session goes on; the majority may have given it away: that is LOST after a session timeout and a third."""
    server = front.scripted()
    zk = front.new(server.hosts, timeout=1.2, read_only=True)
    zk.start(5.0)
    states = Log()
    zk.add_listener(states)
    server.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid, read_only=True)
    began = time.monotonic()
    server.cut()
    states.until(lambda seen: KazooState.LOST in seen, 4.0)
    assert 1.2 - SLACK < time.monotonic() - began < 1.2 * 4 / 3 + 2 * SLACK
    until(lambda: zk.client_state == KeeperState.CONNECTED_RO)
    assert zk.get("/a")[0] == b"proper"


@pytest.mark.long
@fault("X26")
def test_a_session_resumed_without_a_quorum_and_then_with_one_is_not_lost(front: Front) -> None:
    """Only the majority can say whether it lives: if that says so in time, nothing was lost."""
    server = front.scripted()
    zk = front.new(server.hosts, timeout=6.0, read_only=True)
    zk.start(5.0)
    states, session = Log(), zk.client_id
    zk.add_listener(states)
    server.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid, read_only=True)
    server.cut()
    server.wait(lambda: server.connections >= 2)
    server.welcome = lambda sid, timeout_ms: welcome_frame(timeout_ms, sid)
    server.cut()
    server.wait(lambda: server.connections >= 3)
    until(lambda: zk.client_state == KeeperState.CONNECTED)
    settled(zk)
    assert KazooState.LOST not in states.seen
    assert zk.client_id == session


@fault("X26")
@pytest.mark.parametrize(("version", "resumes"), [("3.4", True), ("3.5", True), ("3.6", True), ("3.8", False), ("3.9", False)])
def test_the_embedded_server_behaves_as_its_version_does(version: str, resumes: bool) -> None:
    """Raw handshakes: what a server without a quorum says to a session of before."""
    with EmbeddedServer(version=version) as server:
        session, password, read_only = handshake(server, 0, bytes(16))
        assert session and not read_only
        server.go_read_only()
        answer = handshake(server, session, password)
        if resumes:
            assert answer == (session, password, True)
        else:
            assert answer is None or answer[0] != session


def handshake(server: EmbeddedServer, session: int, password: bytes) -> Any:
    """Session, password and readOnly of the answer, or None for a hang-up."""
    with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
        sock.settimeout(5)
        body = struct.pack(">iqiq", 0, 0, 4000, session) + struct.pack(">i", 16) + password + b"\x01"
        sock.sendall(struct.pack(">i", len(body)) + body)
        data = b""
        try:
            while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
                more = sock.recv(4096)
                if not more:
                    return None
                data += more
        except OSError:
            return None
    _, _, found = struct.unpack_from(">iiq", data, 4)
    return found, data[24:40], data[40] == 1


# ------------------------------------------------------------------------ programs that are not as they seem


@fault("X30")
def test_a_client_of_discovery_on_a_client_that_is_reconnecting() -> None:
    """It was started, and is just without a connection: it is taken, or the error says that it is not connected now."""
    with EmbeddedServer() as server, ZooKeeper(server.hosts, timeout=4.0) as zk:
        zk.start()
        states = Log()
        zk.add_listener(states)
        server.stop()
        states.until(lambda seen: KazooState.SUSPENDED in seen)
        try:
            client = zkdisco.Client(zk=zk)
        except ValueError as error:
            assert "not connected now" in str(error), error
            server.start()
            states.until(lambda seen: seen[-1] == KazooState.CONNECTED)
            client = zkdisco.Client(zk=zk)
        else:
            server.start()
        client.create_parent_nodes("/a", timeout=8.0)
        client.stop()


@fault("X30")
def test_a_client_of_another_copy_is_refused_by_name(tmp_path: Path) -> None:
    """Two copies of the packages in one program: each uses its own, and says so."""
    shutil.copytree(children.ROOT / "zkwire", tmp_path / "vendored" / "zkwire", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "vendored" / "__init__.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    try:
        from vendored.zkwire import ZooKeeper as Other  # type: ignore[import-not-found]

        with EmbeddedServer() as server, Other(server.hosts) as zk:
            zk.start()
            with pytest.raises(TypeError, match=r"vendored\.zkwire") as caught:
                zkdisco.Client(zk=zk)
            assert "copy" in str(caught.value) or "zkwire.client" in str(caught.value) or "zkwire.ZooKeeper" in str(caught.value)
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.split(".")[0] == "vendored"]:
            del sys.modules[name]


FROZEN = """
import runpy, sys
sys.executable, sys.argv = sys.argv[1], ["zkdisco", *sys.argv[2:]]
sys.frozen = True
runpy.run_module("zkdisco", run_name="__main__", alter_sys=True)
"""


@fault("X30")
@pytest.mark.parametrize("executable", ["the program itself", "empty"])
def test_a_frozen_program_does_not_start_itself(tmp_path: Path, executable: str) -> None:
    """The demo runs other processes elsewhere: a frozen program has no Python to run them with."""
    log = tmp_path / "starts"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho started >> {log}\n")
    program.chmod(0o755)
    import subprocess

    done = subprocess.run(
        children.command(FROZEN, str(program) if executable != "empty" else "", "demo", seconds=15),
        cwd=children.ROOT, capture_output=True, text=True, timeout=25, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert not log.exists(), "it started itself"
    assert "Traceback" not in done.stderr
    if done.returncode != 0:
        assert "sys.executable" in done.stderr or "frozen" in done.stderr or "interpreter" in done.stderr, done.stderr
