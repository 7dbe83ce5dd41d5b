"""How long clients were without an answer, from their histories and the times of the faults."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Dict, List, Sequence

from .checker import Case


def recoveries(case: Case, faults: Sequence[Any]) -> Dict[str, List[float]]:
    """By kind of fault: for each client, the seconds from the end of the fault to the first call that ended well.

    Where calls end well all the time, that is the time between two of them.
    """
    found: Dict[str, List[float]] = {}
    for client in case.clients:
        good = sorted(call.ended for call in client.calls if call.outcome == "ok" and call.ended is not None)
        for fault in faults:
            later = bisect_left(good, fault.ended)
            if good and good[0] < fault.begun and later < len(good):
                found.setdefault(fault.name, []).append(good[later] - fault.ended)
    return found
