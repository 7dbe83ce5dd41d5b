"""The configuration of an embedded server, as one value.

Owns names, defaults and limits of the settings. Must not know what they do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Optional

from .versions import Profile, profile_of

#: jute.maxbuffer of a real server: the longest request, in bytes. Twice as long are replies at most, roughly.
MAX_BUFFER = 0xFFFFF


@dataclass(frozen=True)
class Settings:
    """What a zoo.cfg and a JAAS file would say; the keywords of `EmbeddedServer`. Times are in seconds.

    `version` is what to pretend to be; `super_password` that of the digest user "super"; `sasl` maps users to passwords
    for DIGEST-MD5, and `sasl_required` refuses all others; `extended` allows TTL nodes. A session times out after what
    its client asks for, within `min_session_timeout` and `max_session_timeout`, and ends within a `tick` of that;
    containers and TTL nodes are reaped every `reap_interval`. `max_buffer` is the longest request, in bytes;
    `local_sessions` lets read-only mode give out sessions; `enforce_quota` refuses what is beyond the hard limit of a
    quota; `four_letter_words` are the allowed ones, None for all. `ValueError` for what cannot be.

    Three are for servers that are compatible but for something: a request with an opcode in `hangs_up_on` ends the
    connection without an answer; one with an opcode in `answers_without_body` is carried out, and answered with the
    header alone; with `watched_path_in_events` an event of a recursive watch carries the watched path.
    """

    version: str = "3.9"
    super_password: Optional[str] = None
    extended: bool = True
    sasl: Optional[Mapping[str, str]] = None
    sasl_required: bool = False
    tick: float = 0.5
    min_session_timeout: float = 0.2
    max_session_timeout: float = 60.0
    max_buffer: int = MAX_BUFFER
    reap_interval: float = 0.5
    local_sessions: bool = True
    enforce_quota: bool = False
    four_letter_words: Optional[FrozenSet[str]] = None
    hangs_up_on: FrozenSet[int] = frozenset()
    answers_without_body: FrozenSet[int] = frozenset()
    watched_path_in_events: bool = False
    profile: Profile = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "profile", profile_of(self.version))
        if self.tick <= 0 or self.reap_interval <= 0:
            raise ValueError("tick and reap_interval are seconds above zero")
        if not 0 < self.min_session_timeout <= self.max_session_timeout:
            raise ValueError("0 < min_session_timeout <= max_session_timeout is asked for")
