"""What both fronts share: listeners and their identity, the state and the clock, what start() says when it fails."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List

import pytest

from tests.kit.addresses import useless
from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, until
from tests.kit.fronts import real as real_client
from tests.kit.harness import pki
from zkwire import config
from zkwire.embedded import EmbeddedServer
from zkwire.errors import OperationTimeoutError
from zkwire.values import KazooState, KeeperState

ROOT = Path(__file__).resolve().parents[2]
CONNECTED, SUSPENDED, LOST = KazooState.CONNECTED, KazooState.SUSPENDED, KazooState.LOST


# -------------------------------------------------------------------------- listeners


@dataclasses.dataclass
class Unhashable:
    """Equal to each other, and without a hash."""

    log: Log

    def __call__(self, state: str) -> None:
        self.log((id(self), state))


class Touchy:
    """Neither to be compared nor to be hashed."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __hash__(self) -> int:
        raise RuntimeError("hashed")

    def __call__(self, state: str) -> None:
        self.log((id(self), state))

    def method(self, state: str) -> None:
        self.log((id(self), state))


@fault("X03")
@pytest.mark.parametrize("kind", [Unhashable, Touchy])
def test_listeners_are_known_by_their_identity(kind: Any, front: Front) -> None:
    log = Log()
    zk = front.new(front.server().hosts, timeout=3.0)
    one, equal, gone = kind(log), kind(log), kind(log)
    for listener in (one, equal, gone, one):
        zk.add_listener(listener)
    zk.remove_listener(gone)
    zk.start()
    log.wait(2)
    zk.close()
    log.wait(4)
    assert sorted(log.seen) == sorted((id(each), state) for each in (one, equal) for state in (CONNECTED, LOST))


@fault("X03")
def test_a_bound_method_is_the_same_each_time_it_is_named(front: Front) -> None:
    log = Log()
    zk = front.new(front.server().hosts, timeout=3.0)
    one, other, seen = Touchy(log), Touchy(log), []  # type: ignore[var-annotated]
    for _ in range(2):
        zk.add_listener(one.method)
        zk.add_listener(other.method)
        zk.add_listener(seen.append)
    zk.remove_listener(other.method)
    zk.start()
    until(lambda: seen)
    zk.close()
    log.wait(2)
    assert log.seen == [(id(one), CONNECTED), (id(one), LOST)]
    assert seen == [CONNECTED, LOST]


@fault("X03")
def test_a_listener_that_returns_true_is_removed_and_no_other(front: Front) -> None:
    log = Log()
    zk = front.new(front.server().hosts, timeout=3.0)
    zk.add_listener(lambda state: log(("once", state)) or True)  # type: ignore[func-returns-value]
    zk.add_listener(Touchy(log))
    zk.start()
    log.wait(2)
    zk.close()
    log.wait(3)
    assert [state for who, state in log.seen if who == "once"] == [CONNECTED]


# ------------------------------------------------------------------ state and the clock


@fault("X32")
def test_the_state_is_compared_with_the_clock(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the first thing a process asks that was stopped for longer than its lease."""
    zk = front.client(front.server().hosts, timeout=6.0)
    assert (zk.state, zk.client_state, zk.connected) == (CONNECTED, KeeperState.CONNECTED, True)
    now = config.now
    monkeypatch.setattr(config, "now", lambda: now() + 7.0)
    assert (zk.state, zk.client_state, zk.connected) == (SUSPENDED, KeeperState.CONNECTING, False)
    assert "CONNECTING" in repr(real_client(zk))
    monkeypatch.setattr(config, "now", now)
    assert zk.connected and zk.exists("/")


SCRIPT = """
import asyncio, sys, time
from zkwire import AsyncZooKeeper, ZooKeeper
async def main(front, hosts):
    zk = (ZooKeeper if front == "threads" else AsyncZooKeeper)(hosts, timeout=1.0)
    started = zk.start()
    if started is not None:
        await started
    last, up = time.monotonic(), False
    while True:
        now = time.monotonic()
        state = zk.state
        if not up:
            up = True
            print("up", flush=True)
        if now - last > 1.5:
            print(state, flush=True)
            return
        last = now
        await asyncio.sleep(0.001)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no SIGSTOP")
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
@fault("X32")
def test_a_process_that_was_stopped_does_not_call_itself_connected(kind: str) -> None:
    with EmbeddedServer() as server:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, kind, server.hosts], env=env, stdout=subprocess.PIPE, text=True
        ) as process:  # fmt: skip
            try:
                assert process.stdout is not None and process.stdout.readline() == "up\n"
                process.send_signal(signal.SIGSTOP)
                server.stop()  # or it might be connected again before it asks
                time.sleep(2.0)  # the fault itself
                process.send_signal(signal.SIGCONT)
                assert process.stdout.readline().strip() in (SUSPENDED, LOST)
            finally:
                process.kill()


# --------------------------------------------------------------------- what start() says


def said(zk: Any, timeout: float = 0.6) -> str:
    with pytest.raises(OperationTimeoutError) as failed:
        zk.start(timeout=timeout)
    return str(failed.value)


@pytest.mark.long
@fault("X24")
def test_a_server_that_accepts_and_hangs_up(front: Front) -> None:
    """One that is starting, has too many connections of this address, or a proxy without a server: all look alike."""
    with useless("rude") as one:
        text = said(front.new(f"127.0.0.1:{one.port}", timeout=3.0))
    for cause in ("within 0.6 s", f"127.0.0.1:{one.port}", "starting", "quorum", "maxClientCnxns", "proxy", "TLS port"):
        assert cause in text, f"{cause!r} is missing in {text!r}"
    assert "hosts= names this server only" in text


@pytest.mark.long
@fault("X24")
def test_the_remedy_fits_what_the_client_has(front: Front) -> None:
    with useless("rude") as one, useless("rude") as other:
        text = said(front.new(f"127.0.0.1:{one.port},127.0.0.1:{other.port}", timeout=3.0))
        assert "maxClientCnxns" in text and "hosts=" not in text, "it has several servers"
        text = said(front.new(f"127.0.0.1:{one.port}", timeout=3.0, ssl_context=pki.client_context()), 0.6)
        assert "TLS" in text and "this is a TLS port" not in text, "it has TLS"


@pytest.mark.long
@fault("X24")
def test_a_server_that_says_nothing(front: Front) -> None:
    with useless("silent") as one:
        text = said(front.new(f"127.0.0.1:{one.port}", timeout=9.0), 0.3)
    assert f"127.0.0.1:{one.port} has not answered yet" in text


@fault("X24")
def test_a_server_that_is_not_there(front: Front) -> None:
    with useless("dead") as one:
        text = said(front.new(f"127.0.0.1:{one.port}", timeout=3.0), 0.3)
    assert "refused" in text and f"127.0.0.1:{one.port}" in text


# ------------------------------------------------------------------------ arguments


def test_the_logger_is_the_one_that_was_given(front: Front) -> None:
    records: List[str] = []
    logger = logging.Logger("of the user", logging.DEBUG)
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    zk = front.client(front.server().hosts, logger=logger)
    zk.close()
    assert any(line.startswith("= connecting to") for line in records)
    assert any(line.startswith("= CONNECTED") for line in records)
