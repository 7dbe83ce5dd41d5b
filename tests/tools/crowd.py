"""Ten thousand clients of one ensemble that loses a server, or all: how hard they come back, and how soon.

    python -m tests.tools.crowd [--clients 10000] [--seed 1] [--compare]

Owns the crowd: session cores with their host providers on a virtual clock, one seed, and servers that answer handshakes
one after the other. Must not know sockets. It decides the constants of the reconnect pause in
zkwire/session/host_provider.py: rows named "zkwire" are what stands there, the others what was compared.

A client that gives up before its handshake was answered has cost the server its time all the same: that is how a crowd
keeps a server busy with those who have left. A stopped server refuses connections at once; "black hole" is a server
that drops packets.
"""

from __future__ import annotations

import argparse
import contextlib
import struct
from collections import Counter
from heapq import heappop, heappush
from random import Random
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from zkwire.session.actions import METHODS
from zkwire.session.host_provider import Host, HostProvider
from zkwire.session.session import OPEN, Session

SERVERS = 3
#: Seconds a packet takes to the server and back, at least; up to twice as long.
ROUND_TRIP = 0.001
#: Clients do not notice the end of a server at the same moment.
NOTICED_WITHIN = 0.02
#: The peak is that of the busiest tenth of a second.
WINDOW = 0.1
#: After so many seconds the simulation ends, whoever is back.
PATIENCE = 240.0
#: Handshakes a server answers in a second. An assumption, on the careful side: plain ones, and those behind TLS.
PLAIN, TLS = 2000, 300

#: Since when the clients have been connected.
SINCE = -5.0
Pause = Callable[[HostProvider, float, bool], float]


