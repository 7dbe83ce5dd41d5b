"""Running a coroutine as a test: a loop in debug mode, and a failure for every task or error that is left behind."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import warnings
from typing import Any, Awaitable, Callable, Coroutine, Dict, List, Optional

from zkwire import AsyncZooKeeper, WatchedEvent
from zkwire.errors import ZookeeperError


def run(main: Coroutine[Any, Any, Any], *, debug: bool = True) -> Any:
    """`asyncio.run`, which fails for unhandled exceptions, forgotten results, warnings, tasks that outlive it."""
    problems: List[str] = []

    def complain(loop: asyncio.AbstractEventLoop, context: Dict[str, Any]) -> None:
        problems.append(f"{context.get('message')}: {context.get('exception')!r} in {context}")

    async def guarded() -> Any:
        asyncio.get_running_loop().set_exception_handler(complain)
        result = await main
        for _ in range(20):  # what was cancelled may need a turn or two
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            if not left:
                break
            await asyncio.sleep(0)
        problems.extend(f"outlives the test: {task}" for task in left)
        return result

    gc.collect()
    # Slow callbacks are reported by debug mode; on a busy machine everything is slow.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = asyncio.run(guarded(), debug=debug)
        gc.collect()
    problems += [f"{w.category.__name__}: {w.message}" for w in caught if w.category is not DeprecationWarning]
    assert not problems, "\n".join(problems)
    return result


def aio(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine function as a plain test."""

    @functools.wraps(test)
    def plain(*args: Any, **fixtures: Any) -> None:
        run(test(*args, **fixtures))

    return plain


async def eventually(probe: Callable[[], Awaitable[Any]], timeout: float = 8.0) -> Any:
    """The first true answer of `probe`; errors of ZooKeeper count as no."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    answer: Any = None
    while loop.time() < deadline:
        try:
            answer = await probe()
        except ZookeeperError as error:
            answer, trouble = None, error
        else:
            trouble = None
        if answer:
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {timeout} s; last: {answer!r} {trouble!r}")


class Log:
    """A watcher, listener or observer that keeps what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.seen: List[Any] = []
        self._waiting: Optional[asyncio.Future[None]] = None

    def __call__(self, what: Any) -> None:
        self.seen.append(what)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def until(self, condition: Callable[[List[Any]], Any], timeout: float = 8.0) -> List[Any]:
        """Wait until `condition(seen)`; what was seen."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while not condition(self.seen):
            self._waiting = loop.create_future()
            await asyncio.wait([self._waiting], timeout=max(0.0, deadline - loop.time()))
            assert self._waiting.done() or condition(self.seen), f"in vain; seen: {self.seen}"
        return self.seen

    async def count(self, number: int, timeout: float = 8.0) -> List[Any]:
        """Wait until so many have come."""
        return await self.until(lambda seen: len(seen) >= number, timeout)

    @property
    def events(self) -> List[Any]:
        """Types and paths of `WatchedEvent`s."""
        return [(event.type, event.path) for event in self.seen]


async def until_state(zk: AsyncZooKeeper, state: str, timeout: float = 10.0) -> None:
    """Wait until the client is in this state."""
    log = Log()
    zk.add_listener(log)
    try:
        if zk.state != state:
            await log.until(lambda seen: zk.state == state, timeout)
    finally:
        zk.remove_listener(log)


__all__ = ["Log", "WatchedEvent", "aio", "eventually", "run", "until_state"]
