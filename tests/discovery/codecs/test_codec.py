"""What all codecs share: instances of any type, what costs a node only itself, names that a format wants."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any, Dict, List, Tuple

import pytest

from tests.kit.fronts import Front, Log
from zkdisco import Event, IdentityTakenError, Service, UndecodableDataError
from zkdisco.codecs import NAMES, TEXT, Codec, Instance, Naming, find, parse_address
from zkwire import ZooKeeper


class Exact(Naming):
    """Nodes are called as their instances; who is called otherwise is none."""

    def accepts(self, name: str) -> bool:
        return name.startswith("n-")

    def node_name(self, instance: Any) -> str:
        return f"n-{instance}"


class Numbers(Codec[int]):
    """Numbers as decimal text."""

    name, naming = "numbers", Exact()

    def decode(self, name: str, data: bytes) -> int:
        if data == b"bug":
            raise KeyError("a bug of the codec")
        return int(data)

    def encode(self, instance: int) -> bytes:
        if not isinstance(instance, int):
            raise TypeError("numbers are int")
        return str(instance).encode()

    def complete(self, instance: int) -> int:
        return 7 if instance == 0 else instance


def followed(front: Front, hosts: str, directory: str, codec: Any) -> Tuple[Any, Log]:
    instancer, heard = front.instancer(front.disco(hosts, session_timeout=10.0), directory, codec=codec), Log()
    instancer.register(heard)
    heard.wait()
    return instancer, heard


def test_instances_are_what_the_codec_makes_of_the_nodes(server: Any, front: Front, unique: str) -> None:
    directory = f"/{unique}"
    with ZooKeeper(server.hosts) as zk:
        for name, data in (("n-b", b"10"), ("n-a", b"20"), ("other", b"30"), ("n-c", b"ten"), ("n-d", b"bug")):
            zk.create(f"{directory}/{name}", data, makepath=True)
        instancer, heard = followed(front, server.hosts, directory, Numbers())
        assert instancer.state.instances == (20, 10), "in the order of the names; 'other' is none"
        error = instancer.state.error
        assert isinstance(error, UndecodableDataError), "what cannot be decoded costs only itself"
        assert [path for path, _ in error.nodes] == [f"{directory}/n-c", f"{directory}/n-d"]
        assert "invalid literal" in str(error.nodes[0][1]) and "KeyError" in str(error.nodes[1][1])
        assert front.complaints == ["exception in <codec numbers> for the node 'n-d', which is left out"]
        front.complaints.clear()
        assert [node.name for node in instancer.nodes] == ["n-a", "n-b", "n-c", "n-d"]
        zk.set(f"{directory}/n-c", b"5")
        zk.delete(f"{directory}/n-d")
        heard.until(lambda seen: seen[-1] == Event((20, 10, 5)))
        zk.set(f"{directory}/n-a", b"1")
        heard.until(lambda seen: seen[-1].instances == (1, 10, 5))
        zk.delete(f"{directory}/n-b")
        heard.until(lambda seen: seen[-1].instances == (1, 5))


def test_a_registration_is_written_as_the_codec_has_it(server: Any, front: Front, unique: str) -> None:
    service = Service(f"/{unique}", "api", 0, codec=Numbers())
    assert (service.data, service.content, service.node_name) == (7, b"7", "n-7"), "completed, encoded, named"
    client = front.disco(server.hosts, session_timeout=10.0)
    registrar = front.registrar(client, service)
    assert registrar.register() == f"/{unique}/api/n-7"
    with ZooKeeper(server.hosts) as zk:
        assert zk.get(f"/{unique}/api/n-7")[0] == b"7"
        with pytest.raises(ValueError, match="the node is 'n-7', which cannot become 'n-8'"):
            registrar.update(8)
        with pytest.raises(TypeError):
            registrar.update(b"7")
        assert zk.get(f"/{unique}/api/n-7")[1].version == 0, "nothing was sent"
        other = front.registrar(front.disco(server.hosts), Service(f"/{unique}", "api", 9, codec=Numbers()), identity="n-7")
        with pytest.raises(IdentityTakenError):
            other.register()
        registrar.deregister()
        assert zk.get_children(f"/{unique}/api") == []


def test_a_client_registers_a_service_with_a_codec(server: Any, front: Front, unique: str) -> None:
    client = front.disco(server.hosts, session_timeout=10.0)
    service = Service(f"/{unique}", "api", Instance("10.0.2.10", 80), codec="gokit")
    node = client.register(service)
    assert client.register(Service(f"/{unique}", "api", Instance("10.0.2.10", 80), codec="gokit")) == node, "equal"
    instancer, _ = followed(front, server.hosts, service.directory, "gokit")
    (found,) = instancer.state.instances
    assert (found.address, found.raw, found.id) == ("10.0.2.10:80", "10.0.2.10:80", node.rpartition("/")[2])
    client.deregister(service)


# ------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("codec", "error"), [(3, TypeError), (Numbers, TypeError), ("no such", ValueError), (b"text", TypeError)], ids=repr
)
def test_what_is_no_codec_is_refused_before_anything_is_sent(server: Any, front: Front, codec: Any, error: Any) -> None:
    with pytest.raises(error, match="codec|format"):
        Service("/a", "b", b"", codec)
    client = front.disco(server.hosts)
    with pytest.raises(error, match="codec|format"):
        front.instancer(client, "/a", codec=codec)


def test_each_name_is_a_codec_that_says_so() -> None:
    for name in NAMES:
        codec = find(name)
        assert codec.name == name and find(codec) is codec and repr(codec) == f"<codec {name}>"
    assert find("text") is TEXT and TEXT.encode("ä") == b"\xc3\xa4" and TEXT.decode("n", b"\xc3\xa4") == "ä"


def test_a_codec_that_only_reads_says_so() -> None:
    class Reader(Codec[int]):
        name = "reader"

    with pytest.raises(ValueError, match="'reader' can be read, but not written"):
        Service("/a", "b", 3, codec=Reader())


BAD: List[Tuple[Dict[str, Any], Any]] = [
    ({"host": ""}, ValueError), ({"host": "a b"}, ValueError), ({"host": "a\nb"}, ValueError), ({"host": "a;b"}, ValueError),
    ({"host": "[::1]"}, ValueError), ({"host": b"a"}, TypeError), ({"host": "a/b"}, ValueError), ({"host": "-a"}, ValueError),
    ({"host": "a", "port": -1}, ValueError), ({"host": "a", "port": 65536}, ValueError), ({"host": "a", "port": "80"}, TypeError),
    ({"host": "a", "port": True}, TypeError), ({"host": "a", "weight": -1}, ValueError),
    ({"host": "a", "weight": float("nan")}, ValueError), ({"host": "a", "weight": "1"}, TypeError),
    ({"host": "a", "id": 3}, TypeError), ({"host": "a", "status": None}, TypeError), ({"host": "x" * 300}, ValueError),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "error"), BAD, ids=repr)
def test_what_can_be_no_instance(fields: Dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        Instance(**fields)


@pytest.mark.parametrize(
    ("text", "host", "port", "address"),
    [
        ("10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1:80"), ("[::1]:80", "::1", 80, "[::1]:80"), ("a.b:0", "a.b", 0, "a.b"),
        ("[fe80::1%eth0]:8080", "fe80::1%eth0", 8080, "[fe80::1%eth0]:8080"), ("db_1.local:5432", "db_1.local", 5432, "db_1.local:5432"),
    ],
)  # fmt: skip
def test_addresses(text: str, host: str, port: int, address: str) -> None:
    found = parse_address(text)
    assert (found.host, found.port, found.address, str(found)) == (host, port, address, address)


@pytest.mark.parametrize("text", ["", "a", ":80", "a:b", "a:80:90", "::1:80", "[::1]", "a:80\n", "a:999999", "a:99999", "a:٣"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="host|port"):
        parse_address(text)


def test_an_instance_is_a_value() -> None:
    one = Instance("a", 80, metadata={"k": [1]}, raw={"x": 1})
    other = Instance("a", 80, metadata={"k": [1]})
    assert one == other and hash(one) == hash(other) and pickle.loads(pickle.dumps(one)) == one  # noqa: S301
    assert one.but(weight=2.0).raw == {"x": 1} and one.but(weight=2.0) != one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.port = 81  # type: ignore[misc]
    assert [Instance("a", status=word).available for word in ("", "UP", "ALIVE", "OUT_OF_SERVICE", "DEAD")] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("text", "address", "metadata"),
    [
        ("10.0.0.1:80", "10.0.0.1:80", {}), ("http://10.0.0.1/api?x=1", "10.0.0.1:80", {"scheme": "http", "path": "/api", "query": "x=1"}),
        ("https://user:pass@[::1]/", "[::1]:443", {"scheme": "https", "path": "/"}), ("grpc://a:9", "a:9", {"scheme": "grpc"}),
    ],
)  # fmt: skip
def test_go_kits_text(text: str, address: str, metadata: Dict[str, str]) -> None:
    codec = find("gokit")
    found = codec.decode("node", text.encode())
    assert (found.address, found.metadata, found.id, found.raw) == (address, metadata, "node", text)
    assert codec.encode(found) == text.encode(), "as it was"
    assert codec.encode(found.but(port=81)) == f"{found.but(port=81).address}".encode()


@pytest.mark.parametrize("data", [b"", b"a", b"\xff", b"http://", b"http://a\nb", b"x://a", b"http://[", b"http://a:b"])
def test_what_is_no_text_of_go_kits(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of many texts
        find("gokit").decode("n", data)


def test_an_event_is_the_tuple_it_was() -> None:
    event = Event(("a",))
    instances, error = event
    assert (instances, error, event.held) == (("a",), None, ()) and event == (("a",), None) == Event(("a",), None)
    assert repr(event) == "Event(instances=('a',), error=None)" and pickle.loads(pickle.dumps(event)) == event  # noqa: S301
    assert event._replace(instances=()) == Event(()) and type(event._replace(instances=())) is Event
    assert Event[int]((1,)).instances == (1,)
