"""The sockets, the thread and the clock of embedded servers: one thread serves any number of cores, each on its port.

Owns listening sockets and connections. Must not know the protocol, or how servers belong together.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import struct
import threading
import time
from collections import defaultdict
from typing import Any, Callable, DefaultDict, Dict, Iterator, List, Optional, Tuple, Type

from .core import BareCore
from .journal import Journal
from .link import ServerLink

logger = logging.getLogger(__name__)
_CHUNK = 1 << 16
#: The limit for `stop` and `close` to wait for the thread, in seconds; the thread needs far less.
_JOIN = 10.0
#: A port may be taken again while old connections of it are being closed, and by nobody else meanwhile. On Windows
#: SO_REUSEADDR would let any process take it away.
_OWN_PORT: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
_RESET = struct.pack("ii", 1, 0)  # linger for zero seconds


class Serving:
    """The thread of some cores. `tick` and `deadline` are those of a core, or of what stands for all of them.

    With `ssl_context`, an `ssl.SSLContext` for servers, all connections are TLS. All of it may be called from any
    thread; whoever touches a core does so inside `changed`.
    """

    def __init__(
        self, tick: Callable[[float], None], deadline: Callable[[], Optional[float]], ssl_context: Any = None
    ) -> None:
        self._tick, self._deadline = tick, deadline
        self._ssl_context, self._not_now = ssl_context, _not_now(ssl_context)
        self.lock = threading.RLock()
        #: Notified whenever something may have changed; `turn` is then another number.
        self.changes, self.turn = threading.Condition(self.lock), 0
        #: What the clients of each core have asked for.
        self.journals: DefaultDict[BareCore, Journal] = defaultdict(Journal)
        self._thread: Optional[threading.Thread] = None
        self._wake: Optional[socket.socket] = None
        self._listeners: Dict[BareCore, socket.socket] = {}
        #: All that were listened for; those that no longer are may have connections to close.
        self._cores: Dict[BareCore, None] = {}
        #: What the thread has to do to its selector.
        self._todo: List[Callable[[selectors.BaseSelector], None]] = []
        self._sockets: Dict[ServerLink, Tuple[socket.socket, BareCore]] = {}
        self._unsent: Dict[ServerLink, bytearray] = {}

    @property
    def running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def listen(self, core: BareCore, port: int) -> int:
        """Listen for a core, on this port of 127.0.0.1 or with 0 on a free one; the port. `OSError` if it is in use.

        Connections are accepted as soon as the thread runs.
        """
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, _OWN_PORT, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(1024)
        except BaseException:
            listener.close()
            raise
        listener.setblocking(False)
        core.port = listener.getsockname()[1]
        with self.lock:
            self._listeners[core], self._cores[core] = listener, None
            self._todo.append(lambda selector: _register(selector, listener, core))
            self._wake_up()
        return core.port

    def close(self, core: BareCore) -> None:
        """Listen for a core no more. Blocks until its port is closed, which takes a moment."""
        closed = threading.Event()
        with self.lock:
            listener = self._listeners.pop(core, None)
            if listener is None:
                return
            if self._thread is None:
                closed.set()
            else:
                self._todo.append(lambda selector: _unregister(selector, listener, closed))
                self._wake_up()
        closed.wait(_JOIN)
        listener.close()

    def start(self) -> None:
        """Start the thread."""
        woken, self._wake = socket.socketpair()
        woken.setblocking(False)
        self._wake.setblocking(False)
        selector = selectors.DefaultSelector()
        selector.register(woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._serve, args=(selector,), name="zkwire-embedded", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and close all sockets. Blocks until it has ended, which takes a moment."""
        with self.lock:
            thread, self._thread = self._thread, None
            self._wake_up()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN)

    @contextlib.contextmanager
    def changed(self) -> Iterator[float]:
        """Hold the lock, then wake the thread; `with` returns the time."""
        with self.lock:
            try:
                yield time.monotonic()
            finally:
                self._tell()
                self._wake_up()

    def _tell(self) -> None:
        """Wake those who wait for a change."""
        self.turn += 1
        self.changes.notify_all()

    def _wake_up(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):  # the pipe is full, or the thread has ended
                self._wake.send(b"\0")

    # -------------------------------------------------------------------------- the thread

    def _serve(self, selector: selectors.BaseSelector) -> None:
        """The thread's loop, until `stop` clears `_thread`."""
        me = threading.current_thread()
        while True:
            with self.lock:
                if self._thread is not me:
                    return self._close(selector)
                while self._todo:
                    self._todo.pop(0)(selector)
                deadline = self._deadline()
            patience = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = selector.select(patience)
            with self.lock:
                if self._thread is me:
                    for key, events in ready:
                        self._handle(selector, key, events)
                    self._tick(time.monotonic())
                    self._flush(selector)
                    self._tell()

    def _handle(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int) -> None:
        sock: Any = key.fileobj
        what = key.data
        if isinstance(what, BareCore):
            self._accept(selector, sock, what)
        elif what is None:
            sock.recv(_CHUNK)
        else:
            if events & selectors.EVENT_READ:
                self._read(what)
            if events & selectors.EVENT_WRITE:
                what.stir()

    def _accept(self, selector: selectors.BaseSelector, listener: socket.socket, core: BareCore) -> None:
        try:
            sock, address = listener.accept()
        except OSError:
            return  # the client has closed the connection already
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # macOS refuses options of a connection that was reset; reading will show it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._ssl_context is not None:  # the handshake is part of the first reads
            sock = self._ssl_context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        link = core.accept(address, time.monotonic())
        self._sockets[link] = sock, core
        selector.register(sock, selectors.EVENT_READ, link)

    def _read(self, link: ServerLink) -> None:
        sock, core = self._sockets[link]
        try:
            data = sock.recv(_CHUNK)
            while self._ssl_context is not None and sock.pending():  # type: ignore[attr-defined]  # an SSLSocket
                data += sock.recv(_CHUNK)
        except self._not_now:
            return
        except OSError:
            data = b""
        if not data:
            core.lost(link, time.monotonic())
            return
        now = time.monotonic()
        self.journals[core].heard(link, data, now)
        try:
            core.receive(link, data, now)
        except Exception:  # a bug must not disconnect all other clients
            logger.exception("the embedded server cannot carry out a request of session 0x%x", link.session_id)
            core.drop(link)

    def _flush(self, selector: selectors.BaseSelector) -> None:
        """Send what there is to send, and close the connections that the cores have ended."""
        for core in self._cores:
            for link in list(core.stirred):
                self._send(selector, core, link)

    def _send(self, selector: selectors.BaseSelector, core: BareCore, link: ServerLink) -> None:
        if link not in self._sockets:
            del core.stirred[link]
            return
        sock = self._sockets[link][0]
        data = self._unsent.pop(link, bytearray())  # from the front of which bytes are taken without a copy of the rest
        data += core.data_to_send(link, time.monotonic())
        try:
            if data:
                sent = sock.send(data)
                self.journals[core].told(link, bytes(data[:sent]), time.monotonic())
                del data[:sent]
        except self._not_now:
            pass
        except OSError:
            core.lost(link, time.monotonic())
            data.clear()
        if data:
            self._unsent[link] = data
        elif link.over:
            self._hang_up(selector, core, link)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if data else 0)
        if selector.get_key(sock).events != wanted:
            selector.modify(sock, wanted, link)

    def _hang_up(self, selector: selectors.BaseSelector, core: BareCore, link: ServerLink) -> None:
        core.drop(link)
        core.stirred.pop(link, None)
        self.journals[core].ended(link)
        sock, _ = self._sockets.pop(link)
        selector.unregister(sock)
        if link.reset:
            with contextlib.suppress(OSError):  # as above: it is reset already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()

    def _close(self, selector: selectors.BaseSelector) -> None:
        while self._todo:  # somebody waits for it
            self._todo.pop(0)(selector)
        for core in self._cores:
            core.hang_up()
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # sockets only
        for listener in self._listeners.values():
            listener.close()
        if self._wake is not None:
            self._wake.close()
        selector.close()
        for link, (_, core) in self._sockets.items():
            self.journals[core].ended(link)
        self._tell()
        for held in (self._listeners, self._sockets, self._unsent):
            held.clear()


def _not_now(ssl_context: Any) -> Tuple[Type[OSError], ...]:
    """What a socket raises that has to be asked again later."""
    if ssl_context is None:
        return (BlockingIOError,)
    import ssl

    return (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def _register(selector: selectors.BaseSelector, listener: socket.socket, core: BareCore) -> None:
    if listener.fileno() >= 0:  # else it was closed before there was a thread
        selector.register(listener, selectors.EVENT_READ, core)


def _unregister(selector: selectors.BaseSelector, listener: socket.socket, closed: threading.Event) -> None:
    selector.unregister(listener)
    closed.set()
