"""The faults of the embedded server on a virtual clock, read-only mode, restart and wipe."""

from __future__ import annotations

import pytest

from tests.kit.catalogue import fault
from tests.kit.embedded_peer import CHILD, DELETED, OPEN, WATCH, Peer, connected, make_core
from zkwire.wire.jute import decode, encode
from zkwire.ops import AddWatch, Create, Delete, Exists, GetChildren, GetData, MultiRead, Ping, SetData, Sync
from zkwire.wire.messages import CONNECT_REQUEST, REPLY_HEADER, ConnectRequest


def test_expire_ends_a_session_at_once():
    core = make_core()
    victim, other = connected(core), connected(core)
    victim.ask(Create("/e", b"", OPEN, ephemeral=True))
    other.ask(Exists("/e", WATCH))
    assert core.faults(0.0).expire(victim.session[0])
    assert other.heard() == [(DELETED, "/e")] and victim.link.over
    assert not core.faults(0.0).expire(victim.session[0])


def test_cut_breaks_connections_and_keeps_sessions():
    core = make_core()
    one, two = connected(core), connected(core)
    assert core.faults(0.0).cut(one.session[0]) == 1
    assert one.link.over and not two.link.over
    response = Peer(core).connect(10000, one.session)
    assert response is not None and response.session_id == one.session[0]
    assert core.faults(0.0).cut() == 2


def test_black_hole_in_holds_requests_until_healed():
    core = make_core()
    peer = connected(core)
    core.faults(0.0).black_hole("in")
    peer.send(Create("/a", b"", OPEN))
    assert peer.replies() == [] and core.data.tree.get("/a") is None
    core.faults(1.0).heal()
    peer.now = 1.0
    assert [reply[2] for reply in peer.replies()] == [0]


def test_black_hole_out_holds_answers_to_requests_that_were_carried_out():
    core = make_core()
    peer = connected(core)
    core.faults(0.0).black_hole("out", peer.session[0])
    peer.send(Create("/a", b"", OPEN))
    assert peer.replies() == [] and core.data.tree.get("/a") is not None
    assert connected(core).ask(Exists("/a"))
    core.faults(1.0).heal()
    peer.now = 1.0
    assert [reply[2] for reply in peer.replies()] == [0]


def test_in_a_black_hole_the_end_of_a_connection_is_not_seen():
    core = make_core()
    peer = connected(core, timeout_ms=2000)
    core.faults(0.0).black_hole()
    core.tick(10.0)
    assert not core.sessions.all() and not peer.link.over
    core.faults(11.0).heal()
    assert peer.link.over


def test_a_black_hole_holds_for_new_connections():
    core = make_core()
    core.faults(0.0).black_hole()
    assert Peer(core).connect() is None


def test_black_hole_takes_a_direction():
    with pytest.raises(ValueError, match="sideways"):
        make_core().faults(0.0).black_hole("sideways")


def test_delay_shifts_answers_and_keeps_their_order():
    core = make_core()
    peer = connected(core)
    core.faults(0.0).delay(0.5)
    peer.send(Create("/a", b"", OPEN), Ping())
    assert peer.replies() == [] and core.deadline() == 0.5
    peer.now = 0.5
    assert [reply[0] for reply in peer.replies()] == [1, -2]


@pytest.mark.parametrize("size", [0, 1, 7, 21])
def test_drop_after_cuts_inside_a_frame(size):
    core = make_core()
    peer = connected(core)
    core.faults(0.0).drop_after(size)
    peer.send(Sync("/a"))  # answered by 4 + 16 + 6 bytes
    assert len(peer.pull()) == size and peer.link.over
    assert core.sessions.get(peer.session[0]) is not None


def test_answer_replaces_the_next_matching_request():
    core = make_core()
    peer = connected(core)
    core.faults(0.0).answer(-127, Create, "/a", times=2)
    assert peer.ask(Create("/b", b"", OPEN)) == "/b"
    assert [peer.ask(Create("/a", b"", OPEN)) for _ in range(3)] == [-127, -127, "/a"]


def test_answering_no_request_at_all_is_no_rule():
    with pytest.raises(ValueError, match="times 0"):
        make_core().faults(0.0).answer(-127, times=0)


def test_answer_can_hide_that_a_request_was_applied():
    core = make_core()
    peer = connected(core)
    core.faults(0.0).answer(-4, applied=True)
    peer.send(Ping())
    assert [reply[2] for reply in peer.replies()] == [0]
    assert peer.ask(Create("/a", b"", OPEN)) == -4
    assert peer.ask(Create("/a", b"", OPEN)) == -110


def test_lag_refuses_those_who_have_seen_more():
    core = make_core()
    peer = connected(core)
    before = core.data.applied
    peer.ask(Create("/a", b"", OPEN))
    core.faults(0.0).lag_behind(before)
    assert Peer(core).connect(10000, peer.session, core.data.applied) is None
    assert Peer(core).connect(10000, peer.session, before) is not None
    core.faults(0.0).lag_behind(None)
    assert Peer(core).connect(10000, peer.session, core.data.applied) is not None


