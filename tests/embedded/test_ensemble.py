"""Ensembles: the same scenarios on a real one and on the embedded one, and our clients on the embedded one."""

from __future__ import annotations

import random
import struct
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from tests.kit.fronts import Front, Log, until
from tests.tools.differences import Player, Wire, compare, request
from tests.tools.differential_scripts import OPEN, Author
from zkdisco import Service
from zkwire import ZooKeeper
from zkwire.embedded import EmbeddedEnsemble, EmbeddedServer
from zkwire.errors import ConnectionLoss, NodeExistsError, NoNodeError
from zkwire.ops import Create, Exists, GetData, Sync
from zkwire.wire.jute import decode

Session = Tuple[int, bytes]
NOBODY: Session = (0, bytes(16))

# ---------------------------------------------------------------- the real one and ours


class Place:
    """An ensemble of three, real or embedded, by what both can do."""

    def __init__(
        self, addresses: List[Tuple[str, int]], stop: Callable[[int], object], start: Callable[[int], object],
        role: Callable[[int], str],
    ) -> None:  # fmt: skip
        self.addresses, self.stop, self.start, self._role = addresses, stop, start, role
        self._open: List[Wire] = []

    def leader(self) -> int:
        """The number of the leader, once there is one and the others that are up follow it."""

        def found() -> Optional[Tuple[int]]:
            roles = [self._role(number) for number in range(3)]
            settled = roles.count("leader") == 1 and len(set(roles) & {"looking", ""}) == 0
            return (roles.index("leader"),) if settled else None

        return int(until(found, 40)[0])

    def dial(self, number: int, session: Session = NOBODY) -> Wire:
        """A connection to a member that serves, or soon will."""

        def attempt() -> Optional[Wire]:
            try:
                one = Wire(self.addresses[number], session)
            except OSError:
                return None
            if one.response is None:
                return None
            self._open.append(one)
            return one

        one: Wire = until(attempt, 40)
        return one

    def is_silent(self, number: int) -> bool:
        """Whether a member that is asked for a session gives no answer."""
        try:
            one = Wire(self.addresses[number])
        except OSError:
            return True
        one.close()
        return one.response is None

    def close(self) -> None:
        for one in self._open:
            one.close()


def ask(one: Wire, op: Any) -> Any:
    """The value of the reply, or its error code; events before it are skipped."""
    one.xid += 1
    opcode, body = request(op)
    one.send(struct.pack(">ii", one.xid, opcode) + body)
    while True:
        frame = one.frame()
        assert frame is not None, "the connection has ended"
        xid, _, code = struct.unpack_from(">iqi", frame)
        if xid == one.xid:
            return code or decode(op.reply, frame[16:])


def session_of(one: Wire) -> Session:
    assert one.response is not None and one.response.passwd is not None and one.response.session_id
    return one.response.session_id, one.response.passwd


def walk(place: Place) -> None:
    """What an ensemble promises, from a session that moves to the loss of the quorum and back."""
    leader = place.leader()
    first, second = (number for number in range(3) if number != leader)

    one = place.dial(first)
    session = session_of(one)
    assert ask(one, Create("/e", b"", OPEN, ephemeral=True)) == "/e"
    one.close()
    one = place.dial(second, session)
    assert session_of(one) == session, "it moves, with its id and password"
    ask(one, Sync("/"))
    assert ask(one, Exists("/e")).ephemeralOwner == session[0]

    assert ask(one, Create("/a", b"x", OPEN)) == "/a"
    other = place.dial(first)
    ask(other, Sync("/"))
    data, stat = ask(other, GetData("/a"))
    assert data == b"x", "a write at one member is seen at another after a sync"
    epoch = stat.czxid >> 32
    assert epoch >= 1

    place.stop(leader)
    assert one.frame() is None and other.frame() is None, "an election ends all connections"
    one = place.dial(first, session)
    assert session_of(one) == session and ask(one, Exists("/e")).ephemeralOwner == session[0]
    assert ask(one, Create("/b", b"y", OPEN)) == "/b"
    assert ask(one, Exists("/b")).czxid >> 32 > epoch, "a new leader has a higher epoch"

    place.start(leader)
    back = place.dial(leader)
    ask(back, Sync("/"))
    assert ask(back, GetData("/b"))[0] == b"y", "who comes back has what it has missed"
    assert ask(back, Exists("/e")).ephemeralOwner == session[0]

    place.stop(second)
    place.stop(leader)
    until(lambda: place.is_silent(first), 40)
    one.sock.settimeout(20)
    assert one.frame() is None, "without a quorum nothing is answered"
    place.start(second)
    one = place.dial(first, session)
    assert session_of(one) == session and ask(one, Exists("/e")).ephemeralOwner == session[0]
    assert ask(one, Exists("/a")).czxid == stat.czxid


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.watchdog(300)
def test_a_real_ensemble_does_what_the_embedded_one_does(ensemble: Callable[..., Any]) -> None:
    servers = ensemble(3, "3.9")

    def role(number: int) -> str:
        server = servers[number]
        return str(server.mode()) if server.running else "down"

    place = Place(
        [(server.host, server.port) for server in servers], lambda number: servers[number].kill(),
        lambda number: servers[number].start(wait=False), role,
    )  # fmt: skip
    try:
        walk(place)
    finally:
        place.close()


