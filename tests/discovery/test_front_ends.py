"""What the fronts leave behind at an end: of a call, an iteration, an instancer, a client, a session.

Found by simulation, once it ran the fronts as well. The ZooKeeper below does nothing by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Coroutine, List, Tuple

import pytest

from zkdisco.aio import Client, Instancer, Registrar
from zkdisco.values import Event, Service
from zkwire import errors
from zkwire.ops import AddWatch, Create, Delete, GetData, RemoveWatches
from zkwire.values import Stat


class Below:
    """An asyncio client of ZooKeeper whose answers and states are given by the test."""

    def __init__(self, connected: bool = True) -> None:
        self.listeners: List[Callable[[str], object]] = []
        self.asked: List[Tuple[Any, asyncio.Future[Any]]] = []
        self.client_id = (7, b"")
        self.become("CONNECTED" if connected else "SUSPENDED", "CONNECTED" if connected else "CONNECTING")

    def become(self, state: str, client_state: str) -> None:
        self.state, self.client_state, self.connected = state, client_state, state == "CONNECTED"
        for listener in list(self.listeners):
            listener(state)

    def add_listener(self, listener: Callable[[str], object]) -> None:
        self.listeners.append(listener)

    def remove_listener(self, listener: Callable[[str], object]) -> None:
        self.listeners = [other for other in self.listeners if other != listener]

    def future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def submit(self, op: Any, then: Any = None, *, force: bool = False) -> asyncio.Future[Any]:
        if self.client_state == "CLOSED":
            raise errors.ConnectionClosedError("the client is closed")
        future = self.future()
        if then is not None:
            future.add_done_callback(then)
        self.asked.append((op, future))
        return future

    def of(self, kind: Any) -> List[Any]:
        return [op for op, _ in self.asked if isinstance(op, kind)]


async def turns(number: int = 10) -> None:
    """Let everything happen that is ready to."""
    for _ in range(number):
        await asyncio.sleep(0)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_an_instancer_that_stops_without_a_connection_takes_its_watch_back_from_the_client() -> None:
    """It was set again on the next connection, and stayed there as long as the session."""

    async def main() -> None:
        zk = Below()
        instancer = Instancer(Client(zk=zk), "/org/api", wait=0)
        await instancer.start()
        await turns()
        (asked,) = zk.of(AddWatch)
        zk.become("SUSPENDED", "CONNECTING")
        await instancer.stop()
        await turns()
        (op,) = zk.of(RemoveWatches)
        assert op.local and op.watcher == asked.watch

    run(main)


def test_a_watch_whose_removal_fails_is_taken_back_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The removal was lost with its connection, and the watch was set again on the next one; or it was throttled."""
    monkeypatch.setattr("zkdisco.following.AGAIN", 0.0)

    async def main() -> None:
        zk = Below()
        instancer = Instancer(Client(zk=zk), "/org/api", wait=0)
        await instancer.start()
        await turns()
        await instancer.stop()
        await turns()
        op, future = zk.asked[-1]
        assert isinstance(op, RemoveWatches) and not op.local
        future.set_exception(errors.ThrottledOpError("later"))
        await turns()
        zk.become("SUSPENDED", "CONNECTING")
        zk.asked[-1][1].set_exception(errors.ConnectionLoss("no answer"))
        await turns()
        assert [op.local for op in zk.of(RemoveWatches)] == [False, False, True]
        zk.asked[-1][1].set_exception(errors.NoWatcherError("no such watch"))
        await turns()
        assert len(zk.of(RemoveWatches)) == 3

    run(main)


def test_a_registrar_whose_register_has_timed_out_names_the_cause_of_the_end() -> None:
    """Nothing was wanted any more, so that its core heard nothing: for ever it said that there was no connection."""

    async def main() -> None:
        zk = Below(connected=False)
        client = Client(zk=zk)
        registrar = Registrar(client, Service("/org", "api", b"one"))
        client._end_watch.start()  # as `start` does with a client of zkwire
        registrar._core.error = errors.ConnectionLoss("no connection")
        zk.become("LOST", "CLOSED")
        await turns()
        assert isinstance(registrar.error, errors.ConnectionClosedError)

    run(main)


