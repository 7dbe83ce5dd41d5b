"""The records of the wire: values, headers, the handshake, notifications.

Owns their fields and codecs. Must not know operations, connections or sessions.
"""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..errors import MarshallingError
from ..typed import NamedTuple
from ..values import ACL, OPEN_ACL_UNSAFE, EventType, Id, Stat
from .jute import BOOL, BUFFER, INT, LONG, USTRING, JuteType, FixedRecord, Record, Required, Vector, encode


class _Stat(JuteType[Stat]):
    """The end of most replies, decoded by one call of struct and no Python code."""

    _struct = struct.Struct(">qqqqiiiqiiq")
    least = _struct.size

    def write(self, out: bytearray, value: Stat, scope: Any) -> None:
        out += self._struct.pack(*value)

    def read(
        self, data: bytes, at: int, scope: Any,
        new: Callable[..., Stat] = tuple.__new__, unpack: Callable[..., Tuple[Any, ...]] = _struct.unpack_from,
    ) -> Tuple[Stat, int]:  # fmt: skip
        return new(Stat, unpack(data, at)), at + 68


STAT = _Stat()
ID: JuteType[Id] = Record(Id, USTRING, USTRING)
ACL_ENTRY: JuteType[ACL] = Record(ACL, INT, ID)

#: WatcherEvent.type on the wire (Watcher.Event.EventType). Others are logged and ignored.
EVENT_TYPES: Dict[int, str] = {
    1: EventType.CREATED,
    2: EventType.DELETED,
    3: EventType.CHANGED,
    4: EventType.CHILD,
}


# -------------------------------------------------------------------- scope and paths


class Scope:
    """The client's part of each operation on the wire: its chroot and its default ACL.

    Only this class adds a chroot to paths and takes it off again. `prefix` is "" for none.
    """

    __slots__ = ("prefix", "default_acl", "_inside")

    def __init__(self, chroot: str = "", default_acl: Optional[Sequence[ACL]] = None) -> None:
        self.prefix, self._inside = chroot, chroot + "/"
        self.default_acl: Sequence[ACL] = OPEN_ACL_UNSAFE if default_acl is None else tuple(default_acl)

    def prepend(self, path: str) -> str:
        """The server's path for a path of the user."""
        return path if not self.prefix else self.prefix if path == "/" else self.prefix + path

    def strip(self, path: str) -> str:
        """The user's path for a path of the server; `ValueError` if that is outside (ZOOKEEPER-4565, -4601)."""
        if not self.prefix:
            return path
        if path == self.prefix:
            return "/"
        if path.startswith(self._inside):
            return path[len(self.prefix) :]
        raise ValueError(f"the path {path!r} lies outside the chroot {self.prefix!r}")


class Path(JuteType[Any]):
    """A path of the user (a str, or None unless it is `required`): writing adds the scope's chroot, and reading takes
    it off.

    With scope None (a server's view) paths and ACLs are those on the wire.
    """

    least = 4

    def __init__(self, required: bool) -> None:
        self.required = required

    def write(self, out: bytearray, value: Optional[str], scope: Any) -> None:
        """Append the server's path."""
        if value is None:
            out += _NULL
            return
        raw = (value if scope is None else scope.prepend(value)).encode()
        out += _pack_int(len(raw)) + raw

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[str], int]:
        """The user's path; `MarshallingError` if the server's is outside the chroot."""
        value, after = USTRING.read(data, at, scope)
        if value is None:
            if self.required:
                raise MarshallingError(f"null at offset {at}, where a path is required")
        elif scope is not None and scope.prefix:
            try:
                return scope.strip(value), after
            except ValueError as error:
                raise MarshallingError(str(error)) from error
        return value, after


PATH, RESULT_PATH = Path(required=False), Path(required=True)
_pack_int = struct.Struct(">i").pack
_NULL = _pack_int(-1)


