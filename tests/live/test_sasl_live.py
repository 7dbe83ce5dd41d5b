"""SASL with real servers, on both fronts."""

from __future__ import annotations

from typing import Any, Iterator

import pytest

from tests.kit.catalogue import fault
from tests.conftest import chosen, named
from tests.kit.harness.servers import Server
from tests.kit.fronts import Front, Log, until
from tests.fronts.test_sasl_fronts import BOB, BOBS_ACL, fails
from zkwire import AuthFailedError, Id, NoAuthError

#: User and password; what JAAS wants escaped is escaped below.
USERS = {
    **dict([BOB]), "bjørn": "pässwörd", "quoted": 'p"\\w', "Ωmega": "ωord", "jørgen": "ωord",
}  # fmt: skip


def started(short: str, shared: Any, **options: Any) -> Server:
    version = named(short)
    shared.fetch(version)
    users = {user: password.replace("\\", "\\\\").replace('"', '\\"') for user, password in USERS.items()}
    return Server(version, sasl=users, **options)


@pytest.fixture(scope="module", params=chosen("3.4", "3.8", "3.9"))
def offering(request: pytest.FixtureRequest, shared: Any) -> Iterator[Server]:
    """A real server that takes SASL, and those without."""
    with started(request.param, shared) as server:
        yield server


@pytest.fixture(scope="module", params=chosen("3.9"))
def requiring(request: pytest.FixtureRequest, shared: Any) -> Iterator[Server]:
    """A real server that takes nobody without SASL."""
    if request.param.startswith(("3.4", "3.5")):
        pytest.skip("servers can require SASL since 3.6")
    with started(request.param, shared, sasl_required=True) as server:
        yield server


def test_it_lets_us_in(offering: Server, front: Front, unique: str) -> None:
    """Names and passwords beyond ASCII are hashed as real servers do."""
    for user, password in USERS.items():
        zk = front.client(offering.hosts, sasl=(user, password), timeout=6.0)
        if offering.since(3, 7):
            assert Id("sasl", user) in zk.who_am_i()


def test_on_every_connection(offering: Server, front: Front, unique: str) -> None:
    proxy = front.proxy(offering)
    zk, states = front.client(proxy.hosts, sasl=BOB, timeout=6.0), Log()
    zk.create(f"/{unique}", b"mine", acl=BOBS_ACL, ephemeral=True)
    zk.add_listener(states)
    proxy.cut("rst")
    states.wait(2)
    assert zk.get(f"/{unique}")[0] == b"mine"
    with pytest.raises(NoAuthError):
        front.client(offering.hosts, timeout=6.0).get(f"/{unique}")


@fault("A03")
@pytest.mark.parametrize("credentials", [("bob", "hush"), ("nobody", "hush")])
def test_it_refuses_a_wrong_password(credentials: Any, offering: Server, front: Front) -> None:
    # (An unknown user with the password of whoever logged in last is let in by 3.8.0 and 3.4.13: a bug of theirs.)
    told = "refused the credentials" if offering.since(3, 5) else "hung up"  # 3.4 does so without a word
    fails(front, offering.hosts, told, sasl=credentials)


@fault("A01")
def test_it_refuses_a_bad_scheme(offering: Server, front: Front) -> None:
    fails(front, offering.hosts, "authentication failed", sasl=None, auth_data=[("nonsense", "hush")])


def test_a_server_that_does_not_offer_it(server38: Any, front: Front) -> None:
    fails(front, server38.hosts, "does not offer SASL")


@fault("A04")
def test_one_that_requires_it_of_one_who_has_none(requiring: Server, front: Front) -> None:
    with pytest.raises(AuthFailedError, match="sasl=") as failed:
        front.client(requiring.hosts, timeout=6.0).get("/")
    assert failed.value.code == -124


@fault("A03")
def test_one_that_requires_it_refuses_too(requiring: Server, front: Front) -> None:
    fails(front, requiring.hosts, "refused the credentials", sasl=("bob", "hush"))


def test_one_that_requires_it_hears_of_the_close(requiring: Server, front: Front, unique: str) -> None:
    """Even of one in the midst of a login; its ephemeral nodes are gone at once."""
    zk, proxy = front.client(requiring.hosts, sasl=BOB, timeout=6.0), front.proxy(requiring)
    other, states = front.client(proxy.hosts, sasl=BOB, timeout=20.0), Log()
    other.create(f"/{unique}", ephemeral=True)
    other.add_listener(states)
    proxy.cut("rst")
    states.wait(1)
    other.close()
    until(lambda: zk.exists(f"/{unique}") is None, 5.0)
