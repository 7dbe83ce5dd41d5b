"""What `python -m zkdisco run` is told: its arguments, and the values they stand for.

Owns their names, defaults and limits; all is checked before anything is started. Must not know what is done with them.
"""

from __future__ import annotations

import argparse
import re
import signal
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from .signals import ENDING

#: Defaults, in seconds or in checks.
INTERVAL, TIMEOUT, RISE, FALL, DRAIN, KILL_AFTER = 1.0, 1.0, 2, 3, 5.0, 30.0
#: Longer than anybody waits, in seconds.
LONGEST = 1e9

EXAMPLES = """\
examples:
  python -m zkdisco run --path /services --name api --data 10.0.2.10:80 -- ./server --port 80
  python -m zkdisco run --path /services --name api --data 10.0.2.10:80 --check tcp://:80 -- ./server
  python -m zkdisco run --path /services --name api --data 10.0.2.10:80 --check http://:80/health --drain 10 -- ./server
  python -m zkdisco run --path /services --name db --data 10.0.2.10:5432 --check 'cmd pg_isready -q' -- postgres
  python -m zkdisco run --path /services --name api --data 10.0.2.10:80 --check tcp://:80 --pause-file /run/pause \\
      --ready-file /run/ready --listen 127.0.0.1:9102 -- ./server
  python -m zkdisco run --path /services --name web --data 10.0.2.10:80 --forward HUP -- ./reloads-on-hup

The command starts at once, whether ZooKeeper is there or not. It is listed while it runs, is healthy and is not paused.
SIGTERM, SIGINT, SIGHUP and SIGQUIT take it off the list first, and reach it --drain seconds later; a second one skips
the wait, unless it comes with the first. All other signals are passed on at once. stdin, stdout and stderr are the
command's; what this program has to say goes to stderr. ZooKeeper is never waited for, so --wait means nothing here.

exit status: that of the command, 128 and the number of the signal that killed it, 127 no such command, 126 it cannot be
run; 1 any other trouble before the command is started, 2 arguments that cannot be right.
"""


class Plan(NamedTuple):
    """Times are seconds; `check` is callable or None; `listen` is (host, port) or None; signals are numbers."""

    command: Tuple[str, ...]
    check: Any
    interval: float
    timeout: float
    rise: int
    fall: int
    drain: float
    kill_after: float
    pause_file: Optional[str]
    ready_file: Optional[str]
    health_file: Optional[str]
    listen: Optional[Tuple[str, int]]
    ending: Tuple[int, ...]
    forward: Tuple[int, ...]
    identity: Optional[str]
    json: bool


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """What `run` takes besides what all verbs do, and those of `register`."""
    verb.usage = "%(prog)s [options] --path PATH --name NAME --data DATA -- COMMAND ..."
    group = verb.add_argument_group("health")
    group.add_argument("--check", metavar="CHECK", help="tcp://HOST:PORT, http://HOST:PORT/path (a status from 200 to "
                       "399 passes), or 'cmd PROGRAM ...' (exit status 0 passes); without a host, this machine; "
                       "without a check, the command is healthy while it runs")  # fmt: skip
    group.add_argument("--interval", type=float, default=INTERVAL, metavar="SECONDS",
                       help=f"from one check to the next (default: {INTERVAL:g})")  # fmt: skip
    group.add_argument("--timeout", type=float, default=TIMEOUT, metavar="SECONDS",
                       help=f"for one check, all of it (default: {TIMEOUT:g})")  # fmt: skip
    group.add_argument("--rise", type=int, default=RISE, metavar="N",
                       help=f"so many passed checks in a row put it on the list (default: {RISE})")  # fmt: skip
    group.add_argument("--fall", type=int, default=FALL, metavar="N",
                       help=f"so many failed checks in a row take it off (default: {FALL})")  # fmt: skip
    group.add_argument("--pause-file", metavar="FILE", help="while it is there, the instance is not listed")
    group = verb.add_argument_group("the end")
    group.add_argument("--drain", type=float, default=DRAIN, metavar="SECONDS", help="from being off the list to the "
                       f"signal that ends the command (default: {DRAIN:g})")  # fmt: skip
    group.add_argument("--kill-after", type=float, default=KILL_AFTER, metavar="SECONDS", help="from that signal to "
                       f"SIGKILL (default: {KILL_AFTER:g})")  # fmt: skip
    group.add_argument("--forward", default="", metavar="SIGNAL,...", help="these are passed on at once, and end "
                       "nothing: HUP for a command that reloads")  # fmt: skip
    group = verb.add_argument_group("who is told")
    group.add_argument("--listen", metavar="HOST:PORT", help="serve /healthz, /readyz and /metrics; without a host, on "
                       "127.0.0.1")  # fmt: skip


def plan(options: argparse.Namespace, command: Sequence[str]) -> Plan:
    """The values of these arguments; `ValueError` for what cannot be right."""
    if not command:
        raise ValueError("which command? give it after --")
    if any("\0" in word for word in command):
        raise ValueError("a command holds no null character")
    for name in ("interval", "timeout"):
        _seconds(name, getattr(options, name), 0.001)
    for name in ("drain", "kill_after"):
        _seconds(name, getattr(options, name), 0.0)
    check = None
    if options.check is not None:
        from .health import parse_check

        check = parse_check(options.check)
    for name in ("rise", "fall"):
        if getattr(options, name) < 1:
            raise ValueError(f"invalid --{name} {getattr(options, name)}: a number of checks, at least 1")
    forward = _signals(options.forward)
    ending = [int(getattr(signal, name)) for name in ENDING if hasattr(signal, name)]
    return Plan(
        tuple(command), check, options.interval, options.timeout, options.rise, options.fall, options.drain,
        options.kill_after, options.pause_file, getattr(options, "ready_file", None),
        getattr(options, "health_file", None), None if options.listen is None else _place(options.listen),
        tuple(number for number in ending if number not in forward), forward, getattr(options, "identity", None),
        bool(getattr(options, "json", False)),
    )  # fmt: skip


def _seconds(name: str, value: float, least: float) -> None:
    if not least <= value < LONGEST:
        option = name.replace("_", "-")
        raise ValueError(f"invalid --{option} {value!r}: seconds, at least {least:g}")


def _signals(text: str) -> Tuple[int, ...]:
    found: List[int] = []
    for word in filter(None, text.split(",")):
        name = word.strip().upper()
        number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
        if not isinstance(number, signal.Signals):
            raise ValueError(f"invalid --forward {text!r}: there is no signal {word.strip()!r}")
        found.append(int(number))
    return tuple(found)


def _place(text: str) -> Tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]*)):([0-9]{1,5})", text)
    if found is None or int(found.group(3)) > 65535:
        raise ValueError(f"invalid --listen {text!r}: ADDRESS:PORT, [ADDRESS]:PORT for IPv6, or :PORT")
    return found.group(1) or found.group(2) or "127.0.0.1", int(found.group(3))
