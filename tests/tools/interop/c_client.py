"""The C client (libzookeeper_mt), by ctypes in a process of its own: see `c_program`."""

from __future__ import annotations

import sys

from tests.kit.harness import foreign

from . import c_program
from .program import converse
from .scenario import Book, Scenario, Trial

LIBRARY, VERSION = foreign.c_library()
book = Book("C")


def _run(name: str, trial: Trial) -> None:
    place = trial.place
    converse(trial, [sys.executable, "-m", c_program.__name__, LIBRARY, place.hosts, place.direct, trial.root, name])


book += [
    Scenario("C", name.replace("_", "-"), lambda trial, name=name: _run(name, trial))  # type: ignore[misc]
    for name in c_program.SCENARIOS
]
