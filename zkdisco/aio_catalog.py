"""The awaited twin of `zkdisco.Catalog`, as `zkdisco.aio.Catalog`."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, Dict, Generator, Optional, Union, overload

from ._zkwire import errors
from .aio import Client
from .catalog import CatalogBase
from .codecs import Codec, Instance
from .front import Accept
from .memberships import ServiceEvent
from .values import ClientClosedError, T


class _Letters:
    """Holds, for one who iterates, the newest event of each service; it is its own delivery."""

    def __init__(self) -> None:
        self._waiting: Dict[str, ServiceEvent[Any]] = {}
        self._full = asyncio.Event()
        self._ended = False

    def offer(self, event: ServiceEvent[Any]) -> None:
        """Keep this one instead of that of the same service."""
        self._waiting[event.service] = event
        self._full.set()

    def end(self) -> None:
        """There is no event after those that wait."""
        self._ended = True
        self._full.set()

    def stop(self) -> None:
        """There is no event any more."""
        self._waiting = {}
        self.end()

    async def get(self) -> Optional[ServiceEvent[Any]]:
        """The one that has waited longest, or None at the end."""
        while True:
            for service in self._waiting:
                return self._waiting.pop(service)
            if self._ended:
                return None
            self._full.clear()
            await self._full.wait()


class Catalog(CatalogBase[T]):
    """All services below `path`, followed from `start` on; see `zkdisco.Catalog`.

    `async for event in catalog` gives the newest `ServiceEvent` of each service, then newer ones, until `stop`, or
    until the client can never have a session again.
    """

    @overload
    def __init__(
        self: Catalog[str], client: Client, path: str, *, services: Optional[Accept] = None,
        accept: Optional[Accept] = None, codec: None = None, wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self: Catalog[Instance], client: Client, path: str, *, services: Optional[Accept] = None,
        accept: Optional[Accept] = None, codec: str, wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    @overload
    def __init__(
        self, client: Client, path: str, *, services: Optional[Accept] = None, accept: Optional[Accept] = None,
        codec: Codec[T], wait: Optional[float] = None,
    ) -> None: ...  # fmt: skip

    def __init__(
        self, client: Client, path: str, *, services: Optional[Accept] = None, accept: Optional[Accept] = None,
        codec: Optional[Union[str, Codec[Any]]] = None, wait: Optional[float] = None,
    ) -> None:  # fmt: skip
        super().__init__(client, path, services, accept, codec, wait, awaited=True)
        self._client = client
        self._iterations: Dict[_Letters, None] = {}

    async def start(self, timeout: Optional[float] = None) -> None:
        """Wait for the first complete set of every service; raises as the blocking constructor does.

        A caller that is cancelled, or waits no longer, ends it, unless it was made with `wait`.
        """
        self._client.check()
        following = self._following
        if following.stopped is not None:
            raise ClientClosedError("the catalog has been stopped")
        first = following.first if following.first is not None else following.begin(self)
        seconds = self._client.options.timeout if timeout is None else timeout
        try:
            await asyncio.wait([first], timeout=seconds if following.wait is None else following.wait)
        finally:
            why = self.error
            failed = first.done() and first.exception() is not None
            if failed or not (first.done() or following.wait is not None):
                self.leave()
        if following.wait is None or failed:
            if not failed and following.stopped is not None:
                raise errors.OperationTimeoutError(f"not all services read in time; {why or 'no connection'}")
            first.result()

    async def stop(self) -> None:
        """Stop watching; observers hear nothing more, and iterations end. May be called twice."""
        self.leave()

    def _publish(self) -> None:
        super()._publish()
        if self._core.over:
            for mailbox in self._iterations:
                mailbox.end()

    def __await__(self) -> Generator[Any, None, Catalog[T]]:
        yield from self.start().__await__()
        return self

    async def __aenter__(self) -> Catalog[T]:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[ServiceEvent[T]]:
        following, mailbox = self._following, _Letters()
        if following.stopped is None and (following.first is None or not following.first.done()):
            await self.start()
        if following.stopped is not None:
            return
        self._iterations[mailbox] = None
        self._changes.add(mailbox, mailbox)
        if self._core.over:
            mailbox.end()
        try:
            while True:
                event = await mailbox.get()
                if event is None:
                    return
                yield event
        finally:
            del self._iterations[mailbox]
            self._changes.deregister(mailbox)
