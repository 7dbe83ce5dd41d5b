"""The small parts of the embedded server: SASL, identities, four-letter words, strings as Java has them, floors."""

from __future__ import annotations

import ast
import hashlib
import pathlib
import struct

import pytest

import zkwire.embedded
from tests.kit.embedded_peer import OPEN, WATCH, Peer, connected, make_core
from zkwire.embedded.identity import Identities, java_split
from zkwire.embedded.requests import JAVA_STRING, from_java, to_java
from zkwire.sasl import parse_pairs
from zkwire.embedded.sasl import DigestServer, SaslRefused
from zkwire.embedded.versions import PROFILES, profile_of
from zkwire.errors import InvalidACLError
from zkwire.wire.jute import BUFFER, USTRING, decode, encode
from zkwire.ops import Auth, Create, Delete, GetChildren, GetData, Sasl
from zkwire.values import ACL, Id

# -- SASL: a conversation with a real 3.8.0

NONCE = "DNl6mp45pfhNKJpDLRrzdbQmIMpbeLQ9gExfu8Xk"
ANSWER = (
    'charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="{}",nc=00000001,'
    'cnonce="OA6MG9tEQGm2hhCNONCE",digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response={},qop=auth'
)
RESPONSE = "ff2ac677b656141f9fb9fc85c9cf2d60"


def test_digest_md5_as_a_real_server():
    server = DigestServer({"bob": "bobsecret"}, NONCE)
    assert server.step(b"") == f'realm="zk-sasl-md5",nonce="{NONCE}",charset=utf-8,algorithm=md5-sess'.encode()
    assert server.step(ANSWER.format(NONCE, RESPONSE).encode()) == b"rspauth=620cfb605f9ec05884f585fabe9cfde4"
    assert server.user == "bob"
    with pytest.raises(SaslRefused):
        server.step(b"")


@pytest.mark.parametrize(
    "token",
    [
        ANSWER.format(NONCE, "0" * 32), ANSWER.format("other", RESPONSE), "", "nonsense", '"',
        ANSWER.format(NONCE, RESPONSE).replace("bob", "eve"),
        ANSWER.format(NONCE, RESPONSE).replace("0000001", "0000002"),
        ANSWER.format(NONCE, RESPONSE).replace("zookeeper/zk", "http/zk"),
    ],
)  # fmt: skip
def test_digest_md5_refuses(token):
    server = DigestServer({"bob": "bobsecret"}, NONCE)
    server.step(b"")
    with pytest.raises(SaslRefused):
        server.step(token.encode())
    assert server.user is None


def test_pairs_with_quotes():
    assert parse_pairs(rb'a="x, \"y\"",b=z') == {"a": 'x, "y"', "b": "z"}


def test_sasl_over_the_core():
    core = make_core(sasl={"bob": "bobsecret"}, sasl_required=True)
    refused, peer = connected(core), connected(core)
    refused.send(GetData("/"))
    assert refused.replies() == [(1, 0, -124, b"")] and refused.link.over
    challenge = parse_pairs(peer.ask(Sasl(b"")))
    a1 = hashlib.md5(b"bob:zk-sasl-md5:bobsecret").digest() + f":{challenge['nonce']}:c".encode()
    ha1, ha2 = hashlib.md5(a1).hexdigest(), hashlib.md5(b"AUTHENTICATE:zookeeper/zk-sasl-md5").hexdigest()
    response = hashlib.md5(f"{ha1}:{challenge['nonce']}:00000001:c:auth:{ha2}".encode()).hexdigest()
    nonce = challenge["nonce"]
    token = f'username="bob",realm="zk-sasl-md5",nonce="{nonce}",nc=00000001,cnonce="c"'
    token += ',digest-uri="zookeeper/zk-sasl-md5"'
    assert peer.ask(Sasl(f"{token},response={response}".encode())).startswith(b"rspauth=")
    assert peer.ask(Create("/a", b"", (ACL(31, Id("sasl", "bob")),))) == "/a"
    assert peer.ask(GetData("/a"))[0] == b""


def test_failed_sasl_has_a_null_token_and_ends_the_connection():
    peer = connected(make_core(sasl={"bob": "bobsecret"}))
    peer.ask(Sasl(b""))
    peer.send(Sasl(b"nonsense"))
    assert peer.replies() == [(2, 0, -115, b"\xff\xff\xff\xff")] and peer.link.over


@pytest.mark.parametrize("users", [None, {"bob": "bobsecret"}])
def test_a_null_token_is_hung_up_on_or_in_3_4_not_answered(users):
    for version, over in (("3.8", True), ("3.9", True), ("3.4", False)):
        peer = connected(make_core(version=version, sasl=users))
        peer.push_frame(struct.pack(">iii", 1, 102, -1))
        assert peer.replies() == [] and peer.link.over is over


