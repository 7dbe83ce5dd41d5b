"""The common part of both fronts, besides the verbs: a constructor, a state, listeners.

Owns the arguments and their checks, the public view of the session, and the listeners. Must not know how work is done,
nor on which thread or loop it runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Optional, Sequence, Tuple, Union

from .errors import (
    AuthFailedError, ConnectionClosedError, ConnectionLoss, OperationTimeoutError, TLSError, ZookeeperError,
)  # fmt: skip
from .io.dialer import Address
from .io.process import Guard, now
from .io.tls import check_names
from .typed import NamedTuple
from .ops import Auth
from .session.host_provider import Host, parse_hosts
from .session.session import ENDED, MAX_PENDING_BYTES, Session
from .session.watches import identity
from .values import ACL, KazooState
from .wire.connection import MAX_FRAME, MAX_REQUEST
from .wire.messages import Scope

if TYPE_CHECKING:
    import logging

    from .sasl import Mechanism
else:
    from .typed import Late

    logging = Late("logging")  # it costs as much as the client, and is loaded when one is made

DEFAULT_TIMEOUT = 10.0
DEFAULT_MAX_PENDING = 10_000
#: The default time limit of the answer to a four-letter word, in seconds.
ANSWER_WITHIN = 2.0
AuthData = Iterable[Tuple[str, Union[str, bytes]]]


class Settings(NamedTuple):
    """The arguments of `ZooKeeper` and `AsyncZooKeeper`; times in seconds, sizes in bytes."""

    hosts: Union[str, Sequence[str]]
    timeout: float = DEFAULT_TIMEOUT
    auth_data: Optional[AuthData] = None
    default_acl: Optional[Sequence[ACL]] = None
    read_only: bool = False
    randomize_hosts: bool = True
    client_id: Optional[Tuple[int, bytes]] = None
    connect_timeout: Optional[float] = None
    request_timeout: Optional[float] = None
    ssl_context: Any = None
    sasl: Any = None
    max_pending: int = DEFAULT_MAX_PENDING
    max_frame: int = MAX_FRAME
    max_request: int = MAX_REQUEST
    max_pending_bytes: int = MAX_PENDING_BYTES


def make_session(settings: Settings, random: Callable[[], float], now: float) -> Session:
    """A session core for these settings; `ValueError` or `TypeError` for invalid ones."""
    hosts, chroot = parse_hosts(settings.hosts)
    check_names(settings.ssl_context, hosts)
    if not 0 < settings.timeout <= (2**31 - 1) / 1000:
        raise ValueError(f"invalid timeout {settings.timeout!r}: seconds, above 0")
    for name in ("connect_timeout", "request_timeout"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ValueError(f"invalid {name} {value!r}: seconds above 0, or None")
    for name in ("max_pending", "max_frame", "max_request", "max_pending_bytes"):
        if getattr(settings, name) < 1:
            raise ValueError(f"invalid {name} {getattr(settings, name)!r}: at least 1")
    session = Session(
        hosts, timeout=settings.timeout, random=random, scope=Scope(chroot, settings.default_acl),
        client_id=_client_id(settings.client_id), connect_timeout=settings.connect_timeout,
        shuffle=settings.randomize_hosts, max_pending=settings.max_pending, max_frame=settings.max_frame,
        max_request=settings.max_request, max_pending_bytes=settings.max_pending_bytes,
        read_only=bool(settings.read_only),
        sasl=_mechanism(settings.sasl), secure=settings.ssl_context is not None,
    )  # fmt: skip
    for scheme, credential in settings.auth_data or ():
        raw = credential.encode() if isinstance(credential, str) else credential
        session.submit(Auth(scheme, raw), None, now)
    return session


def _random() -> float:
    """A random number from 0 up to 1, from the system: the module `random` would load hashlib, which takes 4 MB."""
    return (int.from_bytes(os.urandom(7), "big") >> 3) / 2**53


def _mechanism(sasl: Any) -> Optional[Mechanism]:
    """The SASL mechanism: DIGEST-MD5 for a pair of user and password, or the user's own."""
    if sasl is None:
        return None
    if isinstance(sasl, (tuple, list)) and len(sasl) == 2:
        user, password = sasl
        from .sasl import DigestMD5  # loaded only where it is used: hashlib below it takes 4 MB

        return DigestMD5(user, password, lambda: os.urandom(20).hex())
    if isinstance(sasl, type) or not all(callable(getattr(sasl, name, None)) for name in ("start", "step")):
        raise TypeError("sasl= takes (user, password), or a mechanism: an object with start() and step()")
    mechanism: Mechanism = sasl
    return mechanism


def _client_id(client_id: Optional[Tuple[int, bytes]]) -> Optional[Tuple[int, bytes]]:
    if client_id is None:
        return None
    number, password = client_id
    if not isinstance(number, int) or not -(2**63) <= number < 2**63 or not isinstance(password, bytes):
        raise ValueError("client_id must be a pair of session id (int) and password (bytes)")
    return number, password


#: The longest delay of start() beyond its timeout, in seconds, when it fails and closes the client.
GRACE = 0.5
Listener = Callable[[str], object]


