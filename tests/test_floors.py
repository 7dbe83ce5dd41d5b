"""The house: which file may import which, what cores must not know, and how big a file may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Lower floors first. A file imports only lower floors, and those before it on its own floor where the order says so.
ZKWIRE = (
    ("errors", "hosts", "digest"),
    ("jute",),
    ("records",),
    ("op", "session_events"),
    ("node_ops",),
    ("session_ops",),
    ("ops",),
    ("liveness", "rotation", "watches", "identities", "connection", "sasl", "fourletter"),
    ("notify", "modes", "scout"),
    ("exchange",),
    ("life",),
    ("session",),
    ("tls", "names"),
    ("recipes", "settings", "clock", "forks", "future", "dispatch", "transport"),
    ("verbs", "lookout", "front", "asking", "aio_wire"),
    ("aio_asking",),
    ("line", "aio_line"),
    ("driver",),
    ("client", "aio"),
    ("embedded",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
ZKDISCO = (
    ("_zkwire",),
    ("model", "replica", "tls"),
    ("recipes", "cache", "runner"),
    ("registration", "discovery"),
    ("client",),
    ("registrar", "instancer"),
    ("aio", "demo"),
    ("cli",),
    ("__init__",),
    ("__main__",),
)
#: Without sockets, threads or clocks: they get bytes and times, and give bytes and values.
CORES = {
    "zkwire": [name for floor in ZKWIRE[: [i for i, f in enumerate(ZKWIRE) if "session" in f][0] + 1] for name in floor],
    "zkdisco": ["model", "replica", "recipes", "registration", "discovery"],
}
FORBIDDEN = {"socket", "ssl", "threading", "asyncio", "time", "random", "select", "selectors", "queue", "_thread"}


def imports(path: Path) -> list[tuple[int, str, list[str]]]:
    """(level, module, names) of every import in a file, those for type checkers only left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        node
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and isinstance(test.test, ast.Name) and test.test.id == "TYPE_CHECKING"
        for statement in test.body
        for node in ast.walk(statement)
    }
    found: list[tuple[int, str, list[str]]] = []
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def floor_of(name: str, floors: tuple[tuple[str, ...], ...]) -> int:
    """The number of a file's floor."""
    return next(number for number, floor in enumerate(floors) if name in floor)


FILES = [("zkwire", name) for floor in ZKWIRE for name in floor] + [("zkdisco", name) for floor in ZKDISCO for name in floor]
PRESENT = [(package, name) for package, name in FILES if (ROOT / package / f"{name}.py").exists()]


@pytest.mark.parametrize(("package", "name"), PRESENT)
def test_a_file_imports_only_lower_floors(package: str, name: str) -> None:
    floors = ZKWIRE if package == "zkwire" else ZKDISCO
    own = floor_of(name, floors)
    for level, module, names in imports(ROOT / package / f"{name}.py"):
        if level == 1:
            for target in [module] if module else names:
                lazy = name == "__init__" or (package, name, target) == ("zkdisco", "client", "registrar")
                assert lazy or floor_of(target.split(".")[0], floors) < own, f"{name} imports {target}"


def test_every_file_has_a_floor() -> None:
    for package in ("zkwire", "zkdisco"):
        for path in (ROOT / package).glob("*.py"):
            assert (package, path.stem) in FILES, f"{package}/{path.name} stands on no floor"


@pytest.mark.parametrize(("package", "name"), [(p, n) for p, names in CORES.items() for n in names])
def test_cores_know_no_sockets_threads_or_clocks(package: str, name: str) -> None:
    path = ROOT / package / f"{name}.py"
    if not path.exists():
        assert name == ""
        return
    for level, module, _ in imports(path):
        assert level or module.split(".")[0] not in FORBIDDEN, f"{package}/{name} imports {module}"


@pytest.mark.parametrize("package", ["zkwire", "zkdisco"])
def test_packages_import_themselves_relatively(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for level, module, _ in imports(path):
            if level == 0 and module.split(".")[0] in ("zkwire", "zkdisco"):
                assert path.name == "_zkwire.py", f"{path.name} imports {module} absolutely"


def test_the_embedded_server_knows_nothing_of_the_client() -> None:
    allowed = {"errors", "hosts", "digest", "jute", "records", "op", "ops", "node_ops", "session_ops"}
    for path in (ROOT / "zkwire" / "embedded").rglob("*.py"):
        for level, module, names in imports(path):
            if level == 2:
                for target in [module] if module else names:
                    assert target.split(".")[0] in allowed, f"embedded/{path.name} imports {target}"


def test_every_file_says_what_it_owns() -> None:
    for package in ("zkwire", "zkdisco"):
        for path in (ROOT / package).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} opens without a docstring"
