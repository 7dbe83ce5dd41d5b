"""SASL on both fronts: over the embedded server, over servers that lie, and over real ones."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.harness import pki
from tests.kit.fronts import Front, Log, real, until
from tests.kit.hostile import Scripted, Wire
from tests.kit.world import framed, header, reply_frame
from zkwire import ACL, AuthFailedError, Id, NoAuthError, OperationTimeoutError
from zkwire.embedded.sasl import DigestServer, SaslRefused
from zkwire.sasl import DigestMD5
from zkwire.values import CREATOR_ALL_ACL, KazooState, KeeperState
from zkwire.ops import Exists
from zkwire.wire.session_ops import Auth, Sasl

USERS = {"bob": "hush-hush", 'b"o\\b': 'p"\\w', "bjørn": "pässwörd"}
BOB = ("bob", "hush-hush")
BOBS_ACL = [ACL(31, Id("sasl", "bob"))]


def fails(front: Front, hosts: str, why: str, **options: Any) -> Any:
    """`start()` raises at once, naming the cause, as do later calls; `close()` returns."""
    options.setdefault("sasl", BOB)
    zk = front.new(hosts, timeout=1.5, **options)
    began = time.monotonic()
    with pytest.raises(AuthFailedError, match=why) as failed:
        zk.start(timeout=20)
    assert time.monotonic() - began < 4
    assert zk.client_state == KeeperState.AUTH_FAILED and zk.state == KazooState.LOST
    with pytest.raises(AuthFailedError):
        zk.get("/")
    assert "hush" not in str(failed.value) + repr(zk)
    zk.close()
    return zk


# --------------------------------------------------------------------- the embedded server


@pytest.mark.parametrize("version", ["3.4", "3.8", "3.9"])
def test_a_session_is_authenticated(version: str, front: Front) -> None:
    server = front.server(sasl=USERS, version=version)
    for number, (user, password) in enumerate(USERS.items()):
        zk = front.client(server.hosts, sasl=(user, password))
        zk.create(f"/{number}", b"mine", acl=CREATOR_ALL_ACL)
        assert zk.get_acls(f"/{number}")[0] == [ACL(31, Id("sasl", user))]
    with pytest.raises(NoAuthError):
        front.client(server.hosts).get("/0")


@pytest.mark.long
@fault("X25")
def test_a_mechanism_is_given_the_configured_host_of_each_connection(front: Front) -> None:
    """Kerberos needs it: zookeeper/<host>@REALM. An address it was resolved to is of no use for that."""
    server = front.server(sasl=USERS)
    port = server.hosts.rpartition(":")[2]
    digest = DigestMD5(*BOB, lambda: "a" * 40)
    started = Log()

    class Kerberos:
        def start(self, host: str) -> bytes:
            started(host)
            return digest.start(host)

        def step(self, challenge: bytes) -> Optional[bytes]:
            return digest.step(challenge)

    zk = front.client(f"127.0.0.1:{port},localhost:{port}", sasl=Kerberos(), randomize_hosts=False, timeout=4.0)
    server.cut()
    hosts = started.wait(2)
    assert set(hosts) <= {"127.0.0.1", "localhost"} and hosts[0] == "127.0.0.1"
    zk.set_hosts(f"localhost:{port}")
    started.until(lambda seen: seen[-1] == "localhost")


@pytest.mark.slow
def test_on_every_connection(front: Front) -> None:
    server = front.server(sasl=USERS)
    server_proxy = front.proxy(server)
    zk, states = front.client(server_proxy.hosts, sasl=["bob", b"hush-hush"], timeout=1.5), Log()
    zk.create("/mine", acl=BOBS_ACL)
    zk.add_listener(states)
    session = zk.client_id
    for round in range(1, 4):
        server_proxy.cut("rst")
        states.wait(2 * round)
        assert zk.get("/mine")[0] == b""
    assert zk.client_id == session
    server.expire(session[0])
    states.until(lambda seen: KazooState.LOST in seen and seen[-1] == KazooState.CONNECTED)
    assert zk.get("/mine")[0] == b""


@pytest.mark.slow
@fault("A05")
def test_no_read_is_refused_between_reconnects(front: Front) -> None:
    """Reads behind an ACL, at any moment, while connections are cut: lost now and then, refused never."""
    server = front.server(sasl=USERS)
    proxy = front.proxy(server)
    zk, states = front.client(proxy.hosts, sasl=BOB, auth_data=[("digest", "eve:apple")], timeout=1.5), Log()
    zk.create("/sasl", acl=BOBS_ACL)
    zk.create("/digest", acl=[ACL(31, Id("auth", ""))])
    zk.set_acls("/digest", [acl for acl in zk.get_acls("/digest")[0] if acl.id.scheme == "digest"])
    zk.add_listener(states)
    refused: List[Any] = []
    done, over = [0], threading.Event()

    def read() -> None:
        while not over.is_set():
            for path in ("/sasl", "/digest"):
                try:
                    zk.get(path, timeout=5)
                    done[0] += 1
                except NoAuthError as error:
                    refused.append(error)
                except Exception:  # noqa: S110  # lost with its connection, as it should be
                    pass

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(6):
        proxy.cut("rst")
        states.until(lambda seen: seen[-1:] == [KazooState.SUSPENDED])
        before = done[0]
        until(lambda before=before: done[0] > before)  # type: ignore[misc]
    over.set()
    reader.join()
    assert not refused


@pytest.mark.parametrize("credentials", [("bob", "hush"), ("nobody", "hush"), ("bob", ""), ("bob", "HUSH-HUSH")])
@pytest.mark.parametrize("required", [False, True])
def test_a_wrong_password(credentials: Tuple[str, str], required: bool, front: Front) -> None:
    server = front.server(sasl=USERS, sasl_required=required)
    fails(front, server.hosts, "SASL authentication failed.*refused the credentials", sasl=credentials)


@pytest.mark.long
def test_a_wrong_password_at_an_old_server(front: Front) -> None:
    server = front.server(sasl=USERS, version="3.4")
    fails(front, server.hosts, "hung up on the credentials", sasl=("bob", "hush"))


def test_a_server_without_sasl(front: Front) -> None:
    """No falling back to a session without."""
    fails(front, front.server().hosts, "the server does not offer SASL")


@pytest.mark.slow
def test_a_password_that_was_changed_meanwhile(front: Front) -> None:
    users = dict(USERS)
    server = front.server(sasl=users)
    proxy = front.proxy(server)
    zk, states, log = front.client(proxy.hosts, sasl=BOB, timeout=4.0), Log(), Log()
    zk.create("/a")
    zk.get("/a", watch=log)
    zk.add_listener(states)
    users["bob"] = "another"
    proxy.cut("rst")
    states.until(lambda seen: seen == [KazooState.SUSPENDED, KazooState.LOST])
    assert zk.client_state == KeeperState.AUTH_FAILED
    assert log.wait(1)[0].state == KeeperState.AUTH_FAILED
    with pytest.raises(AuthFailedError):
        zk.get("/a")
    connections = proxy.connections
    zk.close()
    assert proxy.connections == connections


@fault("A04")
def test_a_server_that_requires_sasl_of_one_who_has_none(front: Front) -> None:
    server = front.server(sasl=USERS, sasl_required=True)
    zk = front.client(server.hosts)  # a session it does give
    with pytest.raises(AuthFailedError, match="sasl=") as failed:
        zk.get("/")
    assert failed.value.code == -124
    until(lambda: zk.client_state == KeeperState.AUTH_FAILED)
    with pytest.raises(AuthFailedError):
        zk.get("/")


@pytest.mark.slow
def test_a_mechanism_of_the_users_own(front: Front) -> None:
    class Own:
        """DIGEST-MD5 through and through, but another object."""

        def __init__(self) -> None:
            from zkwire.sasl import DigestMD5

            self.real, self.begun = DigestMD5("bob", "hush-hush", lambda: "cnonce"), 0

        def start(self, host: str) -> bytes:
            self.begun += 1
            return self.real.start()

        def step(self, challenge: bytes) -> Optional[bytes]:
            return self.real.step(challenge)

    own = Own()
    proxy = front.proxy(front.server(sasl=USERS))
    zk, states = front.client(proxy.hosts, sasl=own, timeout=4.0), Log()
    zk.create("/mine", acl=BOBS_ACL)
    zk.add_listener(states)
    proxy.cut("rst")
    states.wait(2)
    assert zk.get("/mine")[0] == b""
    assert own.begun == 2


def test_over_tls(front: Front) -> None:
    relay = front.relay(front.server(sasl=USERS, sasl_required=True))
    secure: Dict[str, Any] = dict(ssl_context=pki.client_context())
    zk = front.client(relay.hosts, sasl=BOB, **secure)
    zk.create("/mine", acl=BOBS_ACL)
    assert zk.get("/mine")[0] == b""
    fails(front, relay.hosts, "refused the credentials", sasl=("bob", "hush"), **secure)


def test_discovery(front: Front) -> None:
    server = front.server(sasl=USERS)
    client = front.disco(server.hosts, sasl=BOB, acl=BOBS_ACL)
    client.create_parent_nodes("/services/api")
    assert client.get_entries("/services/api")[0] == []
    with pytest.raises(NoAuthError):
        front.client(server.hosts).get_children("/services/api")
    with pytest.raises(AuthFailedError, match="SASL"):
        front.disco(server.hosts, sasl=("bob", "hush"))


@pytest.mark.slow
@fault("A14")
def test_no_secret_is_in_any_text(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """The whole DEBUG log, repr, errors and tracebacks, of logins that succeed, fail, and are torn."""
    import traceback

    caplog.set_level(logging.DEBUG)
    server = front.server(sasl=USERS)
    proxy = front.proxy(server)
    zk, states = front.client(proxy.hosts, sasl=BOB, auth_data=[("digest", "eve:hush-apple")], timeout=4.0), Log()
    zk.add_listener(states)
    zk.create("/a", b"hush-data", ephemeral=True)
    session_password = zk.client_id[1]
    proxy.cut("rst")
    states.wait(2)
    texts = [repr(zk)]
    for credentials in (("bob", "hush-wrong"), ("hush-hush", "hush")):
        one = front.new(server.hosts, sasl=credentials)
        try:
            one.start()
        except AuthFailedError as error:
            texts += [
                str(error),
                repr(error),
                "".join(traceback.format_exception(type(error), error, error.__traceback__)),
            ]
        texts += [repr(one)]
    zk.close()
    text = "\n".join([caplog.text, *texts])
    assert "CONNECTED" in caplog.text and "AUTH_FAILED" in caplog.text and len(texts) == 9
    for secret in ("hush", "cnonce=", "rspauth=", "nonce=", session_password.hex(), repr(session_password)[2:-1]):
        assert secret not in text


class Using:
    """A mechanism that calls `use` before it answers."""

    def __init__(self) -> None:
        self.real = DigestMD5("bob", "hush-hush", lambda: "cnonce")
        self.use: Callable[[], object] = lambda: None

    def start(self, host: str) -> bytes:
        return self.real.start()

    def step(self, challenge: bytes) -> Optional[bytes]:
        self.use()
        return self.real.step(challenge)


@fault("X02")
def test_a_mechanism_runs_under_no_lock(front: Front) -> None:
    """It may ask the client for its state, log, and submit what is sent after the login."""
    mechanism, calls, states = Using(), [], Log()
    proxy = front.proxy(front.server(sasl=USERS))
    zk = front.client(proxy.hosts, sasl=mechanism, timeout=4.0)

    def use() -> None:
        logging.getLogger("zkwire").info("%r is %s", real(zk), real(zk).state)
        calls.append(real(zk).submit(Exists("/")))

    mechanism.use = use
    zk.add_listener(states)
    proxy.cut("rst")
    states.wait(2)
    assert states.seen == [KazooState.SUSPENDED, KazooState.CONNECTED] and len(calls) == 2
    assert zk.exists("/") is not None
    assert all(call.done() and call.result() is not None for call in calls)


@pytest.mark.long
@fault("X02")
@pytest.mark.parametrize("front", ["threads"], indirect=True)
def test_a_mechanism_takes_its_time(front: Front) -> None:
    """While it works, watchers are called and calls are taken; while watchers work, a login goes on."""
    mechanism, go, working, heard = Using(), threading.Event(), threading.Event(), Log()
    proxy = front.proxy(front.server(sasl=USERS))
    zk, states = front.client(proxy.hosts, sasl=mechanism, timeout=8.0), Log()
    mechanism.use = lambda: (working.set(), go.wait(10))
    zk.add_listener(states)
    # A listener that waits for the connection, and so for the login.
    zk.add_listener(lambda state: heard(zk.exists("/")) if state == KazooState.SUSPENDED else None)
    proxy.cut("rst")
    assert working.wait(5)
    assert states.wait(1) == [KazooState.SUSPENDED]
    call = zk.submit(Exists("/"))
    assert not call.done() and zk.state == KazooState.SUSPENDED
    threads = {thread.name for thread in threading.enumerate()}
    assert any(name.endswith("login") for name in threads)
    go.set()
    assert call.result(5) is not None
    assert heard.wait(1)[0] is not None
    until(lambda: not any(thread.name.endswith("login") for thread in threading.enumerate()))


# ----------------------------------------------------------------- servers that lie or leave


Script = Callable[[Wire, int, int, bytes], bool]


class Liar:
    """SASL on a scripted server: a proper one, but for what `lie(wire, xid, step, token)` sees to (and returns True)."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.lie: Script = lambda wire, xid, step, token: False
        self.steps = 0
        self._logins: Dict[Wire, DigestServer] = {}
        server.request = self._request

    def _request(self, wire: Wire, xid: int, op: Any) -> bool:
        if not isinstance(op, Sasl):
            return False
        self.steps += 1
        step = 1 if wire in self._logins else 0
        login = self._logins.setdefault(wire, DigestServer(USERS, f"nonce{self.steps}"))
        if self.lie(wire, xid, step, op.token or b""):
            return True
        try:
            token = login.step(op.token or b"")
        except SaslRefused:
            wire.send(framed(header(xid, 0, -115) + b"\xff\xff\xff\xff"))
        else:
            wire.send(reply_frame(op, xid, token))
        return True


