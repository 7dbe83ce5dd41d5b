"""Runs that share the test files: together they run every test, and none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from tests.tools.sharing import claimed

HERE = Path(__file__)
OTHER = HERE.with_name("__init__.py")


class Item:
    """A test of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path


def test_two_runs_have_every_test_between_them(tmp_path: Path) -> None:
    """Also where the tests of one file do not stand together, as pytest orders them by the servers that they use."""
    items: List[Any] = [Item(HERE), Item(OTHER), Item(HERE), Item(OTHER)]
    one, other = claimed(items, tmp_path), claimed(items, tmp_path)
    ran = [next(one), next(other), *one, *other]
    assert sorted(map(len, ran)) == [2, 2]
    assert {id(item) for group in ran for item in group} == set(map(id, items))
