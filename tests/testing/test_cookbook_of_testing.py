"""docs/testing.md: each example runs as it stands there, and comes to the result that stands below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

import pytest

from tests.kit.pytest_runs import run_pytest
from zkwire.embedded import EmbeddedServer
from zkwire.testing import ANSWER_LOST, TROUBLES, fixtures

pytestmark = pytest.mark.once  # of troubles and servers, not of the interpreter
ROOT = Path(__file__).parents[2]
COOKBOOK = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
SERVICE: Dict[str, str] = dict(re.findall(r"```python\n# (my_service\.py)\n(.*?)```", COOKBOOK, re.DOTALL))
EXAMPLES = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```\n\n```text\n(.*?)\n```", COOKBOOK, re.DOTALL)


def test_every_example_says_what_it_comes_to() -> None:
    assert len(SERVICE) + len(EXAMPLES) == COOKBOOK.count("```python\n") == 10


@pytest.mark.slow
@pytest.mark.watchdog(100)
@pytest.mark.parametrize(("name", "code", "summary"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_an_example_comes_to_what_it_says(name: str, code: str, summary: str, tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {**SERVICE, name: code})
    assert run.summary == summary, run.output


def _rows(title: str) -> str:
    return re.split(r"^## ", COOKBOOK.partition(f"\n## {title}\n")[2], flags=re.MULTILINE)[0]


def test_the_table_of_troubles_is_complete() -> None:
    names = re.findall(r"^\| ([^|`]+?) \| `", _rows("The hostile day"), re.MULTILINE)
    assert names == [trouble.name for trouble in (*TROUBLES, ANSWER_LOST)]


def test_the_tables_have_every_method_of_the_server_and_every_fixture() -> None:
    public = {name for name in vars(EmbeddedServer) if not name.startswith("_")}
    named = set(re.findall(r"`(\w+)", _rows("Switches") + _rows("Looking into the server"))) | {"hosts", "port", "zxid"}
    assert public - named == set()
    there = {name for name in vars(fixtures) if name.startswith("zk_") or name == "trouble"}
    assert there == set(re.findall(r"^\| `(\w+)` \|", _rows("Fixtures"), re.MULTILINE))


def test_every_heading_it_points_to_is_there() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^## (.*)$", COOKBOOK, re.M)}
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", COOKBOOK))
    assert anchors <= headings and len(anchors) > 5
