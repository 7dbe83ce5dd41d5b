"""zkwire's blocking front, and zkdisco on it."""

from __future__ import annotations

import time
from typing import Any, Callable, List

import zkdisco
from zkwire import ZooKeeper
from zkwire.ops import Create, GetData

from . import meter
from .meter import CREATES, DIRECTORY, IN_MULTI, LISTS, MIXED, MULTIS, PATH, PIPELINED, Figures


def _client(hosts: str, **options: Any) -> ZooKeeper:
    return ZooKeeper(hosts, timeout=30.0, **options)


def sequential(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.sequential(lambda: zk.get(PATH))


def pipelined(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.pipelined(PIPELINED, lambda number: zk.submit(GetData(PATH)), lambda future: future.result())


def batch(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        paths = [PATH] * PIPELINED
        zk.get_many(paths[:100])
        return meter.whole(PIPELINED, lambda: zk.get_many(paths))


def creates(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        root = zk.create("/bench/zkwire-", sequence=True)
        return meter.pipelined(
            CREATES, lambda number: zk.submit(Create(f"{root}/{number}", b"x" * 100)), lambda future: future.result()
        )


def children(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.repeated(LISTS, lambda number: zk.get_children(DIRECTORY))


def children_mixed(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.repeated(LISTS, lambda number: zk.get_children(MIXED))


def multi(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        root = zk.create("/bench/zkwire-", sequence=True)

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


def _watch(zk: ZooKeeper, paths: Any, watcher: Any) -> None:
    for future in [zk.submit(GetData(path, watch=watcher)) for path in paths]:
        future.result()


def watches(hosts: str, total: int) -> Figures:
    with _client(hosts) as zk:
        return meter.watches(hosts, lambda paths, watcher: _watch(zk, paths, watcher))


def rearm(hosts: str, total: int) -> Figures:
    with _client(hosts, max_pending=2 * total) as zk:
        _watch(zk, [f"{DIRECTORY}/{meter.name(number)}" for number in range(total)], print)
        port = meter.port_of(hosts)
        dials, began = meter.Dials(port), time.perf_counter()
        meter.cut(port)
        while zk.connected:
            time.sleep(0.0001)
        zk.get(PATH)
        return meter.rearmed(began, dials)


def instances(hosts: str, total: int) -> Figures:
    client = zkdisco.Client(hosts, session_timeout=30.0)
    kept: List[Any] = []
    with _client(hosts) as other:

        def prepare(observer: Callable[[int], None]) -> None:
            instancer = zkdisco.Instancer(client, DIRECTORY, timeout=60)
            kept.append(instancer)
            instancer.register(lambda event: observer(len(event.instances)))

        def alter(number: int) -> None:
            other.create(f"{DIRECTORY}/zkwire-{number}", b"10.9.9.9:80", ephemeral=True)

        figures = meter.instances(prepare, alter, total)
        client.stop()
    return figures
