"""A TCP proxy whose traffic a test can damage at any moment, byte for byte.

    with FaultProxy(server.host, server.port) as proxy:
        connect_a_client(proxy.hosts)
        proxy.cut("rst")

Directions are "up" (client to server), "down" (server to client) and "both". One thread of the proxy
owns all sockets; each switch is flipped in that thread, between two bytes, and the call returns when it
has taken effect. Only a `tap` is called from that thread: it may flip switches too, but must not wait.

What a switch means for connections that are open already, and for new ones:

=============  ==================================  ===================================
switch         open connections                    new connections
=============  ==================================  ===================================
cut            closed at once                      pass
cut_after      closed when the count is full       pass (and count)
black_hole     nothing passes any more             taken, nothing passes
refuse         pass                                refused, nobody listens
ignore         pass                                taken, never passed on
delay, drip,   as the switch says                  as the switch says
split
=============  ==================================  ===================================
"""

from __future__ import annotations

import contextlib
import errno
import functools
import selectors
import socket
import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import Callable, TypeVar

from . import ports
from .pipes import Faults, Link, Pipe, Traffic, hard_close

T = TypeVar("T")
Tap = Callable[[str, int, bytes], None]


class FaultProxy:
    """Listens on `port` of 127.0.0.1 and passes what it gets to a server, until told otherwise.

    `tap(direction, connection, data)` sees all data as it arrives, before any damage; connections are
    numbered from 1.
    """

    def __init__(self, target_host: str, target_port: int, tap: Tap | None = None) -> None:
        self.target = (target_host, target_port)
        self.tap = tap
        self.port = ports.lease()
        self.connections = 0
        self.traffic = {"up": Traffic(), "down": Traffic()}
        self._faults = {"up": Faults(), "down": Faults()}
        self._ignoring = False
        self._links: set[Link] = set()
        self._ignored: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._jobs: list[tuple[Callable[[], object], Future[object]]] = []
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake)
        self._closing = False
        self._listen()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    @property
    def hosts(self) -> str:
        """The proxy as a client's connect string."""
        return f"127.0.0.1:{self.port}"

    # -- switches

    def heal(self) -> None:
        """All switches back to pass. What a black hole has swallowed stays lost, see there."""
        self._call(self._heal)

    def cut(self, how: str = "fin") -> None:
        """Close every open connection, to both ends: in order ("fin") or by reset ("rst")."""
        self._call(lambda: self._cut(how))

    def cut_after(self, count: int, direction: str, how: str = "fin") -> None:
        """Let the next `count` bytes of a direction pass, of all connections together, then cut the one
        that carried the last: "fin", "rst", or "hole" (it stays open, and both directions are lost).

        Works once. With 0 the cut comes when the first byte arrives, which does not pass.
        """
        if how not in ("fin", "rst", "hole"):
            raise ValueError(f"no such cut: {how!r}")
        self._set(direction, budget=count, budget_end=how)

    def black_hole(self, direction: str = "both", *, keep: bool = False) -> None:
        """Nothing passes any more, nor does the end of a connection: no side learns of the other.

        What arrives is lost. A connection that has lost bytes stays dead in that direction after
        `heal`, as TCP never delivers a stream with a gap. With `keep` it is held back instead, and
        `heal` delivers it, as after a break that TCP has outlived.
        """
        self._set(direction, hold=keep, hole=not keep)

    def refuse(self) -> None:
        """Stop listening: new connections are refused by the kernel."""
        self._call(self._unlisten)

    def ignore(self) -> None:
        """Take new connections and never answer."""
        self._call(lambda: setattr(self, "_ignoring", True))

    def delay(self, seconds: float, direction: str = "both") -> None:
        """Each segment passes `seconds` after it has arrived, in order. 0 ends it."""
        self._set(direction, delay=seconds)

    def drip(self, rate: float, direction: str = "both") -> None:
        """At most `rate` bytes per second pass, one at a time below 100. 0 ends it."""
        self._set(direction, rate=rate)

    def split(self, size: int = 1, direction: str = "both") -> None:
        """Each segment passes in pieces of `size` bytes, each sent on its own. 0 ends it.

        The pieces are a millisecond apart, so that a receiver who reads at once sees each by itself.
        """
        self._set(direction, piece=size)

    # -- questions

    @property
    def open(self) -> int:
        """How many connections of clients are open now, those of black holes included."""
        return sum(not link.cut_by_us for link in tuple(self._links)) + len(self._ignored)

    def wait(self, condition: Callable[[FaultProxy], bool], timeout: float = 10.0) -> None:
        """Wait until `condition(proxy)`, asked again after each event. TimeoutError when it never is.

        It may look at counters (`traffic`, `connections`, `open`), not flip switches.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), timeout):
                raise TimeoutError(f"after {timeout:g} s: {self!r}")

    def __repr__(self) -> str:
        return f"<FaultProxy {self.hosts} to {self.target}: {self.connections} connections, {self.traffic}>"

    # -- life

    def close(self) -> None:
        """End the proxy and all its connections. May be called twice."""
        if not self._closing and self._thread.is_alive():
            self._call(self._close)
            self._thread.join()
            for closable in (self._selector, self._woken, self._waker):
                closable.close()
            ports.release(self.port)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the proxy's thread

    def _call(self, job: Callable[[], T]) -> T:
        """Run `job` in the proxy's thread and return what it returns."""
        if threading.current_thread() is self._thread:
            return job()
        future: Future[object] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the proxy is closed")
            self._jobs.append((job, future))
        self._waker.send(b"\0")
        return future.result(10)  # type: ignore[return-value]  # the result of this very job

    def _set(self, direction: str, **changes: object) -> None:
        names = ("up", "down") if direction == "both" else (direction,)
        if not set(names) <= set(self._faults):
            raise ValueError(f"no such direction: {direction!r}")

        def change() -> None:
            for name in names:
                for field, value in changes.items():
                    setattr(self._faults[name], field, value)

        self._call(change)

    def _run(self) -> None:
        while not self._closing:
            now = time.monotonic()
            nexts = [pipe.next_time() for link in self._links for pipe in (link.up, link.down)]
            times = [at for at in nexts if at is not None]
            timeout = max(0.0, min(times) - now) if times else None
            for key, _ in self._selector.select(timeout):
                key.data()
            self._write_all()
            with self._changed:
                self._changed.notify_all()

    def _write_all(self) -> None:
        """Pass on what is due, then close what is done and watch the rest for what it waits for."""
        now = time.monotonic()
        for link in tuple(self._links):
            link.write(now)
            if link.done:
                self._links.discard(link)
                self._watch(link.client, 0, lambda: None)
                self._watch(link.server, 0, lambda: None)
                link.close()
            else:
                for sock, events in link.interests():
                    self._watch(sock, events, functools.partial(self._read, link))

    def _read(self, link: Link) -> None:
        now = time.monotonic()
        for direction, pipe in (("up", link.up), ("down", link.down)):
            pipe.read(now, functools.partial(self._tapped, direction, link))

    def _tapped(self, direction: str, link: Link, data: bytes) -> None:
        if self.tap is not None:
            self.tap(direction, link.number, data)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        with self._changed:
            jobs, self._jobs = self._jobs, []
        for job, future in jobs:
            try:
                result = job()
                self._write_all()  # a cut has happened when the call returns
                future.set_result(result)
            except Exception as error:  # it is the caller's, who waits for it
                future.set_exception(error)

    def _watch(self, sock: socket.socket, events: int, callback: Callable[[], None]) -> None:
        known = self._selector.get_map().get(sock)
        if known is None and events:
            self._selector.register(sock, events, callback)
        elif known is not None and not events:
            self._selector.unregister(sock)
        elif known is not None and known.events != events:
            self._selector.modify(sock, events, callback)

    # -- its jobs

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self._listener.listen(128)
            self._listener.setblocking(False)
            self._watch(self._listener, selectors.EVENT_READ, self._accept)

    def _unlisten(self) -> None:
        if self._listener is not None:
            self._accept()  # who came before the switch is in
            self._watch(self._listener, 0, self._accept)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            self.connections += 1
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._ignoring:
                self._ignored.add(client)
            else:
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket()
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up = Pipe(client, server, self._faults["up"], self.traffic["up"])
        down = Pipe(server, client, self._faults["down"], self.traffic["down"])
        link = Link(self.connections, client, server, up, down)
        self._links.add(link)
        if server.connect_ex(self.target) not in (0, errno.EINPROGRESS):
            link.cut("rst")

    def _heal(self) -> None:
        for faults in self._faults.values():
            vars(faults).update(vars(Faults()))
        self._ignoring = False
        self._listen()

    def _cut(self, how: str) -> None:
        if how not in ("fin", "rst"):
            raise ValueError(f"no such cut: {how!r}")
        self._accept()  # who has connected before the call is cut as well
        for link in self._links:
            link.cut(how)
        for client in self._ignored:
            (hard_close if how == "rst" else socket.socket.close)(client)
        self._ignored.clear()

    def _close(self) -> None:
        self._unlisten()
        self._cut("rst")
        self._closing = True
