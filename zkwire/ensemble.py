"""The configuration of an ensemble, as `get_config` returns it: its members, their roles and client addresses.

Owns the text form of `/zookeeper/config` (QuorumVerifier.toString). Must not know the wire or sessions.

    def follow(event=None):
        data, _ = zk.get_config(watch=follow)
        zk.set_hosts(parse_config(data).hosts)
"""

from __future__ import annotations

from typing import Tuple

from .paths import CONFIG_NODE
from .typed import NamedTuple

#: Client addresses that give only a port.
_EVERYWHERE = ("", "0.0.0.0", "::", "[::]", "[0:0:0:0:0:0:0:0]")  # noqa: S104  # compared with, not bound to


class Member(NamedTuple):
    """One server: its number, its host for the other servers, its role ("participant" or "observer"), its client
    address.

    `client` is "host:port", or "" if the configuration has none. A wildcard address (0.0.0.0, ::) is replaced by the
    host that the other servers use for this one.
    """

    id: int
    address: str
    role: str
    client: str


class EnsembleConfig(NamedTuple):
    """A configuration: its version (the zxid of the reconfiguration, else 0) and its members, by number."""

    version: int
    members: Tuple[Member, ...]

    @property
    def hosts(self) -> str:
        """A connect string of all members with a client address, for `set_hosts`; "" if there is none."""
        return ",".join(member.client for member in self.members if member.client)


def parse_config(data: bytes) -> EnsembleConfig:
    """The configuration in the data of `get_config`. Raises `ValueError`; unknown lines are ignored."""
    version, members = 0, {}
    for line in data.decode().splitlines():
        key, _, value = line.partition("=")
        if key == "version":
            version = int(value, 16)
        elif key.startswith("server."):
            members[int(key[7:])] = _member(int(key[7:]), value)
    return EnsembleConfig(version, tuple(members[number] for number in sorted(members)))


def _member(number: int, text: str) -> Member:
    """One member, `host:2888:3888:participant;0.0.0.0:2181` (QuorumPeer.QuorumServer); the first address of several."""
    addresses, _, client = text.partition(";")
    role = "observer" if addresses.endswith(":observer") else "participant"
    address = addresses.partition("|")[0].removesuffix(":" + role)
    host, _, election = address.rpartition(":")
    host, _, quorum = host.rpartition(":")
    if not (host and quorum.isdigit() and election.isdigit()):
        raise ValueError(f"server.{number}={text!r}: expected 'host:port:port[:role][;[address:]port]'")
    where, _, port = client.rpartition(":")
    return Member(number, address, role, f"{host if where in _EVERYWHERE else where}:{port}" if port else "")


__all__ = ["CONFIG_NODE", "EnsembleConfig", "Member", "parse_config"]