@pytest.fixture
def liar(front: Front) -> Iterator[Liar]:
    yield Liar(front.scripted())


def says(at: int, token: Optional[bytes]) -> Script:
    """This token at this step."""

    def lie(wire: Wire, xid: int, step: int, _: bytes) -> bool:
        if step == at:
            wire.send(reply_frame(Sasl(b""), xid, token))
        return step == at

    return lie


def test_a_proper_one(liar: Liar, front: Front) -> None:
    zk = front.client(liar.server.hosts, sasl=BOB)
    assert zk.get("/a")[0] == b"proper"
    assert [type(op).__name__ for op in liar.server.seen] == ["Sasl", "Sasl", "GetData"]


@fault("A07")
@pytest.mark.parametrize(
    ("step", "token", "why"),
    [
        (0, b'realm="zk-sasl-md5",charset=utf-8,algorithm=md5-sess', "no nonce"), (0, None, "does not offer SASL"),
        (0, b'nonce="a",nonce="b",algorithm=md5-sess', "two values for nonce"), (0, b"\xff\0garbage", "decode"),
        (0, b'nonce="a",qop="auth-conf",algorithm=md5-sess', "qop=auth"), (0, b"x" * 70_000, "a token of 70000"),
        (1, b"rspauth=" + b"0" * 32, "has not proved"), (1, b"garbage", "malformed"), (1, None, "has not proved"),
        (1, b"x" * 70_000, "a token of 70000"),
    ],
)  # fmt: skip
def test_a_liar_gets_nothing(step: int, token: Optional[bytes], why: str, liar: Liar, front: Front) -> None:
    liar.lie = says(step, token)
    fails(front, liar.server.hosts, why)
    assert liar.steps == step + 1  # one attempt, and no second
    assert all(isinstance(op, Sasl) for op in liar.server.seen)
    assert not any(b"hush" in (op.token or b"") for op in liar.server.seen)


