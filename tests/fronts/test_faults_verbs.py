"""The fault catalogue's rows on verbs and the recipes behind them, on both fronts."""

from __future__ import annotations

import threading
from typing import Any, List

import pytest

import zkdisco
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Requests, until
from tests.kit.hostile import Wire
from tests.kit.world import framed, header
from zkwire.errors import (
    ConnectionClosedError, NoAuthError, NoNodeError, OperationTimeoutError, SessionClosedRequireSaslError,
    TooManyPendingError, ZookeeperError,
)  # fmt: skip
from zkwire.ops import Create, Delete, Exists, GetChildren, GetChildren2, GetConfig, GetData, RemoveWatches
from zkwire.values import ACL, OPEN_ACL_UNSAFE, Id

PATIENT = 4.0
NO_CREATE = [ACL(31 - 4, Id("world", "anyone"))]


# -------------------------------------------------------------------------------- arguments


@fault("X16")
@pytest.mark.parametrize("watcher", [True, 1, "print", object(), b""])
def test_a_watcher_that_cannot_be_called_is_refused_before_anything_is_sent(front: Front, watcher: Any) -> None:
    requests = Requests()
    zk = front.client(front.proxy(front.server(), tap=requests).hosts)
    calls = [
        lambda: zk.get("/", watch=watcher), lambda: zk.exists("/", watcher), lambda: zk.get_children("/", watcher),
        lambda: zk.get_children("/", watch=watcher, include_data=True), lambda: zk.get_config(watcher),
        lambda: zk.add_watch("/", watcher), lambda: zk.add_watch("/", watcher, recursive=True),
        lambda: zk.remove_watches("/", watcher), lambda: GetData("/", watcher), lambda: Exists("/", watch=watcher),
        lambda: GetChildren("/", watcher), lambda: GetChildren2("/", watcher), lambda: GetConfig(watcher),
        lambda: RemoveWatches("/", 3, watcher),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(TypeError, match="a watcher must be callable, not"):
            call()
    assert requests.total == 0
    assert zk.exists("/") is not None


# --------------------------------------------------------------------------- compatible servers


@fault("X19")
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\5", b"something else altogether"])
def test_a_reply_whose_content_nobody_needs_may_have_any(front: Front, body: bytes) -> None:
    scripted = front.scripted()

    def answer(wire: Wire, xid: int, op: Any) -> bool:
        return not wire.send(framed(header(xid, 1) + body))

    zk = front.client(scripted.hosts, timeout=PATIENT)
    scripted.request = answer
    zk.add_watch("/a", print)
    assert zk.sync("/a") == "/a"
    zk.delete("/a")
    zk.remove_watches("/a")
    zk.add_auth("digest", "u:p")
    assert zk.connected and scripted.connections == 1
    scripted.request = None


# ------------------------------------------------------------------------- authentication wanted


@fault("X24")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "this client has neither"),
        ({"auth_data": [("digest", "u:p")]}, "this client has auth_data=, which is not enough"),
    ],
)
def test_a_server_that_wants_authentication(front: Front, options: Any, says: str) -> None:
    """One class for one code: in the call it answers, in those under way, and in all later ones."""
    scripted = front.scripted()
    zk = front.client(scripted.hosts, timeout=PATIENT, **options)
    scripted.request = lambda wire, xid, op: op.path is None or op.path == "/1" or not wire.send(
        framed(header(xid - 1, 1, -124)) if op.path == "/2" else b""
    )
    futures = front.submit(zk, [GetData(f"/{number}") for number in range(1, 4)])
    for future in futures:
        error = future.exception(10)
        assert type(error) is SessionClosedRequireSaslError and error.code == -124
        assert "sasl=" in str(error) and "enforce.auth.schemes" in str(error) and says in str(error)
    for call in (lambda: zk.get("/"), lambda: zk.create("/a"), lambda: zk.start()):
        with pytest.raises(SessionClosedRequireSaslError, match=says):
            call()
    scripted.request = None


# ------------------------------------------------------------------------------ the window


