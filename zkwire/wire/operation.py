"""The base of all operations of the wire table: how a value becomes a request, and how a reply becomes a value.

Owns the common code and the constructors that several operations share; `ops` owns the table. Works in both directions:
a client writes requests and reads replies, a server (or a test) reads requests and writes replies. Must not know
connections, sessions or watch bookkeeping.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Optional, Sequence, Tuple, Type, TypeVar, Union

from ..errors import MarshallingError, NoAuthError, NoNodeError, ZookeeperError, error_for
from ..paths import parent_of, validate_path
from ..typed import Generic
from ..values import ACL, WatchedEvent, Watcher
from .jute import BOOL, INT, NOTHING, JuteType, decode
from .messages import PATH, Scope

T = TypeVar("T")
O = TypeVar("O", bound="Op[Any]")  # noqa: E741

#: The server's lists of watches.
DATA, EXIST, CHILD, PERSISTENT, RECURSIVE = "data", "exist", "child", "persistent", "recursive"

#: The fields of a request, in wire order: attribute and codec.
Fields = Tuple[Tuple[str, JuteType[Any]], ...]

_FRAME = struct.Struct(">iii")
_PATH_FRAME = struct.Struct(">iiii")
#: The size of a request header, which the length of a frame includes.
_HEADER = 8


def armed(event: WatchedEvent) -> None:
    """The `watch` of operations read from the wire, where a watch is only a flag. Never called."""


class _WatchFlag(JuteType[Optional[Watcher]]):
    """A watcher of the user; on the wire, whether there is one."""

    least = 1

    def write(self, out: bytearray, value: Optional[Watcher], scope: Any) -> None:
        BOOL.write(out, value is not None, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[Watcher], int]:
        flag, after = BOOL.read(data, at, scope)
        return (armed if flag else None), after


WATCH = _WatchFlag()


# ------------------------------------------------------------------- checks of arguments


def check_watcher(watcher: object) -> None:
    """`TypeError` for an object that cannot be called with an event."""
    if not callable(watcher):
        raise TypeError(f"a watcher must be callable, not {watcher!r}")


def check_data(value: Optional[bytes]) -> None:
    """`TypeError` for an object that cannot be a node's data."""
    if value is not None and not isinstance(value, bytes):
        raise TypeError(f"data must be bytes, not {type(value).__name__}")


def check_version(version: int) -> None:
    """`ValueError` for a value that cannot be a node's version."""
    if not isinstance(version, int) or not -(2**31) <= version < 2**31:
        raise ValueError(f"invalid version {version!r}: -1 for any, or the number from a Stat")


def check_acl(acl: Optional[Sequence[ACL]]) -> None:
    """`TypeError` for an object that is no ACL."""
    if acl is not None and not isinstance(acl, Sequence):
        raise TypeError(f"an ACL is a sequence of ACL values, not a {type(acl).__name__}")
    for entry in acl or ():
        if not isinstance(entry, ACL):
            raise TypeError(f"an ACL is a sequence of ACL values, not of {type(entry).__name__}")


# --------------------------------------------------------------------------- operations


