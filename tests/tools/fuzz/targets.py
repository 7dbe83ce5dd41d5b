"""Everything that decodes, each with its seeds and the one family of errors that may escape it.

Owns the table of targets. Must not know how many inputs there are, nor how they are counted.
"""

from __future__ import annotations

import random
import struct
from random import Random
from typing import Any, Callable, Dict, List, Sequence, Tuple

from tests.kit.embedded_peer import OPEN, Peer, connected
from tests.kit.world import PASSWORD, Heard, World
from zkwire.wire.connection import Connection, Slot
from zkwire.embedded import requests
from zkwire.embedded.server_core import ServerCore
from zkwire.embedded.settings import Settings
from zkwire.embedded.versions import profile_of
from zkwire.errors import MarshallingError, ProtocolError, ZookeeperError
from zkwire.io.four_letter import WORDS
from zkwire.wire.jute import BOOL, BUFFER, INT, LONG, USTRING, JuteType, Vector, decode
from zkwire.wire.node_ops import NAMES
from zkwire.ops import BY_OPCODE, AddWatch, Create, Exists, GetData, Sync
from zkwire.wire.messages import (
    ACLS, CONNECT_REQUEST, CONNECT_RESPONSE, ID, PATH, REPLY_HEADER, REQUEST_HEADER, STAT, WATCHER_EVENT,
)  # fmt: skip
from zkwire.wire.operation import RECURSIVE
from zkwire.sasl import DigestMD5
from zkwire.session.session import ENDED

from . import logins
from .corpus import Corpus, Talk, load
from .spoil import noise, pieces, spoil, spoil_frames
from .target import MAX_FRAME, SCOPES, Escape, Target

def targets() -> List[Target]:
    """All of them."""
    corpus = load()
    return [*_codecs(corpus), *_requests(corpus), *_replies(corpus), *_others(corpus), *logins.targets()]


# ------------------------------------------------------------------------------- decoders


def _codecs(corpus: Corpus) -> List[Target]:
    bodies = [body for each in corpus.requests.values() for body in each][::7] + corpus.events
    table: Dict[str, Tuple[JuteType[Any], Sequence[bytes]]] = {
        "int": (INT, bodies), "long": (LONG, bodies), "boolean": (BOOL, bodies), "buffer": (BUFFER, bodies),
        "ustring": (USTRING, bodies), "path": (PATH, bodies), "vector": (Vector(USTRING), bodies),
        "vectors": (Vector(Vector(BUFFER)), bodies), "names": (NAMES, [body for _, body in corpus.replies[8]]),
        "stat": (STAT, [body for _, body in corpus.replies[3]]), "id": (ID, bodies),
        "acls": (ACLS, [body for _, body in corpus.replies[6]]), "connect-request": (CONNECT_REQUEST, corpus.asked),
        "connect-response": (CONNECT_RESPONSE, corpus.welcomes), "event": (WATCHER_EVENT, corpus.events),
        "reply-header": (REPLY_HEADER, corpus.headers), "request-header": (REQUEST_HEADER, corpus.headers),
    }  # fmt: skip
    return [Target(name, 1, _spoiled(seeds), _decoding(codec), (MarshallingError,)) for name, (codec, seeds) in table.items()]


def _spoiled(seeds: Sequence[bytes]) -> Callable[[Random], bytes]:
    if not seeds:
        raise ValueError("no seeds")
    return lambda rng: spoil(rng, seeds)


def _decoding(codec: JuteType[Any]) -> Callable[[Random, bytes], Any]:
    return lambda rng, data: decode(codec, data, 0, rng.choice(SCOPES))


