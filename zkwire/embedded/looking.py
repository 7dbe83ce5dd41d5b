"""What a test may look at: the address, nodes, sessions and requests of a server, and waiting for them.

Owns the questions, which any thread may ask. Must not know the protocol, faults or sockets.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Tuple, TypeVar

from .core import BareCore
from .journal import ClientRequest
from .planting import tree_below
from .serving import Serving

#: How often `wait_for` looks though nothing has changed here, in seconds: a condition may be about something else.
_GLANCE = 0.05
#: So many requests are shown by a `wait_for` that was in vain.
_SHOWN = 10
T = TypeVar("T")


class Looking:
    """The questions to one server. None of them blocks, but `wait_for`."""

    _core: BareCore
    _serving: Serving
    _port: int

    @property
    def port(self) -> int:
        """The port (int); 0 until the server was started, if none was given."""
        return self._port

    @property
    def hosts(self) -> str:
        """The server as a connect string: "127.0.0.1:45231". Valid once the server was started."""
        return f"127.0.0.1:{self._port}"

    @property
    def sessions(self) -> Tuple[int, ...]:
        """The ids of the sessions that are alive, as in `zk.client_id[0]`."""
        with self._serving.lock:
            return tuple(self._core.alive())

    @property
    def connected(self) -> Tuple[int, ...]:
        """The ids of the sessions that have a connection to this server now, as far as it knows."""
        with self._serving.lock:
            return tuple(id_ for id_, session in self._core.alive().items() if session.link in self._core.links)

    @property
    def zxid(self) -> int:
        """The id of the last transaction that this server has applied (int), as in `Stat.mzxid`."""
        with self._serving.lock:
            return self._core.data.applied

    def tree(self, path: str = "/") -> Dict[str, bytes]:
        """The nodes below `path`, without itself: full path to data, sorted. /zookeeper is left out of the root's."""
        with self._serving.lock:
            return tree_below(self._core.data.tree, path)

    def requests(self, *, pings: bool = False) -> List[ClientRequest]:
        """What clients have asked for, oldest first: the last 10,000 requests, handshakes included, as values.

        A request is listed from its arrival, even if it is held by a black hole; its answer counts once it was sent.
        """
        with self._serving.lock:
            return self._serving.journals[self._core].requests(pings)

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until `condition()` is true, and return its value; it is called at each change of the server, on your
        thread, and at least 20 times a second, so that it may also ask your service.

        `AssertionError` after `timeout` seconds, with what was last seen. What `condition` raises is raised.
        """
        __tracebackhide__ = True
        end, serving = time.monotonic() + timeout, self._serving
        while True:
            with serving.lock:
                turn = serving.turn
            value = condition()
            left = end - time.monotonic()
            if value:
                return value
            if left <= 0:
                raise AssertionError(f"not within {timeout} s: the last value was {value!r}\n{self._last_seen()}")
            with serving.changes:
                serving.changes.wait_for(lambda: serving.turn != turn, min(left, _GLANCE))  # noqa: B023  # called now

    def _last_seen(self) -> str:
        requests = self.requests()[-_SHOWN:]
        sessions = ", ".join(f"0x{one:x}" for one in self.sessions) or "none"
        connected = ", ".join(f"0x{one:x}" for one in self.connected) or "none"
        lines = [f"  0x{r.session:x} {r.op} {r.path or ''}: {r.outcome or 'no answer'}" for r in requests]
        return "\n".join([f"sessions: {sessions}; connected: {connected}; nodes: {list(self.tree())}",
                          "last requests:", *(lines or ["  none"])])  # fmt: skip
