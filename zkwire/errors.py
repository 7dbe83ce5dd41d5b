"""Every exception of the library, and the one table from error codes to classes.

Owns the exceptions and their texts. Must not know when they are raised.

    ZookeeperError                      .code .path .maybe_applied
    ├── ProtocolError                   bytes that violate the wire protocol
    │   ├── MarshallingError (-5)       bytes that do not decode, here or at the server
    │   ├── FrameTooLargeError          a frame longer than the agreed limit, in either direction
    │   └── TLSError                    one side does not trust the other, or only one speaks TLS
    ├── ConnectionLoss (-4)             .sent: whether the request had left this process
    ├── SessionExpiredError (-112)      the session is gone, and its ephemeral nodes and watches with it
    ├── ConnectionClosedError (-116)    the client was closed, or never started
    │   └── ForkedError                 the client belongs to the parent process
    ├── AuthFailedError (-115), SessionClosedRequireSaslError (-124)
    ├── OperationTimeoutError (-7), RequestTimeoutError (-122)      also TimeoutError
    ├── NestedCallError                 a signal handler would wait for the call it has interrupted
    ├── TooManyPendingError             too many requests, or too many bytes, are pending
    └── NoNodeError, NodeExistsError, ...   one class for each answer of the server

An unknown code is a plain `ZookeeperError` with that code.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type

#: Code to class; filled by the classes themselves as they are defined.
BY_CODE: Dict[int, Type[ZookeeperError]] = {}


class ZookeeperError(Exception):
    """Base of all errors. `code` is the protocol's number (int), `path` the node concerned or None.

    `maybe_applied` is False when the call has certainly changed nothing, True when it has, or may have. A verb of
    several steps (`ensure_path`, `create` with `makepath` or `protect`, a recursive `delete`) counts all of them:
    `applied` are the operations (see `zkwire.ops`) that were done before it failed, `in_doubt` those that may have
    been done, such as a protected create, whose path has the unique prefix.
    """

    code: int = -100
    maybe_applied: bool = False
    applied: Tuple[Any, ...] = ()
    in_doubt: Tuple[Any, ...] = ()
    explanation = "the server refused the operation"

    def __init__(self, message: Optional[str] = None, path: Optional[str] = None, code: Optional[int] = None) -> None:
        if code is not None:
            self.code = code
        self.path = path
        if message is None:
            message = self.explanation if code is None or type(self) is not ZookeeperError else f"error code {code}"
            if path is not None:
                message = f"{message}: {path!r}"
        super().__init__(message)

    def __init_subclass__(cls, code: Optional[int] = None) -> None:
        super().__init_subclass__()
        if code is not None:
            cls.code = code
            BY_CODE[code] = cls


def error_for(code: int, path: Optional[str] = None) -> ZookeeperError:
    """The exception for an error code of the server; a plain `ZookeeperError` when the code is unknown."""
    cls = BY_CODE.get(code)
    return ZookeeperError(None, path, code) if cls is None else cls(None, path)


# ------------------------------------------------------------------ the wire


class ProtocolError(ZookeeperError):
    """The server violated the wire protocol; the connection is closed."""

    explanation = "the peer does not speak the ZooKeeper protocol"


class MarshallingError(ProtocolError, code=-5):
    """Bytes that do not decode as the expected record. As a reply: the server could not decode the request."""

    maybe_applied = True
    explanation = "bytes that do not decode"


class FrameTooLargeError(ProtocolError):
    """A request above the server's limit (refused here, nothing was sent), or a reply above `max_frame`."""

    explanation = "the frame is too large"


class TLSError(ProtocolError):
    """One side does not trust the other, or only one of them speaks TLS. The text gives the cause and the remedy.

    `start` raises it at once if all servers fail; later it counts as a lost connection, and the client tries again.
    """

    explanation = "the TLS handshake has failed"


# ------------------------------------------------------- connection and session


class ConnectionLoss(ZookeeperError, code=-4):
    """The connection was lost before the reply arrived.

    `sent` says whether the request had left this process: False means certainly not applied, True means unknown: the
    server may have applied it, or may still apply it. The library never sends a write again by itself.
    """

    explanation = "connection lost before the answer came"

    def __init__(
        self, message: Optional[str] = None, path: Optional[str] = None, code: Optional[int] = None, sent: bool = True
    ) -> None:
        super().__init__(message, path, code)
        self.sent = self.maybe_applied = sent