@pytest.mark.parametrize("version", ["3.9", "3.4"])
def test_the_embedded_ensemble_does_what_a_real_one_does(version: str) -> None:
    with EmbeddedEnsemble(3, election_time=0.05, version=version) as ours:
        place = Place(
            [("127.0.0.1", member.port) for member in ours.members], lambda number: ours.members[number].stop(),
            lambda number: ours.members[number].start(), lambda number: ours.members[number].role,
        )  # fmt: skip
        try:
            walk(place)
        finally:
            place.close()


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.watchdog(120)
@pytest.mark.parametrize("version", ["3.9", "3.8", "3.4"])
@pytest.mark.parametrize("lag", [0.0, 0.001])
def test_a_member_says_what_a_server_by_itself_says(version: str, lag: float) -> None:
    """Random scripts, byte for byte: what is compared with a real server by itself is held to members, too."""
    options: Dict[str, Any] = {"version": version, "super_password": "super", "reap_interval": 1e9, "enforce_quota": True}
    numbers = (int(version[0]), int(version[2]))
    with EmbeddedServer(**options) as alone, EmbeddedEnsemble(3, observers=1, election_time=0.0, **options) as ensemble:
        players = {"alone": Player("127.0.0.1", alone.port, numbers)}
        for number in (followers(ensemble)[0], 3):
            ensemble.lag(number, lag)
            member = ensemble.members[number]
            players[member.role] = Player("127.0.0.1", member.port, numbers)
        assert set(players) == {"alone", "follower", "observer"}
        for seed in range(1, 21 if not lag else 11):
            script = Author(seed, numbers).script(20)
            for role in ("follower", "observer"):
                pair = {"alone": players["alone"], role: players[role]}
                assert compare(pair, script) is None, f"seed {seed} at the {role}"


# ------------------------------------------------------------------------------ its life


def test_it_starts_and_stops_any_number_of_times() -> None:
    ensemble = EmbeddedEnsemble(3, observers=1, election_time=0.0)
    ensemble.stop()
    hosts = ensemble.start().hosts
    assert sorted(member.role for member in ensemble.members) == ["follower", "follower", "leader", "observer"]
    with ZooKeeper(ensemble.members[3].hosts) as zk:
        zk.create("/a", b"x")
    ensemble.stop()
    assert {member.role for member in ensemble.members} == {"down"} and ensemble.leader is None
    with pytest.raises(TimeoutError):
        ensemble.await_leader(0.01)
    assert ensemble.start().hosts == hosts and ensemble.members[0].zxid >> 32 == 2
    with ZooKeeper(ensemble.hosts) as zk:
        assert zk.get("/a")[0] == b"x"
    ensemble.stop()


