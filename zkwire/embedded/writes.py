"""Writes: each is checked against the tree and the transaction so far, and becomes a step of a transaction.

Owns the order of checks, which decides the error that a client gets, as in PrepRequestProcessor. Must not know
connections, watches or replies.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..errors import (
    BadArgumentsError, BadVersionError, MarshallingError, NoChildrenForEphemeralsError, NodeExistsError, NoNodeError,
    NotEmptyError, ReconfigDisabledError, UnimplementedError,
)  # fmt: skip
from ..typed import NamedTuple
from ..paths import validate_path
from ..values import ACL, Id, Permissions, Stat
from .identity import Identities
from .requests import Part, Request
from .settings import Settings
from .transactions import ACLSet, DataSet, Effect, NodeCreated, NodeDeleted, Step
from .tree import CONTAINER, TTL_MASK, Tree, int32, is_session

EPHEMERAL_FLAGS, SEQUENTIAL_FLAGS, TTL_FLAGS = (1, 3), (2, 3, 6), (5, 6)
TTL_LIMIT = 0xFFFFFFFFFF
#: The ends of the ranges of characters that are forbidden in paths (PathUtils before 3.5).
_RANGE_ENDS = re.compile("[\x1f\x7f\x9f\ud800\uf8ff\ufff0\uffff]")
#: The outcome of a write: the type of its result in a transaction, and the value of its reply.
Result = Tuple[int, object]


class Context(NamedTuple):
    """The origin of a write: the session and its identities."""

    session: int
    ids: Sequence[Id]


class _Pending(NamedTuple):
    """The state of a node so far in a transaction."""

    version: int
    creates: int
    aversion: int
    acl: Sequence[ACL]
    owner: int
    children: int
    size: int


class Draft:
    """The steps of one transaction being prepared. It changes nothing; a draft may be dropped."""

    def __init__(
        self, tree: Tree, identities: Identities, context: Context, settings: Settings
    ) -> None:
        self._tree, self._identities, self._context = tree, identities, context
        self._profile, self._extended = settings.profile, settings.extended
        self._enforces_quota = settings.enforce_quota and settings.profile.hard_quotas
        self._pending: Dict[str, Optional[_Pending]] = {}
        #: The step of each operation, None for a check, and how the result follows from the step's effect.
        self._steps: List[Tuple[Optional[Step], Callable[[Optional[Stat]], Result]]] = []

    def add(self, part: Part) -> None:
        """Prepare one more operation; raises the error for its client."""
        _PREPARE[part.opcode](self, part.opcode, part.request)

    @property
    def steps(self) -> Tuple[Step, ...]:
        """All steps that were prepared."""
        return tuple(step for step, _ in self._steps if step is not None)

    def results(self, effects: Sequence[Effect]) -> List[Result]:
        """The results of all operations, from the effects of the steps."""
        stats = iter([effect.stat for effect in effects])
        return [result(None if step is None else next(stats)) for step, result in self._steps]

    # ------------------------------------------------------------------------------ helpers

    def _get(self, path: str) -> _Pending:
        if path in self._pending:
            found = self._pending[path]
        else:
            node = self._tree.get(path)
            found = None if node is None else _Pending(
                node.version, node.creates, node.aversion, node.acl, node.owner, len(node.children),
                len(node.data or b""),
            )
        if found is None:
            raise NoNodeError(path=path)
        return found

    def _may(self, pending: _Pending, permission: int) -> None:
        self._identities.check(pending.acl, permission, self._context.ids)

    def _validate(self, path: Optional[str]) -> None:
        if path is not None and self._profile.open_path_ranges:
            path = _RANGE_ENDS.sub("x", path)
        try:
            validate_path(path)  # type: ignore[arg-type]  # a null path is a TypeError
        except (ValueError, TypeError) as error:
            raise BadArgumentsError(str(error), path) from error

    def _resolve(self, acl: Optional[Sequence[ACL]]) -> Sequence[ACL]:
        if acl is None and self._profile.needs_acl:
            raise MarshallingError("a null ACL")
        if self._profile.old_create and any(entry.id.scheme is None for entry in acl or ()):
            raise MarshallingError("null in an ACL")
        return self._identities.resolve(acl, self._context.ids)

    def _check_quota(self, path: str, size: int, count: int) -> None:
        """Check against the applied state; earlier operations of the same transaction do not count yet."""
        if self._enforces_quota:
            self._tree.quotas.check(path, size, count)

    # --------------------------------------------------------------------------- operations

    def _create(self, opcode: int, request: Request) -> None:
        flags, path, ttl = request.flags, request.path, getattr(request, "ttl", -1)
        if opcode == 21 and not hasattr(request, "ttl"):
            raise MarshallingError("a create with the flags of a TTL node, and no TTL")  # in a transaction, before 3.9
        old = self._profile.old_create
        if not old:
            self._check_mode(flags, ttl, path)
        parent_path = _parent(path)
        acl = self._resolve(request.acl)
        parent = self._get(parent_path)
        self._may(parent, Permissions.CREATE)
        if old and flags not in range(4):
            raise BadArgumentsError(path=path)
        if flags in SEQUENTIAL_FLAGS:
            path += f"{parent.creates:010d}"
        self._validate(path)
        try:
            self._get(path)
        except NoNodeError:
            pass
        else:
            raise NodeExistsError(path=path)
        if is_session(parent.owner):
            raise NoChildrenForEphemeralsError(path=path)
        size = len(request.value or b"")
        self._check_quota(path, size, 1)
        creates = int32(parent.creates + 1)
        self._pending[parent_path] = parent._replace(creates=creates, children=parent.children + 1)
        self._pending[path] = _Pending(0, 0, 0, acl, self._owner(flags, ttl), 0, size)
        owner = self._stored_owner(opcode, flags, ttl)
        step = NodeCreated(path, request.value, acl, owner, creates)
        self._steps.append((step, lambda stat: (1, path) if opcode == 1 else (15, (path, stat))))

    def _check_mode(self, flags: int, ttl: int, path: Optional[str]) -> None:
        if flags not in range(7):
            raise BadArgumentsError(path=path)
        if flags in TTL_FLAGS and not self._extended:
            raise UnimplementedError(path=path)
        if not 0 < ttl <= TTL_LIMIT if flags in TTL_FLAGS else ttl >= 0:
            raise BadArgumentsError(path=path)

    def _owner(self, flags: int, ttl: int) -> int:
        """The owner by flags, which later operations of the same transaction see."""
        if flags in EPHEMERAL_FLAGS:
            return self._context.session
        return CONTAINER if flags == 4 else TTL_MASK | ttl if flags in TTL_FLAGS else 0

    def _stored_owner(self, opcode: int, flags: int, ttl: int) -> int:
        """The owner by opcode, which decides the stored type of the node."""
        if opcode == 19:
            return CONTAINER
        if opcode == 21:
            if not 0 < ttl <= TTL_LIMIT:  # a real server crashes on it
                raise MarshallingError(f"TTL {ttl}")
            return TTL_MASK | ttl
        return self._context.session if flags in EPHEMERAL_FLAGS else 0

    def _delete(self, opcode: int, request: Request) -> None:
        path = request.path
        parent_path = _parent(path)
        if path in self._tree.special:
            raise BadArgumentsError(path=path)
        if opcode == 2:
            parent = self._get(parent_path)
            if self._profile.finds_before_rights:
                self._get(path)
            self._may(parent, Permissions.DELETE)
            node = self._get(path)
            _next_version(node.version, request.version, path)
        else:
            node = self._get(path)
        if node.children > 0:
            raise NotEmptyError(path=path)
        if opcode == 20 and is_session(node.owner):
            raise BadVersionError(path=path)
        parent = self._get(parent_path)
        self._pending[parent_path] = parent._replace(children=parent.children - 1)
        self._pending[path] = None
        self._steps.append((NodeDeleted(path), lambda stat: (2, None)))

    def _set_data(self, opcode: int, request: Request) -> None:
        path = request.path
        self._validate(path)
        node = self._get(path)
        self._may(node, Permissions.WRITE)
        size = len(request.value or b"")
        self._check_quota(path, size - node.size, 0)
        version = _next_version(node.version, request.version, path)
        self._pending[path] = node._replace(version=version, size=size)
        self._steps.append((DataSet(path, request.value, version), lambda stat: (5, stat)))

    def _set_acl(self, opcode: int, request: Request) -> None:
        path = request.path
        self._validate(path)
        acl = self._resolve(request.acl)
        node = self._get(path)
        self._may(node, Permissions.ADMIN)
        version = _next_version(node.aversion, request.version, path)
        self._steps.append((ACLSet(path, acl, version), lambda stat: (7, stat)))

    def _check(self, opcode: int, request: Request) -> None:
        self._validate(request.path)
        node = self._get(request.path)
        self._may(node, Permissions.READ)
        _next_version(node.version, request.version, request.path)
        self._steps.append((None, lambda stat: (13, None)))

    def _reconfig(self, opcode: int, request: Request) -> None:
        raise ReconfigDisabledError

    def _read(self, opcode: int, request: Request) -> None:
        raise MarshallingError(f"operation {opcode} in a transaction that writes")


_PREPARE: Dict[int, Callable[[Draft, int, Request], None]] = {
    1: Draft._create, 15: Draft._create, 19: Draft._create, 21: Draft._create, 2: Draft._delete, 20: Draft._delete,
    5: Draft._set_data, 7: Draft._set_acl, 13: Draft._check, 16: Draft._reconfig, 4: Draft._read, 8: Draft._read,
}  # fmt: skip
#: Opcodes of single writes.
WRITES = frozenset({1, 2, 5, 7, 13, 15, 16, 19, 20, 21})


def _parent(path: Optional[str]) -> str:
    if path is None:
        raise MarshallingError("a write without a path")
    above, slash, _ = path.rpartition("/")
    if not slash or "\0" in path:
        raise BadArgumentsError(path=path)
    return above



def _next_version(current: int, expected: int, path: str) -> int:
    if expected not in (-1, current):
        raise BadVersionError(path=path)
    return int32(current + 1)
