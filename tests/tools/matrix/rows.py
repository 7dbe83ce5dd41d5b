"""The rows of the matrix: the ways to run the main job, as values.

Owns what each row runs, and what it must print. Must not know which interpreters there are, nor how results are shown.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipapp
import zipfile
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Tuple

from tests.tools import venvs
from tests.tools.matrix.interpreters import Interpreter

ROOT = venvs.PROJECT
HERE = Path(__file__).parent
PROBE = str(HERE / "probe.py")
PACKAGES = ("zkwire", "zkdisco")
#: Seconds within which a row has to end.
PATIENCE = 180
#: The size of the stack of a thread with musl (Alpine Linux), in bytes.
MUSL = 128 * 1024
#: What no interpreter should be asked for without: the strictest flags there are.
STRICT = ("-S", "-I", "-B", "-OO", "-W", "error", "-bb", "-X", "dev")


class Run(NamedTuple):
    """What a row has to work with: the interpreter, a folder of its own, and how thorough it is to be."""

    interpreter: Interpreter
    folder: Path
    seconds: float
    thorough: bool
    certificate: Optional[str]

    def probe(self, *arguments: str, flags: Tuple[str, ...] = ("-W", "error"), program: str = PROBE) -> List[str]:
        """The command that runs the probe."""
        more = ["--certificate", self.certificate] if self.certificate else []
        return [self.interpreter.path, *flags, program, *arguments, *more]


class Row(NamedTuple):
    """One way to run it. `command` prepares what it needs; `but` says why an interpreter is left out, or is empty."""

    name: str
    command: Callable[[Run], List[str]]
    but: Callable[[Interpreter], str] = lambda interpreter: ""
    #: What the last line must be; its group, if it has one, is the figure for the table.
    last: str = "passed"


def _copy(to: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))


def _zip(run: Run) -> List[str]:
    with zipfile.ZipFile(run.folder / "both.zip", "w") as file:
        for package in PACKAGES:
            for path in sorted((ROOT / package).rglob("*.py")):
                file.write(path, str(path.relative_to(ROOT)))
    return run.probe("--path", str(run.folder / "both.zip"))


def _zipapp(run: Run) -> List[str]:
    _copy(run.folder / "app")
    shutil.copy(PROBE, run.folder / "app" / "__main__.py")
    zipapp.create_archive(run.folder / "app", run.folder / "app.pyz")
    return run.probe(program=str(run.folder / "app.pyz"))


def _copies(run: Run) -> List[str]:
    places = ("one", "two/_vendor", "three/that/lies/deep")
    for place in places:
        folder = run.folder / place
        folder.mkdir(parents=True)
        _copy(folder)
        while folder != run.folder:
            (folder / "__init__.py").write_text("", encoding="ascii")
            folder = folder.parent
    names = [place.replace("/", ".") for place in places]
    return [run.interpreter.path, "-W", "error", str(HERE / "copies.py"), str(run.folder), *names]


def _stress(module: str, *more: str) -> Callable[[Run], List[str]]:
    """A program of ours that runs for some seconds, with threads switched as often as can be."""
    code = "import faulthandler, runpy, sys; faulthandler.dump_traceback_later(100, exit=True); sys.path.insert(0, {root!r}); " \
           "sys.setswitchinterval(1e-5); sys.argv = [{module!r}, *{arguments!r}]; " \
           "runpy.run_module({module!r}, run_name='__main__')"  # fmt: skip

    def command(run: Run) -> List[str]:
        arguments = [f"{run.seconds:g}", *more]
        return [run.interpreter.path, "-c", code.format(root=str(ROOT), module=module, arguments=arguments)]

    return command


def _here(run: Run) -> List[str]:
    return ["--path", str(ROOT)]


def _no_subinterpreters(interpreter: Interpreter) -> str:
    return "PyPy has none" if interpreter.pypy else ""


_DONE = r"done 0 (?:True|False) (\d+)"

ROWS = (
    Row("the main job", lambda run: run.probe(*_here(run), *(["--thorough"] if run.thorough else []))),
    Row("`" + " ".join(STRICT) + "`", lambda run: run.probe(*_here(run), flags=STRICT)),
    Row("without `ssl`", lambda run: run.probe(*_here(run), "--without", "ssl")),
    Row("without `asyncio`", lambda run: run.probe(*_here(run), "--without", "asyncio")),
    Row("without `ssl`, `asyncio`, `ctypes`", lambda run: run.probe(*_here(run), "--without", "ssl,asyncio,ctypes")),
    Row("without `poll` and `epoll`", lambda run: run.probe(*_here(run), "--no-poll")),
    Row("threads with stacks of 128 kB", lambda run: run.probe(*_here(run), "--stack", str(MUSL))),
    Row("out of a zip file", _zip),
    Row("a zipapp", _zipapp),
    Row("frozen", lambda run: run.probe(str(ROOT), program=str(HERE / "frozen.py"))),
    Row("three vendored copies at once", _copies),
    Row(
        "subinterpreters",
        lambda run: [run.interpreter.path, "-W", "error", str(HERE / "subinterpreters.py"), str(ROOT)],
        _no_subinterpreters,
    ),
    Row("16 threads on one client, rounds", _stress("tests.io.stress"), last=_DONE),
    Row("16 threads on one client, cut 20 times a second, rounds", _stress("tests.io.stress", "cut"), last=_DONE),
    Row("8 threads of discovery, rounds", _stress("tests.tools.matrix.discovery_stress"), last=_DONE),
    Row("8 threads of discovery, cut 20 times a second, rounds", _stress("tests.tools.matrix.discovery_stress", "cut"), last=_DONE),
)  # fmt: skip


class Outcome(NamedTuple):
    """What became of a row: whether it passed, what the table shows, and what was printed."""

    passed: bool
    shown: str
    output: str = ""


def take(row: Row, run: Run) -> Outcome:
    """Run a row. Anything on stderr is a failure: a warning, an exception in a thread."""
    why = row.but(run.interpreter)
    if why:
        return Outcome(True, f"- ({why})")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ZKDISCO"))}
    try:
        done = subprocess.run(
            row.command(run), cwd=run.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        return Outcome(False, "FAILED", f"not over after {PATIENCE} s\n{_text(error.stdout)}{_text(error.stderr)}")
    last = re.fullmatch(row.last, (done.stdout.splitlines() or [""])[-1])
    if done.returncode or done.stderr or last is None:
        return Outcome(False, "FAILED", f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return Outcome(True, f"{int(last.group(1)):,}" if last.groups() else "passed", done.stdout)


def _text(output: object) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output or "")


