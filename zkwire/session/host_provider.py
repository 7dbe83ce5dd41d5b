"""The servers of a client: from a connect string to the server that is dialled next, and the time of that attempt.

Owns connect strings, the hosts, their addresses, their order and the pauses between attempts. Must not know connections
or clocks; randomness is an argument.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, TypeVar, Union

from ..typed import NamedTuple
from ..paths import forbidden_in, validate_path

T = TypeVar("T")
DEFAULT_PORT = 2181


class Host(NamedTuple):
    """One server to dial: `name` is a host name or an address (IPv6 without brackets)."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


_FORM = "'host1:2181,host2:2181/chroot'"


def parse_hosts(hosts: Union[str, Sequence[str]]) -> Tuple[List[Host], str]:
    """The hosts and the chroot ("" for none) of a connect string `h1:2181,h2,[::1]:2181/chroot/a`.

    A sequence of such strings is joined first, and only its last may have a chroot. Blanks around entries are dropped,
    the default port is 2181, and a chroot of "/" means none. Raises `ValueError` (`TypeError` for another type) whose
    text says what is wrong, and the right form.
    """
    if not isinstance(hosts, str):
        if isinstance(hosts, (bytes, bytearray)):
            raise TypeError(f"hosts must be a string or a sequence of strings, not {hosts!r}")
        hosts = ",".join(hosts)
    for mark, mistake in _MISTAKES:
        if mark in hosts:
            raise ValueError(f"{hosts!r}: {mistake}; expected {_FORM}")
    servers, _, rest = hosts.partition("/")
    chroot = rest.strip()
    if "," in chroot:
        names = ",".join(entry.partition("/")[0] for entry in hosts.split(","))
        own = chroot.partition(",")[0]
        raise ValueError(f"{hosts!r}: the chroot stands once, behind the last server, as in {f'{names}/{own}'!r}")
    if not servers.strip(" ,"):
        raise ValueError(f"no server in the connect string {hosts!r}; expected {_FORM}")
    entries = [entry.strip() for entry in servers.split(",")]
    if "" in entries:
        raise ValueError(f"{hosts!r}: there is no server before or behind one of the commas; expected {_FORM}")
    parsed = [_parse_host(entry) for entry in entries]
    return list(dict.fromkeys(parsed)), validate_path("/" + chroot) if chroot else ""


#: Parts of other formats that a connect string does not have, and the error texts.
_MISTAKES = (
    ("://", "a connect string is not a URL and has no scheme"),
    ("@", "a connect string has no credentials (see auth_data= and sasl=)"),
    (";", "servers are separated by commas"),
    ("?", "a connect string has no options"),
)


def _parse_host(entry: str) -> Host:
    words = entry.split()
    if len(words) > 1 and not words[0].endswith(":") and not words[1].startswith(":"):
        raise ValueError(f"{entry!r}: servers are separated by commas, as in {','.join(words)!r}")
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
    why = "it is empty" if not name else _why_no_address(name) if entry.startswith("[") else _why_no_name(name)
    if why:
        raise ValueError(f"{entry!r}: not a host name: {why}")
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError(f"{entry!r}: the port is not a number")
    number = int(port) if port else DEFAULT_PORT
    if not 0 < number < 65536:
        raise ValueError(f"{entry!r}: the port must be between 1 and 65535")
    return Host(name, number)


def _why_no_address(name: str) -> str:
    """The reason why this text in brackets is no IPv6 address; "" if it may be one."""
    digits, _, zone = name.partition("%")
    bad = [char for char in digits if char not in "0123456789abcdefABCDEF:."]
    if bad or digits.count(":") < 2:
        return "what stands in brackets is an IPv6 address"
    return "" if forbidden_in(zone) is None and zone.split() in ([], [zone]) else "the zone of the address is malformed"


def _why_no_name(name: str) -> str:
    """The reason why this is no host name (RFC 1123, and underscores, which containers use); "" if it may be one."""
    labels = name.split(".")
    if labels[-1] == "":
        labels.pop()  # a name may end in a dot
    for label in labels:
        if not label:
            return "there is nothing between two dots"
        if len(label) > 63:
            return f"{label!r} has more than 63 characters"
        bad = [char for char in label if not (char.isalnum() or char in "-_")]
        if bad:
            return f"the character {bad[0]!r} is not allowed"
    if len(name) > 253:
        return "it has more than 253 characters"
    if not name.isascii():
        try:
            name.encode("idna")
        except UnicodeError as error:
            return str(error)
    elif len(labels) == 4 and name.replace(".", "").isdigit() and any(int(label) > 255 for label in labels):
        return "no part of an IPv4 address is above 255"
    return ""


#: The second attempt after a loss is made at a random time within this many seconds, so that the clients of a server
#: that died do not arrive together. (Java: up to 1 s, ClientCnxn.startConnect.)
SPREAD = 1.25
#: After a connection that lasted this many seconds the first attempt is made at once.
BRIEF = 1.0
#: The longest pause, in seconds, so that clients soon find a server that is back; a third of the session timeout is
#: another limit.
LONGEST = 2.0


