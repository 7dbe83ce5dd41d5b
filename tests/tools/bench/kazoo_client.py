"""kazoo, and what its users would write for discovery at best: the difference only, pipelined."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List

from kazoo.client import KazooClient

from . import meter
from .meter import CREATES, DIRECTORY, IN_MULTI, LISTS, MIXED, MULTIS, PATH, PIPELINED, Figures


@contextlib.contextmanager
def _client(hosts: str) -> Iterator[Any]:
    zk = KazooClient(hosts, timeout=30.0)
    zk.start()
    try:
        yield zk
    finally:
        zk.stop()
        zk.close()


def sequential(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.sequential(lambda: zk.get(PATH))


def pipelined(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.pipelined(PIPELINED, lambda number: zk.get_async(PATH), lambda result: result.get())


def creates(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        root = zk.create("/bench/kazoo-", sequence=True)
        return meter.pipelined(
            CREATES, lambda number: zk.create_async(f"{root}/{number}", b"x" * 100), lambda result: result.get()
        )


def children(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.repeated(LISTS, lambda number: zk.get_children(DIRECTORY))


def children_mixed(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.repeated(LISTS, lambda number: zk.get_children(MIXED))


def multi(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        root = zk.create("/bench/kazoo-", sequence=True)

        def commit(number: int) -> None:
            transaction = zk.transaction()
            for i in range(IN_MULTI):
                transaction.create(f"{root}/{number}-{i}", b"x" * 100)
            results = transaction.commit()
            assert results[-1] == f"{root}/{number}-{IN_MULTI - 1}", results[-1]

        return meter.repeated(MULTIS, commit)


def threads(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.threads(lambda: zk.get(PATH))


def watches(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:

        def watch(paths: Any, watcher: Any) -> None:
            for result in [zk.get_async(path, watch=watcher) for path in paths]:
                result.get()

        return meter.watches(hosts, watch)


def instances(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk, _client(hosts) as other:
        known: Dict[str, bytes] = {}

        def prepare(observer: Callable[[int], None]) -> None:
            @zk.ChildrenWatch(DIRECTORY)  # type: ignore[untyped-decorator]
            def changed(names: List[str]) -> None:
                for name in known.keys() - set(names):
                    del known[name]
                reads = [(name, zk.get_async(f"{DIRECTORY}/{name}")) for name in names if name not in known]
                for name, read in reads:
                    known[name] = read.get()[0]
                observer(len(known))

        def alter(number: int) -> None:
            other.create(f"{DIRECTORY}/kazoo-{number}", b"10.9.9.9:80", ephemeral=True)

        return meter.instances(prepare, alter, total)
