"""Reads the transaction logs of ZooKeeper servers, `version-2/log.*`: what was really done, in order.

Owns the format (FileTxnLog, TxnHeader, and the records of org.apache.zookeeper.txn): a header of 16 bytes, then for each
transaction an Adler-32 of its bytes, the bytes with their length before them, and "B". Bytes behind the last one are zeros,
or half a transaction that a killed server did not finish. The serializer of zkwire is not used: a bug of it must not hide
itself here.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple, Union

MAGIC = b"ZKLG"
HEADER = 16
END = b"B"
CREATE, DELETE, SET_DATA, SET_ACL, MULTI, CREATE2, RECONFIG = 1, 2, 5, 7, 14, 15, 16
CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, CHECK, ERROR, OPEN, CLOSE = 19, 20, 21, 13, -1, -10, -11


class Created(NamedTuple):
    """A new node; `ephemeral` nodes are owned by the session of the transaction."""

    path: str
    value: bytes
    ephemeral: bool


class Deleted(NamedTuple):
    """A node has gone."""

    path: str


class DataSet(NamedTuple):
    """A node has new data, and this version."""

    path: str
    value: bytes
    version: int


class Opened(NamedTuple):
    """The session of the transaction begins."""


class Closed(NamedTuple):
    """The session of the transaction ends, and with it all ephemeral nodes that it owns."""


Change = Union[Created, Deleted, DataSet, Opened, Closed]


class Txn(NamedTuple):
    """One transaction: `time` is the leader's clock, in seconds. No changes: a write that was refused."""

    zxid: int
    time: float
    session: int
    cxid: int
    changes: Tuple[Change, ...]


class TornRecord(Exception):
    """Bytes that are no whole transaction: behind the end of the log."""


class LogTail:
    """The log of one server, read as it grows."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.join(folder, "version-2")
        self._read: Dict[str, int] = {}

    def more(self) -> Iterator[Txn]:
        """What has come since the last call; of what a server has cut off meanwhile, nothing."""
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        for name in sorted((n for n in names if n.startswith("log.")), key=lambda n: int(n[4:], 16)):
            with open(os.path.join(self._folder, name), "rb") as file:
                begin = self._read.get(name, 0)
                file.seek(begin)
                data = file.read()
            if begin == 0 and data[:4] != MAGIC:
                continue  # the header is not written yet
            end = 0 if begin else HEADER
            for txn, end in transactions(data, end):  # noqa: B007,B020  # the last one is noted
                yield txn
            self._read[name] = begin + end


def read(folder: str) -> List[Txn]:
    """All transactions in the log of a server's data folder, as it is now."""
    return list(LogTail(folder).more())


def snapshots(folder: str) -> List[int]:
    """The zxids of the snapshots of a server: the last transaction that was in it when it was begun."""
    return sorted(int(name[9:], 16) for name in os.listdir(os.path.join(folder, "version-2")) if name.startswith("snapshot."))


def transactions(data: bytes, at: int) -> Iterator[Tuple[Txn, int]]:
    """Each transaction from offset `at` on, and the offset behind it, up to the end or the first that is not whole."""
    while True:
        try:
            txn, at = _record(data, at)
        except (TornRecord, struct.error):
            return
        yield txn, at


def _record(data: bytes, at: int) -> Tuple[Txn, int]:
    checksum, length = struct.unpack_from(">qi", data, at)
    begin, end = at + 12, at + 12 + length
    if length <= 0 or data[end : end + 1] != END or zlib.adler32(data[begin:end]) != checksum:
        raise TornRecord
    return transaction(data[begin:end]), end + 1


def transaction(body: bytes) -> Txn:
    """The transaction in these bytes; a digest of the tree may stand behind it (3.6 and later)."""
    session, cxid, zxid, time, kind = struct.unpack_from(">qiqqi", body)
    return Txn(zxid, time / 1000, session, cxid, tuple(_changes(kind, body, 32)))


def _changes(kind: int, body: bytes, at: int) -> Iterator[Change]:
    if kind == MULTI:
        (count,) = struct.unpack_from(">i", body, at)
        at += 4
        parts = []
        for _ in range(count):
            (inner,) = struct.unpack_from(">i", body, at)
            record, at = _buffer(body, at + 4)
            parts.append((inner, record))
        # One that failed has what came before the failure in it, or not: servers differ in that. None of it is applied
        # (DataTree.processTxn).
        if all(inner != ERROR for inner, _ in parts):
            for inner, record in parts:
                yield from _changes(inner, record, 0)
    elif kind not in _CHANGES:
        raise ValueError(f"a transaction of the unknown type {kind}")
    else:
        yield from _CHANGES[kind](body, at)


def _buffer(body: bytes, at: int) -> Tuple[bytes, int]:
    (length,) = struct.unpack_from(">i", body, at)
    at += 4
    return body[at : at + max(0, length)], at + max(0, length)


def _string(body: bytes, at: int) -> Tuple[str, int]:
    text, at = _buffer(body, at)
    return text.decode(), at


def _after_acl(body: bytes, at: int) -> int:
    (count,) = struct.unpack_from(">i", body, at)
    at += 4
    for _ in range(max(0, count)):
        _, at = _buffer(body, at + 4)
        _, at = _buffer(body, at)
    return at


def _created(body: bytes, at: int) -> Tuple[Change, ...]:
    path, at = _string(body, at)
    value, at = _buffer(body, at)
    return (Created(path, value, body[_after_acl(body, at)] == 1),)


def _created_without_flag(body: bytes, at: int) -> Tuple[Change, ...]:
    path, at = _string(body, at)
    return (Created(path, _buffer(body, at)[0], False),)


def _deleted(body: bytes, at: int) -> Tuple[Change, ...]:
    return (Deleted(_string(body, at)[0]),)


def _data_set(body: bytes, at: int) -> Tuple[Change, ...]:
    path, at = _string(body, at)
    value, at = _buffer(body, at)
    return (DataSet(path, value, struct.unpack_from(">i", body, at)[0]),)


def _nothing(body: bytes, at: int) -> Tuple[Change, ...]:
    return ()


_CHANGES: Dict[int, Callable[[bytes, int], Tuple[Any, ...]]] = {
    CREATE: _created, CREATE2: _created, CREATE_CONTAINER: _created_without_flag, CREATE_TTL: _created_without_flag,
    DELETE: _deleted, DELETE_CONTAINER: _deleted, SET_DATA: _data_set, RECONFIG: _data_set, SET_ACL: _nothing,
    CHECK: _nothing, ERROR: _nothing, OPEN: lambda body, at: (Opened(),), CLOSE: lambda body, at: (Closed(),),
}  # fmt: skip
