"""`list PATH`: the services below a path, as their users see them."""

from __future__ import annotations

import json
from typing import Any, Dict

import pytest

from tests.discovery.test_cli import done
from zkdisco import Event
from zkdisco.listing import as_json, lines
from zkwire import ZooKeeper

TREE = {"api": [b"10.0.0.1:80", b"10.0.0.2:80"], "b\u202eidi": [], "x y": [b"a\nb"]}


@pytest.fixture
def where(server393: Any, unique: str) -> Any:
    top = f"/{unique}"
    with ZooKeeper(server393.hosts) as zk:
        for service, instances in TREE.items():
            zk.create(f"{top}/{service}", makepath=True)
            for number, data in enumerate(instances):
                zk.create(f"{top}/{service}/n{number}", data, ephemeral=True)
        yield top, zk


def test_services_with_counts(server393: Any, where: Any) -> None:
    top, zk = where
    found = done("list", top, "--servers", server393.hosts)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == ["api           2", '"b\\u202eidi"  0', "x y           1"], "nothing escapes"
    found = done("list", top, "--tree", "--servers", server393.hosts)
    assert found.stdout.splitlines() == [
        f"{top}  3 services, 3 instances", "  api  2", "    10.0.0.1:80", "    10.0.0.2:80", '  "b\\u202eidi"  0', "  x y  1",
        '    "a\\nb"',
    ]  # fmt: skip
    found = done("list", top, "--json", "--servers", server393.hosts)
    told = json.loads(found.stdout)
    assert {service: one["instances"] for service, one in told["services"].items()} == {
        service: [data.decode() for data in instances] for service, instances in TREE.items()
    }
    assert told["error"] is None and told["path"] == top and found.stdout.count("\n") == 1
    found = done("list", f"{top}/api", "--servers", server393.hosts)
    assert f"{top}/api is a service" in found.stderr, "one level too low"
    found = done("list", f"{top}/none", "--servers", server393.hosts)
    assert (found.returncode, found.stdout) == (3, "") and f"there is no {top}/none" in found.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("/a", "--path", "/b"), ("/a", "--name", "b"), ("--path", "/a", "--tree"), ("a",), ("/a//b",)], ids=str
)
def test_arguments_that_cannot_be_right(arguments: Any) -> None:
    found = done("list", *arguments)
    assert found.returncode == 2 and found.stderr.startswith("usage:")


def test_words() -> None:
    assert list(lines("/s", {}, tree=False)) == [] and list(lines("/s", {}, tree=True)) == ["/s  0 services, 0 instances"]
    state: Dict[str, Event[str]] = {"a": Event(("1",), ValueError("bad"))}
    assert list(lines("/s", state, tree=True)) == ["/s  1 service, 1 instance", "  a  1", "    1"]
    told = json.loads(as_json("/s", state, OSError("trouble")))
    assert (told["error"], told["services"]) == ("trouble", {"a": {"instances": ["1"], "error": "bad"}})
