"""The ensemble without I/O, on a virtual clock: lag, sync, sessions, elections, and that no acknowledged write is lost."""

from __future__ import annotations

import random
from typing import Any, Optional

import pytest

from tests.kit.embedded_peer import CREATED, DELETED, OPEN, WATCH, Peer
from zkwire.embedded.member import MemberCore
from zkwire.embedded.quorum import Quorum
from zkwire.embedded.settings import Settings
from zkwire.ops import CloseSession, Create, CreateContainer, Delete, Exists, GetChildren, GetData, SetData, Sync
from zkwire.values import Stat

EPOCH = 1 << 32


def quorum(size: int = 3, observers: int = 0, up: Optional[int] = None, **settings: Any) -> Quorum:
    """An ensemble at time 0 with all (or `up`) members up; the last voting one leads, because it has the highest number."""
    settings.setdefault("tick", 1.0)
    one = Quorum(size, observers, Settings(**settings), random=random.Random(1), epoch=1_000_000.0)
    for member in one.members[:up]:
        one.start(member, 0.0)
    one.tick(0.0)
    return one


def client(core: MemberCore, now: float = 0.0, **handshake: Any) -> Peer:
    peer = Peer(core, now)
    response = peer.connect(**handshake)
    assert response is not None and response.session_id
    return peer


def nodes(core: MemberCore) -> dict[str, tuple[Optional[bytes], Stat]]:
    return {path: (node.data, node.stat()) for path, node in core.data.tree.nodes.items()}


def all_alike(one: Quorum) -> bool:
    up = [member for member in one.members if member.up]
    return all(nodes(member) == nodes(up[0]) and member.data.applied == up[0].data.applied for member in up)


def test_the_member_with_the_highest_number_leads_at_first_and_all_have_the_new_epoch():
    one = quorum(3, observers=1)
    assert [member.role for member in one.members] == ["follower", "follower", "leader", "observer"]
    assert [member.data.applied for member in one.members] == [EPOCH] * 4


def test_a_write_through_a_follower_reaches_all_with_its_watches():
    one = quorum(3, observers=1)
    peers = [client(member) for member in one.members]
    for peer in peers:
        assert peer.ask(Exists("/a", WATCH)) == -101
    assert peers[0].ask(Create("/a", b"x", OPEN)) == "/a"
    assert [peer.heard() for peer in peers[1:]] == [[(CREATED, "/a")]] * 3 and peers[0].events == [(CREATED, "/a")]
    assert len({peer.ask(GetData("/a")) for peer in peers}) == 1 and all_alike(one)
    assert peers[0].ask(Create("/a", b"x", OPEN)) == -110
    assert len({member.data.applied for member in one.members}) == 1, "a refused write has a zxid, everywhere"


def test_a_lagging_follower_shows_old_data_until_its_time_or_a_sync():
    one = quorum()
    leader, follower = client(one.members[2]), client(one.members[0])
    one.lag(one.members[0], 5.0, 0.0)
    leader.ask(Create("/a", b"new", OPEN))
    assert follower.ask(GetData("/a")) == -101, "stale, and it cannot know"
    assert one.members[0].deadline() == one.deadline() == 5.0
    follower.send(Sync("/"), GetData("/a"))
    assert follower.replies() == [], "what follows a sync waits with it"
    one.tick(4.9)
    assert follower.replies() == []
    one.tick(5.0)
    follower.now = 5.0
    synced, read = follower.replies()
    assert synced[2] == 0 and read[2] == 0 and read[3][:7] == b"\0\0\0\3new"
    assert all_alike(one)


def test_watches_of_a_lagging_follower_are_late_and_come_before_the_reply_that_shows_the_change():
    one = quorum()
    leader, follower = client(one.members[2]), client(one.members[0])
    leader.ask(Create("/a", b"1", OPEN))
    follower.ask(GetData("/a", WATCH))
    one.lag(one.members[0], 2.0, 0.0)
    leader.ask(SetData("/a", b"2"))
    assert follower.heard() == []
    follower.send(Sync("/a"))
    one.tick(2.0)
    follower.now = 2.0
    assert [frame[:4] for frame in follower.frames()] == [b"\xff\xff\xff\xff", b"\0\0\0\2"]


