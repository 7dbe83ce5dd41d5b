"""Runs of pytest in a process of their own, on test files as users write them.

Owns how such a run is started, and what is read of its output. Must not know what is tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Mapping

from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Run(NamedTuple):
    """What pytest has said: its last line, the ids that failed with the first line of the reason, all output."""

    summary: str
    failed: Dict[str, str]
    output: str


def run_pytest(folder: Path, files: Mapping[str, str], *arguments: str, timeout: float = 100.0, root: Path = ROOT) -> Run:
    """Write these files and run all tests among them; no installed plugin is loaded."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    names: List[str] = [name for name in files if name.startswith("test_")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "-W", "error", "-p", "no:cacheprovider", *arguments, *names],
        capture_output=True, text=True, timeout=timeout, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"},
    )  # fmt: skip
    output = done.stdout + done.stderr
    failed = dict(re.findall(r"^(?:FAILED|ERROR) \S+?::(.*?)(?: - (.*))?$", output, re.MULTILINE))
    summary = re.sub(r" in [\d.]+s.*", "", output.rstrip().splitlines()[-1]).strip("= ")
    return Run(summary, failed, output)
