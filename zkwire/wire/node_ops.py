"""The wire table, first part: operations on nodes, in the order of ZooDefs.OpCode and zookeeper.jute.

Owns their opcodes, request fields, reply bodies and watch kinds. Import them from `ops`, which has the whole table.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, ClassVar, List, Optional, Sequence, Tuple, TypeVar, Union

from ..errors import MarshallingError, ZookeeperError
from ..paths import CONFIG_NODE, validate_path, validate_sequential_path
from ..values import ACL, Stat, Watcher
from .jute import BUFFER, INT, LONG, JuteType, Names, Record, encode
from .messages import ACLS, PATH, RESULT_ACLS, RESULT_PATH, STAT, Scope
from .operation import (
    CHILD, DATA, EXIST, Fields, OnPath, Op, PathAndVersion, PathAndWatch, check_acl, check_data, check_version,
    explained,
)  # fmt: skip

T = TypeVar("T")
NAMES = Names()
TTL_LIMIT_MS = 0xFFFFFFFFFF  # EphemeralType.TTL: 40 bits of ms

_NULL = b"\xff\xff\xff\xff"
_pack_int = struct.Struct(">i").pack
_unpack_int = struct.Struct(">i").unpack_from
_unpack_stat = struct.Struct(">qqqqiiiqiiq").unpack_from


def pair(*fields: Any) -> Tuple[Any, ...]:
    return fields


# ------------------------------------------------------------------------------ create

PATH_AND_STAT: JuteType[Tuple[str, Stat]] = Record(pair, RESULT_PATH, STAT)
#: The flags of nodes whose names the server completes (CreateMode), and the encoding of all flags.
_SEQUENTIAL = frozenset((2, 3, 6))
_FLAGS = {flags: _pack_int(flags) for flags in range(7)}


def _is_count(text: str) -> bool:
    """Whether this is the suffix of a sequential node: ten digits or more, with a sign before them after 2^31."""
    digits = text[1:] if text[:1] == "-" else text
    return digits.isascii() and digits.isdigit()


class _Create(Op[T]):
    """The base of all creates. The opcode, not the flag, decides the type of the node (PrepRequestProcessor)."""

    writes = True
    needs_of_parent = "CREATE"
    request: ClassVar[Fields] = (("path", PATH), ("value", BUFFER), ("acl", ACLS), ("flags", INT))
    path: str
    value: Optional[bytes]
    acl: Optional[Sequence[ACL]]
    flags: int

    def __init__(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None,
        ephemeral: bool = False, sequence: bool = False,
    ) -> None:  # fmt: skip
        if type(value) is not bytes:
            check_data(value)
        if acl is not None:
            check_acl(acl)
        fields = self.__dict__
        fields["path"] = validate_sequential_path(path) if sequence else validate_path(path)
        fields["value"], fields["acl"] = value, acl
        fields["flags"] = (1 if ephemeral else 0) | (2 if sequence else 0)

    def conclude(self, value: Any) -> Union[T, ZookeeperError]:
        """The value, if its path is the requested one: the caller may write there later."""
        path, asked = value if isinstance(value, str) else value[0], self.path or ""
        sequential = self.flags in _SEQUENTIAL
        if path != asked if not sequential else path[: len(asked)] != asked or not _is_count(path[len(asked) :]):
            raise MarshallingError(f"{self!r} answered with the path {path!r}", self.path)
        outcome: T = value
        return outcome

    def write(self, out: bytearray, scope: Any) -> None:
        """The fields."""
        out += b"".join(self.parts(scope))

    def parts(self, scope: Any) -> Sequence[bytes]:
        """The fields; a sequential create of "/" in a chroot must stay inside the chroot."""
        path, value, acl, flags = self.path, self.value, self.acl, self.flags
        if path is None:  # only in a request of another client
            return [encode(codec, self.__dict__[name], scope) for name, codec in self.request]
        if scope is not None:
            if scope.prefix:
                path = scope.prefix + "/" if path == "/" and flags in _SEQUENTIAL else scope.prepend(path)
            if acl is None:
                acl = scope.default_acl
        raw = path.encode()
        known, packed = ACLS.packed
        if acl is not known:
            packed = ACLS.pack(acl)
        flag = _FLAGS.get(flags) or _pack_int(flags)
        if value is None:
            return _pack_int(len(raw)), raw, _NULL, packed, flag
        return _pack_int(len(raw)), raw, _pack_int(len(value)), value, packed, flag


class Create(_Create[str]):
    """Creates a node; the result is its path (with the ten digits of a sequential one).

    `acl` None means the client's default. Raises NodeExistsError, NoNodeError (no parent), NoAuthError,
    NoChildrenForEphemeralsError, InvalidACLError.
    """

    opcode = 1
    reply = RESULT_PATH


class CreateChroot(_Create[None]):
    """Creates the chroot of the client itself, or, with `up`, the node `up` levels above it. It holds no data."""

    opcode = 1
    up: int

    def __init__(self, up: int = 0, acl: Optional[Sequence[ACL]] = None) -> None:
        super().__init__("/", b"", acl)
        self.__dict__["up"] = up

    def server_path(self, scope: Any) -> str:
        """The path at the server, which is outside the chroot unless `up` is 0."""
        names = scope.prefix.split("/")
        return "/".join(names[: max(2, len(names) - self.up)]) or "/"

    def parts(self, scope: Any) -> Sequence[bytes]:
        """The fields of a create of that path."""
        return Create(self.server_path(scope), b"", self.acl).parts(Scope("", scope.default_acl))

    def conclude(self, value: Any) -> Union[None, ZookeeperError]:
        """None: the caller knows the path."""
        return None

    def refusal(self, code: int, scope: Optional[Scope] = None) -> Union[None, ZookeeperError]:
        """The error of a create of that path."""
        if scope is None:
            return super().refusal(code)
        path = self.server_path(scope)
        error = explained(Create(path), code, None)
        error.args = (f"the chroot {scope.prefix!r} cannot be made: {error}",)
        error.path = "/"
        return error


class Create2(_Create[Tuple[str, Stat]]):
    """As `Create`, with the Stat of the new node; the Stat is None from a transaction on ZooKeeper before 3.9.

    ZooKeeper 3.5 and later (UnimplementedError before).
    """

    opcode = 15
    reply = PATH_AND_STAT


class CreateContainer(_Create[Tuple[str, Stat]]):
    """Creates a container: a node that the server deletes some time after its last child. ZooKeeper 3.5 and later."""

    opcode = 19
    reply = PATH_AND_STAT

    def __init__(self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None) -> None:
        super().__init__(path, value, acl)
        self.__dict__["flags"] = 4


class _Milliseconds(JuteType[float]):
    """Seconds in Python, ms in a long on the wire."""

    least = 8

    def write(self, out: bytearray, value: float, scope: Any) -> None:
        LONG.write(out, round(value * 1000), scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[float, int]:
        ms, after = LONG.read(data, at, scope)
        return ms / 1000.0, after


_TTL = _Milliseconds()


class CreateTTL(_Create[Tuple[str, Stat]]):
    """Creates a node that the server deletes once it has had no child and no change for `ttl` seconds.

    ZooKeeper 3.5 and later with extendedTypesEnabled (UnimplementedError otherwise).
    """

    opcode = 21
    request = (*_Create.request, ("ttl", _TTL))
    reply = PATH_AND_STAT
    ttl: float

    def __init__(
        self, path: str, value: Optional[bytes] = b"", acl: Optional[Sequence[ACL]] = None, *,
        ttl: float, sequence: bool = False,
    ) -> None:  # fmt: skip
        # A bad TTL together with a bad flag crashes real 3.8 and 3.9 servers, so the client refuses both.
        if not 0.001 <= ttl <= TTL_LIMIT_MS / 1000:
            raise ValueError(f"invalid ttl {ttl!r}: seconds, between 0.001 and {TTL_LIMIT_MS / 1000}")
        super().__init__(path, value, acl, False, sequence)
        self.__dict__.update(flags=6 if sequence else 5, ttl=ttl)

    def parts(self, scope: Any) -> Sequence[bytes]:
        """The fields."""
        return *super().parts(scope), encode(_TTL, self.ttl)


# ------------------------------------------------------------------------- single nodes


class _DataAndStat(JuteType[Tuple[Optional[bytes], Stat]]):
    """The reply to GetData, the most frequent read."""

    least = 4 + STAT.least

    def write(self, out: bytearray, value: Tuple[Optional[bytes], Stat], scope: Any) -> None:
        BUFFER.write(out, value[0], scope)
        STAT.write(out, value[1], scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Tuple[Optional[bytes], Stat], int]:
        value, at = BUFFER.read(data, at, scope)
        stat, at = STAT.read(data, at, scope)
        return (value, stat), at


DATA_AND_STAT = _DataAndStat()


class Delete(PathAndVersion[None]):
    """Deletes a node. Raises NoNodeError, NotEmptyError, BadVersionError, NoAuthError."""

    opcode = 2
    writes = True
    needs_of_parent = "DELETE"


class Exists(PathAndWatch[Optional[Stat]]):
    """The Stat of a node, or None if there is none. The watch is set in both cases."""

    opcode = 3
    reply = STAT
    watches = (DATA, EXIST)

    def refusal(self, code: int, scope: Optional[Scope] = None) -> Union[Optional[Stat], ZookeeperError]:
        """A missing node is a result, not an error."""
        return None if code == -101 else super().refusal(code, scope)


class GetData(PathAndWatch[Tuple[bytes, Stat]]):
    """A node's data (bytes; None where it was created with null data) and Stat. Raises NoNodeError, NoAuthError."""

    opcode = 4
    reply = DATA_AND_STAT
    watches = (DATA, None)

    def result(
        self, data: bytes, at: int, scope: Any, new: Callable[..., Stat] = tuple.__new__
    ) -> Union[Tuple[bytes, Stat], ZookeeperError]:
        """The outcome of the most frequent read; one Struct decodes the usual reply."""
        try:
            length = _unpack_int(data, at)[0]
            if length >= 0:
                end = at + 4 + length
                return data[at + 4 : end], new(Stat, _unpack_stat(data, end))
        except struct.error:
            pass
        return super().result(data, at, scope)  # null data, or the error


