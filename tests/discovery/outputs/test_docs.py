"""docs/rendering.md: each example runs as it stands there, in the order it stands there, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zkdisco.outputs import NAMES
from zkdisco.outputs.template import OF_ALL, OF_ONE
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedServer

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "rendering.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```(sh|python)\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_says_what_it_prints() -> None:
    assert len(EXAMPLES) == PAGE.count("```sh\n") + PAGE.count("```python\n") == 6


@pytest.mark.slow
def test_the_examples_print_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    environment: Any = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with EmbeddedServer() as server:
        with ZooKeeper(server.hosts) as zk:
            for number in (1, 2, 3):
                zk.create(f"/services/api/web-{number}", f"10.0.2.{number}:80".encode(), makepath=True)
            for name, data in (("a; server evil 6.6.6.6:666", b"10.0.2.1:80"), ("c", b"\x1b[2J"),
                               ("b", b"10.0.2.2:80\n    server evil 6.6.6.6:666")):  # fmt: skip
                zk.create(f"/services/hostile/{name}", data, makepath=True)
        environment["ZKDISCO_SERVERS"] = server.hosts
        for language, code, said in EXAMPLES:
            command = ["sh", "-e", "-c"] if language == "sh" else [sys.executable, "-W", "error", "-c"]
            done = subprocess.run(
                [*command, code.replace("127.0.0.1:2181", server.hosts)],
                cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=25, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "") and done.stdout == said


@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_every_format(name: str) -> None:
    assert f"\n| `{name}` | " in PAGE


def test_all_that_templates_know_is_there() -> None:
    assert [name for name in sorted(OF_ALL | OF_ONE) if f"`${name}`" not in PAGE] == []


def test_every_heading_it_points_to_is_there() -> None:
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in re.findall(r"^## (.*)$", PAGE, re.M)}
    anchors = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert len(anchors) >= 6 and set(anchors) <= headings


def test_the_transcript_has_no_failed_request_where_none_may_be() -> None:
    lines = re.findall(r"^(?:haproxy|nginx) +(.+?) +([0-9]+) answered, ([0-9]+) failed", PAGE, re.MULTILINE)
    assert len(lines) == 20 and all(int(answered) >= 300 for _, answered, _ in lines)
    assert [what for what, _, failed in lines if int(failed) and "killed" not in what] == []
