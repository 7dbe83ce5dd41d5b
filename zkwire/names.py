"""Names of hosts to addresses, for those who cannot wait: `getaddrinfo` takes no time-out.

Owns the look-ups that are under way, each on a thread of its own: one for each host, however many attempts come and go
while a name service hangs. Nothing is remembered: who asks when none is under way is answered afresh.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from .hosts import Host

Address = Tuple[int, Any]  # family, socket address


class LookUp:
    """Of one host: `addresses` or `error`, in the end."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.addresses: Optional[List[Address]] = None
        self.error: Optional[OSError] = None

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self.addresses is not None or self.error is not None

    def run(self, wake: Callable[[], None]) -> None:
        """Ask, however long it takes, and call `wake`."""
        try:
            found = socket.getaddrinfo(self._host.name, self._host.port, type=socket.SOCK_STREAM)
            self.addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in found))
        except (OSError, UnicodeError) as error:
            self.error = error if isinstance(error, OSError) else OSError(str(error))
        wake()


class Resolver:
    """The look-ups of one client, which is woken by `wake` after each. Used by one thread at a time."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._under_way: Dict[Host, LookUp] = {}

    def look_up(self, host: Host) -> LookUp:
        """The one that is under way, or a new one."""
        self._under_way = {asked: one for asked, one in self._under_way.items() if not one.done}
        found = self._under_way.get(host)
        if found is None:
            found = self._under_way[host] = LookUp(host)
            name = f"zkwire resolving {host.name}"
            threading.Thread(target=found.run, args=(self._wake,), name=name, daemon=True).start()
        return found
