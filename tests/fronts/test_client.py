"""The verbs of the blocking front on real servers of every version."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.catalogue import fault
from tests.conftest import AnyServer
from tests.kit.fronts import Log, settled
from zkwire import (
    ACL, OPEN_ACL_UNSAFE, Id, WatchedEvent, ZooKeeper, make_digest_acl, make_digest_acl_credential,
)  # fmt: skip
from zkwire.errors import (
    AuthFailedError, BadVersionError, ConnectionClosedError, ConnectionLoss, FrameTooLargeError, InvalidACLError,
    MarshallingError, NoAuthError, NoChildrenForEphemeralsError, NodeExistsError, NoNodeError, NotEmptyError,
    NoWatcherError, RolledBackError, RuntimeInconsistency, TooManyPendingError, UnimplementedError,
)  # fmt: skip
from zkwire.ops import AddWatch, Check, Create, Delete, Exists, GetChildren, GetData, SetData
from zkwire.values import CREATOR_ALL_ACL, KazooState, KeeperState, Permissions

Make = Callable[..., ZooKeeper]


@pytest.fixture
def make() -> Iterator[Make]:
    """Clients that are closed at the end."""
    made: List[ZooKeeper] = []

    def one(hosts: str, start: bool = True, **options: Any) -> ZooKeeper:
        zk = ZooKeeper(hosts, **options)
        made.append(zk)
        if start:
            zk.start()
        return zk

    yield one
    for zk in made:
        zk.close()


@pytest.fixture
def zk(server: AnyServer, make: Make, unique: str) -> ZooKeeper:
    """A client in a chroot of its own."""
    root = make(server.hosts)
    root.create(f"/{unique}")
    return make(f"{server.hosts}/{unique}")


def again(call: Callable[[], Any]) -> Any:
    """Repeat a lost call: 3.4, when it hangs up for an unknown operation, at times takes the next connection along."""
    try:
        return call()
    except ConnectionLoss:
        return call()


def test_nodes(zk: ZooKeeper) -> None:
    assert zk.create("/a", b"one") == "/a"
    with pytest.raises(NodeExistsError) as caught:
        zk.create("/a")
    assert caught.value.path == "/a"
    data, stat = zk.get("/a")
    assert (data, stat.version, stat.dataLength, stat.ephemeralOwner) == (b"one", 0, 3, 0)
    assert zk.set("/a", b"two", version=0).version == 1
    with pytest.raises(BadVersionError):
        zk.set("/a", b"three", version=0)
    assert zk.exists("/a") == zk.get("/a")[1]
    assert zk.exists("/nothing") is None
    for call in (zk.get, zk.get_children, zk.delete, zk.get_acls):
        with pytest.raises(NoNodeError):
            call("/nothing")
    with pytest.raises(NoNodeError):
        zk.create("/no/parent")
    assert zk.create("/a/b", None) == "/a/b"
    assert zk.get("/a/b")[0] is None
    assert zk.get_children("/a") == ["b"]
    names, parent = zk.get_children("/a", include_data=True)
    assert (names, parent.numChildren) == (["b"], 1)
    with pytest.raises(NotEmptyError):
        zk.delete("/a")
    with pytest.raises(BadVersionError):
        zk.delete("/a/b", version=7)
    zk.delete("/a/b", version=0)
    assert zk.sync("/a") == "/a"
    assert sorted(zk.get_children("/")) == ["a"]


def test_kinds_of_nodes(zk: ZooKeeper) -> None:
    zk.create("/e", ephemeral=True)
    assert zk.client_id is not None
    assert zk.exists("/e").ephemeralOwner == zk.client_id[0]  # type: ignore[union-attr]
    with pytest.raises(NoChildrenForEphemeralsError):
        zk.create("/e/child")
    first, second = zk.create("/s-", sequence=True), zk.create("/s-", sequence=True, ephemeral=True)
    assert int(second[-10:]) > int(first[-10:])
    assert zk.create("/", sequence=True)[1:].isdigit()
    assert zk.create("/x/y/z", b"v", makepath=True) == "/x/y/z"
    assert zk.get("/x/y")[0] == b""
    protected = zk.create("/x/p-", sequence=True, protect=True, ephemeral=True)
    assert protected.startswith("/x/_c_")
    assert len(protected) == len("/x/_c_") + 32 + 1 + 2 + 10
    assert zk.create("/x/", sequence=True, protect=True).startswith("/x/_c_")
    assert zk.create("/q/r/w", makepath=True, protect=True).startswith("/q/r/_c_")


def test_newer_kinds_of_nodes(server: AnyServer, zk: ZooKeeper) -> None:
    if not server.since(3, 5):
        for options in ({"container": True}, {"ttl": 10.0}, {"include_data": True}):
            with pytest.raises(UnimplementedError):
                again(lambda options=options: zk.create("/n", **options))  # type: ignore[misc]
        assert again(lambda: zk.exists("/n")) is None
        return
    assert zk.create("/c", container=True) == "/c"
    assert zk.create("/t", ttl=100.0) == "/t"
    path, stat = zk.create("/i", b"data", include_data=True)
    assert (path, stat.dataLength) == ("/i", 4)
    zk.create("/e", ephemeral=True)
    if not server.since(3, 6):
        for call in (lambda: zk.get_all_children_number("/"), zk.get_ephemerals):
            with pytest.raises(UnimplementedError):
                again(call)
        return
    assert zk.get_all_children_number("/") == 4
    assert zk.get_ephemerals() == ["/e"]
    assert zk.get_ephemerals("/none") == []


def test_paths_of_many_levels(zk: ZooKeeper) -> None:
    assert zk.ensure_path("/a/b/c/d") is True
    assert zk.ensure_path("/a/b/c/d") is True
    for i in range(120):
        zk.submit(Create(f"/a/b/c/d/{i}"))
    assert zk.delete("/a", recursive=True) is True
    assert zk.exists("/a") is None
    with pytest.raises(NoNodeError):
        zk.delete("/a", recursive=True)


def test_many_at_once(zk: ZooKeeper) -> None:
    for i in range(50):
        zk.submit(Create(f"/{i}", b"%d" % i))
    results = zk.get_many([f"/{i}" for i in range(51)])
    assert [r[0] for r in results[:50]] == [b"%d" % i for i in range(50)]  # type: ignore[index]
    assert isinstance(results[50], NoNodeError)
    futures = [zk.submit(GetData("/7")), zk.submit(GetChildren("/")), zk.submit(Delete("/nothing"))]
    assert futures[0].result(5)[0] == b"7"
    assert len(futures[1].result(5)) == 50
    assert isinstance(futures[2].exception(5), NoNodeError)


def test_acls_and_identities(server: AnyServer, zk: ZooKeeper, make: Make) -> None:
    zk.add_auth("digest", "bob:secret")
    zk.add_auth("digest", "bob:secret")
    zk.create("/mine", b"x", acl=CREATOR_ALL_ACL)
    acls, stat = zk.get_acls("/mine")
    assert stat.aversion == 0
    assert acls[0].id == Id("digest", make_digest_acl_credential("bob", "secret"))
    assert zk._driver.session.scope.prefix
    stranger = make(f"{server.hosts}{zk._driver.session.scope.prefix}")
    with pytest.raises(NoAuthError):
        stranger.get("/mine")
    with pytest.raises(InvalidACLError):
        stranger.create("/nobody", acl=CREATOR_ALL_ACL)
    friend = make(f"{server.hosts}{zk._driver.session.scope.prefix}", auth_data=[("digest", "bob:secret")])
    assert friend.get("/mine")[0] == b"x"
    assert zk.set_acls("/mine", OPEN_ACL_UNSAFE, version=0).aversion == 1
    assert stranger.get("/mine")[0] == b"x"
    by_default = make(
        f"{server.hosts}{zk._driver.session.scope.prefix}", default_acl=[make_digest_acl("bob", "secret", all=True)]
    )
    by_default.create("/default")
    assert zk.get_acls("/default")[0] == [
        ACL(Permissions.ALL, Id("digest", make_digest_acl_credential("bob", "secret")))
    ]
    if server.since(3, 7):
        assert Id("digest", "bob") in zk.who_am_i()
    else:
        with pytest.raises(UnimplementedError):
            again(zk.who_am_i)


@fault("A01")
def test_a_bad_scheme_ends_the_client_at_once(server: AnyServer, make: Make, unique: str) -> None:
    """A01: every call under way, and start()."""
    zk = make(server.hosts)
    states = Log()
    zk.add_listener(states)
    pending = [zk.submit(GetData("/")) for _ in range(3)]
    with pytest.raises(AuthFailedError):
        zk.add_auth("nonsense", "x")
    assert all(isinstance(f.exception(9), (AuthFailedError, type(None))) for f in pending)
    states.wait(1)
    assert zk.state == KazooState.LOST
    assert zk.client_state == KeeperState.AUTH_FAILED
    with pytest.raises(AuthFailedError):
        zk.get("/")
    bad = make(server.hosts, start=False, auth_data=[("nonsense", "x")])
    with pytest.raises(AuthFailedError):
        bad.start(timeout=10)
    with pytest.raises(AuthFailedError):
        bad.get("/")


def test_auth_overtakes_pipelined_creates(server: AnyServer, zk: ZooKeeper) -> None:
    """R07: kazoo fails 5 of 5."""
    own = None if server.since(3, 5) else MarshallingError  # 3.4 answers so when an identity comes while it reads their list
    for i in range(30):
        creates = [zk.submit(Create(f"/{i}-{j}")) for j in range(10)]
        zk.add_auth("digest", f"user{i}:x")
        creates += [zk.submit(Create(f"/{i}-{j}")) for j in range(10, 15)]
        for j, future in enumerate(creates):
            error = future.exception(5)
            assert type(error) is own if error else future.result(0) == f"/{i}-{j}"
    assert zk.connected


def test_transactions(zk: ZooKeeper) -> None:
    transaction = zk.transaction()
    transaction.create("/a", b"1")
    transaction.create("/a/b-", sequence=True)
    transaction.set_data("/a", b"2")
    transaction.check("/a", 1)
    results = transaction.commit()
    assert results[0] == "/a"
    assert results[1].startswith("/a/b-")
    assert results[2].version == 1
    assert zk.get("/a")[0] == b"2"
    with zk.transaction() as block:
        block.delete(results[1])
        block.set_data("/a", b"3")
    assert zk.get_children("/a") == []
    failing = zk.transaction()
    failing.set_data("/a", b"4")
    failing.check("/a", 99)
    failing.delete("/a")
    with pytest.raises(BadVersionError):
        failing.commit()
    outcomes = failing.commit(raise_on_error=False)
    assert [type(o) for o in outcomes] == [RolledBackError, BadVersionError, RuntimeInconsistency]
    assert zk.get("/a")[0] == b"3"
    with pytest.raises(KeyError), zk.transaction() as left:
        left.delete("/a")
        raise KeyError
    assert zk.exists("/a") is not None
    assert zk.multi([]) == []
    assert zk.multi([SetData("/a", b"5"), Check("/a")])[1] is None


def test_reading_several_at_one_point(server: AnyServer, zk: ZooKeeper) -> None:
    zk.create("/a", b"1")
    ops = [GetData("/a"), GetData("/nothing"), GetChildren("/")]
    if not server.since(3, 6):
        with pytest.raises(UnimplementedError):
            zk.multi_read(ops)
        return
    one, two, three = zk.multi_read(ops)
    assert one[0] == b"1"
    assert isinstance(two, NoNodeError)
    assert three == ["a"]


def test_watches_that_fire_once(zk: ZooKeeper) -> None:
    data, missing, children, gone = Log(), Log(), Log(), Log()
    zk.create("/a")
    zk.get("/a", watch=data)
    zk.exists("/b", watch=missing)
    zk.get_children("/", watch=children)
    zk.set("/a", b"1")
    zk.set("/a", b"2")
    zk.create("/b")
    zk.exists("/b", watch=gone)
    zk.delete("/b")
    gone.wait(1)
    settled(zk)
    assert data.events == [("CHANGED", "/a")]
    assert missing.events == [("CREATED", "/b")]
    assert children.events == [("CHILD", "/")]
    assert gone.events == [("DELETED", "/b")]


def test_watches_that_stay(server: AnyServer, zk: ZooKeeper) -> None:
    ever, below, once = Log(), Log(), Log()
    zk.create("/a")
    zk.get("/a", watch=once)
    if not server.since(3, 6):
        with pytest.raises(UnimplementedError):
            zk.add_watch("/a", ever)
        with pytest.raises(UnimplementedError):
            again(lambda: zk.add_watch("/a", below, recursive=True))
        assert again(lambda: zk.get("/a", timeout=5))[0] == b""
        again(lambda: zk.set("/a", b"1"))
        once.wait(1)
        settled(zk)
        assert once.events == [("CHANGED", "/a")]
        return
    zk.add_watch("/a", ever)
    zk.add_watch("/", below, recursive=True)
    zk.set("/a", b"1")
    zk.create("/a/b")
    zk.set("/a/b", b"2")
    zk.delete("/a/b")
    below.wait(4)
    ever.wait(3)
    settled(zk)
    assert ever.events == [("CHANGED", "/a"), ("CHILD", "/a"), ("CHILD", "/a")]
    assert below.events == [("CHANGED", "/a"), ("CREATED", "/a/b"), ("CHANGED", "/a/b"), ("DELETED", "/a/b")]
    zk.remove_watches("/a", ever)
    assert ever.wait(4)[-1].type == "PERSISTENT_WATCH_REMOVED"
    with pytest.raises(NoWatcherError):
        zk.remove_watches("/a", ever)
    zk.set("/a", b"3")
    below.wait(5)
    settled(zk)
    assert len(ever.seen) == 4


@pytest.mark.parametrize("first", ["child", "data"])
def test_removing_one_kind_leaves_the_persistent_watch_whole(server: AnyServer, zk: ZooKeeper, first: str) -> None:
    if not server.since(3, 6):
        pytest.skip("persistent watches came with 3.6")
    from zkwire.ops import RemoveWatches

    ever, once = Log(), Log()
    zk.create("/a")
    zk.add_watch("/a", ever)
    (zk.get_children if first == "child" else zk.get)("/a", watch=once)
    zk.submit(RemoveWatches("/a", 1 if first == "child" else 2)).result(5)
    zk.set("/a", b"1")
    zk.create("/a/b")
    ever.wait(2)
    settled(zk)
    assert ever.events == [("CHANGED", "/a"), ("CHILD", "/a")]
    assert [e.type for e in once.wait(1)] == [f"{first.upper()}_WATCH_REMOVED"]


MODES = {
    "persistent": lambda zk, path, log: zk.add_watch(path, log),
    "recursive": lambda zk, path, log: zk.add_watch(path, log, recursive=True),
    "data": lambda zk, path, log: zk.get(path, watch=log),
    "children": lambda zk, path, log: zk.get_children(path, watch=log),
}
#: What each hears of a child created and data set, twice.
HEARD = {
    "persistent": ["CHILD", "CHANGED"] * 2,
    "recursive": ["CREATED", "CHANGED"] * 2,
    "data": ["CHANGED"],
    "children": ["CHILD"],
}


@pytest.mark.parametrize("lasting", ["persistent", "recursive"])
@pytest.mark.parametrize("once", ["data", "children"])
@pytest.mark.parametrize("order", ["lasting first", "lasting last", "together"])
def test_watches_of_several_modes_on_one_path(
    server: AnyServer, zk: ZooKeeper, lasting: str, once: str, order: str
) -> None:
    """Servers before 3.9 keep one mode for each path, and forget the other (ZOOKEEPER-4466)."""
    if not server.since(3, 6):
        pytest.skip("persistent watches came with 3.6")
    zk.create("/a")
    names = [lasting, once] if order == "lasting first" else [once, lasting]
    logs = {name: Log() for name in names}
    if order == "together":
        read = {"data": GetData, "children": GetChildren}[once]
        futures = [zk.submit(AddWatch("/a", logs[lasting], lasting == "recursive")), zk.submit(read("/a", logs[once]))]
        for future in futures:
            future.result(5)
    else:
        for name in names:
            MODES[name](zk, "/a", logs[name])
    for i in range(2):
        zk.create(f"/a/{i}")
        zk.set("/a", b"")
    for name, log in logs.items():
        log.wait(len(HEARD[name]))
    zk.exists("/")
    settled(zk)
    assert {name: [event.type for event in log.seen] for name, log in logs.items()} == {name: HEARD[name] for name in names}


def test_two_watchers_on_one_path(server: AnyServer, zk: ZooKeeper) -> None:
    """W21."""
    one, two = Log(), Log()
    zk.create("/a")
    zk.get("/a", watch=one)
    zk.get("/a", watch=two)
    zk.remove_watches("/a", one)
    zk.set("/a", b"1")
    two.wait(1)
    settled(zk)
    assert two.events == [("CHANGED", "/a")]
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]
    zk.get("/a", watch=two)
    if server.since(3, 5):
        zk.remove_watches("/a")
        assert two.wait(2)[-1].type == "DATA_WATCH_REMOVED"
    else:
        with pytest.raises(UnimplementedError):
            zk.remove_watches("/a")
        zk.remove_watches("/a", local=True)


def test_an_event_comes_before_the_read_that_shows_the_change(
    server: AnyServer, zk: ZooKeeper, make: Make
) -> None:
    """W09: the call of the watcher is queued before the result of the read is in; X08: and no more than that."""
    other = make(f"{server.hosts}{zk._driver.session.scope.prefix}")
    zk.create("/a", b"0")
    for i in range(1, 301):
        told = threading.Event()
        zk.get("/a", watch=lambda event, told=told: told.set())  # type: ignore[misc]
        writing = other.submit(SetData("/a", b"%d" % i))
        while True:
            before = told.is_set()
            data, _ = zk.get("/a")
            if data == b"%d" % i:
                behind: SimpleQueue[bool] = SimpleQueue()
                zk.submit(Exists("/a"), lambda done, told=told, behind=behind: behind.put(told.is_set()))  # type: ignore[misc]
                assert behind.get(timeout=5)
                break
            assert not before, "the event came, and then a read without the change"
        writing.result(5)


def test_a_watcher_may_call_the_client_and_a_bad_one_harms_nobody(
    zk: ZooKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    """W22, W23, P04."""
    zk.create("/a", b"1")
    results = Log()

    def reading(event: Any) -> None:
        results(zk.get("/a", watch=results)[0])

    def raising(event: Any) -> None:
        raise RuntimeError("a bad watcher")

    zk.get("/a", watch=raising)
    zk.get("/a", watch=reading)
    zk.set("/a", b"2")
    assert results.wait(1) == [b"2"]
    assert "a bad watcher" in caplog.text
    zk.set("/a", b"3")
    assert results.wait(2)[1].type == "CHANGED"


def test_a_watcher_that_blocks_stops_no_answers(zk: ZooKeeper) -> None:
    go = threading.Event()
    zk.create("/a")
    zk.get("/a", watch=lambda event: go.wait(10))
    try:
        for i in range(200):
            zk.set("/a", b"%d" % i)
        assert zk.get("/a", timeout=9)[0] == b"199"
    finally:
        go.set()


def test_what_cannot_be_sent_is_refused_here(server: AnyServer, zk: ZooKeeper, make: Make) -> None:
    """R09: the server would hang up, and the call look as if it were worth repeating."""
    zk.create("/a")
    with pytest.raises(FrameTooLargeError, match="jute.maxbuffer"):
        zk.set("/a", b"x" * 0xFFFFF)
    room = 0xFFFFF - len(SetData(f"{zk._driver.session.scope.prefix}/a", b"").frame(1, None)) + 4
    zk.set("/a", b"x" * room)
    assert len(zk.get("/a")[0]) == room
    with pytest.raises(FrameTooLargeError):
        zk.set("/a", b"x" * (room + 1))
    assert zk.connected
    for path in ("", "a", "/a/", "//", "/a//b", "/..", "/\0"):
        with pytest.raises(ValueError, match="path"):
            zk.get(path)
    few, futures = make(server.hosts, max_pending=3), []
    with pytest.raises(TooManyPendingError):
        for _ in range(50_000):
            futures.append(few.submit(GetData("/")))
    assert futures[-1].result(5)
    assert few.get_children("/zookeeper", timeout=5)


def test_a_name_instead_of_an_address(server: AnyServer, make: Make) -> None:
    port = server.hosts.rpartition(":")[2]
    assert "zookeeper" in make(f"localhost:{port}").get_children("/")
    assert "zookeeper" in make(f"127.0.0.1:1,localhost:{port}", randomize_hosts=False).get_children("/")


def test_states_and_listeners(server: AnyServer, make: Make) -> None:
    zk = make(server.hosts, start=False)
    states, once, bad = Log(), Log(), Log()

    def only_once(state: str) -> bool:
        once(state)
        return True

    def raising(state: str) -> None:
        bad(state)
        raise RuntimeError

    for listener in (raising, only_once, states):
        zk.add_listener(listener)
    assert (zk.state, zk.client_state, zk.connected, zk.client_id) == ("LOST", "CONNECTING", False, None)
    zk.start()
    assert (zk.state, zk.client_state, zk.connected) == ("CONNECTED", "CONNECTED", True)
    assert zk.session_timeout == 10.0
    assert states.wait(1) == ["CONNECTED"]
    zk.close()
    assert states.wait(2) == ["CONNECTED", "LOST"]
    settled(zk)
    assert once.seen == ["CONNECTED"]
    assert bad.seen == ["CONNECTED", "LOST"]
    assert (zk.state, zk.client_state, zk.client_id) == ("LOST", "CLOSED", None)
    with pytest.raises(ConnectionClosedError):
        zk.get("/")


def test_the_state_is_told_before_what_follows_it(server: AnyServer, make: Make) -> None:
    zk = make(server.hosts, start=False)
    seen = Log()
    zk.add_listener(lambda state: seen((state, zk.get_children("/", timeout=5) if state == "CONNECTED" else None)))
    zk.start()
    assert "zookeeper" in seen.wait(1)[0][1]


@fault("A14")
def test_no_secret_is_logged_or_shown(server: AnyServer, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A14."""
    caplog.set_level("DEBUG")
    zk = make(server.hosts, auth_data=[("digest", "bob:hush-hush")])
    zk.create("/zkwire-secret", b"top-secret-data", ephemeral=True)
    password = zk.client_id[1]  # type: ignore[index]
    zk.close()
    text = caplog.text + repr(zk) + str(vars(zk._driver.session))
    for secret in ("hush-hush", "top-secret-data", password.hex(), repr(password)[2:-1]):
        assert secret not in text


def test_get_config_lies_outside_the_chroot(server: Any, unique: str) -> None:
    """ZOOKEEPER-4565, -4601, -4742: its events must not be cut as if they lay below the chroot, /zookeeper/... or not."""
    if not server.since(3, 5):
        with ZooKeeper(server.hosts) as zk, pytest.raises(NoNodeError):
            zk.get_config()
        return
    seen: List[WatchedEvent] = []
    heard = threading.Event()

    def watcher(event: WatchedEvent) -> None:
        seen.append(event)
        heard.set()

    with ZooKeeper(f"{server.hosts}/{unique}") as zk, ZooKeeper(server.hosts, auth_data=[("digest", "super:super")]) as top:
        zk.ensure_path("/")
        data, stat = zk.get_config(watcher)
        assert stat.version >= 0 and (data or b"") == (top.get("/zookeeper/config")[0] or b"")
        top.set("/zookeeper/config", data)
        assert heard.wait(10)
    assert seen[0] == WatchedEvent("CHANGED", "CONNECTED", "/zookeeper/config")
