"""What type checkers make of the verbs on both fronts; checked by `make lint`, never run."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from typing_extensions import assert_type

from zkdisco import Client, Entries, Event, Instancer, Registrar, Service
from zkwire import ACL, AsyncZooKeeper, Id, Stat, WatchedEvent, ZooKeeper
from zkwire.io.future import Future
from zkwire.ops import Create, Exists, GetChildren, GetData


def blocking(zk: ZooKeeper) -> None:
    assert_type(zk.get("/a"), Tuple[bytes, Stat])
    assert_type(zk.get("/a", timeout=1.0), Tuple[bytes, Stat])
    assert_type(zk.exists("/a"), Optional[Stat])
    assert_type(zk.get_children("/a"), List[str])
    assert_type(zk.get_children("/a", include_data=True), Tuple[List[str], Stat])
    assert_type(zk.create("/a", b"x", ephemeral=True), str)
    assert_type(zk.create("/a", include_data=True), Tuple[str, Stat])
    assert_type(zk.set("/a", b""), Stat)
    assert_type(zk.get_acls("/a"), Tuple[List[ACL], Stat])
    assert_type(zk.ensure_path("/a"), bool)
    assert_type(zk.who_am_i(), List[Id])
    assert_type(zk.transaction().commit(), List[Any])
    assert_type(zk.server_version(), Tuple[int, int, int])
    assert_type(zk.submit(GetData("/a")), Future[Tuple[bytes, Stat]])
    assert_type(zk.submit(Create("/a")).result(1.0), str)
    assert_type(zk.submit(Exists("/a")).result(), Optional[Stat])
    assert_type(zk.client_id, Optional[Tuple[int, bytes]])
    zk.get(1)  # type: ignore[arg-type]
    zk.get("/a", nonsense=True)  # type: ignore[call-arg]


async def awaited(zk: AsyncZooKeeper) -> None:
    assert_type(await zk.get("/a"), Tuple[bytes, Stat])
    assert_type(await zk.get("/a", timeout=1.0), Tuple[bytes, Stat])
    assert_type(await zk.exists("/a"), Optional[Stat])
    assert_type(await zk.get_children("/a"), List[str])
    assert_type(await zk.get_children("/a", include_data=True), Tuple[List[str], Stat])
    assert_type(await zk.create("/a", b"x", ephemeral=True), str)
    assert_type(await zk.create("/a", include_data=True), Tuple[str, Stat])
    assert_type(await zk.set("/a", b""), Stat)
    assert_type(await zk.transaction().commit(), List[Any])
    assert_type(await zk.submit(GetChildren("/a")), List[str])
    async for event in zk.watch("/a", recursive=True):
        assert_type(event, WatchedEvent)
    await zk.get(1)  # type: ignore[arg-type]


def discovery(client: Client, service: Service) -> None:
    assert_type(client.register(service), str)
    assert_type(client.get_entries("/a"), Tuple[Entries, Future[WatchedEvent]])
    assert_type(Registrar(client, service).node, Optional[str])
    assert_type(Instancer(client, "/a").state, Event)
