"""The values of the protocol: Stat, ACL, Id, events, states, and the records of the handshake.

Owns their fields, names and codecs. Must not know operations, connections or sessions.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .hosts import Chroot
from .errors import MarshallingError
from .jute import BOOL, BUFFER, INT, LONG, USTRING, Codec, FixedRecord, Record, Required, Vector


class Stat(NamedTuple):
    """What the server keeps about a node. Times are in ms since the epoch (server's clock), zxids transaction ids.

    `version`, `cversion` and `aversion` count changes of data, children and ACL, and may wrap. `ephemeralOwner` is
    the owning session's id, 0 for all other nodes, container and TTL nodes included. Field names are kazoo's.
    """

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeralOwner: int
    dataLength: int
    numChildren: int
    pzxid: int

    @property
    def acl_version(self) -> int:
        """`aversion`."""
        return self.aversion

    @property
    def children_version(self) -> int:
        """`cversion`."""
        return self.cversion

    @property
    def created(self) -> float:
        """Time of creation, in seconds since the epoch."""
        return self.ctime / 1000.0

    @property
    def last_modified(self) -> float:
        """Time of the last change of data, in seconds since the epoch."""
        return self.mtime / 1000.0

    @property
    def owner_session_id(self) -> Optional[int]:
        """`ephemeralOwner`, or None if the node is not ephemeral."""
        return self.ephemeralOwner or None

    @property
    def creation_transaction_id(self) -> int:
        """`czxid`."""
        return self.czxid

    @property
    def last_modified_transaction_id(self) -> int:
        """`mzxid`."""
        return self.mzxid

    @property
    def data_length(self) -> int:
        """Size of the data, in bytes."""
        return self.dataLength

    @property
    def children_count(self) -> int:
        """Number of children."""
        return self.numChildren


def _stat(fields: Tuple[Any, ...], new: Callable[..., Stat] = tuple.__new__) -> Stat:
    return new(Stat, fields)  # a third of the time of Stat._make, on the path of every read


STAT: Codec[Stat] = FixedRecord(_stat, "qqqqiiiqiiq")


class Permissions:
    """Bits of `ACL.perms`."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16
    ALL = 31


class Id(NamedTuple):
    """An identity: `scheme` is "world", "auth", "digest", "ip", "x509" or "sasl"; `id` its form within the scheme."""

    scheme: str
    id: str


class ACL(NamedTuple):
    """Permissions (bits of `Permissions`) of one identity."""

    perms: int
    id: Id


ID: Codec[Id] = Record(Id, USTRING, USTRING)
ACL_ENTRY: Codec[ACL] = Record(ACL, INT, ID)

#: Anyone may do anything.
OPEN_ACL_UNSAFE: Tuple[ACL, ...] = (ACL(Permissions.ALL, Id("world", "anyone")),)
#: The identities of this session may do anything, nobody else anything. Needs `add_auth` or SASL first.
CREATOR_ALL_ACL: Tuple[ACL, ...] = (ACL(Permissions.ALL, Id("auth", "")),)
#: Anyone may read.
READ_ACL_UNSAFE: Tuple[ACL, ...] = (ACL(Permissions.READ, Id("world", "anyone")),)


def make_acl(scheme: str, credential: str, read: bool = False, write: bool = False, create: bool = False,
             delete: bool = False, admin: bool = False, all: bool = False) -> ACL:  # noqa: A002  # fmt: skip
    """An `ACL` for one identity with the permissions named."""
    bits = (read, write, create, delete, admin)
    perms = Permissions.ALL if all else sum(1 << i for i, granted in enumerate(bits) if granted)
    return ACL(perms, Id(scheme, credential))


def make_digest_acl_credential(username: str, password: str) -> str:
    """The id of a digest ACL: `user:base64(sha1("user:password"))`."""
    digest = hashlib.sha1(f"{username}:{password}".encode()).digest()  # noqa: S324  # the server's scheme
    return f"{username}:{base64.b64encode(digest).decode()}"


def make_digest_acl(username: str, password: str, read: bool = False, write: bool = False, create: bool = False,
                    delete: bool = False, admin: bool = False, all: bool = False) -> ACL:  # noqa: A002  # fmt: skip
    """An `ACL` for whoever authenticates with `add_auth("digest", "username:password")`."""
    return make_acl("digest", make_digest_acl_credential(username, password), read, write, create, delete, admin, all)


class EventType:
    """What happened, in `WatchedEvent.type`. The last three are made by the client when a watch is removed."""

    NONE = "NONE"
    CREATED = "CREATED"
    DELETED = "DELETED"
    CHANGED = "CHANGED"
    CHILD = "CHILD"
    DATA_WATCH_REMOVED = "DATA_WATCH_REMOVED"
    CHILD_WATCH_REMOVED = "CHILD_WATCH_REMOVED"
    PERSISTENT_WATCH_REMOVED = "PERSISTENT_WATCH_REMOVED"


class KeeperState:
    """The state of a session in detail, in `WatchedEvent.state` and `ZooKeeper.client_state`."""

    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    CONNECTED_RO = "CONNECTED_RO"
    EXPIRED_SESSION = "EXPIRED_SESSION"
    AUTH_FAILED = "AUTH_FAILED"
    CLOSED = "CLOSED"


class KazooState:
    """The three states a listener sees: CONNECTED; SUSPENDED (no connection, the session may live on); LOST."""

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


#: WatcherEvent.type on the wire (Watcher.Event.EventType). Others are logged and ignored.
EVENT_TYPES: Dict[int, str] = {
    1: EventType.CREATED,
    2: EventType.DELETED,
    3: EventType.CHANGED,
    4: EventType.CHILD,
}


class WatchedEvent(NamedTuple):
    """What a watcher is called with.

    `type` is one of `EventType`, `state` of `KeeperState`, `path` the node (as the user names it, chroot taken off).
    Type NONE is about the session: with state CONNECTED, a persistent watch was armed again after a reconnect and may
    have missed changes, so read afresh; with EXPIRED_SESSION, AUTH_FAILED or CLOSED the watch is gone.
    Other watches catch up by what is there after a reconnect: of a node created and deleted meanwhile nothing is heard.
    """

    type: str
    state: str
    path: Optional[str]


Watcher = Callable[[WatchedEvent], object]

#: Which list of the server a watch stands in.
DATA, EXIST, CHILD, PERSISTENT, RECURSIVE = "data", "exist", "child", "persistent", "recursive"


# -------------------------------------------------------------------- scope and paths


class Scope(Chroot):
    """What a client adds to its operations on the way to the wire: its chroot and its default ACL."""

    __slots__ = ("default_acl",)

    def __init__(self, chroot: str = "", default_acl: Optional[Sequence[ACL]] = None) -> None:
        super().__init__(chroot)
        self.default_acl: Sequence[ACL] = OPEN_ACL_UNSAFE if default_acl is None else tuple(default_acl)


class Path(Codec[Optional[str]]):
    """A path of the user: the scope's chroot is put before it in writing and taken off in reading.

    With scope None (a server's view) paths and ACLs are what the wire says.
    """

    least = 4

    def write(self, out: bytearray, value: Optional[str], scope: Any) -> None:
        """Append the server's path."""
        USTRING.write(out, scope.prepend(value) if scope is not None and value is not None else value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[str], int]:
        """The user's path; `MarshallingError` if the server's lies outside the chroot."""
        value, after = USTRING.read(data, at, scope)
        if value is None or scope is None:
            return value, after
        try:
            return scope.strip(value), after
        except ValueError as error:
            raise MarshallingError(str(error)) from error


PATH = Path()
RESULT_PATH: Codec[str] = Required(PATH)


class Acls(Codec[Optional[Sequence[ACL]]]):
    """An ACL list; None becomes the client's default on the way out, and stays null without a scope."""

    least = 4

    def write(self, out: bytearray, value: Optional[Sequence[ACL]], scope: Any) -> None:
        """Append the list, or the default for None."""
        _ACLS.write(out, scope.default_acl if value is None and scope is not None else value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[Sequence[ACL]], int]:
        """The list at `at`."""
        return _ACLS.read(data, at, scope)


_ACLS: Vector[ACL] = Vector(ACL_ENTRY)
ACLS = Acls()
RESULT_ACLS: Codec[List[ACL]] = Required(_ACLS)  # type: ignore[arg-type]  # a Vector reads lists


# -------------------------------------------------------------------- headers and handshake


class RequestHeader(NamedTuple):
    """What precedes each request."""

    xid: int
    opcode: int


class ReplyHeader(NamedTuple):
    """What precedes each reply; `err` is 0 or an error code."""

    xid: int
    zxid: int
    err: int


class ConnectRequest(NamedTuple):
    """The first frame of a client. `timeout_ms` is the session timeout asked for; `passwd` a secret of 16 bytes.

    `read_only` is None where the request ends before that byte (clients before 3.4): the answer lacks it, too.
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
    """The first frame of a server. `timeout_ms` <= 0 means expired; `read_only` None that the byte was absent."""

    protocol_version: int
    timeout_ms: int
    session_id: int
    passwd: Optional[bytes]
    read_only: Optional[bool]

    def __repr__(self) -> str:
        return f"ConnectResponse(session 0x{self.session_id:x}, {self.timeout_ms} ms, read_only={self.read_only})"


class _LastBool(Codec[Optional[bool]]):
    """A boolean at the end of a record that older peers leave out."""

    def write(self, out: bytearray, value: Optional[bool], scope: Any) -> None:
        if value is not None:
            BOOL.write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[Optional[bool], int]:
        return BOOL.read(data, at, scope) if at < len(data) else (None, at)


REQUEST_HEADER: Codec[RequestHeader] = FixedRecord(RequestHeader._make, "ii")
REPLY_HEADER: Codec[ReplyHeader] = FixedRecord(ReplyHeader._make, "iqi")
CONNECT_REQUEST: Codec[ConnectRequest] = Record(ConnectRequest, INT, LONG, INT, LONG, BUFFER, _LastBool())
CONNECT_RESPONSE: Codec[ConnectResponse] = Record(ConnectResponse, INT, INT, LONG, BUFFER, _LastBool())


class WatcherEvent(NamedTuple):
    """A notification: numbers as on the wire, and the server's path."""

    type: int
    state: int
    path: Optional[str]


WATCHER_EVENT: Codec[WatcherEvent] = Record(WatcherEvent, INT, INT, USTRING)
