"""One connection of a session: the attempt to connect, the handshake, auth, the replay of watches, and the end.

Owns the state of this connection only. Must not know sockets, nor whether it is the session's connection or the second
one, with which a read-only session probes for a read-write server: both are of this class.
"""

from __future__ import annotations

from typing import Any, Iterable, Optional, Tuple, Union

from ..errors import FrameTooLargeError
from ..typed import NamedTuple
from ..ops import CloseSession, Op, Sasl
from ..wire.connection import Connection
from ..wire.messages import ConnectRequest
from .auth import AuthInfo
from .host_provider import Host

_NEWEST = 2**63 - 1


class Internal(NamedTuple):
    """Token of an operation of the session's own: a step of SASL, an auth info, a batch of watches, the close."""

    what: Any


LOGIN, REPLAY, AGAIN, CLOSE = Internal("login"), Internal("replay"), Internal("again"), Internal("close")


class Link:
    """A connection to `host`, to be made by `deadline` (seconds of the session's clock)."""

    def __init__(self, host: Host, began: float, deadline: float) -> None:
        self.host, self.began, self.deadline = host, began, deadline
        #: The address that was connected, as the driver reported it; None before, or if the driver reports none.
        self.address: Any = None
        #: The protocol state of the connection; None before it is connected.
        self.connection: Optional[Connection] = None
        #: The time at which the session was connected by this link, in seconds.
        self.opened = 0.0
        #: The zxid that the handshake gave as the last one seen by this client.
        self.shown_zxid = 0
        #: Whether an answer of this server proves that the session is alive: a read-only server does not know.
        self.counts = False
        #: Batches of watches that were sent and are not answered yet.
        self.replaying = 0
        #: An upper bound: the events of this connection cover the changes up to this zxid at most.
        self.told_at_most = _NEWEST
        #: Whether nothing more is sent on this link: new requests wait for the next one.
        self.holding = False
        #: Whether the server answered an operation with "unimplemented"; it may close the connection after that.
        self.refused = False

    def __repr__(self) -> str:
        return f"<Link {self.host}>"

    @property
    def server(self) -> Tuple[Host, Any]:
        """The server as host and address: the key of what the client remembers about a server."""
        return self.host, self.address

    @property
    def read_only(self) -> bool:
        """Whether the server is read-only."""
        connection = self.connection
        return connection is not None and connection.response is not None and bool(connection.response.read_only)

    @property
    def in_flight(self) -> int:
        """The number of operations that wait for a reply."""
        return len(self.connection.replies) if self.connection is not None else 0

    # ------------------------------------------------------------------ for the driver

    @property
    def unsent(self) -> int:
        """The number of bytes that wait to be sent."""
        return self.connection.unsent if self.connection is not None else 0

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the socket; call `sent` with the number of bytes that the socket took."""
        return self.connection.data_to_send() if self.connection is not None else b""

    def sent(self, count: int) -> None:
        """The socket took `count` bytes of `data_to_send`."""
        if self.connection is not None:
            self.connection.sent(count)

    def lagging(self, count: int) -> None:
        """`count` of the bytes reported with `sent` are still in this process, and may never leave it."""
        if self.connection is not None:
            self.connection.lag = count

    # ---------------------------------------------------------------------- for the session

    def greet(self, connection: Connection, request: ConnectRequest) -> None:
        """The driver has connected: send the handshake."""
        self.connection, self.shown_zxid = connection, request.last_zxid_seen
        connection.open(request)

    def prove(self, info: AuthInfo) -> None:
        """Send an auth info."""
        if self.connection is not None:
            info.asked = True
            self.connection.send(info.op, Internal(info))

    def step(self, token: bytes) -> None:
        """Send a SASL token. Raises `FrameTooLargeError`."""
        if self.connection is not None:
            self.connection.send(Sasl(token), LOGIN)

    def replay(self, batches: Iterable[Op[Any]]) -> Iterable[Op[Any]]:
        """Send batches of watches; returns those that are too long to be sent."""
        too_long = []
        for batch in batches:
            try:
                if self.connection is not None:
                    self.connection.send(batch, REPLAY)
                    self.replaying += 1
            except FrameTooLargeError:  # one path alone; the request that set the watch was a few bytes shorter
                too_long.append(batch)
        return too_long

    def close(self) -> None:
        """Send the close request, after all requests so far."""
        if self.connection is not None:
            self.connection.send(CloseSession(), CLOSE)
