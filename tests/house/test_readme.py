"""The README's examples, run as they stand there, against a real server in the place of 127.0.0.1:2181."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n((?!# test_).*?)```", README, re.DOTALL)
TESTS = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number: int, server38: Any) -> None:
    code = BLOCKS[number].replace("127.0.0.1:2181", server38.hosts)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=25, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_examples_say_what_they_print(server38: Any) -> None:
    code = BLOCKS[1].replace("127.0.0.1:2181", server38.hosts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, check=True, cwd=ROOT)
    assert "9000\n-101 /app/none" in done.stdout
    assert "type='CHANGED'" in done.stdout


def test_the_example_of_tests_is_there() -> None:
    """It is run in tests/testing, on a service that comes through and on one that ignores troubles."""
    ((name, code),) = TESTS
    assert name == "test_my_service.py" and code.count("def test_") == 2


def test_vendoring_in_three_lines(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(mkdir -p app.*?)```", README, re.DOTALL)
    script = block.replace("cp -r zkwire zkdisco", f"cp -r {ROOT}/zkwire {ROOT}/zkdisco").replace("python ", f"{sys.executable} ")
    done = subprocess.run(["sh", "-e", "-c", script], capture_output=True, text=True, timeout=25, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_files_it_names_are_there() -> None:
    for name in re.findall(r"\]\((\w+(?:\.md)?)\)", README):
        assert (ROOT / name).is_file(), name
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    for package in ("zkwire", "zkdisco"):
        assert (ROOT / package / "py.typed").is_file()


def test_every_make_target_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
