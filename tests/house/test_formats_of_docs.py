"""docs/formats.md: each example prints what it says, and each cell of its table names a test that is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zkdisco.codecs import NAMES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```python\n") == 6


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_it_says(number: int, server38: Any) -> None:
    code, said = EXAMPLES[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("127.0.0.1:2181", server38.hosts)],
        capture_output=True, text=True, timeout=25, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == said and done.stderr == ""


def test_every_format_is_there_and_every_file_that_is_named() -> None:
    rows = PAGE.partition("## Which format")[2].partition("## The table")[0]
    assert re.findall(r'`"([a-z-]+)"`', rows) == list(NAMES)
    table = PAGE.partition("## The table")[2].partition("## Curator")[0]
    files = re.findall(r"`((?:tests|testdata)/[\w/.]+)`", table)
    assert len(files) > 10 and all((ROOT / name).exists() for name in files)
    for name in re.findall(r"`tests/tools/interop/(\w+)\.py`", table):
        assert name in (ROOT / "tests/tools/interop/__main__.py").read_text(encoding="utf-8")


def test_every_cell_says_by_what_it_is_shown() -> None:
    table = PAGE.partition("## The table")[2].partition("## Curator")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 11 and all(len(row) == 3 for row in rows)
    for _, read, written in rows:
        assert "`t" in read and re.search(r"`t|the same|not run|is not written", written), read


def test_every_heading_it_points_to_is_there() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^## (.*)$", PAGE, re.M)}
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert anchor in headings, anchor
