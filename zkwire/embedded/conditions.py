"""The conditions that tests have switched on: plain values, which the core looks up at the moment it needs them.

Owns the values and their state without any fault. Must not know connections, sessions or who switches them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Callable, FrozenSet, List, Optional

from ..errors import MarshallingError
from . import requests

_PING = 11


@dataclass
class Weather:
    """The network faults of a connection; the fields may be changed at any time.

    `hold_in`, `hold_out`: a black hole in that direction; bytes sent in the meantime arrive when it ends, as with TCP.
    `delay`: seconds by which each reply is delayed; `jitter` gives seconds more for each of them. `rate`: bytes a
    second to the client, 0 for no limit. `cut_after`: the connection is reset after this many more bytes to the client.
    """

    hold_in: bool = False
    hold_out: bool = False
    delay: float = 0.0
    jitter: Optional[Callable[[], float]] = None
    rate: float = 0.0
    cut_after: Optional[int] = None

    def clear(self) -> None:
        """No fault from now on."""
        self.__dict__.update(dataclasses.asdict(Weather()))


@dataclass
class Rule:
    """Answer the next `times` requests that match with an error; without a `code`, break the connection instead.

    `opcodes` None is all but pings. With `applied` the request is carried out, too.
    """

    code: Optional[int]
    opcodes: Optional[FrozenSet[int]]
    path: Optional[str]
    times: int
    applied: bool

    def matches(self, opcode: int, body: bytes) -> bool:
        """Whether the rule is for this request."""
        if opcode == _PING if self.opcodes is None else opcode not in self.opcodes:
            return False
        return self.path is None or self.path == _path(opcode, body)


@dataclass
class Conditions:
    """The conditions of one server. `lag` is the last zxid that it shows to clients who connect, None for all."""

    everywhere: Weather = field(default_factory=Weather)
    rules: List[Rule] = field(default_factory=list)
    lag: Optional[int] = None
    refuses_sessions: bool = False

    def clear(self) -> None:
        """No fault from now on."""
        self.__dict__.update(Conditions().__dict__)

    def weather_for_new(self) -> Weather:
        """The conditions of a new connection."""
        return dataclasses.replace(self.everywhere)

    def visible_zxid(self, applied: int) -> int:
        """The last zxid that this server shows to clients who connect."""
        return applied if self.lag is None else min(self.lag, applied)

    def rule_for(self, opcode: int, body: bytes) -> Optional[Rule]:
        """The rule for a request; this call uses it up."""
        for rule in self.rules:
            if rule.matches(opcode, body):
                rule.times -= 1
                if rule.times <= 0:
                    self.forget(rule)
                return rule
        return None

    def forget(self, rule: Rule) -> None:
        """End a rule; does nothing if it was used up."""
        self.rules = [one for one in self.rules if one is not rule]


def _path(opcode: int, body: bytes) -> Optional[str]:
    """The path of a request, where it has one."""
    if opcode not in requests.FIELDS:
        return None
    try:
        path: Optional[str] = getattr(requests.read(opcode, body), "path", None)
    except MarshallingError:
        return None
    return path
