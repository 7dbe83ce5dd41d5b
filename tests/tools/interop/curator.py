"""Curator 5.4's service discovery, as Java runs it: see `curator_program/Discovery.java`. zkdisco is on the other side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kit.harness import foreign
from zkdisco import Client, Registrar, Service
from zkdisco.codecs import Codec, Instance, find
from zkdisco.codecs.conflicts import conflicts
from zkdisco.codecs.curator import Curator, uri_spec, url

from .program import converse
from .scenario import Book, Scenario, Trial

_FOLDER = Path(__file__).parent / "curator_program"
COMMANDS = foreign.curator_program(_FOLDER / "Discovery.java", _FOLDER / "beans")
NAMES = ("theirs", "ours", "typed", "beans", "cache", "mixed")
TYPED = Curator("Discovery$Details")
_FIRST = r'["api","first","10.0.2.10",80,null,%s,true,"DYNAMIC","http://10.0.2.10:80/api",true]'
#: What must be noted besides being the same on both servers, word by word, in this order.
WANTED = {
    "theirs": (
        "'list 10.0.0.1:8080 {\"payload\": [\"x\", \"y\"]} DYNAMIC '", "'map 10.0.0.1:8080 {\"zone\": \"eu\", \"n\": 3} DYNAMIC http://10.0.0.1:8080/api'",
        "'permanent 10.0.0.1:8080 {} PERMANENT '", "'ssl [::1]:8443 {} DYNAMIC https://x:8443/ssl'", "'static 10.0.0.1:8080 {} STATIC '",
        "list: True", "long: True", "map: True", "number: True", "plain: True", "ssl: True", "text: True", "detected: ['curator']", "closed: True",
    ),
    "ours": (
        "by name: ['" + _FIRST % '{"zone":"a","rack":7}' + "']", "by id: ['api', 'first', '10.0.2.10', 80", "], None", "services: ['api']",
        '"first","10.0.2.10",81,', "by name: []",
    ),
    "typed": (_FIRST % '"Details of a 7"', "by id: ['api', 'first'", "by name: 'fails as a whole'"),
    "beans": (
        "'ours-spring', '10.0.2.10', 80, 'ours-spring spring {instance_status=UP, weight=2}', 'http://10.0.2.10:80'",
        "zkdisco reads: ['spring'], ['10.0.0.1:8080: True', 'ours-spring: True']",
        "'10.0.2.10:80', '10.0.2.10', 80, 'null dubbo-app {}', None", "['dubbo-app'], ['10.0.0.1:8080: True', '10.0.2.10:80: True']",
    ),
    "cache": ("at first: 0", "one has come: ['first']", "another has come: ['first', 'second']", "one has gone: ['second']", "none is left: []"),
    "mixed": ("warned of spring", "warned of nerve", "warned of dubbo"),
}  # fmt: skip
book = Book("Curator")


class Other:
    """zkdisco, doing what the program asks for, below the root of a trial."""

    def __init__(self, trial: Trial) -> None:
        self._zk, self._wait, self._root = trial.place.other, trial.place.wait, trial.root
        self._client = Client(zk=self._zk)
        self._registered: dict[str, tuple[Service[Any], Registrar[Any]]] = {}

    def nodes(self, name: str) -> list[tuple[str, bytes]]:
        directory = f"{self._root}/{name}"
        return [(child, self._zk.get(f"{directory}/{child}")[0]) for child in sorted(self._zk.get_children(directory))]

    def read(self, trial: Trial, name: str) -> list[str]:
        codec = find("curator")
        found = [codec.decode(*node) for node in self.nodes(name)]
        return [f"{one.id} {one.address} {json.dumps(one.metadata)} {one.raw['serviceType']} {url(one)}" for one in found]

    def written_again(self, trial: Trial, name: str) -> list[str]:
        told = []
        for child, data in self.nodes(name):
            codec = find(find("auto").decode(child, data).format)
            try:
                told.append(f"{child}: {codec.encode(codec.decode(child, data)) == data}")
            except ValueError as error:
                told.append(f"{child}: {error}")
        return told

    def detected(self, trial: Trial, name: str) -> list[str]:
        return sorted({find("auto").decode(*node).format for node in self.nodes(name)})

    def register(self, trial: Trial, name: str, format: str, id: str, port: int) -> str:
        codec: Codec[Any] = TYPED if format == "typed" else find(format)
        data: Any = Instance("10.0.2.10", port, id, metadata={"zone": "a", "rack": 7} if codec.name == "curator" else {})
        if format == "text":
            data = "10.0.2.10:80"
        elif codec.name == "curator":
            data = codec.complete(data)
            data = data.but(raw={**data.raw, "uriSpec": uri_spec("{scheme}://{address}:{port}/{name}")})
        elif format == "dubbo":
            data = data.but(name="com.example.Orders")
        elif format == "dubbo-app":
            data = data.but(id="")
        elif format == "spring":
            data = data.but(status="UP", weight=2)
        service: Service[Any] = Service(self._root, name, data, codec)
        registrar = Registrar(self._client, service)
        path = registrar.register()
        self._registered[id] = service, registrar
        return path.rpartition("/")[2] if service.node_name == id else "registered"

    def update(self, trial: Trial, id: str, port: int) -> None:
        service, registrar = self._registered[id]
        registrar.update(service.data.but(port=port))

    def deregister(self, trial: Trial, id: str) -> None:
        self._registered.pop(id)[1].deregister()

    def warned(self, trial: Trial, name: str, format: str) -> list[str]:
        return [one.effect for one in conflicts(self.nodes(name), format)]

    def empty(self, trial: Trial, name: str) -> bool:
        """Once it is: the directory is a container, which goes itself, at any moment."""
        path = f"{self._root}/{name}"

        def gone() -> bool:
            stat = self._zk.exists(path)
            return stat is None or stat.numChildren == 0

        self._wait(gone, f"an empty {path}")
        return True

    def close(self) -> None:
        for _, registrar in self._registered.values():
            registrar.deregister()


def _run(name: str, trial: Trial) -> None:
    other = Other(trial)
    verbs = ("read", "written again", "detected", "register", "update", "deregister", "warned", "empty")
    try:
        converse(
            trial, [*COMMANDS[name == "beans"], trial.place.hosts, trial.root, name],
            {verb: getattr(other, verb.replace(" ", "_")) for verb in verbs},
        )  # fmt: skip
    finally:
        other.close()
    said, place = "\n".join(trial.notes), 0
    for wanted in WANTED[name]:
        found = said.find(wanted, place)
        assert found >= 0, f"Curator should have said: {wanted}"
        place = found + len(wanted)


book += [
    Scenario(book.client, name, lambda trial, name=name: _run(name, trial))  # type: ignore[misc]
    for name in NAMES
]