@fault("A03", "R26")
def test_a_refusal_with_a_null_token_behind_it(liar: Liar, front: Front) -> None:
    fails(front, liar.server.hosts, "refused the credentials", sasl=("bob", "hush"))
    assert liar.steps == 2


@fault("A02")
@pytest.mark.parametrize("at", [0, 1])
def test_a_server_that_leaves_in_the_middle(at: int, liar: Liar, front: Front) -> None:
    left: List[int] = []

    def leave(wire: Wire, xid: int, step: int, token: bytes) -> bool:
        if step == at and len(left) < 2:
            left.append(step)
            wire.sock.close()
            return True
        return False

    liar.lie = leave
    zk = front.new(liar.server.hosts, sasl=BOB, timeout=1.0)
    zk.start(timeout=10)
    assert zk.get("/a")[0] == b"proper"
    assert len(left) == 2


@fault("A02")
def test_the_next_host_is_tried_when_one_leaves(liar: Liar, front: Front) -> None:
    liar.lie = lambda wire, xid, step, token: wire.sock.close() or True  # type: ignore[func-returns-value]
    good = Liar(front.scripted())
    zk = front.client(f"{liar.server.hosts},{good.server.hosts}", sasl=BOB, randomize_hosts=False)
    assert zk.get("/")[0] == b"proper"
    assert (liar.steps, good.steps) == (1, 2)


