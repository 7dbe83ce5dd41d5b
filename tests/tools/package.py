"""Makes the sdist and the wheel, and shows that they are what they should be: `make package`.

    python -m tests.tools.package [--quick]

Runs where the newest setuptools is installed, with its warnings as errors. The sdist has every file of the repository, and
its tests run where it was unpacked (those of `make check`; with `--quick` a handful). The metadata is what package indexes
take today. Both can be installed without a network, and do the main job there.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Dict, List, Optional, Set

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path("tests/tools/matrix/probe.py")
CHECK = "not live and not slow and not long"
#: A handful that takes a few seconds: the wire, the README's house, the hints.
QUICK = ("tests/wire", "tests/fronts/test_hints.py", "tests/house/test_stdlib_only.py")
#: What setuptools adds to an sdist.
ADDED = {"PKG-INFO", "setup.cfg"}
BUILD = "import setuptools.build_meta as backend; print(backend.build_{kind}({folder!r}))"


class Wrong(Exception):
    """Something of a package is not as it should be."""


def run(command: List[str], folder: Path) -> str:
    """What a command prints; `Wrong` if it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"exit status {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def expect(holds: object, what: object) -> None:
    """`Wrong` unless it holds."""
    if not holds:
        raise Wrong(what)


def tracked() -> Set[str]:
    """The files of the repository."""
    said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in said.split("\0") if name and (ROOT / name).is_file()}


def copied(names: Set[str], to: Path) -> Path:
    """A clean copy of these files, in which a build leaves its traces."""
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, to / name)
    return to


def build(kind: str, source: Path, target: Path) -> Path:
    """An "sdist" or a "wheel" of what is in `source`; a warning is a failure."""
    code = BUILD.format(kind=kind, folder=str(target))
    return target / run([sys.executable, "-W", "error", "-c", code], source).splitlines()[-1]


def metadata(wheel: Path) -> Message:
    """What the wheel says of itself."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(file.read(name).decode("utf-8"))


def check_metadata(wheel: Path) -> None:
    """What package indexes take today, and nothing that they warn of."""
    said = metadata(wheel)
    expected: Dict[str, Optional[str]] = {
        "Name": "zkwire", "License-Expression": "Apache-2.0", "License-File": "LICENSE", "License": None,
        "Requires-Python": ">=3.9", "Description-Content-Type": "text/markdown", "Requires-Dist": None,
    }  # fmt: skip
    found = {key: said.get(key) for key in expected}
    expect(found == expected, f"{found}, not {expected}")
    expect(said["Metadata-Version"] >= "2.4", said["Metadata-Version"])
    classifiers = said.get_all("Classifier", [])
    expect(not [one for one in classifiers if one.startswith("License ::")], classifiers)
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    expect({name.partition("/")[0] for name in names} == {"zkwire", "zkdisco"}, sorted(names)[:5])
    expect({"zkwire/py.typed", "zkdisco/py.typed"} <= names, "py.typed is missing")


def check_sdist(sdist: Path, names: Set[str], to: Path) -> Path:
    """It has every file of the repository, and nothing else; the folder it was unpacked into."""
    with tarfile.open(sdist) as file:
        held = {member.name.partition("/")[2] for member in file.getmembers() if member.isfile()}
        if hasattr(tarfile, "data_filter"):
            file.extractall(to, filter="data")
        else:
            file.extractall(to)
    missing = names - held
    added = {name for name in held - names - ADDED if not name.startswith("zkwire.egg-info/")}
    expect(not missing and not added, f"missing: {sorted(missing)[:9]}; too much: {sorted(added)[:9]}")
    (folder,) = to.iterdir()
    return folder


def check_tests(folder: Path, quick: bool) -> None:
    """The tests of an unpacked sdist run, with nothing of this repository."""
    selection = list(QUICK) if quick else ["-m", CHECK]
    said = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selection], folder)
    print(said.splitlines()[-1])


def check_install(package: Path, home: Path) -> None:
    """Installed without a network, into an environment that has nothing else, it does the main job."""
    run([sys.executable, "-m", "venv", str(home)], ROOT)
    (site,) = home.glob("lib/python*/site-packages")
    if package.suffix == ".gz":  # pip builds it with the setuptools of this environment
        found = run([sys.executable, "-c", "import setuptools; print(setuptools.__path__[0])"], ROOT)
        (site / "builder.pth").write_text(f"{Path(found.strip()).parent}\n", encoding="utf-8")
    python = str(home / "bin" / "python")
    options = ["--no-index", "--no-build-isolation", "--no-deps", "-q", "--disable-pip-version-check"]
    run([python, "-m", "pip", "install", *options, str(package)], home)
    shutil.copy(ROOT / PROBE, home / "probe.py")
    said = run([python, "-I", "-W", "error", str(home / "probe.py")], home)
    expect(said.splitlines()[-1] == "passed", said)
    where = run([python, "-I", "-c", "import zkdisco; print(zkdisco.__file__)"], home)
    expect(where.startswith(str(site)), where)


def main(given: Optional[List[str]] = None) -> int:
    """All of it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.package")
    parser.add_argument("--quick", action="store_true", help="a handful of the sdist's tests")
    quick = parser.parse_args(given).quick
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        try:
            names = tracked()
            source = copied(names, home / "source")
            sdist, wheel = build("sdist", source, home), build("wheel", source, home)
            check_metadata(wheel)
            unpacked = check_sdist(sdist, names, home / "unpacked")
            again = build("wheel", unpacked, home / "unpacked")
            check_metadata(again)
            for number, package in enumerate((sdist, wheel)):
                check_install(package, home / f"environment{number}")
            check_tests(unpacked, quick)
        except Wrong as error:
            print(f"FAILED: {error}")
            return 1
    print(f"passed: {sdist.name}, {wheel.name}, {len(names)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
