"""The cores and the tests of each: what `make coverage` and `make mutation` measure.

Owns which files are cores: the rooms that `tests/house/test_floors.py` calls pure, and the embedded server's core with all
below it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Set, Tuple

from tests.conftest import CHECK
from tests.house.test_floors import PURE, ROOT, files, imports, name_of

EMBEDDED = "embedded.core"


class Core(NamedTuple):
    """Rooms of one package, and the tests of these rooms, those first that end soonest."""

    name: str
    package: str
    rooms: Tuple[str, ...]
    tests: Tuple[str, ...]


CORES = (
    Core("wire", "zkwire", ("wire", "ops", "errors", "values", "paths", "ensemble"), ("tests/wire", "tests/session/test_session.py")),
    Core("session", "zkwire", ("session", "sasl", "recipes"), ("tests/session", "tests/fronts/test_faults_verbs.py")),
    Core("embedded", "zkwire", ("embedded",), ("tests/embedded",)),
    Core("discovery", "zkdisco", tuple(sorted(PURE["zkdisco"])), (
        "tests/discovery/test_values.py", "tests/discovery/test_registry.py", "tests/discovery/test_steps.py", "tests/discovery/test_timeline.py",
        "tests/discovery/test_registration.py", "tests/discovery/test_membership.py", "tests/discovery/test_identity.py",
        "tests/discovery/test_reports.py",
    )),
)  # fmt: skip
#: What pytest is told for tests of cores: they need no server, and do not wait.
SELECTION = ("-q", "-p", "no:cacheprovider", "-m", CHECK)


def _below(name: str) -> Set[str]:
    """A file of the embedded server, and those it imports: names below the package."""
    graph = {name_of(path, "zkwire"): {found.target for found in imports(path, "zkwire")} for path in files("zkwire")}
    seen: Set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one not in seen and one.startswith("embedded."):
            seen.add(one)
            waiting += graph[one]
    return seen


def sources(core: Core) -> List[Path]:
    """The files of a core, relative to the project."""
    found = [path for path in files(core.package) if name_of(path, core.package).split(".")[0] in core.rooms]
    if core.name == "embedded":
        found = [path for path in found if name_of(path, "zkwire") in _below(EMBEDDED)]
    return [path.relative_to(ROOT) for path in found if path.name != "__init__.py"]


def lines(paths: Sequence[Path]) -> Dict[Path, int]:
    """How many lines each of the files has."""
    return {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in paths}
