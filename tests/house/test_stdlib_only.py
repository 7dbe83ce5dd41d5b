"""Nothing but the standard library, and less where it can be: imports with the rest blocked, each in a fresh process."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import zkdisco
import zkwire

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    module.name
    for package in (zkwire, zkdisco)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if module.name != "zkwire.testing.fixtures"  # the one file that needs pytest
)

#: Refuses every import that is neither ours nor of the standard library, and those named on the command line.
BLOCKER = """
import sys, sysconfig, os
class Blocker:
    def __init__(self, blocked): self.blocked = blocked
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.blocked or (top not in STDLIB and top not in ("zkwire", "zkdisco", "app")):
            raise ModuleNotFoundError("blocked: " + name)  # as it is where there is no such module
STDLIB = set(getattr(sys, "stdlib_module_names", ())) | set(sys.builtin_module_names)
if not hasattr(sys, "stdlib_module_names"):
    for folder in (sysconfig.get_paths()["stdlib"], os.path.join(sysconfig.get_paths()["stdlib"], "lib-dynload")):
        STDLIB |= {entry.partition(".")[0] for entry in os.listdir(folder)}
    STDLIB -= {"site-packages"}
sys.meta_path.insert(0, Blocker(set(sys.argv[1].split(",")) - {""}))
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process without site-packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}",
         *arguments],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.long
def test_everything_imports_with_all_but_the_standard_library_blocked() -> None:
    code = BLOCKER + f"import importlib\nfor name in {MODULES!r}: importlib.import_module(name)\nprint(len(sys.modules))"
    done = run(code, "")
    assert done.returncode == 0, done.stderr
    assert len(MODULES) > 30


def test_the_blocking_side_imports_without_ssl_asyncio_and_ctypes() -> None:
    names = [name for name in MODULES if not name.rpartition(".")[2].startswith("aio")]
    code = BLOCKER + f"import importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    done = run(code, "ssl,_ssl,asyncio,_asyncio,ctypes,_ctypes")
    assert done.returncode == 0, done.stderr
    awaited = {"aio", "aio_catalog", "aio_dialer", "aio_driver", "aio_endpoints"}
    assert {name.rpartition(".")[2] for name in set(MODULES) - set(names)} == awaited


def test_the_tools_for_tests_need_no_pytest_but_for_their_fixtures() -> None:
    code = BLOCKER + (
        "from zkwire.testing import TROUBLES, NotFelt, Trial, Trouble\nfrom zkwire.testing import *\n"
        "try:\n    from zkwire.testing import zk_server\nexcept ImportError as error:\n    print(error)"
    )
    assert run(code, "").stdout == "zkwire.testing.zk_server needs pytest, which is not installed\n"
    assert "zkwire.testing" not in run("import zkwire, zkwire.embedded, sys; print(sorted(sys.modules))").stdout


def test_the_blocker_blocks() -> None:
    assert "blocked: pytest" in run(BLOCKER + "import pytest", "").stderr
    assert "blocked: ssl" in run(BLOCKER + "import ssl", "ssl").stderr


@pytest.mark.parametrize("package", ["zkwire", "zkdisco"])
def test_importing_loads_neither_asyncio_nor_ssl(package: str) -> None:
    done = run(f"import {package}\nprint([m for m in ('asyncio', 'ssl', 'ctypes', 'socketserver') if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_the_asyncio_front_is_loaded_on_first_use() -> None:
    done = run("from zkwire import AsyncZooKeeper\nprint('asyncio' in sys.modules, AsyncZooKeeper.__name__)")
    assert done.stdout.strip() == "True AsyncZooKeeper", done.stderr


@pytest.mark.parametrize("package", ["zkwire", "zkdisco"])
def test_importing_starts_nothing(package: str) -> None:
    done = run(f"import threading, os\nbefore = set(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0\n"
               f"import {package}\nafter = set(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0\n"
               "print(threading.active_count(), before == after)")  # fmt: skip
    assert done.stdout.strip() == "1 True", done.stderr