@pytest.mark.slow
@fault("A08")
@pytest.mark.parametrize("at", [0, 1])
def test_a_server_that_falls_silent_in_the_middle(at: int, liar: Liar, front: Front) -> None:
    liar.lie = lambda wire, xid, step, token: step == at
    zk = front.new(liar.server.hosts, sasl=BOB, timeout=1.0, connect_timeout=0.1)
    with pytest.raises(OperationTimeoutError, match="connect time-out"):
        zk.start(timeout=0.2)
    good = Liar(front.scripted())
    hosts = f"{liar.server.hosts},{good.server.hosts}"
    began = time.monotonic()
    front.client(hosts, sasl=BOB, randomize_hosts=False, timeout=6.0, connect_timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 2


@pytest.mark.long
@pytest.mark.parametrize("at", [0, 1])
def test_close_in_the_middle(at: int, liar: Liar, front: Front) -> None:
    """It returns in time, though the server never answers."""
    reached = threading.Event()

    def stall(wire: Wire, xid: int, step: int, token: bytes) -> bool:
        if step == at:
            reached.set()
        return step == at

    liar.lie = stall
    zk = front.new(liar.server.hosts, sasl=BOB, timeout=1.0)
    starter = threading.Thread(target=lambda: pytest.raises(Exception, zk.start, timeout=10))
    starter.start()
    assert reached.wait(5)
    began = time.monotonic()
    zk.close()
    assert time.monotonic() - began < 2
    starter.join(5)


@fault("A01")
def test_an_identity_that_is_refused(front: Front) -> None:
    server = front.scripted()
    proper = server.hosts
    hold: List[Wire] = []

    def greet(wire: Wire) -> bool:
        """As `Scripted` does, but auth is refused, and then it hangs up."""
        from tests.kit.world import welcome_frame

        wire.send(welcome_frame(6000))
        body = wire.frame()
        while body is not None and body[4:8] != (100).to_bytes(4, "big"):
            body = wire.frame()
        hold.append(wire)
        wire.send(framed(header(-4, 0, -115)))
        return True

    server.handshake = greet
    zk = front.new(proper, timeout=6.0, auth_data=[("nonsense", "hush")])
    with pytest.raises(AuthFailedError):
        zk.start()
    zk.close()
    later = front.client(proper, timeout=6.0)
    calls = [later.submit(op) for op in (Auth("nonsense", b"hush"),)]
    assert isinstance(calls[0].exception(5), AuthFailedError)
    until(lambda: later.client_state == KeeperState.AUTH_FAILED)
    with pytest.raises(AuthFailedError):
        later.get("/a")
    assert server.connections == len(hold) == 2  # no loop of reconnects
    client = real(later)  # nor any other, though nobody has closed it
    until(lambda: front.is_asyncio or not client._driver._io._thread.is_alive())


@pytest.mark.long
@fault("A06")
def test_identities_added_twice_and_while_away(front: Front) -> None:
    """Each is sent once per connection, in the order they were added."""
    server = front.scripted()
    told: List[List[bytes]] = []

    def greet(wire: Wire) -> bool:
        from tests.kit.world import welcome_frame

        mine: List[bytes] = []
        told.append(mine)
        wire.send(welcome_frame(6000))
        while True:
            body = wire.frame()
            if body is None:
                return True
            xid, opcode = int.from_bytes(body[:4], "big", signed=True), int.from_bytes(body[4:8], "big", signed=True)
            if opcode == 100:
                mine.append(Auth.parse(body, 8).credential)
            if opcode != 11:
                wire.send(framed(header(xid)))
            if opcode == -11:
                return True

    server.handshake = greet
    zk, states = front.client(server.hosts, timeout=6.0, auth_data=[("digest", "a:1"), ("digest", "b:2")]), Log()
    zk.add_auth("digest", "b:2")
    zk.add_auth("digest", "c:3")
    zk.add_listener(states)
    server.cut()
    states.wait(1)
    both = [zk.submit(Auth("digest", b"d:4")), zk.submit(Auth("digest", b"d:4"))]
    assert [future.result(5) for future in both] == [None, None]
    states.wait(2)
    assert told == [[b"a:1", b"b:2", b"c:3"], [b"a:1", b"b:2", b"c:3", b"d:4"]]
