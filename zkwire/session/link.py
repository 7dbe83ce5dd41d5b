"""One connection of a session: from the attempt to make it, through greeting, auth and replay of watches, to its end.

Owns what holds for this connection only. Must not know sockets, nor whether it is the session's connection or the
second one, by which a read-only session looks for a read-write server: both are of this class.
"""

from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Optional, Tuple, Union

from ..errors import FrameTooLargeError
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
        #: The address that was connected to, as the driver gave it; None before, or where the driver has none.
        self.address: Any = None
        #: The bytes of the connection; None before it is made.
        self.connection: Optional[Connection] = None
        #: When the session was connected by it, in seconds.
        self.opened = 0.0
        #: The zxid the server was told this client had seen.
        self.shown_zxid = 0
        #: Whether hearing from the server says that the session lives: a read-only one does not know.
        self.counts = False
        #: Batches of watches that were sent and not answered yet.
        self.replaying = 0
        #: The watches of this connection have told all changes up to this zxid at most.
        self.told_at_most = _NEWEST
        #: Whether nothing more is sent here: what is submitted waits for the next link.
        self.holding = False
        #: Whether the server answered an operation with "unimplemented", and may hang up for that alone.
        self.refused = False

    def __repr__(self) -> str:
        return f"<Link {self.host}>"

    @property
    def server(self) -> Tuple[Host, Any]:
        """The server as host and address: what is known of a server is kept under this key."""
        return self.host, self.address

    @property
    def read_only(self) -> bool:
        """Whether the server serves reads only."""
        connection = self.connection
        return connection is not None and connection.response is not None and bool(connection.response.read_only)

    @property
    def in_flight(self) -> int:
        """Operations that wait for an answer."""
        return len(self.connection.replies) if self.connection is not None else 0

    # ------------------------------------------------------------------ for the driver

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        return self.connection.unsent if self.connection is not None else 0

    def data_to_send(self) -> Union[bytes, memoryview]:
        """The next bytes for the socket; report what it took with `sent`."""
        return self.connection.data_to_send() if self.connection is not None else b""

    def sent(self, count: int) -> None:
        """The socket took `count` bytes of `data_to_send`."""
        if self.connection is not None:
            self.connection.sent(count)

    def lagging(self, count: int) -> None:
        """Of the bytes reported with `sent`, `count` have not left this process yet, and perhaps never will."""
        if self.connection is not None:
            self.connection.lag = count

    # ---------------------------------------------------------------------- for the session

    def greet(self, connection: Connection, request: ConnectRequest) -> None:
        """The driver has connected: begin with the handshake."""
        self.connection, self.shown_zxid = connection, request.last_zxid_seen
        connection.open(request)

    def prove(self, info: AuthInfo) -> None:
        """Send an auth info."""
        if self.connection is not None:
            info.asked = True
            self.connection.send(info.op, Internal(info))

    def step(self, token: bytes) -> None:
        """Send a token of SASL. Raises `FrameTooLargeError`."""
        if self.connection is not None:
            self.connection.send(Sasl(token), LOGIN)

    def replay(self, batches: Iterable[Op[Any]]) -> Iterable[Op[Any]]:
        """Send batches of watches; those that are too long to be sent are returned."""
        too_long = []
        for batch in batches:
            try:
                if self.connection is not None:
                    self.connection.send(batch, REPLAY)
                    self.replaying += 1
            except FrameTooLargeError:  # of one path; its read was shorter by a few bytes
                too_long.append(batch)
        return too_long

    def close(self) -> None:
        """Say good-bye, behind all that is under way."""
        if self.connection is not None:
            self.connection.send(CloseSession(), CLOSE)
