"""What is to be spoiled: the recorded conversations, taken apart.

Owns the seeds, by operation and by conversation. Must not know how they are spoiled.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, List, NamedTuple, Tuple

from tests.kit import transcripts
from tests.kit.transcripts import CLIENT, SERVER, Dialogue
from zkwire.wire.operation import Op
from zkwire.ops import BY_OPCODE, Check
from zkwire.wire.messages import Scope


class Talk(NamedTuple):
    """One recorded connection: frames of each side, with lengths, and the requests with their xids."""

    client: List[bytes]
    server: List[bytes]
    asked: List[Tuple[int, Op[Any]]]


class Corpus(NamedTuple):
    """All of it. Bodies are without length and header."""

    requests: Dict[int, List[bytes]]
    replies: Dict[int, List[Tuple[Op[Any], bytes]]]
    events: List[bytes]
    asked: List[bytes]
    welcomes: List[bytes]
    headers: List[bytes]
    talks: List[Talk]


@functools.lru_cache(maxsize=1)
def load() -> Corpus:
    """The corpus, read once."""
    corpus = Corpus({code: [] for code in BY_OPCODE}, {code: [] for code in BY_OPCODE}, [], [], [], [], [])
    for path in transcripts.paths():
        for lines in transcripts.load(path).connections().values():
            dialogue, talk = Dialogue(), Talk([], [], [])
            for line in lines:
                if line.data:
                    (talk.client if line.direction == CLIENT else talk.server).append(line.data)
                    _sort(corpus, talk, line.direction == SERVER, dialogue.read(line), line.data)
            if talk.client and talk.server:
                corpus.talks.append(talk)
    lone = bytearray()
    Check("/a", 0).body(lone, Scope(""))  # never recorded: 3.8.0 leaves it unanswered
    corpus.requests[13].append(bytes(lone))
    corpus.replies[13].append((Check("/a", 0), b""))
    return corpus


def _sort(corpus: Corpus, talk: Talk, from_server: bool, meaning: Any, frame: bytes) -> None:
    """Put a frame where it belongs."""
    if meaning.kind == "connect":
        corpus.asked.append(frame[4:])
    elif meaning.kind == "connected":
        corpus.welcomes.append(frame[4:])
    elif meaning.kind == "event":
        corpus.events.append(frame[20:])
    elif meaning.kind == "request":
        corpus.requests[meaning.op.opcode].append(frame[12:])
        talk.asked.append((meaning.value.xid, meaning.op))
    elif meaning.kind == "reply" and meaning.op is not None:
        if not meaning.header.err:
            corpus.replies[meaning.op.opcode].append((meaning.op, frame[20:]))
        corpus.headers.append(frame[4:20])