def test_a_writer_at_a_lagging_follower_reads_its_own_write():
    one = quorum()
    one.lag(one.members[0], 3.0, 0.0)
    follower, other = Peer(one.members[0]), client(one.members[2])
    assert follower.connect() is None, "a session exists for a member when it has applied its creation"
    one.tick(3.0)
    follower.now = 3.0
    assert [len(frame) for frame in follower.frames()] == [37]
    follower.send(Create("/a", b"x", OPEN), GetData("/a"))
    assert follower.replies() == [] and other.ask(GetData("/a"))[0] == b"x"
    one.tick(6.0)
    follower.now = 6.0
    assert [reply[2] for reply in follower.replies()] == [0, 0]


def test_the_end_of_lag_is_at_once():
    one = quorum()
    one.lag(one.members[0], 60.0, 0.0)
    client(one.members[2]).ask(Create("/a", b"x", OPEN))
    assert not all_alike(one)
    one.lag(one.members[0], 0.0, 1.0)
    assert all_alike(one)


def test_a_client_that_has_seen_more_is_refused_by_a_lagging_follower():
    one = quorum()
    leader = client(one.members[2])
    one.lag(one.members[0], 5.0, 0.0)
    leader.ask(Create("/a", b"x", OPEN))
    seen = one.members[2].data.applied
    peer = Peer(one.members[0])
    assert peer.connect(session=leader.session, zxid=seen) is None and peer.link.over
    one.tick(5.0)
    assert Peer(one.members[0], 5.0).connect(session=leader.session, zxid=seen) is not None


def test_a_session_moves_between_members_and_its_old_connection_ends():
    one = quorum()
    old = client(one.members[0])
    old.ask(Create("/e", b"", OPEN, ephemeral=True))
    new = Peer(one.members[1])
    response = new.connect(session=old.session)
    assert response is not None and (response.session_id, response.passwd) == old.session
    old.pull()
    assert old.link.over and old.link not in one.members[0].links
    assert new.ask(Exists("/e")).ephemeralOwner == old.session[0]
    wrong = Peer(one.members[2]).connect(session=(old.session[0], b"x" * 16))
    assert wrong is not None and wrong.session_id == 0


def test_an_expired_session_ends_everywhere_and_its_connection_where_it_is_known():
    one = quorum()
    silent, other = client(one.members[0], timeout_ms=2000), client(one.members[1], timeout_ms=60000)
    silent.ask(Create("/e", b"", OPEN, ephemeral=True))
    other.ask(Exists("/e", WATCH))
    one.tick(2.9)
    assert other.heard() == []
    one.tick(3.0)
    other.now = 3.0
    silent.pull()
    assert other.heard() == [(DELETED, "/e")] and silent.link.over and all_alike(one)


def test_a_lagging_follower_closes_the_connection_of_an_expired_session_when_it_hears_of_it():
    one = quorum()
    peer = client(one.members[0])
    one.lag(one.members[0], 2.0, 0.0)
    assert one.members[2].expire(peer.session[0], 0.0)
    peer.pull()
    assert not peer.link.over
    one.tick(2.0)
    peer.pull()
    assert peer.link.over


def test_a_session_that_has_ended_before_a_lagging_follower_hears_of_it_is_not_welcomed_there():
    one = quorum()
    follower = one.members[0]
    one.lag(follower, 60.0, 0.0)
    peer = Peer(follower)
    assert peer.connect() is None
    (session,) = one.sessions.all()
    assert one.leader is not None and one.leader.expire(session.id, 1.0) and not peer.link.over
    one.lag(follower, 0.0, 2.0)  # it hears of both at once
    assert peer.pull() == b"" and peer.link.over


def test_a_session_that_is_closed_at_a_lagging_follower_gets_its_answer():
    one = quorum()
    peer, other = client(one.members[0]), client(one.members[2])
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    one.lag(one.members[0], 2.0, 0.0)
    peer.send(CloseSession())
    assert other.ask(Exists("/e")) == -101 and peer.replies() == []
    one.tick(2.0)
    peer.now = 2.0
    assert [reply[0] for reply in peer.replies()] == [2] and peer.link.over


