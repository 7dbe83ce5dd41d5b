"""What is to happen, as data: made of a seed, and still a schedule when steps are taken out.

Owns the kinds of steps and how often they come. Must not know what they do.
"""

from __future__ import annotations

from random import Random
from typing import Dict, List, NamedTuple, Optional, Tuple

#: How often, out of all steps. Faults come in bouts: see `make`.
USERS: Dict[str, float] = {"act": 50, "want": 7, "stranger": 5, "give_up": 1.5, "leave": 0.5, "observe": 3, "look": 0.5, "enter": 0.5, "signal": 0.4, "close": 0.3, "churn": 0.6, "abandon": 1.5, "pass": 12}
FAULTS: Dict[str, float] = {
    "cut": 6, "cut_at": 4, "half_open": 3, "hole": 5, "heal": 6, "slow": 2, "restart": 1, "down": 0.7, "wipe": 0.25,
    "expire": 2, "lag": 1, "refuse": 1, "read_only": 0.5, "split": 2.0, "freeze": 1.5, "jump": 1, "throttle": 1.5,
    "fragile": 2, "hosts": 1.5,
}  # fmt: skip


#: What an ensemble does not have, and what only an ensemble has.
ENSEMBLE: Dict[str, float] = {
    **{kind: weight for kind, weight in FAULTS.items() if kind not in ("restart", "down", "wipe", "read_only", "split")},
    "falter": 5, "stop_member": 1.5, "stop_leader": 1.5, "stop_many": 0.5, "renew": 2, "sever": 2,
}  # fmt: skip


def has_ensemble(seed: int, forced: Optional[bool] = None) -> bool:
    """Whether the servers of a seed are members of one ensemble; those of one in three are, unless it is forced."""
    return seed % 3 == 0 if forced is None else forced


class Step(NamedTuple):
    """`kind` says what, `salt` the rest; then `pause` seconds pass."""

    kind: str
    salt: int
    pause: float


def make(seed: int, steps: int, ensemble: Optional[bool] = None) -> List[Step]:
    """The steps of a seed."""
    rng = Random(seed ^ 0x5EED)
    kinds, weights = _mix(rng, ENSEMBLE if has_ensemble(seed, ensemble) else FAULTS)
    busy = rng.choice((0.01, 0.03, 0.1))
    made = []
    for kind in rng.choices(kinds, weights, k=steps):
        pause = rng.expovariate(1 / busy) if rng.random() < 0.97 else rng.random() * 3
        made.append(Step(kind, rng.getrandbits(32), pause))
    if steps > 100:
        made[steps // 2] = Step("rest", 0, 0.0)
    return made


def _mix(rng: Random, faults: Dict[str, float]) -> Tuple[List[str], List[float]]:
    """Some seeds see little of some faults, so that what takes a long quiet time can be built up as well."""
    storm = rng.choice((0.1, 0.3, 1.0))
    table = {kind: weight * storm * rng.choice((0, 0.5, 1, 1, 2)) for kind, weight in faults.items()}
    table.update(USERS)
    return list(table), list(table.values())
