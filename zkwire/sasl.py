"""SASL: the interface of a mechanism, and DIGEST-MD5 (RFC 2831). Loaded only by clients that use SASL.

Owns tokens. Must not know connections, sockets or clocks; randomness is an argument. Rules:

1. A login ends with the server's proof (if the mechanism has one), or in `AuthFailedError`; whatever the server sends,
   no other exception is raised.
2. No text contains a token or a password.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Callable, Dict, Optional, Protocol, Union

from .errors import AuthFailedError
from .typed import NamedTuple

#: ZooKeeper's own values, the same on every server (ZooKeeperSaslServer, ZooKeeperSaslClient); without a host name.
REALM, URI = "zk-sasl-md5", "zookeeper/zk-sasl-md5"
#: The limit of a token, in bytes: RFC 2831 (2.1.1, 2.1.2) allows 2048 for a challenge and 4096 for the response, as
#: does Java (DigestMD5Base). Parsing a token takes 200 times its size in memory.
LONGEST = 4096
_PAIR = re.compile(r'\s*([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)', re.DOTALL).match
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class DigestExchange(NamedTuple):
    """The values of one exchange, known to both sides; the password only if all is well. The nonce is the server's."""

    user: str
    password: Union[str, bytes]
    realm: str
    nonce: str
    cnonce: str
    uri: str = URI

    def proof(self, method: str) -> str:
        """The proof of knowing the password: the client's with the method "AUTHENTICATE", the server's with ""."""
        secret = md5(b":".join((narrow(self.user), narrow(self.realm), narrow(self.password))))
        first = md5(secret + f":{self.nonce}:{self.cnonce}".encode()).hex()
        second = md5(f"{method}:{self.uri}".encode()).hex()
        return md5(f"{first}:{self.nonce}:00000001:{self.cnonce}:auth:{second}".encode()).hex()

    def __repr__(self) -> str:
        """Without the password, which must not reach a log."""
        return f"DigestExchange({self.user!r})"


def parse_pairs(token: bytes) -> Dict[str, str]:
    """The `name=value, name="value"` pairs of a token; `ValueError` if it has another form, or a name occurs twice."""
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
    """The hash that the mechanism prescribes; not used elsewhere. `ValueError` if this Python has none (FIPS)."""
    return hashlib.new("md5", data, usedforsecurity=False).digest()


def narrow(text: Union[str, bytes]) -> bytes:
    """ISO 8859-1 if it has all the characters, else UTF-8 (RFC 2831, 2.1.2.1; DigestMD5Base.stringToByte_8859_1)."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("iso-8859-1")
    except UnicodeEncodeError:
        return text.encode()


class Mechanism(Protocol):
    """The `sasl=` argument besides a pair of user and password: an object with these methods, for one client alone.

    Both methods are called under no lock: by the blocking front on a thread of its own, where they may block as long as
    the connection has time; by the asyncio front on the event loop. A call of the client that waits for the connection
    waits for this login. Any exception they raise ends the client with an `AuthFailedError`; the text of an
    `AuthFailedError` is kept.
    """

    def start(self, host: str) -> bytes:
        """Start a login on a new connection; returns the first token, b"" if the server speaks first.

        `host` is the server's name or address as the client was configured with it; Kerberos needs it.
        """

    def step(self, challenge: bytes) -> Optional[bytes]:
        """The response to the server's token (b"" for a null one); None once both sides have proved their identity."""


class DigestMD5:
    """DIGEST-MD5 as a client: user name and password; the password is never sent, and the server proves itself.

    It uses MD5 and has no channel binding: an attacker who reads the traffic can guess passwords offline, and one who
    changes it can take the session over afterwards. Better than the digest scheme in clear, worse than TLS. `cnonce()`
    returns a text with at least 128 random bits. `ValueError` and `TypeError` for invalid arguments; `ValueError` too
    if this Python has no MD5.
    """

    def __init__(self, user: str, password: Union[str, bytes], cnonce: Callable[[], str], uri: str = URI) -> None:
        if not isinstance(user, str) or not isinstance(password, (str, bytes)):
            raise TypeError("SASL takes a user name (str) and a password (str or bytes)")
        if not user or "\0" in user:
            raise ValueError(f"invalid SASL user name {user!r}")
        self._user, self._cnonce, self._uri = user, cnonce, uri
        self._expected: Optional[bytes] = None
        try:
            user.encode()
            self._password = narrow(password)
        except UnicodeEncodeError:
            raise ValueError("the SASL user name or password cannot be written in UTF-8") from None
        try:
            md5(b"")
        except ValueError:
            raise ValueError("SASL DIGEST-MD5 needs MD5, which this Python does not have (FIPS mode?)") from None

    def __repr__(self) -> str:
        return f"DigestMD5({self._user!r})"

    def start(self, host: str = "") -> bytes:
        """Start a login; the server speaks first."""
        self._expected = None
        return b""

    def step(self, challenge: bytes) -> Optional[bytes]:
        """The response to the challenge, then None for the server's proof; `AuthFailedError` if either is bad."""
        try:
            fields = parse_pairs(challenge)
        except ValueError as error:
            raise AuthFailedError(str(error)) from None
        if self._expected is None:
            return self._answer(fields)
        if not hmac.compare_digest(fields.get("rspauth", "").encode(), self._expected):
            raise AuthFailedError("the server has not proved that it knows the password")
        return None

    def _answer(self, fields: Dict[str, str]) -> bytes:
        realm, nonce = fields.get("realm", ""), fields.get("nonce")
        if not nonce:
            raise AuthFailedError("no nonce in the server's challenge")
        if "auth" not in [choice.strip() for choice in fields.get("qop", "auth").split(",")]:
            raise AuthFailedError("the server's challenge does not offer qop=auth")
        if fields.get("algorithm") != "md5-sess":
            raise AuthFailedError("the server's challenge does not offer algorithm=md5-sess")
        exchange = DigestExchange(self._user, self._password, realm, nonce, self._cnonce(), self._uri)
        self._expected = exchange.proof("").encode()
        return (
            f"charset=utf-8,username={quote(self._user)},realm={quote(realm)},nonce={quote(nonce)},nc=00000001,"
            f'cnonce={quote(exchange.cnonce)},digest-uri="{self._uri}",response={exchange.proof("AUTHENTICATE")},qop=auth'
        ).encode()
