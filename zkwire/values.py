"""The values of the public API: Stat, ACL, Id, events and states.

Owns these values and their names. Must not know the wire, operations or sessions.
"""

from __future__ import annotations

from typing import Callable, Optional, Tuple

from .typed import NamedTuple


class Stat(NamedTuple):
    """The server's metadata of a node. Times are in ms since the epoch (server's clock), zxids transaction ids.

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


#: Anyone may do anything.
OPEN_ACL_UNSAFE: Tuple[ACL, ...] = (ACL(Permissions.ALL, Id("world", "anyone")),)
#: The identities of this session may do anything, all others nothing. Needs `add_auth` or SASL first.
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
    import hashlib  # few clients need it, and it takes 4 MB
    from binascii import b2a_base64

    digest = hashlib.sha1(f"{username}:{password}".encode()).digest()  # noqa: S324  # the server's scheme
    return f"{username}:{b2a_base64(digest, newline=False).decode()}"


def make_digest_acl(username: str, password: str, read: bool = False, write: bool = False, create: bool = False,
                    delete: bool = False, admin: bool = False, all: bool = False) -> ACL:  # noqa: A002  # fmt: skip
    """An `ACL` for the clients that authenticate with `add_auth("digest", "username:password")`."""
    return make_acl("digest", make_digest_acl_credential(username, password), read, write, create, delete, admin, all)


class EventType:
    """The kind of a `WatchedEvent`, in its `type`. The last three are made by the client when a watch is removed."""

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
    """The states of a listener: CONNECTED; SUSPENDED (no connection, the session may be alive); LOST."""

    CONNECTED = "CONNECTED"
    SUSPENDED = "SUSPENDED"
    LOST = "LOST"


class WatchedEvent(NamedTuple):
    """The argument of a watcher.

    `type` is one of `EventType`, `state` of `KeeperState`, `path` the node (the user's path, without the chroot).
    Type NONE concerns the session: with state CONNECTED, a persistent watch was set again after a reconnect and may
    have missed changes, so read again; with EXPIRED_SESSION, AUTH_FAILED or CLOSED the watch is gone.
    One-shot watches compare the nodes after a reconnect: a node created and deleted in between gives no event.
    """

    type: str
    state: str
    path: Optional[str]


Watcher = Callable[[WatchedEvent], object]
