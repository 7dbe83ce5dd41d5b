"""Prints which share of the cores' statements and branches the tests of each core run; fails where a core is below 98 %.

    python -m tests.tools.branches [--missing] [wire] [session] [embedded] [discovery]

Each core (tests/tools/cores.py) is measured by its own tests alone, those of `make check` and those that are `long`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, NamedTuple

from tests.tools.cores import CORES, Core, sources

LEAST = 98.0
#: As in `make check`, with what takes its time.
SELECTION = ("-q", "-p", "no:cacheprovider", "-m", "not live and not slow")


class Row(NamedTuple):
    """One file, or a whole core: how many statements and branches it has, how many were run, and where others are."""

    name: str
    statements: int
    statements_run: int
    branches: int
    branches_run: int
    missing: str = ""

    @property
    def share(self) -> float:
        """Per cent of statements and branches together, as coverage counts them."""
        return 100.0 * (self.statements_run + self.branches_run) / max(1, self.statements + self.branches)

    @property
    def branch_share(self) -> float:
        """Per cent of the branches."""
        return 100.0 * self.branches_run / self.branches if self.branches else 100.0


def measured(core: Core, report: Path) -> int:
    """Run the tests of a core; what they run is written to `report`. Returns pytest's exit status."""
    files, data = ",".join(map(str, sources(core))), f"--data-file={report.with_suffix('.data')}"
    coverage = [sys.executable, "-m", "coverage"]
    command = [*coverage, "run", "--branch", f"--include={files}", data, "-m", "pytest", *SELECTION, *core.tests]
    code = subprocess.run(command, check=False).returncode
    subprocess.run([*coverage, "json", "-q", data, "-o", str(report)], check=True)
    return code


def row(name: str, file: Dict[str, Any]) -> Row:
    """One file of coverage's report."""
    summary = file["summary"]
    missing = [*file["missing_lines"], *("->".join(map(str, branch)) for branch in file["missing_branches"])]
    return Row(
        name, summary["num_statements"], summary["covered_lines"], summary["num_branches"], summary["covered_branches"],
        " ".join(map(str, missing)),
    )  # fmt: skip


def rows(core: Core, report: Path) -> List[Row]:
    """One row for each file of a core, those with the most left out last; then one for all."""
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    found = sorted((row(name, file) for name, file in files.items()), key=lambda one: -one.share)
    total = [sum(one[i] for one in found) for i in range(1, 5)]  # type: ignore[misc]
    return [*found, Row(core.name.upper(), *total)]


def main(*options: str) -> int:
    """0 if the tests pass and each core, or each that is named, has enough."""
    failed = False
    table: List[Row] = []
    for core in [core for core in CORES if core.name in options] or CORES:
        with TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            failed |= measured(core, report) != 0
            table += rows(core, report)
    print("     all  branches")
    for one in table:
        low = one.name.isupper() and one.share < LEAST
        failed |= low
        where = f"  {one.missing}" if "--missing" in options else ""
        print(f"{one.share:6.1f} %  {one.branch_share:6.1f} %  {one.name}{'  TOO LOW' if low else ''}{where}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
