"""A user's program on the blocking front, and what its type checker must refuse; read by `make lint`, never run.

Each line that is wrong says so to mypy, by the code of its error, and to pyright. Both complain of a comment that they do
not need: what is wrong cannot come to be accepted unseen.
"""

from __future__ import annotations

import queue
import ssl
from typing import List, Optional, Tuple

from zkdisco import Client, Event, Instancer, RegistrationReport, Registrar, Service
from zkdisco.balance import Balancer, ConsistentHash, Ejection, Endpoint, RoundRobin, ZoneFirst
from zkdisco.codecs import Codec, Instance
from zkdisco.endpoints import Endpoints
from zkdisco.settling import Settling
from zkwire import NoNodeError, Stat, WatchedEvent, ZooKeeper, ZookeeperError
from zkwire.ops import GetData


class Configuration:
    """Follows a node: the data, whenever it has changed."""

    def __init__(self, hosts: str, path: str) -> None:
        self.value: Optional[bytes] = None
        self.stat: Optional[Stat] = None
        self._path = path
        self._zk = ZooKeeper(hosts, timeout=10.0, ssl_context=ssl.create_default_context(), sasl=("user", "password"))

    def __enter__(self) -> Configuration:
        self._zk.start(timeout=5.0)
        self._read()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._zk.close()

    def _read(self) -> None:
        try:
            self.value, self.stat = self._zk.get(self._path, watch=self._changed, timeout=2.0)
        except NoNodeError as error:
            print(error.path, error.code)

    def _changed(self, event: WatchedEvent) -> None:
        if event.path == self._path:
            self._read()

    def children(self) -> List[str]:
        """All names, sorted."""
        return sorted(self._zk.get_children(self._path))

    def bump(self) -> int:
        """Write, and the new version."""
        version = -1 if self.stat is None else self.stat.version
        with self._zk.transaction() as transaction:
            transaction.check(self._path, version)
            transaction.set_data(self._path, b"new")
        futures = [self._zk.submit(GetData(self._path)) for _ in range(10)]
        return max(future.result(1.0)[1].version for future in futures)


def serve(hosts: List[str]) -> None:
    """Be registered, and know the others."""
    events: queue.Queue[Event] = queue.Queue()
    seen: List[Event] = []
    service = Service(path="/services", name="api", data=b"10.0.2.10:80")

    def told(report: RegistrationReport) -> None:
        print(report.node, report.error, report.ok)

    with Client(hosts, session_timeout=5.0) as client, Registrar(client, service) as registrar:
        registrar.observe(told)
        instancer = Instancer(client, "/services/api")
        instancer.register(events)
        instancer.register(seen.append)
        instancer.register(print)
        event = instancer.wait(minimum=2, timeout=10.0)
        addresses: List[str] = [instance for instance in event.instances]
        if event.error is not None:
            raise event.error
        print(addresses, registrar.node, events.get().instances)
        instancer.deregister(seen.append)
    curators(client)


class Connection:
    """What a user's factory makes."""

    def __init__(self, host: str, port: int) -> None:
        self.peer = (host, port)

    def ask(self) -> bytes:
        """Call the other side."""
        return b""

    def close(self) -> None:
        """End it."""


def call(client: Client) -> bytes:
    """Call the live ones, in turn."""
    instancer = Instancer(client, "/services/api", codec="curator", settling=Settling(0.3, hold=20.0))
    held: Tuple[Instance, ...] = instancer.state.held

    def connect(instance: Instance) -> Connection:
        return Connection(instance.host, instance.port)

    with Endpoints(instancer, connect, Connection.close, invalidate_on_error=60.0) as endpoints:
        balancer = RoundRobin(endpoints, ejection=Ejection(3, slow=2.0))
        chosen: Endpoint[Instance, Connection] = balancer.choose()
        balancer.report(chosen, None, 0.1)
        nearby: Balancer[Instance, Connection] = ZoneFirst(endpoints, "a")
        hashed = ConsistentHash(endpoints, identity=lambda instance: instance.id)
        print(held, nearby.choose().value.peer, hashed.choose(b"key").instance.host)
        with balancer.call() as endpoint:
            return endpoint.value.ask()


class Numbers(Codec[int]):
    """Instances are numbers."""

    def decode(self, name: str, data: bytes) -> int:
        """The data as one."""
        return int(data)


def curators(client: Client) -> None:
    """Read and write what another framework does."""
    service = Service("/services", "api", Instance("10.0.2.10", 80), codec="curator")
    with Registrar(client, service) as registrar:
        registrar.update(service.data.but(weight=2.0))
    instancer = Instancer(client, "/services/api", codec="curator")
    found: Tuple[Instance, ...] = instancer.wait().instances
    numbers: Instancer[int] = Instancer(client, "/numbers", codec=Numbers())
    print(sum(numbers.state.instances), found[0].address)


# ------------------------------------------------------------------------- what must be refused


def takes_text(text: str) -> None:
    """Not an observer: an event is no text."""


def wrong(zk: ZooKeeper, client: Client, instancer: Instancer, registrar: Registrar) -> None:
    """Every line."""
    instancer.register(3)  # type: ignore[arg-type]
    instancer.register("observer")  # type: ignore[arg-type]
    instancer.register(takes_text)  # type: ignore[arg-type]
    registrar.observe(None)  # type: ignore[arg-type]
    registrar.update("text")  # type: ignore[arg-type]
    Registrar(client, Service("/a", "b", Instance("c"), codec="curator")).update(b"text")  # type: ignore[arg-type]
    Instancer(client, "/a", codec=3)  # type: ignore[call-overload]
    Registrar(client, "/services/api")  # type: ignore[arg-type]
    Instancer(client, "/a", settling=0.5)  # type: ignore[call-overload]
    Endpoints(instancer, 3)  # type: ignore[arg-type]
    Endpoints(instancer, Connection.close)  # type: ignore[arg-type]
    RoundRobin(Endpoints(instancer, len)).choose(3)  # type: ignore[arg-type]
    RoundRobin(instancer)  # type: ignore[arg-type]
    Instancer(client)  # type: ignore[call-overload]
    Service("/services", "api", "10.0.2.10:80")  # type: ignore[call-overload]
    zk.get(b"/a")  # type: ignore[arg-type]
    zk.get("/a", watch=3)  # type: ignore[arg-type]
    zk.set("/a", "text")  # type: ignore[arg-type]
    zk.create("/a", ephemerall=True)  # type: ignore[call-overload]
    data: str = zk.get("/a")[0]  # type: ignore[assignment]
    stat: Stat = zk.exists("/a")  # type: ignore[assignment]
    names: List[str] = zk.get_children("/a", include_data=True)  # type: ignore[assignment]
    number: int = zk.submit(GetData("/a")).result()  # type: ignore[assignment]
    print(data, stat, names, number, ZookeeperError)
