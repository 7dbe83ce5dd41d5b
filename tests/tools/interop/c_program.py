"""What the C client does, by ctypes; a program of its own, for a crash of the library must not end the others.

    python -m tests.tools.interop.c_program LIBRARY HOSTS DIRECT ROOT SCENARIO

It notes down results and asks for things to be done by lines of JSON: see `program`.
"""

from __future__ import annotations

import ctypes
import json
import queue
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Callable

from tests.kit.harness.config import digest_id
from tests.tools.recording.c_peer import VOID, WATCHER, Acls, Op, Peer, Result, Stat, Strings

PATIENCE = 20
#: States of a handle.
EXPIRED, AUTH_FAILED, CONNECTED = -112, -113, 3
SCENARIOS: dict[str, Callable[[Client], None]] = {}


def note(what: str, *values: Any) -> None:
    print(json.dumps({"note": what, "values": values}), flush=True)


def do(what: str, *arguments: Any) -> Any:
    print(json.dumps({"do": what, "with": arguments}), flush=True)
    return json.loads(sys.stdin.readline())


class Client(Peer):
    """A handle whose calls return codes and values, and whose events are kept in order."""

    library = hosts = direct = ""

    def __init__(self, root: str = "", timeout_ms: int = 10000, client_id: Any = None, direct: bool = False) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.path = root.encode()
        self._watchers: list[Any] = []
        super().__init__(self.library, self.direct if direct else self.hosts, timeout_ms, client_id)
        self.zk.zoo_client_id.restype = POINTER(ctypes.c_char * 24)

    def _on_event(self, handle: Any, kind: int, state: int, path: bytes, context: Any) -> None:
        super()._on_event(handle, kind, state, path, context)
        self.told.put(("all", kind, state, (path or b"").decode()))

    def watcher(self, name: str) -> Any:
        """A watcher of its own, whose events are told under a name."""
        one = WATCHER(lambda handle, kind, state, path, context: self.told.put((name, kind, state, (path or b"").decode())))
        self._watchers.append(one)
        return one

    def call(self, function: str, *arguments: Any) -> int:
        """What a synchronous function returns."""
        wrapped = (c_int(a) if isinstance(a, int) else a for a in arguments)
        return int(getattr(self.zk, function)(self.handle, *wrapped))

    def note_events(self, what: str, count: int, ordered: bool = True) -> None:
        """So many events of nodes; those of the session are passed over."""
        heard: list[Any] = []
        while len(heard) < count:
            event = self.told.get(timeout=PATIENCE)
            heard += [event] if event[1] > 0 else []
        note(what, heard if ordered else sorted(heard))

    def state_is(self, wanted: int) -> None:
        """Wait for a state of the handle."""
        while self.call("zoo_state") != wanted:
            self.told.get(timeout=PATIENCE)

    def at(self, name: str) -> bytes:
        return self.path + name.encode()

    def make(self, name: str, data: Any = b"", flags: int = 0, acl: Any = None) -> tuple[int, str]:
        size = -1 if data is None else len(data)
        out = ctypes.create_string_buffer(256)
        code = self.call("zoo_create", self.at(name), data, size, acl or self.open, flags, out, 256)
        return code, out.value.decode()

    def get(self, name: str, watcher: Any = None, size: int = 4096) -> Any:
        out, length, found = ctypes.create_string_buffer(size), c_int(size), Stat()
        if watcher is None:
            code = self.call("zoo_get", self.at(name), 0, out, byref(length), byref(found))
        else:
            code = self.call("zoo_wget", self.at(name), watcher, None, out, byref(length), byref(found))
        return (code, out.raw[: max(length.value, 0)].decode(), length.value, plain(found)) if code == 0 else (code,)

    def exists(self, name: str, watcher: Any = None) -> Any:
        found = Stat()
        code = self.call("zoo_wexists", self.at(name), watcher, None, byref(found))
        return (code, plain(found)) if code == 0 else (code,)

    def children(self, name: str, watcher: Any = None) -> Any:
        names, found = Strings(), Stat()
        code = self.call("zoo_wget_children2", self.at(name), watcher, None, byref(names), byref(found))
        return (code, sorted(names.data[i].decode() for i in range(names.count)), plain(found)) if code == 0 else (code,)

    def set(self, name: str, data: Any, version: int = -1) -> Any:
        found = Stat()
        code = self.call("zoo_set2", self.at(name), data, -1 if data is None else len(data), version, byref(found))
        return (code, plain(found)) if code == 0 else (code,)

    def add_auth(self, scheme: bytes, credential: bytes) -> int:
        codes: queue.Queue[int] = queue.Queue()
        callback = VOID(lambda code, data: codes.put(code))
        self._watchers.append(callback)
        self("zoo_add_auth", scheme, credential, len(credential), callback, None)
        return codes.get(timeout=PATIENCE)

    def id(self) -> bytes:
        return bytes(self.zk.zoo_client_id(self.handle).contents)

    def close(self) -> None:
        note("closed", self.call("zookeeper_close"))