class SessionExpiredError(ZookeeperError, code=-112):
    """The session has expired, and its ephemeral nodes and watches with it. The client opens a new one by itself.

    Requests in flight have an unknown outcome: with `maybe_applied`, the server may have applied them before the
    expiry, or another server may still do so, if it does not know of the expiry yet. Check `Stat.ephemeralOwner`
    before you treat a node as yours.
    """

    maybe_applied = True
    explanation = "the session has expired"


class ConnectionClosedError(ZookeeperError, code=-116):
    """The client is closed (or was never started): no operation is possible."""

    explanation = "the client is closed"


class ForkedError(ConnectionClosedError):
    """The client was made before a fork: sessions cannot be shared, so the child has to make its own client."""

    explanation = "this client belongs to the parent process; make a new one after fork()"


class SessionMovedError(ZookeeperError, code=-118):
    """Another server serves the session now."""

    explanation = "the session has moved to another server"


class AuthFailedError(ZookeeperError, code=-115):
    """The server refused the credentials. Final: the client does not try again by itself."""

    explanation = "authentication failed"


class SessionClosedRequireSaslError(AuthFailedError, code=-124):
    """The server closed the session because it requires authentication, by SASL or by another scheme it names.

    The code does not say which: a server with sessionRequireClientSASLAuth sends it, and since 3.7 one with
    enforce.auth.enabled, whatever its enforce.auth.schemes. `remedied` makes the error for the client's settings.
    """

    explanation = (
        "the server takes only authenticated sessions: by SASL (sasl=) if sessionRequireClientSASLAuth is set there, "
        "by one of its enforce.auth.schemes (such as auth_data= for digest) if enforce.auth.enabled is"
    )

    @classmethod
    def remedied(cls, sasl: bool, auth: bool, path: Optional[str] = None) -> SessionClosedRequireSaslError:
        """The error for a client with or without `sasl=`, and with or without auth info (`auth_data=`, `add_auth`)."""
        has = " and ".join(name for name, is_set in (("sasl=", sasl), ("auth_data=", auth)) if is_set)
        given = f"this client has {has}, which is not enough" if has else "this client has neither"
        return cls(f"{cls.explanation}; {given}", path)


class TooManyPendingError(ZookeeperError):
    """`max_pending` or `max_pending_bytes` is reached; nothing was sent. Wait for some of the pending requests."""

    explanation = "too many requests are pending"


class NestedCallError(ZookeeperError):
    """A call that waits was made while the same thread was inside another call of the same client. Nothing was sent.

    Signal handlers and finalizers do that: the interrupted call cannot continue while they wait. Let the handler set a
    flag, or pass the work to another thread; `submit`, which does not wait, `close` and `stop` work everywhere.
    """

    explanation = (
        "this thread is inside another call of this client, which a signal handler (or a finalizer) has "
        "interrupted; let the handler only set a flag, or do this on another thread (submit() and close() may be used)"
    )


class OperationTimeoutError(ZookeeperError, TimeoutError, code=-7):
    """The time given to a call ran out. `maybe_applied` is False if the request never left this process."""

    maybe_applied = True
    explanation = "no answer within the time-out"


class RequestTimeoutError(ZookeeperError, TimeoutError, code=-122):
    """The request timed out at the server."""

    maybe_applied = True
    explanation = "the request timed out"


# ----------------------------------------------------------- answers of the server


class SystemZookeeperError(ZookeeperError, code=-1):
    """An error inside the server."""

    maybe_applied = True
    explanation = "system error at the server"


class RuntimeInconsistency(ZookeeperError, code=-2):
    """Not executed, because an earlier operation of the same transaction failed."""

    explanation = "an earlier operation of the transaction failed"


class DataInconsistency(ZookeeperError, code=-3):
    """The server found its data inconsistent."""

    maybe_applied = True
    explanation = "data inconsistency at the server"


class UnimplementedError(ZookeeperError, code=-6):
    """The server does not know this operation: it is too old, or the feature is switched off."""

    explanation = "the server does not know this operation (too old, or switched off)"


