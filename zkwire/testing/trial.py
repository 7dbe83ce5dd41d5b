"""A trial: one trouble comes over the clients of one server, and goes, and was felt, or the test fails.

Owns the order: who is there, begin, felt, the body of the test, end, back again. Must not know which troubles there
are, or pytest.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Callable, Iterable, Optional, Set, Tuple, Type

from ..embedded import EmbeddedServer
from .troubles import Evidence, Sight, Trouble

#: How long a trial waits for a trouble to be felt, in seconds; only a test that fails waits so long.
PATIENCE = 10.0
#: How long it waits for a client to connect before the trouble, in seconds.
ARRIVAL = 3.0


class NotFelt(AssertionError):
    """A trouble has come and gone, and there is no sign that the service has noticed: its test would prove nothing."""


def _nobody() -> Tuple[int, ...]:
    return ()


class Trial:
    """A trouble for the clients of a server: `with trial: ...`, in asyncio tests `async with trial: ...`.

    It waits for a client to be connected, begins the trouble, and waits until it was felt; then the body runs, while
    the trouble lasts (what breaks only once is over by then). At the end it ends the trouble, and waits until clients
    have a session again. It raises `NotFelt` if the clients have not noticed after `patience` seconds each time. It may
    be used again. What the body raises is raised. `bystanders()` gives the ids of the test's own sessions.
    """

    def __init__(
        self, trouble: Trouble, server: EmbeddedServer, *, patience: float = PATIENCE,
        bystanders: Callable[[], Iterable[int]] = _nobody,
    ) -> None:  # fmt: skip
        self.trouble, self._server, self._patience = trouble, server, patience
        #: Whether it has ever begun.
        self.begun = False
        self._bystanders = bystanders
        self._apart: Set[int] = set()
        self._victims: Tuple[int, ...] = ()
        self._since = 0.0
        self._fault: Any = None

    @property
    def name(self) -> str:
        """The name of the trouble."""
        return self.trouble.name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # -- the order

    def begin(self) -> None:
        """Begin the trouble, and wait until it was felt."""
        __tracebackhide__ = True
        self.begun = True
        try:
            self._victims = self._server.wait_for(self._connected, min(ARRIVAL, self._patience))
        except AssertionError as error:
            raise NotFelt(
                f"{self.name}: no client was connected to {self._server.hosts} when the trouble began: "
                f"start your service before `with trouble`, and do not stop it earlier.\n{error}"
            ) from None
        self._since = time.monotonic()
        self._fault = self.trouble.begin(self._server)
        try:
            self._await(self.trouble.at_once)
        except BaseException:
            self._heal()
            raise

    def end(self, failed: bool = False) -> None:
        """End the trouble; unless the test has `failed` already, see that it was felt, before and after."""
        __tracebackhide__ = True
        try:
            if not failed:
                self._await(self.trouble.asked)
        finally:
            ended = time.monotonic()
            self._heal()
        if not failed:
            self._await(self.trouble.afterwards, answered=ended)

    def _heal(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            fault.end()

    # -- what is seen

    def _connected(self) -> Tuple[int, ...]:
        """All who are connected, if they are not bystanders only."""
        self._apart.update(self._bystanders())
        connected = self._server.connected
        return connected if set(connected) - self._apart else ()

    def _sight(self, answered: Optional[float]) -> Sight:
        self._apart.update(self._bystanders())
        since = self._since if answered is None else answered
        requests = [
            request for request in self._server.requests()
            if (request.at if answered is None else request.at + (request.took or 0.0)) >= since
        ]  # fmt: skip
        asked = [one for one in requests if one.op != "Connect" and one.session not in self._apart]
        return Sight(self._victims, self._server.sessions, requests, asked)

    def _await(self, check: Optional[Evidence], answered: Optional[float] = None) -> None:
        __tracebackhide__ = True
        if check is None:
            return
        try:
            self._server.wait_for(lambda: check.seen(self._sight(answered)), self._patience)
        except AssertionError as error:
            raise NotFelt(f"{self.name}: not felt. Expected that {check.says}. {check.advice}\n{error}") from None

    # -- `with`

    def __enter__(self) -> Trial:
        __tracebackhide__ = True
        if _in_event_loop():
            raise TypeError("`with trouble` would block the event loop that your service runs on: `async with trouble`")
        self.begin()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        __tracebackhide__ = True
        self.end(kind is not None)

    async def __aenter__(self) -> Trial:
        await _in_thread(self.begin)
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await _in_thread(self.end, kind is not None)


def _in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")  # who has not imported it runs no loop
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _in_thread(function: Callable[..., None], *arguments: Any) -> None:
    import asyncio

    await asyncio.to_thread(function, *arguments)