def test_without_a_quorum_nobody_is_served_and_no_session_ends():
    one = quorum(observers=1)
    peer, watcher = client(one.members[0], timeout_ms=2000), client(one.members[3])
    peer.ask(Create("/e", b"", OPEN, ephemeral=True))
    one.stop(one.members[2], 0.0)
    one.tick(0.0)
    one.stop(one.members[1], 1.0)
    one.tick(1.0)
    for old in (peer, watcher):
        old.pull()
        assert old.link.over
    assert one.leader is None and one.deadline() is None
    again = Peer(one.members[0], 1.0)
    assert again.connect(session=peer.session) is None and again.link.over
    assert not one.members[0].expire(peer.session[0], 1.0)
    one.tick(1000.0)
    one.start(one.members[1], 1000.0)
    one.tick(1000.0)
    assert one.leader is not None
    one.tick(1002.0)
    back = client(one.members[0], 1002.0, session=peer.session, timeout_ms=2000)
    assert back.ask(Exists("/e")).ephemeralOwner == peer.session[0], "time-outs begin anew with a leader"
    one.tick(1012.0)
    assert len(one.sessions) == 0 and all_alike(one)


def test_half_of_the_voting_members_is_no_majority_and_observers_are_not_counted():
    one = quorum(4, observers=2)
    leader, second, third = one.leader, *[member for member in one.members[:4] if member is not one.leader][:2]
    one.stop(second, 1.0)
    assert one.leader is leader
    one.stop(third, 2.0)
    one.tick(3.0)
    assert one.leader is None and not any(member.serving for member in one.members)
    one.start(third, 4.0)
    one.tick(4.0)
    assert one.leader is not None


def test_an_election_ends_all_connections_and_begins_an_epoch():
    one = quorum()
    peers = [client(member) for member in one.members]
    peers[0].ask(Create("/a", b"", OPEN))
    one.stop(one.members[2], 0.0)
    for peer in peers:
        peer.pull()
        assert peer.link.over
    one.tick(0.0)
    assert [member.role for member in one.members[:2]] == ["follower", "leader"]
    peer = client(one.members[0], session=peers[2].session)
    peer.ask(Create("/b", b"", OPEN))
    assert (peer.ask(Exists("/a")).czxid >> 32, peer.ask(Exists("/b")).czxid) == (1, 2 * EPOCH + 1)


def test_the_journal_has_every_transaction_whoever_leads():
    journal = []
    one = Quorum(3, 0, Settings(tick=1.0), random=random.Random(1), journal=journal.append)
    for member in one.members:
        one.start(member, 0.0)
    one.tick(0.0)
    one.lag(one.members[0], 9.0, 0.0)
    client(one.members[1]).ask(Create("/a", b"x", OPEN))
    one.stop(one.members[2], 0.0)
    one.tick(0.0)
    assert one.leader is one.members[1]
    client(one.members[1]).ask(Create("/b", b"x", OPEN))
    paths = [step.path for transaction in journal for step in transaction.steps]
    zxids = [transaction.zxid for transaction in journal]
    assert paths == ["/a", "/b"] and zxids == [EPOCH + 1, EPOCH + 2, 2 * EPOCH + 1, 2 * EPOCH + 2]


def test_an_election_takes_its_time():
    one = quorum()
    one._election_time = 3.0
    one.stop(one.members[2], 1.0)
    one.tick(3.9)
    assert one.leader is None and one.deadline() == 4.0
    assert Peer(one.members[0], 3.9).connect() is None
    one.tick(4.0)
    assert one.leader is one.members[1]


def test_the_member_that_has_received_most_leads_though_it_has_applied_less():
    one = quorum(5)
    one.stop(one.members[3], 0.0)
    one.lag(one.members[1], 60.0, 0.0)
    client(one.members[4]).ask(Create("/a", b"", OPEN))
    one.stop(one.members[2], 0.0)
    client(one.members[4]).ask(Create("/b", b"", OPEN))
    one.stop(one.members[0], 0.0)  # and with it the quorum
    one.stop(one.members[4], 0.0)
    one.start(one.members[2], 0.0)
    one.start(one.members[3], 0.0)
    one.tick(0.0)
    assert one.leader is one.members[1]
    assert client(one.members[3]).ask(GetChildren("/")) == ["a", "b", "zookeeper"] and all_alike(one)


