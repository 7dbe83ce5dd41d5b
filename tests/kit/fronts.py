"""One scenario for both fronts: plain blocking code that runs on `ZooKeeper`, or on `AsyncZooKeeper` on a loop's thread.

Owns what a scenario is given (the fixture `front`: clients, servers, proxies) and the oracle every scenario ends with:
no call unresolved, nothing raised where nobody looks, no thread, descriptor or task left behind. Must not know what is
tested.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import logging
import os
import struct
import threading
import time
from collections import defaultdict
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

import pytest

import zkdisco
from tests.kit.dispatched import dispatched
from tests.kit.harness.proxy import FaultProxy
from tests.kit.hostile import Scripted
from tests.kit.tls import Relay
from zkwire import AsyncZooKeeper, WatchedEvent, ZooKeeper
from zkwire.embedded import EmbeddedEnsemble, EmbeddedServer
from zkwire.verbs import Transaction

#: Seconds for anything that should happen; only a failing test waits so long.
PATIENCE = 10.0
#: What a busy machine may add to a deadline, in seconds.
SLACK = 0.4
#: Session timeouts, in seconds: where a silence is to be noticed soon, and where nobody is to be in doubt.
BRISK, PATIENT = 1.0, 9.0


class Log:
    """A watcher, listener or observer, called on any thread; keeps what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.seen: List[Any] = []
        self._changed = threading.Condition()

    def __call__(self, what: Any) -> None:
        with self._changed:
            self.seen.append(what)
            self._changed.notify_all()

    def until(self, condition: Callable[[List[Any]], Any], timeout: float = PATIENCE) -> List[Any]:
        """Wait until something was seen and `condition(seen)`; what was seen."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.seen and condition(self.seen), timeout)
            assert done, f"in vain; seen: {self.seen}"
            return list(self.seen)

    def wait(self, count: int = 1, timeout: float = PATIENCE) -> List[Any]:
        """Wait until so many have come."""
        return self.until(lambda seen: len(seen) >= count, timeout) if count else list(self.seen)

    @property
    def events(self) -> List[Any]:
        """Types and paths of `WatchedEvent`s."""
        return [(e.type, e.path) for e in self.seen if isinstance(e, WatchedEvent)]


def until(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Wait for something that nobody tells of; its first true value."""
    end, pause = time.monotonic() + timeout, threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout} s"
        pause.wait(0.005)


class Requests:
    """The tap of a proxy: what clients ask of the server, by connection."""

    def __init__(self) -> None:
        self._bytes: Dict[int, bytes] = defaultdict(bytes)

    def __call__(self, direction: str, connection: int, data: bytes) -> None:
        if direction == "up":
            self._bytes[connection] += data

    def of(self, connection: int) -> List[bytes]:
        """The bodies of all requests of a connection so far, its handshake excluded."""
        data, bodies = self._bytes[connection], []
        while len(data) >= 4 and len(data) >= 4 + struct.unpack_from(">i", data)[0]:
            end = 4 + struct.unpack_from(">i", data)[0]
            bodies.append(data[4:end])
            data = data[end:]
        return bodies[1:]

    def opcodes(self, connection: int) -> List[int]:
        """Their opcodes, pings excluded."""
        codes = [struct.unpack_from(">i", body, 4)[0] for body in self.of(connection)]
        return [code for code in codes if code != 11]

    @property
    def presented(self) -> List[int]:
        """The session each connection has asked for, in their order; 0 is none."""
        return [struct.unpack_from(">q", data, 20)[0] for _, data in sorted(self._bytes.items())]

    @property
    def total(self) -> int:
        """How many there were of all kinds, on all connections."""
        return sum(len(self.opcodes(connection)) for connection in list(self._bytes))

    def count(self, opcode: int) -> int:
        """How many of a kind there were, on all connections."""
        return sum(self.opcodes(connection).count(opcode) for connection in list(self._bytes))