class Clock:
    """Virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: List[Tuple[float, int, Callable[..., object], Tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when: float, function: Callable[..., object], *arguments: Any) -> None:
        """Call it then."""
        self._number += 1
        heappush(self._heap, (max(when, self.now), self._number, function, arguments))

    def run(self, until: float, enough: Callable[[], bool]) -> None:
        """Let time pass."""
        heap = self._heap
        while heap and heap[0][0] <= until and not enough():
            self.now, _, function, arguments = heappop(heap)
            function(*arguments)


class Server:
    """Answers handshakes one after the other, as many in a second as it can."""

    def __init__(self, clock: Clock, rate: float) -> None:
        self._clock, self._each = clock, 1 / rate
        self._free_at = 0.0
        self.up, self.silent = True, False
        self.arrivals: List[float] = []

    def accept(self) -> float:
        """A connection has arrived: when its handshake will be answered."""
        now = self._clock.now
        self.arrivals.append(now)
        self._free_at = max(self._free_at, now) + self._each
        return self._free_at


class Client:
    """A session core, driven until it has a session again."""

    def __init__(self, crowd: Crowd, number: int, timeout: float) -> None:
        self.crowd, self.number, self.attempts = crowd, number, 0
        self._timer = 0.0
        self.back_at: Optional[float] = None
        hosts = [Host(f"server{i}", 2181) for i in range(SERVERS)]
        self.session = Session(hosts, timeout=timeout, random=crowd.random.random)
        self.session.start(SINCE)
        link = self.session.link
        assert link is not None
        self.session.connected(link, SINCE)
        link.sent(link.unsent)
        self.session.received(link, self._response(), SINCE)
        assert self.session.phase == OPEN
        self.session.actions()

    def _response(self) -> bytes:
        timeout = int(self.session.timeout * 1000)
        return struct.pack(">iiiqi16s?", 37, 0, timeout, self.number + 1, 16, b"p" * 16, False)

    @property
    def at(self) -> int:
        """The server it is connected to."""
        assert self.session.host is not None
        return int(self.session.host.name[-1])

    def lose(self) -> None:
        """The connection is gone."""
        self.session.lost(self.session.link, "the server is gone", self.crowd.clock.now)
        self.act()

    def act(self) -> None:
        """Do what the core asks for."""
        for action in self.session.actions():
            if METHODS[type(action)] == "dial":
                self._dial(action[0])
        deadline = self.session.deadline()
        if deadline is not None and deadline != self._timer and self.back_at is None:
            self._timer = deadline
            self.crowd.clock.at(deadline, self._tick, deadline)

    def _tick(self, deadline: float) -> None:
        if self.back_at is None and deadline == self._timer:
            self._timer = 0.0
            self.session.timed_out(self.crowd.clock.now)
            self.act()

    def _dial(self, link: Any) -> None:
        self.attempts += 1
        clock, server = self.crowd.clock, self.crowd.servers[int(link.host.name[-1])]
        way = ROUND_TRIP / 2 * (1 + self.crowd.random.random())
        self.session.candidates(link, [link.host.name])
        self.session.tried(link, link.host.name)
        clock.at(clock.now + way, self._arrived, link, server, way)

    def _arrived(self, link: Any, server: Server, way: float) -> None:
        clock = self.crowd.clock
        if server.silent:
            return
        if not server.up:
            clock.at(clock.now + way, self._refused, link)
            return
        clock.at(server.accept() + way, self._answered, link, server)
        clock.at(clock.now + way, self._connected, link)

    def _refused(self, link: Any) -> None:
        self.session.lost(link, "refused", self.crowd.clock.now)
        self.act()

    def _connected(self, link: Any) -> None:
        self.session.connected(link, self.crowd.clock.now, link.host.name)
        link.sent(link.unsent)
        self.act()

    def _answered(self, link: Any, server: Server) -> None:
        if self.session.link is not link or link.connection is None:
            self.crowd.wasted += 1
            return
        self.session.received(link, self._response(), self.crowd.clock.now)
        if self.session.phase == OPEN and self.back_at is None:
            self.back_at = self.crowd.clock.now
            self.crowd.away -= 1
        self.session.actions()


class Crowd:
    """All clients, and the servers."""

    def __init__(self, clients: int, timeout: float, rate: float, seed: int) -> None:
        self.random, self.clock = Random(seed), Clock()
        self.servers = [Server(self.clock, rate) for _ in range(SERVERS)]
        self.wasted = self.away = 0
        self.clients = [Client(self, number, timeout) for number in range(clients)]

    def lose(self, lost: Set[int], silent: bool, seconds: float) -> List[Client]:
        """These servers go, perhaps for some time; those who are back when it is over, or all who will ever be."""
        for number in lost:
            self.servers[number].up, self.servers[number].silent = False, silent
        hit = [client for client in self.clients if client.at in lost]
        self.away = len(hit)
        for client in hit:
            self.clock.at(self.random.random() * NOTICED_WITHIN, client.lose)
        if seconds < PATIENCE:
            self.clock.at(seconds, self._repair)
        self.clock.run(PATIENCE, lambda: not self.away)
        return hit

    def _repair(self) -> None:
        for server in self.servers:
            server.up, server.silent = True, False


class Scenario(NamedTuple):
    """What happens to the ensemble."""

    text: str
    lost: Set[int]
    seconds: float
    rate: float
    timeout: float
    silent: bool = False


ONE, ALL = {0}, {0, 1, 2}
SCENARIOS = (
    Scenario("one of three is killed", ONE, PATIENCE, PLAIN, 10.0),
    Scenario("one of three is killed, TLS", ONE, PATIENCE, TLS, 10.0),
    Scenario("one of three becomes a black hole", ONE, PATIENCE, PLAIN, 10.0, True),
    Scenario("all are away for 30 s", ALL, 30.0, PLAIN, 40.0),
    Scenario("all are away for 30 s, TLS", ALL, 30.0, TLS, 40.0),
    Scenario("all are away for 30 s, sessions end", ALL, 30.0, PLAIN, 10.0),
    Scenario("all restart at once, away for 0.2 s", ALL, 0.2, PLAIN, 10.0),
)


class Figures(NamedTuple):
    """What became of it: times count from the loss, or from when the servers were back."""

    peak: float
    half: float
    most: float
    attempts: float
    wasted: int
    never: int


def play(scenario: Scenario, clients: int, seed: int, pause: Optional[Pause]) -> Figures:
    """One scenario under one rule of pauses; None is what the client has."""
    with _pausing(pause):
        crowd = Crowd(clients, scenario.timeout, scenario.rate, seed)
        hit = crowd.lose(scenario.lost, scenario.silent, scenario.seconds)
    begin = scenario.seconds if scenario.seconds < PATIENCE else 0.0
    back = sorted(client.back_at - begin for client in hit if client.back_at is not None)
    windows: Dict[Tuple[int, int], int] = Counter(
        (number, int(at / WINDOW)) for number, server in enumerate(crowd.servers) for at in server.arrivals
    )
    need = -(-99 * len(hit) // 100)
    return Figures(
        peak=max(windows.values(), default=0) / WINDOW,
        half=back[len(hit) // 2] if len(back) > len(hit) // 2 else PATIENCE,
        most=back[need - 1] if len(back) >= need else PATIENCE,
        attempts=sum(client.attempts for client in hit) / len(hit),
        wasted=crowd.wasted,
        never=len(hit) - len(back),
    )


@contextlib.contextmanager
def _pausing(pause: Optional[Pause]) -> Iterator[None]:
    """With another rule of pauses."""
    before = HostProvider.pause
    if pause is not None:
        HostProvider.pause = pause  # type: ignore[method-assign]
    try:
        yield
    finally:
        HostProvider.pause = before  # type: ignore[method-assign]


# ------------------------------------------------------------------- rules to compare


def _passes(provider: HostProvider) -> Tuple[int, int]:
    """Whole passes over the hosts since the last session, and attempts in this one. The first host has no pass behind it."""
    return divmod(provider._dialled, len(provider.hosts))


def growing(first: float, longest: float, factor: float = 2.0) -> Pause:
    """At once, then a pass; then at random within `first` seconds, which grows from pass to pass up to `longest`."""

    def pause(provider: HostProvider, timeout: float, brief: bool = False) -> float:
        passes, within = _passes(provider)
        if within or not passes:
            return 0.0
        widest = min(first * factor ** (passes - 1), longest, timeout / 3)
        random: float = provider._random()
        return widest * random if passes == 1 else widest / 2 * (1 + random)

    return pause


def before_each(seconds: float) -> Pause:
    """At random within so many seconds before each attempt, the first included (the Java client of 3.8)."""
    return lambda provider, timeout, brief: provider._random() * seconds


def kazoo(provider: HostProvider, timeout: float, brief: bool = False) -> float:
    """At once; after each pass 0.1 s, doubled up to a minute, give or take 40 %."""
    passes, within = _passes(provider)
    if within or not passes:
        return 0.0
    return float(min(60.0, 0.1 * 2.0 ** (passes - 1)) * (0.6 + 0.8 * provider._random()))


RULES: Dict[str, Optional[Pause]] = {
    "zkwire": None,
    "kazoo": kazoo,
    "Java: 1 s before each": before_each(1.0),
    "0.5 s, to 2 s": growing(0.5, 2.0),
    "1 s, to 2 s": growing(1.0, 2.0),
    "1 s, to 4 s": growing(1.0, 4.0),
    "1 s, to 10 s": growing(1.0, 10.0),
    "2 s, to 4 s": growing(2.0, 4.0),
}


def main() -> None:
    """Print a table for each scenario."""
    parser = argparse.ArgumentParser(prog="python -m tests.tools.crowd", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compare", action="store_true", help="other rules of pauses as well (ten minutes)")
    options = parser.parse_args()
    print(f"{options.clients} clients of {SERVERS} servers, seed {options.seed}; a server answers {PLAIN} handshakes in a "
          f"second, {TLS} with TLS")  # fmt: skip
    for scenario in SCENARIOS:
        print(f"\n{scenario.text}; session timeout {scenario.timeout:.0f} s")
        print(f"  {'pauses':22} {'peak/s/server':>13} {'half back':>10} {'99 % back':>10} {'attempts':>9} {'wasted':>7}")
        for name, pause in RULES.items():
            if pause is not None and not options.compare:
                continue
            found = play(scenario, options.clients, options.seed, pause)
            never = f"   {found.never} are not back" if found.never else ""
            print(f"  {name:22} {found.peak:13.0f} {found.half:8.2f} s {found.most:8.2f} s {found.attempts:9.1f} "
                  f"{found.wasted:7}{never}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
