"""A user's program on the asyncio front, and what its type checker must refuse; as `blocking.py`."""

from __future__ import annotations

import asyncio
from typing import List, Optional, Tuple

from zkdisco import Event, Service
from zkdisco.aio import Client, Instancer, Registrar
from zkdisco.aio_endpoints import Endpoints
from zkdisco.balance import Endpoint, LeastOutstanding, RoundRobin
from zkdisco.settling import Settling
from zkwire import AsyncZooKeeper, NoNodeError, Stat, WatchedEvent
from zkwire.ops import Create


async def read(zk: AsyncZooKeeper, path: str) -> Optional[Tuple[bytes, Stat]]:
    """A node, if there is one."""
    try:
        return await zk.get(path, timeout=2.0)
    except NoNodeError:
        return None


async def follow(zk: AsyncZooKeeper, path: str) -> None:
    """Print each change."""
    async for event in zk.watch(path, recursive=True):
        kind: str = event.type
        print(kind, event.path)


async def main(hosts: str) -> List[str]:
    """Be registered, and know the others."""
    heard: asyncio.Queue[WatchedEvent] = asyncio.Queue()
    async with AsyncZooKeeper(hosts, timeout=10.0) as zk:
        created: str = await zk.create("/a", b"1", ephemeral=True)
        path: str = await zk.submit(Create("/b"))
        await zk.get("/a", watch=heard.put_nowait)
        transaction = zk.transaction()
        transaction.delete(path)
        await transaction.commit()
        print(created, await read(zk, "/a"), await heard.get())
    async with Client(hosts) as client, Registrar(client, Service("/services", "api", b"x")):
        async with Instancer(client, "/services/api") as instancer:
            instancer.register(asyncio.Queue[Event]())
            async for event in instancer:
                return list(event.instances)
    return []


class Connection:
    """What a user's factory makes."""

    async def ask(self) -> bytes:
        """Call the other side."""
        return b""

    async def close(self) -> None:
        """End it."""


async def connect(address: str) -> Connection:
    """To an instance."""
    print(address)
    return Connection()


async def call(client: Client) -> bytes:
    """Call the live ones."""
    async with Instancer(client, "/services/api", settling=Settling(0.3)) as instancer:
        async with Endpoints(instancer, connect, Connection.close) as endpoints:
            balancer = LeastOutstanding(endpoints)
            chosen: Endpoint[str, Connection] = balancer.choose()
            print(chosen.value.ask())
            plain = await Endpoints(instancer, len)
            number: int = RoundRobin(plain).choose().value
            print(number)
            with balancer.call() as endpoint:
                return await endpoint.value.ask()


async def wrong(zk: AsyncZooKeeper, instancer: Instancer, registrar: Registrar) -> None:
    """Every line must be refused."""
    instancer.register(3)  # type: ignore[arg-type]
    Endpoints(instancer, 3)  # type: ignore[call-overload]
    with Endpoints(instancer, connect):  # type: ignore[attr-defined]
        pass
    await registrar.update("text")  # type: ignore[arg-type]
    await zk.get(b"/a")  # type: ignore[arg-type]
    data: bytes = (await zk.get("/a"))[1]  # type: ignore[assignment]
    pair: Tuple[bytes, Stat] = zk.get("/a")  # type: ignore[assignment]
    path: str = zk.create("/a")  # type: ignore[assignment]
    with zk:  # type: ignore[attr-defined]
        print(data, pair, path)
