"""Calls the C client by ctypes, each function once or more. Run by the recorder, in a process of its own:

    python c_peer.py LIBRARY HOST:PORT ROOT VERSION

When it prints "cut", the connection is to be cut; it goes on when a line comes on its standard input.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_void_p
from typing import Any, List

CONNECTED = 3


class Stat(Structure):
    _fields_ = [
        ("czxid", c_int64), ("mzxid", c_int64), ("ctime", c_int64), ("mtime", c_int64), ("version", c_int32),
        ("cversion", c_int32), ("aversion", c_int32), ("ephemeralOwner", c_int64), ("dataLength", c_int32),
        ("numChildren", c_int32), ("pzxid", c_int64),
    ]  # fmt: skip


class Strings(Structure):
    _fields_ = [("count", c_int32), ("data", POINTER(c_char_p))]


class Acls(Structure):
    _fields_ = [("count", c_int32), ("data", c_void_p)]


class _Create(Structure):
    _fields_ = [
        ("path", c_char_p), ("data", c_char_p), ("datalen", c_int), ("buf", c_char_p), ("buflen", c_int),
        ("acl", c_void_p), ("flags", c_int), ("ttl", c_int64),
    ]  # fmt: skip


class Op(Structure):
    """zoo_op_t: its union is as long as its longest member."""

    _fields_ = [("type", c_int), ("union", _Create)]


class Result(Structure):
    _fields_ = [("err", c_int), ("value", c_char_p), ("valuelen", c_int), ("stat", c_void_p)]


WATCHER = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_int, c_char_p, c_void_p)
VOID = ctypes.CFUNCTYPE(None, c_int, c_void_p)


class Peer:
    """One handle of the C client."""

    def __init__(self, library: str, hosts: str, timeout_ms: int = 10000, client_id: Any = None) -> None:
        self.zk = ctypes.CDLL(library)
        self.zk.zookeeper_init.restype = c_void_p
        self.zk.zoo_set_debug_level(0)
        self.connected, self.events = threading.Event(), threading.Semaphore(0)
        self._watcher = WATCHER(self._on_event)
        self.handle = c_void_p(self.zk.zookeeper_init(hosts.encode(), self._watcher, timeout_ms, client_id, None, 0))
        if not self.connected.wait(10):
            raise TimeoutError("the C client does not connect")
        self.open = byref(Acls.in_dll(self.zk, "ZOO_OPEN_ACL_UNSAFE"))
        self.buffer, self.length, self.stat = ctypes.create_string_buffer(4096), c_int(4096), Stat()

    def _on_event(self, handle: Any, kind: int, state: int, path: bytes, context: Any) -> None:
        if state == CONNECTED and kind == -1:
            self.connected.set()
        elif kind > 0:
            self.events.release()

    def __call__(self, function: str, *arguments: Any, want: int = 0) -> None:
        """Call a synchronous function, which is to return `want`."""
        wrapped = (c_int(a) if isinstance(a, int) else a for a in arguments)
        code = getattr(self.zk, function)(self.handle, *wrapped)
        if code != want:
            raise AssertionError(f"{function}{arguments[:1]} returned {code}, not {want}")

    def create(self, path: bytes, data: Any = b"", mode: int = 0, want: int = 0) -> None:
        size = -1 if data is None else len(data)
        self("zoo_create", path, data, size, self.open, mode, self.buffer, 4096, want=want)

    def multi(self, want: int, *makers: Any) -> None:
        """A transaction; `makers` are name of an init function and its arguments."""
        ops, results = (Op * len(makers))(), (Result * len(makers))()
        for op, (name, *arguments) in zip(ops, makers):
            getattr(self.zk, f"zoo_{name}_op_init")(byref(op), *arguments)
        self("zoo_multi", len(makers), ops, results, want=want)

    def get_children(self, path: bytes, watch: int) -> None:
        self("zoo_get_children", path, watch, byref(Strings()))

    def await_events(self, count: int) -> None:
        for _ in range(count):
            if not self.events.acquire(timeout=10):
                raise TimeoutError("an event does not come")

    def auth(self, scheme: bytes, credential: bytes) -> None:
        done = threading.Event()
        callback = VOID(lambda code, data: done.set())
        self("zoo_add_auth", scheme, credential, len(credential), callback, None)
        if not done.wait(10):
            raise TimeoutError("auth is not answered")


def nodes(p: Peer, root: bytes) -> None:
    p.create(root)
    p.create(root + b"/null", None)
    p.create(root + b"/e", b"data", 1)
    p.create(root + b"/s-", b"", 2)
    p.create(root + b"/", b"", 3)
    p.create(root, want=-110)
    p("zoo_exists", root, 0, byref(p.stat))
    p("zoo_exists", root + b"/none", 0, byref(p.stat), want=-101)
    for path in (root, root + b"/null"):
        p("zoo_get", path, 0, p.buffer, byref(p.length), byref(p.stat))
        p.length.value = 4096
    p("zoo_set", root, b"new", 3, 0)
    p("zoo_set", root, b"new", 3, 7, want=-103)
    acls = Acls()
    p("zoo_get_acl", root, byref(acls), byref(p.stat))
    p("zoo_set_acl", root, -1, p.open)
    p.get_children(root, 0)
    p("zoo_get_children2", root, 0, byref(Strings()), byref(p.stat))
    done = threading.Event()
    callback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda code, value, data: done.set())
    p("zoo_async", root, callback, None)
    done.wait(10)
    p("zoo_delete", root + b"/null", 0)
    p("zoo_delete", root, -1, want=-111)


def transactions(p: Peer, root: bytes) -> None:
    new, buffer = root + b"/multi", p.buffer
    p.multi(
        0,
        ("create", new, b"1", 1, p.open, 0, buffer, 4096),
        ("set", new, b"2", 1, 0, byref(p.stat)),
        ("check", new, 1),
        ("delete", new, -1),
    )
    p.multi(-101, ("check", root, -1), ("delete", new, -1), ("check", root, -1))
    p("zoo_multi", 0, None, None)


def newer(p: Peer, root: bytes) -> None:
    """What 3.5 brought."""
    made = (p.open, 0, p.buffer, 4096, byref(p.stat))
    p("zoo_create2", root + b"/two", b"2", 1, *made)
    p("zoo_create2", root + b"/container", b"", 0, p.open, 4, p.buffer, 4096, byref(p.stat))
    ttl = c_int64(60000)
    p("zoo_create_ttl", root + b"/ttl", b"", 0, p.open, 5, ttl, p.buffer, 4096)
    p("zoo_create2_ttl", root + b"/ttl2", b"", 0, p.open, 6, ttl, p.buffer, 4096, byref(p.stat))
    p("zoo_exists", root + b"/two", 1, byref(p.stat))
    p("zoo_remove_all_watches", root + b"/two", 2, None, None, 0)
    p.length.value = 4096
    p("zoo_getconfig", 0, p.buffer, byref(p.length), byref(p.stat))


def watches(p: Peer, root: bytes) -> None:
    """Watches that fire, and others that are armed again on a new connection."""
    p("zoo_exists", root + b"/w", 1, byref(p.stat), want=-101)
    p.get_children(root, 1)
    p.create(root + b"/w")
    p.await_events(2)
    p("zoo_exists", root + b"/w", 1, byref(p.stat))
    p("zoo_exists", root + b"/later", 1, byref(p.stat), want=-101)
    p.get_children(root, 1)
    p.auth(b"digest", b"bob:secret")
    p.connected.clear()
    print("cut", flush=True)
    sys.stdin.readline()
    if not p.connected.wait(10):
        raise TimeoutError("the C client does not come back")
    p("zoo_set", root + b"/w", b"x", 1, -1)
    p.create(root + b"/later")
    p.await_events(3)


def main(library: str, hosts: str, root: str, version: str) -> None:
    peer, path = Peer(library, hosts), root.encode()
    nodes(peer, path)
    transactions(peer, path)
    if [int(part) for part in version.split(".")] >= [3, 5]:
        newer(peer, path)
    watches(peer, path)
    peer("zookeeper_close")


if __name__ == "__main__":
    arguments: List[str] = sys.argv[1:]
    main(*arguments)
