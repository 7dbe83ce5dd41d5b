"""Finds the Pythons of this machine and keeps the virtual environments of the project in .venv.

    python3 tests/tools/venvs.py NAME COMMAND [ARGUMENT...]

runs a command in the environment NAME (those of REQUIREMENTS), made with the newest Python found. Only
the standard library is used: this is what runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / ".venv"

# pytest 8 is the last that runs on 3.9; 8.4 the first that knows 3.13 well. The tools of lint are
# pinned: a new release finds new faults, and that should not be today's patch.
REQUIREMENTS = {
    "test": ["pytest>=8.3,<9"],
    "faults": ["pytest>=8.3,<9"],
    "servers": ["setuptools"],
    "lint": ["ruff==0.12.12", "mypy==1.17.1", "pyright[nodejs]==1.1.414"],
    "package": ["setuptools", "pytest>=8.3,<9"],
    "bench": ["kazoo==2.11.0"],
    "fixtures": ["kazoo==2.11.0"],
    "coverage": ["coverage>=7.6,<8", "pytest>=8.3,<9"],
    "mutation": ["cosmic-ray>=8.7,<9", "pytest>=8.3,<9"],
    "interop": ["kazoo==2.11.0", "pure-sasl==0.6.2", "gunicorn==23.0.0"],
}

# ensurepip is asked for as well: Debian's python3 without python3-venv cannot make environments.
_ASK = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2] + 't' * ('t' in sys.abiflags))"


def version_of(python: str) -> str:
    """'3.13' ('3.13t' if free-threaded) for a Python that runs here and can make environments, '' for anything else.

    A pyenv shim exists for each version any pyenv version has, and fails when that is not selected.
    """
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def find(version: str) -> str | None:
    """The path of Python `version` ('3.13', or '3.13t' for the free-threaded one): on PATH, else among pyenv's."""
    for path in [shutil.which(f"python{version}"), *pyenv(version)]:
        if path and version_of(path) == version:
            return path
    return sys.executable if version_of(sys.executable) == version else None


def newest() -> str:
    """The path of the newest Python 3.9 or later."""
    versions = {"{}.{}".format(*sys.version_info[:2])}
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        versions.update(re.findall(r"python(3\.\d+)\b", " ".join(glob.glob(f"{folder}/python3.*"))))
    versions.update(re.findall(r"/(3\.\d+)[^/]*/bin", " ".join(pyenv("3."))))
    for version in sorted(versions, key=lambda v: int(v[2:]), reverse=True):
        path = find(version) if int(version[2:]) >= 9 else None
        if path:
            return path
    raise SystemExit("no Python 3.9 or later that can make virtual environments (Debian: python3-venv)")


def free_threaded() -> str | None:
    """The path of the newest free-threaded Python, 3.13 or later; None if there is none."""
    paths = [path for folder in os.environ.get("PATH", "").split(os.pathsep) for path in glob.glob(f"{folder}/python3.*t")]
    names = re.findall(r"/python(3\.\d+t)\b", " ".join(paths))
    names += [f"3.{minor}t" for minor in re.findall(r"/3\.(\d+)[^/]*t/bin", " ".join(pyenv("3.")))]
    for version in sorted(set(names), key=lambda v: int(v[2:-1]), reverse=True):
        path = find(version)
        if path:
            return path
    return None


def pyenv_roots() -> list[str]:
    """The folders that may be pyenv's."""
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    # A folder of shims on PATH is in the root, even when the pyenv that made it is not set up here.
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    roots += [str(folder.parent) for folder in folders if folder.name == "shims"]
    running = Path(sys.base_prefix).resolve().parent
    if running.name == "versions":
        roots.append(str(running.parent))
    return [root for root in roots if root]


def pyenv(version: str) -> list[str]:
    """Pythons in pyenv's folder whose version starts so ('3.13t': and are free-threaded), the newest patch release first."""
    dotted, free = version.rstrip("t."), "t" * version.endswith("t")
    found = [path for root in pyenv_roots() for path in glob.glob(f"{root}/versions/{dotted}.*{free}/bin/python")]
    return sorted(set(found), key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)


def ensure(name: str, python: str, requirements: list[str]) -> Path:
    """The bin folder of environment `name`, made or brought up to date when it is not as wanted."""
    home = FOLDER / name
    FOLDER.mkdir(exist_ok=True)
    wanted = "\n".join([python, *requirements])
    stamp = home / "made-of"
    with open(FOLDER / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once must not make the same environment
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            print(f"making .venv/{name} with {python}: {' '.join(requirements)}", flush=True)
            subprocess.run([python, "-m", "venv", "--clear", str(home)], check=True)
            pip = [str(home / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
            subprocess.run([*pip, *requirements], check=True)
            stamp.write_text(wanted, encoding="utf-8")
    return home / "bin"


def main(name: str, *command: str) -> int:
    """Run a command in an environment; a program of the environment comes before the machine's."""
    try:
        folder = ensure(name, newest(), REQUIREMENTS[name])
    except subprocess.CalledProcessError as error:
        print(f"cannot make .venv/{name}: {' '.join(error.cmd)} failed", file=sys.stderr)
        return 1
    env = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}
    print("+", *command, flush=True)
    program = [str(folder / command[0]), *command[1:]]
    return subprocess.run(program, cwd=PROJECT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
