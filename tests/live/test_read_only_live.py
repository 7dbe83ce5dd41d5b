"""Without a quorum, the embedded server says what real servers of its version say. What 3.5.9, 3.6.2 and 3.7.1 said is
recorded in tests/embedded/test_read_only_versions.py."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from tests.kit.catalogue import fault
from tests.tools.differential_read_only import Place, differences, embedded, interview

#: With and without local sessions; 3.4 has none.
WITHOUT = {"localSessionsEnabled": None, "localSessionsUpgradingEnabled": None}


@fault("X26")
@pytest.mark.watchdog(120)
@pytest.mark.parametrize("version, local", [("3.4", True), ("3.8", True), ("3.8", False), ("3.9", True), ("3.9", False)])
def test_without_a_quorum_equal_to_a_real_server(version: str, local: bool, ensemble: Callable[..., Any]) -> None:
    members = ensemble(3, version, readonly=True, cfg={} if local else WITHOUT)
    survivor, *others = members

    def lose() -> None:
        for server in others:
            server.kill()
        survivor.wait_mode("read-only", timeout=20)

    def find() -> None:
        survivor.suspend()  # it must not lead: what it did alone would be true then
        for server in others:
            server.start(wait=False)
        for server in others:
            server.wait_ready()
        survivor.resume()
        survivor.wait_ready()

    real = interview(Place((survivor.host, survivor.port), lose, find))
    assert len(real) > 20 and differences(real, embedded(version, local)) == []
