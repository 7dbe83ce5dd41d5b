"""The asyncio front on real servers: constructor and verbs of the blocking one, watches, listeners, lifecycle."""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
from typing import Any, List

import pytest

import zkwire.aio
from tests.kit.catalogue import fault
from tests.conftest import AnyServer
from tests.kit.aio import Log, aio, eventually, run
from tests.kit.sessions import end_session
from zkwire import AsyncZooKeeper, Id, ZooKeeper, make_digest_acl
from zkwire.errors import (
    AuthFailedError, BadVersionError, ConnectionClosedError, NoAuthError, NodeExistsError, NoNodeError, NotEmptyError,
    NoWatcherError, RolledBackError, UnimplementedError,
)  # fmt: skip
from zkwire.ops import Check, Create, Delete, GetChildren, GetData, SetData
from zkwire.values import EventType, KazooState, KeeperState, WatchedEvent
from zkwire.verbs import Verbs

VERBS = sorted(name for name, value in vars(Verbs).items() if getattr(value, "verb", False))


def shape(function: Any) -> List[Any]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


# ------------------------------------------------------------------------- the two fronts


def test_the_constructors_are_the_same() -> None:
    assert shape(AsyncZooKeeper) == shape(ZooKeeper)
    assert shape(AsyncZooKeeper.start) == shape(ZooKeeper.start)


def test_everything_public_is_on_both_fronts() -> None:
    def public(cls: type) -> set:
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(ZooKeeper) - public(AsyncZooKeeper) == set()
    assert public(AsyncZooKeeper) - public(ZooKeeper) == {"watch"}


def test_there_are_verbs_to_compare() -> None:
    assert len(VERBS) >= 19


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_is_awaitable_and_has_the_same_signature(name: str) -> None:
    blocking, awaited = getattr(ZooKeeper, name), getattr(AsyncZooKeeper, name)
    assert shape(awaited) == shape(blocking)
    assert inspect.iscoroutinefunction(awaited) and not inspect.iscoroutinefunction(blocking)
    assert awaited.__doc__ == blocking.__doc__


