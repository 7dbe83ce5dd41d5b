"""An observer that keeps a file equal to the live instances.

Owns the thread that writes and runs the command, and what is said of it. What to write is a format's matter, when is a
schedule's, how a writer's.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Union

from ..observers import tell
from ..values import WITH_A_SET, Event
from . import command as commands
from .entry import entry_of
from .format import Format
from .format import told as named
from .schedule import RUN, WRITE, Schedule
from .table import find
from .writer import Target

logger = logging.getLogger(__name__)
#: Seconds between two looks at whether somebody else has changed the file.
LOOK = 5.0
#: Seconds that a command may take, and between two writes.
COMMAND_TIMEOUT, EVERY = 30.0, 1.0
EMPTY = "nothing is left to write, and that is not allowed: an empty directory, one that is gone, or all left out"


class Told(NamedTuple):
    """What has happened: `well` if it is as it should be, `text` in words (which may hold what a command has printed).

    `about` is "set", "left out", "file" or "command".
    """

    well: bool
    text: str
    about: str


class Renderer:
    """Keeps the file at `path` equal to the sets of the events it is given: `instancer.register(renderer)`.

    `format` is the name of a format, or a `zkdisco.outputs.Format`; `service`, `directory` and `settings` are for the
    former. Have the instancer decode with `Named(codec)`: then servers are called as their nodes.

    - The file is replaced when its content changes, at most every `every` seconds: whole, with its mode and owner.
    - It stays as it is while the set is not of the moment (no connection, no rights) and, without `allow_empty`, when
      nothing is left to write. One that somebody else has changed is put right within some seconds.
    - `command` is a line of shell that is run after each change, for at most `command_timeout` seconds. While it fails,
      it is run again, after 1, 2, 4 seconds and so on, up to 30. A process that is killed in between leaves a note
      beside the file, and the next one runs it.
    - `told(what)` is called with each change of how all stands, a `Told`, on the thread that writes: it must not block
      for long. What it raises is logged.

    `put` never blocks, so that an asyncio instancer may have it, too. The constructor raises `ValueError` for a setting
    that cannot be one, and `OSError` if there is no such directory, or `path` is no file.
    """

    def __init__(
        self, path: str, format: Union[str, Format] = "json", *, service: str = "", directory: str = "",
        settings: Optional[Mapping[str, str]] = None, command: Optional[str] = None,
        command_timeout: float = COMMAND_TIMEOUT, every: float = EVERY, allow_empty: bool = False,
        mode: Optional[int] = None, told: Callable[[Told], Any] = lambda told: None,
    ) -> None:  # fmt: skip
        if not 0 <= every < 86400 or not 0 < command_timeout < 86400:
            raise ValueError(f"invalid seconds: every={every!r}, command_timeout={command_timeout!r}")
        if mode is not None and not 0 <= mode <= 0o777:
            raise ValueError(f"invalid mode {mode:o}: at most 777")
        self._format = format if isinstance(format, Format) else find(format)(service, directory, settings)
        self._target = Target(path, mode, self._format.place)
        self._target.prepare()
        self._path, self._allow_empty, self._told = path, allow_empty, told
        self._command, self._command_timeout = command, command_timeout
        self._schedule = Schedule(every, command is not None)
        self._changed = threading.Condition()
        self._newest: Optional[Event[Any]] = None
        self._stopped = False
        self._thread: Optional[threading.Thread] = None
        self._said: Dict[str, str] = {}  # what is wrong, and with what
        self._foreign = False  # whether somebody else has changed the file
        self._outcome: Optional[Told] = None  # of the newest event, once all that follows from it is done

    def put(self, event: Event[Any]) -> None:
        """Have the file show this set. Returns at once; the newest event counts."""
        with self._changed:
            self._newest, self._outcome = event, None
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="zkdisco-renderer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout: Optional[float] = None) -> Optional[Told]:
        """What has become of the newest event, as soon as that is known; None if it is not within so many seconds.

        It is `well` if the file shows it and the command has ended well, and not if the set is empty and held back, the
        file could not be written, or the command has failed. Nothing becomes of a set that is not of the moment.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._outcome is not None or self._stopped, timeout)
            return self._outcome

    def stop(self, timeout: float = 2.0) -> None:
        """Write no more; a command that runs is killed, and runs again with the next process. The file stays."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------------ on the thread

    def _run(self) -> None:
        looked = monotonic()
        if self._target.owed:
            self._schedule.owe(looked)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._newest is not None, self._patience(looked))
                if self._stopped:
                    return
                event, self._newest = self._newest, None
            if event is not None:
                self._take(event)
            now = monotonic()
            if now - looked >= LOOK:
                looked = now
                self._look()
            due = self._schedule.due(now)
            if due == WRITE:
                self._write()
            elif due == RUN:
                self._follow()

    def _patience(self, looked: float) -> float:
        deadline = self._schedule.deadline()
        until = looked + LOOK if deadline is None else min(looked + LOOK, deadline)
        return max(0.0, until - monotonic())

    def _take(self, event: Event[Any]) -> None:
        if event.error is not None and not isinstance(event.error, WITH_A_SET):
            self._say(Told(False, f"not written: {type(event.error).__name__}: {event.error}", "set"))
            return
        try:
            rendered = self._format.render([entry_of(one) for one in event.instances])
        except Exception as error:  # of a format of the user's own, or of instances that none can write
            logger.exception("exception in the format %r", self._format.name)
            self._finish(self._say(Told(False, f"not written: {type(error).__name__}: {error}", "set")))
            return
        missing = "; ".join(filter(None, [str(event.error or ""), named(rendered.left_out)]))
        self._say(Told(not missing, missing or "nothing is left out any more", "left out"))
        if not rendered.size and not self._allow_empty:
            self._finish(self._say(Told(False, f"not written: {EMPTY}", "set")))
            return
        self._say(Told(True, "there is a set to write again", "set"))
        self._schedule.want(rendered.text)
        self._rest()

    def _look(self) -> None:
        try:
            self._foreign = self._target.foreign()
        except OSError:
            self._foreign = True  # the next attempt says what is wrong
        if self._foreign:
            self._schedule.again()

    def _write(self) -> None:
        text = self._schedule.wanted
        try:
            changed = self._target.write(text, self._command is not None)
        except (OSError, ValueError) as error:
            self._schedule.not_written(monotonic())
            why = f"{self._path} is not written: {type(error).__name__}: {error}"
            self._finish(self._say(Told(False, why, "file")))
            return
        self._schedule.wrote(text, changed, monotonic())
        if not changed and self._command is not None and self._target.owed:
            self._schedule.owe(monotonic())  # the attempt before has failed after the file was in its place
        self._say(Told(True, f"{self._path} can be written again", "file"))
        if changed:
            whose = ", which somebody else had changed" if self._foreign else ""
            tell(self._told, Told(True, f"wrote {self._path}{whose}", "file"))
        self._foreign = False
        self._rest()

    def _follow(self) -> None:
        ran = commands.run(self._command or "", self._command_timeout, lambda: self._stopped)
        if self._stopped:
            return
        self._schedule.ran(ran.well, monotonic())
        outcome = Told(ran.well, f"the command {ran.how}" + (f": {ran.output}" if ran.output else ""), "command")
        if not ran.well:
            self._finish(self._say(outcome))
            return
        try:
            self._target.paid()
        except OSError as error:  # it will be run once more by the next process, which does no harm
            self._say(Told(False, f"the note beside {self._path} cannot be removed: {error}", "file"))
        self._said.pop("command", None)
        tell(self._told, outcome)
        self._rest()

    def _rest(self) -> None:
        """If nothing is left to be done, that is what has become of the newest event."""
        if self._schedule.settled:
            self._finish(Told(True, f"{self._path} is as it should be", "file"))

    def _say(self, what: Told) -> Told:
        """Tell it, unless it has been told, or was never otherwise; itself."""
        before = self._said.pop(what.about, "")
        if not what.well:
            self._said[what.about] = what.text
        if before if what.well else what.text != before:
            tell(self._told, what)
        return what

    def _finish(self, outcome: Told) -> None:
        """This has become of the newest event, if there is none that is newer."""
        with self._changed:
            if self._newest is None:
                self._outcome = outcome
                self._changed.notify_all()
