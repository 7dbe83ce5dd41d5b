"""The order in which a command that is registered comes to its end, without processes, signals, sockets or clocks.

Owns when the registration is taken back, when a signal is passed on, when the command is killed, and the exit status.
The sidecar hands it what happens, and does what `actions` says. Rules:

1. The first signal that ends takes the registration back. It is passed on `drain` seconds after the node has gone:
   callers that have read the list a moment before still come. Where the node had gone before, the seconds began then;
   where there never was one, there are none.
2. What cannot be had is not waited for. Without a connection, the seconds count from the signal; a server that does not
   answer is given `PATIENCE` seconds, and what is gone late is not counted beyond that.
3. A second signal that ends skips the rest of the wait, unless it comes with the first.
4. Different signals that end are all passed on, in their order; after that each one at once.
5. Other signals are passed on at once, in every phase.
6. A command that goes on for `kill_after` seconds after a signal that ends was passed on is killed. One that ends by
   itself is deregistered at once; its exit status is ours, 128 and the number of a signal that killed it.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional

#: Seconds that a server gets to confirm that a node is gone.
PATIENCE = 2.0
#: Signals within so many seconds are one: `timeout` and systemd's SendSIGHUP send two, a terminal tells all of a group.
TOGETHER = 0.3


class Deregister(NamedTuple):
    """Take the registration back; the instance is not to be listed any more, ever."""


class PassOn(NamedTuple):
    """Send this signal to the command."""

    number: int


class Kill(NamedTuple):
    """End the command, and all of its process group."""


class Supervision:
    """One run of a command. `drain` and `kill_after` are seconds, 0 or more; times come in as arguments."""

    def __init__(self, drain: float, kill_after: float) -> None:
        self._drain, self._kill_after = drain, kill_after
        #: The exit status of the command, once it has ended, or None.
        self.status: Optional[int] = None
        self._asked: Optional[float] = None  # when the first signal came that ends
        self._ending: List[int] = []  # what is to be passed on, each once
        self._hurried = False
        self._passed: Optional[float] = None  # when the first one was passed on
        self._killed = False
        self._listed = False
        self._connected = False
        self._gone: Optional[float] = None  # since when no node of ours is there; None if there never was one
        self._actions: List[NamedTuple] = []

    # -------------------------------------------------------------------------- out

    def actions(self) -> List[NamedTuple]:
        """What is to be done, in order."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def ending(self) -> bool:
        """Whether the command has been asked to end, or has ended: the instance is not to be listed any more."""
        return self._asked is not None or self.status is not None

    @property
    def phase(self) -> str:
        """"running", "draining" (asked to end, but not told yet), "stopping" (told) or "ended"."""
        if self.status is not None:
            return "ended"
        if self._asked is None:
            return "running"
        return "draining" if self._passed is None else "stopping"

    def deadline(self) -> Optional[float]:
        """When to call `timed_out`, if at all."""
        if self.status is not None or self._asked is None or self._killed:
            return None
        return self._pass_at() if self._passed is None else self._passed + self._kill_after

    # --------------------------------------------------------------------------- in

    def signalled(self, number: int, ends: bool, now: float) -> None:
        """A signal has come to us; `ends` says whether it is one that ends a command."""
        if self.status is not None:
            return
        if not ends or self._passed is not None:
            self._actions.append(PassOn(number))
            return
        if number not in self._ending:
            self._ending.append(number)
        if self._asked is None:
            self._asked = now
            self._actions.append(Deregister())
        elif now - self._asked > TOGETHER:
            self._hurried = True
        self.timed_out(now)

    def stands(self, listed: bool, connected: bool, now: float) -> None:
        """Whether a node of ours is there, or may be, and whether there is a connection that could take it back.

        To be said before `signalled`, so that a signal is seen beside what is so by then.
        """
        if self._listed and not listed:
            self._gone = now
        self._listed, self._connected = listed, connected
        self.timed_out(now)

    def ended(self, status: int, now: float) -> None:
        """The command has ended: its exit status, or minus the number of the signal that killed it."""
        if self.status is None:
            if self._asked is None:
                self._actions.append(Deregister())
            self.status = status if status >= 0 else 128 - status

    def timed_out(self, now: float) -> None:
        """Time has passed."""
        if self.status is not None or self._asked is None or self._killed:
            return
        if self._passed is None:
            if now >= self._pass_at():
                self._passed = now
                self._actions += [PassOn(number) for number in self._ending]
        elif now >= self._passed + self._kill_after:
            self._killed = True
            self._actions.append(Kill())

    # ----------------------------------------------------------------------- inside

    def _pass_at(self) -> float:
        """When the signals are passed on, as far as is known."""
        asked = self._asked or 0.0
        if self._hurried:
            return asked
        if self._listed:
            return asked + (max(self._drain, PATIENCE) if self._connected else self._drain)
        if self._gone is None:
            return asked
        return max(asked, min(self._gone, asked + PATIENCE) + self._drain)
