"""The servers of a client: from a connect string to which one is dialled next, and when.

Owns connect strings, the servers, their order and the pauses between attempts. Must not know connections or clocks;
randomness comes in.
"""

from __future__ import annotations

from ..paths import _FORBIDDEN, validate_path
from typing import NamedTuple, Tuple, Optional, Callable, Union, List, Sequence


DEFAULT_PORT = 2181


class Host(NamedTuple):
    """One server to dial: `name` is a host name or an address (IPv6 without brackets)."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


def parse_hosts(hosts: Union[str, Sequence[str]]) -> Tuple[List[Host], str]:
    """The hosts and the chroot ("" for none) of a connect string `h1:2181,h2,[::1]:2181/chroot/a`.

    A sequence of such strings is joined first, and only its last may have a chroot. Blanks around entries and
    empty entries are dropped, the default port is 2181, and a chroot of "/" means none. Raises `ValueError`
    (or `TypeError` for another type).
    """
    if not isinstance(hosts, str):
        if isinstance(hosts, (bytes, bytearray)):
            raise TypeError(f"hosts must be a string or a sequence of strings, not {hosts!r}")
        early = [one for one in hosts[:-1] if "/" in one]
        if early:
            raise ValueError(f"{early[0]!r}: only the last connect string of a sequence may have a chroot")
        hosts = ",".join(hosts)
    servers, slash, rest = hosts.partition("/")
    chroot = ""
    if slash and rest.strip():
        chroot = validate_path("/" + rest.strip())
    parsed = [_parse_host(entry) for entry in (e.strip() for e in servers.split(",")) if entry]
    if not parsed:
        raise ValueError(f"no server in the connect string {hosts!r}; expected something like 'host1:2181,host2:2181'")
    return list(dict.fromkeys(parsed)), chroot


def _parse_host(entry: str) -> Host:
    if entry.startswith("["):
        name, bracket, port = entry[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"malformed IPv6 address {entry!r}; expected '[address]:port'")
        colon, port = port[:1], port[1:]
    elif entry.count(":") > 1:
        raise ValueError(f"{entry!r}: an IPv6 address needs brackets, as in '[::1]:2181'")
    else:
        name, colon, port = entry.partition(":")
    if colon and not port:
        raise ValueError(f"{entry!r}: the port is missing")
    if not name or any(c.isspace() for c in name) or _FORBIDDEN.search(name):
        raise ValueError(f"{entry!r}: not a host name")
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"{entry!r}: the port is not a number")
    number = int(port) if port else DEFAULT_PORT
    if not 0 < number < 65536:
        raise ValueError(f"{entry!r}: the port must be between 1 and 65535")
    return Host(name, number)


#: Spread of the first attempt after a loss, in seconds: clients of a server that died must not arrive together
#: (Java: up to 1 s, ClientCnxn.startConnect).
SPREAD = 1.25
#: No pause is longer, so that a server that comes back is found soon; and none a third of the session timeout.
LONGEST = 2.0


class HostProvider:
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