def _requests(corpus: Corpus) -> List[Target]:
    found = []
    for code, op in BY_OPCODE.items():
        seeds = corpus.requests[code]
        parse = lambda rng, data, op=op: op.parse(data, 0, rng.choice(SCOPES))  # noqa: E731
        found.append(Target(f"request-{op.__name__}", 1, _spoiled(seeds), parse, (MarshallingError,)))
        if code in requests.FIELDS:
            read = lambda rng, data, code=code: requests.read(code, data)  # noqa: E731
            found.append(Target(f"server-{op.__name__}", 1, _spoiled(seeds), read, (MarshallingError,)))
    profile = profile_of("3.9")
    found.append(
        Target(
            "server-Multi", 2, _spoiled(corpus.requests[14]),
            lambda rng, data: requests.read_multi(data, 0, profile), (MarshallingError,),
        )  # fmt: skip
    )
    return found


def _replies(corpus: Corpus) -> List[Target]:
    found = []
    for code, op in BY_OPCODE.items():
        ops, seeds = zip(*corpus.replies[code])
        feed = lambda rng, data, ops=ops: _told(rng.choice(ops).result(data, 0, rng.choice(SCOPES)))  # noqa: E731
        share = 4 if code in (14, 22) else 1
        found.append(Target(f"reply-{op.__name__}", share, _spoiled(seeds), feed, (MarshallingError,)))
    return found


def _told(outcome: Any) -> None:
    """An outcome, even of spoiled bytes, is of our family if it is an error, and can be shown."""
    if isinstance(outcome, BaseException) and not isinstance(outcome, ZookeeperError):
        raise Escape(f"an outcome {outcome!r}")
    repr(outcome)


# ---------------------------------------------------------------------- machines without I/O


def _others(corpus: Corpus) -> List[Target]:
    conversations = [talk for talk in corpus.talks if len(talk.server) > 1]
    strangers = [frame for talk in corpus.talks for frame in talk.server][::11]
    attackers = [frame for talk in corpus.talks for frame in talk.client][::11]
    words = sorted(WORDS)

    def answers(rng: Random) -> bytes:
        talk = conversations[rng.randrange(len(conversations))]
        return b"".join(spoil_frames(rng, talk.server[:40], strangers))

    def asks(rng: Random) -> bytes:
        if rng.random() < 0.05:
            return rng.choice(words) + noise(rng, rng.randrange(4))
        return b"".join(spoil_frames(rng, rng.choice(corpus.talks).client[:40], attackers))

    victims = Victims()
    return [
        Target("connection", 12, answers, lambda rng, data: _connection(rng, data, conversations), ()),
        Target("session", 4, answers, _session, ()),
        Target("embedded", 6, asks, victims.attack, (), victims.fresh),
    ]


def _connection(rng: Random, data: bytes, talks: List[Talk]) -> None:
    """`received` never raises: what broke is in `error`."""
    talk = talks[rng.randrange(len(talks))]
    connection = Connection(rng.choice(SCOPES[1:]), max_frame=MAX_FRAME)
    for token, (xid, op) in enumerate(talk.asked[:40]):
        queue = connection.auth_replies if xid == -4 else connection.replies
        queue.append(Slot(xid, op, token, 0))
    # The answers mostly belong to other requests: let their xids fit, or little would be read.
    data = _renumbered(data, [slot.xid for slot in connection.replies]) if rng.random() < 0.8 else data
    waiting, settled = len(connection.replies), 0
    for piece in pieces(rng, data):
        for op, token, _, outcome in connection.received(piece):
            settled += op is not None and token is not None
            _told(outcome)
        connection.partial_reply  # noqa: B018  # reads the bytes, too
    if settled > waiting + len(talk.asked):
        raise Escape(f"{settled} outcomes for {waiting} requests")
    if connection.error is not None and not isinstance(connection.error, ProtocolError):
        raise Escape(f"error {connection.error!r}")


def _renumbered(data: bytes, xids: List[int]) -> bytes:
    """The stream with the numbers of ordinary replies replaced by those that are expected, in order."""
    out, at, index = bytearray(data), 0, 0
    while at + 8 <= len(out) and index < len(xids):
        length, xid = struct.unpack_from(">ii", out, at)
        if not 0 <= length <= MAX_FRAME:
            break
        if at and xid >= 0:
            struct.pack_into(">i", out, at + 4, xids[index])
            index += 1
        at += 4 + length
    return bytes(out)


