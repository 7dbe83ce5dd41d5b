"""`python -m zkdisco run`: a command that is listed while it runs and is healthy.

Owns the parts and the main thread, which waits on one queue: signals, reports of the registration, and the clock. Must
not decide when what is to be done: `supervised` and `health.gate` do. The main thread waits neither for ZooKeeper nor
for a reader of stderr: a signal is heard, and the command's end seen, at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from queue import Empty
from time import monotonic, time
from typing import Any, Dict, NamedTuple, Optional, Tuple

from ._zkwire import KazooState, SimpleQueue, errors
from .command import Command, not_started, passed_on
from .exposition import CONTENT_TYPE, Family, exposition, gauge
from .first_process import stand_in_front
from .health.gate import Gate
from .health.prober import Prober, Result
from .output import last_error, last_trouble
from .plan import Plan
from .probes import ProbeFiles
from .reports import iso_time
from .supervised import PATIENCE, Deregister, Kill, PassOn, Supervision
from .systemd import Notifier
from .threads import Client, Registrar
from .values import NotRegisteredError, Service

#: Seconds between two looks at what tells nobody: the pause file, and how all stands.
LOOK = 0.25
#: Of what a pages' reader is told, in seconds: older, the main thread stands still.
STALE = 5.0
#: Why nothing is listed at the end.
TOLD, OVER = "the command has been told to end", "the command has ended"
#: Seconds in which the first connection is made without a word.
FIRST = 1.0
#: Seconds for a registration that is taken back in the background.
AT_LAST = 1e6
#: The most characters of a line on stderr, which has to fit into a pipe at once.
LINE = 1000


class Signal(NamedTuple):
    """A signal that has come."""

    number: int


class Seen(NamedTuple):
    """How all stood when the main thread looked last; `at` is of `monotonic`, the rest are plain values."""

    at: float
    node: Optional[str]
    ready: bool
    connected: bool
    why: Optional[str]
    failing: Optional[str]
    paused: Optional[str]
    phase: str
    registrations: int


class Checks:
    """What came of the checks, for the metrics. Written by the prober's thread alone."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self.last: Optional[Result] = None

    def told(self, result: Result) -> None:
        """Another one is done."""
        self.passed += result.reason is None
        self.failed += result.reason is not None
        self.last = result


def run(plan: Plan, service: Service, arguments: Dict[str, Any]) -> int:
    """Run the command to its end; the exit status. `arguments` are those of the client."""
    stand_in_front()
    inbox: SimpleQueue[Any] = SimpleQueue()
    for number in passed_on():
        if signal.getsignal(number) is not signal.SIG_IGN:  # of nohup, which is for the command, too
            signal.signal(number, lambda number, frame: inbox.put(Signal(number)))
    signal.signal(signal.SIGCHLD, lambda number, frame: inbox.put(None))
    return Sidecar(plan, service, arguments, inbox).run()