class Listeners:
    """The listeners of one client, each registered once by its `identity`."""

    def __init__(self) -> None:
        # By identity. Each step is one operation of the dictionary: other threads and signal handlers do the same.
        self._all: Dict[Any, Listener] = {}
        self._told = KazooState.LOST

    def add(self, listener: Listener) -> None:
        """Register a listener; registering the same one twice has no effect."""
        if not callable(listener):
            raise TypeError(f"a listener must be callable, not {listener!r}")
        self._all.setdefault(identity(listener), listener)

    def remove(self, listener: Listener) -> None:
        """Remove a listener."""
        self._all.pop(identity(listener), None)

    def of(self, state: str) -> Sequence[Listener]:
        """The listeners to call for a state of the session; empty if the state has not changed."""
        if state == self._told:
            return ()
        self._told = state
        return tuple(self._all.copy().values())

    def tell(self, listener: Listener, state: str) -> object:
        """Call a listener, unless it was removed in the meantime; returns its result. True removes the listener."""
        if identity(listener) not in self._all:
            return None
        result = listener(state)
        if result is True:
            self.remove(listener)
        return result


class Front:
    """The common base of both fronts: everything that neither blocks nor awaits."""

    def __init__(
        self, hosts: Union[str, Sequence[str]] = "127.0.0.1:2181", timeout: float = DEFAULT_TIMEOUT,
        auth_data: Optional[AuthData] = None, default_acl: Optional[Sequence[ACL]] = None, read_only: bool = False,
        randomize_hosts: bool = True, client_id: Optional[Tuple[int, bytes]] = None,
        connect_timeout: Optional[float] = None, request_timeout: Optional[float] = None, ssl_context: Any = None,
        sasl: Any = None, max_pending: int = DEFAULT_MAX_PENDING, max_frame: int = MAX_FRAME,
        logger: Optional[logging.Logger] = None, *, max_request: int = MAX_REQUEST,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:  # fmt: skip
        settings = Settings(
            hosts, timeout, auth_data, default_acl, read_only, randomize_hosts, client_id, connect_timeout,
            request_timeout, ssl_context, sasl, max_pending, max_frame, max_request, max_pending_bytes,
        )  # fmt: skip
        self._session = make_session(settings, _random, now())
        self._request_timeout, self._ssl_context = request_timeout, ssl_context
        self._logger = logger or logging.getLogger("zkwire")
        self._listeners = Listeners()
        self._set_up()
        self._guard = Guard(self)

    def _set_up(self) -> None:
        """Make the driver; no connection is made yet."""

    def __repr__(self) -> str:
        session = self._session
        hosts = ",".join(str(host) for host in session.hosts)
        return f"<{type(self).__name__} {hosts}{session.scope.prefix} {session.client_state_at(now())}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled: its session cannot be shared")

    @property
    def state(self) -> str:
        """CONNECTED, SUSPENDED or LOST (see `KazooState`)."""
        return self._session.state_at(now())

    @property
    def client_state(self) -> str:
        """The state in detail (see `KeeperState`)."""
        return self._session.client_state_at(now())

    @property
    def connected(self) -> bool:
        """Whether there is a connection, and a session on it."""
        return self._session.state_at(now()) == KazooState.CONNECTED

    @property
    def client_id(self) -> Optional[Tuple[int, bytes]]:
        """Session id and password, or None without a session. With both, any client can take over the session."""
        return self._session.client_id

    @property
    def session_timeout(self) -> float:
        """The timeout the server granted, in seconds; before that, the one asked for."""
        return self._session.timeout

    def set_hosts(self, hosts: Union[str, Sequence[str]]) -> None:
        """Use these servers from now on; does not block.

        A client that is connected to a server no longer listed moves to another, once its requests in flight are
        answered (at most a second). If there are more servers than before, some of the other clients move too, so that
        all spread evenly. The session continues. The chroot cannot be changed. Raises `ValueError` and `TypeError` for
        an invalid connect string, `ConnectionClosedError`, and `AuthFailedError` after the end.
        """
        parsed, chroot = parse_hosts(hosts)
        if chroot and chroot != self._session.scope.prefix:
            raise ValueError(f"the chroot {self._session.scope.prefix!r} cannot be changed to {chroot!r}")
        check_names(self._ssl_context, parsed)
        self._set_hosts(parsed)

    def _set_hosts(self, hosts: Sequence[Host]) -> None:
        raise NotImplementedError

    def add_listener(self, listener: Listener) -> None:
        """Call `listener(state)` where watchers are called, at each change of `state`, until it returns True."""
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.remove(listener)

    def _no_session(self, timeout: float) -> Optional[ZookeeperError]:
        """The error of start() after it has waited for a session; None if there is one."""
        session = self._session
        if session.state == KazooState.CONNECTED:
            return None
        if session.phase == ENDED:
            told = isinstance(session.last_error, (AuthFailedError, TLSError, ConnectionClosedError))
            return session.last_error if told else ConnectionClosedError()
        text = f"no session within {timeout} s; the last attempt: "
        if session.last_error is None:
            return OperationTimeoutError(f"{text}{session.host or session.hosts[0]} has not answered yet")
        alone = len(session.hosts) == 1 and isinstance(session.last_error, ConnectionLoss)
        advice = "; hosts= names this server only; list the whole ensemble, so that the others are tried too"
        return OperationTimeoutError(f"{text}{session.last_error}{advice if alone else ''}")

    def _to_ask(self) -> Tuple[Host, Address]:
        """The server for four-letter words: the host and the address that are connected."""
        error, link = self._no_session(0.0), self._session.link
        if error is None and link is not None and link.address is not None:
            return link.host, link.address
        if error is None or isinstance(error, OperationTimeoutError):
            raise ConnectionLoss("no connection to a server", sent=False)
        raise error

    def _patience(self, timeout: Optional[float]) -> float:
        """The time limit of its answer, in seconds."""
        given = self._request_timeout if timeout is None else timeout
        return ANSWER_WITHIN if given is None else given
