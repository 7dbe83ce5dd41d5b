"""kazoo 2.11.0: all its verbs, watches and sessions. Its recipes are in `kazoo_recipes`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry
from kazoo.security import ACL, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, Id, make_digest_acl

from .place import PATIENCE, SASL_PASSWORD, SASL_USER, SUPER
from .scenario import Book, Trial

book = Book("kazoo")
BIG = 0xFFFFF


@contextlib.contextmanager
def connected(trial: Trial, *, direct: bool = False, chroot: str = "", **options: Any) -> Iterator[Any]:
    """A client that is connected; it tries again often, so that nobody waits for it."""
    options.setdefault("timeout", 10.0)
    hosts = (trial.place.direct if direct else trial.place.hosts) + chroot
    retry = KazooRetry(max_tries=-1, delay=0.02, max_delay=0.1)
    client = KazooClient(hosts, connection_retry=retry, command_retry=KazooRetry(max_tries=50, delay=0.02), **options)
    try:
        client.start(PATIENCE)
        yield client
    finally:
        client.stop()
        client.close()


def told(event: Any) -> tuple[Any, ...]:
    """An event as plain values."""
    return event.type, event.state, event.path


def attempt(trial: Trial, what: str, call: Any) -> None:
    trial.attempt(what, call, KazooException)


@book
def connect(trial: Trial) -> None:
    with connected(trial) as client:
        session, password = client.client_id
        trial.note("state", client.state, client.client_state, client.connected, session != 0, len(password))
        trial.note("words", client.command(b"ruok"), client.command(b"isro"))
        trial.note("version", client.server_version())
    trial.note("closed", client.state)


@book
def creates(trial: Trial) -> None:
    root = trial.root
    with connected(trial) as client:
        made = [
            ("plain", {}), ("data", {"value": b"x" * 1000}), ("null", {"value": None}), ("empty", {"value": b""}),
            ("ephemeral", {"ephemeral": True}), ("sequence-", {"sequence": True}), ("sequence-", {"sequence": True}),
            ("both-", {"sequence": True, "ephemeral": True}), ("", {"sequence": True}), ("deep/er/still", {"makepath": True}),
            ("with-stat", {"include_data": True}), ("sub", {"acl": READ_ACL_UNSAFE}), ("\u00fcml\u00e4ut", {"value": "\u20ac".encode()}),
            ("plain", {}), ("none/child", {}), ("ephemeral/child", {}), ("sub/child", {}), ("no-acl", {"acl": []}),
            ("bad-acl", {"acl": [ACL(31, Id("nobody", "x"))]}), ("owner", {"acl": CREATOR_ALL_ACL}),
            ("no-path-", {"sequence": True, "ephemeral": True, "include_data": True}),
        ]  # fmt: skip
        for name, options in made:
            attempt(trial, f"create {name}", lambda name=name, options=options: client.create(f"{root}/{name}", **options))
        children, stat = client.get_children(root, include_data=True)
        trial.note("children", sorted(children), stat)
        for name in sorted(children):
            data, stat = client.get(f"{root}/{name}")
            trial.note(f"get {name}", data, stat, stat.ephemeralOwner in (0, client.client_id[0]))


@book
def reads_and_writes(trial: Trial) -> None:
    root = trial.root
    with connected(trial) as client:
        client.create(f"{root}/a", b"1")
        for what, call in {
            "set": lambda: client.set(f"{root}/a", b"22"), "set version": lambda: client.set(f"{root}/a", b"333", 1),
            "set bad version": lambda: client.set(f"{root}/a", b"", 1), "set nothing": lambda: client.set(f"{root}/none", b""),
            "set null": lambda: client.set(f"{root}/a", None), "get": lambda: client.get(f"{root}/a"),
            "get nothing": lambda: client.get(f"{root}/none"), "exists": lambda: client.exists(f"{root}/a"),
            "exists not": lambda: client.exists(f"{root}/none"), "children": lambda: client.get_children(f"{root}/a"),
            "children of nothing": lambda: client.get_children(f"{root}/none"),
            "children, stat": lambda: client.get_children(root, include_data=True), "sync": lambda: client.sync(root),
            "sync nothing": lambda: client.sync(f"{root}/none"), "ensure": lambda: client.ensure_path(f"{root}/a/b/c"),
            "delete full": lambda: client.delete(f"{root}/a"), "delete bad version": lambda: client.delete(f"{root}/a/b/c", 5),
            "delete": lambda: client.delete(f"{root}/a/b/c", 0), "delete nothing": lambda: client.delete(f"{root}/none"),
            "delete all": lambda: client.delete(f"{root}/a", recursive=True), "root": lambda: client.exists(root),
            "delete the system": lambda: client.delete("/zookeeper"), "delete the root": lambda: client.delete("/"),
        }.items():  # fmt: skip
            attempt(trial, what, call)


@book
def limits(trial: Trial) -> None:
    with connected(trial) as client:
        name = f"{trial.root}/big"
        overhead = 8 + 4 + len(name) + 4 + 4 + 4 + 4 + len("world") + 4 + len("anyone") + 4
        client.create(name, b"x" * (BIG - overhead), acl=OPEN_ACL_UNSAFE)
        data, stat = client.get(name)
        trial.note("the longest request", len(data), stat)
        attempt(trial, "longer", lambda: client.create(name + "2", b"x" * (BIG - overhead), acl=OPEN_ACL_UNSAFE))
        trial.note("there", client.retry(client.exists, name + "2"), client.retry(client.exists, name))


@book
def pipelining(trial: Trial) -> None:
    with connected(trial) as client:
        asked = [client.create_async(f"{trial.root}/n-", b"%d" % i, sequence=True) for i in range(300)]
        trial.note("created", [one.get(timeout=PATIENCE)[-10:] for one in asked])
        asked = [client.get_async(f"{trial.root}/n-{i:010d}") for i in range(300)]
        trial.note("read", [one.get(timeout=PATIENCE)[0] for one in asked])


@book
def rights(trial: Trial) -> None:
    root = trial.root
    bob = make_digest_acl("bob", "secret", all=True)
    with connected(trial) as client, connected(trial, auth_data=[("digest", "bob:secret")]) as owner:
        owner.create(f"{root}/bobs", b"", acl=[bob])
        owner.create(f"{root}/creators", b"", acl=CREATOR_ALL_ACL)
        owner.create(f"{root}/shown", b"", acl=[bob, *READ_ACL_UNSAFE])
        owner.create(f"{root}/here", b"", acl=[ACL(31, Id("ip", "127.0.0.0/8"))])
        owner.create(f"{root}/there", b"", acl=[ACL(31, Id("ip", "10.0.0.0/8"))])
        for who, name in ((client, "stranger"), (owner, "owner")):
            for node in ("bobs", "creators", "shown", "here", "there"):
                path = f"{root}/{node}"
                attempt(trial, f"{name} get {node}", lambda who=who, path=path: who.get(path))
                attempt(trial, f"{name} set {node}", lambda who=who, path=path: who.set(path, b"new"))
                attempt(trial, f"{name} exists {node}", lambda who=who, path=path: who.exists(path))
                attempt(trial, f"{name} acls of {node}", lambda who=who, path=path: who.get_acls(path))
                attempt(trial, f"{name} child of {node}", lambda who=who, path=path: who.create(path + "/c"))
                attempt(trial, f"{name} delete in {node}", lambda who=who, path=path: who.delete(path + "/c"))
        attempt(trial, "wrong password", lambda: client.add_auth("digest", "bob:wrong"))
        attempt(trial, "still a stranger", lambda: client.get(f"{root}/bobs"))
        client.add_auth("digest", "bob:secret")
        attempt(trial, "bob himself", lambda: client.get(f"{root}/bobs"))
        attempt(trial, "set acls", lambda: client.set_acls(f"{root}/bobs", [make_digest_acl("bob", "secret", read=True)], 0))
        attempt(trial, "set acls, bad version", lambda: client.set_acls(f"{root}/shown", OPEN_ACL_UNSAFE, 7))
        attempt(trial, "read only now", lambda: client.set(f"{root}/bobs", b""))
        client.add_auth("digest", f"super:{SUPER}")
        attempt(trial, "the superuser", lambda: client.set(f"{root}/bobs", b"super"))
        attempt(trial, "acls for the superuser", lambda: client.get_acls(f"{root}/bobs"))


@book
def refused_scheme(trial: Trial) -> None:
    with connected(trial) as client:
        attempt(trial, "unknown scheme", lambda: client.add_auth("nobody", "x"))
        attempt(trial, "afterwards", lambda: client.exists(trial.root))


@book
def transactions(trial: Trial) -> None:
    root = trial.root
    with connected(trial) as client:
        for goes_wrong in (False, True):
            one = client.transaction()
            one.create(f"{root}/t", b"1")
            one.create(f"{root}/t/s-", b"", sequence=True)
            one.create(f"{root}/t/e-", b"", ephemeral=True, sequence=True)
            one.set_data(f"{root}/t", b"2", 0)
            one.check(f"{root}/t", 1)
            if goes_wrong:
                one.check(f"{root}/t", 7)
            one.delete(f"{root}/t/s-0000000000")
            trial.note("results", [self_or_name(result) for result in one.commit()])
            trial.note("left", sorted(client.get_children(f"{root}/t")), client.get(f"{root}/t"))
            client.delete(f"{root}/t", recursive=True)
            if not goes_wrong:
                client.create(f"{root}/t")
        trial.note("empty", client.transaction().commit())


def self_or_name(result: Any) -> Any:
    return type(result).__name__ if isinstance(result, Exception) else result


@book
def watches(trial: Trial) -> None:
    root, events = trial.root, trial.events()

    def watcher(event: Any) -> None:
        events.put(told(event))

    with connected(trial) as client:
        client.exists(f"{root}/w", watch=watcher)
        client.get_children(root, watch=watcher)
        client.create(f"{root}/w", b"")
        events.note("created", 2)
        client.get(f"{root}/w", watch=watcher)
        client.exists(f"{root}/w", watch=lambda event: events.put(("exists", *told(event))))
        trial.place.other.set(f"{root}/w", b"1")
        events.note("changed", 2, ordered=False)
        client.get(f"{root}/w", watch=watcher)
        client.get_children(f"{root}/w", watch=lambda event: events.put(("children", *told(event))))
        client.delete(f"{root}/w")
        events.note("deleted", 2, ordered=False)
        client.exists(root, watch=watcher)
        client.set(root, b"once")
        client.set(root, b"twice")
        events.note("only once")
        client.sync(root)
        events.rest()


@book
def watches_after_a_cut(trial: Trial) -> None:
    """kazoo does not arm its watches again: it tells the watchers that the connection is gone."""
    root, events, states = trial.root, trial.events(), trial.events()
    with connected(trial) as client:
        for name in ("a", "b"):
            client.create(f"{root}/{name}")
            client.get(f"{root}/{name}", watch=lambda event: events.put(told(event)))
        client.get_children(root, watch=lambda event: events.put(told(event)))
        client.add_listener(states.put)
        trial.place.away(lambda: trial.place.other.set(f"{root}/a", b"1"))
        states.note("states", 2)
        events.note("told", 3)
        trial.note("read again", client.retry(client.get, f"{root}/a", watch=lambda event: events.put(told(event))))
        trial.place.other.set(f"{root}/a", b"2")
        trial.place.other.set(f"{root}/b", b"2")
        events.note("told of what it watches")
        client.sync(root)
        events.rest()


@book
def resume(trial: Trial) -> None:
    states = trial.events()
    with connected(trial, auth_data=[("digest", "bob:secret")]) as client:
        client.create(f"{trial.root}/e", b"", ephemeral=True, acl=CREATOR_ALL_ACL)
        client.add_listener(states.put)
        session = client.client_id
        for end in ("cut", "restart"):
            getattr(trial.place, end)()
            states.note(f"after a {end}", 2)
            trial.note("same session", client.client_id == session)
            trial.note("still mine, still bob", client.retry(client.set, f"{trial.root}/e", end.encode()))


@book
def expiry(trial: Trial) -> None:
    states, events = trial.events(), trial.events()
    with connected(trial, timeout=1.0, auth_data=[("digest", "bob:secret")]) as client:
        client.create(f"{trial.root}/e", b"", ephemeral=True)
        client.create(f"{trial.root}/mine", b"", acl=CREATOR_ALL_ACL)
        client.get(f"{trial.root}/mine", watch=lambda event: events.put(told(event)))
        client.add_listener(states.put)
        session = client.client_id
        trial.place.silence(f"{trial.root}/e")
        states.note("states", 3)
        trial.note("another session", client.client_id != session, client.retry(client.exists, f"{trial.root}/e"))
        trial.note("still bob", client.retry(client.set, f"{trial.root}/mine", b"x"))
        events.note("the watcher hears")


@book
def session_taken_over(trial: Trial) -> None:
    states = trial.events()
    with connected(trial) as client:
        client.create(f"{trial.root}/e", b"", ephemeral=True)
        client.add_listener(states.put)
        session = client.client_id
        trial.place.proxy.refuse()  # or the two would take it from each other for ever
        with connected(trial, direct=True, client_id=session) as thief:
            trial.note("same session", thief.client_id == session, thief.exists(f"{trial.root}/e"))
            states.note("the first loses its connection")
        trial.note("closed by the other", trial.place.other.exists(f"{trial.root}/e"))
        trial.place.proxy.heal()
        states.note("and then its session", 2)


@book
def close_ends_the_session(trial: Trial) -> None:
    with connected(trial) as client:
        client.create(f"{trial.root}/e", b"", ephemeral=True)
        client.create(f"{trial.root}/e-", b"", ephemeral=True, sequence=True)
        trial.note("before", sorted(trial.place.other.get_children(trial.root)))
        session = client.client_id
    trial.note("after", trial.place.other.get_children(trial.root))
    with connected(trial, client_id=session) as again:
        trial.note("another session", again.client_id[0] != session[0])


@book
def wrong_password(trial: Trial) -> None:
    with connected(trial) as client:
        client.create(f"{trial.root}/e", b"", ephemeral=True)
        session, _ = client.client_id
        with connected(trial, direct=True, client_id=(session, b"wrong" * 3 + b"!")) as thief:
            trial.note("another session", thief.client_id[0] != session)
        trial.note("the owner goes on", client.retry(client.exists, f"{trial.root}/e"), client.client_id[0] == session)


@book
def chroot(trial: Trial) -> None:
    events = trial.events()
    with connected(trial, chroot=trial.root) as client:
        client.ensure_path("/a/b")
        client.get_children("/", watch=lambda event: events.put(told(event)))
        trial.note("made", client.create("/s-", b"", sequence=True), client.get_children("/"), client.exists("/"))
        events.note("told")
        trial.note("transaction", _one_create(client))


def _one_create(client: Any) -> Any:
    one = client.transaction()
    one.create("/t", b"")
    return one.commit()


@book
def beyond_the_basic_plane(trial: Trial) -> None:
    with connected(trial) as client:
        attempt(trial, "create", lambda: client.create(f"{trial.root}/\U0001f600", b""))
        attempt(trial, "exists", lambda: client.exists(f"{trial.root}/\U0001f600"))
        attempt(trial, "set", lambda: client.set(f"{trial.root}/\U0001f600", b""))
        attempt(trial, "children", lambda: client.get_children(trial.root))


@book
def reconfiguration(trial: Trial) -> None:
    with connected(trial) as client:
        attempt(trial, "a stranger", lambda: client.reconfig("", "9", "", -1))
        client.add_auth("digest", f"super:{SUPER}")
        attempt(trial, "the superuser", lambda: client.reconfig("", "9", "", -1))
        attempt(trial, "the configuration", lambda: client.get("/zookeeper/config"))


@book
def sasl(trial: Trial) -> None:
    options = {"mechanism": "DIGEST-MD5", "username": SASL_USER, "password": SASL_PASSWORD}
    with connected(trial, sasl_options=options) as client:
        acl = [ACL(31, Id("sasl", SASL_USER))]
        client.create(f"{trial.root}/bobs", b"", acl=acl)
        attempt(trial, "its owner", lambda: client.get(f"{trial.root}/bobs"))
        attempt(trial, "its acls", lambda: client.get_acls(f"{trial.root}/bobs"))
        client.create(f"{trial.root}/creators", b"", acl=CREATOR_ALL_ACL)
        attempt(trial, "the acls of its own", lambda: client.get_acls(f"{trial.root}/creators"))
        trial.place.cut()
        trial.note("after a cut", client.retry(client.get, f"{trial.root}/bobs"))
        with connected(trial) as stranger:
            attempt(trial, "a stranger", lambda: stranger.get(f"{trial.root}/bobs"))


@book
def sasl_refused(trial: Trial) -> None:
    options = {"mechanism": "DIGEST-MD5", "username": SASL_USER, "password": "wrong"}
    client = KazooClient(trial.place.hosts, sasl_options=options)
    try:
        client.start(PATIENCE)
        trial.note("let in", client.state)
    except (KazooException, KazooTimeoutError) as error:
        trial.note("refused", type(error).__name__, client.client_state)
    finally:
        client.stop()
        client.close()
