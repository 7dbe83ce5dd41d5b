"""The embedded server's core on a virtual clock: handshakes, sessions, order, limits."""

from __future__ import annotations

import struct

import pytest

from tests.kit.embedded_peer import DELETED, OPEN, WATCH, Peer, connected, make_core
from zkwire.wire.jute import encode
from zkwire.ops import (
    Auth, CloseSession, Create, Exists, GetACL, GetChildren, GetData, GetEphemerals, Ping, SetACL, Sync, WhoAmI,
)  # fmt: skip
from zkwire.values import ACL, Id, make_digest_acl
from zkwire.wire.messages import CONNECT_REQUEST, ConnectRequest

# -- handshake


def test_handshake_grants_a_session():
    response = Peer(make_core()).connect(10000)
    assert response is not None
    assert (response.timeout_ms, len(response.passwd or b""), response.read_only) == (10000, 16, False)
    assert response.session_id > 0


@pytest.mark.parametrize("asked, granted", [(1, 200), (0, 200), (-5, 200), (5000, 5000), (10**9, 60000)])
def test_timeout_is_clamped(asked, granted):
    response = Peer(make_core()).connect(asked)
    assert response is not None and response.timeout_ms == granted


def test_without_the_read_only_byte_the_answer_lacks_it():
    peer = Peer(make_core())
    peer.push_frame(encode(CONNECT_REQUEST, ConnectRequest(0, 0, 5000, 0, bytes(16), None)))
    assert [len(frame) for frame in peer.frames()] == [36]


def test_a_session_moves_to_a_new_connection():
    core = make_core()
    old = connected(core)
    new = Peer(core)
    response = new.connect(10000, old.session)
    assert response is not None and (response.session_id, response.passwd) == old.session
    assert old.pull() == b"" and old.link.over
    assert new.ask(Sync("/a")) == "/a"


def test_wrong_password_kicks_the_owner_who_lives_on():
    core = make_core()
    owner, thief = connected(core), Peer(core)
    response = thief.connect(10000, (owner.session[0], b"x" * 16))
    assert response is not None and (response.timeout_ms, response.session_id) == (0, 0)
    assert thief.link.over and owner.link.over
    again = Peer(core).connect(10000, owner.session)
    assert again is not None and again.session_id == owner.session[0]


def test_who_has_seen_more_is_refused_without_a_word():
    core = make_core()
    peer = Peer(core)
    assert peer.connect(zxid=core.data.applied + 1) is None and peer.link.over


