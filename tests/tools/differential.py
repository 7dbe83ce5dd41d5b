"""Random scripts on real servers and on the embedded one, until one differs or all are done.

    python tests/tools/differential.py --scripts 5000 [--seed 1] [--versions "3.5.9 3.6.2"] [--steps 20]

A difference prints its seed and the shortest script that shows it, and ends with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tools.differences import Player, compare, shrink  # noqa: E402
from tests.tools.differential_scripts import Author  # noqa: E402
from tests.kit.harness import packages  # noqa: E402
from tests.kit.harness.servers import Server  # noqa: E402
from zkwire.embedded import EmbeddedServer  # noqa: E402


def run(version: str, seeds: range, steps: int) -> int:
    """The number of scripts that differ between a real server of a version and the embedded one."""
    differences = 0
    numbers = tuple(int(part) for part in version.split(".")[:2])
    props = {"znode.container.checkIntervalMs": 10**9, "zookeeper.enforceQuota": "true"}
    real = Server(version, extended=True, superpw="super", props=props)
    with real, EmbeddedServer(version=version, super_password="super", reap_interval=1e9, enforce_quota=True) as embedded:
        players = {
            "real": Player(real.host, real.port, numbers),
            "embedded": Player("127.0.0.1", embedded.port, numbers),
        }
        began = said = time.monotonic()
        for count, seed in enumerate(seeds, 1):
            script = Author(seed, numbers).script(steps)
            difference = compare(players, script)
            if difference is not None:
                differences += 1
                print(f"{version}: seed {seed} differs: {difference}", flush=True)
                shorter = shrink(players, script)
                print(f"shrunken to {len(shorter)} steps:", flush=True)
                for step in shorter:
                    print(f"  {step!r}")
                print(compare(players, shorter) or "  (not any more: it depends on time)", flush=True)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{version}: {count} scripts, {differences} differences, {said - began:.0f} s", flush=True)
    return differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scripts", type=int, default=5000, help="how many, on each version")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=20, help="steps of a script")
    parser.add_argument("--versions", default="", help="real servers to compare with (default: all that were fetched)")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.scripts)
    at_hand = [version for version in packages.EXTRA if packages.cached(version)]
    versions = options.versions.replace(",", " ").split() or sorted({*packages.versions(), *at_hand})
    differences = sum(run(version, seeds, options.steps) for version in versions)
    print(f"{options.scripts} scripts, {differences} differences (real {', '.join(versions)})")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
