"""The server's side of DIGEST-MD5 (RFC 2831), as a machine that is fed the client's tokens.

Owns one exchange. Must not know connections. ZooKeeper's realm and protocol name are part of it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Dict, Mapping, Optional

REALM, URI = "zk-sasl-md5", "zookeeper/zk-sasl-md5"
_PAIR = re.compile(r'\s*([a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)').match


class SaslRefused(Exception):
    """The client did not prove who it is."""


class DigestServer:
    """One exchange. `user` is None until it succeeded; a step after that, or after a failure, is refused."""

    def __init__(self, users: Mapping[str, str], nonce: str) -> None:
        self._users, self._nonce = users, nonce
        self._challenged = False
        self.user: Optional[str] = None

    def step(self, token: bytes) -> bytes:
        """The answer to a token: first (to any) the challenge, then the server's own proof."""
        if self.user is not None:
            raise SaslRefused("the exchange is over")
        if not self._challenged:
            self._challenged = True
            return f'realm="{REALM}",nonce="{self._nonce}",charset=utf-8,algorithm=md5-sess'.encode()
        fields = parse_pairs(token.decode("utf-8", "replace"))
        self._check(fields)
        self.user = fields["username"]
        return f"rspauth={self._response(fields, '')}".encode()

    def _check(self, fields: Dict[str, str]) -> None:
        expected = {"nonce": self._nonce, "nc": "00000001", "realm": REALM, "digest-uri": URI}
        if any(fields.get(name) != value for name, value in expected.items()):
            raise SaslRefused("not an answer to this challenge")
        if fields.get("username") not in self._users or fields.get("qop", "auth") != "auth":
            raise SaslRefused("unknown user")
        if not fields.get("cnonce") or fields.get("response") != self._response(fields, "AUTHENTICATE"):
            raise SaslRefused("wrong password")

    def _response(self, fields: Dict[str, str], method: str) -> str:
        """The digest that proves the knowledge of the password, for either side."""
        user, cnonce = fields["username"], fields.get("cnonce", "")
        secret = _md5(f"{user}:{REALM}:{self._users[user]}".encode())
        first = _md5(secret + f":{self._nonce}:{cnonce}".encode()).hex()
        second = _md5(f"{method}:{URI}".encode()).hex()
        return _md5(f"{first}:{self._nonce}:00000001:{cnonce}:auth:{second}".encode()).hex()


def parse_pairs(text: str) -> Dict[str, str]:
    """The `name=value, name="value"` pairs of a token; `SaslRefused` if it is none."""
    pairs: Dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PAIR(text, at)
        if found is None:
            raise SaslRefused("malformed token")
        quoted = found.group(2)
        pairs[found.group(1)] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found.group(3)
        at = found.end()
    return pairs


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()  # noqa: S324  # the mechanism's own hash
