"""A pytest plugin: what became of each row of the fault catalogue. Loaded by `make faults`.

Owns the count and how it is printed. A row has passed if it has a test and all its tests passed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Dict, List, Set

import pytest

from tests.kit.catalogue import LEFT_OUT, ROWS

_rows_of: Dict[str, List[str]] = {}
_outcomes: Dict[str, Set[str]] = defaultdict(set)


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Only tests that name a row."""
    chosen = [item for item in items if item.get_closest_marker("fault")]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
    for item in chosen:
        _rows_of[item.nodeid] = [row for marker in item.iter_markers("fault") for row in marker.args]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        for row in _rows_of[report.nodeid]:
            _outcomes[row].add(report.outcome)


def verdict(row: str) -> str:
    """`passed`, `failed`, `skipped`, `left out`, or `no test`."""
    if row in LEFT_OUT:
        return "left out"
    seen = _outcomes.get(row, set())
    return next((word for word in ("failed", "skipped", "passed") if word in seen), "no test")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """A line for each row that has not passed, and one for all."""
    terminalreporter.section("fault catalogue")
    verdicts = {row: verdict(row) for row in ROWS}
    for row, word in verdicts.items():
        if word != "passed":
            why = f" ({LEFT_OUT[row]})" if row in LEFT_OUT else ""
            terminalreporter.write_line(f"{row} {word}: {ROWS[row].scenario}{why}")
    count = {word: list(verdicts.values()).count(word) for word in ("passed", "failed", "skipped", "no test", "left out")}
    virtual = [row for row in ROWS if set(ROWS[row].means) & set("SFPE")]
    terminalreporter.write_line(
        f"of the {len(virtual)} rows for simulation, scripts, proxy and embedded server, "
        f"{sum(verdicts[row] == 'passed' for row in virtual)} passed"
    )
    terminalreporter.write_line(f"{len(ROWS)} rows: " + ", ".join(f"{number} {word}" for word, number in count.items()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Rows that have not passed make it a failure, unless they are left out."""
    if session.exitstatus == pytest.ExitCode.OK and any(verdict(row) not in ("passed", "left out") for row in ROWS):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
