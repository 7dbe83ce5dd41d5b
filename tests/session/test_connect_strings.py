"""zkwire.paths: connect strings, paths as Java's PathUtils has them, chroots that end at a slash."""

from __future__ import annotations

import random
from typing import List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.kit.feeding import seeded
from zkwire.session.host_provider import DEFAULT_PORT, Host, parse_hosts
from zkwire.wire.messages import Scope
from zkwire.paths import (
    is_name, join, parent_of, prefixes, validate_name, validate_path, validate_sequential_path,
)  # fmt: skip

# ------------------------------------------------------------------ connect strings


@fault("D07")
@pytest.mark.parametrize(
    ("text", "hosts", "chroot"),
    [
        ("h1", [("h1", 2181)], ""),
        ("h1:1", [("h1", 1)], ""),
        ("h1:65535", [("h1", 65535)], ""),
        ("h1:02181", [("h1", 2181)], ""),
        ("h1:2181,h2:2182", [("h1", 2181), ("h2", 2182)], ""),
        (" h1 , h2:2182 ", [("h1", 2181), ("h2", 2182)], ""),
        ("h2,h1,h2:2181", [("h2", 2181), ("h1", 2181)], ""),
        ("127.0.0.1:2181", [("127.0.0.1", 2181)], ""),
        ("[::1]", [("::1", 2181)], ""),
        ("[::1]:2182", [("::1", 2182)], ""),
        ("[2001:db8::7]:2182,h2", [("2001:db8::7", 2182), ("h2", 2181)], ""),
        ("[fe80::1%eth0]:2182", [("fe80::1%eth0", 2182)], ""),
        ("h1/", [("h1", 2181)], ""),
        ("h1/ ", [("h1", 2181)], ""),
        ("h1/a", [("h1", 2181)], "/a"),
        ("h1:2181,[::1]:2182/a/b ", [("h1", 2181), ("::1", 2182)], "/a/b"),
        ("h1/a:b", [("h1", 2181)], "/a:b"),
        ("zk_1.example.com:2181/ünï", [("zk_1.example.com", 2181)], "/ünï"),
    ],
)
def test_connect_string(text: str, hosts: List[Tuple[str, int]], chroot: str) -> None:
    assert parse_hosts(text) == (hosts, chroot)
    assert all(isinstance(host, Host) for host in parse_hosts(text)[0])


@fault("D07")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no server"),
        ("  ", "no server"),
        (",,", "no server"),
        ("/a", "no server"),
        ("h1:", "port is missing"),
        ("[::1]:", "port is missing"),
        ("h1:0", "between 1 and 65535"),
        ("h1:65536", "between 1 and 65535"),
        ("h1:-1", "not a number"),
        ("h1:+1", "not a number"),
        ("h1: 1", "not a number"),
        ("h1:1_0", "not a number"),
        ("h1:²", "not a number"),
        ("h1:٣", "not a number"),
        ("h1:x", "not a number"),
        (":2181", "not a host name"),
        ("[]:2181", "not a host name"),
        ("h1\n:2181", "not a host name"),
        ("h1\0", "not a host name"),
        ("::1", "needs brackets"),
        ("1:2:3", "needs brackets"),
        ("[::1", "malformed IPv6"),
        ("[::1]2181", "malformed IPv6"),
        ("h1/a/", "must not end"),
        ("h1//a", "empty segment"),
        ("h1/a/../b", "not allowed as segments"),
        ("h1/a\x07", "not allowed"),
    ],
)
def test_connect_string_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_hosts(text)


def test_sequence_of_connect_strings() -> None:
    assert parse_hosts(["h1", "h2:2182"]) == ([("h1", 2181), ("h2", 2182)], "")
    assert parse_hosts(("h1,h2", "h3/a")) == ([("h1", 2181), ("h2", 2181), ("h3", 2181)], "/a")


def test_chroot_before_the_last_entry_of_a_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="once, behind the last server, as in 'h1,h2/a'"):
        parse_hosts(["h1/a", "h2/a"])