class Sidecar:
    """One run."""

    def __init__(self, plan: Plan, service: Service, arguments: Dict[str, Any], inbox: SimpleQueue[Any]) -> None:
        self._plan, self._inbox = plan, inbox
        self._notifier = Notifier.of_environment()
        self._supervision = Supervision(plan.drain, plan.kill_after)
        self._gate = Gate(plan.rise, plan.fall, begin_open=plan.check is None)
        self._checks = Checks()
        self._prober: Optional[Prober] = None
        if plan.check is not None:
            self._prober = Prober(plan.check, self._gate, plan.interval, plan.timeout, self._checks.told)
        self._files = ProbeFiles(plan.ready_file, plan.health_file, self._trouble)
        self._files.begin()
        self._command: Optional[Command] = None
        self._leaving = self._left = False
        self._may_stand = False  # whether a node was there, or under way, when the registration was taken back
        self._nodes: Tuple[str, ...] = ()  # that we have been listed as, the newest last
        self._ready = False
        self._said: Tuple[Optional[str], Optional[str]] = (None, None)
        self._pause_trouble = False
        self._look_at_pause()  # before anything is listed
        self._client = Client(**arguments, wait=0)
        self._registrar = Registrar(self._client, service, identity=plan.identity, gate=self._gate)
        self._directory = service.directory
        self._began = time()
        self._seen = self._look_at_registration()
        if plan.listen is not None:
            self._serve(plan.listen)

    # ------------------------------------------------------------------------ main thread

    def run(self) -> int:
        """The exit status. However it ends, it takes at most `PATIENCE` from the end of the command on."""
        words = self._plan.command
        try:
            self._command = Command(words)
        except OSError as error:
            return last_trouble(f"{words[0]}: {error.strerror}", not_started(error))
        self._began = time()
        try:
            self._registrar.observe(self._inbox)
            self._registrar.start()
            self._show(self._seen)
            if self._prober is not None:
                self._prober.start()
            while self._supervision.status is None:
                self._step()
        finally:
            self._end()
        return self._supervision.status

    def _step(self) -> None:
        """Take what comes next, or wait a moment; then see how all stands, and do what is to be done."""
        self._hear(self._seconds())
        status = self._command.look() if self._command is not None else None
        if status is not None:
            self._supervision.ended(status, monotonic())
        self._look_at_pause()
        self._seen = self._look_at_registration()
        self._supervision.stands(self._may_be_listed(), self._client.zk.connected, monotonic())
        self._act()
        self._show(self._seen)

    def _seconds(self) -> float:
        deadline = self._supervision.deadline()
        return LOOK if deadline is None else max(0.0, min(LOOK, deadline - monotonic()))

    def _hear(self, seconds: float) -> None:
        """All that has come; wait for the first of it."""
        try:
            what = self._inbox.get(True, seconds)
            while True:
                if isinstance(what, Signal):
                    self._supervision.stands(self._may_be_listed(), self._client.zk.connected, monotonic())
                    self._supervision.signalled(what.number, what.number in self._plan.ending, monotonic())
                what = self._inbox.get(False)
        except Empty:
            pass

    def _act(self) -> None:
        for action in self._supervision.actions():
            if isinstance(action, Deregister):
                self._deregister()
            elif isinstance(action, PassOn) and self._command is not None:
                self._command.send(action.number)
            elif isinstance(action, Kill) and self._command is not None:
                self._trouble(f"the command goes on {self._plan.kill_after:g} s after it was told to end: killed")
                self._command.kill()

    def _deregister(self) -> None:
        self._may_stand = self._may_be_listed()  # as of before: from now on that is what it says
        self._leaving = True
        self._tell("STOPPING=1")

        def leave() -> None:
            try:
                self._registrar.deregister(timeout=AT_LAST)
            except NotRegisteredError:
                pass
            except errors.ZookeeperError:
                return  # it is not known to be gone
            self._left = True
            self._inbox.put(None)

        threading.Thread(target=leave, name="zkdisco goodbye", daemon=True).start()

    def _end(self) -> None:
        """The command has ended: our node goes, if there is a way to say so; then the session."""
        for number in passed_on():
            signal.signal(number, signal.SIG_IGN)  # nobody is left to hear them, and the exit status is the command's
        self._act()
        if self._prober is not None:
            self._prober.stop()
        end = monotonic() + PATIENCE
        while self._leaving and not self._left and self._client.zk.connected and monotonic() < end:
            self._hear(max(0.0, min(LOOK, end - monotonic())))
        self._files.end()
        if self._said[0] is not None or self._said[1] != TOLD:
            self._say(None if self._left else self._registrar.node, OVER)
        if (self._nodes or self._may_stand) and not self._left:  # also one of which no answer has told
            seconds = self._client.options.session_timeout
            self._trouble(f"not taken back in time; the node ends with the session, in {seconds:g} s at most")
        goodbye = threading.Thread(target=self._client.stop, daemon=True)
        goodbye.start()
        if self._client.zk.connected:
            goodbye.join(max(0.0, end - monotonic()))

    # ----------------------------------------------------------------------- what is seen

    def _look_at_pause(self) -> None:
        path = self._plan.pause_file
        if path is None:
            return
        try:
            os.stat(path)
            there = True
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError as error:  # nobody knows: it stays as it was
            if not self._pause_trouble:
                self._trouble(f"{path}: {error.strerror}")
            self._pause_trouble = True
            return
        self._pause_trouble = False
        if there and self._gate.paused is None:
            self._gate.pause(f"paused: {path} is there", monotonic())
        elif not there and self._gate.paused is not None:
            self._gate.resume(monotonic())

    def _may_be_listed(self) -> bool:
        """Whether a node of ours is there, or may be: its answer may be on the way, or lost."""
        if self._left or self._registrar.node is not None:
            return not self._left
        if self._leaving:
            return self._may_stand
        return self._gate.shut is None and self._client.zk.client_id is not None

    def _look_at_registration(self) -> Seen:
        node, error, shut = self._registrar.node, self._registrar.error, self._gate.shut
        if node is not None and self._nodes[-1:] != (node,):
            self._nodes += (node,)
        state = self._client.zk.state
        connected = state == KazooState.CONNECTED
        listed = None if state == KazooState.LOST or self._left else node
        why = shut if shut is not None and self._client.end is None else None if error is None else str(error)
        if connected and isinstance(error, errors.ConnectionLoss):
            why = None  # it is back, and the registration is being looked at
        if self._supervision.ending:
            why = TOLD if self._supervision.status is None else OVER
        ready = listed is not None and shut is None and not self._supervision.ending
        return Seen(
            monotonic(), listed, ready, connected, why, self._gate.failing, self._gate.paused, self._supervision.phase,
            len(self._nodes),
        )  # fmt: skip

    # ------------------------------------------------------------------------ who is told

    def _show(self, seen: Seen) -> None:
        if seen.ready and not self._ready:
            self._ready = True
            self._tell("READY=1")
        going = seen.node is not None and seen.connected and not seen.ready
        if (seen.node, seen.why) != self._said and not (going or self._is_connecting(seen) or seen.why == OVER):
            self._said = (seen.node, seen.why)
            self._say(seen.node, seen.why)
        if self._files.wanted:
            told = {**self._client.report().as_dict(), **self._status(seen)}
            told["ok"] = told["ok"] and seen.phase == "running"
            line = json.dumps({"time": iso_time(time()), **told})
            for one in told["registrations"]:
                del one["since"]
            self._files.show(seen.node if seen.ready else None, line, told, monotonic())

    def _is_connecting(self, seen: Seen) -> bool:
        """Whether the first connection is still being made, which is no news for a moment."""
        never = self._client.zk.client_id is None and self._gate.shut is None and seen.phase == "running"
        return never and self._client.end is None and time() - self._began < FIRST

    def _say(self, node: Optional[str], why: Optional[str]) -> None:
        text = f"registered {node}" if node is not None else "not registered"
        text = text if why is None else f"{text}: {why}"
        if self._plan.json:
            last_error(json.dumps({"time": iso_time(time()), "node": node, "error": why}))
        else:
            self._trouble(text)
        try:
            self._notifier.status(text)
        except OSError as error:
            self._trouble(f"{error.strerror}: systemd is not told")

    def _tell(self, what: str) -> None:
        try:
            self._notifier.tell(what)
        except OSError as error:
            self._trouble(f"{error.strerror}: systemd is not told {what}")

    def _trouble(self, text: str) -> None:
        last_trouble(text[:LINE], 1)

    @staticmethod
    def _status(seen: Seen) -> Dict[str, Any]:
        return {"node": seen.node, "why": seen.why, "failing": seen.failing, "paused": seen.paused, "phase": seen.phase}

    # ------------------------------------------------------------------- the pages' threads

    def _serve(self, place: Tuple[str, int]) -> None:
        from .pages import Page, Pages

        def answer(well: bool, seen: Seen) -> Page:
            return Page(200 if well else 503, "application/json", json.dumps(self._status(seen)) + "\n")

        def health() -> Page:
            seen = self._seen
            return answer(seen.failing is None and monotonic() - seen.at < STALE, seen)

        def readiness() -> Page:
            seen = self._seen
            return answer(seen.ready and monotonic() - seen.at < STALE, seen)

        def metrics() -> Page:
            return Page(200, CONTENT_TYPE, exposition(self._metrics()))

        self._pages = Pages(place, {"/healthz": health, "/readyz": readiness, "/metrics": metrics})

    def _metrics(self) -> Tuple[Family, ...]:
        seen, checks, where = self._seen, self._checks, self._directory
        last = checks.last
        results = (({"result": "passed"}, checks.passed), ({"result": "failed"}, checks.failed))
        found = (
            gauge("zkdisco_registered", "Whether the instance is listed.", seen.node is not None, directory=where),
            gauge("zkdisco_connected", "Whether there is a connection to ZooKeeper.", seen.connected),
            gauge("zkdisco_healthy", "Whether the checks say that it is well.", seen.failing is None),
            gauge("zkdisco_paused", "Whether the pause file is there.", seen.paused is not None),
            gauge("zkdisco_ending", "Whether the command has been told to end.", seen.phase != "running"),
            gauge("zkdisco_command_start_time_seconds", "When the command was started, in Unix time.", self._began),
            gauge("zkdisco_looked_seconds", "Seconds since all this was so.", round(monotonic() - seen.at, 3)),
            Family("zkdisco_registrations_total", "counter", "Nodes that were made.", (({}, seen.registrations),)),
            Family("zkdisco_checks_total", "counter", "Checks, by what came of them.", results),
        )
        took = () if last is None else (
            gauge("zkdisco_check_duration_seconds", "Seconds that the newest check took.", round(last.seconds, 6)),
        )  # fmt: skip
        return found + took

