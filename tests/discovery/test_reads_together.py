"""Many nodes are read together; and what that must not do to any of them, nor to the connection for long."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from tests.kit.catalogue import fault
from tests.kit.fronts import Front, Log, Requests
from zkdisco.runner import AT_ONCE, LEAST, PATHS_BYTES, TOGETHER, TOGETHER_BYTES, Reads
from zkwire import ACL, Id, errors
from zkwire.ops import Create, Exists, GetData, MultiRead, SetData

DIRECTORY = "/services/api"
GET, MULTI_READ = 4, 22
READ = GetData(f"{DIRECTORY}/n")


def multi(count: int) -> MultiRead:
    return MultiRead([READ] * count)


def test_what_may_be_read_together() -> None:
    assert Reads.suits(READ)
    assert not Reads.suits(GetData("/a", print)) and not Reads.suits(Exists("/a")) and not Reads.suits(SetData("/a", b""))


def test_it_begins_with_few_and_learns() -> None:
    reads = Reads()
    assert reads.room(READ) == LEAST
    reads.sent(multi(LEAST))
    assert reads.room(READ) == 0, "it waits for the first answer"
    assert reads.answered([(b"x" * 10, None)] * LEAST, LEAST) == [(b"x" * 10, None)] * LEAST
    assert reads.room(READ) == TOGETHER
    for _ in range(AT_ONCE):
        assert reads.room(READ) == TOGETHER
        reads.sent(multi(TOGETHER))
    assert reads.room(READ) == 0
    reads.answered([(b"", None)] * TOGETHER, TOGETHER)
    assert reads.room(READ) == TOGETHER


@pytest.mark.parametrize(("largest", "room"), [(10, TOGETHER), (1000, TOGETHER_BYTES // 1001), (5000, 1), (900_000, 1)])
def test_large_nodes_are_read_in_smaller_numbers(largest: int, room: int) -> None:
    reads = Reads()
    reads.sent(multi(LEAST))
    reads.answered([(b"x" * largest, None), *[(b"", None)] * (LEAST - 1)], LEAST)
    assert reads.room(READ) == room


def test_long_paths_too() -> None:
    reads = Reads()
    reads.sent(multi(LEAST))
    reads.answered([(b"", None)] * LEAST, LEAST)
    path = "/" + "a" * 1000
    assert reads.room(GetData(path)) == PATHS_BYTES // len(path) < TOGETHER
    assert reads.room(GetData("/" + "a" * 30_000)) == 1


@pytest.mark.parametrize("error", [errors.FrameTooLargeError("4 MB"), errors.UnimplementedError(), errors.MarshallingError("x")])
def test_what_fails_as_a_whole_is_read_one_by_one(error: Exception) -> None:
    """And blamed on none of the nodes: the core reads all of it anew."""
    reads = Reads()
    reads.sent(multi(3))
    outcomes = reads.answered(error, 3)
    assert [type(outcome) for outcome in outcomes] == [errors.ConnectionLoss] * 3
    assert reads.room(READ) == 1
    assert reads.answered(error, 1) == [error], "alone, a node is to blame"


def test_a_lost_connection_says_nothing_against_it() -> None:
    reads = Reads()
    reads.sent(multi(3))
    loss = errors.ConnectionLoss("cut")
    assert reads.answered(loss, 3) == [loss] * 3
    assert reads.room(READ) == LEAST


# ------------------------------------------------------------------------------- both fronts


class Scene:
    """A directory of `count` instances, a client of discovery behind a tap, and an operator."""

    def __init__(self, front: Front, count: int, size: int = 0, **settings: Any) -> None:
        self.front, self.requests = front, Requests()
        self.server = front.server(**settings)
        self.operator = front.client(self.server.hosts)
        self.operator.ensure_path(DIRECTORY)
        self.data: Dict[str, str] = {f"n{number:04}": f"{number:04}".ljust(size, "x") for number in range(count)}
        for future in [self.operator.submit(Create(f"{DIRECTORY}/{n}", d.encode())) for n, d in self.data.items()]:
            future.result(20)
        self.proxy = front.proxy(self.server, tap=self.requests)
        self.events = Log()

    def instancer(self) -> Any:
        """An instancer of the directory."""
        self.client = self.front.disco(self.proxy.hosts, session_timeout=5.0)
        instancer = self.front.instancer(self.client, DIRECTORY, timeout=20)
        instancer.register(self.events)
        return instancer

    @property
    def all(self) -> List[str]:
        return sorted(self.data.values())


@pytest.mark.long
@fault("Y20")
def test_a_thousand_cost_a_dozen_requests_at_first_and_after_a_cut(front: Front) -> None:
    scene = Scene(front, 1000)
    instancer = scene.instancer()
    assert list(instancer.state.instances) == scene.all
    first = scene.requests.total
    assert scene.requests.count(GET) < LEAST and first < 25
    scene.proxy.cut("rst")
    scene.events.until(lambda seen: len(seen) >= 3 and seen[-1].error is None, 10.0)
    assert list(instancer.state.instances) == scene.all
    assert scene.requests.total - first < 25


def test_one_change_is_read_alone(front: Front) -> None:
    scene = Scene(front, 100)
    scene.instancer()
    before = scene.requests.count(GET), scene.requests.count(MULTI_READ)
    scene.operator.set(f"{DIRECTORY}/n0001", b"new")
    scene.events.until(lambda seen: "new" in seen[-1].instances, 5.0)
    assert (scene.requests.count(GET), scene.requests.count(MULTI_READ)) == (before[0] + 1, before[1])


@pytest.mark.parametrize("version", ["3.4", "3.5"])
def test_servers_that_know_nothing_of_it_are_not_asked(version: str, front: Front) -> None:
    scene = Scene(front, 100, version=version)
    assert list(scene.instancer().state.instances) == scene.all
    assert scene.requests.count(MULTI_READ) == 0


def test_nodes_without_data_are_read_together_too(front: Front) -> None:
    """Null is no data: with `create` of ZooKeeper's own command line, a node has that."""
    scene = Scene(front, 0)
    for number in range(2 * LEAST):
        scene.operator.submit(Create(f"{DIRECTORY}/n{number}", None)).result(10.0)
    assert scene.operator.get(f"{DIRECTORY}/n0")[0] is None
    instancer = scene.instancer()
    assert instancer.state == (("",) * (2 * LEAST), None)
    assert scene.requests.count(MULTI_READ) >= 1