class HostProvider:
    """The hosts in the order they are tried, the addresses of each, and the pause before each attempt.

    A server is a host and one of its addresses: a name with several addresses is several servers. The first attempt
    after a loss is made at once, at the next server. One pass tries each server once, without a pause in between. A
    pass without success is followed by a random pause, which grows from pass to pass.
    """

    def __init__(self, hosts: Sequence[Host], shuffle: bool, random: Callable[[], float]) -> None:
        self._shuffle, self._random = shuffle, random
        self.hosts = self._arranged(hosts)
        self._first: List[Host] = []  # tried before the rotation goes on
        self._at = -1
        self._dialled = self._probed = 0
        self._known: Dict[Host, List[Any]] = {}  # the addresses of each name, as resolved last
        self._tries: Dict[Tuple[Host, Any], int] = {}  # when an address was tried last, as a running number
        self._in_pass: Set[Tuple[Host, Any]] = set()  # the addresses that were tried in this pass
        self._number = 0

    def _arranged(self, items: Sequence[T]) -> List[T]:
        arranged = list(items)
        if self._shuffle:  # Fisher and Yates, with the randomness that this file gets as an argument
            for i in range(len(arranged) - 1, 0, -1):
                j = int(self._random() * (i + 1))
                arranged[i], arranged[j] = arranged[j], arranged[i]
        return arranged

    @property
    def count(self) -> int:
        """The number of servers, as far as it is known: a name that was never resolved counts as one."""
        return sum(max(1, len(self._known.get(host, ()))) for host in self.hosts)

    def next(self) -> Host:
        """The host to try now."""
        if self._left_of_current() and not self._first:
            return self.hosts[self._at]
        self._dialled += 1
        self._at = self.hosts.index(self._first.pop(0)) if self._first else (self._at + 1) % len(self.hosts)
        host = self.hosts[self._at]
        self._in_pass = {server for server in self._in_pass if server[0] != host}
        return host

    def _left_of_current(self) -> bool:
        """Whether the current host has addresses that were not tried in this pass, and others that were."""
        if not 0 <= self._at < len(self.hosts):
            return False
        host = self.hosts[self._at]
        tried = [(host, address) in self._in_pass for address in self._known.get(host, ())]
        return any(tried) and not all(tried)

    def candidates(self, host: Host, addresses: Sequence[Any]) -> List[Any]:
        """A host's addresses in the order they are to be tried: new ones at random, then those tried longest ago."""
        addresses = list(dict.fromkeys(addresses))
        self._known[host] = addresses
        gone = [server for server in self._tries if server[0] == host and server[1] not in addresses]
        for server in gone:
            del self._tries[server]
        new = self._arranged([address for address in addresses if (host, address) not in self._tries])
        old = [address for address in addresses if (host, address) in self._tries]
        return new + sorted(old, key=lambda address: self._tries[host, address])

    def tried(self, host: Host, address: Any) -> None:
        """An attempt to connect to this address begins."""
        self._number += 1
        self._tries[host, address] = self._number
        self._in_pass.add((host, address))

    def replace(self, hosts: Sequence[Host], current: Optional[Host]) -> bool:
        """Take new hosts; returns whether a client that is connected to `current` has to move to another one now.

        It has to if `current` is not among the new hosts. With more hosts than before it moves at random, as often as
        the new hosts need to get their share. All clients together then spread evenly (ZOOKEEPER-1355).
        """
        before, self.hosts = self.hosts, self._arranged(hosts)
        self._known = {host: known for host, known in self._known.items() if host in self.hosts}
        self._tries = {server: number for server, number in self._tries.items() if server[0] in self.hosts}
        old = [host for host in self.hosts if host in before]
        new = [host for host in self.hosts if host not in before]
        count, grown = len(self.hosts), len(self.hosts) > len(before)
        self._first, self._at, self._dialled = [], -1, 0
        self._in_pass.clear()
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
        """The next host to probe while the client is connected to `host`: in rotation; `host` if there is no other."""
        others = [other for other in self.hosts if other != host] or self.hosts
        self._probed += 1
        return others[(self._probed - 1) % len(others)]

    def succeeded(self, host: Optional[Host], address: Any) -> None:
        """The session is connected to this address: the count of passes starts again at the next loss."""
        self._first, self._dialled = [], 0
        self._in_pass = {(host, address)} if host is not None and address is not None else set()

    @property
    def all_tried(self) -> bool:
        """Whether a pass over all servers has ended."""
        return self._dialled % len(self.hosts) == 0 and not self._left_of_current()

    def pause(self, timeout: float, brief: bool = False) -> float:
        """Seconds to wait before the next attempt; `timeout` is the session's, in seconds.

        `brief`: the lost connection had lasted less than `BRIEF` seconds. Without a pause, two clients that take one
        session from each other would never stop, and neither would a server that fails right after each handshake.
        """
        limit = min(LONGEST, timeout / 3)
        passes = self._dialled // len(self.hosts) + brief
        if not passes or not (brief or self.all_tried):
            return 0.0
        if passes == 1:
            return self._random() * min(SPREAD, limit)
        return limit / 2 * (1 + self._random()) * (0.5 if passes == 2 else 1.0)
