"""A sample of the sweep (see tests/tools/sweep), and proof that it can see; `make sweep` cuts at every byte."""

from __future__ import annotations

import random
import re
from typing import Any, Dict, List, Tuple

import pytest

from tests.kit.catalogue import fault
from tests.tools.simulation.mutants import mutated
from tests.tools.sweep import fronts
from tests.tools.sweep.oracle import Reference
from tests.tools.sweep.run import Failure, parse, points, references, run
from tests.tools.sweep.server import DRIP, FIN, GATHER, HOLE, RST, SPLIT
from zkwire.wire.connection import Connection
from zkwire.session.heartbeat import Heartbeat

#: Sessions of the sample are shorter than those of the whole: a black hole lasts two thirds of it.
T = 1.5


@pytest.fixture(scope="module")
def reference() -> Dict[str, Reference]:
    return references(T)


def swept(reference: Dict[str, Reference], kinds: Tuple[str, ...], step: int, first: int = 0) -> List[Failure]:
    wanted = list(points(reference, kinds, step, first))
    assert len(wanted) >= 4 * len(kinds)
    return run(wanted, reference, T)


def test_the_conversation_is_long_enough(reference: Dict[str, Reference]) -> None:
    for one in reference.values():
        assert one.frames >= 40
        assert one.size == reference["asyncio"].size


@pytest.mark.slow
@fault("T02")
def test_a_reset_in_the_middle_of_frames(reference: Dict[str, Reference]) -> None:
    assert not swept(reference, (RST,), 191, 30)


@pytest.mark.slow
def test_an_end_and_silence_in_the_middle_of_frames(reference: Dict[str, Reference]) -> None:
    assert not swept(reference, (FIN, HOLE), 397, 11)


@pytest.mark.long
@fault("T07")
def test_other_pieces_give_the_same_results(reference: Dict[str, Reference]) -> None:
    assert not swept(reference, (SPLIT,), 173, 3)
    assert not swept(reference, (DRIP, GATHER), 1)


# ------------------------------------------------------------------------- proof that it sees


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "where", "seen"),
    [
        ("outcome_forgotten_on_disconnect", "fin:s2c:150", "no outcome|did not end"),
        ("sent_write_sent_again", "fin:s2c:770", "NodeExistsError"),
        ("sent_is_called_unsent", "fin:s2c:770", "was applied 1 times"),
        ("watches_not_set_again", "rst:s2c:460", "to be heard once"),
        ("one_shot_watch_fires_again", "fin:s2c:460", "to be heard once"),
        ("identities_forgotten_on_reconnect", "rst:c2s:460", "WhoAmI"),
        ("expires_too_soon", "hole:s2c:150", "the session did not go on"),
    ],
)
def test_a_known_bug_is_seen(
    bug: str, where: str, seen: str, reference: Dict[str, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    with mutated(bug):
        found = briefly(where, reference, monkeypatch, 1.0 if "outcome" in seen else fronts.LIMIT)
    assert len(found) == 2
    assert all(re.search(seen, failure.text) for failure in found), found


@pytest.mark.slow
def test_a_forgotten_deadline_is_seen(reference: Dict[str, Reference], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heartbeat, "silent_at", lambda self: self.replied_at + 1e6)
    found = briefly("hole:c2s:300", reference, monkeypatch, 1.0)
    assert len(found) == 2
    assert all(failure.hang for failure in found)


@pytest.mark.long
def test_a_decoder_that_forgets_half_a_frame_is_seen(
    reference: Dict[str, Reference], monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Connection._take

    def wrong(self: Connection, data: bytes, incoming: List[Any]) -> None:
        take(self, data, incoming)
        self._chunks, self.kept = [], 0

    monkeypatch.setattr(Connection, "_take", wrong)
    assert briefly("split:s2c:500", reference, monkeypatch, 1.0)  # a busy thread may get both halves at once


def briefly(
    where: str, reference: Dict[str, Reference], monkeypatch: pytest.MonkeyPatch, limit: float
) -> List[Failure]:
    """What is found at one point of each front, with so many seconds' patience for each call."""
    monkeypatch.setattr(fronts, "LIMIT", limit)
    monkeypatch.setattr(random, "random", lambda: 0.0)  # no pause before a reconnect
    return run([parse(f"{front}:{where}") for front in fronts.FRONTS], reference, 0.6)


def test_a_failure_says_how_to_repeat_it() -> None:
    point = parse("threads:rst:s2c:1234")
    assert "python -m tests.tools.sweep --only threads:rst:s2c:1234" in str(Failure(point, True, "x"))
    with pytest.raises(ValueError, match="no such point"):
        parse("threads:rst:up:1")