@fault("X10")
def test_recipes_adapt_to_a_small_bound_and_to_other_load(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=PATIENT, max_pending=20)
    zk.ensure_path("/win")
    names = [f"/win/{number:03}" for number in range(150)]
    for name in names:
        zk.create(name, name.encode())
    assert [data for data, _ in zk.get_many(names)] == [name.encode() for name in names]
    server.delay(0.05)
    load = front.submit(zk, [GetData("/win")] * 20)
    with pytest.raises(TooManyPendingError):
        front.submit(zk, [GetData("/win")])
    assert len(zk.get_many(names[:30])) == 30
    assert all(future.result(10) for future in load)
    server.delay(0.0)
    assert zk.delete("/win", recursive=True)
    assert zk.exists("/win") is None


# ------------------------------------------------------------------------------ the chroot


@fault("X23")
@pytest.mark.parametrize("chroot", ["/apps", "/apps/mine", "/a/b/c/d"])
@pytest.mark.parametrize("there", [0, 1])
def test_a_chroot_that_does_not_exist_is_made(front: Front, chroot: str, there: int) -> None:
    server = front.server()
    top = "/" + chroot.split("/")[1]
    with_chroot = [
        lambda zk: zk.ensure_path("/"), lambda zk: zk.ensure_path("/x/y"), lambda zk: zk.create("/x", makepath=True),
        lambda zk: zk.create("/x/y-", makepath=True, sequence=True, protect=True),
        lambda zk: front.registrar(front.disco(zk=zk), zkdisco.Service("/x", "api", b"1")).register(),
        lambda zk: front.disco(zk=zk).create_parent_nodes("/x/y"),
    ]  # fmt: skip
    plain = front.client(server.hosts, timeout=PATIENT)
    for call in with_chroot:
        if there:
            plain.create(top)
        zk = front.client(server.hosts + chroot, timeout=PATIENT)
        call(zk)
        assert plain.exists(chroot) is not None and zk.exists("/") is not None
        zk.close()
        plain.delete(top, recursive=True)


@fault("X23")
def test_a_chroot_below_what_may_not_be_written(front: Front) -> None:
    """Only the parent of what is missing must be writable; where it is not, the error says whose ACL it is."""
    server = front.server()
    plain = front.client(server.hosts, timeout=PATIENT)
    plain.create("/closed", acl=NO_CREATE)
    plain.set_acls("/", NO_CREATE)
    zk = front.client(server.hosts + "/closed/a/b", timeout=PATIENT)
    with pytest.raises(NoAuthError, match="the chroot '/closed/a/b' cannot be made: the ACL of '/closed' does not"):
        zk.ensure_path("/x")
    plain.set_acls("/closed", OPEN_ACL_UNSAFE)
    assert zk.ensure_path("/x") and plain.exists("/closed/a/b/x") is not None


@fault("X23")
def test_errors_about_a_missing_chroot_name_it(front: Front) -> None:
    zk = front.client(front.server().hosts + "/apps/mine")
    missing = "the chroot '/apps/mine' does not exist, ensure_path"
    for call in (lambda: zk.create("/a"), lambda: zk.get_children("/"), lambda: zk.set("/", b""), lambda: zk.get("/")):
        with pytest.raises(NoNodeError, match=missing):
            call()
    for call in (lambda: zk.get("/a/b"), lambda: zk.create("/a/b"), lambda: zk.delete("/a")):
        with pytest.raises(NoNodeError, match="no such node: '/a.*below the chroot '/apps/mine'"):
            call()
    transaction = zk.transaction()
    transaction.create("/a")
    with pytest.raises(NoNodeError, match=missing):
        transaction.commit()
    assert zk.exists("/a") is None


# ----------------------------------------------------------------------------- whose ACL it is


@fault("X29")
def test_no_auth_on_create_names_the_parent(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts)
    zk.create("/p", acl=[ACL(31 - 4 - 8, Id("world", "anyone"))])  # all but CREATE and DELETE
    creates = [
        lambda: zk.create("/p/a"), lambda: zk.create("/p/a-", sequence=True), lambda: zk.create("/p/a", ttl=5.0),
        lambda: zk.create("/p/a", container=True), lambda: zk.create("/p/a", include_data=True),
        lambda: zk.create("/p/a/b", makepath=True), lambda: zk.ensure_path("/p/a"), lambda: zk.multi([Create("/p/a")]),
    ]  # fmt: skip
    for call in creates:
        with pytest.raises(NoAuthError, match="the ACL of '/p' does not permit CREATE: '/p/a") as caught:
            call()
        assert caught.value.path in ("/p/a", "/p/a-") and not caught.value.maybe_applied
    below = front.client(server.hosts + "/p")
    with pytest.raises(NoAuthError, match="the ACL of '/' [(]the chroot '/p'[)] does not permit CREATE: '/a'"):
        below.create("/a")


