"""The configuration of an embedded server, as one value.

Owns names, defaults and limits of the settings. Must not know their effects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import FrozenSet, Mapping, Optional

from .versions import Profile, profile_of

#: jute.maxbuffer of a real server: the longest request, in bytes. Replies may be roughly twice as long.
MAX_BUFFER = 0xFFFFF


@dataclass(frozen=True)
class Settings:
    """The contents of zoo.cfg and of a JAAS file; the keywords of `EmbeddedServer`. Times are in seconds.

    `version` is the ZooKeeper version to act as; `super_password` the password of the digest user "super"; `sasl` maps
    users to passwords for DIGEST-MD5, and `sasl_required` refuses all others; `extended` allows TTL nodes. The session
    timeout is the requested one, within `min_session_timeout` and `max_session_timeout`, and expiry comes at most a
    `tick` later; containers and TTL nodes are reaped every `reap_interval`. `max_buffer` is the longest request, in
    bytes; `local_sessions` allows sessions in read-only mode; `enforce_quota` refuses what exceeds the hard limit of a
    quota; `four_letter_words` are the allowed ones, None for all. `ValueError` for invalid settings.

    Three settings imitate servers that are only mostly compatible: a request with an opcode in `hangs_up_on` closes
    the connection without a reply; one with an opcode in `answers_without_body` is carried out, and the reply is a
    header alone; with `watched_path_in_events` an event of a recursive watch has the watched path.
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
