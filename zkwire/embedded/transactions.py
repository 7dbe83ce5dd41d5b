"""Transactions as data: a zxid, a time and changes, all checks done; and the one function that applies one to a tree.

Owns the kinds of changes and what each does. Must not know requests, permissions or who has asked.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

from ..typed import NamedTuple
from ..values import ACL, Stat
from .tree import Change, Tree


class NodeCreated(NamedTuple):
    """A new node; `creates` is its parent's new count of creations."""

    path: str
    data: Optional[bytes]
    acl: Sequence[ACL]
    owner: int
    creates: int


class NodeDeleted(NamedTuple):
    """A node without children has gone."""

    path: str


class DataSet(NamedTuple):
    """A node has new data, and a new version."""

    path: str
    data: Optional[bytes]
    version: int


class ACLSet(NamedTuple):
    """A node has a new ACL, and a new version of it."""

    path: str
    acl: Sequence[ACL]
    version: int


class SessionEnded(NamedTuple):
    """A session has ended; its nodes have gone by changes of their own before this one."""

    session: int


Step = Union[NodeCreated, NodeDeleted, DataSet, ACLSet, SessionEnded]


class TreeTransaction(NamedTuple):
    """One transaction: its zxid, its time (ms since the epoch), and its steps; none for a write that was refused."""

    zxid: int
    time: int
    steps: Tuple[Step, ...] = ()


class Effect(NamedTuple):
    """What a step has done: the node's Stat right after it, None where there is none, and the events."""

    stat: Optional[Stat]
    events: List[Change]


def apply(tree: Tree, transaction: TreeTransaction) -> List[Effect]:
    """Carry out all steps on a tree that has had all transactions before this one; the effect of each."""
    return [_APPLY[type(step)](tree, step, transaction) for step in transaction.steps]


def _create(tree: Tree, step: NodeCreated, transaction: TreeTransaction) -> Effect:
    zxid, time = transaction.zxid, transaction.time
    node, events = tree.create(step.path, step.data, step.acl, step.owner, step.creates, zxid, time)
    return Effect(node.stat(), events)


def _delete(tree: Tree, step: NodeDeleted, transaction: TreeTransaction) -> Effect:
    return Effect(None, tree.delete(step.path, transaction.zxid))


def _set_data(tree: Tree, step: DataSet, transaction: TreeTransaction) -> Effect:
    events = tree.set_data(step.path, step.data, step.version, transaction.zxid, transaction.time)
    return Effect(tree.nodes[step.path].stat(), events)


def _set_acl(tree: Tree, step: ACLSet, transaction: TreeTransaction) -> Effect:
    tree.set_acl(step.path, step.acl, step.version)
    return Effect(tree.nodes[step.path].stat(), [])


def _end(tree: Tree, step: SessionEnded, transaction: TreeTransaction) -> Effect:
    return Effect(None, [])


_APPLY: Dict[type, Callable[[Tree, Any, TreeTransaction], Effect]] = {
    NodeCreated: _create, NodeDeleted: _delete, DataSet: _set_data, ACLSet: _set_acl, SessionEnded: _end,
}  # fmt: skip