@pytest.mark.parametrize(
    "wrong",
    [
        dict(hosts=""), dict(hosts="h:99999"), dict(timeout=0), dict(timeout=-1), dict(connect_timeout=0),
        dict(request_timeout=-1), dict(max_pending=0), dict(client_id=(1, "x")),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_by_both_constructors(wrong: Any) -> None:
    for front in (ZooKeeper, AsyncZooKeeper):
        with pytest.raises((ValueError, TypeError)):
            front(**wrong)


def test_what_makes_no_sense_is_refused_alike() -> None:
    zk = AsyncZooKeeper()
    with pytest.raises(TypeError):
        zk.add_listener(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(zk)
    assert repr(zk) == repr(ZooKeeper()).replace("<", "<Async")


# ------------------------------------------------------------------------------ verbs


@aio
async def test_the_verbs_on_a_real_server(server: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server.hosts) as zk:
        assert await zk.create(root, b"data") == root
        data, stat = await zk.get(root)
        assert (data, stat.version) == (b"data", 0)
        with pytest.raises(NodeExistsError) as exists:
            await zk.create(root)
        assert exists.value.path == root
        assert (await zk.set(root, b"more", 0)).version == 1
        with pytest.raises(BadVersionError):
            await zk.set(root, b"again", 0)
        assert (await zk.exists(root)).dataLength == 4  # type: ignore[union-attr]
        assert await zk.exists(root + "/none") is None
        assert await zk.ensure_path(root + "/a/b/c") is True
        assert await zk.create(root + "/x/y/z", makepath=True) == root + "/x/y/z"
        assert sorted(await zk.get_children(root)) == ["a", "x"]
        names, stat = await zk.get_children(root, include_data=True)
        assert (sorted(names), stat.numChildren) == (["a", "x"], 2)
        seq = await zk.create(root + "/s-", ephemeral=True, sequence=True)
        assert seq.startswith(root + "/s-000000000")
        own = await zk.create(root + "/p-", ephemeral=True, sequence=True, protect=True)
        assert own.startswith(root + "/_c_") and zk.client_id is not None
        assert (await zk.exists(own)).ephemeralOwner == zk.client_id[0]  # type: ignore[union-attr]
        assert await zk.sync(root) == root
        acls, stat = await zk.get_acls(root)
        assert acls[0].id == Id("world", "anyone")
        assert (await zk.set_acls(root, acls, stat.aversion)).aversion == stat.aversion + 1
        many = await zk.get_many([root, root + "/none", root + "/a"])
        assert many[0][0] == b"more" and isinstance(many[1], NoNodeError) and many[2][0] == b""  # type: ignore[index]
        with pytest.raises(NotEmptyError):
            await zk.delete(root)
        if server.since(3, 5):
            assert (await zk.create(root + "/c2", include_data=True))[0] == root + "/c2"
            assert await zk.create(root + "/box", container=True) == root + "/box"
        if server.since(3, 6):
            assert sorted(await zk.get_ephemerals(root)) == sorted([seq, own])
            assert await zk.get_all_children_number(root) == 10
            assert (await zk.multi_read([GetData(root), GetChildren(root + "/x")]))[1] == ["y"]
        if server.since(3, 7):
            assert Id("ip", "127.0.0.1") in await zk.who_am_i()
        assert await zk.submit(GetChildren(root + "/x/y")) == ["z"]
        assert await zk.delete(root, recursive=True) is True
        assert await zk.exists(root) is None


@aio
async def test_transactions(server: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server.hosts) as zk:
        transaction = zk.transaction()
        transaction.create(root, b"1")
        transaction.set_data(root, b"2")
        transaction.check(root, 1)
        transaction.create(root + "/a-", sequence=True)
        results = await transaction.commit()
        assert (results[0], results[1].version, results[2], results[3]) == (root, 1, None, root + "/a-0000000000")
        bad = zk.transaction()
        bad.create(root + "/never")
        bad.delete(root + "/none")
        with pytest.raises(NoNodeError):
            await bad.commit()
        first, second = await bad.commit(raise_on_error=False)
        assert isinstance(first, RolledBackError) and isinstance(second, NoNodeError)
        assert await zk.exists(root + "/never") is None
        assert (await zk.multi([SetData(root, b"3"), Check(root, 2)]))[0].version == 2
        await zk.multi([Delete(results[3]), Delete(root)])


def test_ten_thousand_calls_at_once(server38: AnyServer, unique: str) -> None:
    run(ten_thousand_calls(server38, unique), debug=False)  # which would cost seconds


async def ten_thousand_calls(server38: AnyServer, unique: str) -> None:
    async with AsyncZooKeeper(server38.hosts, max_pending=20_000) as zk:
        root = f"/{unique}"
        await zk.ensure_path(root)
        await asyncio.gather(*(zk.create(f"{root}/{i}", b"%d" % i) for i in range(100)))
        answers = await asyncio.gather(*(zk.get(f"{root}/{i % 100}") for i in range(10_000)))
        assert [data for data, _ in answers] == [b"%d" % (i % 100) for i in range(10_000)]
        assert await zk.delete(root, recursive=True)


@aio
async def test_identities(server: AnyServer, unique: str) -> None:
    acl = [make_digest_acl("u", "secret", all=True)]
    async with AsyncZooKeeper(server.hosts, auth_data=[("digest", "u:secret")], default_acl=acl) as zk:
        await zk.create(f"/{unique}", b"hidden")
        async with AsyncZooKeeper(server.hosts) as other:
            with pytest.raises(NoAuthError):
                await other.get(f"/{unique}")
            await other.add_auth("digest", "u:secret")
            assert (await other.get(f"/{unique}"))[0] == b"hidden"
        await zk.delete(f"/{unique}")


@fault("A01")
@aio
async def test_a_bad_identity_ends_start_at_once(server: AnyServer) -> None:
    zk = AsyncZooKeeper(server.hosts, auth_data=[("nonsense", b"x")])
    started = asyncio.get_running_loop().time()
    with pytest.raises(AuthFailedError):
        await zk.start()
    assert asyncio.get_running_loop().time() - started < 3
    assert (zk.state, zk.client_state) == (KazooState.LOST, KeeperState.AUTH_FAILED)
    with pytest.raises(AuthFailedError):
        await zk.get("/")
    await zk.close()


@aio
async def test_a_chroot(server38: AnyServer, unique: str) -> None:
    async with AsyncZooKeeper(server38.hosts) as above:
        await above.create(f"/{unique}")
        log = Log()
        async with AsyncZooKeeper(f"{server38.hosts}/{unique}") as zk:
            assert await zk.create("/a") == "/a"
            await zk.get("/a", log)
            await above.set(f"/{unique}/a", b"x")
            await log.count(1)
            assert log.events == [(EventType.CHANGED, "/a")]
        await above.delete(f"/{unique}", recursive=True)


# ----------------------------------------------------------------------------- watches


@aio
async def test_one_shot_watches(server: AnyServer, unique: str) -> None:
    root, log = f"/{unique}", Log()
    async with AsyncZooKeeper(server.hosts) as zk:
        await zk.exists(root, log)
        await zk.create(root)
        await zk.get(root, log)
        await zk.get_children(root, log)
        await zk.create(root + "/a")
        await zk.set(root, b"x")
        await zk.set(root, b"y")
        await zk.delete(root + "/a")
        assert log.events == [(EventType.CREATED, root), (EventType.CHILD, root), (EventType.CHANGED, root)]
        await zk.delete(root)


@aio
async def test_an_event_comes_before_the_read_that_shows_the_change(server: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server.hosts) as zk, AsyncZooKeeper(server.hosts) as writer:
        await zk.create(root, b"0")
        told = 0

        def watcher(event: WatchedEvent) -> None:
            nonlocal told
            told += 1

        for number in range(1, 200):
            await zk.get(root, watcher)
            change = asyncio.ensure_future(writer.set(root, b"%d" % number))
            while int((await zk.get(root))[0]) < number:
                pass
            assert told == number, "the read overtook the event"
            await change
        await zk.delete(root)


@aio
async def test_coroutine_watchers_and_those_that_raise(
    server38: AnyServer, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    root, log = f"/{unique}", Log()

    async def watcher(event: WatchedEvent) -> None:
        log((event.type, (await zk.get(root))[0]))

    async def bad(event: WatchedEvent) -> None:
        raise ValueError("of a coroutine")

    def worse(event: WatchedEvent) -> None:
        raise ValueError("of a function")

    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        for one in (bad, worse, watcher):
            await zk.get(root, one)
        await zk.set(root, b"news")
        assert await log.count(1) == [(EventType.CHANGED, b"news")]
        await zk.delete(root)
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert sorted(texts) == ["of a coroutine", "of a function"]


@aio
async def test_a_queue_as_a_watcher(server38: AnyServer, unique: str) -> None:
    root, queue = f"/{unique}", asyncio.Queue()  # type: ignore[var-annotated]
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        await zk.get(root, queue.put)
        await zk.get_children(root, queue.put_nowait)
        await zk.set(root, b"")
        await zk.create(root + "/a")
        events = [await asyncio.wait_for(queue.get(), 5) for _ in range(2)]
        assert sorted(event.type for event in events) == sorted([EventType.CHANGED, EventType.CHILD])
        await zk.delete(root, recursive=True)


@aio
async def test_persistent_watches(server393: AnyServer, unique: str) -> None:
    root, log, other = f"/{unique}", Log(), Log()
    async with AsyncZooKeeper(server393.hosts) as zk:
        await zk.create(root)
        await zk.add_watch(root, log)
        await zk.add_watch(root, other, recursive=True)
        await zk.create(root + "/a")
        await zk.create(root + "/a/b")
        await zk.set(root, b"")
        await zk.set(root, b"")
        changed = (EventType.CHANGED, root)
        assert log.events == [(EventType.CHILD, root), changed, changed]
        assert other.events == [(EventType.CREATED, root + "/a"), (EventType.CREATED, root + "/a/b"), changed, changed]
        await zk.remove_watches(root, log)
        await zk.set(root, b"")
        assert log.events[3:] == [(EventType.PERSISTENT_WATCH_REMOVED, root)]
        assert other.events[4:] == [changed]
        await zk.remove_watches(root)
        with pytest.raises(NoWatcherError):
            await zk.remove_watches(root)
        await zk.delete(root, recursive=True)


@aio
async def test_watches_that_stay_are_refused_by_an_old_server(server34: AnyServer) -> None:
    async with AsyncZooKeeper(server34.hosts) as zk:
        states = Log()
        zk.add_listener(states)
        with pytest.raises(UnimplementedError):
            await zk.add_watch("/", print)
        await eventually(lambda: zk.exists("/"))
        with pytest.raises(UnimplementedError):
            async for _ in zk.watch("/"):
                raise AssertionError("no event")
        assert await zk.exists("/")
        assert states.seen.count(KazooState.SUSPENDED) <= 1 and KazooState.LOST not in states.seen


# --------------------------------------------------------------------------- iterations


@aio
async def test_an_iteration_over_changes(server38: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        events = zk.watch(root, recursive=True)
        # What is called after watch() is seen, even before the first step of the iteration.
        await zk.create(root + "/a")
        await zk.set(root + "/a", b"x")
        await zk.delete(root + "/a")
        seen = []
        async for event in events:
            seen.append((event.type, event.path))
            if len(seen) == 3:
                break
        assert seen == [(kind, root + "/a") for kind in (EventType.CREATED, EventType.CHANGED, EventType.DELETED)]
        await events.aclose()
        with pytest.raises(NoWatcherError):  # the server is asked to forget it
            await zk.remove_watches(root)
        await zk.delete(root)


@aio
async def test_an_iteration_ends_with_its_watch(server38: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        events = zk.watch(root)
        await zk.remove_watches(root)
        seen = await asyncio.wait_for(collect(events), 5)
        assert [event.type for event in seen] == [EventType.PERSISTENT_WATCH_REMOVED]
        await zk.delete(root)


@aio
async def test_an_iteration_ends_with_the_session(server38: AnyServer, unique: str) -> None:
    root = f"/{unique}"
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        events = zk.watch(root)
        reading = asyncio.ensure_future(collect(events))
        await zk.set(root, b"1")
        await expire(zk, server38.hosts)
        seen = await asyncio.wait_for(reading, 10)
        assert (seen[0].type, seen[-1].type, seen[-1].state) == (
            EventType.CHANGED, EventType.NONE, KeeperState.EXPIRED_SESSION,
        )  # fmt: skip
        # The same, read only when there is a new session, which does not know the watch.
        late = zk.watch(root)
        await zk.set(root, b"2")
        await expire(zk, server38.hosts)
        await eventually(lambda: zk.exists(root))
        assert [e.type for e in await asyncio.wait_for(collect(late), 5)] == [EventType.CHANGED, EventType.NONE]
        closed = zk.watch(root)
        await zk.delete(root)
    last = (await asyncio.wait_for(collect(closed), 5))[-1]
    assert (last.type, last.state) == (EventType.NONE, KeeperState.CLOSED)


@aio
async def test_an_iteration_that_is_not_read_keeps_so_many_events(
    server38: AnyServer, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zkwire.aio, "BACKLOG", 10)
    root = f"/{unique}"
    async with AsyncZooKeeper(server38.hosts) as zk:
        await zk.create(root)
        events = zk.watch(root)
        await asyncio.gather(*(zk.set(root, b"%d" % i) for i in range(25)))
        seen = [await asyncio.wait_for(events.__anext__(), 5) for _ in range(6)]
        assert (seen[0].type, seen[0].state) == (EventType.NONE, KeeperState.CONNECTED)
        assert [event.type for event in seen[1:]] == [EventType.CHANGED] * 5
        await zk.set(root, b"last")
        assert (await asyncio.wait_for(events.__anext__(), 5)).type == EventType.CHANGED
        await events.aclose()
        await zk.delete(root)


@aio
async def test_iterations_are_refused_like_verbs(server38: AnyServer) -> None:
    async with AsyncZooKeeper(server38.hosts) as zk:
        with pytest.raises(ValueError):
            await collect(zk.watch("no/slash"))
    with pytest.raises(ConnectionClosedError):
        await collect(zk.watch("/"))


async def collect(events: Any) -> List[WatchedEvent]:
    return [event async for event in events]


async def expire(zk: AsyncZooKeeper, hosts: str) -> None:
    """End the session of a client from outside, as its expiry would."""
    assert zk.client_id is not None
    lost = Log()
    zk.add_listener(lost)
    await asyncio.get_running_loop().run_in_executor(None, end_session, hosts, zk.client_id)
    await lost.until(lambda seen: KazooState.LOST in seen)
    zk.remove_listener(lost)


# --------------------------------------------------------------- listeners and lifecycle


@aio
async def test_listeners(server38: AnyServer, caplog: pytest.LogCaptureFixture) -> None:
    zk = AsyncZooKeeper(server38.hosts)
    every, once, removed = Log(), [], Log()

    async def coroutine(state: str) -> None:
        every(f"async {state}")

    def only_once(state: str) -> bool:
        once.append(state)
        return True

    def remover(state: str) -> None:
        zk.remove_listener(removed)
        raise ValueError("of a listener")

    for listener in (every, every, coroutine, only_once, remover, removed):
        zk.add_listener(listener)
    await zk.start()
    await expire(zk, server38.hosts)
    # It may have been back, with its session, before the session was ended.
    await every.until(lambda seen: [s for s in seen if " " not in s][-2:] == [KazooState.LOST, KazooState.CONNECTED])
    await zk.close()
    plain = [state for state in every.seen if not state.startswith("async")]
    assert plain[0] == KazooState.CONNECTED and plain[-3:] == [KazooState.LOST, KazooState.CONNECTED, KazooState.LOST]
    assert all(a != b for a, b in zip(plain, plain[1:]))
    await every.until(lambda seen: sum(s.startswith("async") for s in seen) == len(plain))
    assert once == [KazooState.CONNECTED]
    assert removed.seen == [], "it was removed before its turn came"
    assert any(record.exc_info for record in caplog.records)


@aio
async def test_lifecycle(server: AnyServer, unique: str) -> None:
    zk = AsyncZooKeeper(server.hosts, timeout=4)
    for call in (lambda: zk.get("/"), lambda: zk.ensure_path("/"), lambda: zk.transaction().commit()):
        with pytest.raises(ConnectionClosedError, match="not started"):
            await call()
    with pytest.raises(ConnectionClosedError, match="not started"):
        zk.submit(GetData("/"))
    assert (zk.state, zk.connected, zk.client_id, zk.session_timeout) == (KazooState.LOST, False, None, 4)
    await asyncio.gather(zk.start(), zk.start())
    await zk.start()
    assert (zk.state, zk.client_state, zk.session_timeout) == (KazooState.CONNECTED, KeeperState.CONNECTED, 4)
    await zk.create(f"/{unique}", ephemeral=True)
    await asyncio.gather(zk.close(), zk.stop(), zk.close())
    await zk.close()
    assert (zk.state, zk.client_state, zk.client_id) == (KazooState.LOST, KeeperState.CLOSED, None)
    for again in (zk.get("/"), zk.start(), zk.ensure_path("/")):
        with pytest.raises(ConnectionClosedError):
            await again
    async with AsyncZooKeeper(server.hosts) as other:
        assert await other.exists(f"/{unique}") is None, "the session was ended, not left to expire"


@aio
async def test_what_was_called_before_close_is_answered(server38: AnyServer, unique: str) -> None:
    zk = AsyncZooKeeper(server38.hosts)
    await zk.start()
    calls = [zk.submit(Create(f"/{unique}-", b"", sequence=True)) for _ in range(500)]
    await zk.close()
    paths = await asyncio.gather(*calls)
    assert len(set(paths)) == 500
    async with AsyncZooKeeper(server38.hosts) as other:
        await asyncio.gather(*(other.delete(path) for path in paths))


def test_resuming_a_session(server38: AnyServer, unique: str) -> None:
    async def main() -> None:
        zk = AsyncZooKeeper(server38.hosts)
        await zk.start()
        path = await zk.create(f"/{unique}", ephemeral=True)
        async with AsyncZooKeeper(server38.hosts, client_id=zk.client_id) as heir:
            assert heir.client_id == zk.client_id
            assert (await heir.exists(path)).ephemeralOwner == heir.client_id[0]  # type: ignore
        await zk.close()

    run(main())


@fault("A14")
@aio
async def test_the_log_says_nothing_secret(server38: AnyServer, caplog: pytest.LogCaptureFixture, unique: str) -> None:
    caplog.set_level(logging.DEBUG, "zkwire")
    async with AsyncZooKeeper(server38.hosts, auth_data=[("digest", "u:topsecret")]) as zk:
        await zk.create(f"/{unique}", b"confidential")
        await zk.delete(f"/{unique}")
        assert zk.client_id is not None and repr(zk.client_id[1]) not in caplog.text
    assert "CONNECTED" in caplog.text
    assert "topsecret" not in caplog.text and "confidential" not in caplog.text
