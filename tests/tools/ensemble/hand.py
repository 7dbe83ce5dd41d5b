"""What a workload does its calls with: notes each in the history, before and after, on either front.

Owns which outcome is which kind of record. A workload is written once, as coroutines: on the blocking front nothing in it
ever waits for an event loop, so that `run_blocking` gets through it in one go.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from typing import Any, Callable, Coroutine, Dict, List, Optional, Sequence, Tuple, TypeVar

import zkdisco
import zkdisco.aio
from zkwire import AsyncZooKeeper, Stat, WatchedEvent, ZooKeeper
from zkwire.errors import ZookeeperError
from zkwire.ops import Check, SetData, Sync

from .history import History

T = TypeVar("T")
#: Seconds that each call is given.
PATIENCE = 8.0
#: Calls that change nothing: whatever goes wrong, they have not been applied.
READS = frozenset(["get", "exists", "children", "sync", "watch"])


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a workload's coroutine where nothing in it suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a coroutine of the blocking front has waited for an event loop")


class Front:
    """The blocking front."""

    client: Any = ZooKeeper
    discovery: Any = zkdisco

    async def done(self, result: Any) -> Any:
        """What a verb has returned is its result."""
        return result

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        threading.Event().wait(seconds)


class AsyncFront(Front):
    """The asyncio front."""

    client = AsyncZooKeeper
    discovery = zkdisco.aio

    async def done(self, result: Any) -> Any:
        """What a verb has returned is to be awaited."""
        return await result

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)


FRONTS: Dict[str, Callable[[], Front]] = {"threads": Front, "asyncio": AsyncFront}


class Hand:
    """The calls of one client."""

    def __init__(self, name: str, front: Front, zk: Any, history: History, seed: object) -> None:
        self.name, self.front, self.zk, self.history = name, front, zk, history
        self.random = random.Random(str(seed))
        self._numbers = itertools.count(1)
        #: The newest zxid that any result has shown.
        self.newest = 0

    # -- calls

    async def get(self, path: str, watch: Optional[Callable[[WatchedEvent], None]] = None) -> Tuple[str, Stat]:
        """A node's text and Stat."""
        return await self._call("get", lambda: self.zk.get(path, watch, timeout=PATIENCE), _of_get, path=path)

    async def exists(self, path: str, watch: Optional[Callable[[WatchedEvent], None]] = None) -> Optional[Stat]:
        """A node's Stat, or None."""
        return await self._call("exists", lambda: self.zk.exists(path, watch, timeout=PATIENCE), _of_exists, path=path)

    async def children(
        self, path: str, watch: Optional[Callable[[WatchedEvent], None]] = None
    ) -> Tuple[List[str], Stat]:  # fmt: skip
        """The names of a node's children, and its Stat."""

        def ask() -> Any:
            return self.zk.get_children(path, watch, include_data=True, timeout=PATIENCE)

        return await self._call("children", ask, _of_children, path=path)

    async def set(self, path: str, version: int = -1) -> Stat:
        """Give a node a value that there is only once."""
        value = self.token()
        return await self._call("set", lambda: self.zk.set(path, value.encode(), version, timeout=PATIENCE),
                                _of_set, path=path, value=value, version=version)  # fmt: skip

    async def create(self, path: str, **how: bool) -> Tuple[str, Stat]:
        """Create a node with a value that there is only once; `how` is as for the verb."""
        value = self.token()
        return await self._call(
            "create", lambda: self.zk.create(path, value.encode(), include_data=True, timeout=PATIENCE, **how),
            _of_create, path=path, value=value, **how,
        )  # fmt: skip

    async def delete(self, path: str) -> None:
        """Delete a node."""
        await self._call("delete", lambda: self.zk.delete(path, timeout=PATIENCE), _of_nothing, path=path)

    async def sync(self) -> None:
        """Let the server catch up."""
        await self._call("sync", lambda: self.zk.sync("/", timeout=PATIENCE), _of_nothing, path="/")

    async def set_all(self, nodes: Sequence[Tuple[str, int]]) -> None:
        """Give several nodes of known versions one value, all of them or none."""
        value = self.token()
        ops = [op for path, version in nodes for op in (Check(path, version), SetData(path, value.encode(), version))]
        paths = [path for path, _ in nodes]
        await self._call("multi", lambda: self.zk.multi(ops, timeout=PATIENCE), _of_multi, paths=paths, value=value)

    async def add_watch(self, path: str, watcher: Callable[[WatchedEvent], None]) -> None:
        """Watch a node and all below it."""
        await self._call("watch", lambda: self.zk.add_watch(path, watcher, True, timeout=PATIENCE), _of_nothing, path=path)

    # -- what is noted besides

    def watcher(self, number: str) -> Callable[[WatchedEvent], None]:
        """A watcher that notes what it is called with."""

        def fired(event: WatchedEvent) -> None:
            self.history.write("fired", w=number, type=event.type, path=event.path, state=event.state)

        return fired

    def armed(self, number: str, how: str, path: str, basis: int) -> None:
        """A watch is set; whatever happens to the node after the zxid `basis` is to be told."""
        self.history.write("armed", w=number, how=how, path=path, basis=basis)

    def claim(self, path: str, sid: int) -> None:
        """Say whether the client is connected with this session, which owns the node."""
        at = time.time()
        if self.zk.connected and self.session() == sid:
            self.history.write("claim", path=path, sid=sid, at=at)

    def session(self) -> int:
        """The number of the session, 0 for none."""
        number: int = (self.zk.client_id or (0,))[0]
        return number

    def state_changed(self, state: str) -> None:
        """The listener of the client."""
        self.history.write("state", state=state, sid=self.session())

    def token(self) -> str:
        """A value that no other write has."""
        return f"{self.name}.{next(self._numbers)}"

    def number(self) -> str:
        """A number for a watch."""
        return f"{self.name}.w{next(self._numbers)}"

    async def pause(self, seconds: float) -> None:
        """Do nothing for so long."""
        await self.front.pause(seconds)

    async def caught_up(self, limit: float) -> bool:
        """All that the servers have to tell this client was told, after a connection was had; False: not in time."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if await self._synced(min(PATIENCE, end - time.monotonic())):
                return True
            await self.pause(0.1)
        return False

    # -- inside

    async def _call(self, op: str, ask: Callable[[], Any], result: Callable[[Any], Dict[str, Any]], **arguments: Any) -> Any:
        number = next(self._numbers)
        self.history.write("invoke", n=number, op=op, **arguments)
        try:
            found = await self.attempt(op, ask, arguments)
        except ZookeeperError as error:
            self.failed(number, op, arguments, error)
            raise
        fields = result(found)
        self.newest = max(self.newest, *(fields.get(name, 0) for name in ("mzxid", "pzxid", "czxid")))
        self.history.write("ok", n=number, op=op, **fields)
        return found if op != "get" else (found[0].decode(), found[1])

    async def attempt(self, op: str, ask: Callable[[], Any], arguments: Dict[str, Any]) -> Any:
        """Do a call."""
        return await self.front.done(ask())

    def failed(self, number: int, op: str, arguments: Dict[str, Any], error: ZookeeperError) -> None:
        """A call has ended with this error."""
        kind = "maybe" if error.maybe_applied and op not in READS else "fail"
        self.history.write(kind, n=number, op=op, error=type(error).__name__)

    async def _synced(self, seconds: float) -> bool:
        told, outcome = threading.Event(), []

        def then(future: Any) -> None:  # called behind the watchers of all events that came before the answer
            outcome.append(future.exception() is None)
            told.set()

        try:
            self.zk.submit(Sync("/"), then)
        except ZookeeperError:
            return False  # the client knows at once that there is no connection
        end = time.monotonic() + seconds
        while not told.is_set() and time.monotonic() < end:
            await self.pause(0.02)
        return bool(outcome and outcome[0])


def _stat(stat: Stat) -> Dict[str, Any]:
    return {"mzxid": stat.mzxid, "czxid": stat.czxid, "version": stat.version, "owner": stat.ephemeralOwner}


def _of_get(found: Any) -> Dict[str, Any]:
    return {"value": found[0].decode(), **_stat(found[1])}


def _of_exists(found: Any) -> Dict[str, Any]:
    return {"there": found is not None, **(_stat(found) if found else {})}


def _of_children(found: Any) -> Dict[str, Any]:
    return {"names": sorted(found[0]), "pzxid": found[1].pzxid}


def _of_set(found: Any) -> Dict[str, Any]:
    return _stat(found)


def _of_create(found: Any) -> Dict[str, Any]:
    return {"path": found[0], **_stat(found[1])}


def _of_multi(found: Any) -> Dict[str, Any]:
    return {"mzxid": max(stat.mzxid for stat in found if isinstance(stat, Stat))}


def _of_nothing(found: Any) -> Dict[str, Any]:
    return {}
