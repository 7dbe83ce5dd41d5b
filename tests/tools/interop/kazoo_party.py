"""kazoo's Party, whose nodes are told by their names: it reads our registrations, and zkdisco reads its members."""

from __future__ import annotations

import uuid

from zkdisco import Client, Instancer, Registrar, Service

from .kazoo_client import connected
from .scenario import Book, Trial

book = Book("kazoo")


@book
def party(trial: Trial) -> None:
    """The name ends in `__party__`; the data is whatever the member says, here an address."""
    path = f"{trial.root}/party"
    with connected(trial) as one:
        theirs = one.Party(path, "10.0.0.1:80")
        theirs.join()
        client = Client(zk=trial.place.other)
        instancer = Instancer(client, path, codec="gokit", accept=lambda name: name.endswith("__party__"))
        assert [found.address for found in instancer.state.instances] == ["10.0.0.1:80"]
        trial.note("zkdisco reads", [found.address for found in instancer.state.instances])
        registrar = Registrar(client, Service(trial.root, "party", b"10.0.0.2:80"), identity=f"{uuid.uuid4().hex}__party__")
        registrar.register()
        assert sorted(theirs) == ["10.0.0.1:80", "10.0.0.2:80"]
        trial.note("Party reads", sorted(theirs), len(theirs))
        trial.place.wait(lambda: len(instancer.state.instances) == 2, "both")
        theirs.leave()
        trial.place.wait(lambda: len(instancer.state.instances) == 1, "the one that stays")
        trial.note("theirs has left", [found.address for found in instancer.state.instances])
        registrar.deregister()
        trial.note("ours has left", sorted(theirs))
        instancer.stop()


@book
def shallow_party(trial: Trial) -> None:
    """All is in the name: a guid, a dash, and what the member says."""
    path = f"{trial.root}/party"
    with connected(trial) as one:
        theirs = one.ShallowParty(path, "10.0.0.1:80")
        theirs.join()
        client = Client(zk=trial.place.other)
        registrar = Registrar(client, Service(trial.root, "party"), identity=f"{uuid.uuid4().hex}-10.0.0.2:80")
        registrar.register()
        assert sorted(theirs) == ["10.0.0.1:80", "10.0.0.2:80"]
        trial.note("ShallowParty reads", sorted(theirs), len(theirs))
        instancer = Instancer(client, path)
        trial.note("zkdisco reads", sorted(node.name.partition("-")[2] for node in instancer.nodes))
        theirs.leave()
        registrar.deregister()
        trial.note("both have left", sorted(theirs))
        instancer.stop()
