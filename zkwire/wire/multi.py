"""Transactions: several operations in one request, all or none, and several reads at one point in time.

Owns how they are written, read and shaped. Must not know connections, sessions or verbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple, Type, Union

from ..errors import MarshallingError, RolledBackError, RuntimeInconsistency, ZookeeperError, error_for
from .jute import BOOL, INT, NOTHING, Codec, Record, decode
from .messages import RESULT_PATH, STAT
from .node_ops import (
    DATA_AND_STAT, NAMES, PATH_AND_STAT, Check, Create, Create2, CreateContainer, CreateTTL, Delete, GetChildren,
    GetData, SetData, pair,
)  # fmt: skip
from .operation import Op, Pathless


class _MultiOps(Codec[Sequence[Op[Any]]]):
    """The operations of a transaction, each with its MultiHeader (type, done, err), up to a terminator."""

    _end = (-1, True, -1)

    def write(self, out: bytearray, value: Sequence[Op[Any]], scope: Any) -> None:
        for op in value:
            _MULTI_HEADER.write(out, (op.opcode, False, -1), scope)
            op.body(out, scope)
        _MULTI_HEADER.write(out, self._end, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Sequence[Op[Any]], int]:
        ops: List[Op[Any]] = []
        while True:
            (opcode, done, _), at = _MULTI_HEADER.read(data, at, scope)
            if done:
                return ops, at
            if opcode not in IN_MULTI:
                raise IndexError(f"operation {opcode} in a transaction")
            op, at = IN_MULTI[opcode].read(data, at, scope)
            ops.append(op)


class _MultiResults(Codec[List[Tuple[int, Any]]]):
    """The results of a transaction as (type, value), where type -1 means an error and its value the code.

    More than `most` are malformed, before they take any time: a frame has room for a million.
    """

    def __init__(self, most: int = 2**31) -> None:
        self._most = most

    def write(self, out: bytearray, value: List[Tuple[int, Any]], scope: Any) -> None:
        for kind, result in value:
            _MULTI_HEADER.write(out, (kind, False, result if kind == -1 else 0), scope)
            _RESULTS[kind].write(out, result, scope)
        _MULTI_HEADER.write(out, _MultiOps._end, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[List[Tuple[int, Any]], int]:
        results: List[Tuple[int, Any]] = []
        while True:
            (kind, done, _), at = _MULTI_HEADER.read(data, at, scope)
            if done:
                return results, at
            if kind not in _RESULTS or len(results) == self._most:
                raise IndexError(f"result of type {kind} in a transaction, behind {len(results)}")
            result, at = _RESULTS[kind].read(data, at, scope)
            results.append((kind, result))


_MULTI_HEADER: Codec[Tuple[int, bool, int]] = Record(pair, INT, BOOL, INT)
#: What follows the header of a result, by its type, which is not always that of the request (ZOOKEEPER-4026).
_RESULTS: Dict[int, Codec[Any]] = {
    -1: INT, 1: RESULT_PATH, 15: PATH_AND_STAT, 19: PATH_AND_STAT, 21: PATH_AND_STAT,
    2: NOTHING, 13: NOTHING, 5: STAT, 4: DATA_AND_STAT, 8: NAMES,
}  # fmt: skip
_CREATES = (1, 15, 19, 21)


@dataclass(frozen=True, repr=False)
class Multi(Pathless[List[Any]]):
    """All of the operations or none: `Create` and its kin, `Delete`, `SetData`, `Check`.

    The result has one entry per operation, what it gives alone. If one fails, its error is raised; or, with
    `raise_on_error=False`, the result holds an exception for every operation: the cause, `RolledBackError` before it,
    `RuntimeInconsistency` behind it.
    """

    ops: Sequence[Op[Any]]
    raise_on_error: bool = True
    opcode = 14
    writes = True
    request = (("ops", _MultiOps()),)
    reply = _MultiResults()

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", tuple(self.ops))
        for op in self.ops:
            if type(op) not in self._allowed():
                raise ValueError(f"{op!r} cannot stand in a {type(self).__name__}")

    def _allowed(self) -> Tuple[Type[Op[Any]], ...]:
        return IN_TRANSACTION

    def result(self, data: bytes, at: int, scope: Any) -> Union[List[Any], ZookeeperError]:
        """The outcome of a successful reply."""
        return self.conclude(decode(_MultiResults(len(self.ops)), data, at, scope))

    def conclude(self, value: List[Tuple[int, Any]]) -> Union[List[Any], ZookeeperError]:
        """Results by position; see the class."""
        if len(value) != len(self.ops):
            raise MarshallingError(f"{len(value)} results for {len(self.ops)} operations")
        if all(kind != -1 for kind, _ in value):
            return [_shape(op, kind, result) for op, (kind, result) in zip(self.ops, value)]
        errors = [_error(op, code if kind == -1 else 0) for op, (kind, code) in zip(self.ops, value)]
        if not self.raise_on_error:
            return list(errors)
        causes = [e for e in errors if not isinstance(e, (RolledBackError, RuntimeInconsistency))]
        return (causes or errors)[0]


@dataclass(frozen=True, repr=False)
class MultiRead(Multi):
    """Several `GetData` and `GetChildren` at one point in time. ZooKeeper 3.6 and later.

    The result has one entry per operation: what it gives alone, or an exception (not raised) if it failed.
    """

    opcode = 22
    writes = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(op.watch is not None for op in self.ops):
            raise ValueError("a watch cannot be set by a MultiRead")

    def _allowed(self) -> Tuple[Type[Op[Any]], ...]:
        return IN_MULTI_READ

    def conclude(self, value: List[Tuple[int, Any]]) -> Union[List[Any], ZookeeperError]:
        """Results and errors by position."""
        if len(value) != len(self.ops):
            raise MarshallingError(f"{len(value)} results for {len(self.ops)} operations")
        return [_error(op, r) if kind == -1 else _shape(op, kind, r) for op, (kind, r) in zip(self.ops, value)]


def _shape(op: Op[Any], kind: int, result: Any) -> Any:
    """The result of `op` in the shape it has alone: servers mix up the types of creates, and no others."""
    if kind != op.opcode and not (kind in _CREATES and op.opcode in _CREATES):
        raise MarshallingError(f"a result of type {kind} for {op!r}")
    if kind in _CREATES:
        op.conclude(result)  # or its path is not the one asked for
    wants_stat = op.reply is PATH_AND_STAT
    if kind == 1 and wants_stat:
        return result, None
    if kind != 1 and op.opcode == 1:
        return result[0]
    return result


def _error(op: Op[Any], code: int) -> ZookeeperError:
    return RolledBackError(None, op.path) if code == 0 else error_for(code, op.path)


IN_TRANSACTION: Tuple[Type[Op[Any]], ...] = (Create, Create2, CreateContainer, CreateTTL, Delete, SetData, Check)
IN_MULTI_READ: Tuple[Type[Op[Any]], ...] = (GetData, GetChildren)
IN_MULTI: Dict[int, Type[Op[Any]]] = {op.opcode: op for op in IN_TRANSACTION + IN_MULTI_READ}
