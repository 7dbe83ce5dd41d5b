"""The canonical conversation, once for both fronts, and what came of it.

Owns the steps, as a generator of what to do next, and the record of outcomes. Every write concerns nodes of its own,
which no other step touches: so the tree alone says, afterwards, how often each was applied. Must not know sockets,
threads, event loops or cuts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Generator, List, NamedTuple, Optional, Tuple, Union

from tests.kit.world import Heard
from zkwire.embedded.tree import Tree
from zkwire.errors import ConnectionLoss, ZookeeperError
from zkwire.wire.operation import Op
from zkwire.ops import (
    AddWatch, Create, Create2, Delete, Exists, GetACL, GetAllChildrenNumber, GetChildren, GetChildren2, GetData,
    GetEphemerals, Multi, MultiRead, SetACL, SetData, Sync, WhoAmI,
)  # fmt: skip
from zkwire.values import OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, EventType, Id, Stat

#: The tree before: (path, data).
BEFORE = [
    *[(f"/{name}", b"1") for name in "adfkpqrvwz"], *[(f"/f/{name}", b"") for name in "xyz"], ("/m", b""), ("/m/2", b"0"),
]  # fmt: skip
AUTH = ("digest", "user:secret")
#: A round at the end shows that watches stand; it is repeated while its own events are lost with a connection.
ROUNDS = 3


class Ask(NamedTuple):
    """Operations of the client, submitted together and then waited for."""

    ops: Tuple[Op[Any], ...]


class Change(NamedTuple):
    """Operations of somebody else."""

    ops: Tuple[Op[Any], ...]


@dataclass
class Watch:
    """A watch of the conversation: who hears, what may be heard, how it is to be heard at the end."""

    heard: Heard
    once: bool
    events: Tuple[Tuple[str, str], ...]
    asked: Any = None  # the outcome of the operation that sets it

    def gap(self) -> int:
        """How often it was told that it may have missed something."""
        return sum(event[0] == EventType.NONE for event in self.heard.events)

    def real(self) -> List[Tuple[str, Optional[str]]]:
        """What it heard of nodes, not of sessions."""
        return [event for event in self.heard.events if event[0] != EventType.NONE]


@dataclass
class Record:
    """What became of one conversation."""

    outcomes: List[Tuple[Op[Any], Any]] = field(default_factory=list)
    watches: Dict[str, Watch] = field(default_factory=dict)
    #: For watches that stay, by name: what was heard in the last round.
    last_round: Dict[str, List[Any]] = field(default_factory=dict)
    states: List[str] = field(default_factory=list)
    sessions: List[Any] = field(default_factory=list)
    closing: Optional[float] = None  # seconds close() took
    applied: List[int] = field(default_factory=list)  # of each write, taken before the close
    ephemeral: bool = False


Step = Union[Ask, Change]
Conversation = Generator[Step, List[Any], None]


def conversation(record: Record) -> Conversation:
    """The steps; what an `Ask` gives is sent in: one outcome per operation, errors as values."""
    watches = record.watches = {
        "data": _watch("data", True, (EventType.CHANGED, "/d")),
        "again": _watch("again", True, (EventType.CHANGED, "/d")),
        "exists": _watch("exists", True, (EventType.CREATED, "/n")),
        "child": _watch("child", True, (EventType.CHILD, "/k")),
        "stays": _watch("stays", False, (EventType.CHANGED, "/p")),
        "below": _watch("below", False, *[(EventType.CREATED, f"/r/{name}") for name in "y012"]),
    }
    hear = {name: watch.heard for name, watch in watches.items()}

    def ask(*ops: Op[Any]) -> Generator[Step, List[Any], List[Any]]:
        outcomes = yield Ask(ops)
        record.outcomes += zip(ops, outcomes)
        for op, outcome in zip(ops, outcomes):
            for watch in watches.values():
                if getattr(op, "watch", None) is watch.heard:
                    watch.asked = outcome
        return outcomes

    yield from ask(GetData("/d", hear["data"]))
    yield from ask(Exists("/n", hear["exists"]))
    yield from ask(GetChildren("/k", hear["child"]), AddWatch("/p", hear["stays"]), AddWatch("/r", hear["below"], True))
    yield from ask(Create("/k/c", b"x"))
    yield from ask(Create2("/e", b"mine", ephemeral=True))
    yield from ask(Create("/q/s-", b"", sequence=True))
    yield Change((SetData("/d", b"2"), Create("/r/y", b"", OPEN_ACL_UNSAFE)))
    yield from ask(
        SetData("/v", b"n"), SetData("/w", b"n", 0), Delete("/z"), Sync("/f"),
        Multi((Create("/m/1", b""), SetData("/m/2", b"y"))),
    )  # fmt: skip
    yield from ask(Exists("/d", hear["again"]), GetACL("/f"), SetACL("/a", READ_ACL_UNSAFE))
    yield from ask(GetChildren2("/f"))
    yield from ask(
        WhoAmI(), GetEphemerals(), GetAllChildrenNumber("/f"), MultiRead((GetData("/d"), GetChildren("/f")))
    )
    yield from ask(Create("/q/t"))
    yield from _rounds(record, ask)


def _watch(name: str, once: bool, *events: Tuple[str, str]) -> Watch:
    return Watch(Heard(name), once, events)


def _rounds(record: Record, ask: Callable[..., Any]) -> Conversation:
    """Everything watched changes, and a read behind it says that all events are in.

    Once more if the connection was lost meanwhile, as watches that stay have then been told: they may miss something.
    """
    for number in range(ROUNDS):
        gaps = [watch.gap() for watch in record.watches.values()]
        before = {name: len(watch.real()) for name, watch in record.watches.items()}
        changes: List[Op[Any]] = [SetData("/p", b"r"), SetData("/d", b"r"), Create(f"/r/{number}", b"", OPEN_ACL_UNSAFE)]
        changes.append(Create(f"/k/{number}", b"", OPEN_ACL_UNSAFE))
        if number == 0:
            changes.append(Create("/n", b"", OPEN_ACL_UNSAFE))
        while True:  # the connection stands, or stands again
            (outcome,) = yield from ask(GetData("/f"))
            if not isinstance(outcome, ConnectionLoss):
                break
        yield Change(tuple(changes))
        (outcome,) = yield from ask(GetData("/f"))
        if not isinstance(outcome, ConnectionLoss) and gaps == [watch.gap() for watch in record.watches.values()]:
            record.last_round = {name: watch.real()[before[name] :] for name, watch in record.watches.items()}
            return


# ------------------------------------------------------------------------- what the tree says


def _there(path: str) -> Callable[[Tree], int]:
    return lambda tree: int(tree.get(path) is not None)


def _version(path: str) -> Callable[[Tree], int]:
    def count(tree: Tree) -> int:
        node = tree.get(path)
        return -1 if node is None else node.version

    return count


def _children(path: str, start: str) -> Callable[[Tree], int]:
    def count(tree: Tree) -> int:
        node = tree.get(path)
        return -1 if node is None else sum(name.startswith(start) for name in node.children)

    return count


def _both(tree: Tree) -> int:
    """A transaction that was applied by half is none."""
    first, second = _there("/m/1")(tree), _version("/m/2")(tree)
    return first if first == second else -1


def _acl(tree: Tree) -> int:
    node = tree.get("/a")
    return -1 if node is None else node.aversion


#: How often each write was applied, in the order of the conversation.
APPLIED: Tuple[Callable[[Tree], int], ...] = (
    _there("/k/c"), _there("/e"), _children("/q", "s-"), _version("/v"), _version("/w"),
    lambda tree: 1 - _there("/z")(tree), _both, _acl, _there("/q/t"),
)  # fmt: skip


def plain(value: Any) -> Any:
    """A result without what differs from run to run: zxids, times, sessions, digits of sequences."""
    if isinstance(value, Stat):
        return value.version, value.cversion, value.aversion, value.dataLength, value.numChildren, bool(value.ephemeralOwner)
    if isinstance(value, ZookeeperError):
        return type(value).__name__
    if isinstance(value, Id) and value.scheme == "ip":
        return "ip"
    if type(value) in (list, tuple):
        return [plain(each) for each in value]
    return value


__all__ = [
    "APPLIED", "AUTH", "BEFORE", "Ask", "Change", "Conversation", "Record", "Watch", "conversation", "plain",
]  # fmt: skip
