"""The matrix: its rows on this interpreter, in a hurry; its table in the README; and that a row can fail."""

from __future__ import annotations

import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterator

import pytest

from tests.tools.matrix import interpreters, rows, table
from tests.tools.matrix.interpreters import Interpreter
from tests.tools.matrix.rows import ROOT, ROWS, Outcome, Row, Run
from zkwire.testing.certificate import Certificate

#: Left to `make matrix`: other rows show as much, or tests/io/test_stress.py.
LEFT = ("16 threads", "8 threads of discovery, rounds", "without `ssl`", "without `asyncio`", "out of a zip file")
QUICK = [row for row in ROWS if row.name == "without `ssl`, `asyncio`, `ctypes`" or not row.name.startswith(LEFT)]
#: How many rows are run at a time: mostly they wait, for reconnects at random moments.
AT_ONCE = 4


def this() -> Interpreter:
    found = interpreters.ask(sys.executable)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dict[str, Future[Outcome]]]:
    """What becomes of each row; the first test that asks starts them all."""
    home = tmp_path_factory.mktemp("matrix")
    certificate = str(Certificate(home).path)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            row.name: pool.submit(rows.take, row, Run(this(), tmp_path_factory.mktemp("row"), 1.0, False, certificate))
            for row in QUICK
        }


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.watchdog(rows.PATIENCE + 30)
@pytest.mark.parametrize("name", [row.name for row in QUICK])
def test_the_main_job(name: str, outcomes: Dict[str, Future[Outcome]]) -> None:
    outcome = outcomes[name].result()
    assert outcome.passed, outcome.output
    assert outcome.shown == "passed" or name not in ("the main job", "subinterpreters") and "(" not in outcome.shown


def run(row: Row, tmp_path: Path) -> Outcome:
    return rows.take(row, Run(this(), tmp_path, 1.0, False, None))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print('passed'); raise SystemExit(3)", "exit status 3"),
        ("import sys; print('passed'); print('a warning', file=sys.stderr)", "a warning"),
        ("print('passed, nearly')", "passed, nearly"),
        ("", "exit status 0"),
    ],
    ids=["exit status", "stderr", "last line", "silent"],
)
def test_a_row_can_fail(code: str, why: str, tmp_path: Path) -> None:
    outcome = run(Row("x", lambda run: [sys.executable, "-c", code]), tmp_path)
    assert (outcome.passed, outcome.shown) == (False, "FAILED") and why in outcome.output


@pytest.mark.long
def test_a_row_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PATIENCE", 1)
    code = "import sys, threading; print('began', flush=True); threading.Event().wait(60)"
    outcome = run(Row("x", lambda run: [sys.executable, "-c", code]), tmp_path)
    assert not outcome.passed and outcome.output == "not over after 1 s\nbegan\n"


def test_a_row_says_why_it_does_not_apply(tmp_path: Path) -> None:
    assert run(Row("x", lambda run: ["false"], lambda interpreter: "no such thing"), tmp_path).shown == "- (no such thing)"


def test_the_figure_of_a_row_is_what_its_last_line_says(tmp_path: Path) -> None:
    row = Row("x", lambda run: [sys.executable, "-c", "print('done 0 True 1234')"], last=rows._DONE)
    assert run(row, tmp_path).shown == "1,234"
    wrong = Row("x", lambda run: [sys.executable, "-c", "print('done 1 True 1234')"], last=rows._DONE)
    assert not run(wrong, tmp_path).passed


# ------------------------------------------------------------------------------ interpreters


def python(path: Path, says: str) -> Path:
    """A program that answers for an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_one_interpreter_of_each_kind_is_taken_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(interpreters.venvs.sys, "base_prefix", str(tmp_path))
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    python(folder / "python3.9", '["CPython", [3, 9, 2], null, false]')
    python(folder / "python3.8", '["CPython", [3, 8, 18], null, false]')  # too old
    python(folder / "python3.12", "command not found")  # a shim
    python(folder / "pypy3", '["PyPy", [3, 11, 13], [7, 3, 20], false]')
    newer = python(tmp_path / "PYENV_ROOT/versions/3.9.18/bin/python", '["CPython", [3, 9, 18], null, false]')
    python(tmp_path / "UV_PYTHON_INSTALL_DIR/x/bin/python", '["CPython", [3, 14, 0], null, true]')
    named = python(tmp_path / "elsewhere", '["CPython", [3, 14, 1], null, false]')
    monkeypatch.setenv("PYTHONS", str(named))
    found = interpreters.found()
    assert [one.name for one in found] == ["3.9.18", "3.14.1", "3.14.0t", "PyPy 7.3.20 (3.11)"]
    assert (found[0].path, found[1].path) == (str(newer), str(named))
    monkeypatch.setenv("PYTHONS", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="nowhere is no Python"):
        interpreters.found()


# ------------------------------------------------------------------------------ the table


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    results = {"one": {"3.9.1": Outcome(True, "passed"), "3.14.0t": Outcome(True, "1,234")}, "two": {}}
    results["two"] = {"3.9.1": Outcome(False, "FAILED"), "3.14.0t": Outcome(True, "passed")}
    columns = [Interpreter("a", (3, 9, 1)), Interpreter("b", (3, 14, 0), None, True)]
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    table.write(readme, table.text(results, columns, 5.0))
    assert table.read(readme) == {"": ["3.9.1", "3.14.0t"], "one": ["passed", "1,234"], "two": ["FAILED", "passed"]}
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "Not on this machine: PyPy." in text
    readme.write_text("no marks", encoding="utf-8")
    with pytest.raises(ValueError, match="0 places"):
        table.write(readme, "x")


def test_the_readme_has_a_line_for_each_row_and_none_has_failed() -> None:
    shown = table.read(ROOT / "README.md")
    columns = shown.pop("")
    assert list(shown) == [row.name for row in ROWS]
    assert all(len(cells) == len(columns) and "FAILED" not in cells for cells in shown.values())
    assert columns[0].startswith("3.9.")