def test_refused_sessions():
    core = make_core()
    core.faults(0.0).refuse_sessions()
    refused = Peer(core)
    assert refused.connect() is None and refused.link.over
    core.faults(0.0).refuse_sessions(False)
    assert Peer(core).connect() is not None


def test_restart_keeps_data_and_sessions_but_no_watches():
    core = make_core()
    peer = connected(core, timeout_ms=2000)
    peer.ask(Create("/a", b"x", OPEN, ephemeral=True))
    peer.ask(GetData("/a", WATCH))
    core.restart(2.9)
    assert peer.link.over
    core.tick(4.0)  # the old deadline has passed: time-outs started anew
    again = Peer(core, 4.0)
    assert again.connect(2000, peer.session) is not None
    assert again.ask(GetData("/a"))[0] == b"x"
    again.ask(SetData("/a", b"y"))
    assert again.heard() == []


def test_wipe_forgets_everything():
    core = make_core()
    peer = connected(core)
    peer.ask(Create("/a", b"", OPEN))
    seen = core.data.applied
    core.wipe(1.0)
    assert peer.link.over
    assert Peer(core).connect(10000, peer.session, seen) is None
    gone = Peer(core).connect(10000, peer.session)
    assert gone is not None and gone.timeout_ms == 0
    assert connected(core).ask(Exists("/a")) == -101


# -- read-only mode


def test_read_only_refuses_clients_that_did_not_allow_it():
    core = make_core()
    core.go_read_only(0.0)
    assert Peer(core).connect(read_only=False) is None
    assert Peer(core).connect(read_only=None) is None


def test_read_only_serves_reads_only():
    core = make_core()
    connected(core).ask(Create("/a", b"x", OPEN))
    core.go_read_only(0.0)
    peer = connected(core, read_only=True)
    assert peer.response is not None and peer.response.read_only is True
    assert peer.ask(GetData("/a"))[0] == b"x"
    assert peer.ask(MultiRead([GetData("/a")]))[0][0] == 4
    for op in (Create("/b", b"", OPEN), Delete("/a"), SetData("/a", b""), Sync("/a")):
        assert peer.ask(op) == -119
    peer.send(Ping())
    assert [reply[0] for reply in peer.replies()] == [-2]


def test_real_sessions_survive_read_only_mode_and_its_own_do_not():
    core = make_core()
    real = connected(core, timeout_ms=2000)
    real.ask(Create("/e", b"", OPEN, ephemeral=True))
    core.go_read_only(0.0)
    assert real.link.over
    assert Peer(core).connect(2000, real.session, read_only=True) is None
    local = connected(core, read_only=True, timeout_ms=60000)
    core.tick(30.0)
    core.go_read_only(30.0, False)
    assert local.link.over
    gone = Peer(core, 30.0).connect(2000, local.session)
    assert gone is not None and gone.timeout_ms == 0
    back = Peer(core, 30.0)
    assert back.connect(2000, real.session) is not None
    assert back.ask(Exists("/e"))


def test_an_unknown_session_at_a_read_only_server():
    core = make_core()
    core.go_read_only(0.0)
    response = Peer(core).connect(2000, (12345, bytes(16)), read_only=True)
    assert response is not None and (response.timeout_ms, response.read_only) == (0, True)


def test_without_local_sessions_a_new_session_gets_a_reply_header():
    core = make_core(local_sessions=False)
    core.go_read_only(0.0)
    peer = Peer(core)
    peer.push_frame(encode(CONNECT_REQUEST, ConnectRequest(0, 0, 2000, 0, bytes(16), True)))
    (frame,) = peer.frames()
    assert len(frame) == 16 and decode(REPLY_HEADER, frame).err == -119


# -- read-only mode before 3.7


def test_before_3_7_a_session_that_the_majority_has_given_away_is_resumed_until_the_quorum_is_back():
    core = make_core(version="3.6")
    real = connected(core, timeout_ms=20000)
    real.ask(Create("/e", b"", OPEN, ephemeral=True))
    core.go_read_only(0.0)
    again = Peer(core)
    response = again.connect(20000, real.session, read_only=True)
    assert response is not None and (response.session_id, response.read_only) == (real.session[0], True)
    assert core.faults(0.0).expire(real.session[0]) and not core.faults(0.0).expire(real.session[0])
    assert core.alive() == {}
    assert again.ask(Exists("/e")) and not again.link.over  # this server cannot know
    core.go_read_only(1.0, False)
    gone = Peer(core, 1.0).connect(20000, real.session)
    assert gone is not None and gone.timeout_ms == 0
    assert connected(core, 1.0).ask(Exists("/e")) == -101


def test_since_3_7_such_a_session_is_hung_up_on():
    core = make_core(version="3.7")
    real = connected(core, timeout_ms=20000)
    core.go_read_only(0.0)
    assert core.faults(0.0).expire(real.session[0])
    assert Peer(core).connect(20000, real.session, read_only=True) is None


