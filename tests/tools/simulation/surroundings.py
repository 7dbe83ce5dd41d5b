"""What a run puts in the place of the process it runs in: the clock, random numbers, thread ids, and the ZooKeeper below.

Owns which names of which modules are others while a run lasts.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Iterator, List, Tuple

import zkdisco.aio
import zkdisco.following
import zkdisco.front
import zkdisco.membership
import zkdisco.runner
import zkdisco.threads
import zkwire.client
import zkwire.config
import zkwire.io.aio_driver
import zkwire.session.watches

from .below import AsyncBelow, BlockingBelow
from .executors import Crew

if TYPE_CHECKING:
    from .world import World


@contextmanager
def surroundings(world: World) -> Iterator[None]:
    """While it lasts, all code of zkwire and zkdisco lives in this world."""
    clock = world.monotonic
    logger = logging.getLogger("zkdisco")
    names: List[Tuple[Any, str, Any]] = [
        (zkdisco.runner, "monotonic", clock), (zkdisco.front, "monotonic", clock), (zkdisco.following, "monotonic", clock),
        (zkdisco.threads, "monotonic", clock),
        (zkwire.client, "monotonic", clock), (zkwire.config, "now", clock), (zkwire.io.aio_driver, "now", clock),
        (zkdisco.front, "os", SimpleNamespace(urandom=world.guid)),
        (zkdisco.threads, "threading", SimpleNamespace(get_ident=lambda: len(world.waiters))),
        (zkdisco.threads, "ZooKeeper", BlockingBelow), (zkdisco.aio, "async_zookeeper", lambda: AsyncBelow),
        (zkdisco.threads, "Crew", Crew), (BlockingBelow, "world", world), (zkwire.session.watches, "BATCH", world.batch),
        (zkdisco.runner, "LEAST", 2), (zkdisco.membership, "RELOADS", 20),  # directories are small here
        (zkdisco.front, "random", SimpleNamespace(random=world.chance)),
    ]  # fmt: skip
    level = logger.level
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in names]
    try:
        logger.setLevel(logging.CRITICAL + 1)
        for owner, name, value in names:
            setattr(owner, name, value)
        yield
    finally:
        for client in world.clients:
            client.frozen_until = 0.0
            client.loop.put_away()
        for owner, name, value in before:
            setattr(owner, name, value)
        logger.setLevel(level)
