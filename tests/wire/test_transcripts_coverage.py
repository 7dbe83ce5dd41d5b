"""What the recorded conversations hold: whoever records anew and loses something hears of it here."""

from __future__ import annotations

from typing import Dict, List, Set, Tuple

import pytest

from tests.kit import transcripts
from tests.kit.transcripts import END, Meaning, Transcript
from zkwire.wire.jute import decode
from zkwire.ops import Multi

VERSIONS = ("3.4.13", "3.8.0", "3.9.3")

#: Operation: error codes of its replies that every version's transcripts hold (0 is success).
EVERYWHERE: Dict[str, Set[int]] = {
    "Auth": {0, -115},
    "CloseSession": {0},
    "Create": {0, -5, -8, -101, -102, -108, -110, -114, -119},
    "Delete": {0, -8, -101, -103, -111, -119},
    "Exists": {0, -101},
    "GetACL": {0, -101, -102},
    "GetChildren": {0, -101, -102},
    "GetChildren2": {0, -101, -102},
    "GetData": {0, -101, -102},
    "Multi": {0, -5, -119},
    "Ping": {0},
    "Sasl": {0},
    "SetACL": {0, -101, -102, -103, -114},
    "SetData": {0, -101, -102, -103, -119},
    "SetWatches": {0},
    "Sync": {0, -119},
    "unknown": {-6},
}
#: What 3.4 does not know, and hangs up on.
OLD: Dict[str, Set[int]] = {
    name: {-6}
    for name in (
        "AddWatch", "CheckWatches", "Create2", "CreateContainer", "GetAllChildrenNumber", "GetEphemerals",
        "MultiRead", "Reconfig", "RemoveWatches", "SetWatches2", "WhoAmI",
    )
}  # fmt: skip
NEW: Dict[str, Set[int]] = {
    "AddWatch": {0},
    "CheckWatches": {0, -121},
    "Create": {-120, -125},
    "Create2": {0},
    "CreateContainer": {0},
    "CreateTTL": {0, -6},
    "GetAllChildrenNumber": {0, -101},
    "GetData": {-124},
    "GetEphemerals": {0},
    "MultiRead": {0, -5},
    "Reconfig": {0, -8, -102, -103, -123},
    "RemoveWatches": {0, -121},
    "Sasl": {0, -115},
    "SetData": {-125},
    "SetWatches2": {0},
    "WhoAmI": {0},
}
#: What only one version says so: 3.9 knows more kinds of watches, and checks the ACL on exists.
ALONE: Dict[str, Dict[str, Set[int]]] = {
    "3.4.13": OLD,
    "3.8.0": {**NEW, "RemoveWatches": {0, -5, -121}},
    "3.9.3": {**NEW, "Exists": {-102}},
}

#: Types of results within transactions; beside -1, the codes.
MULTI_TYPES: Dict[str, Set[Tuple[str, int]]] = {
    "3.4.13": {("Create", 1), ("Delete", 2), ("SetData", 5), ("Check", 13)},
    "3.8.0": {
        ("Create", 1), ("Create2", 1), ("CreateContainer", 15), ("CreateTTL", 15), ("Delete", 2),
        ("SetData", 5), ("Check", 13), ("GetData", 4), ("GetChildren", 8),
    },
    "3.9.3": {
        ("Create", 1), ("Create2", 15), ("CreateContainer", 15), ("CreateTTL", 15), ("Delete", 2),
        ("SetData", 5), ("Check", 13), ("GetData", 4), ("GetChildren", 8),
    },
}  # fmt: skip
MULTI_CODES = {0, -2, -101, -103, -110, -111}

CLIENTS = {"zkwire.ops", "zkwire", "zkdisco", "kazoo", "C", "zkCli"}


@pytest.fixture(scope="module")
def recorded() -> Dict[str, List[Tuple[Transcript, List[Meaning]]]]:
    """Transcripts and meanings by version."""
    found: Dict[str, List[Tuple[Transcript, List[Meaning]]]] = {}
    for path in transcripts.paths():
        one = transcripts.load(path)
        found.setdefault(one.version, []).append((one, list(transcripts.meanings(one.lines))))
    return found


