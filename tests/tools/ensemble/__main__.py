"""`make ensemble`: see the package."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import Any, List

from . import network, report
from .broken import BROKEN
from .round import PROFILES, Plan, Result, play

#: Seconds of a round: long enough for a dozen faults, short enough for logs and histories to be read in one go.
ROUND = 120.0


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """All rounds; 1 if anything was wrong, or a broken client was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.ensemble", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=0, help="so many rounds, whatever the minutes")
    parser.add_argument("--seconds", type=float, default=ROUND, help="the length of a round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--version", default="3.8.0")
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--profile", default="", help="the beginning of a profile's name, for all rounds")
    parser.add_argument("--wild", action="store_true", help="a second fault before the first is over; told apart")
    parser.add_argument("--broken", action="store_true", help="broken clients among the others, which have to be found")
    parser.add_argument("--no-namespaces", action="store_true", help="the fault proxy, though there are namespaces")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    why_not = "not asked for" if options.no_namespaces else network.unavailable()
    say(f"network: {'the fault proxy: ' + why_not if why_not else 'network namespaces and a router of our own'}")
    profiles = [profile for profile in PROFILES if profile.name.startswith(options.profile)]
    results: List[Result] = []
    began, number = time.monotonic(), 0
    while number < options.rounds if options.rounds else time.monotonic() < began + 60 * options.minutes:
        left = options.seconds if options.rounds else began + 60 * options.minutes - time.monotonic()
        plan = Plan(
            options.version, options.seed + number, max(10.0, min(options.seconds, left)), _clients(options),
            profiles[number % len(profiles)], options.wild, options.broken, not why_not,
        )  # fmt: skip
        number += 1
        results.append(play(plan, say))
        for line in report.of_round(number, results[-1]):
            say(line)
    for line in report.of_all(results):
        say(line)
    say(report.summary(results, time.monotonic() - began))
    return verdict(results, options)


def _clients(options: Any) -> int:
    """With broken clients, there have to be others that do what these are to see."""
    return max(options.clients, len(BROKEN) + 8) if options.broken else options.clients


def verdict(results: List[Result], options: Any) -> int:
    """1 if anything was wrong that is judged."""
    bad = sum(len(result.violations) + len(result.servers) for result in results if not result.plan.wild)
    unfound = set(BROKEN) - {kind for result in results for kind, found in result.caught.items() if found} if options.broken else set()
    return 1 if bad or unfound else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
