"""`Endpoints` on both fronts: made and closed once, off the client's threads, under trouble, and in the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from tests.kit.fronts import Driven, Front, real, until
from zkdisco import ClientClosedError
from zkdisco.aio_endpoints import Endpoints as AsyncEndpoints
from zkdisco.balance import NoEndpointsError, RoundRobin
from zkdisco.codecs import Instance
from zkdisco.codecs.codec import Codec
from zkdisco.endpoints import Endpoints
from zkdisco.settling import Settling
from zkwire import ZooKeeper
from zkwire.ops import Create, Delete, SetData

ROOT = Path(__file__).parents[3]
DIRECTORY = "/svc/api"


class Maker:
    """A factory and a closer: notes what it makes and closes, where, and fails when told to."""

    def __init__(self) -> None:
        self.made: List[str] = []
        self.closed: List[str] = []
        self.threads: List[str] = []
        self.failing: Dict[str, BaseException] = {}
        self.gates: Dict[str, threading.Event] = {}

    def make(self, instance: Any) -> str:
        name = str(instance)
        self.threads.append(threading.current_thread().name)
        if name in self.failing:
            raise self.failing[name]
        if name in self.gates:
            self.made.append(f"{name} begun")
            assert self.gates[name].wait(20)
        self.made.append(name)
        return name

    def close(self, value: str) -> None:
        self.threads.append(threading.current_thread().name)
        self.closed.append(value)

    async def make_soon(self, instance: Any) -> str:
        await asyncio.sleep(0)
        return self.make(instance)

    async def close_soon(self, value: str) -> None:
        await asyncio.sleep(0)
        self.close(value)


class Stage:
    """A directory, an instancer, and the endpoints of it."""

    def __init__(self, front: Front, **options: Any) -> None:
        self.front, self.server, self.maker = front, front.server(), Maker()
        self.zk = ZooKeeper(self.server.hosts)
        self.zk.start()
        self.zk.ensure_path(DIRECTORY)
        self.proxy = front.proxy(self.server)
        self.instancer = front.instancer(front.disco(self.proxy.hosts, session_timeout=10.0), DIRECTORY, **options)
        self._endpoints: Any = None

    def endpoints(self, plain: bool = False, **options: Any) -> Any:
        maker = self.maker
        if self.front.loop is None:
            self._endpoints = Endpoints(self.instancer, maker.make, maker.close, **options)
        else:
            make, close = (maker.make, maker.close) if plain else (maker.make_soon, maker.close_soon)
            made = self.front.loop.call(AsyncEndpoints, real(self.instancer), make, close, **options)
            self._endpoints = Driven(self.front.loop, made)
            self._endpoints.start()
        return self._endpoints

    def add(self, *names: str) -> None:
        self.zk.multi([Create(f"{DIRECTORY}/{name}", name.encode()) for name in names])

    def remove(self, *names: str) -> None:
        self.zk.multi([Delete(f"{DIRECTORY}/{name}") for name in names])

    def values(self) -> List[str]:
        return [endpoint.value for endpoint in self._endpoints.endpoints()]

    def shows(self, *values: str) -> None:
        until(lambda: self.values() == list(values))


@pytest.fixture
def stage(front: Front) -> Iterator[Any]:
    stages: List[Stage] = []

    def make(**options: Any) -> Stage:
        stages.append(Stage(front, **options))
        return stages[-1]

    yield make
    for one in stages:
        if one._endpoints is not None:
            one._endpoints.close()
        one.zk.close()


def test_they_are_made_once_and_closed_once(stage: Any) -> None:
    one = stage()
    one.add("a", "b")
    until(lambda: len(one.instancer.nodes) == 2)
    endpoints = one.endpoints()
    assert one.values() == ["a", "b"], "there at once"
    first = endpoints.endpoints()
    assert [(endpoint.instance, endpoint.node) for endpoint in first] == [("a", "a"), ("b", "b")]
    one.add("c")
    one.shows("a", "b", "c")
    one.remove("a")
    one.shows("b", "c")
    until(lambda: one.maker.closed == ["a"])
    assert one.maker.made == ["a", "b", "c"] and endpoints.endpoints()[0] is first[1]
    one.remove("b")
    until(lambda: one.maker.closed == ["a", "b"])
    one.add("b")
    one.shows("b", "c")
    assert one.maker.made == ["a", "b", "c", "b"], "an instance that comes back is another one"
    endpoints.close()
    endpoints.close()
    assert one.maker.closed == ["a", "b", "b", "c"] and one.values() == []
    one.add("d")
    until(lambda: "d" in one.instancer.state.instances)
    assert one.values() == [] and "d" not in one.maker.made


def test_user_code_runs_on_no_thread_of_the_clients_cores(stage: Any, front: Front) -> None:
    one = stage()
    one.endpoints()
    one.add("a")
    one.shows("a")
    one.remove("a")
    until(lambda: one.maker.closed == ["a"])
    allowed = {"front"} if front.is_asyncio else {"zkdisco observer"}
    assert set(one.maker.threads) == allowed


def test_a_plain_factory_does_on_a_loop_too(stage: Any) -> None:
    one = stage()
    one.add("a")
    until(lambda: one.instancer.nodes)
    one.endpoints(plain=True)
    assert one.values() == ["a"]


def test_new_data_is_a_new_endpoint(stage: Any) -> None:
    one = stage()
    one.endpoints()
    one.add("a")
    one.shows("a")
    one.zk.submit(SetData(f"{DIRECTORY}/a", b"b")).result(5)
    one.shows("b")
    until(lambda: one.maker.closed == ["a"])


@pytest.mark.slow
def test_a_factory_that_fails_is_tried_again(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    one = stage()
    one.maker.failing["a"] = OSError("refused")
    endpoints = one.endpoints()
    one.add("a", "b")
    one.shows("b")
    until(lambda: endpoints.left_out())
    assert repr(endpoints.left_out()) == "{'a': OSError('refused')}"
    until(lambda: len(one.maker.threads) >= 4)
    assert len([record for record in caplog.records if "no endpoint for 'a'" in record.getMessage()]) == 1
    one.maker.failing.clear()
    one.shows("a", "b")
    assert endpoints.left_out() == {}


@pytest.mark.slow
def test_one_is_made_at_a_time_though_another_is_to_be_tried_again(stage: Any) -> None:
    """While the first ones take long, it is time for the one that has failed."""
    one = stage()
    one.add("a", "b")
    until(lambda: len(one.instancer.nodes) == 2)
    maker, under_way = one.maker, []
    maker.failing["a"] = OSError("refused")
    make = maker.make

    def slow(instance: str) -> str:
        under_way.append(instance)
        try:
            if instance == "b":
                threading.Event().wait(1.2)
            assert len(under_way) == 1, under_way
            return str(make(instance))
        finally:
            under_way.remove(instance)

    maker.make = slow
    endpoints = one.endpoints(plain=True)
    assert one.values() == ["b"] and [str(error) for error in endpoints.left_out().values()] == ["refused"]
    maker.failing.clear()
    one.shows("a", "b")
    assert maker.made == ["b", "a"]


def test_what_a_closer_raises_is_logged_and_all_others_are_closed(stage: Any, front: Front) -> None:
    one = stage()
    one.add("a", "b")
    until(lambda: len(one.instancer.nodes) == 2)

    class Bad(Maker):
        def close(self, value: str) -> None:
            super().close(value)
            raise OSError("close failed")

    one.maker = Bad()
    endpoints = one.endpoints()
    endpoints.close()
    assert one.maker.closed == ["a", "b"]
    assert len(front.complaints) == 2 and "was closed" in front.complaints[0]
    front.complaints.clear()


def test_who_is_gone_is_not_shown_while_a_factory_waits(stage: Any, front: Front) -> None:
    if front.is_asyncio:
        pytest.skip("a factory that blocks holds up the whole loop")
    one = stage()
    one.endpoints()
    one.add("a")
    one.shows("a")
    gate = one.maker.gates["b"] = threading.Event()
    one.add("b")
    until(lambda: "b begun" in one.maker.made)
    one.remove("a")
    one.shows()
    gate.set()
    one.shows("b")
    until(lambda: one.maker.closed == ["a"])


def test_what_is_made_after_the_end_is_closed(stage: Any, front: Front) -> None:
    one = stage()
    endpoints = one.endpoints()
    if front.is_asyncio:
        begun, go = threading.Event(), threading.Event()

        async def slow(instance: Any) -> str:
            begun.set()
            while not go.is_set():
                await asyncio.sleep(0)
            return one.maker.make(instance)

        real(endpoints)._factory = slow
        one.add("a")
        assert begun.wait(10)
    else:
        go = one.maker.gates["a"] = threading.Event()
        one.add("a")
        until(lambda: "a begun" in one.maker.made)
    endpoints.close()
    assert one.maker.closed == []
    go.set()
    until(lambda: one.maker.closed == ["a"])
    assert one.values() == []


@pytest.mark.slow
def test_trouble_takes_nothing_away_unless_that_is_wanted(stage: Any) -> None:
    one = stage()
    one.add("a")
    until(lambda: one.instancer.nodes)
    endpoints = one.endpoints(invalidate_on_error=1.5)
    balancer = RoundRobin(real(endpoints))
    one.proxy.refuse()
    one.proxy.cut("rst")
    until(lambda: one.instancer.state.error is not None)
    assert one.values() == ["a"] and balancer.choose().value == "a"
    one.shows()
    until(lambda: one.maker.closed == ["a"])
    with pytest.raises(NoEndpointsError, match=f"no endpoint of {DIRECTORY}; ConnectionLoss") as caught:
        balancer.choose()
    assert caught.value.__cause__ is one.instancer.state.error and caught.value.path == DIRECTORY


def test_who_is_held_keeps_its_endpoint(stage: Any) -> None:
    one = stage(settling=Settling(hold=20.0))
    one.add("a", "b")
    until(lambda: len(one.instancer.nodes) == 2)
    one.endpoints()
    one.remove("a", "b")
    until(lambda: one.instancer.state.held == ("a", "b"))
    one.add("c")
    one.shows("b", "c")
    until(lambda: one.maker.closed == ["a"])


class Halves(Codec[Instance]):
    """"name status", of which those that are not UP take no calls."""

    def decode(self, name: str, data: bytes) -> Instance:
        host, status = data.decode().split()
        return Instance(host, 80, status=status)


def test_who_takes_no_calls_has_no_endpoint(stage: Any) -> None:
    one = stage(codec=Halves())
    one.zk.create(f"{DIRECTORY}/a", b"a UP")
    one.zk.create(f"{DIRECTORY}/b", b"b OUT_OF_SERVICE")
    one.zk.create(f"{DIRECTORY}/c", b"nonsense")
    one.endpoints()
    one.shows("a:80")
    one.zk.set(f"{DIRECTORY}/a", b"a OUT_OF_SERVICE")
    one.zk.set(f"{DIRECTORY}/b", b"b UP")
    one.shows("b:80")
    until(lambda: one.maker.closed == ["a:80"])


def test_the_client_may_stop_first(stage: Any, front: Front) -> None:
    one = stage()
    one.add("a")
    until(lambda: one.instancer.nodes)
    endpoints = one.endpoints()
    for client in front._discos:
        client.stop()
    assert one.values() == ["a"], "the last that was known"
    endpoints.close()
    assert one.maker.closed == ["a"]


def test_an_interrupt_while_they_are_made_leaves_none_open(stage: Any, front: Front) -> None:
    one = stage()
    one.add("a", "b")
    until(lambda: len(one.instancer.nodes) == 2)
    kind = asyncio.CancelledError if front.is_asyncio else KeyboardInterrupt
    one.maker.failing["b"] = kind()
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # of either front
        one.endpoints()
    assert "Cancelled" in repr(caught.value) or caught.type is kind
    assert one.maker.made == ["a"] and one.maker.closed == ["a"]


@pytest.mark.parametrize("arguments", [("x", str), (None, 3), (None, str, 3)])
def test_what_can_be_no_endpoints(stage: Any, arguments: Any, front: Front) -> None:
    instancer = real(stage().instancer)
    kind: Any = AsyncEndpoints if front.is_asyncio else Endpoints
    with pytest.raises(TypeError):
        kind(arguments[0] or instancer, *arguments[1:])
    with pytest.raises(ValueError, match="invalidate_on_error"):
        kind(instancer, str, invalidate_on_error=-1)


def test_an_instancer_of_the_other_front_is_refused(stage: Any, front: Front) -> None:
    """Its threads would call what has to be awaited."""
    kind: Any = Endpoints if front.is_asyncio else AsyncEndpoints
    with pytest.raises(TypeError, match="Instancer, not for"):
        kind(real(stage().instancer), str)


def test_they_are_not_started_again_once_they_are_closed(stage: Any, front: Front) -> None:
    if not front.is_asyncio:
        pytest.skip("the constructor has started them")
    endpoints = stage().endpoints()
    endpoints.start()
    endpoints.close()
    with pytest.raises(ClientClosedError, match="have been closed"):
        endpoints.start()


CHILD = """
import os, sys
from zkdisco import Client, Instancer
from zkdisco.endpoints import Endpoints
from zkwire.embedded import EmbeddedServer
from zkwire.errors import ForkedError
with EmbeddedServer() as server, Client(server.hosts) as client:
    endpoints = Endpoints(Instancer(client, "/a"), str)
    child = os.fork()
    if not child:
        try:
            endpoints.endpoints()
        except ForkedError:
            os._exit(7)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    endpoints.close()
    print(os.WEXITSTATUS(status))
"""


@pytest.mark.once
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_the_child_of_a_fork_is_refused() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD], capture_output=True, text=True, timeout=25, cwd=ROOT, check=False)
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


def test_importing_zkdisco_loads_none_of_it() -> None:
    code = "import sys, zkdisco, zkdisco.aio; print([m for m in sys.modules if 'balance' in m or 'settl' in m or 'endpoints' in m or 'roster' in m])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25, cwd=ROOT, check=True).stdout == "[]\n"

