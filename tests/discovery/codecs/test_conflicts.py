"""Whose readers a record of ours would break: a pure function, and the warning that `register` gives."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import pytest

from tests.discovery.codecs.nodes import EVERY, FORMATS, nodes
from zkdisco.codecs import NAMES
from zkdisco.codecs.conflicts import READERS, conflicts


def there(format: str) -> List[Tuple[str, bytes]]:
    return [(one.name, one.data) for one in nodes(format)]


def test_what_a_plain_record_breaks() -> None:
    (found,) = conflicts(there("curator"))
    assert (found.format, len(found.nodes)) == ("curator", len(nodes("curator"))) and "fails as a whole" in found.effect
    assert str(found).startswith(f"{found.nodes[0]!r} and {len(found.nodes) - 1} more: in the format 'curator'; Curator's query")
    assert conflicts(there("curator")[:1], "gokit")[0].nodes == (nodes("curator")[0].name,)


@pytest.mark.parametrize("format", FORMATS)
def test_our_own_format_breaks_nothing(format: str) -> None:
    assert conflicts(there(format), format) == []


@pytest.mark.parametrize(
    ("theirs", "ours", "effect"),
    [
        ("gokit", None, None), ("gokit", "curator", "address"), ("serverset", "text", None), ("serverset", "curator", "Prometheus"),
        ("nerve", "dubbo", None), ("nerve", "serverset", "synapse"), ("spring", "curator", "as a whole"), ("dubbo", "text", None),
        ("curator", "spring", "as a whole"), ("curator", "nerve", "without a name"), ("kafka", "text", "controller"), ("solr", None, "live node"),
        ("hbase", None, "master"), ("dubbo-app", "spring", "Dubbo"),
    ],
)  # fmt: skip
def test_each_reader(theirs: str, ours: Optional[str], effect: Optional[str]) -> None:
    found = conflicts(there(theirs), ours)
    assert [one.format for one in found] == ([theirs] if effect else [])
    assert effect is None or effect in found[0].effect


def test_mixed_and_unknown_nodes() -> None:
    every: List[Any] = [(one.name, one.data) for one in EVERY]
    assert [one.format for one in conflicts([*every, ("x", b"?"), ("y", b"\xff")])] == sorted(set(READERS) - {"gokit", "serverset", "nerve"})
    assert conflicts([]) == conflicts([("x", b"?")]) == []
    assert set(READERS) <= set(NAMES)
