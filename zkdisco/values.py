"""The values of discovery: services, events, errors, defaults.

Owns what they hold and what makes them valid. Must not know ZooKeeper's operations, threads or asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, Generic, List, NamedTuple, Optional, Sequence, Tuple, Union, overload

from ._zkwire import ACL, OPEN_ACL_UNSAFE, Stat, errors, paths
from .codecs import TEXT, Codec, Instance, find

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    #: An instance: text, unless a codec gives something else.
    T = TypeVar("T", default=str)
    #: What a registration tells of itself: bytes, unless a codec takes something else.
    D = TypeVar("D", default=bytes)
else:
    from typing import TypeVar

    T, D = TypeVar("T"), TypeVar("D")

#: Anyone may do anything, as in Go kit.
DEFAULT_ACL: Tuple[ACL, ...] = OPEN_ACL_UNSAFE
#: Seconds for one server: name resolution, TCP and handshake together.
DEFAULT_CONNECT_TIMEOUT = 2.0
#: Seconds after which the instances of a process that died are gone.
DEFAULT_SESSION_TIMEOUT = 5.0
#: Seconds; below this, a busy machine would lose its session for nothing. The wire has milliseconds in 32 bits.
SHORTEST_TIMEOUT, LONGEST_TIMEOUT = 1.0, 2**31 / 1000
#: An error names so many of the nodes that are left out in its text; `nodes` has them all.
NAMED = 5


class InvalidCredentialsError(ValueError):
    """User name or password is missing."""


class ClientClosedError(errors.ConnectionClosedError):
    """The client has been stopped."""

    explanation = "the client has been stopped"


class NotRegisteredError(errors.ZookeeperError):
    """There is no registration to take back."""

    explanation = "not registered"


class NoEndpointsError(errors.ZookeeperError):
    """There is nobody to be called. `__cause__` is the trouble with the set of instances, if there is any."""

    explanation = "there is no endpoint"


class IdentityTakenError(errors.NodeExistsError):
    """The identity of a registrar belongs to another process, or to a node that is no instance, and is left to it.

    `path` is the node, `session_id` the session that owns it, or 0 if it is persistent. The text says what to do.
    """

    explanation = "the identity is taken"
    session_id = 0


def identity_taken(path: str, session_id: int) -> IdentityTakenError:
    """The error that says whose the node `path` is; 0 if it is persistent."""
    if session_id:
        whose = f"belongs to session 0x{session_id:x}, which is not one of ours: end that process"
    else:
        whose = "is persistent, and no instance: delete it"
    error = IdentityTakenError(f"{path!r} {whose}, or give this registrar another identity", path)
    error.session_id = session_id
    return error


class GateShutError(errors.ZookeeperError):
    """The gate of a registrar is shut, so that its node is not there; the text is the gate's reason."""

    explanation = "the gate is shut"


class NodeNotFoundError(errors.NoNodeError):
    """The node does not exist."""


class InstancesLeftOutError(errors.ZookeeperError):
    """Some children cannot be read, and are left out; all other instances are there.

    `nodes` has the path and the cause of each, `path` is the first of them.
    """

    explanation = "an instance is left out"
    nodes: Tuple[Tuple[str, Exception], ...] = ()


class UndecodableDataError(InstancesLeftOutError):
    """As its base, where the data of all that is left out cannot be decoded: it is not UTF-8, or not of the format."""

    explanation = "the data of the instance is not UTF-8"


def left_out(causes: Dict[str, Exception]) -> InstancesLeftOutError:
    """The error that names all nodes left out, and the cause of each; `causes` has at least one path."""
    nodes = tuple(sorted(causes.items()))
    undecodable = all(isinstance(cause, UndecodableDataError) for _, cause in nodes)
    kind = UndecodableDataError if undecodable else InstancesLeftOutError
    if len(nodes) == 1:
        path, cause = nodes[0]
        error = kind(f"left out: {cause}" if path in str(cause) else f"left out: {cause}: {path!r}", path)
    else:
        named = "; ".join(f"{path!r}: {cause}" for path, cause in nodes[:NAMED])
        more = f"; and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
        error = kind(f"{len(nodes)} left out: {named}{more}", nodes[0][0])
    error.nodes = nodes
    return error


class Entries(List[str]):
    """The data of instances, sorted; `error` names the children that are left out, if there are any."""

    error: Optional[InstancesLeftOutError] = None


class ReadOnlyServerError(errors.ZookeeperError):
    """The server below has no quorum, and serves reads only: the set may be old."""

    explanation = "the server has no quorum and serves reads only; what it tells may be old"


