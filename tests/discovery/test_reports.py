"""What can be asked of a client, and what a registrar's observers hear, on both fronts."""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from typing import Any, List, Optional, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, real, until
from zkdisco import ClientClosedError, ClientReport, InstancerReport, RegistrationReport, Service
from zkwire import ZooKeeper, make_digest_acl
from zkwire.errors import AuthFailedError, ConnectionClosedError, ConnectionLoss, NoAuthError

SERVICE = Service("/svc", "api", b"10.0.0.1:80")
DIRECTORY = "/svc/api"
SECRET = [make_digest_acl("ops", "secret", all=True)]


def observed(front: Front, client: Any, service: Service = SERVICE) -> Tuple[Any, Log]:
    registrar, heard = front.registrar(client, service), Log()
    registrar.observe(heard)
    return registrar, heard


def stands(heard: Log) -> List[Tuple[Optional[str], str]]:
    """What was heard: nodes, and the kinds of trouble."""
    return [(report.node, type(report.error).__name__ if report.error else "") for report in heard.seen]


# -------------------------------------------------------------------------------- report


def test_a_report_says_how_all_of_a_client_stands(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts, session_timeout=10.0, credentials=("ann", "s3cret"))
    began = time.time()
    registrar, instancer = front.registrar(client, SERVICE), front.instancer(client, DIRECTORY)
    idle = front.registrar(client, Service("/svc", "idle"))
    registrar.register()
    instancer.wait(1)
    report = client.report()
    (registration,), (followed,) = report.registrations, report.instancers
    assert isinstance(report, ClientReport) and report.ok and report.state == "CONNECTED" and report.error is None
    assert report.session_id == real(client).zk.client_id[0]
    assert registration == registrar.report() and (registration.node, registration.error) == (registrar.node, None)
    assert registration.directory == DIRECTORY and began - 0.01 <= registration.since <= time.time()
    assert followed == InstancerReport(DIRECTORY, 1, 0.0, None) == instancer.report()
    assert idle.report()[:3] == ("/svc/idle", None, None) and not idle.report().ok, "it is none of the client's yet"
    lines = str(report).splitlines()
    assert lines[0] == f"CONNECTED, session {report.session_id:#x}"
    assert lines[1].startswith(f"/svc/api: registered as {registrar.node} since 20") and lines[1].endswith("+00:00")
    assert lines[2:] == ["/svc/api: 1 instance"]
    assert json.loads(json.dumps(report.as_dict())) == {
        "ok": True, "state": "CONNECTED", "session_id": f"{report.session_id:#x}", "error": None,
        "registrations": [{"directory": DIRECTORY, "node": registrar.node, "error": None, "since": lines[1][-29:]}],
        "instancers": [{"directory": DIRECTORY, "size": 1, "age": 0.0, "error": None}],
    }  # fmt: skip
    assert "s3cret" not in repr(report) + str(report) + json.dumps(report.as_dict())
    registrar.deregister()
    instancer.stop()
    assert client.report()[3:] == ((), ())


@pytest.mark.long
def test_a_report_of_trouble_says_which_and_for_how_long(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts, session_timeout=10.0)
    registrar, instancer = front.registrar(client, SERVICE), front.instancer(client, DIRECTORY)
    node = registrar.register()
    instancer.wait(1)
    server.stop()
    until(lambda: not client.report().ok and client.report().instancers[0].age and client.report().registrations[0].error)
    report = client.report()
    assert report.state == "SUSPENDED" and report.registrations[0].node == node
    assert isinstance(report.registrations[0].error, ConnectionLoss) and not report.registrations[0].ok
    assert report.instancers[0].size == 1 and not report.instancers[0].ok
    assert 0 < report.instancers[0].age <= 10 and " s old: ConnectionLoss: no connection to ZooKeeper" in str(report)
    server.restart()
    until(lambda: client.report().ok)


