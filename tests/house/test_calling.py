"""docs/calling.md: each example runs as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zkdisco import balance
from zkwire.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "calling.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == TEXT.count("```python\n") == 4


def run(code: str, hosts: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("127.0.0.1:2181", hosts)],
        capture_output=True, text=True, timeout=25, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_it_says(number: int) -> None:
    """On the embedded server, on which nothing but this test depends."""
    code, said = EXAMPLES[number]
    with EmbeddedServer() as server:
        assert run(code, server.hosts) == said


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_it_on_a_real_server(number: int, server38: Any) -> None:
    code, said = EXAMPLES[number]
    again = code.replace("/services", f"/calling-{number}")
    assert run(again, server38.hosts) == said


def test_every_balancer_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `(\w+)", TEXT, re.MULTILINE)) - {"zkdisco"}
    made = {name for name in balance.__all__ if isinstance(getattr(balance, name), type) and issubclass(getattr(balance, name), balance.Balancer)}
    assert rows == made - {"Balancer"}


def test_every_heading_it_points_to_is_there() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^## (.*)$", TEXT, re.M)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) == headings
