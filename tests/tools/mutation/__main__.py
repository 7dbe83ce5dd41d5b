"""Draws mutants of the cores and runs the tests of their core on each; fails if one survives without a reason.

    python -m tests.tools.mutation [--mutants 140] [--seed 1] [--core wire] [--limit 120]

cosmic-ray makes the mutants, in a copy of the project. Files are drawn in proportion to their lines, then a place in the
file, then one of the mutants of that place. Those that survive and need not be seen stand in survivors.txt, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, NamedTuple, Sequence, Set, Tuple

from cosmic_ray.work_db import use_db  # type: ignore[import-not-found]
from cosmic_ray.work_item import WorkerOutcome, WorkResult  # type: ignore[import-not-found]

from tests.tools.cores import CORES, SELECTION, Core, lines, sources

PROJECT = Path(__file__).resolve().parents[3]
KNOWN = Path(__file__).with_name("survivors.txt")
COPIED = ("zkwire", "zkdisco", "tests", "testdata", "docs", "pyproject.toml", "README.md", "Makefile")
#: How a place in a file is written on: path, operator, and the line.
Key = Tuple[str, str, str]


class Fate(NamedTuple):
    """What became of a mutant: `outcome` is cosmic-ray's; `diff` is what the mutant changes."""

    key: Key
    outcome: str
    diff: str


def known() -> Dict[Key, str]:
    """Mutants that need not be seen, with the reason."""
    told = {}
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            path, operator, source, reason = line.split(" | ", 3)
            told[path, operator, source] = reason
    return told


def share(total: int) -> Dict[str, int]:
    """How many mutants each core gets, in proportion to its lines; together `total`."""
    sizes = {core.name: sum(lines(sources(core)).values()) for core in CORES}
    ends, shares, before = 0, {}, 0
    for name, size in sizes.items():
        ends += size
        shares[name] = round(total * ends / sum(sizes.values())) - before
        before += shares[name]
    return shares


def drawn(items: Sequence[Any], sizes: Dict[Path, int], count: int, dice: random.Random) -> Set[str]:
    """The ids of `count` mutants: by lines of files, then places, then kinds."""
    places: Dict[Path, Dict[Any, List[Any]]] = {}
    for item in sorted(items, key=lambda item: (str(item.mutations[0].module_path), item.mutations[0].start_pos,
                                                item.mutations[0].operator_name, item.mutations[0].occurrence)):  # fmt: skip
        mutation = item.mutations[0]
        places.setdefault(mutation.module_path, {}).setdefault(mutation.start_pos, []).append(item)
    chosen: Set[str] = set()
    while len(chosen) < count and places:
        paths = sorted(places)
        path = dice.choices(paths, [sizes[path] for path in paths])[0]
        chosen.add(dice.choice(places[path].pop(dice.choice(sorted(places[path])))).job_id)
        if not places[path]:
            del places[path]
    return chosen


def copy_project(folder: Path) -> None:
    """A copy that may be spoiled."""
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy2(source, folder / name)


def configuration(core: Core, limit: float) -> str:
    """cosmic-ray's, for one core. JSON's lists and strings are TOML's too."""
    command = [sys.executable, "-m", "pytest", "-x", *SELECTION[:-1], f'"{SELECTION[-1]}"', *core.tests]
    return "\n".join([
        "[cosmic-ray]",
        f"module-path = {json.dumps([str(path) for path in sources(core)])}",
        f"timeout = {limit}",
        "excluded-modules = []",
        f"test-command = {json.dumps(' '.join(command))}",
        "[cosmic-ray.distributor]",
        'name = "local"',
    ])  # fmt: skip


def run(core: Core, count: int, seed: int, limit: float) -> List[Fate]:
    """What became of `count` mutants of a core."""
    dice = random.Random(f"{seed} {core.name}")  # noqa: S311
    # Bytecode is neither read nor written where a file has just been changed: its time and size may be the same.
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    ray = str(Path(sys.executable).with_name("cosmic-ray"))
    with TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        (folder / "ray.toml").write_text(configuration(core, limit), encoding="utf-8")
        session = folder / "session.sqlite"
        subprocess.run([ray, "baseline", "ray.toml"], cwd=folder, env=env, check=True)
        subprocess.run([ray, "init", "ray.toml", session.name], cwd=folder, env=env, check=True)
        with use_db(str(session)) as db:
            chosen = drawn(list(db.work_items), lines(sources(core)), count, dice)
            skipped = [item.job_id for item in db.work_items if item.job_id not in chosen]
            db.set_multiple_results(skipped, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
        subprocess.run([ray, "exec", "ray.toml", session.name], cwd=folder, env=env, check=True)
        with use_db(str(session)) as db:
            return [fate(item.mutations[0], result) for item, result in db.completed_work_items if item.job_id in chosen]


def fate(mutation: Any, result: Any) -> Fate:
    """What became of one mutant."""
    source = (PROJECT / mutation.module_path).read_text(encoding="utf-8").splitlines()[mutation.start_pos[0] - 1].strip()
    outcome = result.test_outcome.value if result.test_outcome is not None else result.worker_outcome.value
    return Fate((str(mutation.module_path), mutation.operator_name.split("/")[-1], source), outcome, result.diff or "")


def _said(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def main(*arguments: str) -> int:
    """0 if each mutant was killed or has its reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.mutation")
    parser.add_argument("--mutants", type=int, default=140)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", choices=[core.name for core in CORES])
    parser.add_argument("--limit", type=float, default=180.0, help="seconds for the tests of one mutant")
    options = parser.parse_args(arguments)
    reasons, open_ones = known(), 0
    totals: Counter[str] = Counter()
    for core in CORES:
        if options.core in (None, core.name):
            started = time.monotonic()
            fates = run(core, share(options.mutants)[core.name], options.seed, options.limit)
            alive = [one for one in fates if one.outcome != "killed"]
            for one in alive:
                reason = reasons.get(one.key)
                open_ones += reason is None
                print(f"{one.outcome}: {' | '.join(one.key)} | {reason or 'NO REASON'}\n{'' if reason else one.diff}", flush=True)
            kinds = Counter(reasons[one.key].partition(":")[0] for one in alive if one.key in reasons)
            told = Counter({"mutants": len(fates), "killed": len(fates) - len(alive), "survive": len(alive) - sum(kinds.values())})
            totals.update(told + kinds)
            print(f"{core.name}: {_said(told + kinds)}; {time.monotonic() - started:.0f} s", flush=True)
    print(f"all: {_said(totals)}")
    return 1 if open_ones else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
