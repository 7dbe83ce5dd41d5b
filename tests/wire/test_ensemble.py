"""zkwire.ensemble: what the configuration of an ensemble says, as servers of several versions write it."""

from __future__ import annotations

import pytest

from tests.kit.catalogue import fault
from zkwire.ensemble import EnsembleConfig, Member, parse_config


@fault("X28")
def test_members_roles_and_client_addresses() -> None:
    text = (
        b"server.2=zk2.example:2888:3888:observer;10.0.0.2:2182\n"
        b"server.1=zk1.example:2888:3888:participant;0.0.0.0:2181\n"
        b"version=1000000ab"
    )
    assert parse_config(text) == EnsembleConfig(
        0x1000000AB,
        (
            Member(1, "zk1.example:2888:3888", "participant", "zk1.example:2181"),
            Member(2, "zk2.example:2888:3888", "observer", "10.0.0.2:2182"),
        ),
    )
    assert parse_config(text).hosts == "zk1.example:2181,10.0.0.2:2182"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("server.1=127.0.0.1:2888:3888:participant;2181", "127.0.0.1:2181"),
        ("server.1=127.0.0.1:2888:3888:participant", ""),
        ("server.1=127.0.0.1:2888:3888", ""),
        ("server.1=[::1]:2888:3888:participant;[::]:2181", "[::1]:2181"),
        ("server.1=a:1:2|b:3:4:participant;0.0.0.0:2181", "a:2181"),
    ],
)
def test_forms_of_one_member(line: str, client: str) -> None:
    (member,) = parse_config(line.encode()).members
    assert (member.id, member.role, member.client) == (1, "participant", client)


@pytest.mark.parametrize("text", ["server.x=a:1:2;3", "server.1=", "server.1=a", "version=zz"])
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_config(text.encode())


def test_a_standalone_server_has_none() -> None:
    assert parse_config(b"") == EnsembleConfig(0, ())
    assert parse_config(b"").hosts == ""
