"""What both constructors take, checked: the settings of a client, and the session core made from them.

Owns defaults and their validation. Must not know sockets, threads or asyncio.
"""

from __future__ import annotations

import secrets
from typing import Any, Callable, Iterable, NamedTuple, Optional, Sequence, Tuple, Union

from .connection import MAX_FRAME, MAX_REQUEST
from .hosts import parse_hosts
from .ops import Auth
from .records import ACL, Scope
from .sasl import DigestMD5, Mechanism
from .session import Session
from .tls import check_names

DEFAULT_TIMEOUT = 10.0
DEFAULT_MAX_PENDING = 10_000
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


def make_session(settings: Settings, random: Callable[[], float], now: float) -> Session:
    """A session core for these settings; `ValueError` or `TypeError` for those that cannot be right."""
    hosts, chroot = parse_hosts(settings.hosts)
    check_names(settings.ssl_context, hosts)
    if not 0 < settings.timeout <= (2**31 - 1) / 1000:
        raise ValueError(f"invalid timeout {settings.timeout!r}: seconds, above 0")
    for name in ("connect_timeout", "request_timeout"):
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise ValueError(f"invalid {name} {value!r}: seconds above 0, or None")
    for name in ("max_pending", "max_frame", "max_request"):
        if getattr(settings, name) < 1:
            raise ValueError(f"invalid {name} {getattr(settings, name)!r}: at least 1")
    session = Session(
        hosts, timeout=settings.timeout, random=random, scope=Scope(chroot, settings.default_acl),
        client_id=_client_id(settings.client_id), connect_timeout=settings.connect_timeout,
        shuffle=settings.randomize_hosts, max_pending=settings.max_pending, max_frame=settings.max_frame,
        max_request=settings.max_request, read_only=bool(settings.read_only),
        sasl=_mechanism(settings.sasl), secure=settings.ssl_context is not None,
    )  # fmt: skip
    for scheme, credential in settings.auth_data or ():
        raw = credential.encode() if isinstance(credential, str) else credential
        session.submit(Auth(scheme, raw), None, now)
    return session


def _mechanism(sasl: Any) -> Optional[Mechanism]:
    """The SASL mechanism: DIGEST-MD5 for a pair of user and password, or the user's own."""
    if sasl is None:
        return None
    if isinstance(sasl, (tuple, list)) and len(sasl) == 2:
        user, password = sasl
        return DigestMD5(user, password, lambda: secrets.token_hex(20))
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
