"""DIGEST-MD5 and its logins, token by token, without a connection."""

from __future__ import annotations

import hashlib
import random
import re
import struct
import tracemalloc
from typing import Any, Dict, List, Optional, Tuple

import pytest

from tests.kit import transcripts
from tests.kit.transcripts import CLIENT, SERVER
from zkwire import sasl as digest
from zkwire.sasl import DigestExchange, parse_pairs, quote
from zkwire.embedded.sasl import DigestServer, SaslRefused
from zkwire.errors import AuthFailedError, ConnectionLoss
from zkwire.sasl import DigestMD5
from zkwire.session.auth import MAX_TOKEN
from zkwire.session.auth import SILENT_REFUSALS as PATIENCE
from zkwire.session.auth import Login
from zkwire.config import Settings, make_session

NONCE = "DNl6mp45pfhNKJpDLRrzdbQmIMpbeLQ9gExfu8Xk"
CHALLENGE = f'realm="zk-sasl-md5",nonce="{NONCE}",charset=utf-8,algorithm=md5-sess'.encode()
PROOF = b"rspauth=620cfb605f9ec05884f585fabe9cfde4"


def bob(password: Any = "bobsecret") -> DigestMD5:
    return DigestMD5("bob", password, lambda: "OA6MG9tEQGm2hhCNONCE")


def test_the_example_of_rfc_2831() -> None:
    """Section 4: chris reads mail at elwood.innosoft.com."""
    chris = DigestMD5("chris", "secret", lambda: "OA6MHXh6VqTrRk", "imap/elwood.innosoft.com")
    assert chris.start() == b""
    answer = chris.step(
        b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
    )
    assert answer is not None
    assert parse_pairs(answer) == {
        "charset": "utf-8", "username": "chris", "realm": "elwood.innosoft.com", "nonce": "OA6MG9tEQGm2hh",
        "nc": "00000001", "cnonce": "OA6MHXh6VqTrRk", "digest-uri": "imap/elwood.innosoft.com",
        "response": "d388dad90d4bbd760a152321f2143af7", "qop": "auth",
    }  # fmt: skip
    assert chris.step(b"rspauth=ea40f60335c427b5527b84dbabcdfffd") is None


def test_a_conversation_with_a_real_server() -> None:
    mechanism = bob()
    assert mechanism.start() == b""
    assert (
        mechanism.step(CHALLENGE)
        == (
            f'charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="{NONCE}",nc=00000001,cnonce="OA6MG9tEQGm2hhCNONCE",'
            'digest-uri="zookeeper/zk-sasl-md5",response=ff2ac677b656141f9fb9fc85c9cf2d60,qop=auth'
        ).encode()
    )
    assert mechanism.step(PROOF) is None
    assert mechanism.start() == b""  # on the next connection all begins afresh
    assert (mechanism.step(CHALLENGE) or b"").startswith(b"charset")


def recorded() -> List[Tuple[str, bytes, bytes, Optional[bytes]]]:
    """Challenge, our recorded answer, and the server's word on it (None: it refused), of every recorded login."""
    found = []
    for path in transcripts.paths():
        if "sasl" not in path.name:
            continue
        for number, lines in transcripts.load(path).connections().items():
            tokens: List[Any] = []
            for line in lines:
                if line.direction == CLIENT and struct.unpack_from(">i", line.data, 8)[0] == 102:
                    tokens.append(line.data[16:])
                elif line.direction == SERVER and len(tokens) % 2 and len(tokens) < 4:
                    tokens.append(line.data[24:])  # to the first or the second token
                elif line.direction == SERVER and tokens and len(tokens) == 3:
                    break
            if len(tokens) >= 3:
                name = f"{path.parent.name}/{path.stem}/{number}"
                found.append((name, tokens[1], tokens[2], tokens[3] if len(tokens) > 3 and tokens[3] else None))
    return found