def test_3_4_says_nothing_of_failed_sasl():
    peer = connected(make_core(version="3.4", sasl={"bob": "bobsecret"}))
    peer.ask(Sasl(b""))
    peer.send(Sasl(b"nonsense"))
    assert peer.pull() == b"" and peer.link.over


def test_a_server_without_sasl_answers_null():
    assert connected(make_core()).ask(Sasl(b"")) is None


def test_children_come_in_the_order_of_a_real_server():
    # As 3.8.0 lists them: 7 names, 13 in a larger table, and the 7 again, whose table stays large.
    core = make_core()
    client = connected(core)
    names, more = ["api", "db", "web-1", "web-2", "ümlaut", "a", "Zz"], [f"api-{i}" for i in range(6)]

    def listed() -> str:
        return " ".join(client.ask(GetChildren("/o")))

    client.ask(Create("/o", b"", OPEN))
    for name in names:
        client.ask(Create("/o/" + name, b"", OPEN))
    assert listed() == "Zz a ümlaut web-1 web-2 api db"
    for name in more:
        client.ask(Create("/o/" + name, b"", OPEN))
    assert listed() == "Zz a web-1 web-2 api-5 api-4 api-3 ümlaut api-2 api-1 api-0 api db"
    for name in more:
        client.ask(Delete("/o/" + name))
    assert listed() == "Zz a web-1 web-2 ümlaut api db"


# -- identities


@pytest.mark.parametrize(
    "scheme, name, valid",
    [
        ("world", "anyone", True), ("world", "x", False), ("digest", "a:b", True), ("digest", "a", False),
        ("digest", "a:b:c", False), ("digest", "a:b:", True), ("digest", "a:", False), ("ip", "1.2.3.4", True),
        ("ip", "1.2.3.4/33", False), ("ip", "1.2.3.4/8", True), ("ip", "1.2.3", False), ("ip", "1.2.3.256", False),
        ("super", "", False), ("x509", "x", False), ("sasl", "x", False), ("auth", "", False),
    ],
)  # fmt: skip
def test_valid_acls(scheme, name, valid):
    acl = [ACL(31, Id(scheme, name))]
    identities = Identities()
    if valid:
        assert identities.resolve(acl, [Id("ip", "1.2.3.4")]) == acl
    else:
        with pytest.raises(InvalidACLError):
            identities.resolve(acl, [Id("ip", "1.2.3.4")])


def test_addresses_of_ipv6_in_acls():
    # As 3.9.5 answers; the releases before know IPv4 only.
    good = "::1 ::1/128 ::/0 :: ::/1 1:: 2001:db8::/32 ::ffff:7f00:1 0:0:0:0:0:0:0:1 1:2:3:4:5:6:7:: ::2:3:4:5:6:7:8 ::1/0128 ::1/+5"
    good += " ABCD::EF +1::2 -1::2 ::-1 ::0001 ::\u0661 127.0.0.1 127.0.0.1/8"
    bad = "::1/129 ::1/ ::1/-1 ::1/a ::ffff:127.0.0.1 ::1.2.3.4 [::1] 1:2:3 ::1%lo abcd::g ::: 1:2:3:4:5:6:7:8:9 :1 12345::1 1::2::3"
    bad += " 1:2:3:4:5:6:7:8:: ::1:2:3:4:5:6:7:8 ::1/64/3 ::1// ::00001 : 1: 1:2:3:4:5:6:7: :2:3:4:5:6:7:8 1::2: :1::2 0x1::2 ::1: 1.2.3.4::"
    newer, older = (make_core(version=version).identities for version in ("3.9.5", "3.9.3"))
    for name in good.split():
        acl = [ACL(31, Id("ip", name))]
        assert newer.resolve(acl, []) == acl
        assert ":" not in name or not older._is_valid("ip", name)
    for name in [*bad.split(), "", "/8", ":: 1"]:
        assert not newer._is_valid("ip", name) and not older._is_valid("ip", name)


def test_java_split_drops_trailing_empty_parts():
    assert [java_split(text, ":") for text in ("a:b", "a::", ":a", "")] == [["a", "b"], ["a"], ["", "a"], [""]]


def test_digests_are_masked():
    assert Identities().mask([ACL(1, Id("digest", "bob:abc")), OPEN[0]]) == [ACL(1, Id("digest", "bob:x")), OPEN[0]]


def test_a_credential_without_a_colon_is_hashed_as_it_is():
    (one,) = Identities().authenticate("digest", b"nocolon", "")
    assert one == Id("digest", "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g=")


# -- strings


def test_strings_beyond_the_bmp_are_written_as_surrogates():
    assert to_java("a\u00fc\U0001f600").hex() == "61c3bceda0bdedb880"
    assert encode(JAVA_STRING, "\U0001f600") == b"\0\0\0\x06" + bytes.fromhex("eda0bdedb880")


