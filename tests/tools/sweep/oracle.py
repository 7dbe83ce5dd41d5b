"""What must hold after a cut, whatever was cut.

Owns the rules, in terms of a record, the tree and an uncut run. Must not know fronts or sockets.
"""

from __future__ import annotations

import struct
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from zkwire.errors import ConnectionLoss
from zkwire.ops import GetEphemerals
from zkwire.values import KazooState

from .conversation import Record, Watch, plain
from .fronts import CLOSING
from .server import C2S, DRIP, FIN, GATHER, HOLE, RST, S2C, SPLIT, Cut, SweepServer

HANDSHAKE = 41  # bytes of a ConnectResponse


class Reference(NamedTuple):
    """An uncut run: its results, and how long its streams are."""

    record: Record
    plain: List[Any]
    frames: int
    size: Tuple[Tuple[str, int], ...]

    def bytes(self, direction: str) -> int:
        """The length of a stream."""
        return dict(self.size)[direction]


def reference_of(record: Record, server: SweepServer) -> Reference:
    """The uncut run, which has one connection."""
    (wire,) = server.wires
    return Reference(
        record, [plain(outcome) for _, outcome in record.outcomes],
        sum(len(list(_frames(stream))) for stream in wire.passed.values()),
        tuple((direction, len(wire.passed[direction])) for direction in (C2S, S2C)),
    )  # fmt: skip


def _frames(stream: bytes) -> Iterator[int]:
    """The number of each whole frame."""
    at = 0
    while at + 8 <= len(stream):
        length, xid = struct.unpack_from(">ii", stream, at)
        at += 4 + length
        if at <= len(stream):
            yield xid


def wrong(record: Record, server: SweepServer, cut: Optional[Cut], reference: Reference) -> Iterator[str]:
    """What does not hold."""
    yield from _writes(record, server)
    yield from _reads(record, reference)
    yield from _watches(record)
    if record.closing is None or record.closing > CLOSING:
        yield f"close() took {record.closing} s"
    closed = server.cut_done and len(server.wires) == 1 and cut is not None and cut.kind in (FIN, RST, HOLE)
    yield from _sessions(record, server, cut, closed)
    yield from _connections(record, server, cut, closed)
    if cut is not None:
        yield from _answered(record, server, cut)
        if not server.cut_done:
            yield "there was nothing to cut"
        if cut.kind in (SPLIT, DRIP, GATHER) and any(isinstance(o, Exception) for _, o in record.outcomes):
            yield "an error without a cut"


def _writes(record: Record, server: SweepServer) -> Iterator[str]:
    """Each write was applied as often as its outcome says."""
    writes = [(op, outcome) for op, outcome in record.outcomes if op.writes]
    if len(writes) != len(record.applied):
        yield f"{len(writes)} writes, {len(record.applied)} counts"
    for (op, outcome), count in zip(writes, record.applied):
        if isinstance(outcome, ConnectionLoss):
            allowed = (0, 1) if outcome.sent else (0,)
            if outcome.maybe_applied != outcome.sent:
                yield f"{op!r}: sent {outcome.sent}, maybe_applied {outcome.maybe_applied}"
        elif isinstance(outcome, Exception):
            yield f"{op!r} failed: {outcome!r}"
            continue
        else:
            allowed = (1,)
        if count not in allowed:
            yield f"{op!r} was applied {count} times, its outcome is {outcome!r}"


def _reads(record: Record, reference: Reference) -> Iterator[str]:
    """Each outcome is that of the uncut run, or a loss."""
    for (op, outcome), expected in zip(record.outcomes, reference.plain):
        if isinstance(outcome, ConnectionLoss):
            continue
        if isinstance(op, GetEphemerals) and outcome == [] and record.applied[1:2] == [0]:
            continue  # the node was never made
        if plain(outcome) != expected:
            yield f"{op!r}: {plain(outcome)!r}, expected {expected!r}"
    if len(record.outcomes) < len(reference.plain):
        yield f"{len(record.outcomes)} outcomes"


def _watches(record: Record) -> Iterator[str]:
    """What stands has heard what it must, once; what failed to be set has heard nothing."""
    for name, watch in record.watches.items():
        heard = watch.real()
        if isinstance(watch.asked, Exception):
            if heard:
                yield f"watch {name!r} was not set, and heard {heard}"
        elif not set(heard) <= set(watch.events):
            yield f"watch {name!r} heard {heard}"
        elif watch.once and len(heard) != 1:
            yield f"watch {name!r} heard {heard}: to be heard once"
        elif not watch.once and not record.last_round.get(name):
            yield f"watch {name!r} did not hear the last round: {heard}"
        elif _twice(watch, heard):
            yield f"watch {name!r} heard something twice: {heard}"


def _twice(watch: Watch, heard: List[Any]) -> bool:
    """Whether a creation was told twice."""
    return not watch.once and len(watch.events) > 1 and len(set(heard)) != len(heard)


def _sessions(record: Record, server: SweepServer, cut: Optional[Cut], closed: bool) -> Iterator[str]:
    """One session, which goes on, and ends with close()."""
    known = {session_id for session_id, _ in record.sessions}
    if len(known) > 1:
        yield "the session did not go on"
    left = set(server.sessions())
    if left & known and not closed:  # cut in its last words, a session may stay until it expires
        yield f"the session {left} after close()"
    unheard = cut is not None and (cut.kind == RST or (cut.direction == S2C and cut.at < HANDSHAKE))
    if left - known and not unheard:  # of which the client cannot have heard
        yield f"another session {left}"


def _connections(record: Record, server: SweepServer, cut: Optional[Cut], closed: bool) -> Iterator[str]:
    """Two, if there was a cut before the end."""
    harmful = cut is not None and cut.kind in (FIN, RST, HOLE)
    expected = 1 if closed or not harmful else 2
    if len(server.wires) != expected:
        yield f"{len(server.wires)} connections, expected {expected}"
    up, down = KazooState.CONNECTED, KazooState.SUSPENDED
    allowed = ([up], [up, down, up]) if harmful else ([up],)
    states = [state for state in record.states if state != KazooState.LOST]
    late = harmful and not any(isinstance(outcome, ConnectionLoss) for _, outcome in record.outcomes)  # all had been said
    if not (states in allowed or (late and states == [up, down])) or record.states[-1:] != [KazooState.LOST]:
        yield f"states {record.states}"


def _answered(record: Record, server: SweepServer, cut: Cut) -> Iterator[str]:
    """What was answered before the cut has its answer: a loss is not reported for more than was lost."""
    if cut.kind not in (FIN, HOLE):
        return  # a reset may overtake bytes that have arrived
    stream = server.wires[0].passed[cut.direction]  # what was asked, or answered, before the cut; all before is answered
    answered = sum(xid > 0 for xid in list(_frames(stream))[1:])
    for op, outcome in record.outcomes[:answered]:
        if isinstance(outcome, ConnectionLoss):
            yield f"{op!r} was answered before the cut, its outcome is {outcome!r}"


__all__ = ["HANDSHAKE", "Reference", "reference_of", "wrong"]
