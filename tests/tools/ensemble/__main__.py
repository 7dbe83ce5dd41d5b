"""`make ensemble` and `make soak`: see the package."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import Any, List, Tuple

from . import network, report
from .broken import BROKEN
from .round import PROFILES, Plan, Result, play, pythons
from .soak import Samples

#: Seconds of a round: long enough for a dozen faults, short enough for logs and histories to be read in one go. In a soak,
#: an hour, with the pause between two steps of a client that keeps these of the same size.
ROUND, PACE = 120.0, 0.15
HOUR, SLOW_PACE = 3600.0, 2.0
#: Honest clients beside the broken ones: those whose work these are to see.
BESIDE = 8


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def arguments() -> Any:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.ensemble")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, default=0.0, help="a soak: rounds of an hour, with slopes of memory, descriptors, threads")
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds, whatever the minutes")
    parser.add_argument("--seconds", type=float, default=0.0, help=f"the length of a round ({ROUND:g}; of a soak {HOUR:g})")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--version", default="3.8.0")
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--profile", default="", help="the beginning of a profile's name, for all rounds")
    parser.add_argument("--wild", action="store_true", help="a second fault before the first is over; told apart")
    parser.add_argument("--broken", action="store_true", help="only rounds with broken clients among the others, which have to be found")
    parser.add_argument("--no-broken", action="store_true", help="no such round at the end")
    parser.add_argument("--no-namespaces", action="store_true", help="the fault proxy, though there are namespaces")
    parser.add_argument("--verbose", action="store_true", help="a line for each fault as it happens")
    return parser.parse_args()


def main() -> int:
    """All rounds; 1 if anything was wrong, or a broken client was not found."""
    options = arguments()
    # Where an environment forbids bytecode, every client process would compile everything anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(network.ROOT / ".pytest_cache" / "bytecode"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    why_not = "not asked for" if options.no_namespaces else network.unavailable()
    say(f"network: {'the fault proxy: ' + why_not if why_not else 'network namespaces and a router of our own'}")
    say(f"clients: blocking and asyncio, on Python {', '.join(pythons())}")
    began, results, grows = time.monotonic(), [], []
    for number, plan in enumerate(plans(options, not why_not), 1):
        samples = Samples()
        results.append(play(plan._replace(sample=samples.take, verbose=options.verbose), say))
        figures, too_much = samples.lines()
        for line in [*report.of_round(number, results[-1]), *(figures if options.hours else ())]:
            say(line)
        grows += too_much if options.hours else []
    for line in [*report.of_all(results), *(f"GROWS: {what}" for what in grows)]:
        say(line)
    say(report.summary(results, time.monotonic() - began))
    return verdict(results, grows)


def plans(options: Any, namespaces: bool) -> Any:
    """One round after the other, until the time is over; behind them, a round with broken clients."""
    length, pace = (HOUR, SLOW_PACE) if options.hours else (ROUND, PACE)
    length = options.seconds or length
    total = 3600 * options.hours or 60 * options.minutes
    profiles = [profile for profile in PROFILES if profile.name.startswith(options.profile)]
    if not profiles:
        raise SystemExit(f"no profile {options.profile!r}; there are {', '.join(p.name for p in PROFILES)}")
    clients = max(options.clients, len(BROKEN) + BESIDE) if options.broken else options.clients
    end, number = time.monotonic() + total, 0
    while number < options.rounds if options.rounds else time.monotonic() < end or not number:
        seconds = length if options.rounds else max(10.0, min(length, end - time.monotonic()))
        profile = profiles[number % len(profiles)]
        yield Plan(options.version, options.seed + number, seconds, clients, profile, options.wild, options.broken, namespaces, pace)
        number += 1
    if not (options.rounds or options.broken or options.no_broken or options.wild):
        clients = len(BROKEN) + BESIDE
        yield Plan(options.version, options.seed + number, ROUND, clients, PROFILES[0], broken=True, namespaces=namespaces)


def verdict(results: List[Result], grows: List[str]) -> int:
    """1 if anything was wrong that is judged: what the servers' own logs prove against the servers is told, and no more."""
    bad = sum(len(result.violations) for result in results if not result.plan.wild)
    unfound = unfound_of(results)
    return 1 if bad or unfound or grows else 0


def unfound_of(results: List[Result]) -> Tuple[str, ...]:
    """The broken clients that took part, and that no rule has found."""
    took_part = {kind: any(result.caught.get(kind) for result in results) for result in results for kind in result.caught}
    return tuple(kind for kind, found in took_part.items() if not found)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
