"""The house: which room may import which, and what the rooms must not know."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
#: Lower floors first; a file imports lower floors, and within its own room whatever does not come back to it.
HOUSE = {
    "zkwire": (
        {"errors", "values", "paths", "sasl", "ensemble", "typed"},
        {"wire"},
        {"ops"},
        {"session", "embedded"},
        {"io"},
        {"recipes", "verbs", "config"},
        {"client", "aio"},
        {"testing"},
        {"cli"},
    ),
    "zkdisco": (
        {"_zkwire"},
        {
            "codecs", "values", "reports", "replica", "timeline", "steps", "identity", "registration", "registry",
            "membership", "memberships", "tls", "supervised", "exposition", "settling",
            "settled", "roster", "balance",
        },
        {"observers", "runner", "following", "front", "changes", "outputs"},
        {"crew", "threads", "aio", "catalog", "aio_catalog", "health", "endpoints", "aio_endpoints"},
        {"demo", "probes", "signals", "output", "listing", "systemd", "first_process", "pages", "command", "plan"},
        {"sidecar", "rendering"},
        {"cli"},
    ),
}
#: The rooms without sockets, threads or clocks: they get bytes and times, and give bytes and values.
PURE = {"zkwire": {"errors", "values", "paths", "sasl", "ensemble", "wire", "ops", "session", "recipes"},
        "zkdisco": {"codecs", "values", "replica", "timeline", "steps", "identity", "registration", "registry",
                    "membership", "memberships", "supervised", "exposition", "health.gate", "settling", "settled",
                    "roster", "balance"}}
#: The files of such a room that have a lock all the same.
LOCKED = {"balance.balancer"}
FORBIDDEN = {"socket", "ssl", "threading", "asyncio", "time", "random", "select", "selectors", "queue", "_thread"}
EVERYWHERE = {"__init__", "__main__"}  # the names of a package, and how it is run


class Import(NamedTuple):
    """One imported module: the file's own room, its dotted name below the package or "" if it is none of ours."""

    path: Path
    target: str
    outside: str


def files(package: str) -> List[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path, package: str) -> str:
    parts = path.relative_to(ROOT / package).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """A file, parsed once for all rules."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, package: str, for_checkers: bool = False) -> Sequence[Import]:
    """What a file imports, lazily too; what is for type checkers only is left out unless it is asked for."""
    return tuple(_imports(path, package, for_checkers))


def _imports(path: Path, package: str, for_checkers: bool) -> Iterator[Import]:
    tree = tree_of(path)
    guards = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    skipped = {below for guard in guards for statement in guard.body for below in ast.walk(statement)}
    here = list(path.relative_to(ROOT / package).parent.parts)
    for node in ast.walk(tree):
        if node in skipped and not for_checkers:
            continue
        if isinstance(node, ast.Import):
            yield from (Import(path, "", alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield Import(path, "", node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.level <= len(here) + 1:
            base = here[: len(here) + 1 - node.level]
            for target in [node.module] if node.module else [alias.name for alias in node.names]:
                yield Import(path, ".".join([*base, target]), "")


def floor(package: str, room: str) -> int:
    return next(number for number, rooms in enumerate(HOUSE[package]) if room in rooms)


EVERY = [(package, path) for package in HOUSE for path in files(package)]
IDS = [str(path.relative_to(ROOT)) for _, path in EVERY]


@pytest.mark.parametrize(("package", "path"), EVERY, ids=IDS)
def test_a_room_imports_only_lower_rooms(package: str, path: Path) -> None:
    room = name_of(path, package).split(".")[0]
    if room in EVERYWHERE:
        return
    for found in imports(path, package):
        other = found.target.split(".")[0]
        if other and other != room:
            assert other not in EVERYWHERE and floor(package, other) < floor(package, room) or (
                floor(package, other) == floor(package, room) and other not in ("session", "embedded")
            ), f"{path.name} imports {found.target}"


@pytest.mark.parametrize("package", HOUSE)
def test_no_file_imports_itself_by_way_of_others(package: str) -> None:
    """In the embedded server not even for type checkers: there, a lower file knows nothing of a higher one."""
    graph = {}
    for path in files(package):
        if path.stem not in EVERYWHERE or path.parent.name == "embedded":
            graph[name_of(path, package)] = {found.target for found in imports(path, package, path.parent.name == "embedded")}
    graph = {name: {other for other in targets if other in graph} for name, targets in graph.items()}

    def reach(name: str, seen: Tuple[str, ...]) -> None:
        assert name not in seen, " imports ".join([*seen, name])
        if name not in done:
            for other in sorted(graph[name]):
                reach(other, (*seen, name))
            done.add(name)

    done: Set[str] = set()
    for name in graph:
        reach(name, ())


@pytest.mark.parametrize(("package", "path"), EVERY, ids=IDS)
def test_cores_know_no_sockets_threads_or_clocks(package: str, path: Path) -> None:
    name = name_of(path, package)
    if {name, name.split(".")[0]} & PURE[package] and name not in LOCKED:
        for found in imports(path, package):
            assert found.outside.split(".")[0] not in FORBIDDEN, f"{path.name} imports {found.outside}"


@pytest.mark.parametrize(("package", "path"), EVERY, ids=IDS)
def test_packages_import_themselves_relatively(package: str, path: Path) -> None:
    for found in imports(path, package):
        assert found.outside.split(".")[0] not in HOUSE or path.name == "_zkwire.py", f"imports {found.outside}"


def test_the_embedded_server_knows_nothing_of_the_client() -> None:
    allowed = {"errors", "values", "paths", "sasl", "ensemble", "typed", "wire", "ops", "embedded"}
    for path in (ROOT / "zkwire" / "embedded").rglob("*.py"):
        for found in imports(path, "zkwire"):
            assert not found.target or found.target.split(".")[0] in allowed, f"{path.name} imports {found.target}"


@pytest.mark.parametrize(("package", "path"), EVERY, ids=IDS)
def test_every_file_says_what_it_owns(package: str, path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{path} opens without a docstring"


#: The fronts of discovery have one name for blocking and asyncio; the settings of a server are not those of a client.
TWINS = {"Client", "Registrar", "Catalog", "Instancer", "Endpoints"} | {"Settings"}


def test_two_things_never_share_a_name() -> None:
    owners: Dict[str, Set[str]] = {}
    for package, path in EVERY:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                owners.setdefault(node.name, set()).add(f"{package}/{name_of(path, package)}")
    assert {name: where for name, where in owners.items() if len(where) > 1 and name not in TWINS} == {}