# ------------------------------------------------------------------- verbs of several steps


def cut_off(server: Any, proxy: Any) -> None:
    """The next answer is lost, and nobody gets a session any more."""
    server.refuse_sessions()
    proxy.cut_after(0, "down")


@pytest.mark.slow
@fault("X31")
def test_a_protected_create_in_doubt_that_times_out(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk, plain = front.client(proxy.hosts, timeout=PATIENT), front.client(server.hosts, timeout=PATIENT)
    zk.create("/d")
    cut_off(server, proxy)
    with pytest.raises(OperationTimeoutError) as caught:
        zk.create("/d/n-", b"x", sequence=True, protect=True, timeout=1.0)
    error, (name,) = caught.value, plain.get_children("/d")
    prefix = name[:36]
    assert error.maybe_applied and [op.path for op in error.in_doubt] == [f"/d/{prefix}n-"] and error.applied == ()
    assert prefix in str(error) and "perhaps done" in str(error)


@pytest.mark.slow
@fault("X31")
def test_a_protected_create_in_doubt_whose_client_is_closed(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    zk, plain = front.client(proxy.hosts, timeout=PATIENT), front.client(server.hosts, timeout=PATIENT)
    zk.create("/d")
    cut_off(server, proxy)
    errors: List[ZookeeperError] = []

    def create() -> None:
        try:
            zk.create("/d/n", protect=True)
        except ZookeeperError as error:
            errors.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    until(lambda: plain.get_children("/d"))
    until(lambda: not zk.connected)
    zk.close()
    thread.join(10)
    assert [type(error) for error in errors] == [ConnectionClosedError]
    assert errors[0].maybe_applied and plain.get_children("/d")[0] in errors[0].in_doubt[0].path


@fault("X31")
def test_a_recursive_delete_that_stops_half_way(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=PATIENT)
    for number in range(5):
        zk.create(f"/d/a/{number}", makepath=True)
    server.answer(NoAuthError.code, Delete, "/d/a")
    with pytest.raises(NoAuthError) as caught:
        zk.delete("/d", recursive=True)
    error = caught.value
    assert error.maybe_applied and sorted(op.path for op in error.applied) == [f"/d/a/{number}" for number in range(5)]
    assert "done before: Delete('/d/a/" in str(error) and "and 2 more" in str(error) and error.path == "/d/a"
    assert error.in_doubt == () and zk.get_children("/d/a") == []


@fault("X31")
def test_a_create_that_fails_once_its_parents_are_made(front: Front) -> None:
    server = front.server()
    zk = front.client(server.hosts, timeout=PATIENT)
    server.answer(NoNodeError.code, Create, "/p/q/n")
    server.answer(NoAuthError.code, Create, "/p/q/n")
    with pytest.raises(NoAuthError, match="done before: Create[(]'/p'[)], Create[(]'/p/q'[)]") as caught:
        zk.create("/p/q/n", makepath=True)
    assert caught.value.maybe_applied and zk.get_children("/p") == ["q"]
    with pytest.raises(NoNodeError) as nothing:
        zk.delete("/none", recursive=True)
    assert not nothing.value.maybe_applied and "done" not in str(nothing.value)


@pytest.mark.slow
@fault("X31")
def test_what_is_still_queued_at_the_time_out_is_not_in_doubt(front: Front) -> None:
    """Reads went through, no write left the process."""
    server = front.server()
    proxy = front.proxy(server)
    zk = front.client(proxy.hosts, timeout=PATIENT)
    server.refuse_sessions()
    server.cut()
    until(lambda: not zk.connected)
    for call in (lambda: zk.ensure_path("/x/y", timeout=0.3), lambda: zk.create("/x", protect=True, timeout=0.3)):
        with pytest.raises(OperationTimeoutError) as caught:
            call()
        assert not caught.value.maybe_applied and caught.value.in_doubt == ()
