"""A pytest plugin: several runs share the test files among them, each file to whoever is free. Loaded by `make test`.

Owns who runs what: a file belongs to the run that first makes a file named after its path in the folder `--claims`. Most tests
wait for servers and clocks, so that two cores have room for more than two runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

#: Markers (tests/conftest.py) by which a run may leave tests out.
MARKERS = ("timed", "once")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--claims", type=Path, help="run only files that no other run with this folder has begun")
    for marker in MARKERS:
        parser.addoption(f"--{marker}", choices=["left-out", "alone"], help=f"what to do with tests that are marked `{marker}`")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leave out the tests with a marker, or all others."""
    for marker in MARKERS:
        wanted = config.getoption(marker)
        if wanted is not None:
            left_out = [item for item in items if (item.get_closest_marker(marker) is None) == (wanted == "alone")]
            kept = set(items) - set(left_out)
            items[:] = [item for item in items if item in kept]
            config.hook.pytest_deselected(items=left_out)


def _claim(path: Path) -> str:
    """The name of a claim: the whole path, since files in different folders may share a name."""
    return "~".join(path.parts[1:])


def claimed(items: List[pytest.Item], folder: Path) -> Iterator[List[pytest.Item]]:
    """The tests of one file after the other, as long as there are files that nobody has taken; large files first.

    Those of one file need not stand together: pytest puts tests side by side that use the same server.
    """
    files: Dict[Path, List[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    for path, group in sorted(files.items(), key=lambda file: -file[0].stat().st_size):
        try:
            os.close(os.open(folder / _claim(path), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        yield group


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Optional[bool]:
    """As pytest's own, but that the next file is taken before the last test of one, which decides what is torn down."""
    folder = session.config.getoption("claims")
    if folder is None or session.testsfailed or session.config.option.collectonly:
        return None
    ours = claimed(session.items, folder)
    ran: List[pytest.Item] = []
    group: Any = next(ours, None)
    while group is not None:
        following = next(ours, None)
        for item, after in zip(group, [*group[1:], following[0] if following else None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if session.shouldfail or session.shouldstop:
                raise session.Failed(session.shouldfail) if session.shouldfail else session.Interrupted(session.shouldstop)
        ran += group
        group = following
    session.items[:] = ran
    return True
