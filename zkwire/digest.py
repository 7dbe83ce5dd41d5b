"""What both sides of SASL DIGEST-MD5 (RFC 2831) compute and write: the proof, and the pairs a token consists of.

Owns the arithmetic and the syntax, and what ZooKeeper fills in. Must not know whose turn it is, nor what is refused.
"""

from __future__ import annotations

import hashlib
import re
from typing import Dict, NamedTuple, Union

#: ZooKeeper's own, on every server (ZooKeeperSaslServer, ZooKeeperSaslClient); no host name is part of it.
REALM, URI = "zk-sasl-md5", "zookeeper/zk-sasl-md5"
#: A token is no longer, in bytes: RFC 2831 (2.1.1, 2.1.2) allows 2048 for a challenge and 4096 for the answer, as does
#: Java (DigestMD5Base). Of a longer one, taking it apart takes 200 times its size in memory.
LONGEST = 4096
_PAIR = re.compile(r'\s*([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)', re.DOTALL).match
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Exchange(NamedTuple):
    """What both sides know of one exchange, the password only if all is well. The nonce is the server's."""

    user: str
    password: Union[str, bytes]
    realm: str
    nonce: str
    cnonce: str
    uri: str = URI

    def proof(self, method: str) -> str:
        """That the password is known: to the client, with the method "AUTHENTICATE"; to the server, with ""."""
        secret = md5(b":".join((narrow(self.user), narrow(self.realm), narrow(self.password))))
        first = md5(secret + f":{self.nonce}:{self.cnonce}".encode()).hex()
        second = md5(f"{method}:{self.uri}".encode()).hex()
        return md5(f"{first}:{self.nonce}:00000001:{self.cnonce}:auth:{second}".encode()).hex()

    def __repr__(self) -> str:
        """Without the password, which must not reach a log."""
        return f"Exchange({self.user!r})"


def parse_pairs(token: bytes) -> Dict[str, str]:
    """The `name=value, name="value"` pairs of a token; `ValueError` if it is none, or a name stands in it twice."""
    if len(token) > LONGEST:
        raise ValueError(f"a token of {len(token)} bytes")
    text = token.decode()
    pairs: Dict[str, str] = {}
    at = 0
    while at < len(text):
        found = _PAIR(text, at)
        if found is None:
            raise ValueError("malformed token")
        name, quoted, bare = found.groups()
        if name.lower() in pairs:
            raise ValueError(f"two values for {name}")
        pairs[name.lower()] = bare if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = found.end()
    return pairs


def quote(text: str) -> str:
    """The text as a quoted value."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def md5(data: bytes) -> bytes:
    """The mechanism's own hash, no guard of ours; `ValueError` if this Python has none (FIPS)."""
    return hashlib.new("md5", data, usedforsecurity=False).digest()


def narrow(text: Union[str, bytes]) -> bytes:
    """ISO 8859-1 if that can say it, else UTF-8 (RFC 2831, 2.1.2.1; DigestMD5Base.stringToByte_8859_1)."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        return text.encode()