def test_a_client_that_has_stopped_in_doubt_is_at_rest_once_the_session_is_over_for_good() -> None:
    """What was left to be done in the background never heard of the end: its listener, and its thread, stayed for ever."""

    async def main() -> None:
        zk = Below()
        client = Client(zk=zk, session_timeout=1.0, connect_timeout=1.0)
        client._end_watch.start()  # as `start` does with a client of zkwire
        waiting = asyncio.ensure_future(client.register(Service("/org", "api", b"one")))
        await turns()
        _, create = zk.asked[-1]
        create.set_exception(errors.ConnectionLoss("no answer"))  # it may have been done
        zk.become("SUSPENDED", "CONNECTING")
        await turns()
        stopping = asyncio.ensure_future(client.stop())
        await turns()
        assert zk.listeners and not stopping.done()
        stopping.cancel()
        zk.become("LOST", "CLOSED")
        await turns()
        assert zk.listeners == [] and not client._running
        await asyncio.wait([waiting])
        assert waiting.exception() is not None

    run(main)


def test_a_start_cancelled_at_the_moment_of_success_leaves_no_instancer_behind() -> None:
    """Nobody held it, and it went on watching until the client was stopped."""

    async def main() -> None:
        client = Client(zk=Below())
        alone = Instancer(client, "/org/api")
        starting = asyncio.ensure_future(alone.start())
        await turns()
        alone._following.first.set_result(None)
        starting.cancel()
        await turns()
        assert starting.cancelled() and alone._following.stopped is not None and client._children == []

        held = Instancer(client, "/org/api")
        one, other = asyncio.ensure_future(held.start()), asyncio.ensure_future(held.start())
        await turns()
        held._following.first.set_result(None)
        other.cancel()
        await turns()
        assert one.done() and not one.cancelled() and other.cancelled() and held._following.stopped is None

    run(main)


def test_an_iteration_that_is_busy_at_the_end_hears_the_cause() -> None:
    """The last event came by a task, behind the word that it was the last: the iteration ended without it."""

    async def main() -> None:
        instancer = Instancer(Client(zk=Below()), "/org/api")
        starting = asyncio.ensure_future(instancer.start())
        await turns()
        instancer._observers.publish(Event(("one",)))
        instancer._following.first.set_result(None)
        await starting
        iteration = instancer.__aiter__()
        assert await iteration.__anext__() == Event(("one",))
        instancer._core.ended(errors.ConnectionClosedError("the client is closed"), 0.0)
        instancer._publish()
        event = await iteration.__anext__()  # in the same turn of the loop
        assert isinstance(event.error, errors.ConnectionClosedError)
        assert [event async for event in iteration] == []

    run(main)


def test_a_register_by_service_cancelled_at_the_moment_of_success_leaves_nothing() -> None:
    """Only a registrar's did."""

    async def main(after: int) -> bool:
        zk = Below()
        task = asyncio.ensure_future(Client(zk=zk).register(Service("/org", "api", b"one")))
        await turns()
        create, made = zk.asked[-1]
        assert isinstance(create, Create)
        made.set_result(f"{create.path}0000000000")
        await turns(2)
        look, seen = zk.asked[-1]
        assert isinstance(look, GetData)
        seen.set_result((b"one", Stat(*[0] * 7, 7, 3, 0, 0)))
        await turns(after)
        task.cancel()
        await turns()
        assert task.cancelled() == (len(zk.of(Delete)) == 1)
        return task.cancelled()

    assert {asyncio.run(main(after)) for after in range(8)} == {True, False}


def test_of_registrations_that_have_failed_nothing_is_kept() -> None:
    """By service and by registrar: a process that tries again and again, for ever other services, does not grow."""

    async def main() -> None:
        zk = Below()
        client = Client(zk=zk)
        for number in range(3):
            service = Service("/org", "api", b"%d" % number)
            calls = [client.register(service), Registrar(client, service).register()]
            tasks = [asyncio.ensure_future(call) for call in calls]
            await turns()
            assert len(client._holders) == 2
            for _, create in zk.asked[-2:]:
                create.set_exception(errors.NoAuthError("not permitted"))
            await turns(20)
            assert all(isinstance(task.exception(), errors.NoAuthError) for task in tasks)
            assert client._holders == {}

    run(main)
