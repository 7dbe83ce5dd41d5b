"""One name for several servers, some of which are no use: both fronts find the others, in time, and spread over them."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any, List

import pytest

from tests.kit.addresses import several, useless
from tests.kit.catalogue import fault
from tests.kit.fronts import SLACK, Front, Log, settled, told, until
from tests.kit.harness import pki
from zkwire.errors import OperationTimeoutError
from zkwire.io.dialer import STAGGER
from zkwire.values import KazooState, KeeperState

NAME = "several.invalid"
HOSTS = f"{NAME}:1"
#: By the manner of the first address: the session is there so many seconds after the first attempt (timeout 3 s).
WITHIN = {"dead": 0.3, "deaf": 0.3, "rude": 0.3, "silent": 1.5}


@pytest.mark.slow
@fault("X15")
@pytest.mark.parametrize("manner", WITHIN)
def test_the_next_address_is_tried(manner: str, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    with useless(manner) as first:
        several(monkeypatch, NAME, first, front.server())
        zk = front.new(HOSTS, timeout=3.0, randomize_hosts=False)
        began = time.monotonic()
        zk.start()
        assert time.monotonic() - began < WITHIN[manner] + SLACK
        assert zk.create("/a") == "/a"
        assert first.connections <= 1


@pytest.mark.slow
@fault("X15")
@pytest.mark.parametrize("manner", WITHIN)
def test_the_next_address_is_tried_behind_tls(manner: str, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    with useless(manner) as first:
        several(monkeypatch, "localhost", first, front.relay(front.server()))
        context = pki.client_context()
        zk = front.new("localhost:1", timeout=3.0, randomize_hosts=False, ssl_context=context)
        began = time.monotonic()
        zk.start()
        assert time.monotonic() - began < WITHIN[manner] + SLACK
        assert zk.create("/a") == "/a"


@fault("X15")
@pytest.mark.parametrize("manner", ["dead", "deaf", "rude"])
def test_the_next_address_is_tried_after_set_hosts(manner: str, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    server = front.server()
    zk = front.client(front.proxy(server).hosts, timeout=3.0, randomize_hosts=False)
    states = told(zk)
    with useless(manner) as first:
        several(monkeypatch, NAME, first, server)
        began = time.monotonic()
        zk.set_hosts(HOSTS)
        states.until(lambda seen: seen[-1:] == [KazooState.CONNECTED])
        assert time.monotonic() - began < WITHIN[manner] + SLACK
        settled(zk)
        assert zk.exists("/") and KazooState.LOST not in states.seen


@fault("X15")
@pytest.mark.parametrize("manner", ["dead", "deaf", "rude"])
def test_the_next_address_is_tried_by_the_read_write_probe(
    manner: str, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only server under its own name, and a name for the read-write ones, the first of which is no use."""
    alone, whole = front.server(), front.server()
    alone.go_read_only()
    with useless(manner) as first:
        several(monkeypatch, NAME, first, whole)
        zk = front.client(f"{alone.hosts},{HOSTS}", timeout=3.0, randomize_hosts=False, read_only=True)
        assert zk.client_state == KeeperState.CONNECTED_RO
        until(lambda: zk.client_state == KeeperState.CONNECTED)
        assert zk.create("/a") == "/a"
        assert front.client(whole.hosts).exists("/a")


@pytest.mark.long
@fault("X15")
def test_after_a_loss_another_address_is_tried_first(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    server = front.server()
    one, other = front.proxy(server), front.proxy(server)
    asked = several(monkeypatch, NAME, one, other)
    zk = front.client(HOSTS, timeout=3.0, randomize_hosts=False)
    states = told(zk)
    assert (one.connections, other.connections) == (1, 0)
    one.cut()
    states.until(lambda seen: seen[-1:] == [KazooState.CONNECTED])
    assert (one.connections, other.connections) == (1, 1)
    assert len(asked) == 2, "a name is looked up for each attempt"


@fault("X15")
def test_thirty_clients_spread_over_a_name(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some name services give all clients the same order."""
    server = front.server()
    proxies = [front.proxy(server) for _ in range(3)]
    several(monkeypatch, NAME, *proxies)
    for _ in range(30):
        front.client(HOSTS, timeout=6.0)
    counts = [proxy.connections for proxy in proxies]
    assert sum(counts) == 30 and min(counts) >= 1, counts  # at random, none is left out once in 60,000 runs


@pytest.mark.slow
@fault("X06")
def test_thirty_attempts_while_the_name_service_hangs_have_one_thread(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, asked, real = threading.Event(), Log(), socket.getaddrinfo

    def hang(host: Any, *args: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, *args, **options)
        asked(threading.current_thread())
        assert go.wait(20)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    failures: List[Any] = []
    try:
        zk = front.new(f"{HOSTS},127.0.0.1:1", timeout=3.0, connect_timeout=0.05)
        began = time.monotonic()
        with pytest.raises(OperationTimeoutError) as failed:
            zk.start(timeout=1.0)
        failures.append(failed.value)
        assert time.monotonic() - began < 1.5 + SLACK
        assert len(asked.seen) == 1
    finally:
        go.set()
    assert "name service" in str(failures[0]) or "refused" in str(failures[0]) or "time-out" in str(failures[0])
    assert STAGGER == 0.25, "what the bounds above go by"
