"""What is true: all transactions there have been, in order, on a tree of their own, whatever any one server has of it.

Owns the history of nodes and of the directories of discovery, which sessions were given away when, and what a session may
be shown, given what it has seen. Must not know servers or clients.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from zkwire.embedded.transactions import SessionEnded, TreeTransaction, apply
from zkwire.embedded.tree import Tree
from zkwire.embedded.writes import WRITES
from zkwire.paths import parent_of
from zkwire.values import OPEN_ACL_UNSAFE

from .rules import Key, Ledger, require

MULTI = 14
_FAILED = b"\xff\xff\xff\xff\0"
#: A set of data (see `Truth.generation`), and a zxid of it.
Moment = Tuple[int, int]


class State(NamedTuple):
    """How a node is since a zxid; without `mzxid` there is none."""

    since: int
    mzxid: Optional[int] = None
    pzxid: Optional[int] = None
    data: Optional[bytes] = None


class Truth:
    """`history` has, for each directory, every set of instances there ever was, in order; `times` when each came to be.

    There is no data before `begin_anew`.
    """

    def __init__(self, ledger: Ledger, directories: Sequence[str], now: float) -> None:
        self.ledger = ledger
        #: Whether account is kept of who writes.
        self.counting = True
        self.history: Dict[str, List[Tuple[str, ...]]] = {directory: [()] for directory in directories}
        self.times: Dict[str, List[float]] = {directory: [now] for directory in directories}
        #: When a session was given away.
        self.given_away_at: Dict[int, float] = {}
        #: How many sets of data there have been: zxids of different ones say nothing about each other.
        self.generation = 0

    def begin_anew(self, config_node: bool, now: float) -> None:
        """There is no data."""
        self.tree = Tree(config_node)
        self.generation += 1
        #: The zxid of the last transaction.
        self.head = 0
        self._states: Dict[str, List[State]] = {}
        self._written: Dict[Key, List[int]] = {}
        #: Nodes of strangers under the name of a registrar: nobody else touches them.
        self._taken: Dict[str, Any] = {}
        for path in self.tree.nodes:
            self._remember(path, 0)
        self._note(now)

    def take(self, transaction: TreeTransaction) -> None:
        """A transaction was committed."""
        now = transaction.time / 1000
        apply(self.tree, transaction)
        self.head, paths = transaction.zxid, set()
        for step in transaction.steps:
            if isinstance(step, SessionEnded):
                self.given_away_at.setdefault(step.session, now)
            else:
                paths |= {step.path, parent_of(step.path)}
        for path in paths:
            self._remember(path, transaction.zxid)
        self._look_at_the_taken()
        if any(path.startswith("/svc") for path in paths):
            self._note(now)

    def answered(self, opcode: int, body: bytes, result: Optional[Tuple[int, bytes]]) -> None:
        """A write was carried out, with this result."""
        if result is None or result[0] or (opcode == MULTI and result[1].startswith(_FAILED)) or not self.counting:
            return
        self.ledger.applied((opcode, body))
        self._written.setdefault((opcode, body), []).append(self.head)

    # ------------------------------------------------------------------ what may be shown

    @property
    def now(self) -> Moment:
        """All there is."""
        return self.generation, self.head

    def wrote(self, key: Key, since: Moment) -> Moment:
        """When a write of these bytes, asked for at `since`, was done at the earliest; `since` for none."""
        generation, head = since
        if generation != self.generation:
            return since
        return generation, next((zxid for zxid in self._written.get(key, ()) if zxid > head), head)

    def shows(self, path: str, seen: Moment, node: State, exact: bool = True) -> Optional[Moment]:
        """The earliest moment since `seen` at which the node was so; None if it never was. `exact`: with its data."""
        generation, floor = seen
        states = self._states.get(path, [State(0)])
        first = 0
        if generation == self.generation:
            first = max(0, bisect_right([state.since for state in states], floor) - 1)
        else:
            floor = 0
        for state in states[first:]:
            if state[1 : 4 if exact else 3] == node[1 : 4 if exact else 3]:
                return self.generation, max(floor, state.since)
        return None

    def states(self, path: str) -> List[State]:
        """The newest of a node, for a message."""
        return self._states.get(path, [State(0)])[-3:]

    def _remember(self, path: str, zxid: int) -> None:
        node = self.tree.get(path)
        state = State(zxid) if node is None else State(zxid, node.mzxid, node.pzxid, node.data)
        states = self._states.setdefault(path or "/", [State(0)] if zxid else [])
        if not states or states[-1][1:] != state[1:]:
            states.append(state)

    # ------------------------------------------------------------------------ directories

    def _look_at_the_taken(self) -> None:
        tree = self.tree
        for path, node in self._taken.items() if self.counting else ():
            require(tree.get(path) is node, "D5", "{} of a stranger has gone", path)
        names = [f"{directory}/{name}" for directory in self.history for name in self.names(directory) if name.startswith("me")]
        self._taken = {path: tree.nodes[path] for path in names if not tree.nodes[path].owner}

    def _note(self, now: float) -> None:
        """Remember how the directories are now."""
        for directory, sets in self.history.items():
            present = self.instances(directory)
            if present != sets[-1]:
                sets.append(present)
                self.times[directory].append(now)

    def names(self, directory: str) -> List[str]:
        """The children of a directory."""
        node = self.tree.get(directory)
        return list(node.children) if node is not None else []

    def owner(self, path: str) -> int:
        """The session that a node belongs to, or 0."""
        owner: int = self.tree.nodes[path].owner
        return owner

    def instances(self, directory: str) -> Tuple[str, ...]:
        """What an instancer should show now."""
        bad = self.unreadable(directory)
        nodes = [self.tree.nodes[f"{directory}/{name}"] for name in self.names(directory) if name not in bad]
        return tuple(sorted((node.data or b"").decode() for node in nodes))

    def secret(self, directory: str) -> Set[str]:
        """The children whose ACL keeps them from all others."""
        nodes = self.tree.nodes
        return {name for name in self.names(directory) if list(nodes[f"{directory}/{name}"].acl) != list(OPEN_ACL_UNSAFE)}

    def unreadable(self, directory: str) -> Set[str]:
        """The children that no instancer can read: by their ACL, or because it is no UTF-8."""
        nodes = self.tree.nodes
        garbled = {name for name in self.names(directory) if nodes[f"{directory}/{name}"].data == b"\xff"}
        return garbled | self.secret(directory)


def is_write(opcode: int) -> bool:
    """Whether an operation of this code may change nodes."""
    return opcode in WRITES or opcode == MULTI
