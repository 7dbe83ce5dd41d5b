"""Any of them.

Owns nothing. Must not know more of endpoints than how many there are.
"""

from __future__ import annotations

from typing import Optional, Tuple

from ..roster import E, Endpoint, I
from .balancer import Balancer, Key


class RandomChoice(Balancer[I, E]):
    """Each with the same probability, whatever came before. O(1)."""

    def pick(self, live: Tuple[Endpoint[I, E], ...], key: Optional[Key]) -> Endpoint[I, E]:
        """Any one."""
        return live[int(self.random() * len(live))]
