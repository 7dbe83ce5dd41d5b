"""The awaited twins on real servers: the same main job on an event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, Callable, Iterator, List

import pytest

from tests.kit.fronts import listeners
from tests.kit.harness.proxy import FaultProxy
from tests.kit.discovery.live import Seen, kill_session, owner
from zkdisco import ClientClosedError, Event, NotRegisteredError, Service
from zkdisco.aio import Client, Instancer, Registrar
from zkwire import AsyncZooKeeper, ZooKeeper, errors


@pytest.fixture
def zk(server: Any) -> Iterator[ZooKeeper]:
    with ZooKeeper(server.hosts) as client:
        yield client


@pytest.fixture
def where(unique: str) -> str:
    return f"/disco-{unique}"


def run(main: Any) -> Any:
    """Run it; whatever the loop complains of is a failure, and no task is left."""
    complaints: List[Any] = []

    async def whole() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        result = await asyncio.wait_for(main(), 25)
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert left == []
        return result

    result = asyncio.run(whole())
    gc.collect()
    assert complaints == []
    return result


async def until(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    deadline = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {timeout} s"
        await asyncio.sleep(0.005)


async def blocking(function: Any, *arguments: Any) -> Any:
    """Somebody else's blocking call, which must not hold the loop up."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def test_the_main_job(server: Any, zk: ZooKeeper, where: str) -> None:
    async def main() -> None:
        async with Client(server.hosts) as client:
            registrar = Registrar(client, Service(where, "api", b"1"))
            node = await registrar.register()
            assert registrar.node == node and owner(zk, node) == client.zk.client_id[0]
            instancer, seen = Instancer(client, where + "/api"), Seen()
            async with instancer:
                assert instancer.state == Event(("1",))
                instancer.register(seen)
                async with Registrar(client, Service(where, "api", b"2")):
                    await until(lambda: seen.events and seen.events[-1] == Event(("1", "2")))
                await until(lambda: seen.events[-1] == Event(("1",)))
                await registrar.deregister()
                await until(lambda: seen.events[-1] == Event(()))
                with pytest.raises(NotRegisteredError):
                    await registrar.deregister()
            assert zk.exists(where + "/api") is not None and zk.get_children(where + "/api") == []
            assert await client.register(Service(where, "api", b"3"))
            entries, changed = await client.get_entries(where + "/api")
            assert entries == ["3"] and not changed.done()
            await client.deregister(Service(where, "api", b"3"))
            assert (await asyncio.wait_for(changed, 5)).type == "CHILD"
            await client.create_parent_nodes(where + "/x/y")
            assert zk.exists(where + "/x/y")
        for call in (registrar.register, registrar.deregister, lambda: client.get_entries(where)):
            with pytest.raises(ClientClosedError):
                await call()
        await client.stop()

    run(main)


def test_async_for_gives_the_newest_then_every_newer_one_until_stop(server: Any, zk: ZooKeeper, where: str) -> None:
    async def main() -> None:
        async with Client(server.hosts) as client:
            instancer = Instancer(client, where)
            heard: List[Event] = []
            again: List[Event] = []

            async def follow(into: List[Event]) -> None:
                async for event in instancer:
                    into.append(event)

            following = asyncio.ensure_future(follow(heard))
            await until(lambda: heard == [Event(())])
            await blocking(zk.create, where)
            await blocking(zk.create, where + "/a", b"1")
            await until(lambda: heard[-1] == Event(("1",)))
            second = asyncio.ensure_future(follow(again))
            await until(lambda: again == [Event(("1",))])
            await blocking(zk.set, where + "/a", b"2")
            await until(lambda: heard[-1] == again[-1] == Event(("2",)))
            second.cancel()
            await asyncio.wait([second])
            await instancer.stop()
            await asyncio.wait_for(following, 9)
            await instancer.stop()

    run(main)


def test_after_expiry_it_is_back_once(server: Any, zk: ZooKeeper, where: str) -> None:
    async def main() -> None:
        async with Client(server.hosts) as client, Client(server.hosts) as looking:
            registrar = Registrar(client, Service(where, "api", b"d"))
            node = await registrar.register()
            instancer, seen, states = Instancer(looking, where + "/api"), Seen(), Seen()
            await instancer.start()
            instancer.register(seen)
            client.zk.add_listener(states)
            await blocking(kill_session, client.zk, server.hosts)
            await until(lambda: states.events[-1:] == ["CONNECTED"])
            await until(lambda: registrar.node not in (None, node))
            assert zk.get_children(where + "/api") == [registrar.node.rpartition("/")[2]]
            await until(lambda: seen.events[-1] == Event(("d",)))
            assert seen.sizes() in ([1, 0, 1], [1])

    run(main)