def plain(stat: Stat) -> Any:
    return {name: getattr(stat, name) for name, _ in Stat._fields_}


class Id(ctypes.Structure):
    _fields_ = [("scheme", c_char_p), ("id", c_char_p)]


class Acl(ctypes.Structure):
    _fields_ = [("perms", ctypes.c_int32), ("id", Id)]


def acls(*entries: tuple[int, bytes, bytes]) -> Any:
    """A list of ACLs for the library; kept alive by whoever holds the result's `keep`."""
    array = (Acl * len(entries))(*(Acl(perms, Id(scheme, name)) for perms, scheme, name in entries))
    whole = Acls(len(entries), ctypes.cast(array, c_void_p))
    pointer = ctypes.pointer(whole)
    pointer.keep = array  # type: ignore[attr-defined]
    return pointer


def scenario(run: Callable[[Client], None]) -> Callable[[Client], None]:
    SCENARIOS[run.__name__] = run
    return run


@scenario
def connect(c: Client) -> None:
    note("connected", c.call("zoo_state"), c.call("zoo_recv_timeout"), any(c.id()), c.call("is_unrecoverable"))
    for asked in (2000, 59999, 10**6):
        other = Client(timeout_ms=asked, direct=True)
        note(f"asked {asked}", other.call("zoo_recv_timeout"))
        other.close()


@scenario
def creates(c: Client) -> None:
    for name, data, flags in (
        ("/plain", b"x", 0), ("/null", None, 0), ("/empty", b"", 0), ("/e", b"e", 1), ("/s-", b"", 2), ("/s-", b"", 2),
        ("/es-", b"", 3), ("/", b"", 2), ("/plain", b"", 0), ("/none/child", b"", 0), ("/e/child", b"", 0),
        ("/\u00fcml\u00e4ut", b"", 0), ("/bad//path", b"", 0), ("/trailing/", b"", 0), ("/\x01", b"", 0), ("/a/..", b"", 0),
        ("/container", b"", 4), ("/flags", b"", 9), ("/\U0001f600", b"", 0),
    ):  # fmt: skip
        note(f"create {name} {flags}", c.make(name, data, flags))
        if not name.endswith("-"):
            note("get", c.get(name))
    note("no acl", c.make("/noacl", acl=acls()))
    note("bad acl", c.make("/badacl", acl=acls((31, b"nobody", b"x"))))
    note("children", c.children(""))


@scenario
def creates_of_3_5(c: Client) -> None:
    out, found, ttl = ctypes.create_string_buffer(256), Stat(), c_int64(60000)
    rest = (out, 256, byref(found))
    for name, flags in (("/two", 0), ("/two-", 3), ("/container", 4), ("/two", 0)):
        note(f"create2 {name}", c.call("zoo_create2", c.at(name), b"2", 1, c.open, flags, *rest), out.value.decode())
        note("stat", plain(found))
    for flags in (5, 6, 0):
        note(f"ttl {flags}", c.call("zoo_create2_ttl", c.at("/t-"), b"", 0, c.open, flags, ttl, *rest), out.value.decode())
    note("ttl, flags of another kind", c.call("zoo_create_ttl", c.at("/t"), b"", 0, c.open, 1, ttl, out, 256))
    note("short", c.call("zoo_create_ttl", c.at("/short"), b"", 0, c.open, 5, c_int64(300), out, 256))
    note("a container's child", c.make("/container/child"), c.call("zoo_delete", c.at("/container/child"), -1))
    note("reaped", do("gone", c.at("/short").decode()), do("gone", c.at("/container").decode()))
    note("left", c.children(""))


@scenario
def data(c: Client) -> None:
    note("create", c.make("/a", b"1"))
    for what, result in {
        "set": c.set("/a", b"22"), "set version": c.set("/a", b"333", 1), "bad version": c.set("/a", b"", 1),
        "null": c.set("/a", None), "nothing there": c.set("/none", b""), "get null": c.get("/a"),
        "set again": c.set("/a", b"0123456789"), "get": c.get("/a"), "into a small buffer": c.get("/a", size=4),
        "exists": c.exists("/a"), "exists not": c.exists("/none"), "children": c.children("/a"),
        "children of nothing": c.children("/none"), "delete, bad version": c.call("zoo_delete", c.at("/a"), 9),
        "delete": c.call("zoo_delete", c.at("/a"), -1), "again": c.call("zoo_delete", c.at("/a"), -1),
        "child": c.make("/full"), "grandchild": c.make("/full/c"), "full": c.call("zoo_delete", c.at("/full"), -1),
        "the system": c.call("zoo_delete", b"/zookeeper", -1), "the root": c.call("zoo_delete", b"/", -1),
    }.items():  # fmt: skip
        note(what, result)


