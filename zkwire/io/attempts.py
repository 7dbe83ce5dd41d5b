"""How an attempt to connect begins: with TLS or without.

Owns the choice, which is all that the drivers know of it: both kinds of attempt have the same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dialer import Attempt, LookUp
from .secure_dialer import SecureAttempt

if TYPE_CHECKING:
    from typing import Union

    from .dialer import Order, Target, Tried

    AnyAttempt = Union[Attempt, SecureAttempt]


def begin(
    target: Target, look_up: LookUp, ssl_context: Any = None, order: Order = list, tried: Tried = lambda address: None,
) -> AnyAttempt:  # fmt: skip
    """An attempt to connect, with TLS if there is a context; `order` and `tried` are called by `step`."""
    attempt = Attempt(target, look_up, order, tried)
    return attempt if ssl_context is None else SecureAttempt(attempt, ssl_context)
