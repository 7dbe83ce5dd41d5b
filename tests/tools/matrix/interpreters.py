"""The Pythons of this machine: which there are, and what each of them is.

Owns where they are looked for: the words of `PYTHONS` (paths or versions), PATH, and the folders of pyenv and uv. Must not
know what is run on them. Nothing is installed here.
"""

from __future__ import annotations

import glob
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from tests.tools import venvs

#: What an interpreter says of itself. It has to run on any version, to say that it is too old.
_ASK = (
    "import json, platform, sys, sysconfig\n"
    "pypy = getattr(sys, 'pypy_version_info', None)\n"
    "print(json.dumps([platform.python_implementation(), list(sys.version_info[:3]), pypy and list(pypy[:3]),"
    " bool(sysconfig.get_config_var('Py_GIL_DISABLED'))]))"
)
OLDEST = (3, 9)
#: Seconds within which an interpreter has to say what it is.
PATIENCE = 60


class Interpreter(NamedTuple):
    """One interpreter: its path, the version of the language, the version of PyPy if it is one."""

    path: str
    version: Tuple[int, ...]
    pypy: Optional[Tuple[int, ...]] = None
    free_threaded: bool = False

    @property
    def name(self) -> str:
        """As the table names it: "3.13.0", "3.14.2t", "PyPy 7.3.11 (3.9)"."""
        if self.pypy is not None:
            return f"PyPy {_dotted(self.pypy)} ({_dotted(self.version[:2])})"
        return _dotted(self.version) + "t" * self.free_threaded

    @property
    def kind(self) -> Tuple[bool, Tuple[int, ...], bool]:
        """Of two interpreters of one kind only the newer release is taken; the kinds sort as the columns do."""
        return self.pypy is not None, self.version[:2], self.free_threaded


def _dotted(numbers: Tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def ask(path: str) -> Optional[Interpreter]:
    """What this program is; None if it does not run, or is no Python."""
    try:
        done = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, timeout=PATIENCE, check=False)
        implementation, version, pypy, free_threaded = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None  # as a pyenv shim of a version that is not selected
    known = implementation in ("CPython", "PyPy")
    return Interpreter(path, tuple(version), pypy and tuple(pypy), free_threaded) if known else None


def named() -> List[str]:
    """The paths of those that PYTHONS names."""
    words = os.environ.get("PYTHONS", "").split()
    return [(venvs.find(word) or word) if re.fullmatch(r"3\.\d+t?", word) else word for word in words]


def candidates() -> Iterator[str]:
    """Paths at which a Python may be; those that PYTHONS names come first."""
    yield from named()
    folders = os.environ.get("PATH", "").split(os.pathsep)
    names = [name for folder in folders for name in glob.glob(f"{folder}/python3.*") + glob.glob(f"{folder}/pypy3*")]
    yield from (name for name in names if re.search(r"/(python3\.\d+t?|pypy3(\.\d+)?)$", name))
    for root in venvs.pyenv_roots():
        yield from glob.glob(f"{root}/versions/*/bin/python")
    home = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.expanduser("~/.local/share/uv/python")
    yield from glob.glob(f"{home}/*/bin/python")


def found() -> List[Interpreter]:
    """One interpreter of each kind, 3.9 or later: the newest release there is. In the order of the columns.

    `SystemExit` if one that PYTHONS names does not run.
    """
    best: Dict[Any, Interpreter] = {}
    seen, wanted = set(), named()
    for path in candidates():
        real = str(Path(path).resolve())
        if real in seen:
            continue
        seen.add(real)
        one = ask(path)
        if one is None and path in wanted:
            raise SystemExit(f"PYTHONS: {path} is no Python that runs here")
        if one is not None and one.version >= OLDEST and one.version > best.get(one.kind, one._replace(version=())).version:
            best[one.kind] = one
    return [best[kind] for kind in sorted(best)]
