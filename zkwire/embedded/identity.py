"""Identities and permissions: the schemes of authentication, which ACLs are valid, and what an identity may do.

Owns the schemes world, auth, digest, ip, sasl and super. Must not know the tree, requests or connections.
"""

from __future__ import annotations

import base64
import hashlib
from string import hexdigits
from typing import List, Optional, Sequence

from ..errors import InvalidACLError, MarshallingError, NoAuthError
from ..values import ACL, Id, make_digest_acl_credential
from .hashing import spread, string_hash
from .requests import from_java

SUPER = Id("super", "")


def java_split(text: str, mark: str) -> List[str]:
    """`text` split as Java's String.split does it: trailing empty parts are dropped, a text without parts is itself."""
    parts = text.split(mark)
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def _address(text: str) -> Optional[int]:
    parts = text.split(".")
    if len(parts) != 4 or not all(_is_byte(part) for part in parts):
        return None
    return int.from_bytes(bytes(map(int, parts)), "big")


def _is_byte(text: str) -> bool:
    return _is_int(text) and 0 <= int(text) <= 255


def _is_int(text: str) -> bool:
    """Whether both Java's Integer.parseInt and Python's int() accept it; int() refuses more than 4300 digits."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    return digits.isdecimal() and len(digits) <= 4300


def _network(text: str) -> Optional[List[int]]:
    """Address and number of leading bits of "1.2.3.4/16", or None."""
    name, slash, bits = text.partition("/")
    address = _address(name)
    if address is None or (slash and not (_is_int(bits) and 0 <= int(bits) <= 32)):
        return None
    return [address, int(bits) if slash else 32]


def _is_ipv6_network(text: str) -> bool:
    """Whether IPAuthenticationProvider of 3.9.5 reads it as an IPv6 address, or as a network ("2001:db8::/32").

    A group may have a sign, as Integer.parseInt has it; an address that ends like one of IPv4 is none.
    """
    name, slash, bits = text.partition("/")
    if slash and not (_is_int(bits) and 0 <= int(bits) <= 128):
        return False
    halves = name.split("::")
    groups = [group for half in halves if half for group in half.split(":")]
    if not all(_is_group(group) for group in groups):
        return False
    return len(halves) == 1 and len(groups) == 8 or len(halves) == 2 and len(groups) < 8


def _is_group(text: str) -> bool:
    digits = text[1:] if text[:1] in ("+", "-") else text
    return bool(digits) and len(text) <= 4 and all(one.isdecimal() or one in hexdigits for one in digits)


def hashed(ids: Sequence[Id]) -> List[Id]:
    """Identities in the order of Java's ConcurrentHashMap, in which ServerCnxn stores them."""
    size = 16
    while len(ids) >= size * 3 // 4:
        size *= 2

    def place(one: Id) -> int:
        value = (17 * 37 + string_hash(one.scheme or "")) * 37 + string_hash(one.id or "") & 0xFFFFFFFF
        return spread(value) & (size - 1)

    return sorted(ids, key=place)


class Identities:
    """The rules of one server.

    `super_password` is the password of the superuser "super", None for none; `sasl` says whether SASL is offered,
    `networks` whether an ip in an ACL may be a network, `ipv6` whether it may be of IPv6.
    """

    def __init__(
        self, super_password: Optional[str] = None, sasl: bool = False, networks: bool = True, ipv6: bool = False
    ) -> None:
        self._networks, self._ipv6 = networks, ipv6
        self._super = None if super_password is None else make_digest_acl_credential("super", super_password)
        self._sasl = sasl

    def authenticate(self, scheme: Optional[str], credential: Optional[bytes], address: str) -> List[Id]:
        """The identities a credential gives; none if it is refused."""
        if scheme == "ip":
            return [Id("ip", address)]
        if scheme != "digest" or credential is None:
            return []
        text = from_java(credential)
        user, _, password = text.partition(":")
        digest = make_digest_acl_credential(user, password)
        if ":" not in text:
            # A credential without a colon is hashed without one.
            digest = user + ":" + _hash(text)
        return ([SUPER] if digest == self._super else []) + [Id("digest", digest)]

    def resolve(self, acl: Optional[Sequence[ACL]], ids: Sequence[Id]) -> List[ACL]:
        """The ACL to store for one that was sent by a session with these identities; `InvalidACLError`."""
        if not acl:
            raise InvalidACLError
        stored: List[ACL] = []
        for entry in dict.fromkeys(acl):
            scheme, name = entry.id
            if scheme is None:
                raise InvalidACLError
            if scheme == "auth":
                mine = [ACL(entry.perms, one) for one in ids if one.scheme in self._authenticated()]
                if not mine:
                    raise InvalidACLError
                stored += mine
            elif self._is_valid(scheme, name):
                stored.append(entry)
            else:
                raise InvalidACLError
        return stored

    def _authenticated(self) -> Sequence[str]:
        return ("digest", "sasl") if self._sasl else ("digest",)

    def _is_valid(self, scheme: str, name: Optional[str]) -> bool:
        if name is None and scheme in ("world", *self._authenticated(), "ip"):
            raise MarshallingError(f"an identity of scheme {scheme!r} without a name")
        if scheme == "world":
            return name == "anyone"
        if scheme == "digest":
            return len(java_split(name or "", ":")) == 2
        if scheme == "ip":
            if _network(name or "") is None:
                return self._ipv6 and _is_ipv6_network(name or "")
            return self._networks or "/" not in (name or "")
        return scheme == "sasl" and self._sasl and _is_kerberos_name(name or "")

    def check(self, acl: Sequence[ACL], permission: int, ids: Sequence[Id]) -> None:
        """`NoAuthError` unless the ACL grants one of the permissions to one of the identities."""
        if not self.grants(acl, permission, ids):
            raise NoAuthError

    def grants(self, acl: Sequence[ACL], permission: int, ids: Sequence[Id]) -> bool:
        """Whether the ACL grants one of the permissions to one of the identities. The superuser may do anything."""
        if not acl or any(one.scheme == "super" for one in ids):
            return True
        return any(
            entry.id == ("world", "anyone") or any(_matches(one, entry.id) for one in ids)
            for entry in acl
            if entry.perms & permission
        )

    def mask(self, acl: Sequence[ACL]) -> List[ACL]:
        """The ACL with hidden digests, for sessions that may not change it."""
        return [
            ACL(perms, Id(scheme, name.partition(":")[0] + ":x" if scheme == "digest" else name))
            for perms, (scheme, name) in acl
        ]

    def users(self, ids: Sequence[Id]) -> List[Id]:
        """The result of whoAmI: schemes and users without secrets."""
        return [
            Id(one.scheme, one.id.partition(":")[0] if one.scheme == "digest" else one.id)
            for one in ids
        ]


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha1(text.encode("utf-8", "replace")).digest()).decode()  # noqa: S324


def _matches(mine: Id, wanted: Id) -> bool:
    if mine.scheme != wanted.scheme:
        return False
    if mine.scheme == "sasl" and mine.id == "super":
        return True
    if mine.scheme != "ip":
        return mine.id == wanted.id
    network, address = _network(wanted.id), _address(mine.id)
    if network is None or address is None:
        return False
    shift = 32 - network[1]
    return network[0] >> shift == address >> shift


def _is_kerberos_name(name: str) -> bool:
    """As KerberosName: an @ is followed by one realm, and preceded by at most one slash."""
    head, at, realm = name.rpartition("@")
    return not at or ("@" not in head and head.count("/") <= 1 and "/" not in realm)
