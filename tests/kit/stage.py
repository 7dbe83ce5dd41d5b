"""A stage for processes that end: what is done to them, and what somebody else sees of that, with one clock.

Owns the processes, the observer and the times. Must not know what should happen: tests compare, `make ends` prints.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

from tests.kit import children
from zkdisco import Client, Event, Instancer

PATH, NAME = "/svc", "api"
#: Seconds for anything that should happen; only what fails waits so long.
PATIENCE = 20.0


class Stage:
    """An observer of `/svc/api` below `hosts`; `say` is told each thing that is done or seen, in the order of the clock."""

    def __init__(self, hosts: str, say: Callable[[str], object] = lambda line: None) -> None:
        self.hosts = hosts
        self.say = say
        self._acted = time.monotonic()
        self._changed = threading.Condition()
        self._seen: List[Tuple[float, Event]] = []
        self._processes: List[subprocess.Popen[str]] = []
        self._client = Client(hosts, session_timeout=10.0)

    def __enter__(self) -> Stage:
        self.act(f"somebody else follows {PATH}/{NAME}")
        Instancer(self._client, f"{PATH}/{NAME}").register(self._observe)
        self.until()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Optional[TracebackType]) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it is the first of a session of its own
            process.wait(PATIENCE)
            for pipe in (process.stdin, process.stdout, process.stderr):
                with contextlib.suppress(OSError):
                    pipe and pipe.close()
        self._client.stop()

    # ------------------------------------------------------------------------------ what is done

    def act(self, what: str) -> None:
        """Something is done now: the times that follow count from here."""
        self._acted = time.monotonic()
        self.say(what)

    def start(self, command: Sequence[str], what: str = "a process is started", **options: Any) -> Any:
        """A process in a group of its own, with pipes unless `options` say otherwise; it is ended with the stage."""
        self.act(what)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            command, **{"cwd": children.ROOT, "text": True, "start_new_session": True, **pipes, **options}
        )  # fmt: skip
        self._processes.append(process)
        return process

    def register(self, data: str = "10.0.0.1:80", *options: str, prefix: Sequence[str] = (), **more: Any) -> Any:
        """`python -m zkdisco register`, which knows that it is listed when this returns."""
        what = " ".join(["python -m zkdisco register --data", data, *options])
        process = self.start([*prefix, *command("register", self.hosts, "--data", data, *options)], what, **more)
        assert process.stdout is None or process.stdout.readline().startswith(f"registered {PATH}/{NAME}/_c_")
        self.until(data)
        return process

    def send(self, to: Union[int, Any], number: int, group: bool = False) -> None:
        """A signal, to a process (or its id), or to all of its group at once."""
        pid = to if isinstance(to, int) else to.pid
        self.act(f"{signal.Signals(number).name} to {'process group' if group else 'process'} {pid}")
        (os.killpg if group else os.kill)(pid, number)

    # ------------------------------------------------------------------------------ what is seen

    @property
    def listed(self) -> Tuple[str, ...]:
        """What the observer was shown last."""
        return self._seen[-1][1].instances if self._seen else ()

    @property
    def sets(self) -> List[Tuple[str, ...]]:
        """All that the observer was shown, in order."""
        return [event.instances for _, event in self._seen]

    def until(self, *instances: str, within: float = PATIENCE) -> float:
        """Wait for the observer to be shown just these; how long after what was done last it was."""
        with self._changed:
            done = self._changed.wait_for(lambda: self._seen and sorted(self.listed) == sorted(instances), within)
            assert done, f"{instances} not shown within {within:g} s, but {self.sets}"
            return max(0.0, self._seen[-1][0] - self._acted)

    def ended(self, process: Any, within: float = PATIENCE) -> Tuple[int, float]:
        """Wait for the end of a process; its status, and how long after what was done last it was."""
        status: int = process.wait(within)
        after = time.monotonic() - self._acted
        self.say(f"process {process.pid} has ended: {described(status)}")
        return status, after

    def _observe(self, event: Event) -> None:
        with self._changed:
            self._seen.append((time.monotonic(), event))
            trouble = f" ({event.error})" if event.error is not None else ""
            self.say(f"    the observer is shown {len(event.instances)}: {', '.join(event.instances) or 'none'}{trouble}")
            self._changed.notify_all()


def command(verb: str, hosts: str, *options: str) -> List[str]:
    """The command line of `python -m zkdisco`, for the stage's directory."""
    return [sys.executable, "-m", "zkdisco", verb, "--servers", hosts, "--path", PATH, "--name", NAME, *options]


def described(status: int) -> str:
    """An exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def signals_pending(pid: int) -> bool:
    """Whether a signal still waits to be noted by a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("ShdPnd:", "SigPnd:")))


# ------------------------------------------------------------------------------------- process 1


class Namespaces:
    """How a program becomes process 1 of a PID namespace here; `why_not` says why that cannot be, or is empty."""

    WAYS = (["unshare", "--pid", "--fork", "--mount-proc"],
            ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"])  # fmt: skip

    def __init__(self) -> None:
        self.prefix: List[str] = []
        self.why_not = ""
        for way in self.WAYS:
            try:
                done = subprocess.run([*way, "true"], capture_output=True, text=True, timeout=20, check=False)
            except FileNotFoundError:
                self.why_not = "no program `unshare` (util-linux)"
                return
            if done.returncode == 0:
                self.prefix, self.why_not = list(way), ""
                return
            self.why_not = f"the kernel allows no PID namespace here: {done.stderr.strip()}"

    @staticmethod
    def first(process: Any) -> int:
        """The process id, as we see it, of process 1 of the namespace that `process` has made."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for path in Path("/proc").glob("[0-9]*/status"):
                try:
                    fields = dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)
                except OSError:
                    continue  # it has ended meanwhile
                if fields.get("PPid") == str(process.pid) and fields.get("NSpid", "").split()[-1:] == ["1"]:
                    return int(path.parent.name)
        raise AssertionError("process 1 was not found")
