"""The embedded server on a socket: a ZooKeeper for tests, demonstrations and development, in this process.

Owns the sockets, the thread and the clock; `core` owns what the server does, `faults` what can go wrong with it. Must
not know the protocol.
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

from ..wire.operation import Op
from .core import ServerCore
from .link import Link
from .settings import Settings

logger = logging.getLogger(__name__)
_CHUNK = 1 << 16
#: Seconds `stop` waits for the thread, which never takes long.
_JOIN = 10.0
_RESET = struct.pack("ii", 1, 0)  # linger for no time at all


class EmbeddedServer:
    """An in-memory ZooKeeper on 127.0.0.1, for tests, demonstrations and development.

        with EmbeddedServer() as server:        # or start() and stop()
            with ZooKeeper(server.hosts) as zk:
                zk.create("/a")
                server.restart()
                zk.get("/a")

    `port` 0 picks a free one, which it keeps. It behaves as ZooKeeper `version` ("3.4" to "3.9") does,
    down to the errors, keeps all data in memory, listens to this machine only, and is no match for a real one in speed
    or safety. `super_password` is that of the digest user "super"; `sasl` maps users to passwords for DIGEST-MD5;
    `extended` allows TTL nodes; `seed` makes session ids and passwords repeat. Other settings are the fields of
    `zkwire.embedded.Settings`, as keywords: `tick=0.05`, say, for sessions that end within that many seconds of their
    time. `ValueError` for settings that cannot be.

    It fails on demand. Each switch acts at once, returns at once, and may be called from any thread and any number of
    times; times are seconds. A `session_id` is `zk.client_id[0]`, and one of `sessions`; without one a switch is for
    all connections, those to come included. What holds on (`black_hole`, `delay`, `drop_after`, `answer`, `lag_behind`,
    `refuse_sessions`) ends with `heal`. The README says what a service sees of each, and what it should do.
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
        self._sockets: Dict[Link, socket.socket] = {}
        self._unsent: Dict[Link, bytes] = {}

    # ---------------------------------------------------------------------------------- life

    @property
    def port(self) -> int:
        """The port it listens on (int); 0 until it was started, if none was asked for."""
        return self._port

    @property
    def hosts(self) -> str:
        """The server as a connect string: "127.0.0.1:45231". Valid once it was started."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> EmbeddedServer:
        """Listen and serve, with the data there is; itself. A running server is left alone.

        It listens when this returns. `OSError` if the port is taken.
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
        """Stop serving: connections break and new ones are refused. Data and sessions are kept for another `start`.

        May be called twice. Blocks until the thread has ended, a moment.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake_up()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN)

    def restart(self) -> None:
        """Stop and start again on the same port, with data and sessions kept; session time-outs start anew.

        Clients are disconnected, and resume their sessions: nothing of theirs is lost. `wipe` loses it.
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

    # -------------------------------------------------------------------------------- faults

    def expire(self, session_id: int) -> bool:
        """End a session as if its time were over: whether there was such a session.

        Its ephemeral nodes vanish, others' watches tell of it, and its connection breaks; its client learns that it is
        over when it comes back, and makes a new one. In read-only mode it is the majority that ends the session: this
        server hears of it when that mode ends, and before 3.7 it goes on serving the session until then.
        """
        with self._changed() as now:
            return self._core.faults.expire(session_id, now)

    def cut(self, session_id: Optional[int] = None, *, reset: bool = False) -> int:
        """Break the connection of a session, or all with None; sessions live on. How many were broken.

        Clients come back at once, unless `refuse_sessions` or `lag_behind` keeps them out. With `reset`, they see a
        reset (RST) instead of an orderly end (FIN).
        """
        with self._changed() as now:
            return self._core.faults.cut(now, session_id, reset)

    def black_hole(self, direction: str = "both", session_id: Optional[int] = None) -> None:
        """Let nothing through from clients ("in"), to them ("out") or "both", until `heal`; connections stay open.

        With "in" and "both", sessions expire when their time is over; with "out" requests are carried out, unanswered.
        `ValueError` for another direction.
        """
        with self._changed():
            self._core.faults.black_hole(direction, session_id)

    def delay(self, seconds: float, session_id: Optional[int] = None) -> None:
        """Let all that clients are sent (answers, events, pings) take so many seconds longer; 0 for no longer.

        The order stays. Requests are carried out at once.
        """
        with self._changed():
            self._core.faults.delay(seconds, session_id)

    def drop_after(self, size: int, session_id: Optional[int] = None) -> None:
        """Break each connection once `size` more bytes went to its client, in the middle of a frame perhaps.

        With 0 it breaks at once. Without a session id, new connections break after as many bytes, too, until `heal`:
        with a small size, nobody can connect.
        """
        with self._changed():
            self._core.faults.drop_after(size, session_id)

    def answer(
        self, code: int, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *,
        times: int = 1, applied: bool = False,
    ) -> None:  # fmt: skip
        """Answer the next `times` requests that match with an error code instead of carrying them out.

            server.answer(ThrottledOpError.code, SetData, "/a", times=3)

        `op` is a class of `zkwire.ops` or an opcode, `path` the full path of the node; None matches all, but pings.
        With `applied` the request is carried out and only its answer is replaced. Of several rules that match, the
        oldest counts.
        """
        with self._changed():
            self._core.faults.answer(code, op, path, times=times, applied=applied)

    def lag_behind(self, zxid: Optional[int]) -> None:
        """Refuse clients that have seen a transaction after `zxid`, as a server that lags does; None for no longer.

        It shows when they connect: `cut` those who are connected.
        """
        with self._changed():
            self._core.faults.lag_behind(zxid)

    def refuse_sessions(self, refuse: bool = True) -> None:
        """Hang up on every client that connects, as a server without a quorum does; False for no longer.

        Those who are connected are left alone: `cut` them.
        """
        with self._changed():
            self._core.faults.refuse_sessions(refuse)

    def wipe(self) -> None:
        """Break all connections and forget all data and sessions, as after a restart on an empty disk.

        Clients that have seen later transactions are refused, as real servers do, until they give their session up.
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

        As a real server without a quorum. Since version 3.7 it takes no session it has not made itself in this mode;
        the others wait, and none expires. Before, it resumes the sessions it knows, whether or not the majority has
        given them away meanwhile (`expire`), and ends those that are silent for their time; when the quorum is back,
        the majority's word counts. `heal` does not end it.
        """
        with self._changed() as now:
            self._core.go_read_only(now, read_only)

    def heal(self) -> None:
        """End black holes, delays, pending drops, rules of `answer`, lag and refusals; what was held back arrives."""
        with self._changed() as now:
            self._core.faults.heal(now)

    # -------------------------------------------------------------------------------- inside

    def _changed(self) -> _Changed:
        return _Changed(self)

    def _wake_up(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):  # it is full, or the thread is gone: nothing to wake
                self._wake.send(b"\0")

    def _serve(self, selector: selectors.BaseSelector) -> None:
        """The thread: until `stop` takes it out of `_thread`."""
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
        self, selector: selectors.BaseSelector, sock: socket.socket, what: Union[str, Link], events: int
    ) -> None:
        if isinstance(what, Link):
            if events & selectors.EVENT_READ:
                self._read(sock, what)
        elif what == "wake":
            sock.recv(_CHUNK)
        else:
            self._accept(selector, sock)

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return  # the client has gone again
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = self._core.accept(address, time.monotonic())
        self._sockets[link] = sock
        selector.register(sock, selectors.EVENT_READ, link)

    def _read(self, sock: socket.socket, link: Link) -> None:
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
        except Exception:  # a bug must not take all other clients with it
            logger.exception("the embedded server cannot carry out a request of session 0x%x", link.session_id)
            self._core.drop(link)

    def _flush(self, selector: selectors.BaseSelector) -> None:
        """Send what there is to send, and hang up where the core has."""
        for link, sock in list(self._sockets.items()):
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

    def _hang_up(self, selector: selectors.BaseSelector, sock: socket.socket, link: Link) -> None:
        self._core.drop(link)
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
    """The lock, and the thread woken up afterwards; the time is what `with` gives."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def __enter__(self) -> float:
        self._server._lock.acquire()
        return time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._server._wake_up()
        self._server._lock.release()