class Mirror(concurrent.futures.Future):  # type: ignore[type-arg]
    """An asyncio future of another thread's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        super().__init__()
        self._cancel = lambda: loop.call_soon_threadsafe(future.cancel)
        future.add_done_callback(self._copy)

    def _copy(self, future: asyncio.Future[Any]) -> None:
        if future.cancelled():
            super().cancel()
        elif future.exception() is not None:
            self.set_exception(future.exception())
        else:
            self.set_result(future.result())

    def cancel(self) -> bool:
        self._cancel()
        return True


class Loop:
    """An event loop on a thread of its own, in debug mode, and all that is said about tasks nobody looked after."""

    def __init__(self) -> None:
        self.problems: List[str] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(True)
        self.loop.slow_callback_duration = 60  # on a busy machine everything is slow
        self.loop.set_exception_handler(
            lambda loop, context: self.problems.append(f"{context.get('message')}: {context.get('exception')!r}")
        )
        self.thread = threading.Thread(target=self.loop.run_forever, name="front", daemon=True)
        self.thread.start()

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call it on the loop: what a coroutine returns is waited for, a future is mirrored."""
        assert threading.current_thread() is not self.thread, "a blocking call on the event loop"

        async def run() -> Any:
            result = function(*arguments, **options)
            if inspect.iscoroutine(result):
                return await result
            return Mirror(self.loop, result) if asyncio.isfuture(result) else result

        result = asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)
        return Driven(self, result) if isinstance(result, Transaction) else result

    def close(self) -> None:
        async def left() -> List[Any]:
            for _ in range(20):  # what was cancelled may need a turn or two
                others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
                if not others:
                    break
                await asyncio.sleep(0)
            return others

        self.problems += [f"outlives the test: {task}" for task in self.call(left)]
        gc.collect()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


class Driven:
    """An object that lives on a loop, used from outside as if it were its blocking twin."""

    def __init__(self, loop: Loop, real: Any) -> None:
        self.loop, self.real = loop, real

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.real, name)
        if not callable(value):
            return value
        return lambda *arguments, **options: self.loop.call(value, *arguments, **options)


def real(thing: Any) -> Any:
    """The client itself, for a look inside."""
    return thing.real if isinstance(thing, Driven) else thing


def eager(zk: Any) -> Any:
    """The client, which from now on makes no random pause after a loss."""
    real(zk)._session._hosts._random = lambda: 0.0
    return zk


def listeners(zk: Any) -> Tuple[Any, ...]:
    """The listeners a client has: no public name tells."""
    found: Tuple[Any, ...] = tuple(real(zk)._listeners._all.values())
    return found


def told(zk: Any) -> Log:
    """A log of the states the client's listeners hear."""
    log = Log()
    zk.add_listener(log)
    return log


def settled(zk: Any) -> Any:
    """Returns the client, once all that was queued for the user's code so far has run: watchers, listeners, callbacks.

    On the blocking front, events are queued before the result that shows them is settled, and their watchers run on the
    dispatch thread, in this order.
    """
    if isinstance(zk, Driven):
        zk.loop.call(_handed_out, zk.real)
    else:
        assert dispatched(zk, PATIENCE), "the dispatch thread stands still"
    return zk


async def _handed_out(zk: Any) -> None:
    """Wait until the event loop has delivered all events and outcomes: no public name tells."""
    end = time.monotonic() + PATIENCE
    while zk._driver._undelivered:
        assert time.monotonic() < end, "events or outcomes are not delivered"
        await asyncio.sleep(0)


