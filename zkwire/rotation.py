"""Whom to dial next, and when.

Owns the order of hosts and the pauses between attempts. Must not know connections or clocks; randomness comes in.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence

from .hosts import Host

#: Spread of the first attempt after a loss, in seconds: clients of a server that died must not arrive together
#: (Java: up to 1 s, ClientCnxn.startConnect).
SPREAD = 1.0
#: No pause is longer, so that a server that comes back is found soon; and none a third of the session timeout.
LONGEST = 2.0


class Rotation:
    """The hosts in the order they are tried, and the pause before each attempt.

    The first attempt of all comes at once. After a loss there is a random pause, then each host is tried, one right
    after the other; after a full pass without success the pause grows, with jitter, up to a third of the timeout.
    """

    def __init__(self, hosts: Sequence[Host], shuffle: bool, random: Callable[[], float]) -> None:
        self._random = random
        self.hosts: List[Host] = list(hosts)
        if shuffle:  # Fisher and Yates, over the only randomness we are given
            for i in range(len(self.hosts) - 1, 0, -1):
                j = int(random() * (i + 1))
                self.hosts[i], self.hosts[j] = self.hosts[j], self.hosts[i]
        self._at = -1
        self._tried = self._looked = 0

    def next(self) -> Host:
        """The host to try now."""
        self._at = (self._at + 1) % len(self.hosts)
        self._tried += 1
        return self.hosts[self._at]

    def other(self, host: Optional[Host]) -> Host:
        """The next host to look at while we are connected to `host`: in turn, that one only if there is no other."""
        others = [other for other in self.hosts if other != host] or self.hosts
        self._looked += 1
        return others[(self._looked - 1) % len(others)]

    def succeeded(self) -> None:
        """A session is up: passes are counted afresh from the next loss on."""
        self._tried = 0

    def pause(self, timeout: float) -> float:
        """Seconds to wait before the next attempt; `timeout` is the session's, in seconds."""
        limit = min(LONGEST, timeout / 3)
        passes, within = divmod(self._tried, len(self.hosts))
        if within:
            return 0.0
        if not passes:
            return self._random() * min(SPREAD, limit)
        return limit / 2 * (1 + self._random()) * min(1.0, 2.0 ** (passes - 2))
