"""X27: what threads do to one client at the worst moments, with the interpreter lock and without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

from tests.kit.catalogue import fault

ROOT = Path(__file__).resolve().parents[2]


def without_the_lock() -> Optional[str]:
    """A free-threaded CPython: the one `ZKWIRE_FREE_THREADED` names, or the first on the path."""
    names = [os.environ.get("ZKWIRE_FREE_THREADED", ""), *[f"python3.{minor}t" for minor in (15, 14, 13)]]
    return next((found for found in map(shutil.which, filter(None, names)) if found), None)


def stress(interpreter: str, *arguments: str) -> str:
    """What the program prints; it ends by itself, or is ended with a look at all threads."""
    code = f"import faulthandler, runpy, sys; faulthandler.dump_traceback_later(80, exit=True); " \
           f"sys.setswitchinterval(1e-5); sys.argv = ['stress.py', *{arguments!r}]; " \
           f"runpy.run_module('tests.io.stress', run_name='__main__')"  # fmt: skip
    done = subprocess.run(  # noqa: S603
        [interpreter, "-c", code], cwd=ROOT, timeout=100, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


@fault("X27")
@pytest.mark.slow
@pytest.mark.parametrize("cut", [(), ("cut",)], ids=["calm", "cut"])
def test_sixteen_threads_on_one_client(cut: tuple[str, ...]) -> None:
    assert stress(sys.executable, "3", *cut).startswith("done 0 ")


@fault("X27")
@pytest.mark.slow
@pytest.mark.skipif(without_the_lock() is None, reason="no free-threaded CPython (python3.14t, or ZKWIRE_FREE_THREADED)")
@pytest.mark.parametrize("cut", [(), ("cut",)], ids=["calm", "cut"])
def test_sixteen_threads_without_the_interpreter_lock(cut: tuple[str, ...]) -> None:
    assert stress(without_the_lock() or "", "3", *cut).startswith("done 0 False ")
