"""The fault catalogue and the tests that name its rows, held to each other."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from tests.kit.catalogue import LEFT_OUT, ROWS, fault

pytestmark = pytest.mark.once


def tags() -> Iterator[Tuple[str, str]]:
    """Row and test of each `@fault(...)` in the suite; a test's name must be there for pytest to find."""
    for file in sorted(Path(__file__).parents[1].rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "fault":
                    assert node.name.startswith("test_"), f"{file.name}: {node.name} is no test"
                    for argument in decorator.args:
                        assert isinstance(argument, ast.Constant), f"{file.name}: {node.name}: name rows literally"
                        yield argument.value, f"{file.name}::{node.name}"


@pytest.mark.long
def test_every_row_has_a_test_or_a_reason() -> None:
    covered = {row for row, _ in tags()}
    assert not sorted(set(ROWS) - covered - set(LEFT_OUT)), "rows without a test or a reason"
    assert not sorted(covered & set(LEFT_OUT)), "left out, and tested"
    assert set(LEFT_OUT) <= set(ROWS)


def test_what_is_left_out_needs_more_than_a_process() -> None:
    """A scripted server, a proxy, the embedded server, a virtual clock: what these can show is shown."""
    assert not [row for row in LEFT_OUT if set(ROWS[row].means) & set("SFPE")]


def test_the_catalogue_is_whole() -> None:
    assert len(ROWS) == 233
    assert all(set(row.means) <= set("SFPEZU-") and row.means for row in ROWS.values())


def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(ValueError, match="X99"):
        fault("X99")
    with pytest.raises(ValueError, match="no such"):
        fault()