def test_a_lost_connection_with_answers_lost(server38: Any, where: str) -> None:
    async def main() -> None:
        with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
            await blocking(zk.ensure_path, where + "/api")
            async with Client(proxy.hosts) as client:
                registrar = Registrar(client, Service(where, "api", b"d"))
                instancer, seen = Instancer(client, where + "/api"), Seen()
                await instancer.start()
                instancer.register(seen)
                for count in (0, 1, 30):
                    proxy.cut_after(count, "down", "rst")
                    node = await registrar.register()
                    assert zk.get_children(where + "/api") == [node.rpartition("/")[2]]
                    await until(lambda: seen.events[-1] == Event(("d",)))
                    proxy.cut_after(0, "down", "fin")
                    await registrar.deregister()
                    assert zk.get_children(where + "/api") == []
                    await until(lambda: seen.events[-1] == Event(()))

    run(main)


def test_time_outs_and_cancellation_leave_nothing(server38: Any, where: str) -> None:
    async def main() -> None:
        with FaultProxy(server38.host, server38.port) as proxy, ZooKeeper(server38.hosts) as zk:
            await blocking(zk.ensure_path, where + "/api")
            async with Client(proxy.hosts, session_timeout=6) as client:
                timed_out, cancelled = (Registrar(client, Service(where, "api", d)) for d in (b"t", b"c"))
                proxy.refuse()
                proxy.cut()
                await until(lambda: not client.zk.connected)
                with pytest.raises(errors.OperationTimeoutError):
                    await timed_out.register(timeout=0.2)
                with pytest.raises(errors.OperationTimeoutError):
                    await Instancer(client, where).start(timeout=0.2)
                task = asyncio.ensure_future(cancelled.register())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                proxy.heal()
                await until(lambda: client.zk.connected)
                assert await client.zk.get_children(where + "/api") == []
                await until(lambda: timed_out._core.at_rest and cancelled._core.at_rest)
                assert await client.zk.get_children(where + "/api") == []

    run(main)


def test_observers_that_are_coroutines_slow_or_raise(server38: Any, where: str) -> None:
    async def main() -> None:
        with ZooKeeper(server38.hosts) as zk:
            await blocking(zk.ensure_path, where)
            async with Client(server38.hosts) as client:
                instancer = await Instancer(client, where)
                slow, good, release = Seen(), Seen(), asyncio.Event()

                async def wait(event: Event) -> None:
                    slow(event)
                    await release.wait()

                def fail(event: Event) -> None:
                    raise RuntimeError("my fault")

                for observer in (wait, fail, good):
                    instancer.register(observer)
                box: asyncio.Queue[Event] = asyncio.Queue()
                instancer.register(box)
                assert await asyncio.wait_for(box.get(), 5) == Event(())
                for i in range(5):
                    await blocking(zk.create, f"{where}/n{i}", b"x")
                await until(lambda: good.events[-1] == Event(("x",) * 5))
                assert len(slow.events) == 1
                release.set()
                await until(lambda: slow.events[-1] == Event(("x",) * 5))
                assert len(slow.events) == 2
                instancer.deregister(wait)
                with pytest.raises(TypeError):
                    instancer.register(5)

    run(main)


def test_a_running_zookeeper_is_left_running_and_clean(server38: Any, where: str) -> None:
    async def main() -> None:
        async with AsyncZooKeeper(server38.hosts) as shared:
            client = await Client(zk=shared)
            node = await client.register(Service(where, "api", b"d"))
            await Instancer(client, where + "/api")
            await client.stop()
            assert shared.connected and await shared.exists(node) is None
            assert listeners(shared) == ()

    run(main)


def test_the_end_of_the_client_ends_a_waiting_call(server38: Any, where: str) -> None:
    async def main() -> None:
        with FaultProxy(server38.host, server38.port) as proxy:
            client = await Client(proxy.hosts, session_timeout=6)
            registered = Registrar(client, Service(where, "api", b"r"))
            await registered.register()
            proxy.refuse()
            proxy.cut()
            await until(lambda: not client.zk.connected)
            waiting = [
                asyncio.ensure_future(each)
                for each in (Registrar(client, Service(where, "api", b"d")).register(), registered.deregister(),
                             Instancer(client, where).start())
            ]  # fmt: skip
            await asyncio.sleep(0.05)
            await client.stop()
            outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 9)
            kinds = (errors.ConnectionClosedError, NotRegisteredError)
            assert all(isinstance(outcome, kinds) for outcome in outcomes), outcomes

    run(main)


def test_no_thread_is_left(server38: Any, where: str) -> None:
    before = set(threading.enumerate())  # of which some, left by other tests, may end meanwhile

    async def main() -> None:
        async with Client(server38.hosts) as client, Registrar(client, Service(where, "api", b"d")):
            assert set(threading.enumerate()) <= before

    run(main)
    assert set(threading.enumerate()) <= before
