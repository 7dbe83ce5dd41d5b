"""docs/discovery.md: each example runs as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import zkdisco
import zkwire.errors

ROOT = Path(__file__).parents[2]
COOKBOOK = (ROOT / "docs" / "discovery.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", COOKBOOK, re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == COOKBOOK.count("```python\n") == 11


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_it_says(number: int, server38: Any) -> None:
    code, said = EXAMPLES[number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("127.0.0.1:2181", server38.hosts)],
        capture_output=True, text=True, timeout=25, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == said and done.stderr == ""


def test_every_error_it_names_exists() -> None:
    rows = COOKBOOK.partition("## What each error means")[2].partition("## What an outage")[0]
    named = set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE))
    assert len(named) == 14
    for name in named:
        assert issubclass(getattr(zkdisco, name, None) or getattr(zkwire.errors, name), Exception)


def test_every_heading_it_points_to_is_there() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^## (.*)$", COOKBOOK, re.M)}
    for anchor in re.findall(r"\]\(#([\w-]+)\)", COOKBOOK):
        assert anchor in headings, anchor
