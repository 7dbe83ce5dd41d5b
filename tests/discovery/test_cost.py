"""What discovery costs on the wire: round trips and bytes of a registration, and of one change among ten thousand."""

from __future__ import annotations

from typing import Any, Callable, Tuple

import pytest

from tests.kit.discovery.tap import Tap
from tests.kit.fronts import Front, Log, real, until
from zkdisco import Service
from zkwire import ZooKeeper
from zkwire.ops import Create, Delete

MANY = 10_000
#: Seconds each way, so that what is sent at once is one round trip whatever the machine does in between.
DELAY = 0.03
#: Round trips until the node stands, and the caller is told: the directory is missing, there, or there with the node of an
#: expired session. One more sets the watch.
COLD, WARM, EXPIRED, WATCH = 4, 1, 2, 1
#: One change among ten thousand, in round trips and bytes that come down; before 3.6 all names come down.
CHANGE, BYTES, NAMES = 1, 400, 20 * MANY + 400
PLACES = ["embedded 3.9", "embedded 3.4", "server393", "server34"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Any:
    """A real server, which is to be there before `front` counts threads, or the version of an embedded one."""
    kind, _, version = request.param.partition(" ")
    return version or request.getfixturevalue(kind)


def served(front: Front, place: Any) -> Tuple[Any, Callable[[Any], object]]:
    """A server, and what ends a session of it."""
    if isinstance(place, str):
        server = front.server(version=place)
        return server, lambda client_id: server.expire(client_id[0])

    def resumed_and_closed(client_id: Any) -> None:
        with ZooKeeper(place.hosts, client_id=client_id):
            pass

    return place, resumed_and_closed


def at_rest(client: Any) -> None:
    """Until nothing is under way."""
    until(lambda: real(client).zk._session.pending == 0)


def tapped(front: Front, server: Any) -> Tuple[Any, Tap]:
    """A client of discovery behind a line that is slow and counts, which has its session."""
    tap = Tap()
    line = front.proxy(server, tap=tap)
    line.delay(DELAY)
    client = front.disco(line.hosts, session_timeout=30.0)
    at_rest(client)
    return client, tap


@pytest.mark.slow
def test_a_registration(place: Any, front: Front, unique: str) -> None:
    server, end_session = served(front, place)
    with ZooKeeper(server.hosts) as other:
        client, tap = tapped(front, server)
        tap.log.clear()
        registrar = front.registrar(client, Service(f"/{unique}", "api", b"10.0.0.1:80"))
        first = registrar.register()
        told = tap.round_trips()
        at_rest(client)
        print(f"cold: {tap}")
        assert (told, tap.round_trips()) == (COLD, COLD + WATCH)
        tap.log.clear()
        second = front.registrar(client, Service(f"/{unique}", "api", b"10.0.0.2:80"))
        second.register()
        told = tap.round_trips()
        at_rest(client)
        print(f"the directory is there: {tap}")
        assert (told, tap.round_trips()) == (WARM, WARM + WATCH)
        second.deregister()
        at_rest(client)
        tap.log.clear()
        end_session(real(client).zk.client_id)
        until(lambda: registrar.node not in (first, None) and registrar.error is None)
        at_rest(client)
        print(f"after an expiry, with the handshake: {tap}")
        assert tap.round_trips() == 1 + EXPIRED + WATCH
        registrar.deregister()
        at_rest(client)
        other.delete(f"/{unique}", recursive=True)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.watchdog(90)
@pytest.mark.parametrize("place", ["embedded 3.4", "server393"], indirect=True)
def test_one_change_among_ten_thousand(place: Any, front: Front, unique: str) -> None:
    """An instance comes, changes, goes: what comes down is told by the size of one instance, not of all."""
    server, _ = served(front, place)
    directory = f"/{unique}/api"
    with ZooKeeper(server.hosts, timeout=30.0, max_pending=2 * MANY) as other:
        other.ensure_path(directory)
        names = [f"{directory}/n{number:05}" for number in range(MANY)]
        assert [one.exception(60) for one in [other.submit(Create(name, b"10.0.0.1:80")) for name in names]] == [None] * MANY
        client, tap = tapped(front, server)
        instancer, heard = front.instancer(client, directory, timeout=60), Log()
        instancer.register(heard)
        heard.wait(1)
        lists_all = (place if isinstance(place, str) else place.version).startswith("3.4")
        bound = NAMES if lists_all else BYTES
        for what, change, shown in (
            ("comes", lambda: other.create(f"{directory}/one", b"10.0.0.2:80"), "10.0.0.2:80"),
            ("changes", lambda: other.set(f"{directory}/one", b"10.0.0.3:80"), "10.0.0.3:80"),
            ("goes", lambda: other.delete(f"{directory}/one"), None),
        ):
            at_rest(client)
            tap.log.clear()
            change()
            heard.until(lambda seen, shown=shown: shown in seen[-1].instances if shown else len(seen[-1].instances) == MANY)
            at_rest(client)
            print(f"an instance {what}: {tap}")
            assert tap.bytes("down") <= bound
            assert tap.round_trips() <= (2 * CHANGE if lists_all else CHANGE)
        instancer.stop()
        for done in [other.submit(Delete(name)) for name in names]:
            done.result(60)
        other.delete(f"/{unique}", recursive=True)
