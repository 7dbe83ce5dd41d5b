"""The embedded server on a socket: a ZooKeeper for tests, demonstrations and development, in this process.

Owns its life; `serving` owns sockets, thread and clock, `core` the server's behaviour, `faults` the switches, `looking`
the questions. Must not know the protocol.
"""

from __future__ import annotations

import random
import time
from types import TracebackType
from typing import Any, ContextManager, Mapping, Optional, Type

from .faults import Faults
from .looking import Looking
from .ongoing import OngoingFault
from .planting import plant
from .server_core import ServerCore
from .serving import Serving
from .settings import Settings


class EmbeddedServer(Faults, Looking):
    """An in-memory ZooKeeper on 127.0.0.1, for tests, demonstrations and development.

        with EmbeddedServer() as server:        # or start() and stop()
            with ZooKeeper(server.hosts) as zk:
                zk.create("/a")
                server.restart()
                zk.get("/a")

    `port` 0 picks a free one, which the server keeps. It behaves as ZooKeeper `version` ("3.4" to "3.9"), down to the
    errors. It keeps all data in memory and listens to this machine only; a real one is faster and safer.
    `super_password` is the password of the digest user "super"; `sasl` maps users to passwords for DIGEST-MD5;
    `extended` allows TTL nodes; `seed` makes session ids and passwords repeatable; with `ssl_context`, an
    `ssl.SSLContext` for servers, it serves TLS and nothing else. Other settings are the fields of
    `zkwire.embedded.Settings`, as keywords, for example `tick=0.05` for sessions that expire at most that many seconds
    late. `ValueError` for invalid settings.

    It fails on demand. Each switch acts at once, returns at once, and may be called from any thread and any number of
    times; times are seconds. A `session_id` is `zk.client_id[0]`, and one of `sessions`; without one a switch applies
    to all connections, also to future ones. Lasting faults are values: `with server.black_hole(): ...` ends this one
    and no other, and `heal` ends all. docs/testing.md says what a service sees of each, and what to do;
    `zkwire.testing` has fixtures for pytest, and fails a test whose service has felt nothing.

    Tests look with `tree`, `requests`, `sessions`, `connected` and `wait_for`.
    """

    def __init__(
        self, port: int = 0, *, super_password: Optional[str] = None, extended: bool = True,
        sasl: Optional[Mapping[str, str]] = None, version: str = "3.9", seed: Optional[int] = None,
        ssl_context: Any = None, **settings: Any,
    ) -> None:  # fmt: skip
        self._settings = Settings(version, super_password, extended, sasl, **settings)
        self._port = port
        now = time.monotonic()
        self._core = ServerCore(self._settings, random=random.Random(seed), now=now, epoch=time.time() - now)  # noqa: S311
        self._ongoing = self._core.ongoing
        self._serving = Serving(self._core.tick, self._core.deadline, ssl_context)

    # ---------------------------------------------------------------------------------- life

    def start(self) -> EmbeddedServer:
        """Listen and serve, with the existing data; returns itself. Does nothing if the server is running.

        The server listens when this returns. `OSError` if the port is in use.
        """
        with self._serving.lock:
            if not self._serving.running:
                self._port = self._serving.listen(self._core, self._port)
                self._core.restart(time.monotonic())
                self._serving.start()
        return self

    def stop(self) -> None:
        """Stop serving: connections break and new ones are refused. Data and sessions are kept for the next `start`.

        May be called twice. Blocks until the thread has ended, which takes a moment.
        """
        self._serving.stop()

    def restart(self) -> None:
        """Stop and start again on the same port, with data and sessions kept; session time-outs start anew.

        Clients are disconnected, and resume their sessions, which keep their nodes and watches. `wipe` deletes them.
        """
        self.stop()
        self.start()

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    async def __aenter__(self) -> EmbeddedServer:
        return self.start()

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def plant(self, tree: Mapping[str, bytes]) -> None:
        """Create these nodes, full path to data, with the parents they need; an existing node gets the new data.

        It needs no client. Watches hear of it; limits and quotas hold. `ValueError` for what the server refuses.
        """
        with self._changed() as now:
            plant(self._core, tree, now)

    # -------------------------------------------------------------------------------- lives

    def down(self) -> OngoingFault:
        """`stop`, until the fault ends: `with server.down(): ...` starts it again. Blocks for a moment."""
        self.stop()
        return self._begin(last=self._come_up, down=True)

    def _come_up(self, now: float) -> None:
        if not self._ongoing.having("down"):
            self.start()

    def wipe(self) -> None:
        """Break all connections and forget all data and sessions, as after a restart on an empty disk.

        Clients that have seen later transactions are refused, as by real servers, until they give up their session.
        """
        with self._changed() as now:
            self._core.wipe(now)

    def upgrade(self, version: str) -> None:
        """Restart as another version ("3.4" to "3.9"), with data and sessions kept; `ValueError` for an unknown one.

        Clients are disconnected, and resume their sessions. `heal` does not end it.
        """
        with self._changed() as now:
            self._core.upgrade(version, now)
            self._settings = self._core.settings

    def go_read_only(self, read_only: bool = True) -> OngoingFault:
        """Break all connections and serve reads only, to clients that allow it; False for writes again.

        It acts like a real server without a quorum. Since version 3.7 it accepts only sessions it has made in this
        mode; the others wait, and none expires. Before 3.7 it resumes the sessions it knows, even if the ensemble has
        expired them (`expire`), and expires silent ones; when the quorum is back, the ensemble's decision counts.
        """
        with self._changed() as now:
            if read_only:
                self._core.go_read_only(now)
                return self._begin(last=self._regain_quorum, read_only=True)
            if not self._ongoing.having("read_only"):
                self._core.go_read_only(now, False)
            return self._end_all("read_only")

    def _regain_quorum(self, now: float) -> None:
        if not self._ongoing.having("read_only"):
            self._core.go_read_only(now, False)

    # -------------------------------------------------------------------------------- inside

    def _changed(self) -> ContextManager[float]:
        return self._serving.changed()