@fault("X22")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:2181/kafka,b:2181/kafka,c:2181/kafka", "once, behind the last server, as in 'a:2181,b:2181,c:2181/kafka'"),
        ("a/app,127.0.0.1:2182", "once, behind the last server, as in 'a,127.0.0.1:2182/app'"),
        ("a/app,", "once, behind the last server"),
        ("a:2181;b:2181", "separated by commas; expected 'host1:2181,host2:2181/chroot'"),
        ("a:2181 b:2181", "separated by commas, as in 'a:2181,b:2181'"),
        ("h1 h2", "separated by commas, as in 'h1,h2'"),
        ("a:2181\tb:2181/x", "separated by commas"),
        ("zk://a:2181,b:2181/mesos", "not a URL and has no scheme; expected 'host1:2181,host2:2181/chroot'"),
        ("tcp://a:2181", "not a URL"),
        ("a:2181,b:2181,", "no server before or behind one of the commas; expected 'host1"),
        (",a:2181", "no server before or behind"),
        ("a:2181,,b:2181", "no server before or behind"),
        ("a:2181,/chroot", "no server before or behind"),
        ("a:2181,b:2181?timeout=3", "has no options"),
        ("user:pw@a:2181", "has no credentials"),
        ("a:2181/app/", "must not end with '/'"),
        ("a..b:2181", "nothing between two dots"),
        (".a", "nothing between two dots"),
        ("a" * 64 + ".org", "more than 63 characters"),
        (".".join(["a" * 60] * 5), "more than 253 characters"),
        ("ü" * 60 + ":2181", "not a host name"),
        ("a*b", r"the character '\*' is not allowed"),
        ("a=b:2181", "the character '=' is not allowed"),
        ("'a:2181'", "is not allowed"),
        ("10.0.0.256", "no part of an IPv4 address is above 255"),
        ("[a:2181]", "IPv6 address"),
        ("[10.0.0.1]:2181", "IPv6 address"),
        ("[fe80::1%a b]", "separated by commas|malformed"),
    ],
)
def test_connect_string_that_is_nearly_right(text: str, says: str) -> None:
    for hosts in (text, text.split(","), [text]):
        with pytest.raises(ValueError, match=says):
            parse_hosts(hosts)


@fault("X22")
@pytest.mark.parametrize(
    "text", ["zk1.example.com.", "ZK_1", "1.2.3", "2181", "xn--bcher-kva.example", "bücher.example", "a-b-", "a" * 63, "[::ffff:10.0.0.1]"]
)
def test_odd_names_that_can_be(text: str) -> None:
    assert parse_hosts(text)[0] == [Host(text.strip("[]"), 2181)]


@pytest.mark.parametrize("hosts", [b"h1", bytearray(b"h1"), None, 7, [b"h1"]])
def test_hosts_of_other_types_are_refused(hosts: object) -> None:
    with pytest.raises(TypeError):
        parse_hosts(hosts)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["h1:2181", "[::1]:2182", "127.0.0.1:1"])
def test_host_reads_as_written(text: str) -> None:
    assert str(parse_hosts(text)[0][0]) == text


def test_default_port() -> None:
    assert DEFAULT_PORT == 2181


# ------------------------------------------------------------------ paths

