"""How many calls of each endpoint are under way.

Owns the numbers. Must not know who is chosen by them.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple


class Outstanding:
    """Counts what was chosen and is not reported yet."""

    def __init__(self) -> None:
        self._calls: Dict[Any, int] = {}  # of those that are not idle

    def of(self, endpoint: Any) -> int:
        """How many calls of this endpoint are under way."""
        return self._calls.get(endpoint, 0)

    def begun(self, endpoint: Any) -> None:
        """One more."""
        self._calls[endpoint] = self._calls.get(endpoint, 0) + 1

    def over(self, endpoint: Any) -> bool:
        """One less; False if none was under way."""
        calls = self._calls.get(endpoint, 0)
        if calls > 1:
            self._calls[endpoint] = calls - 1
        elif calls:
            del self._calls[endpoint]
        return calls > 0

    def keep(self, endpoints: Tuple[Any, ...]) -> None:
        """These are all there are: forget others, whose calls may never be reported."""
        there = set(endpoints)
        self._calls = {endpoint: calls for endpoint, calls in self._calls.items() if endpoint in there}