@scenario
def rights(c: Client) -> None:
    bob = (31, b"digest", digest_id("bob", "secret").encode())
    note("create", c.make("/bobs", acl=acls(bob)), c.make("/shown", acl=acls(bob, (1, b"world", b"anyone"))))
    note("creator without a name", c.make("/mine", acl=acls((31, b"auth", b""))))
    note("a stranger", c.get("/bobs"), c.set("/bobs", b""), c.exists("/bobs"), c.make("/bobs/c"), c.get("/shown"))
    note("his acls", _get_acl(c, "/bobs"), _get_acl(c, "/shown"))
    note("wrong password", c.add_auth(b"digest", b"bob:wrong"), c.get("/bobs"))
    note("bob", c.add_auth(b"digest", b"bob:secret"), c.get("/bobs"), c.make("/mine", acl=acls((31, b"auth", b""))))
    note("acls", _get_acl(c, "/bobs"), _get_acl(c, "/mine"))
    do("cut")
    note("after a cut", _again(lambda: c.set("/bobs", b"x")))
    note("set acl", c.call("zoo_set_acl", c.at("/bobs"), 0, acls((1, b"world", b"anyone"))), c.set("/bobs", b""), c.get("/bobs"))
    note("bad version", c.call("zoo_set_acl", c.at("/shown"), 7, c.open))


def _get_acl(c: Client, name: str) -> Any:
    found, entries = Stat(), Acls()
    code = c.call("zoo_get_acl", c.at(name), byref(entries), byref(found))
    array = ctypes.cast(entries.data, POINTER(Acl))
    listed = [(array[i].perms, array[i].id.scheme.decode(), array[i].id.id.decode()) for i in range(entries.count)]
    return (code, listed, plain(found)) if code == 0 else (code,)


def _again(call: Callable[[], Any]) -> Any:
    """A call that is repeated while the connection is lost."""
    while True:
        result = call()
        if result[0] != -4:
            return result


@scenario
def refused_scheme(c: Client) -> None:
    note("code", c.add_auth(b"nobody", b"x"))
    c.state_is(AUTH_FAILED)
    note("for good", c.call("is_unrecoverable"), c.exists(""))


@scenario
def transactions(c: Client) -> None:
    out, found = ctypes.create_string_buffer(256), Stat()
    made = ("create", c.at("/t"), b"1", 1, c.open, 0, out, 256)
    sequence = ("create", c.at("/t/s-"), b"", 0, c.open, 2, ctypes.create_string_buffer(256), 256)
    two = ("create2", c.at("/t/two"), b"", 0, c.open, 0, ctypes.create_string_buffer(256), 256, byref(Stat()))
    changed = ("set", c.at("/t"), b"22", 2, 0, byref(found))
    note("all", _multi(c, made, sequence, two, changed, ("check", c.at("/t"), 1), ("delete", c.at("/t/two"), -1)))
    note("names", out.value.decode(), sequence[6].value.decode(), plain(found), c.children("/t"))
    note("one fails", _multi(c, ("delete", c.at("/t/s-0000000000"), -1), made, ("check", c.at("/t"), 7)), c.children("/t"))
    note("none", c.call("zoo_multi", 0, None, None))


def _multi(c: Client, *makers: Any) -> Any:
    ops, results = (Op * len(makers))(), (Result * len(makers))()
    for op, (name, *arguments) in zip(ops, makers):
        getattr(c.zk, f"zoo_{name}_op_init")(byref(op), *arguments)
    return c.call("zoo_multi", len(makers), ops, results), [result.err for result in results]


@scenario
def sync_and_pipelining(c: Client) -> None:
    done: queue.Queue[Any] = queue.Queue()
    callback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda code, value, data: done.put((code, (value or b"").decode())))
    c("zoo_async", c.at("/not/there"), callback, None)
    note("sync", done.get(timeout=PATIENCE))
    for i in range(200):
        c("zoo_acreate", c.at("/n-"), b"%d" % i, len(str(i)), c.open, 2, callback, None)
    note("created", [done.get(timeout=PATIENCE) for _ in range(200)])


