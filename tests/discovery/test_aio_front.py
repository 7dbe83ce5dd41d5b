"""The awaited twins of zkdisco: the whole main job in one loop, their endings, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import time
from typing import Any, List

import pytest

from tests.conftest import AnyServer
from tests.kit.fronts import listeners
from tests.kit.harness.ports import lease, release
from tests.kit.aio import Log, aio, eventually
from zkdisco import ClientClosedError, Event, NotRegisteredError, Service
from zkdisco.aio import Client, Instancer, Registrar
from tests.kit.sessions import end_session
from zkwire import AsyncZooKeeper
from zkwire.errors import OperationTimeoutError


async def expire(client: Client, hosts: str) -> None:
    """End the session of a client from outside, as its expiry would."""
    await asyncio.get_running_loop().run_in_executor(None, end_session, hosts, client.zk.client_id)


@aio
async def test_the_main_job_as_a_follower_sees_it(server: AnyServer, unique: str) -> None:
    service, directory = Service(f"/{unique}", "api", b"one"), f"/{unique}/api"
    async with Client(server.hosts) as mine, Client(server.hosts) as theirs, AsyncZooKeeper(server.hosts) as operator:
        seen: List[Event] = []
        news = Log()

        async def follow() -> None:
            async for event in instancer:
                seen.append(event)
                news(event)

        async with Instancer(theirs, directory) as instancer:
            following = asyncio.ensure_future(follow())
            node = await mine.register(service)
            await news.until(lambda _: seen[-1].instances == ("one",))
            await operator.set(node, b"two")
            await news.until(lambda _: seen[-1].instances == ("two",))
            await operator.set(node, b"one")
            await operator.delete(node)
            await news.until(lambda _: seen[-1].instances == ("one",) and ("one",) in [e.instances for e in seen[2:]])
            registrar = mine._registry._by_service[service]
            await eventually(lambda: exists_elsewhere(operator, registrar, node))
            await expire(mine, server.hosts)
            again = registrar.node
            await eventually(lambda: exists_elsewhere(operator, registrar, again))
            assert len(await operator.get_children(directory)) == 1
            await news.until(lambda _: seen[-1].instances == ("one",))
            await expire(theirs, server.hosts)
            async with Registrar(mine, Service(f"/{unique}", "api", b"three")):
                await news.until(lambda _: seen[-1].instances == ("one", "three"))
            await news.until(lambda _: seen[-1].instances == ("one",))
            await mine.deregister(service)
            await news.until(lambda _: seen[-1].instances == ())
            with pytest.raises(NotRegisteredError):
                await mine.deregister(service)
        await asyncio.wait_for(following, 9)
        assert all(event.instances in ((), ("one",), ("two",), ("one", "three")) for event in seen)
        await operator.delete(f"/{unique}", recursive=True)


async def exists_elsewhere(operator: AsyncZooKeeper, registrar: Registrar, than: Any) -> bool:
    return registrar.node not in (None, than) and await operator.exists(registrar.node) is not None


@aio
async def test_iterations_end_however_the_instancer_does(server38: AnyServer, unique: str) -> None:
    async def collect(instancer: Instancer) -> List[Event]:
        return [event async for event in instancer]

    client = Client(server38.hosts)
    await client.start()
    stopped = Instancer(client, f"/{unique}")
    await stopped.start()
    readers = [asyncio.ensure_future(collect(stopped)) for _ in range(3)]
    await asyncio.sleep(0)
    await stopped.stop()
    await stopped.stop()
    assert all(isinstance(events, list) for events in await asyncio.wait_for(asyncio.gather(*readers), 9))
    assert await asyncio.wait_for(collect(stopped), 9) == [], "one that begins when all is over ends at once"
    never = Instancer(client, f"/{unique}")
    await never.stop()
    assert await asyncio.wait_for(collect(never), 9) == []
    unstarted, running = Instancer(client, f"/{unique}"), Instancer(client, f"/{unique}")
    both = [asyncio.ensure_future(collect(one)) for one in (unstarted, running)]  # which starts them
    await eventually(lambda: started(unstarted, running))
    await client.stop()
    await client.stop()
    assert all(len(events) <= 1 for events in await asyncio.wait_for(asyncio.gather(*both), 9))
    for call in (
        lambda: client.start(), lambda: client.register(Service("/a", "b")), lambda: client.get_entries("/a"),
        lambda: client.create_parent_nodes("/a"), lambda: client.deregister(Service("/a", "b")),
        lambda: stopped.start(), lambda: collect(Instancer(client, "/a")),
    ):  # fmt: skip
        with pytest.raises(ClientClosedError):
            await call()


async def started(*instancers: Instancer) -> bool:
    return all(one._following.first is not None and one._following.first.done() for one in instancers)


@aio
async def test_a_stopped_instancer_does_not_start_again(server38: AnyServer, unique: str) -> None:
    async with Client(server38.hosts) as client:
        before = listeners(client.zk)
        for begun in (False, True):
            instancer = Instancer(client, f"/{unique}")
            if begun:
                await instancer.start()
            await instancer.stop()
            with pytest.raises(ClientClosedError):
                await instancer.start()
        assert client._children == [] and listeners(client.zk) == before


@aio
async def test_observers_of_all_kinds(server38: AnyServer, unique: str, caplog: pytest.LogCaptureFixture) -> None:
    directory = f"/{unique}/api"
    plain, full, queue = Log(), asyncio.Queue(1), asyncio.Queue()  # type: ignore[var-annotated]
    coroutine, gate, slow = Log(), asyncio.Event(), Log()

    async def awaited(event: Event) -> None:
        await asyncio.sleep(0)
        coroutine(event)

    def bad(event: Event) -> None:
        raise ValueError("of an observer")

    async def cancelled(event: Event) -> None:
        forgotten = asyncio.get_running_loop().create_future()
        forgotten.cancel()
        dropped(event)
        await forgotten

    async def waits(event: Event) -> None:
        await gate.wait()
        slow(event)

    dropped = Log()
    async with Client(server38.hosts) as client, Instancer(client, directory) as instancer:
        for observer in (plain, full, queue, awaited, bad, cancelled, waits):
            instancer.register(observer)
        for number in range(5):
            await client.register(Service(f"/{unique}", "api", b"%d" % number))
            await plain.until(lambda seen, n=number: len(seen[-1].instances) == n + 1)  # type: ignore[misc]
        everything = tuple("01234")
        await coroutine.until(lambda seen: seen[-1].instances == everything)
        await dropped.until(lambda seen: seen[-1].instances == everything)
        while (await asyncio.wait_for(queue.get(), 5)).instances != everything:
            pass
        assert not slow.seen and full.full()
        gate.set()
        assert len(await slow.until(lambda seen: seen and seen[-1].instances == everything)) <= 3
        events = [await asyncio.wait_for(full.get(), 5) for _ in range(3)]
        assert events[-1].instances == everything
        instancer.deregister(plain)
        before = len(plain.seen)
        await client.deregister(Service(f"/{unique}", "api", b"0"))
        await coroutine.until(lambda seen: len(seen[-1].instances) == 4)
        assert len(plain.seen) == before
        with pytest.raises(TypeError):
            instancer.register(7)
        await client.zk.delete(f"/{unique}", recursive=True)
    assert "of an observer" in caplog.text


@pytest.mark.slow
@aio
async def test_without_a_server_everything_ends_in_time() -> None:
    port = lease()
    try:
        client = Client(f"127.0.0.1:{port}", connect_timeout=1, session_timeout=1)
        begun = time.monotonic()
        with pytest.raises(OperationTimeoutError):
            await client.start(timeout=1)
        assert time.monotonic() - begun < 2
        await client.stop()
        with pytest.raises(OperationTimeoutError):
            async with Client(f"127.0.0.1:{port}", connect_timeout=1, session_timeout=1):
                raise AssertionError("there is no server")
        assert time.monotonic() - begun < 5
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(Client(f"127.0.0.1:{port}").start(), 0.2)
        for wrong in (dict(), dict(servers="h", connect_timeout=0.5), dict(servers="h", session_timeout=0)):
            with pytest.raises(ValueError):
                Client(**wrong)  # type: ignore[arg-type]
    finally:
        release(port)


@aio
async def test_a_running_client_is_borrowed(server38: AnyServer, unique: str) -> None:
    events = Log()
    zk = AsyncZooKeeper(server38.hosts)
    client = Client(zk=zk, event_handler=events)
    await client.start()  # it may be started later
    await client.stop()
    assert listeners(zk) == (), "nothing is left with somebody else's client"
    await zk.start()
    async with Client(zk=zk, event_handler=events) as client:
        instancer = Instancer(client, f"/{unique}/api")
        await instancer.start()
        node = await client.register(Service(f"/{unique}", "api", b"x"))
        assert await zk.exists(node)
    assert zk.connected and listeners(zk) == ()
    assert await zk.exists(node) is None, "the session goes on, so the node had to be deleted"
    await zk.delete(f"/{unique}", recursive=True)
    await zk.close()


@aio
async def test_a_cancelled_register_leaves_nothing(server38: AnyServer, unique: str) -> None:
    directory = f"/{unique}/api"
    async with AsyncZooKeeper(server38.hosts) as zk, Client(zk=zk) as client:
        await client.create_parent_nodes(directory)
        outcomes = set()
        for turns in [*range(0, 30, 2), *range(30, 60, 5)]:
            registrar = Registrar(client, Service(f"/{unique}", "api", b"x"))
            task = asyncio.ensure_future(registrar.register())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            outcomes.add(task.cancelled())
            if not task.cancelled():
                await registrar.deregister()
            await eventually(lambda: empty(zk, directory))
            assert registrar.node is None
        assert True in outcomes
        await zk.delete(f"/{unique}", recursive=True)


@aio
async def test_a_register_cancelled_at_the_moment_of_success_leaves_nothing(server38: AnyServer, unique: str) -> None:
    directory = f"/{unique}/api"
    async with AsyncZooKeeper(server38.hosts) as zk, Client(zk=zk) as client:
        await client.create_parent_nodes(directory)
        for turns in (0, 1):  # after the answer, before the caller has run
            registrar = Registrar(client, Service(f"/{unique}", "api", b"x"))
            settled = announcing(client)
            task = asyncio.ensure_future(registrar.register())
            await settled.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                await eventually(lambda: empty(zk, directory))
            else:
                assert await zk.exists(task.result())
                await registrar.deregister()
        late = Registrar(client, Service(f"/{unique}", "api", b"z"))
        settled, withdraw, withdrawn = announcing(client), client.withdraw, []
        client.withdraw = withdrawn.append  # type: ignore[method-assign]
        task = asyncio.ensure_future(late.register())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await settled.wait()  # success came first
        client.withdraw = withdraw  # type: ignore[method-assign]
        withdraw(withdrawn[0])
        await eventually(lambda: empty(zk, directory))
        assert task.cancelled()
        registrar = Registrar(client, Service(f"/{unique}", "api", b"y"))
        node = await registrar.register()
        again = asyncio.ensure_future(registrar.register())
        await asyncio.sleep(0)
        again.cancel()
        await asyncio.wait([again])
        await zk.sync(directory)
        assert await zk.exists(node), "another caller was told that it stands"
        await registrar.deregister()
        await zk.delete(f"/{unique}", recursive=True)


def announcing(client: Client) -> asyncio.Event:
    """An event that is set when the client settles the future of a registrar."""
    settled, conclude = asyncio.Event(), client._conclude

    def concluding(future: Any, outcome: Any) -> None:
        conclude(future, outcome)
        settled.set()

    client._conclude = concluding  # type: ignore[method-assign]
    return settled


async def empty(zk: AsyncZooKeeper, directory: str) -> bool:
    return not await zk.get_children(directory)


@aio
async def test_entries(server38: AnyServer, unique: str) -> None:
    async with Client(server38.hosts, payload=[b"root"]) as client:
        await client.create_parent_nodes(f"/{unique}/api")
        assert (await client.zk.get(f"/{unique}"))[0] == b"root"
        entries, changed = await client.get_entries(f"/{unique}/api")
        assert entries == [] and not changed.done()
        await client.register(Service(f"/{unique}", "api", b"x"))
        assert (await asyncio.wait_for(changed, 5)).path == f"/{unique}/api"
        entries, changed = await client.get_entries(f"/{unique}/api")
        assert entries == ["x"]
        await client.deregister(Service(f"/{unique}", "api", b"x"))
        assert (await asyncio.wait_for(changed, 5)).path == f"/{unique}/api"
        await client.zk.delete(f"/{unique}", recursive=True)