@pytest.mark.parametrize(
    ("name", "challenge", "answer", "word"), recorded(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_recorded_logins(name: str, challenge: bytes, answer: bytes, word: Optional[bytes]) -> None:
    """What real servers took and answered, we send and believe; what they refused was our wrong password."""
    told = parse_pairs(answer)
    assert told.pop("maxbuf") == "65536"  # which is for qop=auth-int only
    password = {"bob": "bobsecret" if word else "wrong", "nobody": "nothing"}[told["username"]]
    mechanism = DigestMD5(told["username"], password, lambda: told["cnonce"])
    mechanism.start()
    assert parse_pairs(mechanism.step(challenge) or b"") == told
    if word:
        assert mechanism.step(word) is None


def test_there_are_recorded_logins() -> None:
    assert len([one for one in recorded() if one[3]]) >= 8
    assert len([one for one in recorded() if not one[3]]) >= 6


@pytest.mark.parametrize(
    ("challenge", "why"),
    [
        (b"", "no nonce"),
        (b'realm="zk-sasl-md5",charset=utf-8,algorithm=md5-sess', "no nonce"),
        (CHALLENGE.replace(NONCE.encode(), b""), "no nonce"),
        (CHALLENGE + b',nonce="another"', "two values for nonce"),
        (CHALLENGE + b',NONCE="another"', "two values for NONCE"),
        (CHALLENGE + b',realm="another"', "two values for realm"),
        (CHALLENGE + b',qop="auth-int,auth-conf"', "does not offer qop=auth"),
        (CHALLENGE + b",qop=", "does not offer qop=auth"),
        (CHALLENGE.replace(b"md5-sess", b"md5"), "does not offer algorithm=md5-sess"),
        (CHALLENGE.replace(b",algorithm=md5-sess", b""), "does not offer algorithm=md5-sess"),
        (b"\xff\xfe", "can't decode"),
        (b"nonsense", "malformed"),
        (CHALLENGE + b',x="', "malformed"),
        (b'"' * 1000, "malformed"),
        (b'a="' + b"\\" * 4_000, "malformed"),
        (b" " * 4_000, "malformed"),
        (b" " * 60_000, "a token of 60000 bytes"),
    ],
)  # fmt: skip
def test_bad_challenges(challenge: bytes, why: str) -> None:
    mechanism = bob()
    mechanism.start()
    with pytest.raises(AuthFailedError, match=re.escape(why)) as refused:
        mechanism.step(challenge)
    assert "bobsecret" not in str(refused.value)


@pytest.mark.parametrize(
    "word",
    [
        b"", b"rspauth=", b"rspauth=" + b"0" * 32, b"rspauth=620cfb605f9ec05884f585fabe9cfde", CHALLENGE,
        b"rspauth=ff2ac677b656141f9fb9fc85c9cf2d60",  # our own proof, sent back
        PROOF + b"," + PROOF, PROOF.upper(), "rspauth=é".encode(), b"\xff",
    ],
)  # fmt: skip
def test_a_server_that_does_not_know_the_password(word: bytes) -> None:
    mechanism = bob()
    mechanism.start()
    mechanism.step(CHALLENGE)
    with pytest.raises(AuthFailedError):
        mechanism.step(word)


@pytest.mark.parametrize(
    "offer", [b"", b',qop="auth"', b',qop="auth-conf, auth"', b",qop=auth", b",maxbuf=65536,stale=true"]
)
def test_offers_we_take(offer: bytes) -> None:
    mechanism = bob()
    mechanism.start()
    assert b"ff2ac677b656141f9fb9fc85c9cf2d60" in (mechanism.step(CHALLENGE + offer) or b"")


@pytest.mark.parametrize("user", ["bob", 'b"o\\b', "\\", '"', "a,b=c", "bjørn", "Ωmega", "a b", "\n"])
@pytest.mark.parametrize("password", ["x", "pässwörd", "ωord", 'q"\\', b"\xff\0"])
def test_any_name_and_password(user: str, password: Any) -> None:
    """Against the embedded server's side, which real servers are compared with: see the live tests for non-ASCII."""
    server = DigestServer({user: password}, 'n"o\\nce')
    client = DigestMD5(user, password, lambda: 'c"\\nonce')
    assert server.step(client.start())
    challenge = f'realm="zk-sasl-md5",nonce={quote(chr(34).join(("n", "o" + chr(92) + "nce")))},algorithm=md5-sess'
    word = server.step(client.step(challenge.encode()) or b"")
    assert server.user == user
    assert client.step(word) is None
    other = DigestServer({user: password}, "nonce")
    wrong = DigestMD5(user, "wrong", lambda: "cnonce")
    challenge = other.step(b"").decode()
    with pytest.raises(SaslRefused, match="wrong password"):
        other.step(wrong.step(challenge.encode()) or b"")


def test_a_realm_is_quoted_again() -> None:
    mechanism = bob()
    mechanism.start()
    answer = mechanism.step(rb'realm="a\"b\\c",nonce="n\"",algorithm=md5-sess') or b""
    assert rb'realm="a\"b\\c",nonce="n\""' in answer


def test_names_are_narrow_where_they_can_be() -> None:
    """RFC 2831, 2.1.2.1; real servers agree, see the live tests."""
    assert [digest.narrow(text) for text in ("bjørn", "Ω", b"\xff")] == [b"bj\xf8rn", b"\xce\xa9", b"\xff"]


@pytest.mark.parametrize(
    ("sasl", "error"),
    [
        ((), TypeError), (("bob",), TypeError), (("bob", "x", "y"), TypeError), ("bob:hush", TypeError), (7, TypeError),
        (("bob", None), TypeError), ((b"bob", "hush"), TypeError), (("", "hush"), ValueError), (("a\0", "hush"), ValueError),
        (("bob", "hush\ud800"), ValueError), (("\ud800", "hush"), ValueError), (DigestMD5, TypeError), (object(), TypeError),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_before_anything_is_dialled(sasl: Any, error: Any) -> None:
    with pytest.raises(error) as refused:
        make_session(Settings("a", sasl=sasl), lambda: 0.5, 0.0)
    assert "hush" not in str(refused.value)


def test_every_login_has_a_cnonce_of_its_own() -> None:
    seen = set()
    for _ in range(2):
        session = make_session(Settings("a", sasl=("bob", "secret")), lambda: 0.5, 0.0)
        mechanism: Any = session._login._mechanism  # type: ignore[union-attr]
        for _ in range(2):
            mechanism.start()
            seen.add(parse_pairs(mechanism.step(CHALLENGE))["cnonce"])
    assert len(seen) == 4
    assert all(len(cnonce) >= 32 and int(cnonce, 16) for cnonce in seen)


def test_a_python_without_md5(monkeypatch: pytest.MonkeyPatch) -> None:
    def new(name: str, data: bytes, usedforsecurity: bool) -> Any:
        assert not usedforsecurity
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", new)
    with pytest.raises(ValueError, match="needs MD5, which this Python does not have"):
        bob()


def test_no_secret_is_shown() -> None:
    mechanism = bob()
    mechanism.start()
    answer = mechanism.step(CHALLENGE) or b""
    exchange = DigestExchange("bob", "bobsecret", "realm", "nonce", "cnonce")
    shown = repr(mechanism) + repr(exchange) + str(exchange)
    assert shown == "DigestMD5('bob')" + "DigestExchange('bob')" * 2
    assert b"bobsecret" not in answer


def test_spoiled_tokens_are_refused_and_nothing_else() -> None:
    """Random changes to a challenge and to a proof: an answer to this very nonce, or `AuthFailedError`."""
    dice = random.Random(2831)
    taken = 0
    for _ in range(1000):
        token = bytearray(dice.choice((CHALLENGE, PROOF)))
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(token))
            token[at : at + dice.randrange(3)] = bytes(dice.choice(b'",=\\ \0\xffa') for _ in range(dice.randrange(3)))
        mechanism = bob()
        mechanism.start()
        try:
            answer = mechanism.step(bytes(token))
        except AuthFailedError as error:
            assert "bobsecret" not in str(error)
        else:
            taken += 1
            assert parse_pairs(answer or b"")["nonce"] == parse_pairs(bytes(token))["nonce"]
        mechanism.start()
        mechanism.step(CHALLENGE)
        if parse_or_none(bytes(token)).get("rspauth") != PROOF.decode().partition("=")[2]:
            with pytest.raises(AuthFailedError):
                mechanism.step(bytes(token))
    assert taken > 30


def parse_or_none(token: bytes) -> Dict[str, str]:
    try:
        return parse_pairs(token)
    except ValueError:
        return {}


# ------------------------------------------------------------------------------- logins


class Scripted:
    """A mechanism that gives what it is told to give."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: List[Any] = []

    def start(self, host: str) -> bytes:
        return self.give("start")

    def step(self, challenge: bytes) -> Optional[bytes]:
        return self.give(challenge)

    def give(self, asked: Any) -> Any:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def begin(login: Login, host: str) -> Optional[bytes]:
    """The first token."""
    return login.answered(login.take(*login.begin(host)))


def answer(login: Login, token: Any) -> Optional[bytes]:
    """The answer to a token; None after the last step."""
    mine = login.answered(login.take(*login.challenged(token)))
    if mine is None:
        login.done()
    return mine


def test_a_mechanism_of_many_steps() -> None:
    mechanism = Scripted(b"ticket", b"more", b"", None)
    login = Login(mechanism)
    assert begin(login, "host") == b"ticket"
    assert [answer(login, token) for token in (b"1", b"2", None)] == [b"more", b"", None]
    assert mechanism.asked == ["start", b"1", b"2", b""]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (AuthFailedError(), "refused the credentials"), (ConnectionLoss("torn"), "torn"), (None, "does not offer SASL"),
        (b"x" * (MAX_TOKEN + 1), "a token of 65537 bytes"), (b"nonsense", "malformed"),
    ],
)  # fmt: skip
def test_what_ends_a_login(token: Any, why: str) -> None:
    login = Login(bob())
    assert begin(login, "host") == b""
    with pytest.raises(AuthFailedError, match=why):
        answer(login, token)


def test_a_server_that_lets_the_refused_in_is_not_believed() -> None:
    """zookeeper.allowSaslFailedClients: a null token where the proof should be."""
    login = Login(bob())
    begin(login, "host")
    answer(login, CHALLENGE)
    with pytest.raises(AuthFailedError, match="has not proved"):
        answer(login, None)


@pytest.mark.parametrize("bad", [RuntimeError("hush"), "text", b"x" * (MAX_TOKEN + 1), KeyError("hush")])
def test_a_bad_mechanism_says_no_secrets(bad: Any) -> None:
    for answers in ((bad,), (b"", bad)):
        login = Login(Scripted(*answers))
        with pytest.raises(AuthFailedError, match=r"SASL authentication failed \(Scripted\)") as failed:
            begin(login, "host")
            answer(login, b"x")
        assert "hush" not in str(failed.value)


def test_hanging_up_once_is_no_refusal_but_again_and_again_it_is() -> None:
    login = Login(bob())
    for _ in range(100):  # before our proof it is a restart, however often
        begin(login, "host")
        assert login.hung_up(2) is None
    for connection in range(2 * PATIENCE):
        begin(login, "host")
        answer(login, CHALLENGE)
        refused = login.hung_up(2)
        assert (refused is None) == (connection < 2 * PATIENCE - 1)
    assert "before 3.5" in str(refused)


def test_one_login_in_between_and_the_count_begins_afresh() -> None:
    login = Login(bob())
    for connection in range(10):
        begin(login, "host")
        answer(login, CHALLENGE)
        if connection % 2:
            assert answer(login, PROOF) is None
        else:
            assert login.hung_up(1) is None


@pytest.mark.parametrize("token", [b'realm="' + b"x" * 60_000 + b'"', b'realm="' + b'\\"' * 30_000 + b'"', b"a=b," * 2000])
def test_a_token_beyond_what_the_mechanism_knows_is_refused_and_takes_no_memory(token: bytes) -> None:
    """Found by make fuzz: taking one of 60 KB apart took 10 MB. A real mechanism's tokens end at 4096 bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"a token of {len(token)} bytes"):
            parse_pairs(token)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(AuthFailedError, match=f"a token of {len(token)} bytes"):
        answer(Login(DigestMD5("bob", "x", lambda: "c")), token)