class Acls(JuteType[Optional[Sequence[ACL]]]):
    """An ACL list; None is written as the client's default, or as null without a scope."""

    least = 4

    def __init__(self) -> None:
        #: The tuple packed last, and its encoding; one attribute, because several threads may pack at the same time.
        self.packed: Tuple[Any, bytes] = ((), _pack_int(0))

    def pack(self, value: Optional[Sequence[ACL]]) -> bytes:
        """The encoding of the list, or of null. That of a tuple, which cannot change, is kept."""
        packed = encode(_ACLS, value)
        if type(value) is tuple:
            self.packed = value, packed
        return packed

    def write(self, out: bytearray, value: Optional[Sequence[ACL]], scope: Any) -> None:
        """Append the list, or the default for None."""
        out += self.pack(scope.default_acl if value is None and scope is not None else value)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[Sequence[ACL]], int]:
        """The list at `at`."""
        return _ACLS.read(data, at, scope)


_ACLS: Vector[ACL] = Vector(ACL_ENTRY)
ACLS = Acls()
RESULT_ACLS: JuteType[List[ACL]] = Required(_ACLS)  # type: ignore[arg-type]  # a Vector reads lists


# -------------------------------------------------------------------- headers and handshake


class RequestHeader(NamedTuple):
    """The header of each request."""

    xid: int
    opcode: int


class ReplyHeader(NamedTuple):
    """The header of each reply; `err` is 0 or an error code."""

    xid: int
    zxid: int
    err: int


class ConnectRequest(NamedTuple):
    """The first frame of a client. `timeout_ms` is the session timeout asked for; `passwd` a secret of 16 bytes.

    `read_only` is None if the request ends before that byte (clients before 3.4): the answer then lacks it, too.
    """

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    passwd: Optional[bytes]
    read_only: Optional[bool]

    def __repr__(self) -> str:
        return f"ConnectRequest(session 0x{self.session_id:x}, zxid 0x{self.last_zxid_seen:x}, {self.timeout_ms} ms)"


class ConnectResponse(NamedTuple):
    """The first frame of a server. `timeout_ms` <= 0 means expired; `read_only` None means that the byte was absent."""

    protocol_version: int
    timeout_ms: int
    session_id: int
    passwd: Optional[bytes]
    read_only: Optional[bool]

    def __repr__(self) -> str:
        return f"ConnectResponse(session 0x{self.session_id:x}, {self.timeout_ms} ms, read_only={self.read_only})"


class _LastBool(JuteType[Optional[bool]]):
    """A boolean at the end of a record that older peers leave out."""

    def write(self, out: bytearray, value: Optional[bool], scope: Any) -> None:
        if value is not None:
            BOOL.write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[bool], int]:
        return BOOL.read(data, at, scope) if at < len(data) else (None, at)


REQUEST_HEADER: JuteType[RequestHeader] = FixedRecord(RequestHeader._make, "ii")
REPLY_HEADER: JuteType[ReplyHeader] = FixedRecord(ReplyHeader._make, "iqi")
CONNECT_REQUEST: JuteType[ConnectRequest] = Record(ConnectRequest, INT, LONG, INT, LONG, BUFFER, _LastBool())
CONNECT_RESPONSE: JuteType[ConnectResponse] = Record(ConnectResponse, INT, INT, LONG, BUFFER, _LastBool())


class WatcherEvent(NamedTuple):
    """A notification: numbers as on the wire, and the server's path."""

    type: int
    state: int
    path: Optional[str]


class _Event(JuteType[WatcherEvent]):
    """Read by one Struct, because many changes mean many events."""

    least = 12
    _struct = struct.Struct(">iii")

    def write(self, out: bytearray, value: WatcherEvent, scope: Any) -> None:
        out += _pack_int(value.type) + _pack_int(value.state)
        USTRING.write(out, value.path, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[WatcherEvent, int]:
        kind, state, length = self._struct.unpack_from(data, at)
        end = at + 12 + length
        if length < 0 or end > len(data):
            path, end = USTRING.read(data, at + 8, scope)  # null, or the error
        else:
            path = data[at + 12 : end].decode()
        return tuple.__new__(WatcherEvent, (kind, state, path)), end


WATCHER_EVENT = _Event()
