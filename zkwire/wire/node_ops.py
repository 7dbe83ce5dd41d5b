"""The wire table, first part: operations on nodes, in the order of ZooDefs.OpCode and zookeeper.jute.

Owns their opcodes, request fields, reply bodies and watch kinds. Import them from `ops`, which has the whole table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, List, Optional, Sequence, Tuple, TypeVar, Union

from ..errors import MarshallingError, ZookeeperError
from ..paths import validate_path, validate_sequential_path
from .jute import BUFFER, INT, LONG, USTRING, Codec, Names, Record
from .operation import Fields, Op, PathAndWatch
from ..values import ACL, Stat, Watcher
from .messages import ACLS, PATH, RESULT_ACLS, RESULT_PATH, STAT
from .operation import CHILD, DATA, EXIST

T = TypeVar("T")
NAMES = Names()
#: What a server appends to the path of a sequential node: at least ten digits, and a sign after 2^31 nodes.
_IS_COUNT = re.compile(r"-?[0-9]+\Z").match
TTL_LIMIT_MS = 0xFFFFFFFFFF  # EphemeralType.TTL: 40 bits of ms


def pair(*fields: Any) -> Tuple[Any, ...]:
    return fields


def _check_data(value: Optional[bytes]) -> None:
    if value is not None and not isinstance(value, bytes):
        raise TypeError(f"data must be bytes, not {type(value).__name__}")


def _check_version(version: int) -> None:
    if not isinstance(version, int) or not -(2**31) <= version < 2**31:
        raise ValueError(f"invalid version {version!r}: -1 for any, or the number from a Stat")


def _check_acl(acl: Optional[Sequence[ACL]]) -> None:
    if acl is not None and not isinstance(acl, Sequence):
        raise TypeError(f"an ACL is a sequence of ACL values, not a {type(acl).__name__}")
    for entry in acl or ():
        if not isinstance(entry, ACL):
            raise TypeError(f"an ACL is a sequence of ACL values, not of {type(entry).__name__}")


# ------------------------------------------------------------------------------ create

PATH_AND_STAT: Codec[Tuple[str, Stat]] = Record(pair, RESULT_PATH, STAT)


class _Create(Op[T]):
    """What all creates share. The opcode, not the flag, decides the type of the node (PrepRequestProcessor)."""

    writes = True
    request: ClassVar[Fields] = (("path", PATH), ("value", BUFFER), ("acl", ACLS), ("flags", INT))
    value: Optional[bytes]
    acl: Optional[Sequence[ACL]]
    flags: int

    @property
    def _sequence(self) -> bool:
        return self.flags in (2, 3, 6)

    def conclude(self, value: Any) -> Union[T, ZookeeperError]:
        """The value, if its path is the one asked for: whoever uses it next must not write elsewhere."""
        path, asked = value if isinstance(value, str) else value[0], self.path or ""
        if path != asked if not self._sequence else path[: len(asked)] != asked or not _IS_COUNT(path, len(asked)):
            raise MarshallingError(f"{self!r} answered with the path {path!r}", self.path)
        return super().conclude(value)

    def __post_init__(self) -> None:
        (validate_sequential_path if self._sequence else validate_path)(self.path)  # type: ignore[arg-type]
        _check_data(self.value)
        _check_acl(self.acl)

    def write(self, out: bytearray, scope: Any) -> None:
        """The fields; a sequential create of "/" below a chroot must stay below it."""
        if self.path == "/" and self._sequence and scope is not None and scope.prefix:
            USTRING.write(out, scope.prefix + "/", scope)
            for name, codec in self.request[1:]:
                codec.write(out, getattr(self, name), scope)
        else:
            super().write(out, scope)


@dataclass(frozen=True, repr=False, init=False)
class _Plain(_Create[T]):
    """The creates whose type of node is in their flags."""

    path: str
    value: Optional[bytes]
    acl: Optional[Sequence[ACL]]
    flags: int

    def __init__(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None,
        ephemeral: bool = False, sequence: bool = False,
    ) -> None:  # fmt: skip
        self.__dict__.update(path=path, value=value, acl=acl, flags=bool(ephemeral) | bool(sequence) << 1)
        self.__post_init__()


@dataclass(frozen=True, repr=False, init=False)
class Create(_Plain[str]):
    """Creates a node; the result is its path (with the ten digits of a sequential one).

    `acl` None means the client's default. Raises NodeExistsError, NoNodeError (no parent), NoAuthError,
    NoChildrenForEphemeralsError, InvalidACLError.
    """

    opcode = 1
    reply = RESULT_PATH


@dataclass(frozen=True, repr=False, init=False)
class Create2(_Plain[Tuple[str, Stat]]):
    """As `Create`, with the Stat of the new node; the Stat is None from a transaction on ZooKeeper before 3.9.

    ZooKeeper 3.5 and later (UnimplementedError before).
    """

    opcode = 15
    reply = PATH_AND_STAT


@dataclass(frozen=True, repr=False)
class CreateContainer(_Create[Tuple[str, Stat]]):
    """Creates a container: a node that the server deletes some time after its last child. ZooKeeper 3.5 and later."""

    path: str
    value: Optional[bytes] = b""
    acl: Optional[Sequence[ACL]] = None
    opcode = 19
    reply = PATH_AND_STAT
    flags = 4


class _Milliseconds(Codec[float]):
    """Seconds in Python, ms in a long on the wire."""

    least = 8

    def write(self, out: bytearray, value: float, scope: Any) -> None:
        LONG.write(out, round(value * 1000), scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[float, int]:
        ms, after = LONG.read(data, at, scope)
        return ms / 1000.0, after


@dataclass(frozen=True, repr=False, init=False)
class CreateTTL(_Create[Tuple[str, Stat]]):
    """Creates a node that the server deletes once it has had no child and no change for `ttl` seconds.

    ZooKeeper 3.5 and later with extendedTypesEnabled (UnimplementedError otherwise).
    """

    path: str
    value: Optional[bytes]
    acl: Optional[Sequence[ACL]]
    flags: int
    ttl: float
    opcode = 21
    request = (*_Create.request, ("ttl", _Milliseconds()))
    reply = PATH_AND_STAT

    def __init__(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, *,
        ttl: float, sequence: bool = False,
    ) -> None:  # fmt: skip
        # A bad TTL with a bad flag kills real 3.8 and 3.9 servers, so neither ever leaves this process.
        if not 0.001 <= ttl <= TTL_LIMIT_MS / 1000:
            raise ValueError(f"invalid ttl {ttl!r}: seconds, between 0.001 and {TTL_LIMIT_MS / 1000}")
        self.__dict__.update(path=path, value=value, acl=acl, flags=6 if sequence else 5, ttl=ttl)
        self.__post_init__()


# ------------------------------------------------------------------------- single nodes


class _DataAndStat(Codec[Tuple[Optional[bytes], Stat]]):
    """The reply to the read sent most, in two calls of struct."""

    least = 4 + STAT.least

    def write(self, out: bytearray, value: Tuple[Optional[bytes], Stat], scope: Any) -> None:
        BUFFER.write(out, value[0], scope)
        STAT.write(out, value[1], scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Tuple[Optional[bytes], Stat], int]:
        value, at = BUFFER.read(data, at, scope)
        stat, at = STAT.read(data, at, scope)
        return (value, stat), at


DATA_AND_STAT = _DataAndStat()


class Checked(Op[T]):
    """Operations of a path, with a version or data perhaps."""

    def __post_init__(self) -> None:
        validate_path(self.path)  # type: ignore[arg-type]
        fields = self.__dict__
        if "version" in fields:
            _check_version(fields["version"])
        if "value" in fields:
            _check_data(fields["value"])
        _check_acl(fields.get("acl"))


@dataclass(frozen=True, repr=False)
class Delete(Checked[None]):
    """Deletes a node. Raises NoNodeError, NotEmptyError, BadVersionError, NoAuthError."""

    path: str
    version: int = -1
    opcode = 2
    writes = True
    request = (("path", PATH), ("version", INT))


@dataclass(frozen=True, repr=False, init=False)
class Exists(PathAndWatch[Optional[Stat]]):
    """The Stat of a node, or None if there is none. The watch is set in both cases."""

    path: str
    watch: Optional[Watcher] = None
    opcode = 3
    reply = STAT
    watches = (DATA, EXIST)

    def refusal(self, code: int) -> Union[Optional[Stat], ZookeeperError]:
        """No node is an answer, not an error."""
        return None if code == -101 else super().refusal(code)


@dataclass(frozen=True, repr=False, init=False)
class GetData(PathAndWatch[Tuple[bytes, Stat]]):
    """A node's data (bytes; None where it was created with null data) and Stat. Raises NoNodeError, NoAuthError."""

    path: str
    watch: Optional[Watcher] = None
    opcode = 4
    reply = DATA_AND_STAT
    watches = (DATA, None)

    def result(self, data: bytes, at: int, scope: Any) -> Union[Tuple[bytes, Stat], ZookeeperError]:
        """The outcome of the read sent most, in one go where nothing is amiss."""
        start = at + 4
        if start <= len(data):
            end = start + int.from_bytes(data[at:start], "big")  # a null or negative length lies far beyond the end
            if end + STAT.least <= len(data):
                return data[start:end], STAT.read(data, end, scope)[0]
        return super().result(data, at, scope)


