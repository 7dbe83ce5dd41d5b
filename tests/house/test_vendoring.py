"""Both folders copied below a package of somebody else, where no other zkwire can be imported: the main job from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from .test_stdlib_only import BLOCKER

ROOT = Path(__file__).parents[2]

MAIN_JOB = """
import sys
sys.path.insert(0, sys.argv[2])
from app._vendor.zkdisco import Client, Instancer, Registrar, Service
from app._vendor.zkwire import ZooKeeper
import threading
hosts, name = sys.argv[3:5]
client, other = Client(hosts), Client(zk=started) if (started := ZooKeeper(hosts)).start() is None else None
seen, changed = [], threading.Condition()
def observer(event):
    with changed:
        seen.append(event.instances)
        changed.notify()
def wait(instances):
    with changed:
        assert changed.wait_for(lambda: seen and seen[-1] == instances, 20), seen
instancer = Instancer(other, "/vendored/" + name)
instancer.register(observer)
registrar = Registrar(client, Service("/vendored", name, b"10.0.0.1:80"))
node = registrar.register()
wait(("10.0.0.1:80",))
started.set(node, b"10.0.0.2:80")
wait(("10.0.0.2:80",))
registrar.deregister()
wait(())
client.stop(); other.stop(); started.close()
outside = [m for m in sys.modules if m.split(".")[0] in ("zkwire", "zkdisco")]
print("done", outside, type(started).__module__)
"""


@pytest.fixture
def vendored(tmp_path: Path) -> Path:
    """A folder with app/_vendor/zkwire and app/_vendor/zkdisco in it."""
    for package in ("zkwire", "zkdisco"):
        shutil.copytree(ROOT / package, tmp_path / "app" / "_vendor" / package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path / "app", tmp_path / "app" / "_vendor"):
        (folder / "__init__.py").write_text("", encoding="utf-8")
    return tmp_path


def run(vendored: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that can import nothing of the project but the vendored copies."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", code, *arguments],
        capture_output=True, text=True, timeout=60, check=False, cwd=vendored,
    )  # fmt: skip


def run_anywhere(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process, warnings of the import system allowed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=folder
    )


def only_app(blocker: str) -> str:
    """The blocker, blocking our own packages too where they are not vendored."""
    return blocker.replace('("zkwire", "zkdisco", "app")', '("app",)')


@pytest.mark.watchdog(60)
def test_the_main_job_from_vendored_copies(vendored: Path, server: Any, unique: str) -> None:
    done = run(vendored, only_app(BLOCKER) + MAIN_JOB, "", str(vendored), server.hosts, unique)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done [] app._vendor.zkwire.client"


def test_a_broken_vendored_copy_is_not_replaced_by_an_installed_one(vendored: Path) -> None:
    shutil.rmtree(vendored / "app" / "_vendor" / "zkwire")
    code = f"import sys; sys.path[:0] = [{str(vendored)!r}, {str(ROOT)!r}]\nimport app._vendor.zkdisco"
    done = run(vendored, code)
    assert done.returncode == 1
    assert "app._vendor.zkwire" in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_the_command_line_of_a_vendored_copy(vendored: Path) -> None:
    code = f"import sys, runpy; sys.path.insert(0, {str(vendored)!r}); sys.argv = ['zkdisco', '--help']\n" \
           "runpy.run_module('app._vendor.zkdisco', run_name='__main__')"  # fmt: skip
    done = run(vendored, code)
    assert done.returncode == 0, done.stderr
    assert "register" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("set_late", [False, True])
def test_out_of_a_zip_file_also_where_the_package_is_set_late(set_late: bool, tmp_path: Path) -> None:
    """PyPy's zipimport sets `__package__` only when a module has run: it is not there while the module looks for zkwire."""
    shutil.make_archive(str(tmp_path / "both"), "zip", ROOT, "zkwire")
    with zipfile.ZipFile(tmp_path / "both.zip", "a") as file:
        for path in (ROOT / "zkdisco").rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if set_late and path.name == "_zkwire.py":
                text = text.replace("import importlib\n", "import importlib\n__package__ = None\n", 1)
            file.writestr(str(path.relative_to(ROOT)), text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'both.zip')!r}); import zkdisco, zkdisco.aio; print(zkdisco.__file__)"
    done = run_anywhere(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "both.zip" in done.stdout