class GetConfig(GetData):
    """The configuration of the ensemble (bytes: lines of `server.N=...` and `version=...`), and the Stat of its node.

    It is at the server's root, outside any chroot. ZooKeeper 3.5 and later; NoNodeError before.
    """

    def __init__(self, watch: Optional[Watcher] = None) -> None:
        super().__init__(CONFIG_NODE, watch)

    def server_path(self, scope: Any) -> str:
        """The path itself, without the chroot."""
        return self.path

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, without the chroot."""
        return super().frame(xid, None)

    def refusal(self, code: int, scope: Optional[Scope] = None) -> Union[Tuple[bytes, Stat], ZookeeperError]:
        """The error; it does not concern the chroot."""
        return super().refusal(code, None)


class SetData(Op[Stat]):
    """Replaces a node's data; the result is its new Stat. Raises NoNodeError, BadVersionError, NoAuthError."""

    opcode = 5
    writes = True
    request = (("path", PATH), ("value", BUFFER), ("version", INT))
    reply = STAT
    path: str
    value: Optional[bytes]
    version: int

    def __init__(self, path: str, value: Optional[bytes], version: int = -1) -> None:
        check_data(value)
        check_version(version)
        self.__dict__.update(path=validate_path(path), value=value, version=version)


class GetACL(OnPath[Tuple[List[ACL], Stat]]):
    """A node's ACL and Stat; without ADMIN the server masks digest ids. Raises NoNodeError, NoAuthError."""

    opcode = 6
    reply = Record(pair, RESULT_ACLS, STAT)