def test_before_3_7_a_silent_session_ends_here_and_lives_on_with_the_quorum():
    core = make_core(version="3.4")
    real = connected(core, timeout_ms=2000)
    real.ask(Create("/e", b"", OPEN, ephemeral=True))
    core.go_read_only(0.0)
    watcher = connected(core, read_only=True, timeout_ms=60000)
    assert watcher.ask(Exists("/e", WATCH))
    zxid = core.data.applied
    core.tick(4.0)
    watcher.now = 4.0
    assert watcher.heard() == [(2, "/e")] and core.data.applied == zxid
    ended = Peer(core, 4.0).connect(2000, real.session, read_only=True)
    assert ended is not None and (ended.timeout_ms, ended.read_only) == (0, True)
    assert real.session[0] in core.alive()
    core.go_read_only(4.0, False)
    back = Peer(core, 4.0)
    resumed = back.connect(2000, real.session)
    assert resumed is not None and resumed.session_id == real.session[0]
    assert back.ask(Exists("/e")) == -101  # as with real 3.4.13, 3.5.9 and 3.6.2


# -- upgrades, and servers that are compatible but for something


def test_upgrade_keeps_data_and_sessions():
    core = make_core(version="3.4")
    peer = connected(core, timeout_ms=2000)
    peer.ask(Create("/a", b"x", OPEN))
    assert peer.ask(AddWatch("/a", WATCH, True)) == -6
    core.upgrade("3.9", 0.0)
    again = Peer(core)
    assert again.connect(2000, peer.session) is not None and again.session == peer.session
    assert again.ask(GetData("/a"))[0] == b"x" and again.ask(Exists("/zookeeper/config"))
    assert again.ask(AddWatch("/a", WATCH, True)) == 0
    with pytest.raises(ValueError, match="2.0"):
        core.upgrade("2.0", 0.0)


@fault("X19")
def test_a_server_that_hangs_up_on_what_it_does_not_know():
    core = make_core(hangs_up_on=frozenset({106}))
    peer = connected(core, timeout_ms=2000)
    peer.send(AddWatch("/", WATCH, True))
    assert peer.replies() == [] and peer.link.over
    assert Peer(core).connect(2000, peer.session) is not None


@fault("X19")
def test_a_server_that_answers_without_a_body():
    core = make_core(answers_without_body=frozenset({106}))
    peer = connected(core)
    peer.send(AddWatch("/", WATCH, True))
    ((_, _, code, body),) = peer.replies()
    assert (code, body) == (0, b"")
    connected(core).ask(Create("/a", b"", OPEN))
    assert peer.heard() == [(1, "/a")]


@fault("X20")
def test_a_server_whose_recursive_watch_tells_the_watched_path():
    core = make_core(watched_path_in_events=True)
    peer, other = connected(core), connected(core)
    peer.ask(Create("/a", b"", OPEN))
    peer.ask(AddWatch("/a", WATCH, True))
    peer.ask(GetChildren("/a/b", WATCH))
    for op in (Create("/a/b", b"", OPEN), SetData("/a/b", b"1"), Delete("/a/b")):
        other.ask(op)
    told = peer.heard()
    assert {path for _, path in told} == {"/a"} and [kind for kind, _ in told if kind != CHILD] == [1, 3, 2]


def test_what_a_switch_has_begun_ends_alone_and_at_its_moment():
    core = make_core()
    peer = connected(core)
    outer, inner = core.faults(0.0).black_hole("out"), core.faults(0.0).black_hole()
    peer.send(Create("/a", b"", OPEN))
    core.faults(1.0).end(inner)
    assert peer.replies() == [] and core.data.tree.get("/a").stat().ctime == 1_000_001_000
    core.faults(2.0).end(outer)
    peer.now = 2.0
    assert [reply[2] for reply in peer.replies()] == [0]


def test_lost_answers():
    core = make_core()
    peer, other = connected(core), connected(core)
    fault = core.faults(0.0).lose_answer(times=3)
    peer.send(GetData("/"), Create("/a", b"", OPEN))
    assert peer.pull() == b"" and peer.link.over and core.data.tree.get("/a") is not None
    assert core.sessions.get(peer.session[0]) is not None
    core.faults(0.0).end(fault)
    assert other.ask(Create("/b", b"", OPEN)) == "/b" and core.conditions.rules == []


def test_a_limited_rate_is_a_moment_for_each_piece():
    core = make_core()
    peer = connected(core)
    fault = core.faults(0.0).limit_rate(10.0)
    peer.send(Ping(), Ping())  # answered by 4 + 16 bytes each
    assert peer.replies() == [] and core.deadline() == 2.0
    peer.now = 2.0
    assert len(peer.replies()) == 1 and core.deadline() == 4.0
    core.faults(2.0).end(fault)
    assert len(peer.replies()) == 1
