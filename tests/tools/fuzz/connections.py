"""Whole connections over real sockets: hostile servers against both fronts, hostile clients against the embedded server.

Owns how one batch goes: so many hostile connections, then a good conversation on the same client, loop or server. Must
not know how bytes are spoiled.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import socket
import struct
import sys
import threading
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from zkwire import AsyncZooKeeper, ZooKeeper
from zkwire.embedded import EmbeddedServer
from zkwire.errors import OperationTimeoutError, UnimplementedError, ZookeeperError
from zkwire.ops import AddWatch, Create, Exists, GetChildren, GetChildren2, GetData, Multi, SetData, Sync
from zkwire.values import KeeperState

from .corpus import load
from .hostile_server import HostileServer
from .spoil import noise, spoil_frames
from .target import MAX_FRAME

#: No call, no conversation and no connection takes longer, in seconds.
LIMIT = 20.0
CLIENTS = {"asyncio": 16, "threads": 8}
#: Sessions of victims are short, in seconds, so that they come back soon.
TIMEOUT = 0.6
#: Clients in these states are of no use any more.
OVER = (KeeperState.AUTH_FAILED, KeeperState.CLOSED)
#: What all connections of a process together may take, in bytes, besides what it took before.
GROWTH = 64 * 1024 * 1024


class Batch(NamedTuple):
    """So many connections, all from one seed."""

    side: str  # whose victim: "asyncio", "threads", "embedded"
    number: int
    count: int


class Result(NamedTuple):
    """How many connections there were, and what went wrong."""

    connections: int
    failures: List[str]


class _Complaints(logging.Handler):
    """What the library logs as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


def run(work: Tuple[Batch, int]) -> Result:
    """Run a batch."""
    batch, seed = work
    load()
    before = _memory()
    complaints = _Complaints()
    logger, hook = logging.getLogger("zkwire"), threading.excepthook
    threading.excepthook = lambda args: complaints.texts.append(f"in a thread: {args.exc_value!r}")
    logger.addHandler(complaints)
    try:
        result = _SIDES[batch.side](batch, zlib.crc32(batch.side.encode()) + (seed << 20) + batch.number)
    except Exception as error:
        result = Result(batch.count, [f"{type(error).__name__}: {error}"])
    finally:
        logger.removeHandler(complaints)
        threading.excepthook = hook
    if _memory() - before > GROWTH:
        complaints.texts.append(f"{_memory() - before} bytes of memory")
    again = f"\n  python -m tests.tools.fuzz --seed {seed} --only {batch.side}:{batch.number}:{batch.count}"
    return Result(result.connections, [text + again for text in result.failures + complaints.texts])


def _memory() -> int:
    """The most this process has ever taken, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ------------------------------------------------------------------- clients as victims


def _options(rng: random.Random) -> Dict[str, Any]:
    """A client of some kind."""
    options: Dict[str, Any] = {"timeout": TIMEOUT, "connect_timeout": 0.5, "max_frame": MAX_FRAME}
    options["auth_data"] = [("digest", "user:secret")] * (rng.random() < 0.3)
    options["read_only"] = rng.random() < 0.3
    if rng.random() < 0.2:
        options["sasl"] = ("bob", "x")
    return options


def _operations(rng: random.Random, heard: Callable[[Any], None]) -> List[Any]:
    """Some calls, of which a hostile server may make anything."""
    return [
        GetData("/a", heard), Exists("/x", heard), GetChildren("/c", heard), GetChildren2("/c"), Sync("/a"),
        SetData("/b", b"x" * rng.randrange(200)), Create("/c/e-", sequence=True), AddWatch("/c", heard, True),
        Multi((SetData("/a", b""), Create("/c/f-", sequence=True))),
    ]  # fmt: skip


def _fits(outcome: Any) -> str:
    """What is wrong with an outcome, if anything is."""
    if isinstance(outcome, OperationTimeoutError):
        return f"a call that hung: {outcome}"
    if isinstance(outcome, BaseException) and not isinstance(outcome, ZookeeperError):
        return f"{type(outcome).__name__} escaped: {outcome}"
    return ""


async def _attacked(batch: Batch, seed: int) -> Result:
    server = HostileServer(seed)
    await server.start()
    failures: List[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(str(context)))
    victim = _asyncio_victim if batch.side == "asyncio" else _threads_victim
    count = min(CLIENTS[batch.side], batch.count)
    victims = [asyncio.ensure_future(victim(server, random.Random(seed * 1000 + i), failures)) for i in range(count)]
    try:
        while server.connections < batch.count and not all(one.done() for one in victims):
            await asyncio.sleep(0.005)
        connections = server.connections
        server.behave()
        _, hung = await asyncio.wait(victims, timeout=3 * LIMIT)
        failures += [f"{len(hung)} clients hang"] * bool(hung)
        failures += [f"{one.exception()!r}" for one in victims if one.done() and one.exception() is not None]
    finally:
        await server.stop()
    said = [data.hex() for data in server.last]
    return Result(connections, [f"{text}\n  said last: {said}" for text in failures])


async def _asyncio_victim(server: HostileServer, rng: random.Random, failures: List[str]) -> None:
    """A client that goes on calling while it is lied to, and then must work again."""

    options = _options(rng)

    def new() -> AsyncZooKeeper:
        return AsyncZooKeeper(server.hosts, **options)

    events: List[Any] = []
    zk: Optional[AsyncZooKeeper] = None
    while server.hostile:
        zk = zk or new()
        try:
            await zk.start(LIMIT)
            calls = [zk.run(op, timeout=LIMIT) for op in rng.sample(_operations(rng, events.append), 4)]
            outcomes: List[Any] = await asyncio.gather(*calls, return_exceptions=True)
        except Exception as error:
            outcomes = [error]
        failures += [text for text in map(_fits, outcomes) if text]
        if zk.client_state in OVER:  # for ever, as the server has said
            await zk.close()
            zk = None
    zk = zk or new()
    for attempt in range(3):  # what was under way when the server changed its mind may be lost
        try:
            await zk.start(LIMIT)
            await zk.create("/c/g-", b"good", sequence=True, timeout=LIMIT)
            assert (await zk.get("/c/d", timeout=LIMIT))[0] == b"1"
            break
        except ZookeeperError as error:
            if zk.client_state in OVER or isinstance(error, UnimplementedError):  # which it believes of this server
                await zk.close()
                zk = new()
            elif attempt == 2:
                failures.append(f"no good conversation afterwards: {error!r}")
    await zk.close()


async def _threads_victim(server: HostileServer, rng: random.Random, failures: List[str]) -> None:
    """The same with the blocking front, on a thread of its own."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def work() -> None:
        try:
            _blocking_victim(server, rng, failures)
        except BaseException as error:
            failures.append(f"{type(error).__name__} escaped: {error}")
        try:
            loop.call_soon_threadsafe(done.set_result, None)
        except RuntimeError:
            pass  # the loop has given this client up as hanging

    threading.Thread(target=work, daemon=True, name="victim").start()
    await done


