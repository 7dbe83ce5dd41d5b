"""The embedded server says what real servers say: a few hundred random scripts, over all versions and Pythons.

`python tests/tools/differential.py` runs as many as you like, and shrinks what differs.
"""

from __future__ import annotations

import re
from typing import Any, Callable

import pytest

from tests.conftest import chosen
from tests.tools.differences import Player, compare, shrink
from tests.tools.differential_scripts import Author
from tests.kit.harness.servers import four
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

pytestmark = pytest.mark.once  # of servers and schedules, not of the interpreter

#: `make differential` plays thousands.
SEEDS = range(30)
PROPERTIES = {"znode.container.checkIntervalMs": 10**9, "zookeeper.enforceQuota": "true"}


@pytest.mark.watchdog(120)
@pytest.mark.parametrize("version", chosen("3.4", "3.8", "3.9"))
def test_equal_to_a_real_server(version: str, own_server: Callable[..., Any]):
    real = own_server(version, extended=not version.startswith("3.4"), superpw="super", props=PROPERTIES)
    numbers = tuple(int(part) for part in real.version.split("."))[:2]
    with EmbeddedServer(version=version, super_password="super", reap_interval=1e9, enforce_quota=True) as embedded:
        players = {
            "real": Player(real.host, real.port, numbers),
            "embedded": Player("127.0.0.1", embedded.port, numbers),
        }
        for seed in SEEDS:
            script = Author(seed, numbers).script()
            difference = compare(players, script)
            assert difference is None, f"seed {seed}: {difference}\nshrunken: {shrink(players, script)}"


WORDS = ("ruok", "isro", "srvr", "stat", "cons", "wchs", "wchc", "wchp", "dump", "conf", "nope")


@pytest.mark.parametrize("version", chosen("3.4", "3.9"))
def test_four_letter_words_are_equal_but_for_figures(version: str, own_server: Callable[..., Any]):
    real = own_server(version)
    with EmbeddedServer(version=version) as embedded:
        said = []
        for server in (real, embedded):
            with ZooKeeper(server.hosts) as zk:
                zk.create("/e", ephemeral=True)
                zk.get("/e", watch=print)
                zk.get_children("/", watch=print)
                said.append({word: _shape(four("127.0.0.1", server.port, word)) for word in WORDS})
                said[-1].update(mntr=_names(server.port))
    real_figures, figures = (words.pop("mntr") for words in said)
    assert figures and not set(figures) - set(real_figures), "mntr has no figure that a real server does not have"
    assert said[0] == said[1]
    assert said[0]["wchp"] == ["\tHEX", "/e"] and not said[0]["nope"]


def _names(port: int) -> list[str]:
    return [line.split("\t")[0] for line in four("127.0.0.1", port, "mntr").splitlines()]


def _shape(text: str) -> list[str]:
    """The lines, sorted, without what differs: figures, the build, folders; how sessions are sorted by their end."""
    kinds = {r"0x[0-9a-f]+": "HEX", r"\d+\.\d+": "DECIMAL", r"\d+": "N"}
    lines = [line for line in text.splitlines() if line]
    for pattern, kind in kinds.items():
        lines = [re.sub(pattern, kind, line) for line in lines]
    unlike = re.compile(r"Zookeeper version: |data(Log)?Dir=|N expire at |Session Sets ")
    return sorted(line for line in lines if not unlike.match(line))


@pytest.mark.parametrize("version", chosen("3.4", "3.8", "3.9"))
def test_children_come_in_one_order(version: str, own_server: Callable[..., Any]):
    """While their number grows, and after it has shrunk: a table of Java keeps its size, and tells another order."""
    names = [f"n{i:010d}" for i in range(60)] + [f"{i:x}-api_\u00fc\u20ac" for i in range(60)] + ["b", "a"]
    heard = []
    with EmbeddedServer(version=version) as embedded:
        for server in (own_server(version), embedded):
            with ZooKeeper(server.hosts) as zk:
                zk.create("/o")
                for name in names:
                    zk.create(f"/o/{name}")
                    heard.append(zk.get_children("/o"))
                for name in names[5:]:
                    zk.delete(f"/o/{name}")
                heard += [zk.get_children("/o"), zk.get_children("/o", include_data=True)[0]]
    half = len(heard) // 2
    assert heard[:half] == heard[half:]
    assert heard[len(names) - 1] != names and heard[-1] != names[:5], "by its size the order of creation is unlikely"


def test_the_comparison_sees_what_differs_between_versions():
    with EmbeddedServer(version="3.8") as older, EmbeddedServer(version="3.9") as newer:
        players = {one.hosts: Player("127.0.0.1", one.port, (3, 8)) for one in (older, newer)}
        script = next(s for s in (Author(seed, (3, 8)).script() for seed in range(100)) if compare(players, s))
        shorter = shrink(players, script)
        assert len(shorter) <= len(script)
        difference = compare(players, shorter)
    assert difference is not None and difference.startswith("step ")
