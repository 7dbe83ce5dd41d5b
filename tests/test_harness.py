"""The harness keeps its word: servers start, die and come back; the proxy breaks what it says it breaks."""

from __future__ import annotations

from typing import Callable

from tests.harness.servers import Ensemble, Server


def test_shared_server_serves(server):
    assert server.mode() in ("standalone", "leader", "follower")


def test_server_is_killed_and_comes_back_on_its_port(own_server: Callable[..., Server]):
    server = own_server()
    port = server.port
    server.kill()
    assert server.mode() == ""
    server.start()
    assert (server.mode(), server.port) == ("standalone", port)


def test_ensemble_elects_a_leader_again(ensemble: Callable[..., Ensemble]):
    members = ensemble(3)
    first = members.leader()
    first.kill()
    members.wait_ready()
    assert members.leader() is not first
