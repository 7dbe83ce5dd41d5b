"""Servers that are almost ZooKeeper, that change, or that lack something (X19, X21, X23, X28, X29)."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, settled, until
from tests.kit.hostile import ANSWERS, Wire
from tests.kit.keeper import Keeper
from tests.kit.world import framed, header, reply_frame
from zkwire import (
    ACL, READ_ACL_UNSAFE, ConnectionLoss, Id, KazooState, NoAuthError, NoNodeError, UnimplementedError, ZooKeeper, ZookeeperError,
)  # fmt: skip
from zkwire.ensemble import CONFIG_NODE, parse_config
from zkwire.ops import Create, GetData

ADD_WATCH, CREATE2, GET_ALL_CHILDREN_NUMBER = 106, 15, 104


@pytest.fixture
def keeper(front: Front) -> Iterator[Keeper]:
    """An embedded server behind a proxy that can be made to know less."""
    with Keeper(front.server().port) as one:
        yield one


def attempts(call: Callable[[], Any], limit: int = 8) -> List[Exception]:
    """The errors of calls until one is `UnimplementedError`, which is the last, or succeeds."""
    errors: List[Exception] = []
    while len(errors) < limit:
        try:
            call()
        except UnimplementedError as error:
            errors.append(error)
            break
        except ZookeeperError as error:
            errors.append(error)
        else:
            break
    return errors


@pytest.mark.long
@fault("X19")
@pytest.mark.parametrize("opcode", [ADD_WATCH, GET_ALL_CHILDREN_NUMBER])
def test_a_server_that_hangs_up_on_what_it_does_not_know(front: Front, keeper: Keeper, opcode: int) -> None:
    """After a few hang-ups with that operation alone under way it counts as unknown; then nobody is disturbed any more."""
    keeper.unknown = {opcode}
    zk = front.client(keeper.hosts, timeout=4.0)
    zk.create("/a", b"1")
    call = (lambda: zk.add_watch("/a", Log(), timeout=5.0)) if opcode == ADD_WATCH else (
        lambda: zk.get_all_children_number("/", timeout=5.0)
    )  # fmt: skip
    errors = attempts(call)
    assert isinstance(errors[-1], UnimplementedError), errors
    assert len(errors) <= 5
    assert all(isinstance(error, ConnectionLoss) for error in errors[:-1])
    assert errors[-1].maybe_applied is False  # type: ignore[attr-defined]
    connections, asked = keeper.connections, keeper.seen.count(opcode)
    for _ in range(5):
        with pytest.raises(UnimplementedError):
            call()
    assert zk.get("/a")[0] == b"1"
    assert keeper.connections == connections and keeper.seen.count(opcode) == asked <= 5


@pytest.mark.long
@fault("X19")
def test_hang_ups_beside_other_requests_prove_nothing(front: Front) -> None:
    """A server that loses connections while much is under way is a server that loses connections."""
    server = front.scripted()
    zk = front.client(server.hosts, timeout=4.0)
    losses = [0]

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode == ADD_WATCH and losses[0] < 5:
            losses[0] += 1
            server.cut()
            return True
        return op.opcode == 4 and op.path == "/held"

    server.request = request
    heard = Log()
    for _ in range(5):
        until(lambda: zk.connected)
        others = front.submit(zk, [GetData("/held")] * 3)
        with pytest.raises(ConnectionLoss):
            zk.add_watch("/a", heard, timeout=5.0)
        for other in others:
            assert isinstance(other.exception(5), ConnectionLoss)
    zk.add_watch("/a", heard, timeout=5.0)  # it is still asked, and known


@pytest.mark.long
@fault("X19")
def test_an_answer_without_the_body_that_nobody_needs(front: Front, keeper: Keeper) -> None:
    """addWatch is answered with a header alone: the watch is set, and heard."""
    keeper.down = lambda body: body[:16] if len(body) == 20 else body
    zk = front.client(keeper.hosts, timeout=4.0)
    zk.create("/a")
    states, log = Log(), Log()
    zk.add_listener(states)
    zk.add_watch("/a", log, timeout=5.0)
    zk.set("/a", b"1")
    log.wait()
    settled(zk)
    assert states.seen == []


@fault("X19")
@pytest.mark.parametrize(("opcode", "call"), [(5, "set"), (2, "delete"), (1, "create"), (9, "sync"), (7, "set_acls"), (4, "get")])
def test_short_answers(front: Front, opcode: int, call: str) -> None:
    """Only what nobody needs may lack: a delete has no body, but a value that a caller waits for is never made up."""
    server = front.scripted()
    zk = front.client(server.hosts, timeout=4.0)

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode != opcode:
            return False
        wire.send(framed(header(xid, 1)))
        return True

    server.request = request
    calls = {
        "set": lambda: zk.set("/a", b"", timeout=9.0), "delete": lambda: zk.delete("/a", timeout=9.0), "create": lambda: zk.create("/a", timeout=9.0),
        "sync": lambda: zk.sync("/a", timeout=9.0), "get": lambda: zk.get("/a", timeout=9.0),
        "set_acls": lambda: zk.set_acls("/a", READ_ACL_UNSAFE, timeout=9.0),
    }  # fmt: skip
    if call in ("delete", "sync"):
        assert calls[call]() in (None, "/a", True)
    else:
        with pytest.raises(ZookeeperError):
            calls[call]()


@pytest.mark.long
@fault("X19")
def test_others_on_the_client_hardly_notice(front: Front, keeper: Keeper) -> None:
    """Their calls go on; the listeners hear of a few interruptions, not of endless ones."""
    keeper.unknown = {ADD_WATCH}
    zk = front.client(keeper.hosts, timeout=4.0)
    zk.create("/mine", ephemeral=True)
    session, states = zk.client_id, Log()
    zk.add_listener(states)
    attempts(lambda: zk.add_watch("/a", Log(), timeout=5.0))
    until(lambda: zk.connected)
    for _ in range(20):
        zk.get("/mine", timeout=5.0)
    assert zk.client_id == session
    settled(zk)
    assert states.seen.count(KazooState.SUSPENDED) <= 5 and KazooState.LOST not in states.seen


# ------------------------------------------------------------------------ upgraded in place


@pytest.mark.long
@fault("X21")
@pytest.mark.parametrize("how", ["hangs up", "says so"])
def test_a_server_that_was_upgraded_is_asked_again(front: Front, keeper: Keeper, how: str) -> None:
    """The session survives; what was unknown before is tried again after each reconnect."""
    zk = front.client(keeper.hosts, timeout=6.0)
    zk.create("/a")
    if how == "hangs up":
        keeper.unknown = {ADD_WATCH}
    else:
        unimplemented(keeper, ADD_WATCH)
    heard = Log()
    assert isinstance(attempts(lambda: zk.add_watch("/a", heard, timeout=5.0))[-1], UnimplementedError)
    until(lambda: not attempts(lambda: zk.exists("/", timeout=5.0), 1))  # on the connection behind the one that was hung up
    session = zk.client_id
    keeper.unknown, keeper.up = set(), lambda body: body
    keeper.cut()
    until(lambda: not isinstance(next(iter(attempts(lambda: zk.add_watch("/a", heard, timeout=5.0), 1)), None), ZookeeperError))
    assert zk.client_id == session
    zk.set("/a", b"1")
    heard.wait()


def unimplemented(keeper: Keeper, opcode: int) -> None:
    """Let it answer -6 to an operation, as ZooKeeper 3.5 does to some."""
    import struct

    waiting: List[bytes] = []

    def up(body: bytes) -> bytes:
        if struct.unpack_from(">i", body, 4)[0] != opcode:
            return body
        waiting.append(body[:4])
        return body[:4] + struct.pack(">i", 3) + struct.pack(">i", 2) + b"/a\0"  # an exists instead, whose answer is changed

    def down(body: bytes) -> bytes:
        if body[:4] in waiting:
            waiting.remove(body[:4])
            return body[:12] + struct.pack(">i", -6)
        return body

    keeper.up, keeper.down = up, down


# ------------------------------------------------------------------------ a chroot that is not there


@fault("X23")
@pytest.mark.parametrize("chroot", ["/apps", "/apps/mine", "/apps/mine/deep"])
@pytest.mark.parametrize("verb", ["ensure root", "ensure", "makepath"])
def test_verbs_that_create_parents_create_the_chroot(front: Front, chroot: str, verb: str) -> None:
    server = front.server()
    zk = front.client(server.hosts + chroot, timeout=4.0)
    if verb == "ensure root":
        zk.ensure_path("/")
    elif verb == "ensure":
        zk.ensure_path("/a/b")
    else:
        assert zk.create("/a/b", b"", makepath=True) == "/a/b"
    assert zk.get_children("/") == ([] if verb == "ensure root" else ["a"])
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        assert plain.exists(chroot + ("" if verb == "ensure root" else "/a/b")) is not None


@fault("X23")
def test_other_errors_name_the_chroot_that_is_missing(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts + "/apps/mine", timeout=4.0)
    for call in (
        lambda: zk.create("/a"), lambda: zk.get_children("/"), lambda: zk.get("/a"), lambda: zk.set("/a", b""), lambda: zk.delete("/a"),
        lambda: zk.create("/n-", sequence=True, protect=True), lambda: front.submit(zk, [Create("/a")])[0].result(5),
    ):  # fmt: skip
        with pytest.raises(NoNodeError) as caught:
            call()
        assert "/apps/mine" in str(caught.value), str(caught.value)


@fault("X23")
def test_nothing_is_said_of_a_chroot_that_is_there(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        plain.ensure_path("/apps/mine")
    zk = front.client(server.hosts + "/apps/mine", timeout=4.0)
    zk.ensure_path("/there")
    with pytest.raises(NoNodeError) as caught:
        zk.get("/there/none")
    assert caught.value.path == "/there/none"


# ------------------------------------------------------------------------ rights


@fault("X29")
@pytest.mark.parametrize("verb", ["create", "sequence", "makepath", "submit", "transaction"])
def test_no_right_to_create_names_the_parent(front: Front, verb: str) -> None:
    """It is the parent's ACL that refuses; the node is not there."""
    server = front.server()
    zk = front.client(server.hosts, timeout=4.0)
    zk.create("/parent", acl=READ_ACL_UNSAFE)

    def commit() -> None:
        transaction = zk.transaction()
        transaction.create("/parent/child")
        transaction.commit()

    calls = {
        "create": lambda: zk.create("/parent/child"), "sequence": lambda: zk.create("/parent/child", sequence=True, protect=True),
        "makepath": lambda: zk.create("/parent/child/below", makepath=True), "transaction": commit,
        "submit": lambda: front.submit(zk, [Create("/parent/child")])[0].result(5),
    }  # fmt: skip
    with pytest.raises(NoAuthError) as caught:
        calls[verb]()
    text = str(caught.value)
    assert "'/parent'" in text or "/parent " in text or text.endswith("/parent"), text