class SetACL(Op[Stat]):
    """Replaces a node's ACL if its `aversion` is `version`. Raises NoNodeError, BadVersionError, NoAuthError."""

    opcode = 7
    writes = True
    request = (("path", PATH), ("acl", ACLS), ("version", INT))
    reply = STAT
    path: str
    acl: Sequence[ACL]
    version: int

    def __init__(self, path: str, acl: Sequence[ACL], version: int = -1) -> None:
        check_acl(acl)
        check_version(version)
        self.__dict__.update(path=validate_path(path), acl=acl, version=version)


class GetChildren(PathAndWatch[List[str]]):
    """The names of a node's children, in no order. Raises NoNodeError, NoAuthError."""

    opcode = 8
    reply = NAMES
    watches = (CHILD, None)


class GetChildren2(PathAndWatch[Tuple[List[str], Stat]]):
    """As `GetChildren`, with the Stat of the node itself."""

    opcode = 12
    reply = Record(pair, NAMES, STAT)
    watches = (CHILD, None)


class Sync(OnPath[str]):
    """Makes the server catch up with the leader before it answers the next operation; the result is the path."""

    opcode = 9
    reply = RESULT_PATH

    def result(self, data: bytes, at: int, scope: Any) -> Union[str, ZookeeperError]:
        """The requested path: the reply repeats it or leaves it out."""
        return self.path


class Check(PathAndVersion[None]):
    """In a transaction only: it fails unless the node exists with this version (-1: any)."""

    opcode = 13
    alone = plain = False  # ZooKeeper 3.8.0 never answers a lone check


class GetAllChildrenNumber(OnPath[int]):
    """The number of all nodes below a node. ZooKeeper 3.6 and later."""

    opcode = 104
    reply = INT
