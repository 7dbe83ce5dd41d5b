"""docs/sidecar.md: each example runs as it stands there, and prints what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Iterator, List

import pytest

from tests.kit.children import ROOT
from zkdisco import plan
from zkwire.embedded import EmbeddedServer

TEXT = (ROOT / "docs" / "sidecar.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def hosts() -> Iterator[str]:
    with EmbeddedServer() as server:
        yield server.hosts


def shell(script: str) -> List[str]:
    """What a terminal shows of it, with random names left out."""
    shown = subprocess.run(["sh", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=25)
    return [re.sub(r"_c_[0-9a-f]{32}-[0-9]{10}", "_c_...", line) for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(CONSOLE)))
def test_a_command_shows_what_it_says(number: int, hosts: str) -> None:
    lines = CONSOLE[number].splitlines()
    script = "\n".join(line[2:] for line in lines if line.startswith("$ "))
    script = script.replace("python -m", f"{sys.executable} -m").replace("127.0.0.1:2181", hosts)
    assert shell(script) == [line for line in lines if not line.startswith("$ ")]


def test_the_program_prints_what_it_says(hosts: str) -> None:
    ((code, said),) = PYTHON
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("127.0.0.1:2181", hosts)], cwd=ROOT, text=True, capture_output=True, timeout=25
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, said, "")


def test_the_defaults_are_those_it_names() -> None:
    assert len(CONSOLE) == 2
    for option, value in (("interval", plan.INTERVAL), ("timeout", plan.TIMEOUT), ("rise", plan.RISE), ("fall", plan.FALL),
                          ("drain", plan.DRAIN), ("kill-after", plan.KILL_AFTER)):  # fmt: skip
        found = re.search(rf"`--{option}`[^`(]*\(([0-9]+)\)", TEXT)
        assert found is not None and float(found.group(1)) == value, option
