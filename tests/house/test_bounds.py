"""A test that gives something a few seconds compares a clock with a bound: it is marked so, or is more patient."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List, Set, Tuple, Union

import pytest

from tests.conftest import CLOCKS

pytestmark = pytest.mark.once

TESTS = Path(__file__).parents[1]
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
#: What waits, and whether its bound may be its first argument.
WAITS = {"until": False, "wait_for": False, "result": True, "exception": True, "join": True, "get": False, "wait": False}
#: Seconds that a busy machine keeps to, and those that nothing good is expected of.
PATIENT, NEVER = 5.0, 0.1


def names(node: ast.AST) -> Set[str]:
    return {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node)}


def hopeful(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in it, but for those that are to fail: `with pytest.raises(...)`."""
    if isinstance(node, (ast.With, ast.AsyncWith)) and any({"raises", "suppress"} & names(item) for item in node.items):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from hopeful(child)


def bound(call: ast.Call) -> float:
    """The seconds that a call waits at most, where they are written there; otherwise more than matters."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if name not in WAITS:
        return PATIENT
    given = [word.value for word in call.keywords if word.arg == "timeout"] or call.args[not WAITS[name] :][-1:]
    value = given[0].value if given and isinstance(given[0], ast.Constant) else None
    return float(value) if isinstance(value, (int, float)) and name != "wait" else PATIENT


def hasty(source: str) -> List[Tuple[str, int]]:
    """Test and line of each wait for less than `PATIENT` in a test that is not marked as `timed`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            calls = [(node.name, call.lineno) for call in hopeful(node) if NEVER < bound(call) < PATIENT]
            timed = calls and (CLOCKS & names(node) or any("timed" in names(one) for one in node.decorator_list))
            found += [] if timed else calls
    return found


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.name)
def test_who_is_hasty_says_so(path: Path) -> None:
    assert hasty(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("line, found", [
    ("until(lambda: x, 2)", True), ("until(lambda: x)", False), ("until(lambda: x, 9.0)", False),
    ("future.result(0.5)", True), ("zk.get('/a', timeout=3)", True), ("thread.join(9)", False), ("x.get('/a')", False),
    ("with pytest.raises(OSError): future.result(0.5)", False), ("until(lambda: clock.monotonic(), 2)", False),
])  # fmt: skip
def test_it_is_seen(line: str, found: bool) -> None:
    assert bool(hasty(f"def test_x():\n    {line}\n")) is found
