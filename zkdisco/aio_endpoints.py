"""The awaited twin of `zkdisco.endpoints`: one endpoint for each live instance, for asyncio.

Owns how a factory and a closer are called on an event loop. Must not know what an endpoint is.
"""

from __future__ import annotations

import asyncio
import inspect
from types import TracebackType
from typing import Any, Awaitable, Callable, Generator, List, Optional, Type, overload

from .aio import Instancer
from .endpoints import EndpointsBase
from .front import logger
from .roster import E, Endpoint, I
from .values import ClientClosedError


class Endpoints(EndpointsBase[I, E]):
    """The endpoints of an instancer of `zkdisco.aio`; see `zkdisco.endpoints.Endpoints`.

    `factory` and `close` may be plain or return something to be awaited. `async with Endpoints(...) as endpoints:`, or
    `await endpoints.start()`, makes those for the instances there are, in the caller's task; later ones are made by a
    task of the client's, one at a time.
    """

    _follows = Instancer

    @overload
    def __init__(
        self, instancer: Instancer[I], factory: Callable[[I], Awaitable[E]],
        close: Optional[Callable[[E], object]] = None, *, invalidate_on_error: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, instancer: Instancer[I], factory: Callable[[I], E],
        close: Optional[Callable[[E], object]] = None, *, invalidate_on_error: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, instancer: Instancer[I], factory: Callable[[I], Any],
        close: Optional[Callable[[E], object]] = None, *, invalidate_on_error: Optional[float] = None,
    ) -> None:  # fmt: skip
        super().__init__(instancer, factory, close, invalidate_on_error)
        self._started: Optional[asyncio.Future[None]] = None

    async def start(self) -> None:
        """Make an endpoint for each instance there is, and follow the instancer from now on."""
        if self._started is not None:
            await asyncio.wait([self._started])
        if self._closed:
            raise ClientClosedError("the endpoints have been closed")
        if self._started is not None:
            return
        self._started = asyncio.get_running_loop().create_future()
        try:
            self._look()
            await self._turn(True)
            if not self._closed:
                self._instancer.register(self._heard)
        except BaseException:  # cancelled, say
            await asyncio.shield(self.close())
            raise
        finally:
            self._started.set_result(None)

    async def close(self) -> None:
        """Close all, in this task; there are none from now on. May be called twice."""
        await self._close_all(self._end())

    def __await__(self) -> Generator[Any, None, Endpoints[I, E]]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Endpoints[I, E]:
        await self.start()
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:  # fmt: skip
        await self.close()

    async def _turn(self, _: object) -> None:
        while True:
            closing, job = self._next()
            await self._close_all(closing)
            if job is None:
                if not closing:
                    return
                continue
            try:
                value = self._factory(job[2])
                if inspect.isawaitable(value):
                    value = await value
            except BaseException as error:
                self._failed(job, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self._made(job, value)

    async def _close_all(self, closing: List[Endpoint[I, E]]) -> None:
        for endpoint in closing if self._closer is not None else ():
            try:
                result = self._closer(endpoint.value)  # type: ignore[misc]
                if inspect.isawaitable(result):
                    await result
            except Exception:
                logger.exception("exception while %r was closed", endpoint)
