"""The verb `render`: a file for those who do not speak ZooKeeper.

Owns its arguments, and what is said of a run. Must not know how a file is made: that is `outputs`.
"""

from __future__ import annotations

import argparse
import json
from time import monotonic, time
from typing import Any, Dict, List, Optional

from .codecs import find
from .output import Output, printable
from .outputs import NAMES, Named, Renderer, Told
from .outputs.renderer import COMMAND_TIMEOUT, EVERY
from .outputs.template import Template
from .reports import iso_time


class NotRenderedError(Exception):
    """With `--once`, the file is not as it should be."""


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """What `render` takes besides the path and the name of a service."""
    group = verb.add_argument_group("the file")
    group.add_argument("--output", required=True, metavar="FILE", help="which is replaced as a whole, whenever the "
                       "live instances change; on trouble it stays as it is")  # fmt: skip
    group.add_argument("--format", required=True, choices=NAMES, help="how instances are written in it")
    group.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the format, as "
                       "backend=api or server='check inter 1s'; a value for a template")  # fmt: skip
    group.add_argument("--template", metavar="FILE", help="for the format template: $name $address, between "
                       "lines #each and #end for each instance")  # fmt: skip
    group.add_argument("--exec", metavar="COMMAND", help="a line of shell that is run after each change, and "
                       "again while it fails, as 'systemctl reload haproxy'")  # fmt: skip
    group.add_argument("--exec-timeout", type=float, default=COMMAND_TIMEOUT, metavar="SECONDS",
                       help=f"after which it is killed (default: {COMMAND_TIMEOUT:g})")  # fmt: skip
    group.add_argument("--every", type=float, default=EVERY, metavar="SECONDS",
                       help=f"between two changes, at least (default: {EVERY:g})")  # fmt: skip
    group.add_argument("--once", action="store_true", help="write it, run the command if that has changed it, and end")
    group.add_argument("--allow-empty", action="store_true", help="write an empty set, too; or else the last one stays")
    group.add_argument("--mode", metavar="OCTAL", help="of the file (default: as it was, 0644 for a new one)")


class Rendering:
    """What a run of `render` is made of. `inbox` gets what there is to say; `ValueError` for what does not fit."""

    def __init__(self, options: argparse.Namespace, directory: str, inbox: Any) -> None:
        self.codec = Named(find(options.codec or "text"))
        self._json, self._once = bool(getattr(options, "json", False)), options.once
        service = options.name or directory.rpartition("/")[2]
        settings = _settings(options.set)
        if (options.format == "template") != (options.template is not None):
            raise ValueError("--template goes with --format template, and the other way round")
        form: Any = options.format
        if options.template is not None:
            with open(options.template, encoding="utf-8") as file:
                form = Template(service, directory, settings, file.read())
        self._renderer = Renderer(
            options.output, form, service=service, directory=directory, settings=settings, command=options.exec,
            command_timeout=options.exec_timeout, every=options.every, allow_empty=options.allow_empty,
            mode=_mode(options.mode), told=inbox.put,
        )  # fmt: skip
        self._trouble = "nothing is known yet"

    def begin(self, instancer: Any, patience: float) -> None:
        """Follow it; with `--once` for at most so many seconds."""
        self._deadline = monotonic() + patience
        instancer.register(self._renderer)

    def say(self, told: Told, output: Output) -> None:
        """One thing that has happened: on stdout what went well, on stderr what did not."""
        if not told.well:
            self._trouble = told.text
            if not self._once or told.about == "left out":  # the end says the rest
                output.trouble(told.text)
            return
        line = json.dumps({"time": iso_time(time()), "text": told.text}) if self._json else printable(told.text)
        output.line(line)

    @property
    def well(self) -> bool:
        """Whether the file shows the newest set, and the command has ended well."""
        outcome = self._renderer.wait(0)
        return outcome is not None and outcome.well

    def over(self) -> bool:
        """Whether all is done that was wanted, with `--once`. `NotRenderedError` if it cannot be."""
        if not self._once:
            return False
        outcome = self._renderer.wait(0)
        if outcome is None and monotonic() < self._deadline:
            return False
        if outcome is None or not outcome.well:
            raise NotRenderedError(outcome.text if outcome is not None else self._trouble)
        return True

    def stop(self) -> None:
        """Write no more; a command that runs is ended. Blocks for less than a second."""
        self._renderer.stop(0.8)


def _settings(given: List[str]) -> Dict[str, str]:
    settings = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise ValueError(f"--set takes NAME=VALUE, not {one!r}")
        settings[name] = value
    return settings


def _mode(text: Optional[str]) -> Optional[int]:
    if text is None:
        return None
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"--mode takes octal digits, as 0644, not {text!r}") from None
