"""Conversations of our own clients as users run them: both fronts of zkwire, and zkdisco."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any, Callable, Tuple

from tests.tools.recording.foreign import armed_again, closed
from tests.tools.recording.tape import Tape
from zkdisco import Client, Instancer, Registrar, Service
from zkwire import (
    AsyncZooKeeper, BadVersionError, ConnectionLoss, NoNodeError, SessionExpiredError, UnimplementedError, ZooKeeper,
    __version__, make_digest_acl,
)  # fmt: skip
from zkwire.ops import Create, Delete, GetChildren, GetData

Session = Callable[[Any], int]


def sessions(version: str, numbers: Tuple[int, ...]) -> Iterator[Tuple[str, Session]]:
    """Name and recorder of each session; a recorder takes the server and returns the number of frames."""
    yield "zkwire-verbs", functools.partial(blocking, version, numbers)
    yield "zkwire-asyncio", functools.partial(awaited, version, numbers)
    yield "zkwire-resumed", functools.partial(resumed, version, numbers)
    yield "zkdisco", functools.partial(discovery, version, numbers)


def blocking(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """All verbs of ZooKeeper below a chroot, watches, transactions, auth, errors."""
    root = "/zkwire-verbs"
    with Tape(server.host, server.port) as tape:
        with ZooKeeper(tape.hosts + root, timeout=10.0) as zk:
            zk.ensure_path("/")
            zk.create("/a", b"1")
            zk.create("/a/b/c", b"", makepath=True)
            zk.create("/e", b"", ephemeral=True)
            zk.create("/s-", b"", sequence=True)
            zk.create("/p", b"", ephemeral=True, sequence=True, protect=True)
            zk.exists("/none", watch=_ignore)
            zk.get("/a", watch=_ignore)
            zk.get_children("/", watch=_ignore)
            zk.get_children("/a", include_data=True)
            zk.get_many(["/a", "/none", "/a/b"])
            zk.set("/a", b"2", version=0)
            zk.create("/none")
            zk.add_auth("digest", "bob:secret")
            zk.set_acls("/a/b", [make_digest_acl("bob", "secret", all=True)])
            zk.get_acls("/a/b")
            zk.sync("/")
            zk.multi([Create("/t", b""), Delete("/t")])
            _fails(lambda: zk.set("/a", b"", version=9), BadVersionError)
            _fails(lambda: zk.get("/nothing"), NoNodeError)
            failing = zk.transaction()
            failing.create("/t")
            failing.check("/a", 9)
            failing.commit(raise_on_error=False)
            _newer(zk, numbers)
            zk.delete("/", recursive=True)
        tape.wait(closed)
        return tape.save(version, f"zkwire {__version__}, blocking", "zkwire-verbs", _topic(blocking))


def _newer(zk: ZooKeeper, numbers: Tuple[int, ...]) -> None:
    if numbers < (3, 6):
        _fails(lambda: zk.add_watch("/a", _ignore), UnimplementedError)
        _again(lambda: zk.exists("/a", timeout=10))
        return
    zk.create("/two", b"", include_data=True)
    zk.create("/container", b"", container=True)
    zk.create("/ttl", b"", ttl=60.0)
    zk.add_watch("/a", _ignore, recursive=True)
    zk.add_watch("/a", _ignore)
    zk.set("/a/b", b"news")
    zk.create("/a/d")
    zk.remove_watches("/a")
    zk.multi_read([GetData("/a"), GetChildren("/"), GetData("/nothing")])
    zk.get_ephemerals()
    zk.get_all_children_number("/")
    if numbers >= (3, 7):
        zk.who_am_i()


def awaited(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """The asyncio front: pipelined reads and writes, a transaction, a watch."""

    async def run(hosts: str) -> None:
        async with AsyncZooKeeper(hosts, timeout=10.0) as zk:
            await zk.create("/zkwire-asyncio", b"1")
            await zk.get("/zkwire-asyncio", watch=_ignore)
            names = [f"/zkwire-asyncio/{i}" for i in range(5)]
            await asyncio.gather(*(zk.create(name, b"x") for name in names))
            await asyncio.gather(*(zk.get(name) for name in names))
            transaction = zk.transaction()
            transaction.set_data("/zkwire-asyncio", b"2")
            transaction.delete(names[0])
            await transaction.commit()
            await zk.delete("/zkwire-asyncio", recursive=True)

    with Tape(server.host, server.port) as tape:
        asyncio.run(run(tape.hosts))
        tape.wait(closed)
        return tape.save(version, f"zkwire {__version__}, asyncio", "zkwire-asyncio", _topic(awaited))


def resumed(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """A connection lost: the session resumed, auth and watches replayed, with events for what was missed; expiry."""
    root = "/zkwire-resumed"
    with Tape(server.host, server.port) as tape, ZooKeeper(server.hosts) as other:
        with ZooKeeper(tape.hosts, timeout=10.0, auth_data=[("digest", "bob:secret")]) as zk:
            zk.create(root, b"")
            zk.get(root, watch=_ignore)
            zk.exists(f"{root}/none", watch=_ignore)
            zk.get_children(root, watch=_ignore)
            if numbers >= (3, 6):
                zk.add_watch(root, _ignore, recursive=True)
            tape.proxy.refuse()
            tape.proxy.cut("fin")
            other.set(root, b"while away")
            other.create(f"{root}/none")
            tape.proxy.heal()
            _again(lambda: zk.get(root, timeout=10))
            tape.wait(armed_again)
            with ZooKeeper(server.hosts, client_id=zk.client_id):
                pass  # takes the session over, and closes it
            _again(lambda: zk.exists(root, timeout=10))
            zk.delete(root, recursive=True)
        tape.wait(closed)
        return tape.save(version, f"zkwire {__version__}, blocking", "zkwire-resumed", _topic(resumed))


def discovery(version: str, numbers: Tuple[int, ...], server: Any) -> int:
    """zkdisco: two registrars and an instancer; a data change, a deregistration."""
    with Tape(server.host, server.port) as tape:
        client = Client(tape.hosts)
        instancer = Instancer(client, "/zkdisco/api")
        first = Registrar(client, Service("/zkdisco", "api", b"10.0.0.1:80"))
        first.register()
        with Registrar(client, Service("/zkdisco", "api", b"10.0.0.2:80")):
            client.zk.set(first.node or "", b"10.0.0.3:80")
        first.deregister()
        instancer.stop()
        client.zk.delete("/zkdisco", recursive=True)
        client.stop()
        tape.wait(closed)
        return tape.save(version, f"zkdisco {__version__}", "zkdisco", _topic(discovery))


def _ignore(event: Any) -> None:
    """A watcher."""


def _again(read: Callable[[], Any]) -> Any:
    """A read that may fall into the gap between two connections."""
    while True:
        try:
            return read()
        except (ConnectionLoss, SessionExpiredError):
            continue


def _fails(call: Callable[[], Any], kind: Any) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError("the server let it pass")


def _topic(script: Callable[..., Any]) -> str:
    return (script.__doc__ or "").strip().splitlines()[0].rstrip(".")
