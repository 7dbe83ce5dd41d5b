"""`Registrar(client, service, gate=...)`, on both fronts: somebody else looks at the tree while the gate turns."""

from __future__ import annotations

import threading
from typing import Any, List

import pytest

from tests.kit.fronts import Front, Log, real, until
from zkdisco import ClientClosedError, GateShutError, NotRegisteredError, Service
from zkdisco.health import Gate, Prober
from zkwire import ZooKeeper
from zkwire.errors import OperationTimeoutError

SERVICE = Service("/svc", "api", b"10.0.0.1:80")


def listed(zk: ZooKeeper, service: Service = SERVICE) -> List[str]:
    return zk.get_children(service.directory) if zk.exists(service.directory) else []


def test_the_node_is_there_while_the_gate_is_open(front: Front) -> None:
    server = front.server()
    with ZooKeeper(server.hosts) as zk:
        client, gate, heard = front.disco(server.hosts), Gate(1, 2), Log()
        registrar = front.registrar(client, SERVICE, gate=gate)
        registrar.observe(heard)
        registrar.start()
        until(lambda: "no check has passed yet" in str(registrar.error))
        assert isinstance(registrar.error, GateShutError) and listed(zk) == [] and registrar.node is None
        for turn in range(3):
            gate.passed(0.0)
            until(lambda: listed(zk))
            until(lambda: registrar.report().ok)
            gate.failed("refused", 0.0)
            assert len(listed(zk)) == 1 and registrar.report().ok, "one failure is none"
            gate.failed(f"refused {turn}", 0.0)
            until(lambda: not listed(zk))
            until(lambda: registrar.node is None)
            report = registrar.report()
            assert not report.ok and str(report.error) == f"refused {turn}" and report.error.__class__ is GateShutError
            assert client.report().registrations == (report,) and f"refused {turn}" in str(report)
        heard.until(lambda seen: str(seen[-1].error) == "refused 2" and seen[-1].node is None)


def test_register_waits_for_the_gate(front: Front) -> None:
    server = front.server()
    client, gate = front.disco(server.hosts), Gate(1, 1)
    registrar = front.registrar(client, SERVICE, gate=gate)
    with ZooKeeper(server.hosts) as zk:
        with pytest.raises(OperationTimeoutError, match="no check has passed yet"):
            registrar.register(timeout=0.2)
        gate.failed("127.0.0.1:80: Connection refused", 0.0)
        with pytest.raises(OperationTimeoutError, match="Connection refused"):
            registrar.register(timeout=0.2)
        timer = threading.Timer(0.2, gate.passed, (0.0,))
        timer.start()
        node = registrar.register()
        timer.join()
        assert listed(zk) == [node.rpartition("/")[2]]
        gate.pause("maintenance", 0.0)
        until(lambda: not listed(zk))
        registrar.deregister()
        gate.resume(0.0)
        assert registrar.error is None and not registrar.report().ok
        with pytest.raises(NotRegisteredError):
            registrar.deregister()
        assert listed(zk) == []


def test_a_gate_that_turned_before_there_was_a_client_or_a_wish(front: Front) -> None:
    server = front.server()
    gate = Gate(1, 1)
    client = front.disco(server.hosts)
    registrar = front.registrar(client, SERVICE, gate=gate)
    gate.passed(0.0)
    with ZooKeeper(server.hosts) as zk:
        assert registrar.register() and len(listed(zk)) == 1
        registrar.deregister()
        gate.failed("x", 0.0)
        gate.passed(0.0)
        assert registrar.register() and len(listed(zk)) == 1


def test_the_gate_works_on_when_nobody_holds_the_registrar_and_keeps_no_client_alive(front: Front) -> None:
    server = front.server()
    client, gate = front.disco(server.hosts), Gate(1, 1, begin_open=True)
    front.registrar(client, SERVICE, gate=gate).start()
    with ZooKeeper(server.hosts) as zk:
        until(lambda: listed(zk))
        gate.failed("x", 0.0)
        until(lambda: not listed(zk))
        gate.passed(0.0)
        until(lambda: listed(zk))
        client.stop()
        until(lambda: not listed(zk))
        gate.failed("x", 0.0)  # nobody is there to be told
        gate.passed(0.0)
        with pytest.raises(ClientClosedError):
            client.report()
        assert listed(zk) == []


