"""The configuration of the ensemble, whatever the chroot: read, watched, and followed."""

from __future__ import annotations

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log
from zkwire.ensemble import CONFIG_NODE, parse_config
from zkwire.errors import NoWatcherError


@fault("X28")
def test_the_watch_on_the_configuration_can_be_removed_below_a_chroot(front: Front) -> None:
    server, heard = front.server(), Log()
    front.client(server.hosts).ensure_path("/app")
    zk = front.client(server.hosts + "/app")
    data, _ = zk.get_config(watch=heard)
    assert parse_config(data).members == ()
    with pytest.raises(NoWatcherError):
        zk.remove_watches("/elsewhere", heard)
    zk.remove_watches(CONFIG_NODE, heard)
    assert heard.wait(1)[0].type == "DATA_WATCH_REMOVED" and heard.wait(1)[0].path == CONFIG_NODE
    with pytest.raises(NoWatcherError):
        zk.remove_watches(CONFIG_NODE, heard)


@fault("X28")
def test_a_node_of_that_name_below_the_chroot_comes_first(front: Front) -> None:
    server, mine, real = front.server(), Log(), Log()
    front.client(server.hosts).ensure_path("/app")
    zk = front.client(server.hosts + "/app")
    zk.create(CONFIG_NODE, b"mine", makepath=True)
    zk.get(CONFIG_NODE, watch=mine)
    zk.get_config(watch=real)
    zk.remove_watches(CONFIG_NODE)
    assert mine.wait(1)[0].type == "DATA_WATCH_REMOVED"
    assert real.seen == []
    zk.remove_watches(CONFIG_NODE)
    assert real.wait(1)[0].type == "DATA_WATCH_REMOVED"
