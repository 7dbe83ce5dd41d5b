"""Authentication of a session: the auth infos that a user has added with `add_auth`, and the SASL login.

Owns the auth infos, whether the server has accepted each of them on this connection, the tokens that wait for that
answer, and the meaning of each answer in a login. Auth infos are sent on every connection, in the order they were
added. Must not know connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Optional, Tuple

from ..errors import AuthFailedError, ZookeeperError
from ..ops import Auth

if TYPE_CHECKING:
    from ..sasl import Mechanism

#: The limit of a token, in bytes: RFC 2831 allows 2048 for a challenge, Kerberos tickets grow to some 48 KiB.
MAX_TOKEN = 64 * 1024
#: A server before 3.5 answers a wrong password by closing the connection; so does a server that restarts. This many
#: closed connections for each server, without one login in between, count as a refusal.
SILENT_REFUSALS = 3


class AuthInfo:
    """One auth info; `tokens` wait for the server's reply, since `since` (seconds)."""

    def __init__(self, op: Auth, since: float) -> None:
        self.op, self.since = op, since
        self.asked = self.proven = False  # on this connection
        self.tokens: List[Any] = []


class AuthInfos:
    """All of them, in order."""

    def __init__(self) -> None:
        self._all: List[AuthInfo] = []

    def __iter__(self) -> Iterator[AuthInfo]:
        return iter(self._all)

    def add(self, op: Auth, token: Any, now: float) -> AuthInfo:
        """Add one, or find an equal one; `token` (None: no caller) waits unless the server has accepted it."""
        known = next((info for info in self._all if info.op == op), None)
        if known is None:
            known = AuthInfo(op, now)
            self._all.append(known)
        if token is not None and not known.proven:
            known.since = now
            known.tokens.append(token)
        return known

    def disconnected(self) -> None:
        """The connection has ended: the next one starts without auth infos."""
        for info in self._all:
            info.asked = info.proven = False

    def forget(self, token: Any) -> bool:
        """`token` waits no more; returns whether it did. The auth info itself stays."""
        waiting = [info for info in self._all if token in info.tokens]
        for info in waiting:
            info.tokens.remove(token)
        return bool(waiting)

    def waiting_since(self) -> Optional[float]:
        """The time since which the oldest waiting token waits; None if none does."""
        return min((info.since for info in self._all if info.tokens), default=None)

    def take_waiting(self, until: Optional[float] = None) -> List[Any]:
        """Take the tokens that have waited since `until` or longer (None: all of them); they wait no more."""
        taken: List[Any] = []
        for info in self._all:
            if until is None or info.since <= until:
                taken += info.tokens
                info.tokens = []
        return taken


#: A step of a mechanism, which is the user's code, and its argument.
Step = Tuple[Callable[[Any], Optional[bytes]], Any]


class Login:
    """The logins of one session, one connection at a time.

    `begin` and `challenged` give the next step of the mechanism. `Login.take` takes it, which is for the driver to
    call; `answered` makes a token for the server of its outcome, or None: the login is done.
    """

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._hang_ups = 0
        self._proving = False

    def begin(self, host: str) -> Step:
        """The first step on a new connection to `host`, as configured."""
        self._proving = False
        return self._mechanism.start, host

    def challenged(self, token: Any) -> Step:
        """The step that answers a server's token. Raises `AuthFailedError`.

        `token` is the outcome of the `Sasl` operation: bytes, None for a null token, or an error.
        """
        if isinstance(token, ZookeeperError):
            refused = isinstance(token, AuthFailedError)
            raise self._failure(f"the server refused the credentials (code {token.code})" if refused else str(token))
        if token is None and not self._proving:
            raise self._failure("the server does not offer SASL, or has failed to set it up")
        if len(token or b"") > MAX_TOKEN:
            raise self._failure(f"a token of {len(token)} bytes from the server")
        return self._mechanism.step, token or b""

    @staticmethod
    def take(step: Callable[[Any], Optional[bytes]], argument: Any) -> Any:
        """Take a step of the mechanism; what it raises becomes the outcome."""
        try:
            return step(argument)
        except Exception as error:
            return error

    def answered(self, outcome: Any) -> Optional[bytes]:
        """The token for the server, or None after the last step. Raises `AuthFailedError`."""
        if isinstance(outcome, Exception):  # of the user's mechanism; its text may contain a secret
            raise self._failure(str(outcome) if isinstance(outcome, AuthFailedError) else type(outcome).__name__)
        if outcome is not None and (not isinstance(outcome, bytes) or len(outcome) > MAX_TOKEN):
            raise self._failure("the mechanism gave no token, or one that is too long")
        self._proving = self._proving or bool(outcome)
        return outcome

    def done(self) -> None:
        """The server has authenticated the client."""
        self._hang_ups = 0

    def hung_up(self, servers: int) -> Optional[AuthFailedError]:
        """The server has closed the connection in the middle of a login; an error if that counts as a refusal."""
        self._hang_ups += self._proving
        if self._hang_ups < SILENT_REFUSALS * servers:
            return None
        return self._failure(f"the server hung up on the credentials {self._hang_ups} times (a refusal before 3.5)")

    def _failure(self, why: str) -> AuthFailedError:
        return AuthFailedError(f"SASL authentication failed ({type(self._mechanism).__name__}): {why}")
