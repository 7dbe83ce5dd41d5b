"""Work of several steps, as generators of operations that both fronts can run.

Owns the order of the steps. Must not know how operations are sent or waited for. A recipe yields an operation and is
sent its result (or its error is thrown in). Or it yields a list of operations, which are pipelined, and is sent the
list of outcomes, errors included as values. Its return value is the verb's result.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Deque, Generator, List, Optional, Sequence, Tuple, TypeVar, Union

from .errors import (
    ConnectionLoss, NoAuthError, NodeExistsError, NoNodeError, NotEmptyError, OperationTimeoutError,
    SessionExpiredError, TooManyPendingError, ZookeeperError,
)  # fmt: skip
from .paths import join, parent_of, prefixes
from .session.windows import Windows
from .wire.operation import Op
from .ops import Create, Create2, CreateChroot, Delete, Exists, GetChildren, GetData, Sync
from .values import ACL, Stat

if TYPE_CHECKING:
    from typing import Protocol

    class HasSession(Protocol):
        """The part of a front that recipes use."""

        @property
        def client_id(self) -> Optional[Tuple[int, bytes]]:
            """Session id and password, or None."""


T = TypeVar("T")
Recipe = Generator[Any, Any, T]
Work = Union[Op[T], Recipe[T]]

#: The number of operations of a list that are in flight at a time.
WINDOW = 1000
#: The number of attempts, since parents may vanish while nodes are created below them (empty containers are reaped).
ATTEMPTS = 10
#: The most levels of a chroot that is created.
MOST_LEVELS = 1000


class Writes:
    """The writes of one recipe: the ones that were done, and the ones with an unknown outcome."""

    #: The text of an error names this many of each.
    NAMED = 3

    def __init__(self) -> None:
        self.done: List[Op[Any]] = []
        self.in_doubt: List[Op[Any]] = []

    def note(self, op: Op[Any], outcome: Any) -> None:
        """An operation has ended."""
        if op.writes:
            if not isinstance(outcome, ZookeeperError):
                self.done.append(op)
            elif outcome.maybe_applied:
                self.in_doubt.append(op)

    def explain(self, error: ZookeeperError) -> None:
        """Add to the recipe's error which writes were done, and which may have been done."""
        if self.done or self.in_doubt:
            error.maybe_applied, error.applied, error.in_doubt = True, tuple(self.done), tuple(self.in_doubt)
            said = [f"{kind}: {self._named(ops)}" for kind, ops in (
                ("done before", self.done), ("perhaps done", self.in_doubt)) if ops]  # fmt: skip
            error.args = (f"{error} ({'; '.join(said)})",)

    def _named(self, ops: List[Op[Any]]) -> str:
        more = len(ops) - self.NAMED
        return ", ".join(map(repr, ops[: self.NAMED])) + (f" and {more} more" if more > 0 else "")


Submit = Callable[[Op[Any], bool], Any]
Cancel = Callable[[Any], bool]
UnderWay = Deque[Tuple[Op[Any], Any]]


def drive(work: Recipe[T], submit: Submit, cancel: Cancel, windows: Windows) -> Generator[Any, Any, T]:
    """Runs a recipe for a front: yields each future to wait for, and is sent its result or thrown its error.

    `submit(op, force)` gives a future; with `force` the limit `max_pending` is ignored. `cancel(future)` takes an
    operation back, and returns whether it was never sent. The front closes the generator at the end, which cancels
    the operations still in flight. `windows` are those of all recipes of the client. An error that ends the recipe
    accounts for all of its writes, see `Writes`.
    """
    writes = Writes()
    under_way: UnderWay = deque()
    windows.open(under_way)
    try:
        wanted = next(work)
        while True:
            try:
                if isinstance(wanted, Op):
                    answer = yield from _single(wanted, submit, writes)
                else:
                    answer = yield from _pipeline(wanted, submit, cancel, writes, under_way, windows)
            except Exception as error:
                wanted = work.throw(error)
            else:
                wanted = work.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    except ZookeeperError as error:
        writes.explain(error)
        raise
    finally:
        windows.close(under_way)


def _single(op: Op[Any], submit: Submit, writes: Writes) -> Generator[Any, Any, Any]:
    """The result of one operation."""
    future = submit(op, True)
    try:
        outcome = yield future
    except ZookeeperError as error:
        writes.note(op, error)
        raise
    writes.note(op, outcome)
    return outcome


