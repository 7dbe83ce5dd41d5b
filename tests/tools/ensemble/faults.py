"""What befalls servers, clients and the network between them: a table of values, each with its beginning and its end.

Owns the table. `begin(world)` returns once the fault is there, and gives what `end(world, state)` needs; when that has
returned, and all servers serve again, all is well again. `least` and `most` are the seconds in between. A fault of one
server, or of several that fail together and come back together, is judged. Wilder runs, with a second fault before the
first is over, are told apart: ZooKeeper 3.8.0 and 3.9.3 lose committed writes then.
"""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from tests.kit.harness.servers import Server

from .network import Line
from .reconfig import reconfigure
from .world import PATIENCE, World

#: Seconds of a client's session (`timeout=`). It is longer than what a follower takes to notice that it is cut off from the
#: leader (syncLimit ticks): until then such a follower answers pings of sessions that the leader may be about to end.
SESSION = 5.0
#: Longer than any session.
LONG = 8.0
#: The fault that ends all sessions: broken clients show themselves then.
ALL_CLIENTS = "all clients and all servers are cut off"


class Fault(NamedTuple):
    """One row of the table. `between`: it needs a network that can be broken between servers; `reconfigures`: servers that
    take another configuration. `server`: of servers, so that a second one before it is over is a wild run.
    """

    name: str
    begin: Callable[[World], Any]
    end: Callable[[World, Any], None]
    least: float = 1.0
    most: float = 4.0
    between: bool = False
    server: bool = True
    reconfigures: bool = False


# ---------------------------------------------------------------------------------------- servers


def _kill(world: World, *servers: Any) -> List[Any]:
    for server in servers:
        server.kill()
    return list(servers)


def _start(world: World, servers: List[Any]) -> None:
    for server in servers:
        server.start(wait=False)


def _suspend(world: World, *servers: Any) -> List[Any]:
    for server in servers:
        server.suspend()
    return list(servers)


def _resume(world: World, servers: List[Any]) -> None:
    for server in servers:
        server.resume()


def _roll(world: World) -> None:
    for server in world.shuffled(world.servers):
        server.stop()
        server.start(timeout=PATIENCE)


def _nothing(world: World, state: Any) -> None:
    """It is over already."""


def _leave(world: World) -> Server:
    server: Server = world.follower()
    reconfigure(world.ensemble.hosts, leaving=str(server.number))
    return server


def _join(world: World, server: Server) -> None:
    line = f"server.{server.number}={server.members[f'server.{server.number}']}:participant;{server.hosts}"
    reconfigure(world.ensemble.hosts, joining=line)


# ---------------------------------------------------------------------------------------- network


def _cut(world: World, pairs: List[Tuple[str, str]], how: str) -> None:
    """`how`: both, in (nothing reaches the first of each pair), out (nothing comes from it)."""
    lines = {}
    for one, other in pairs:
        if how in ("both", "out"):
            lines[(one, other)] = Line(drop=True)
        if how in ("both", "in"):
            lines[(other, one)] = Line(drop=True)
    world.network.set(lines)


def _heal(world: World, state: Any) -> None:
    world.network.set({})


def _from_servers(how: str, role: str) -> Callable[[World], None]:
    def begin(world: World) -> None:
        name = world.name_of(getattr(world, role)())
        _cut(world, [(name, other) for other in world.server_names if other != name], how)

    return begin


def _from_clients(how: str) -> Callable[[World], None]:
    def begin(world: World) -> None:
        name = world.random.choice(world.server_names)
        _cut(world, [(name, place) for place in world.places], how)

    return begin


def _from_all(how: str) -> Callable[[World], None]:
    def begin(world: World) -> None:
        place = world.random.choice(world.places)
        _cut(world, [(place, server) for server in world.server_names], how)

    return begin


def _all_clients(world: World) -> None:
    _cut(world, list(itertools.product(world.places, world.server_names)), "both")


