"""One after the other.

Owns whose turn it is. Must not know more of endpoints than their order.
"""

from __future__ import annotations

from typing import Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key


class RoundRobin(Balancer[I, E]):
    """Each in its turn, beginning with a random one, so that many clients do not all begin with the same. O(1)."""

    _at = -1

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Endpoint[I, E]:
        """The next one."""
        self._at = (self._at + 1 if self._at >= 0 else int(self.random() * len(live))) % len(live)
        return live[self._at]