def test_a_report_is_made_without_a_connection_and_without_waiting(front: Front) -> None:
    client = front.disco("127.0.0.1:1", session_timeout=10.0, wait=0)
    registrar, instancer = front.registrar(client, SERVICE), front.instancer(client, DIRECTORY, wait=0)
    registrar.start()
    until(lambda: client.report().registrations)
    report = client.report()
    assert not report.ok and report.session_id is None and report.registrations[0].node is None
    assert str(report).startswith(f"{report.state}, session none\n") and report.state != "CONNECTED"
    assert not instancer.report().ok and "/svc/api: not registered since 20" in str(report)


def test_after_the_stop_there_is_nothing_to_report(front: Front) -> None:
    client = front.disco(front.server().hosts)
    registrar, instancer = front.registrar(client, SERVICE), front.instancer(client, DIRECTORY)
    registrar.register()
    client.stop()
    with pytest.raises(ClientClosedError):
        client.report()
    assert isinstance(registrar.report().error, ClientClosedError) and registrar.report().node is None
    assert isinstance(instancer.report().error, ClientClosedError) and not instancer.report().ok


def test_whatever_an_error_or_a_path_holds_a_report_has_one_line_for_each() -> None:
    error = NoAuthError("two\nlines \x1b[31m", "/a")
    registration = RegistrationReport("/svc/\u2028api", None, error, 0.0)
    report = ClientReport("LOST", -2, error, (registration,), (InstancerReport("/a\nb", 2, 1.25, error),))
    lines = str(report).split("\n")
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert lines[0] == "LOST, session 0xfffffffffffffffe: NoAuthError: two\\nlines \\x1b[31m"
    assert lines[2].startswith("/a\\nb: 2 instances, 1.2 s old: NoAuthError")
    assert json.loads(json.dumps(report.as_dict()))["registrations"][0]["since"] == "1970-01-01T00:00:00.000+00:00"


# ------------------------------------------------------------------------------- observe


def test_an_observer_of_a_registrar_hears_how_it_stands_and_each_change(front: Front) -> None:
    server = front.server()
    client = front.disco(server.hosts, session_timeout=10.0)
    registrar, heard = observed(front, client)
    heard.wait()
    assert stands(heard) == [(None, "")]
    first = registrar.register()
    heard.until(lambda seen: seen[-1].node == first)
    with ZooKeeper(server.hosts) as zk:
        zk.delete(first)
    heard.until(lambda seen: seen[-1].node not in (None, first))
    registrar.deregister()
    heard.until(lambda seen: seen[-1].node is None)
    assert {kind for _, kind in stands(heard)} == {""} and isinstance(heard.seen[-1], RegistrationReport)
    sinces = [report.since for report in heard.seen]
    assert sinces == sorted(sinces) and heard.seen[-1].since > heard.seen[0].since
    count = len(heard.seen)
    registrar.unobserve(heard)
    registrar.register()
    later = Log()
    registrar.observe(later)
    later.until(lambda seen: seen[-1].node == registrar.node)
    assert later.seen[0].node == registrar.node, "how it stands now, not how it stood when somebody last asked"
    assert len(heard.seen) == count


def test_a_registrar_that_nobody_observes_is_not_kept(front: Front) -> None:
    client = front.disco(front.server().hosts, session_timeout=10.0)
    registrar, heard = observed(front, client)
    heard.wait()
    kept = weakref.ref(real(registrar))
    registrar.unobserve(heard)
    del registrar
    until(lambda: gc.collect() >= 0 and kept() is None)


@pytest.mark.long
def test_an_observer_hears_of_a_lost_connection_and_of_an_expiry(front: Front) -> None:
    server = front.server()
    proxy = front.proxy(server)
    client = front.disco(proxy.hosts, session_timeout=10.0)
    registrar, heard = observed(front, client)
    node = registrar.register()
    heard.until(lambda seen: seen[-1].node == node)
    proxy.refuse()
    proxy.cut()
    heard.until(lambda seen: seen[-1].node == node and isinstance(seen[-1].error, ConnectionLoss))
    proxy.heal()
    heard.until(lambda seen: seen[-1].node == node and seen[-1].error is None)
    server.expire(real(client).zk.client_id[0])
    heard.until(lambda seen: seen[-1].node not in (None, node) and seen[-1].error is None)
    assert heard.seen[-1].node == registrar.node


