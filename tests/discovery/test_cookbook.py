"""The examples of docs/discovery.md, run as they stand there, against an embedded server in the place of 127.0.0.1:2181."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from zkdisco import values
from zkwire import ZooKeeper, errors
from zkwire.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "discovery.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
#: What gunicorn does with its configuration.
GUNICORN = """
class Worker: pass
worker = Worker()
post_fork(None, worker)
worker_exit(None, worker)
"""


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs_and_leaves_nothing_behind(number: int) -> None:
    with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
        code = BLOCKS[number].replace("127.0.0.1:2181", server.hosts) + (GUNICORN if "post_fork" in BLOCKS[number] else "")
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False, cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")
        assert zk.exists("/services/api") is None or zk.get_children("/services/api") == []


def test_the_errors_it_names_are_there() -> None:
    named = set(re.findall(r"`(\w+Error|ConnectionLoss)`", TEXT))
    assert len(named) > 8
    assert not [name for name in named if not hasattr(values, name) and not hasattr(errors, name)]
