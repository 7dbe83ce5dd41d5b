"""The record of what was found names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_the_record_names_tests_that_are_there() -> None:
    named = re.findall(r"`(test_\w+)(?:\.py|::(\w+))`", (TESTS / "FOUND.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, test in named:
        (path,) = TESTS.rglob(f"{file}.py")
        text = path.read_text(encoding="utf-8")
        assert f"def {test}(" in text if test else text, f"{file}::{test}"