LEGAL = [
    "/a", "/a/b", "/a/b/c/d/e", "/...", "/.a", "/..a", "/a.", "/a..", "/a./b", "/a../b", "/.a/b", "/a b",
    "/ ", "/a/ ", "/-", "/~", "/a\xa0", "/ä", "/日本", "/\ud7ff", "/\uf900", "/\uffef", "/\u200b", "/%00",
    "/a\\b", "/zookeeper/config",
]  # fmt: skip
ILLEGAL = [
    ("", "it is empty"),
    ("a", "must start with '/'"),
    ("a/b", "must start with '/'"),
    (" /a", "must start with '/'"),
    ("//", "empty segment"),
    ("//a", "empty segment"),
    ("/a//b", "empty segment"),
    ("/a/", "must not end with '/'"),
    ("/a/b/", "must not end with '/'"),
    ("/.", "not allowed as segments"),
    ("/..", "not allowed as segments"),
    ("/./a", "not allowed as segments"),
    ("/../a", "not allowed as segments"),
    ("/a/.", "not allowed as segments"),
    ("/a/..", "not allowed as segments"),
    ("/a/./b", "not allowed as segments"),
    ("/a/../b", "not allowed as segments"),
    ("/a\0", r"'\\x00' at position 2"),
    ("/\x01b", r"'\\x01' at position 1"),
    ("/a\n", r"'\\n' at position 2"),
    ("/\x1f", "at position 1"),
    ("/\x7f", "at position 1"),
    ("/\x9f", "at position 1"),
    ("/\ud800", "at position 1"),
    ("/\udfff", "at position 1"),
    ("/\ue000", "at position 1"),
    ("/\uf8ff", "at position 1"),
    ("/\ufff0", "at position 1"),
    ("/\ufffd", "at position 1"),
    ("/\uffff", "at position 1"),
    ("/ok/\U00010000", "at position 4"),
    ("/\U0001f600", "at position 1"),
    ("/\U0010ffff", "at position 1"),
]


@pytest.mark.parametrize("path", ["/", *LEGAL])
@fault("R19")
def test_legal_path(path: str) -> None:
    assert validate_path(path) is path