def test_a_member_that_comes_back_has_what_it_has_missed():
    one = quorum()
    peer = client(one.members[2])
    one.stop(one.members[0], 0.0)
    peer.ask(Create("/a", b"x", OPEN))
    one.start(one.members[0], 0.0)
    assert client(one.members[0]).ask(GetData("/a"))[0] == b"x" and all_alike(one)
    peer.ask(SetData("/a", b"y"))
    assert all_alike(one), "and its tree is a copy of its own"
    assert one.members[0].data.tree.nodes["/a"] is not one.members[2].data.tree.nodes["/a"]


def test_containers_and_ttl_nodes_are_reaped_once_for_all():
    one = quorum(reap_interval=1.0)
    peer = client(one.members[0], timeout_ms=60000)
    peer.ask(CreateContainer("/c", b"", OPEN))
    peer.ask(Create("/c/a", b"", OPEN))
    peer.ask(Delete("/c/a"))
    before = one.members[2].data.applied
    one.tick(5.0)
    assert peer.ask(Exists("/c")) == -101 and one.members[2].data.applied == before + 1 and all_alike(one)


def test_words_say_who_leads():
    one = quorum(observers=1)

    def word(core: MemberCore, text: bytes) -> str:
        peer = Peer(core)
        peer.push(text)
        return peer.pull().decode()

    modes = [word(member, b"srvr").split("Mode: ")[1].split()[0] for member in one.members]
    assert modes == ["follower", "follower", "leader", "observer"]
    one.stop(one.members[2], 0.0)
    assert word(one.members[0], b"srvr") == "This ZooKeeper instance is not currently serving requests\n"
    assert (word(one.members[0], b"ruok"), word(one.members[0], b"isro")) == ("imok", "null")


@pytest.mark.parametrize("seed", range(40))
def test_no_acknowledged_write_is_lost_and_all_trees_become_alike(seed):
    rng = random.Random(seed)
    one = quorum(rng.choice((1, 3, 5)), rng.choice((0, 1)))
    one._election_time = rng.choice((0.0, 0.5))
    now, number = 0.0, 0
    peers: list[Peer] = []
    acknowledged: set[str] = set()
    waiting: dict[tuple[Peer, int], str] = {}

    def collect() -> None:
        for peer in peers:
            peer.now = now
            for xid, zxid, code, _ in peer.replies():
                path = waiting.pop((peer, xid), None)
                if path is not None and code == 0:
                    acknowledged.add(path)
                    assert zxid <= peer.core.data.applied

    for _ in range(300):
        member, what = rng.choice(one.members), rng.randrange(12)
        if what == 0:
            one.stop(member, now)
        elif what == 1:
            one.start(member, now)
        elif what == 2:
            one.lag(member, rng.choice((0.0, 0.0, 0.3, 2.0)), now)
        elif what == 3 and member.up:
            peer = Peer(member, now)
            if peer.connect(60000) is not None:
                peers.append(peer)
        elif what < 10 and peers:
            peer, number = rng.choice(peers), number + 1
            peer.now = now
            path = f"/{number}"
            peer.send(Create(path, b"", OPEN, ephemeral=rng.random() < 0.3))
            waiting[peer, peer.xid] = path
        else:
            now += rng.random()
            one.tick(now)
        collect()
        peers = [peer for peer in peers if not peer.link.over]
        if one.leader is not None:
            up = [m for m in one.members if m.up]
            assert all(m.data.applied <= one.leader.data.applied for m in up)
    for member in one.members:
        one.start(member, now)
        one.lag(member, 0.0, now)
    one.tick(now + 1.0)
    now += 1.0
    collect()
    assert all_alike(one)
    gone = {path for path in acknowledged if path not in one.members[0].data.tree.nodes}
    assert not gone, "no session has ended"
    assert number == 0 or acknowledged or one.epochs == 0


