"""What all operations of the wire table have in common: how a value becomes a request, and a reply becomes a value.

Owns the machinery; `ops` owns the table. Works in both directions: a client writes requests and reads replies, a
server (or a test) reads requests and writes replies. Must not know connections, sessions or watch bookkeeping.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Generic, Optional, Tuple, Type, TypeVar, Union

from ..errors import MarshallingError, ZookeeperError, error_for
from ..paths import validate_path
from .jute import BOOL, NOTHING, Codec, decode
from .messages import PATH
from ..values import WatchedEvent, Watcher

T = TypeVar("T")
O = TypeVar("O", bound="Op[Any]")  # noqa: E741

#: Which list of the server a watch stands in.
DATA, EXIST, CHILD, PERSISTENT, RECURSIVE = "data", "exist", "child", "persistent", "recursive"

#: The fields of a request, in wire order: attribute and codec.
Fields = Tuple[Tuple[str, Codec[Any]], ...]

_FRAME = struct.Struct(">iii")
_PATH_FRAME = struct.Struct(">iiii")
#: Size of a request header, which the length of a frame includes.
_HEADER = 8


def armed(event: WatchedEvent) -> None:
    """Stands as `watch` in operations read from the wire, where a watch is but a flag. Never called."""


class _WatchFlag(Codec[Optional[Watcher]]):
    """A watcher of the user; on the wire, whether there is one."""

    least = 1

    def write(self, out: bytearray, value: Optional[Watcher], scope: Any) -> None:
        BOOL.write(out, value is not None, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[Watcher], int]:
        flag, after = BOOL.read(data, at, scope)
        return (armed if flag else None), after


WATCH = _WatchFlag()


class Op(Generic[T]):
    """One operation, as a value; `T` is the type of its result.

    Make one and pass it to `ZooKeeper.submit` (or `multi`). Arguments are checked in the constructor: `ValueError`
    and `TypeError` come before anything is sent. `path` is the node concerned, as the user names it, or None.
    """

    #: The number of the operation on the wire (ZooDefs.OpCode).
    opcode: ClassVar[int] = 0
    #: Fields of the request in wire order: attribute and codec.
    request: ClassVar[Fields] = ()
    #: What follows the header of a successful reply.
    reply: ClassVar[Codec[Any]] = NOTHING
    #: In which list a watch stands when the node was found, and when it was not; None for operations without watches.
    watches: ClassVar[Optional[Tuple[str, Optional[str]]]] = None
    #: A number below zero for operations whose replies do not follow the order of requests.
    fixed_xid: ClassVar[Optional[int]] = None
    #: Whether a user may submit it: not what stands in transactions only, or is the session's own affair.
    alone: ClassVar[bool] = True
    #: Whether it goes to the server as it is: one more reason for a closer look than `alone`.
    plain: ClassVar[bool] = True
    #: Whether it changes anything at the server (so that an unknown outcome matters).
    writes: ClassVar[bool] = False

    path: Optional[str]
    #: Only where `watches` is not None.
    watch: Optional[Watcher]

    def __repr__(self) -> str:
        """Name and path only: data and credentials must not reach a log."""
        return f"{type(self).__name__}({'' if self.path is None else repr(self.path)})"

    # ---------------------------------------------------------------- the client's direction

    def server_path(self, scope: Any) -> str:
        """The path as the server knows it, by which watches are kept."""
        path: str = scope.prepend(self.path or "/")
        return path

    def body(self, out: bytearray, scope: Any) -> None:
        """Append the fields of the request to `out`; `ValueError` if one does not fit its type on the wire."""
        try:
            self.write(out, scope)
        except (struct.error, UnicodeEncodeError) as error:
            raise ValueError(f"{self!r}: {error}") from error

    def write(self, out: bytearray, scope: Any) -> None:
        """As `body`, with the errors of `struct` and of UTF-8 as they are."""
        for name, codec in self.request:
            codec.write(out, getattr(self, name), scope)

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, with length and header."""
        out = bytearray(12)
        self.body(out, scope)
        _FRAME.pack_into(out, 0, len(out) - 4, xid, self.opcode)
        return bytes(out)

    def result(self, data: bytes, at: int, scope: Any) -> Union[T, ZookeeperError]:
        """The outcome of a successful reply, whose body starts at `at`: a value, or an error as a value.

        Raises `MarshallingError`, and nothing else, for bad bytes.
        """
        return self.conclude(decode(self.reply, data, at, scope))

    def conclude(self, value: Any) -> Union[T, ZookeeperError]:
        """The outcome the caller gets for the value of the reply: mostly the value itself."""
        outcome: T = value
        return outcome

    def refusal(self, code: int) -> Union[T, ZookeeperError]:
        """The outcome of a reply with an error code: mostly the error of that code."""
        return error_for(code, self.path)

    # ---------------------------------------------------------------- the server's direction

    @classmethod
    def parse(cls: Type[O], data: bytes, at: int = 0, scope: Any = None) -> O:
        """The operation whose request body starts at `at`. Nothing is validated but the encoding."""
        return cls.read(data, at, scope)[0]

    @classmethod
    def read(cls: Type[O], data: bytes, at: int, scope: Any) -> Tuple[O, int]:
        """As `parse`, with the offset behind the request."""
        op = object.__new__(cls)
        try:
            for name, codec in cls.request:
                value, at = codec.read(data, at, scope)
                op.__dict__[name] = value
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise MarshallingError(f"malformed {cls.__name__}: {error}") from error
        return op, at


class Pathless(Op[T]):
    """Operations that concern no single node."""

    path: ClassVar[None] = None  # type: ignore[misc]  # by class, not by value


class PathAndWatch(Op[T]):
    """Operations of a path and a watch flag, the ones sent most: made, and framed, in one go."""

    path: str
    request = (("path", PATH), ("watch", WATCH))

    def __init__(self, path: str, watch: Optional[Watcher] = None) -> None:
        fields = self.__dict__  # a third of the time of a frozen dataclass's own __init__
        fields["path"] = validate_path(path)
        fields["watch"] = watch

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, with length and header."""
        path = self.path if scope is None else scope.prepend(self.path)
        try:
            raw = path.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{self!r}: {error}") from error
        size = len(raw)
        head = _PATH_FRAME.pack(size + _HEADER + 5, xid, self.opcode, size)
        return head + raw + (b"\0" if self.watch is None else b"\1")