def replies(of: List[Tuple[Transcript, List[Meaning]]]) -> List[Meaning]:
    return [m for _, read in of for m in read if m.kind == "reply"]


def test_versions(recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]) -> None:
    assert set(recorded) == set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_operations_and_error_codes(
    version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]
) -> None:
    held: Dict[str, Set[int]] = {}
    for m in replies(recorded[version]):
        assert m.header is not None
        held.setdefault(type(m.op).__name__ if m.op else "unknown", set()).add(m.header.err)
    lost = {
        (name, code)
        for table in (EVERYWHERE, ALONE[version])
        for name, codes in table.items()
        for code in codes - held.get(name, set())
    }
    assert not lost
    assert ("CreateTTL" in held) is (version != "3.4.13")


@pytest.mark.parametrize("version", VERSIONS)
def test_results_of_transactions(
    version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]
) -> None:
    types: Set[Tuple[str, int]] = set()
    codes: Set[int] = set()
    sizes: Set[int] = set()
    for m in replies(recorded[version]):
        if isinstance(m.op, Multi) and m.header is not None and not m.header.err:
            results = decode(m.op.reply, m.frame, 20)
            sizes.add(len(results))
            types |= {(type(op).__name__, kind) for op, (kind, _) in zip(m.op.ops, results) if kind != -1}
            codes |= {code for kind, code in results if kind == -1}
    assert types == MULTI_TYPES[version]
    assert codes >= MULTI_CODES
    assert {0, 1, 2, 3} <= sizes


@pytest.mark.parametrize("version", VERSIONS)
def test_handshakes(version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]) -> None:
    asked = [m.value for _, read in recorded[version] for m in read if m.kind == "connect"]
    answered = [m.value for _, read in recorded[version] for m in read if m.kind == "connected"]
    assert {request.read_only for request in asked} == {None, False, True}
    assert {response.read_only for response in answered} == {None, False, True}
    assert any(request.session_id for request in asked)
    assert any(response.timeout_ms == 0 for response in answered)
    assert len({response.timeout_ms for response in answered}) >= 4
    refused = [m for _, read in recorded[version] for m in read if m.kind == "refused"]
    assert bool(refused) is (version != "3.4.13")
    mute = [
        lines
        for one, _ in recorded[version]
        for lines in one.connections().values()
        if len(lines) == 2 and lines[1].direction == END
    ]
    assert len(mute) >= 2  # from a client that knows the future; without a quorum


@pytest.mark.parametrize("version", VERSIONS)
def test_events(version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]) -> None:
    events = [m for _, read in recorded[version] for m in read if m.kind == "event"]
    assert {m.value.type for m in events} == {1, 2, 3, 4}
    live = {m.header.zxid > 0 for m in events if m.header is not None}
    assert live == ({True, False} if version == "3.9.3" else {False})  # ZOOKEEPER-4655
    assert len(events) >= 30


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_overtakes_writes_somewhere(
    version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]
) -> None:
    overtaken = 0
    for one, read in recorded[version]:
        scripted = one.head["client"].startswith("zkwire.ops")
        if scripted and ("auth" in one.head["topic"] or "Identities" in one.head["topic"]):
            asked = [m.value.xid for m in read if m.kind == "request"]
            answered = [m.header.xid for m in read if m.kind == "reply" and m.header is not None]
            assert sorted(asked[: len(answered)]) == sorted(answered)
            overtaken += asked[: len(answered)] != answered
    assert overtaken >= 1


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_and_sizes(
    version: str, recorded: Dict[str, List[Tuple[Transcript, List[Meaning]]]]
) -> None:
    assert {one.head["client"].split()[0] for one, _ in recorded[version]} == CLIENTS
    assert sum(len(read) for _, read in recorded[version]) > (800 if version == "3.4.13" else 1000)


def test_size_of_all() -> None:
    assert sum(path.stat().st_size for path in transcripts.paths()) < 1_500_000
