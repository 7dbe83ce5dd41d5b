"""The fault catalogue's rows on watches, on both fronts, against the embedded server."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from typing import Any, Callable, List, Set, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests, real, settled, until
from tests.kit.hostile import Wire
from tests.kit.world import event_frame, framed, header
from zkwire.embedded import EmbeddedServer
from zkwire.errors import NoWatcherError, UnimplementedError
from zkwire.ops import Create, GetData, RemoveWatches, SetData, SetWatches
from zkwire.wire.operation import DATA, EXIST
from zkwire.values import WatchedEvent


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon after a loss: these tests have few clients, and many losses."""
    monkeypatch.setattr("zkwire.session.host_provider.SPREAD", 0.02)



def away(front: Front, zk: Any, proxy: Any, *changes: Callable[[], Any]) -> None:
    """Lose the connection, let things change, and let it come back."""
    states = Log()
    zk.add_listener(states)
    proxy.refuse()
    proxy.cut()
    states.wait(1)
    for change in changes:
        change()
    proxy.heal()


def server_watches(server: EmbeddedServer, zk: Any) -> Tuple[Set[str], Set[str]]:
    """The paths the server watches for a client: data, children."""
    sessions, watches = server._core.sessions, server._core.data.watches
    link = sessions.get(zk.client_id[0]).link  # type: ignore[union-attr]
    return (
        {path for path, watchers in watches.data.paths.items() if link in watchers},
        {path for path, watchers in watches.child.paths.items() if link in watchers},
    )


def none_left(zk: Any) -> bool:
    """Whether the client knows of no watch any more."""
    return len(real(zk)._session._requests.watches) == 0


@pytest.mark.parametrize("how", ["fin", "rst"])
@fault("W01", "W02", "W03", "W04", "W17")
def test_a_reconnect_catches_up_once_and_sets_the_others_again(front: Front, how: str) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk, other = front.client(proxy.hosts, timeout=4.0), front.client(server.hosts, timeout=4.0)
    names = ("changed", "same", "gone", "again", "made", "missing", "fleeting", "kids", "childless", "ever", "below")
    logs, states, all_of_it = {name: Log() for name in names}, Log(), Log()
    for name in set(names) - {"made", "missing", "fleeting"}:
        zk.create(f"/{name}")

    def to(name: str) -> Callable[[Any], None]:
        def tell(event: Any) -> None:
            all_of_it(event)
            logs[name](event)

        return tell

    for name in ("changed", "same", "gone", "again"):
        zk.get(f"/{name}", watch=to(name))
    for name in ("made", "missing", "fleeting"):
        assert zk.exists(f"/{name}", watch=to(name)) is None
    for name in ("kids", "childless"):
        zk.get_children(f"/{name}", watch=to(name))
    zk.add_watch("/ever", to("ever"))
    zk.add_watch("/below", to("below"), recursive=True)
    session = zk.client_id
    zk.add_listener(states)
    proxy.refuse()
    proxy.cut(how)
    states.wait(1)
    other.set("/changed", b"1")
    other.delete("/gone")
    other.delete("/again")
    other.create("/again")
    other.create("/made")
    other.create("/fleeting")
    other.delete("/fleeting")
    other.create("/kids/one")
    other.set("/ever", b"1")
    first = zk.submit(GetData("/changed"))
    heard: List[int] = []
    first.add_done_callback(lambda done: heard.append(len(all_of_it.seen)))
    proxy.heal()
    assert first.result(8)[0] == b"1"
    settled(zk)
    expected = {
        "changed": [("CHANGED", "/changed")], "gone": [("DELETED", "/gone")], "made": [("CREATED", "/made")],
        "again": [("CHANGED", "/again")],  # deleted and created: its mzxid is newer
        "kids": [("CHILD", "/kids")], "ever": [("NONE", "/ever")], "below": [("NONE", "/below")],
        "same": [], "missing": [], "childless": [],
        "fleeting": [],  # created and deleted: nobody can tell
    }  # fmt: skip
    assert {name: log.events for name, log in logs.items()} == expected
    assert heard == [7], "all of them before what the first answer brings about"
    assert "a node created and deleted in between gives no event" in str(WatchedEvent.__doc__)
    assert (zk.client_id, states.seen) == (session, ["SUSPENDED", "CONNECTED"])
    for name in ("same", "ever", "changed", "again"):
        other.set(f"/{name}", b"2")
    for path in ("/below/x", "/fleeting", "/missing", "/childless/one", "/kids/two"):
        other.create(path)
    zk.sync("/")
    settled(zk)
    expected["same"] = [("CHANGED", "/same")]
    expected["ever"] += [("CHANGED", "/ever")]
    expected["below"] += [("CREATED", "/below/x")]
    expected["fleeting"] = [("CREATED", "/fleeting")]  # it was still there
    expected["missing"] = [("CREATED", "/missing")]
    expected["childless"] = [("CHILD", "/childless")]
    assert {name: log.events for name, log in logs.items()} == expected