def test_one_gate_for_several_registrars(front: Front) -> None:
    server = front.server()
    client, gate = front.disco(server.hosts), Gate(1, 1)
    services = [Service("/svc", name, b"x") for name in ("a", "b", "c")]
    for service in services:
        front.registrar(client, service, gate=gate).start()
    with ZooKeeper(server.hosts) as zk:
        gate.passed(0.0)
        until(lambda: all(len(listed(zk, service)) == 1 for service in services))
        gate.failed("x", 0.0)
        until(lambda: not any(listed(zk, service) for service in services))


def test_an_identity_comes_back_to_its_own_name(front: Front) -> None:
    server = front.server()
    client, gate = front.disco(server.hosts), Gate(1, 1, begin_open=True)
    registrar = front.registrar(client, SERVICE, identity="host-1", gate=gate)
    with ZooKeeper(server.hosts) as zk:
        assert registrar.register() == "/svc/api/host-1"
        gate.failed("x", 0.0)
        until(lambda: not listed(zk))
        zk.create("/svc/api/host-1", b"another's", ephemeral=True)
        gate.passed(0.0)
        until(lambda: "host-1" in str(registrar.error))
        assert zk.get("/svc/api/host-1")[0] == b"another's"
        zk.delete("/svc/api/host-1")
        until(lambda: registrar.report().ok)
        assert zk.get("/svc/api/host-1")[0] == b"10.0.0.1:80"


def test_it_shuts_in_an_outage_and_what_is_left_goes_at_once_afterwards(front: Front) -> None:
    server = front.server()
    client, gate = front.disco(server.hosts, session_timeout=20.0), Gate(1, 1, begin_open=True)
    registrar = front.registrar(client, SERVICE, gate=gate)
    registrar.register()
    server.stop()
    until(lambda: real(client).zk.state != "CONNECTED")
    gate.failed("refused", 0.0)
    until(lambda: str(registrar.error) == "refused")
    server.start()
    with ZooKeeper(server.hosts) as zk:
        until(lambda: not listed(zk))
        gate.passed(0.0)
        until(lambda: listed(zk) and registrar.report().ok)


@pytest.mark.parametrize("gate", ["open", 1, object()])
def test_what_is_no_gate(front: Front, gate: Any) -> None:
    client = front.disco(front.server().hosts)
    with pytest.raises(TypeError, match="gate="):
        front.registrar(client, SERVICE, gate=gate)


@pytest.fixture(params=["server34", "server393"])
def hosts(request: Any) -> str:
    found: str = request.getfixturevalue(request.param).hosts
    return found


def test_a_check_decides_on_a_real_server(hosts: str, front: Front, unique: str) -> None:
    service, well = Service(f"/{unique}", "api", b"10.0.0.1:80"), threading.Event()

    def check(seconds: float) -> None:
        if not well.is_set():
            raise ValueError("not yet")

    gate = Gate(2, 2)
    prober = Prober(check, gate, interval=0.05, timeout=5.0)
    with ZooKeeper(hosts) as zk:
        client = front.disco(hosts)
        registrar = front.registrar(client, service, gate=gate)
        registrar.start()
        prober.start()
        try:
            until(lambda: "not yet" in str(registrar.error))
            for _ in range(3):
                assert listed(zk, service) == []
                well.set()
                until(lambda: len(listed(zk, service)) == 1)
                well.clear()
                until(lambda: not listed(zk, service))
        finally:
            prober.stop()


def test_a_gate_that_turns_before_the_event_loop_has_the_client() -> None:
    import asyncio

    from zkdisco import aio
    from zkwire.embedded import EmbeddedServer

    async def main(hosts: str) -> str:
        gate = Gate(1, 1)
        client = aio.Client(hosts)
        registrar = aio.Registrar(client, SERVICE, gate=gate)
        await asyncio.to_thread(gate.passed, 0.0)
        async with client:
            return await registrar.register()

    with EmbeddedServer() as server:
        assert asyncio.run(main(server.hosts)).startswith("/svc/api/_c_")
