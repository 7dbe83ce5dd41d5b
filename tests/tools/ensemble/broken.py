"""Clients that are wrong on purpose, each in one way: the checker has to find every one of them.

Owns the ways. Each is a hand, or a workload, that does one thing otherwise; `rules` are those of the checker of which one must
find it.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Tuple, Type

from zkwire import NodeExistsError, WatchedEvent
from zkwire.errors import ZookeeperError

from .hand import PATIENCE, READS, Hand
from .workloads import Following, Owners, Registering, Workload


class SendsAgain(Hand):
    """Sends a write again that may have been done, as it stands."""

    async def attempt(self, op: str, ask: Callable[[], Any], arguments: Dict[str, Any]) -> Any:
        """Again and again."""
        for _ in range(5):
            try:
                return await super().attempt(op, ask, arguments)
            except ZookeeperError as error:
                if not error.maybe_applied:
                    raise
        return await super().attempt(op, ask, arguments)


class SaysDone(Hand):
    """Takes a write that may have been done for done."""

    def failed(self, number: int, op: str, arguments: Dict[str, Any], error: ZookeeperError) -> None:
        """Good news only."""
        if error.maybe_applied and op not in READS:
            self.history.write("ok", n=number, op=op)
        else:
            super().failed(number, op, arguments, error)


class SaysNotDone(Hand):
    """Takes a write that may have been done for one that was not."""

    def failed(self, number: int, op: str, arguments: Dict[str, Any], error: ZookeeperError) -> None:
        """It has failed, has it not?"""
        self.history.write("fail", n=number, op=op, error=type(error).__name__)


class TakesOthersNodes(Hand):
    """A create says that it was done where the node is another's."""

    def failed(self, number: int, op: str, arguments: Dict[str, Any], error: ZookeeperError) -> None:
        """The node is there: all is well."""
        if isinstance(error, NodeExistsError):
            self.history.write("ok", n=number, op=op, path=arguments["path"])
        else:
            super().failed(number, op, arguments, error)


class IgnoresExpiry(Hand):
    """Says that it is connected, and that its first session is alive, whatever happens."""

    _first = 0

    def session(self) -> int:
        """The first one."""
        self._first = self._first or super().session()
        return self._first

    def claim(self, path: str, sid: int) -> None:
        """Of course."""
        self.history.write("claim", path=path, sid=sid, at=time.time())


