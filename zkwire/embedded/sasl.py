"""The server's side of DIGEST-MD5 (RFC 2831), as a state machine that takes the client's tokens.

Owns one exchange. Must not know connections.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

from ..sasl import REALM, URI, DigestExchange, parse_pairs


class SaslRefused(Exception):
    """The client failed to prove its identity."""


class DigestServer:
    """One exchange. `user` is None until it has succeeded; a step after that, or after a failure, is refused."""

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
        try:
            fields = parse_pairs(token)
        except ValueError as error:
            raise SaslRefused(str(error)) from None
        return f"rspauth={self._checked(fields).proof('')}".encode()

    def _checked(self, fields: Dict[str, str]) -> DigestExchange:
        expected = {"nonce": self._nonce, "nc": "00000001", "realm": REALM, "digest-uri": URI}
        if any(fields.get(name) != value for name, value in expected.items()):
            raise SaslRefused("not an answer to this challenge")
        user, cnonce = fields.get("username", ""), fields.get("cnonce", "")
        if user not in self._users or fields.get("qop", "auth") != "auth":
            raise SaslRefused("unknown user")
        exchange = DigestExchange(user, self._users[user], REALM, self._nonce, cnonce)
        if not cnonce or fields.get("response") != exchange.proof("AUTHENTICATE"):
            raise SaslRefused("wrong password")
        self.user = user
        return exchange