def _blocking_victim(server: HostileServer, rng: random.Random, failures: List[str]) -> None:
    options = _options(rng)

    def new() -> ZooKeeper:
        return ZooKeeper(server.hosts, **options)

    events: List[Any] = []
    zk: Optional[ZooKeeper] = None
    while server.hostile:
        zk = zk or new()
        try:
            zk.start(LIMIT)
            first, *rest = rng.sample(_operations(rng, events.append), 4)
            futures = [zk.submit(op) for op in rest]
            outcomes: List[Any] = [_call(lambda zk=zk, op=first: zk.run(op, timeout=LIMIT))]
            outcomes += [_call(lambda future=future: future.result(LIMIT)) for future in futures]
        except Exception as error:
            outcomes = [error]
        failures += [text for text in map(_fits, outcomes) if text]
        if zk.client_state in OVER:
            zk.close()
            zk = None
    zk = zk or new()
    for attempt in range(3):
        try:
            zk.start(LIMIT)
            zk.create("/c/g-", b"good", sequence=True, timeout=LIMIT)
            assert zk.get("/c/d", timeout=LIMIT)[0] == b"1"
            break
        except ZookeeperError as error:
            if zk.client_state in OVER or isinstance(error, UnimplementedError):  # which it believes of this server
                zk.close()
                zk = new()
            elif attempt == 2:
                failures.append(f"no good conversation afterwards: {error!r}")
    zk.close()


def _call(function: Callable[..., Any]) -> Any:
    try:
        return function()
    except Exception as error:
        return error


# -------------------------------------------------------------------- a server as victim


def _embedded(batch: Batch, seed: int) -> Result:
    """Hostile clients, one after the other; a good one stays connected all the time."""
    failures: List[str] = []
    version = ("3.4", "3.5", "3.6", "3.8", "3.9")[batch.number % 5]
    corpus = load()
    strangers = [frame for talk in corpus.talks for frame in talk.client][::7]
    with EmbeddedServer(version=version, sasl={"bob": "x"}, seed=seed, max_buffer=MAX_FRAME) as server:
        with ZooKeeper(server.hosts, timeout=30.0) as witness:
            witness.create("/witness-0123456789", b"good")
            for number in range(batch.count):
                rng = random.Random(seed << 32 | number)
                talk = rng.choice(corpus.talks)
                frames = [*talk.client[:1], *spoil_frames(rng, talk.client[1:30], strangers)]
                if rng.random() < 0.3:
                    frames = spoil_frames(rng, talk.client[:30], strangers)
                data = b"".join(frames) if rng.random() < 0.95 else noise(rng, rng.randrange(200))
                problem = _connect(server.port, data, rng)
                if problem:
                    failures.append(f"{problem} after {data.hex()}")
                if number % 50 == 49 and witness.get("/witness-0123456789", timeout=LIMIT)[0] != b"good":
                    failures.append("the good client's node has changed")
            if witness.get("/witness-0123456789", timeout=LIMIT)[0] != b"good" or not witness.connected:
                failures.append("the good client is not served any more")
    return Result(batch.count, failures)


def _connect(port: int, data: bytes, rng: random.Random) -> str:
    """One hostile connection; the server must take it, and hang up when we do."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        try:
            sock.sendall(data)
            if rng.random() < 0.2:  # no good-bye
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return ""
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
        except socket.timeout:
            return "a connection that the server keeps"
        except OSError:
            pass  # it has hung up, as it should on such people
    return ""


_SIDES: Dict[str, Callable[[Batch, int], Result]] = {
    "asyncio": lambda batch, seed: asyncio.run(_attacked(batch, seed)),
    "threads": lambda batch, seed: asyncio.run(_attacked(batch, seed)),
    "embedded": _embedded,
}
#: Of all connections, what part each side gets, and how many at a time.
SHARES = {"asyncio": (0.35, 400), "threads": (0.25, 200), "embedded": (0.4, 500)}


def batches(connections: int) -> List[Batch]:
    """At least so many connections, over all sides."""
    found = []
    for side, (share, size) in SHARES.items():
        left, number = round(connections * share + 0.5), 0
        while left > 0:
            found.append(Batch(side, number, min(size, left)))
            left, number = left - size, number + 1
    return found
