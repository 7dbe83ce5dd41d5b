"""Points, many at a time.

Owns which points there are, how one is run and judged, and how many run at once. Must not know what is printed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from .fronts import FRONTS, LIMIT, Hang
from .oracle import Reference, reference_of, wrong
from .server import C2S, DRIP, FIN, GATHER, HOLE, RST, S2C, SPLIT, Cut, SweepServer

#: The session timeout, in seconds: two thirds of it show a black hole.
TIMEOUT = 3.0
CUTS = (FIN, RST, HOLE)
#: Conversations at once in one process. In a black hole they mostly wait; a thread that waits is not for nothing.
AT_ONCE = {("threads", True): 24, ("asyncio", True): 64, ("threads", False): 6, ("asyncio", False): 12}
#: A run says nothing if the process stood still for this part of the session timeout meanwhile: it is repeated.
STILL, AGAIN = 1 / 10, 5


class Point(NamedTuple):
    """Where to cut which front."""

    front: str
    cut: Cut

    def __str__(self) -> str:
        return f"{self.front}:{self.cut.kind}:{self.cut.direction}:{self.cut.at}"


class Failure(NamedTuple):
    """A point where something went wrong."""

    point: Point
    hang: bool
    text: str

    def __str__(self) -> str:
        what = "hang" if self.hang else "wrong"
        return f"{what} at {self.point}: {self.text}\n  python -m tests.tools.sweep --only {self.point}"


def parse(text: str) -> Point:
    """A point as `Failure` prints it."""
    front, kind, direction, at = text.split(":")
    if front not in FRONTS or kind not in (*CUTS, SPLIT, DRIP, GATHER) or direction not in (C2S, S2C):
        raise ValueError(f"no such point: {text}")
    return Point(front, Cut(kind, direction, int(at)))


def points(reference: Dict[str, Reference], kinds: Iterable[str], step: int = 1, first: int = 0) -> Iterator[Point]:
    """Every `step`th byte of both directions, on both fronts."""
    for kind in kinds:
        for front in FRONTS:
            for direction in (C2S, S2C):
                size = reference[front].bytes(direction) if kind not in (DRIP, GATHER) else 1
                for at in range(min(first, size - 1), size, step):
                    yield Point(front, Cut(kind, direction, at))


class Pulse:
    """How long the event loop stood still, at worst, since a moment."""

    EVERY = 0.02

    def __init__(self) -> None:
        self._lags: Deque[Tuple[float, float]] = deque(maxlen=5000)
        self._task = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(self.EVERY)
            self._lags.append((loop.time(), loop.time() - before - self.EVERY))

    def worst(self, since: float) -> float:
        """In seconds."""
        return max((lag for at, lag in self._lags if at >= since), default=0.0)

    def end(self) -> None:
        """Stop looking."""
        self._task.cancel()


class _Complaints(logging.Handler):
    """What the library reports as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


async def uncut(front: str, timeout: float = TIMEOUT) -> Reference:
    """The conversation as it should be."""
    server = SweepServer(None)
    await server.start()
    try:
        record = await FRONTS[front](server, timeout)
        reference = reference_of(record, server)
        faults = list(wrong(record, server, None, reference))
        if faults:
            raise RuntimeError(f"the uncut conversation on {front} is not as it should be: {faults}")
        return reference
    finally:
        await server.stop()


async def run_point(point: Point, reference: Reference, timeout: float = TIMEOUT) -> Optional[Failure]:
    """One conversation with a cut; what went wrong, if anything did."""
    server = SweepServer(point.cut)
    await server.start()
    try:
        record = await asyncio.wait_for(FRONTS[point.front](server, timeout), 3 * LIMIT)
        faults = list(wrong(record, server, point.cut, reference))
        return Failure(point, False, "; ".join(faults)) if faults else None
    except (Hang, asyncio.TimeoutError) as error:
        return Failure(point, True, str(error))
    except Exception as error:
        return Failure(point, False, f"{type(error).__name__}: {error}")
    finally:
        await server.stop()


async def _run_all(
    wanted: List[Point], reference: Dict[str, Reference], timeout: float, tell: Callable[[Failure], Any]
) -> List[Failure]:
    failures: List[Failure] = []
    complaints = _Complaints()
    logging.getLogger("zkwire").addHandler(complaints)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.texts.append(str(context)))
    room = {what: asyncio.Semaphore(count) for what, count in AT_ONCE.items()}
    pulse, loop = Pulse(), asyncio.get_running_loop()

    async def one(point: Point) -> None:
        async with room[point.front, point.cut.kind == HOLE]:
            for _ in range(AGAIN):
                began = loop.time()
                failure = await run_point(point, reference[point.front], timeout)
                if failure is None or pulse.worst(began) < STILL * timeout:
                    break
            if failure is not None:
                failures.append(failure)
                tell(failure)

    try:
        await asyncio.gather(*(one(point) for point in wanted))
    finally:
        pulse.end()
        logging.getLogger("zkwire").removeHandler(complaints)
    if complaints.texts and wanted:
        failures.append(Failure(wanted[0], False, f"and {len(wanted)} points from there: {complaints.texts[:3]}"))
        tell(failures[-1])
    return failures


def run(
    wanted: Iterable[Point], reference: Dict[str, Reference], timeout: float = TIMEOUT,
    tell: Callable[[Failure], Any] = print,
) -> List[Failure]:  # fmt: skip
    """Run these points, on an event loop of their own; `tell` hears of each failure at once."""
    return asyncio.run(_run_all(list(wanted), reference, timeout, tell))


def references(timeout: float = TIMEOUT) -> Dict[str, Reference]:
    """An uncut run on each front."""
    return {front: asyncio.run(uncut(front, timeout)) for front in FRONTS}
