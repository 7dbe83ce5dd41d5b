"""Transactions: several operations in one request, all or none, and several reads at one point in time.

Owns the encoding and the results of transactions. Must not know connections, sessions or verbs.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple, Type, Union

from ..errors import MarshallingError, RolledBackError, RuntimeInconsistency, ZookeeperError
from .jute import INT, NOTHING, JuteType, decode
from .messages import RESULT_PATH, STAT, Scope
from .node_ops import (
    DATA_AND_STAT, NAMES, PATH_AND_STAT, Check, Create, Create2, CreateContainer, CreateTTL, Delete, GetChildren,
    GetData, SetData,
)  # fmt: skip
from .operation import Op, Pathless, explained

IN_TRANSACTION: Tuple[Type[Op[Any]], ...] = (Create, Create2, CreateContainer, CreateTTL, Delete, SetData, Check)
IN_MULTI_READ: Tuple[Type[Op[Any]], ...] = (GetData, GetChildren)
IN_MULTI: Dict[int, Type[Op[Any]]] = {op.opcode: op for op in IN_TRANSACTION + IN_MULTI_READ}

#: A MultiHeader (type, done, err); the end of requests and replies; and the header of each operation.
_HEADER = struct.Struct(">i?i")
_END = _HEADER.pack(-1, True, -1)
_HEADERS = {opcode: _HEADER.pack(opcode, False, -1) for opcode in IN_MULTI}
#: The bytes before the path in the result of a create, and their number.
_CREATED = struct.Struct(">i?ii")
_pack_created, _unpack_header = _CREATED.pack, _HEADER.unpack_from
#: The body behind the header of a result, by its type, which is not always that of the request (ZOOKEEPER-4026).
_RESULTS: Dict[int, JuteType[Any]] = {
    -1: INT, 1: RESULT_PATH, 15: PATH_AND_STAT, 19: PATH_AND_STAT, 21: PATH_AND_STAT,
    2: NOTHING, 13: NOTHING, 5: STAT, 4: DATA_AND_STAT, 8: NAMES,
}  # fmt: skip
_READERS = {kind: codec.read for kind, codec in _RESULTS.items()}
_CREATES = (1, 15, 19, 21)


class _MultiOps(JuteType[Sequence[Op[Any]]]):
    """The operations of a transaction, each with its header, up to a terminator."""

    def write(self, out: bytearray, value: Sequence[Op[Any]], scope: Any) -> None:
        headers, parts = _HEADERS, []
        for op in value:
            parts.append(headers[op.opcode])
            parts += op.parts(scope)
        out += b"".join(parts) + _END

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Sequence[Op[Any]], int]:
        ops: List[Op[Any]] = []
        while True:
            opcode, done, _ = _unpack_header(data, at)
            at += _HEADER.size
            if done:
                return ops, at
            if opcode not in IN_MULTI:
                raise IndexError(f"operation {opcode} in a transaction")
            op, at = IN_MULTI[opcode].read(data, at, scope)
            ops.append(op)


class _MultiResults(JuteType[List[Tuple[int, Any]]]):
    """The results of a transaction as (type, value), where type -1 means an error and its value the code.

    More than `most` are malformed, and refused at once: a frame has room for a million.
    """

    def __init__(self, most: int = 2**31) -> None:
        self._most = most

    def write(self, out: bytearray, value: List[Tuple[int, Any]], scope: Any) -> None:
        for kind, result in value:
            out += _HEADER.pack(kind, False, result if kind == -1 else 0)
            _RESULTS[kind].write(out, result, scope)
        out += _END

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[List[Tuple[int, Any]], int]:
        results: List[Tuple[int, Any]] = []
        readers, most = _READERS, self._most
        while True:
            kind, done, _ = _unpack_header(data, at)
            at += _HEADER.size
            if done:
                return results, at
            if kind not in readers or len(results) == most:
                raise IndexError(f"result of type {kind} in a transaction, behind {len(results)}")
            result, at = readers[kind](data, at, scope)
            results.append((kind, result))


class Multi(Pathless[List[Any]]):
    """All of the operations or none: `Create` and its kin, `Delete`, `SetData`, `Check`.

    The result has one entry per operation, as the operation alone returns it. If one fails, its error is raised; with
    `raise_on_error=False`, the result then holds an exception for every operation: the cause, `RolledBackError` before
    it, `RuntimeInconsistency` after it.
    """

    opcode = 14
    writes = True
    request = (("ops", _MultiOps()),)
    reply = _MultiResults()
    ops: Sequence[Op[Any]]
    raise_on_error: bool
    _allowed: FrozenSet[Type[Op[Any]]] = frozenset(IN_TRANSACTION)

    def __init__(self, ops: Sequence[Op[Any]], raise_on_error: bool = True) -> None:
        ops = tuple(ops)
        if not self._allowed.issuperset(map(type, ops)):
            wrong = next(op for op in ops if type(op) not in self._allowed)
            raise ValueError(f"{wrong!r} cannot stand in a {type(self).__name__}")
        self.__dict__.update(ops=ops, raise_on_error=raise_on_error)

    @classmethod
    def read(cls, data: bytes, at: int, scope: Any) -> Tuple[Any, int]:
        """The operation at `at`."""
        op, at = super().read(data, at, scope)
        op.__dict__["raise_on_error"] = True
        return op, at

    def result(self, data: bytes, at: int, scope: Any) -> Union[List[Any], ZookeeperError]:
        """The outcome of a successful reply."""
        created = self._created(data, at, scope)
        return created or self.conclude(decode(_MultiResults(len(self.ops)), data, at, scope), scope)

    def _created(self, data: bytes, at: int, scope: Any) -> Optional[List[Any]]:
        """The results if all are plain creates that have succeeded; None in any other case.

        The reply can then contain only the paths of the request: comparing is faster than decoding.
        """
        expected: List[bytes] = []
        for op in self.ops:
            if type(op) is not Create or op.flags > 1:
                return None
            raw = (op.path if scope is None or not scope.prefix else scope.prepend(op.path)).encode()
            expected += (_pack_created(1, False, 0, len(raw)), raw)
        expected.append(_END)
        return [op.path for op in self.ops] if data.startswith(b"".join(expected), at) else None

    def conclude(self, value: List[Tuple[int, Any]], scope: Optional[Scope] = None) -> Union[List[Any], ZookeeperError]:
        """Results by position; see the class."""
        if len(value) != len(self.ops):
            raise MarshallingError(f"{len(value)} results for {len(self.ops)} operations")
        if all(kind != -1 for kind, _ in value):
            return [_shape(op, kind, result) for op, (kind, result) in zip(self.ops, value)]
        errors = [_error(op, code if kind == -1 else 0, scope) for op, (kind, code) in zip(self.ops, value)]
        if not self.raise_on_error:
            return list(errors)
        causes = [e for e in errors if not isinstance(e, (RolledBackError, RuntimeInconsistency))]
        return (causes or errors)[0]


class MultiRead(Multi):
    """Several `GetData` and `GetChildren` at one point in time. ZooKeeper 3.6 and later.

    The result has one entry per operation: its result, or an exception (not raised) if it failed.
    """

    opcode = 22
    writes = False
    _allowed = frozenset(IN_MULTI_READ)

    def __init__(self, ops: Sequence[Op[Any]]) -> None:
        super().__init__(ops)
        if any(op.watch is not None for op in self.ops):
            raise ValueError("a watch cannot be set by a MultiRead")

    def conclude(self, value: List[Tuple[int, Any]], scope: Optional[Scope] = None) -> Union[List[Any], ZookeeperError]:
        """Results and errors by position."""
        if len(value) != len(self.ops):
            raise MarshallingError(f"{len(value)} results for {len(self.ops)} operations")
        return [_error(op, r, scope) if kind == -1 else _shape(op, kind, r) for op, (kind, r) in zip(self.ops, value)]


def _shape(op: Op[Any], kind: int, result: Any) -> Any:
    """The result of `op` in the shape it has alone: servers mix up the types of creates, and no other types."""
    if kind != op.opcode and not (kind in _CREATES and op.opcode in _CREATES):
        raise MarshallingError(f"a result of type {kind} for {op!r}")
    if kind in _CREATES:
        op.conclude(result)  # raises if the path is not the requested one
    wants_stat = op.reply is PATH_AND_STAT
    if kind == 1 and wants_stat:
        return result, None
    if kind != 1 and op.opcode == 1:
        return result[0]
    return result


def _error(op: Op[Any], code: int, scope: Optional[Scope]) -> ZookeeperError:
    return RolledBackError(None, op.path) if code == 0 else explained(op, code, scope)