def _pipeline(
    ops: Sequence[Op[Any]], submit: Submit, cancel: Cancel, writes: Writes, under_way: UnderWay, windows: Windows
) -> Generator[Any, Any, List[Any]]:
    """The outcomes of many operations, errors included as values; a window of them is in flight at a time.

    The window is narrower while other recipes run, and while other calls fill `max_pending`, but it has room for at
    least one: the first operation is never refused.
    """
    outcomes: List[Any] = []
    remaining = deque(ops)
    try:
        while remaining or under_way:
            while remaining and len(under_way) < WINDOW and not (under_way and windows.full):
                try:
                    under_way.append((remaining[0], submit(remaining[0], not under_way)))
                except TooManyPendingError:
                    if not under_way:
                        raise
                    break
                remaining.popleft()
            op, future = under_way.popleft()
            if future.done() and future.exception() is None:  # it costs less to look than to wait
                outcome = future.result()
            else:
                try:
                    outcome = yield future
                except OperationTimeoutError as error:
                    writes.note(op, error)
                    raise
                except ZookeeperError as error:
                    outcome = error
            if op.writes:
                writes.note(op, outcome)
            outcomes.append(outcome)
        return outcomes
    finally:  # as after a time-out: queued operations must not be done later
        for op, future in under_way:
            if not cancel(future) and op.writes:
                writes.in_doubt.append(op)
        under_way.clear()


def make_chroot(acl: Optional[Sequence[ACL]] = None) -> Recipe[None]:
    """Create the chroot and its missing parents; these are outside all paths of the client.

    It goes up only to the first parent that exists: the nodes above need not be writable.
    """
    up = 0
    for _ in range(MOST_LEVELS):
        try:
            yield CreateChroot(up, acl)
        except NodeExistsError:
            pass
        except NoNodeError:
            up += 1
            continue
        if not up:
            return
        up -= 1
    yield CreateChroot(0, acl)


def ensure_path(path: str, acl: Optional[Sequence[ACL]] = None) -> Recipe[bool]:
    """Create the missing nodes of a path, top down; existing nodes are left alone, and need not be writable."""
    above = ["/", *prefixes(path)]  # "/" is the chroot, if there is one
    for _ in range(ATTEMPTS):
        stats = yield [Exists(p) for p in above]
        known = [i for i, stat in enumerate(stats) if isinstance(stat, (Stat, NoAuthError))]  # not readable: exists
        if not known:
            yield from make_chroot(acl)
        missing = above[known[-1] + 1 :] if known else above[1:]
        outcomes = yield [Create(p, acl=acl) for p in missing]
        errors = [o for o in outcomes if isinstance(o, ZookeeperError) and not isinstance(o, NodeExistsError)]
        if not errors:
            return True
        if not isinstance(errors[0], NoNodeError):
            raise errors[0]
    raise errors[0]


def create_with_parents(op: Op[T], acl: Optional[Sequence[ACL]] = None) -> Recipe[T]:
    """Create a node, and its parents if they are missing."""
    for _ in range(ATTEMPTS):
        try:
            result: T = yield op
            return result
        except NoNodeError:
            yield from ensure_path(parent_of(op.path or "/"), acl)
    result = yield op
    return result


def delete_recursive(path: str, version: int = -1) -> Recipe[bool]:
    """Delete a node and all below it, pipelined; a node already deleted is no error, a node added meanwhile is one."""
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
    """Only the path, of a create that returns a Stat too."""
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
    """`(prefix, prefix + name)` with a prefix that is unique: `_c_<32 hex>-`, which Curator and Go read too."""
    prefix = f"_c_{guid or os.urandom(16).hex()}-"
    return prefix, prefix + name


def create_protected(
    front: HasSession, make: Callable[[str], Op[Any]], path: str, ephemeral: bool,
    with_parents: Callable[[Op[Any]], Any],
) -> Recipe[Any]:  # fmt: skip
    """Create a node with a unique name, by which it is found again if the reply is lost: there are never two of them.

    `make(path)` gives the operation. A node left by an earlier session of this client will be deleted by the server
    soon: it is deleted now, and a new one is made.
    """
    parent, name = parent_of(path), path.rpartition("/")[2]
    prefix, name = protected_name(name)
    op = make(("" if parent == "/" else parent) + "/" + name)
    in_doubt, error = False, ZookeeperError()
    for _ in range(ATTEMPTS):
        try:
            if in_doubt:
                found = yield from _find(parent, prefix)
                if found is not None:
                    if not ephemeral or found[1].ephemeralOwner == (front.client_id or (0,))[0]:
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
    """The child whose name starts with `prefix`; a sync first makes the server catch up with the leader."""
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
        pass  # the server has deleted it already


__all__ = [
    "Create2", "NotEmptyError", "Recipe", "Work", "create_protected", "create_with_parents", "delete_recursive",
    "ensure_path", "get_many", "only_path", "protected_name", "single",
]  # fmt: skip
