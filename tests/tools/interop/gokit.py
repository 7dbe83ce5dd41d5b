"""Go kit's `sd/zk` 0.13.0 and the client library below it: see `gokit_program/main.go`. zkdisco is on the other side."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from tests.kit.harness import foreign
from zkdisco import Client, Instancer, Registrar, Service
from zkdisco.codecs import parse_address

from .program import converse
from .scenario import Book, Scenario, Trial

PROGRAM = foreign.go_program(Path(__file__).parent / "gokit_program" / "main.go")
NAMES = (
    "register", "parents", "instancer", "entries", "crash", "expiry", "nodes", "transactions", "watches", "lock", "words",
)  # fmt: skip
book = Book("Go kit")


def _run(name: str, trial: Trial) -> None:
    place = trial.place
    with contextlib.ExitStack() as stack:
        client = Client(zk=place.other)
        registrars: dict[str, Registrar[Any]] = {}

        def register(trial: Trial, path: str, name: str, data: str) -> None:
            service: Service[Any] = Service(path, name, data.encode())
            if ":" in data:
                service = Service(path, name, parse_address(data), codec="gokit")
            registrar = registrars[data] = Registrar(client, service)
            registrar.register()

        def deregister(trial: Trial, data: str) -> None:
            registrars.pop(data).deregister()

        def entries(trial: Trial, path: str) -> list[str]:
            there = sorted(client.get_entries(path)[0])
            instancer = Instancer(client, path, codec="gokit")  # which reads the same, where there is an address
            stack.callback(instancer.stop)
            assert sorted(one.address for one in instancer.state.instances) == [one for one in there if ":" in one]
            return there

        def watch_it_go(trial: Trial, path: str) -> None:
            stack.callback(lambda: trial.note("left", client.get_entries(path)[0]))
            stack.callback(lambda: place.wait(lambda: not place.other.get_children(path), f"an empty {path}"))

        more = {"register": register, "deregister": deregister, "entries": entries, "watch it go": watch_it_go}
        converse(trial, [PROGRAM, place.hosts, place.direct, trial.root, name], more)


book += [
    Scenario(book.client, name, lambda trial, name=name: _run(name, trial))  # type: ignore[misc]
    for name in NAMES
]
