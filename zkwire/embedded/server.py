"""The embedded server on a socket: a ZooKeeper for tests, demonstrations and development, in this process.

Owns the sockets, the thread and the clock; `core` owns the server's behaviour, `faults` the switches. Must not know the
protocol.
"""

from __future__ import annotations

import contextlib
import logging
import random
import selectors
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Any, Dict, Mapping, Optional, Tuple, Type, Union

from .faults import Faults
from .link import ServerLink
from .server_core import ServerCore
from .settings import Settings

logger = logging.getLogger(__name__)
_CHUNK = 1 << 16
#: The limit for `stop` to wait for the thread, in seconds; the thread needs far less.
_JOIN = 10.0
_RESET = struct.pack("ii", 1, 0)  # linger for zero seconds


class EmbeddedServer(Faults):
    """An in-memory ZooKeeper on 127.0.0.1, for tests, demonstrations and development.

        with EmbeddedServer() as server:        # or start() and stop()
            with ZooKeeper(server.hosts) as zk:
                zk.create("/a")
                server.restart()
                zk.get("/a")

    `port` 0 picks a free one, which the server keeps. It behaves as ZooKeeper `version` ("3.4" to "3.9"), down to the
    errors. It keeps all data in memory and listens to this machine only; a real one is faster and safer.
    `super_password` is the password of the digest user "super"; `sasl` maps users to passwords for DIGEST-MD5;
    `extended` allows TTL nodes; `seed` makes session ids and passwords repeatable. Other settings are the fields of
    `zkwire.embedded.Settings`, as keywords, for example `tick=0.05` for sessions that expire at most that many seconds
    late. `ValueError` for invalid settings.

    It fails on demand. Each switch acts at once, returns at once, and may be called from any thread and any number of
    times; times are seconds. A `session_id` is `zk.client_id[0]`, and one of `sessions`; without one a switch applies
    to all connections, also to future ones. Lasting faults (`black_hole`, `delay`, `drop_after`, `answer`,
    `lag_behind`, `refuse_sessions`) end with `heal`. The README says what a service sees of each, and what to do.
    """

    def __init__(
        self, port: int = 0, *, super_password: Optional[str] = None, extended: bool = True,
        sasl: Optional[Mapping[str, str]] = None, version: str = "3.9", seed: Optional[int] = None, **settings: Any,
    ) -> None:  # fmt: skip
        self._settings = Settings(version, super_password, extended, sasl, **settings)
        self._port = port
        now = time.monotonic()
        self._core = ServerCore(self._settings, random=random.Random(seed), now=now, epoch=time.time() - now)  # noqa: S311
        self._lock = threading.RLock()
        self._selector: Optional[selectors.BaseSelector] = None
        self._thread: Optional[threading.Thread] = None
        self._wake: Optional[socket.socket] = None
        self._sockets: Dict[ServerLink, socket.socket] = {}
        self._unsent: Dict[ServerLink, bytes] = {}

    # ---------------------------------------------------------------------------------- life

    @property
    def port(self) -> int:
        """The port (int); 0 until the server was started, if none was given."""
        return self._port

    @property
    def hosts(self) -> str:
        """The server as a connect string: "127.0.0.1:45231". Valid once the server was started."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> EmbeddedServer:
        """Listen and serve, with the existing data; returns itself. Does nothing if the server is running.

        The server listens when this returns. `OSError` if the port is in use.
        """
        with self._lock:
            if self._thread is not None:
                return self
            listener = socket.socket()
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", self._port))
                listener.listen(1024)
            except BaseException:
                listener.close()
                raise
            listener.setblocking(False)
            self._port = self._core.port = listener.getsockname()[1]
            self._core.restart(time.monotonic())
            woken, self._wake = socket.socketpair()
            woken.setblocking(False)
            self._wake.setblocking(False)
            self._selector = selectors.DefaultSelector()
            self._selector.register(listener, selectors.EVENT_READ, "accept")
            self._selector.register(woken, selectors.EVENT_READ, "wake")
            self._thread = threading.Thread(
                target=self._serve, args=(self._selector,), name="zkwire-embedded", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving: connections break and new ones are refused. Data and sessions are kept for the next `start`.

        May be called twice. Blocks until the thread has ended, which takes a moment.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake_up()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN)

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

    # ---------------------------------------------------------------------------- questions

    @property
    def sessions(self) -> Tuple[int, ...]:
        """The ids of the sessions that are alive, as in `zk.client_id[0]`."""
        with self._lock:
            return tuple(self._core.alive())

    @property
    def zxid(self) -> int:
        """The id of the last transaction (int), as in `Stat.mzxid`."""
        with self._lock:
            return self._core.data.applied

    # -------------------------------------------------------------------------------- lives

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

    def go_read_only(self, read_only: bool = True) -> None:
        """Break all connections and serve reads only, to clients that allow it; False for writes again.

        It acts like a real server without a quorum. Since version 3.7 it accepts only sessions it has made in this
        mode; the others wait, and none expires. Before 3.7 it resumes the sessions it knows, even if the ensemble has
        expired them (`expire`), and expires silent ones; when the quorum is back, the ensemble's decision counts.
        `heal` does not end it.
        """
        with self._changed() as now:
            self._core.go_read_only(now, read_only)

    # -------------------------------------------------------------------------------- inside

    def _changed(self) -> _Changed:
        return _Changed(self)

    def _wake_up(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):  # the pipe is full, or the thread has ended
                self._wake.send(b"\0")

    def _serve(self, selector: selectors.BaseSelector) -> None:
        """The thread's loop, until `stop` clears `_thread`."""
        me = threading.current_thread()
        while True:
            with self._lock:
                if self._thread is not me:
                    return self._close(selector)
                deadline = self._core.deadline()
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = selector.select(patience)
            with self._lock:
                if self._thread is me:
                    for key, events in ready:
                        self._handle(selector, key.fileobj, key.data, events)  # type: ignore[arg-type]  # sockets only
                    self._core.tick(time.monotonic())
                    self._flush(selector)

    def _handle(
        self, selector: selectors.BaseSelector, sock: socket.socket, what: Union[str, ServerLink], events: int
    ) -> None:
        if isinstance(what, ServerLink):
            if events & selectors.EVENT_READ:
                self._read(sock, what)
            if events & selectors.EVENT_WRITE:
                what.stir()
        elif what == "wake":
            sock.recv(_CHUNK)
        else:
            self._accept(selector, sock)

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return  # the client has closed the connection already
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = self._core.accept(address, time.monotonic())
        self._sockets[link] = sock
        selector.register(sock, selectors.EVENT_READ, link)

    def _read(self, sock: socket.socket, link: ServerLink) -> None:
        try:
            data = sock.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._core.lost(link, time.monotonic())
            return
        try:
            self._core.receive(link, data, time.monotonic())
        except Exception:  # a bug must not disconnect all other clients
            logger.exception("the embedded server cannot carry out a request of session 0x%x", link.session_id)
            self._core.drop(link)

    def _flush(self, selector: selectors.BaseSelector) -> None:
        """Send what there is to send, and close the connections that the core has ended."""
        for link in list(self._core.stirred):
            sock = self._sockets.get(link)
            if sock is None:
                del self._core.stirred[link]
                continue
            data = self._unsent.pop(link, b"") + self._core.data_to_send(link, time.monotonic())
            try:
                data = data[sock.send(data) :] if data else data
            except BlockingIOError:
                pass
            except OSError:
                self._core.lost(link, time.monotonic())
                data = b""
            if data:
                self._unsent[link] = data
            elif link.over:
                self._hang_up(selector, sock, link)
                continue
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if data else 0)
            if selector.get_key(sock).events != wanted:
                selector.modify(sock, wanted, link)

    def _hang_up(self, selector: selectors.BaseSelector, sock: socket.socket, link: ServerLink) -> None:
        self._core.drop(link)
        self._core.stirred.pop(link, None)
        selector.unregister(sock)
        if link.reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()
        del self._sockets[link]

    def _close(self, selector: selectors.BaseSelector) -> None:
        self._core.hang_up()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets only
        if self._wake is not None:
            self._wake.close()
        selector.close()
        self._sockets.clear()
        self._unsent.clear()


class _Changed:
    """Hold the lock, then wake the thread; `with` returns the time."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def __enter__(self) -> float:
        self._server._lock.acquire()
        return time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._server._wake_up()
        self._server._lock.release()
