"""What is read before and beside the protocol: SASL tokens on both sides, four-letter words, TLS.

Owns these targets and their seeds.
"""

from __future__ import annotations

import ssl
from random import Random
from typing import List

from tests.kit.harness.pki import client_context, server_context
from zkwire.sasl import parse_pairs
from zkwire.embedded.sasl import DigestServer, SaslRefused
from zkwire.errors import AuthFailedError, ProtocolError, TLSError, ZookeeperError
from zkwire.io.four_letter import WORDS, Question, version_of
from zkwire.sasl import DigestMD5
from zkwire.session.auth import Login
from zkwire.io.tls import Tls

from .spoil import pieces, spoil
from .target import Escape, Target

_NONCE, _CNONCE = "0123", "0123456789abcdef"
_CHALLENGE = b'realm="zk-sasl-md5",nonce="0123",charset=utf-8,algorithm=md5-sess,qop="auth,auth-int"'
_RESPONSE = (
    b'charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="0123",nc=00000001,cnonce="abc",'
    b'digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response=00112233445566778899aabbccddeeff,qop=auth'
)
_TOKENS = (_CHALLENGE, _RESPONSE, b"rspauth=00112233445566778899aabbccddeeff", b'nonce="a\\"b\\\\", algorithm = md5-sess', b"")
_ANSWERS = (
    b"Zookeeper version: 3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on 2022-02-25 08:49 UTC\nLatency",
    b"ruok is not executed because it is not in the whitelist.\n", b"imok", b"rw", b"zk_version\t3.8.0\n",
)  # fmt: skip


def targets() -> List[Target]:
    """All of them."""
    flights = _flights()
    return [
        Target("sasl-pairs", 1, lambda rng: spoil(rng, _TOKENS), lambda rng, data: parse_pairs(data), (ValueError,)),
        Target("sasl-client", 1, lambda rng: spoil(rng, _TOKENS), _client, (AuthFailedError,)),
        Target("sasl-server", 1, lambda rng: spoil(rng, _TOKENS), _server, (SaslRefused,)),
        Target("word", 1, lambda rng: spoil(rng, _ANSWERS), _word, (ZookeeperError,)),
        Target("version", 1, lambda rng: spoil(rng, _ANSWERS), _version, (ProtocolError,)),
        Target("tls", 1, lambda rng: spoil(rng, flights), _tls, ()),
    ]


def _client(rng: Random, data: bytes) -> None:
    login = Login(DigestMD5("bob", "x", lambda: _CNONCE))
    login.answered(login.take(*login.begin("h1")))
    if rng.random() < 0.5:
        login.answered(login.take(*login.challenged(_CHALLENGE)))
    login.answered(login.take(*login.challenged(data)))


def _server(rng: Random, data: bytes) -> None:
    server = DigestServer({"bob": "x"}, _NONCE)
    server.step(b"")
    server.step(data)
    raise Escape("a login without the password")


def _word(rng: Random, data: bytes) -> None:
    question = Question(rng.choice(WORDS))
    for piece in pieces(rng, data):
        question.received(piece)
    question.answer()


def _version(rng: Random, data: bytes) -> None:
    version_of(data.decode("utf-8", "replace"))


# ------------------------------------------------------------------------------------ TLS


_context = client_context()


def _flights() -> List[bytes]:
    """What a server says to a client's first words, and what a plain one says."""
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context().wrap_bio(inward, outward, server_side=True)
    client = Tls(_context, "localhost")
    client.received(b"")
    inward.write(client.outgoing())
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        pass  # it waits for the rest of ours
    return [outward.read(), b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes.fromhex("15030300020228")]


def _tls(rng: Random, data: bytes) -> None:
    """`received` and `encrypt` never raise: what broke is in `error`."""
    tls = Tls(_context, "localhost")
    tls.received(b"")
    tls.outgoing()
    for piece in pieces(rng, data):
        if tls.received(piece):
            raise Escape("words of the session without a key")
        tls.encrypt(b"x")
        tls.outgoing()
    tls.farewell()
    if tls.ready or (tls.error is not None and not isinstance(tls.error, TLSError)):
        raise Escape(f"ready {tls.ready}, error {tls.error!r}")


__all__ = ["targets"]