def test_bytes_that_are_no_utf_8_are_replaced():
    assert decode(JAVA_STRING, b"\0\0\0\x03/\xff/") == "/\ufffd/"
    # As 3.4.13, 3.8.0 and 3.9.3 answer sync: a surrogate, whole or cut off, is one character.
    for raw, text in (("eda0bdedb880", "\ufffd\ufffd"), ("edbf", "\ufffd"), ("41eda0c1", "A\ufffd\ufffd"), ("ed9f", "\ufffd")):
        assert from_java(bytes.fromhex(raw)) == text
    peer = connected(make_core())
    body = b"\0\0\0\x02/\xff" + encode(BUFFER, b"") + struct.pack(">ii", 1, 31) + encode(USTRING, "world")
    peer.push_frame(struct.pack(">ii", 1, 1) + body + encode(USTRING, "anyone") + struct.pack(">i", 0))
    assert [reply[2] for reply in peer.replies()] == [-8]


# -- four-letter words


def word(core, text: bytes) -> str:
    peer = Peer(core)
    peer.push(text)
    answer = peer.pull().decode()
    assert peer.link.over
    return answer


def test_four_letter_words_of_3_4():
    core = make_core(version="3.4")
    assert "\nLatency min/avg/max: 0/0/0\n" in word(core, b"srvr")
    assert word(core, b"dump").splitlines()[1] == "Session Sets (0):" and "Connections" not in word(core, b"dump")
    assert "secureClientPort" not in word(core, b"conf") and "zk_uptime" not in word(core, b"mntr")
    assert word(core, b"crst") == "crst is not executed because it is not in the whitelist.\n"
    assert (word(core, b"dirs"), word(core, b"hash")) == ("", "")  # unknown: a frame far too long


def test_four_letter_words():
    core = make_core()
    peer = connected(core)
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    peer.ask(GetData("/e", WATCH))
    sid = f"0x{peer.session[0]:x}"
    assert (word(core, b"ruok"), word(core, b"isro")) == ("imok", "rw")
    srvr = word(core, b"srvr")
    assert srvr.startswith("Zookeeper version: 3.9.3") and "\nZxid: 0x2\nMode: standalone\nNode count: 6\n" in srvr
    assert f",sid={sid},lop=GETD," in word(core, b"cons")
    assert word(core, b"wchs") == "1 connections watching 1 paths\nTotal watches:1\n"
    assert word(core, b"wchc") == f"{sid}\n\t/e\n\n" and word(core, b"wchp") == f"/e\n\t{sid}\n\n"
    assert f"{sid}:\n\t/e\n" in word(core, b"dump")
    figures = dict(line.split("\t") for line in word(core, b"mntr").splitlines())
    assert (figures["zk_znode_count"], figures["zk_ephemerals_count"], figures["zk_watch_count"]) == ("6", "1", "1")
    assert "tickTime=1000\n" in word(core, b"conf")
    assert word(core, b"envi").startswith("Environment:\nzookeeper.version=")
    assert "Clients:\n /127.0.0.1:4711[1](queued=0,recved=3,sent=3)\n" in word(core, b"stat")
    core.go_read_only(0.0)
    assert word(core, b"isro") == "ro" and "Mode: read-only" in word(core, b"srvr")


def test_words_that_are_not_allowed():
    core = make_core(four_letter_words=frozenset({"srvr"}))
    assert word(core, b"ruok") == "ruok is not executed because it is not in the whitelist.\n"


# -- versions and floors


def test_versions():
    assert [profile_of(name).name for name in ("3.8.0", "3.9", "3.4.13")] == ["3.8", "3.9", "3.4"]
    assert [profile_of(name).full for name in ("3.9", "3.9.3", "3.9.4", "3.9.5", "3.9.10")] == ["3.9.3"] * 3 + ["3.9.5"] * 2
    assert list(PROFILES) == ["3.4", "3.5", "3.6", "3.7", "3.8", "3.9"]


FOLDER = pathlib.Path(zkwire.embedded.__file__).parent
#: The files with sockets, a thread and a clock.
FRONT = {"serving.py", "looking.py", "server.py", "ensemble.py"}
IO = {"socket", "selectors", "threading", "time", "asyncio", "random", "ssl"}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_only_the_front_does_io(path):
    """Which rooms it may import is looked at by tests/house/test_floors.py; here: no I/O and no clock but in the front."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module != "random" or path.name != "core.py" or node.col_offset > 0  # for annotations only
            assert node.module not in IO - {"random"}
        elif isinstance(node, ast.Import) and path.name not in FRONT:
            assert not {name.name for name in node.names} & IO


def test_auth_survives_any_credential():
    peer = connected(make_core())
    for credential in (b"", b":", b"\xff\xfe", b"a:b:c"):
        peer.send(Auth("digest", credential))
        assert [reply[2] for reply in peer.replies()] == [0]
