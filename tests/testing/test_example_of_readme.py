"""The README's example of tests: it passes for a service that comes through, and each of its rows can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.kit.pytest_runs import ROOT, run_pytest
from zkwire.testing import ANSWER_LOST, TROUBLES

from .test_cookbook_of_testing import SERVICE

pytestmark = pytest.mark.once  # of troubles and servers, not of the interpreter
README = (ROOT / "README.md").read_text(encoding="utf-8")
((NAME, EXAMPLE),) = re.findall(r"```python\n# (test_\w+\.py)\n(.*?)```", README, re.DOTALL)
IGNORING = (Path(__file__).parent / "ignoring_service.py").read_text(encoding="utf-8")
ROWS = {
    *(f"test_my_service_comes_through[{trouble.name}]" for trouble in TROUBLES),
    f"test_an_order_is_counted_once[{ANSWER_LOST.name}]",
}
#: What a session timeout of a second needs, and not more.
IMPATIENT = "import pytest\n\n@pytest.fixture\ndef zk_patience():\n    return 2.5\n"
#: Nothing is begun, but the fixture is content.
NO_TROUBLE = EXAMPLE.replace("with trouble:", "if trouble:\n            trouble.begun = True")


@pytest.mark.slow
@pytest.mark.watchdog(100)
def test_a_good_service_comes_through(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {**SERVICE, NAME: EXAMPLE})
    assert run.summary == "16 passed", run.output


@pytest.mark.slow
@pytest.mark.watchdog(100)
def test_each_row_fails_for_a_service_that_ignores_troubles(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, {"my_service.py": IGNORING, "conftest.py": IMPATIENT, NAME: EXAMPLE})
    assert set(run.failed) == ROWS and run.summary == "16 failed", run.output


@pytest.mark.slow
@pytest.mark.watchdog(100)
def test_without_trouble_that_service_is_as_good_as_any(tmp_path: Path) -> None:
    """So that what fails above fails of the troubles, and not of the service's making."""
    run = run_pytest(tmp_path, {"my_service.py": IGNORING, NAME: NO_TROUBLE})
    assert run.summary == "16 passed", run.output