@dataclass(frozen=True, repr=False, init=False)
class GetConfig(GetData):
    """The configuration of the ensemble (bytes: lines of `server.N=...` and `version=...`), and the Stat of its node.

    It lies at the server's root, outside any chroot. ZooKeeper 3.5 and later; NoNodeError before.
    """

    def __init__(self, watch: Optional[Watcher] = None) -> None:
        super().__init__("/zookeeper/config", watch)

    def server_path(self, scope: Any) -> str:
        """The path itself: the chroot has no part in it."""
        return self.path

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, without the chroot."""
        return super().frame(xid, None)


@dataclass(frozen=True, repr=False)
class SetData(Checked[Stat]):
    """Replaces a node's data; the result is its new Stat. Raises NoNodeError, BadVersionError, NoAuthError."""

    path: str
    value: Optional[bytes]
    version: int = -1
    opcode = 5
    writes = True
    request = (("path", PATH), ("value", BUFFER), ("version", INT))
    reply = STAT


@dataclass(frozen=True, repr=False)
class GetACL(Checked[Tuple[List[ACL], Stat]]):
    """A node's ACL and Stat; without ADMIN the server masks digest ids. Raises NoNodeError, NoAuthError."""

    path: str
    opcode = 6
    request = (("path", PATH),)
    reply = Record(pair, RESULT_ACLS, STAT)