class Op(Generic[T]):
    """One operation, as a value; `T` is the type of its result.

    Make one and pass it to `ZooKeeper.submit` (or `multi`). Arguments are checked in the constructor: `ValueError`
    and `TypeError` come before anything is sent. `path` is the node concerned, as the user names it, or None.
    """

    #: The number of the operation on the wire (ZooDefs.OpCode).
    opcode: ClassVar[int] = 0
    #: Fields of the request in wire order: attribute and codec.
    request: ClassVar[Fields] = ()
    #: The body of a successful reply.
    reply: ClassVar[JuteType[Any]] = NOTHING
    #: The list of the watch if the node was found, and if it was not; None for operations without watches.
    watches: ClassVar[Optional[Tuple[str, Optional[str]]]] = None
    #: A number below zero for operations whose replies do not follow the order of requests.
    fixed_xid: ClassVar[Optional[int]] = None
    #: Whether a user may submit it: False for operations in transactions only, and for those of the session itself.
    alone: ClassVar[bool] = True
    #: Fast path: without a watch, it may be sent without looking at watches, auth or hold.
    plain: ClassVar[bool] = True
    #: Whether it changes data at the server (so that an unknown outcome matters).
    writes: ClassVar[bool] = False
    #: The permission it needs on the parent of its node, if the ACL of the parent decides.
    needs_of_parent: ClassVar[Optional[str]] = None

    path: Optional[str]
    #: Only where `watches` is not None.
    watch: Optional[Watcher]

    # ---------------------------------------------------------------------- as a value

    # Constructors fill `__dict__`, which is faster than `object.__setattr__` for each attribute.

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot set {name!r}: an operation is a value, make another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"cannot delete {name!r}: an operation is a value")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.path))

    def __repr__(self) -> str:
        """Name and path only: data and credentials must not reach a log."""
        return f"{type(self).__name__}({'' if self.path is None else repr(self.path)})"

    # ---------------------------------------------------------------- the client's direction

    def server_path(self, scope: Any) -> str:
        """The server's path, which is the key of its watches."""
        path: str = scope.prepend(self.path or "/")
        return path

    def body(self, out: bytearray, scope: Any) -> None:
        """Append the fields of the request to `out`; `ValueError` if one does not fit its type on the wire."""
        try:
            self.write(out, scope)
        except (struct.error, UnicodeEncodeError) as error:
            raise ValueError(f"{self!r}: {error}") from error

    def write(self, out: bytearray, scope: Any) -> None:
        """As `body`, but raises the errors of `struct` and of UTF-8 unchanged."""
        fields = self.__dict__
        for name, codec in self.request:
            codec.write(out, fields[name], scope)

    def parts(self, scope: Any) -> Sequence[bytes]:
        """The bytes that `write` appends, in one or more pieces."""
        out = bytearray()
        self.write(out, scope)
        return (bytes(out),)

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, with length and header."""
        out = bytearray(12)
        self.body(out, scope)
        _FRAME.pack_into(out, 0, len(out) - 4, xid, self.opcode)
        return bytes(out)

    def result(self, data: bytes, at: int, scope: Any) -> Union[T, ZookeeperError]:
        """The outcome of a successful reply, whose body starts at `at`: a value, or an error as a value.

        Raises only `MarshallingError` for bad bytes.
        """
        return self.conclude(decode(self.reply, data, at, scope))

    def conclude(self, value: Any) -> Union[T, ZookeeperError]:
        """The caller's outcome for the value of the reply: usually the value itself."""
        outcome: T = value
        return outcome

    def refusal(self, code: int, scope: Optional[Scope] = None) -> Union[T, ZookeeperError]:
        """The outcome of a reply with an error code: usually the error of that code."""
        return explained(self, code, scope)

    # ---------------------------------------------------------------- the server's direction

    @classmethod
    def parse(cls: Type[O], data: bytes, at: int = 0, scope: Any = None) -> O:
        """The operation whose request body starts at `at`. Only the encoding is validated."""
        return cls.read(data, at, scope)[0]

    @classmethod
    def read(cls: Type[O], data: bytes, at: int, scope: Any) -> Tuple[O, int]:
        """As `parse`, with the offset behind the request."""
        op = object.__new__(cls)
        fields = op.__dict__
        try:
            for name, codec in cls.request:
                fields[name], at = codec.read(data, at, scope)
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise MarshallingError(f"malformed {cls.__name__}: {error}") from error
        return op, at


class Pathless(Op[T]):
    """Operations without a node of their own."""

    path: ClassVar[None] = None  # type: ignore[misc]  # by class, not by value


class OnPath(Op[T]):
    """Operations with a path only."""

    path: str
    request = (("path", PATH),)

    def __init__(self, path: str) -> None:
        self.__dict__["path"] = validate_path(path)


class PathAndVersion(Op[T]):
    """Operations with a path and an expected version; -1 means any."""

    path: str
    version: int
    request = (("path", PATH), ("version", INT))

    def __init__(self, path: str, version: int = -1) -> None:
        check_version(version)
        self.__dict__.update(path=validate_path(path), version=version)


class PathAndWatch(Op[T]):
    """Operations with a path and a watch flag, the most frequent ones: written out for speed."""

    path: str
    watch: Optional[Watcher]
    request = (("path", PATH), ("watch", WATCH))

    def __init__(self, path: str, watch: Optional[Watcher] = None) -> None:
        if watch is not None:
            check_watcher(watch)
        fields = self.__dict__
        fields["path"] = validate_path(path)
        fields["watch"] = watch

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, with length and header."""
        path = self.path
        if scope is not None and scope.prefix:
            path = scope.prepend(path)
        try:
            raw = path.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{self!r}: {error}") from error
        size = len(raw)
        head = _PATH_FRAME.pack(size + _HEADER + 5, xid, self.opcode, size)
        return head + raw + (b"\0" if self.watch is None else b"\1")


# --------------------------------------------------------------------- what errors mean


def _missing(op: Op[Any], path: str, chroot: str) -> str:
    """The text of -101 for a client with a chroot: the chroot itself may be missing."""
    if (parent_of(path) if op.needs_of_parent == "CREATE" else path) == "/":
        return f"the chroot {chroot!r} does not exist, ensure_path('/') creates it: {path!r}"
    return f"no such node: {path!r} (below the chroot {chroot!r})"


def explained(op: Op[Any], code: int, scope: Optional[Scope]) -> ZookeeperError:
    """The error for a code, with the chroot, and with the node whose ACL decided."""
    path, chroot = op.path, scope.prefix if scope is not None else ""
    if path is not None and code == NoNodeError.code and chroot:
        return NoNodeError(_missing(op, path, chroot), path)
    if path is not None and code == NoAuthError.code and op.needs_of_parent is not None:
        parent = parent_of(path)
        where = f" (the chroot {chroot!r})" if chroot and parent == "/" else ""
        return NoAuthError(f"the ACL of {parent!r}{where} does not permit {op.needs_of_parent}: {path!r}", path)
    return error_for(code, path)