@fault("X29")
def test_no_right_to_create_below_a_chroot_names_the_parent_as_the_caller_knows_it(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        plain.create("/app", acl=[ACL(1, Id("world", "anyone"))])
        zk = front.client(server.hosts + "/app", timeout=4.0)
        with pytest.raises(NoAuthError) as caught:
            zk.create("/child")
        assert "'/'" in str(caught.value) or "/app" in str(caught.value), str(caught.value)


# ------------------------------------------------------------------------ the ensemble


@pytest.mark.long
@fault("X28")
def test_the_configuration_below_a_chroot(front: Front) -> None:
    """It is read wherever the chroot is, and its events come with the path it has for everybody."""
    server = front.server()
    with ZooKeeper(server.hosts) as plain:
        plain.start()
        plain.ensure_path("/app")
        zk = front.client(server.hosts + "/app", timeout=4.0)
        log = Log()
        data, stat = zk.get_config(watch=log)
        assert (data, stat) == plain.get_config()
        states = Log()
        zk.add_listener(states)
        server.cut()
        states.until(lambda seen: seen[-1:] == [KazooState.CONNECTED])
        zk.remove_watches("/zookeeper/config")
        log.wait()
        settled(zk)
        assert {event.path for event in log.seen} == {"/zookeeper/config"}


@fault("X28")
def test_the_hosts_follow_the_configuration_below_a_chroot(front: Front) -> None:
    """What a follower does at each event: read, parse, set the hosts. The chroot stays what it was."""
    first, second = front.scripted(), front.scripted()
    text = f"server.1=10.0.0.1:2888:3888:participant;127.0.0.1:{second.port}\nserver.2=10.0.0.2:2888:3888:observer\nversion=100000000"

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if getattr(op, "path", None) != CONFIG_NODE:
            return False
        wire.send(reply_frame(op, xid, (text.encode(), ANSWERS[3](op)), zxid=1))
        return True

    first.request = second.request = request
    zk = front.client(first.hosts + "/app", timeout=4.0)
    data, _ = zk.get_config()
    zk.set_hosts(parse_config(data).hosts)
    second.wait(lambda: second.connections > 0)
    until(lambda: zk.connected)
    assert zk.get("/a", timeout=5.0)[0] == b"proper"
    assert [op.path for op in second.seen] == ["/app/a"]
