"""The conversation on each front: the two ways to wait, and nothing else that differs.

Owns how a step is done by `AsyncZooKeeper` and by `ZooKeeper`. Must not know what is said or cut. A call that gets no
answer in time raises `Hang`.
"""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import Any, Callable, Dict, List

from tests.kit.dispatched import dispatched
from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.errors import OperationTimeoutError, ZookeeperError
from zkwire.values import KazooState

from .conversation import APPLIED, AUTH, Ask, Record, Step, conversation
from .server import SweepServer

#: No call takes longer, in seconds: what is under way fails with its connection, what waits has a session timeout.
LIMIT = 15.0
#: What close() promises, and what a busy machine adds.
CLOSING = 5.0 + 1.0


class Hang(Exception):
    """A call that never ended."""


def _options(timeout: float) -> Dict[str, Any]:
    return {"timeout": timeout, "auth_data": [AUTH]}


def _listen(zk: Any, record: Record) -> Callable[[str], None]:
    def listener(state: str) -> None:
        record.states.append(state)
        if state == KazooState.CONNECTED:
            record.sessions.append(zk.client_id)

    return listener


def _finished(server: SweepServer, record: Record) -> None:
    """The conversation is over but for its end: now is the time to look at the tree."""
    tree = server.core.data.tree
    record.applied = [count(tree) for count in APPLIED]


# --------------------------------------------------------------------------------- asyncio


async def asyncio_front(server: SweepServer, timeout: float) -> Record:
    """The conversation by `AsyncZooKeeper`."""
    record = Record()
    zk = AsyncZooKeeper(server.hosts, **_options(timeout))
    zk.add_listener(_listen(zk, record))
    try:
        await _within(zk.start(LIMIT), "start()")
        steps = conversation(record)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            answer = await _do(zk, server, step)
        _finished(server, record)
    finally:
        began = monotonic()
        await _within(zk.close(), "close()")
        record.closing = monotonic() - began
    return record


async def _within(call: Any, what: str) -> Any:
    try:
        return await asyncio.wait_for(call, LIMIT)
    except asyncio.TimeoutError as error:
        raise Hang(f"{what} did not end") from error


async def _do(zk: AsyncZooKeeper, server: SweepServer, step: Step) -> List[Any]:
    if not isinstance(step, Ask):
        server.change(step.ops)
        return []
    if len(step.ops) == 1:
        try:
            return [await _within(zk.run(step.ops[0]), repr(step.ops[0]))]
        except ZookeeperError as error:
            return [error]
    futures = [zk.submit(op) for op in step.ops]
    _, pending = await asyncio.wait(futures, timeout=LIMIT)
    if pending:
        raise Hang(f"{len(pending)} of {step.ops} have no outcome")
    return [future.exception() or future.result() for future in futures]


# --------------------------------------------------------------------------------- threads


async def threads_front(server: SweepServer, timeout: float) -> Record:
    """The conversation by `ZooKeeper`, on a thread of its own; the server stays on the event loop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Record] = loop.create_future()

    def settle(record: Any) -> None:
        if not done.done():
            if isinstance(record, Record):
                done.set_result(record)
            else:
                done.set_exception(record)

    def change(ops: Any) -> None:
        made = threading.Event()
        failed: List[BaseException] = []

        def make() -> None:
            try:
                server.change(ops)
            except BaseException as error:
                failed.append(error)
            made.set()

        loop.call_soon_threadsafe(make)
        if not made.wait(LIMIT) or failed:
            raise failed[0] if failed else Hang("the server's event loop stands still")

    def work() -> None:
        try:
            outcome: Any = _converse(server, timeout, change)
        except BaseException as error:
            outcome = error
        try:
            loop.call_soon_threadsafe(settle, outcome)
        except RuntimeError:
            pass  # the loop is closed: it had given this point up as a hang

    threading.Thread(target=work, daemon=True, name="sweep").start()
    return await done


def _converse(server: SweepServer, timeout: float, change: Callable[[Any], None]) -> Record:
    record = Record()
    zk = ZooKeeper(server.hosts, **_options(timeout))
    zk.add_listener(_listen(zk, record))
    try:
        zk.start(LIMIT)
        steps = conversation(record)
        answer: Any = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            answer = _wait(zk, step) if isinstance(step, Ask) else change(step.ops)
        _finished(server, record)
    finally:
        began = monotonic()
        zk.close()
        record.closing = monotonic() - began
    return record


def _wait(zk: ZooKeeper, step: Ask) -> List[Any]:
    if len(step.ops) == 1:
        calls: List[Callable[[], Any]] = [lambda: zk.run(step.ops[0], timeout=LIMIT)]
    else:
        futures = [zk.submit(op) for op in step.ops]
        calls = [lambda future=future: future.result(LIMIT) for future in futures]  # type: ignore[misc]
    outcomes: List[Any] = []
    for op, call in zip(step.ops, calls):
        try:
            outcomes.append(call())
        except OperationTimeoutError as error:
            raise Hang(f"{op!r} has no outcome") from error
        except ZookeeperError as error:
            outcomes.append(error)
    if not dispatched(zk, LIMIT):  # what was heard counts as of now: it was queued before the last outcome
        raise Hang("the dispatch thread stands still")
    return outcomes


FRONTS = {"threads": threads_front, "asyncio": asyncio_front}