def _session(rng: Random, data: bytes) -> None:
    """A session on a virtual clock gets the bytes, the handshake included perhaps; then a proper server comes."""
    mechanism = DigestMD5("bob", "x", lambda: "0123456789abcdef") if rng.random() < 0.2 else None
    world = World(timeout=9.0, random=rng.random, max_frame=MAX_FRAME, connect_timeout=1.0, sasl=mechanism)
    peer = world.connect()
    peer.welcomed = True  # perhaps by the bytes that come
    if rng.random() < 0.8:
        world.welcome()
        first = 4 + struct.unpack_from(">i", data)[0] if len(data) >= 4 else 0
        data = data[first:] if 0 < first < len(data) else data
    tokens = [0, 1, 2, 3]
    heard = Heard()
    if rng.random() < 0.5:
        world.session._requests.watches.add(RECURSIVE, rng.choice(("/", "/node")), heard)
    for token, op in zip(tokens, (GetData("/a", heard), Create("/b"), Exists("/c"), AddWatch("/d", heard, True))):
        world.submit(op, token)
    numbers = [request.xid for request in peer.requests]
    data = _renumbered(b"\0\0\0\0" + data, numbers)[4:] if rng.random() < 0.8 else data
    for piece in pieces(rng, data):
        world.receive(piece)
    world.lose()
    odd = len((world.session.client_id or (0, PASSWORD))[1]) != len(PASSWORD)  # which this peer does not take back, nor has it SASL
    if odd or mechanism is not None or world.session.phase == ENDED:  # or the server has said that we are not who we say
        world.session.abort("enough")
        world.pump()
        _settled(world, tokens)
        return
    world.advance(60.0, until=lambda: world.session.phase in ("dialing", ENDED))
    world.open()
    world.submit(Sync("/good"), "good")  # not one of those that the server may have said it does not know
    while world.waiting:
        good = isinstance(world.waiting[0].op, Sync)
        world.answer("/good" if good else None, err=0 if good else -101)
    world.ok("good")
    _settled(world, tokens)


def _settled(world: World, tokens: Sequence[Any]) -> None:
    missing = [token for token in tokens if token not in world.settled]
    if missing:
        raise Escape(f"no outcome for {missing}")
    for outcome in world.settled.values():
        _told(outcome)


class Victims:
    """An embedded server for each batch of attacks, with a good client that must not notice."""

    def __init__(self) -> None:
        self._core: Any = None

    def fresh(self, number: int) -> None:
        """Another server, of another version."""
        version = ("3.4", "3.5", "3.6", "3.8", "3.9")[number % 5]
        self._core = ServerCore(
            Settings(version, sasl={"bob": "x"}, max_buffer=MAX_FRAME), random=random.Random(1), epoch=1_000_000.0
        )
        self._witness: Peer = connected(self._core, timeout_ms=60000)
        self._witness.ask(Create("/witness-0123456789", b"x", OPEN))

    def attack(self, rng: Random, data: bytes) -> None:
        """One connection, which says these bytes after a handshake perhaps, and hangs up."""
        peer = Peer(self._core)
        if rng.random() < 0.8:
            peer.connect(4000)
            first = 4 + struct.unpack_from(">i", data)[0] if len(data) >= 4 else 0
            data = data[first:] if 0 < first < len(data) else data
        for piece in pieces(rng, data):
            peer.push(piece)
            self._core.data_to_send(peer.link, 0.0)
        self._core.tick(0.0)
        self._core.lost(peer.link, 0.0)
        if peer.link in self._core.links:
            raise Escape("a connection that stays")
        if self._witness.ask(GetData("/witness-0123456789"))[0] != b"x":
            raise Escape("the good client's node has changed")


__all__ = ["Escape", "MAX_FRAME", "Target", "targets"]
