"""The main job on every interpreter of this machine, and in every way to run one: `make matrix`.

    python -m tests.tools.matrix [--seconds 5] [--only WORD] [--interpreters WORD] [--write] [--fetch]

Each row is run by each interpreter that is found, in a process of its own, against the in-memory server: no Java is needed.
What PYTHONS names, as paths or versions, is taken too. With `--fetch`, `uv` installs what is missing first: it must be on
PATH. With `--write` the table is put into the README. The exit status is 1 if a row has failed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from tests.tools.matrix import table
from tests.tools.matrix.interpreters import Interpreter, found
from tests.tools.matrix.rows import ROOT, ROWS, Outcome, Row, Run, take
from zkwire.testing.certificate import Certificate

#: How many rows are taken at a time.
AT_ONCE = 4
#: What `--fetch` asks for: the oldest and the newest of each kind.
FETCHED = ("3.9", "3.14", "3.14t", "pypy3.11")


def certificate(folder: Path) -> Optional[str]:
    """A certificate for the TLS of the rows; None where there is no `openssl`."""
    try:
        return str(Certificate(folder).path)
    except FileNotFoundError:
        print("no TLS: there is no openssl to make a certificate with")
        return None


def fetch() -> None:
    """Have `uv` install interpreters into its own folder, where they are found."""
    if shutil.which("uv") is None:
        raise SystemExit("--fetch (FETCH=1) needs uv, which is not on PATH")
    for version in FETCHED:
        if subprocess.run(["uv", "python", "install", version], check=False).returncode:
            print(f"not to be had: {version}")


def fill(rows: Sequence[Row], interpreters: Sequence[Interpreter], seconds: float, thorough: bool) -> table.Results:
    """Take all rows on all interpreters, and print what becomes of each.

    Some are taken at the same time, since mostly they wait; those that give a figure have the machine for themselves.
    """
    with tempfile.TemporaryDirectory() as home:
        made = certificate(Path(home))

        def cell(row: Row, interpreter: Interpreter) -> Outcome:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                outcome = take(row, Run(interpreter, Path(folder), seconds, thorough, made))
            took = f"{interpreter.name}: {row.name}: {outcome.shown} ({time.monotonic() - began:.1f} s)"
            print(took if outcome.passed else f"{took}\n{outcome.output}", flush=True)
            return outcome

        results: Dict[str, Dict[str, Outcome]] = {row.name: {} for row in rows}
        for together in (True, False):
            cells = [(row, one) for row in rows for one in interpreters if (row.last == "passed") is together]
            with ThreadPoolExecutor(AT_ONCE if together else 1) as pool:
                for (row, one), outcome in zip(cells, pool.map(lambda both: cell(*both), cells)):
                    results[row.name][one.name] = outcome
    return results


def main(given: Optional[List[str]] = None) -> int:
    """The whole matrix; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.matrix")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each stress (default: 5)")
    parser.add_argument("--only", default="", help="rows whose names have this in them")
    parser.add_argument("--interpreters", default="", help="interpreters whose names have this in them")
    parser.add_argument("--write", action="store_true", help="put the table into the README")
    parser.add_argument("--fetch", action="store_true", help="have uv install what is missing")
    options = parser.parse_args(given)
    if options.fetch:
        fetch()
    interpreters = [one for one in found() if options.interpreters in one.name]
    rows = [row for row in ROWS if options.only in row.name]
    if not interpreters or not rows:
        raise SystemExit("nothing to run")
    print("interpreters: " + ", ".join(f"{one.name} ({one.path})" for one in interpreters), flush=True)
    results = fill(rows, interpreters, options.seconds, True)
    text = table.text(results, interpreters, options.seconds)
    print(text)
    if options.write:
        table.write(ROOT / "README.md", text)
    failed = sum(not outcome.passed for cells in results.values() for outcome in cells.values())
    print(f"{sum(map(len, results.values()))} cells, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
