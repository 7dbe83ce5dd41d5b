"""Without a quorum: the embedded server says what real servers of its version say; and no client believes them.

What 3.5.9, 3.6.2 and 3.7.1 said is recorded in tests/embedded/test_read_only_versions.py.
"""

from __future__ import annotations

from typing import Any, Callable

import pytest

from tests.conftest import chosen
from tests.kit.catalogue import fault
from tests.kit.fronts import Log, until
from tests.kit.harness import ports
from tests.tools.differential_read_only import WITHOUT, certain, differences, embedded, real_one
from zkwire import ZooKeeper
from zkwire.values import KazooState, KeeperState

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

@fault("X26")
@pytest.mark.watchdog(120)
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("version", chosen("3.4", "3.8", "3.9"))
def test_without_a_quorum_equal_to_a_real_server(version: str, local: bool, ensemble: Callable[..., Any]) -> None:
    if version.startswith("3.4") and not local:
        pytest.skip("3.4 has no local sessions")
    members = ensemble(3, version, readonly=True, cfg={} if local else WITHOUT)
    real = real_one(list(members))
    assert len(real) > 20 and differences(certain(real), certain(embedded(version, local))) == []


@fault("X26")
@pytest.mark.watchdog(120)
def test_a_session_given_away_by_a_majority_that_its_server_cannot_reach(ensemble: Callable[..., Any]) -> None:
    """3.4.13: the survivor keeps a session that the others, which form a quorum without it, have given away."""
    survivor, *others = ensemble(3, "3.4", readonly=True)
    leased, told = [ports.lease() for _ in range(6)], Log()
    try:
        with ZooKeeper(survivor.hosts, timeout=8.0, read_only=True) as zk:
            zk.create("/mine", ephemeral=True)
            first = zk.client_id
            zk.add_listener(told)
            for server in others:
                server.kill()
            told.until(lambda seen: len(seen) >= 2, 20.0)
            assert told.seen == [KazooState.SUSPENDED, KazooState.CONNECTED]
            assert zk.client_state == KeeperState.CONNECTED_RO and zk.client_id == first, "3.4 resumes it"
            for server in others:  # a partition: the survivor cannot find them under these ports
                server.members = {f"server.{i + 1}": f"127.0.0.1:{leased[2 * i]}:{leased[2 * i + 1]}" for i in range(3)}
                server.start(wait=False)
            told.until(lambda seen: KazooState.LOST in seen, 20.0)
            for server in others:
                server.wait_ready()
            with ZooKeeper(others[0].hosts) as other:
                until(lambda: other.exists("/mine") is None, 20.0)
            told.until(lambda seen: seen[-1] == KazooState.CONNECTED, 20.0)
            assert zk.client_id != first
    finally:
        for port in leased:
            ports.release(port)