@fault("W05")
@pytest.mark.parametrize("limit", [64 * 1024, 1024 * 1024])
def test_replays_keep_to_the_servers_limit_in_bytes(front: Front, limit: int) -> None:
    server, requests = front.server(max_buffer=limit), Requests()
    proxy = front.proxy(server, tap=requests)
    zk = front.client(proxy.hosts, timeout=9.0, max_request=limit)
    other = front.client(server.hosts, timeout=9.0)
    paths = [f"/{'é' * 450}{i:03}" for i in range(600)]  # 540 KB
    for call in front.submit(other, [Create(path) for path in paths]):
        assert call.exception(9) is None
    log, zxid = Log(), 0
    for call in front.submit(zk, [GetData(path, log) for path in paths]):
        zxid = max(zxid, call.result(9)[1].czxid)
    zxid = max(zxid, zk.exists("/").pzxid)
    away(front, zk, proxy, lambda: other.set(paths[7], b"x"))
    assert zk.get(paths[7])[0] == b"x"
    settled(zk)
    assert log.events == [("CHANGED", paths[7])]
    replays = [SetWatches.parse(body, 8) for body in requests.of(2) if struct.unpack_from(">i", body, 4)[0] == 101]
    assert sorted(path for replay in replays for path in replay.data) == paths
    assert len(replays) >= (600 * 900 // min(limit, 128 * 1024))
    assert len({replay.relative_zxid for replay in replays}) == 1
    assert all(len(body) <= min(limit, 128 * 1024 + 1000) for body in requests.of(2))
    assert server_watches(server, zk)[0] == set(paths) - {paths[7]}
    assert proxy.connections == 2


@pytest.mark.slow
@fault("W05")
def test_a_hundred_thousand_watches_survive_a_reconnect(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=9.0)
    log = Log()
    if front.loop is not None:
        front.loop.loop.set_debug(False)  # which writes down where each of as many calls of the watcher came from
    watches = real(zk)._session._requests.watches
    for i in range(100_000):  # as so many reads would have set them
        watches.add(EXIST, f"/service/instance-{i:06}", log)
    away(front, zk, proxy)
    zk.sync("/")
    assert len(server_watches(server, zk)[0]) == 100_000
    zk.create("/service")
    zk.create("/service/instance-099999")
    settled(zk)
    assert log.events == [("CREATED", "/service/instance-099999")]
    assert proxy.connections == 2


@fault("W06")
def test_a_path_longer_than_a_batch_and_one_longer_than_a_request(front: Front) -> None:
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk, lost, kept, long = front.client(proxy.hosts, timeout=9.0), Log(), Log(), Log()
    batch, limit = "/" + "b" * 200_000, "/" + "x" * (0xFFFFF - 8 - 4 - 1 - 1)
    assert zk.exists(batch, watch=long) is None
    assert zk.exists(limit, watch=lost) is None
    assert zk.exists("/a", watch=kept) is None
    away(front, zk, proxy)
    zk.sync("/")
    settled(zk)
    assert lost.events == [("DATA_WATCH_REMOVED", limit)]
    replays = [SetWatches.parse(body, 8) for body in requests.of(2) if struct.unpack_from(">i", body, 4)[0] == 101]
    assert [[len(path) for path in replay.exist] for replay in replays] in ([[200_001], [2]], [[2], [200_001]])
    zk.create("/a")
    zk.create(batch)
    settled(zk)
    assert (kept.events, long.events) == ([("CREATED", "/a")], [("CREATED", batch)])
    away(front, zk, proxy)
    zk.sync("/")
    settled(zk)
    assert len(lost.seen) == 1
    assert proxy.connections == 3


@fault("W08")
def test_events_of_a_transaction_cut_after_the_first(front: Front) -> None:
    server = front.server()
    zk, other, log, states = front.client(server.hosts, timeout=4.0), front.client(server.hosts), Log(), Log()
    zk.add_listener(states)
    for path in ("/1", "/2", "/3"):
        zk.create(path)
        zk.get(path, watch=log)
    server.drop_after(len(event_frame("CHANGED", "/1")), zk.client_id[0])
    transaction = other.transaction()
    for path in ("/1", "/2", "/3"):
        transaction.set_data(path, b"x")
    transaction.commit()
    log.wait(1)
    states.wait(1)
    assert zk.get("/3")[0] == b"x"
    settled(zk)
    assert log.events[0] == ("CHANGED", "/1")
    assert sorted(log.events) == [("CHANGED", path) for path in ("/1", "/2", "/3")]
    other.set("/1", b"y")
    zk.sync("/")
    settled(zk)
    assert len(log.seen) == 3


@fault("W09")
def test_an_event_comes_before_the_answer_that_shows_its_change(front: Front) -> None:
    server = front.server()
    zk, other = front.client(server.hosts, timeout=4.0), front.client(server.hosts, timeout=4.0)
    zk.create("/a", b"0")
    for number in range(1, 60):
        log, order = Log(), Log()

        def watcher(event: Any, order: Log = order, log: Log = log) -> None:
            order("event")
            log(event)

        zk.get("/a", watch=watcher)
        writing = other.submit(SetData("/a", b"%d" % number))
        if number % 2:
            writing.result(9)
        read = zk.submit(GetData("/a"), lambda done, order=order: order("answer"))  # later it may be done already
        writing.result(9)
        shown = read.result(9)[0] == b"%d" % number
        assert shown or not number % 2
        assert order.wait(2) == (["event", "answer"] if shown else ["answer", "event"])
        assert zk.get("/a")[0] == b"%d" % number
        settled(zk)
        assert log.events == [("CHANGED", "/a")]


@fault("W12")
def test_a_watch_of_existence_stands_by_what_was_found(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk, other = front.client(proxy.hosts, timeout=4.0), front.client(server.hosts)
    there, missing = Log(), Log()
    zk.create("/there")
    assert zk.exists("/there", watch=there) is not None
    assert zk.exists("/missing", watch=missing) is None
    watches = real(zk)._session._requests.watches
    assert (watches.paths(DATA), watches.paths(EXIST)) == (("/there",), ("/missing",))
    for _ in range(2):
        away(front, zk, proxy)
        zk.sync("/")
        settled(zk)
        assert there.seen == missing.seen == []
    away(front, zk, proxy, lambda: other.create("/missing"), lambda: other.delete("/there"))
    zk.sync("/")
    settled(zk)
    assert (there.events, missing.events) == ([("DELETED", "/there")], [("CREATED", "/missing")])
    assert none_left(zk)


@fault("W13", "W14")
def test_a_deletion_is_told_once_to_each_before_its_parent_hears(front: Front) -> None:
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk, log, other_log = front.client(proxy.hosts, timeout=4.0), Log(), Log()
    zk.create("/p/n", makepath=True)
    zk.get("/p/n", watch=log)
    zk.get_children("/p/n", watch=log)
    zk.exists("/p/n", watch=log)
    zk.get_children("/p/n", watch=other_log)
    zk.get_children("/p", watch=log)
    zk.delete("/p/n")
    settled(zk)
    assert log.events == [("DELETED", "/p/n"), ("CHILD", "/p")]
    assert other_log.events == [("DELETED", "/p/n")]
    assert none_left(zk)
    assert server_watches(server, zk) == (set(), set())
    away(front, zk, proxy)
    zk.create("/p/n")
    settled(zk)
    assert requests.opcodes(2) == [1], "no watch was set again"
    assert len(log.seen) == 2


@fault("W15")
def test_a_recursive_watch_hears_of_nodes_not_of_lists(front: Front) -> None:
    zk = front.client(front.server().hosts)
    recursive, child = Log(), Log()
    zk.create("/a/b", makepath=True)
    zk.add_watch("/a", recursive, recursive=True)
    zk.get_children("/a/b", watch=child)
    zk.create("/a/b/c")
    zk.set("/a/b/c", b"1")
    zk.delete("/a/b/c")
    settled(zk)
    assert child.events == [("CHILD", "/a/b")]
    assert recursive.events == [("CREATED", "/a/b/c"), ("CHANGED", "/a/b/c"), ("DELETED", "/a/b/c")]


@fault("W16")
def test_recursive_watches_hear_by_segments(front: Front) -> None:
    zk = front.client(front.server().hosts)
    root, a, deep = Log(), Log(), Log()
    zk.create("/a")
    zk.create("/ab")
    zk.add_watch("/", root, recursive=True)
    zk.add_watch("/a", a, recursive=True)
    zk.add_watch("/a/1/2", deep, recursive=True)
    zk.create("/ab/x")
    zk.create("/a/1/2/3/4", makepath=True)
    settled(zk)
    made = [("CREATED", "/a/1/2/3/4"[:end]) for end in (4, 6, 8, 10)]
    assert root.events == [("CREATED", "/ab/x"), *made]
    assert a.events == made
    assert deep.events == made[1:]


@fault("W18")
@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_persistent_watches_at_an_old_server_fail_once_and_the_others_live(front: Front, version: str) -> None:
    server, requests = front.server(version=version), Requests()
    proxy = front.proxy(server, tap=requests)
    zk, once, ever = front.client(proxy.hosts, timeout=4.0), Log(), Log()
    zk.create("/a", ephemeral=True)
    zk.get("/a", watch=once)
    for _ in range(3):
        with pytest.raises(UnimplementedError):
            zk.add_watch("/a", ever)
    zk.set("/a", b"x")
    settled(zk)
    assert once.events == [("CHANGED", "/a")]
    assert proxy.connections == 2, "it hangs up once, and is not asked again"
    assert requests.opcodes(1) == [1, 4, 106]
    assert requests.opcodes(2) == [101, 5]
    assert ever.seen == []
    assert zk.exists("/a").ephemeralOwner == zk.client_id[0]


@fault("W18")
def test_persistent_watches_that_come_to_an_old_server(front: Front) -> None:
    """The ensemble is mixed, or was downgraded: they are told that they have gone, and the others live."""
    new, old = front.server(version="3.9", seed=1), front.server(version="3.5", seed=1)
    proxies = [front.proxy(new), front.proxy(old)]
    zk = front.client(",".join(p.hosts for p in proxies), timeout=4.0, randomize_hosts=False)
    once, ever = Log(), Log()
    zk.create("/a")
    zk.exists("/b", watch=once)
    zk.add_watch("/a", ever)
    old._core.data, old._core.sessions = new._core.data, new._core.sessions  # two servers of one ensemble
    proxies[0].refuse()
    proxies[0].cut()
    ever.wait(1)
    assert ever.events == [("PERSISTENT_WATCH_REMOVED", "/a")]
    zk.create("/b")
    assert once.wait(1)[0].type == "CREATED"
    assert proxies[1].connections <= 2, "no loop of reconnects"


@fault("W19")
@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_a_persistent_watch_is_removed_by_a_kind_every_server_knows(front: Front, version: str) -> None:
    server, requests = front.server(version=version), Requests()
    proxy = front.proxy(server, tap=requests)
    zk, ever, below = front.client(proxy.hosts, timeout=4.0), Log(), Log()
    zk.create("/a")
    zk.add_watch("/a", ever)
    zk.remove_watches("/a")
    zk.add_watch("/a", below, recursive=True)
    zk.remove_watches("/a", below)
    kinds = [struct.unpack(">i", body[-4:])[0] for body in requests.of(1) if struct.unpack_from(">i", body, 4)[0] == 18]
    assert kinds == [3, 3]
    settled(zk)
    for kind in (4, 5):
        with pytest.raises(ValueError, match="invalid kind of watch"):
            RemoveWatches("/a", kind)
    assert ever.events == below.events == [("PERSISTENT_WATCH_REMOVED", "/a")]
    assert none_left(zk)
    assert server_watches(server, zk) == (set(), set())
    away(front, zk, proxy)
    zk.set("/a", b"1")
    assert requests.opcodes(2) == [5]
    settled(zk)
    assert (len(ever.seen), len(below.seen)) == (1, 1)
    with pytest.raises(NoWatcherError):
        zk.remove_watches("/a")


@fault("W21")
def test_removing_one_of_two_watchers_leaves_the_other(front: Front) -> None:
    server, requests = front.server(), Requests()
    zk, one, two = front.client(front.proxy(server, tap=requests).hosts), Log(), Log()
    zk.create("/a")
    zk.get("/a", watch=one)
    zk.get("/a", watch=two)
    zk.remove_watches("/a", one)
    settled(zk)
    assert one.events == [("DATA_WATCH_REMOVED", "/a")]
    assert requests.opcodes(1) == [1, 4, 4], "the server, which knows paths only, is not asked"
    zk.set("/a", b"1")
    settled(zk)
    assert two.events == [("CHANGED", "/a")]
    assert len(one.seen) == 1


# ------------------------------------------------------------------------- callbacks


@pytest.mark.slow
@fault("W22")
def test_a_watcher_that_raises_or_never_returns_stops_nothing_else(
    front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    server = front.server()
    zk, other = front.client(server.hosts, timeout=0.6), front.client(server.hosts, timeout=0.6)
    states, late, go = Log(), Log(), threading.Event()
    client, entered, left = real(zk), threading.Event(), threading.Event()

    def raises(event: Any) -> None:
        raise ValueError("from a watcher")

    def blocks(event: Any) -> Any:
        entered.set()
        if not front.is_asyncio:
            go.wait(20)
            return left.set()

        async def wait() -> None:
            while not go.is_set():
                await asyncio.sleep(0.01)
            left.set()

        return wait()

    zk.create("/a")
    zk.get("/a", watch=raises)
    zk.get_children("/a", watch=late)
    zk.create("/a/b")
    zk.set("/a", b"1")
    late.wait(1)
    until(lambda: front.complaints)
    assert len(front.complaints) == 1 and "exception in" in front.complaints.pop()
    zk.get("/a", watch=blocks)
    zk.set("/a", b"2")
    assert entered.wait(5)
    zk.add_listener(states)
    began = time.monotonic()
    while time.monotonic() - began < 0.9:  # longer than the session would live without pings
        assert zk.get("/a")[0] == b"2"
        assert zk.exists("/a", timeout=1) is not None
        threading.Event().wait(0.05)
    idle = server._core.traffic()[0]
    until(lambda: server._core.traffic()[0] >= idle + 6)  # pings of both
    assert client.connected and states.seen == []
    later = Log()
    zk.get("/a", watch=later)
    other.set("/a", b"3")
    go.set()
    later.wait(1)
    assert left.wait(5)
    settled(zk)
    assert front.is_asyncio or "blocks at 0x" in caplog.text and "blocked the dispatch thread for" in caplog.text


@fault("W23")
def test_a_watcher_may_call_set_watches_and_close(front: Front) -> None:
    server = front.server()
    zk, done, results = front.client(server.hosts), threading.Event(), Log()
    client = real(zk)
    zk.create("/a", b"0")

    def blocking(event: Any) -> None:
        results(client.get("/a", watch=again)[0])
        results(client.create("/b"))
        client.set("/a", b"2")

    def again(event: Any) -> None:
        results(client.exists("/b") is not None)
        client.close()
        done.set()

    async def awaited(event: Any) -> None:
        results((await client.get("/a", watch=awaited_again))[0])
        results(await client.create("/b"))
        await client.set("/a", b"2")

    async def awaited_again(event: Any) -> None:
        results(await client.exists("/b") is not None)
        await client.close()
        done.set()

    zk.get("/a", watch=awaited if front.is_asyncio else blocking)
    zk.submit(GetData("/a")).result(5)
    front.client(server.hosts).set("/a", b"1")
    assert done.wait(5)
    assert results.seen == [b"1", "/b", True]
    assert zk.client_state == "CLOSED"


# --------------------------------------------------------------- odd paths, odd events


@fault("W24")
def test_events_outside_the_chroot_have_their_own_names(front: Front) -> None:
    server = front.server(super_password="secret")
    front.client(server.hosts).create("/app1")
    zk, config, root, below = front.client(server.hosts + "/app1", timeout=4.0), Log(), Log(), Log()
    operator = front.client(server.hosts, auth_data=[("digest", "super:secret")])
    zk.get_config(watch=config)
    zk.get("/", watch=root)
    zk.add_watch("/", below, recursive=True)
    operator.create("/app1x")
    operator.set("/app1x", b"1")
    operator.create("/app1x/y")
    zk.sync("/")
    settled(zk)
    assert root.seen == below.seen == []
    operator.set("/zookeeper/config", b"server.1=a")
    operator.set("/app1", b"1")
    operator.create("/app1/zookeeper")
    zk.sync("/")
    settled(zk)
    assert config.events == [("CHANGED", "/zookeeper/config")]
    assert root.events == [("CHANGED", "/")]
    assert below.events == [("CHANGED", "/"), ("CREATED", "/zookeeper")]
    assert front.complaints == []


@fault("W25")
def test_events_nobody_has_heard_of_are_passed_over(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zkwire")
    scripted = front.scripted()
    zk, log, states, ever = front.client(scripted.hosts), Log(), Log(), Log()
    zk.add_watch("/a", ever)
    zk.add_listener(states)
    odd = [(42, 3, b"/a"), (3, 99, b"/b"), (-1, 3, None), (3, 3, None), (1, 3, b""), (0, 0, b"/a"), (-2, 3, b"/a")]

    def request(wire: Wire, xid: int, op: Any) -> bool:
        if op.opcode == 3:
            for kind, state, path in odd:
                body = struct.pack(">i", -1) if path is None else struct.pack(">i", len(path)) + path
                wire.send(framed(header(-1, -1) + struct.pack(">ii", kind, state) + body))
        return False

    scripted.request = request
    zk.get("/a", watch=log)
    assert zk.exists("/a") is not None
    assert zk.exists("/a") is not None
    settled(zk)
    assert (log.seen, states.seen, ever.seen, scripted.connections) == ([], [], [], 1)

    def said() -> List[Any]:
        return [record.args for record in caplog.records if record.msg.startswith("= ignored")]

    until(lambda: len(said()) >= 2 * (len(odd) - 1))  # the I/O thread hands lines of the log on
    assert len(said()) == 2 * (len(odd) - 1) and "type 42" in str(said()[0]), "all but that for a path without a watch"
    scripted.request = lambda wire, xid, op: bool(wire.send(event_frame("CHANGED", "/a")))
    assert zk.exists("/a") is not None
    settled(zk)
    assert log.events == ever.events == [("CHANGED", "/a")]
    assert scripted.connections == 1


@fault("W27")
def test_after_expiry_each_is_told_once_and_none_is_set_again(front: Front) -> None:
    server, requests = front.server(), Requests()
    proxy = front.proxy(server, tap=requests)
    zk, states = front.client(proxy.hosts, timeout=4.0), Log()
    other = front.client(server.hosts)
    logs = [Log() for _ in range(5)]
    zk.create("/a")
    zk.get("/a", watch=logs[0])
    zk.get_children("/a", watch=logs[1])
    zk.exists("/b", watch=logs[2])
    zk.add_watch("/a", logs[3])
    zk.add_watch("/", logs[4], recursive=True)
    zk.add_listener(states)
    server.expire(zk.client_id[0])
    states.wait(3)
    other.set("/a", b"1")
    other.create("/b")
    other.create("/a/c")
    zk.sync("/")
    settled(zk)
    told = [[(event.type, event.state) for event in log.seen] for log in logs]
    assert told == [[("NONE", "EXPIRED_SESSION")]] * 5
    assert [log.seen[0].path for log in logs] == ["/a", "/a", "/b", "/a", "/"]
    assert none_left(zk)
    assert server_watches(server, zk) == (set(), set())
    resumed = range(2, proxy.connections + 1)
    assert [code for number in resumed for code in requests.opcodes(number)] == [9], "no watch was set again"


@fault("W10", "R12")
def test_a_read_that_timed_out_leaves_neither_watch_nor_gap(front: Front) -> None:
    server = front.server()
    zk, states, log = front.client(server.hosts, timeout=3.0), Log(), Log()
    zk.add_listener(states)
    zk.create("/a")
    server.delay(0.2, zk.client_id[0])
    with pytest.raises(TimeoutError):
        zk.get("/a", watch=log, timeout=0.05)
    with pytest.raises(TimeoutError):
        zk.set("/a", b"1", timeout=0.05)
    server.delay(0, zk.client_id[0])
    assert zk.get("/a")[0] == b"1"
    zk.set("/a", b"2")
    zk.sync("/")
    settled(zk)
    assert log.seen == [], "who was told that it failed hears nothing"
    assert none_left(zk)
    assert states.seen == []