class ReadsMemory(Hand):
    """Answers every other read of a node with what it has read before."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._known: Dict[str, Any] = {}

    async def attempt(self, op: str, ask: Callable[[], Any], arguments: Dict[str, Any]) -> Any:
        """It is faster."""
        if op != "get":
            return await super().attempt(op, ask, arguments)
        found = self._known.pop(arguments["path"], None)
        if found is None:
            found = self._known[arguments["path"]] = await super().attempt(op, ask, arguments)
        return found


class Reconnects(Hand):
    """Base: counts the connections that were lost."""

    lost = 0

    def state_changed(self, state: str) -> None:
        """Count."""
        super().state_changed(state)
        self.lost += state == "SUSPENDED"


class ForgetsWatches(Reconnects):
    """Sets no watch again on a new connection."""

    def watcher(self, number: str) -> Callable[[WatchedEvent], None]:
        """It dies with its connection."""
        note, since = super().watcher(number), self.lost

        def fired(event: WatchedEvent) -> None:
            if self.lost == since:
                note(event)

        return fired


class DropsEvents(Reconnects):
    """Drops the first event after each lost connection."""

    _dropped = 0

    def watcher(self, number: str) -> Callable[[WatchedEvent], None]:
        """Mostly good."""
        note = super().watcher(number)

        def fired(event: WatchedEvent) -> None:
            if self._dropped < self.lost and event.type != "NONE":
                self._dropped = self.lost
            else:
                note(event)

        return fired


class HidesGaps(Hand):
    """Does not say that changes may have been missed."""

    def watcher(self, number: str) -> Callable[[WatchedEvent], None]:
        """Only changes count."""
        note = super().watcher(number)

        def fired(event: WatchedEvent) -> None:
            if event.type != "NONE" or event.state != "CONNECTED":
                note(event)

        return fired


class TellsTwice(Hand):
    """Calls a one-shot watcher twice."""

    def watcher(self, number: str) -> Callable[[WatchedEvent], None]:
        """To be sure."""
        note = super().watcher(number)

        def fired(event: WatchedEvent) -> None:
            note(event)
            note(event)

        return fired


class TellsNothings(Hand):
    """Calls a watcher at once, though nothing has changed."""

    def armed(self, number: str, how: str, path: str, basis: int) -> None:
        """An event for the watch itself."""
        super().armed(number, how, path, basis)
        self.history.write("fired", w=number, type="CREATED", path=path + "/never", state="CONNECTED")


class Halves(Hand):
    """Does a transaction in two steps."""

    async def set_all(self, nodes: Sequence[Tuple[str, int]]) -> None:
        """One after the other."""
        value, paths = self.token(), [path for path, _ in nodes]

        async def both() -> List[Any]:
            return [await self.front.done(self.zk.set(path, value.encode(), version, timeout=PATIENCE)) for path, version in nodes]

        await self._call("multi", both, lambda found: {}, paths=paths, value=value)

    async def attempt(self, op: str, ask: Callable[[], Any], arguments: Dict[str, Any]) -> Any:
        """A coroutine on either front."""
        return await ask() if op == "multi" else await super().attempt(op, ask, arguments)


class Hangs(Hand):
    """Now and then a call takes longer than it was given."""

    async def attempt(self, op: str, ask: Callable[[], Any], arguments: Dict[str, Any]) -> Any:
        """Patience."""
        if self.random.random() < 0.05:
            await self.pause(PATIENCE + 4)
        return await super().attempt(op, ask, arguments)


class NeverLetsGo(Owners):
    """Keeps its first node."""

    LONG = 1_000_000


class RegistersTwice(Registering):
    """Registers by two registrars."""

    async def _want(self, wanted: bool) -> None:
        await super()._want(wanted)
        if wanted:
            service = self.hand.front.discovery.Service("/services", "api", self.data())
            second = self.hand.front.discovery.Registrar(self.client, service)
            await self.hand.front.done(second.register(timeout=PATIENCE))


class StaysRegistered(Registering):
    """Says that it is gone, and is not."""

    async def _want(self, wanted: bool) -> None:
        if wanted:
            await super()._want(wanted)
        else:
            self.hand.history.write("wanted", name=self.hand.name, wanted=False)
            self.hand.history.write("registered", name=self.hand.name, wanted=False)


class GoesBack(Following):
    """Shows the set before the last one again."""

    _before: Any = None

    def shown(self, event: Any) -> None:
        """Once more."""
        super().shown(event)
        if self._before is not None:
            super().shown(self._before)
        self._before = event


class ShowsParts(Following):
    """Shows a set without one of its instances."""

    def shown(self, event: Any) -> None:
        """Most of it."""
        super().shown(event._replace(instances=event.instances[1:]))


class Broken(NamedTuple):
    """A way of being wrong: the workloads that show it, and the rules of which one must find it."""

    workloads: str
    rules: FrozenSet[str]
    hand: Type[Hand] = Hand
    changed: Mapping[str, Type[Workload]] = {}


HONEST = Broken("", frozenset())

BROKEN: Dict[str, Broken] = {
    "sends a write again": Broken("registers unique", frozenset(["twice", "denied"]), SendsAgain),
    "says done when in doubt": Broken("registers unique", frozenset(["lost"]), SaysDone),
    "says not done when in doubt": Broken("registers unique", frozenset(["denied"]), SaysNotDone),
    "takes others' nodes for its own": Broken("unique", frozenset(["lost"]), TakesOthersNodes),
    "ignores the end of its session": Broken("owners", frozenset(["owner"]), IgnoresExpiry, {"owners": NeverLetsGo}),
    "reads from its memory": Broken("registers", frozenset(["stale"]), ReadsMemory),
    "sets no watch again": Broken("oneshot recursive", frozenset(["watch", "gap"]), ForgetsWatches),
    "drops an event after a reconnect": Broken("oneshot recursive", frozenset(["watch", "gap"]), DropsEvents),
    "hides that changes were missed": Broken("recursive", frozenset(["gap"]), HidesGaps),
    "tells an event twice": Broken("oneshot recursive", frozenset(["watch", "gap"]), TellsTwice),
    "tells of what was not": Broken("oneshot recursive", frozenset(["watch", "gap"]), TellsNothings),
    "does a transaction in two steps": Broken("pairs", frozenset(["half"]), Halves),
    "hangs": Broken("registers", frozenset(["hang"]), Hangs),
    "registers twice": Broken("registering", frozenset(["registration"]), changed={"registering": RegistersTwice}),
    "stays when it is said to be gone": Broken("registering", frozenset(["registration"]), changed={"registering": StaysRegistered}),
    "an instancer goes back": Broken("following", frozenset(["shown"]), changed={"following": GoesBack}),
    "an instancer shows parts": Broken("following", frozenset(["shown"]), changed={"following": ShowsParts}),
}  # fmt: skip