class BadArgumentsError(ZookeeperError, code=-8):
    """The server says that an argument is invalid."""

    explanation = "invalid arguments"


class InvalidStateError(ZookeeperError, code=-9):
    """The handle is in a state that does not allow the operation."""

    explanation = "invalid state"


class UnknownSessionError(ZookeeperError, code=-12):
    """The server does not know the session."""

    explanation = "unknown session"


class NewConfigNoQuorumError(ZookeeperError, code=-13):
    """No quorum of the new configuration is connected and up to date."""

    explanation = "no quorum of the new configuration is connected"


class ReconfigInProcessError(ZookeeperError, code=-14):
    """Another reconfiguration is in progress."""

    explanation = "another reconfiguration is in progress"


class APIError(ZookeeperError, code=-100):
    """The server reports an API error."""

    explanation = "API error"


class NoNodeError(ZookeeperError, code=-101):
    """The node does not exist."""

    explanation = "no such node"


class NoAuthError(ZookeeperError, code=-102):
    """The session's identities lack the permission."""

    explanation = "not permitted by the node's ACL"


class BadVersionError(ZookeeperError, code=-103):
    """The node has another version than the one expected."""

    explanation = "the node has another version"


class NoChildrenForEphemeralsError(ZookeeperError, code=-108):
    """Ephemeral nodes cannot have children."""

    explanation = "ephemeral nodes cannot have children"


class NodeExistsError(ZookeeperError, code=-110):
    """The node exists already."""

    explanation = "the node exists already"


class NotEmptyError(ZookeeperError, code=-111):
    """The node has children."""

    explanation = "the node has children"


class InvalidCallbackError(ZookeeperError, code=-113):
    """Invalid callback."""

    explanation = "invalid callback"


class InvalidACLError(ZookeeperError, code=-114):
    """The ACL is empty or malformed, or needs an identity this session lacks."""

    explanation = "invalid ACL"


class NotReadOnlyCallError(ZookeeperError, code=-119):
    """A write was sent to a read-only server."""

    explanation = "the server is read-only"


class EphemeralOnLocalSessionError(ZookeeperError, code=-120):
    """A local session cannot own ephemeral nodes."""

    explanation = "a local session cannot own ephemeral nodes"


class NoWatcherError(ZookeeperError, code=-121):
    """There is no such watch."""

    explanation = "no such watch"


class ReconfigDisabledError(ZookeeperError, code=-123):
    """Reconfiguration is switched off at the server."""

    explanation = "reconfiguration is disabled"


class QuotaExceededError(ZookeeperError, code=-125):
    """The write would exceed a quota."""

    explanation = "quota exceeded"


class ThrottledOpError(ZookeeperError, code=-127):
    """The server was overloaded and did not execute the operation; it is safe to try again later."""

    explanation = "the server throttled the operation; try again later"


class RolledBackError(ZookeeperError):
    """This operation of a transaction was undone, because a later one failed."""

    code = 0
    explanation = "rolled back: a later operation of the transaction failed"


__all__ = [
    "APIError", "AuthFailedError", "BadArgumentsError", "BadVersionError", "ConnectionClosedError",
    "ConnectionLoss", "DataInconsistency", "EphemeralOnLocalSessionError", "ForkedError",
    "FrameTooLargeError", "InvalidACLError", "InvalidCallbackError", "InvalidStateError", "MarshallingError",
    "NestedCallError", "NewConfigNoQuorumError", "NoAuthError", "NoChildrenForEphemeralsError", "NoNodeError",
    "NoWatcherError",
    "NodeExistsError", "NotEmptyError", "NotReadOnlyCallError", "OperationTimeoutError", "ProtocolError",
    "QuotaExceededError", "ReconfigDisabledError", "ReconfigInProcessError", "RequestTimeoutError",
    "RolledBackError", "RuntimeInconsistency", "SessionClosedRequireSaslError", "SessionExpiredError",
    "SessionMovedError", "SystemZookeeperError", "TLSError", "ThrottledOpError", "TooManyPendingError",
    "UnimplementedError", "UnknownSessionError", "ZookeeperError", "error_for",
]  # fmt: skip
