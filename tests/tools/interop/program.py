"""Clients that run as programs of their own: they write one line of JSON for each thing they note or want done.

    {"note": "what", "values": [...]}     is compared; a dict with "czxid" is a Stat
    {"do": "cut", "with": [...]}          is done to the server, and answered by a line of JSON
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Callable

from .place import PATIENCE
from .scenario import Trial

Action = Callable[..., Any]


def converse(trial: Trial, command: list[str], more: Mapping[str, Action] | None = None) -> None:
    """Run a program to its end. `more` are actions besides those below; each takes the trial and what comes `with` it."""
    actions = {**_ACTIONS, **(more or {})}
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, encoding="utf-8"
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            alarm = threading.Timer(3 * PATIENCE, process.kill)
            alarm.start()
            killed = False
            try:
                for line in process.stdout:
                    told = json.loads(line, object_hook=_stat)
                    if "note" in told:
                        trial.note(told["note"], *told["values"])
                    elif told["do"] == "kill":
                        process.kill()
                        killed = True
                        break
                    else:
                        answer = actions[told["do"]](trial, *told.get("with", ()))
                        process.stdin.write(json.dumps(answer) + "\n")
                        process.stdin.flush()
            finally:
                alarm.cancel()
                process.stdin.close()
                try:
                    process.wait(PATIENCE)
                finally:
                    process.kill()
        if process.returncode and not killed:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace")[-3000:]
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said}")


def _stat(value: dict[str, Any]) -> Any:
    return SimpleNamespace(**value) if "czxid" in value else value


def _changes(trial: Trial, *changes: list[str]) -> None:
    """What somebody else does: ["create", path, data], ["set", path, data], ["delete", path]."""
    for verb, path, *data in changes:
        call = getattr(trial.place.other, verb)
        call(path, *(one.encode() for one in data))


_ACTIONS: dict[str, Action] = {
    "cut": lambda trial: trial.place.cut(),
    "restart": lambda trial: trial.place.restart(),
    "silence": lambda trial, path: trial.place.silence(path),
    "away": lambda trial, *changes: trial.place.away(lambda: _changes(trial, *changes)),
    "change": _changes,
    "exists": lambda trial, path: trial.place.other.exists(path) is not None,
    "gone": lambda trial, path: trial.place.wait(lambda: trial.place.other.exists(path) is None, f"the end of {path}"),
    "children": lambda trial, path: sorted(trial.place.other.get_children(path)),
}