@fault("Y02")
def test_one_that_may_not_be_read_costs_itself(front: Front) -> None:
    scene = Scene(front, 200)
    scene.operator.set_acls(f"{DIRECTORY}/n0007", [ACL(31, Id("digest", "nobody:x"))])
    instancer = scene.instancer()
    assert list(instancer.state.instances) == [data for data in scene.all if data != scene.data["n0007"]]
    assert [path for path, _ in instancer.state.error.nodes] == [f"{DIRECTORY}/n0007"]
    assert scene.requests.count(MULTI_READ) >= 2


@fault("Y03")
@pytest.mark.slow
def test_more_than_a_frame_holds(front: Front) -> None:
    """Sixteen nodes of 300 KB are beyond `max_frame` together: they are read one by one, and none is left out."""
    scene = Scene(front, LEAST + 4, 300_000)
    instancer = scene.instancer()
    scene.events.until(lambda seen: seen[-1].error is None and len(seen[-1].instances) == LEAST + 4, 10.0)
    assert list(instancer.state.instances) == scene.all
    assert scene.requests.count(MULTI_READ) == 1 and scene.requests.count(GET) == LEAST + 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hangs_up_on", "answers_without_body"])
def test_a_server_that_is_only_mostly_compatible(kind: str, front: Front) -> None:
    """It does not know the request, and says so in its own way; zkwire takes a few hang-ups in a row for that answer."""
    scene = Scene(front, 100, **{kind: frozenset({MULTI_READ})})
    instancer = scene.instancer()
    scene.events.until(lambda seen: seen[-1].error is None and len(seen[-1].instances) == 100, 10.0)
    assert list(instancer.state.instances) == scene.all
    assert scene.requests.count(MULTI_READ) <= 3