@pytest.mark.parametrize(("path", "says"), ILLEGAL)
@fault("R19")
def test_illegal_path(path: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        validate_path(path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/a/", "/a", "/a/b/", "/.", "/a/.", "/a/.."])
def test_legal_sequential_path(path: str) -> None:
    """The server appends digits before it looks: '/.' becomes '/.0000000000'."""
    assert validate_sequential_path(path) is path


@pytest.mark.parametrize("path", ["", "a", "//", "/a//", "/./", "/../a", "/a\0", "/\U0001f600"])
def test_illegal_sequential_path(path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        validate_sequential_path(path)


@pytest.mark.parametrize("check", [validate_path, validate_sequential_path, validate_name])
@pytest.mark.parametrize("value", [None, b"/a", 7, ["/a"]])
def test_paths_and_names_are_strings(check: object, value: object) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        check(value)  # type: ignore[operator]


def java_path_utils(path: str) -> bool:
    """PathUtils.validatePath, clause by clause, over UTF-16 units as Java's chars are."""
    raw = path.encode("utf-16-be", "surrogatepass")
    chars = [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]
    if not chars or chars[0] != ord("/"):
        return False
    if len(chars) == 1:
        return True
    if chars[-1] == ord("/"):
        return False
    last = ord("/")
    for i, c in enumerate(chars[1:], 1):
        if c == 0:
            return False
        if c == ord("/") and last == ord("/"):
            return False
        if c == ord(".") and last == ord("."):
            if chars[i - 2] == ord("/") and (i + 1 == len(chars) or chars[i + 1] == ord("/")):
                return False
        elif c == ord("."):
            if chars[i - 1] == ord("/") and (i + 1 == len(chars) or chars[i + 1] == ord("/")):
                return False
        elif 0 < c <= 0x1F or 0x7F <= c <= 0x9F or 0xD800 <= c <= 0xF8FF or 0xFFF0 <= c <= 0xFFFF:
            return False
        last = c
    return True


def ours(path: str) -> bool:
    try:
        return validate_path(path) == path
    except ValueError:
        return False


_EDGES = "\0\x01\x1f\x20\x7e\x7f\x80\x9f\xa0"
_EDGES += "\ud7ff\ud800\udbff\udc00\udfff\ue000\uf8ff\uf900\uffef\ufff0\ufffe\uffff"


def random_path(rng: random.Random) -> str:
    alphabet = rng.choice(["/.", "/.a", "/a", "/.ab" + _EDGES, "/" + _EDGES + "\U00010000\U0010ffff"])
    path = "".join(rng.choice(alphabet) for _ in range(rng.randrange(9)))
    return path if rng.random() < 0.1 else "/" + path


@fault("R19")
def test_paths_agree_with_java_for_each_character() -> None:
    for point in range(0x110000):
        if point < 0x3000 or 0xD000 <= point <= 0x10100 or point % 251 == 0:
            path = "/a" + chr(point) + "b"
            assert ours(path) is java_path_utils(path), hex(point)


@fault("R19")
def test_paths_agree_with_java_for_short_ones() -> None:
    """All strings of up to seven characters of '/', '.' and 'a'."""
    paths = [""]
    for _ in range(7):
        paths += [path + c for path in paths if len(path) == len(paths[-1]) for c in "/.a"]
    assert len(set(paths)) == (3**8 - 1) // 2
    for path in paths:
        assert ours(path) is java_path_utils(path), path


@fault("R19")
def test_paths_agree_with_java_at_random() -> None:
    legal = 0
    with seeded() as rng:
        for _ in range(20000):
            path = random_path(rng)
            legal += ours(path)
            assert ours(path) is java_path_utils(path), ascii(path)
    assert 1000 < legal < 19000  # both answers are well tried


# ------------------------------------------------------------------ names, parents


@pytest.mark.parametrize("name", ["a", "...", ".a", "a.", " ", "ä", "0000000001", "-0000000001"])
def test_legal_name(name: str) -> None:
    assert validate_name(name) is name
    assert is_name(name)
    assert validate_path("/" + name) == join("/", name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "/a", "a/", "a\0", "a\n", "\ufffd", "\U0001f600", "\ud800"]
)
def test_illegal_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="invalid node name"):
        validate_name(name)
    with pytest.raises(ValueError, match="invalid node name"):
        join("/a", name)


@pytest.mark.parametrize(
    ("path", "parent", "name"), [("/a", "/", "a"), ("/a/b", "/a", "b"), ("/a/b/c.d", "/a/b", "c.d")]
)
def test_parent_and_join(path: str, parent: str, name: str) -> None:
    assert parent_of(path) == parent
    assert join(parent, name) == path


def test_parent_of_the_root_is_the_root() -> None:
    assert parent_of("/") == "/"


@pytest.mark.parametrize(
    ("path", "all_of_them"),
    [("/", []), ("/a", ["/a"]), ("/a/b", ["/a", "/a/b"]), ("/a/b/c", ["/a", "/a/b", "/a/b/c"])],
)
def test_prefixes(path: str, all_of_them: List[str]) -> None:
    assert prefixes(path) == all_of_them


# ------------------------------------------------------------------ chroot


@pytest.mark.parametrize(
    ("prefix", "users", "servers"),
    [
        ("", "/", "/"),
        ("", "/a", "/a"),
        ("/app1", "/", "/app1"),
        ("/app1", "/a", "/app1/a"),
        ("/app1", "/app1", "/app1/app1"),
        ("/app1", "/app1x", "/app1/app1x"),
        ("/zoo", "/keeper/config", "/zoo/keeper/config"),
        ("/a/b", "/c/d", "/a/b/c/d"),
    ],
)
def test_chroot_there_and_back(prefix: str, users: str, servers: str) -> None:
    chroot = Scope(prefix)
    assert chroot.prepend(users) == servers
    assert chroot.strip(servers) == users


@pytest.mark.parametrize(
    ("prefix", "servers"),
    [
        ("/app1", "/app1x"),
        ("/app1", "/app1x/y"),
        ("/app1", "/app"),
        ("/app1", "/"),
        ("/app1", "/other/app1"),
        ("/app1", ""),
        ("/app1", "app1/a"),
        ("/zoo", "/zookeeper/config"),  # ZOOKEEPER-4565: became "keeper/config"
        ("/a/b", "/a"),
        ("/a/b", "/a/bc"),
    ],
)
def test_paths_outside_the_chroot_are_not_cut(prefix: str, servers: str) -> None:
    with pytest.raises(ValueError, match="outside the chroot") as caught:
        Scope(prefix).strip(servers)
    assert repr(servers) in str(caught.value)
    assert repr(prefix) in str(caught.value)


def test_no_chroot_changes_nothing() -> None:
    assert Scope().prefix == ""
    path = "/zookeeper/config"
    assert Scope().strip(path) == path
    assert Scope().prepend("/a") == "/a"
