"""The wire table, second part: watches, the session and the ensemble.

Owns their opcodes, request fields and reply bodies. Import them from `ops`, which has the whole table.
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple, Union

from ..errors import MarshallingError, ZookeeperError
from ..paths import CONFIG_NODE, validate_path
from ..values import Id, Stat, Watcher
from .jute import BUFFER, INT, LONG, USTRING, JuteType, Required, Vector
from .messages import ID, PATH
from .node_ops import DATA_AND_STAT, NAMES
from .operation import PERSISTENT, RECURSIVE, OnPath, Op, Pathless, armed, check_watcher

# ----------------------------------------------------------------------------- watches


class AddWatch(Op[None]):
    """Sets a persistent watch: on a node and its children, or with `recursive` on all nodes below it too.

    A recursive watch gets no CHILD events: every node below it has its own events. ZooKeeper 3.6 and later.
    """

    opcode = 106
    plain = False
    request = (("path", PATH), ("mode", INT))
    reply = INT  # an ErrorResponse, always 0
    path: str
    #: 0 persistent, 1 recursive.
    mode: int
    _lists = ((PERSISTENT, None), (RECURSIVE, None))

    def __init__(self, path: str, watch: Watcher, recursive: bool = False) -> None:
        check_watcher(watch)
        self.__dict__.update(path=validate_path(path), watch=watch, mode=1 if recursive else 0)

    @property
    def watches(self) -> Tuple[str, None]:  # type: ignore[override]  # by value, not by class
        """The list of the watch."""
        return self._lists[self.mode]

    @property
    def recursive(self) -> bool:
        """Whether it includes the nodes below."""
        return self.mode == 1

    @classmethod
    def read(cls, data: bytes, at: int, scope: Any) -> Tuple[AddWatch, int]:
        """The operation at `at`; any mode but 0 and 1 is malformed (AddWatchMode.fromInt)."""
        op, at = super().read(data, at, scope)
        if op.mode not in (0, 1):
            raise MarshallingError(f"watch mode {op.mode}", op.path)
        op.__dict__["watch"] = armed
        return op, at

    def result(self, data: bytes, at: int, scope: Any) -> Union[None, ZookeeperError]:
        """None: the number in the reply repeats that of its header, and some servers leave it out."""
        return None


class CheckWatches(Op[None]):
    """Asks whether the server has a watch: `kind` 1 children, 2 data, 3 any. Raises NoWatcherError."""

    opcode = 17
    request = (("path", PATH), ("kind", INT))
    path: str
    kind: int

    def __init__(self, path: str, kind: int = 3) -> None:
        self.__dict__.update(path=validate_path(path), kind=kind)


class RemoveWatches(Op[None]):
    """Removes watches on a path: `kind` 1 children, 2 data, 3 any. ZooKeeper 3.5 and later.

    With `watcher`, only the watches of that watcher. The server knows paths only, not watchers: the request is sent
    once the last watcher of the path is removed, and not at all with `local`. Each removed watcher is called. Raises
    NoWatcherError.
    """

    opcode = 18
    plain = False
    request = (("path", PATH), ("kind", INT))
    path: str
    kind: int
    watcher: Optional[Watcher]
    local: bool

    def __init__(self, path: str, kind: int = 3, watcher: Optional[Watcher] = None, local: bool = False) -> None:
        if kind not in (1, 2, 3):  # 3.8 answers 4 and 5 with a MarshallingError
            raise ValueError(f"invalid kind of watch {kind!r}: 1 children, 2 data, 3 any")
        if watcher is not None:
            check_watcher(watcher)
        self.__dict__.update(path=validate_path(path), kind=kind, watcher=watcher, local=local)

    @classmethod
    def read(cls, data: bytes, at: int, scope: Any) -> Tuple[RemoveWatches, int]:
        """The operation at `at`."""
        op, at = super().read(data, at, scope)
        op.__dict__.update(watcher=None, local=False)
        return op, at


class RemoveConfigWatches(RemoveWatches):
    """Removes watches on the configuration's node, which is outside any chroot."""

    def __init__(self, kind: int = 3, watcher: Optional[Watcher] = None, local: bool = False) -> None:
        super().__init__(CONFIG_NODE, kind, watcher, local)

    def server_path(self, scope: Any) -> str:
        """The path itself, without the chroot."""
        return self.path

    def frame(self, xid: int, scope: Any) -> bytes:
        """The whole request, without the chroot."""
        return super().frame(xid, None)