def _everywhere(line: Line, servers: bool) -> Callable[[World], None]:
    def begin(world: World) -> None:
        pairs = list(itertools.product(world.places, world.server_names))
        if servers:
            pairs += itertools.permutations(world.server_names, 2)
        world.network.set({pair: line for one, other in pairs for pair in ((one, other), (other, one))})

    return begin


# ---------------------------------------------------------------------------------------- clients


def _kill_client(world: World) -> None:
    victim = world.random.choice(world.alive())
    victim.kill()
    world.replace(victim)


def _suspend_clients(world: World) -> List[Any]:
    chosen = world.shuffled(world.alive())[: max(1, len(world.alive()) // 5)]
    for client in chosen:
        client.suspend()
    return chosen


def _resume_clients(world: World, clients: List[Any]) -> None:
    for client in clients:
        client.resume()


TABLE: Tuple[Fault, ...] = (
    Fault("a follower is killed", lambda w: _kill(w, w.follower()), _start),
    Fault("the leader is killed", lambda w: _kill(w, w.leader()), _start),
    Fault("a follower is suspended", lambda w: _suspend(w, w.follower()), _resume, 1.0, LONG),
    Fault("the leader is suspended", lambda w: _suspend(w, w.leader()), _resume, 1.0, LONG),
    Fault("a rolling restart", _roll, _nothing, 0.0, 0.1),
    Fault("no quorum, two are killed", lambda w: _kill(w, *w.shuffled(w.voters())[:2]), _start),
    Fault("no quorum, two are suspended", lambda w: _suspend(w, *w.shuffled(w.voters())[:2]), _resume, 1.0, LONG),
    Fault("all are killed", lambda w: _kill(w, *w.servers), _start),
    Fault("the leader and the others are cut off", _from_servers("both", "leader"), _heal, 2.0, LONG, True),
    Fault("the leader hears none of the others", _from_servers("in", "leader"), _heal, 2.0, LONG, True),
    Fault("none of the others hears the leader", _from_servers("out", "leader"), _heal, 2.0, LONG, True),
    Fault("a follower and the others are cut off", _from_servers("both", "follower"), _heal, 2.0, LONG, True),
    Fault("a follower hears none of the others", _from_servers("in", "follower"), _heal, 2.0, LONG, True),
    Fault("none of the others hears a follower", _from_servers("out", "follower"), _heal, 2.0, LONG, True),
    Fault("a follower leaves the ensemble and joins it again", _leave, _join, 1.0, 4.0, reconfigures=True),
    Fault("a server and all clients are cut off", _from_clients("both"), _heal, 2.0, LONG, server=False),
    Fault("a server hears no client", _from_clients("in"), _heal, 2.0, LONG, server=False),
    Fault("no client hears a server", _from_clients("out"), _heal, 2.0, LONG, server=False),
    Fault("some clients and all servers are cut off", _from_all("both"), _heal, 1.0, LONG, server=False),
    Fault("some clients hear no server", _from_all("in"), _heal, 2.0, LONG, server=False),
    Fault("no server hears some clients", _from_all("out"), _heal, 2.0, LONG, server=False),
    Fault(ALL_CLIENTS, _all_clients, _heal, SESSION + 2, LONG, server=False),
    Fault("a tenth of the packets of clients is lost", _everywhere(Line(loss=0.1), False), _heal, 2.0, LONG, server=False),
    Fault("a twentieth of all packets is lost", _everywhere(Line(loss=0.05), True), _heal, 2.0, LONG, True),
    Fault("all packets are late", _everywhere(Line(delay=0.15), True), _heal, 2.0, LONG, True),
    Fault("a client is killed", _kill_client, _nothing, 0.0, 0.5, server=False),
    Fault("some clients are suspended", _suspend_clients, _resume_clients, 0.5, 2 * LONG, server=False),
)  # fmt: skip

BY_NAME: Dict[str, Fault] = {fault.name: fault for fault in TABLE}
