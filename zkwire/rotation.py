"""Whom to dial next, and when.

Owns the hosts, their order and the pauses between attempts. Must not know connections or clocks; randomness comes in.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence

from .hosts import Host

#: Spread of the first attempt after a loss, in seconds: clients of a server that died must not arrive together
#: (Java: up to 1 s, ClientCnxn.startConnect).
SPREAD = 1.25
#: No pause is longer, so that a server that comes back is found soon; and none a third of the session timeout.
LONGEST = 2.0


class Rotation:
    """The hosts in the order they are tried, and the pause before each attempt.

    The first attempt of all comes at once. After a loss there is a random pause, then each host is tried, one right
    after the other; after a full pass without success the pause grows, with jitter, up to a third of the timeout.
    """

    def __init__(self, hosts: Sequence[Host], shuffle: bool, random: Callable[[], float]) -> None:
        self._shuffle, self._random = shuffle, random
        self.hosts = self._arranged(hosts)
        self._first: List[Host] = []  # to be tried before it goes round
        self._at = -1
        self._tried = self._looked = 0

    def _arranged(self, hosts: Sequence[Host]) -> List[Host]:
        arranged = list(hosts)
        if self._shuffle:  # Fisher and Yates, over the only randomness we are given
            for i in range(len(arranged) - 1, 0, -1):
                j = int(self._random() * (i + 1))
                arranged[i], arranged[j] = arranged[j], arranged[i]
        return arranged

    def next(self) -> Host:
        """The host to try now."""
        self._tried += 1
        self._at = self.hosts.index(self._first.pop(0)) if self._first else (self._at + 1) % len(self.hosts)
        return self.hosts[self._at]

    def replace(self, hosts: Sequence[Host], current: Optional[Host]) -> bool:
        """Take new hosts; whether who is at `current` goes to another one now.

        He does if that one is gone, and, with more hosts than before, as often as the new ones need to get their share.
        With what is tried next then, all clients together spread evenly (ZOOKEEPER-1355).
        """
        before, self.hosts = self.hosts, self._arranged(hosts)
        old = [host for host in self.hosts if host in before]
        new = [host for host in self.hosts if host not in before]
        count, grown = len(self.hosts), len(self.hosts) > len(before)
        self._first, self._at, self._tried = [], -1, 0
        if current in self.hosts and not (grown and self._random() >= len(before) / count):
            self._at = self.hosts.index(current)
            return False
        removed = max(1, len(before) - len(old))
        to_old = 0.0 if grown else len(old) * (len(before) - count) / (count * removed)
        while old or new:
            among = old if old and (not new or self._random() < to_old) else new
            self._first.append(among.pop(0))
        return True

    def other(self, host: Optional[Host]) -> Host:
        """The next host to look at while we are connected to `host`: in turn, that one only if there is no other."""
        others = [other for other in self.hosts if other != host] or self.hosts
        self._looked += 1
        return others[(self._looked - 1) % len(others)]

    def succeeded(self) -> None:
        """A session is up: passes are counted afresh from the next loss on."""
        self._first, self._tried = [], 0

    @property
    def all_tried(self) -> bool:
        """Whether a pass over all hosts has come to its end."""
        return self._tried % len(self.hosts) == 0

    def pause(self, timeout: float) -> float:
        """Seconds to wait before the next attempt; `timeout` is the session's, in seconds."""
        limit = min(LONGEST, timeout / 3)
        passes, within = divmod(self._tried, len(self.hosts))
        if within:
            return 0.0
        if not passes:
            return self._random() * min(SPREAD, limit)
        return limit / 2 * (1 + self._random()) * (0.5 if passes == 1 else 1.0)