@scenario
def watches(c: Client) -> None:
    a, b = c.watcher("a"), c.watcher("b")
    note("armed", c.exists("/w", a), c.children("", b))
    c.make("/w")
    c.note_events("created", 2)
    note("armed", c.get("/w", a)[0], c.exists("/w", b)[0], c.children("/w", a)[0])
    c.set("/w", b"1")
    c.note_events("changed", 2, ordered=False)
    do("change", ["create", c.at("/w/child").decode()])
    c.note_events("child", 1)
    note("armed", c.get("/w/child", a)[0], c.children("/w/child", b)[0], c.children("/w", b)[0])
    do("change", ["delete", c.at("/w/child").decode()])
    c.note_events("deleted", 3, ordered=False)
    c.exists("")
    note("nothing else", [event for event in list(c.told.queue) if event[1] > 0])


@scenario
def watches_after_a_cut(c: Client) -> None:
    a = c.watcher("a")
    for name in ("/changes", "/goes", "/stays", "/parent"):
        c.make(name)
        c.get(name, a)
    note("armed", c.exists("/comes", a)[0], c.exists("/never", a)[0], c.children("/parent", a)[0], c.children("", a)[0])
    root, before = c.path.decode(), c.id()
    changes = [["set", f"{root}/changes", "1"], ["delete", f"{root}/goes"], ["create", f"{root}/comes"]]
    do("away", *changes, ["create", f"{root}/parent/child"])
    c.note_events("told", 5, ordered=False)
    note("same session", c.id() == before)
    do("change", ["set", f"{root}/stays", "1"], ["create", f"{root}/never"])
    c.note_events("still watched", 2)
    c.exists("/stays", a)
    do("restart")
    note("after a restart", _again(lambda: c.set("/stays", b"2"))[0])
    c.note_events("told", 1)


@scenario
def removed_watches(c: Client) -> None:
    a, b = c.watcher("a"), c.watcher("b")
    c.make("/w")
    for kind, name in ((1, "children"), (2, "data"), (3, "any")):
        c.get("/w", a)
        c.exists("/w", b)
        c.children("/w", a)
        note(f"one of {name}", c.call("zoo_remove_watches", c.at("/w"), kind, a, None, 0))
        note(f"all of {name}", c.call("zoo_remove_all_watches", c.at("/w"), kind, None, None, 0))
        note(f"{name} once more", c.call("zoo_remove_all_watches", c.at("/w"), kind, None, None, 0))
    c.set("/w", b"")
    c.exists("")
    note("events", sorted(event for event in list(c.told.queue) if event[1] > 0))


@scenario
def resume(c: Client) -> None:
    c.make("/e", b"", 1)
    before = c.id()
    for what in ("cut", "restart"):
        do(what)
        note(f"after a {what}", _again(lambda: c.set("/e", b"")), c.id() == before, c.call("zoo_recv_timeout"))
    second = Client(c.path.decode(), client_id=ctypes.create_string_buffer(before, 24), direct=True)
    note("taken over", second.id() == before, second.exists("/e"))
    second.close()
    c.state_is(EXPIRED)
    note("closed by the other", do("exists", c.at("/e").decode()), c.call("is_unrecoverable"))


@scenario
def expiry(c: Client) -> None:
    short = Client(c.path.decode(), 1000)
    a = short.watcher("a")
    note("made", short.make("/e", b"", 1), short.exists("/e", a)[0])
    do("silence", c.at("/e").decode())
    short.state_is(EXPIRED)
    heard = [event for event in list(short.told.queue) if event[0] == "a"]
    note("over", short.call("is_unrecoverable"), short.exists(""), [event for event in heard if event[2] == EXPIRED])
    short.close()


@scenario
def configuration(c: Client) -> None:
    out, length, found = ctypes.create_string_buffer(4096), c_int(4096), Stat()
    note("config", c.call("zoo_getconfig", 0, out, byref(length), byref(found)), length.value, plain(found))

    def reconfig() -> int:
        length.value = 4096
        arguments = (None, b"9", None, c_int64(-1), out, byref(length), byref(found))
        return c.call("zoo_reconfig", *arguments)

    note("reconfig", reconfig())
    note("the superuser", c.add_auth(b"digest", b"super:super"), reconfig())


@scenario
def close_ends_the_session(c: Client) -> None:
    other = Client(c.path.decode())
    note("made", other.make("/e", b"", 1), other.make("/e-", b"", 3))
    other.close()
    note("gone", do("children", c.path.decode()), c.exists("/e"))


def main(library: str, hosts: str, direct: str, root: str, name: str) -> None:
    Client.library, Client.hosts, Client.direct = library, hosts, direct
    client = Client(root)
    SCENARIOS[name](client)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