#: With these, the set of an event is of the moment all the same.
WITH_A_SET = (InstancesLeftOutError, ReadOnlyServerError)


class _Fields(NamedTuple):
    instances: Tuple[Any, ...]
    error: Optional[Exception] = None


class Event(_Fields, Generic[T]):
    """What an observer hears: always the complete set, whenever it has changed, or its nodes have (`Instancer.nodes`).

    `instances` is sorted, one entry for each instance (equal data stands there twice). With `error`, the set is the
    last one known to be true, except for `InstancesLeftOutError`, which names the children that are left out of it, and
    `ReadOnlyServerError`, with which it is what a server without a quorum knows.

    It is the tuple of these two. `held` are those of the set that have gone from ZooKeeper, and are kept for a while:
    none, unless a `Settling` stands between. Events are equal if their `held` are, too.
    """

    held: Tuple[T, ...] = ()

    def __new__(
        cls, instances: Tuple[T, ...], error: Optional[Exception] = None, held: Tuple[T, ...] = ()
    ) -> Event[T]:
        made = super().__new__(cls, instances, error)
        if held:
            made.held = held
        return made

    if TYPE_CHECKING:

        @property
        def instances(self) -> Tuple[T, ...]: ...

    def __eq__(self, other: object) -> bool:
        """Whether it is the same tuple, and the same are held; any other tuple holds none."""
        return super().__eq__(other) is True and self.held == getattr(other, "held", ())

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _Fields.__hash__

    def __repr__(self) -> str:
        held = f", held={self.held!r}" if self.held else ""
        return f"Event(instances={self.instances!r}, error={self.error!r}{held})"

    def __reduce__(self) -> Any:
        return Event, (*self, self.held)

    def _replace(self, **changes: Any) -> Event[T]:
        """The same with other values, `held` among them."""
        return Event(**{"instances": self.instances, "error": self.error, "held": self.held, **changes})


class Node(NamedTuple):
    """An instance as the node it is: `name` in its directory, `data` (bytes; b"" for none), and `stat` (`Stat`).

    `stat.czxid` tells two nodes apart that had one name, one after the other; `stat.mzxid` two values of a node.
    """

    name: str
    data: bytes
    stat: Stat


@dataclass(frozen=True)
class Service(Generic[D]):
    """An instance to register: below `path`, in the directory `name`, with `data` (bytes; mostly b"host:port").

    With `codec`, a `zkdisco.codecs.Codec` or the name of a format, `data` is an instance as that has it, completed with
    what it needs (`service.data.id`, say, which also tells two services apart). `content` is what the node will hold,
    in bytes; `node_name` its exact name where the format wants one.

    `path` may end in a slash, and may be "/". `ValueError` for what can be no path, no name, or no instance of the
    format; `TypeError` for data that is not bytes, or not an instance.
    """

    path: str
    name: str
    data: D = b""  # type: ignore[assignment]
    codec: Optional[Union[str, Codec[D]]] = None
    content: bytes = field(init=False, compare=False, repr=False, default=b"")
    node_name: Optional[str] = field(init=False, compare=False, repr=False, default=None)

    if TYPE_CHECKING:  # what goes together; the real one is the dataclass's

        @overload
        def __init__(self: Service[bytes], path: str, name: str, data: bytes = b"", codec: None = None) -> None: ...

        @overload
        def __init__(self: Service[Instance], path: str, name: str, data: Instance, codec: str) -> None: ...

        @overload
        def __init__(self, path: str, name: str, data: D, codec: Codec[D]) -> None: ...

        def __init__(self, path: str, name: str, data: Any = b"", codec: Any = None) -> None: ...

    def __post_init__(self) -> None:
        validate_directory(self.path)
        paths.validate_name(self.name)
        if self.codec is None:
            _set(self, "content", validate_data(self.data))
            return
        codec = find(self.codec)
        _set(self, "codec", codec)
        named = isinstance(self.data, Instance) and not self.data.name
        _set(self, "data", codec.complete(self.data.but(name=self.name) if named else self.data))  # type: ignore[attr-defined]
        _set(self, "content", self.encode(self.data))
        name = codec.naming.node_name(self.data)
        _set(self, "node_name", None if name is None else paths.validate_name(name))

    @property
    def directory(self) -> str:
        """Where its instances are: `path` and `name` joined."""
        return paths.join(validate_directory(self.path), self.name)

    def encode(self, data: D) -> bytes:
        """What a node of this service holds for `data`: itself, or what the codec makes of it.

        `ValueError` if the codec gives another name to a node with this data.
        """
        if not isinstance(self.codec, Codec):
            return validate_data(data)
        content, name = validate_data(self.codec.encode(data)), self.codec.naming.node_name(data)
        if self.node_name not in (None, name):
            raise ValueError(f"the node is {self.node_name!r}, which cannot become {name!r}: register another service")
        return content


