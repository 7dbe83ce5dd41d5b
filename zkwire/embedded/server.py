"""The embedded server on a socket: a ZooKeeper for tests, demonstrations and development, in this process.

Owns the sockets, the thread and the clock; `core` owns the server's behaviour, `faults` the faults. Must not know the
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
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

from ..wire.operation import Op
from .core import ServerCore
from .journal import ClientRequest, Journal
from .link import Link
from .ongoing import Ongoing, OngoingFault
from .planting import plant, tree_below
from .settings import Settings
from .traps import Trap

logger = logging.getLogger(__name__)
_CHUNK = 1 << 16
#: The limit for `stop` to wait for the thread, in seconds; the thread needs far less.
_JOIN = 10.0
_RESET = struct.pack("ii", 1, 0)  # linger for zero seconds
#: How often `wait_for` looks though nothing has changed here, in seconds: a condition may be about something else.
_GLANCE = 0.05
#: So many requests are shown by a `wait_for` that was in vain.
_SHOWN = 10
_BLACK_HOLES = {"in": ("hold_in",), "out": ("hold_out",), "both": ("hold_in", "hold_out")}
T = TypeVar("T")


class EmbeddedServer:
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
        self._ssl_context, self._not_now = ssl_context, _not_now(ssl_context)
        self._lock = threading.RLock()
        self._changes, self._turn = threading.Condition(self._lock), 0
        self._journal, self._ongoing = Journal(), Ongoing(self._core)
        self._traps: List[Trap] = []
        self._selector: Optional[selectors.BaseSelector] = None
        self._thread: Optional[threading.Thread] = None
        self._wake: Optional[socket.socket] = None
        self._sockets: Dict[Link, socket.socket] = {}
        self._unsent: Dict[Link, bytes] = {}

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

    async def __aenter__(self) -> EmbeddedServer:
        return self.start()

    async def __aexit__(
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

    @property
    def connected(self) -> Tuple[int, ...]:
        """The ids of the sessions that have a connection now, as far as the server knows."""
        with self._lock:
            return tuple(id_ for id_, session in self._core.alive().items() if session.link is not None)

    def tree(self, path: str = "/") -> Dict[str, bytes]:
        """The nodes below `path`, without itself: full path to data, sorted. /zookeeper is left out of the root's."""
        with self._lock:
            return tree_below(self._core.data.tree, path)

    def plant(self, tree: Mapping[str, bytes]) -> None:
        """Create these nodes, full path to data, with the parents they need; an existing node gets the new data.

        It needs no client. Watches hear of it; limits and quotas hold. `ValueError` for what the server refuses.
        """
        with self._changed() as now:
            plant(self._core, tree, now)

    def requests(self, *, pings: bool = False) -> List[ClientRequest]:
        """What clients have asked for, oldest first: the last 10,000 requests, handshakes included, as values.

        A request is listed from its arrival, even if it is held by a black hole; its answer counts once it was sent.
        """
        with self._lock:
            return self._journal.requests(pings)

    def wait_for(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until `condition()` is true, and return its value; it is called at each change of the server, on your
        thread, and at least 20 times a second, so that it may also ask your service.

        `AssertionError` after `timeout` seconds, with what was last seen. What `condition` raises is raised.
        """
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        while True:
            with self._lock:
                turn = self._turn
            value = condition()
            left = end - time.monotonic()
            if value:
                return value
            if left <= 0:
                raise AssertionError(f"not within {timeout} s: the last value was {value!r}\n{self._last_seen()}")
            with self._changes:
                self._changes.wait_for(lambda: self._turn != turn, min(left, _GLANCE))  # noqa: B023  # called now

    def _last_seen(self) -> str:
        requests = self.requests()[-_SHOWN:]
        sessions = ", ".join(f"0x{one:x}" for one in self.sessions) or "none"
        connected = ", ".join(f"0x{one:x}" for one in self.connected) or "none"
        lines = [f"  0x{r.session:x} {r.op} {r.path or ''}: {r.outcome or 'no answer'}" for r in requests]
        return "\n".join([f"sessions: {sessions}; connected: {connected}; nodes: {list(self.tree())}",
                          "last requests:", *(lines or ["  none"])])  # fmt: skip

    # -------------------------------------------------------------------------------- faults

    def expire(self, session_id: int) -> bool:
        """Expire a session now; returns whether it existed.

        The server deletes its ephemeral nodes, notifies other sessions' watches and closes its connection; the client
        gets the expiry when it reconnects, and makes a new session. In read-only mode the ensemble expires the session:
        this server learns it when that mode ends, and before 3.7 it serves the session until then.
        """
        with self._changed() as now:
            return self._core.faults.expire(session_id, now)

    def cut(self, session_id: Optional[int] = None, *, reset: bool = False) -> int:
        """Break the connection of a session, or all with None; sessions continue. Returns how many were broken.

        Clients reconnect at once, unless `refuse_sessions` or `lag_behind` refuses them. With `reset`, they get a
        reset (RST) instead of an orderly end (FIN).
        """
        with self._changed() as now:
            return self._core.faults.cut(now, session_id, reset)

    def black_hole(self, direction: str = "both", session_id: Optional[int] = None) -> OngoingFault:
        """Stop the traffic from clients ("in"), to them ("out") or "both", until `heal`; connections stay open.

        With "in" and "both", sessions expire; with "out" requests are carried out, but clients get no replies.
        `ValueError` for another direction.
        """
        with self._changed():
            self._core.faults.black_hole(direction, session_id)
            return self._begin(session_id, **dict.fromkeys(_BLACK_HOLES[direction], True))

    def delay(
        self, seconds: float, session_id: Optional[int] = None, *, jitter: float = 0.0, seed: Optional[int] = None
    ) -> OngoingFault:
        """Delay everything sent to clients (replies, events, pings) by this many seconds; 0 ends it.

        With `jitter`, each is late by up to that many seconds more; with `seed` by the same ones in each run. The order
        stays. Requests are carried out at once. `ValueError` for negative times.
        """
        if seconds < 0 or jitter < 0:
            raise ValueError(f"delay {seconds}, jitter {jitter}: expected seconds, 0 or more")
        dice = random.Random(seed)  # noqa: S311
        with self._changed():
            self._core.faults.delay(seconds, session_id)
            if not seconds and not jitter and session_id is None:
                return self._end_all("delay")
            return self._begin(
                session_id, delay=seconds, jitter=(lambda: dice.uniform(0.0, jitter)) if jitter else None
            )

    def limit_rate(self, rate: float, session_id: Optional[int] = None) -> OngoingFault:
        """Send at most `rate` bytes a second on each connection to a client; `ValueError` if that is not above 0.

        Each reply arrives as a whole, once all its bytes would have.
        """
        if rate <= 0:
            raise ValueError(f"rate {rate}: expected bytes a second, above 0")
        with self._changed():
            return self._begin(session_id, rate=rate)

    def drop_after(self, size: int, session_id: Optional[int] = None) -> OngoingFault:
        """Break each connection after `size` more bytes to its client, possibly inside a frame.

        With 0 it breaks at once. Without a session id, new connections break after as many bytes, too, until `heal`:
        with a small size, no client can connect.
        """
        with self._changed():
            self._core.faults.drop_after(size, session_id)
            return self._begin(session_id, cut_after=size)

    def answer(
        self, code: int, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *,
        times: int = 1, applied: bool = False,
    ) -> OngoingFault:  # fmt: skip
        """Answer the next `times` requests that match with an error code instead of carrying them out.

            server.answer(ThrottledOpError.code, SetData, "/a", times=3)

        `op` is a class of `zkwire.ops` or an opcode, `path` the full path of the node; None matches all, but pings.
        With `applied` the request is carried out and only its reply is replaced. Of several rules that match, the
        oldest is used.
        """
        with self._changed():
            rule = self._core.faults.answer(code, op, path, times=times, applied=applied)
            return self._ongoing.begin(OngoingFault(self._end, last=lambda: self._core.faults.forget(rule)))

    def lose_answer(
        self, op: Union[Type[Op[Any]], int, None] = None, path: Optional[str] = None, *, times: int = 1
    ) -> OngoingFault:
        """Carry out the next `times` requests that match, and break the connection instead of answering.

        `op` and `path` are as in `answer`; without `op` any write matches. Earlier answers on the way are lost as well.
        `ValueError` if `times` is not above 0.
        """
        trap = Trap(op, path, times)
        with self._changed():
            self._traps.append(trap)
            return self._ongoing.begin(OngoingFault(self._end, last=lambda: self._traps.remove(trap)))

    def lag_behind(self, zxid: Optional[int]) -> OngoingFault:
        """Refuse clients that have seen a transaction after `zxid`, like a server that lags behind; None ends it.

        It takes effect when clients connect: `cut` existing connections.
        """
        with self._changed():
            self._core.faults.lag_behind(zxid)
            return self._end_all("lag") if zxid is None else self._begin(lag=zxid)

    def refuse_sessions(self, refuse: bool = True) -> OngoingFault:
        """Close the connection of every client that connects, like a server without a quorum; False ends it.

        Existing connections are not affected: `cut` them.
        """
        with self._changed():
            self._core.faults.refuse_sessions(refuse)
            return self._begin(refusal=True) if refuse else self._end_all("refusal")

    def down(self) -> OngoingFault:
        """`stop`, until the fault ends: `with server.down(): ...` starts it again. Blocks for a moment."""
        self.stop()
        with self._lock:
            return self._begin(down=True)

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
            if read_only or not self._ongoing.having("read_only"):
                self._core.go_read_only(now, read_only)
            return self._begin(read_only=True) if read_only else self._end_all("read_only")

    def heal(self) -> None:
        """End all faults that last, `down` and read-only mode among them; held bytes arrive. `stop` is not undone."""
        with self._changed() as now:
            self._end_all()
            self._core.faults.heal(now)

    def _end(self, fault: OngoingFault) -> None:
        with self._changed() as now:
            self._ongoing.end(fault, now)
            if "down" in fault.changes and not self._ongoing.having("down"):
                self.start()

    def _begin(self, session_id: Optional[int] = None, **changes: Any) -> OngoingFault:
        weathers = self._core.faults.weathers(session_id)
        for change in ("jitter", "rate"):  # the others are set already
            for weather in weathers if change in changes else ():
                setattr(weather, change, changes[change])
        return self._ongoing.begin(OngoingFault(self._end, session_id, weathers, **changes))

    def _end_all(self, change: str = "") -> OngoingFault:
        """End all faults with this change, or all of them; returns one that has ended."""
        for fault in self._ongoing.having(change):
            self._end(fault)
        return OngoingFault(self._end)

    # -------------------------------------------------------------------------------- inside

    def _tell(self) -> None:
        """Wake those who wait for a change."""
        self._turn += 1
        self._changes.notify_all()

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
                    self._tell()

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
            return  # the client has closed the connection already
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is not None:  # the handshake is part of the first reads
            sock = self._ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        link = self._core.accept(address, time.monotonic())
        self._sockets[link] = sock
        selector.register(sock, selectors.EVENT_READ, link)

    def _read(self, sock: socket.socket, link: Link) -> None:
        try:
            data = sock.recv(_CHUNK)
            while self._ssl_context is not None and sock.pending():  # type: ignore[attr-defined]  # an SSLSocket
                data += sock.recv(_CHUNK)
        except self._not_now:
            return
        except OSError:
            data = b""
        if not data:
            self._core.lost(link, time.monotonic())
            return
        now = time.monotonic()
        for request in self._journal.heard(link, data, now):
            if any(trap.takes(request.opcode, request.path) for trap in self._traps):
                link.weather.cut_after = 0
        try:
            self._core.receive(link, data, now)
        except Exception:  # a bug must not disconnect all other clients
            logger.exception("the embedded server cannot carry out a request of session 0x%x", link.session_id)
            self._core.drop(link)

    def _flush(self, selector: selectors.BaseSelector) -> None:
        """Send the bytes of all connections, and close those that the core has ended."""
        for link, sock in list(self._sockets.items()):
            data = self._unsent.pop(link, b"") + self._core.data_to_send(link, time.monotonic())
            try:
                if data:
                    sent = sock.send(data)
                    self._journal.told(link, data[:sent], time.monotonic())
                    data = data[sent:]
            except self._not_now:
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
        self._journal.ended(link)
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
        for link in self._sockets:
            self._journal.ended(link)
        self._sockets.clear()
        self._tell()
        self._unsent.clear()


def _not_now(ssl_context: Any) -> Tuple[Type[OSError], ...]:
    """What a socket raises that has to be asked again later."""
    if ssl_context is None:
        return (BlockingIOError,)
    import ssl

    return (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class _Changed:
    """Hold the lock, then wake the thread; `with` returns the time."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def __enter__(self) -> float:
        self._server._lock.acquire()
        return time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._server._tell()
        self._server._wake_up()
        self._server._lock.release()