@pytest.mark.long
def test_an_observer_hears_why_it_is_not_registered(front: Front) -> None:
    """And that it is, once it may be."""
    server = front.server()
    with ZooKeeper(server.hosts, auth_data=[("digest", "ops:secret")]) as zk:
        zk.ensure_path("/svc")
        zk.create(DIRECTORY, b"", acl=SECRET)
        client = front.disco(server.hosts, session_timeout=10.0)
        registrar, heard = observed(front, client)
        registrar.start()
        heard.until(lambda seen: isinstance(seen[-1].error, NoAuthError) and seen[-1].node is None)
        zk.set_acls(DIRECTORY, [*SECRET, make_digest_acl("x", "y", all=True)])
        zk.delete(DIRECTORY)
        heard.until(lambda seen: seen[-1].node is not None and seen[-1].error is None, 20.0)


@pytest.mark.long
@fault("Y04")
@pytest.mark.parametrize("registered", [True, False])
def test_an_observer_hears_the_final_cause(front: Front, registered: bool) -> None:
    server = front.server(sasl={"ann": "old"}, sasl_required=True)
    client = front.disco(server.hosts, sasl=("ann", "old"), session_timeout=1.0, connect_timeout=1.0)
    registrar, heard = observed(front, client)
    if registered:
        registrar.register()
    server.stop()
    front.server(port=server.port, sasl={"ann": "new"}, sasl_required=True)
    heard.until(lambda seen: isinstance(seen[-1].error, AuthFailedError), 15.0)
    assert heard.seen[-1].node is None
    assert isinstance(registrar.report().error, AuthFailedError) and isinstance(client.report().error, AuthFailedError)


@fault("Y04")
def test_an_observer_hears_that_the_zookeeper_below_was_closed(front: Front) -> None:
    zk = front.client(front.server().hosts, timeout=4.0)
    client = front.disco(zk=zk)
    registrar, heard = observed(front, client)
    registrar.register()
    zk.close()
    heard.until(lambda seen: isinstance(seen[-1].error, ConnectionClosedError) and seen[-1].node is None)


@fault("Y11")
def test_after_the_stop_an_observer_hears_nothing(front: Front) -> None:
    client = front.disco(front.server().hosts, session_timeout=10.0)
    registrar, heard = observed(front, client)
    registrar.register()
    heard.until(lambda seen: seen[-1].node is not None)
    client.stop()
    assert all(not isinstance(report.error, ClientClosedError) for report in heard.seen)
    with pytest.raises(ClientClosedError):
        registrar.observe(Log())
    registrar.unobserve(heard)


@fault("Y09")
def test_an_observer_that_blocks_or_raises_holds_up_nobody(front: Front) -> None:
    client = front.disco(front.server().hosts, session_timeout=10.0)
    registrar, heard = observed(front, client)
    release = threading.Event()
    seen: List[Any] = []

    def bad(report: Any) -> None:
        seen.append(report)
        if not front.is_asyncio:
            release.wait(20)
        raise RuntimeError("bad observer")

    registrar.observe(bad)
    try:
        for _ in range(3):
            registrar.register()
            heard.until(lambda seen: seen[-1].node == registrar.node)
            registrar.deregister()
            heard.until(lambda seen: seen[-1].node is None)
    finally:
        release.set()
    until(lambda: seen[-1].node is None and len(seen) > 1 and len(front.complaints) == len(seen))
    assert front.complaints and all("bad" in one for one in front.complaints)
    front.complaints.clear()
    for nobody in (None, 7, object()):
        with pytest.raises(TypeError):
            registrar.observe(nobody)