_set = object.__setattr__  # of a value that is being made


def validate_data(data: Any) -> bytes:
    """`data` itself, if it is what a node can hold."""
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    return data


def validate_codec(codec: Optional[Union[str, Codec[Any]]]) -> Codec[Any]:
    """The codec of this name, the one given, or that of plain text; `ValueError` or `TypeError` if it is none."""
    return TEXT if codec is None else find(codec)


def validate_directory(path: str) -> str:
    """`path` without a slash at its end; `ValueError` if it can be no path."""
    if isinstance(path, str) and len(path) > 1 and path.endswith("/") and path != "//":
        path = path[:-1]
    return paths.validate_path(path)


def validate_identity(identity: Optional[str]) -> Optional[str]:
    """`identity` itself if it is None or can be the name of a node; a guid, with dashes or not, as 32 hex digits.

    `TypeError` if it is no str, `ValueError` if it can be no name.
    """
    if identity is None:
        return None
    if not isinstance(identity, str):
        raise TypeError(f"an identity is a str, a guid or the name of a node, not {type(identity).__name__}")
    parts = identity.split("-")
    guid = "".join(parts).lower()
    if [len(part) for part in parts] in ([32], [8, 4, 4, 4, 12]) and is_guid(guid):
        return guid
    return paths.validate_name(identity)


def is_guid(identity: str) -> bool:
    """Whether it is 32 hex digits, in lower case."""
    return len(identity) == 32 and not identity.strip("0123456789abcdef")


def validate_timeout(name: str, seconds: float) -> float:
    """`seconds` itself, if it is enough."""
    if not SHORTEST_TIMEOUT <= seconds < LONGEST_TIMEOUT:
        raise ValueError(f"invalid {name} {seconds!r}: seconds, at least {SHORTEST_TIMEOUT:g}")
    return seconds


def validate_wait(seconds: Optional[float]) -> Optional[float]:
    """`seconds` itself, if it is None or a number that can be waited for."""
    if seconds is not None and not 0 <= seconds < LONGEST_TIMEOUT:
        raise ValueError(f"invalid wait {seconds!r}: seconds, 0 for not at all, None for as long as it takes")
    return seconds


def validate_minimum(minimum: int) -> int:
    """`minimum` itself, if it is a number of instances."""
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        raise ValueError(f"invalid minimum {minimum!r}: a number of instances, 0 or more")
    return minimum


def validate_acl(acl: Sequence[ACL]) -> Tuple[ACL, ...]:
    """`acl` as a tuple; `ValueError` if it is empty, `TypeError` for other values than `ACL`."""
    acl = tuple(acl)
    if not acl:
        raise ValueError("an empty ACL would lock everybody out; the server refuses it")
    for entry in acl:
        if not isinstance(entry, ACL):
            raise TypeError(f"an ACL is a sequence of ACL values, not of {type(entry).__name__}")
        if not isinstance(entry.perms, int) or not isinstance(entry.id, tuple) or len(entry.id) != 2:
            raise TypeError(f"malformed {entry!r}: permissions are an int, the identity an Id")
        if not all(isinstance(part, str) for part in entry.id):
            raise TypeError(f"malformed {entry!r}: an Id is of two str")
    return acl


def validate_payload(payload: Sequence[bytes]) -> Tuple[bytes, ...]:
    """`payload` as a tuple: data of created parents, by depth."""
    payload = tuple(payload)
    if not all(isinstance(data, bytes) for data in payload):
        raise TypeError("payload must be a sequence of bytes, one for each level of parents")
    return payload


def validate_credentials(credentials: Optional[Sequence[str]]) -> Optional[Tuple[str, str]]:
    """User name and password, both there; `InvalidCredentialsError` otherwise."""
    if credentials is None:
        return None
    if isinstance(credentials, (str, bytes)) or len(credentials) != 2 or not all(credentials):
        raise InvalidCredentialsError("credentials must be a pair of user name and password, neither of them empty")
    user, password = credentials
    if not isinstance(user, str) or not isinstance(password, str) or ":" in user:
        raise InvalidCredentialsError("user name and password must be str, and the name must not hold a colon")
    return user, password
