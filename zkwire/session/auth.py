"""The identities of a session: those a user has added with `add_auth`, and the SASL login.

Owns which there are, which the server has accepted on this connection, and who waits to hear that. They are sent on
every connection, in the order they were added. Must not know connections.
"""

from __future__ import annotations

from typing import Optional, Iterator, Any, Callable, List

from ..errors import AuthFailedError, ZookeeperError
from ..ops import Auth
from ..sasl import Mechanism, MAX_TOKEN

class Identity:
    """One identity; `tokens` wait for the server's word, since `since` (seconds)."""

    def __init__(self, op: Auth, since: float) -> None:
        self.op, self.since = op, since
        self.asked = self.proven = False  # on this connection
        self.tokens: List[Any] = []


class Identities:
    """All of them, in order."""

    def __init__(self) -> None:
        self._all: List[Identity] = []

    def __iter__(self) -> Iterator[Identity]:
        return iter(self._all)

    def add(self, op: Auth, token: Any, now: float) -> Identity:
        """Add one, or find it if it is there already; `token` (None: nobody) waits unless it is proven."""
        known = next((i for i in self._all if i.op == op), None)
        if known is None:
            known = Identity(op, now)
            self._all.append(known)
        if token is not None and not known.proven:
            known.since = now
            known.tokens.append(token)
        return known

    def disconnected(self) -> None:
        """The next connection knows none of them."""
        for identity in self._all:
            identity.asked = identity.proven = False

    def abandon(self, token: Any) -> None:
        """Nobody waits for `token` any more; the identity itself stays."""
        for identity in self._all:
            if token in identity.tokens:
                identity.tokens.remove(token)

    def waiting_since(self) -> Optional[float]:
        """Since when the one who waits longest has waited; None if nobody does."""
        return min((i.since for i in self._all if i.tokens), default=None)

    def take_waiting(self, until: Optional[float] = None) -> List[Any]:
        """The tokens that have waited since `until` or longer (None: all of them), which wait no more."""
        taken: List[Any] = []
        for identity in self._all:
            if until is None or identity.since <= until:
                taken += identity.tokens
                identity.tokens = []
        return taken


#: A server before 3.5 hangs up on a wrong password without a word, as does one that is being restarted; so many times
#: for each host, without one login in between, are a refusal.
PATIENCE = 3


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
