"""What `make test` does: environments, servers, then the whole suite on each Python, at the same time.

Mostly the tests wait, for real servers and real time-outs, so two Pythons take little longer than one. Each has its
own servers and its own cache; the lines of each begin with its version.

The Pythons are those of PYTHONS (versions or paths), else 3.9 and 3.13 where present, else the newest
found: the oldest supported and the newest are where differences show. ARGS go to pytest.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import venvs  # noqa: E402

PREFERRED = ("3.9", "3.13")
#: Real servers, real sockets and real time on a shared machine: so many tests may need a second chance. Loudly.
UNSTEADY = 3
CACHE = venvs.PROJECT / ".pytest_cache"


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


def run(*command: str, env: dict[str, str] | None = None) -> int:
    """Run a command in the project's folder, saying so."""
    print("+", *command, flush=True)
    return subprocess.run(command, cwd=venvs.PROJECT, env=env, check=False).returncode


def pytest(version: str, together: bool, *arguments: str) -> int:
    """The suite on one Python; `together` with others, so that each line says whose it is."""
    command = [str(venvs.FOLDER / version / "bin/python"), "-m", "pytest", "-o", f"cache_dir={CACHE / version}"]
    command += [*shlex.split(os.environ.get("ARGS", "")), *arguments]
    # Where an environment forbids bytecode, hundreds of processes would compile everything anew.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(CACHE / version / "bytecode")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if not together:
        return run(*command, env=env)
    label = f"{version:<4} | "
    env["COLUMNS"] = str(shutil.get_terminal_size().columns - len(label))
    command += ["--color=yes"] if sys.stdout.isatty() else []
    sys.stdout.write(label + shlex.join(["+", *command]) + "\n")
    with subprocess.Popen(
        command, cwd=venvs.PROJECT, env=env, text=True, encoding="utf-8", errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            sys.stdout.write(label + line)  # in one piece, so that lines of several do not mix
            sys.stdout.flush()
    return process.returncode


def suite(version: str, together: bool) -> tuple[int, float]:
    """The exit status of the whole suite, and the seconds it took."""
    started = time.monotonic()
    last_failed(version).unlink(missing_ok=True)
    return pytest(version, together), time.monotonic() - started


def last_failed(version: str) -> Path:
    """Where pytest says what has failed."""
    return CACHE / version / "v" / "cache" / "lastfailed"


def second_chance(version: str, code: int) -> int:
    """The exit status after up to `UNSTEADY` tests that failed were run again, and were named if they passed."""
    if code != 1 or not last_failed(version).exists():
        return code
    failed = sorted(json.loads(last_failed(version).read_text(encoding="utf-8")))
    if not 0 < len(failed) <= UNSTEADY:
        return code
    print(f"Python {version}: {len(failed)} failed; once more, alone: " + ", ".join(failed), flush=True)
    code = pytest(version, False, "--last-failed", "--last-failed-no-failures", "none")
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
    together = len(chosen) > 1 and (os.cpu_count() or 1) > 1
    with ThreadPoolExecutor(len(chosen) if together else 1) as pool:
        results = dict(zip(chosen, pool.map(lambda version: suite(version, together), chosen)))
    codes = {version: second_chance(version, code) for version, (code, _) in results.items()}
    for version, code in codes.items():
        outcome = "passed" if code == 0 else f"FAILED (exit {code})"
        print(f"Python {version}: {outcome} in {results[version][1]:.0f} s")
    return 1 if any(codes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
