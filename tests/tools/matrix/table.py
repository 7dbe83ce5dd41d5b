"""The table of the matrix, as the README has it between two marks.

Owns its text. Must not know what was run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List, Mapping, Sequence

from tests.tools.matrix.interpreters import Interpreter
from tests.tools.matrix.rows import Outcome

Results = Mapping[str, Mapping[str, Outcome]]
BEGIN, END = "<!-- written by make matrix -->", "<!-- end of what make matrix has written -->"


def text(results: Results, interpreters: Sequence[Interpreter], seconds: float) -> str:
    """A line for each row, a column for each interpreter, and below it what is not on this machine."""
    names = [one.name for one in interpreters]
    lines = [["", *names], ["---"] * (len(names) + 1)]
    lines += [[row, *(cells[name].shown for name in names)] for row, cells in results.items()]
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", _below(interpreters, seconds)])


def _below(interpreters: Sequence[Interpreter], seconds: float) -> str:
    """What the figures are, and which kinds of interpreter there were none of."""
    missing: List[str] = []
    if not any(one.free_threaded for one in interpreters):
        missing.append("a free-threaded CPython")
    if not any(one.pypy for one in interpreters):
        missing.append("PyPy")
    said = f"t: without the interpreter lock. Rounds: how many were done in {seconds:g} s, with nothing found wrong."
    return said + (f" Not on this machine: {', '.join(missing)}." if missing else "")


def write(readme: Path, table: str) -> None:
    """Put the table into the README. Raises `ValueError` where the marks are missing."""
    before = readme.read_text(encoding="utf-8")
    after, count = re.subn(f"{BEGIN}\n.*?{END}", lambda match: f"{BEGIN}\n{table}\n{END}", before, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{readme} has {count} places for the table")
    readme.write_text(after, encoding="utf-8")


def read(readme: Path) -> Dict[str, List[str]]:
    """The table in the README: the name of each row, and its cells; the first row names the interpreters."""
    found = re.search(f"{BEGIN}\n(.*?)\n{END}", readme.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise ValueError(f"{readme} has no table")
    rows: Dict[str, List[str]] = {}
    for line in found.group(1).splitlines():
        if line.startswith("|") and not line.startswith("| ---"):
            name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows[name] = cells
    return rows