@pytest.mark.parametrize("first", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\x10\0\0", b"\0\0\0\x04\0\0\0\0"])
def test_a_bad_first_frame_is_hung_up_on(first):
    peer = Peer(make_core())
    peer.push(first)
    assert peer.pull() == b"" and peer.link.over


def test_any_cut_of_the_bytes_means_the_same():
    script = encode(CONNECT_REQUEST, ConnectRequest(0, 0, 5000, 0, bytes(16), False))
    data = struct.pack(">i", len(script)) + script + b"".join(
        op.frame(n, None) for n, op in enumerate((Create("/a", b"x", OPEN), GetData("/a"), Ping()), 1)
    )
    whole, single = Peer(make_core()), Peer(make_core())
    whole.push(data)
    for byte in data:
        single.push(bytes([byte]))
    assert whole.pull() == single.pull() != b""


# -- sessions


def test_a_silent_session_ends_at_the_next_tick_with_its_nodes():
    core = make_core()
    peer, other = connected(core, timeout_ms=2000), connected(core, timeout_ms=60000)
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    other.ask(Exists("/e", WATCH))
    core.tick(2.9)
    assert other.heard() == []
    assert core.deadline() == 3.0
    core.tick(3.0)
    other.now = 3.0
    assert other.heard() == [(DELETED, "/e")]
    assert peer.link.over
    response = Peer(core, 3.0).connect(2000, peer.session)
    assert response is not None and response.timeout_ms == 0


def test_pings_keep_a_session():
    core = make_core()
    peer = connected(core, timeout_ms=2000)
    for peer.now in (1.0, 2.0, 3.0, 4.0, 5.0):
        core.tick(peer.now)
        peer.send(Ping())
        assert [reply[0] for reply in peer.replies()] == [-2]
    assert core.sessions.get(peer.session[0]) is not None


def test_close_deletes_the_nodes_answers_and_hangs_up():
    core = make_core()
    peer, other = connected(core), connected(core)
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    peer.send(CloseSession(), GetData("/e"))
    assert [reply[:1] + reply[2:] for reply in peer.replies()] == [(2, 0, b"")]
    assert peer.link.over
    assert other.ask(GetData("/e")) == -101


def test_a_connection_without_handshake_is_dropped_after_a_while():
    core = make_core()
    peer = Peer(core)
    core.tick(10.9)
    assert not peer.link.over
    core.tick(11.0)
    assert peer.link.over


# -- order, identities, limits


def test_the_answer_to_auth_overtakes():
    peer = connected(make_core())
    peer.send(*(Create(f"/{name}", b"", OPEN) for name in "abc"), Auth("digest", b"bob:secret"), Ping())
    assert [reply[0] for reply in peer.replies()] == [-4, 1, 2, 3, -2]


def test_requests_have_the_identities_of_their_arrival():
    peer = connected(make_core())
    closed = (ACL(31, Id("auth", "")),)
    peer.send(Create("/a", b"", closed), Auth("digest", b"bob:secret"), Create("/b", b"", closed))
    assert {reply[0]: reply[2] for reply in peer.replies()} == {-4: 0, 1: -114, 3: 0}
    acl, _ = peer.ask(GetACL("/b"))
    assert acl == [make_digest_acl("bob", "secret", all=True)]


@pytest.mark.parametrize("scheme", ["nobody", "world", "sasl"])
def test_unknown_schemes_are_refused_and_hung_up_on(scheme):
    peer = connected(make_core())
    peer.send(Auth(scheme, b"x"))
    assert peer.replies() == [(-4, 0, -115, b"")] and peer.link.over


def test_who_am_i_tells_no_digest():
    peer = connected(make_core(super_password="top"))
    peer.send(Auth("digest", b"super:top"))
    assert [reply[2] for reply in peer.replies()] == [0]
    assert peer.ask(WhoAmI()) == [Id("digest", "super"), Id("super", ""), Id("ip", "127.0.0.1")]


def test_the_superuser_may_do_anything():
    core = make_core(super_password="top")
    owner, stranger, root = connected(core), connected(core), connected(core)
    owner.ask(Create("/a", b"x", (make_digest_acl("bob", "secret", all=True),)))
    assert stranger.ask(GetData("/a")) == -102
    root.send(Auth("digest", b"super:top"))
    assert len(root.replies()) == 1
    assert root.ask(GetData("/a"))[0] == b"x"
    assert root.ask(SetACL("/a", OPEN)).aversion == 1
    assert stranger.ask(GetData("/a"))[0] == b"x"


def test_ip_acls():
    peer = connected(make_core())
    for acl, code in (("127.0.0.0/8", 0), ("127.0.0.1", 0), ("10.0.0.0/8", -102), ("0.0.0.0/0", 0)):
        name = "/" + acl.replace("/", "-")
        peer.ask(Create(name, b"", (ACL(1, Id("ip", acl)),)))
        answer = peer.ask(GetData(name))
        assert (answer if isinstance(answer, int) else 0) == code, acl


def test_the_longest_request_and_one_byte_more():
    core = make_core()
    peer = connected(core)
    room = 0xFFFFF - len(Create("/a", b"", OPEN).frame(1, None)) + 4
    peer.send(Create("/a", b"x" * room, OPEN))
    assert [reply[2] for reply in peer.replies()] == [0]
    peer.send(Create("/b", b"x" * (room + 1), OPEN))
    assert peer.pull() == b"" and peer.link.over


@pytest.mark.parametrize(
    "version, opcode", [("3.9", 77), ("3.9", 13), ("3.4", 106), ("3.5", 106), ("3.6", 107), ("3.4", 15)]
)
def test_unknown_operations_are_refused_and_hung_up_on(version, opcode):
    core = make_core(version=version)
    peer = connected(core)
    peer.push_frame(struct.pack(">ii", 7, opcode))
    assert peer.replies() == [(7, -1, -6, b"")] and peer.link.over
    assert core.sessions.get(peer.session[0]) is not None


def test_ephemerals_of_a_session_by_plain_prefix():
    core = make_core()
    peer, other = connected(core), connected(core)
    for path in ("/a", "/ab", "/b"):
        peer.ask(Create(path, b"", OPEN, ephemeral=True))
    assert peer.ask(GetEphemerals("/a")) == ["/a", "/ab"]
    assert sorted(peer.ask(GetEphemerals("/"))) == ["/a", "/ab", "/b"]
    assert other.ask(GetEphemerals("/")) == []


def test_the_same_seed_gives_the_same_bytes():
    transcripts = []
    for _ in range(2):
        peer = connected(make_core())
        peer.send(Create("/a", b"", OPEN), GetChildren("/"), Exists("/a"))
        transcripts.append((peer.session, peer.pull()))
    assert transcripts[0] == transcripts[1]


@pytest.mark.parametrize(
    "settings", [{"version": "2.0"}, {"tick": 0}, {"min_session_timeout": 9.0, "max_session_timeout": 1.0}]
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError):
        make_core(**settings)
