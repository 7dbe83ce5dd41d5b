"""What `make test` does: environments, servers, then the whole suite on each Python.

The Pythons are those of PYTHONS (versions or paths), else 3.9 and 3.13 where present, else the newest
found: the oldest supported and the newest are where differences show. ARGS go to pytest.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import venvs  # noqa: E402

PREFERRED = ("3.9", "3.13")
#: Real servers, real sockets and real time on a shared machine: so many tests may need a second chance. Loudly.
UNSTEADY = 3
FAILED = venvs.PROJECT / ".pytest_cache" / "v" / "cache" / "lastfailed"


def pythons() -> dict[str, str]:
    """Version to path of each Python the suite is to run on."""
    wanted = os.environ.get("PYTHONS", "").split()
    if not wanted:
        found = {version: venvs.find(version) for version in PREFERRED}
        present = {version: path for version, path in found.items() if path}
        if present:
            return present
        newest = venvs.newest()
        return {venvs.version_of(newest): newest}
    chosen = {}
    for name in wanted:
        path = venvs.find(name) if re.fullmatch(r"3\.\d+", name) else name
        version = venvs.version_of(path) if path else ""
        if not path or not version:
            raise SystemExit(f"PYTHONS: {name} is not a Python that runs here and can make environments")
        chosen[version] = path
    return chosen


def run(python: str, *arguments: str) -> int:
    """Run a Python in the project's folder, saying so."""
    print("+", python, *arguments, flush=True)
    return subprocess.run([python, *arguments], cwd=venvs.PROJECT, check=False).returncode


def suite(python: str) -> int:
    """The whole suite; up to `UNSTEADY` tests that fail get a second chance, and are named if they take it."""
    arguments = shlex.split(os.environ.get("ARGS", ""))
    FAILED.unlink(missing_ok=True)
    code = run(python, "-m", "pytest", *arguments)
    if code != 1 or not FAILED.exists():
        return code
    failed = sorted(json.loads(FAILED.read_text(encoding="utf-8")))
    if not 0 < len(failed) <= UNSTEADY:
        return code
    print(f"{len(failed)} failed; once more, alone: " + ", ".join(failed), flush=True)
    code = run(python, "-m", "pytest", *arguments, "--last-failed", "--last-failed-no-failures", "none")
    if code == 0:
        for name in failed:
            print(f"UNSTEADY: {name} failed and then passed: a bug of the test, or a race", flush=True)
    return code


def main() -> int:
    chosen = pythons()
    print("Pythons: " + ", ".join(f"{version} ({path})" for version, path in chosen.items()), flush=True)
    try:
        for version, path in chosen.items():
            venvs.ensure(version, path, venvs.REQUIREMENTS["test"])
    except subprocess.CalledProcessError as error:
        print(f"cannot make a virtual environment: {shlex.join(error.cmd)} failed", file=sys.stderr)
        return 1
    # Not fatal: what does without a server is tested in any case, and the tests say what is missing.
    run(sys.executable, "-m", "tests.harness.packages")
    results = {}
    for version in chosen:
        started = time.monotonic()
        code = suite(str(venvs.FOLDER / version / "bin/python"))
        results[version] = (code, time.monotonic() - started)
    for version, (code, seconds) in results.items():
        print(f"Python {version}: {'passed' if code == 0 else f'FAILED (exit {code})'} in {seconds:.0f} s")
    return 1 if any(code for code, _ in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
