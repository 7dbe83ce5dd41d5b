"""What `make test` and `make check` do: environments, servers, then the suite on each Python, at the same time.

    python3 tests/tools/run_tests.py [--check]

Mostly the tests wait, for real servers and real time-outs, so each core has room for more than one run: those of one
Python share its test files (tests/tools/sharing.py). Each run has its own servers and its own cache, and begins its lines
with its name. The tests that compare a clock with a bound (marker `timed`) come last, when no servers are being started:
a bound that holds only where nothing else runs is no reason to loosen it. What shows something about servers, schedules or
tools rather than about the interpreter (marker `once`), and what is slow, runs on the newest of the Pythons alone: `make test
PYTHONS=3.9` runs all of it on that one.

The Pythons are those of PYTHONS (versions or paths), else 3.9 and 3.13 where present, else the newest found: the oldest
supported and the newest are where differences show. A free-threaded CPython is taken as well where there is one. With
--check it is the newest alone, and only tests without the markers `live`, `slow` and `long` (tests/conftest.py). ARGS go to pytest.
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
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Iterable, List, Sequence, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import venvs  # noqa: E402

PREFERRED = ("3.9", "3.13")
CACHE = venvs.PROJECT / ".pytest_cache"
RUNS_EACH_CORE = 2
CHECK = "not live and not slow and not long"
#: What one phase after the other runs (tests/tools/sharing.py); the second one on the newest Python only.
TIMED = "--timed=alone"
PHASES = ("--timed=left-out", TIMED)
#: pytest's exit status when a selection (ARGS) leaves nothing to run, as it may in one of the phases.
NOTHING = 5
#: Exit status, seconds, and the tests that failed.
Outcome = Tuple[int, float, List[str]]


def pythons() -> dict[str, str]:
    """Version to path of each Python the suite is to run on."""
    wanted = os.environ.get("PYTHONS", "").split()
    if not wanted:
        found = [venvs.find(version) for version in PREFERRED]
        present = [path for path in found if path] or [venvs.newest()]
        present += [path for path in [venvs.free_threaded()] if path]
        return {venvs.version_of(path): path for path in present}
    chosen = {}
    for name in wanted:
        path = venvs.find(name) if re.fullmatch(r"3\.\d+t?", name) else name
        version = venvs.version_of(path) if path else ""
        if not path or not version:
            raise SystemExit(f"PYTHONS: {name} is not a Python that runs here and can make environments")
        chosen[version] = path
    return chosen


def run(*command: str, env: dict[str, str] | None = None) -> int:
    """Run a command in the project's folder, saying so."""
    print("+", *command, flush=True)
    return subprocess.run(command, cwd=venvs.PROJECT, env=env, check=False).returncode


def pytest(version: str, label: str, *arguments: str) -> int:
    """Tests on one Python; with a label, others run at the same time, and each line says whose it is."""
    cache = ("-o", f"cache_dir={CACHE / version / label}")
    command = [str(venvs.FOLDER / version / "bin/python"), "-m", "pytest", *cache, *arguments]
    # Where an environment forbids bytecode, hundreds of processes would compile everything anew.
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(CACHE / version / "bytecode")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if not label:
        return run(*command, env=env)
    label = f"{version:<4} {label} | "
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


def part(version: str, label: str, claims: Path, started: float, *selection: str) -> Outcome:
    """One of the runs that share a phase on a Python: its exit status, the seconds it took, and what has failed."""
    failures = CACHE / version / label / "v" / "cache" / "lastfailed"
    failures.unlink(missing_ok=True)
    arguments = shlex.split(os.environ.get("ARGS", ""))
    code = pytest(version, label, "-p", "tests.tools.sharing", f"--claims={claims}", *selection, *arguments)
    failed = sorted(json.loads(failures.read_text(encoding="utf-8"))) if failures.exists() else []
    return code, time.monotonic() - started, failed


def main(*options: str) -> int:
    check = "--check" in options
    newest = venvs.newest() if check else ""
    chosen = {venvs.version_of(newest): newest} if check else pythons()
    print("Pythons: " + ", ".join(f"{version} ({path})" for version, path in chosen.items()), flush=True)
    try:
        for version, path in chosen.items():
            venvs.ensure(version, path, venvs.REQUIREMENTS["test"])
    except subprocess.CalledProcessError as error:
        print(f"cannot make a virtual environment: {shlex.join(error.cmd)} failed", file=sys.stderr)
        return 1
    if not check:
        # Not fatal: what does without a server is tested in any case, and the tests say what is missing.
        run(sys.executable, "-m", "tests.kit.harness.packages")
    results = [together(chosen, phase) for phase in ([("-m", CHECK)] if check else [(phase,) for phase in PHASES])]
    code = report(chosen, results)
    if check:
        print("left out: tests marked `live` (real servers), `slow` and `long` (they wait or compute); `make test` runs all")
    return code


def _age(version: str) -> Tuple[bool, int]:
    """For the order of versions; a free-threaded one ("3.13t") comes before those that most people have."""
    return not version.endswith("t"), int(re.sub(r"\D", "", version.partition(".")[2]) or 0)


def together(chosen: Iterable[str], selection: Sequence[str]) -> dict[str, list[Outcome]]:
    """What each of the runs of a phase came to, by Python: as many at the same time as the machine has room for.

    The others end before the newest Python, which has most to do, and leave their room to it.
    """
    started = time.monotonic()
    newest, room = max(chosen, key=_age), RUNS_EACH_CORE * (os.cpu_count() or 1)
    others = [version for version in chosen if version != newest and selection[0] != TIMED]
    with ThreadPoolExecutor(room) as pool, TemporaryDirectory() as folder:
        parts: dict[str, list[Future[Outcome]]] = {version: [] for version in chosen}
        each = max(1, room // (len(others) + 1))
        for version in [*others * each, *[newest] * room]:
            claims = Path(folder, version)
            claims.mkdir(exist_ok=True)
            ours = [*selection, *([] if version == newest else ["--once=left-out"])]
            parts[version].append(pool.submit(part, version, str(len(parts[version]) + 1), claims, started, *ours))
        return {version: [future.result() for future in futures] for version, futures in parts.items()}


def report(chosen: Iterable[str], phases: Sequence[dict[str, list[Outcome]]]) -> int:
    """Print what became of each Python; 1 if anything failed."""
    worst = 0
    for version in chosen:
        ended = [outcome for phase in phases for outcome in phase[version]]
        codes = {outcome[0] for outcome in ended}
        code = max(codes - {NOTHING} or codes)
        worst = max(worst, code)
        took = sum(max((seconds for _, seconds, _ in phase[version]), default=0.0) for phase in phases)
        print(f"Python {version}: {'passed' if code == 0 else f'FAILED (exit {code})'} in {took:.0f} s")
        for name in sorted({name for _, _, names in ended for name in names}):
            print(f"Python {version}: FAILED {name}")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
