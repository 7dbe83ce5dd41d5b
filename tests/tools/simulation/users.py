"""What users ask for: random operations on a few nodes, each recognisable on the wire.

Owns the mix of operations. Must not know the network.
"""

from __future__ import annotations

from random import Random
from typing import Any

from zkwire.errors import ZookeeperError
from zkwire.ops import (
    AddWatch, Auth, Check, Create, Create2, Delete, Exists, GetChildren2, GetData, Multi, MultiRead, RemoveWatches,
    SetData, Sync,
)  # fmt: skip
from zkwire.values import CREATOR_ALL_ACL

from .calls import Standing, Watch
from .client import Client

NODES = ("/a", "/b", "/c", "/a/x", "/a/y")
#: Where lasting watches are recursive ones.
RECURSIVE = ("/", "/a", "/b")
IDENTITIES = (b"ann:secret", b"bob:secret", b"eve:secret")


def act(client: Client, rng: Random) -> None:
    """One operation of a user, or a few at once."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        watch = Watch(client, rng.choice(NODES)) if rng.random() < 0.4 else None
        op = _read(client, rng, watch) if watch is not None or rng.random() < 0.35 else _write(client, rng)
        try:
            client.submit(op, None, watch)
        except ZookeeperError:
            pass  # refused at once: an old server, or too much
    client.settle()


def _read(client: Client, rng: Random, watch: Any) -> Any:
    path = watch.path if watch is not None else rng.choice(NODES)
    choice = rng.random()
    if watch is None and choice < 0.1:
        return GetData(client.private)
    if choice < 0.35:
        return GetData(path, watch)
    if choice < 0.65:
        return Exists(path, watch)
    return GetChildren2(path, watch)


def _write(client: Client, rng: Random) -> Any:
    mark = b"%d.%d" % (client.number, client.number_of_calls)
    path, choice = rng.choice(NODES), rng.random()
    if choice < 0.25:
        return Create(path, mark)
    if choice < 0.45:
        return SetData(path, mark)
    if choice < 0.60:
        return Delete(path)
    if choice < 0.68:
        return Create(rng.choice(("/a/s", "/b/s")), mark, None, rng.random() < 0.7, True)
    if choice < 0.74:
        return Create(path, mark, None, True)
    if choice < 0.82:
        return Multi([SetData(path, mark), Check(rng.choice(NODES), rng.choice((-1, 0, 1)))])
    if choice < 0.88:
        return Multi([Delete(path), Create(path, mark)])
    if choice < 0.90:
        return Auth("digest", rng.choice(IDENTITIES))
    if choice < 0.92:  # whoever may not read one's own node is not who one said to be
        return rng.choice((Create(client.private, mark, CREATOR_ALL_ACL), SetData(client.private, mark)))
    return _rare(client, rng, path, mark)


def _rare(client: Client, rng: Random, path: str, mark: bytes) -> Any:
    """What older servers do not all know."""
    choice = rng.randrange(6)
    if choice == 0:
        return RemoveWatches(path, rng.choice((1, 2, 3)))
    if choice == 1:
        return Create2(path, mark)
    if choice == 2:
        return MultiRead([GetData(path), GetData("/a")])
    if choice == 3:
        root = rng.choice((path, "/"))
        recursive = root in RECURSIVE  # both kinds on one path are too much for servers before 3.9
        return AddWatch(root, Standing(client, root, recursive), recursive)
    return Sync(path)
