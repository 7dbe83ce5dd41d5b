"""What `import zkwire` loads: a closed list, so that its cost in time and memory cannot creep up unseen.

Times are no test on a busy machine; which modules are loaded is the same everywhere.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import FrozenSet, Set

import pytest

ROOT = Path(__file__).parents[2]
#: What the standard library loads for sockets, threads, logging and typing, whatever we do.
GIVEN = (
    "import array, collections, contextlib, functools, heapq, itertools, logging, os, queue, select, socket, struct, "
    "threading, time, types, typing, warnings, weakref"
)
#: These cost most: `dataclasses` by `inspect` and by the code it compiles, `hashlib` and its users 4 MB.
NEVER = frozenset((
    "asyncio", "base64", "concurrent.futures", "ctypes", "dataclasses", "decimal", "hashlib", "hmac", "inspect",
    "ipaddress", "json", "random", "secrets", "ssl", "statistics", "subprocess", "tempfile", "urllib", "uuid",
))  # fmt: skip


def loaded(code: str) -> Set[str]:
    """The modules that a fresh interpreter has loaded after this code."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def of_the_library(modules: Set[str]) -> Set[str]:
    """Those that are part of neither package, nor written in C."""
    return {name for name in modules if name.split(".")[0] not in ("zkwire", "zkdisco") and not name.startswith("_")}


@pytest.fixture(scope="module")
def given() -> FrozenSet[str]:
    return frozenset(of_the_library(loaded(GIVEN)))


@pytest.mark.parametrize("code", ["import zkwire", "import zkwire.ops", "import zkwire.paths, zkwire.errors"])
def test_the_lower_rooms_load_typing_and_little_else(code: str, given: FrozenSet[str]) -> None:
    allowed = of_the_library(loaded("import collections, struct, typing"))
    modules = loaded(code)
    assert not of_the_library(modules) - allowed
    assert not [name for name in modules if name.startswith(("zkwire.session", "zkwire.io", "zkwire.client"))]


def test_the_client_loads_what_few_need_when_it_is_used() -> None:
    """But TLS and four-letter words are loaded with it: an import later may find no file, or the lock of a thread that a
    fork has left behind, on the very thread that connects.
    """
    modules = loaded("from zkwire import ZooKeeper")
    assert modules > {"zkwire.io.driver", "zkwire.io.tls", "zkwire.io.secure_dialer", "zkwire.io.four_letter"}
    assert not modules & {"zkwire.ensemble", "zkwire.sasl", "zkwire.aio", "traceback", "ssl"}


def test_the_client_loads_logging_when_one_is_made() -> None:
    assert "logging" not in loaded("from zkwire import ZooKeeper")


def test_the_client_loads_nothing_but_sockets_threads_logging_and_typing(given: FrozenSet[str]) -> None:
    modules = loaded("from zkwire import ZooKeeper; ZooKeeper('127.0.0.1:1').close()")
    assert not of_the_library(modules) & NEVER
    assert not of_the_library(modules) - given
    assert not modules & {"zkwire.sasl", "zkwire.aio", "zkwire.cli", "zkwire.embedded"}


def test_the_server_loads_no_client() -> None:
    modules = loaded("from zkwire.embedded import EmbeddedServer")
    assert not [name for name in modules if name.startswith(("zkwire.session", "zkwire.client", "zkwire.verbs"))]


def test_all_names_are_there_though_they_are_loaded_late() -> None:
    code = (
        "import zkwire; names = dir(zkwire); before = 'zkwire.client' in sys.modules\n"
        "namespace = {}; exec('from zkwire import *', namespace)\n"
        "assert not before and set(zkwire.__all__) <= set(names) and 'AsyncZooKeeper' in names\n"
        "assert namespace['ZooKeeper'] is zkwire.ZooKeeper and namespace['CancelledError'].__module__ == 'zkwire.io.future'\n"
        "assert 'asyncio' not in sys.modules and zkwire.AsyncZooKeeper.__name__ == 'AsyncZooKeeper'\n"
        "try:\n    zkwire.nonsense\nexcept AttributeError as error:\n    assert 'nonsense' in str(error)\n"
        "else:\n    raise AssertionError"
    )
    assert "zkwire.client" in loaded(code)