@pytest.mark.parametrize("wrong", [{"size": 0}, {"observers": -1}, {"election_time": -1.0}, {"version": "7"}])
def test_wrong_settings_are_refused(wrong: Dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        EmbeddedEnsemble(**wrong)
    with EmbeddedEnsemble(1) as one, pytest.raises(ValueError):
        one.lag(0, -1.0)


# --------------------------------------------------------------------------- our clients


def followers(ensemble: EmbeddedEnsemble) -> List[int]:
    leader = ensemble.leader
    return [number for number, member in enumerate(ensemble.members) if member is not leader]


@pytest.mark.long
def test_a_stale_read_and_its_cure(front: Front) -> None:
    """A read at a follower that lags is old; `sync` waits until the follower has what the leader had."""
    ensemble = front.ensemble()
    late = followers(ensemble)[0]
    writer = front.client(ensemble.await_leader().hosts, timeout=10.0)
    reader = front.client(ensemble.members[late].hosts, timeout=10.0)
    writer.create("/a", b"old")
    reader.sync("/a")
    assert reader.get("/a")[0] == b"old"
    ensemble.lag(late, 0.5)
    writer.set("/a", b"new")
    assert reader.get("/a")[0] == b"old", "stale: no error, and no word of it"
    reader.sync("/a")
    assert reader.get("/a")[0] == b"new"


@pytest.mark.long
def test_a_client_survives_the_stop_of_each_member_in_turn(front: Front) -> None:
    ensemble = front.ensemble()
    zk = front.client(ensemble.hosts, timeout=4.0)
    session = zk.client_id
    zk.create("/e", ephemeral=True)
    for number, member in enumerate(ensemble.members):
        member.stop()
        ensemble.await_leader()
        create(zk, f"/{number}")
        member.start()
    assert zk.client_id == session and zk.exists("/e").ephemeralOwner == session[0]
    assert set(zk.get_children("/")) >= {"0", "1", "2", "e"}
    assert ensemble.leader is not None and ensemble.leader.zxid >> 32 >= 2


def create(zk: Any, path: str) -> None:
    """Create it, however often the connection is lost on the way."""

    def attempt() -> bool:
        try:
            zk.create(path)
        except NodeExistsError:
            return True
        except ConnectionLoss:
            return False
        return True

    until(attempt)


@pytest.mark.long
def test_a_session_outlives_the_loss_of_the_quorum(front: Front) -> None:
    ensemble = front.ensemble(min_session_timeout=0.1)
    zk = front.client(ensemble.hosts, timeout=0.4)
    session = zk.client_id
    zk.create("/e", ephemeral=True)
    states = Log()
    zk.add_listener(states)
    ensemble.members[0].stop()
    ensemble.members[1].stop()
    threading.Event().wait(1.0)  # more than twice the time-out, which is the point
    assert ensemble.sessions == (session[0],), "nobody may say that it has ended"
    ensemble.members[0].start()
    until(lambda: zk.connected, 10)
    assert session[0] in ensemble.sessions


@pytest.mark.long
def test_discovery_survives_the_stop_of_each_member_in_turn(front: Front) -> None:
    ensemble = front.ensemble()
    client, watching = (front.disco(ensemble.hosts, session_timeout=4.0) for _ in range(2))
    registrar = front.registrar(client, Service("/svc", "api", b"10.0.0.1:80"))
    node = registrar.register()
    instancer = front.instancer(watching, "/svc/api")
    for member in ensemble.members:
        member.stop()
        ensemble.await_leader()
        member.start()
    until(lambda: instancer.stale_since is None)
    assert instancer.state.instances == ("10.0.0.1:80",) and registrar.node == node


@pytest.mark.long
def test_an_instancer_on_a_lagging_follower_shows_an_old_set_and_cannot_know_it(front: Front) -> None:
    """`stale_since` is None: to the follower, and so to its clients, nothing has happened yet."""
    ensemble = front.ensemble()
    late = followers(ensemble)[0]
    away, here = ensemble.await_leader().hosts, ensemble.members[late].hosts
    registrar = front.registrar(front.disco(away, session_timeout=10.0), Service("/svc", "api", b"10.0.0.1:80"))
    registrar.register()
    heard = Log()
    instancer = front.instancer(front.disco(here, session_timeout=10.0), "/svc/api")
    instancer.register(heard)
    ensemble.lag(late, 0.5)
    other = front.registrar(front.disco(away, session_timeout=10.0), Service("/svc", "api", b"10.0.0.2:80"))
    other.register()
    assert instancer.state.instances == ("10.0.0.1:80",) and instancer.stale_since is None
    heard.until(lambda seen: seen[-1].instances == ("10.0.0.1:80", "10.0.0.2:80"))


def truth(ensemble: EmbeddedEnsemble) -> Tuple[str, ...]:
    """The set as the leader has it."""
    with ZooKeeper(ensemble.await_leader().hosts, timeout=10.0) as zk:
        try:
            return tuple(sorted(zk.get(f"/svc/api/{name}")[0].decode() for name in zk.get_children("/svc/api")))
        except NoNodeError:
            return ()


@pytest.mark.slow
@pytest.mark.watchdog(120)
@pytest.mark.parametrize("seed", range(4))
def test_random_stops_starts_and_lags(front: Front, seed: int) -> None:
    """Registrations stay, and an instancer's state is true in the end, whatever the members do: four seeds, two fronts."""
    rng = random.Random(f"{front.name} {seed}")
    ensemble = front.ensemble(3, observers=rng.randrange(2), election_time=rng.choice((0.0, 0.05)), seed=seed)
    clients = [front.disco(ensemble.hosts, session_timeout=rng.choice((1.0, 4.0))) for _ in range(3)]
    registrars = [
        front.registrar(client, Service("/svc", "api", f"10.0.0.{number}:80".encode()))
        for number, client in enumerate(clients[:2])
    ]
    for registrar in registrars:
        registrar.register()
    instancer = front.instancer(clients[2], "/svc/api")
    pause = threading.Event()
    for _ in range(12):
        number, what = rng.randrange(len(ensemble.members)), rng.randrange(4)
        if what == 0:
            ensemble.lag(number, rng.choice((0.0, 0.1, 0.3)))
        elif what == 1:
            ensemble.members[number].start()
        elif what == 2:
            ensemble.members[number].stop()
        else:
            ensemble.members[number].cut(reset=rng.random() < 0.5)
        pause.wait(rng.random() * 0.15)  # the schedule's own pace
    ensemble.heal()
    for member in ensemble.members:
        member.start()
    expected = ("10.0.0.0:80", "10.0.0.1:80")
    until(lambda: instancer.state.instances == expected and instancer.stale_since is None, 30)
    until(lambda: truth(ensemble) == expected, 30)
    until(lambda: all(registrar.node is not None and registrar.error is None for registrar in registrars), 30)
