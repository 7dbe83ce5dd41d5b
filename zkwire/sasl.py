"""SASL: what a mechanism has to do, DIGEST-MD5 (RFC 2831) as one, and a login with either on one connection.

Owns tokens. Must not know connections, sockets or clocks; randomness comes in. Rules:

1. A login ends with a proof of the server's (where the mechanism has one), or in `AuthFailedError`; whatever a server
   says, nothing else is raised.
2. No token and no password stands in any text.
"""

from __future__ import annotations

import hmac
from typing import Any, Callable, Dict, Optional, Protocol, Union

from .digest import URI, Exchange, md5, narrow, parse_pairs, quote
from .errors import AuthFailedError, ZookeeperError

#: A token is no longer, in bytes: RFC 2831 allows 2048 for a challenge, Kerberos tickets grow to some 48 KiB.
MAX_TOKEN = 64 * 1024
#: A server before 3.5 hangs up on a wrong password without a word, as does one that is being restarted; so many times
#: for each host, without one login in between, are a refusal.
PATIENCE = 3


class Mechanism(Protocol):
    """What `sasl=` takes besides a pair of user and password: an object of this shape, for one client alone.

    Both methods are called on the client's I/O path: they must neither block for long nor call the client. What they
    raise ends the client with an `AuthFailedError`; if it is one itself, its text is shown.
    """

    def start(self) -> bytes:
        """Begin afresh, on a new connection; the first token, b"" where the server speaks first."""

    def step(self, challenge: bytes) -> Optional[bytes]:
        """The answer to the server's token (b"" for a null one); None if we are in, and the server is the right one."""


class DigestMD5:
    """DIGEST-MD5 as a client: user name and password, without the password on the wire, and the server proves itself.

    MD5, and no binding to the channel: whoever can listen can guess passwords at leisure, and whoever can change
    traffic owns the session afterwards. Better than the digest scheme in clear, worse than TLS. `cnonce()` is to give
    a text of at least 128 random bits. `ValueError` and `TypeError` for what cannot be right; `ValueError` too if this
    Python has no MD5.
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

    def start(self) -> bytes:
        """Begin afresh; the server speaks first."""
        self._expected = None
        return b""

    def step(self, challenge: bytes) -> Optional[bytes]:
        """The answer to the challenge, then None for the server's proof; `AuthFailedError` if either is bad."""
        try:
            told = parse_pairs(challenge)
        except ValueError as error:
            raise AuthFailedError(str(error)) from None
        if self._expected is None:
            return self._answer(told)
        if not hmac.compare_digest(told.get("rspauth", "").encode(), self._expected):
            raise AuthFailedError("the server has not proved that it knows the password")
        return None

    def _answer(self, told: Dict[str, str]) -> bytes:
        realm, nonce = told.get("realm", ""), told.get("nonce")
        if not nonce:
            raise AuthFailedError("no nonce in the server's challenge")
        if "auth" not in [choice.strip() for choice in told.get("qop", "auth").split(",")]:
            raise AuthFailedError("the server's challenge does not offer qop=auth")
        if told.get("algorithm") != "md5-sess":
            raise AuthFailedError("the server's challenge does not offer algorithm=md5-sess")
        exchange = Exchange(self._user, self._password, realm, nonce, self._cnonce(), self._uri)
        self._expected = exchange.proof("").encode()
        return (
            f"charset=utf-8,username={quote(self._user)},realm={quote(realm)},nonce={quote(nonce)},nc=00000001,"
            f'cnonce={quote(exchange.cnonce)},digest-uri="{self._uri}",response={exchange.proof("AUTHENTICATE")},qop=auth'
        ).encode()


class Login:
    """The logins of one session, one connection at a time: `begin`, then `answer` until there is no answer."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._silences = 0
        self._proving = False

    def begin(self) -> bytes:
        """The first token on a new connection. Raises `AuthFailedError`."""
        self._proving = False
        return self._checked(self._ask(self._mechanism.start)) or b""

    def answer(self, token: Any) -> Optional[bytes]:
        """The answer to a server's token, or None: we are in. Raises `AuthFailedError`.

        `token` is the outcome of the `Sasl` operation: bytes, None for a null token, or an error.
        """
        if isinstance(token, ZookeeperError):
            refused = isinstance(token, AuthFailedError)
            raise self._failure(f"the server refused the credentials (code {token.code})" if refused else str(token))
        if token is None and not self._proving:
            raise self._failure("the server does not offer SASL, or has failed to set it up")
        if len(token or b"") > MAX_TOKEN:
            raise self._failure(f"a token of {len(token)} bytes from the server")
        answer = self._checked(self._ask(self._mechanism.step, token or b""))
        if answer is None:
            self._silences = 0
        return answer

    def hung_up(self, hosts: int) -> Optional[AuthFailedError]:
        """The server has ended the connection in the middle of a login; an error if that counts as a refusal."""
        self._silences += self._proving
        if self._silences < PATIENCE * hosts:
            return None
        return self._failure(f"{self._silences} times the server hung up on the credentials, as one before 3.5 refuses")

    def _checked(self, token: Optional[bytes]) -> Optional[bytes]:
        if token is not None and (not isinstance(token, bytes) or len(token) > MAX_TOKEN):
            raise self._failure("the mechanism gave no token, or one that is too long")
        self._proving = self._proving or bool(token)
        return token

    def _ask(self, step: Callable[..., Optional[bytes]], *arguments: bytes) -> Optional[bytes]:
        try:
            return step(*arguments)
        except AuthFailedError as error:
            raise self._failure(str(error)) from None
        except Exception as error:  # of the user's own mechanism; its text may hold what nobody should read
            raise self._failure(type(error).__name__) from None

    def _failure(self, why: str) -> AuthFailedError:
        return AuthFailedError(f"SASL authentication failed ({type(self._mechanism).__name__}): {why}")
