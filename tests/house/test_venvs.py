"""Which Pythons the tests are run on: what is found on PATH, and what does not count."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.tools import venvs


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, and no pyenv."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(venvs.sys, "base_prefix", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def python(path: Path, says: str) -> str:
    """A program that answers for a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="ascii")
    path.chmod(0o755)
    return str(path)


def test_the_newest_free_threaded_one_is_found_and_is_no_ordinary_one(path: Path) -> None:
    assert venvs.free_threaded() is None
    older = python(path / "python3.13t", "3.13t")
    newer = python(path / "versions" / "3.14.2t" / "bin" / "python", "3.14t")
    python(path / "python3.15t", "")  # does not run here, as a shim of a version that is not selected
    assert venvs.free_threaded() == newer == venvs.find("3.14t")
    assert venvs.find("3.13t") == older
    assert venvs.find("3.14") is None
    assert venvs.newest() == sys.executable


def test_a_python_with_the_lock_is_not_taken_for_a_free_threaded_one(path: Path) -> None:
    python(path / "python3.14t", "3.14")
    plain = python(path / "versions" / "3.14.2" / "bin" / "python", "3.14")
    assert venvs.free_threaded() is None and venvs.find("3.14") == plain
