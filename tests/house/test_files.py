"""What is in the repository: the fixed top level, text, and no file that a clone should not have to carry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

ROOT = Path(__file__).parents[2]
TOP = frozenset((
    ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "SECURITY.md",
    "docs", "pyproject.toml", "testdata", "tests", "zkdisco", "zkwire",
))  # fmt: skip
#: Bytes.
LARGEST = 100_000


@pytest.fixture(scope="module")
def tracked() -> List[Path]:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no checkout, or there is no git to ask what belongs to it")
    said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in said.split("\0") if name and (ROOT / name).exists()]


def test_the_top_level_is_the_one_that_was_agreed(tracked: List[Path]) -> None:
    assert {path.parts[0] for path in tracked} <= TOP


def test_every_file_is_text_and_of_a_size_to_read(tracked: List[Path]) -> None:
    for path in tracked:
        content = (ROOT / path).read_bytes()
        assert len(content) < LARGEST, path
        assert b"\0" not in content, f"{path} is not text"
