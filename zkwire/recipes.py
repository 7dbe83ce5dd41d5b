"""Work of several steps, as generators of operations that both fronts can run.

Owns what is done next after which answer. Must not know how operations are sent or waited for. A recipe yields an
operation and is sent its result (or its error is thrown in); or it yields a list of operations, which are pipelined,
and is sent the list of outcomes, errors included as values. What it returns is the verb's result.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, Callable, Deque, Generator, List, Optional, Protocol, Sequence, Tuple, TypeVar, Union

from .errors import (
    ConnectionLoss, NodeExistsError, NoNodeError, NotEmptyError, OperationTimeoutError, SessionExpiredError,
    ZookeeperError,
)  # fmt: skip
from .paths import join, parent_of, prefixes
from .wire.operation import Op
from .ops import Create, Create2, Delete, Exists, GetChildren, GetData, Sync
from .values import ACL, Stat

T = TypeVar("T")
Recipe = Generator[Any, Any, T]
Work = Union[Op[T], Recipe[T]]

#: This many operations of a list are under way at a time.
WINDOW = 1000
#: Parents may vanish while we build on them (containers are reaped when empty); somebody who does that for ever wins.
PATIENCE = 10


class HasSession(Protocol):
    """What recipes know of a front."""

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Session id and password, or None."""


def drive(
    work: Recipe[T], submit: Callable[[Op[Any]], Any], abandon: Callable[[Any], object]
) -> Generator[Any, Any, T]:
    """Runs a recipe for a front: yields each future to wait for, and is sent its result or thrown its error.

    Close it at the end: futures that nobody will wait for are abandoned then.
    """
    try:
        wanted = next(work)
        while True:
            try:
                if isinstance(wanted, Op):
                    answer = yield submit(wanted)
                else:
                    answer = yield from _pipeline(wanted, submit, abandon)
            except Exception as error:
                wanted = work.throw(error)
            else:
                wanted = work.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _pipeline(
    ops: Sequence[Op[Any]], submit: Callable[[Op[Any]], Any], abandon: Callable[[Any], object]
) -> Generator[Any, Any, List[Any]]:
    """The outcomes of many operations, errors included as values, a window of them under way at a time."""
    outcomes: List[Any] = []
    under_way: Deque[Any] = deque()
    remaining = iter(ops)
    try:
        while True:
            for op in remaining:
                under_way.append(submit(op))
                if len(under_way) >= WINDOW:
                    break
            if not under_way:
                return outcomes
            try:
                outcomes.append((yield under_way.popleft()))
            except OperationTimeoutError:
                raise
            except ZookeeperError as error:
                outcomes.append(error)
    finally:  # time is up, say: what is still queued is not to be done later
        for future in under_way:
            abandon(future)


def ensure_path(path: str, acl: Optional[Sequence[ACL]] = None) -> Recipe[bool]:
    """Create what is missing of a path, top down; existing nodes are left alone, and need not be writable."""
    above = ["/", *prefixes(path)]  # which is the chroot, if there is one
    for _ in range(PATIENCE):
        stats = yield [Exists(p) for p in above]
        known = [i for i, stat in enumerate(stats) if isinstance(stat, Stat)]
        missing = above[known[-1] + 1 :] if known else above
        outcomes = yield [Create(p, acl=acl) for p in missing]
        errors = [o for o in outcomes if isinstance(o, ZookeeperError) and not isinstance(o, NodeExistsError)]
        if not errors:
            return True
        if not isinstance(errors[0], NoNodeError):
            raise errors[0]
    raise errors[0]


def create_with_parents(op: Op[T], acl: Optional[Sequence[ACL]] = None) -> Recipe[T]:
    """Create a node, and its parents if they are missing."""
    for _ in range(PATIENCE):
        try:
            result: T = yield op
            return result
        except NoNodeError:
            yield from ensure_path(parent_of(op.path or "/"), acl)
    result = yield op
    return result