class Front:
    """What a scenario is given. Whatever it makes is closed at the end, clients first."""

    def __init__(self, name: str, timeout: float = BRISK) -> None:
        self.name = name
        #: The session timeout of its clients, in seconds.
        self.timeout = timeout
        #: What a test has seen to: it says so by clearing this.
        self.complaints: List[str] = []
        self.loop = Loop() if self.is_asyncio else None
        self._clients: List[Any] = []
        self._discos: List[Any] = []
        self._stack = contextlib.ExitStack()

    @property
    def is_asyncio(self) -> bool:
        return self.name == "asyncio"

    def _make(self, blocking: Callable[..., Any], awaited: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if self.loop is None:
            return blocking(*args, **options)
        return Driven(self.loop, self.loop.call(awaited, *[real(arg) for arg in args], **options))

    # -- clients

    def new(self, hosts: str, **options: Any) -> Any:
        """A client that is not started."""
        zk = self._make(ZooKeeper, AsyncZooKeeper, hosts, **options)
        self._clients.append(zk)
        return zk

    def client(self, hosts: str, **options: Any) -> Any:
        """A client with a session, of which nobody is still to be told; `timeout` is as the front's if not given."""
        options.setdefault("timeout", self.timeout)
        zk = self.new(hosts, **options)
        zk.start()
        return settled(zk)

    def submit(self, zk: Any, ops: Iterable[Any]) -> List[Any]:
        """Many operations at once; a future for each."""
        if self.loop is None:
            return [zk.submit(op) for op in ops]
        client, loop = real(zk), self.loop.loop
        futures: List[Any] = self.loop.call(lambda: [Mirror(loop, client.submit(op)) for op in ops])
        return futures

    def disco(self, servers: Any = None, **options: Any) -> Any:
        """A client of discovery, started."""
        if self.loop is not None:
            from zkdisco import aio

            if "zk" in options:
                options["zk"] = real(options["zk"])
            client = Driven(self.loop, self.loop.call(aio.Client, servers, **options))
            self._discos.append(client)
            client.start()
        else:
            client = zkdisco.Client(servers, **options)
            self._discos.append(client)
        return client

    def registrar(self, client: Any, service: zkdisco.Service, **options: Any) -> Any:
        """A registrar of this client."""
        from zkdisco import aio

        return self._make(zkdisco.Registrar, aio.Registrar, client, service, **options)

    def instancer(self, client: Any, path: str, **options: Any) -> Any:
        """An instancer of this client, with its first set."""
        if self.loop is None:
            return zkdisco.Instancer(client, path, **options)
        from zkdisco import aio

        begin = {name: options.pop(name) for name in ("timeout",) if name in options}
        instancer = Driven(self.loop, self.loop.call(aio.Instancer, real(client), path, **options))
        instancer.start(**begin)
        return instancer

    def catalog(self, client: Any, path: str, **options: Any) -> Any:
        """A catalog of this client, with its first sets."""
        if self.loop is None:
            return zkdisco.Catalog(client, path, **options)
        from zkdisco import aio

        begin = {name: options.pop(name) for name in ("timeout",) if name in options}
        catalog = Driven(self.loop, self.loop.call(aio.Catalog, real(client), path, **options))
        catalog.start(**begin)
        return catalog

    # -- the other side

    def server(self, **settings: Any) -> EmbeddedServer:
        """An embedded server, whose sessions end punctually."""
        settings.setdefault("tick", 0.05)
        return self._stack.enter_context(EmbeddedServer(**settings))

    def ensemble(self, size: int = 3, **settings: Any) -> EmbeddedEnsemble:
        """An embedded ensemble, whose sessions end punctually, and whose elections are short."""
        settings.setdefault("tick", 0.05)
        settings.setdefault("election_time", 0.05)
        return self._stack.enter_context(EmbeddedEnsemble(size, **settings))

    def proxy(self, server: Any, **options: Any) -> FaultProxy:
        """A proxy before a server."""
        return self._stack.enter_context(FaultProxy("127.0.0.1", server.port, **options))

    def relay(self, server: Any, *context: Any) -> Relay:
        """TLS before a server."""
        return self._stack.enter_context(Relay(server.port, *context))

    def scripted(self) -> Scripted:
        """A server that says what the test wants."""
        return self._stack.enter_context(Scripted())

    # -- the end

    def close(self) -> None:
        """Close everything, and see that it was closed."""
        with self._stack:
            for client in reversed(self._discos):
                client.stop()
            for zk in reversed(self._clients):
                began = time.monotonic()
                zk.close()
                assert time.monotonic() - began < 6.0, "close() took too long"
                assert real(zk)._session.pending == 0, "calls are left unresolved"
        if self.loop is not None:
            self.loop.close()
            self.complaints += self.loop.problems


class _Errors(logging.Handler):
    """Errors that are only logged: those of user code, and our own."""

    def __init__(self, complaints: List[str]) -> None:
        super().__init__(logging.ERROR)
        self._complaints = complaints

    def emit(self, record: logging.LogRecord) -> None:
        self._complaints.append(record.getMessage())


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.fixture(params=["threads", "asyncio"])
def front(request: pytest.FixtureRequest) -> Iterator[Front]:
    """The scenario's tools, once for each front; afterwards, the oracle."""
    gc.collect()
    threads, descriptors = set(threading.enumerate()), _descriptors()
    # A real server may be slow to answer where other tests start theirs: no test is about that.
    one = Front(request.param, PATIENT if request.node.get_closest_marker("live") else BRISK)
    handler = _Errors(one.complaints)
    logging.getLogger().addHandler(handler)
    try:
        yield one
        one.close()
    finally:
        logging.getLogger().removeHandler(handler)
        if one.loop is not None and one.loop.thread.is_alive():
            one.close()  # the scenario failed: that is what counts
    assert not one.complaints, "\n".join(one.complaints)
    until(lambda: set(threading.enumerate()) <= threads, 5)
    until(lambda: _descriptors() <= descriptors, 5)


__all__ = ["Driven", "Front", "Log", "Requests", "front", "real", "settled", "until"]
