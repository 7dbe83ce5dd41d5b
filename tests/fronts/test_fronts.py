"""Both fronts through one door, and the oracle behind it."""

from __future__ import annotations

import pytest

from tests.kit.fronts import Front, Log, settled
from zkwire.errors import NoNodeError
from zkwire.ops import GetData


def test_one_scenario_runs_on_both_fronts(front: Front) -> None:
    server = front.server()
    zk, log, states = front.client(server.hosts), Log(), Log()
    zk.add_listener(states)
    zk.create("/a", b"1", ephemeral=True)
    assert zk.get("/a", watch=log)[0] == b"1"
    transaction = zk.transaction()
    transaction.set_data("/a", b"2")
    transaction.create("/b")
    assert transaction.commit()[1] == "/b"
    assert log.wait(1)[0].type == "CHANGED"
    with pytest.raises(NoNodeError):
        zk.get("/none")
    assert zk.submit(GetData("/a")).result(5)[0] == b"2"
    assert isinstance(zk.submit(GetData("/none")).exception(5), NoNodeError)
    proxy = front.proxy(server)
    other = front.client(proxy.hosts)
    disco = front.disco(zk=other)
    assert disco.get_entries("/b")[0] == []
    zk.close()
    assert states.seen == ["LOST"]


def test_what_is_only_logged_is_a_complaint(front: Front) -> None:
    zk = front.client(front.server().hosts)
    zk.create("/a")
    zk.get("/a", watch=lambda event: 1 / 0)
    zk.set("/a", b"")
    zk.sync("/")
    settled(zk)
    assert len(front.complaints) == 1
    front.complaints.clear()
