"""`make interop`: all scenarios of all clients on both servers, and the table.

    python -m tests.tools.interop [--version 3.8.0] [-k part of a client's or scenario's name]

The exit code is 1 if anything differs or is broken, and with CI=true also if a client or the server cannot be had.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Iterator

from tests.kit.harness import packages

from .place import embedded, real
from .scenario import Outcome, Scenario, run_on, table

#: The modules, each with a `book`.
CLIENTS = (
    "kazoo_client", "kazoo_recipes", "kazoo_party", "c_client", "zkcli", "gokit", "curator", "prometheus", "gunicorn_server",
    "proxies",
)  # fmt: skip


def scenarios(missing: list[str]) -> Iterator[Scenario]:
    """Those of the clients that can be had; what cannot be had is added to `missing`."""
    for name in CLIENTS:
        try:
            yield from importlib.import_module(f"tests.tools.interop.{name}").book
        except (packages.Unavailable, ImportError) as error:
            missing.append(f"{name}: {error}")


def run(wanted: list[Scenario], version: str) -> list[Outcome]:
    """Run the scenarios, saying how far it is."""
    outcomes = []
    with real(version) as one, embedded(version) as other:
        places = {f"real {version}": one, "embedded": other}
        for scenario in wanted:
            began = time.monotonic()
            outcome = run_on(places, scenario)
            outcome.seconds = time.monotonic() - began
            outcomes.append(outcome)
            print(*table([outcome]), flush=True)
            if outcome.verdict != "same":
                print(outcome.explain(), flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.interop", description=__doc__.splitlines()[0])
    parser.add_argument("--version", default="3.9.3", choices=("3.8.0", "3.9.3"), help="of both servers")
    parser.add_argument("-k", default="", help="only scenarios whose client or name has this in it, in any case")
    options = parser.parse_args()
    missing: list[str] = []
    wanted = [one for one in scenarios(missing) if options.k.lower() in f"{one.client} {one.name}".lower()]
    began = time.monotonic()
    try:
        outcomes = run(wanted, options.version)
    except packages.Unavailable as error:
        missing.append(f"ZooKeeper {options.version}: {error}; {packages.HOW_TO}")
        outcomes = []
    for what in missing:
        print(f"NOT TRIED, CANNOT BE HAD: {what}", file=sys.stderr, flush=True)
    clients = {one.scenario.client for one in outcomes}
    differences = sum(one.verdict != "same" for one in outcomes)
    seconds = time.monotonic() - began
    print(f"{len(clients)} clients, {len(outcomes)} scenarios, {differences} differences ({seconds:.0f} s)")
    in_ci = os.environ.get("CI", "").lower() in ("1", "true", "yes")
    return 1 if differences or not outcomes or (missing and in_ci) else 0


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # what clients complain of when their server goes
    sys.exit(main())
