"""The embedded server's quotas, by what 3.8.0 and 3.9.3 were seen to do; the differential test has them, too."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.embedded_peer import OPEN, Peer, connected, make_core
from zkwire.ops import CloseSession, Create, Delete, GetData, Multi, SetData

LIMITS, STATS = "/zookeeper/quota/q/zookeeper_limits", "/zookeeper/quota/q/zookeeper_stats"
HARD = b"count=3,bytes=5=;byteHardLimit=7;countHardLimit=4"
QUOTA_EXCEEDED = -125


def limited(limits: bytes = b"count=1,bytes=1", **settings: Any) -> Peer:
    """A client of a server with a quota on /q, which has a child: 2 nodes, 5 bytes."""
    peer = connected(make_core(**settings))
    for path, value in (
        ("/q", b"abc"), ("/q/x", b"12"), ("/zookeeper/quota/q", b""), (LIMITS, limits), (STATS, b"is measured"),
    ):  # fmt: skip
        assert peer.ask(Create(path, value, OPEN)) == path
    return peer


def counts(peer: Peer) -> Any:
    return peer.ask(GetData(STATS))[0]


def test_what_is_below_a_limit_is_counted():
    peer = limited()
    assert counts(peer) == b"count=2,bytes=5"
    peer.ask(Create("/q/x/y", None, OPEN))
    peer.ask(SetData("/q", b"0123456789", -1))
    peer.ask(Create("/beside", b"not counted", OPEN))
    assert counts(peer) == b"count=3,bytes=12"
    peer.ask(Delete("/q/x/y", -1))
    peer.ask(Create("/q/e", b"mine", OPEN, ephemeral=True))
    other = connected(peer.core)
    assert counts(other) == b"count=3,bytes=16"
    peer.ask(CloseSession())
    assert counts(other) == b"count=2,bytes=12"


def test_a_count_has_no_version_of_its_own():
    peer = limited()
    before = peer.ask(GetData(STATS))[1]
    peer.ask(Create("/q/n", b"", OPEN))
    assert peer.ask(GetData(STATS))[1] == before


def test_the_nearest_quota_counts_and_the_end_of_one_is_the_end_of_counting():
    peer = limited()
    inner = "/zookeeper/quota/q/x"
    for path in (inner, f"{inner}/zookeeper_limits", f"{inner}/zookeeper_stats"):
        peer.ask(Create(path, b"count=9,bytes=9", OPEN))
    peer.ask(Create("/q/x/deep", b"4444", OPEN))
    assert counts(peer) == b"count=2,bytes=5"
    assert peer.ask(GetData(f"{inner}/zookeeper_stats"))[0] == b"count=2,bytes=6"
    peer.ask(Delete(LIMITS, -1))
    peer.ask(Create("/q/after", b"x", OPEN))
    peer.ask(Create("/q/x/after", b"x", OPEN))
    assert counts(peer) == b"count=2,bytes=5"
    assert peer.ask(GetData(f"{inner}/zookeeper_stats"))[0] == b"count=3,bytes=7"


def test_counts_that_are_missing_or_no_figures_harm_nobody():
    peer = limited()
    peer.ask(SetData(STATS, b"rubbish", -1))
    assert peer.ask(Create("/q/a", b"x", OPEN)) == "/q/a"
    peer.ask(Delete(STATS, -1))
    assert peer.ask(Create("/q/b", b"x", OPEN)) == "/q/b"
    peer.ask(Create(STATS, b"", OPEN))
    assert counts(peer) == b"count=4,bytes=7"


@pytest.mark.long
def test_figures_too_long_for_a_number_harm_nobody():
    peer = limited(b"countHardLimit=" + b"1" * 5000, enforce_quota=True)
    assert peer.ask(Create("/q/a", b"x", OPEN)) == "/q/a"
    peer.ask(SetData(STATS, b"count=" + b"9" * 5000, -1))
    assert peer.ask(Create("/q/b", b"x", OPEN)) == "/q/b"


@pytest.mark.parametrize(("version", "enforce"), [("3.9", False), ("3.4", True), ("3.6", True)])
def test_limits_are_told_and_not_kept_by_default_and_before_3_7(version, enforce):
    peer = limited(HARD, version=version, enforce_quota=enforce)
    for i in range(5):
        assert peer.ask(Create(f"/q/{i}", b"more", OPEN)) == f"/q/{i}"
    assert counts(peer) == b"count=7,bytes=25"


def test_hard_limits_are_kept_when_asked_to():
    peer = limited(HARD, enforce_quota=True)
    assert peer.ask(Create("/q/a", b"", OPEN)) == "/q/a"
    assert peer.ask(Create("/q/b", b"123", OPEN)) == QUOTA_EXCEEDED
    assert peer.ask(Create("/q/b", b"12", OPEN)) == "/q/b"
    assert peer.ask(Create("/q/c", b"", OPEN)) == QUOTA_EXCEEDED
    assert peer.ask(SetData("/q", b"abcd", -1)) == QUOTA_EXCEEDED
    assert peer.ask(SetData("/q", b"cba", -1)).version == 1
    assert peer.ask(Multi([SetData("/q", b"", -1), SetData("/q/b", b"123", -1)])) == [(-1, 0), (-1, QUOTA_EXCEEDED)]


def test_soft_limits_are_never_kept():
    peer = limited(enforce_quota=True)
    assert peer.ask(Create("/q/a", b"more", OPEN)) == "/q/a"