class SetWatches(Pathless[None]):
    """Sets watches again on a new connection; the server sends events for changes since `relative_zxid`."""

    opcode = 101
    alone = plain = False
    # Paths of the server, which are the keys of watches.
    request = (("relative_zxid", LONG), ("data", NAMES), ("exist", NAMES), ("child", NAMES))
    relative_zxid: int
    data: Sequence[str]
    exist: Sequence[str]
    child: Sequence[str]

    def __init__(
        self, relative_zxid: int, data: Sequence[str] = (), exist: Sequence[str] = (), child: Sequence[str] = ()
    ) -> None:
        self.__dict__.update(relative_zxid=relative_zxid, data=data, exist=exist, child=child)


class SetWatches2(Pathless[None]):
    """As `SetWatches`, with persistent watches, which get no missed events. ZooKeeper 3.6 and later."""

    opcode = 105
    alone = plain = False
    request = (*SetWatches.request, ("persistent", NAMES), ("recursive", NAMES))
    relative_zxid: int
    data: Sequence[str]
    exist: Sequence[str]
    child: Sequence[str]
    persistent: Sequence[str]
    recursive: Sequence[str]

    def __init__(
        self, relative_zxid: int, data: Sequence[str] = (), exist: Sequence[str] = (), child: Sequence[str] = (),
        persistent: Sequence[str] = (), recursive: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.__dict__.update(
            relative_zxid=relative_zxid, data=data, exist=exist, child=child, persistent=persistent, recursive=recursive
        )


# ----------------------------------------------------------------- session and ensemble


class Ping(Pathless[None]):
    """Proves to the server that the session is alive; the reply proves that the server is."""

    opcode = 11
    alone = plain = False
    fixed_xid = -2


class Auth(Pathless[None]):
    """Adds an identity to the connection. `credential` is defined by the scheme: b"user:password" for "digest".

    The credential crosses the network in clear. Raises AuthFailedError, which ends the session.
    """

    opcode = 100
    alone = plain = False
    fixed_xid = -4  # answered at once by the server's I/O thread, overtaking queued writes
    request = (("kind", INT), ("scheme", USTRING), ("credential", BUFFER))
    kind: int
    scheme: str
    credential: bytes

    def __init__(self, scheme: str, credential: bytes, kind: int = 0) -> None:
        if not isinstance(scheme, str) or not isinstance(credential, bytes):
            raise TypeError("auth takes a scheme (str) and a credential (bytes)")
        self.__dict__.update(kind=kind, scheme=scheme, credential=credential)


class Sasl(Pathless[bytes]):
    """One token of a SASL exchange; the result is the server's token."""

    opcode = 102
    alone = plain = False
    request = (("token", BUFFER),)
    reply = BUFFER
    token: Optional[bytes]

    def __init__(self, token: Optional[bytes]) -> None:
        self.__dict__["token"] = token


class CloseSession(Pathless[None]):
    """Ends the session: the server deletes its ephemeral nodes."""

    opcode = -11
    alone = plain = False
    writes = True


class _Inside(JuteType[List[str]]):
    """Paths; those outside the chroot are left out, because the server compares plain string prefixes."""

    def write(self, out: bytearray, value: List[str], scope: Any) -> None:
        Vector(PATH).write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[List[str], int]:
        paths, at = NAMES.read(data, at, scope)
        if scope is None or not scope.prefix:
            return paths, at
        inside = scope.prefix + "/"
        return [scope.strip(p) for p in paths if p == scope.prefix or p.startswith(inside)], at


class GetEphemerals(OnPath[List[str]]):
    """The paths of this session's ephemeral nodes that start with the string `path`. ZooKeeper 3.6 and later."""

    opcode = 103
    reply = _Inside()

    def __init__(self, path: str = "/") -> None:
        super().__init__(path)


class WhoAmI(Pathless[List[Id]]):
    """The identities of this connection. ZooKeeper 3.7 and later."""

    opcode = 107
    reply = Required(Vector(ID))


class Reconfig(Pathless[Tuple[bytes, Stat]]):
    """Changes the ensemble; the result is the new configuration. Needs a privileged identity."""

    opcode = 16
    writes = True
    request = (("joining", USTRING), ("leaving", USTRING), ("new_members", USTRING), ("from_config", LONG))
    reply = DATA_AND_STAT
    joining: Optional[str]
    leaving: Optional[str]
    new_members: Optional[str]
    from_config: int

    def __init__(
        self, joining: Optional[str] = None, leaving: Optional[str] = None, new_members: Optional[str] = None,
        from_config: int = -1,
    ) -> None:  # fmt: skip
        self.__dict__.update(joining=joining, leaving=leaving, new_members=new_members, from_config=from_config)
