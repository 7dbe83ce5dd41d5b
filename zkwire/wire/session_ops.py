"""The wire table, second part: watches, the session and the ensemble.

Owns their opcodes, request fields and reply bodies. Import them from `ops`, which has the whole table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple, Union

from ..errors import MarshallingError, ZookeeperError
from .jute import BUFFER, INT, LONG, USTRING, Codec, Required, Vector
from .node_ops import DATA_AND_STAT, NAMES, Checked
from .operation import Pathless, armed
from .messages import ID, PATH
from .operation import PERSISTENT, RECURSIVE
from ..values import Id, Stat, Watcher


# ----------------------------------------------------------------------------- watches


@dataclass(frozen=True, repr=False)
class AddWatch(Checked[None]):
    """Sets a watch that stays: on a node and its children, or with `recursive` on all nodes below it too.

    A recursive watch gets no CHILD events: every node below it tells of itself. ZooKeeper 3.6 and later.
    """

    path: str
    watch: Optional[Watcher]
    recursive: bool = False
    opcode = 106
    plain = False
    request = (("path", PATH), ("mode", INT))
    reply = INT  # an ErrorResponse, always 0

    @property
    def mode(self) -> int:
        """0 persistent, 1 recursive."""
        return int(self.recursive)

    @property
    def watches(self) -> Tuple[str, None]:  # type: ignore[override]  # by value, not by class
        """The list the watch stands in."""
        return (RECURSIVE if self.recursive else PERSISTENT), None

    @classmethod
    def read(cls, data: bytes, at: int, scope: Any) -> Tuple[AddWatch, int]:
        """The operation at `at`; any mode but 0 and 1 is malformed (AddWatchMode.fromInt)."""
        op, at = super().read(data, at, scope)
        mode = op.__dict__.pop("mode")
        if mode not in (0, 1):
            raise MarshallingError(f"watch mode {mode}", op.path)
        op.__dict__.update(watch=armed, recursive=bool(mode))
        return op, at

    def conclude(self, value: Any) -> Union[None, ZookeeperError]:
        """None: the number in the reply says nothing that its header does not."""
        return None


@dataclass(frozen=True, repr=False)
class CheckWatches(Checked[None]):
    """Asks whether the server has a watch: `kind` 1 children, 2 data, 3 any. Raises NoWatcherError."""

    path: str
    kind: int = 3
    opcode = 17
    request = (("path", PATH), ("kind", INT))


@dataclass(frozen=True, repr=False)
class RemoveWatches(Checked[None]):
    """Removes watches on a path: `kind` 1 children, 2 data, 3 any. ZooKeeper 3.5 and later.

    With `watcher`, only its own. The server knows paths only, not watchers: it is asked once the last one goes, and
    not at all with `local`. Each watcher removed hears of it. Raises NoWatcherError.
    """

    path: str
    kind: int = 3
    watcher: Optional[Watcher] = None
    local: bool = False
    opcode = 18
    plain = False
    request = (("path", PATH), ("kind", INT))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in (1, 2, 3):  # 4 and 5 draw a MarshallingError from 3.8
            raise ValueError(f"invalid kind of watch {self.kind!r}: 1 children, 2 data, 3 any")


_PATHS: Codec[Any] = Vector(USTRING)  # of the server: watches are kept by server path


@dataclass(frozen=True, repr=False)
class SetWatches(Pathless[None]):
    """Arms watches again on a new connection; the server catches up on changes since `relative_zxid`."""

    relative_zxid: int
    data: Sequence[str] = ()
    exist: Sequence[str] = ()
    child: Sequence[str] = ()
    opcode = 101
    alone = plain = False
    request = (("relative_zxid", LONG), ("data", _PATHS), ("exist", _PATHS), ("child", _PATHS))


@dataclass(frozen=True, repr=False)
class SetWatches2(Pathless[None]):
    """As `SetWatches`, with persistent watches, which get no catch-up events. ZooKeeper 3.6 and later."""

    relative_zxid: int
    data: Sequence[str] = ()
    exist: Sequence[str] = ()
    child: Sequence[str] = ()
    persistent: Sequence[str] = ()
    recursive: Sequence[str] = ()
    opcode = 105
    alone = plain = False
    request = (*SetWatches.request, ("persistent", _PATHS), ("recursive", _PATHS))


# ----------------------------------------------------------------- session and ensemble


@dataclass(frozen=True, repr=False)
class Ping(Pathless[None]):
    """Tells the server that we live; the answer, that it does."""

    opcode = 11
    alone = plain = False
    fixed_xid = -2


@dataclass(frozen=True, repr=False)
class Auth(Pathless[None]):
    """Adds an identity to the connection. `credential` is what the scheme wants: b"user:password" for "digest".

    The credential crosses the network in clear. Raises AuthFailedError, which ends the session.
    """

    scheme: str
    credential: bytes
    kind: int = 0
    opcode = 100
    alone = plain = False
    fixed_xid = -4  # answered at once by the server's I/O thread, overtaking queued writes
    request = (("kind", INT), ("scheme", USTRING), ("credential", BUFFER))

    def __post_init__(self) -> None:
        if not isinstance(self.scheme, str) or not isinstance(self.credential, bytes):
            raise TypeError("auth takes a scheme (str) and a credential (bytes)")


@dataclass(frozen=True, repr=False)
class Sasl(Pathless[bytes]):
    """One token of a SASL exchange; the result is the server's token."""

    token: Optional[bytes]
    opcode = 102
    alone = plain = False
    request = (("token", BUFFER),)
    reply = BUFFER


@dataclass(frozen=True, repr=False)
class CloseSession(Pathless[None]):
    """Ends the session: its ephemeral nodes vanish with it."""

    opcode = -11
    alone = plain = False
    writes = True


class _Inside(Codec[List[str]]):
    """Paths, of which those outside the chroot are left out: the server matches plain string prefixes."""

    def write(self, out: bytearray, value: List[str], scope: Any) -> None:
        Vector(PATH).write(out, value, scope)

    def read(self, data: bytes, at: int, scope: Any) -> Tuple[List[str], int]:
        paths, at = NAMES.read(data, at, scope)
        if scope is None or not scope.prefix:
            return paths, at
        inside = scope.prefix + "/"
        return [scope.strip(p) for p in paths if p == scope.prefix or p.startswith(inside)], at


@dataclass(frozen=True, repr=False)
class GetEphemerals(Checked[List[str]]):
    """The paths of this session's ephemeral nodes that start with the string `path`. ZooKeeper 3.6 and later."""

    path: str = "/"
    opcode = 103
    request = (("path", PATH),)
    reply = _Inside()


@dataclass(frozen=True, repr=False)
class WhoAmI(Pathless[List[Id]]):
    """The identities of this connection. ZooKeeper 3.7 and later."""

    opcode = 107
    reply = Required(Vector(ID))


@dataclass(frozen=True, repr=False)
class Reconfig(Pathless[Tuple[bytes, Stat]]):
    """Changes the ensemble; the result is the new configuration. Needs a privileged identity."""

    joining: Optional[str] = None
    leaving: Optional[str] = None
    new_members: Optional[str] = None
    from_config: int = -1
    opcode = 16
    writes = True
    request = (("joining", USTRING), ("leaving", USTRING), ("new_members", USTRING), ("from_config", LONG))
    reply = DATA_AND_STAT