def delete_recursive(path: str, version: int = -1) -> Recipe[bool]:
    """Delete a node and all below it, pipelined; what others delete meanwhile is no error, what they add is."""
    levels: List[List[str]] = [[path]]
    while levels[-1]:
        listed = yield [GetChildren(p) for p in levels[-1]]
        below: List[str] = []
        for parent, names in zip(levels[-1], listed):
            if isinstance(names, ZookeeperError):
                if parent != path and isinstance(names, NoNodeError):
                    continue
                raise names
            below += [join(parent, name) for name in names]
        levels.append(below)
    for level in reversed(levels[1:]):
        for outcome in (yield [Delete(p) for p in level]):
            if isinstance(outcome, ZookeeperError) and not isinstance(outcome, NoNodeError):
                raise outcome
    if path != "/":
        yield Delete(path, version)
    return True


def only_path(recipe: Recipe[Tuple[str, Any]]) -> Recipe[str]:
    """The path alone, of a create that gives a Stat too."""
    path, _ = yield from recipe
    return path


def single(op: Op[T]) -> Recipe[T]:
    """One operation, as a recipe."""
    result: T = yield op
    return result


def get_many(paths: Sequence[str]) -> Recipe[List[Union[Tuple[bytes, Stat], ZookeeperError]]]:
    """Data and Stat of many nodes, pipelined; an error instance for each that could not be read."""
    outcomes: List[Union[Tuple[bytes, Stat], ZookeeperError]] = yield [GetData(p) for p in paths]
    return outcomes


def protected_name(name: str, guid: Optional[str] = None) -> Tuple[str, str]:
    """`(prefix, prefix + name)` with a prefix nobody else uses: `_c_<32 hex>-`, which Curator and Go read too."""
    prefix = f"_c_{guid or os.urandom(16).hex()}-"
    return prefix, prefix + name


def create_protected(
    front: HasSession, make: Callable[[str], Op[Any]], path: str, ephemeral: bool,
    with_parents: Callable[[Op[Any]], Any],
) -> Recipe[Any]:  # fmt: skip
    """Create a node under a name of its own, so that it is found again if the answer is lost: never two of them.

    `make(path)` gives the operation. A node left by an earlier session of ours is dying: it is deleted, and a new one
    made.
    """
    parent, name = parent_of(path), path.rpartition("/")[2]
    prefix, name = protected_name(name)
    op = make(("" if parent == "/" else parent) + "/" + name)
    in_doubt, error = False, ZookeeperError()
    for _ in range(PATIENCE):
        try:
            if in_doubt:
                found = yield from _find(parent, prefix)
                if found is not None:
                    ours = not ephemeral or found[1].ephemeralOwner == (front.client_id or (0,))[0]
                    if ours:
                        return found if op.opcode != Create.opcode else found[0]
                    yield from _delete_quietly(found[0])
                in_doubt = False
            return (yield from with_parents(op))
        except OperationTimeoutError:
            raise
        except (ConnectionLoss, SessionExpiredError) as lost:
            in_doubt, error = in_doubt or lost.maybe_applied, lost
    raise error


def _find(parent: str, prefix: str) -> Recipe[Optional[Tuple[str, Stat]]]:
    """The child whose name starts with `prefix`, as of now: the server catches up with the leader first."""
    synced, names = yield [Sync(parent), GetChildren(parent)]
    for outcome in (synced, names):
        if isinstance(outcome, NoNodeError):
            return None
        if isinstance(outcome, ZookeeperError):
            raise outcome
    for name in names:
        if name.startswith(prefix):
            path = join(parent, name)
            stat = yield Exists(path)
            if stat is not None:
                return path, stat
    return None


def _delete_quietly(path: str) -> Recipe[None]:
    try:
        yield Delete(path)
    except NoNodeError:
        pass  # it went by itself


__all__ = [
    "Create2", "NotEmptyError", "Recipe", "Work", "create_protected", "create_with_parents", "delete_recursive",
    "ensure_path", "get_many", "only_path", "protected_name", "single",
]  # fmt: skip