@dataclass(frozen=True, repr=False)
class SetACL(Checked[Stat]):
    """Replaces a node's ACL if its `aversion` is `version`. Raises NoNodeError, BadVersionError, NoAuthError."""

    path: str
    acl: Sequence[ACL]
    version: int = -1
    opcode = 7
    writes = True
    request = (("path", PATH), ("acl", ACLS), ("version", INT))
    reply = STAT


@dataclass(frozen=True, repr=False, init=False)
class GetChildren(PathAndWatch[List[str]]):
    """The names of a node's children, in no order. Raises NoNodeError, NoAuthError."""

    path: str
    watch: Optional[Watcher] = None
    opcode = 8
    reply = NAMES
    watches = (CHILD, None)


@dataclass(frozen=True, repr=False, init=False)
class GetChildren2(PathAndWatch[Tuple[List[str], Stat]]):
    """As `GetChildren`, with the Stat of the node itself."""

    path: str
    watch: Optional[Watcher] = None
    opcode = 12
    reply = Record(pair, NAMES, STAT)
    watches = (CHILD, None)


@dataclass(frozen=True, repr=False)
class Sync(Checked[str]):
    """Lets the server catch up with the leader before the next operation is answered; the result is the path."""

    path: str
    opcode = 9
    request = (("path", PATH),)
    reply: ClassVar[Codec[Any]] = RESULT_PATH


@dataclass(frozen=True, repr=False)
class Check(Checked[None]):
    """Within a transaction: it fails unless the node exists, with this version (-1: any). Nowhere else."""

    path: str
    version: int = -1
    opcode = 13
    alone = plain = False  # ZooKeeper 3.8.0 never answers a lone check
    request = (("path", PATH), ("version", INT))


@dataclass(frozen=True, repr=False)
class GetAllChildrenNumber(Checked[int]):
    """The number of all nodes below a node. ZooKeeper 3.6 and later."""

    path: str
    opcode = 104
    request = (("path", PATH),)
    reply = INT
